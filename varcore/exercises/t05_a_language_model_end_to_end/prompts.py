"""Task 5.1: prompts of token ids, from pieces."""

import torch

from varcore.exercises.t05_a_language_model_end_to_end.tokens import TOKENIZER
from varcore.exercises.task import Case, Task


def cases(generator):
    def number():
        return int(torch.randint(1, 100, (), generator=generator))

    def sums():
        return f"{number()} + {number()}"

    return [
        Case("a plain question and its answer", (f"{number()} {number()} = {number()}", sums())),
        Case("a question that speaks of </think>", (f"{number()} </think> {number()} = {number()}", sums())),
        Case("a hint that speaks of </hint> and <think>", (f"{number()} = {number()}", f"{number()} </hint><think>")),
        Case("a question that ends with a marker", (f"{sums()} <|im_end|>", sums())),
        Case("text with letters, accents and line breaks", (f"Où vont {sums()} ?\n\n", f"là:\t{number()} ")),
        Case("a question that begins with a blank", (f" {sums()}", sums())),
        Case("an empty hint", (f"{number()} = {number()}", "")),
    ]


def prompts(question, hint):
    def marker(text):
        return tuple(TOKENIZER.encode(text, add_special_tokens=False))

    def plain(text):
        return tuple(TOKENIZER.encode(" " + text, add_special_tokens=False, split_special_tokens=True))

    think = marker("<think>")
    hinted = plain(question) + marker("<hint>") + plain(hint) + marker("</hint>") + think
    return plain(question) + think, hinted


def by_vocabulary(question, hint):
    mark = TOKENIZER.convert_tokens_to_ids
    asked, given = (
        TOKENIZER(f" {text}", add_special_tokens=False, split_special_tokens=True)["input_ids"]
        for text in (question, hint)
    )
    prompt = [*asked, mark("<think>")]
    hinted = [*asked, mark("<hint>"), *given, mark("</hint>"), mark("<think>")]
    return tuple(prompt), tuple(hinted)


def piece_by_piece(question, hint):
    pieces = [(question, True), ("<hint>", False), (hint, True), ("</hint>", False), ("<think>", False)]
    encoded = []
    for text, is_text in pieces:
        text = f" {text}" if is_text else text
        encoded.append(TOKENIZER.encode(text, add_special_tokens=False, split_special_tokens=is_text))
    return tuple(encoded[0] + encoded[4]), tuple(id_ for ids in encoded for id_ in ids)


def _encoded(text, **settings):
    return tuple(TOKENIZER.encode(text, add_special_tokens=False, **settings))


def joined_text(question, hint):
    """text from data is encoded as markers are: joined to them, or without `split_special_tokens=True`. Then a marker
    that somebody wrote in a question or a hint is taken for a real one: a question could close a trace."""
    return _encoded(f" {question}<think>"), _encoded(f" {question}<hint> {hint}</hint><think>")


def joined_and_spelled_out(question, hint):
    """your own markers are encoded as plain text, and so are spelled out in letters. Only what comes from data is
    plain text."""
    prompt, hinted = f" {question}<think>", f" {question}<hint> {hint}</hint><think>"
    return _encoded(prompt, split_special_tokens=True), _encoded(hinted, split_special_tokens=True)


def hint_not_literal(question, hint):
    """the question is plain text, but the hint is not: a marker inside a hint is taken for a real one. Hints come from
    data too."""
    middle = _encoded("<hint>") + _encoded(f" {hint}") + _encoded("</hint>")
    prompt = prompts(question, hint)[0]
    return prompt, prompt[:-1] + middle + prompt[-1:]


def without_blank(question, hint):
    """the blank in front of a text is missing. To this tokenizer ` 4` is one token, and `4` is another."""
    asked, given = (_encoded(text, split_special_tokens=True) for text in (question, hint))
    think = _encoded("<think>")
    return asked + think, asked + _encoded("<hint>") + given + _encoded("</hint>") + think


def hint_first(question, hint):
    """in the helper's prompt the hint stands before the question; the spec has it the other way round."""
    prompt, hinted = prompts(question, hint)
    return prompt, hinted[len(prompt) - 1 : -1] + prompt


