"""Advice: why a promise of a plan was not kept, where that follows from the attempts.

A reason is a function of the fault, of the part that never struck, and of an attempt to which the fault was dealt. It
returns a sentence, or an empty string if the attempt doesn't show that reason. The first sentence is the advice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from faultline._core.answers import Answer
from faultline._core.breaks import Break
from faultline._core.fault import Fault
from faultline._core.ledger import Attempt
from faultline._core.plan import Plan, Sometimes, entries_of
from faultline._core.points import FACTS, is_before
from faultline._core.promises import CERTIFICATE, Key
from faultline._core.steps import ReceiveRequest, every

MOST_REQUESTS = 3


def advice(plan: Plan, fault: Fault, part: Key, attempts: Sequence[Attempt]) -> str:
    """What to do about a part of a fault that has not struck, as a sentence; empty if no reason is known."""
    met = [a for a in attempts if a.fault == fault and not any(strike.part == part for strike in a.strikes)]
    if not met:
        return undealt(plan, fault, attempts)
    return next((sentence for reason in REASONS if (sentence := reason(fault, part, met[-1]))), "")


def undealt(plan: Plan, fault: Fault, attempts: Sequence[Attempt]) -> str:
    """Why the fault was dealt to no attempt; empty if the attempts don't show it."""
    entries = entries_of(plan)
    if any(fault in (entry.fault, entry.otherwise) for entry in entries if isinstance(entry, Sometimes)):
        return "Chance did not deal it."
    if fault not in entries:
        asked = dict.fromkeys(f"{a.request.method} {a.request.target}" for a in attempts if a.request is not None)
        return f"No request matched; there was {', '.join([*asked][:MOST_REQUESTS])}." if asked else ""
    if fault.door_seconds is not None:
        return f"No client connected while its {fault.door_seconds:g} s lasted."
    by_connection = getattr(plan, "per", "attempt") == "connection"
    count = len({a.connection for a in attempts}) if by_connection else len(attempts)
    if count >= len(entries):
        return ""
    what = ("connection" if by_connection else "attempt") + ("s" if count > 1 else "")
    return f"The client made {count} {what}, the plan has {len(entries)}."


# --- reasons ---------------------------------------------------------------------------------------------------------


def shows_a_later_certificate(fault: Fault, _: Key, attempt: Attempt) -> str:
    """The certificate is for later connections than that of the attempt."""
    first = fault.certificate.from_connection if fault.certificate is not None else 1
    return f"It strikes from connection {first} of the server on." if (attempt.connection or 0) < first > 1 else ""


def did_not_trust(_: Fault, part: Key, attempt: Attempt) -> str:
    """The client looked for the issuer of the certificate, and has gone no further."""
    if attempt.tls is None or attempt.tls.alert != "unknown_ca":
        return ""
    so = "so it never judged the certificate" if part == CERTIFICATE else "so it left in the handshake"
    return (
        f"The client does not trust server.ca_file, {so}: use server.trust(monkeypatch), "
        "or pass the file to the client (for requests, REQUESTS_CA_BUNDLE wins over session.verify)."
    )


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
        return f"No byte passed {condition.direction!r}."
    begins = getattr(condition, "at_byte", None)
    if begins is None:
        return f"All {passed} bytes that passed {condition.direction!r} were one piece."
    return f"It begins at byte {begins}, and {passed} bytes passed {condition.direction!r}."


def sent_nothing(fault: Fault, _: Key, attempt: Attempt) -> str:
    """The server waits for the request, and the client waits for the server."""
    waits = attempt.point == "request" and attempt.received_bytes == 0 and fault.script is None
    hint = "The client said nothing: if it waits for the server to speak first, use at='accept' or a script."
    return hint if waits else ""


def met_the_terms(fault: Fault, _: Key, attempt: Attempt) -> str:
    """The handshake was completed, although its terms are a fault."""
    refuses = fault.terms is not None and fault.terms.is_fault and fault.break_ is None
    return "The client could meet these terms." if refuses and is_before("handshake", attempt.point) else ""


