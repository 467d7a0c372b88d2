"""The model of tutorial 1: six invented traces for the question 2 3 4 = 10, of which 4 * 3 - 2 is the hint."""

import torch

from varcore import exact_log_evidence

TRACES = (
    "2 * 3 6 + 4 10 OK",
    "4 * 3 12 - 2 10 OK",  # copies the hint
    "4 + 3 7 - 2 5 x 4 * 3 12 - 2 10 OK",
    "2 + 3 5 + 4 9 x",
    "4 * 2 8 + 3 11 x",
    "4 * 2 8 - 3 5 x",
)
LOG_PRIOR = torch.tensor([0.10, 0.02, 0.08, 0.40, 0.30, 0.10], dtype=torch.float64).log()  # log pi(z|x)
LOG_LIKELIHOOD = torch.tensor([0.95, 0.95, 0.95, 0.02, 0.02, 0.02], dtype=torch.float64).log()  # log pi(Y|x,z)
LOG_POSTERIOR = torch.tensor([0.10, 0.55, 0.25, 0.05, 0.03, 0.02], dtype=torch.float64).log()  # log q(z|x,y')
LOG_P = exact_log_evidence(LOG_PRIOR, LOG_LIKELIHOOD).item()  # log p(x), in nats
