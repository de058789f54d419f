"""Each client with a bug is found, and nothing else is found in it; careful clients are clean."""

from __future__ import annotations

import os

import pytest

from faultline._audit.run import JOBS, Setup, jobs_for
from faultline._audit.target import Target

pytestmark = pytest.mark.slow
HERE = "audit.clients_with_bugs"
SOME = ("ok", "reset", "stall", "blackhole")
HANGS = {"modes": ("stall", "blackhole", "ok")}
# The client, the cases in which it is looked at, and the verdict.
BUGS = [
    ("no_connect_timeout", HANGS, "hung"),
    ("no_read_timeout", HANGS, "hung"),
    ("swallows", {"modes": ("sse", "close")}, "swallowed"),
    ("swallows_everything", {"modes": ("reset",)}, "swallowed"),
    ("leaks_a_socket", {"modes": ("close",)}, "leaked"),
    ("leaks_always", {"modes": ("ok",)}, "leaked"),
    ("leaks_a_file", {"modes": ("reset",)}, "leaked"),
    ("leaks_a_thread", {"modes": ("refuse", "half_close")}, "leaked"),
    ("leaks_a_task", {"modes": ("refuse", "half_close")}, "leaked"),
    ("leaks_a_program", {"modes": ("half_close",)}, "leaked"),
    ("forks", {"modes": ("ok",)}, "leaked"),
    ("hammers", {"modes": ("refuse", "half_close")}, "hammered"),
    ("retries_a_post", {"modes": ("reset", "refuse")}, "retried a POST"),
    ("ignores_retry_after", {"modes": ("status", "refuse")}, "ignored Retry-After"),
    ("trusts_anybody", {"modes": ("bad_cert", "bad_tls"), "tls": True}, "accepted a bad certificate"),
    ("trusts_anybody_then", {"modes": ("bad_cert",), "tls": True}, "accepted a bad certificate"),
    ("falls_back", {"modes": ("bad_tls",), "tls": True}, "fell back to plain text"),
    ("poisoned_pool", {"modes": ("malformed", "ok")}, "poisoned"),
    ("exits", {"modes": ("half_close",)}, "crashed"),
    ("leaves", {"modes": ("half_close",)}, "crashed"),
    ("dies", {"modes": ("refuse",)}, "crashed"),
    ("changes_its_mind", {"modes": ("refuse",), "runs": 2}, "inconsistent"),
]


@pytest.mark.parametrize(("name", "choice", "verdict"), BUGS, ids=[name for name, *_ in BUGS])
def test_a_bug_is_found_and_nothing_else(name, choice, verdict, audited, tmp_path):
    usual = {"tls": False, "factory": name.endswith("_pool"), "timeout_seconds": 2 if verdict == "hung" else 60}
    audit = audited(f"{HERE}:{name}", environment={"FAULTLINE_TEST_RUNS": str(tmp_path / "runs")}, **usual | choice)

    assert {v for case in audit.results for v in case.verdicts} - {"handled", "not run"} == {verdict}, str(audit)
    if verdict == "hung":  # where it waits is said
        assert {case.reason.partition(":")[0] for case in audit.found("hung")} == {name.replace("_", " ")}


# `careful` meets the whole catalogue elsewhere, with TLS and without.
@pytest.mark.parametrize(("name", "tls"), [("careful_async", True), ("careful_pool", False)])
def test_a_careful_client_is_clean(name, tls, audited):
    audit = audited(f"{HERE}:{name}", modes=SOME, tls=tls, factory=name.endswith("_pool"), timeout_seconds=60)

    assert audit.found() == (), str(audit)
    assert len(audit.results) > 20


@pytest.mark.parametrize("timeout", [None, 0.3])
def test_requests_hangs_at_every_stall_unless_it_has_a_timeout(timeout, audited):
    audit = audited(
        f"audit.clients_of_requests:{'default' if timeout is None else 'with_a_timeout'}",
        modes=("stall", "blackhole"),
        tls=False,
        timeout_seconds=2 if timeout is None else 60,
    )
    stalls = [str(c.row) for c in audit.results if c.row.case.sees == "TimeoutError" and c.point != "idle"]

    assert len(stalls) > 5
    assert [str(case.row) for case in audit.found("hung")] == ([] if timeout else stalls)


def test_a_client_that_is_slow_by_itself_is_run_less_often_at_a_time():
    cores = len(os.sched_getaffinity(0))

    assert jobs_for(0.001, Setup(Target())) == JOBS
    assert jobs_for(1.0, Setup(Target(), limit_seconds=8.0)) == 2 * cores
    assert jobs_for(100.0, Setup(Target())) == 1
