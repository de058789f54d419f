"""Print docs/modes.md from the catalogue: `python docs/make_modes.py > docs/modes.md`."""

import inspect
import re
from html import unescape
from pathlib import Path

from faultline._front.explaining import command_of
from faultline._front.listing import for_tests, groups
from faultline.modes._registry import Case, Mode, ServerKind

CLIENTS: dict[ServerKind, str] = {
    "TCP server": "a plain socket client sees",
    "DNS server": "a lookup sees",
    "UDP server": "a UDP client sees",
    "SOCKS proxy": "a SOCKS client sees",
    "WebSocket server": "a WebSocket client sees",
    "HTTP/2 server": "an HTTP/2 client sees",
}


STARTERS: dict[ServerKind, str] = {
    "TCP server": "faultline.serve({})",
    "DNS server": 'faultline.resolve("api.example.com", {})',
    "UDP server": "faultline.udp({})",
    "SOCKS proxy": "faultline.socks_proxy({})",
    "WebSocket server": "faultline.serve({})",
    "HTTP/2 server": "faultline.serve({}, http2=True)",
}
STARTS = {  # the plan in a test, or the options of the command, where the first case says too little
    "bad_dns": ("faultline.dns_server({})", ""),
    "reordered": ("faultline.udp(sequence({}, ok()))", " --then ok"),
    "websocket": ("faultline.serve(websocket(send_text('one')))", " --steps \"send_text('one')\""),
}
FOLDER = Path(__file__).parent / "diagrams"


def started(mode: Mode) -> list[str]:
    """How the first case of a mode is started in a test and by hand."""
    call, more = STARTS.get(mode.name, (STARTERS[mode.kind], ""))
    case = mode.cases[0]
    lines = [f"- In a test: `{call.format(case)}`."]
    if not for_tests(mode):
        lines.append(f"- By hand: `{command_of(case.fault)}{more}`.")
    return lines


def picture(mode: Mode) -> list[str]:
    """The diagram of a mode, if `make_diagrams.py` has drawn one."""
    path = FOLDER / f"{mode.name}.svg"
    label = re.search('aria-label="([^"]*)"', path.read_text("utf-8")) if path.exists() else None
    return ["", f"![{unescape(label[1])}](diagrams/{mode.name}.svg)"] if label else []


def entry(mode: Mode) -> str:
    """One mode: what it does, its parameters, and what a plain client sees in each case."""
    text = inspect.getdoc(mode.function) or ""
    prose, _, example = text.partition("Example:")
    prose = re.sub(r"Args:\n( +.*\n)*\n?", "", prose)  # the table has them
    prose = re.sub(r"(?m)^\.\. versionadded::.*\n\n?", "", prose)  # the page is of one version
    prose = re.sub(r"(?m)^ {4}(\w+): ", r"- `\1`: ", prose.replace("\nRaises:\n", "\n**Raises**\n\n")).replace(
        "\n    ", "\n"
    )
    lines = [f"### `{mode.name}`", "", prose.strip(), "", "**Start it**", "", *started(mode), *picture(mode)]
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


print("# The catalogue of modes\n\nMade from the catalogue by `docs/make_modes.py`; a test keeps it so.")
print("Each diagram was drawn by `docs/make_diagrams.py` from a real run with a plain client; times are in seconds.")
for heading, members in groups():
    print(f"\n## {heading}\n")
    print("\n\n".join(entry(m) for m in members))
