"""Print docs/modes.md from the catalogue: `python docs/make_modes.py > docs/modes.md`."""

import inspect
import re

from faultline._core.points import POINTS
from faultline._front.command import NOWHERE
from faultline.modes._catalogue import modes
from faultline.modes._registry import Mode

print("# Modes\n\nMade from the catalogue by `docs/make_modes.py`; a test keeps it so.")


def entry(mode: Mode) -> str:
    """One mode: what it does, its parameters, and what a plain socket client sees in each case."""
    text = inspect.getdoc(mode.function) or ""
    prose, _, example = text.partition("Example:")
    lines = [f"### `{mode.name}`", "", prose.strip()]
    if mode.parameters:
        lines += ["", "| parameter | default | meaning |", "|---|---|---|"]
        for p in mode.parameters:
            default = "" if p.is_required else f"`{p.default!r}`"
            lines.append(f"| `{p.name}` | {default} | {p.text} |")
    lines += ["", "| case | a plain socket client sees |", "|---|---|"]
    lines += [f"| `{case.fault!r}` | {case.sees} |" for case in mode.cases]
    if example:
        lines += ["", "```python", re.sub(r"(?m)^    ", "", example.strip("\n")), "```"]
    return "\n".join(lines)


for group in (*POINTS, *NOWHERE):
    members = [m for m in modes().values() if m.point == group]
    if members:
        print(f"\n## {NOWHERE.get(group, f'{group}')}\n")
        print("\n\n".join(entry(m) for m in members))
