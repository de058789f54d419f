"""Follows the messages of a WebSocket among the bytes that pass: `on` and `after_messages` mean messages there.

Rules: no byte is held back or changed. Bytes that are no frames have no messages.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from typing import Protocol

from faultline._core.awaited import Awaited
from faultline._core.breaks import Trigger
from faultline._core.frame_heads import PassingFrame
from faultline._core.frames import BINARY, CONTINUATION, FIN, RSV1, TEXT

HEAD_LIMIT_BYTES = 65_536
REQUEST, RESPONSE = b"GET ", b"HTTP/1.1 101"  # how the two messages begin that open a WebSocket
UPGRADE = re.compile(rb"(?im)^upgrade:[ \t]*websocket[ \t]*\r?$")
END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
INFLATED_BYTES = 65_536  # at once, because a compressed byte may become a thousand
SYNC = b"\0\0\xff\xff"  # what the sender leaves out behind a compressed message: RFC 7692, 7.2.1


class Search(Protocol):
    """A search for words, as the tripwire has it."""

    def cut(self, data: bytes) -> int | None:
        """The number of these bytes up to the end of a match; `None` if there is none yet."""


class Opening:
    """Looks for the handshake of a WebSocket in what a side says first.

    Attributes:
        is_handshake: whether it is one, as far as it has come.
    """

    __slots__ = ("_begins", "_head", "is_handshake")

    def __init__(self, begins: bytes) -> None:
        self._begins = begins
        self._head: bytes | None = b""  # `None` once it is no handshake
        self.is_handshake = False

    def end(self, data: bytes) -> int | None:
        """The number of these bytes up to the end of the handshake; `None` if it is none, or has not ended yet."""
        if self._head is None or not data:
            return None
        before = len(self._head)
        self._head += data
        known = min(len(self._head), len(self._begins))
        ends = END_OF_HEAD.search(self._head, max(0, before - 3))
        is_other = self._head[:known] != self._begins[:known] or (not ends and len(self._head) > HEAD_LIMIT_BYTES)
        if is_other or (ends and not UPGRADE.search(self._head, 0, ends.end())):
            self._head, self.is_handshake = None, False
            return None
        # A response with status 101 is one; a request shows it by a field only.
        self.is_handshake = bool(ends) or (self._begins == RESPONSE and self._head.startswith(RESPONSE))
        return ends.end() - before if ends else None


class Messages:
    """Finds the byte of a strike in the frames of one direction: before a message or in it, or behind words in one.

    In a compressed message the strike is behind the frame that has the words.
    """

    __slots__ = ("_awaited", "_frame", "_inflater", "_is_compressed", "_is_found", "_looks", "_new_search", "_search")

    def __init__(self, trigger: Trigger, new_search: Callable[[], Search]) -> None:
        self._awaited, self._new_search = Awaited(trigger), new_search
        self._looks = trigger.after_messages is None  # for words
        self._search = new_search()  # in the present message
        self._frame = PassingFrame()
        self._is_compressed = False
        self._is_found = False  # in the inflated bytes of a frame that has not ended
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)

    def begin_inside(self, head: bytes, left_bytes: int) -> None:
        """Begin in a frame of which this part of the head has passed, or all but this number of bytes of the payload.

        The frame is passed over.
        """
        self._frame.begin_inside(head, left_bytes)

    def cut(self, data: bytes) -> int | None:
        """The number of these bytes that pass before the break strikes; `None` if all pass and it doesn't strike."""
        at, frame = 0, self._frame
        while at < len(data):
            begin = at
            if not frame.is_in_payload:
                if not frame.has_begun and self._begins_awaited(data[at]):
                    return at
                at = frame.read_head(data, at)
            else:
                piece = frame.take(data, at)
                found = self._look(piece) if self._is_data and self._looks else None
                if found is not None:
                    return at + found
                at += len(piece)
            if (found := self._awaited.pass_bytes(at - begin)) is not None:
                return begin + found
            if frame.has_ended and self._end_frame():
                return at
        return None

    @property
    def _is_data(self) -> bool:
        return self._frame.first & 0x0F in (CONTINUATION, TEXT, BINARY)

    def _begins_awaited(self, first: int) -> bool:
        """Whether the frame with this first byte begins the message before which the break strikes."""
        if first & 0x0F not in (TEXT, BINARY):
            return False
        self._search = self._new_search()
        self._is_compressed = bool(first & RSV1)
        return self._awaited.begins()

    def _look(self, piece: bytes) -> int | None:
        """The number of bytes of a payload up to the end of the words; `None` if they are not there."""
        plain = self._frame.unmasked(piece)
        if not self._is_compressed:
            return self._search.cut(plain)
        self._inflate(plain)
        return None

    def _inflate(self, data: bytes) -> None:
        """Look in what a part of a compressed message says; after bytes that say nothing, nothing is found any more."""
        try:
            while data and not self._is_found:
                said = self._inflater.decompress(data, INFLATED_BYTES)
                self._is_found = self._search.cut(said) is not None
                data = self._inflater.unconsumed_tail
                if self._inflater.eof:
                    data = self._inflater.unused_data
                    self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        except zlib.error:
            self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)

    def _end_frame(self) -> bool:
        """Take note of the end of a frame; return whether it has the words."""
        if self._frame.first & FIN and self._is_data:
            if self._is_compressed and self._looks:
                self._inflate(SYNC)
            self._awaited.ends()
        self._frame.end()
        is_found, self._is_found = self._is_found, False
        return is_found
