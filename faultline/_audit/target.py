"""The target of an audit: what is called with the URL, or the command that is run with it."""

from __future__ import annotations

import contextlib
import importlib
import os
import selectors
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

from faultline._core.causes import text_of
from faultline._core.errors import FaultlineError

USUAL_SECONDS = 1.0  # the timeout of the client that is audited without a target
DEFAULT = "urllib.request.urlopen"
PLACES = ("{url}", "{host}", "{port}", "{hostport}")
CHUNK = 1 << 16
LINE_BYTES = 300  # of stderr, at its end


class TargetError(FaultlineError):
    """The target of an audit can't be called."""


@dataclass(frozen=True)
class Target:
    """What is audited.

    Attributes:
        name: `package.module:callable`; empty for urllib, or for what was given.
        command: a command line with `{url}` or `{host}` and `{port}` in it; empty for a callable.
        given: the callable itself.
        is_factory: whether it makes the callable, or a context manager that yields it.
        expected: the exceptions that are right, as `package.Error`, or the classes.
    """

    name: str = ""
    command: str = ""
    given: Callable[..., Any] | None = None
    is_factory: bool = False
    expected: tuple[str | type[BaseException], ...] = ()

    def __str__(self) -> str:
        if self.given is not None:
            return f"{getattr(self.given, '__module__', '')}:{getattr(self.given, '__qualname__', repr(self.given))}"
        return self.command or self.name or f"{DEFAULT}(url, timeout={USUAL_SECONDS:g})"

    def named(self) -> Target:
        """The same with the names of exceptions, for another process."""
        names = [each if isinstance(each, str) else f"{each.__module__}.{each.__qualname__}" for each in self.expected]
        return replace(self, expected=tuple(names))

    def check(self) -> None:
        """Check the words of the target.

        Raises:
            TargetError: a name has no colon, or a command has no place for the URL.
        """
        if self.command and not any(place in self.command for place in ("{url}", "{port}", "{hostport}")):
            raise TargetError(f"--command {self.command!r}: expected {{url}} in it, or {{host}} and {{port}}.")
        if self.command:
            check_program(self.command)
        names = [self.name, *(name for name in self.expected if isinstance(name, str))]
        for name, sign in zip(names, (":", *"." * len(names)), strict=False):
            if name and sign not in name:
                form = "package.module:callable" if sign == ":" else "package.Error, such as builtins.OSError"
                raise TargetError(f"{name!r}: expected {form}.")

    def loaded(self) -> Client:
        """What is called with the URL, or what makes it.

        Raises:
            TargetError: it can't be imported, or can't be called; or an exception that is right can't be.
        """
        found = Command(self.command) if self.command else self.given or self._imported()
        if not callable(found):
            raise TargetError(f"{self}: expected something to call with the URL; it is {type(found).__name__}.")
        right = [named(each, ".") if isinstance(each, str) else each for each in self.expected]
        for name, kind in zip(self.expected, right, strict=True):
            if not (isinstance(kind, type) and issubclass(kind, BaseException)):
                raise TargetError(f"--expect {name}: expected an exception class; it is {kind!r}.")
        return Client(found, tuple(right) or (Exception,))

    def _imported(self) -> Any:
        return named(self.name, ":") if self.name else by_urllib


@dataclass(frozen=True)
class Client:
    """What is called with the URL, or what makes it; and the exceptions that are right."""

    function: Callable[..., Any]
    expected: tuple[type[BaseException], ...]


def named(name: str, sign: str) -> Any:
    """What a name stands for: a module, and behind the last sign something in it.

    Raises:
        TargetError: the module can't be imported, or has no such name.
    """
    module, _, inner = name.partition(sign) if sign == ":" else name.rpartition(sign)
    try:
        found = importlib.import_module(module)
        for part in inner.split("."):
            found = getattr(found, part)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # an import can raise anything, SystemExit too
        why = " ".join(text_of(error).split())
        raise TargetError(f"{name!r} can't be imported: {type(error).__name__}: {why}") from error
    return found


def check_program(line: str) -> None:
    """Check that a command line can be run.

    Raises:
        TargetError: a quotation has no end, or there is no such program.
    """
    try:
        program = shlex.split(line)[0]
    except ValueError as error:
        raise TargetError(f"--command {line!r}: expected words as a shell has them ({error}).") from None
    if shutil.which(program) is None:
        raise TargetError(f"--command {line!r}: expected a program that can be run; {program!r} is none.")


def by_urllib(url: str) -> bytes:
    """What is audited without a target: `urlopen` with a timeout, on a bare install."""
    import urllib.request  # which on another system has a module of its own, and takes time

    with urllib.request.urlopen(url, timeout=USUAL_SECONDS) as response:  # noqa: S310 - the URL is ours
        return bytes(response.read())


# --- a command -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Printed:
    """What a command said: its exit status, how much it printed, and the last line of stderr."""

    status: int
    count_bytes: int
    digest: str
    last_line: str


@dataclass(frozen=True)
class Command:
    """A command line that is run with the URL in it."""

    text: str

    def __call__(self, url: str) -> Printed:
        """Run it to its end."""
        parts = urlsplit(url)
        values = (url, parts.hostname or "", str(parts.port), f"{parts.hostname}:{parts.port}")
        words = shlex.split(self.text)
        for place, value in zip(PLACES, values, strict=True):
            words = [word.replace(place, value) for word in words]
        words = [word.replace("{ca_file}", os.environ.get("SSL_CERT_FILE", "")) for word in words]
        sys.stdout.flush()
        with subprocess.Popen(  # noqa: S603 - the user's own
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            return heard(process)


def heard(process: subprocess.Popen[bytes]) -> Printed:
    """Read what a process prints until it has ended; it may leave others behind that hold its output open."""
    assert process.stdout is not None
    assert process.stderr is not None
    count, digest, end = 0, sha256(), b""
    ended = os.pidfd_open(process.pid)
    with contextlib.closing(selectors.DefaultSelector()) as selector:
        for source in (process.stdout, process.stderr):
            os.set_blocking(source.fileno(), False)
            selector.register(source, selectors.EVENT_READ)
        selector.register(ended, selectors.EVENT_READ)
        is_over = False
        while not is_over:
            ready = [key.fileobj for key, _ in selector.select()]
            is_over = ended in ready
            for source in (process.stdout, process.stderr):
                while data := read_now(source.fileno()):
                    if source is process.stdout:
                        count += len(data)
                        digest.update(data)
                    else:
                        end = (end + data)[-LINE_BYTES:]
                if data == b"" and source in ready and not is_over:
                    selector.unregister(source)
    os.close(ended)
    lines = end.decode("utf-8", "replace").strip().splitlines() or [""]
    return Printed(process.wait(), count, digest.hexdigest(), lines[-1])


def read_now(number: int) -> bytes | None:
    """What there is to read: `None` if nothing yet, empty at the end."""
    try:
        return os.read(number, CHUNK)
    except BlockingIOError:
        return None
