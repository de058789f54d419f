"""The calls that a user means by a value that is no plan, or no step of a script."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from faultline._core.frames import OfWebSocket
from faultline._core.said import abbreviated
from faultline._core.spoken import Spoken
from faultline._core.words import MODE_NAMES, MODES, meant


def hint_of_plan(value: object) -> str:
    """`; write …`, if the plan is known that a user means by a value of another type."""
    right = next((text for kind, call in PLANS if isinstance(value, kind) and (text := call(value))), "")
    return f"; write {right}" if right else ""


def hint_of_step(value: object) -> str:
    """`; write …`, if the step is known that a user means by a value of another type."""
    right = next((text for kind, call in STEPS if isinstance(value, kind) and (text := call(value))), "")
    return f"; write {right}" if right else ""


def of_faults(value: Any) -> str:
    """A sequence of the faults in a collection, or the one fault in it."""
    entries = [*value.values()] if isinstance(value, dict) else [*value]
    calls = [hint_of_plan(entry).removeprefix("; write ") or repr(entry) for entry in entries]
    return calls[0] if len(calls) == 1 else f"sequence({', '.join(calls)})" * bool(calls)


def of_status(value: int) -> str:
    """The answer with a status code."""
    return f"status({value:d})" * (200 <= value <= 999)  # noqa: PLR2004 - the range of status codes


def of_name(value: str) -> str:
    """The mode that a word means, whether it is written as a call or not."""
    found = meant(value.partition("(")[0], MODE_NAMES, MODES)
    return f"{found[0]}()" if found else ""


def of_error(value: type) -> str:
    """The mode that raises an exception in the client."""
    return of_name(value.__name__) if issubclass(value, BaseException) else ""


def of_function(value: Any) -> str:
    """A call of a mode, or of another function of scripts."""
    name = getattr(value, "__name__", "")
    return f"{name}()" * (name in MODE_NAMES)


def of_steps(value: Any) -> str:
    """The steps in a collection, without its brackets."""
    calls = [hint_of_step(entry).removeprefix("; write ") or repr(entry) for entry in value]
    return ", ".join(calls) + " without brackets" * bool(calls)


def of_step_function(value: Any) -> str:
    """A call of a step or a mode."""
    name = getattr(value, "__name__", "<")
    return f"{name}(…)" * (callable(value) and "<" not in name)


PLANS: tuple[tuple[Any, Callable[[Any], str]], ...] = (
    ((list, tuple, set, frozenset, dict), of_faults),
    (bool, lambda _: ""),
    (int, of_status),
    (bytes, lambda value: f"ok({abbreviated(value)})"),
    (str, of_name),
    (type, of_error),
    (OfWebSocket, lambda value: f"websocket({value!r})"),
    (Spoken, lambda value: f"script({value!r})"),
    (object, of_function),
)
STEPS: tuple[tuple[Any, Callable[[Any], str]], ...] = (
    ((list, tuple), of_steps),
    (bytes, lambda value: f"send({abbreviated(value)})"),
    (str, lambda value: f"send({abbreviated(value.encode('utf-8', 'replace'))})"),
    (object, of_step_function),
)
