"""How long a client of another server waits while three clients flood one server, and how long `close()` takes.

Run it as `python tests/benchmarks/fairness.py`; it prints milliseconds, and asserts nothing.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time

import faultline as fl

CLIENTS, ANSWERS, FLOOD_SECONDS = 3, 100, 20
LAST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
FLOODS = {
    "a body": (fl.ok(), POST, b"x"),
    "tiny chunks": (fl.ok(), CHUNKED, b"1\r\nx\r\n"),
    "a body with latency": (fl.latency(0.001, direction="both"), POST, b"x"),
    "pipelined requests": (fl.ok(), b"", GET),
    "receive_until": (fl.script(fl.receive_until(b"never")), b"", b"x"),
}
CLIENT = f"""
import socket, sys, threading, time
client = socket.create_connection((sys.argv[1], int(sys.argv[2])))
client.sendall(bytes.fromhex(sys.argv[3]))
def read():
    while client.recv(1 << 20):
        pass
threading.Thread(target=read, daemon=True).start()
block = bytes.fromhex(sys.argv[4])
block *= (1 << 20) // len(block)
end = time.monotonic() + {FLOOD_SECONDS}
print("begun", flush=True)
while time.monotonic() < end:
    client.sendall(block)
"""


@contextlib.contextmanager
def flooding(server, first, block):
    """A process that sends `first`, and then `block` without end."""
    words = [sys.executable, "-c", CLIENT, *map(str, server.address), first.hex(), block.hex()]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        process.stdout.readline()
        yield
        process.kill()


def answer_seconds(server):
    """How long a server takes for one request."""
    began = time.monotonic()
    with socket.create_connection(server.address, FLOOD_SECONDS) as client:
        client.sendall(LAST)
        client.recv(8)
    return time.monotonic() - began


def main():
    for name, (plan, first, block) in FLOODS.items():
        with fl.serve(fl.ok()) as other, contextlib.ExitStack() as stack:
            server = fl.serve(plan, strict=False)
            for _ in range(CLIENTS):
                stack.enter_context(flooding(server, first, block))
            waits = sorted(answer_seconds(other) * 1000 for _ in range(ANSWERS))
            began = time.monotonic()
            server.close()
            closing = (time.monotonic() - began) * 1000
        middle, late = waits[ANSWERS // 2], waits[-1 - ANSWERS // 100]
        print(f"{name}: p50 {middle:.1f} ms, p99 {late:.1f} ms, close {closing:.0f} ms", flush=True)


if __name__ == "__main__":
    main()
