"""Call the client in a process of its own, and tell the audit how it went, call by call."""

from __future__ import annotations

import contextlib
import gc
import inspect
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from faultline._audit import left
from faultline._audit.outcomes import Call, Left, Outcome
from faultline._audit.target import Client, Printed, Target
from faultline._core import clock
from faultline._core.causes import full_name, quietly, root_cause, text_of
from faultline._core.counts import counted

if TYPE_CHECKING:
    import asyncio  # which a client that needs it has loaded: without it, each fork copies less

MOST_TEXT = 300  # of a message
ADDRESS = re.compile(r" at 0x[0-9a-f]+")
CONTENTS = ("content", "data", "body")  # where requests and httpx, urllib3 and tornado keep the body
STATUSES = ("status_code", "status", "code")


@dataclass(frozen=True)
class Job:
    """What is done in one process.

    Attributes:
        number: the number of the process, for the process that forks it.
        url: what the client is called with.
        calls: how often, as long as it returns.
        environment: variables of the process; `None` takes one away.
        lookup: the mode of the lookup that fails and its arguments, if it is one.
    """

    number: int
    url: str
    calls: int = 1
    environment: dict[str, str | None] = field(default_factory=dict)
    lookup: tuple[str, dict[str, Any]] | None = None

    @contextlib.contextmanager
    def prepared(self, tell: Callable[[dict[str, Any]], None]) -> Iterator[None]:
        """Set the environment, and have lookups fail; say at the end how many there were."""
        for name, value in self.environment.items():
            os.environ.pop(name, None)
            os.environ.update({} if value is None else {name: value})
        if self.lookup is None:
            yield
            return
        from faultline._servers.names.resolver import resolve
        from faultline.modes._catalogue import find

        mode, arguments = self.lookup
        with resolve(urlsplit(self.url).hostname or "", find(mode).function(**arguments), strict=False) as resolver:
            yield
            tell({"lookups": len(resolver.attempts)})


def load_lookups() -> None:
    """Load what makes lookups fail, before a process is forked: it would load that again each time."""
    import faultline._servers.names.resolver
    import faultline.modes._catalogue  # noqa: F401


