"""A relay between a client and an upstream that the test holds itself: each break, from both ends and in the ledger."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import os
import re
import socket
import ssl
import struct
import sys
import threading
import time
import warnings

import pytest
from support import HIDES_RST

import faultline as library
from faultline import (
    Gate,
    NotStruckError,
    ParameterError,
    UnsupportedError,
    bad_cert,
    bad_tls,
    blackhole,
    close,
    cycle,
    half_close,
    inject,
    latency,
    ok,
    partition,
    refuse,
    relay,
    reset,
    sequence,
    serve,
    sometimes,
    stall,
    unreachable,
)
from faultline._core.certificates import Certificate, Terms
from faultline._engine import upstream as upstreams
from faultline._engine.pump import PIECE_BYTES
from faultline._net.contexts import server_context
from faultline._net.sockets import unacknowledged_bytes
from faultline._servers.loop import background

GET = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
MIB = 1 << 20
SILENCE_SECONDS = 0.05

ASKS = [b"ask-1;", b"ask-2;", b"ask-3;"]
ANSWERS = [b"answer-1;", b"answer-2;", b"answer-3;"]

# A break by its point and trigger; the turn in which it strikes; what the upstream and the client have got by then.
ROWS = [
    ("accept", {}, 0, b"", b""),
    ("accept", {"after_seconds": 0.01}, 0, b"", b""),
    ("request", {}, 1, b"", b""),
    ("request", {"after_seconds": 0.01}, 1, b"", b""),
    ("request", {"after_bytes": 1}, 1, b"a", b""),
    ("request", {"after_bytes": 3}, 1, b"ask", b""),
    ("request", {"after_bytes": 8}, 2, b"ask-1;as", b"answer-1;"),
    ("request", {"on": b"sk-1"}, 1, b"ask-1;", b""),
    ("request", {"on": b"-1;as"}, 2, b"ask-1;ask-2;", b"answer-1;"),
    ("request", {"on": re.compile(rb"k-[23]")}, 2, b"ask-1;ask-2;", b"answer-1;"),
    ("request", {"after_messages": 0}, 1, b"", b""),
    ("request", {"after_messages": 1}, 2, b"ask-1;", b"answer-1;"),
    ("request", {"after_messages": 2}, 3, b"ask-1;ask-2;", b"answer-1;answer-2;"),
    ("response", {}, 1, b"ask-1;", b""),
    ("response", {"after_seconds": 0.01}, 1, b"ask-1;", b""),
    ("response", {"after_bytes": 1}, 1, b"ask-1;", b"a"),
    ("response", {"after_bytes": 3}, 1, b"ask-1;", b"ans"),
    ("response", {"after_bytes": 11}, 2, b"ask-1;ask-2;", b"answer-1;an"),
    ("response", {"on": b"nsw"}, 1, b"ask-1;", b"answ"),
    ("response", {"on": b"-1;a"}, 2, b"ask-1;ask-2;", b"answer-1;a"),
    ("response", {"on": re.compile(rb"e(?=r-2)")}, 2, b"ask-1;ask-2;", b"answer-1;answe"),
    ("response", {"after_messages": 0}, 1, b"ask-1;", b""),
    ("response", {"after_messages": 1}, 2, b"ask-1;ask-2;", b"answer-1;"),
    ("response", {"after_messages": 2}, 3, b"ask-1;ask-2;ask-3;", b"answer-1;answer-2;"),
    ("idle", {"after_seconds": 0.02}, 1, b"ask-1;", b"answer-1;"),
]
SPOKEN = [row for row in ROWS if row[0] in ("request", "response")]


def name_of(row):
    said = ",".join(f"{k}={getattr(v, 'pattern', v)}" for k, v in row[1].items())
    return f"{row[0]}-{said or 'at once'}"


def address_of(listener):
    return "{}:{}".format(*listener.getsockname()[:2])


def accepted(listener, timeout=10):
    sock, _ = listener.accept()
    sock.settimeout(timeout)
    return sock


def send_rst(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def exactly(sock, count):
    """So many bytes, or as many as there are before the end."""
    data = b""
    while len(data) < count and (more := sock.recv(count - len(data))):
        data += more
    return data


def to_end(sock, silence_seconds=None):
    """What is still to be read, and how it ends: by FIN, by RST, or in silence."""
    before = sock.gettimeout()
    if silence_seconds is not None:
        sock.settimeout(silence_seconds)
    got = bytearray()
    try:
        while data := sock.recv(65_536):
            got += data
    except ConnectionResetError:
        return bytes(got), "RST"
    except ssl.SSLEOFError:
        return bytes(got), "RST" if HIDES_RST else "cut off"
    except TimeoutError:
        return bytes(got), "silence"
    finally:
        sock.settimeout(before)
    return bytes(got), "FIN"


def quiet(sock):
    """Nothing comes."""
    return to_end(sock, SILENCE_SECONDS) == (b"", "silence")


def ending(attempt):
    return attempt.ended_by, attempt.ended_how


@contextlib.contextmanager
def in_thread(function, *args):
    """Do something at the same time, and see that it ends without an error."""
    errors = []

    def run():
        try:
            function(*args)
        except Exception as error:  # noqa: BLE001 - shown in the test's own thread
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(20)
    assert not thread.is_alive()
    assert errors == []


def settled_port():
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as sock:
        sock.settimeout(10)
        yield sock


class Refused:
    """A client that has met the RST of the connection while it still connected: on loopback either can come first."""

    def gettimeout(self):
        return None

    settimeout = close = lambda *_: None

    def recv(self, _):
        raise ConnectionResetError


@pytest.fixture
def dial():
    """A function that connects to a server; the connections are closed after the test."""
    with contextlib.ExitStack() as stack:

        def connect(server, timeout=10):
            try:
                return stack.enter_context(socket.create_connection(server.address, timeout))
            except ConnectionResetError:
                return Refused()

        yield connect


@pytest.fixture
def join(faultline, listener, dial):
    """A function that puts a relay before the listener and connects through it: the server and both ends."""
    with contextlib.ExitStack() as stack:

        def joined(plan=None, **options):
            server = faultline.relay(address_of(listener), plan, **options)
            client = dial(server)
            upstream = stack.enter_context(accepted(listener))
            return server, client, upstream

        yield joined


def converse(client, dialled, row):
    """Talk until the break of this row strikes: the upstream's end, and what both have got."""
    at, _, turn, upstream_gets, client_gets = row
    if turn == 0:
        return None
    upstream = dialled()
    heard = got = b""
    for number in range(1, turn + 1):
        strikes = number == turn
        client.sendall(ASKS[number - 1])
        wanted = b"".join(ASKS[:number]) if at != "request" or not strikes else upstream_gets
        heard += exactly(upstream, len(wanted) - len(heard))
        if strikes and at == "request":
            break
        upstream.sendall(ANSWERS[number - 1])
        wanted = b"".join(ANSWERS[:number]) if at != "response" or not strikes else client_gets
        got += exactly(client, len(wanted) - len(got))
    assert (heard, got) == (upstream_gets, client_gets)
    return upstream


