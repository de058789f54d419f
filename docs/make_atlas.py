"""Print docs/atlas.md, what clients do in every case: `python docs/make_atlas.py > docs/atlas.md`.

Every cell is made by an audit, never by hand; `tox -e atlas` makes the page again, and fails where it differs.
"""

from __future__ import annotations

import difflib
import importlib.metadata
import os
import platform
import re
import shutil
import ssl
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from atlas_clients import COMMANDS, FACTORIES, FUNCTIONS

import faultline
from faultline._audit.cases import Choice, chosen
from faultline._audit.verdicts import VERDICTS
from faultline.modes._catalogue import modes

DOCS = Path(__file__).parent
LIMIT_SECONDS = 60.0  # so that no client is called hung because the machine is busy: each has a time limit of 2 s
IN_TLS = tuple(name for name, mode in modes().items() if any(case.fault.needs_tls for case in mode.cases))
INTRODUCTION = """\
`docs/make_atlas.py` audits each client ([how](audit.md)) in the plainest way that has a timeout, here of 2 s, with its
own defaults for retries and redirects: `docs/atlas_clients.py` has the lines. A cell is what the first call came to:
what it returned, or what it raised and the first error under that. A verdict stands before it in **bold** where there
is one. What needs TLS is in TLS, all else without.
"""


def audits() -> dict[str, faultline.Audit]:
    """An audit of each client, as one of what needs TLS and one of all else."""
    os.environ["PYTHONPATH"] = str(DOCS)  # aiohttp reads the CA when it is imported, so each is imported anew
    given = {name: {"target": f"atlas_clients:{client.__name__}"} for name, client in FUNCTIONS.items()}
    given |= {
        name: {"target": f"atlas_clients:{client.__name__}", "factory": True} for name, client in FACTORIES.items()
    }
    given |= {name: {"command": line} for name, line in COMMANDS.items() if shutil.which(line.partition(" ")[0])}
    return {name: both(**options) for name, options in given.items()}


def both(**options: object) -> faultline.Audit:
    """What needs TLS in TLS, and all else without."""
    usual = {**options, "timeout_seconds": LIMIT_SECONDS, "jobs": 12}
    plain = faultline.audit(**usual, tls=False)
    secured = faultline.audit(**usual, tls=True, modes=IN_TLS)
    needed = tuple(case for case in secured.results if case.row.case.fault.needs_tls)
    return faultline.Audit(plain.target, plain.results + needed)


def cell(case: faultline.AuditCase) -> str:
    """What the first call came to, in short."""
    if not case.runs:
        return "not run"
    call = case.runs[0].first
    names = dict.fromkeys(filter(None, (call.what, call.cause)))
    short = " < ".join(re.sub(r"^(?:\w+\.)+(?=[A-Z]\w+$)", "", name) for name in names)
    tries = len(case.runs[0].attempts_of(0))
    text = f"{short or call.outcome}{f', {tries} attempts' if tries > 1 else ''}".replace("|", "\\|")
    return text if case.verdict == "handled" else f"**{case.verdict}** {text}"


def rows() -> list[str]:
    """The cases of the page, in the order of the catalogue."""
    return list(dict.fromkeys(str(row.case) for row in chosen(Choice())))


def table(results: dict[str, dict[str, faultline.AuditCase]]) -> Iterator[str]:
    """The lines of the table: a row for each case, a column for each client."""
    yield f"| case | {' | '.join(results)} |"
    yield "|---" * (len(results) + 1) + "|"
    for name in rows():
        cells = [cell(found[name]) if name in found else "" for found in results.values()]
        yield f"| `{name}` | {' | '.join(cells)} |"


def surprises(results: dict[str, dict[str, faultline.AuditCase]]) -> Iterator[str]:
    """What was found, verdict by verdict, and in which clients."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for client, cases in results.items():
        for name in rows():
            for verdict in cases[name].verdicts if name in cases else ():
                found[verdict][name].append(client)
    for verdict in VERDICTS[:-2]:
        for name, clients in found[verdict].items():
            yield f"- **{verdict}** in `{name}`: {', '.join(clients)}."


def versions() -> str:
    """What the clients are, and what they ran on."""
    packages = [f"{name} {importlib.metadata.version(name)}" for name in ("urllib3", "requests", "httpx", "aiohttp")]
    programs = [first_line(line.partition(" ")[0]) for line in COMMANDS.values()]
    system = f"{platform.system()} {platform.machine()}"
    python = f"CPython {platform.python_version()} with {ssl.OPENSSL_VERSION}"
    return f"{system}, {python}; {', '.join([*packages, *filter(None, programs)])}."


def first_line(program: str) -> str:
    """The name and the version of a program, if it is there."""
    if shutil.which(program) is None:
        return ""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout  # noqa: S603 - known
    version = re.search(r"\d+\.[\d.]+", said)
    return f"{program} {version[0] if version else ''}"


def page() -> str:
    """The page."""
    results = {name: {case.case: case for case in audit.results} for name, audit in audits().items()}
    head = ["# The atlas: what clients do when the network fails\n", INTRODUCTION, versions(), "\n## Surprises\n"]
    return "\n".join([*head, *surprises(results), "\n## Every case\n", *table(results)]) + "\n"


def main(words: list[str]) -> int:
    """Print the page, or with `--check` what differs from the one in the repository."""
    made = page()
    if "--check" not in words:
        print(made, end="")
        return 0
    kept = (DOCS / "atlas.md").read_text("utf-8")
    difference = list(
        difflib.unified_diff(kept.splitlines(), made.splitlines(), "docs/atlas.md", "now", lineterm="", n=0)
    )
    print("\n".join(difference))
    return 1 if difference else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
