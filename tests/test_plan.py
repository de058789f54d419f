"""Plans: which attempt meets which fault, by order, by chance and by what is asked."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tables import each_row

from faultline import (
    bad_cert,
    blackhole,
    close,
    corrupt,
    cycle,
    drip,
    drop_bytes,
    echo,
    latency,
    loss,
    ok,
    refuse,
    reset,
    script,
    send,
    sequence,
    sometimes,
    stall,
    when,
)
from faultline._core import chance
from faultline._core.attempts import Request
from faultline._core.dealer import Dealer
from faultline._core.errors import ConflictError, ParameterError
from faultline._core.plan import draws_chance, entries_of, faults_of, stamped
from faultline._core.planning import checked_plan

FAULTS = st.sampled_from([ok(), reset(), close(at="idle"), refuse(), bad_cert("expired")])


def first(count, plan):
    dealer = Dealer(plan)
    return [dealer.deal() for _ in range(count)]


def message_of(function, *args, **kwargs):
    with pytest.raises(ParameterError) as raised:
        function(*args, **kwargs)

    assert type(raised.value) is ParameterError
    return str(raised.value)


@pytest.fixture
def scope(monkeypatch):
    """A scope of chance for this test alone."""

    def enter(name):
        scope = chance.Scope(name)
        monkeypatch.setattr(chance, "_scope", scope)
        return scope

    return enter


# --- order -----------------------------------------------------------------------------------------------


def test_fault_alone_is_dealt_for_ever():
    assert first(3, reset()) == [reset()] * 3


@given(st.lists(FAULTS, min_size=1, max_size=5))
def test_sequence_is_dealt_in_order_and_its_last_entry_for_ever(faults):
    assert first(len(faults) + 3, sequence(*faults)) == faults + faults[-1:] * 3


@given(st.lists(FAULTS, min_size=1, max_size=5))
def test_cycle_is_dealt_in_order_again_and_again(faults):
    assert first(3 * len(faults), cycle(*faults)) == faults * 3


@each_row("make", [sequence, cycle])
def test_plan_of_nothing_is_an_error_that_shows_one(make):
    assert message_of(make) == (
        f"{make.__name__}(): expected at least one fault, such as {make.__name__}(reset(), ok())."
    )


@each_row("make", [sequence, cycle])
@each_row("wrong", [None, "reset", reset, sequence(ok())])
def test_entry_that_is_no_fault_is_an_error_that_names_it(make, wrong):
    shown = getattr(wrong, "__name__", repr(wrong))
    assert message_of(make, ok(), wrong).startswith(
        f"{make.__name__}(…)={shown}: expected faults such as reset() or ok()"
    )


@each_row(
    "make",
    [lambda per: sequence(ok(), per=per), lambda per: cycle(ok(), per=per), lambda per: sometimes(1, ok(), per=per)],
)
def test_plan_is_dealt_per_attempt_or_per_connection_and_nothing_else(make):
    assert (make("attempt").per, make("connection").per) == ("attempt", "connection")
    assert message_of(make, "connexion") == (
        "per='connexion': expected one of 'attempt', 'connection'. Did you mean 'connection'?"
    )


def test_chance_in_a_sequence_that_counts_otherwise_is_an_error():
    with pytest.raises(ParameterError, match="per="):
        sequence(sometimes(0.5, reset(), per="connection"), ok())


@each_row(
    ("plan", "text"),
    [
        (sequence(refuse(), ok(b"x")), "sequence(refuse(), ok(b'x'))"),
        (cycle(ok(), reset(), per="connection"), "cycle(ok(), reset(), per='connection')"),
        (sometimes(0.3, reset(), seed=1), "sometimes(0.3, reset(), otherwise=ok())"),
        (sequence(sometimes(1, close())), "sequence(sometimes(1, close(), otherwise=ok()))"),
    ],
)
def test_plan_is_written_as_a_reader_would_write_it(plan, text):
    assert repr(plan) == text


def test_plan_of_equal_faults_is_an_equal_plan():
    assert sequence(ok(b"x"), reset()) == sequence(ok(body=b"x"), reset())
    assert sequence(ok()) != cycle(ok())


@each_row("plan", [ok(), sequence(reset(), ok()), cycle(ok()), sometimes(0.5, reset())])
def test_plan_passes_its_check_as_it_is(plan):
    assert checked_plan(plan) is plan


@each_row("plan", [None, "reset", 5, [reset()], "x" * 78])
def test_what_is_no_plan_is_an_error(plan):
    assert message_of(checked_plan, plan).startswith(
        f"plan={plan!r}: expected a fault such as reset() or ok(), or a plan such as sequence(…)"
    )


def test_middle_of_what_is_no_plan_is_left_out_if_it_is_long():
    assert message_of(checked_plan, "x" * 79).startswith(f"plan='{'x' * 39}...{'x' * 19}': expected")


def test_mode_that_was_not_called_is_an_error_that_says_so():
    assert message_of(checked_plan, reset).endswith("or a plan such as sequence(…); write reset().")


def test_entries_of_a_plan_are_its_own_or_itself():
    assert entries_of(sequence(ok(), reset())) == (ok(), reset())
    assert entries_of(reset()) == (reset(),)
    assert entries_of(sometimes(0.5, reset())) == (sometimes(0.5, reset()),)


def test_all_faults_that_a_plan_can_deal_are_known():
    choosing = when(bool, close(), otherwise=echo())
    plan = sequence(sometimes(0.5, reset(), otherwise=refuse()), choosing)

    assert faults_of(plan) == (reset(), refuse(), choosing, close(), echo())


# --- chance ----------------------------------------------------------------------------------------------


@each_row(("probability", "fault"), [(0, ok()), (0.0, ok()), (1, reset()), (1.0, reset())])
def test_probability_of_0_is_never_and_of_1_is_always(probability, fault):
    assert first(50, sometimes(probability, reset())) == [fault] * 50


def test_same_seed_deals_the_same_faults_near_the_probability():
    one, two = (first(1000, sometimes(0.3, reset(), seed=7)) for _ in range(2))

    assert one == two
    assert 250 <= one.count(reset()) <= 350
    assert {*one} == {reset(), ok()}


def test_other_seed_deals_other_faults():
    assert first(100, sometimes(0.5, reset(), seed=1)) != first(100, sometimes(0.5, reset(), seed=2))


def test_otherwise_is_dealt_else():
    assert {*first(100, sometimes(0.5, reset(), otherwise=close(), seed=1))} == {reset(), close()}


def test_without_a_seed_chance_follows_the_scope(scope):
    plan = sometimes(0.5, reset())
    dealt_twice = []
    for _ in range(2):
        scope("seed/tests/test_x.py::test_y")
        dealt_twice.append((first(100, plan), first(100, plan)))

    assert dealt_twice[0] == dealt_twice[1]
    assert dealt_twice[0][0] != dealt_twice[0][1]


def test_scope_knows_whether_chance_was_used(scope):
    entered = scope("x")
    Dealer(sometimes(0.5, reset(), seed=1))
    before = entered.was_used
    Dealer(sometimes(0.5, reset()))

    assert (before, entered.was_used) == (False, True)


def test_scope_is_entered_by_its_name(scope):
    scope("before")
    entered = chance.enter("mine")
    drawn = chance.generator().random()

    assert drawn == chance.Scope("mine").generator().random()
    assert entered.was_used


def test_each_entry_of_a_sequence_has_chance_of_its_own(scope):
    scope("x")
    dealt_ = first(200, cycle(sometimes(0.5, reset()), sometimes(0.5, reset())))

    assert dealt_[::2] != dealt_[1::2]


def test_each_entry_of_a_sequence_follows_its_own_seed():
    one, other = sometimes(0.5, reset(), seed=1), sometimes(0.5, reset(), seed=2)
    dealt_ = first(200, cycle(one, other))

    assert dealt_[::2] == first(100, one)
    assert dealt_[1::2] == first(100, other)
    assert first(100, one) != first(100, other)


@each_row(
    ("plan", "draws"),
    [
        (sometimes(1, reset()), True),
        (sequence(ok(), sometimes(1, reset())), True),
        (latency(1, jitter_seconds=0.1), True),
        (sequence(ok(), latency(1, jitter_seconds=0.1) & ok(b"x")), True),
        (when(bool, ok()), False),
        (corrupt(probability=0.1), True),
        (corrupt(at_byte=1), False),
        (latency(1), False),
        (drip() & drop_bytes(), False),
        (loss(0.1), False),
        (reset(), False),
    ],
)
def test_plan_knows_whether_chance_decides_anything_that_a_seed_repeats(plan, draws):
    assert draws_chance(plan) is draws


@each_row("probability", [-0.1, 1.1, 101, True, "often", "3", None, float("nan")])
def test_what_is_no_probability_is_refused(probability):
    assert message_of(sometimes, probability, reset()) == (
        f"probability={probability!r}: expected a probability from 0 to 1."
    )


def test_probability_that_is_text_is_answered_with_the_number_to_write():
    assert message_of(sometimes, "0.3", reset()) == "probability='0.3': expected a probability from 0 to 1; write 0.3."


@each_row("seed", [-1, 1.5, "one", True])
def test_what_is_no_seed_is_refused(seed):
    assert message_of(sometimes, 0.5, reset(), seed=seed) == f"seed={seed!r}: expected a whole number, 0 or more."


@each_row("make", [lambda **faults: sometimes(0.5, **faults), lambda **faults: when(bool, **faults)])
@each_row("wrong", [None, reset, sequence(ok())])
def test_what_is_no_fault_is_refused_by_name(make, wrong):
    expected = f"{getattr(wrong, '__name__', repr(wrong))}: expected a fault such as reset() or ok()"

    assert message_of(make, fault=wrong).startswith(f"fault={expected}")
    assert message_of(make, fault=ok(), otherwise=wrong).startswith(f"otherwise={expected}")


# --- what is asked ---------------------------------------------------------------------------------------


def resolved(fault, request):
    return Dealer(fault).resolved(fault, request)


def pays(request):
    return request.target == "/pay"


PAY, LOOK = Request("POST", "/pay"), Request("GET", "/look")


@each_row(
    ("fault", "paying", "looking"),
    [
        (reset(), reset(), reset()),
        (when(pays, reset()), reset(), ok()),
        (when(pays, reset(), otherwise=close(at="idle")), reset(), close(at="idle")),
        (when(pays, when(bool, stall()), otherwise=echo()), stall(), echo()),
        (latency(0.1) & when(pays, reset()), latency(0.1) & reset(), latency(0.1) & ok()),
        (when(pays, latency(0.1) & ok()), latency(0.1) & ok(), ok()),
        (when(pays, reset()) & bad_cert("expired"), bad_cert("expired") & reset(), bad_cert("expired") & ok()),
    ],
)
def test_fault_is_chosen_by_the_request(fault, paying, looking):
    assert (resolved(fault, PAY), resolved(fault, LOOK)) == (paying, looking)


def test_chosen_fault_says_what_it_is_and_not_how_it_was_chosen():
    assert repr(resolved(latency(0.1) & when(pays, reset()), PAY)) == "latency(0.1) & reset()"
    assert repr(resolved(when(pays, reset()), LOOK)) == "ok()"


def test_choice_is_written_with_the_name_of_its_function():
    assert repr(when(pays, reset())) == "when(pays, reset(), otherwise=ok())"


@each_row("condition", [None, "/pay", True])
def test_condition_that_is_no_function_is_refused(condition):
    assert message_of(when, condition, reset()) == (
        f"condition={condition!r}: expected a function of a request, such as lambda r: r.target == '/pay'."
    )


@each_row(
    "early",
    [
        refuse(),
        blackhole(),
        reset(at="accept"),
        bad_cert("expired"),
        stall(at="request"),
        latency(0.1, direction="request"),
        script(send(b"x")),
    ],
)
def test_fault_that_strikes_before_the_request_is_read_cannot_be_chosen_by_it(early):
    expected = f"{early!r}: expected a fault at 'response' or 'idle', after the request is read."

    assert message_of(when, pays, early) == f"fault={expected}"
    assert message_of(when, pays, ok(), otherwise=early) == f"otherwise={expected}"


@each_row("other", [reset(), refuse(), ok(b"x"), when(bool, ok())])
def test_choice_composes_with_nothing_that_it_may_choose(other):
    with pytest.raises(ConflictError):
        when(pays, reset()) & other


# --- dealing ---------------------------------------------------------------------------------------------


def test_upcoming_fault_is_the_next_one_dealt_and_stays_until_then():
    dealer = Dealer(sequence(refuse(), reset(), ok()))
    seen = [(dealer.upcoming(), dealer.upcoming(), dealer.deal()) for _ in range(4)]

    assert seen == [(fault,) * 3 for fault in (refuse(), reset(), ok(), ok())]


def test_change_of_plan_begins_at_its_first_fault():
    dealer = Dealer(sequence(reset(), close(), ok()))
    dealer.deal()
    dealer.change(sequence(refuse(), ok()))

    assert [dealer.deal() for _ in range(3)] == [refuse(), ok(), ok()]


def test_further_request_meets_the_next_fault():
    dealer = Dealer(sequence(ok(b"1"), reset(), close()))
    current = dealer.deal()

    assert not dealer.ends_connection(current)
    assert dealer.deal_kept(current) == reset()
    assert dealer.upcoming() == close()


@each_row("opening", [refuse(), stall(at="accept"), bad_cert("expired"), script(send(b"220"))])
def test_fault_of_the_opening_waits_for_a_new_connection(opening):
    dealer = Dealer(sequence(ok(b"1"), opening, ok()))
    current = dealer.deal()

    assert dealer.ends_connection(current)
    assert dealer.deal_kept(current) == ok()
    assert dealer.upcoming() == opening


@each_row("make", [sequence, cycle])
def test_per_connection_all_its_attempts_meet_the_same_fault(make):
    dealer = Dealer(make(ok(b"1"), refuse(), per="connection"))
    current = dealer.deal()

    assert not dealer.ends_connection(current)
    assert dealer.deal_kept(current) is current
    assert dealer.upcoming() == refuse()


def test_chance_can_be_per_connection_too():
    dealer = Dealer(sometimes(0.5, reset(), seed=1, per="connection"))
    current = dealer.deal()

    assert [dealer.deal_kept(current) for _ in range(20)] == [current] * 20


def test_each_fault_is_dealt_once_however_many_threads_ask():
    faults = [ok(b"%d" % number) for number in range(800)]
    dealer = Dealer(sequence(*faults, reset()))
    got = []

    def ask():
        for _ in range(100):
            got.append(dealer.deal())  # noqa: PERF401 - one at a time is the point

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {*got} == {*faults}
    assert len(got) == 800


def test_a_dealer_that_goes_on_keeps_its_place_and_that_of_each_attempt():
    dealer = Dealer(stamped(sequence(reset(), sometimes(0, close()), refuse(for_seconds=1)), 0))
    first, second = dealer.deal(), dealer.deal()
    late = latency(1)
    dealer.go_on(stamped(sequence(late & reset(), sometimes(0, late & close(), otherwise=late & ok()), refuse()), 1))

    assert [dealer.again(first), dealer.again(second), dealer.again(ok())] == [late & reset(), late & ok(), ok()]
    assert [dealer.upcoming(), dealer.deal(), dealer.deal()] == [refuse(), refuse(), ok()]
