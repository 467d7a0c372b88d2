"""The tiny tokenizer and model: no text is lost, a number is one token, and Qwen's own classes can read the files."""

from __future__ import annotations

import unicodedata

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Tokenizer, Qwen3ForCausalLM

from varcore.llm.tiny import tiny_qwen3, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<hint>", "</hint>")


def encode(text: str) -> list[int]:
    return TOKENIZER.encode(text, add_special_tokens=False, split_special_tokens=True)


@given(st.text())
@example("e\u0301 and \u1112\u1161\u11ab")  # not in normal form C
@example("\x00\r\n\t  \u2028")
@example("👩‍👩‍👧 ١٢٣ \U0010ffff")
@example(" 12 3 100 007 99 .")
@example("don 't do n't ! , .")  # what a decoder that tidies up spaces would change
@settings(max_examples=300)
def test_any_text_survives_up_to_unicode_normalisation(text):
    """Qwen's tokenizers put text into normal form C first; everything else is kept to the character."""
    assert TOKENIZER.decode(encode(text)) == unicodedata.normalize("NFC", text)


def test_each_number_up_to_99_is_one_token_of_its_own():
    ids = [encode(f" {number}") for number in range(100)]
    assert all(len(one) == 1 for one in ids)
    assert len({one[0] for one in ids}) == 100
    assert encode(" 4 12 99") == [*ids[4], *ids[12], *ids[99]]


@pytest.mark.parametrize("word", [" +", " -", " *", " =", " x", " OK"])
def test_each_word_of_a_trace_is_one_token(word):
    assert len(encode(word)) == 1


def test_special_markers_are_one_token_each_and_only_as_markers():
    ids = [TOKENIZER.encode(marker, add_special_tokens=False) for marker in SPECIAL]
    assert all(len(one) == 1 for one in ids)
    assert len({one[0] for one in ids}) == len(SPECIAL)
    forbidden = {one[0] for one in ids}
    for marker in SPECIAL:
        assert not forbidden & set(encode(f" 4 {marker}{marker} 8"))


def test_ids_fill_the_vocabulary_without_gaps():
    ids = {id_ for text in ("".join(map(chr, range(256))), *SPECIAL) for id_ in TOKENIZER.encode(text)}
    assert max(ids) < len(TOKENIZER)
    assert sorted(TOKENIZER.get_vocab().values()) == list(range(len(TOKENIZER)))


def test_a_saved_folder_is_a_qwen3_that_auto_classes_read(tmp_path, make_model):
    model = make_model(3)
    model.save_pretrained(tmp_path)
    TOKENIZER.save_pretrained(tmp_path)
    endings = {file.suffix for file in tmp_path.iterdir()}
    assert endings <= {".json", ".safetensors", ".txt"}
    assert ".safetensors" in endings

    again, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert isinstance(again, Qwen3ForCausalLM)
    assert isinstance(tokenizer, Qwen2Tokenizer)
    texts = [" 4 8 2 1 = 31", "</think> e\u0301 007", " 4 + 8 12 x\n"]
    for text in texts:
        for split in (True, False):
            ours = TOKENIZER.encode(text, add_special_tokens=False, split_special_tokens=split)
            assert tokenizer.encode(text, add_special_tokens=False, split_special_tokens=split) == ours
            assert tokenizer.decode(ours) == TOKENIZER.decode(ours)
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (TOKENIZER.pad_token_id, TOKENIZER.eos_token_id)
    ids = torch.tensor([encode(texts[0])])
    with torch.no_grad():
        assert torch.equal(again.eval()(ids).logits, model(ids).logits)


def test_weights_are_a_function_of_the_seed_and_the_callers_stream_is_untouched():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, same, other = (tiny_qwen3(370, seed, hidden=32, layers=1, heads=1) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    pairs = zip(one.parameters(), same.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    embeddings = one.get_input_embeddings().weight, other.get_input_embeddings().weight
    assert not torch.equal(*embeddings)


def test_matrices_are_drawn_with_fan_in_and_the_head_is_the_embedding():
    model = tiny_qwen3(370, 0, hidden=96, layers=1)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            # a standard deviation from n normal draws is known to 1 / sqrt(2 n); z = 5, false alarm 6e-7 a matrix
            relative = parameter.std().item() * parameter.shape[1] ** 0.5 - 1
            assert abs(relative) < 5 * (2 * parameter.numel()) ** -0.5, name
