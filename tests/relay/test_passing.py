"""What passes a relay between two sides that the test holds: every byte, and every end."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import select
import socket
import threading

import pytest
from support import (
    GET,
    PATIENCE_SECONDS,
    SILENCE_SECONDS,
    accepted,
    address_of,
    ending,
    in_thread,
    is_quiet,
    leave_by_rst,
    pour,
    read,
    to_end,
)

from faultline import Gate, close, latency, ok, reset, stall
from faultline._engine.pump import PIECE_BYTES
from faultline._servers.loop import background

MIB = 1 << 20
BLOCKED_SECONDS = 0.1

# --- what is looked for ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pieces", [[b"x"] * 5, [b"BEGIN; COM", b"MIT; xxx"], [b"COMMIT"]], ids=["never", "split", "at once"]
)
@pytest.mark.parametrize("direction", ["request", "response"])
def test_what_is_looked_for_is_found_across_reads(join, direction, pieces):
    server, client, upstream = join(reset(at=direction, on=b"COMMIT"), strict=False)
    speaker, hearer = (client, upstream) if direction == "request" else (upstream, client)
    said = b""
    for piece in pieces:
        speaker.sendall(piece)
        said += piece
        if not said.endswith(pieces[-1]) or b"COMMIT" not in said:
            assert read(hearer, len(piece)) == piece

    strikes = b"COMMIT" in said
    rest = to_end(hearer, PATIENCE_SECONDS if strikes else SILENCE_SECONDS)
    if not strikes:
        assert rest == (b"", "silence")
    elif direction == "request":
        assert rest == (pieces[-1], "FIN")
        assert to_end(client) == (b"", "RST")
    else:
        assert rest == (
            b"COMMIT"[6 - len(pieces[-1].partition(b"MIT")[0]) - 3 :] if len(pieces) == 1 else b"MIT",
            "RST",
        )
    assert (server.attempts[0].struck is not None) == strikes


def test_a_marker_said_byte_by_byte_is_found(join):
    server, client, upstream = join(reset(on=re.compile(rb"COM+IT;")))

    for byte in b"BEGIN; COMMIT":
        client.sendall(bytes([byte]))
        assert upstream.recv(10) == bytes([byte])
    client.sendall(b";")
    assert to_end(upstream) == (b";", "FIN")
    assert to_end(client) == (b"", "RST")
    assert server.attempts[0].struck.after_bytes == len(b"BEGIN; COMMIT;")


# --- many bytes ------------------------------------------------------------------------------------------------------


COUNTS = [(reset, "RST", count) for count in (65_535, 65_536, 65_537)] + [
    (close, "FIN", MIB),
    (stall, "silence", MIB),
]
MANY = pytest.mark.parametrize(("verb", "end", "count"), COUNTS)


@MANY
def test_a_break_after_many_bytes_of_the_upstream_is_exact(join, verb, end, count):
    server, client, upstream = join(verb(after_bytes=count))
    data = os.urandom(MIB + 100_000)

    client.sendall(b"ask")
    assert read(upstream, 3) == b"ask"
    with in_thread(pour, upstream, data):
        assert read(client, count) == data[:count]
        assert to_end(client, SILENCE_SECONDS if end == "silence" else PATIENCE_SECONDS) == (b"", end)
        client.close()
        server.wait_for_attempts(1, at="end")
    (attempt,) = server.attempts
    assert (attempt.struck.after_bytes, attempt.sent_bytes) == (count, count)


@MANY
def test_a_break_after_many_bytes_of_the_client_is_exact(join, verb, end, count):
    server, client, upstream = join(verb(at="request", after_bytes=count))
    data = os.urandom(MIB + 100_000)

    with in_thread(pour, client, data):
        assert read(upstream, count) == data[:count]
        if end == "silence":
            assert is_quiet(upstream)
            server.close()
        assert to_end(upstream) == (b"", "FIN")
    (attempt,) = server.wait_for_attempts(1, at="end")
    assert (attempt.struck.after_bytes, attempt.received_bytes) == (count, count)


@pytest.mark.slow
def test_big_bodies_in_both_directions_at_once_arrive_whole(join):
    server, client, upstream = join()
    up, down = os.urandom(8 * MIB), os.urandom(8 * MIB)

    with in_thread(pour, client, up), in_thread(pour, upstream, down):
        got = []
        with in_thread(lambda: got.append(read(client, len(down)))):
            assert read(upstream, len(up)) == up
    assert got == [down]
    (attempt,) = server.attempts
    assert (attempt.received_bytes, attempt.sent_bytes) == (len(up), len(down))


def test_an_echo_of_a_big_body_is_no_deadlock_for_a_client_that_reads_meanwhile(join):
    _, client, upstream = join()
    data = os.urandom(8 * MIB)

    def echo():
        while piece := upstream.recv(65_536):
            upstream.sendall(piece)
        upstream.shutdown(socket.SHUT_WR)

    def say():
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)

    with in_thread(echo), in_thread(say):
        assert to_end(client) == (data, "FIN")


def fill(*socks):
    """Send until it blocks for a while: how many bytes, from each."""
    sent = dict.fromkeys(socks, 0)
    for sock in socks:
        sock.setblocking(False)
    while writable := select.select([], socks, [], BLOCKED_SECONDS)[1]:
        for sock in writable:
            with contextlib.suppress(BlockingIOError):
                sent[sock] += sock.send(bytes(MIB))
    for sock in socks:
        sock.settimeout(PATIENCE_SECONDS)
    return sent


def kernel_bytes():
    """What the kernel's buffers of two connections in one direction hold at most (tcp(7), tcp_rmem and tcp_wmem)."""
    sizes = []
    for name in ("tcp_rmem", "tcp_wmem"):
        with open(f"/proc/sys/net/ipv4/{name}", encoding="ascii") as file:  # noqa: PTH123 - a line of a kernel's file
            sizes.append(int(file.read().split()[2]))
    return 2 * sum(sizes)


