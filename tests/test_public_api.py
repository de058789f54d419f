"""The public surface: what `faultline` offers, in one sorted list, loaded only when it is used."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import pkgutil
import pydoc
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.tables import each_row

import faultline
from faultline import Faultline, modes
from faultline._core import errors, script, websocket
from faultline._servers.endpoint import Endpoint
from faultline.modes import _catalogue

SOURCE = Path(faultline.__file__)
HEAVY = {"asyncio", "cryptography", "h11", "h2", "ssl", "trustme"}


SERVER = "with faultline.serve(faultline.ok()): pass"
STEPS = (  # from the lightest on, each in the process in which those before it ran
    "import faultline",
    "from faultline import Gate",
    "from faultline import Faultline; Faultline()",
    "faultline.__all__; dir(faultline)",
    "from faultline import raises, root_cause, reset, ok, sequence, bad_cert, script, send, Gate, FaultlineError",
    "repr(faultline.bad_cert('expired') & faultline.reset(after_bytes=3))",
    "import faultline._front.command",
    "import faultline.pytest_plugin",
    SERVER,
    "from faultline import *",
)
LOADS = f"""
import json, sys
before = {{*sys.modules}}
for step in {STEPS!r}:
    exec(step)
    print(json.dumps(sorted({{*sys.modules}} - before)))
