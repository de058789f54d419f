"""Strategies of Hypothesis: what they draw can be played, shrinks to the simplest, and is shown as code."""

from __future__ import annotations

import socket
import sys
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, example, find, given, seed, settings
from hypothesis.database import InMemoryExampleDatabase
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from support.tables import each_row

import faultline
from faultline import ok, receive_until, refuse, reset, script, send, sequence, stall, status
from faultline._front import shapes
from faultline.strategies import conditions, faults, plans

WHOLE = ok(b"whole")
LINE = script(receive_until(b"\n"), send(b"hello"))
USUAL = settings(database=None, deadline=None, suppress_health_check=list(HealthCheck))
DRAWN = settings(USUAL, max_examples=25, phases=[Phase.generate])


def simplest(strategy, condition=lambda _: True):
    """What a strategy shrinks to."""
    return repr(find(strategy, condition, settings=settings(USUAL, max_examples=1_000), random=Random(1)))


def has(*words):
    return lambda value: all(word in repr(value) for word in words)


# --- what is drawn ---------------------------------------------------------------------------------------------------

USES = [
    {},
    {"tls": True},
    {"script": LINE},
    {"server": "relay"},
    {"server": "relay", "http": True},
    {"server": "relay", "tls": True},
    {"server": "http_proxy"},
    {"server": "socks_proxy"},
    {"point": ("idle", "response"), "timeout_seconds": 0.5},
]


@pytest.mark.slow
@each_row("use", USES)
def test_every_plan_that_is_drawn_is_played_and_is_read_from_its_text(use):
    starter = getattr(faultline, use.get("server", "serve"))
    options = {} if use.get("server") == "socks_proxy" else {"tls": use.get("tls", False)}

    @DRAWN
    @given(plans(conditions=True, verbs=shapes.VERBS, **use))
    def drawn(plan):
        assert "script" in use or faultline.plan(repr(plan)) == plan
        with starter(*upstreams, plan, strict=False, **options):
            pass

    with faultline.serve(ok()) as real:
        upstreams = [real] if use.get("server") == "relay" else []
        if upstreams:
            options["tls"] = "terminate" if use.get("tls") else "through"
        drawn()


def test_every_fault_strikes_at_a_point_that_was_asked_for():
    @DRAWN
    @given(faults(point=("accept", "idle"), verbs=(reset(), stall(for_seconds=1))))
    def drawn(fault):
        assert fault.break_.at in ("accept", "idle")
        assert fault == reset(at=fault.break_.at) or "idle" in repr(fault) or "for_seconds=1" in repr(fault)

    drawn()


@pytest.mark.slow
@pytest.mark.measured
@each_row(
    ("strategy", "condition", "shown"),
    [
        (faults, has(), "refuse()"),
        (faults, has("r", "es"), "reset()"),
        (lambda: faults(verbs=("stall", "close", "reset")), has(), "reset()"),
        (faults, has("stall"), "stall(for_seconds=0.05)"),
        (faults, has("after_bytes"), "reset(after_bytes=1)"),
        (lambda: faults(answer=WHOLE), has("after_body_bytes=5"), "reset(after_body_bytes=5)"),
        (faults, has("malformed"), "malformed('length_short')"),
        (faults, has("raw"), "raw(b'\\x00')"),
        (faults, has("&"), "reset() & status(503)"),
        (lambda: faults(conditions=True), has("&", "latency"), "reset() & latency(0.01)"),
        (lambda: faults(point="idle"), has("close"), "close(at='idle')"),
        (lambda: faults(tls=True), has("cert"), "bad_cert('expired')"),
        (lambda: faults(server="relay"), has("idle"), "reset(at='idle', after_seconds=0.05)"),
        (lambda: faults(verbs=(stall(),)), has("on=", "&"), "stall(at='response', on=b'\\r\\n\\r\\n') & status(503)"),
        (lambda: faults(timeout_seconds=1), has("for_seconds=2"), "stall(for_seconds=2)"),
        (lambda: faults(verbs=("inject",), http=False), has(), "inject(b'\\x00')"),
        (lambda: faults(script=LINE, verbs=("reset",)), has("(after_bytes=3"), f"{LINE!r} & reset(after_bytes=3)"),
        (lambda: faults(script=LINE), has("refuse"), "refuse()"),
        (conditions, has(), "latency(0.01)"),
        (lambda: conditions(http=False), has("request", "drop_bytes"), "drop_bytes(1, direction='request')"),
        (plans, has(), "ok()"),
        (lambda: plans(recovers=False), has("status"), "status(503)"),
        (plans, has("close", "refuse"), "sequence(refuse(), close(), ok())"),
        (lambda: plans(min_size=2, per="connection"), has(), "sequence(ok(), ok(), ok(), per='connection')"),
        (lambda: plans(script=LINE), has("reset"), f"sequence({LINE!r} & reset(), {LINE!r})"),
    ],
)
def test_values_shrink_to_the_simplest(strategy, condition, shown):
    found = simplest(strategy(), condition)

    assert found == shown


