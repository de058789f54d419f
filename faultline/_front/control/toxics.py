"""The types of toxics: the attributes of each, and what a toxic does to the bytes of a link.

Rules: `TYPES` is the only list of types. Attributes have the units of toxiproxy; what `stages_of` returns has ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias, cast

from faultline._core.conditions import Condition, Direction, Latency, Slicer, SlowClose, Throttle
from faultline._core.errors import ConflictError, FaultlineError, FaultlineWarning
from faultline._core.fault import Fault
from faultline._core.plan import HEALTHY, Dealt, Limited, Plan, Sequence, Sometimes, entries_of, per_of
from faultline._core.plan import faults_of as plan_faults
from faultline._core.planning import sometimes
from faultline._core.said import Said
from faultline._core.toxics import Held, LimitData, PacketLoss, ResetPeer, Timeout
from faultline._front.control.errors import ApiError, invalid_stream, invalid_type, not_accepted
from faultline._front.control.fields import Fields
from faultline._front.control.shapes import Shape, refusal_of

Stream: TypeAlias = Literal["upstream", "downstream"]
Value: TypeAlias = int | float | str
STREAMS: dict[Stream, Direction] = {"upstream": "request", "downstream": "response"}
OF_PYTHON = re.compile(
    r"; write '\w+' for a text, or hand an object over: plan\(text, \w+=\w+\)"
)  # what only a program in Python can do
KILOBYTE, MILLISECOND, MICROSECOND = 1000, 1e-3, 1e-6


@dataclass(frozen=True)
class Toxic:
    """One toxic of a proxy."""

    type: str
    stream: Stream
    name: str
    toxicity: float = 1.0
    attributes: Mapping[str, Value] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The toxic as data for JSON."""
        return {
            "attributes": dict(self.attributes),
            "name": self.name,
            "type": self.type,
            "stream": self.stream,
            "toxicity": int(self.toxicity) if self.toxicity in (0, 1) else self.toxicity,
        }

    def changed(self, given: Fields) -> Toxic:
        """The toxic with the attributes and the toxicity that are given.

        Raises:
            ApiError: a value is of another type, or below 0 where that means nothing.
        """
        attributes = Fields(given.get("attributes", dict), "attributes")
        merged = dict(self.attributes)
        for name, kind in TYPES[self.type].attributes.items():
            if (value := attributes.get(name, kind)) is not None:
                merged[name] = value
        for name in TYPES[self.type].not_negative:
            if cast("int", merged[name]) < 0:
                raise not_accepted(f"toxic {self.name!r}: attributes.{name}={merged[name]}: expected 0 or more.")
        toxicity = given.get("toxicity", float)
        return replace(self, attributes=merged, toxicity=self.toxicity if toxicity is None else float(toxicity))


def new_toxic(given: Fields) -> Toxic:
    """The toxic that a body describes.

    Raises:
        ApiError: the stream or the type is unknown, or a value is of another type.
    """
    kind, stream, name = given.get("type", str) or "", given.get("stream", str), given.get("name", str)
    flows: dict[str, Stream] = {"": "downstream", "upstream": "upstream", "downstream": "downstream"}
    known = flows.get((stream or "").lower())
    if known is None:
        raise invalid_stream()
    if kind not in TYPES:
        raise invalid_type(kind, TYPES)
    empty = {name: of() for name, of in TYPES[kind].attributes.items()}
    return Toxic(kind, known, name or f"{kind}_{known}", attributes=empty).changed(given)


# --- what they do ----------------------------------------------------------------------------------------------------


Make: TypeAlias = Callable[[Toxic], Condition]


def common(toxic: Toxic) -> dict[str, Any]:
    """What the conditions of all toxics have."""
    return {"direction": STREAMS[toxic.stream], "share": toxic.toxicity, "name": toxic.name}


def amount(toxic: Toxic, name: str, unit: float = 1.0) -> float:
    """An attribute in our unit; a negative number is nothing."""
    return max(0, float(toxic.attributes[name])) * unit


