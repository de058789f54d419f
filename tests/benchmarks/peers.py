"""What a healthy server of faultline costs beside other fixtures, in one table: `tox -e peers`.

Each value is taken in a process of its own, in interleaved rounds; the table has the medians, and how many times the
value of bare sockets each is. Nothing is asserted: machines differ. Options: `--rounds 5`, `--rows start`, `--columns
faultline httpserver`.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import platform
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from functools import partial
from pathlib import Path

import relays
from children import in_a_child
from cost import rounded
from crowd import connect, resident_kib
from peer_fixtures import COLUMNS, DELAY_SECONDS, FIRST, HELD, Work

STARTS, SECONDS, DELAYS = 30, 1.0, 20
PATHS = {"httpbin": "/robots.txt"}  # which has the shortest body there
GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def asked(client, path):
    """One request, whose answer is read."""
    client.request("GET", path)
    response = client.getresponse()
    response.read()
    assert response.status == 200, response.status


def times(column, *, asks):
    """How long each of some servers takes, in ms, the first left out: it imports."""
    found = []
    for _ in range(STARTS + 1):
        began = time.perf_counter()
        with COLUMNS[column].serves(Work("answer")) as (host, port):
            if asks:
                with contextlib.closing(http.client.HTTPConnection(host, port, timeout=10)) as client:
                    asked(client, PATHS.get(column, "/"))
        found.append((time.perf_counter() - began) * 1000)
    return {"request" if asks else "start": found[1:]}


def rate(column):
    """Requests a second."""
    path = PATHS.get(column, "/")
    with (
        COLUMNS[column].serves(Work("answer")) as where,
        contextlib.closing(http.client.HTTPConnection(*where, timeout=10)) as client,
    ):
        asked(client, path)
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < SECONDS:
            asked(client, path)
            count += 1
        return {"rate": [count / (time.perf_counter() - began)]}


def held(column):
    """The memory of a client that is held, and how many come to that in a second."""
    work = Work("hold")
    with in_a_child(connect) as first, in_a_child(connect) as clients, COLUMNS[column].serves(work) as address:
        first.tell(address, FIRST, GET)
        work.wait(FIRST)
        before, began = resident_kib(), time.perf_counter()
        clients.tell(address, HELD, GET)
        work.wait(HELD)
        taken = time.perf_counter() - began
        found = {"held": [(resident_kib() - before) / HELD], "held_rate": [HELD / taken]}
        work.over.set()
    return found


def late(column):
    """How much later than its delay an answer comes, in ms."""
    if COLUMNS[column].late:
        with in_a_child(relays.echo) as upstream, in_a_child(late_trips) as client:
            upstream.tell(None)
            with COLUMNS[column].late(tuple(upstream.answer())) as relayed:
                client.tell(relayed)
                return {"late": client.answer()}
    found = []
    with (
        COLUMNS[column].serves(Work("delay")) as where,
        contextlib.closing(http.client.HTTPConnection(*where, timeout=10)) as client,
    ):
        for _ in range(DELAYS + 1):
            began = time.perf_counter()
            asked(client, "/")
            found.append((time.perf_counter() - began - DELAY_SECONDS) * 1000)
    return {"late": found[1:]}


def late_trips(address):
    """How much later than its delay a byte comes back, in ms."""
    found = []
    with socket.create_connection(tuple(address), 10) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(DELAYS + 1):
            began = time.perf_counter()
            client.sendall(b"x")
            client.recv(1)
            found.append((time.perf_counter() - began - DELAY_SECONDS) * 1000)
    return found[1:]


def relayed(column):
    """What a relay adds to a byte there and back, in us, and how fast a stream is, as a share of a direct one."""
    relay = COLUMNS[column].relays
    direct, through = relays.compared(relays.echo, relays.round_trips, relay)
    fast, slower = relays.compared(relays.pour, relays.streams, relay)
    return {"relay": [through - direct], "stream": [slower / fast]}


def grown(column):
    """KiB of the process after some servers."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times(column, asks=False)
    return {"kib": [float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)]}