@pytest.fixture
def struck(faultline, listener, dial):
    """A function that brings a relay to the strike of a row: the server and both ends."""
    with contextlib.ExitStack() as stack:

        def bring(verb, row, **options):
            at, trigger, *_ = row
            server = faultline.relay(address_of(listener), verb(at=at, **trigger, **options))
            client = dial(server)
            upstream = converse(client, lambda: stack.enter_context(accepted(listener)), row)
            return server, client, upstream

        yield bring


def check_strike(attempt, row):
    at, trigger, _, upstream_gets, client_gets = row
    assert attempt.struck.point == at
    if "after_bytes" in trigger:
        assert attempt.struck.after_bytes == trigger["after_bytes"]
    if at != "request":  # what came together with a match at `request` has been read
        assert attempt.sent_bytes == len(client_gets)
    if at == "response":
        assert attempt.received_bytes == len(upstream_gets)


def await_strike(server):
    """Return when the fault of the only attempt has struck."""
    deadline = time.monotonic() + 10
    while server.wait_for_attempts(1)[0].struck is None:
        assert time.monotonic() < deadline


def check_not_dialled(listener):
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        listener.accept()


# --- verbs that end the conversation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS, ids=name_of)
@pytest.mark.parametrize(("verb", "end"), [(reset, "RST"), (close, "FIN")])
def test_a_break_lets_exactly_so_much_pass_and_then_ends_both_connections(struck, listener, verb, end, row):
    server, client, upstream = struck(verb, row)

    assert to_end(client) == (b"", end)
    if upstream is None:
        check_not_dialled(listener)
    else:
        assert to_end(upstream) == (b"", "FIN")
    (attempt,) = server.wait_for_attempts(1, at="end")
    assert ending(attempt) == ("server", end)
    check_strike(attempt, row)


@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_a_half_close_lets_the_client_talk_on_to_the_relay_alone(struck, listener, row):
    server, client, upstream = struck(half_close, row)
    await_strike(server)

    assert to_end(client) == (b"", "FIN")
    client.sendall(b"still there?")
    client.close()
    if upstream is None:
        check_not_dialled(listener)
    else:
        assert to_end(upstream) == (b"", "FIN")
    (attempt,) = server.wait_for_attempts(1, at="end")
    assert ending(attempt) == ("client", "FIN")
    assert attempt.received_bytes == len(b"".join(ASKS[: row[2]])) + len(b"still there?")
    assert attempt.struck.point == row[0]


LATE = latency(0.001, direction="request")  # which parses the client's bytes
PARSED = pytest.mark.parametrize("also", [ok(), LATE], ids=["pumped", "parsed"])


@PARSED
def test_a_half_close_that_waits_leaves_the_upstream_alone_until_it_strikes(join, also):
    server, client, upstream = join(half_close(at="request", after_bytes=3, after_seconds=0.1) & also)
    client.sendall(b"ask")
    assert to_end(upstream) == (b"ask", "FIN")
    assert server.attempts[0].struck is not None
    upstream.close()

    assert to_end(client) == (b"", "FIN")
    client.close()
    (attempt,) = server.wait_for_attempts(1, at="end")
    assert attempt.struck.at_seconds - attempt.started_seconds >= 0.1


@PARSED
def test_the_end_of_the_upstream_does_not_pass_during_a_break(join, also):
    gate = Gate()
    server, client, upstream = join(stall(at="request", after_bytes=3, until=gate) & also)
    client.sendall(b"ask")
    await_strike(server)
    upstream.shutdown(socket.SHUT_WR)

    assert quiet(client)
    gate.open()
    assert to_end(client) == (b"", "FIN")


@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_a_stall_lets_nothing_pass_in_either_direction_until_the_client_leaves(struck, listener, row):
    server, client, upstream = struck(stall, row)
    await_strike(server)

    client.sendall(b"still there?")
    if upstream is not None:
        upstream.sendall(b"more")
        assert quiet(upstream)
    assert quiet(client)
    client.close()
    (attempt,) = server.wait_for_attempts(1, at="end")
    assert ending(attempt) == ("client", "FIN")
    assert attempt.waited_seconds > SILENCE_SECONDS
    check_strike(attempt, row)
    if upstream is None:
        check_not_dialled(listener)
    else:
        assert to_end(upstream) == (b"", "FIN")


@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_a_partition_keeps_all_that_the_client_says_from_being_acknowledged(struck, row):
    try:
        server, client, upstream = struck(partition, row)
    except UnsupportedError as error:
        pytest.skip(str(error))
    await_strike(server)

    client.sendall(b"still there?")
    assert quiet(client)
    assert unacknowledged_bytes(client) >= len(b"still there?")
    server.close()
    (attempt,) = server.attempts
    assert ending(attempt) == ("server", "stop")
    assert attempt.struck.point == row[0]
    if upstream is not None:
        assert to_end(upstream) == (b"", "FIN")


# --- verbs after which it goes on ------------------------------------------------------------------------------------


def until(sock, got, end):
    """Read on until what was got contains this."""
    while end not in got:
        data = sock.recv(1000)
        assert data, got
        got += data


def talk_on(client, upstream, turns=(1, 2, 3), heard=b"", got=b""):
    """Talk to the end, whatever is put in between: what the upstream and the client have got."""
    heard, got = bytearray(heard), bytearray(got)
    for number in turns:
        client.sendall(ASKS[number - 1])
        until(upstream, heard, b"-%d;" % number)
        upstream.sendall(ANSWERS[number - 1])
        until(client, got, b"-%d;" % number)
    client.shutdown(socket.SHUT_WR)
    heard += to_end(upstream)[0]
    upstream.close()
    got += to_end(client)[0]
    return bytes(heard), bytes(got)


@pytest.mark.parametrize("row", ROWS[:-1], ids=name_of)
def test_a_stall_for_some_time_loses_nothing(join, row):
    at, trigger, *_ = row
    server, client, upstream = join(stall(at=at, **trigger, for_seconds=0.02))

    assert talk_on(client, upstream) == (b"".join(ASKS), b"".join(ANSWERS))
    (attempt,) = server.wait_for_attempts(1, at="end")
    assert ending(attempt) == ("client", "FIN")
    assert attempt.struck.point == at
    assert (attempt.received_bytes, attempt.sent_bytes) == (len(b"".join(ASKS)), len(b"".join(ANSWERS)))


