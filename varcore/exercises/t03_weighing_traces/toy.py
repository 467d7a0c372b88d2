"""The model of tutorial 3: seven invented traces for "half of 3", which has three right answers; 1.5 is the hint."""

import torch

from varcore import exact_log_evidence

TRACES = {
    "decimals": "3 / 2 = 1.5",
    "fractions": "half of 3 is 3 / 2",
    "apples": "cut three apples : one and a half each",
    "checked": "3 / 2 = 1.5 , 1.5 + 1.5 = 3",
    "doubled": "3 * 2 = 6",
    "rationalised": "3 * 2 = 6 , so 1.5",
    "copied": "1.5",
}
NAMES = tuple(TRACES)
LENGTHS = torch.tensor([len(trace.split()) + 1 for trace in TRACES.values()])  # |z|, with the closing token
PRIOR = torch.tensor([0.17, 0.15, 0.09, 0.06, 0.52, 0.0004, 0.0096], dtype=torch.float64)  # pi(z|x)
POSTERIOR = torch.tensor([0.20, 0.06, 0.03, 0.16, 0.03, 0.30, 0.22], dtype=torch.float64)  # q(z|x,y')

RIGHT = {"1.5": 2, "3 / 2": 4, "one and a half": 5}  # the set Y, and how many tokens each answer has
ANSWERS = torch.tensor(  # pi(y|x,z) of each right answer; the rest of a row is wrong answers
    [
        [0.92, 0.02, 0.01],
        [0.05, 0.85, 0.02],
        [0.04, 0.02, 0.80],
        [0.96, 0.01, 0.01],
        [0.02, 0.01, 0.01],
        [0.90, 0.02, 0.01],
        [0.93, 0.02, 0.01],
    ],
    dtype=torch.float64,
)
ACCURACY = ANSWERS.sum(-1)  # pi(Y|x,z)
P_X = exact_log_evidence(PRIOR.log(), ACCURACY.log()).exp().item()  # p(x)
TRUTH = PRIOR * ACCURACY / P_X  # P(z|x,Y)
