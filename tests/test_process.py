"""What a process does to its servers: forks, signals, exits, pauses, default timeouts, and replaced threads."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap

import pytest
from support import in_fork
from support.tables import each_row

from faultline import (
    ParameterError,
    PortError,
    ServerError,
    close,
    dns_server,
    http_proxy,
    nxdomain,
    ok,
    refuse,
    relay,
    reset,
    resolve,
    serve,
    socks_proxy,
    stall,
    udp,
    unreachable,
)

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
ENDPOINTS = {
    "serve": lambda: serve(ok()),
    "isolated": lambda: serve(ok(), isolated=True),
    "Unix": lambda: serve(ok(), unix=True),
    "udp": lambda: udp(ok()),
    "dns_server": dns_server,
    "resolve": lambda: resolve("a.example", nxdomain(), strict=False),
}


def program(text, *, options=(), status=0):
    """What a program prints to both streams."""
    command = [sys.executable, "-X", "dev", "-W", "error", *options, "-c", textwrap.dedent(text)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (status, ""), done
    return done.stdout


# --- forks -----------------------------------------------------------------------------------------------------------

ASKS = {
    "attempts": lambda e: e.attempts,
    "intervals": lambda e: e.intervals,
    "drawing": lambda e: e.drawing(),
    "wait_for_attempts": lambda e: e.wait_for_attempts(1),
    "become": lambda e: e.become(nxdomain() if hasattr(e, "name") else ok()),
    "reset_all": lambda e: e.reset_all() if hasattr(e, "reset_all") else e.attempts,
    "check_struck": lambda e: e.check_struck(),
    "close": lambda e: e.close(),
    "leaving the block": lambda e: e.__exit__(None, None, None),
}


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
@pytest.mark.parametrize("kind", ENDPOINTS)
@pytest.mark.slow
@pytest.mark.measured
@pytest.mark.everywhere
def test_forked_child_is_told_at_once_that_the_server_is_its_parents(kind):
    def told(ask):
        with pytest.raises(ServerError) as caught:
            ask(endpoint)
        return str(caught.value)

    with ENDPOINTS[kind]() as endpoint:
        assert in_fork(lambda: {name: told(ask) for name, ask in ASKS.items()}) == repr(
            dict.fromkeys(ASKS, "this server belongs to the process that this process was forked from; use it there.")
        )


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_exit_of_a_forked_child_in_the_block_is_an_exit():
    def leave():
        with endpoint:
            sys.exit(3)

    with serve(ok()) as endpoint:
        assert in_fork(leave) == "SystemExit: 3"


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
@pytest.mark.parametrize("fault", [reset(at="request", after_bytes=4), close(at="request", after_bytes=4)], ids=repr)
@pytest.mark.parametrize("unix", [False, True])
def test_end_is_sent_and_the_port_is_free_while_a_forked_child_lives(own_port, fault, unix):
    reader, writer = os.pipe()
    begun, begins = os.pipe()
    with serve(fault, unix=True) if unix else serve(fault, port=own_port) as server:
        client = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        client.settimeout(10)
        client.connect(server.path or server.address)
        server.wait_for_attempts(1)
        if not (pid := os.fork()):  # pragma: no cover - coverage isn't measured in a fork
            client.close()
            os.close(writer)
            os.write(begins, b"x")
            os.read(reader, 1)  # until the parent has finished
            os._exit(0)
        os.read(begun, 1)  # a child that has not run yet still has its copies
        client.sendall(b"1234")
        if fault == reset(at="request", after_bytes=4):
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        else:
            assert client.recv(1) == b""
        client.close()
    if not unix:
        with serve(ok(), port=own_port):
            pass
    for end in (writer, reader, begins, begun):
        os.close(end)
    os.waitpid(pid, 0)


# --- exits and signals -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_servers_that_are_open_at_exit_say_nothing_and_leave_no_socket_and_a_function_at_exit_can_start_another(
    tmp_path,
):
    told = program(
        f"""
        import atexit, socket
        import faultline as fl

        def reached(server):
            for _ in range(3):
                with socket.socket(socket.AF_UNIX if server.path else socket.AF_INET) as client:
                    client.connect(server.path or server.address)
            server.wait_for_attempts(3)
            return server

        def at_exit():
            with fl.serve(fl.ok(b"hello")) as late, socket.create_connection(late.address) as client:
                client.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
                client.recv(10)
                print(len(late.attempts))

        atexit.register(at_exit)
        silent = fl.stall(at="accept")
        kept = [
            reached(fl.serve(silent)),
            reached(fl.serve(fl.stall(at="handshake"), tls=True)),
            reached(fl.serve(silent, unix={str(tmp_path / "socket")!r})),
            reached(fl.serve(silent, isolated=True)),
            reached(fl.relay(fl.serve(silent))),
        ]
        """
    )

    assert told == "1\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_close_finishes_though_the_process_is_stopped_for_longer_than_it_waits():
    told = program(
        """
        import subprocess, os
        import faultline as fl
        from faultline._servers import loop
        loop.CALL_SECONDS = 1.0
        server = fl.serve(fl.ok())
        busy = loop.background().loop
        stopper = subprocess.Popen(["sh", "-c", f"kill -STOP {os.getpid()}; sleep 1.5; kill -CONT {os.getpid()}"])
        for _ in range(20):
            other = fl.serve(fl.ok())
            other.close()
        server.attempts
        server.close()
        stopper.wait()
        print("closed")
        """
    )

    assert told == "closed\n"


# --- settings of the process -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_default_timeout_of_sockets_changes_nothing():
    told = program(
        """
        import socket
        socket.setdefaulttimeout(0.0)
        import faultline as fl

        def meet(server):
            for _ in range(2):
                client = socket.socket(socket.AF_UNIX if server.path else socket.AF_INET)
                client.settimeout(10)
                with client:
                    try:
                        client.connect(server.path or server.address)
                        if server._tls:
                            client = server.client_context().wrap_socket(client, server_hostname="127.0.0.1")
                        client.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
                        print(client.recv(12).decode())
                    except ConnectionRefusedError:
                        print("refused")
                    client.close()
            print(len(server.attempts))

        for seconds in (0.0, 0.05):
            socket.setdefaulttimeout(seconds)
            for kind in ({}, {"isolated": True}, {"unix": True}, {"tls": True}):
                with fl.serve(fl.sequence(fl.refuse(), fl.ok()), **kind) as server, fl.relay(server):
                    meet(server)
        """
    )

    assert told.splitlines() == ["refused", "HTTP/1.1 200", "2"] * 8


WITH_GEVENT = """
    import gevent.monkey
    gevent.monkey.patch_all({what})
    from faultline import *
    import faultline, socket
    for kind in ({{}}, {{"isolated": True}}):
        try:
            with faultline.serve(sequence(refuse(), ok()), **kind) as server:
                for _ in range(2):
                    try:
                        with socket.create_connection(server.address, 10) as client:
                            client.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
                            print(client.recv(12).decode())
                    except ConnectionRefusedError:
                        print("refused")
                print(len(server.attempts))
        except UnsupportedError as error:
            print(error)
