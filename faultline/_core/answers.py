"""The answers of a server when nothing breaks, as values."""

from __future__ import annotations

import functools
import http
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeAlias

from faultline._core.points import FACTS, Point

Headers: TypeAlias = tuple[tuple[str, str], ...]
HeadersLike: TypeAlias = Mapping[str, str] | tuple[tuple[str, str], ...] | list[tuple[str, str]]


class AnyAnswer:
    """An answer of any protocol, with the properties that a fault needs of it."""

    is_of_lookup: ClassVar[bool] = False

    @property
    def is_fault(self) -> bool:
        """Whether the answer is a fault by itself."""
        return False

    @property
    def needs_tls(self) -> bool:
        """Whether the answer has a meaning only with TLS."""
        return False

    @property
    def begins_at(self) -> Point | None:
        """The first point where the answer is needed; `None` if the conversation need not come to any point."""
        return None

    def misses(self, _at: Point) -> str:
        """Why a conversation with this answer never comes to a point; empty if it does."""
        return ""


@dataclass(frozen=True)
class AsUsual(AnyAnswer):
    """The answer that the server has for every request, as written by `ok()` without a body."""


@dataclass(frozen=True)
class Through(AsUsual):
    """The answer of the upstream, as written by `through()`."""


@dataclass(frozen=True)
class Answer(AnyAnswer):
    """An answer in HTTP.

    Attributes:
        status: the status code.
        headers: further header fields.
        body: the body; `None` for that of the server.
        echoes: the body is the body of the request.
        raw: these bytes are sent as they are, instead of a status line, header fields and a body.
        ends: the connection ends with the answer, so that no `Content-Length` is needed.
        location: the `Location` field; `{host}` stands for the `Host` of the request.
        hops: the number of redirects that come before the answer, each to the next path.
        bodies_head: the body is sent to HEAD too.
        in_chunks: the body is sent in chunks (RFC 9112, 7.1).
        chunks: the chunks, which are the body together; without them the whole body is one chunk.
        repeats: the chunks come again and again, until the client leaves.
        trailers: fields after the body (RFC 9110, 6.5).
        ranges: a request for a part of the body gets that part (RFC 9110, 14).
        in_http2: what is said in HTTP/2 instead of `raw`.
        computes: a function that makes the answer from the request.
        endless: the client reads the body until the connection ends.
        lies_in_body: the body is wrong, or the boundary of head and body.
        is_fault: the answer is a fault by itself.
        needs_tls: the answer has a meaning only with TLS.
    """

    status: int = 200
    headers: Headers = ()
    body: bytes | None = None
    echoes: bool = False
    raw: bytes | None = None
    ends: bool = False
    location: str = ""
    hops: int = 0
    bodies_head: bool = False
    in_chunks: bool = False
    chunks: tuple[bytes, ...] = ()
    repeats: bool = False
    trailers: Headers = ()
    ranges: bool = False
    in_http2: Answer | None = None
    computes: Callable[[Any], Answer] | None = None
    endless: bool = False
    lies_in_body: bool = False
    is_fault: bool = False
    needs_tls: bool = False

    @property
    def begins_at(self) -> Point:
        """The point where the answer is sent."""
        return "response"

    def misses(self, at: Point) -> str:
        """Why there is no tunnel, or no connection that is kept alive; empty if there is."""
        if FACTS[at].of == "tunnel":
            return "the proxy answers by itself"
        if FACTS[at].of == "idle" and self.repeats:
            return "the body has no end"
        return "the connection ends with this answer" if FACTS[at].of == "idle" and self.closes else ""

    @property
    def has_known_length(self) -> bool:
        """Whether the bytes of the answer are known before there is a request."""
        return not self.echoes and not self.repeats and self.computes is None

    @property
    def closes(self) -> bool:
        """Whether the connection ends with the answer to any request."""
        return self.closes_after("HEAD")

    def closes_after(self, method: str) -> bool:
        """Whether the connection ends with the answer to a request of this method."""
        is_endless = self.ends or (self.endless and method != "HEAD")
        return is_endless or any(n.lower() == "connection" and "close" in v.lower() for n, v in self.headers)

    @property
    def needs_no_body(self) -> bool:
        """Whether it is a redirect or an error, so that the server may leave the body of the request unread."""
        return self.raw is None and self.status >= REDIRECTING

    @property
    def is_bytes(self) -> bool:
        """Whether the answer can be sent as bytes without HTTP."""
        return replace(self, body=None, raw=None, echoes=False, ends=False, is_fault=False) == Answer()

    def strikes_at(self, method: str) -> bool:
        """Whether the answer is a fault for a request of this method; a response to HEAD has no body."""
        seen = self.bodies_head or not self.lies_in_body if method == "HEAD" else not self.bodies_head
        return self.is_fault and seen

    def sized(self, at_least_bytes: int) -> Answer:
        """The same answer, with a body of at least this length if no body was given."""
        if self.body is not None or self.raw is not None or not self.has_known_length or not at_least_bytes:
            return self
        return replace(self, body=filler(at_least_bytes))


