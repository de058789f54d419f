"""Chains: what each condition does to bytes and ends, and when, by a clock that never waits."""

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.chains import altered, chain_of, left, through
from support.tables import each_row

import faultline as fl
from faultline import corrupt, drip, drop_bytes, duplicate, latency, ok, one_way, slicer, slow_close, throttle
from faultline._core.chain import HELD_BYTES
from faultline._core.conditions import Latency, SlowClose
from faultline._core.stages import End
from faultline._core.toxics import Held, LimitData, PacketLoss, ResetPeer, Timeout

END = End()
HEAD = b"HTTP/1.1 200 OK\r\nA: 1\r\nB: 2\n\r\n"
TICKS = [(tick / 20, b"%d" % tick) for tick in range(8)]


def times(fault, *items, **options):
    return [at for at, _ in through(fault, *items, **options)]


# --- when ------------------------------------------------------------------------------------------------------------


@each_row(
    ("fault", "items", "leaving"),
    [
        (ok(), [(1, b"a"), (2, END)], [(1, b"a"), (2, END)]),
        (latency(0.5), [(0, b"a"), (0.2, b"b"), (3, b"c")], [(0.5, b"a"), (0.7, b"b"), (3.5, b"c")]),
        (latency(0.5) & latency(0.25), [(0, b"a"), (1, b"b")], [(0.75, b"a"), (1.75, b"b")]),
        (latency(0.5), [(0, b"a"), (0, END)], [(0.5, b"a"), (0.5, END)]),  # an end never overtakes
        (latency(5, for_seconds=1), [(2, b"a"), (2.5, b"b"), (3, b"c")], [(7, b"a"), (7.5, b"b"), (7.5, b"c")]),
        (drip(3, every_seconds=0.25), [(0, b"abcdefgh")], [(0, b"abc"), (0.25, b"def"), (0.5, b"gh")]),
        (
            drip(1, every_seconds=0.25),
            [(0, b"ab"), (0.3, b"c"), (9, b"de")],
            [(0, b"a"), (0.25, b"b"), (0.5, b"c"), (9, b"d"), (9.25, b"e")],
        ),
        (drip(1, every_seconds=1, for_seconds=1), [(0, b"ab"), (1, b"cd")], [(0, b"a"), (1, b"b"), (1, b"cd")]),
        (throttle(100), [(0, b"abc")], [(0.02, b"ab"), (0.03, b"c")]),
        (throttle(100), [(0, b"ab"), (60, b"cd")], [(0.02, b"ab"), (60.02, b"cd")]),  # silence earns no credit
        (throttle(100) & throttle(50), [(0, b"ab")], [(0.04, b"a"), (0.06, b"b")]),
        (throttle(100) & latency(1), [(0, b"abc")], [(1.02, b"ab"), (1.03, b"c")]),
        (latency(1) & throttle(100), [(0, b"abc"), (0.5, b"d")], [(1.02, b"ab"), (1.03, b"c"), (1.51, b"d")]),
        (slicer(3), [(0, b"abcdefgh")], [(0, b"abc"), (0, b"def"), (0, b"gh")]),
        (slicer(3, every_seconds=0.5), [(0, b"abcd"), (0.6, b"e")], [(0, b"abc"), (0.5, b"d"), (1, b"e")]),
        (slow_close(2), [(0, b"a"), (1, END)], [(0, b"a"), (3, END)]),
        (slow_close(2) & slow_close(3), [(1, END)], [(6, END)]),
        (slow_close(2, for_seconds=1), [(0, b"a"), (0.5, END)], [(0, b"a"), (2.5, END)]),
        (slow_close(2, for_seconds=1), [(0, b"a"), (1, END)], [(0, b"a"), (1, END)]),
        (drop_bytes(4, for_seconds=1), [(0, b"a"), (0.5, b"b"), (1, b"cde")], [(1, b"cde")]),
        (drop_bytes(1, at_byte=1, for_seconds=1), [(0, b"a"), (1, b"bc")], [(0, b"a"), (1, b"bc")]),
        (duplicate(2, for_seconds=1), [(0, b"a"), (0.5, b"bc")], [(0, b"a"), (0.5, b"babc")]),
        (duplicate(2, for_seconds=1), [(0, b"a"), (1, b"bc")], [(0, b"a"), (1, b"bc")]),
        (one_way(), [(0, b"a"), (1, END)], [(1, END)]),
        (one_way(for_seconds=1), [(0, b"a"), (1, b"b")], [(1, b"b")]),
        (drip(2, every_seconds=1, from_body=True), [(0, HEAD + b"abc")], [(0, HEAD), (0, b"ab"), (1, b"c")]),
        (
            throttle(100, from_body=True),
            [(0, HEAD[:9]), (0, HEAD[9:] + b"a")],
            [(0, HEAD[:9]), (0, HEAD[9:]), (0.01, b"a")],
        ),
        (
            fl.trickle_headers(1, every_seconds=1),
            [(0, HEAD + b"body\nbody\n\nbody\n")],
            [(0, b"HTTP/1.1 200 OK\r\n"), (1, b"A: 1\r\n"), (2, b"B: 2\n"), (3, b"\r\n"), (4, b"body\nbody\n\nbody\n")],
        ),
        (
            fl.trickle_headers(1, every_seconds=1),
            [(0, b"A: 1\n\n"), (9, b"text")],
            [(0, b"A: 1\n"), (1, b"\n"), (9, b"text")],
        ),
    ],
)
def test_each_thing_leaves_when_its_conditions_say(fault, items, leaving):
    assert through(fault, *items) == leaving


