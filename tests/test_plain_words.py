"""The texts for users name things by nouns: no `so many`, `one that` or `else` stands for them."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Iterator

import pytest

import faultline
from faultline import pytest_plugin, strategies
from faultline._front.commands import parser_of
from faultline._front.completion import commands_in
from faultline.modes._catalogue import modes

PLACEHOLDERS = re.compile(
    r"(?i)\bso (many|long|often|much|late)\b(?! (that|as)\b)"  # a number or a time
    r"|\b(the )?ones? (that|who|which|of which)\b"  # a noun
    r"|\b(or )?else\b(?! (has|is)\b)"  # a condition
    r"|\b(the former|the latter|thereof|whereof|thereby|hereby|wherein|therein)\b"
)


def prose(thing: object) -> str:
    """A docstring without its example, and without code."""
    return re.sub(r"``?[^`]*``?", "`code`", (inspect.getdoc(thing) or "").partition("\nExample:")[0])


def docstrings() -> Iterator[tuple[str, str]]:
    """The docstrings of every public name, and of every member of a public class."""
    named = {name: getattr(faultline, name) for name in faultline.__all__}
    named |= {f"strategies.{name}": getattr(strategies, name) for name in strategies.__all__}
    for name, thing in named.items():
        yield name, prose(thing)
        if isinstance(thing, type) and not issubclass(thing, Exception):
            for member in dir(thing):
                value = inspect.getattr_static(thing, member)
                if not member.startswith("_") and (callable(value) or isinstance(value, property)):
                    yield f"{name}.{member}", prose(getattr(thing, member) if callable(value) else value)


def helps() -> Iterator[tuple[str, str]]:
    """The help of each command, of its options, of the options of modes, and of pytest."""
    for command, parser in commands_in(parser_of([])[0]).items():
        for action in parser._actions:
            yield f"{command} {action.option_strings or action.dest}", action.help or ""
    for name, mode in modes().items():
        for parameter in mode.parameters:
            yield f"{name}({parameter.name})", re.sub("`[^`]*`", "`code`", parameter.text)
    told: list[tuple[str, str]] = []
    option = argparse.Namespace(addoption=lambda name, **given: told.append((name, given["help"])))
    registry = argparse.Namespace(
        getgroup=lambda *_: option, addoption=option.addoption, addini=lambda name, text, **_: told.append((name, text))
    )
    pytest_plugin.pytest_addoption(registry)
    yield from told


@pytest.mark.parametrize("texts", [docstrings, helps], ids=lambda function: function.__name__)
def test_no_placeholder_stands_for_a_noun(texts):
    found = [
        f"{name}: …{text[max(0, m.start() - 60) : m.end() + 40]}…"
        for name, text in texts()
        for m in PLACEHOLDERS.finditer(text)
    ]

    assert found == []
