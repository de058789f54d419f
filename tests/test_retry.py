"""Retry and backoff by the clients' own machinery: how often they tried, when, and what they did not dare to retry."""

import asyncio
import sys

import aiohttp
import httpx
import pytest
import requests
import tenacity
import urllib3
from support.tables import each_row

from faultline import blackhole, close, ok, raises, refuse, reset, root_cause, sequence

pytestmark = pytest.mark.leaves_open

CONNECT_SECONDS = 10
BACKOFF_SECONDS = 0.02


def by_urllib3(url, method="GET", retries=3):
    timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=10)
    with urllib3.PoolManager(
        retries=urllib3.Retry(total=retries, backoff_factor=BACKOFF_SECONDS), timeout=timeout
    ) as pool:
        return pool.request(method, url).data


def by_requests(url, method="GET", retries=3):
    with requests.Session() as session:
        adapter = requests.adapters.HTTPAdapter(
            max_retries=urllib3.Retry(total=retries, backoff_factor=BACKOFF_SECONDS)
        )
        session.mount("http://", adapter)
        return session.request(method, url, timeout=(CONNECT_SECONDS, 10)).content


def by_tenacity(url, method="GET", retries=3):
    again = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(httpx.TransportError),
        wait=tenacity.wait_exponential(BACKOFF_SECONDS),
        stop=tenacity.stop_after_attempt(retries + 1),
    )
    with httpx.Client(timeout=httpx.Timeout(10, connect=CONNECT_SECONDS), verify=False) as client:
        return again(client.request, method, url).content


def by_aiohttp(url, method="GET", retries=3):
    timeout = aiohttp.ClientTimeout(total=10, sock_connect=CONNECT_SECONDS)

    async def ask():
        async with aiohttp.ClientSession(timeout=timeout) as session:
            tried = 0
            while True:
                try:
                    async with session.request(method, url) as response:
                        return await response.read()
                except aiohttp.ClientConnectionError:
                    if tried == retries:
                        raise
                await asyncio.sleep(BACKOFF_SECONDS * 2**tried)
                tried += 1

    return asyncio.run(ask())


def by_httpx(url, method="GET", retries=3):
    timeout = httpx.Timeout(10, connect=CONNECT_SECONDS)
    with httpx.Client(transport=httpx.HTTPTransport(retries=retries, verify=False), timeout=timeout) as client:
        return client.request(method, url).content


ALL = [by_urllib3, by_requests, by_tenacity, by_aiohttp, by_httpx]
# What retries a request that was sent, too; httpx's transport retries connects alone.
RESENDING = [by_urllib3, by_requests, by_tenacity, by_aiohttp]


