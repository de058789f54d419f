"""The texts of a sweep: reproductions of all loops, failures in a line, the report, and the progress bar."""

from __future__ import annotations

import http.client
import io
import linecache
import sys
import textwrap
from types import SimpleNamespace

import pytest
from support.tables import each_row

from faultline import ok, reset, sequence, sweep
from faultline._core import clock
from faultline._core.attempts import Attempt
from faultline._core.pieces import Piece
from faultline._core.turns import Turn
from faultline._sweep.bar import Bar
from faultline._sweep.begun import begun
from faultline._sweep.case import Case, told
from faultline._sweep.places import Place, as_said, left_out, places_of
from faultline._sweep.source import alone
from faultline._sweep.table import Result

PLAN = sequence(reset(at="response", after_messages=2), ok())


def alone_of(text, line, plans=(PLAN,)):
    """The reproduction of a case of a loop in this text."""
    linecache.cache["loop.py"] = (len(text), None, text.splitlines(keepends=True), "loop.py")
    try:
        return alone(("loop.py", line), plans, ["127.0.0.1:5432"])
    finally:
        del linecache.cache["loop.py"]


def code(text):
    return textwrap.dedent(text).lstrip("\n").rstrip()


@each_row(
    ("text", "line", "expected"),
    [
        (
            """
            def test_transfer(faultline, bank):
                for run in faultline.sweep("127.0.0.1:5432", verbs=(reset(), stall())):
                    with run(expected=Error) as database:
                        transfer(bank, database.url, 100)
                    assert bank.total() == 1000
            """,
            3,
            """
            import contextlib


            def test_transfer_alone(faultline, bank):
                with faultline.relay('127.0.0.1:5432', faultline.sequence(faultline.reset(at='response', after_messages=2), faultline.ok())) as database, contextlib.suppress(Error):
                    transfer(bank, database.url, 100)
                assert bank.total() == 1000
            """,
        ),
        (
            """
            async def test_it(bank):
                for run in sweep(f"{bank}:80"):
                    with run():
                        await transfer()
            """,
            3,
            """
            import faultline


            async def test_it_alone(bank):
                with faultline.relay(f'{bank}:80', faultline.sequence(faultline.reset(at='response', after_messages=2), faultline.ok())):
                    await transfer()
            """,
        ),
        (
            """
            for run in faultline.sweep(upstream, run_seconds=9, depth=2):
                # as new
                with run() as server:
                    transfer(server)
                with run.checks():
                    assert total()
            """,
            3,
            """
            def test_alone():
                for run in faultline.sweep(upstream, only=faultline.sequence(faultline.reset(at='response', after_messages=2), faultline.ok()), run_seconds=9):
                    with run() as server:
                        transfer(server)
                    with run.checks():
                        assert total()
            """,
        ),
        (
            """
            def test_it():
                for run in sweep(upstream):
                    with run() as server:
                        transfer(server)
            """,
            3,
            """
            import faultline


            def test_it_alone():
                for run in faultline.sweep(upstream, only=faultline.sequence(faultline.reset(at='response', after_messages=2), faultline.ok())):
                    with run() as server:
                        transfer(server)
            """,
        ),
        (
            """
            runs = other()
            with sweep(upstream, depth=2) as runs, sweep(other):
                total = 0
                for run in runs:
                    assert run.number
                    with run():
                        pass
                runs = None
            """,
            6,
            """
            import faultline


            def test_alone():
                for run in faultline.sweep(upstream, only=faultline.sequence(faultline.reset(at='response', after_messages=2), faultline.ok())):
                    assert run.number
                    with run():
                        pass
            """,
        ),
        (
            """
            for number, run in enumerate(faultline.sweep(upstream)):
                with run() as server:
                    transfer(server)
            """,
            2,
            """
            def test_alone():
                for (number, run) in enumerate(faultline.sweep(upstream, only=faultline.sequence(faultline.reset(at='response', after_messages=2), faultline.ok()))):
                    with run() as server:
                        transfer(server)
            """,
        ),
        (
            "for run in swept(sweeps=upstream):\n    with run():\n        pass\n",
            2,
            "for run in faultline.sweep('127.0.0.1:5432', only=faultline.sequence(faultline.reset(at='response', "
            "after_messages=2), faultline.ok())):\n    ...  # the body of the loop",
        ),
        (
            "for run in runs:\n    with run():\n        pass\n",
            2,
            "for run in faultline.sweep('127.0.0.1:5432', only=faultline.sequence(faultline.reset(at='response', "
            "after_messages=2), faultline.ok())):\n    ...  # the body of the loop",
        ),
        (
            "with run():\n    pass\n",
            1,
            "for run in faultline.sweep('127.0.0.1:5432', only=faultline.sequence(faultline.reset(at='response', "
            "after_messages=2), faultline.ok())):\n    ...  # the body of the loop",
        ),
        (
            "for run in (\n",
            1,
            "for run in faultline.sweep('127.0.0.1:5432', only=faultline.sequence(faultline.reset(at='response', "
            "after_messages=2), faultline.ok())):\n    ...  # the body of the loop",
        ),
    ],
)
def test_reproduction_has_the_body_of_the_loop(text, line, expected):
    assert alone_of(code(text) + "\n", line) == code(expected)


def test_reproduction_without_a_text_has_the_call_of_the_sweep():
    assert alone(None, [reset(), ok()], ["127.0.0.1:80", 5]) == (
        "for run in faultline.sweep(['127.0.0.1:80', 5], only=[faultline.reset(), faultline.ok()]):\n"
        "    ...  # the body of the loop"
    )


def raised(function):
    try:
        function()
    except Exception as error:  # noqa: BLE001 - it is what is told
        return error
    return None


