"""The pump between two sockets that the test holds: partial sends, interruptions at any moment, and every end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

from hypothesis import given
from hypothesis import strategies as st
from support.tables import each_row

from faultline._engine.pump import PIECE_BYTES, Pump
from faultline._net.departures import Departures
from faultline._net.wire import Wire


def tcp_pair():
    """Both ends of a connection over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    return one, other


def send_rst(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Bench:
    """A pump, the socket before it, the socket behind it, and what it has told of the bytes."""

    def __init__(self, loop, stack, *, over_tcp):
        self.loop = loop
        self.speaker, source = tcp_pair()
        # TCP has no full buffer to rely on: the kernel makes room as it likes.
        sink, self.hearer = tcp_pair() if over_tcp else socket.socketpair()
        for sock in (self.speaker, source, sink, self.hearer):
            sock.setblocking(False)
            stack.callback(sock.close)
        departures = Departures(loop)
        stack.callback(departures.close)
        self.source, self.sink = Wire(loop, source, departures), Wire(loop, sink, departures)
        self.told = bytearray()
        self.begin()

    def begin(self):
        """Pump from now on."""
        self.pump = Pump(self.source, self.sink, self.told.extend)
        self.task = self.loop.create_task(self.pump.run())

    async def hears(self, count):
        """So many bytes that have passed, or as many as there are before the end."""
        got = b""
        while len(got) < count and (data := await self.loop.sock_recv(self.hearer, count - len(got))):
            got += data
        return got

    def fill(self):
        """Have the sink full: how many bytes it took."""
        took = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                took += self.sink.sock.send(bytes(65_536))
        return took

    async def reads(self, count):
        """Return when the pump has read so many bytes."""
        while len(self.told) < count:  # noqa: ASYNC110 - a pump has no event for it
            await asyncio.sleep(0)


def on_bench(test, *, over_tcp=False):
    """Run a coroutine with a pump in a loop of its own."""

    async def run():
        with contextlib.ExitStack() as stack:
            bench = Bench(asyncio.get_running_loop(), stack, over_tcp=over_tcp)
            try:
                return await asyncio.wait_for(test(bench), 10)
            finally:
                bench.task.cancel()
                await asyncio.gather(bench.task, return_exceptions=True)

    with contextlib.closing(asyncio.SelectorEventLoop()) as loop:
        return loop.run_until_complete(run())


def test_what_one_says_the_other_hears_until_the_end():
    async def test(bench):
        bench.speaker.send(b"hello")
        assert await bench.hears(5) == b"hello"
        bench.speaker.send(b"again")
        bench.speaker.shutdown(socket.SHUT_WR)
        return await bench.hears(5), await bench.task, bytes(bench.told)

    assert on_bench(test, over_tcp=True) == (b"again", "end", b"helloagain")


def test_the_end_is_told_and_not_passed_on():
    async def test(bench):
        bench.speaker.close()
        outcome = await bench.task
        bench.sink.sock.send(b"still open")
        return outcome, await bench.hears(10)

    assert on_bench(test) == ("end", b"still open")


@each_row("plainly", [True, False])
def test_a_reset_of_the_source_is_told(plainly):
    async def test(bench):
        if not plainly:
            bench.speaker.send(b"hello")
            assert await bench.hears(5) == b"hello"
        send_rst(bench.speaker)
        return await bench.task

    assert on_bench(test) == "source reset"


@each_row("over_tcp", [False, True])
def test_a_reset_of_the_sink_is_told_when_bytes_come(over_tcp):
    async def test(bench):
        send_rst(bench.hearer)
        bench.speaker.send(b"hello")
        return await bench.task

    assert on_bench(test, over_tcp=over_tcp) == "sink reset"


def test_a_reset_of_the_sink_is_told_while_it_is_full():
    async def test(bench):
        bench.fill()
        bench.speaker.send(b"hello")
        await bench.reads(5)
        send_rst(bench.hearer)
        return await bench.task

    assert on_bench(test) == "sink reset"


def test_nothing_more_is_read_while_the_sink_is_full():
    async def test(bench):
        filled = bench.fill()
        bench.speaker.send(b"a")
        await bench.reads(1)
        bench.speaker.send(b"b" * 1000)
        await asyncio.sleep(0.02)
        read_while_full = len(bench.told)
        rest = await bench.hears(filled + 1001)
        return read_while_full, rest == bytes(filled) + b"a" + b"b" * 1000

    assert on_bench(test) == (1, True)


def test_at_most_one_piece_is_held_for_a_sink_that_is_full():
    async def test(bench):
        filled = bench.fill()
        sent = 0
        for _ in range(200):
            with contextlib.suppress(BlockingIOError):
                sent += bench.speaker.send(bytes(65_536))
            await asyncio.sleep(0)
        held = len(bench.told)
        rest = await bench.hears(filled + sent)
        return 0 < held <= PIECE_BYTES, len(rest) == filled + sent, len(bench.told) == sent

    assert on_bench(test) == (True, True, True)


def test_an_interruption_while_it_is_quiet_ends_it_at_once():
    async def test(bench):
        await asyncio.sleep(0)
        bench.pump.interrupt()
        outcome = await bench.task
        bench.speaker.send(b"later")
        await asyncio.sleep(0.005)
        return outcome, bytes(bench.told), bench.source.sock.recv(10)

    assert on_bench(test) == ("interrupted", b"", b"later")


def test_an_interruption_before_it_has_begun_lets_nothing_pass():
    async def test(bench):
        bench.task.cancel()
        await asyncio.gather(bench.task, return_exceptions=True)
        bench.speaker.send(b"hello")
        bench.begin()
        bench.pump.interrupt()
        return await bench.task, bench.source.sock.recv(10)

    assert on_bench(test) == ("interrupted", b"hello")


def test_an_interruption_with_bytes_left_over_waits_until_they_are_delivered():
    async def test(bench):
        filled = bench.fill()
        bench.speaker.send(b"left over")
        await bench.reads(9)
        bench.pump.interrupt()
        bench.speaker.send(b"unread")
        await asyncio.sleep(0.01)
        waits = not bench.task.done()
        passed = await bench.hears(filled + 9)
        return waits, passed[filled:], await bench.task, bench.source.sock.recv(10)

    assert on_bench(test) == (True, b"left over", "interrupted", b"unread")


def test_two_interruptions_are_one():
    async def test(bench):
        await asyncio.sleep(0)
        bench.pump.interrupt()
        bench.pump.interrupt()
        return await bench.task

    assert on_bench(test) == "interrupted"


def interrupt_with_what_comes(bench):
    """Interrupt in the very turn of the loop in which it also hears of what has come."""
    bench.loop.call_soon(bench.pump.interrupt)
    return bench.task


def test_an_interruption_in_the_turn_in_which_bytes_come_loses_none_of_them():
    async def test(bench):
        filled = bench.fill()
        bench.speaker.send(b"z" * 1000)
        outcome = await interrupt_with_what_comes(bench)
        rest = b""
        with contextlib.suppress(BlockingIOError):
            rest = bench.source.sock.recv(2000)
        passed = await bench.hears(filled + len(bench.told))
        return outcome, len(rest) + len(passed) - filled

    assert on_bench(test) == ("interrupted", 1000)


@each_row(("leave", "told"), [(send_rst, "source reset"), (socket.socket.close, "end")])
def test_an_interruption_in_the_turn_in_which_the_source_ends_loses_no_end(leave, told):
    async def test(bench):
        await asyncio.sleep(0)
        leave(bench.speaker)
        if await interrupt_with_what_comes(bench) == told:
            return told
        bench.begin()
        return await bench.task

    assert on_bench(test) == told


def test_a_reset_of_the_source_while_the_sink_is_full_is_told_after_what_came_before():
    async def test(bench):
        filled = bench.fill()
        bench.speaker.send(b"hello")
        await bench.reads(5)
        send_rst(bench.speaker)
        passed = await bench.hears(filled + 5)
        return passed[filled:], await bench.task

    assert on_bench(test) == (b"hello", "source reset")


def test_a_pump_that_has_ended_leaves_alone_who_reads_and_writes_next():
    async def test(bench):
        await asyncio.sleep(0)
        bench.pump.interrupt()
        read, written = bench.loop.create_future(), bench.loop.create_future()
        bench.source.on_readable(lambda: read.done() or read.set_result(None))
        bench.sink.on_writable(lambda: written.done() or written.set_result(None))
        await bench.task
        bench.speaker.send(b"hello")
        done, _ = await asyncio.wait((read, written), timeout=0.2, return_when=asyncio.ALL_COMPLETED)
        bench.source.on_readable(None)
        bench.sink.on_writable(None)
        return read in done, written in done

    assert on_bench(test) == (True, True)


def test_a_wakeup_without_anything_to_do_is_no_end():
    async def test(bench):
        await asyncio.sleep(0)
        bench.pump._on_readable()
        bench.speaker.send(b"hello")
        heard = await bench.hears(5)
        with contextlib.suppress(BlockingIOError):
            while True:
                bench.sink.sock.send(bytes(65_536))
        bench.speaker.send(b"more")
        await bench.reads(9)
        bench.pump._on_writable()
        still = bench.task.done()
        send_rst(bench.hearer)
        bench.pump._on_writable()
        return heard, still, await bench.task

    assert on_bench(test) == (b"hello", False, "sink reset")


def test_a_sink_that_takes_a_part_gets_the_rest_later():
    async def test(bench):
        bench.sink.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        filled = bench.fill()
        said = bench.speaker.send(bytes(30_000))
        await bench.reads(said)
        heard = len(await bench.loop.sock_recv(bench.hearer, 5000))
        bench.pump._on_writable()
        bench.speaker.close()
        heard += len(await bench.hears(filled + said - heard))
        return heard - filled - said, await bench.task

    assert on_bench(test) == (0, "end")


def test_a_cancelled_pump_reads_no_more():
    async def test(bench):
        await asyncio.sleep(0)
        bench.task.cancel()
        await asyncio.gather(bench.task, return_exceptions=True)
        bench.speaker.send(b"hello")
        await asyncio.sleep(0.005)
        return bytes(bench.told), bench.source.sock.recv(10)

    assert on_bench(test) == (b"", b"hello")


@given(st.lists(st.tuples(st.integers(1, 400_000), st.sampled_from(["say", "hear", "interrupt"])), max_size=12))
def test_whatever_is_said_heard_and_interrupted_nothing_is_lost(moves):
    async def test(bench):
        said, heard, counter = bytearray(), bytearray(), 0
        for size, move in moves:
            if move == "say":
                counter += 1
                data = bytes([counter]) * size
                with contextlib.suppress(BlockingIOError):
                    said += data[: bench.speaker.send(data)]
            elif move == "hear":
                with contextlib.suppress(BlockingIOError):
                    heard += bench.hearer.recv(size)
            else:
                bench.loop.call_soon(bench.pump.interrupt)
            await asyncio.sleep(0)
            if bench.task.done():
                bench.begin()
        while len(heard) < len(said):
            if bench.task.done():
                assert bench.task.result() == "interrupted"
                bench.begin()
            with contextlib.suppress(BlockingIOError):
                heard += bench.hearer.recv(1 << 20)
            await asyncio.sleep(0)
        return heard == said, bytes(bench.told) == bytes(said)

    assert on_bench(test, over_tcp=True) == (True, True)
