"""Prompts, traces and answers are concatenations of ids; text from outside can never become a marker."""

from __future__ import annotations

import dataclasses
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from varcore.llm.templates import Markers, Template
from varcore.llm.tiny import tiny_tokenizer

TOKENIZER = tiny_tokenizer()
TEMPLATE = Template(TOKENIZER, Markers())
MARKERS = ("<think>", "</think>", "<hint>", "</hint>", "<|im_start|>", "<|im_end|>", "<|endoftext|>")
RESERVED = {TOKENIZER.convert_tokens_to_ids(marker) for marker in MARKERS}
hostile = st.lists(st.one_of(st.sampled_from(MARKERS), st.text(max_size=8)), max_size=6).map("".join)


def marker(text: str) -> int:
    return TOKENIZER.convert_tokens_to_ids(text)


def plain(text: str) -> tuple[int, ...]:
    return tuple(TOKENIZER.encode(" " + text, add_special_tokens=False, split_special_tokens=True))


@given(hostile)
@example(" ")
@example("  4")
@settings(max_examples=200)
def test_text_round_trips_through_traces_and_answers(text):
    """A text that begins with a combining mark joins the space before it, hence the comparison of whole strings."""
    normal = unicodedata.normalize("NFC", " " + text)
    for write, read in ((TEMPLATE.trace, TEMPLATE.read_trace), (TEMPLATE.answer, TEMPLATE.read_answer)):
        assert read(write(text)) == normal.removeprefix(" ")


@given(hostile, hostile)
@settings(max_examples=200)
def test_markers_in_a_question_or_hint_stay_letters(question, hint):
    assert not RESERVED & set(TEMPLATE.text(question))
    ids = TEMPLATE.hinted_prompt(question, hint)
    assert [id_ for id_ in ids if id_ in RESERVED] == [marker(m) for m in ("<hint>", "</hint>", "<think>")]
    assert [id_ for id_ in TEMPLATE.prompt(question) if id_ in RESERVED] == [marker("<think>")]
    assert [id_ for id_ in TEMPLATE.trace(question) if id_ in RESERVED] == [marker("</think>")]
    assert [id_ for id_ in TEMPLATE.answer(hint) if id_ in RESERVED] == [marker("<|im_end|>")]


def test_pieces_concatenate_exactly():
    question, hint, trace = "4 8 2 1 = 31", "8 * 4 - 2 + 1", "8 * 4 32 - 2 30 + 1 31 OK"
    assert TEMPLATE.prompt(question) == (*plain(question), marker("<think>"))
    assert TEMPLATE.hinted_prompt(question, hint) == (
        *plain(question),
        marker("<hint>"),
        *plain(hint),
        marker("</hint>"),
        marker("<think>"),
    )
    assert TEMPLATE.trace(trace) == (*plain(trace), marker("</think>"))
    assert TEMPLATE.answer(hint) == (*plain(hint), marker("<|im_end|>"))


def test_a_written_sequence_reads_like_the_modules_picture():
    ids = TEMPLATE.hinted_prompt("4 8 = 12", "4 + 8") + TEMPLATE.trace("4 + 8 12 OK") + TEMPLATE.answer("4 + 8")
    assert TOKENIZER.decode(ids) == " 4 8 = 12<hint> 4 + 8</hint><think> 4 + 8 12 OK</think> 4 + 8<|im_end|>"


def test_reading_without_the_closing_marker():
    assert TEMPLATE.read_answer(plain("4 + 8")) == "4 + 8"
    assert TEMPLATE.read_answer(()) == ""
    assert TEMPLATE.read_answer(TEMPLATE.answer_close) == ""
    assert TEMPLATE.read_trace((*plain("4"), *TEMPLATE.trace_close, *plain("5"))) == "4</think> 5"


def test_split_cuts_after_the_first_closing_marker():
    trace, answer = TEMPLATE.trace("4 + 8 12 OK"), TEMPLATE.answer("4 + 8")
    assert TEMPLATE.split(trace + answer) == (trace, answer)
    assert TEMPLATE.split(trace) == (trace, ())
    assert TEMPLATE.split(trace + trace + answer) == (trace, trace + answer)
    assert TEMPLATE.split(trace[:-1]) == (trace[:-1], ())
    assert TEMPLATE.split(()) == ((), ())
    assert TEMPLATE.split(list(trace + answer)) == (trace, answer)


@given(st.lists(st.integers(0, 3), max_size=12))
def test_split_with_a_marker_of_several_tokens(ids):
    """Against a search in the string of ids; the marker (0, 0, 1) overlaps itself."""
    template = Template(TOKENIZER, Markers())
    template.trace_close = (0, 0, 1)
    place = "".join(map(str, ids)).find("001")
    end = len(ids) if place < 0 else place + 3
    assert template.split(ids) == (tuple(ids[:end]), tuple(ids[end:]))


def test_markers_may_be_phrases_of_several_tokens():
    template = Template(TOKENIZER, Markers(question_open="Q:", trace_close="\n\nAnswer:"))
    assert len(template.trace_close) > 1
    assert template.prompt("4")[: len(TOKENIZER.encode("Q:"))] == tuple(TOKENIZER.encode("Q:"))
    trace, answer = template.trace("4 + 8 12 OK"), template.answer("4 + 8")
    assert template.split(trace + answer) == (trace, answer)
    assert template.read_trace(trace) == "4 + 8 12 OK"


@pytest.mark.parametrize("name", ["trace_close", "answer_close"])
def test_a_piece_that_could_never_end_is_refused(name):
    with pytest.raises(ValueError, match="must not be empty"):
        Template(TOKENIZER, dataclasses.replace(Markers(), **{name: ""}))
