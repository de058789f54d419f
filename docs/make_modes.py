"""Print docs/modes.md from the catalogue: `python docs/make_modes.py > docs/modes.md`."""

import inspect
import re

from faultline._front.listing import groups
from faultline.modes._registry import Case, Mode, ServerKind

CLIENTS: dict[ServerKind, str] = {
    "TCP server": "a plain socket client sees",
    "DNS server": "a lookup sees",
    "UDP server": "a UDP client sees",
    "SOCKS proxy": "a SOCKS client sees",
    "WebSocket server": "a WebSocket client sees",
    "HTTP/2 server": "an HTTP/2 client sees",
}


def entry(mode: Mode) -> str:
    """One mode: what it does, its parameters, and what a plain client sees in each case."""
    text = inspect.getdoc(mode.function) or ""
    prose, _, example = text.partition("Example:")
    prose = re.sub(r"Args:\n( +.*\n)*\n?", "", prose)  # the table has them
    prose = re.sub(r"(?m)^\.\. versionadded::.*\n\n?", "", prose)  # the page is of one version
    lines = [f"### `{mode.name}`", "", prose.strip()]
    if mode.parameters:
        lines += ["", "| parameter | default | meaning |", "|---|---|---|"]
        for p in mode.parameters:
            default = "" if p.is_required else f"`{p.default!r}`"
            lines.append(f"| `{p.name}` | {default} | {p.text} |")
    lines += ["", f"| case | {CLIENTS[mode.kind]} |", "|---|---|"]
    lines += [f"| `{case.fault!r}` | {seen(case)} |" for case in mode.cases]
    if example:
        lines += ["", "```python", re.sub(r"(?m)^    ", "", example.strip("\n")), "```"]
    return "\n".join(lines)


def seen(case: Case) -> str:
    """What the client sees, with the detail in brackets."""
    return f"{case.sees} ({case.detail})" if case.detail else case.sees


print("# Modes\n\nMade from the catalogue by `docs/make_modes.py`; a test keeps it so.")
for heading, members in groups():
    print(f"\n## {heading}\n")
    print("\n\n".join(entry(m) for m in members))
