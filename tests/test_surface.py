"""Each public member of servers and ledgers works on every kind of server, or an error says that it has none."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json

import pytest
from support import GET, connected, read
from support.tables import each_row

from faultline import Attempt, UnsupportedError, WaitError, http_proxy, ok, relay, serve
from faultline._core.ledger import Ledger
from faultline._servers.server import Server


@contextlib.contextmanager
def relayed():
    with serve(ok()) as upstream, relay(upstream) as server:
        yield server


KINDS = {
    "tcp": lambda: serve(ok()),
    "tls": lambda: serve(ok(), tls=True),
    "unix": lambda: serve(ok(), unix=True),
    "isolated": lambda: serve(ok(), isolated=True),
    "relay": relayed,
    "proxy": lambda: http_proxy(ok()),
}
MEMBERS = {type_: [name for name in dir(type_) if not name.startswith("_")] for type_ in (Server, Ledger)}
RECORDED = {"recording", "to_pcap", "to_script"}  # which take a server that records
READS = {*Ledger._public, "wait"} - RECORDED  # the engine calls the others


def met(server):
    """A client has asked once, and is gone."""
    with connected(server) as client:
        client.sendall(GET)
        read(client)
    server.wait_for_attempts(1, at="end")
    return server


def arguments_of(name, monkeypatch):
    """What a method is called with."""
    return {
        "become": (ok(),),
        "becoming": (ok(),),
        "go_on": (ok(),),
        "trust": (monkeypatch,),
        "use_as_proxy": (monkeypatch,),
        "arrived": (1,),
        "wait": (1, "accept", 10.0),
        "wait_for_strike": (0.0,),
        "wait_for_attempts": (1,),
    }.get(name, ())


@pytest.mark.parametrize("kind", ["relay", "proxy"])  # others: tests/kinds/test_members.py
def test_each_member_of_a_server_that_passes_bytes_on_works_too(kind, monkeypatch):
    with KINDS[kind]() as server:
        met(server)
        for name in [*(name for name in MEMBERS[Server] if name != "close"), "close"]:
            value = getattr(server, name)
            if callable(value):
                with contextlib.suppress(UnsupportedError, WaitError):
                    done = value(*arguments_of(name, monkeypatch))
                    if inspect.iscoroutine(done):
                        asyncio.run(done)


@each_row("kind", KINDS)
def test_what_a_server_says_of_itself_is_the_same_when_it_is_closed(kind):
    with KINDS[kind]() as server:
        met(server)
        before = server.attempts, server.drawing(), server.url, server.path, server.plan, server.intervals

    assert (server.attempts, server.drawing(), server.url, server.path, server.plan, server.intervals) == before
    assert server.wait_for_attempts(1, 0.0) == server.attempts
    server.close()


@pytest.mark.measured
@pytest.mark.parametrize("when", ["open", "closed"])
@pytest.mark.parametrize("kind", KINDS)
def test_ledger_of_every_kind_works_and_says_the_same(kind, when, monkeypatch):
    with KINDS[kind]() as server:
        met(server)
        if when == "closed":
            server.close()
        ledger = server.ledger
        for name in MEMBERS[Ledger]:
            value = getattr(ledger, name)
            if callable(value) and name in READS:
                value(*arguments_of(name, monkeypatch))

        assert [type(a) for a in ledger.attempts] == [Attempt]
        assert ledger.attempts == server.attempts
        assert [a["number"] for a in json.loads(ledger.to_json())["attempts"]] == [1]
        assert ledger.now() >= ledger.attempts[0].ended_seconds
        for point in ("accept", "request", "end"):
            ledger.wait(1, point, 10.0)
            with pytest.raises(
                WaitError, match=rf"^1 of 2 attempts reached '{point}' within 0 s; attempts in all: 1\.$"
            ):
                ledger.wait(2, point, 0.0)
