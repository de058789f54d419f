"""The kernel's facts about a port that the platform room relies on, one test each, and the checks of addresses."""

from __future__ import annotations

import errno
import ipaddress
import socket
from contextlib import ExitStack, suppress
from types import SimpleNamespace

import pytest
from support.tables import each_row

import faultline as fl
from faultline._core.errors import ParameterError, PortError, UnsupportedError
from faultline._front.command import main
from faultline._net import addresses, sockets, system
from faultline._net.system import interface

PATIENCE_SECONDS = 10.0


def has_ipv6():
    with suppress(OSError), socket.socket(socket.AF_INET6) as sock:
        sock.bind(("::1", 0))
        return True
    return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback address")


@pytest.fixture
def cleanup():
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def claimed(cleanup):
    return cleanup.enter_context(sockets.claim("127.0.0.1", 0))


@pytest.fixture
def opened(claimed):
    return system.start_listening(claimed)


def error_of_connecting(address, timeout=PATIENCE_SECONDS):
    try:
        socket.create_connection(address, timeout=timeout).close()
    except OSError as error:
        return type(error)
    return None


def test_windows_is_refused_with_what_to_do(monkeypatch):
    monkeypatch.setattr(interface, "sys", SimpleNamespace(platform="win32"))
    with pytest.raises(UnsupportedError) as raised:
        system.check()

    assert str(raised.value) == (
        "sys.platform='win32': expected Linux, macOS or another POSIX system; run the tests in WSL, in a container or "
        "on CI with Linux. https://pytest-faultline.readthedocs.io/en/latest/systems.html lists what is missing."
    )


# --- the port --------------------------------------------------------------------------------------------


def test_port_that_is_bound_and_not_listening_refuses(claimed):
    assert error_of_connecting(claimed.getsockname()) is ConnectionRefusedError


def test_listening_opens_a_bound_port(opened):
    assert error_of_connecting(opened.getsockname()) is None


def test_shutdown_closes_a_listening_port_again(opened, cleanup):
    address = opened.getsockname()
    cleanup.enter_context(system.stop_listening(opened))

    assert error_of_connecting(address) is ConnectionRefusedError


def test_number_stays_through_opening_and_shutting(claimed, cleanup):
    address, sock = claimed.getsockname(), claimed
    seen = []
    for _ in range(50):
        sock = system.start_listening(sock)
        seen.append((sock.getsockname(), error_of_connecting(address)))
        sock = system.stop_listening(sock)
        seen.append(error_of_connecting(address))
    cleanup.enter_context(sock)

    assert seen == [(address, None), ConnectionRefusedError] * 50


def test_shutting_a_port_that_is_not_open_changes_nothing(claimed, cleanup):
    address, sock = claimed.getsockname(), claimed
    for _ in range(3):
        sock = system.stop_listening(sock)
        assert error_of_connecting(address) is ConnectionRefusedError
    cleanup.enter_context(sock)


def test_shutdown_of_a_socket_that_does_not_listen_ends_what_it_accepts_later(claimed, cleanup):
    with suppress(OSError):
        claimed.shutdown(socket.SHUT_RD)
    claimed.setblocking(True)
    system.start_listening(claimed)
    client = cleanup.enter_context(socket.create_connection(claimed.getsockname(), 10))
    accepted = cleanup.enter_context(claimed.accept()[0])
    accepted.settimeout(PATIENCE_SECONDS)

    assert accepted.recv(5) == b""  # though the client has not said that it is done
    client.sendall(b"hello")


def test_shutdown_of_a_listener_resets_who_was_not_accepted(opened, cleanup):
    client = cleanup.enter_context(socket.create_connection(opened.getsockname(), timeout=PATIENCE_SECONDS))
    cleanup.enter_context(system.stop_listening(opened))

    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_shutdown_of_a_listener_leaves_open_connections_alone(opened, cleanup):
    client = cleanup.enter_context(socket.create_connection(opened.getsockname(), timeout=PATIENCE_SECONDS))
    server = cleanup.enter_context(opened.accept()[0])
    cleanup.enter_context(system.stop_listening(opened))
    server.sendall(b"still here")

    assert client.recv(100) == b"still here"


def states(sock, cleanup):
    """The port in every state that a server's can be in."""
    yield "claimed"
    sock = system.start_listening(sock)
    yield "open"
    sock = system.stop_listening(sock)
    yield "shut"
    sock, fillers = system.drop_syns(sock)
    for filler in fillers:
        cleanup.enter_context(filler)
    yield "full"
    sock = system.stop_listening(sock)
    yield "shut after full"
    sock = system.start_listening(sock)
    with socket.create_connection(sock.getsockname(), timeout=PATIENCE_SECONDS), sock.accept()[0]:
        yield "open with a connection"
        sock = cleanup.enter_context(system.stop_listening(sock))
        yield "shut with a connection"
    yield "shut with a connection in TIME_WAIT"


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize(
    "options",
    [(), (socket.SO_REUSEADDR,), (socket.SO_REUSEPORT,), (socket.SO_REUSEADDR, socket.SO_REUSEPORT)],
    ids=["plain", "SO_REUSEADDR", "SO_REUSEPORT", "both"],
)
def test_no_rival_can_bind_the_port_in_any_state(claimed, cleanup, host, options):
    stolen, (_, port) = [], claimed.getsockname()
    for state in states(claimed, cleanup):
        with socket.socket() as rival:
            for option in options:
                rival.setsockopt(socket.SOL_SOCKET, option, 1)
            if not bind_fails(rival, host, port):
                stolen.append(state)

    assert stolen == []


