"""What the implementations for Linux and for other systems share: words, numbers, and the system that is chosen."""

from __future__ import annotations

import _thread
import os
import sys
import types
from collections.abc import Callable, Iterable
from typing import Literal, Protocol, TypeAlias

from faultline._core.errors import ParameterError, UnsupportedError

BACKLOG = 4096
VARIABLE = "FAULTLINE_PLATFORM"

Left: TypeAlias = Literal["FIN", "RST"]
OnArrivals: TypeAlias = Callable[[Iterable[int]], None]


class Arrivals(Protocol):
    """Tells which of the registered sockets bytes or ends may have arrived at; used in the loop's thread."""

    def register(self, number: int) -> None:
        """Watch the socket with this number."""

    def unregister(self, number: int, *, is_closed: bool) -> None:
        """Watch a socket no longer, which may be closed by now."""

    def look(self) -> None:
        """Tell of arrivals now, where nothing else does."""

    def close(self) -> None:
        """Stop watching."""


def is_linux() -> bool:
    """Whether the implementation for Linux is the one to use: on Linux, unless the environment asks for the other."""
    return sys.platform.startswith("linux") and os.environ.get(VARIABLE, "") != "portable"


def check_system(*, has_real_select: bool) -> None:
    """Refuse to run on Windows, without real threads, and where the environment asks for an unknown implementation.

    Raises:
        UnsupportedError: the operating system is Windows, or a library has replaced Python's threads or select.
        ParameterError: FAULTLINE_PLATFORM has another value than `portable`.
    """
    if sys.platform in ("win32", "cygwin", "emscripten", "wasi"):
        raise UnsupportedError(
            f"sys.platform={sys.platform!r}: expected Linux, macOS or another POSIX system; run the tests in WSL, "
            "in a container or on CI with Linux. "
            "https://pytest-faultline.readthedocs.io/en/latest/systems.html lists what is missing."
        )
    if os.environ.get(VARIABLE, "") not in ("", "portable"):
        raise ParameterError(f"{VARIABLE}={os.environ[VARIABLE]!r}: expected 'portable', or no value.")
    if not has_real_select or not isinstance(_thread.start_new_thread, types.BuiltinFunctionType):
        raise UnsupportedError(
            f"{patcher()} has replaced Python's threads or select, and the servers' loop needs the real ones: expected "
            "monkey.patch_all(thread=False, select=False) of gevent, monkey_patch(thread=False, select=False) of "
            "eventlet, or a server in a process of its own (`faultline serve`)."
        )


def patcher() -> str:
    """The library that has replaced Python's threads or select."""
    return next((name for name in ("gevent", "eventlet") if name in sys.modules), "a library")


def reachable(host: str) -> str:
    """The address by which a client on this machine reaches a server that is bound to `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - a lookup, not a bind