def wrong():
    total = 3
    if not total:
        return
    raise AssertionError


@each_row(
    ("error", "text"),
    [
        (AssertionError("assert 3 == 4\n + where"), "assert 3 == 4"),
        (AssertionError("paid twice"), "AssertionError: paid twice"),
        (AssertionError(), "AssertionError"),
        (raised(wrong), "raise AssertionError"),
        (ValueError("x" * 200), f"ValueError: {'x' * 99}…"),
        (ValueError(), "ValueError"),
        (http.client.IncompleteRead(b"", 1), "IncompleteRead(0 bytes read, 1 more expected)"),
    ],
)
def test_failure_is_told_in_a_line(error, text):
    assert told(error) == text


def test_report_has_at_most_five_reproductions_and_the_worst_first():
    place = Place(0, 1, "request", 0, 0, 1, "x" * 60)
    strange = [Case(((place, reset()),), failed="ValueError") for _ in range(5)]
    wrong_state = Case(((place, reset()),), failed="assert 3 == 4", is_assertion=True)
    hung = Case(((Place(0, 1, "lost", 0), reset()),), is_hung=True)
    cases = [*strange, hung, wrong_state]
    report = Result("bank", cases, {n: f"test {n}" for n in range(7)}, 1.0).report()

    assert "The worst, run 6: " in report
    assert report.index("Run 6 alone:") < report.index("Run 5 alone:") < report.index("Run 0 alone:")
    assert report.endswith("and 2 more failed, each in the table")
    assert "assert 3 == 4 (the break was not reached)" in report
    assert Result("bank", [], {}, 1.0).report() == Result("bank", [], {}, 1.0).table()


def test_places_where_messages_are_no_turns_are_bytes_where_turns_end():
    said = [(b"GET /chat HTTP/1.1\r\n", 60), (b"HTTP/1.1 101 Switching", 40), (b"\x81", 6), (b"\x81", 1)]
    turns = [
        Turn("server" if number % 2 else "client", 0.1, count, begins, 0.2, number + 1)
        for number, (begins, count) in enumerate(said)
    ]
    facts = {"number": 2, "point": "response", "stream": None, "request": None, "tls": None, "started_seconds": 0.0}
    facts |= {"pieces": None, "ended_seconds": None}
    places = [*places_of(0, [SimpleNamespace(turns=turns, **facts)], 9.0, 0.02)]

    assert [(place.kind, place.count) for place in places] == [
        *[("request bytes", count) for count in (0, 60, 66)],
        *[("response bytes", count) for count in (0, 20, 40, 41)],
        ("idle", 2),
    ]
    assert {place.connection for place in places} == {2}


def answered_in(*streams):
    """A connection of HTTP/2 whose streams were answered in this order."""
    head = "000001 01 05 {:08x} 88".format
    asked = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("".join(map(head, sorted(streams))))
    pieces = Piece("client", 0.1, asked), Piece("server", 0.2, bytes.fromhex("".join(map(head, streams))))
    turns = tuple(Turn(each.by, each.at_seconds, len(each.data), each.data[:80], 0.3, 1) for each in pieces)
    return Attempt(1, 1, ok(), "response", 0.0, turns=turns, pieces=pieces)


def test_stream_is_named_by_its_order_in_the_run():
    places = [*places_of(0, [answered_in(1, 3)], 9.0, 30)]
    lost = next(place for place in places if (place.kind, place.order) == ("lost", 1))

    assert str(lost) == "…: arrived, its answer lost (stream 3, connection 1)"
    assert str(as_said(lost, [answered_in(3, 1)])) == "…: arrived, its answer lost (stream 1, connection 1)"
    assert as_said(lost, [answered_in(1)]) is lost  # whose message did not come


def test_messages_that_the_ledger_has_dropped_have_no_break():
    turns = [Turn("client", 0.0, 1, b"x", number=number) for number in [1, 2, 151, 152]]

    assert left_out([SimpleNamespace(turns=turns, pieces=None), SimpleNamespace(turns=[], pieces=None)]) == 150


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self):
        return True


@pytest.fixture
def now(monkeypatch):
    """The time, as a list with one number."""
    time = [0.0]
    monkeypatch.setattr(clock, "now", lambda: time[0])
    return time


def test_bar_of_a_long_sweep_is_shown_on_a_terminal_and_removed(now, monkeypatch):
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    bar = Bar()
    bar.end()
    for now[0], done in ((1.0, 10), (3.0, 20), (3.1, 21), (4.0, 30)):
        bar.show(done, 60, failed=1)
    bar.end()
    lines = screen.getvalue().split("\r")

    assert lines[1:3] == [
        "sweep [######..............] 20/60 runs, 1 failed, 3 s",
        "sweep [##########..........] 30/60 runs, 1 failed, 4 s",
    ]
    assert lines[3:] == [" " * len(lines[1]), ""]


def test_bar_is_shown_where_the_test_run_has_its_terminal_and_nowhere_without_one(now, monkeypatch):
    monkeypatch.setattr(sys, "stderr", dumb := Screen())
    monkeypatch.setenv("TERM", "dumb")
    for terminal, shown in ((None, False), (Screen(), True)):
        monkeypatch.setattr(begun, "terminal", terminal)
        bar = Bar()
        now[0] += 5
        bar.show(20, 60, failed=0)
        assert bool(terminal and terminal.getvalue()) is shown
    assert dumb.getvalue() == ""


def test_sweep_has_a_text_of_its_own():
    assert repr(sweep("127.0.0.1:80")) == "<sweep of 127.0.0.1:80: 0 breaks in 0.0 s, 0 held, 0 failed>"
