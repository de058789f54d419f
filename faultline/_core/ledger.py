"""The ledger: what really happened, attempt by attempt.

Rules: the engine writes, and all others read frozen copies. What a client can observe is written down before the
client can observe it. Times are seconds since the server began.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from faultline._core.answers import Headers
from faultline._core.errors import WaitError
from faultline._core.fault import Fault
from faultline._core.points import Point, has_come_to

Party = Literal["client", "server", "upstream"]
How = Literal["RST", "FIN", "silence", "no route", "stop", "no name", "answer"]
KEPT_BODY_BYTES = 1 << 24
KEPT_BODIES_BYTES = 1 << 28
TURNS = 200
TURN_BYTES = 80


@dataclass(frozen=True)
class Request:
    """What the client asked; `method` is empty where the bytes were no HTTP, and `body` holds them."""

    method: str = ""
    target: str = ""
    headers: Headers = ()
    body: bytes = b""
    body_bytes: int = 0

    def header(self, name: str, default: str | None = None) -> str | None:
        """The first field of this name, whatever its case."""
        return next((v for n, v in self.headers if n.lower() == name.lower()), default)


@dataclass(frozen=True)
class TlsFacts:
    """What TLS was agreed: empty where it did not come to that.

    Attributes:
        version: `TLSv1.3` or the like.
        sni: the host name that the client asked for.
        alpn: the protocol agreed on.
        alert: why the client ended it, by the alert's name in RFC 8446, 6.
        offered: the protocols that the client offered (ALPN).
        client: the common name in the client's certificate.
    """

    version: str = ""
    sni: str = ""
    alpn: str = ""
    alert: str = ""
    offered: tuple[str, ...] = ()
    client: str = ""


@dataclass(frozen=True)
class Turn:
    """What one side said until the other spoke: when it began, how many bytes, and how they begin."""

    by: Party
    at_seconds: float
    count_bytes: int
    begins: bytes


@dataclass(frozen=True)
class Strike:
    """The moment a fault broke the conversation."""

    point: Point
    after_bytes: int
    at_seconds: float


@dataclass(frozen=True)
class Attempt:
    """One attempt of a client: a new connection, or a further request on a kept one.

    Attributes:
        number: 1 for the first attempt at this server.
        connection: 1 for the first connection; `None` where none came about.
        fault: what the plan dealt to it.
        point: the last point that the conversation reached.
        started_seconds: when it began, in seconds since the server began.
        ended_seconds: when it ended; `None` while it goes on.
        received_bytes: bytes from the client, as read; with TLS, application bytes.
        sent_bytes: bytes to the client, as handed to the kernel; with TLS, application bytes.
        request: what the client asked, once it was read whole; the first 16 MiB of its body, and no more than
            256 MiB of all bodies together.
        struck: where and when the fault broke the conversation; `None` if it did not.
        ended_by: who ended the connection; `None` if it was kept alive, or goes on.
        ended_how: `RST`, `FIN`, `silence` at a black hole, `no route`, or `stop` when the server was closed.
        waited_seconds: how long the client waited after the strike, in which it got nothing, before it gave up.
        tls: what TLS was agreed; `None` where there was none.
        turns: who said how much and when, in order; at most 200 of them.
        note: what else is worth knowing, as a phrase.
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
    struck: Strike | None = None
    ended_by: Party | None = None
    ended_how: How | None = None
    waited_seconds: float | None = None
    tls: TlsFacts | None = None
    turns: tuple[Turn, ...] = ()
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        r"""The same as plain data for JSON; bytes are text, with `\xNN` for what is none."""
        data = asdict(replace(self, fault=Fault()), dict_factory=texts)
        return data | {"fault": repr(self.fault)}


