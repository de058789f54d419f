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

from faultline import bad_dns, dns_server, no_address, nxdomain, resolves_to, servfail, slow_resolve
from faultline._front.command import main
from faultline._front.options import named

pytestmark = pytest.mark.timeout(60)
COMMAND = [sys.executable, "-m", "faultline"]
LISTENING = re.compile(
    r"(?P<plan>\S+) on (?P<host>\S+):(?P<port>\d+), UDP and TCP - try: (?P<trial>dig @(\S+) -p \d+ api\.example\.com)"
    r" - Ctrl-C stops\n"
)
# What each mode plays, and what a client gets: a code, an error of dnspython's, or addresses.
MODES = {
    "slow-resolve --delay-seconds 5": (slow_resolve(5.0), dns.exception.Timeout),
    "nxdomain": (nxdomain(), dns.rcode.NXDOMAIN),
    "servfail": (servfail(), dns.rcode.SERVFAIL),
    "no-address": (no_address(), []),
    "resolves-to --server 127.0.0.2:8080": (resolves_to("127.0.0.2:8080"), ["127.0.0.2"]),
    "bad-dns --kind refused": (bad_dns("refused"), dns.rcode.REFUSED),
    "bad-dns --kind silence": (bad_dns("silence"), dns.exception.Timeout),
    "bad-dns --kind truncated": (bad_dns("truncated"), dns.message.Truncated),
    "bad-dns --kind wrong_id": (bad_dns("wrong_id"), dns.query.BadResponse),
    "bad-dns --kind garbage": (bad_dns("garbage"), dns.exception.DNSException),
    "bad-dns --kind cname_loop": (bad_dns("cname_loop"), ["loop.invalid.", "api.example.com."]),
    "bad-dns --kind flapping": (bad_dns("flapping"), ["127.0.0.1"]),
}
KINDS = ["refused", "silence", "truncated", "wrong-id", "garbage", "cname-loop", "flapping"]


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


@pytest.mark.parametrize("words", MODES)
def test_every_mode_starts_answers_as_it_says_and_stops(start, words):
    fault, expected = MODES[words]
    process = start("--mode", *words.split())
    found = listening(process)
    assert found["plan"] == repr(fault)

    if isinstance(expected, type):
        with pytest.raises(expected):
            ask(found["port"], seconds=0.2 if expected is dns.exception.Timeout else 10)
    else:
        assert ask(found["port"]) == expected
    code, lines = stop(process)

    assert code == 0
    struck = 1 if fault.break_ or fault.conditions else 0
    assert re.fullmatch(rf"stopped after \d+\.\d s: 1 attempt, {struck} struck", lines[-1])
    assert lines[0].startswith(f"#1 A api.example.com: {fault!r} ")
    assert lines[0].endswith("(over UDP)")
    assert len(lines) == 2


def test_a_query_is_a_line_as_it_is_answered(start):
    process = start("--mode", "nxdomain")
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
    process = start("--mode", "servfail", "--json")
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
    process = start("--mode", "slow-resolve", "--delay-seconds", "0.05", "--json")
    begun = json.loads(process.stdout.readline())
    assert ask(begun["url"].rpartition(":")[2]) == ["127.0.0.1"]
    attempt = json.loads(process.stdout.readline())

    assert begun["plan"] == "slow_resolve(0.05)"
    assert attempt["ended_seconds"] - attempt["started_seconds"] >= 0.05
    assert (attempt["struck"]["part"], attempt["struck"]["point"]) == ("condition 1", "lookup")


def test_a_slow_answer_that_is_still_to_come_at_the_end_is_a_line_too(start):
    process = start("--mode", "slow-resolve", "--delay-seconds", "60", "--json")
    port = json.loads(process.stdout.readline())["url"].rpartition(":")[2]
    with pytest.raises(dns.exception.Timeout):
        ask(port, seconds=0.2)
    code, lines = stop(process)

    assert code == 0
    attempt, stopped = map(json.loads, lines)
    assert (attempt["event"], attempt["ended_by"], attempt["ended_how"]) == ("attempt", "server", "stop")
    assert stopped == {"event": "stopped", "attempts": 1, "struck": 1}


