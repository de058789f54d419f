"""The traceback of a failing test: it ends in the test, at the call, when the error is one that faultline tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faultline._core.errors import FaultlineError

if TYPE_CHECKING:
    from types import TracebackType

    import pytest

PYTEST = ("_pytest", "pluggy")  # they call the fixtures of faultline, without a line of the test between


def end_in_the_test(excinfo: pytest.ExceptionInfo[BaseException], config: pytest.Config) -> None:
    """Drop faultline's own frames from the end of a traceback; with `--full-trace` they stay.

    The frames of any other error stay too, since it may be a mistake of faultline itself.
    """
    if config.getoption("fulltrace") or not isinstance(excinfo.value, (FaultlineError, AssertionError)):
        return
    last, entry = excinfo.tb, excinfo.tb.tb_next
    while entry is not None:
        last, entry = last if package_of(entry) == "faultline" else entry, entry.tb_next
    if package_of(last) not in PYTEST:
        last.tb_next = None


def package_of(entry: TracebackType) -> str:
    """The package whose code a frame runs."""
    return str(entry.tb_frame.f_globals.get("__name__")).partition(".")[0]
