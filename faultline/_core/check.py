"""Checks of parameters, all with a message of the form `name=value: expected …`.

The check follows from the name and the type of the parameter, so that the signature of a new mode is enough: `*_bytes`
is a whole number of bytes, `*_seconds` a duration, a `Literal` is its choices.
"""

from __future__ import annotations

import datetime
import difflib
import functools
import math
import os
import re
import sys
import types
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, Union, get_args, get_origin

from faultline._core.errors import FaultlineWarning, ParameterError
from faultline._core.words import CHOICES, UNITS, listed, meant

if TYPE_CHECKING:
    from collections.abc import Iterable


# A delay of this length is no realistic one; what lasts, or waits for a condition, may take longer.
LONGEST_DELAY_SECONDS = 99
LONGEST_SECONDS = 300
LASTING = ("for_", "after_", "timeout_", "until_")


def rejected(name: str, value: object, expected: str) -> ParameterError:
    """The error of a bad value, in the form of all such errors."""
    text = value.__name__ if isinstance(value, types.FunctionType) else repr(value)
    return ParameterError(f"{name}={text}: expected {expected}.")


def nearest(word: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?` for a typing error; empty if no known word is near."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def whole(name: str, value: object, unit: str, low: int = 0, high: int | None = None) -> int:
    """Check that a value is a whole number within bounds; `True` is no number.

    Raises:
        ParameterError: the value is no whole number, or is out of bounds.
    """
    good = isinstance(value, int) and not isinstance(value, bool) and value >= low
    if not isinstance(value, int) or not good or (high is not None and value > high):
        limit = f"{low} or more" if high is None else f"from {low} to {high}"
        meant = number_of(value)
        fits = meant is not None and meant >= low and (high is None or meant <= high)
        raise rejected(name, value, f"a whole number{unit}, {limit}{f'; write {meant}' if fits else ''}")
    return value


def number_of(value: object) -> int | None:
    """The whole number that is written as text, as a float or as bytes; `None` if the value is no such number."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    return int(text) if isinstance(text, str) and re.fullmatch(r" *[0-9]{1,19} *", text) else None


def seconds(name: str, value: object) -> float:
    """Check that a value is a finite duration of 0 seconds or more.

    Raises:
        ParameterError: the value is no number, or is negative or infinite.
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    try:
        if isinstance(value, (int, float)) and number and math.isfinite(value) and value >= 0:
            warn_of_milliseconds(name, value)
            return float(value)
    except OverflowError:  # a whole number beyond every float
        pass
    raise ParameterError(f"{name}={value!r}: expected a number of seconds, 0 or more{instead(value)}.")


def instead(value: object) -> str:
    """`; write 0.05` for a duration that is written as text, such as `0.05` or `50ms`, or as a timedelta."""
    if isinstance(value, datetime.timedelta):
        return f"; write {value.total_seconds():g}"
    meant = measured(value, "seconds") if isinstance(value, str) else ""
    return f"; write {meant}" if meant else ""


def measured(text: str, unit: str) -> str:
    """The number of a text such as `50ms`, `10 kB` or `0.5` in the unit `seconds` or `bytes`; empty if it has none."""
    match = re.fullmatch(r"\s*([0-9.]+)\s*([a-z]*)\s*", text.lower())
    own, factor = UNITS.get(match[2] or unit, ("", 1)) if match else ("", 1)
    if match is None or own != unit or not is_number(match[1]):
        return ""
    number = round(float(match[1]) * factor, 9)
    return f"{number:.12g}" if unit == "seconds" or number.is_integer() else ""


def is_number(text: str) -> bool:
    """Whether a text is a number."""
    return re.fullmatch(r"\d+\.?\d*|\.\d+", text) is not None


def warn_of_milliseconds(name: str, value: float) -> None:
    """Warn of a duration that is longer than any that a test waits for."""
    lasts = name.startswith(LASTING)
    if value > (LONGEST_SECONDS if lasts else LONGEST_DELAY_SECONDS):
        told = f"expected seconds, and this is {value / 60:.1f} minutes; write {value / 1000:g} for milliseconds"
        warnings.warn(f"{name}={value!r}: {told}.", FaultlineWarning, stacklevel=outside())


def outside() -> int:
    """The `stacklevel` of a warning that shows the line that called faultline."""
    level, frame = 1, sys._getframe(1)  # noqa: SLF001 - the documented way without the cost of inspect.stack()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "faultline":
        level, frame = level + 1, frame.f_back
    return level


def choice(name: str, value: object, choices: tuple[Any, ...]) -> None:
    """Check that a value is one of the choices.

    Raises:
        ParameterError: the value is not among the choices.
    """
    if value not in choices:
        words = ", ".join(repr(c) for c in choices)
        text = "none" if value is None else value
        found = meant(text, [c for c in choices if isinstance(c, str)], CHOICES) if isinstance(text, str) else []
        hint = f" Did you mean {listed(map(repr, found))}?" if found else ""
        raise ParameterError(f"{name}={value!r}: expected one of {words}.{hint}")


@functools.cache  # for each argument of a mode
def plain(annotation: Any) -> tuple[Any, bool]:
    """The type without `Annotated` and `| None`, and whether `None` is allowed."""
    if get_origin(annotation) is Annotated:
        return plain(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        members = [a for a in get_args(annotation) if a is not type(None)]
        optional = len(members) < len(get_args(annotation))
        if len(members) == 1:  # Python 3.10 puts an Optional around the Annotated of a parameter that defaults to None
            kind, inside = plain(members[0])
            return kind, optional or inside
        return annotation, optional
    return annotation, False


def fits(value: object, kind: type) -> bool:
    """Whether a value is of a type; a whole number is a float too, and `True` is no number."""
    if kind in (int, float):
        return isinstance(value, (int, kind)) and not isinstance(value, bool)
    return isinstance(value, kind)


def is_protocol(kind: type) -> bool:
    """Whether a type is a `Protocol`, so that the function itself has to check the value."""
    return Protocol in kind.__mro__


def flag(name: str, value: object) -> bool:
    """Check that a value is True or False.

    Raises:
        ParameterError: the value is neither True nor False.
    """
    if not isinstance(value, bool):
        raise rejected(name, value, "True or False")
    return value


def file_path(path: object, example: str) -> Path:
    """Check that a value is the path of a file.

    Raises:
        ParameterError: it is none.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise rejected("path", path, f"the path of a file, such as {example!r}")
    return Path(path)


def some_text(name: str, value: object, right: str = "") -> str:
    """Check that a value is text that UTF-8 can encode; `right` is what to write instead.

    Raises:
        ParameterError: it is not.
    """
    if not isinstance(value, str) or value.encode("utf-8", "ignore").decode() != value:
        raise rejected(name, value, f"text that UTF-8 can encode{right}")
    return value


def parameter(name: str, value: object, annotation: Any) -> None:
    """Check one argument of a mode by the name and the type of its parameter.

    Raises:
        ParameterError: the value is of another type, is not among the choices, or is out of bounds.
    """
    kind, optional = plain(annotation)
    if value is None and optional:
        return
    if get_origin(kind) is Literal:
        choice(name, value, get_args(kind))
    elif name.endswith("_bytes"):
        whole(name, value, " of bytes")
    elif name == "seconds" or name.endswith("_seconds"):
        seconds(name, value)
    elif isinstance(kind, type) and get_origin(kind) is None and not is_protocol(kind) and not fits(value, kind):
        wanted = kind.__name__ if kind.__module__ == "builtins" else f"a {kind.__name__}()"
        raise rejected(name, value, f"{wanted}, not {type(value).__name__}")
