"""Questions with verifiers.  ``countdown`` is built in; a task is anything that satisfies `base.Task`."""

from varcore.tasks.base import Question, Task, Verdict
from varcore.tasks.countdown import Countdown

__all__ = ["Countdown", "Question", "Task", "Verdict"]
