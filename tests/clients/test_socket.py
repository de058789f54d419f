"""A plain socket, blocking, with a timeout."""

import errno
import socket
import ssl

import pytest

from faultline import bad_cert, blackhole, close, ok, raises, refuse, reset, root_cause, stall

VERIFY_CODES = {  # X509_STORE_CTX_get_error(3); 64 is the mismatch of an address
    "expired": 10,
    "not_yet_valid": 9,
    "wrong_host": 64,
    "self_signed": 18,
    "untrusted_root": 20,
}


def fetch(server, timeout=10.0):
    with socket.create_connection(server.address, timeout) as client:
        return converse(client)


def fetch_by_tls(server, timeout=10.0):
    with (
        socket.create_connection(server.address, timeout) as plain,
        server.client_context().wrap_socket(plain, server_hostname=server.host) as client,
    ):
        return converse(client)


def converse(client):
    client.sendall(b"GET /thing HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
    return b"".join(iter(lambda: client.recv(65_536), b""))


@pytest.mark.parametrize(("get", "tls"), [(fetch, False), (fetch_by_tls, True)], ids=["tcp", "tls"])
def test_healthy_server_answers(faultline, get, tls):
    assert get(faultline.serve(ok(b"hello"), tls=tls)).endswith(b"\r\n\r\nhello")


def test_refuse_is_connection_refused_error(refuse_server, last_attempt):
    with raises(ConnectionRefusedError) as caught:
        fetch(refuse_server)

    assert type(caught.value) is ConnectionRefusedError
    assert caught.value.errno == errno.ECONNREFUSED
    assert root_cause(caught.value) is caught.value
    assert last_attempt(refuse_server) == (refuse(), "connect", "server", None)


def test_reset_is_connection_reset_error(reset_server, last_attempt):
    with raises(ConnectionResetError) as caught:
        fetch(reset_server)

    assert type(caught.value) is ConnectionResetError
    assert caught.value.errno == errno.ECONNRESET
    assert root_cause(caught.value) is caught.value
    assert last_attempt(reset_server) == (reset(), "response", "server", "GET /thing")


def test_close_is_an_empty_read_and_no_error(close_server, last_attempt):
    assert fetch(close_server) == b""
    assert last_attempt(close_server) == (close(), "response", "server", "GET /thing")


def test_stall_is_timeout_error(stall_server, last_attempt):
    with raises(TimeoutError) as caught:
        fetch(stall_server, timeout=0.2)

    assert type(caught.value) is TimeoutError
    assert root_cause(caught.value) is caught.value
    assert last_attempt(stall_server) == (stall(), "response", "client", "GET /thing")


def test_bad_cert_is_verification_error_with_the_code_of_its_kind(faultline, last_attempt, kind):
    server = faultline.serve(bad_cert(kind))

    with raises(ssl.SSLCertVerificationError) as caught:
        fetch_by_tls(server)

    assert type(caught.value) is ssl.SSLCertVerificationError
    assert caught.value.verify_code == VERIFY_CODES[kind]
    assert root_cause(caught.value) is caught.value
    assert last_attempt(server) == (bad_cert(kind), "handshake", "client", None)


def test_blackhole_is_timeout_error(blackhole_server, last_attempt):
    with raises(TimeoutError) as caught:
        fetch(blackhole_server, timeout=0.2)

    assert type(caught.value) is TimeoutError
    assert root_cause(caught.value) is caught.value
    assert last_attempt(blackhole_server) == (blackhole(), "connect", "server", None)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [(refuse(), ConnectionRefusedError), (blackhole(), TimeoutError)],
    ids=["refuse", "blackhole"],
)
def test_client_meets_the_door_by_tls_as_without(faultline, fault, expected, last_attempt):
    server = faultline.serve(fault, tls=True)

    with raises(expected) as caught:
        fetch_by_tls(server, timeout=0.2)

    assert type(caught.value) is expected
    assert last_attempt(server) == (fault, "connect", "server", None)


def test_reset_in_mid_body_is_connection_reset_error(faultline, last_attempt):
    server = faultline.serve(reset(after_bytes=500))

    with raises(ConnectionResetError) as caught:
        fetch(server)

    assert type(caught.value) is ConnectionResetError
    assert last_attempt(server) == (reset(after_bytes=500), "response", "server", "GET /thing")
    assert server.attempts[-1].sent_bytes == 500


def test_close_in_mid_body_is_a_short_read_and_no_error(faultline, last_attempt):
    server = faultline.serve(close(after_bytes=500))

    assert len(fetch(server)) == 500
    assert last_attempt(server) == (close(after_bytes=500), "response", "server", "GET /thing")
    assert server.attempts[-1].sent_bytes == 500
