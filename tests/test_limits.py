"""The time limit of a test: a client that hangs in any thread, task or child process ends with it, and is named."""

from __future__ import annotations

import re
import threading
from types import SimpleNamespace

import pytest
from support import PATIENCE_SECONDS

from faultline._front.limits import Watchdog

STRUCK = "<=== silence: struck at 'response'"
NAMED = (
    r"no timeout: the client was still waiting at `{}` after \S+ s \(attempt {}, .*\)\. "
    r"Timeout \(>60\.0s\) from pytest-.*"
)


@pytest.fixture(scope="module")
def inner(run_inner):
    return run_inner("limits.py")


def names(inner, prefix):
    found = [name for name in inner.outcomes if name.startswith(prefix)]
    assert found
    return found


def is_named(inner, name, point="response", attempt=1):
    """Whether a test has failed, with the client that hangs as the reason and in its drawing."""
    return (
        inner.outcomes[name] == ["FAILED"]
        and re.fullmatch(NAMED.format(point, attempt), inner.reasons[name]) is not None
        and "Stack of faultline" not in inner.told[name]
    )


# --- where the test goes on -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.measured
def test_client_that_hangs_anywhere_ends_with_the_limit(inner):
    clients = names(inner, "test_client[")

    assert [client for client in clients if not is_named(inner, client)] == []
    assert [client for client in clients if STRUCK not in inner.told[client]] == []
    assert inner.outcomes["test_goes_on"] == ["PASSED"]


@pytest.mark.slow
def test_client_that_hangs_at_any_server_ends_with_the_limit(inner):
    points = {
        "TLS handshake": "handshake",
        "accept": "accept",
        "black hole": "connect",
        "paused": "request",
        "script": "accept",
    }
    servers = [name[12:-1] for name in names(inner, "test_server[")]
    servers.remove("relay of a stalled server")  # two, each with a client

    assert points.keys() < set(servers)
    assert [s for s in servers if not is_named(inner, f"test_server[{s}]", points.get(s, "response"))] == []
    assert "at `response`" in inner.reasons["test_server[relay of a stalled server]"]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "point"), [("datagram", "response"), ("query", "lookup"), ("lookup", "lookup")])
def test_client_that_hangs_without_a_connection_ends_with_the_limit(inner, name, point):
    assert is_named(inner, f"test_{name}", point)


@pytest.mark.slow
def test_limit_knows_servers_of_wider_scopes_and_without_a_fixture(inner):
    passing = ["first", "again_without_the_fixture_in_its_parameters"]
    tests = {name[20:]: name for name in names(inner, "TestElsewhere::test_")}

    assert [inner.outcomes[tests.pop(name)] for name in passing] == [["PASSED"]] * 2
    assert is_named(inner, tests.pop("wider_scope"), attempt=2)
    assert [name for name in tests.values() if not is_named(inner, name)] == []
    assert [name for name in tests.values() if STRUCK not in inner.told[name.replace("::", ".")]] == []


@pytest.mark.slow
def test_limit_of_a_server_of_a_wider_scope_holds_for_the_test_that_meets_it(inner):
    assert inner.outcomes["TestWider::test_opens"] == inner.outcomes["TestWider::test_has_its_own"] == ["PASSED"]
    assert inner.reasons["TestWider::test_meets"].endswith("Timeout (>60.0s) from pytest-timeout.")


@pytest.mark.slow
def test_server_that_is_open_at_the_end_of_the_run_holds_no_thread(inner):
    assert inner.outcomes["test_left"] == ["PASSED"]
    assert inner.code == pytest.ExitCode.TESTS_FAILED  # and no process that waits for its thread


@pytest.mark.slow
def test_hung_test_that_is_run_again_has_the_limit_again(inner):
    assert inner.outcomes["test_twice"] == ["FAILED", "FAILED"]


@pytest.mark.slow
def test_test_that_swallows_the_failure_fails_all_the_same(inner):
    assert is_named(inner, "test_swallows")
    assert is_named(inner, "TestElsewhere::test_thread_of_its_own")


