"""The command as a DNS server: what it says and prints, what it refuses, and how it ends."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from faultline import bad_dns, dns_server, no_address, nxdomain, servfail, slow_resolve
from faultline._front.command import main

pytestmark = pytest.mark.timeout(60)
COMMAND = [sys.executable, "-m", "faultline"]
LISTENING = re.compile(
    r"(?P<plan>\S+) on (?P<host>\S+):(?P<port>\d+), UDP and TCP - try: (?P<trial>dig @(\S+) -p \d+ api\.example\.com)"
    r" - Ctrl-C stops\n"
)
# What each mode plays, and what a client gets: a code, an error of dnspython's, or addresses.
MODES = {
    "dns-slow": (slow_resolve(5.0), dns.exception.Timeout),
    "dns-nxdomain": (nxdomain(), dns.rcode.NXDOMAIN),
    "dns-servfail": (servfail(), dns.rcode.SERVFAIL),
    "dns-no-address": (no_address(), []),
    "dns-refused": (bad_dns("refused"), dns.rcode.REFUSED),
    "dns-silence": (bad_dns("silence"), dns.exception.Timeout),
    "dns-truncated": (bad_dns("truncated"), dns.message.Truncated),
    "dns-wrong-id": (bad_dns("wrong_id"), dns.query.BadResponse),
    "dns-garbage": (bad_dns("garbage"), dns.exception.DNSException),
    "dns-cname-loop": (bad_dns("cname_loop"), ["loop.invalid.", "api.example.com."]),
    "dns-flapping": (bad_dns("flapping"), ["127.0.0.1"]),
}


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


def listening(process):
    """Where a process says that it listens."""
    line = process.stdout.readline()
    found = LISTENING.fullmatch(line)
    assert found, (line, process.stderr.read() if not line else "")
    return found


def stop(process, number=signal.SIGTERM):
    """Stop a process: the exit status, and what it printed since the last line that was read."""
    process.send_signal(number)
    told, complaints = process.communicate()
    assert complaints == ""
    return process.returncode, told.splitlines()


def ask(port, kind="A", *, tcp=False, seconds=10.0):
    """What comes back: the code if it is a failure, and else what was found."""
    asked = dns.message.make_query("api.example.com", kind)
    how = {"raise_on_truncation": True} if not tcp else {}
    function = dns.query.tcp if tcp else dns.query.udp
    answer = function(asked, "127.0.0.1", seconds, int(port), **how)
    return answer.rcode() or [str(found) for rrset in answer.answer for found in rrset]


# --- serving ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODES)
def test_every_mode_starts_answers_as_it_says_and_stops(start, name):
    fault, expected = MODES[name]
    process = start("--mode", name)
    found = listening(process)
    assert found["plan"] == repr(fault)

    if isinstance(expected, type):
        with pytest.raises(expected):
            ask(found["port"], seconds=0.2 if expected is dns.exception.Timeout else 10)
    else:
        assert ask(found["port"]) == expected
    code, lines = stop(process)

    assert code == 0
    struck = 0 if name == "dns-slow" else 1
    assert re.fullmatch(rf"stopped after \d+\.\d s: 1 attempts, {struck} struck", lines[-1])
    assert lines[0].startswith(f"#1 A api.example.com: {fault!r} ")
    assert lines[0].endswith("(over UDP)")
    assert len(lines) == 2


def test_a_query_is_a_line_as_it_is_answered(start):
    process = start("--mode", "dns-nxdomain")
    port = listening(process)["port"]
    for number, (kind, tcp) in enumerate([("A", False), ("AAAA", False), ("MX", True)], 1):
        assert ask(port, kind, tcp=tcp) == dns.rcode.NXDOMAIN
        assert re.fullmatch(
            rf"#{number} {kind} api\.example\.com: nxdomain\(\) struck at 'lookup', received 33 and sent 33 bytes, "
            rf"ended by the server \(answer\) after \d\.\d{{3}} s \(over {'TCP' if tcp else 'UDP'}\)\n",
            process.stdout.readline(),
        )

    code, lines = stop(process)
    assert code == 0
    assert re.fullmatch(r"stopped after \d+\.\d s: 3 attempts, 3 struck", *lines)


def test_json_is_one_object_per_line(start):
    process = start("--mode", "dns-servfail", "--json")
    begun = json.loads(process.stdout.readline())
    port = begun["url"].rpartition(":")[2]
    assert ask(port) == dns.rcode.SERVFAIL
    attempt = json.loads(process.stdout.readline())
    code, lines = stop(process)

    assert begun == {
        "event": "listening",
        "plan": "servfail()",
        "url": f"dns://127.0.0.1:{port}",
        "try": f"dig @127.0.0.1 -p {port} api.example.com",
    }
    assert (attempt["event"], attempt["number"], attempt["fault"]) == ("attempt", 1, "servfail()")
    assert (attempt["request"]["method"], attempt["request"]["target"]) == ("A", "api.example.com")
    assert (attempt["struck"]["point"], attempt["ended_how"], attempt["note"]) == ("lookup", "answer", "over UDP")
    assert (code, [json.loads(line) for line in lines]) == (0, [{"event": "stopped", "attempts": 1, "struck": 1}])


def test_a_slow_answer_is_as_late_as_it_was_told(start):
    process = start("--mode", "dns-slow", "--delay-seconds", "0.05", "--json")
    begun = json.loads(process.stdout.readline())
    assert ask(begun["url"].rpartition(":")[2]) == ["127.0.0.1"]
    attempt = json.loads(process.stdout.readline())

    assert begun["plan"] == "slow_resolve(0.05)"
    assert 0.05 <= attempt["ended_seconds"] - attempt["started_seconds"] < 5
    assert attempt["struck"] is None


def test_a_slow_answer_that_is_still_to_come_at_the_end_is_a_line_too(start):
    process = start("--mode", "dns-slow", "--delay-seconds", "60", "--json")
    port = json.loads(process.stdout.readline())["url"].rpartition(":")[2]
    with pytest.raises(dns.exception.Timeout):
        ask(port, seconds=0.2)
    code, lines = stop(process)

    assert code == 0
    attempt, stopped = map(json.loads, lines)
    assert (attempt["event"], attempt["ended_by"], attempt["ended_how"]) == ("attempt", "server", "stop")
    assert stopped == {"event": "stopped", "attempts": 1, "struck": 0}


def test_truncated_has_nobody_listening_over_tcp(start):
    process = start("--mode", "dns-truncated")
    port = int(listening(process)["port"])
    with pytest.raises(dns.message.Truncated):
        ask(port)
    with pytest.raises(ConnectionRefusedError):
        ask(port, tcp=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_stops_it_at_once(start, number):
    process = start("--mode", "dns-silence")
    port = int(listening(process)["port"])
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        code, lines = stop(process, number)
        assert client.recv(10) == b""

    assert code == 0
    assert re.fullmatch(r"stopped after \d+\.\d s: 0 attempts, 0 struck", *lines)


def test_the_port_is_the_one_that_was_asked_for(start):
    with dns_server() as server:
        port = str(server.port)
    process = start("--mode", "dns-nxdomain", "--port", port, "--host", "localhost")

    found = listening(process)
    assert (found["host"], found["port"]) == ("127.0.0.1", port)
    assert found["trial"] == f"dig @127.0.0.1 -p {port} api.example.com"


@pytest.mark.parametrize("name", ["dns_no_address", "dns-no_address", "dns-no-address"])
def test_a_mode_may_be_spelled_as_in_python(start, name):
    assert listening(start("--mode", name))["plan"] == "no_address()"


@pytest.mark.skipif(shutil.which("dig") is None, reason="dig is not on PATH")
def test_the_printed_command_works(start):
    trial = shlex.split(listening(start("--mode", "dns-nxdomain"))["trial"])
    tried = subprocess.run([*trial, "+time=5"], capture_output=True, text=True, check=False, timeout=30)

    assert "status: NXDOMAIN" in tried.stdout


def test_a_line_that_nobody_reads_ends_the_server(start):
    process = start("--mode", "dns-nxdomain")
    port = listening(process)["port"]
    process.stdout.close()

    assert ask(port) == dns.rcode.NXDOMAIN
    assert process.stderr.read() == ""
    assert process.wait() == 0


# --- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "serve --mode dns-nxdomin",
            f"no mode 'dns-nxdomin'. Did you mean 'dns-nxdomain'? Modes of a DNS server: {', '.join(MODES)}.",
        ),
        ("serve --mode dns-", "no mode 'dns-'."),
        ("serve --mode dns_garbag", "no mode 'dns_garbag'. Did you mean 'dns-garbage'? "),
        ("serve --mode dns-bad-dns", "no mode 'dns-bad-dns'."),
        ("serve --mode dns-reset", "no mode 'dns-reset'."),
        (
            "serve --mode dns-nxdomain --tls",
            "mode dns-nxdomain takes neither --tls nor --then: it is one of a DNS server.",
        ),
        ("serve --mode dns-slow --then ok", "mode dns-slow takes neither --tls nor --then: it is one of a DNS server."),
        ("serve --mode dns-silence --then dns-servfail", "mode dns-silence takes neither --tls nor --then: "),
        ("serve --mode ok --then dns-nxdomain", "no mode 'dns-nxdomain'."),
        ("serve --mode dns-slow --delay-seconds x", "delay_seconds='x': expected a number."),
        ("serve --mode dns-slow --delay-seconds -1", "delay_seconds=-1.0: expected a number of seconds, 0 or more."),
        ("serve --mode dns-slow --delay-seconds nan", "delay_seconds=nan: expected a number of seconds, 0 or more."),
        ("serve --mode dns-slow --delay-seconds", "argument --delay-seconds: expected one argument."),
        ("serve --mode dns-nxdomain --delay-seconds 1", "unrecognized arguments: --delay-seconds 1."),
        ("serve --mode dns-nxdomain --port x", "port='x': expected a whole number."),
        ("serve --mode dns-nxdomain --port 70000", "port=70000: expected a whole number, from 0 to 65535."),
        ("serve --mode dns-nxdomain --host 192.0.2.1", "host='192.0.2.1': expected an address of this machine"),
        ("serve --mode dns-nxdomain --host a.test", "host='a.test': expected an IP address of this machine, or "),
    ],
)
def test_a_mistake_is_one_line_and_exit_status_2(capsys, words, said):
    assert main(words.split()) == 2

    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"faultline: {said}")
    assert told.err.count("\n") == 1


def test_a_mistake_has_no_traceback_in_a_process_of_its_own():
    words = ["serve", "--mode", "dns-nxdomain", "--tls"]
    ran = subprocess.run([*COMMAND, *words], capture_output=True, text=True, check=False, timeout=30)

    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)


def test_a_busy_port_is_one_line_and_exit_status_2(capsys):
    with dns_server() as server:
        assert main(["serve", "--mode", "dns-nxdomain", "--port", str(server.port)]) == 2

    told, port = capsys.readouterr(), server.port
    said = f"faultline: port={port}: expected a free port, but 127.0.0.1:{port} is in use; choose another or 0.\n"
    assert (told.out, told.err) == ("", said)


@pytest.mark.parametrize("mode", ["dns-nxdomain", "dns-slow", "dns-no-such"])
def test_a_relay_has_no_mode_of_a_dns_server(mode):
    with socket.socket() as upstream:
        upstream.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{upstream.getsockname()[1]}"
        words = ["relay", "--upstream", where, "--mode", mode]
        with subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            line = process.stdout.readline()
            process.terminate()
            complaints = process.stderr.read()

    assert line == ""
    assert complaints.startswith(f"faultline: no mode {mode!r}.") or "DNS server" in complaints
    assert process.returncode == 2


def test_modes_are_listed_with_what_each_does(capsys):
    assert main(["modes"]) == 0

    lines = capsys.readouterr().out.splitlines()
    listed = lines[lines.index("lookup (a DNS server, with `faultline serve` alone)") + 1 :]
    assert [line.split()[0] for line in listed if line.startswith("  dns-")] == list(MODES)
    assert all(len(line.split()) > 3 for line in listed)
    assert f"  {'dns-garbage':16} Answer a query by bad_dns('garbage')." in listed


def test_the_listed_modes_are_those_that_there_are(capsys):
    main(["modes"])
    listed = re.findall(r"^  (dns-\S+) ", capsys.readouterr().out, re.MULTILINE)
    assert main(["serve", "--mode", "dns-x"]) == 2

    assert capsys.readouterr().err.partition("Modes of a DNS server: ")[2] == f"{', '.join(listed)}.\n"


def test_the_option_of_a_slow_answer_is_in_the_help(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--mode", "dns-slow", "--help"])

    told = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    assert "--delay-seconds DELAY_SECONDS how late it answers (default: 5)" in told


def test_the_other_modes_have_no_option_of_their_own(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--mode", "dns-nxdomain", "--help"])

    assert ended.value.code == 0
    assert "--delay-seconds" not in capsys.readouterr().out


def test_it_takes_dnspython_and_says_so_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    assert main(["serve", "--mode", "dns-nxdomain"]) == 2

    assert capsys.readouterr().err == "faultline: dns_server() needs dnspython; install pytest-faultline[dns].\n"