@pytest.mark.slow
@given(
    st.lists(
        st.sampled_from(
            [
                latency(0.3),
                latency(0.1, jitter_seconds=0.3),
                drip(2, every_seconds=0.1),
                throttle(50),
                slicer(2, variation_bytes=1, every_seconds=0.05),
            ]
        ),
        max_size=4,
    ),
    st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=9)), max_size=6),
    st.booleans(),
)
def test_nothing_is_lost_reordered_or_early_whatever_the_chain(faults, gaps, asks_often):
    fault = ok()
    for each in faults:
        fault &= each
    chain, now, out, said = chain_of(fault), 0.0, [], []
    for gap, data in gaps:
        now += gap
        said.append((now, data))
        if asks_often:
            out += left(chain, now)
        chain.put(data, now)
    chain.put(END, now)
    out += left(chain)

    assert out.pop()[1] == END
    assert b"".join(data for _, data in out) == b"".join(data for _, data in said)
    assert [at for at, _ in out] == sorted(at for at, _ in out)
    came = list(itertools.chain.from_iterable([at] * len(data) for at, data in said))
    went = list(itertools.chain.from_iterable([at] * len(data) for at, data in out))
    assert all(late >= soon - 1e-6 for soon, late in zip(came, went, strict=True))
    assert out == through(fault, *said)  # the same, however often it is asked


@pytest.mark.slow
@given(st.integers(1, 1000), st.lists(st.tuples(st.floats(0, 2), st.integers(1, 60)), min_size=1, max_size=5))
def test_no_window_of_time_has_more_than_the_rate(rate, gaps):
    arrivals = itertools.accumulate(gap for gap, _ in gaps)
    out = through(throttle(rate), *((at, b"x" * size) for at, (_, size) in zip(arrivals, gaps, strict=True)))

    passed = list(itertools.accumulate(len(data) for _, data in out))
    for first, last in itertools.combinations(range(len(out)), 2):
        assert passed[last] - passed[first] <= rate * (out[last][0] - out[first][0]) + 1e-6


