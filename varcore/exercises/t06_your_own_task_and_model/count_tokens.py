"""Task 6.6: the tokens of a run, counted before it."""

from varcore.exercises.t06_your_own_task_and_model.coins import rng_of
from varcore.exercises.task import Case, Task
from varcore.llm.presets import override, preset


def cases(generator):
    rng = rng_of(generator)

    def drawn(**changes):
        def sizes(low, high, *names):
            return {name: rng.randrange(low, high) for name in names}

        settings: dict = sizes(30, 90, "num_curated", "num_answer_only", "num_test", "num_validation")
        settings |= sizes(2, 9, "prior_traces", "posterior_traces", "answers", "evaluation_samples")
        for training in ("base", "initial", "posterior", "reasoner"):
            settings[training] = {**sizes(20, 90, "steps"), **sizes(8, 40, "batch_size")}
        settings |= {"methods": ("sft", "vr"), "model": "a folder", **changes}
        return override(preset("tiny"), settings), *(rng.uniform(4.0, 90.0) for _ in range(3))

    return [
        Case("one method, vr", drawn(methods=("vr",))),
        Case("sft and vr", drawn()),
        Case("sft and vr, evaluated on the validation questions", drawn(evaluation_split="validation")),
        Case("no questions with an answer alone", drawn(num_answer_only=0)),
        Case("lengths that are whole numbers", (*drawn()[:1], 6, 9, 5)),
    ]


def count_tokens(config, prompt, trace, answer):
    questions = config.num_curated + config.num_answer_only
    from_pi, from_q = questions * config.prior_traces, questions * config.posterior_traces
    whole = prompt + trace + answer
    drawn = (from_pi + from_q) * (trace + config.answers * answer)
    read = questions * prompt + from_pi * (prompt + trace)
    read += questions * (prompt + answer) + from_q * whole + from_q * (prompt + trace)
    roles = 1 + len(config.methods)
    drawn += roles * config.num_held_out * config.evaluation_samples * (trace + answer)
    read += roles * config.num_held_out * prompt
    trainings = [config.initial, config.posterior, *len(config.methods) * [config.reasoner]]
    trained = sum(settings.steps * settings.batch_size * whole for settings in trainings)
    return drawn, read, trained


def stage_by_stage(config, prompt, trace, answer):
    everybody, asked = config.num_train, prompt + trace
    tested, models = config.num_held_out, ("pi0", *config.methods)
    stages = []
    for traces, hint in ((config.prior_traces, 0), (config.posterior_traces, answer)):
        stages.append((everybody * traces * trace, everybody * (prompt + hint), 0))
        stages.append((everybody * traces * config.answers * answer, everybody * traces * asked, 0))
    stages.append((0, everybody * config.posterior_traces * (asked + answer), 0))
    for _ in models:
        stages.append((tested * config.evaluation_samples * (trace + answer), tested * prompt, 0))
    for part in (config.initial, config.posterior, *(config.reasoner for _ in config.methods)):
        stages.append((0, 0, part.steps * part.batch_size * (asked + answer)))
    return tuple(sum(column) for column in zip(*stages, strict=True))


def per_question(config, prompt, trace, answer):
    M, K, N = config.prior_traces, config.posterior_traces, config.answers
    split = config.num_test if config.evaluation_split == "test" else config.num_validation
    drawn = config.num_train * (M * trace + M * N * answer + K * trace + K * N * answer)
    read = config.num_train * ((1 + M) * prompt + M * trace + prompt + answer + K * (2 * prompt + 2 * trace + answer))
    for _ in range(len(config.methods) + 1):
        drawn += split * config.evaluation_samples * (trace + answer)
        read += split * prompt
    examples = config.initial.steps * config.initial.batch_size + config.posterior.steps * config.posterior.batch_size
    examples += len(config.methods) * config.reasoner.steps * config.reasoner.batch_size
    return drawn, read, examples * (prompt + trace + answer)


def _plus(config, prompt, trace, answer, drawn=0, read=0, trained=0):
    """The right numbers, and something more or less."""
    right = count_tokens(config, prompt, trace, answer)
    return right[0] + drawn, right[1] + read, right[2] + trained


def curated_alone(config, prompt, trace, answer):
    """it draws traces for the questions with a worked trace only. All training questions get some: those with an answer
    alone are what the method is for."""
    right = count_tokens(config, prompt, trace, answer)
    fewer = count_tokens(override(config, {"num_answer_only": 0}), prompt, trace, answer)
    return fewer[0], fewer[1], right[2]


def prior_traces_left_out(config, prompt, trace, answer):
    """the traces that π draws are missing, with their answers. The helper is trained on the right ones (Eq. 9)."""
    fewer = override(config, {"prior_traces": 1})
    some = count_tokens(fewer, prompt, trace, answer)
    questions = config.num_train
    drawn = some[0] - questions * (trace + config.answers * answer)
    return drawn, some[1] - questions * (2 * prompt + trace), some[2]


def answers_left_out(config, prompt, trace, answer):
    """it counts one answer after each trace. There are `answers` of them: an accuracy of one answer is 0 or 1."""
    traces = config.num_train * (config.prior_traces + config.posterior_traces)
    return _plus(config, prompt, trace, answer, drawn=-(config.answers - 1) * traces * answer)


def prompts_for_every_draw(config, prompt, trace, answer):
    """it reads a prompt again for every trace or sample drawn after it. A prompt is read once, and all draws after it
    share what was read."""
    again = config.num_train * ((config.prior_traces - 1) * prompt + (config.posterior_traces - 1) * (prompt + answer))
    return _plus(config, prompt, trace, answer, read=again)


