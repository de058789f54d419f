"""The ends of a relayed conversation: each side's own is a fact with a time, and a test can wait for it."""

from __future__ import annotations

import contextlib
import socket
import struct

import pytest

PATIENCE_SECONDS = 10.0


@pytest.fixture
def join(faultline):
    """A function that starts a relay, and returns it with its client and the connection that its upstream accepted."""
    with contextlib.ExitStack() as sockets:

        def joined(plan=None, **options):
            listener = sockets.enter_context(socket.create_server(("127.0.0.1", 0)))
            relay = faultline.relay(f"127.0.0.1:{listener.getsockname()[1]}", plan, strict=False, **options)
            client = sockets.enter_context(socket.create_connection(relay.address, PATIENCE_SECONDS))
            listener.settimeout(PATIENCE_SECONDS)
            upstream = sockets.enter_context(listener.accept()[0])
            upstream.settimeout(PATIENCE_SECONDS)
            return relay, {"client": client, "upstream": upstream}

        yield joined


def leave(sock, how):
    if how == "RST":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


OTHER = {"client": "upstream", "upstream": "client"}


@pytest.mark.parametrize("side", ["client", "upstream"])
def test_side_that_has_finished_is_in_the_ledger_while_the_other_goes_on(join, side):
    relay, sockets = join()
    sockets[side].shutdown(socket.SHUT_WR)
    (attempt,) = relay.wait_for_attempts(1, at=f"{side}_end")

    assert [(end.by, end.how) for end in attempt.ends] == [(side, "FIN")]
    assert attempt.started_seconds <= attempt.ends[0].at_seconds
    assert (attempt.ended_seconds, attempt.ended_by) == (None, None)


@pytest.mark.parametrize("second", ["FIN", "RST"])
@pytest.mark.parametrize("first", ["client", "upstream"])
def test_ends_of_both_sides_are_in_the_ledger_in_their_order(join, first, second):
    relay, sockets = join()
    sockets[first].shutdown(socket.SHUT_WR)
    relay.wait_for_attempts(1, at=f"{first}_end")
    leave(sockets[OTHER[first]], second)
    (attempt,) = relay.wait_for_attempts(1, at="end")

    assert [(end.by, end.how) for end in attempt.ends] == [(first, "FIN"), (OTHER[first], second)]


@pytest.mark.parametrize("side", ["client", "upstream"])
def test_end_of_a_side_is_seen_whatever_is_said_before(join, side):
    relay, sockets = join()
    sockets[side].sendall(b"hello")
    sockets[side].shutdown(socket.SHUT_WR)
    (attempt,) = relay.wait_for_attempts(1, at=f"{side}_end")

    assert attempt.ends[0].at_seconds >= attempt.turns[0].at_seconds
    assert sockets[OTHER[side]].recv(100) == b"hello"
