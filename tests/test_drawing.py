"""The ledger as a drawing: what each line says, how wide it is, and which lines there are."""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import unicodedata
from dataclasses import replace

import pytest
from support.tables import each_row

import faultline as package
from faultline import (
    ParameterError,
    bad_cert,
    close,
    half_close,
    inject,
    malformed,
    ok,
    raw,
    receive_request,
    receive_until,
    refuse,
    reset,
    respond,
    script,
    send,
    stall,
    status,
)
from faultline._core import terminal
from faultline._core.attempts import Attempt, Entry, Request
from faultline._core.breaks import Break
from faultline._core.counts import counted
from faultline._core.drawing import MARGIN, WIDTH, Line, arrow, draw, lines_of, named, remarks, title_of
from faultline._core.ends import End
from faultline._core.fault import Fault
from faultline._core.promises import ANSWER, BREAK, CERTIFICATE, Key, Strike
from faultline._core.report import name_of
from faultline._core.steps import Close, HalfClose, Hold, Partition, Reset
from faultline._core.tls_facts import TlsFacts
from faultline._core.turns import Pause, Turn
from faultline._core.upstream import Upstream

STRUCK = Strike("response", 0, 1.5)
GET = Turn("client", 1.1, 40, b"GET / HTTP/1.1\r\nHost: x")
OK = Turn("server", 1.2, 67, b"HTTP/1.1 200 OK\r\n")
OPEN = Attempt(1, 1, reset(), "response", 1.0, received_bytes=40)
ROOM = WIDTH - MARGIN


def over(attempt, *ends):
    """The attempt with these ends, each a side, a sign and a time; the last is that of the attempt."""
    by, how, at_seconds = ends[-1]
    signs = tuple(End(*end) for end in ends)
    return replace(attempt, ended_seconds=at_seconds, ended_by=by, ended_how=how, ends=signs)


STRUCK_OPEN = replace(OPEN, strikes=(STRUCK,))
BROKEN = over(STRUCK_OPEN, ("server", "RST", 1.51))


# --- the lines -----------------------------------------------------------------------------------------------


def inside(text):
    """What the arrows of a drawing say, without their lines."""
    return [line.partition("|")[2].strip("|<>-= ") for line in text.splitlines() if "|" in line]


def told(attempt):
    """The lines of an attempt: their times, the sides where they begin, and their texts."""
    return [(line.at_seconds, line.by, line.text) for line in lines_of(attempt)]


def test_drawing_has_the_client_left_the_server_right_and_the_strike_marked():
    drawn = draw([replace(BROKEN, turns=(GET,), note="a phrase")], "http://127.0.0.1:80 reset()")
    struck = arrow("RST: struck at 'response'", "server", "=")

    assert drawn.splitlines() == [
        "http://127.0.0.1:80 reset()",
        "#1 reset(), connection 1, HTTP/1.1",
        f"     1.000 s |{arrow('connect', 'client')}|",
        f"     1.100 s |{arrow('40 bytes: GET / HTTP/1.1', 'client')}|",
        f"     1.500 s |{struck}|",
        "             a phrase",
    ]


def test_drawing_fits_80_columns_and_its_ends_stand_one_below_the_other():
    wordy = Turn("client", 1.1, 10**9, b"x" * 80)
    lines = draw([replace(BROKEN, turns=(wordy, OK))], "title").splitlines()[2:]

    assert {len(line) for line in lines} == {80}
    assert {(line[13], line[-1]) for line in lines} == {("|", "|")}


def test_drawing_without_attempts_says_so():
    assert draw([], "title") == "title\n  no client connected"


def test_drawing_of_many_attempts_leaves_the_first_ones_out():
    drawn = draw([replace(OPEN, number=number) for number in range(1, 26)], "title", most=2)

    assert drawn.splitlines()[1] == "  (23 attempts left out: #1 to #23)"
    assert [line for line in drawn.splitlines() if line[0] == "#"] == [
        "#24 reset(), connection 1",
        "#25 reset(), connection 1",
    ]


def test_attempt_without_a_connection_names_none():
    refused = Attempt(1, None, refuse(), "connect", 1.0, strikes=(Strike("connect", 0, 1.0),))

    assert draw([refused], "title").splitlines()[1] == "#1 refuse()"


