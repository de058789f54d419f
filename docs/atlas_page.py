"""The page of the atlas, from the cells that audits have made: `page(data)`.

A surprise is a rule over the cells: nobody names a client there.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

Cells: TypeAlias = dict[str, dict[str, str]]  # by client and case
FAMILIES = {
    "Python's own": ("http.client", "urllib"),
    "Built on http.client, or on a fork of it": ("urllib3", "requests", "niquests", "botocore"),
    "Python clients with a parser of their own": ("httpx", "aiohttp", "tornado", "pycurl"),
    "Programs": ("curl", "wget", "Node fetch", "LWP"),
    "By hand": ("asyncio streams",),
    "Databases and queues": ("redis-py", "psycopg", "asyncpg", "PyMySQL", "pymongo", "pika"),
    "Other protocols": ("websockets", "grpcio", "paramiko"),
}
RAW_BEGINS = "Databases and queues"
BY_HAND = "asyncio streams"  # no client: what reads until the end takes every end for the end
OK = "ok()"
POSTED, PROXIED, AGAIN = "POST: ", "by a proxy: ", "by a proxy, asked twice: "  # before cases
HEAD = ("malformed('header_cut')", "close(at='response', on=b'HTTP/1.1 200')")
CHUNKS = ("malformed('chunk", "sse(")
NOT_HTTP = ("malformed('other_protocol')", "raw(")
TIMES = re.compile(r"[Tt]ime|exit status 28")
TRIES = re.compile(r", (\d+) attempts$")

TITLE = "# The atlas: what clients do when the network fails\n"
INTRODUCTION = """\
An [audit](audit.md) of each client in every case that fits it, in the plainest way that has a timeout (of 2 s), with
the client's own defaults for retries and redirects. `docs/atlas_http.py` and `docs/atlas_raw.py` have the lines, and
`tox -e atlas` makes this page again and fails where it differs. [What HTTP clients make of bad answers](clients.md) is
the part of the atlas that looks closer at five of them: at POST and HEAD, at a second request, at the bytes that come
back.
"""
READING = """\
A cell is the result of the first call: what it returned, or the exception and, after `<`, the first error under it. A
program has its exit status. `4 attempts` is what the server counted. A [verdict](audit.md#verdicts) stands before it in
**bold** where there is one. Cases with the same result for every client of a table share a line. What needs TLS is in
TLS, all else without.

`POST:` is the same client with a POST. `by a proxy:` is a CONNECT to an HTTP proxy that the environment names, where
the fault strikes; the server behind it is healthy. `asked twice:` is a second call after the first has failed, with
room for one connection in the pool. `not run`: the client reads no such variable, or looks names up by a library of its
own, which the audit does not reach. `differs`: two runs have two results, because something races in the client.
"""
RAW = """\
These clients connect, ask for one thing and close, through a relay in front of a server of their own: a real PostgreSQL
and Redis, a server of the client's package (websockets, grpcio, paramiko), and for PyMySQL, pymongo and pika the least
that answers, in `docs/atlas_servers.py`. Without TLS.
"""
CALM = """\
### What is no surprise

- `asyncio streams` is HTTP/1.0 by hand, read until the end of the stream. It can't tell a cut response from a whole
  one, so it swallows each that is cut. It is in the tables to show what a client has to add, and not in the list above.
- A revoked certificate, one without a subject, a chain in the wrong order and a certificate that changes from one
  connection to the next are accepted: clients ask nobody about revocation, and the others are valid.
- A wrong byte, a missing byte or a byte too many in a body goes unnoticed without TLS, if the length is right.
- `status(503)` is a response. Whether to raise for it is the choice of a client.
- DynamoDB's `PutItem` is a POST that botocore sends again by design: to put the same item twice changes nothing.
"""
TOOLS = """\
## What other tools call a reset

A RST is what `ConnectionResetError` (ECONNRESET) comes from. Many tools have a fault that is called a reset or an
abort, and end the connection by a FIN: the client reads an end of the stream, and its handler for a reset never runs.
Each tool was started on loopback, and a plain socket sent a GET and read to the end; `docs/atlas_tools.py` has the
lines. faultline's own `reset()` is a RST, which its tests prove for every case.

| tool | the fault | what it does, by its documentation | what a plain socket gets |
|---|---|---|---|"""


@dataclass(frozen=True)
class Surprise:
    """A kind of surprise.

    Attributes:
        title: what is surprising, as a sentence without its full stop.
        why: what that means to a user; may be empty.
        applies: whether a cell shows it, by client, case and cell.
    """

    title: str
    why: str
    applies: Callable[[str, str], bool]

    def cases_of(self, cells: dict[str, str]) -> list[str]:
        """The cases of a client that show it; not those with a POST that show it with a GET too."""
        found = [case for case, cell in cells.items() if self.applies(case.removeprefix(POSTED), cell)]
        return [case for case in found if not (case.startswith(POSTED) and case.removeprefix(POSTED) in found)]


def verdicts(cell: str) -> list[str]:
    """The verdicts of a cell."""
    found = re.match(r"\*\*(.+?)\*\*", cell)
    return found[1].split(", ") if found else []


def of(verdict: str, *begins: str, but: tuple[str, ...] = ()) -> Callable[[str, str], bool]:
    """A rule: the verdict, in the cases that begin so."""
    return lambda case, cell: (
        verdict in verdicts(cell) and case.startswith(begins or "") and not (but and case.startswith(but))
    )


def reset_is_late(case: str, cell: str) -> bool:
    """Whether a RST inside a response is reported as a timeout."""
    return (
        (case.startswith("reset(") or "break_='reset'" in case)
        and bool(TIMES.search(cell))
        and not cell.startswith("not run")
    )


LOOKUPS = ("slow_resolve", "nxdomain", "servfail", "no_address")
SURPRISES = (
    Surprise("A response that is cut inside its head is a normal 200", "The body is empty.", of("swallowed", *HEAD)),
    Surprise("A chunked body that is cut is returned as a normal 200", "", of("swallowed", *CHUNKS)),
    Surprise("Bytes that are not HTTP are returned as a body", "", of("swallowed", *NOT_HTTP)),
    Surprise(
        "Another response that is cut is returned as a normal one",
        "",
        of("swallowed", but=(*HEAD, *CHUNKS, *NOT_HTTP)),
    ),
    Surprise(
        "The next response begins with what the last one left over",
        "Two requests on one connection: the second gets an answer to nothing.",
        of("poisoned"),
    ),
    Surprise("A POST is sent twice", "The server had read the first, and may have acted on it.", of("retried a POST")),
    Surprise(
        "The timeout leaves out the lookup of the name",
        "A resolver that doesn't answer holds the call for as long as it likes.",
        of("hung", *LOOKUPS),
    ),
    Surprise("A call hangs although every time limit of the client is set", "", of("hung", but=LOOKUPS)),
    Surprise("A RST is reported as a timeout", "It comes late, and it hides who hung up.", reset_is_late),
    Surprise("A failed CONNECT leaves its connection open", "", of("leaked", PROXIED)),
    Surprise(
        "A failed CONNECT keeps its place in the pool",
        "A pool with room for one connection is full from then on.",
        lambda case, cell: case.startswith(AGAIN) and "Pool" in cell,
    ),
    Surprise("Something is left open after a failure", "A socket, a thread or a task.", of("leaked", but=(PROXIED,))),
    Surprise(
        "A redirect leads from https to http, and the client follows", "", of("fell back to plain text", "redirect(")
    ),
    Surprise("https is given up for plain text", "", of("fell back to plain text", but=("redirect(",))),
    Surprise("A wrong certificate is accepted", "", of("accepted a bad certificate")),
    Surprise("A client tries many times without slowing down", "", of("hammered")),
    Surprise("A client asks again before the time of Retry-After", "", of("ignored Retry-After")),
    Surprise("The process of the client ends", "", of("crashed")),
)


def page(data: dict[str, Any]) -> str:
    """The page."""
    cells: Cells = data["cells"]
    lines = [TITLE, INTRODUCTION, made_with(data), "\n## Surprises\n", *surprises(cells), "", again(cells), ""]
    lines += [CALM, *tools(data), "## Every case\n", READING]
    for family, names in FAMILIES.items():
        here = {name: cells[name] for name in names if name in cells}
        if here:
            lines += [f"### {family}\n", *([RAW] if family == RAW_BEGINS else []), *table(here)]
    return "\n".join(lines).rstrip() + "\n"


def made_with(data: dict[str, Any]) -> str:
    """The versions of all that was audited, and the platform."""
    own = (*FAMILIES["Python's own"], BY_HAND)
    others = [f"{name} {number}" for name, number in data["versions"].items() if name not in own]
    return f"{data['system']}; {', '.join(others)}."


def surprises(cells: Cells) -> Iterator[str]:
    """The list of surprises, each with its clients and their cases."""
    for surprise in SURPRISES:
        found: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for client, results in cells.items():
            cases = tuple(surprise.cases_of(results))
            if cases and client != BY_HAND:
                found[cases].append(client)
        if found:
            where = "; ".join(f"{', '.join(clients)} ({shown(cases)})" for cases, clients in found.items())
            yield f"- **{surprise.title}.** {surprise.why}{' ' * bool(surprise.why)}{where}."


MOST_SHOWN = 3


def shown(cases: tuple[str, ...]) -> str:
    """Cases in short: the first few, and how many more."""
    more = len(cases) - MOST_SHOWN
    few = cases if more <= 1 else cases[:MOST_SHOWN]
    return ", ".join(f"`{case}`" for case in few) + (f" and {more} more" if more > 1 else "")


def again(cells: Cells) -> str:
    """Who tries again by itself, and how often."""
    most = {}
    for client, results in cells.items():
        tries = [
            int(found[1])
            for case, cell in results.items()
            if not case.startswith("redirect(") and (found := TRIES.search(cell))
        ]
        if tries:
            most[client] = max(tries)
    listed = ", ".join(f"{client} {count}" for client, count in most.items())
    return (
        f"Some clients try again by themselves where a connection breaks. The most attempts of a call: {listed}.\n"
        "Where the timeout is for one attempt, the call can take that many times as long."
    )


def tools(data: dict[str, Any]) -> list[str]:
    """The table of other tools."""
    return [TOOLS, *data["tools"].values(), ""]


# --- the tables ------------------------------------------------------------------------------------------------------


def table(cells: Cells) -> Iterator[str]:
    """The cells of some clients: a line for each result, with all cases that have it for every client."""
    cases = list(dict.fromkeys(case for results in cells.values() for case in results))
    folded: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for case in cases:
        folded[tuple(results.get(case, "") for results in cells.values())].append(case)
    usual = tuple(results[OK] for results in cells.values())
    calm = folded.pop(usual)
    said = ", ".join(f"{client} `{cell}`" for client, cell in zip(cells, usual, strict=True))
    yield f"As where nothing breaks ({said}): {written(calm)}.\n"
    yield f"| case | {' | '.join(cells)} |"
    yield "|---" * (len(cells) + 1) + "|"
    for result, same in folded.items():
        yield f"| {written(same)} | {' | '.join(cell.replace('|', chr(92) + '|') for cell in result)} |"
    yield ""


def written(cases: list[str]) -> str:
    """Cases as code."""
    return ", ".join(f"`{case}`" for case in cases)
