"""The command: what it says, what it prints while it serves, and how it ends."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

import faultline as fl
from faultline import UnsupportedError, __version__, ok, sequence, serve
from faultline._core.check import plain
from faultline._front import command
from faultline._front.command import main
from faultline._front.listing import HEADINGS, for_tests, option_name, options_of
from faultline._net import syns
from faultline.modes._catalogue import modes

pytestmark = pytest.mark.timeout(60)
GET = b"GET /there HTTP/1.1\r\nHost: localhost\r\n\r\n"
COMMAND = [sys.executable, "-m", "faultline"]
LISTENING = re.compile(r"(?P<plan>.+) on (?P<url>https?://(?P<host>\S+):(?P<port>\d+)) - try: (?P<trial>.+) - Ctrl-C")


@pytest.fixture(autouse=True)
def buffered(monkeypatch):
    """Standard output as users have it: what is not flushed is not seen yet."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)


@pytest.fixture
def start(tmp_path):
    """A function that starts `faultline serve` with some words; what still runs is ended after the test."""
    with contextlib.ExitStack() as running:

        def started(*words):
            process = subprocess.Popen(
                [*COMMAND, "serve", *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=tmp_path,
            )
            running.enter_context(process)
            running.callback(process.terminate)
            return process

        yield started


@pytest.fixture
def closed_pipe():
    """The writing end of a pipe whose reader has gone."""
    read, write = os.pipe()
    os.close(read)
    yield write
    os.close(write)


def listening(process):
    """Where a process says that it listens."""
    line = process.stdout.readline()
    found = LISTENING.match(line)
    assert found, (line, process.stderr.read() if not line else "")
    return found


def ask(port, data=GET):
    """One request: what came back, up to the end."""
    with socket.create_connection(("127.0.0.1", int(port)), 10) as client:
        client.sendall(data)
        with client.makefile("rb") as stream:
            return stream.read()


def stop(process, number=signal.SIGTERM):
    """Stop a process: the exit status, and what it printed since the last line that was read."""
    process.send_signal(number)
    told, complaints = process.communicate()
    assert complaints == ""
    return process.returncode, told.splitlines()


# --- words -----------------------------------------------------------------------------------------------


def test_version_is_printed(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])

    assert (ended.value.code, capsys.readouterr().out) == (0, f"faultline {__version__}\n")


def test_modes_are_listed_by_point_with_their_options(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "500")  # a summary is one line
    assert main(["modes"]) == 0

    lines = capsys.readouterr().out.splitlines()
    for entry in modes().values():
        assert f"  {option_name(entry.name)} " in "".join(f"{line} " for line in lines if line.endswith(entry.summary))
        for parameter in options_of(entry):
            assert any(option_name(parameter.name) in line for line in lines)
    headings = [line for line in lines if not line.startswith(" ")]
    assert headings == [heading for heading in HEADINGS.values() if heading in headings]
    assert [heading.partition(" ")[0] for heading in headings] == [
        "lookup",
        "connect",
        "handshake",
        "response",
        "conditions",
        "answers",
        "proxies",
        "datagrams",
    ]


@pytest.mark.parametrize("words", [["--help"], ["serve", "--help"], ["modes", "--help"]], ids=" ".join)
def test_help_is_printed(capsys, words):
    with pytest.raises(SystemExit) as ended:
        main(words)

    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: faultline")


@pytest.mark.parametrize("name", modes())
def test_options_of_a_mode_come_from_its_signature(capsys, name):
    with pytest.raises(SystemExit):
        main(["serve", "--mode", option_name(name), "--help"])

    told = " ".join(capsys.readouterr().out.split())
    assert modes()[name].summary in told
    for parameter in options_of(modes()[name]):
        assert f"--{option_name(parameter.name)}" in told
        assert parameter.text in told


