"""HTTP/1.1: the healthy conversation of a server, and scripts, which may have steps of HTTP."""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable
from itertools import zip_longest
from typing import TYPE_CHECKING

from faultline._core import steps as do
from faultline._core.answers import LAST_CHUNK
from faultline._core.frames import OfWebSocket
from faultline._core.promises import ANSWER, Key, key_of
from faultline._core.scripted import Script
from faultline._core.tls_facts import HELLO
from faultline._engine.choosing import choose, choose_by_head
from faultline._engine.play import play_one
from faultline._net.chosen import chosen, hopped
from faultline._net.departures import Departed
from faultline._net.http1 import CONTINUE, RequestReader, in_chunks, render

if TYPE_CHECKING:
    from faultline._core.answers import Answer
    from faultline._core.attempts import Request
    from faultline._engine.connection import Connection

NO_REQUEST = "the bytes after the request before begin no request; was its length right?"
HEALTHY = Script((do.Repeat((do.ReceiveRequest(), do.Respond())),))


async def converse(connection: Connection) -> None:
    """Answer requests while the connection is kept alive.

    Raises:
        Over: the server ended the conversation.
        Departed: the client ended the connection.
    """
    await perform(connection, HEALTHY)


async def perform(connection: Connection, script: Script) -> None:
    """Play a script, which may have steps of HTTP.

    Raises:
        Over: a step ended the conversation.
        Departed: the client ended the connection.
    """
    await Http1(connection).perform(script.steps)


def performer_of(script: Script) -> Callable[..., Awaitable[None]]:
    """The function that plays a script; the module of a protocol is imported when it is first needed."""
    if script.talk == "http1":
        return perform
    performer: Callable[..., Awaitable[None]] = importlib.import_module(
        f"faultline._engine.talks.{script.talk}"
    ).perform
    return performer


