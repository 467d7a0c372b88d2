"""Is y in Y_x?  Verdicts are right, wrong, unparsed or timeout; a verifier that crashes is none of these."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from varcore.tasks.base import Question, Task, Verdict


class VerifierError(RuntimeError):
    """A verifier raised instead of judging.  The answer is not counted as wrong: the run stops and names it."""


def verify(task: Task, pairs: Iterable[tuple[Question, str]]) -> list[Verdict]:
    """The task's verdict on each (question, answer text), in order.

    Raises VerifierError, naming question and answer, if the task's verifier raises or returns something else than a
    Verdict.  Nothing that was sampled is lost: the ledger keeps it, and the run continues here once the verifier is
    mended.

    A task that can judge several answers at the same time says how many in its attribute `verifiers`.
    """
    count = getattr(task, "verifiers", 1)
    if count == 1:
        return [_verdict(task, question, answer) for question, answer in pairs]
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(lambda pair: _verdict(task, *pair), pairs))


def _verdict(task: Task, question: Question, answer: str) -> Verdict:
    try:
        verdict = task.verify(question, answer)
    except Exception as error:
        raise VerifierError(
            f"The verifier of task {task.name!r} raised {error!r} on question {question.id!r}, answer {answer[:99]!r}. "
            "A verifier must answer every text with a Verdict; mend it and run the same command again."
        ) from error
    if not isinstance(verdict, Verdict):
        raise VerifierError(
            f"The verifier of task {task.name!r} returned {verdict!r} on question {question.id!r}. "
            f"It must return one of {[str(v) for v in Verdict]}."
        )
    return verdict
