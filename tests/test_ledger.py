"""The ledger: what was written is what readers get, frozen, in order, and by whoever waits for it."""

from __future__ import annotations

import dataclasses
import json
import threading

import pytest
from support.tables import each_row

from faultline import blackhole, latency, ok, reset
from faultline._core.attempts import Attempt, Entry, Request
from faultline._core.ends import End
from faultline._core.errors import WaitError
from faultline._core.ledger import Ledger
from faultline._core.milestones import MILESTONES
from faultline._core.plan import stamped
from faultline._core.points import POINTS
from faultline._core.promises import BREAK, Key, Origin, Strike
from faultline._core.tls_facts import TlsFacts
from faultline._core.turns import FIRST_TURNS, LAST_TURNS, PAUSES, TURN_BYTES, TURNS, Pause, Turn


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
    assert set(dataclasses.asdict(entry.frozen())) <= set(dir(entry))


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


@each_row("room_bytes", [0, 3, 5])
def test_body_is_kept_as_far_as_there_is_room(room_bytes):
    ledger = Ledger(room_bytes=room_bytes)
    entry = ledger.begin(1, ok(), "accept")
    ledger.keep(entry, Request(body=b"hello", body_bytes=5))

    assert ledger.attempts[0].request == Request(body=b"hello"[:room_bytes], body_bytes=5)
    assert ledger.room_bytes == 0


# --- turns -----------------------------------------------------------------------------------------------


def said_by(*turns, times=None):
    """An entry in which these bytes were said, one each hundredth of a second, or at these times."""
    moments = iter([0.0, *(times or [number / 100 for number in range(1, 5000)])])
    entry = Entry(1, 1, ok(), "accept", lambda: next(moments))
    for by, data in turns:
        entry.says(by, data)
    return entry


def said_in(entry):
    return [(turn.number, turn.by, turn.count_bytes, turn.begins) for turn in entry.turns]


def test_bytes_are_counted_for_who_said_them():
    entry = said_by(("client", b"GET"), ("server", b"200 OK"), ("client", b"bye"))

    assert (entry.received_bytes, entry.sent_bytes) == (6, 6)


def test_turn_lasts_until_the_other_side_speaks():
    entry = said_by(("client", b"GE"), ("client", b"T"), ("server", memoryview(b"200")), ("client", b"bye"))

    assert entry.turns == (
        Turn("client", 0.01, 3, b"GET", 0.02, 1),
        Turn("server", 0.03, 3, b"200", 0.03, 2),
        Turn("client", 0.04, 3, b"bye", 0.04, 3),
    )


def test_silence_is_no_turn():
    assert said_by(("client", b""), ("server", b"")).turns == ()


def test_turn_keeps_how_it_begins_and_counts_the_rest():
    entry = said_by(("client", b"a" * 50), ("client", b"b" * 50), ("client", b"d"), ("server", b"c" * 100))

    assert said_in(entry) == [
        (1, "client", 101, b"a" * 50 + b"b" * (TURN_BYTES - 50)),
        (2, "server", 100, b"c" * TURN_BYTES),
    ]


def test_pauses_of_a_turn_are_known_with_their_place_their_time_and_their_length():
    entry = said_by(*[("server", b"abc")] * 4, ("client", b"x"), times=[1.0, 1.5, 1.53125, 3.53125, 9.0])

    assert [turn.pauses for turn in entry.turns] == [(Pause(3, 1.0, 0.5), Pause(9, 1.53125, 2.0)), ()]


def test_pauses_are_kept_up_to_their_limit():
    entry = said_by(*[("server", b"x")] * 100, times=range(100))

    assert [pause.at_seconds for pause in entry.turns[0].pauses] == [*range(PAUSES)]


def test_turns_are_kept_up_to_their_limit_and_bytes_counted_beyond():
    entry = said_by(*[("client", b"x"), ("server", b"y")] * TURNS)

    assert len(entry.turns) == FIRST_TURNS + LAST_TURNS
    assert (entry.received_bytes, entry.sent_bytes) == (TURNS, TURNS)


def test_turns_of_a_long_conversation_are_the_first_those_before_the_strike_and_the_last():
    entry = said_by(*[("client", b"x"), ("server", b"y")] * 300)
    entry.struck_by(BREAK, "response", 300)
    entry.struck_by(BREAK, "response", 300)
    for _ in range(300):
        entry.says("client", b"x")
        entry.says("server", b"y")
    numbers = [turn.number for turn in entry.turns]

    assert numbers == [*range(1, 101), *range(551, 600), *range(1151, 1201)]
    assert len(numbers) <= TURNS


