"""A mistake on the command line, and the command line to type instead; the list of modes on any terminal."""

from __future__ import annotations

import json
import shlex
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from faultline import FaultlineError
from faultline._front import command
from faultline._front.command import main
from faultline._front.listing import option_name
from faultline._front.mistakes import right_line
from faultline.modes._catalogue import modes

COMMAND = [sys.executable, "-m", "faultline"]
MISTAKES = {
    "": "serve --mode reset",
    "--mode reset": "serve --mode reset",
    "--mode reset --at idle": "serve --mode reset --at idle",
    "--upstream 127.0.0.1:9 --mode reset": "relay --mode reset --upstream 127.0.0.1:9",
    "reset": "serve --mode reset",
    "reset --at idle": "serve --mode reset --at idle",
    "bad_cert": "serve --mode bad_cert",
    "serve": "serve --mode reset",
    "serve reset": "serve --mode reset",
    "serve reset --after-bytes 5": "serve --mode reset --after-bytes 5",
    "serve 'reset()'": "serve --mode reset",
    "sevre --mode reset": "serve --mode reset",
    "run --mode reset": "serve --mode reset",
    "mode": "modes",
    "list": "modes",
    "relay": "relay --upstream 127.0.0.1:5432",
    "relay --mode reset": "relay --upstream 127.0.0.1:5432 --mode reset",
    "relay --upstream 127.0.0.1:9 --mode nxdomain": "serve --mode nxdomain",
    "serve --mode nxdomain --tls": "serve --mode nxdomain",
    "serve --mode throttle 100": "serve --mode throttle --bytes-per-second 100",
    "serve latency 0.5 --json": "serve --mode latency --seconds 0.5 --json",
    "serve --mode status 404": "serve --mode status --code 404",
    "serve --mode bad-cert self_signed": "serve --mode bad-cert --kind self_signed",
    "serve --mode rest": "serve --mode reset",
    "serve --mode timeout": "serve --mode stall",
    "serve --mode connect-timeout": "serve --mode blackhole",
    "serve --mode truncated": "serve --mode malformed --kind length_short",
    "serve --mode reset --then status": "serve --mode reset --then 'status --code 503'",
    "serve --mode reset --then rest": "serve --mode reset --then reset",
    "serve --mode refuse --then ok": "serve --mode refuse --then ok --for-seconds 1",
    "serve --mode status": "serve --mode status --code 503",
    "serve --mode status --status 404": "serve --mode status --code 404",
    "serve --mode latency --ms 50": "serve --mode latency --seconds 0.05",
    "serve --mode stall --timeout 5": "serve --mode stall --for-seconds 5",
    "serve --mode reset --after 10": "serve --mode reset --after-bytes 10",
    "serve --mode reset --after-ms=10": "serve --mode reset --after-seconds 0.01",
    "serve --mode reset --at body": "serve --mode reset --at response",
    "serve --mode reset --tls mtls": "serve --mode reset --tls mutual",
    "serve --mode reset --tls maybe": "serve --mode reset --tls",
    "serve --mode reset --json=1": "serve --mode reset --json",
    "serve --mode malformed --kind chunked": "serve --mode malformed --kind chunk_cut",
}
UNKNOWN = [
    "zzz",
    "modes zzz",
    "serve zzz",
    "serve --mode reset --bogus",
    "serve --mode reset 100",
    "serve --mode latency fast",
    "serve --mode status 4.5",
    "serve --mode close --fin-first",
    "serve --mode addresses",
    "serve --mode reset --port http",
    "serve --mode reset --then zzz",
    "serve --mode latency --ms fast",
]


@pytest.mark.parametrize("words", MISTAKES)
def test_mistake_is_answered_with_the_command_line_to_type(words, capsys):
    assert main(shlex.split(words)) == 2

    told = capsys.readouterr()
    assert told.err.endswith(f" Type: faultline {MISTAKES[words]}\n")
    assert (told.out, told.err.count("\n")) == ("", 1)


@pytest.mark.parametrize("line", sorted({line for line in MISTAKES.values() if line != "modes"}))
def test_command_line_to_type_is_right(line, monkeypatch):
    started = []
    for name in ("run_server", "run_relay"):
        monkeypatch.setattr(command, name, lambda plan, _: started.append(plan))

    assert main(shlex.split(line)) == 0
    assert len(started) == 1
    assert right_line(shlex.split(line)) in ("", f"faultline {line}") or line.startswith("relay")


@pytest.mark.parametrize(
    "words", ["serve --port 80 --mode reset", "serve --mode=bad_cert", "relay --mode reset --upstream=127.0.0.1:9"]
)
def test_right_line_is_left_as_it_is(words):
    assert right_line(shlex.split(words)) == ""


@pytest.mark.parametrize("words", UNKNOWN)
def test_mistake_that_is_not_understood_is_one_line(words, capsys):
    assert main(shlex.split(words)) == 2

    told = capsys.readouterr()
    assert (told.out, told.err.count("\n"), "Type:" in told.err) == ("", 1, False)


@pytest.mark.parametrize(
    "text", ["status", "'status --code x'", "'status --bogus 503'", "'reset --at accept --bogus 1'", "''"]
)
def test_mistake_behind_then_is_one_line(text, capsys):
    assert main(shlex.split(f"serve --mode reset --then {text}")) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_mode_behind_then_has_options(monkeypatch):
    plans = []
    monkeypatch.setattr(command, "run_server", lambda plan, _: plans.append(repr(plan)))

    main(["serve", "--mode", "reset", "--then", "status --code 503 --retry-after 1", "--then", "ok"])

    assert plans == ["sequence(reset(), status(503, retry_after=1), ok())"]


