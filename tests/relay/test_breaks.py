"""Each break of a relay at each place, from both ends: what passes before it, how it ends, and what the ledger says.

All places of a verb are tried at the same time, so that one silence is waited for and not one for each.
"""

from __future__ import annotations

import contextlib
import re
import socket
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from support import accepted, address_of, check_not_dialled, ending, is_quiet, reached, read, to_end

from faultline import Gate, close, half_close, inject, latency, ok, partition, relay, reset, stall
from faultline._net.sockets import unacknowledged_bytes

ASKS = [b"ask-1;", b"ask-2;", b"ask-3;"]
ANSWERS = [b"answer-1;", b"answer-2;", b"answer-3;"]


@dataclass(frozen=True)
class Place:
    """Where a break strikes: its point and trigger, in which turn, and what upstream and client have got by then."""

    at: str
    trigger: dict[str, Any]
    turn: int
    asked: bytes
    answered: bytes


PLACES = [
    Place("accept", {}, 0, b"", b""),
    Place("request", {}, 1, b"", b""),
    Place("request", {"after_bytes": 1}, 1, b"a", b""),
    Place("request", {"after_bytes": 3}, 1, b"ask", b""),
    Place("request", {"after_bytes": 8}, 2, b"ask-1;as", b"answer-1;"),
    Place("request", {"on": b"sk-1"}, 1, b"ask-1;", b""),
    Place("request", {"on": b"-1;as"}, 2, b"ask-1;ask-2;", b"answer-1;"),
    Place("request", {"on": re.compile(rb"k-[23]")}, 2, b"ask-1;ask-2;", b"answer-1;"),
    Place("request", {"after_messages": 0}, 1, b"", b""),
    Place("request", {"after_messages": 1}, 2, b"ask-1;", b"answer-1;"),
    Place("request", {"after_messages": 2}, 3, b"ask-1;ask-2;", b"answer-1;answer-2;"),
    Place("response", {}, 1, b"ask-1;", b""),
    Place("response", {"after_bytes": 1}, 1, b"ask-1;", b"a"),
    Place("response", {"after_bytes": 3}, 1, b"ask-1;", b"ans"),
    Place("response", {"after_bytes": 11}, 2, b"ask-1;ask-2;", b"answer-1;an"),
    Place("response", {"on": b"nsw"}, 1, b"ask-1;", b"answ"),
    Place("response", {"on": b"-1;a"}, 2, b"ask-1;ask-2;", b"answer-1;a"),
    Place("response", {"on": re.compile(rb"e(?=r-2)")}, 2, b"ask-1;ask-2;", b"answer-1;answe"),
    Place("response", {"after_messages": 0}, 1, b"ask-1;", b""),
    Place("response", {"after_messages": 1}, 2, b"ask-1;ask-2;", b"answer-1;"),
    Place("response", {"after_messages": 2}, 3, b"ask-1;ask-2;ask-3;", b"answer-1;answer-2;"),
    Place("idle", {"after_seconds": 0.02}, 1, b"ask-1;", b"answer-1;"),
]
SPOKEN = [place for place in PLACES if place.at in ("request", "response")]


class Scene:
    """A relay with a break at one place, its client, and its upstream, which the test holds."""

    def __init__(self, stack, place, plan):
        self.place = place
        self.listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.listener.settimeout(10)
        self.server = relay(address_of(self.listener), plan)
        stack.callback(self.server.close)
        self.client = reached(self.server)
        stack.callback(self.client.close)
        self.upstream = None

    def bring_to_the_strike(self):
        """Talk until the break strikes."""
        place = self.place
        if place.turn:
            self.upstream = accepted(self.listener)
        heard = got = b""
        for number in range(1, place.turn + 1):
            strikes = number == place.turn
            self.client.sendall(ASKS[number - 1])
            wanted = place.asked if strikes and place.at == "request" else b"".join(ASKS[:number])
            heard += read(self.upstream, len(wanted) - len(heard))
            if not (strikes and place.at == "request"):
                self.upstream.sendall(ANSWERS[number - 1])
                wanted = place.answered if strikes and place.at == "response" else b"".join(ANSWERS[:number])
                got += read(self.client, len(wanted) - len(got))
        assert (place, heard, got) == (place, place.asked, place.answered)

    def check_upstream_hears_the_end(self):
        """Check that the upstream hears FIN, or was not dialled if the break came before that."""
        if self.upstream is None:
            check_not_dialled(self.listener)
        else:
            assert (self.place, *to_end(self.upstream)) == (self.place, b"", "FIN")

    def check_strike(self, attempt):
        """Check that the ledger has the strike at its place, and every byte before it."""
        place = self.place
        assert (place, attempt.struck.point) == (place, place.at)
        if "after_bytes" in place.trigger:
            assert attempt.struck.after_bytes == place.trigger["after_bytes"]
        if place.at != "request":  # what came together with a match at `request` has been read
            assert (place, attempt.sent_bytes) == (place, len(place.answered))
        if place.at == "response":
            assert (place, attempt.received_bytes) == (place, len(place.asked))