def cpu_of_pytest(*words):
    """The CPU of a run of pytest with one test, in ms."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_one.py").write_text("def test_one():\n    pass\n", "utf-8")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words, folder]
        environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, cwd=folder, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000


def plugin(column):
    """What pytest takes longer with the plugin, in pairs of runs."""
    module = COLUMNS[column].module
    cpu_of_pytest("-p", module)  # writes what is compiled
    return {"plugin": [cpu_of_pytest("-p", module) - cpu_of_pytest() for _ in range(3)]}


# What is measured together: the rows that it gives, by their titles, and the columns that have it.
ROWS = {
    "start": (partial(times, asks=False), {"start": "start and stop, ms"}, lambda of: of.serves),
    "request": (partial(times, asks=True), {"request": "start, one request, stop, ms"}, lambda of: of.serves),
    "rate": (
        rate,
        {"rate": "requests a second of one client that keeps its connection"},
        lambda of: of.serves,
    ),
    "held": (
        held,
        {"held": f"KiB for each of {HELD} clients that wait for their answer", "held_rate": "such clients a second"},
        lambda of: of.serves and "hold" in of.works,
    ),
    "late": (late, {"late": "50 ms are late by, ms"}, lambda of: of.late or of.serves),
    "relay": (
        relayed,
        {
            "relay": "a relay adds to a byte there and back, us",
            "stream": "one stream through a relay, as a share of a direct one",
        },
        lambda of: of.relays,
    ),
    "kib": (grown, {"kib": "KiB of the process after 30 servers, beyond Python's own"}, lambda of: of.serves),
    "plugin": (plugin, {"plugin": "CPU of the loaded plugin, ms"}, lambda of: of.module),
}


def table(rows, columns, found):
    """The lines of the table, in Markdown; an x is how many times the value of the first column that has one."""
    lines = [["what is measured", *(COLUMNS[column].title for column in columns)]]
    for row in rows:
        for name, title in ROWS[row][1].items():
            values = [statistics.median(found[name, column]) if found[name, column] else None for column in columns]
            base = None if name == "kib" else next((value for value in values if value), None)
            lines.append([title, *(cell(value, base) for value in values)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines]


def cell(value, base):
    """A value, and how many times another it is."""
    if value is None:
        return ""
    return rounded(value) if base in (value, None) else f"{rounded(value)} ({rounded(value / base)} x)"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW")
    parser.add_argument("--columns", nargs="+", choices=COLUMNS, default=list(COLUMNS), metavar="COLUMN")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        row, column = options.one
        print(json.dumps(ROWS[row][0](column)))
        return
    columns, found, loads = [c for c in options.columns if COLUMNS[c].is_here], defaultdict(list), [os.getloadavg()[0]]
    for number in range(options.rounds):
        for row in options.rows:
            for column in columns:
                if not ROWS[row][2](COLUMNS[column]):
                    continue
                print(f"round {number + 1}: {row}, {column}", end="\033[K\r", file=sys.stderr, flush=True)
                words = [sys.executable, __file__, "--one", row, column]
                done = subprocess.run(words, capture_output=True, text=True, check=False)
                if done.returncode:
                    print(done.stderr, file=sys.stderr)
                    continue
                # Some of the servers print what they answer.
                for name, values in json.loads(done.stdout.splitlines()[-1]).items():
                    found[name, column] += values
    loads.append(os.getloadavg()[0])
    system = f"{platform.system()} {platform.release().partition('-')[0]}, CPython {platform.python_version()}"
    load = "load {:.1f} before and {:.1f} after".format(*loads)
    print(f"{os.cpu_count()} cores, {system}, {load}, {options.rounds} rounds\n")
    print("\n".join(table(options.rows, columns, found)))


if __name__ == "__main__":
    main()
