"""`faultline audit`: its lines, its table, its JSON, and its exit statuses."""

from __future__ import annotations

import json
import os
import re
import select
import shlex
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from support.tables import each_row

from faultline import AuditCase, Finding
from faultline._audit import audited, left
from faultline._front.command import main

HERE = "audit.clients_with_bugs"
TESTS = str(Path(__file__).parents[1])
LINE = re.compile(r"(handled|hung|swallowed|crashed|not run): .+: .+\.")


class Played:
    """What an audit finds, without any process: a verdict for all cases of a mode."""

    def __init__(self, verdicts, setup):
        self.rows, self._verdicts = setup.rows, verdicts

    def start(self, put):
        for row in self.rows:
            verdict = self._verdicts.get(row.case.mode, "handled")
            put(AuditCase(row, (Finding(verdict, f"why it is {verdict}."),)))

    def close(self):
        """There is nothing to end."""


@pytest.fixture
def plays(monkeypatch):
    """A function that has audits find these verdicts: what is tested is what the command says of them."""
    return lambda **verdicts: monkeypatch.setattr(audited, "Auditing", partial(Played, verdicts))


@pytest.mark.slow
def test_each_case_has_a_line_as_it_ends_and_a_table_comes_last(capsys):
    assert main(shlex.split("audit --point connect --plain")) == 0

    *lines, head, row, summary = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if LINE.fullmatch(line)]) == 3
    assert (head.split(), row.split()) == (["handled"], ["connect", "3"])
    assert re.fullmatch(r"urllib.request.urlopen\(url, timeout=1\): 3 cases in \d+\.\d s: 3 handled", summary)


def test_what_is_found_stands_above_the_table_with_its_reason(plays, capsys):
    plays(blackhole="hung")

    assert main(shlex.split("audit --mode blackhole --mode refuse --plain")) == 0
    out = capsys.readouterr().out
    assert "\nhung: blackhole()\n    why it is hung.\n\n" in out
    assert re.search(r"\n +hung handled\nconnect +1 +1\n", out)


def test_a_terminal_shows_how_far_it_has_come_and_then_the_table(plays, capsys, monkeypatch):
    plays(refuse="crashed")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    assert main(shlex.split("audit --mode refuse --mode ok --point connect --point answer --plain")) == 0
    begin, _, rest = capsys.readouterr().out.rpartition("\r\x1b[K")
    assert re.search(r"\r\x1b\[K\d of 4 cases, [01] found", begin)
    assert "handled: " not in rest
    assert "crashed: refuse()" in rest


@each_row(
    "fails, status",
    [("", 0), ("--fail-on crashed,leaked", 1), ("--fail-on any", 1), ("--fail-on retried-a-POST", 0)],
)
def test_what_fails_is_said_by_the_exit_status(fails, status, plays, capsys):
    plays(refuse="crashed")

    assert main(shlex.split(f"audit --mode refuse --plain {fails}")) == status
    assert "1 crashed" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.measured
def test_json_has_every_call_and_every_attempt(capsys):
    choice = "--mode reset --mode half_close --mode ok --point response --point answer --point idle"
    assert main(shlex.split(f"audit {choice} --plain --json --runs 2 --jobs 3")) == 0

    audit = json.loads(capsys.readouterr().out)
    rows = {row["case"]: row for row in audit["results"]}
    assert (audit["version"], audit["is_whole"]) == (1, True)
    assert audit["counts"]["handled"] == len([row for row in audit["results"] if row["verdict"] == "handled"])
    assert rows["reset()"]["calls"][0]["what"] == "ConnectionResetError"
    assert rows["reset()"]["attempts"][0]["ended_how"] == "RST"
    assert (rows["reset()"]["point"], rows["reset()"]["runs"]) == ("response", 2)
    assert [call["outcome"] for call in rows["ok()"]["calls"]] == ["returned", "returned"]