@pytest.fixture
def scenes():
    """A function that starts a relay for each place."""
    with contextlib.ExitStack() as stack:

        def begin(verb, places=PLACES, **options):
            begun = [Scene(stack, place, verb(at=place.at, **place.trigger, **options)) for place in places]
            stack.callback(lambda: [scene.upstream.close() for scene in begun if scene.upstream])
            return begun

        yield begin


@pytest.fixture
def struck(scenes):
    """A function that brings a relay for each place to its strike."""

    def bring(verb, places=PLACES, **options):
        begun = scenes(verb, places, **options)
        for scene in begun:
            scene.bring_to_the_strike()
        for scene in begun:
            scene.server.wait_for_strike()
        return begun

    return bring


# --- verbs that end the conversation ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("verb", "end"), [(reset, "RST"), (close, "FIN")])
def test_a_break_lets_exactly_so_much_pass_and_then_ends_both_connections(struck, verb, end):
    for scene in struck(verb):
        assert (scene.place, *to_end(scene.client)) == (scene.place, b"", end)
        scene.check_upstream_hears_the_end()
        (attempt,) = scene.server.wait_for_attempts(1, at="end")
        assert ending(attempt) == ("server", end)
        scene.check_strike(attempt)


@pytest.mark.slow
def test_a_half_close_lets_the_client_talk_on_to_the_relay_alone(struck):
    for scene in struck(half_close):
        assert (scene.place, *to_end(scene.client)) == (scene.place, b"", "FIN")
        scene.client.sendall(b"still there?")
        scene.client.close()
        scene.check_upstream_hears_the_end()
        (attempt,) = scene.server.wait_for_attempts(1, at="end")
        assert ending(attempt) == ("client", "FIN")
        assert attempt.received_bytes == len(b"".join(ASKS[: scene.place.turn])) + len(b"still there?")
        assert attempt.struck.point == scene.place.at


@pytest.mark.slow
def test_a_stall_lets_nothing_pass_in_either_direction_until_the_client_leaves(struck):
    scenes = struck(stall)
    upstreams = [scene.upstream for scene in scenes if scene.upstream]
    for scene in scenes:
        scene.client.sendall(b"still there?")
    for upstream in upstreams:
        upstream.sendall(b"more")

    assert is_quiet(*upstreams, *(scene.client for scene in scenes))
    for scene in scenes:
        scene.client.close()
        (attempt,) = scene.server.wait_for_attempts(1, at="end")
        assert ending(attempt) == ("client", "FIN")
        assert attempt.waited_seconds > 0
        scene.check_strike(attempt)
        scene.check_upstream_hears_the_end()


@pytest.mark.slow
@pytest.mark.everywhere
def test_a_partition_keeps_all_that_the_client_says_from_being_acknowledged(struck, needs_filter):
    del needs_filter
    scenes = struck(partition)
    for scene in scenes:
        scene.client.sendall(b"still there?")

    assert is_quiet(*(scene.client for scene in scenes))
    for scene in scenes:
        assert unacknowledged_bytes(scene.client) >= len(b"still there?")
        scene.server.close()
        (attempt,) = scene.server.attempts
        assert (*ending(attempt), attempt.struck.point) == ("server", "stop", scene.place.at)
        scene.check_upstream_hears_the_end()


LATE = latency(0.001, direction="request")  # which parses the client's bytes
PARSED = pytest.mark.parametrize("also", [ok(), LATE], ids=["pumped", "parsed"])


