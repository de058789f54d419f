"""The steps of HTTP/2: frames that end a stream, or a connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias


@dataclass(frozen=True)
class RstStream:
    """End a stream with this error code; its connection goes on."""

    code: int
    is_final: ClassVar[bool] = True


@dataclass(frozen=True)
class GoAway:
    """Say that no further stream is accepted, and end the connection: without an error once no stream is open.

    Attributes:
        code: the error code; 0 for none.
        last_stream: the last stream that is processed; `None` for the stream of the break.
    """

    code: int
    last_stream: int | None = None

    @property
    def is_final(self) -> bool:
        """Whether the connection ends at once."""
        return self.code != 0


OfHttp2: TypeAlias = RstStream | GoAway
