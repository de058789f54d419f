"""The TLS handshake of a connection: its certificate, its terms, and the break that strikes among its records."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from faultline._core.certificates import Certificate
from faultline._net.tls import shows_certificate

if TYPE_CHECKING:
    from faultline._engine.connection import Connection


async def secure(connection: Connection) -> None:
    """Speak TLS from here on.

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
    await connection.stream.secure(context, send, refuses_protocols=terms.refuses_protocols)


def shown(connection: Connection) -> Certificate:
    """The certificate that the server shows on a connection."""
    planned = connection.attempt.fault.certificate
    return planned if planned is not None and connection.number >= planned.from_connection else Certificate()


async def send_flight(connection: Connection, certificate: Certificate, data: bytes) -> None:
    """Send records of the handshake; the break strikes between their bytes if they reach its tripwire."""
    trip = connection.armed("handshake")
    cut = trip.cut(data) if trip else None
    await connection.stream.write_flight(data if cut is None else data[:cut])
    if trip is not None and cut is not None:
        await connection.strike(trip)
        await connection.stream.write_flight(data[cut:])
    if certificate.is_fault and not connection.attempt.has_struck and shows_certificate(data):
        connection.attempt.strike("handshake", len(data))