@pytest.mark.slow
@pytest.mark.parametrize("plan", [None, latency(0, direction="both")], ids=["pumped", "looked at"])
def test_ones_that_do_not_read_block_each_other_after_a_bounded_number_of_bytes(join, plan):
    _, client, upstream = join(plan)

    sent = fill(client, upstream)
    assert max(sent.values()) < kernel_bytes() + PIECE_BYTES
    for sender, reader in ((client, upstream), (upstream, client)):
        sender.shutdown(socket.SHUT_WR)
        assert to_end(reader) == (bytes(sent[sender]), "FIN")


@pytest.mark.slow
@pytest.mark.parametrize("breaker", ["the client's RST", "the upstream's RST", "reset_all", "close"])
def test_a_break_reaches_a_connection_of_which_both_directions_are_blocked(join, breaker):
    server, client, upstream = join()
    fill(client, upstream)
    staying = [client, upstream]

    if breaker == "close":
        server.close()
    elif breaker == "reset_all":
        assert server.reset_all() == 1
    else:
        leave_by_rst(staying.pop(0 if breaker == "the client's RST" else 1))
    assert {to_end(sock)[1] for sock in staying} <= {"RST", "FIN"}
    if breaker.endswith("RST"):
        by = "client" if staying == [upstream] else "upstream"
        assert ending(server.wait_for_attempts(1, at="end")[0]) == (by, "RST")


# --- how connections end, passed on ----------------------------------------------------------------------------------

CONDITIONS = {
    "pumped": None,
    "looked at": latency(0, direction="both"),
    "armed": reset(at="request", after_bytes=10**6),
}


