"""What clients do when the server ends a kept connection: before their second request, or as it arrives."""

import asyncio
import http.client
import socket
from contextlib import ExitStack, closing, suppress
from itertools import product

import aiohttp
import httpx
import pytest
import requests
import urllib3
from support import KEPT_GET, connected, is_quiet, read_until, to_end
from support.tables import each_row

from faultline import bad_cert, close, ok, refuse, reset, sequence, serve, stall

pytestmark = pytest.mark.leaves_open

# Each client asks for /1, is idle while `meanwhile` runs, and asks for /2: the second body.


def by_requests(url, method, meanwhile):
    with requests.Session() as session:
        session.request(method, f"{url}/1", timeout=10)
        meanwhile()
        return session.request(method, f"{url}/2", timeout=10).content


def by_urllib3(url, method, meanwhile):
    with urllib3.PoolManager(timeout=10) as pool:
        pool.request(method, f"{url}/1")
        meanwhile()
        return pool.request(method, f"{url}/2").data


def by_httpx(url, method, meanwhile):
    with httpx.Client(timeout=10, verify=False) as session:
        session.request(method, f"{url}/1")
        meanwhile()
        return session.request(method, f"{url}/2").content


def by_aiohttp(url, method, meanwhile):
    async def ask():
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
            async with session.request(method, f"{url}/1") as response:
                await response.read()
            await asyncio.to_thread(meanwhile)  # so that the client's loop goes round, as a program's does
            async with session.request(method, f"{url}/2") as response:
                return await response.read()

    return asyncio.run(ask())


def account(server):
    """The connection of each attempt, what it asked for, and where the fault struck."""
    return [(a.connection, a.request and a.request.target, a.struck and a.struck.point) for a in server.attempts]


@pytest.mark.slow
@each_row(("method", "verb", "how"), [("GET", close, "FIN"), ("POST", reset, "RST")])
@each_row("ask", [by_requests, by_urllib3, by_httpx, by_aiohttp])
def test_pool_notices_what_ended_while_it_was_idle_and_connects_anew(faultline, ask, method, verb, how):
    server = faultline.serve(sequence(verb(at="idle"), ok(b"again")))
    seen = []

    body = ask(server.url, method, lambda: seen.extend((a.ended_by, a.ended_how) for a in server.attempts))

    assert seen == [("server", how)]
    assert body == b"again"
    assert account(server) == [(1, "/1", "idle"), (2, "/2", None)]


@each_row(("verb", "error"), [(close, http.client.RemoteDisconnected), (reset, ConnectionResetError)])
def test_client_without_a_pool_fails_and_the_server_never_sees_its_request(faultline, verb, error):
    server = faultline.serve(sequence(verb(at="idle"), ok(b"again")))

    def ask(target):
        connection.request("GET", target)
        with connection.getresponse() as response:
            return response.read()

    with closing(http.client.HTTPConnection(*server.address, timeout=10)) as connection:
        ask("/1")
        assert account(server) == [(1, "/1", "idle")]
        with pytest.raises(error) as caught:
            ask("/2")
        connection.close()
        assert ask("/3") == b"again"

    assert caught.type is error
    assert account(server) == [(1, "/1", "idle"), (2, "/3", None)]


@each_row("verb", [close, reset])
@each_row("ask", [by_urllib3, by_aiohttp])
def test_get_that_meets_the_end_of_its_connection_is_silently_sent_again(faultline, ask, verb):
    server = faultline.serve(sequence(ok(b"first"), verb(at="request"), ok(b"again")))

    assert ask(server.url, "GET", lambda: None) == b"again"
    assert account(server) == [(1, "/1", None), (1, None, "request"), (2, "/2", None)]


@each_row(
    ("ask", "method", "verb", "error"),
    [
        (by_requests, "GET", close, requests.ConnectionError),
        (by_requests, "POST", reset, requests.ConnectionError),
        (by_urllib3, "POST", close, urllib3.exceptions.ProtocolError),
        (by_httpx, "GET", close, httpx.RemoteProtocolError),
        (by_httpx, "POST", reset, httpx.ReadError),
        (by_aiohttp, "POST", close, aiohttp.ServerDisconnectedError),
        (by_aiohttp, "POST", reset, aiohttp.ClientOSError),
    ],
)
def test_request_that_meets_the_end_of_its_connection_fails_and_is_not_sent_again(faultline, ask, method, verb, error):
    server = faultline.serve(sequence(ok(b"first"), verb(at="request"), ok(b"again")))

    with pytest.raises(error) as caught:
        ask(server.url, method, lambda: None)

    assert caught.type is error
    assert account(server) == [(1, "/1", None), (1, None, "request")]


