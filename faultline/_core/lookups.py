"""What a lookup finds, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal


@dataclass(frozen=True)
class Found:
    """What a lookup finds.

    Attributes:
        targets: addresses, each with a port, or with `None` for the one that the client asks for.
        server: the server that they lead to, if it is one of ours.
        first: what comes before it: an address that refuses, one that is silent, or one of IPv6 that refuses.
    """

    targets: tuple[tuple[str, int | None], ...] = ()
    server: Any = None
    first: Literal["nothing", "dead", "blackhole", "ipv6"] = "nothing"
    is_fault: ClassVar[bool] = False
