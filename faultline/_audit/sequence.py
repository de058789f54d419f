"""A conversation as a sequence diagram in SVG: the client on the left, the server on the right, time going down.

Rules: the lines are those of the drawing as text. Colors and fonts are the page's; the diagram is as wide as a phone.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape

from faultline._audit.clean import clean
from faultline._core.attempts import Attempt
from faultline._core.counts import counted
from faultline._core.drawing import Line, lines_of
from faultline._core.report import describe

WIDTH = 356
CLIENT, SERVER = 62, 342  # where the two sides are
ROW, GAP, TOP = 15, 11, 26  # of a row of text, between two lines, and above the first
COLUMNS = 40  # characters of a row
MOST_ROWS = 4  # of the text of a line
MIDDLE = (CLIENT + SERVER) // 2
HEAD = 5  # of an arrow


@dataclass
class Canvas:
    """What is drawn so far, and how far down it has come."""

    parts: list[str]
    y: int = TOP

    def text(self, x: int, text: str, kind: str) -> None:
        """Write a row of text here."""
        self.parts.append(f'<text x="{x}" y="{self.y}" class="{kind}">{escape(text)}</text>')

    def arrow(self, *, from_client: bool, kind: str) -> None:
        """Draw an arrow here."""
        begin, end = (CLIENT, SERVER) if from_client else (SERVER, CLIENT)
        back = end - HEAD if from_client else end + HEAD
        head = f"M{back} {self.y - HEAD}L{end} {self.y}L{back} {self.y + HEAD}"
        self.parts.append(f'<path class="{kind}" d="M{begin} {self.y}H{end}{head}"/>')


def figures(attempts: Sequence[Attempt], most: int) -> str:
    """The first attempts, each as a figure, with times from the first one on; the others are counted."""
    began = attempts[0].started_seconds if attempts else 0.0
    drawn = "".join(
        f"<figure><figcaption>attempt {attempt.number}</figcaption>{sequence(attempt, began)}</figure>"
        for attempt in attempts[:most]
    )
    more = len(attempts) - most
    rest = f'<p class="soft">{counted(more, "further attempt")}</p>' if more > 0 else ""
    return f'<div class="figures">{drawn}</div>{rest}'


def sequence(attempt: Attempt, since_seconds: float = 0.0) -> str:
    """An attempt as SVG, with times from a time of its server on."""
    canvas = Canvas([])
    lines = [replace(line, at_seconds=line.at_seconds - since_seconds) for line in lines_of(attempt)]
    for line in lines:
        draw(canvas, line)
    height = canvas.y + GAP
    sides = "".join(
        f'<text x="{WIDTH - 4 if anchor == "end" else x}" y="12" class="side {anchor}">{name}</text>'
        f'<path class="life" d="M{x} 18V{height}"/>'
        for x, name, anchor in ((CLIENT, "client", "middle"), (SERVER, "server", "end"))
    )
    label = escape(clean(describe(attempt)), quote=True)
    told = escape(clean("; ".join(spoken(line) for line in lines)))
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" aria-label="{label}">'
        f"<desc>{told}</desc>{sides}{''.join(canvas.parts)}</svg>"
    )


def draw(canvas: Canvas, line: Line) -> None:
    """Draw a line: its time, its text, and its arrow below."""
    rows = textwrap.wrap(clean(line.text), COLUMNS) or [""]
    if len(rows) > MOST_ROWS:
        rows[MOST_ROWS - 1 :] = [rows[MOST_ROWS - 1][: COLUMNS - 1] + "…"]
    kind = "strike" if line.is_strike else "said" if line.by else "aside"
    canvas.y += GAP
    canvas.text(CLIENT - 6, f"{line.at_seconds:.3f}", "time")
    for row in rows:
        canvas.text(MIDDLE, row, kind)
        canvas.y += ROW
    canvas.y -= ROW - 5
    if line.by is not None:
        canvas.arrow(from_client=line.by == "client", kind=kind)
    canvas.y += GAP


def spoken(line: Line) -> str:
    """A line for who can't see it."""
    who = f"{line.by}: " if line.by else ""
    return f"{line.at_seconds:.3f} s, {who}{line.text}"