def count(toxic: Toxic, name: str, unit: int = 1, least: int = 0) -> int:
    """A whole number of bytes, or of bytes per second."""
    return max(least, int(toxic.attributes[name]) * unit)


def latency(toxic: Toxic) -> Condition:
    """Each chunk leaves later."""
    jitter = amount(toxic, "jitter", MILLISECOND)
    return Latency(amount(toxic, "latency", MILLISECOND), jitter, **common(toxic))


def bandwidth(toxic: Toxic) -> Condition:
    """Bytes pass at a rate; at a rate of 0 they wait."""
    rate = count(toxic, "rate", KILOBYTE)
    return Throttle(bytes_per_second=rate, **common(toxic)) if rate else Held(**common(toxic))


def slow_close(toxic: Toxic) -> Condition:
    """The end of the stream comes later."""
    return SlowClose(amount(toxic, "delay", MILLISECOND), **common(toxic))


def timeout(toxic: Toxic) -> Condition:
    """No byte passes, and after a time without any the connection is closed."""
    return Timeout(amount(toxic, "timeout", MILLISECOND), **common(toxic))


def reset_peer(toxic: Toxic) -> Condition:
    """A time after the first bytes the connection is reset."""
    return ResetPeer(amount(toxic, "timeout", MILLISECOND), **common(toxic))


def slicer(toxic: Toxic) -> Condition:
    """Bytes leave in small pieces."""
    average, variation = count(toxic, "average_size", least=1), count(toxic, "size_variation")
    every = amount(toxic, "delay", MICROSECOND)
    return Slicer(average_bytes=average, variation_bytes=variation, every_seconds=every, **common(toxic))


def limit_data(toxic: Toxic) -> Condition:
    """After a number of bytes the connection is closed."""
    return LimitData(count(toxic, "bytes"), **common(toxic))


def packet_loss(toxic: Toxic) -> Condition:
    """Whole chunks are lost."""
    return PacketLoss(min(1, amount(toxic, "loss_rate")), min(1, amount(toxic, "correlation")), **common(toxic))


@dataclass(frozen=True)
class Kind:
    """A type of toxics.

    Attributes:
        attributes: the type of each attribute, whose default is the empty value of that type.
        make: the condition that a toxic is; `None` if it changes no bytes.
        not_negative: the attributes that can't be below 0; a negative time, like a negative limit, is as 0.
    """

    attributes: Mapping[str, type[Value]] = field(default_factory=dict)
    make: Make | None = None
    not_negative: tuple[str, ...] = ()


TYPES: dict[str, Kind] = {
    "latency": Kind({"latency": int, "jitter": int}, latency),
    "bandwidth": Kind({"rate": int}, bandwidth, ("rate",)),
    "slow_close": Kind({"delay": int}, slow_close),
    "timeout": Kind({"timeout": int}, timeout),
    "reset_peer": Kind({"timeout": int}, reset_peer),
    "slicer": Kind(
        {"average_size": int, "size_variation": int, "delay": int}, slicer, ("average_size", "size_variation")
    ),
    "limit_data": Kind({"bytes": int}, limit_data),
    "packet_loss": Kind({"loss_rate": float, "correlation": float}, packet_loss),
    "noop": Kind(),
    "fault": Kind({"plan": str}),
}


def stages_of(toxic: Toxic) -> Fault:
    """What a toxic does to the bytes of its link, as a condition."""
    make = TYPES[toxic.type].make
    if make is None:
        return Fault()
    return Fault(conditions=(make(toxic),), said=(Said(toxic.type, tuple(toxic.attributes.items())),))


def plan_of(toxics: Iterable[Toxic], shape: Shape) -> Plan:
    """What clients of a proxy with these toxics meet: the plan of its toxic `fault`, under the stages of the others.

    Raises:
        ApiError: there are two toxics of the type `fault`, a text is no plan, or a proxy of this shape can't play it.
    """
    toxics = [*toxics]
    stages = Fault()
    for toxic in toxics:
        if toxic.type != "fault":
            stages &= checked(toxic, stages_of(toxic), shape)
    faults = faults_of(toxics)
    if len(faults) > 1:
        raise not_accepted(f"toxic {faults[1].name!r}: expected one toxic of the type fault for a proxy.")
    return under(stages, healthy_at_last(planned(faults[0], shape))) if faults else under(stages, HEALTHY)


