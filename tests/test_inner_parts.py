"""Parts that no user reaches on purpose: operators the wrong way round, servers that can't be asked, rare limits."""

from __future__ import annotations

import io
import sys
import threading
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import pytest_timeout
from support.tables import each_row

import faultline as fl
from faultline._core.calls import misfit
from faultline._core.errors import CallError, ServerError
from faultline._core.kept import Kept
from faultline._front import limits, seen, unproven
from faultline._servers.waits import in_trio


@each_row(
    ("combine", "text"),
    [
        (lambda: 5 & fl.reset(), "5 & reset(): expected two faults; write & between faults, such as"),
        (lambda: 5 + fl.reset(), "5 + reset(): expected & or a plan; write sequence(5, reset())"),
        (lambda: 3 * fl.reset(), "reset() * 3: expected a plan; write sequence(*[reset()] * 3, ok())."),
    ],
)
def test_operator_behind_a_value_that_is_no_fault_says_what_to_write(combine, text):
    with pytest.raises(CallError) as caught:
        combine()
    assert str(caught.value).startswith(text)


def test_parameter_whose_type_only_type_checkers_know_takes_any_value():
    def call(*, count: Unknown = None, name: Foreign = None):  # noqa: F821 - known to type checkers only
        """Take what nobody gives it."""

    error = misfit(call, (), {"counts": 5})
    assert str(error) == "call(counts=5): expected count=5, not counts; write call(count=5)."


def test_number_of_an_attempt_that_was_dropped_meanwhile_is_passed_over():
    kept = Kept()
    kept.stale.add(7)
    assert kept.copies() == ()
    assert not kept.stale


def test_without_trio_nothing_waits_in_trio(monkeypatch):
    monkeypatch.delitem(sys.modules, "trio", raising=False)
    assert in_trio() is None


class Broken:
    """A server that can't be asked."""

    @property
    def ledger(self):
        message = "it broke"
        raise ServerError(message)

    unproven = ledger


def test_server_that_can_not_be_asked_has_no_time_and_proves_nothing():
    report = SimpleNamespace(sections=[])
    unproven.add_to(report, [Broken(), SimpleNamespace(unproven=("why",)), Broken()])
    assert report.sections == [(unproven.HEADING, "why")]
    assert seen.now(Broken()) == 0.0


def test_drawing_in_a_run_without_a_terminal_has_no_width():
    config = SimpleNamespace(
        getoption=lambda *_: "yes", pluginmanager=SimpleNamespace(has_plugin=lambda name: name != "terminalreporter")
    )
    server = SimpleNamespace(drawing=lambda **options: options)
    drawn = seen.drawing_of(server, config)
    assert (drawn["width"], drawn["color"]) == (None, True)


@pytest.fixture
def limit():
    """Make the limit of a test that does not run, with the servers that are open meanwhile."""

    def make(method, servers=()):
        item = SimpleNamespace(
            nodeid="test_it",
            path="tests/test_it.py",
            location=("tests/test_it.py", 6, "test_it"),
            config=SimpleNamespace(
                pluginmanager=SimpleNamespace(getplugin=lambda _name: None),
                get_terminal_writer=io.StringIO,
                workerinput={},
            ),
        )
        known = SimpleNamespace(
            thread=threading.main_thread(), open=lambda: list(servers), hung=list, drawings=lambda: ["a drawing"]
        )
        settings = SimpleNamespace(timeout=60, method=method, disable_debugger_detection=True)
        return limits.Limit(item, settings, known)

    return make


def test_limit_that_another_thread_begins_sets_no_signal(limit):
    late = limit("signal")
    thread = threading.Thread(target=late.start)
    thread.start()
    thread.join()
    assert not hasattr(late._item, "cancel_timeout")


def test_report_of_a_failure_of_its_own_begins_with_the_reason_and_keeps_what_failed(limit):
    late = limit("signal")
    late.message = "the reason"
    crash = SimpleNamespace(message="assert 1 == 2")
    report = SimpleNamespace(failed=True, longrepr=SimpleNamespace(reprcrash=crash), sections=[], outcome="failed")
    late.tell(report)
    assert report.sections == [("faultline limit", "the reason")]
    assert crash.message == "the reason"


def test_report_of_a_test_that_swallowed_its_failure_names_the_reason_at_the_test(limit):
    late = limit("signal")
    late.message = "the reason"
    report = SimpleNamespace(failed=False, longrepr=None, sections=[], outcome="passed")
    late.tell(report)
    crash = report.longrepr.reprcrash
    assert (report.outcome, str(report.longrepr)) == ("failed", "the reason")
    assert (crash.path, crash.lineno, crash.message) == ("tests/test_it.py", 7, "the reason")


def test_limit_that_ends_the_process_writes_where_nothing_is_captured(limit, monkeypatch):
    ended, written = [], io.StringIO()
    monkeypatch.setattr(pytest_timeout, "dump_stacks", pytest_timeout.dump_stacks)  # which the limit replaces
    monkeypatch.setattr(pytest_timeout, "timeout_timer", lambda *given: ended.append(given))
    monkeypatch.setattr(sys, "__stderr__", written)
    late = limit("thread", [object()])
    late._exit()
    assert ended == [(late._item, late._settings)]
    assert written.getvalue() == "\ntest_it\nTimeout (>60.0s) from pytest-timeout.\na drawing\n"


def test_limit_that_fires_by_signal_and_by_the_watchdog_cuts_off_once(limit):
    server = Mock()
    late = limit("signal", [server])
    late.cut_off()
    late.cut_off()
    server.cut_off.assert_called_once_with()
