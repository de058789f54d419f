"""A client reads exactly as many bytes as the fault lets through, every time, and then what the fault is."""

import contextlib
import socket
import ssl
import sys

import pytest

from faultline import close, reset

MIB = 1 << 20
TIMES = 50
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


@pytest.mark.parametrize("count", [0, 1, 1000, MIB, 10 * MIB])
@pytest.mark.parametrize(("fault", "after", "how"), [(reset, ConnectionResetError, "RST"), (close, None, "FIN")])
def test_client_reads_exactly_so_many_bytes_every_time(faultline, fault, after, how, count):
    server = faultline.serve(fault(after_bytes=count))

    seen = [exchange_by_tcp(server) for _ in range(TIMES)]

    assert seen == [(count, after)] * TIMES
    assert [(a.sent_bytes, a.struck.after_bytes) for a in server.attempts] == [(count, count)] * TIMES
    assert [(a.ended_by, a.ended_how) for a in server.attempts] == [("server", how)] * TIMES


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


@pytest.mark.parametrize(("fault", "after"), [(reset, ConnectionResetError), (close, None)])
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
