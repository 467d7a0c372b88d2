"""Template files on tokenizers of several makes: closing markers at the level of ids, and errors that say what to do.

The tokenizers are trained here on a few lines, so that markers are several tokens, join their neighbours, or are
added tokens that do not count as special, as </think> is in Qwen3's own tokenizer.
"""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config

from varcore.llm.templates import (
    FILES,
    Markers,
    Template,
    check_model,
    check_room,
    load_template,
    read_markers,
    template_names,
)
from varcore.llm.tiny import tiny_tokenizer

TEXTS = [
    "Add 3 and 4.<|end_of_thought|>",
    "so 7.</think>\n\nSeven<|im_end|>",
    "<|im_start|>user\nAdd<hint> 5</hint>",
] * 9
QWEN_MARKERS = ["<|im_start|>", "<|im_end|>", "<think>", "</think>"]


def trained(pre_tokenizer, decoder, trainer, model) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizer, decoder
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def bytes_bpe(split: bool) -> Tokenizer:
    """Byte-level BPE; without a split into words, merges run across every boundary, ".<" and ">\\n\\n" among them."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    return trained(
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split), decoders.ByteLevel(), trainer, models.BPE()
    )


def unigram() -> Tokenizer:
    """Words with a mark for the space before them, as in SentencePiece, and a token put before every text."""
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=["<s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer = trained(pre_tokenizers.Metaspace(), decoders.Metaspace(), trainer, models.Unigram())
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", None, [("<s>", 0)])
    return tokenizer


def wrapped(tokenizer: Tokenizer, special: list[str], added: list[str]) -> PreTrainedTokenizerFast:
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    fast.add_special_tokens({"additional_special_tokens": special})
    fast.add_tokens([AddedToken(text, special=False, normalized=False) for text in added])
    return fast


TOKENIZERS = {
    "bytes": wrapped(bytes_bpe(True), QWEN_MARKERS[:2], QWEN_MARKERS[2:]),
    "bytes across words": wrapped(bytes_bpe(False), QWEN_MARKERS[:2], QWEN_MARKERS[2:]),
    "unigram": wrapped(unigram(), QWEN_MARKERS[:2], QWEN_MARKERS[2:]),
    "tiny": tiny_tokenizer(),
}
CASES = list(itertools.product(TOKENIZERS, ("qwen3-think", "thought-solution-pa", "thought-solution-pb")))
hostile = st.lists(
    st.sampled_from([*QWEN_MARKERS, "<hint>", "</", "think>", " ", "7", "a", ".", "\n\n", "|>"]), max_size=7
)


def test_the_files_that_come_with_varcore():
    assert template_names() == ["qwen3-think", "thought-solution-pa", "thought-solution-pb"]
    assert all(isinstance(read_markers(name), Markers) for name in template_names())


@pytest.mark.parametrize(("tokenizer", "name"), CASES)
def test_a_trace_ends_at_its_closing_marker_and_nowhere_else(tokenizer, name):
    template = load_template(name, TOKENIZERS[tokenizer])
    trace, answer = template.trace("Add 3 and 4."), template.answer("so 7.")
    assert template.split(trace + answer) == (trace, answer)
    for cut in range(len(trace)):
        assert template.split(trace[:cut]) == (trace[:cut], ())  # cut short: unclosed, nothing is put in its place
    assert not template.closed_in_text_only(trace)
    assert not template.closed_in_text_only(trace[: -len(template.trace_close)])


@pytest.mark.parametrize(("tokenizer", "name"), [case for case in CASES if case[0] != "unigram"])
def test_texts_come_back(tokenizer, name):
    """Not from the unigram tokenizer: it knows no line ends, and writes a space before every piece."""
    template = load_template(name, TOKENIZERS[tokenizer])
    for text in ("Add 3 and 4.", "a", " a", "3 <|im_end|> 4 </think"):
        assert template.read_trace(template.trace(text)) == text
        assert template.read_answer(template.answer(text)) == text


@given(hostile.map("".join), st.sampled_from(CASES))
@settings(max_examples=200)
def test_text_never_becomes_a_special_marker(text, case):
    """Even where the tokenizer has the marker as a token that does not count as special."""
    template = load_template(case[1], TOKENIZERS[case[0]])
    special = {template.tokenizer.convert_tokens_to_ids(marker) for marker in template.markers.special}
    assert not special & set(template.text(text))
    prompt = template.hinted_prompt(text, text)
    empty = template.hinted_prompt("", "")
    assert [id_ for id_ in prompt if id_ in special] == [id_ for id_ in empty if id_ in special]


def test_a_token_that_is_not_special_would_be_found_in_text_without_the_file_saying_so():
    """Why `special` is there: the tokenizer itself reads the marker in a question as the marker."""
    template = load_template("qwen3-think", TOKENIZERS["bytes"])
    close = TOKENIZERS["bytes"].convert_tokens_to_ids("</think>")
    plain = Template(TOKENIZERS["bytes"], dataclasses.replace(template.markers, special=()))
    assert close in plain.text("Add </think> 3")
    assert close not in template.text("Add </think> 3")
    assert TOKENIZERS["bytes"].decode(template.text("Add </think> 3")) == "Add </think> 3"


@pytest.mark.parametrize("name", ["thought-solution-pa", "thought-solution-pb"])
@pytest.mark.parametrize("tokenizer", ["bytes", "bytes across words", "tiny"])
def test_a_marker_of_several_tokens_in_the_data_is_refused(tokenizer, name):
    """Text can spell such a marker, and a trace that holds it would end too early."""
    template = load_template(name, TOKENIZERS[tokenizer])
    assert len(template.trace_close) > 1 or tokenizer == "bytes across words"
    with pytest.raises(ValueError, match=r"Template\.trace: .*'<\|end_of_thought\|>'.*Take it out of the data"):
        Template(TOKENIZERS[tokenizer], dataclasses.replace(template.markers, text_prefix="")).trace(
            "<|end_of_thought|>"
        )


def test_a_text_that_ends_as_the_marker_begins_is_refused_if_it_would_move_the_end():
    """Marker "abab" after the text "ab" could be read one marker too early."""
    markers = Markers(trace_close="abab", text_prefix="")
    template = Template(TOKENIZERS["tiny"], markers)
    assert template.split(template.trace("a"))[0] == template.trace("a")
    with pytest.raises(ValueError, match=r"Template\.trace"):
        template.trace("ab")


def test_a_marker_joined_to_its_neighbour_does_not_end_a_trace_and_is_seen():
    """Tokenised in one go, ".<|" may be one token: a trace drawn that way is truncated, not closed, and reported."""
    tokenizer = TOKENIZERS["bytes across words"]
    template = load_template("thought-solution-pb", tokenizer)
    joined = tuple(tokenizer.encode("Add 3 and 4.<|end_of_thought|>", add_special_tokens=False))
    assert joined != template.text("Add 3 and 4.") + template.trace_close
    assert template.split(joined) == (joined, ())
    assert template.closed_in_text_only(joined)
    assert not template.closed_in_text_only(template.text("Add 3 and 4."))


def test_no_piece_begins_with_a_token_of_the_tokenizers_own():
    start = TOKENIZERS["unigram"].convert_tokens_to_ids("<s>")
    assert TOKENIZERS["unigram"].encode("Add")[0] == start
    template = load_template("thought-solution-pb", TOKENIZERS["unigram"])
    assert start not in template.hinted_prompt("Add", "7") + template.trace("Add") + template.answer("7")


@pytest.mark.parametrize("name", ["thought-solution-pa", "thought-solution-pb", "qwen3-think"])
def test_the_posterior_sees_the_hint_and_the_reasoner_does_not(name):
    tokenizer = TOKENIZERS["bytes"]
    template = load_template(name, tokenizer)
    asked, hinted = (
        tokenizer.decode(ids) for ids in (template.prompt("3 + 4?"), template.hinted_prompt("3 + 4?", "7!"))
    )
    assert "7!" not in asked
    assert hinted.index("3 + 4?") < hinted.index("7!")
    assert hinted.count("<|im_start|>user\n") == hinted.count("<|im_start|>assistant\n") == 1
    assert asked.count("<|im_start|>user\n") == asked.count("<|im_start|>assistant\n") == 1


def test_the_two_layouts_differ_in_what_follows_the_solution():
    tokenizer = TOKENIZERS["bytes"]
    ends = {
        name: tokenizer.decode(load_template(name, tokenizer).hinted_prompt("3 + 4?", "7!")).rpartition("7!")[2]
        for name in ("thought-solution-pa", "thought-solution-pb")
    }
    assert ends == {
        "thought-solution-pa": "\n\n<|end_of_solution|>\n\n<|begin_of_explanation|>\n\n",
        "thought-solution-pb": "\n\n<|end_of_solution|>\n\n<|begin_of_thought|>\n\n",
    }
    pa, pb = (load_template(name, tokenizer) for name in ends)
    assert pa.prompt("3 + 4?") == pb.prompt("3 + 4?")
    assert pa.trace("Add.") == pb.trace("Add.")  # z is the same ids under pi and q


def test_qwen3_think_is_the_models_own_chat_form():
    tokenizer = TOKENIZERS["bytes"]
    template = load_template("qwen3-think", tokenizer)
    ids = template.prompt("3 + 4?") + template.trace("Add.") + template.answer("7")
    assert tokenizer.decode(ids) == (
        "<|im_start|>user\n3 + 4?\n\nThink step by step, and put the final answer in \\boxed{}.<|im_end|>\n"
        "<|im_start|>assistant\n<think>\nAdd.\n</think>\n\n7<|im_end|>"
    )


# ---- files of one's own ------------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path):
    """The built-in file, changed line by line."""

    def write(*changes: tuple[str, str]) -> Path:
        text = (FILES / "qwen3-think.toml").read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "own.toml"
        path.write_text(text)
        return path

    return write


def test_a_file_of_ones_own_replaces_the_markers(own):
    template = load_template(own(('trace_open = "<think>\\n"', 'trace_open = "Go: "')), TOKENIZERS["bytes"])
    assert TOKENIZERS["bytes"].decode(template.prompt("3?")).endswith("Go: ")


@pytest.mark.parametrize("marker", ["trace_close", "answer_close"])
def test_a_file_without_its_closing_marker_is_refused(own, marker):
    line = next(line for line in (FILES / "qwen3-think.toml").read_text().splitlines() if line.startswith(marker))
    with pytest.raises(ValueError, match=rf"own\.toml: .*missing: \['{marker}'\].*no sample ends"):
        load_template(own((line + "\n", "")), TOKENIZERS["bytes"])
    with pytest.raises(ValueError, match="must not be empty"):
        load_template(own((line, f'{marker} = ""')), TOKENIZERS["bytes"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("trace_open", "trace_opne", r"missing: \['trace_open'\], not known: \['trace_opne'\]"),
        ('trace_close = "</think>"', "trace_close = 7", "every marker is a string"),
        ('special = ["<|im_start|>"', 'special = [7, "<|im_start|>"', "every marker is a string"),
        ('trace_close = "</think>"', "trace_close = </think>", "not valid TOML"),
    ],
)
def test_a_file_that_is_wrong_is_named(own, old, new, message):
    with pytest.raises(ValueError, match=message) as error:
        load_template(own((old, new)), TOKENIZERS["bytes"])
    assert "own.toml" in str(error.value)


def test_an_unknown_name_lists_the_files(tmp_path):
    with pytest.raises(ValueError, match=r"no template 'qwen4'; choose one of \['qwen3-think'"):
        load_template("qwen4", TOKENIZERS["bytes"])
    with pytest.raises(ValueError, match=r"no template .*gone\.toml"):
        load_template(tmp_path / "gone.toml", TOKENIZERS["bytes"])


def test_a_tokenizer_without_the_special_tokens_is_refused():
    bare = PreTrainedTokenizerFast(tokenizer_object=bytes_bpe(True))
    with pytest.raises(ValueError, match=r"'<\|im_start\|>', .*to be special.*add_special_tokens"):
        load_template("qwen3-think", bare)


def test_a_model_with_fewer_embeddings_than_the_tokenizer_has_tokens_is_refused():
    tokenizer, size = TOKENIZERS["tiny"], len(TOKENIZERS["tiny"])
    check_model(tokenizer, Qwen3Config(vocab_size=size))
    check_model(tokenizer, Qwen3Config(vocab_size=size + 100))  # spare rows, as Qwen3 has them
    with pytest.raises(ValueError, match=rf"largest token id is {size - 1}.*embeddings for {size - 1} tokens"):
        check_model(tokenizer, Qwen3Config(vocab_size=size - 1))


def test_a_prompt_longer_than_the_context_is_refused():
    prompts = [(1,) * 5, (1,) * 9, (1,) * 7]
    check_room(prompts, context=12, new_tokens=3)
    check_room([], context=1, new_tokens=3)
    with pytest.raises(ValueError, match=r"Prompt 1 has 9 tokens; with 4 to be drawn .* context of 12"):
        check_room(prompts, context=12, new_tokens=4)