def bytes_drawn(*counts):
    """The lines of turns of so many bytes."""
    return [f"{counted(n, 'byte')}: x" for n in counts]


def long(count, **changes):
    """An attempt of this many turns in alternation, one each hundredth of a second from 1.1 s on."""
    turns = [Turn("server" if n % 2 else "client", 1.1 + n / 100, n + 1, b"x", number=n + 1) for n in range(count)]
    return replace(OPEN, turns=tuple(turns), **changes)


@each_row("count", [1, 5, 12])
def test_every_turn_of_a_short_conversation_is_drawn(count):
    assert inside(draw([long(count)], "title")) == ["connect", *bytes_drawn(*range(1, count + 1))]


def test_first_and_last_turns_of_a_long_conversation_are_drawn_with_the_number_of_the_others():
    drawn = inside(draw([long(40)], "title"))

    assert drawn == [
        "connect",
        *bytes_drawn(1, 2, 3, 4),
        "... 33 more turns ...",
        *bytes_drawn(38, 39, 40),
    ]


def test_turns_around_the_strike_are_drawn_too():
    drawn = inside(draw([long(40, fault=stall(), strikes=(Strike("response", 0, 1.305),))], "title"))

    assert drawn == [
        "connect",
        *bytes_drawn(1, 2, 3, 4),
        "... 14 more turns ...",
        *bytes_drawn(19, 20, 21),
        "silence: struck at 'response'",
        *bytes_drawn(22, 23),
        "... 14 more turns ...",
        *bytes_drawn(38, 39, 40),
    ]


@each_row("at", [1.0, 1.105, 1.495, 9.0])
def test_what_came_before_the_strike_is_drawn_wherever_it_strikes(at):
    attempt = long(40, fault=stall(), strikes=(Strike("response", 0, at),))
    texts = [line.text for line in lines_of(attempt) if not line.text.startswith("...")]
    before = [turn for turn in attempt.turns if turn.at_seconds <= at]
    struck = texts.index("silence: struck at 'response'")

    assert texts[:struck][-1] == (bytes_drawn(before[-1].count_bytes)[0] if before else "connect")


def test_single_turn_that_is_left_out_is_one():
    assert "... 1 more turn ..." in inside(draw([replace(OPEN, turns=long(9).turns[:4] + long(9).turns[5:])], "title"))


def test_conversation_that_was_struck_after_ten_thousand_turns_shows_what_came_before():
    entry = Entry(1, 1, reset(), "accept", iter(n / 1000 for n in range(100_000)).__next__)
    for number in range(10_000):
        entry.says("client", b"question %d" % number)
        entry.says("server", b"answer %d" % number)
    entry.says("client", b"the last question")
    entry.struck_by(BREAK, "response", 0)
    drawn = inside(draw([entry.frozen()], "title"))

    assert drawn[-3:] == [
        "11 bytes: answer 9999",
        "17 bytes: the last question",
        "RST: struck at 'response'",
    ]


def test_pauses_inside_a_turn_are_drawn_with_their_place():
    turn = replace(OK, pauses=(Pause(10, 1.2, 0.5), Pause(20, 1.8, 0.25)))

    assert told(replace(OPEN, turns=(turn,)))[1:] == [
        (1.2, "server", "67 bytes: HTTP/1.1 200 OK"),
        (1.2, None, "... 0.500 s of silence after 10 bytes ..."),
        (1.8, None, "... 0.250 s of silence after 20 bytes ..."),
    ]


@each_row(("more", "words"), [(1, "1 more pause, 0.500 s"), (3, "3 more pauses, 1.500 s in all")])
def test_many_pauses_are_drawn_as_their_sum(more, words):
    turn = replace(OK, pauses=tuple(Pause(n, 1.2 + n, 0.5) for n in range(2 + more)))

    assert told(replace(OPEN, turns=(turn,)))[-1] == (3.2, None, f"... {words} ...")


def test_strike_tells_its_byte():
    struck = replace(BROKEN, fault=reset(after_bytes=3), strikes=(Strike("response", 3, 1.5),))

    assert inside(draw([struck], "title"))[-1] == "RST: struck at 'response' after 3 bytes"


def test_end_by_the_client_is_an_arrow_of_its_own():
    gave_up = over(replace(STRUCK_OPEN, fault=stall()), ("client", "RST", 3.0))

    assert told(gave_up)[-2:] == [
        (1.5, "server", "silence: struck at 'response'"),
        (3.0, "client", "RST"),
    ]


