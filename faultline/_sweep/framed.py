"""The messages of a WebSocket and of the streams of HTTP/2, among the bytes that a relay has kept.

Rules: pure functions of bytes. The numbers of messages are those that the triggers of a relay count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from faultline._core.attempts import Attempt
from faultline._core.ends import Party
from faultline._core.frame_heads import head_bytes, payload_bytes
from faultline._core.frame_words import websocket
from faultline._core.frames import BINARY, CONTINUATION, FIN, TEXT
from faultline._core.passing import REQUEST, RESPONSE, Opening
from faultline._core.passing_http2 import CONTINUATION as CONTINUED
from faultline._core.passing_http2 import DATA, END_HEADERS, END_STREAM, HEAD_BYTES, HEADERS, PREFACE, Fields, Frame
from faultline._core.turns import TURN_BYTES

LONGEST_HEAD_BYTES = 14  # of a frame of a WebSocket
FIELDS = (b":method: ", b":path: ")  # that name a request


@dataclass
class Message:
    """A message of one side.

    Attributes:
        begin: where it begins among the bytes of its side.
        end: where it ends.
        count_bytes: how many of the bytes between these belong to it.
        stream: the number of its stream of HTTP/2; 0 for a WebSocket.
        said: what it says, in words.
    """

    begin: int
    end: int = 0
    count_bytes: int = 0
    stream: int = 0
    said: str = ""


def bytes_of(attempt: Attempt, by: Party) -> bytes:
    """All bytes of a side, as far as the relay has kept them."""
    return b"".join(piece.data for piece in attempt.pieces or () if piece.by == by)


def seconds_at(attempt: Attempt, by: Party, at_byte: int) -> float:
    """When the byte of this number of a side has passed."""
    pieces = [piece for piece in attempt.pieces or () if piece.by == by]
    ends = accumulate(len(piece.data) for piece in pieces)
    return next(piece.at_seconds for piece, end in zip(pieces, ends, strict=True) if at_byte < end)


def handshake_bytes(data: bytes, by: Party) -> int:
    """How long the handshake is that opens a WebSocket, if it has come as a whole; 0 if not."""
    return Opening(REQUEST if by == "client" else RESPONSE).end(data) or 0


def of_websocket(data: bytes, at: int) -> Iterator[Message]:
    """The whole messages of a WebSocket in the bytes of one side, from behind its handshake on."""
    message = Message(at)
    while len(head := data[at : at + LONGEST_HEAD_BYTES]) > 1 and len(head) >= head_bytes(head):
        opcode, end = head[0] & 0x0F, at + head_bytes(head) + payload_bytes(head)
        if opcode in (TEXT, BINARY):
            said = ", ".join(websocket(data[at : at + TURN_BYTES], is_client=True))
            message = Message(at, said=said.partition(", ")[0])
        if opcode in (TEXT, BINARY, CONTINUATION) and head[0] & FIN and end <= len(data):
            message.end, message.count_bytes = end, end - message.begin
            yield message
        at = end


def of_http2(data: bytes, by: Party) -> list[Message]:
    """The messages of the streams of HTTP/2 in the bytes of one side, in the order in which they begin."""
    at, fields, found = len(PREFACE) if by == "client" else 0, Fields(), list[Message]()
    begun: dict[int, Message] = {}  # that have not ended, by stream
    is_last = False
    while at + HEAD_BYTES <= len(data):
        frame, begin = Frame(data[at : at + HEAD_BYTES]), at
        at = min(at + HEAD_BYTES + frame.left_bytes, len(data))
        if frame.kind == HEADERS and frame.stream not in begun:
            begun[frame.stream] = Message(begin, stream=frame.stream)
            found.append(begun[frame.stream])
        text = b""
        if frame.has_fields:  # each of them, because what is compressed depends on those before
            frame.payload += data[begin + HEAD_BYTES : at]
            text = fields.add(frame.block(), is_last=bool(frame.flags & END_HEADERS))
        message = begun.get(frame.stream)
        if message is None or not (frame.has_fields or frame.kind == DATA):
            continue
        message.end, message.count_bytes = at, message.count_bytes + at - begin
        message.said = message.said or named(text)
        if frame.kind != CONTINUED:
            is_last = frame.kind in (DATA, HEADERS) and bool(frame.flags & END_STREAM)
        if is_last and (frame.kind == DATA or frame.flags & END_HEADERS):
            del begun[frame.stream]
    return found


def named(text: bytes) -> str:
    """A request by its fields, such as `GET /pay`; empty for a response."""
    lines = text.split(b"\r\n")
    values = [line[len(name) :] for name in FIELDS for line in lines if line.startswith(name)]
    return b" ".join(values).decode("ascii", "backslashreplace")
