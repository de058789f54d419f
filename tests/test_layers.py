"""The layers: imports go down only, and what only one module may do, only that module does."""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from support.tables import each_row

import faultline

pytestmark = pytest.mark.unmeasured
HOUSE = Path(faultline.__file__).parent
# From the bottom; a folder is a layer.
LAYERS = ("_core", "modes", "_explain", "_net", "_engine", "_servers", "_probe", "_audit", "_sweep", "_front")
# Modules in no folder.
OUTSIDE = {"_version": "_core", "__main__": "_front", "pytest_plugin": "_front", "strategies": "_front"}
HEAVY = {"OpenSSL", "asyncio", "cryptography", "h11", "h2", "socket", "ssl", "trustme"}


def module_of(path):
    name = ".".join(path.relative_to(HOUSE).with_suffix("").parts)
    return name.removesuffix(".__init__")


MODULES = {module_of(path): path for path in sorted(HOUSE.rglob("*.py"))}
INNER = [module for module in MODULES if module != "__init__"]


@cache
def source_of(module):
    return MODULES[module].read_text()


@cache
def tree_of(module):
    return ast.parse(source_of(module))


def name_of(node):
    """The name that an expression ends with, with what stands before it if these are names too."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def parts_of(node):
    """The nodes below one, without what only type checkers read."""
    is_for_checkers = isinstance(node, ast.If) and name_of(node.test) == "TYPE_CHECKING"
    return node.orelse if is_for_checkers else ast.iter_child_nodes(node)


@cache
def nodes_of(module):
    """The whole module, without what only type checkers read."""
    ahead, found = [tree_of(module)], []
    while ahead:
        found.append(node := ahead.pop())
        ahead += parts_of(node)
    return found


def imported(node):
    """The names of the modules that a statement imports, also where it is a call of `import_module`."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute here"
        names = [f"{node.module}.{alias.name}" for alias in node.names]
        return [name if name.removeprefix("faultline.") in MODULES else node.module for name in names]
    if isinstance(node, ast.Call) and name_of(node.func).endswith("import_module"):
        return [name.value for name in node.args if isinstance(name, ast.Constant)]
    return []


@cache
def imports_of(module):
    return {name for node in nodes_of(module) for name in imported(node)}


def loaded_by(module):
    """What is imported as soon as the module is."""
    ahead, names = [tree_of(module)], set()
    while ahead:
        node = ahead.pop()
        names |= set(imported(node))
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            ahead += parts_of(node)
    return names


def modules_used_by(module):
    return {name.removeprefix("faultline.") for name in imports_of(module) if name.startswith("faultline.")}


def layer_of(module):
    """How high a module stands, by the folder that it lies in."""
    return LAYERS.index(OUTSIDE.get(module) or module.partition(".")[0])


def in_layers(*names):
    """The modules of these layers."""
    return [module for module in INNER if LAYERS[layer_of(module)] in names]


@cache
def calls_in(module):
    return [name_of(node.func) for node in nodes_of(module) if isinstance(node, ast.Call)]


def offenders(find, modules=MODULES):
    """What a rule finds in each module, where it finds something."""
    return {module: found for module in modules if (found := find(module))}


def test_imports_go_down_only():
    def higher(module):
        return [used for used in modules_used_by(module) if layer_of(used) > layer_of(module)]

    assert offenders(higher, INNER) == {}


@pytest.mark.slow
def test_no_module_leads_back_to_itself():
    graph = {module: modules_used_by(module) for module in INNER}

    assert len(list(TopologicalSorter(graph).static_order())) == len(INNER)


def test_catalogue_imports_every_module_of_modes():
    ahead, seen = ["modes._catalogue"], set()
    while ahead:
        seen.add(module := ahead.pop())
        ahead += modules_used_by(module) - seen

    assert set(in_layers("modes")) <= seen


def heavy_in(module):
    """The heavy modules that are loaded as soon as the module is."""
    return {name.partition(".")[0] for name in loaded_by(module)} & HEAVY


def test_values_and_modes_load_nothing_heavy():
    assert offenders(heavy_in, in_layers("_core", "modes")) == {}


def test_front_doors_import_late():
    def early(module):
        ours = {name.removeprefix("faultline.") for name in loaded_by(module)} & {*INNER}
        return heavy_in(module) | {
            name for name in ours if LAYERS[layer_of(name)] in ("_net", "_engine", "_servers", "_audit")
        }

    assert offenders(early, in_layers("_front")) == {}