@each_row("count", [0, 1, FIRST_TURNS])
def test_strike_early_in_a_conversation_keeps_every_turn(count):
    entry = said_by(*[("client", b"x"), ("server", b"y")] * (count // 2), *[("client", b"x")] * (count % 2))
    entry.struck_by(BREAK, "response", 0)

    assert [turn.number for turn in entry.turns] == [*range(1, count + 1)]


@each_row(
    ("turns", "taken", "left"),
    [
        ([("server", b"ok"), ("client", b"XY")], 1, [(1, "server", 2, b"ok"), (2, "client", 1, b"X")]),
        ([("server", b"ok"), ("client", b"XY")], 2, [(1, "server", 2, b"ok")]),
        ([("client", b"XYZ"), ("server", b"ok")], 2, [(1, "client", 1, b"X"), (2, "server", 2, b"ok")]),
        (
            [("client", b"XYZ"), ("server", b"o"), ("client", b"ab")],
            3,
            [(1, "client", 2, b"XY"), (2, "server", 1, b"o")],
        ),
        (
            [("client", b"X"), ("server", b"o"), ("client", b"ab"), ("server", b"k")],
            2,
            [(1, "client", 1, b"X"), (2, "server", 2, b"ok")],
        ),
        ([("client", b"X"), ("server", b"ok")], 0, [(1, "client", 1, b"X"), (2, "server", 2, b"ok")]),
        ([], 0, []),
    ],
)
def test_what_belongs_to_the_next_attempt_is_taken_back(turns, taken, left):
    entry = said_by(*turns)
    received = entry.received_bytes
    entry.take_back(bytes(taken))

    assert said_in(entry) == left
    assert entry.received_bytes == received - taken


def test_turn_that_was_joined_has_the_pauses_of_its_parts():
    turns = [("client", b"X"), ("server", b"o"), ("client", b"ab"), ("server", b"k"), ("server", b"!")]
    entry = said_by(*turns, times=[1.0, 2.0, 3.0, 4.0, 5.0])
    entry.take_back(b"ab")

    assert entry.turns[1] == Turn("server", 2.0, 3, b"ok!", 5.0, 2, (Pause(1, 2.0, 2.0), Pause(2, 4.0, 1.0)))


@each_row(
    ("taken", "left"),
    [
        (b"c", Turn("client", 1.0, 2, b"ab", 2.0, 1, (Pause(1, 1.0, 1.0),))),
        (b"bc", Turn("client", 1.0, 1, b"a", 1.0, 1)),
    ],
)
def test_turn_of_which_bytes_are_taken_back_ends_with_those_that_are_left(taken, left):
    entry = said_by(("client", b"a"), ("client", b"b"), ("client", b"c"), times=[1.0, 2.0, 3.0])
    entry.take_back(taken)

    assert entry.turns == (left,)


def test_bytes_are_taken_back_from_a_long_conversation_too():
    entry = said_by(*[("client", b"x"), ("server", b"y")] * TURNS, ("client", b"ab"))
    entry.take_back(b"ab")
    entry.says("server", b"c")
    entry.says("client", b"d")

    assert said_in(entry)[-2:] == [(2 * TURNS, "server", 2, b"yc"), (2 * TURNS + 1, "client", 1, b"d")]


# --- ends ------------------------------------------------------------------------------------------------


def test_each_sign_of_an_end_is_written_once_with_its_time(ledger, entry):
    ledger.sign(entry, "client", "FIN")
    ledger.sign(entry, "server", "alert", "unknown_ca")
    ledger.sign(entry, "client", "FIN")
    ledger.end(entry, "server", "FIN")
    ledger.sign(entry, "client", "RST")
    (attempt,) = ledger.attempts
    times = [end.at_seconds for end in attempt.ends]

    assert [(end.by, str(end)) for end in attempt.ends] == [
        ("client", "FIN"),
        ("server", "alert unknown_ca"),
        ("server", "FIN"),
        ("client", "RST"),
    ]
    assert times == sorted(times)
    assert attempt.started_seconds <= times[0]
    assert attempt.ends[0] == End("client", "FIN", times[0])


def test_strike_that_is_taken_back_leaves_those_of_other_parts(ledger, entry):
    ledger.strike(entry, "request", 3, Key("step", 0))
    ledger.strike(entry, "response", 5, Key("step", 1))
    ledger.take_back_strike(entry, Key("step", 1))

    assert [(s.point, s.part) for s in ledger.attempts[0].strikes] == [("request", Key("step", 0))]
    ledger.take_back_strike(entry, Key("step", 0))
    assert (ledger.attempts[0].strikes, ledger.count("strike")) == ((), 0)


@pytest.mark.parametrize("side", ["client", "server", "upstream"])
def test_end_of_one_direction_can_be_waited_for(ledger, entry, side):
    with pytest.raises(WaitError, match=f"^0 of 1 attempt reached '{side}_end' within 0 s"):
        ledger.wait(1, f"{side}_end", 0.0)
    ledger.sign(entry, side, "FIN")

    assert ledger.wait(1, f"{side}_end", 0.0) is None
    assert ledger.attempts[0].ended_seconds is None


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
        request=Request("POST", "/", (("Host", "t"),), b"caf\xc3\xa9 \xff\\xff", 10),
        strikes=(Strike("response", 3, 1.5),),
        ended_by="client",
        ended_how="FIN",
        waited_seconds=0.5,
        tls=TlsFacts("TLSv1.3", "localhost", "http/1.1", offered=("h2",)),
        turns=(Turn("client", 0.6, 4, b"\x00\xff", 1.2, 1, (Pause(1, 0.6, 0.6),)),),
        note="a phrase",
        ends=(End("client", "FIN", 2.0),),
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
            "body": "caf\xc3\xa9 \xff\\xff",
            "body_bytes": 10,
        },
        "struck": {"part": "break", "point": "response", "after_bytes": 3, "at_seconds": 1.5},
        "strikes": [{"part": "break", "point": "response", "after_bytes": 3, "at_seconds": 1.5}],
        "ended_by": "client",
        "ended_how": "FIN",
        "tls": {
            "version": "TLSv1.3",
            "sni": "localhost",
            "alpn": "http/1.1",
            "alert": "",
            "offered": ["h2"],
            "client": "",
            "server_alert": "",
        },
        "turns": [
            {
                "by": "client",
                "at_seconds": 0.6,
                "count_bytes": 4,
                "begins": "\x00\xff",
                "until_seconds": 1.2,
                "number": 1,
                "pauses": [{"after_bytes": 1, "at_seconds": 0.6, "for_seconds": 0.6}],
            }
        ],
        "ends": [{"by": "client", "how": "FIN", "at_seconds": 2.0, "alert": ""}],
        "stream": None,
        "websocket": None,
        "note": "a phrase",
        "waited_seconds": 0.5,
    }


