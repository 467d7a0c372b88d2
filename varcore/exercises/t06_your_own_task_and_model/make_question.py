"""Task 6.3: a question with all that the method asks of it."""

import itertools

from varcore.exercises.t06_your_own_task_and_model.coins import draw, payments, rng_of, text_of
from varcore.exercises.task import Case, Task
from varcore.tasks import Question


def cases(generator):
    rng = rng_of(generator)

    def drawn(fits):
        """Arguments of a question that fits, with a u at which the answer is not the first."""
        while True:
            amount, coins = draw(rng)
            ways = payments(amount, coins)
            u = rng.uniform(0.4, 1)
            way = ways[int(u * len(ways))]
            if fits(ways) and list(way) not in (sorted(way), sorted(way)[::-1]) and coins != sorted(coins):
                return amount, coins, u

    def unpayable():
        while True:
            coins = rng.sample(range(4, 13), 3)
            amount = rng.randrange(13, 40)
            if not payments(amount, coins):
                return amount, coins, rng.random()

    return [
        Case("a question with three or four answers", drawn(lambda ways: 3 <= len(ways) <= 4)),
        Case("a question with many answers", drawn(lambda ways: len(ways) > 9)),
        Case("a question that only five coins pay", drawn(lambda ways: len(ways[0]) == 5)),
        Case("a question that four coins or five pay", drawn(lambda ways: len(ways[0]) == 4 < len(ways[-1]))),
        Case("a question that three coins or more pay", drawn(lambda ways: len(ways[0]) == 3 < len(ways[-1]))),
        Case("the first answer, u = 0", (*drawn(lambda ways: len(ways) > 5)[:2], 0.0)),
        Case("an amount that these coins do not pay", unpayable()),
        Case("one coin that pays by itself", (coin := rng.randrange(7, 13), [coin, coin - 1, coin - 2], rng.random())),
    ]


def make_question(amount, coins, u):
    answers = []
    for length in range(1, 6):
        answers += [way for way in itertools.product(coins, repeat=length) if sum(way) == amount]
    if not answers:
        return None
    reference, left, steps = answers[int(u * len(answers))], amount, []
    for coin in reference:
        left -= coin
        steps += [coin, left]
    text = text_of(amount, coins)
    level = 1 if len(answers[0]) <= 3 else 2
    return Question(
        id=text,
        text=text,
        level=level,
        reference=" ".join(map(str, reference)),
        num_correct_answers=len(answers),
        curated_trace=" ".join(map(str, steps)),
    )


def by_recursion(amount, coins, u):
    def ways(left, places):
        if left == 0:
            return [()]
        if left < 0 or places == 0:
            return []
        return [(coin, *rest) for coin in coins for rest in ways(left - coin, places - 1)]

    place = {coin: n for n, coin in enumerate(coins)}
    answers = sorted(ways(amount, 5), key=lambda way: (len(way), [place[coin] for coin in way]))
    if not answers:
        return None
    chosen = answers[int(u * len(answers))]
    left = [amount - sum(chosen[: n + 1]) for n in range(len(chosen))]
    trace = " ".join(f"{coin} {rest}" for coin, rest in zip(chosen, left, strict=True))
    text = f"{amount} = " + " ".join(str(coin) for coin in coins)
    level = 2 if len(answers[0]) > 3 else 1
    return Question(text, text, level, " ".join(str(coin) for coin in chosen), len(answers), trace)


def length_by_length(amount, coins, u):
    layers, answers = [((), 0)], []
    for _ in range(5):
        layers = [((*way, coin), total + coin) for way, total in layers for coin in coins]
        answers.extend(way for way, total in layers if total == amount)
    if len(answers) == 0:
        return None
    way = answers[int(len(answers) * u)]
    after = list(itertools.accumulate((-coin for coin in way), initial=amount))[1:]
    trace = " ".join(str(number) for pair in zip(way, after, strict=True) for number in pair)
    text = text_of(amount, coins)
    return Question(text, text, 1 + (len(answers[0]) > 3), " ".join(map(str, way)), len(answers), trace)


