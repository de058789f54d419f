"""Other plugins and loops: pytest-rerunfailures, uvloop, and a run without the plugin of this package."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from importlib.util import find_spec

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
