"""What every match of a pattern has, so that most bytes need no search: its greatest width, and bytes that it contains.

Python has no search that goes on where the last one ended, so a pattern is looked for again whenever bytes come.
"""

from __future__ import annotations

import functools
import importlib
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

# The parser of `re`, which has no public name.
PARSER: Any = importlib.import_module("re._parser" if sys.version_info >= (3, 11) else "sre_parse")
CONTENT, LEAST = 3, 0  # where a group has its content, and a repeat its smallest number


@dataclass(frozen=True)
class Needs:
    """What every match of a pattern has.

    Attributes:
        width: the greatest number of bytes in a match; a large number if there is no limit.
        contains: strings of bytes that are in every match.
        ends: the bytes that every match ends with.
    """

    width: int
    contains: tuple[bytes, ...]
    ends: bytes

    def may_match(self, window: bytes, begin: int, before: int) -> bool:
        """Whether a match can begin at `begin` or later and end after `before`."""
        if self.ends and window.find(self.ends, max(begin, before - len(self.ends) + 1)) < 0:
            return False
        return all(window.find(part, begin) >= 0 for part in self.contains)


@functools.lru_cache(maxsize=256)
def needs_of(pattern: re.Pattern[bytes]) -> Needs:
    """What every match of a pattern has."""
    parsed = PARSER.parse(pattern.pattern, pattern.flags)
    operations = set(operations_of(parsed))
    looks = operations & {"ASSERT", "ASSERT_NOT"}  # at bytes beside the match, which may come later
    width = sys.maxsize if looks else int(parsed.getwidth()[1])
    if pattern.flags & re.IGNORECASE:
        return Needs(width, (), b"")
    runs = [bytes(run) for run in runs_of(parsed)]
    ends = b"" if looks or "AT" in operations else runs[-1]
    return Needs(width, tuple(sorted({run for run in runs if run}, key=len, reverse=True)), ends)


def operations_of(parsed: object) -> Iterator[str]:
    """The names of the operations of a parsed pattern, at any depth."""
    if isinstance(parsed, (tuple, list, PARSER.SubPattern)):
        for part in parsed:
            yield from operations_of(part)
    elif parsed is not None:
        yield str(parsed)


def runs_of(parsed: Iterable[tuple[object, Any]]) -> Iterator[bytearray]:
    """The runs of bytes that are in every match, in order; the last is what a match ends with, and may be empty."""
    run = bytearray()
    for operation, argument in parsed:
        match str(operation):
            case "LITERAL":
                run.append(argument)
            case "SUBPATTERN" if not argument[1]:  # flags of its own
                yield run
                *inner, run = runs_of(argument[CONTENT])
                yield from inner
            case "MAX_REPEAT" | "MIN_REPEAT" if argument[LEAST] > 0:
                yield run
                *inner, run = runs_of(argument[2])
                yield from inner
            case "AT":  # an anchor has no bytes
                pass
            case _:
                yield run
                run = bytearray()
    yield run
