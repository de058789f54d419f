"""The order of the runs of a sweep: which break comes next, from what the runs before have shown."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from faultline._core.counts import counted
from faultline._core.fault import Fault
from faultline._core.plan import Plan
from faultline._sweep.case import Case
from faultline._sweep.places import Place, is_silence, left_out, places_of, unseen_bytes

MOST_ROUNDS = 3  # of untouched runs, each of which may show new places


class Schedule:
    """The runs of a sweep that are still to come.

    Attributes:
        notes: what is to be known about the places that were found.
        why_none: why there may be no break that struck.
    """

    def __init__(
        self, verbs: Sequence[Fault], *, depth: int, stride: int | None, only: tuple[Plan, ...], idle_seconds: float
    ) -> None:
        self._verbs, self._depth, self._stride = verbs, depth, stride
        self._idle_seconds = idle_seconds
        self._is_alone = bool(only)
        self._cases = deque([Case(plans=dict(enumerate(only)))])
        self._known: set[Place] = set()
        self._rounds = 0
        self.notes: tuple[str, ...] = ()
        self.why_none = "the break of the plan was not reached" if only else "nobody said anything through a relay"

    @property
    def left(self) -> int:
        """How many breaks are still to come, as far as they are known."""
        return sum(not case.is_untouched for case in self._cases)

    @property
    def has_pairs(self) -> bool:
        """Whether breaks to come may be followed by pairs."""
        return self._depth > 1

    def next(self) -> Case | None:
        """The next run; `None` if all have been run."""
        return self._cases.popleft() if self._cases else None

    def learn(self, case: Case) -> None:
        """Plan what follows from a run that is over."""
        if self._is_alone:
            return
        if case.is_untouched:
            self._learn_places(case)
        elif len(case.breaks) < self._depth and case.is_reached:
            self._cases.extend(self._pairs(case))
        if not self._cases and not case.is_untouched:
            self._cases.append(Case())

    def _learn_places(self, case: Case) -> None:
        """Plan a break at each new place of an untouched run."""
        self._rounds += 1
        places = self._places_of(case)
        new = [place for place in places if place not in self._known]
        self._known.update(new)
        if self._rounds == 1 and places and not self._stride:
            self._tell_gaps(case, places)
        if self._rounds > MOST_ROUNDS and new:
            self.notes += (f"the untouched run still has new places after {self._rounds} runs; they are not swept",)
            return
        if places:
            self.why_none = "the conversation was another one in each run"
        self._cases.extend(self._cases_at(new, places))

    def _tell_gaps(self, case: Case, places: Sequence[Place]) -> None:
        """Take note of what the places of a conversation leave out."""
        if not any(place.kind == "idle" for place in places):
            silent = f"no connection was silent after an answer for idle_seconds={self._idle_seconds:g}"
            self.notes += (f"{silent}, so that none breaks while idle",)
        if lost := sum(map(left_out, case.attempts)):
            self.notes += (f"{counted(lost, 'message')} have no break: a ledger keeps the first 100 of a connection",)
        if unseen := sum(map(unseen_bytes, case.attempts)):
            self.notes += (
                f"{counted(unseen, 'byte')} in frames have no break: a sweep keeps the first MiB of a relay",
            )

    def _places_of(self, case: Case) -> list[Place]:
        """The places of a run."""
        seen = zip(case.attempts, case.ended_seconds, strict=True)
        found = (places_of(n, *each, self._idle_seconds, self._stride) for n, each in enumerate(seen))
        return [place for places in found for place in places]

    def _cases_at(
        self, new: Sequence[Place], places: Sequence[Place], before: tuple[tuple[Place, Fault], ...] = ()
    ) -> Iterator[Case]:
        """A run for each verb at each of some places, without those that are the same as another."""
        requests = {(p.relay, p.connection, p.order) for p in places if p.kind == "request"}
        answers = {(p.relay, p.connection, p.order) for p in places if p.kind == "lost"}
        for place in new:
            is_message = place.what and not place.request
            follows = (answers, place.order + 1) if is_message else (requests, place.request)
            is_followed = (place.relay, place.connection, follows[1]) in follows[0]
            for verb in self._verbs:
                if not (place.kind in ("after", "idle") and is_followed and is_silence(verb)):
                    yield Case((*before, (place, verb)), self._idle_seconds)

    def _pairs(self, case: Case) -> Iterator[Case]:
        """Runs with a second break, on another connection, after the first has struck."""
        first, _ = case.breaks[-1]
        struck = case.struck_seconds(first)
        assert struck is not None
        since = case.ended_seconds[first.relay] - struck  # until the end: each relay has a clock of its own
        places = self._places_of(case)
        taken = {(p.relay, p.connection) for p, _ in case.breaks}
        begun = {(n, a.number): a.started_seconds for n, attempts in enumerate(case.attempts) for a in attempts}
        later = [
            place
            for place in places
            if (place.relay, place.connection) not in taken
            and case.ended_seconds[place.relay] - max(place.at_seconds, begun[place.relay, place.connection]) < since
        ]
        return self._cases_at(later, places, case.breaks)
