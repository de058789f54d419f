"""Make docs/atlas.json and docs/atlas.md, what clients do in every case: `python docs/make_atlas.py`.

Every cell is made by an audit, never by hand. `tox -e atlas` calls this with `--check`, which writes nothing and fails
where something differs. What is not at hand keeps its cells. Names of clients, or `tools`, leave out all others. A
client of which a few cells differ is audited a second time, and a cell counts as changed if it differs again.
"""

from __future__ import annotations

import difflib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from atlas_http import COMMANDS
from atlas_page import AGAIN, POSTED, PROXIED, page
from atlas_servers import PROGRAMS, program, server_of
from atlas_tools import rows

import faultline
from faultline.modes._catalogue import modes

DOCS = Path(__file__).parent
LIMIT_SECONDS = 60.0  # so that no client is called hung because the machine is busy: each has a time limit of 2 s
LOOKUP_SECONDS = 5.0
AT_ONCE = 2  # clients; each waits most of the time
FEW = 10  # cells that a busy machine may have changed: if a second audit has them as before, they stay
JOBS = 12
RACES = {  # parts of the cases in which the number of attempts differs, or which error is the first
    **dict.fromkeys(("pymongo", "paramiko", "grpcio"), ("",)),  # their threads decide
    "niquests": ("reset(",),  # it may look at the connection before it asks
}
RACE = "reset(at='tunnel')"  # races with the begin of the handshake, in every client
DIFFERS = {  # parts of the cases in which the results of two runs differ
    "paramiko": ("at='request'",),
    "grpcio": ("close(at='request', after_bytes=10)", "partition(at='request')", "stall(at='request')"),
    "websockets": ("close(at='accept')",),
    "Node fetch": ("gzip_bomb", "client_cert_rejected"),
    "LWP": (RACE, "close(at='tunnel')"),
}
MANY_JOBS = {"botocore": 40, "redis-py": 40, "urllib3": 24}  # most of them wait, several times in a call
IN_TLS = tuple(name for name, mode in modes().items() if any(case.fault.needs_tls for case in mode.cases))
ENDS = ("reset", "close", "half_close")  # after which a request may be sent again
AFTER = ("response", "idle")  # the whole request has been sent then, so that no send races with the end
OF_A_PROXY = ("reset", "close", "stall", "status")
# The packages of clients, by the names of their functions in atlas_http.py and atlas_raw.py.
HTTP = {
    "http.client": ("http_client", ""),
    "urllib": ("urllib", ""),
    "asyncio streams": ("asyncio_streams", ""),
    **{name: (name, name) for name in ("urllib3", "requests", "niquests", "botocore", "httpx", "aiohttp", "tornado")},
    "pycurl": ("pycurl", "pycurl"),
}
RAW = {
    "redis-py": ("redis", "redis"),
    "psycopg": ("psycopg", "psycopg"),
    "asyncpg": ("asyncpg", "asyncpg"),
    "PyMySQL": ("pymysql", "pymysql"),
    **{name: (name, name) for name in ("pymongo", "pika", "websockets", "grpcio", "paramiko")},
}
Cells = dict[str, str]


def audits(name: str) -> Iterator[tuple[str, faultline.Audit]]:
    """The audits of a client, each with what stands before its cases."""
    if name in RAW:
        function, _ = RAW[name]
        with server_of(function) as port:
            given = {"target": f"atlas_raw:CALLS.{function}", "upstream": f"127.0.0.1:{port}", "tls": False}
            yield "", faultline.audit(**given, timeout_seconds=LIMIT_SECONDS, jobs=MANY_JOBS.get(name, JOBS))
        return
    if name in COMMANDS:
        get, post = ({"command": line} for line in COMMANDS[name])
        twice = None
    else:
        function, _ = HTTP[name]
        get, post, twice = (
            {"target": f"atlas_http:{each}.{function}", "factory": True} for each in ("GET", "POST", "TWICE")
        )
    usual = {"timeout_seconds": LIMIT_SECONDS, "jobs": MANY_JOBS.get(name, JOBS)}
    yield "", faultline.audit(**get, **usual, tls=False)
    yield "", faultline.audit(**get, **usual, tls=True, modes=IN_TLS)
    yield POSTED, faultline.audit(**post, **usual, tls=False, modes=ENDS, points=AFTER)
    yield PROXIED, faultline.audit(**get, **usual, tls=True, modes=OF_A_PROXY, proxy=True)
    yield PROXIED, faultline.audit(**get, **usual, tls=True, points=("tunnel",), proxy=True)
    if twice is not None:
        yield AGAIN, faultline.audit(**twice, **usual, tls=True, points=("tunnel",), proxy=True)
    yield "", faultline.audit(**get, timeout_seconds=LOOKUP_SECONDS, points=("lookup",))


