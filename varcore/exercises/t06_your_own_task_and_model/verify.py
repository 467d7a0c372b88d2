"""Task 6.1: is this answer right?"""

import itertools
import re

from varcore.exercises.t06_your_own_task_and_model.coins import draw, payments, read_question, rng_of, text_of
from varcore.exercises.task import Case, Task
from varcore.tasks import Question, Verdict

FLIPPED = "an answer with a last coin that may be wrong"
ONCE = "a right answer without any coin twice"
ANSWERS = {  # an answer of each kind, made of a right one and the amount
    "an expression": lambda right, amount: right.replace(" ", " + "),
    "an expression without blanks": lambda right, amount: right.replace(" ", "+"),
    "another right answer than the reference": lambda right, amount: right,
    "a right answer with its coins in ascending order": lambda right, amount: _text(sorted(map(int, right.split(" ")))),
    ONCE: lambda right, amount: right,
    "a coin that the question does not have": lambda right, amount: str(amount),
    "six coins that add up": lambda right, amount: right,
    "an empty answer": lambda right, amount: "",
    "a word at the end": lambda right, amount: f"{right} coins",
    "a right answer that goes on": lambda right, amount: f"{right} = {amount}",
    "a leading zero": lambda right, amount: f"0{right}",
    "a blank at the start": lambda right, amount: f" {right}",
    "a line break at the end": lambda right, amount: f"{right}\n",
    "two blanks in a row": lambda right, amount: right.replace(" ", "  ", 1),
    "a tab between two coins": lambda right, amount: right.replace(" ", "\t", 1),
    "a sign": lambda right, amount: f"+{right}",
    "a coin of 0": lambda right, amount: f"{right} 0",
    "decimals": lambda right, amount: f"{right}.0",
    "commas": lambda right, amount: right.replace(" ", ", "),
    "a number of three digits": lambda right, amount: f"{right} 100",
    "a number of five thousand digits": lambda right, amount: "7" * 5000,
    "digits of another script": lambda right, amount: right.translate({48 + n: 0x660 + n for n in range(10)}),
}


def cases(generator):
    rng = rng_of(generator)
    first, *others = [_case(words, rng) for words in (FLIPPED, *5 * [FLIPPED], *ANSWERS)]
    rng.shuffle(others)
    return [first, *others]


def _case(words, rng):
    """A question with coins of one and of two digits, some of which are needed twice; and an answer to it."""
    reference, right, amount, coins = (), (), 0, []
    kinds = 3 if words == ONCE else 2
    while (
        amount in coins or len(set(right)) != kinds or list(right) == sorted(right) or min(coins) > 9 or max(coins) < 10
    ):
        amount, coins = draw(rng)
        ways = payments(amount, coins)
        reference, right = rng.sample(ways, 2) if len(ways) > 1 else ((), ())
        right = () if words == ONCE and len(right) > 3 else right
        if words == "six coins that add up":
            six = [way for way in itertools.product(coins, repeat=6) if sum(way) == amount]
            right = rng.choice(six) if six else ()
    question = Question(text_of(amount, coins), text_of(amount, coins), 1, _text(reference), len(ways))
    if words == FLIPPED:
        return Case(words, (question, _text([*right[:-1], rng.choice(coins)])))
    return Case(words, (question, ANSWERS[words](_text(right), amount)))


def _text(numbers):
    return " ".join(map(str, numbers))


def verify(question, answer):
    words = answer.split(" ")
    if any(word not in map(str, range(1, 100)) for word in words):
        return Verdict.UNPARSED
    amount, coins = read_question(question.text)
    given = [int(word) for word in words]
    pays = len(given) <= 5 and set(given) <= set(coins) and sum(given) == amount
    return Verdict.RIGHT if pays else Verdict.WRONG


def by_regular_expression(question, answer):
    if not re.fullmatch(r"[1-9][0-9]?( [1-9][0-9]?)*", answer):
        return Verdict.UNPARSED
    amount, *coins = map(int, question.text.replace(" =", "").split(" "))
    words = list(map(int, answer.split(" ")))
    if len(words) > 5 or any(word not in coins for word in words):
        return Verdict.WRONG
    return Verdict.RIGHT if sum(words) == amount else Verdict.WRONG


def coin_by_coin(question, answer):
    amount, coins = read_question(question.text)
    left, wrong = amount, False
    for place, word in enumerate(answer.split(" ")):
        number = int(word) if len(word) in (1, 2) and word.isascii() and word.isdigit() else 0
        if number == 0 or str(number) != word:
            return Verdict.UNPARSED
        left -= number
        wrong = wrong or number not in coins or place > 4
    return Verdict.WRONG if wrong or left else Verdict.RIGHT


def reference_alone(question, answer):
    """it takes the reference for the only right answer. Whatever pays the amount is right: the reference is one of
    them, and which one was drawn by chance."""
    verdict = verify(question, answer)
    return Verdict.WRONG if verdict is Verdict.RIGHT and answer != question.reference else verdict


def order_matters(question, answer):
    """it wants the coins in some order, as those of the reference or of the question. Coins pay in any order."""
    verdict = verify(question, answer)
    if verdict is not Verdict.RIGHT:
        return verdict
    given = [int(word) for word in answer.split(" ")]
    return verdict if given == sorted(given) else Verdict.WRONG


def each_coin_once(question, answer):
    """it lets every kind of coin be used once only. There are as many of each kind as one likes."""
    verdict = verify(question, answer)
    twice = len(set(answer.split(" "))) < len(answer.split(" "))
    return Verdict.WRONG if verdict is Verdict.RIGHT and twice else verdict


