"""Servers of every kind, and what may come to them, in any order: the machine of `test_life.py` and of `soak.py`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import threading
from functools import cache, partial

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import faultline as fl
from faultline import strategies
from faultline._servers.loop import background

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
# What begins as each protocol does that a server here speaks.
BEGINNINGS = [
    REQUEST,
    b"POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n12345",
    b"POST /a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    b"CONNECT localhost:1 HTTP/1.1\r\nHost: localhost:1\r\n\r\n",
    b"GET http://localhost:1/ HTTP/1.1\r\nHost: localhost:1\r\n\r\n",
    (
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    ),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
    b"\x05\x01\x00" + b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x01",
    b"\x04\x01\x00\x01\x7f\x00\x00\x01\x00",
    b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03",
    b"\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01",
    b"EHLO me\r\nSTARTTLS\r\n",
    b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
]
KINDS = {
    "server": fl.serve,
    "with TLS": partial(fl.serve, tls=True),
    "with a path": partial(fl.serve, unix=True),
    "proxy": fl.http_proxy,
    "SOCKS proxy": fl.socks_proxy,
    "relay": lambda plan, **options: fl.relay("127.0.0.1:1", plan, **options),
    "WebSocket": lambda plan, **options: fl.serve(plan, answer=fl.websocket(fl.send_text("hi")), **options),
}
STARTERS = {"proxy": "http_proxy", "SOCKS proxy": "socks_proxy", "relay": "relay"}
CONTROLS = ["reset_all", "close_all", "pause", "resume", "partition", "heal"]
LIMIT_SECONDS = 0.02  # that a client waits for bytes: what comes is not asked for here


@cache
def plans(kind: str) -> st.SearchStrategy[fl.Plan]:
    """Faults and plans that a kind of server may have; others are refused, which is no error either."""
    return strategies.faults(server=STARTERS.get(kind, "serve"), tls=kind == "with TLS") | strategies.plans(
        server=STARTERS.get(kind, "serve"), tls=kind == "with TLS"
    )


def said() -> st.SearchStrategy[bytes]:
    """Bytes of a client: the beginning of a protocol, cut and damaged anywhere, or anything."""

    def damaged(base: bytes, at: int, change: bytes, upto: int) -> bytes:
        return (base[: at % len(base)] + change + base[at % len(base) :])[: upto or None]

    bases = st.sampled_from(BEGINNINGS)
    small = st.integers(0, 99)
    return bases | st.builds(damaged, bases, small, st.binary(max_size=4), small) | st.binary(max_size=200)


class Life(RuleBasedStateMachine):
    """Servers and clients of this process."""

    def __init__(self) -> None:
        super().__init__()
        self.servers: list[tuple[str, fl.Server]] = []
        self.clients: list[socket.socket] = []

    @rule(data=st.data(), kind=st.sampled_from(sorted(KINDS)))
    def start(self, data: st.DataObject, kind: str) -> None:
        """Start a server; what it or this system can't play is refused."""
        with contextlib.suppress(fl.ParameterError, fl.UnsupportedError):
            self.servers.append((kind, KINDS[kind](data.draw(plans(kind)), strict=False)))

    @precondition(lambda self: self.servers)
    @rule(data=st.data())
    def change(self, data: st.DataObject) -> None:
        """Give a server another plan."""
        kind, server = data.draw(st.sampled_from(self.servers))
        with contextlib.suppress(fl.ParameterError, fl.UnsupportedError):
            server.become(data.draw(plans(kind)))

    @precondition(lambda self: self.servers)
    @rule(data=st.data(), control=st.sampled_from(CONTROLS))
    def control(self, data: st.DataObject, control: str) -> None:
        """Do something to all open connections of a server."""
        with contextlib.suppress(fl.UnsupportedError):
            getattr(data.draw(st.sampled_from(self.servers))[1], control)()

    @precondition(lambda self: self.servers)
    @rule(data=st.data(), words=st.lists(said(), max_size=3), with_tls=st.booleans())
    def connect(self, data: st.DataObject, words: list[bytes], *, with_tls: bool) -> None:
        """Connect to a server and say something, in TLS or not."""
        _, server = data.draw(st.sampled_from(self.servers))
        client = socket.socket(socket.AF_UNIX if server.path else socket.AF_INET)
        client.settimeout(LIMIT_SECONDS)
        self.clients.append(client)
        with contextlib.suppress(OSError):
            client.connect(server.path or server.address)
            if with_tls:
                context = server.client_context()
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                self.clients[-1] = client = context.wrap_socket(client)
            for each in words:
                client.sendall(each)

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), words=said(), reads=st.booleans())
    def go_on(self, data: st.DataObject, words: bytes, *, reads: bool) -> None:
        """Say something more, and read what there is."""
        client = data.draw(st.sampled_from(self.clients))
        with contextlib.suppress(OSError):
            client.sendall(words)
            if reads:
                client.recv(9999)

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), half=st.booleans())
    def leave(self, data: st.DataObject, *, half: bool) -> None:
        """Finish sending, or close."""
        client = data.draw(st.sampled_from(self.clients))
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_WR) if half else client.close()

    @precondition(lambda self: self.servers)
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        """Stop a server, whose own errors are raised then."""
        entry = data.draw(st.sampled_from(self.servers))
        self.servers.remove(entry)
        entry[1].close()

    @invariant()
    def tells(self) -> None:
        """Everything that is recorded can be shown."""
        for _, server in self.servers:
            assert server.drawing()
            assert repr(server.attempts)

    def teardown(self) -> None:
        """Stop everything."""
        with contextlib.ExitStack() as ends:
            for client in self.clients:
                ends.callback(client.close)
            for _, server in self.servers:
                ends.callback(server.close)


def held() -> dict[str, int]:
    """What this process has: descriptors, threads, and tasks of the loop."""
    background().settle()
    return {
        "descriptors": sum(map(is_open, range(1024))),
        "threads": threading.active_count(),
        "tasks": background().call(lambda: len(tasks_of(background().loop))),
    }


def tasks_of(loop: asyncio.AbstractEventLoop) -> set[asyncio.Task[object]]:
    return {task for task in asyncio.all_tasks(loop) if not task.done()}


def is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
