"""A small process that calls functions for tests: what forks there copies little, and no coverage.

A fork of the process of the tests takes twice the time of one of Python alone, for all that is loaded there; measured
by coverage, four times.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import traceback
from importlib import import_module
from pathlib import Path

TESTS = str(Path(__file__).parents[1])


class Small:
    """The process, which ends when it is closed."""

    def __init__(self):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", __file__],  # not as a module of `support`, which loads pytest
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=TESTS,
            env=environment,
        )

    def call(self, name, *args, **kwargs):
        """What a function returns there; `name` is that of a module and a function. Its error is raised here."""
        pickle.dump((name, args, kwargs), self._process.stdin)
        self._process.stdin.flush()
        value, error = pickle.load(self._process.stdout)
        if error is not None:
            raise error
        return value

    def close(self):
        """End the process."""
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def named(name):
    """A function by the name of its module and its own."""
    module, _, function = name.partition(":")
    return getattr(import_module(module), function)


def serve(calls, results):
    """Do what is asked until nobody asks."""
    while True:
        try:
            name, args, kwargs = pickle.load(calls)
        except EOFError:
            return
        try:
            told = named(name)(*args, **kwargs), None
        except Exception as error:  # noqa: BLE001 - raised where it was asked
            error.add_note(traceback.format_exc()) if hasattr(error, "add_note") else None
            told = None, error
        pickle.dump(told, results)
        results.flush()


if __name__ == "__main__":
    sys.path[0] = TESTS
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what is printed
    with os.fdopen(os.dup(0), "rb") as asked, channel:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        serve(asked, channel)
