"""Conditions in front of an upstream: how late each chunk is, in which order, and whether all arrive.

The times are lower bounds: how much later they are is for the benchmark.
"""

import contextlib
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from support import accepted, address_of, connected, read, to_end

from faultline import (
    Fault,
    corrupt,
    drip,
    drop_bytes,
    duplicate,
    echo,
    latency,
    ok,
    one_way,
    relay,
    serve,
    slicer,
    slow_close,
    throttle,
)
from faultline._core.toxics import LimitData, ResetPeer, Timeout

TICK_SECONDS, TICKS, TICK_BYTES = 0.05, 16, 4
SAID = b"".join(b"%03d " % number for number in range(TICKS))
BULK = bytes(range(256)) * 4096


class Pushing:
    """What one side pushes and the other receives, with the times."""

    def __init__(self):
        self.said, self.heard = [], []  # the times of chunks, and of bytes
        self.got, self.ended, self.closed = b"", 0.0, 0.0

    def push(self, sock):
        """Send a chunk every 50 ms, and then the end."""
        for number in range(TICKS):
            self.said.append(time.monotonic())
            sock.sendall(b"%03d " % number)
            time.sleep(TICK_SECONDS)  # the pace of the upstream, and no wait for something
        self.closed = time.monotonic()
        sock.shutdown(socket.SHUT_WR)

    def hear(self, sock):
        """Read to the end, and note when each byte came."""
        while data := sock.recv(65_536):
            self.heard += [time.monotonic()] * len(data)
            self.got += data
        self.ended = time.monotonic()


