"""The Python of the page on databases and brokers passes, before a real PostgreSQL and a real Redis."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent.parent / "docs/databases.md"
FIXTURES = """
import pytest

@pytest.fixture
def postgres():
    return {postgres!r}

@pytest.fixture
def redis_address():
    return {redis!r}
"""


@pytest.mark.slow
def test_the_python_of_the_page_passes(pytester, monkeypatch, postgres, redis_server):
    for package in ("pika", "psycopg", "redis"):
        pytest.importorskip(package)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    pytester.makeconftest(FIXTURES.format(postgres=postgres.address, redis=redis_server.address))
    pytester.makepyfile("\n".join(code))
    result = pytester.runpytest_inprocess("-p", "timeout", "-p", "faultline", "--tb=native")

    result.assert_outcomes(passed=6)
