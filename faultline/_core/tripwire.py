"""The tripwire: finds the byte at which a break strikes, among the bytes that pass its point.

It counts and searches, and never sends or waits.
"""

from __future__ import annotations

import re

from faultline._core.breaks import Break

PATTERN_WINDOW_BYTES = 65_536  # how far back a pattern can reach into what has passed


class Tripwire:
    """One break, waiting for the bytes of its point to pass."""

    def __init__(self, brk: Break) -> None:
        self.brk = brk
        self.passed_bytes = 0
        self._window = b""
        self._messages = 0

    def begin_message(self) -> None:
        """What passes from here on is a new message."""
        self._messages += 1

    def cut(self, data: bytes) -> int | None:
        """How many of these bytes still pass before it strikes; `None` if all do and it waits on."""
        trigger = self.brk.trigger
        if trigger.at_end:
            found = None  # who knows the end strikes there
        elif trigger.after_messages is not None:
            found = None if self._messages <= trigger.after_messages else 0
        elif trigger.on is None:
            left = trigger.after_bytes - self.passed_bytes
            found = left if left <= len(data) else None
        else:
            found = self._search(data, trigger.on)
        self.passed_bytes += len(data) if found is None else found
        return found

    def _search(self, data: bytes, marker: bytes | re.Pattern[bytes]) -> int | None:
        before = len(self._window)
        window = self._window + data
        if isinstance(marker, bytes):
            at = window.find(marker)
            end = at + len(marker) if at >= 0 else None
            keep = len(marker) - 1
        else:
            match = marker.search(window, max(0, before - PATTERN_WINDOW_BYTES))
            end = match.end() if match else None
            keep = PATTERN_WINDOW_BYTES + 1  # the byte before it, so that ^ doesn't match where the window begins
        self._window = window[-keep:] if keep else b""
        return None if end is None else max(0, end - before)

    def room_bytes(self, wanted_bytes: int) -> int:
        """How many bytes may be read at once without reading past the strike."""
        trigger = self.brk.trigger
        return (
            wanted_bytes
            if trigger.on or trigger.after_messages is not None
            else min(wanted_bytes, trigger.after_bytes - self.passed_bytes)
        )


def enough(data: bytes, count: int) -> int:
    """So many bytes, if there are as many, or -1."""
    return count if len(data) >= count else -1


def end_of(data: bytes, marker: bytes) -> int:
    """Where the marker ends in the data, or -1."""
    at = data.find(marker)
    return at + len(marker) if at >= 0 else -1
