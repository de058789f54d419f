"""Find the error of the operating system under the exceptions that clients raise from it.

Rules: look at each exception once, because chains can be circles; import no client.
"""

from __future__ import annotations

import inspect
import os
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from faultline._core.calls import explained
from faultline._core.check import rejected, whole

if TYPE_CHECKING:
    from types import TracebackType

E = TypeVar("E", bound=BaseException)
T = TypeVar("T")

# The modules of the system's own exceptions; clients derive exceptions of their own from OSError.
SYSTEM_MODULES = frozenset({"builtins", "socket", "ssl", "_socket", "_ssl"})
# The attributes that hold other exceptions, the plainest link first. `__context__` is last, and `from None` doesn't
# hide it here.
HOLDERS = (
    "__cause__",
    "exceptions",
    "reason",
    "os_error",
    "errors",  # paramiko's NoValidConnectionsError has a dict
    "exception",  # pika
    "reasons",  # Twisted's ResponseFailed has a list of Failures
    "value",  # Twisted's Failure
    "orig",  # SQLAlchemy
    "args",
    "__context__",
)
DEEP = 3  # collections in collections that are looked into
MOST = 5_000  # exceptions that are looked at: a property may make a new one each time it is read
MOST_TOLD = 20
C_ATTRIBUTES = (types.GetSetDescriptorType, types.MemberDescriptorType)
MISSING = object()


def links(error: BaseException) -> Iterator[BaseException]:
    """The exceptions that an exception holds, the plainest link first.

    requests and urllib3 put the cause into `args` and `.reason`, urllib into `.reason`, aiohttp into `.os_error`,
    httpx into `__cause__`, anyio into exception groups.
    """
    for holder in HOLDERS:
        yield from held_by(error, holder)


def held_by(error: BaseException, holder: str) -> list[BaseException]:
    """The exceptions that an attribute holds; an empty list if reading the attribute fails or warns."""

    def read() -> list[BaseException]:
        items = members(getattr(error, holder, None))
        return [item for item in items if issubclass(type(item), BaseException)]  # isinstance believes `__class__`

    stored = inspect.getattr_static(error, holder, MISSING)
    if stored is None or (stored is MISSING and not hasattr(type(error), "__getattr__")):
        return []
    is_plain = isinstance(stored, (str, tuple, BaseException, *C_ATTRIBUTES))
    return read() if is_plain else quietly(read, [])


def members(held: object, depth: int = DEEP) -> Iterator[Any]:
    """A value, or the members of a collection and of the collections in it."""
    if depth and type(held) in (tuple, list, set, frozenset, dict):
        for item in held.values() if isinstance(held, dict) else held:  # type: ignore[attr-defined] # a collection
            yield from members(item, depth - 1)
    else:
        yield held


def quietly(read: Callable[[], T], otherwise: T) -> T:
    """Return the value of a function of another library, or `otherwise` if the function raises or warns.

    An interrupt, a timeout of pytest or a cancellation can arrive while the function runs; these are not caught.
    """
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            value = read()
    except (Exception, SystemExit):  # noqa: BLE001 - a foreign function can raise anything
        return otherwise
    return otherwise if caught else value


def chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and all exceptions that it leads to, depth first, each once."""
    seen: dict[int, BaseException] = {}  # keeps them alive: the id of a deleted exception can be used again
    ahead = [error]
    while ahead and len(seen) < MOST:
        here = ahead.pop()
        if id(here) in seen:
            continue
        seen[id(here)] = here
        yield here
        ahead.extend(reversed(list(links(here))))


def is_system_error(error: BaseException) -> bool:
    """Whether this is an error of the operating system or of TLS, and not a client's own class."""
    return isinstance(error, OSError) and type(error).__module__ in SYSTEM_MODULES


def is_low(error: BaseException) -> bool:
    """Whether this is an error of a socket or of http.client, which no client raises from an error of its own."""
    return isinstance(error, OSError) or type(error).__module__ == "http.client"


