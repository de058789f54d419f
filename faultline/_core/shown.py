"""What a part of a fault and an attempt show, for the reasons why the part has not struck."""

from __future__ import annotations

from faultline._core.answers import Answer
from faultline._core.attempts import Attempt
from faultline._core.breaks import Trigger
from faultline._core.ends import Party
from faultline._core.fault import Fault
from faultline._core.promises import ANSWER, BREAK, Key, key_of
from faultline._core.steps import Respond, every


def left_early(fault: Fault, attempt: Attempt) -> bool:
    """Whether the client may have left before the server had sent all that it would have sent."""
    is_server = fault.break_ is not None and fault.break_.facts.speaks == "server"
    return is_server and attempt.ended_by == "client" and (not attempt.sent_bytes or bool(fault.conditions))


def left_first(attempt: Attempt) -> Party | None:
    """The side that ended the connection, or its own direction, before the other; the server is only the mediator."""
    return next((end.by for end in attempt.ends if end.by != "server"), None)


def left_in_the_middle(attempt: Attempt) -> bool:
    """Whether the client has left in the middle of the message that it sent, or that was sent to it."""
    middle = ("request", "response") if attempt.fault.script is None else ("response",)
    was_reset = (attempt.ended_by, attempt.ended_how) == ("client", "RST") and attempt.point in middle
    return was_reset or attempt.note.startswith("the client left ")  # as the reader of requests says it


def lacked_credentials(attempt: Attempt) -> str:
    """What a client gave a proxy in place of the credentials that it requires; empty if it gave these."""
    said, heard = begins(attempt, "client"), begins(attempt, "server")
    if heard.startswith(b"HTTP/1.1 407 ") and attempt.request is not None:
        return "no credentials" if attempt.request.header("proxy-authorization") is None else "other credentials"
    if attempt.request is not None or attempt.strikes:
        return ""
    if said.startswith(b"\5") and 0 in said[2:] and heard == b"\5\xff":  # RFC 1928, 3: offered to give none
        return "no credentials"
    return "other credentials" if said.startswith(b"\1") and heard == b"\1\1" else ""  # RFC 1929, 2


def waits_in_script(fault: Fault, attempt: Attempt) -> bool:
    """Whether the attempt has ended where its script reads."""
    return fault.script is not None and attempt.point == "request"


def takes_any_point(fault: Fault, part: Key) -> bool:
    """Whether the mode of a part takes every point as `at`."""
    return part == BREAK and fault.break_ is not None and fault.break_.fits_anywhere


def waited_for(fault: Fault, part: Key) -> Trigger | None:
    """The trigger of a part that is a break; `None` for other parts."""
    return fault.break_.trigger if part == BREAK and fault.break_ is not None else None


def byte_of(fault: Fault, part: Key) -> int | None:
    """The byte where a part begins that is a condition; `None` for other parts."""
    return getattr(fault.conditions[part.number], "at_byte", None) if part.kind == "condition" else None


def answer_of(fault: Fault, part: Key) -> Answer | None:
    """The answer that a part is, in the fault or in a step of its script; `None` for other parts."""
    steps = every(fault.script.steps) if fault.script is not None and part.kind == "step" else ()
    said = [step.answer for step in steps if isinstance(step, Respond) and key_of(step) == part]
    return fault.http_answer if part == ANSWER else next(iter(said), None)


def begins(attempt: Attempt, by: Party) -> bytes:
    """The first bytes of the last turn of a side."""
    return next((turn.begins for turn in reversed(attempt.turns) if turn.by == by), b"")


def said_by(by: Party, attempt: Attempt) -> bytes:
    """What the ledger has kept of the bytes of a side."""
    body = attempt.request.body if attempt.request is not None and by == "client" else b""
    return b"\n".join([*(turn.begins for turn in attempt.turns if turn.by == by), body])