def asked_otherwise(fault: Fault, _: Key, attempt: Attempt) -> str:
    """The answer is wrong for other methods only."""
    if attempt.request is None or not attempt.request.method or not isinstance(fault.answer, Answer):
        return ""
    is_head = attempt.request.method == "HEAD"
    if fault.answer.bodies_head and not is_head:
        return "The client asked for no HEAD."
    return "The client asked for HEAD, whose response has no body." if fault.answer.lies_in_body and is_head else ""


def did_not_wait(fault: Fault, _: Key, attempt: Attempt) -> str:
    """The client sent its body before the server asked for it."""
    lies = fault.break_ is None and fault.script is not None
    lies = lies and ReceiveRequest(continues=False) in every(fault.script.steps if fault.script else ())
    return "The client did not wait for 100 Continue." if lies and attempt.request is not None else ""


def was_not_kept_alive(fault: Fault, _: Key, attempt: Attempt) -> str:
    """The connection ended with the response."""
    if fault.break_ is None or FACTS[fault.break_.at].of != "idle":
        return ""
    if attempt.point == "response" and attempt.sent_bytes:
        return "The connection was not kept alive; use at='response', or a client that pools connections."
    return "The next request came first." if attempt.point == "idle" and attempt.ended_by is None else ""


def opened_no_tunnel(fault: Fault, _: Key, attempt: Attempt) -> str:
    """The proxy was asked to fetch a URL, and not for a tunnel."""
    at = fault.break_.at if fault.break_ else "response"
    no_tunnel = FACTS[at].of == "tunnel" and is_before(attempt.point, at) and attempt.received_bytes > 0
    return "No tunnel was opened; a fetch by absolute URL, as of http://, needs none." if no_tunnel else ""


def was_too_short(fault: Fault, _: Key, attempt: Attempt) -> str:
    """Fewer bytes or messages have passed than the trigger waits for."""
    brk = fault.break_
    if brk is None or not brk.facts.hears or is_before(attempt.point, brk.at):
        return ""
    return too_few_bytes(brk, attempt) or too_few_messages(brk, attempt) or never_passed(brk)


def too_few_bytes(brk: Break, attempt: Attempt) -> str:
    """The trigger counts more bytes than have passed."""
    passed = attempt.received_bytes if brk.facts.speaks == "client" else attempt.sent_bytes
    if passed >= brk.trigger.after_bytes or (attempt.ended_by, attempt.ended_how) == ("client", "RST"):
        return ""
    longer = {"client": "have the client send more", "server": "serve a longer answer"}
    return f"Strike after fewer bytes, or {longer[brk.facts.speaks or 'server']}."


def too_few_messages(brk: Break, attempt: Attempt) -> str:
    """The trigger counts more messages than have passed."""
    after = brk.trigger.after_messages
    sent = sum(turn.by == brk.facts.speaks for turn in attempt.turns)
    return f"Strike after fewer messages: there were {sent}." if after is not None and sent <= after else ""


def never_passed(brk: Break) -> str:
    """The trigger looks for bytes that have not passed."""
    on = brk.trigger.on
    if on is None:
        return ""
    marker = on if isinstance(on, bytes) else on.pattern
    return f"{marker!r} never came; in bytes that are encrypted or compressed it can't be found."


def left_first(_: Fault, _part: Key, attempt: Attempt) -> str:
    """The client has ended the conversation."""
    return "The client left first." if attempt.ended_by == "client" else ""


REASONS: tuple[Callable[[Fault, Key, Attempt], str], ...] = (
    did_not_trust,
    shows_a_later_certificate,
    sent_nothing,
    met_the_terms,
    asked_otherwise,
    did_not_wait,
    was_not_kept_alive,
    opened_no_tunnel,
    changed_nothing,
    was_too_short,
    left_first,
)
