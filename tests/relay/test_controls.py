"""What a test does to open connections, at servers and relays, plain and in TLS, while bytes are on their way."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support import CUT_OFF

from faultline import (
    Gate,
    ServerError,
    UnsupportedError,
    close,
    echo,
    half_close,
    ok,
    partition,
    reset,
    sequence,
    serve,
    stall,
)
from faultline._net.sockets import check_filter, unacknowledged_bytes
from faultline._servers.loop import background

MIB = 1 << 20
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
KEPT = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
SILENCE_SECONDS = 0.05
SITES = ["server", "server in TLS", "relay", "relay in TLS"]


@functools.cache
def body():
    """More than the kernel's buffers take."""
    return os.urandom(16 * MIB)


def filters():
    try:
        check_filter()
    except UnsupportedError:
        return False
    return True


needs_filter = pytest.mark.skipif(not filters(), reason="needs the socket filter, and so CAP_NET_ADMIN")


@pytest.fixture(params=SITES)
def site(request, faultline):
    """A function that starts a server with this answer, or a relay before one."""

    def start(plan=None, answer=None):
        tls = request.param.endswith("TLS")
        if request.param.startswith("server"):
            return faultline.serve(plan or ok(), answer=answer, tls=tls, strict=False)
        real = faultline.serve(answer or ok())
        return faultline.relay(real, plan, tls="terminate" if tls else "through", strict=False)

    return start


@pytest.fixture
def dial():
    """A function that connects to a server, in TLS if it speaks that; the connections are closed after the test."""
    with contextlib.ExitStack() as stack:

        def connect(server, data=b"", timeout=10):
            client = stack.enter_context(socket.create_connection(server.address, timeout))
            if server.url.startswith("https"):
                context = server.client_context()
                wrapped = context.wrap_socket(client, server_hostname="localhost", suppress_ragged_eofs=False)
                client = stack.enter_context(wrapped)
            client.sendall(data)
            return client

        yield connect


@pytest.fixture
def join(faultline, dial):
    """A function that connects through a relay to an upstream that the test holds: the relay and both ends."""
    with contextlib.ExitStack() as stack:

        def joined(plan=None, **options):
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            listener.settimeout(10)
            server = faultline.relay("{}:{}".format(*listener.getsockname()), plan, strict=False, **options)
            client = dial(server)
            upstream, _ = listener.accept()
            upstream.settimeout(10)
            return server, client, stack.enter_context(upstream)

        yield joined


def exactly(sock, count):
    data = bytearray()
    while len(data) < count and (more := sock.recv(count - len(data))):
        data += more
    return bytes(data)


def to_end(sock, silence_seconds=10):
    """What is still to be read, and how it ends: by FIN, by RST, in silence, or cut off within TLS."""
    sock.settimeout(silence_seconds)
    got = bytearray()
    end = "FIN"
    try:
        while data := sock.recv(65_536):
            got += data
    except ConnectionResetError:
        end = "RST"
    except TimeoutError:
        end = "silence"
    except ssl.SSLEOFError:
        end = CUT_OFF
    sock.settimeout(10)
    return bytes(got), end


def quiet(sock):
    return to_end(sock, SILENCE_SECONDS) == (b"", "silence")


def payload(got):
    """The body of a response."""
    return got.partition(b"\r\n\r\n")[2]


@contextlib.contextmanager
def busy(server):
    """Have the server's loop do nothing meanwhile, so that what happens comes to it all at once."""
    free = threading.Event()
    background().loop.call_soon_threadsafe(free.wait, 10)
    try:
        yield
    finally:
        free.set()


def ending(attempt):
    return attempt.ended_by, attempt.ended_how, attempt.note


# --- reset_all and close_all -----------------------------------------------------------------------------------------