def test_end_by_the_strike_is_not_drawn_twice():
    assert inside(draw([BROKEN], "title")) == ["connect", "RST: struck at 'response'"]


@each_row(
    ("steps", "at_strike", "later"),
    [
        ((Hold(0.3), Close()), "silence", "FIN"),
        ((Hold(0.3), HalfClose(), Reset()), "silence", "FIN, RST"),
        ((HalfClose(), Hold(0.3), Reset()), "FIN, silence", "RST"),
        ((Partition(0.3), Reset()), "no packet passes", "RST"),
    ],
)
def test_end_of_a_break_is_drawn_at_its_own_time(steps, at_strike, later):
    ends = [("server", how, 1.5 if how in at_strike else 1.8) for how in ("FIN", "RST") if how in at_strike + later]
    slow = over(replace(STRUCK_OPEN, fault=Fault(Break("response", steps))), *ends)

    assert told(slow)[-2:] == [(1.5, "server", f"{at_strike}: struck at 'response'"), (1.8, "server", later)]


def test_client_that_leaves_in_the_middle_of_a_break_has_not_met_the_rest_of_it():
    slow = Fault(Break("response", (Hold(0.3), Close())))
    left = over(replace(STRUCK_OPEN, fault=slow), ("client", "FIN", 1.6))

    assert inside(draw([left], "title")) == ["connect", "silence: struck at 'response'", "FIN"]


def test_end_of_the_healthy_conversation_after_a_break_is_drawn():
    went_on = over(replace(STRUCK_OPEN, fault=stall(for_seconds=0.1)), ("server", "FIN", 2.0))

    assert inside(draw([went_on], "title")) == ["connect", "silence: struck at 'response'", "FIN"]


def test_end_after_an_answer_that_is_wrong_is_drawn():
    strike = replace(STRUCK, part=ANSWER)
    cut = replace(OPEN, fault=malformed("chunk_cut"), turns=(OK,), strikes=(strike,))
    cut = over(cut, ("server", "FIN", 2.0))

    assert inside(draw([cut], "title"))[2:] == ["malformed('chunk_cut'): struck at 'response'", "FIN"]


@pytest.mark.slow
def test_silence_of_a_server_and_its_end_are_drawn_when_they_were():
    slow = Fault(Break("response", (Hold(0.2), Close())))
    with package.serve(slow) as server, socket.create_connection(server.address, 10) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(1) == b""
        [*_, silence, end] = told(server.attempts[0])

    assert (silence[1:], end[1:]) == (("server", "silence: struck at 'response'"), ("server", "FIN"))
    assert end[0] - silence[0] >= 0.2


def test_stop_of_the_server_is_drawn_after_the_strike():
    stopped = over(replace(STRUCK_OPEN, fault=stall()), ("server", "stop", 1.6))

    assert inside(draw([stopped], "title")) == [
        "connect",
        "silence: struck at 'response'",
        "still open when the server stopped",
    ]


def test_attempt_that_is_open_or_kept_has_no_last_arrow():
    kept = replace(OPEN, connection=2, ended_seconds=2.0)

    assert inside(draw([OPEN, kept], "title")) == ["connect", "connect"]


@each_row(
    ("connections", "most", "connects"),
    [((1, 1, 2), 20, 2), ((1, 2, 1, 2), 20, 2), ((1, 1), 1, 0), ((None, None, 1), 20, 3)],
)
def test_connect_is_drawn_once_for_each_connection(connections, most, connects):
    points = ["connect" if connection is None else "response" for connection in connections]
    attempts = [replace(OPEN, connection=c, point=point) for c, point in zip(connections, points, strict=True)]
    drawn = draw(attempts, "title", most=most)

    assert inside(drawn).count("connect") == connects


def test_request_on_a_kept_connection_is_drawn_without_a_connect():
    with package.serve(ok(b"x")) as server:
        client = http.client.HTTPConnection(*server.address, timeout=10)
        for _ in range(2):
            client.request("GET", "/")
            client.getresponse().read()
        drawn = inside(server.drawing())
        client.close()

    assert drawn.count("connect") == 1


def test_arrow_points_from_who_speaks():
    assert arrow("hi", "client") == "--- hi " + "-" * (ROOM - 8) + ">"
    assert arrow("hi", "server", "=") == "<=== hi " + "=" * (ROOM - 8)
    assert arrow("hi", "upstream") == arrow("hi", "server")