def any_number_of_coins(question, answer):
    """it accepts more than five coins."""
    amount, coins = read_question(question.text)
    verdict = verify(question, answer)
    if verdict is Verdict.UNPARSED:
        return verdict
    given = [int(word) for word in answer.split(" ")]
    return Verdict.RIGHT if set(given) <= set(coins) and sum(given) == amount else Verdict.WRONG


def any_coin(question, answer):
    """it looks at the sum alone. The amount itself, as one coin, would be a right answer to every question, and a model
    that is paid for right answers finds out."""
    verdict = verify(question, answer)
    if verdict is Verdict.UNPARSED:
        return verdict
    given = [int(word) for word in answer.split(" ")]
    pays = len(given) <= 5 and sum(given) == read_question(question.text)[0]
    return Verdict.RIGHT if pays else Verdict.WRONG


def _lenient(question, numbers):
    amount, coins = read_question(question.text)
    pays = 0 < len(numbers) <= 5 and set(numbers) <= set(coins) and sum(numbers) == amount
    return Verdict.RIGHT if pays else Verdict.WRONG


def forgiving_blanks(question, answer):
    """it forgives blanks: `split()` and `strip()` take two blanks, tabs and line breaks for one blank. Such an answer
    is not what the spec asks for, and the model would learn to write it."""
    return verify(question, " ".join(answer.split()))


def forgiving_end(question, answer):
    """it forgives a line break at the end. In a regular expression `$` matches before one; `fullmatch` does not."""
    return verify(question, answer.removesuffix("\n"))


def int_decides(question, answer):
    """it asks `int` what a number is. `int` takes `07`, `+7`, ` 7 `, digits of other scripts, and raises for thousands
    of digits."""
    if len(answer) > 4000:
        return Verdict.UNPARSED
    try:
        numbers = [int(word) for word in answer.split(" ")]
    except ValueError:
        return Verdict.UNPARSED
    return _lenient(question, numbers)


def isdigit_decides(question, answer):
    """it asks `isdigit`, `isdecimal` or `\\d` what a number is: these take leading zeros, any number of digits, and
    digits of other scripts. Compare with what may be written: 1 to 99."""
    words = answer.split(" ")
    if len(answer) > 4000 or not all(word.isdecimal() for word in words):
        return Verdict.UNPARSED
    return _lenient(question, [int(word) for word in words])


def leading_zeros(question, answer):
    """it takes numbers with leading zeros, or 0 itself. A coin has one spelling: else one and the same answer counts as
    several, and the number of right answers is wrong."""
    if not re.fullmatch(r"[0-9]{1,2}( [0-9]{1,2})*|0[0-9]{2}( [0-9]{1,2})*", answer):
        return Verdict.UNPARSED
    return _lenient(question, [int(word) for word in answer.split(" ")])


def numbers_picked_out(question, answer):
    """it picks the numbers out of whatever text there is. An expression, or an answer that goes on, is not an answer;
    and who picks generously is right by luck."""
    numbers = [int(word) for word in re.findall(r"[0-9]{1,4}", answer)]
    return _lenient(question, numbers) if numbers else Verdict.UNPARSED


def begins_well(question, answer):
    """it reads an answer from the left and stops where it can no longer read. `re.match` looks at the beginning only;
    the rest may say anything."""
    found = re.match(r"[1-9][0-9]?( [1-9][0-9]?)*", answer)
    return verify(question, found[0]) if found else Verdict.UNPARSED


def expressions(question, answer):
    """it takes sums written with a plus sign for answers: the spec has blanks between coins, and nothing else."""
    return verify(question, answer.replace(" + ", " ").replace("+", " ") if "+" in answer[1:] else answer)


def unread_is_wrong(question, answer):
    """it calls an answer WRONG that cannot be read. Both count as not right; but a ledger full of UNPARSED says that
    the *form* was not learned, and one full of WRONG that the skill was not."""
    return Verdict.RIGHT if verify(question, answer) is Verdict.RIGHT else Verdict.WRONG


def wrong_is_unread(question, answer):
    """it calls coins UNPARSED that can be read, but do not pay. UNPARSED is for the form alone."""
    return Verdict.RIGHT if verify(question, answer) is Verdict.RIGHT else Verdict.UNPARSED


def true_or_false(question, answer):
    """it returns True or False. The spec asks for a `Verdict`, which has a third value for what cannot be read."""
    return verify(question, answer) is Verdict.RIGHT


def strings(question, answer):
    """it returns text. The spec asks for a `Verdict`, such as `Verdict.RIGHT`: a run refuses anything else."""
    return str(verify(question, answer))


TASK = Task(
    name="6.1",
    title="Right, wrong, or no answer at all",
    tier="warm-up",
    hints=(
        "Two questions, one after the other. Can it be read: is every piece between two blanks one of the 99 numerals? "
        "Only then: does it pay? Say what may be written, not what may not.",
        'words = answer.split(" "). UNPARSED unless each is in {"1", ..., "99"}. RIGHT if at most 5, all of them among '
        "the question's coins, and Σ = amount.",
        "amount, coins = read_question(question.text)\nwords = answer.split(...)\n"
        "if any(word not in map(str, range(1, 100)) for word in words):\n    return ...\n"
        "given = [int(word) for word in words]\n"
        "pays = len(given) <= ... and set(given) <= ... and ...\nreturn Verdict.RIGHT if pays else ...",
    ),
    cases=cases,
    solution=verify,
    alternatives=(by_regular_expression, coin_by_coin),
    mistakes=(
        reference_alone,
        order_matters,
        each_coin_once,
        any_number_of_coins,
        any_coin,
        forgiving_blanks,
        forgiving_end,
        int_decides,
        isdigit_decides,
        leading_zeros,
        numbers_picked_out,
        begins_well,
        expressions,
        unread_is_wrong,
        wrong_is_unread,
        true_or_false,
        strings,
    ),
)
