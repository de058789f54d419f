"""The messages count in the singular and in the plural, all by one function."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from support.tables import each_row

import faultline
from faultline._core.attempts import Attempt
from faultline._core.counts import counted
from faultline._core.fault import Fault
from faultline._core.milestones import too_few
from faultline._core.report import describe

HOUSE = Path(faultline.__file__).parent
NOUN = (
    "attempt byte case character condition connection datagram error fault message minute pause promise query record "
    "request server step strike test turn"
).replace(" ", "|")
PLURAL = re.compile(rf" (?:(?:earlier|later|more|older|other) )?(?:{NOUN})s\b")


@each_row(
    ("number", "noun", "text"),
    [(0, "byte", "0 bytes"), (1, "byte", "1 byte"), (2, "byte", "2 bytes"), (1, "more turn", "1 more turn")],
)
def test_noun_has_the_form_of_its_number(number, noun, text):
    assert counted(number, noun) == text


def is_counted(value, following):
    """Whether a text has a plural for whatever number; a constant has one plural, and so has a decimal fraction."""
    is_number = isinstance(value, ast.FormattedValue) and value.format_spec is None
    is_number = is_number and not ast.unparse(value.value).isupper()
    return is_number and isinstance(following, ast.Constant) and PLURAL.match(following.value) is not None


def plurals_in(source):
    """The texts of a module that have a number in front of a fixed plural."""
    texts = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.JoinedStr)]
    pairs = [(text, *pair) for text in texts for pair in zip(text.values, text.values[1:], strict=False)]
    return [ast.unparse(text) for text, value, following in pairs if is_counted(value, following)]


@pytest.mark.slow
@each_row("path", sorted(HOUSE.rglob("*.py")))
def test_no_message_has_a_plural_for_whatever_number(path):
    assert plurals_in(path.read_text("utf-8")) == []


@each_row(
    ("source", "count"),
    [('f"{n} bytes"', 1), ('f"{len(x)} more turns"', 1), ('f"{MOST} bytes"', 0), ('f"{n:.1f} minutes"', 0)],
)
def test_plural_for_whatever_number_is_found(source, count):
    assert len(plurals_in(source)) == count


ONE = Attempt(1, 1, Fault(), "response", 1.0, received_bytes=1, sent_bytes=1)


@each_row(
    ("text", "part"),
    [
        (describe(ONE), "received 1 and sent 1 byte, "),
        (str(too_few(0, 1, 1, "end", 1.0)), "0 of 1 attempt reached 'end' within 1 s; attempts in all: 1."),
    ],
)
def test_message_about_one_has_the_singular(text, part):
    assert part in text
