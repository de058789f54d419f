"""All chance comes from here, so that one seed reproduces a run.

A generator belongs to a scope (a test's name under pytest) and to its number in that scope, never to the order in
which tests happen to run, so that a run is the same under `pytest -n` and in random order.
"""

from __future__ import annotations

import os
import random
import threading


class Scope:
    """Where generators come from: a name and a count of those given out."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._given = 0
        self._lock = threading.Lock()

    @property
    def was_used(self) -> bool:
        """Whether any chance was drawn here."""
        return self._given > 0

    def generator(self) -> random.Random:
        """The next generator of this scope."""
        with self._lock:
            self._given += 1
            return random.Random(f"{self.name}#{self._given}")  # noqa: S311 - chance for tests, not secrets


_scope = Scope(os.urandom(8).hex())


def enter(name: str) -> Scope:
    """Begin a scope; generators come from it until the next one begins."""
    global _scope  # noqa: PLW0603 - a test run has one scope at a time
    _scope = Scope(name)
    return _scope


def generator(seed: int | None = None) -> random.Random:
    """A generator of its own seed, or the next one of the scope."""
    return _scope.generator() if seed is None else random.Random(seed)  # noqa: S311
