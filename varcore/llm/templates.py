"""From questions, hints, traces and answers to token ids, and back.

Every piece is tokenised on its own and the ids are concatenated, so a sampled trace can be continued, scored and
trained on exactly as it was sampled: nothing is decoded and tokenised again.  Text that comes from data or from a
model is encoded with special markers taken literally, so a question that contains ``</think>`` cannot close a trace.

    reasoner   [question] <think>            trace ... </think>   answer ... <|im_end|>
    posterior  [question] <hint> y' </hint> <think>               trace ... </think>

The markers stand in a TOML file (`load_template`; varcore/llm/template_files holds some) that anybody may replace.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedConfig, PreTrainedTokenizerBase

Ids = tuple[int, ...]
FILES = Path(__file__).with_name("template_files")


@dataclass(frozen=True)
class Markers:
    """The strings around each piece.  `trace_close` and `answer_close` belong to z and y and end their sampling.

    The posterior's prompt has the same pieces as the reasoner's, but for those whose `posterior_` form is not None.
    It shares `trace_close`: z, its closing marker included, must be the same ids under both models.
    """

    question_open: str = ""
    question_close: str = ""
    hint_open: str = "<hint>"
    hint_close: str = "</hint>"
    trace_open: str = "<think>"
    trace_close: str = "</think>"
    answer_close: str = "<|im_end|>"
    text_prefix: str = " "  # stands before every piece of plain text
    trace_suffix: str = ""  # stands after the text of a written trace
    answer_open: str = ""  # belongs to y, and is drawn with it
    posterior_question_open: str | None = None
    posterior_question_close: str | None = None
    posterior_trace_open: str | None = None
    special: tuple[str, ...] = ()  # must be one token each, and never come from text


OPTIONAL = {"trace_suffix", "answer_open", "special"}
OPTIONAL |= {"posterior_question_open", "posterior_question_close", "posterior_trace_open"}


class Template:
    """Token ids of prompts, traces and answers for one tokenizer.

    Raises ValueError for a closing marker that is empty, and for a marker of `special` that is not one token.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, markers: Markers):
        self.tokenizer = tokenizer
        self.markers = markers
        self._marker_ids: dict[str, Ids] = {"": ()}  # every text has some around it: each is encoded once
        self._check_special()
        inside = [f"(?<={re.escape(marker[0])})(?={re.escape(marker[1:])})" for marker in markers.special]
        self._breaks = re.compile("|".join(inside)) if inside else None
        self.trace_close = self._marker(markers.trace_close)
        self.answer_close = self._marker(markers.answer_close)
        if not self.trace_close or not self.answer_close:
            raise ValueError(
                "Template: trace_close and answer_close must not be empty, or no sample would end; got "
                f"{markers.trace_close!r} and {markers.answer_close!r}. Name the strings that end each."
            )

    def prompt(self, question: str) -> Ids:
        """The reasoner's prompt: everything that pi(z|x) is conditioned on."""
        markers = self.markers
        return self._between(markers.question_open, question, markers.question_close) + self._marker(markers.trace_open)

    def hinted_prompt(self, question: str, hint: str) -> Ids:
        """The posterior's prompt: the question, the answer hint in its delimiters, then the start of a trace."""
        markers = self.markers
        opening = _first(markers.posterior_question_open, markers.question_open)
        closing = _first(markers.posterior_question_close, markers.question_close)
        return (
            self._between(opening, question, closing)
            + self._between(markers.hint_open, hint, markers.hint_close)
            + self._marker(_first(markers.posterior_trace_open, markers.trace_open))
        )

    def trace(self, text: str) -> Ids:
        """A written trace, its closing marker included.  ValueError if the text itself would close it."""
        return self._closed("trace", self.text(text + self.markers.trace_suffix), self.trace_close)

    def answer(self, text: str) -> Ids:
        """A written answer, opening and closing marker included.  ValueError if the text itself would close it."""
        return self._closed("answer", self._marker(self.markers.answer_open) + self.text(text), self.answer_close)

    def text(self, text: str) -> Ids:
        """Plain text; markers inside it are spelled out as ordinary characters."""
        whole = self.markers.text_prefix + text
        # some tokenizers have </think> as a token that does not count as special: it is encoded in two parts
        parts = self._breaks.split(whole) if self._breaks else [whole]
        encoded = [self.tokenizer.encode(part, add_special_tokens=False, split_special_tokens=True) for part in parts]
        return tuple(id_ for ids in encoded for id_ in ids)

    def read_trace(self, ids: Sequence[int]) -> str:
        """Text of a trace without its closing marker."""
        text = self._read(ids, self.trace_close).removeprefix(self.markers.text_prefix)
        return text.removesuffix(self.markers.trace_suffix)

    def read_answer(self, ids: Sequence[int]) -> str:
        """Text of an answer without its markers.  No validity is implied: verifiers see this text."""
        text = self._read(ids, self.answer_close).removeprefix(self.markers.answer_open)
        return text.removeprefix(self.markers.text_prefix)

    def split(self, ids: Sequence[int]) -> tuple[Ids, Ids]:
        """A sampled continuation as (trace, answer): cut after the first trace-closing marker.

        Without the marker all of it is an unclosed trace and the answer is empty.
        """
        end = _end_of(tuple(ids), self.trace_close)
        return (tuple(ids), ()) if end is None else (tuple(ids[:end]), tuple(ids[end:]))

    def closed_in_text_only(self, ids: Sequence[int]) -> bool:
        """Whether an unclosed trace shows the closing marker to a reader, drawn as other tokens than those that end it.

        It happens with a marker of several tokens that a model joins to its neighbours.  Such a trace stays unclosed.
        """
        if _end_of(tuple(ids), self.trace_close) is not None:
            return False
        return self.markers.trace_close in str(self.tokenizer.decode(list(ids)))

    def _check_special(self) -> None:
        broken = {marker: ids for marker in self.markers.special if len(ids := self._marker(marker)) != 1}
        if broken:
            raise ValueError(
                f"Template: {list(broken)} are to be special, and the tokenizer has no token for them (the first is "
                f"{list(next(iter(broken.values())))}). Use the tokenizer that the model was made with, add them by "
                "tokenizer.add_special_tokens and resize the model's embedding, or take them out of `special`."
            )

    def _between(self, opening: str, text: str, closing: str) -> Ids:
        return self._marker(opening) + self.text(text) + self._marker(closing)

    def _marker(self, marker: str) -> Ids:
        if marker not in self._marker_ids:
            self._marker_ids[marker] = tuple(self.tokenizer.encode(marker, add_special_tokens=False))
        return self._marker_ids[marker]

    def _closed(self, what: str, ids: Ids, close: Ids) -> Ids:
        whole = ids + close
        if _end_of(whole, close) != len(whole):
            marker = getattr(self.markers, f"{what}_close")
            raise ValueError(
                f"Template.{what}: the text holds its own closing marker {marker!r}, and would end there. Take it out "
                "of the data, or make it a special token of the tokenizer, which text cannot spell."
            )
        return whole

    def _read(self, ids: Sequence[int], close: Ids) -> str:
        closed = tuple(ids[-len(close) :]) == close
        text = self.tokenizer.decode(list(ids[: -len(close)] if closed else ids))
        assert isinstance(text, str)
        return text


