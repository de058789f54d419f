"""The fields of a JSON body, read as leniently as Go's encoding/json: case doesn't matter, and null is as if absent."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from faultline._core.said import abbreviated
from faultline._front.control.errors import bad_body

T = TypeVar("T")
SPACE = " \t\r\n"
NO_NUMBER = "is no number"
LARGEST = 1 << 63  # a number of Go's int64 is below
NAMES: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    dict: "an object",
}


def decoded(body: bytes) -> Any:
    """The first JSON value of a body; what follows is ignored.

    Raises:
        ApiError: there is no JSON value.
    """
    text = body.decode("utf-8", "replace").lstrip(SPACE)
    if not text:
        raise bad_body("EOF")
    try:
        return DECODER.raw_decode(text)[0]
    except json.JSONDecodeError as error:
        if error.pos >= len(text.rstrip(SPACE)):
            raise bad_body("unexpected EOF") from None
        raise bad_body(f"{error.msg} at character {error.pos + 1}") from None
    except (ValueError, RecursionError) as error:
        raise bad_body(reason_of(error)) from None


def reason_of(error: Exception) -> str:
    """What is wrong with JSON that Python can't hold: brackets without end, or a number that is none or too long."""
    if isinstance(error, RecursionError):
        return "expected fewer brackets open at once"
    return str(error) if str(error).endswith(NO_NUMBER) else "expected a number with fewer digits"


def no_number(name: str) -> float:
    """Refuse NaN and Infinity, which Python takes for numbers.

    Raises:
        ValueError: always.
    """
    raise ValueError(f"{name} {NO_NUMBER}")


DECODER = json.JSONDecoder(parse_constant=no_number)


class Fields:
    """The fields of one JSON object."""

    def __init__(self, value: Any, what: str) -> None:
        """Take the fields of a value; null has none.

        Raises:
            ApiError: the value is no object.
        """
        if value is not None and not isinstance(value, Mapping):
            raise bad_body(f"expected an object for {what}, not {abbreviated(value)}")
        self._what = what
        self._values = {name.lower(): each for name, each in (value or {}).items() if each is not None}

    def get(self, name: str, kind: type[T]) -> T | None:
        """The value of a field; `None` if it is absent.

        Raises:
            ApiError: the value is of another type.
        """
        value = self._values.get(name)
        if value is None:
            return None
        if not is_of(value, kind):
            raise bad_body(f"expected {NAMES[kind]} for {self._what}.{name}, not {abbreviated(value)}")
        if isinstance(value, str):  # half a surrogate pair, which JSON can write and no other text can hold
            value = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return cast("T", value)


def is_of(value: Any, kind: type) -> bool:
    """Whether a value of JSON is of a type; 1.0 is no whole number, and true is no number at all."""
    if kind in (int, float):
        is_number = isinstance(value, (int, kind)) and not isinstance(value, bool)
        return is_number and -LARGEST <= value < LARGEST and not math.isnan(value)
    return isinstance(value, kind)
