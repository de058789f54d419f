"""Draw attempts as text: the client on the left, the server on the right, time going down.

There is one line for each turn, each pause and each end, and a double line for a strike. A long conversation is drawn
with its first turns, those around the strike, and the last.
"""

from __future__ import annotations

import textwrap
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from faultline._core.content import protocol_of, scheme_of, words
from faultline._core.counts import counted
from faultline._core.ends import End, Party
from faultline._core.ledger import Attempt
from faultline._core.points import FACTS
from faultline._core.report import acts_of, seen, verb_of
from faultline._core.turns import Turn
from faultline._core.upstream import Upstream

WIDTH = 80
NARROWEST, WIDEST = 40, 120
MARGIN = 15  # the time and the two sides
FIRST, BEFORE, AFTER, LAST = 4, 3, 2, 3  # the turns that are drawn of a long conversation
MOST_TURNS = FIRST + BEFORE + AFTER + LAST
DRAWN_PAUSES = 2  # of a turn
STOPPED = "still open when the server stopped"
CLOSE_SECONDS = 0.02  # ends of a side within this time are one arrow
RED, USUAL = "\x1b[1;31m", "\x1b[0m"


@dataclass(frozen=True)
class Line:
    """A line between the two sides.

    Attributes:
        at_seconds: its time.
        text: its text.
        by: the side where the arrow begins; `None` for a line without an arrow.
        is_strike: whether it is a strike.
    """

    at_seconds: float
    text: str
    by: Party | None = None
    is_strike: bool = False

    def drawn(self, room: int, *, color: bool = False) -> str:
        """The line with its time, `room` characters between the sides."""
        inside = f"{shortened(self.text, room):^{room}}"
        if self.by is not None:
            inside = arrow(self.text, self.by, "=" if self.is_strike else "-", room)
        if color and self.is_strike:
            inside = f"{RED}{inside}{USUAL}"
        return f"  {self.at_seconds:8.3f} s |{inside}|"


def draw(
    attempts: Sequence[Attempt],
    title: str,
    *,
    most: int = 20,
    dropped: int = 0,
    nobody: str = "no client connected",
    width: int = WIDTH,
    color: bool = False,
    held: Container[int | None] = (),
    still_open: str = "still open",
) -> str:
    """A drawing of the last attempts, at most `most` of them, in lines of at most `width` characters.

    The last attempt of each connection in `held` is remarked to be `still_open`.
    """
    width = min(max(width, NARROWEST), WIDEST)
    lines = wrapped(title, width, "  ")
    if not attempts:
        lines.append(f"  {nobody}")
    if dropped:
        lines.append(f"  ({counted(dropped, 'older attempt')} no longer kept)")
    if len(attempts) > most:
        lines.append(f"  ({counted(len(attempts) - most, 'earlier attempt')} left out)")
    known = {attempt.connection for attempt in attempts[:-most]}
    last = {attempt.connection: attempt for attempt in attempts}
    for attempt in attempts[-most:]:
        opens = not FACTS[attempt.point].is_connected or attempt.connection not in {None, *known}
        known.add(attempt.connection)
        lines += wrapped(heading(attempt), width, "  ")
        lines += [line.drawn(width - MARGIN, color=color) for line in lines_of(attempt, opens=opens)]
        is_held = attempt.connection in held and attempt is last[attempt.connection]
        for remark in (*remarks(attempt), *[still_open] * is_held):
            lines += [" " * 13 + part for part in wrapped(remark, width - 13, "")]
    return "\n".join(lines)


def title_of(url: str, attempts: Sequence[Attempt], upstream: Upstream | None) -> str:
    """The URL of a server, with the scheme of what its clients speak; of a relay also the address of its upstream."""
    usual, _, place = url.partition("://")
    if upstream is None:
        return f"{scheme_of(attempts, usual)}://{place}"
    return f"relay {scheme_of(attempts, 'tcp')}://{place} to {upstream}"


def heading(attempt: Attempt) -> str:
    """The number of an attempt, its fault, its connection and its protocol."""
    where = "" if attempt.connection is None else f", connection {attempt.connection}"
    protocol = protocol_of(attempt)
    return f"#{attempt.number} {attempt.fault!r}{where}{f', {protocol}' if protocol else ''}"


# --- the lines of an attempt -----------------------------------------------------------------------------------------


def lines_of(attempt: Attempt, *, opens: bool = True) -> list[Line]:
    """The lines of an attempt, in order."""
    begins = "connect"
    if FACTS[attempt.point].of == "lookup" and attempt.request is not None:
        begins = f"{attempt.request.method} {attempt.request.target}"
    drawn = [Line(attempt.started_seconds, begins, "client")] if opens else []
    drawn += turns_of(attempt)
    if (struck := attempt.struck) is not None:
        after = f" after {counted(struck.after_bytes, 'byte')}" if struck.after_bytes else ""
        what = f"struck at {struck.point!r}{after}"
        drawn.append(Line(struck.at_seconds, f"{verb_of(attempt.fault)}: {what}", "server", is_strike=True))
    drawn += ends_of(attempt)
    return sorted(drawn, key=lambda line: line.at_seconds)


