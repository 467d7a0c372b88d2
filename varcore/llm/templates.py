"""From questions, hints, traces and answers to token ids, and back.

Every piece is tokenised on its own and the ids are concatenated, so a sampled trace can be continued, scored and
trained on exactly as it was sampled: nothing is decoded and tokenised again.  Text that comes from data or from a
model is encoded with special markers taken literally, so a question that contains ``</think>`` cannot close a trace.

    reasoner   [question] <think>            trace ... </think>   answer ... <|im_end|>
    posterior  [question] <hint> y' </hint> <think>               trace ... </think>
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Markers:
    """The strings around each piece.  `trace_close` and `answer_close` belong to z and y and end their sampling."""

    question_open: str = ""
    question_close: str = ""
    hint_open: str = "<hint>"
    hint_close: str = "</hint>"
    trace_open: str = "<think>"
    trace_close: str = "</think>"
    answer_close: str = "<|im_end|>"
    text_prefix: str = " "  # stands before every piece of plain text


class Template:
    """Token ids of prompts, traces and answers for one tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, markers: Markers):
        self.tokenizer = tokenizer
        self.markers = markers
        self.trace_close = self._marker(markers.trace_close)
        self.answer_close = self._marker(markers.answer_close)
        if not self.trace_close or not self.answer_close:
            raise ValueError(
                "Template: trace_close and answer_close must not be empty, or no sample would end; got "
                f"{markers.trace_close!r} and {markers.answer_close!r}. Name the strings that end each."
            )

    def prompt(self, question: str) -> Ids:
        """The reasoner's prompt: everything that pi(z|x) is conditioned on."""
        return self._question(question) + self._marker(self.markers.trace_open)

    def hinted_prompt(self, question: str, hint: str) -> Ids:
        """The posterior's prompt: the question, the answer hint in its delimiters, then the start of a trace."""
        return self._question(question) + self._hint(hint) + self._marker(self.markers.trace_open)

    def trace(self, text: str) -> Ids:
        """A written trace, its closing marker included."""
        return self.text(text) + self.trace_close

    def answer(self, text: str) -> Ids:
        """A written answer, its closing marker included."""
        return self.text(text) + self.answer_close

    def text(self, text: str) -> Ids:
        """Plain text; markers inside it are spelled out as ordinary characters."""
        encoded = self.tokenizer.encode(
            self.markers.text_prefix + text, add_special_tokens=False, split_special_tokens=True
        )
        return tuple(encoded)

    def read_trace(self, ids: Sequence[int]) -> str:
        """Text of a trace without its closing marker."""
        return self._read(ids, self.trace_close)

    def read_answer(self, ids: Sequence[int]) -> str:
        """Text of an answer without its closing marker.  No validity is implied: verifiers see this text."""
        return self._read(ids, self.answer_close)

    def split(self, ids: Sequence[int]) -> tuple[Ids, Ids]:
        """A sampled continuation as (trace, answer): cut after the first trace-closing marker.

        Without the marker all of it is an unclosed trace and the answer is empty.
        """
        size = len(self.trace_close)
        for end in range(size, len(ids) + 1):
            if tuple(ids[end - size : end]) == self.trace_close:
                return tuple(ids[:end]), tuple(ids[end:])
        return tuple(ids), ()

    def _question(self, question: str) -> Ids:
        return (
            self._marker(self.markers.question_open) + self.text(question) + self._marker(self.markers.question_close)
        )

    def _hint(self, hint: str) -> Ids:
        return self._marker(self.markers.hint_open) + self.text(hint) + self._marker(self.markers.hint_close)

    def _marker(self, marker: str) -> Ids:
        return tuple(self.tokenizer.encode(marker, add_special_tokens=False)) if marker else ()

    def _read(self, ids: Sequence[int], close: Ids) -> str:
        closed = tuple(ids[-len(close) :]) == close
        text = self.tokenizer.decode(list(ids[: -len(close)] if closed else ids))
        assert isinstance(text, str)
        return text.removeprefix(self.markers.text_prefix)
