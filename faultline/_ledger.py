"""The ledger: what really happened, attempt by attempt.

Rules of this room: the engine writes, everybody else reads frozen copies. What a client can observe is written
down before the client can observe it. Times are seconds since the server began.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from faultline._errors import WaitError
from faultline._fault import Fault, Headers
from faultline._steps import POINTS, Point

Party = Literal["client", "server"]
How = Literal["RST", "FIN", "stop"]


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
        request: what the client asked, once it was read whole.
        struck: where and when the fault broke the conversation; `None` if it did not.
        ended_by: who ended the connection; `None` if it was kept alive, or goes on.
        ended_how: `RST`, `FIN`, or `stop` when the server was closed.
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
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        r"""The same as plain data for JSON; a body is text, with `\xNN` for what is none."""
        data = asdict(replace(self, fault=Fault()))
        data["fault"] = repr(self.fault)
        if self.request is not None:
            data["request"]["body"] = self.request.body.decode("utf-8", "backslashreplace")
        return data


@dataclass
class Entry:
    """An attempt that is being written."""

    number: int
    connection: int | None
    fault: Fault
    started_seconds: float
    point: Point
    ended_seconds: float | None = None
    received_bytes: int = 0
    sent_bytes: int = 0
    request: Request | None = None
    struck: Strike | None = None
    ended_by: Party | None = None
    ended_how: How | None = None
    note: str = ""

    def frozen(self) -> Attempt:
        """A copy for readers."""
        return Attempt(**vars(self))


@dataclass
class Ledger:
    """All attempts at one server, written by its engine and read by tests and reports."""

    on_end: Callable[[Attempt], None] | None = None
    _began: float = field(default_factory=time.monotonic)
    _entries: list[Entry] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def now(self) -> float:
        """Seconds since the server began."""
        return time.monotonic() - self._began

    def begin(self, connection: int | None, fault: Fault, point: Point) -> Entry:
        """A new attempt."""
        with self._changed:
            entry = Entry(len(self._entries) + 1, connection, fault, self.now(), point)
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
            entry.struck = Strike(point, after_bytes, self.now())
            self._changed.notify_all()

    def end(self, entry: Entry, by: Party | None = None, how: How | None = None) -> None:
        """The attempt is over; what is said of an ended one changes nothing."""
        with self._changed:
            if entry.ended_seconds is not None:
                return
            entry.ended_seconds, entry.ended_by, entry.ended_how = self.now(), by, how
            self._changed.notify_all()
        if self.on_end is not None:
            self.on_end(entry.frozen())

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Frozen copies of all attempts so far, those under way included."""
        with self._changed:
            return tuple(entry.frozen() for entry in self._entries)

    def wait(self, count: int, point: Point, timeout_seconds: float) -> None:
        """Wait until so many attempts have reached a point.

        Raises:
            WaitError: they have not, in time; says how many have.
        """
        least = POINTS.index(point)

        def arrived() -> int:
            return sum(POINTS.index(entry.point) >= least for entry in self._entries)

        with self._changed:
            if not self._changed.wait_for(lambda: arrived() >= count, timeout_seconds):
                raise WaitError(
                    f"{arrived()} of {count} attempts reached {point!r} within {timeout_seconds:g} s; "
                    f"there were {len(self._entries)} in all."
                )