def test_reset_all_resets_transfers_under_way_and_later_ones_go_well(site, dial):
    server = site(answer=ok(body()))
    clients = [dial(server, GET) for _ in range(3)]
    heads = [exactly(client, 1000) for client in clients]

    assert server.reset_all() == 3
    for head, client in zip(heads, clients, strict=True):
        rest, end = to_end(client)
        assert end == "RST"
        assert body().startswith(payload(head + rest))
        assert len(payload(head + rest)) < len(body())
    assert [ending(a) for a in server.attempts] == [("server", "RST", "reset by the test")] * 3
    got, end = to_end(dial(server, GET))
    assert (payload(got) == body(), end) == (True, "FIN")


def test_close_all_ends_transfers_under_way_and_later_ones_go_well(site, dial):
    server = site(answer=ok(body()))
    clients = [dial(server, GET) for _ in range(3)]
    heads = [exactly(client, 1000) for client in clients]

    assert server.close_all() == 3
    for head, client in zip(heads, clients, strict=True):
        rest, end = to_end(client)
        # In the middle of a record of TLS there is no room for a close_notify.
        assert end in ("FIN", CUT_OFF if server.url.startswith("https") else "FIN")
        assert body().startswith(payload(head + rest))
        assert len(payload(head + rest)) < len(body())
    assert [ending(a) for a in server.attempts] == [("server", "FIN", "closed by the test")] * 3
    got, end = to_end(dial(server, GET))
    assert (payload(got) == body(), end) == (True, "FIN")


@pytest.mark.parametrize(("control", "end"), [("reset_all", "RST"), ("close_all", "FIN")])
def test_connections_on_which_nothing_happens_are_ended_too(site, dial, control, end):
    server = site(answer=ok(b"hello"))
    fresh, kept = dial(server), dial(server, KEPT)
    while not (got := kept.recv(1000)).endswith(b"hello"):
        assert got
    server.wait_for_attempts(2)

    assert getattr(server, control)() == 2
    assert to_end(kept) == (b"", end)
    assert to_end(fresh) == (b"", end)
    assert getattr(server, control)() == 0


@pytest.mark.parametrize(("control", "end"), [("reset_all", "RST"), ("close_all", "FIN")])
@pytest.mark.parametrize(
    "plan", [stall(at="accept"), stall(at="accept", for_seconds=60), half_close(at="accept")], ids=repr
)
def test_connections_that_a_fault_holds_are_ended_too(faultline, dial, plan, control, end):
    server = faultline.serve(plan)
    client = dial(server)
    server.wait_for_attempts(1)
    assert server.attempts[0].struck is not None

    assert getattr(server, control)() == 1
    assert to_end(client)[1] in (end, "FIN")  # after a FIN of the fault nothing more is to be read
    assert ending(server.attempts[0])[:2] == ("server", end)


def test_an_upstream_of_connections_that_are_reset_hears_their_end(join):
    server, client, upstream = join()
    client.sendall(b"hello")
    assert exactly(upstream, 5) == b"hello"

    assert server.reset_all() == 1
    assert to_end(upstream) == (b"", "FIN")


@pytest.mark.parametrize(("control", "end"), [("reset_all", "RST"), ("close_all", "FIN")])
def test_connections_that_wait_to_be_accepted_are_open_too(faultline, dial, control, end):
    server = faultline.serve(ok())
    with busy(server):
        clients = [dial(server) for _ in range(200)]

    assert getattr(server, control)() == 200
    assert {to_end(client) for client in clients} == {(b"", end)}


@pytest.mark.parametrize(("control", "end"), [("reset_all", "RST"), ("close_all", "FIN")])
def test_a_paused_connection_is_ended_all_the_same(join, control, end):
    server, client, upstream = join()
    server.pause()
    client.sendall(b"hello")

    assert getattr(server, control)() == 1
    assert to_end(client) == (b"", end)
    assert to_end(upstream)[1] == "FIN"


# --- pause and resume ------------------------------------------------------------------------------------------------