@each_row("length", [ROOM - 8, ROOM - 7, ROOM - 6, 1000])
def test_arrow_is_as_wide_as_ever_whatever_it_says(length):
    assert len(arrow("x" * length, "client")) == len(arrow("x", "server")) == ROOM


def test_remarks_tell_the_note_and_how_long_the_client_waited():
    gave_up = replace(OPEN, fault=stall(), strikes=(STRUCK,), ended_by="client", waited_seconds=1.5, note="a phrase")

    assert remarks(gave_up) == ["a phrase", "the client gave up 1.500 s after the strike"]


ENDED = over(STRUCK_OPEN, ("server", "FIN", 1.5), ("client", "FIN", 1.6))


@each_row(
    "attempt",
    [
        OPEN,
        BROKEN,
        replace(OPEN, fault=bad_cert("expired"), waited_seconds=0.1),
        replace(ENDED, fault=half_close(), waited_seconds=0.1),
    ],
)
def test_nothing_is_remarked_where_nobody_waited(attempt):
    assert remarks(attempt) == []


def test_drawing_lets_no_control_character_through():
    wild = Turn("client", 1.1, 9, b"\x1b[2J\x00\xff it\r\n")

    assert draw([replace(OPEN, turns=(wild,))], "title").isascii()
    assert "\\x1b[2J\\x00\\xff it" in draw([replace(OPEN, turns=(wild,))], "title")


@each_row("where", ["note", "target", "title"])
@each_row("text", ["\x1b[31mred", "a\nb", "\x9b31m", "\u202eback"])
def test_no_control_character_comes_through_wherever_it_is(where, text):
    attempt = replace(OPEN, note=text) if where == "note" else OPEN
    if where == "target":
        attempt = Attempt(1, None, reset(), "lookup", 1.0, request=Request("A", text))
    drawn = draw([attempt], text if where == "title" else "title")

    assert all(character == "\n" or character.isprintable() for character in drawn)


# --- ends ----------------------------------------------------------------------------------------------------


@each_row(
    ("ends", "drawn"),
    [
        ([("upstream", "FIN", 2.0), ("client", "FIN", 3.0)], [(2.0, "upstream", "FIN"), (3.0, "client", "FIN")]),
        ([("client", "FIN", 2.0), ("server", "FIN", 2.5)], [(2.0, "client", "FIN"), (2.5, "server", "FIN")]),
        ([("server", "close_notify", 2.0), ("server", "FIN", 2.001)], [(2.0, "server", "close_notify, FIN")]),
    ],
)
def test_every_end_is_drawn(ends, drawn):
    assert told(over(replace(OPEN, fault=ok()), *ends))[1:] == drawn


def test_alert_is_drawn_with_its_name():
    ends = (End("client", "alert", 2.0, "unknown_ca"), End("client", "FIN", 2.0))

    assert told(replace(OPEN, ends=ends))[-1] == (2.0, "client", "alert unknown_ca, FIN")


def test_answer_of_the_server_to_the_end_of_the_client_is_left_out():
    left = over(replace(OPEN, fault=ok()), ("client", "FIN", 2.0))
    left = replace(left, ends=(*left.ends, End("server", "FIN", 2.01)))

    assert told(left)[1:] == [(2.0, "client", "FIN")]


@pytest.mark.parametrize("how", ["FIN", "RST"])
def test_last_segment_of_a_client_is_behind_its_bytes(how):
    """A server may see the end before it has read the bytes."""
    entry = Entry(1, 1, reset(), "accept", iter(n / 10 for n in range(100)).__next__)
    entry.says("client", b"first")
    entry.gives("client", how)
    entry.gives("server", "close_notify")
    entry.says("client", b"last")
    attempt = entry.frozen()

    assert [(str(end), end.at_seconds > 0.3) for end in attempt.ends] == [("close_notify", False), (how, True)]
    assert attempt.ends[-1].at_seconds == attempt.turns[-1].until_seconds


def test_half_close_is_drawn_among_the_turns_that_follow_it():
    late = replace(OK, at_seconds=3.0)
    attempt = replace(OPEN, turns=(GET, late), ends=(End("client", "FIN", 2.0),))

    assert [text for _, _, text in told(attempt)[2:]] == ["FIN", "67 bytes: HTTP/1.1 200 OK"]