def test_truncated_has_nobody_listening_over_tcp(start):
    process = start("--mode", "bad-dns", "--kind", "truncated")
    port = int(listening(process)["port"])
    with pytest.raises(dns.message.Truncated):
        ask(port)
    with pytest.raises(ConnectionRefusedError):
        ask(port, tcp=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_stops_it_at_once(start, number):
    process = start("--mode", "bad-dns", "--kind", "silence")
    port = int(listening(process)["port"])
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        code, lines = stop(process, number)
        assert client.recv(10) == b""

    assert code == 0
    assert re.fullmatch(r"stopped after \d+\.\d s: 0 attempts, 0 struck", *lines)


def test_the_port_is_the_one_that_was_asked_for(start):
    with dns_server() as server:
        port = str(server.port)
    process = start("--mode", "nxdomain", "--port", port, "--host", "localhost")

    found = listening(process)
    assert (found["host"], found["port"]) == ("127.0.0.1", port)
    assert found["trial"] == f"dig @127.0.0.1 -p {port} api.example.com"


@pytest.mark.parametrize(
    ("word", "fault"),
    [
        *(("dns-nxdomain", nxdomain()), ("dns-servfail", servfail())),
        *((word, no_address()) for word in ("no_address", "dns_no_address", "dns-no_address", "dns-no-address")),
        *((f"dns-{kind}", bad_dns(kind.replace("-", "_"))) for kind in KINDS),
    ],
)
def test_a_mode_may_be_spelled_as_in_python_or_as_it_was_before(word, fault):
    entry, arguments = named(word)

    assert entry.function(**arguments) == fault


def test_a_mode_spelled_as_before_needs_no_option_for_what_the_word_says(start):
    process = start("--mode", "dns-slow", "--delay-seconds", "0.01", "--then", "dns-refused", "--then", "ok", "--json")
    begun = json.loads(process.stdout.readline())
    port = begun["url"].rpartition(":")[2]

    assert begun["plan"] == "sequence(slow_resolve(0.01), bad_dns('refused'), ok())"
    assert [ask(port) for _ in range(4)] == [["127.0.0.1"], dns.rcode.REFUSED, ["127.0.0.1"], ["127.0.0.1"]]


@pytest.mark.skipif(shutil.which("dig") is None, reason="dig is not on PATH")
def test_the_printed_command_works(start):
    trial = shlex.split(listening(start("--mode", "nxdomain"))["trial"])
    tried = subprocess.run([*trial, "+time=5"], capture_output=True, text=True, check=False)

    assert "status: NXDOMAIN" in tried.stdout


def test_a_line_that_nobody_reads_ends_the_server(start):
    process = start("--mode", "nxdomain")
    port = listening(process)["port"]
    process.stdout.close()

    assert ask(port) == dns.rcode.NXDOMAIN
    assert process.stderr.read() == ""
    assert process.wait() == 0


# --- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("serve --mode dns-nxdomin", "no mode 'dns-nxdomin'. Did you mean 'nxdomain'? Modes: "),
        ("serve --mode dns-", "no mode 'dns-'. Did you mean 'nxdomain'? Modes: "),
        ("serve --mode dns-bad-dns", "mode bad-dns needs --kind {refused,silence,truncated,wrong_id,garbage,"),
        ("serve --mode dns-reset", "no mode 'dns-reset'."),
        ("serve --mode ok --then bad-dns", "mode bad-dns needs --kind {refused,silence,truncated,wrong_id,garbage,"),
        ("serve --mode nxdomain --tls", "nxdomain(): expected no --tls with it; it takes a DNS server."),
        ("serve --mode ok --then dns-refused --tls", "sequence(ok(), bad_dns('refused')): expected no --tls with it; "),
        ("serve --mode dns-slow", "mode slow-resolve needs --delay-seconds SECONDS."),
        ("serve --mode nxdomain --then dns-slow", "mode slow-resolve needs --delay-seconds SECONDS. In --then the "),
        ("serve --mode dns-slow --delay-seconds x", "delay_seconds='x': expected a number."),
        ("serve --mode dns-slow --delay-seconds -1", "delay_seconds=-1.0: expected a number of seconds, 0 or more."),
        ("serve --mode dns-slow --delay-seconds nan", "delay_seconds=nan: expected a number of seconds, 0 or more."),
        ("serve --mode dns-slow --delay-seconds", "argument --delay-seconds: expected one argument."),
        ("serve --mode nxdomain --delay-seconds 1", "unrecognized arguments: --delay-seconds 1."),
        ("serve --mode nxdomain --port x", "port='x': expected a whole number."),
        ("serve --mode nxdomain --port 70000", "port=70000: expected a whole number, from 0 to 65535."),
        ("serve --mode nxdomain --host 192.0.2.1", "host='192.0.2.1': expected an address "),
        ("serve --mode nxdomain --host a.test", "host='a.test': expected an IP address of this machine, or "),
    ],
)
def test_a_mistake_is_one_line_and_exit_status_2(capsys, words, said):
    assert main(words.split()) == 2

    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"faultline: {said}")
    assert told.err.count("\n") == 1


