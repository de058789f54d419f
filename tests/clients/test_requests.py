"""requests, which wraps what urllib3 has wrapped."""

import http.client
import ssl

import pytest
import requests
import urllib3

from faultline import bad_cert, blackhole, close, ok, raises, refuse, reset, root_cause, stall


def fetch(server, timeout=10.0):
    trusted = server.ca_file if server.url.startswith("https") else None
    return requests.get(f"{server.url}/thing", timeout=timeout, verify=trusted).content


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_healthy_server_answers(faultline, tls):
    assert fetch(faultline.serve(ok(b"hello"), tls=tls)) == b"hello"


def test_refuse_is_connection_error(faultline, last_attempt):
    server = faultline.serve(refuse())

    with raises(ConnectionRefusedError) as caught:
        fetch(server)

    assert type(caught.value) is requests.ConnectionError
    assert type(root_cause(caught.value)) is ConnectionRefusedError
    assert last_attempt(server) == (refuse(), "connect", "server", None)


def test_reset_is_connection_error(reset_server, last_attempt):
    with raises(ConnectionResetError) as caught:
        fetch(reset_server)

    assert type(caught.value) is requests.ConnectionError
    assert type(root_cause(caught.value)) is ConnectionResetError
    assert last_attempt(reset_server) == (reset(), "response", "server", "GET /thing")


def test_close_is_connection_error(faultline, last_attempt):
    server = faultline.serve(close())

    with raises(http.client.RemoteDisconnected) as caught:
        fetch(server)

    assert type(caught.value) is requests.ConnectionError
    assert type(root_cause(caught.value)) is http.client.RemoteDisconnected
    assert last_attempt(server) == (close(), "response", "server", "GET /thing")


def test_stall_is_read_timeout(faultline, last_attempt):
    server = faultline.serve(stall())

    with raises(TimeoutError) as caught:
        fetch(server, timeout=0.2)

    assert type(caught.value) is requests.ReadTimeout
    assert type(root_cause(caught.value)) is TimeoutError
    assert last_attempt(server) == (stall(), "response", "client", "GET /thing")


def test_bad_cert_is_ssl_error(faultline, last_attempt, kind):
    server = faultline.serve(bad_cert(kind))

    with raises(ssl.SSLCertVerificationError) as caught:
        fetch(server)

    assert type(caught.value) is requests.exceptions.SSLError
    assert type(root_cause(caught.value)) is ssl.SSLCertVerificationError
    assert last_attempt(server) == (bad_cert(kind), "handshake", "client", None)


def test_blackhole_is_connect_timeout(faultline, last_attempt):
    server = faultline.serve(blackhole())

    with raises(TimeoutError) as caught:
        fetch(server, timeout=0.2)

    assert type(caught.value) is requests.ConnectTimeout
    assert type(root_cause(caught.value)) is TimeoutError
    assert last_attempt(server) == (blackhole(), "connect", "server", None)


def test_reset_in_mid_body_is_chunked_encoding_error(faultline, last_attempt):
    server = faultline.serve(reset(after_bytes=500))

    with raises(ConnectionResetError) as caught:
        fetch(server)

    assert type(caught.value) is requests.exceptions.ChunkedEncodingError
    assert type(root_cause(caught.value)) is ConnectionResetError
    assert last_attempt(server) == (reset(after_bytes=500), "response", "server", "GET /thing")
    assert server.attempts[-1].sent_bytes == 500


def test_close_in_mid_body_is_chunked_encoding_error(faultline, last_attempt):
    server = faultline.serve(close(after_bytes=1000), answer=ok(b"x" * 1000))

    with raises(urllib3.exceptions.IncompleteRead) as caught:
        fetch(server)

    assert type(caught.value) is requests.exceptions.ChunkedEncodingError
    assert root_cause(caught.value) is caught.cause
    assert 0 < caught.cause.partial == 1000 - caught.cause.expected
    assert last_attempt(server) == (close(after_bytes=1000), "response", "server", "GET /thing")
    assert server.attempts[-1].sent_bytes == 1000