def test_each_dependency_is_known_in_one_module():
    known = {
        "pytest": [
            "_front.drawn",
            "_front.frames",
            "_front.limits",
            "_front.marker",
            "_front.starters",
            "_front.sweeping",
            "pytest_plugin",
        ],
        "_pytest": [],
        "pytest_timeout": ["_front.limits"],
        "h11": ["_net.http1"],
        "trustme": ["_net.issue"],
        "cryptography": ["_net.issue"],
        "OpenSSL": ["_net.openssl"],
        "dns": ["_net.dns_messages"],
        "hypothesis": ["strategies"],
    }
    tops = {module: {name.partition(".")[0] for name in imports_of(module)} for module in MODULES}

    assert {package: [module for module in MODULES if package in tops[module]] for package in known} == known


def test_only_the_command_line_prints():
    assert [
        module for module in MODULES if {"print", "sys.stdout.write", "sys.stderr.write"} & {*calls_in(module)}
    ] == ["_front.command"]


def test_only_the_command_line_exits():
    exits = {"exit", "quit", "sys.exit", "os._exit", "SystemExit"}

    assert {module for module in MODULES if exits & {*calls_in(module)}} <= {
        "__main__",
        "_audit.forking",  # the processes that it forks end there
        "_audit.workers",
        "_front.command",
    }


def test_only_one_module_sets_socket_options_and_what_differs_between_systems():
    setters = [module for module in MODULES if any(call.endswith(".setsockopt") for call in calls_in(module))]

    assert [module for module in setters if not module.startswith("_net.system.")] == ["_net.sockets"]


ASKS = re.compile(r"^\s*(while .*|\)):[^\S\n]*(#.*)?\s*pass\b", re.MULTILINE)  # such a loop, or the end of its head
READS = {"recv", "recv_into", "read", "readline"}  # their end is the socket's, which has a time limit
CLOCKS = {"monotonic", "seconds"}


def spins(node):
    """Whether a statement is a loop that only asks again and again, and has no end of its own."""
    if not isinstance(node, ast.While) or not all(isinstance(each, ast.Pass) for each in node.body):
        return False
    calls = [each.func for each in ast.walk(node.test) if isinstance(each, ast.Call)]
    return not (READS | CLOCKS) & {name_of(call).rpartition(".")[2] for call in calls}


@pytest.mark.slow
def test_no_test_spins_without_an_end():
    """Such a loop hides what failed: `faulthandler` reads the stack of a thread that runs, which may end a worker."""
    texts = {path: path.read_text() for path in sorted(Path(__file__).parent.rglob("*.py"))}
    trees = {path: ast.parse(text) for path, text in texts.items() if ASKS.search(text)}

    assert [f"{path.name}:{n.lineno}" for path, tree in trees.items() for n in ast.walk(tree) if spins(n)] == []


@each_row(
    "loop", ["while not server.attempts: pass", "while (\n  not is_so()\n):  # why\n  pass", "while True:\n  pass"]
)
def test_a_loop_that_only_asks_spins(loop):
    assert ASKS.search(loop)
    assert spins(ast.parse(loop).body[0])


@each_row(
    "loop", ["while client.recv(9): pass", "while clock.monotonic() < 9: pass", "while not done: assert seconds() < 9"]
)
def test_a_loop_that_reads_or_has_a_time_limit_does_not_spin(loop):
    assert not spins(ast.parse(loop).body[0])


def test_no_file_is_over_350_lines():
    assert [module for module in MODULES if source_of(module).count("\n") > 350] == []


def code_lines_of(function, source):
    """The lines of a function's body without its docstring, comments and empty lines."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    lines = source[body[0].lineno - 1 : body[-1].end_lineno] if body else []
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in lines)


@pytest.mark.slow
def test_no_function_is_over_40_lines_of_code():
    def long(module):
        lines = source_of(module).splitlines()
        functions = [n for n in ast.walk(tree_of(module)) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
        return [f.name for f in functions if code_lines_of(f, lines) > 40]

    assert offenders(long) == {}


def test_no_private_name_is_imported():
    def private(module):
        names = [n.name for s in nodes_of(module) if isinstance(s, ast.ImportFrom) for n in s.names]
        return [name for name in names if name.startswith("_") and not name.startswith("__") and name not in LAYERS]

    assert offenders(private) == {}


def test_every_module_opens_with_its_own_words():
    first = {module: (ast.get_docstring(tree_of(module)) or "").partition("\n")[0] for module in MODULES}

    assert [module for module, words in first.items() if not words.endswith(".")] == ["_version"]


@pytest.mark.slow
@pytest.mark.everywhere
def test_what_is_imported_comes_with_python_or_is_declared():
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8")
    project = text[text.index("\ndependencies = [") : text.index("\n[dependency-groups]")]
    declared = {name.lower() for name in re.findall(r'"([\w-]+)[\[>]', project)}
    modules = {"dnspython": "dns", "pyopenssl": "OpenSSL", "pytest-timeout": "pytest_timeout"}
    known = {modules.get(name, name) for name in declared} | sys.stdlib_module_names | {"faultline"}

    assert {name.partition(".")[0] for module in MODULES for name in imports_of(module)} - known == set()
