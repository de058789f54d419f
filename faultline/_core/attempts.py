"""An attempt: the value that readers get, and the record of it that is being written.

Times are seconds since the server started.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from faultline._core.answers import Headers
from faultline._core.ends import End, How, Party, Sign
from faultline._core.fault import Fault
from faultline._core.milestones import NONE
from faultline._core.pieces import Piece, Recorder
from faultline._core.plain import texts
from faultline._core.points import Point
from faultline._core.promises import MOST_MARKS, Key, Mark, Strike, weightiest
from faultline._core.tls_facts import TlsFacts
from faultline._core.turns import Turn, Turns
from faultline._core.websocket_facts import WebSocketFacts

if TYPE_CHECKING:
    from faultline._core.following import Following
    from faultline._core.tripwire import Tripwire

MOST_STRIKES = 200  # of an attempt, however often its fault is changed


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
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
        received_bytes: bytes from the client, as read; with TLS, application bytes; in HTTP/2, those of the frames of
            the stream.
        sent_bytes: bytes to the client, as handed to the kernel; counted as those from it.
        request: the request, once the server has read it; with at most 16 MiB of its body, and at most 256 MiB of the
            bodies of all attempts.
        strikes: where and when each part of the fault first took effect, in their order; of an attempt that has met
            other faults too those of all of them, at most 200: the first and the last.
        ended_by: the side that ended the connection; `None` if the connection was kept alive, or goes on.
        ended_how: `RST`, `FIN`, `RST_STREAM`, `silence` at a black hole, `no route`, `no name`, `answer`, or `stop` if
            the test closed the server.
        waited_seconds: how long the client waited after the strike before it gave up, if it got no bytes meanwhile.
        tls: the result of the TLS handshake; `None` without TLS.
        turns: the turns of the conversation in order, at most 200: the first, those before the strike, and the last.
        note: a phrase with further facts.
        ends: every FIN, RST, close_notify and alert of every side in order, and the end of the attempt.
        websocket: the messages and the close codes of a WebSocket; `None` if there is none, or if a relay passes its
            TLS through.
        stream: the number of the stream of HTTP/2; `None` for other protocols.
        pieces: all bytes in order, if the server was started with `record`, and `None` otherwise. JSON leaves them out.
        missing_bytes: how many bytes after those pieces the record has no room for. JSON leaves it out.
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
    websocket: WebSocketFacts | None = None
    stream: int | None = None
    pieces: tuple[Piece, ...] | None = field(default=None, repr=False)
    missing_bytes: int = 0

    @property
    def struck(self) -> Strike | None:
        """Where and when the fault struck; `None` if it did not strike.

        This is the strike of its break; without a break that of a step, or of its answer, certificate or terms. A
        strike of a condition counts only if the fault has no other part that is meant to go wrong.
        """
        return weightiest(self.fault, self.strikes)

    def to_dict(self) -> dict[str, Any]:
        """The attempt as plain data for JSON; bytes become text, one character for each byte (Latin-1)."""
        data = asdict(replace(self, fault=Fault(), strikes=(), pieces=None), dict_factory=texts)
        del data["pieces"], data["missing_bytes"]
        strikes, struck = [strike.to_dict() for strike in self.strikes], self.struck
        told = {"fault": repr(self.fault), "struck": struck and struck.to_dict(), "strikes": strikes}
        return data | told | {"websocket": self.websocket and self.websocket.to_dict()}


class Entry:
    """An attempt that is being written; its fields are those of `Attempt`.

    There is one for each open connection, and more: it has slots, and a change of a field is told to the ledger by
    `touch`, which `fault`, `tls` and `note` call themselves.
    """

    __slots__ = (
        *("number", "connection", "_fault", "point", "now", "started_seconds", "ended_seconds", "received_bytes"),
        *("sent_bytes", "request", "strikes", "ended_by", "ended_how", "waited_seconds", "_tls", "_note", "reached"),
        *(
            "sent_before_strike",
            "ends",
            "stale",
            "stream",
            "_turns",
            "_unstruck",
            "_websocket",
            "recorder",
            "_following",
        ),
    )

    def __init__(
        self, number: int, connection: int | None, fault: Fault, point: Point, now: Callable[[], float]
    ) -> None:
        self.number = number
        self.connection = connection
        self._fault = fault
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
        self._tls: TlsFacts | None = None
        self._note = ""
        self.reached = NONE  # the milestones that the ledger has counted
        self.sent_before_strike = 0
        self.ends: tuple[End, ...] = ()
        self.stream: int | None = None
        self.stale: set[int] | None = None  # the numbers of the ledger's attempts that have changed since a reader came
        self._websocket: WebSocketFacts | None = None
        self._turns = Turns()
        self.recorder: Recorder | None = None
        self._following: Following | None = None  # of a relay, and of a server that speaks WebSocket
        self._unstruck: dict[Mark, tuple[Mark, ...]] = {}  # parts that earlier faults had too, and that have not struck

    def touch(self) -> None:
        """Take note of a change, so that the next reader gets another copy."""
        if self.stale is not None:
            self.stale.add(self.number)

    @property
    def fault(self) -> Fault:
        """The fault, as in `Attempt`."""
        return self._fault

    @fault.setter
    def fault(self, fault: Fault) -> None:
        self._fault = fault
        self.touch()

    @property
    def tls(self) -> TlsFacts | None:
        """The facts of TLS, as in `Attempt`."""
        return self._tls

    @tls.setter
    def tls(self, facts: TlsFacts | None) -> None:
        self._tls = facts
        self.touch()

    @property
    def note(self) -> str:
        """The note, as in `Attempt`."""
        return self._note

    @note.setter
    def note(self, note: str) -> None:
        self._note = note
        self.touch()

    @property
    def websocket(self) -> WebSocketFacts | None:
        """The facts of a WebSocket, as in `Attempt`."""
        if self._websocket is None and self._following is not None:
            return self._following.websocket.facts
        return self._websocket

    @websocket.setter
    def websocket(self, facts: WebSocketFacts | None) -> None:
        self._websocket = facts
        self.touch()

    def meets(self, fault: Fault, kept: Mapping[Key, Key]) -> None:
        """Have another fault from here on, of which these parts were at work before, each by its key there."""
        before, earlier, self._unstruck = self._fault.origin, self._unstruck, {}
        self.fault = fault
        for key, old in kept.items():
            mark, now = (before, old), (fault.origin, key)
            if any(mark in strike.marks for strike in self.strikes):
                self.strikes = tuple(each.keeps(now) if mark in each.marks else each for each in self.strikes)
            else:
                self._unstruck[now] = (*earlier.get(mark, ()), mark)[-MOST_MARKS:]

    def says(self, by: Party, data: bytes | memoryview) -> None:
        """Record bytes that one side sent."""
        if not data:
            return
        if by == "client":
            self.received_bytes += len(data)
        else:
            self.sent_bytes += len(data)
        now = self.now()
        if by == "client" and self.ends:
            self._end_behind(now)
        self._turns.says(by, data, now)
        if self.recorder is not None:
            self.recorder.says(by, data, now, in_tls=self._tls is not None and self._tls.version != "")
        if self._following is not None:
            self._following.says(by, data)
        self.touch()

    def _end_behind(self, now: float) -> None:
        """Put the last segment of the client behind its bytes: the server may see it before it has read them."""
        moved = (
            replace(end, at_seconds=now) if end.by == "client" and end.how in ("FIN", "RST") else end
            for end in self.ends
        )
        self.ends = tuple(sorted(moved, key=lambda end: end.at_seconds))

    def follow(self, *, is_asked: bool = False) -> None:
        """Follow the frames of both sides; `is_asked` if the client has asked for a WebSocket already."""
        from faultline._core.following import Following  # not before it is needed

        self._following = Following(is_asked=is_asked)

    def join(self, trip: Tripwire) -> None:
        """Have a break that comes now look where the frames have come to, if there are any."""
        if self._following is not None:
            self._following.join(trip)

    def speaks_to_proxy(self) -> None:
        """Record that what is said from here on is said to a proxy."""
        if self.recorder is not None:
            self.recorder.at_proxy = True

    def passes_proxy(self, ahead: bytes, *, has_tunnel: bool) -> None:
        """Record that what is said from here on is said through a proxy, and so are these bytes of the client."""
        if self.recorder is not None:
            self.recorder.passes_proxy(ahead, self.now(), has_tunnel=has_tunnel)
            self.touch()

    @property
    def struck(self) -> Strike | None:
        """The strike of the fault, as in `Attempt`."""
        return weightiest(self.fault, self.strikes)

    def take_back(self, data: bytes) -> None:
        """Remove the last bytes of the client, which belong to the next attempt."""
        self.received_bytes -= len(data)
        self._turns.take_back(len(data))
        if self.recorder is not None:
            self.recorder.take_back(len(data))
        self.touch()

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
        mark = (self.fault.origin, part)
        if any(mark in strike.marks for strike in self.strikes):
            return
        kept = self.strikes[: MOST_STRIKES // 2], self.strikes[MOST_STRIKES // 2 :][-MOST_STRIKES // 2 + 1 :]
        struck = Strike(point, after_bytes, self.now(), part, self.fault.origin, self._unstruck.pop(mark, ()))
        self.strikes = (*kept[0], *kept[1], struck)
        self.sent_before_strike = self.sent_bytes
        self._turns.strikes()
        self.touch()

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The turns of the conversation so far, in order."""
        return self._turns.frozen()

    @property
    def pieces(self) -> tuple[Piece, ...] | None:
        """All bytes so far, as in `Attempt`."""
        return None if self.recorder is None else self.recorder.frozen()

    @property
    def missing_bytes(self) -> int:
        """How many bytes were not recorded, as in `Attempt`."""
        return 0 if self.recorder is None else self.recorder.missing_bytes

    def frozen(self) -> Attempt:
        """A copy for readers."""
        return Attempt(**{f.name: getattr(self, f.name) for f in fields(Attempt)})