@pytest.mark.parametrize(
    ("plan", "leaver", "how"),
    [
        (CONDITIONS[plan], leaver, how)
        for plan, (leaver, how) in zip(
            itertools.cycle(CONDITIONS), itertools.product(("client", "upstream"), ("FIN", "RST") * 2)
        )
    ],
)
def test_the_end_of_one_connection_is_passed_on_to_the_other(join, leaver, how, plan):
    for spoken in (False, True):
        server, client, upstream = join(plan, strict=False)
        if spoken:
            client.sendall(b"ask")
            assert read(upstream, 3) == b"ask"
            upstream.sendall(b"answer")
            assert read(client, 6) == b"answer"
        leaving, staying = (client, upstream) if leaver == "client" else (upstream, client)

        leave_by_rst(leaving) if how == "RST" else leaving.close()
        assert to_end(staying) == (b"", how)
        staying.close()
        assert ending(server.wait_for_attempts(1, at="end")[0]) == (leaver, how)


@pytest.mark.parametrize("plan", CONDITIONS.values(), ids=CONDITIONS)
@pytest.mark.parametrize("first", ["client", "upstream"])
def test_a_half_close_is_passed_on_and_the_other_direction_goes_on(join, first, plan):
    server, client, upstream = join(plan, strict=False)
    one, other = (client, upstream) if first == "client" else (upstream, client)
    one.sendall(b"all I have to say")

    one.shutdown(socket.SHUT_WR)
    assert to_end(other) == (b"all I have to say", "FIN")
    for word in (b"and now", b"to you"):
        other.sendall(word)
        assert one.recv(100) == word
    assert server.attempts[0].ended_by is None
    other.shutdown(socket.SHUT_WR)
    assert to_end(one) == (b"", "FIN")
    assert ending(server.wait_for_attempts(1, at="end")[0]) == (first, "FIN")


@pytest.mark.parametrize(
    ("first", "plan"), [("client", None), ("upstream", CONDITIONS["looked at"]), ("client", CONDITIONS["armed"])]
)
def test_a_reset_after_a_half_close_is_still_a_reset(join, first, plan):
    server, client, upstream = join(plan, strict=False)
    one, other = (client, upstream) if first == "client" else (upstream, client)
    one.shutdown(socket.SHUT_WR)
    assert to_end(other) == (b"", "FIN")

    leave_by_rst(other)
    assert to_end(one) == (b"", "RST")
    resetter = "upstream" if first == "client" else "client"
    assert ending(server.wait_for_attempts(1, at="end")[0]) == (resetter, "RST")


def test_an_upstream_that_has_said_all_and_resets_then_is_told_to_a_client_that_talks_on(join):
    server, client, upstream = join()
    upstream.shutdown(socket.SHUT_WR)
    assert to_end(client) == (b"", "FIN")

    leave_by_rst(upstream)
    client.sendall(b"and now to you")
    assert ending(server.wait_for_attempts(1, at="end")[0]) == ("upstream", "RST")


def test_a_client_that_resets_before_it_has_said_what_is_waited_for_has_left(join):
    server, client, upstream = join(reset(at="request"), strict=False)

    leave_by_rst(client)
    assert to_end(upstream) == (b"", "RST")
    assert ending(server.wait_for_attempts(1, at="end")[0]) == ("client", "RST")


def test_a_client_that_has_said_all_before_the_upstream_is_reached_gets_its_answer(faultline, listener, dial):
    server = faultline.relay(address_of(listener))
    client = dial(server)
    client.sendall(b"all")
    client.shutdown(socket.SHUT_WR)

    with accepted(listener) as upstream:
        assert to_end(upstream) == (b"all", "FIN")
        upstream.sendall(b"answer")
    assert to_end(client) == (b"answer", "FIN")


@pytest.mark.parametrize("plan", [None, reset(at="request"), stall(at="request"), reset(on=b"never")], ids=repr)
def test_a_client_that_only_listens_hears_the_upstream_to_its_end(join, plan):
    server, client, upstream = join(plan, strict=False)
    client.shutdown(socket.SHUT_WR)
    assert to_end(upstream) == (b"", "FIN")

    upstream.sendall(b"news")
    upstream.close()
    assert to_end(client) == (b"news", "FIN")
    assert ending(server.wait_for_attempts(1, at="end")[0]) == ("client", "FIN")


