"""Print the picture of the six points: `python docs/make_points.py > docs/diagrams/points.svg`."""

from html import escape

WIDTH, CLIENT, SERVER, TOP, ROW = 640, 150, 500, 40, 34
ROWS = [  # a point, who speaks, what is said
    ("connect", "client", "SYN"),
    ("connect", "server", "SYN-ACK"),
    ("accept", "", "connected, no byte was sent"),
    ("handshake", "client", "ClientHello"),
    ("handshake", "server", "certificate"),
    ("request", "client", "GET / HTTP/1.1"),
    ("response", "server", "HTTP/1.1 200 OK"),
    ("response", "server", "body"),
    ("idle", "", "kept open for the next request"),
]
STYLE = """
.points { font: 14px ui-monospace, monospace; --ink: #1b1f24; --faint: #57606a; --band: #f0f3f6; --point: #0550ae }
@media (prefers-color-scheme: dark) {
  .points { --ink: #e6edf3; --faint: #9aa7b4; --band: #1b222b; --point: #79b8ff }
}
.points text { fill: var(--ink); text-anchor: middle }
.points .point { fill: var(--point); font-weight: 600; text-anchor: start }
.points .state { fill: var(--faint) }
.points path { fill: none; stroke: var(--ink); stroke-width: 1.4 }
.points path.side { stroke: var(--faint); stroke-width: 2 }
.points rect { fill: var(--band) }
""".strip()


def arrow(y: int, *, from_client: bool) -> str:
    """An arrow from one side to the other."""
    begin, end, back = (CLIENT, SERVER, -7) if from_client else (SERVER, CLIENT, 7)
    return f'<path d="M{begin} {y}H{end}m{back} -5L{end} {y}l{back} 5"/>'


def picture() -> str:
    """The picture, with a band for each point."""
    height = TOP + ROW * len(ROWS) + 10
    parts = [f'<text x="{CLIENT}" y="24">client</text><text x="{SERVER}" y="24">server</text>']
    for point in dict.fromkeys(row[0] for row in ROWS):
        places = [n for n, row in enumerate(ROWS) if row[0] == point]
        y, tall = TOP + ROW * places[0], ROW * len(places)
        parts.append(f'<rect x="0" y="{y + 2}" width="{WIDTH}" height="{tall - 4}" rx="6"/>')
        parts.append(f'<text class="point" x="12" y="{y + tall // 2 + 5}">{point}</text>')
    parts.append(f'<path class="side" d="M{CLIENT} 32V{height}M{SERVER} 32V{height}"/>')
    for n, (_, speaker, text) in enumerate(ROWS):
        y, middle = TOP + ROW * n, (CLIENT + SERVER) // 2
        kind = "" if speaker else ' class="state"'
        parts.append(f'<text{kind} x="{middle}" y="{y + (15 if speaker else 21)}">{escape(text)}</text>')
        if speaker:
            parts.append(arrow(y + 24, from_client=speaker == "client"))
    label = "The six points of a conversation: " + ", ".join(dict.fromkeys(row[0] for row in ROWS))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="points" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img" aria-label="{label}">\n<style>{STYLE}</style>\n' + "\n".join(parts) + "\n</svg>"
    )


print(picture())
