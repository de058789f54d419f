"""A client reads exactly as many bytes as the fault lets through, every time, and then what the fault is."""

import contextlib
import socket
import ssl
import sys

import pytest
from support.tables import each_row

from faultline import (
    bad_tls,
    close,
    drip,
    half_close,
    http_proxy,
    ok,
    receive_until,
    relay,
    reset,
    script,
    send,
    serve,
    stall,
)
from faultline._net.sockets import unacknowledged_bytes
from faultline._net.wire import Wire

MIB = 1 << 20
TIMES, TIMES_OF_LONG = 20, 8
REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"

# Before these, SSLSocket.recv turns a RST into an end of stream without close_notify (gh-115627).
RST_IN_TLS = (
    ssl.SSLEOFError
    if sys.version_info < (3, 11, 9) or (3, 12) <= sys.version_info < (3, 12, 3)
    else ConnectionResetError
)


def exchange(client):
    """Ask once; how many bytes came, and what came after them: an exception type, or None for a clean end."""
    client.sendall(REQUEST)
    return drain(client)


def drain(client):
    buffer = bytearray(MIB)
    count = 0
    try:
        while read := client.recv_into(buffer):
            count += read
    except OSError as error:
        return count, type(error)
    return count, None


def exchange_by_tcp(server):
    with socket.create_connection(server.address, timeout=10) as client:
        return exchange(client)


def exchange_by_tls(server, context):
    with (
        socket.create_connection(server.address, timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=server.host, suppress_ragged_eofs=False) as client,
    ):
        return exchange(client)


@pytest.mark.unmeasured
@pytest.mark.parametrize("count", [0, 1000, MIB, pytest.param(10 * MIB, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("fault", "after", "how"), [(reset, ConnectionResetError, "RST"), (close, None, "FIN")])
def test_client_reads_exactly_so_many_bytes_every_time(faultline, fault, after, how, count):
    server, times = faultline.serve(fault(after_bytes=count)), TIMES if count <= MIB else TIMES_OF_LONG

    seen = [exchange_by_tcp(server) for _ in range(times)]

    assert seen == [(count, after)] * times
    assert [(a.sent_bytes, a.struck.after_bytes) for a in server.attempts] == [(count, count)] * times
    assert [(a.ended_by, a.ended_how) for a in server.attempts] == [("server", how)] * times


@pytest.mark.slow
@pytest.mark.parametrize("count", [1000, MIB])
@pytest.mark.parametrize(("fault", "after", "how"), [(reset, RST_IN_TLS, "RST"), (close, None, "FIN")])
def test_client_reads_exactly_so_many_bytes_every_time_in_tls(faultline, fault, after, how, count):
    server = faultline.serve(fault(after_bytes=count), tls=True)
    context = server.client_context()

    seen = [exchange_by_tls(server, context) for _ in range(TIMES)]

    assert seen == [(count, after)] * TIMES
    assert [(a.sent_bytes, a.struck.after_bytes) for a in server.attempts] == [(count, count)] * TIMES
    assert [(a.ended_by, a.ended_how) for a in server.attempts] == [("server", how)] * TIMES


@contextlib.contextmanager
def late_reader(server):
    """A client that has asked and read nothing yet, when the server has sent all that it can."""
    with socket.socket() as client:
        client.settimeout(10)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        client.connect(server.address)
        client.sendall(REQUEST)
        (attempt,) = server.wait_for_attempts(1, at="response")
        before = -1
        while attempt.sent_bytes != before:
            before = attempt.sent_bytes
            (attempt,) = server.attempts
        yield client


@each_row(("fault", "after"), [(reset, ConnectionResetError), (close, None)])
def test_client_that_reads_late_still_gets_every_byte(faultline, fault, after):
    server = faultline.serve(fault(after_bytes=MIB))

    with late_reader(server) as client:
        seen = drain(client)

    assert seen == (MIB, after)
    assert server.attempts[-1].sent_bytes == MIB


def test_rst_waits_until_a_late_client_has_read(faultline):
    server = faultline.serve(reset(after_bytes=MIB))

    with late_reader(server) as client:
        before = server.attempts[-1]
        drain(client)

    assert before.sent_bytes > 0
    assert before.ended_by is None
    assert server.attempts[-1].ended_by == "server"


# --- the bytes before a break travel together ------------------------------------------------------------------------
#
# With TCP_NODELAY each send is a segment, and a client that reads once gets it whole.


@pytest.fixture
def sizes(monkeypatch):
    """How many bytes went out at each send."""
    counts = []
    send_some = Wire.send_some

    async def counting(wire, data):
        count = await send_some(wire, data)
        counts.append(count)
        return count

    monkeypatch.setattr(Wire, "send_some", counting)
    return counts


RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\nhello"
ANSWERED = script(receive_until(b"\r\n\r\n"), send(b"220 hello"))
BROKEN = [
    (reset(after_bytes=10), 10),
    (close(after_bytes=10), 10),
    (half_close(after_bytes=10), 10),
    (stall(after_bytes=10), 10),
    (reset(on=b"OK", at="response"), RESPONSE.index(b"OK") + 2),
    (ok(b"hello") & reset(at="idle"), len(RESPONSE)),
    (script(receive_until(b"\r\n\r\n"), send(b"220 hello"), reset()), 9),
    (ANSWERED & reset(at="response", after_bytes=5), 5),
]


def heard(client, count):
    """So many bytes of the server's."""
    received = b""
    while len(received) < count:
        received += client.recv(count - len(received))
    return received


RECORD_BYTES = 22  # of TLS 1.3 around its content: head, type and tag (RFC 8446, 5.2)


@contextlib.contextmanager
def asking(server, request=REQUEST, *, tls=False):
    """A client that has asked."""
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(socket.create_connection(server.address, timeout=10))
        if tls:
            client = stack.enter_context(server.client_context().wrap_socket(client, server_hostname=server.host))
        client.sendall(request)
        yield client


@pytest.mark.parametrize(("fault", "count"), BROKEN, ids=repr)
def test_bytes_before_a_break_are_sent_together(fault, count, sizes):
    with serve(fault, strict=False) as server, asking(server) as client:
        heard(client, count)

    assert sizes == [count]


@pytest.mark.parametrize(("fault", "count"), [BROKEN[0], BROKEN[-3]], ids=repr)
def test_bytes_before_a_break_are_sent_together_in_tls(fault, count, sizes):
    with serve(fault, tls=True, strict=False) as server, asking(server, tls=True) as client:
        heard(client, count)

    assert count + RECORD_BYTES in sizes


def test_bytes_before_a_truncation_of_tls_are_sent_together(sizes):
    with serve(bad_tls("no_close_notify")) as server, asking(server, tls=True) as client:
        count, _ = drain(client)

    assert sizes[-1] == count + RECORD_BYTES


def test_bytes_before_a_break_of_a_relay_are_sent_together(sizes):
    with (
        serve(ok(b"hello")) as upstream,
        relay(upstream, reset(after_bytes=10), strict=False) as server,
        asking(server) as client,
    ):
        heard(client, 10)

    assert 10 in sizes


def test_bytes_before_a_break_of_a_tunnel_are_sent_together(sizes):
    with serve(ok()) as origin, http_proxy(reset(at="tunnel")) as proxy:
        request = f"CONNECT {origin.hostport} HTTP/1.1\r\nHost: {origin.hostport}\r\n\r\n"
        with asking(proxy, request.encode()) as client:
            count, _ = drain(client)

    assert sizes == [count]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (ok(b"hello"), [len(RESPONSE)]),
        (reset(at="response"), []),
        (ok(b"hello") & drip(10, every_seconds=0) & reset(after_bytes=25), [10, 10, 5]),
        (script(send(b"220 hello"), stall()), [9]),
    ],
    ids=repr,
)
def test_bytes_travel_together_in_the_pieces_of_the_plan(fault, expected, sizes):
    with serve(fault, strict=False) as server, asking(server) as client:
        heard(client, sum(expected))

    assert sizes == expected


