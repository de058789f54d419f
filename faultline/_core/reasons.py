"""Reasons: why a part of a fault has not struck in an attempt that met the fault.

A reason is a function of the fault, of the part that never struck, and of the attempt. It returns a sentence, or an
empty string if the attempt doesn't show that reason. The first sentence is the advice.

Rules: a sentence names an argument only if the mode has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from faultline._core.attempts import Attempt
from faultline._core.counts import counted
from faultline._core.ends import CLOSED, PARTITIONED, PAUSED, RESET
from faultline._core.fault import Fault
from faultline._core.http2_reasons import had_a_shorter_body, sent_no_frame_to_leave, spoke_no_http2
from faultline._core.points import FACTS, is_before
from faultline._core.promises import BREAK, CERTIFICATE, TERMS, Key
from faultline._core.shown import (
    answer_of,
    begins,
    byte_of,
    lacked_credentials,
    left_early,
    takes_any_point,
    waited_for,
    waits_in_script,
)
from faultline._core.steps import Behind, ReceiveRequest, every
from faultline._core.tls_facts import HELLO, NO_CERTIFICATE, NO_TLS, TlsFacts
from faultline._core.upstream import UNREACHED
from faultline._core.waited import (
    gate_was_closed,
    time_did_not_begin,
    time_was_not_over,
    too_few_requests,
    was_too_short,
)
from faultline._core.websocket_reasons import (
    asked_for_no_websocket,
    closed_websocket,
    offered_no_subprotocol,
    sent_malformed_frame,
    sent_no_ping,
)

SOCKS = (b"\x04", b"\x05")  # how a client of SOCKS begins
ASK_FOR_TUNNEL = ("CONNECT", "SOCKS4", "SOCKS5")  # as methods of a request

NOT_AFTER_STARTTLS = "The client began no TLS after starttls()."
BY_TEST = {
    PAUSED: "The test paused the server, which holds all bytes back: call server.resume() before the client gives up.",
    PARTITIONED: "The test partitioned the server, which drops all packets: "
    "call server.heal() before the client gives up.",
    CLOSED: "The test closed the connection first, by server.close_all().",
    RESET: "The test reset the connection first, by server.reset_all().",
}

# --- the test --------------------------------------------------------------------------------------------------------


def held_by_test(_: Fault, _part: Key, attempt: Attempt) -> str:
    """The test held the bytes of the client back."""
    control = attempt.note.partition("; ")[0]
    return BY_TEST[control] if control in (PAUSED, PARTITIONED) else ""


def ended_by_test(_: Fault, _part: Key, attempt: Attempt) -> str:
    """The test has ended the connection."""
    return BY_TEST[attempt.note] if attempt.note in (CLOSED, RESET) else ""


# --- TLS -------------------------------------------------------------------------------------------------------------


def spoke_no_tls(fault: Fault, _: Key, attempt: Attempt) -> str:
    """The client spoke plain text where TLS begins."""
    if not attempt.note.startswith(NO_TLS):
        return ""
    if attempt.fault.starts_tls:
        return NOT_AFTER_STARTTLS
    or_else = "" if fault.needs_tls else ", or start the server without TLS"
    return f"The server speaks TLS, and the client did not: use server.url, which begins with https{or_else}."


def spoke_tls(_: Fault, _part: Key, attempt: Attempt) -> str:
    """The client began TLS where the server expects plain text."""
    is_answered = attempt.tls is not None and not begins(attempt, "server").startswith(b"HTTP/")
    if is_answered or not begins(attempt, "client").startswith(HELLO):
        return ""
    return (
        "The client spoke TLS, and the server does not: use server.url, which begins with http, "
        "or start the server with TLS."
    )


def began_no_tls(fault: Fault, part: Key, attempt: Attempt) -> str:
    """The server waits for the client's handshake, and the client has sent none of it."""
    if attempt.point != "handshake" or attempt.ended_by != "client" or attempt.tls != TlsFacts():
        return ""
    if attempt.fault.starts_tls:
        return NOT_AFTER_STARTTLS
    instead = "at='accept' or a script" if takes_any_point(fault, part) else "a script"
    return f"The client began no TLS: if it waits for the server to speak first, use {instead} with starttls()."


def asked_for_no_tls(fault: Fault, part: Key, attempt: Attempt) -> str:
    """The client has asked for none of the TLS that begins inside its protocol."""
    at_handshake = part in (CERTIFICATE, TERMS) or (fault.break_ is not None and fault.break_.at == "handshake")
    spoke = attempt.point in ("request", "response") and attempt.tls is None
    return (
        "The client never asked for TLS: it has to send STARTTLS, or what its protocol has for that."
        if at_handshake and spoke
        else ""
    )


