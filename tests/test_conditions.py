"""Conditions: how bytes travel, first by the clock of a loop that never waits, then as clients meet them."""

from __future__ import annotations

import contextlib
import errno
import http.client
import os
import shutil
import socket
import subprocess
import sys
import time

import pytest
from support import KEPT_GET, read_until, to_end

from faultline import (
    NotStruckError,
    ParameterError,
    UnsupportedError,
    close,
    corrupt,
    drip,
    echo,
    latency,
    loss,
    ok,
    partition,
    raw,
    receive_request,
    reset,
    respond,
    script,
    send,
    sequence,
    serve,
    slow_close,
    stall,
    throttle,
)
from faultline._core import chance
from faultline._net.system import check_filter

GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
OK_BYTES = 67  # of the whole response to it, when all is well
WORDS = b"<a>", b"<b>", b"<c>"  # which can't begin an HTTP request: an echo answers at once
SO_GET_FILTER = 26  # asm-generic/socket.h


def message_of(make, *args, **kwargs):
    with pytest.raises(ParameterError) as raised:
        make(*args, **kwargs)

    assert type(raised.value) is ParameterError
    return str(raised.value)


@pytest.fixture
def scope(monkeypatch):
    """A function that begins a scope of chance by its name, for this test alone."""
    return lambda name: monkeypatch.setattr(chance, "_scope", chance.Scope(name))


def read(client, count=None):
    """So many bytes, or all until the end of the stream."""
    received = b""
    while (count is None or len(received) < count) and (
        data := client.recv(65_536 if count is None else count - len(received))
    ):
        received += data
    return received


@contextlib.contextmanager
def takes_at_least(seconds):
    began = time.monotonic()
    yield
    assert time.monotonic() - began >= seconds


def flipped(data, *places):
    """The bytes, with the lowest bit of some turned over."""
    return bytes(byte ^ 1 if i in places else byte for i, byte in enumerate(data))


# --- arguments -----------------------------------------------------------------------------------------------------


@pytest.mark.measured
@pytest.mark.parametrize(
    ("make", "arguments", "said"),
    [
        (latency, {"seconds": "1"}, "seconds='1': expected a number of seconds, 0 or more."),
        (latency, {"seconds": 1, "jitter_seconds": -1}, "jitter_seconds=-1: expected a number of seconds, 0 or more."),
        (
            latency,
            {"seconds": 1, "direction": "responses"},
            (
                "direction='responses': expected one of 'request', 'response', 'both', 'handshake'. "
                "Did you mean 'response'?"
            ),
        ),
        (
            latency,
            {"seconds": 1, "distribution": "normal"},
            "jitter_seconds=0.0: expected more than 0 with distribution='normal'.",
        ),
        (
            latency,
            {"seconds": 0, "jitter_seconds": 1, "distribution": "pareto"},
            "seconds=0: expected a mean above 0 for 'pareto'; use 'normal' or 'uniform' with 0.",
        ),
        (
            latency,
            {"seconds": 1, "for_seconds": 0},
            "for_seconds=0: expected more than 0; leave the condition out if it should never act.",
        ),
        (
            drip,
            {"from_body": True, "direction": "handshake"},
            "from_body=True: expected False with direction='handshake', whose bytes have no head.",
        ),
        (throttle, {"bytes_per_second": True}, "bytes_per_second=True: expected int, not bool."),
        (throttle, {"bytes_per_second": 0.5}, "bytes_per_second=0.5: expected int, not float."),
        (drip, {"chunk_bytes": -1}, "chunk_bytes=-1: expected a whole number of bytes, 0 or more."),
        (drip, {"every_seconds": -1}, "every_seconds=-1: expected a number of seconds, 0 or more."),
        (loss, {"probability": 2}, "probability=2: expected a probability from 0 to 1; write 0.02 for 2 %."),
    ],
)
def test_wrong_argument_is_an_error_that_says_what_was_expected(make, arguments, said):
    assert message_of(make, **arguments).startswith(said.removesuffix("."))


def test_conditions_say_how_they_were_written():
    fault = latency(0.5, jitter_seconds=0.1) & drip(2, every_seconds=0.2, direction="both") & corrupt(at_byte=3)

    assert (
        repr(fault)
        == "latency(0.5, jitter_seconds=0.1) & drip(2, every_seconds=0.2, direction='both') & corrupt(at_byte=3)"
    )


