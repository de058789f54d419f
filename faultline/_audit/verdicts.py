"""Verdicts: what an observation says about the client, each with its reason in one sentence.

Rules: one small pure function for each verdict, in the order of their weight; `None` says that it doesn't apply. A case
with no other verdict is `handled`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from statistics import fmean
from typing import Literal, TypeAlias, get_args

from faultline._audit.observed import Observation, backs_off, intervals, method_of
from faultline._audit.outcomes import Call, Left
from faultline._core.attempts import Attempt
from faultline._core.counts import counted
from faultline._core.steps import Vanish
from faultline._core.tls_facts import NO_TLS

Verdict: TypeAlias = Literal[
    "crashed",
    "hung",
    "accepted a bad certificate",
    "fell back to plain text",
    "poisoned",
    "swallowed",
    "retried a POST",
    "ignored Retry-After",
    "hammered",
    "leaked",
    "unexpected",
    "inconsistent",
    "not run",
    "handled",
]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
FINE: tuple[Verdict, ...] = ("handled", "not run")
MANY = 10  # attempts in one call, from which on they have to slow down
PAUSE_SECONDS = 1.0  # between attempts, which need not slow down then
EARLY = 0.9  # of the time that Retry-After says: clocks and rounding are not what it is about
REDIRECTS = range(300, 400)
EXIT = "exit status"  # how a command says what is wrong
PLAIN_HTTP = f"{NO_TLS}: http request"  # the end is OpenSSL's
UNSAFE_AGAIN = ("POST", "PATCH")  # not idempotent: RFC 9110, 9.2.2


@dataclass(frozen=True)
class Finding:
    """A verdict with its reason.

    .. versionadded:: 0.1

    Attributes:
        verdict: the verdict, such as `hung`; `handled` if nothing was found.
        reason: the reason, in one sentence.
    """

    verdict: Verdict
    reason: str


def crashed(seen: Observation) -> str | None:
    """The process of the client came to an end of its own."""
    return f"the process ended in the call: {seen.last.what}." if seen.last.outcome == "crashed" else None


def hung(seen: Observation) -> str | None:
    """The client still waited at the end of its time."""
    if seen.last.outcome != "hung":
        return None
    still = f"it was still waiting after {seen.limit_seconds:g} s"
    attempts = seen.attempts_of(len(seen.calls) - 1)
    tries_again = len([each for each in attempts if failed(seen, each)]) > 1
    if len(attempts) >= MANY or (tries_again and not seen.last.is_busy):
        return f"it tries on and on: {still}, with {counted(len(attempts), 'attempt')}."
    if seen.last.is_busy:
        return f"it hangs by itself: it was still computing after {seen.limit_seconds:g} s."
    what, point = waits_at(seen)
    return f"{what}: {still}, {f'at {point!r}' if point else 'and no connection was open'}."


def failed(seen: Observation, attempt: Attempt) -> bool:
    """Whether an attempt got no response that a client is content with, so that the next one tries again."""
    answer = seen.fault.http_answer
    if answer is not None and answer.status in REDIRECTS:  # to follow is not to try again
        return False
    struck = any(strike.part.kind != "condition" and not is_idle(strike.point) for strike in attempt.strikes)
    return seen.fault.door is not None or struck


def waits_at(seen: Observation) -> tuple[str, str]:
    """What a client that hangs has no timeout of, and at which point; no point if no connection is open."""
    if seen.point == "lookup":
        return "no timeout of the lookup", "lookup"
    open_ = [attempt for attempt in seen.attempts if attempt.ended_seconds is None or attempt.ended_how == "silence"]
    if isinstance(seen.fault.door, Vanish) or (open_ and open_[-1].point == "connect"):
        return "no connect timeout", "connect"
    if not open_:
        return "it hangs by itself", ""
    struck = open_[-1].struck
    point = struck.point if struck is not None else open_[-1].point
    return f"no read timeout{' in the TLS handshake' * (seen.tls and point in ('accept', 'handshake'))}", point


def accepted_bad_certificate(seen: Observation) -> str | None:
    """Data of the client went to a server that it had no reason to trust."""
    certificate = seen.fault.certificate
    if certificate is None or not certificate.is_fault or seen.case.sees != "SSLCertVerificationError":
        return None
    told = max((a.received_bytes for a in seen.attempts if a.tls is not None and a.tls.version), default=0)
    return f"it sent {counted(told, 'byte')} to a server with a bad certificate ({certificate.kind})." if told else None


def fell_back(seen: Observation) -> str | None:
    """A client of https asked without TLS."""
    if not seen.tls:
        return None
    plain = [attempt for attempt in seen.attempts if attempt.note == PLAIN_HTTP]
    return f"attempt {plain[0].number} spoke without TLS to an address of https." if plain else None


def poisoned(seen: Observation) -> str | None:
    """The second response was another one, because bytes of the first were taken for its beginning."""
    answer = seen.fault.answer
    if answer is None or not answer.is_fault or [call.outcome for call in seen.calls] != ["returned", "returned"]:
        return None
    if len(set(seen.usual.digests)) > 1 or seen.first.digest == seen.last.digest:
        return None
    before, again = seen.attempts_of(0), seen.attempts_of(1)
    if not before or not again or before[-1].connection != again[0].connection:
        return None
    return f"the next call returned other content, {seen.last.what}: what was left over came first."


def swallowed(seen: Observation) -> str | None:
    """The client returned as usual although the response was cut."""
    if seen.first.outcome != "returned" or not (attempts := seen.attempts_of(0)):
        return None
    last = attempts[-1]
    if not is_cut(seen, last):
        return None
    of = f" of {counted(seen.usual.sent_bytes, 'byte')}" if seen.fault.answer is None and seen.usual.sent_bytes else ""
    came = f"{last.sent_bytes}{of}" if of else counted(last.sent_bytes, "byte")
    return f"it returned {seen.first.what} although only {came} came."


def is_cut(seen: Observation, last: Attempt) -> bool:
    """Whether the client can't have got a whole response."""
    if not last.strikes:
        return False
    if any(strike.part.kind == "break" and not is_idle(strike.point) for strike in last.strikes):
        if seen.case.sees == "the response":
            return False
        if seen.is_whole is not None:
            return not seen.is_whole
        if seen.case.sees != "end of stream":
            return True
        return seen.protocol == "tcp" and last.sent_bytes < seen.usual.sent_bytes
    return seen.is_whole is False


