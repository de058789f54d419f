"""The head of a message, among bytes that come in pieces."""

from __future__ import annotations

import re

ENDS = (b"\n\n", b"\n\r\n")
INTERIM = re.compile(rb"HTTP/1\.\d 1(?!01)\d\d\b")  # what a server says before its response: RFC 9110, 15.2
FIRST_BYTES = 13  # of a message, in which a status is found


class Head:
    """Counts the bytes of a head, which ends with the first empty line behind a line that is not empty.

    Interim responses, such as `100 Continue`, belong to the head of the response behind them.
    """

    __slots__ = ("_begin", "_last", "is_over")

    def __init__(self) -> None:
        self.is_over = False
        self._begin = b""  # the first bytes, without the empty lines before them
        self._last = b""  # the last bytes, in which the end may have begun

    def bytes_of(self, data: bytes) -> int:
        """How many of these bytes are of the head; 0 once it is over."""
        count = 0
        while not self.is_over and count < len(data):
            count += self._bytes_of_one(data[count:])
        return count

    def _bytes_of_one(self, data: bytes) -> int:
        skipped = 0 if self._begin else len(data) - len(data.lstrip(b"\r\n"))
        rest = data[skipped:]
        self._begin = (self._begin + rest[:FIRST_BYTES])[:FIRST_BYTES]
        before, window = len(self._last), self._last + rest
        ends = [at + len(end) for end in ENDS if (at := window.find(end)) >= 0]
        if not ends:
            self._last = window[-2:]
            return len(data)
        is_interim = INTERIM.match(self._begin) is not None
        self._begin = self._last = b""
        self.is_over = not is_interim
        return skipped + min(ends) - before

    @property
    def least_bytes(self) -> int:
        """How many bytes are still to come at least, before it is over."""
        if self.is_over:
            return 0
        return 1 if self._last.endswith((b"\n", b"\n\r")) else 2
