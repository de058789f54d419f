"""Conversations that can't be replayed: a side proves that it knows a secret, by numbers that differ each time."""

from __future__ import annotations

from faultline._core.ends import Party
from faultline._core.tls_facts import HELLO

SCRAM = (
    "logs in by SCRAM, whose nonces differ each time, so that a client refuses a replay; "
    "record with the method trust or md5 of PostgreSQL, or another login without SCRAM"
)
WEBSOCKET = "is a WebSocket, whose handshake answers a key that differs each time; write it as websocket(…)"
OF_SERVER: tuple[tuple[bytes, str], ...] = ((b"SCRAM-SHA-", SCRAM), (b"Sec-WebSocket-Accept:", WEBSOCKET))


def why_not(by: Party, data: bytes, *, is_first: bool) -> str:
    """Why a conversation with these bytes can't be replayed, as the end of a sentence; empty if it can."""
    if is_first and by == "client" and data.startswith(HELLO):
        return "is in TLS that the relay passed through, and its keys differ each time; record with tls='terminate'"
    if is_first and data.startswith(b"SSH-2.0-"):
        return "is SSH, whose keys differ each time"
    if by == "client":
        return ""
    head = data[:4096].lower()
    return next((why for sign, why in OF_SERVER if sign.lower() in head), "")
