"""The server as a user holds it: where it is, what it becomes, how it stops, and whom it survives."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import http.client
import resource
import select
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support import KEPT_GET, connected, in_fork, nothing_left, reached, read, to_end
from support.tables import each_row

from faultline import (
    FaultlineWarning,
    ParameterError,
    PortError,
    ServerError,
    UnsupportedError,
    bad_cert,
    blackhole,
    close,
    echo,
    ok,
    partition,
    refuse,
    reset,
    sequence,
    serve,
    stall,
    unreachable,
)
from faultline._net import connects
from faultline._servers import loop
from faultline._servers.loop import background

pytestmark = pytest.mark.timeout(60)
POST = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\na"
TIME_WAIT = "06"  # include/net/tcp_states.h


@pytest.fixture
def many_descriptors():
    """Room for the sockets of 1,000 connections, both ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2_500:
        pytest.skip(f"needs 2,500 file descriptors; the hard limit is {hard}")
    if soft != resource.RLIM_INFINITY and soft < 2_500:
        resource.setrlimit(resource.RLIMIT_NOFILE, (2_500, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def fetch(server):
    """One request on a connection of its own: status and body."""
    client = http.client.HTTPConnection(*server.address, timeout=10)
    with contextlib.closing(client):
        client.request("GET", "/")
        response = client.getresponse()
        return response.status, response.read()


def greet(server):
    """How a server begins to answer a TLS client that verifies it by its address."""
    with (
        socket.create_connection(server.address, 10) as raw,
        server.client_context().wrap_socket(raw, server_hostname=server.host) as client,
    ):
        client.sendall(KEPT_GET)
        return read(client, 15)


def states(port):
    """The TCP states of all IPv4 sockets whose local port this is, as the kernel writes them."""
    rows = [line.split() for line in Path("/proc/self/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    return [row[3] for row in rows if int(row[1].rpartition(":")[2], 16) == port]


def run_python(program, **options):
    """Run a program in a Python of its own."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False, **options
    )


# --- where it is -----------------------------------------------------------------------------------------


def test_server_says_where_it_is():
    with serve(ok()) as server:
        assert server.host == "127.0.0.1"
        assert 0 < server.port < 65_536
        assert server.address == ("127.0.0.1", server.port)
        assert server.hostport == f"127.0.0.1:{server.port}"
        assert server.url == f"http://127.0.0.1:{server.port}"
        assert repr(server) == f"<Server {server.url} ok()>"
    assert repr(server) == f"<Server {server.url} ok() closed>"


def test_localhost_is_the_ipv4_loopback_address():
    with serve(ok(), host="localhost") as server:
        assert server.address == ("127.0.0.1", server.port)
        assert fetch(server) == (200, b"ok\n")


def test_server_on_all_addresses_is_reached_by_loopback():
    with serve(ok(), host="0.0.0.0", allow_remote=True) as server:
        assert server.address == ("127.0.0.1", server.port)
        assert fetch(server) == (200, b"ok\n")


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")
@each_row("host", ["::1", "::"])
def test_server_on_ipv6_is_reached_by_loopback(host):
    with serve(ok(), host=host, allow_remote=host == "::") as server:
        assert server.address == ("::1", server.port)
        assert server.url == f"http://[::1]:{server.port}"
        assert fetch(server) == (200, b"ok\n")


@each_row("host", ["127.0.0.1", "localhost", "127.0.0.7"])
def test_certificate_is_right_for_the_host_of_the_server(host):
    with serve(ok(), host=host, tls=True) as server:
        assert greet(server) == b"HTTP/1.1 200 OK"


# --- what happened ---------------------------------------------------------------------------------------


def test_client_that_left_before_close_is_in_the_ledger_as_having_left(dial):
    told = set()
    for _ in range(20):
        with serve(stall(), strict=False) as server:
            client = dial(server, KEPT_GET)
            server.wait_for_attempts(1, at="response")
            client.close()
        told.add((server.attempts[0].ended_by, server.attempts[0].ended_how))

    assert told == {("client", "FIN")}


def test_client_that_came_and_left_before_close_is_in_the_ledger():
    for _ in range(20):
        # The RST may come while connect still returns.
        with serve(reset(at="accept"), strict=False) as server, contextlib.suppress(ConnectionResetError):
            socket.create_connection(server.address, 10).close()

        assert len(server.attempts) == 1


def test_clients_that_wait_in_the_queue_at_close_are_in_the_ledger(dial):
    held = threading.Event()
    with serve(stall(at="accept")) as server:
        background().loop.call_soon_threadsafe(held.wait)
        for _ in range(100):
            dial(server)
        held.set()

    assert [a.struck.point for a in server.attempts] == ["accept"] * 100


# --- what it becomes -------------------------------------------------------------------------------------


def test_client_in_the_queue_meets_what_was_there_when_it_came(dial):
    with serve(ok(), strict=False) as server:
        for _ in range(10):
            client = dial(server, KEPT_GET)
            server.become(refuse())
            assert read(client, 15) == b"HTTP/1.1 200 OK"
            server.become(ok())


@each_row("fault", [refuse(), blackhole(), reset(at="accept")])
def test_idle_connection_is_closed_when_the_new_fault_needs_a_new_one(dial, fault):
    with serve(ok(), strict=False) as server:
        client = dial(server, KEPT_GET)
        server.wait_for_attempts(1, at="idle")
        received = client.recv(65_536)
        server.become(fault)

        assert received.startswith(b"HTTP/1.1 200 OK")
        assert client.recv(100) == b""
        assert (server.attempts[0].ended_by, server.attempts[0].ended_how) == ("server", "FIN")


@each_row("fault", [bad_cert(), reset(at="handshake")])
def test_plain_server_cannot_become_a_fault_of_tls(fault):
    with serve(ok()) as server:
        with pytest.raises(ParameterError, match="expected tls=True; the server was started without TLS") as raised:
            server.become(fault)

        assert repr(fault) in str(raised.value)
        assert fetch(server) == (200, b"ok\n")


def test_tls_server_can_become_a_bad_certificate_and_good_again():
    with serve(ok(), tls=True) as server:
        server.become(bad_cert("wrong_host"))
        with pytest.raises(ssl.SSLCertVerificationError):
            greet(server)
        server.become(ok())
        assert greet(server) == b"HTTP/1.1 200 OK"


# --- the door --------------------------------------------------------------------------------------------


def test_refusing_server_keeps_its_port():
    with serve(refuse(), strict=False) as server:
        port = server.port
        for _ in range(10):
            with pytest.raises(ConnectionRefusedError):
                connected(server)
            assert rival_errno(server, reuse=True) == errno.EADDRINUSE
            assert rival_errno(server, reuse=False) == errno.EADDRINUSE
            server.become(ok())
            assert rival_errno(server, reuse=True) == errno.EADDRINUSE
            assert fetch(server) == (200, b"ok\n")
            server.become(refuse())

        assert server.port == port
        assert [a.connection for a in server.attempts] == [c for n in range(1, 11) for c in (None, n)]


def rival_errno(server, *, reuse):
    """Why somebody else can't have the port of a server."""
    with socket.socket() as rival:
        rival.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(reuse))
        try:
            rival.bind(server.address)
            rival.listen()
        except OSError as error:
            return error.errno
    return 0


@pytest.mark.slow
@pytest.mark.everywhere
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_each_door_follows_each_other_on_one_port(host):
    if host == "::1" and not socket.has_dualstack_ipv6():
        pytest.skip("needs IPv6")
    met = {blackhole(): TimeoutError, refuse(): ConnectionRefusedError}
    with serve(blackhole(), host=host, strict=False) as server:
        port = server.port
        for fault in (blackhole(), blackhole(), refuse(), refuse(), ok(), blackhole(), ok(), refuse(), blackhole()):
            server.become(fault)
            if fault == ok():
                assert fetch(server) == (200, b"ok\n")
            else:
                with pytest.raises(met[fault]):
                    connected(server, within=0.02 if fault == blackhole() else None)

        assert server.port == port
        assert [a.connection for a in server.attempts] == [None] * 4 + [1, None, 2, None, None]


def test_port_of_another_server_is_an_error():
    with serve(ok()) as first:
        with pytest.raises(PortError, match=rf"^port={first.port}: expected a free port, but .* is in use"):
            serve(ok(), port=first.port)
        first.become(refuse())
        with pytest.raises(PortError):
            serve(ok(), port=first.port)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(first.address, 10)


# --- how it stops ----------------------------------------------------------------------------------------


def test_port_is_free_at_once_while_its_connections_are_in_time_wait(dial):
    with serve(close()) as first:
        clients = [dial(first, KEPT_GET) for _ in range(10)]
        for client in clients:
            assert client.recv(1) == b""
            client.close()
    assert TIME_WAIT in states(first.port)

    for _ in range(2):
        with serve(ok(), port=first.port) as again:
            assert fetch(again) == (200, b"ok\n")
            assert again.port == first.port


def test_stopped_partition_leaves_no_connection_in_the_kernel(dial):
    try:
        server = serve(partition())
    except UnsupportedError as error:
        pytest.skip(str(error))
    client = dial(server, KEPT_GET)
    server.wait_for_attempts(1, at="response")
    client.close()
    server.close()

    assert states(server.port) == []


@pytest.mark.slow
def test_stop_with_1000_stalled_clients_leaves_nothing_behind(many_descriptors):
    serve(ok()).close()  # the loop and its thread are there from now on
    loop = background().loop
    with nothing_left(), contextlib.ExitStack() as clients:
        threads, tasks = {*threading.enumerate()}, asyncio.all_tasks(loop)
        with serve(stall()) as server:
            for _ in range(1_000):
                clients.enter_context(connected(server)).sendall(KEPT_GET)
            server.wait_for_attempts(1_000, 60, at="response")
            assert len(server.attempts) == 1_000
            assert len(asyncio.all_tasks(loop)) - len(tasks) in (0, 1_000)  # a stalled one may need no task
            assert {*threading.enumerate()} - threads == set()
        assert {a.ended_how for a in server.attempts} == {"stop"}


# --- where it runs ---------------------------------------------------------------------------------------


def test_server_works_inside_a_running_loop():
    async def conversation():
        with serve(ok(b"hello")) as server:
            reader, writer = await asyncio.open_connection(*server.address)
            writer.write(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            response = await reader.read()
            writer.close()
            await writer.wait_closed()
            server.become(refuse())
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*server.address)
            return response

    assert asyncio.run(conversation()).endswith(b"\r\n\r\nhello")


def test_servers_of_several_threads_do_not_disturb_each_other():
    start = threading.Barrier(8)

    def one(number):
        start.wait()
        with serve(ok(str(number).encode())) as server:
            first = fetch(server)
            server.become(ok(status=200 + number))
            return first[1], fetch(server)[0], len(server.attempts)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(8))) == [(str(n).encode(), 200 + n, 2) for n in range(8)]


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_forked_child_has_servers_of_its_own_and_leaves_those_of_its_parent():
    def asked():
        with serve(ok(b"child")) as server:
            return fetch(server)[1], fetch(parents)[1]

    with serve(ok(b"parent")) as parents:
        assert in_fork(asked) == "(b'child', b'parent')"
        assert fetch(parents)[1] == b"parent"


@pytest.mark.slow
def test_process_that_forks_before_its_first_servers_and_ends_while_one_is_open():
    program = """
        import os, sys, threading
        from concurrent.futures import ThreadPoolExecutor
        from faultline import ok, serve, stall

        child = os.fork()
        start = threading.Barrier(8)

        def one(_):
            start.wait()
            serve(ok()).close()

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(one, range(8)))
        count = sum(thread.name == "faultline" for thread in threading.enumerate())
        server = serve(stall())  # which nobody closes
        sys.exit(7 if child == 0 else count + os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    ran = run_python(program)

    assert (ran.returncode, ran.stdout, ran.stderr) == (1 + 7, "", "")


# --- whom it survives ------------------------------------------------------------------------------------

NOT_HTTP = {
    "zeros": b"\0" * 100_000,
    "every byte": bytes(range(256)) * 100,
    "TLS to a plain server": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xaa" * 505,
    "text": b"HELO there\r\n",
    "no end of line": b"a" * 100_000,
    "a bad version": b"GET / HTTP/9.9\r\n\r\n",
    "a bad header": b"GET / HTTP/1.1\r\nHost: h\r\n: no name\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a negative length": b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
    "bad chunks": b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nZZZZ\r\nabc\r\n0\r\n\r\n",
    "a smuggled request": (
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n"
        b"1\r\nZ\r\nQ\r\n\r\nGET /admin HTTP/1.1\r\nHost: h\r\n\r\n"
    ),
    "a huge chunk size": (
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc\r\n"
    ),
}


@each_row("data", NOT_HTTP.values())
def test_server_serves_the_next_client_after_one_that_speaks_no_http(dial, data):
    with serve(ok()) as server:
        client = dial(server)
        with contextlib.suppress(ConnectionError):
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            while client.recv(65_536):
                pass

        assert fetch(server) == (200, b"ok\n")
        assert server.attempts[-1].request.target == "/"


def test_smuggled_request_is_not_answered_on_its_own(dial):
    with serve(ok()) as server:
        client = dial(server, NOT_HTTP["a smuggled request"])
        client.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while client.recv(65_536):
                pass

        assert all(a.request is None or a.request.target != "/admin" for a in server.attempts)


@pytest.mark.slow
def test_server_does_not_read_100_megabytes_of_headers(dial):
    line = b"X-Filler: " + b"a" * 65_524 + b"\r\n"
    with serve(ok()) as server:
        client = dial(server, b"GET / HTTP/1.1\r\nHost: h\r\n")
        with pytest.raises(ConnectionError):
            client.sendall(line * (100_000_000 // len(line)))

        assert fetch(server) == (200, b"ok\n")
        assert server.attempts[0].received_bytes < 1_000_000


def test_server_serves_the_next_client_beside_silent_and_half_open_ones(dial):
    with serve(ok()) as server:
        dial(server)
        for size in range(1, 101):
            dial(server, KEPT_GET[: size % len(KEPT_GET)])
        server.wait_for_attempts(101, at="request")

        assert fetch(server) == (200, b"ok\n")
        assert [a.request is None for a in server.attempts] == [True] * 101 + [False]


def test_server_serves_the_next_client_after_ones_that_reset():
    with serve(ok()) as server:
        for data in (b"", KEPT_GET[:10], KEPT_GET):
            with socket.create_connection(server.address, 10) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                client.sendall(data)
                server.wait_for_attempts(1)

        assert fetch(server) == (200, b"ok\n")


def test_tls_server_serves_the_next_client_after_one_without_tls():
    with serve(ok(), tls=True) as server:
        with reached(server) as client:
            client.sendall(KEPT_GET)
            to_end(client)

        assert greet(server) == b"HTTP/1.1 200 OK"
        assert server.attempts[0].note == "the client did not speak TLS: http request"


# --- what it tells ---------------------------------------------------------------------------------------


def raise_(error):
    raise error


def test_loop_that_does_not_answer_is_an_error(monkeypatch):
    held = threading.Event()
    with serve(ok()) as server:
        background().loop.call_soon_threadsafe(held.wait)
        with monkeypatch.context() as changed:
            changed.setattr(loop, "CALL_SECONDS", 0.05)
            with pytest.raises(ServerError, match=r"^the server's loop did not answer within 0\.05 s\.$"):
                server.become(echo())
        held.set()


def test_timeout_inside_the_loop_is_not_taken_for_a_loop_that_does_not_answer():
    serve(ok()).close()
    with pytest.raises(TimeoutError, match=r"^of its own$"):
        background().call(lambda: raise_(TimeoutError("of its own")))


def test_error_of_work_that_could_not_begin_is_that_of_the_caller():
    serve(ok()).close()
    with pytest.raises(TimeoutError, match=r"^of its own$"):
        background().run(lambda: raise_(TimeoutError("of its own")))


# --- file descriptors ------------------------------------------------------------------------------------

SCARCE = """
    import os, resource, sys
    from faultline import ServerError, ok, serve

    server = serve(ok())
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
    print(server.port, 40 - len(os.listdir("/proc/self/fd")) + 1, flush=True)
    sys.stdin.readline()
    try:
        server.close()
    except ServerError as error:
        print(error)
"""


@pytest.mark.slow
def test_server_without_descriptors_says_so_and_serves_again_when_clients_leave():
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCARCE)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        port, room = map(int, process.stdout.readline().split())
        clients = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(60)]
        for client in clients:
            client.sendall(KEPT_GET)
        select.select([clients[room - 1]], [], [], 10)  # the next client has been refused its descriptor by now
        for number, client in enumerate(clients):
            assert read(client, 15) == b"HTTP/1.1 200 OK", number
            client.close()
        told, _ = process.communicate("\n")

    assert (process.returncode, "Too many open files" in told) == (0, True)


@pytest.mark.slow
@pytest.mark.measured
def test_server_serves_again_when_the_program_around_it_has_freed_descriptors():
    program = """
        import os, resource, socket
        from faultline import ServerError, ok, serve

        server = serve(ok())
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
        client = socket.socket()
        taken = []
        try:
            while True:
                taken.append(os.dup(0))
        except OSError:
            pass
        client.settimeout(10)
        client.connect(server.address)
        client.sendall(b"GET / HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n")
        print(server.attempts)
        for number in taken:
            os.close(number)
        try:
            print(client.recv(15))
        except TimeoutError:
            print("not served")
        try:
            server.close()
        except ServerError as error:
            print("Too many open files" in str(error))
    """
    ran = run_python(program)

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "()\nb'HTTP/1.1 200 OK'\nTrue\n", "")


# --- bad input -------------------------------------------------------------------------------------------


@each_row(
    ("arguments", "said"),
    [
        ({"port": 70_000}, "port=70000: expected a whole number, from 0 to 65535."),
        ({"port": -1}, "port=-1: expected a whole number, from 0 to 65535."),
        ({"port": "x"}, "port='x': expected a whole number, from 0 to 65535."),
        ({"port": True}, "port=True: expected a whole number, from 0 to 65535."),
        ({"port": None}, "port=None: expected a whole number, from 0 to 65535."),
        ({"host": "example.com"}, "host='example.com': expected an IP address of this machine, or 'localhost'."),
        ({"host": ""}, "host='': expected an IP address of this machine, or 'localhost'."),
        ({"host": None}, "host=None: expected an IP address of this machine, or 'localhost'."),
        ({"answer": reset()}, "answer=reset(): expected an answer such as ok(b'…') or echo()."),
        ({"answer": b"hello"}, "answer=b'hello': expected an answer such as ok(b'…') or echo()."),
        ({"tls": "no"}, "tls='no': expected one of False, True, 'mutual'"),
        ({"strict": "no"}, "strict='no': expected True or False"),
    ],
)
def test_bad_parameter_is_named_with_value_and_what_was_expected(arguments, said):
    with pytest.raises(ParameterError) as raised:
        serve(ok(), **arguments).close()

    assert str(raised.value).startswith(said)


def test_mode_without_its_call_says_what_to_write():
    with pytest.raises(ParameterError, match=r"; write reset\(\)\.$"):
        serve(reset)
    with serve(ok()) as server, pytest.raises(ParameterError, match=r"; write refuse\(\)\.$"):
        server.become(refuse)


def test_break_after_more_bytes_than_the_answer_has_is_an_error():
    with pytest.raises(ParameterError, match=r"^after_bytes=1000: expected at most \d+, the bytes of the response\.$"):
        serve(reset(after_bytes=1_000), answer=ok(b"short"))
    with serve(ok(), answer=ok(b"short")) as server, pytest.raises(ParameterError, match=r"^after_bytes=1000: "):
        server.become(reset(after_bytes=1_000) & ok(b"short"))


@pytest.mark.parametrize(
    "host",
    ["192.0.2.1", pytest.param("2001:db8::1", marks=pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6"))],
)
def test_address_of_another_machine_is_an_error_of_the_port(host):
    with pytest.raises(PortError) as raised:
        serve(ok(), host=host, allow_remote=True)

    assert str(raised.value).startswith(f"host={host!r}: expected an address of this machine")


@pytest.mark.slow
def test_client_that_never_reads_is_blocked_soon_by_a_server_that_never_reads(dial):
    with serve(stall(at="request")) as server:
        client = dial(server)
        client.settimeout(0.2)

        with pytest.raises(TimeoutError):
            client.sendall(bytes(1_500_000))


def test_wait_may_be_longer_than_any_clock(dial):
    with serve(close(at="accept")) as server:
        dial(server)

        with pytest.warns(FaultlineWarning, match="expected seconds"):
            assert len(server.wait_for_attempts(1, 1e12)) == 1


def test_pipelined_request_meets_its_break_too(dial):
    with serve(sequence(ok(), reset(at="request"))) as server:
        client = dial(server, KEPT_GET + KEPT_GET)
        with pytest.raises(ConnectionResetError), client.makefile("rb") as stream:
            stream.read()

        assert [(a.struck and a.struck.point, a.connection) for a in server.attempts] == [(None, 1), ("request", 1)]


def test_idle_connection_that_was_stalled_for_a_while_is_served_on(dial):
    stalled = stall(at="idle", after_seconds=0.01, for_seconds=0.01)
    with serve(stalled) as server, dial(server, KEPT_GET) as client, client.makefile("rb") as stream:
        assert stream.read(67).endswith(b"ok\n")
        server.wait_for_attempts(1, at="strike")
        client.sendall(KEPT_GET)

        assert stream.read(67).endswith(b"ok\n")


def test_connect_to_something_else_is_no_attempt(tmp_path):
    with serve(refuse(), strict=False) as server, socket.socket(socket.AF_UNIX) as client:
        with pytest.raises(FileNotFoundError):
            client.connect(str(tmp_path / "nobody"))

        assert server.attempts == ()


def test_watch_of_connects_is_forgotten_once():
    watch = connects.watch("127.0.0.1", 1, lambda _: False)

    connects.forget(watch)
    connects.forget(watch)

    assert watch not in connects._watches


def test_error_while_a_connect_is_counted_is_the_server_s_and_not_the_client_s(monkeypatch):
    server = serve(refuse())
    monkeypatch.setattr(server._process._door, "_meet", lambda _door: 1 / 0)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(server.address)

    with pytest.raises(ServerError, match="ZeroDivisionError"):
        server.close()


def test_connect_that_is_announced_while_the_server_stops_is_not_counted():
    server = serve(refuse())
    server.close()
    server._process.before_connect()

    assert server.attempts == ()


def test_request_that_was_left_lying_for_a_while_is_answered(dial):
    slow = stall(at="request", for_seconds=0.01)
    with serve(slow) as server, dial(server, KEPT_GET) as client, client.makefile("rb") as stream:
        assert stream.read(67).endswith(b"ok\n")


@each_row(("plan", "host"), [(sequence(unreachable(), ok()), "127.0.0.1"), (unreachable(), "::1")])
def test_unreachable_takes_no_turns_and_has_no_ipv6(plan, host):
    with pytest.raises(ParameterError, match=r"expected unreachable\(\) alone, on an IPv4 host"):
        serve(plan, host=host)


def test_close_without_what_only_tls_has_means_tls():
    with serve(close(close_notify=False), strict=False) as server:
        assert server.url.startswith("https://")