@pytest.mark.slow
def test_an_exception_that_is_not_expected_is_unexpected(capsys):
    words = f"audit {HERE}:careful --mode refuse --plain --expect builtins.KeyError,builtins.ValueError"

    assert main(shlex.split(words)) == 0
    assert "unexpected: refuse()" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.measured
def test_a_factory_yields_the_client(capsys):
    assert main(shlex.split(f"audit {HERE}:careful_pool --factory --mode ok --plain --fail-on any")) == 0
    assert "3 handled" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.measured
def test_a_client_that_does_not_trust_the_test_ca_is_audited_without_tls(capsys):
    assert main(shlex.split(f"audit {HERE}:trusts_nobody --mode refuse --mode bad_cert")) == 0

    out = capsys.readouterr().out
    assert (
        "not run: refuse() in TLS: the client doesn't trust the test CA: it raised ssl.SSLCertVerificationError" in out
    )
    assert "handled: refuse(): " in out
    assert "accepted a bad certificate" not in out


def complaint(words, capsys):
    """What stderr says of a line that has a mistake."""
    assert main(shlex.split(words)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    return line.removeprefix("faultline: ")


@each_row(
    "words, expected",
    [
        ("''", "audit: expected a TARGET that is not empty."),
        ("--command ''", "audit: expected a --command that is not empty."),
        ("a:b --command 'curl {url}'", "audit a:b --command: expected one of the two."),
        ("--factory", "--factory: expected a TARGET with it, which makes the callable."),
        ("--point foo", "--point foo: expected one of accept, answer, condition, connect, "),
        ("--point requests", "--point requests: expected one of accept, "),
        ("--mode rest", "no mode 'rest'. Did you mean 'reset'?"),
        ("--mode nxdomain --tls", "audit: expected filters that leave at least one case."),
        ("--fail-on hug", "--fail-on hug: expected one of "),
        ("--fail-on ,,", "--fail-on : expected one of "),
        ("--fail-on ''", "audit: expected a --fail-on that is not empty."),
        ("--upstream ''", "audit: expected a --upstream that is not empty."),
        ("--baseline ''", "audit: expected a --baseline that is not empty."),
        ("--expect ''", "--expect: expected package.Error, or several with a comma between them."),
        ("--expect a.B,", "--expect: expected package.Error, or several with a comma between them."),
        ("--timeout-seconds 0", "timeout-seconds=0: expected a number above 0."),
        ("--timeout-seconds inf", "timeout-seconds=inf: expected a number above 0."),
        ("--jobs x", "jobs='x': expected a whole number."),
        ("--expect Error", "'Error': expected package.Error, such as builtins.OSError."),
        ("--command curl", "--command 'curl': expected {url} in it, or {host} and {port}."),
        ("nothing", "'nothing': expected package.module:callable."),
        ("--tls --plain", "argument --plain: not allowed with argument --tls."),
    ],
)
def test_a_mistake_gets_one_line_and_exit_status_2(words, expected, capsys):
    assert complaint(f"audit {words}", capsys).startswith(expected)


@pytest.mark.slow
def test_a_client_that_trusts_nobody_can_not_be_audited_in_tls_alone(capsys):
    line = complaint(f"audit {HERE}:trusts_nobody --mode refuse --tls", capsys)

    assert "expected it to return from a healthy server: the client doesn't trust the test CA: " in line


@pytest.mark.slow
@pytest.mark.measured
def test_an_exception_that_is_none_gets_a_line(capsys):
    assert "expected an exception class" in complaint("audit --expect builtins.len --plain", capsys)


# --- stopped half-way ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.measured
def test_an_interrupt_leaves_no_process_and_prints_what_is_known():
    words = [sys.executable, "-m", "faultline", "audit", f"{HERE}:no_read_timeout", "--timeout-seconds", "600"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=TESTS) as process:
        lines = [process.stdout.readline() for _ in range(5)]
        inner = left.descendants(process.pid)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=20)

    assert process.returncode == 130
    assert all(LINE.fullmatch(line.strip()) for line in lines)
    assert re.search(r"\d+ cases in \d+\.\d s before it was stopped: ", rest)
    assert inner
    assert [pid for pid in inner if left.runs(pid)] == []


