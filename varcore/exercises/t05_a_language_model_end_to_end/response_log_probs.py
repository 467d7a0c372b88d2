"""Task 5.3: log-probabilities of responses, token by token."""

import torch

from varcore.exercises.t05_a_language_model_end_to_end.small import small_qwen3, some_ids
from varcore.exercises.task import Case, Task


def cases(generator):
    model = small_qwen3(generator)

    def row(prompt, response):
        return some_ids(generator, prompt), some_ids(generator, response)

    return [
        Case("one row at temperature 1", (model, [row(4, 3)], 1.0)),
        Case("one row at temperature 0.6", (model, [row(3, 5)], 0.6)),
        Case("rows of different lengths", (model, [row(3, 2), row(5, 6), row(2, 4)], 0.8)),
        Case("a prompt of one token, and an empty response", (model, [row(1, 4), row(3, 0), row(4, 1)], 1.5)),
        Case("a model in double precision", (small_qwen3(generator).double(), [row(3, 4), row(2, 2)], 0.8)),
    ]


def examine(response_log_probs, generator):
    found = response_log_probs(small_qwen3(generator), [((3, 4), (5, 6))], 1.0)
    if not found.requires_grad:
        return (
            "the values are right, but carry no gradient: `.item()`, `.tolist()`, `torch.tensor(...)` or "
            "`torch.no_grad()` on the way cuts it off. The loss of task 5.7 is made of these."
        )
    return ""


