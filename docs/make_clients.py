"""Print docs/clients.md, what HTTP clients make of bad answers: `python docs/make_clients.py > docs/clients.md`.

Each case is asked for in the plainest way that the client has. The page is made from nothing but the cells of its
tables, so that a test can read them from the page, compare them with a run, and print the page anew.
"""

from __future__ import annotations

import asyncio
import http.client
import importlib.metadata
import io
import os
import platform
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

import aiohttp
import httpx
import requests
import urllib3

import faultline
from faultline.modes._catalogue import modes
from faultline.modes._registry import Case

Reply = tuple[int, bytes]  # status and body
Cells = dict[tuple[str, str], str]  # what came of it, by case and client

PATIENCE_SECONDS = 5.0
SILENCE_SECONDS = 0.2  # where the answer never comes
WHOLE_SECONDS = 1.0  # the same for aiohttp, whose timeout is for all that comes before the silence too
UPLOAD = bytes(4 << 20)
EXPECTS = {"Expect": "100-continue"}


@dataclass(frozen=True)
class Ask:
    """How a case is asked for."""

    method: str = "GET"
    body: bytes | None = None
    times: int = 1
    expects: bool = False  # asks for `100 Continue`, which never comes
    stalls: bool = False  # the answer stops coming

    @property
    def timeout_seconds(self) -> float:
        """For a client whose timeout is per read, and that does not wait for `100 Continue`."""
        return SILENCE_SECONDS if self.stalls else PATIENCE_SECONDS


# What is not asked for by one GET.
ASKS = {
    "malformed('continue_never')": Ask("POST", expects=True),
    "malformed('early_response')": Ask("POST", UPLOAD),
    "malformed('body_surplus')": Ask(times=2),
    "malformed('head_with_body')": Ask("HEAD", times=2),
    "malformed('unsolicited_response')": Ask(times=2),
    "sse(('first', 'second', 'third'), break_='stall')": Ask(stalls=True),
}


# --- the clients: each asks on one session, and returns what it got --------------------------------------------------