def showed_no_certificate(_: Fault, _part: Key, attempt: Attempt) -> str:
    """The server requires a certificate of the client, and the client has shown none."""
    if NO_CERTIFICATE not in attempt.note:
        return ""
    return "The client showed no certificate, which tls='mutual' requires: give it server.client_cert_file."


def shows_a_later_certificate(fault: Fault, _: Key, attempt: Attempt) -> str:
    """The certificate is for later connections than that of the attempt."""
    first = fault.certificate.from_connection if fault.certificate is not None else 1
    return (
        f"It strikes from connection {first} on; this was connection {attempt.connection}."
        if (attempt.connection or 0) < first > 1
        else ""
    )


def did_not_trust(_: Fault, part: Key, attempt: Attempt) -> str:
    """The client looked for the issuer of the certificate, and has gone no further."""
    if attempt.tls is None or attempt.tls.alert != "unknown_ca":
        return ""
    so = "so it never judged the certificate" if part == CERTIFICATE else "so it left in the handshake"
    return (
        f"The client does not trust server.ca_file, {so}: use server.trust(monkeypatch), "
        "or pass the file to the client (for requests, REQUESTS_CA_BUNDLE wins over session.verify)."
    )


def met_the_terms(fault: Fault, _: Key, attempt: Attempt) -> str:
    """The handshake was completed, although its terms are a fault."""
    terms = fault.terms
    if terms is None or not terms.is_fault or fault.break_ is not None or not is_before("handshake", attempt.point):
        return ""
    if terms.is_of_protocols and attempt.tls is not None and not attempt.tls.offered:
        return "The client offered no protocols: let it offer h2 or http/1.1 by ALPN."
    return "The client accepted these terms of TLS."


# --- what was asked --------------------------------------------------------------------------------------------------


def sent_nothing(fault: Fault, part: Key, attempt: Attempt) -> str:
    """The server waits for the request, and the client waits for the server."""
    if attempt.point != "request" or attempt.received_bytes or fault.script is not None:
        return ""
    instead = "at='accept' or a script" if takes_any_point(fault, part) else "a script"
    return f"The client said nothing: if it waits for the server to speak first, use {instead}."


def asked_otherwise(fault: Fault, part: Key, attempt: Attempt) -> str:
    """The answer is wrong for HEAD only."""
    answer = answer_of(fault, part)
    is_other = attempt.request is not None and attempt.request.method not in ("", "HEAD")
    return "The client sent no HEAD request." if answer is not None and answer.bodies_head and is_other else ""


def had_no_body(fault: Fault, part: Key, attempt: Attempt) -> str:
    """The strike waits for the body, and the response has none (RFC 9112, 6.3)."""
    status = re.match(rb"HTTP/1\.[01] (204|304) ", begins(attempt, "server"))
    if begins(attempt, "client").startswith(b"HEAD "):
        whose, instead = "to HEAD", "use GET"
    elif status:
        whose, instead = f"with status {status[1].decode()}", "serve another status"
    else:
        return ""
    sent, trigger = attempt.sent_bytes, waited_for(fault, part)
    answer, at_byte = answer_of(fault, part), byte_of(fault, part)
    if trigger is not None and trigger.after_bytes > sent:
        instead += f", or after_bytes up to {sent}"
    elif at_byte is not None and at_byte >= sent:
        instead += f", or at_byte below {sent}"
    elif (trigger is None or not (trigger.on or trigger.after_body_bytes)) and (
        answer is None or not answer.lies_in_body
    ):
        return ""
    return f"The response {whose} has no body, only a head of {counted(sent, 'byte')}: {instead}."


def did_not_wait(fault: Fault, _: Key, attempt: Attempt) -> str:
    """The client sent its body before the server asked for it."""
    lies = fault.break_ is None and fault.script is not None
    lies = lies and ReceiveRequest(continues=False) in every(fault.script.steps if fault.script else ())
    return "The client did not wait for 100 Continue." if lies and attempt.request is not None else ""


def was_the_last_datagram(fault: Fault, part: Key, _: Attempt) -> str:
    """The answer goes after that to a later datagram."""
    waits = part == BREAK and isinstance(fault.fate, Behind)
    return "This answer is sent after the answer to a later datagram, and no later datagram came." if waits else ""


def reached_no_upstream(_: Fault, _part: Key, attempt: Attempt) -> str:
    """A relay or a proxy got no connection to its upstream, so that nothing has passed."""
    return "There was no connection to the upstream: is it running?" if UNREACHED in attempt.note else ""


