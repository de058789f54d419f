"""The wire: bytes in, bytes out, and how a client is seen to leave; over real sockets, on a loop of the test's own."""

from __future__ import annotations

import asyncio
import functools
import socket
import threading
from contextlib import suppress

import pytest

from faultline import Gate
from faultline._core import clock
from faultline._engine.pump import Pump
from faultline._net import ending, sockets, system
from faultline._net.departures import Departed, Departures, call_in, settle, wake
from faultline._net.hearing import SILENT_PEER_SECONDS, UNREAD_PATIENCE_SECONDS
from faultline._net.unix import UnixWire
from faultline._net.wire import Wire

PATIENCE_SECONDS = 10.0
MIB = 1 << 20


@pytest.fixture
def pair():
    """A client and the server's side of its connection."""
    with sockets.claim("127.0.0.1", 0) as door:
        system.start_listening(door)
        with (
            socket.create_connection(door.getsockname(), timeout=PATIENCE_SECONDS) as client,
            door.accept()[0] as server,
        ):
            sockets.prepare(server)
            yield client, server


@pytest.fixture
def play(pair):
    """Run a coroutine function with the wire of the server's side, on a loop of its own."""

    def run(function):
        async def main():
            loop = asyncio.get_running_loop()
            departures = Departures(loop)
            try:
                return await function(Wire(loop, pair[1], departures))
            finally:
                departures.close()

        return asyncio.run(main())

    return run


async def news_of(operation):
    """How an operation says that the client has left."""
    with pytest.raises(Departed) as raised:
        await operation
    return raised.value.how


def soon(function, *args):
    """Call it when the one who asks has begun to wait."""
    asyncio.get_running_loop().call_soon(function, *args)


def fill(sock):
    with suppress(BlockingIOError):
        while True:
            sock.send(bytes(65_536))


# --- bytes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("comes_later", [False, True])
def test_bytes_that_lay_there_when_they_were_counted_had_come_by_then(play, pair, comes_later):
    client, _ = pair

    async def scene(wire):
        client.sendall(b"abc")
        await wire.readable()
        while wire.unread_bytes() < 3:
            await wire.readable()
        counted = clock.now()
        if comes_later:
            client.sendall(b"def")
            while lying_bytes(wire) < 6:
                await wire.readable()
        await wire.receive(100)
        assert (wire.heard_at <= counted) is not comes_later
        client.sendall(b"g")
        await wire.receive(100)
        assert wire.heard_at > counted

    play(scene)


def lying_bytes(wire):
    """The number of unread bytes, which the wire doesn't take note of."""
    return system.unread_bytes(wire.sock)


def test_bytes_that_are_there_are_read_up_to_the_limit(pair, play):
    pair[0].sendall(b"hello")

    assert play(lambda wire: wire.receive(3)) == b"hel"
    assert play(lambda wire: wire.receive(100)) == b"lo"


def test_bytes_that_come_later_are_waited_for(pair, play):
    async def receive(wire):
        soon(pair[0].sendall, b"hello")
        return await wire.receive(100), wire.at_end

    assert play(receive) == (b"hello", False)


def test_end_of_what_the_client_sends_is_read_once_and_known(pair, play):
    async def receive(wire):
        soon(pair[0].shutdown, socket.SHUT_WR)
        return await wire.receive(100), wire.at_end

    assert play(receive) == (b"", True)


def test_next_thing_to_read_may_be_the_end(pair, play):
    async def look(wire):
        pair[0].sendall(b"x")
        await wire.readable()
        before = not wire.next_byte()
        await wire.receive(1)
        pair[0].close()
        await wire.readable()
        return before, not wire.next_byte()

    assert play(look) == (False, True)


def test_every_look_after_rst_is_news_of_it(pair, play):
    async def look(wire):
        ending.send_rst(pair[0])
        await wire.readable()
        with pytest.raises(Departed) as raised:
            wire.next_byte()
        return raised.value.how, str(raised.value)

    assert play(look) == ("RST", "RST")


def test_read_and_write_after_rst_are_news_of_it(pair, play):
    async def both(wire):
        ending.send_rst(pair[0])
        return await news_of(wire.receive(1)), await news_of(wire.send_some(memoryview(b"x")))

    assert play(both) == ("RST", "RST")


