"""Scripts: conversations in any line protocol, for faults that no mode covers.

A function here checks its parameters and returns a step. In a script a mode that ends or holds a connection
(`reset()`, `close()`, `stall()`, …) stands for its own steps.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, TypeGuard

from faultline._core.branching import Reply
from faultline._core.breaks import check_gate
from faultline._core.calls import explained
from faultline._core.check import choice, flag, rejected, seconds, whole
from faultline._core.errors import ParameterError
from faultline._core.fault import Fault
from faultline._core.frames import OfWebSocket
from faultline._core.gate import Gate
from faultline._core.hints import hint_of_step
from faultline._core.said import SaidScript, abbreviated
from faultline._core.scripted import Script
from faultline._core.steps import (
    ConnectionStep,
    Hold,
    Partition,
    Planned,
    Receive,
    ReceivePrefixed,
    ReceiveRequest,
    ReceiveUntil,
    Repeat,
    Respond,
    Send,
    StartTls,
    Step,
    StopTls,
    every,
    is_final,
    is_of_tls,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "hold",
    "receive",
    "receive_prefixed",
    "receive_request",
    "receive_until",
    "repeat",
    "respond",
    "script",
    "send",
    "starttls",
    "stoptls",
]


@explained
def script(*steps: Step | Fault) -> Fault:
    r"""Play these steps on every connection, instead of the HTTP conversation.

    After the last step the server closes cleanly. A script is an answer: conditions, a certificate and a break
    compose with it by `&`.

    A mode among the steps (`reset()`, `close()`, `half_close()`, `stall()`, `partition()`, `inject(…)`) is a fault, and
    so are a `hold()` without an end and bytes that are sent below TLS. The fault strikes when its step is played, and a
    test fails if the conversation never comes to the step. Leave `close()` out where the protocol ends the
    connection, as after `QUIT`: a script ends with a clean close by itself.

    .. versionadded:: 0.1

    Raises:
        ParameterError: there are no steps; an argument is neither a step nor a mode that breaks an open connection; a
            mode has `at` or a trigger; a step follows a step that ends the conversation; or a step needs TLS where
            none is spoken.

    Example:
        >>> import faultline, socket
        >>> from faultline import receive_until, reset, script, send
        >>> smtp = script(send(b"220 hi\r\n"), receive_until(b"\r\n"), send(b"250-mx\r\n"), reset())
        >>> with faultline.serve(smtp) as server, socket.create_connection(server.address) as client:
        ...     client.recv(100), client.sendall(b"EHLO me\r\n"), client.recv(8, socket.MSG_WAITALL)
        ...     with faultline.raises(ConnectionResetError):
        ...         client.recv(1)
        (b'220 hi\r\n', None, b'250-mx\r\n')
    """
    if not steps:
        raise ParameterError("script(): expected at least one step, such as send(b'…').")
    label = SaidScript("script", tuple(("step", step) for step in steps), len(steps))
    flat = unfolded(steps)
    for step in every(flat):
        if isinstance(step, OfWebSocket):
            raise ParameterError(f"{step!r}: expected websocket(…) around it, and not script(…).")
    check_tls(flat)
    return Fault(answer=Script(flat), said=(label,))


def unfolded(steps: tuple[Step | Fault, ...]) -> tuple[Step, ...]:
    """The steps, with each mode replaced by its steps; the steps that are faults are marked.

    Raises:
        ParameterError: an argument is neither a step nor a mode that breaks an open connection, or a step follows
            a step that ends the conversation.
    """
    marked: list[Step] = []
    for i, step in enumerate(steps):
        if isinstance(step, Fault):
            marked.append(Planned(steps_of(step), said=repr(step)))
        elif isinstance(step, Step.__args__):
            marked.append(Planned((step,)) if is_planned(step, steps[i:]) else step)
        else:
            raise rejected("step", step, f"a step such as send(b'…'), or a mode such as reset(){hint_of_step(step)}")
    for (step, last), following in pairwise(zip(steps, marked, strict=True)):
        if is_final(last):
            raise follows_the_end(step, last, following[0])
    return tuple(marked)


def follows_the_end(step: Step | Fault, played: Step, following: Step | Fault) -> ParameterError:
    """The error of a step after a step, as the user wrote both, that ends the conversation."""
    lasts = isinstance(played, Planned) and isinstance(played.steps[-1], (Hold, Partition))
    mode = step.said[0].mode if isinstance(step, Fault) else "hold"
    instead = f"write {mode}(for_seconds=1) to go on after it" if lasts else "put it last"
    return ParameterError(f"{following!r}: expected no step after {step!r}, where the conversation ends; {instead}.")


def is_planned(step: Step, ahead: tuple[Step | Fault, ...]) -> TypeGuard[Send | Hold]:
    """Whether a step is a fault by itself: a `hold()` without an end, or bytes below TLS if TLS may be spoken."""
    return step == Hold() or (isinstance(step, Send) and step.below_tls and StartTls() not in ahead)


def check_tls(steps: tuple[Step, ...]) -> None:
    """Check that TLS begins where the script is in plain text, and is used and ended where TLS is spoken.

    A script with `starttls()` begins in plain text; any other script has the TLS of its server from the beginning.

    Raises:
        ParameterError: TLS begins twice, or a step that needs TLS is where none is spoken.
    """
    flat = tuple(as_played(steps))
    has_tls = not any(isinstance(step, StartTls) for step in flat)
    for step in flat:
        needs_tls = is_of_tls(step) and not isinstance(step, Send)  # bytes below TLS can be sent without TLS too
        if isinstance(step, StartTls) and has_tls:
            raise ParameterError(
                f"script({abbreviated(steps)}): expected starttls() once; TLS is spoken after the first."
            )
        if needs_tls and not has_tls:
            raise ParameterError(f"{step!r}: expected a place in the script where TLS is spoken.")
        if isinstance(step, (StartTls, StopTls)):
            has_tls = isinstance(step, StartTls)


def as_played(steps: tuple[Step, ...]) -> Iterator[Step]:
    """The steps in the order in which they are played; the steps of a repeat are played twice."""
    for step in steps:
        match step:
            case Repeat():
                yield from as_played(step.steps * 2)
            case Planned():
                yield from as_played(step.steps)
            case Reply():
                yield from as_played(step.inner)
            case _:
                yield step


def steps_of(fault: Fault) -> tuple[ConnectionStep, ...]:
    """The steps that a mode plays when it strikes.

    Raises:
        ParameterError: the mode doesn't break an open connection, or has `at` or a trigger.
    """
    brk = fault.break_
    if fault.is_answer:
        raise rejected("step", fault, f"a step, or a mode that breaks the connection; write respond({fault!r})")
    if brk is None or not isinstance(brk.does, tuple):
        raise rejected("step", fault, "a mode that breaks an open connection, such as reset()")
    if fault != Fault(brk) or brk.at != "response" or not brk.trigger.is_immediate:
        raise rejected("step", fault, f"no at and no trigger, as steps have an order; write {fault.said[0].mode}()")
    return brk.steps


@explained
def send(data: bytes, *, below_tls: bool = False) -> Step:
    """Send these bytes; `below_tls` sends them as they are, between the records of TLS.

    .. versionadded:: 0.1

    Raises:
        ParameterError: `data` is not bytes, or is empty.
    """
    return Send(some_bytes("data", data), flag("below_tls", below_tls))


@explained
def receive(count_bytes: int) -> Step:
    """Read exactly this number of bytes.

    .. versionadded:: 0.1

    Raises:
        ParameterError: `count_bytes` is not a whole number, 1 or more.
    """
    return Receive(whole("count_bytes", count_bytes, " of bytes", 1))


@explained
def receive_until(marker: bytes | re.Pattern[bytes]) -> Step:
    r"""Read until these bytes or a match of this pattern have arrived; later bytes are left for the next step.

    A pattern is looked for whenever bytes come, and its first match counts: let it say where it ends, as in
    `re.compile(rb"[^\n]*\r?\n")`.

    .. versionadded:: 0.1

    Raises:
        ParameterError: `marker` is neither bytes nor a pattern compiled from bytes, or is empty.
    """
    if isinstance(marker, re.Pattern) and isinstance(marker.pattern, bytes) and marker.pattern:
        return ReceiveUntil(marker)
    return ReceiveUntil(some_bytes("marker", marker))


@explained
def receive_prefixed(
    length_bytes: int = 4, *, byteorder: Literal["big", "little"] = "big", includes_length: bool = False
) -> Step:
    r"""Read a message whose length comes before it, as in many binary protocols.

    .. versionadded:: 0.1

    Args:
        length_bytes: how long the length itself is, from 1 to 8 bytes.
        byteorder: the order of its bytes.
        includes_length: whether the length counts its own bytes too, as in PostgreSQL.

    Raises:
        ParameterError: a value is out of its range.

    Example:
        >>> import faultline, socket
        >>> with faultline.serve(faultline.script(faultline.receive_prefixed(2), faultline.send(b"got it"))) as server:
        ...     with socket.create_connection(server.address) as client:
        ...         client.sendall(b"\x00\x05hello")
        ...         client.recv(6, socket.MSG_WAITALL)
        b'got it'
    """
    choice("byteorder", byteorder, ("big", "little"))
    whole("length_bytes", length_bytes, "", 1, 8)
    return ReceivePrefixed(length_bytes, byteorder, flag("includes_length", includes_length))


@explained
def receive_request(*, head_only: bool = False, continues: bool = True) -> Step:
    """Read one HTTP request.

    With `head_only` the server leaves the body unread. With `continues=False` it sends no `100 Continue` to a client
    that waits for it before sending the body (RFC 9110, 10.1.1).

    .. versionadded:: 0.1

    Raises:
        ParameterError: a value is neither True nor False, or `continues` is False with `head_only`.
    """
    if flag("head_only", head_only) and not flag("continues", continues):
        raise rejected("continues", continues, "True with head_only=True, because it does not wait for a body")
    return ReceiveRequest(head_only, flag("continues", continues))


@explained
def respond(answer: Fault | None = None) -> Step:
    """Answer the HTTP request that was read, with `ok(…)`, `echo()` or the server's answer.

    .. versionadded:: 0.1

    Raises:
        ParameterError: `answer` is not an answer such as `ok(…)`, or has another part.
    """
    if answer is None:
        return Respond()
    if isinstance(answer, Fault) and answer.is_answer:
        return Respond(answer.http_answer, repr(answer))
    raise rejected("answer", answer, "an answer such as ok(b'…') or echo()")


@explained
def repeat(*steps: Step | Fault) -> Step:
    """Play the steps again for every further request on the connection. Each time is an attempt of its own.

    .. versionadded:: 0.1

    Raises:
        ParameterError: there are no steps, an argument is neither a step nor a mode that breaks an open connection, or
            a step follows a step that ends the conversation.
    """
    if not steps:
        raise ParameterError("repeat(): expected at least one step, such as receive_until(b'…').")
    return Repeat(unfolded(steps))


@explained
def hold(for_seconds: float | None = None, *, until: Gate | None = None) -> Step:
    """Send and read nothing: for a time, until a gate opens, or until the client gives up.

    .. versionadded:: 0.1

    Raises:
        ParameterError: `for_seconds` is no number of 0 or more, or `until` is no gate.
    """
    if for_seconds is not None:
        seconds("for_seconds", for_seconds)
    check_gate(until)
    return Hold(for_seconds, until)


@explained
def starttls() -> Step:
    """Speak TLS from here on, with the test CA's certificate or that of a composed `bad_cert(…)`.

    Bytes that the client sent before the handshake are discarded (RFC 3207, 4.2).

    .. versionadded:: 0.1
    """
    return StartTls()


@explained
def stoptls() -> Step:
    """End TLS by close_notify of both sides, and go on in plain text, as after FTP's `CCC` (RFC 4217, 12.3).

    .. versionadded:: 0.1
    """
    return StopTls()


def some_bytes(name: str, value: object) -> bytes:
    """Check that a value is bytes, at least one byte.

    Raises:
        ParameterError: the value is not bytes, or is empty.
    """
    if not isinstance(value, bytes) or not value:
        right = f"; write {value.encode('utf-8', 'replace')!r}" if isinstance(value, str) and value else ""
        raise rejected(name, value, f"at least one byte, as bytes{right}")
    return value
