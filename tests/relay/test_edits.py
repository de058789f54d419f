"""A plan that open connections meet too: what goes on, what the ledger says of it, and what the guard makes of it."""

from __future__ import annotations

import pytest
from support import accepted, address_of, connected, read, to_end

from faultline import NotStruckError, close, corrupt, latency, ok, relay, reset, slow_close, stall, throttle
from faultline._core import attempts


def talk(client, upstream, answer=b"answer"):
    client.sendall(b"ask")
    assert read(upstream, 3) == b"ask"
    upstream.sendall(answer)
    assert len(read(client, len(answer))) == len(answer)


EDITS = [
    (None, reset(after_bytes=2), 8),
    (None, reset(at="request", after_bytes=2), 5),
    (latency(0.001, direction="request"), reset(at="request", after_bytes=2), 5),
    (None, corrupt(at_byte=1), 7),
    (latency(0.001), corrupt(at_byte=1), 7),
    (latency(0.001), latency(0.001) & corrupt(at_byte=1), 7),
    (None, corrupt(at_byte=1, direction="request"), 4),
    (reset(after_bytes=8), latency(0.001) & reset(after_bytes=8), 8),
]


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after", "at"), EDITS, ids=repr)
def test_bytes_are_counted_from_the_edit_on_and_told_in_the_direction_of_the_attempt(join, before, after, at):
    server, client, upstream = join(before, strict=False)
    talk(client, upstream)
    server.become(after, open_too=True)
    client.sendall(b"hello")
    upstream.sendall(b"world")
    if "corrupt" in repr(after):
        read(upstream if "request" in repr(after) else client, 5)
    else:
        to_end(client)
    (attempt,) = server.attempts
    assert attempt.strikes[-1].after_bytes == at
    assert attempt.strikes[-1].point == ("request" if "request" in repr(after) else "response")


def test_a_break_that_stays_keeps_the_promise_of_both_plans(join):
    server, client, upstream = join(reset(after_bytes=8))
    talk(client, upstream)
    server.become(latency(0.001) & reset(after_bytes=8), open_too=True)
    upstream.sendall(b"world")

    assert to_end(client) == (b"wo", "RST")
    server.check_struck()
    assert [str(strike.part) for strike in server.attempts[0].strikes] == ["condition 1", "break"]


def test_a_condition_that_has_struck_and_stays_keeps_the_promise_of_each_plan_by_one_strike(join):
    server, client, upstream = join(latency(0.001))
    talk(client, upstream)
    for plan in (throttle(10**6) & latency(0.001), latency(0.001)):
        server.become(plan, open_too=True)
        talk(client, upstream)
    server.become(latency(0.001) & close(after_bytes=1), open_too=True)
    upstream.sendall(b"x")
    assert to_end(client) == (b"x", "FIN")

    server.check_struck()
    struck = [str(strike.part) for strike in server.attempts[0].strikes]
    assert struck == ["condition 1", "condition 1", "break"]  # latency, throttle, close


def replaced(listener):
    """A server whose plan was replaced on an open connection, before it could strike."""
    with (
        relay(address_of(listener), slow_close(0.1)) as server,
        connected(server) as client,
        accepted(listener) as upstream,
    ):
        talk(client, upstream)
        server.become(ok(), open_too=True)


def test_a_plan_that_an_edit_has_replaced_before_its_strike_was_met_all_the_same(listener):
    met = r"1 open attempt met this plan, until become\(…, open_too=True\) replaced it\. \(strict"
    with pytest.raises(NotStruckError, match=met):
        replaced(listener)


def test_the_drawing_calls_what_stays_by_its_name(join):
    server, client, upstream = join(latency(0.001))
    talk(client, upstream)
    server.become(ok() & latency(0.001), open_too=True)
    assert "latency" in server.drawing().partition("struck")[0].splitlines()[-1]

    server.become(ok(), open_too=True)
    assert "condition 1 of an earlier fault" in server.drawing()


@pytest.mark.slow
def test_the_strikes_of_an_attempt_are_bounded_however_often_its_fault_changes(join, monkeypatch):
    monkeypatch.setattr(attempts, "MOST_STRIKES", 10)
    server, client, upstream = join(latency(0.001), strict=False)
    for number in range(30):
        talk(client, upstream)
        server.become(latency(0.001 if number % 2 else 0.0005), open_too=True)
    talk(client, upstream)
    server.become(reset(after_bytes=1), open_too=True)
    upstream.sendall(b"x")
    assert to_end(client) == (b"x", "RST")

    strikes = server.attempts[0].strikes
    assert len(strikes) == 10
    assert [strike.after_bytes for strike in strikes[:5]] == [0, 6, 12, 18, 24]
    assert strikes[-1] == server.attempts[0].struck


def test_a_silence_that_stays_goes_on_and_strikes_no_second_time(join):
    server, client, upstream = join(stall(after_bytes=2), strict=False)
    upstream.sendall(b"abcdef")
    assert read(client, 2) == b"ab"
    server.wait_for_attempts(1, at="strike")
    server.become(latency(0.001) & stall(after_bytes=2), open_too=True)
    client.close()

    (attempt,) = server.wait_for_attempts(1, at="end")
    assert [str(strike.part) for strike in attempt.strikes] == ["break"]
