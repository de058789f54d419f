"""The values of TLS: a certificate, and the terms of a handshake."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, TypeAlias

from faultline._core.check import choice, rejected
from faultline._core.points import Point

DAY_SECONDS = 86_400.0
Key = Literal["P-256", "Ed25519", "RSA-1024", "RSA-8192"]


@dataclass(frozen=True)
class Certificate:
    """The content of the server's certificate and its issuer; the default is right in every point.

    Attributes:
        kind: the name of the defect.
        names: the subject alternative names; `None` for those of the server.
        least_names: the least number of names; names of hosts that don't exist fill it up.
        from_seconds: the beginning of its validity, in seconds from now.
        until_seconds: the end of its validity, in seconds from now.
        issuer: the CA that clients trust, an unknown CA, the certificate itself, or an intermediate of the trusted CA,
            without name constraints or with constraints that exclude this server.
        chain: the certificates that are sent: all up to the root, the leaf alone, or the intermediates in the wrong
            order.
        subject: the common name; `None` leaves the subject empty.
        has_names: whether there are alternative names at all.
        usage: the use that its extensions allow.
        key: the kind of its key.
        digest: the digest of its signature.
        is_revoked: whether the revocation list has it.
        staples: a client that asks for it gets an OCSP answer that the certificate is revoked (RFC 6066, 8).
        from_connection: the number of the first connection that gets this certificate; earlier connections get the
            healthy certificate.
        is_fault: whether the certificate has a defect.
    """

    kind: str = "healthy"
    names: tuple[str, ...] | None = None
    least_names: int = 0
    from_seconds: float = -365 * DAY_SECONDS  # wide, for clients whose clock a test has shifted
    until_seconds: float = 365 * DAY_SECONDS
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

    @property
    def is_untrusted(self) -> bool:
        """Whether the defect is that no CA that the client trusts leads to the certificate."""
        return self.issuer in ("unknown", "itself") or self.chain == "leaf" or self.usage == "authority"


Version = Literal["1.0", "1.1", "1.2", "1.3"]


@dataclass(frozen=True)
class Terms:
    """The terms of TLS that the server accepts; any client can meet the default.

    Attributes:
        kind: the name of the fault.
        version: the only version that the server accepts.
        ciphers: the usual ciphers, or a single cipher without encryption, which no client offers.
        protocols: the application protocols that the server chooses from, its favorite first (ALPN).
        refuses_protocols: a client that offers application protocols (ALPN) is refused.
        picks_unoffered: a client that offers application protocols gets a protocol that it did not offer.
        renegotiates: TLS 1.2, with a new handshake in the middle.
        client: whether the client's certificate is not asked for, asked for and verified, or asked for and never
            accepted.
        is_fault: whether clients are meant to fail at these terms.
    """

    kind: str = "any"
    version: Version | None = None
    ciphers: Literal["usual", "null"] = "usual"
    protocols: tuple[str, ...] = ("http/1.1",)
    refuses_protocols: bool = False
    picks_unoffered: bool = False
    renegotiates: bool = False
    client: Literal["ignored", "required", "rejected"] = "ignored"
    is_fault: bool = False
    needs_tls: ClassVar[bool] = True
    begins_at: ClassVar[Point] = "handshake"

    @property
    def needs_python_ssl(self) -> bool:
        """Whether only a server on Python's ssl has these terms, and a server on pyOpenSSL has not."""
        asks = self.version is not None or self.ciphers != "usual" or self.refuses_protocols
        return asks or self.client != "ignored"

    @property
    def is_of_protocols(self) -> bool:
        """Whether only a client that offers application protocols (ALPN) can meet the fault."""
        return self.refuses_protocols or self.picks_unoffered

    @property
    def needs_pyopenssl(self) -> bool:
        """Whether only a server on pyOpenSSL has these terms, and a server on Python's ssl has not."""
        return self.renegotiates or self.picks_unoffered

    def over(self, usual: Terms) -> Terms:
        """The same terms on a server with usual terms of its own, whose protocols and demand of a certificate stay."""
        client = usual.client if self.client == "ignored" else self.client
        return replace(self, client=client, protocols=usual.protocols)


NAME = re.compile("[!-~]{1,255}")  # of a protocol: RFC 7301, 3.1
Tls: TypeAlias = bool | Literal["mutual"]  # the parameter `tls` of a server
WITH_HTTP2 = ("h2", "http/1.1")  # the protocols of a server that speaks both
MUTUAL = Terms("mutual", client="required")


def with_protocols(tls: Tls, alpn: object) -> Tls | Terms:
    """The terms of TLS for the parameters `tls` and `alpn`; `tls` itself without the second.

    Raises:
        ParameterError: `alpn` is no tuple of protocols, or there is no TLS.
    """
    if alpn is None:
        return tls
    if not isinstance(alpn, (tuple, list)) or not all(isinstance(each, str) and NAME.fullmatch(each) for each in alpn):
        raise rejected("alpn", alpn, "a tuple of protocols, such as ('h2', 'http/1.1')")
    if not tls:
        raise rejected("alpn", alpn, "tls=True beside it, because ALPN is a part of TLS")
    return replace(checked_tls(tls), protocols=tuple(alpn))


def checked_tls(tls: object) -> Terms:
    """The terms of TLS for the parameter `tls`, unless they are terms already.

    Raises:
        ParameterError: `tls` is not `True`, `False` or `"mutual"`.
    """
    if isinstance(tls, Terms):
        return tls
    if isinstance(tls, (int, float)) and not isinstance(tls, bool):  # 1 == True, but 1 is not accepted
        raise rejected("tls", tls, "one of False, True, 'mutual'")
    choice("tls", tls, (False, True, "mutual"))
    return MUTUAL if tls == "mutual" else Terms()
