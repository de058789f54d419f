"""Every example in a docstring is run as it stands."""

from __future__ import annotations

import doctest
import functools
import importlib
import pkgutil

import pytest

import faultline
from faultline._net.system import LACKS, is_linux
from faultline.modes import _catalogue

FLAGS = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL | doctest.NORMALIZE_WHITESPACE
MODULES = [
    "faultline",
    *(m.name for m in pkgutil.walk_packages(faultline.__path__, "faultline.") if m.name[-2:] != "__"),
]


def found():
    """All examples by the name of what they explain.

    A module's own finder passes over modes, whose code is the decorator's, and over classes that say they are from
    `faultline`; so everything public is looked through once more by name.
    """
    finder = doctest.DocTestFinder(exclude_empty=True)
    tests = [test for name in MODULES for test in finder.find(importlib.import_module(name), globs={})]
    for name in faultline.__all__:
        tests += finder.find(getattr(faultline, name), f"faultline.{name}", module=False, globs={})
    return {test.docstring: test for test in tests if test.examples}.values()


@functools.cache
def examples():
    """The same, which takes too long where tests are only collected."""
    return {test.name: test for test in found()}


@pytest.mark.slow
@pytest.mark.everywhere
def test_examples_run_as_they_stand():
    said = {}
    for name, test in examples().items():
        words = said[name] = []
        result = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=words.append)
        assert (name, result.attempted) == (name, len(test.examples))
        if not is_linux() and any(why in word for word in words for why in LACKS.values()):
            words.clear()

    assert {name: "".join(words) for name, words in said.items() if words} == {}


@pytest.mark.slow
def test_every_mode_and_each_function_that_users_begin_with_has_an_example_that_was_found():
    begun = {"serve", "raises", "root_cause", "sequence", "cycle", "sometimes", "when", "script"}

    assert {f"faultline.{name}" for name in _catalogue.modes()} - {*examples()} == set()
    assert begun - {name.rpartition(".")[2] for name in examples()} == set()
