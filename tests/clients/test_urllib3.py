"""urllib3, without retries and with them: `MaxRetryError` is one more wrapper."""

import http.client
import ssl

import pytest
import urllib3

from faultline import bad_cert, blackhole, close, ok, raises, refuse, reset, root_cause, stall


def fetch(server, timeout=10.0, *, retries=False):
    trusted = {"ca_certs": server.ca_file} if server.url.startswith("https") else {}
    with urllib3.PoolManager(**trusted) as pool:
        return pool.request("GET", f"{server.url}/thing", timeout=timeout, retries=retries).data


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_healthy_server_answers(faultline, tls):
    assert fetch(faultline.serve(ok(b"hello"), tls=tls)) == b"hello"


def test_refuse_is_new_connection_error(faultline, last_attempt):
    server = faultline.serve(refuse())

    with raises(ConnectionRefusedError) as caught:
        fetch(server)

    assert type(caught.value) is urllib3.exceptions.NewConnectionError
    assert type(root_cause(caught.value)) is ConnectionRefusedError
    assert last_attempt(server) == (refuse(), "connect", "server", None)


def test_reset_is_protocol_error(faultline, last_attempt):
    server = faultline.serve(reset())

    with raises(ConnectionResetError) as caught:
        fetch(server)

    assert type(caught.value) is urllib3.exceptions.ProtocolError
    assert type(root_cause(caught.value)) is ConnectionResetError
    assert last_attempt(server) == (reset(), "response", "server", "GET /thing")


def test_close_is_protocol_error(faultline, last_attempt):
    server = faultline.serve(close())

    with raises(http.client.RemoteDisconnected) as caught:
        fetch(server)

    assert type(caught.value) is urllib3.exceptions.ProtocolError
    assert type(root_cause(caught.value)) is http.client.RemoteDisconnected
    assert last_attempt(server) == (close(), "response", "server", "GET /thing")


def test_stall_is_read_timeout_error(faultline, last_attempt):
    server = faultline.serve(stall())

    with raises(TimeoutError) as caught:
        fetch(server, timeout=0.2)

    assert type(caught.value) is urllib3.exceptions.ReadTimeoutError
    assert type(root_cause(caught.value)) is TimeoutError
    assert last_attempt(server) == (stall(), "response", "client", "GET /thing")


def test_bad_cert_is_ssl_error(faultline, last_attempt, kind):
    server = faultline.serve(bad_cert(kind))

    with raises(ssl.SSLCertVerificationError) as caught:
        fetch(server)

    assert type(caught.value) is urllib3.exceptions.SSLError
    assert type(root_cause(caught.value)) is ssl.SSLCertVerificationError
    assert last_attempt(server) == (bad_cert(kind), "handshake", "client", None)


def test_blackhole_is_connect_timeout_error(faultline, last_attempt):
    server = faultline.serve(blackhole())

    with raises(TimeoutError) as caught:
        fetch(server, timeout=0.2)

    assert type(caught.value) is urllib3.exceptions.ConnectTimeoutError
    assert type(root_cause(caught.value)) is TimeoutError
    assert last_attempt(server) == (blackhole(), "connect", "server", None)


def test_reset_in_mid_body_is_protocol_error(faultline, last_attempt):
    server = faultline.serve(reset(after_bytes=500))

    with raises(ConnectionResetError) as caught:
        fetch(server)

    assert type(caught.value) is urllib3.exceptions.ProtocolError
    assert type(root_cause(caught.value)) is ConnectionResetError
    assert last_attempt(server) == (reset(after_bytes=500), "response", "server", "GET /thing")
    assert server.attempts[-1].sent_bytes == 500


def test_close_in_mid_body_is_incomplete_read(faultline, last_attempt):
    server = faultline.serve(close(after_bytes=1000), answer=ok(b"x" * 1000))

    with raises(http.client.IncompleteRead) as caught:
        fetch(server)

    assert type(caught.value) is urllib3.exceptions.ProtocolError
    assert root_cause(caught.value) is caught.cause
    assert 0 < len(caught.cause.partial) == 1000 - caught.cause.expected
    assert last_attempt(server) == (close(after_bytes=1000), "response", "server", "GET /thing")
    assert server.attempts[-1].sent_bytes == 1000


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (reset(), ConnectionResetError),
        (close(), http.client.RemoteDisconnected),
        (bad_cert("expired"), ssl.SSLCertVerificationError),
        (reset(after_bytes=500), ConnectionResetError),
    ],
    ids=["reset", "close", "bad_cert", "reset in mid-body"],
)
def test_each_retry_meets_the_fault_and_the_last_one_is_wrapped(faultline, fault, cause):
    server = faultline.serve(fault)

    with raises(cause) as caught:
        fetch(server, retries=urllib3.Retry(2))

    assert type(caught.value) is urllib3.exceptions.MaxRetryError
    assert type(root_cause(caught.value)) is cause
    assert [a.fault for a in server.attempts] == [fault] * 3
    assert all(a.struck for a in server.attempts)


@pytest.mark.parametrize(
    ("fault", "cause"),
    [(refuse(), ConnectionRefusedError), (blackhole(), TimeoutError)],
    ids=["refuse", "blackhole"],
)
def test_each_retry_is_turned_away_at_the_door(faultline, fault, cause):
    server = faultline.serve(fault)

    with raises(cause) as caught:
        fetch(server, timeout=0.1, retries=urllib3.Retry(1))

    assert type(caught.value) is urllib3.exceptions.MaxRetryError
    assert type(root_cause(caught.value)) is cause
    assert [(a.fault, a.struck.point) for a in server.attempts] == [(fault, "connect")] * 2
