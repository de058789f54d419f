"""Reads what passes on a WebSocket, for the ledger of a relay or a proxy: messages, PINGs and close frames.

Rules: no byte is held back or changed, and nothing is an error; frames that no side may send are counted like others.
A WebSocket begins where a server has accepted the handshake of a client.
"""

from __future__ import annotations

import re
import zlib

from faultline._core.ends import Party
from faultline._core.frame_heads import PassingFrame
from faultline._core.frames import BINARY, CLOSE, CONTINUATION, FIN, PING, RSV1, TEXT
from faultline._core.passing import REQUEST, RESPONSE, SYNC, Opening
from faultline._core.websocket_facts import KEPT_LENGTH, KEPT_MESSAGES, WebSocketFacts

SUBPROTOCOL = re.compile(rb"(?im)^sec-websocket-protocol:[ \t]*([!-~]+)")
AT_ONCE_BYTES = 1024  # of compressed bytes, of which each may become a thousand
KEPT_BYTES = 4 * KEPT_LENGTH  # of a message: as many as its characters can have
MOST_INFLATED_BYTES = 1 << 20  # of a compressed message; no further text is kept once one has more
NO_CODE, CODE_BYTES = 1005, 2


class Direction:
    """The frames of one side.

    Attributes:
        frames: the number of whole frames.
        messages: the number of whole messages.
        pings: the number of PINGs.
        code: the code of the close frame; `None` before there is one.
        reason: the reason in it.
        kept: the first messages.
    """

    __slots__ = (
        *("code", "frames", "kept", "messages", "pings", "reason"),
        *("_control", "_frame", "_inflater", "_is_compressed", "_text", "_wants"),
    )

    def __init__(self, *, keeps: bool) -> None:
        self.frames = self.messages = self.pings = 0
        self.code: int | None = None
        self.reason = ""
        self.kept: list[str | bytes] = []
        self._wants = keeps  # whether messages are still to be kept
        self._frame = PassingFrame()
        self._control = bytearray()  # the payload of a control frame
        self._text: tuple[int, bytearray] | None = None  # the message that has begun: its kind, and its first bytes
        self._is_compressed = False
        self._inflater: zlib._Decompress | None = None

    @property
    def place(self) -> tuple[bytes, int]:
        """What has come of the head of a frame, and how many bytes of a payload are still to come."""
        return self._frame.place

    def read(self, data: bytes) -> None:
        """Read bytes of this side."""
        at, frame = 0, self._frame
        while at < len(data):
            if frame.is_in_payload:
                piece = frame.take(data, at)
                at += len(piece)
                self._read_payload(piece)
            else:
                at = frame.read_head(data, at)
                if frame.is_in_payload:
                    self._begin_payload(frame.first)
            if frame.has_ended:
                self._end_frame(frame.first)

    def _begin_payload(self, first: int) -> None:
        """Take note of a frame with this first byte, whose head has come."""
        self._control = bytearray()
        if first & 0x0F in (TEXT, BINARY):
            self._text = (first & 0x0F, bytearray())
            self._is_compressed = bool(first & RSV1)

    def _read_payload(self, piece: bytes) -> None:
        """Read a part of the payload of a frame; what is not kept is passed over."""
        text = self._text[1] if self._text is not None else bytearray()
        if self._frame.first & CLOSE:
            text = self._control
        elif not self._wants:
            return
        if text is self._control or not self._is_compressed:
            piece = piece[: KEPT_BYTES - len(text)]
        plain = self._frame.unmasked(piece)
        if text is self._control or not self._is_compressed:
            text += plain
        else:
            self._inflate(plain, text)

    def _inflate(self, data: bytes, text: bytearray) -> None:
        """Keep the text of a part of a compressed message; after a part without text, or with too much, keep none."""
        inflater = self._inflater = self._inflater or zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            while data and len(text) <= MOST_INFLATED_BYTES:
                text += inflater.decompress(data[:AT_ONCE_BYTES])
                data = inflater.unused_data + data[AT_ONCE_BYTES:]
                if inflater.eof:  # a last block, behind which another begins anew
                    inflater = self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        except zlib.error:
            self._wants = False
        if len(text) > MOST_INFLATED_BYTES:
            self._wants = False

    def _end_frame(self, first: int) -> None:
        """Take note of the end of a frame with this first byte."""
        self._frame.end()
        self.frames += 1
        opcode = first & 0x0F
        if opcode == PING:
            self.pings += 1
        elif opcode == CLOSE and self.code is None:
            has_code = len(self._control) >= CODE_BYTES
            self.code = int.from_bytes(self._control[:CODE_BYTES], "big") if has_code else NO_CODE
            self.reason = self._control[CODE_BYTES:].decode("utf-8", "replace")
        elif opcode in (CONTINUATION, TEXT, BINARY) and first & FIN and self._text is not None:
            self._end_message(*self._text)

    def _end_message(self, kind: int, data: bytearray) -> None:
        """Count a message, and keep it if it is one of the first."""
        self.messages += 1
        if self._is_compressed and self._wants:
            self._inflate(SYNC, data)
        if self._wants:
            said = data[:KEPT_BYTES].decode("utf-8", "replace") if kind == TEXT else bytes(data)
            self.kept.append(said[:KEPT_LENGTH])
            self._wants = len(self.kept) < KEPT_MESSAGES
        self._text = None


