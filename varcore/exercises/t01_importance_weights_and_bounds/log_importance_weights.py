"""Task 1.2: the weight of a trace, kept as its logarithm."""

import math

import torch

from varcore.exercises.drawing import log_probs, without
from varcore.exercises.task import Case, Task


def cases(generator):
    def draw(*shape, **settings):
        return tuple(log_probs(generator, *shape, **settings) for _ in range(3))

    prior, likelihood, posterior = draw(3, 4)
    impossible = without(likelihood, (1, 2))
    unthought = without(prior, (2, 0))
    return [
        Case("three questions of four traces", draw(3, 4)),
        Case("one question of five traces", draw(5)),
        Case("tensors of shape (2, 3, 4)", draw(2, 3, 4)),
        Case("traces of thousands of tokens", (prior - 3000, likelihood, posterior - 3010)),
        Case("a trace that is never right", (prior, impossible, posterior)),
        Case("a trace that is never right and that q never writes", (prior, impossible, without(posterior, (1, 2)))),
        Case("a trace that nobody ever writes", (unthought, likelihood, without(posterior, (2, 0)))),
        Case("float32 values", draw(3, 4, dtype=torch.float32)),
    ]


def log_importance_weights(log_prior, log_likelihood, log_posterior):
    log_joint = log_prior + log_likelihood
    return torch.where(log_joint == -math.inf, -math.inf, log_joint - log_posterior)


def masked(log_prior, log_likelihood, log_posterior):
    never_right = (log_prior == -math.inf) | (log_likelihood == -math.inf)
    return (log_prior - log_posterior + log_likelihood).masked_fill(never_right, -math.inf)


def looped(log_prior, log_likelihood, log_posterior):
    columns = [tensor.flatten().tolist() for tensor in (log_prior, log_likelihood, log_posterior)]
    weights = []
    for prior, likelihood, posterior in zip(*columns, strict=True):
        joint = prior + likelihood
        weights.append(-math.inf if joint == -math.inf else joint - posterior)
    return torch.tensor(weights, dtype=log_prior.dtype).reshape(log_prior.shape)


def q_not_divided(log_prior, log_likelihood, log_posterior):
    """log q is added; q stands below the fraction line, so its logarithm is subtracted."""
    return log_prior + log_likelihood + log_posterior


def without_q(log_prior, log_likelihood, log_posterior):
    """log q is missing: that is the joint probability, right only for traces that are not drawn from q but listed."""
    return log_prior + log_likelihood


def without_likelihood(log_prior, log_likelihood, log_posterior):
    """log π(Y|x,z) is missing: without it a trace that leads to wrong answers weighs as much as any other."""
    return log_prior - log_posterior


def without_prior(log_prior, log_likelihood, log_posterior):
    """log π(z|x) is missing: without it nothing asks whether the reasoner would ever think this trace."""
    return log_likelihood - log_posterior


def upside_down(log_prior, log_likelihood, log_posterior):
    """the fraction is upside down: the sign of every logarithm is wrong."""
    return log_posterior - log_prior - log_likelihood


def left_the_logarithms(log_prior, log_likelihood, log_posterior):
    """these are the weights themselves; return their logarithms, for at thousands of tokens the weights are 0."""
    return (log_prior + log_likelihood - log_posterior).exp()


def through_probabilities(log_prior, log_likelihood, log_posterior):
    """it goes through the probabilities and takes the logarithm at the end. At thousands of tokens they are 0, and 0
    over 0 is not a number: stay in logarithms throughout."""
    return (log_prior.exp() * log_likelihood.exp() / log_posterior.exp()).log()


def products_of_logs(log_prior, log_likelihood, log_posterior):
    """it multiplies and divides the logarithms; a product of probabilities is a sum of logarithms."""
    return log_prior * log_likelihood / log_posterior


def normalised(log_prior, log_likelihood, log_posterior):
    """the weights of a question were made to sum to one. That comes later: here each trace is weighed on its own."""
    return (log_prior + log_likelihood - log_posterior).log_softmax(-1)


def clipped(log_prior, log_likelihood, log_posterior):
    """a weight of zero comes out as a huge negative number. `nan_to_num` makes infinities finite as well, unless told
    not to: `neginf=-math.inf`."""
    return (log_prior + log_likelihood - log_posterior).nan_to_num(nan=-math.inf)


def likelihood_asked_alone(log_prior, log_likelihood, log_posterior):
    """a trace with π(z|x) = 0 and q = 0 gives NaN: only π(Y|x,z) = 0 is looked for. The product is 0 if either is."""
    return (log_prior + log_likelihood - log_posterior).masked_fill(log_likelihood == -math.inf, -math.inf)


def prior_asked_alone(log_prior, log_likelihood, log_posterior):
    """a trace with π(Y|x,z) = 0 and q = 0 gives NaN: only π(z|x) = 0 is looked for. The product is 0 if either is."""
    return (log_prior + log_likelihood - log_posterior).masked_fill(log_prior == -math.inf, -math.inf)


def nan_for_never(log_prior, log_likelihood, log_posterior):
    """a trace that is never right and that q never writes gives NaN, because -inf minus -inf is not a number; the spec
    asks for -inf there."""
    return log_prior + log_likelihood - log_posterior


TASK = Task(
    name="1.2",
    title="What is a trace worth?",
    tier="warm-up",
    hints=(
        "Write ρ as a fraction first. What the reasoner would do with the trace stands above, how often the helper "
        "proposes it stands below. Then take the logarithm of the fraction. Last, look at what 0/0 becomes in "
        "logarithms.",
        "log ρ = log π(z|x) + log π(Y|x,z) - log q(z|x,y'); and -inf wherever the first two add up to -inf.",
        "log_joint = log_prior + ...\nreturn torch.where(log_joint == -math.inf, ..., log_joint - ...)",
    ),
    cases=cases,
    solution=log_importance_weights,
    alternatives=(masked, looped),
    mistakes=(
        q_not_divided,
        without_q,
        without_likelihood,
        without_prior,
        upside_down,
        left_the_logarithms,
        through_probabilities,
        products_of_logs,
        normalised,
        clipped,
        likelihood_asked_alone,
        prior_asked_alone,
        nan_for_never,
    ),
    library="varcore.log_importance_weights",
)
