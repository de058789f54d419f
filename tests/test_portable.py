"""The portable implementation, fact by fact, on whatever system the tests run; `test_platforms` plays whole servers."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import AsyncMock, Mock, call

import pytest
from support.tables import each_row

from faultline import ParameterError, UnsupportedError
from faultline._core import clock
from faultline._net import hearing, system
from faultline._net.hearing import LOOKED_SECONDS
from faultline._net.peers import Peers
from faultline._net.system import files, interface, portable, ports
from faultline._net.system.interface import check_system

PATIENCE_SECONDS = 10.0


@pytest.fixture
def port():
    """A port that nobody listens at yet, and the sockets that follow it."""
    made = portable.new_listener(socket.AF_INET)
    made.bind(("127.0.0.1", 0))
    made.setblocking(False)
    with made:
        yield made


def pair():
    """A client, and the socket that was accepted."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), PATIENCE_SECONDS)
        server, _ = listener.accept()
    server.setblocking(False)
    return client, server


def met(address, seconds=PATIENCE_SECONDS):
    """What a connect meets."""
    with socket.socket() as client:
        client.settimeout(seconds)
        try:
            client.connect(address)
        except OSError as error:
            return type(error)
    return None


# --- a port ----------------------------------------------------------------------------------------------------------


@each_row("start", ["bound", "listening"])
def test_a_port_is_kept_through_each_change(start):
    sock = portable.new_listener(socket.AF_INET)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    address, seen = sock.getsockname(), []
    if start == "listening":
        sock = portable.start_listening(sock)
    with contextlib.ExitStack() as closing:
        for _ in range(3):
            sock = portable.stop_listening(portable.stop_listening(sock))
            seen.append(met(address))
            with socket.socket() as rival:
                rival.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                with pytest.raises(OSError, match="in use"):
                    rival.bind(address)
            sock, fillers = portable.drop_syns(sock)
            closing.callback(lambda fillers=fillers: [filler.close() for filler in fillers])
            seen.append(met(address, 0.1))
            sock = portable.start_listening(sock)
            seen.append(met(address))
        sock.close()

    assert seen == [ConnectionRefusedError, TimeoutError, None] * 3
    assert met(address) is ConnectionRefusedError


def test_where_a_bound_socket_is_silent_a_black_hole_is_one(monkeypatch, port):
    monkeypatch.setattr(ports, "is_silent_when_bound", lambda: True)
    address = port.getsockname()
    portable.check_silence()

    assert portable.drop_syns(port) == (port, [])
    for _ in range(2):
        opened = portable.start_listening(port)
        assert met(address) is None
        port, fillers = portable.drop_syns(opened)
        assert (fillers, port.getsockname(), ports.is_listening(port)) == ([], address, False)
        assert opened.fileno() == -1
        port = portable.stop_listening(port)
        assert met(address) is ConnectionRefusedError
    port.close()


def test_a_system_that_answers_each_connect_has_no_black_hole(monkeypatch):
    monkeypatch.setattr(ports, "is_answered", lambda _: True)
    for asked in (ports.is_silent_when_bound, ports.queue_takes):
        asked.cache_clear()
    try:
        with pytest.raises(UnsupportedError) as caught:
            portable.check_silence()
    finally:
        for asked in (ports.is_silent_when_bound, ports.queue_takes):
            asked.cache_clear()

    assert str(caught.value) == f"{ports.SILENCE}."


def test_an_option_that_a_system_refuses_is_no_error():
    ports.reset_at_close(Mock(**{"setsockopt.side_effect": OSError}))


# --- a connection ----------------------------------------------------------------------------------------------------


@each_row(
    ("leave", "ends", "sign", "is_dead"),
    [
        (lambda _: None, 0, None, False),
        (lambda client: client.sendall(b"unread"), 0, None, False),
        (lambda client: client.shutdown(socket.SHUT_WR), portable.ENDED, "FIN", False),
        (lambda client: (ports.reset_at_close(client), client.close()), portable.WAS_RESET, "RST", True),
    ],
)
def test_ends_are_seen_where_nothing_is_unread(leave, ends, sign, is_dead):
    client, server = pair()
    with client, server:
        leave(client)
        assert (portable.ends_of(server), portable.is_dead(server)) == (ends, is_dead)
        assert portable.last_sign(server) == sign
        assert portable.sign_before_fin(server) is None


