"""The frames of a WebSocket in words, for drawings."""

from __future__ import annotations

from collections.abc import Iterator

from faultline._core.counts import counted
from faultline._core.frame_heads import head_bytes, payload_bytes
from faultline._core.frames import BINARY, CLOSE, CONTINUATION, MASKED, PING, RSV1, TEXT, masked

NAMES = {CONTINUATION: "continuation", TEXT: "text", BINARY: "binary", CLOSE: "close", PING: "PING", 0x0A: "PONG"}
SHOWN = 30  # characters of a text


def websocket(data: bytes, *, is_client: bool) -> Iterator[str]:  # noqa: ARG001 - both sides speak alike
    """The frames in these bytes; the last may be cut. The handshake has no words of its own."""
    while len(data) > 1 and data[0] & 0x0F in NAMES and not data.startswith((b"GET ", b"HTTP/")):
        size, length = head_bytes(data), payload_bytes(data)
        mask = data[size - 4 : size] if data[1] & MASKED else b""
        payload = masked(data[size : size + length], mask)
        yield named(data[0], payload, length)
        data = data[size + length :]


def named(first: int, payload: bytes, length: int) -> str:
    """A frame by its first byte and its payload, as far as it is there."""
    opcode = first & 0x0F
    if first & RSV1:
        return f"compressed {NAMES[opcode]}, {counted(length, 'byte')}"
    if opcode == TEXT:
        text = payload.decode("utf-8", "replace")
        more = "..." if len(text) > SHOWN or len(payload) < length else ""
        return f"text {text[:SHOWN]!a}{more}"
    if opcode == CLOSE and len(payload) > 1:
        return f"close {int.from_bytes(payload[:2], 'big')} {payload[2:].decode('ascii', 'replace')}".strip()
    return (
        f"{NAMES[opcode]}, {counted(length, 'byte')}" if length and opcode in (BINARY, CONTINUATION) else NAMES[opcode]
    )