# --- time, as clients meet it --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize(("direction", "least"), [("request", 0.1), ("response", 0.1), ("both", 0.2)])
def test_bytes_arrive_later(faultline, direction, least, tls):
    server = faultline.serve(latency(0.1, direction=direction), tls=tls)
    kind = http.client.HTTPSConnection if tls else http.client.HTTPConnection
    options = {"context": server.client_context()} if tls else {}
    client = kind(*server.address, timeout=10, **options)

    with contextlib.closing(client), takes_at_least(least):
        client.request("GET", "/")
        assert client.getresponse().read() == b"ok\n"

    points = ("request", "response") if direction == "both" else (direction,)
    assert [(s.point, s.after_bytes, str(s.part)) for a in server.attempts for s in a.strikes] == [
        (points[0], 0, "condition 1")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["request", "response"])
def test_bytes_arrive_later_in_each_turn(faultline, dial, direction):
    server = faultline.serve(latency(0.05, direction=direction) & echo())
    client = dial(server)

    with takes_at_least(0.15):
        for word in WORDS:
            client.sendall(word)
            assert read(client, 3) == word


def test_jitter_leaves_the_least_delay(faultline, dial):
    server = faultline.serve(latency(0.1, jitter_seconds=0.05) & echo())
    client = dial(server)

    with takes_at_least(0.05):
        client.sendall(WORDS[0])
        assert read(client, 3) == WORDS[0]


@pytest.mark.slow
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize("direction", ["request", "response"])
def test_bytes_arrive_at_a_rate(faultline, direction, tls):
    server = faultline.serve(throttle(10_000, direction=direction) & echo(), tls=tls)
    kind = http.client.HTTPSConnection if tls else http.client.HTTPConnection
    options = {"context": server.client_context()} if tls else {}
    client = kind(*server.address, timeout=10, **options)

    with contextlib.closing(client), takes_at_least(0.1):
        client.request("POST", "/", body=b"x" * 1000)
        assert client.getresponse().read() == b"x" * 1000


