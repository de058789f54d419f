"""The layers: imports go down only, and what only one module may do, only that module does."""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from graphlib import TopologicalSorter
from importlib import metadata
from pathlib import Path

import pytest

import faultline

HOUSE = Path(faultline.__file__).parent
LAYERS = ("_core", "modes", "_net", "_engine", "_servers", "_front")  # from the bottom; a folder is a layer
OUTSIDE = {"_version": "_core", "__main__": "_front", "pytest_plugin": "_front"}  # modules in no folder
HEAVY = {"OpenSSL", "asyncio", "cryptography", "h11", "socket", "ssl", "trustme"}


def module_of(path):
    name = ".".join(path.relative_to(HOUSE).with_suffix("").parts)
    return name.removesuffix(".__init__")


MODULES = {module_of(path): path for path in sorted(HOUSE.rglob("*.py"))}
INNER = [module for module in MODULES if module != "__init__"]


@cache
def tree_of(module):
    """The module, without what only type checkers read."""

    class AtRunTime(ast.NodeTransformer):
        def visit_If(self, node):
            return node.orelse if ast.unparse(node.test) == "TYPE_CHECKING" else self.generic_visit(node)

    return AtRunTime().visit(ast.parse(MODULES[module].read_text()))


def imported(node):
    """The names of the modules that a statement imports, also where it is a call of `import_module`."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute here"
        names = [f"{node.module}.{alias.name}" for alias in node.names]
        return [name if name.removeprefix("faultline.") in MODULES else node.module for name in names]
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        return [name.value for name in node.args if isinstance(name, ast.Constant)]
    return []


def imports_of(module):
    return {name for node in ast.walk(tree_of(module)) for name in imported(node)}


def loaded_by(module):
    """What is imported as soon as the module is."""
    ahead, names = [tree_of(module)], set()
    while ahead:
        node = ahead.pop()
        names |= set(imported(node))
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            ahead += ast.iter_child_nodes(node)
    return names


def modules_used_by(module):
    return {name.removeprefix("faultline.") for name in imports_of(module) if name.startswith("faultline.")}


def layer_of(module):
    """How high a module stands, by the folder that it lies in."""
    return LAYERS.index(OUTSIDE.get(module) or module.partition(".")[0])


def in_layers(*names):
    """The modules of these layers."""
    return [module for module in INNER if LAYERS[layer_of(module)] in names]


def calls_in(module):
    return [ast.unparse(node.func) for node in ast.walk(tree_of(module)) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("module", INNER)
def test_imports_go_down_only(module):
    assert [used for used in modules_used_by(module) if layer_of(used) > layer_of(module)] == []


def test_no_module_leads_back_to_itself():
    graph = {module: modules_used_by(module) for module in INNER}

    assert len(list(TopologicalSorter(graph).static_order())) == len(INNER)


def test_catalogue_imports_every_module_of_modes():
    ahead, seen = ["modes._catalogue"], set()
    while ahead:
        seen.add(module := ahead.pop())
        ahead += modules_used_by(module) - seen

    assert set(in_layers("modes")) <= seen


@pytest.mark.parametrize("module", in_layers("_core", "modes"))
def test_values_and_modes_load_nothing_heavy(module):
    assert {name.partition(".")[0] for name in loaded_by(module)} & HEAVY == set()


@pytest.mark.parametrize("module", in_layers("_front"))
def test_front_doors_import_late(module):
    loaded = loaded_by(module)
    ours = {name.removeprefix("faultline.") for name in loaded if name.removeprefix("faultline.") in INNER}

    assert {module for module in ours if LAYERS[layer_of(module)] in ("_net", "_engine", "_servers")} == set()
    assert loaded & HEAVY == set()


@pytest.mark.parametrize(
    ("package", "users"),
    [
        ("pytest", ["_front.limits", "_front.marker", "_front.starters", "pytest_plugin"]),
        ("_pytest", []),
        ("pytest_timeout", ["_front.limits"]),
        ("h11", ["_net.http1"]),
        ("trustme", ["_net.issue"]),
        ("cryptography", ["_net.issue"]),
        ("OpenSSL", ["_net.openssl"]),
        ("dns", ["_net.dns_messages"]),
    ],
)
def test_each_dependency_is_known_in_one_module(package, users):
    assert [module for module in MODULES if package in {name.partition(".")[0] for name in imports_of(module)}] == users


def test_only_the_command_line_prints():
    assert [
        module for module in MODULES if {"print", "sys.stdout.write", "sys.stderr.write"} & {*calls_in(module)}
    ] == ["_front.command"]


def test_only_the_command_line_exits():
    exits = {"exit", "quit", "sys.exit", "os._exit", "SystemExit"}

    assert {module for module in MODULES if exits & {*calls_in(module)}} <= {"__main__", "_front.command"}


def test_only_one_module_sets_socket_options():
    assert [module for module in MODULES if any(call.endswith(".setsockopt") for call in calls_in(module))] == [
        "_net.sockets"
    ]


READS = {"recv", "recv_into", "read", "readline"}  # their end is the socket's, which has a time limit
CLOCKS = {"monotonic", "seconds"}


def spins(node):
    """Whether a statement is a loop that only asks again and again, and has no end of its own."""
    if not isinstance(node, ast.While) or not all(isinstance(each, ast.Pass) for each in node.body):
        return False
    calls = [each.func for each in ast.walk(node.test) if isinstance(each, ast.Call)]
    return not (READS | CLOCKS) & {ast.unparse(call).rpartition(".")[2] for call in calls}


def test_no_test_spins_without_an_end():
    """Such a loop hides what failed: `faulthandler` reads the stack of a thread that runs, which may end a worker."""
    places = sorted(Path(__file__).parent.rglob("*.py"))

    assert [f"{p.name}:{n.lineno}" for p in places for n in ast.walk(ast.parse(p.read_text())) if spins(n)] == []


@pytest.mark.parametrize("loop", ["while not server.attempts: pass", "while not is_so(): pass", "while True: pass"])
def test_a_loop_that_only_asks_spins(loop):
    assert spins(ast.parse(loop).body[0])


@pytest.mark.parametrize(
    "loop", ["while client.recv(9): pass", "while clock.monotonic() < 9: pass", "while not done: assert seconds() < 9"]
)
def test_a_loop_that_reads_or_has_a_time_limit_does_not_spin(loop):
    assert not spins(ast.parse(loop).body[0])


@pytest.mark.parametrize("module", MODULES)
def test_no_file_is_over_350_lines(module):
    lines = MODULES[module].read_text().count("\n")

    assert lines <= 350


def code_lines_of(function, source):
    """The lines of a function's body without its docstring, comments and empty lines."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    lines = source[body[0].lineno - 1 : body[-1].end_lineno] if body else []
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in lines)


