"""HTTP/2 as values: error codes, the settings of a connection, and answers that are wrong in their frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from faultline._core.answers import Answer
from faultline._core.points import Point

Code = Literal[
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
]
CODES: tuple[Code, ...] = get_args(Code)  # in the order of their numbers: RFC 9113, 7
# How the note of an attempt says what the client spoke.
NOT_SPOKEN = "the client spoke HTTP/1.1"
PASSED_ON = "the client spoke HTTP/2, whose requests a relay passes on without answering any"


def number_of(code: Code) -> int:
    """The number of an error code."""
    return [*CODES].index(code)


def name_of(number: int) -> str:
    """The name of an error code, or its number if it has none."""
    return CODES[number] if number < len(CODES) else str(number)


@dataclass(frozen=True)
class Http2Terms:
    """What the server says and leaves out on a connection of HTTP/2, apart from its streams.

    Attributes:
        settings: further settings by their numbers (RFC 9113, 6.5.2).
        omits: what it never sends: the acknowledgement of a PING or of SETTINGS, or its own SETTINGS.
    """

    settings: tuple[tuple[int, int], ...] = ()
    omits: Literal["", "ping_ack", "settings_ack", "settings"] = ""
    is_fault: ClassVar[bool] = True
    needs_tls: ClassVar[bool] = False
    begins_at: ClassVar[Point] = "request"


@dataclass(frozen=True)
class Http2Answer(Answer):
    """An answer that is wrong in its frames.

    Attributes:
        kind: the name of what is wrong.
    """

    kind: str = ""

    def strikes_at(self, _method: str) -> bool:
        """In HTTP/1.1 nothing is wrong with it; in HTTP/2 it strikes when it is sent."""
        return False
