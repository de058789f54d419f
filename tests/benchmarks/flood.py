"""Rows of fairness: how soon another server answers while three clients flood one, and how long `close` takes."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time

CLIENTS, ANSWERS, PATIENCE_SECONDS = 3, 30, 20
LAST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
CLIENT = """
import socket, sys, threading
client = socket.create_connection((sys.argv[1], int(sys.argv[2])))
client.sendall(bytes.fromhex(sys.argv[3]))
def read():
    while client.recv(1 << 20):
        pass
threading.Thread(target=read, daemon=True).start()
block = bytes.fromhex(sys.argv[4])
block *= (1 << 20) // len(block)
print("begun", flush=True)
while True:
    client.sendall(block)
"""


def flood(_):
    """The waits of a client for each flood, and the times that `close` took."""
    import faultline as fl

    floods = {
        "a body": (fl.ok(), POST, b"x"),
        "tiny chunks": (fl.ok(), CHUNKED, b"1\r\nx\r\n"),
        "a body with latency": (fl.latency(0.001, direction="both"), POST, b"x"),
        "pipelined requests": (fl.ok(), b"", GET),
        "receive_until": (fl.script(fl.receive_until(b"never")), b"", b"x"),
    }
    found = {"close": []}
    for name, (plan, first, block) in floods.items():
        with fl.serve(fl.ok()) as other, contextlib.ExitStack() as stack:
            server = fl.serve(plan, strict=False)
            for _ in range(CLIENTS):
                stack.enter_context(flooding(server, first, block))
            found[name] = [milliseconds(lambda: ask(other)) for _ in range(ANSWERS)]
            found["close"].append(milliseconds(server.close))
    return found


@contextlib.contextmanager
def flooding(server, first, block):
    """A process that sends `first`, and then `block` without end."""
    words = [sys.executable, "-c", CLIENT, *map(str, server.address), first.hex(), block.hex()]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        process.stdout.readline()
        yield
        process.kill()


def ask(server):
    """Get one answer of a server."""
    with socket.create_connection(server.address, PATIENCE_SECONDS) as client:
        client.sendall(LAST)
        client.recv(8)


def milliseconds(work):
    """How long it takes."""
    began = time.monotonic()
    work()
    return (time.monotonic() - began) * 1000
