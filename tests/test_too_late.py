"""A client that has reset the connection before an end of ours could be sent was not struck.

Between the last look at the client and our RST or FIN there is always a moment in which the client may leave. The first
test puts the client's RST there; the second lets client and server race.
"""

from __future__ import annotations

import contextlib
import socket

import pytest
from support import leave_by_rst
from support.tables import each_row

from faultline import (
    UnsupportedError,
    close,
    half_close,
    ok,
    partition,
    receive_request,
    reset,
    script,
    send,
    serve,
    stall,
)
from faultline._engine.connection import Connection
from faultline._engine.conversation import Conversation
from faultline._net.hearing import Hearing
from faultline._servers.connections import ACTS

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
RACES = 20

STRIKES = [
    reset(after_bytes=5),
    reset(after_bytes=5, fin_first=True),
    reset(at="request", after_bytes=5),
    reset(at="idle"),
    close(after_bytes=5),
    close(at="request", after_bytes=5),
    close(at="idle"),
    half_close(after_bytes=5),
    script(receive_request(), send(b"220 "), reset()),
    script(receive_request(), send(b"220 "), close()),
    script(receive_request(), send(b"220 "), reset(fin_first=True)),
]


def serve_or_skip(plan, **options):
    """A server, if this user may produce the fault."""
    try:
        return serve(plan, **options)
    except UnsupportedError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("plan", STRIKES, ids=repr)
def test_end_that_could_not_be_sent_is_no_strike(monkeypatch, plan, tls):
    clients = []
    look = Connection.check_reached

    def look_and_let_leave(connection):
        look(connection)
        leave_by_rst(clients.pop())

    monkeypatch.setattr(Connection, "check_reached", look_and_let_leave)
    with serve(plan, strict=False, tls=tls) as server, socket.create_connection(server.address, 10) as client:
        clients.append(server.client_context().wrap_socket(client, server_hostname="localhost") if tls else client)
        clients[0].sendall(GET)
        (attempt,) = server.wait_for_attempts(1, at="end")

    assert (attempt.struck, attempt.ended_by, attempt.ended_how) == (None, "client", "RST")
    assert [(end.by, end.how) for end in attempt.ends] == [("client", "RST")]


@pytest.mark.slow
@pytest.mark.measured
@each_row("plan", STRIKES)
def test_strike_is_told_exactly_if_the_end_was_sent(plan):
    with serve(plan, strict=False) as server:
        for number in range(1, RACES + 1):
            with socket.create_connection(server.address, 10) as client, contextlib.suppress(OSError):
                client.sendall(GET)
                client.recv(65_536)  # all that comes before the strike
                leave_by_rst(client)
            server.wait_for_attempts(number, at="end")

    for attempt in server.attempts:
        was_ended = any(end.by == "server" for end in attempt.ends)
        assert bool(attempt.struck) == was_ended, attempt.ends


@each_row("fin_first", [False, True])
def test_client_that_has_finished_sending_is_reset_unless_both_sides_have(fin_first):
    plan = reset(after_bytes=5, fin_first=fin_first)
    with serve(plan) as server, socket.create_connection(server.address, 10) as client:
        client.sendall(GET)
        client.shutdown(socket.SHUT_WR)
        client.recv(5)
        (attempt,) = server.wait_for_attempts(1, at="end")

    assert [(end.by, end.how) for end in attempt.ends] == [("client", "FIN"), ("server", "FIN" if fin_first else "RST")]


BEHIND_BYTES = [
    reset(after_bytes=200_000),
    reset(after_bytes=200_000, fin_first=True),
    close(after_bytes=200_000),
    half_close(after_bytes=200_000),
    stall(after_bytes=200_000),
    partition(after_bytes=200_000),
    script(receive_request(), send(bytes(200_000)), close()),
    script(receive_request(), send(bytes(200_000)), stall()),
]


@pytest.mark.parametrize("taken", [100, 199_999])
@pytest.mark.parametrize("plan", BEHIND_BYTES, ids=repr)
def test_client_that_leaves_before_it_has_read_all_is_not_struck(plan, tls, taken):
    with serve_or_skip(plan, strict=False, tls=tls, answer=ok(bytes(300_000))) as server:
        with socket.create_connection(server.address, 10) as raw:
            client = server.client_context().wrap_socket(raw, server_hostname="localhost") if tls else raw
            client.sendall(GET)
            left = min(taken, 180_000) if tls else taken  # OpenSSL reads whole records, of up to 16 KiB
            while left:
                left -= len(client.recv(left))
            leave_by_rst(client)
        (attempt,) = server.wait_for_attempts(1, at="end")

    assert attempt.struck is None
    assert [(end.by, end.how) for end in attempt.ends] == [("client", "RST")]


def test_reset_by_the_test_is_told_only_if_it_was_sent(monkeypatch):
    with serve(ok()) as server, socket.create_connection(server.address, 10) as client:
        client.sendall(GET)
        server.wait_for_attempts(1, at="idle")

        async def until_heard(_):
            leave_by_rst(client)

        monkeypatch.setattr(Hearing, "until_heard", until_heard)
        server.reset_all()
        (attempt,) = server.attempts

    assert ([(end.by, end.how) for end in attempt.ends], attempt.ended_by) == ([("client", "RST")], "client")


def test_close_by_the_test_is_told_only_if_it_was_sent(monkeypatch, tls):
    with serve(ok(), tls=tls) as server, socket.create_connection(server.address, 10) as raw:
        client = server.client_context().wrap_socket(raw, server_hostname="localhost") if tls else raw
        client.sendall(GET)
        server.wait_for_attempts(1, at="idle")

        def close_late(conversation):
            leave_by_rst(client)
            Conversation.close(conversation)

        monkeypatch.setitem(ACTS, "close_all", close_late)
        server.close_all()
        (attempt,) = server.attempts

    assert ([(end.by, end.how) for end in attempt.ends], attempt.ended_by) == ([("client", "RST")], "client")


def test_close_notify_is_no_fin():
    with (
        serve(ok(), tls=True) as server,
        socket.create_connection(server.address, 10) as raw,
        server.client_context().wrap_socket(raw, server_hostname="localhost") as client,
    ):
        client.sendall(GET)
        client.recv(1000)
        server.wait_for_attempts(1, at="idle")
        client.unwrap()
        (attempt,) = server.wait_for_attempts(1, at="end")

    assert [(end.by, end.how) for end in attempt.ends] == [
        ("client", "close_notify"),
        ("server", "close_notify"),
        ("server", "FIN"),
    ]
