"""The ledger: a record of every attempt at a server.

Rules: only the engine writes, and all others read frozen copies. An event is recorded before the client can observe it.
Times are seconds since the server started.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar

from faultline._core import clock, own_thread
from faultline._core.attempts import Attempt, Entry, Request
from faultline._core.ends import CLOSED, RESET, How, Party, Sign
from faultline._core.fault import Fault
from faultline._core.kept import MOST_ATTEMPTS, Kept
from faultline._core.milestones import Milestone, Milestones, milestones_of
from faultline._core.plain import JSON_VERSION
from faultline._core.points import Point
from faultline._core.promises import BREAK, Key

KEPT_BODY_BYTES = 1 << 24
KEPT_BODIES_BYTES = 1 << 28


@dataclass
class Ledger:
    """The record of the attempts at a server; tests read it as `server.ledger`.

    .. versionadded:: 0.1

    Attributes:
        most_attempts: how many attempts are kept; of more, the oldest that are over are dropped.
        begun: how many attempts there were in all.
    """

    _public: ClassVar[tuple[str, ...]] = ("attempts", "begun", "dropped", "most_attempts", "now", "to_json")

    on_end: Callable[[Attempt], None] | None = None
    room_bytes: int = KEPT_BODIES_BYTES
    most_attempts: int = MOST_ATTEMPTS
    begun: int = 0
    held_by_test: str = (
        ""  # the note of attempts that end before their strike while the test holds the server's bytes back
    )
    _clock: Callable[[], float] = field(default_factory=lambda: partial(clock.since, clock.now()))
    _kept: Kept = field(default_factory=Kept)
    _milestones: Milestones = field(default_factory=Milestones)
    _lock: threading.RLock = field(default_factory=threading.RLock)  # a finalizer may read while its thread holds it

    @property
    def dropped(self) -> int:
        """How many attempts were dropped, the oldest first, because there were more than `most_attempts`."""
        return self._kept.dropped

    def now(self) -> float:
        """The seconds since the server started."""
        return self._clock()

    def keep(self, entry: Entry, request: Request) -> None:
        """Record a request, with as much of its body as there is room for."""
        with self._lock:
            room = self.room_bytes + len(entry.request.body if entry.request else b"")
            most = min(room, KEPT_BODY_BYTES)
            whole = len(request.body) <= most
            entry.request = request if whole else replace(request, body=request.body[:most])
            self.room_bytes = room - len(entry.request.body)
            entry.touch()

    def begin(self, connection: int | None, fault: Fault, point: Point, waited: Entry | None = None) -> Entry:
        """Record a new attempt, or that one goes on whose connect waited at a black hole, and that is still kept."""
        with self._lock:
            if waited is not None and waited.stale is not None:
                waited.goes_on(connection, fault, point)
                self._note(waited)
                return waited
            self.begun += 1
            entry = Entry(self.begun, connection, fault, point, self._clock)
            dropped = self._kept.add(entry, self.most_attempts)
            if dropped is not None and dropped.request is not None:
                self.room_bytes += len(dropped.request.body)
            self._note(entry)
        return entry

    def _note(self, entry: Entry) -> None:
        """Count how far an attempt has come, and wake the waits that are over."""
        before, entry.reached = entry.reached, milestones_of(entry)
        self._milestones.note(before, entry.reached)
        entry.touch()

    def count(self, at: Milestone) -> int:
        """The number of attempts, dropped ones included, that have reached a point, their strike or an end."""
        return self._milestones.count(at)

    def reach(self, entry: Entry, point: Point) -> None:
        """Record that the conversation has come to this point."""
        with self._lock:
            entry.point = point
            self._note(entry)

    def strike(self, entry: Entry, point: Point, after_bytes: int, part: Key = BREAK) -> None:
        """Record that a part of the fault takes effect now; only the first time counts."""
        with self._lock:
            entry.struck_by(part, point, after_bytes)
            self._note(entry)

    def take_back_strike(self, entry: Entry, part: Key) -> None:
        """Forget the strike of a part of the present fault, of which nothing could be sent."""
        with self._lock:
            entry.strikes = tuple(s for s in entry.strikes if (entry.fault.origin, part) not in s.marks)
            self._note(entry)

    def sign(self, entry: Entry, by: Party, how: Sign, alert: str = "") -> None:
        """Record that a side ends one direction, or sends or receives an alert; the attempt may go on."""
        with self._lock:
            entry.gives(by, how, alert)
            self._note(entry)

    def end(self, entry: Entry, by: Party | None = None, how: How | None = None, *, is_sign: bool = True) -> None:
        """Record that the attempt has ended; without `is_sign` another sign has shown it. Again this does nothing."""
        with self._lock:
            if entry.ended_seconds is not None:
                return
            entry.ended_seconds, entry.ended_by, entry.ended_how = self.now(), by, how
            if self.held_by_test and not entry.strikes and entry.note not in (CLOSED, RESET):
                entry.note = "; ".join(filter(None, [self.held_by_test, entry.note]))
            if by is not None and how is not None and is_sign:
                entry.gives(by, how)
            if by == "client" and entry.struck is not None and entry.sent_bytes == entry.sent_before_strike:
                entry.waited_seconds = entry.ended_seconds - entry.struck.at_seconds
            self._note(entry)
        if self.on_end is not None:
            self.on_end(entry.frozen())

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Frozen copies of all attempts so far, including those that go on."""
        with self._lock:
            return self._kept.copies()

    def to_json(self) -> str:
        """All attempts as JSON, in the form that docs/ledger.md describes."""
        data = {"version": JSON_VERSION, "dropped": self.dropped, "attempts": [a.to_dict() for a in self.attempts]}
        return json.dumps(data, indent=2)

    def wait(self, count: int, point: Milestone, timeout_seconds: float) -> None:
        """Wait until this many attempts have reached a point, or their strike or their end.

        Raises:
            WaitError: fewer attempts reached the point within `timeout_seconds`; the message has their number.
            ServerError: the caller is in the thread of the loop, where the wait would be for ever.
        """
        over = threading.Event()
        with self._lock:
            if self._milestones.has(count, point):
                return
            own_thread.may_wait("wait_for_attempts()")
            waiting = self._milestones.begin(count, point, over.set)
        over.wait(min(timeout_seconds, threading.TIMEOUT_MAX))
        with self._lock:
            self._milestones.end(waiting)
            if not self._milestones.has(count, point):
                raise self._milestones.too_few(count, point, timeout_seconds, self.begun)