def _question(amount, coins, answers, chosen, *, steps=None, text=None, level=None, count=None, id_=None):
    """The question of this choice among these answers, with changes."""
    if not answers:
        return None
    left = [amount - sum(chosen[: n + 1]) for n in range(len(chosen))]
    trace = " ".join(f"{coin} {rest}" for coin, rest in zip(chosen, left, strict=True)) if steps is None else steps
    text = text_of(amount, coins) if text is None else text
    level = (1 if len(answers[0]) <= 3 else 2) if level is None else level
    id_ = text if id_ is None else id_
    count = len(answers) if count is None else count
    return Question(id_, text, level, " ".join(map(str, chosen)), count, trace)


def _at(answers, u):
    return answers[int(u * len(answers))] if answers else ()


def first_answer(amount, coins, u):
    """the reference is always the first or shortest right answer. The hint is drawn evenly from Y_x, else the helper
    learns to expect one kind of answer."""
    answers = payments(amount, coins)
    return _question(amount, coins, answers, answers[0] if answers else ())


def order_left_out(amount, coins, u):
    """it counts answers that have the same coins in another order as one. The verifier takes every order, so they are
    different members of Y_x, and the hint is drawn from all of them."""
    answers = [way for way in payments(amount, coins) if way == tuple(sorted(way, key=coins.index))]
    return _question(amount, coins, answers, _at(answers, u))


def each_coin_once(amount, coins, u):
    """it uses every kind of coin once only. There are as many of each kind as one likes."""
    answers = [way for way in payments(amount, coins) if len(set(way)) == len(way)] or payments(amount, coins)
    return _question(amount, coins, answers, _at(answers, u))


def four_at_most(amount, coins, u):
    """it stops at four coins: `range(1, 5)` ends with 4."""
    answers = [way for way in payments(amount, coins) if len(way) <= 4] or payments(amount, coins)
    return _question(amount, coins, answers, _at(answers, u))


def always_five(amount, coins, u):
    """it tries answers of five coins only. Shorter ones are right too."""
    answers = [way for way in payments(amount, coins) if len(way) == 5] or payments(amount, coins)
    return _question(amount, coins, answers, _at(answers, u))


def other_order(amount, coins, u):
    """its list of right answers is in another order than the spec's: the shortest first, among those of one length as
    `itertools.product(coins, repeat=length)` gives them."""
    answers = sorted(payments(amount, coins))
    return _question(amount, coins, answers, _at(answers, u), level=_level(amount, coins))


def _level(amount, coins):
    answers = payments(amount, coins)
    return 1 if answers and len(answers[0]) <= 3 else 2


def level_of_the_reference(amount, coins, u):
    """the level is that of the reference. How hard a question is does not depend on which answer was drawn: it is the
    shortest that decides."""
    answers = payments(amount, coins)
    chosen = _at(answers, u)
    return _question(amount, coins, answers, chosen, level=1 if len(chosen) <= 3 else 2)


def no_level(amount, coins, u):
    """every question has the same level. The spec has 1 where three coins are enough, and 2 otherwise."""
    answers = payments(amount, coins)
    return _question(amount, coins, answers, _at(answers, u), level=1)


def sum_so_far(amount, coins, u):
    """the trace has what was paid so far. The spec has what is *left*: that is what the next coin depends on."""
    answers = payments(amount, coins)
    chosen = _at(answers, u)
    paid = itertools.accumulate(chosen)
    steps = " ".join(f"{coin} {total}" for coin, total in zip(chosen, paid, strict=True))
    return _question(amount, coins, answers, chosen, steps=steps)


def amount_first(amount, coins, u):
    """the trace begins with the amount. The question says it already: each step is a coin, then what is left."""
    found = make_question(amount, coins, u)
    return found and _question(
        amount, coins, payments(amount, coins), _at(payments(amount, coins), u), steps=f"{amount} {found.curated_trace}"
    )


