"""The mode of server-sent events."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from faultline._core.answers import LAST_CHUNK, Answer, Headers, HeadersLike, chunk
from faultline._core.breaks import Break, Trigger
from faultline._core.check import nearest, rejected
from faultline._core.conditions import ByChunk
from faultline._core.fault import Fault
from faultline._core.header_fields import fields
from faultline._core.llm_events import Event
from faultline._core.steps import Close, ConnectionStep, Hold, Reset
from faultline.modes._bodies import as_json
from faultline.modes._registry import case, mode

__all__ = ["sse"]

HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nConnection: close\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n\r\n"
LINE_END = re.compile(r"\r\n|\r|\n")
PARTS = ("comment", "event", "id", "retry", "data")  # in the order in which they are written
PREFIX = {"comment": ": ", "data": "data: "}
ENDINGS: dict[str, ConnectionStep] = {"close": Close(), "reset": Reset(), "stall": Hold()}


@mode(
    case("end of stream"),
    case("ConnectionResetError", break_="reset"),
    case("TimeoutError", break_="stall"),
    case("end of stream", break_="none"),
)
def sse(
    events: Annotated[tuple[Event, ...], "the data of each event, one by one"] = (
        "first",
        "second",
        "third",
    ),
    *,
    break_: Annotated[
        Literal["close", "reset", "stall", "none"],
        "what happens in the middle of the last event; none: the stream ends normally",
    ] = "close",
    every_seconds: Annotated[float, "the time between two events"] = 0.0,
    headers: Annotated[HeadersLike, "further header fields, by name"] = (),
) -> Fault:
    """Answer with server-sent events, and break in the middle of the last event.

    Each event is a chunk of `text/event-stream` (WHATWG HTML, 9.2). The last event stops half-way, inside its chunk,
    and then comes FIN, RST or silence. With `break_="none"` it is complete, and the stream ends as it should; then
    any verb can cut it, as in `sse(("a", "b"), break_="none") & reset(at="response", on=b"data: a")`.

    An event is the text of its data, or a mapping with some of `data`, `event`, `id`, `retry` (whole milliseconds) and
    `comment`. Data that is no text is written as JSON; text of several lines becomes several lines of data.

    .. versionadded:: 0.1

    Raises:
        ParameterError: there are no events; an event has no part or another part; a part has a value that the stream
            can't say; or HTTP can't carry a name or a value in `headers`.

    Example:
        >>> import faultline, urllib.request
        >>> with faultline.serve(faultline.sse(("first", "second"))) as server:
        ...     urllib.request.urlopen(server.url).read()
        Traceback (most recent call last):
        http.client.IncompleteRead: IncompleteRead(19 bytes read)
    """
    if not isinstance(events, (tuple, list)) or not events:
        right = f"; write ({events!r},)" if isinstance(events, (str, Mapping)) and events else ""
        raise rejected("events", events, f"at least one event, as a tuple of texts or mappings{right}")
    given = fields(headers)
    more = "".join(f"{name}: {value}\r\n" for name, value in given)
    parts = [written(event, f"events[{number}]") for number, event in enumerate(events)]
    chunks = [chunk(part) for part in parts]
    if break_ == "none":
        chunks[-1] += LAST_CHUNK
    else:
        chunks[-1] = chunks[-1][: -len(chunks[-1]) // 2]
    pace = (ByChunk(sizes=tuple(map(len, chunks)), every_seconds=every_seconds),) if every_seconds else ()
    raw = (HEAD + more + CHUNKED).encode("latin-1") + b"".join(chunks)
    answer = Answer(raw=raw, ends=True, in_http2=in_frames(parts, given, ends=break_ == "none"))
    end = None if break_ == "none" else Break("response", (ENDINGS[break_],), Trigger(at_end=True))
    return Fault(end, answer=answer, conditions=pace)


def in_frames(events: list[bytes], headers: Headers, *, ends: bool) -> Answer:
    """The same stream in HTTP/2, where each event is a DATA frame."""
    if not ends:
        events = [*events[:-1], events[-1][: len(events[-1]) // 2]]
    own = (("content-type", "text/event-stream"), ("cache-control", "no-cache"))
    return Answer(headers=own + headers, body=b"".join(events), chunks=tuple(events), endless=not ends)


def written(event: object, name: str) -> bytes:
    """An event as the stream has it, with the empty line at its end.

    Raises:
        ParameterError: it is neither text nor a mapping, or has a part that the stream can't say.
    """
    parts = {"data": event} if isinstance(event, str) else event
    if not isinstance(parts, Mapping) or not parts:
        raise rejected(name, event, "text, or a mapping with data")
    lines: list[str] = []
    for word in sorted(parts, key=lambda word: PARTS.index(word) if word in PARTS else -1):
        lines += part(word, parts[word], name)
    try:
        return "".join(f"{line}\n" for line in lines).encode() + b"\n"
    except UnicodeEncodeError as error:
        raise rejected(name, event, f"text that UTF-8 can encode ({error.reason})") from None


def part(word: object, value: object, name: str) -> list[str]:
    """The lines of one part of an event.

    Raises:
        ParameterError: there is no such part, or it can't have this value.
    """
    match word, value:
        case "retry", int() if not isinstance(value, bool) and value >= 0:
            return [f"retry: {value}"]
        case "event" | "id", str() if not LINE_END.search(value) and "\0" not in value:
            return [f"{word}: {value}"]
        case "comment" | "data", str():
            return [f"{PREFIX[word]}{line}" for line in LINE_END.split(value)]
        case "data", _:
            return [f"data: {as_json(f'{name}[data]', value)}"]
    if word not in PARTS:
        hint = nearest(word, PARTS) if isinstance(word, str) else ""
        raise rejected(name, {word: value}, f"only parts among {', '.join(sorted(PARTS))}.{hint}".removesuffix("."))
    raise rejected(f"{name}[{word}]", value, "whole milliseconds, 0 or more" if word == "retry" else "text of one line")
