"""What every match of a pattern has: a search that leaves bytes out finds what a search through all of them finds."""

from __future__ import annotations

import random
import re
import sys

import pytest
from support.tables import each_row

from faultline import reset
from faultline._core import tripwire
from faultline._core.patterns import Needs, needs_of
from faultline._core.tripwire import Search, Tripwire

PATTERNS = [
    rb"ab",
    rb"a.*b",
    rb"(?s)a.*b",
    rb"a+b",
    rb"(ab)+c",
    rb"(?:ab)?c",
    rb"a|bc",
    rb"[ab]c",
    rb"(?i)AB",
    rb"a(?i:B)c",
    rb"a(?=b)",
    rb"a(?=.*c)",
    rb"a(?!b)c",
    rb"(?<=a)b",
    rb"(?<!a)b",
    rb"\bab\b",
    rb"a\B",
    rb"\Aab",
    rb"(?m)^ab$",
    rb"ab$",
    rb"(a)(b)\1",
    rb"(a)?(?(1)b|c)",
    rb"a{2,3}b",
    rb"a.b|ab.",
    rb"(a.b)c",
    rb"(?x) a b  # in words",
]
if sys.version_info >= (3, 11):
    PATTERNS += [rb"a++b", rb"(?>a|ab)c"]


def strike(pattern, pieces):
    """Which piece strikes, and at which of its bytes."""
    trip = Tripwire(reset(on=re.compile(pattern)).break_)
    for number, piece in enumerate(pieces):
        if (cut := trip.cut(piece)) is not None:
            return number, cut
    return None


CHANCE = random.Random(1)
SAID = [
    [bytes(CHANCE.choices(b"abcABC \n", k=CHANCE.randint(0, 4))) for _ in range(CHANCE.randint(1, 12))]
    for _ in range(200)
]


@pytest.mark.measured
@pytest.mark.slow
@pytest.mark.parametrize("pattern", PATTERNS)
def test_search_finds_what_a_search_through_everything_finds(pattern, monkeypatch):
    found = [strike(pattern, pieces) for pieces in SAID]
    monkeypatch.setattr(tripwire, "needs_of", lambda _: Needs(sys.maxsize, (), b""))

    assert [strike(pattern, pieces) for pieces in SAID] == found
    assert any(found)


@each_row(
    ("pattern", "needs"),
    [
        (rb"COMMIT", Needs(6, (b"COMMIT",), b"COMMIT")),
        (rb"(ab)+cd", Needs(sys.maxsize, (b"abcd",), b"abcd")),
        (rb"(?i)commit", Needs(6, (), b"")),
        (rb"a.b$", Needs(3, (b"a", b"b"), b"")),
        (rb"a(?=b)", Needs(sys.maxsize, (b"a",), b"")),
    ],
)
def test_needs_of_a_pattern(pattern, needs):
    found = needs_of(re.compile(pattern))

    width = sys.maxsize if found.width >= 2**32 - 1 else found.width  # before 3.11 the greatest is MAXREPEAT
    assert Needs(width, tuple(sorted(found.contains)), found.ends) == needs


@each_row("pattern", [rb"\d{16}", rb"(\w+)=(\d+);end", rb"(?s)COMMIT.*;"])
def test_bytes_that_cannot_end_a_match_are_not_searched(pattern):
    class Searched:
        def __init__(self):
            self.begins = []
            self.pattern, self.flags = pattern, re.compile(pattern).flags

        def search(self, window, begin):
            self.begins.append(len(window) - begin)

    searched = Searched()
    search = Search(searched)
    for _ in range(1000):
        search.cut(b"x ")

    assert max(searched.begins, default=0) <= 18
