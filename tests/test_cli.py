"""The command in this process: what it prints while it serves, and what its clients get."""

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

import dns.exception
import dns.message
import dns.query
import dns.rcode
import pytest
from support import GET, PATIENCE_SECONDS, SILENCE_SECONDS, to_end
from support.command import running
from support.tables import each_row

import faultline as fl
from faultline import (
    bad_dns,
    malformed,
    ok,
    raw,
    receive,
    redirect,
    script,
    send,
    serve,
    sse,
    status,
    trickle_headers,
)
from faultline._core.check import plain
from faultline._core.promises import promises_of
from faultline._core.said import LONG_CALL
from faultline._front import command as command_module
from faultline._front.command import main
from faultline._front.listing import for_tests, option_name, options_of
from faultline._net import syns
from faultline.modes._catalogue import modes

LISTENING = re.compile(
    r"(?P<plan>.+) on (?P<url>(?:\w+://)?(?P<host>[^ :/]+):(?P<port>\d+)).* - try: (?P<trial>.+) - Ctrl-C stops"
)
STOPPED = r"stopped after \d+\.\d s: {}, {} struck"


def listening(line):
    """What the first line says."""
    found = LISTENING.fullmatch(line)
    assert found, line
    return found


def first_line(words):
    """The first line of the command, which is stopped again."""
    with running(words) as command:
        return command.line()


def dial(place):
    """A connection to the port that the command says; where it says `https`, with the CA that it names."""
    client = socket.create_connection(("127.0.0.1", int(place["port"])), PATIENCE_SECONDS)
    if not place["url"].startswith("https"):
        return client
    words = shlex.split(place["trial"])
    context = ssl.create_default_context(cafile=words[words.index("--cacert") + 1])
    context.check_hostname = False
    try:
        return context.wrap_socket(client)
    except OSError:
        client.close()
        raise


def ask(place, data=GET):
    """The bytes of the answer, and how they end."""
    with dial(place) as client:
        client.sendall(data)
        return to_end(client)


def look_up(port, kind="A", *, tcp=False, seconds=PATIENCE_SECONDS):
    """What a DNS server answers: the code if it is a failure, otherwise what was found."""
    asked = dns.message.make_query("api.example.com", kind)
    if tcp:
        answer = dns.query.tcp(asked, "127.0.0.1", seconds, int(port))
    else:
        answer = dns.query.udp(asked, "127.0.0.1", seconds, int(port), raise_on_truncation=True)
    return answer.rcode() or [str(found) for rrset in answer.answer for found in rrset]


# --- every mode ------------------------------------------------------------------------------------------------------


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
def test_every_mode_starts_with_options_and_stops(name):
    case = max(modes()[name].cases, key=lambda case: len(case.arguments))
    try:
        if case.kind == "TCP server":
            serve(case.fault, strict=False).close()
    except fl.UnsupportedError as error:
        pytest.skip(str(error))
    followed = ["--then", "ok"] if name == "reordered" else []
    with running(shlex.join(["serve", "--mode", option_name(name), *words_of(case), *followed])) as command:
        plan = fl.sequence(case.fault, ok()) if followed else case.fault
        assert command.line().startswith(f"{plan!r} on {'http' if case.kind == 'TCP server' else ''}")
        code, [last] = command.stop()

    assert code == 0
    assert re.fullmatch(STOPPED.format("0 attempts", 0), last)


