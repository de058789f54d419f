"""The steps of a script that leave the course to the client: one branches by what it says, one waits for its end."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from faultline._core.branching import Key, Reply
from faultline._core.calls import explained
from faultline._core.check import rejected
from faultline._core.fault import Fault
from faultline._core.hints import hint_of_step
from faultline._core.script import unfolded
from faultline._core.steps import (
    Close,
    ConnectionStep,
    Reading,
    ReceiveAll,
    ReceiveRequest,
    ReceiveUntil,
    Repeat,
    Respond,
    Step,
    StopTls,
    every,
)

LINE = ReceiveUntil(b"\n")
Steps: TypeAlias = Step | Fault | tuple[Step | Fault, ...]


@explained
def reply(branches: Mapping[Key, Steps], *, otherwise: Steps = (), reading: Step = LINE) -> Step:
    r"""Read what the client says, message by message, and play the steps of the branch that each message takes.

    A key of bytes matches a message that begins with it, in capitals or small letters; a pattern matches a message
    that contains it. The key that matches the most bytes decides; of equal keys, the first. A message is a line, unless
    `reading` says otherwise. After the steps of a branch the next message is read, until a branch ends the
    conversation, or the client leaves. So this step is the last of a script; a branch may have a `reply(…)` of its own.

    A message that no key matches takes the steps `otherwise`; without them the server closes the connection, and the
    ledger has a note. A plain `close()` in a branch is how the conversation ends, as after `QUIT`; any other mode is a
    fault, and a test fails if its branch was never taken. A branch with `starttls()` is taken once. All messages are
    one attempt, whose request is the last of them.

    .. versionadded:: 0.1

    Args:
        branches: for each key a step, a mode that breaks an open connection, or a tuple of them; `()` says nothing.
        otherwise: the same, for a message that no key matches.
        reading: the step that reads one message, such as `receive_prefixed(4)`.

    Raises:
        ParameterError: there is no branch, a key is neither bytes nor a pattern of bytes, a branch has a step of HTTP
            or `stoptls()`, a step follows the end of the conversation, or `reading` does not read.

    Example:
        >>> import faultline, smtplib
        >>> from faultline import close, receive_until, reply, script, send
        >>> mail = (send(b"354 go on\r\n"), receive_until(b"\r\n.\r\n"), send(b"452 no space\r\n"))
        >>> smtp = reply({b"DATA": mail, b"QUIT": (send(b"221 bye\r\n"), close())}, otherwise=send(b"250 ok\r\n"))
        >>> with faultline.serve(script(send(b"220 hi\r\n"), smtp)) as server, smtplib.SMTP(*server.address) as client:
        ...     client.sendmail("me@a.test", "you@a.test", "hello")
        Traceback (most recent call last):
        smtplib.SMTPDataError: (452, b'no space')
    """
    if not isinstance(branches, Mapping) or not branches:
        raise rejected("branches", branches, r"a dict such as {b'QUIT': (send(b'221 bye\r\n'), close())}")
    if not isinstance(reading, Reading.__args__):
        raise rejected("reading", reading, "a step that reads, such as receive_until(b'\\n') or receive_prefixed(4)")
    found = []
    for key, steps in branches.items():
        literal = key.pattern if isinstance(key, re.Pattern) else key
        if not isinstance(literal, bytes) or not literal:
            right = f"; write {literal.encode('utf-8', 'replace')!r}" if isinstance(key, str) and key else ""
            raise rejected("branches", key, f"bytes, or a pattern compiled from bytes, as a key{right}")
        found.append((key, branch_of(f"branches[{key!r}]", steps)))
    return Reply(tuple(found), branch_of("otherwise", otherwise), reading)


@explained
def receive_all() -> Step:
    r"""Read and discard bytes until the client has finished sending, and close then. It is the last step of a script.

    A script without it closes after its last step; with it the client ends the conversation.

    .. versionadded:: 0.1

    Example:
        >>> import faultline, socket
        >>> from faultline import receive_all, script, send
        >>> with faultline.serve(script(send(b"hi\r\n"), receive_all())) as server:
        ...     with socket.create_connection(server.address) as client:
        ...         client.recv(4, socket.MSG_WAITALL), client.sendall(b"discarded"), client.shutdown(socket.SHUT_WR)
        ...         client.recv(1)
        (b'hi\r\n', None, None)
        b''
    """
    return ReceiveAll()


def branch_of(name: str, given: object) -> tuple[ConnectionStep, ...]:
    """The steps of a branch, in which a plain `close()` is no fault.

    Raises:
        ParameterError: one of them can't be in a branch.
    """
    steps = given if isinstance(given, tuple) else (given,)
    for step in steps:
        if not isinstance(step, (Fault, *Step.__args__)):
            told = f"a step such as send(b'…'), a mode such as reset(), or a tuple of them{hint_of_step(step)}"
            raise rejected(name, step, told)
    plain = tuple(Close() if isinstance(step, Fault) and repr(step) == "close()" else step for step in steps)
    played: tuple[Any, ...] = unfolded(plain)
    for step in every(played):
        if isinstance(step, (ReceiveRequest, Respond, Repeat, StopTls)):
            raise rejected(name, step, "a step of lines and bytes, such as send(b'…') or receive_until(b'…')")
    return played
