"""The functions that make plans, and the checks of what they get."""

from __future__ import annotations

from collections.abc import Callable

from faultline._core.answers import Through
from faultline._core.attempts import Request
from faultline._core.calls import explained
from faultline._core.check import choice, is_number, rejected, whole
from faultline._core.errors import ParameterError
from faultline._core.fault import Choice, Fault
from faultline._core.hints import hint_of_plan
from faultline._core.plan import HEALTHY, Dealt, Limited, Per, Plan, Sequence, Sometimes
from faultline._core.points import is_before
from faultline._core.promises import promises_of
from faultline._core.said import Said, abbreviated


@explained
def sequence(*entries: Fault | Sometimes, per: Per = "attempt") -> Sequence:
    """Deal these faults in order, one to each attempt; the last fault repeats.

    An attempt is a new connection, or a further request on a connection that is kept alive. With `per="connection"` all
    attempts on one connection meet the same fault. Refused and black-holed attempts are counted if the server has
    CAP_NET_RAW, or the client is Python in this process; for other clients give a duration: `refuse(for_seconds=1)`.

    .. versionadded:: 0.1

    Raises:
        ParameterError: there are no entries, an entry is neither a fault nor a `sometimes(…)`, or the `per` of an entry
            is not that of the plan.

    Example:
        >>> from faultline import ok, refuse, sequence
        >>> sequence(refuse(), refuse(), ok(b"hello"))
        sequence(refuse(), refuse(), ok(b'hello'))
    """
    return Sequence(checked_entries("sequence", entries, per), per=per)


@explained
def cycle(*entries: Fault | Sometimes, per: Per = "attempt") -> Sequence:
    """Deal these faults in order, and begin again after the last fault.

    .. versionadded:: 0.1

    Raises:
        ParameterError: there are no entries, an entry is neither a fault nor a `sometimes(…)`, or the `per` of an entry
            is not that of the plan.

    Example:
        >>> from faultline import cycle, ok, reset
        >>> cycle(ok(), reset())
        cycle(ok(), reset())
    """
    return Sequence(checked_entries("cycle", entries, per), cycles=True, per=per)


@explained
def sometimes(
    probability: float,
    fault: Fault,
    *,
    otherwise: Fault = HEALTHY,
    seed: int | None = None,
    per: Per = "attempt",
) -> Sometimes:
    """Deal a fault with a probability from 0 to 1, and the fault `otherwise` to the other attempts.

    The same seed deals the same faults. Without a seed, `--faultline-seed` decides under pytest.

    .. versionadded:: 0.1

    Raises:
        ParameterError: `probability` is not from 0 to 1, `fault` or `otherwise` is no fault, `seed` is no whole number,
            or `per` is neither "attempt" nor "connection".

    Example:
        >>> from faultline import reset, sometimes
        >>> sometimes(0.3, reset(), seed=1)
        sometimes(0.3, reset(), otherwise=ok())
    """
    checked_probability("probability", probability)
    for name, value in (("fault", fault), ("otherwise", otherwise)):
        if not isinstance(value, Fault):
            raise rejected(name, value, f"a fault such as reset() or ok(){hint_of_plan(value)}")
    if seed is not None:
        whole("seed", seed, "")
    return Sometimes(float(probability), fault, otherwise, seed, checked_per(per))


@explained
def max_connections(number: int, plan: Dealt = HEALTHY, *, beyond: Fault) -> Limited:
    """Let this number of clients be connected at once: a connection beyond it meets the fault `beyond`.

    The others meet the plan. A connection counts until its client has closed it or the server has ended it; those that
    meet `beyond` don't count. With `beyond=refuse()` the port is closed while that number is connected, and opens as
    soon as a connection has ended; other faults, such as `stall(at="accept")`, `close(at="accept")` or `status(503)`,
    are for clients that get in.

    .. versionadded:: 0.1

    Args:
        number: the number of connections, 0 or more.
        plan: what the connections up to that number meet.
        beyond: what the others meet.

    Raises:
        ParameterError: `number` is no whole number of 0 or more, `plan` is no plan of this kind, or `beyond` is no
            fault, or a fault that ends by itself at `connect`.

    Example:
        >>> import faultline, socket
        >>> with faultline.serve(faultline.max_connections(1, beyond=faultline.refuse())) as server:
        ...     with socket.create_connection(server.address):
        ...         socket.create_connection(server.address)
        Traceback (most recent call last):
        ConnectionRefusedError: [Errno 111] Connection refused
    """
    whole("number", number, "")
    if not isinstance(plan, (Fault, Sometimes, Sequence)):
        nested = "; one limit is enough" if isinstance(plan, Limited) else hint_of_plan(plan)
        raise rejected("plan", plan, f"a fault such as ok(), or a plan such as sequence(…){nested}")
    if not isinstance(beyond, Fault):
        raise rejected("beyond", beyond, f"a fault such as refuse() or stall(at='accept'){hint_of_plan(beyond)}")
    if not any(promises_of(beyond)):
        raise rejected(
            "beyond",
            beyond,
            f"a fault such as refuse() or stall(at='accept'); {beyond!r} is healthy, so that nothing would be limited",
        )
    if beyond.opens_later:
        raise rejected(
            "beyond", beyond, "a fault without for_seconds and until; the port opens as soon as a place is free"
        )
    return Limited(number, plan, beyond)


