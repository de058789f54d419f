"""The points of a conversation, in order, and what each of them is.

A new point is one row of the table, and a call where the engine comes to it. No other module lists points.
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
    """What a point is.

    Attributes:
        point: its name.
        of: the part of a conversation that it belongs to.
        speaks: the side that speaks there, or that speaks next; `None` if that is nobody.
        passes: the bytes that a break can count there: none, records of TLS, or data, in which words and messages
            can be found too.
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
        """Whether a break can look for words and count messages there."""
        return self.passes == "data"

    @property
    def is_of_tls(self) -> bool:
        """Whether only a server with TLS comes there."""
        return self.passes == "records"

    @property
    def is_opening(self) -> bool:
        """Whether a connection that is kept alive has passed it for good."""
        return self.of == "opening"

    @property
    def is_at_servers(self) -> bool:
        """Whether every server comes there: lookups are of a resolver, and tunnels of a proxy."""
        return self.of in ("opening", "exchange", "idle")

    @property
    def is_exchange(self) -> bool:
        """Whether a request is asked or answered there."""
        return self.of == "exchange"


TABLE: tuple[Facts, ...] = (
    Facts("lookup", "lookup", None, is_connected=False),
    Facts("connect", "opening", "client", is_connected=False),
    Facts("accept", "opening", "client"),
    Facts("handshake", "opening", "server", "records"),  # the client's are not counted
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
    """Whether an attempt that is at `at` has come to `point`; a lookup has no other point."""
    return FACTS[at].of == "lookup" or not is_before(at, point)