@pytest.mark.slow
@pytest.mark.everywhere
@pytest.mark.parametrize(
    ("ask", "waits"),
    [
        (by_urllib3, [0, 2 * BACKOFF_SECONDS]),  # it asks again at once before it begins to wait
        (by_requests, [0, 2 * BACKOFF_SECONDS]),
        (by_tenacity, [BACKOFF_SECONDS, 2 * BACKOFF_SECONDS]),
        (by_aiohttp, [BACKOFF_SECONDS, 2 * BACKOFF_SECONDS]),
        (by_httpx, [0, 0.5]),
    ],
)
def test_refused_twice_then_served_with_backoff(faultline, ask, waits):
    plan = sequence(refuse(), refuse(), ok(b"hello"))
    server = faultline.serve(plan)

    assert ask(server.url) == b"hello"
    assert [a.fault for a in server.attempts] == list(plan.entries)
    assert [a.connection for a in server.attempts] == [None, None, 1]
    assert all(s >= least for s, least in zip(server.intervals, waits, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("ask", RESENDING)
def test_refused_then_reset_in_the_response_then_served(faultline, ask):
    plan = sequence(refuse(), reset(after_bytes=10), ok(b"hello"))
    server = faultline.serve(plan)

    assert ask(server.url) == b"hello"
    assert [a.fault for a in server.attempts] == list(plan.entries)
    assert [(a.connection, a.sent_bytes > 10) for a in server.attempts] == [(None, False), (1, False), (2, True)]


def test_httpx_transport_does_not_retry_what_it_has_sent(faultline):
    server = faultline.serve(sequence(refuse(), reset(after_bytes=10), ok(b"hello")))

    with raises(ConnectionResetError) as caught:
        by_httpx(server.url)

    assert type(caught.value) is httpx.ReadError
    assert [a.fault for a in server.attempts] == [refuse(), reset(after_bytes=10)]


@pytest.mark.slow
@pytest.mark.parametrize("ask", ALL)
def test_unanswered_connect_is_given_up_and_tried_again(faultline, ask, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "CONNECT_SECONDS", 0.5)
    server = faultline.serve(sequence(blackhole(), ok(b"hello")))

    assert ask(server.url) == b"hello"
    assert [(a.fault, a.connection) for a in server.attempts] == [(blackhole(), None), (ok(b"hello"), 1)]
    assert server.intervals[0] >= CONNECT_SECONDS / 2  # the server may be late to see the first


@each_row(
    ("ask", "fault", "error"),
    [
        (by_urllib3, reset(), urllib3.exceptions.ProtocolError),
        (by_urllib3, reset(after_bytes=10), urllib3.exceptions.ProtocolError),
        (by_urllib3, close(), urllib3.exceptions.ProtocolError),
        (by_requests, reset(), requests.ConnectionError),
        (by_requests, reset(after_bytes=10), requests.ConnectionError),
        (by_requests, close(), requests.ConnectionError),
        (by_httpx, reset(), httpx.ReadError),
        (by_httpx, reset(after_bytes=10), httpx.ReadError),
        (by_httpx, close(), httpx.RemoteProtocolError),
    ],
)
def test_post_is_not_sent_again_once_it_may_have_arrived(faultline, ask, fault, error):
    server = faultline.serve(sequence(fault, ok(b"hello")))

    with pytest.raises(error) as caught:
        ask(server.url, "POST")

    assert caught.type is error
    assert [(a.fault, a.request.method) for a in server.attempts] == [(fault, "POST")]


@each_row("ask", [by_urllib3, by_requests, by_httpx])
def test_post_that_was_refused_is_tried_again(faultline, ask):
    server = faultline.serve(sequence(refuse(), ok(b"hello")))

    assert ask(server.url, "POST") == b"hello"
    assert [(a.connection, a.request and a.request.method) for a in server.attempts] == [(None, None), (1, "POST")]


@pytest.mark.slow
@each_row(
    ("ask", "error", "fault", "attempts"),
    [
        (by_urllib3, urllib3.exceptions.MaxRetryError, refuse(), 2),
        (by_urllib3, urllib3.exceptions.MaxRetryError, reset(), 2),
        (by_requests, requests.ConnectionError, refuse(), 2),
        (by_requests, requests.ConnectionError, reset(), 2),
        (by_tenacity, tenacity.RetryError, refuse(), 2),
        (by_tenacity, tenacity.RetryError, reset(), 2),
        (by_aiohttp, aiohttp.ClientConnectorError, refuse(), 2),
        (by_aiohttp, aiohttp.ClientOSError, reset(), 4),  # it sends each GET again by itself
        (by_httpx, httpx.ConnectError, refuse(), 2),
        (by_httpx, httpx.ReadError, reset(), 1),
    ],
)
def test_spent_retries_end_in_the_clients_error_with_the_cause_at_its_root(faultline, ask, error, fault, attempts):
    server = faultline.serve(fault)

    with pytest.raises(error) as caught:
        ask(server.url, retries=1)

    assert caught.type is error
    assert type(root_cause(caught.value)) is (ConnectionRefusedError if fault == refuse() else ConnectionResetError)
    assert [a.fault for a in server.attempts] == [fault] * attempts


def test_status_that_is_retried_keeps_its_connection(faultline):
    plan = sequence(ok(status=503), ok(status=503, headers={"Retry-After": "0"}), ok(b"hello"))
    server = faultline.serve(plan)

    with urllib3.PoolManager(retries=urllib3.Retry(3, backoff_factor=BACKOFF_SECONDS, status_forcelist=[503])) as pool:
        assert pool.request("GET", server.url).data == b"hello"

    assert [(a.fault, a.connection) for a in server.attempts] == [(fault, 1) for fault in plan.entries]