@pytest.mark.parametrize("row", SPOKEN, ids=name_of)
def test_a_stall_until_a_gate_opens_holds_both_directions_and_loses_nothing(struck, row):
    gate = Gate()
    server, client, upstream = struck(stall, row, until=gate)
    await_strike(server)
    upstream.sendall(b"of the upstream")
    client.sendall(b"of the client")

    assert quiet(client)
    assert quiet(upstream)
    gate.open()
    at, _, turn, upstream_gets, client_gets = row
    rest = b"".join(ASKS[:turn]).removeprefix(upstream_gets) + b"of the client"
    assert exactly(upstream, len(rest)) == rest
    rest = b"".join(ANSWERS[: turn - (at == "request")]).removeprefix(client_gets) + b"of the upstream"
    assert exactly(client, len(rest)) == rest
    assert server.attempts[0].struck.point == at


def test_a_client_that_half_closes_right_after_the_gate_has_opened_has_not_given_up(join):
    gate = Gate()
    server, client, upstream = join(stall(on=b"ask", until=gate))
    client.sendall(b"ask")
    assert exactly(upstream, 3) == b"ask"
    await_strike(server)
    busy = threading.Event()

    background().loop.call_soon_threadsafe(busy.wait)
    gate.open()
    client.shutdown(socket.SHUT_WR)
    busy.set()
    assert to_end(upstream) == (b"", "FIN")
    upstream.sendall(b"answer")
    assert exactly(client, 6) == b"answer"


def test_an_idle_stall_for_some_time_goes_on_afterwards(join):
    server, client, upstream = join(stall(at="idle", after_seconds=0.01, for_seconds=0.01))
    client.sendall(ASKS[0])
    assert exactly(upstream, 6) == ASKS[0]
    upstream.sendall(ANSWERS[0])
    assert exactly(client, 9) == ANSWERS[0]
    server.wait_for_attempts(1, at="idle")

    assert talk_on(client, upstream, (2, 3), ASKS[0], ANSWERS[0]) == (b"".join(ASKS), b"".join(ANSWERS))
    assert server.attempts[0].struck.point == "idle"


@pytest.mark.parametrize("row", SPOKEN, ids=name_of)
def test_injected_bytes_come_exactly_where_a_break_would(join, row):
    at, trigger, _, upstream_gets, client_gets = row
    server, client, upstream = join(inject(b"!", at=at, **trigger))
    asked, answered = b"".join(ASKS), b"".join(ANSWERS)
    if at == "request":
        asked = upstream_gets + b"!" + asked[len(upstream_gets) :]
    else:
        answered = client_gets + b"!" + answered[len(client_gets) :]

    assert talk_on(client, upstream) == (asked, answered)
    assert server.attempts[0].struck.point == at


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
            assert exactly(hearer, len(piece)) == piece

    strikes = b"COMMIT" in said
    rest = to_end(hearer, None if strikes else SILENCE_SECONDS)
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


def pour(sock, data):
    """Send all, or as much as the other side takes."""
    with contextlib.suppress(ConnectionError, ssl.SSLEOFError):  # how a RST looks to ssl, if it comes while it writes
        sock.sendall(data)


@pytest.mark.parametrize("count", [65_535, 65_536, 65_537, MIB])
@pytest.mark.parametrize(("verb", "end"), [(reset, "RST"), (close, "FIN"), (stall, "silence")])
def test_a_break_after_many_bytes_of_the_upstream_is_exact(join, verb, end, count):
    server, client, upstream = join(verb(after_bytes=count))
    data = os.urandom(MIB + 100_000)

    client.sendall(b"ask")
    assert exactly(upstream, 3) == b"ask"
    with in_thread(pour, upstream, data):
        assert exactly(client, count) == data[:count]
        assert to_end(client, SILENCE_SECONDS if end == "silence" else None) == (b"", end)
        client.close()
        server.wait_for_attempts(1, at="end")
    (attempt,) = server.attempts
    assert (attempt.struck.after_bytes, attempt.sent_bytes) == (count, count)


@pytest.mark.parametrize("count", [65_535, 65_536, 65_537, MIB])
@pytest.mark.parametrize(("verb", "end"), [(reset, "RST"), (close, "FIN"), (stall, "silence")])
def test_a_break_after_many_bytes_of_the_client_is_exact(join, verb, end, count):
    server, client, upstream = join(verb(at="request", after_bytes=count))
    data = os.urandom(MIB + 100_000)

    with in_thread(pour, client, data):
        assert exactly(upstream, count) == data[:count]
        if end == "silence":
            assert quiet(upstream)
            server.close()
        assert to_end(upstream) == (b"", "FIN")
    (attempt,) = server.wait_for_attempts(1, at="end")
    assert (attempt.struck.after_bytes, attempt.received_bytes) == (count, count)


def test_big_bodies_in_both_directions_at_once_arrive_whole(join):
    server, client, upstream = join()
    up, down = os.urandom(8 * MIB), os.urandom(8 * MIB)

    with in_thread(pour, client, up), in_thread(pour, upstream, down):
        got = []
        with in_thread(lambda: got.append(exactly(client, len(down)))):
            assert exactly(upstream, len(up)) == up
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


@pytest.mark.parametrize("plan", [None, latency(0)], ids=["pumped", "looked at"])
@pytest.mark.parametrize("slow", ["client", "upstream"])
def test_one_that_does_not_read_blocks_the_other_after_a_bounded_number_of_bytes(join, slow, plan):
    _, client, upstream = join(plan)
    sender, reader = (upstream, client) if slow == "client" else (client, upstream)
    sender.settimeout(0.3)

    sent = fill(sender)
    assert sent < kernel_bytes() + PIECE_BYTES
    sender.shutdown(socket.SHUT_WR)
    assert to_end(reader) == (bytes(sent), "FIN")


def fill(sock):
    """Send until it blocks for longer than the socket's timeout: how many bytes."""
    sent = 0
    with contextlib.suppress(TimeoutError):
        while True:
            sent += sock.send(bytes(MIB))
    return sent


def kernel_bytes():
    """What the kernel's buffers of two connections in one direction hold at most (tcp(7), tcp_rmem and tcp_wmem)."""
    sizes = []
    for name in ("tcp_rmem", "tcp_wmem"):
        with open(f"/proc/sys/net/ipv4/{name}", encoding="ascii") as file:  # noqa: PTH123 - a line of a kernel's file
            sizes.append(int(file.read().split()[2]))
    return 2 * sum(sizes)


# --- how connections end, passed on ----------------------------------------------------------------------------------

CONDITIONS = {
    "pumped": None,
    "looked at": latency(0, direction="both"),
    "armed": reset(at="request", after_bytes=10**6),
}


