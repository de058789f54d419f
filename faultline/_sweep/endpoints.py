"""The relays of a sweep: each is fresh in each run, and so is the server behind it if the sweep has its plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from faultline._core.check import rejected
from faultline._core.fault import Fault
from faultline._core.plan import HEALTHY, Limited, Plan, Sometimes
from faultline._core.plan import Sequence as Entries
from faultline._core.said import abbreviated
from faultline._servers.server import Server
from faultline._servers.start import named_upstream, relay, serve

SUCH_AS = "such as lambda plan: relay(upstream, plan)"
Through: TypeAlias = str | Server | Plan | Callable[[Plan], Server]


class Endpoint:
    """One relay of a sweep, which is started for each run."""

    def __init__(self, through: Through) -> None:
        self.through = through

    @property
    def name(self) -> str:
        """What it stands in front of, in reports."""
        return self.through if isinstance(self.through, str) else abbreviated(self.through)

    def start(self, plan: Plan) -> list[Server]:
        """Start a relay with a plan: the servers that are to be closed, the first of which is for clients."""
        if isinstance(self.through, (str, Server)):
            return [relay(self.through, plan, strict=False)]
        if isinstance(self.through, (Fault, Sometimes, Entries, Limited)):
            behind = serve(self.through, strict=False)
            try:
                return [relay(behind, plan, strict=False), behind]
            except BaseException:
                behind.close()
                raise
        server = self.through(plan)
        if not isinstance(server, Server) or not server.is_open:
            raise rejected("through", server, f"a function that starts the relay, {SUCH_AS}")
        if plan != HEALTHY and server.plan == HEALTHY:
            server.close()
            raise rejected("through", server, f"a function whose relay has the plan that it gets, {SUCH_AS}")
        server._strict = False  # noqa: SLF001 - a break that doesn't strike is in the sweep's own table
        return [server]


def checked(through: object) -> tuple[list[Endpoint], bool]:
    """The relays of a sweep, and whether there may be several.

    Raises:
        ParameterError: something is no upstream, no plan and no function.
    """
    several = isinstance(through, (list, tuple))
    given = list(through) if isinstance(through, (list, tuple)) else [through]
    if not given:
        raise rejected("through", through, "at least one upstream, such as '127.0.0.1:5432'")
    return [Endpoint(checked_one(each)) for each in given], several


def checked_one(through: object) -> Through:
    """What one relay of a sweep stands in front of.

    Raises:
        ParameterError: it is no upstream, no plan and no function.
    """
    if isinstance(through, (Server, Fault, Sometimes, Entries, Limited)):
        return through
    if callable(through):
        return through
    named_upstream(through)
    assert isinstance(through, str)
    return through
