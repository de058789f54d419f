"""The time limit of one run: when it is over, the connections are reset, so that a client that waits goes on.

Rules: it uses the loop of the servers, and starts no thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from faultline._servers.loop import background
from faultline._servers.server import Server


class Limit:
    """The time limit of one run."""

    def __init__(self, servers: Sequence[Server], seconds: float) -> None:
        self._servers = list(servers)
        self._is_over = False
        self._background = background()
        self._timer = self._background.call(partial(self._background.loop.call_later, seconds, self._cut_off))

    def _cut_off(self) -> None:
        self._is_over = True
        for server in self._servers:
            server.cut_off()

    def end(self) -> bool:
        """End the limit, and return whether the time was over before."""
        self._background.call(self._timer.cancel)
        return self._is_over
