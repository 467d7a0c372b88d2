"""Task 6.9: the same training on several GPUs."""

import dataclasses
import math

from varcore.exercises.t06_your_own_task_and_model.coins import rng_of
from varcore.exercises.task import Case, Task
from varcore.llm.training import TrainSettings


def cases(generator):
    rng = rng_of(generator)

    def settings(batch, **changes):
        chosen = {"learning_rate": rng.uniform(1e-5, 1e-2), "clip": rng.uniform(0.5, 2.0), **changes}
        return TrainSettings(rng.randrange(300, 900), batch_size=batch, save_every=rng.randrange(50, 90), **chosen)

    few, many = rng.randrange(2, 5), rng.randrange(6, 9)
    return [
        Case(
            "a batch that the processes share evenly, and room for a part of a share",
            (settings(8 * few), few, 3, False),
        ),
        Case("room for more than a share", (settings(4 * many), many, 50, False)),
        Case("one process", (settings(24), 1, 5, False)),
        Case("weights that are sharded", (settings(6 * many), many, 2, True)),
        Case("a batch that does not divide by the processes", (settings(5 * many + 1), many, 4, False)),
        Case("a batch that is one short of dividing", (settings(5 * many - 1), many, 100, True)),
        Case("fewer examples in a batch than processes", (settings(rng.randrange(2, 6)), 16, 4, False)),
        Case("settings without Muon, and one row at a time", (settings(6 * few, muon=False), few, 1, False)),
    ]


def on_several(settings, processes, rows, sharded):
    share = math.ceil(settings.batch_size / processes)
    batch = share * processes
    return dataclasses.replace(
        settings,
        batch_size=batch,
        steps=math.ceil(settings.steps * settings.batch_size / batch),
        micro_batch_size=min(rows, share),
        muon=settings.muon and not sharded,
    )


