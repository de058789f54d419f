"""What a sweep of 60 breaks takes over loopback, and the relay of one run: `python tests/benchmarks/sweep.py`."""

from __future__ import annotations

import os
import socket
import statistics
import time

from faultline import close, receive_until, relay, repeat, reset, script, send, serve, sweep

LINE = receive_until(b"\n")
LINES = script(repeat(LINE, send(b"one\n")))
ROUNDS = 9
RELAYS = 500
WORDS = 8


def talk(address):
    """A client that asks for some lines on one connection."""
    with socket.create_connection(address, timeout=5) as client, client.makefile("rb") as file:
        for _ in range(WORDS):
            client.sendall(b"word\n")
            if not file.readline().endswith(b"\n"):
                raise EOFError


def sweep_of_60(upstream):
    """Seconds for 60 breaks, and the two untouched runs around them."""
    began, breaks = time.perf_counter(), 0
    for run in sweep(upstream, verbs=[reset(), close()], idle_seconds=60):
        with run(expected=(OSError, EOFError)) as server:
            talk(server.address)
        breaks += not run.is_untouched
    assert breaks >= 60, breaks
    return (time.perf_counter() - began) * 60 / breaks


def cost_of_a_relay(upstream):
    """Milliseconds to start the relay of a run and to stop it."""
    taken = []
    for _ in range(RELAYS):
        began = time.perf_counter()
        relay(upstream, reset(at="response", after_messages=9), strict=False).close()
        taken.append((time.perf_counter() - began) * 1e3)
    return statistics.median(taken)


def main():
    """Print the medians."""
    with serve(LINES, strict=False) as real:
        sweeps = [sweep_of_60(real.hostport) for _ in range(ROUNDS)]
        print(f"60 breaks: {statistics.median(sweeps):.2f} s, at most {max(sweeps):.2f} s of {ROUNDS}")
        print(f"the relay of a run: {cost_of_a_relay(real.hostport):.2f} ms")
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors")


if __name__ == "__main__":
    main()
