"""The types of toxics: the attributes of each, and what a toxic does to the bytes of a link.

Rules: `TYPES` is the only list of types. Attributes have the units of toxiproxy; what `stages_of` returns has ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from faultline._core.conditions import Condition, Direction, Latency, Throttle
from faultline._core.errors import ConflictError, FaultlineError, FaultlineWarning
from faultline._core.fault import Fault
from faultline._core.plan import HEALTHY, Plan, Sequence, Sometimes, sometimes
from faultline._core.said import Said
from faultline._front.control.errors import invalid_stream, invalid_type, not_accepted
from faultline._front.control.fields import Fields

Stream: TypeAlias = Literal["upstream", "downstream"]
Value: TypeAlias = int | float | str
STREAMS: dict[Stream, Direction] = {"upstream": "request", "downstream": "response"}
KILOBYTE = 1000


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
            ApiError: a value is of another type.
        """
        attributes = Fields(given.get("attributes", dict), "attributes")
        merged = dict(self.attributes)
        for name, kind in TYPES[self.type].attributes.items():
            if (value := attributes.get(name, kind)) is not None:
                merged[name] = value
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
        raise invalid_type()
    empty = {name: of() for name, of in TYPES[kind].attributes.items()}
    return Toxic(kind, known, name or f"{kind}_{known}", attributes=empty).changed(given)


# --- what they do ----------------------------------------------------------------------------------------------------


def latency(toxic: Toxic) -> tuple[Condition, ...]:
    """Each chunk leaves later."""
    seconds, jitter = (max(0, int(toxic.attributes[name])) / 1000 for name in ("latency", "jitter"))
    return (Latency(seconds, jitter, direction=STREAMS[toxic.stream]),)


def bandwidth(toxic: Toxic) -> tuple[Condition, ...]:
    """Bytes pass at a rate."""
    rate = max(1, int(toxic.attributes["rate"]) * KILOBYTE)
    return (Throttle(bytes_per_second=rate, direction=STREAMS[toxic.stream]),)


def nothing(_: Toxic) -> tuple[Condition, ...]:
    """All bytes pass as they are."""
    return ()


@dataclass(frozen=True)
class Kind:
    """A type of toxics.

    Attributes:
        attributes: the type of each attribute, whose default is the empty value of that type.
        stages: the conditions that a toxic consists of.
    """

    attributes: Mapping[str, type[Value]] = field(default_factory=dict)
    stages: Callable[[Toxic], tuple[Condition, ...]] = nothing


TYPES: dict[str, Kind] = {
    "latency": Kind({"latency": int, "jitter": int}, latency),
    "bandwidth": Kind({"rate": int}, bandwidth),
    "slow_close": Kind({"delay": int}),
    "timeout": Kind({"timeout": int}),
    "reset_peer": Kind({"timeout": int}),
    "slicer": Kind({"average_size": int, "size_variation": int, "delay": int}),
    "limit_data": Kind({"bytes": int}),
    "packet_loss": Kind({"loss_rate": float, "correlation": float}),
    "noop": Kind(),
    "fault": Kind({"plan": str}),
}


def stages_of(toxic: Toxic) -> Fault:
    """What a toxic does to the bytes of its link, as conditions."""
    conditions = TYPES[toxic.type].stages(toxic)
    given = tuple(toxic.attributes.items())
    return Fault(conditions=conditions, said=(Said(toxic.type, given),) if conditions else ())


def plan_of(toxics: Iterable[Toxic]) -> Plan:
    """What clients of a proxy with these toxics meet: the plan of its toxic `fault`, under the stages of the others.

    Raises:
        ApiError: there are two toxics of the type `fault`, or a text is no plan.
    """
    plan: Plan = HEALTHY
    stages = Fault()
    for toxic in toxics:
        if toxic.type != "fault":
            stages = both(stages, stages_of(toxic))
        elif plan is not HEALTHY:
            raise not_accepted(f"toxic {toxic.name!r}: expected one toxic of the type fault for a proxy.")
        else:
            plan = planned(toxic)
    return under(stages, plan)


def planned(toxic: Toxic) -> Plan:
    """The plan of a toxic of the type `fault`, for a part of the connections if its toxicity is less than 1.

    Raises:
        ApiError: the text is no plan, or is a plan of several faults with a toxicity.
    """
    from faultline._front.written import plan

    try:
        found = plan(str(toxic.attributes["plan"]))
    except (FaultlineError, FaultlineWarning) as error:  # a warning where warnings are errors
        raise not_accepted(error) from None
    if toxic.toxicity >= 1:
        return found
    if not isinstance(found, Fault):
        raise not_accepted(f"toxicity={toxic.toxicity:g}: expected 1 with a plan of several faults; use sometimes(…).")
    return sometimes(max(0.0, toxic.toxicity), found, per="connection")


def both(one: Fault, other: Fault) -> Fault:
    """Two faults in one.

    Raises:
        ApiError: they can't both happen.
    """
    try:
        return one & other
    except ConflictError as error:
        raise not_accepted(error) from None


def under(stages: Fault, plan: Plan) -> Plan:
    """A plan whose every fault has these stages too, if its conversation comes to them."""
    if not stages.conditions:
        return plan
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
