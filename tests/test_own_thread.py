"""The thread of the loop: what is asked there is answered at once, and an error there is that of one server only."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import socket
import threading
import time

import pytest
from support.tables import each_row

import faultline as fl
from faultline._core import own_thread
from faultline._net import system
from faultline._servers import loop
from faultline._servers.listener import Listener
from faultline._servers.loop import background

PATIENCE_SECONDS = 20.0
GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
QUESTIONS = {
    "attempts": lambda server: len(server.attempts) == 1,
    "drawing": lambda server: "when" in server.drawing(),
    "intervals": lambda server: server.intervals == (),
    "become": lambda server: server.become(fl.ok()) is None,
    "become open too": lambda server: server.become(fl.ok(), open_too=True) is None,
    "pause": lambda server: server.pause() == server.resume() == 1,
    "reset_all": lambda server: server.reset_all() == 1,
    "close_all": lambda server: server.close_all() == 1,
    "close": lambda server: server.close() is None,
    "another server": lambda _: fl.serve(fl.ok()).close() is None,
    "a UDP server": lambda _: fl.udp(fl.ok()).close() is None,
    "a DNS server": lambda _: fl.dns_server().close() is None,
    "a wait that is over": lambda server: len(server.wait_for_attempts(1)) == 1,
    "a gate": lambda _: fl.Gate().open() is None,
}


def ask(server):
    """What a server says to one request; empty if it ends the connection."""
    with contextlib.suppress(ConnectionError), socket.create_connection(server.address, PATIENCE_SECONDS) as client:
        client.sendall(GET)
        return client.makefile("rb").read()
    return b""


@each_row("name", QUESTIONS)
def test_condition_may_ask_its_server(name):
    answers = []

    def condition(request):
        answers.append(QUESTIONS[name](server))
        return False

    with fl.serve(fl.when(condition, fl.reset()), strict=False) as server, fl.serve(fl.ok()) as other:
        ask(server)
        assert ask(other).startswith(b"HTTP/1.1 200")
        server.close()  # waits for the condition too
        assert answers == [True]


def test_close_in_a_condition_is_finished_by_the_close_after_it():
    server = fl.serve(fl.when(lambda _: server.close(), fl.ok()), strict=False)
    address = server.address

    ask(server)
    server.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, PATIENCE_SECONDS)


def test_wait_in_the_loops_own_thread_is_an_error_at_once():
    server = fl.serve(fl.when(lambda _: server.wait_for_attempts(2), fl.ok()), strict=False)

    assert ask(server) == b""
    with pytest.raises(fl.ServerError, match=r"wait_for_attempts\(\): expected a call in a thread of the test"):
        server.close()


@each_row("error", [SystemExit, KeyboardInterrupt, GeneratorExit, RuntimeError, ZeroDivisionError])
def test_error_in_a_condition_is_that_of_its_server_only(error):
    def condition(request):
        raise error("from a condition")

    server = fl.serve(fl.when(condition, fl.reset()), strict=False)
    with fl.serve(fl.ok()) as other:
        assert ask(server) == b""
        assert ask(other).startswith(b"HTTP/1.1 200")
    with pytest.raises(fl.ServerError, match="from a condition") as raised:
        server.close()
    assert isinstance(raised.value.__cause__, error)


@each_row("error", [SystemExit, KeyboardInterrupt])
def test_loop_goes_on_after_an_exit_in_a_callback(error):
    def leave():
        raise error

    with fl.serve(fl.ok()) as server:
        background().loop.call_soon_threadsafe(leave)
        assert ask(server).startswith(b"HTTP/1.1 200")


@pytest.mark.slow
def test_server_is_closed_by_a_collector_in_the_loops_own_thread():
    kept = []

    def holding():
        with fl.serve(fl.ok(), strict=False) as server:
            kept.append(server.address)
            yield

    class Circle:
        pass

    gc.disable()
    try:
        circle = Circle()
        circle.me, circle.held = circle, holding()
        next(circle.held)
        del circle
        with fl.serve(fl.when(lambda _: gc.collect() < 0, fl.reset()), strict=False) as server:
            assert ask(server).startswith(b"HTTP/1.1 200")
            server.close()
    finally:
        gc.enable()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(kept[0], PATIENCE_SECONDS)


# --- errors in callbacks ---------------------------------------------------------------------------------------------


@pytest.fixture
def no_descriptors(monkeypatch):
    """Let every black hole fail as it does where no descriptors are left."""

    def fail(_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    return lambda: monkeypatch.setattr(system, "drop_syns", fail)


def ends_and_tells(server, address, match):
    """Check that a server refuses clients after an error, and raises it when it is closed."""
    for _ in range(3):
        with contextlib.suppress(ConnectionError, FileNotFoundError), socket.socket(address[0]) as client:
            client.settimeout(PATIENCE_SECONDS)
            client.connect(address[1])
            client.sendall(GET)
            while client.recv(4096):
                pass
    with pytest.raises(fl.ServerError, match=match):
        server.close()


def test_black_hole_without_descriptors_is_the_servers_error(no_descriptors):
    server = fl.serve(fl.sequence(fl.ok(), fl.blackhole()), strict=False)
    no_descriptors()

    ends_and_tells(server, (socket.AF_INET, server.address), "Too many open files")


@pytest.mark.slow
@pytest.mark.measured
def test_step_that_fails_after_a_timer_is_the_servers_error(monkeypatch):
    failed = threading.Event()
    apply = Listener._apply

    def fail_after_timer(listener, step):
        if not listener._is_over:
            return apply(listener, step)
        failed.set()
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(Listener, "_apply", fail_after_timer)
    server = fl.serve(fl.sequence(fl.refuse(for_seconds=0.05), fl.ok()), strict=False)

    assert failed.wait(PATIENCE_SECONDS)
    ends_and_tells(server, (socket.AF_INET, server.address), "Too many open files")


def test_black_hole_of_become_is_told_at_once_and_ends_the_server(no_descriptors):
    server = fl.serve(fl.ok(), strict=False)
    no_descriptors()

    with pytest.raises(OSError, match="Too many open files"):
        server.become(fl.blackhole())
    server.become(fl.ok())  # does nothing any more
    assert server.reset_all() == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(server.address, PATIENCE_SECONDS)
    server.close()  # does not raise it again


def test_unix_socket_whose_folder_is_gone_is_the_servers_error(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    server = fl.serve(fl.sequence(fl.ok(), fl.refuse()), unix=str(folder / "socket"), strict=False)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(folder.rename(tmp_path / "elsewhere") / "socket"))
        client.settimeout(PATIENCE_SECONDS)
        with contextlib.suppress(ConnectionError):
            client.sendall(GET)
            while client.recv(4096):
                pass
    with pytest.raises(fl.ServerError, match="No such file"):
        server.close()


@each_row("make", [lambda: fl.udp(fl.ok()), fl.dns_server])
def test_error_in_a_timer_of_datagrams_is_the_servers_error(make):
    server = make()
    seen = threading.Event()

    def fail():
        seen.set()
        raise ZeroDivisionError("in a timer")

    background().call(lambda: server._datagrams.later(0.0, fail), server._break)
    assert seen.wait(PATIENCE_SECONDS)
    with pytest.raises(fl.ServerError, match="in a timer"):
        server.close()


def test_error_in_a_callback_of_nobody_is_logged(caplog):
    seen = threading.Event()

    def fail():
        seen.set()
        raise ZeroDivisionError("of nobody")

    with fl.serve(fl.ok()) as server:
        background().loop.call_soon_threadsafe(fail)
        assert seen.wait(PATIENCE_SECONDS)
        assert ask(server).startswith(b"HTTP/1.1 200")
    assert "of nobody" in caplog.text


# --- the end ---------------------------------------------------------------------------------------------------------


@each_row(
    "make",
    [
        lambda: fl.serve(fl.stall(), strict=False),
        lambda: fl.udp(fl.ok()),
        fl.dns_server,
        lambda: fl.resolve("a.test", fl.ok()),
        lambda: fl.serve(fl.ok(), unix=True),
    ],
)
def test_four_threads_close_a_server_at_once(make):
    server, errors = make(), []
    barrier = threading.Barrier(4)

    def close():
        barrier.wait()
        try:
            server.close()
        except BaseException as error:  # noqa: BLE001 - compared below
            errors.append(error)

    threads = [threading.Thread(target=close) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def used():
    """A server that has had a client: one that nobody has used stops without the loop."""
    server = fl.serve(fl.ok())
    with socket.create_connection(server.address, PATIENCE_SECONDS):
        server.wait_for_attempts(1)
    return server


@pytest.mark.slow
@pytest.mark.measured
@pytest.mark.parametrize("make", [used, lambda: fl.udp(fl.ok()), fl.dns_server])
def test_close_that_failed_is_finished_by_the_next_one(make, monkeypatch):
    server = make()
    address = server.address
    free = threading.Event()
    monkeypatch.setattr(loop, "CALL_SECONDS", 0.1)
    background().loop.call_soon_threadsafe(free.wait, PATIENCE_SECONDS)
    with pytest.raises(fl.ServerError, match="did not answer"):
        server.close()
    free.set()
    monkeypatch.undo()

    server.close()
    with socket.socket(type=socket.SOCK_STREAM) as client, pytest.raises(ConnectionRefusedError):
        client.connect(address)


def test_close_returns_at_once_while_another_thread_waits_for_the_loop():
    server = used()
    asked, closed = threading.Event(), threading.Event()

    def in_loop():
        asked.wait(PATIENCE_SECONDS)
        assert own_thread.is_loops()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not server._is_closed:
            assert time.monotonic() < deadline
        server.close()
        closed.set()

    background().loop.call_soon_threadsafe(in_loop)
    asked.set()
    server.close()
    assert closed.is_set()


def test_dns_server_that_stops_before_a_clients_task_has_begun_closes_its_socket():
    server = fl.dns_server()
    clients = []

    def accept_and_end():
        ours, theirs = socket.socketpair()
        clients.append(theirs)
        ours.setblocking(False)
        server._on_client(ours, None)
        server._end_now()

    background().call(accept_and_end)
    server.close()
    clients[0].settimeout(PATIENCE_SECONDS)
    with clients[0]:
        assert clients[0].recv(1) == b""