@pytest.mark.parametrize("plan", CONDITIONS.values(), ids=CONDITIONS)
@pytest.mark.parametrize("spoken", [False, True], ids=["at once", "after a turn"])
@pytest.mark.parametrize("how", ["FIN", "RST"])
@pytest.mark.parametrize("leaver", ["client", "upstream"])
def test_the_end_of_one_connection_is_passed_on_to_the_other(join, leaver, how, spoken, plan):
    server, client, upstream = join(plan, strict=False)
    if spoken:
        client.sendall(b"ask")
        assert exactly(upstream, 3) == b"ask"
        upstream.sendall(b"answer")
        assert exactly(client, 6) == b"answer"
    leaving, staying = (client, upstream) if leaver == "client" else (upstream, client)

    if how == "RST":
        send_rst(leaving)
    else:
        leaving.close()
    assert to_end(staying) == (b"", how)
    staying.close()
    (attempt,) = server.wait_for_attempts(1, at="end")
    assert ending(attempt) == (leaver, how)


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


@pytest.mark.parametrize("plan", CONDITIONS.values(), ids=CONDITIONS)
@pytest.mark.parametrize("first", ["client", "upstream"])
def test_a_reset_after_a_half_close_is_still_a_reset(join, first, plan):
    server, client, upstream = join(plan, strict=False)
    one, other = (client, upstream) if first == "client" else (upstream, client)
    one.shutdown(socket.SHUT_WR)
    assert to_end(other) == (b"", "FIN")

    send_rst(other)
    assert to_end(one) == (b"", "RST")
    resetter = "upstream" if first == "client" else "client"
    assert ending(server.wait_for_attempts(1, at="end")[0]) == (resetter, "RST")


def test_an_upstream_that_has_said_all_and_resets_then_is_told_to_a_client_that_talks_on(join):
    server, client, upstream = join()
    upstream.shutdown(socket.SHUT_WR)
    assert to_end(client) == (b"", "FIN")

    send_rst(upstream)
    client.sendall(b"and now to you")
    assert ending(server.wait_for_attempts(1, at="end")[0]) == ("upstream", "RST")


def test_a_client_that_resets_before_it_has_said_what_is_waited_for_has_left(join):
    server, client, upstream = join(reset(at="request"), strict=False)

    send_rst(client)
    assert to_end(upstream) == (b"", "RST")
    assert ending(server.wait_for_attempts(1, at="end")[0]) == ("client", "RST")