@pytest.mark.parametrize("direction", ["request", "response"])
def test_bytes_arrive_piece_by_piece(faultline, dial, direction):
    server = faultline.serve(drip(10, every_seconds=0.02, direction=direction))

    count = OK_BYTES if direction == "response" else len(GET)

    with takes_at_least(0.02 * ((count - 1) // 10)):
        assert read(dial(server, GET), OK_BYTES).endswith(b"\r\n\r\nok\n")


@pytest.mark.slow
def test_first_piece_has_its_size(faultline, dial):
    server = faultline.serve(drip(7, every_seconds=60))
    client = dial(server, GET)

    assert client.recv(100) == b"HTTP/1."
    client.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.recv(100)
    assert server.attempts[0].sent_bytes == 7


def test_break_falls_on_dripping_bytes(faultline, dial):
    server = faultline.serve(drip(7, every_seconds=0.01) & reset(after_bytes=20))

    with takes_at_least(0.02):
        client = dial(server, GET)
        assert read(client, 20) == b"HTTP/1.1 200 OK\r\nCon"
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert server.attempts[0].struck.after_bytes == 20


def test_client_may_leave_while_bytes_drip(faultline, dial):
    server = faultline.serve(drip(1, every_seconds=0.01) & ok(b"x" * 10_000))
    client = dial(server, GET)
    client.recv(1)
    client.close()
    server.become(ok())

    assert read(dial(server, GET), OK_BYTES).endswith(b"ok\n")


def test_conditions_hold_for_their_attempt_alone(faultline, dial):
    server = faultline.serve(sequence(drip(1, every_seconds=60), ok(b"hey")))
    dial(server, GET)
    server.wait_for_attempts(1, at="response")

    assert read(dial(server, GET), OK_BYTES).endswith(b"hey")


@pytest.mark.slow
def test_delayed_request_is_still_delayed_on_a_kept_connection(faultline, dial):
    server = faultline.serve(sequence(echo(), latency(0.1, direction="request") & echo()))
    client = dial(server, WORDS[0])
    assert read(client, 3) == WORDS[0]

    with takes_at_least(0.1):
        client.sendall(WORDS[1])
        assert read(client, 3) == WORDS[1]


def test_each_request_of_a_script_has_a_head_that_is_left_alone(faultline, dial):
    """As a body the second request would take half a minute."""
    asks = (receive_request(), respond(ok(b"hello")))
    fault = script(*asks, *asks) & throttle(1, direction="request", from_body=True)
    client = dial(faultline.serve(fault, strict=False))
    for _ in range(2):
        client.sendall(KEPT_GET)
        assert read_until(client, b"hello").endswith(b"hello")


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize("plan", [script(send(b"hi")), raw(b"hi"), close(after_bytes=2) & raw(b"hi there")], ids=repr)
def test_the_end_of_a_server_comes_late(faultline, dial, plan, tls):
    server = faultline.serve(slow_close(0.05) & plan, tls=tls)

    with takes_at_least(0.05):
        assert to_end(dial(server, GET)) == (b"hi", "FIN")
    [attempt] = server.wait_for_attempts(1, at="end")
    assert [str(strike.part) for strike in attempt.strikes if strike.part.kind == "condition"] == ["condition 1"]
    assert attempt.ends[-1].at_seconds >= 0.05


# --- corruption, as clients meet it --------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 9, 66, 67])
def test_exactly_one_byte_of_the_response_is_changed(faultline, dial, place):
    healthy = read(dial(faultline.serve(ok()), GET), OK_BYTES)

    changed = read(dial(faultline.serve(corrupt(at_byte=place), strict=place < OK_BYTES), GET), OK_BYTES)

    assert changed == flipped(healthy, place)
    assert (changed != healthy) is (place < OK_BYTES)


def test_exactly_one_byte_of_the_request_is_changed(faultline, dial):
    server = faultline.serve(corrupt(at_byte=1, direction="request") & echo())

    assert read(dial(server, b"<ello"), 5) == b"<dllo"
    assert server.attempts[0].request.body == b"<dllo"


def test_both_directions_are_changed(faultline, dial):
    server = faultline.serve(corrupt(at_byte=1, direction="both") & echo())

    assert read(dial(server, b"<ello"), 5) == b"<ello"
    assert server.attempts[0].request.body == b"<dllo"


def test_bytes_inside_tls_are_changed(faultline):
    server = faultline.serve(corrupt(at_byte=66) & ok(), tls=True)
    client = http.client.HTTPSConnection(*server.address, timeout=10, context=server.client_context())

    with contextlib.closing(client):
        client.request("GET", "/")
        assert client.getresponse().read() == b"ok\x0b"


@pytest.mark.parametrize("direction", ["request", "response"])
def test_byte_is_counted_anew_in_each_attempt_of_a_kept_connection(faultline, dial, direction):
    server = faultline.serve(corrupt(at_byte=1, direction=direction) & echo())
    client = dial(server)

    for word in WORDS:
        client.sendall(word)
        assert read(client, 3) == flipped(word, 1)


def test_request_on_a_kept_connection_meets_the_conditions_of_its_own_attempt(faultline, dial):
    server = faultline.serve(sequence(echo(), corrupt(at_byte=1, direction="request") & echo(), echo()))
    client = dial(server)

    heard = []
    for word in WORDS:
        client.sendall(word)
        heard.append(read(client, 3))

    assert heard == [WORDS[0], flipped(WORDS[1], 1), WORDS[2]]


@pytest.mark.parametrize("direction", ["request", "response"])
def test_chance_changes_the_same_bytes_in_a_scope_of_the_same_name(dial, scope, direction):
    def meet(name):
        scope(name)
        with serve(corrupt(probability=0.2, direction=direction) & echo()) as server:
            return read(dial(server, b"<" * 200), 200)

    once, again, other = meet("one"), meet("one"), meet("other")

    assert once == again != other
    assert {*once} == {*b"<="}


def test_conditions_are_promises_too():
    with pytest.raises(NotStruckError, match="never struck: no client"), serve(corrupt(at_byte=0) & latency(1)):
        pass


# --- packets, with the capability for it ---------------------------------------------------------------------------


def repeats(client):
    """How many segments the client's kernel has sent again (tcpi_total_retrans, linux/tcp.h)."""
    info = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return int.from_bytes(info[100:104], sys.byteorder)


@pytest.mark.slow
@pytest.mark.usefixtures("needs_filter")
def test_what_is_lost_is_sent_again(faultline, dial):
    server = faultline.serve(loss(0.1) & echo())
    client = dial(server, timeout=25)

    while not repeats(client):  # nine out of ten get through at once
        client.sendall(WORDS[0])
        assert read(client, 3) == WORDS[0]

    assert {a.received_bytes for a in server.attempts} == {3}


def filters(server):
    """The packet filters of the server's open connections."""
    talks = server._process.connections
    return [talk._wire.sock.getsockopt(socket.SOL_SOCKET, SO_GET_FILTER, 1024) != b"" for talk in talks]


@pytest.mark.usefixtures("needs_filter")
def test_loss_is_over_with_its_attempt(faultline, dial):
    server = faultline.serve(sequence(loss(0.01) & echo(), echo()))
    client = dial(server, WORDS[0])
    assert read(client, 3) == WORDS[0]
    during = filters(server)
    client.sendall(WORDS[1])
    assert read(client, 3) == WORDS[1]

    assert (during, filters(server)) == ([True], [False])


@pytest.mark.slow
@pytest.mark.usefixtures("needs_filter")
@pytest.mark.parametrize("point", ["request", "response"])
def test_client_that_sends_into_a_partition_is_told_by_its_kernel(faultline, dial, point):
    server = faultline.serve(partition(at=point))
    client = dial(server)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 200)  # milliseconds
    client.sendall(GET)
    server.wait_for_attempts(1, at=point)
    assert server.attempts[0].struck.point == point
    client.sendall(b"into the void")

    with pytest.raises(TimeoutError) as raised:
        client.recv(1)
    assert raised.value.errno == errno.ETIMEDOUT
    assert [a.ended_by for a in server.attempts] == [None]


@pytest.mark.slow
@pytest.mark.usefixtures("needs_filter")
def test_bytes_before_a_partition_are_delivered(faultline, dial):
    server = faultline.serve(partition(after_bytes=10))
    client = dial(server, GET)

    assert read(client, 10) == b"HTTP/1.1 2"
    client.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.recv(1)
    client.close()

    assert [(a.ended_by, a.sent_bytes) for a in server.attempts] == [(None, 10)]


@pytest.mark.slow
@pytest.mark.usefixtures("needs_filter")
def test_conversation_goes_on_after_a_partition_of_so_long(faultline, dial):
    server = faultline.serve(partition(for_seconds=0.1))

    with takes_at_least(0.1):
        assert read(dial(server, GET), OK_BYTES).endswith(b"ok\n")


@pytest.mark.usefixtures("needs_filter")
def test_loss_goes_on_after_a_partition_of_so_long(faultline, dial):
    server = faultline.serve(loss(0.01) & partition(for_seconds=0.05))
    client = dial(server, GET)

    assert read(client, OK_BYTES).endswith(b"ok\n")
    assert filters(server) == [True]


@pytest.mark.slow
@pytest.mark.usefixtures("needs_filter")
def test_loss_is_over_when_its_time_is(faultline, dial):
    server = faultline.serve(loss(0.01, for_seconds=0.05) & loss(0.02, for_seconds=0.1) & stall(), strict=False)
    dial(server, GET)
    server.wait_for_attempts(1, at="strike")

    deadline = time.monotonic() + 10
    while filters(server) != [False]:
        assert time.monotonic() < deadline


@pytest.mark.slow
@pytest.mark.measured
@pytest.mark.usefixtures("needs_filter")
def test_the_end_of_a_loss_ends_no_loss_of_a_later_fault(faultline, dial):
    server = faultline.serve(loss(0.01, for_seconds=0.05) & stall(), strict=False)
    dial(server, GET)
    server.wait_for_attempts(1, at="strike")
    server.become(loss(0.02) & stall(), open_too=True)
    other = faultline.serve(stall(for_seconds=0.1), strict=False)  # longer than the loss was to last

    assert read(dial(other, GET), OK_BYTES)
    assert filters(server) == [True]


@pytest.mark.parametrize("then", [ok(b"2"), latency(0.01, direction="request") & ok(b"2")], ids=repr)
def test_a_request_that_waits_behind_another_is_that_of_the_next_attempt(faultline, dial, then):
    server = faultline.serve(sequence(latency(0.2, direction="request") & ok(b"1"), then))
    client = dial(server, KEPT_GET)
    server.wait_for_attempts(1, at="strike")
    client.sendall(KEPT_GET)

    assert read_until(client, b"\r\n\r\n1").endswith(b"1")
    assert read_until(client, b"\r\n\r\n2").endswith(b"2")
    assert [(a.request.method, a.connection) for a in server.attempts] == [("GET", 1)] * 2


def test_requests_that_wait_before_the_end_of_their_client_are_answered(faultline, dial):
    server = faultline.serve(latency(0.05, direction="request") & ok(b"hello"))
    client = dial(server, KEPT_GET)
    server.wait_for_attempts(1, at="strike")
    client.sendall(KEPT_GET)
    client.shutdown(socket.SHUT_WR)

    assert to_end(client)[0].count(b"\r\n\r\nhello") == 2


WITHOUT_CAPABILITIES = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
SERVES = """
import faultline
for fault in (faultline.partition(), faultline.loss(0.1), faultline.script(faultline.partition())):
    try:
        faultline.serve(fault)
    except faultline.UnsupportedError as error:
        print(error)
"""


@pytest.mark.slow
def test_user_who_may_not_filter_is_told_so_when_the_server_starts():
    drop = WITHOUT_CAPABILITIES if os.getuid() == 0 and shutil.which("setpriv") else ()
    if not drop:
        with contextlib.suppress(UnsupportedError):
            check_filter()
            pytest.skip("needs setpriv, to be rid of CAP_NET_ADMIN")

    done = subprocess.run([*drop, sys.executable, "-c", SERVES], capture_output=True, text=True, check=True)

    said = "partition() and loss() need a socket filter, which this user may not attach (Operation not permitted)"
    assert done.stdout.splitlines() == [f"{said}; run with CAP_NET_ADMIN."] * 3
