"""The ledger: what was written is what readers get, frozen, in order, and by whoever waits for it."""

from __future__ import annotations

import dataclasses
import json
import threading

import pytest

from faultline import ok, reset
from faultline._core.errors import WaitError
from faultline._core.ledger import TURN_BYTES, TURNS, Attempt, Entry, Ledger, Request, Strike, TlsFacts, Turn
from faultline._core.points import POINTS


@pytest.fixture
def ledger():
    return Ledger()


@pytest.fixture
def entry(ledger):
    return ledger.begin(1, reset(), "accept")


def test_new_attempt_has_its_number_and_nothing_else(ledger):
    ledger.begin(1, reset(), "accept")
    ledger.begin(None, ok(), "connect")
    first, second = ledger.attempts

    assert (first.number, first.connection, first.fault, first.point) == (1, 1, reset(), "accept")
    assert (second.number, second.connection, second.fault, second.point) == (2, None, ok(), "connect")
    assert second == Attempt(2, None, ok(), "connect", second.started_seconds)


def test_attempts_are_frozen_copies(ledger, entry):
    (before,) = ledger.attempts
    ledger.reach(entry, "response")
    entry.says("client", b"hello")

    assert (before.point, before.received_bytes, before.turns) == ("accept", 0, ())
    with pytest.raises(dataclasses.FrozenInstanceError):
        before.point = "idle"


def test_entry_has_every_field_of_an_attempt(entry):
    assert set(dataclasses.asdict(entry.frozen())) <= {name.lstrip("_") for name in vars(entry)}


def test_times_go_on_from_the_beginning_of_the_server(ledger):
    before = ledger.now()
    entry = ledger.begin(1, reset(), "accept")
    ledger.strike(entry, "response", 0)
    ledger.end(entry, "server", "RST")
    (attempt,) = ledger.attempts

    assert 0 <= before <= attempt.started_seconds <= attempt.struck.at_seconds <= attempt.ended_seconds <= ledger.now()


def test_strike_is_written_with_its_point_and_byte(ledger, entry):
    ledger.strike(entry, "response", 10)
    struck = ledger.attempts[0].struck

    assert struck == Strike("response", 10, struck.at_seconds)


def test_end_is_written_once(ledger, entry):
    ledger.end(entry, "server", "RST")
    (before,) = ledger.attempts
    ledger.end(entry, "client", "FIN")

    assert (before.ended_by, before.ended_how) == ("server", "RST")
    assert ledger.attempts == (before,)


def test_end_of_a_kept_attempt_is_nobodys(ledger, entry):
    ledger.end(entry)
    (attempt,) = ledger.attempts

    assert (attempt.ended_by, attempt.ended_how) == (None, None)
    assert attempt.ended_seconds >= attempt.started_seconds


def test_client_that_leaves_after_a_strike_and_got_nothing_since_has_waited(ledger, entry):
    entry.says("server", b"before")
    ledger.strike(entry, "response", 6)
    ledger.end(entry, "client", "FIN")
    (attempt,) = ledger.attempts

    assert attempt.waited_seconds == attempt.ended_seconds - attempt.struck.at_seconds


@pytest.mark.parametrize(
    ("strikes", "says_after", "by"),
    [(False, b"", "client"), (True, b"after", "client"), (True, b"", "server"), (True, b"", None)],
)
def test_client_that_did_not_give_up_has_not_waited(ledger, entry, strikes, says_after, by):
    if strikes:
        ledger.strike(entry, "response", 0)
    entry.says("server", says_after)
    ledger.end(entry, by, "FIN")

    assert ledger.attempts[0].waited_seconds is None


def test_listener_hears_of_each_end_once_and_may_read_the_ledger():
    heard = []
    ledger = Ledger(on_end=lambda attempt: heard.append((attempt, ledger.attempts)))
    entry = ledger.begin(1, ok(), "accept")
    ledger.end(entry, "server", "FIN")
    ledger.end(entry, "server", "FIN")
    (attempt,) = ledger.attempts

    assert heard == [(attempt, (attempt,))]