def bind_fails(sock, host, port):
    try:
        sock.bind((host, port))
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return False


def test_port_bound_as_0_is_given_up_on_shutdown_so_that_listening_again_changes_it(cleanup):
    sock = cleanup.enter_context(socket.socket())
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    before = sock.getsockname()
    sock.shutdown(socket.SHUT_RD)
    rival = cleanup.enter_context(socket.socket())
    rival.bind(before)
    sock.listen()

    assert sock.getsockname()[1] not in (0, before[1])


def test_port_can_be_opened_while_closed_connections_are_in_time_wait(cleanup):
    with sockets.claim("127.0.0.1", 0) as first:
        system.start_listening(first)
        address = first.getsockname()
        with socket.create_connection(address, timeout=PATIENCE_SECONDS) as client:
            first.accept()[0].close()  # who closes first is left in TIME_WAIT
            client.recv(1)
    again = cleanup.enter_context(sockets.claim(*address))
    system.start_listening(again)

    assert error_of_connecting(address) is None


# --- a full queue ----------------------------------------------------------------------------------------


@pytest.fixture
def full(claimed, cleanup):
    fillers = [cleanup.enter_context(filler) for filler in system.drop_syns(claimed)[1]]
    return claimed, fillers


@pytest.mark.slow
def test_full_queue_leaves_connects_unanswered(full):
    assert error_of_connecting(full[0].getsockname(), timeout=0.2) is TimeoutError


@pytest.mark.slow
def test_full_queue_stays_full_after_a_client_gave_up(full):
    door, _ = full
    errors = [error_of_connecting(door.getsockname(), timeout=0.05) for _ in range(5)]

    assert errors == [TimeoutError] * 5


@pytest.mark.slow
def test_queue_can_be_filled_behind_clients_that_came_before(opened, cleanup):
    early = cleanup.enter_context(socket.create_connection(opened.getsockname(), timeout=PATIENCE_SECONDS))
    for filler in system.drop_syns(opened)[1]:
        cleanup.enter_context(filler)
    accepted, address = opened.accept()
    cleanup.enter_context(accepted)

    assert address == early.getsockname()
    assert error_of_connecting(opened.getsockname(), timeout=0.1) is TimeoutError


@pytest.mark.slow
def test_client_that_waits_gets_through_when_the_queue_is_opened(full, cleanup):
    door, fillers = full
    client = cleanup.enter_context(socket.socket())
    client.setblocking(False)
    code = client.connect_ex(door.getsockname())
    system.start_listening(door)
    door.settimeout(PATIENCE_SECONDS)
    met = [cleanup.enter_context(door.accept()[0]).getpeername() for _ in fillers]
    accepted, address = door.accept()
    cleanup.enter_context(accepted)

    assert code == errno.EINPROGRESS
    assert met == [filler.getsockname() for filler in fillers]
    assert address == client.getsockname()


@pytest.mark.slow
@pytest.mark.parametrize(
    "host", ["0.0.0.0", pytest.param("::1", marks=needs_ipv6), pytest.param("::", marks=needs_ipv6)]
)
def test_queue_of_any_address_can_be_filled(host, cleanup):
    door = cleanup.enter_context(sockets.claim(host, 0))
    for filler in system.drop_syns(door)[1]:
        cleanup.enter_context(filler)
    address = (system.reachable(host), door.getsockname()[1])

    assert error_of_connecting(address, timeout=0.1) is TimeoutError


# --- addresses -------------------------------------------------------------------------------------------


@each_row(
    ("host", "port", "address"),
    [
        ("127.0.0.1", 0, ("127.0.0.1", 0)),
        ("localhost", 65_535, ("127.0.0.1", 65_535)),
        ("0:0:0:0:0:0:0:1", 80, ("::1", 80)),
        (ipaddress.ip_address("127.0.0.2"), 80, ("127.0.0.2", 80)),
    ],
)
def test_address_is_checked_and_made_plain(host, port, address):
    assert addresses.checked_address(host, port) == address


@each_row("host", ["localhos", "example.org", "127.0.0", "", None, 5, b"127.0.0.1", "127.0.0.1:80"])
def test_host_that_is_no_address_is_refused(host):
    with pytest.raises(ParameterError) as raised:
        addresses.checked_address(host, 0)

    assert str(raised.value) == f"host={host!r}: expected an IP address of this machine, or 'localhost'."


