"""The command in processes of its own: signals, a reader that goes away, and what is left at the end of the process."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support import GET, PATIENCE_SECONDS, to_end

from faultline import __version__, ok, serve

pytestmark = pytest.mark.slow
FAULTLINE = f"{shlex.quote(sys.executable)} -m faultline"


@pytest.fixture
def start(monkeypatch, tmp_path):
    """A function that starts a line of the shell; what still runs is ended after the test."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # as users have it: what is not flushed is not seen yet
    with contextlib.ExitStack() as running:

        def started(line, stdout=subprocess.PIPE):
            process = subprocess.Popen(
                ["sh", "-c", f"exec {line}"],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.PIPE,
                text=True,
                cwd=tmp_path,
            )
            running.enter_context(process)
            running.callback(process.terminate)
            return process

        yield started


def client_of(process):
    """A client of the port that the first line of a process says."""
    port = int(re.search(r" on (?:http://)?127\.0\.0\.1:(\d+)", process.stdout.readline())[1])
    return socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)


def test_signals_stop_each_server_at_once_with_a_summary(start):
    with serve(ok()) as real, contextlib.ExitStack() as clients:
        started = {
            ("serve --mode stall --after-bytes 1", signal.SIGINT): 1,
            (f"relay --upstream {real.hostport} --mode stall --after-bytes 1", signal.SIGTERM): 1,
            ("serve --mode bad-dns --kind silence", signal.SIGINT): 0,
        }
        processes = {key: start(f"{FAULTLINE} {key[0]}") for key in started}
        heard, ends = {}, {}
        for key, process in processes.items():
            heard[key] = clients.enter_context(client_of(process))
            heard[key].sendall(GET if started[key] else b"")
            assert not started[key] or heard[key].recv(1) == b"H"
        for key, process in processes.items():
            process.send_signal(key[1])
            printed, complaint = process.communicate()
            *attempts, last = printed.splitlines()
            is_told = all("struck at 'response'" in a and "ended by the server (stop) after" in a for a in attempts)
            summary = re.sub(r"after \d+\.\d s", "after … s", last)
            ends[key] = (process.returncode, complaint, is_told, len(attempts), summary, to_end(heard[key]))

    summaries = {1: "stopped after … s: 1 attempt, 1 struck", 0: "stopped after … s: 0 attempts, 0 struck"}
    assert ends == {key: (0, "", True, count, summaries[count], (b"", "FIN")) for key, count in started.items()}


def test_reader_that_goes_away_ends_the_command_without_an_error(start):
    read, unread = os.pipe()
    os.close(read)
    never = {words: start(f"{FAULTLINE} {words}", unread) for words in ("modes", "serve --mode ok")}
    os.close(unread)
    later, stopped = start(f"{FAULTLINE} serve --mode close"), start(f"{FAULTLINE} serve --mode ok")
    with client_of(later) as client:
        later.stdout.close()
        client.sendall(GET)
        assert to_end(client) == (b"", "FIN")
    assert stopped.stdout.readline()
    stopped.stdout.close()
    stopped.send_signal(signal.SIGTERM)

    ends = {
        name: (process.stderr.read(), process.wait())
        for name, process in {**never, "a later line": later, "the last line": stopped}.items()
    }
    assert ends == dict.fromkeys(ends, ("", 0))


def test_process_ends_with_its_status_and_no_traceback_whatever_can_be_written(start):
    installed = shutil.which("faultline", path=Path(sys.executable).parent) or FAULTLINE
    full = "faultline: standard output: expected a place to write to (No space left on device).\n"
    expected = {
        f"{FAULTLINE} modes >/dev/full": (1, "", full),
        f"{FAULTLINE} modes >&- 2>&-": (0, "", ""),
        f"{FAULTLINE} serve --mode rest 2>&-": (2, "", ""),
        f"{installed} --version": (0, f"faultline {__version__}\n", ""),
    }
    processes = {line: start(line) for line in expected}
    ends = {line: (*process.communicate(), process.returncode) for line, process in processes.items()}

    assert {line: (code, printed, complaint) for line, (printed, complaint, code) in ends.items()} == expected
