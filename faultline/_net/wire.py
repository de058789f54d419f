"""A socket of an open connection: reading, writing, and waiting for the peer to end the connection.

Rules: no threads and no tasks; every wait is a future of the loop, so that it ends when the server stops. Whoever reads
or sends gives way to the others after a few operations without a wait.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from faultline._core import clock
from faultline._core.ends import Party
from faultline._core.gate import Gate
from faultline._net import ending
from faultline._net.departures import Departed, Departures, wake
from faultline._net.ending import Left
from faultline._net.hearing import Hearing
from faultline._net.sockets import READ_BYTES, arm_rst, unacknowledged_bytes
from faultline._net.system import WAS_RESET, ends_of, is_dead, unread_bytes

OPERATIONS_PER_TURN = 4  # of a connection with ready data, before the others have their turn
SEND_BYTES = 262_144  # handed to the kernel at once


class Wire:
    """A socket of one connection, used by the loop; the peer is a client, or the upstream of a relay.

    Attributes:
        began: when the connection was accepted or opened.
        heard_bytes: how many of the sent bytes the peer was last waited for to read; -1 if it was not waited for.
        heard_at: by when the bytes had come that were read last.
        peer: whose socket is at the other end, by the name that the ledger has for it.
    """

    __slots__ = (
        *("departures", "sock", "began", "heard_bytes", "has_spoken", "sent_bytes", "is_to_be_reset", "on_end", "peer"),
        *("heard_at", "_loop", "_number", "_is_read", "_is_written", "_operations", "_at_end", "_seen_ends"),
        *("_is_armed", "_has_finished", "_noted"),
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, departures: Departures) -> None:
        self._loop = loop
        self.departures = departures
        self.sock = sock
        self._number = sock.fileno()
        self.began = clock.now()
        self.heard_bytes = -1
        self.has_spoken = False  # whether bytes or an end of the peer were read
        self.heard_at = self.began
        self._noted = 0, self.began  # how many bytes lay unread at this time
        self.sent_bytes = 0  # to the peer, those of TLS included
        self._is_read = self._is_written = False  # whether the loop watches the socket for that
        self._operations = 0  # since the last wait
        self.is_to_be_reset = False  # whether the attempt's fault resets it, for which a Unix socket keeps a byte
        self._at_end = False
        self.peer: Party = "client"
        self.on_end: Callable[[Party, Left], None] | None = None  # called with each FIN and RST of the peer, once
        self._seen_ends: tuple[Left, ...] = ()
        self._is_armed = False  # whether a close sends RST in any case
        self._has_finished = False  # whether our FIN was sent

    @property
    def at_end(self) -> bool:
        """Whether the peer's FIN was read."""
        return self._at_end

    @at_end.setter
    def at_end(self, is_so: bool) -> None:
        self._at_end, self.has_spoken = is_so, True
        if is_so:
            self.sees("FIN")

    def sees(self, how: Left) -> None:
        """Take note that the peer has sent FIN or RST; a second call does nothing, nor does any after a RST.

        Asking for the error of a RST takes it, and the kernel then has an end to read: look at `is_end_reset`.
        """
        if how == "RST" and not self.was_reset and not self.is_closed:
            code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code == errno.EPIPE:  # a RST that follows a FIN; any other is ECONNRESET (`tcp_reset`)
                self.sees("FIN")
        if how not in self._seen_ends and not self.was_reset:
            self._seen_ends += (how,)
            if self.on_end is not None:
                self.on_end(self.peer, how)

    @property
    def hearing(self) -> Hearing:
        """The waits for the peer's program."""
        return Hearing(self)

    @property
    def has_ended(self) -> bool:
        """Whether a FIN or RST of the peer was seen."""
        return bool(self._seen_ends)

    @property
    def was_reset(self) -> bool:
        """Whether the peer is known to have reset the connection."""
        return "RST" in self._seen_ends

    @property
    def is_end_reset(self) -> bool:
        """Whether an end that is read now stands for a RST, whose error `sees` has taken; after a FIN it doesn't."""
        return self._seen_ends == ("RST",)

    def look(self) -> None:
        """Take note of the peer's FIN or RST if it has come, whatever lies unread before it."""
        events = 0 if self.is_closed else ends_of(self.sock)
        if events:
            self.sees("RST" if events & WAS_RESET else "FIN")

    def gone(self, error: OSError | None = None) -> Departed:
        """Take note that the peer has reset the connection, as an error says; return what to raise."""
        if error is not None and error.errno == errno.EPIPE:
            self.sees("FIN")
        self.sees("RST")
        return Departed("RST")

    @property
    def keeps_byte(self) -> bool:
        """Whether the last byte that was read stays in the kernel, so that only `receive` may read."""
        return False

    async def receive(self, limit_bytes: int) -> bytes:
        """Read at most `limit_bytes` bytes; `b""` when the peer has finished sending.

        Raises:
            Departed: the peer has reset the connection.
        """
        await self.give_way()
        while True:
            try:
                data = self.sock.recv(limit_bytes)
            except BlockingIOError:
                await self.readable()
            except OSError as error:
                raise self.gone(error) from None
            else:
                if not data and self.is_end_reset:
                    raise Departed("RST")
                (unread, at), self._noted = self._noted, (0, self.began)
                self.heard_at = at if len(data) <= unread else clock.now()
                self.at_end = not data
                return data

    async def give_way(self) -> None:
        """Let the other connections have their turn, after some operations of this connection without a wait.

        A client that sends or takes without a pause always has ready data, for which nothing would wait.
        """
        self._operations += 1
        if self._operations > OPERATIONS_PER_TURN:
            self._operations = 0
            self.departures.given_turns += 1
            await asyncio.sleep(0)

    async def readable(self, future: asyncio.Future[None] | None = None) -> None:
        """Wait until there are bytes or an end to read, or until the future is done."""
        self._operations = 0
        future = future or self._loop.create_future()
        self.on_readable(partial(wake, future))
        try:
            await future
        finally:
            self.on_readable(None)

    def next_byte(self) -> bytes:
        """The next byte, which is not read; `b""` when the peer has finished sending.

        Raises:
            Departed: the peer has reset the connection.
        """
        try:
            byte = self.sock.recv(1, socket.MSG_PEEK)
        except OSError as error:
            raise self.gone(error) from None
        if not byte and self.is_end_reset:
            raise Departed("RST")
        if not byte:
            self.sees("FIN")
        return byte

    async def send_some(self, data: memoryview) -> int:
        """Hand bytes to the kernel as soon as it takes some; return how many it took.

        Raises:
            Departed: the peer has reset the connection.
        """
        await self.give_way()
        while True:
            try:
                taken = self.sock.send(data[:SEND_BYTES])
            except BlockingIOError:
                await self.writable()
            except OSError as error:
                raise self.gone(error) from None
            else:
                self.sent_bytes += taken
                return taken

    async def writable(self) -> None:
        """Wait until the kernel takes bytes."""
        self._operations = 0
        future: asyncio.Future[None] = self._loop.create_future()
        self.on_writable(partial(wake, future))
        try:
            await future
        finally:
            self.on_writable(None)

    def on_readable(self, callback: Callable[[], None] | None) -> None:
        """Call `callback` whenever there is something to read; `None` ends that."""
        if callback is not None:
            self._loop.add_reader(self._number, callback)
        elif self._is_read and not self.is_closed:  # closing has removed it, and another socket may have the number now
            self._loop.remove_reader(self._number)
        self._is_read = callback is not None

    def on_writable(self, callback: Callable[[], None] | None) -> None:
        """Call `callback` whenever the kernel takes bytes; `None` ends that."""
        if callback is not None:
            self._loop.add_writer(self._number, callback)
        elif self._is_written and not self.is_closed:
            self._loop.remove_writer(self._number)
        self._is_written = callback is not None

    async def flush(self) -> None:
        """Wait until everything sent has arrived, so that a RST discards no bytes.

        The kernel of the peer acknowledges at once, or up to 40 ms later; on this machine it tells what has arrived.
        There is no event for either, so both are asked for after 0.2 ms, then at growing intervals of up to 10 ms.

        Raises:
            Departed: the peer has reset the connection meanwhile.
        """
        pause = 0.0
        while unacknowledged_bytes(self.sock):
            if is_dead(self.sock) and unacknowledged_bytes(self.sock):  # not by two FIN, acknowledged meanwhile
                raise self.gone()
            peer = self.departures.peers.of(self.sock)
            if peer is not None and peer.received_bytes >= self.sent_bytes:
                return
            await self.departures.pause(pause)
            pause = min(pause + 0.0002, 0.01)

    async def drain(self) -> None:
        """Read and discard bytes until the peer has finished sending.

        Raises:
            Departed: the peer has reset the connection.
        """
        while not self.at_end:
            await self.receive(READ_BYTES)

    def departure(self, within_seconds: float | None, until: Gate | None = None) -> Coroutine[Any, Any, Left | None]:
        """Wait until the peer leaves, and return how; `None` when the time is over or the gate opens."""
        return self.departures.departure(self, within_seconds, until)

    def notice(self, how: Left) -> Left:
        """Take note that the peer has left, as a watch has told; return how it has left in truth."""
        is_next = not self.is_closed and not unread_bytes(self.sock)  # unread bytes come before a FIN
        if how == "RST" or is_next:
            self.sees(how)
        return self._in_truth(how)

    def left(self) -> Left | None:
        """How the peer has left by now; `None` if it still sends or listens."""
        left = self.departures.left(self.sock)
        if left is None:
            return None
        self.sees(left)
        return self._in_truth(left)

    def _in_truth(self, left: Left) -> Left:
        """How the peer has left: after `sees` has taken the error of a RST, the kernel tells only that it has."""
        return "RST" if self.was_reset else left

    @property
    def is_closed(self) -> bool:
        """Whether the socket is closed."""
        return self.sock.fileno() < 0

    def close(self) -> Left | None:
        """Close the socket, and return the sign that this sends; `None` if it sends none."""
        if self.is_closed:
            return None
        if self._is_armed or self.unread_bytes():
            return "RST" if self.reset() else None
        self._forget()
        is_last = not self._has_finished and self.finish()
        self.sock.close()
        return "FIN" if is_last else None

    def _forget(self) -> None:
        self.on_readable(None)
        self.on_writable(None)

    def discard_input(self) -> None:
        """Read and discard what has arrived, so that a close sends no RST."""
        try:
            ending.discard_input(self.sock)
        except OSError as error:
            self.gone(error)

    def unread_bytes(self) -> int:
        """The number of bytes in the kernel that no one has read."""
        self._noted = (count := unread_bytes(self.sock)), clock.now()
        return count

    def arm_reset(self) -> None:
        """Make the next close send RST."""
        self._is_armed = True
        arm_rst(self.sock)

    def finish(self) -> bool:
        """Send FIN and go on receiving; return false if the peer has reset the connection, after which none is sent."""
        if self.is_closed or self._has_finished:
            self.look()
            return not self.was_reset
        sign, self._has_finished = ending.finish(self.sock)
        if sign is not None:
            self.sees(sign)
        return self._has_finished

    def reset(self, last: bytes = b"", *, fin_first: bool = False) -> bool:
        """Send the last bytes and close with RST, with `fin_first` after FIN; return whether the RST was sent.

        It is not if the peer has reset the connection, or if both sides have sent FIN.
        """
        self._forget()
        self.look()
        if self.is_closed:
            return False
        is_first = not self._has_finished
        sign, was_sent = ending.reset(self.sock, last, fin_first=fin_first)
        if sign is not None and is_first:  # after a FIN of ours the state doesn't tell
            self.sees(sign)
        return was_sent
