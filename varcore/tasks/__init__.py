"""Questions with verifiers: anything that satisfies `base.Task`.

``countdown``, ``chain`` and ``chain-obedient`` are built in; `loaders.load_task` makes a task of a file or of a
published data set (docs/data.md).
"""

from varcore.tasks.base import Question, Task, Verdict
from varcore.tasks.chain import Chain, ObedientChain
from varcore.tasks.countdown import Countdown

__all__ = ["Chain", "Countdown", "ObedientChain", "Question", "Task", "Verdict"]
