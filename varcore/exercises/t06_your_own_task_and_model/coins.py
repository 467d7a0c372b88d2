"""The task of tutorial 6: pay an amount with at most five coins of three kinds.

question   40 = 3 7 11                the amount, and the kinds of coins that there are
trace      11 29 7 22 11 11 11 0      each coin, then what is left to pay
answer     11 7 11 11                 any other order, and any other coins that pay, is right too
"""

import itertools
import random

import torch

MOST_COINS, KINDS, SMALLEST_COIN, LARGEST_COIN = 5, 3, 2, 12


def text_of(amount, coins):
    """A question: ``text_of(40, [3, 7, 11])`` is "40 = 3 7 11"."""
    return f"{amount} = {' '.join(map(str, coins))}"


def read_question(text):
    """(amount, list of coins) of a question's text."""
    amount, _, *coins = text.split(" ")
    return int(amount), [int(coin) for coin in coins]


def payments(amount, coins):
    """Y_x: every right answer, a tuple of coins; the shortest first, then in the order of the question's coins."""
    lengths = range(1, MOST_COINS + 1)
    drawn = itertools.chain.from_iterable(itertools.product(coins, repeat=length) for length in lengths)
    return [payment for payment in drawn if sum(payment) == amount]


def luck(amount, coins):
    """The exact chance of somebody who puts down coins at random until the amount is reached, five at most.

    No right answer begins with another one, so the chances of all of them add up: the sum of 3 ** -length over Y_x.
    """
    return sum(len(coins) ** -len(payment) for payment in payments(amount, coins))


def lucky_coverage(questions, traces=4):
    """The exact chance that one of so many lucky traces pays, mean over the questions."""
    return sum(1 - (1 - luck(*question)) ** traces for question in questions) / len(questions)


def honest(question, trace):
    """Whether every step of a trace is right: a coin of the question's, then what is left; at the end nothing is."""
    left, coins = read_question(question)
    words = trace.split(" ")
    for coin, rest in itertools.zip_longest(words[::2], words[1::2]):
        if coin not in map(str, coins) or rest != str(left - int(coin)):
            return False
        left -= int(coin)
    return left == 0


def draw(rng):
    """A random question, (amount, coins), that three to five coins pay."""
    coins = rng.sample(range(SMALLEST_COIN, LARGEST_COIN + 1), KINDS)
    return sum(rng.choices(coins, k=rng.randint(3, MOST_COINS))), coins


def rng_of(generator):
    """Python's random numbers from torch's."""
    return random.Random(int(torch.randint(2**31, (), generator=generator)))
