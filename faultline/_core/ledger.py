"""The ledger: a record of every attempt at a server.

Rules: only the engine writes, and all others read frozen copies. An event is recorded before the client can observe it.
Times are seconds since the server started.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from typing import Any, ClassVar

from faultline._core import clock, own_thread
from faultline._core.answers import Headers
from faultline._core.ends import CLOSED, RESET, End, How, Party, Sign
from faultline._core.fault import Fault
from faultline._core.kept import MOST_ATTEMPTS, Kept
from faultline._core.milestones import NONE, Milestone, Milestones, milestones_of
from faultline._core.plain import JSON_VERSION, texts
from faultline._core.points import Point
from faultline._core.promises import BREAK, Key, Strike, weightiest
from faultline._core.tls_facts import TlsFacts
from faultline._core.turns import Turn, Turns

KEPT_BODY_BYTES = 1 << 24
KEPT_BODIES_BYTES = 1 << 28


@dataclass(frozen=True)
class Request:
    """A request of a client.

    .. versionadded:: 0.1

    Attributes:
        method: the method; empty if the bytes are not HTTP.
        target: the request target, such as `/path?query`.
        headers: the header fields, in their order.
        body: the body, or all bytes if they are not HTTP; the ledger keeps at most 16 MiB of it.
        body_bytes: the number of bytes in the body.
    """

    method: str = ""
    target: str = ""
    headers: Headers = ()
    body: bytes = b""
    body_bytes: int = 0

    def header(self, name: str, default: str | None = None) -> str | None:
        """The first header field of this name, compared without case, or the default."""
        return next((v for n, v in self.headers if n.lower() == name.lower()), default)


@dataclass(frozen=True)
class Attempt:
    """One attempt of a client: a new connection, or a further request on a kept one.

    .. versionadded:: 0.1

    Attributes:
        number: 1 for the first attempt at this server.
        connection: 1 for the first connection; `None` if there was no connection.
        fault: the fault that the plan dealt to the attempt.
        point: the last point that the conversation reached.
        started_seconds: when the attempt began, in seconds since the server started.
        ended_seconds: when the attempt ended; `None` while it goes on.
        received_bytes: bytes from the client, as read; with TLS, application bytes.
        sent_bytes: bytes to the client, as handed to the kernel; with TLS, application bytes.
        request: the request, once the server has read it; with at most 16 MiB of its body, and at most 256 MiB of the
            bodies of all attempts.
        strikes: where and when each part of the fault first took effect, in their order.
        ended_by: the side that ended the connection; `None` if the connection was kept alive, or goes on.
        ended_how: `RST`, `FIN`, `silence` at a black hole, `no route`, `no name`, `answer`, or `stop` if the test
            closed the server.
        waited_seconds: how long the client waited after the strike before it gave up, if it got no bytes meanwhile.
        tls: the result of the TLS handshake; `None` without TLS.
        turns: the turns of the conversation in order, at most 200: the first, those before the strike, and the last.
        note: a phrase with further facts.
        ends: every FIN, RST, close_notify and alert of every side in order, and the end of the attempt.
    """

    number: int
    connection: int | None
    fault: Fault
    point: Point
    started_seconds: float
    ended_seconds: float | None = None
    received_bytes: int = 0
    sent_bytes: int = 0
    request: Request | None = None
    strikes: tuple[Strike, ...] = ()
    ended_by: Party | None = None
    ended_how: How | None = None
    waited_seconds: float | None = None
    tls: TlsFacts | None = None
    turns: tuple[Turn, ...] = ()
    note: str = ""
    ends: tuple[End, ...] = ()

    @property
    def struck(self) -> Strike | None:
        """Where and when the fault struck; `None` if it did not strike.

        This is the strike of its break, or else of a step, or else of its answer, certificate or terms. A strike of a
        condition counts only if the fault has no other part that is meant to go wrong.
        """
        return weightiest(self.fault, self.strikes)

    def to_dict(self) -> dict[str, Any]:
        """The attempt as plain data for JSON; bytes become text, one character for each byte (Latin-1)."""
        data = asdict(replace(self, fault=Fault(), strikes=()), dict_factory=texts)
        strikes, struck = [strike.to_dict() for strike in self.strikes], self.struck
        return data | {"fault": repr(self.fault), "struck": struck and struck.to_dict(), "strikes": strikes}


class Entry:
    """An attempt that is being written; its fields are those of `Attempt`."""

    stale: set[int] | None = None  # the numbers of the ledger's attempts that have changed since they were read

    def __init__(
        self, number: int, connection: int | None, fault: Fault, point: Point, now: Callable[[], float]
    ) -> None:
        self.number = number
        self.connection = connection
        self.fault = fault
        self.point = point
        self.now = now
        self.started_seconds = now()
        self.ended_seconds: float | None = None
        self.received_bytes = 0
        self.sent_bytes = 0
        self.request: Request | None = None
        self.strikes: tuple[Strike, ...] = ()
        self.ended_by: Party | None = None
        self.ended_how: How | None = None
        self.waited_seconds: float | None = None
        self.tls: TlsFacts | None = None
        self.note = ""
        self.reached = NONE  # the milestones that the ledger has counted
        self.sent_before_strike = 0
        self.ends: tuple[End, ...] = ()
        self._turns = Turns()

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        self._touch()

    def _touch(self) -> None:
        if self.stale is not None:
            self.stale.add(self.number)

    def says(self, by: Party, data: bytes | memoryview) -> None:
        """Record bytes that one side sent."""
        if not data:
            return
        if by == "client":
            self.received_bytes += len(data)
        else:
            self.sent_bytes += len(data)
        self._turns.says(by, data, self.now())
        self._touch()

    @property
    def struck(self) -> Strike | None:
        """The strike of the fault, as in `Attempt`."""
        return weightiest(self.fault, self.strikes)

    def take_back(self, data: bytes) -> None:
        """Remove the last bytes of the client, which belong to the next attempt."""
        self.received_bytes -= len(data)
        self._turns.take_back(len(data))
        self._touch()

    def gives(self, by: Party, how: Sign, alert: str = "") -> None:
        """Record a sign of the end, unless this side has given it before."""
        if not any(end.by == by and (end.how == "RST" or (end.how, end.alert) == (how, alert)) for end in self.ends):
            self.ends += (End(by, how, self.now(), alert),)

    def goes_on(self, connection: int | None, fault: Fault, point: Point) -> None:
        """Record that the connect got an answer after all; a fault that can strike takes the place of the first."""
        self.connection, self.point = connection, point
        self.ends, self.ended_seconds, self.ended_by, self.ended_how = (), None, None, None
        if not fault.is_healthy:
            self.fault = fault

    def struck_by(self, part: Key, point: Point, after_bytes: int) -> None:
        """Record that a part of the fault takes effect now; only the first time counts."""
        if any(strike.part == part and strike.origin == self.fault.origin for strike in self.strikes):
            return
        self.strikes += (Strike(point, after_bytes, self.now(), part, self.fault.origin),)
        self.sent_before_strike = self.sent_bytes
        self._turns.strikes()
        self._touch()

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The turns of the conversation so far, in order."""
        return self._turns.frozen()

    def frozen(self) -> Attempt:
        """A copy for readers."""
        return Attempt(**{f.name: getattr(self, f.name) for f in fields(Attempt)})


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
    _began: float = field(default_factory=clock.now)
    _kept: Kept = field(default_factory=Kept)
    _milestones: Milestones = field(default_factory=Milestones)
    _lock: threading.RLock = field(default_factory=threading.RLock)  # a finalizer may read while its thread holds it

    @property
    def dropped(self) -> int:
        """How many attempts were dropped, the oldest first, because there were more than `most_attempts`."""
        return self._kept.dropped

    def now(self) -> float:
        """The seconds since the server started."""
        return clock.since(self._began)

    def keep(self, entry: Entry, request: Request) -> None:
        """Record a request, with as much of its body as there is room for."""
        with self._lock:
            room = self.room_bytes + len(entry.request.body if entry.request else b"")
            entry.request = replace(request, body=request.body[: min(room, KEPT_BODY_BYTES)])
            self.room_bytes = room - len(entry.request.body)

    def begin(self, connection: int | None, fault: Fault, point: Point, waited: Entry | None = None) -> Entry:
        """Record a new attempt, or that one goes on whose connect waited at a black hole, and that is still kept."""
        with self._lock:
            if waited is not None and waited.stale is not None:
                waited.goes_on(connection, fault, point)
                self._note(waited)
                return waited
            self.begun += 1
            entry = Entry(self.begun, connection, fault, point, partial(clock.since, self._began))
            dropped = self._kept.add(entry, self.most_attempts)
            if dropped is not None and dropped.request is not None:
                self.room_bytes += len(dropped.request.body)
            self._note(entry)
        return entry

    def _note(self, entry: Entry) -> None:
        """Count how far an attempt has come, and wake the waits that are over."""
        before, entry.reached = entry.reached, milestones_of(entry)
        self._milestones.note(before, entry.reached)

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
            entry.strikes = tuple(s for s in entry.strikes if (s.part, s.origin) != (part, entry.fault.origin))
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
