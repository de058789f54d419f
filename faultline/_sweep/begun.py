"""The sweep that is under way in this process, for a test run that has to tell of one whose loop was left.

Rules: this module loads nothing, because the pytest plugin looks here whether there is a sweep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from faultline._sweep.sweep import Sweep


class Terminal(Protocol):
    """Where a progress bar is written."""

    def write(self, text: str, /) -> Any:
        """Write a text."""

    def flush(self) -> None:
        """Show what is written."""


class Begun:
    """The sweep that began last.

    Attributes:
        sweep: the sweep; `None` if it is forgotten.
        terminal: the terminal for its progress bar; `None` if there is none.
        subtests: the fixture `subtests` of its test, if the test asks for it.
    """

    def __init__(self) -> None:
        self.sweep: Sweep | None = None
        self.forget()

    def forget(self) -> None:
        """Forget the sweep and its test."""
        self.sweep = None
        self.terminal: Terminal | None = None
        self.subtests: Any = None


begun = Begun()