@pytest.mark.parametrize("distribution", ["uniform", "normal", "lognormal", "pareto"])
def test_delays_have_the_mean_and_the_deviation_of_their_distribution(distribution):
    condition, chance = Latency(1.0, 0.3, distribution), random.Random(5)
    drawn = [condition.drawn_seconds(chance) for _ in range(20_000)]
    mean = sum(drawn) / len(drawn)
    deviation = math.sqrt(sum((each - mean) ** 2 for each in drawn) / len(drawn))

    assert mean == pytest.approx(1.0, rel=0.02)
    assert deviation == pytest.approx(0.3 / math.sqrt(3) if distribution == "uniform" else 0.3, rel=0.15)
    assert min(drawn) >= {"uniform": 0.7, "lognormal": 0.2, "pareto": 0.7}.get(distribution, 0)
    assert condition.draws
    assert condition.is_certain is (distribution != "normal")


def test_a_loss_is_certain_if_it_is_of_every_chunk():
    assert [PacketLoss(probability).is_certain for probability in (0.0, 0.9, 1.0)] == [False, False, True]


def test_a_delay_is_never_negative():
    for distribution in ("uniform", "normal"):
        condition, chance = Latency(0.1, 10.0, distribution), random.Random(3)
        drawn = [condition.drawn_seconds(chance) for _ in range(100)]

        assert min(drawn) == 0
        assert max(drawn) > 5
        assert not condition.is_certain


def test_a_seed_repeats_delays_and_sizes():
    fault = latency(1, jitter_seconds=0.5) & slicer(3, variation_bytes=2)

    assert through(fault, *TICKS, seed=1) == through(fault, *TICKS, seed=1) != through(fault, *TICKS, seed=2)
    assert {len(data) for _, data in through(slicer(3, variation_bytes=2), (0, b"x" * 500))} == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("cut", [1, 2, 3, 100])
@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
def test_a_head_ends_with_its_empty_line_however_its_bytes_are_cut(cut, end):
    data, fault = b"A: 1" + end + b"text\n\ntext", drip(1, every_seconds=1, from_body=True)

    out = through(fault, *((0, data[at : at + cut]) for at in range(0, len(data), cut)))

    at_once = [data for at, data in out if at == 0]
    assert b"".join(at_once) == b"A: 1" + end + b"t"
    assert [data for at, data in out if at] == [bytes([byte]) for byte in b"ext\n\ntext"]


def test_a_message_begins_when_the_other_side_has_spoken():
    chain = chain_of(drip(1, every_seconds=1, from_body=True))
    chain.put(HEAD + b"a", 0)
    assert left(chain) == [(0, HEAD), (0, b"a")]
    chain.put(HEAD, 5)
    assert len(left(chain)) == len(HEAD)
    chain.turn()
    chain.put(HEAD, 100)
    assert left(chain) == [(100, HEAD)]


# --- what ------------------------------------------------------------------------------------------------------------


def edited(data, fault):
    """The whole stream after one change, byte by byte."""
    [condition] = fault.conditions
    first, end = condition.at_byte, getattr(condition, "end_byte", 0)
    if fault == corrupt(at_byte=first):
        return bytes(byte ^ 1 if at == first else byte for at, byte in enumerate(data))
    if condition.times:
        return data[:end] + data[first:end] + data[end:] if len(data) >= end else data
    return data[:first] + data[end:]


places, counts = st.integers(0, 45), st.integers(1, 45)
edits = st.one_of(
    st.builds(lambda count, at: drop_bytes(count, at_byte=at), counts, places),
    st.builds(lambda count, at: duplicate(count, at_byte=at), counts, places),
    st.builds(lambda at: corrupt(at_byte=at), places),
)


@pytest.mark.slow
@given(st.data(), st.binary(max_size=40), st.lists(edits, max_size=3))
def test_changes_are_made_in_turn_and_the_same_however_the_stream_is_cut(draws, data, changes):
    ends = sorted(draws.draw(st.lists(st.integers(0, len(data)), max_size=8)))
    pieces = [data[begin:end] for begin, end in zip([0, *ends], [*ends, len(data)], strict=True)]
    fault, expected = ok(), data
    for change in changes:
        fault, expected = fault & change, edited(expected, change)

    assert altered(fault, pieces) == expected