@explained
def when(condition: Callable[[Request], bool], fault: Fault, *, otherwise: Fault = HEALTHY) -> Fault:
    """Deal a fault to the requests for which a function returns true.

    The function gets the request once the server has read all of it, so that the faults can strike at `response` or
    `idle`, and conditions act on the response. The ledger keeps the fault that was chosen. An error in the function
    raises `ServerError` in the test. `by_path` chooses before the body is read, and so does this in a relay, where the
    body that the function gets is empty.

    .. versionadded:: 0.1

    Raises:
        ParameterError: `condition` is not callable, or a fault has a script or conditions of the request, or strikes
            before the request is read.

    Example:
        >>> from faultline import reset, when
        >>> plan = when(lambda request: request.target == "/pay", reset())
    """
    if not callable(condition):
        swapped = f"; write it first: when(lambda r: …, {condition!r})" if isinstance(condition, Fault) else ""
        raise rejected(
            "condition", condition, f"a function of a request, such as lambda r: r.target == '/pay'{swapped}"
        )
    for name, value in (("fault", fault), ("otherwise", otherwise)):
        if not isinstance(value, Fault):
            raise rejected(name, value, f"a fault such as reset() or ok(){hint_of_plan(value)}")
        early = value.break_ is not None and is_before(value.break_.at, "response")
        too_late = any(not condition.on("response") for condition in value.conditions)
        if early or value.is_opening or value.is_of_script or too_late:
            raise rejected(name, value, "a fault at 'response' or 'idle', after the request is read")
    label = Said("when", (("condition", condition), ("fault", fault), ("otherwise", otherwise)), 2)
    return Fault(choice=Choice(condition, fault, otherwise, label), said=(label,))


@explained
def through() -> Fault:
    """Let a relay pass the request on to its upstream, beside requests that it answers by itself.

    `ok()` does the same in a relay; a server has no upstream, and refuses this.

    .. versionadded:: 0.1

    Example:
        >>> import faultline, urllib.request
        >>> from faultline import ok, sequence, status, through
        >>> with faultline.serve(ok(b"from the upstream")) as real:
        ...     with faultline.relay(real, sequence(status(503), through())) as server:
        ...         try:
        ...             urllib.request.urlopen(server.url)
        ...         except OSError as error:
        ...             print(error)
        ...         urllib.request.urlopen(server.url).read()
        HTTP Error 503: Service Unavailable
        b'from the upstream'
    """
    return Fault(answer=Through(), said=(Said("through"),))


def checked_plan(plan: object, name: str = "plan") -> Plan:
    """The plan, once it is checked, for a parameter of this name.

    Raises:
        ParameterError: the value is neither a fault nor a plan of faults.
    """
    if isinstance(plan, (Fault, Sometimes, Sequence, Limited)):
        return plan
    text, hint = abbreviated(plan, 80), hint_of_plan(plan)
    raise ParameterError(
        f"{name}={text}: expected a fault such as reset() or ok(), or a plan such as sequence(…){hint}."
    )


def checked_entries(name: str, entries: tuple[object, ...], per: Per) -> tuple[Fault | Sometimes, ...]:
    """The entries of a plan, once they are checked.

    Raises:
        ParameterError: there are no entries, an entry is neither a fault nor a `sometimes(…)`, or the `per` of an entry
            is not that of the plan.
    """
    checked_per(per)
    if not entries:
        raise ParameterError(f"{name}(): expected at least one fault, such as {name}(reset(), ok()).")
    good = [entry for entry in entries if isinstance(entry, (Fault, Sometimes))]
    if len(good) < len(entries):
        wrong = next(entry for entry in entries if not isinstance(entry, (Fault, Sometimes)))
        hint = hint_of_plan(wrong).replace("; write sequence(", f"; write {name}(")
        if isinstance(wrong, Limited):
            hint = f"; write max_connections({wrong.number}, {name}(…), beyond={wrong.beyond!r})"
        raise rejected(f"{name}(…)", wrong, f"faults such as reset() or ok(){hint}")
    for entry in good:
        if isinstance(entry, Sometimes) and entry.per != per:
            raise rejected("per", entry.per, f"{per!r} in {entry!r}, as in the {name} around it")
    return tuple(good)


def checked_per(per: Per) -> Per:
    """`per`, if it is "attempt" or "connection".

    Raises:
        ParameterError: the value is neither "attempt" nor "connection".
    """
    choice("per", per, ("attempt", "connection"))
    return per


def checked_probability(name: str, value: object) -> float:
    """A number from 0 to 1.

    Raises:
        ParameterError: the value is no number, or is below 0 or above 1.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        swapped = f"; write it first: sometimes(0.5, {value!r})" if isinstance(value, Fault) else ""
        percent = value if isinstance(value, (int, float)) and 2 <= value <= 100 else 0  # noqa: PLR2004 - not a slip
        percentage = f"; write {percent / 100:g} for {percent:g} %" if percent else ""
        text = value.strip() if isinstance(value, str) else ""
        written = f"; write {text}" if is_number(text) and float(text) <= 1 else ""
        raise rejected(name, value, f"a probability from 0 to 1{swapped}{percentage}{written}")
    return float(value)
