"""The text of a test that reproduces one case alone, made from the text of the loop that found it.

Rules: the program under test is read and never run here. Where its text is not to be had, the call of the sweep with
`only=` is enough.
"""

from __future__ import annotations

import ast
import linecache
import textwrap
from collections.abc import Iterator, Sequence

from faultline._core.plan import Plan
from faultline._core.said import abbreviated

STEP = "    "


def alone(place: tuple[str, int] | None, plans: Sequence[Plan], through: Sequence[object]) -> str:
    """The text of a test that runs the body of the loop at a place once, with these plans."""
    found = None if place is None else loop_at(*place)
    if found is None:
        shown = [repr(each) if isinstance(each, str) else abbreviated(each) for each in through]
        what = shown[0] if len(shown) == 1 else f"[{', '.join(shown)}]"
        return (
            f"for run in faultline.sweep({what}, only={written(plans, 'faultline.')}):\n{STEP}…  # the body of the loop"
        )
    lines, function, loop = found
    return as_relay(lines, function, loop, plans) or as_sweep(lines, function, loop, plans)


def loop_at(path: str, line: int) -> tuple[list[str], ast.FunctionDef | ast.AsyncFunctionDef | None, ast.For] | None:
    """The lines of a file, and the innermost function and loop around one of them; `None` if there is no such loop."""
    lines = linecache.getlines(path)
    try:
        tree = ast.parse("".join(lines))
    except SyntaxError:
        return None
    around = [node for node in ast.walk(tree) if is_around(node, line)]  # from the outside to the inside
    loops = [node for node in around if isinstance(node, ast.For)]
    functions = [node for node in around if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return (lines, functions[-1] if functions else None, loops[-1]) if loops else None


def is_around(node: ast.AST, line: int) -> bool:
    """Whether a line is within a part of the text."""
    return isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or node.lineno)


def as_relay(
    lines: list[str], function: ast.FunctionDef | ast.AsyncFunctionDef | None, loop: ast.For, plans: Sequence[Plan]
) -> str:
    """The test with a relay in place of the sweep; empty where the body needs the run for more than its `with`."""
    first, call = loop.body[0], loop.iter
    if not (isinstance(first, ast.With) and len(first.items) == 1 and isinstance(call, ast.Call) and call.args):
        return ""
    run, name = first.items[0].context_expr, loop.target.id if isinstance(loop.target, ast.Name) else ""
    uses = [node for node in ast.walk(loop) if isinstance(node, ast.Name) and node.id == name]
    is_plain = isinstance(run, ast.Call) and isinstance(run.func, ast.Name) and run.func.id == name
    upstream = call.args[0]
    if not is_plain or len(uses) != 2 or len(plans) != 1 or not is_upstream(upstream):  # noqa: PLR2004 - target and with
        return ""
    assert isinstance(run, ast.Call)
    expected = [ast.unparse(value) for value in (*run.args, *(keyword.value for keyword in run.keywords))]
    relay = f"{prefix_of(call)}relay({ast.unparse(upstream)}, {written(plans, prefix_of(call))})"
    target = first.items[0].optional_vars
    relay += "" if target is None else f" as {ast.unparse(target)}"
    suppress = [f"contextlib.suppress({each})" for each in expected]
    imports = ["import contextlib"] * bool(expected)
    return "\n".join(
        [
            *headed(function, call, imports),
            f"{STEP}with {', '.join([relay, *suppress])}:",
            *indented(lines, first.body, 2),
            *indented(lines, loop.body[1:], 1),
        ]
    )


def is_upstream(upstream: ast.expr) -> bool:
    """Whether a relay can stand in front of what an expression says: the text of an address, or a name of something."""
    return isinstance(upstream, (ast.Attribute, ast.JoinedStr)) or (
        isinstance(upstream, ast.Constant) and isinstance(upstream.value, str)
    )


def as_sweep(
    lines: list[str], function: ast.FunctionDef | ast.AsyncFunctionDef | None, loop: ast.For, plans: Sequence[Plan]
) -> str:
    """The test with the same loop, whose sweep has this case alone."""
    call = loop.iter
    if not isinstance(call, ast.Call):
        return f"{ast.unparse(loop.iter)}: write only={written(plans, 'faultline.')} in the call of the sweep"
    name = ast.unparse(call.func) if isinstance(call.func, ast.Attribute) else "faultline.sweep"
    kept = [ast.unparse(keyword) for keyword in call.keywords if keyword.arg in ("run_seconds", "max_seconds")]
    given = [*map(ast.unparse, call.args), f"only={written(plans, prefix_of(call))}", *kept]
    return "\n".join(
        [
            *headed(function, call, []),
            f"{STEP}for {ast.unparse(loop.target)} in {name}({', '.join(given)}):",
            *indented(lines, loop.body, 2),
        ]
    )


def headed(
    function: ast.FunctionDef | ast.AsyncFunctionDef | None, call: ast.Call, imports: list[str]
) -> Iterator[str]:
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
