"""Rows with one server and at most one client: start and stop, one request, the lateness of a delay."""

from __future__ import annotations

import itertools
import socket
import statistics
import threading
import time
from contextlib import suppress

from children import in_a_child
from servers import ANSWER, COLUMNS, DELAY_SECONDS, GET

SECONDS = 0.5  # for each measurement
DELAYS = 40


def median_us(work):
    """How long it takes in microseconds, after a few times that don't count."""
    for _ in range(5):
        work()
    taken, until = [], time.perf_counter() + SECONDS
    while time.perf_counter() < until or len(taken) < 2:
        began = time.perf_counter()
        work()
        taken.append((time.perf_counter() - began) * 1e6)
    return statistics.median(taken)


def start(column):
    """Start a server, and stop it."""
    server = COLUMNS[column]

    def bare():
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()

    return {"start": median_us(bare if column == "kernel" else lambda: server("answer").close())}


def request(column):
    """Start a server, get one answer, and stop it."""
    server = COLUMNS[column]

    def bare():
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            with socket.create_connection(listener.getsockname(), 10) as client, listener.accept()[0] as accepted:
                client.sendall(GET)
                accepted.recv(1000)
                accepted.sendall(ANSWER)
                client.recv(1000)

    def whole():
        started = server("answer")
        ask(started.address)
        started.close()

    return {"request": median_us(bare if column == "kernel" else whole)}


def ask(address):
    """Get one answer."""
    with socket.create_connection(address, 10) as client:
        client.sendall(GET)
        if not client.recv(1000).startswith(b"HTTP/1.1 200"):
            raise RuntimeError


def delays(address):
    """How much later than its time each answer comes, in milliseconds."""
    found = []
    with socket.create_connection(tuple(address), 10) as client:
        for _ in range(DELAYS):
            began = time.perf_counter()
            client.sendall(GET)
            client.recv(1000)
            found.append((time.perf_counter() - began - DELAY_SECONDS) * 1000)
    return found[1:]


def delay(column):
    """Lateness while the main thread does nothing, and while it computes."""
    found = {}
    for name in ("idle", "busy"):
        with in_a_child(delays) as client:
            server = COLUMNS[column]("delay")
            client.tell(server.address)
            waiting = threading.Thread(target=lambda: found.update({name: client.answer()}))  # noqa: B023 - joined below
            waiting.start()
            if name == "busy":
                compute(waiting)
            waiting.join()
        with suppress(OSError):
            server.close()
    return found


def compute(waiting):
    """Compute in Python while a thread runs."""
    for number in itertools.count():
        sum(range(number % 1000))
        if not waiting.is_alive():
            return