OK = b"HTTP/1.1 200 OK\r\n"
CLOSES = b"Connection: close\r\n\r\n"
TYPE = b"Content-Type: text/plain\r\n"
STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
)
ANSWERS = {  # what each mode plays, what a client gets, and how that ends
    "malformed --kind chunk_cut": (
        malformed("chunk_cut"),
        OK + b"Transfer-Encoding: chunked\r\n" + TYPE + CLOSES + b"5\r\ntwent\r\nf\r\ny bytes of",
    ),
    "redirect --code 307 --kind loop --to http://localhost:1/x": (
        redirect("loop", to="http://localhost:1/x", code=307),
        b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://localhost:1/x\r\nContent-Length: 0\r\n" + CLOSES,
    ),
    "redirect --kind chain --hops 2": (
        redirect("chain", hops=2),
        b"HTTP/1.1 302 Found\r\nLocation: /hop/1\r\nContent-Length: 0\r\n" + CLOSES,
    ),
    "sse --events one --events two --break close": (
        sse(("one", "two")),
        STREAM + b"b\r\ndata: one\n\n\r\nb\r\ndata:",
    ),
    "sse --events one --events two --break reset": (
        sse(("one", "two"), break_="reset"),
        STREAM + b"b\r\ndata: one\n\n\r\nb\r\ndata:",
    ),
    "sse --events one --break none": (
        sse(("one",), break_="none"),
        STREAM + b"b\r\ndata: one\n\n\r\n0\r\n\r\n",
    ),
    "status --code 429 --retry-after 3 --headers X-Id:7 --body later": (
        status(429, retry_after=3, headers=(("X-Id", "7"),), body=b"later"),
        b"HTTP/1.1 429 Too Many Requests\r\nX-Id: 7\r\nRetry-After: 3\r\nContent-Length: 5\r\n"
        + TYPE
        + CLOSES
        + b"later",
    ),
    "ok --headers 'X-One: 1' --headers 'X-Two:a: b' --status 418 --body é": (
        ok("é".encode(), status=418, headers=(("X-One", "1"), ("X-Two", "a: b"))),
        b"HTTP/1.1 418 I'm a Teapot\r\nX-One: 1\r\nX-Two: a: b\r\nContent-Length: 2\r\n" + TYPE + CLOSES + "é".encode(),
    ),
    "raw --data whatever": (raw(b"whatever"), b"whatever"),
    "trickle-headers --lines 1 --every-seconds 0.001": (
        trickle_headers(1, every_seconds=0.001),
        OK + b"X-Trickle-1: more to come\r\nContent-Length: 3\r\n" + TYPE + CLOSES + b"ok\n",
    ),
    "bad-cert --kind revoked": (fl.bad_cert("revoked"), OK + b"Content-Length: 3\r\n" + TYPE + CLOSES + b"ok\n"),
}


@pytest.mark.slow
@each_row("words", ANSWERS)
def test_answer_is_served_as_the_words_say(words):
    plan, said = ANSWERS[words]
    with running(f"serve --mode {words}") as command:
        place = listening(command.line())

        assert place["plan"] == repr(plan)
        assert ask(place) == (said, "RST" if "reset" in words else "FIN")
        named = repr(plan) if len(repr(plan)) <= LONG_CALL else f"{repr(plan).partition('(')[0]}(…)"
        assert command.line().startswith(f"#1 GET /: {named} ")
        code, [last] = command.stop()

    assert code == 0
    assert re.fullmatch(STOPPED.format("1 attempt", len(promises_of(plan))), last)


LOOKUPS = {  # what each mode plays, and what a client gets: a code, an error of dnspython's, or addresses
    "slow-resolve --delay-seconds 5": (fl.slow_resolve(5.0), dns.exception.Timeout),
    "nxdomain": (fl.nxdomain(), dns.rcode.NXDOMAIN),
    "servfail": (fl.servfail(), dns.rcode.SERVFAIL),
    "no-address": (fl.no_address(), []),
    "resolves-to --server 127.0.0.2:8080": (fl.resolves_to("127.0.0.2:8080"), ["127.0.0.2"]),
    "bad-dns --kind refused": (bad_dns("refused"), dns.rcode.REFUSED),
    "bad-dns --kind silence": (bad_dns("silence"), dns.exception.Timeout),
    "bad-dns --kind truncated": (bad_dns("truncated"), dns.message.Truncated),
    "bad-dns --kind wrong_id": (bad_dns("wrong_id"), dns.query.BadResponse),
    "bad-dns --kind garbage": (bad_dns("garbage"), dns.exception.DNSException),
    "bad-dns --kind cname_loop": (bad_dns("cname_loop"), ["loop.invalid.", "api.example.com."]),
    "bad-dns --kind flapping": (bad_dns("flapping"), ["127.0.0.1"]),
}


@pytest.mark.slow
@each_row("words", LOOKUPS)
def test_lookup_is_answered_as_the_words_say(words):
    plan, expected = LOOKUPS[words]
    with running(f"serve --mode {words}") as command:
        place = listening(command.line())
        assert place["plan"] == repr(plan)
        assert place["trial"] == f"dig @127.0.0.1 -p {place['port']} api.example.com"

        if isinstance(expected, type):
            seconds = SILENCE_SECONDS if expected is dns.exception.Timeout else PATIENCE_SECONDS
            with pytest.raises(expected):
                look_up(place["port"], seconds=seconds)
        else:
            assert look_up(place["port"]) == expected
        code, [told, last] = command.stop()

    assert code == 0
    assert told.startswith(f"#1 A api.example.com: {plan!r} ")
    assert told.endswith("(over UDP)")
    assert re.fullmatch(STOPPED.format("1 attempt", 1 if plan.break_ or plan.conditions else 0), last)


