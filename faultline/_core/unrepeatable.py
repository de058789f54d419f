"""Conversations that can't be replayed: a side proves that it knows a secret, by numbers that differ each time."""

from __future__ import annotations

from faultline._core.ends import Party
from faultline._core.tls_facts import HELLO

SCRAM = (
    "logs in by SCRAM, whose nonces differ each time, so that a client refuses a replay; "
    "record with the method trust or md5 of PostgreSQL, or another login without SCRAM"
)
PASSED_THROUGH = (
    "is in TLS that the relay passed through, and its keys differ each time; record with tls='terminate', and "
    "starttls=… if TLS begins inside the protocol"
)
THROUGH_PROXY = (
    "is in TLS that the proxy passed through, and its keys differ each time; record at the server instead, by a "
    "relay(…, tls='terminate', record=True) in front of it"
)
WEBSOCKET = "is a WebSocket, whose handshake answers a key that differs each time; write it as websocket(…)"
CLIENT_HELLO = 1  # the kind of a handshake message, behind the head of a record of 5 bytes (RFC 8446, 4 and 5.1)
RECORD_HEAD_BYTES = 5
MOST_BYTES = 4096  # in which a sign stands


def why_not(by: Party, data: bytes, *, is_first: bool, in_tls: bool, has_proxy: bool = False) -> str:
    """Why a conversation with these bytes can't be replayed, as the end of a sentence; empty if it can."""
    if is_first and data.startswith(b"SSH-2.0-"):
        return "is SSH, whose keys differ each time"
    if by == "client":
        begins_tls = data.startswith(HELLO) and data[RECORD_HEAD_BYTES : RECORD_HEAD_BYTES + 1] == bytes(
            (CLIENT_HELLO,)
        )
        if not begins_tls or in_tls:
            return ""
        return THROUGH_PROXY if has_proxy else PASSED_THROUGH
    if data.startswith(b"HTTP/"):
        return WEBSOCKET if data[9:12] == b"101" and b"\nsec-websocket-accept:" in data[:MOST_BYTES].lower() else ""
    return SCRAM if b"SCRAM-SHA-" in data[:MOST_BYTES] else ""