@explained
def root_cause(error: BaseException) -> BaseException:
    """Find the first error in the chain of exceptions that a client raised.

    This is the error of the operating system or of TLS (`ConnectionRefusedError`, `socket.gaierror`,
    `ssl.SSLCertVerificationError`, …), or the innermost exception if there is no such error.

    .. versionadded:: 0.1

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
    path, seen = [error], {id(error)}
    while len(path) < MOST and (ahead := next((e for e in links(path[-1]) if id(e) not in seen), None)) is not None:
        path.append(ahead)
        seen.add(id(ahead))
    for candidates in (reversed(path), chain(error)):
        for candidate in candidates:
            if is_system_error(candidate):
                return candidate
    # CancelledError of a timeout is no Exception, and Python's json ends with StopIteration. urllib3 1.26 tries an
    # argument of Python 2 before each response, and hides that TypeError.
    tries = {id(e.__context__) for e in path if is_low(e) and e.__suppress_context__}
    news = [
        e
        for e in path
        if isinstance(e, Exception)
        and not isinstance(e, StopIteration)
        and not (isinstance(e, TypeError) and id(e) in tries)
    ]
    return (news or path)[-1]


class Raised(Generic[E]):
    """The result of `raises`: `value` is the exception that was raised, `cause` the expected exception in it."""

    value: BaseException
    cause: E

    def __init__(self, expected: tuple[type[E], ...], number: int | None = None) -> None:
        self._expected = expected
        self._matches = widened(expected)
        self._number = number

    def __enter__(self) -> Raised[E]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        words = " or ".join(full_name(e) for e in self._expected)
        words += "" if self._number is None else f" with errno {self._number} ({os.strerror(self._number)})"
        if error is None:
            raise AssertionError(f"expected {words}; nothing was raised.")
        for found in chain(error):
            if isinstance(found, self._matches) and self._number in (None, getattr(found, "errno", None)):
                self.value = error
                self.cause = cast("E", found)
                return True
        if not isinstance(error, Exception):
            return False  # the user or pytest stops the run
        told = [f"{full_name(type(e))}: {text_of(e)}" for e in islice(chain(error), MOST_TOLD + 1)]
        told[MOST_TOLD:] = ["…"] if len(told) > MOST_TOLD else []
        text = f"expected {words} somewhere in what was raised; it was {' <- '.join(told)}."
        raise AssertionError(text + MERGED * any(merges(e) for e in chain(error))) from error


MERGED = (
    " asyncio has tried several addresses, and kept only the texts of their errors: expect OSError, connect to one "
    "address such as 127.0.0.1, or pass all_errors=True to create_connection (Python 3.12)."
)


def merges(error: BaseException) -> bool:
    """Whether this is the error of asyncio that stands for several failed connects."""
    return isinstance(error, OSError) and text_of(error).startswith("Multiple exceptions: ")


def text_of(error: BaseException) -> str:
    """The text of an exception; `(no text)` if its `str()` fails."""
    return quietly(lambda: str(error), "(no text)")


def full_name(kind: type) -> str:
    """The name of a class, with its module unless it is a builtin."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def widened(expected: tuple[type[E], ...]) -> tuple[type[BaseException], ...]:
    """The classes to look for: in Python 3.10 asyncio has a `TimeoutError` that is not the builtin class."""
    asyncio = sys.modules.get("asyncio.exceptions")  # none of its exceptions was raised if it isn't loaded
    if sys.version_info < (3, 11) and asyncio and TimeoutError in expected:
        return (*expected, asyncio.TimeoutError)
    return expected


@explained
def raises(expected: type[E] | tuple[type[E], ...], *, errno: int | None = None) -> Raised[E]:
    """Expect an exception anywhere in the chain of exceptions that a client raises.

    The chain leads through `__cause__`, `__context__`, `args`, exception groups, and the attributes in which clients
    keep the cause: `.reason`, `.reasons`, `.os_error`, `.errors`, `.exception`, `.exceptions`, `.value` and `.orig`.

    .. versionadded:: 0.1

    Args:
        expected: the class of the exception, or a tuple of classes.
        errno: the number of the error, such as `errno.ECONNRESET`, for clients that raise a plain `OSError`.

    Raises:
        AssertionError: no exception was raised, or `expected` is not in the chain; the message shows the chain.
        ParameterError: `expected` is neither an exception class nor a tuple of exception classes, or `errno` is no
            whole number.

    Example:
        >>> from faultline import raises
        >>> with raises(ConnectionResetError) as raised:
        ...     raise RuntimeError("fetch failed") from ConnectionResetError(104, "reset")
        >>> raised.cause
        ConnectionResetError(104, 'reset')
    """
    types = expected if isinstance(expected, tuple) else (expected,)
    if not types or not all(isinstance(t, type) and issubclass(t, BaseException) for t in types):
        right = type(expected).__name__ if isinstance(expected, BaseException) else ""
        hint = f"; write raises({right})" if right else ""
        raise rejected("expected", expected, f"an exception class, or a tuple of them{hint}")
    return Raised(types, None if errno is None else whole("errno", errno, ""))
