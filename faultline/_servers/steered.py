"""What the pytest plugin and the control API ask of an endpoint, and no user does."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from faultline._core.plan import Plan


class Steered:
    """An endpoint that may be steered; a kind of endpoint overrides what concerns it."""

    _public: ClassVar[tuple[str, ...]] = ()

    def step_aside(self) -> None:
        """Restore the functions that this endpoint has replaced, if any, and continue to serve."""

    def cut_off(self, *, is_cut_off: bool = True) -> None:
        """End what every client waits for, and turn new clients away, until they are let in again.

        The plugin calls this when the time of a test is over, so that no thread of the test waits for ever.
        """

    def go_on(self, plan: Plan) -> None:
        """Change the conditions alone, on open connections too: the plan has the same entries, and goes on."""
