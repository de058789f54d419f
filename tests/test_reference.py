"""The reference has everything that users can write: no public name, member, fixture or option is missing."""

from __future__ import annotations

import inspect
import re
import runpy
from pathlib import Path

import pytest
from support.tables import each_row

import faultline
from faultline import pytest_plugin
from faultline._front.commands import parser_of
from faultline._front.completion import commands_in
from faultline.modes._catalogue import modes

DOCS = Path(__file__).parent.parent / "docs"
NAMED = re.compile(r"^(?:- |### )`\.?([^`( ]+)", re.MULTILINE)
VALUES = [n for n in faultline.__all__ if inspect.isclass(k := getattr(faultline, n)) and not issubclass(k, Exception)]
CLASSES = [name for name in faultline.__all__ if isinstance(getattr(faultline, name), type)]


@pytest.fixture(scope="module")
def page():
    """The reference as it is in the repository."""
    return (DOCS / "reference.md").read_text("utf-8")


def test_every_public_name_is_in_the_reference(page):
    names = [name for name in faultline.__all__ if name != "__version__"]

    assert [name for name in names if f"\n### `{name}`\n" in page] == [name for name in names if name not in modes()]
    assert [name for name in names if f"[`{name}`](modes.md#{name})" in page] == sorted(modes())


def public_members(kind):
    """The members for users: of a class that has `_public` those named there, of any other class all."""
    hidden = set()
    for each in kind.__mro__:
        own = {n for n in (*vars(each), *vars(each).get("__annotations__", ())) if not n.startswith("_")}
        hidden |= own - set(vars(each).get("_public", own))
    return {n for n in dir(kind) if not n.startswith("_")} - hidden


def fields_of(kind):
    """The attributes that the docstring of a class names."""
    return {*re.findall(r"(?m)^ {4}(\w+): ", inspect.getdoc(kind).partition("\nAttributes:\n")[2])}


@each_row("name", VALUES)
def test_reference_has_every_public_member_of_a_class_and_no_other(name, page):
    kind = getattr(faultline, name)
    own = page.partition(f"\n### `{name}`\n")[2].partition("\n### ")[0]
    listed = re.findall(r"(?m)^- `\.?(\w+)", own)
    members = public_members(kind) if kind.__name__ == name else set()

    assert sorted(listed) == sorted(set(listed))
    assert members - set(listed) == set()
    assert [n for n in listed if n not in members | fields_of(kind)] == []


@each_row(
    ("name", "internal"),
    [
        ("Fault", "can_follow"),
        ("Gate", "when_open"),
        ("Ledger", "begin"),
        ("Resolver", "look_up"),
        ("Resolver", "step_aside"),
        ("Server", "cut_off"),
        ("Server", "go_on"),
    ],
)
def test_what_only_the_engine_calls_is_not_in_the_reference(name, internal, page):
    own = page.partition(f"\n### `{name}`\n")[2].partition("\n### ")[0]

    assert hasattr(getattr(faultline, name), internal)
    assert internal not in own


def test_declared_surface_names_what_the_class_has():
    kinds = dict.fromkeys(each for name in VALUES for each in getattr(faultline, name).__mro__)
    declared = [(kind, name) for kind in kinds for name in vars(kind).get("_public", ())]

    assert [(k, name) for k, name in declared if name not in {*dir(k), *getattr(k, "__annotations__", ())}] == []


@each_row("path", sorted([*DOCS.glob("*.md"), DOCS.parent / "README.md"]))
@pytest.mark.slow
def test_pages_for_users_have_public_members_alone(path):
    kinds = [getattr(faultline, name) for name in VALUES]
    known = {member for kind in kinds for member in public_members(kind) | fields_of(kind)}
    used = re.findall(r"(?<![/\w])(?:server|ledger|gate)\.([a-z]\w+)\b(?!\.)", path.read_text("utf-8"))

    assert [name for name in used if name not in {*known, "md"}] == []  # ledger.md is a page


def test_every_fixture_marker_and_option_of_pytest_is_in_the_reference(page):
    parser = Registered()
    pytest_plugin.pytest_addoption(parser)
    fixtures = [name for name, value in vars(pytest_plugin).items() if is_fixture(value)]
    names = [*pytest_plugin.FIXTURES, *fixtures, *parser.names, "@pytest.mark.faults("]

    assert [name for name in names if f"\n- `{name}" not in page] == []
    assert len(parser.names) >= 5


class Registered:
    """The names of the options that the plugin registers."""

    def __init__(self):
        self.names = []

    def getgroup(self, *_):
        return self

    def addoption(self, name, **_):
        self.names.append(name)

    def addini(self, name, *_, **__):
        self.names.append(name)


def is_fixture(value):
    return type(value).__name__ == "FixtureFunctionDefinition" or hasattr(value, "_pytestfixturefunction")


def test_every_command_and_each_option_of_it_is_in_the_reference(page):
    top, _ = parser_of([])
    commands = commands_in(top)
    for name, parser in commands.items():
        own = page.partition(f"\n### `faultline {name}`\n")[2].partition("\n##")[0]
        options = [a.option_strings[0] if a.option_strings else f"[{a.metavar}" for a in parser._actions]
        assert [each for each in options if each != "-h" and f"\n- `{each}" not in own] == [], name
    assert {"serve", "relay", "proxy", "modes", "control", "audit", "explain", "probe", "completion"} <= {*commands}


def test_every_schema_is_in_the_reference(page):
    assert [path.name for path in DOCS.glob("*.schema.json") if path.name not in page] == []


def test_reference_is_made_from_the_docstrings(page, capsys):
    runpy.run_path(str(DOCS / "make_reference.py"))

    assert NAMED.findall(page) == NAMED.findall(capsys.readouterr().out)
