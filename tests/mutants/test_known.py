"""The mutants fit the source as it is: each has its text once, and names tests that there are."""

from __future__ import annotations

import ast
from pathlib import Path

from mutants.known import MUTANTS
from support.tables import each_row

import faultline

HOUSE = Path(faultline.__file__).parent
TOP = Path(__file__).parents[2]


@each_row("mutant", MUTANTS)
def test_a_mutant_fits_the_source(mutant):
    assert (HOUSE / mutant.file).read_text("utf-8").count(mutant.old) == 1
    for test in mutant.tests:
        path, _, name = test.partition("::")
        functions = {node.name for node in ast.parse((TOP / path).read_text("utf-8")).body if hasattr(node, "name")}
        assert name.partition("[")[0] in functions, test
