"""Scenarios of the stage accept: TCP is up, and no byte is exchanged."""

import asyncio
import ssl
import sys

import aiohttp
import anyio
import pytest
import urllib3

from faultline import Gate, close, hold, ok, raises, refuse, reset, script, sequence, stall

pytestmark = pytest.mark.leaves_open


async def read(stream):
    await stream.receive()


async def write(stream):
    while True:
        await stream.send(b"still there?")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("use", "error"), [(read, anyio.EndOfStream), (write, anyio.BrokenResourceError)], ids=["reading", "writing"]
)
async def test_s010_fin_at_once(faultline, use, error):
    server = faultline.serve(close(at="accept"))

    async with await anyio.connect_tcp(*server.address) as stream:
        with pytest.raises(error) as caught:
            await use(stream)

    assert caught.type is error
    assert [(a.struck.point, a.ended_by, a.ended_how) for a in server.attempts] == [("accept", "server", "FIN")]


def test_s010_fin_at_once_to_a_tls_client(faultline, dial):
    server = faultline.serve(close(at="accept"), tls=True)

    with pytest.raises(OSError) as caught:
        server.client_context().wrap_socket(dial(server), server_hostname=server.host)

    hides_end = server.client_context().options & ssl.OP_IGNORE_UNEXPECTED_EOF  # before 3.10.11 and 3.11.3, gh-95494
    assert caught.type is (ssl.SSLZeroReturnError if hides_end else ssl.SSLEOFError)
    assert [(a.struck.point, a.ended_by, a.ended_how) for a in server.attempts] == [("accept", "server", "FIN")]


@pytest.mark.asyncio
@pytest.mark.parametrize("use", [read, write], ids=["reading", "writing"])
async def test_s011_rst_at_once(faultline, use):
    connected = Gate()
    server = faultline.serve(script(hold(until=connected), reset()))

    async with await anyio.connect_tcp(*server.address) as stream:
        connected.open()
        with pytest.raises(anyio.BrokenResourceError) as caught:
            await use(stream)

    assert type(caught.value.__cause__) is ConnectionResetError
    assert [(a.point, a.sent_bytes, a.ended_by, a.ended_how) for a in server.attempts] == [
        ("accept", 0, "server", "RST")
    ]


@pytest.mark.slow
@pytest.mark.everywhere
@pytest.mark.asyncio
async def test_s012_nobody_answers_the_handshake(faultline):
    server = faultline.serve(stall(at="accept"), tls=True)

    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.open_connection(*server.address, ssl=server.client_context()), 0.2)
    await asyncio.to_thread(server.wait_for_attempts, 1, at="end")

    assert [(a.struck.point, a.ended_by) for a in server.attempts] == [("accept", "client")]


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info < (3, 11, 4), reason="http.client leaks the socket of a failed tunnel (gh-103472)")
def test_s012_nobody_answers_the_proxy_request(faultline, http_client):
    server = faultline.serve(stall(at="accept"))
    client = http_client(server, timeout=0.2)
    client.set_tunnel("origin.invalid")

    with pytest.raises(TimeoutError) as caught:
        client.request("GET", "/")
    client.close()

    assert caught.type is TimeoutError
    assert [(a.struck.point, a.ended_by) for a in server.attempts] == [("accept", "client")]


@pytest.mark.asyncio
async def test_s014_slammed_shut_during_an_upload(faultline, session, watched_payload):
    server = faultline.serve(close(at="accept"))
    upload = watched_payload(32 << 20)

    async with session() as client:
        with pytest.raises(aiohttp.ClientConnectionError):  # reader and writer race for which one of them
            await client.post(server.url, data=upload)

    assert upload.is_closed
    assert [(a.struck.point, a.received_bytes, a.ended_by) for a in server.attempts] == [("accept", 0, "server")]


def test_s015_proxy_closes_unread_then_answers_then_is_dead(faultline):
    proxy = faultline.serve(sequence(close(at="accept"), ok(b"hello"), refuse()))

    with urllib3.ProxyManager(proxy.url, timeout=10) as client:
        assert client.request("GET", "http://origin.invalid/", retries=1).data == b"hello"
        with raises(ConnectionRefusedError) as caught:
            client.request("GET", "http://origin.invalid/", retries=False)

    assert type(caught.value) is urllib3.exceptions.ProxyError
    assert [a.fault for a in proxy.attempts] == [close(at="accept"), ok(b"hello"), refuse()]


@pytest.mark.slow
def test_s016_first_connection_is_ignored_and_the_second_answers(faultline, pool):
    server = faultline.serve(sequence(stall(at="accept"), ok(b"Response 2")))

    assert pool.request("GET", server.url, timeout=0.3, retries=1).data == b"Response 2"
    assert [(a.connection, a.ended_by) for a in server.attempts] == [(1, "client"), (2, None)]
