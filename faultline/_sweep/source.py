"""The text of a test that reproduces one case alone, made from the text of the loop that found it.

Rules: the program under test is read and never run here. Where its text is not to be had, the call of the sweep with
`only=` is enough.
"""

from __future__ import annotations

import ast
import linecache
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeGuard

from faultline._core.plan import Plan
from faultline._core.said import abbreviated

STEP = "    "


Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Found:
    """The loop of a sweep in the text of a program.

    Attributes:
        lines: the lines of the file.
        function: the function around the loop; `None` if there is none.
        loop: the loop.
        call: the call of the sweep; `None` if it is not found.
    """

    lines: list[str]
    function: Function | None
    loop: ast.For
    call: ast.Call | None


def alone(place: tuple[str, int] | None, plans: Sequence[Plan], through: Sequence[object]) -> str:
    """The text of a test that runs the body of the loop at a place once, with these plans."""
    found = None if place is None else found_at(*place)
    if found is not None and found.call is not None and found.call.args:
        return as_relay(found, found.call, plans) or as_sweep(found, found.call, plans)
    shown = [repr(each) if isinstance(each, str) else abbreviated(each) for each in through]
    what = shown[0] if len(shown) == 1 else f"[{', '.join(shown)}]"
    return (
        f"for run in faultline.sweep({what}, only={written(plans, 'faultline.')}):\n{STEP}...  # the body of the loop"
    )


def found_at(path: str, line: int) -> Found | None:
    """The innermost loop around a line of a file; `None` if there is none."""
    lines = linecache.getlines(path)
    try:
        tree = ast.parse("".join(lines))
    except SyntaxError:
        return None
    around = [node for node in ast.walk(tree) if is_around(node, line)]  # from the outside to the inside
    loops = [node for node in around if isinstance(node, ast.For)]
    functions = [node for node in around if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    if not loops:
        return None
    return Found(lines, functions[-1] if functions else None, loops[-1], call_of(loops[-1].iter, around, line))


def comes_from(place: tuple[str, int], error: BaseException) -> bool:
    """Whether an exception comes from the loop around a place, as far as the text of the program is known."""
    found, trace = found_at(*place), error.__traceback__
    while trace is not None and found is not None:
        is_here = trace.tb_frame.f_code.co_filename == place[0]
        if is_here and found.loop.lineno <= trace.tb_lineno <= (found.loop.end_lineno or 0):
            return True
        trace = trace.tb_next
    return found is None


def is_around(node: ast.AST, line: int) -> bool:
    """Whether a line is within a part of the text."""
    return isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or node.lineno)


def call_of(runs: ast.expr, around: Sequence[ast.AST], line: int) -> ast.Call | None:
    """The call of the sweep that a loop is over: in the loop itself, or the last above it that gives it its name."""
    if here := [node for node in ast.walk(runs) if is_sweep(node)]:
        return here[0]
    made: dict[int, ast.expr] = {}
    for node in ast.walk(ast.Module([each for each in around if isinstance(each, ast.stmt)], [])):
        if isinstance(node, ast.Assign):
            pairs = [(target, node.value) for target in node.targets]
        else:
            pairs = (
                [(i.optional_vars, i.context_expr) for i in node.items if i.optional_vars]
                if isinstance(node, ast.With)
                else []
            )
        made.update({v.lineno: v for t, v in pairs if ast.unparse(t) == ast.unparse(runs) and v.lineno < line})
    last = made[max(made)] if made else None
    return last if is_sweep(last) else None


def is_sweep(node: ast.AST | None) -> TypeGuard[ast.Call]:
    """Whether a part of the text calls a function of the name `sweep`."""
    return isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "sweep"


