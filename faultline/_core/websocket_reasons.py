"""Reasons why a step of a WebSocket has not struck in an attempt."""

from __future__ import annotations

from faultline._core.attempts import Attempt
from faultline._core.counts import counted
from faultline._core.fault import Fault
from faultline._core.frames import Accept, IgnorePings
from faultline._core.promises import Key, key_of
from faultline._core.steps import every
from faultline._core.websocket_facts import MALFORMED, NO_WEBSOCKET


def asked_for_no_websocket(_: Fault, _part: Key, attempt: Attempt) -> str:
    """The client has sent another request."""
    if not attempt.note.startswith(NO_WEBSOCKET):
        return ""
    return "The client did not ask for a WebSocket: use server.ws_url and a client that speaks WebSocket."


def sent_malformed_frame(_: Fault, _part: Key, attempt: Attempt) -> str:
    """The client has broken the protocol, which ends the conversation."""
    return "The client broke the protocol first." if attempt.note.startswith(MALFORMED) else ""


def offered_no_subprotocol(fault: Fault, part: Key, attempt: Attempt) -> str:
    """The client can't miss what it did not offer."""
    is_meant = attempt.websocket is not None and any(isinstance(step, Accept) for step in steps_of(fault, part))
    return "The client offered no subprotocol, so it can't miss one in the answer." if is_meant else ""


def sent_no_ping(fault: Fault, part: Key, attempt: Attempt) -> str:
    """No PING of the client was left without an answer."""
    is_meant = any(isinstance(step, IgnorePings) for step in steps_of(fault, part))
    if not is_meant or attempt.websocket is None:
        return ""
    if attempt.websocket.received_pings:
        return "The client sent its PINGs before the plan came to ignore_pings()."
    return "The client sent no PING: make the interval of its keepalive shorter."


def closed_websocket(_: Fault, _part: Key, attempt: Attempt) -> str:
    """The client has sent its close frame before the plan came so far."""
    facts = attempt.websocket
    if facts is None or facts.client_code is None or attempt.ended_by != "client":
        return ""
    sent = f"{counted(facts.received_messages, 'message')} of its own and {facts.sent_messages} of the server"
    return f"The client closed the WebSocket first, with {facts.client_code}, after {sent}."


def steps_of(fault: Fault, part: Key) -> list[object]:
    """The step of a script that a part is; nothing for other parts."""
    steps = every(fault.script.steps) if fault.script is not None and part.kind == "step" else ()
    return [step for step in steps if key_of(step) == part]
