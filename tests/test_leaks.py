"""The leak check: `assert_closed` finds a connection that a client still holds, on every kind of server."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from unittest.mock import Mock

import pytest
from support.tables import each_row

from faultline import (
    LeakError,
    ParameterError,
    ServerError,
    close,
    http_proxy,
    ok,
    partition,
    relay,
    reset,
    resolve,
    serve,
    socks_proxy,
    stall,
    udp,
)
from faultline._net.peers import GONE, Peer, Peers
from faultline._servers import clients

GET = b"GET /page HTTP/1.1\r\nHost: h\r\n\r\n"
LAST_GET = GET.replace(b"Host", b"Connection: close\r\nHost")


def connected(server):
    if server.path:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(10)
        client.connect(server.path)
        return client
    return socket.create_connection(server.address, 10)


@contextlib.contextmanager
def upstream_and_relay():
    with serve(ok()) as upstream, relay(upstream) as server:
        yield server


KINDS = {
    "server": lambda: serve(ok()),
    "silent": lambda: serve(stall(), strict=False),
    "unix": lambda: serve(ok(), unix=True),
    "isolated": lambda: serve(ok(), isolated=True),
    "relay": upstream_and_relay,
    "http_proxy": http_proxy,
    "socks_proxy": socks_proxy,
}


@pytest.mark.slow
@each_row("kind", KINDS)
def test_connection_that_a_client_holds_is_a_leak_until_the_client_closes_it(kind):
    with KINDS[kind]() as server:
        server.assert_closed()
        with connected(server):
            server.wait_for_attempts(1)
            with pytest.raises(LeakError, match=r"^a client still holds connection 1 of .*: #1: "):
                server.assert_closed(timeout_seconds=0.0)
        server.assert_closed()


def test_idle_connection_of_a_pool_is_a_leak_with_its_last_attempt():
    with serve(ok(b"hello")) as server, connected(server) as client, connected(server) as other:
        for number in (1, 2):
            client.sendall(GET)
            with client.makefile("rb") as stream:
                while stream.readline().strip():
                    pass
                assert stream.read(5) == b"hello", number
        server.wait_for_attempts(3)
        other.close()
        with pytest.raises(
            LeakError, match=r"^[^\n]* holds connection \d of http://127\.0\.0\.1:\d+: #\d GET /page: [^\n]*$"
        ):
            server.assert_closed(timeout_seconds=0.05)


def test_check_waits_for_a_client_that_is_about_to_close():
    with serve(ok()) as server, connected(server) as client:
        server.wait_for_attempts(1)
        timer = threading.Timer(0.05, client.close)
        timer.start()
        server.assert_closed(timeout_seconds=60)
        timer.join()


@pytest.mark.slow
def test_check_of_longer_than_a_call_of_the_loop_goes_on(monkeypatch):
    monkeypatch.setattr("faultline._servers.leaks.WAIT_SECONDS", 0.01)
    with serve(ok()) as server, connected(server) as client:
        server.wait_for_attempts(1)
        with pytest.raises(LeakError):
            server.assert_closed(timeout_seconds=0.1)
        client.close()
        server.assert_closed(timeout_seconds=60)


def test_connection_that_the_server_ended_is_no_leak():
    with serve(ok()) as server, connected(server):
        server.wait_for_attempts(1)
        server.reset_all()
        server.assert_closed()


def test_endpoints_without_connections_have_no_leak():
    with udp(ok(b"x")) as datagrams, resolve("db.example.com", ok()) as resolver:
        datagrams.assert_closed()
        resolver.assert_closed()


def test_closed_server_cannot_be_checked():
    server = serve(ok())
    server.close()
    with pytest.raises(ServerError, match=re.escape("expected an open server; it was closed.")):
        server.assert_closed()


@each_row("value", [-1, "soon", float("nan")])
def test_timeout_that_is_no_duration_is_refused(value):
    with serve(ok()) as server, pytest.raises(ParameterError, match="timeout_seconds="):
        server.assert_closed(timeout_seconds=value)


@each_row("isolated", [False, True])
def test_drawing_says_which_connection_is_still_open(isolated):
    with serve(ok(), isolated=isolated) as server, connected(server) as client:
        with connected(server):
            server.wait_for_attempts(2)
        server.wait_for_attempts(1, at="end")
        drawn = server.drawing(width=80, color=False)
        client.close()

    assert drawn.count("still open") == 1
    assert "still open" in drawn.partition("#2 ")[0]


# --- what the server can't see by itself -----------------------------------------------------------------------------

SORTS = {
    "tcp": {},
    "tls": {"tls": True},
    "unix": {"unix": True},
    "isolated": {"isolated": True},
    "isolated unix": {"isolated": True, "unix": True},
    "relay": None,
    "relay of unix": None,
}


@contextlib.contextmanager
def serving(sort, plan=None):
    """A server of this sort, and all servers that it needs."""
    plan = plan or ok(b"hello")
    if SORTS[sort] is not None:
        with serve(plan, strict=False, **SORTS[sort]) as server:
            yield server, [server]
    else:
        with (
            serve(ok(b"hello"), unix="unix" in sort) as upstream,
            relay(upstream, ok() if plan == ok(b"hello") else plan, strict=False) as server,
        ):
            yield server, [server, upstream]


def dialled(server):
    client = connected(server)
    return (
        server.client_context().wrap_socket(client, server_hostname="localhost")
        if server.url.startswith("https")
        else client
    )


def until_answered(client):
    data = b""
    while not data.endswith(b"hello"):
        data += client.recv(100)


def until_end(client):
    while client.recv(100):
        pass


def by_fault(server, client):
    client.sendall(GET)


def by_close_all(server, client):
    client.sendall(GET)
    until_answered(client)
    server.close_all()


def by_become(server, client):
    client.sendall(GET)
    until_answered(client)
    server.wait_for_attempts(1, at="idle")
    server.become(close(at="accept"))
    server.wait_for_attempts(1, at="end")


def by_answer(server, client):
    client.sendall(LAST_GET)


@pytest.mark.slow
@each_row(
    ("sort", "end"),
    [
        (sort, end)
        for sort in SORTS
        for end in (by_fault, by_close_all, by_become, by_answer)
        if end is not by_become or "relay" not in sort  # which is never idle
    ],
)
def test_connection_that_the_server_ended_is_a_leak_until_the_client_closes_it(sort, end):
    with serving(sort, close(after_bytes=10) if end is by_fault else None) as (server, servers):
        with dialled(server) as client:
            end(server, client)
            if (sort, end) != ("tls", by_become):  # OpenSSL answers a FIN alone by an alert, and is reset
                until_end(client)
            with pytest.raises(LeakError, match=r"^a client still holds connection 1 of [^\n]*: #1[ :][^\n]*$"):
                server.assert_closed(timeout_seconds=0.0)
        for each in servers:
            each.assert_closed(timeout_seconds=60)


def test_client_that_has_ended_tls_only_is_a_leak():
    with serve(ok(b"hello"), tls=True) as server, dialled(server) as client:
        client.sendall(GET)
        until_answered(client)
        with client.unwrap() as plain:
            assert plain.recv(1) == b""
            with pytest.raises(LeakError, match="still holds connection 1"):
                server.assert_closed(timeout_seconds=0.0)
        server.assert_closed(timeout_seconds=60)


@pytest.mark.parametrize(
    ("sort", "control"),
    [(sort, "pause") for sort in SORTS]
    + [(sort, "partition") for sort in SORTS if not (SORTS[sort] or {}).get("unix")],
)
def test_client_that_left_where_no_packet_passes_is_no_leak(sort, control, request):
    if control == "partition":
        request.getfixturevalue("needs_filter")
    with serving(sort) as (server, servers):
        with dialled(server) as client:
            client.sendall(GET)
            until_answered(client)
            getattr(server, control)()
            with pytest.raises(LeakError, match="still holds connection 1"):
                server.assert_closed(timeout_seconds=0.0)
        for each in servers:
            each.assert_closed(timeout_seconds=60)


@pytest.mark.usefixtures("needs_filter")
@pytest.mark.parametrize("sort", ["tcp", "tls", "isolated", "relay", "relay of unix"])
def test_client_that_left_a_fault_that_drops_packets_is_no_leak(sort):
    with serving(sort, partition(at="response")) as (server, servers):
        with dialled(server) as client:
            client.sendall(GET)
            server.wait_for_strike()
        for each in servers:
            each.assert_closed(timeout_seconds=60)


@each_row("sort", ["tcp", "unix"])
def test_client_that_was_reset_is_no_leak_though_its_socket_is_open(sort):
    with serving(sort, reset(after_bytes=10)) as (server, _), dialled(server) as client:
        client.sendall(GET)
        with pytest.raises(ConnectionResetError):
            client.makefile("rb").read()
        server.assert_closed()


@pytest.mark.parametrize("sort", ["tcp", "unix"])
def test_where_the_kernel_does_not_tell_connections_are_held_until_the_server_has_ended_them(sort, monkeypatch):
    monkeypatch.setattr(Peers, "_asked", Mock(side_effect=OSError))
    with serving(sort) as (server, _), dialled(server) as client:
        client.sendall(GET)
        until_answered(client)
        with pytest.raises(LeakError, match="still holds connection 1"):
            server.assert_closed(timeout_seconds=0.0)
        server.close_all()
        server.assert_closed()


def test_leak_whose_attempts_are_no_longer_kept_is_named_by_its_number():
    with serve(ok(b"hello")) as server, contextlib.ExitStack() as held:
        server.ledger.most_attempts = 2  # of which the first stays for the guard
        for number in (1, 2, 3):
            client = held.enter_context(dialled(server))
            client.sendall(LAST_GET)
            until_end(client)
            server.wait_for_attempts(number, at="end")
        with pytest.raises(LeakError, match=r"(?m)holds connection 2 of .*: its attempts are no longer kept$"):
            server.assert_closed(timeout_seconds=0.0)


def known_clients(peer_of):
    """Clients with these ends, each of the handle of its name."""
    return clients.Clients(Mock(**{"handle_of.side_effect": lambda handle: handle, "at.side_effect": peer_of.get}))


def test_address_of_a_client_that_left_may_be_that_of_another():
    known = known_clients({"address": Peer(0, listens=True)})
    for number in (1, 2):
        known.add(number, "address")

    assert known.held({}) == (2,)
    assert known.held({3: "address"}) == (3,)
    assert known.held({}) == ()


def test_client_that_left_is_forgotten_and_an_open_connection_of_it_is_not_held():
    ends = {"a": GONE, "b": GONE}
    known = known_clients(ends)
    known.add(1, "a")
    assert known.held({2: "b"}) == ()
    ends |= dict.fromkeys("ab", Peer(0, listens=True))  # sockets of others

    assert known.held({2: "b"}) == (2,)


def test_too_many_clients_of_ended_connections_are_forgotten_the_oldest_first(monkeypatch):
    monkeypatch.setattr(clients, "MOST_ENDED", 4)
    with serve(close(after_bytes=10), strict=False) as server, contextlib.ExitStack() as held:
        for number in range(1, 6):
            client = held.enter_context(dialled(server))
            client.sendall(GET)
            until_end(client)
            server.wait_for_attempts(number, at="end")
        with pytest.raises(LeakError) as raised:
            server.assert_closed(timeout_seconds=0.0)

    assert re.findall(r"holds connection (\d)", str(raised.value)) == ["4", "5"]
