"""Scenarios of the stage connect: there is no connection yet."""

import socket
import sys
from contextlib import closing

import httpx
import pytest
import requests
import tenacity
import urllib3

from faultline import blackhole, ok, raises, refuse, reset, sequence


def test_s001_nobody_listens_on_the_port(refuse_server, pool):
    with raises(ConnectionRefusedError) as caught:
        pool.request("GET", refuse_server.url, retries=1)

    assert type(caught.value) is urllib3.exceptions.MaxRetryError
    assert type(caught.value.reason) is urllib3.exceptions.NewConnectionError
    assert [(a.struck.point, a.ended_how) for a in refuse_server.attempts] == [("connect", "RST")] * 2


@pytest.mark.skipif(sys.version_info < (3, 11), reason="create_connection raises all errors since Python 3.11")
def test_s003_every_address_of_a_two_family_name_refuses(faultline, localhost_of_two_families):
    four = faultline.serve(refuse())
    six = faultline.serve(refuse(), host="::1", port=four.port)

    with pytest.raises(ExceptionGroup) as caught:  # noqa: F821 - a builtin since Python 3.11
        socket.create_connection(("localhost", four.port), timeout=10, all_errors=True)

    assert [type(error) for error in caught.value.exceptions] == [ConnectionRefusedError] * 2
    assert [len(server.attempts) for server in (six, four)] == [1, 1]


def by_socket(url):
    address = urllib3.util.parse_url(url)
    socket.create_connection((address.host, address.port), timeout=0.2)


def by_urllib3(url):
    urllib3.PoolManager(timeout=0.2, retries=False).request("GET", url)


def by_proxy(url):
    urllib3.ProxyManager(url, timeout=0.2, retries=False).request("GET", "http://origin.invalid/")


def by_tunnel(url):
    urllib3.ProxyManager(url, timeout=0.2, retries=False).request("GET", "https://origin.invalid/")


@pytest.mark.slow
@pytest.mark.everywhere
@pytest.mark.parametrize(
    ("connect", "error"),
    [
        (by_socket, TimeoutError),
        (by_urllib3, urllib3.exceptions.ConnectTimeoutError),
        (by_proxy, urllib3.exceptions.ProxyError),
        (by_tunnel, urllib3.exceptions.ProxyError),
        (lambda url: requests.get(url, timeout=0.2), requests.ConnectTimeout),
        (lambda url: httpx.get(url, timeout=0.2, verify=False), httpx.ConnectTimeout),
    ],
    ids=["socket", "urllib3", "urllib3 proxy", "urllib3 tunnel", "requests", "httpx"],
)
def test_s004_the_syn_is_dropped(faultline, connect, error):
    server = faultline.serve(blackhole())

    with raises(TimeoutError) as caught:
        connect(server.url)

    assert type(caught.value) is error
    assert [(a.struck.point, a.ended_how) for a in server.attempts] == [("connect", "silence")]


@pytest.mark.slow
def test_s005_service_comes_back_on_the_same_port(faultline, pool):
    server = faultline.serve(refuse())
    revive = {3: ok(b"back")}
    client = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(6),
        wait=tenacity.wait_exponential(0.02),
        before_sleep=lambda state: server.become(revive.get(state.attempt_number, refuse())),
    )

    assert client(pool.request, "GET", server.url).data == b"back"
    assert [a.fault for a in server.attempts] == [refuse(), refuse(), refuse(), ok(b"back")]
    assert all(s >= least for s, least in zip(server.intervals, [0.02, 0.04, 0.08], strict=True))


@pytest.mark.slow
@pytest.mark.everywhere
def test_s007_first_connects_fail_and_the_next_one_works(faultline):
    server = faultline.serve(sequence(refuse(), refuse(), refuse(), ok(b"hello")))

    with httpx.Client(timeout=10, verify=False) as once, raises(ConnectionRefusedError) as caught:
        once.get(server.url)
    with httpx.Client(timeout=10, transport=httpx.HTTPTransport(retries=3, verify=False)) as client:
        assert client.get(server.url).content == b"hello"

    assert type(caught.value) is httpx.ConnectError
    assert [a.fault for a in server.attempts] == [refuse(), refuse(), refuse(), ok(b"hello")]


@pytest.mark.slow
@pytest.mark.everywhere
def test_s008_first_tls_starts_fail_and_the_next_one_works(faultline):
    broken = reset(at="handshake")
    server = faultline.serve(sequence(broken, broken, broken, ok(b"hello")))

    with httpx.Client(timeout=10, verify=server.client_context()) as once, pytest.raises(httpx.ConnectError):
        once.get(server.url)
    transport = httpx.HTTPTransport(retries=3, verify=server.client_context())
    with httpx.Client(timeout=10, transport=transport) as client:
        assert client.get(server.url).content == b"hello"

    assert [a.fault for a in server.attempts] == [broken, broken, broken, ok(b"hello")]
    assert [a.struck and a.struck.point for a in server.attempts] == ["handshake"] * 3 + [None]


@pytest.mark.slow
@pytest.mark.everywhere
@pytest.mark.parametrize(
    ("fault", "error"), [(refuse(), ConnectionRefusedError), (blackhole(), TimeoutError)], ids=["refused", "unanswered"]
)
def test_s009_side_connection_fails_while_the_session_goes_on(faultline, http_client, fetch, fault, error):
    server = faultline.serve(sequence(ok(b"hello"), fault, per="connection"))
    session = http_client(server)

    assert fetch(session) == b"hello"
    with pytest.raises(error) as caught, closing(http_client(server, timeout=0.2)) as side:
        fetch(side)

    assert type(caught.value) is error
    assert fetch(session) == b"hello"
    assert [(a.connection, a.fault) for a in server.attempts] == [(1, ok(b"hello")), (None, fault), (1, ok(b"hello"))]
