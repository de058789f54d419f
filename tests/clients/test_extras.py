"""What single clients have beside the tables: retries, second connections, timeouts of several kinds, what was read."""

from __future__ import annotations

import asyncio
import errno
import http.client
import select
import ssl
from contextlib import closing

import aiohttp
import aiohttp.http_exceptions
import h11
import pytest
import requests
import urllib3
from support.clients import (
    by_aiohttp,
    by_asyncio,
    by_http_client,
    by_httpx,
    by_httpx_on_asyncio,
    by_requests,
    by_socket,
    by_urllib,
    by_urllib3,
)
from support.tables import each_row

from faultline import bad_cert, blackhole, close, ok, raises, refuse, reset, root_cause, stall

pytestmark = pytest.mark.leaves_open

VERIFY_CODES = {  # X509_STORE_CTX_get_error(3); 64 is the mismatch of an address
    "expired": 10,
    "not_yet_valid": 9,
    "wrong_host": 64,
    "self_signed": 18,
    "untrusted_root": 20,
}
CLIENTS = [
    by_socket,
    by_asyncio,
    by_http_client,
    by_urllib,
    by_urllib3,
    by_requests,
    by_httpx,
    by_httpx_on_asyncio,
    by_aiohttp,
]


@pytest.mark.parametrize("by", CLIENTS, ids=lambda by: by.__name__)
def test_healthy_server_answers(faultline, by, tls):
    server = faultline.serve(ok(b"hello"), tls=tls)

    assert by(f"{server.url}/thing", server if tls else None) == (200, b"hello")
    assert [(a.request.method, a.request.target) for a in server.attempts] == [("GET", "/thing")]


@each_row(("fault", "code"), [(refuse(), errno.ECONNREFUSED), (reset(), errno.ECONNRESET)])
def test_an_error_of_the_system_has_its_number(faultline, fault, code):
    with raises(ConnectionError) as caught:
        by_socket(faultline.serve(fault).url)

    assert caught.value.errno == code
    assert root_cause(caught.value) is caught.value


@each_row(("kind", "code"), VERIFY_CODES.items())
def test_a_bad_certificate_has_the_code_of_its_kind(faultline, kind, code):
    server = faultline.serve(bad_cert(kind))

    with raises(ssl.SSLCertVerificationError) as caught:
        by_socket(server.url, server)

    assert caught.value.verify_code == code
    assert [(a.fault, a.struck.point, a.ended_by) for a in server.attempts] == [(bad_cert(kind), "handshake", "client")]


# What each client is told of when a body is cut, and the length that this says the body has.
SHORT = [
    (by_asyncio, EOFError, lambda _: None),
    (by_http_client, http.client.IncompleteRead, lambda cause: len(cause.partial) + cause.expected),
    (by_urllib, http.client.IncompleteRead, lambda cause: len(cause.partial) + cause.expected),
    (by_urllib3, http.client.IncompleteRead, lambda cause: len(cause.partial) + cause.expected),
    (by_requests, urllib3.exceptions.IncompleteRead, lambda cause: cause.partial + cause.expected),
    (by_httpx, h11.RemoteProtocolError, lambda _: None),
    (by_aiohttp, aiohttp.http_exceptions.ContentLengthError, lambda _: None),
]


@each_row(("by", "cause", "length"), SHORT)
def test_a_body_that_is_cut_says_what_is_missing(faultline, by, cause, length):
    server = faultline.serve(close(after_bytes=1000), answer=ok(b"x" * 1000))

    with raises(cause) as caught:
        by(server.url)

    assert root_cause(caught.value) is caught.cause
    assert length(caught.cause) in (None, 1000)
    assert [(a.struck.point, a.sent_bytes, a.ended_by) for a in server.attempts] == [("response", 1000, "server")]


@each_row("fault", [reset(after_bytes=500), close(after_bytes=500)])
def test_aiohttp_only_mentions_the_reset_of_a_body(faultline, fault):
    with raises(aiohttp.ClientPayloadError) as caught:
        by_aiohttp(faultline.serve(fault).url)

    assert ("ConnectionResetError(104," in str(caught.value)) is (fault == reset(after_bytes=500))
    assert type(root_cause(caught.value)) is aiohttp.http_exceptions.ContentLengthError


@each_row(("method", "attempts"), [("GET", 2), ("POST", 1)])
@each_row("fault", [reset(), close()])
def test_aiohttp_quietly_asks_twice_what_is_idempotent(faultline, method, fault, attempts):
    server = faultline.serve(fault)

    with pytest.raises(aiohttp.ClientConnectionError):
        by_aiohttp(server.url, method=method)

    assert [(a.fault, a.connection) for a in server.attempts] == [(fault, n + 1) for n in range(attempts)]