def test_input_that_is_discarded_may_end_with_rst(pair, play):
    async def discarded(wire):
        ending.send_rst(pair[0])
        await wire.readable()
        wire.discard_input()
        return await wire.departure(None)

    assert play(discarded) == "RST"


@pytest.mark.parametrize("look", ["look", "left", "departure"])
def test_each_way_to_read_after_a_look_at_a_rst_still_meets_the_rst(pair, play, look):
    client, _ = pair

    async def looked(wire):
        ending.send_rst(client)
        assert await wire.departure(None) == "RST"
        await wire.departure(None) if look == "departure" else getattr(wire, look)()
        with pytest.raises(Departed) as raised:
            wire.next_byte()
        sink = Wire(asyncio.get_running_loop(), socket.socket(), wire.departures)
        outcome = await Pump(wire, sink, bytes).run()
        sink.close()
        return await news_of(wire.receive(10)), raised.value.how, wire.left(), await wire.departure(None), outcome

    assert play(looked) == ("RST", "RST", "RST", "RST", "source reset")


def test_a_read_of_a_unix_socket_that_was_reset_says_so():
    async def main():
        departures = Departures(asyncio.get_running_loop())
        ours, theirs = socket.socketpair()
        with ours:
            ours.setblocking(False)
            ours.send(b"unread")
            theirs.close()
            try:
                return await news_of(UnixWire(asyncio.get_running_loop(), ours, departures).receive(10))
            finally:
                departures.close()

    assert asyncio.run(main()) == "RST"


def test_a_unix_socket_still_meets_a_rst_after_a_look_at_it():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    async def looked():
        departures = Departures(asyncio.get_running_loop())
        wire = UnixWire(asyncio.get_running_loop(), ours, departures)
        ours.send(b"unread")
        theirs.close()
        wire.look()
        try:
            return await news_of(wire.receive(10))
        finally:
            departures.close()

    with ours:
        assert asyncio.run(looked()) == "RST"


def test_wait_that_is_cancelled_leaves_nothing_watched(pair, play):
    async def cancel(wire):
        waiting = asyncio.ensure_future(wire.receive(1))
        soon(waiting.cancel)
        await asyncio.wait((waiting,))
        return waiting.cancelled(), asyncio.get_running_loop().remove_reader(wire.sock.fileno())

    assert play(cancel) == (True, False)


def test_bytes_that_find_no_room_wait_until_the_client_reads(pair, play):
    client, _ = pair
    reader = threading.Thread(target=lambda: [0 for _ in iter(lambda: client.recv(1 << 16), b"")])

    async def send(wire):
        fill(wire.sock)
        soon(reader.start)
        sent = await wire.send_some(memoryview(b"x"))
        ending.finish(wire.sock)
        return sent

    sent = play(send)
    reader.join()

    assert sent == 1


def test_rst_after_all_was_acknowledged_takes_nothing_away(pair, play):
    client, server = pair
    heard = []

    def read():
        count = 0
        try:
            while data := client.recv(1 << 16):
                count += len(data)
        except OSError as error:
            heard.append((count, type(error)))

    async def send(wire):
        view = memoryview(bytes(3 * MIB))
        while view:
            view = view[await wire.send_some(view) :]
        await wire.flush()
        ending.send_rst(server)

    reader = threading.Thread(target=read)
    reader.start()
    play(send)
    reader.join()

    assert heard == [(3 * MIB, ConnectionResetError)]


def test_waiting_for_acknowledgements_ends_when_the_client_resets(pair, play):
    async def flush(wire):
        fill(wire.sock)
        wire.sent_bytes = 100 * MIB
        soon(ending.send_rst, pair[0])
        return await news_of(wire.flush())

    assert play(flush) == "RST"


def test_pause_ends_when_somebody_wants_to_know(play):
    async def pause(wire):
        soon(wire.departures.hurry)
        soon(wire.departures.hurry)
        return await wire.departures.pause(1000)

    assert play(pause) is None


def test_closing_twice_is_closing_once(pair, play):
    async def close(wire):
        wire.close()
        wire.close()
        wire.on_readable(None)
        wire.on_writable(None)
        return wire.reset(), wire.finish()

    assert play(close) == (False, True)
    assert pair[1].fileno() == -1


# --- who leaves, and how ---------------------------------------------------------------------------------


