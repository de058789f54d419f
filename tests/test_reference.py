"""The reference has everything that users can write: no public name, member, fixture or option is missing."""

from __future__ import annotations

import argparse
import re
import runpy
from pathlib import Path

import pytest

import faultline
from faultline import pytest_plugin
from faultline._front import command
from faultline.modes._catalogue import modes

DOCS = Path(__file__).parent.parent / "docs"
NAMED = re.compile(r"^(?:- |### )`\.?([^`( ]+)", re.MULTILINE)
CLASSES = [name for name in faultline.__all__ if isinstance(getattr(faultline, name), type)]


@pytest.fixture(scope="module")
def page():
    """The reference as it is in the repository."""
    return (DOCS / "reference.md").read_text("utf-8")


@pytest.mark.parametrize("name", [name for name in faultline.__all__ if name != "__version__"])
def test_every_public_name_is_in_the_reference(name, page):
    assert (f"\n### `{name}`\n" in page) != (name in modes())
    assert (f"[`{name}`](modes.md#{name})" in page) == (name in modes())


@pytest.mark.parametrize("name", [n for n in CLASSES if not issubclass(getattr(faultline, n), Exception)])
def test_every_member_of_a_class_is_in_the_reference(name, page):
    kind = getattr(faultline, name)
    own = page.partition(f"\n### `{name}`\n")[2].partition("\n### ")[0]
    members = [n for n in dir(kind) if not n.startswith("_")] if kind.__name__ == name else []

    assert [n for n in members if f"- `.{n}" not in own and f"- `{n}`" not in own] == []


@pytest.mark.parametrize("name", sorted({*pytest_plugin.FIXTURES, "faultline_ca", "faultline_timeout"}))
def test_every_fixture_and_option_of_pytest_is_in_the_reference(name, page):
    assert f"\n- `{name}`" in page


@pytest.mark.parametrize("add", [command.add_serve_options, command.add_relay_options])
def test_every_option_of_the_command_is_in_the_reference(add, page):
    parser = argparse.ArgumentParser(add_help=False)
    add(parser, [])

    assert [a.option_strings[0] for a in parser._actions if f"\n- `{a.option_strings[0]}" not in page] == []


def test_reference_is_made_from_the_docstrings(page, capsys):
    runpy.run_path(str(DOCS / "make_reference.py"))

    assert NAMED.findall(page) == NAMED.findall(capsys.readouterr().out)
