"""Rows with thousands of clients that are held: memory, how fast they are accepted, and how fast the server stops."""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
import time
from pathlib import Path

from children import in_a_child
from servers import COLUMNS, GET

CLIENTS = 8_000
THREADS = 1_000  # as many clients has `http.server`, with a thread each
FIRST = 50  # clients that don't count


def connect(address, count, says):
    """Connect so many clients, of which each says a few bytes, and hold them."""
    more_descriptors()
    clients = []
    for _ in range(count):
        client = socket.create_connection(tuple(address), 30)
        if says:
            client.sendall(says.encode())
        clients.append(client)
    signal.pause()
    return len(clients)


def more_descriptors():
    """Raise the limit as far as it goes."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def resident_kib():
    """The memory of this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024


def crowd(column, doing):
    """Hold clients that have connected, or have sent a request too."""
    more_descriptors()
    count = THREADS if column == "http.server" else CLIENTS
    says = GET.decode() if doing == "request" else ""
    with in_a_child(connect) as first, in_a_child(connect) as clients:
        server = COLUMNS[column](doing)
        first.tell(server.address, FIRST, says)
        server.wait(FIRST)
        before, began = resident_kib(), time.perf_counter()
        clients.tell(server.address, count, says)
        server.wait(FIRST + count)
        taken = time.perf_counter() - began
        found = {f"{doing}_kib": (resident_kib() - before) / count, f"{doing}_rate": count / taken}
        began = time.perf_counter()
        server.close()
        found[f"{doing}_stop"] = (time.perf_counter() - began) * 1000 * CLIENTS / count
    return found


def accepted(column):
    """Clients that send nothing."""
    return crowd(column, "accept")


def requested(column):
    """Clients that send a request."""
    return crowd(column, "request")
