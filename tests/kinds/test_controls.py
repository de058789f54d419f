"""What a test does to open connections, at each kind of server, while bytes are on their way."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support import CUT_OFF, GET, KEPT_GET, SILENCE_SECONDS, ending, is_quiet, read, read_until, to_end
from support.kinds import KINDS, each_kind

import faultline as fl
from faultline._net.sockets import unacknowledged_bytes
from faultline._servers.loop import background

MIB = 1 << 20
ENDS = pytest.mark.parametrize(("control", "end"), [("reset_all", "RST"), ("close_all", "FIN")])
WITH_PACKETS = pytest.mark.parametrize(
    "site", each_kind(kind for kind in KINDS if "Unix" not in kind.name), indirect=True
)
READING = pytest.mark.parametrize(  # a client of SOCKS has said something before its request
    "site", each_kind(kind for kind in KINDS if "SOCKS" not in kind.name), indirect=True
)


@functools.cache
def body():
    """More than the kernel's buffers take, which is 10 MiB."""
    return os.urandom(MIB) * 16


def asking(site, server, count=1):
    """Clients that have read the beginning of the answer, and what they have read."""
    clients = [site.dial(server, site.get(server)) for _ in range(count)]
    return [(read(client, 1000), client) for client in clients]


def payload(got):
    """The body of a response."""
    return got.partition(b"\r\n\r\n")[2]


@contextlib.contextmanager
def busy():
    """Have the loop do nothing meanwhile, so that what happens comes to it all at once."""
    free = threading.Event()
    background().loop.call_soon_threadsafe(free.wait, 10)
    try:
        yield
    finally:
        free.set()


# --- reset_all and close_all -----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.measured
@ENDS
def test_transfers_under_way_are_ended_and_later_ones_go_well(site, control, end):
    server = site.start(answer=fl.ok(body()))
    clients = asking(site, server, 3)

    assert getattr(server, control)() == 3
    for head, client in clients:
        rest, seen = to_end(client)
        # In the middle of a record of TLS there is no room for a close_notify. A Unix socket may have no RST.
        cut_off = [CUT_OFF] if site.is_tls and (end == "FIN" or site.is_unix) else []
        assert seen in [end, *cut_off, *(["FIN"] if site.is_unix else [])]
        assert body().startswith(payload(head + rest))
        assert len(payload(head + rest)) < len(body())
    told = "reset by the test" if control == "reset_all" else "closed by the test"
    assert [(*ending(a), a.note) for a in server.attempts] == [("server", end, told)] * 3
    assert asking(site, server)[0][0].startswith(b"HTTP/1.1 200")


@ENDS
def test_connections_on_which_nothing_happens_are_ended_too(site, control, end):
    server = site.start()
    fresh, kept = site.dial(server), site.dial(server, site.kept_get(server))
    while not (got := kept.recv(1000)).endswith(b"hello"):
        assert got
    server.wait_for_attempts(2, at="request")

    assert getattr(server, control)() == 2
    for client, hears in ((fresh, end), (kept, "FIN" if site.is_http_proxy else end)):  # which keeps no connection
        heard = [hears, "FIN", CUT_OFF] if site.is_unix else [hears]  # the kernel may have no RST there
        assert to_end(client) in [(b"", how) for how in heard]
    assert getattr(server, control)() == 0


@ENDS
@pytest.mark.parametrize(
    "plan", [fl.stall(at="accept"), fl.stall(at="accept", for_seconds=60), fl.half_close(at="accept")], ids=repr
)
def test_connections_that_a_fault_holds_are_ended_too(faultline, dial, plan, control, end):
    server = faultline.serve(plan)
    client = dial(server)
    server.wait_for_strike()

    assert getattr(server, control)() == 1
    assert to_end(client)[1] in (end, "FIN")  # after a FIN of the fault nothing more is to be read
    assert ending(server.attempts[0]) == ("server", end)


@ENDS
def test_connections_that_wait_to_be_accepted_are_open_too(faultline, dial, control, end):
    server = faultline.serve(fl.ok())
    with busy():
        clients = [dial(server) for _ in range(200)]

    assert getattr(server, control)() == 200
    assert {to_end(client) for client in clients} == {(b"", end)}


@pytest.mark.measured
@ENDS
def test_a_paused_connection_is_ended_all_the_same(site, control, end):
    server = site.start()
    client = site.dial(server)
    server.wait_for_attempts(1, at="request")  # in TLS there is no close_notify before
    server.pause()
    client.sendall(site.get(server))

    assert getattr(server, control)() == 1
    assert to_end(client) == (b"", end)


# --- pause and resume ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_pause_holds_a_transfer_under_way_and_resume_loses_nothing(site):
    server = site.start(answer=fl.ok(body()))
    ((got, client),) = asking(site, server)

    assert (server.pause(), server.pause()) == (1, 1)
    got += to_end(client, SILENCE_SECONDS)[0]  # what had left already
    assert len(got) < len(body())
    assert server.resume() == 1
    more, end = to_end(client)
    assert (payload(got + more) == body(), end) == (True, "FIN")
    server.resume()


