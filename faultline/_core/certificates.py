"""What TLS shows and agrees to, as values: a certificate and the terms of the handshake."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from faultline._core.points import Point

DAY_SECONDS = 86_400.0
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
        is_fault: something is wrong with it.
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
    is_fault: bool = False
    needs_tls: ClassVar[bool] = True
    begins_at: ClassVar[Point] = "handshake"


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
        is_fault: they are there to be refused.
    """

    kind: str = "any"
    version: Version | None = None
    ciphers: Literal["usual", "null"] = "usual"
    refuses_protocols: bool = False
    renegotiates: bool = False
    client: Literal["ignored", "required", "rejected"] = "ignored"
    is_fault: bool = False
    needs_tls: ClassVar[bool] = True
    begins_at: ClassVar[Point] = "handshake"

    @property
    def needs_python_ssl(self) -> bool:
        """Whether they ask for something that is done here by Python's ssl alone, and not by pyOpenSSL."""
        asks = self.version is not None or self.ciphers != "usual" or self.refuses_protocols
        return asks or self.client != "ignored"

    def over(self, usual: Terms) -> Terms:
        """These on a server whose usual terms are others: a client certificate that it demands, it still demands."""
        return replace(self, client=usual.client if self.client == "ignored" else self.client)
