"""asyncio streams, which hand the operating system's errors on as they are."""

import asyncio
import contextlib
import ssl

import pytest

from faultline import bad_cert, blackhole, close, ok, raises, refuse, reset, root_cause, stall


def fetch(server, timeout=10.0):
    return asyncio.run(asyncio.wait_for(ask(server), timeout))


async def ask(server):
    context = server.client_context() if server.url.startswith("https") else None
    reader, writer = await asyncio.open_connection(*server.address, ssl=context)
    try:
        writer.write(b"GET /thing HTTP/1.1\r\nHost: test\r\n\r\n")
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        size = head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]
        return await reader.readexactly(int(size))
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_healthy_server_answers(faultline, tls):
    assert fetch(faultline.serve(ok(b"hello"), tls=tls)) == b"hello"


def test_refuse_is_connection_refused_error(faultline, last_attempt):
    server = faultline.serve(refuse())

    with raises(ConnectionRefusedError) as caught:
        fetch(server)

    assert type(caught.value) is ConnectionRefusedError
    assert root_cause(caught.value) is caught.value
    assert last_attempt(server) == (refuse(), "connect", "server", None)


def test_reset_is_connection_reset_error(reset_server, last_attempt):
    with raises(ConnectionResetError) as caught:
        fetch(reset_server)

    assert type(caught.value) is ConnectionResetError
    assert root_cause(caught.value) is caught.value
    assert last_attempt(reset_server) == (reset(), "response", "server", "GET /thing")


def test_close_is_incomplete_read_error(faultline, last_attempt):
    server = faultline.serve(close())

    with raises(asyncio.IncompleteReadError) as caught:
        fetch(server)

    assert type(caught.value) is asyncio.IncompleteReadError
    assert caught.value.partial == b""
    assert root_cause(caught.value) is caught.value
    assert last_attempt(server) == (close(), "response", "server", "GET /thing")


def test_stall_is_timeout_error(stall_server, last_attempt):
    with raises(TimeoutError) as caught:
        fetch(stall_server, timeout=0.2)

    assert type(caught.value) is asyncio.TimeoutError
    assert type(root_cause(caught.value)) is asyncio.TimeoutError
    assert last_attempt(stall_server) == (stall(), "response", "client", "GET /thing")


def test_bad_cert_is_verification_error(faultline, last_attempt, kind):
    server = faultline.serve(bad_cert(kind))

    with raises(ssl.SSLCertVerificationError) as caught:
        fetch(server)

    assert type(caught.value) is ssl.SSLCertVerificationError
    assert root_cause(caught.value) is caught.value
    assert last_attempt(server) == (bad_cert(kind), "handshake", "client", None)


def test_blackhole_is_timeout_error(faultline, last_attempt):
    server = faultline.serve(blackhole())

    with raises(TimeoutError) as caught:
        fetch(server, timeout=0.2)

    assert type(caught.value) is asyncio.TimeoutError
    assert type(root_cause(caught.value)) is asyncio.TimeoutError
    assert last_attempt(server) == (blackhole(), "connect", "server", None)


def test_reset_in_mid_body_is_connection_reset_error(faultline, last_attempt):
    server = faultline.serve(reset(after_bytes=500))

    with raises(ConnectionResetError) as caught:
        fetch(server)

    assert type(caught.value) is ConnectionResetError
    assert last_attempt(server) == (reset(after_bytes=500), "response", "server", "GET /thing")
    assert server.attempts[-1].sent_bytes == 500


def test_close_in_mid_body_is_incomplete_read_error(faultline, last_attempt):
    server = faultline.serve(close(after_bytes=1000), answer=ok(b"x" * 1000))

    with raises(asyncio.IncompleteReadError) as caught:
        fetch(server)

    assert type(caught.value) is asyncio.IncompleteReadError
    assert caught.value.expected == 1000
    assert 0 < len(caught.value.partial) < 1000
    assert set(caught.value.partial) == {ord("x")}
    assert last_attempt(server) == (close(after_bytes=1000), "response", "server", "GET /thing")
    assert server.attempts[-1].sent_bytes == 1000
