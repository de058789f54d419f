"""The error of a call that does not fit a signature: the function, the parameter that is meant, and the call to write.

Rules: nothing here runs unless a call has failed.
"""

from __future__ import annotations

import functools
import inspect
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace, UnionType
from typing import Any, Literal, NamedTuple, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from faultline._core.check import is_number, is_protocol, parameter, plain
from faultline._core.errors import CallError, ParameterError
from faultline._core.said import abbreviated
from faultline._core.words import CHOICES, PARAMETERS, SECONDS, UNITS, listed, meant, plain_word

F = TypeVar("F", bound=Callable[..., Any])
Signature = inspect.Signature
NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
# The text of an argument that is missing, by the name of its parameter; a mode's first case has the others.
EXAMPLES = {
    "plan": "reset()",
    "upstream": "'127.0.0.1:5432'",
    "url": "'https://api.example.com'",
    "name": "'api.example.com'",
    "count": "1",
    "count_bytes": "5",
    "marker": r"b'\r\n'",
    "data": "b'hello'",
    "probability": "0.3",
    "fault": "reset()",
    "condition": "lambda request: request.method == 'POST'",
    "expected": "ConnectionResetError",
    "error": "error",
    "monkeypatch": "monkeypatch",
    "timeout_seconds": "10",
}


class Guess(NamedTuple):
    """An argument that a user may have meant."""

    name: str
    value: Any

    def __str__(self) -> str:
        return f"{self.name}={abbreviated(self.value)}"


def explained(function: F) -> F:
    """Decorate a public function, so that a call that does not fit its signature raises `CallError`."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except CallError:  # of a call within
            raise
        except TypeError:
            if fits(function, args, kwargs):
                raise
        raise misfit(function, args, kwargs)

    return cast("F", call)


signature_of = functools.cache(inspect.signature)  # of the functions of this package


def fits(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call fits the signature of a function."""
    try:
        signature_of(function).bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def misfit(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], example: str = ""
) -> CallError:
    """The error of a call that does not fit the signature.

    Args:
        function: the function that was called.
        args: the arguments without names.
        kwargs: the arguments with names.
        example: a right call, for a function whose arguments are all missing.
    """
    return Misfit(function, signature_of(function), args, dict(kwargs), example).error()


