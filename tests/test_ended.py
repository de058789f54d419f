"""The queue of the command: attempts from the loop's thread, and signals, none of which is forgotten."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from faultline._front import ended as ended_module
from faultline._front.ended import signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_signal_that_another_thread_gets_wakes_the_main_thread(number, monkeypatch):
    """Its handler runs in the main thread, which a signal of another thread does not wake."""
    blocks, read = threading.Event(), os.read

    def reads(*arguments):
        blocks.set()
        return read(*arguments)

    def interrupt():
        blocks.wait()
        signal.pthread_kill(threading.get_ident(), number)

    monkeypatch.setattr(ended_module.os, "read", reads)
    with signals() as ended:
        thread = threading.Thread(target=interrupt)
        thread.start()
        assert ended.get() is None
        thread.join()


def test_each_attempt_is_handed_over_in_order_however_many_wait():
    with signals() as ended:
        for number in range(2000):  # more than the socket holds bytes of
            ended.put(number)
        assert [ended.get() for _ in range(2000)] == list(range(2000))
        assert ended.empty()


def test_handlers_and_the_wakeup_are_put_back():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with signals():
        assert signal.getsignal(signal.SIGTERM) is signal.getsignal(signal.SIGINT) is not before[1]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert signal.set_wakeup_fd(-1) == -1


def test_attempt_that_ends_after_the_command_is_no_error():
    with signals() as ended:
        pass
    ended.put(None)
    assert ended.get() is None
