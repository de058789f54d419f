"""The engine: plays one script on one connection, and breaks it where its fault says.

Rules of this room: one `match` over steps, and no question which mode is running. What a client can see is in the
ledger before the client can see it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NoReturn

from faultline._core import steps as do
from faultline._core.answers import Answer
from faultline._core.certificates import Terms
from faultline._core.fault import Fault
from faultline._core.ledger import KEPT_BODY_BYTES, Request
from faultline._core.plan import resolved
from faultline._core.tripwire import end_of, enough
from faultline._engine.connection import Over
from faultline._engine.proxy import Proxying
from faultline._net import sockets
from faultline._net.departures import Departed
from faultline._net.http1 import CONTINUE, RequestReader, hopped, render
from faultline._net.tls import Rejected


class Conversation(Proxying):
    """One client's connection, from accept to its end."""

    _reader = RequestReader()
    _is_cut_off = False  # by the fault
    _is_paused = _is_apart = False  # by the test

    # --- the conversation as a whole ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Play the script to its end; whatever that end is, it is in the ledger and the socket is closed."""
        try:
            await self._reach("accept")
            script = self._fault.script or self._stage.script
            if script is self._fault.script and not self._fault.starts_tls:
                await self._handshake()
            await self._play(script.steps)
            await self._play((do.Close(),))
        except Over:
            pass
        except Departed as left:
            self._strike_terms()
            self._end("client", left.how)
            with contextlib.suppress(Departed):  # a client may wait for the answer to its close_notify
                await self._stream.end_tls()
        except Rejected as rejected:
            is_alert = self._stream.rejected(rejected.why)
            self._strike_terms()
            self._end("client" if is_alert else "server", "FIN")
            sockets.send_fin(self._wire.sock)
            with contextlib.suppress(Departed):  # closing with unread input would send RST, and lose our alert
                await self._wire.drain()
        finally:
            self.give_up()

    @property
    def is_open(self) -> bool:
        """Whether there still is a connection."""
        return not self._wire.is_closed

    def _strike_terms(self) -> None:
        """The handshake has failed: if its terms were the fault's, that was the fault."""
        refuses = self._fault.terms not in (None, Terms())
        if refuses and self._point == "handshake" and self._entry.struck is None and self._stream.speaks_tls:
            self._stage.ledger.strike(self._entry, "handshake", 0)

    def give_up(self) -> None:
        """Close the socket and the attempt; of what has ended already this changes nothing."""
        self._end("server", "stop")
        if self._is_filtered and not self._wire.is_closed:  # its FIN could never be acknowledged
            self._wire.reset()
        self._wire.close()
        if self._far is not None:
            self._far.leave()

    # --- what a test does to an open connection ----------------------------------------------------------------------

    def reset(self) -> None:
        """Send RST as soon as the caller has cancelled the task, which closes the socket."""
        self._entry.note = "reset by the test"
        self._end("server", "RST")
        self._wire.arm_reset()

    def close(self) -> None:
        """Send FIN, in TLS after a close_notify; the caller then cancels the task."""
        self._entry.note = "closed by the test"
        self._end("server", "FIN")
        with contextlib.suppress(OSError):
            self._wire.sock.send(self._stream.last_words())
        sockets.send_fin(self._wire.sock)
        sockets.discard_input(self._wire.sock)

    def pause(self) -> None:
        """Let nothing pass, in either direction."""
        self._hold_back(paused=True)

    def resume(self) -> None:
        """Let bytes pass again."""
        self._hold_back(paused=False)

    def _hold_back(self, *, paused: bool | None = None, cut_off: bool | None = None) -> None:
        """Let nothing pass while either holds."""
        self._is_paused = self._is_paused if paused is None else paused
        self._is_apart = self._is_apart if cut_off is None else cut_off
        if self._is_paused or self._is_apart:
            self._stream.flowing.clear()
            self._look_again()
        else:
            self._stream.flowing.set()

    def partition(self) -> None:
        """Let the client's packets vanish, and send it nothing."""
        sockets.drop_packets(self._wire.sock)
        self._is_filtered = True
        self._hold_back(cut_off=True)

    def heal(self) -> None:
        """Let them through again, unless it is the fault that drops them."""
        if not self._is_cut_off:
            self._filter()
        self._hold_back(cut_off=False)

    def meet(self, fault: Fault) -> None:
        """Have another fault from here on."""
        self._deal(fault)
        self._stream.serve(self._entry, fault)
        self._filter()
        self._look_again()

    def leave_idle(self, upcoming: Fault) -> bool:
        """Give the connection up if it is idle and what comes needs a new one; the caller then cancels the task."""
        idle = self._point == "idle" and not upcoming.can_follow(self._fault)
        if idle:
            self._end("server", "FIN")
        return idle

    async def _play(self, steps: tuple[do.Step, ...]) -> None:
        for step, following in zip(steps, (*steps[1:], None), strict=True):
            match step:
                case do.Handshake():
                    await self._handshake()
                case do.ReceiveRequest():
                    await self._receive_request(step)
                case do.Respond():
                    await self._respond(step.answer)
                case do.PassThrough():
                    assert self._stage.upstream is not None
                    await self._pass_through(await self._reach_upstream(self._stage.upstream))
                case do.Forward():
                    await self._forward()
                case do.Socks():
                    await self._negotiate()
                case do.Repeat():
                    await self._play(step.steps)
                    while await self._again():
                        await self._play(step.steps)
                case do.Send(below_tls=True):
                    await self._stream.write_raw(step.data)
                case do.Send():
                    await self._enter("response")
                    await self._send(step.data, acknowledged=isinstance(following, do.Reset))
                case do.Receive():
                    await self._receive_until(partial(enough, count=step.count_bytes))
                case do.ReceiveUntil():
                    await self._receive_until(partial(end_of, marker=step.marker))
                case do.ReceiveAll():
                    await self._stream.read_to_end(expects_tls=self._stage.tls)
                    raise Departed("FIN")
                case do.StartTls():
                    self._buffer, self._counted_bytes = b"", 0
                    await self._secure()
                case do.Inject():
                    await self._inject(step.data)

                case do.StopTls():
                    await self._stream.stop_tls()
                case do.Renegotiate():
                    await self._stream.renegotiate()
                case do.Hold():
                    await self._hold(step.for_seconds, step.until)
                case do.Flush():
                    await self._wire.flush()
                case do.HalfClose():
                    await self._stream.end_tls()
                    sockets.send_fin(self._wire.sock)
                case do.Close():
                    await self._close(step.close_notify)
                case do.Reset():
                    if step.flush:
                        await self._wire.flush()
                    self._end("server", "RST")
                    self._wire.reset()
                    raise Over
                case do.Partition():
                    await self._partition(step.for_seconds)
                case (
                    do.Refuse() | do.Vanish() | do.NoRoute() | do.NoName() | do.Twice() | do.Behind()
                ):  # pragma: no cover - `script` refuses them
                    raise AssertionError(step)  # played by the door, before there is a connection
                case _:  # pragma: no cover - the type checker proves that there is no other
                    unknown(step)

    # --- steps -------------------------------------------------------------------------------------------------------

    async def _handshake(self) -> None:
        if self._stage.tls:
            await self._secure()

    async def _secure(self) -> None:
        await self._reach("handshake")
        context = self._stage.context(self._certificate, self._terms)
        await self._stream.secure(context, self._send_flight, refuses_protocols=self._terms.refuses_protocols)

    async def _receive_request(self, step: do.ReceiveRequest) -> None:
        await self._reach("request")
        reader = self._reader = RequestReader(head_only=step.head_only)
        while not reader.complete:
            data = await self._receive()
            if not data:
                raise Departed("FIN")
            if reader.feed(data) and not step.head_only:
                await self._invite(step)
        self._put_back(reader.rest)
        self._stage.ledger.keep(self._entry, reader.request)
        if self._fault.choice is not None:
            self._deal(resolved(self._fault, reader.request))

    async def _invite(self, step: do.ReceiveRequest) -> None:
        """Say `100 Continue`, or let the client wait for it."""
        if step.continues:
            await self._stream.write(CONTINUE)
        else:
            self._stage.ledger.strike(self._entry, "request", 0)

    async def _respond(self, answer: Answer | None) -> None:
        planned = answer or self._fault.http_answer
        request = self._entry.request or Request()
        answer = hopped(planned or self._stage.default, request, self._stage.default)
        trip = self._armed("response")
        if trip is not None:
            answer = answer.sized(trip.brk.trigger.after_bytes)
        reader = self._reader
        self._keeps = reader.keep_alive if reader.is_http else answer.echoes
        if answer.closes or self._stage.dealer.ends_connection(self._fault):
            self._keeps = False  # so that the client has to open anew, and meets it
        await self._reach("response")
        if planned is not None and planned.strikes_at(request.method) and self._fault.break_ is None:
            self._stage.ledger.strike(self._entry, "response", 0)
        data = render(answer, request, keep_alive=self._keeps)
        strikes_then = trip is not None and trip.brk.trigger.at_end
        await self._send(data, acknowledged=strikes_then or self._armed("idle") is not None)
        if strikes_then:
            await self._strike()

    async def _again(self) -> bool:
        """Between two turns: whether the client asks once more on this connection."""
        if not self._keeps:
            return False
        await self._reach("idle")
        if not self._buffer:
            await self._await_next()
        news = self._buffer
        self._entry.take_back(news)
        self._end()
        self._counted_bytes = 0
        self._begin(self._stage.dealer.deal_kept(self._fault))
        self._entry.says("client", news)
        self._stage.on_dealt()
        return True

    async def _await_next(self) -> None:
        """Wait for the next request, which is left for the attempt that begins with it."""
        trip = self._armed("idle")
        timer = trip.brk.trigger.after_seconds if trip else None
        try:
            await asyncio.wait_for(self._stream.await_bytes(), timer)
        except asyncio.TimeoutError:
            await self._strike()
            await self._stream.await_bytes()

    async def _receive_until(self, end: Callable[[bytes], int]) -> None:
        """Read until `end` finds where it is; what came after it stays for the next step."""
        await self._enter("request")
        got = b""
        while (at := end(got)) < 0:
            data = await self._receive()
            if not data:
                raise Departed("FIN")
            got += data
        self._put_back(got[at:])
        before = self._entry.request or Request()
        body = before.body + got[:at]
        kept = body[:KEPT_BODY_BYTES]
        self._stage.ledger.keep(self._entry, replace(before, body=kept, body_bytes=before.body_bytes + at))

    async def _partition(self, for_seconds: float | None) -> None:
        sockets.drop_packets(self._wire.sock)
        self._is_filtered = self._is_cut_off = True
        if for_seconds is None:
            await asyncio.get_running_loop().create_future()  # until the server stops: no news can come
        else:
            await asyncio.sleep(for_seconds)
        self._is_cut_off = False
        self._filter()

    async def _close(self, close_notify: bool) -> None:  # noqa: FBT001 - as the step says it
        if close_notify:
            await self._stream.end_tls()
        self._end("server", "FIN")
        sockets.send_fin(self._wire.sock)
        await self._wire.flush()  # closing with unread input would throw away what is not delivered yet
        sockets.discard_input(self._wire.sock)
        self._wire.close()
        raise Over


def unknown(step: NoReturn) -> NoReturn:  # pragma: no cover - the same
    """The type checker proves that no step comes here."""
    raise AssertionError(step)