class Http1:
    """The requests and responses of one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._reader: RequestReader | None = None  # of the request that the next response answers
        self._keeps_alive = True

    async def perform(self, steps: tuple[do.Step, ...]) -> None:
        """Play steps in order.

        Raises:
            Over: a step ended the conversation.
            Departed: the client ended the connection.
        """
        for step, following in zip_longest(steps, steps[1:]):
            match step:
                case do.ReceiveRequest():
                    await self.receive_request(step, following)
                case do.Respond() if step.answer is None and (script := self._chosen_script()):
                    await performer_of(script)(self._connection, script, self)
                case do.Respond():
                    await self.respond(step.answer, part=ANSWER if step.answer is None else key_of(step))
                case do.Repeat():
                    await self.perform(step.steps)
                    while await self._begin_next():
                        await self.perform(step.steps)
                case OfWebSocket():  # pragma: no cover - script(…) refuses it
                    raise AssertionError(step)
                case _:
                    await play_one(self._connection, step)

    def _chosen_script(self) -> Script | None:
        """The script that was chosen by the request, and that answers it."""
        script = self._connection.attempt.fault.script
        return script if script is not None and script.follows_request else None

    async def receive_request(self, step: do.ReceiveRequest, following: do.Step | None = None) -> None:
        """Read one request, and record it.

        A client that waits for `100 Continue` gets the response at once if the next step says that it needs no body.

        Raises:
            Departed: the client ended the connection before the request was complete.
        """
        connection = self._connection
        if self._reader is not None:
            connection.attempt.begin_request()
        await connection.reach("request")
        follows = self._reader is not None and self._reader.is_http
        reader = self._reader = RequestReader(head_only=step.head_only, kept_body_bytes=connection.kept_body_bytes)
        while not reader.complete:
            if await self._feed(reader) and not step.head_only:
                if step.continues and self._refuses(reader.request, following):
                    reader.refuse()
                else:
                    await self._answer_expectation(step)
        connection.put_back(reader.rest)
        attempt, request = connection.attempt, reader.request
        wrong = reader.wrong or ("" if reader.is_http or not follows else NO_REQUEST)
        if wrong:
            attempt.entry.note = f"malformed request: {wrong}"
        elif not reader.is_http and request.body.startswith(HELLO):
            attempt.entry.note = "the client spoke TLS to a server without TLS"
        attempt.keep(request)
        choose(connection, attempt.request)

    async def _feed(self, reader: RequestReader) -> bool:
        """Have some bytes read as a request; return whether the client begins to wait for `100 Continue`.

        Raises:
            Departed: the client has finished sending.
        """
        if reader.is_behind:
            await self._connection.wire.give_way()
            return reader.proceed()
        waits, due, connection = False, None, self._connection

        def feed(data: bytes) -> int:
            nonlocal waits, due
            head = reader.head
            waits = reader.feed(data)
            if connection.attempt.fault.choice is not None and reader.has_head:
                due = choose_by_head(connection, reader.request, head, data)
            return len(data) - len(reader.rest)

        if not await connection.receive(feed):
            connection.attempt.entry.note = reader.unfinished
            raise Departed("FIN")
        if due is not None:
            connection.attempt.trip = due
            await connection.strike(due)
        return waits

    def _refuses(self, request: Request, following: do.Step | None) -> bool:
        """Whether the response is known, and needs no body of the request (RFC 9110, 10.1.1)."""
        if not isinstance(following, do.Respond) or self._connection.attempt.fault.choice is not None:
            return False
        default = self._connection.service.default
        answer = following.answer or self._connection.attempt.fault.http_answer or default
        return hopped(answer, request, default).needs_no_body

    async def _answer_expectation(self, step: do.ReceiveRequest) -> None:
        """Send `100 Continue`, or let the client wait for it."""
        if step.continues:
            await self._connection.stream.write(CONTINUE)
        else:
            entry = self._connection.attempt.entry
            self._connection.attempt.strike("request", entry.received_bytes, key_of(step))

    async def respond(self, answer: Answer | None = None, *, part: Key = ANSWER) -> None:
        """Send a response: `answer`, or the fault's answer, or the server's default, the first that there is.

        `part` is the part of the fault that has the answer.

        Raises:
            Over: a break in the response ended the conversation.
            Departed: the client ended the connection.
        """
        connection, service = self._connection, self._connection.service
        fault, request = connection.attempt.fault, connection.attempt.request
        planned = answer or fault.http_answer
        said = chosen(planned or service.default, request, service.default)
        trip = connection.armed("response")
        if trip is not None:
            said = said.sized(trip.brk.trigger.least_bytes)
        is_http = self._reader is None or self._reader.is_http
        keep_alive = self._reader is not None and self._reader.keep_alive
        self._keeps_alive = keep_alive if is_http else said.echoes
        goes_on = connection.armed("idle") is not None or connection.attempt.lasts or (trip and trip.brk.lasts)
        ends = said.closes_after(request.method) or fault.delays_end
        if ends or (not goes_on and service.dealer.ends_connection(fault)):
            self._keeps_alive = False  # so that the client opens a new connection, which meets the next fault
        await connection.reach("response")
        if connection.attempt.fault is not fault:  # the test has given it another, whose answer comes
            await self.respond(answer, part=part)
            return
        speaks_tls = not is_http and request.body.startswith(HELLO)  # and takes no answer for a response
        unheard = speaks_tls and planned is not None and planned.raw is None
        if planned is not None and not unheard and planned.strikes_at(request.method):
            connection.attempt.strike("response", 0, part)
        data = render(said, request, keep_alive=self._keeps_alive)
        last = trip if trip is not None and trip.brk.trigger.at_end else None
        await connection.send(data)
        if said.repeats and request.method != "HEAD":
            await self._repeat(said)
        if last is not None:
            await connection.strike(last)

    async def _repeat(self, said: Answer) -> None:
        """Send the chunks of a body again and again, as long as the plan has it."""
        connection = self._connection
        planned = connection.attempt.fault.answer
        while connection.attempt.fault.answer == planned:
            await connection.send(in_chunks(said, b""))
        await connection.send(LAST_CHUNK)

    async def _begin_next(self) -> bool:
        """Wait for a further request on a kept connection, and begin its attempt; return whether there is one."""
        if not self._keeps_alive:
            return False
        connection = self._connection
        await connection.reach("idle")
        skips = self._reader is not None and self._reader.is_http
        if skips:  # the empty lines before the next request: RFC 9112, 2.2
            connection.skip_newlines()
        while not connection.unread:
            await self._await_next()
            if not skips or not await connection.stream.skip_newline():
                break
        data = connection.unread
        connection.attempt.entry.take_back(data)
        connection.open_next().entry.says("client", data)
        return True

    async def _await_next(self) -> None:
        """Wait until the next request begins; its bytes are left to its attempt."""
        connection = self._connection
        while True:
            trip = connection.armed("idle")
            seconds = None if trip is None else trip.brk.trigger.after_seconds
            if seconds != 0 and await connection.await_bytes(seconds):
                return
            if trip is not None and trip is connection.armed("idle"):  # otherwise the fault has changed meanwhile
                await connection.strike(trip)
