"""Conditions: how bytes travel, first by the clock of a loop that never waits, then as clients meet them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import http.client
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faultline import (
    NotStruckError,
    ParameterError,
    UnsupportedError,
    corrupt,
    drip,
    echo,
    latency,
    loss,
    ok,
    partition,
    reset,
    sequence,
    serve,
    throttle,
)
from faultline._core import chance
from faultline._core.conditions import Drip, Pace, Piece, Throttle, Trickle
from faultline._engine.pacing import Flow
from faultline._net.sockets import check_filter

GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
OK_BYTES = 67  # of the whole response to it, when all is well
WORDS = b"<a>", b"<b>", b"<c>"  # which can't begin an HTTP request: an echo answers at once
SO_GET_FILTER = 26  # asm-generic/socket.h

steadily = settings(derandomize=True, deadline=None)


class TimelessLoop(asyncio.SelectorEventLoop):
    """A loop whose clock goes on to the next timer at once, so that times are exact."""

    now = 0.0

    def time(self):
        return self.now

    def _run_once(self):
        if self._scheduled and not self._ready:
            self.now = max(self.now, self._scheduled[0].when())
        super()._run_once()


def flow_of(fault, direction="response", seed=0):
    return Flow(fault.conditions, direction, lambda: random.Random(seed))


def arrivals(flow, *pieces):
    """When pieces of these sizes arrive; `None` among them is a word of the other side, a float a pause."""

    async def arrive():
        times = []
        for piece in pieces:
            if piece is None:
                flow.turn()
            elif isinstance(piece, float):
                await asyncio.sleep(piece)
            else:
                await flow.arrive(piece)
                times.append(round(asyncio.get_running_loop().time(), 9))
        return times

    with contextlib.closing(TimelessLoop()) as loop:
        return loop.run_until_complete(arrive())


def message_of(make, *args, **kwargs):
    with pytest.raises(ParameterError) as raised:
        make(*args, **kwargs)

    assert type(raised.value) is ParameterError
    return str(raised.value)


@pytest.fixture
def dial():
    """A function that connects to a server and says something; the connections are closed after the test."""
    with contextlib.ExitStack() as clients:

        def connect(server, data=b"", timeout=10):
            client = clients.enter_context(socket.create_connection(server.address, timeout))
            client.sendall(data)
            return client

        yield connect


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


# --- by the clock ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "pieces", "times"),
    [
        (ok(), (5, 5), [0, 0]),
        (latency(0.5), (5, 5, 5), [0.5, 0.5, 0.5]),
        (latency(0.5), (5, None, 5, 5), [0.5, 1.0, 1.0]),
        (latency(0.5), (5, 2.0, 5), [0.5, 2.5]),
        (drip(3, every_seconds=0.25), (3, 3, 3), [0, 0.25, 0.5]),
        (drip(3, every_seconds=0.25), (3, 3, None, 3, 3), [0, 0.25, 0.25, 0.5]),
        (drip(3, every_seconds=0.25) & latency(1), (3, 3, None, 3), [1.0, 1.25, 2.25]),
        (throttle(100), (2, 2, 1), [0.02, 0.04, 0.05]),
        (throttle(100), (2, None, 2), [0.02, 0.04]),
        (throttle(100) & latency(1), (2, 2), [1.02, 1.04]),
    ],
    ids=str,
)
def test_pieces_arrive_when_they_are_due(fault, pieces, times):
    assert arrivals(flow_of(fault), *pieces) == times


@pytest.mark.parametrize(
    ("fault", "times"),
    [
        (drip(1, every_seconds=0.25), [0, 0.6, 0.6, 0.75, 1.0]),
        (throttle(4), [0.25, 0.85, 0.85, 1.0, 1.25]),
    ],
    ids=repr,
)
def test_deadlines_do_not_drift_when_a_piece_is_late(fault, times):
    assert arrivals(flow_of(fault), 1, 0.6, 1, 1, 1, 1) == times


@pytest.mark.parametrize("direction", ["request", "response", "both"])
def test_condition_holds_in_its_direction_alone(direction):
    fault = latency(1, direction=direction)

    assert arrivals(flow_of(fault, "request"), 1) == [float(direction != "response")]
    assert arrivals(flow_of(fault, "response"), 1) == [float(direction != "request")]


def test_directions_may_have_conditions_of_their_own():
    fault = latency(1, direction="request") & latency(2, direction="response") & drip(5, direction="request")

    assert (arrivals(flow_of(fault, "request"), 5), arrivals(flow_of(fault, "response"), 5)) == ([1.0], [2.0])
    assert (flow_of(fault, "request").piece_bytes(100), flow_of(fault, "response").piece_bytes(100)) == (5, 100)


def test_jitter_is_drawn_once_for_each_turn_around_the_delay():
    flow = flow_of(latency(1, jitter_seconds=0.5), seed=3)
    chance = random.Random(3)

    times = [arrivals(flow, 1, 1, None) for _ in range(100)]

    assert times == [[round(1 + chance.uniform(-0.5, 0.5), 9)] * 2 for _ in range(100)]
    assert min(times)[0] < 0.75
    assert max(times)[0] > 1.25


def test_jitter_never_makes_bytes_arrive_before_they_were_sent():
    flow = flow_of(latency(0.1, jitter_seconds=10), seed=3)
    times = [arrivals(flow, 1, None)[0] for _ in range(100)]

    assert min(times) == 0
    assert max(times) > 5


@pytest.mark.parametrize(
    ("fault", "sizes"),
    [
        (ok(), {1: 1, 100: 100}),
        (latency(1), {1: 1, 100: 100}),
        (drip(7), {1: 1, 7: 7, 100: 7}),
        (throttle(1000), {1: 1, 20: 20, 100: 20}),
        (throttle(49), {1: 1, 100: 1}),
        (throttle(1), {1: 1, 100: 1}),
    ],
    ids=str,
)
def test_so_many_bytes_travel_together(fault, sizes):
    assert {wanted: flow_of(fault).piece_bytes(wanted) for wanted in sizes} == sizes


# --- what a pace says of a piece, purely -----------------------------------------------------------------------------


def piece(count_bytes, **rest):
    return Piece(count_bytes, random.Random(0), **rest)


@pytest.mark.parametrize(
    ("pace", "size"),
    [(Throttle(bytes_per_second=1000), 20), (Throttle(bytes_per_second=49), 1), (Drip(chunk_bytes=7), 7)],
    ids=repr,
)
def test_pace_cuts_what_wants_to_travel(pace, size):
    assert [pace.size(piece(wanted)) for wanted in (1, size, 100)] == [1, size, size]


def test_trickle_cuts_lines_of_a_head_and_nothing_behind_it():
    lines = b"one\r\ntwo\r\n"

    assert Trickle().size(piece(10, data=lines)) == 5
    assert Trickle().size(piece(10, data=b"no end")) == 6
    assert Trickle().size(piece(10, data=lines, is_in_head=False)) == 10


@pytest.mark.parametrize(
    ("pace", "due"),
    [
        (Throttle(bytes_per_second=100), 0.35),
        (Drip(every_seconds=0.5), 1.5),
        (Trickle(every_seconds=0.5), 1.5),
    ],
    ids=repr,
)
def test_piece_is_due_by_those_before_it(pace, due):
    assert pace.due_seconds(piece(5, before=3, before_bytes=30)) == due


@pytest.mark.parametrize("cut", [1, 2, 3, 100])
@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
def test_head_ends_with_its_empty_line_however_its_bytes_are_cut(cut, end):
    @dataclass(frozen=True)
    class Noting(Pace):
        """A pace that cuts as it is told, and keeps which bytes were of the head."""

        def size(self, piece):
            seen.extend([piece.is_in_head] * min(cut, piece.count_bytes))
            return min(cut, piece.count_bytes)

        def due_seconds(self, _piece):
            return 0.0

    seen = []
    flow, view = Flow((Noting(),), "response", random.Random), memoryview(b"A: 1" + end + b"body\n\nbody")
    head = len(b"A: 1" + end)
    while view:
        view = view[flow.piece_bytes(len(view), view) :]

    assert seen[:head] == [True] * head
    assert not any(seen[-(-head // cut) * cut :])


# --- corruption, purely --------------------------------------------------------------------------------------------


@st.composite
def cut_up(draw):
    """Some bytes, and the same in pieces."""
    data = draw(st.binary(max_size=60))
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    return data, [data[i:j] for i, j in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@steadily
@given(cut_up(), st.integers(0, 70))
def test_exactly_one_byte_is_changed_however_the_bytes_are_cut(cut, place):
    data, pieces = cut
    flow = flow_of(corrupt(at_byte=place))

    assert b"".join(flow.altered(piece) for piece in pieces) == flipped(data, place)


@steadily
@given(cut_up(), st.floats(0.01, 1), st.integers(0, 5))
def test_chance_changes_the_same_bytes_however_they_are_cut(cut, probability, seed):
    data, pieces = cut
    flow, chance = flow_of(corrupt(probability=probability), seed=seed), random.Random(seed)

    hit = [i for i in range(len(data)) if chance.random() < probability]
    assert b"".join(flow.altered(piece) for piece in pieces) == flipped(data, *hit)


def test_probability_of_1_changes_every_byte():
    assert flow_of(corrupt(probability=1)).altered(b"\x00\x01\xff") == b"\x01\x00\xfe"


def test_bytes_in_the_other_direction_are_left_as_they_are():
    data = b"hello"

    assert flow_of(corrupt(at_byte=0, direction="request"), "response").altered(data) is data


# --- arguments -----------------------------------------------------------------------------------------------------


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


def test_delayed_request_is_still_delayed_on_a_kept_connection(faultline, dial):
    server = faultline.serve(sequence(echo(), latency(0.1, direction="request") & echo()))
    client = dial(server, WORDS[0])
    assert read(client, 3) == WORDS[0]

    with takes_at_least(0.1):
        client.sendall(WORDS[1])
        assert read(client, 3) == WORDS[1]


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


WITHOUT_CAPABILITIES = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
SERVES = """
import faultline
for fault in (faultline.partition(), faultline.loss(0.1), faultline.script(faultline.partition())):
    try:
        faultline.serve(fault)
    except faultline.UnsupportedError as error:
        print(error)
"""


def test_user_who_may_not_filter_is_told_so_when_the_server_starts():
    drop = WITHOUT_CAPABILITIES if os.getuid() == 0 and shutil.which("setpriv") else ()
    if not drop:
        with contextlib.suppress(UnsupportedError):
            check_filter()
            pytest.skip("needs setpriv, to be rid of CAP_NET_ADMIN")

    done = subprocess.run([*drop, sys.executable, "-c", SERVES], capture_output=True, text=True, check=True)

    said = "partition() and loss() need a socket filter, which this user may not attach (Operation not permitted)"
    assert done.stdout.splitlines() == [f"{said}; run with CAP_NET_ADMIN."] * 3
