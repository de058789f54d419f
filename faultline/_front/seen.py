"""The servers that a test may have met: those that it opened, and those of wider scopes that are open meanwhile."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

from faultline._core.counts import counted

if TYPE_CHECKING:
    import pytest

    from faultline._core.attempts import Attempt
    from faultline._servers.endpoint import Endpoint


MOST_SERVERS = 10  # in the report of a test


class Seen:
    """The servers that one test may have met.

    Attributes:
        thread: the thread that runs the test.
    """

    def __init__(self, config: pytest.Config, since: int) -> None:
        self._config = config
        self._since = since  # older servers belong to a run of pytest around this one
        self.thread = threading.current_thread()
        self._own: list[weakref.ref[Endpoint]] = []
        self._kept: list[Endpoint] = []
        self._wider = [(weakref.ref(server), now(server)) for server in self.open()]

    def add(self, server: Endpoint, *, keep: bool = False) -> None:
        """Add a server that the test has opened; without `keep` it is known until the test drops it."""
        self._own.append(weakref.ref(server))
        if keep:
            self._kept.append(server)

    def open(self) -> list[Endpoint]:
        """Every open server of the test run."""
        from faultline._servers.opened import opened

        return opened.after(self._since)

    def met(self) -> list[tuple[Endpoint, tuple[Attempt, ...]]]:
        """The servers of the test with its attempts; of servers of wider scopes those that it came to."""
        from faultline._servers.opened import opened

        alive = [server for ref in self._own if (server := ref()) is not None and server not in opened.told]
        own = [server for server in alive if hasattr(server, "ledger")]
        found = [(server, attempts_of(server, 0.0)) for server in own]
        for ref, began in self._wider:
            server = ref()
            if server is not None and (attempts := attempts_of(server, began)):
                found.insert(0, (server, attempts))
        once = {id(server.ledger): (server, attempts) for server, attempts in reversed(found)}
        return list(once.values())[::-1]

    def hung(self) -> list[str]:
        """Where clients without a timeout wait, one sentence each, the newest server first."""
        from faultline._core.report import hung

        waiting = [hung(attempts, now(server)) for server, attempts in reversed(self.met())]
        return [why for why in waiting if why]

    def drawings(self) -> list[str]:
        """The drawing of each server that the test has met; of many servers, as with Hypothesis, of the last."""
        met = self.met()
        drawn = [drawing_of(server, self._config) for server, _ in met[-MOST_SERVERS:]]
        earlier = len(met) - len(drawn)
        return [f"{counted(earlier, 'server')} before these, not drawn", *drawn] if earlier else drawn


def now(server: Endpoint) -> float:
    """The seconds since a server started; 0 if it can't be asked."""
    from faultline._core.errors import ServerError

    try:
        return server.ledger.now()
    except ServerError:
        return 0.0


def attempts_of(server: Endpoint, began: float) -> tuple[Attempt, ...]:
    """The attempts that began after this time or still go on; none if the server can't be asked."""
    from faultline._core.errors import ServerError

    try:
        attempts = server.attempts
    except ServerError:
        return ()
    return tuple(a for a in attempts if a.started_seconds >= began or a.ended_seconds is None)


def drawing_of(server: Endpoint, config: pytest.Config) -> str:
    """The drawing of a server's attempts for pytest's terminal, or the error if the server can't be asked."""
    from faultline._core.errors import ServerError

    width, color = None, config.getoption("color", "auto") == "yes"
    if config.pluginmanager.has_plugin("terminalreporter"):  # a worker of xdist has none
        terminal = config.get_terminal_writer()
        width, color = terminal.fullwidth, terminal.hasmarkup
    try:
        return server.drawing(width=width, color=color, still_open="still open when the test ended")
    except ServerError as error:
        return str(error)
