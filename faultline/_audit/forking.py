"""The process that has the client loaded, and forks itself for each run of it.

Rules: it has one thread, so that a fork is whole. It alone kills and reaps the processes that it has forked, with all
that they have started; when the audit ends, or is killed, nothing is left.
"""

from __future__ import annotations

import array
import contextlib
import gc
import json
import os
import selectors
import signal
import socket
import sys
from typing import Any

from faultline._audit import left
from faultline._audit.calling import Job, load_lookups, work
from faultline._audit.target import Client, Target, TargetError

MOST_BYTES = 1 << 16  # of a message
FAILED = 70  # EX_SOFTWARE


class Forks:
    """The processes that were forked, each with the end of the pipe by which its exit status is told."""

    def __init__(self, channel: socket.socket, target: Target, client: Client, on_child: Any = signal.SIG_DFL) -> None:
        self._channel, self._target, self._client = channel, target, client
        self._on_child = on_child  # what the target has set for SIGCHLD, None if that is no function of Python
        self._selector = selectors.DefaultSelector()
        self._selector.register(channel, selectors.EVENT_READ)
        self._running: dict[int, tuple[int, int]] = {}  # number: process, pipe

    def serve(self) -> None:
        """Do what the audit says until it has gone."""
        while True:
            for key, _ in self._selector.select():
                if key.data is not None:
                    self._reap(key.data)
                elif not self._obey():
                    return

    def _obey(self) -> bool:
        message, numbers = received(self._channel)
        if not message:
            return False
        if "end" in message:
            self._kill(message["end"])
        else:
            self._fork(Job(**message), *numbers)
        return True

    def _fork(self, job: Job, results: int, output: int) -> None:
        if job.lookup is not None:
            load_lookups()
        pid = os.fork()
        if pid == 0:
            try:
                self._channel.close()
                self._selector.close()
                for _, pipe in self._running.values():
                    os.close(pipe)
                signal.signal(signal.SIGCHLD, self._on_child or signal.SIG_DFL)
                work(self._target, self._client, job, results, output)
                os._exit(0)
            except BaseException as error:  # noqa: BLE001 - it is the audit's own
                os.write(results, json.dumps({"failed": repr(error)}).encode() + b"\n")
            finally:
                os._exit(FAILED)
        os.close(output)
        self._running[job.number] = pid, results
        self._selector.register(os.pidfd_open(pid), selectors.EVENT_READ, job.number)

    def _kill(self, number: int) -> None:
        """Kill a process and what it has started, if it still runs."""
        for pid, results in filter(None, [self._running.get(number)]):
            pids = left.descendants(pid) | {pid}
            with contextlib.suppress(OSError):
                os.write(results, json.dumps({"is_busy": any(map(left.computes, pids))}).encode() + b"\n")
            left.kill_all(pids)

    def _reap(self, number: int) -> None:
        """Tell the exit status of a process that has ended, and kill what it has left behind."""
        pid, results = self._running.pop(number)
        for key in list(self._selector.get_map().values()):
            if key.data == number:
                self._selector.unregister(key.fd)
                os.close(key.fd)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        known = {pid for pid, _ in self._running.values()}
        left.kill_all(left.children(os.getpid()) - known)
        with contextlib.suppress(OSError):
            os.write(results, json.dumps({"status": status}).encode() + b"\n")
        os.close(results)

    def close(self) -> None:
        """Kill all that still runs."""
        left.kill_all(left.descendants(os.getpid()))


def received(channel: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """The next message, with the descriptors that came with it; empty if the other side has gone."""
    numbers: array.array[int] = array.array("i")
    room = socket.CMSG_SPACE(2 * numbers.itemsize)
    data, control, _, _ = channel.recvmsg(MOST_BYTES, room, socket.MSG_CMSG_CLOEXEC)
    for _, _, piece in control:
        numbers.frombytes(piece)
    return (json.loads(data) if data else {}), numbers.tolist()


def serve(channel: socket.socket, target: Target) -> None:
    """Load the target, say whether that went well, and fork until the audit has gone."""
    try:
        client = target.loaded()
    except TargetError as error:
        channel.send(json.dumps({"error": str(error)}).encode())
        return
    left.adopt_orphans()
    of_target = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # without which no exit status could be read
    gc.collect()
    gc.freeze()
    channel.send(json.dumps({"ready": os.getpid()}).encode())
    forks = Forks(channel, target, client, of_target)
    try:
        forks.serve()
    finally:
        forks.close()


def main(words: list[str]) -> None:
    """Serve on a descriptor that was handed down, for the target that the words describe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    left.end_with_parent()
    channel, data = socket.socket(fileno=int(words[0])), json.loads(words[1])
    try:
        serve(channel, Target(**data | {"expected": tuple(data["expected"])}))
    finally:
        os._exit(0)  # a thread that the target has started need not end


if __name__ == "__main__":
    main(sys.argv[1:])
