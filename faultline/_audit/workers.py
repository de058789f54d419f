"""The audit's side of the process that forks: start it, run a client in a fork of it, and hear what came of it."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any

from faultline._audit.calling import Job
from faultline._audit.fronts import Front
from faultline._audit.outcomes import Call, Left
from faultline._audit.target import Target, TargetError
from faultline._core import clock

LOADS_SECONDS = 60.0  # what a target may take to be imported
LOOKS_SECONDS = 0.2  # between looks whether the audit is to stop
CHUNK = 1 << 16
FAULTY = 70


class Workers:
    """The process that has the client loaded, for as long as the audit lasts."""

    def __init__(self, target: Target, environment: Mapping[str, str]) -> None:
        self._numbers, self._sending = count(), threading.Lock()
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.settimeout(LOADS_SECONDS)
        self._is_ready, self._name = False, str(target)
        with theirs:
            if target.given is None:
                self._process = started(target, theirs, environment)
            else:
                self._process = forked(target, theirs, environment, self._channel)

    def load(self, target: Target) -> None:
        """Wait until the target is loaded.

        Raises:
            TargetError: it can't be, or the process has ended meanwhile, or this takes too long.
        """
        try:
            told = self._channel.recv(CHUNK)
        except TimeoutError:
            raise TargetError(f"{target}: expected its import to end within {LOADS_SECONDS:g} s.") from None
        if not told:
            raise TargetError(f"{target}: the process ended while it was imported.")
        self._is_ready = True
        if error := json.loads(told).get("error"):
            raise TargetError(error)

    def run(self, met: Front, calls: int, limit_seconds: float, stop: threading.Event) -> Iterator[dict[str, Any]]:
        """Run the client in a process of its own: what it tells, until it has ended.

        A call that takes longer than `limit_seconds` is `hung`, and its process is killed.
        """
        number = next(self._numbers)
        results, theirs = os.pipe()
        output, printed = os.pipe()
        with contextlib.ExitStack() as files:
            files.callback(os.close, results)
            files.callback(os.close, output)
            with self._sending:
                job = Job(number, met.url, calls, dict(met.environment), met.lookup)
                try:
                    socket.send_fds(self._channel, [json.dumps(asdict(job)).encode()], [theirs, printed])
                except OSError:
                    raise TargetError(f"{self._name}: the process in which it is loaded has ended.") from None
                finally:
                    os.close(theirs)
                    os.close(printed)
            heard = Heard(results, output)
            files.callback(heard.close)
            yield from self._watched(heard, number, limit_seconds, stop)
            yield {"output_bytes": heard.output_bytes}

    def _watched(
        self, heard: Heard, number: int, limit_seconds: float, stop: threading.Event
    ) -> Iterator[dict[str, Any]]:
        ends = clock.now() + limit_seconds
        while clock.now() < ends and not stop.is_set():
            told = heard.next(min(LOOKS_SECONDS, max(0.0, ends - clock.now())))
            if told is not None:
                ends = clock.now() + limit_seconds
                yield told
                if "status" in told:
                    return
        yield {"hung": limit_seconds}
        with self._sending, contextlib.suppress(OSError):
            self._channel.send(json.dumps({"end": number}).encode())
        end: dict[str, Any] = {}
        while "status" not in end:
            end |= heard.next(LOOKS_SECONDS) or {}
        yield {name: end[name] for name in ("is_busy", "status") if name in end}  # a call that ends now is too late

    def cancel(self) -> None:
        """Wake the thread that waits until the target is loaded."""
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        """End the process, which ends all that it has forked; while it imports something, nothing else would."""
        self._channel.close()
        if not self._is_ready:
            os.kill(self._process.pid, signal.SIGKILL)
        self._process.end()


@dataclass(frozen=True)
class Process:
    """The process that forks; a program, or a fork of this one."""

    pid: int
    program: subprocess.Popen[bytes] | None = None

    def end(self) -> None:
        """Wait for its end, which follows from that of its channel."""
        if self.program is not None:
            self.program.wait()
        else:
            os.waitpid(self.pid, 0)


def started(target: Target, channel: socket.socket, environment: Mapping[str, str]) -> Process:
    """Start Python anew for a target that has a name, or is a command."""
    os.set_inheritable(channel.fileno(), True)
    words = [sys.executable, "-m", __name__.replace("workers", "forking"), str(channel.fileno())]
    program = subprocess.Popen(  # noqa: S603 - it is this Python
        [*words, json.dumps(asdict(target.named()))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[channel.fileno()],
        env={**os.environ, **environment},
        start_new_session=True,
    )
    return Process(program.pid, program)


def forked(target: Target, channel: socket.socket, environment: Mapping[str, str], other: socket.socket) -> Process:
    """Fork this process for a callable, which may have no name."""
    from faultline._audit import forking

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that there are threads; the fork uses none of theirs
        pid = os.fork()
    if pid == 0:
        try:
            other.close()
            os.setsid()
            faulthandler.disable()  # a client that crashes says nothing in the name of this process
            os.environ.update(environment)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            forking.serve(channel, target)
        finally:
            os._exit(0)
    return Process(pid)


class Heard:
    """What a process tells by its pipe, line by line; what it prints is counted and thrown away."""

    def __init__(self, results: int, output: int) -> None:
        self._results, self._output = results, output
        self._kept, self.output_bytes = b"", 0
        self._selector = selectors.DefaultSelector()
        for number in (results, output):
            os.set_blocking(number, False)
            self._selector.register(number, selectors.EVENT_READ)

    def next(self, seconds: float) -> dict[str, Any] | None:
        """The next line, if it comes within this time; an end without an exit status is a status too."""
        line, newline, rest = self._kept.partition(b"\n")
        if newline:
            self._kept = rest
            return dict(json.loads(line))
        for key, _ in self._selector.select(seconds):
            data = os.read(key.fd, CHUNK)
            if not data:
                self._selector.unregister(key.fd)
                if key.fd == self._results:
                    return {"status": FAULTY}
            elif key.fd == self._output:
                self.output_bytes += len(data)
            else:
                self._kept += data
        return None

    def close(self) -> None:
        """Close what waits; the pipes are the caller's."""
        self._selector.close()


def call_of(data: dict[str, Any]) -> Call:
    """A call, as the process told it."""
    return Call(**data | {"left": Left(**data["left"])})
