"""Sweeps: which runs there are, what each meets, and what is found."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import re
import socket
import threading
import weakref
from pathlib import Path

import httpx
import pytest
from support import PATIENCE_SECONDS, connected, read_until, to_end
from support.tables import each_row
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from faultline import (
    FaultlineWarning,
    ParameterError,
    SweepError,
    bad_cert,
    close,
    half_close,
    latency,
    ok,
    receive_text,
    receive_until,
    refuse,
    relay,
    repeat,
    reset,
    script,
    send,
    send_text,
    sequence,
    serve,
    stall,
    sweep,
    websocket,
)
from faultline._servers.opened import opened

LINE = receive_until(b"\n")
TALK = script(LINE, send(b"one\n"), LINE, send(b"two\n"))
TALK_ON = script(repeat(LINE, send(b"one\n")))
LOST = (OSError, EOFError)
STALLED_SECONDS = 0.3


def ask(client, word):
    """Ask for a line, and return it whole or not at all."""
    client.sendall(word + b"\n")
    line = read_until(client, b"\n")
    if not line.endswith(b"\n"):
        raise EOFError
    return line


def talk(server, words=(b"a", b"b"), timeout=PATIENCE_SECONDS):
    """A client that asks for two lines."""
    with socket.create_connection(server.address, timeout=timeout) as client:
        return [ask(client, word) for word in words]


def idling(server):
    """A client that is silent after a line for as long as its connection lives."""
    with socket.create_connection(server.address, timeout=STALLED_SECONDS) as client:
        ask(client, b"a")
        with contextlib.suppress(TimeoutError):
            client.recv(1)
            raise EOFError


def swept(through, play, expected=LOST, **options):
    """The rows of a sweep: each break, what the client did, and what failed."""
    runs = sweep(through, **options)
    for run in runs:
        with run(expected=expected) as server:
            play(server)
    return rows_of(runs)


def rows_of(runs):
    """The rows of the table without their numbers, each as its cells."""
    lines = [line for line in runs.table().splitlines() if re.match(r"\d+ +", line)]
    return [tuple(re.split(r"  +", line.strip())[1:]) for line in lines]


@pytest.mark.slow
def test_each_place_is_run_with_each_verb_between_two_untouched_runs():
    places = [
        "a: before it arrives (request 1, connection 1)",
        "a: arrived, its answer lost (request 1, connection 1)",
        "a: in the middle of its answer (request 1, connection 1)",
        "a: right after its answer (request 1, connection 1)",
        "b: before it arrives (request 2, connection 1)",
        "b: arrived, its answer lost (request 2, connection 1)",
        "b: in the middle of its answer (request 2, connection 1)",
        "b: right after its answer (request 2, connection 1)",
    ]
    after, last = places[3], places[-1]
    runs = sweep(TALK, verbs=(reset(), close(), stall()), idle_seconds=30)
    for run in runs:
        with run(expected=LOST) as server:
            talk(server, timeout=STALLED_SECONDS if "stall" in repr(run) else PATIENCE_SECONDS)
    rows = rows_of(runs)
    errors = {"reset()": "raised ConnectionResetError", "close()": "raised EOFError", "stall()": "raised TimeoutError"}
    struck = [
        (f"{verb} at {place}", "returned" if place == last else error)
        for place in places
        for verb, error in errors.items()
        if (verb, place) != ("stall()", after)  # the same as the stall before the next request
    ]

    assert rows[0] == rows[-1] == ("untouched", "returned")
    told = [(name, did.replace("BrokenPipe", "ConnectionReset")) for name, did in rows[1:-1]]  # of the next request
    assert told == struck


@pytest.mark.slow
@pytest.mark.measured
def test_connection_breaks_while_it_is_idle_after_an_answer():
    rows = swept(TALK_ON, idling, verbs=[reset()], idle_seconds=0.01)

    assert rows[5] == ("reset() at a: idle after its answer (request 1, connection 1)", "raised ConnectionResetError")


def test_break_of_an_idle_connection_lets_a_number_of_requests_pass_first():
    idle = reset(at="idle", after_seconds=0.001, after_requests=2)
    with serve(TALK_ON, strict=False) as real, relay(real, idle) as server, connected(server) as client:
        for word in (b"a", b"b"):
            ask(client, word)
        assert to_end(client) == (b"", "RST")


def test_server_that_speaks_first_has_a_greeting():
    greets = script(send(b"220 hello\r\n"), LINE, send(b"bye\n"))

    def play(server):
        with socket.create_connection(server.address, timeout=PATIENCE_SECONDS) as client:
            assert read_until(client, b"\n")
            ask(client, b"quit")

    assert [row[0] for row in swept(greets, play, verbs=[reset()], idle_seconds=30)][1:5] == [
        "reset() at 220 hello: before it (greeting, connection 1)",
        "reset() at 220 hello: in the middle of it (greeting, connection 1)",
        "reset() at 220 hello: right after it (greeting, connection 1)",
        "reset() at quit: before it arrives (request 1, connection 1)",
    ]


def test_breaks_at_bytes_count_each_direction_by_a_stride():
    rows = swept(TALK, talk, verbs=[close()], after_bytes=3)

    assert [row[:2] for row in rows[1:-1]] == [
        ("close() after 0 bytes of the client (connection 1)", "raised EOFError"),
        ("close() after 3 bytes of the client (connection 1)", "raised EOFError"),
        ("close() after 0 bytes of the server (connection 1)", "raised EOFError"),
        ("close() after 3 bytes of the server (connection 1)", "raised EOFError"),
        ("close() after 6 bytes of the server (connection 1)", "raised EOFError"),
    ]


def retry(server):
    """A client that tries once more on a new connection."""
    with contextlib.suppress(*LOST):
        return talk(server, (b"a",))
    return talk(server, (b"a",))


@pytest.mark.slow
@pytest.mark.measured
def test_pairs_break_the_recovery_from_the_first_break():
    rows = swept(script(LINE, send(b"1\n")), retry, verbs=[reset()], depth=2, idle_seconds=30)
    pairs = [row for row in rows if ", then " in row[0]]

    place = "reset() at a: before it arrives (request 1, connection {})".format
    assert pairs[0] == (f"{place(1)}, then {place(2)}", "raised ConnectionResetError")
    assert len(pairs) == 3 * 4  # after the answer there is nothing to recover from
    assert [row for row in rows if ", then " not in row[0] and row[1] != "returned"] == []


def test_several_relays_are_swept_each_in_its_place():
    def play(servers):
        first, second = servers
        talk(first, (b"a",))
        talk(second, (b"b",))

    with serve(TALK, strict=False) as real:
        rows = swept([TALK, lambda plan: relay(real, plan)], play, verbs=[reset()], idle_seconds=30)

    assert [row[0] for row in rows if "its answer lost" in row[0]] == [
        "reset() at a: arrived, its answer lost (request 1, connection 1)",
        "reset() at b: arrived, its answer lost (request 1, connection 1, relay 2)",
    ]


class Till:
    """A server that counts how often it was asked, and a client that asks again after a failure."""

    def __init__(self):
        self.server = serve(ok(b"paid"), strict=False)
        self.url, self.before = self.server.hostport, 0

    def paid(self):
        return sum(attempt.request is not None for attempt in self.server.attempts)

    def paid_anew(self):
        """How often it was paid since this was asked last."""
        before, self.before = self.before, self.paid()
        return self.before - before

    def pay(self, server, tries=2):
        for left in reversed(range(tries)):
            try:
                with socket.create_connection(server.address, timeout=PATIENCE_SECONDS) as client:
                    client.sendall(b"POST /pay HTTP/1.1\r\nHost: till\r\nContent-Length: 0\r\n\r\n")
                    if not read_until(client, b"paid"):
                        raise EOFError
                    return
            except LOST:
                if not left:
                    raise


@pytest.fixture
def till():
    till = Till()
    yield till
    till.server.close()


def test_every_failure_is_told_with_the_table_the_worst_and_the_test_that_reproduces_it(till):
    with pytest.raises(SweepError) as raised:
        for run in sweep(till.url, verbs=[reset()], idle_seconds=30):
            before = till.paid()
            with run(expected=LOST) as server:
                till.pay(server)
            with run.checks():
                assert till.paid() - before <= 1, "paid twice"
    report = str(raised.value)

    assert re.match(r"sweep of [\d.:]+: 4 breaks in [\d.]+ s, 2 held, 2 failed\n", report)
    silent = "no connection was silent after an answer for idle_seconds=30, so that none breaks while idle"
    assert silent in report
    failed = re.findall(r"(?m)^(\d+) .*AssertionError: paid twice$", report)
    assert failed == ["2", "3"]
    assert (
        "The worst, run 2: reset() at POST /pay HTTP/1.1: arrived, its answer lost (request 1, connection 1)" in report
    )
    assert "RST: struck at 'response'" in report
    assert "Run 2 alone:" in report


def test_failure_that_leaves_the_loop_is_told_by_the_context_manager(till):
    with pytest.raises(AssertionError) as raised, sweep(till.url, verbs=[reset()], idle_seconds=30) as runs:
        for run in runs:
            before = till.paid()
            with run(expected=LOST) as server:
                till.pay(server)
            assert till.paid() - before <= 1
    report = runs.report()

    assert "the loop was left in run 2: 2 breaks not run" in report
    assert "Run 2 alone:" in report
    [note] = getattr(raised.value, "__notes__", [report])
    assert note.partition("\n")[2] == report.partition("\n")[2]  # the first line has the time
    assert list(runs) == []


@pytest.mark.slow
def test_pairs_may_be_of_two_relays():
    def play(servers):
        with contextlib.suppress(*LOST):
            talk(servers[0], (b"a",))
        talk(servers[1], (b"b",))

    rows = swept([TALK, TALK], play, verbs=[close()], depth=2, idle_seconds=30)
    pairs = [row[0].partition(", then ")[::2] for row in rows if ", then " in row[0]]

    assert len(pairs) == 4 * 4
    assert {first.endswith("(request 1, connection 1)") for first, _ in pairs} == {True}
    assert {second.endswith("(request 1, connection 1, relay 2)") for _, second in pairs} == {True}


@pytest.mark.asyncio
async def test_asynchronous_client_is_swept_by_the_same_with():
    async def talk_async(server):
        reader, writer = await asyncio.open_connection(*server.address)
        with contextlib.closing(writer):
            writer.write(b"a\n")
            if not (await reader.readline()).endswith(b"\n"):
                raise EOFError

    runs = sweep(TALK, verbs=[close()], idle_seconds=30)
    for run in runs:
        with run(expected=LOST) as server:
            await talk_async(server)

    assert [row[1] for row in rows_of(runs)] == ["returned", *["raised EOFError"] * 3, "returned", "returned"]


def test_loop_that_is_left_outside_of_a_run_is_told_too():
    with pytest.raises(ZeroDivisionError), sweep(TALK) as runs:
        raise ZeroDivisionError
    assert runs.table().startswith("sweep of script(")
    with pytest.raises(ZeroDivisionError), sweep(TALK, verbs=[reset()]) as runs:
        for run in runs:
            if run.number:
                raise ZeroDivisionError
            with run() as server:
                talk(server)
    assert rows_of(runs)[1][1:] == ("was not run", "ZeroDivisionError (the break was not reached)")
    with sweep(TALK, verbs=[reset()], max_runs=2) as runs:
        for run in runs:
            with run(expected=LOST) as server:
                talk(server)
            if run.number:
                break
    assert list(runs) == []


@pytest.mark.slow
@pytest.mark.measured
def test_long_conversation_is_swept_up_to_where_the_ledger_has_it_all():
    with serve(TALK_ON, strict=False) as real:
        runs = sweep(real, verbs=[reset()], max_runs=1)
        with pytest.warns(FaultlineWarning, match="max_runs=1"):
            for run in runs:
                with run(expected=LOST) as server:
                    talk(server, [b"a"] * 120)

    assert "140 messages have no break: a ledger keeps the first 100 of a connection" in runs.table()


@pytest.mark.slow
@pytest.mark.measured
def test_text_of_a_reproduction_is_a_test_that_fails_alone(till):
    with pytest.raises(SweepError) as raised:
        for run in sweep(till.url, verbs=[reset()], idle_seconds=30):
            before = till.paid()
            with run(expected=LOST) as server:
                till.pay(server)
            with run.checks():
                assert till.paid() - before <= 1, "paid twice"
    (text,) = re.findall(r"(?s)Run 2 alone:\n\n(.*?)\n\nRun 3", str(raised.value))
    namespace = {"LOST": LOST}
    exec("\n".join(line.removeprefix("    ") for line in text.splitlines()), namespace)

    with pytest.raises(SweepError, match="1 failed"):
        namespace["test_text_of_a_reproduction_is_a_test_that_fails_alone_alone"](till)


def test_reproduction_of_a_plain_loop_is_a_relay_in_four_lines_that_fail_alone(till):
    with pytest.raises(AssertionError), sweep(till.url, verbs=[reset()], idle_seconds=30) as runs:
        for run in runs:
            with run(expected=LOST) as server:
                till.pay(server)
            assert till.paid_anew() <= 1
    text = runs.report().partition("Run 2 alone:\n\n")[2]
    lines = [line.removeprefix("    ") for line in text.splitlines()]
    namespace = {"LOST": LOST}
    exec("\n".join(lines), namespace)
    reproduce = namespace["test_reproduction_of_a_plain_loop_is_a_relay_in_four_lines_that_fail_alone_alone"]

    assert len([line for line in lines if line and not line.startswith("import ")]) == 4
    with pytest.raises(AssertionError, match=r"^$"):  # whose code is not pytest's
        reproduce(till)


@pytest.mark.slow
@pytest.mark.measured
def test_exception_that_is_not_expected_and_one_in_the_checks_fail_their_runs():
    runs = sweep(TALK, verbs=[close()], idle_seconds=30)
    with pytest.raises(SweepError):
        for run in runs:
            with run(expected=OSError) as server:  # but a client gets EOFError
                talk(server, (b"a",))
                run.returned = "one"
            with run.checks():
                assert run.number < 4
            with run.checks():
                assert run.number < 3

    rows = [row[1:] for row in rows_of(runs)]
    assert rows[:3] == [("returned 'one'",), *[("raised EOFError", "EOFError")] * 2]
    assert rows[3] == ("raised EOFError", "assert 3 < 3")  # in the words of pytest
    assert rows[4] == ("returned 'one'", "assert 4 < 4")  # the first that failed


class GroupError(Exception):
    """A group of exceptions, as Python has them from 3.11 on."""

    def __init__(self, *exceptions):
        super().__init__("some")
        self.exceptions = exceptions


@each_row(
    ("error", "expected", "is_held"),
    [
        (GroupError(ConnectionResetError(), GroupError(EOFError())), LOST, True),
        (GroupError(ConnectionResetError(), ValueError()), LOST, False),
        (GroupError(), LOST, False),
        (ValueError(), LOST, False),
        (ValueError(), ValueError, True),
    ],
)
@pytest.mark.slow
@pytest.mark.measured
def test_group_is_expected_if_all_in_it_are(error, expected, is_held):
    runs = sweep(TALK, only=reset(after_messages=0))
    with contextlib.nullcontext() if is_held else pytest.raises(SweepError, match="1 failed"):
        for run in runs:
            with run(expected=expected) as server:
                with contextlib.suppress(*LOST):
                    talk(server)
                raise error


def test_failures_of_pytest_fail_their_runs_and_its_time_limit_ends_the_sweep():
    runs = sweep(TALK, verbs=[close()], idle_seconds=30)
    with pytest.raises(pytest.fail.Exception, match="from pytest-timeout"):
        for run in runs:
            with run(expected=LOST) as server:
                if run.number == 1:
                    pytest.fail("in the run")
                talk(server)
            with run.checks():
                if run.number == 2:
                    with pytest.raises(OSError, match="never"):
                        pass
            with run.checks():
                if run.number == 3:
                    pytest.fail("Timeout (>5.0s) from pytest-timeout.")

    failed = [row[-1] for row in rows_of(runs)[1:3]]
    assert failed[0] == "Failed: in the run (the break was not reached)"
    assert failed[1].startswith("Failed: DID NOT RAISE")


def test_first_run_tells_what_is_wrong_without_a_break():
    with pytest.raises(ZeroDivisionError):
        for run in sweep(TALK):
            with run(expected=ZeroDivisionError):
                raise ZeroDivisionError
    with pytest.raises(AssertionError, match="wrong"):
        for run in sweep(TALK):
            with run():
                pass
            with run.checks():
                raise AssertionError("wrong")


@pytest.mark.slow
@pytest.mark.measured
def test_run_that_hangs_is_reset_and_told():
    runs = sweep(TALK, verbs=[stall()], run_seconds=0.3, max_runs=1)
    with pytest.raises(SweepError, match="hung until its connections were reset"):
        for run in runs:
            with run() as server:
                talk(server, timeout=None)
    with pytest.raises(SweepError, match=r"the untouched run hung for run_seconds=0\.05"):
        for run in sweep(script(LINE, receive_until(b"never")), run_seconds=0.05):
            with run() as server:
                talk(server, timeout=None)


@each_row(
    ("options", "cut"),
    [
        ({"max_runs": 2}, r"cut by max_runs=2: \d+ breaks not run; give a larger max_runs"),
        ({"max_seconds": 0}, r"cut by max_seconds=0: \d+ breaks not run"),
        ({"max_runs": 2, "depth": 2}, r"\d+ breaks and the pairs that follow from them not run"),
    ],
)
def test_bound_is_said_when_it_cuts(options, cut):
    runs = sweep(TALK, verbs=[reset()], **options)
    is_cut_at_once = "max_seconds" in options
    with pytest.raises(SweepError) if is_cut_at_once else pytest.warns(FaultlineWarning, match=cut):
        for run in runs:
            with run(expected=LOST) as server:
                talk(server)

    assert re.search(cut, runs.table())


def test_sweep_in_which_nothing_breaks_proves_nothing():
    with pytest.raises(SweepError, match="nobody said anything through a relay"):
        for run in sweep(TALK):
            with run():
                pass
    with pytest.raises(SweepError, match="the break of the plan was not reached"):
        for run in sweep(TALK, only=reset(after_messages=9)):
            with run() as server:
                talk(server)


def test_conversation_that_differs_from_run_to_run_is_swept_as_far_as_it_comes():
    words = iter([[b"a"]] * 3 + [[b"a", b"b"]] * 99)
    runs = sweep(TALK, verbs=[reset()], idle_seconds=30)
    for run in runs:
        with run(expected=LOST) as server:
            talk(server, next(words))
    names = [row[0] for row in rows_of(runs)]

    assert names.count("untouched") == 3
    assert len([name for name in names if name.startswith("reset() at b: arrived")]) == 1


def test_breaks_in_an_answer_stay_there_while_answers_have_another_length_in_each_run():
    lengths = (8, 90, 7, 30, 8, 12, 60, 5, 40, 9)
    first = [script(LINE, send(b"1" * (each - 1) + b"\n"), LINE, send(b"second\n")) for each in lengths]
    got = []

    def play(server):
        got.append([])
        with socket.create_connection(server.address, timeout=PATIENCE_SECONDS) as client, contextlib.suppress(*LOST):
            for word in (b"a\n", b"b\n"):
                client.sendall(word)
                got[-1].append(len(read_until(client, b"\n")))

    with serve(sequence(*first), strict=False) as real:
        rows = swept(real, play, verbs=[close()], idle_seconds=30)

    assert [row for row in rows if "not reached" in str(row)] == []
    assert [lines for lines, row in zip(got, rows, strict=True) if " at " in row[0]] == [
        *[[0, 0], [0, 0], [4, 0], [8, 0]],
        *[[12, 0], [60, 0], [5, 3], [40, 7]],
    ]


@pytest.mark.slow
@pytest.mark.measured
def test_websocket_is_swept_by_its_messages():
    got = []

    def play(server):
        got.append([])
        with contextlib.suppress(WebSocketException), connect(server.ws_url, proxy=None, compression=None) as client:
            for word in ("ask", "", "again"):
                if word:
                    client.send(word)
                got[-1].append(client.recv())

    pushes = websocket(receive_text(), send_text("one"), send_text("two"), receive_text(), send_text("three"))
    with serve(pushes, strict=False) as real:
        rows = swept(real, play, verbs=[close()], idle_seconds=30)

    place = "close() at text {}: {} (message {} of the {}, connection 1)".format
    told = {row[0]: len(lines) for row, lines in zip(rows, got, strict=True) if " at text " in row[0]}
    assert told == {
        place("'ask'", "before it arrives", 1, "client"): 0,
        place("'again'", "before it arrives", 2, "client"): 2,
        **{
            place(repr(said), where, order, "server"): order if where.startswith("right") else order - 1
            for order, said in enumerate(["one", "two", "three"], 1)
            for where in ("before it", "in the middle of it", "right after it")
        },
    }
    head = int(re.search(r"after (\d+) bytes", rows[4][0])[1])  # of the answer to the handshake: wsproto writes it
    assert [row[0] for row in rows[1:5]] == [
        f"close() after {count} bytes of the {who} (connection 1)"
        for who, count in (("client", 0), ("server", 0), ("server", head // 2), ("server", head))
    ]
    assert [row for row in rows if "not reached" in str(row)] == []


@pytest.mark.slow
@pytest.mark.measured
def test_frames_that_are_too_many_or_too_large_have_no_break_and_are_told():
    def play(server):
        with connect(server.ws_url, proxy=None, compression=None) as client:
            for _ in range(103):
                client.send("x")
            for _ in range(104):
                client.recv()

    pushes = websocket(*[receive_text()] * 103, *[send_text("y")] * 103, send_text("z" * 1_048_576))
    with serve(pushes, strict=False) as real:
        runs = sweep(real, verbs=[reset()], max_runs=1, idle_seconds=30)
        with pytest.warns(FaultlineWarning, match="max_runs=1"):
            for run in runs:
                with run(expected=(*LOST, WebSocketException)) as server:
                    play(server)

    assert "6 messages have no break: a ledger keeps the first 100 of a connection" in runs.table()
    assert re.search(r"\d+ bytes in frames have no break: a sweep keeps the first MiB of a relay", runs.table())


@pytest.mark.slow
@pytest.mark.measured
def test_http2_is_swept_by_its_streams():
    got = []

    def play(server):
        got.append([])
        with httpx.Client(http2=True, http1=False, base_url=server.url, trust_env=False) as client:
            for path in ("/a", "/b"):
                got[-1].append(client.post(path, content=b"abcd").text)

    with serve(ok(b"hello"), http2=True) as real:
        rows = swept(real, play, verbs=[close()], idle_seconds=30, expected=httpx.TransportError)

    assert [(row[0], len(lines)) for row, lines in zip(rows, got, strict=True) if " at POST " in row[0]] == [
        (f"close() at POST /{path}: {where} (stream {stream}, connection 1)", answers + where.startswith("right"))
        for path, stream, answers in (("a", 1, 0), ("b", 3, 1))
        for where in (
            "before it arrives",
            "arrived, its answer lost",
            "in the middle of its answer",
            "right after its answer",
        )
    ]


def test_break_is_named_by_what_was_said_there():
    words = iter([b"first", b"one", b"two", b"three", b"last", b"last"])
    runs = sweep(TALK, verbs=[close()], idle_seconds=30)
    for run in runs:
        with run(expected=LOST) as server:
            talk(server, (next(words),))

    assert [row[0].partition(":")[0] for row in rows_of(runs)] == [
        "untouched",
        *(f"close() at {word}" for word in ("one", "two", "three", "last")),
        "untouched",
    ]


@pytest.mark.slow
@pytest.mark.measured
def test_conversation_that_is_always_new_is_not_swept_for_ever():
    runs = sweep(TALK, verbs=[reset()], idle_seconds=30)
    numbers = iter(range(1, 9))
    for run in runs:
        with run(expected=LOST) as server:
            for _ in range(next(numbers)) if run.is_untouched else ():
                talk(server, (b"a",))
            talk(server, (b"a",))

    assert "the untouched run still has new places after 4 runs; they are not swept" in runs.table()


def test_body_without_its_run_is_an_error():
    with pytest.raises(SweepError, match=r"expected `with run\(expected=…\) as relay:` in the body of the loop"):
        for _ in sweep(TALK):
            pass
    for run in sweep(TALK):
        with run() as server:
            talk(server)
        with pytest.raises(SweepError, match="this is the second"), run():
            pass
        assert repr(run) == "<SweepRun 0: untouched>"
        break


@each_row(
    ("make", "message"),
    [
        (lambda: sweep(TALK, verbs=[reset]), r"verbs=reset: expected breaks .*; write reset\(\)\."),
        (lambda: sweep(TALK, verbs=[bad_cert("expired")]), "verbs=.*: expected breaks of an open connection"),
        (lambda: sweep(TALK, verbs=[refuse()]), "verbs=.*: expected breaks of an open connection"),
        (lambda: sweep(TALK, verbs=[reset() & latency(0.1)]), "verbs=.*: expected breaks of an open connection"),
        (lambda: sweep(TALK, verbs=[reset(after_bytes=3)]), "expected verbs without after_bytes"),
        (lambda: sweep(TALK, verbs=[]), r"verbs=\[\]: expected at least one"),
        (lambda: sweep(TALK, verbs=reset()), r"verbs=reset\(\): expected several breaks, such as \(reset\(\)"),
        (lambda: sweep(TALK, verbs="reset"), "verbs='reset': expected several breaks"),
        (lambda: sweep(TALK, run_seconds=0), "run_seconds=0: expected more than 0"),
        (lambda: sweep(TALK, only="reset()"), r"only='reset\(\)': expected a fault such as"),
        (lambda: sweep(TALK, only=[]), r"only=\[\]: expected a plan for each relay, 1 in all"),
        (
            lambda: sweep(TALK, only=reset(), verbs=[stall()]),
            r"only=reset\(\): expected no verbs, depth or after_bytes",
        ),
        (lambda: sweep(TALK, only=reset(), depth=2), "expected no verbs, depth or after_bytes beside it"),
        (lambda: sweep(TALK, only=reset(), after_bytes=1), "expected no verbs, depth or after_bytes beside it"),
        (lambda: sweep(TALK, depth=0), "depth=0"),
        (lambda: sweep(TALK, after_bytes=0), "after_bytes=0"),
        (lambda: sweep([TALK, TALK], only=reset()), "a plan for each relay, 2 in all"),
        (lambda: sweep(TALK, idle_seconds=0), "idle_seconds=0: expected more than 0"),
        (lambda: sweep([]), "at least one upstream"),
        (lambda: sweep("example.com:80"), "expected a server on this machine"),
        (lambda: sweep(5), "upstream=5"),
        (lambda: next(sweep(TALK))(expected=5), "expected=5: expected an exception class, or a tuple of them"),
        (lambda: next(sweep(lambda _: None))().__enter__(), "a function that starts the relay, such as lambda plan"),
    ],
)
def test_values_that_mean_nothing_are_refused(make, message):
    with pytest.raises(ParameterError, match=message):
        make()


@each_row("leave", [KeyboardInterrupt, ZeroDivisionError, None])
@pytest.mark.slow
@pytest.mark.everywhere
def test_interrupted_sweep_leaves_no_server_no_thread_and_no_socket(leave):
    swept(TALK, talk, verbs=[reset()])  # so that there is all that is made once
    gc.collect()
    threads, files, number = {*threading.enumerate()}, len([*Path("/proc/self/fd").iterdir()]), opened.next_number()
    kept = []
    with contextlib.suppress(KeyboardInterrupt, ZeroDivisionError):
        for run in sweep(TALK, verbs=[reset()], run_seconds=60):
            if run.number == 2 and leave is None:
                break
            with run(expected=LOST) as server:
                kept.append(weakref.ref(server))
                talk(server)
            if run.number == 2:
                raise leave
    if leave is KeyboardInterrupt:
        runs = sweep(TALK, verbs=[reset()])
        with pytest.raises(KeyboardInterrupt):
            for run in runs:
                with run(expected=LOST) as server, socket.create_connection(server.address):
                    raise KeyboardInterrupt
    del run, server
    gc.collect()

    assert opened.after(number) == []
    assert {*threading.enumerate()} - threads == set()
    assert len([*Path("/proc/self/fd").iterdir()]) <= files
    assert [ref() for ref in kept if ref() is not None] == []


def test_server_that_a_function_starts_is_closed_and_not_guarded():
    servers = []

    def start(plan):
        servers.append(relay(real, plan))
        return servers[-1]

    with serve(TALK, strict=False) as real:
        swept(start, talk, verbs=[half_close()], idle_seconds=30)
    for server in servers:
        server.check_struck()

    assert [server for server in servers if server.is_open] == []


@each_row(
    ("is_fresh", "message"),
    [(True, "through=.*: expected a function whose relay has the plan"), (False, "a function that starts the relay")],
)
def test_function_has_to_start_a_relay_with_its_plan(is_fresh, message):
    with serve(TALK, strict=False) as real:
        one = relay(real)
        runs = sweep(lambda _: relay(real) if is_fresh else one, verbs=[reset()])
        with pytest.raises(ParameterError, match=message):
            for run in runs:
                with run() as server:
                    talk(server)

    assert len(rows_of(runs)) == 2


def test_fixture_and_package_have_the_same_sweep(faultline):
    assert faultline.sweep is sweep


def test_plan_behind_a_relay_that_can_not_start_is_closed():
    number = opened.next_number()
    with pytest.raises(ParameterError, match="in a relay the upstream answers"):
        for run in sweep(TALK, only=TALK):
            with run():
                pass

    assert opened.after(number) == []