@pytest.mark.parametrize("unread", [b"", b"unread"])
@pytest.mark.parametrize(("leave", "how"), [(socket.socket.close, "FIN"), (ending.send_rst, "RST")])
def test_client_is_seen_to_leave_though_nobody_reads(pair, play, leave, how, unread):
    async def departure(wire):
        pair[0].sendall(unread)
        soon(leave, pair[0])
        return await wire.departure(PATIENCE_SECONDS)

    assert play(departure) == how


def test_watching_reads_nothing(pair, play):
    async def departure(wire):
        pair[0].sendall(b"unread")
        soon(pair[0].close)
        return await wire.departure(PATIENCE_SECONDS), await wire.receive(100)

    assert play(departure) == ("FIN", b"unread")


def test_client_that_has_left_already_is_seen_too(pair, play):
    async def departure(wire):
        pair[0].close()
        await wire.readable()
        return await wire.departure(PATIENCE_SECONDS)

    assert play(departure) == "FIN"


def test_fin_that_was_read_is_no_news_but_the_rst_after_it_is(pair, play):
    async def departure(wire):
        pair[0].shutdown(socket.SHUT_WR)
        end = await wire.receive(1)
        soon(ending.send_rst, pair[0])
        return end, await wire.departure(PATIENCE_SECONDS)

    assert play(departure) == (b"", "RST")


@pytest.mark.parametrize("half_closed", [False, True])
def test_client_that_stays_is_no_news(pair, play, half_closed):
    async def departure(wire):
        if half_closed:
            pair[0].shutdown(socket.SHUT_WR)
            await wire.receive(1)
        return await wire.departure(0.01)

    assert play(departure) is None


def test_watching_a_connection_that_another_task_has_closed_ends_in_time(play):
    async def departure(wire):
        wire.close()
        return await wire.departure(0.01)

    assert play(departure) is None


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_watching_ends_when_a_gate_opens(play, when):
    gate = Gate()

    async def departure(wire):
        if when == "before":
            gate.open()
        soon(gate.open)
        return await wire.departure(None, gate)

    assert play(departure) is None


def test_gate_that_opens_when_all_is_over_is_no_error(play):
    gate = Gate()
    play(lambda wire: wire.departure(0.0, gate))
    gate.open()

    assert gate.is_open


def test_call_in_a_loop_that_is_gone_is_none():
    loop = asyncio.new_event_loop()
    loop.close()
    called = []
    call_in(loop, lambda: called.append(1))

    assert called == []


def test_wait_that_has_ended_can_be_ended_again(play):
    async def twice(_):
        future = asyncio.get_running_loop().create_future()
        wake(future)
        wake(future)
        return future.done(), future.result()

    assert play(twice) == (True, None)


def test_departure_is_told_once_though_the_kernel_goes_on_telling(pair, play):
    async def departure(wire):
        future = asyncio.get_running_loop().create_future()
        on_left = functools.partial(settle, future)
        watch = wire.departures.watch(wire, on_left)
        pair[0].close()
        first = await future
        watch.look()
        again = future.result()
        wire.departures.forget(watch, on_left)
        return first, again

    assert play(departure) == ("FIN", "FIN")


# --- Unix sockets ----------------------------------------------------------------------------------------------------


def test_a_wait_behind_the_last_byte_of_a_unix_socket_outlives_its_close():
    ours, theirs = socket.socketpair(socket.AF_UNIX)

    async def main():
        loop = asyncio.get_running_loop()
        departures = Departures(loop)
        ours.setblocking(False)
        wire = UnixWire(loop, ours, departures)
        wire.is_to_be_reset = True
        theirs.sendall(b"one")
        assert await wire.receive(MIB) == b"one"
        waiting = loop.create_task(wire.receive(MIB))
        await asyncio.sleep(0)
        theirs.sendall(b"two")
        departures.edges._on_arrivals([ours.fileno()])
        wire.close()  # by another task, before the wait goes on
        for _ in range(5):
            await asyncio.sleep(0)
        assert not waiting.done()  # whoever has closed it cancels the wait
        waiting.cancel()
        departures.close()

    with theirs:
        asyncio.run(main())


def test_a_wait_for_the_client_of_a_closed_socket_is_left_to_be_cancelled(play):
    async def departure(wire):
        wire.close()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(wire.departure(None), 0.01)

    play(departure)


# --- what the client has heard before a RST --------------------------------------------------------------------------


def test_a_client_that_has_spoken_is_ready_for_a_rst(pair, play):
    pair[0].sendall(b"hello")

    assert play(pauses_until_heard) == []


