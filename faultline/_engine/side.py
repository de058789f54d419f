"""The side of a connection behind the points: nothing, or the upstream of a relay."""

from __future__ import annotations

from faultline._core.fault import Fault
from faultline._core.streams import OfHttp2
from faultline._net.ending import Left


class Side:
    """The server's side of a connection, behind the points; a relay puts its upstream here.

    The connection calls these methods, which do nothing without an upstream.
    """

    __slots__ = ()
    has_tasks = False  # whether tasks besides that of the conversation use the connection

    @property
    def tunnelled_bytes(self) -> int:
        """How many bytes have come back through the tunnel of a proxy."""
        return 0

    def before_strike(self) -> None:
        """Prepare for a break, which strikes now or after its time."""

    async def at_strike(self) -> None:
        """Prepare for the steps of a break, which are played now."""

    def after_strike(self) -> None:
        """Continue after a break, whose steps have been played."""

    def recheck(self) -> None:
        """Decide again which bytes may pass unparsed: the fault has changed, or bytes have to stop."""

    def meet(self, _fault: Fault) -> bool:
        """Give the attempts that are open at once another fault; return whether there are any."""
        return False

    def dealt(self) -> None:
        """Take note that the attempt has another fault."""

    async def take(self, data: bytes) -> bool:
        """Send bytes on as if they came from the client; return whether that was possible."""
        return not data

    def left(self, _how: Left) -> bool:
        """Take note that the client has left while its bytes wait; return whether they are to arrive all the same."""
        return False

    async def play(self, _step: OfHttp2) -> None:
        """Play a step of HTTP/2; another protocol has none."""

    def leave(self) -> None:
        """End with the conversation."""


NO_UPSTREAM = Side()
