"""`http.client`, which hides nothing."""

import http.client
import select
import ssl
from contextlib import closing

import pytest

from faultline import bad_cert, blackhole, close, ok, raises, refuse, reset, root_cause, stall


def fetch(server, timeout=10.0):
    if server.url.startswith("https"):
        context = server.client_context()
        connection = http.client.HTTPSConnection(*server.address, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(*server.address, timeout=timeout)
    with closing(connection):
        connection.request("GET", "/thing")
        with connection.getresponse() as response:
            return response.read()


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_healthy_server_answers(faultline, tls):
    assert fetch(faultline.serve(ok(b"hello"), tls=tls)) == b"hello"


def test_refuse_is_connection_refused_error(refuse_server, last_attempt):
    with raises(ConnectionRefusedError) as caught:
        fetch(refuse_server)

    assert type(caught.value) is ConnectionRefusedError
    assert root_cause(caught.value) is caught.value
    assert last_attempt(refuse_server) == (refuse(), "connect", "server", None)


def test_reset_is_connection_reset_error(faultline, last_attempt):
    server = faultline.serve(reset())

    with raises(ConnectionResetError) as caught:
        fetch(server)

    assert type(caught.value) is ConnectionResetError
    assert root_cause(caught.value) is caught.value
    assert last_attempt(server) == (reset(), "response", "server", "GET /thing")


def test_close_is_remote_disconnected(faultline, last_attempt):
    server = faultline.serve(close())

    with raises(http.client.RemoteDisconnected) as caught:
        fetch(server)

    assert type(caught.value) is http.client.RemoteDisconnected
    assert root_cause(caught.value) is caught.value
    assert last_attempt(server) == (close(), "response", "server", "GET /thing")


def test_stall_is_timeout_error(faultline, last_attempt):
    server = faultline.serve(stall())

    with raises(TimeoutError) as caught:
        fetch(server, timeout=0.2)

    assert type(caught.value) is TimeoutError
    assert root_cause(caught.value) is caught.value
    assert last_attempt(server) == (stall(), "response", "client", "GET /thing")


def test_bad_cert_is_verification_error(faultline, last_attempt, kind):
    server = faultline.serve(bad_cert(kind))

    with raises(ssl.SSLCertVerificationError) as caught:
        fetch(server)

    assert type(caught.value) is ssl.SSLCertVerificationError
    assert root_cause(caught.value) is caught.value
    assert last_attempt(server) == (bad_cert(kind), "handshake", "client", None)


def test_blackhole_is_timeout_error(blackhole_server, last_attempt):
    with raises(TimeoutError) as caught:
        fetch(blackhole_server, timeout=0.2)

    assert type(caught.value) is TimeoutError
    assert root_cause(caught.value) is caught.value
    assert last_attempt(blackhole_server) == (blackhole(), "connect", "server", None)


def test_reset_in_mid_body_is_connection_reset_error(faultline, last_attempt):
    server = faultline.serve(reset(after_bytes=500))

    with raises(ConnectionResetError) as caught:
        fetch(server)

    assert type(caught.value) is ConnectionResetError
    assert last_attempt(server) == (reset(after_bytes=500), "response", "server", "GET /thing")
    assert server.attempts[-1].sent_bytes == 500


def test_close_in_mid_body_is_incomplete_read(faultline, last_attempt):
    server = faultline.serve(close(after_bytes=1000), answer=ok(b"x" * 1000))

    with raises(http.client.IncompleteRead) as caught:
        fetch(server)

    assert type(caught.value) is http.client.IncompleteRead
    assert root_cause(caught.value) is caught.value
    assert 0 < len(caught.value.partial) == 1000 - caught.value.expected
    assert last_attempt(server) == (close(after_bytes=1000), "response", "server", "GET /thing")
    assert server.attempts[-1].sent_bytes == 1000


def test_close_in_mid_head_is_bad_status_line(faultline):
    server = faultline.serve(close(after_bytes=10))

    with raises(http.client.BadStatusLine) as caught:
        fetch(server)

    assert type(caught.value) is http.client.BadStatusLine
    assert caught.value.line == "HTTP/1.1 2"


@pytest.mark.parametrize(
    ("fault", "expected"),
    [(close(at="idle"), http.client.RemoteDisconnected), (reset(at="idle"), ConnectionResetError)],
    ids=["close", "reset"],
)
def test_stale_kept_connection_fails_the_second_request(faultline, fault, expected):
    server = faultline.serve(fault)

    with closing(http.client.HTTPConnection(*server.address, timeout=10)) as connection:
        connection.request("GET", "/first")
        first = connection.getresponse().read()
        broken, _, _ = select.select([connection.sock], [], [], 10)
        with raises(expected) as caught:
            connection.request("GET", "/second")
            connection.getresponse()

    assert first == b"ok\n"
    assert broken
    assert type(caught.value) is expected
    assert [(a.request.target, a.struck.point, a.ended_by) for a in server.attempts] == [("/first", "idle", "server")]
