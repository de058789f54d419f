"""What a relay costs beside a direct connection: throughput, a round trip, the lateness of a delay. Run as a script.

Clients and upstreams are processes of their own, so that only the relay shares the interpreter with the main thread.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import statistics
import threading
import time

from faultline import latency, relay

BYTES = 4 << 30
PIECE_BYTES = 262_144
ROUND_TRIPS = 10_000
DELAYS = 200
HELD = 1_000


@contextlib.contextmanager
def in_a_child(work, *arguments):
    """Do this in a process of its own; a function that waits for what it returns."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, json.dumps(work(*arguments)).encode())
        os._exit(0)
    os.close(writing)
    yield lambda: json.loads(os.read(reading, 1000))
    os.close(reading)
    os.waitpid(child, 0)


@contextlib.contextmanager
def upstream(talk):
    """A server for one connection, in a process of its own: its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve_one():
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with connection, contextlib.suppress(OSError):
                talk(connection)

        with in_a_child(serve_one):
            yield "{}:{}".format(*listener.getsockname())


def pour(connection):
    """Send it all."""
    piece = bytes(PIECE_BYTES)
    for _ in range(BYTES // PIECE_BYTES):
        connection.sendall(piece)


def echo(connection):
    """Say everything back."""
    while data := connection.recv(100):
        connection.sendall(data)


def gigabytes_per_second(hostport):
    """How fast it all comes."""
    host, port = hostport.split(":")
    room, began = bytearray(PIECE_BYTES), time.perf_counter()
    with socket.create_connection((host, int(port))) as client:
        while client.recv_into(room):
            pass
    return BYTES / (time.perf_counter() - began) / 1e9


def round_trips(hostport, count):
    """The median of one byte there and back, and the value that 99 of 100 stay under, in microseconds."""
    host, port = hostport.split(":")
    taken = []
    with socket.create_connection((host, int(port))) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(count):
            began = time.perf_counter()
            client.sendall(b"x")
            client.recv(1)
            taken.append((time.perf_counter() - began) * 1e6)
    return statistics.median(taken), sorted(taken)[count * 99 // 100]


def measured(talk, measure, *arguments, **relayed):
    """What a client measures, directly or through a relay."""
    with contextlib.ExitStack() as stack:
        hostport = stack.enter_context(upstream(talk))
        if relayed:
            hostport = stack.enter_context(relay(hostport, **relayed)).hostport
        return stack.enter_context(in_a_child(measure, hostport, *arguments))()


def throughput():
    """One stream, direct and through a relay, by turns."""
    pairs = [(measured(pour, gigabytes_per_second), measured(pour, gigabytes_per_second, port=0)) for _ in range(5)]
    ratios = sorted(relayed / direct for direct, relayed in pairs)
    direct = statistics.median(direct for direct, _ in pairs)
    print(f"one stream, direct: {direct:.1f} GB/s; through a relay: {statistics.median(ratios):.2f} of it", end="")
    print(f" ({ratios[0]:.2f} to {ratios[-1]:.2f} in {len(ratios)} runs)")


def round_trip():
    """One byte there and back."""
    direct, _ = measured(echo, round_trips, ROUND_TRIPS)
    relayed, _ = measured(echo, round_trips, ROUND_TRIPS, port=0)
    print(f"one byte there and back, median: direct {direct:.0f} us, relayed {relayed:.0f} us")


def busy_in_python():
    """Some work that the interpreter can interrupt."""
    sum(range(1000))


def busy_in_c(big=bytes(30_000_000)):
    """Some work that holds the interpreter."""
    big.count(b"no such thing")


def lateness():
    """How much later than 50 ms a byte comes, while the main thread does this or that."""
    for work in (None, busy_in_python, busy_in_c):
        for isolated in (False, True):
            found = []
            arguments = {"plan": latency(0.05), "isolated": isolated}
            thread = threading.Thread(
                target=lambda: found.extend(measured(echo, round_trips, DELAYS, **arguments))  # noqa: B023 - joined below
            )
            thread.start()
            while thread.is_alive():
                work() if work else thread.join()
            p50, p99 = ((value - 50_000) / 1000 for value in found)
            doing = work.__doc__ if work else "Nothing."
            print(f"latency(0.05), isolated={isolated}, main thread: {doing} late by {p50:.2f} ms, p99 {p99:.2f} ms")


def held():
    """A thousand connections reset in one call."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=4096))
        server = stack.enter_context(relay("{}:{}".format(*listener.getsockname())))
        for _ in range(HELD):
            stack.enter_context(socket.create_connection(server.address))
            stack.enter_context(listener.accept()[0])
        began = time.perf_counter()
        count = server.reset_all()
        print(f"{count} connections reset in one call: {(time.perf_counter() - began) * 1e3:.0f} ms")


if __name__ == "__main__":
    throughput()
    round_trip()
    lateness()
    held()
