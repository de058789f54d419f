"""The ledger in words, for command line, guard and reports.

Rules of this room: pure; an attempt in, text out.
"""

from __future__ import annotations

from faultline._ledger import Attempt


def describe(attempt: Attempt) -> str:
    """One attempt in a line: what was asked, how far it came, what struck, who ended it."""
    request = attempt.request
    asked = f" {request.method} {request.target}" if request and request.method else ""
    struck = attempt.struck
    fate = f"{attempt.fault!r} struck at {struck.point!r}" if struck else f"{attempt.fault!r} reached {attempt.point!r}"
    note = f" ({attempt.note})" if attempt.note else ""
    return (
        f"#{attempt.number}{asked}: {fate}, received {attempt.received_bytes} and sent {attempt.sent_bytes} bytes, "
        f"{ending(attempt)}{note}"
    )


def ending(attempt: Attempt) -> str:
    """How an attempt ended, and after how long."""
    if attempt.ended_seconds is None:
        return "still open"
    took = f"after {attempt.ended_seconds - attempt.started_seconds:.3f} s"
    if attempt.ended_by is None:
        return f"kept alive {took}"
    return f"ended by the {attempt.ended_by} ({attempt.ended_how}) {took}"
