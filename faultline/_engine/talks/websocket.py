"""WebSocket: the handshake and the messages of one connection, as its plan has them.

Rules: a WebSocket is one attempt. What comes is read only while a step reads; then PINGs and the closing handshake are
answered. A message and a close frame are in the ledger before the client can observe that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from faultline._core import frames as ws
from faultline._core import steps as do
from faultline._core.answers import Answer
from faultline._core.ends import Party
from faultline._core.websocket_facts import MALFORMED, NO_WEBSOCKET, WebSocketFacts, with_message
from faultline._engine.play import close, play_one
from faultline._engine.talks.http1 import Http1
from faultline._net.departures import Departed
from faultline._net.websocket import Came, Closed, Codec, NoWebSocket, Pinged, Wrong

if TYPE_CHECKING:
    from faultline._core.scripted import Script
    from faultline._engine.connection import Connection

Message: TypeAlias = str | bytes
USUAL, NO_CODE = 1000, 1005  # RFC 6455, 7.4.1
HEARING_SECONDS = 0.001  # between two turns of a repeat
REFUSAL = Answer(
    426, (("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"), ("Connection", "close")), b"WebSocket only\n"
)


async def perform(connection: Connection, script: Script, asked: Http1 | None = None) -> None:
    """Play the plan of a WebSocket; `asked` has the request, if it was read before.

    Raises:
        Over: a side has ended the conversation.
        Departed: the client ended the connection.
    """
    http = asked or Http1(connection)
    if asked is None:
        await http.receive_request(do.ReceiveRequest())
    try:
        codec = Codec(connection.attempt.request)
    except NoWebSocket as why:
        connection.attempt.entry.note = f"{NO_WEBSOCKET}: {why}"
        await http.respond(REFUSAL)
        await close(connection)
    talk = WebSocket(connection, codec)
    await talk.play(script.steps)
    await talk.finish()


class WebSocket:
    """The messages of one connection."""

    def __init__(self, connection: Connection, codec: Codec) -> None:
        self._connection = connection
        self._codec = codec
        self._ignores: ws.IgnorePings | None = None
        self._coming: Iterator[Came] = iter(())  # what was read, and not yet taken
        self._last: ws.OwnBytes | None = None  # the last step that has sent bytes of its own
        connection.attempt.entry.websocket = WebSocketFacts()
        connection.attempt.entry.follow(is_asked=True)

    @property
    def _facts(self) -> WebSocketFacts:
        facts = self._connection.attempt.entry.websocket
        assert facts is not None
        return facts

    def _note(self, facts: WebSocketFacts) -> None:
        self._connection.attempt.entry.websocket = facts

    async def play(self, steps: tuple[do.Step, ...]) -> None:
        """Play steps in order.

        Raises:
            Over: a side has ended the conversation.
            Departed: the client ended the connection.
        """
        for step in steps:
            match step:
                case do.Repeat():
                    reads = any(isinstance(each, ws.OfWebSocket) and each.point == "request" for each in step.steps)
                    while True:
                        await self.play(step.steps)
                        if not reads:
                            await self._hear()
                case ws.OfWebSocket():
                    await self._play_one(step)
                case do.ReceiveRequest() | do.Respond():  # pragma: no cover - refused at construction
                    raise AssertionError(step)
                case _:
                    await play_one(self._connection, step)

    async def _play_one(self, step: ws.OfWebSocket) -> None:
        if step.point == "request":
            await self._listen(step)
            return
        if isinstance(step, ws.Drop):
            await play_one(self._connection, do.Planned((do.Close(),), step.number))
        if isinstance(step, (ws.CloseFrame, ws.OwnBytes)) and step.is_fault:
            await self._enter("server")
            await self._connection.strike_step(step)
        await self._speak(step)

    async def _speak(self, step: ws.OfWebSocket) -> None:
        match step:
            case ws.Accept():
                await self._accept(step)
            case ws.SendText(text, fragment_bytes):
                await self._say(text, fragment_bytes)
            case ws.SendBytes(data, fragment_bytes):
                await self._say(data, fragment_bytes)
            case ws.SendPing(data):
                await self._send(self._codec.ping(data))
            case ws.CloseFrame(code, reason):
                await self._close(code, reason)
            case ws.OwnBytes():
                self._last = step
                await self._send(step.data)
            case ws.IgnorePings():  # pragma: no branch - the last of the steps
                self._ignores = step

    async def _listen(self, step: ws.OfWebSocket) -> None:
        match step:
            case ws.ReceiveText(marker) | ws.ReceiveBytes(marker):
                entry = self._connection.attempt.entry
                entry.note = f"the plan waited for {step!r}"
                await self._read(partial(contains, marker=marker))
                entry.note = ""
            case ws.ReceiveClose():
                await self._read_close()
            case _:  # echo()
                while True:
                    await self._say(await self._read(any_message))

    async def _accept(self, step: ws.Accept) -> None:
        data = self._codec.accept(step)
        lacks = step.subprotocol == "" and self._codec.offered
        if step.key != "right" or lacks:
            await self._enter("server")
            await self._connection.strike_step(step)
        self._note(replace(self._facts, subprotocol=self._codec.subprotocol))
        await self._send(data)

    # --- to the client -----------------------------------------------------------------------------------------------

    async def _enter(self, by: Party) -> None:
        await self._connection.enter("response" if by == "server" else "request")

    async def _send(self, data: bytes) -> None:
        await self._enter("server")
        await self._connection.send(data)

    async def _say(self, message: Message, fragment_bytes: int | None = None) -> None:
        """Send a message; it counts, unless the conversation ends in its middle."""
        before = self._facts
        self._note(replace(before, sent_messages=before.sent_messages + 1))
        size = fragment_bytes or len(message) or 1
        pieces = [message[begin : begin + size] for begin in range(0, len(message) or 1, size)]
        frames = [self._codec.message(piece, ends=number == len(pieces)) for number, piece in enumerate(pieces, 1)]
        try:
            for frame in frames:
                await self._send(frame)
        except BaseException:
            self._note(replace(self._facts, sent_messages=before.sent_messages))
            raise

    async def _close(self, code: int | None, reason: str = "") -> None:
        self._note(replace(self._facts, server_code=NO_CODE if code is None else code, server_reason=reason))
        await self._send(self._codec.close(code, reason))

    async def finish(self) -> None:
        """End a conversation whose steps were played: by the closing handshake, if a frame can still be sent.

        A client has to answer a bad frame, and then closes by itself.

        Raises:
            Over: always, once the connection is closed.
            Departed: the client ended the connection meanwhile.
        """
        if isinstance(self._last, ws.CutFrame):
            await close(self._connection)
        if self._last is not None:
            await self._read_close()
        began = self._codec.is_closing and not self._codec.has_closed
        if not self._codec.has_closed:
            await self._close(answering(self._facts.client_code))
        await self._read_close()
        if began:
            self._connection.end("client", "FIN", is_sign=False)
        await close(self._connection)

    # --- from the client ---------------------------------------------------------------------------------------------

    async def _hear(self) -> None:
        """Take what has come, so that a client is heard between two turns of a repeat that reads nothing."""
        await self._enter("client")
        while self._connection.unread or await self._connection.await_bytes(HEARING_SECONDS):
            await self._take(await self._next())

    async def _next(self) -> Came:
        """What the client has sent next: a message, a PING, a close frame, and so on.

        Raises:
            Departed: the client ended the connection without a close frame.
        """
        await self._enter("client")
        while True:
            for came in self._coming:
                return came
            data = await self._connection.receive()
            if not data:
                raise Departed("FIN")
            self._coming = self._codec.receive(data)

    async def _read(self, is_wanted: Callable[[Message], bool]) -> Message:
        """Read up to a message that is wanted, and return it.

        Raises:
            Over: the client has closed the WebSocket.
            Departed: the client ended the connection.
        """
        while True:
            message = await self._take(await self._next())
            if message is not None and is_wanted(message):
                return message

    async def _read_close(self) -> None:
        """Read up to the client's close frame, and leave it without an answer.

        Raises:
            Over: the client has broken the protocol.
            Departed: the client ended the connection.
        """
        while not self._codec.is_closing:
            await self._take(await self._next(), answers=False)

    async def _take(self, came: Came, *, answers: bool = True) -> Message | None:
        """Take note of what has come, and answer PINGs; return a message.

        Raises:
            Over: the client has closed the WebSocket, and that is answered, or has broken the protocol.
            Departed: the client ended the connection.
        """
        facts = replace(self._facts, received_frames=self._facts.received_frames + (not isinstance(came, Wrong)))
        match came:
            case str() | bytes():
                self._note(with_message(facts, came))
                return came
            case Pinged():
                self._note(replace(facts, received_pings=facts.received_pings + 1))
                await self._answer_ping(came)
            case Closed(code, reason):
                self._note(replace(facts, client_code=code, client_reason=reason))
                if answers:
                    await self.finish()
            case Wrong(code, why):
                self._connection.attempt.entry.note = f"{MALFORMED}: {why}"
                if not self._codec.has_closed:
                    await self._close(code, why)
                await close(self._connection)
            case _:  # a PONG, or a part of a message
                self._note(facts)
        return None

    async def _answer_ping(self, ping: Pinged) -> None:
        if self._ignores is not None:
            await self._connection.strike_step(self._ignores)
        elif not self._codec.has_closed:  # RFC 6455, 5.5.1: then nothing more is sent
            await self._send(self._codec.pong(ping.data))


def any_message(_: Message) -> bool:
    """Whether a message is wanted: each is."""
    return True


def contains(message: Message, marker: Message | re.Pattern[str] | re.Pattern[bytes]) -> bool:
    """Whether a message is of the kind of a marker, and contains it or a match of it."""
    wanted: Any = marker
    if isinstance(marker, re.Pattern):
        return type(message) is type(marker.pattern) and wanted.search(message) is not None
    return type(message) is type(marker) and wanted in message


def answering(code: int | None) -> int | None:
    """The code of the close frame that answers a close frame with this code, or that comes first."""
    return USUAL if code is None else None if code == NO_CODE else code
