"""The tripwire strikes at the same byte, however the bytes are cut up on their way."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st
from support.tables import each_row

from faultline import reset
from faultline._core.tripwire import PATTERN_WINDOW_BYTES, Enough, Prefixed, Search, Tripwire

# Few letters, so that markers are found, nearly found, and found more than once.
TEXT = st.lists(st.sampled_from(b"ab\n"), max_size=30).map(bytes)
MARKERS = st.lists(st.sampled_from(b"ab\n"), min_size=1, max_size=6).map(bytes)
# Each matches a fixed number of bytes: what can match more or less of them depends on what has come.
PATTERNS = st.sampled_from(
    [rb"a", rb"a.", rb"[ab]{3}", rb"b\nb", rb"(?s)a.b", rb"(?i)BA", rb"aa|b\n", rb"a(?:ab|ba)\n"]
)


@st.composite
def cut_up(draw, texts=TEXT):
    """Some bytes, and the same in pieces."""
    data = draw(texts)
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    return data, [data[i:j] for i, j in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def tripwire(**trigger):
    return Tripwire(reset(at="response", **trigger).break_)


def passed(trip, pieces):
    """What passes before it strikes, and whether it does."""
    before = b""
    for piece in pieces:
        cut = trip.cut(piece)
        if cut is not None:
            return before + piece[:cut], True
        before += piece
    return before, False


@given(cut_up(), st.integers(0, 35))
def test_so_many_bytes_pass(cut, count):
    data, pieces = cut
    trip = tripwire(after_bytes=count)

    assert passed(trip, pieces) == (data[:count], count <= len(data))
    assert trip.passed_bytes == min(count, len(data))


@given(st.lists(cut_up(), max_size=4), st.integers(0, 3), st.integers(1, 20))
def test_bytes_of_a_message_pass_and_no_other_message_has_the_strike(messages, count, within):
    trip, before, found = tripwire(after_messages=count, after_bytes=within), 0, []
    for data, pieces in messages:
        trip.begin_message()
        said, is_struck = passed(trip, filter(None, pieces))
        found += [before + len(said)] * is_struck
        before += len(data)

    ends = [sum(len(data) for data, _ in messages[:number]) + within for number in range(len(messages))]
    is_long = count < len(messages) and within <= len(messages[count][0])
    assert found == ([ends[count]] if is_long else [])


@given(cut_up(), MARKERS)
@example((b"aab", [b"a", b"ab"]), b"ab")
@example((b"ab", [b"a", b"", b"b"]), b"ab")
def test_bytes_pass_up_to_the_end_of_the_first_marker(cut, marker):
    data, pieces = cut
    trip = tripwire(on=marker)
    end = data.index(marker) + len(marker) if marker in data else len(data)

    assert passed(trip, pieces) == (data[:end], marker in data)
    assert trip.passed_bytes == end


@given(cut_up(), PATTERNS)
def test_bytes_pass_up_to_the_end_of_the_first_match(cut, pattern):
    data, pieces = cut
    trip = tripwire(on=re.compile(pattern))
    match = re.search(pattern, data)
    end = match.end() if match else len(data)

    assert passed(trip, pieces) == (data[:end], match is not None)
    assert trip.passed_bytes == end


@given(cut_up(), MARKERS)
def test_marker_and_its_pattern_strike_at_the_same_byte(cut, marker):
    _, pieces = cut

    assert passed(tripwire(on=marker), pieces) == passed(tripwire(on=re.compile(re.escape(marker))), pieces)


@given(TEXT, st.integers(0, 35), st.integers(1, 10))
def test_nothing_is_read_past_the_strike(data, count, wanted):
    trip = tripwire(after_bytes=count)
    read = b""
    while piece := data[len(read) : len(read) + trip.room_bytes(wanted)]:
        assert len(piece) <= wanted
        read += piece
        trip.cut(piece)

    assert read == data[:count]


@each_row("on", [b"ab", re.compile(rb"ab")])
def test_room_is_not_limited_where_words_are_looked_for(on):
    assert tripwire(on=on).room_bytes(1000) == 1000


def test_strike_after_no_bytes_needs_none():
    assert tripwire().cut(b"") == 0


@each_row("on", [b"ab", re.compile(rb"ab")])
def test_no_word_is_found_in_no_bytes(on):
    trip = tripwire(on=on)

    assert [trip.cut(b"a"), trip.cut(b""), trip.cut(b"b")] == [None, None, 1]


def test_long_marker_is_found_byte_by_byte():
    marker = bytes(range(256)) * 8
    trip = tripwire(on=marker)

    assert passed(trip, [bytes([byte]) for byte in b"x" * 100 + marker]) == (b"x" * 100 + marker, True)


@each_row(("gap", "strikes"), [(PATTERN_WINDOW_BYTES - 1, True), (PATTERN_WINDOW_BYTES, False)])
def test_pattern_reaches_back_as_far_as_its_window(gap, strikes):
    trip = tripwire(on=re.compile(rb"(?s)a.*b"))

    assert trip.cut(b"a" + b"-" * gap) is None
    assert (trip.cut(b"b") is not None) is strikes


@each_row("pattern", [rb"\Axy", rb"(?m)^xy"])
def test_beginning_is_that_of_what_was_said_and_not_of_the_window(pattern):
    trip = tripwire(on=re.compile(pattern))

    assert [trip.cut(b"-" + b"xy" * PATTERN_WINDOW_BYTES), trip.cut(b"xy")] == [None, None]


def test_what_was_looked_at_before_the_strike_is_not_kept_for_ever():
    trip = tripwire(on=b"\r\n")
    for _ in range(100):
        trip.cut(b"x" * 1000)

    assert len(trip._search._window) == 1
    assert trip.passed_bytes == 100_000


@each_row(("count", "cut"), [(0, 0), (3, 3), (5, 5), (6, None)])
def test_enough_is_a_number_of_bytes(count, cut):
    assert Enough(count).cut(b"hello") == cut


@each_row(("marker", "cut"), [(b"h", 1), (b"l", 3), (b"lo", 5), (b"hello", 5), (b"x", None), (b"hello!", None)])
def test_end_of_a_marker_is_behind_its_last_byte(marker, cut):
    assert Search(marker).cut(b"hello") == cut


@each_row("make", [lambda: Enough(5), lambda: Search(b"lo"), lambda: Search(b"o"), lambda: Search(b"hello")])
def test_end_is_found_byte_by_byte_among_the_new_bytes(make):
    end = make()

    assert [end.cut(bytes([byte])) for byte in b"hello"] == [None, None, None, None, 1]


@each_row(
    "said, cuts",
    [
        ([b"\0", b"\3", b"ab", b"cd"], [None, None, None, 1]),
        ([b"\0\3abcd"], [5]),
        ([b"\0\3", b"", b"abc"], [None, None, 3]),
        ([b"\0", b"\0x"], [None, 1]),
    ],
)
def test_a_length_and_its_message_come_in_any_pieces(said, cuts):
    end = Prefixed(2, "big", includes_length=False)

    assert [end.cut(data) for data in said] == cuts


def test_search_for_a_marker_keeps_no_more_than_the_marker_may_need():
    end = Search(b"\r\n\r\n")
    for _ in range(100):
        end.cut(b"x" * 1000)

    assert len(end._window) == 3