@pytest.mark.parametrize("module", MODULES)
def test_no_function_is_over_40_lines_of_code(module):
    text = MODULES[module].read_text()
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]

    assert [f.name for f in functions if code_lines_of(f, text.splitlines()) > 40] == []


@pytest.mark.parametrize("module", MODULES)
def test_no_private_name_is_imported(module):
    names = [n.name for s in ast.walk(tree_of(module)) if isinstance(s, ast.ImportFrom) for n in s.names]

    assert [name for name in names if name.startswith("_") and not name.startswith("__") and name not in LAYERS] == []


@pytest.mark.parametrize("module", [module for module in MODULES if module != "_version"])
def test_every_module_opens_with_its_own_words(module):
    words = ast.get_docstring(ast.parse(MODULES[module].read_text()))

    assert words
    assert words.partition("\n")[0].endswith(".")


def test_what_is_imported_comes_with_python_or_is_declared():
    declared = {re.match(r"[\w-]+", line)[0].lower() for line in metadata.requires("pytest-faultline")}
    modules = {"dnspython": "dns", "pyopenssl": "OpenSSL", "pytest-timeout": "pytest_timeout"}
    known = {modules.get(name, name) for name in declared} | sys.stdlib_module_names | {"faultline"}

    assert {name.partition(".")[0] for module in MODULES for name in imports_of(module)} - known == set()
