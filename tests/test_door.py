"""Connects that the kernel refuses or leaves unanswered: each is counted once, in order, whoever makes it."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import select
import socket
import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from support import GET, connected, leave_by_rst
from support.tables import each_row

from faultline import blackhole, ok, refuse, relay, reset, sequence, serve, unreachable
from faultline._net import addresses, connects, syns
from faultline._servers.door import LATE
from faultline._servers.loop import background

THREADS = 10
HOSTS = ["127.0.0.1", "::1"]
PLANS = [
    (sequence(refuse(), refuse(), refuse(), ok()), [refuse()] * 3),
    (sequence(ok(), refuse(), ok(), refuse(), ok()), [refuse()] * 2),
    (sequence(refuse(), reset(), refuse(), ok()), [refuse()] * 2),
]

# A client that raises no audit event: it calls connect of the C library.
IN_C = """
import ctypes, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
for _ in range(int(sys.argv[2])):
    with socket.socket() as sock:
        address = struct.pack("=HH4s8x", socket.AF_INET, socket.htons(int(sys.argv[1])), socket.inet_aton("127.0.0.1"))
        if libc.connect(sock.fileno(), address, len(address)):
            print(ctypes.get_errno())
            continue
        sock.sendall(b"GET / HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n")
        try:
            print(sock.recv(12).decode())
        except OSError as error:
            print(error.errno)
