"""Words about attempts, for the command line, the guard and reports: an attempt in a line, and where a client hangs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from faultline._core.attempts import Attempt
from faultline._core.counts import counted
from faultline._core.fault import Fault
from faultline._core.points import FACTS
from faultline._core.promises import BREAK, CERTIFICATE, Key, Origin, Strike, key_of, parts_of
from faultline._core.steps import (
    Behind,
    Close,
    Door,
    Fate,
    HalfClose,
    Hold,
    Lookup,
    NoName,
    NoRoute,
    Partition,
    Planned,
    Refuse,
    Renegotiate,
    Reset,
    Respond,
    Send,
    Step,
    Twice,
    Vanish,
    every,
    waits,
)
from faultline._core.websocket_facts import told

Act: TypeAlias = Step | Door | Lookup | Fate


def describe(attempt: Attempt) -> str:
    """An attempt in a line: its request, its last point, its strike, and the side that ended it."""
    request = attempt.request
    asked = "" if attempt.stream is None else f" stream {attempt.stream}"
    asked += f" {request.method} {request.target}" if request and request.method else ""
    struck, fault = attempt.struck, short(attempt.fault)
    fate = f"{fault} struck at {struck.point!r}" if struck else f"{fault} reached {attempt.point!r}"
    note = f" ({attempt.note})" if attempt.note else ""
    passed = f"received {attempt.received_bytes} and sent {counted(attempt.sent_bytes, 'byte')}"
    messages = f", {told(attempt.websocket)}" if attempt.websocket is not None else ""
    return f"#{attempt.number}{asked}: {fate}, {passed}{messages}, {ending(attempt)}{note}"


def ending(attempt: Attempt) -> str:
    """How an attempt ended, and its duration."""
    if attempt.ended_seconds is None:
        return "still open"
    took = f"after {attempt.ended_seconds - attempt.started_seconds:.3f} s"
    if attempt.ended_by is None:
        return f"kept alive {took}"
    return f"ended by the {attempt.ended_by} ({attempt.ended_how}) {took}"


# How the steps of a break look on the wire.
VERBS: dict[type, str] = {
    Behind: "behind the next",
    Close: "FIN",
    HalfClose: "FIN",
    Hold: "silence",
    NoName: "no name",
    NoRoute: "no route",
    Partition: "no packet passes",
    Refuse: "RST",
    Renegotiate: "HelloRequest",
    Reset: "RST",
    Twice: "twice",
    Vanish: "silence",
}
JUST_NOW_SECONDS = 1.0


def name_of(fault: Fault, strike: Strike) -> str:
    """The part of a fault that struck: how it looks on the wire, or its own text."""
    part = next((key for origin, key in strike.marks if same_entry(origin, fault.origin)), None)
    if part is None:
        return f"{strike.part} of an earlier fault"
    if looks := looks_of(fault, part):
        return ", ".join(looks)
    if part == CERTIFICATE and fault.certificate is not None:
        return f"certificate {fault.certificate.kind}"
    texts = {promise.key: promise.text for promise in parts_of(fault)}
    if [*texts] == [part]:
        return short(fault)
    return texts.get(part, str(part)).removeprefix("the ")


def same_entry(one: Origin | None, other: Origin | None) -> bool:
    """Whether two places are of the same entry of a plan, as far as they are known."""
    return one is None or other is None or (one.plan, one.entry) == (other.plan, other.entry)


def short(fault: Fault) -> str:
    """A fault as it was written, without the arguments of long calls."""
    return " & ".join(said.short for said in fault.said) or repr(fault)


def looks_of(fault: Fault, part: Key) -> list[str]:
    """How the strike of a part looks on the wire; a step that can't be seen is left out."""
    return [look for act in acts_of(fault, part) for look in looks_of_act(act)]


def looks_of_act(act: Act) -> list[str]:
    """What an act puts on the wire, or keeps off it."""
    looks = [VERBS[type(act)]] if type(act) in VERBS else []
    return ["FIN", *looks] if isinstance(act, Reset) and act.fin_first else looks


def acts_of(fault: Fault, part: Key) -> tuple[Act, ...]:
    """The steps of a part at its strike, up to the first step that lasts or sends."""
    if part == BREAK:
        does = fault.break_.does if fault.break_ else ()
        acts: tuple[Act, ...] = does if isinstance(does, tuple) else (does,)
    else:
        script = every(fault.script.steps if fault.script else ())
        acts = next((step.steps for step in script if isinstance(step, Planned) and key_of(step) == part), ())
    ends = next((i for i, act in enumerate(acts, 1) if waits(act) or isinstance(act, (Respond, Send))), len(acts))
    return acts[:ends]


def hung(attempts: Sequence[Attempt], now: float) -> str | None:
    """Where a client without a timeout still waits, as a sentence for a test that hangs; `None` if none waits."""
    for attempt in reversed(attempts):
        waits = attempt.ended_seconds is None and (FACTS[attempt.point].of != "idle" or attempt.struck is not None)
        # The timeout's exception may have closed the client's socket just before.
        gone = attempt.ended_by == "client" and now - (attempt.ended_seconds or 0.0) < JUST_NOW_SECONDS
        if waits or gone or attempt.ended_how == "silence":
            since = attempt.struck.at_seconds if attempt.struck else attempt.started_seconds
            return (
                f"no timeout: the client was still waiting at `{attempt.point}` after {now - since:.1f} s "
                f"(attempt {attempt.number}, {attempt.fault!r}{attempt.note and f'; {attempt.note}'})"
            )
    return None