def test_end_of_both_sides_is_an_end():
    client, server = pair()
    with server:
        client.close()
        server.shutdown(socket.SHUT_WR)
        assert portable.ends_of(server) == portable.ENDED


@each_row("error, end", [(ConnectionResetError, portable.WAS_RESET), (BlockingIOError, 0)])  # another has read it
def test_an_error_at_a_look_is_a_reset(monkeypatch, error, end):
    monkeypatch.setattr(portable, "events_of", lambda _, wanted: wanted)

    assert portable.ends_of(Mock(**{"recv.side_effect": error})) == end


def test_a_look_at_a_socket_with_a_timeout_waits_for_nothing():
    client, server = pair()
    with client, server:
        server.settimeout(3600)
        assert portable.ends_of(server) == 0


def test_a_unix_socket_is_dead_after_a_reset_alone():
    ours, theirs = socket.socketpair()
    with ours:
        assert not portable.is_dead(ours)
        theirs.close()
        assert portable.last_sign(ours) == "FIN"


@each_row(("number", "known"), [(None, False), (0x1024, True)])
def test_what_is_on_its_way_is_known_by_an_option_or_by_a_full_buffer(number, known):
    client, server = pair()
    with client, server, pytest.MonkeyPatch.context() as patched:
        patched.setattr(portable, "SO_NWRITE", number)
        if known:
            asked = Mock(**{"getsockopt.return_value": 17})
            assert portable.outgoing_bytes(asked) == 17
            asked.getsockopt.assert_called_once_with(socket.SOL_SOCKET, number)
            return
        assert portable.outgoing_bytes(server) == 0
        with contextlib.suppress(BlockingIOError):
            while True:
                server.send(bytes(1 << 16))
        assert portable.outgoing_bytes(server) == 1


@each_row("was_bound", [False, True])
def test_a_connect_is_answered_once_the_kernel_has_said_so(was_bound):
    with socket.socket() as sock:
        if was_bound:
            sock.bind(("127.0.0.1", 0))
        assert not portable.is_answered(sock, was_bound=was_bound)
        sock.settimeout(PATIENCE_SECONDS)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            sock.connect(listener.getsockname())
            assert portable.is_answered(sock, was_bound=was_bound)


@each_row(("is_closed", "began", "pauses"), [(False, 0.0, 1), (False, -LOOKED_SECONDS - 1, 0), (True, 0.0, 0)])
def test_a_rst_waits_for_some_time_where_nobody_tells_whether_the_client_has_read(is_closed, began, pauses):
    wire = Mock(is_closed=is_closed, began=clock.now() + began, has_spoken=False, sent_bytes=9, heard_bytes=0)
    wire.departures.pause = AsyncMock()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(system, "TELLS_OF_PEERS", False)
        patched.setattr(hearing, "has_left", lambda _: False)
        patched.setattr(hearing, "unread_bytes", lambda _: 0)
        peers = Peers()
        assert peers.of(Mock()) is None
        peers.close()
        asyncio.run(hearing.Hearing(wire).until_heard())

    assert wire.departures.pause.call_args_list == [call(hearing.SILENT_PEER_SECONDS)] * pauses


# --- the loop --------------------------------------------------------------------------------------------------------


def test_registered_sockets_are_told_again_and_again_until_none_is_left():
    told, loop = [], Mock()
    watch = portable.arrivals(loop, lambda numbers: told.append(tuple(numbers)))
    watch.close()
    for number in (7, 7, 8):
        watch.register(number)
    (_, tell), _ = loop.call_later.call_args
    for number, is_closed in ((7, True), (8, False), (7, False)):
        tell()
        watch.unregister(number, is_closed=is_closed)
    watch.look()
    assert (told, loop.call_later.call_count) == ([(7, 8), (7, 8), (7,), ()], 4)
    tell()
    assert loop.call_later.call_count == 4
    watch.register(9)
    watch.close()
    loop.call_later.return_value.cancel.assert_called_once_with()


def test_the_loop_looks_at_what_another_thread_has_registered():
    loop = Mock()
    portable.registered(loop)

    loop.call_soon_threadsafe.assert_called_once()