@pytest.mark.slow
def test_reset_of_a_long_kept_connection_is_over_when_the_ledger_is_read():
    plan = sequence(*[ok()] * 4, reset(at="idle"))  # the kernel acknowledges at once only while a connection is new

    for _ in range(10):
        with serve(plan) as server, closing(http.client.HTTPConnection(*server.address, timeout=10)) as connection:
            for _ in range(5):
                connection.request("GET", "/")
                connection.getresponse().read()

            assert [a.ended_how for a in server.attempts] == [None] * 4 + ["RST"]


def idle(faultline, fault):
    """A server whose client has a connection that is kept and idle."""
    server = faultline.serve(fault, strict=False)
    client = connected(server)
    client.sendall(KEPT_GET)
    assert client.recv(4096).endswith(b"ok\n")  # in one piece, because no break follows at once
    server.wait_for_attempts(1, at="idle")
    return server, client


@pytest.mark.slow
def test_the_timer_of_an_idle_connection_goes_with_its_plan(faultline):
    later = (ok(), reset(at="request", after_bytes=3000), close(at="response", after_bytes=50))
    with ExitStack() as stack:
        changed = []
        for old, new in product([close, reset, stall], later):
            server, client = idle(faultline, old(at="idle", after_seconds=0.3))
            changed.append((server, stack.enter_context(client)))
            server.become(new, open_too=True)
        _, clock = idle(faultline, close(at="idle", after_seconds=0.3))
        stack.enter_context(clock)

        assert clock.recv(1) == b""  # the others would have ended before
        assert is_quiet(*[client for _, client in changed])
        assert [server.attempts[-1].struck for server, _ in changed] == [None] * len(changed)


@pytest.mark.parametrize("verb", [close, reset])
@pytest.mark.slow
def test_after_the_end_of_the_attempt_a_client_has_met_the_break_at_idle(verb):
    for _ in range(20):
        with serve(verb(at="idle")) as server, socket.create_connection(server.address, 10) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            got = b""
            while not got.endswith(b"ok\n"):
                got += client.recv(4096)
            server.wait_for_attempts(1, at="end")
            client.setblocking(False)
            try:
                assert client.recv(1) == b""
            except ConnectionResetError:
                assert verb is reset


@each_row("fault", [close(at="idle"), reset(at="idle"), close(at="idle", after_seconds=0.01)])
def test_fault_at_idle_strikes_though_the_next_one_needs_a_new_connection(fault):
    with serve(sequence(fault, refuse(), ok(b"again"))) as server:
        with socket.create_connection(server.address, 10) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            said = []
            with suppress(ConnectionResetError):
                while data := client.recv(65_536):
                    said.append(data)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(server.address, 10)
        assert requests.get(server.url, timeout=10).content == b"again"

    assert b"".join(said).endswith(b"\r\n\r\nok\n")
    assert b"Connection: close" not in b"".join(said)


def test_request_that_comes_before_a_fault_at_idle_is_answered_though_the_next_fault_needs_a_new_connection():
    with serve(sequence(close(at="idle", after_seconds=30), bad_cert("expired")), strict=False) as server:
        client = socket.create_connection(server.address, 10)
        client = server.client_context().wrap_socket(client, server_hostname=server.host)
        with client:
            for said in (b"", b"Connection: close"):
                client.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
                assert said in client.recv(65_536)
            assert client.recv(1) == b""


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize(("new", "end"), [(reset(at="idle"), "RST"), (close(at="idle", after_seconds=0.01), "FIN")])
def test_a_connection_that_is_idle_already_meets_a_break_that_it_is_given(faultline, dial, new, end, tls):
    server = faultline.serve(ok(b"hello"), tls=tls)
    client = dial(server, KEPT_GET)
    assert read_until(client, b"hello").endswith(b"hello")
    server.wait_for_attempts(1, at="idle")

    server.become(new, open_too=True)

    assert to_end(client) == (b"", end)
    [attempt] = server.wait_for_attempts(1, at="end")
    assert (attempt.fault, attempt.struck.point) == (new, "idle")
