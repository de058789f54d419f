"""A verb that holds a connection lets it go on when its toxic goes: what was held leaves in order."""

from __future__ import annotations

import select
import socket

import pytest
from support import PATIENCE_SECONDS, accepted, address_of, is_quiet, read, to_end
from support.control import dialled, fetched, refuses

TOXICS = "/proxies/line/toxics"
FAULT = f"{TOXICS}/fault_downstream"
HOLDS = [
    "stall(after_bytes=2)",
    "stall(after_bytes=2, for_seconds=60)",
    "stall(at='request', after_bytes=1)",
    "stall(on=b'hell')",
    "stall(at='accept')",
    "stall(at='accept', for_seconds=60)",
    pytest.param("partition(after_bytes=2)", marks=pytest.mark.slow),
]
LIFTS = {
    "removed": ("DELETE", FAULT, None),
    "replaced": ("PATCH", FAULT, {"attributes": {"plan": "ok()"}}),
    "of toxicity 0": ("PATCH", FAULT, {"toxicity": 0}),
    "reset": ("POST", "/reset", None),
}


class Line:
    """A proxy `line` in front of a server that the test plays."""

    def __init__(self, ask, api, listener):
        listener.settimeout(PATIENCE_SECONDS)
        self._api, self._listener = api, listener
        self.ask = ask
        self.made = ask.make("line", address_of(listener))

    def add(self, plan):
        """Add a fault."""
        assert self.ask("POST", TOXICS, {"type": "fault", "attributes": {"plan": plan}}).status == 200

    def lift(self, how="removed"):
        """Have the fault go."""
        assert self.ask(*LIFTS[how]).status < 300

    def dialled(self):
        """A client."""
        return dialled(self.made)

    def accepted(self):
        """The server's end."""
        return accepted(self._listener)

    def wait_for_strike(self):
        """Wait until the fault has struck."""
        self._api.proxies["line"].wait_for_attempts(1, at="strike")


@pytest.fixture
def line(ask, faultline_control, listener):
    return Line(ask, faultline_control, listener)


@pytest.mark.unmeasured
@pytest.mark.parametrize("lift", LIFTS)
@pytest.mark.parametrize("plan", HOLDS)
def test_what_is_held_leaves_in_order(line, request, plan, lift):
    if plan.startswith("partition"):
        request.getfixturevalue("needs_filter")
    line.add(plan)
    with line.dialled() as client:
        client.sendall(b"hello")
        if "accept" in plan:
            line.wait_for_strike()
            assert is_quiet(client)
            line.lift(lift)
        with line.accepted() as server:
            server.sendall(b"abcdef")
            if "accept" not in plan:
                line.wait_for_strike()
                line.lift(lift)

            assert (read(client, 6), read(server, 5)) == (b"abcdef", b"hello")
            client.sendall(b"still here")
            assert read(server, 10) == b"still here"
            server.sendall(b"too")
            server.close()
            assert to_end(client) == (b"too", "FIN")


@pytest.mark.parametrize("plan", ["close(after_seconds=60)", "reset(at='request', after_seconds=60)"])
def test_a_break_that_waits_for_its_time_is_given_up(line, plan):
    line.add(plan)
    with line.dialled() as client, line.accepted() as server:
        server.sendall(b"abc")
        client.sendall(b"hello")
        line.lift()

        assert (read(client, 3), read(server, 5)) == (b"abc", b"hello")


def test_another_toxic_that_goes_lets_nothing_go_on(line):
    line.ask("POST", TOXICS, {"type": "noop", "name": "other"})
    line.add("stall(after_bytes=2)")
    with line.dialled() as client, line.accepted() as server:
        server.sendall(b"abcdef")
        assert read(client, 2) == b"ab"
        line.wait_for_strike()
        line.ask("DELETE", f"{TOXICS}/other")

        assert is_quiet(client)
        line.lift()
        assert read(client, 4) == b"cdef"


@pytest.mark.parametrize("at", ["request", "response"])
def test_a_silence_that_another_follows_is_silent_still(line, at):
    line.add(f"stall(at={at!r}, after_bytes=2)")
    with line.dialled() as client, line.accepted() as server:
        source, sink = (client, server) if at == "request" else (server, client)
        source.sendall(b"abcdef")
        assert read(sink, 2) == b"ab"
        line.wait_for_strike()
        line.ask("PATCH", FAULT, {"attributes": {"plan": f"stall(at={at!r}, after_bytes=3)"}})

        assert read(sink, 3) == b"cde"
        assert is_quiet(sink)


def test_a_door_that_refuses_opens(line):
    line.add("refuse()")
    assert refuses(line.made)
    line.lift()

    with line.dialled() as client, line.accepted() as server:
        client.sendall(b"hello")
        assert read(server, 5) == b"hello"


@pytest.mark.slow
def test_a_connect_that_is_black_holed_gets_through(line):
    line.add("blackhole()")
    host, _, port = line.made["listen"].rpartition(":")
    with socket.socket() as client:
        client.setblocking(False)
        assert client.connect_ex((host, int(port)))
        line.lift()
        client.settimeout(PATIENCE_SECONDS)
        assert select.select([], [client], [], PATIENCE_SECONDS)[1]
        with line.accepted() as server:
            client.sendall(b"hello")
            assert read(server, 5) == b"hello"


@pytest.mark.parametrize("control", ["pause", pytest.param("partition", marks=pytest.mark.slow)])
def test_reset_ends_a_pause_and_a_partition_too(line, request, control):
    if control == "partition":
        request.getfixturevalue("needs_filter")
    with line.dialled() as client, line.accepted() as server:
        assert line.ask("POST", f"/proxies/line/{control}").data == {"connections": 1}
        client.sendall(b"hello")
        assert is_quiet(server)
        line.ask("POST", "/reset")

        assert read(server, 5) == b"hello"


def test_a_proxy_that_was_paused_and_is_enabled_again_passes_bytes(ask, web):
    made = ask.make("web", web)
    ask("POST", "/proxies/web/pause")
    ask("POST", "/proxies/web", {"enabled": False})
    ask("POST", "/reset")

    assert fetched(made) == (b"hello", "FIN")