@given(st.binary(max_size=40), st.integers(1, 9), st.floats(0.01, 1), st.integers(0, 5))
def test_chance_changes_the_same_bytes_however_they_are_cut(data, cut, probability, seed):
    chance = random.Random(seed)
    expected = bytes(byte ^ (chance.random() < probability) for byte in data)

    pieces = [data[at : at + cut] for at in range(0, len(data), cut)]
    assert altered(corrupt(probability=probability), pieces, seed=seed) == expected


@each_row(
    ("direction", "changes"),
    [
        ("request", {"request"}),
        ("response", {"response"}),
        ("both", {"request", "response"}),
        ("handshake", {"handshake"}),
    ],
)
def test_a_condition_is_of_its_own_direction_alone(direction, changes):
    fault = corrupt(at_byte=0, direction=direction) & latency(1, direction=direction)

    seen = {at for at in ("request", "response", "handshake") if through(fault, (0, b"a"), direction=at) != [(0, b"a")]}
    assert seen == changes


# --- strikes ---------------------------------------------------------------------------------------------------------


@each_row(
    ("fault", "strikes"),
    [
        (latency(0.1), [("condition 1", 0)]),
        (latency(0), []),
        (throttle(10), [("condition 1", 0)]),
        (drip(100), []),
        (drip(9), [("condition 1", 0)]),
        (drip(3, from_body=True), []),
        (slicer(4), [("condition 1", 0)]),
        (slow_close(1), [("condition 1", 10)]),
        (one_way(), [("condition 1", 0)]),
        (corrupt(at_byte=4), [("condition 1", 4)]),
        (corrupt(at_byte=10), []),
        (drop_bytes(3, at_byte=9), [("condition 1", 9)]),
        (duplicate(3, at_byte=6), [("condition 1", 9)]),
        (duplicate(3, at_byte=8), []),
        (drop_bytes(2) & latency(1) & corrupt(at_byte=1), [("condition 1", 0), ("condition 2", 0), ("condition 3", 1)]),
    ],
)
def test_a_condition_strikes_once_when_it_first_changes_something(fault, strikes):
    seen = []
    chain = chain_of(fault, strike=lambda key, after_bytes: seen.append((str(key), after_bytes)))
    chain.put(b"0123456789", 0)
    chain.put(END, 0)
    left(chain)

    assert seen == strikes


# --- live changes ----------------------------------------------------------------------------------------------------


def changed(chain, fault, now):
    chain.change(fault.conditions, lambda _key, _after_bytes: None, now)


@each_row(
    ("before", "after", "leaving"),
    [
        (latency(5), ok(), [(2, b"ab"), (2, b"cd"), (2, END)]),
        (latency(5), latency(5), [(5, b"ab"), (6, b"cd"), (6, END)]),
        (latency(5), latency(5) & latency(1), [(6, b"ab"), (7, b"cd"), (7, END)]),
        (latency(5) & latency(1), latency(5), [(5, b"ab"), (6, b"cd"), (6, END)]),
        (latency(5) & latency(1), latency(1), [(3, b"ab"), (3, b"cd"), (3, END)]),
        (latency(5) & drip(1, every_seconds=9), ok(), [(2, b"ab"), (2, b"cd"), (2, END)]),
        (drip(1, every_seconds=2) & latency(1), ok(), [(1, b"a"), (2, b"b"), (2, b"c"), (2, b"d"), (2, END)]),
        (latency(5), latency(1), [(2, b"ab"), (2, b"cd"), (2, END)]),
        (drip(1, every_seconds=9), ok(), [(0, b"a"), (2, b"b"), (2, b"cd"), (2, END)]),
        (drip(1, every_seconds=9) & latency(1), latency(1), [(1, b"a"), (3, b"b"), (3, b"cd"), (3, END)]),
        (latency(5) & drop_bytes(1, at_byte=2), drop_bytes(1, at_byte=2), [(2, b"ab"), (2, b"d"), (2, END)]),
        (ok(), latency(5), [(0, b"ab"), (1, b"cd"), (1, END)]),
    ],
)
def test_a_change_keeps_what_stays_and_flushes_what_goes_in_order(before, after, leaving):
    chain = chain_of(before)
    chain.put(b"ab", 0)
    out = left(chain, 0)
    chain.put(b"cd", 1)
    chain.put(END, 1)
    out += left(chain, 2)
    changed(chain, after, 2)

    assert out + [(at, what) for at, what in left(chain)] == leaving


