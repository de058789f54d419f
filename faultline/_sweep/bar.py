"""The progress bar of a long sweep, on a terminal."""

from __future__ import annotations

import sys

from faultline._core import clock
from faultline._core.terminal import is_terminal
from faultline._sweep.begun import Terminal, begun

AFTER_SECONDS = 2.0  # shorter sweeps need none
EVERY_SECONDS = 0.2
WIDTH = 20


class Bar:
    """The progress bar of one sweep."""

    def __init__(self) -> None:
        self._began = self._written = clock.now()
        self._length = 0

    def show(self, done: int, total: int, failed: int) -> None:
        """Show how far the sweep is."""
        now = clock.now()
        if now - self._began < AFTER_SECONDS or now - self._written < EVERY_SECONDS:
            return
        terminal = begun.terminal or standard_error()
        if terminal is None:
            return
        self._written = now
        filled = WIDTH * done // max(total, 1)
        bar, took = "#" * filled + "." * (WIDTH - filled), now - self._began
        text = f"sweep [{bar}] {done}/{total} runs, {failed} failed, {took:.0f} s"
        self._write(terminal, f"\r{text:{self._length}}")
        self._length = len(text)

    def end(self) -> None:
        """Remove the bar, if it was shown."""
        terminal = begun.terminal or standard_error()
        if self._length and terminal is not None:
            self._write(terminal, f"\r{'':{self._length}}\r")
        self._length = 0

    def _write(self, terminal: Terminal, text: str) -> None:
        terminal.write(text)
        terminal.flush()


def standard_error() -> Terminal | None:
    """The standard error, if it is a terminal."""
    stream = sys.stderr
    return stream if is_terminal(stream) else None