def work(target: Target, client: Client, job: Job, results: int, output: int) -> None:
    """Call the client, in a process that was made for it, and write what came of it to `results`."""
    os.setsid()
    left.end_with_parent()
    left.adopt_orphans()
    for number in (1, 2):
        os.dup2(output, number)
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - as it is everywhere
        os.dup2(nothing.fileno(), 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    def tell(data: dict[str, Any]) -> None:
        os.write(results, json.dumps(data).encode() + b"\n")

    with job.prepared(tell):
        caller = Caller(client.function, is_factory=target.is_factory, expected=client.expected)
        for number in range(job.calls):
            tell({"begin": number, "at_seconds": clock.now()})
            call = caller.call(job.url)
            tell({"call": asdict(call)})
            if call.outcome != "returned":
                break
        if target.is_factory:
            tell({"left": asdict(caller.leave())})
    left.kill_all(left.descendants(os.getpid()))


class Caller:
    """Calls a client, and looks at what is left behind."""

    def __init__(
        self, function: Callable[..., Any], *, is_factory: bool, expected: tuple[type[BaseException], ...]
    ) -> None:
        self._function, self._is_factory, self._expected = function, is_factory, expected
        self._made: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        gc.collect()
        self._before = left.Held.now()

    def call(self, url: str) -> Call:
        """Call the client once."""
        began = clock.now()
        try:
            call = returned(self._value(url))
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is what the client does
            call = raised(error, self._expected)
        seconds = clock.now() - began
        tasks = self._left_tasks() if self._is_factory else self._close_loop()
        return replace(call, seconds=seconds, left=self._left(tasks))

    def leave(self) -> Left:
        """Leave the context of a factory: what is left behind then."""
        made, self._made = self._made, None
        with contextlib.suppress(Exception):  # the calls have said what is wrong
            if hasattr(made, "__aexit__"):
                self._run(made.__aexit__(None, None, None))
            elif hasattr(made, "__exit__"):
                made.__exit__(None, None, None)
        del made
        return self._left(self._close_loop())

    def _value(self, url: str) -> Value:
        if self._is_factory and self._made is None:
            self._enter()
        value = self._function(url)
        if inspect.isawaitable(value):
            value = self._run(value)
        if inspect.isasyncgen(value):
            value = self._run(parts_of(value))
        return value_of(value)

    def _enter(self) -> None:
        self._made = made = self._function()
        if hasattr(made, "__aenter__"):
            self._function = self._run(made.__aenter__())
        else:
            self._function = made.__enter__() if hasattr(made, "__enter__") else made

    def _run(self, awaitable: Awaitable[Any]) -> Any:
        import asyncio

        if self._loop is None:
            before = {*left.open_files()}
            self._loop = asyncio.new_event_loop()
            self._before = self._before.with_files({*left.open_files()} - before)  # of the loop, and no others

        async def awaited() -> Any:
            return await awaitable

        return self._loop.run_until_complete(awaited())

    def _left_tasks(self) -> int:
        """How many tasks there are, once those that end soon have ended: asyncio closes generators in tasks."""
        if self._loop is None:
            return 0
        import asyncio

        ends = clock.now() + left.ENDS_SECONDS
        while (tasks := self._tasks()) and (seconds := ends - clock.now()) > 0:
            self._loop.run_until_complete(asyncio.wait(tasks, timeout=seconds))  # one may begin another
        return len(self._tasks())

    def _tasks(self) -> set[asyncio.Task[Any]]:
        if self._loop is None:
            return set()
        import asyncio

        return asyncio.all_tasks(self._loop)

    def _close_loop(self) -> int:
        """Close the loop as `asyncio.run` does, and return how many tasks there were."""
        count, loop, tasks = self._left_tasks(), self._loop, self._tasks()
        if loop is None:
            return 0
        loop.run_until_complete(ended(tasks))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        self._loop = None
        return count

    def _left(self, tasks: int) -> Left:
        gc.collect()
        return left.left_since(self._before, tasks)


async def parts_of(value: AsyncIterator[Any]) -> Any:
    """What an asynchronous generator yields, as `joined` has it."""
    return joined([part async for part in value])


def joined(parts: list[Any]) -> Any:
    """The parts of a body as one, if they are all bytes or all text."""
    for kind in (b"", ""):
        if parts and all(isinstance(part, type(kind)) for part in parts):
            return kind.join(parts)
    return parts


async def ended(tasks: set[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait for their ends."""
    import asyncio

    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# --- what came of a call ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Value:
    """What a client returned, in short."""

    what: str
    count_bytes: int | None
    digest: str
    outcome: Outcome = "returned"
    detail: str = ""


def value_of(value: Any) -> Value:
    """A value in short; a response that has not been read is read and closed, as who called would do."""
    if isinstance(value, Printed):
        return of_command(value)
    if inspect.isgenerator(value):
        value = joined(list(value))
    content = value if is_content(value) else content_of(value)
    status = next((code for name in STATUSES if isinstance(code := getattr(value, name, None), int)), None)
    if content is None:
        shown = ADDRESS.sub("", quietly(lambda: repr(value), type(value).__name__))
        return Value(shown[:MOST_TEXT], None, digest_of(shown.encode("utf-8", "replace")))
    data = content.encode("utf-8", "replace") if isinstance(content, str) else bytes(content)
    size = counted(len(content), "character" if isinstance(content, str) else "byte")
    return Value(f"{status}, {size}" if status is not None else size, len(data), digest_of(data))


def is_content(value: Any) -> bool:
    """Whether a value is text or bytes."""
    return isinstance(value, (bytes, bytearray, memoryview, str))


def content_of(value: Any) -> Any:
    """The body of a response; `None` if it has none that is known."""
    for name in CONTENTS:
        if is_content(content := getattr(value, name, None)):
            return content
    read = getattr(value, "read", None)
    if not callable(read) or inspect.iscoroutinefunction(read):
        return None
    content = read()
    if callable(close := getattr(value, "close", None)):
        close()
    return content if is_content(content) else None


def of_command(printed: Printed) -> Value:
    """How a command ended."""
    if printed.status < 0:
        return Value(signal.Signals(-printed.status).name, None, "", "crashed", printed.last_line)
    what = f"exit status {printed.status}"
    if printed.status:
        return Value(what, printed.count_bytes, printed.digest, "raised", printed.last_line)
    size = counted(printed.count_bytes, "byte")
    return Value(f"{what}, {size}", printed.count_bytes, printed.digest, detail=printed.last_line)


def digest_of(data: bytes) -> str:
    """What tells two contents apart."""
    return sha256(data).hexdigest()[:16]


def returned(value: Value) -> Call:
    """A call that returned; a command also says otherwise."""
    detail = value.detail[:MOST_TEXT]
    return Call(value.outcome, value.what, detail, count_bytes=value.count_bytes, digest=value.digest)


def raised(error: BaseException, expected: tuple[type[BaseException], ...]) -> Call:
    """A call that raised; to end the process is no way to say what is wrong."""
    if isinstance(error, SystemExit):
        return Call("crashed", f"SystemExit({error.code!r})")
    cause = full_name(type(root_cause(error)))
    text = text_of(error)[:MOST_TEXT]
    return Call("raised", full_name(type(error)), text, cause, is_expected=isinstance(error, expected))
