"""`urllib.request`, which wraps what happens while it connects and asks, and nothing later."""

import http.client
import ssl
import urllib.error
import urllib.request

import pytest

from faultline import bad_cert, blackhole, close, ok, raises, refuse, reset, root_cause, stall


def fetch(server, timeout=10.0):
    context = server.client_context() if server.url.startswith("https") else None
    with urllib.request.urlopen(f"{server.url}/thing", timeout=timeout, context=context) as response:
        return response.read()


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_healthy_server_answers(faultline, tls):
    assert fetch(faultline.serve(ok(b"hello"), tls=tls)) == b"hello"


def test_refuse_is_url_error(refuse_server, last_attempt):
    with raises(ConnectionRefusedError) as caught:
        fetch(refuse_server)

    assert type(caught.value) is urllib.error.URLError
    assert root_cause(caught.value) is caught.value.reason
    assert last_attempt(refuse_server) == (refuse(), "connect", "server", None)


def test_reset_is_connection_reset_error_unwrapped(reset_server, last_attempt):
    with raises(ConnectionResetError) as caught:
        fetch(reset_server)

    assert type(caught.value) is ConnectionResetError
    assert root_cause(caught.value) is caught.value
    assert last_attempt(reset_server) == (reset(), "response", "server", "GET /thing")


def test_close_is_remote_disconnected_unwrapped(close_server, last_attempt):
    with raises(http.client.RemoteDisconnected) as caught:
        fetch(close_server)

    assert type(caught.value) is http.client.RemoteDisconnected
    assert root_cause(caught.value) is caught.value
    assert last_attempt(close_server) == (close(), "response", "server", "GET /thing")


def test_stall_is_timeout_error_unwrapped(stall_server, last_attempt):
    with raises(TimeoutError) as caught:
        fetch(stall_server, timeout=0.2)

    assert type(caught.value) is TimeoutError
    assert root_cause(caught.value) is caught.value
    assert last_attempt(stall_server) == (stall(), "response", "client", "GET /thing")


def test_expired_certificate_is_url_error(bad_cert_server, last_attempt):
    with raises(ssl.SSLCertVerificationError) as caught:
        fetch(bad_cert_server)

    assert type(caught.value) is urllib.error.URLError
    assert root_cause(caught.value) is caught.value.reason
    assert last_attempt(bad_cert_server) == (bad_cert("expired"), "handshake", "client", None)


def test_bad_cert_of_each_kind_is_url_error(faultline, kind):
    server = faultline.serve(bad_cert(kind))

    with raises(ssl.SSLCertVerificationError) as caught:
        fetch(server)

    assert type(caught.value) is urllib.error.URLError
    assert type(root_cause(caught.value)) is ssl.SSLCertVerificationError


def test_blackhole_is_url_error(blackhole_server, last_attempt):
    with raises(TimeoutError) as caught:
        fetch(blackhole_server, timeout=0.2)

    assert type(caught.value) is urllib.error.URLError
    assert type(root_cause(caught.value)) is TimeoutError
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
    assert 0 < len(caught.value.partial) == 1000 - caught.value.expected
    assert last_attempt(server) == (close(after_bytes=1000), "response", "server", "GET /thing")
    assert server.attempts[-1].sent_bytes == 1000