@dataclass(frozen=True)
class SocksRefusal(AnyAnswer):
    """The reply of a SOCKS proxy that opens no tunnel."""

    kind: str

    @property
    def is_fault(self) -> bool:
        """Every refusal is a fault."""
        return True

    @property
    def begins_at(self) -> Point:
        """The point where the reply is sent."""
        return "response"

    def misses(self, at: Point) -> str:
        """Why there is no tunnel; empty for other points."""
        return "the proxy refuses" if FACTS[at].of == "tunnel" else ""


REDIRECTING, FAULTY = 300, 400  # status codes from here on are redirects, and errors: RFC 9110, 15
OK_BODY = b"ok\n"  # of a server that has no other answer
NO_CONTENT = (204, 304)  # a client goes by the status, whatever the fields say: RFC 9112, 6.3
RESET_CONTENT = 205  # has no content, and states a length of 0: RFC 9110, 15.3.6


@dataclass(frozen=True)
class Framing:
    """How the end of a body is found, by the header fields that a user gives (RFC 9112, 6.3).

    Attributes:
        in_chunks: the last transfer coding is `chunked`.
        endless: the client reads the body until the connection ends.
        is_wrong: the fields contradict the body or each other.
    """

    in_chunks: bool = False
    endless: bool = False
    is_wrong: bool = False


def framing(status: int, headers: Headers, body: bytes | None) -> Framing:
    """How the end of a body is found, by the header fields that a user gives."""
    if status in NO_CONTENT:
        return Framing()
    codings, lengths = listed(headers, "transfer-encoding"), listed(headers, "content-length")
    if codings:
        in_chunks = codings[-1] == "chunked"
        return Framing(in_chunks, endless=not in_chunks or bool(lengths), is_wrong=bool(lengths))
    real = 0 if status == RESET_CONTENT else len(OK_BODY if body is None else body)
    right = all(text.isdecimal() and text.isascii() and int(text) == real for text in lengths)
    short = all(text.isdecimal() and text.isascii() and int(text) < real for text in lengths) and len(set(lengths)) == 1
    return Framing(endless=not right and not short, is_wrong=not right)


def listed(headers: Headers, name: str) -> list[str]:
    """The members of a field that is a list, in lower case (RFC 9110, 5.6.1)."""
    values = [value for field, value in headers if field.lower() == name]
    return [member.strip().lower() for value in values for member in value.split(",")]


def chunk(data: bytes) -> bytes:
    """A chunk of a body (RFC 9112, 7.1)."""
    return b"%x\r\n%s\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"  # it ends the body


# The phrases of RFC 9110, 15.5. Python before 3.13 has older phrases of another length.
PHRASES = {413: "Content Too Large", 414: "URI Too Long", 416: "Range Not Satisfiable", 422: "Unprocessable Content"}


@functools.cache  # the enumeration is slow
def phrase_of(status: int) -> str:
    """The reason phrase of a status code; empty if the code is unknown."""
    known = http.HTTPStatus(status).phrase if status in set(http.HTTPStatus) else ""
    return PHRASES.get(status, known)


def filler(count_bytes: int) -> bytes:
    """A body of this number of bytes that is easy to recognise in a capture."""
    line = b"faultline answers with this line when no body was asked for\n"
    return (line * (count_bytes // len(line) + 1))[:count_bytes]