TCP = "expected serve(…), relay(…), http_proxy(…) or socks_proxy(…)"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "the following arguments are required: COMMAND. See `faultline --help`."),
        ("sevre", "argument COMMAND: invalid choice: 'sevre'"),
        ("modes zzz", "modes zzz: expected words that a mode has."),
        ("serve", "the following arguments are required: --mode. See `faultline serve --help`."),
        ("serve --mode", "argument --mode: expected one argument. See `faultline serve --help`."),
        ("serve --mode rest", "no mode 'rest'. Did you mean 'reset'? Modes: "),
        ("serve --mode bad-crt", "no mode 'bad-crt'. Did you mean 'bad_cert'? Modes: "),
        ("serve --mode ok --then refsue", "no mode 'refsue'. Did you mean 'refuse'? Modes: "),
        ("serve --mode reset --at respons", "at='respons': expected one of 'accept', 'handshake', 'request', "),
        ("serve --mode reset --at connect", "at='connect': expected one of 'accept', 'handshake', 'request', "),
        ("serve --mode reset --port 70000", "port=70000: expected a whole number, from 0 to 65535."),
        ("serve --mode reset --port=-1", "port=-1: expected a whole number, from 0 to 65535."),
        ("serve --mode reset --port http", "port='http': expected a whole number."),
        ("serve --mode reset --host example.com", "host='example.com': expected an IP address of this machine, or "),
        ("serve --mode reset --host 192.0.2.1 --allow-remote", "host='192.0.2.1': expected an address of this machine"),
        ("serve --mode reset --after-bytes -1", "after_bytes=-1: expected a whole number of bytes, 0 or more."),
        ("serve --mode reset --after-bytes x", "after_bytes='x': expected a whole number."),
        ("serve --mode reset --after-bytes", "argument --after-bytes: expected one argument. See `faultline serve "),
        ("serve --mode reset --at accept --after-bytes 1", "after_bytes=1: expected 0 at 'accept', where no byte is "),
        ("serve --mode reset --after-bytes 1000000 --bogus", "unrecognized arguments: --bogus. See `faultline "),
        ("serve --mode stall --for-seconds soon", "for_seconds='soon': expected a number."),
        ("serve --mode stall --for-seconds nan", "for_seconds=nan: expected a number of seconds, 0 or more."),
        ("serve --mode ok --status 99", "status=99: expected a whole number, from 200 to 999."),
        ("serve --mode ok --headers X-Test", "headers=['X-Test']: expected 'NAME: VALUE'."),
        ("serve --mode ok --headers", "argument --headers: expected one argument. See `faultline serve --help`."),
        ("serve --mode ok --at accept", "unrecognized arguments: --at accept. See `faultline --help`."),
        ("serve --mode bad-cert --kind old", "kind='old': expected one of 'expired', 'not_yet_valid', "),
        ("serve --mode latency", "mode latency needs --seconds SECONDS."),
        ("serve --mode addresses", "mode addresses is for tests alone: its `server` is an object of the test."),
        ("serve --mode addresses --first dead_first", "mode addresses is for tests alone: its `server` is an "),
        ("serve --mode addresses --server 127.0.0.1:1", "unrecognized arguments: --server 127.0.0.1:1."),
        ("serve --mode nxdomain --then addresses", "mode addresses is for tests alone: its `server` is an object "),
        ("serve --mode resolves-to --server 10.0.0.1", "server='10.0.0.1': expected a server, an IP address of this "),
        ("serve --mode socks-refusal --kind no", "kind='no': expected one of 'general_failure', 'not_allowed', "),
        ("serve --mode socks-refusal", "mode socks-refusal needs --kind KIND."),
        ("serve --mode duplicated --tls", "duplicated(): expected no --tls with it; it takes a UDP server."),
        ("serve --mode duplicated --port 70000", "port=70000: expected a whole number, from 0 to 65535."),
        (
            "serve --mode reordered",
            "reordered(): expected another mode with --then, such as ok, because its answer is the last to go.",
        ),
        ("serve --mode duplicated --then reordered", "reordered(): expected another mode with --then, such as ok, "),
        (
            "serve --mode nxdomain --then ok --then duplicated",
            "[nxdomain(), ok(), duplicated()]: expected modes of one kind of server, but nxdomain() takes a DNS server",
        ),
        (
            "serve --mode nxdomain --then reset",
            f"reset(): {TCP}; a DNS server ",
        ),
        (
            "serve --mode reset --then nxdomain",
            f"reset(): {TCP}; a DNS server ",
        ),
        (
            "serve --mode duplicated --then close",
            f"close(): {TCP}; a UDP server ",
        ),
        ("serve --mode refuse --then duplicated", "plan=sequence(refuse(), duplicated()): expected refuse() alone or"),
        (
            "relay --upstream 127.0.0.1:9 --mode duplicated",
            "duplicated(): expected `faultline serve` with it; it takes a UDP server.",
        ),
        (
            "relay --upstream 127.0.0.1:9 --mode reset --then nxdomain",
            "sequence(reset(), nxdomain()): expected `faultline serve` with it; it takes a DNS server.",
        ),
    ],
)
def test_mistake_is_one_line_and_exit_status_2(capsys, words, said):
    assert main(words.split()) == 2

    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"faultline: {said}")
    assert told.err.count("\n") == 1