def by_http_client(server: faultline.Server, ask: Ask) -> list[Reply]:
    """Ask on one connection, which is opened anew where the server has closed it."""
    timeout = SILENCE_SECONDS if ask.expects else ask.timeout_seconds
    if server.url.startswith("https"):
        context = server.client_context()
        connection = http.client.HTTPSConnection(*server.address, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(*server.address, timeout=timeout)
    # The body would be sent by hand, after what getresponse() waits for.
    headers = EXPECTS | {"Content-Length": "6"} if ask.expects else {}
    replies = []
    with closing(connection):
        for _ in range(ask.times):
            connection.request(ask.method, "/", ask.body, headers)
            with connection.getresponse() as response:
                replies.append((response.status, response.read()))
    return replies


def by_urllib3(server: faultline.Server, ask: Ask) -> list[Reply]:
    """Ask in one pool, with its own retries."""
    headers = EXPECTS if ask.expects else None
    replies = []
    with urllib3.PoolManager(timeout=ask.timeout_seconds, ssl_context=server.client_context()) as pool:
        for _ in range(ask.times):
            response = pool.request(ask.method, server.url, body=body_of(ask, server), headers=headers)
            replies.append((response.status, response.data))
    return replies


def by_requests(server: faultline.Server, ask: Ask) -> list[Reply]:
    """Ask in one session."""
    headers = EXPECTS if ask.expects else None
    timeout, trusted = ask.timeout_seconds, server.ca_file
    replies = []
    with requests.Session() as session:
        for _ in range(ask.times):
            body = body_of(ask, server)
            response = session.request(
                ask.method, server.url, data=body, headers=headers, timeout=timeout, verify=trusted
            )
            replies.append((response.status_code, response.content))
    return replies


def by_httpx(server: faultline.Server, ask: Ask) -> list[Reply]:
    """Ask in one client."""
    headers = EXPECTS if ask.expects else None
    replies = []
    with httpx.Client(timeout=ask.timeout_seconds, verify=server.client_context()) as client:
        for _ in range(ask.times):
            response = client.request(ask.method, server.url, content=body_of(ask, server), headers=headers)
            replies.append((response.status_code, response.content))
    return replies


def by_aiohttp(server: faultline.Server, ask: Ask) -> list[Reply]:
    """Ask in one session, in a loop of its own."""

    async def replies() -> list[Reply]:
        timeout = aiohttp.ClientTimeout(total=WHOLE_SECONDS if ask.expects or ask.stalls else PATIENCE_SECONDS)
        got = []
        async with aiohttp.ClientSession(timeout=timeout) as session:
            for _ in range(ask.times):
                body = io.BytesIO(b"a body" if ask.expects else ask.body or b"")
                async with session.request(
                    ask.method,
                    server.url,
                    data=body if ask.method == "POST" else None,
                    expect100=ask.expects,
                    ssl=server.client_context(),
                ) as response:
                    got.append((response.status, await response.read()))
        return got

    return asyncio.run(replies())


CLIENTS: dict[str, Callable[[faultline.Server, Ask], list[Reply]]] = {
    "http.client": by_http_client,
    "urllib3": by_urllib3,
    "requests": by_requests,
    "httpx": by_httpx,
    "aiohttp": by_aiohttp,
}


def body_of(ask: Ask, server: faultline.Server) -> bytes | Iterator[bytes] | None:
    """The body for a client that says `Expect: 100-continue` and does not wait."""
    return once_struck(server) if ask.expects else ask.body


def once_struck(server: faultline.Server) -> Iterator[bytes]:
    """A body that is said once the server has withheld what it was asked for."""
    server.wait_for_attempts(1, at="request")
    while server.attempts[-1].struck is None:  # each look lets the server go on
        pass
    yield b"a body"


# --- what came of it -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What a client made of a case, and the server's ledger of it."""

    cell: str
    attempts: tuple[faultline.Attempt, ...]


def cases() -> list[Case]:
    """The rows: all that modes of answers have, and of other modes what ends a response."""
    known = modes()
    names = ("malformed", "redirect", "status", "raw", "sse", "trickle_headers")
    answers = [c for name in names for c in known[name].cases]
    breaks = [c for name in ("reset", "close") for c in known[name].cases if c.point == "response"]
    tls = [c for c in known["bad_tls"].cases if ("kind", "no_close_notify") in c.arguments]
    return answers + breaks + tls


def outcome(case: Case, client: str) -> Outcome:
    """Have a client ask for a case."""
    ask = ASKS.get(str(case), Ask())
    with faultline.serve(case.fault) as server:
        try:
            said = returned(CLIENTS[client](server, ask))
        except Exception as error:  # noqa: BLE001 - which one it is, is the question
            said = raised(error, client)
    attempts = server.attempts
    connections = len({a.connection for a in attempts})
    if len(attempts) != ask.times:
        said += f", {len(attempts)} attempt{'s' if len(attempts) > 1 else ''}"
    elif connections > 1:
        said += f", {connections} connections"
    return Outcome(said, attempts)


def returned(replies: list[Reply]) -> str:
    """The last reply in short; the same request has the same body unless one of them has another's."""
    (_, first), (status, last) = replies[0], replies[-1]
    return f"{status}, {len(last):,} {'bytes' if last == first else 'other bytes'}"


def raised(error: Exception, client: str) -> str:
    """The exception in short: its class, and that of what began it."""
    names = [class_name(e, client) for e in (error, faultline.root_cause(error))]
    return " < ".join(dict.fromkeys(names))


def class_name(error: BaseException, client: str) -> str:
    """The name of its class, and where that is from: unless that is Python itself or this client."""
    kind = type(error)
    package = kind.__module__ if kind.__module__ == "http.client" else kind.__module__.partition(".")[0]
    return kind.__qualname__ if package in ("builtins", client) else f"{package}.{kind.__qualname__}"


# --- the page --------------------------------------------------------------------------------------------------------

INTRODUCTION = """\
Every case was asked for in the plainest way that each client has: its own defaults for retries and redirects, a
timeout of 5 s (less where nothing comes), the body read whole. `docs/make_clients.py` makes this page from a run, and a
test holds every cell to a run of its own.

`200, 20 bytes` is a normal return: the status, and how much body the client hands over.
`ChunkedEncodingError < http.client.IncompleteRead` is what was raised, and what began it as `faultline.root_cause`
finds it; the package is said where it is neither Python itself nor the client. `4 attempts` is what the server counted,
where that is not one for each request.
"""
ELSEWHERE = """\
CPython 3.10, 3.12 and 3.13 have the same cells, except that aiohttp's `TimeoutError` is `asyncio.TimeoutError` on 3.10.
"""

# What a client can't know to be whole.
DOUBTFUL = {
    "malformed('length_short')": "5 of 20 bytes are beyond the length",
    "malformed('length_long')": "5 bytes of the length never come",
    "malformed('length_negative')": "no length is said, and FIN ends the body wherever it comes",
    "malformed('length_conflicting')": "by the second of two lengths, 5 bytes never come",
    "malformed('chunk_cut')": "5 bytes of the last chunk never come",
    "malformed('chunk_terminator_missing')": "the chunk that ends the body never comes",
    "malformed('header_cut')": "the end of the head and 20 bytes of body never come",
    "malformed('gzip_cut')": "20 of the 49 bytes that 1,000 are compressed to never come",
    "sse(('first', 'second', 'third'))": "half of the last event never comes",
    "close(after_bytes=10)": "the end of the status line and all after it never come",
    "close(at='response', on=b'HTTP/1.1 200')": "what follows the status code never comes",
    "bad_tls('no_close_notify')": "FIN ends the body, and TLS has not said that it may",
}
# What is not its own.
LEFT_OVER = {
    "malformed('body_surplus')": "5 bytes after the end of the body",
    "malformed('head_with_body')": "20 bytes of body for HEAD",
    "malformed('unsolicited_response')": "a second response",
}
# The modes, in the order of the page, and what is to be said of them.
REMARKS = {
    "malformed": """\
- `continue_never` is a POST that says `Expect: 100-continue`. http.client (by hand) and aiohttp wait; the others say
  it, and send the body all the same. `early_response` is a POST of 4 MiB: all five read the 413.
- Of `body_surplus`, `head_with_body` (HEAD) and `unsolicited_response` this is the second of two requests on one
  session.
- urllib3 asks four times where a response breaks or is not HTTP, because three retries are its default, and then raises
  `MaxRetryError`. requests asks once. aiohttp asks a second time where a connection ends before the head does.
- http.client decodes nothing: it hands on `gzip_plain`, `gzip_cut` and `gzip_bomb` as they came. The others make 64 MiB
  in memory of the 85 kB of `gzip_bomb`, and no client stops at the 10,000 interim responses of `interim_flood`.
- httpx takes HTTP/9.9 (`wrong_version`). http.client, urllib3 and requests take a header with a NUL (`header_nul`) and
  a trailer that is none (`chunk_trailer_garbage`), and http.client one of two lengths (`length_conflicting`).
""",
    "redirect": """\
- http.client and httpx do not follow by default, yet httpx raises for a `Location` that it can't read. urllib3 follows
  3 times, requests 30 times, and aiohttp gives up at the tenth.
- `downgrade` leads from https to http on a port that speaks TLS: urllib3, requests and aiohttp follow it there.
- What `to_nowhere` leads to is no attempt at this server, and not counted.
""",
    "status": """\
- None raises by itself.
- urllib3 obeys `Retry-After` unasked: three times it sleeps for as long as the server says, and then returns the 429.
""",
    "raw": "",
    "sse": """\
- A timeout inside the body is `ConnectionError` in requests, not `ReadTimeout`.
- aiohttp raises the same class for a RST inside the body as for a FIN.
""",
    "trickle_headers": "",
    "reset": "",
    "close": """\
- A status line without its end, and then FIN, is a whole head to http.client, urllib3 and requests: 200, and no body.
""",
    "bad_tls": "- All five take the end of the connection for the end of the body.\n",
}


def versions() -> str:
    """What was run, in one line."""
    names = ("urllib3", "requests", "httpx", "httpcore", "h11", "aiohttp")
    clients = [f"{name} {importlib.metadata.version(name)}" for name in names]
    openssl = " ".join(ssl.OPENSSL_VERSION.split()[:2])
    return ", ".join([f"CPython {platform.python_version()}", openssl, *clients])


def page(cells: Cells, made_with: str) -> str:
    """The whole page, from its cells and from what they were made with."""
    rows = list(dict.fromkeys(case for case, _ in cells))
    parts = [
        "# What HTTP clients make of bad answers\n",
        INTRODUCTION,
        f"Made with {made_with}.\n{ELSEWHERE}",
        "## Silently short\n",
        "Who returns normally, although something is missing or too much:\n",
        silently_short(cells),
        "## Poisoned\n",
        "What is left over on a connection that is kept alive, and came together with the response:\n",
        poisoned(cells),
    ]
    for mode, remarks in REMARKS.items():
        table = [(f"`{row}`", *(cells[row, c] for c in CLIENTS)) for row in rows if row.partition("(")[0] == mode]
        parts += [f"## `{mode}`\n", drawn(("case", *CLIENTS), table), remarks]
    return "\n".join(part for part in parts if part)


def silently_short(cells: Cells) -> str:
    """Which clients return normally what is not whole."""
    table = []
    for case, what in DOUBTFUL.items():
        said = {client: cells[case, client] for client in CLIENTS}
        calm = [f"{client} ({cell.partition(', ')[2]})" for client, cell in said.items() if is_returned(cell)]
        table.append((f"`{case}`", what, listed(calm)))
    return drawn(("case", "what is wrong", "returned normally by"), table)


def poisoned(cells: Cells) -> str:
    """What clients do with the surplus of one response when they ask again."""
    table = []
    for case, what in LEFT_OVER.items():
        taken, noticed, dropped = [], [], []
        for client in CLIENTS:
            cell = cells[case, client]
            if cell.endswith((", 1 attempt", ", 2 connections")):
                noticed.append(client)
            elif "other bytes" in cell or not is_returned(cell):
                taken.append(client)
            else:
                dropped.append(client)
        table.append((f"`{case}`", what, listed(taken), listed(noticed), listed(dropped)))
    return drawn(
        ("case", "what is left over", "the next response begins with it", "raises, or connects anew", "drops it"), table
    )


def is_returned(cell: str) -> bool:
    """Whether the client returned normally."""
    return cell[0].isdigit()


def listed(names: list[str]) -> str:
    """Names in a row."""
    return ", ".join(names) or "none"


def drawn(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = [titles, ("---",) * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def main() -> None:
    """Run every case against every client, and print the page."""
    for name in [n for n in os.environ if n.lower().endswith("_proxy")]:
        del os.environ[name]
    cells = {(str(case), client): outcome(case, client).cell for case in cases() for client in CLIENTS}
    print(page(cells, versions()), end="")


if __name__ == "__main__":
    main()
