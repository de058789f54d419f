"""Find the byte at which a break strikes, among the bytes that pass its point.

Rules: a tripwire counts and searches, and never sends or waits.
"""

from __future__ import annotations

import copy
import re
from typing import Literal

from faultline._core.awaited import Awaited
from faultline._core.breaks import Break
from faultline._core.heads import Head
from faultline._core.passing import REQUEST, RESPONSE, Messages, Opening
from faultline._core.passing_http2 import Streams
from faultline._core.patterns import needs_of
from faultline._core.points import Point

PATTERN_WINDOW_BYTES = 65_536  # how far back a pattern can reach into what has passed


class Tripwire:
    """The search for the strike of a break in the bytes that pass its point.

    Attributes:
        brk: the break.
        passed_bytes: how many bytes have passed the point since the break is there.
        before_bytes: how many bytes of the attempt had passed the point before that, as when a test gave it the break.
        waits: whether the break waits for its time, while the conversation goes on; all bytes pass then.
        requests_left: how many requests pass before the break can strike, the present one included.
    """

    __slots__ = (
        *("before_bytes", "brk", "passed_bytes", "requests_left", "waits"),
        *("_begin", "_body_bytes", "_head", "_messages", "_opening", "_passing", "_search", "_streams"),
    )

    def __init__(self, brk: Break) -> None:
        self.brk = brk
        self.passed_bytes = self.before_bytes = 0
        self.waits = False
        self.requests_left = brk.trigger.after_requests
        self._search = Search(brk.trigger.on or b"")
        self._messages = Awaited(brk.trigger)
        self._opening = self._new_opening()
        self._passing: Messages | None = None  # the messages of a WebSocket, once it is open
        self._head, self._body_bytes = Head(), 0  # of the present message
        self._streams: Streams | None = None  # of HTTP/2, unless the bytes say otherwise
        self._begin = b""  # of a message, until it is known
        if not self._is_counted:
            self._streams = Streams(brk.at, brk.trigger, lambda: Search(brk.trigger.on or b""))

    @property
    def _is_counted(self) -> bool:
        """Whether the break strikes after a number of bytes, whatever they say."""
        trigger = self.brk.trigger
        return trigger.on is None and trigger.after_messages is None and trigger.after_body_bytes is None

    def begins_to_wait(self) -> bool:
        """Begin to wait for the break's time; return false if it has none, or if it is over."""
        begins = self.brk.lasts and not self.waits
        self.waits = self.waits or begins
        return begins

    def begin_message(self) -> None:
        """Begin a new message: the bytes that pass from here on belong to it."""
        self._messages.begins()
        self._head, self._body_bytes = Head(), 0
        self._opening = self._new_opening()

    def _new_opening(self) -> Opening:
        return Opening(REQUEST if self.brk.at == "request" else RESPONSE)

    def join_websocket(self, head: bytes, left_bytes: int) -> None:
        """Look for words and messages in a WebSocket that is open already; a frame that has begun is passed over."""
        self._streams = None
        self._passing = Messages(self.brk.trigger, lambda: Search(self.brk.trigger.on or b""))
        self._passing.begin_inside(head, left_bytes)

    def join_http2(self, streams: Streams) -> None:
        """Look in the streams of a connection that is open already, from where these have come to."""
        if not self._is_counted:
            self._streams = copy.deepcopy(streams)  # which go on for the breaks that come later
            self._streams.wait_for(self.brk.trigger, lambda: Search(self.brk.trigger.on or b""))

    def begin_attempt(self) -> None:
        """Go on in the next attempt of the connection, whose bytes are counted anew."""
        if self.brk.facts.is_exchange:
            self.passed_bytes = self.before_bytes = 0
            self._search = Search(self.brk.trigger.on or b"")
            self.begin_message()

    def is_armed_at(self, point: Point) -> bool:
        """Whether the break can strike at a point, in the present request."""
        left = self.requests_left - 1 if point == "idle" else self.requests_left
        return self.brk.at == point and left <= 0

    def cut(self, data: bytes) -> int | None:
        """The number of these bytes that pass before the break strikes; `None` if all pass and it doesn't strike."""
        if self.waits or self.brk.trigger.at_end:
            found = None  # the caller knows the end, and strikes there
        elif self._is_counted:
            left = self.brk.trigger.after_bytes - self.passed_bytes
            found = left if left <= len(data) else None
        else:
            found = self._follow(data)
        self.passed_bytes += len(data) if found is None else found
        return found

    def _follow(self, data: bytes) -> int | None:
        """The number of these bytes before the strike, by what they say; in HTTP/2 the frames of each stream say it."""
        after_bytes = self.brk.trigger.after_body_bytes
        if self._streams is not None:
            found = self._streams.cut(data)
            if self._streams.is_http2:
                return found
            if self._streams.is_http2 is False:
                self._streams = None
            elif after_bytes is not None:  # the first bytes of either version
                self._begin += data
                return None
        if after_bytes is None:
            return self._cut_words(data)
        begin, self._begin = self._begin, b""
        found = self._count_body(begin + data, after_bytes)
        return None if found is None else max(0, found - len(begin))

    def _cut_words(self, data: bytes) -> int | None:
        """The number of these bytes before a message, or up to the end of words; in a WebSocket its own messages count.

        Its handshake is no message, if it comes in one piece.
        """
        if self._passing is not None:
            return self._passing.cut(data)
        after_messages = self.brk.trigger.after_messages
        opened = self._opening.end(data)
        if not self._opening.is_handshake and (data or after_messages is None):
            return self._search.cut(data) if after_messages is None else self._cut_message(data)
        if opened is None:
            return None
        self._passing = Messages(self.brk.trigger, lambda: Search(self.brk.trigger.on or b""))
        found = self._passing.cut(data[opened:])
        return None if found is None else opened + found

    def _cut_message(self, data: bytes) -> int | None:
        """The number of these bytes before a message, or in it."""
        return 0 if self._messages.is_next else self._messages.pass_bytes(len(data))

    def _count_body(self, data: bytes, after_bytes: int) -> int | None:
        before = self._head.bytes_of(data)
        left = after_bytes - self._body_bytes
        self._body_bytes += len(data) - before
        return before + left if self._head.is_over and left <= len(data) - before else None

    def room_bytes(self, wanted_bytes: int) -> int:
        """The number of bytes that can be read at once without reading past the strike."""
        trigger = self.brk.trigger
        if self.waits or trigger.on or trigger.after_messages is not None:
            return wanted_bytes
        if trigger.after_body_bytes is not None:
            is_http2 = self._streams is not None and self._streams.is_http2
            least_bytes = self._head.least_bytes + trigger.after_body_bytes - self._body_bytes
            return wanted_bytes if is_http2 else min(wanted_bytes, least_bytes)
        return min(wanted_bytes, trigger.after_bytes - self.passed_bytes)


