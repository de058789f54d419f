"""The shapes of the faults that strategies draw: a mode, fixed arguments, and the ranges of the others.

Rules: no random numbers and no Hypothesis here. A shape stands in the list of the simplest first, since a strategy
shrinks to what comes before. A shape is kept only if the server plays it with the largest of all its values.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from faultline._core.capabilities import Capabilities
from faultline._core.check import choice, rejected
from faultline._core.errors import FaultlineError
from faultline._core.fault import Fault
from faultline._core.kinds import HTTP_PROXY, RELAY, SERVER, SOCKS_PROXY, TERMINATING_RELAY
from faultline._core.points import FACTS, OPEN_POINTS, POINTS, Point
from faultline.modes._catalogue import modes
from faultline.modes.certificates import Defect
from faultline.modes.lies import Kind

Starter = Literal["serve", "relay", "http_proxy", "socks_proxy"]
Verb = Literal["refuse", "reset", "close", "half_close", "stall", "inject", "blackhole", "partition"]
VERBS: tuple[Verb, ...] = get_args(Verb)  # the simplest first
USUAL: tuple[Verb, ...] = ("refuse", "reset", "close", "stall")
AT_THE_DOOR = ("refuse", "blackhole")
PAUSE_SECONDS = 0.05  # the shortest that the ledger keeps
MOST_BYTES = 50
HIGHEST_BYTES = 1_000_000  # that may be asked for, since answers of that length are made and tried
DATA_BYTES = 8  # of bytes that are made up, so that a report shows all of them
MESSAGES = REQUESTS = 2
CODES = (503, 500, 429, 404)
LARGE = ("header_line_long", "headers_many", "gzip_bomb", "interim_flood")  # which take time
UNCERTAIN = ("weak_key", "sha1_signature", "many_sans", "rsa_8192", "revoked", "pinned_changed")  # or take time
KINDS = {
    ("serve", False): SERVER.in_plain,
    ("serve", True): SERVER.in_tls,
    ("relay", False): RELAY,
    ("relay", True): TERMINATING_RELAY,
    ("http_proxy", False): HTTP_PROXY.in_plain,
    ("http_proxy", True): HTTP_PROXY.in_tls,
    ("socks_proxy", False): SOCKS_PROXY,
}


class Whole(NamedTuple):
    """A whole number from `low` to `high`."""

    low: int
    high: int


class Data(NamedTuple):
    """Bytes, at least one and at most `high`."""

    high: int


class OneOf(NamedTuple):
    """One of these values, the simplest first."""

    values: tuple[Any, ...]


Range: TypeAlias = Whole | Data | OneOf


def largest(values: Range) -> Any:
    """The value of a range that a server is most likely to refuse."""
    if isinstance(values, OneOf):
        return values.values[-1]
    return values.high if isinstance(values, Whole) else bytes(values.high)


@dataclass(frozen=True)
class Shape:
    """Faults of one mode that differ in some arguments.

    Attributes:
        mode: the name of the mode.
        fixed: the arguments that all of them have.
        ranges: the values of the other arguments.
    """

    mode: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    ranges: Mapping[str, Range] = field(default_factory=dict)

    def made(self, drawn: Mapping[str, Any]) -> Fault:
        """The fault with these values."""
        return modes()[self.mode].function(**self.fixed, **drawn)

    @property
    def extreme(self) -> Fault:
        """The fault with the largest of all values."""
        return self.made({name: largest(values) for name, values in self.ranges.items()})

    @property
    def is_immediate(self) -> bool:
        """Whether no trigger delays a break."""
        return not {name for name in (*self.fixed, *self.ranges) if name.startswith("after_") or name == "on"}

    def up_to(self, high: int, name: str) -> Shape:
        """The same shape, with whole numbers of this argument up to another one."""
        values = self.ranges[name]
        assert isinstance(values, Whole)
        return replace(self, ranges={**self.ranges, name: Whole(values.low, high)})


Shapes: TypeAlias = tuple[Shape, ...]  # those of the parts of one fault


@dataclass(frozen=True)
class Use:
    """What the faults are for.

    Attributes:
        can: the capabilities of the server.
        points: where a break may strike.
        http: whether the conversation is in HTTP, whose answers can be wrong.
        script: the script that each fault is combined with.
        answer: the answer of the server to a request.
        stalls: how long silences last, in seconds.
        most_bytes: the most bytes that pass before a break.
    """

    can: Capabilities
    points: tuple[Point, ...]
    http: bool
    script: Fault | None
    answer: Fault | None
    stalls: tuple[float, ...]
    most_bytes: int

    def joined(self, faults: list[Fault]) -> Fault:
        """The faults as one, with the script unless the conversation never comes to it.

        Raises:
            ConflictError: they do not go together.
        """
        whole = functools.reduce(operator.and_, faults)
        if self.script is None or (whole.break_ is not None and whole.break_.cuts_off("request")):
            return whole
        return self.script & whole

    def fits(self, *shapes: Shape) -> bool:
        """Whether the server plays the largest faults of these shapes as one, and starts with it on this machine."""
        from faultline._core.certificates import Terms
        from faultline._engine.feasible import check_feasible, checked_answer

        try:
            whole = self.joined([shape.extreme for shape in shapes])
            if not self.can.plays(whole):
                return False
            default = checked_answer(self.answer) if self.can.talk == "http1" else None
            check_feasible((whole,), "127.0.0.1", Terms(), default)
        except FaultlineError:
            return False
        return True

    def fitted(self, shape: Shape) -> Shape | None:
        """The shape with the largest numbers that the server plays; `None` if it plays none of these faults."""
        for name, values in shape.ranges.items():
            if isinstance(values, Whole) and not self.fits(shape):
                shape = self.lowered(shape, name, range(values.low, values.high))
        return shape if self.fits(shape) else None

    def lowered(self, shape: Shape, name: str, numbers: range) -> Shape:
        """The shape with the largest of these numbers that the server plays, or with the smallest."""
        refused = bisect.bisect(numbers, False, key=lambda high: not self.fits(shape.up_to(high, name)))
        return shape.up_to(numbers[max(refused - 1, 0)], name) if numbers else shape


def use_of(
    *,
    point: Point | tuple[Point, ...] | None,
    http: bool | None,
    server: Starter,
    tls: bool,
    script: Fault | None,
    answer: Fault | None,
    timeout_seconds: float | None,
    max_bytes: int,
) -> Use:
    """The use that the parameters of a strategy describe.

    Raises:
        ParameterError: a value is out of its range.
    """
    choice("server", server, get_args(Starter))
    if (server, tls) not in KINDS:
        raise rejected("tls", tls, f"tls=False with server={server!r}, which speaks no TLS")
    points = POINTS if point is None else point if isinstance(point, tuple) else (point,)
    for each in points:
        choice("point", each, POINTS)
    if script is not None and (not isinstance(script, Fault) or script.script is None):
        raise rejected("script", script, "a script(…)")
    for name, given in (("script", script), ("answer", answer)):
        if given is not None and server != "serve":
            raise rejected(name, given, f"no {name} with server={server!r}, which has no {name} of its own")
    from faultline._engine.feasible import checked_answer

    checked_answer(answer)
    speaks_http = http if http is not None else server in ("serve", "http_proxy") and script is None
    stalls = (PAUSE_SECONDS,) if timeout_seconds is None else (PAUSE_SECONDS, 2 * timeout_seconds)
    return Use(KINDS[server, tls], points, speaks_http, script, answer, stalls, max_bytes)


# --- the shapes of breaks --------------------------------------------------------------------------------------------


def breaks(use: Use, verbs: tuple[Verb | Fault, ...]) -> list[Shape]:
    """The shapes of breaks with these verbs: first those of the simplest verb."""
    found = sorted(((*named(verb), isinstance(verb, str)) for verb in verbs), key=lambda verb: VERBS.index(verb[0]))
    shapes = [
        shape
        for name, given, is_name in found
        for shape in of_verb(name, given, hows(name, use) if is_name else {}, use)
    ]
    fitted = [use.fitted(shape) for shape in shapes]
    return [shape for shape in fitted if shape and (brk := shape.extreme.break_) and brk.at in use.points]


def named(verb: object) -> tuple[Verb, dict[str, Any]]:
    """The name of a verb, and the arguments that the faults have if a fault stands for it.

    Raises:
        ParameterError: the value is no verb, or has a place of its own.
    """
    if not isinstance(verb, Fault):
        choice("verbs", verb, VERBS)
        return verb, {}  # type: ignore[return-value] # which was checked
    label = verb.said[0]
    given = dict(label.arguments)
    if len(verb.said) != 1 or label.mode not in VERBS or not {*given} <= {*OWN}:
        raise rejected("verbs", verb, "names such as 'reset', or faults without at, such as stall(for_seconds=1)")
    return label.mode, given


OTHER_WAYS: dict[str, dict[str, Any]] = {"reset": {"fin_first": True}, "close": {"close_notify": False}}
OWN = ("for_seconds", "fin_first", "close_notify", "data")  # arguments of verbs that say how, and not where


def of_verb(name: Verb, given: Mapping[str, Any], how: Mapping[str, Range], use: Use) -> Iterator[Shape]:
    """The shapes of one verb, the simplest first."""
    if name in AT_THE_DOOR:
        yield Shape(name, given, how)
        return
    for at in sorted(OPEN_POINTS, key=lambda at: at != "response"):
        place = {} if at == "response" else {"at": at}
        yield Shape(name, {**given, **place}, how)
        for trigger, values in triggers(at, use).items():
            yield Shape(name, {**given, **place}, {**how, trigger: values})
        if use.http and FACTS[at].is_exchange:
            yield Shape(name, {**given, "at": at, "on": b"\r\n\r\n"}, how)
    if name in OTHER_WAYS and not given:
        yield Shape(name, OTHER_WAYS[name], how)


def hows(name: Verb, use: Use) -> dict[str, Range]:
    """The arguments that say how a verb breaks the conversation."""
    if name == "inject":
        return {"data": Data(DATA_BYTES)}
    return {"for_seconds": OneOf(use.stalls)} if name in ("stall", "blackhole", "partition") else {}


def triggers(at: Point, use: Use) -> dict[str, Range]:
    """The triggers of breaks at a point, with their values."""
    found: dict[str, Range] = {}
    if FACTS[at].counts_bytes and use.most_bytes:
        found["after_bytes"] = Whole(1, use.most_bytes)
    if FACTS[at].hears:
        found["after_messages"] = Whole(0, MESSAGES)
    if FACTS[at].is_exchange and use.http:
        found["after_body_bytes"] = Whole(0, use.most_bytes)
    if FACTS[at].of in ("exchange", "idle") and use.http:
        found["after_requests"] = Whole(1, REQUESTS)
    if at == "idle":
        found["after_seconds"] = OneOf((PAUSE_SECONDS,))
    return found


# --- the shapes of other parts ---------------------------------------------------------------------------------------


def answers(use: Use) -> list[Shape]:
    """The shapes of wrong answers."""
    kinds = tuple(kind for kind in get_args(Kind) if kind not in LARGE)
    shapes = [Shape("status", ranges={"code": OneOf(CODES)})]
    shapes += [Shape("malformed", {"kind": kind}) for kind in kinds]
    shapes.append(Shape("raw", ranges={"data": Data(DATA_BYTES)}))
    wanted = use.http and "response" in use.points
    return [shape for shape in shapes if wanted and use.fits(shape)]


def certificates(use: Use) -> list[Shape]:
    """The shapes of bad certificates."""
    kinds = [kind for kind in get_args(Defect) if kind not in UNCERTAIN]
    shapes = [Shape("bad_cert", {"kind": kind}) for kind in kinds if "handshake" in use.points]
    return [shape for shape in shapes if use.fits(shape)]


def conditions(use: Use) -> list[Shape]:
    """The shapes of conditions."""
    short, place = OneOf((0.01, PAUSE_SECONDS)), Whole(0, use.most_bytes)
    shapes = [
        Shape("latency", {}, {"seconds": short}),
        Shape("slicer", {}, {"average_bytes": Whole(1, 16)}),
        Shape("drip", {"every_seconds": 0.001}, {"chunk_bytes": Whole(4, 16)}),
        Shape("throttle", {}, {"bytes_per_second": OneOf((10_000, 2_000))}),
        Shape("slow_close", {}, {"seconds": short}),
        Shape("trickle_headers", {"every_seconds": 0.01}, {"lines": Whole(1, 3)}),
        Shape("corrupt", {}, {"at_byte": place}),
        Shape("drop_bytes", {}, {"count_bytes": Whole(1, 4), "at_byte": place}),
        Shape("duplicate", {}, {"count_bytes": Whole(1, 4), "at_byte": place}),
    ]
    shapes += [replace(s, fixed={**s.fixed, "direction": "request"}) for s in shapes if s.mode != "trickle_headers"]
    if not use.http:
        shapes = [shape for shape in shapes if shape.mode != "trickle_headers"]
    return [shape for shape in shapes if use.fits(shape)]


def grouped(use: Use, verbs: tuple[Verb | Fault, ...], *, with_conditions: bool) -> list[list[Shapes]]:
    """The shapes of faults in groups, one for each mode, and those of two parts in the last groups."""
    single = [*breaks(use, verbs), *answers(use), *certificates(use)]
    groups: list[list[Shapes]] = [[*group] for _, group in itertools.groupby(((s,) for s in single), _mode)]
    if not single:
        return []
    at_once = [shape for shape in single if shape.is_immediate]
    groups.append(pairs([shape for shape in single if shape.mode in VERBS], answers(use)[:1], use))
    if with_conditions:
        groups.append(pairs(at_once, conditions(use), use))
    return [group for group in groups if group]


def _mode(shapes: Shapes) -> str:
    return shapes[0].mode


def pairs(first: list[Shape], second: list[Shape], use: Use) -> list[Shapes]:
    """The pairs of shapes that make one fault."""
    return [(one, other) for one in first for other in second if use.fits(one, other)]