"""


@pytest.fixture(scope="module")
def loaded():
    """The modules that each step, and those before it, load on top of a bare interpreter."""
    done = subprocess.run([sys.executable, "-c", LOADS], capture_output=True, text=True, check=True)
    return dict(zip(STEPS, map(json.loads, done.stdout.splitlines()), strict=True))


def test_all_is_sorted_and_has_no_name_twice():
    assert faultline.__all__ == sorted(set(faultline.__all__))


def test_each_name_of_all_can_be_imported():
    imported = {}
    exec(f"from faultline import {', '.join(faultline.__all__)}", imported)

    assert [name for name in faultline.__all__ if imported[name] is not getattr(faultline, name)] == []


def test_dir_lists_what_is_public_and_nothing_else():
    assert sorted(dir(faultline)) == sorted([*faultline.__all__, "__all__"])


def test_all_holds_every_mode():
    assert set(_catalogue.modes()) <= set(faultline.__all__)


def test_mode_is_the_function_of_the_catalogue():
    names = _catalogue.modes()

    assert [name for name in names if getattr(faultline, name) is not _catalogue.find(name).function] == []


def test_all_holds_every_error_and_every_step_of_a_script():
    assert {*errors.__all__, *script.__all__} <= set(faultline.__all__)


def test_type_checkers_see_the_same_names_each_in_one_import():
    block = next(node for node in ast.parse(SOURCE.read_text()).body if isinstance(node, ast.If))
    seen = [alias.name for node in block.body for alias in node.names]
    seen.remove("*")

    assert sorted([*seen, *_catalogue.modes()]) == faultline.__all__


def test_only_what_is_imported_for_type_checkers_is_said_in_the_package():
    said = re.findall(r"\b(\w+) as (\w+)\b|[\"'](\w+)[\"']", SOURCE.read_text())

    assert [words for words in said if words[0] != words[1] or words[2]] == [("", "", "__all__"), ("", "", "__all__")]


def test_public_function_says_what_it_does():
    functions = {n: f for n in faultline.__all__ if inspect.isroutine(f := getattr(faultline, n))}
    first = {name: inspect.getdoc(function).partition("\n")[0] for name, function in functions.items()}

    assert [name for name, words in first.items() if not words.endswith((".", ":"))] == []
    assert [n for n, f in functions.items() if {"self", "cls"} & {*inspect.signature(f).parameters}] == []


def test_public_class_says_what_it_is_and_so_does_every_public_part_of_it():
    kinds = {n: k for n in faultline.__all__ if inspect.isclass(k := getattr(faultline, n))}
    parts = {(n, p): getattr(k, p) for n, k in kinds.items() for p in vars(k) if not p.startswith("_")}
    said = {where: p for where, p in parts.items() if isinstance(p, property) or inspect.isroutine(p)}

    assert [name for name, kind in kinds.items() if not kind.__doc__] == []
    assert [where for where, part in said.items() if not inspect.getdoc(part)] == []


def test_modules_that_are_public_are_the_plugin_the_modes_and_the_strategies():
    names = [module.name for module in pkgutil.iter_modules([str(SOURCE.parent)])]

    assert [name for name in names if not name.startswith("_")] == ["modes", "pytest_plugin", "strategies"]


@each_row(("package", "names"), [("faultline", faultline.__all__), ("faultline.modes", _catalogue.modes())])
def test_star_import_brings_every_name(package, names):
    imported = {}
    exec(f"from {package} import *", imported)

    assert {*names} - {*imported} == set()
    assert package != "faultline" or {*imported} - {*names} == {"__builtins__"}


@each_row("name", ["rest", "_rest", "modes_", "__path", "fault"])
def test_unknown_attribute_is_an_attribute_error(name):
    with pytest.raises(AttributeError) as raised:
        getattr(faultline, name)

    assert type(raised.value) is AttributeError
    assert str(raised.value) == f"module 'faultline' has no attribute {name!r}"


def test_unknown_name_is_an_import_error():
    with pytest.raises(ImportError, match="cannot import name 'rest' from 'faultline'"):
        exec("from faultline import rest", {})


@pytest.mark.slow
def test_nothing_heavy_is_loaded_before_a_server_starts(loaded):
    heavy = {step: {name.partition(".")[0] for name in loaded[step]} & HEAVY for step in STEPS}

    assert [step for step in STEPS if heavy[step]] == [SERVER, "from faultline import *"]


@pytest.mark.slow
def test_name_that_is_no_mode_loads_no_mode(loaded):
    assert [name for name in loaded["from faultline import Gate"] if name.startswith("faultline.m")] == []


@pytest.mark.slow
def test_fixture_for_annotations_loads_neither_pytest_nor_a_server(loaded):
    names = loaded["from faultline import Faultline; Faultline()"]

    assert "faultline._front.starters" in names
    assert {"pytest", "faultline._servers", "faultline.modes"}.isdisjoint(names)


@pytest.mark.slow
def test_server_without_tls_loads_no_certificates(loaded):
    assert {"trustme", "cryptography"}.isdisjoint(loaded[SERVER])


def starters():
    """The functions that return an endpoint, which the fixture has to offer too."""
    for name in faultline.__all__:
        if inspect.isfunction(function := getattr(faultline, name)):
            kind = getattr(faultline, str(inspect.signature(function).return_annotation), None)
            if inspect.isclass(kind) and issubclass(kind, Endpoint):
                yield name


def test_fixture_starts_whatever_the_package_starts():
    offered = {name for name in vars(Faultline) if not name.startswith("_")}

    assert offered == {*starters()}
    assert len(offered) == 8


@each_row("name", [*starters()])
def test_method_of_the_fixture_has_parameters_and_docstring_of_the_function(name):
    function, method, bound = (getattr(owner, name) for owner in (faultline, Faultline, Faultline()))

    assert inspect.signature(bound) == inspect.signature(function)
    assert list(inspect.signature(method).parameters) == ["self", *inspect.signature(function).parameters]
    assert inspect.getdoc(bound) == inspect.getdoc(method) == inspect.getdoc(function)
    assert (bound.__name__, bound.__self__.servers) == (name, [])


@pytest.mark.slow
def test_fixture_hands_on_every_public_name():
    fixture = Faultline()
    names = [name for name in faultline.__all__ if name not in {*starters(), "__version__"}]

    assert [name for name in names if getattr(fixture, name) is not getattr(faultline, name)] == []


def test_type_checkers_know_the_modes_plans_and_steps_of_the_fixture():
    source = (SOURCE.parent / "_front/handed.py").read_text()
    known = set(re.findall(r"^        (\w+) = ", source, re.MULTILINE))

    assert known == {*_catalogue.modes()} | {*script.__all__, *websocket.__all__, "Gate", "raises", "root_cause"} | {
        *("anthropic_events", "answer", "openai_chunks"),
        *(
            "by_path",
            "control",
            "cycle",
            "load",
            "max_connections",
            "plan",
            "receive_all",
            "reply",
            "sequence",
            "sometimes",
            "sweep",
            "through",
            "when",
        ),
    }


@each_row("name", ["rest", "_hidden", "__wrapped__"])
def test_fixture_has_no_other_names(name):
    with pytest.raises(AttributeError, match=f"^'Faultline' object has no attribute '{name}'$"):
        getattr(Faultline(), name)


def test_help_shows_the_methods_of_the_fixture():
    lines = pydoc.render_doc(Faultline, renderer=pydoc.plaintext).replace(" | ", " ").split()
    text = " ".join(lines).replace("( ", "(")  # Python 3.13 has a line for each parameter of a long signature

    assert "udp(self, plan: 'Plan', *, answer: 'Fault None' = None, host: 'str' = '127.0.0.1'" in text
    assert "Start a UDP server that plays a plan to its clients: each datagram is an attempt." in text


def test_fixture_is_public_under_the_plugin_too():
    assert importlib.import_module("faultline.pytest_plugin").Faultline is Faultline is faultline.Faultline


def test_version_is_that_of_the_distribution():
    assert faultline.__version__ == importlib.import_module("importlib.metadata").version("pytest-faultline")


def test_modes_are_public_under_their_package_too():
    assert {n for n in vars(modes) if n in faultline.__all__} == set(_catalogue.modes())
