"""The fixture `faultline_control`, in a run of pytest of its own."""

from __future__ import annotations

import pytest

FAILING = """
import json, urllib.request
import faultline


def test_it(faultline_control):
    with faultline.serve(faultline.ok(b"hello")) as real:
        for name in ("web", "gone"):
            body = json.dumps({"name": name, "upstream": real.hostport}).encode()
            made = json.load(urllib.request.urlopen(f"{faultline_control.url}/proxies", body))
            urllib.request.urlopen(f"http://{made['listen']}/").read()
        gone = urllib.request.Request(f"{faultline_control.url}/proxies/gone", method="DELETE")
        urllib.request.urlopen(gone)
        assert [*faultline_control.proxies] == ["web"]
        assert 0
"""


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    """Plugins are those that a run names."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


@pytest.mark.slow
def test_a_failing_report_draws_each_proxy_also_one_that_is_deleted(pytester):
    pytester.makepyfile(FAILING)
    result = pytester.runpytest_inprocess("-p", "faultline", "-p", "timeout", "--tb=short")

    result.assert_outcomes(failed=1)
    assert sum(line.startswith("relay http://127.0.0.1:") for line in result.outlines) == 2


@pytest.mark.slow
def test_a_test_with_the_fixture_has_a_time_limit(pytester):
    pytester.makepyfile("def test_it(request, faultline_control): assert request.node.get_closest_marker('timeout')")

    pytester.runpytest_inprocess("-p", "faultline", "-p", "timeout").assert_outcomes(passed=1)