def test_a_mistake_has_no_traceback_in_a_process_of_its_own():
    words = ["serve", "--mode", "nxdomain", "--tls"]
    ran = subprocess.run([*COMMAND, *words], capture_output=True, text=True, check=False)

    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)


def test_a_busy_port_is_one_line_and_exit_status_2(capsys):
    with dns_server() as server:
        assert main(["serve", "--mode", "nxdomain", "--port", str(server.port)]) == 2

    told, port = capsys.readouterr(), server.port
    said = f"faultline: port={port}: expected a free port, but 127.0.0.1:{port} is in use; choose another or 0.\n"
    assert (told.out, told.err) == ("", said)


@pytest.mark.parametrize("words", ["nxdomain", "dns-refused", "dns-slow --delay-seconds 1"])
def test_a_relay_has_no_mode_of_a_dns_server(capsys, words):
    assert main(["relay", "--upstream", "127.0.0.1:9", "--mode", *words.split()]) == 2

    told = capsys.readouterr().err
    assert "expected `faultline serve` with it; it takes a DNS server. " in told
    assert told.endswith(f" Type: faultline serve --mode {words}\n")


def test_modes_are_listed_with_what_each_does(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "110")
    assert main(["modes"]) == 0

    lines = capsys.readouterr().out.splitlines()
    listed = lines[lines.index("lookup (a DNS server)") + 1 : lines.index("connect")]
    assert [line.split()[0] for line in listed if line[2] != " "] == [
        *("addresses", "bad-dns", "no-address", "nxdomain", "resolves-to", "servfail", "slow-resolve")
    ]
    assert [line.strip() for line in listed if line[2] == " "] == [
        "--first {dead_first,blackhole_first,ipv6_first}",
        "The mode is for tests alone: its `server` is an object of the test.",
        "--kind {refused,silence,truncated,wrong_id,garbage,cname_loop,flapping}",
        "--server ADDRESS",
        "--delay-seconds SECONDS",
    ]


@pytest.mark.parametrize(("word", "is_there"), [("bad-dns", True), ("dns-refused", False)])
def test_help_has_the_options_that_the_word_leaves_open(capsys, word, is_there):
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--mode", word, "--help"])

    told = capsys.readouterr().out
    assert ended.value.code == 0
    assert "options of bad-dns:" in told
    assert ("--kind" in told) is is_there


def test_it_takes_dnspython_and_says_so_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    assert main(["serve", "--mode", "nxdomain"]) == 2

    assert capsys.readouterr().err == "faultline: dns_server() needs dnspython; install pytest-faultline[dns].\n"
