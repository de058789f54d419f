"""The steps of a WebSocket as values, and the frames that no sound server sends.

Rules: wsproto writes and reads the healthy frames; the bytes here are those that it refuses to write.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

from faultline._core.answers import Headers
from faultline._core.points import Point
from faultline._core.spoken import Spoken

# The first byte of a frame (RFC 6455, 5.2), and the bit that says that the payload is masked.
CONTINUATION, TEXT, BINARY, CLOSE, PING = 0x00, 0x01, 0x02, 0x08, 0x09
FIN, RSV1, RSV2, MASKED = 0x80, 0x40, 0x20, 0x80
HUGE_BYTES = 1 << 40  # what an oversized frame says it has: more than any client takes
WORD, MASK = b"faultline", b"\1\2\3\4"

KeyKind: TypeAlias = Literal["right", "wrong", "missing"]
FrameKind: TypeAlias = Literal[
    "masked",
    "reserved_bits",
    "reserved_opcode",
    "unasked_compression",
    "invalid_utf8",
    "continuation",
    "interleaved",
    "long_ping",
    "fragmented_ping",
    "close_code",
    "close_length",
    "oversized",
]


@dataclass(frozen=True, repr=False)
class OfWebSocket(Spoken):
    """A step of a WebSocket.

    Attributes:
        number: the number of the step in its plan, from 0 on.
    """

    point: ClassVar[Point] = "response"
    number: int = field(default=0, compare=False, kw_only=True)

    @property
    def is_fault(self) -> bool:
        """Whether the step is a fault by itself."""
        return False

    @property
    def is_final(self) -> bool:
        """Whether no step can follow."""
        return False

    @property
    def leaves_open(self) -> bool:
        """Whether the step sends the begin of a frame whose end never comes, so that no frame can follow."""
        return False


@dataclass(frozen=True, repr=False)
class Accept(OfWebSocket):
    """Accept the client's handshake.

    Attributes:
        subprotocol: the subprotocol; `None` for the first that the client offers, and empty for none.
        headers: further header fields of the response.
        key: what `Sec-WebSocket-Accept` has.
        compression: whether messages may be compressed, if the client offers that.
    """

    says: ClassVar[str] = "accept"
    has_plain: ClassVar[bool] = False

    subprotocol: str | None = None
    headers: Headers = ()
    key: KeyKind = "right"
    compression: bool = False

    @property
    def is_fault(self) -> bool:
        """Whether the key is wrong, or the client gets no subprotocol although it offers some."""
        return self.key != "right" or self.subprotocol == ""


@dataclass(frozen=True, repr=False)
class SendText(OfWebSocket):
    """Send a message of text, in one frame or in several."""

    says: ClassVar[str] = "send_text"

    text: str
    fragment_bytes: int | None = None


@dataclass(frozen=True, repr=False)
class SendBytes(OfWebSocket):
    """Send a binary message, in one frame or in several."""

    says: ClassVar[str] = "send_bytes"

    data: bytes
    fragment_bytes: int | None = None


@dataclass(frozen=True, repr=False)
class ReceiveText(OfWebSocket):
    """Read messages up to a text that contains this."""

    says: ClassVar[str] = "receive_text"
    point: ClassVar[Point] = "request"

    containing: str | re.Pattern[str] = ""


@dataclass(frozen=True, repr=False)
class ReceiveBytes(OfWebSocket):
    """Read messages up to a binary message that contains this."""

    says: ClassVar[str] = "receive_bytes"
    point: ClassVar[Point] = "request"

    containing: bytes | re.Pattern[bytes] = b""


@dataclass(frozen=True, repr=False)
class ReceiveClose(OfWebSocket):
    """Read messages up to the client's close frame, and leave it without an answer."""

    says: ClassVar[str] = "receive_close"
    point: ClassVar[Point] = "request"


@dataclass(frozen=True, repr=False)
class SendPing(OfWebSocket):
    """Send a PING."""

    says: ClassVar[str] = "send_ping"

    data: bytes = b""


@dataclass(frozen=True, repr=False)
class IgnorePings(OfWebSocket):
    """Leave the client's PINGs without an answer from here on; it strikes at the first."""

    says: ClassVar[str] = "ignore_pings"

    @property
    def is_fault(self) -> bool:
        """It always is."""
        return True


@dataclass(frozen=True, repr=False)
class EchoMessages(OfWebSocket):
    """Send every message back, until the client leaves."""

    says: ClassVar[str] = "echo"
    point: ClassVar[Point] = "request"

    @property
    def is_final(self) -> bool:
        """It always is."""
        return True