def test_alert_is_sent_as_the_words_say():
    with running("serve --mode bad-tls --kind alert --alert access_denied") as command:
        place = listening(command.line())

        with pytest.raises(ssl.SSLError) as raised:
            ask(place)

        assert raised.value.reason == "TLSV1_ALERT_ACCESS_DENIED"
        assert place["plan"] == "bad_tls('alert', alert='access_denied')"
        assert "struck at 'handshake'" in command.line()


# --- lines -----------------------------------------------------------------------------------------------------------


def test_attempt_is_a_line_as_it_ends():
    with running("serve --mode reset --after-bytes 10") as command:
        place = listening(command.line())
        for number in (1, 2):
            assert ask(place) == (b"HTTP/1.1 2", "RST")
            assert re.fullmatch(
                rf"#{number} GET /: reset\(after_bytes=10\) struck at 'response', "
                rf"received {len(GET)} and sent 10 bytes, ended by the server \(RST\) after \d\.\d+ s",
                command.line(),
            )

        code, [last] = command.stop()

    assert code == 0
    assert re.fullmatch(STOPPED.format("2 attempts", 2), last)


def test_query_is_a_line_as_it_is_answered():
    with running("serve --mode nxdomain") as command:
        port = listening(command.line())["port"]
        for number, (kind, tcp) in enumerate([("A", False), ("AAAA", False), ("MX", True)], 1):
            assert look_up(port, kind, tcp=tcp) == dns.rcode.NXDOMAIN
            assert re.fullmatch(
                rf"#{number} {kind} api\.example\.com: nxdomain\(\) struck at 'lookup', received 33 and sent 33 bytes, "
                rf"ended by the server \(answer\) after \d\.\d{{3}} s \(over {'TCP' if tcp else 'UDP'}\)",
                command.line(),
            )


def test_json_is_one_object_per_line():
    with running("serve --mode close --after-bytes 5 --json") as command:
        begun = json.loads(command.line())
        port = begun["url"].rpartition(":")[2]
        assert ask({"port": port, "url": begun["url"]}) == (b"HTTP/", "FIN")
        attempt = json.loads(command.line())
        code, lines = command.stop()

    assert begun == {
        "event": "listening",
        "plan": "close(after_bytes=5)",
        "url": f"http://127.0.0.1:{port}",
        "try": f"curl -v http://127.0.0.1:{port}/",
    }
    assert (attempt["event"], attempt["number"], attempt["fault"]) == ("attempt", 1, "close(after_bytes=5)")
    assert (attempt["sent_bytes"], attempt["struck"]["point"], attempt["ended_how"]) == (5, "response", "FIN")
    assert attempt["request"]["target"] == "/"
    assert (code, [json.loads(line) for line in lines]) == (0, [{"event": "stopped", "attempts": 1, "struck": 1}])


@pytest.mark.slow
def test_json_of_lookups_has_the_name_and_the_time():
    with running("serve --mode dns-slow --delay-seconds 0.05 --then dns-refused --then ok --json") as command:
        begun = json.loads(command.line())
        port = begun["url"].rpartition(":")[2]

        assert begun == {
            "event": "listening",
            "plan": "sequence(slow_resolve(0.05), bad_dns('refused'), ok())",
            "url": f"dns://127.0.0.1:{port}",
            "try": f"dig @127.0.0.1 -p {port} api.example.com",
        }
        assert [look_up(port) for _ in range(4)] == [["127.0.0.1"], dns.rcode.REFUSED, ["127.0.0.1"], ["127.0.0.1"]]
        slow, refused = (json.loads(command.line()) for _ in range(2))
        assert slow["ended_seconds"] - slow["started_seconds"] >= 0.05
        assert (slow["struck"]["part"], slow["struck"]["point"]) == ("condition 1", "lookup")
        assert (refused["request"]["method"], refused["request"]["target"]) == ("A", "api.example.com")
        assert (refused["struck"]["point"], refused["ended_how"], refused["note"]) == ("lookup", "answer", "over UDP")


