"""Draw attempts as text: the client on the left, the server on the right, time going down.

There is one line for each turn, each pause and each end, and a double line for a strike. A long conversation is drawn
with its first turns, those around the strike, and the last.
"""

from __future__ import annotations

import textwrap
import unicodedata
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from faultline._core.attempts import Attempt
from faultline._core.content import protocol_of, scheme_of, words
from faultline._core.counts import counted
from faultline._core.ends import End, Party
from faultline._core.points import FACTS
from faultline._core.promises import CERTIFICATE, TERMS, Strike
from faultline._core.report import looks_of, name_of, short
from faultline._core.turns import Turn
from faultline._core.upstream import Upstream

WIDTH = 80
NARROWEST, WIDEST = 40, 120
INDENT = 13  # the time
MARGIN = INDENT + 2  # the time and the two sides
ARROW = 7  # characters of an arrow beside its text
BELOW = 5  # characters in front of the text below an arrow
NARROW = 40  # characters between the sides, under which the words of a turn have a line of their own
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
        is_sample: whether the text may be cut, because it is only the beginning of what was said.
        tail: the end of the text that has a line of its own if the text is too long for one.
    """

    at_seconds: float
    text: str
    by: Party | None = None
    is_strike: bool = False
    is_sample: bool = False
    tail: str = ""

    def drawn(self, room: int, *, color: bool = False) -> list[str]:
        """The line with its time, `room` characters between the sides; a text that may not be cut goes on below."""
        first, *others = self.rows(room)
        rows = [f"{row:^{room}}" for row in (first, *others)]
        if self.by is not None:
            rows = [arrow(first, self.by, "=" if self.is_strike else "-", room)]
            rows += [f"{' ' * BELOW}{row}".ljust(room) for row in others]
        if color and self.is_strike:
            rows = [f"{RED}{row}{USUAL}" for row in rows]
        times = [f"  {self.at_seconds:8.3f} s ", *[" " * INDENT] * len(others)]
        return [f"{time}|{row}|" for time, row in zip(times, rows, strict=True)]

    def rows(self, room: int) -> list[str]:
        """The text in rows; the first shares its row with the arrow."""
        if self.by is None:
            return wrapped(self.text, room, "")
        text, width, below = printable(self.text), room - ARROW, room - BELOW
        if len(text) <= width or (self.is_sample and room >= NARROW):
            return [shortened(text, width)]
        tail = [shortened(self.tail, below)] if self.is_sample else wrapped(self.tail, below, "") * bool(self.tail)
        head = text.removesuffix(printable(self.tail)).rstrip(": ")
        first, *others = wrapped("x" * (below - width) + head, below, "")
        return [first[below - width :], *others, *tail]


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
    """A drawing of the attempts, at most `most` of them, in lines of at most `width` characters.

    The last attempt of each connection in `held` is remarked to be `still_open`.
    """
    width = min(max(width, NARROWEST), WIDEST)
    lines = wrapped(title, width, "  ")
    if not attempts:
        lines.append(f"  {nobody}")
    if dropped:
        lines.append(f"  ({counted(dropped, 'older attempt')} no longer kept)")
    first = {attempt.connection: attempt for attempt in reversed(attempts)}
    last = {attempt.connection: attempt for attempt in attempts}
    places = drawn_places(attempts, most)
    names = named([attempts[place] for place in places], title)
    for before, place, name in zip((-1, *places), places, names, strict=False):
        attempt = attempts[place]
        lines += left_out(attempts[before + 1 : place], width)
        lines += wrapped(heading(attempt, name), width, "  ")
        opens = attempt.connection is not None and attempt is first[attempt.connection]
        for line in lines_of(attempt, opens=opens or not FACTS[attempt.point].is_connected):
            lines += line.drawn(width - MARGIN, color=color)
        is_held = attempt.connection in held and attempt is last[attempt.connection]
        for remark in (*remarks(attempt), *[still_open] * is_held):
            lines += [" " * INDENT + part for part in wrapped(remark, width - INDENT, "")]
    return "\n".join(lines)


# --- which attempts are drawn ----------------------------------------------------------------------------------------


def drawn_places(attempts: Sequence[Attempt], most: int) -> list[int]:
    """The places of the attempts that are drawn: the last, those that were struck and those before them, and others.

    The first strike of each part comes before later strikes of the same part.
    """
    latest = range(len(attempts) - 1, -1, -1)
    firsts: dict[object, int] = {}
    for place, attempt in enumerate(attempts):
        for strike in attempt.strikes:
            firsts.setdefault((strike.origin, strike.part), place)
    struck = [*firsts.values(), *(place for place in latest if attempts[place].strikes)]
    wanted = [*latest[:LAST], *(place for at in struck for place in (at, at - 1) if place >= 0), *latest]
    return sorted([*dict.fromkeys(wanted)][:most])


def left_out(attempts: Sequence[Attempt], width: int) -> list[str]:
    """How many attempts are left out here, and which, in lines; none without attempts."""
    if not attempts:
        return []
    struck = sum(bool(attempt.strikes) for attempt in attempts)
    which = f"#{attempts[0].number}" + (f" to #{attempts[-1].number}" if len(attempts) > 1 else "")
    text = f"{counted(len(attempts), 'attempt')} left out{f', {struck} of them struck' if struck else ''}: {which}"
    return ["  " + part for part in wrapped(f"({text})", width - 2, "")]


def named(attempts: Sequence[Attempt], title: str) -> list[str]:
    """The fault of each attempt as text; a long one is written out once, in the title or at its first attempt."""
    written = [repr(attempt.fault) for attempt in attempts]
    brief = {text: short(attempt.fault) for text, attempt in zip(written, attempts, strict=True)}
    alike = Counter(brief.values())
    first: dict[str, int] = {}
    names = []
    for text, attempt in zip(written, attempts, strict=True):
        if text == brief[text] or (text in title and alike[brief[text]] == 1):
            names.append(brief[text])
        elif text in first:
            names.append(f"{brief[text]} as in #{first[text]}")
        else:
            first[text] = attempt.number
            names.append(text)
    return names


def title_of(url: str, attempts: Sequence[Attempt], upstream: Upstream | None) -> str:
    """The URL of a server, with the scheme of what its clients speak; of a relay also the address of its upstream."""
    usual, _, place = url.partition("://")
    if upstream is None:
        return f"{scheme_of(attempts, usual)}://{place}"
    return f"relay {scheme_of(attempts, 'tcp')}://{place} to {upstream}"


def heading(attempt: Attempt, name: str) -> str:
    """The number of an attempt, the name of its fault, its connection and its protocol."""
    where = "" if attempt.connection is None else f", connection {attempt.connection}"
    where += "" if attempt.stream is None else f", stream {attempt.stream}"
    protocol = protocol_of(attempt)
    return f"#{attempt.number} {name}{where}{f', {protocol}' if protocol else ''}"


# --- the lines of an attempt -----------------------------------------------------------------------------------------


def lines_of(attempt: Attempt, *, opens: bool = True) -> list[Line]:
    """The lines of an attempt, in order."""
    begins = "connect"
    if is_lookup := FACTS[attempt.point].of == "lookup" and attempt.request is not None:
        begins = f"{attempt.request.method} {attempt.request.target}"
    is_said = is_lookup and attempt.turns  # by the first turn, which is the query
    drawn = [Line(attempt.started_seconds, begins, "client")] if opens and not is_said else []
    drawn += turns_of(attempt)
    drawn += strikes_of(attempt)
    drawn += ends_of(attempt)
    return sorted(drawn, key=lambda line: line.at_seconds)


def strikes_of(attempt: Attempt) -> Iterator[Line]:
    """A line for each part of the fault that struck."""
    for strike in attempt.strikes:
        after = f" after {counted(strike.after_bytes, 'byte')}" if strike.after_bytes else ""
        tail = f"struck at {strike.point!r}{after}"
        text = f"{name_of(attempt.fault, strike)}: {tail}"
        yield Line(time_of(strike, attempt), text, "server", is_strike=True, tail=tail)


def time_of(strike: Strike, attempt: Attempt) -> float:
    """When a part struck; of what the client met in a handshake, not later than the alert that told the server."""
    told = [end.at_seconds for end in attempt.ends] if strike.part in (CERTIFICATE, TERMS) else []
    return min([strike.at_seconds, *told])


def turns_of(attempt: Attempt) -> list[Line]:
    """The lines of the turns, with a line where some are left out."""
    protocol, drawn, last = protocol_of(attempt), [], 0
    for turn in shown(attempt):
        if (left_out := turn.number - last - 1) > 0 and last:
            drawn.append(Line(turn.at_seconds, f"... {counted(left_out, 'more turn')} ..."))
        said = words(turn, protocol)
        if turn.number == 1 and attempt.stream is not None and attempt.request is not None:  # its fields are compressed
            said = f"{attempt.request.method} {attempt.request.target}: {said}"
        text = f"{counted(turn.count_bytes, 'byte')}: {said}"
        drawn += [Line(turn.at_seconds, text, turn.by, is_sample=True, tail=said), *pauses_of(turn)]
        if any(turn.at_seconds < strike.at_seconds < turn.until_seconds for strike in attempt.strikes):
            drawn.append(Line(turn.until_seconds, f"the last of the {counted(turn.count_bytes, 'byte')}", turn.by))
        last = turn.number
    return drawn


def shown(attempt: Attempt) -> list[Turn]:
    """The turns that are drawn: the first, those around each strike, and the last."""
    turns = attempt.turns
    if len(turns) <= MOST_TURNS:
        return [*turns]
    chosen = {*turns[:FIRST], *turns[-LAST:]}
    for struck in attempt.strikes:
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
    shown_there = [(s.at_seconds, look) for s in attempt.strikes for look in looks_of(attempt.fault, s.part)]
    kept: list[End] = []
    for end in ends:
        by_strikes = [(at, look) for at, look in shown_there if look == end.how and at <= end.at_seconds]
        if by_strikes and end.by == "server":
            shown_there.remove(by_strikes[0])
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
    if attempt.waited_seconds is not None and not was_told(attempt):
        said.append(f"the client gave up {attempt.waited_seconds:.3f} s after the strike")
    return said


def was_told(attempt: Attempt) -> bool:
    """Whether a client that left after the strike had a reason: a certificate, or an end by the server."""
    certificate, struck = attempt.fault.certificate, attempt.struck
    ends = [e.at_seconds for e in attempt.ends if e.by == "server" and e.at_seconds < (attempt.ended_seconds or 0)]
    has_end = struck is not None and any(at >= struck.at_seconds for at in ends)
    return has_end or (certificate is not None and certificate.is_fault)


# --- text ------------------------------------------------------------------------------------------------------------


def arrow(text: str, by: Party, line: str = "-", room: int = WIDTH - MARGIN) -> str:
    """An arrow from the side that sends to the other side."""
    drawn = f"{line * 3} {shortened(text, room - ARROW)} ".ljust(room - 1, line)
    return f"{drawn}>" if by == "client" else f"<{drawn}"


def shortened(text: str, room: int) -> str:
    """A text in one line, cut where it is too long."""
    text = printable(text)
    return text if len(text) <= room else text[: room - 3] + "..."


def printable(text: str) -> str:
    """A text with escapes for the characters that a terminal would act on, or that are not one column wide."""
    return "".join(c if is_column(c) else c.encode("unicode_escape").decode("ascii") for c in text)


def is_column(character: str) -> bool:
    """Whether a terminal shows a character in one column."""
    is_wide = unicodedata.east_asian_width(character) in ("W", "F")
    return character.isprintable() and not is_wide and unicodedata.category(character) not in ("Mn", "Me")


def wrapped(text: str, width: int, indent: str) -> list[str]:
    """A text in lines; the lines after the first are indented."""
    return textwrap.wrap(printable(text), width, subsequent_indent=indent, break_on_hyphens=False) or [""]
