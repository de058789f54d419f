"""Waits for attempts that async code can await, and for a strike, on every kind of endpoint."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading

import pytest
import trio
from support.tables import each_row

from faultline import (
    ParameterError,
    UnsupportedError,
    WaitError,
    close,
    dns_server,
    duplicated,
    http_proxy,
    nxdomain,
    ok,
    relay,
    reset,
    resolve,
    sequence,
    serve,
    stall,
    status,
    udp,
)

RUNNERS = {"asyncio": asyncio.run, "trio": lambda coroutine: trio.run(lambda: coroutine)}
QUERY = b"\0\1\1\0\0\1\0\0\0\0\0\0\4name\7invalid\0\0\1\0\1"


@contextlib.contextmanager
def relayed():
    with serve(ok()) as upstream, relay(upstream) as server:
        yield server


def connects(server):
    family, address = (socket.AF_UNIX, server.path) if server.path else (socket.AF_INET, server.address)
    with socket.socket(family) as client:
        client.connect(address)


def sends(data):
    def send(server):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(data, server.address)

    return send


def looks_up(_):
    with contextlib.suppress(socket.gaierror):
        socket.getaddrinfo("name.invalid", 80)


KINDS = {
    "tcp": (lambda: serve(ok()), connects),
    "unix": (lambda: serve(ok(), unix=True), connects),
    "isolated": (lambda: serve(ok(), isolated=True), connects),
    "relay": (relayed, connects),
    "proxy": (http_proxy, connects),
    "udp": (lambda: udp(ok()), sends(b"ping")),
    "dns": (lambda: dns_server(strict=False), sends(QUERY)),
    "resolver": (lambda: resolve("name.invalid", nxdomain()), looks_up),
}


@pytest.fixture(params=RUNNERS)
def run(request):
    """Run a coroutine under asyncio, or under trio."""

    def runner(function, *args):
        if request.param == "trio":
            return trio.run(function, *args)
        return asyncio.run(function(*args))

    return runner


@pytest.mark.parametrize("kind", KINDS)
def test_attempt_on_every_kind_of_endpoint_can_be_awaited(run, kind):
    start, client = KINDS[kind]
    with start() as server:

        async def main():
            thread = threading.Timer(0.01, client, [server])
            thread.start()
            attempts = await server.arrived(1)
            thread.join()
            return attempts

        assert len(run(main)) == 1


def test_attempts_that_are_there_already_are_returned_at_once(run):
    with serve(ok()) as server:
        for _ in range(2):
            connects(server)
        server.wait_for_attempts(2, at="end")

        async def main():
            return await server.arrived(2, at="end")

        assert run(main) == server.attempts


def test_other_tasks_run_meanwhile():
    with serve(close(at="accept")) as server:

        async def main():
            waiting = asyncio.create_task(server.arrived(1, at="strike"))
            reader, writer = await asyncio.open_connection(*server.address)
            assert await reader.read() == b""
            writer.close()
            return await waiting

        assert asyncio.run(main())[0].struck.point == "accept"


@pytest.mark.slow
@pytest.mark.measured
def test_wait_that_takes_too_long_is_an_error(run):
    with serve(ok()) as server:

        async def main():
            await server.arrived(2, 0.12, at="end")

        with pytest.raises(WaitError) as raised:
            run(main)

    assert str(raised.value) == "0 of 2 attempts reached 'end' within 0.12 s; attempts in all: 0."


@pytest.mark.parametrize("arguments", [(-1,), (1, -1), ("1",)])
def test_wrong_argument_is_refused(run, arguments):
    with serve(ok()) as server:

        async def main():
            await server.arrived(*arguments)

        with pytest.raises(ParameterError, match=r"=(-1|'1'): expected a (whole )?number"):
            run(main)


def test_wrong_keyword_says_what_to_write():
    with serve(ok()) as server, pytest.raises(TypeError, match=r"write arrived\(1, timeout_seconds=3\)\.$"):
        server.arrived(1, timeout=3)


def test_cancelled_wait_of_asyncio_ends():
    with serve(ok()) as server:

        async def main():
            waiting = asyncio.create_task(server.arrived(1, 60))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

        asyncio.run(main())

    join_waits()


def test_cancelled_wait_of_trio_ends():
    with serve(ok()) as server:

        async def main():
            with trio.move_on_after(0.01) as scope:
                await server.arrived(1, 60)
            return scope.cancelled_caught

        assert trio.run(main)

    join_waits()


def join_waits():
    """Wait until no thread waits any more."""
    for thread in threading.enumerate():
        if thread.name == "faultline wait":
            thread.join(10)
            assert not thread.is_alive()


def test_code_that_no_loop_runs_is_told_to_wait_otherwise():
    with serve(ok()) as server:
        waiting = server.arrived(1)

        with pytest.raises(UnsupportedError, match=r"wait_for_attempts\(\) waits elsewhere"):
            waiting.send(None)


# --- strikes ---------------------------------------------------------------------------------------------------------


def test_wait_for_strike_returns_the_attempt_that_was_struck():
    with serve(sequence(ok(), close(at="accept"))) as server:
        connects(server)
        with socket.create_connection(server.address, 10) as client:
            assert client.recv(1) == b""

        struck = server.wait_for_strike()

    assert (struck.number, struck.struck.point) == (2, "accept")


def test_strike_of_a_datagram_is_awaited():
    with udp(duplicated()) as server:
        sends(b"ping")(server)

        assert server.wait_for_strike(5).struck is not None


@each_row("plan", [stall(), reset(), status(503)])
def test_wait_for_a_strike_that_never_comes_is_an_error(plan):
    with serve(plan, strict=False) as server, pytest.raises(WaitError) as raised:
        server.wait_for_strike(0.01)

    assert str(raised.value) == "0 of 1 attempt reached 'strike' within 0.01 s; attempts in all: 0."
