"""`faultline relay`: a relay by hand, in front of a server of this machine."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys

import pytest

from faultline import inject, ok, relay, reset, script, send, serve, status, when
from faultline._core.errors import ParameterError
from faultline._front.command import main

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def start(*words):
    """The command, and what it says that it does."""
    command = [sys.executable, "-m", "faultline", "relay", *words, "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    return process, json.loads(process.stdout.readline())


def stop(process):
    """What it says when it is told to end."""
    with process:
        process.send_signal(signal.SIGTERM)
        return [json.loads(line) for line in process.stdout], process.wait(10)


def ask(url):
    host, port = url.rpartition("/")[2].split(":")
    with socket.create_connection((host, int(port)), 10) as client:
        client.sendall(GET)
        try:
            return client.recv(1000)
        except ConnectionResetError:
            return "RST"


@pytest.mark.parametrize(
    ("words", "seen", "plan"),
    [([], b"hello", "ok()"), (["--mode", "reset", "--on", "Host"], "RST", "reset(on=b'Host')")],
)
def test_relay_is_started_by_hand(words, seen, plan):
    with serve(ok(b"hello")) as real:
        process, listening = start("--upstream", real.hostport, *words)
        got = ask(listening["url"])
        lines, code = stop(process)

    assert (got if got == "RST" else got[-5:]) == seen
    assert (listening["plan"], listening["upstream"]) == (plan, real.hostport)
    assert ([line["event"] for line in lines], code) == (["attempt", "stopped"], 0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--upstream", "10.1.1.1:80"], "upstream='10.1.1.1:80': expected a server on this machine"),
        (["--upstream", "127.0.0.1:9", "--listen", "x"], "port='x': expected a whole number."),
        (
            ["--upstream", "127.0.0.1:9", "--mode", "bad-cert"],
            "expected relay(…, tls='terminate'); a relay that passes TLS through",
        ),
        ([], "the following arguments are required: --upstream"),
    ],
)
def test_what_can_not_be_is_one_line(capsys, words, said):
    assert main(["relay", *words]) == 2

    assert said in capsys.readouterr().err


def test_nobody_stands_behind_a_server_to_whom_bytes_could_be_said():
    with pytest.raises(ParameterError, match=r"expected relay\(…\); only a relay passes the request on"):
        serve(inject(b"x", at="request"))


@pytest.mark.parametrize(
    "plan", [ok(b"x"), status(503), script(send(b"x")), when(lambda _request: True, reset())], ids=repr
)
def test_where_the_upstream_answers_nothing_else_does(plan):
    with pytest.raises(ParameterError, match="; the upstream of a relay answers"):
        relay("127.0.0.1:9", plan)
