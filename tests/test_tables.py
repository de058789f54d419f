"""One test for all rows of a table meets each of them, and tells every one that fails."""

from __future__ import annotations

import pytest
from support.tables import each_row


def test_each_row_of_both_tables_is_met_and_all_that_fail_are_told(request):
    met = []

    @each_row("first", [1, pytest.param(2, id="two")])
    @each_row("second, third", [("a", "b"), ("c", "d")])
    def test(request, first, second, third):
        met.append((request, first, second, third))
        if first == 2:
            assert second == "x"
        elif second == "c":
            pytest.fail("row of another error")

    with pytest.raises(pytest.fail.Exception) as raised:
        test(request=request)

    assert met == [(request, first, *rest) for first in (1, 2) for rest in (("a", "b"), ("c", "d"))]
    said = str(raised.value)
    assert said.startswith("2 of 2 rows\n(1,)\n")
    assert [said.count(f"\n{error}") for error in ("Failed: row", "AssertionError: assert")] == [1, 2]


@pytest.mark.parametrize("rows", [[], [pytest.param(1, marks=pytest.mark.skip)]])
def test_a_table_without_rows_or_with_marks_is_an_error(rows):
    with pytest.raises(AssertionError, match=r"expected (at least one row|no marks)"):
        each_row("value", rows)
