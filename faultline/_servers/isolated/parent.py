"""A server in the child process, from the parent's side."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from faultline._core import chance
from faultline._core.attempts import Attempt
from faultline._core.errors import ServerError
from faultline._core.ledger import Ledger
from faultline._core.milestones import reached, too_few
from faultline._core.plan import Plan, draws_chance, faults_of
from faultline._core.sight import Sight
from faultline._net.authority import Authority
from faultline._net.connects import Watch, forget
from faultline._servers.isolated.link import child
from faultline._servers.running import Setup

if TYPE_CHECKING:
    import ssl

    from faultline._core.milestones import Milestone
    from faultline._servers.address import Address
    from faultline._servers.connections import Control


class Handle:
    """A handle on one server of the child, which stops the server when it is garbage collected.

    Attributes:
        address: the server's address, with the port that was bound.
    """

    def __init__(self, setup: Setup) -> None:
        scope = chance.generator().randbytes(8).hex() if draws_chance(setup.plan) else ""
        self._child = child()
        self._number, self.address = self._child.call(None, "start", setup, scope)
        weakref.finalize(self, self._child.forget, self._number)

    def ask(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the server, and return its value or raise its error.

        Raises:
            ServerError: the child process has ended.
        """
        return self._child.call(self._number, method, *args, **kwargs)


class RemoteLedger(Ledger):
    """The ledger of a server in the child: it is read from the child, and kept when the server is closed."""

    def __init__(self, handle: Handle, record_bytes: int) -> None:
        super().__init__(record_bytes=record_bytes)
        self._handle: Handle | None = handle
        self._last: tuple[Attempt, ...] = ()
        self._ended_seconds = 0.0

    def close(self, attempts: tuple[Attempt, ...] | None = None, now: float = 0.0) -> None:
        """Keep the final attempts and time, or those that were read last, because the server has stopped."""
        self._handle, self._ended_seconds = None, now
        if attempts is not None:
            self._last = attempts

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Frozen copies of all attempts so far, including those under way."""
        if self._handle is not None:
            self._last = self._handle.ask("attempts")
        return self._last

    def now(self) -> float:
        """Seconds since the server started; after its end, the seconds that it ran."""
        return self._ended_seconds if self._handle is None else float(self._handle.ask("now"))

    def wait(self, count: int, point: Milestone, timeout_seconds: float) -> None:
        """Wait until this many attempts have reached a point, or their end.

        Raises:
            WaitError: fewer attempts have after `timeout_seconds`; the message has their number.
        """
        if self._handle is not None:
            self._handle.ask("wait", count, point, timeout_seconds)
        elif (number := reached(self._last, point)) < count:
            raise too_few(number, len(self._last), count, point, timeout_seconds)


class RemoteAuthority(Authority):
    """The test CA of the child process."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    @property
    def ca_file(self) -> str:
        """The path of the CA's certificate as PEM; only this user can read it; removed when the child ends."""
        return str(self._handle.ask("ca_file"))

    @property
    def crl_file(self) -> str:
        """The path of the CA's revocation list as PEM."""
        return str(self._handle.ask("crl_file"))

    @property
    def client_cert_file(self) -> str:
        """The path of one PEM file with a key and a certificate for a client."""
        return str(self._handle.ask("client_cert_file"))

    def client_context(self, *, certificate: bool = False) -> ssl.SSLContext:
        """A new client context that verifies the server's certificate and trusts only this CA."""
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_verify_locations(self.ca_file)
        if certificate:
            context.load_cert_chain(self.client_cert_file)
        return context


class Remote:
    """A running server in the child process.

    Attributes:
        address: the address, with the port that was bound.
        ledger: the record of all attempts.
        authority: the CA that signs the server's certificates.
    """

    def __init__(self, setup: Setup) -> None:
        self._handle = Handle(setup)
        self.address: Address = self._handle.address
        self.ledger = RemoteLedger(self._handle, setup.upkeep.record_bytes)
        self.authority = RemoteAuthority(self._handle)
        self._errors: list[BaseException] = []
        self._watch: Watch | None = None
        self._sight: Sight | None = None  # of a server that has stopped
        self._watch_connects(setup.plan)

    @property
    def sight(self) -> Sight:
        """Which connects at the door the server can count."""
        return self._handle.ask("sight") if self._sight is None else self._sight

    def settle(self) -> None:
        """Do nothing: the ledger is settled whenever it is read."""

    def become(self, plan: Plan, *, open_too: bool, goes_on: bool) -> None:
        """Play another plan from now on, as `Process.become` says."""
        self._handle.ask("become", plan, open_too=open_too, goes_on=goes_on)
        self._watch_connects(plan)

    def control(self, control: Control) -> int:
        """Apply a control to every open connection; return how many there are."""
        return int(self._handle.ask("control", control))

    def still_open(self) -> tuple[int, ...]:
        """The numbers of the connections that the server has not ended."""
        return tuple(self._handle.ask("still_open"))

    def held(self, for_seconds: float) -> tuple[int, ...]:
        """Wait until clients hold no connection, at most for this time; return the numbers of those that they hold."""
        return tuple(self._handle.ask("held", for_seconds))

    def cut_off(self, *, is_cut_off: bool) -> None:
        """Reset every connection and refuse new ones, or let clients in again."""
        self._handle.ask("cut_off", is_cut_off=is_cut_off)

    def stop(self) -> list[BaseException]:
        """Release the address and end every connection; return the errors inside the server while it ran."""
        if self._watch is not None:
            forget(self._watch)
        try:
            attempts, now, self._sight, errors = self._handle.ask("stop")
        except ServerError:  # the child has ended: reports show what was read last
            self.ledger.close()
            raise
        self.ledger.close(attempts, now)
        return [*errors, *self._errors]

    def _watch_connects(self, plan: Plan) -> None:
        """Count connects of this process too if a fault of the plan strikes at a connect."""
        doors = [fault.door for fault in faults_of(plan) if fault.door is not None]
        if self._watch is None and doors:
            handle, errors = self._handle, self._errors

            def on_connect(_: object) -> bool:
                try:
                    return bool(handle.ask("before_connect"))
                except ServerError as error:  # must not reach the client
                    errors.append(error)
                    return True

            self._watch = self.address.watch(on_connect)
            weakref.finalize(self, forget, self._watch)