@contextlib.contextmanager
def joined(fault, **options):
    """A relay with this fault, a client of it, and the upstream that the client has reached."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        relay(address_of(listener), fault, **options) as server,
        connected(server, 30) as client,
        accepted(listener) as upstream,
    ):
        yield server, client, upstream


def pushed(fault, direction):
    """A push through a relay in this direction."""
    run = Pushing()
    with joined(fault) as (_, client, upstream):
        speaker, hearer = (client, upstream) if direction == "request" else (upstream, client)
        pushing = threading.Thread(target=run.push, args=(speaker,))
        pushing.start()
        run.hear(hearer)
        pushing.join()
    return run


def late(run):
    """How late each byte was, after its chunk was sent."""
    return [heard - run.said[at // TICK_BYTES] for at, heard in enumerate(run.heard)]


def all_late(seconds):
    return lambda run: run.got == SAID and min(late(run)) >= seconds


def in_time(least):
    """Each byte came at least so long after the first chunk was sent, by its number."""
    return lambda run: (
        run.got == SAID and all(heard - run.said[0] >= least(at) - 1e-3 for at, heard in enumerate(run.heard))
    )


ROWS = {
    "latency": (latency, (0.2,), {}, all_late(0.2)),
    "latencies add up": (lambda **d: latency(0.15, **d) & latency(0.1, **d), (), {}, all_late(0.25)),
    "jitter": (latency, (0.1,), {"jitter_seconds": 0.05}, all_late(0.05)),
    "a long tail": (latency, (0.1,), {"jitter_seconds": 0.05, "distribution": "pareto"}, all_late(0.05)),
    "for a while": (
        latency,
        (0.3,),
        {"for_seconds": 0.2},
        lambda run: run.got == SAID and min(late(run)[: 3 * TICK_BYTES]) >= 0.3,
    ),
    "throttle": (throttle, (64,), {}, in_time(lambda at: (at + 1) / 64)),
    "drip": (drip, (2,), {"every_seconds": 0.03}, in_time(lambda at: at // 2 * 0.03)),
    "slicer": (slicer, (2,), {"every_seconds": 0.02}, in_time(lambda at: at // 2 * 0.02)),
    "slow_close": (slow_close, (0.3,), {}, lambda run: run.got == SAID and run.ended - run.closed >= 0.3),
    "one_way": (one_way, (), {}, lambda run: run.got == b"" and run.ended >= run.closed),
    "corrupt": (corrupt, (), {"at_byte": 5}, lambda run: run.got == SAID[:5] + b"1" + SAID[6:]),
    "drop_bytes": (drop_bytes, (6,), {"at_byte": 6}, lambda run: run.got == SAID[:6] + SAID[12:]),
    "duplicate": (duplicate, (6,), {"at_byte": 2}, lambda run: run.got == SAID[:8] + SAID[2:8] + SAID[8:]),
    "a chain": (
        lambda **d: latency(0.1, **d) & drip(2, every_seconds=0.01, **d) & corrupt(at_byte=0, **d),
        (),
        {},
        lambda run: run.got == b"1" + SAID[1:] and min(late(run)) >= 0.1,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["response", "request"])
def test_each_chunk_of_a_push_is_late_by_its_own_delay_and_in_order(direction):
    faults = {name: make(*args, **options, direction=direction) for name, (make, args, options, _) in ROWS.items()}
    with ThreadPoolExecutor(len(ROWS)) as pool:
        runs = dict(zip(ROWS, pool.map(lambda name: pushed(faults[name], direction), ROWS), strict=True))

    wrong = {name: (run.got, run.said, run.heard) for name, run in runs.items() if not ROWS[name][3](run)}
    assert wrong == {}


# What becomes of a bulk of bytes, and of the first of two words that are echoed, with the least time that each takes.
BULKS = {
    "latency": (latency(0.1), BULK, 0.1),
    "jitter": (latency(0.05, jitter_seconds=0.05), BULK, 0),
    "for a while": (latency(0.1, for_seconds=0.01), BULK, 0.1),
    "throttle": (throttle(4 << 20), BULK, len(BULK) / (4 << 20)),
    "drip": (drip(16_384, every_seconds=0.002), BULK, (len(BULK) / 16_384 - 1) * 0.002),
    "slicer": (slicer(16_384, variation_bytes=4096, every_seconds=0.001), BULK, 0),
    "slow_close": (slow_close(0.1), BULK, 0.1),
    "one_way": (one_way(), b"", 0),
    "corrupt": (corrupt(at_byte=5), BULK[:5] + bytes([BULK[5] ^ 1]) + BULK[6:], 0),
    "drop_bytes": (drop_bytes(600_000, at_byte=6), BULK[:6] + BULK[600_006:], 0),
    "duplicate": (duplicate(6000, at_byte=2), BULK[:6002] + BULK[2:], 0),
}
WORDS = {
    "latency": (latency(0.1), b"<one>", 0.1),
    "latencies add up": (latency(0.1) & latency(0.05), b"<one>", 0.15),
    "jitter": (latency(0.1, jitter_seconds=0.05), b"<one>", 0.05),
    "throttle": (throttle(50), b"<one>", 5 / 50),
    "drip": (drip(1, every_seconds=0.02), b"<one>", 4 * 0.02),
    "slicer": (slicer(1, every_seconds=0.02), b"<one>", 4 * 0.02),
    "corrupt": (corrupt(at_byte=1), b"<nne>", 0),
    "drop_bytes": (drop_bytes(2, at_byte=1), b"<e>", 0),
    "duplicate": (duplicate(2, at_byte=1), b"<onone>", 0),
}


def bulk_through(fault):
    """What comes of a bulk that the upstream sends at once, and how long it takes to its end."""
    with joined(fault) as (_, client, upstream):
        began = time.monotonic()
        pouring = threading.Thread(target=lambda: (upstream.sendall(BULK), upstream.shutdown(socket.SHUT_WR)))
        pouring.start()
        got, end = to_end(client, 30)
        took = time.monotonic() - began
        pouring.join()
    return got, end, took


@pytest.mark.slow
def test_each_condition_makes_of_a_bulk_what_it_says():
    for name, (fault, expected, least_seconds) in BULKS.items():
        got, end, took = bulk_through(fault)
        assert (name, got == expected, end) == (name, True, "FIN")
        assert took >= least_seconds - 1e-3, name


@pytest.mark.slow
def test_each_condition_makes_of_an_exchange_what_it_says():
    for name, (fault, expected, least_seconds) in WORDS.items():
        with serve(echo(), strict=False) as origin, relay(origin, fault) as server, connected(server, 30) as client:
            began = time.monotonic()
            client.sendall(b"<one>")
            assert (name, read(client, len(expected))) == (name, expected)
            assert time.monotonic() - began >= least_seconds - 1e-3, name
            client.sendall(b"<two>")
            assert (name, read(client, 5)) == (name, b"<two>")


@pytest.mark.slow
def test_each_exchange_is_late_once_in_each_direction():
    fault = latency(0.05, direction="request") & latency(0.1)
    with serve(echo(), strict=False) as origin, relay(origin, fault) as server, connected(server, 30) as client:
        for word in (b"<a>", b"<b>", b"<c>"):
            began = time.monotonic()
            client.sendall(word)
            assert client.recv(100) == word
            assert time.monotonic() - began >= 0.15


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["response", "request"])
def test_a_bulk_transfer_is_whole_and_in_order_through_a_chain(direction):
    fault = (
        latency(0.05, jitter_seconds=0.05, direction=direction)
        & slicer(9000, variation_bytes=500, direction=direction)
        & throttle(20_000_000, direction=direction)
    )
    with joined(fault) as (_, client, upstream), ThreadPoolExecutor(1) as pool:
        speaker, hearer = (client, upstream) if direction == "request" else (upstream, client)

        def say():
            speaker.sendall(BULK)
            speaker.shutdown(socket.SHUT_WR)

        saying = pool.submit(say)
        assert to_end(hearer, 30) == (BULK, "FIN")
        saying.result()


@pytest.mark.slow
def test_silence_earns_no_credit():
    with joined(throttle(1000)) as (_, client, upstream):
        time.sleep(0.2)  # the silence that is to earn nothing
        began = time.monotonic()
        upstream.sendall(b"x" * 200)
        upstream.shutdown(socket.SHUT_WR)
        assert to_end(client) == (b"x" * 200, "FIN")
        assert time.monotonic() - began >= 0.2


@pytest.mark.slow
def test_a_slow_flow_slows_its_sender_and_holds_little():
    with joined(throttle(1)) as (_, client, upstream):
        upstream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        upstream.settimeout(0.1)
        taken = 0
        with contextlib.suppress(TimeoutError):
            while taken < 64 << 20:
                taken += upstream.send(bytes(65_536))
        assert taken < 32 << 20  # what the kernel's buffers take, and no more
        client.close()


# --- live changes ----------------------------------------------------------------------------------------------------


def test_what_a_removed_condition_held_arrives_at_once_and_in_order():
    with joined(latency(60)) as (server, client, upstream):
        for word in (b"one ", b"two ", b"three "):
            upstream.sendall(word)
        server.wait_for_attempts(1, at="strike")
        server.become(ok(), open_too=True)
        upstream.sendall(b"four")
        upstream.shutdown(socket.SHUT_WR)
        client.shutdown(socket.SHUT_WR)
        assert to_end(client) == (b"one two three four", "FIN")


@pytest.mark.slow
def test_conditions_come_and_go_on_a_live_connection_and_lose_nothing():
    changes = [latency(0.01), latency(0.01) & slicer(3), slicer(3), throttle(10**6) & slicer(3), ok(), drip(50)]
    said = [b"%05d " % number for number in range(600)]
    with joined(ok(), strict=False) as (server, client, upstream), ThreadPoolExecutor(1) as pool:
        hearing = pool.submit(to_end, client, 30)
        for number, word in enumerate(said):
            if number % 10 == 0:
                server.become(changes[number // 10 % len(changes)], open_too=True)
            upstream.sendall(word)
        upstream.shutdown(socket.SHUT_WR)
        client.shutdown(socket.SHUT_WR)
        assert hearing.result() == (b"".join(said), "FIN")


@pytest.mark.parametrize("direction", ["response", "request"])
@pytest.mark.parametrize(
    ("toxic", "got", "how"),
    [
        (partial(LimitData, 10), SAID[:10], "FIN"),
        (partial(ResetPeer, 0.01), b"", "RST"),
        pytest.param(partial(Timeout, 0.3), b"", "FIN", marks=pytest.mark.slow),
    ],
)
def test_a_toxic_ends_both_connections(toxic, got, how, direction):
    fault = Fault(conditions=(toxic(direction=direction),))
    with joined(fault) as (server, client, upstream):
        speaker, hearer = (client, upstream) if direction == "request" else (upstream, client)
        speaker.sendall(SAID)
        assert to_end(hearer) == (got, how)
        assert to_end(speaker) == (b"", how)
        [attempt] = server.wait_for_attempts(1, at="end")
    assert (attempt.ended_by, attempt.ended_how) == ("server", how)
    assert attempt.struck.point == direction
