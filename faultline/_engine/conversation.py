"""A conversation: one client's connection from accept to its end, and the controls of a test while it is open."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import socket
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, NoReturn, Protocol, TypeAlias

from faultline._core.attempts import Entry
from faultline._core.ends import CLOSED, RESET
from faultline._core.fault import Fault
from faultline._core.tripwire import Tripwire
from faultline._engine.connection import Connection
from faultline._engine.halting import Halting
from faultline._engine.handshake import secure, strike_failed
from faultline._engine.play import Over, Parked, close
from faultline._engine.service import Service
from faultline._engine.talks import http1
from faultline._net.departures import Departed
from faultline._net.ending import Left
from faultline._net.peers import Handle
from faultline._net.tls import Rejected
from faultline._net.wire import Wire

Task: TypeAlias = "asyncio.Task[BaseException | None]"
Talk: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


class Owner(Protocol):
    """Has the open conversations of a server."""

    def remove(self, conversation: Conversation, error: BaseException | None) -> None:
        """Take note that a conversation has ended, with the server's own error or `None`."""


class Conversation:
    """A connection, and the task that holds the conversation on it, until only its end can follow.

    Attributes:
        task: the task; `None` while the conversation is parked: then a watch waits for the client to leave.
    """

    __slots__ = ("_connection", "_context", "_is_reset", "_owner", "_service", "_talking", "_watch", "_wire", "task")

    def __init__(self, wire: Wire, service: Service, number: int, waited: Entry | None = None) -> None:
        self._connection = Connection(wire, service, number, waited)
        self._service = service
        self._wire = wire
        self._is_reset = False  # by the test
        self._connection.on_time = self._on_time

    def start(self, owner: Owner) -> None:
        """Begin the conversation; at its end the owner gets it back."""
        self._owner = owner
        self._go_on(self._talk)

    def _go_on(self, talk: Talk) -> None:
        """Hold the conversation, or the rest of it, in a task."""
        self.task: Task | None = self._wire.departures.loop.create_task(self._outcome(talk))
        self.task.add_done_callback(self._on_done)

    def _on_done(self, task: Task) -> None:
        if task is self.task:  # otherwise the conversation is parked
            self._end(None if task.cancelled() else task.result())

    def _end(self, error: BaseException | None, *, for_good: bool = False) -> None:
        """Close the socket, and end the attempt, if the conversation hasn't; forget the connection."""
        connection = self._connection
        connection.end("server", "RST" if self._is_reset and self.is_open else "stop")
        if connection.drops_packets and self.is_open:  # a FIN could never be acknowledged
            self._wire.arm_reset()
        if (how := connection.close(for_good=for_good)) is not None:
            connection.sign("server", how)
        connection.side.leave()
        connection.forget()
        self._owner.remove(self, error)

    @property
    def number(self) -> int:
        """The number of the connection: 1 for the first of the server."""
        return self._connection.number

    @property
    def client(self) -> Handle | None:
        """By what to ask for the client's socket, once the server's is closed; `None` if it has left."""
        return self._connection.client

    @property
    def fault(self) -> Fault:
        """The fault that the present attempt meets."""
        return self._connection.attempt.fault

    @property
    def sock(self) -> socket.socket:
        """The socket."""
        return self._wire.sock

    @property
    def is_open(self) -> bool:
        """Whether the connection is still open."""
        return not self._wire.is_closed

    @property
    def is_over(self) -> bool:
        """Whether a side has ended the conversation."""
        return self._wire.is_closed or self._connection.attempt.entry.ended_by is not None

    @property
    def has_client(self) -> bool:
        """Whether the client may still use the connection: no side has ended it, and the client holds its socket."""
        return not self.is_over and self._wire.departures.left(self._wire.sock) is None

    async def _outcome(self, talk: Talk) -> BaseException | None:
        """Hold the conversation; return the server's own error.

        It is returned because a task that raises SystemExit or KeyboardInterrupt ends the loop.
        """
        try:
            await self._run(talk)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - of a condition, for example; raised when the server is closed
            return error
        return None

    async def _talk(self) -> None:
        connection = self._connection
        await connection.reach("accept")
        script = connection.attempt.fault.script
        if self._service.begins_with_tls and not connection.attempt.fault.starts_tls:
            await secure(connection)
        await (self._service.talk(connection) if script is None else http1.performer_of(script)(connection, script))
        if connection.attempt.trip is not None and connection.attempt.trip.waits:
            raise Parked  # until the break ends the connection, or the client does
        await close(connection)

    async def _run(self, talk: Talk) -> None:
        """Hold the conversation until it ends or is parked, and record how a side has ended it."""
        connection = self._connection
        self._talking = Halting(talk())
        try:
            await self._talking
        except Parked:
            self._park()
        except Over:
            pass
        except asyncio.CancelledError:
            if self._is_reset:
                await self._wire.hearing.until_heard()
                if self._wire.reset():
                    connection.end("server", "RST", was_sent=True)
            raise
        except Departed as left:
            strike_failed(connection)
            connection.end("client", left.how, is_sign=self._wire.has_ended)  # not after close_notify alone
            if not self._wire.was_reset:
                with contextlib.suppress(Departed):  # a client may wait for the server's close_notify
                    await connection.stream.end_tls()
        except Rejected as rejected:
            is_alert = connection.stream.rejected(rejected.why)
            strike_failed(connection)
            was_sent = self._wire.finish()
            connection.end("client" if is_alert else "server", "FIN", is_sign=not is_alert, was_sent=was_sent)
            with contextlib.suppress(Departed):  # closing with unread input would send RST, and lose the alert
                await self._wire.drain()

    # --- in the middle of what goes on -------------------------------------------------------------------------------

    def _on_time(self, trip: Tripwire) -> None:
        """Strike between two events of the conversation, which is halted meanwhile."""
        if self.task is None:
            self._unpark()
            self._go_on(partial(self._strike_parked, trip))
        elif not self.task.done():
            self._talking.halt()
            self._go_on(partial(self._strike_between, trip, self.task, self._talking))

    async def _strike_parked(self, trip: Tripwire) -> None:
        """Let a break strike where the conversation was parked; then it is again.

        Raises:
            Parked: always, unless the break has ended the conversation.
        """
        await self._connection.strike(trip)
        raise Parked

    async def _strike_between(self, trip: Tripwire, halted: Task, talking: Halting) -> None:
        """Let a break strike; then the conversation goes on, unless the break has ended it.

        What sends bytes strikes between two pieces of a write, if one goes on, and never inside a record of TLS.

        Raises:
            BaseException: the break has ended the conversation.
        """
        stream = self._connection.stream
        try:
            if stream.unsent_bytes and trip.brk.inserts:
                stream.interjection = partial(self._connection.strike, trip)
            else:
                await self._connection.strike(trip)
        except BaseException:
            halted.cancel()
            await asyncio.gather(halted, return_exceptions=True)
            raise
        self.task, self._talking = halted, talking
        talking.go_on()

    # --- without a task ----------------------------------------------------------------------------------------------

    def _park(self) -> None:
        """Wait for the client to leave, or for the test, without a task."""
        self.task = None
        del self._talking
        self._context = contextvars.copy_context()
        self._watch = self._wire.departures.watch(self._wire, self._on_left)

    def _on_left(self, how: Left) -> None:
        self._wake(Departed(self._wire.notice(how)))

    def _wake(self, event: BaseException) -> None:
        """Go on with what ends the parked conversation."""
        self._unpark()
        self._context.run(self._go_on, partial(happens, event))

    def _unpark(self) -> None:
        self._wire.departures.forget(self._watch, self._on_left)

    # --- controls of an open connection ------------------------------------------------------------------------------

    def stop(self, *, for_good: bool = False) -> None:
        """End at once, and send the client nothing more; `for_good` if the server ends too."""
        if self.task is not None:
            self.task.cancel()
        elif self._is_reset:
            self._wake(asyncio.CancelledError())
        else:
            self._end(None, for_good=for_good)
            self._unpark()

    def reset(self) -> None:
        """Send RST, and end."""
        self._connection.attempt.entry.note = RESET
        self._wire.arm_reset()
        self._is_reset = True
        self.stop()

    def close(self) -> None:
        """Send FIN, in TLS after close_notify, and end."""
        self._connection.attempt.entry.note = CLOSED
        self._wire.look()
        if not self._wire.was_reset:  # after a RST, OpenSSL makes a close_notify that can't be sent
            with contextlib.suppress(OSError):
                self._wire.sock.send(self._connection.stream.close_notify())
        was_sent = self._wire.finish()
        self._connection.end("server", "FIN", was_sent=was_sent)
        self._wire.discard_input()
        self.stop()

    def pause(self) -> None:
        """Hold all bytes back, in both directions."""
        self._connection.valve.pause(paused=True)

    def resume(self) -> None:
        """Let bytes pass again."""
        self._connection.valve.pause(paused=False)

    def partition(self) -> None:
        """Drop all packets from the client, and send it nothing."""
        self._connection.valve.partition(partitioned=True)

    def heal(self) -> None:
        """Let packets pass again, except for those that the fault drops."""
        self._connection.valve.partition(partitioned=False)

    def meet(self, fault: Fault) -> None:
        """Replace the attempt's fault, from the next byte on."""
        self._connection.meet(fault)

    def ends_if_idle(self, upcoming: Fault) -> bool:
        """End an idle connection if the next fault of the plan needs a new connection; return whether it ended."""
        attempt = self._connection.attempt
        is_ended = attempt.point == "idle" and not (attempt.lasts or upcoming.can_follow(attempt.fault))
        if is_ended:
            was_sent = self._wire.finish()
            self._connection.end("server", "FIN", was_sent=was_sent)
            self.stop()
        return is_ended


async def happens(event: BaseException) -> NoReturn:
    """Raise an event, as the steps of a conversation do.

    Raises:
        BaseException: always.
    """
    raise event