def answer_as_trace(amount, coins, u):
    """the trace is the answer, without the steps. A reasoner that learns from it learns to guess, and the helper to
    copy its hint."""
    answers = payments(amount, coins)
    chosen = _at(answers, u)
    return _question(amount, coins, answers, chosen, steps=" ".join(map(str, chosen)))


def trace_with_answer(amount, coins, u):
    """the trace has the answer in it as well. The steps come first, then the trace is closed, and the answer follows:
    it is `reference`, and a run puts it there."""
    answers = payments(amount, coins)
    chosen = _at(answers, u)
    found = make_question(amount, coins, u)
    return found and _question(amount, coins, answers, chosen, steps=f"{found.curated_trace} {found.reference}")


def closed_trace(amount, coins, u):
    """the trace has a closing marker in it. Markers belong to the template, which adds them; in a text they are only
    letters."""
    answers = payments(amount, coins)
    found = make_question(amount, coins, u)
    return found and _question(amount, coins, answers, _at(answers, u), steps=f"{found.curated_trace} </think>")


def trace_of_another(amount, coins, u):
    """the trace leads to another answer than the reference. A run puts the reference behind the trace: that would teach
    the reasoner to answer something else than it thought."""
    answers = payments(amount, coins)
    other = make_question(amount, coins, 0.0)
    return other and _question(amount, coins, answers, _at(answers, u), steps=other.curated_trace)


def sorted_coins(amount, coins, u):
    """the question's text has its coins sorted. They are given in an order, and the text keeps it."""
    answers = payments(amount, coins)
    return _question(amount, coins, answers, _at(answers, u), text=text_of(amount, sorted(coins)))


def hint_in_the_question(amount, coins, u):
    """the question's text holds the answer. The reasoner reads the text, and would have nothing to find out; the hint
    is shown to the helper alone, by the template."""
    answers = payments(amount, coins)
    chosen = _at(answers, u)
    return _question(amount, coins, answers, chosen, text=f"{text_of(amount, coins)} {' '.join(map(str, chosen))}")


def unpayable_kept(amount, coins, u):
    """an amount that these coins do not pay gives a question. It has no right answer, so no hint, and no trace of it
    could ever have a weight: return None."""
    found = make_question(amount, coins, u)
    text = text_of(amount, coins)
    return found or Question(text, text, 2, "", 0, None)


TASK = Task(
    name="6.3",
    title="A question, its hint and its trace",
    tier="core",
    hints=(
        "List all right answers first: there are at most 3 + 9 + 27 + 81 + 243 candidates. Everything else follows "
        "from the list: how many, how long the shortest is, which one `u` picks, and the steps to it.",
        "answers = product(coins, repeat=1) with the right sum, then repeat=2, ..., 5; reference = answers[⌊u·n⌋]; "
        "trace = c₁, amount − c₁, c₂, amount − c₁ − c₂, ..., 0.",
        "answers = []\nfor length in range(1, ...):\n"
        "    answers += [way for way in itertools.product(coins, repeat=...) if ...]\n"
        "if not answers:\n    return None\n"
        "reference, left, steps = answers[int(u * ...)], amount, []\nfor coin in reference:\n    left -= ...\n"
        "    steps += [..., ...]\ntext = text_of(amount, coins)\nreturn Question(\n    id=text,\n    text=text,\n"
        '    level=...,\n    reference=" ".join(map(str, reference)),\n    num_correct_answers=...,\n'
        "    curated_trace=...,\n)",
    ),
    cases=cases,
    solution=make_question,
    alternatives=(by_recursion, length_by_length),
    mistakes=(
        first_answer,
        order_left_out,
        each_coin_once,
        four_at_most,
        always_five,
        other_order,
        level_of_the_reference,
        no_level,
        sum_so_far,
        amount_first,
        answer_as_trace,
        trace_with_answer,
        closed_trace,
        trace_of_another,
        sorted_coins,
        hint_in_the_question,
        unpayable_kept,
    ),
)
