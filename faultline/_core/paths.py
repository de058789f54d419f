"""Plans by the path of a request: the patterns, and the plan that each of them has.

Rules: an exact pattern goes before a glob, and the longer one before the shorter; paths are compared once their
percent-escapes are decoded.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import unquote

from faultline._core.answers import Answer
from faultline._core.calls import explained
from faultline._core.check import rejected
from faultline._core.errors import ParameterError
from faultline._core.fault import Fault
from faultline._core.hints import hint_of_plan
from faultline._core.plan import Dealt, Limited, Sequence, Sometimes, alternatives, entries_of
from faultline._core.points import Point, is_before
from faultline._core.said import Said

if TYPE_CHECKING:
    from faultline._core.attempts import Request

NOT_FOUND = Fault(
    answer=Answer(404, body=b"404 Not Found\n", is_fault=True), said=(Said("status", (("code", 404),), 1),)
)


@dataclass(frozen=True)
class Pattern:
    """A pattern of paths.

    Attributes:
        text: the pattern as it was written.
        expression: the regular expression of the paths.
        is_exact: whether it has no `*`.
        length: the number of characters, but for `*`.
    """

    text: str
    expression: re.Pattern[str]
    is_exact: bool
    length: int

    def matches(self, path: str) -> bool:
        """Whether a path matches, together with its query string if the pattern has one."""
        return self.expression.fullmatch(path if "?" in self.text else path.partition("?")[0]) is not None


@functools.lru_cache(1000)
def pattern_of(text: str) -> Pattern:
    """The pattern of a text, in which `*` stands for any characters."""
    path, sign, query = text.partition("?")
    pieces = [decoded(piece) for piece in path.split("*")]
    if sign:
        first, *rest = map(unquote, query.split("*"))
        pieces = [*pieces[:-1], f"{pieces[-1]}?{first}", *rest]
    expression = re.compile(".*".join(map(re.escape, pieces)), re.DOTALL)
    return Pattern(text, expression, len(pieces) == 1, sum(map(len, pieces)))


def path_of(target: str) -> str:
    """The path and the query string of a request target; of CONNECT the host and its port."""
    if "://" in target:
        _, slash, rest = target.partition("://")[2].partition("/")
        target = f"/{rest}" if slash else "/"
    path, sign, query = target.partition("?")
    return f"{decoded(path)}{sign}{unquote(query)}"


def decoded(path: str) -> str:
    """A path without percent-escapes, but for that of `?`, which would begin a query string."""
    return unquote(path).replace("?", "%3F")


@dataclass(frozen=True)
class ByPath:
    """One of several plans, chosen by the path of the request.

    Attributes:
        paths: the patterns, as they were written.
        plans: the plan of each pattern, and then that of a request that none matches.
    """

    paths: tuple[str, ...]
    plans: tuple[Dealt, ...]
    label: Said = field(compare=False)
    is_fault: ClassVar[bool] = True  # the plan is not known before there is a request
    begins_at: ClassVar[Point] = "request"
    reads_body: ClassVar[bool] = False

    @property
    def needs_tls(self) -> bool:
        """Whether one of the faults has a meaning only with TLS."""
        return any(fault.needs_tls for fault in self.faults)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults of all plans."""
        return tuple(f for plan in self.plans for entry in entries_of(plan) for f in alternatives(entry))

    def index(self, request: Request) -> int:
        """The number of the plan of a request; the last if no pattern matches."""
        path = path_of(request.target)
        patterns = [(number, pattern_of(text)) for number, text in enumerate(self.paths)]
        matching = [(p.is_exact, p.length, -number) for number, p in patterns if p.matches(path)]
        return -max(matching)[2] if matching else len(self.paths)


@dataclass(frozen=True)
class SaidByPath(Said):
    """The call of `by_path`, with all of its plans."""

    def __str__(self) -> str:
        plans = ", ".join(f"{path!r}: {plan!r}" for path, plan in self.arguments)
        return f"{self.mode}({{{plans}}})"


