"""Random generators that one seed reproduces.

Rules: every random choice of the package draws from a generator of this module. A generator depends on the name of its
scope (under pytest, the test) and on its number in that scope, and never on the order of the tests, so that a run is
the same under `pytest -n` and in random order.
"""

from __future__ import annotations

import os
import random
import threading


class Scope:
    """A source of generators: a name, and a count of the generators that it has made."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._given = 0
        self._lock = threading.Lock()

    @property
    def was_used(self) -> bool:
        """Whether a generator of this scope was made."""
        return self._given > 0

    def generator(self, seed: int | None = None) -> random.Random:
        """A generator with this seed, or the next generator of this scope."""
        if seed is not None:
            return random.Random(seed)  # noqa: S311 - chance for tests, not secrets
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
    """A generator with this seed, or the next generator of the scope."""
    return _scope.generator(seed)
