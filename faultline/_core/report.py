"""Show the ledger as text and as a drawing, for the command line, the guard and reports.

A drawing has the client on the left and the server on the right, time going down, one line for each turn, and the
strike as a double line.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import dropwhile
from typing import TypeAlias

from faultline._core.ends import Party
from faultline._core.fault import Fault
from faultline._core.ledger import Attempt
from faultline._core.points import FACTS
from faultline._core.scripted import is_fault
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
    Repeat,
    Reset,
    Step,
    Twice,
    Vanish,
    every,
    is_final,
    waits,
)

Act: TypeAlias = Step | Door | Lookup | Fate


def describe(attempt: Attempt) -> str:
    """An attempt in a line: its request, its last point, its strike, and the side that ended it."""
    request = attempt.request
    asked = f" {request.method} {request.target}" if request and request.method else ""
    struck = attempt.struck
    fate = f"{attempt.fault!r} struck at {struck.point!r}" if struck else f"{attempt.fault!r} reached {attempt.point!r}"
    note = f" ({attempt.note})" if attempt.note else ""
    return (
        f"#{attempt.number}{asked}: {fate}, received {attempt.received_bytes} and sent {attempt.sent_bytes} bytes, "
        f"{ending(attempt)}{note}"
    )


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
WIDTH = 65  # of the drawing between its two sides; with the times it fits 80 columns


def draw(attempts: Sequence[Attempt], title: str, *, most: int = 20, nobody: str = "no client connected") -> str:
    """A drawing of the last attempts, at most `most` of them."""
    lines = [title]
    if not attempts:
        lines.append(f"  {nobody}")
    if len(attempts) > most:
        lines.append(f"  ({len(attempts) - most} earlier attempts left out)")
    known = {attempt.connection for attempt in attempts[:-most]}
    for attempt in attempts[-most:]:
        where = "" if attempt.connection is None else f", connection {attempt.connection}"
        lines.append(f"#{attempt.number} {attempt.fault!r}{where}")
        opens = not FACTS[attempt.point].is_connected or attempt.connection not in {None, *known}
        known.add(attempt.connection)
        lines += [f"  {at:8.3f} s |{arrow}|" for at, arrow in arrows(attempt, opens=opens)]
        lines += [f"             {remark}" for remark in remarks(attempt)]
    return "\n".join(lines)


def arrows(attempt: Attempt, *, opens: bool = True) -> list[tuple[float, str]]:
    """The times and the arrows of an attempt, in order."""
    begins = "connect"
    if FACTS[attempt.point].of == "lookup" and attempt.request is not None:
        begins = f"{attempt.request.method} {attempt.request.target}"
    drawn = [(attempt.started_seconds, arrow(begins, "client"))] if opens else []
    for turn in attempt.turns[:10]:
        said = repr(turn.begins.partition(b"\n")[0].rstrip(b"\r"))[2:-1]  # no control character reaches a terminal
        drawn.append((turn.at_seconds, arrow(f"{turn.count_bytes} bytes: {said}", turn.by)))
    if len(attempt.turns) > 10:  # noqa: PLR2004 - the first turns show the protocol
        drawn.append((attempt.turns[10].at_seconds, f"{f'... {len(attempt.turns) - 10} more turns ...':^{WIDTH}}"))
    if (struck := attempt.struck) is not None:
        what = f"struck at {struck.point!r}" + (f" after {struck.after_bytes} bytes" if struck.after_bytes else "")
        drawn.append((struck.at_seconds, arrow(f"{verb_of(attempt.fault)}: {what}", "server", "=")))
    drawn.sort(key=lambda item: item[0])
    if attempt.ended_seconds is not None and attempt.ended_by is not None and (last := last_event(attempt)):
        drawn.append((attempt.ended_seconds, arrow(last, attempt.ended_by)))
    return drawn


def last_event(attempt: Attempt) -> str:
    """How an attempt ended; empty if the arrow of the strike or of an answer shows that already."""
    how = str(attempt.ended_how)
    if how == "answer" and attempt.sent_bytes:
        return ""
    at_once, later = acts_of(attempt.fault)
    ends = is_final((*at_once, *later)[-1]) if at_once else False
    if attempt.struck is None or not ends or attempt.ended_by != "server" or how == "stop":
        return how
    return ", ".join(seen(later))


def arrow(text: str, by: Party, line: str = "-") -> str:
    """An arrow from the side that sends to the other side."""
    room = WIDTH - 8
    label = f" {text if len(text) <= room else text[: room - 3] + '...'} "
    drawn = f"{line * 3}{label}".ljust(WIDTH - 1, line)
    return f"{drawn}>" if by == "client" else f"<{drawn}"


def verb_of(fault: Fault) -> str:
    """How a strike of this fault looks on the wire."""
    at_once, _ = acts_of(fault)
    looks = seen(at_once)
    if fault.certificate is not None and fault.certificate.is_fault:
        looks.append(f"certificate {fault.certificate.kind}")
    return ", ".join(looks) or (repr(fault) if fault.strikes else "")


def acts_of(fault: Fault) -> tuple[tuple[Act, ...], tuple[Act, ...]]:
    """The steps of a fault at its strike, up to the first step that lasts, and the steps after that."""
    does = fault.break_.does if fault.break_ else ()
    script = every(fault.script.steps if fault.script else ())
    from_fault_on = dropwhile(lambda step: not is_fault(step), script)
    played = (step for step in from_fault_on if not isinstance(step, (Planned, Repeat)))
    acts = (*(does if isinstance(does, tuple) else (does,)), *played)
    ends = next((i for i, act in enumerate(acts, 1) if waits(act)), len(acts))
    return acts[:ends], acts[ends:]


def seen(acts: tuple[Act, ...]) -> list[str]:
    """How these steps look on the wire; a step that can't be seen is left out."""
    return [VERBS[type(act)] for act in acts if type(act) in VERBS]


def remarks(attempt: Attempt) -> list[str]:
    """Facts about an attempt that no arrow shows."""
    said = [attempt.note] if attempt.note else []
    certificate = attempt.fault.certificate
    if attempt.waited_seconds is not None and not (certificate is not None and certificate.is_fault):
        said.append(f"the client gave up {attempt.waited_seconds:.3f} s after the strike")
    return said


def hung(attempts: Sequence[Attempt], now: float) -> str | None:
    """Where a client without a timeout still waits, as a sentence for a test that hangs; `None` if none waits."""
    for attempt in reversed(attempts):
        waits = attempt.ended_seconds is None and (FACTS[attempt.point].of != "idle" or attempt.struck is not None)
        # The timeout's exception may have closed the client's socket just before.
        gone = attempt.ended_by == "client" and now - (attempt.ended_seconds or 0.0) < JUST_NOW_SECONDS
        if waits or gone or attempt.ended_how == "silence":
            since = attempt.struck.at_seconds if attempt.struck else attempt.started_seconds
            return (
                f"the client was still waiting at `{attempt.point}`, {now - since:.1f} s: it has no timeout "
                f"(attempt {attempt.number}, {attempt.fault!r})"
            )
    return None