def ask(server, data):
    with contextlib.suppress(ConnectionError), socket.create_connection(server.address, 10) as client:
        client.sendall(data)
        while client.recv(65_536):
            pass


LAST_GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@each_row(
    ("plan", "ends"),
    [
        (raw(b"junk"), ["4 bytes: junk", "FIN"]),
        (status(503), ["HTTP/1.1 503 Service Unavailable", "FIN"]),
        (stall(for_seconds=0.01), ["86 bytes: HTTP/1.1 200 OK", "FIN"]),
        (script(receive_request(), respond(status(413)), reset()), ["HTTP/1.1 413 Content Too Large", "RST"]),
        (script(send(b"220 hi\r\n"), receive_until(b"\n"), close()), ["FIN"]),
        (ok(), ["HTTP/1.1 200 OK", "FIN"]),
        (reset(at="accept"), ["RST"]),
        (reset(after_bytes=3), ["3 bytes: HTT", "RST"]),
        (close(), ["FIN"]),
    ],
)
def test_end_by_the_server_is_drawn_whatever_comes_before_it(plan, ends):
    with package.serve(plan, strict=False) as server:
        ask(server, LAST_GET)
        server.wait_for_attempts(1, at="end")
        lines = inside(server.drawing())

    *before, last = ends
    assert last in lines[-1].partition(":")[0]
    assert all(any(text in line for line in lines[:-1]) for text in before)


# --- which attempts are drawn --------------------------------------------------------------------------------


def headings(drawn):
    """The numbers of the attempts that are drawn, and what is said of those that are not."""
    found = [line for line in drawn.splitlines()[1:] if line[0] == "#" or line.startswith("  (")]
    return [int(line.partition(" ")[0][1:]) if line[0] == "#" else line.strip(" ()") for line in found]


def test_struck_attempts_and_those_before_them_are_drawn_of_many():
    attempts = [replace(OPEN, number=number, strikes=(STRUCK,) * (number in (4, 9))) for number in range(1, 31)]

    assert headings(draw(attempts, "title", most=10)) == [
        "2 attempts left out: #1 to #2",
        *(3, 4),
        "3 attempts left out: #5 to #7",
        *(8, 9),
        "15 attempts left out: #10 to #24",
        *range(25, 31),
    ]


def test_first_strike_of_each_part_is_drawn_of_many_strikes():
    attempts = [replace(OPEN, number=number, strikes=(STRUCK,)) for number in range(1, 31)]

    assert headings(draw(attempts, "title", most=4)) == [
        1,
        "26 attempts left out, 26 of them struck: #2 to #27",
        28,
        29,
        30,
    ]


def test_single_attempt_that_is_left_out_is_one():
    attempts = [replace(OPEN, number=number) for number in range(1, 4)]

    assert headings(draw(attempts, "title", most=2)) == ["1 attempt left out: #1", 2, 3]


@each_row("count", [1, 20])
def test_every_attempt_is_drawn_of_few(count):
    attempts = [replace(OPEN, number=number) for number in range(1, count + 1)]

    assert headings(draw(attempts, "title")) == [*range(1, count + 1)]


LONG = script(send(b"220 hi\r\n"), receive_until(b"\r\n"), send(b"250 ok\r\n"), reset())
OTHER = script(send(b"220 hi\r\n"), receive_until(b"\r\n"), send(b"250 no\r\n"), reset())


@each_row(
    ("title", "faults", "names"),
    [
        (f"url {LONG!r}", [LONG, LONG], ["script(…)", "script(…)"]),
        ("url reset()", [LONG, LONG, reset()], [repr(LONG), "script(…) as in #1", "reset()"]),
        (f"url sequence({LONG!r}, {OTHER!r})", [LONG, OTHER, LONG], [repr(LONG), repr(OTHER), "script(…) as in #1"]),
        (f"url {LONG & reset()!r}", [LONG & reset()], ["script(…) & reset()"]),
    ],
)
def test_long_script_is_written_once(title, faults, names):
    attempts = [replace(OPEN, number=number, fault=fault) for number, fault in enumerate(faults, 1)]

    assert named(attempts, title) == names


