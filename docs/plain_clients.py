"""What five HTTP clients make of each bad answer, asked for in the plainest way that each client has.

`make_clients.py` makes the page of it, and the tests run it again.
"""

from __future__ import annotations

import asyncio
import http.client
import io
from collections.abc import Callable, Iterator
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

PATIENCE_SECONDS = 5.0
SILENCE_SECONDS = 0.3  # where the answer never comes
WHOLE_SECONDS = 0.6  # the same for aiohttp, whose timeout is for all that comes before the silence too
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
