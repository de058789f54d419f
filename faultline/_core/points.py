"""The points of a conversation in their order, with the facts of each.

Rules: no other module lists points. A new point is a row of the table, and a call where the engine comes to the point.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

Point: TypeAlias = Literal["lookup", "connect", "accept", "handshake", "request", "response", "tunnel", "idle"]
# Points of an open connection.
OpenPoint: TypeAlias = Literal["accept", "handshake", "request", "response", "tunnel", "idle"]
# Points that application data passes.
DataPoint: TypeAlias = Literal["request", "response", "tunnel"]

Part: TypeAlias = Literal["lookup", "opening", "exchange", "tunnel", "idle"]


@dataclass(frozen=True)
class Facts:
    """The facts of a point.

    Attributes:
        point: its name.
        of: the part of a conversation that it belongs to.
        speaks: the side that sends there, or that sends next; `None` if neither does.
        passes: the bytes that a break can count there: none, records of TLS, or data, which a break can also search,
            and count in messages.
        is_connected: whether there is a connection.
    """

    point: Point
    of: Part
    speaks: Literal["client", "server"] | None
    passes: Literal["nothing", "records", "data"] = "nothing"
    is_connected: bool = True

    @property
    def counts_bytes(self) -> bool:
        """Whether a break can count bytes there."""
        return self.passes != "nothing"

    @property
    def hears(self) -> bool:
        """Whether a break can look for bytes and count messages there."""
        return self.passes == "data"

    @property
    def is_of_tls(self) -> bool:
        """Whether only conversations with TLS have the point."""
        return self.passes == "records"

    @property
    def is_opening(self) -> bool:
        """Whether a connection passes the point once, while it is opened."""
        return self.of == "opening"

    @property
    def is_at_servers(self) -> bool:
        """Whether the point belongs to a server: lookups belong to a resolver, and tunnels to a proxy."""
        return self.of in ("opening", "exchange", "idle")

    @property
    def is_exchange(self) -> bool:
        """Whether a request or its response passes there."""
        return self.of == "exchange"


TABLE: tuple[Facts, ...] = (
    Facts("lookup", "lookup", None, is_connected=False),
    Facts("connect", "opening", "client", is_connected=False),
    Facts("accept", "opening", "client"),
    Facts("handshake", "opening", "server", "records"),  # the client's bytes are not counted
    Facts("request", "exchange", "client", "data"),
    Facts("response", "exchange", "server", "data"),
    Facts("tunnel", "tunnel", "server", "data"),
    Facts("idle", "idle", None),
)
POINTS: tuple[Point, ...] = tuple(row.point for row in TABLE)
OPEN_POINTS: tuple[OpenPoint, ...] = get_args(OpenPoint)
DATA_POINTS: tuple[DataPoint, ...] = get_args(DataPoint)
FACTS: dict[Point, Facts] = {row.point: row for row in TABLE}


def is_before(one: Point, other: Point) -> bool:
    """Whether a conversation comes to `one` before it comes to `other`."""
    return POINTS.index(one) < POINTS.index(other)


def has_come_to(at: Point, point: Point) -> bool:
    """Whether an attempt that is at `at` has come to `point`; an attempt at a lookup has all points."""
    return FACTS[at].of == "lookup" or not is_before(at, point)
