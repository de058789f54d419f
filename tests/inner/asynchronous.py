"""Async tests, under pytest-asyncio or anyio: test_async_fixtures.py says what they come to."""

import asyncio
import contextlib
import ssl

import pytest
from limits import over
from support import GET

from faultline import Gate, close, ok, refuse, reset, sequence, serve, stall

pytestmark = [pytest.mark.asyncio, pytest.mark.anyio]


@pytest.fixture
def anyio_backend():
    return "asyncio"


async def fetch(server):
    context = server.client_context() if server.url.startswith("https") else None
    reader, writer = await asyncio.open_connection(*server.address, ssl=context)
    try:
        writer.write(GET)
        await reader.readuntil(b"\r\n\r\n")
        return await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_recovers(faultline):
    server = faultline.serve(sequence(refuse(), reset(after_bytes=10), ok(b"hello")))
    for error in (ConnectionRefusedError, ConnectionResetError):
        with pytest.raises(error):
            await fetch(server)
    assert await fetch(server) == b"hello"
    assert [a.fault for a in server.attempts] == [refuse(), reset(after_bytes=10), ok(b"hello")]


async def test_ten(faultline):
    gate = Gate()
    server = faultline.serve(stall(until=gate))
    clients = asyncio.gather(*[fetch(server) for _ in range(10)])
    await asyncio.to_thread(server.wait_for_attempts, 10, at="response")
    assert not clients.done()
    gate.open()
    assert await clients == [b"ok\n"] * 10


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("refuse_server", ConnectionRefusedError),
        ("reset_server", ConnectionResetError),
        ("close_server", asyncio.IncompleteReadError),
        ("stall_server", None),
        ("bad_cert_server", ssl.SSLCertVerificationError),
        ("blackhole_server", None),
    ],
)
async def test_ready_made(request, name, error):
    server = request.getfixturevalue(name)
    client = asyncio.ensure_future(fetch(server))
    if error is None:
        await server.arrived(1, at="strike")
        assert not client.done()
        client.cancel()
    with pytest.raises(error or asyncio.CancelledError):
        await client
    assert len(server.attempts) == 1


@pytest.mark.faults(refuse(), reset(), close())
async def test_marked(fault_server):
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await fetch(fault_server)


@pytest.fixture
async def answer(faultline):
    server = faultline.serve(sequence(ok(b"set up"), ok(b"hello")))
    yield await fetch(server), server
    assert [a.fault for a in server.attempts] == [ok(b"set up"), ok(b"hello")]


async def test_answers(answer):
    first, server = answer
    assert (first, await fetch(server)) == (b"set up", b"hello")


async def test_serves():
    with serve(ok(b"hello")) as server:
        assert await fetch(server) == b"hello"


async def test_forgets_to_connect(faultline):
    faultline.serve(reset())


async def test_expects_too_much(reset_server):
    await fetch(reset_server)


async def test_waits_for_ever(stall_server):
    await fetch(over(stall_server))
