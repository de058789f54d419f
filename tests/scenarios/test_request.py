"""Scenarios of the stage request: the server reads the request, and then it breaks."""

import asyncio
import http.client
import io
from contextlib import closing
from urllib.parse import urlsplit

import aiohttp
import httpx
import pytest
import requests
import urllib3
from support.tables import each_row

from faultline import Gate, close, half_close, ok, receive_until, reset, respond, script, sequence, stall

pytestmark = pytest.mark.leaves_open

UPLOAD_BYTES = 32 << 20  # more than the kernel's buffers take, so that the client is still sending


def by_aiohttp(url):
    async def ask():
        async with aiohttp.ClientSession() as client:
            await client.post(url)

    asyncio.run(ask())


def by_http_client(url):
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)) as client:
        client.request("POST", "/")
        client.getresponse()


def by_tunnel(url):
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)) as client:
        client.set_tunnel("origin.invalid")
        client.request("POST", "/")


@each_row(
    ("ask", "error", "asked"),
    [
        (by_aiohttp, aiohttp.ServerDisconnectedError, "POST"),
        (by_http_client, http.client.RemoteDisconnected, "POST"),
        (by_tunnel, http.client.RemoteDisconnected, "CONNECT"),
        (lambda url: requests.post(url, timeout=10), requests.ConnectionError, "POST"),
    ],
)
def test_s018_whole_request_is_read_then_fin(faultline, ask, error, asked):
    server = faultline.serve(close())

    with pytest.raises(error) as caught:
        ask(server.url)

    assert caught.type is error
    assert [(a.request.method, a.sent_bytes, a.ended_how) for a in server.attempts] == [(asked, 0, "FIN")]


def test_s019_whole_request_is_read_then_rst(faultline, http_client, fetch):
    server = faultline.serve(sequence(reset(), ok(b"hello")))
    client = http_client(server)

    with pytest.raises(ConnectionResetError) as caught:
        fetch(client)

    assert caught.type is ConnectionResetError
    assert fetch(client) == b"hello"
    assert [(a.connection, a.request.target, a.ended_how) for a in server.attempts] == [(1, "/", "RST"), (2, "/", None)]


@pytest.mark.asyncio
async def test_s021_retry_of_an_upload_carries_the_whole_file_again(faultline, session):
    server = faultline.serve(sequence(close(), ok(b"hello")))

    async with session() as client, client.put(server.url, data=io.BytesIO(bytes(100_000))) as response:
        assert response.status == 200

    assert [(a.connection, a.request.body_bytes) for a in server.attempts] == [(1, 100_000), (2, 100_000)]


@pytest.mark.asyncio
async def test_s022_unreplayable_upload_is_not_sent_twice(faultline, session):
    server = faultline.serve(close())

    async def upload():
        yield bytes(100_000)

    async with session() as client:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await client.put(server.url, data=upload())

    assert [a.request.body_bytes for a in server.attempts] == [100_000]


@pytest.mark.slow
def test_s024_post_is_not_retried_after_silence(faultline, pool):
    server = faultline.serve(stall())

    with pytest.raises(urllib3.exceptions.ReadTimeoutError):
        pool.request("POST", server.url, body=b"once", timeout=0.2, retries=3)

    assert [(a.request.body, a.ended_by) for a in server.attempts] == [(b"once", "client")]


@pytest.mark.slow
@pytest.mark.everywhere
@pytest.mark.asyncio
async def test_s025_timed_out_connections_leave_the_pool(faultline, session):
    server = faultline.serve(sequence(stall(), stall(), ok(b"request:3")))

    async with session() as client:
        for _ in range(2):
            with pytest.raises(asyncio.TimeoutError):
                await client.get(server.url, timeout=aiohttp.ClientTimeout(total=0.2))
        async with client.get(server.url) as response:
            assert await response.read() == b"request:3"

    assert [(a.connection, a.ended_by) for a in server.attempts] == [(1, "client"), (2, "client"), (3, "client")]


@pytest.mark.slow
def test_s026_gate_holds_the_reply_then_all_is_well(faultline, pool):
    gate = Gate()
    server = faultline.serve(stall(until=gate))

    with pytest.raises(urllib3.exceptions.ReadTimeoutError):
        pool.request("GET", server.url, timeout=0.2)
    gate.open()

    assert pool.request("GET", server.url).status == 200
    assert [(a.connection, a.ended_by) for a in server.attempts] == [(1, "client"), (2, None)]


@pytest.mark.asyncio
async def test_s027_client_is_cancelled_once_its_request_has_arrived(faultline, session, watched_payload):
    server = faultline.serve(stall())
    upload = watched_payload(1000)

    async with session() as client:
        task = asyncio.create_task(client.post(server.url, data=upload))
        await asyncio.to_thread(server.wait_for_attempts, 1, at="response")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert upload.is_closed
    assert [(a.request.body_bytes, a.ended_by) for a in server.attempts] == [(1000, "client")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shut", "status", "received_bytes"),
    [(half_close(), 404, UPLOAD_BYTES), (half_close(), 413, UPLOAD_BYTES), (close(), 401, 0), (close(), 413, 0)],
    ids=["half, 404", "half, 413", "full, 401", "full, 413"],
)
def test_s028_final_answer_while_the_client_still_uploads(faultline, pool, shut, status, received_bytes):
    server = faultline.serve(script(receive_until(b"\r\n\r\n"), respond(ok(b"no", status=status)), shut))

    response = pool.request("POST", server.url, body=bytes(UPLOAD_BYTES))

    assert (response.status, response.data, response.headers["Connection"]) == (status, b"no", "close")
    assert len(server.attempts) == 1
    assert received_bytes <= server.attempts[0].received_bytes < received_bytes + 100_000


@pytest.mark.slow
@pytest.mark.everywhere
@pytest.mark.parametrize("verb", [close, reset])
def test_s029_upload_is_cut_and_not_answered(faultline, verb):
    server = faultline.serve(verb(at="request", after_bytes=1_000_000))

    with pytest.raises(httpx.RemoteProtocolError, match=r"^Server disconnected without sending a response\.$"):
        httpx.post(server.url, content=bytes(UPLOAD_BYTES), timeout=10, verify=False)

    assert [(a.received_bytes, a.struck.after_bytes) for a in server.attempts] == [(1_000_000, 1_000_000)]
