"""Questions with verifiers: anything that satisfies `base.Task`.

``countdown`` is built in; `loaders.load_task` makes a task of a file or of a published data set (docs/data.md).
"""

from varcore.tasks.base import Question, Task, Verdict
from varcore.tasks.countdown import Countdown

__all__ = ["Countdown", "Question", "Task", "Verdict"]
