"""Tests whose time is over while a client waits: test_limits.py says what they come to.

Their limit is far away: `over` ends the time once the client waits, so that a slow machine changes nothing.
"""

import asyncio
import contextlib
import gc
import queue
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import pytest_timeout
from support import GET, connected, read

from faultline import Gate, blackhole, hold, latency, ok, raises, script, sequence, serve, slow_resolve, stall
from faultline._front import limits
from faultline._servers.endpoint import Endpoint
from faultline._servers.server import Server

by_thread = pytest.mark.timeout(60, method="thread")


def over(server, at="strike"):
    """End the time of the test once a client has come to this point."""
    handler, lock, came = signal.getsignal(signal.SIGALRM), threading.RLock(), []

    def on_signal(*arguments):
        with lock:
            came.append(True)
        handler(*arguments)

    def end():
        server.wait_for_attempts(1, 50, at=at)
        for timer in timers():
            timer.function()
        while not came:  # the first signal is not seen where the main thread just begins to wait for a lock
            with lock:
                if not came:
                    signal.pthread_kill(threading.main_thread().ident, signal.SIGALRM)
            threading.Event().wait(0.01)

    signal.signal(signal.SIGALRM, on_signal)
    threading.Thread(target=end, daemon=True).start()
    return server


def timers():
    return [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]


def fetch(server):
    with connected(server, timeout=None) as client:
        client.sendall(GET)
        return read(client)


def until_refused(server):
    for _ in range(1000):
        try:
            fetch(server)
        except ConnectionRefusedError:
            return
        except OSError:
            pass


async def stream(server):
    reader, writer = await asyncio.open_connection(*server.address)
    try:
        writer.write(GET)
        await reader.read()
    finally:
        writer.close()


def executor(server, function=fetch):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, server).result()


def child_process(server):
    program = (
        "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); "
        "s.sendall(sys.argv[2].encode()); s.recv(1)"
    )
    subprocess.run([sys.executable, "-S", "-c", program, str(server.port), GET], stderr=subprocess.DEVNULL, check=False)


def thread_that_is_left(server):
    threading.Thread(target=until_refused, args=(server,)).start()
    threading.Event().wait()


CLIENTS = {
    "main thread": fetch,
    "to_thread": lambda server: asyncio.run(asyncio.to_thread(fetch, server)),
    "to_thread that tries again": lambda server: asyncio.run(asyncio.to_thread(until_refused, server)),
    "executor": executor,
    "executor that tries again": lambda server: executor(server, until_refused),
    "task": lambda server: asyncio.run(stream(server)),
    "child process": child_process,
    "child process of a thread": lambda server: executor(server, child_process),
    "thread that is left": thread_that_is_left,
}


# --- what is kept, first of all ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(3))
def test_served(faultline, number):
    assert fetch(faultline.serve(ok(b"hello"))).endswith(b"hello")


def test_limits_that_are_over_are_not_kept():
    for _ in range(1000):  # until the thread that waits has taken note of the end
        gc.collect()
        kept = [type(each).__name__ for each in gc.get_objects()].count("Limit")
        if not kept:
            break
        threading.Event().wait(0.01)
    assert kept == 0


# --- where clients wait -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
def test_client(faultline, client):
    client(over(faultline.serve(stall())))


def paused(server):
    server.pause()
    return server


SERVERS = {
    "plain": lambda fl: over(fl.serve(stall())),
    "TLS handshake": lambda fl: over(fl.serve(stall(at="handshake"), tls=True)),
    "accept": lambda fl: over(fl.serve(stall(at="accept"))),
    "isolated": lambda fl: over(fl.serve(stall(), isolated=True)),
    "relay": lambda fl: over(fl.relay(fl.serve(ok()), stall())),
    "relay of a stalled server": lambda fl: fl.relay(over(fl.serve(stall()))),
    "black hole": lambda fl: over(fl.serve(blackhole())),
    "paused": lambda fl: over(paused(fl.serve(ok())), at="accept"),
    "late": lambda fl: over(fl.serve(latency(60)), at="response"),
    "script": lambda fl: over(fl.serve(script(hold()))),
}


@pytest.mark.parametrize("make", SERVERS.values(), ids=SERVERS)
def test_server(faultline, make):
    executor(make(faultline))


def ask(server):
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.connect(server.address)
        client.send(bytes.fromhex("123401000001000000000000") + b"\3api\7example\3com\0\0\1\0\1")
        client.recv(1000)


def test_datagram(faultline):
    executor(over(faultline.udp(blackhole())), ask)


def test_query(faultline):
    executor(over(faultline.dns_server(slow_resolve(60))), ask)


def test_lookup(faultline):
    over(faultline.resolve("api.example.com", slow_resolve(60)))
    executor("api.example.com", socket.gethostbyname)


# --- servers that no fixture of the package has opened ----------------------------------------------------------------


@pytest.fixture(scope="class")
def wide():
    with serve(sequence(ok(b"hello"), stall(), ok(b"again")), strict=False) as server:
        yield server


@pytest.fixture
def own():
    with serve(stall()) as server:
        yield server