def cells_of(name: str) -> Cells:
    """What an audit finds, by case; what needs TLS is in TLS, and all else without."""
    found = {}
    for before, audit in audits(name):
        for case in audit.results:
            if before or not case.tls or case.row.case.fault.needs_tls:
                races = any(part in case.case for part in (RACE, *RACES.get(name, ())))
                differs = any(part in case.case for part in DIFFERS.get(name, ()))
                found[before + case.case] = "differs" if differs else cell(case, is_short=before == AGAIN or races)
    return found


def cell(case: faultline.AuditCase, *, is_short: bool = False) -> str:
    """What the first call came to, after its verdicts; in short, without the first error and the number of attempts."""
    if not case.runs:
        return "not run"
    call = case.runs[0].first
    said = (call.what,) if is_short else (call.what, call.cause)
    names = [re.sub(r"^(?:\w+\.)+(?=_?[A-Z]\w+$)", "", name) for name in said if name]
    short = " < ".join(dict.fromkeys(names)) or {"hung": "still waiting"}.get(call.outcome, call.outcome)
    tries = len(case.runs[0].attempts_of(0))
    text = f"{short}{f', {tries} attempts' if tries > 1 and not is_short else ''}"
    return text if case.verdict == "handled" else f"**{', '.join(case.verdicts)}** {text}"


def version(name: str) -> str:
    """The version of a client; empty if it is not at hand."""
    if name in COMMANDS:
        return version_of_program(COMMANDS[name][0].partition(" ")[0])
    function, package = (HTTP | RAW)[name]
    needed = PROGRAMS.get(function)
    if needed and program(needed) is None:
        return ""
    if not package:
        return platform.python_version()
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def version_of_program(name: str) -> str:
    """The version of a program, and of the library that speaks TLS for it where it says so."""
    words = {"perl": ["perl", "-MLWP::Protocol::https", "-MLWP", "-e", "print $LWP::VERSION"]}.get(name, [name, "-V"])
    if name in ("node", "wget", "curl"):
        words = [name, "--version"]
    if shutil.which(name) is None:
        return ""
    said = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603 - known
    number = re.search(r"\d+\.[\d.]+", said.stdout)
    library = re.search(r"ssl/\w+", said.stdout) if name == "wget" else None
    with_library = f" with {library[0].partition('/')[2]}" if library else ""
    return "" if said.returncode or not number else number[0] + with_library


def made(known: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """The data anew; what is not at hand, or not named, keeps what is known."""
    os.environ["PYTHONPATH"] = str(DOCS)  # each client is imported where it is audited
    everyone = [*HTTP, *COMMANDS, *RAW]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = dict(zip(everyone, pool.map(lambda name: made_of(name, known, names), everyone), strict=True))
    tools = dict(rows()) if not names or "tools" in names else {}
    system = f"{platform.system()} {platform.machine()}, CPython {platform.python_version()} with {ssl.OPENSSL_VERSION}"
    return {
        "system": system,
        "versions": {name: version for name, (version, _) in found.items()},
        "cells": {name: cells for name, (_, cells) in found.items()},
        "tools": known.get("tools", {}) | tools,
    }


def made_of(name: str, known: dict[str, Any], names: list[str]) -> tuple[str, Cells]:
    """The version of a client, and its cells."""
    before = known.get("versions", {}).get(name, ""), known.get("cells", {}).get(name, {})
    if names and name not in names:
        return before
    here = version(name)
    if not here:
        print(f"{name}: not at hand, kept as it was", file=sys.stderr, flush=True)
        return before
    began = time.monotonic()
    cells = cells_of(name)
    changed = {case for case, cell in cells.items() if before[1].get(case) != cell}
    if before[0] == here and 0 < len(changed) < FEW:
        again = cells_of(name)
        cells |= {case: cell for case, cell in before[1].items() if case in changed and again.get(case) == cell}
        print(f"{name}: audited again, because of {', '.join(sorted(changed))}", file=sys.stderr, flush=True)
    print(f"{name} {here}: {len(cells)} cases in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return here, cells


def differences(before: str, after: str, name: str) -> list[str]:
    """The lines in which two texts differ."""
    lines = (text.splitlines() for text in (before, after))
    return list(difflib.unified_diff(*lines, f"docs/{name}", "now", lineterm="", n=0))


def main(words: list[str]) -> int:
    """Write the data and the page, or with `--check` print what differs from those in the repository."""
    data, shown = DOCS / "atlas.json", DOCS / "atlas.md"
    kept = data.read_text("utf-8") if data.exists() else "{}"
    now = made(json.loads(kept), [word for word in words if word != "--check"])
    texts = {data: json.dumps(now, indent=1) + "\n", shown: page(now)}
    if "--check" not in words:
        for path, text in texts.items():
            path.write_text(text, "utf-8")
        return 0
    found = [line for path, text in texts.items() for line in differences(path.read_text("utf-8"), text, path.name)]
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
