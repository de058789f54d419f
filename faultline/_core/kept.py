"""The attempts that a ledger keeps: at most a number of them, and copied again only where they have changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faultline._core.attempts import Attempt, Entry

MOST_ATTEMPTS = 100_000
MOST_FIRSTS = 1_000  # of a server whose plan is changed again and again


class Kept:
    """The entries of a ledger, and their copies for readers.

    Attributes:
        dropped: how many entries were dropped.
        stale: the numbers of the entries that have changed since they were copied.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self.stale: set[int] = set()
        self._entries: dict[int, Entry] = {}  # by number
        self._copies: dict[int, Attempt] = {}
        self._firsts: dict[object, int] = {}  # the number of the attempt by its fault, or by the part that struck
        self._may_all_go = 0  # up to this number, firsts too

    def add(self, entry: Entry, most: int) -> Entry | None:
        """Keep an entry, and return the entry that was dropped: the oldest that is over, if there are over `most`.

        Those that go on stay, and the first attempt and the first strikes of each fault, which the guard looks for: of
        the last `MOST_FIRSTS`.
        """
        self._entries[entry.number] = entry
        entry.stale = self.stale
        self.stale.add(entry.number)
        if len(self._entries) <= most:
            return None
        oldest = next(filter(self._may_go, self._entries.values()), None)
        if oldest is not None:
            self.dropped += 1
            del self._entries[oldest.number]
            self._copies.pop(oldest.number, None)
            oldest.stale = None
            self.stale.discard(oldest.number)
        return oldest

    def _may_go(self, entry: Entry) -> bool:
        if entry.ended_seconds is None:
            return False
        if entry.number <= self._may_all_go:
            return True
        signs: list[object] = [mark for strike in entry.strikes for mark in strike.marks]
        if entry.fault.origin is not None:
            signs.append(entry.fault.origin)
        is_first = entry.number in [self._firsts.setdefault(sign, entry.number) for sign in signs]
        while len(self._firsts) > MOST_FIRSTS:
            self._may_all_go = self._firsts.pop(next(iter(self._firsts)))
        return not is_first

    def copies(self) -> tuple[Attempt, ...]:
        """Copies of all entries; the cost grows with what is new."""
        while self.stale:
            number = self.stale.pop()  # before the copy: a change after it makes the entry stale again
            if (entry := self._entries.get(number)) is not None:
                self._copies[number] = entry.frozen()
        return tuple(map(self._copies.__getitem__, self._entries))