def test_room_for_bodies_gets_smaller_by_what_is_kept():
    ledger = Ledger(room_bytes=100)
    first, second = (ledger.begin(number, ok(), "accept") for number in (1, 2))
    ledger.keep(first, Request(body=bytes(30), body_bytes=30))
    ledger.keep(second, Request(body=bytes(5), body_bytes=5))
    ledger.keep(first, Request(body=bytes(40), body_bytes=40))

    assert ledger.room_bytes == 55
    assert [len(attempt.request.body) for attempt in ledger.attempts] == [40, 5]


@pytest.mark.parametrize("room_bytes", [0, 3, 5])
def test_body_is_kept_as_far_as_there_is_room(room_bytes):
    ledger = Ledger(room_bytes=room_bytes)
    entry = ledger.begin(1, ok(), "accept")
    ledger.keep(entry, Request(body=b"hello", body_bytes=5))

    assert ledger.attempts[0].request == Request(body=b"hello"[:room_bytes], body_bytes=5)
    assert ledger.room_bytes == 0


# --- turns -----------------------------------------------------------------------------------------------


def said_by(*turns):
    moments = iter(range(1000))
    entry = Entry(1, 1, ok(), "accept", lambda: next(moments))
    for by, data in turns:
        entry.says(by, data)
    return entry


def test_bytes_are_counted_for_who_said_them():
    entry = said_by(("client", b"GET"), ("server", b"200 OK"), ("client", b"bye"))

    assert (entry.received_bytes, entry.sent_bytes) == (6, 6)


def test_turn_lasts_until_the_other_side_speaks():
    entry = said_by(("client", b"GE"), ("client", b"T"), ("server", memoryview(b"200")), ("client", b"bye"))

    assert entry.turns == (Turn("client", 1, 3, b"GET"), Turn("server", 2, 3, b"200"), Turn("client", 3, 3, b"bye"))


def test_silence_is_no_turn():
    assert said_by(("client", b""), ("server", b"")).turns == ()


def test_turn_keeps_how_it_begins_and_counts_the_rest():
    entry = said_by(("client", b"a" * 50), ("client", b"b" * 50), ("server", b"c" * 100))

    assert entry.turns == (
        Turn("client", 1, 100, b"a" * 50 + b"b" * (TURN_BYTES - 50)),
        Turn("server", 2, 100, b"c" * TURN_BYTES),
    )


def test_turns_are_kept_up_to_their_limit_and_bytes_counted_beyond():
    entry = said_by(*[("client", b"x"), ("server", b"y")] * TURNS)

    assert len(entry.turns) == TURNS
    assert (entry.received_bytes, entry.sent_bytes) == (TURNS, TURNS)


@pytest.mark.parametrize(
    ("taken", "left"),
    [(b"Y", (Turn("server", 1, 2, b"ok"), Turn("client", 2, 1, b"X"))), (b"XY", (Turn("server", 1, 2, b"ok"),))],
)
def test_what_belongs_to_the_next_attempt_is_taken_back(taken, left):
    entry = said_by(("server", b"ok"), ("client", b"XY"))
    entry.take_back(taken)

    assert (entry.turns, entry.received_bytes) == (left, 2 - len(taken))


def test_taking_back_leaves_what_the_server_said():
    entry = said_by(("client", b"X"), ("server", b"ok"))
    entry.take_back(b"")

    assert [turn.by for turn in entry.turns] == ["client", "server"]


def test_taking_back_from_who_said_nothing_changes_no_turn():
    entry = said_by()
    entry.take_back(b"")

    assert (entry.turns, entry.received_bytes) == ((), 0)


# --- readers ---------------------------------------------------------------------------------------------


def test_header_is_found_whatever_its_case_and_is_the_first_of_its_name():
    request = Request("GET", "/", (("X-Name", "1"), ("x-name", "2")))

    assert request.header("x-NAME") == "1"
    assert request.header("other") is None
    assert request.header("other", "none") == "none"


