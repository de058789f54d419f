"""An endpoint: the base of everything that has a plan, a ledger, an end and a guard."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Literal

from faultline._core.check import choice, flag, seconds, whole
from faultline._core.errors import NotStruckError, ServerError
from faultline._core.guard import unmet
from faultline._core.ledger import Attempt, Ledger
from faultline._core.points import POINTS, Point
from faultline._core.report import draw

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from typing_extensions import Self  # of typing from Python 3.11 on, and never imported

    from faultline._core.plan import Plan


class Endpoint(ABC):
    """Something that does to its clients what a plan says, and tells what happened.

    A kind of endpoint says how its plans are checked and played, how it stops, and what it is called.

    Attributes:
        ledger: what happened, as it is written down.
    """

    ledger: Ledger
    _name: ClassVar[str]  # of the kind, in messages
    _nobody: ClassVar[str] = "no client connected"  # what a drawing says where nothing has happened

    def __init__(self, plan: Plan, *, strict: bool) -> None:
        self._strict = flag("strict", strict)
        self._plans = [self._checked(plan)]
        self._errors: list[BaseException] = []  # of the inside, not yet raised
        self._is_closed = False

    # --- what a kind of endpoint says --------------------------------------------------------------------------------

    @abstractmethod
    def _checked(self, plan: object) -> Plan:
        """The plan, if this endpoint can play it.

        Raises:
            ParameterError: it is no plan, or one that this kind of endpoint can't play.
        """

    @abstractmethod
    def _change(self, plan: Plan) -> None:
        """Play another plan from now on."""

    @abstractmethod
    def _stop(self) -> None:
        """Stop, and give back what is held."""

    @property
    @abstractmethod
    def _where(self) -> str:
        """Where clients find it, as messages say it."""

    def _settle(self) -> None:  # noqa: B027 - some have nothing to wait for
        """Wait until everything that has reached the endpoint is in the ledger."""

    @property
    def _title(self) -> str:
        """The heading of a drawing, in front of the plan."""
        return self._where

    @property
    def _label(self) -> str:
        """The kind of endpoint and where it is, as `repr` shows them."""
        return f"{type(self).__name__} {self._where}"

    @property
    def _unasked(self) -> str:
        """What the guard says where nothing has happened."""
        return f"{self._nobody} to {self._where}"

    # --- what happened -----------------------------------------------------------------------------------------------

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """What happened, attempt by attempt: all that a client could have observed is in it."""
        if not self._is_closed:
            self._settle()
        return self.ledger.attempts

    @property
    def intervals(self) -> tuple[float, ...]:
        """Seconds from the beginning of each attempt to the beginning of the next."""
        begins = [a.started_seconds for a in self.attempts]
        return tuple(b - a for a, b in pairwise(begins))

    def drawing(self) -> str:
        """What happened, as text: client left, server right, times, byte counts, the strike marked."""
        return draw(self.attempts, f"{self._title} {self.plan!r}", nobody=self._nobody)

    def wait_for_attempts(
        self, count: int, timeout_seconds: float = 10.0, *, at: Point | Literal["end"] = "accept"
    ) -> tuple[Attempt, ...]:
        """Wait until this many attempts have begun, or have come to the point `at`.

        `at="response"` waits until this many requests have been read, `at="end"` until this many attempts are over. It
        blocks the thread: in async code call it by `await asyncio.to_thread(server.wait_for_attempts, 1)`.

        Raises:
            WaitError: they have not within `timeout_seconds`.
        """
        whole("count", count, "")
        choice("at", at, (*POINTS, "end"))
        self.ledger.wait(count, at, seconds("timeout_seconds", timeout_seconds))
        return self.attempts

    # --- what it does ------------------------------------------------------------------------------------------------

    @property
    def plan(self) -> Plan:
        """The plan that is played now."""
        return self._plans[-1]

    def become(self, plan: Plan) -> None:
        """Change the plan, in place and at once: what begins after this returns meets the new plan.

        Raises:
            ParameterError: `plan` is no plan, or one that this kind of endpoint can't play.
            ServerError: the endpoint was closed.
        """
        plan = self._ready_for(plan)
        self._change(plan)
        self._plans.append(plan)

    def _ready_for(self, plan: Plan) -> Plan:
        """The plan, if it can be played now.

        Raises:
            ParameterError: it can't be played here.
            ServerError: the endpoint was closed.
        """
        plan = self._checked(plan)
        if self._is_closed:
            raise ServerError(f"{self!r}: expected an open {self._name}; it was closed.")
        return plan

    @contextlib.contextmanager
    def becoming(self, plan: Plan) -> Iterator[None]:
        """Have another plan for a while: `with server.becoming(refuse()): …`; then the one before, from its start.

        Raises:
            ParameterError: as `become`.
            ServerError: as `become`.
        """
        before = self.plan
        self.become(plan)
        try:
            yield
        finally:
            self.become(before)

    def step_aside(self) -> None:  # noqa: B027 - most have replaced nothing
        """Put back functions that this has replaced, if it has; what it serves goes on."""

    # --- its end -----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop now: what it held is free when this returns. Closing again does nothing.

        Raises:
            ServerError: something broke inside while it ran.
        """
        if not self._is_closed:
            self._is_closed = True
            self._stop()
        errors, self._errors = self._errors, []
        if errors:
            more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
            raise ServerError(f"the {self._name} on {self._where} broke: {errors[0]!r}{more}.") from errors[0]

    def check_struck(self) -> None:
        """The guard: see that each planned fault that could be seen did strike.

        Raises:
            NotStruckError: a planned fault did not strike; says what happened instead.
        """
        whys = [why for plan in self._plans if (why := unmet(plan, self.attempts, self._unasked))]
        if self._strict and whys:
            raise NotStruckError(f"{whys[0]} (strict=False allows it.)")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        if error is None:
            self.check_struck()

    def __repr__(self) -> str:
        return f"<{self._label} {self.plan!r}{' closed' if self._is_closed else ''}>"
