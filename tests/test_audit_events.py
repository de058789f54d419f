"""The hook of audit events: what it calls, what it leaves alone, and that no thread can run in the middle of it."""

from __future__ import annotations

import sys
import threading
import weakref

import pytest

from faultline._net.audit_events import call_at


class Kept:
    """Something that an event tells."""


def test_a_function_gets_the_arguments_of_its_event_and_of_no_other():
    seen = []
    call_at("faultline.test", lambda *args: seen.append(args))

    for event in ("faultline.test", "faultline.other", "pop", "keys", "faultline.test"):
        sys.audit(event, len(seen), event)
    assert seen == [(0, "faultline.test"), (1, "faultline.test")]


def test_what_the_function_raises_ends_what_raised_the_event():
    call_at("faultline.refused", lambda: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        sys.audit("faultline.refused")


def test_nothing_that_an_event_tells_is_kept():
    call_at("faultline.passing", lambda _: None)

    for event in ("faultline.passing", "faultline.other", "pop"):
        thing = Kept()
        gone = weakref.ref(thing)
        sys.audit(event, thing)
        del thing
        assert gone() is None, event


@pytest.mark.slow
@pytest.mark.everywhere
def test_threads_can_set_a_trace_function_at_the_same_time():
    """A hook in Python fails here on 3.10 and 3.11: some fifty times in 80,000 turns."""
    call_at("faultline.never", print)
    failed = []

    def trace_nothing():
        try:
            for _ in range(20_000):
                sys.settrace(None)
        except RuntimeError as error:
            failed.append(error)

    threads = [threading.Thread(target=trace_nothing) for _ in range(4)]
    switching = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(switching)
    assert failed == []
