"""httpx, sync and async: two stacks below (sockets and anyio), one set of exceptions above."""

import asyncio
import ssl

import h11
import httpcore
import httpx
import pytest

from faultline import bad_cert, blackhole, close, ok, raises, refuse, reset, root_cause, stall


def fetch_sync(server, timeout=10.0):
    with httpx.Client(verify=trust(server), timeout=timeout) as client:
        return client.get(f"{server.url}/thing").content


def fetch_async(server, timeout=10.0):
    async def ask():
        async with httpx.AsyncClient(verify=trust(server), timeout=timeout) as client:
            return (await client.get(f"{server.url}/thing")).content

    return asyncio.run(ask())


def trust(server):
    return server.client_context() if server.url.startswith("https") else False


@pytest.fixture(params=[fetch_sync, fetch_async], ids=["sync", "async"])
def fetch(request):
    return request.param


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_healthy_server_answers(faultline, fetch, tls):
    assert fetch(faultline.serve(ok(b"hello"), tls=tls)) == b"hello"


def test_refuse_is_connect_error(faultline, fetch, last_attempt):
    server = faultline.serve(refuse())

    with raises(ConnectionRefusedError) as caught:
        fetch(server)

    assert type(caught.value) is httpx.ConnectError
    assert type(root_cause(caught.value)) is ConnectionRefusedError
    assert last_attempt(server) == (refuse(), "connect", "server", None)


def test_reset_is_read_error(faultline, fetch, last_attempt):
    server = faultline.serve(reset())

    with raises(ConnectionResetError) as caught:
        fetch(server)

    assert type(caught.value) is httpx.ReadError
    assert type(root_cause(caught.value)) is ConnectionResetError
    assert last_attempt(server) == (reset(), "response", "server", "GET /thing")


def test_close_is_remote_protocol_error(close_server, fetch, last_attempt):
    with raises(httpx.RemoteProtocolError) as caught:
        fetch(close_server)

    assert type(caught.value) is httpx.RemoteProtocolError
    assert type(root_cause(caught.value)) is httpcore.RemoteProtocolError
    assert last_attempt(close_server) == (close(), "response", "server", "GET /thing")


def test_stall_is_read_timeout(faultline, fetch, last_attempt):
    server = faultline.serve(stall())

    with raises(TimeoutError) as caught:
        fetch(server, timeout=0.2)

    assert type(caught.value) is httpx.ReadTimeout
    assert type(root_cause(caught.value)) is TimeoutError
    assert last_attempt(server) == (stall(), "response", "client", "GET /thing")


def test_bad_cert_is_connect_error(faultline, fetch, last_attempt, kind):
    server = faultline.serve(bad_cert(kind))

    with raises(ssl.SSLCertVerificationError) as caught:
        fetch(server)

    assert type(caught.value) is httpx.ConnectError
    assert type(root_cause(caught.value)) is ssl.SSLCertVerificationError
    assert last_attempt(server) == (bad_cert(kind), "handshake", "client", None)


def test_blackhole_is_connect_timeout(faultline, fetch, last_attempt):
    server = faultline.serve(blackhole())

    with raises(TimeoutError) as caught:
        fetch(server, timeout=0.2)

    assert type(caught.value) is httpx.ConnectTimeout
    assert type(root_cause(caught.value)) is TimeoutError
    assert last_attempt(server) == (blackhole(), "connect", "server", None)


def test_reset_in_mid_body_is_read_error(faultline, fetch, last_attempt):
    server = faultline.serve(reset(after_bytes=500))

    with raises(ConnectionResetError) as caught:
        fetch(server)

    assert type(caught.value) is httpx.ReadError
    assert type(root_cause(caught.value)) is ConnectionResetError
    assert last_attempt(server) == (reset(after_bytes=500), "response", "server", "GET /thing")
    assert server.attempts[-1].sent_bytes == 500


def test_close_in_mid_body_is_remote_protocol_error(faultline, fetch, last_attempt):
    server = faultline.serve(close(after_bytes=500))

    with raises(h11.RemoteProtocolError) as caught:
        fetch(server)

    assert type(caught.value) is httpx.RemoteProtocolError
    assert root_cause(caught.value) is caught.cause
    assert "without sending complete message body" in str(caught.value)
    assert last_attempt(server) == (close(after_bytes=500), "response", "server", "GET /thing")
    assert server.attempts[-1].sent_bytes == 500