def test_attempts_of_a_server_refer_to_its_script():
    with package.serve(LONG, strict=False) as server:
        for _ in range(2):
            ask(server, b"EHLO me\r\n")
        server.wait_for_attempts(2, at="end")
        drawn = server.drawing(width=120)

    assert drawn.count("receive_until") == 1
    assert [line for line in drawn.splitlines() if line[0] == "#"] == [
        f"#{number} script(…), connection {number}, SMTP" for number in (1, 2)
    ]


# --- several strikes -----------------------------------------------------------------------------------------


def test_every_strike_is_drawn_in_order_of_time_with_its_own_name_point_and_byte():
    strikes = (Strike("handshake", 900, 1.05, CERTIFICATE), Strike("response", 3, 1.5, BREAK))
    twice = replace(OPEN, fault=bad_cert("expired") & reset(after_bytes=3), turns=(GET,), strikes=strikes)

    assert inside(draw([twice], "title")) == [
        "connect",
        "certificate expired: struck at 'handshake' after 900 bytes",
        "40 bytes: GET / HTTP/1.1",
        "RST: struck at 'response' after 3 bytes",
    ]


def test_strikes_of_a_script_show_their_own_ends():
    breaks = script(stall(for_seconds=0.1), stall(for_seconds=1), reset(fin_first=True))
    strikes = [Strike("request", 0, at, Key("step", number)) for number, at in enumerate((1.5, 1.6, 2.6))]
    ends = [("server", "FIN", 2.6), ("server", "RST", 2.6)]

    assert told(over(replace(OPEN, fault=breaks, strikes=tuple(strikes)), *ends))[1:] == [
        (1.5, "server", "silence: struck at 'request'"),
        (1.6, "server", "silence: struck at 'request'"),
        (2.6, "server", "FIN, RST: struck at 'request'"),
    ]


def test_what_came_before_each_strike_is_drawn():
    strikes = (Strike("response", 0, 1.205, Key("step", 3)), Strike("response", 0, 1.305, Key("step", 4)))
    texts = inside(draw([long(40, fault=ok(), strikes=strikes)], "title"))
    places = [i for i, text in enumerate(texts) if "struck" in text]

    assert [texts[place - 1] for place in places] == bytes_drawn(11, 21)


@each_row(("until", "after"), [(1.4, []), (1.5, []), (1.6, [(1.6, "client", "the last of the 40 bytes")])])
def test_bytes_that_a_side_sent_on_after_the_strike_are_drawn_after_it(until, after):
    attempt = replace(STRUCK_OPEN, turns=(replace(GET, until_seconds=until),))

    assert told(attempt)[2:] == [(1.5, "server", "RST: struck at 'response'"), *after]


def test_client_that_sends_on_after_the_servers_fin_is_drawn_so(faultline):
    server = faultline.serve(half_close())
    with socket.create_connection(server.address, 10) as client:
        client.sendall(LAST_GET)
        assert client.recv(1) == b""
        client.sendall(b"more")
    server.wait_for_attempts(1, at="end")

    lines = [line for line in inside(server.drawing())[1:] if "of silence" not in line]  # on a busy machine
    assert lines == [
        f"{len(LAST_GET) + 4} bytes: GET / HTTP/1.1",
        "FIN: struck at 'response'",
        f"the last of the {len(LAST_GET) + 4} bytes",
        "FIN",
    ]


def test_certificate_strikes_before_the_alert_that_told_the_server():
    ends = (End("client", "alert", 1.2, "certificate_expired"), End("client", "RST", 1.2))
    strike = Strike("handshake", 900, 1.25, CERTIFICATE)
    attempt = replace(OPEN, fault=bad_cert("expired"), strikes=(strike,), ends=ends)

    assert [(at, text.partition(":")[0]) for at, _, text in told(attempt)[1:]] == [
        (1.2, "certificate expired"),
        (1.2, "alert certificate_expired, RST"),
    ]


# --- width, color and title ----------------------------------------------------------------------------------


@each_row("width", [0, 40, 60, 80, 100, 120, 500])
def test_drawing_fits_the_width(width):
    wordy = Turn("client", 1.1, 10**9, b"x" * 80, pauses=(Pause(1, 1.2, 3.0),))
    attempt = replace(BROKEN, fault=ok(b"x" * 500) & bad_cert("expired"), turns=(wordy, OK), note="a note " * 40)
    lines = draw([attempt], "http://127.0.0.1:80 " + "plan " * 60, width=width).splitlines()

    assert max(map(len, lines)) == min(max(width, 40), 120)
    assert len({len(line) for line in lines if line.endswith("|")}) == 1


