"""The ledger in words and as a drawing."""

from __future__ import annotations

from dataclasses import replace

from support.tables import each_row

from faultline import (
    bad_cert,
    blackhole,
    close,
    half_close,
    inject,
    ok,
    partition,
    refuse,
    reset,
    script,
    send,
    stall,
    status,
    throttle,
    unreachable,
)
from faultline._core.attempts import Attempt, Request
from faultline._core.promises import ANSWER, BREAK, CERTIFICATE, Key, Origin, Strike
from faultline._core.report import describe, ending, hung, name_of
from faultline._core.turns import Turn

STRUCK = Strike("response", 0, 1.5)
GET = Turn("client", 1.1, 40, b"GET / HTTP/1.1\r\nHost: x")
OK = Turn("server", 1.2, 67, b"HTTP/1.1 200 OK\r\n")
OPEN = Attempt(1, 1, reset(), "response", 1.0, received_bytes=40)
BROKEN = replace(OPEN, strikes=(STRUCK,), ended_seconds=1.51, ended_by="server", ended_how="RST")


# --- in a line -------------------------------------------------------------------------------------------


@each_row(
    ("attempt", "line"),
    [
        (
            replace(OPEN, fault=reset() & ok(b"x" * 99, headers={"X-Long": "y" * 99})),
            "#1: reset() & ok(…) reached 'response', received 40 and sent 0 bytes, still open",
        ),
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


@each_row(
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


# --- as a strike looks ----------------------------------------------------------------------------------


@each_row(
    ("fault", "part", "name"),
    [
        (reset(), BREAK, "RST"),
        (reset(fin_first=True), BREAK, "FIN, RST"),
        (close(), BREAK, "FIN"),
        (half_close(), BREAK, "FIN"),
        (stall(), BREAK, "silence"),
        (partition(), BREAK, "no packet passes"),
        (refuse(), BREAK, "RST"),
        (blackhole(), BREAK, "silence"),
        (unreachable(), BREAK, "no route"),
        (bad_cert("expired"), CERTIFICATE, "certificate expired"),
        (bad_cert("self_signed") & close(), CERTIFICATE, "certificate self_signed"),
        (bad_cert("self_signed") & close(), BREAK, "FIN"),
        (status(503), ANSWER, "status(503)"),
        (status(503) & throttle(9), ANSWER, "answer"),
        (status(503) & throttle(9), Key("condition", 0), "throttle"),
        (inject(b"x"), BREAK, "inject(b'x')"),
        (inject(b"x" * 99, after_bytes=100_000), BREAK, "inject(…)"),
        (script(send(b"x"), stall(for_seconds=1), reset()), Key("step", 1), "silence"),
        (script(send(b"x"), stall(for_seconds=1), reset()), Key("step", 2), "RST"),
        (script(inject(b"x"), inject(b"y")), Key("step", 1), "inject(b'y')"),
        (ok(), Key("step", 1), "step 2"),
        (ok(), BREAK, "break"),
    ],
)
def test_strike_is_named_as_it_looks_on_the_wire_or_by_its_part(fault, part, name):
    assert name_of(fault, Strike("response", 0, 1.5, part)) == name


def test_strike_of_a_fault_that_another_has_replaced_is_named_by_its_part_alone():
    strikes = [Strike("response", 0, 1.5, origin=Origin(0, entry)) for entry in (0, 1)]

    assert [name_of(replace(reset(), origin=Origin(0, 1)), s) for s in strikes] == ["break of an earlier fault", "RST"]


# --- of a client that hangs ------------------------------------------------------------------------------


def test_client_that_waits_since_the_strike_is_named():
    assert hung([replace(OPEN, fault=stall(), strikes=(STRUCK,))], 31.5) == (
        "no timeout: the client was still waiting at `response` after 30.0 s (attempt 1, stall())"
    )


def test_client_that_waits_without_a_strike_is_named_by_its_beginning():
    assert hung([replace(OPEN, fault=ok(), point="request")], 3.0) == (
        "no timeout: the client was still waiting at `request` after 2.0 s (attempt 1, ok())"
    )


def test_client_that_waits_is_named_with_the_note_of_its_attempt():
    note = "the plan waited for receive_text('bye')"

    assert hung([replace(OPEN, fault=ok(), point="request", note=note)], 3.0).endswith(f"(attempt 1, ok(); {note})")


def test_client_that_waits_at_a_black_hole_is_named():
    lost = Attempt(
        1,
        None,
        blackhole(),
        "connect",
        1.0,
        1.0,
        strikes=(Strike("connect", 0, 1.0),),
        ended_by="server",
        ended_how="silence",
    )

    assert hung([lost], 31.0) == (
        "no timeout: the client was still waiting at `connect` after 30.0 s (attempt 1, blackhole())"
    )


def test_last_client_that_waits_is_the_one_that_hangs():
    assert "attempt 2" in hung([OPEN, replace(OPEN, number=2), BROKEN], 3.0)


@each_row("attempts", [[], [BROKEN], [replace(BROKEN, ended_how="FIN")]])
def test_nobody_hangs_where_the_server_ended_it(attempts):
    assert hung(attempts, 3.0) is None


def test_client_that_was_answered_and_idles_does_not_hang():
    assert hung([replace(OPEN, fault=ok(), point="idle")], 30.0) is None


def test_client_whose_socket_the_timeout_has_just_closed_did_hang():
    gone = replace(OPEN, fault=stall(), strikes=(STRUCK,), ended_seconds=31.4, ended_by="client", ended_how="FIN")

    assert "30.0 s (attempt 1" in hung([gone], 31.5)


def test_client_that_waits_at_idle_for_what_a_strike_withholds_does_hang():
    waits = replace(OPEN, fault=stall(at="idle"), point="idle", strikes=(Strike("idle", 0, 1.5),))

    assert "still waiting at `idle` after 30.0 s" in hung([waits], 31.5)


def test_client_that_has_left_does_not_hang():
    left = replace(OPEN, fault=stall(), strikes=(STRUCK,), ended_seconds=2.0, ended_by="client", ended_how="FIN")

    assert hung([left], 30.0) is None
