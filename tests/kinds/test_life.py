"""What every kind of server promises from its start to its stop: its ledger, its guard, its errors, its end."""

from __future__ import annotations

import json
import math
import re
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support import ending, to_end
from support.kinds import ELSEWHERE

import faultline as fl
from faultline import NotStruckError, ParameterError, ServerError, WaitError
from faultline._engine.talks import relay

LATE_SECONDS = 0.01
CLIENTS = 30


# --- what happened ---------------------------------------------------------------------------------------------------


def test_a_healthy_plan_serves_and_every_byte_is_counted(site):
    with site.begin() as server:
        with site.dial(server, asked := site.get(server)) as client:
            got, end = to_end(client)
        (attempt,) = server.wait_for_attempts(1, at="end")

        assert (got.endswith(b"\r\n\r\nhello"), end) == (True, "FIN")
        assert (attempt.number, attempt.connection, attempt.fault) == (1, 1, fl.ok())
        before = (3 + 10, 2 + 10) if site.kind.name == "SOCKS proxy" else (0, 0)  # until the target is reached
        assert (attempt.received_bytes, attempt.sent_bytes) == (len(asked) + before[0], len(got) + before[1])
        assert attempt.started_seconds < attempt.ended_seconds <= server.ledger.now()


def test_a_break_strikes_and_the_next_attempt_meets_the_next_fault(site):
    with site.begin(fl.sequence(fl.reset(), fl.ok())) as server:
        got = site.ask(server)
        assert got == (b"", "RST")
        assert site.ask(server) == (b"hello", "FIN")

        first, second = server.wait_for_attempts(2, at="end")
        assert (first.struck.point, first.struck.after_bytes, ending(first)) == ("response", 0, ("server", "RST"))
        assert second.struck is None
        assert server.intervals == (second.started_seconds - first.started_seconds,)


def test_the_ledger_is_waited_for_and_says_what_was_missing(site):
    with site.begin() as server, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(server.wait_for_attempts, 1, at="end")
        site.ask(server)
        assert waiting.result() == server.attempts
        server.ledger.wait(1, "end", 10)
        with pytest.raises(WaitError, match=r"^1 of 2 attempts reached 'end' within 0\.01 s; attempts in all: 1\b"):
            server.ledger.wait(2, "end", LATE_SECONDS)
        for arguments, said in (
            ({"count": -1}, "count=-1: expected a whole number, 0 or more."),
            ({"count": 1.5}, "count=1.5: expected a whole number, 0 or more."),
            ({"count": 1, "timeout_seconds": -1}, "timeout_seconds=-1: expected a number of seconds, 0 or more."),
            ({"count": 1, "at": "respnse"}, "at='respnse': expected one of 'lookup', 'connect', 'accept'"),
        ):
            with pytest.raises(ParameterError, match=f"^{re.escape(said)}"):
                server.wait_for_attempts(**arguments)
    server.ledger.wait(1, "end", 10)
    assert server.ledger.attempts == server.attempts


def test_a_strike_is_waited_for(site):
    with site.begin(fl.stall(at="accept", for_seconds=LATE_SECONDS)) as server:
        with pytest.raises(WaitError, match=r"0 of 1 attempt reached 'strike'"):
            server.wait_for_attempts(1, 0.001, at="strike")
        assert site.ask(server) == (b"hello", "FIN")
        assert server.wait_for_attempts(1, at="strike")[0].struck.point == "accept"
        assert server.wait_for_strike().struck.point == "accept"


def test_refused_connects_are_counted(site):
    with site.begin(fl.sequence(fl.refuse(), fl.refuse(), fl.ok())) as server:
        for _ in range(2):
            with pytest.raises(ConnectionRefusedError):
                site.dial(server)
        assert site.ask(server) == (b"hello", "FIN")

        told = [(a.connection, *ending(a)) for a in server.wait_for_attempts(3, at="end")]
        assert told[:2] == [(None, "server", "RST")] * 2
        assert told[2][0] == 1


def test_connects_at_a_black_hole_are_counted(site):
    with site.begin(fl.sequence(fl.blackhole(), fl.ok())) as server:
        with pytest.raises((TimeoutError, BlockingIOError)):
            site.dial(server, timeout=0.05)
        assert site.ask(server) == (b"hello", "FIN")

        told = [(a.connection, a.ended_how) for a in server.wait_for_attempts(2, at="end")]
        assert told == [(None, "silence"), (1, "FIN")]