@explained
def by_path(plans: Mapping[str, Dealt]) -> Fault:
    """Choose the plan by the path of the request: each pattern has a plan, which counts its own requests.

    A pattern is a path such as `/pay`, or has `*` for any characters, `/` too: `/users/*`; `/*` matches every path. An
    exact pattern goes before a pattern with `*`, and the longest of several decides. The query string counts only if
    the pattern has one: `/items?page=2`. Percent-escapes are decoded before the comparison, and `%2A` is a star. A
    request that no pattern matches gets `status(404)`, and a note in the ledger.

    The plan is chosen once the head of the request is read, so that faults can strike at `request`, while the body
    comes, at `response` and at `idle`; `sequence(refuse(), by_path(…))` breaks an earlier point.

    .. versionadded:: 0.1

    Args:
        plans: for each pattern a fault, `sequence(…)`, `cycle(…)`, `sometimes(…)` or `when(…)`.

    Raises:
        ParameterError: there is no pattern, one does not begin with `/` or `*`, two of them mean the same, or a plan
            has a script, a limit, `per="connection"`, `after_requests`, or a fault that strikes before the request.

    Example:
        >>> import faultline, urllib.request
        >>> from faultline import ok, sequence, status
        >>> plan = faultline.by_path({"/pay": sequence(status(503), ok(b"paid")), "/*": ok()})
        >>> with faultline.serve(plan) as server:
        ...     try:
        ...         urllib.request.urlopen(server.url + "/pay")
        ...     except OSError as error:
        ...         print(error)
        ...     urllib.request.urlopen(server.url + "/pay?card=1").read()
        HTTP Error 503: Service Unavailable
        b'paid'
    """
    if not isinstance(plans, Mapping) or not plans:
        raise rejected("plans", plans, "a dict of paths with their plans, such as {'/pay': status(503), '/*': ok()}")
    seen: dict[str, str] = {}
    for path, plan in plans.items():
        if not isinstance(path, str) or not path.startswith(("/", "*")):
            right = f"; write {'/' + path!r}" if isinstance(path, str) and path else ""
            raise rejected("plans", path, f"paths as text that begin with '/' or '*'{right}")
        same = seen.setdefault(pattern_of(path).expression.pattern, path)
        if same != path:
            raise ParameterError(f"plans={path!r}: expected each path once; {same!r} is the same.")
        check_plan_of(path, plan)
    label = SaidByPath("by_path", tuple(plans.items()))
    return Fault(choice=ByPath(tuple(plans), (*plans.values(), NOT_FOUND), label), said=(label,))


def check_plan_of(path: str, plan: Any) -> None:
    """Check that a plan can be chosen by the path of a request.

    Raises:
        ParameterError: it can't be.
    """
    name = f"plans[{path!r}]"
    if isinstance(plan, Limited):
        around = f"max_connections({plan.number}, by_path(…), beyond={plan.beyond!r})"
        raise rejected(name, plan, f"a plan without a limit; write {around}")
    if not isinstance(plan, (Fault, Sequence, Sometimes)):
        raise rejected(
            name, plan, f"a fault such as reset() or ok(), or a plan such as sequence(…){hint_of_plan(plan)}"
        )
    if not isinstance(plan, Fault) and plan.per == "connection":
        raise rejected(name, plan, "per='attempt', because a path counts its requests")
    for fault in (f for entry in entries_of(plan) for f in alternatives(entry)):
        brk = fault.break_
        early = [part for part in fault.parts if part.begins_at is not None and is_before(part.begins_at, "request")]
        if early or fault.is_opening or fault.is_of_script:
            raise rejected(name, fault, "a fault at 'request' or later, because the path is known only then")
        if brk is not None and brk.trigger.after_requests:
            raise rejected(
                name, fault, "no after_requests, as each path counts its own requests; write sequence(ok(), …)"
            )