def evaluation_for_every_sample(config, prompt, trace, answer):
    """while evaluating it reads the prompt again for every sample. It is read once for all samples of a question."""
    again = (1 + len(config.methods)) * config.num_held_out * (config.evaluation_samples - 1) * prompt
    return _plus(config, prompt, trace, answer, read=again)


def answers_read_again(config, prompt, trace, answer):
    """it reads prompt and trace again for every answer. They are read once, and all answers after this trace share
    that."""
    traces = config.num_train * (config.prior_traces + config.posterior_traces)
    return _plus(config, prompt, trace, answer, read=(config.answers - 1) * traces * (prompt + trace))


def hint_left_out(config, prompt, trace, answer):
    """the helper's prompt is counted without its hint, which is as long as an answer."""
    return _plus(config, prompt, trace, answer, read=-config.num_train * answer)


def not_scored(config, prompt, trace, answer):
    """the pass is missing in which π reads the helper's traces: log π(z|x) comes from there."""
    scored = config.num_train * config.posterior_traces * (prompt + trace + answer)
    return _plus(config, prompt, trace, answer, read=-scored)


def scored_without_answer(config, prompt, trace, answer):
    """it scores the traces without the reference answer behind them: for the estimators that need π(y*|x,z), it is read
    in the same pass."""
    return _plus(config, prompt, trace, answer, read=-config.num_train * config.posterior_traces * answer)


def both_scored(config, prompt, trace, answer):
    """it scores π's own traces as well. Their log π was written down while they were drawn."""
    scored = config.num_train * config.prior_traces * (prompt + trace + answer)
    return _plus(config, prompt, trace, answer, read=scored)


def pi0_not_evaluated(config, prompt, trace, answer):
    """π₀ is not evaluated. It is where every method starts, and what each is compared with."""
    held_out = config.num_held_out
    drawn = held_out * config.evaluation_samples * (trace + answer)
    return _plus(config, prompt, trace, answer, drawn=-drawn, read=-held_out * prompt)


def not_evaluated(config, prompt, trace, answer):
    """the evaluation is missing: traces and answers on held-out questions, by π₀ and by every method."""
    roles = 1 + len(config.methods)
    drawn = config.num_held_out * config.evaluation_samples * (trace + answer)
    return _plus(config, prompt, trace, answer, drawn=-roles * drawn, read=-roles * config.num_held_out * prompt)


def always_test(config, prompt, trace, answer):
    """it takes the number of test questions, whichever split is evaluated: `config.num_held_out` knows."""
    return count_tokens(override(config, {"evaluation_split": "test"}), prompt, trace, answer)


def helper_not_trained(config, prompt, trace, answer):
    """the training of the helper is missing."""
    part = config.posterior
    return _plus(config, prompt, trace, answer, trained=-part.steps * part.batch_size * (prompt + trace + answer))


def one_method_trained(config, prompt, trace, answer):
    """it trains one reasoner. Every method trains its own, with the same number of steps."""
    part = config.reasoner
    fewer = (len(config.methods) - 1) * part.steps * part.batch_size * (prompt + trace + answer)
    return _plus(config, prompt, trace, answer, trained=-fewer)


def base_trained(config, prompt, trace, answer):
    """it trains the base model as well. The spec has one that is there already."""
    part = config.base
    return _plus(config, prompt, trace, answer, trained=part.steps * part.batch_size * (prompt + trace + answer))


def responses_alone(config, prompt, trace, answer):
    """it counts the prompts of a training out. No loss is taken there, but the model passes over them."""
    drawn, read, trained = count_tokens(config, prompt, trace, answer)
    return drawn, read, trained * (trace + answer) / (prompt + trace + answer)


def steps_alone(config, prompt, trace, answer):
    """it takes one example for a step. A step has a batch of them."""
    drawn, read, _ = count_tokens(config, prompt, trace, answer)
    parts = [config.initial, config.posterior, *len(config.methods) * [config.reasoner]]
    return drawn, read, sum(part.steps for part in parts) * (prompt + trace + answer)


TASK = Task(
    name="6.6",
    title="What will it take?",
    tier="core",
    hints=(
        "Go through the table line by line: how often is it done, how many tokens are drawn each time, how many read? "
        "A prompt is read once for all that is drawn after it; what is drawn after a trace shares prompt *and* trace.",
        "Q questions, M, K, N, lengths p, z, y, R = 1 + methods, H held out, S samples:\n"
        "drawn = Q(M + K)(z + N y) + R H S (z + y)\n"
        "read = Q p + Q M (p + z) + Q (p + y) + Q K (p + z + y) + Q K (p + z) + R H p\n"
        "trained = (p + z + y) Σ steps · batch_size",
        "questions = config.num_train\nfrom_pi, from_q = questions * config.prior_traces, ...\n"
        "drawn = (from_pi + from_q) * (trace + ...)\nread = questions * prompt + from_pi * ...\n"
        "read += questions * (prompt + ...) + from_q * ... + from_q * ...\nroles = 1 + len(config.methods)\n"
        "drawn += roles * config.num_held_out * ...\nread += roles * ...\n"
        "trainings = [config.initial, config.posterior, *len(config.methods) * [config.reasoner]]\n"
        "trained = sum(... for settings in trainings)\nreturn drawn, read, trained",
    ),
    cases=cases,
    solution=count_tokens,
    alternatives=(stage_by_stage, per_question),
    mistakes=(
        curated_alone,
        prior_traces_left_out,
        answers_left_out,
        prompts_for_every_draw,
        evaluation_for_every_sample,
        answers_read_again,
        hint_left_out,
        not_scored,
        scored_without_answer,
        both_scored,
        pi0_not_evaluated,
        not_evaluated,
        always_test,
        helper_not_trained,
        one_method_trained,
        base_trained,
        responses_alone,
        steps_alone,
    ),
    library="varcore.llm.planned.stage_tokens",
)
