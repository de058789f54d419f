"""The frames of a WebSocket that pass in one direction: their heads, and where their payloads end.

wsproto doesn't tell at which byte a frame begins, so the heads of frames are read here.
"""

from __future__ import annotations

from faultline._core.frames import MASKED, masked

UNKNOWN = 0x0F  # a kind that no frame has
SHORT = 126  # in the place of a length: 2 bytes follow that have it, and 8 after any more (RFC 6455, 5.2)


class PassingFrame:
    """The frame that passes, as far as it has come.

    Attributes:
        first: the first byte of its head, flags and kind, once all of the head has come; `UNKNOWN` before any has.
        left_bytes: how many bytes of its payload are still to come.
    """

    __slots__ = ("_head", "_mask", "first", "left_bytes")

    def __init__(self) -> None:
        self.first, self.left_bytes = UNKNOWN, 0
        self._head: bytearray | None = bytearray()  # as far as it has come; `None` in the payload
        self._mask = b""  # from the next byte of the payload on

    @property
    def has_begun(self) -> bool:
        """Whether a part of the head has come."""
        return bool(self._head)

    @property
    def is_in_payload(self) -> bool:
        """Whether the head has come."""
        return self._head is None

    @property
    def has_ended(self) -> bool:
        """Whether all of it has come."""
        return self._head is None and not self.left_bytes

    @property
    def place(self) -> tuple[bytes, int]:
        """What has come of the head, and how many bytes of the payload are still to come."""
        return bytes(self._head or b""), self.left_bytes

    def begin_inside(self, head: bytes, left_bytes: int) -> None:
        """Begin at the place of another, in a frame whose kind stays unknown."""
        self._head, self.left_bytes = (None if left_bytes else bytearray(head)), left_bytes

    def read_head(self, data: bytes, at: int) -> int:
        """Read bytes of the head; return where the rest begins."""
        head = self._head = self._head or bytearray()
        while (lacking := head_bytes(head) - len(head)) > 0 and at < len(data):
            head += data[at : at + lacking]
            at += lacking
        if lacking <= 0:
            self.first, self.left_bytes, self._head = head[0], payload_bytes(head), None
            self._mask = bytes(head[-4:]) if head[1] & MASKED else b""
        return min(at, len(data))

    def take(self, data: bytes, at: int) -> bytes:
        """The part of the payload that begins here."""
        piece = data[at : at + self.left_bytes]
        self.left_bytes -= len(piece)
        return piece

    def unmasked(self, piece: bytes) -> bytes:
        """A part of the payload without its mask; the parts come in their order."""
        plain = masked(piece, self._mask)
        if self._mask:
            turn = len(piece) % len(self._mask)
            self._mask = self._mask[turn:] + self._mask[:turn]
        return plain

    def end(self) -> None:
        """Wait for the next frame."""
        self._head = bytearray()


def head_bytes(head: bytes | bytearray) -> int:
    """How many bytes the head of a frame has, as far as its first two tell."""
    if len(head) < 2:  # noqa: PLR2004 - they have to be there
        return 2
    length = head[1] & 0x7F
    return 2 + (0 if length < SHORT else 2 if length == SHORT else 8) + (4 if head[1] & MASKED else 0)


def payload_bytes(head: bytes | bytearray) -> int:
    """How many bytes the payload of a frame has, as its head says."""
    length = head[1] & 0x7F
    return length if length < SHORT else int.from_bytes(head[2 : 4 if length == SHORT else 10], "big")