def opened_no_tunnel(fault: Fault, _: Key, attempt: Attempt) -> str:
    """The proxy was asked to fetch a URL, and not for a tunnel; or it has refused, or was not asked at all."""
    at, request = fault.break_.at if fault.break_ else "response", attempt.request
    if FACTS[at].of != "tunnel" or not is_before(attempt.point, at) or not attempt.received_bytes:
        return ""
    if lacked := lacked_credentials(attempt):
        return f"The client gave {lacked}: use server.proxy_url, which contains them."
    if request is None and begins(attempt, "client").startswith(SOCKS):
        return ""  # it left before it had named its target
    if request is None or not request.method:
        return "The client did not speak the protocol of the proxy: use server.proxy_url, which names it."
    if request.method in ASK_FOR_TUNNEL:
        return "" if UNREACHED in attempt.note else "The proxy refused to open the tunnel."
    return "No tunnel was opened, as http:// needs none: ask for an https:// URL."


# --- what passed -----------------------------------------------------------------------------------------------------


def changed_nothing(fault: Fault, part: Key, attempt: Attempt) -> str:
    """The bytes that a condition is to change have not passed."""
    if part.kind != "condition":
        return ""
    condition = fault.conditions[part.number]
    if not condition.is_certain and attempt.sent_bytes:
        return "Chance changed nothing."
    passed = {"request": attempt.received_bytes, "response": attempt.sent_bytes}.get(condition.direction)
    if passed is None:
        return ""
    if not passed:
        return f"No byte of the {condition.direction} passed."
    at_byte = byte_of(fault, part)
    if at_byte is None:
        return f"The {counted(passed, 'byte')} of the {condition.direction} came in one piece."
    return f"It begins at byte {at_byte}, and the {condition.direction} had only {counted(passed, 'byte')}."


# --- how it ended ----------------------------------------------------------------------------------------------------


def was_not_kept_alive(fault: Fault, part: Key, attempt: Attempt) -> str:
    """The connection ended with the response."""
    brk = fault.break_
    if brk is None or part != BREAK or brk.facts.of != "idle":
        return ""
    if attempt.point == "idle" and attempt.ended_by is None:
        return "The next request came first."
    if not attempt.sent_bytes or is_before(attempt.point, "response") or attempt.ended_how == "stop":
        return ""
    seconds, request = brk.trigger.after_seconds, attempt.request
    closes = request is not None and "close" in (request.header("connection") or "").lower()
    why = "request had Connection: close" if closes else f"{attempt.ended_by} closed the connection after the response"
    longer = f" for {seconds:g} s" * bool(seconds)
    return f"The {why}: use at='response', or a client that keeps connections open{longer}, such as a pool."


def ended_first(fault: Fault, part: Key, attempt: Attempt) -> str:
    """The client has ended the conversation, or the test has."""
    who = "The server was closed first" if attempt.ended_how == "stop" else "The client left first"
    if attempt.ended_by != "client" and attempt.ended_how != "stop":
        return ""
    trigger = waited_for(fault, part)
    if trigger is not None and trigger.after_seconds:
        return f"{who}, before after_seconds={trigger.after_seconds:g} had passed."
    if waits_in_script(fault, attempt):
        return f"{who}, while the script waited for the client."
    slow = " and the ".join(condition.word for condition in fault.conditions)
    return f"{who}: its timeout may be too short for the {slow}." if slow and left_early(fault, attempt) else f"{who}."


Reason: TypeAlias = Callable[[Fault, Key, Attempt], str]
# What ends an attempt whatever its fault is.
OF_ANY_FAULT: tuple[Reason, ...] = (
    spoke_no_tls,
    spoke_tls,
    did_not_trust,
    showed_no_certificate,
    began_no_tls,
    asked_for_no_tls,
    reached_no_upstream,
    asked_for_no_websocket,
    sent_malformed_frame,
    spoke_no_http2,
)
REASONS: tuple[Reason, ...] = (
    held_by_test,
    ended_by_test,
    time_was_not_over,
    gate_was_closed,
    too_few_requests,
    opened_no_tunnel,
    *OF_ANY_FAULT,
    shows_a_later_certificate,
    sent_nothing,
    met_the_terms,
    asked_otherwise,
    had_no_body,
    did_not_wait,
    was_not_kept_alive,
    was_the_last_datagram,
    changed_nothing,
    had_a_shorter_body,
    was_too_short,
    time_did_not_begin,
    sent_no_frame_to_leave,
    offered_no_subprotocol,
    sent_no_ping,
    closed_websocket,
    ended_first,
)