def test_attempt_is_plain_data_for_json():
    attempt = Attempt(
        1,
        2,
        reset(after_bytes=3),
        "response",
        0.5,
        ended_seconds=2.0,
        received_bytes=4,
        sent_bytes=3,
        request=Request("POST", "/", (("Host", "t"),), b"caf\xc3\xa9 \xff", 6),
        struck=Strike("response", 3, 1.5),
        ended_by="client",
        ended_how="FIN",
        waited_seconds=0.5,
        tls=TlsFacts("TLSv1.3", "localhost", "http/1.1", offered=("h2",)),
        turns=(Turn("client", 0.6, 4, b"\x00\xff"),),
        note="a phrase",
    )

    assert json.loads(json.dumps(attempt.to_dict())) == {
        "number": 1,
        "connection": 2,
        "fault": "reset(after_bytes=3)",
        "point": "response",
        "started_seconds": 0.5,
        "ended_seconds": 2.0,
        "received_bytes": 4,
        "sent_bytes": 3,
        "request": {
            "method": "POST",
            "target": "/",
            "headers": [["Host", "t"]],
            "body": "caf\xe9 \\xff",
            "body_bytes": 6,
        },
        "struck": {"point": "response", "after_bytes": 3, "at_seconds": 1.5},
        "ended_by": "client",
        "ended_how": "FIN",
        "tls": {
            "version": "TLSv1.3",
            "sni": "localhost",
            "alpn": "http/1.1",
            "alert": "",
            "offered": ["h2"],
            "client": "",
        },
        "turns": [{"by": "client", "at_seconds": 0.6, "count_bytes": 4, "begins": "\x00\\xff"}],
        "note": "a phrase",
        "waited_seconds": 0.5,
    }


def test_attempt_without_anything_is_plain_data_too(ledger, entry):
    data = ledger.attempts[0].to_dict()

    assert (data["request"], data["struck"], data["tls"], data["turns"]) == (None, None, None, ())


def test_ledger_is_a_list_of_its_attempts_in_json(ledger, entry):
    ledger.begin(2, ok(b"\xff"), "accept")

    assert [row["fault"] for row in json.loads(ledger.to_json())] == ["reset()", "ok(b'\\xff')"]


# --- waiting ---------------------------------------------------------------------------------------------


def test_nothing_is_waited_for_when_it_has_happened(ledger, entry):
    ledger.reach(entry, "idle")

    assert [ledger.wait(1, point, 0.0) for point in POINTS] == [None] * len(POINTS)


def test_waiting_for_no_attempt_ends_at_once(ledger):
    assert ledger.wait(0, "accept", 0.0) is None


@pytest.mark.parametrize(
    ("write", "count", "point"),
    [
        (lambda ledger, _: ledger.begin(2, ok(), "accept"), 2, "accept"),
        (lambda ledger, entry: ledger.reach(entry, "response"), 1, "response"),
        (lambda ledger, entry: ledger.reach(entry, "idle"), 1, "response"),
    ],
)
def test_who_waits_wakes_when_it_is_written(ledger, entry, write, count, point):
    woken = []

    def wait():
        ledger.wait(count, point, 10.0)
        woken.append(len(ledger.attempts))

    waiting = threading.Thread(target=wait)
    waiting.start()
    write(ledger, entry)
    waiting.join()

    assert woken == [count]


@pytest.mark.parametrize(("point", "reached"), [("accept", 2), ("request", 1), ("response", 0)])
def test_attempts_that_did_not_come_in_time_are_an_error_that_says_how_many_did(ledger, entry, point, reached):
    ledger.reach(entry, "request")
    ledger.begin(2, ok(), "accept")
    with pytest.raises(WaitError) as raised:
        ledger.wait(3, point, 0.01)

    assert type(raised.value) is WaitError
    assert str(raised.value) == f"{reached} of 3 attempts reached {point!r} within 0.01 s; there were 2 in all."


def test_attempts_that_did_not_come_take_the_whole_timeout(ledger):
    began = ledger.now()
    with pytest.raises(WaitError):
        ledger.wait(1, "accept", 0.05)

    assert ledger.now() - began >= 0.049
