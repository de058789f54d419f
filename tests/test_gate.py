"""Gates: what waits goes on when a gate opens, once, in whichever thread that is."""

from __future__ import annotations

import socket
import threading
from functools import partial

from faultline import serve, stall
from faultline._core.gate import Gate


def test_gate_is_closed_when_made():
    assert not Gate().is_open


def test_gate_stays_open_however_often_it_is_opened():
    gate = Gate()
    gate.open()
    gate.open()

    assert gate.is_open


def test_nothing_goes_on_at_a_closed_gate():
    woken = []
    Gate().when_open(lambda: woken.append(1))

    assert woken == []


def test_all_that_wait_go_on_in_their_order_when_the_gate_opens():
    gate, woken = Gate(), []
    for number in range(3):
        gate.when_open(lambda number=number: woken.append(number))
    gate.open()

    assert woken == [0, 1, 2]


def test_what_went_on_once_does_not_go_on_again():
    gate, woken = Gate(), []
    gate.when_open(lambda: woken.append(1))
    gate.open()
    gate.open()

    assert woken == [1]


def test_who_comes_to_an_open_gate_goes_on_at_once():
    gate, woken = Gate(), []
    gate.open()
    gate.when_open(lambda: woken.append(1))

    assert woken == [1]


def test_gate_is_open_already_for_those_it_lets_go():
    gate, seen = Gate(), []
    gate.when_open(lambda: seen.append(gate.is_open))
    gate.open()

    assert seen == [True]


def test_who_is_let_go_may_come_to_the_gate_again():
    gate, woken = Gate(), []
    gate.when_open(lambda: gate.when_open(lambda: woken.append("again")))
    gate.open()

    assert woken == ["again"]


def test_callback_runs_in_the_thread_that_opens():
    gate, threads = Gate(), []
    gate.when_open(lambda: threads.append(threading.current_thread()))
    opener = threading.Thread(target=gate.open)
    opener.start()
    opener.join()

    assert threads == [opener]


def test_each_of_many_threads_goes_on_exactly_once():
    gate, woken = Gate(), []
    start = threading.Barrier(9)

    def come(number):
        start.wait()
        for turn in range(200):
            gate.when_open(partial(woken.append, (number, turn)))

    def let_go():
        start.wait()
        gate.open()

    threads = [threading.Thread(target=come, args=(number,)) for number in range(8)]
    threads.append(threading.Thread(target=let_go))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(woken) == [(number, turn) for number in range(8) for turn in range(200)]


def test_gate_says_whether_it_is_open():
    gate = Gate()
    closed = repr(gate)
    gate.open()

    assert (closed, repr(gate)) == ("<Gate closed>", "<Gate open>")


def test_wait_that_is_over_is_forgotten():
    gate, woken = Gate(), []
    first, second = partial(woken.append, 1), partial(woken.append, 2)
    gate.when_open(first)
    gate.when_open(second)
    gate.forget(first)
    gate.open()
    gate.forget(second)

    assert woken == [2]


def test_clients_that_give_up_leave_nothing_at_a_gate():
    gate = Gate()
    with serve(stall(until=gate)) as server:
        for _ in range(3):
            with socket.create_connection(server.address, 10) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                server.wait_for_attempts(1, at="strike")
        server.wait_for_attempts(3, at="end")

        assert gate._waiting == {}


def test_gate_may_be_opened_while_its_thread_uses_it():
    class Finalizer:
        def __init__(self, gate):
            self.gate = gate

        def __hash__(self):  # as if it were collected inside
            self.gate.open()
            return 1

        def __call__(self):
            woken.append(1)

    gate, woken = Gate(), []
    gate.when_open(Finalizer(gate))

    assert gate.is_open
