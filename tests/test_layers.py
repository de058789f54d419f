"""The floors of the house: imports go down only, and what only one room may do, only that room does."""

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
FLOORS = (
    (
        "values",
        (
            "_alerts _causes _chance _check _errors _fault _gate _guard _ledger _parts _plan _report _script _steps"
            " _lookups _refusals _tripwire _upstream _version"
        ),
    ),
    (
        "catalogue",
        (
            "_catalogue modes modes.answers modes.breaks modes.certificates modes.conditions modes.door modes.lies"
            " modes.tls"
        ),
    ),
    ("platform", "_addresses _arrivals _authority _certs _hello _http _issue _names _net _openssl _tls _wire"),
    ("engine", "_engine _far _feasible _flow _passage _proxy _pump _socks _stage _stream _through"),
    (
        "server",
        (
            "_child _controls _datagrams _dns _door _intercept _isolated _loop _place _proxies _resolver _serve _server"
            " _told _udp _unix _unix_server"
        ),
    ),
    ("front doors", "__main__ _cli _factory _options pytest_plugin"),
)
FLOOR_OF = {room: number for number, (_, rooms) in enumerate(FLOORS) for room in rooms.split()}
HEAVY = {"OpenSSL", "asyncio", "cryptography", "h11", "socket", "ssl", "trustme"}
# The catalogue is filled by importing the modes, when it is first asked.
FILLS = ("_catalogue", "modes")


def room_of(path):
    name = ".".join(path.relative_to(HOUSE).with_suffix("").parts)
    return name.removesuffix(".__init__")


ROOMS = {room_of(path): path for path in sorted(HOUSE.rglob("*.py"))}
BELOW_THE_SURFACE = [room for room in ROOMS if room != "__init__"]


@cache
def tree_of(room):
    """The module, without what only type checkers read."""

    class AtRunTime(ast.NodeTransformer):
        def visit_If(self, node):
            return node.orelse if ast.unparse(node.test) == "TYPE_CHECKING" else self.generic_visit(node)

    return AtRunTime().visit(ast.parse(ROOMS[room].read_text()))


def imported(node):
    """The names of the modules that a statement imports, also where it is a call of `import_module`."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute here"
        return [f"faultline.{alias.name}" for alias in node.names] if node.module == "faultline" else [node.module]
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        return [name.value for name in node.args if isinstance(name, ast.Constant)]
    return []


def imports_of(room):
    return {name for node in ast.walk(tree_of(room)) for name in imported(node)}


def loaded_by(room):
    """What is imported as soon as the module is."""
    ahead, names = [tree_of(room)], set()
    while ahead:
        node = ahead.pop()
        names |= set(imported(node))
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            ahead += ast.iter_child_nodes(node)
    return names


def rooms_used_by(room):
    return {name.removeprefix("faultline.") for name in imports_of(room) if name.startswith("faultline.")}


def calls_in(room):
    return [ast.unparse(node.func) for node in ast.walk(tree_of(room)) if isinstance(node, ast.Call)]


def test_every_room_is_on_a_floor():
    assert sorted(FLOOR_OF) == sorted(BELOW_THE_SURFACE)


@pytest.mark.parametrize("room", BELOW_THE_SURFACE)
def test_imports_go_down_only(room):
    assert [used for used in rooms_used_by(room) if FLOOR_OF[used] > FLOOR_OF[room]] == []


def test_no_room_leads_back_to_itself():
    graph = {room: {used for used in rooms_used_by(room) if (room, used) != FILLS} for room in BELOW_THE_SURFACE}

    assert len(list(TopologicalSorter(graph).static_order())) == len(BELOW_THE_SURFACE)


def test_catalogue_is_filled_by_importing_the_modes():
    assert "modes" in rooms_used_by("_catalogue")


@pytest.mark.parametrize("room", [room for room, floor in FLOOR_OF.items() if floor <= 1])
def test_values_and_modes_load_nothing_heavy(room):
    assert {name.partition(".")[0] for name in loaded_by(room)} & HEAVY == set()


@pytest.mark.parametrize("room", [room for room, floor in FLOOR_OF.items() if floor == 5])
def test_front_doors_import_late(room):
    loaded = loaded_by(room)

    assert {name for name in loaded if FLOOR_OF.get(name.removeprefix("faultline."), 0) in (2, 3, 4)} == set()
    assert loaded & HEAVY == set()


@pytest.mark.parametrize(
    ("package", "users"),
    [
        ("pytest", ["_factory", "pytest_plugin"]),
        ("_pytest", []),
        ("pytest_timeout", []),
        ("h11", ["_http"]),
        ("trustme", ["_issue"]),
        ("cryptography", ["_issue"]),
        ("OpenSSL", ["_openssl"]),
        ("dns", ["_dns"]),
    ],
)
def test_each_dependency_is_known_in_one_room(package, users):
    assert [room for room in ROOMS if package in {name.partition(".")[0] for name in imports_of(room)}] == users


def test_only_the_command_line_prints():
    assert [room for room in ROOMS if {"print", "sys.stdout.write", "sys.stderr.write"} & {*calls_in(room)}] == ["_cli"]


def test_only_the_command_line_exits():
    exits = {"exit", "quit", "sys.exit", "os._exit", "SystemExit"}

    assert {room for room in ROOMS if exits & {*calls_in(room)}} <= {"__main__", "_cli"}


def test_only_the_platform_room_sets_socket_options():
    assert [room for room in ROOMS if any(call.endswith(".setsockopt") for call in calls_in(room))] == ["_net"]


@pytest.mark.parametrize("room", ROOMS)
def test_no_file_is_over_350_lines(room):
    lines = ROOMS[room].read_text().count("\n")

    assert lines <= 350


@pytest.mark.parametrize("room", [room for room in ROOMS if room != "_version"])
def test_every_module_opens_with_its_own_words(room):
    words = ast.get_docstring(ast.parse(ROOMS[room].read_text()))

    assert words
    assert words.partition("\n")[0].endswith(".")


def test_what_is_imported_comes_with_python_or_is_declared():
    declared = {re.match(r"[\w-]+", line)[0].lower() for line in metadata.requires("pytest-faultline")}
    modules = {"dnspython": "dns", "pyopenssl": "OpenSSL"}
    known = {modules.get(name, name) for name in declared} | sys.stdlib_module_names | {"faultline"}

    assert {name.partition(".")[0] for room in ROOMS for name in imports_of(room)} - known == set()
