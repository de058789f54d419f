"""`pytest --faultline-html`: a page that draws what the servers of a run's tests saw."""

from __future__ import annotations

import re

import pytest
from support.tables import each_row

pytestmark = pytest.mark.slow
ALONE = ("-p", "timeout", "-p", "faultline", "-p", "no:cacheprovider")
TESTS = """
import os, urllib.request
import pytest
from faultline import ok, reset, serve

def test_b_fails(faultline, tmp_path):
    os.chdir(tmp_path)
    urllib.request.urlopen(faultline.serve(reset()).url, timeout=5)

def test_a_passes(faultline):
    urllib.request.urlopen(faultline.serve(ok(b"<b>")).url, timeout=5).close()

def test_of_its_own():
    with serve(ok()) as server:
        urllib.request.urlopen(server.url, timeout=5).close()

def test_without_a_server():
    assert not 1

def test_without_a_server_passes():
    pass
"""


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Have inner runs load no plugins of others."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


@pytest.fixture
def page(pytester):
    """A function that runs the tests with options, and returns the page."""

    def made(*options):
        pytester.makepyfile(TESTS)
        result = pytester.runpytest_inprocess(*ALONE, "--faultline-html=page.html", *options)
        result.assert_outcomes(passed=3, failed=2)
        return (pytester.path / "page.html").read_text("utf-8")

    return made


def drawn_on(text):
    """The tests on the page, with their outcomes."""
    return [(name, how) for how, name in re.findall(r">(\w+)</span> <code>[^<]*::(\w+)</code></h2>", text)]


def test_each_server_of_a_failing_test_is_drawn(page):
    text = page()

    assert drawn_on(text) == [("test_b_fails", "failed")]
    assert "RST: struck at" in text
    assert "<h3>&lt;Server http://127.0.0.1:" in text
    assert text.startswith("<!DOCTYPE html>")


@pytest.mark.measured
def test_all_tests_are_drawn_where_that_is_asked_for(page):
    text = page("--faultline-html-all")

    assert drawn_on(text) == [("test_b_fails", "failed"), ("test_a_passes", "passed"), ("test_of_its_own", "passed")]
    assert text.count("<svg ") == 3


@pytest.mark.measured
def test_workers_of_xdist_send_their_drawings(page):
    assert drawn_on(page("-p", "xdist", "-n", "1")) == [("test_b_fails", "failed")]


def test_a_run_without_servers_says_so(pytester):
    pytester.makepyfile("def test_nothing(): assert not 1")
    pytester.runpytest_inprocess(*ALONE, "--faultline-html=page.html")

    assert "Nothing: no such test had a server." in (pytester.path / "page.html").read_text("utf-8")


@each_row(
    "word, expected",
    [
        ("--faultline-html=/nowhere/a", "--faultline-html=/nowhere/a: expected a place to write to (No such file *)."),
        ("--faultline-html=/", "--faultline-html=/: expected a place to write to (Is a directory)."),
        ("--faultline-html-all", "--faultline-html-all: expected --faultline-html=PATH with it."),
    ],
)
@pytest.mark.measured
def test_a_mistake_is_a_usage_error(word, expected, pytester):
    result = pytester.runpytest_inprocess(*ALONE, word)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(f"*{expected}")