def test_an_upstream_of_another_machine_is_looked_up_by_its_name(faultline, dial, monkeypatch):
    real = faultline.serve(ok(b"found"))
    lookup = socket.getaddrinfo

    def look_up(host, port, *args, **options):
        host, port = real.address if (host, port) == ("db.example", 5432) else (host, port)
        return lookup(host, port, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    server = faultline.relay("db.example:5432", allow_remote=True)

    client = dial(server)
    client.sendall(GET)
    assert to_end(client)[0].endswith(b"found")


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
    assert exactly(client, 11) == b"220 ready\r\n"
    client.sendall(b"QUIT\r\n")
    assert exactly(upstream, 6) == b"QUIT\r\n"
    assert [turn.by for turn in server.attempts[0].turns] == ["server", "client"]


@pytest.mark.parametrize("how", ["FIN", "RST"])
def test_an_upstream_that_ends_at_once_is_seen_as_it_ends(faultline, listener, dial, how):
    server = faultline.relay(address_of(listener))
    client = dial(server)
    upstream = accepted(listener)

    send_rst(upstream) if how == "RST" else upstream.close()
    assert to_end(client) == (b"", how)
    client.close()
    assert ending(server.wait_for_attempts(1, at="end")[0]) == ("upstream", how)


def test_an_upstream_that_accepts_and_resets_before_the_relay_looks_was_reached(faultline, listener, dial, monkeypatch):
    server = faultline.relay(address_of(listener), on_upstream_failure="stall")
    free = threading.Event()
    open_wire = upstreams.open_wire

    def busily(loop, *args):
        loop.call_soon(free.wait, 10)  # between the connect and the turn in which it is seen to have come about
        return open_wire(loop, *args)

    monkeypatch.setattr(upstreams, "open_wire", busily)
    client = dial(server)
    send_rst(accepted(listener))
    free.set()
    assert to_end(client) == (b"", "RST")
    (attempt,) = server.wait_for_attempts(1, at="end")
    assert (*ending(attempt), attempt.note) == ("upstream", "RST", "")


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
    assert exactly(upstream, 3) == b"ask"
    upstream.sendall(b"answer")
    assert exactly(client, 6) == b"answer"
    server.pause()
    upstream.sendall(b"too large")
    send_rst(upstream)
    client.sendall(b"more")

    server.resume()
    assert to_end(client) == (b"too large", "RST")


def test_an_upstream_reset_that_comes_in_the_same_turn_as_an_interruption_is_a_reset(join):
    server, client, upstream = join()
    client.sendall(b"ask")
    assert exactly(upstream, 3) == b"ask"
    upstream.sendall(b"answer")
    assert exactly(client, 6) == b"answer"
    server.wait_for_attempts(1, at="response")
    busy = threading.Event()
    loop = background().loop
    (conversation,) = server._process.connections

    loop.call_soon_threadsafe(busy.wait)
    send_rst(upstream)
    loop.call_soon_threadsafe(conversation.pause)
    loop.call_soon_threadsafe(conversation.resume)
    busy.set()
    assert to_end(client) == (b"", "RST")


def test_a_client_that_closes_after_both_said_their_last_is_not_taken_for_one_that_resets(join):
    server, client, upstream = join(stall(on=b"x"))
    upstream.shutdown(socket.SHUT_WR)
    assert to_end(client) == (b"", "FIN")
    client.sendall(b"x")
    assert exactly(upstream, 1) == b"x"
    assert quiet(upstream)

    client.close()
    assert to_end(upstream) == (b"", "FIN")
    assert ending(server.wait_for_attempts(1, at="end")[0]) == ("client", "FIN")


@pytest.mark.parametrize("blocked", ["client", "upstream"])
@pytest.mark.parametrize("breaker", ["the client's RST", "the upstream's RST", "reset_all", "close"])
def test_a_break_reaches_a_connection_of_which_both_directions_are_blocked(join, blocked, breaker):
    server, client, upstream = join()
    for sock in (client, upstream):
        sock.settimeout(0.2)
        fill(sock)
        sock.settimeout(10)
    staying = upstream if blocked == "upstream" else client

    if breaker == "close":
        server.close()
    elif breaker == "reset_all":
        assert server.reset_all() == 1
    else:
        leaving = client if breaker == "the client's RST" else upstream
        staying = upstream if leaving is client else client
        send_rst(leaving)
    assert to_end(staying)[1] in ("RST", "FIN")
    if breaker.endswith("RST"):
        by = "client" if leaving is client else "upstream"
        assert ending(server.wait_for_attempts(1, at="end")[0]) == (by, "RST")


# --- upstreams that can't be reached ---------------------------------------------------------------------------------

SEEN = {"reset": (b"", "RST"), "close": (b"", "FIN"), "stall": (b"", "silence")}


@pytest.fixture(params=["nobody listens", "refused by faultline", "no such path", "no socket"])
def dead(request, faultline, tmp_path):
    """An upstream that can't be reached, and why."""
    if request.param == "nobody listens":
        return f"127.0.0.1:{settled_port()}", "[Errno 111] "
    if request.param == "refused by faultline":
        return faultline.serve(refuse()), "[Errno 111] "
    if request.param == "no such path":
        return str(tmp_path / "nothing"), "[Errno 2] "
    (tmp_path / "file").touch()
    return str(tmp_path / "file"), "[Errno 111] "


@pytest.mark.parametrize("on_failure", SEEN)
def test_a_client_whose_upstream_cannot_be_reached_meets_what_was_chosen(faultline, dial, dead, on_failure):
    upstream, why = dead
    server = faultline.relay(upstream, on_upstream_failure=on_failure)
    client = dial(server)

    assert to_end(client, SILENCE_SECONDS if on_failure == "stall" else None) == SEEN[on_failure]
    client.close()
    (attempt,) = server.wait_for_attempts(1, at="end")
    name = upstream if isinstance(upstream, str) else upstream.hostport
    assert attempt.note.startswith(f"the upstream {name} could not be reached: {why}")
    assert (
        ending(attempt)
        == {"reset": ("server", "RST"), "close": ("server", "FIN"), "stall": ("client", "FIN")}[on_failure]
    )
    assert attempt.struck is None


@pytest.mark.parametrize("on_failure", SEEN)
def test_an_upstream_that_dies_takes_only_later_connections_with_it(faultline, dial, on_failure):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = faultline.relay(address_of(listener), on_upstream_failure=on_failure)
        healthy = dial(server)
        upstream = accepted(listener)
    with upstream:
        lost = dial(server)
        assert to_end(lost, SILENCE_SECONDS if on_failure == "stall" else None) == SEEN[on_failure]

        healthy.sendall(b"ask")
        assert exactly(upstream, 3) == b"ask"
        upstream.sendall(b"answer")
        assert exactly(healthy, 6) == b"answer"


@pytest.mark.parametrize("on_failure", SEEN)
def test_a_black_hole_as_upstream_keeps_nobody_else_and_not_the_end(faultline, dial, on_failure):
    real = faultline.serve(sequence(ok(b"hello"), blackhole()))
    server = faultline.relay(real, on_upstream_failure=on_failure)
    first = dial(server)
    first.sendall(GET)
    assert to_end(first)[0].endswith(b"hello")
    first.close()
    server.wait_for_attempts(1, at="end")

    waiting = [dial(server) for _ in range(3)]
    server.wait_for_attempts(4)
    assert all(quiet(client) for client in waiting)
    real.become(ok(b"again"))
    later = dial(server)
    later.sendall(GET)
    assert to_end(later)[0].endswith(b"again")
    send_rst(waiting[0])
    server.wait_for_attempts(2, at="end")
    server.close()
    assert to_end(waiting[1])[1] == "FIN"


def test_a_client_that_resets_while_the_upstream_is_dialled_has_left(faultline, dial):
    real = faultline.serve(blackhole())
    server = faultline.relay(real)
    client = dial(server)
    server.wait_for_attempts(1)

    send_rst(client)
    (attempt,) = server.wait_for_attempts(1, at="end")
    assert ending(attempt) == ("client", "RST")
    assert attempt.note == ""


def test_an_upstream_comes_back_and_the_relay_need_not_know(faultline, dial):
    real = faultline.serve(sequence(refuse(), ok(b"hello")))
    server = faultline.relay(real)

    first = dial(server)
    assert to_end(first) == (b"", "RST")
    second = dial(server)
    second.sendall(GET)
    assert to_end(second)[0].endswith(b"hello")


def test_a_unix_socket_is_an_upstream(faultline, dial, tmp_path):
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        listener.settimeout(10)
        server = faultline.relay(path, reset(after_bytes=4))
        client = dial(server)
        with accepted(listener) as upstream:
            client.sendall(b"ask")
            assert exactly(upstream, 3) == b"ask"
            upstream.sendall(b"answer")
            assert to_end(client) == (b"answ", "RST")
            assert to_end(upstream) == (b"", "FIN")


def test_an_upstream_of_ipv6_is_an_upstream(faultline, dial):
    try:
        real = faultline.serve(ok(b"six"), host="::1")
    except library.PortError as error:
        pytest.skip(str(error))
    for upstream in (real, real.url):
        client = dial(faultline.relay(upstream, host="::1"))
        client.sendall(GET)

        assert to_end(client)[0].endswith(b"six")


# --- TLS -------------------------------------------------------------------------------------------------------------


def secured(server, client, name="localhost", protocols=()):
    """The client's end in TLS, as one that trusts the test CA."""
    context = server.client_context()
    if protocols:
        context.set_alpn_protocols(protocols)
    return context.wrap_socket(client, server_hostname=name, suppress_ragged_eofs=False)


@functools.cache
def upstream_context():
    return server_context(Certificate(), Terms(), "127.0.0.1")


def test_tls_passes_through_untouched_and_the_ledger_knows_what_was_asked_for(join):
    server, client, upstream = join()
    context = server.client_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing, server_hostname="db.test")
    with pytest.raises(ssl.SSLWantReadError):
        session.do_handshake()
    hello = outgoing.read()

    for piece in (hello[:1], hello[1:40], hello[40:]):
        client.sendall(piece)
        assert exactly(upstream, len(piece)) == piece
    assert (server.attempts[0].tls.sni, server.attempts[0].tls.offered) == ("db.test", ("h2", "http/1.1"))
    assert server.attempts[0].tls.version == ""
    noise = os.urandom(3000)
    upstream.sendall(noise)
    assert exactly(client, 3000) == noise


@pytest.mark.parametrize(
    "greeting", [b"GET / HTTP/1.1\r\n", b"\x16", b"\x16\x03", b"\x16\x02\x00", b"\0" * 10], ids=repr
)
def test_what_is_no_clienthello_passes_at_once_and_is_none_in_the_ledger(join, greeting):
    server, client, upstream = join()

    client.sendall(greeting)
    assert exactly(upstream, len(greeting)) == greeting
    assert server.attempts[0].tls is None


def test_a_fault_among_the_records_of_tls_that_passes_through_is_exact(faultline, dial):
    real = faultline.serve(ok(b"hello"), tls=True)
    server = faultline.relay(real, reset(after_bytes=100))
    client = dial(server)

    with pytest.raises(ConnectionResetError):
        secured(real, client)
    (attempt,) = server.wait_for_attempts(1, at="end")
    assert (attempt.struck.point, attempt.sent_bytes, attempt.tls.sni) == ("response", 100, "localhost")


