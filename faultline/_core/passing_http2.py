"""Follows the streams of HTTP/2 among the bytes that pass: triggers mean a stream's fields, body and messages there.

Rules: no byte is held back or changed. h2 answers what it reads, so the heads of frames are read here; hpack reads the
fields, if it is installed. Bytes that are no frames have no streams.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from faultline._core.awaited import Awaited
from faultline._core.breaks import Trigger
from faultline._core.passing import Search
from faultline._core.points import Point

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # what a client says first: RFC 9113, 3.4
HEAD_BYTES = 9
DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, CONTINUATION = 0, 1, 3, 4, 5, 9
END_STREAM, END_HEADERS, PADDED, PRIORITY = 0x01, 0x04, 0x08, 0x20
PRIORITY_BYTES, PROMISED_BYTES = 5, 4
TABLE_BYTES = 1 << 20  # of compressed fields, as the other side may allow it
FIELDS_BYTES = 1 << 16  # of fields that are still compressed; nothing is found in more
INTERIM = b":status: 1"  # of a response that has another behind it
MOST_STREAMS = 1000  # that are followed at once


class Fields:
    """Reads compressed fields, as text in lines."""

    def __init__(self) -> None:
        self._block = b""
        self._decoder: Any = None
        with contextlib.suppress(ImportError):  # without the extra http2 only bodies are searched
            self._decoder = importlib.import_module("hpack").Decoder(max_header_list_size=FIELDS_BYTES)
            self._decoder.max_allowed_table_size = TABLE_BYTES

    def add(self, data: bytes, *, is_last: bool) -> bytes:
        """Take a part of a block of fields; return the text of the block, once it is complete."""
        self._block += data
        if len(self._block) > FIELDS_BYTES:
            self._decoder = None
        if self._decoder is None or not is_last:
            return b""
        block, self._block = self._block, b""
        try:
            fields: Iterable[tuple[bytes, bytes]] = self._decoder.decode(block, raw=True)
        except Exception:  # noqa: BLE001 - of garbage; what follows can't be read either, because the table is unknown
            self._decoder = None
            return b""
        return b"".join(b"%b: %b\r\n" % field[:2] for field in fields) + b"\r\n"


class Frame:
    """A frame whose head has come.

    Attributes:
        kind: what it is, as a number.
        flags: what it says of itself.
        stream: the number of its stream; 0 for the connection.
        left_bytes: how many bytes of the payload are still to come.
        padding: how many of them say nothing, at the end; `None` before the first byte, which tells.
        payload: what has come of the payload, if it has fields.
    """

    __slots__ = ("flags", "kind", "left_bytes", "padding", "payload", "stream")

    def __init__(self, head: bytes | bytearray) -> None:
        self.kind, self.flags = head[3], head[4]
        self.stream = int.from_bytes(head[5:9], "big") & 0x7FFF_FFFF
        self.left_bytes = int.from_bytes(head[:3], "big")
        self.padding = None if self.kind == DATA and self.flags & PADDED else 0
        self.payload = bytearray()

    @property
    def has_fields(self) -> bool:
        """Whether the payload is a block of fields, or a part of one."""
        return self.kind in (HEADERS, PUSH_PROMISE, CONTINUATION)

    def content(self, piece: bytes) -> tuple[int, bytes]:
        """Where the body begins in a piece of the payload of DATA, and what it says."""
        begin = 0
        if self.padding is None:
            begin, self.padding = 1, piece[0]
        return begin, piece[begin : max(begin, self.left_bytes - self.padding)]

    def block(self) -> bytes:
        """The compressed fields, without what stands before and behind them."""
        pads = bool(self.flags & PADDED) and self.kind != CONTINUATION
        begin = int(pads) + (PRIORITY_BYTES if self.kind == HEADERS and self.flags & PRIORITY else 0)
        begin += PROMISED_BYTES if self.kind == PUSH_PROMISE else 0
        return bytes(self.payload[begin : len(self.payload) - (self.payload[0] if pads and self.payload else 0)])


@dataclass
class Stream:
    """A stream that is open.

    Attributes:
        search: the search for words in its fields and its body.
        body_bytes: how many bytes of the body have come.
    """

    search: Search
    body_bytes: int = 0


def may_begin(head: bytes | bytearray) -> bool:
    """Whether this is the head of what a server of HTTP/2 says first, as far as it has come: of its settings.

    These are short, so that the first byte of their length is 0, and they have no flags and no stream.
    """
    return head[:1] in (b"", b"\0") and bytes(head[3:]) == bytes([SETTINGS, 0, 0, 0, 0, 0][: max(0, len(head) - 3)])


class Streams:
    """Finds the byte of a strike in the frames of one direction.

    It is before a message or behind a number of bytes of its stream's frames, or behind a part of a body, or behind
    words of one stream. If the words are in its fields, the strike is behind the frame in which they end; the head of a
    frame is never cut.

    Attributes:
        is_http2: whether these are frames of HTTP/2; `None` while it is not known.
    """

    __slots__ = (
        "_awaited",
        "_fields",
        "_frame",
        "_head",
        "_new_search",
        "_of",
        "_open",
        "_preface",
        "_trigger",
        "is_http2",
    )

    def __init__(self, at: Point, trigger: Trigger, new_search: Callable[[], Search]) -> None:
        self._trigger, self._new_search, self._awaited = trigger, new_search, Awaited(trigger)
        self.is_http2: bool | None = None
        self._preface = PREFACE if at == "request" else b""  # what is still to come of it
        self._head = bytearray()  # of a frame, as far as it has come
        self._frame: Frame | None = None  # whose payload comes
        self._of: Frame | None = None  # the frame that began the present block of fields
        self._fields = Fields()
        self._open: dict[int, Stream] = {}  # by number

    def wait_for(self, trigger: Trigger, new_search: Callable[[], Search]) -> None:
        """Find the strike of another break from here on: what has passed neither counts nor is looked in."""
        self._trigger, self._new_search, self._awaited = trigger, new_search, Awaited(trigger)
        for stream in self._open.values():
            stream.search, stream.body_bytes = new_search(), 0

    def cut(self, data: bytes) -> int | None:
        """The number of these bytes that pass before the break strikes; `None` if all pass and it doesn't strike."""
        at = self._pass_preface(data)
        while at < len(data) and self.is_http2 is not False:
            if self._frame is None:
                begin = max(0, at - len(self._head))
                at = self._read_head(data, at)
                if self._frame is not None and self._begins_awaited(self._frame):
                    return begin
                if self._frame is not None and self._passes(self._frame, HEAD_BYTES) is not None:
                    return at
            else:
                piece = data[at : at + self._frame.left_bytes]
                if (found := self._read(self._frame, piece)) is not None:
                    return at + found
                at += len(piece)
            if self._frame is not None and not self._frame.left_bytes and self._end_frame(self._frame):
                return at
        return None

    def _pass_preface(self, data: bytes) -> int:
        """Pass the preface; return where the frames begin in these bytes."""
        said, expected = data[: len(self._preface)], self._preface[: len(data)]
        if expected and said != expected:
            self.is_http2 = False
        elif expected and len(expected) == len(self._preface):
            self.is_http2 = True
        self._preface = self._preface[len(expected) :]
        return len(expected)

    def _read_head(self, data: bytes, at: int) -> int:
        """Read bytes of the head of a frame; return where the rest begins."""
        part = data[at : at + HEAD_BYTES - len(self._head)]
        self._head += part
        is_whole = len(self._head) == HEAD_BYTES
        if self.is_http2 is None and (is_whole or not may_begin(self._head)):
            self.is_http2 = may_begin(self._head)
        if is_whole:
            self._frame, self._head = Frame(self._head), bytearray()
        return at + len(part)

    def _begins_awaited(self, frame: Frame) -> bool:
        """Whether a frame begins the message before which the break strikes."""
        if frame.kind != HEADERS or frame.stream in self._open:
            return False
        is_next = self._awaited.begins(frame.stream)
        if len(self._open) >= MOST_STREAMS:
            del self._open[next(iter(self._open))]
        self._open[frame.stream] = Stream(self._new_search())
        return is_next

    def _passes(self, frame: Frame, count_bytes: int) -> int | None:
        """Take note of bytes of a frame; return how many of them pass if the break strikes among them."""
        is_message = frame.has_fields or frame.kind == DATA
        return self._awaited.pass_bytes(count_bytes, frame.stream) if is_message else None

    def _read(self, frame: Frame, piece: bytes) -> int | None:
        """Read a piece of a payload; return how many of its bytes pass, if the break strikes among them."""
        found = None
        if frame.kind == DATA and frame.stream in self._open:
            begin, content = frame.content(piece)
            found = self._look(self._open[frame.stream], content)
            found = None if found is None else begin + found
        elif frame.has_fields:
            frame.payload += piece[: FIELDS_BYTES + 1 - len(frame.payload)]
        frame.left_bytes -= len(piece)
        return self._passes(frame, len(piece)) if found is None else found

    def _look(self, stream: Stream, content: bytes) -> int | None:
        """Look in a part of a body."""
        if self._trigger.on is not None:
            return stream.search.cut(content)
        left = (self._trigger.after_body_bytes or 0) - stream.body_bytes
        stream.body_bytes += len(content)
        return left if self._trigger.after_body_bytes is not None and left <= len(content) else None

    def _end_frame(self, frame: Frame) -> bool:
        """Take note of the end of a frame; return whether the break strikes behind it."""
        self._frame = None
        if frame.has_fields:
            return self._end_fields(frame)
        if frame.kind == RST_STREAM or (frame.kind == DATA and frame.flags & END_STREAM):
            self._close(frame.stream)
        return False

    def _end_fields(self, frame: Frame) -> bool:
        """Read the fields of a frame; return whether they have the words, or are the head that the break waits for."""
        self._of = frame if frame.kind != CONTINUATION else self._of
        is_last = bool(frame.flags & END_HEADERS)
        text = self._fields.add(frame.block(), is_last=is_last)
        if not is_last or self._of is None or self._of.kind != HEADERS or frame.stream not in self._open:
            return False
        search = self._open[frame.stream].search
        if self._of.flags & END_STREAM:
            self._close(frame.stream)
        if self._trigger.on is not None:
            return search.cut(text) is not None
        return self._trigger.after_body_bytes == 0 and not text.startswith(INTERIM)

    def _close(self, stream: int) -> None:
        """Take note that the message of a stream has ended."""
        self._open.pop(stream, None)
        self._awaited.ends(stream)
