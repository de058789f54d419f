"""What a process has open and running, as Linux tells it in /proc, and what it has left behind."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from faultline._audit.outcomes import Left
from faultline._core import clock

CLOSE_WAIT = 8  # include/net/tcp_states.h
SUBREAPER = 36  # include/uapi/linux/prctl.h
DEATH_SIGNAL = 1
COMPUTES_SECONDS = (0, 0.002, 0.005)  # before looks: a thread that waits is woken now and then
LOOKS_SECONDS = 0.005  # until the second look at what may still end; each further look comes after twice the time
MOST_LOOKS_SECONDS = 0.05
SETTLES_SECONDS = 0.08  # that what is left may take to end
ENDS_SECONDS = 0.5  # that a thread or a task may take


@dataclass(frozen=True)
class Held:
    """What this process has: its descriptors with their targets, its threads, and its descendants."""

    files: frozenset[tuple[int, str]]
    threads: frozenset[int | None]
    children: frozenset[int]

    @classmethod
    def now(cls) -> Held:
        """What it has now."""
        threads = frozenset(thread.ident for thread in threading.enumerate())
        return cls(frozenset(open_files()), threads, frozenset(descendants(os.getpid())))

    def with_files(self, files: Iterable[tuple[int, str]]) -> Held:
        """The same, with more descriptors."""
        return Held(self.files.union(files), self.threads, self.children)


def left_since(before: Held, tasks: int = 0) -> Left:
    """What is more than before, once it has had time to end."""
    begin, pause_seconds = clock.now(), LOOKS_SECONDS
    while True:
        now = Held.now()
        files, threads, children = (
            now.files - before.files,
            now.threads - before.threads,
            now.children - before.children,
        )
        waits_seconds = ENDS_SECONDS if threads else SETTLES_SECONDS if files or children else 0
        if (remaining := begin + waits_seconds - clock.now()) <= 0:
            break
        threading.Event().wait(min(pause_seconds, remaining))
        pause_seconds = min(2 * pause_seconds, MOST_LOOKS_SECONDS)
    sockets = [number for number, target in files if target.startswith("socket:")]
    return Left(
        sockets=len(sockets),
        close_wait=sum(map(is_in_close_wait, sockets)),
        files=len(files) - len(sockets),
        threads=len(threads),
        tasks=tasks,
        children=len(children),
    )


def open_files() -> Iterator[tuple[int, str]]:
    """The open descriptors, each with its target."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - the descriptor of the listing itself is gone then
        with contextlib.suppress(OSError):
            yield int(name), os.readlink(f"/proc/self/fd/{name}")  # noqa: PTH115 - the target is no path


def is_in_close_wait(number: int) -> bool:
    """Whether the peer of a TCP socket has closed its side, by the socket's descriptor.

    The tables in /proc/self/net tell the same, and take a millisecond however few connections there are. An object of
    Python's `socket` would make the client's own socket non-blocking where the client has set a default timeout.
    """
    state, size = ctypes.c_ubyte(), ctypes.c_uint(1)
    no_tcp = ctypes.CDLL(None).getsockopt(
        number, socket.IPPROTO_TCP, socket.TCP_INFO, ctypes.byref(state), ctypes.byref(size)
    )
    return not no_tcp and state.value == CLOSE_WAIT


# --- processes -------------------------------------------------------------------------------------------------------


def descendants(pid: int) -> set[int]:
    """The processes that descend from this one and still run."""
    found: set[int] = set()
    ahead = [pid]
    while ahead:
        ahead += (new := children(ahead.pop()) - found)
        found |= new
    return {each for each in found if runs(each)}


def children(pid: int) -> set[int]:
    """The children of a process, those that have ended and were not waited for among them."""
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found |= {int(word) for word in (task / "children").read_text("ascii").split()}
    return found


def runs(pid: int) -> bool:
    """Whether a process has not ended."""
    return state_of(pid) not in ("", "Z")


def state_of(pid: int, after: float = 0) -> str:
    """The state of a process as a letter (proc_pid_stat(5)), after a pause; empty if there is no such process."""
    threading.Event().wait(after)
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0]
    return ""


def computes(pid: int) -> bool:
    """Whether the main thread of a process has work for a processor, look after look, and waits for nothing."""
    return all(state_of(pid, after=pause) == "R" for pause in COMPUTES_SECONDS)


def kill_all(pids: set[int]) -> None:
    """Kill processes, where they still are."""
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent has ended, so that they are found."""
    prctl(SUBREAPER, 1)


def end_with_parent() -> None:
    """Be killed as soon as the parent ends."""
    prctl(DEATH_SIGNAL, signal.SIGKILL)


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process, for which Python has no function."""
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