class Enough:
    """The search for the end of a number of bytes."""

    def __init__(self, count_bytes: int) -> None:
        self._left_bytes = count_bytes

    def cut(self, data: bytes) -> int | None:
        """The number of these bytes that are wanted; `None` if all are, and more."""
        if len(data) >= self._left_bytes:
            return self._left_bytes
        self._left_bytes -= len(data)
        return None


class Search:
    """The search for the end of the first match of a pattern, or of some bytes; its cost grows with the new bytes."""

    __slots__ = ("_marker", "_window")

    def __init__(self, marker: bytes | re.Pattern[bytes]) -> None:
        self._marker = marker
        self._window = b""  # the last bytes so far, in which a match may have begun

    def cut(self, data: bytes) -> int | None:
        """The number of these bytes up to the end of a match; `None` if there is none yet."""
        before, marker = len(self._window), self._marker
        window = self._window + data
        if isinstance(marker, bytes):
            at = window.find(marker)
            end = at + len(marker) if at >= 0 else None
            keep = len(marker) - 1
        else:
            needs = needs_of(marker)
            begin = max(0, before - min(PATTERN_WINDOW_BYTES, needs.width))
            match = marker.search(window, begin) if needs.may_match(window, begin, before) else None
            end = match.end() if match else None
            keep = PATTERN_WINDOW_BYTES + 1  # with the byte before the window, so that ^ doesn't match at its beginning
        self._window = window[-keep:] if keep else b""
        return None if end is None else max(0, end - before)


class Prefixed:
    """The search for the end of a message whose length comes before it."""

    def __init__(self, length_bytes: int, byteorder: Literal["big", "little"], *, includes_length: bool) -> None:
        self._length_bytes, self._byteorder = length_bytes, byteorder
        self._less_bytes = length_bytes if includes_length else 0
        self._prefix = b""
        self._rest = Enough(0)

    def cut(self, data: bytes) -> int | None:
        """The number of these bytes up to the end of the message; `None` if it has not come yet."""
        lacking = self._length_bytes - len(self._prefix)
        if lacking:
            self._prefix += data[:lacking]
            if len(data) < lacking:
                return None
            self._rest = Enough(max(0, int.from_bytes(self._prefix, self._byteorder) - self._less_bytes))
        rest = self._rest.cut(data[lacking:])
        return None if rest is None else lacking + rest