def response_log_probs(model, rows, temperature):
    longest = max(len(prompt) + len(response) for prompt, response in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    for n, (prompt, response) in enumerate(rows):
        ids[n, : len(prompt) + len(response)] = torch.tensor(prompt + response)
    log_probs = (model(input_ids=ids).logits / temperature).log_softmax(-1)
    taken = log_probs[:, :-1].gather(-1, ids[:, 1:, None])[..., 0]  # column t: of token t + 1
    starts = [len(prompt) - 1 for prompt, _ in rows]
    return torch.cat([taken[n, s : s + len(rows[n][1])] for n, s in enumerate(starts)])


def row_by_row(model, rows, temperature):
    found = []
    for prompt, response in rows:
        logits = model(input_ids=torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
        log_probs = torch.log_softmax(logits / temperature, dim=-1)
        found.append(log_probs[torch.arange(len(response)), torch.tensor(response, dtype=torch.long)])
    return torch.cat(found)


def by_mask(model, rows, temperature):
    longest = max(len(prompt + response) for prompt, response in rows)
    padded = [list(p + r) + [0] * (longest - len(p + r)) for p, r in rows]
    wanted = [[len(p) <= t < len(p + r) for t in range(1, longest)] for p, r in rows]
    ids = torch.tensor(padded)
    logits = model(input_ids=ids).logits[:, :-1] / temperature
    taken = logits.gather(-1, ids[:, 1:, None]).squeeze(-1) - logits.logsumexp(-1)
    return taken[torch.tensor(wanted)]


def _taken(model, rows, temperature=1.0, late=1, first=0, fed=0, logits_to=torch.log_softmax):
    """Row by row, with the slips of the mistakes below as settings."""
    found = []
    for prompt, response in rows:
        ids = (prompt + response)[fed and len(prompt) - 1 :]
        start = len(ids) - len(response) + first
        log_probs = logits_to(model(input_ids=torch.tensor([ids])).logits[0] / temperature, -1)
        places = torch.arange(start, len(ids))
        found.append(log_probs[places - late, torch.tensor(ids)[places]])
    return found


def not_shifted(model, rows, temperature):
    """it reads off at token t the logits of position t. Those predict token t + 1; token t is predicted one position
    earlier."""
    return torch.cat(_taken(model, rows, temperature, late=0))


def two_late(model, rows, temperature):
    """it is shifted twice: token t is read off two positions earlier. One shift is enough; if you cut the logits by
    one and the ids by one, they are aligned."""
    return torch.cat(_taken(model, rows, temperature, late=2, first=0))


def multiplied(model, rows, temperature):
    """it multiplies the logits by the temperature; they are divided by it."""
    return torch.cat(_taken(model, rows, 1 / temperature))


def no_temperature(model, rows, temperature):
    """the temperature is not used. The trace was drawn from the distribution at that temperature, so this is the one
    to score it with."""
    return torch.cat(_taken(model, rows))


def after_the_softmax(model, rows, temperature):
    """the temperature divides the log-probabilities, not the logits. The result is not normalised: the exponentials
    over the vocabulary do not sum to one."""
    return torch.cat(_taken(model, rows)) / temperature


def first_left_out(model, rows, temperature):
    """the first response token is left out. It is predicted at the last position of the prompt."""
    return torch.cat(_taken(model, rows, temperature, first=1))


def last_left_out(model, rows, temperature):
    """the last response token is left out. It is predicted at the last position but one; what is predicted at the last
    position is a token that nobody drew."""
    return torch.cat([row[:-1] for row in _taken(model, rows, temperature)])


def over_positions(model, rows, temperature):
    """the softmax runs over the positions of the sequence. It has to run over the vocabulary, the last axis of the
    logits."""

    def softmax(logits, axis):
        return logits.log_softmax(0)

    return torch.cat(_taken(model, rows, temperature, logits_to=softmax))


def sign_turned(model, rows, temperature):
    """the sign is turned: cross entropy is minus the log-probability."""
    return -response_log_probs(model, rows, temperature)


def with_prompt(model, rows, temperature):
    """prompt tokens are among them. Only tokens of the response were drawn and have to be scored."""
    return response_log_probs(model, [(p[:1], p[1:] + r) for p, r in rows], temperature)


def without_prompt(model, rows, temperature):
    """the model does not see the prompt, only its last token: the question is gone. Feed prompt and response together,
    and read off the response."""
    return torch.cat(_taken(model, rows, temperature, fed=1))


def probabilities(model, rows, temperature):
    """these are probabilities; their logarithms are asked for."""
    return response_log_probs(model, rows, temperature).exp()


def logits_returned(model, rows, temperature):
    """these are logits. They are log-probabilities up to a number that differs from place to place: the softmax over
    the vocabulary is missing."""
    return torch.cat(_taken(model, rows, temperature, logits_to=lambda logits, axis: logits))


def in_single_precision(model, rows, temperature):
    """the result is float32, whatever the model's dtype is. The spec asks for the model's."""
    return response_log_probs(model, rows, temperature).float()


def empty_takes_all(model, rows, temperature):
    """where the response is empty, tokens of its prompt are taken: `[-0:]` is the whole sequence, not nothing."""
    whole = [(response, response_log_probs(model, [(p[:1], p[1:] + response)], temperature)) for p, response in rows]
    return torch.cat([scored[-len(response) :] for response, scored in whole])


def row_sums(model, rows, temperature):
    """it is one sum per row; the log-probability of every token is asked for. The exponent 1/|z| and the gate of later
    tasks need the tokens."""
    return torch.stack([row.sum() for row in _taken(model, rows, temperature)])


def padding_kept(model, rows, temperature):
    """the rows are padded to one length and stay so: [rows, longest]. The spec asks for one tensor of the responses'
    tokens alone, one row after the other."""
    return torch.nn.utils.rnn.pad_sequence(_taken(model, rows, temperature), batch_first=True)


def padded_left(model, rows, temperature):
    """shorter rows are off, the longest is right: they are padded on the left, and the model reads the padding as a
    part of the question. On the right nobody sees it, for attention looks back only."""
    longest = max(len(prompt + response) for prompt, response in rows)
    filled = [((0,) * (longest - len(p + r)) + p, r) for p, r in rows]
    return response_log_probs(model, filled, temperature)


def no_gradient(model, rows, temperature):
    """the values are right, but carry no gradient: `.item()`, `.tolist()`, `torch.tensor(...)` or `torch.no_grad()` on
    the way cuts it off. The loss of task 5.7 is made of these."""
    return response_log_probs(model, rows, temperature).detach()


def padded_between(model, rows, temperature):
    """rows with a shorter prompt are off: the prompts are padded to one length, and the responses come after the
    padding, which the model reads as a part of the question. Join prompt and response first, then pad on the right."""
    longest = max(len(prompt) for prompt, _ in rows)
    return response_log_probs(model, [(p + (0,) * (longest - len(p)), r) for p, r in rows], temperature)


TASK = Task(
    name="5.3",
    title="How likely was each token?",
    tier="core",
    hints=(
        "Work with one row first. Feed prompt and response together. The logits at a position say what comes *next*. "
        "So at which position is the first token of the response predicted, and at which the last?",
        "log p(token t) = log_softmax(logits[t - 1] / temperature)[ids[t]], for t = len(prompt) ... len(prompt + "
        "response) - 1. A batch is padded on the right, with any id.",
        "found = []\nfor prompt, response in rows:\n    ids = torch.tensor([prompt + response])\n"
        "    logits = model(input_ids=ids).logits[0, ... : -1] / temperature\n"
        "    log_probs = logits.log_softmax(...)\n"
        "    chosen = torch.tensor(response, dtype=torch.long)\n"
        "    found.append(log_probs.gather(-1, chosen[:, None])[:, 0])\nreturn torch.cat(...)",
    ),
    cases=cases,
    examine=examine,
    solution=response_log_probs,
    alternatives=(row_by_row, by_mask),
    mistakes=(
        not_shifted,
        two_late,
        multiplied,
        no_temperature,
        after_the_softmax,
        first_left_out,
        last_left_out,
        over_positions,
        sign_turned,
        with_prompt,
        without_prompt,
        probabilities,
        logits_returned,
        in_single_precision,
        empty_takes_all,
        row_sums,
        padding_kept,
        padded_left,
        no_gradient,
        padded_between,
    ),
    library="varcore.llm.scoring.response_log_probs",
)
