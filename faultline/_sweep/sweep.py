"""The public function `faultline.sweep`, and the public class `Sweep` that it returns."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import ClassVar

from faultline._core import clock
from faultline._core.calls import explained
from faultline._core.check import rejected, seconds, whole
from faultline._core.counts import counted
from faultline._core.errors import FaultlineWarning, SweepError
from faultline._core.fault import Fault
from faultline._core.plan import Plan
from faultline._core.planning import checked_plan
from faultline._sweep.bar import Bar
from faultline._sweep.begun import begun
from faultline._sweep.case import Case
from faultline._sweep.endpoints import Through, checked
from faultline._sweep.places import checked_verb
from faultline._sweep.run import SweepRun
from faultline._sweep.schedule import Schedule
from faultline._sweep.source import alone, comes_from
from faultline._sweep.table import Result
from faultline.modes import close, reset, stall

VERBS = (reset(), close(), stall())
GO_ON = "with the assertions in `with run.checks():` the sweep goes on"


class Sweep:
    """The runs of a sweep, for a `for` loop: an untouched run, one run for each break, and an untouched run.

    .. versionadded:: 0.1
    """

    _public: ClassVar[tuple[str, ...]] = ("report", "table")

    def __init__(
        self,
        through: object,
        verbs: Sequence[Fault],
        *,
        depth: int,
        after_bytes: int | None,
        only: tuple[Plan, ...] | None,
        idle_seconds: float,
        run_seconds: float,
        max_runs: int,
        max_seconds: float,
    ) -> None:
        self._endpoints, self._several = checked(through)
        if only is not None and len(only) != len(self._endpoints):
            raise rejected("only", list(only), f"a plan for each relay, {len(self._endpoints)} in all")
        self._schedule = Schedule(verbs, depth=depth, stride=after_bytes, only=only or (), idle_seconds=idle_seconds)
        self._run_seconds, self._max_runs, self._max_seconds = run_seconds, max_runs, max_seconds
        self._run: SweepRun | None = None
        self._cases: list[Case] = []
        self._tests: dict[int, str] = {}
        self._cut, self._is_over = "", False
        self._began = self._ended = clock.now()
        self._bar = Bar()

    def __iter__(self) -> Iterator[SweepRun]:
        return self

    def __next__(self) -> SweepRun:
        if self._is_over:
            raise StopIteration
        begun.sweep = self
        self._end_run()
        self._cut = self._limit_of()
        case = None if self._cut else self._schedule.next()
        if case is None:
            self._finish()
            raise StopIteration
        self._bar.show(len(self._cases), len(self._cases) + self._schedule.left, len(self.result().failed))
        number = len(self._cases)
        self._cases.append(case)
        self._run = SweepRun(number, case, self._endpoints, self._run_seconds, several=self._several)
        return self._run

    def __enter__(self) -> Sweep:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        is_left = error is not None and not self._is_over and self.leave(error)
        if error is not None and is_left and hasattr(error, "add_note"):  # Python 3.11
            error.add_note(self.report())
        self._close()

    # --- its runs ----------------------------------------------------------------------------------------------------

    def _end_run(self) -> None:
        """Take note of the run that is over.

        Raises:
            SweepError: the body of the loop has not played it.
        """
        run, self._run = self._run, None
        if run is None:
            return
        case = self._cases[-1]
        if run.state != "over":
            self._is_over = True
            raise SweepError(f"{run!r}: expected `with run(expected=…) as relay:` in the body of the loop.")
        self._note(run, case)
        if begun.subtests is not None:
            begun.sweep = None  # the report of a subtest is not that of the loop
            with begun.subtests.test(msg=str(case)):
                if case.error is not None:
                    raise case.error
            begun.sweep = self
        case.settle()
        self._schedule.learn(case)
        case.forget()

    def _note(self, run: SweepRun, case: Case) -> None:
        """Keep the text of the test that reproduces a failure."""
        if case.badness:
            plans = [case.plan(number) for number in range(len(self._endpoints))]
            through = [endpoint.through for endpoint in self._endpoints]
            self._tests[len(self._cases) - 1] = alone(run.place, plans, through)

    def _limit_of(self) -> str:
        """Why the sweep has to end now; empty if it goes on."""
        took, left = clock.since(self._began), self._schedule.left
        if not self._cases or not left:
            return ""
        if len(self._cases) > self._max_runs:
            reached, more = f"max_runs={self._max_runs}", "max_runs"
        elif took >= self._max_seconds:
            reached, more = f"max_seconds={self._max_seconds:g}", "max_seconds (and the timeout of the test)"
        else:
            return ""
        pairs = " and the pairs that follow from them" if self._schedule.has_pairs else ""
        return f"cut by {reached}: {counted(left, 'break')}{pairs} not run; give a larger {more}"

    def _finish(self) -> None:
        """End the sweep.

        Raises:
            SweepError: a run failed, or nothing could break.
        """
        self._close()
        result = self.result()
        if result.failed:
            raise SweepError(result.report())
        if not any(case.outcome == "held" and not case.is_untouched for case in self._cases):
            raise SweepError(
                f"{result.table()}\nNo break struck, so that nothing is proven: {self._schedule.why_none}."
            )
        if self._cut:
            warnings.warn(f"{result.title()}; {self._cut}", FaultlineWarning, stacklevel=3)

    def _close(self) -> None:
        if not self._is_over:
            self._is_over, self._ended = True, clock.now()
            self._bar.end()

    def leave(self, error: BaseException) -> bool:
        """Take note that an exception has left the loop, and return whether something had broken by then.

        It is the failure of the present run. An exception that comes from elsewhere, after a `break`, is not.
        """
        run, self._run = self._run, None
        if run is not None and run.place is not None and not comes_from(run.place, error):
            return False
        if run is not None:
            if run.state == "over":
                run.fails(error)
            else:
                self._cases[-1].error = error
            self._note(run, self._cases[-1])
            self._cases[-1].settle()
        left = counted(self._schedule.left, "break")
        self._cut = f"the loop was left in run {len(self._cases) - 1}: {left} not run; {GO_ON}"
        self._close()
        return not all(case.is_untouched for case in self._cases)

    # --- its report --------------------------------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """Whether the sweep has ended."""
        return self._is_over

    def result(self) -> Result:
        """What was found so far."""
        name = ", ".join(endpoint.name for endpoint in self._endpoints)
        took = (self._ended if self._is_over else clock.now()) - self._began
        return Result(name, tuple(self._cases), self._tests, took, self._cut, self._schedule.notes)

    def table(self) -> str:
        """The runs so far as text, a row for each: the break, what the client raised or returned, and what failed."""
        return self.result().table()

    def report(self) -> str:
        """The table, the drawing of the worst run, and for each failure the test that reproduces it alone."""
        return self.result().report()

    def __repr__(self) -> str:
        return f"<{self.result().title()}>"


def checked_plans(only: Plan | Sequence[Plan]) -> tuple[Plan, ...]:
    """The plans of one run, for each relay one.

    Raises:
        ParameterError: something is no plan.
    """
    return tuple(checked_plan(each, "only") for each in (only if isinstance(only, (list, tuple)) else [only]))


@explained
def sweep(
    through: Through | Sequence[Through],
    *,
    verbs: Iterable[Fault] = VERBS,
    depth: int = 1,
    after_bytes: int | None = None,
    only: Plan | Sequence[Plan] | None = None,
    idle_seconds: float = 0.02,
    run_seconds: float = 5.0,
    max_runs: int = 1000,
    max_seconds: float = 20.0,
) -> Sweep:
    """Run a scenario once untouched, and then once for every break of its conversation.

    The first run is untouched, and its conversation is taken from the ledger: connections, and the messages of both
    sides. A message is what one side sends until the other side sends, so that it does not depend on how TCP cuts
    bytes. Then there is one run for each verb at each place: before a request arrives, after it arrived and before its
    answer, in the middle of the answer, right after it, and while the connection is idle after it. A stall
    right after an answer is the stall before the next request too, and is run once. The last run is untouched again;
    places that are new in it are swept too.

    A run is `with run(expected=OSError) as relay:`. The body of the loop sets the state up before it, and asserts the
    invariant after it. An assertion that fails leaves a `for` loop, and ends the sweep with the table so far; inside
    `with run.checks():` it is written down, and the sweep goes on. At the end a sweep with failures raises
    `SweepError`, whose message has a row for each run, the drawing of the worst, and for each failure the test that
    reproduces it alone. A break that never struck is listed as not reached, and not as passed.

    With pytest, a test that asks for the fixture `subtests` has one for each run.

    .. versionadded:: 0.1

    Args:
        through: what the scenario runs through, fresh for each run: the upstream of a relay, as for `relay`; a plan,
            such as `ok(b"hello")` or a script, of a server behind a relay; a function that gets a plan and starts the
            relay or the proxy that plays it, for their options. A list has one for each of them, and the run yields
            a tuple.
        verbs: the breaks, without a place of their own. Default: `reset()`, `close()` and `stall()`.
        depth: 2 also runs pairs: a second break, on another connection, in what the client did after the first.
        after_bytes: break each time this number of bytes has passed in a direction, not at messages; 1: every byte.
        only: the plan of one run, which is run alone, as a reproduction does; for several relays a plan for each. It
            takes no `verbs`, `depth` or `after_bytes` beside it.
        idle_seconds: how long a connection is silent before it breaks while idle; a connection that was not
            silent for that time in the untouched run has no such break.
        run_seconds: a run is hung after this time, and its connections are reset. A client's own timeout should be
            shorter, because stalls wait for it.
        max_runs: end after this number of breaks, and say so.
        max_seconds: begin no further run after this time, and say so.

    Returns:
        The runs, to loop over. As a context manager around the loop it adds the report to an exception that leaves it.

    Raises:
        ParameterError: a value is out of its range, or a verb can't be put everywhere.
        SweepError: from the loop: a run failed, no break struck, or the body has no `with run(…)`.

    Example:
        >>> import faultline, urllib.request
        >>> for run in faultline.sweep(faultline.ok(b"hello"), verbs=[faultline.reset()]):
        ...     with run(expected=OSError) as relay:
        ...         answer = urllib.request.urlopen(relay.url).read()
        ...         with run.checks():
        ...             assert answer == b"hello"
    """
    if isinstance(verbs, str) or not isinstance(verbs, Iterable):
        raise rejected("verbs", verbs, "several breaks, such as (reset(), stall())")
    given = tuple(map(checked_verb, verbs))
    if not given:
        raise rejected("verbs", verbs, "at least one, such as (reset(),)")
    for name, value in (("idle_seconds", idle_seconds), ("run_seconds", run_seconds)):
        if not seconds(name, value):
            raise rejected(name, value, "more than 0")
    if only is not None and (verbs is not VERBS or depth != 1 or after_bytes is not None):
        raise rejected("only", only, "no verbs, depth or after_bytes beside it, because only=… names the breaks")
    return Sweep(
        through,
        given,
        depth=whole("depth", depth, "", 1),
        after_bytes=None if after_bytes is None else whole("after_bytes", after_bytes, "", 1),
        only=None if only is None else checked_plans(only),
        idle_seconds=idle_seconds,
        run_seconds=run_seconds,
        max_runs=whole("max_runs", max_runs, "", 1),
        max_seconds=seconds("max_seconds", max_seconds),
    )