def is_idle(point: str) -> bool:
    """Whether a response is complete there."""
    return point == "idle"


def retried_unsafe(seen: Observation) -> str | None:
    """A request that may have been carried out was sent again."""
    for number in range(len(seen.calls)):
        attempts = seen.attempts_of(number)
        for before, again in pairwise(attempts):
            method = method_of(before)
            broke = any(strike.part.kind == "break" for strike in before.strikes)
            if broke and method in UNSAFE_AGAIN and method_of(again) == method and before.received_bytes:
                word = "" if before.request is None else ", which was all of it"
                read = counted(before.received_bytes, "byte")
                return f"it sent a {method} again after the server had read {read}{word}."
    return None


def ignored_retry_after(seen: Observation) -> str | None:
    """The client asked again before the time that the server had said."""
    answer = seen.fault.http_answer
    said = next((value for name, value in answer.headers if name.lower() == "retry-after"), "") if answer else ""
    if not said.isdecimal():
        return None
    gaps = [gap for number in range(len(seen.calls)) for gap in intervals(seen.attempts_of(number))]
    if gaps and min(gaps) < EARLY * int(said):
        return f"it asked again after {min(gaps):.2f} s, although Retry-After said {said} s."
    return None


def hammered(seen: Observation) -> str | None:
    """The client made many attempts, more than one in a second, and did not slow down."""
    answer = seen.fault.http_answer
    if answer is not None and answer.status in REDIRECTS:  # to follow is not to try again
        return None
    for number in range(len(seen.calls)):
        attempts = seen.attempts_of(number)
        gaps = intervals(attempts)
        if len(attempts) >= MANY and fmean(gaps) < PAUSE_SECONDS and not backs_off(gaps):
            return f"it made {counted(len(attempts), 'attempt')} in {sum(gaps):.2f} s without backing off."
    return None


def leaked(seen: Observation) -> str | None:
    """More is left behind than after calls in which nothing breaks."""
    if seen.last.outcome not in ("returned", "raised"):
        return None
    usual = seen.usual.left_after(len(seen.calls))
    if seen.fault.is_healthy and len(seen.calls) > 1:
        usual = seen.first.left  # a pool keeps as much after the second call as after the first
    more = seen.last.left.beyond(usual)
    return None if more.is_empty else f"it left behind {listed(more)} more than usual."


NAMES = {
    "sockets": "socket",
    "files": "file descriptor",
    "threads": "thread",
    "tasks": "task",
    "children": "program",
}


def listed(left: Left) -> str:
    """What is left, in words."""
    parts = []
    for each in fields(left):
        count = getattr(left, each.name)
        if count and each.name in NAMES:
            waits = f" ({left.close_wait} in CLOSE_WAIT)" if each.name == "sockets" and left.close_wait else ""
            parts.append(counted(count, NAMES[each.name]) + waits)
    return ", ".join(parts)


def unexpected(seen: Observation) -> str | None:
    """The client raised another exception than it should."""
    for call in seen.calls:
        if call.outcome == "raised" and not call.is_expected:
            return f"it raised {call.what}, which is not what --expect names."
    return None


# The verdicts with what reaches them, in the order of their weight.
TABLE: tuple[tuple[Verdict, Callable[[Observation], str | None]], ...] = (
    ("crashed", crashed),
    ("hung", hung),
    ("accepted a bad certificate", accepted_bad_certificate),
    ("fell back to plain text", fell_back),
    ("poisoned", poisoned),
    ("swallowed", swallowed),
    ("retried a POST", retried_unsafe),
    ("ignored Retry-After", ignored_retry_after),
    ("hammered", hammered),
    ("leaked", leaked),
    ("unexpected", unexpected),
)


def judged(runs: Sequence[Observation]) -> tuple[Finding, ...]:
    """The findings of all runs of a case, the most serious first; `handled` if there is none."""
    found: dict[Verdict, str] = {}
    for verdict, applies in TABLE:
        reason = next((reason for seen in runs if (reason := applies(seen))), None)
        if reason is not None:
            found[verdict] = reason
    ways = [told(seen.first) for seen in runs]
    if len(set(ways)) > 1:
        found["inconsistent"] = f"two runs differ: {' and '.join(dict.fromkeys(ways))}."
    if not found:
        found["handled"] = handled(runs[0])
    return tuple(Finding(verdict, reason) for verdict, reason in found.items())


def told(call: Call) -> str:
    """How a call ended, without what differs from run to run."""
    if call.outcome == "raised" and call.what.startswith(EXIT):
        return f"ended with {call.what}"
    if call.outcome == "crashed":
        return f"ended its process ({call.what})"
    return f"{call.outcome} {call.what}".rstrip() + (f" < {call.cause}" if call.cause not in ("", call.what) else "")


def handled(seen: Observation) -> str:
    """What the client did, where nothing is wrong with it."""
    tries = "" if len(seen.attempts_of(0)) < 2 else f", {counted(len(seen.attempts_of(0)), 'attempt')}"  # noqa: PLR2004 - one is usual
    return f"it {told(seen.first)} in {seen.first.seconds:.2f} s{tries}."