"""


@pytest.fixture(params=["packets", "events"])
def counting(request, monkeypatch):
    """How connects are counted: by their packets, where this user may hear them, or by their audit events."""
    if request.param == "events":
        monkeypatch.setattr(syns, "can_answer", lambda _family: False)
    elif not syns.can_answer(socket.AF_INET):
        pytest.skip("CAP_NET_RAW is missing")
    return request.param


@pytest.fixture
def hears_packets():
    """Skip the test where this user may not hear packets."""
    if not syns.can_answer(socket.AF_INET):
        pytest.skip("CAP_NET_RAW is missing")


@contextlib.contextmanager
def held(loop):
    """The loop does nothing meanwhile."""
    is_held, release = threading.Event(), threading.Event()
    loop.call_soon_threadsafe(lambda: (is_held.set(), release.wait()))
    is_held.wait()
    try:
        yield
    finally:
        release.set()


def outcome(server):
    """What one client meets."""
    try:
        with connected(server) as client:
            return read_on(client)
    except OSError as error:
        return type(error).__name__


def read_on(client):
    """The beginning of the answer to a request."""
    client.settimeout(10)
    client.sendall(GET)
    begin = client.recv(12)
    while client.recv(65_536):
        pass
    return begin


def met_by_threads(server, count=THREADS):
    """What clients meet that connect at the same moment, sorted."""
    barrier, met = threading.Barrier(count), []

    def run():
        barrier.wait()
        met.append(outcome(server))

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(map(str, met))


def ledger_of(server):
    """The same, as the ledger has it."""
    met = {None: str(b"HTTP/1.1 200"), "connect": "ConnectionRefusedError", "response": "ConnectionResetError"}
    return sorted(met[attempt.struck and attempt.struck.point] for attempt in server.attempts)


@pytest.mark.parametrize("kind", [{}, {"unix": True}, {"isolated": True}, {"host": "::1"}], ids=str)
def test_each_fault_of_the_door_meets_one_of_many_threads(kind, counting):
    if counting == "events" and "isolated" in kind:
        pytest.skip("the child process decides for itself")
    for plan, refused in PLANS:
        with serve(plan, strict=False, **kind) as server:
            met = met_by_threads(server)

            assert [a.fault for a in server.attempts if a.connection is None] == refused
            assert met == ledger_of(server)
            assert met.count("ConnectionRefusedError") == len(refused)


@pytest.mark.parametrize("host", HOSTS)
def test_one_client_after_the_other_meets_the_plan_in_order(host, counting):
    with serve(sequence(refuse(), reset(), refuse(), ok()), host=host) as server:
        met = [outcome(server) for _ in range(4)]

    assert met == ["ConnectionRefusedError", "ConnectionResetError", "ConnectionRefusedError", b"HTTP/1.1 200"]
    assert server._sight.counts_all is (counting == "packets")
    assert not server._sight.has_unseen_clients


@pytest.mark.parametrize("isolated", [False, True])
@pytest.mark.slow
def test_connects_of_a_client_in_c_of_another_process_are_counted_in_order(hears_packets, isolated):
    with serve(sequence(refuse(), reset(), refuse(), refuse(), ok()), isolated=isolated) as server:
        told = subprocess.run(
            [sys.executable, "-c", IN_C, str(server.port), "5"], capture_output=True, text=True, check=True
        )

        assert told.stdout.split("\n")[:5] == ["111", "104", "111", "111", "HTTP/1.1 200"]
        assert [a.fault for a in server.attempts] == [refuse(), reset(), refuse(), refuse(), ok()]
        assert server._sight.counts_all


def test_connects_of_pycurl_are_counted_in_order(hears_packets):
    pycurl = pytest.importorskip("pycurl")
    codes = []
    with serve(sequence(refuse(), reset(), ok())) as server:
        for _ in range(3):
            curl = pycurl.Curl()
            curl.setopt(pycurl.URL, server.url)
            curl.setopt(pycurl.WRITEFUNCTION, lambda _data: None)
            try:
                curl.perform()
                codes.append(0)
            except pycurl.error as error:
                codes.append(error.args[0])
            curl.close()

    assert codes == [pycurl.E_COULDNT_CONNECT, pycurl.E_RECV_ERROR, 0]


def test_client_without_an_event_is_known_to_be_unseen(monkeypatch):
    monkeypatch.setattr(syns, "can_answer", lambda _family: False)
    with serve(sequence(ok(), refuse()), strict=False) as server:
        subprocess.run([sys.executable, "-c", IN_C, str(server.port), "1"], capture_output=True, check=True)

        assert len(server.attempts) == 1
        assert not server._sight.counts_all
        assert server._sight.has_unseen_clients


def test_black_hole_of_a_client_in_c_is_counted(hears_packets):
    with serve(blackhole()) as server:
        client = subprocess.Popen([sys.executable, "-c", IN_C, str(server.port), "1"], stdout=subprocess.DEVNULL)
        try:
            server.ledger.wait(1, "connect", 10)
        finally:
            client.kill()
            client.wait()

        assert [(a.connection, a.ended_how) for a in server.attempts] == [(None, "silence")]


def test_connect_without_a_route_is_counted_by_its_event(counting):
    with serve(unreachable()) as server:
        with pytest.raises(OSError, match="101"):
            socket.create_connection(server.address)
        assert [a.fault for a in server.attempts] == [unreachable()]
        assert not server._sight.counts_all


def connect_in_c(client, server):
    """Connect without an audit event."""
    host, port = server.address
    address = struct.pack("=HH4s8x", socket.AF_INET, socket.htons(port), socket.inet_aton(host))
    assert ctypes.CDLL(None).connect(client.fileno(), address, len(address)) == 0


@pytest.mark.parametrize("fault", [refuse(), blackhole()], ids=repr)
def test_client_that_connects_while_the_door_is_being_shut_meets_the_fault_and_is_noted(fault, counting):
    with serve(sequence(ok(), fault, ok())) as server, contextlib.ExitStack() as opened:
        clients = [opened.enter_context(socket.socket()) for _ in range(3)]
        with held(background().loop):
            for client in clients:
                connect_in_c(client, server)
                client.settimeout(10)
        for client in (clients[0], clients[2]):
            client.sendall(GET)
            assert client.recv(12) == b"HTTP/1.1 200"
        if fault == refuse():
            with pytest.raises(ConnectionResetError):
                clients[1].recv(1)
        else:
            clients[1].setblocking(False)
            with pytest.raises(BlockingIOError):
                clients[1].recv(1)

        assert [a.fault for a in server.attempts] == [ok(), fault, ok()]
        assert [LATE in a.note for a in server.attempts] == [False, True, False]
        assert server._sight.has_unseen_clients is (counting == "events")


def test_relay_in_front_of_a_server_that_refuses_counts(counting):
    with serve(sequence(refuse(), ok())) as upstream, relay(upstream) as server:
        assert [outcome(server), outcome(server)] == ["ConnectionResetError", b"HTTP/1.1 200"]
        assert [a.fault for a in upstream.attempts] == [refuse(), ok()]


def test_plan_that_refuses_later_counts_from_then_on(counting):
    with serve(ok()) as server:
        assert outcome(server) == b"HTTP/1.1 200"
        server.become(sequence(refuse(), ok()))
        assert [outcome(server), outcome(server)] == ["ConnectionRefusedError", b"HTTP/1.1 200"]
        assert [a.fault for a in server.attempts] == [ok(), refuse(), ok()]


def test_server_on_every_address_counts_clients_of_both_families(hears_packets):
    with serve(sequence(refuse(), refuse(), ok()), host="::", allow_remote=True) as server:
        for host in ("127.0.0.1", "::1", "127.0.0.1"):
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection((host, server.port)) as client:
                client.sendall(GET)
                assert client.recv(12) == b"HTTP/1.1 200"

        assert [a.fault for a in server.attempts] == [refuse(), refuse(), ok()]


V4, V6 = socket.AF_INET, socket.AF_INET6
SPELLINGS = {
    "127.0.0.1": [
        *((V4, host) for host in ("127.0.0.1", "127.1", "localhost", "", "0.0.0.0", b"127.0.0.1", bytearray(b"127.1"))),
        (V6, "::ffff:127.0.0.1"),
    ],
    "0.0.0.0": [(V4, "127.0.0.1"), (V4, "127.8.8.8"), (V6, "::ffff:127.0.0.1")],
    "::": [(V4, "127.0.0.1"), (V6, "::1"), (V6, "::"), (V4, "0.0.0.0")],
    "::1": [(V6, "::1"), (V6, "0:0::1")],
}


@pytest.mark.parametrize("bound", SPELLINGS)
def test_connect_is_counted_by_whichever_address_it_reaches_the_server(bound, counting):
    for family, host in SPELLINGS[bound]:
        with serve(sequence(refuse(), ok()), host=bound, allow_remote=True) as server:
            with socket.socket(family) as client, pytest.raises(ConnectionRefusedError):
                client.connect((host, server.port))
            with socket.socket(family) as client:
                client.connect((host, server.port))

            assert (family, host, [a.fault for a in server.attempts]) == (family, host, [refuse(), ok()])


class Number:
    """A number that is no int."""

    def __init__(self, value):
        self.value = value

    def __index__(self):
        return self.value


def test_port_may_be_any_whole_number(counting):
    with serve(sequence(refuse(), ok())) as server:
        with socket.socket() as client, pytest.raises(ConnectionRefusedError):
            client.connect(("127.0.0.1", Number(server.port)))

        assert [a.fault for a in server.attempts] == [refuse()]
        with socket.create_connection(server.address):
            assert [a.fault for a in server.wait_for_attempts(1)] == [refuse(), ok()]


@each_row("address", ["text", ("127.0.0.1",), (1, 2), ("127.0.0.1", "80"), None])
def test_what_is_no_address_of_a_host_is_none(address):
    assert addresses.host_and_port(address) is None


def test_address_of_another_machine_does_not_reach_a_server_on_every_address():
    assert not addresses.reaches("192.0.2.1", "0.0.0.0")
    assert not addresses.reaches("api.example.com", "::")
    assert not addresses.reaches("::1", "0.0.0.0")


@pytest.fixture
def begun(monkeypatch):
    """A function that makes the connect of another thread, which is still in its call."""
    monkeypatch.setattr(connects.Begun, "_place", lambda *_: (1, 2))
    monkeypatch.setattr(connects, "PAUSES", 2)

    def make(sock):
        made = []
        thread = threading.Thread(target=lambda: made.append(connects.Begun(sock)))
        thread.start()
        thread.join()
        made[0]._thread = -1  # a new thread may get the number of an old one
        return made[0]

    return make


def test_connect_is_answered_once_the_state_of_its_socket_says_so(begun):
    with serve(ok()) as healthy, serve(refuse()) as refusing, serve(blackhole(), strict=False) as silent:
        for server, answered in ((healthy, True), (refusing, True), (silent, False)):
            with socket.socket() as client:
                before = begun(client)
                assert not before._is_answered()
                client.setblocking(False)
                client.connect_ex(server.address)
                select.select([], [client], [], 10 if answered else 0)

                assert before._is_answered() is answered
                before.wait()
            assert before._is_answered()


def test_connect_of_a_bound_or_a_unix_socket_is_answered_once_its_thread_has_gone_on(begun, monkeypatch):
    with socket.socket() as bound, socket.socket(socket.AF_UNIX) as unix:
        bound.bind(("127.0.0.1", 0))
        both = [begun(bound), begun(unix)]
        assert [each._is_answered() for each in both] == [False, False]

        monkeypatch.setattr(connects.Begun, "_place", lambda *_: None)
        assert [each._is_answered() for each in both] == [True, True]


# --- clients that wait at a black hole -------------------------------------------------------------------------------
# TCP sends a SYN again after a second: all that wait for it do so at the same time.

HOLE = blackhole(for_seconds=0.7)  # all have come by then, and no SYN again
# The fault after the hole, what the client gets, and its one attempt: the fault, the strikes, and how it ends.
AFTER = [
    (ok(b"hello"), b"HTTP/1.1 200", (HOLE, ["connect"], "FIN")),
    (reset(), "ConnectionResetError", (reset(), ["connect", "response"], "RST")),
    (refuse(), "ConnectionRefusedError", (refuse(), ["connect", "connect"], "RST")),
]


def is_let_in_by_what_comes_next(kind, later, met, told):
    with serve(sequence(HOLE, later), **kind) as server:
        assert outcome(server) == met

        (attempt,) = server.attempts
        assert (attempt.fault, [strike.point for strike in attempt.strikes], attempt.ended_how) == told
        assert "silence" not in [end.how for end in attempt.ends]
        assert attempt.connection == (None if later == refuse() else 1)


def is_told_from_one_that_gave_up():
    with serve(HOLE) as server:
        with pytest.raises(TimeoutError):
            socket.create_connection(server.address, 0.01)
        with ThreadPoolExecutor(2) as pool:
            for client in pool.map(socket.create_connection, [server.address] * 2):
                client.close()
        server.wait_for_attempts(2, at="client_end")
        assert sorted(a.connection or 0 for a in server.attempts) == [0, 1, 2]


def resets_at_once_when_let_in():
    with serve(HOLE) as server:
        leave_by_rst(socket.create_connection(server.address))
        server.wait_for_attempts(1, at="client_end")
        assert [(a.connection, a.ended_how) for a in server.attempts] == [(1, "RST")]


def is_counted_once_though_tcp_repeats_its_syn():
    with serve(sequence(blackhole(), ok())) as server, socket.socket() as client:
        client.settimeout(1.2)
        with pytest.raises(TimeoutError):
            client.connect(server.address)
        assert [a.fault for a in server.attempts] == [blackhole()]

        assert outcome(server) == b"HTTP/1.1 200"
        assert [a.fault for a in server.attempts] == [blackhole(), ok()]


def meets_what_the_plan_becomes(later, number):
    with serve(blackhole(), strict=False) as server, socket.socket() as client:  # one attempt, of the first plan
        client.setblocking(False)
        assert client.connect_ex(server.address) == errno.EINPROGRESS
        server.become(later)
        assert select.select([], [client], [], 10)[1] == [client]

        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == number
        if number == 0:
            assert read_on(client) == b"HTTP/1.1 200"
            assert [a.connection for a in server.attempts] == [1]


@pytest.mark.slow
@pytest.mark.measured
@pytest.mark.everywhere
def test_client_that_waits_at_a_black_hole(counting):
    kinds = [{}, {"host": "::1"}] + [{"isolated": True}] * (counting == "packets")
    after = AFTER if counting == "packets" else AFTER[:2]  # no event shows a refusal
    scenes = [
        *(partial(is_let_in_by_what_comes_next, kind, *row) for kind in kinds for row in after),
        is_told_from_one_that_gave_up,
        resets_at_once_when_let_in,
        is_counted_once_though_tcp_repeats_its_syn,
        partial(meets_what_the_plan_becomes, ok(), 0),
        partial(meets_what_the_plan_becomes, refuse(), errno.ECONNREFUSED),
    ]
    with ThreadPoolExecutor(len(scenes)) as pool:
        for played in [pool.submit(scene) for scene in scenes]:
            played.result()


def test_a_connect_is_told_by_the_line_of_the_client_that_waits_for_it():
    with serve(ok()) as server, socket.socket() as client:
        watch = connects.watch(*server.address, lambda _: False)
        client.connect(server.address)
        connects.forget(watch)

    assert watch.last[0]._caller[0] == id(sys._getframe())