@each_row(("host", "here"), [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("192.0.2.1", "127.0.0.1")])
def test_host_that_other_machines_can_reach_has_to_be_allowed(host, here):
    with pytest.raises(ParameterError) as raised:
        addresses.checked_address(host, 0)

    assert str(raised.value) == (
        f"host={host!r}: expected an address that only this machine can reach, such as {here!r}; "
        "allow_remote=True (--allow-remote) lets other machines connect."
    )
    assert addresses.checked_address(host, 0, allow_remote=True) == (host, 0)


STARTS = {
    "serve": lambda **options: fl.serve(fl.ok(), **options),
    "isolated": lambda **options: fl.serve(fl.ok(), isolated=True, **options),
    "relay": lambda **options: fl.relay("127.0.0.1:1", **options),
    "http_proxy": fl.http_proxy,
    "socks_proxy": fl.socks_proxy,
    "udp": lambda **options: fl.udp(fl.ok(), **options),
    "dns_server": fl.dns_server,
}


@each_row("kind", STARTS)
@each_row("host", ["0.0.0.0", "::"])
def test_each_kind_of_server_listens_for_other_machines_only_if_that_is_allowed(kind, host):
    with pytest.raises(ParameterError, match="allow_remote=True"):
        STARTS[kind](host=host)
    with pytest.raises(ParameterError, match="allow_remote=1: expected True or False"):
        STARTS[kind](host=host, allow_remote=1)
    with STARTS[kind](host=host, allow_remote=True) as server:
        assert server.host == host


COMMANDS = [
    "serve --mode ok --host 0.0.0.0",
    "serve --mode nxdomain --host ::",
    "serve --mode reordered --host 0.0.0.0 --then ok",
    "serve --mode socks-refusal --kind garbage --host 0.0.0.0",
    "relay --upstream 127.0.0.1:1 --listen 0.0.0.0:0",
]


@each_row("words", COMMANDS)
def test_command_listens_for_other_machines_only_if_that_is_allowed(words, capsys):
    assert main(words.split()) == 2
    assert "--allow-remote" in capsys.readouterr().err


@each_row("port", [-1, 65_536, 70_000, "80", 80.0, None, True])
def test_port_that_is_no_port_is_refused(port):
    with pytest.raises(ParameterError) as raised:
        addresses.checked_address("127.0.0.1", port)

    assert str(raised.value).startswith(f"port={port!r}: expected a whole number, from 0 to 65535")


def test_busy_port_is_an_error_that_says_what_to_do(opened):
    port = opened.getsockname()[1]
    with pytest.raises(PortError) as raised:
        sockets.claim("127.0.0.1", port)

    assert str(raised.value) == (
        f"port={port}: expected a free port, but 127.0.0.1:{port} is in use; choose another or 0."
    )
    assert raised.value.__cause__.errno == errno.EADDRINUSE


@each_row("port", [0, 54_321])
def test_address_of_another_machine_is_an_error(port):
    with pytest.raises(PortError) as raised:
        sockets.claim("192.0.2.1", port)

    assert str(raised.value) == (
        "host='192.0.2.1': expected an address of this machine (Cannot assign requested address)."
    )


def test_port_for_the_administrator_is_an_error_that_says_what_to_do():
    error = sockets.bind_error("127.0.0.1", 80, PermissionError(errno.EACCES, "Permission denied"))

    assert type(error) is PortError
    assert str(error) == "port=80: expected a port this user may bind; choose 1024 or more, or 0."


def test_number_that_somebody_else_got_first_is_given_up_for_another(opened, cleanup, monkeypatch):
    free = sockets.free_port("127.0.0.1")
    numbers = iter([opened.getsockname()[1], free])
    monkeypatch.setattr(sockets, "free_port", lambda _: next(numbers))
    sock = cleanup.enter_context(sockets.claim("127.0.0.1", 0))

    assert sock.getsockname() == ("127.0.0.1", free)


def test_machine_without_a_free_port_is_an_error(opened, monkeypatch):
    monkeypatch.setattr(sockets, "free_port", lambda _: opened.getsockname()[1])
    with pytest.raises(PortError) as raised:
        sockets.claim("127.0.0.1", 0)

    assert str(raised.value) == (
        "port=0: expected a free port on 127.0.0.1, found none in 100 tries; stop other servers."
    )


@each_row(
    ("host", "where"),
    [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("127.0.0.1", "127.0.0.1"), ("127.9.9.9", "127.9.9.9")],
)
def test_server_on_every_address_is_reached_on_the_loopback_one(host, where):
    assert system.reachable(host) == where


@needs_ipv6
def test_port_of_ipv6_refuses_opens_and_keeps_its_number(cleanup):
    door = cleanup.enter_context(sockets.claim("::1", 0))
    address = door.getsockname()[:2]
    refused = error_of_connecting(address)
    system.start_listening(door)
    opened = error_of_connecting(address)
    cleanup.enter_context(system.stop_listening(door))

    assert (refused, opened, error_of_connecting(address)) == (ConnectionRefusedError, None, ConnectionRefusedError)


def test_address_that_a_socket_can_be_bound_to_is_of_this_machine():
    assert addresses.is_of_this_machine(ipaddress.ip_address("0.0.0.0"))
    assert not addresses.is_of_this_machine(ipaddress.ip_address("192.0.2.1"))