class Misfit:
    """A call that does not fit its signature."""

    def __init__(
        self,
        function: Callable[..., Any],
        signature: Signature,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        example: str,
    ) -> None:
        self._name = function.__name__
        self._hints = hints_of(function)
        self._parameters = {name: p for name, p in signature.parameters.items() if name not in ("self", "cls")}
        self._example = example
        places = [p for p in self._parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        takes_all = any(p.kind is p.VAR_POSITIONAL for p in self._parameters.values())
        own = args[1:] if len(self._parameters) < len(signature.parameters) else args  # without the object of a method
        count = len(own) if takes_all else len(places)
        self._args, self._surplus = own[:count], own[count:]
        self._filled = {p.name for p, _ in zip(places, self._args, strict=False)}
        self._known = {n: v for n, v in kwargs.items() if n in self._parameters and n not in self._filled}
        self._twice = {n: v for n, v in kwargs.items() if n in self._filled}
        self._unknown = {n: v for n, v in kwargs.items() if n not in self._parameters}
        self._given = written(own, kwargs)

    def error(self) -> CallError:
        """The error, with every mistake of the call."""
        fixed, told, certain, takes = dict(self._known), [f"{name} once" for name in self._twice], True, ""
        wrong = [("", value) for value in self._surplus] + [*self._unknown.items()]
        for name, value in wrong:
            guesses = self._by_name(name, value) if name else self._by_value(value)
            guesses = [guess for guess in guesses if guess.name not in (*fixed, *self._filled)]
            told.append(self._told(name, value, guesses))
            if self._parameters and not guesses:
                certain, takes = False, f"; {self._name} takes {self._names()}"
            fixed.update(guesses[:1])
        lacking = self._lacking(fixed) if certain else []
        told += [f"{name}, which has no default" for name in lacking]
        right = self._example if lacking and not (self._args or fixed) else ""
        right = right or f"{self._name}({written(self._args, fixed, {n: EXAMPLES.get(n, '…') for n in lacking})})"
        advice = f"; write {right}." if certain else f"{takes}."
        return CallError(f"{self._name}({self._given}): expected {' and '.join(told)}{advice}")

    def _told(self, name: str, value: object, guesses: list[Guess]) -> str:
        """The expectation instead of one wrong argument; `name` is empty for an argument without a name."""
        if not self._parameters:
            return "no arguments"
        if not guesses:
            return f"no {name}" if name else f"no argument {abbreviated(value)} without a name"
        return f"{listed(map(str, guesses))}, not {name}" if name else f"{guesses[0]}, with its name"

    def _names(self) -> str:
        """The names of the parameters, for a message."""
        return listed([n for n, p in self._parameters.items() if p.kind in NAMED] or ["values without names"], "and")

    def _lacking(self, fixed: Mapping[str, Any]) -> list[str]:
        """The parameters without a default that the call leaves out."""
        required = [p.name for p in self._parameters.values() if p.default is p.empty and p.kind in NAMED]
        return [name for name in required if name not in (*fixed, *self._filled)]

    def _fits(self, name: str, value: object) -> bool:
        """Whether a parameter can have a value."""
        hint = self._hints.get(name, Any)
        kind, _ = plain(hint)
        if kind is Any:
            return True
        if get_origin(kind) in (Union, UnionType):
            return any(is_member(value, member) for member in get_args(kind))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a value that nobody has given this name
                parameter(name, value, hint)
        except ParameterError:
            return False
        return value is not None

    def _by_value(self, value: object) -> list[Guess]:
        """The parameters that can have a value without a name, the likeliest first."""
        free = [n for n, p in self._parameters.items() if p.kind in NAMED and n not in (*self._filled, *self._known)]
        fitting = [name for name in free if self._fits(name, value)]
        return [Guess(name, value) for name in sorted(fitting, key=lambda name: self._rank(name, value))]

    def _rank(self, name: str, value: object) -> int:
        """The rank of a parameter for a value: choices, how long a fault lasts, then by its unit.

        A whole number is bytes before it is a time, and any other number a time before it is bytes.

        How long a condition lasts is the last that anybody means.
        """
        if get_origin(plain(self._hints.get(name, Any))[0]) is Literal:
            return 0
        if name == "for_seconds" and "direction" in self._parameters:
            return 5
        if name in ("seconds", "for_seconds", "timeout_seconds"):
            return 1
        unit = next((unit for unit in ("bytes", "seconds") if name.endswith(f"_{unit}")), "")
        return 2 + (("bytes", "", "seconds") if isinstance(value, int) else ("seconds", "", "bytes")).index(unit)

    def _by_name(self, name: str, value: object) -> list[Guess]:
        """The arguments that a wrong name can stand for, the likeliest first."""
        free = [n for n, p in self._parameters.items() if p.kind in NAMED]
        if guesses := self._by_unit(plain_word(name), value, free):
            return guesses
        others = [n for n in PARAMETERS.get(plain_word(name), ()) if n in free]
        near = [n for n in free if plain_word(name) in n.split("_")]
        names = dict.fromkeys([*others[:1], *near, *meant(name, free, {})])
        fitting = [n for n in names if self._fits(n, value)] or [*names][:1]
        fitting = fitting or [n for n in self._lacking(self._known) if self._fits(n, value)][:1]
        return [Guess(n, value) for n in fitting]

    def _by_unit(self, word: str, value: object, free: list[str]) -> list[Guess]:
        """The argument that a name with a unit stands for, such as `ms` or `after_kb`."""
        stem, _, last = word.rpartition("_")
        if last not in UNITS or isinstance(value, bool) or not isinstance(value, (int, float)):
            return []
        unit, factor = UNITS[last]
        measured = [n for n in free if n == unit or n.endswith(f"_{unit}") or n.startswith(f"{unit}_per_")]
        stemmed = [n for n in measured if stem and n.startswith(f"{stem}_")]
        usual = [n for n in (*PARAMETERS.get(stem, ()), *SECONDS) if n in measured]
        try:
            number = value if factor == 1 else round(value * factor, 9)
            number = int(number) if unit == "bytes" else number
        except (OverflowError, ValueError):  # infinite, no number, or beyond every float
            return []
        return [Guess(name, number) for name in (*stemmed, *usual, *measured)[:1]]


def likeliest(function: Callable[..., Any], value: object, given: Iterable[str] = ()) -> str:
    """The parameter that a value without a name is most likely for; empty if no parameter is free for it.

    Args:
        function: the function.
        value: the value.
        given: the parameters that have a value already.
    """
    call = Misfit(function, signature_of(function), (), dict.fromkeys(given), "")
    return next((guess.name for guess in call._by_value(value)), "")  # noqa: SLF001 - a question of this module


def right_values(value: object, annotation: Any) -> list[Any]:
    """The values that a user may have meant by a value of a wrong type, or by a word that is no choice."""
    kind, _ = plain(annotation)
    members = get_args(kind)
    if get_origin(kind) is Literal:
        words = [m for m in members if isinstance(m, str)]
        if isinstance(value, int) and 0 <= value < len(words) and all(map(str.isupper, words)):
            return [words[value]]  # the name of a code: those in capitals are in the order of their numbers
        return list(meant(value if isinstance(value, str) else str(value), words, CHOICES)) if value else []
    if isinstance(value, str) and bytes in (kind, *members):
        return [value.encode("utf-8", "replace")]
    if isinstance(value, (bytes, bytearray)) and kind is str:
        return [value.decode("utf-8", "replace")]
    if isinstance(value, str) and kind in (int, float) and is_number(value.strip()):
        return [kind(value)] if kind is float or value.strip().isdecimal() else []
    return [int(value)] if isinstance(value, float) and kind is int and value.is_integer() else []


def advised(
    error: ParameterError, function: Callable[..., Any], arguments: Mapping[str, Any], name: str, hint: Any
) -> ParameterError:
    """The error of an argument, with the call to write if the value that was meant is known."""
    found = right_values(arguments[name], hint)
    if not found:
        return error
    positional = {n for n, p in inspect.signature(function).parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD}
    right = {**arguments, name: found[0]}
    plain_args = tuple(value for n, value in right.items() if n in positional)
    call = written(plain_args, {n: value for n, value in right.items() if n not in positional})
    text, write = re.sub(r"; write [0-9.]+\.$", ".", str(error)), f"rite {function.__name__}({call})."
    return type(error)(f"{text[:-1]}; w{write}" if text.endswith(".") else f"{text} W{write}")


def is_member(value: object, kind: Any) -> bool:
    """Whether a value is of a member of a union."""
    base = get_origin(kind) or kind
    if base is Literal:
        return value in get_args(kind)
    return isinstance(base, type) and not is_protocol(base) and isinstance(value, base)


@functools.cache
def hints_of(function: Callable[..., Any]) -> Mapping[str, Any]:
    """The types of the parameters; `Any` for a type that is known to type checkers only."""
    unknown: dict[str, Any] = {}
    own = inspect.unwrap(function)
    texts = {name: text for name, text in own.__annotations__.items() if name != "return"}
    holder, names = SimpleNamespace(__annotations__=texts), getattr(own, "__globals__", {})
    while True:
        try:
            return get_type_hints(holder, names, unknown, include_extras=True)
        except NameError as error:
            unknown[str(error.name)] = Any


def written(args: tuple[Any, ...], kwargs: Mapping[str, Any], texts: Mapping[str, str] | None = None) -> str:
    """Arguments as they are written in a call."""
    named = [f"{name}={abbreviated(value)}" for name, value in kwargs.items()]
    return ", ".join([*map(abbreviated, args), *named, *(f"{n}={text}" for n, text in (texts or {}).items())])
