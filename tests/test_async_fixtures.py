"""The fixtures in async tests: unchanged, under pytest-asyncio and under anyio."""

import re

import pytest

pytestmark = pytest.mark.slow

# One framework only, so that each is seen to suffice.
FRAMEWORKS = {
    "asyncio": ("-p", "asyncio", "-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"),
    "anyio": ("-p", "anyio"),
}


@pytest.fixture(scope="module", params=FRAMEWORKS.values(), ids=FRAMEWORKS)
def inner(request, run_inner):
    return run_inner("asynchronous.py", "-W", "error", *request.param)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("recovers", 1),  # the factory serves a client in the loop of the test
        ("ten", 1),  # clients of one loop wait at the same time
        ("ready_made", 6),
        ("marked", 3),
        ("answers", 1),  # an async fixture builds on the factory
        ("serves", 1),  # the context manager of the package
    ],
)
def test_fixtures_serve_clients_of_the_loop(inner, name, count):
    found = [came for test, came in inner.outcomes.items() if re.fullmatch(rf"test_{name}(\[.*\])?", test)]

    assert found == [["PASSED"]] * count


def test_guard_fails_a_test_whose_fault_never_struck(inner):
    assert inner.outcomes["test_forgets_to_connect"] == ["PASSED", "ERROR"]
    assert "reset() never struck: no client connected to 127.0.0.1:" in inner.told["test_forgets_to_connect"]


def test_failing_test_is_explained_by_its_conversation(inner):
    told = inner.told["test_expects_too_much"]

    assert inner.outcomes["test_expects_too_much"] == ["FAILED"]
    assert re.search(r"^-+ faultline -+\nhttp://127\.0\.0\.1:\d+ reset\(\)$", told, re.MULTILINE)
    assert "RST: struck at 'response'" in told


def test_hung_client_is_named(inner):
    assert inner.outcomes["test_waits_for_ever"] == ["FAILED"]
    assert re.match(
        r"(Failed: )?no timeout: the client was still waiting at `response` after \S+ s \(attempt 1, ",
        inner.reasons["test_waits_for_ever"],
    )