def test_a_stage_that_stays_keeps_its_count_and_its_chance():
    chain, same = chain_of(corrupt(at_byte=3) & latency(1, jitter_seconds=1)), chain_of(latency(1, jitter_seconds=1))
    for each in (chain, same):
        each.put(b"ab", 0)
        left(each)
    changed(chain, latency(1, jitter_seconds=1) & corrupt(at_byte=3), 5)
    for each in (chain, same):
        each.put(b"ab", 10)

    [(at, _)], [(when, what)] = left(same), left(chain)
    assert (when, what) == (at, b"ac")


# --- toxics ----------------------------------------------------------------------------------------------------------


def toxic(make, *args, **options):
    return fl.Fault(conditions=(make(*args, **options),))


@each_row(
    ("fault", "items", "leaving"),
    [
        (toxic(LimitData, 3), [(0, b"ab"), (1, b"cd"), (2, b"e")], [(0, b"ab"), (1, b"c"), (1, "FIN")]),
        (toxic(LimitData, 2), [(0, b"ab")], [(0, b"ab"), (0, "FIN")]),
        (toxic(LimitData, 0), [(1, b"ab"), (2, b"c")], [(1, "FIN")]),
        (toxic(ResetPeer, 2), [(1, b"ab"), (2, b"c"), (2, END)], [(3, "RST")]),
        (toxic(ResetPeer, 2), [(1, END)], [(3, "RST")]),
        (toxic(Timeout, 5), [(1, b"ab"), (4, b"c")], [(9, "FIN")]),
        (toxic(Timeout, 5), [], [(5, "FIN")]),
        (toxic(Timeout, 0), [(1, b"ab"), (4, END)], [(4, END)]),
        (toxic(PacketLoss, 1.0), [(1, b"ab"), (4, END)], [(4, END)]),
        (toxic(PacketLoss, 0.0, 1.0), [(1, b"ab")], [(1, b"ab")]),
        (toxic(LimitData, 3, share=0), [(0, b"abcd"), (1, END)], [(0, b"abcd"), (1, END)]),
        (toxic(ResetPeer, 3, share=0), [(0, b"abcd"), (1, END)], [(0, b"abcd"), (1, END)]),
        (toxic(Timeout, 3, share=0), [(0, b"abcd"), (9, END)], [(0, b"abcd"), (9, END)]),
        (toxic(SlowClose, 3, share=0), [(0, b"abcd"), (1, END)], [(0, b"abcd"), (1, END)]),
    ],
)
def test_toxics_end_a_connection_or_throw_bytes_away(fault, items, leaving):
    out = through(fault, *items)

    assert [(at, what.error.how if isinstance(what, End) and what.error else what) for at, what in out] == leaving


def test_a_lost_chunk_makes_the_loss_of_the_next_more_likely():
    share, chunks = 0.1, 5000
    alone, joined = (
        len(through(toxic(PacketLoss, share, more), *((0, b"x") for _ in range(chunks)), seed=4)) for more in (0, 0.5)
    )
    assert 0.88 * chunks < alone < 0.92 * chunks
    assert 0.75 * chunks < joined < 0.86 * chunks  # one in five: 0.1 / (1 - 0.5)


