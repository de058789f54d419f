"""What the walk found at one point of the conversation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from faultline._core.points import Point

Part = Literal["", "head", "body"]


# The reason of OpenSSL 3 for a FIN in the middle of TLS; some versions of Python have no class of their own for it.
RAGGED = "UNEXPECTED_EOF_WHILE_READING"


@dataclass(frozen=True)
class Failure:
    """Why a point failed.

    Attributes:
        cause: the class of the error, as `faultline explain` knows it.
        detail: its errno, its OpenSSL reason, its verify code or the name of an alert; empty if it has none.
        text: what happened, in plain words.
        part: the part of the response that was being read.
        got_bytes: the bytes of the response that had come.
        mode: the plan that imitates it, where the error alone doesn't say.
    """

    cause: str
    detail: str
    text: str
    part: Part = ""
    got_bytes: int = 0
    mode: str = ""


@dataclass(frozen=True)
class Step:
    """A point of the conversation, and what was measured there.

    Attributes:
        point: the point.
        seconds: how long it took.
        lines: what was found, in words; the first is the most important.
        facts: the same as values, for JSON.
        failure: why the conversation did not get past this point.
        modes: modes that imitate what is odd about a response that came.
    """

    point: Point
    seconds: float
    lines: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    failure: Failure | None = None
    modes: tuple[str, ...] = ()
