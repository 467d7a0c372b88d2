"""The text of a mathematical answer, made ready for a parser: symbols, lists and their brackets, percent, units, bases.

Pure functions of strings, none of which looks at more than a thousand characters.
"""

from __future__ import annotations

import re
import unicodedata

SYMBOLS = {
    "−": "-",
    "–": "-",
    "×": r"\times ",
    "·": r"\cdot ",
    "÷": "/",
    "π": r"\pi ",
    "∞": r"\infty ",
    "√": r"\sqrt ",
    "≤": r"\le ",
    "≥": r"\ge ",
    "∪": r"\cup ",
    "∅": r"\emptyset ",
    "≈": r"\approx ",
    "…": r"\ldots ",
    "°": r"^\circ ",
    "²": "^2",
    "³": "^3",
    "½": r"\frac{1}{2}",
    "¼": r"\frac{1}{4}",
    "¾": r"\frac{3}{4}",
    "\u00a0": " ",
}
REPLACED = [
    (r"\\\$\s*(-?[\d.,]+)$", r"\1 dollars"),  # a sum of money; every other dollar sign is LaTeX's
    (r"\\?\$", " "),
    (r"\\(?:left|right|big|Big|bigg|Bigg)(?![a-zA-Z])", ""),
    (r"(?<!\\)\\[\[\]()]", " "),  # \[ and \( open mathematics
    (r"\\text\{\s*(-?\d[^{}]*)\}", r"\1"),
    (r"\\sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
    (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
    (r"(?<!\\)\\(?:[,!;: ]|quad(?![a-zA-Z])|qquad(?![a-zA-Z])|displaystyle(?![a-zA-Z]))|~|\{,\}", ""),
    (r"\\l(?:brace|angle)(?![a-zA-Z])", lambda match: r"\{" if "brace" in match[0] else "("),
    (r"\\r(?:brace|angle)(?![a-zA-Z])", lambda match: r"\}" if "brace" in match[0] else ")"),
    (r"(?<![\d.])(\d+(?:\.\d+)?)[eE]([+-]?\d+)\b", r"\1 \\times 10^{\2}"),
    (r"^[a-zA-Z]\s*\\in(?![a-zA-Z])\s*", ""),  # x in [1, 2]
    (r"^\([a-zA-Z](?:\s*,\s*[a-zA-Z])*\)\s*=\s*(?=\()", ""),  # (x, y) = (1, 2)
    (r"^=", ""),
    (r"\s+", " "),
]
AND_OR = re.compile(r"\\text\{\s*,?\s*(?:and|or)\s*,?\s*\}|(?<![a-zA-Z\\])(?:and|or)(?![a-zA-Z])|;")
THOUSANDS = re.compile(r"(?<![\d,.])\d{1,3}(?:,\d{3})+(?!,?\d)")
PERCENT = re.compile(r"\s*(?:\\text\{\s*)?(?:\\?%|\bper ?cent\b)(?:\s*\})?\s*")
REPEATING = re.compile(r"(\d+)\.(\d*)\\overline\{(\d+)\}")
BASED = re.compile(r"(?:\\text\{)?(\d[0-9A-Fa-f]*)\}?(?:_\{?\s*(?:\\text\{)?\s*(\w+)\s*\}{0,2})?")
WRAPPED_UNIT = re.compile(r"(.*\S)\s*\\(?:text|mathrm|mbox|textrm)\{([^{}]*)\}(?:\^\{?(\d)\}?)?")
PLAIN_UNIT = re.compile(r"(.*[\d})])(?:\s+([a-zA-Z]+)|([a-zA-Z]{2,}))\.?(?:\^\{?(\d)\}?)?")
DEGREES = re.compile(r"(.*\S)\s*\^\s*\{?\s*\\circ\s*\}?")
UNITS = {
    name: names.split()[0]
    for names in (
        "mm millimeter millimeters millimetre millimetres",
        "cm centimeter centimeters centimetre centimetres",
        "m meter meters metre metres",
        "km kilometer kilometers kilometre kilometres",
        "in inch inches",
        "ft foot feet",
        "yd yard yards",
        "mi mile miles",
        "mg milligram milligrams",
        "g gram grams",
        "kg kilogram kilograms",
        "s sec second seconds",
        "min minute minutes",
        "h hr hour hours",
        "day days",
        "week weeks",
        "month months",
        "year years",
        "cent cents",
        "dollar dollars",
        "degree degrees",
        "rad radian radians",
        "ml milliliter milliliters",
        "l liter liters litre litres",
    )
    for name in names.split()
}
# text after a number that makes it another answer
NOT_A_UNIT = re.compile(r"\b(?:or|and|not|more|less|most|least|than|about|is|are|if|for)\b")
# what the parser drops without a word
DROPPED = [re.compile(r"'|\\prime"), re.compile(r"\\[lc]?dots|\.\.\."), re.compile(r"\\approx|\\sim(?![a-z])")]
Unit = tuple[str, ...]


def tidy(text: str) -> str:
    """One line: Unicode symbols as LaTeX, no dollar signs, no spacing commands, 1e5 as a power of ten."""
    text = "".join(SYMBOLS.get(character, character) for character in text).strip()
    text = re.sub(r"\d", lambda match: str(unicodedata.digit(match[0])), text)
    for pattern, replacement in REPLACED:
        text = re.sub(pattern, replacement, text)
    return REPEATING.sub(_repeating, text.strip().rstrip(".").strip())


def _repeating(match: re.Match[str]) -> str:
    """``0.1\\overline{6}`` as a fraction: (16 - 1) / 90."""
    whole, fixed, period = match.groups()
    numerator = int(whole + fixed + period) - int(whole + fixed)
    return rf"\frac{{{numerator}}}{{{'9' * len(period)}{'0' * len(fixed)}}}"


def structure(text: str) -> tuple[str, list[str]]:
    """Brackets and items: ``(1, 2]`` to ("(]", ["1", "2"]), ``1 or 2`` to ("", ["1", "2"]), ``7`` to ("", ["7"])."""
    opening = r"\{" if text.startswith(r"\{") else text[:1]
    closing = r"\}" if text.endswith(r"\}") else text[-1:]
    if opening in ("(", "[", r"\{") and closing in (")", "]", r"\}") and _encloses(text):
        items = _split(text[len(opening) : -len(closing)])
        if len(items) > 1 or opening == r"\{":
            kind = opening[-1] + closing[-1]
            return kind, list(dict.fromkeys(items)) if kind == "{}" else items
    if opening in ("(", "[", r"\{") and _encloses(text):
        return "", [text]
    return "", _split(AND_OR.sub(",", THOUSANDS.sub(lambda match: match[0].replace(",", ""), text)))


def _encloses(text: str) -> bool:
    """Whether the first bracket closes at the very end.  Any opener pairs with any closer: [1, 2) is an interval."""
    depths = _depths(text)
    return bool(depths) and depths[-1] == 0 and 0 not in depths[1 if text.startswith("\\") else 0 : -1]


def _split(text: str) -> list[str]:
    """Items between the commas that no bracket encloses."""
    items, start = [], 0
    for place, level in enumerate(_depths(text)):
        if text[place] == "," and level == 0:
            items.append(text[start:place])
            start = place + 1
    return [item.strip() for item in [*items, text[start:]] if item.strip()]


def are_named(items: list[str]) -> bool:
    """``x=1, y=2``: each item gives the value of another unknown."""
    names = [re.match(r"[a-zA-Z]\w*(?=\s*=)", item) for item in items]
    return None not in names and len({match[0] for match in names if match}) == len(items)


def nesting(text: str) -> int:
    """How many brackets enclose the innermost character."""
    return max(_depths(text), default=0)


def _depths(text: str) -> list[int]:
    depths, depth = [], 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        depths.append(depth)
    return depths


def without_percent(text: str) -> str:
    return PERCENT.sub(" ", text).strip()


def percent_as_fraction(item: str) -> str:
    """``50%`` as a hundredth of 50; text without a final percent sign as it is."""
    match = re.fullmatch(r"(.*?)" + PERCENT.pattern, item)
    return rf"\frac{{{match[1]}}}{{100}}" if match and match[1] else item


def numeral(text: str) -> tuple[str, str] | None:
    """Digits and base of ``1011_2``, base "" where none is written; None for anything else."""
    match = BASED.fullmatch(text)
    return (match[1].lower(), match[2] or "") if match else None


def split_unit(item: str) -> tuple[str, Unit]:
    """``5 \\text{ cm}^2`` to ("5", ("cm", "2")).  The unit is () where there is none, ("?",) where it is not known."""
    if match := DEGREES.fullmatch(item):
        return match[1], ("degree",)
    match = WRAPPED_UNIT.fullmatch(item)
    if match and not NOT_A_UNIT.search(match[2]):
        return match[1], _unit(match[2], match[3])
    match = PLAIN_UNIT.fullmatch(item)
    if match and (match[2] or match[3]) in UNITS:
        return match[1], _unit(match[2] or match[3], match[4])
    return item, ()


def _unit(text: str, power: str | None) -> Unit:
    parts = [UNITS.get(part.strip(" .").lower(), "?") for part in re.split(r"/|\bper\b", text)]
    return ("?",) if "?" in parts else (*parts, *([power] if power else []))


def differ_in_marks(gold: str, answer: str) -> bool:
    """Whether two texts differ in something that the parser does not see: primes, dots, capital letters, "about"."""
    if any(len(mark.findall(gold)) != len(mark.findall(answer)) for mark in DROPPED):
        return True
    ours, theirs = _letters(gold), _letters(answer)
    return ours != theirs and {c.lower() for c in ours} == {c.lower() for c in theirs}


def _letters(text: str) -> set[str]:
    return set(re.findall(r"[a-zA-Z]", re.sub(r"\\[a-zA-Z]+", "", text)))


def words(item: str) -> str | None:
    """A text answer in lower case: what ``\\text{...}`` holds, or letters with a run of four; None for mathematics."""
    match = re.fullmatch(r"\\(?:text|mathrm|mbox|textrm|textbf)\{([^{}]*)\}", item)
    plain = re.sub(r"[\s.,'-]+", " ", match[1] if match else item).strip().lower()
    if not re.fullmatch(r"[^\W\d_]+(?: [^\W\d_]+)*", plain) or len(plain) < 2:
        return None
    return plain if match or re.search(r"[^\W\d_]{4}", plain) else None


def asks_percentage(question: str) -> bool:
    """Whether the last sentence of a question speaks of a percentage."""
    sentences = [sentence for sentence in re.split(r"(?<=[.?!])\s+", question.strip()) if sentence]
    return bool(sentences) and re.search(r"\bper ?cent", sentences[-1], re.IGNORECASE) is not None