class TestElsewhere:
    def test_first(self, wide):
        assert fetch(wide).endswith(b"hello")

    def test_wider_scope(self, wide):
        executor(over(wide))

    def test_again_without_the_fixture_in_its_parameters(self, request):
        assert fetch(request.getfixturevalue("wide")).endswith(b"again")

    def test_fixture(self, own):
        executor(over(own))

    def test_with_block(self):
        with serve(stall()) as server:
            executor(over(server))

    def test_assignment(self):
        server = serve(stall())
        executor(over(server))

    def test_named_fixture(self, request):
        executor(over(request.getfixturevalue("stall_server")))

    def test_async(self):
        async def main():
            with serve(stall()) as server:
                await asyncio.to_thread(fetch, over(server))

        asyncio.run(main())

    def test_thread_of_its_own(self):
        servers = queue.SimpleQueue()

        def meet():
            with serve(stall()) as server:
                servers.put(server)
                with pytest.raises(OSError):
                    fetch(server)

        def hurry():
            servers.get().wait_for_attempts(1, 50, at="strike")
            limits.watchdog.hurry(limits.watchdog._limits[-1])

        threading.Thread(target=hurry, daemon=True).start()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(meet).result()


@pytest.fixture(scope="class")
def stalled():
    with serve(stall(), strict=False) as server:
        yield server


class TestWider:
    def test_opens(self, stalled):
        assert stalled.attempts == ()

    def test_meets(self):
        signal.raise_signal(signal.SIGALRM)

    @pytest.mark.timeout(0)
    @pytest.mark.usefixtures("stalled")
    def test_has_its_own(self, request):
        assert request.node.get_closest_marker("timeout").args == (0,)
        assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL


@pytest.fixture(scope="class")
def wider():
    with serve(ok(b"hello")) as met, serve(ok(b"other")) as other:
        yield met, other


class TestDrawn:
    def test_earlier(self, wider):
        fetch(wider[1])

    def test_drawn(self, wider):
        with serve(ok(b"own")) as server:
            fetch(wider[0])
            fetch(server)
            pytest.fail("here")


# --- what else may happen ---------------------------------------------------------------------------------------------


@pytest.mark.twice
def test_twice(stall_server):
    executor(over(stall_server))


def test_swallows(stall_server):
    with contextlib.suppress(BaseException):
        executor(over(stall_server))


def test_goes_on(reset_server):
    with raises(ConnectionResetError):
        fetch(reset_server)


@pytest.mark.timeout(0.05)
def test_without_servers():
    threading.Event().wait()


@pytest.fixture
def waits_for_debugger(faultline, monkeypatch):
    """A server whose client is served once the test says so, while somebody debugs."""
    monkeypatch.setattr(pytest_timeout, "SUPPRESS_TIMEOUT", True)
    gate = Gate()
    server = faultline.serve(stall(until=gate))
    with connected(server) as client:
        client.sendall(GET)
        server.wait_for_attempts(1, at="strike")
        yield
        gate.open()
        assert read(client).endswith(b"ok\n")


def test_debugger(waits_for_debugger):
    signal.raise_signal(signal.SIGALRM)
    assert limits.watchdog._limits == []


def broken(*_, **__):
    raise RuntimeError("a bug of ours")


def test_drawing_is_broken(stall_server, monkeypatch):
    monkeypatch.setattr(Endpoint, "drawing", broken)
    fetch(over(stall_server))


def test_cutting_is_broken(stall_server, monkeypatch):
    monkeypatch.setattr(Server, "cut_off", broken)
    fetch(over(stall_server))


# --- the time itself --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[True, False], ids=["in Python", "in C"])
def waiting(request):
    """A client that waits since before the test, where a signal finds Python or not; then it is not waited for."""
    with (
        pytest.MonkeyPatch.context() as patch,
        serve(stall()) as server,
        connected(server, timeout=None) as client,
    ):
        if not request.param:
            patch.setattr(limits, "GRACE_SECONDS", 0.05)
        client.sendall(GET)
        server.wait_for_attempts(1, at="strike")
        yield client, request.param


def test_before_the_time(waiting):
    pass


@pytest.mark.timeout(0.05)
def test_time(waiting):
    client, is_interrupted = waiting
    signal.siginterrupt(signal.SIGALRM, is_interrupted)
    client.recv(1)


# --- where the process ends -------------------------------------------------------------------------------------------


@pytest.mark.forked
@by_thread
@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
def test_end(faultline, client):
    client(over(faultline.serve(stall())))


@pytest.mark.forked
def test_end_by_a_late_limit(request):
    request.config.option.timeout_method = "thread"
    with serve(stall()) as server:
        fetch(over(server))


@pytest.mark.forked
@pytest.mark.timeout(0.05, method="thread")
def test_end_without_servers():
    threading.Event().wait()


@pytest.mark.forked
@by_thread
def test_debugger_of_a_thread(waits_for_debugger):
    (timer,) = timers()
    timer.function()


@pytest.mark.forked
def test_fork():
    with serve(stall()) as server:
        executor(over(server))


# --- what is left, last of all ----------------------------------------------------------------------------------------

LEFT = []


def test_left():
    LEFT.append(serve(stall()))
    threading.Thread(target=until_refused, args=LEFT).start()
    LEFT[0].wait_for_attempts(1, at="strike")