def unwrapped(text):
    """What stands between the sides of a drawing, without lines and line ends."""
    return "".join("".join(inside(text)).split()).replace(":struck", "struck")


@each_row("width", [40, 55, 80, 120])
@each_row("color", [False, True])
@each_row(
    ("fault", "part"),
    [
        (malformed("chunk_cut"), ANSWER),
        (bad_cert("self_signed") & reset(), CERTIFICATE),
        (script(send(b"x"), inject(b"a long text of 20 b")), Key("step", 1)),
        (reset(), BREAK),
    ],
)
def test_nothing_about_a_strike_is_cut(width, color, fault, part):
    strike = Strike("response", 1234567, 1.5, part)
    drawn = draw([replace(OPEN, fault=fault, strikes=(strike,))], "title", width=width, color=color)
    told = f"{name_of(fault, strike)} struck at 'response' after 1234567 bytes"

    assert "".join(told.split()) in unwrapped(drawn.replace("\x1b[1;31m", "").replace("\x1b[0m", ""))


def test_strike_that_is_too_long_for_a_line_has_a_second_one():
    strike = Strike("response", 5, 1.5, ANSWER)
    attempt = replace(OPEN, fault=malformed("chunk_cut"), strikes=(strike,))

    assert draw([attempt], "title", width=55, color=True).splitlines()[-2:] == [
        "     1.500 s |\x1b[1;31m<=== malformed('chunk_cut') ============\x1b[0m|",
        "             |\x1b[1;31m     struck at 'response' after 5 bytes \x1b[0m|",
    ]


@each_row(
    ("width", "rows"),
    [
        (40, ["<--- 67 bytes -----------|", "     HTTP/1.1 503 Serv...|"]),
        (55, ["<--- 67 bytes: HTTP/1.1 503 Service... -|"]),
    ],
)
def test_words_of_a_turn_have_a_line_of_their_own_where_it_is_narrow(width, rows):
    turn = replace(OK, begins=b"HTTP/1.1 503 Service Unavailable\r\n")
    drawn = draw([replace(OPEN, turns=(turn,))], "title", width=width)

    assert [line.partition("|")[2] for line in drawn.splitlines()[3:]] == rows


def test_name_is_not_broken_at_its_hyphens():
    attempt = Attempt(1, None, reset(), "lookup", 1.0, request=Request("A", "a-name.example.com"))

    assert inside(draw([attempt], "title", width=40)) == ["A", "a-name.example.com"]


@each_row("side", ["client", None])
def test_text_that_is_too_long_for_a_line_goes_on_below(side):
    rows = Line(1.5, "alert certificate_expired, RST", side).drawn(25)

    assert {len(row) for row in rows} == {40}
    assert "".join("".join(inside("\n".join(rows))).split()) == "alertcertificate_expired,RST"


@each_row("name", ["b\u00fccher.example", "\u65e5\u672c.example", "x\u0301.example", "\U0001f600"])
def test_sides_are_straight_whatever_is_looked_up(name):
    attempt = Attempt(1, None, reset(), "lookup", 1.0, request=Request("A", name))
    (line,) = [line for line in draw([attempt], "title").splitlines() if line.endswith("|")]

    assert len(line) == 80
    assert all(unicodedata.east_asian_width(c) not in "WF" and not unicodedata.combining(c) for c in line)


def test_strike_alone_is_red_where_that_is_wanted():
    attempt = replace(BROKEN, turns=(GET,))
    plain, colored = (draw([attempt], "title", color=color) for color in (False, True))

    assert "\x1b" not in plain
    assert colored.replace("\x1b[1;31m", "").replace("\x1b[0m", "") == plain
    assert [line for line in colored.splitlines() if "\x1b" in line] == [
        f"     1.500 s |\x1b[1;31m{arrow(WORDS, 'server', '=')}\x1b[0m|"
    ]


