"""What each toxic does to the bytes of a link, on a connection that is open already, and how it stops."""

from __future__ import annotations

import contextlib
import time

import pytest
from support import PATIENCE_SECONDS, accepted, address_of, has_news, is_quiet, read, to_end
from support.control import dialled

from faultline._servers.loop import background

TOXICS = "/proxies/line/toxics"
STREAMS = ("upstream", "downstream")


class Line:
    """A connection through a proxy, seen along one stream."""

    def __init__(self, ask, client, server):
        self.ask, self.client, self.server = ask, client, server
        self.source, self.sink = server, client
        self.stream = "downstream"

    def along(self, stream):
        """The same line, along this stream."""
        self.stream = stream
        ends = self.client, self.server
        self.source, self.sink = ends if stream == "upstream" else ends[::-1]
        return self

    def add(self, kind, attributes=None, **more):
        """Add a toxic."""
        made = self.ask("POST", TOXICS, {"type": kind, "stream": self.stream, "attributes": attributes, **more})
        assert made.status == 200, made
        return f"{TOXICS}/{made.data['name']}"

    def remove(self, toxic):
        """Remove a toxic."""
        assert self.ask("DELETE", toxic).status == 204

    def change(self, toxic, attributes, **more):
        """Change a toxic."""
        assert self.ask("PATCH", toxic, {"attributes": attributes, **more}).status == 200

    def passes(self, data=b"still here"):
        """Whether bytes pass."""
        self.source.sendall(data)
        return read(self.sink, len(data)) == data


@pytest.fixture
def connect(ask, listener):
    """A function that opens a line."""
    listener.settimeout(PATIENCE_SECONDS)
    made = ask.make("line", address_of(listener))
    with contextlib.ExitStack() as ends:

        def connected():
            client = ends.enter_context(dialled(made))
            return Line(ask, client, ends.enter_context(accepted(listener)))

        yield connected


@pytest.fixture(params=STREAMS)
def line(connect, request):
    """A line along each stream, which bytes have passed."""
    line = connect().along(request.param)
    assert line.passes()
    return line


@contextlib.contextmanager
def takes_at_least(seconds):
    began = time.monotonic()
    yield
    assert time.monotonic() - began >= seconds - 0.002  # of the clocks


def test_latency_delays_each_chunk_and_two_add_up(line):
    toxics = [line.add("latency", {"latency": 20}), line.add("latency", {"latency": 20}, name="second")]
    with takes_at_least(0.04):
        assert line.passes()
    line.change(toxics[0], {"latency": 0})
    with takes_at_least(0.02):
        assert line.passes()
    for toxic in toxics:
        line.remove(toxic)
    assert line.passes()


def test_latency_that_goes_lets_go_of_what_waits_in_order(line):
    toxic = line.add("latency", {"latency": 60_000, "jitter": 30_000})
    for number in range(10):
        line.source.sendall(bytes([number]) * 100)
    assert is_quiet(line.sink)
    line.remove(toxic)

    assert read(line.sink, 1000) == b"".join(bytes([number]) * 100 for number in range(10))


def test_latency_that_is_changed_lets_go_of_what_waits(line):
    toxic = line.add("latency", {"latency": 60_000})
    line.source.sendall(b"late")
    assert is_quiet(line.sink)
    line.change(toxic, {"latency": 1})

    assert read(line.sink, 4) == b"late"
    assert line.passes()


@pytest.mark.slow
def test_bandwidth_is_a_rate_and_0_lets_nothing_pass(line):
    toxic = line.add("bandwidth", {"rate": 100})
    with takes_at_least(0.02):
        assert line.passes(b"x" * 2_000)
    line.change(toxic, {"rate": 0})
    line.source.sendall(b"waits")
    assert is_quiet(line.sink)
    line.remove(toxic)

    assert read(line.sink, 5) == b"waits"


def test_slow_close_delays_the_end_alone(line):
    line.add("slow_close", {"delay": 50})
    assert line.passes()
    with takes_at_least(0.05):
        line.source.close()
        assert to_end(line.sink) == (b"", "FIN")


