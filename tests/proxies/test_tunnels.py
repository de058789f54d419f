"""What a tunnel does, opened by CONNECT at an HTTP proxy or by SOCKS, healthy and broken, seen from both ends."""

from __future__ import annotations

import os
import re
import socket

import pytest
from support import SILENCE_SECONDS, ending, is_quiet, read, to_end
from support.clients import by_requests

from faultline import (
    NotStruckError,
    blackhole,
    close,
    corrupt,
    drop_bytes,
    duplicate,
    echo,
    half_close,
    inject,
    latency,
    ok,
    raises,
    reset,
    stall,
    throttle,
)

pytestmark = pytest.mark.leaves_open

LEAVES_BY_RST = b"\1\0\0\0\0\0\0\0"


# --- healthy ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["client", "upstream"])
def test_a_half_close_passes_through_and_the_other_way_stays_open(joined, first):
    proxy, client, upstream = joined()
    one, other = (client, upstream) if first == "client" else (upstream, client)
    one.sendall(b"my last words")
    one.shutdown(socket.SHUT_WR)

    assert to_end(other) == (b"my last words", "FIN")
    other.sendall(b"and now me")
    other.shutdown(socket.SHUT_WR)
    assert to_end(one) == (b"and now me", "FIN")
    assert [ending(a) for a in proxy.wait_for_attempts(1, at="end")] == [(first, "FIN")]


@pytest.mark.parametrize("side", ["client", "upstream"])
def test_a_rst_passes_through(joined, side):
    proxy, client, upstream = joined()
    sock, other = (client, upstream) if side == "client" else (upstream, client)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LEAVES_BY_RST)
    sock.close()

    assert to_end(other) == (b"", "RST")
    assert [ending(a) for a in proxy.wait_for_attempts(1, at="end")] == [(side, "RST")]


@pytest.mark.parametrize("plan", [None, stall(at="tunnel", for_seconds=0.01), latency(0.01)], ids=repr)
def test_what_comes_together_with_the_request_goes_into_the_tunnel(kind, listener, accepted, dial, plan):
    data = kind.asks(listener.getsockname()[1])
    with kind.start(plan) as proxy:
        client = dial(proxy, data + b"early bird")
        upstream = accepted()

        assert read(upstream, 10) == b"early bird"
        upstream.sendall(b"worm")
        assert read(client, len(kind.granted) + 4) == kind.granted + b"worm"
        assert [a.received_bytes for a in proxy.attempts] == [len(data) + 10]


def test_a_request_that_comes_byte_by_byte_is_understood(kind, listener, accepted, dial):
    with kind.start() as proxy:
        client = dial(proxy)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in kind.asks(listener.getsockname()[1]):
            client.sendall(bytes((byte,)))

        accepted().sendall(b"hello")

        assert read(client, len(kind.granted) + 5) == kind.granted + b"hello"


def test_megabytes_go_through_and_come_back_byte_for_byte(faultline, kind):
    data = os.urandom(4 << 20)
    origin = faultline.serve(echo())

    with kind.start() as proxy, socket.create_connection(proxy.address, 10) as client:
        client.sendall(kind.asks(origin.port))
        assert read(client, len(kind.granted)) == kind.granted
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(data))
        client.sendall(data)
        assert read(client).partition(b"\r\n\r\n")[2] == data
        assert proxy.attempts[0].received_bytes > len(data)
        assert proxy.attempts[0].sent_bytes > len(data)


def test_bytes_and_turns_are_counted_in_both_directions(joined, kind, listener):
    proxy, client, upstream = joined()
    client.sendall(b"12345")
    assert read(upstream, 5) == b"12345"
    upstream.sendall(b"1234567")
    assert read(client, 7) == b"1234567"

    (attempt,) = proxy.attempts
    asks, granted = len(kind.asks(listener.getsockname()[1])), len(kind.granted)
    assert (attempt.received_bytes, attempt.sent_bytes) == (asks + 5, granted + 7)
    assert [(t.by, t.count_bytes) for t in attempt.turns][-2:] == [("client", 5), ("server", 7)]
    assert (attempt.point, attempt.ended_seconds, attempt.connection) == ("tunnel", None, 1)
    assert attempt.request.target == f"127.0.0.1:{listener.getsockname()[1]}"