def test_an_upstream_that_speaks_first_is_heard(join):
    server, client, upstream = join()

    upstream.sendall(b"220 ready\r\n")
    assert read(client, 11) == b"220 ready\r\n"
    client.sendall(b"QUIT\r\n")
    assert read(upstream, 6) == b"QUIT\r\n"
    assert [turn.by for turn in server.attempts[0].turns] == ["server", "client"]


@pytest.mark.parametrize("how", ["FIN", "RST"])
def test_an_upstream_that_ends_at_once_is_seen_as_it_ends(faultline, listener, dial, how):
    server = faultline.relay(address_of(listener))
    client = dial(server)
    upstream = accepted(listener)

    leave_by_rst(upstream) if how == "RST" else upstream.close()
    assert to_end(client) == (b"", how)
    client.close()
    assert ending(server.wait_for_attempts(1, at="end")[0]) == ("upstream", how)


def test_what_an_upstream_said_before_its_reset_arrives_at_a_client_that_reads_late(faultline, dial):
    real = faultline.serve(reset(after_bytes=MIB), answer=ok(bytes(2 * MIB)))
    server = faultline.relay(real)
    client = dial(server)
    client.sendall(GET)
    real.wait_for_attempts(1, at="end")

    got, end = to_end(client)
    assert (len(got), end) == (MIB, "RST")


def test_an_upstream_that_answers_and_resets_a_client_which_talks_on_is_heard(join):
    server, client, upstream = join()
    client.sendall(b"ask")
    assert read(upstream, 3) == b"ask"
    upstream.sendall(b"answer")
    assert read(client, 6) == b"answer"
    server.pause()
    upstream.sendall(b"too large")
    leave_by_rst(upstream)
    client.sendall(b"more")

    server.resume()
    assert to_end(client) == (b"too large", "RST")


def test_an_upstream_reset_that_comes_in_the_same_turn_as_an_interruption_is_a_reset(join):
    server, client, upstream = join()
    client.sendall(b"ask")
    assert read(upstream, 3) == b"ask"
    upstream.sendall(b"answer")
    assert read(client, 6) == b"answer"
    server.wait_for_attempts(1, at="response")
    busy = threading.Event()
    loop = background().loop
    (conversation,) = server._process.connections

    loop.call_soon_threadsafe(busy.wait)
    leave_by_rst(upstream)
    loop.call_soon_threadsafe(conversation.pause)
    loop.call_soon_threadsafe(conversation.resume)
    busy.set()
    assert to_end(client) == (b"", "RST")


def test_a_client_that_closes_after_both_said_their_last_is_not_taken_for_one_that_resets(join):
    server, client, upstream = join(stall(on=b"x"))
    upstream.shutdown(socket.SHUT_WR)
    assert to_end(client) == (b"", "FIN")
    client.sendall(b"x")
    assert read(upstream, 1) == b"x"
    assert is_quiet(upstream)

    client.close()
    assert to_end(upstream) == (b"", "FIN")
    assert ending(server.wait_for_attempts(1, at="end")[0]) == ("client", "FIN")


def test_a_client_that_half_closes_right_after_the_gate_has_opened_has_not_given_up(join):
    gate = Gate()
    server, client, upstream = join(stall(on=b"ask", until=gate))
    client.sendall(b"ask")
    assert read(upstream, 3) == b"ask"
    server.wait_for_strike()
    busy = threading.Event()

    background().loop.call_soon_threadsafe(busy.wait)
    gate.open()
    client.shutdown(socket.SHUT_WR)
    busy.set()
    assert to_end(upstream) == (b"", "FIN")
    upstream.sendall(b"answer")
    assert read(client, 6) == b"answer"