@dataclass(frozen=True, repr=False)
class CloseFrame(OfWebSocket):
    """Send a close frame; without a code it is empty."""

    says: ClassVar[str] = "close_frame"

    code: int | None = 1000
    reason: str = ""

    @property
    def is_fault(self) -> bool:
        """Whether it is more than the usual end."""
        return self.code != 1000  # noqa: PLR2004 - RFC 6455, 7.4.1: a normal closure


@dataclass(frozen=True, repr=False)
class OwnBytes(OfWebSocket, ABC):
    """A fault that sends bytes of its own."""

    @property
    def is_fault(self) -> bool:
        """It always is."""
        return True

    @property
    @abstractmethod
    def data(self) -> bytes:
        """The bytes."""


@dataclass(frozen=True, repr=False)
class CutFrame(OwnBytes):
    """Send the first bytes of a message in one frame."""

    says: ClassVar[str] = "cut_frame"

    after_bytes: int
    text: str = "Hello, world!"

    @property
    def leaves_open(self) -> bool:
        """It always does."""
        return True

    @property
    def data(self) -> bytes:
        """The bytes."""
        return self.whole[: self.after_bytes]

    @property
    def whole(self) -> bytes:
        """The bytes of the whole frame."""
        return frame(FIN | TEXT, self.text.encode())


@dataclass(frozen=True, repr=False)
class Fragment(OwnBytes):
    """Send a part of a message of text whose end never comes."""

    says: ClassVar[str] = "fragment"

    text: str

    @property
    def data(self) -> bytes:
        """The bytes."""
        return frame(TEXT, self.text.encode())


@dataclass(frozen=True, repr=False)
class BadFrame(OwnBytes):
    """Send a frame that no client may accept."""

    says: ClassVar[str] = "bad_frame"

    kind: FrameKind

    @property
    def data(self) -> bytes:
        """The bytes."""
        return BAD[self.kind]

    @property
    def leaves_open(self) -> bool:
        """Whether the frame is not complete."""
        return self.kind == "oversized"


@dataclass(frozen=True, repr=False)
class BadMask(OwnBytes):
    """Send a message of text in a frame that is masked, as only those of a client are."""

    says: ClassVar[str] = "bad_mask"

    text: str = WORD.decode()

    @property
    def data(self) -> bytes:
        """The bytes."""
        return frame(FIN | TEXT, self.text.encode(), mask=MASK)


@dataclass(frozen=True, repr=False)
class Drop(OfWebSocket):
    """End the connection by FIN, without a close frame."""

    says: ClassVar[str] = "drop"

    @property
    def is_fault(self) -> bool:
        """It always is."""
        return True

    @property
    def is_final(self) -> bool:
        """It always is."""
        return True


def frame(first: int, payload: bytes, *, mask: bytes = b"", size: int | None = None) -> bytes:
    """A frame; `size` is the length that it says it has."""
    length = len(payload) if size is None else size
    bit = MASKED if mask else 0
    if length <= 125:  # noqa: PLR2004 - RFC 6455, 5.2, as the numbers below
        head = bytes([first, bit | length])
    elif length < 1 << 16:
        head = bytes([first, bit | 126]) + length.to_bytes(2, "big")
    else:
        head = bytes([first, bit | 127]) + length.to_bytes(8, "big")
    return head + mask + masked(payload, mask)


def masked(payload: bytes, mask: bytes) -> bytes:
    """A payload with its mask put on or taken off."""
    if not mask or not payload:
        return payload
    whole = (mask * (len(payload) // len(mask) + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(whole, "big")).to_bytes(len(payload), "big")


BAD: dict[FrameKind, bytes] = {
    "masked": frame(FIN | TEXT, WORD, mask=MASK),
    "reserved_bits": frame(FIN | RSV2 | TEXT, WORD),
    "reserved_opcode": frame(FIN | 0x03, WORD),
    "unasked_compression": frame(FIN | RSV1 | TEXT, b"\xff" * 9),  # it can't be inflated either
    "invalid_utf8": frame(FIN | TEXT, b"\xc3\x28\xff"),
    "continuation": frame(FIN | CONTINUATION, WORD),
    "interleaved": frame(TEXT, WORD) + frame(FIN | TEXT, WORD),
    "long_ping": frame(FIN | PING, b"p" * 126),
    "fragmented_ping": frame(PING, WORD),
    "close_code": frame(FIN | CLOSE, (1005).to_bytes(2, "big")),
    "close_length": frame(FIN | CLOSE, b"\3"),
    "oversized": frame(FIN | BINARY, WORD, size=HUGE_BYTES),
}