def test_a_connection_that_comes_during_a_pause_is_held_from_its_first_byte(site):
    server = site.start()
    early = site.dial(server)
    server.wait_for_attempts(1)
    server.pause()
    early.sendall(site.get(server))
    late = site.connect(server, site.first_bytes(server))
    server.wait_for_attempts(2)

    assert is_quiet(early, late)
    assert server.attempts[-1].received_bytes == 0
    assert server.resume() == 2
    assert (early.recv(1), late.recv(1)) == (b"H", {"TLS": b"\x16", "SOCKS": b"\5"}.get(site.speaks, b"H"))


def test_a_pause_leaves_a_gate_its_own_and_the_other_way_round(faultline, dial):
    gate = fl.Gate()
    server = faultline.serve(fl.stall(at="request", until=gate))
    client = dial(server, GET)
    server.wait_for_strike()

    server.pause()
    gate.open()
    assert is_quiet(client)
    server.resume()
    assert to_end(client)[0].startswith(b"HTTP/1.1 200 OK")


# --- partition and heal ----------------------------------------------------------------------------------------------


@pytest.mark.slow  # TCP repeats what was lost
@WITH_PACKETS
def test_a_partition_holds_transfers_and_requests_and_connects_until_it_is_healed(site, needs_filter):
    del needs_filter
    server = site.start(answer=fl.ok(body()))
    ((got, under_way),) = asking(site, server)
    fresh = site.dial(server)
    server.wait_for_attempts(2)

    assert (server.partition(), server.partition()) == (2, 2)
    fresh.sendall(asked := site.get(server))
    knocking = site.stack.enter_context(socket.socket())
    knocking.setblocking(False)
    knocking.connect_ex(server.address)
    more, end = to_end(under_way, SILENCE_SECONDS)
    assert end == "silence"
    assert is_quiet(fresh)
    assert unacknowledged_bytes(fresh) >= len(asked)
    with pytest.raises(OSError, match="107"):  # not connected
        knocking.getpeername()
    assert (server.heal(), server.heal()) == (2, 2)
    rest, end = to_end(under_way)
    assert (payload(got + more + rest) == body(), end) == (True, "FIN")
    assert fresh.recv(12) == b"HTTP/1.1 200"
    assert asking(site, server)[0][0].startswith(b"HTTP/1.1 200")


@pytest.mark.slow
@pytest.mark.everywhere
def test_a_connection_that_waits_to_be_accepted_is_partitioned_too(faultline, dial, needs_filter):
    del needs_filter
    server = faultline.serve(fl.ok(b"hello"))
    with busy():
        clients = [dial(server) for _ in range(100)]

    assert server.partition() == 100
    for client in clients:
        client.sendall(GET)
    assert [unacknowledged_bytes(client) for client in clients] == [len(GET)] * 100
    server.heal()
    assert to_end(clients[-1])[0].endswith(b"hello")


def test_healing_leaves_the_partition_of_a_fault(faultline, dial, needs_filter):
    del needs_filter
    server = faultline.serve(fl.partition(at="request"))
    client = dial(server, b"GET")
    server.wait_for_strike()

    server.partition()
    server.heal()
    client.sendall(b"more")
    assert is_quiet(client)
    assert unacknowledged_bytes(client) == 4


@WITH_PACKETS
def test_a_reset_ends_a_partitioned_connection_for_the_client_too(site, needs_filter):
    del needs_filter
    server = site.start()
    client = site.dial(server)
    server.wait_for_attempts(1)
    server.partition()

    assert server.reset_all() == 1
    assert to_end(client) == (b"", "RST")


@pytest.mark.parametrize("site", [kind for kind in KINDS if "Unix" in kind.name], indirect=True, ids=str)
def test_a_partition_of_what_has_no_packets_is_refused(site):
    with pytest.raises(fl.UnsupportedError, match="a Unix socket has no packets to drop"):
        site.start().partition()


# --- cut_off ---------------------------------------------------------------------------------------------------------


def test_who_is_cut_off_is_reset_and_refused_until_clients_are_let_in_again(site):
    server = site.start(fl.stall(at="accept"))
    held = site.connect(server)
    server.wait_for_attempts(1)

    server.cut_off()
    assert to_end(held) == (b"", "FIN" if site.is_unix else "RST")
    with pytest.raises(ConnectionRefusedError):
        site.connect(server)
    server.become(fl.ok())
    with pytest.raises(ConnectionRefusedError):
        site.connect(server)
    server.cut_off(is_cut_off=False)
    assert site.ask(server) == (b"hello", "FIN")


# --- become ----------------------------------------------------------------------------------------------------------


