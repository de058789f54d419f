"""What the type checker refuses of the values inside, checked by `mypy --strict` and never run."""

from __future__ import annotations

from faultline._core.breaks import Break
from faultline._core.points import OpenPoint, Point
from faultline._core.scripted import Script
from faultline._core.steps import Behind, NoName, NoRoute, Refuse, Repeat, Reset, Step, Twice, Vanish


def a_break_does_one_of_four_kinds_of_thing() -> tuple[Break, ...]:
    return (
        Break("response", (Reset(),)),
        Break("connect", Refuse()),
        Break("connect", Vanish()),
        Break("connect", NoRoute()),
        Break("lookup", NoName("nxdomain")),
        Break("response", Twice()),
        Break("response", Behind()),
    )


def what_no_open_connection_plays_is_no_step() -> Step:
    Break("connect", (Refuse(),))  # type: ignore[arg-type]
    Script((NoName("nxdomain"),))  # type: ignore[arg-type]
    Script((Repeat((Twice(),)),))  # type: ignore[arg-type]
    return Vanish()  # type: ignore[return-value]


def a_point_of_an_open_connection_is_a_point(at: OpenPoint) -> Point:
    return at


def a_point_is_none_of_an_open_connection(at: Point) -> OpenPoint:
    return at  # type: ignore[return-value]
