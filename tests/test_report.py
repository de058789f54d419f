"""The ledger in words and as a drawing."""

from __future__ import annotations

import http.client
import socket
from dataclasses import replace

import pytest

import faultline as package
from faultline import (
    bad_cert,
    blackhole,
    close,
    half_close,
    malformed,
    ok,
    partition,
    refuse,
    reset,
    script,
    send,
    stall,
    unreachable,
)
from faultline._core.breaks import Break
from faultline._core.fault import Fault
from faultline._core.ledger import Attempt, Request, Strike
from faultline._core.report import WIDTH, arrow, arrows, describe, draw, ending, hung, remarks, verb_of
from faultline._core.steps import Close, HalfClose, Hold, Partition, Reset
from faultline._core.turns import Turn

STRUCK = Strike("response", 0, 1.5)
GET = Turn("client", 1.1, 40, b"GET / HTTP/1.1\r\nHost: x")
OK = Turn("server", 1.2, 67, b"HTTP/1.1 200 OK\r\n")
OPEN = Attempt(1, 1, reset(), "response", 1.0, received_bytes=40)
BROKEN = replace(OPEN, struck=STRUCK, ended_seconds=1.51, ended_by="server", ended_how="RST")


# --- in a line -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attempt", "line"),
    [
        (OPEN, "#1: reset() reached 'response', received 40 and sent 0 bytes, still open"),
        (
            replace(BROKEN, request=Request("GET", "/x"), sent_bytes=3),
            (
                "#1 GET /x: reset() struck at 'response', received 40 and sent 3 bytes, "
                "ended by the server (RST) after 0.510 s"
            ),
        ),
        (
            replace(OPEN, request=Request(body=b"PING\r\n"), note="a phrase", ended_seconds=1.25),
            "#1: reset() reached 'response', received 40 and sent 0 bytes, kept alive after 0.250 s (a phrase)",
        ),
    ],
)
def test_attempt_is_described_in_a_line(attempt, line):
    assert describe(attempt) == line


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "still open"),
        ({"ended_seconds": 3.0}, "kept alive after 2.000 s"),
        ({"ended_seconds": 1.0, "ended_by": "client", "ended_how": "FIN"}, "ended by the client (FIN) after 0.000 s"),
        ({"ended_seconds": 2.0, "ended_by": "server", "ended_how": "stop"}, "ended by the server (stop) after 1.000 s"),
    ],
)
def test_end_is_told_with_who_how_and_when(changes, words):
    assert ending(replace(OPEN, **changes)) == words


# --- as a drawing ----------------------------------------------------------------------------------------


def inside(text):
    """What the arrows of a drawing say, without their lines."""
    return [line.partition("|")[2].strip("|<>-= ") for line in text.splitlines() if "|" in line]


