"""Run an audit: a server for each case, a client in a process of its own, and the observation of both."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import zip_longest
from typing import Any, TypeAlias

from faultline._audit.cases import Choice, Row, chosen, healthy
from faultline._audit.fronts import front
from faultline._audit.observed import Observation, Usual
from faultline._audit.outcomes import Call, Left
from faultline._audit.result import AuditCase
from faultline._audit.target import Target, TargetError
from faultline._audit.verdicts import Finding, judged, told
from faultline._audit.whole import is_whole
from faultline._audit.workers import Workers, call_of
from faultline._core import clock
from faultline._core.attempts import Attempt
from faultline._core.errors import FaultlineError, UnsupportedError
from faultline._net import system
from faultline._net.authority import AUTHORITY
from faultline._servers.server import Server
from faultline._servers.start import serve

LIMIT_SECONDS = 5.0
SLOWER_SECONDS = 1.0  # than a call may take is the slowest lookup
JOBS = 24  # clients at a time: most of them wait
SHARE = 0.25  # of its time limit that a client may spend on what it does when nothing breaks
READS_SECONDS = 2.0
ACCEPTS_SECONDS = 0.5  # that the server of a test may take to accept
ASKED = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
NO_PROXY = {"NO_PROXY": "*", "no_proxy": "*"}  # what the machine has is not what is audited
NO_LOOKUP = "the client looks names up by a program or a library of its own, and not by Python's socket."
NO_PROXY_USED = "the client doesn't use the proxy that HTTPS_PROXY and HTTP_PROXY name."
NO_THREADS = " (its process has none of the threads that its import has started)"
TRUST = (
    "the client doesn't trust the test CA: {}. It reads SSL_CERT_FILE, REQUESTS_CA_BUNDLE and the like, "
    "and a command has {{ca_file}}"
)


@dataclass(frozen=True)
class Setup:
    """What is audited, and how.

    Attributes:
        target: the client.
        choice: the cases.
        limit_seconds: the time after which a call counts as hung.
        runs: how often each case is run; two runs show whether they agree.
        jobs: how many clients run at a time.
    """

    target: Target
    choice: Choice = field(default_factory=Choice)
    limit_seconds: float = LIMIT_SECONDS
    runs: int = 1
    jobs: int = JOBS

    @property
    def rows(self) -> list[Row]:
        """The rows of the audit."""
        return chosen(self.choice)


Put: TypeAlias = Callable[[AuditCase | BaseException], None]


class Auditing:
    """An audit that runs; each result is handed to `put`, in the order in which they come."""

    def __init__(self, setup: Setup) -> None:
        system.need("processes")
        setup.target.check()
        self._setup = setup
        self._stop = threading.Event()
        self.rows = setup.rows
        self._usual: dict[bool, Usual] = {}
        self._untrusted = ""
        self._workers = Workers(setup.target, Variables().of(AUTHORITY.trust) | NO_PROXY)
        self._pool = ThreadPoolExecutor(setup.jobs, "faultline-audit")
        self._turns = threading.Semaphore(setup.jobs)

    def start(self, put: Put) -> None:
        """Learn what the client does when nothing breaks; then begin with all cases, the slow ones first."""

        def run(do: Callable[[], AuditCase | None]) -> None:
            try:
                if (result := do()) is not None:
                    put(result)
            except BaseException as error:  # noqa: BLE001 - it is raised where the results are read
                put(error)

        def begin() -> None:
            self._workers.load(self._setup.target)
            self._learn()
            for row in sorted(self.rows, key=lambda row: not row.is_slow):
                with contextlib.suppress(RuntimeError):  # the audit is closed already
                    self._pool.submit(run, partial(self.result, row))

        self._pool.submit(run, begin)

    def _learn(self) -> None:
        """Learn what the client does when nothing breaks.

        Raises:
            TargetError: it doesn't return then.
        """
        kinds = sorted({row.tls for row in self.rows})
        for tls in kinds:
            seen = self._observed(Row(healthy(), tls))
            if seen.first.outcome == "returned":
                self._check_asked(seen)
                self._usual[tls] = usual_of(seen, is_factory=self._setup.target.is_factory)
                self._turns = threading.Semaphore(jobs_for(seen.first.seconds, self._setup))
                continue
            why = f"it {told(seen.first)}" + f" ({seen.first.detail})" * bool(seen.first.detail)
            if seen.first.outcome == "hung":
                why += NO_THREADS
            if tls and False in kinds:
                self._untrusted = TRUST.format(why)
                continue
            hint = f": {TRUST.format(why)}" if tls else f"; {why}"
            raise TargetError(f"{self._setup.target}: expected it to return from a healthy server{hint}.")

    def _check_asked(self, seen: Observation) -> None:
        """Check that the client has connected: without a connection no case says anything about it.

        Raises:
            TargetError: it has not.
        """
        if not seen.attempts and not self._setup.choice.proxy:
            how = told(seen.first)
            raise TargetError(
                f"{self._setup.target}: expected the client to connect to the server of its URL; "
                f"it {how} without a connection."
            )

    def result(self, row: Row) -> AuditCase:
        """Run a case."""
        if row.tls and self._untrusted:
            return AuditCase(row, (Finding("not run", f"{self._untrusted}."),))
        try:
            with self._turns:
                runs = tuple(self._observed(row) for _ in range(self._setup.runs))
        except UnsupportedError as error:
            return AuditCase(row, (Finding("not run", str(error)),))
        if runs[0].was_met:
            return AuditCase(row, judged(runs), runs)
        return AuditCase(row, (Finding("not run", NO_LOOKUP if row.case.point == "lookup" else NO_PROXY_USED),))

    def _observed(self, row: Row) -> Observation:
        setup = self._setup
        calls: list[Call] = []
        begun: list[float] = []
        data: dict[str, Any] = {}
        waiting: tuple[Attempt, ...] = ()
        with front(row, setup.choice) as met:
            server = met.server
            for told_now in self._workers.run(met, row.calls, setup.limit_seconds, self._stop):
                data |= told_now
                if "begin" in told_now:
                    begun.append(told_now["at_seconds"])
                if "call" in told_now:
                    calls.append(call_of(told_now["call"]))
                if "hung" in told_now:
                    calls.append(Call("hung", seconds=setup.limit_seconds))
                    waiting = server.attempts  # what comes now is the end of a process that is killed
            if row.case.fault.is_healthy:
                let_accept(server)
            is_counted = not server._uncounted  # noqa: SLF001 - it is a question of the package's own
            started = clock.now() - server.ledger.now()
        if "failed" in data:
            raise TargetError(
                f"{setup.target}: expected a client that can be called in a process of its own; {data['failed']}."
            )
        attempts = waiting or server.attempts
        calls = with_end(calls, len(begun), data)
        return Observation(
            row.case,
            row.tls,
            tuple(counted_until(calls, [seconds - started for seconds in begun[1:]], attempts)),
            attempts,
            self._usual.get(row.tls, Usual()),
            setup.choice.protocol,
            self._whole(row) if calls[0].outcome == "returned" else None,
            is_counted,
            setup.limit_seconds,
            data.get("output_bytes", 0),
            was_met(row, setup.choice, calls, attempts, data.get("lookups", 1)),
        )

    def _whole(self, row: Row) -> bool | None:
        """Whether what the server sends is a whole response, as a plain client reads it to its end."""
        choice = self._setup.choice
        if choice.protocol != "http" or choice.proxy or row.case.sees != "end of stream" or row.case.fault.needs_tls:
            return None
        with contextlib.closing(serve(row.case.fault, strict=False)) as server:
            return is_whole(read_whole(server))

    def close(self) -> None:
        """End what still runs, and leave no process."""
        self._stop.set()
        self._workers.cancel()
        self._pool.shutdown(cancel_futures=True)
        self._workers.close()


def let_accept(server: Server) -> None:
    """Wait for a first attempt: the server may be later than a client that has ended."""
    with contextlib.suppress(FaultlineError):
        server.wait_for_attempts(1, timeout_seconds=ACCEPTS_SECONDS)


def jobs_for(seconds: float, setup: Setup) -> int:
    """How many clients run at a time, of which one takes this long by itself: not so many that they are late."""
    cores = len(os.sched_getaffinity(0))
    return max(1, min(setup.jobs, int(cores * setup.limit_seconds * SHARE / max(seconds, 1e-3))))


class Variables:
    """What would be set in the environment."""

    def __init__(self) -> None:
        self._set: dict[str, str] = {}

    def setenv(self, name: str, value: str) -> None:
        """Keep a variable."""
        self._set[name] = value

    def of(self, setting: Callable[[Variables], None]) -> dict[str, str]:
        """The variables that a function sets."""
        setting(self)
        return self._set


def counted_until(calls: list[Call], ends: list[float], attempts: tuple[Attempt, ...]) -> Iterator[Call]:
    """The calls, each with the number of attempts before the begin of the next."""
    for call, end in zip_longest(calls, ends[: len(calls) - 1], fillvalue=None):
        assert call is not None
        yield replace(call, attempts=sum(end is None or attempt.started_seconds < end for attempt in attempts))


def with_end(calls: list[Call], begun: int, data: dict[str, Any]) -> list[Call]:
    """The calls, with what the process told at its end: which call ended it, which call hung, and what is left."""
    if calls and calls[-1].outcome == "hung":
        return [*calls[:-1], replace(calls[-1], is_busy=data.get("is_busy", False))]
    if "status" in data and (data["status"] or len(calls) < begun):
        return [*calls, ended(data["status"])]
    return [*calls[:-1], replace(calls[-1], left=Left(**data["left"]))] if "left" in data else calls


def ended(status: int) -> Call:
    """A call in which the process came to its end."""
    what = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    return Call("crashed", what)


def was_met(row: Row, choice: Choice, calls: list[Call], attempts: tuple[Attempt, ...], lookups: int) -> bool:
    """Whether the client came to the place of the fault: a lookup by Python, or the proxy."""
    if row.case.point == "lookup":
        return lookups > 0 or calls[0].outcome != "returned"
    return not choice.proxy or bool(attempts) or calls[0].outcome != "returned"


def usual_of(seen: Observation, *, is_factory: bool = False) -> Usual:
    """What a client does when nothing breaks, from an observation of that; a factory is left in the end."""
    sent = seen.attempts[0].sent_bytes if seen.attempts else 0
    left = tuple(call.left for call in (seen.calls[-1:] if is_factory else seen.calls))
    return Usual(left, tuple(call.digest for call in seen.calls), sent)


def read_whole(server: Server) -> bytes:
    """All that a plain client gets for one request."""
    received = bytearray()
    with contextlib.suppress(OSError), socket.create_connection(server.address, READS_SECONDS) as client:
        client.sendall(ASKED)
        while data := client.recv(1 << 16):
            received += data
    return bytes(received)
