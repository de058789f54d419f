"""The parts that a fault is put together from, as values: an answer, a certificate, conditions.

Rules of this room: frozen data. A part is a recipe; what makes it is the platform, and nothing here knows how.
"""

from __future__ import annotations

import http
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, TypeAlias

Headers: TypeAlias = tuple[tuple[str, str], ...]
HeadersLike: TypeAlias = Mapping[str, str] | tuple[tuple[str, str], ...] | list[tuple[str, str]]


@dataclass(frozen=True)
class Answer:
    """What an HTTP server says when nothing breaks.

    Attributes:
        echoes: the body is that of the request.
        raw: said as it is, instead of all that.
        ends: the connection ends with it, so that no length has to be said.
        location: where it redirects to; `{host}` stands for what the request calls the server.
        hops: so many redirects come before it, each to the next path.
        bodies_head: its body is said to HEAD too.
        lies_in_body: what is wrong with it is in the body, or between head and body.
        strikes: it is a fault by itself.
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
    strikes: bool = False
    needs_tls: bool = False

    @property
    def closes(self) -> bool:
        """Whether the connection ends with it."""
        return self.ends or any(n.lower() == "connection" and "close" in v.lower() for n, v in self.headers)

    def strikes_at(self, method: str) -> bool:
        """Whether it is a fault to such a request; to HEAD there is no body."""
        seen = self.bodies_head or not self.lies_in_body if method == "HEAD" else not self.bodies_head
        return self.strikes and seen

    def sized(self, at_least_bytes: int) -> Answer:
        """The same, with a body made long enough where none was asked for."""
        if self.body is not None or self.raw is not None or self.echoes or not at_least_bytes:
            return self
        return replace(self, body=filler(at_least_bytes))


@dataclass(frozen=True)
class SocksRefusal:
    """What a SOCKS proxy says instead of opening the tunnel."""

    kind: str
    strikes: ClassVar[bool] = True


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