def as_relay(found: Found, call: ast.Call, plans: Sequence[Plan]) -> str:
    """The test with a relay in place of the sweep; empty where the body needs the run for more than its `with`."""
    first, loop = found.loop.body[0], found.loop
    if not (isinstance(first, ast.With) and len(first.items) == 1):
        return ""
    run, name = first.items[0].context_expr, ast.unparse(loop.target)
    uses = [node for node in ast.walk(loop) if isinstance(node, ast.Name) and node.id == name]
    is_plain = isinstance(run, ast.Call) and ast.unparse(run.func) == name
    if not is_plain or len(uses) != 2 or len(plans) != 1 or not is_upstream(call.args[0]):  # noqa: PLR2004 - target and with
        return ""
    assert isinstance(run, ast.Call)
    expected = [ast.unparse(value) for value in (*run.args, *(keyword.value for keyword in run.keywords))]
    relay = f"{prefix_of(call)}relay({ast.unparse(call.args[0])}, {written(plans, prefix_of(call))})"
    target = first.items[0].optional_vars
    relay += "" if target is None else f" as {ast.unparse(target)}"
    suppress = [f"contextlib.suppress({each})" for each in expected]
    return "\n".join(
        [
            *headed(found.function, call, ["import contextlib"] * bool(expected)),
            f"{STEP}with {', '.join([relay, *suppress])}:",
            *indented(found.lines, first.body, 2),
            *indented(found.lines, loop.body[1:], 1),
        ]
    )


def is_upstream(upstream: ast.expr) -> bool:
    """Whether a relay can stand in front of what an expression says: the text of an address, or a name of something."""
    return isinstance(upstream, (ast.Attribute, ast.JoinedStr)) or (
        isinstance(upstream, ast.Constant) and isinstance(upstream.value, str)
    )


def as_sweep(found: Found, call: ast.Call, plans: Sequence[Plan]) -> str:
    """The test with the same loop, whose sweep has this case alone."""
    kept = [ast.unparse(keyword) for keyword in call.keywords if keyword.arg in ("run_seconds", "max_seconds")]
    name = ast.unparse(call.func) if isinstance(call.func, ast.Attribute) else "faultline.sweep"
    given = [*map(ast.unparse, call.args), f"only={written(plans, prefix_of(call))}", *kept]
    over, made = found.loop.iter, f"{name}({', '.join(given)})"
    around = ast.unparse(over).replace(ast.unparse(call), made) if isinstance(over, ast.Call) else made
    return "\n".join(
        [
            *headed(found.function, call, []),
            f"{STEP}for {ast.unparse(found.loop.target)} in {around}:",
            *indented(found.lines, found.loop.body, 2),
        ]
    )


def headed(function: Function | None, call: ast.Call, imports: list[str]) -> Iterator[str]:
    """The lines above the body: imports, and the head of the function, whose parameters are the same."""
    imports = sorted([*imports, *["import faultline"] * (not isinstance(call.func, ast.Attribute))])
    yield from [*imports, "", ""] if imports else ()
    if function is None:
        yield "def test_alone():"
        return
    word = "async def" if isinstance(function, ast.AsyncFunctionDef) else "def"
    yield f"{word} {function.name}_alone({ast.unparse(function.args)}):"


def indented(lines: list[str], body: Sequence[ast.stmt], level: int) -> Iterator[str]:
    """The lines of some statements, as they were written."""
    if body:
        text = "".join(lines[body[0].lineno - 1 : body[-1].end_lineno])
        yield textwrap.indent(textwrap.dedent(text).rstrip(), STEP * level)


def prefix_of(call: ast.Call) -> str:
    """What stands before the name of the sweep, and so before the names of modes."""
    return f"{ast.unparse(call.func.value)}." if isinstance(call.func, ast.Attribute) else "faultline."


def written(plans: Sequence[Plan], prefix: str) -> str:
    """Plans as code, with a prefix before the names of modes and plans."""
    texts = []
    for plan in plans:
        tree = ast.parse(repr(plan), mode="eval")
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                node.func.id = f"{prefix}{node.func.id}"
        texts.append(ast.unparse(tree))
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
