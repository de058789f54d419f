"""The ledger: a record of every attempt at a server.

Rules: only the engine writes, and all others read frozen copies. An event is recorded before the client can observe it.
Times are seconds since the server started.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from faultline._core import clock, own_thread
from faultline._core.attempts import Attempt, Entry, Request
from faultline._core.check import file_path
from faultline._core.ends import CLOSED, RESET, How, Party, Sign
from faultline._core.fault import Fault
from faultline._core.kept import MOST_ATTEMPTS, Kept
from faultline._core.milestones import Milestone, Milestones, milestones_of
from faultline._core.pieces import Recorder, Room
from faultline._core.plain import JSON_VERSION
from faultline._core.points import Point
from faultline._core.promises import BREAK, Key

if TYPE_CHECKING:
    from faultline._core.masking import Masks
    from faultline._core.plan import Plan
    from faultline._core.recording import By, Recording

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

    _public: ClassVar[tuple[str, ...]] = (
        "attempts",
        "begun",
        "dropped",
        "most_attempts",
        "now",
        "recording",
        "to_json",
        "to_pcap",
        "to_script",
    )

    on_end: Callable[[Attempt], None] | None = None
    room_bytes: int = KEPT_BODIES_BYTES
    most_attempts: int = MOST_ATTEMPTS
    begun: int = 0
    record_bytes: int = 0  # the most bytes of conversations that are kept as a whole
    held_by_test: str = (
        ""  # the note of attempts that end before their strike while the test holds the server's bytes back
    )
    _settle: Callable[[], None] = lambda: None  # waits until the bytes that clients have got are recorded
    _clock: Callable[[], float] = field(default_factory=lambda: partial(clock.since, clock.now()))
    _kept: Kept = field(default_factory=Kept)
    _milestones: Milestones = field(default_factory=Milestones)
    _room: Room = field(default_factory=lambda: Room(0))
    _lock: threading.RLock = field(default_factory=threading.RLock)  # a finalizer may read while its thread holds it

    def starts(self, settle: Callable[[], None], record_bytes: int) -> None:
        """Record at most this number of bytes of whole conversations, which are all there once `settle` returns."""
        self._settle, self.record_bytes, self._room = settle, record_bytes, Room(record_bytes)

    def records(self, most_bytes: int) -> None:
        """Record at most this number of bytes of whole conversations, unless the server records already."""
        if not self.record_bytes:
            self.record_bytes, self._room = most_bytes, Room(most_bytes)

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
            if self.record_bytes:
                entry.recorder = Recorder(self._room)
            dropped = self._kept.add(entry, self.most_attempts)
            if dropped is not None:
                self._room.give_back(dropped.pieces)
                self.room_bytes += len(dropped.request.body) if dropped.request is not None else 0
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
        """All attempts as JSON, in the form that ledger.schema.json of the documentation describes."""
        data = {"version": JSON_VERSION, "dropped": self.dropped, "attempts": [a.to_dict() for a in self.attempts]}
        return json.dumps(data, indent=2)

    def recording(self, *, mask: Masks = False, by: By = "turns") -> Recording:
        """What the server said so far, as scripts that stand alone, and what was masked in them.

        It takes a server that was started with `record=True`; `to_script` says what the parameters mean.

        Raises:
            ParameterError: the server did not record, some bytes are missing, or they can't be replayed.
        """
        from faultline._core.recording import recording_of

        self._settle()
        return recording_of(self.attempts, record_bytes=self.record_bytes, dropped=self.dropped, mask=mask, by=by)

    def to_script(self, *, mask: Masks = False, by: By = "turns") -> Plan:
        """What the server said so far, as a plan for `serve` that stands alone: a script for each connection.

        It takes a server that was started with `record=True`. Call it when the client is done. A script waits for
        what the client says in each turn: for a request of HTTP, for a line, or for as many bytes as it said in the
        record. What the client says is not compared with the record.

        Args:
            mask: what to mask, by stars of the same number: `True` for the secrets that are known (the fields
                Authorization, Cookie and Set-Cookie of HTTP, AUTH of Redis, the password of PostgreSQL, AUTH, PASS and
                LOGIN of mail and FTP), bytes, a pattern whose groups are the secrets, a function from bytes to as many
                bytes, or several of them; these come beside the known ones. `recording(…).masked` says what it was.
            by: `"turns"` repeats each connection turn by turn. `"requests"` answers each message of a client as it was
                answered in the record, in any order and on any connection; it takes messages that are lines, or that
                have their length before them.

        Raises:
            ParameterError: the server did not record, some bytes are missing, or they can't be replayed, as TLS that
                was passed through, SCRAM, SSH and WebSockets.
        """
        return self.recording(mask=mask, by=by).plan

    def to_pcap(self, path: str | os.PathLike[str], *, mask: Masks = False, port: int = 80, ipv6: bool = False) -> None:
        """Write what the server saw as a capture (pcapng) that Wireshark opens; its packets are reconstructed.

        It takes a server that was started with `record=True`. The bytes, their times, and every FIN and RST are those
        of the ledger. Addresses, ports of clients, sequence numbers and the sizes of segments are made up, and a
        comment in the file says so. Times count from the start of the server.

        Args:
            path: the file to write.
            mask: as for `to_script`.
            port: the port of the server in the capture, by which Wireshark chooses the protocol.
            ipv6: whether the packets are of IPv6.

        Raises:
            ParameterError: the server did not record, or some bytes are missing.
            OSError: the file can't be written.
        """
        from faultline._core.capture import capture_of

        place = file_path(path, "a.pcapng")
        self._settle()
        data = capture_of(
            self.attempts, record_bytes=self.record_bytes, dropped=self.dropped, mask=mask, port=port, ipv6=ipv6
        )
        place.write_bytes(data)

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
