"""The TLS handshake of a connection: its certificate, its terms, and the break that strikes among its records."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from faultline._core.certificates import Certificate
from faultline._core.promises import CERTIFICATE, TERMS
from faultline._net.tls import shows_certificate

if TYPE_CHECKING:
    from faultline._engine.connection import Connection


async def secure(connection: Connection, early: bytes = b"") -> None:
    """Speak TLS from here on; `early` is the part of the client's first record that was read already.

    Raises:
        Departed: the client ended the connection meanwhile.
        Rejected: the client sent an alert or bytes that are not TLS, or its protocols were refused.
        Over: a break ended the conversation.
    """
    await connection.reach("handshake")
    planned, usual = connection.attempt.fault.terms, connection.service.terms
    terms = planned.over(usual) if planned else usual
    certificate = shown(connection)
    context = connection.service.context(certificate, terms)
    send = partial(send_flight, connection, certificate)
    connection.attempt.entry.take_back(early)
    await connection.stream.secure(context, send, refuses=terms.refuses_protocols, early=early)
    strike_certificate(connection)
    facts = connection.attempt.entry.tls
    if terms.picks_unoffered and facts is not None and facts.alpn:  # a client may take what it did not offer
        connection.attempt.strike("handshake", 0, TERMS)


def shown(connection: Connection) -> Certificate:
    """The certificate that the server shows on a connection."""
    planned = connection.attempt.fault.certificate
    return planned if planned is not None and connection.number >= planned.from_connection else Certificate()


async def send_flight(connection: Connection, certificate: Certificate, data: bytes) -> None:
    """Send records of the handshake; the break strikes between their bytes if they reach its tripwire."""
    rest = data
    while (trip := connection.armed("handshake")) is not None and (cut := trip.cut(rest)) is not None:
        await connection.stream.write_flight(rest[:cut])
        await connection.strike(trip)
        rest = rest[cut:]
    await connection.stream.write_flight(rest)
    if certificate.is_fault and connection.shown is None and shows_certificate(data):  # TLS 1.2 has a second flight
        connection.shown = Shown(certificate, len(data))


def strike_certificate(connection: Connection) -> None:
    """Record that the client has judged a certificate with a defect, if one was shown to it."""
    if connection.shown is not None:
        connection.attempt.strike("handshake", connection.shown.count_bytes, CERTIFICATE)


def strike_failed(connection: Connection) -> None:
    """Record what struck in a handshake that failed.

    A client that sends the alert `unknown_ca` has not come to any other defect, because it looks for the issuer first
    (OpenSSL's `verify_chain`, RFC 5280, 6.1).
    """
    attempt, stream = connection.attempt, connection.stream
    if attempt.point != "handshake":
        return
    knows_no_issuer = attempt.entry.tls is not None and attempt.entry.tls.alert == "unknown_ca"
    shown = connection.shown
    if shown is not None and (shown.certificate.is_untrusted or not knows_no_issuer):
        strike_certificate(connection)
    terms = attempt.fault.terms
    if terms is not None and terms.is_fault and stream.speaks_tls and not knows_no_issuer:
        attempt.strike("handshake", 0, TERMS)


@dataclass(frozen=True)
class Shown:
    """A certificate with a defect that the client got, and the number of bytes up to its end."""

    certificate: Certificate
    count_bytes: int
