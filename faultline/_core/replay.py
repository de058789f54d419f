"""Recorded conversations as steps of scripts that stand alone.

Rules: a script waits for what its client says in the same turn, and so never speaks earlier than the server did. It
waits by the structure of those bytes, as far as it is known: a request of HTTP, a line, or otherwise their number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TypeAlias

from faultline._core import steps as do
from faultline._core.attempts import Attempt
from faultline._core.breaks import Trigger
from faultline._core.ends import Party
from faultline._core.errors import ParameterError
from faultline._core.fault import Fault, breaks
from faultline._core.masking import STAR, Masked, Masker
from faultline._core.pieces import Piece
from faultline._core.points import OpenPoint
from faultline._core.replies import receive_all, reply
from faultline._core.said import Said
from faultline._core.script import receive, receive_prefixed, receive_request, receive_until, send, starttls
from faultline._core.unrepeatable import why_not
from faultline._core.upstream import UNREACHED

Line: TypeAlias = "do.Step | Fault"  # of a script
REQUEST = re.compile(rb"[A-Z]+ [^\s]+ HTTP/1\.[01]\r\n")
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]+)[^\r\n]*\r\n")
HEAD_END, END_OF_MAIL = b"\r\n\r\n", b"\r\n.\r\n"


@dataclass(frozen=True)
class OneTurn:
    """The bytes of one side until the other side spoke, masked."""

    by: Party
    masked: Masked
    in_tls: bool


@dataclass(frozen=True)
class Conversation:
    """All that was said on one connection.

    Attributes:
        connection: its number.
        turns: what the sides said, in order.
        tls: whether it began in TLS.
        ended_by: the side that was the first to end its direction; `None` if no side did.
        was_reset: whether that side ended it by a RST.
    """

    connection: int
    turns: tuple[OneTurn, ...]
    tls: bool
    ended_by: Party | None
    was_reset: bool


def conversations_of(attempts: Iterable[Attempt], masker: Masker) -> list[Conversation]:
    """The conversations of a ledger, connection by connection.

    Raises:
        ParameterError: some bytes are missing, or can't be replayed.
    """
    came = (a for a in attempts if a.connection is not None and not is_of_proxy(a))
    known = sorted(came, key=lambda a: (a.connection, a.number))
    return [conversation(number, [*own], masker) for number, own in groupby(known, lambda a: a.connection or 0)]


def is_of_proxy(attempt: Attempt) -> bool:
    """Whether a client has spoken to a proxy alone, as a client does that was refused."""
    return bool(attempt.pieces) and all(piece.at_proxy for piece in attempt.pieces or ())


def conversation(number: int, attempts: list[Attempt], masker: Masker) -> Conversation:
    """The conversation on one connection.

    Raises:
        ParameterError: some bytes are missing, or can't be replayed.
    """
    check_whole(attempts, f"connection {number}")
    if missed := [attempt.note for attempt in attempts if UNREACHED in attempt.note]:
        raise ParameterError(f"connection {number}: expected an upstream that answers; {missed[0]}.")
    if any(attempt.stream is not None for attempt in attempts):
        raise ParameterError(f"connection {number} is in HTTP/2, whose frames no script plays; use alpn=('http/1.1',).")
    recorded = [piece for attempt in attempts for piece in attempt.pieces or ()]
    pieces = [piece for piece in recorded if not piece.at_proxy]
    has_proxy, turns = len(pieces) < len(recorded), tuple(turns_of(pieces, masker))
    for at, turn in enumerate(turns):
        if why := why_not(turn.by, turn.masked.data, is_first=at == 0, in_tls=turn.in_tls, has_proxy=has_proxy):
            raise ParameterError(f"connection {number} {why}.")
    ends = [end for attempt in attempts for end in attempt.ends if end.how in ("FIN", "RST", "close_notify")]
    first = ends[0] if ends else None
    if first is None and turns and turns[-1].by == "client" and attempts[-1].ended_seconds is None:
        said = turns[-1].masked.data[:40]
        raise ParameterError(f"connection {number}: expected an answer to {said!r}; wait for the client to get it.")
    tls = bool(turns) and turns[0].in_tls
    by: Party | None = None
    if first is not None:
        by = "client" if first.by == "client" else "server"  # or its upstream
    return Conversation(number, turns, tls, by, first is not None and first.how == "RST")


def check_whole(attempts: Iterable[Attempt], whose: str) -> None:
    """Check that the bytes of these attempts were recorded, all of them.

    Raises:
        ParameterError: there was no room for some.
    """
    if missing := sum(attempt.missing_bytes for attempt in attempts):
        raise ParameterError(
            f"record: expected room for all bytes; {missing:,} bytes of {whose} were not recorded. "
            "Start the server with a larger number, such as record=1_000_000_000."
        )


def turns_of(pieces: list[Piece], masker: Masker) -> Iterator[OneTurn]:
    """The turns of a conversation."""
    before = b""
    for (by, in_tls), own in groupby(pieces, lambda piece: (piece.by, piece.in_tls)):
        data = b"".join(piece.data for piece in own)
        yield OneTurn(by, masker.masked(by, data, before), in_tls)
        before = data


def with_masks(attempt: Attempt, masker: Masker) -> Attempt:
    """The attempt of a relay, without the secrets in the first bytes of its turns and in WebSocket messages."""
    whole, before = list[bytes](), b""
    for by, pieces in groupby(attempt.pieces or (), lambda piece: piece.by):
        data = b"".join(piece.data for piece in pieces)
        whole.append(masker.masked(by, data, before).data)
        before = data
    kept = (turn for turn in attempt.turns if turn.number <= len(whole))
    turns = tuple(replace(turn, begins=whole[turn.number - 1][: len(turn.begins)]) for turn in kept)
    facts = attempt.websocket
    if facts is not None:
        facts = replace(facts, received=tuple(message_with_masks(each, masker) for each in facts.received))
    return replace(attempt, turns=turns, websocket=facts)


def message_with_masks(message: str | bytes, masker: Masker) -> str | bytes:
    """A message of a client without its secrets."""
    if isinstance(message, bytes):
        return masker.masked("client", message).data
    return masker.masked("client", message.encode("utf-8", "surrogatepass")).data.decode("utf-8", "replace")


# --- steps by turns --------------------------------------------------------------------------------------------------


def lines_by_turns(talk: Conversation) -> tuple[Line, ...]:
    """The steps that replay a conversation turn by turn."""
    lines: list[Line] = []
    in_tls = talk.tls
    for turn in talk.turns:
        if turn.in_tls and not in_tls:
            lines.append(starttls())
            in_tls = True
        if turn.by == "client":
            lines += reading(turn.masked.data)
        else:
            lines.append(send(turn.masked.data))
    return (*lines, *ending(talk, lines))


def reading(data: bytes) -> Iterator[Line]:
    """The steps that read what a client said in one turn."""
    while REQUEST.match(data):
        head = data.partition(HEAD_END)[0] + HEAD_END
        size = body_bytes(head, data[len(head) :])
        if not data.startswith(head):
            break
        if size is None:  # the body comes in a later turn, as behind 100 Continue
            yield receive_request(head_only=True)
            data = data[len(head) :]
            break
        yield receive_request()
        data = data[len(head) + size :]
    if not data:
        return
    if is_line(data):
        yield receive_until(b"\n")
    elif data.endswith(END_OF_MAIL) and data.count(END_OF_MAIL) == 1:
        yield receive_until(END_OF_MAIL)
    else:
        yield receive(len(data))


def is_line(data: bytes) -> bool:
    """Whether bytes are one line of text."""
    return data.find(b"\n") == len(data) - 1 and re.fullmatch(rb"[\t\r\n -~\x80-\xff]+", data) is not None


def body_bytes(head: bytes, rest: bytes) -> int | None:
    """How many of the bytes behind a head are its body; `None` if they are not all there."""
    if re.search(rb"(?im)^transfer-encoding:.*chunked", head):
        return chunked_bytes(rest)
    found = re.search(rb"(?im)^content-length:[ \t]*(\d+)", head)
    size = int(found[1]) if found else 0
    return size if size <= len(rest) else None


def ending(talk: Conversation, before: list[Line]) -> tuple[Line, ...]:
    """The steps that end a conversation as it was ended: by the server, or by the client, for which it waits."""
    if talk.ended_by == "server":
        if not before:
            return (ended("accept", reset=talk.was_reset),)
        return (ended(None, reset=True),) if talk.was_reset else ()
    return () if talk.turns and talk.turns[-1].by == "client" and talk.ended_by == "client" else (receive_all(),)


def ended(at: OpenPoint | None, *, reset: bool) -> Fault:
    """A break by the server, as users write it."""
    fault = breaks(at, Trigger(), do.Reset() if reset else do.Close())
    return replace(fault, said=(Said("reset" if reset else "close", (("at", at),) if at else ()),))


def chunked_bytes(rest: bytes) -> int | None:
    """How many bytes a body in chunks has, with its trailer fields; `None` if they are not all there."""
    at = 0
    while found := CHUNK_LINE.match(rest, at):
        if not int(found[1], 16):
            end = rest.find(HEAD_END, found.end() - 2)  # right behind the last chunk, or behind trailer fields
            return end + len(HEAD_END) if end >= 0 else None
        at = found.end() + int(found[1], 16) + 2
    return None


# --- steps by requests -----------------------------------------------------------------------------------------------

PREFIXES = tuple((size, whole) for size in (4, 2) for whole in (False, True))


def lines_by_requests(talks: list[Conversation]) -> tuple[Line, ...]:
    """The steps that answer each message of a client as it was answered in the record, in any order.

    Raises:
        ParameterError: the messages have no known bounds, or one message got different answers.
    """
    if any(turn.in_tls != talk.tls for talk in talks for turn in talk.turns):
        raise ParameterError("by='requests': expected no TLS that begins inside the protocol; write by='turns'.")
    greetings = {talk.turns[0].masked.data if talk.turns[0].by == "server" else b"" for talk in talks if talk.turns}
    asked = dict(answers_in(talks)) if len(greetings) == 1 else {}
    if not asked:
        why = "connections that begin alike" if len(greetings) > 1 else "a client that said something"
        raise ParameterError(f"by='requests': expected {why}; write by='turns'.")
    greeting = greetings.pop()
    branches = {key: steps[0] if len(steps) == 1 else steps for key, steps in asked.items()}
    read = framing([turn.masked.data for talk in talks for turn in talk.turns if turn.by == "client"])
    return (*([send(greeting)] if greeting else []), reply(branches, reading=read))


def answers_in(talks: list[Conversation]) -> Iterator[tuple[bytes | re.Pattern[bytes], tuple[Line, ...]]]:
    """For each message of a client the steps that answer it.

    Raises:
        ParameterError: one message got different answers.
    """
    known: dict[bytes, tuple[Line, ...]] = {}
    for talk in talks:
        for at, turn in enumerate(talk.turns):
            if turn.by != "client":
                continue
            is_last = at + 2 >= len(talk.turns)
            answer: tuple[Line, ...] = tuple(send(t.masked.data) for t in talk.turns[at + 1 : at + 2])
            if is_last and talk.ended_by == "server":
                answer += (ended(None, reset=talk.was_reset),)
            asked = turn.masked.data
            if known.setdefault(asked, answer) != answer:
                raise ParameterError(
                    f"by='requests': expected one answer to each message; {asked[:40]!r} got two. Write by='turns'."
                )
            yield key_of(turn.masked), answer


def key_of(masked: Masked) -> bytes | re.Pattern[bytes]:
    """The key of a branch; a secret in it may be another one.

    Raises:
        ParameterError: all of it is secret, so that it is known by its turn alone.
    """
    if not masked.spans:
        return masked.data
    if not masked.data.strip(STAR + b"\r\n"):
        raise ParameterError("by='requests': expected no message that is a secret alone; write by='turns'.")
    parts, at = [], 0
    for start, end, _ in masked.spans:
        if start >= at:  # spans of two masks may overlap
            parts.append(re.escape(masked.data[at:start]))
        at = max(at, end)
    return re.compile(rb"\A" + rb"[^\r\n]*".join([*parts, re.escape(masked.data[at:])]))


def framing(messages: list[bytes]) -> do.Step:
    """The step that reads one of these messages.

    Raises:
        ParameterError: they are neither lines nor have their length before them.
    """
    if all(map(is_line, messages)):
        return receive_until(b"\n")
    for size, whole in PREFIXES:
        if all(int.from_bytes(m[:size], "big") == len(m) - (0 if whole else size) for m in messages):
            return receive_prefixed(size, includes_length=whole)
    raise ParameterError(
        "by='requests': expected messages that are lines or have their length before them; write by='turns'."
    )