@pytest.mark.parametrize("upstream_tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("client_tls", [False, True], ids=["plain", "terminated"])
def test_tls_is_spoken_on_either_side_as_chosen(faultline, dial, client_tls, upstream_tls):
    real = faultline.serve(ok(b"hello"), tls=upstream_tls)
    server = faultline.relay(real.url, tls="terminate" if client_tls else "through")
    client = dial(server)
    if client_tls:
        client = secured(server, client)

    with client:
        client.sendall(GET)
        got = exactly(client, 1000)
    assert got.endswith(b"\r\n\r\nhello")
    (attempt,) = server.attempts
    assert attempt.sent_bytes == len(got)
    assert attempt.received_bytes == len(GET)
    assert (attempt.tls is not None) == client_tls
    assert (real.attempts[0].tls is not None) == upstream_tls


@pytest.fixture
def in_tls(faultline, listener, dial):
    """A function that connects in TLS through a relay which terminates it: the server and both ends."""
    with contextlib.ExitStack() as stack:

        def joined(plan=None, **options):
            server = faultline.relay(address_of(listener), plan, tls="terminate", **options)
            client = stack.enter_context(secured(server, dial(server)))
            return server, client, stack.enter_context(accepted(listener))

        yield joined


@pytest.mark.parametrize("count", [0, 1, 7, 65_537])
@pytest.mark.parametrize(("verb", "end"), [(reset, "RST"), (close, "FIN")])
def test_a_break_inside_terminated_tls_counts_application_bytes_of_the_upstream(in_tls, verb, end, count):
    server, client, upstream = in_tls(verb(after_bytes=count))
    data = os.urandom(100_000)
    client.sendall(b"ask")
    assert exactly(upstream, 3) == b"ask"

    with in_thread(pour, upstream, data):
        seen = to_end(client)
    assert seen == (data[:count], end)
    assert (server.attempts[0].sent_bytes, server.attempts[0].struck.after_bytes) == (count, count)


@pytest.mark.parametrize("count", [1, 7, 65_537])
def test_a_break_inside_terminated_tls_counts_application_bytes_of_the_client(in_tls, count):
    server, client, upstream = in_tls(reset(at="request", after_bytes=count))
    data = os.urandom(100_000)

    with in_thread(pour, client, data):
        assert to_end(upstream) == (data[:count], "FIN")
    assert server.attempts[0].struck.after_bytes == count


@pytest.mark.parametrize("direction", ["request", "response"])
def test_words_are_found_inside_terminated_tls(in_tls, direction):
    server, client, upstream = in_tls(inject(b"!", at=direction, on=b"COMMIT"))
    speaker, hearer = (client, upstream) if direction == "request" else (upstream, client)

    speaker.sendall(b"COM")
    assert exactly(hearer, 3) == b"COM"
    speaker.sendall(b"MIT")
    assert exactly(hearer, 4) == b"MIT!"
    assert server.attempts[0].struck.after_bytes == 6


@pytest.mark.parametrize("how", ["FIN", "RST"])
@pytest.mark.parametrize("leaver", ["client", "upstream"])
def test_the_end_of_one_connection_is_passed_on_through_terminated_tls(in_tls, leaver, how):
    server, client, upstream = in_tls()
    client.sendall(b"ask")
    assert exactly(upstream, 3) == b"ask"
    upstream.sendall(b"answer")  # with the tickets of TLS 1.3 read, the client's close is a FIN
    assert exactly(client, 6) == b"answer"
    leaving, staying = (client, upstream) if leaver == "client" else (upstream, client)

    send_rst(leaving) if how == "RST" else leaving.close()
    assert to_end(staying) == (b"", how)
    staying.close()
    assert ending(server.wait_for_attempts(1, at="end")[0]) == (leaver, how)


def test_an_upstream_that_half_closes_first_hears_the_client_in_tls_to_its_end(in_tls):
    server, client, upstream = in_tls()
    upstream.sendall(b"answer")
    upstream.shutdown(socket.SHUT_WR)
    assert to_end(client) == (b"answer", "FIN")

    client.sendall(b"more")
    assert exactly(upstream, 4) == b"more"
    client.unwrap().close()
    assert to_end(upstream) == (b"", "FIN")
    (attempt,) = server.wait_for_attempts(1, at="end")
    assert (*ending(attempt), attempt.note) == ("upstream", "FIN", "")


def test_a_plain_client_that_half_closes_first_gets_the_answer_of_an_upstream_in_tls(faultline, listener, dial):
    server = faultline.relay(f"https://{address_of(listener)}")
    client = dial(server)

    def answer():
        with upstream_context().wrap_socket(accepted(listener), server_side=True) as upstream:
            assert exactly(upstream, 1000) == b"ask"
            upstream.sendall(b"answer")
            upstream.unwrap().close()

    with in_thread(answer):
        client.sendall(b"ask")
        client.shutdown(socket.SHUT_WR)
        assert to_end(client) == (b"answer", "FIN")
    assert ending(server.wait_for_attempts(1, at="end")[0]) == ("client", "FIN")


@pytest.mark.parametrize("on_failure", SEEN)
def test_an_upstream_that_speaks_no_tls_can_not_be_reached_in_tls(faultline, listener, dial, on_failure):
    server = faultline.relay(f"https://{address_of(listener)}", on_upstream_failure=on_failure)
    client = dial(server)

    with accepted(listener) as upstream:
        upstream.sendall(b"220 ready\r\n")
        assert to_end(client, SILENCE_SECONDS if on_failure == "stall" else None) == SEEN[on_failure]
    note = f"the upstream {address_of(listener)} could not be reached: wrong version number"
    assert server.attempts[0].note == note


def test_a_bad_certificate_is_shown_by_a_relay_that_terminates_tls(faultline, listener, dial):
    server = faultline.relay(address_of(listener), bad_cert("expired"), tls="terminate")

    with pytest.raises(ssl.SSLCertVerificationError, match="certificate has expired"):
        secured(server, dial(server))
    (attempt,) = server.wait_for_attempts(1, at="end")
    assert (attempt.struck.point, attempt.tls.alert) == ("handshake", "certificate_expired")
    check_not_dialled(listener)


def test_bad_terms_of_tls_are_offered_by_a_relay_that_terminates_it(faultline, listener, dial):
    server = faultline.relay(address_of(listener), bad_tls("alpn_mismatch"), tls="terminate")

    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        secured(server, dial(server), protocols=["h2"])
    assert server.wait_for_attempts(1, at="end")[0].tls.offered == ("h2",)
    check_not_dialled(listener)


def test_a_break_in_the_handshake_of_a_relay_that_terminates_tls_is_met(faultline, listener, dial):
    server = faultline.relay(address_of(listener), reset(at="handshake", after_bytes=10), tls="terminate")

    with pytest.raises(ConnectionResetError):
        secured(server, dial(server))
    assert server.attempts[0].struck.after_bytes == 10
    check_not_dialled(listener)


# --- plans, connection by connection ---------------------------------------------------------------------------------


def ends(listener, dial, server, count):
    """How so many connections end of which each says one word and hears one."""
    seen = []
    for _ in range(count):
        client = dial(server)
        with accepted(listener) as upstream:
            client.sendall(b"ask")
            exactly(upstream, 3)
            pour(upstream, b"answer")
            upstream.shutdown(socket.SHUT_WR)
            seen.append(to_end(client))
            client.close()
    return seen


HEALTHY, BROKEN, CUT = (b"answer", "FIN"), (b"", "RST"), (b"ans", "FIN")


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (sequence(reset(), close(after_bytes=3), ok()), [BROKEN, CUT, HEALTHY, HEALTHY]),
        (cycle(reset(), ok()), [BROKEN, HEALTHY, BROKEN, HEALTHY]),
        (sometimes(1, reset()), [BROKEN] * 3),
        (sometimes(0, reset()), [HEALTHY] * 3),
        (sequence(sometimes(1, close(after_bytes=3)), ok()), [CUT, HEALTHY]),
    ],
    ids=repr,
)
def test_a_plan_is_dealt_connection_by_connection(faultline, listener, dial, plan, expected):
    server = faultline.relay(address_of(listener), plan, strict=False)

    assert ends(listener, dial, server, len(expected)) == expected
    assert [attempt.connection for attempt in server.attempts] == list(range(1, len(expected) + 1))