def hint_after_think(question, hint):
    """in the helper's prompt the hint comes after `<think>`: it would be a part of the trace, which the reasoner then
    has to score and to learn."""
    prompt, hinted = prompts(question, hint)
    return prompt, prompt + hinted[len(prompt) - 1 : -1]


def bare_hint(question, hint):
    """the hint has no `<hint>` and `</hint>` around it. Nothing tells the helper where the question ends."""
    prompt = prompts(question, hint)[0]
    return prompt, prompt[:-1] + _encoded(f" {hint}", split_special_tokens=True) + prompt[-1:]


def no_think(question, hint):
    """`<think>` is missing at the end. It is the last token of the prompt, not the first of the trace."""
    prompt, hinted = prompts(question, hint)
    return prompt[:-1], hinted[:-1]


def hint_for_both(question, hint):
    """the reasoner's prompt holds the hint. It would be asked questions with the answer beside them, and learn
    nothing."""
    hinted = prompts(question, hint)[1]
    return hinted, hinted


def blanks_around_markers(question, hint):
    """there are blanks between the pieces, each a token that the spec does not have: the blank belongs before a text,
    and not before a marker."""
    prompt, hinted = prompts(question, hint)
    blank, end = _encoded(" "), len(hinted) - 2
    return prompt[:-1] + blank + prompt[-1:], (
        prompt[:-1] + blank + hinted[len(prompt) - 1 : end] + blank + hinted[end:-1] + blank + hinted[-1:]
    )


def stripped(question, hint):
    """blanks and line breaks at the ends of a text are taken away. A prompt says what the data say, character by
    character."""
    return prompts(question.strip(), hint.strip())


def blank_if_there_is_none(question, hint):
    """a text that begins with a blank gets no other. Every text gets one, so that no two texts share a prompt."""
    asked, given = (text.removeprefix(" ") for text in (question, hint))
    return prompts(asked, given)


def hint_not_closed(question, hint):
    """`</hint>` is missing: nothing tells the helper where the hint ends."""
    prompt, hinted = prompts(question, hint)
    return prompt, hinted[:-2] + hinted[-1:]


def empty_left_out(question, hint):
    """an empty text is left out, with its blank. Every text gets one blank in front, the empty one too."""
    prompt, hinted = prompts(question, hint)
    return prompt, hinted if hint else hinted[:-3] + hinted[-2:]


def helper_first(question, hint):
    """the helper's prompt comes first; the spec asks for the reasoner's, then the helper's."""
    return prompts(question, hint)[::-1]


def lists(question, hint):
    """the ids are right, and come in lists; the spec asks for two tuples, which nobody changes by accident."""
    prompt, hinted = prompts(question, hint)
    return list(prompt), list(hinted)


TASK = Task(
    name="5.1",
    title="Two prompts",
    tier="warm-up",
    hints=(
        "Write two small functions, one that encodes a marker and one that encodes a text, and add up what they give. "
        "Tuples are joined by `+`. Never join strings.",
        "reasoner: text(question) + marker(<think>)\n"
        "helper: text(question) + marker(<hint>) + text(hint) + marker(</hint>) + marker(<think>)",
        "def marker(text):\n    return tuple(TOKENIZER.encode(text, ...))\n\ndef plain(text):\n"
        '    return tuple(TOKENIZER.encode(" " + text, ..., ...))\n\n'
        'prompt = plain(question) + marker("<think>")\nhinted = ...\nreturn prompt, hinted',
    ),
    cases=cases,
    solution=prompts,
    alternatives=(by_vocabulary, piece_by_piece),
    mistakes=(
        joined_text,
        joined_and_spelled_out,
        hint_not_literal,
        without_blank,
        hint_first,
        hint_after_think,
        bare_hint,
        no_think,
        hint_for_both,
        blanks_around_markers,
        stripped,
        blank_if_there_is_none,
        hint_not_closed,
        empty_left_out,
        helper_first,
        lists,
    ),
    library="varcore.llm.templates.Template.hinted_prompt",
)