class PassingWebSocket:
    """Follows both sides of a conversation, in which a WebSocket may begin."""

    __slots__ = ("_client", "_opening", "_response", "_server", "_speaker", "_subprotocol")

    def __init__(self, *, is_asked: bool = False) -> None:
        self._speaker: Party | None = "client" if is_asked else None
        self._opening: Opening | None = None  # the handshake of the side that speaks
        self._response = b""
        self._subprotocol = ""
        self._client = Direction(keeps=False) if is_asked else None  # once the client has asked for a WebSocket
        self._server: Direction | None = None  # once the server has accepted that

    @property
    def facts(self) -> WebSocketFacts | None:
        """What has passed so far; `None` while there is no WebSocket."""
        client, server = self._client, self._server
        if client is None or server is None:
            return None
        return WebSocketFacts(
            subprotocol=self._subprotocol,
            received_messages=client.messages,
            sent_messages=server.messages,
            received_frames=client.frames,
            received_pings=client.pings,
            client_code=client.code,
            client_reason=client.reason,
            server_code=server.code,
            server_reason=server.reason,
            received=tuple(client.kept),
        )

    def place(self, by: Party) -> tuple[bytes, int] | None:
        """How far a side has come in a frame; `None` while there is no WebSocket."""
        client, server = self._client, self._server
        return None if client is None or server is None else (client if by == "client" else server).place

    def says(self, by: Party, data: bytes | memoryview) -> None:
        """Read bytes of a side."""
        if self._server is not None and self._client is not None:
            (self._client if by == "client" else self._server).read(bytes(data))
            return
        if by != self._speaker:
            self._begin_turn(by, data[:1])
        if by == "client" and self._client is not None:
            self._client.read(bytes(data))
        elif self._opening is not None:
            (self._ask if by == "client" else self._answer)(self._opening, bytes(data))

    def _begin_turn(self, by: Party, first: bytes | memoryview) -> None:
        """Look for a handshake, because another side speaks now."""
        self._speaker = by
        if by == "client":
            self._client, self._opening = None, Opening(REQUEST) if first == REQUEST[:1] else None
        else:
            self._response, self._opening = b"", Opening(RESPONSE) if self._client is not None else None

    def _ask(self, opening: Opening, data: bytes) -> None:
        """Read bytes of a request."""
        end = opening.end(data)
        if end is not None:
            self._client, self._opening = Direction(keeps=True), None
            self._client.read(data[end:])

    def _answer(self, opening: Opening, data: bytes) -> None:
        """Read bytes of a response."""
        self._response += data
        end = opening.end(data)
        if end is not None:
            head = self._response[: len(self._response) - len(data) + end]
            chosen = SUBPROTOCOL.search(head)
            self._subprotocol = chosen[1].decode("ascii") if chosen else ""
            self._server = Direction(keeps=False)
            self._server.read(data[end:])
        elif not opening.is_handshake and len(self._response) >= len(RESPONSE):
            self._opening, self._response = None, b""