def turns_of(attempt: Attempt) -> list[Line]:
    """The lines of the turns, with a line where some are left out."""
    protocol, drawn, last = protocol_of(attempt), [], 0
    for turn in shown(attempt):
        if (left_out := turn.number - last - 1) > 0 and last:
            drawn.append(Line(turn.at_seconds, f"... {counted(left_out, 'more turn')} ..."))
        drawn += [
            Line(turn.at_seconds, f"{counted(turn.count_bytes, 'byte')}: {words(turn, protocol)}", turn.by),
            *pauses_of(turn),
        ]
        last = turn.number
    return drawn


def shown(attempt: Attempt) -> list[Turn]:
    """The turns that are drawn: the first, those around the strike, and the last."""
    turns = attempt.turns
    if len(turns) <= MOST_TURNS:
        return [*turns]
    chosen = {*turns[:FIRST], *turns[-LAST:]}
    if (struck := attempt.struck) is not None:
        at = sum(turn.at_seconds <= struck.at_seconds for turn in turns)
        chosen |= {*turns[max(0, at - BEFORE) : at + AFTER]}
    return [turn for turn in turns if turn in chosen]


def pauses_of(turn: Turn) -> Iterator[Line]:
    """The lines of the pauses of a turn: the first ones, and the sum of the others."""
    for pause in turn.pauses[:DRAWN_PAUSES]:
        after = counted(pause.after_bytes, "byte")
        yield Line(pause.at_seconds, f"... {pause.for_seconds:.3f} s of silence after {after} ...")
    if others := turn.pauses[DRAWN_PAUSES:]:
        total = f"{sum(pause.for_seconds for pause in others):.3f} s"
        summary = f"{counted(len(others), 'more pause')}, {total}{' in all' if len(others) > 1 else ''}"
        yield Line(others[0].at_seconds, f"... {summary} ...")


def ends_of(attempt: Attempt) -> Iterator[Line]:
    """The ends, except for those that the line of the strike or of an answer shows."""
    ends = [end for end in attempt.ends if not (end.how == "answer" and attempt.sent_bytes)]
    struck, shown_there = attempt.struck, seen(acts_of(attempt.fault)[0]) if attempt.struck is not None else []
    kept: list[End] = []
    for end in ends:
        if struck is not None and end.by == "server" and end.at_seconds >= struck.at_seconds and end.how in shown_there:
            shown_there.remove(end.how)
        elif not answers(end, attempt):
            kept.append(end)
    for by, together in groupby(kept, key=lambda end: (end.by, round(end.at_seconds / CLOSE_SECONDS))):
        said = [*together]
        yield Line(said[0].at_seconds, ", ".join(STOPPED if end.how == "stop" else str(end) for end in said), by[0])


def answers(end: End, attempt: Attempt) -> bool:
    """Whether an end of the server only follows the end of the attempt, by another side or by a stop."""
    is_over = attempt.ended_seconds is not None and end.at_seconds > attempt.ended_seconds
    return (
        is_over
        and end.how != "stop"
        and end.by == "server"
        and (attempt.ended_by != "server" or attempt.ended_how == "stop")
    )


def remarks(attempt: Attempt) -> list[str]:
    """Facts about an attempt that no arrow shows."""
    said = [attempt.note] if attempt.note else []
    certificate = attempt.fault.certificate
    if attempt.waited_seconds is not None and not (certificate is not None and certificate.is_fault):
        said.append(f"the client gave up {attempt.waited_seconds:.3f} s after the strike")
    return said


# --- text ------------------------------------------------------------------------------------------------------------


def arrow(text: str, by: Party, line: str = "-", room: int = WIDTH - MARGIN) -> str:
    """An arrow from the side that sends to the other side."""
    drawn = f"{line * 3} {shortened(text, room - 7)} ".ljust(room - 1, line)
    return f"{drawn}>" if by == "client" else f"<{drawn}"


def shortened(text: str, room: int) -> str:
    """A text in one line, cut where it is too long."""
    text = printable(text)
    return text if len(text) <= room else text[: room - 3] + "..."


def printable(text: str) -> str:
    """A text with escapes for the characters that a terminal would act on."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def wrapped(text: str, width: int, indent: str) -> list[str]:
    """A text in lines; the lines after the first are indented."""
    return textwrap.wrap(printable(text), width, subsequent_indent=indent, drop_whitespace=True) or [""]