# --- breaks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "passes", "ends"),
    [
        (stall(at="tunnel"), b"", "silence"),
        (reset(at="tunnel", after_bytes=6), b"abcdef", "RST"),
        (half_close(at="tunnel", after_bytes=3), b"abc", "FIN"),
        (close(at="tunnel", on=re.compile(rb"[de]")), b"abcd", "FIN"),
    ],
    ids=repr,
)
def test_a_break_strikes_after_the_very_byte(joined, kind, fault, passes, ends):
    proxy, client, upstream = joined(fault)
    if passes:
        client.sendall(b"cd def, not counted")
        assert read(upstream, 19) == b"cd def, not counted"
        upstream.sendall(b"abcdefgh")

    assert read(client, len(passes)) == passes
    assert to_end(client, SILENCE_SECONDS if ends == "silence" else 10) == (b"", ends)
    (attempt,) = proxy.wait_for_attempts(1, at="tunnel")
    assert (attempt.point, attempt.struck.point, attempt.struck.after_bytes) == ("tunnel", "tunnel", len(passes))
    assert attempt.sent_bytes == len(kind.granted) + len(passes)
    if repr(fault).startswith(("reset", "close")):
        assert to_end(upstream)[1] in ("FIN", "RST")
        assert ending(attempt) == ("server", ends)


def test_two_reads_make_the_words_on_which_it_strikes(joined):
    proxy, client, upstream = joined(reset(at="tunnel", on=b"boundary"))
    upstream.sendall(b"the boun")
    assert read(client, 8) == b"the boun"
    upstream.sendall(b"dary and more")

    assert to_end(client) == (b"dary", "RST")
    assert proxy.attempts[0].struck.after_bytes == 12


@pytest.mark.parametrize("at", ["response", "tunnel"])
def test_bytes_are_put_into_the_tunnel(joined, kind, at):
    before = len(kind.granted) if at == "response" else 0
    proxy, client, upstream = joined(inject(b"<!>", at=at, after_bytes=before + 3))
    upstream.sendall(b"abcdef")

    assert read(client, 9) == b"abc<!>def"
    assert proxy.attempts[0].struck is not None


@pytest.mark.parametrize(
    ("condition", "arrives"),
    [
        (lambda begin: corrupt(at_byte=begin + 5), b"abcdeg"),
        (lambda begin: drop_bytes(2, at_byte=begin + 1), b"adef"),
        (lambda begin: duplicate(2, at_byte=begin + 1), b"abcbcdef"),
        (lambda _: latency(0.01, direction="both") & throttle(10_000, direction="request"), b"abcdef"),
    ],
    ids=["corrupt the last", "drop_bytes", "duplicate", "latency and throttle"],
)
def test_conditions_hold_in_the_tunnel(joined, kind, condition, arrives):
    proxy, client, upstream = joined(condition(len(kind.granted)))
    client.sendall(b"ask")
    assert read(upstream, 3) == b"ask"
    upstream.sendall(b"abcdef")
    upstream.shutdown(socket.SHUT_WR)

    assert to_end(client) == (arrives, "FIN")
    if arrives == b"abcdef":
        assert proxy.attempts[0].turns[-1].at_seconds - proxy.attempts[0].started_seconds >= 0.02


# --- origins that fail ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [reset(), reset(at="accept")], ids=repr)
def test_an_origin_that_resets_resets_the_client(faultline, kind, fault):
    origin = faultline.serve(fault, tls=True)

    with kind.start() as proxy:
        with raises(ConnectionResetError):
            by_requests(origin.url, origin, proxy=proxy)

        (attempt,) = proxy.wait_for_attempts(1, at="end")
        assert (attempt.struck, *ending(attempt)) == (None, "upstream", "RST")
        assert origin.attempts[0].struck.point == fault.break_.at


@pytest.mark.slow
@pytest.mark.everywhere
def test_an_origin_that_never_accepts_holds_the_client_until_its_timeout(faultline, kind):
    origin = faultline.serve(blackhole())

    with kind.start() as proxy:
        with raises(TimeoutError):
            by_requests(origin.url, timeout=0.1, proxy=proxy)
        assert [(a.point, a.request.target.rpartition(":")[2].strip("/")) for a in proxy.attempts] == [
            ("request", str(origin.port))
        ]


# --- controls ---------------------------------------------------------------------------------------------------------