def texts(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """A record as a dictionary, its bytes as text."""
    return {k: v.decode("utf-8", "backslashreplace") if isinstance(v, bytes) else v for k, v in items}


class Entry:
    """An attempt that is being written; its fields are those of `Attempt`."""

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
        self.struck: Strike | None = None
        self.ended_by: Party | None = None
        self.ended_how: How | None = None
        self.waited_seconds: float | None = None
        self.tls: TlsFacts | None = None
        self.note = ""
        self.sent_before_strike = 0
        self._turns: list[Turn] = []

    def says(self, by: Party, data: bytes | memoryview) -> None:
        """One side said this."""
        if not data:
            return
        if by == "client":
            self.received_bytes += len(data)
        else:
            self.sent_bytes += len(data)
        last = self._turns[-1] if self._turns else None
        if last is not None and last.by == by:
            begins = (last.begins + bytes(data[:TURN_BYTES]))[:TURN_BYTES]
            self._turns[-1] = Turn(by, last.at_seconds, last.count_bytes + len(data), begins)
        elif len(self._turns) < TURNS:
            self._turns.append(Turn(by, self.now(), len(data), bytes(data[:TURN_BYTES])))

    def take_back(self, data: bytes) -> None:
        """The last that the client said belongs to the next attempt."""
        self.received_bytes -= len(data)
        last = self._turns[-1] if self._turns else None
        if last is not None and last.by == "client":
            left = last.count_bytes - len(data)
            kept = Turn("client", last.at_seconds, left, last.begins[:left])
            self._turns[-1:] = [kept] if left > 0 else []

    @property
    def turns(self) -> tuple[Turn, ...]:
        """Who said how much and when."""
        return tuple(self._turns)

    def frozen(self) -> Attempt:
        """A copy for readers."""
        return Attempt(**{f.name: getattr(self, f.name) for f in fields(Attempt)})


@dataclass
class Ledger:
    """All attempts at one server, written by its engine and read by tests and reports."""

    on_end: Callable[[Attempt], None] | None = None
    room_bytes: int = KEPT_BODIES_BYTES
    _began: float = field(default_factory=time.monotonic)
    _entries: list[Entry] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def now(self) -> float:
        """Seconds since the server began."""
        return time.monotonic() - self._began

    def keep(self, entry: Entry, request: Request) -> None:
        """Write down what the client asked, with as much of its body as there is room for."""
        with self._changed:
            room = self.room_bytes + len(entry.request.body if entry.request else b"")
            entry.request = replace(request, body=request.body[:room])
            self.room_bytes = room - len(entry.request.body)

    def begin(self, connection: int | None, fault: Fault, point: Point) -> Entry:
        """A new attempt."""
        with self._changed:
            entry = Entry(len(self._entries) + 1, connection, fault, point, self.now)
            self._entries.append(entry)
            self._changed.notify_all()
        return entry

    def reach(self, entry: Entry, point: Point) -> None:
        """The conversation has come to this point."""
        with self._changed:
            entry.point = point
            self._changed.notify_all()

    def strike(self, entry: Entry, point: Point, after_bytes: int) -> None:
        """The fault strikes now."""
        with self._changed:
            entry.struck, entry.sent_before_strike = Strike(point, after_bytes, self.now()), entry.sent_bytes
            self._changed.notify_all()

    def end(self, entry: Entry, by: Party | None = None, how: How | None = None) -> None:
        """The attempt is over; what is said of an ended one changes nothing."""
        with self._changed:
            if entry.ended_seconds is not None:
                return
            entry.ended_seconds, entry.ended_by, entry.ended_how = self.now(), by, how
            if by == "client" and entry.struck is not None and entry.sent_bytes == entry.sent_before_strike:
                entry.waited_seconds = entry.ended_seconds - entry.struck.at_seconds
            self._changed.notify_all()
        if self.on_end is not None:
            self.on_end(entry.frozen())

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Frozen copies of all attempts so far, those under way included."""
        with self._changed:
            return tuple(entry.frozen() for entry in self._entries)

    def to_json(self) -> str:
        """All attempts as JSON, one object each."""
        return json.dumps([attempt.to_dict() for attempt in self.attempts], indent=2)

    def wait(self, count: int, point: Point | Literal["end"], timeout_seconds: float) -> None:
        """Wait until this many attempts have reached a point, or their end.

        Raises:
            WaitError: they have not, in time; says how many have.
        """
        limit = min(timeout_seconds, threading.TIMEOUT_MAX)
        with self._changed:
            if not self._changed.wait_for(lambda: reached(self._entries, point) >= count, limit):
                raise too_few(self._entries, count, point, timeout_seconds)


def reached(attempts: Sequence[Entry | Attempt], point: Point | Literal["end"]) -> int:
    """How many of these attempts have reached a point, or their end."""
    if point == "end":
        return sum(attempt.ended_seconds is not None for attempt in attempts)
    return sum(has_come_to(attempt.point, point) for attempt in attempts)


def too_few(
    attempts: Sequence[Entry | Attempt], count: int, point: Point | Literal["end"], timeout_seconds: float
) -> WaitError:
    """The error of a wait that took too long."""
    return WaitError(
        f"{reached(attempts, point)} of {count} attempts reached {point!r} within {timeout_seconds:g} s; "
        f"there were {len(attempts)} in all."
    )
