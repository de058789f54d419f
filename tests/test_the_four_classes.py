"""The four subclasses of ConnectionError, each met by a plain client of the standard library."""

import asyncio
import errno
import socket

import pytest

from faultline import close, raises, refuse, reset, root_cause, stall


def send_often(client):
    for _ in range(1_000_000):
        client.send(b"x")


def test_client_gets_connection_refused_error(faultline):
    server = faultline.serve(refuse())

    with pytest.raises(ConnectionError) as caught:
        socket.create_connection(server.address, timeout=10)

    assert type(caught.value) is ConnectionRefusedError
    assert caught.value.errno == errno.ECONNREFUSED


def test_client_gets_connection_reset_error(faultline):
    server = faultline.serve(reset())

    with socket.create_connection(server.address, timeout=10) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        with pytest.raises(ConnectionError) as caught:
            client.recv(1)

    assert type(caught.value) is ConnectionResetError
    assert caught.value.errno == errno.ECONNRESET


def test_client_that_goes_on_sending_after_fin_gets_broken_pipe_error(faultline):
    server = faultline.serve(close(at="accept"))

    with socket.create_connection(server.address, timeout=10) as client:
        end = client.recv(1)
        with pytest.raises(ConnectionError) as caught:
            send_often(client)

    assert end == b""
    assert type(caught.value) is BrokenPipeError
    assert caught.value.errno == errno.EPIPE
    assert server.attempts[-1].struck.point == "accept"


def test_client_that_goes_on_sending_after_rst_gets_connection_reset_error_and_then_broken_pipe_error(faultline):
    server = faultline.serve(reset())

    with socket.create_connection(server.address, timeout=10) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        with pytest.raises(ConnectionError) as first:
            client.recv(1)
        with pytest.raises(ConnectionError) as second:
            client.send(b"x")

    assert [type(first.value), type(second.value)] == [ConnectionResetError, BrokenPipeError]


@pytest.mark.slow
@pytest.mark.everywhere
def test_client_whose_tls_handshake_times_out_gets_connection_aborted_error(faultline):
    server = faultline.serve(stall(at="handshake"), tls=True)

    async def connect():
        await asyncio.open_connection(*server.address, ssl=server.client_context(), ssl_handshake_timeout=0.2)

    with raises(ConnectionAbortedError) as caught:
        asyncio.run(connect())

    assert type(caught.value) is ConnectionAbortedError
    assert type(root_cause(caught.value)) is ConnectionAbortedError
    assert "SSL handshake is taking longer than 0.2 seconds" in str(caught.value)
    (attempt,) = server.attempts
    assert attempt.struck.point == "handshake"
    assert attempt.ended_by == "client"
