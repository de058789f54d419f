"""Each toxic, one row of a table: on chunks that are pushed at intervals, in an exchange, and on a bulk of bytes.

Bounds of time are lower bounds, so that a busy machine changes nothing.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support import PATIENCE_SECONDS, accepted, address_of, in_thread, read
from support.control import dialled

from faultline._front.control.toxics import TYPES

TICKS, TICK_SECONDS, TICK_BYTES = 16, 0.05, 40
SAID = b"".join(bytes([ord("a") + number]) * TICK_BYTES for number in range(TICKS))
CLOCKS = 0.002  # how far two of them differ
STREAMS = ("upstream", "downstream")


class Push:
    """Chunks that one side has pushed, and what has come of them at the other side."""

    def __init__(self, speaker, hearer):
        self.said, self.heard, self.got, self.how = [], [], b"", "FIN"
        with in_thread(lambda: self.push(speaker)):
            self.hear(hearer)
        self.ended = time.monotonic()

    def push(self, speaker):
        for at in range(0, len(SAID), TICK_BYTES):
            self.said.append(time.monotonic())
            with contextlib.suppress(OSError):  # a toxic may end the connection
                speaker.sendall(SAID[at : at + TICK_BYTES])
            time.sleep(TICK_SECONDS)
        self.closed = time.monotonic()
        with contextlib.suppress(OSError):
            speaker.shutdown(socket.SHUT_WR)

    def hear(self, hearer):
        try:
            while data := hearer.recv(65_536):
                self.heard += [time.monotonic()] * len(data)
                self.got += data
        except ConnectionResetError:
            self.how = "RST"

    def all_late(self, seconds):
        """Whether each byte has come, so much after it was sent."""
        late = [heard - self.said[at // TICK_BYTES] for at, heard in enumerate(self.heard)]
        return self.got == SAID and min(late) >= seconds - CLOCKS

    def paced(self, bytes_per_second):
        """Whether all has come, at this rate at most."""
        since = [heard - self.said[0] for heard in self.heard]
        return self.got == SAID and all(s >= (at + 1) / bytes_per_second - CLOCKS for at, s in enumerate(since))

    def ends(self, got, how, after):
        """Whether these bytes have come, and then this end, not before this time."""
        return (self.got, self.how) == (got, how) and self.ended >= after - CLOCKS


ROWS = {
    "latency": ({"latency": 100}, lambda run: run.all_late(0.1)),
    "latency that varies": ({"latency": 100, "jitter": 50}, lambda run: run.all_late(0.05)),
    "bandwidth": ({"rate": 1}, lambda run: run.paced(1000)),
    "slow_close": ({"delay": 200}, lambda run: run.all_late(0) and run.ended >= run.closed + 0.2 - CLOCKS),
    "timeout": ({"timeout": 300}, lambda run: run.ends(b"", "FIN", run.said[0] + 0.3)),
    "reset_peer": ({"timeout": 100}, lambda run: run.ends(b"", "RST", run.said[0] + 0.1)),
    "slicer": ({"average_size": 10, "size_variation": 3, "delay": 1000}, lambda run: run.all_late(0)),
    "limit_data": ({"bytes": 100}, lambda run: run.ends(SAID[:100], "FIN", run.said[2])),
    "packet_loss": ({"loss_rate": 1}, lambda run: run.ends(b"", "FIN", run.closed)),
    "noop": ({}, lambda run: run.all_late(0)),
    "fault": (
        {"plan": "sequence(reset(at={!r}, after_bytes=100), ok())"},
        lambda run: run.ends(SAID[:100], "FIN" if run.is_upstream else "RST", run.said[2]),
    ),
}
WHOLE = {
    "latency": {"latency": 20, "jitter": 20},
    "bandwidth": {"rate": 50_000},
    "slow_close": {"delay": 20},
    "slicer": {"average_size": 20_000, "size_variation": 5_000, "delay": 10},
    "limit_data": {"bytes": 1 << 40},
    "packet_loss": {"loss_rate": 0},
    "noop": {},
}


@pytest.fixture
def joined(ask):
    """A function that connects through a new proxy with a toxic: both ends, the source of its stream first."""
    with contextlib.ExitStack() as stack:

        def join(name, kind, stream, attributes):
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            listener.settimeout(PATIENCE_SECONDS)
            made = ask.make(name, address_of(listener))
            given = {"type": kind, "stream": stream, "attributes": attributes}
            assert ask("POST", f"/proxies/{name.replace(' ', '%20')}/toxics", given).status == 200
            ends = stack.enter_context(dialled(made)), stack.enter_context(accepted(listener))
            return ends if stream == "upstream" else ends[::-1]

        yield join


def test_the_table_has_each_type():
    assert {name.split()[0] for name in ROWS} == {*TYPES}
    assert {*WHOLE} <= {*TYPES}


@pytest.mark.slow
@pytest.mark.parametrize("stream", STREAMS)
def test_chunks_that_are_pushed_meet_each_toxic(joined, stream):
    at = "request" if stream == "upstream" else "response"
    given = {
        name: {key: value.format(at) if key == "plan" else value for key, value in attributes.items()}
        for name, (attributes, _) in ROWS.items()
    }
    ends = {name: joined(name, name.split()[0], stream, given[name]) for name in ROWS}
    with ThreadPoolExecutor(len(ROWS)) as pool:
        runs = dict(zip(ROWS, pool.map(lambda name: Push(*ends[name]), ROWS), strict=True))

    wrong = {}
    for name, run in runs.items():
        run.is_upstream = stream == "upstream"
        if not ROWS[name][1](run):
            wrong[name] = (run.got, run.how, run.said, run.heard, run.ended)
    assert wrong == {}


@pytest.mark.slow
@pytest.mark.parametrize("stream", STREAMS)
def test_a_bulk_comes_whole_and_in_order_through_each_toxic_that_keeps_bytes(joined, stream):
    data = os.urandom(1 << 21)
    for kind, attributes in WHOLE.items():
        source, sink = joined(kind, kind, stream, attributes)
        began = time.monotonic()
        with in_thread(lambda source=source: (source.sendall(data), source.shutdown(socket.SHUT_WR))):
            assert read(sink) == data, kind
        if kind == "bandwidth":
            assert time.monotonic() - began >= len(data) / 50_000_000


@pytest.mark.slow
@pytest.mark.parametrize("stream", STREAMS)
def test_an_exchange_meets_each_toxic_that_keeps_bytes_once_a_turn(joined, stream):
    for kind, attributes in WHOLE.items():
        source, sink = joined(kind, kind, stream, attributes | {"jitter": 0} if kind == "latency" else attributes)
        for number in range(3):
            word, began = b"<%d>" % number, time.monotonic()
            source.sendall(word)
            assert read(sink, 3) == word, kind
            if kind == "latency":
                assert time.monotonic() - began >= 0.02 - CLOCKS
            sink.sendall(word)
            assert read(source, 3) == word, kind