def test_answer_that_is_still_to_come_at_the_end_is_a_line_too():
    with running("serve --mode slow-resolve --delay-seconds 60 --json") as command:
        port = json.loads(command.line())["url"].rpartition(":")[2]
        with pytest.raises(dns.exception.Timeout):
            look_up(port, seconds=SILENCE_SECONDS)
        code, lines = command.stop()

    attempt, stopped = map(json.loads, lines)
    assert (attempt["event"], attempt["ended_by"], attempt["ended_how"]) == ("attempt", "server", "stop")
    assert (code, stopped) == (0, {"event": "stopped", "attempts": 1, "struck": 1})


def test_json_of_bytes_that_are_no_text():
    with running("serve --mode echo --json") as command:
        begun = json.loads(command.line())
        with dial({"port": begun["url"].rpartition(":")[2], "url": begun["url"]}) as client:
            client.sendall(b"\xff\0\n")
            assert client.recv(100) == b"\xff\0\n"

        assert json.loads(command.line())["request"]["body"] == "\xff\0\n"


def test_then_is_the_mode_of_the_next_attempt():
    with running("serve --mode close --then 'status --code 503 --retry-after 1' --then close") as command:
        place = listening(command.line())

        assert place["plan"] == "sequence(close(), status(503, retry_after=1), close())"
        assert [ask(place)[0][:12] for _ in range(4)] == [b"", b"HTTP/1.1 503", b"", b""]


def test_mode_of_datagrams_starts_a_udp_server():
    with running("serve --mode reordered --then blackhole --then duplicated --json") as command:
        begun = json.loads(command.line())
        host, port = begun["url"].removeprefix("udp://").split(":")
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.settimeout(PATIENCE_SECONDS)
            client.connect((host, int(port)))
            for word in (b"one", b"two", b"three"):
                client.send(word)
            assert [client.recv(10) for _ in range(3)] == [b"three", b"three", b"one"]
        attempts = [json.loads(command.line()) for _ in range(3)]
        code, lines = command.stop()

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


def test_refusal_of_socks_starts_a_proxy():
    with running("serve --mode socks-refusal --kind ttl_expired --then stall --port 0") as command:
        place = listening(command.line())
        answer = ask(place, b"\5\1\0" + b"\5\1\0\1\x7f\0\0\1\0\x50")

        assert place["plan"] == "sequence(socks_refusal('ttl_expired'), stall())"
        assert place["url"] == f"socks5h://127.0.0.1:{place['port']}"
        assert place["trial"] == f"curl -v --proxy {place['url']} http://localhost/"
        assert answer == (b"\5\0" + b"\5\6\0\1" + bytes(6), "FIN")
        assert command.line().startswith("#1 SOCKS5 127.0.0.1:80: socks_refusal('ttl_expired') struck at 'response', ")
        code, lines = command.stop()

    assert (code, len(lines)) == (0, 1)


@pytest.mark.parametrize("mode", ["ok", "nxdomain", "duplicated", "socks-refusal --kind not_allowed"])
def test_port_is_the_one_that_was_asked_for(own_port, mode):
    place = listening(first_line(f"serve --mode {mode} --port {own_port} --host localhost"))

    assert (place["host"], place["port"]) == ("127.0.0.1", str(own_port))
    assert place["port"] in place["trial"]


@pytest.mark.parametrize("tls", ["", " --tls"])
def test_websocket_is_served_by_its_steps(tls):
    steps = "send_text('hi'), close_frame(1012)"
    line = first_line(f'serve --mode websocket --steps "{steps}" --then websocket{tls}')

    trial = "SSL_CERT_FILE=.* python -m websockets wss://.*" if tls else "python -m websockets ws://.*"
    assert re.match(rf"{re.escape(f'sequence(websocket({steps}), websocket())')} on wss?://.* - try: {trial}", line)


def test_websocket_is_served_on_a_unix_socket(tmp_path):
    line = first_line(f"serve --mode websocket --unix {tmp_path}/s")

    assert f"--unix-socket {tmp_path}/s http://localhost/" in line


@each_row("steps", ["send_text(", "), ok(", "1"])
def test_steps_have_to_be_steps(steps, capsys):
    assert main(["serve", "--mode", "websocket", "--steps", steps]) == 2
    assert "expected" in capsys.readouterr().err


