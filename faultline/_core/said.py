"""The call that made a part of a fault, as text for reports."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from faultline._core.branching import Reply
from faultline._core.counts import counted

LONG = 40  # characters of a value
LONG_CALL = 60


@dataclass(frozen=True)
class Said:
    """A call: the name of the mode, and the arguments that differ from its defaults."""

    mode: str
    arguments: tuple[tuple[str, Any], ...] = ()
    positional: int = 0

    def __str__(self) -> str:
        written = [
            abbreviated(value) if i < self.positional else f"{name}={abbreviated(value)}"
            for i, (name, value) in enumerate(self.arguments)
        ]
        return f"{self.mode}({', '.join(written)})"

    @property
    def short(self) -> str:
        """The call, without its arguments if it is long."""
        return text if len(text := str(self)) <= LONG_CALL else f"{self.mode}(…)"


class SaidScript(Said):
    """The call of `script`; a step of many branches is written in full."""

    def __str__(self) -> str:
        written = [repr(step) if isinstance(step, Reply) else abbreviated(step) for _, step in self.arguments]
        return f"{self.mode}({', '.join(written)})"


def abbreviated(value: object, limit: int = LONG) -> str:
    """`repr`, with the middle of long values left out."""
    text = str(getattr(value, "__qualname__", None) or repr(value))  # the name of a function, without its address
    if len(text) <= limit:
        return text
    size = f"...{counted(len(value), 'byte')}..." if isinstance(value, bytes) else "..."
    return f"{text[: limit // 2]}{size}{text[-limit // 4 :]}"


ABBREVIATED = re.compile(rf".{{{LONG // 2}}}\.\.\.(\d+ bytes\.\.\.)?.{{{LONG // 4}}}", re.DOTALL)


def is_abbreviated(text: str) -> bool:
    """Whether a text has the form in which `abbreviated` shows long values."""
    return ABBREVIATED.fullmatch(text) is not None