def test_attempt_without_anything_is_plain_data_too(ledger, entry):
    data = ledger.attempts[0].to_dict()

    assert (data["request"], data["struck"], data["tls"], data["turns"]) == (None, None, None, ())


def test_ledger_is_its_version_and_its_attempts_in_json(ledger, entry):
    ledger.begin(2, ok(b"\xff"), "accept")
    data = json.loads(ledger.to_json())

    assert (data["version"], [row["fault"] for row in data["attempts"]]) == (1, ["reset()", "ok(b'\\xff')"])


def test_every_byte_comes_back_from_json(ledger, entry):
    ledger.keep(entry, Request(body=bytes(range(256))))
    (row,) = json.loads(ledger.to_json())["attempts"]

    assert row["request"]["body"].encode("latin-1") == bytes(range(256))


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
    assert str(raised.value) == f"{reached} of 3 attempts reached {point!r} within 0.01 s; attempts in all: 2."


def test_attempts_that_did_not_come_take_the_whole_timeout(ledger):
    began = ledger.now()
    with pytest.raises(WaitError):
        ledger.wait(1, "accept", 0.05)

    assert ledger.now() - began >= 0.049


# --- its bound, and its cost -----------------------------------------------------------------------------------------


def test_oldest_attempts_that_are_over_are_dropped():
    ledger = Ledger(most_attempts=3)
    entries = [ledger.begin(1, ok(), "accept") for _ in range(3)]
    for entry in entries[1:]:
        ledger.end(entry)
    ledger.begin(2, ok(), "accept")

    assert [attempt.number for attempt in ledger.attempts] == [1, 3, 4]
    assert (ledger.begun, ledger.dropped) == (4, 1)
    assert json.loads(ledger.to_json())["dropped"] == 1


def test_attempts_that_go_on_are_not_dropped():
    ledger = Ledger(most_attempts=3)
    for _ in range(5):
        ledger.begin(1, ok(), "accept")

    assert (len(ledger.attempts), ledger.dropped) == (5, 0)


def test_first_attempt_and_first_strike_of_each_fault_are_kept_for_the_guard():
    ledger = Ledger(most_attempts=2)
    first, second, healthy = (stamped(fault, 0) for fault in (reset(), latency(1), ok()))
    second, healthy = (dataclasses.replace(f, origin=Origin(0, n)) for n, f in enumerate((second, healthy), 1))
    for fault, strikes in [(first, 0), (first, 1), (first, 1), (second, 1), (second, 1), (healthy, 0), (healthy, 0)]:
        entry = ledger.begin(1, fault, "accept")
        if strikes:
            ledger.strike(entry, "response", 0)
        ledger.end(entry)

    assert [attempt.number for attempt in ledger.attempts] == [1, 2, 4, 6, 7]


