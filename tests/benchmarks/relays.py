"""Rows of relays: what a relay adds to one byte there and back, and how fast it is."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import statistics
import threading
import time

from children import in_a_child
from servers import in_loop, loop

ROUND_TRIPS = 3_000
FIRST = 200  # which don't count
STREAM_BYTES, PIECE_BYTES = 1 << 30, 262_144


def echo(_):
    """Say everything back, to one client after another."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()
        for _ in range(2):
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with connection:
                while data := connection.recv(100):
                    connection.sendall(data)


def round_trips(*addresses):
    """The medians of one byte there and back, in microseconds."""
    for address in addresses:
        taken = []
        with socket.create_connection(tuple(address), 10) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(FIRST + ROUND_TRIPS):
                began = time.perf_counter()
                client.sendall(b"x")
                client.recv(1)
                taken.append((time.perf_counter() - began) * 1e6)
        yield statistics.median(taken[FIRST:])


def pour(_):
    """Send a stream, to one client after another."""
    piece = bytes(PIECE_BYTES)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()
        for _ in range(2):
            with listener.accept()[0] as connection:
                for _ in range(STREAM_BYTES // PIECE_BYTES):
                    connection.sendall(piece)


def streams(*addresses):
    """How many bytes of a stream come in a second."""
    room = bytearray(PIECE_BYTES)
    for address in addresses:
        with socket.create_connection(tuple(address), 10) as client:
            began, left = time.perf_counter(), STREAM_BYTES
            while left:
                left -= client.recv_into(room)
        yield STREAM_BYTES / (time.perf_counter() - began)


def compared(upstream_does, client_does, by):
    """What a client measures directly, and through a relay."""
    with in_a_child(upstream_does) as upstream, in_a_child(client_does) as client:
        upstream.tell(None)
        address = tuple(upstream.answer())
        with by(address) as relayed:
            client.tell(address, relayed)
            return client.answer(), client.answer()


def relay(column):
    """What a relay adds to a direct connection."""
    direct, relayed = compared(echo, round_trips, RELAYS[column])
    return {"relay": relayed - direct}


def stream(column):
    """How fast a relay is, as a share of a direct connection."""
    direct, relayed = compared(pour, streams, RELAYS[column])
    return {"stream": relayed / direct}


@contextlib.contextmanager
def by_threads(upstream):
    """Bare sockets, with a thread for each direction."""

    def pump(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(262_144):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def run():
        client, _ = listener.accept()
        server = socket.create_connection(upstream)
        for sock in (client, server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=pump, args=(server, client), daemon=True).start()
        pump(client, server)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=run, daemon=True).start()
        yield listener.getsockname()


@contextlib.contextmanager
def by_sockets(upstream):
    """`loop.sock_…`, with a task for each direction."""

    async def pump(source, target):
        while data := await loop().sock_recv(source, 262_144):
            await loop().sock_sendall(target, data)
        target.shutdown(socket.SHUT_WR)

    async def run():
        client, _ = await loop().sock_accept(listener)
        server = socket.create_connection(upstream)
        for sock in (client, server):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.gather(pump(client, server), pump(server, client))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        running = asyncio.run_coroutine_threadsafe(run(), loop())
        yield listener.getsockname()
        running.cancel()


@contextlib.contextmanager
def by_protocols(upstream):
    """`asyncio.Protocol`, of which each writes what the other reads."""

    class Side(asyncio.Protocol):
        def __init__(self, other=None):
            self.other, self.early = other, b""

        def connection_made(self, transport):
            self.transport = transport
            if self.other is None:
                self.connecting = loop().create_task(loop().create_connection(lambda: Side(self), *upstream))
            else:
                self.other.other = self
                transport.write(self.other.early)

        def data_received(self, data):
            if self.other is None:
                self.early += data
            else:
                self.other.transport.write(data)

    server = in_loop(loop().create_server(Side, "127.0.0.1", 0))
    yield server.sockets[0].getsockname()
    loop().call_soon_threadsafe(server.close)


@contextlib.contextmanager
def by_streams(upstream):
    """`asyncio.start_server` and `open_connection`."""

    async def pump(reader, writer):
        while data := await reader.read(262_144):
            writer.write(data)
            await writer.drain()
        writer.write_eof()

    async def talk(reader, writer):
        reader_of_server, writer_of_server = await asyncio.open_connection(*upstream)
        await asyncio.gather(pump(reader, writer_of_server), pump(reader_of_server, writer))

    server = in_loop(asyncio.start_server(talk, "127.0.0.1", 0))
    yield server.sockets[0].getsockname()
    loop().call_soon_threadsafe(server.close)


@contextlib.contextmanager
def by_faultline(upstream):
    """A relay of faultline."""
    import faultline as fl

    with fl.relay("{}:{}".format(*upstream)) as relayed:
        yield relayed.address


RELAYS = {
    "kernel": by_threads,
    "raw": by_sockets,
    "protocol": by_protocols,
    "start_server": by_streams,
    "before": by_faultline,
    "faultline": by_faultline,
}