def test_chance_with_a_seed_is_the_same_in_a_relay_as_in_a_server(faultline, listener, dial):
    plan = sometimes(0.5, reset(), seed=3)
    server, real = faultline.relay(address_of(listener), plan), faultline.serve(plan)
    seen = [end for _, end in ends(listener, dial, server, 8)]

    for _ in range(8):
        client = dial(real)
        client.sendall(GET)
        to_end(client)
    assert seen == ["RST" if a.struck else "FIN" for a in real.attempts]
    assert {"RST", "FIN"} == set(seen)


def test_a_relay_refuses_a_connection_as_any_server(faultline, listener, dial):
    server = faultline.relay(address_of(listener), sequence(refuse(), ok()))

    with pytest.raises(ConnectionRefusedError):
        dial(server)
    check_not_dialled(listener)
    listener.settimeout(10)
    assert ends(listener, dial, server, 1) == [HEALTHY]
    assert [ending(a) for a in server.wait_for_attempts(2, at="end")] == [("server", "RST"), ("upstream", "FIN")]


def test_a_relay_is_a_black_hole_as_any_server(faultline, listener, dial):
    server = faultline.relay(address_of(listener), sequence(blackhole(), ok()))

    with pytest.raises(TimeoutError):
        dial(server, 0.1)
    check_not_dialled(listener)
    listener.settimeout(10)
    assert ends(listener, dial, server, 1) == [HEALTHY]


def test_a_relay_is_where_no_route_leads_as_any_server(faultline, listener, dial):
    server = faultline.relay(address_of(listener), unreachable())

    with pytest.raises(OSError, match=r"\[Errno 101\]"):
        dial(server)
    check_not_dialled(listener)