def test_a_pause_holds_a_transfer_under_way_and_resume_loses_nothing(site, dial):
    whole = os.urandom(MIB) * 64  # the kernel may take 10 MiB whenever it flows
    server = site(answer=ok(whole))
    client = dial(server, GET)
    got = exactly(client, 1000)

    for _ in range(2):
        assert server.pause() == 1
        got += to_end(client, SILENCE_SECONDS)[0]  # what had left already
        assert len(got) < len(whole)
        assert server.resume() == 1
        got += exactly(client, 100_000)
    more, end = to_end(client)
    assert (payload(got + more) == whole, end) == (True, "FIN")


def test_a_second_pause_is_the_first_and_a_second_resume_too(site, dial):
    server = site(answer=ok(b"hello"))
    client = dial(server)
    server.wait_for_attempts(1)

    assert (server.pause(), server.pause()) == (1, 1)
    client.sendall(GET)
    assert quiet(client)
    assert server.resume() == 1
    server.resume()  # the conversation may be over by now
    assert to_end(client)[0].endswith(b"hello")


@pytest.mark.parametrize("said_before", [False, True], ids=["at first", "after a turn"])
@pytest.mark.parametrize("speaker", ["client", "upstream"])
@pytest.mark.parametrize("tls", ["through", "terminate"])
def test_nothing_passes_a_paused_relay_in_either_direction(join, tls, speaker, said_before):
    server, client, upstream = join(tls=tls)
    if said_before:
        client.sendall(b"ask")
        assert exactly(upstream, 3) == b"ask"
        upstream.sendall(b"answer")
        assert exactly(client, 6) == b"answer"
    server.wait_for_attempts(1, at="request")
    assert server.attempts[0].ended_by is None  # it waits for what comes
    speaking, hearing = (client, upstream) if speaker == "client" else (upstream, client)

    server.pause()
    speaking.sendall(b"hello")
    assert quiet(hearing)
    server.resume()
    assert exactly(hearing, 5) == b"hello"


def test_a_connection_that_comes_during_a_pause_is_held_from_its_first_byte(site):
    server = site(answer=ok(b"hello"))
    server.pause()
    with socket.create_connection(server.address, 10) as client:
        server.wait_for_attempts(1)
        context = server.client_context()
        session = None
        if server.url.startswith("https"):
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            session = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
            with pytest.raises(ssl.SSLWantReadError):
                session.do_handshake()
        client.sendall(outgoing.read() if session else GET)

        assert quiet(client)
        server.resume()
        assert client.recv(1) == (b"\x16" if session else b"H")


def test_all_that_is_said_while_somebody_pauses_and_resumes_arrives(join):
    server, client, upstream = join()
    data = body()
    stop = threading.Event()

    def flicker():
        while not stop.is_set():
            server.pause()
            server.resume()

    def pour(sock):
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)

    heard = []
    threads = [threading.Thread(target=t, args=a) for t, a in [(flicker, ()), (pour, (client,)), (pour, (upstream,))]]
    threads.append(threading.Thread(target=lambda: heard.append(to_end(upstream))))
    for thread in threads:
        thread.start()
    got = to_end(client)
    for thread in threads[1:]:
        thread.join(20)
    stop.set()
    threads[0].join(20)
    assert (got == (data, "FIN"), heard == [(data, "FIN")]) == (True, True)


def test_a_pause_leaves_a_gate_its_own_and_the_other_way_round(faultline, dial):
    gate = Gate()
    server = faultline.serve(stall(at="request", until=gate))
    client = dial(server, GET)
    server.wait_for_attempts(1, at="request")
    assert server.attempts[0].struck is not None

    server.pause()
    gate.open()
    assert quiet(client)
    server.resume()
    assert to_end(client)[0].startswith(b"HTTP/1.1 200 OK")


# --- partition and heal ----------------------------------------------------------------------------------------------


