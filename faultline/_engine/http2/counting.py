"""Counts the frames of a client that cost the server more than the client: a flood of them is recorded."""

from __future__ import annotations

from faultline._net import http2 as wire

FLOOD = 1000  # frames of one kind
COUNTED = (wire.DATA, wire.PRIORITY, wire.RST_STREAM, wire.SETTINGS, wire.PING)
TINY_BYTES = 16  # of the payload of a DATA frame


class Frequencies:
    """How often each kind of frame came that carries little or nothing.

    Attributes:
        is_told: whether the last frame made the note longer.
    """

    def __init__(self) -> None:
        self._counts = dict.fromkeys(COUNTED, 0)
        self.is_told = False

    def count(self, frame: bytes) -> None:
        """Count a frame."""
        kind, self.is_told = wire.kind_of(frame), False
        is_light = frame[4] & wire.ACK == 0 if kind != wire.DATA else len(frame) < wire.HEAD_BYTES + TINY_BYTES
        if kind in self._counts and is_light:
            self._counts[kind] += 1
            self.is_told = self._counts[kind] % FLOOD == 0

    @property
    def note(self) -> str:
        """A phrase on the frames that came in a flood; empty without one."""
        many = [f"{count} {wire.NAMES[kind]}" for kind, count in self._counts.items() if count >= FLOOD]
        return f"the client sent a flood of frames: {', '.join(many)}" if many else ""
