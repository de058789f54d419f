"""The process in which a server is at work: this one, or the child."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from faultline._core.ledger import Ledger
from faultline._servers.running import Running, Setup

if TYPE_CHECKING:
    from faultline._core.plan import Plan
    from faultline._net.authority import Authority
    from faultline._servers.address import Address
    from faultline._servers.connections import Control


class Process(Protocol):
    """The process in which a server is at work."""

    @property
    def ledger(self) -> Ledger:
        """What happened."""

    @property
    def address(self) -> Address:
        """Where the server listens."""

    @property
    def authority(self) -> Authority:
        """The CA that has signed what the server shows."""

    def settle(self) -> None:
        """Return when everything that has reached the server is in the ledger."""

    def become(self, plan: Plan, *, open_too: bool) -> None:
        """Play another plan from now on."""

    def control(self, control: Control) -> int:
        """Do something to every open connection; how many there were."""

    def stop(self) -> list[BaseException]:
        """Free the address and end every connection; the errors inside the server while it ran."""


def started(setup: Setup, ledger: Ledger, *, isolated: bool) -> Process:
    """A server at work, in this process or in the child."""
    if not isolated:
        return Running(setup, ledger)
    from faultline._servers.isolated.parent import Remote

    return Remote(setup)