@pytest.mark.slow
@pytest.mark.everywhere
@pytest.mark.parametrize(
    ("fault", "limit", "error", "cause"),
    [
        pytest.param(stall(), {"total": 0.4}, asyncio.TimeoutError, asyncio.TimeoutError, marks=pytest.mark.slow),
        pytest.param(
            stall(), {"sock_read": 0.4}, aiohttp.SocketTimeoutError, aiohttp.SocketTimeoutError, marks=pytest.mark.slow
        ),
        (blackhole(), {"total": 0.1}, asyncio.TimeoutError, asyncio.TimeoutError),
        (blackhole(), {"sock_connect": 0.1}, aiohttp.ConnectionTimeoutError, asyncio.TimeoutError),
    ],
    ids=repr,
)
def test_a_timeout_of_aiohttp_has_the_class_of_its_kind(faultline, fault, limit, error, cause):
    server = faultline.serve(fault)

    with raises(TimeoutError) as caught:
        by_aiohttp(server.url, timeout=aiohttp.ClientTimeout(**limit))

    assert (type(caught.value), type(root_cause(caught.value))) == (error, cause)
    assert server.attempts[-1].struck.point == fault.break_.at


@pytest.mark.slow
@each_row(
    ("fault", "cause", "retries"),
    [
        (reset(), ConnectionResetError, 2),
        (close(), http.client.RemoteDisconnected, 2),
        (bad_cert("expired"), ssl.SSLCertVerificationError, 2),
        (reset(after_bytes=500), ConnectionResetError, 2),
        (refuse(), ConnectionRefusedError, 1),
        (blackhole(), TimeoutError, 1),
    ],
)
def test_each_retry_of_urllib3_meets_the_fault_and_the_last_one_is_wrapped(faultline, fault, cause, retries):
    server = faultline.serve(fault)

    with urllib3.PoolManager(ssl_context=server.client_context()) as pool, raises(cause) as caught:
        pool.request(
            "GET", server.url, timeout=0.1 if fault == blackhole() else 10, retries=urllib3.Retry(retries)
        ).read()

    assert type(caught.value) is urllib3.exceptions.MaxRetryError
    assert type(root_cause(caught.value)) is cause
    assert [a.fault for a in server.attempts] == [fault] * (retries + 1)
    assert all(a.struck for a in server.attempts)


@each_row(
    ("fault", "expected"),
    [(close(at="idle"), http.client.RemoteDisconnected), (reset(at="idle"), ConnectionResetError)],
)
def test_a_stale_kept_connection_of_http_client_fails_the_second_request(faultline, fault, expected):
    server = faultline.serve(fault)

    with closing(http.client.HTTPConnection(*server.address, timeout=10)) as connection:
        connection.request("GET", "/first")
        assert connection.getresponse().read() == b"ok\n"
        broken, _, _ = select.select([connection.sock], [], [], 10)
        with raises(expected) as caught:
            connection.request("GET", "/second")
            connection.getresponse()

    assert broken
    assert type(caught.value) is expected
    assert [(a.request.target, a.struck.point, a.ended_by) for a in server.attempts] == [("/first", "idle", "server")]


def test_a_status_line_that_is_cut_is_told_by_http_client(faultline):
    with raises(http.client.BadStatusLine) as caught:
        by_http_client(faultline.serve(close(after_bytes=10)).url)

    assert caught.value.line == "HTTP/1.1 2"


@pytest.mark.slow
@pytest.mark.everywhere
@pytest.mark.parametrize(
    ("fault", "error"), [(refuse(), ConnectionRefusedError), (blackhole(), TimeoutError)], ids=repr
)
def test_a_client_meets_the_door_by_tls_as_without(faultline, fault, error):
    server = faultline.serve(fault, tls=True)

    with raises(error) as caught:
        by_socket(server.url, server, timeout=0.1)

    assert type(caught.value) is error
    assert [(a.fault, a.struck.point) for a in server.attempts] == [(fault, "connect")]


@pytest.mark.parametrize(
    ("fixture", "error"),
    [
        ("refuse_server", requests.ConnectionError),
        ("reset_server", requests.ConnectionError),
        ("close_server", requests.ConnectionError),
        pytest.param("stall_server", requests.ReadTimeout, marks=pytest.mark.slow),
        pytest.param("blackhole_server", requests.ConnectTimeout, marks=pytest.mark.slow),
        ("bad_cert_server", requests.exceptions.SSLError),
    ],
)
def test_each_ready_made_fixture_is_met_by_requests(fixture, error, request):
    server = request.getfixturevalue(fixture)

    with pytest.raises(error) as caught:
        by_requests(server.url, server, timeout=0.4 if fixture in ("stall_server", "blackhole_server") else 10)

    assert caught.type is error
    assert len(server.attempts) == 1
