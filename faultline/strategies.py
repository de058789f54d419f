"""Strategies of Hypothesis that draw faults and plans, and shrink them to the simplest that still fails.

Hypothesis is imported when a strategy is made: `pip install "pytest-faultline[hypothesis]"`.
"""

from __future__ import annotations

from collections.abc import Sequence as Several
from typing import TYPE_CHECKING, Any

from faultline._core.calls import explained
from faultline._core.check import choice, flag, rejected, seconds, whole
from faultline._core.errors import UnsupportedError
from faultline._core.fault import Fault
from faultline._core.plan import HEALTHY, Per, Plan
from faultline._core.planning import sequence
from faultline._core.points import Point
from faultline._front import shapes
from faultline._front.shapes import MOST_BYTES, USUAL, Data, Range, Shapes, Starter, Use, Verb, Whole, use_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis.strategies import SearchStrategy

__all__ = ["conditions", "faults", "plans"]


@explained
def faults(
    *,
    point: Point | tuple[Point, ...] | None = None,
    verbs: Several[Verb | Fault] = USUAL,
    http: bool | None = None,
    conditions: bool = False,
    server: Starter = "serve",
    tls: bool = False,
    script: Fault | None = None,
    answer: Fault | None = None,
    timeout_seconds: float | None = None,
    max_bytes: int = MOST_BYTES,
) -> SearchStrategy[Fault]:
    """Draw one fault: a break, a wrong answer or a bad certificate, or two parts that go together.

    Only faults that the server plays are drawn. They shrink to one part, to the verb that comes first in `refuse`,
    `reset`, `close`, `half_close`, `stall`, `inject`, `blackhole`, `partition`, and to fewer bytes. A silence lasts
    0.05 seconds, the shortest that the ledger keeps: it proves that the client waits. With `timeout_seconds` it can
    also last twice that time, which proves that the client does not wait longer.

    .. versionadded:: 0.1

    Args:
        point: the point or the points where a fault may strike. Default: every point that the server has.
        verbs: the ways to break a connection: names, or faults without a place such as `stall(for_seconds=1)`.
        http: whether to draw wrong answers of HTTP too, and breaks that count its bodies and requests. Default: whether
            `server` is `serve` or `http_proxy`, without a script.
        conditions: whether to add a condition to some faults, as `conditions()` draws them.
        server: the function that starts the server: `serve`, `relay`, `http_proxy` or `socks_proxy`.
        tls: whether that server speaks TLS; for a relay, whether it has `tls="terminate"`.
        script: a script that each fault is combined with, with `server="serve"` alone.
        answer: the answer of the server, as in `serve(…, answer=…)`, with `server="serve"` alone.
        timeout_seconds: the timeout of the client. Default: no silence is longer than 0.05 seconds.
        max_bytes: the most bytes that may pass before a break, up to 1,000,000. The default, 50, ends within the head
            of an answer of HTTP; `after_body_bytes`, which `http` draws, counts from its body on.

    Returns:
        The strategy.

    Raises:
        ParameterError: a value is out of its range, or the server can't play such a fault.
        UnsupportedError: Hypothesis is not installed.

    Example:
        >>> from hypothesis import find
        >>> from faultline.strategies import faults
        >>> find(faults(), lambda fault: True), find(faults(point="idle"), lambda fault: True)
        (refuse(), reset(at='idle'))
    """
    use = checked_use(point, http, server, tls, script, answer, timeout_seconds, max_bytes)
    flag("conditions", conditions)
    if isinstance(verbs, str) or not isinstance(verbs, Several):
        one = repr(verbs) if isinstance(verbs, (str, Fault)) else "'reset'"
        raise rejected("verbs", verbs, f"a tuple such as ({one},)")
    groups = shapes.grouped(use, tuple(verbs), with_conditions=conditions)
    if not groups:
        name, value = ("verbs", verbs) if point is None else ("point", point)
        raise rejected(name, value, f"a value that {use.can.name} plays")
    return drawn(groups, use)


@explained
def conditions(
    *,
    http: bool | None = None,
    server: Starter = "serve",
    tls: bool = False,
    script: Fault | None = None,
    answer: Fault | None = None,
    max_bytes: int = MOST_BYTES,
) -> SearchStrategy[Fault]:
    """Draw one condition, such as `latency(0.01)` or `corrupt(at_byte=7)`.

    Delays are short, no chance is drawn, and packets are not dropped, which takes privileges. Compose conditions with
    faults by `&`, or draw both with `faults(conditions=True)`.

    .. versionadded:: 0.1

    Args:
        http: as for `faults`.
        server: as for `faults`.
        tls: as for `faults`.
        script: a script that each condition is combined with, with `server="serve"` alone.
        answer: as for `faults`.
        max_bytes: the last byte that may be changed.

    Returns:
        The strategy.

    Raises:
        ParameterError: a value is out of its range.
        UnsupportedError: Hypothesis is not installed.

    Example:
        >>> from hypothesis import find
        >>> from faultline.strategies import conditions
        >>> find(conditions(), lambda fault: "corrupt" in repr(fault))
        corrupt(at_byte=0)
    """
    use = checked_use(None, http, server, tls, script, answer, None, max_bytes)
    return drawn([[(shape,)] for shape in shapes.conditions(use)], use)