def test_room_of_a_dropped_body_is_free_again():
    ledger = Ledger(most_attempts=1, room_bytes=5)
    for _ in range(3):
        entry = ledger.begin(1, ok(), "accept")
        ledger.keep(entry, Request(body=b"hello", body_bytes=5))
        ledger.end(entry)

    assert [attempt.request.body for attempt in ledger.attempts] == [b"hello"]


@each_row("at", MILESTONES)
def test_counts_include_attempts_that_were_dropped(at):
    ledger = Ledger(most_attempts=1)
    for _ in range(4):
        entry = ledger.begin(1, ok(), "accept")
        ledger.reach(entry, "idle")
        ledger.strike(entry, "idle", 0)
        for party in ("client", "server", "upstream"):
            ledger.sign(entry, party, "FIN")
        ledger.end(entry, "client", "FIN")

    ledger.wait(4, at, 0)
    assert ledger.count(at) == 4


def test_attempt_that_goes_back_is_counted_where_it_is():
    ledger = Ledger()
    entry = ledger.begin(1, ok(), "response")
    ledger.reach(entry, "accept")

    assert [ledger.count(at) for at in ("accept", "request", "response")] == [1, 0, 0]


def test_attempt_that_has_not_changed_is_not_copied_again():
    ledger = Ledger()
    first, second = ledger.begin(1, ok(), "accept"), ledger.begin(2, ok(), "accept")
    before = ledger.attempts
    second.note = "changed"
    after = ledger.attempts

    assert before[0] is after[0]
    assert (before[1].note, after[1].note) == ("", "changed")
    ledger.end(first)
    assert ledger.attempts[0].ended_seconds is not None
    assert ledger.attempts[1] is after[1]


CHANGES = {
    "says": lambda _, entry: entry.says("client", b"x"),
    "take_back": lambda _, entry: entry.take_back(b"x"),
    "a field": lambda _, entry: setattr(entry, "tls", TlsFacts()),
    "keep": lambda ledger, entry: ledger.keep(entry, Request()),
    "reach": lambda ledger, entry: ledger.reach(entry, "idle"),
    "strike": lambda ledger, entry: ledger.strike(entry, "idle", 0),
    "sign": lambda ledger, entry: ledger.sign(entry, "client", "FIN"),
    "end": lambda ledger, entry: ledger.end(entry),
}


@each_row("name", CHANGES)
def test_every_change_is_in_the_next_copy(name):
    ledger = Ledger()
    entry = ledger.begin(1, ok(), "accept")
    entry.says("client", b"hello x")
    before = ledger.attempts
    CHANGES[name](ledger, entry)

    assert ledger.attempts != before
    assert ledger.attempts == (entry.frozen(),)


def test_wait_that_gave_up_leaves_nothing_behind():
    ledger = Ledger()
    for _ in range(3):
        with pytest.raises(WaitError, match=r"0 of 1 attempt reached 'accept' within 0 s; attempts in all: 0\."):
            ledger.wait(1, "accept", 0)

    assert ledger._milestones._waiting == []


def test_wait_is_woken_only_for_its_milestone():
    ledger, woken = Ledger(), []
    waiting = ledger._milestones.begin(2, "end", lambda: woken.append("end"))
    entries = [ledger.begin(1, ok(), "accept") for _ in range(2)]
    ledger.end(entries[0])
    assert woken == []
    ledger.end(entries[1])

    assert woken == ["end"]
    ledger._milestones.end(waiting)


def test_attempt_that_is_continued_after_it_was_dropped_is_a_new_one():
    ledger = Ledger(most_attempts=1)
    entry = ledger.begin(None, blackhole(for_seconds=1), "connect")
    ledger.end(entry, "server", "silence")
    ledger.begin(1, ok(), "accept")
    assert ledger.begin(2, ok(), "accept", entry) is not entry
    assert [a.number for a in ledger.attempts] == [2, 3]


def test_end_of_an_attempt_is_the_sign_of_a_side_unless_another_has_shown_it(ledger, entry):
    shown = ledger.begin(1, ok(), "connect")
    ledger.end(entry, "server", "silence")
    ledger.end(shown, "server", "FIN", is_sign=False)

    assert [[(end.by, end.how) for end in attempt.ends] for attempt in ledger.attempts] == [[("server", "silence")], []]