WORDS = "RST: struck at 'response'"
REDIS = Turn("client", 1.1, 22, b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n")
WITH_TLS = TlsFacts("TLSv1.3")


@each_row(
    ("attempts", "upstream", "title"),
    [
        ([], None, "http://127.0.0.1:80"),
        ([replace(OPEN, turns=(GET,))], None, "http://127.0.0.1:80"),
        ([OPEN, replace(OPEN, turns=(REDIS,))], None, "redis://127.0.0.1:80"),
        ([replace(OPEN, turns=(REDIS,), tls=WITH_TLS)], None, "rediss://127.0.0.1:80"),
        ([replace(OPEN, turns=(replace(REDIS, begins=b"hi"),))], None, "tcp://127.0.0.1:80"),
        ([], Upstream("127.0.0.1", 6379), "relay tcp://127.0.0.1:80 to 127.0.0.1:6379"),
        ([replace(OPEN, turns=(REDIS,))], Upstream("127.0.0.1", 6379), "relay redis://127.0.0.1:80 to 127.0.0.1:6379"),
        ([replace(OPEN, turns=(GET,))], Upstream(path="/tmp/x"), "relay http://127.0.0.1:80 to /tmp/x"),
        ([replace(OPEN, turns=(GET,), tls=WITH_TLS)], Upstream("::1", 1), "relay https://127.0.0.1:80 to [::1]:1"),
    ],
)
def test_title_names_what_is_spoken(attempts, upstream, title):
    assert title_of("http://127.0.0.1:80", attempts, upstream) == title


def test_server_draws_in_the_width_and_colors_that_are_asked_for(faultline):
    server = faultline.serve(close())
    ask(server, LAST_GET)

    assert {len(line) for line in server.drawing(width=100).splitlines() if line.endswith("|")} == {100}
    assert "\x1b[1;31m<===" in server.drawing(color=True)
    assert server.drawing() == server.drawing(width=80, color=False)


@each_row("given", [{"width": 0}, {"width": "80"}, {"width": True}, {"color": 1}])
def test_width_and_color_are_checked(faultline, given):
    ((name, value),) = given.items()
    with pytest.raises(ParameterError, match=rf"^{name}={value!r}: expected "):
        faultline.serve(ok()).drawing(**given)


# --- the terminal --------------------------------------------------------------------------------------------


class Output(io.StringIO):
    def __init__(self, *, is_terminal):
        super().__init__()
        self.isatty = lambda: is_terminal


@pytest.mark.parametrize(
    ("environment", "is_terminal", "shows"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, True, False),
    ],
)
def test_colors_are_shown_where_the_terminal_has_them_and_nobody_forbids_them(
    monkeypatch, environment, is_terminal, shows
):
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout", Output(is_terminal=is_terminal))

    assert terminal.shows_color() is shows


@pytest.mark.parametrize("columns", [40, 100])
def test_width_is_that_of_the_terminal(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))

    assert terminal.width() == columns


@pytest.mark.parametrize("state", ["closed", "none"])
def test_output_that_is_gone_shows_no_colors(monkeypatch, state):
    monkeypatch.delenv("NO_COLOR")
    gone = Output(is_terminal=True)
    gone.close()
    monkeypatch.setattr("sys.stdout", gone if state == "closed" else None)

    assert terminal.shows_color() is False


# --- pytest --------------------------------------------------------------------------------------------------

FAILING = """
import pytest, socket
from faultline import reset

def test_it(faultline):
    with socket.create_connection(faultline.serve(reset(at="accept")).address, 10) as client:
        client.recv(1)
"""


class Narrow:
    """A terminal that is narrower than the environment says."""

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config):
        if config.pluginmanager.has_plugin("terminalreporter"):
            config.get_terminal_writer().fullwidth = 90


@pytest.mark.slow
@pytest.mark.measured
@pytest.mark.parametrize(("words", "width"), [((), 90), (("-p", "no:terminalreporter"), 100)], ids=["terminal", "none"])
@pytest.mark.parametrize("color", ["yes", "no"])
def test_drawing_in_a_report_has_the_colors_and_the_width_of_pytest(pytester, monkeypatch, words, width, color):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(FAILING)
    run = pytester.inline_run("-p", "faultline", f"--color={color}", *words, plugins=[Narrow()])
    (report,) = run.getfailures()

    (struck,) = [line for line in dict(report.sections)["faultline"].splitlines() if "RST: struck" in line]
    assert ("\x1b[1;31m<===" if color == "yes" else "|<===") in struck
    assert len(struck.replace("\x1b[1;31m", "").replace("\x1b[0m", "")) == width