def test_busy_port_is_one_line_and_exit_status_2(capsys):
    with serve(ok()) as server:
        assert main(["serve", "--mode", "reset", "--port", str(server.port)]) == 2

    told = capsys.readouterr()
    assert (told.out, told.err) == (
        "",
        f"faultline: port={server.port}: expected a free port, but {server.hostport} is in use; choose another or 0.\n",
    )


def test_mistake_has_no_traceback_in_a_process_of_its_own():
    ran = subprocess.run([*COMMAND, "serve", "--mode", "rest"], capture_output=True, text=True, check=False)

    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)


def test_installed_command_is_the_same():
    command = shutil.which("faultline", path=Path(sys.executable).parent)
    if command is None:
        pytest.skip("the command is not installed beside this Python")
    ran = subprocess.run([command, "--version"], capture_output=True, text=True, check=False)

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"faultline {__version__}\n", "")


# --- serving ---------------------------------------------------------------------------------------------


def words_of(case):
    """A case of the catalogue as options."""
    parameters = {p.name: p for p in options_of(modes()[case.mode])}
    for name, value in case.arguments:
        word = option_name(name)
        if plain(parameters[name].annotation)[0] is bool:
            yield f"--{word}" if value else f"--no-{word}"
        else:
            yield f"--{word}"
            yield value.decode() if isinstance(value, bytes) else str(value)


@pytest.mark.parametrize("name", [name for name, entry in modes().items() if not for_tests(entry)])
def test_every_mode_starts_with_options_and_stops(start, name):
    case = max(modes()[name].cases, key=lambda case: len(case.arguments))
    try:
        if case.kind == "TCP server":
            serve(case.fault, strict=False).close()
    except UnsupportedError as error:
        pytest.skip(str(error))
    followed = ["--then", "ok"] if name == "reordered" else []
    process = start("--mode", option_name(name), *words_of(case), *followed)

    plan = sequence(case.fault, ok()) if followed else case.fault
    assert process.stdout.readline().startswith(f"{plan!r} on {'' if case.kind != 'TCP server' else 'http'}")
    code, lines = stop(process)
    assert code == 0
    assert re.fullmatch(r"stopped after \d+\.\d s: 0 attempts, 0 struck", *lines)