# --- nor does a break wait for the acknowledgement -------------------------------------------------------------------
#
# A kernel may leave bytes without one for 40 ms. A busy machine may be as slow, so that one of some tries is enough.

TRIES = 20


@pytest.fixture
def owed(monkeypatch):
    """How many bytes were not acknowledged yet at each end that was sent."""
    counts = []

    def counting(end):
        def sent(wire, *args, **options):
            counts.append(0 if wire.is_closed else unacknowledged_bytes(wire.sock))
            return end(wire, *args, **options)

        return sent

    for end in (Wire.reset, Wire.finish):
        monkeypatch.setattr(Wire, end.__name__, counting(end))
    return counts


@contextlib.contextmanager
def slow_to_acknowledge(server):
    """A client that has asked, and whose kernel waits before it acknowledges (TCP_QUICKACK, tcp(7))."""
    with asking(server) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
        yield client


@pytest.mark.parametrize("fault", [reset, close, half_close])
def test_break_does_not_wait_for_an_acknowledgement(fault, owed):
    with serve(fault(after_bytes=10)) as server:
        for _ in range(TRIES):
            with slow_to_acknowledge(server) as client:
                assert drain(client)[0] == 10

    assert 10 in owed


@pytest.mark.slow
@pytest.mark.parametrize("fault", [reset, close])
def test_break_of_a_relay_does_not_wait_for_an_acknowledgement_of_what_it_has_passed_on_before(fault, owed):
    with serve(ok(b"hello")) as upstream, relay(upstream) as server:
        for _ in range(TRIES):
            server.become(ok())
            with slow_to_acknowledge(server) as client:
                heard(client, len(RESPONSE))
                server.become(fault(at="idle", after_seconds=0.001), open_too=True)
                drain(client)

    assert len(RESPONSE) in owed
