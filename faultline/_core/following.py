"""Follows what passes on a connection from its begin: a WebSocket for the ledger, and where a break joins later.

Rules: no byte is held back or changed, and nothing is an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from faultline._core.breaks import Trigger
from faultline._core.ends import Party
from faultline._core.passing_http2 import PREFACE, Streams
from faultline._core.passing_websocket import PassingWebSocket
from faultline._core.tripwire import Search

if TYPE_CHECKING:
    from faultline._core.tripwire import Tripwire

MOST_EARLY_BYTES = 4096  # of a server that speaks first, as one of HTTP/2 does with its settings
NEVER = Trigger(after_messages=1 << 62)


class Following:
    """Both sides of a connection.

    Attributes:
        websocket: the WebSocket that may begin on it.
    """

    __slots__ = ("_early", "_streams", "websocket")

    def __init__(self, *, is_asked: bool = False) -> None:
        self.websocket = PassingWebSocket(is_asked=is_asked)
        self._early: bytes | None = None if is_asked else b""  # of the server, before the client's first bytes
        self._streams: dict[Party, Streams] | None = None  # of HTTP/2

    def says(self, by: Party, data: bytes | memoryview) -> None:
        """Read bytes of a side."""
        if self._early is not None:
            self._begin(by, bytes(data), self._early)
        elif self._streams is not None:
            self._streams[by].cut(bytes(data))
            if self._streams[by].is_http2 is False:
                self._streams = None
        if self._streams is None:
            self.websocket.says(by, data)

    def _begin(self, by: Party, data: bytes, early: bytes) -> None:
        """Read the first bytes of both sides, up to the client's."""
        if by != "client":
            self._early = early + data if len(early) + len(data) <= MOST_EARLY_BYTES else None
            return
        self._early = None
        if data[: len(PREFACE)] == PREFACE[: len(data)]:
            self._streams = {
                "client": Streams("request", NEVER, lambda: Search(b"")),
                "server": Streams("response", NEVER, lambda: Search(b"")),
            }
            self._streams["server"].cut(early)
            self._streams["client"].cut(data)

    def join(self, trip: Tripwire) -> None:
        """Have a break that comes now look where the frames of its side have come to."""
        by: Party = "client" if trip.brk.at == "request" else "server"
        place = self.websocket.place(by)
        if self._streams is not None:
            trip.join_http2(self._streams[by])
        elif place is not None:
            trip.join_websocket(*place)
