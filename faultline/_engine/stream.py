"""A stream: application bytes over a wire, plain or in TLS, under the conditions of the attempt's fault.

Rules: every application byte is recorded in the ledger as it passes; breaks are left to the connection.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import partial

from faultline._core import clock
from faultline._core.attempts import Entry
from faultline._core.conditions import Condition
from faultline._core.ends import Party
from faultline._core.gate import Gate
from faultline._engine.attempt import OpenAttempt
from faultline._engine.pacing import Deliver, Flows, Receive, pause, until_due
from faultline._engine.rejection import note_rejection
from faultline._net import sockets
from faultline._net.departures import Departed
from faultline._net.ending import Left
from faultline._net.tls import ServerContext, Tls, Write
from faultline._net.wire import Wire


class Stream:
    """Reads and writes the application bytes of one connection.

    Attributes:
        speaks_tls: whether the client's first bytes were TLS.
        is_fed: whether what is written comes from an upstream, and has passed its conditions.
        unsent_bytes: how many bytes of a write that goes on are not sent yet.
        interjection: what is done once the next piece of that write is sent, because it sends bytes too.
        is_framed: whether a protocol divides the bytes among attempts, and records them with their conditions itself.
    """

    __slots__ = (
        *("wire", "speaks_tls", "_chance", "_tls", "_is_midway", "_own_alert", "_held", "_paused"),
        *("_on_left", "_attempt", "_entry", "_flows", "is_fed", "unsent_bytes", "interjection", "is_framed"),
    )

    def __init__(self, wire: Wire, chance: Callable[[], random.Random]) -> None:
        self.wire, self._chance = wire, chance
        self._tls: Tls | None = None
        self._is_midway, self.unsent_bytes = False, 0  # whether a record was made and not yet sent whole
        self._own_alert, self._held = "", b""  # the server's last; decrypted, and not yet read by an attempt
        self._paused: asyncio.Event | None = None  # while the test holds all bytes back; set when they may pass again
        self.speaks_tls = self.is_fed = self.is_framed = False
        self._entry: Entry
        self._flows: Flows | None = None  # while the attempt has conditions
        self.interjection: Callable[[], Awaitable[None]] | None = None

    def serve(self, attempt: OpenAttempt, on_left: Callable[[Left], bool]) -> None:
        """Record the bytes in this attempt from here on, under the conditions of its fault.

        `on_left` is told when the client leaves while its bytes wait, and returns whether they still arrive.
        """
        entry, fault = attempt.entry, attempt.fault
        goes_on = self._flows is not None and self._entry is entry
        self._attempt, self._entry, self._on_left = attempt, entry, on_left
        entry.tls = self._tls.facts() if self._tls is not None else None
        if self.is_framed:
            return
        if goes_on and self._flows is not None:
            self._flows.change(fault.conditions, attempt.condition_strikes)
        else:
            self._begin_flows(fault.conditions)

    def divide(self) -> None:
        """Leave the record of the bytes, and the conditions of each attempt, to the protocol from here on."""
        self.is_framed = True
        self._begin_flows(())

    def _begin_flows(self, conditions: tuple[Condition, ...]) -> None:
        """Have bytes pass under these conditions; what has arrived under others is not lost."""
        waiting = [] if self._flows is None else self._flows.request.chain.rest()
        self._flows = None
        if conditions:
            self._flows = Flows(conditions, self._chance, self._attempt.condition_strikes, self._entry)
            for item in waiting:
                self._flows.request.chain.put(item.what, item.at)
        else:
            self._held += b"".join(item.what for item in waiting if isinstance(item.what, bytes))

    @property
    def passed_bytes(self) -> int:
        """How many bytes of the client have passed their conditions in this attempt."""
        return self._entry.received_bytes if self._flows is None else self._flows.request.chain.passed_bytes

    def forget(self) -> None:
        """Forget the attempt, and what leads to it, because the connection has ended."""
        del self._on_left, self._attempt, self._entry, self._flows

    def pause(self) -> None:
        """Hold all bytes back."""
        self._paused = self._paused or asyncio.Event()

    def resume(self) -> None:
        """Let bytes pass again."""
        paused, self._paused = self._paused, None
        if paused is not None:
            paused.set()

    async def until_flowing(self) -> None:
        """Wait while the test holds all bytes back."""
        if self._paused is not None:
            await self._paused.wait()

    async def _await_request(self, for_seconds: float, until: Gate) -> None:
        """Hold the client's bytes back for this time, or until the gate opens.

        Raises:
            Departed: the client has left meanwhile, and its bytes can't arrive without it.
        """
        due = clock.now() + for_seconds
        try:
            await until_due(self.wire, for_seconds, until)
        except Departed as left:
            if left.how == "RST" or self._on_left is None or not self._on_left(left.how):
                raise
            await pause(due - clock.now(), until)

    @property
    def is_plain(self) -> bool:
        """Whether bytes pass unchanged and without delay."""
        return self.is_heard_plainly and (self._flows is None or self._flows.response.chain.is_plain)

    @property
    def is_heard_plainly(self) -> bool:
        """Whether the bytes of the client pass unchanged and without delay."""
        return self._tls is None and not self._held and (self._flows is None or self._flows.request.chain.is_plain)

    async def write(self, data: bytes, deliver: Deliver | None = None) -> None:
        """Have application bytes pass their conditions, and send what comes through, or hand it to `deliver`.

        Raises:
            Departed: the client has reset the connection.
        """
        deliver = deliver or self.write_now
        if self._flows is None or self.is_fed:
            await deliver(data)
        else:
            await self._flows.send(data, deliver, partial(until_due, self.wire))

    async def write_now(self, data: bytes) -> None:
        """Send application bytes, whatever the conditions are.

        Raises:
            Departed: the client has reset the connection.
        """
        piece = memoryview(data)
        while piece:
            self.unsent_bytes = len(piece)
            taken = await self._write_piece(piece)
            if not self.is_framed:
                self._entry.says("server", piece[:taken])
            piece = piece[taken:]
            self.unsent_bytes = len(piece)
            if self.interjection is not None:
                interject, self.interjection = self.interjection, None
                await interject()

    async def _write_piece(self, piece: memoryview) -> int:
        await self.until_flowing()
        if self._tls is None:
            return await self.wire.send_some(piece)
        taken = min(len(piece), sockets.READ_BYTES)
        await self.write_raw(self._tls.encrypt(piece[:taken]))
        return taken

    async def write_raw(self, data: bytes) -> None:
        """Send bytes below TLS.

        Raises:
            Departed: the client has reset the connection.
        """
        view, self._is_midway = memoryview(data), bool(data)
        await self.until_flowing()
        while view:
            view = view[await self.wire.send_some(view) :]
        self._is_midway = False

    async def write_flight(self, data: bytes) -> None:
        """Send records of the TLS handshake.

        Raises:
            Departed: the client has reset the connection.
        """
        if self._flows is None:
            await self.write_raw(data)
        else:
            self._flows.handshake.chain.put(data, clock.now())
            await self._flows.handshake.drain(self.write_raw, partial(until_due, self.wire))

    async def read(self, limit_bytes: int) -> bytes:
        """Read at most `limit_bytes` application bytes; `b""` when the client has finished sending.

        Raises:
            Departed: the client has reset the connection.
            Rejected: the client has ended TLS with an alert.
        """
        if self._flows is None:
            data = await self._read_said(limit_bytes)
            if self._flows is None:
                return data
            self._flows.request.came(data)
        return await self._flows.request.draw(limit_bytes, self._read_said, self._await_request)

    async def _read_said(self, limit_bytes: int) -> bytes:
        """Read application bytes as they come, and record them."""
        data = await self._read_some(limit_bytes)
        if not self.is_framed:
            self._entry.says("client", data)
        if self._flows is not None and data:
            self._flows.heard(self.wire.heard_at)
        return data

    async def relayed(self, limit_bytes: int, receive: Receive) -> bytes:
        """Receive bytes of the upstream by this function, each when its conditions let it pass; `b""` at the end.

        Raises:
            Exception: what `receive` raised, once all bytes before it have passed.
        """

        async def said(limit: int) -> bytes:
            data = await receive(limit)
            if self._flows is not None and data:
                self._flows.request.chain.turn()
            return data

        if self._flows is None:
            data = await receive(limit_bytes)
            if self._flows is None:
                return data
            self._flows.response.came(data)
        return await self._flows.response.draw(limit_bytes, said, pause)

    async def _read_some(self, limit_bytes: int) -> bytes:
        limit_bytes = min(limit_bytes, sockets.READ_BYTES)
        await self.until_flowing()
        if self._held:
            data, self._held = self._held[:limit_bytes], self._held[limit_bytes:]
        elif self._tls is None:
            data = await self.wire.receive(limit_bytes)
        else:
            data = await self._tls.receive(limit_bytes, self.write_raw)
        return data

    async def read_to_end(self, *, expects_tls: bool) -> None:
        """Read and discard bytes until the client has finished sending; with `expects_tls` also before the handshake.

        Raises:
            Departed: the client has reset the connection.
            Rejected: the client has ended TLS with an alert.
        """
        read = self.wire.receive if expects_tls and self._tls is None else self.read
        while await read(sockets.READ_BYTES):
            pass

    async def await_bytes(self) -> None:
        """Wait until the client has sent bytes, and leave them for the next `read`.

        Raises:
            Departed: the client has finished sending instead, or has reset the connection.
            Rejected: the client has ended TLS with an alert.
        """
        if self._flows is not None and self._flows.has_come:
            return
        if self._tls is None:
            await self.wire.readable()
            at_end = not self.wire.next_byte()
        else:
            self._held = self._held or await self._tls.receive(sockets.READ_BYTES, self.write_raw)
            at_end = not self._held
        if at_end:
            raise Departed("FIN")

    async def skip_newline(self) -> bool:
        """After `await_bytes`: read a CR or LF of the client, if it is next; return whether it was.

        Raises:
            Departed: the client has reset the connection.
        """
        has_come = self._flows is not None and self._flows.has_come
        if has_come or (self._held[:1] or self.wire.next_byte()) not in (b"\r", b"\n"):
            return False
        self._entry.says("client", await self._read_some(1))
        return True

    async def secure(self, context: ServerContext, write: Write, *, refuses: bool = False, early: bytes = b"") -> None:
        """Speak TLS from here on, after `early` of the client; `write` sends the records of the handshake.

        Raises:
            Departed: the client ended the connection meanwhile.
            Rejected: the client sent an alert or bytes that are not TLS, or its protocols were refused.
        """
        tls = Tls(self.wire, context, on_alert=self.alerts)
        try:
            await tls.handshake(write, early, refuses_protocols=refuses)
        finally:
            self._entry.tls = tls.facts()
            self.speaks_tls = tls.hello.is_tls
        self._tls = tls

    async def renegotiate(self) -> None:
        """Ask the client for a new handshake, and wait until it is complete.

        Raises:
            Departed: the client ended the connection meanwhile.
            Rejected: the client refused.
        """
        assert self._tls is not None
        await self._tls.renegotiate(self.write_raw)

    def close_notify(self) -> bytes:
        """The record that ends TLS; empty in plain text, and in the middle of another record."""
        return b"" if self._tls is None or self._is_midway else self._tls.close_notify()

    async def stop_tls(self) -> None:
        """End TLS in both directions, and continue in plain text.

        Raises:
            Departed: the client ended the connection meanwhile.
            Rejected: the client has ended TLS with an alert.
        """
        assert self._tls is not None  # a script without TLS has no such step
        self._held += await self._tls.stop(self.write_raw)
        self._tls = None

    async def end_tls(self) -> None:
        """Send close_notify if the connection is in TLS, when the conditions let the end pass."""
        if self._flows is not None and not self.is_fed and self.wire.left() is None:
            await self._flows.end(self.write_now, partial(until_due, self.wire))
        await self.write_raw(self.close_notify())

    def alerts(self, name: str, is_ours: bool) -> None:  # noqa: FBT001 - the form of a callback
        """Record an alert, which is also the end of one direction or of both."""
        by: Party = "server" if is_ours else "client"
        if name == "close_notify":
            self._attempt.sign(by, "close_notify")
        else:
            if is_ours:
                self._own_alert = name
            self._attempt.sign(by, "alert", name)

    def rejected(self, why: str) -> bool:
        """Record why TLS ended, with OpenSSL's reason; return whether the client ended it, with an alert."""
        return note_rejection(self._entry, why, ours=self._own_alert, speaks_tls=self.speaks_tls)