@pytest.mark.slow
@PARSED
def test_a_half_close_that_waits_leaves_the_upstream_alone_until_it_strikes(join, also):
    server, client, upstream = join(half_close(at="request", after_bytes=3, after_seconds=0.1) & also)
    client.sendall(b"ask")
    assert to_end(upstream) == (b"ask", "FIN")
    assert server.attempts[0].struck is not None
    upstream.close()

    assert to_end(client) == (b"", "FIN")
    client.close()
    (attempt,) = server.wait_for_attempts(1, at="end")
    assert attempt.struck.at_seconds - attempt.started_seconds >= 0.1


@PARSED
def test_the_end_of_the_upstream_does_not_pass_during_a_break(join, also):
    gate = Gate()
    server, client, upstream = join(stall(at="request", after_bytes=3, until=gate) & also)
    client.sendall(b"ask")
    server.wait_for_strike()
    upstream.shutdown(socket.SHUT_WR)

    assert is_quiet(client)
    gate.open()
    assert to_end(client) == (b"", "FIN")


# --- verbs after which it goes on ------------------------------------------------------------------------------------


def until(sock, got, end):
    """Read on until what was got contains this."""
    while end not in got:
        data = sock.recv(1000)
        assert data, got
        got += data


def talk_on(client, upstream, turns=(1, 2, 3), heard=b"", got=b""):
    """Talk to the end, whatever is put in between: what the upstream and the client have got."""
    heard, got = bytearray(heard), bytearray(got)
    for number in turns:
        client.sendall(ASKS[number - 1])
        until(upstream, heard, b"-%d;" % number)
        upstream.sendall(ANSWERS[number - 1])
        until(client, got, b"-%d;" % number)
    client.shutdown(socket.SHUT_WR)
    heard += to_end(upstream)[0]
    upstream.close()
    got += to_end(client)[0]
    return bytes(heard), bytes(got)


@pytest.mark.slow
def test_a_stall_for_some_time_loses_nothing(scenes):
    for scene in scenes(stall, PLACES[:-1], for_seconds=0.002):
        with accepted(scene.listener) as upstream:
            assert talk_on(scene.client, upstream) == (b"".join(ASKS), b"".join(ANSWERS))
        (attempt,) = scene.server.wait_for_attempts(1, at="end")
        assert (*ending(attempt), attempt.struck.point) == ("client", "FIN", scene.place.at)
        assert (attempt.received_bytes, attempt.sent_bytes) == (len(b"".join(ASKS)), len(b"".join(ANSWERS)))


@pytest.mark.slow
def test_a_stall_until_a_gate_opens_holds_both_directions_and_loses_nothing(struck):
    gate = Gate()
    scenes = struck(stall, SPOKEN, until=gate)
    for scene in scenes:
        scene.upstream.sendall(b"of the upstream")
        scene.client.sendall(b"of the client")

    assert is_quiet(*(sock for scene in scenes for sock in (scene.client, scene.upstream)))
    gate.open()
    for scene in scenes:
        place = scene.place
        rest = b"".join(ASKS[: place.turn]).removeprefix(place.asked) + b"of the client"
        assert read(scene.upstream, len(rest)) == rest
        answers = ANSWERS[: place.turn - (place.at == "request")]
        rest = b"".join(answers).removeprefix(place.answered) + b"of the upstream"
        assert read(scene.client, len(rest)) == rest


def test_an_idle_stall_for_some_time_goes_on_afterwards(join):
    server, client, upstream = join(stall(at="idle", after_seconds=0.01, for_seconds=0.01))
    client.sendall(ASKS[0])
    assert read(upstream, 6) == ASKS[0]
    upstream.sendall(ANSWERS[0])
    assert read(client, 9) == ANSWERS[0]
    server.wait_for_attempts(1, at="idle")

    assert talk_on(client, upstream, (2, 3), ASKS[0], ANSWERS[0]) == (b"".join(ASKS), b"".join(ANSWERS))
    assert server.attempts[0].struck.point == "idle"


@pytest.mark.slow
def test_injected_bytes_come_exactly_where_a_break_would(scenes):
    for scene in scenes(partial(inject, b"!"), SPOKEN):
        place, asked, answered = scene.place, b"".join(ASKS), b"".join(ANSWERS)
        if place.at == "request":
            asked = place.asked + b"!" + asked[len(place.asked) :]
        else:
            answered = place.answered + b"!" + answered[len(place.answered) :]
        with accepted(scene.listener) as upstream:
            assert (place, *talk_on(scene.client, upstream)) == (place, asked, answered)
        assert scene.server.attempts[0].struck.point == place.at