@needs_filter
def test_a_partition_holds_what_a_client_says_until_it_is_healed(site, dial):
    server = site(answer=ok(b"hello"))
    client = dial(server)
    server.wait_for_attempts(1)

    assert (server.partition(), server.partition()) == (1, 1)
    client.sendall(GET)
    assert quiet(client)
    assert unacknowledged_bytes(client) >= len(GET)
    assert (server.heal(), server.heal()) == (1, 1)
    assert to_end(client)[0].endswith(b"hello")


@needs_filter
def test_a_transfer_that_is_cut_in_two_by_a_partition_arrives_whole(site, dial):
    server = site(answer=ok(body()))
    client = dial(server, GET)
    got = exactly(client, 1000)

    server.partition()
    more, end = to_end(client, SILENCE_SECONDS)
    got += more
    assert end == "silence"
    server.heal()
    more, end = to_end(client)
    assert (payload(got + more) == body(), end) == (True, "FIN")


@needs_filter
def test_nobody_connects_during_a_partition(site, dial):
    server = site(answer=ok(b"hello"))

    assert server.partition() == 0
    with pytest.raises(TimeoutError):
        socket.create_connection(server.address, 0.1)
    server.heal()
    assert to_end(dial(server, GET))[0].endswith(b"hello")


@needs_filter
def test_a_connection_that_waits_to_be_accepted_is_partitioned_too(faultline, dial):
    server = faultline.serve(ok(b"hello"))
    with busy(server):
        clients = [dial(server) for _ in range(100)]

    assert server.partition() == 100
    for client in clients:
        client.sendall(GET)
    assert [unacknowledged_bytes(client) for client in clients] == [len(GET)] * 100
    server.heal()
    assert to_end(clients[-1])[0].endswith(b"hello")


@needs_filter
def test_healing_leaves_the_partition_of_a_fault(faultline, dial):
    server = faultline.serve(partition(at="request"))
    client = dial(server, b"GET")
    server.wait_for_attempts(1, at="request")
    assert server.attempts[0].struck is not None

    server.partition()
    server.heal()
    client.sendall(b"more")
    assert quiet(client)
    assert unacknowledged_bytes(client) == 4


@needs_filter
def test_a_reset_ends_a_partitioned_connection_for_the_client_too(site, dial):
    server = site(answer=ok(b"hello"))
    client = dial(server)
    server.wait_for_attempts(1)
    server.partition()

    assert server.reset_all() == 1
    assert to_end(client) == (b"", "RST")


# --- become, for open connections too --------------------------------------------------------------------------------


def test_a_relay_breaks_a_transfer_under_way_when_open_connections_are_to_meet_it(faultline, dial):
    real = faultline.serve(ok(body()))
    server = faultline.relay(real)
    client = dial(server, GET)
    head = exactly(client, 1000)

    server.become(reset(), open_too=True)
    rest, end = to_end(client)
    assert end == "RST"
    assert body().startswith(payload(head + rest))
    assert server.attempts[0].struck.point == "response"


def test_open_connections_keep_their_fault_unless_they_are_to_meet_another(faultline, dial):
    real = faultline.serve(ok(body()))
    server = faultline.relay(real)
    client = dial(server, GET)
    got = exactly(client, 1000)

    server.become(reset())
    more, end = to_end(client)
    assert (payload(got + more) == body(), end) == (True, "FIN")
    assert to_end(dial(server, GET)) == (b"", "RST")


def talk(client, upstream):
    client.sendall(b"ask")
    assert exactly(upstream, 3) == b"ask"
    upstream.sendall(b"answer")
    assert exactly(client, 6) == b"answer"


@pytest.mark.parametrize("spoken", [False, True], ids=["at first", "after a turn"])
@pytest.mark.parametrize("before", [None, reset(at="request", after_bytes=100), reset(on=b"never")], ids=repr)
def test_an_open_connection_that_waits_meets_what_is_new_from_the_next_byte_on(join, before, spoken):
    server, client, upstream = join(before)
    if spoken:
        talk(client, upstream)
    server.wait_for_attempts(1, at="request")
    assert server.attempts[0].ended_by is None  # it waits for what comes

    server.become(reset(at="request", after_bytes=4), open_too=True)
    client.sendall(b"hello")
    assert to_end(upstream) == (b"hell", "FIN")
    assert to_end(client) == (b"", "RST")
    assert server.attempts[0].struck.after_bytes == 4


