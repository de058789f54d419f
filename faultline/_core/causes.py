"""Looking through what clients wrap around an operating system's error.

Rules of this room: every link that a known client uses is followed, and each exception is looked at once, because
chains can be circles. No client is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from faultline._core.check import rejected

if TYPE_CHECKING:
    from types import TracebackType

E = TypeVar("E", bound=BaseException)

# Where the exceptions of the system itself are defined, as against those that clients derive from OSError.
SYSTEM_MODULES = frozenset({"builtins", "socket", "ssl", "_socket", "_ssl"})


def links(error: BaseException) -> Iterator[BaseException]:
    """What an exception points to, the plainest link first.

    requests and urllib3 put the cause into `args` and `.reason`, urllib into `.reason`, aiohttp into `.os_error`,
    httpx into `__cause__`, anyio into exception groups; `__context__` is last, also where `from None` hides it.
    """
    if error.__cause__ is not None:
        yield error.__cause__
    for holder in ("exceptions", "reason", "os_error", "args"):
        held = getattr(error, holder, None)
        for item in held if isinstance(held, (tuple, list)) else (held,):
            if isinstance(item, BaseException):
                yield item
    if error.__context__ is not None:
        yield error.__context__


def chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and all that it leads to, depth first, each once."""
    seen: set[int] = set()
    ahead = [error]
    while ahead:
        here = ahead.pop()
        if id(here) in seen:
            continue
        seen.add(id(here))
        yield here
        ahead.extend(reversed(list(links(here))))


def is_system_error(error: BaseException) -> bool:
    """Whether this is the operating system's or TLS's own error, not a client's name for it."""
    return isinstance(error, OSError) and type(error).__module__ in SYSTEM_MODULES


def root_cause(error: BaseException) -> BaseException:
    """Find the error that began it, under whatever a client wrapped around it.

    That is the operating system's or TLS's own error (`ConnectionRefusedError`, `socket.gaierror`,
    `ssl.SSLCertVerificationError`, …) where there is one, and else the innermost exception.

    Example:
        >>> from faultline import root_cause
        >>> try:
        ...     try:
        ...         raise ConnectionResetError(104, "Connection reset by peer")
        ...     except OSError as error:
        ...         raise RuntimeError("could not fetch") from error
        ... except RuntimeError as error:
        ...     root_cause(error)
        ConnectionResetError(104, 'Connection reset by peer')
    """
    path = [error]
    while (ahead := next((e for e in links(path[-1]) if all(e is not p for p in path)), None)) is not None:
        path.append(ahead)
    for candidates in (reversed(path), chain(error)):
        for candidate in candidates:
            if is_system_error(candidate):
                return candidate
    # A timeout's CancelledError is none, and StopIteration is how Python's json comes to an end.
    news = [e for e in path if isinstance(e, Exception) and not isinstance(e, StopIteration)]
    return (news or path)[-1]


class Raised(Generic[E]):
    """What `raises` found: `value` is the exception that came out, `cause` the expected one in it."""

    value: BaseException
    cause: E

    def __init__(self, expected: tuple[type[E], ...]) -> None:
        self._expected = expected
        self._matches = widened(expected)

    def __enter__(self) -> Raised[E]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        words = " or ".join(full_name(e) for e in self._expected)
        if error is None:
            raise AssertionError(f"expected {words}; nothing was raised.")
        for found in chain(error):
            if isinstance(found, self._matches):
                self.value = error
                self.cause = cast("E", found)
                return True
        if not isinstance(error, Exception):
            return False  # the user stops the run, or pytest does
        told = " <- ".join(f"{full_name(type(e))}: {e}" for e in chain(error))
        raise AssertionError(f"expected {words} somewhere in what was raised; it was {told}.") from error


def full_name(kind: type) -> str:
    """The name of a class, with its module where names alone are told apart badly."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def widened(expected: tuple[type[E], ...]) -> tuple[type[BaseException], ...]:
    """Python 3.10's asyncio has a TimeoutError of its own, which 3.11 made the builtin one."""
    asyncio = sys.modules.get("asyncio.exceptions")  # if it isn't loaded, nothing of it was raised
    if sys.version_info < (3, 11) and asyncio and TimeoutError in expected:
        return (*expected, asyncio.TimeoutError)
    return expected


def raises(expected: type[E] | tuple[type[E], ...]) -> Raised[E]:
    """Expect an exception somewhere under what a client raises, whatever it is wrapped in.

    Looks through `__cause__`, `__context__`, `args`, `.reason`, `.os_error` and exception groups.

    Raises:
        AssertionError: nothing was raised, or nothing that has `expected` in it; says what it was.

    Example:
        >>> from faultline import raises
        >>> with raises(ConnectionResetError) as raised:
        ...     raise RuntimeError("fetch failed") from ConnectionResetError(104, "reset")
        >>> raised.cause
        ConnectionResetError(104, 'reset')
    """
    types = expected if isinstance(expected, tuple) else (expected,)
    if not types or not all(isinstance(t, type) and issubclass(t, BaseException) for t in types):
        raise rejected("expected", expected, "an exception class, or a tuple of some")
    return Raised(types)
