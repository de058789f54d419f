"""Reasons: why the trigger of a break was not met."""

from __future__ import annotations

import re

from faultline._core.attempts import Attempt
from faultline._core.breaks import Break
from faultline._core.counts import counted
from faultline._core.ends import Party
from faultline._core.fault import Fault
from faultline._core.heads import Head
from faultline._core.points import is_before
from faultline._core.promises import BREAK, Key
from faultline._core.shown import left_early, left_first, left_in_the_middle, said_by

ENDS = {"client": "The client left first", "upstream": "The upstream ended the connection first"}


def time_was_not_over(fault: Fault, part: Key, attempt: Attempt) -> str:
    """The connection has ended before the time of the break was over."""
    brk = fault.break_
    if part != BREAK or brk is None or not brk.lasts or is_before(attempt.point, brk.at):
        return ""
    by = left_first(attempt) or attempt.ended_by or ""
    who = "The server was closed first" if attempt.ended_how == "stop" else ENDS.get(by, "")
    return f"{who}, before after_seconds={brk.trigger.after_seconds:g} had passed." if who else ""


def time_did_not_begin(fault: Fault, part: Key, attempt: Attempt) -> str:
    """The connection never came to the point where the time of the break begins."""
    brk = fault.break_
    if part != BREAK or brk is None or not brk.trigger.after_seconds or not is_before(attempt.point, brk.at):
        return ""
    earlier = ": use at='accept', where it begins at once" * brk.lasts
    return f"The time of after_seconds={brk.trigger.after_seconds:g} begins at {brk.at!r}{earlier}."


def gate_was_closed(fault: Fault, part: Key, attempt: Attempt) -> str:
    """The connection has ended while the break waited for its gate."""
    brk = fault.break_
    gate = brk.trigger.until if brk is not None and part == BREAK else None
    if gate is None or gate.is_open or brk is None or is_before(attempt.point, brk.at):
        return ""
    return "The gate was not opened: call its open() while the client waits."


def too_few_requests(fault: Fault, part: Key, attempt: Attempt) -> str:
    """The connection has carried fewer requests than the break waits for."""
    after = fault.break_.trigger.after_requests if fault.break_ is not None and part == BREAK else 0
    if not after or attempt.ended_by is None:
        return ""
    return (
        f"The connection ended before after_requests={after} had passed on it: use a client that keeps connections "
        "open, such as a pool, or sequence(…), which counts the requests of all connections."
    )


def was_too_short(fault: Fault, _: Key, attempt: Attempt) -> str:
    """Fewer bytes or messages have passed than the trigger waits for."""
    brk = fault.break_
    if brk is None or not brk.facts.counts_bytes or is_before(attempt.point, brk.at) or left_early(fault, attempt):
        return ""
    if not brk.facts.hears:
        return "The handshake was over before this number of bytes: use a smaller after_bytes."
    return too_few_bytes(brk, attempt) or too_few_messages(brk, attempt) or passed_elsewhere(brk, attempt)


def too_few_bytes(brk: Break, attempt: Attempt) -> str:
    """The trigger counts more bytes than have passed."""
    passed = attempt.received_bytes if brk.facts.speaks == "client" else attempt.sent_bytes
    counts_body = brk.trigger.after_body_bytes is not None
    if (passed >= brk.trigger.after_bytes and not counts_body) or (attempt.ended_by, attempt.ended_how) == (
        "client",
        "RST",
    ):
        return ""
    if counts_body:
        return body_was_too_short(brk, attempt, passed)
    if left_first(attempt) == "upstream":
        return f"The upstream ended the connection after {counted(passed, 'byte')}: strike after fewer bytes."
    longer = {"client": "have the client send more", "server": "serve a longer answer"}
    return f"Strike after fewer bytes, or {longer[brk.facts.speaks or 'server']}."


def body_was_too_short(brk: Break, attempt: Attempt, passed_bytes: int) -> str:
    """The trigger counts more bytes of a body than have passed, or there was no body."""
    kept, head = b"".join(turn.begins for turn in attempt.turns if turn.by == brk.facts.speaks), Head()
    if head.bytes_of(kept) == passed_bytes and not head.is_over:
        return "No head of an HTTP message was complete: use after_bytes, which counts the bytes of any protocol."
    instead = "have the client send a longer one" if brk.facts.speaks == "client" else "serve a longer one"
    return f"The body ended before after_body_bytes={brk.trigger.after_body_bytes}: {instead}."


def too_few_messages(brk: Break, attempt: Attempt) -> str:
    """The trigger counts more messages than have passed."""
    after = brk.trigger.after_messages
    sent = sum(turn.by == brk.facts.speaks for turn in attempt.turns)
    if after is not None and sent > after and brk.trigger.after_bytes:
        return f"Message {after + 1} had fewer than after_bytes={brk.trigger.after_bytes}: strike after fewer bytes."
    return (
        f"Strike after fewer messages: {counted(sent, 'message')} passed."
        if after is not None and sent <= after
        else ""
    )


def passed_elsewhere(brk: Break, attempt: Attempt) -> str:
    """The trigger looks for bytes that have not passed, or that the other side has sent."""
    on = brk.trigger.on
    if on is None:
        return ""
    marker = on if isinstance(on, bytes) else on.pattern
    pattern = re.compile(re.escape(on)) if isinstance(on, bytes) else on
    awaited = brk.facts.speaks
    other: Party = "server" if awaited == "client" else "client"
    at = "response" if other == "server" else "request"
    if brk.facts.is_exchange and pattern.search(said_by(other, attempt)):
        return f"{marker!r} came from the {other}, and on= searches the bytes of the {awaited} here: use at={at!r}."
    if left_in_the_middle(attempt):
        return ""
    where = f" from the {awaited}; at={at!r} looks in the bytes of the {other}" if brk.facts.is_exchange else ""
    return f"{marker!r} never came{where}. In bytes that are encrypted or compressed it can't be found."
