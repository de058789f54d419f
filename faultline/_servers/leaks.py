"""The leak check: which connections clients still hold after a moment, and what they were used for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from faultline._core.attempts import Attempt
from faultline._core.errors import LeakError
from faultline._core.report import describe

WAIT_SECONDS = 5.0  # of one call of the loop, which has to answer


def check_none_held(
    held_after: Callable[[float], tuple[int, ...]],
    attempts: Callable[[], Sequence[Attempt]],
    title: Callable[[], str],
    limit_seconds: float,
) -> None:
    """Wait until clients hold no connection, at most for this time.

    Raises:
        LeakError: a client still holds a connection; the message has the last attempt on it.
    """
    while (held := held_after(min(limit_seconds, WAIT_SECONDS))) and limit_seconds > 0:
        limit_seconds -= WAIT_SECONDS
    if held:
        last = {attempt.connection: attempt for attempt in attempts()}
        raise LeakError(
            "\n".join(
                f"a client still holds connection {n} of {title()}: "
                f"{describe(last[n]) if n in last else 'its attempts are no longer kept'}"
                for n in held
            )
        )