def test_a_silent_client_has_some_time_to_look_at_its_connect(play):
    assert play(seconds_until_heard) >= SILENT_PEER_SECONDS


@pytest.mark.parametrize("said", [b"", b"hello"], ids=["silent", "spoken"])
def test_a_client_reads_what_was_sent_before_a_rst(pair, play, said):
    pair[0].sendall(said)
    pair[1].sendall(b"hello")
    times = []

    async def heard(wire):
        pausing = wire.departures.pause

        async def pause(seconds):
            times.append(seconds)
            if len(times) == 3:
                pair[0].recv(5)
            await pausing(seconds)

        wire.departures.pause = pause
        await wire.hearing.until_heard()
        return wire.departures.peers.of(wire.sock).unread_bytes

    assert play(heard) == 0
    assert len(times) >= 3


def test_a_client_that_reads_nothing_is_not_waited_for(pair, play):
    pair[0].sendall(b"hello")
    pair[1].sendall(b"hello")

    assert play(seconds_until_heard) >= UNREAD_PATIENCE_SECONDS


@pytest.mark.parametrize("leave", [socket.socket.close, ending.send_rst])
def test_a_client_that_has_left_is_not_waited_for(pair, play, leave):
    leave(pair[0])

    assert play(pauses_until_heard) == []


def test_a_wire_that_is_closed_meanwhile_is_not_waited_for(play):
    async def closed(wire):
        wire.close()
        await wire.hearing.until_heard()
        return wire.left()

    assert play(closed) is None


async def seconds_until_heard(wire):
    """How long the wait before a RST takes."""
    began = asyncio.get_running_loop().time()
    await wire.hearing.until_heard()
    return asyncio.get_running_loop().time() - began


async def pauses_until_heard(wire):
    """The pauses of the wait before a RST."""
    pauses = []

    async def pause(seconds):
        pauses.append(seconds)

    wire.departures.pause = pause
    await wire.hearing.until_heard()
    return pauses


@pytest.mark.parametrize("sent", [b"", b"hello"])
def test_a_client_that_has_read_or_spoken_has_looked_at_its_connect(pair, play, sent):
    async def looked(wire):
        if sent:
            await wire.send_some(memoryview(sent))
            pair[0].recv(5)
        else:
            pair[0].sendall(b"hello")
        pauses = []
        wire.departures.pause = pauses.append
        await wire.hearing.until_looked()
        return pauses

    assert play(looked) == []


def test_a_client_that_has_heard_nothing_has_some_time_to_look_at_its_connect(play):
    async def looked(wire):
        began = asyncio.get_running_loop().time()
        await wire.hearing.until_looked()
        return asyncio.get_running_loop().time() - began

    assert play(looked) >= SILENT_PEER_SECONDS


@pytest.mark.parametrize("sent", [b"", b"hello"])
def test_a_client_that_says_and_reads_nothing_gets_its_time_once(play, sent):
    async def looked(wire):
        if sent:
            await wire.send_some(memoryview(sent))
        pauses, pausing = [], wire.departures.pause

        async def pause(seconds):
            pauses.append(seconds)
            await pausing(seconds)

        wire.departures.pause = pause
        await wire.hearing.until_looked()
        of_look = len(pauses)
        await wire.hearing.until_heard()
        return of_look, len(pauses) - of_look

    assert play(looked) == ((0, 11) if sent else (8, 0))  # few, because the loop makes each up to a millisecond longer


@pytest.mark.slow
@pytest.mark.everywhere
def test_many_that_wait_again_and_again_share_the_time(play):
    async def pause(wire):
        loop = asyncio.get_running_loop()
        others = [loop.create_task(wire.departures.pause(1000)) for _ in range(100)]
        await asyncio.sleep(0)
        began = loop.time()
        await wire.departures.pause(0.01)
        slow = loop.time() - began
        wire.departures.hurry()
        await asyncio.gather(*others)
        return slow

    assert play(pause) >= 0.09


def test_wire_with_ready_data_gives_way_to_the_others(pair, play):
    async def read(wire):
        loop, others = asyncio.get_running_loop(), []
        loop.call_soon(others.append, "had their turn")
        while not others:
            await wire.receive(1)
        return others

    pair[0].sendall(bytes(1000))
    assert play(read) == ["had their turn"]