"""
TOLD = (
    "gevent has replaced Python's threads or select, and the servers' loop needs the real ones: expected "
    "monkey.patch_all(thread=False, select=False) of gevent, monkey_patch(thread=False, select=False) of "
    "eventlet, or a server in a process of its own (`faultline serve`)."
)


@pytest.mark.slow
@pytest.mark.measured
@pytest.mark.parametrize(
    ("what", "told"), [("", [TOLD]), ("thread=False, select=False", ["refused", "HTTP/1.1 200", "2"])]
)
def test_process_that_gevent_has_patched_is_told_what_works(what, told):
    pytest.importorskip("gevent")
    text = textwrap.dedent(WITH_GEVENT.format(what=what))
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout.splitlines() == told * 2


# --- a Unix socket and the files of others ---------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [refuse(), unreachable(), ok(b"other")], ids=repr)
def test_file_of_somebody_else_in_the_place_of_a_socket_is_left_alone(tmp_path, fault):
    path = tmp_path / "socket"
    with serve(reset(), unix=str(path), strict=False) as server:
        path.unlink()
        path.write_text("mine")
        if fault != ok(b"other"):
            with pytest.raises(PortError, match="remove the file in its place"):
                server.become(fault)

    assert path.read_text() == "mine"


@pytest.mark.slow
def test_timed_fault_that_finds_the_file_of_somebody_else_is_the_servers_error(tmp_path):
    path = tmp_path / "socket"
    server = serve(refuse(for_seconds=0.2), unix=str(path), strict=False)
    path.unlink()
    path.write_text("mine")
    ended = server._process._background
    while not server._process._errors:
        ended.settle()

    with pytest.raises(ServerError, match="remove the file in its place"):
        server.close()
    assert path.read_text() == "mine"


def test_file_that_comes_before_the_socket_is_left_alone(tmp_path, monkeypatch):
    path = tmp_path / "socket"
    monkeypatch.setattr(os.path, "lexists", lambda _path: False)
    path.write_text("mine")

    with pytest.raises(PortError):
        serve(ok(), unix=str(path))
    with pytest.raises(PortError):
        serve(unreachable(), unix=str(path))
    assert path.read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["socket"]


# --- what is dialled, and what is held -------------------------------------------------------------------------------


@pytest.fixture
def hosts(monkeypatch):
    """The addresses that every lookup finds, as with a file of hosts that somebody has changed."""
    found = []

    def getaddrinfo(_host, port, *_args, **_options):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return found


CONNECT = "CONNECT localhost:{port} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n"


def connected(proxy):
    client = socket.socket()
    client.settimeout(10)
    client.connect(proxy.address)
    return client


def test_http_proxy_that_is_asked_for_localhost_dials_this_machine_only(hosts):
    hosts[:] = ["192.0.2.1"]
    with http_proxy() as proxy, connected(proxy) as client:
        client.sendall(CONNECT.format(port=80).encode())
        assert client.recv(12) == b"HTTP/1.1 502"

        assert "the upstream 127.0.0.1:80 could not be reached" in proxy.attempts[0].note


def test_socks_proxy_that_is_asked_for_localhost_dials_this_machine_only(hosts):
    hosts[:] = ["192.0.2.1"]
    with socks_proxy() as proxy, connected(proxy) as client:
        client.sendall(b"\5\1\0")
        assert client.recv(2) == b"\5\0"
        client.sendall(b"\5\1\0\3\x09localhost\0\x50")
        assert client.recv(10)[1] != 0

        assert "leads to another machine" in proxy.attempts[0].note


def test_proxy_takes_the_address_of_this_machine_among_those_of_a_lookup(hosts):
    hosts[:] = ["192.0.2.1", "127.0.0.1"]
    with serve(ok()) as server, http_proxy() as proxy, connected(proxy) as client:
        client.sendall(CONNECT.format(port=server.port).encode())
        assert client.recv(12) == b"HTTP/1.1 200"


@pytest.mark.parametrize("verb", [reset, close, stall])
@pytest.mark.parametrize("count", [2**30 + 1, 10**12, 2**63, 10**30])
def test_break_beyond_what_fits_into_memory_is_an_error_in_words(verb, count):
    with pytest.raises(ParameterError) as raised:
        serve(verb(after_bytes=count))

    expected = f"after_bytes={count}: expected at most 1073741824, the longest body that a server makes."
    assert str(raised.value) == expected


@each_row("verb", [reset, close, stall])
def test_break_far_into_the_bytes_of_an_upstream_needs_no_memory(verb):
    relay("127.0.0.1:1", verb(after_bytes=10**30)).close()
