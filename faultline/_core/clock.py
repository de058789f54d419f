"""The library's own clocks, which tests that freeze or shift the time don't reach.

freezegun replaces `time.time`, `time.monotonic`, `datetime` and more in every module, and time-machine changes the
functions themselves, so that all who have them see another time. Neither changes these two clocks of clock_gettime(2).
"""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Iterator
from typing import Final

MONOTONIC: Final = getattr(time, "CLOCK_MONOTONIC", 1)  # other systems may import this, to be refused in words
REALTIME_COARSE: Final = 5  # linux/time.h; Python has no name for it
TRUE: Final = (datetime.datetime.__mro__[-3],)  # in a tuple, where freezegun does not look
EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


@contextlib.contextmanager
def true_datetime() -> Iterator[None]:
    """Have `datetime.datetime` be Python's own meanwhile, for a library that looks it up once and keeps it.

    cryptography does so when it signs for the first time; a class that freezegun has put there would stay for good.
    """
    found = datetime.datetime
    datetime.datetime = TRUE[0]  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        datetime.datetime = found  # type: ignore[misc]


def now() -> float:
    """The seconds since some moment, as of `time.monotonic`."""
    return time.clock_gettime(MONOTONIC)


class Turn:
    """The present turn of the loop.

    Attributes:
        began: when the loop saw the events that it handles in this turn.
    """

    began = 0.0


def since(began: float) -> float:
    """The seconds since a time that `now` has returned."""
    return now() - began


def today() -> datetime.datetime:
    """The present date and time in UTC."""
    return EPOCH + datetime.timedelta(seconds=time.clock_gettime(REALTIME_COARSE))
