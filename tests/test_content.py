"""What changes the bytes of a stream: by a plain model at every split of it, then on the wire in both directions."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest
from support import GET, connected, read
from support.chains import altered
from support.tables import each_row

from faultline import (
    ConflictError,
    ParameterError,
    corrupt,
    drip,
    drop_bytes,
    duplicate,
    inject,
    latency,
    ok,
    receive,
    script,
    send,
    serve,
    throttle,
)

TEXT = b"0123456789abcdefghij"
MIB = 1 << 20


def model(data, *, dropped=None, repeated=None, flipped=None):
    """The whole stream after the change, byte by byte."""
    out = bytearray()
    copy = bytearray()
    for at, byte in enumerate(data):
        said = byte ^ 1 if at == flipped else byte
        if dropped is None or not dropped[0] <= at < sum(dropped):
            out.append(said)
        if repeated is not None and repeated[0] <= at < sum(repeated):
            copy.append(said)
            if at == sum(repeated) - 1:
                out += copy
    return bytes(out)


@each_row(
    ("fault", "expected"),
    [
        (drop_bytes(), b"123456789abcdefghij"),
        (drop_bytes(3, at_byte=4), b"0123789abcdefghij"),
        (drop_bytes(20), b""),
        (drop_bytes(99, at_byte=19), TEXT[:19]),
        (drop_bytes(1, at_byte=20), TEXT),
        (duplicate(), b"00123456789abcdefghij"),
        (duplicate(3, at_byte=4), b"0123456456789abcdefghij"),
        (duplicate(20), TEXT + TEXT),
        (duplicate(1, at_byte=19), TEXT + b"j"),
        (duplicate(21), TEXT),
        (corrupt(at_byte=0), b"1" + TEXT[1:]),
        (corrupt(at_byte=19), TEXT[:19] + b"k"),
        (corrupt(at_byte=20), TEXT),
        (corrupt(at_byte=4) & duplicate(2, at_byte=4), b"0123" + b"5555" + TEXT[6:]),
        (corrupt(at_byte=4) & drop_bytes(1, at_byte=4), b"0123" + TEXT[5:]),
    ],
)
def test_a_change_is_the_same_for_pieces_of_any_size(fault, expected):
    cuts = range(1, len(TEXT) + 1)
    seen = {cut: altered(fault, [TEXT[at : at + cut] for at in range(0, len(TEXT), cut)]) for cut in cuts}

    assert seen == dict.fromkeys(cuts, expected)


def test_two_injections_are_a_conflict():
    with pytest.raises(ConflictError, match="expected one break, got two"):
        inject(b"a") & inject(b"b", at="request")


@each_row(
    ("make", "arguments", "message"),
    [
        (drop_bytes, {"count_bytes": 0}, "count_bytes=0: expected a whole number of bytes, 1 or more."),
        (duplicate, {"count_bytes": 0}, "count_bytes=0: expected a whole number of bytes, 1 or more."),
        (drop_bytes, {"at_byte": -1}, "at_byte=-1: expected a whole number, 0 or more."),
        (duplicate, {"at_byte": 1.0}, "at_byte=1.0: expected int, not float; write duplicate(at_byte=1)."),
        (inject, {"data": b""}, "data=b'': expected at least one byte."),
        (inject, {"data": "text"}, "data='text': expected bytes, not str; write inject(b'text')."),
        (
            inject,
            {"data": b"x", "at": "idle"},
            "at='idle': expected one of 'request', 'response', 'tunnel'.",
        ),
    ],
)
def test_a_value_that_can_mean_nothing_is_refused(make, arguments, message):
    with pytest.raises(ParameterError) as raised:
        make(**arguments)

    assert str(raised.value) == message


def test_nothing_can_be_injected_into_a_request_that_nobody_stands_behind():
    with pytest.raises(ParameterError) as raised:
        serve(inject(b"x", at="request"))

    assert str(raised.value) == "inject(b'x', at='request'): expected relay(…); only a relay passes the request on."


# --- on the wire -----------------------------------------------------------------------------------------------------

CHANGES = [
    (drop_bytes, {"count_bytes": 3, "at_byte": 4}, {"dropped": (4, 3)}),
    (drop_bytes, {"count_bytes": MIB}, {"dropped": (0, MIB)}),
    (drop_bytes, {"count_bytes": 1, "at_byte": MIB}, {}),
    (duplicate, {"count_bytes": 3, "at_byte": 4}, {"repeated": (4, 3)}),
    (duplicate, {"count_bytes": len(TEXT)}, {"repeated": (0, len(TEXT))}),
    (duplicate, {"count_bytes": 1, "at_byte": MIB}, {}),
    (corrupt, {"at_byte": 4}, {"flipped": 4}),
]


def name_of(row):
    return f"{row[0].__name__}-{row[1]}"


each_change = pytest.mark.parametrize(
    ("row", "tls"),
    [*((row, False) for row in CHANGES), *((row, True) for row in (CHANGES[0], CHANGES[3], CHANGES[6]))],
    ids=lambda value: name_of(value) if isinstance(value, tuple) else "tls" if value else "plain",
)


@pytest.fixture
def join(faultline):
    """A function that connects through a relay, plain or with TLS ended there: both ends."""
    with contextlib.ExitStack() as stack:

        def joined(plan, *, tls=False):
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            listener.settimeout(10)
            address = "{}:{}".format(*listener.getsockname())
            server = faultline.relay(address, plan, tls="terminate" if tls else "through", strict=False)
            client = stack.enter_context(socket.create_connection(server.address, 10))
            if tls:
                wrapped = server.client_context().wrap_socket(client, server_hostname="localhost")
                client = stack.enter_context(wrapped)
            upstream, _ = listener.accept()
            upstream.settimeout(10)
            return server, client, stack.enter_context(upstream)

        yield joined


def finish(sock):
    """Say that this is all: FIN, below TLS too."""
    sock.shutdown(socket.SHUT_WR)


@each_change
def test_what_the_upstream_says_is_changed_on_its_way(join, row, tls):
    make, arguments, change = row
    server, client, upstream = join(make(**arguments), tls=tls)

    for piece in (TEXT[:5], TEXT[5:6], TEXT[6:]):
        upstream.sendall(piece)
    finish(upstream)
    client.sendall(TEXT)
    expected = model(TEXT, **change)
    assert read(client) == expected
    finish(client)
    assert read(upstream) == TEXT
    assert server.attempts[0].sent_bytes == len(expected)
    assert server.attempts[0].received_bytes == len(TEXT)


@each_change
def test_what_the_client_says_is_changed_on_its_way(join, row, tls):
    make, arguments, change = row
    server, client, upstream = join(make(**arguments, direction="request"), tls=tls)

    for piece in (TEXT[:5], TEXT[5:6], TEXT[6:]):
        client.sendall(piece)
    upstream.sendall(TEXT)
    finish(upstream)
    assert read(client) == TEXT
    finish(client)
    assert read(upstream) == model(TEXT, **change)
    assert server.attempts[0].received_bytes == len(TEXT)


@pytest.mark.parametrize("row", CHANGES, ids=name_of)
@pytest.mark.parametrize("first", ["client", "upstream"])
def test_both_directions_are_changed_at_once_whoever_finishes_first(join, first, row):
    make, arguments, change = row
    _, client, upstream = join(make(**arguments, direction="both"))
    one, other = (client, upstream) if first == "client" else (upstream, client)

    client.sendall(TEXT)
    upstream.sendall(TEXT)
    finish(one)
    assert read(other) == model(TEXT, **change)
    finish(other)
    assert read(one) == model(TEXT, **change)


@each_change
def test_what_a_server_without_an_upstream_says_is_changed(faultline, row, tls):
    make, arguments, change = row
    strict = arguments.get("at_byte", 0) < MIB  # a change behind all bytes changes nothing
    healthy = faultline.serve(ok(b"hello"), tls=tls)
    changing = faultline.serve(make(**arguments) & ok(b"hello"), tls=tls, strict=strict)
    seen = []
    for server in (healthy, changing):
        with connected(server) as client:
            client.sendall(GET)
            seen.append(read(client))

    assert seen[0].endswith(b"hello")
    assert seen[1] == model(seen[0], **change)


@each_change
def test_what_is_said_to_a_server_without_an_upstream_is_changed(faultline, row, tls):
    make, arguments, change = row
    expected = model(TEXT, **change)
    steps = [receive(len(expected)), send(b"heard")] if expected else [receive(1)]
    fault = script(*steps) & make(**arguments, direction="request")
    server = faultline.serve(fault, tls=tls, strict=expected != TEXT)
    with connected(server) as client:
        client.sendall(TEXT)
        if expected:
            assert read(client) == b"heard"
    (attempt,) = server.wait_for_attempts(1, at="end")

    assert (attempt.request.body if expected else b"") == expected
    assert attempt.received_bytes == len(TEXT)


@pytest.mark.parametrize(
    ("make", "arguments"),
    [(drip, {"chunk_bytes": 1, "every_seconds": 0}), (throttle, {"bytes_per_second": MIB}), (latency, {"seconds": 0})],
)
@pytest.mark.parametrize("direction", ["request", "response"])
def test_a_change_goes_with_any_pace(join, direction, make, arguments):
    pace = make(**arguments, direction=direction)
    _, client, upstream = join(pace & duplicate(4, at_byte=2, direction=direction))
    speaker, hearer = (client, upstream) if direction == "request" else (upstream, client)

    speaker.sendall(TEXT)
    finish(speaker)
    assert read(hearer) == model(TEXT, repeated=(2, 4))


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["request", "response"])
def test_many_small_pieces_can_all_be_dropped(join, direction):
    fault = drop_bytes(1500, direction=direction) & drip(1, every_seconds=0, direction=direction)
    _, client, upstream = join(fault)
    speaker, hearer = (client, upstream) if direction == "request" else (upstream, client)

    speaker.sendall(bytes(1500) + b"the rest")
    finish(speaker)
    assert read(hearer) == b"the rest"


@pytest.mark.parametrize("direction", ["request", "response"])
def test_many_bytes_can_all_be_dropped(join, direction):
    count = 16 * MIB
    _, client, upstream = join(drop_bytes(count, direction=direction))
    speaker, hearer = (client, upstream) if direction == "request" else (upstream, client)

    def speak():
        with contextlib.suppress(ConnectionError):  # told by what is heard
            for _ in range(count // MIB):
                speaker.sendall(bytes(MIB))
            speaker.sendall(b"the rest")
            finish(speaker)

    thread = threading.Thread(target=speak)
    thread.start()
    assert read(hearer) == b"the rest"
    thread.join(10)


@pytest.mark.parametrize("direction", ["request", "response"])
@pytest.mark.parametrize(
    ("after_bytes", "tls"), [(0, False), (1, False), (7, False), (19, False), (20, False), (0, True), (7, True)]
)
def test_injected_bytes_stand_exactly_where_they_are_planned(join, after_bytes, tls, direction):
    _, client, upstream = join(inject(b"<!>", at=direction, after_bytes=after_bytes), tls=tls)
    speaker, hearer = (client, upstream) if direction == "request" else (upstream, client)

    speaker.sendall(TEXT)
    finish(speaker)
    assert read(hearer) == TEXT[:after_bytes] + b"<!>" + TEXT[after_bytes:]


def test_bytes_are_injected_into_the_answer_of_a_server_without_an_upstream():
    with (
        serve(inject(b"<!>", after_bytes=9) & ok(b"hello")) as server,
        socket.create_connection(server.address, 10) as client,
    ):
        client.sendall(GET)
        got = read(client)

    assert got.startswith(b"HTTP/1.1 <!>200 OK\r\n")
    assert got.endswith(b"hello")


def test_bytes_are_injected_among_those_that_come_through_the_conditions(join):
    _, client, upstream = join(inject(b"<!>", after_bytes=2) & drop_bytes(2, at_byte=3))

    upstream.sendall(TEXT)
    finish(upstream)
    assert read(client) == b"01<!>2" + TEXT[5:]
