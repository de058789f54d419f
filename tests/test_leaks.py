"""The leak check: `assert_closed` finds a connection that a client still holds, on every kind of server."""

from __future__ import annotations

import contextlib
import re
import socket
import threading

import pytest

from faultline import (
    LeakError,
    ParameterError,
    ServerError,
    http_proxy,
    ok,
    relay,
    resolve,
    serve,
    socks_proxy,
    stall,
    udp,
)

GET = b"GET /page HTTP/1.1\r\nHost: h\r\n\r\n"


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


@pytest.mark.parametrize("kind", KINDS)
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


@pytest.mark.parametrize("value", [-1, "soon", float("nan")])
def test_timeout_that_is_no_duration_is_refused(value):
    with serve(ok()) as server, pytest.raises(ParameterError, match="timeout_seconds="):
        server.assert_closed(timeout_seconds=value)


def test_drawing_says_which_connection_is_still_open():
    with serve(ok()) as server, connected(server) as client:
        with connected(server):
            server.wait_for_attempts(2)
        server.wait_for_attempts(1, at="end")
        drawn = server.drawing(width=80, color=False)
        client.close()

    assert drawn.count("still open") == 1
    assert "still open" in drawn.partition("#2 ")[0]
