"""What one call of a client came to, and what it left behind.

Rules: the process that forks loads this, and each fork copies what that has loaded: import nothing of faultline here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Literal, TypeAlias

Outcome: TypeAlias = Literal["returned", "raised", "hung", "crashed"]


@dataclass(frozen=True)
class Left:
    """What a client has left behind, beyond what its process had before.

    Attributes:
        sockets: open sockets.
        close_wait: those of them that the server has closed, and the client has not.
        files: other open file descriptors.
        threads: threads of Python that still run.
        tasks: tasks of asyncio that are not done.
        children: child processes that still run, and theirs.
    """

    sockets: int = 0
    close_wait: int = 0
    files: int = 0
    threads: int = 0
    tasks: int = 0
    children: int = 0

    def beyond(self, usual: Left) -> Left:
        """What is more than usual."""
        return Left(**{f.name: max(0, getattr(self, f.name) - getattr(usual, f.name)) for f in fields(self)})

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left; in CLOSE_WAIT is only what is an open socket too."""
        return replace(self, close_wait=0) == Left()


@dataclass(frozen=True)
class Call:
    """One call of the client, or one run of a command.

    Attributes:
        outcome: how it ended.
        what: the value in short, the class of the exception, the exit status, or the signal.
        detail: the message of the exception, or the last line of stderr.
        cause: the class of the first error under the exception, as `root_cause` finds it.
        is_expected: whether the exception is one of those that `--expect` names.
        seconds: how long it took.
        count_bytes: the length of the value, if it is text or bytes, or has some.
        digest: what tells two values apart.
        left: what was left behind after the call.
        attempts: how many attempts the server had counted then, from the first call on.
        is_busy: whether its process computed at the end of its time, and did not wait.
    """

    outcome: Outcome
    what: str = ""
    detail: str = ""
    cause: str = ""
    is_expected: bool = True
    seconds: float = 0.0
    count_bytes: int | None = None
    digest: str = ""
    left: Left = field(default_factory=Left)
    attempts: int = 0
    is_busy: bool = False
