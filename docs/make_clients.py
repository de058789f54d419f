"""Print docs/clients.md, what HTTP clients make of bad answers: `python docs/make_clients.py > docs/clients.md`.

With `--check` it prints what differs from that page, and fails if anything does; `tox -e atlas` calls it so.
The page is made from nothing but the cells of its tables, so that a test can read them from the page, compare them with
a run, and print the page anew.
"""

from __future__ import annotations

import difflib
import importlib.metadata
import os
import platform
import ssl
import sys
from collections.abc import Iterable
from pathlib import Path

from plain_clients import CLIENTS, cases, outcome

Cells = dict[tuple[str, str], str]  # what came of it, by case and client

INTRODUCTION = """\
A part of [the atlas](atlas.md).

Every case was asked for in the plainest way that each client has: its own defaults for retries and redirects, a
timeout of 5 s (less where nothing comes), the body read whole. `docs/make_clients.py` makes this page from a run, and a
test holds every cell to a run of its own.

`200, 20 bytes` is a normal return: the status, and how much body the client hands over.
`ChunkedEncodingError < http.client.IncompleteRead` is what was raised, and its cause as `faultline.root_cause` finds
it, with its package unless that is Python itself or the client. `4 attempts` is what the server counted, if it is not
one for each request.
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
- A timeout inside the body is `requests.ConnectionError` in requests, not `ReadTimeout`.
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
        "These clients return normally, although bytes are missing or there are too many:\n",
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


def main(words: list[str]) -> int:
    """Run every case against every client, and print the page, or with `--check` what differs from the one there is."""
    for name in [n for n in os.environ if n.lower().endswith("_proxy")]:
        del os.environ[name]
    cells = {(str(case), client): outcome(case, client).cell for case in cases() for client in CLIENTS}
    made = page(cells, versions())
    if "--check" not in words:
        print(made, end="")
        return 0
    kept = (Path(__file__).parent / "clients.md").read_text("utf-8")
    found = list(difflib.unified_diff(kept.splitlines(), made.splitlines(), "docs/clients.md", "now", lineterm="", n=0))
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
