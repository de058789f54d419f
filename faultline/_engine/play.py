"""Plays steps on an open connection, in one `match`.

Rules: no module asks which mode is running; a mode that needs more has a step for it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from faultline._core import steps as do
from faultline._core.alerts import alert_in
from faultline._core.branching import Reply
from faultline._core.counts import counted
from faultline._core.ends import Party
from faultline._core.gate import Gate
from faultline._core.promises import BREAK, Key, key_of
from faultline._core.streams import GoAway, RstStream
from faultline._core.tls_facts import HELLO
from faultline._core.tripwire import Enough, Prefixed, Search
from faultline._engine.attempt import NO_REQUEST
from faultline._engine.handshake import secure
from faultline._engine.lifting import while_it_lasts
from faultline._net.departures import Departed, TooLate

if TYPE_CHECKING:
    from faultline._engine.attempt import OpenAttempt
    from faultline._engine.connection import Connection


LAST_BYTES = 40  # of those that came instead of the bytes that a script waits for
QUIET = (do.Close, do.HalfClose, do.Hold, do.Partition)  # steps after which the client hears nothing more, for a while


class Over(Exception):  # noqa: N818 - an event, not an error
    """The server has ended the conversation."""


class Parked(Exception):  # noqa: N818 - an event, not an error
    """Nothing more happens on the connection until the client leaves or the test ends it, so that no task waits."""


async def play(connection: Connection, steps: tuple[do.ConnectionStep, ...]) -> None:
    """Play steps in order.

    Raises:
        Over: a step ended the conversation.
        Departed: the client ended the connection; `TooLate` if it has met none of the steps.
    """
    has_acted = False
    for step in steps:
        try:
            await play_one(connection, step)
        except TooLate as left:
            raise Departed(left.how) if has_acted else left from None
        has_acted = True


async def until_ready(connection: Connection, steps: tuple[do.ConnectionStep, ...]) -> None:
    """Wait until these steps can take effect at once, on a client that has come to them.

    A client has come to an end or a silence once its program has read all before that; if it leaves without, nothing
    strikes it. A RST waits for the program to look at its connect too.

    Raises:
        Departed: the client has reset the connection.
    """
    hearing, resets = connection.wire.hearing, do.resets(steps)
    if resets:
        await hearing.until_looked()
    if resets or (connection.speaker == "server" and isinstance(steps[0], QUIET)):
        await connection.wire.flush()
        await (hearing.until_heard() if isinstance(steps[0], do.Reset) else hearing.until_read())


async def take_effect(
    connection: Connection, attempt: OpenAttempt, steps: tuple[do.ConnectionStep, ...], part: Key = BREAK
) -> None:
    """Play the steps of a strike of the attempt; the strike is taken back if the client has met none of them.

    Raises:
        Over: a step ended the conversation.
        Departed: the client ended the connection.
    """
    try:
        await play(connection, steps)
    except TooLate as left:
        attempt.take_back_strike(part)
        raise Departed(left.how) from None


async def play_one(connection: Connection, step: do.ConnectionStep) -> None:
    """Play one step.

    Raises:
        Over: the step ended the conversation.
        Departed: the client ended the connection.
    """
    stream = connection.stream
    match step:
        case do.Planned():
            await until_ready(connection, step.steps)
            await connection.strike_step(step)
            await take_effect(connection, connection.attempt, step.steps, key_of(step))
        case do.Send():
            await send(connection, step)
        case do.Receive() | do.ReceiveUntil() | do.ReceivePrefixed():
            await receive(connection, step)
        case Reply():
            await reply(connection, step)
        case do.ReceiveAll():
            await stream.read_to_end(expects_tls=connection.service.tls)
            raise Departed("FIN")
        case do.StartTls():
            early = connection.take_unread()  # what is no TLS is discarded: RFC 3207, 4.2
            await secure(connection, early if early.startswith(HELLO) else b"")
        case do.StopTls():
            await stream.stop_tls()
        case do.Renegotiate():
            await stream.renegotiate()
        case do.Inject():
            await inject(connection, step.data)
        case do.Hold():
            await hold(connection, step.for_seconds, step.until)
        case do.HalfClose():
            await half_close(connection)
        case do.Partition():
            await while_it_lasts(connection, connection.valve.cut_off(step.for_seconds, step.until))
        case do.Reset():
            await reset(connection, fin_first=step.fin_first)
        case do.Close():
            await close(connection, close_notify=step.close_notify)
        case RstStream() | GoAway():
            await connection.side.play(step)
        case _:  # pragma: no cover - the type checker proves that every step has a case
            unknown(step)


async def send(connection: Connection, step: do.Send) -> None:
    """Send bytes: as a part of the response, or below TLS.

    Raises:
        Departed: the client ended the connection.
    """
    if step.below_tls:
        await connection.wire.flush()
        await connection.wire.hearing.until_heard()  # it ends TLS for a client, as a RST ends a connection
        if name := alert_in(step.data):
            connection.stream.alerts(name, True)
        await connection.stream.write_raw(step.data)
    else:
        await connection.enter("response")
        await connection.send(step.data)


async def inject(connection: Connection, data: bytes) -> None:
    """Insert bytes among those that pass the point where the break has struck."""
    struck = connection.attempt.entry.struck
    if struck is None or struck.point != "request" or not await connection.side.take(data):
        await connection.stream.write_now(data)


async def hold(connection: Connection, for_seconds: float | None, until: Gate | None = None) -> None:
    """Send and read nothing for this time, or until the gate opens.

    Raises:
        Departed: the client ended the connection meanwhile.
        Parked: neither time nor gate ends the silence.
    """
    if for_seconds is None and until is None and connection.service.parks and not connection.side.has_tasks:
        raise Parked
    if left := await while_it_lasts(connection, connection.wire.departure(for_seconds, until)):
        raise Departed(left)


async def flush(connection: Connection) -> None:
    """Wait until everything sent has arrived, so that an end doesn't wait behind it.

    Raises:
        TooLate: the client has reset the connection.
    """
    try:
        await connection.wire.flush()
    except Departed as left:
        raise TooLate(left.how) from None


async def reset(connection: Connection, *, by: Party = "server", fin_first: bool = False) -> None:
    """Send RST, after the bytes that were sent before have been delivered; with `fin_first` send FIN right before it.

    Raises:
        Over: always, once the connection is closed.
        Departed: the client has left meanwhile; `TooLate` if there is nothing left to reset.
    """
    wire = connection.wire
    await flush(connection)
    await wire.hearing.until_heard()
    wire.look()
    last = connection.stream.close_notify() if fin_first and not wire.was_reset else b""
    was_sent = wire.reset(last, fin_first=fin_first)
    if wire.was_reset:
        raise TooLate("RST")
    if fin_first:
        connection.sign("server", "FIN")
    connection.end(by, "RST" if was_sent else "FIN", was_sent=True)
    raise Over


async def end_tls(connection: Connection) -> None:
    """Send close_notify if the connection is in TLS; after a RST, OpenSSL would make a close_notify that can't be sent.

    Raises:
        Departed: the client has reset the connection.
    """
    connection.wire.look()
    if not connection.wire.was_reset:
        await connection.stream.end_tls()


async def half_close(connection: Connection, *, close_notify: bool = True) -> bool:
    """Send FIN, in TLS after close_notify, and go on; return false if no FIN could follow the close_notify.

    Raises:
        Departed: the client has reset the connection; `TooLate` if it met no sign of the end.
    """
    wire = connection.wire
    await flush(connection)
    if close_notify:
        await end_tls(connection)
    was_sent = wire.finish()
    if was_sent:
        connection.sign("server", "FIN")
    elif not connection.attempt.has_said_goodbye:
        raise TooLate("RST")
    return was_sent


async def close(connection: Connection, *, close_notify: bool = True) -> None:
    """Deliver the bytes that were sent before, then send FIN and close.

    Raises:
        Over: always, once the connection is closed.
        Departed: the client has reset the connection meanwhile; `TooLate` if it met no sign of the end.
    """
    was_sent = await half_close(connection, close_notify=close_notify)
    connection.end("server", "FIN", is_sign=was_sent, was_sent=was_sent)
    await connection.wire.flush()  # closing with unread input would discard bytes that are not delivered yet
    connection.wire.discard_input()
    connection.close()
    raise Over


async def reply(connection: Connection, step: Reply) -> NoReturn:
    """Read message after message, and play the steps of the branch that each of them takes.

    Raises:
        Over: a step ended the conversation, or a message took no branch.
        Departed: the client ended the connection.
    """
    while True:
        connection.attempt.request = NO_REQUEST
        message = await receive(connection, step.reading, tells_of_none=False)
        steps = step.branch_of(message, lambda each: isinstance(each, do.StartTls) and connection.stream.speaks_tls)
        if steps is None:
            connection.attempt.entry.note = f"no branch of reply(…) for {message[:LAST_BYTES]!r}"
        for each in (do.Close(),) if steps is None else steps:
            await play_one(connection, each)


async def receive(connection: Connection, step: do.Reading, *, tells_of_none: bool = True) -> bytes:
    """Read until the end of the wanted bytes, and return them; the bytes after them stay for the next step.

    The ledger keeps the first of these bytes, and their number; of bytes that don't come to the end, the last. If none
    came, it keeps that with `tells_of_none`.

    Raises:
        Departed: the client ended the connection before.
    """
    await connection.enter("request")
    end = end_of(step)
    before, room_bytes = connection.attempt.request, connection.kept_body_bytes
    kept, count_bytes, data, last = bytearray(before.body), before.body_bytes, b"", b""
    at = end.cut(data)

    def feed(data: bytes) -> int:
        nonlocal at
        at = end.cut(data)
        return len(data) if at is None else at

    try:
        while at is None:
            kept += data[: max(0, room_bytes - len(kept))]
            count_bytes += len(data)
            last = (last + data)[-LAST_BYTES:]
            data = await connection.receive(feed)
            if not data:
                raise Departed("FIN")
    finally:
        if at is None and (tells_of_none or count_bytes > before.body_bytes):
            connection.attempt.entry.note = missing(step, count_bytes - before.body_bytes, last)
    connection.put_back(data[at:])
    kept += data[: min(at, max(0, room_bytes - len(kept)))]
    connection.attempt.keep(replace(before, body=bytes(kept), body_bytes=count_bytes + at))
    return bytes(kept[len(before.body) :])


def end_of(step: do.Reading) -> Enough | Search | Prefixed:
    """The search for the end of what a step reads."""
    if isinstance(step, do.Receive):
        return Enough(step.count_bytes)
    if isinstance(step, do.ReceiveUntil):
        return Search(step.marker)
    return Prefixed(step.length_bytes, step.byteorder, includes_length=step.includes_length)


def missing(step: do.Reading, count_bytes: int, last: bytes) -> str:
    """A phrase on bytes that a script waited for in vain, and on those that came instead."""
    if isinstance(step, do.Receive):
        awaited = counted(step.count_bytes, "byte")
    elif isinstance(step, do.ReceiveUntil):
        awaited = repr(step.marker if isinstance(step.marker, bytes) else step.marker.pattern)
    else:
        awaited = f"a message after its length of {counted(step.length_bytes, 'byte')}"
    came = f"{counted(count_bytes, 'byte')} came, the last of them {last!r}" if count_bytes else "no byte came"
    return f"the script waited for {awaited}, and {came}"


def unknown(step: NoReturn) -> NoReturn:  # pragma: no cover - the type checker proves that it is never called
    """Fail for a step without a case."""
    raise AssertionError(step)