@each_row(
    ("call", "message"),
    [
        (lambda: faults(point="ideal"), "point='ideal': expected one of"),
        (lambda: faults(verbs=("rest",)), "verbs='rest': expected one of"),
        (lambda: faults(verbs="reset"), "verbs='reset': expected a tuple such as ('reset',)."),
        (
            lambda: faults(verbs=(reset(at="idle"),)),
            "verbs=reset(at='idle'): expected names such as 'reset', or faults",
        ),
        (lambda: faults(verbs=(status(503),)), "verbs=status(503): expected names such as 'reset', or faults"),
        (lambda: faults(verbs=(ok() & reset(),)), "verbs=ok() & reset(): expected names such as 'reset', or faults"),
        (lambda: faults(point="lookup"), "point='lookup': expected a value that a server plays."),
        (lambda: faults(point=()), "point=(): expected a value that a server plays."),
        (lambda: faults(verbs=5), "verbs=5: expected a tuple such as ('reset',)."),
        (lambda: faults(verbs=reset()), "verbs=reset(): expected a tuple such as (reset(),)."),
        (lambda: faults(server="relay", script=LINE), f"script={LINE!r}: expected no script with server='relay'"),
        (lambda: conditions(server="http_proxy", script=LINE), "script="),
        (lambda: faults(server="relay", answer=ok()), "answer=ok(): expected no answer with server='relay'"),
        (
            lambda: conditions(server="socks_proxy", answer=ok()),
            "answer=ok(): expected no answer with server='socks_proxy'",
        ),
        (lambda: faults(timeout_seconds=0), "timeout_seconds=0: expected more than 0."),
        (lambda: faults(verbs=(), http=False), "verbs=(): expected a value that a server plays."),
        (lambda: faults(server="server"), "server='server': expected one of"),
        (lambda: faults(server="socks_proxy", tls=True), "tls=True: expected tls=False with server='socks_proxy'"),
        (lambda: faults(script=ok()), "script=ok(): expected a script(…)."),
        (lambda: faults(answer=reset()), "answer=reset(): expected an answer such as ok(b'…') or echo()."),
        (lambda: plans(min_size=3, max_size=2), "max_size=2: expected a whole number, 3 or more."),
        (lambda: plans(max_bytes=-1), "max_bytes=-1: expected a whole number of bytes, from 0 to 1000000."),
        (lambda: plans(max_bytes=10**12), "max_bytes=1000000000000: expected a whole number of bytes, from 0"),
        (lambda: plans(timeout_seconds=-1), "timeout_seconds=-1: expected"),
    ],
)
def test_a_wrong_value_is_an_error_as_the_strategy_is_made(call, message):
    with pytest.raises(faultline.ParameterError) as raised:
        call()

    assert str(raised.value).startswith(message)


def test_without_hypothesis_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "hypothesis", None)

    with pytest.raises(faultline.UnsupportedError, match=r"install .pytest-faultline\[hypothesis\]"):
        plans()


# --- a bug that takes two faults -------------------------------------------------------------------------------------


class Client:
    """A client that tries again, and takes a second failure for an empty answer: the bug to find."""

    def __init__(self, server):
        self.server = server

    def fetch(self):
        failures = 0
        while failures < 6:
            try:
                return self.once()
            except OSError:
                failures += 1
                if failures == 2:
                    return b""
        raise AssertionError("no answer")

    def once(self):
        with socket.create_connection(self.server.address, timeout=5) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
            said = b"".join(iter(lambda: connection.recv(4096), b""))
        head, _, body = said.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200") or body != b"whole":
            raise OSError("no whole answer")
        return body


def bug(plan, runs):
    runs.append(plan)
    with faultline.serve(plan, answer=WHOLE, strict=False) as server:
        assert Client(server).fetch() == b"whole"


def property_of(runs, number=None, database=None):
    """Have Hypothesis test the client; the smallest plan that fails is the last of the runs."""

    @settings(USUAL, max_examples=300, database=database, report_multiple_bugs=False)
    @given(plans(max_size=5, answer=WHOLE))
    def client_gets_its_answer(plan):
        bug(plan, runs)

    return client_gets_its_answer if number is None else seed(number)(client_gets_its_answer)


@pytest.mark.slow
@each_row("number", range(2))
def test_a_planted_bug_of_a_retry_is_found_and_shrunk_to_two_faults(number):
    runs = []
    with pytest.raises(AssertionError) as raised:
        property_of(runs, number)()

    assert runs[-1] == sequence(refuse(), refuse(), ok())
    assert len(runs) < 300
    assert "plan=sequence(refuse(), refuse(), ok())" in "".join(raised.value.__notes__)


@pytest.mark.slow
def test_five_faults_shrink_to_two_which_the_database_replays_first():
    runs, database = [], InMemoryExampleDatabase()
    five = plans(max_size=5, min_size=5, answer=WHOLE)
    first = find(five, lambda plan: "ok(), " not in repr(plan), settings=settings(DRAWN, max_examples=500))
    with pytest.raises(AssertionError):
        example(plan=first)(property_of(runs))()
    assert {*map(repr, runs)} == {repr(first)}  # an example that was written by hand is not shrunk

    with pytest.raises(AssertionError):
        property_of(runs, database=database)()
    assert runs[-1] == sequence(refuse(), refuse(), ok())

    again = []
    with pytest.raises(AssertionError):
        property_of(again, database=database)()
    assert again[0] == runs[-1]


@pytest.mark.slow
@pytest.mark.measured
def test_a_state_machine_changes_the_plan_of_one_server():
    class Machine(RuleBasedStateMachine):
        def __init__(self):
            super().__init__()
            self.server = faultline.serve(ok(), answer=WHOLE, strict=False)

        def teardown(self):
            self.server.close()

        @rule(plan=plans(max_size=1, verbs=("refuse", "reset"), http=False, answer=WHOLE))
        def another_plan(self, plan):
            self.server.become(plan)

        @rule()
        def fetch(self):
            assert Client(self.server).fetch() in (b"whole", b"")

        @invariant()
        def is_listening(self):
            assert self.server.port > 0

    run_state_machine_as_test(Machine, settings=settings(USUAL, max_examples=5, stateful_step_count=6))