def checked(toxic: Toxic, fault: Fault, shape: Shape) -> Fault:
    """The fault, if a proxy of this shape plays it.

    Raises:
        ApiError: it does not.
    """
    if why := refusal_of(fault, shape):
        raise wrong_plan(toxic, why) if toxic.type == "fault" else not_accepted(f"toxic {toxic.name!r}: {why}")
    return fault


def faults_of(toxics: Iterable[Toxic]) -> list[Toxic]:
    """The toxics of the type `fault`."""
    return [toxic for toxic in toxics if toxic.type == "fault"]


def healthy_at_last(plan: Plan) -> Plan:
    """The plan, with an entry for the conversations behind a door that is shut for a time, so that they have stages."""
    return replace(plan, plan=opened(plan.plan)) if isinstance(plan, Limited) else opened(plan)


def opened(plan: Dealt) -> Dealt:
    """A plan without a limit, as in `healthy_at_last`."""
    *_, last = entries = entries_of(plan)
    if not isinstance(last, Fault) or not last.opens_later or getattr(plan, "cycles", False):
        return plan
    return Sequence((*entries, HEALTHY), per=per_of(plan))


def planned(toxic: Toxic, shape: Shape) -> Plan:
    """The plan of a toxic of the type `fault`, for a part of the connections if its toxicity is less than 1.

    Raises:
        ApiError: the text is no plan, or a plan that the shape can't play, or of several faults with a toxicity.
    """
    from faultline._front.written import plan

    try:
        found = plan(str(toxic.attributes["plan"]))
    except (FaultlineError, FaultlineWarning) as error:  # a warning where warnings are errors
        raise wrong_plan(toxic, str(error)) from None
    for fault in plan_faults(found):
        checked(toxic, fault, shape)
    if toxic.toxicity >= 1:
        return found
    if not isinstance(found, Fault):
        why = f"toxicity={toxic.toxicity:g}: expected 1 with a plan of several faults; use sometimes(…)."
        raise not_accepted(f"toxic {toxic.name!r}: {why}")
    return sometimes(max(0.0, toxic.toxicity), found, per="attempt" if shape.kind == "dns" else "connection")


def wrong_plan(toxic: Toxic, why: str) -> ApiError:
    """The error of the attribute `plan`, whose reason is told in the words of the API."""
    told = OF_PYTHON.sub("", why.partition(" See `faultline")[0])
    place = "attributes." if told.startswith("plan=") else "attributes.plan: "
    return not_accepted(f"toxic {toxic.name!r}: {place}{told}")


def under(stages: Fault, plan: Plan) -> Plan:
    """A plan whose every fault has these stages too, if its conversation comes to them."""
    if not stages.conditions:
        return plan
    if isinstance(plan, Limited):
        return replace(plan, plan=under_entries(stages, plan.plan), beyond=of_fault(stages, plan.beyond))
    return under_entries(stages, plan)


def under_entries(stages: Fault, plan: Dealt) -> Dealt:
    """A plan without a limit, as in `under`."""
    if isinstance(plan, Sequence):
        return replace(plan, entries=tuple(of_entry(stages, entry) for entry in plan.entries))
    return of_entry(stages, plan)


def of_entry(stages: Fault, entry: Fault | Sometimes) -> Fault | Sometimes:
    """One entry of a plan with these stages, as in `under`."""
    if isinstance(entry, Sometimes):
        return replace(entry, fault=of_fault(stages, entry.fault), otherwise=of_fault(stages, entry.otherwise))
    return of_fault(stages, entry)


def of_fault(stages: Fault, fault: Fault) -> Fault:
    """One fault with these stages, as in `under`."""
    try:
        return stages & fault
    except ConflictError:  # such as refuse(), after which there are no bytes
        return fault
