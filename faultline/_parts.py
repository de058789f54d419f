"""The parts that a fault is put together from, as values: an answer, a certificate, conditions.

Rules of this room: frozen data. A part is a recipe; what makes it is the platform, and nothing here knows how.
"""

from __future__ import annotations

import http
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, TypeAlias

Headers: TypeAlias = tuple[tuple[str, str], ...]
HeadersLike: TypeAlias = Mapping[str, str] | tuple[tuple[str, str], ...] | list[tuple[str, str]]

DAY_SECONDS = 86_400.0
# An address that nothing can connect to: the broadcast address of the loopback network (`tcp_v4_connect`).
NOWHERE = "127.255.255.255"


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
class Found:
    """What a lookup finds.

    Attributes:
        targets: addresses, each with a port, or with `None` for the one that the client asks for.
        server: the server that they lead to, if it is one of ours.
        first: what comes before it: an address that refuses, one that is silent, or one of IPv6 that refuses.
    """

    targets: tuple[tuple[str, int | None], ...] = ()
    server: Any = None
    first: Literal["nothing", "dead", "blackhole", "ipv6"] = "nothing"
    strikes: ClassVar[bool] = False


@dataclass(frozen=True)
class SocksRefusal:
    """What a SOCKS proxy says instead of opening the tunnel."""

    kind: str
    strikes: ClassVar[bool] = True


Key = Literal["P-256", "Ed25519", "RSA-1024", "RSA-8192"]


@dataclass(frozen=True)
class Certificate:
    """What the server's certificate says, and who signed it; the default is right in every point.

    Attributes:
        names: the subject alternative names; without them, those of the server.
        least_names: so many of them at least, by more of hosts that don't exist.
        issuer: the CA that clients trust, another one, itself, or an intermediate of the trusted one: with
            name constraints that leave this server out, or without.
        chain: what is sent: all up to the root, the leaf alone, or the intermediates in the wrong order.
        subject: the common name; `None` leaves the subject empty.
        has_names: whether there are alternative names at all.
        usage: what it may be used for.
        staples: an OCSP answer that it is revoked goes with it to a client that asks (RFC 6066, 8).
        from_connection: the first connection of a server that sees it; those before see the healthy one.
    """

    kind: str = "healthy"
    names: tuple[str, ...] | None = None
    least_names: int = 0
    from_seconds: float = -DAY_SECONDS
    until_seconds: float = 30 * DAY_SECONDS
    issuer: Literal["trusted", "unknown", "itself", "intermediate", "constrained"] = "trusted"
    chain: Literal["whole", "leaf", "reversed"] = "whole"
    subject: str | None = "faultline"
    has_names: bool = True
    usage: Literal["server", "client", "authority"] = "server"
    key: Key = "P-256"
    digest: Literal["SHA-256", "SHA-1"] = "SHA-256"
    is_revoked: bool = False
    staples: bool = False
    from_connection: int = 1


Version = Literal["1.0", "1.1", "1.2", "1.3"]


@dataclass(frozen=True)
class Terms:
    """What TLS the server agrees to; the default is what any client can meet.

    Attributes:
        version: the only version.
        ciphers: the ones that clients have, or only one without encryption, which no client offers.
        refuses_protocols: a client that offers application protocols (ALPN) is refused.
        renegotiates: TLS 1.2, with a new handshake in the middle.
        client: what becomes of the client's certificate: not asked for, asked for and verified, or asked for and
            never accepted.
    """

    kind: str = "any"
    version: Version | None = None
    ciphers: Literal["usual", "null"] = "usual"
    refuses_protocols: bool = False
    renegotiates: bool = False
    client: Literal["ignored", "required", "rejected"] = "ignored"

    def over(self, usual: Terms) -> Terms:
        """These on a server whose usual terms are others: a client certificate that it demands, it still demands."""
        return replace(self, client=usual.client if self.client == "ignored" else self.client)


Direction = Literal["request", "response", "both", "handshake", "lookup"]


@dataclass(frozen=True)
class Condition:
    """How bytes travel while nothing breaks; `direction` is whose bytes."""

    direction: Direction = "response"

    def collides(self, other: Condition) -> bool:
        """Whether both say the same thing about the same bytes."""
        same_bytes = self.on(other.direction) or other.on(self.direction)
        same_kind = type(self) is type(other) or (isinstance(self, Pace) and isinstance(other, Pace))
        return same_kind and same_bytes

    def on(self, direction: Direction) -> bool:
        """Whether it is about bytes in this direction; both is what the two say once there is TLS."""
        return self.direction == direction or (self.direction == "both" and direction not in ("handshake", "lookup"))


@dataclass(frozen=True)
class Latency(Condition):
    """Bytes arrive so much later, more or less."""

    delay_seconds: float = 0.0
    jitter_seconds: float = 0.0


@dataclass(frozen=True)
class Pace(Condition):
    """Bytes arrive bit by bit; there is one way of it in a direction."""


@dataclass(frozen=True)
class Throttle(Pace):
    """Bytes arrive at this rate."""

    bytes_per_second: int = 0


@dataclass(frozen=True)
class Drip(Pace):
    """Bytes arrive in pieces of this size, so far apart."""

    chunk_bytes: int = 1
    every_seconds: float = 0.0


@dataclass(frozen=True)
class Trickle(Pace):
    """The head of a response arrives line by line, so far apart; then all the rest."""

    every_seconds: float = 0.0


@dataclass(frozen=True)
class Corrupt(Condition):
    """A bit of one byte is turned over, or of each byte with a probability."""

    at_byte: int | None = None
    probability: float = 0.0


@dataclass(frozen=True)
class Drop(Condition):
    """So many bytes, from this one on, never arrive."""

    at_byte: int = 0
    count_bytes: int = 1


@dataclass(frozen=True)
class Duplicate(Condition):
    """So many bytes, from this one on, arrive twice."""

    at_byte: int = 0
    count_bytes: int = 1


@dataclass(frozen=True)
class Loss(Condition):
    """Packets are dropped with a probability."""

    probability: float = 0.0


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


def abbreviated(value: object, limit: int = 40) -> str:
    """`repr`, with the middle of long values left out."""
    text = str(getattr(value, "__qualname__", None) or repr(value))  # a function by its name, not its address
    if len(text) <= limit:
        return text
    size = f"...{len(value)} bytes..." if isinstance(value, bytes) else "..."
    return f"{text[: limit // 2]}{size}{text[-limit // 4 :]}"
