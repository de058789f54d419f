"""The public class `SweepRun`: one run of a sweep, which the body of the loop plays."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from faultline._core.check import rejected
from faultline._core.errors import SweepError
from faultline._core.said import abbreviated
from faultline._servers.opened import opened
from faultline._servers.server import Server
from faultline._sweep.case import Case, is_failure
from faultline._sweep.endpoints import Endpoint
from faultline._sweep.limit import Limit

if TYPE_CHECKING:
    from types import FrameType, TracebackType

RECORDED_BYTES = 1 << 20  # of a relay, where messages of frames are found


class SweepRun:
    """One run of a sweep: `with run(expected=OSError) as relay:` starts its relays and plays the scenario.

    The block ends by itself when the client raises what is `expected`; any other exception is a failure of this run,
    and the sweep goes on. In the first run, which is untouched, exceptions leave the loop.

    .. versionadded:: 0.1

    Attributes:
        returned: what the client returned, for the table, if the scenario sets it.
    """

    _public: ClassVar[tuple[str, ...]] = ("checks", "is_untouched", "number")

    def __init__(
        self, number: int, case: Case, endpoints: list[Endpoint], run_seconds: float, *, several: bool
    ) -> None:
        self.returned: object = None
        self._number, self._case, self._endpoints = number, case, endpoints
        self._run_seconds, self._several = run_seconds, several
        self._expected: tuple[type[BaseException], ...] = ()
        self._opened: list[Server] = []
        self._servers: list[Server] = []
        self._limit: Limit | None = None
        self._state = "new"
        self._place: tuple[str, int] | None = None

    def __call__(self, expected: type[BaseException] | tuple[type[BaseException], ...] = ()) -> SweepRun:
        """Say which exceptions the client may raise when its connection breaks.

        Args:
            expected: an exception class, or a tuple of exception classes; each exception of a group has to be of these
                classes. Default: none, so the client has to cope with every break.

        Raises:
            ParameterError: `expected` is something else.
        """
        kinds = expected if isinstance(expected, tuple) else (expected,)
        if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
            raise rejected("expected", expected, "an exception class, or a tuple of them")
        self._expected = kinds
        return self

    @property
    def number(self) -> int:
        """The number of the run; 0 for the untouched run at the beginning."""
        return self._number

    @property
    def is_untouched(self) -> bool:
        """Whether nothing breaks in this run."""
        return self._case.is_untouched

    @property
    def _is_first(self) -> bool:
        return self._case.is_untouched and not self._number

    def __repr__(self) -> str:
        return f"<SweepRun {self._number}: {self._case}>"

    # --- the scenario ------------------------------------------------------------------------------------------------

    def __enter__(self) -> Any:  # a server, or a tuple of servers if the sweep was given a list
        if self._state != "new":
            raise SweepError(f"{self!r}: expected one `with run(…)` in the body of the loop; this is the second.")
        frame: FrameType = sys._getframe(1)  # noqa: SLF001 - the body of the loop, whose text is in the reproduction
        self._place = frame.f_code.co_filename, frame.f_lineno
        self._state = "open"
        try:
            for number, endpoint in enumerate(self._endpoints):
                started = endpoint.start(self._case.plan(number))
                self._servers.append(started[0])
                started[0].ledger.records(RECORDED_BYTES)
                self._opened += started
        except BaseException:
            self._close()
            raise
        self._limit = Limit(self._servers, self._run_seconds)
        return tuple(self._servers) if self._several else self._servers[0]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        try:
            self._read(error)
        finally:
            self._close()
        if self._is_first:
            if self._case.is_hung:
                raise SweepError(f"the untouched run hung for run_seconds={self._run_seconds:g}") from error
            return False
        if error is None:
            return False
        if is_expected(error, self._expected):
            return True
        if not self._case.is_hung:
            self._case.error = error
        return is_failure(error)

    def _read(self, error: BaseException | None) -> None:
        """Write down what the relays saw and what the client did."""
        case, limit = self._case, self._limit
        assert limit is not None
        case.is_hung = limit.end()
        case.ended_seconds = tuple(server.ledger.now() for server in self._servers)
        case.see(tuple(server.attempts for server in self._servers))
        case.titles = tuple(f"{server._title} {server.plan!r}" for server in self._servers)  # noqa: SLF001 - as drawn
        if error is not None:
            case.client = f"raised {type(error).__name__}"
        else:
            case.client = "returned" if self.returned is None else f"returned {abbreviated(self.returned)}"

    def _close(self) -> None:
        """Close every server; an error inside one is raised when all are closed."""
        self._state, self._limit = "over", None
        with contextlib.ExitStack() as stack:
            for server in reversed(self._opened):
                stack.callback(server.close)
        if not self._is_first:
            opened.told.update(self._opened)  # the report of the sweep has what is to be known of them
        self._opened, self._servers = [], []

    # --- the assertions ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def checks(self) -> Iterator[None]:
        """Assert what has to hold after the run: a failure is written down, and the sweep goes on with the next break.

        In the first run, which is untouched, it leaves the loop.

        Example:
            for run in faultline.sweep("127.0.0.1:5432"):
                with run(expected=OSError) as relay:
                    transfer(relay.url)
                with run.checks():
                    assert total() == 1000
        """
        try:
            yield
        except BaseException as error:
            if self._is_first or not is_failure(error):
                raise
            self.fails(error)

    def fails(self, error: BaseException) -> None:
        """Write down a failed assertion, unless the run has failed one before."""
        if not self._case.is_assertion:
            self._case.error, self._case.is_assertion = error, True

    @property
    def state(self) -> str:
        """Whether the scenario of the run is `new`, `open` or `over`."""
        return self._state

    @property
    def place(self) -> tuple[str, int] | None:
        """The file and the line of its `with`."""
        return self._place


def is_expected(error: BaseException, kinds: tuple[type[BaseException], ...]) -> bool:
    """Whether an exception is of one of these kinds, or is a group of such exceptions."""
    if isinstance(error, kinds):
        return True
    inner = getattr(error, "exceptions", None)  # of a group; Python 3.10 has none of its own
    return isinstance(inner, tuple) and bool(inner) and all(is_expected(each, kinds) for each in inner)
