"""The ends of a relayed conversation: each side's own is a fact with a time, and a test can wait for it."""

from __future__ import annotations

import socket

import pytest
from support import leave_by_rst

OTHER = {"client": "upstream", "upstream": "client"}


@pytest.fixture
def sides(join):
    """A relay, and both ends by name."""
    server, client, upstream = join()
    return server, {"client": client, "upstream": upstream}


@pytest.mark.parametrize("side", OTHER)
def test_side_that_has_finished_is_in_the_ledger_while_the_other_goes_on(sides, side):
    server, sockets = sides
    sockets[side].sendall(b"hello")
    sockets[side].shutdown(socket.SHUT_WR)
    (attempt,) = server.wait_for_attempts(1, at=f"{side}_end")

    assert [(end.by, end.how) for end in attempt.ends] == [(side, "FIN")]
    assert attempt.started_seconds <= attempt.turns[0].at_seconds <= attempt.ends[0].at_seconds
    assert (attempt.ended_seconds, attempt.ended_by) == (None, None)
    assert sockets[OTHER[side]].recv(100) == b"hello"


@pytest.mark.parametrize("second", ["FIN", "RST"])
@pytest.mark.parametrize("first", OTHER)
def test_ends_of_both_sides_are_in_the_ledger_in_their_order(sides, first, second):
    server, sockets = sides
    sockets[first].shutdown(socket.SHUT_WR)
    server.wait_for_attempts(1, at=f"{first}_end")
    leave_by_rst(sockets[OTHER[first]]) if second == "RST" else sockets[OTHER[first]].close()
    (attempt,) = server.wait_for_attempts(1, at="end")

    assert [(end.by, end.how) for end in attempt.ends] == [(first, "FIN"), (OTHER[first], second)]