def test_plan_that_begins_with_a_refusal_of_so_long_starts():
    line = first_line("serve --mode refuse --for-seconds 0.01 --then ok")

    assert line.startswith("sequence(refuse(for_seconds=0.01), ok()) on http://127.0.0.1:")


@each_row("mode", ["refuse", "blackhole"])
def test_first_line_says_where_no_attempt_can_be_seen(mode):
    is_seen = syns.can_answer(socket.AF_INET)

    assert ("no attempt is seen from here" in first_line(f"serve --mode {mode}")) is not is_seen


@each_row(("fault", "is_told"), [(fl.refuse(), True), (fl.blackhole(), False), (fl.duplicated(), False)])
def test_only_what_is_not_counted_is_said_to_be_unseen(fault, is_told):
    with fl.udp(fault, strict=False) as server:
        assert ("no attempt is seen from here" in command_module.unseen(server, fault)) is is_told


# --- the printed command ---------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on PATH")
@pytest.mark.parametrize("words", ["--mode ok --body hello", "--mode echo --tls", "--mode echo --tls mutual"])
def test_printed_curl_command_works(words, tmp_path):
    with running(f"serve {words}") as command:
        trial = shlex.split(listening(command.line())["trial"])
        tried = subprocess.run(
            [*trial, "--data", "hello", "--max-time", "10"],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "NO_PROXY": "*"},
        )

    assert (tried.returncode, tried.stdout) == (0, "hello")
    assert "< HTTP/1.1 200 OK" in tried.stderr


@pytest.mark.measured
@pytest.mark.slow
@pytest.mark.parametrize(
    "options", ["ok --http2", "ok --http2 --tls", "ok --tls --alpn h2", "grpc-ok", "goaway --then ok --tls"]
)
def test_printed_curl_command_speaks_http2_with_a_server_that_does(options):
    with running(f"serve --mode {options}") as command:
        trial = shlex.split(listening(command.line())["trial"])
        tried = subprocess.run([*trial, "--max-time", "5"], capture_output=True, text=True, check=False)
        assert "stream 1" in command.line()

    assert "< HTTP/2 200" in tried.stderr


@pytest.mark.skipif(shutil.which("dig") is None, reason="dig is not on PATH")
def test_printed_dig_command_works():
    with running("serve --mode nxdomain") as command:
        trial = shlex.split(listening(command.line())["trial"])
        tried = subprocess.run([*trial, "+time=5"], capture_output=True, text=True, check=False)

    assert "status: NXDOMAIN" in tried.stdout


# --- the test CA -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", ["--tls", "--tls mutual"])
@pytest.mark.parametrize("has_path", [False, True])
def test_first_line_has_the_file_of_the_ca(tmp_path, tls, has_path):
    path = str(tmp_path / "the ca.pem")
    own = f"--ca-file '{path}'" if has_path else ""
    with running(f"serve --mode ok {tls} {own} --json") as command:
        line = json.loads(command.line())
        words = shlex.split(line["try"])
        context = ssl.create_default_context(cafile=line["ca_file"])
        if "mutual" in tls:
            context.load_cert_chain(line["client_cert_file"])
        port = int(line["url"].rpartition(":")[2])
        with (
            socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as client,
            context.wrap_socket(client, server_hostname="127.0.0.1") as secure,
        ):
            secure.sendall(GET)
            assert to_end(secure)[0].startswith(OK)
        attempt = json.loads(command.line())

    assert attempt["tls"]["client"] == ("faultline client" if "mutual" in tls else "")
    assert words[words.index("--cacert") + 1] == line["ca_file"]
    assert (line["ca_file"] == path) == has_path


@each_row("words", ["serve --mode ok --tls", "relay --upstream 127.0.0.1:9 --tls terminate"])
def test_the_protocols_of_tls_are_an_option(words):
    with running(f"{words} --alpn h2,http/1.1 --json") as command:
        line = json.loads(command.line())
        context = ssl.create_default_context(cafile=line["ca_file"])
        context.set_alpn_protocols(["http/1.1", "h2"])
        address = ("127.0.0.1", int(line["url"].rpartition(":")[2]))
        with (
            socket.create_connection(address, PATIENCE_SECONDS) as client,
            context.wrap_socket(client, server_hostname="127.0.0.1") as secure,
        ):
            assert secure.selected_alpn_protocol() == "h2"