def in_whole_numbers(settings, processes, rows, sharded):
    batch = settings.batch_size
    while batch % processes:
        batch += 1
    steps = -(-settings.steps * settings.batch_size // batch)
    changes = {"muon": False} if sharded else {}
    at_once = rows if rows * processes <= batch else batch // processes
    return dataclasses.replace(settings, batch_size=batch, steps=steps, micro_batch_size=at_once, **changes)


def field_by_field(settings, processes, rows, sharded):
    share, rest = divmod(settings.batch_size, processes)
    share += rest > 0
    examples = settings.steps * settings.batch_size
    steps = 0
    while steps * share * processes < examples:
        steps += 1
    values = {**vars(settings), "batch_size": share * processes, "steps": steps, "micro_batch_size": min(share, rows)}
    values["muon"] = False if sharded else values["muon"]
    return TrainSettings(**values)


def _changed(settings, processes, rows, sharded, **changes):
    return dataclasses.replace(on_several(settings, processes, rows, sharded), **changes)


def batch_for_each(settings, processes, rows, sharded):
    """it multiplies the batch by the number of processes. Elsewhere `batch_size` may be that of one process; here it is
    the whole batch, of which each process takes its share. So the training would be another one."""
    batch = settings.batch_size * processes
    return _changed(settings, processes, rows, sharded, batch_size=batch)


def batch_shared_out(settings, processes, rows, sharded):
    """it divides the batch by the number of processes. A run does so itself: `batch_size` is the whole batch, and the
    division would happen twice."""
    share = on_several(settings, processes, rows, sharded).batch_size // processes
    return _changed(settings, processes, rows, sharded, batch_size=share)


def rows_make_the_batch(settings, processes, rows, sharded):
    """its batch is what fits on all GPUs at once. How large a batch is decides what is learned; how many rows are
    passed at once decides nothing but memory and time."""
    return _changed(settings, processes, rows, sharded, batch_size=rows * processes)


def not_divided(settings, processes, rows, sharded):
    """it leaves a batch that does not divide by the number of processes. A run refuses it: every process takes the same
    share. Go up to the next multiple."""
    return _changed(settings, processes, rows, sharded, batch_size=settings.batch_size, steps=settings.steps)


def rounded_down(settings, processes, rows, sharded):
    """it goes down to a multiple of the processes. With fewer examples than processes that would be none: go up."""
    share = settings.batch_size // processes
    steps = math.ceil(settings.steps * settings.batch_size / max(1, share * processes))
    return _changed(
        settings,
        processes,
        rows,
        sharded,
        batch_size=share * processes,
        steps=steps,
        micro_batch_size=min(rows, share),
    )


def steps_as_they_were(settings, processes, rows, sharded):
    """the batch grew and the steps stayed: more examples are passed than before, and paid for."""
    return _changed(settings, processes, rows, sharded, steps=settings.steps)


def steps_shared_out(settings, processes, rows, sharded):
    """it divides the steps by the number of processes. All processes take every step together, each with its share of
    the batch."""
    return _changed(settings, processes, rows, sharded, steps=math.ceil(settings.steps / processes))


def steps_rounded_down(settings, processes, rows, sharded):
    """it rounds the steps down, so fewer examples are passed than before. The spec has at least as many."""
    batch = on_several(settings, processes, rows, sharded).batch_size
    return _changed(settings, processes, rows, sharded, steps=settings.steps * settings.batch_size // batch)


def rate_scaled(settings, processes, rows, sharded):
    """it multiplies the learning rate by the number of processes. That is for batches that grow with it; here the batch
    stays what it was, and so does the rate."""
    return _changed(settings, processes, rows, sharded, learning_rate=settings.learning_rate * processes)


def room_of_the_whole_batch(settings, processes, rows, sharded):
    """its micro-batch may be larger than a process's share. It is a part of the *share*, so at most that."""
    batch = on_several(settings, processes, rows, sharded).batch_size
    return _changed(settings, processes, rows, sharded, micro_batch_size=min(rows, batch))


def share_at_once(settings, processes, rows, sharded):
    """its micro-batch is the whole share, whether that fits into the memory or not: `rows` says how many do."""
    batch = on_several(settings, processes, rows, sharded).batch_size
    return _changed(settings, processes, rows, sharded, micro_batch_size=batch // processes)


def room_shared_out(settings, processes, rows, sharded):
    """it divides `rows` among the processes. That many fit on *each* GPU."""
    found = on_several(settings, processes, rows, sharded)
    return dataclasses.replace(found, micro_batch_size=max(1, min(rows // processes, found.batch_size // processes)))


def one_at_a_time(settings, processes, rows, sharded):
    """its micro-batch is always one row. That fits, and leaves most of a GPU idle: take as many as have room."""
    return _changed(settings, processes, rows, sharded, micro_batch_size=1)


def muon_kept(settings, processes, rows, sharded):
    """it keeps Muon where weights are sharded. Muon needs whole matrices: a run refuses it."""
    return _changed(settings, processes, rows, sharded, muon=settings.muon)


def muon_never(settings, processes, rows, sharded):
    """it drops Muon also where nothing is sharded. That is another optimiser, and another training."""
    return _changed(settings, processes, rows, sharded, muon=False)


def as_a_dict(settings, processes, rows, sharded):
    """it returns a dict of settings. The spec asks for a `TrainSettings`: `dataclasses.replace` makes one."""
    return vars(on_several(settings, processes, rows, sharded))


TASK = Task(
    name="6.9",
    title="The same training on several GPUs",
    tier="stretch",
    hints=(
        "Decide what has to stay: how large a batch is, for it decides what is learned. Then each process has a share "
        "of it, and of the share it passes as many rows at once as have room.",
        "share = ⌈batch / processes⌉; batch' = share · processes; steps' = ⌈steps · batch / batch'⌉; micro-batch = "
        "min(rows, share); Muon only if it was there and nothing is sharded.",
        "share = math.ceil(settings.batch_size / ...)\nbatch = share * ...\nreturn dataclasses.replace(\n"
        "    settings,\n    batch_size=batch,\n    steps=math.ceil(...),\n    micro_batch_size=min(...),\n"
        "    muon=settings.muon and ...,\n)",
    ),
    cases=cases,
    solution=on_several,
    alternatives=(in_whole_numbers, field_by_field),
    mistakes=(
        batch_for_each,
        batch_shared_out,
        rows_make_the_batch,
        not_divided,
        rounded_down,
        steps_as_they_were,
        steps_shared_out,
        steps_rounded_down,
        rate_scaled,
        room_of_the_whole_batch,
        share_at_once,
        room_shared_out,
        one_at_a_time,
        muon_kept,
        muon_never,
        as_a_dict,
    ),
)