@pytest.mark.slow
def test_timeout_swallows_all_and_closes_some_time_after_the_last_chunk(line):
    line.add("timeout", {"timeout": 500})
    with takes_at_least(0.3):  # a chunk may come late, and a time that is over then is not begun again
        line.source.sendall(b"lost")
        assert to_end(line.sink) == (b"", "FIN")
    assert to_end(line.source)[1] in ("FIN", "RST")


def test_timeout_closes_also_if_nothing_is_sent(line):
    line.add("timeout", {"timeout": 20})

    assert to_end(line.sink) == (b"", "FIN")


def test_timeout_of_0_lasts_until_it_is_removed_which_closes_the_connection(line):
    toxic = line.add("timeout")
    line.source.sendall(b"lost")
    assert is_quiet(line.sink)
    line.remove(toxic)

    assert to_end(line.sink) == (b"", "FIN")


def test_reset_peer_resets_both_sides_after_its_time(line):
    with takes_at_least(0.03):
        line.add("reset_peer", {"timeout": 30})
        line.source.sendall(b"lost")
        assert to_end(line.sink) == (b"", "RST")
    assert to_end(line.source)[1] == "RST"


def test_reset_peer_acts_at_the_end_of_the_stream_too(line):
    line.add("reset_peer")
    line.source.shutdown(1)

    assert to_end(line.sink) == (b"", "RST")


def test_reset_peer_that_does_not_act_sends_no_rst(connect):
    line = connect()
    line.add("reset_peer", toxicity=0)
    assert line.passes()
    line.source.close()

    assert to_end(line.sink) == (b"", "FIN")


def test_slicer_sends_small_pieces(line):
    line.add("slicer", {"average_size": 100, "size_variation": 50, "delay": 10_000})
    data = bytes(range(256)) * 2
    begin = time.monotonic()
    line.source.sendall(data)

    assert read(line.sink, len(data)) == data
    assert time.monotonic() - begin >= 3 * 0.01  # from the first of at least four pieces to the last


def test_limit_data_closes_after_exactly_so_many_bytes_which_an_update_does_not_forget(line):
    toxic = line.add("limit_data", {"bytes": 5})
    assert line.passes(b"abc")
    line.change(toxic, {"bytes": 6})
    line.source.sendall(b"defghi")

    assert to_end(line.sink) == (b"def", "FIN")


def test_limit_data_of_0_closes_at_the_first_chunk(line):
    line.add("limit_data")
    assert is_quiet(line.sink)
    line.source.sendall(b"lost")

    assert to_end(line.sink) == (b"", "FIN")


@pytest.mark.slow
def test_packet_loss_loses_whole_chunks(line):
    toxic = line.add("packet_loss", {"loss_rate": 7})
    line.source.sendall(b"lost")
    assert is_quiet(line.sink)
    line.change(toxic, {"loss_rate": 0, "correlation": 1})  # as the one before was lost
    line.source.sendall(b"lost too")
    assert is_quiet(line.sink)
    line.change(toxic, {"correlation": 0})

    assert line.passes()


def test_noop_does_nothing(line):
    toxic = line.add("noop")
    assert line.passes()
    line.remove(toxic)

    assert line.passes()


@pytest.mark.slow
def test_toxicity_is_drawn_once_for_each_link(connect):
    lines = [connect() for _ in range(30)]
    toxic = lines[0].add("limit_data", {"bytes": 3}, toxicity=0.5)

    def met():
        """On which of the lines the toxic acts."""
        for line in lines:
            assert line.passes(b"abc")
        background().settle()
        return [has_news(line.sink) for line in lines]

    first = met()
    assert 2 < sum(first) < 28
    lines = [line for line, closed in zip(lines, first, strict=True) if not closed]
    lines[0].add("noop")  # a change of the chain
    assert not any(met())
    lines[0].change(toxic, {}, toxicity=1)
    for line in lines:
        line.source.sendall(b"too many already")
        assert to_end(line.sink) == (b"", "FIN")
