"""What a server says when nothing breaks, as values."""

from __future__ import annotations

import http
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, TypeAlias

from faultline._core.points import FACTS, Point

Headers: TypeAlias = tuple[tuple[str, str], ...]
HeadersLike: TypeAlias = Mapping[str, str] | tuple[tuple[str, str], ...] | list[tuple[str, str]]


class AnyAnswer:
    """What is said when nothing breaks, and what a fault asks of it."""

    is_of_lookup: ClassVar[bool] = False

    @property
    def is_fault(self) -> bool:
        """Whether it is wrong by itself."""
        return False

    @property
    def needs_tls(self) -> bool:
        """Whether it means something only where there is TLS."""
        return False

    @property
    def begins_at(self) -> Point | None:
        """The point where it is first needed; `None` if a fault does without it."""
        return None

    def misses(self, _at: Point) -> str:
        """Why a conversation with this answer never comes to a point, if it doesn't."""
        return ""


@dataclass(frozen=True)
class AsUsual(AnyAnswer):
    """The answer that the server has for every request: `ok()` without a body means it."""


@dataclass(frozen=True)
class Answer(AnyAnswer):
    """An answer in HTTP.

    Attributes:
        echoes: the body is that of the request.
        raw: these bytes are sent as they are, instead of all that.
        ends: the connection ends with it, so that no length has to be said.
        location: where it redirects to; `{host}` stands for the name that the request has for the server.
        hops: this number of redirects comes before it, each to the next path.
        bodies_head: its body is sent to HEAD too.
        lies_in_body: the body is wrong, or the boundary of head and body.
        is_fault: it is a fault by itself.
        needs_tls: it means something only where there is TLS.
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
    lies_in_body: bool = False
    is_fault: bool = False
    needs_tls: bool = False

    @property
    def begins_at(self) -> Point:
        """The point where it is said."""
        return "response"

    def misses(self, at: Point) -> str:
        """Why a conversation with this answer never comes to a tunnel, or to a connection that is kept alive."""
        if FACTS[at].of == "tunnel":
            return "the proxy answers by itself"
        return "the connection ends with this answer" if FACTS[at].of == "idle" and self.closes else ""

    @property
    def closes(self) -> bool:
        """Whether the connection ends with it."""
        return self.ends or any(n.lower() == "connection" and "close" in v.lower() for n, v in self.headers)

    @property
    def is_bytes(self) -> bool:
        """Whether it is bytes that need no HTTP around them."""
        return replace(self, body=None, raw=None, echoes=False, ends=False, is_fault=False) == Answer()

    def strikes_at(self, method: str) -> bool:
        """Whether it is a fault to such a request; to HEAD there is no body."""
        seen = self.bodies_head or not self.lies_in_body if method == "HEAD" else not self.bodies_head
        return self.is_fault and seen

    def sized(self, at_least_bytes: int) -> Answer:
        """The same, with a body made long enough where none was asked for."""
        if self.body is not None or self.raw is not None or self.echoes or not at_least_bytes:
            return self
        return replace(self, body=filler(at_least_bytes))


@dataclass(frozen=True)
class SocksRefusal(AnyAnswer):
    """What a SOCKS proxy says instead of opening the tunnel."""

    kind: str

    @property
    def is_fault(self) -> bool:
        """It is one, whatever its kind."""
        return True

    @property
    def begins_at(self) -> Point:
        """The point where it is said."""
        return "response"

    def misses(self, at: Point) -> str:
        """Why there is no tunnel."""
        return "the proxy refuses" if FACTS[at].of == "tunnel" else ""


# As RFC 9110, 15.5 has it; Python before 3.13 has older words, and a response should not be longer for that.
PHRASES = {413: "Content Too Large", 414: "URI Too Long", 416: "Range Not Satisfiable", 422: "Unprocessable Content"}


def phrase_of(status: int) -> str:
    """The reason phrase that goes with a status code, or nothing."""
    known = http.HTTPStatus(status).phrase if status in set(http.HTTPStatus) else ""
    return PHRASES.get(status, known)


def filler(count_bytes: int) -> bytes:
    """A body of so many bytes that is easy to recognise in a capture."""
    line = b"faultline answers with this line when no body was asked for\n"
    return (line * (count_bytes // len(line) + 1))[:count_bytes]
