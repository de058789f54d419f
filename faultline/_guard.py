"""The guard: a planned fault that never struck proved nothing, and says so.

Rules of this room: pure; it judges a plan by its ledger and never touches a server. What nobody could have seen
(a refused connect leaves no trace in the server) is not judged.
"""

from __future__ import annotations

from collections.abc import Sequence

from faultline._fault import Fault
from faultline._ledger import Attempt
from faultline._report import describe


def unmet(fault: Fault, attempts: Sequence[Attempt], where: str) -> str | None:
    """Why this fault proved nothing, or `None` if it struck or can't be judged."""
    if fault.is_healthy or fault.door is not None:
        return None
    if any(a.fault == fault and a.struck is not None for a in attempts):
        return None
    if not attempts:
        return f"{fault!r} never struck: no client connected to {where}."
    last = attempts[-1]
    did = "; ".join(describe(a) for a in attempts[:5])
    more = f"; and {len(attempts) - 5} more" if len(attempts) > 5 else ""  # noqa: PLR2004 - a screenful
    return f"{fault!r} never struck: {did}{more}.{advice(fault, last)}"


def advice(fault: Fault, last: Attempt) -> str:
    """What to do about it, where that can be told."""
    at = fault.break_.at if fault.break_ else "handshake"
    if last.received_bytes == 0 and at in ("request", "response", "idle"):
        return " The client said nothing: if it waits for the server to speak first, use at='accept' or a script."
    if at == "idle":
        return " The connection was not kept alive; use at='response', or a client that pools connections."
    if at in ("request", "response"):
        return " Strike after fewer bytes, or serve a longer answer."
    return ""
