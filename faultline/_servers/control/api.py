"""A server of HTTP that answers by a function: connections are on the background loop, and a thread calls the function.

The function may wait for servers, which nothing on the loop may do. Requests are answered in the order in which they
come, each after the one before, so that the function needs no locks.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from faultline._core.answers import Answer
from faultline._core.attempts import Request
from faultline._net import sockets
from faultline._net.http1 import CONTINUE, RequestReader, render
from faultline._servers.control.events import Events
from faultline._servers.control.worker import Worker
from faultline._servers.listener import Listener
from faultline._servers.loop import background

if TYPE_CHECKING:
    import socket

REQUEST_SECONDS = 25.0  # for a request to arrive, to be answered, and for its response to be taken
MOST_BODY_BYTES = 1 << 24
MOST_CONNECTIONS = 500
READ_BYTES = 65_536


@dataclass(frozen=True)
class Feed:
    """An answer whose body goes on with every event.

    Attributes:
        head: the status and the header fields.
        events: what the body consists of.
    """

    head: Answer
    events: Events


Outcome: TypeAlias = Answer | Feed


class Api:
    """A server of HTTP.

    Attributes:
        errors: the first error that the function has raised, if there was one.
    """

    def __init__(
        self, host: str, port: int, answer: Callable[[Request], Outcome], refusal: Callable[[int, str], Answer]
    ) -> None:
        """Listen.

        Args:
            host: the IP address to bind.
            port: the port to bind; 0 for a free one.
            answer: what a request is answered by; called in a thread.
            refusal: the answer to what no request can be made of, from its status and its text.

        Raises:
            PortError: the port is in use, or the host is not an address of this machine.
        """
        self._answer, self._refusal = answer, refusal
        self.errors: list[BaseException] = []
        self._connections: dict[asyncio.Task[None], None] = {}
        self._idle: dict[asyncio.Task[None], None] = {}  # those that wait for a request, the longest first
        sock = sockets.claim(host, port)
        self.host, self.port = host, int(sock.getsockname()[1])
        self._worker = Worker("faultline control")
        self._listener = Listener(sock, None)
        self._listener.start(background().loop, self._accept, self._keep)

    def call(self, function: Callable[[], object]) -> None:
        """Call a function in the thread that answers requests, and wait for it; its error is the caller's."""
        self._worker.call(function).result()

    def close(self) -> None:
        """Release the port and end every connection; an answer that is being made is still finished, but not sent."""
        background().run(self._stop)
        self._worker.close()

    # --- in the loop's thread ----------------------------------------------------------------------------------------

    def _keep(self, error: BaseException) -> None:
        """Keep the first error for `close`."""
        self.errors = self.errors or [error]

    async def _stop(self) -> None:
        self._listener.close()
        await asyncio.sleep(0)  # a task that is cancelled before its first step would not close its socket
        for connection in self._connections:
            connection.cancel()
        if self._connections:
            await asyncio.wait(list(self._connections))

    def _accept(self, sock: socket.socket, _: object) -> None:
        if len(self._connections) >= MOST_CONNECTIONS and not self._make_room():
            sock.close()
            return
        connection = background().loop.create_task(self._serve(sock))
        self._connections[connection] = None
        connection.add_done_callback(self._forget)

    def _forget(self, connection: asyncio.Task[None]) -> None:
        del self._connections[connection]
        self._idle.pop(connection, None)
        if not connection.cancelled() and (error := connection.exception()) is not None:
            self._keep(error)

    async def _serve(self, sock: socket.socket) -> None:
        """Answer the requests of one connection."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, sock)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        transport.set_write_buffer_limits(0)  # what `drain` has waited for is with the kernel
        try:
            await self._converse(reader, writer)
        except (OSError, asyncio.CancelledError):  # the client has left or hangs, or we stop
            pass
        finally:
            transport.abort()  # this ends the stream by FIN: of an answer nothing is left to send

    def _make_room(self) -> bool:
        """End the connection that has waited longest for a request; return whether there is one."""
        longest = next(iter(self._idle), None)
        if longest is None:
            return False
        del self._idle[longest]
        longest.cancel()
        return True

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection, data = asyncio.current_task(), b""
        assert connection is not None
        while True:
            if not data:
                self._idle[connection] = None
                data = await reader.read(READ_BYTES)
                self._idle.pop(connection, None)
            with limited(writer):
                request = await read(data, reader, writer)
            if request is None or not await self._respond(request, reader, writer):
                return
            data = request.rest

    async def _respond(
        self, request: RequestReader, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Send the answer to a request; return whether another request may follow."""
        if not request.is_http:
            outcome: Outcome = self._refusal(400, f"bad request: {request.wrong or 'expected HTTP/1.1'}")
        elif request.body_bytes > MOST_BODY_BYTES:
            outcome = self._refusal(413, f"bad request body: expected at most {MOST_BODY_BYTES} bytes")
        else:
            outcome = await self._outcome(request.request)
        if isinstance(outcome, Feed):
            writer.write(render(outcome.head, request.request, keep_alive=False))
            await feed(outcome.events, reader, writer)
            return False
        writer.write(render(outcome, request.request, keep_alive=request.keep_alive))
        with limited(writer):
            await writer.drain()
        return request.keep_alive

    async def _outcome(self, request: Request) -> Outcome:
        """What the function makes of a request; if that takes too long, the function may still finish."""
        work = asyncio.wrap_future(self._worker.call(partial(self._answer, request)))
        await asyncio.wait((work,), timeout=REQUEST_SECONDS)
        if not work.done():
            work.cancel()
            return self._refusal(503, f"expected an answer within {REQUEST_SECONDS:g} s")
        try:
            return work.result()
        except Exception as error:  # noqa: BLE001 - a bug in faultline, which `close` tells
            self._keep(error)
            return self._refusal(500, repr(error))


@contextlib.contextmanager
def limited(writer: asyncio.StreamWriter) -> Iterator[None]:
    """Break a connection if the block takes too long, which then reads an end or fails.

    `asyncio.wait_for` would do, but before Python 3.12 it forgets a cancellation that comes at its end (gh-86296).
    """
    timer = asyncio.get_running_loop().call_later(REQUEST_SECONDS, writer.transport.abort)
    try:
        yield
    finally:
        timer.cancel()


async def read(data: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> RequestReader | None:
    """Read one request that begins with this data; `None` if the client has left before its end."""
    request = RequestReader(kept_body_bytes=MOST_BODY_BYTES)
    while data:
        is_awaited = request.feed(data)
        while request.is_behind:
            is_awaited |= request.proceed()
        if is_awaited:
            writer.write(CONTINUE)
        if request.complete or request.body_bytes > MOST_BODY_BYTES:
            return request
        data = await reader.read(READ_BYTES)
    return None


async def feed(events: Events, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send events until the client leaves."""
    own, loop = events.join(), asyncio.get_running_loop()
    leaving = loop.create_task(until_left(reader))
    tasks: list[asyncio.Task[Any]] = [leaving]
    try:
        while True:
            await writer.drain()
            coming = loop.create_task(own.take())
            tasks = [leaving, coming]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if leaving.done():
                return
            writer.write(coming.result())
    finally:
        events.leave(own)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)  # retrieves exceptions, so that none is logged


async def until_left(reader: asyncio.StreamReader) -> None:
    """Wait until a client has left or has finished sending; what it sends is of no interest."""
    while await reader.read(READ_BYTES):
        pass
