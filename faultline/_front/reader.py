"""Reads a plan from Python's syntax, node by node, and runs nothing of it."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from faultline._core import planning as plans
from faultline._core import script as scripts
from faultline._core import websocket as websockets
from faultline._core.errors import ParameterError
from faultline._core.fault import Fault
from faultline._core.operators import Combined
from faultline._core.paths import by_path
from faultline._core.replies import receive_all, reply
from faultline._core.said import abbreviated, is_abbreviated
from faultline._core.words import MODES, listed, meant
from faultline.modes._catalogue import modes

MOST = 1 << 63  # more of anything than there can be; Python counts on
MOST_CHARACTERS, MOST_BRACKETS = 10_000, 50  # of a text, and open at once: deeper ones exhaust Python's parser
OF_PLANS = ("sequence", "cycle", "sometimes", "max_connections", "through")


class Reader:
    """Turns the syntax tree of a text into a plan, node by node."""

    def __init__(self, text: str, names: Mapping[str, object]) -> None:
        self._text = text.strip()
        self._names = names
        functions = {entry.name: entry.function for entry in modes().values()}
        of_plans = {name: getattr(plans, name) for name in OF_PLANS}
        of_steps = {name: getattr(room, name) for room in (scripts, websockets) for name in room.__all__}
        of_plans |= {"by_path": by_path, "receive_all": receive_all, "reply": reply}
        self._functions: dict[str, Callable[..., Any]] = {**functions, **of_plans, **of_steps}

    def plan(self) -> Any:
        """The value of the text.

        Raises:
            ParameterError: the text is not one expression, or has a part that no plan has.
        """
        if deepest(self._text) > MOST_BRACKETS:
            raise self._error(f"at most {MOST_BRACKETS} brackets open at once")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # of an escape that Python does not know
                tree = ast.parse(self._text, mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise self._error(f"a plan such as reset(after_bytes=17) ({reason(error)})") from None
        try:
            return self._value(tree.body)
        except RecursionError:
            raise self._error("a shorter chain of &") from None

    def _value(self, node: ast.expr) -> Any:
        match node:
            case ast.BinOp(left=left, op=ast.BitAnd(), right=right):
                return self._both(self._value(left), self._value(right))
            case ast.Name(id=name) if name in self._names:
                return self._names[name]
            case ast.Call(func=ast.Name(id=name)):
                return self._called(self._function(name), node)
            case ast.Call(func=ast.Attribute(value=ast.Name(id="re"), attr="compile"), args=[each], keywords=[]):
                return self._pattern(self._value(each))
        return self._literal(node)

    def _literal(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=int() as number) if number >= MOST:
                raise self._error("numbers below 2**63")
            case ast.Constant(value=str() | bytes() | bool() | int() | float() | None):
                return node.value
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float())):
                return -self._value(node.operand)
            case ast.Tuple(elts=elements):
                return tuple(self._value(element) for element in elements)
            case ast.List(elts=elements):
                return [self._value(element) for element in elements]
            case ast.Dict(keys=keys, values=values) if all(map(is_key, keys)):
                return {self._value(key): self._value(value) for key, value in zip(keys, values, strict=True) if key}
        raise self._error(
            f"no {ast.unparse(node)} in it; a plan has calls of modes, & and literals" + self._given(node)
        )

    def _both(self, left: Any, right: Any) -> Any:
        if not isinstance(left, Combined) and not isinstance(right, Combined):  # which have errors of their own
            raise self._error(f"two faults around &, not {abbreviated(left)} and {abbreviated(right)}")
        return left & right

    def _function(self, name: str) -> Callable[..., Any]:
        found = self._functions.get(name)
        if found is None:
            near = meant(name, self._functions, MODES)
            hint = f" Did you mean {listed(map(repr, near))}?" if near else ""
            raise self._error(f"a mode, a plan or a step instead of {name}", hint)
        return found

    def _called(self, function: Callable[..., Any], node: ast.Call) -> Any:
        named = [each.arg for each in node.keywords]
        if any(isinstance(each, ast.Starred) for each in node.args) or None in named:
            raise self._error("no * in a call")
        if len({*named}) < len(named):
            raise self._error(f"each name once in {ast.unparse(node)}")
        arguments = [self._argument(each) for each in node.args]
        return function(*arguments, **{each.arg: self._argument(each.value) for each in node.keywords if each.arg})

    def _argument(self, node: ast.expr) -> Any:
        """The value of an argument, if no report has left out a part of it."""
        if "..." in self._text:  # because to find its own text takes a pass through all of it
            written = ast.get_source_segment(self._text, node) or ""
            if is_abbreviated(written):
                raise self._error(f"all of {written}, of which a report leaves out the middle")
        return self._value(node)

    def _pattern(self, value: object) -> re.Pattern[bytes]:
        try:
            assert isinstance(value, bytes)
            return re.compile(value)
        except (AssertionError, re.error, OverflowError, RecursionError):
            raise self._error("a pattern of bytes in re.compile(…)") from None

    def _given(self, node: ast.expr) -> str:
        """A remark on a name: a function is called, and another object has to be given."""
        if not isinstance(node, ast.Name):
            return ""
        if node.id in self._functions:
            return f"; write {node.id}()"
        return f"; write {node.id!r} for a text, or hand an object over: plan(text, {node.id}={node.id})"

    def _error(self, expectation: str, hint: str = "") -> ParameterError:
        return ParameterError(f"plan={abbreviated(self._text)}: expected {expectation}.{hint}")


def is_key(node: ast.expr | None) -> bool:
    """Whether a node is a literal, or a pattern, which can be looked up in a dict."""
    match node:
        case ast.Constant() | ast.Call(func=ast.Attribute(value=ast.Name(id="re"), attr="compile")):
            return True
    return False


def deepest(text: str) -> int:
    """How many brackets are open at once, at most; brackets in literals count too."""
    depth = most = 0
    for bracket in re.findall(r"[(\[{)\]}]", text):
        depth += 1 if bracket in "([{" else -1
        most = max(most, depth)
    return most


def reason(error: BaseException) -> str:
    """What Python's parser says about a text, on one line."""
    return error.msg if isinstance(error, SyntaxError) else str(error) or "too deep"


def of_steps(mode: str, text: str) -> Fault:
    """The fault of a mode that takes steps, from the text of these.

    Raises:
        ParameterError: the text is no steps in Python.
    """
    made = Reader(f"{mode}({text})", {}).plan() if len(text) <= MOST_CHARACTERS else None
    if not isinstance(made, Fault):
        raise ParameterError(f"steps={abbreviated(text)}: expected steps such as send_text('hi'), close_frame(1012).")
    return made