@pytest.mark.slow
def test_a_target_that_is_still_imported_is_stopped_too():
    words = [sys.executable, "-m", "faultline", "audit", "audit.imports_for_ever:get"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=TESTS) as process:
        while not (inner := left.descendants(process.pid)):
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=20)

    assert process.returncode == 130
    assert " 0 cases in " in rest
    assert [pid for pid in inner if left.runs(pid)] == []


@pytest.mark.slow
def test_the_end_of_the_audit_itself_leaves_no_process():
    words = [sys.executable, "-m", "faultline", "audit", f"{HERE}:no_read_timeout", "--timeout-seconds", "600"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=TESTS) as process:
        process.stdout.readline()
        inner = left.descendants(process.pid)
        watched = [os.pidfd_open(pid) for pid in inner]
        process.kill()
        process.wait()
        for number in watched:
            assert select.select([number], [], [], 20)[0], "a process is left"
            os.close(number)

    assert inner


# --- reports ---------------------------------------------------------------------------------------------------------


def test_reports_are_written_where_they_are_asked_for(plays, tmp_path, capsys):
    plays()
    words = f"audit --mode refuse --plain --html {tmp_path}/a.html --junit {tmp_path}/a.xml --sarif {tmp_path}/a.sarif"

    assert main(shlex.split(words)) == 0
    assert (tmp_path / "a.html").read_text("utf-8").startswith("<!DOCTYPE html>")
    assert (tmp_path / "a.xml").read_text("utf-8").startswith("<?xml")
    assert json.loads((tmp_path / "a.sarif").read_text("utf-8"))["version"] == "2.1.0"


def test_a_baseline_fails_on_what_got_worse_alone(plays, tmp_path, capsys):
    choice = "--mode refuse --mode reset --point connect --point response --plain"
    before = tmp_path / "before.json"

    def run(words):
        status = main(shlex.split(f"audit {words} {choice}"))
        return status, capsys.readouterr().out

    plays(reset="leaked")
    before.write_text(run("--json")[1])
    assert run(f"--baseline {before} --fail-on any")[0] == 0
    plays(refuse="crashed")
    assert run(f"--baseline {before} --fail-on hung")[0] == 0
    status, out = run(f"--baseline {before}")
    assert status == 1
    assert "\nworse: refuse(): crashed: why it is crashed.\n" in out
    assert "\nbetter: reset(): no longer leaked\n" in out
    plays()
    status, out = run(f"--baseline {before} --json")
    assert status == 0
    assert json.loads(out)["difference"]["worse"] == []


@each_row(
    "words, expected",
    [
        ("--html /nowhere/a.html", "--html /nowhere/a.html: expected a place to write to (No such file or directory)."),
        ("--junit /nowhere/a", "--junit /nowhere/a: expected a place to write to (No such file or directory)."),
        ("--junit /", "--junit /: expected a place to write to (Is a directory)."),
        (
            f"--baseline {sys.executable}",
            f"--baseline {sys.executable}: expected an audit as `faultline audit --json` writes it; ",
        ),
        (
            "--baseline /nowhere/a",
            "--baseline /nowhere/a: expected a file that can be read (No such file or directory).",
        ),
        ("--baseline /dev/null", "--baseline /dev/null: expected an audit as `faultline audit --json` writes it; "),
    ],
)
def test_a_file_that_can_not_be_used_gets_a_line(words, expected, capsys):
    assert complaint(f"audit {words}", capsys).startswith(expected)


def test_a_report_that_can_not_be_written_in_the_end_takes_nothing_from_the_rest(plays, capsys):
    plays()
    assert main(shlex.split("audit --mode refuse --plain --html /dev/full")) == 2
    captured = capsys.readouterr()
    assert captured.out.endswith(" s: 1 handled\n")
    assert captured.err == "faultline: --html /dev/full: expected a place to write to (No space left on device).\n"
