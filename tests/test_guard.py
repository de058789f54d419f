"""The guard: which planned faults proved nothing, and what is said about them."""

from __future__ import annotations

import pytest

from faultline import (
    bad_cert,
    blackhole,
    close,
    cycle,
    echo,
    latency,
    ok,
    refuse,
    reset,
    sequence,
    sometimes,
    stall,
    when,
)
from faultline._core.guard import advice, certain, unmet
from faultline._core.ledger import Attempt, Strike
from faultline._core.report import describe

UNASKED = "no client connected to 127.0.0.1:8080"


def attempt(fault, *, struck=True, number=1, received=10):
    point = fault.break_.at if fault.break_ else "response"
    strike = Strike(point, 0, 0.5) if struck else None
    return Attempt(number, 1, fault, "response", 0.0, received_bytes=received, struck=strike)


@pytest.mark.parametrize("plan", [ok(), echo(), latency(0.1), refuse(), blackhole(), sometimes(1, reset())])
def test_what_breaks_nothing_or_cannot_be_seen_is_not_judged(plan):
    assert unmet(plan, [], UNASKED) is None


@pytest.mark.parametrize(
    "plan", [reset(), bad_cert("expired"), ok(b"x") & close(), latency(0.1) & stall(), reset(at="accept")]
)
def test_fault_that_struck_is_met(plan):
    assert unmet(plan, [attempt(plan)], UNASKED) is None


@pytest.mark.parametrize("plan", [reset(), bad_cert("expired"), sequence(ok(), close()), cycle(stall(at="idle"))])
def test_fault_that_no_client_met_is_named(plan):
    said = unmet(plan, [], UNASKED)

    assert said is not None
    assert said.endswith(f" never struck: {UNASKED}.")
    assert said.partition(" never")[0] in repr(plan)


def test_fault_that_was_met_and_did_not_strike_is_explained_by_what_happened():
    plan = reset(after_bytes=9)
    seen = attempt(plan, struck=False)

    assert unmet(plan, [seen], UNASKED) == (
        f"reset(after_bytes=9) never struck: {describe(seen)}. Strike after fewer bytes, or serve a longer answer."
    )


def test_strike_of_another_fault_does_not_count():
    assert unmet(sequence(reset(), close()), [attempt(reset()), attempt(reset())], UNASKED).startswith("close() never")


def test_fault_that_is_planned_twice_has_to_strike_twice():
    plan = sequence(reset(), ok(), reset())

    assert unmet(plan, [attempt(reset())], UNASKED).startswith("reset() never struck: #1")
    assert unmet(plan, [attempt(reset())] * 2, UNASKED) is None


def test_fault_may_strike_more_often_than_planned():
    assert unmet(reset(), [attempt(reset())] * 3, UNASKED) is None


def test_chance_in_a_sequence_is_not_judged_and_the_rest_is():
    plan = sequence(sometimes(0.5, reset()), close())

    assert unmet(plan, [attempt(close())], UNASKED) is None
    assert unmet(plan, [attempt(ok(), struck=False)], UNASKED).startswith("close() never struck")


def test_choice_by_the_request_has_to_strike_whatever_it_chooses_between():
    plan = when(bool, reset(), otherwise=close())

    assert certain(plan) == [reset(), close()]
    assert unmet(plan, [attempt(close()), attempt(reset())], UNASKED) is None
    assert unmet(plan, [attempt(reset())], UNASKED).startswith("close() never struck")


def test_choice_of_something_healthy_has_nothing_to_strike():
    assert certain(when(bool, ok(b"x"))) == []


def test_first_five_attempts_are_told_and_the_others_counted():
    seen = [attempt(ok(), struck=False, number=number) for number in range(1, 9)]
    said = unmet(reset(), seen, UNASKED)

    assert said.count("#") == 5
    assert f"{describe(seen[4])}; and 3 more. Strike after" in said


def test_five_attempts_are_all_told():
    seen = [attempt(ok(), struck=False, number=number) for number in range(1, 6)]

    assert "more" not in unmet(reset(), seen, UNASKED)


@pytest.mark.parametrize("at", ["request", "response", "idle"])
def test_client_that_said_nothing_may_wait_for_the_server_to_speak_first(at):
    assert advice(reset(at=at), attempt(ok(), received=0)) == (
        " The client said nothing: if it waits for the server to speak first, use at='accept' or a script."
    )


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            close(at="idle"),
            " The connection was not kept alive; use at='response', or a client that pools connections.",
        ),
        (reset(at="request"), " Strike after fewer bytes, or serve a longer answer."),
        (reset(), " Strike after fewer bytes, or serve a longer answer."),
        (reset(at="accept"), ""),
        (reset(at="handshake"), ""),
        (bad_cert("expired"), ""),
    ],
)
def test_advice_follows_from_the_point(fault, said):
    assert advice(fault, attempt(ok())) == said


@pytest.mark.parametrize("fault", [bad_cert("expired"), reset(at="accept")])
def test_client_that_said_nothing_is_no_wonder_before_the_request(fault):
    assert advice(fault, attempt(ok(), received=0)) == ""
