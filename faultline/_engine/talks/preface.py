"""The first bytes of a client of HTTP/2, which begins with a preface (RFC 9113, 3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faultline._net.http2 import PREFACE
from faultline._net.sockets import READ_BYTES

if TYPE_CHECKING:
    from faultline._engine.connection import Connection


async def has_preface(connection: Connection) -> bool:
    """Read the client's first bytes, which are left to be read again; return whether they are the preface of HTTP/2.

    Raises:
        Departed: the client has reset the connection.
    """
    data = connection.take_unread()
    while PREFACE.startswith(data) and data != PREFACE:
        more = await connection.stream.read(len(PREFACE) - len(data) if data else READ_BYTES)
        data += more
        if not more:
            break
    connection.put_back(data)
    return data.startswith(PREFACE)
