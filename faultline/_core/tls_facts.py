"""The result of a TLS handshake, as the ledger records it."""

from __future__ import annotations

from dataclasses import dataclass

HELLO = b"\x16\x03"  # how a handshake record of TLS begins (RFC 8446, 5.1)
# How the note of an attempt begins, and how it ends.
NO_TLS, NO_CERTIFICATE = "the client did not speak TLS", "peer did not return a certificate"


@dataclass(frozen=True)
class TlsFacts:
    """The result of a TLS handshake; a field is empty if the handshake did not come to it.

    .. versionadded:: 0.1

    Attributes:
        version: the version, such as `TLSv1.3`.
        sni: the host name that the client asked for.
        alpn: the application protocol that both agreed on (ALPN).
        alert: the alert by which the client ended the handshake, by its name in RFC 8446, 6.
        offered: the protocols that the client offered (ALPN).
        client: the common name in the client's certificate, also if the server refused the certificate.
        server_alert: the alert by which the server ended the handshake.
    """

    version: str = ""
    sni: str = ""
    alpn: str = ""
    alert: str = ""
    offered: tuple[str, ...] = ()
    client: str = ""
    server_alert: str = ""