def test_drawing_has_the_client_left_the_server_right_and_the_strike_marked():
    drawn = draw([replace(BROKEN, turns=(GET,), note="a phrase")], "http://127.0.0.1:80 reset()")
    struck = arrow("RST: struck at 'response'", "server", "=")

    assert drawn.splitlines() == [
        "http://127.0.0.1:80 reset()",
        "#1 reset(), connection 1",
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

    assert drawn.splitlines()[1] == "  (23 earlier attempts left out)"
    assert [line for line in drawn.splitlines() if line[0] == "#"] == [
        "#24 reset(), connection 1",
        "#25 reset(), connection 1",
    ]


def test_attempt_without_a_connection_names_none():
    refused = Attempt(1, None, refuse(), "connect", 1.0, struck=Strike("connect", 0, 1.0))

    assert draw([refused], "title").splitlines()[1] == "#1 refuse()"


def test_further_turns_are_counted():
    turns = tuple(replace(GET, at_seconds=1 + number / 100) for number in range(13))

    assert inside(draw([replace(OPEN, turns=turns)], "title"))[-1] == "... 3 more turns ..."


def test_strike_tells_its_byte():
    struck = replace(BROKEN, fault=reset(after_bytes=3), struck=Strike("response", 3, 1.5))

    assert inside(draw([struck], "title"))[-1] == "RST: struck at 'response' after 3 bytes"


def test_end_by_the_client_is_an_arrow_of_its_own():
    gave_up = replace(OPEN, fault=stall(), struck=STRUCK, ended_seconds=3.0, ended_by="client", ended_how="RST")

    assert arrows(gave_up)[-2:] == [
        (1.5, arrow("silence: struck at 'response'", "server", "=")),
        (3.0, arrow("RST", "client")),
    ]


def test_end_by_the_strike_is_not_drawn_twice():
    assert inside(draw([BROKEN], "title")) == ["connect", "RST: struck at 'response'"]


@pytest.mark.parametrize(
    ("steps", "at_strike", "later"),
    [
        ((Hold(0.3), Close()), "silence", "FIN"),
        ((Hold(0.3), HalfClose(), Reset()), "silence", "FIN, RST"),
        ((HalfClose(), Hold(0.3), Reset()), "FIN, silence", "RST"),
        ((Partition(0.3), Reset()), "no packet passes", "RST"),
    ],
)
def test_end_of_a_break_is_drawn_at_its_own_time(steps, at_strike, later):
    slow = replace(BROKEN, fault=Fault(Break("response", steps)), ended_seconds=1.8)

    assert arrows(slow)[-2:] == [
        (1.5, arrow(f"{at_strike}: struck at 'response'", "server", "=")),
        (1.8, arrow(later, "server")),
    ]


def test_client_that_leaves_in_the_middle_of_a_break_has_not_met_the_rest_of_it():
    slow = Fault(Break("response", (Hold(0.3), Close())))
    left = replace(BROKEN, fault=slow, ended_seconds=1.6, ended_by="client", ended_how="FIN")

    assert inside(draw([left], "title")) == ["connect", "silence: struck at 'response'", "FIN"]


def test_end_of_the_healthy_conversation_after_a_break_is_drawn():
    went_on = replace(BROKEN, fault=stall(for_seconds=0.1), ended_seconds=2.0, ended_how="FIN")

    assert inside(draw([went_on], "title")) == ["connect", "silence: struck at 'response'", "FIN"]


def test_end_after_an_answer_that_is_wrong_is_drawn():
    cut = replace(BROKEN, fault=malformed("chunk_cut"), turns=(OK,), ended_seconds=2.0, ended_how="FIN")

    assert inside(draw([cut], "title"))[2:] == ["malformed('chunk_cut'): struck at 'response'", "FIN"]


def test_silence_of_a_server_and_its_end_are_drawn_when_they_were():
    slow = Fault(Break("response", (Hold(0.2), Close())))
    with package.serve(slow) as server, socket.create_connection(server.address, 10) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(1) == b""
        [*_, (struck, silence), (ended, fin)] = arrows(server.attempts[0])

    assert silence == arrow("silence: struck at 'response'", "server", "=")
    assert fin == arrow("FIN", "server")
    assert ended - struck >= 0.2


def test_stop_of_the_server_is_drawn_after_the_strike():
    stopped = replace(BROKEN, fault=stall(), ended_how="stop")

    assert inside(draw([stopped], "title")) == ["connect", "silence: struck at 'response'", "stop"]


def test_attempt_that_is_open_or_kept_has_no_last_arrow():
    kept = replace(OPEN, connection=2, ended_seconds=2.0)

    assert inside(draw([OPEN, kept], "title")) == ["connect", "connect"]


@pytest.mark.parametrize(
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
    assert arrow("hi", "client") == "--- hi " + "-" * (WIDTH - 8) + ">"
    assert arrow("hi", "server", "=") == "<=== hi " + "=" * (WIDTH - 8)


@pytest.mark.parametrize("length", [WIDTH - 8, WIDTH - 7, 1000])
def test_arrow_is_as_wide_as_ever_whatever_it_says(length):
    assert len(arrow("x" * length, "client")) == len(arrow("x", "server")) == WIDTH


@pytest.mark.parametrize(
    ("fault", "verb"),
    [
        (reset(), "RST"),
        (reset(fin_first=True), "FIN, RST"),
        (close(), "FIN"),
        (half_close(), "FIN"),
        (stall(), "silence"),
        (partition(), "no packet passes"),
        (refuse(), "RST"),
        (blackhole(), "silence"),
        (unreachable(), "no route"),
        (bad_cert("expired"), "certificate expired"),
        (bad_cert("self_signed") & close(), "FIN, certificate self_signed"),
        (script(send(b"x")), ""),
        (ok(), ""),
    ],
)
def test_strike_is_drawn_as_it_looks_on_the_wire(fault, verb):
    assert verb_of(fault) == verb


def test_remarks_tell_the_note_and_how_long_the_client_waited():
    gave_up = replace(OPEN, fault=stall(), struck=STRUCK, ended_by="client", waited_seconds=1.5, note="a phrase")

    assert remarks(gave_up) == ["a phrase", "the client gave up 1.500 s after the strike"]


@pytest.mark.parametrize("attempt", [OPEN, BROKEN, replace(OPEN, fault=bad_cert("expired"), waited_seconds=0.1)])
def test_nothing_is_remarked_where_nobody_waited(attempt):
    assert remarks(attempt) == []


# --- of a client that hangs ------------------------------------------------------------------------------


def test_client_that_waits_since_the_strike_is_named():
    assert hung([replace(OPEN, fault=stall(), struck=STRUCK)], 31.5) == (
        "the client was still waiting at `response`, 30.0 s: it has no timeout (attempt 1, stall())"
    )


def test_client_that_waits_without_a_strike_is_named_by_its_beginning():
    assert hung([replace(OPEN, fault=ok(), point="request")], 3.0) == (
        "the client was still waiting at `request`, 2.0 s: it has no timeout (attempt 1, ok())"
    )


def test_client_that_waits_at_a_black_hole_is_named():
    lost = Attempt(
        1,
        None,
        blackhole(),
        "connect",
        1.0,
        1.0,
        struck=Strike("connect", 0, 1.0),
        ended_by="server",
        ended_how="silence",
    )

    assert hung([lost], 31.0) == (
        "the client was still waiting at `connect`, 30.0 s: it has no timeout (attempt 1, blackhole())"
    )


def test_last_client_that_waits_is_the_one_that_hangs():
    assert "attempt 2" in hung([OPEN, replace(OPEN, number=2), BROKEN], 3.0)


@pytest.mark.parametrize("attempts", [[], [BROKEN], [replace(BROKEN, ended_how="FIN")]])
def test_nobody_hangs_where_the_server_ended_it(attempts):
    assert hung(attempts, 3.0) is None


def test_client_that_was_answered_and_idles_does_not_hang():
    assert hung([replace(OPEN, fault=ok(), point="idle")], 30.0) is None


def test_client_whose_socket_the_timeout_has_just_closed_did_hang():
    gone = replace(OPEN, fault=stall(), struck=STRUCK, ended_seconds=31.4, ended_by="client", ended_how="FIN")

    assert "30.0 s: it has no timeout" in hung([gone], 31.5)


def test_client_that_waits_at_idle_for_what_a_strike_withholds_does_hang():
    waits = replace(OPEN, fault=stall(at="idle"), point="idle", struck=Strike("idle", 0, 1.5))

    assert "still waiting at `idle`, 30.0 s" in hung([waits], 31.5)


def test_client_that_has_left_does_not_hang():
    left = replace(OPEN, fault=stall(), struck=STRUCK, ended_seconds=2.0, ended_by="client", ended_how="FIN")

    assert hung([left], 30.0) is None


def test_drawing_lets_no_control_character_through():
    wild = Turn("client", 1.1, 9, b"\x1b[2J\x00\xff it\r\n")

    assert draw([replace(OPEN, turns=(wild,))], "title").isascii()
    assert "\\x1b[2J\\x00\\xff it" in draw([replace(OPEN, turns=(wild,))], "title")