def test_a_share_of_connections_is_drawn_once_and_an_update_draws_no_second_time():
    fault, other = toxic(LimitData, 0, share=0.5, name="one"), toxic(LimitData, 9, share=0.5, name="one")
    acts = []
    for seed in range(200):
        chain = chain_of(fault, seed=seed)
        before = chain.pop(0)
        changed(chain, other, 1)
        chain.put(b"x" * 10, 1)
        acts.append(len(left(chain)[0][1]) == 9)
        assert before is None
    assert 80 < sum(acts) < 120


def test_a_limit_counts_from_when_it_was_added_and_an_update_keeps_the_count():
    chain = chain_of(ok())
    chain.put(b"abc", 0)
    left(chain)
    changed(chain, toxic(LimitData, 4, name="one"), 1)
    chain.put(b"def", 1)
    assert left(chain) == [(1, b"def")]
    changed(chain, toxic(LimitData, 5, name="one"), 2)
    chain.put(b"ghi", 2)
    assert next(what for _, what in left(chain)) == b"gh"


@each_row(("after", "ends"), [(ok(), True), (toxic(Timeout, 9, name="one"), False)])
def test_a_timeout_that_is_taken_away_closes_the_connection_and_one_that_changes_does_not(after, ends):
    chain = chain_of(toxic(Timeout, 0, name="one"))
    chain.put(b"abc", 0)
    left(chain)
    changed(chain, after, 1)

    assert [what.error.how for _, what in left(chain, 5)] == (["FIN"] if ends else [])


def test_what_a_condition_with_other_numbers_held_leaves_and_what_comes_meets_the_new_ones():
    chain = chain_of(toxic(Latency, 9, name="one"))
    chain.put(b"a", 1)
    assert left(chain, 2) == []
    chain.put(b"b", 2)
    changed(chain, toxic(Latency, 3, name="one"), 4)

    assert left(chain) == [(4, b"a"), (5, b"b")]


def test_what_waits_in_front_of_a_limit_that_changes_does_not_evade_it():
    slow = throttle(1)
    chain = chain_of(slow & toxic(LimitData, 9, name="one"))
    chain.put(b"ab", 0)
    chain.put(b"cd", 0)
    left(chain, 1)
    changed(chain, slow & toxic(LimitData, 3, name="one"), 1)

    assert b"".join(what for _, what in left(chain) if isinstance(what, bytes)) == b"bc"


def test_a_condition_of_another_kind_or_name_begins_anew():
    for other in (toxic(LimitData, 4, name="two"), toxic(LimitData, 4)):
        chain = chain_of(toxic(LimitData, 5, name="one"))
        chain.put(b"abc", 1)
        left(chain, 1)
        changed(chain, other, 2)
        chain.put(b"def", 3)
        assert left(chain, 3) == [(3, b"def")]


def test_a_lot_is_drawn_once_and_a_share_that_changes_is_measured_by_it():
    acts = []
    for seed in range(100):
        chain = chain_of(toxic(LimitData, 0, name="one", share=0.5), seed=seed)
        stage = chain._links[0].stage
        acts.append(stage.acts)
        for share, expected in ((0.5, stage.acts), (1, True), (0, False), (0.5, stage.acts)):
            changed(chain, toxic(LimitData, 0, name="one", share=share), 1)
            assert chain._links[0].stage.acts is expected

    assert 30 < sum(acts) < 70


def test_a_condition_that_begins_to_draw_has_a_generator_then():
    chain = chain_of(toxic(Latency, 1, name="one"), seed=1)
    changed(chain, toxic(Latency, 1, 0.5, name="one"), 1)
    chain.put(b"a", 2)

    assert left(chain)[0][0] == round(3 - 0.5 + random.Random(1).random(), 9)


