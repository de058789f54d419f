"""Starts a server in this process or in the child process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from faultline._core.ledger import Ledger
from faultline._core.sight import Sight
from faultline._servers.running import Running, Setup

if TYPE_CHECKING:
    from faultline._core.plan import Plan
    from faultline._net.authority import Authority
    from faultline._servers.address import Address
    from faultline._servers.connections import Control


class Process(Protocol):
    """A running server, in this process or in the child process."""

    @property
    def ledger(self) -> Ledger:
        """The record of all attempts."""

    @property
    def address(self) -> Address:
        """The address, with the port that was bound."""

    @property
    def authority(self) -> Authority:
        """The CA that signs the server's certificates."""

    @property
    def sight(self) -> Sight:
        """Which connects at the door the server can count."""

    def settle(self) -> None:
        """Wait until everything that has reached the server is in the ledger."""

    def become(self, plan: Plan, *, open_too: bool, goes_on: bool) -> None:
        """Play another plan from now on; with `open_too` on the open connections as well.

        With `goes_on` the plan has the same entries, whose faults have other conditions: every connection and the run
        through the plan keep their places.
        """

    def control(self, control: Control) -> int:
        """Apply a control to every open connection; return how many there are."""

    def still_open(self) -> tuple[int, ...]:
        """The numbers of the connections that the server has not ended."""

    def held(self, for_seconds: float) -> tuple[int, ...]:
        """Wait until clients hold no connection, at most for this time; return the numbers of those that they hold."""

    def cut_off(self, *, is_cut_off: bool) -> None:
        """Reset every connection and refuse new ones, or let clients in again."""

    def stop(self) -> list[BaseException]:
        """Release the address and end every connection; return the errors inside the server while it ran."""


def started(setup: Setup, ledger: Ledger, *, isolated: bool) -> Process:
    """Start a server, in this process or in the child process."""
    if not isolated:
        return Running(setup, ledger)
    from faultline._servers.isolated.parent import Remote

    return Remote(setup)
