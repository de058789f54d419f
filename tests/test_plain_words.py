"""Texts and comments name things by nouns: no `so many`, `one that` or `else` stands for them."""

from __future__ import annotations

import argparse
import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

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
    r"|\b(tuple|plan|list) of some\b|\bone with(out)?\b|\bfields? about\b"
    r"|\bexpected none\b|\bsays? (none|it all|bytes alone)\b|\b(gives|plays) no (such|answer of)\b"
)
AFTER = re.compile(r"\b(strikes?|stands?|goes?|comes?|mode|requests?|fields?|bytes|message|path|close) behind\b")
INVERTED = re.compile(r", (by|in|of|to|from|at|for|behind|inside) (which|whom|whose)\b")  # in a message, which is short

IN_MESSAGES = (PLACEHOLDERS, INVERTED, AFTER)


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


TOP = Path(__file__).parent.parent
MADE_OR_PAST = ("modes", "reference", "atlas", "changelog")  # from docstrings, whose words are tested above


def pages() -> Iterator[tuple[str, str]]:
    """The sentences of the pages, without code."""
    for page in (*TOP.glob("docs/*.md"), TOP / "README.md", TOP / "CONTRIBUTING.md", TOP / "SECURITY.md"):
        if page.stem not in MADE_OR_PAST:
            yield page.name, plain_text(re.sub(r"(?s)```.*?```", "", page.read_text("utf-8")))


SOURCE = Path(faultline.__file__).parent
TRIPLE = re.compile(r'(^ *r?|)"""(.*?)"""', re.DOTALL | re.MULTILINE)


def notes() -> Iterator[tuple[str, str]]:
    """The comments and the docstrings of every module, without code and examples."""
    for path in SOURCE.rglob("*.py"):
        lines = path.read_text("utf-8")
        found = TRIPLE.finditer(lines)
        texts = [m[2].partition("Example:")[0] for m in found if m[1] or not m.start()]
        texts += re.findall(r"(?:^|  )# (.*)", TRIPLE.sub("", lines), re.MULTILINE)
        for text in texts:
            yield path.stem, plain_text(text)


def plain_text(text: str) -> str:
    """A text without code, and without `nothing else` and the like."""
    return re.sub(
        r"(?i)\b((some|any|no|every)(thing|where|body))\s+else\b", "others", re.sub(r"``?[^`]*``?", "`code`", text)
    )


ADVICE = ["advice", "reasons", "waited", "websocket_reasons", "http2_reasons"]  # their functions return sentences


def messages() -> Iterator[tuple[str, str]]:
    """The texts of errors and of the guard's advice, with `{}` for what is put in."""
    for path in SOURCE.rglob("*.py"):
        text = path.read_text("utf-8")
        if not any(pattern.search(text) for pattern in IN_MESSAGES):
            continue  # parsing costs more
        tree = ast.parse(text)
        advises = path.parent.name == "_core" and path.stem in ADVICE
        for node in ast.walk(tree):
            name = getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""
            if name.endswith("Error") or name in ("rejected", "Why") or (advises and isinstance(node, ast.Return)):
                yield f"{path.stem}:{node.lineno}", " ".join(written(node))


def written(node: ast.AST) -> Iterator[str]:
    """The texts within a node, without names in quotation marks."""
    for child in ast.walk(node):
        if isinstance(child, ast.Constant) and isinstance(child.value, str):
            yield re.sub("`[^`]*`|'[^']*'", "`code`", child.value)


@pytest.mark.parametrize(
    "texts",
    [docstrings, helps, pages, pytest.param(notes, marks=pytest.mark.slow)],
    ids=lambda function: function.__name__,
)
def test_no_placeholder_stands_for_a_noun(texts):
    found = [
        f"{name}: …{text[max(0, m.start() - 60) : m.end() + 40]}…"
        for name, text in texts()
        for m in (*PLACEHOLDERS.finditer(text), *(AFTER.finditer(text) if texts is not notes else ()))
    ]

    assert found == []


@pytest.mark.slow
def test_messages_name_things_by_nouns_and_have_no_clause_inverted():
    told = [(where, text) for where, text in messages() if any(pattern.search(text) for pattern in IN_MESSAGES)]

    assert told == []