@each_row("key", ["", " --upstream-key {cert}"])
def test_a_relay_shows_its_upstream_a_certificate(key):
    with serve(ok(), tls="mutual") as real:
        words = f"relay --upstream {real.url} --tls terminate --upstream-cert {{cert}}{key} --json"
        with running(words.format(cert=real.client_cert_file)) as command:
            line = json.loads(command.line())
            context = ssl.create_default_context(cafile=line["ca_file"])
            address = ("127.0.0.1", int(line["url"].rpartition(":")[2]))
            with (
                socket.create_connection(address, PATIENCE_SECONDS) as client,
                context.wrap_socket(client, server_hostname="127.0.0.1") as secure,
            ):
                secure.sendall(GET)
                assert to_end(secure)[0].startswith(OK)
        assert real.attempts[0].tls.client == "faultline client"


def test_a_relay_begins_tls_inside_a_protocol():
    with (
        serve(script(receive(8), send(b"N"), receive(5), send(b"hello"))) as real,
        running(f"relay --upstream {real.hostport} --tls terminate --starttls postgres --json") as command,
    ):
        line = json.loads(command.line())
        context = ssl.create_default_context(cafile=line["ca_file"])
        context.set_alpn_protocols(["postgresql"])
        address = ("127.0.0.1", int(line["url"].rpartition(":")[2]))
        with (
            socket.create_connection(address, PATIENCE_SECONDS) as client,
            context.wrap_socket(client, server_hostname="127.0.0.1") as secure,
        ):
            secure.sendall(b"start")
            assert (secure.recv(5), secure.selected_alpn_protocol()) == (b"hello", "postgresql")


@each_row("tls", ["terminate", "mutual"])
def test_first_line_of_a_relay_that_terminates_tls_has_the_file_of_the_ca(tls):
    line = json.loads(first_line(f"relay --upstream 127.0.0.1:9 --tls {tls} --json"))

    assert Path(line["ca_file"]).read_text("utf-8").startswith("-----BEGIN CERTIFICATE-----")
    assert ("client_cert_file" in line) == (tls == "mutual")


@each_row("words", ["relay --upstream 127.0.0.1:9", "serve --mode ok"])
def test_first_line_without_tls_has_no_file(words):
    assert "ca_file" not in json.loads(first_line(f"{words} --json"))


# --- relays ----------------------------------------------------------------------------------------------------------


@each_row(
    ("words", "seen", "plan"),
    [("", (b"hello", "FIN"), "ok()"), ("--mode reset --on Host", (b"", "RST"), "reset(on=b'Host')")],
)
def test_relay_is_started_by_hand(words, seen, plan):
    with serve(ok(b"hello")) as real, running(f"relay --upstream {real.hostport} {words}") as command:
        first = command.line()
        found = re.fullmatch(rf"(.+) on 127\.0\.0\.1:(\d+) in front of {real.hostport} - Ctrl-C stops", first)
        answer, how = ask({"port": found[2], "url": ""})
        code, [told, last] = command.stop()

    assert (answer[-5:], how) == seen
    assert found[1] == plan
    assert told.startswith("#1: ")
    assert code == 0
    assert re.fullmatch(STOPPED.format("1 attempt", 0 if plan == "ok()" else 1), last)


def test_json_of_a_relay_has_its_upstream():
    begun = json.loads(first_line("relay --upstream 127.0.0.1:9 --json"))

    assert begun == {"event": "listening", "url": begun["url"], "plan": "ok()", "upstream": "127.0.0.1:9"}


# --- signals in this process -----------------------------------------------------------------------------------------


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
    assert re.search(rf"\n{STOPPED.format('0 attempts', 0)}\n$", sys.stdout.told)
    assert signal.getsignal(number) is before


def test_second_signal_takes_no_line_away(monkeypatch):
    with contextlib.ExitStack() as clients:

        class Interrupting(io.StringIO):
            """Standard output whose reader has a client stalled, and then stops the server twice."""

            def flush(self):
                if self.getvalue().count("\n") == 1:
                    client = clients.enter_context(dial(listening(self.getvalue().strip())))
                    client.sendall(GET)
                    assert client.recv(1) == b"H"
                    signal.raise_signal(signal.SIGTERM)
                    signal.raise_signal(signal.SIGTERM)

        told = Interrupting()
        monkeypatch.setattr(sys, "stdout", told)
        assert main(["serve", "--mode", "stall", "--after-bytes", "1"]) == 0

    lines = told.getvalue().splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["stall(after_bytes=1)", "#1", "stopped"]
