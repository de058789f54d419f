"""The examples of the pages about the API run as they stand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import PATIENCE_SECONDS

from faultline import plan
from faultline._front.control.config import of_toml
from faultline._front.control.toxics import TYPES

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "other-languages.md"


def block(language, number=0):
    """An example in a language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[number]


@pytest.fixture
def ran(faultline_control, web):
    """A function that runs a program on an example, with an API and a real server: its status and what it prints."""

    def run(*words):
        given = os.environ | {"API": faultline_control.url, "REAL": web}
        done = subprocess.run(
            words,
            env=given,
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=3 * PATIENCE_SECONDS,
            check=False,
        )
        return done.returncode, done.stdout

    return run


@pytest.mark.slow
def test_the_example_of_curl_does_what_it_says(ran):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    status, printed = ran("bash", "-c", block("bash"))

    assert (status, re.sub(r"\{.*?\}(?=hello|curl)|\{.*\}", "…", printed)) == (
        0,
        "hello…curl ended with 56\nhello…curl ended with 7\n",
    )


@pytest.mark.slow
def test_the_example_of_other_kinds_does_what_it_says(ran, faultline_control, tmp_path, monkeypatch):
    pytest.importorskip("dns")
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    monkeypatch.setenv("CA", str(tmp_path / "ca.pem"))

    assert ran("bash", "-c", block("bash", 1)) == (0, "ok\ncurl ended with 60\nstatus 407\n")
    assert [repr(server.plan) for server in faultline_control.proxies.values()] == [
        "bad_cert('expired')",
        "status(407)",
    ]
    assert repr(faultline_control.dns_servers["names"].plan) == "nxdomain()"


@pytest.mark.slow
def test_the_example_of_node_passes(ran, node, tmp_path):
    script = tmp_path / "example.js"
    script.write_text(block("js"))
    status, printed = ran(node, "--test", script)

    assert (status, "# pass 2" in printed) == (0, True), printed


@pytest.mark.slow
def test_the_examples_of_python_pass(pytester, monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(block("python"))

    pytester.runpytest_inprocess("-p", "faultline", "-p", "timeout").assert_outcomes(passed=2)


def test_the_example_of_toml_is_read():
    pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    given = {"name": "redis", "listen": "127.0.0.1:26379", "upstream": "127.0.0.1:6379", "enabled": True}
    given["toxics"] = [{"type": "latency", "attributes": {"latency": 100}}]

    assert [entry.given for entry in of_toml("x.toml", block("toml"))] == [given]


def test_the_table_of_toxics_has_each_type_with_its_attributes_and_a_plan():
    rows = re.findall(
        r"^\| `(\w+)` \| (.*?) \|.*\| (.*?) \|$", (DOCS / "toxiproxy.md").read_text("utf-8"), re.MULTILINE
    )
    named = {kind: re.findall(r"`(\w+)`", attributes) for kind, attributes, _ in rows}
    plans = [text for *_, python in rows for text in re.findall(r"`(.+?)`", python)]

    assert named == {kind: [*TYPES[kind].attributes] for kind in TYPES}
    assert [text for text in plans if not repr(plan(text)).startswith(text.partition("(")[0])] == []
    assert len(plans) >= len(TYPES) - 1
