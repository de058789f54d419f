"""The report of a sweep: a row for each run, the drawing of the worst, and the test that reproduces it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from faultline._core import terminal
from faultline._core.counts import counted
from faultline._core.drawing import draw
from faultline._sweep.case import Case

MOST_FAILURES = 5  # whose reproductions are written out
HEADS = ("", "break", "the client", "what failed")


@dataclass(frozen=True)
class Result:
    """What a sweep has found so far.

    Attributes:
        name: what it is a sweep of.
        cases: the runs that are over, with the untouched ones.
        tests: the text of a test for each of them that failed, by its place in `cases`.
        seconds: how long it took.
        cut: why it ended before its last break, and what was not run; empty if it did not.
        notes: what else is to be known.
    """

    name: str
    cases: Sequence[Case]
    tests: dict[int, str]
    seconds: float
    cut: str = ""
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> list[int]:
        """The places of the cases that failed, the worst first."""
        places = [place for place, case in enumerate(self.cases) if case.badness]
        return sorted(places, key=lambda place: -self.cases[place].badness)

    @property
    def missed(self) -> list[Case]:
        """The cases whose break did not strike."""
        return [case for case in self.cases if case.outcome == "not reached"]

    def title(self) -> str:
        """The numbers in a line."""
        touched = [case for case in self.cases if not case.is_untouched]
        numbers = [
            f"{len([c for c in touched if c.outcome == 'held'])} held",
            f"{len(self.failed)} failed",
            *[f"{len(self.missed)} not reached"] * bool(self.missed),
        ]
        return f"sweep of {self.name}: {counted(len(touched), 'break')} in {self.seconds:.1f} s, {', '.join(numbers)}"

    def table(self) -> str:
        """A row for each run."""
        rows = [(str(number), *row_of(case)) for number, case in enumerate(self.cases)]
        widths = [max(len(row[column]) for row in (HEADS, *rows)) for column in range(3)]
        lines = [self.title()]
        lines += ["  ".join([*map(str.ljust, row, widths), row[3]]).rstrip() for row in (HEADS, *rows)]
        return "\n".join([*lines, *([self.cut] if self.cut else []), *self.notes])

    def report(self) -> str:
        """The table, the drawing of the worst case, and the test that reproduces each failure alone."""
        parts = [self.table()]
        if failed := self.failed:
            worst = self.cases[failed[0]]
            parts += [f"The worst, run {failed[0]}: {worst}: {worst.failure}", drawing(worst)]
        for place in failed[:MOST_FAILURES]:
            parts.append(f"Run {place} alone:\n\n{textwrap.indent(self.tests[place], '    ')}")
        if len(failed) > MOST_FAILURES:
            parts.append(f"and {len(failed) - MOST_FAILURES} more failed, each in the table")
        return "\n\n".join(parts)


def row_of(case: Case) -> tuple[str, str, str]:
    """The break of a case, what the client did, and what failed."""
    failed = case.failure
    if not case.is_reached:
        failed = f"{failed} (the break was not reached)" if failed else "not reached: nothing is proven"
    return str(case), case.client or "was not run", failed


def drawing(case: Case) -> str:
    """The drawing of what the relays saw."""
    drawn = [
        draw(attempts, title, width=terminal.width())
        for attempts, title in zip(case.attempts, case.titles, strict=True)
    ]
    return "\n".join(drawn)