def test_the_ledger_is_told_as_json_and_as_a_drawing(site):
    with site.begin(fl.close(after_bytes=20)) as server:
        to_end(site.dial(server, site.get(server)))
        (attempt,) = server.wait_for_attempts(1, at="end")

        (told,) = json.loads(server.ledger.to_json())["attempts"]
        assert told == json.loads(json.dumps(attempt.to_dict()))
        assert (told["fault"], told["ended_how"]) == ("close(after_bytes=20)", "FIN")
        title, *lines = server.drawing().splitlines()
        assert ("close(after_bytes=20)" in title) or title.startswith("relay")
        assert re.search(r"(FIN|close_notify).*: struck at 'response' after 20 bytes", "\n".join(lines))


@pytest.mark.parametrize("site", ELSEWHERE, indirect=True, ids=str)
def test_the_same_in_another_process_or_with_certificates_on_both_sides(site):
    with site.begin(fl.sequence(fl.refuse(), fl.reset(), fl.ok())) as server:
        with pytest.raises(ConnectionRefusedError):
            site.dial(server)
        assert site.ask(server) == (b"", "RST")
        assert site.ask(server) == (b"hello", "FIN")
        with server.becoming(fl.stall(at="accept", for_seconds=LATE_SECONDS)):
            site.ask(server)

        told = [a.struck and a.struck.point for a in server.wait_for_attempts(4, at="end")]
        assert told == ["connect", "response", None, "accept"]
    assert repr(server).endswith(" closed>")


@pytest.mark.slow
@pytest.mark.everywhere
def test_many_clients_at_once_are_all_answered(site):
    with site.begin() as server, ThreadPoolExecutor(CLIENTS) as pool:
        start = threading.Barrier(CLIENTS)

        def ask(_):
            start.wait()
            return site.ask(server)

        assert list(pool.map(ask, range(CLIENTS))) == [(b"hello", "FIN")] * CLIENTS
        assert sorted(a.connection for a in server.attempts) == list(range(1, CLIENTS + 1))


# --- the guard -------------------------------------------------------------------------------------------------------


def test_a_fault_that_never_struck_fails_the_block_and_says_what_happened_instead(site):
    plan = fl.reset(on=b"never said")
    with pytest.raises(NotStruckError) as nobody, site.begin(plan) as server:
        where = server.hostport
    with pytest.raises(NotStruckError) as somebody, site.begin(plan) as server:  # noqa: PT012 - all of it may raise
        site.ask(server)
        server.wait_for_attempts(1, at="end")

    assert isinstance(nobody.value, AssertionError)
    assert str(nobody.value) == (
        f"reset(on=b'never said') never struck: no client connected to {where}. (strict=False allows it.)"
    )
    told = r"reset\(on=b'never said'\) never struck: #1\b.* reached '.*\(strict=False allows it\.\)"
    assert re.fullmatch(told, str(somebody.value))


def test_the_guard_can_be_turned_off_and_hides_no_error_of_the_block(site):
    with site.begin(fl.reset(), strict=False) as server:
        server.check_struck()
    assert server.attempts == ()
    with pytest.raises(ZeroDivisionError), site.begin(fl.reset()):
        raise ZeroDivisionError


# --- errors inside ---------------------------------------------------------------------------------------------------


def test_an_error_inside_is_raised_by_close_once_and_others_are_counted(site, monkeypatch):
    plan, said = fl.when(math.sqrt, fl.reset()), "TypeError('must be real number, not Request')"
    if "relay" in site.kind.name or "SOCKS" in site.kind.name:  # which know no requests
        plan, said = fl.ok(), "TypeError('a bug')"
        monkeypatch.setattr(relay, "reach", failing)
    server = site.begin(plan, strict=False)
    for _ in range(3):
        assert site.ask(server)[0] == b""

    with pytest.raises(ServerError, match=rf"broke: {re.escape(said)} \(and 2 more\)\.$") as caught:
        server.close()
    assert type(caught.value.__cause__) is TypeError
    server.close()
    assert len(server.attempts) == 3


async def failing(*_):
    raise TypeError("a bug")


# --- the end ---------------------------------------------------------------------------------------------------------


def test_what_was_held_is_free_afterwards_and_the_ledger_stays(site):
    server = site.begin(fl.reset())
    site.ask(server)
    server.close()
    server.close()  # again, which does nothing

    with pytest.raises((ConnectionRefusedError, FileNotFoundError, socket.gaierror)):
        site.dial(server)
    (attempt,) = server.wait_for_attempts(1, at="end")
    assert attempt.struck.point == "response"
    assert "\n#" in server.drawing()
    assert server.ledger.now() > attempt.ended_seconds
    assert repr(server).endswith(" reset() closed>")
    for control in ("reset_all", "close_all", "pause", "resume"):
        assert getattr(server, control)() == 0
    with pytest.raises(ServerError, match="expected an open server; it was closed"):
        server.become(fl.ok())
    with pytest.raises(ServerError, match="expected an open server; it was closed"):
        server.become(fl.reset(), open_too=True)