def test_a_plan_that_changes_meets_the_next_client_and_leaves_the_open_tunnel_alone(joined, kind, dial):
    proxy, client, upstream = joined()
    proxy.become(close())

    upstream.sendall(b"still here")
    assert read(client, 10) == b"still here"
    assert to_end(dial(proxy, kind.asks(9))) == (b"", "FIN")
    assert [a.fault for a in proxy.attempts] == [ok(), close()]


@pytest.mark.parametrize(
    ("before", "fault"),
    [
        (None, reset()),
        (stall(at="tunnel", after_bytes=1000), reset(at="tunnel", after_bytes=3)),
        (latency(0.001), reset(at="tunnel", after_bytes=3)),
    ],
    ids=repr,
)
def test_an_open_tunnel_meets_the_new_plan_from_the_next_byte_on(joined, before, fault):
    proxy, client, upstream = joined(before, strict=False)
    upstream.sendall(b"before")
    assert read(client, 6) == b"before"

    proxy.become(fault, open_too=True)
    upstream.sendall(b"abcdef")

    assert to_end(client) == (b"abcdef"[: fault.break_.trigger.after_bytes], "RST")
    struck = proxy.attempts[0].struck
    if fault.break_.at == "tunnel":
        assert struck.after_bytes == 6 + 3  # of all that have come back through the tunnel
    assert struck is not None


@pytest.mark.slow
@pytest.mark.parametrize(("act", "ends"), [("reset_all", "RST"), ("close_all", "FIN")])
def test_all_open_tunnels_are_ended_at_once(kind, opened, act, ends):
    with kind.start() as proxy:
        pairs = [opened(proxy) for _ in range(100)]

        assert getattr(proxy, act)() == 100

        assert {to_end(client) for client, _ in pairs} == {(b"", ends)}
        assert {to_end(upstream)[1] for _, upstream in pairs} == {"FIN"}
        assert {(*ending(a), a.point) for a in proxy.attempts} == {("server", ends, "tunnel")}


@pytest.mark.slow
def test_a_paused_tunnel_lets_nothing_pass_and_loses_nothing(joined):
    proxy, client, upstream = joined()
    assert proxy.pause() == 1
    client.sendall(b"ask")
    upstream.sendall(b"answer")

    assert is_quiet(client)
    assert is_quiet(upstream)
    assert proxy.resume() == 1
    assert (read(client, 6), read(upstream, 3)) == (b"answer", b"ask")


def test_closing_the_proxy_closes_its_tunnels_and_frees_the_port(kind, opened):
    with kind.start() as proxy:
        client, upstream = opened(proxy)

    assert to_end(client)[1] in ("FIN", "RST")
    assert to_end(upstream)[1] in ("FIN", "RST")
    with socket.create_server(proxy.address):
        pass
    assert repr(proxy) == f"<Proxy {proxy.proxy_url} ok() closed>"


# --- the guard --------------------------------------------------------------------------------------------------------


def test_a_fault_in_a_tunnel_without_any_client_never_struck(kind):
    with (
        pytest.raises(NotStruckError, match=r"^reset\(at='tunnel'\) never struck: no client connected to 127\.0\.0\.1"),
        kind.start(reset(at="tunnel")),
    ):
        pass
    with kind.start(reset(at="tunnel"), strict=False) as proxy:
        pass
    assert proxy.attempts == ()


def test_a_fault_in_a_tunnel_to_nowhere_never_struck_and_it_says_why(kind, dial, nobody):
    with (
        pytest.raises(NotStruckError, match=rf"the upstream {re.escape(nobody)} could not be reached"),
        kind.start(reset(at="tunnel")) as proxy,
    ):
        assert to_end(dial(proxy, kind.asks(int(nobody.rpartition(":")[2]))))[1] == "FIN"


def test_a_break_after_more_bytes_than_came_never_struck(joined):
    proxy, client, upstream = joined(reset(at="tunnel", after_bytes=100))
    upstream.sendall(b"x" * 99)
    assert read(client, 99) == b"x" * 99

    with pytest.raises(NotStruckError, match=r" never struck: #1 \w+ .* reached 'tunnel', "):
        proxy.check_struck()
    proxy.become(ok())
    upstream.sendall(b"x")
    assert to_end(client) == (b"x", "RST")  # the open tunnel keeps its fault