@pytest.mark.parametrize(
    "before", [reset(at="request", after_bytes=10), reset(on=b"hello"), reset(after_bytes=3)], ids=repr
)
def test_an_open_connection_is_well_again_when_the_new_plan_says_so(join, before):
    server, client, upstream = join(before)
    server.wait_for_attempts(1, at="request")
    assert server.attempts[0].ended_by is None

    server.become(ok(), open_too=True)
    client.sendall(b"hello again and again")
    assert exactly(upstream, 21) == b"hello again and again"
    upstream.sendall(b"answer")
    assert exactly(client, 6) == b"answer"
    assert server.attempts[0].struck is None


def test_an_open_connection_meets_silence_as_a_new_fault(join):
    server, client, upstream = join()
    talk(client, upstream)

    server.become(reset(at="idle", after_seconds=0.02), open_too=True)
    assert to_end(client) == (b"", "RST")
    assert server.attempts[0].struck.point == "idle"


def test_a_server_under_way_forgets_the_fault_that_its_open_connection_waited_for(faultline, dial):
    server = faultline.serve(reset(at="request", after_bytes=10), strict=False)
    client = dial(server)
    server.wait_for_attempts(1, at="request")
    assert server.attempts[0].ended_by is None

    server.become(ok(b"hello"), open_too=True)
    client.sendall(GET)
    assert to_end(client)[0].endswith(b"hello")


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_an_open_connection_of_a_server_meets_what_is_new_in_its_next_answer(faultline, dial, tls):
    server = faultline.serve(ok(b"hello"), tls=tls)
    client = dial(server, KEPT)
    got = b""
    while not got.endswith(b"hello"):
        got += client.recv(1000)

    server.become(close(after_bytes=9), open_too=True)
    client.sendall(KEPT)
    assert to_end(client) == (b"HTTP/1.1 ", "FIN")


def test_each_open_connection_is_dealt_its_own_of_the_new_plan(join, faultline, dial):
    server = faultline.serve(echo())
    clients = [dial(server) for _ in range(3)]
    server.wait_for_attempts(3, at="request")

    server.become(sequence(reset(), close(), ok(b"hello")), open_too=True)
    ends = []
    for client in clients:
        client.sendall(GET)
        got, end = to_end(client)
        ends.append((payload(got), end))
    assert ends == [(b"", "RST"), (b"", "FIN"), (b"hello", "FIN")]


def test_a_new_plan_again_and_again_during_a_transfer_loses_nothing(join):
    server, client, upstream = join()
    data = body()
    thread = threading.Thread(target=lambda: (upstream.sendall(data), upstream.shutdown(socket.SHUT_WR)))
    thread.start()
    got = bytearray(exactly(client, 1000))
    for _ in range(50):
        server.become(reset(at="request"), open_too=True)
        got += exactly(client, 100_000)
        server.become(ok(), open_too=True)
        got += exactly(client, 100_000)

    rest, end = to_end(client)
    thread.join(10)
    assert (bytes(got) + rest == data, end) == (True, "FIN")


# --- closed servers, and clients of asyncio --------------------------------------------------------------------------


@needs_filter
@pytest.mark.parametrize("control", ["reset_all", "close_all", "pause", "resume", "partition", "heal"])
def test_a_closed_server_has_no_connections(site, dial, control):
    server = site()
    dial(server)
    server.close()

    assert getattr(server, control)() == 0
    assert getattr(server, control)() == 0


def test_a_closed_server_takes_no_new_plan(site):
    server = site()
    server.close()

    with pytest.raises(ServerError, match="expected an open server; it was closed"):
        server.become(reset(), open_too=True)


