"""Tests that freeze or shift the time: the library's clocks go on, and its certificates are those of today."""

from __future__ import annotations

import contextlib
import datetime
import socket
import subprocess
import sys
import time

import freezegun
import pytest
import time_machine

import faultline as fl
from faultline._core import clock
from faultline._core.certificates import DAY_SECONDS

freezegun.configure(extend_ignore_list=["_pytest.timing"])  # pytest measures the tests
pytestmark = pytest.mark.slow  # freezegun looks through every module
PATIENCE_SECONDS = 20.0
GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
PAST, FUTURE = datetime.datetime(2001, 1, 1), datetime.datetime(2099, 1, 1)  # noqa: DTZ001 - what users write
FREEZERS = {
    "freezegun, past": lambda: freezegun.freeze_time(PAST),
    "freezegun, future, also asyncio": lambda: freezegun.freeze_time(FUTURE, ignore=[]),
    "time-machine, past": lambda: time_machine.travel(PAST, tick=False),
    "time-machine, future": lambda: time_machine.travel(FUTURE, tick=False),
}
MONOTONIC = time.clock_gettime


@pytest.fixture(params=FREEZERS)
def frozen(request):
    """Each library that stops the time, in the past and in the future."""
    with FREEZERS[request.param]():
        yield


def seconds():
    return MONOTONIC(1)


def talk(server, words=GET):
    """Send a request, and return what came until the end."""
    with contextlib.suppress(ConnectionError), socket.create_connection(server.address, PATIENCE_SECONDS) as client:
        client.sendall(words)
        return client.makefile("rb").read()
    return b""


TIMED = {
    "latency": lambda: fl.latency(0.02),
    "jitter": lambda: fl.latency(0.02, jitter_seconds=0.001),
    "stall": lambda: fl.stall(for_seconds=0.02),
    "stall at accept": lambda: fl.stall(at="accept", for_seconds=0.02),
    "throttle": lambda: fl.throttle(bytes_per_second=4_000),
    "drip": lambda: fl.drip(chunk_bytes=40, every_seconds=0.01),
    "a pause in a script": lambda: fl.script(fl.receive_request(), fl.hold(for_seconds=0.02), fl.respond()),
    "a break after a time": lambda: fl.close(at="response", after_seconds=0.02),
    "a break at idle": lambda: fl.close(at="idle", after_seconds=0.02),
    "headers that trickle": lambda: fl.trickle_headers(every_seconds=0.005),
    "a long answer": lambda: fl.reset(after_bytes=5_000_000),
}


def test_timed_faults_take_their_time(frozen):
    took = {}
    for name, fault in TIMED.items():
        began = seconds()
        with fl.serve(fault(), strict=False) as server:
            talk(server, GET.replace(b"Connection: close\r\n", b"") if "idle" in name else GET)
            (attempt,) = server.wait_for_attempts(1, at="end")
            took[name] = seconds() - began
            assert 0 <= attempt.started_seconds <= attempt.ended_seconds <= took[name]

    took.pop("a long answer")
    assert {name for name, duration in took.items() if duration < 0.02} == set()


def test_time_at_the_door_is_over_in_time(frozen):
    with fl.serve(fl.sequence(fl.refuse(for_seconds=0.05), fl.ok()), strict=False) as server:
        until = seconds() + PATIENCE_SECONDS
        while not talk(server):
            assert seconds() < until
        server.wait_for_attempts(1, at="end")


def test_waits_end_in_time(frozen):
    with fl.serve(fl.ok()) as server, pytest.raises(fl.WaitError):
        server.wait_for_attempts(1, 0.02)


def test_datagrams_and_lookups_are_late_in_time(frozen):
    with (
        fl.udp(fl.latency(0.02), strict=False) as server,
        socket.socket(type=socket.SOCK_DGRAM) as client,
    ):
        client.settimeout(PATIENCE_SECONDS)
        client.sendto(b"x", server.address)
        assert client.recv(10) == b"x"
    with fl.resolve("a.test", fl.slow_resolve(0.02)):
        began = seconds()
        with contextlib.suppress(OSError):
            socket.gethostbyname("a.test")
        assert seconds() - began >= 0.02


def test_gate_opens_for_a_stall(frozen):
    gate = fl.Gate()
    with fl.serve(fl.stall(until=gate)) as server, socket.create_connection(server.address, PATIENCE_SECONDS) as client:
        client.sendall(GET)
        server.wait_for_attempts(1, at="strike")
        gate.open()
        assert client.recv(8) == b"HTTP/1.1"


def test_intervals_are_real(frozen):
    with fl.serve(fl.ok(), strict=False) as server:
        for _ in range(2):
            talk(server)
        assert server.intervals[0] > 0


FIRST = """
import datetime, os, ssl, socket, sys
import faultline as fl, freezegun, time_machine

def greet(server):
    raw = socket.create_connection(server.address, 20)
    with server.client_context().wrap_socket(raw, server_hostname="localhost") as client:
        client.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
        return client.recv(15)

def first(freezer):
    with freezer, fl.serve(fl.ok(), tls=True) as server:
        print(greet(server))
    with fl.serve(fl.ok(), tls=True) as server:
        print(greet(server))
    for kind, word in [("expired", "expired"), ("not_yet_valid", "not yet valid")]:
        with freezer, fl.serve(fl.bad_cert(kind), strict=False) as server:
            try:
                greet(server)
            except ssl.SSLCertVerificationError as error:
                print(word in str(error))

for freezer in (
    freezegun.freeze_time("2001-01-01"),
    time_machine.travel(datetime.datetime(2099, 1, 1), tick=False),
):
    if not (child := os.fork()):  # a process of its own, in which nothing of TLS is loaded
        first(freezer)
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)
"""


def test_first_tls_server_of_a_process_has_a_certificate_of_today():
    done = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True, timeout=60, check=False)

    assert done.stdout.split("\n") == [*["b'HTTP/1.1 200 OK'", "b'HTTP/1.1 200 OK'", "True", "True"] * 2, ""]
    assert done.stderr == ""


def test_certificates_have_wide_margins_around_today():
    from faultline._core.certificates import Certificate
    from faultline._net import issue

    begin, end = issue.validity(Certificate())
    year = datetime.timedelta(seconds=300 * DAY_SECONDS)
    assert begin < datetime.datetime.now(datetime.timezone.utc) - year
    assert end > datetime.datetime.now(datetime.timezone.utc) + year


def test_todays_date_is_that_of_the_system():
    before = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=1)
    assert before <= clock.today() <= datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=1)


def test_own_clock_goes_on(frozen):
    began = clock.now(), clock.today()
    until = seconds() + 0.05
    while seconds() < until:
        pass
    assert clock.now() >= began[0] + 0.05
    assert clock.today() > began[1]
    assert 2020 < clock.today().year < 2090