def test_a_plan_is_changed_at_once_and_for_a_while(site):
    server = site.start()
    where = server.hostport
    server.become(fl.refuse())
    with pytest.raises(ConnectionRefusedError):
        site.dial(server)
    server.become(fl.sequence(fl.reset(), fl.ok()))
    assert site.ask(server) == (b"", "RST")
    assert site.ask(server) == (b"hello", "FIN")
    with server.becoming(fl.refuse()):
        assert server.plan == fl.refuse()
        with pytest.raises(ConnectionRefusedError):
            site.dial(server)
    assert server.plan == fl.sequence(fl.reset(), fl.ok())

    assert server.hostport == where
    assert [a.fault for a in server.attempts] == [fl.refuse(), fl.reset(), fl.ok(), fl.refuse()]


@READING
def test_an_attempt_under_way_keeps_its_fault_unless_it_is_to_meet_another(site):
    server = site.start(fl.reset(at="request", after_bytes=60))
    kept, other = site.dial(server), site.dial(server)
    server.wait_for_attempts(2, at="request")

    server.become(fl.ok())
    kept.sendall(GET[:-2] + b"X: " + b"x" * 60 + b"\r\n\r\n")
    assert to_end(kept)[1] == "RST"
    server.become(fl.close(at="request"), open_too=True)
    other.sendall(site.get(server))
    assert to_end(other) == (b"", "FIN")


@READING
def test_a_break_that_waits_for_the_first_byte_may_be_taken_away(site):
    """The server waits for a byte to strike at, and meanwhile the attempt gets another fault."""
    for new in (fl.ok(), fl.latency(0.001), fl.close(at="request")):
        server = site.start(fl.reset(at="request"))
        client = site.dial(server)
        server.wait_for_attempts(1, at="request")
        server.become(new, open_too=True)
        client.sendall(site.get(server))
        got, end = to_end(client)
        client.close()

        (attempt,) = server.wait_for_attempts(1, at="end")
        assert (got[-5:], end) == (b"" if new == fl.close(at="request") else b"hello", "FIN")
        assert (attempt.fault, attempt.struck is not None) == (new, new != fl.ok())


def test_a_request_that_waits_for_its_response_gets_that_of_the_new_fault(faultline, dial):
    gate = fl.Gate()
    server = faultline.serve(fl.stall(until=gate) & fl.status(503), strict=False)
    client = dial(server, KEPT_GET)
    server.wait_for_attempts(1, at="strike")

    server.become(fl.status(404), open_too=True)
    gate.open()

    assert read_until(client, b"\r\n").startswith(b"HTTP/1.1 404 ")
    [attempt] = server.attempts
    assert [(str(strike.part), strike.origin == attempt.strikes[-1].origin) for strike in attempt.strikes] == [
        ("break", False),
        ("answer", True),
    ]


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_an_open_connection_of_a_server_meets_what_is_new_in_its_next_answer(faultline, dial, tls):
    server = faultline.serve(fl.ok(b"hello"), tls=tls)
    client = dial(server, KEPT_GET)
    assert read_until(client, b"hello")

    server.become(fl.close(after_bytes=9), open_too=True)
    client.sendall(KEPT_GET)
    assert to_end(client) == (b"HTTP/1.1 ", "FIN")


def idle(server, dial):
    """A client whose kept connection is idle."""
    client = dial(server, KEPT_GET)
    assert read_until(client, b"ok\n")
    server.wait_for_attempts(1, at="idle")
    return client


def test_the_new_timer_of_an_idle_connection_counts(faultline, dial):
    server = faultline.serve(fl.close(at="idle", after_seconds=60), strict=False)
    client = idle(server, dial)
    server.become(fl.close(at="idle", after_seconds=0.02), open_too=True)
    assert to_end(client) == (b"", "FIN")


# --- threads, and loops ----------------------------------------------------------------------------------------------


def test_controls_never_wait_for_a_client_so_that_its_loop_may_call_them(faultline):
    server = faultline.serve(fl.ok(bytes(MIB)))

    async def talk():
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(GET)
        got = await reader.readexactly(9)
        assert (server.pause(), server.resume()) == (1, 1)
        got += await reader.read()
        writer.close()
        await writer.wait_closed()
        return got

    assert payload(asyncio.run(talk())) == bytes(MIB)


def test_controls_may_be_used_by_several_threads_at_once(faultline, dial):
    """As long as a number of clients come, and not for a time: on a busy machine too many would come meanwhile."""
    data = os.urandom(MIB)
    names = ["reset_all", "close_all", "pause", "resume"]
    start, enough, server = threading.Barrier(len(names) + 1), threading.Event(), faultline.serve(fl.ok(data))

    def use(control):
        start.wait()
        while not enough.is_set():
            getattr(server, control)()

    with ThreadPoolExecutor(len(names)) as pool:
        uses = [pool.submit(use, name) for name in names]
        start.wait()
        for _ in range(20):
            with contextlib.suppress(ConnectionError):
                dial(server, GET)
        enough.set()
        for used in uses:
            used.result()
    server.resume()

    assert payload(to_end(dial(server, GET))[0]) == data
