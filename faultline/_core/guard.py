"""The guard: a planned fault that never struck proved nothing, and the guard says so.

It judges a plan by its ledger alone. A strike that leaves no trace in the server, as a refused connect, is not judged.
"""

from __future__ import annotations

from collections.abc import Sequence

from faultline._core.fault import Fault
from faultline._core.ledger import Attempt, Strike
from faultline._core.plan import Plan, entries_of
from faultline._core.points import FACTS, is_before
from faultline._core.report import describe
from faultline._core.steps import ReceiveRequest, every


def unmet(plan: Plan, attempts: Sequence[Attempt], unasked: str) -> str | None:
    """Why a fault of this plan proved nothing, or `None` if all struck or can't be judged.

    `unasked` is what to say where there was no attempt.
    """
    planned = [fault for entry in entries_of(plan) if isinstance(entry, Fault) for fault in certain(entry)]
    struck = [a.fault for a in attempts if a.struck is not None and is_its_own(a.fault, a.struck)]
    for fault in planned:
        if fault in struck:
            struck.remove(fault)  # an entry that is planned twice strikes twice
        elif not fault.is_healthy and fault.door is None:
            return explained(fault, attempts, unasked)
    return None


def is_its_own(fault: Fault, strike: Strike) -> bool:
    """Whether a strike was that of the fault's break, and not only of its certificate or answer."""
    return fault.break_ is None or strike.point == fault.break_.at


def certain(fault: Fault) -> list[Fault]:
    """What has to strike for this entry: a choice by the request, whatever it chooses between."""
    if fault.choice is None:
        return [fault] if fault.strikes else []
    return [f for part in (fault.choice.fault, fault.choice.otherwise) for f in certain(part)]


def explained(fault: Fault, attempts: Sequence[Attempt], unasked: str) -> str:
    """What happened instead of the fault."""
    if not attempts:
        return f"{fault!r} never struck: {unasked}."
    did = "; ".join(describe(a) for a in attempts[:5])
    more = f"; and {len(attempts) - 5} more" if len(attempts) > 5 else ""  # noqa: PLR2004 - a screenful
    return f"{fault!r} never struck: {did}{more}.{advice(fault, attempts[-1])}"


def advice(fault: Fault, last: Attempt) -> str:
    """What to do about it, where that can be told."""
    first = fault.certificate.from_connection if fault.certificate is not None else 1
    at = fault.break_.at if fault.break_ else "handshake" if fault.is_of_tls else "response"
    where = FACTS[at]
    idle = where.of == "idle"
    late = fault.break_ is not None and where.hears and not fault.break_.trigger.at_end
    steps = tuple(every(fault.script.steps)) if fault.script else ()
    silent = last.received_bytes == 0 and (where.is_exchange or idle)
    refuses = fault.terms is not None and fault.terms.is_fault
    heads = fault.http_answer is not None and fault.http_answer.bodies_head
    no_tunnel = where.of == "tunnel" and is_before(last.point, at)
    hints = {
        f" It strikes from connection {first} of the server on.": first > 1,
        " The client could meet these terms.": refuses and fault.break_ is None,
        " The client said nothing: if it waits for the server to speak first, use at='accept' or a script.": silent,
        " The client asked for no HEAD.": heads,
        " The client did not wait for 100 Continue.": fault.break_ is None and ReceiveRequest(continues=False) in steps,
        " The connection was not kept alive; use at='response', or a client that pools connections.": idle,
        " No tunnel was opened; a fetch by absolute URL, as of http://, needs none.": no_tunnel,
        " Strike after fewer bytes, or serve a longer answer.": late,
    }
    return next((hint for hint, fits in hints.items() if fits), "")