def load_template(source: str | Path, tokenizer: PreTrainedTokenizerBase) -> Template:
    """The template in a TOML file, or one that varcore brings, by its name (`template_names`).

    Raises ValueError for a file that lacks a marker, has one that is not known, or does not fit the tokenizer.
    """
    return Template(tokenizer, read_markers(source))


def template_names() -> list[str]:
    return sorted(path.stem for path in FILES.glob("*.toml"))


def read_markers(source: str | Path) -> Markers:
    """The strings in a template file: the fields of Markers, those without a `posterior_` form all of them named."""
    path = Path(source) if Path(source).suffix == ".toml" else FILES / f"{source}.toml"
    if not path.exists():
        raise ValueError(f"There is no template {str(source)!r}; choose one of {template_names()}, or a .toml file.")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid TOML ({error}). See varcore/llm/template_files for the form.") from error
    fields = {field.name for field in dataclasses.fields(Markers)}
    missing, unknown = sorted(fields - OPTIONAL - set(values)), sorted(set(values) - fields)
    if missing or unknown:
        raise ValueError(
            f"{path}: a template names every marker; missing: {missing}, not known: {unknown}. Write an empty string "
            "for one that is not wanted; trace_close and answer_close are needed, for without them no sample ends."
        )
    special = values.pop("special", [])
    if not all(isinstance(value, str) for value in [*values.values(), *special]):
        raise ValueError(
            f"{path}: every marker is a string, and `special` a list of strings; got {values | {'special': special}}."
        )
    return Markers(**values, special=tuple(special))


def check_model(tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> None:
    """Raise ValueError if the tokenizer has ids that the model's embedding has not."""
    largest = max(tokenizer.get_vocab().values())
    if largest >= config.vocab_size:
        raise ValueError(
            f"The tokenizer's largest token id is {largest}, and the model has embeddings for {config.vocab_size} "
            "tokens: they do not belong together. Load both from the same folder; if tokens were added, call "
            "model.resize_token_embeddings(len(tokenizer))."
        )


def check_room(prompts: Sequence[Ids], context: int, new_tokens: int) -> None:
    """Raise ValueError if a prompt and `new_tokens` more do not fit into `context` tokens."""
    longest = max(range(len(prompts)), key=lambda place: len(prompts[place]), default=None)
    if longest is not None and len(prompts[longest]) + new_tokens > context:
        raise ValueError(
            f"Prompt {longest} has {len(prompts[longest])} tokens; with {new_tokens} to be drawn that is more than the "
            f"model's context of {context}. Leave that question out, or draw fewer tokens (max_trace_tokens, "
            "max_answer_tokens)."
        )


def _first(special: str | None, usual: str) -> str:
    return usual if special is None else special


def _end_of(ids: Ids, close: Ids) -> int | None:
    """Where the first occurrence of `close` ends."""
    start = 0
    while True:
        try:
            start = ids.index(close[0], start)
        except ValueError:
            return None
        if ids[start : start + len(close)] == close:
            return start + len(close)
        start += 1