# --- packets, datagrams, files, texts --------------------------------------------------------------------------------


def test_packets_are_not_dropped():
    with socket.socket() as sock, pytest.raises(UnsupportedError, match="a socket filter, which only Linux has"):
        portable.drop_packets(sock)
    assert portable.dropped_packets(sock) == 0
    assert portable.keep_packets(sock) is portable.peers_socket() is None


def test_datagrams_are_received_again_at_the_same_port():
    with socket.socket(type=socket.SOCK_DGRAM) as sock, socket.socket(type=socket.SOCK_DGRAM) as client:
        sock.bind(("127.0.0.1", 0))
        address = sock.getsockname()
        assert portable.opened_datagrams(sock) is sock
        sock.connect(address)
        with portable.opened_datagrams(sock) as again:
            client.sendto(b"hello", address)
            again.settimeout(PATIENCE_SECONDS)
            assert (again.getsockname(), again.recv(9)) == (address, b"hello")


def test_a_file_of_a_process_that_has_gone_is_removed_and_no_other(tmp_path, monkeypatch):
    with files.temporary("key", b"secret") as path:
        assert (Path(path).read_bytes(), Path(path).stat().st_mode & 0o777) == (b"secret", 0o600)
    assert not Path(path).exists()
    ours = files.file_with(tmp_path, "ca", b"secret")
    assert (ours.read_bytes(), ours.stat().st_mode & 0o777) == (b"secret", 0o600)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    theirs = tmp_path / f"faultline-ca-1.{gone.pid}.pem"
    strange = tmp_path / "faultline-of-another-kind.pem"
    for path in (theirs, strange):
        path.touch()
    for path in tmp_path.iterdir():
        files.forget_stale(path)

    assert sorted(tmp_path.iterdir()) == sorted([ours, strange])
    monkeypatch.setattr(os, "kill", Mock(side_effect=PermissionError))
    files.forget_stale(ours)
    assert ours.exists()


def test_a_socket_takes_the_name_of_no_other_file(tmp_path):
    beside, path = tmp_path / "beside", tmp_path / "path"
    beside.touch()
    portable.link(str(beside), str(path))
    assert (path.exists(), beside.exists()) == (True, False)
    beside.touch()
    with pytest.raises(FileExistsError):
        portable.link(str(beside), str(path))


def test_texts_of_lookups_are_the_systems_own():
    number, text = portable.gai_text("EAI_NONAME")

    assert (number, bool(text)) == (socket.EAI_NONAME, True)
    with pytest.raises(socket.gaierror, match=text):
        socket.getaddrinfo("a name that nobody has\n", 1, flags=socket.AI_NUMERICHOST)


# --- the choice ------------------------------------------------------------------------------------------------------


@each_row(
    ("platform", "variable", "is_linux"),
    [("linux", "", True), ("linux", "portable", False), ("darwin", "", False), ("freebsd14", "", False)],
)
def test_system_and_environment_choose_the_implementation(platform, variable, is_linux):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(interface, "sys", SimpleNamespace(platform=platform, modules={}))
        patched.setenv("FAULTLINE_PLATFORM", variable)
        assert interface.is_linux() is is_linux
        check_system(has_real_select=True)


def test_an_unknown_implementation_is_refused(monkeypatch):
    monkeypatch.setenv("FAULTLINE_PLATFORM", "macos")
    with pytest.raises(ParameterError) as caught:
        system.check()

    assert str(caught.value) == "FAULTLINE_PLATFORM='macos': expected 'portable', or no value."


def test_poll_of_another_library_is_no_real_one(monkeypatch):
    assert portable.has_real_select()
    monkeypatch.setattr("select.poll", Mock())
    assert not portable.has_real_select()
    monkeypatch.delattr("select.poll")
    assert not portable.has_real_select()


@each_row("ask", [portable.events_of, portable.unread_bytes, partial(portable.is_answered, was_bound=False)])
def test_a_socket_that_another_thread_has_closed_is_an_error_of_the_system(ask):
    with socket.socket() as sock:
        pass
    with pytest.raises(OSError) as raised:
        ask(sock)
    assert raised.value.errno == errno.EBADF
