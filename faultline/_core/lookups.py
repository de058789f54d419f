"""What a lookup finds, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from faultline._core.answers import AnyAnswer
from faultline._core.points import Point


@dataclass(frozen=True)
class Found(AnyAnswer):
    """What a lookup finds.

    Attributes:
        targets: addresses, each with a port, or with `None` for the one that the client asks for.
        server: the server that they lead to, if it is one of ours.
    """

    targets: tuple[tuple[str, int | None], ...] = ()
    server: Any = None
    is_of_lookup: ClassVar[bool] = True

    @property
    def begins_at(self) -> Point:
        """The first point where the address counts."""
        return "connect"


@dataclass(frozen=True)
class FoundLast(Found):
    """What a lookup finds behind an address of the same port that leads nowhere.

    Attributes:
        first: that address: one that refuses, one that is silent, or one of IPv6 that refuses.
    """

    first: Literal["dead", "blackhole", "ipv6"] = "dead"
