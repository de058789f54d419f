"""Sweeps whose loops are left, whose runs are subtests, and that are not proven."""

import contextlib
import socket

import pytest

from faultline import ok, reset, sweep

POST = b"POST /pay HTTP/1.1\r\nHost: till\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


def pay(server):
    """A client that asks once more."""
    for _ in range(2):
        with contextlib.suppress(OSError), socket.create_connection(server.address, timeout=5) as client:
            client.sendall(POST)
            answer = b""
            while not answer.endswith(b"paid") and (data := client.recv(1000)):
                answer += data
            if answer.endswith(b"paid"):
                return


@pytest.fixture
def till(faultline):
    return faultline.serve(ok(b"paid"), strict=False)


def paid(till):
    return sum(attempt.request is not None for attempt in till.attempts)


def test_assertion_leaves_the_loop(till):
    for run in sweep(till.hostport, verbs=[reset()], idle_seconds=30):
        before = paid(till)
        with run(expected=OSError) as server:
            pay(server)
        assert paid(till) == before + 1


def test_untouched_run_fails(till):
    for run in sweep(till.hostport, verbs=[reset()], idle_seconds=30):
        with run() as server:
            pay(server)
        assert paid(till) == 0


def test_each_run_is_a_subtest(till, subtests):
    for run in sweep(till.hostport, verbs=[reset()], idle_seconds=30):
        before = paid(till)
        with run(expected=OSError) as server:
            pay(server)
        with run.checks():
            assert paid(till) == before + 1


def test_some_breaks_are_not_reached(till):
    for run in sweep(till.hostport, verbs=[reset()], idle_seconds=30):
        with run(expected=OSError) as server:
            pay(server)
            if run.is_untouched:
                pay(server)


@pytest.fixture
def swept(till):
    for run in sweep(till.hostport, verbs=[reset()], idle_seconds=30):
        with run(expected=OSError) as server:
            pay(server)
        assert paid(till) < 3


def test_fixture_sweeps(swept):
    pass


def test_loop_is_left_in_peace(till):
    for run in sweep(till.hostport, verbs=[reset()], idle_seconds=30):
        with run() as server:
            pay(server)
        break


def test_fails_after_a_break(till):
    for run in sweep(till.hostport, verbs=[reset()], idle_seconds=30):
        with run(expected=OSError) as server:
            pay(server)
        if run.number:
            break
    assert till is None


def test_without_a_sweep(till):
    pay(till)