def test_relays_stand_one_before_the_other(faultline, dial):
    real = faultline.serve(ok(b"hello"))
    far = faultline.relay(real, inject(b"HTTP/1.1 100 Continue\r\n\r\n", at="response"))
    near = faultline.relay(far, close(after_bytes=30))
    client = dial(near)
    client.sendall(GET)

    assert to_end(client) == (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/", "FIN")


def test_200_connections_are_held_and_reset_in_one_call(faultline, listener, dial):
    server = faultline.relay(address_of(listener))
    clients = [dial(server) for _ in range(200)]
    with contextlib.ExitStack() as stack:
        upstreams = [stack.enter_context(accepted(listener)) for _ in clients]
        for number, client in enumerate(clients):
            client.sendall(b"%03d" % number)
        assert sorted(exactly(upstream, 3) for upstream in upstreams) == [b"%03d" % n for n in range(200)]

        assert server.reset_all() == 200
        assert {to_end(client) for client in clients} == {(b"", "RST")}
        assert {to_end(upstream) for upstream in upstreams} == {(b"", "FIN")}
    assert {ending(attempt) for attempt in server.attempts} == {("server", "RST")}


# --- the guard, the drawing, bad values ------------------------------------------------------------------------------


def speak_too_little(listener):
    """A relay whose fault waits for more bytes than there are."""
    with relay(address_of(listener), reset(after_bytes=100)) as server:
        with socket.create_connection(server.address, 10) as client, accepted(listener) as upstream:
            client.sendall(b"hello")
            assert exactly(upstream, 5) == b"hello"
            upstream.sendall(b"world!")
            assert exactly(client, 6) == b"world!"
            client.close()
            assert to_end(upstream) == (b"", "FIN")
        server.wait_for_attempts(1, at="end")


def test_a_fault_that_never_struck_says_what_happened_instead(listener):
    with pytest.raises(NotStruckError) as raised:
        speak_too_little(listener)

    told = re.sub(r"after \d\.\d{3} s", "after … s", str(raised.value))
    assert told == (
        "reset(after_bytes=100) never struck: #1: reset(after_bytes=100) reached 'response', received 5 and sent 6 "
        "bytes, ended by the client (FIN) after … s. Strike after fewer bytes, or serve a longer answer. "
        "(strict=False allows it.)"
    )


def test_a_relay_that_nobody_used_says_so(listener):
    with pytest.raises(NotStruckError) as raised, relay(address_of(listener), reset()) as server:
        where = server.hostport

    assert str(raised.value) == f"reset() never struck: no client connected to {where}. (strict=False allows it.)"


def test_the_drawing_shows_the_upstream_as_the_server_and_who_ended_it(join, listener):
    server, client, upstream = join()
    client.sendall(b"hello")
    assert exactly(upstream, 5) == b"hello"
    upstream.sendall(b"world!")
    upstream.close()
    assert to_end(client) == (b"world!", "FIN")
    client.close()
    server.wait_for_attempts(1, at="end")

    lines = [re.sub(r"^ +\d+\.\d{3} s ", "", line) for line in server.drawing().splitlines()]
    assert lines == [
        f"relay tcp://{server.hostport} to {address_of(listener)} ok()",
        "#1 ok(), connection 1",
        f"|{'--- connect ':-<64}>|",
        f"|{'--- 5 bytes: hello ':-<64}>|",
        f"|{'<--- 6 bytes: world! ':-<65}|",
        f"|{'<--- FIN ':-<65}|",
        f"|{'--- FIN ':-<64}>|",
    ]


WHERE = "'127.0.0.1:5432', a URL, the path of a Unix socket, or a server of faultline"
HERE = "127.0.0.1:1"


TERMINATE = "expected relay(…, tls='terminate'); a relay that passes TLS through speaks none itself"


@pytest.mark.parametrize(
    ("upstream", "plan", "options", "message"),
    [
        ("", None, {}, f"upstream='': expected {WHERE}."),
        (5432, None, {}, f"upstream=5432: expected {WHERE}."),
        ("127.0.0.1", None, {}, f"upstream='127.0.0.1': expected a host and a port: {WHERE}."),
        (
            "192.0.2.1:80",
            None,
            {},
            "upstream='192.0.2.1:80': expected a server on this machine; allow_remote=True allows others.",
        ),
        (
            "https://db.example/",
            None,
            {},
            "upstream='https://db.example/': expected a server on this machine; allow_remote=True allows others.",
        ),
        (HERE, None, {"tls": True}, "tls=True: expected one of 'through', 'terminate', 'mutual'."),
        (
            HERE,
            None,
            {"tls": "terminated"},
            "tls='terminated': expected one of 'through', 'terminate', 'mutual'. Did you mean 'terminate'?",
        ),
        (
            HERE,
            None,
            {"on_upstream_failure": "rst"},
            "on_upstream_failure='rst': expected one of 'reset', 'close', 'stall'. Did you mean 'reset'?",
        ),
        (HERE, None, {"allow_remote": 1}, "allow_remote=1: expected True or False."),
        (HERE, None, {"strict": 1}, "strict=1: expected True or False."),
        (HERE, None, {"isolated": 1}, "isolated=1: expected True or False."),
        (HERE, None, {"port": -1}, "port=-1: expected a whole number, from 0 to 65535."),
        (
            HERE,
            bad_cert("expired"),
            {},
            f"bad_cert('expired'): {TERMINATE}.",
        ),
        (
            HERE,
            reset(at="handshake"),
            {},
            f"reset(at='handshake'): {TERMINATE}.",
        ),
        (
            HERE,
            stall(at="idle"),
            {},
            "stall(at='idle'): expected after_seconds more than 0; a relay knows 'idle' by silence alone.",
        ),
    ],
)
def test_a_value_that_can_mean_nothing_is_refused(upstream, plan, options, message):
    with pytest.raises(ParameterError) as raised:
        relay(upstream, plan, **options)

    assert type(raised.value) is ParameterError
    assert str(raised.value) == message


@pytest.mark.parametrize(
    "plan",
    [ok(b"x"), library.script(library.send(b"x")), library.when(lambda _request: True, reset())],
    ids=["answer", "script", "choice by the request"],
)
def test_where_the_upstream_answers_nothing_else_does(plan):
    with pytest.raises(ParameterError, match="; the upstream of a relay answers"):
        relay(HERE, plan)


@pytest.mark.parametrize("tls", ["through", "terminate"])
def test_nothing_is_dialled_until_a_client_comes(faultline, listener, tls):
    server = faultline.relay(f"https://{address_of(listener)}", tls=tls)
    assert server.attempts == ()

    server.close()
    check_not_dialled(listener)


def test_an_upstream_on_another_machine_that_is_allowed_is_not_dialled_either():
    dialled = []
    sys.addaudithook(lambda event, args: dialled.append(args[1]) if event == "socket.connect" else None)

    relay("192.0.2.1:80", allow_remote=True).close()
    relay("db.example:5432", allow_remote=True).close()
    assert dialled == []


# --- nothing is left -------------------------------------------------------------------------------------------------


def descriptors():
    """The open sockets of this process, without those that earlier tests have left to the collector."""
    gc.collect()
    links = []
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names are wanted
        with contextlib.suppress(FileNotFoundError):  # that of the folder itself
            links.append(os.readlink(f"/proc/self/fd/{name}"))  # noqa: PTH115
    return sum(link.startswith("socket:") for link in links)


def left_tasks(server):
    """What still goes on in the loop for servers."""
    loop = background().loop

    async def others():
        return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    return asyncio.run_coroutine_threadsafe(others(), loop).result(10)


STATES = {
    "reaching a black hole": ("black hole", {}),
    "agreeing on TLS with a mute upstream": ("https://", {}),
    "agreeing on TLS with a mute client": ("", {"tls": "terminate"}),
    "passing through": ("", {}),
    "stalled": ("", {"plan": stall(at="accept")}),
    "stalled for some time": ("", {"plan": stall(at="accept", for_seconds=60)}),
    "waiting before a strike": ("", {"plan": reset(at="accept", after_seconds=60)}),
    "late": ("", {"plan": latency(60, direction="both")}),
    "waiting for silence": ("", {"plan": reset(at="idle", after_seconds=60)}),
}


@pytest.mark.parametrize(("upstream", "options"), STATES.values(), ids=STATES)
def test_a_stop_in_any_state_leaves_nothing(listener, upstream, options):
    serve(ok()).close()  # the loop runs
    before, threads = descriptors(), set(threading.enumerate())
    hole = serve(blackhole(), strict=False)
    server = relay(hole if upstream == "black hole" else upstream + address_of(listener), strict=False, **options)
    with socket.create_connection(server.address, 10) as client:
        client.sendall(b"ask" if "tls" not in options else b"")
        server.wait_for_attempts(1)
        assert server.attempts[0].ended_by is None  # it has come as far as it comes

        server.close()
        assert to_end(client)[1] in ("FIN", "RST")
    assert left_tasks(server) == []
    hole.close()
    assert descriptors() == before
    assert set(threading.enumerate()) <= threads


def test_a_stop_while_the_upstream_is_dialled_closes_that_socket(listener):
    for _ in range(20):
        with relay(address_of(listener), strict=False) as server, socket.create_connection(server.address, 10):
            pass
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        gc.collect()
    assert [str(warning.message) for warning in told] == []


@pytest.mark.parametrize("how", ["FIN", "RST"])
@pytest.mark.parametrize("leaver", ["client", "upstream"])
def test_conversations_that_have_ended_leave_nothing(listener, leaver, how):
    with relay(address_of(listener)) as server:
        before = descriptors()
        for _ in range(20):
            with socket.create_connection(server.address, 10) as client, accepted(listener) as upstream:
                client.sendall(b"ask")
                assert exactly(upstream, 3) == b"ask"
                leaving, staying = (client, upstream) if leaver == "client" else (upstream, client)
                send_rst(leaving) if how == "RST" else leaving.close()
                assert to_end(staying) == (b"", how)
        server.wait_for_attempts(20, at="end")
        assert server.attempts[-1].ended_how == how
        assert (descriptors(), left_tasks(server)) == (before, [])
