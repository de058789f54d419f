"""The command with the catalogues of answers, TLS and certificates: what it serves, refuses, and says in its help."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import ssl
import subprocess
import sys
from typing import get_args

import pytest

from faultline._core.check import plain
from faultline._core.said import LONG_CALL
from faultline._front.command import main
from faultline._front.listing import option_name
from faultline.modes._catalogue import find, modes

pytestmark = pytest.mark.timeout(60)
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
LISTENING = re.compile(
    r"(?P<plan>.+) on (?P<url>https?://127\.0\.0\.1:(?P<port>\d+)) - "
    r"try: curl -v (?:--cacert (?P<ca>\S+) )?(?P=url)/ - Ctrl-C stops\n"
)
OK = b"HTTP/1.1 200 OK\r\n"
CLOSES = b"Connection: close\r\n\r\n"
TYPE = b"Content-Type: text/plain\r\n"
STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
)


@pytest.fixture
def start(tmp_path):
    """A function that starts `faultline serve`: the process, and what its first line says; it is ended afterwards."""
    with contextlib.ExitStack() as running:

        def started(words):
            process = subprocess.Popen(
                [sys.executable, "-m", "faultline", "serve", *words.split()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=tmp_path,
            )
            running.enter_context(process)
            running.callback(process.terminate)
            line = process.stdout.readline()
            found = LISTENING.fullmatch(line)
            assert found, (line, process.stderr.read() if not line else "")
            return process, found

        yield started


def stop(process):
    """Stop a process: the exit status, and what it printed since the last line that was read."""
    process.send_signal(signal.SIGTERM)
    told, complaints = process.communicate()
    assert complaints == ""
    return process.returncode, told.splitlines()


def dial(found):
    """A connection to the server, to be closed; `https` trusts the CA that the first line names."""
    client = socket.create_connection(("127.0.0.1", int(found["port"])), 10)
    if found["ca"] is None:
        return client
    try:
        return ssl.create_default_context(cafile=found["ca"]).wrap_socket(client, server_hostname="127.0.0.1")
    except OSError:
        client.close()
        raise


def ask(found, request=GET):
    """One request: what came back, up to the end."""
    with dial(found) as client:
        client.sendall(request)
        with client.makefile("rb") as stream:
            return stream.read()


def told(capsys, *words):
    """What the command prints."""
    with contextlib.suppress(SystemExit):
        main(list(words))
    return capsys.readouterr().out


# --- real processes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "plan", "said"),
    [
        (
            "--mode malformed --kind chunk_cut",
            "malformed('chunk_cut')",
            OK + b"Transfer-Encoding: chunked\r\n" + TYPE + CLOSES + b"5\r\ntwent\r\nf\r\ny bytes of",
        ),
        (
            "--mode redirect --code 307 --kind loop --to http://localhost:1/x",
            "redirect('loop', to='http://localhost:1/x', code=307)",
            b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://localhost:1/x\r\nContent-Length: 0\r\n" + CLOSES,
        ),
        (
            "--mode sse --events one --events two --break close",
            "sse(('one', 'two'))",
            STREAM + b"b\r\ndata: one\n\n\r\nb\r\ndata:",
        ),
        (
            "--mode sse --events one --break none",
            "sse(('one',), break_='none')",
            STREAM + b"b\r\ndata: one\n\n\r\n0\r\n\r\n",
        ),
        (
            "--mode status --code 429 --retry-after 3 --headers X-Id:7 --body later",
            "status(429, retry_after=3, headers=(('X-Id', '7'),), body=b'later')",
            b"HTTP/1.1 429 Too Many Requests\r\nX-Id: 7\r\nRetry-After: 3\r\nContent-Length: 5\r\n"
            + TYPE
            + CLOSES
            + b"later",
        ),
        ("--mode raw --data whatever", "raw(b'whatever')", b"whatever"),
        (
            "--mode trickle-headers --lines 1 --every-seconds 0.001",
            "trickle_headers(1, every_seconds=0.001)",
            OK + b"X-Trickle-1: more to come\r\nContent-Length: 3\r\n" + TYPE + CLOSES + b"ok\n",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith("--") else "",
)
def test_answer_is_served_as_the_words_say(start, words, plan, said):
    process, found = start(words)

    assert found["plan"] == plan
    assert found["url"].startswith("http://")
    assert ask(found) == said
    named = plan if len(plan) <= LONG_CALL else f"{plan.partition('(')[0]}(…)"
    assert process.stdout.readline().startswith(f"#1 GET /: {named} ")
    struck = 0 if "none" in words else 1
    code, [last] = stop(process)
    assert code == 0
    assert re.fullmatch(rf"stopped after \d+\.\d s: 1 attempt, {struck} struck", last)


def test_stream_of_events_is_reset_as_the_words_say(start):
    process, found = start("--mode sse --events one --events two --break reset")
    said = STREAM + b"b\r\ndata: one\n\n\r\nb\r\ndata:"

    with dial(found) as client, client.makefile("rb") as stream:
        client.sendall(GET)
        assert stream.read(len(said)) == said
        with pytest.raises(ConnectionResetError):
            stream.read(1)
    assert found["plan"] == "sse(('one', 'two'), break_='reset')"
    assert f"and sent {len(said)} bytes, ended by the server (RST) after " in process.stdout.readline()


def test_chain_of_redirects_is_as_long_as_the_words_say(start):
    _, found = start("--mode redirect --kind chain --hops 2")

    heads = [ask(found, GET.replace(b"/", b"/hop/%d" % hop, 1)).partition(b"\r\nContent-")[0] for hop in (0, 1)]

    assert found["plan"] == "redirect('chain', hops=2)"
    assert heads == [b"HTTP/1.1 302 Found\r\nLocation: /hop/1", b"HTTP/1.1 302 Found\r\nLocation: /hop/2"]


def test_alert_is_sent_as_the_words_say(start):
    process, found = start("--mode bad-tls --kind alert --alert access_denied")

    with pytest.raises(ssl.SSLError) as raised:
        ask(found)

    assert raised.value.reason == "TLSV1_ALERT_ACCESS_DENIED"
    assert found["plan"] == "bad_tls('alert', alert='access_denied')"
    assert "struck at 'handshake'" in process.stdout.readline()


def test_revoked_certificate_is_right_for_a_client_that_has_no_revocation_list(start):
    process, found = start("--mode bad-cert --kind revoked")

    assert ask(found).startswith(OK)
    assert found["plan"] == "bad_cert('revoked')"
    assert "struck at 'handshake'" in process.stdout.readline()


# --- mistakes ----------------------------------------------------------------------------------------------


def choices(mode, parameter):
    """The words that a parameter can be."""
    kind, _ = plain(next(p for p in find(mode).parameters if p.name == parameter).annotation)
    return [word for word in get_args(kind) if isinstance(word, (str, int))]


def listed(mode, parameter):
    """The same as messages list them."""
    return ", ".join(map(repr, choices(mode, parameter)))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("malformed", "mode malformed needs --kind KIND."),
        ("malformed --kind", "argument --kind: expected one argument. See `faultline serve --help`."),
        (
            "malformed --kind chunk-cut",
            f"kind='chunk-cut': expected one of {listed('malformed', 'kind')}. Did you mean 'chunk_cut'?",
        ),
        ("malformed --kind xyz", f"kind='xyz': expected one of {listed('malformed', 'kind')}."),
        ("malformed chunk_cut", "unrecognized arguments: chunk_cut. See `faultline --help`."),
        ("bad-tls --kind alrt", f"kind='alrt': expected one of {listed('bad_tls', 'kind')}. Did you mean 'alert'?"),
        (
            "bad-tls --kind alert --alert acces_denied",
            f"alert='acces_denied': expected one of {listed('bad_tls', 'alert')}. Did you mean 'access_denied'?",
        ),
        (
            "bad-tls --kind garbage --alert access_denied",
            "alert='access_denied': expected kind='alert' with it, not 'garbage'.",
        ),
        (
            "bad-tls --kind only_version --version tls1.2",
            f"version='tls1.2': expected one of {listed('bad_tls', 'version')}. Did you mean '1.2'?",
        ),
        ("bad-tls --kind plaintext_midway --after-bytes x", "after_bytes='x': expected a whole number."),
        ("bad-tls --kind slow_handshake --every-seconds soon", "every_seconds='soon': expected a number."),
        (
            "bad-cert --kind revokd",
            f"kind='revokd': expected one of {listed('bad_cert', 'kind')}. Did you mean 'revoked'?",
        ),
        ("redirect --kind chian", f"kind='chian': expected one of {listed('redirect', 'kind')}. Did you mean 'chain'?"),
        ("redirect --code 310", f"code=310: expected one of {listed('redirect', 'code')}."),
        ("redirect --code moved", f"code='moved': expected one of {listed('redirect', 'code')}."),
        ("redirect --hops 2", "hops=2: expected kind='chain' with it, not 'loop'."),
        ("redirect --kind chain --hops two", "hops='two': expected a whole number."),
        ("redirect --kind chain --hops 0", "hops=0: expected a whole number, 1 or more."),
        ("redirect --kind chain --to /x", "to='/x': expected another kind than 'chain' with it."),
        ("sse --events", "argument --events: expected one argument. See `faultline serve --help`."),
        ("sse --break rest", f"break_='rest': expected one of {listed('sse', 'break_')}. Did you mean 'reset'?"),
        ("status", "mode status needs --code NUMBER."),
        ("status --code abc", "code='abc': expected a whole number."),
        ("status --code 99", "code=99: expected a whole number, from 200 to 999."),
        ("status --code 503 --headers X", "headers=['X']: expected 'NAME: VALUE'."),
        ("raw", "mode raw needs --data TEXT."),
        ("raw --data=", "data=b'': expected at least one byte; close() says none."),
        ("trickle-headers --lines 0", "lines=0: expected a whole number, from 1 to 10000."),
        ("trickle-headers --lines many", "lines='many': expected a whole number."),
        ("trickle-headers --every-seconds -1", "every_seconds=-1.0: expected a number of seconds, 0 or more."),
        ("malfromed", f"no mode 'malfromed'. Did you mean 'malformed'? Modes: {', '.join(modes())}."),
        ("trickle-header", f"no mode 'trickle-header'. Did you mean 'trickle_headers'? Modes: {', '.join(modes())}."),
    ],
)
def test_mistake_is_one_line_with_the_nearest_word_and_exit_status_2(capsys, words, said):
    assert main(["serve", "--mode", *words.split()]) == 2

    printed = capsys.readouterr()
    assert (printed.out, printed.err.partition(" Type: ")[0].strip()) == ("", f"faultline: {said}")


@pytest.mark.parametrize(
    "words", ["malformed --kind chunk", "bad-tls --alert denied", "status --code no", "sse --break no"]
)
def test_mistake_in_a_process_of_its_own_has_no_traceback(words):
    command = [sys.executable, "-m", "faultline", "serve", "--mode", *words.split()]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)
    assert ran.stderr.startswith("faultline: ")


# --- help --------------------------------------------------------------------------------------------------


@pytest.fixture
def hundred_columns(monkeypatch):
    """A terminal of 100 columns."""
    monkeypatch.setenv("COLUMNS", "100")


def test_list_of_modes_fits_its_lines(capsys, hundred_columns):
    lines = told(capsys, "modes").splitlines()

    assert [line for line in lines if len(line) > 120 or line != line.rstrip()] == []


def words_of(text):
    """The words of a text, without the commas between them."""
    return set(re.split(r"[\s,{}:]+", text))


@pytest.mark.parametrize(
    ("mode", "parameter"),
    [(entry.name, p.name) for entry in modes().values() for p in entry.parameters if get_args(plain(p.annotation)[0])],
)
def test_every_choice_is_listed(capsys, hundred_columns, mode, parameter):
    group = told(capsys, "modes").partition(f"\n  {option_name(mode)} ")[2]
    own = re.split(r"\n(?=\w|  \w)", group)[0]
    explained = told(capsys, "serve", "--mode", option_name(mode), "--help").partition("\noptions of ")[2]

    assert set(map(str, choices(mode, parameter))) <= words_of(own)
    assert set(map(str, choices(mode, parameter))) <= words_of(explained)


@pytest.mark.parametrize("mode", modes())
def test_help_of_a_mode_fits_a_terminal_of_100_columns(capsys, hundred_columns, mode):
    text = told(capsys, "serve", "--mode", option_name(mode), "--help")

    assert text.startswith("usage: faultline serve [-h] --mode NAME ")
    assert max(map(len, text.splitlines())) <= 100
    assert f" options of {option_name(mode)}: {modes()[mode].summary} " in " ".join(text.split()) + " "


def test_help_of_bad_tls_says_which_parameter_belongs_to_which_kind(capsys, hundred_columns):
    text = " ".join(told(capsys, "serve", "--mode", "bad-tls", "--help").split())

    for words in (
        "--alert ALERT for kind=alert: the name of the alert in RFC 8446 (default: handshake_failure); one of: ",
        "one of: close_notify, ",
        "--version {1.0,1.1,1.2,1.3} for kind=only_version: the only version (default: 1.0)",
        "--after-bytes BYTES for kind=plaintext_midway: let this number of bytes of the response pass first",
        "--every-seconds SECONDS for kind=slow_handshake: from byte to byte (default: 0.01)",
    ):
        assert words in text