@explained
def plans(
    *,
    max_size: int = 5,
    min_size: int = 0,
    recovers: bool = True,
    per: Per = "attempt",
    point: Point | tuple[Point, ...] | None = None,
    verbs: Several[Verb | Fault] = USUAL,
    http: bool | None = None,
    conditions: bool = False,
    server: Starter = "serve",
    tls: bool = False,
    script: Fault | None = None,
    answer: Fault | None = None,
    timeout_seconds: float | None = None,
    max_bytes: int = MOST_BYTES,
) -> SearchStrategy[Plan]:
    """Draw a plan of faults, with healthy attempts between them.

    The last entry of a plan repeats: with `recovers` it is `ok()`, so that a client that tries often enough succeeds.
    Plans shrink to fewer entries, to `ok()` instead of a fault, and to the simplest faults, as `faults()` has them.

    .. versionadded:: 0.1

    Args:
        max_size: the most entries, without the `ok()` at the end.
        min_size: the fewest entries, without the `ok()` at the end.
        recovers: whether each plan ends with `ok()`.
        per: whether faults are dealt to attempts or to connections, as in `sequence`.
        point: as for `faults`, and so are all parameters below.
        verbs: as for `faults`.
        http: as for `faults`.
        conditions: as for `faults`.
        server: as for `faults`.
        tls: as for `faults`.
        script: as for `faults`; a healthy attempt has the script alone.
        answer: as for `faults`.
        timeout_seconds: as for `faults`.
        max_bytes: as for `faults`.

    Returns:
        The strategy.

    Raises:
        ParameterError: a value is out of its range, or the server can't play such a fault.
        UnsupportedError: Hypothesis is not installed.

    Example:
        >>> from hypothesis import find
        >>> from faultline.strategies import plans
        >>> find(plans(), lambda plan: "stall" in repr(plan))
        sequence(stall(for_seconds=0.05), ok())
    """
    whole("min_size", min_size, "", 0)
    whole("max_size", max_size, "", max(min_size, 1))
    flag("recovers", recovers)
    choice("per", per, ("attempt", "connection"))
    one = faults(
        point=point,
        verbs=verbs,
        http=http,
        conditions=conditions,
        server=server,
        tls=tls,
        script=script,
        answer=answer,
        timeout_seconds=timeout_seconds,
        max_bytes=max_bytes,
    )
    st, healthy = hypothesis_strategies(), HEALTHY if script is None else script
    last = [healthy] if recovers else []
    entries = st.lists(st.one_of(st.just(healthy), one), min_size=max(min_size, not recovers), max_size=max_size)
    made: SearchStrategy[Plan] = st.composite(lambda draw: plan_of([*draw(entries), *last], per))()
    return made


def plan_of(entries: list[Fault], per: Per) -> Plan:
    """A plan of these entries: a fault alone if there is one entry."""
    return entries[0] if len(entries) == 1 else sequence(*entries, per=per)


def checked_use(  # noqa: PLR0917 - as in public
    point: Point | tuple[Point, ...] | None,
    http: bool | None,  # noqa: FBT001
    server: Starter,
    tls: bool,  # noqa: FBT001
    script: Fault | None,
    answer: Fault | None,
    timeout_seconds: float | None,
    max_bytes: int,
) -> Use:
    """The use that the parameters describe.

    Raises:
        ParameterError: a value is out of its range.
    """
    if timeout_seconds is not None and not seconds("timeout_seconds", timeout_seconds):
        raise rejected("timeout_seconds", timeout_seconds, "more than 0")
    whole("max_bytes", max_bytes, " of bytes", 0, shapes.HIGHEST_BYTES)
    return use_of(
        point=point,
        http=None if http is None else flag("http", http),
        server=server,
        tls=flag("tls", tls),
        script=script,
        answer=answer,
        timeout_seconds=timeout_seconds,
        max_bytes=max_bytes,
    )


def drawn(groups: list[list[Shapes]], use: Use) -> SearchStrategy[Fault]:
    """A strategy of the faults of these shapes, the simplest first; each group is drawn equally often.

    A composite strategy shows a value by its `repr`, and not by the calls that made it.
    """
    st = hypothesis_strategies()

    def fault(draw: Callable[..., Any]) -> Fault:
        found = draw(st.sampled_from(draw(st.sampled_from(groups))))
        return use.joined([s.made({name: draw(of_range(r)) for name, r in s.ranges.items()}) for s in found])

    made: SearchStrategy[Fault] = st.composite(fault)()
    return made


def of_range(values: Range) -> Any:
    """A strategy of the values of a range."""
    st = hypothesis_strategies()
    if isinstance(values, Whole):
        return st.integers(values.low, values.high)
    if isinstance(values, Data):
        return st.binary(min_size=1, max_size=values.high)
    return st.sampled_from(values.values)


def hypothesis_strategies() -> Any:
    """The strategies of Hypothesis.

    Raises:
        UnsupportedError: it is not installed.
    """
    try:
        from hypothesis import strategies
    except ImportError:
        raise UnsupportedError(
            'faultline.strategies needs Hypothesis; run `pip install "pytest-faultline[hypothesis]"`.'
        ) from None
    return strategies
