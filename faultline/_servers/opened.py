"""The endpoints of this process, in the order of their start, for a test run that has to know each open one.

Rules: this module loads nothing, because the pytest plugin looks here before a test has started a server.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from faultline._core.fork import in_forked_child

if TYPE_CHECKING:
    from faultline._servers.endpoint import Endpoint


class Opened:
    """The endpoints of this process by number, as long as somebody uses them.

    Attributes:
        watchers: functions to call with a new endpoint; only the last is called, as test runs may be nested.
        told: the endpoints that a report of their own tells of, such as those of a sweep.
    """

    def __init__(self) -> None:
        self._known: weakref.WeakValueDictionary[int, Endpoint] = weakref.WeakValueDictionary()
        self._numbers = itertools.count(1)
        self.watchers: list[Callable[[Endpoint], None]] = []
        self.told: weakref.WeakSet[Endpoint] = weakref.WeakSet()

    def add(self, endpoint: Endpoint) -> None:
        """Register an endpoint that is about to start."""
        self._known[self.next_number()] = endpoint
        for watcher in self.watchers[-1:]:
            watcher(endpoint)

    def next_number(self) -> int:
        """A number between those of the endpoints so far and those to come."""
        return next(self._numbers)

    def after(self, number: int) -> list[Endpoint]:
        """The endpoints with higher numbers that are open now, in the order of their start."""
        known = sorted((ref.key, ref) for ref in self._known.valuerefs())
        endpoints = [ref() for key, ref in known if key > number]
        return [endpoint for endpoint in endpoints if endpoint is not None and endpoint.is_open]

    def forget(self) -> None:
        """Drop all endpoints, in a forked child: they belong to the parent. A test may go on there (pytest-forked)."""
        self._known.clear()


opened = Opened()
in_forked_child(opened.forget)
