"""Tables of values: one test for all rows of a table, which tells every row that fails."""

from __future__ import annotations

import functools
import inspect
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest

from .portable import lacking


def each_row(names, rows):
    """As `pytest.mark.parametrize`, in one test: a case costs some milliseconds, which is much for a row of values."""
    names = [name.strip() for name in names.split(",")] if isinstance(names, str) else names
    rows = [values_of(row, len(names)) for row in rows]
    assert rows, "expected at least one row"

    def decorate(test):
        signature = inspect.signature(test)

        @functools.wraps(test)
        def all_rows(**fixtures):
            failed, lacks = [], set()
            for row in rows:
                try:
                    test(**fixtures, **dict(zip(names, row, strict=True)))
                except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - what else is told as it is
                    if why := lacking(error):
                        lacks.add(why)
                        continue
                    failed.append(f"{row!r}\n{''.join(traceback.format_exception(error))}")
            if failed:
                pytest.fail("\n".join([f"{len(failed)} of {len(rows)} rows", *failed]), pytrace=False)
            if lacks:
                pytest.skip(min(lacks))

        others = [parameter for name, parameter in signature.parameters.items() if name not in names]
        all_rows.__signature__ = signature.replace(parameters=others)
        return all_rows

    return decorate


def side_by_side(test, rows, *, at_once):
    """Call a test with each row, some rows at a time in threads of their own: for rows that wait.

    Every row that fails is told; a row that is skipped skips the test if no row fails.
    """
    with ThreadPoolExecutor(at_once) as pool:
        runs = [(row, pool.submit(test, *row)) for row in rows]
    skipped = [run.exception() for _, run in runs if isinstance(run.exception(), pytest.skip.Exception)]
    if others := [each for each in runs if each[1].exception() not in skipped]:
        each_row("row, run", others)(result_of)()
    if skipped:
        raise skipped[0]


def result_of(row, run):
    """What the test of a row returned, or raised."""
    del row
    run.result()


def values_of(row, count):
    """The values of a row, which `pytest.param` may have made, but not marked."""
    if isinstance(row, type(pytest.param())):
        assert not row.marks, f"{row}: expected no marks"
        return tuple(row.values)
    return (row,) if count == 1 else tuple(row)
