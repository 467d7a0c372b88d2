"""Task 6.2: a split that a question cannot leave."""

import hashlib
import random

from varcore.exercises.t06_your_own_task_and_model.coins import draw, read_question, rng_of, text_of
from varcore.exercises.task import Case, Task

MANY = 40  # questions in a case


def cases(generator):
    rng = rng_of(generator)
    some = [draw(rng) for _ in range(MANY)]
    small = [(amount, coins) for amount, coins in (draw(rng) for _ in range(20 * MANY)) if max(coins) < 10][:MANY]
    edges = [question for question in (draw(rng) for _ in range(60 * MANY)) if _percent(*question) in (69, 70, 79, 80)]
    return [
        Case("questions with their coins in ascending order", ([text_of(n, sorted(coins)) for n, coins in some],)),
        Case("questions with their coins in any order", ([text_of(*question) for question in some],)),
        Case(
            "questions with small coins in descending order", ([text_of(n, sorted(coins)[::-1]) for n, coins in small],)
        ),
        Case("questions at the edges, of 69, 70, 79 and 80 per cent", ([text_of(*question) for question in edges],)),
        Case("no question", ([],)),
    ]


def _percent(amount, coins):
    name = f"{amount}={'-'.join(map(str, sorted(coins)))}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % 100


def splits(texts):
    found = []
    for text in texts:
        amount, coins = read_question(text)
        name = f"{amount}={'-'.join(map(str, sorted(coins)))}"
        percent = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % 100
        found.append("train" if percent < 70 else "validation" if percent < 80 else "test")
    return found


def with_hexadecimals(texts):
    def split(text):
        amount, _, *coins = text.split()
        name = amount + "=" + "-".join(sorted(coins, key=int))
        percent = int(hashlib.sha256(name.encode("utf-8")).hexdigest()[:16], 16) % 100
        return ["train"] * 70 + ["validation"] * 10 + ["test"] * 20, percent

    return [names[percent] for names, percent in map(split, texts)]


def by_thresholds(texts):
    names = []
    for amount, coins in map(read_question, texts):
        digest = hashlib.sha256()
        digest.update(f"{amount}=".encode())
        digest.update("-".join(f"{coin}" for coin in sorted(coins)).encode())
        number = 0
        for byte in digest.digest()[:8]:
            number = 256 * number + byte
        names.append(
            next(name for limit, name in ((70, "train"), (80, "validation"), (100, "test")) if number % 100 < limit)
        )
    return names


def _named(percent):
    return "train" if percent < 70 else "validation" if percent < 80 else "test"


def _name(text):
    amount, coins = read_question(text)
    return f"{amount}={'-'.join(map(str, sorted(coins)))}"


def _hashed(name):
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % 100


def text_as_it_is(texts):
    """it hashes the text, or the coins as they come. The same question with its coins in another order lands in another
    split: the model trains on it and is then asked it."""
    return [_named(_hashed(text.replace(" = ", "=").replace(" ", "-"))) for text in texts]


def whole_text(texts):
    """it hashes the question's text and not its name. Two texts that ask the same must have one name, and one split."""
    return [_named(_hashed(text)) for text in texts]


def sorted_as_text(texts):
    """it sorts the coins as text, where 11 comes before 3. That is one order too, and no question leaks; but the name
    is not the one of the spec."""
    return [_named(_hashed(f"{text.split()[0]}={'-'.join(sorted(text.split()[2:]))}")) for text in texts]


def descending(texts):
    """it sorts the coins downwards. No question leaks; but the name is not the one of the spec."""
    pairs = map(read_question, texts)
    return [_named(_hashed(f"{amount}={'-'.join(map(str, sorted(coins)[::-1]))}")) for amount, coins in pairs]


def python_hash(texts):
    """it uses Python's own `hash`, or a generator seeded with it. For text that is another number in every process: the
    run that evaluates would hold out other questions than the run that trained."""
    return [_named(hash(_name(text)) % 100) for text in texts]


def drawn(texts):
    """it draws the split, or deals it out by place. Where a question lands then depends on the questions around it; ask
    for more of them, and trained ones are held out."""
    rng = random.Random(0)
    return [_named(rng.randrange(100)) for _ in texts]


def by_place(texts):
    """it cuts the list: the first 70 per cent, the next 10, the rest. Where a question lands depends on the questions
    around it, and the same question twice lands in two splits."""
    return [_named(100 * place // len(texts)) for place in range(len(texts))]


def other_end(texts):
    """it reads the eight bytes from the other end, or takes the last eight: the spec has the first eight, "big"."""
    return [_named(int.from_bytes(hashlib.sha256(_name(text).encode()).digest()[:8], "little") % 100) for text in texts]


def whole_digest(texts):
    """it takes the whole digest for a number. That is a split without leaks too, but not the one of the spec, which
    takes the first eight bytes."""
    return [_named(int(hashlib.sha256(_name(text).encode()).hexdigest(), 16) % 100) for text in texts]


def amount_left_out(texts):
    """the amount is not part of what it hashes. Every question with these three coins then lands in one split."""
    return [_named(_hashed("-".join(map(str, sorted(read_question(text)[1]))))) for text in texts]


def edges_included(texts):
    """its edges are off by one: train has 0 to 69, validation 70 to 79, test 80 to 99."""
    percents = [_hashed(_name(text)) for text in texts]
    return ["train" if percent <= 70 else "validation" if percent <= 80 else "test" for percent in percents]


def other_shares(texts):
    """its shares are not the spec's 70, 10 and 20 per cent, in this order."""
    percents = [_hashed(_name(text)) for text in texts]
    return ["train" if percent < 70 else "test" if percent < 90 else "validation" for percent in percents]


TASK = Task(
    name="6.2",
    title="No way from train to test",
    tier="warm-up",
    hints=(
        "First a name that is the same for every text that asks the same. Then a hash of the name, the same on every "
        "machine. Nothing else may decide: no seed, no place in a list.",
        'name = amount, "=", the coins ascending as numbers, joined by "-"; percent = first 8 bytes of sha256(name), '
        "big end first, mod 100; train below 70, validation below 80.",
        'amount, coins = read_question(text)\nname = f"{amount}={...}"\n'
        "percent = int.from_bytes(hashlib.sha256(name.encode()).digest()[...], ...) % 100\n"
        'found.append("train" if percent < ... else ...)',
    ),
    cases=cases,
    solution=splits,
    alternatives=(with_hexadecimals, by_thresholds),
    mistakes=(
        text_as_it_is,
        whole_text,
        sorted_as_text,
        descending,
        python_hash,
        drawn,
        by_place,
        other_end,
        whole_digest,
        amount_left_out,
        edges_included,
        other_shares,
    ),
)
