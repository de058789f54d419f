"""Reads and writes the frames of a WebSocket, with wsproto.

Rules: no sockets. wsproto checks the client's handshake and its frames, and writes all frames of the server that are
as they should be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO, StringIO
from typing import Any, TypeAlias

from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Event, Ping, Pong, Request, TextMessage
from wsproto.extensions import Extension, PerMessageDeflate
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from faultline._core.attempts import Request as Asked
from faultline._core.frames import Accept

MOST_MESSAGE_BYTES = 1 << 24  # of the client: more is answered by 1009, as it is held in memory
AT_ONCE_BYTES = 16_384  # given to wsproto, because compressed bytes may become a thousand times as many
ACCEPT_LINE = re.compile(rb"(?i)(\r\nsec-websocket-accept: )([^\r]*)")


class NoWebSocket(Exception):  # noqa: N818 - an event, not an error
    """The request asks for no WebSocket."""


@dataclass(frozen=True)
class Closed:
    """The client's close frame.

    Attributes:
        code: its code; 1005 if it has none.
        reason: its reason.
    """

    code: int
    reason: str


@dataclass(frozen=True)
class Wrong:
    """The client has broken the protocol.

    Attributes:
        code: the code of the close frame that the server answers.
        why: what is wrong, as wsproto says it.
    """

    code: int
    why: str


@dataclass(frozen=True)
class Pinged:
    """The client has sent a PING with these data."""

    data: bytes


Came: TypeAlias = str | bytes | Pinged | Closed | Wrong | None  # `None` for any other frame


class Deflate(PerMessageDeflate):
    """Compression, which declines an offer whose window is no number, as RFC 7692, 5.1 has it."""

    def accept(self, offer: str) -> bool | str | None:
        """The parameters that are agreed on; `None` to decline the offer."""
        try:
            return super().accept(offer)
        except ValueError:
            return None


class Codec:
    """The frames of one WebSocket, on the server's side.

    Attributes:
        subprotocol: the subprotocol that was chosen; empty for none.
        offered: the subprotocols that the client offers.
        has_closed: whether the server has sent a close frame.
        is_closing: whether the client has.
    """

    def __init__(self, asked: Asked) -> None:
        """Take the request of the client.

        Raises:
            NoWebSocket: it asks for none.
        """
        self._ws = WSConnection(ConnectionType.SERVER)
        self.subprotocol = ""
        self.has_closed = self.is_closing = False
        self._text, self._binary = StringIO(), BytesIO()  # of the message that has begun
        if wrong := unfit(asked):
            raise NoWebSocket(wrong)
        fields = [(name.encode("ascii"), value.encode("latin-1")) for name, value in asked.headers]
        try:
            self._ws.initiate_upgrade_connection(fields, asked.target)
            request = next(iter(self._ws.events()))
        except (RemoteProtocolError, LocalProtocolError, UnicodeError) as error:
            raise NoWebSocket(str(error)) from None
        assert isinstance(request, Request)
        self.offered = [name for name in request.subprotocols if name]

    def accept(self, step: Accept) -> bytes:
        """The response that accepts the handshake."""
        chosen = step.subprotocol
        if chosen is None:
            chosen = self.offered[0] if self.offered else ""
        self.subprotocol = chosen
        more = [(name.encode("ascii"), value.encode("latin-1")) for name, value in step.headers]
        if chosen and chosen not in self.offered:  # which wsproto refuses to say
            more.append((b"Sec-WebSocket-Protocol", chosen.encode("ascii")))
        extensions: list[Extension] = [Deflate()] if step.compression else []
        said = chosen if chosen in self.offered else None
        data = self._ws.send(AcceptConnection(said, extensions, more))
        if step.key == "missing":
            return ACCEPT_LINE.sub(b"", data)
        return ACCEPT_LINE.sub(rb"\1AAAAAAAAAAAAAAAAAAAAAAAAAAA=", data) if step.key == "wrong" else data

    def message(self, data: str | bytes, *, ends: bool = True) -> bytes:
        """A frame with a message, or with a part of one."""
        if isinstance(data, str):
            return self._ws.send(TextMessage(data, message_finished=ends))
        return self._ws.send(BytesMessage(data, message_finished=ends))

    def ping(self, data: bytes) -> bytes:
        """A PING."""
        return self._ws.send(Ping(data))

    def pong(self, data: bytes) -> bytes:
        """The answer to a PING."""
        return self._ws.send(Pong(data))

    def close(self, code: int | None, reason: str) -> bytes:
        """A close frame."""
        self.has_closed = True
        return self._ws.send(CloseConnection(CloseReason.NO_STATUS_RCVD if code is None else code, reason or None))

    def receive(self, data: bytes) -> Iterator[Came]:
        """What comes of these bytes of the client, one by one; what follows its close frame is left."""
        for begin in range(0, len(data), AT_ONCE_BYTES):
            if self.is_closing:
                return
            self._ws.receive_data(data[begin : begin + AT_ONCE_BYTES])
            for event in self._ws.events():
                yield from self._came(event)

    def _came(self, event: Event) -> Iterator[Came]:
        if isinstance(event, CloseConnection):
            self.is_closing = True
            is_sound = self._ws.state in (ConnectionState.REMOTE_CLOSING, ConnectionState.CLOSED)
            yield (Closed if is_sound else Wrong)(int(event.code), event.reason or "")
        elif isinstance(event, Ping):
            yield Pinged(bytes(event.payload))
        elif isinstance(event, Pong):
            yield None
        elif isinstance(event, (TextMessage, BytesMessage)):  # pragma: no branch - no others come once it is open
            yield from self._part(event)

    def _part(self, event: TextMessage | BytesMessage) -> Iterator[Came]:
        """A message, once its last part has come."""
        whole: Any = self._text if isinstance(event, TextMessage) else self._binary
        whole.write(event.data)
        if whole.tell() > MOST_MESSAGE_BYTES:
            self.is_closing = True
            yield Wrong(int(CloseReason.MESSAGE_TOO_BIG), f"a message of more than {MOST_MESSAGE_BYTES} bytes")
        elif event.message_finished:
            self._text, self._binary = StringIO(), BytesIO()
            yield whole.getvalue()
        elif event.frame_finished:
            yield None


def unfit(asked: Asked) -> str:
    """Why a request opens no WebSocket, where wsproto does not look: it takes each for a sound GET of HTTP/1.1."""
    if asked.method != "GET":
        return f"its method is {asked.method}" if asked.method else "it is no HTTP"
    return "it has no Host" if asked.header("host") is None else ""
