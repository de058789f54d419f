"""The public surface: what `faultline` offers, in one sorted list, loaded only when it is used."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import faultline
from faultline import modes
from faultline._core import errors, script
from faultline.modes import _catalogue

SOURCE = Path(faultline.__file__)
HEAVY = {"asyncio", "cryptography", "h11", "ssl", "trustme"}


def run(program):
    """What a program prints in a process of its own."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.split()


def loaded_by(program):
    """The top-level modules that a program loads on top of a bare interpreter."""
    return set(
        run(
            "import sys\nbefore = set(sys.modules)\n"
            f"{program}\n"
            "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
        )
    )


def test_all_is_sorted_and_has_no_name_twice():
    assert faultline.__all__ == sorted(set(faultline.__all__))


@pytest.mark.parametrize("name", faultline.__all__)
def test_each_name_of_all_can_be_imported(name):
    value = getattr(faultline, name)

    assert getattr(importlib.import_module("faultline"), name) is value


def test_dir_lists_what_is_public_and_nothing_else():
    assert sorted(dir(faultline)) == sorted([*faultline.__all__, "__all__"])


def test_all_holds_every_mode():
    assert set(_catalogue.modes()) <= set(faultline.__all__)


@pytest.mark.parametrize("name", _catalogue.modes())
def test_mode_is_the_function_of_the_catalogue(name):
    assert getattr(faultline, name) is _catalogue.find(name).function


def test_all_holds_every_error_and_every_step_of_a_script():
    assert {*errors.__all__, *script.__all__} <= set(faultline.__all__)


def test_type_checkers_see_the_same_names():
    block = next(node for node in ast.parse(SOURCE.read_text()).body if isinstance(node, ast.If))
    seen = {alias.name for node in block.body for alias in node.names} - {"*"}

    assert seen | set(_catalogue.modes()) == set(faultline.__all__)


@pytest.mark.parametrize("name", [n for n in faultline.__all__ if inspect.isroutine(getattr(faultline, n))])
def test_public_function_says_what_it_does(name):
    function = getattr(faultline, name)

    assert inspect.getdoc(function).partition("\n")[0].endswith((".", ":"))
    assert not {"self", "cls"} & set(inspect.signature(function).parameters)


@pytest.mark.parametrize("name", [n for n in faultline.__all__ if inspect.isclass(getattr(faultline, n))])
def test_public_class_says_what_it_is_and_so_does_every_public_part_of_it(name):
    kind = getattr(faultline, name)
    parts = {n: part for n, part in vars(kind).items() if not n.startswith("_")}
    mute = [n for n, p in parts.items() if isinstance(p, property) or inspect.isroutine(p) if not inspect.getdoc(p)]

    assert kind.__doc__
    assert mute == []


def test_modules_that_are_public_are_the_plugin_and_the_modes():
    names = [module.name for module in pkgutil.iter_modules([str(SOURCE.parent)])]

    assert [name for name in names if not name.startswith("_")] == ["modes", "pytest_plugin"]


def test_star_import_brings_every_name():
    names = run("from faultline import *\nprint(*[n for n in dir() if n == '__version__' or n[0] != '_'])")

    assert set(names) == set(faultline.__all__)


def test_star_import_of_the_modes_brings_the_catalogue():
    names = run("from faultline.modes import *\nprint(*[n for n in dir() if n[0] != '_'])")

    assert set(_catalogue.modes()) <= set(names)


@pytest.mark.parametrize("name", ["rest", "_rest", "modes_", "__path", "fault"])
def test_unknown_attribute_is_an_attribute_error(name):
    with pytest.raises(AttributeError) as raised:
        getattr(faultline, name)

    assert type(raised.value) is AttributeError
    assert str(raised.value) == f"module 'faultline' has no attribute {name!r}"


def test_unknown_name_is_an_import_error():
    with pytest.raises(ImportError, match="cannot import name 'rest' from 'faultline'"):
        exec("from faultline import rest", {})


def test_importing_the_package_loads_nothing_heavy():
    assert loaded_by("import faultline") & HEAVY == set()


@pytest.mark.parametrize(
    "program",
    [
        "import faultline; faultline.__all__; dir(faultline)",
        "from faultline import raises, root_cause, reset, ok, sequence, bad_cert, script, send, Gate, FaultlineError",
        "import faultline; repr(faultline.bad_cert('expired') & faultline.reset(after_bytes=3))",
        "import faultline.pytest_plugin",
        "import faultline._front.command",
    ],
)
def test_nothing_heavy_is_loaded_before_a_server_starts(program):
    loaded = loaded_by(program)

    assert "faultline" in loaded
    assert loaded & HEAVY == set()


def test_server_without_tls_loads_no_certificates():
    loaded = loaded_by("import faultline\nwith faultline.serve(faultline.ok()): pass")

    assert loaded & {"trustme", "cryptography"} == set()


def test_version_is_that_of_the_distribution():
    assert faultline.__version__ == importlib.import_module("importlib.metadata").version("pytest-faultline")


def test_modes_are_public_under_their_package_too():
    assert {n for n in vars(modes) if n in faultline.__all__} == set(_catalogue.modes())
