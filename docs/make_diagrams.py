"""Draw every mode from a real run: `python docs/make_diagrams.py` writes docs/diagrams/MODE.svg.

A plain client meets one case of the mode, and the ledger of the server is drawn. Times differ from run to run: a test
compares the rest.
"""

from __future__ import annotations

import contextlib
import re
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from html import escape, unescape
from pathlib import Path
from typing import Any

import faultline
from faultline._audit.sequence import sequence
from faultline._core.attempts import Attempt
from faultline.modes._catalogue import modes
from faultline.modes._registry import Case
from faultline.modes.lookups import SERVER

FOLDER = Path(__file__).parent / "diagrams"
CHOSEN = {  # the fault to draw, where the first case of a mode shows less
    "latency": "latency(0.1)",
    "loss": "loss(0.7)",
    "malformed": "malformed('length_long')",
    "websocket": "websocket(send_text('one'), close_frame(1012))",
}
SECONDS = 0.3  # how long the client waits for what may not come
GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
STYLE = """
.conversation { font: 11px ui-monospace, monospace; --ink: #1b1f24; --faint: #57606a; --line: #afb8c1; --hit: #b3261e }
@media (prefers-color-scheme: dark) {
  .conversation { --ink: #e6edf3; --faint: #9aa7b4; --line: #4b545e; --hit: #ffb4ab }
}
.conversation text { fill: var(--ink); text-anchor: middle }
.conversation .side { font-weight: 600 }
.conversation .end { text-anchor: end }
.conversation .time { text-anchor: end; font-size: 10px; fill: var(--faint) }
.conversation .aside { fill: var(--faint) }
.conversation path { fill: none; stroke: var(--ink); stroke-width: 1.2 }
.conversation path.life { stroke: var(--line); stroke-width: 2 }
.conversation text.strike { fill: var(--hit); font-weight: 600 }
.conversation path.strike { stroke: var(--hit); stroke-width: 2.5 }
""".strip()


# --- the clients -----------------------------------------------------------------------------------------------------


def of_tcp(case: Case) -> Attempt:
    """Ask once over TCP or TLS, and read to the end."""
    with faultline.serve(case.fault, strict=False) as server:
        sock: socket.socket = socket.socket()
        sock.settimeout(SECONDS)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.callback(lambda: sock.close())  # noqa: PLW0108 - it may be the one of TLS by then
            sock.connect(server.address)
            if server.url.startswith("https"):
                sock = server.client_context().wrap_socket(sock, server_hostname="127.0.0.1")
            sock.sendall(GET)
            while sock.recv(65536):
                pass
        return last(server)


def of_lookup(case: Case) -> Attempt:
    """Look the name up, as Python does, or as a client of DNS."""
    if case.mode == "bad_dns":
        import dns.exception
        import dns.message
        import dns.query

        with faultline.dns_server(case.fault, strict=False) as resolver:
            with contextlib.suppress(dns.exception.DNSException, OSError):
                query = dns.message.make_query("api.example.com", "A", id=1)
                dns.query.udp(query, resolver.host, port=resolver.port, timeout=SECONDS)
            return last(resolver)
    with faultline.serve(faultline.ok()) as server:
        fault = case.function(**{name: server if value is SERVER else value for name, value in case.arguments})
        with faultline.resolve("api.example.com", fault, strict=False) as resolved, contextlib.suppress(OSError):
            socket.create_connection(("api.example.com", server.port), SECONDS).close()
        return resolved.attempts[0]


def of_udp(case: Case) -> Attempt:
    """Send two datagrams, and take what comes."""
    plan = faultline.sequence(case.fault, faultline.ok()) if case.mode == "reordered" else case.fault
    with faultline.udp(plan, strict=False) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(SECONDS)
        client.connect(server.address)
        for word in (b"one", b"two"):
            client.send(word)
        with contextlib.suppress(OSError):
            for _ in range(3):
                client.recv(100)
        return last(server)


def of_socks(case: Case) -> Attempt:
    """Ask a SOCKS proxy for a connection, with a name and a password if it wants them."""
    with faultline.socks_proxy(case.fault, strict=False) as proxy:
        with socket.create_connection(proxy.address, SECONDS) as client, contextlib.suppress(OSError):
            for words in (b"\5\2\0\2", b"\5\1\0\1\x7f\0\0\1\0\x50"):
                client.sendall(words)
                client.recv(100)
        return last(proxy)


def of_websocket(case: Case) -> Attempt:
    """Open a WebSocket, and read its messages."""
    from websockets.exceptions import WebSocketException
    from websockets.sync.client import connect

    with faultline.serve(case.fault, strict=False) as server:
        with contextlib.suppress(WebSocketException, OSError), connect(server.ws_url, proxy=None) as client:
            while True:
                client.recv(SECONDS)
        return last(server)


def of_http2(case: Case) -> Attempt:
    """Ask once over HTTP/2."""
    import httpx

    with faultline.serve(case.fault, http2=True, strict=False) as server:
        with contextlib.suppress(httpx.HTTPError), httpx.Client(http1=False, http2=True, timeout=SECONDS) as client:
            client.post(server.url, headers={"content-type": "application/grpc"}, content=b"\0\0\0\0\0")
        return last(server)


def last(server: Any) -> Attempt:
    """The attempt, once the server has seen its end."""
    with contextlib.suppress(faultline.WaitError):
        server.wait_for_attempts(1, 1, at="end")
    return server.attempts[0]


CLIENTS: dict[str, Callable[[Case], Attempt]] = {
    "TCP server": of_tcp,
    "DNS server": of_lookup,
    "UDP server": of_udp,
    "SOCKS proxy": of_socks,
    "WebSocket server": of_websocket,
    "HTTP/2 server": of_http2,
}


# --- the files -------------------------------------------------------------------------------------------------------


def case_of(name: str) -> Case:
    """The case of a mode that is drawn."""
    case = modes()[name].cases[0]
    return replace(case, function=lambda **_: faultline.plan(CHOSEN[name]), arguments=()) if name in CHOSEN else case


def diagram(name: str) -> str:
    """The diagram of a mode, as a file of SVG."""
    case = case_of(name)
    attempt = CLIENTS[case.kind](case)
    svg = sequence(attempt, attempt.started_seconds)
    head, _, rest = svg.partition("<desc>")
    head = head.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" class="conversation" ')
    head = re.sub(r'aria-label="[^"]*"', f'aria-label="{escape(f"A client meets {case}")}"', head)
    return f"{head}\n<style>{STYLE}</style>\n<desc>{rest}\n".replace("><", ">\n<")


def to_strike(svg: str) -> list[str]:
    """The lines of a diagram up to the strike, without numbers: how a conversation ends is a race of both sides."""
    _, _, rest = svg.partition("<desc>")
    lines = [re.sub(r"\d+\.\d+ s|\d+", "*", line) for line in unescape(rest.partition("</desc>")[0]).split("; ")]
    places = [number for number, line in enumerate(lines, start=1) if ": struck at" in line]
    return lines[: places[0] if places else 2]


def drawn() -> Iterator[tuple[str, str]]:
    """The diagram of each mode whose fault this user can produce."""
    for name in modes():
        with contextlib.suppress(faultline.UnsupportedError):
            yield name, diagram(name)


if __name__ == "__main__":
    wanted = sys.argv[1:] or [*modes()]
    for name in wanted:
        (FOLDER / f"{name}.svg").write_text(diagram(name), "utf-8")
