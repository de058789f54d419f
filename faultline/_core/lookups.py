"""The results of lookups, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from faultline._core.answers import AnyAnswer
from faultline._core.points import Point


@dataclass(frozen=True)
class Found(AnyAnswer):
    """The addresses that a lookup finds.

    Attributes:
        targets: the addresses, each with a port; `None` stands for the port that the client asks for.
        server: the faultline server at these addresses, if there is one.
    """

    targets: tuple[tuple[str, int | None], ...] = ()
    server: Any = None
    is_of_lookup: ClassVar[bool] = True

    @property
    def begins_at(self) -> Point:
        """The first point where the client uses the address."""
        return "connect"


@dataclass(frozen=True)
class FoundLast(Found):
    """The address that a lookup finds after an address that leads nowhere, with the same port.

    Attributes:
        first: the first address: an address that refuses, an address that is silent, or an IPv6 address that refuses.
    """

    first: Literal["dead", "blackhole", "ipv6"] = "dead"

    @property
    def is_fault(self) -> bool:
        """The first address leads nowhere."""
        return True
