"""The final answer in a text that a model wrote, and the two verifiers that need no mathematics: choice and exact."""

from __future__ import annotations

import re
import unicodedata

from varcore.tasks.base import Verdict

LETTERS = "ABCDEFGHIJ"
LONGEST_LINE = 200  # characters of a text that counts as an answer although nothing in it says so
BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
BETWEEN_BOXES = re.compile(r"[\s$]*(?:,?\s*(?:and|or)|[,;])?[\s$]*(?:[a-zA-Z]\s*=\s*)?")
STATED = re.compile(r"\banswer\b[\s*]*(?:\bis\b|[:=])[ \t*:]*", re.IGNORECASE)
WRAPPER = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}")
CHOICE = re.compile(rf"\(?\s*([{LETTERS}])\s*\)?\s*(?:[.):,/&-](.*)|(?:or|and)\b(.*))?", re.DOTALL)
ANOTHER = re.compile(rf"\s*(?:or|and)?\s*\(?[{LETTERS}]\)?\s*(?:[.),]|$)")


def final_answer(text: str) -> str | None:
    r"""The last ``\boxed{...}``; without one, what follows the last "answer is" or "answer:"; else a text of one line.

    Neighbouring boxes are one answer, a list: ``\boxed{1} and \boxed{2}`` gives "1,2", so that naming two values is not
    a way to be right about one.  None if there is no such answer, it is empty, or the last box is never closed.  The
    last number of a longer text is not taken: it would be right by luck.
    """
    if BOX.search(text):
        return _boxed(text)
    stated = list(STATED.finditer(text))
    if stated:
        line = text[stated[-1].end() :].partition("\n")[0]
        return re.split(r"\.(?:\s|$)", line.replace("**", ""))[0].strip() or None
    line = text.strip()
    return line if line and "\n" not in line and len(line) <= LONGEST_LINE else None


def _boxed(text: str) -> str | None:
    contents: list[str] = []
    limit = len(text)
    for match in reversed(list(BOX.finditer(text))):
        end = _closing_brace(text, match.end(), limit)
        if end is None or (contents and not BETWEEN_BOXES.fullmatch(text[end + 1 : limit])):
            break
        content = text[match.end() : end].strip()
        if not contents or contents[0] != content:
            contents.insert(0, content)
        limit = match.start()
    return ",".join(contents) or None


def _closing_brace(text: str, start: int, limit: int) -> int | None:
    depth, place = 1, start
    while place < limit:
        if text[place] == "\\":
            place += 1  # an escaped brace is a character
        else:
            depth += (text[place] == "{") - (text[place] == "}")
        if depth == 0:
            return place
        place += 1
    return None


def judge_choice(gold: str, answer: str) -> Verdict:
    """Whether the final answer of a text names the option `gold`, one of the letters A to J.

    ``\\boxed{C}``, ``The answer is (C).``, ``C) 12 m``.  UNPARSED where no letter is named, or two are; the text of an
    option without its letter names none.
    """
    letter = chosen_letter(answer)
    if letter is None:
        return Verdict.UNPARSED
    return Verdict.RIGHT if letter == gold else Verdict.WRONG


def chosen_letter(text: str) -> str | None:
    content = final_answer(text)
    if content is None:
        return None
    content = WRAPPER.sub(r"\1", content).replace("$", "").replace("*", "").strip()
    if len(content) == 1:
        content = content.upper()
    match = CHOICE.fullmatch(content)
    if match is None:
        return None
    rest = match[2] or match[3] or ""
    return None if ANOTHER.match(rest) else match[1]


def judge_exact(gold: str, answer: str) -> Verdict:
    """Whether the answer is `gold`, character by character, but for Unicode form and white space; boxes are opened."""
    found = _plain(answer)
    if not found:
        return Verdict.UNPARSED
    return Verdict.RIGHT if found == _plain(gold) else Verdict.WRONG


def _plain(text: str) -> str:
    content = _boxed(text) if BOX.search(text) else text
    return " ".join(unicodedata.normalize("NFC", content or "").split())