def test_bytes_that_are_held_leave_once_nothing_holds_them():
    chain = chain_of(toxic(Held))
    chain.put(b"a", 0)
    chain.put(END, 1)
    assert left(chain, 1e8) == []
    changed(chain, ok(), 2)

    assert left(chain) == [(2, b"a"), (2, END)]


# --- reading as it goes --------------------------------------------------------------------------------------------


def relayed(fault, data):
    """What comes through a chain, by the time, if as much is read as it takes, and all of it is there already."""
    chain, now, out = chain_of(fault), 0.0, []
    while True:
        while (what := chain.pop(now)) is not None:
            out.append((round(now, 9), what))
        if room := chain.room_bytes(len(data)):
            chain.put(data[:room], now)
            data = data[room:]
        elif (due := chain.due()) is not None:
            now = max(now, due)
        if not data and chain.due() is None:
            return out


@each_row(
    "fault",
    [
        *(throttle(1000), drip(10, every_seconds=0.02), slicer(10, every_seconds=0.02)),
        *(throttle(1000) & latency(0.1), drip(10, every_seconds=0.02) & latency(0.1)),
        *(throttle(1000) & throttle(1000), latency(0.1) & throttle(1000), throttle(1000, for_seconds=0.05)),
        *(drip(10, every_seconds=0.02, for_seconds=0.05), slicer(10, every_seconds=0.02, for_seconds=0.05)),
        throttle(1000, from_body=True) & latency(0.1),
    ],
)
def test_bytes_that_are_read_as_the_flow_takes_them_are_as_late_as_those_that_came_at_once(fault):
    data = HEAD + b"x" * 100

    def late(out):
        return [at for at, what in out for _ in what]

    assert late(relayed(fault, data)) == pytest.approx(late(through(fault, (0, data))))


# --- back-pressure ---------------------------------------------------------------------------------------------------


def test_a_chain_reads_no_more_than_it_may_hold():
    chain = chain_of(latency(1))
    chain.put(b"x" * (HELD_BYTES + 1), 0)
    left(chain, 0)
    assert chain.room_bytes(10) == 10  # that is in the stage, and nothing waits in front of it
    chain.put(b"x" * (HELD_BYTES - 3), 0)
    assert chain.room_bytes(10) == 3
    chain.put(b"xxx", 0)
    assert chain.room_bytes(10) == 0
    chain.put(END, 0)
    left(chain)
    assert chain.room_bytes(10) == 0  # behind an end nothing follows


@each_row(
    ("fault", "room", "while_busy"),
    [
        (throttle(1000), 20, 0),
        (drip(3), 3, 0),
        (latency(1) & drip(3), 100, 100),
        (drip(3) & latency(1), 3, 0),
        (corrupt(at_byte=0), 100, 100),
        (fl.trickle_headers(1, every_seconds=1), 100, 0),
    ],
)
def test_the_sender_feels_a_slow_flow(fault, room, while_busy):
    chain = chain_of(fault)
    assert chain.room_bytes(100) == room
    chain.put(b"x" * 30, 0)
    assert chain.room_bytes(100) == while_busy


def test_what_a_stage_has_cut_already_leaves_in_order_when_the_stage_is_gone():
    chain = chain_of(drip(2, every_seconds=1))
    chain.put(b"abcdef", 0.0)
    assert chain.pop(0.0) == b"ab"
    chain.change((), lambda *_: None, 0.5)
    left = b""
    while (piece := chain.pop(0.5)) is not None:
        left += piece
    assert left == b"cdef"


def test_what_one_stage_has_given_up_leaves_with_the_next_when_that_is_gone_too():
    fault = drip(2, every_seconds=1) & throttle(1)
    chain = chain_of(fault)
    chain.put(b"abcdef", 0.0)
    assert chain.pop(0.0) is None
    chain.change(fault.conditions[1:], lambda *_: None, 0.5)
    chain.change((), lambda *_: None, 0.6)
    left = b""
    while (piece := chain.pop(0.6)) is not None:
        left += piece
    assert left == b"abcdef"
