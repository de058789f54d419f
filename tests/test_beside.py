"""Other plugins and loops: pytest-rerunfailures and -randomly, unittest, uvloop, and a run without our plugin."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from support import PATIENCE_SECONDS, inner

from faultline import bad_cert, close, ok, refuse, reset, sequence, serve, stall

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def again(run_inner):
    return run_inner("again.py", "-p", "rerunfailures", "--reruns", "1")


@pytest.mark.skipif(find_spec("pytest_rerunfailures") is None, reason="needs pytest-rerunfailures")
@pytest.mark.parametrize(
    "name",
    [
        "test_each_run_has_a_server_of_its_own",
        "test_each_fault_is_tried_again[refuse()]",
        "test_each_fault_is_tried_again[reset()]",
        "test_guard_is_asked_in_each_run",
    ],
)
def test_a_test_that_runs_again_has_a_fresh_server_and_a_fresh_guard(again, name):
    assert again.outcomes[name][-1] == "PASSED", again.out


def test_random_order_and_a_seed_before_each_test_change_no_choice_of_a_fault(run_inner):
    """pytest-randomly shuffles the tests, and seeds `random` before each; the run's own seed decides what is dealt."""
    runs = [
        run_inner("shuffled.py", "-p", "randomly", f"--randomly-seed={seed}", "--faultline-seed=7") for seed in (1, 2)
    ]
    dealt = [{name: re.findall("^dealt (.*)$", told, re.MULTILINE) for name, told in run.told.items()} for run in runs]
    orders = [[name for name in run.told if name.startswith("test_choices")] for run in runs]

    assert [{*map(str, run.outcomes.values())} for run in runs] == [{"['PASSED']"}] * 2
    assert [len(run.outcomes) for run in runs] == [10, 10]
    assert dealt[0] == dealt[1]
    assert len({str(dealt[0][name]) for name in orders[0]}) == 8
    assert orders[0] != orders[1]


def test_unittest_alone_runs_the_test_case_of_the_page_and_nothing_warns(tmp_path):
    page = (Path(__file__).parents[1] / "docs/unittest.md").read_text("utf-8")
    (tmp_path / "test_it.py").write_text(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0], "utf-8")
    command = [sys.executable, "-X", "dev", "-W", "error", "-m", "unittest"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS * 6
    )

    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "OK"), done.stderr
    assert "Ran 2 tests in " in done.stderr


def test_without_the_plugin_servers_work_and_its_fixtures_are_unknown(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:faultline",
            "-p",
            "no:cacheprovider",
            "-q",
            "-c",
            os.devnull,
            "--rootdir",
            str(tmp_path),
            str(inner.FOLDER / "without.py"),
            "--noconftest",
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS * 6,
    )

    assert "2 passed, 1 error" in done.stdout
    assert "fixture 'reset_server' not found" in done.stdout


async def met(server, *, tls=False):
    """What a client of asyncio's streams meets: the text, or the name of the error."""
    options = {"ssl": server.client_context(), "server_hostname": "localhost"} if tls else {}
    try:
        reader, writer = await asyncio.open_connection(*server.address, **options)
        try:
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return (await asyncio.wait_for(reader.read(), 0.3)).rpartition(b"\r\n")[2].decode()
        finally:
            writer.close()
    except Exception as error:  # noqa: BLE001 - its name is the outcome
        return type(error).__name__


def test_clients_on_uvloop_meet_each_fault():
    """uvloop connects without an audit event, so that only what is accepted is counted without raw sockets."""
    uvloop = pytest.importorskip("uvloop")

    async def all_of_them():
        with serve(sequence(reset(), close(), stall(), ok(b"well"))) as server:
            plain = [await met(server) for _ in range(4)]
            attempts = len(server.attempts)
        with serve(bad_cert("expired"), strict=False) as server:
            plain.append(await met(server, tls=True))
        with serve(refuse(), strict=False) as server:
            plain.append(await met(server))
        return attempts, plain

    with contextlib.closing(uvloop.new_event_loop()) as loop:
        assert loop.run_until_complete(all_of_them()) == (
            4,
            ["ConnectionResetError", "", "TimeoutError", "well", "SSLCertVerificationError", "ConnectionRefusedError"],
        )