def test_attempt_is_a_line_as_it_ends(start):
    process = start("--mode", "reset", "--after-bytes", "10")
    port = listening(process)["port"]
    for number in (1, 2):
        with pytest.raises(ConnectionResetError):
            ask(port)
        assert re.fullmatch(
            rf"#{number} GET /there: reset\(after_bytes=10\) struck at 'response', "
            rf"received {len(GET)} and sent 10 bytes, ended by the server \(RST\) after \d\.\d+ s\n",
            process.stdout.readline(),
        )

    code, lines = stop(process)
    assert code == 0
    assert re.fullmatch(r"stopped after \d+\.\d s: 2 attempts, 2 struck", *lines)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_signal_stops_at_once_with_a_summary(start, number):
    process = start("--mode", "stall", "--after-bytes", "1")
    port = listening(process)["port"]
    with socket.create_connection(("127.0.0.1", int(port)), 10) as client:
        client.sendall(GET)
        assert client.recv(100) == b"H"
        code, lines = stop(process, number)
        assert client.recv(100) == b""

    assert code == 0
    assert len(lines) == 2
    assert "struck at 'response'" in lines[0]
    assert "ended by the server (stop) after" in lines[0]
    assert re.fullmatch(r"stopped after \d+\.\d s: 1 attempt, 1 struck", lines[1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_signal_right_after_the_first_line_stops_as_later(monkeypatch, number):
    class Interrupting:
        """Standard output that a reader answers by a signal as soon as it has the first line."""

        told = ""

        def write(self, text):
            self.told += text

        def flush(self):
            if self.told.count("\n") == 1:
                signal.raise_signal(number)

    before = signal.getsignal(number)
    monkeypatch.setattr(sys, "stdout", Interrupting())

    try:
        code = main(["serve", "--mode", "stall"])
    except KeyboardInterrupt:  # which would end the run of all tests
        code = "KeyboardInterrupt"

    assert code == 0
    assert re.search(r"\nstopped after \d+\.\d s: 0 attempts, 0 struck\n$", sys.stdout.told)
    assert signal.getsignal(number) is before


def test_second_signal_takes_no_line_away(monkeypatch):
    with contextlib.ExitStack() as clients:

        class Interrupting(io.StringIO):
            """Standard output whose reader has a client stalled, and then stops the server twice."""

            def flush(self):
                if self.getvalue().count("\n") == 1:
                    port = int(LISTENING.match(self.getvalue())["port"])
                    client = clients.enter_context(socket.create_connection(("127.0.0.1", port), 10))
                    client.sendall(GET)
                    assert client.recv(1) == b"H"
                    signal.raise_signal(signal.SIGTERM)
                    signal.raise_signal(signal.SIGTERM)

        told = Interrupting()
        monkeypatch.setattr(sys, "stdout", told)
        assert main(["serve", "--mode", "stall", "--after-bytes", "1"]) == 0

    lines = told.getvalue().splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["stall(after_bytes=1)", "#1", "stopped"]


def test_json_is_one_object_per_line(start):
    process = start("--mode", "close", "--after-bytes", "5", "--json")
    begun = json.loads(process.stdout.readline())
    port = begun["url"].rpartition(":")[2]
    assert ask(port) == b"HTTP/"
    attempt = json.loads(process.stdout.readline())
    code, lines = stop(process)

    assert begun == {
        "event": "listening",
        "plan": "close(after_bytes=5)",
        "url": f"http://127.0.0.1:{port}",
        "try": f"curl -v http://127.0.0.1:{port}/",
    }
    assert (attempt["event"], attempt["number"], attempt["fault"]) == ("attempt", 1, "close(after_bytes=5)")
    assert (attempt["sent_bytes"], attempt["struck"]["point"], attempt["ended_how"]) == (5, "response", "FIN")
    assert attempt["request"]["target"] == "/there"
    assert (code, [json.loads(line) for line in lines]) == (0, [{"event": "stopped", "attempts": 1, "struck": 1}])


def test_json_of_bytes_that_are_no_text(start):
    process = start("--mode", "echo", "--json")
    port = json.loads(process.stdout.readline())["url"].rpartition(":")[2]
    with socket.create_connection(("127.0.0.1", int(port)), 10) as client:
        client.sendall(b"\xff\0\n")
        assert client.recv(100) == b"\xff\0\n"

    assert json.loads(process.stdout.readline())["request"]["body"] == "\xff\0\n"


def test_then_is_the_mode_of_the_next_attempt(start):
    process = start("--mode", "close", "--then", "ok", "--then", "close")
    found = listening(process)

    assert found["plan"] == "sequence(close(), ok(), close())"
    close_after = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    assert [ask(found["port"], close_after)[:15] for _ in range(4)] == [b"", b"HTTP/1.1 200 OK", b"", b""]


def test_mode_of_datagrams_starts_a_udp_server(start):
    process = start("--mode", "reordered", "--then", "blackhole", "--then", "duplicated", "--json")
    begun = json.loads(process.stdout.readline())
    host, port = begun["url"].removeprefix("udp://").split(":")
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect((host, int(port)))
        for word in (b"one", b"two", b"three"):
            client.send(word)
        assert [client.recv(10) for _ in range(3)] == [b"three", b"three", b"one"]
    attempts = [json.loads(process.stdout.readline()) for _ in range(3)]
    code, lines = stop(process)

    assert begun == {
        "event": "listening",
        "plan": "sequence(reordered(), blackhole(), duplicated())",
        "url": f"udp://{host}:{port}",
        "try": f"echo ping | nc -u -w 1 {host} {port}",
    }
    assert [(line["fault"], line["ended_how"]) for line in attempts] == [
        ("blackhole()", "silence"),
        ("duplicated()", "answer"),
        ("reordered()", "answer"),
    ]
    assert (code, [json.loads(line) for line in lines]) == (0, [{"event": "stopped", "attempts": 3, "struck": 3}])


def test_refusal_of_socks_starts_a_proxy(start):
    process = start("--mode", "socks-refusal", "--kind", "ttl_expired", "--then", "stall", "--port", "0")
    found = re.fullmatch(
        r"sequence\(socks_refusal\('ttl_expired'\), stall\(\)\) on (socks5h://127\.0\.0\.1:(\d+)) - "
        r"try: curl -v --proxy \1 http://localhost/ - Ctrl-C stops\n",
        process.stdout.readline(),
    )
    answer = ask(found[2], b"\5\1\0" + b"\5\1\0\1\x7f\0\0\1\0\x50")
    line = process.stdout.readline()
    code, lines = stop(process)

    assert answer == b"\5\0" + b"\5\6\0\1" + bytes(6)
    assert line.startswith("#1 SOCKS5 127.0.0.1:80: socks_refusal('ttl_expired') struck at 'response', ")
    assert (code, len(lines)) == (0, 1)


def test_headers_and_body_are_said_on_the_command_line(start):
    process = start(
        "--mode", "ok", "--headers", "X-One: 1", "--headers", "X-Two:a: b", "--status", "418", "--body", "é"
    )
    answer = ask(listening(process)["port"], b"GET / HTTP/1.0\r\n\r\n")

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 418 ")
    assert {b"X-One: 1", b"X-Two: a: b", b"Content-Length: 2"} <= set(head.split(b"\r\n"))
    assert body.decode() == "é"


def test_port_is_the_one_that_was_asked_for(start):
    with serve(ok()) as server:
        port = str(server.port)
    process = start("--mode", "ok", "--port", port, "--host", "localhost")

    assert listening(process).group("host", "port") == ("127.0.0.1", port)


@pytest.mark.parametrize("words", [["--mode", "ok", "--tls"], ["--mode", "bad-cert", "--kind", "wrong_host"]], ids=str)
def test_tls_is_tried_with_the_ca(start, words):
    process = start(*words)
    found = listening(process)
    context = ssl.create_default_context(cafile=shlex.split(found["trial"])[-2])
    context.check_hostname = False
    with (
        socket.create_connection(("127.0.0.1", int(found["port"])), 10) as raw,
        context.wrap_socket(raw) as client,
    ):
        client.sendall(GET)
        assert client.recv(100).startswith(b"HTTP/1.1 200 OK")

    assert found["url"].startswith("https://")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on PATH")
@pytest.mark.parametrize("words", [["--mode", "ok", "--body", "hello"], ["--mode", "echo", "--tls"]], ids=str)
def test_printed_curl_command_works(start, words, tmp_path):
    process = start(*words)
    trial = shlex.split(listening(process)["trial"])
    tried = subprocess.run(
        [*trial, "--data", "hello", "--max-time", "10"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "NO_PROXY": "*"},
    )

    assert (tried.returncode, tried.stdout) == (0, "hello")
    assert "< HTTP/1.1 200 OK" in tried.stderr


# --- a reader that goes away -----------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["modes"], ["--version"], ["serve", "--mode", "ok", "--help"]], ids=" ".join)
def test_output_that_nobody_reads_is_no_error(closed_pipe, words):
    ran = subprocess.run([*COMMAND, *words], stdout=closed_pipe, stderr=subprocess.PIPE, text=True, check=False)

    assert (ran.returncode, ran.stderr) == (0, "")


def test_first_line_that_nobody_reads_ends_the_server(closed_pipe):
    words = ["serve", "--mode", "ok"]
    ran = subprocess.run([*COMMAND, *words], stdout=closed_pipe, stderr=subprocess.PIPE, text=True, check=False)

    assert (ran.returncode, ran.stderr) == (0, "")


def test_line_that_nobody_reads_ends_the_server(start):
    process = start("--mode", "close")
    port = listening(process)["port"]
    process.stdout.close()

    assert ask(port) == b""
    assert process.stderr.read() == ""
    assert process.wait() == 0


def test_stopping_is_no_error_when_nobody_reads(start):
    process = start("--mode", "ok")
    listening(process)
    process.stdout.close()
    process.send_signal(signal.SIGTERM)

    assert process.stderr.read() == ""
    assert process.wait() == 0


def test_what_nobody_can_count_is_no_step_of_a_plan(capsys):
    assert main(["serve", "--mode", "refuse", "--then", "ok"]) == 2

    assert "expected --for-seconds" in capsys.readouterr().err


def test_plan_that_begins_with_a_refusal_of_so_long_starts(start):
    process = start("--mode", "refuse", "--for-seconds", "0.01", "--then", "ok")

    assert process.stdout.readline().startswith("sequence(refuse(for_seconds=0.01), ok()) on http://127.0.0.1:")


@pytest.mark.parametrize("mode", ["refuse", "blackhole"])
def test_first_line_says_where_no_attempt_can_be_seen(start, mode):
    is_seen = syns.can_answer(socket.AF_INET)

    assert ("no attempt is seen from here" in start("--mode", mode).stdout.readline()) is not is_seen


@pytest.mark.parametrize(("fault", "is_told"), [(fl.refuse(), True), (fl.blackhole(), False), (fl.duplicated(), False)])
def test_only_what_is_not_counted_is_said_to_be_unseen(fault, is_told):
    with fl.udp(fault, strict=False) as server:
        assert ("no attempt is seen from here" in command.unseen(server, fault)) is is_told