@pytest.mark.parametrize("control", ["pause", "partition"])
def test_a_server_that_is_held_can_be_closed(site, dial, control):
    if control == "partition" and not filters():
        pytest.skip("needs the socket filter, and so CAP_NET_ADMIN")
    server = site(answer=ok(body()))
    client = dial(server, GET)
    assert exactly(client, 100).startswith(b"HTTP")

    assert getattr(server, control)() == 1
    server.close()
    assert to_end(client)[1] in ("FIN", "RST", CUT_OFF)
    assert ending(server.attempts[0])[:2] == ("server", "stop")


async def open_client(server):
    host, port = server.address
    tls = {"ssl": server.client_context(), "server_hostname": "localhost"} if server.url.startswith("https") else {}
    return await asyncio.open_connection(host, port, **tls)


@contextlib.asynccontextmanager
async def clients_of(server, count):
    """So many clients of asyncio that have read the beginning of the answer."""
    pairs = [await open_client(server) for _ in range(count)]
    for reader, writer in pairs:
        writer.write(GET)
        assert await reader.readexactly(9) == b"HTTP/1.1 "
    try:
        yield [reader for reader, _ in pairs]
    finally:
        for _, writer in pairs:
            writer.transport.abort()
        await asyncio.sleep(0.01)  # the transports' sockets are closed in the next turns


def test_clients_of_asyncio_see_a_reset_while_they_read(site):
    server = site(answer=ok(body()))

    async def read():
        async with clients_of(server, 3) as readers:
            reading = [asyncio.ensure_future(reader.read()) for reader in readers]
            count = await asyncio.to_thread(server.reset_all)
            return count, await asyncio.wait_for(asyncio.gather(*reading, return_exceptions=True), 10)

    count, ends = asyncio.run(read())
    assert count == 3
    assert [type(end) for end in ends] == [ConnectionResetError] * 3


def test_a_client_of_asyncio_waits_in_a_pause_and_gets_everything_after_it(site):
    server = site(answer=ok(body()))

    async def read():
        async with clients_of(server, 1) as readers:
            await asyncio.to_thread(server.pause)
            reading = [asyncio.ensure_future(reader.read()) for reader in readers]
            done, _ = await asyncio.wait(reading, timeout=SILENCE_SECONDS)
            server.resume()  # it never waits for a client, so that its loop may call it
            return len(done), await asyncio.wait_for(asyncio.gather(*reading), 20)

    done, got = asyncio.run(read())
    assert done == 0
    assert [payload(b"HTTP/1.1 " + data) == body() for data in got] == [True]


@needs_filter
def test_clients_of_asyncio_time_out_in_a_partition(site):
    server = site(answer=ok(b"hello"))

    async def ask():
        reader, writer = await open_client(server)
        try:
            server.partition()
            writer.write(GET)
            with pytest.raises((TimeoutError, asyncio.TimeoutError)):
                await asyncio.wait_for(reader.read(), SILENCE_SECONDS)
            server.heal()
            return await asyncio.wait_for(reader.read(), 10)
        finally:
            writer.transport.abort()
            await asyncio.sleep(0.01)

    assert asyncio.run(ask()).endswith(b"hello")


def test_controls_may_be_used_by_several_threads_at_once(dial):
    """As long as a number of clients come, and not for a time: on a busy machine too many would come meanwhile."""
    data = os.urandom(MIB)
    names = ["reset_all", "close_all", "pause", "resume"]
    start, enough = threading.Barrier(len(names) + 1), threading.Event()
    with serve(ok(data)) as server, ThreadPoolExecutor(len(names)) as pool:

        def use(control):
            start.wait()
            while not enough.is_set():
                getattr(server, control)()

        uses = [pool.submit(use, name) for name in names]
        start.wait()
        for _ in range(30):
            with contextlib.suppress(ConnectionError):
                dial(server, GET)
        enough.set()
        for used in uses:
            used.result()
        server.resume()

        assert payload(to_end(dial(server, GET))[0]) == data
