"""The traceback of a failing test: where faultline tells the error, it ends at the call in the test or client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from faultline._core.errors import FaultlineError

if TYPE_CHECKING:
    from types import TracebackType

PYTEST = ("_pytest", "pluggy")  # they call the fixtures of faultline, without a line of the test between
LOOKUPS = "faultline._servers.names.overlay"  # what stands in for the functions of `socket`
NOTHING: tuple[str, ...] = ()
WAITS = ("threading", "socket", "_pytest")  # below faultline's frames: where they wait, and what ends the wait


def end_in_the_test(excinfo: pytest.ExceptionInfo[BaseException], config: pytest.Config) -> None:
    """Drop faultline's own frames from the end of a traceback, and of its causes; with `--full-trace` they stay.

    The frames of an error that faultline doesn't tell stay too, since it may be a mistake of faultline itself.
    """
    if config.getoption("fulltrace"):
        return
    error: BaseException | None = excinfo.value
    cut(excinfo.tb, error)
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if error is not None and error.__traceback__ is not None:
            cut(error.__traceback__, error)


def cut(trace: TracebackType, error: BaseException | None) -> None:
    """End one traceback in the last frame before faultline's."""
    if isinstance(error, (FaultlineError, AssertionError)):
        ours, below = "faultline", NOTHING
    elif isinstance(error, OSError):  # a lookup or a connect of the client, which failed as the plan says
        ours, below = LOOKUPS, ("faultline", "socket")
    elif isinstance(error, pytest.fail.Exception):  # the time limit, wherever the test waits
        ours, below = "faultline", WAITS
    else:
        return
    last = before = None
    entry: TracebackType | None = trace
    while entry is not None:
        name = str(entry.tb_frame.f_globals.get("__name__"))
        package = name.partition(".")[0]
        if ours in (name, package):
            last = last or before
        elif package not in below:
            last = None
        before, entry = entry, entry.tb_next
    if last is not None and package_of(last) not in PYTEST:
        last.tb_next = None


def package_of(entry: TracebackType) -> str:
    """The package whose code a frame runs."""
    return str(entry.tb_frame.f_globals.get("__name__")).partition(".")[0]