# --- the list of modes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
def test_list_of_modes_is_as_wide_as_the_terminal(columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    main(["modes"])

    assert [line for line in capsys.readouterr().out.splitlines() if len(line) > columns] == []


@pytest.mark.parametrize("name", modes())
def test_one_mode_can_be_listed_by_its_name(name, capsys):
    main(["modes", option_name(name)])

    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line[:3].strip() and line[0] == " "]
    assert listed == [option_name(name)]


def test_words_choose_among_the_modes(capsys):
    main(["modes", "lookup", "--json"])
    data = json.loads(capsys.readouterr().out)

    assert {entry["name"] for entry in data} >= {"nxdomain", "servfail", "slow-resolve"}
    assert [set(entry) for entry in data] == [{"name", "group", "summary", "options", "cases"}] * len(data)


def test_word_that_no_mode_has_is_answered_with_the_nearest(capsys):
    assert main(["modes", "econnreset"]) == 2
    assert (
        capsys.readouterr().err
        == "faultline: modes econnreset: expected words that a mode has. Did you mean 'reset'?\n"
    )


def test_json_of_all_modes_is_the_catalogue(capsys):
    main(["modes", "--json"])

    assert [e["name"] for e in json.loads(capsys.readouterr().out)] == [option_name(name) for name in modes()]


@pytest.mark.parametrize(("variable", "has_color"), [("FORCE_COLOR", True), ("NO_COLOR", False)])
def test_colors_follow_the_environment(variable, has_color, capsys, monkeypatch):
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "1")
    main(["modes", "reset"])

    assert ("\x1b[" in capsys.readouterr().out) == has_color


@pytest.mark.slow
@pytest.mark.parametrize("words", ["modes", "modes --json", "--version", "serve --mode ok --help"])
@pytest.mark.parametrize(("redirection", "status", "lines"), [(">/dev/full", 1, 1), (">&-", 0, 0), (">&- 2>&-", 0, 0)])
def test_output_that_can_not_be_written_is_no_traceback(words, redirection, status, lines):
    ran = subprocess.run(
        f"{shlex.join(COMMAND)} {words} {redirection}", shell=True, capture_output=True, text=True, check=False
    )

    assert (ran.returncode in (0, status), ran.stderr.count("\n") <= lines, "Traceback" in ran.stderr) == (
        True,
        True,
        False,
    )


@pytest.mark.slow
def test_complaint_that_can_not_be_written_is_no_traceback():
    ran = subprocess.run(
        f"{shlex.join(COMMAND)} serve --mode rest 2>&-", shell=True, capture_output=True, text=True, check=False
    )

    assert (ran.returncode, ran.stdout) == (2, "")


# --- the test CA -----------------------------------------------------------------------------------------------------


@pytest.fixture
def first_line():
    """A function that starts the command and returns its first line as JSON."""
    processes = []

    def start(*words):
        process = subprocess.Popen([*COMMAND, *words, "--json"], stdout=subprocess.PIPE, text=True)
        processes.append(process)
        return json.loads(process.stdout.readline())

    yield start
    for process in processes:
        process.terminate()
        process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("tls", ["", "mutual"])
@pytest.mark.parametrize("has_path", [False, True])
def test_first_line_has_the_file_of_the_ca(first_line, tmp_path, tls, has_path):
    path = tmp_path / "the ca.pem"
    line = first_line("serve", "--mode", "ok", "--tls", *([tls] if tls else []), *["--ca-file", str(path)] * has_path)
    words = shlex.split(line["try"])
    assert words[words.index("--cacert") + 1] == line["ca_file"]

    context = ssl.create_default_context(cafile=line["ca_file"])
    if tls:
        context.load_cert_chain(line["client_cert_file"])
    port = int(line["url"].rpartition(":")[2])
    with (
        socket.create_connection(("127.0.0.1", port), 10) as client,
        context.wrap_socket(client, server_hostname="127.0.0.1") as secure,
    ):
        secure.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        assert secure.recv(12) == b"HTTP/1.1 200"
    assert (line["ca_file"] == str(path)) == has_path


@pytest.mark.slow
@pytest.mark.parametrize("tls", ["terminate", "mutual"])
def test_first_line_of_a_relay_that_terminates_tls_has_the_file_of_the_ca(first_line, tls):
    line = first_line("relay", "--upstream", "127.0.0.1:9", "--tls", tls)

    assert Path(line["ca_file"]).read_text("utf-8").startswith("-----BEGIN CERTIFICATE-----")
    assert ("client_cert_file" in line) == (tls == "mutual")


@pytest.mark.slow
def test_first_line_without_tls_has_no_file(first_line):
    assert "ca_file" not in first_line("relay", "--upstream", "127.0.0.1:9")
    assert "ca_file" not in first_line("serve", "--mode", "ok")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("serve --mode ok --ca-file x.pem", "ca_file='x.pem': expected a server with TLS, so --tls with it."),
        ("serve --mode nxdomain --ca-file x.pem", "ca_file='x.pem': expected a server with TLS, so --tls with it."),
        ("serve --mode ok --tls --ca-file /nowhere/x", "ca_file='/nowhere/x': expected a path to write to (No such"),
    ],
)
def test_file_of_the_ca_that_can_not_be_written_is_an_error(words, said, capsys):
    assert main(words.split()) == 2
    assert capsys.readouterr().err.startswith(f"faultline: {said}")


def test_error_of_another_kind_is_raised(monkeypatch):
    def fails(_):
        raise ConnectionAbortedError(103, "not of the output")

    monkeypatch.setattr(command, "run", fails)
    with pytest.raises(ConnectionAbortedError):
        main(["modes"])
    assert issubclass(command.UsageError, FaultlineError)
