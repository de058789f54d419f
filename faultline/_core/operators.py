"""The errors of operators that faults and plans don't have, with the call to write instead."""

from __future__ import annotations

from typing import Any, NoReturn

from faultline._core.errors import CallError


def shown(value: object) -> str:
    """A value as it has to be written: a mode that was not called is called."""
    name = getattr(value, "__name__", "")
    return f"{name}()" if callable(value) and name else repr(value)


def said(value: object) -> str:
    """A value as it was written."""
    return shown(value).removesuffix("()") if callable(value) else repr(value)


def no_operator(left: object, sign: str, right: object, instead: str) -> CallError:
    """The error of an operator between a fault or a plan and another value."""
    return CallError(f"{said(left)} {sign} {said(right)}: expected {instead}.")


def either(left: object, right: object) -> CallError:
    """The error of `|`, which may mean one after the other, or one of the two."""
    one, other = shown(left), shown(right)
    calls = f"sequence({one}, {other}) for one after the other, or sometimes(0.5, {one}, otherwise={other})"
    return no_operator(left, "|", right, f"& or a plan; write {calls} for one of the two")


def both(left: object, right: object) -> CallError:
    """The error of `+`, which may mean one after the other, or both at once."""
    one, other = shown(left), shown(right)
    calls = f"sequence({one}, {other}) for one after the other, or {one} & {other}"
    return no_operator(left, "+", right, f"& or a plan; write {calls} for both in one attempt")


class Combined:
    """The operators of faults and plans: all but `&` of faults raise an error that says what to write."""

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002, FBT001 - as IPython calls it
        """Show the value by its `repr` in IPython and Hypothesis, which would show the fields of a dataclass."""
        printer.text(repr(self))

    def __and__(self, other: object) -> NoReturn:
        """Refuse `&`, which combines faults.

        Raises:
            CallError: always.
        """
        raise no_operator(self, "&", other, "two faults; write & between faults, inside sequence(…) and the like")

    def __rand__(self, other: object) -> NoReturn:
        """Refuse `&` behind a value that is no fault.

        Raises:
            CallError: always.
        """
        if hasattr(other, "__name__") and callable(other):
            raise no_operator(other, "&", self, f"a call; write {shown(other)} & {self!r}")
        raise no_operator(other, "&", self, "two faults; write & between faults, such as latency(0.1) & reset()")

    def __or__(self, other: object) -> NoReturn:
        """Refuse `|`.

        Raises:
            CallError: always.
        """
        raise either(self, other)

    def __ror__(self, other: object) -> NoReturn:
        """Refuse `|`.

        Raises:
            CallError: always.
        """
        raise either(other, self)

    def __add__(self, other: object) -> NoReturn:
        """Refuse `+`.

        Raises:
            CallError: always.
        """
        raise both(self, other)

    def __radd__(self, other: object) -> NoReturn:
        """Refuse `+`.

        Raises:
            CallError: always.
        """
        raise both(other, self)

    def __rshift__(self, other: object) -> NoReturn:
        """Refuse `>>`.

        Raises:
            CallError: always.
        """
        raise no_operator(self, ">>", other, f"a plan; write sequence({shown(self)}, {shown(other)})")

    def __mul__(self, other: object) -> NoReturn:
        """Refuse `*`.

        Raises:
            CallError: always.
        """
        raise no_operator(self, "*", other, f"a plan; write sequence(*[{shown(self)}] * {other!r}, ok())")

    def __rmul__(self, other: object) -> NoReturn:
        """Refuse `*`.

        Raises:
            CallError: always.
        """
        self.__mul__(other)
