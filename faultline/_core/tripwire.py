"""Find the byte at which a break strikes, among the bytes that pass its point.

Rules: a tripwire counts and searches, and never sends or waits.
"""

from __future__ import annotations

import re

from faultline._core.breaks import Break

PATTERN_WINDOW_BYTES = 65_536  # how far back a pattern can reach into what has passed


class Tripwire:
    """The search for the strike of a break in the bytes that pass its point."""

    def __init__(self, brk: Break) -> None:
        self.brk = brk
        self.passed_bytes = 0
        self._window = b""
        self._messages = 0

    def begin_message(self) -> None:
        """Begin a new message: the bytes that pass from here on belong to it."""
        self._messages += 1

    def cut(self, data: bytes) -> int | None:
        """The number of these bytes that pass before the break strikes; `None` if all pass and it doesn't strike."""
        trigger = self.brk.trigger
        if trigger.at_end:
            found = None  # the caller knows the end, and strikes there
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
            keep = PATTERN_WINDOW_BYTES + 1  # with the byte before the window, so that ^ doesn't match at its beginning
        self._window = window[-keep:] if keep else b""
        return None if end is None else max(0, end - before)

    def room_bytes(self, wanted_bytes: int) -> int:
        """The number of bytes that can be read at once without reading past the strike."""
        trigger = self.brk.trigger
        return (
            wanted_bytes
            if trigger.on or trigger.after_messages is not None
            else min(wanted_bytes, trigger.after_bytes - self.passed_bytes)
        )


def enough(data: bytes, count: int) -> int:
    """`count`, or -1 if the data is shorter."""
    return count if len(data) >= count else -1


def end_of(data: bytes, marker: bytes) -> int:
    """The position in the data where the marker ends, or -1."""
    at = data.find(marker)
    return at + len(marker) if at >= 0 else -1