@pytest.mark.slow
def test_time_that_is_over_ends_the_connections_though_the_main_thread_is_in_c_code(inner):
    for where in ("in Python", "in C"):
        assert inner.outcomes[f"test_time[{where}]"] == ["FAILED"]
        assert inner.reasons[f"test_time[{where}]"].startswith("no timeout: the client was still waiting at `response`")
        assert inner.reasons[f"test_time[{where}]"].endswith(". Timeout (>0.05s) from pytest-timeout.")


@pytest.mark.slow
def test_test_without_servers_times_out_as_pytest_timeout_has_it(inner):
    own_words = r"(Failed: )?Timeout \(?>0\.05s\)?( from pytest-timeout\.)?"  # since 2.4, with more of them
    assert re.fullmatch(own_words, inner.reasons["test_without_servers"])
    ended = inner.told["test_end_without_servers"]
    assert "Stack of MainThread" in ended
    assert "exit code: 1" in ended
    assert "faultline" not in ended.partition("Timeout")[0]


@pytest.mark.slow
def test_debugger_is_left_alone(inner):
    assert inner.outcomes["test_debugger"] == ["PASSED"]
    assert "call\npassed\n" in inner.told["test_debugger_of_a_thread"]


@pytest.mark.slow
def test_failing_test_draws_the_servers_of_wider_scopes_that_it_came_to(inner):
    drawn = re.findall(r"^http://127\S+ (.*)$", inner.told["TestDrawn.test_drawn"], re.MULTILINE)

    assert drawn == ["ok(b'hello')", "ok(b'own')"]


@pytest.mark.slow
def test_servers_that_cannot_be_asked_do_not_keep_the_test_from_ending(inner):
    assert "\nfaultline can't draw the servers: RuntimeError('a bug of ours')\n" in inner.told["test_drawing_is_broken"]
    assert " could not be cut off: RuntimeError('a bug of ours')\n" in inner.told["test_cutting_is_broken"]


@pytest.mark.slow
def test_limit_of_a_test_that_is_over_is_not_kept(inner):
    assert inner.outcomes["test_limits_that_are_over_are_not_kept"] == ["PASSED"]


# --- where the process ends -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_client_that_hangs_anywhere_is_named_and_drawn_where_the_process_ends(inner):
    ends = [name for name in inner.told if name.startswith("test_end[")]

    assert len(ends) == len(names(inner, "test_client["))
    for name in [*ends, "test_end_by_a_late_limit"]:
        told = inner.told[name]
        assert re.search(f"^{NAMED.format('response', 1)}\nhttp://127.* stall\\(\\)\n#1 stall", told, re.MULTILINE)
        assert STRUCK in told
        assert "Stack of MainThread" in told
        assert "Stack of faultline" not in told
        assert told.rstrip().endswith("exit code: 1")


@pytest.mark.slow
def test_limit_holds_in_a_fork_that_goes_on_with_the_test(inner):
    told = inner.told["test_fork"]

    assert "call\nfailed\n" in told
    assert re.search(NAMED.format("response", 1), told)
    assert STRUCK in told


# --- the watchdog -----------------------------------------------------------------------------------------------------


def limit(seconds=PATIENCE_SECONDS):
    over = threading.Event()
    return SimpleNamespace(seconds=seconds, is_over=False, over=over, cut_off=over.set)


@pytest.fixture
def watchdog():
    """A watchdog whose thread waits already."""
    dog = Watchdog()
    first = limit()
    dog.hurry(first)
    assert first.over.wait(PATIENCE_SECONDS)
    return dog


def test_watchdog_that_was_late_for_one_test_ends_the_next_one(watchdog):
    before, after = limit(), limit()
    watchdog.watch(before)
    with watchdog._changed:  # its thread can't look
        watchdog.leave(before)
        watchdog.hurry(after)

    assert after.over.wait(PATIENCE_SECONDS)
    assert not before.over.is_set()


def test_watchdog_that_was_late_for_the_end_of_a_test_leaves_the_next_one_alone(watchdog):
    before, after, last = limit(), limit(), limit()
    with watchdog._changed:
        watchdog.hurry(before)
        watchdog.leave(before)
        watchdog.watch(after)
    watchdog.hurry(last)

    assert last.over.wait(PATIENCE_SECONDS)
    assert not before.over.is_set()
    assert not after.over.is_set()
