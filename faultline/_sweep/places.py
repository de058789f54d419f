"""The places where a recorded conversation can break.

Rules: pure functions of attempts. A place counts messages, requests or bytes of one connection, and never reads of a
socket, so that the next run finds it whatever TCP makes of the bytes. A message is what one side sends until the other
side sends; of a WebSocket, and of a stream of HTTP/2, it is what that protocol calls one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any, Literal, TypeAlias

import faultline.modes
from faultline._core.attempts import Attempt
from faultline._core.content import inner_protocol, words
from faultline._core.counts import counted
from faultline._core.errors import ParameterError
from faultline._core.fault import Fault
from faultline._core.plan import HEALTHY, Plan
from faultline._core.planning import sequence
from faultline._core.said import abbreviated
from faultline._core.steps import Hold, Partition
from faultline._core.turns import Turn
from faultline._sweep.framed import (
    Message,
    bytes_of,
    handshake_bytes,
    of_http2,
    of_websocket,
    seconds_at,
)

Kind: TypeAlias = Literal["request", "lost", "middle", "after", "idle", "request bytes", "response bytes"]
RECORD = re.compile(rb"[\x14-\x17]\x03[\x00-\x04]")  # of TLS
FRAMED = ("WebSocket", "HTTP/2")  # where the messages that a break counts are not turns
MOST_MESSAGES = 100  # of a side of a connection with frames
MOST_WORDS = 40  # characters of a message in the name of a place
TEXTS: dict[Kind, str] = {
    "request": "before it arrives",
    "lost": "arrived, its answer lost",
    "middle": "in the middle of its answer",
    "after": "right after its answer",
    "idle": "idle after its answer",
}
GREETED: dict[Kind, str] = {  # of a server that speaks first, and of messages that are no answers
    "request": "before it arrives",
    "lost": "before it",
    "middle": "in the middle of it",
    "after": "right after it",
    "idle": "idle after it",
}


@dataclass(frozen=True)
class Place:
    """A place of a conversation where a break can strike.

    Attributes:
        relay: the number of the relay, from 0 on.
        connection: the number of the connection at that relay, from 1 on.
        kind: whether it counts messages of a side, bytes, or requests and a silence after them.
        order: its number among the places of this kind: that of the message, of the request or of the byte.
        count: the number of messages, requests or bytes that pass first, which may differ from run to run.
        request: the number of the request that it belongs to, from 1 on; 0 for what the server says first.
        said: that request in words, or the first message of the server.
        at_seconds: when the conversation came there, in seconds since the relay started.
        what: the message or the stream by its number, where it is no turn.
    """

    relay: int
    connection: int
    kind: Kind
    order: int
    count: int = field(default=0, compare=False)
    request: int = field(default=0, compare=False)
    said: str = field(default="", compare=False)
    at_seconds: float = field(default=0.0, compare=False)
    what: str = field(default="", compare=False)

    def trigger(self, idle_seconds: float) -> Mapping[str, Any]:
        """The arguments of a mode that let it strike here."""
        if self.kind == "request":
            return {"at": "request", "after_messages": self.count}
        if self.kind == "lost":
            return {"at": "response", "after_messages": self.count}
        if self.kind in ("middle", "after"):
            return {"at": "response", "after_messages": self.order, "after_bytes": self.count}
        if self.kind == "idle":
            return {"at": "idle", "after_seconds": idle_seconds, "after_requests": self.count}
        return {"at": "request" if self.kind == "request bytes" else "response", "after_bytes": self.count}

    @property
    def counts_bytes(self) -> bool:
        """Whether it is a number of bytes, and has no message."""
        return self.kind in ("request bytes", "response bytes")

    def __str__(self) -> str:
        relay = f", relay {self.relay + 1}" if self.relay else ""
        where = f"connection {self.connection}{relay}"
        if self.counts_bytes:
            whose = "the client" if self.kind == "request bytes" else "the server"
            return f"after {counted(self.count, 'byte')} of {whose} ({where})"
        what = self.what or (f"request {self.request}" if self.request else "greeting")
        return f"{self.said or '…'}: {(TEXTS if self.request else GREETED)[self.kind]} ({what}, {where})"


def places_of(
    relay: int, attempts: Sequence[Attempt], ended_seconds: float, idle_seconds: float, stride: int | None = None
) -> Iterator[Place]:
    """The places of the conversations at a relay, in order: at messages, or with a stride after each number of bytes.

    A place is idle if nobody spoke there for `idle_seconds` before the scenario ended.
    """
    for attempt in attempts:
        if stride is not None:
            yield from at_bytes(relay, attempt, stride)
            continue
        by_turns = at_messages(relay, attempt, ended_seconds, idle_seconds)
        if inner_protocol(attempt) in FRAMED:
            frames = at_frames(relay, attempt) if attempt.pieces else at_turns(relay, attempt)
            yield from frames
            yield from (place for place in by_turns if place.kind == "idle")
        else:
            yield from by_turns


def at_messages(relay: int, attempt: Attempt, ended_seconds: float, idle_seconds: float) -> Iterator[Place]:
    """The places at the messages of a connection, in order."""
    protocol, number, turns = inner_protocol(attempt), attempt.number, kept(attempt)
    requests = answers = 0
    said = ""
    for turn, after in zip_longest(turns, turns[1:]):
        if turn.by == "client":
            said = words_of(turn, protocol)
            yield Place(relay, number, "request", requests, requests, requests + 1, said, turn.at_seconds)
            requests += 1
            continue
        said = said if requests else words_of(turn, protocol)
        at, until = turn.at_seconds, turn.until_seconds
        yield Place(relay, number, "lost", answers, answers, requests, said, at)
        if turn.count_bytes > 1:
            yield Place(relay, number, "middle", answers, turn.count_bytes // 2, requests, said, at)
        yield Place(relay, number, "after", answers, turn.count_bytes, requests, said, until)
        ends = after.at_seconds if after is not None else attempt.ended_seconds or ended_seconds
        if ends - until >= idle_seconds:
            yield Place(relay, number, "idle", answers, requests, requests, said, until)
        answers += 1


def at_frames(relay: int, attempt: Attempt) -> Iterator[Place]:
    """The places at the messages of a WebSocket, and at those of the streams of HTTP/2, in order."""
    found = [*opening_of(relay, attempt)]
    client, server = messages_of(attempt)
    requests = {message.stream: (number, message.said) for number, message in enumerate(client, 1) if message.stream}
    for order, message in enumerate(client[:MOST_MESSAGES]):
        request, said = requests.get(message.stream, (0, message.said))
        what = f"stream {message.stream}" if message.stream else f"message {order + 1} of the client"
        at = seconds_at(attempt, "client", message.begin)
        found.append(Place(relay, attempt.number, "request", order, order, request, said, at, what))
    for order, message in enumerate(server[:MOST_MESSAGES]):
        request, said = requests.get(message.stream, (0, message.said))
        what = f"stream {message.stream}" if message.stream else f"message {order + 1} of the server"
        at, until = (seconds_at(attempt, "server", byte) for byte in (message.begin, message.end - 1))
        counts: dict[Kind, int] = {"lost": order, "middle": message.count_bytes // 2, "after": message.count_bytes}
        for kind, count in counts.items():
            when = until if kind == "after" else at
            found.append(Place(relay, attempt.number, kind, order, count, request, said, when, what))
    return iter(sorted(found, key=lambda place: place.at_seconds))


def messages_of(attempt: Attempt) -> tuple[list[Message], list[Message]]:
    """The messages of the client and those of the server, as far as the relay has kept the bytes."""
    client, server = bytes_of(attempt, "client"), bytes_of(attempt, "server")
    if inner_protocol(attempt) == "HTTP/2":
        return of_http2(client, "client"), of_http2(server, "server")
    begins = handshake_bytes(client, "client"), handshake_bytes(server, "server")
    return [*of_websocket(client, begins[0])], [*of_websocket(server, begins[1])]


def opening_of(relay: int, attempt: Attempt) -> Iterator[Place]:
    """The places by their bytes before the first messages: in the handshake of a WebSocket, before HTTP/2 begins."""
    server = handshake_bytes(bytes_of(attempt, "server"), "server")
    at = attempt.started_seconds
    yield Place(relay, attempt.number, "request bytes", 0, 0, at_seconds=at)
    for count in sorted({0, server // 2, server}):
        yield Place(relay, attempt.number, "response bytes", count, count, at_seconds=at)


def at_turns(relay: int, attempt: Attempt) -> Iterator[Place]:
    """The places by their bytes where turns begin and end, and in the middle of those of the server."""
    counts = {"client": {0: attempt.started_seconds}, "server": {0: attempt.started_seconds}}
    passed = dict.fromkeys(counts, 0)
    for turn in kept(attempt):
        if turn.by == "server":
            counts["server"][passed["server"] + turn.count_bytes // 2] = turn.at_seconds
        passed[turn.by] += turn.count_bytes
        counts[turn.by][passed[turn.by]] = turn.until_seconds
    for count, at in counts["client"].items():
        yield Place(relay, attempt.number, "request bytes", count, count, at_seconds=at)
    for count, at in counts["server"].items():
        yield Place(relay, attempt.number, "response bytes", count, count, at_seconds=at)


def at_bytes(relay: int, attempt: Attempt, stride: int) -> Iterator[Place]:
    """The places at the bytes of a connection: those of the client, and then those of the server."""
    ended = attempt.ended_seconds or attempt.started_seconds
    for count in range(0, attempt.received_bytes, stride):
        yield Place(relay, attempt.number, "request bytes", count, count, at_seconds=ended)
    for count in range(0, attempt.sent_bytes + 1, stride) if attempt.sent_bytes else ():
        yield Place(relay, attempt.number, "response bytes", count, count, at_seconds=ended)


def kept(attempt: Attempt) -> tuple[Turn, ...]:
    """The first turns, before those that the ledger has dropped."""
    return tuple(turn for place, turn in enumerate(attempt.turns, 1) if turn.number == place)


def as_said(place: Place, attempts: Sequence[Attempt]) -> Place:
    """A place, named by what was said there in these attempts, which may be another than in the untouched run.

    A part of the same request, after which it broke, is no other.
    """
    for attempt in attempts:
        if attempt.number == place.connection and place.what:
            return as_framed(place, attempt)
        said = [turn for turn in kept(attempt) if turn.by == "client"] if attempt.number == place.connection else []
        if place.said and 0 < place.request <= len(said):
            name = words_of(said[place.request - 1], inner_protocol(attempt))
            return place if place.said.startswith(name) else replace(place, said=name)
    return place


def as_framed(place: Place, attempt: Attempt) -> Place:
    """A place at a message of frames, named by the message that had this number now: streams may change their order."""
    there = [each for each in at_frames(place.relay, attempt) if each == place] if attempt.pieces else []
    return replace(place, said=there[0].said, what=there[0].what, request=there[0].request) if there else place


def left_out(attempts: Sequence[Attempt]) -> int:
    """How many messages have no place: turns after others that the ledger has dropped, or more than enough."""
    return sum(map(left_out_of, attempts))


def unseen_bytes(attempts: Sequence[Attempt]) -> int:
    """How many bytes in frames have no place, because there was no room for them."""
    return sum(attempt.missing_bytes for attempt in attempts if inner_protocol(attempt) in FRAMED)


def left_out_of(attempt: Attempt) -> int:
    """How many messages of a conversation have no place."""
    if attempt.pieces and inner_protocol(attempt) in FRAMED:
        return sum(max(0, len(messages) - MOST_MESSAGES) for messages in messages_of(attempt))
    return attempt.turns[-1].number - len(kept(attempt)) if attempt.turns else 0


def words_of(turn: Turn, protocol: str) -> str:
    """A message in a few words."""
    text = words(turn, "TLS" if RECORD.match(turn.begins) else protocol)
    return text if len(text) <= MOST_WORDS else f"{text[: MOST_WORDS - 1]}…"


# --- the break of a verb at a place ----------------------------------------------------------------------------------


def checked_verb(verb: object) -> Fault:
    """A verb, if a sweep can put it anywhere.

    Raises:
        ParameterError: it is no fault that breaks an open connection, or it says where it strikes.
    """
    is_fault = isinstance(verb, Fault) and verb.break_ is not None and verb.break_.fits_anywhere
    if not isinstance(verb, Fault) or not is_fault or len(verb.said) != 1:
        called = f"; write {verb.__name__}()" if callable(verb) and hasattr(verb, "__name__") else ""
        raise ParameterError(
            f"verbs={abbreviated(verb)}: expected breaks of an open connection, such as (reset(), stall()){called}."
        )
    places = [name for name, _ in verb.said[0].arguments if name == "at" or name.startswith("after_") or name == "on"]
    if places:
        raise ParameterError(
            f"verbs={verb!r}: expected verbs without {places[0]}, because the sweep puts them everywhere."
        )
    return verb


def put(verb: Fault, place: Place, idle_seconds: float) -> Fault:
    """The fault that a verb is at a place."""
    (said,) = verb.said
    fault = getattr(faultline.modes, said.mode)(**dict(said.arguments), **place.trigger(idle_seconds))
    assert isinstance(fault, Fault)
    return fault


def is_silence(verb: Fault) -> bool:
    """Whether nothing is said any more: right after an answer that is the same as before the next request."""
    return verb.break_ is not None and isinstance(verb.break_.steps[0], (Hold, Partition))


def plan_of(faults: Mapping[int, Fault]) -> Plan:
    """The plan of a relay whose connections of these numbers meet these faults, and all others none."""
    if not faults:
        return HEALTHY
    return sequence(*(faults.get(number, HEALTHY) for number in range(1, max(faults) + 2)))
