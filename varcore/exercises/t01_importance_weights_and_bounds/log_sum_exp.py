"""Task 1.1: the logarithm of a sum whose terms are known as logarithms."""

import math

import torch

from varcore.exercises.drawing import normal, without
from varcore.exercises.task import Case, Task


def cases(generator):
    def draw(*shape, **settings):
        return normal(generator, *shape, **settings)

    apart = torch.tensor([[0.0], [-4000.0]], dtype=torch.float64)
    within = torch.tensor([-2000.0, 0.0, 1000.0, 2000.0], dtype=torch.float64)
    return [
        Case("a tensor of shape (3, 4)", (draw(3, 4),)),
        Case("a tensor of shape (5,)", (draw(5),)),
        Case("a tensor of shape (2, 3, 4)", (draw(2, 3, 4),)),
        Case("values near -2000", (draw(3, 4) - 2000,)),
        Case("values near +2000", (draw(3, 4) + 2000,)),
        Case("two rows that lie 4000 apart", (draw(2, 4) + apart,)),
        Case("rows whose values lie 4000 apart", (draw(3, 4) + within,)),
        Case("a row with one -inf", (without(draw(3, 4), (1, 2)),)),
        Case("a row of nothing but -inf", (without(draw(3, 4), (1,)),)),
        Case("float32 values", (draw(3, 4, dtype=torch.float32),)),
    ]


def log_sum_exp(values):
    largest = values.amax(-1, keepdim=True)
    largest = torch.where(largest == -math.inf, 0.0, largest)  # a row of -inf only: nothing to take out
    return largest[..., 0] + (values - largest).exp().sum(-1).log()


def looped(values):
    sums = []
    for row in values.reshape(-1, values.shape[-1]).tolist():
        largest = max(row)
        if largest == -math.inf:
            sums.append(-math.inf)
        else:
            sums.append(largest + math.log(sum(math.exp(value - largest) for value in row)))
    return torch.tensor(sums, dtype=values.dtype).reshape(values.shape[:-1])


def two_at_a_time(values):
    total = values[..., 0]
    for value in values.unbind(-1)[1:]:
        total = torch.logaddexp(total, value)
    return total


def naive(values):
    """it takes `exp` of the values as they are, and that is 0 near -2000 and infinite near +2000: the largest value of
    a row has to be taken out first."""
    return values.exp().sum(-1).log()


def not_put_back(values):
    """the largest value was taken out and never put back."""
    return (values - values.amax(-1, keepdim=True)).exp().sum(-1).log()


def mean(values):
    """it takes the mean of the exponentials where a sum is asked for, and so is too small by log K."""
    return torch.logsumexp(values, -1) - math.log(values.shape[-1])


def first_axis(values):
    """it sums over the first axis; K is the last one."""
    return torch.logsumexp(values, 0)


def all_axes(values):
    """it sums over all axes and gives one number; each row has a sum of its own."""
    return torch.logsumexp(values.flatten(), 0)


def one_largest_for_all(values):
    """one largest value is taken for the whole tensor: a row that lies far below it still vanishes. Each row needs its
    own."""
    return values.max() + (values - values.max()).exp().sum(-1).log()


def mean_taken_out(values):
    """what is taken out of a row is not its largest value. Where the values of a row lie far apart, `exp` of what is
    left is infinite."""
    middle = values.nan_to_num(neginf=0.0).mean(-1, keepdim=True)
    return middle[..., 0] + (values - middle).exp().sum(-1).log()


def nan_for_nothing(values):
    """a row of nothing but -inf gives NaN, because -inf minus -inf is not a number; the sum there is 0, its logarithm
    -inf."""
    largest = values.amax(-1, keepdim=True)
    return largest[..., 0] + (values - largest).exp().sum(-1).log()


def base_two(values):
    """its logarithm has base 2; take the natural one, whose unit is the nat."""
    largest = values.amax(-1, keepdim=True)
    return largest[..., 0] + (values - largest).exp().sum(-1).log2()


def axis_kept(values):
    """the summed axis is still there with length 1; it should be gone."""
    return torch.logsumexp(values, -1, keepdim=True)


def sum_of_logs(values):
    """it adds the logarithms, which is the logarithm of the product, not of the sum."""
    return values.sum(-1)


TASK = Task(
    name="1.1",
    title="The logarithm of a sum",
    tier="warm-up",
    hints=(
        "exp(-2000) is 0 in a computer. But a sum of four such terms is the largest term times a number between 1 and "
        "4, and that number is easy. Divide the largest term out before you leave the logarithms, and multiply it in "
        "again afterwards. Then ask what happens in a row where the largest value itself is -inf.",
        "log Σ_k exp(v_k) = m + log Σ_k exp(v_k - m), true for every finite m; take m = max_k v_k. Where the maximum "
        "is -inf, take m = 0: every exp is then 0, and log 0 = -inf is the right answer.",
        "largest = values.amax(-1, keepdim=True)          # one a row; keepdim lets it be subtracted\n"
        "largest = torch.where(largest == -math.inf, ..., largest)\n"
        "rest = (values - largest).exp()...\n"
        "return largest[..., 0] + ...",
    ),
    cases=cases,
    solution=log_sum_exp,
    alternatives=(looped, two_at_a_time),
    mistakes=(
        naive,
        not_put_back,
        mean,
        first_axis,
        all_axes,
        one_largest_for_all,
        mean_taken_out,
        nan_for_nothing,
        base_two,
        axis_kept,
        sum_of_logs,
    ),
    library="torch.logsumexp",
)
