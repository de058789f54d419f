"""An endpoint: the base of everything that has a plan, a ledger, an end and a guard."""

from __future__ import annotations

import contextlib
import os
import threading
from abc import ABC, abstractmethod
from itertools import count, pairwise
from typing import TYPE_CHECKING, ClassVar

import faultline.modes  # noqa: F401 - messages name the modes
from faultline._core import own_thread, terminal
from faultline._core.attempts import Attempt
from faultline._core.calls import explained
from faultline._core.check import flag, seconds, whole
from faultline._core.drawing import draw
from faultline._core.errors import NotStruckError, ServerError
from faultline._core.fork import FORKED
from faultline._core.guard import Unmet, unmet
from faultline._core.ledger import Ledger
from faultline._core.plan import faults_of, stamped
from faultline._core.sight import Sight
from faultline._core.steps import NoRoute
from faultline._servers.leaks import check_none_held
from faultline._servers.opened import opened
from faultline._servers.steered import Steered
from faultline._servers.waits import Waits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from typing_extensions import Self  # of typing from Python 3.11 on, and never imported

    from faultline._core.plan import Plan
    from faultline._core.steps import Door
    from faultline._servers.process import Process


class Endpoint(Waits, Steered, ABC):
    """Plays a plan to its clients, and records what happened.

    A subclass checks and plays plans, stops, and has a name for messages. It sets `ledger` when nothing can fail any
    more: without a ledger the endpoint has not started, and is neither drawn nor cut off.

    Attributes:
        ledger: the record of all attempts.
    """

    ledger: Ledger
    _name: ClassVar[str]  # the kind of endpoint, in messages
    _no_attempt: ClassVar[str] = "no client connected"  # the text of a drawing without attempts

    def __init__(self, plan: Plan, *, strict: bool) -> None:
        self._strict = flag("strict", strict)
        self._numbers = count()  # of the plans
        self._plans = [stamped(self._checked(plan), next(self._numbers))]
        self._errors: list[BaseException] = []  # errors inside the endpoint that `close` has not raised yet
        self._is_closed = False
        self._is_stopped = False
        self._process_id = os.getpid()
        self._stopping = threading.RLock()
        opened.add(self)

    # --- defined by each kind of endpoint ----------------------------------------------------------------------------

    @abstractmethod
    def _checked(self, plan: object) -> Plan:
        """Check that this endpoint can play a plan, and return the plan.

        Raises:
            ParameterError: `plan` is not a plan, or this kind of endpoint can't play it.
        """

    @abstractmethod
    def _change(self, plan: Plan) -> None:
        """Play another plan from now on."""

    @abstractmethod
    def _stop(self) -> None:
        """Stop, and release ports, files and patched functions."""

    @property
    @abstractmethod
    def _where(self) -> str:
        """The address of the endpoint, in messages."""

    @property
    def _sight(self) -> Sight:
        """Which connects at the door this endpoint can count, also after its end; without a door every attempt."""
        process: Process | None = getattr(self, "_process", None)
        return Sight() if process is None else process.sight

    @property
    def _open_connections(self) -> tuple[int, ...]:
        """The numbers of the connections that the endpoint has not ended."""
        return ()

    def _held_connections(self, for_seconds: float) -> tuple[int, ...]:  # noqa: ARG002 - of a server with connections
        """The numbers of the connections that clients hold after this time, or as soon as there are none."""
        return ()

    def _settle(self) -> None:
        """Wait until everything that has reached the endpoint is in the ledger."""

    @property
    @abstractmethod
    def _title(self) -> str:
        """The heading of a drawing, in front of the plan."""

    @property
    def _label(self) -> str:
        """The kind of endpoint and its address, for `repr`."""
        return f"{type(self).__name__} {self._where}"

    @property
    def _no_attempt_here(self) -> str:
        """The text of the guard without attempts."""
        return f"{self._no_attempt} to {self._where}{self._uncounted}"

    @property
    def _uncounted(self) -> str:
        """What to do about connects that can't be counted, if the plans refuse or drop some; otherwise empty."""
        doors = [fault.door for plan in self._plans for fault in faults_of(plan) if fault.door is not None]
        if not doors or (self._sight.counts_all and NoRoute() not in doors):
            return ""
        return "; connects of clients in C and of other processes can't be counted here: use strict=False for them"

    # --- attempts ----------------------------------------------------------------------------------------------------

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The attempts so far, with everything that a client can have observed, as a tuple of `Attempt`."""
        self._check_process()
        if not self._is_closed:
            self._settle()
        return self.ledger.attempts

    @property
    def intervals(self) -> tuple[float, ...]:
        """The seconds from the beginning of each attempt to the beginning of the next, such as a client's backoff."""
        begins = [a.started_seconds for a in self.attempts]
        return tuple(b - a for a, b in pairwise(begins))

    def drawing(self, *, width: int | None = None, color: bool | None = None, still_open: str = "still open") -> str:
        """Draw the attempts as text: client left, server right, with times, byte counts, strikes and ends.

        Args:
            width: the length of the lines, from 40 to 120. Default: that of the terminal.
            color: whether strikes are red. Default: on a terminal, unless `NO_COLOR` is set; `FORCE_COLOR` asks for it
                elsewhere too.
            still_open: the remark on a connection that is open.

        Raises:
            ParameterError: `width` is no whole number of 1 or more, or `color` is neither true nor false.

        Example:
            >>> import faultline, urllib.request
            >>> with faultline.serve(faultline.reset(after_bytes=10)) as server:
            ...     with faultline.raises(ConnectionResetError):
            ...         urllib.request.urlopen(server.url)
            ...     print(server.drawing())
            http://127.0.0.1:... reset(after_bytes=10)
            #1 reset(after_bytes=10), connection 1, HTTP/1.1
                 ... s |--- connect ---------------------------------------------------->|
                 ... s |--- ... bytes: GET / HTTP/1.1 ...>|
                 ... s |<--- 10 bytes: HTTP/1.1 2 ---------------------------------------|
                 ... s |<=== RST: struck at 'response' after 10 bytes ===================|
        """
        return draw(
            self.attempts,
            f"{self._title} {self.plan!r}",
            dropped=self.ledger.dropped,
            nobody=self._no_attempt,
            width=terminal.width() if width is None else whole("width", width, " of characters", 1),
            color=terminal.shows_color() if color is None else flag("color", color),
            held=() if self._is_closed else self._open_connections,
            still_open=still_open,
        )

    # --- the plan ----------------------------------------------------------------------------------------------------

    @property
    def plan(self) -> Plan:
        """The present plan: the plan of the start, until `become` gives another."""
        return self._plans[-1]

    @explained
    def become(self, plan: Plan) -> None:
        """Change the plan at once, on the same port: attempts that begin after this returns meet the new plan.

        Raises:
            ParameterError: `plan` is not a plan, or this kind of endpoint can't play it.
            ServerError: the endpoint is closed.
        """
        self._become(plan, self._change)

    def _become(self, plan: Plan, change: Callable[[Plan], None]) -> None:
        """Check that a plan can be played now, change to it, and keep it for the guard.

        Raises:
            ParameterError: `plan` is not a plan, or this kind of endpoint can't play it.
            ServerError: the endpoint is closed.
        """
        self._adopt(stamped(self._checked(plan), next(self._numbers)), change)

    def _adopt(self, plan: Plan, change: Callable[[Plan], None]) -> None:
        """Change to a plan that is checked, and keep it for the guard.

        Raises:
            ServerError: the endpoint is closed, or this process is a fork of its process.
        """
        self._check_process()
        if self._is_closed:
            raise ServerError(f"{self!r}: expected an open {self._name}; it was closed.")
        change(plan)
        self._plans = [*self._plans, plan] if self._strict else [plan]  # the guard asks for those before

    @contextlib.contextmanager
    def becoming(self, plan: Plan) -> Iterator[None]:
        """Change the plan within a `with` block: `with server.becoming(refuse()): …`.

        After the block the endpoint plays the plan from before, from its start.

        Raises:
            ParameterError: `plan` is not a plan, or this kind of endpoint can't play it.
            ServerError: the endpoint is closed.

        Example:
            >>> import faultline, urllib.request
            >>> with faultline.serve(faultline.ok(b"healthy")) as server:
            ...     with server.becoming(faultline.reset()), faultline.raises(ConnectionResetError):
            ...         urllib.request.urlopen(server.url)
            ...     urllib.request.urlopen(server.url).read()
            b'healthy'
        """
        before = self.plan
        self.become(plan)
        try:
            yield
        finally:
            self._adopt(before, self._change)  # not a plan of its own: what has struck of it has struck

    def assert_closed(self, timeout_seconds: float = 1.0) -> None:
        """Check that clients hold no connection any more; wait a moment for those that are being closed.

        A client holds a connection until its program has closed the socket, also if the server has ended it by FIN.
        Nobody holds a connection that was reset, as by a client in TLS that answers a FIN with an alert, that both
        sides have ended by FIN, or that leads from a relay or a proxy in this process to its upstream. Where the
        kernel doesn't tell, as of another machine, a connection is held until the server has ended it.

        With `faultline_leaks = true` in pytest's configuration, each test that passed is checked so.

        Args:
            timeout_seconds: how long to wait at most.

        Raises:
            LeakError: a client still holds a connection; the message has the last attempt on it.
            ParameterError: `timeout_seconds` is out of its range.
            ServerError: the endpoint is closed, which has ended its connections.
        """
        limit = seconds("timeout_seconds", timeout_seconds)
        if self._is_closed:
            raise ServerError(f"{self!r}: expected an open {self._name}; it was closed.")
        check_none_held(self._held_connections, lambda: self.attempts, lambda: self._title, limit)

    # --- its end -----------------------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether the endpoint has started and is not closed."""
        return hasattr(self, "ledger") and not self._is_closed

    def _check_process(self) -> None:
        """Check that this process has not got a mere copy of the endpoint, by a fork.

        Raises:
            ServerError: it has.
        """
        if os.getpid() != self._process_id:
            raise ServerError(FORKED)

    def close(self) -> None:
        """Stop now; ports and files are free when this returns. Closing again does nothing.

        If this failed, closing again tries again. In a condition of `when` it returns at once, and the server stops
        soon after.

        Raises:
            ServerError: an error happened inside the endpoint while it ran, which is the cause; or this process is a
                fork of the endpoint's process.
        """
        self._check_process()
        if self._stopping.acquire(blocking=not own_thread.is_loops()):
            try:
                if not self._is_stopped:
                    self._is_closed = True
                    self._stop()
                    self._is_stopped = not own_thread.is_loops()  # there the stop was only begun
            finally:
                self._stopping.release()
        errors, self._errors = self._errors, []
        if errors:
            more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
            raise ServerError(f"the {self._name} on {self._where} broke: {errors[0]!r}{more}.") from errors[0]

    def check_struck(self) -> None:
        """Check that every planned fault has struck, as far as that can be observed; with `strict=False` do nothing.

        Raises:
            NotStruckError: a planned fault did not strike; the message describes what happened instead.
        """
        failed = [each.why for each in self._unmet() if each.fails]
        if self._strict and failed:
            raise NotStruckError(f"{failed[0]} (strict=False allows it.)")

    @property
    def unproven(self) -> tuple[str, ...]:
        """The promises of the plans that may have struck unseen, or by chance did not strike, each as a sentence.

        The guard doesn't fail the test for them; pytest's report has them.
        """
        return tuple(dict.fromkeys(each.why for each in self._unmet() if not each.fails)) if self._strict else ()

    def _unmet(self) -> list[Unmet]:
        attempts, nobody = self.attempts, self._no_attempt_here
        return [each for plan in self._plans for each in unmet(plan, attempts, nobody, self._is_unseen)]

    def _is_unseen(self, door: Door) -> bool:  # noqa: ARG002 - a UDP server tells them apart
        """Whether a client may have met this step at `connect` without being seen."""
        return self._sight.has_unseen_clients

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and os.getpid() != self._process_id:
            return  # such as the SystemExit of a forked child
        self.close()
        if error is None:
            self.check_struck()

    def __repr__(self) -> str:
        return f"<{self._label} {self.plan!r}{' closed' if self._is_closed else ''}>"
