"""aiohttp, whose exceptions derive from OSError and keep it in `.os_error`."""

import asyncio
import ssl

import aiohttp
import aiohttp.http_exceptions
import pytest

from faultline import bad_cert, blackhole, close, ok, raises, refuse, reset, root_cause, stall


def fetch(server, timeout=None, method="GET"):
    trusted = server.client_context() if server.url.startswith("https") else True

    async def ask():
        async with (
            aiohttp.ClientSession(timeout=timeout or aiohttp.ClientTimeout(total=10)) as session,
            session.request(method, f"{server.url}/thing", ssl=trusted) as response,
        ):
            return await response.read()

    return asyncio.run(ask())


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_healthy_server_answers(faultline, tls):
    assert fetch(faultline.serve(ok(b"hello"), tls=tls)) == b"hello"


def test_refuse_is_client_connector_error(faultline, last_attempt):
    server = faultline.serve(refuse())

    with raises(ConnectionRefusedError) as caught:
        fetch(server)

    assert type(caught.value) is aiohttp.ClientConnectorError
    assert root_cause(caught.value) is caught.value.os_error
    assert last_attempt(server) == (refuse(), "connect", "server", None)


def test_reset_is_client_os_error(faultline, last_attempt):
    server = faultline.serve(reset())

    with raises(ConnectionResetError) as caught:
        fetch(server)

    assert type(caught.value) is aiohttp.ClientOSError
    assert type(root_cause(caught.value)) is ConnectionResetError
    assert last_attempt(server) == (reset(), "response", "server", "GET /thing")


def test_close_is_server_disconnected_error(faultline, last_attempt):
    server = faultline.serve(close())

    with raises(aiohttp.ServerDisconnectedError) as caught:
        fetch(server)

    assert type(caught.value) is aiohttp.ServerDisconnectedError
    assert root_cause(caught.value) is caught.value
    assert last_attempt(server) == (close(), "response", "server", "GET /thing")


@pytest.mark.parametrize(
    ("method", "fault", "attempts"),
    [("GET", reset(), 2), ("GET", close(), 2), ("POST", reset(), 1), ("POST", close(), 1)],
    ids=["GET reset", "GET close", "POST reset", "POST close"],
)
def test_client_quietly_asks_twice_what_is_idempotent(faultline, method, fault, attempts):
    server = faultline.serve(fault)

    with pytest.raises(aiohttp.ClientConnectionError):
        fetch(server, method=method)

    assert [a.fault for a in server.attempts] == [fault] * attempts
    assert [a.connection for a in server.attempts] == list(range(1, attempts + 1))


def test_stall_is_timeout_error(faultline, last_attempt):
    server = faultline.serve(stall())

    with raises(TimeoutError) as caught:
        fetch(server, aiohttp.ClientTimeout(total=0.2))

    assert type(caught.value) is asyncio.TimeoutError
    assert type(root_cause(caught.value)) is asyncio.TimeoutError
    assert last_attempt(server) == (stall(), "response", "client", "GET /thing")


def test_stall_is_socket_timeout_error_where_reading_has_a_timeout(faultline, last_attempt):
    server = faultline.serve(stall())

    with raises(TimeoutError) as caught:
        fetch(server, aiohttp.ClientTimeout(sock_read=0.2))

    assert type(caught.value) is aiohttp.SocketTimeoutError
    assert root_cause(caught.value) is caught.value
    assert last_attempt(server) == (stall(), "response", "client", "GET /thing")


def test_bad_cert_is_client_connector_certificate_error(faultline, last_attempt, kind):
    server = faultline.serve(bad_cert(kind))

    with raises(ssl.SSLCertVerificationError) as caught:
        fetch(server)

    assert type(caught.value) is aiohttp.ClientConnectorCertificateError
    assert type(root_cause(caught.value)) is ssl.SSLCertVerificationError
    assert last_attempt(server) == (bad_cert(kind), "handshake", "client", None)


def test_blackhole_is_timeout_error(blackhole_server, last_attempt):
    with raises(TimeoutError) as caught:
        fetch(blackhole_server, aiohttp.ClientTimeout(total=0.2))

    assert type(caught.value) is asyncio.TimeoutError
    assert type(root_cause(caught.value)) is asyncio.TimeoutError
    assert last_attempt(blackhole_server) == (blackhole(), "connect", "server", None)


def test_blackhole_is_connection_timeout_error_where_connecting_has_a_timeout(faultline, last_attempt):
    server = faultline.serve(blackhole())

    with raises(TimeoutError) as caught:
        fetch(server, aiohttp.ClientTimeout(sock_connect=0.2))

    assert type(caught.value) is aiohttp.ConnectionTimeoutError
    assert type(root_cause(caught.value)) is asyncio.TimeoutError
    assert last_attempt(server) == (blackhole(), "connect", "server", None)


def test_reset_in_mid_body_is_client_payload_error_that_only_mentions_the_reset(faultline, last_attempt):
    server = faultline.serve(reset(after_bytes=500))

    with raises(aiohttp.ClientPayloadError) as caught:
        fetch(server)

    assert type(caught.value) is aiohttp.ClientPayloadError
    assert "ConnectionResetError(104," in str(caught.value)
    assert type(root_cause(caught.value)) is aiohttp.http_exceptions.ContentLengthError
    assert last_attempt(server) == (reset(after_bytes=500), "response", "server", "GET /thing")
    assert server.attempts[-1].sent_bytes == 500


def test_close_in_mid_body_is_client_payload_error(faultline, last_attempt):
    server = faultline.serve(close(after_bytes=500))

    with raises(aiohttp.ClientPayloadError) as caught:
        fetch(server)

    assert type(caught.value) is aiohttp.ClientPayloadError
    assert "ConnectionResetError" not in str(caught.value)
    assert type(root_cause(caught.value)) is aiohttp.http_exceptions.ContentLengthError
    assert last_attempt(server) == (close(after_bytes=500), "response", "server", "GET /thing")
    assert server.attempts[-1].sent_bytes == 500
