"""The step of a script that branches by what the client says, as a value."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from faultline._core.spoken import Spoken

if TYPE_CHECKING:
    from collections.abc import Callable

    from faultline._core.steps import ConnectionStep, Reading

Key: TypeAlias = bytes | re.Pattern[bytes]


@dataclass(frozen=True, repr=False)
class Reply(Spoken):
    """Read messages, and play the steps of the branch that each of them takes.

    Attributes:
        branches: for each key its steps; bytes begin a message, and a pattern is looked for in it.
        otherwise: the steps for a message that takes no branch; none to end the conversation.
        reading: how one message is read.
    """

    says: ClassVar[str] = "reply"

    branches: tuple[tuple[Key, tuple[ConnectionStep, ...]], ...]
    otherwise: tuple[ConnectionStep, ...]
    reading: Reading

    def __repr__(self) -> str:
        branches = ", ".join(f"{key!r}: {written(steps)}" for key, steps in self.branches)
        otherwise = f", otherwise={written(self.otherwise)}" if self.otherwise else ""
        usual = f"{self.reading!r}" == USUAL
        return f"reply({{{branches}}}{otherwise}{'' if usual else f', reading={self.reading!r}'})"

    @property
    def inner(self) -> tuple[ConnectionStep, ...]:
        """The step that reads, and those of all branches, in the order in which they are written."""
        return (self.reading, *(step for _, branch in self.branches for step in branch), *self.otherwise)

    def with_steps(self, steps: tuple[Any, ...]) -> Reply:
        """The same step with these steps instead of its own."""
        rest = iter(steps[1:])
        branches = tuple((key, tuple(islice(rest, len(branch)))) for key, branch in self.branches)
        return replace(self, branches=branches, otherwise=tuple(rest))

    def branch_of(self, message: bytes, taken: Callable[[ConnectionStep], bool]) -> tuple[ConnectionStep, ...] | None:
        """The steps that a message takes: those of the key that matches the most bytes, of several the first.

        `None` if there are none for it. A branch that has a step of which `taken` is true is taken no more.
        """
        found = [(matched(key, message), steps) for key, steps in self.branches if not any(map(taken, steps))]
        longest, branch = max(found, key=lambda each: each[0], default=(-1, ()))
        return branch if longest >= 0 else self.otherwise or None


USUAL = "receive_until(b'\\n')"


def written(steps: tuple[ConnectionStep, ...]) -> str:
    """Steps as they are written: one alone, or several in brackets."""
    return repr(steps[0]) if len(steps) == 1 else repr(steps)


def matched(key: Key, message: bytes) -> int:
    """How many bytes of a message a key matches, whose letters may be of either case; -1 if it does not match."""
    if isinstance(key, bytes):
        return len(key) if message[: len(key)].lower() == key.lower() else -1
    found = key.search(message)
    return -1 if found is None else found.end() - found.start()
