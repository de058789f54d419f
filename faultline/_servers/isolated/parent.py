"""A server in the child process, which a busy main thread can't delay, as its parent sees it."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Literal

from faultline._core import chance
from faultline._core.errors import ServerError
from faultline._core.ledger import Attempt, Ledger, reached, too_few
from faultline._core.plan import Plan, draws_chance, faults_of
from faultline._net.authority import Authority
from faultline._net.connects import Watch, forget
from faultline._servers.isolated.link import child
from faultline._servers.running import Setup

if TYPE_CHECKING:
    import ssl

    from faultline._core.points import Point
    from faultline._servers.address import Address
    from faultline._servers.connections import Control


class Line:
    """The line to one server of the child, which is stopped there when nobody holds the line any more."""

    def __init__(self, setup: Setup) -> None:
        scope = chance.generator().randbytes(8).hex() if draws_chance(setup.plan) else ""
        self._child = child()
        self._number, self.address = self._child.call(None, "start", setup, scope)
        weakref.finalize(self, self._child.forget, self._number)

    def ask(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """What the server in the child returns or raises.

        Raises:
            ServerError: its process has ended.
        """
        return self._child.call(self._number, method, *args, **kwargs)


class RemoteLedger(Ledger):
    """The ledger of a server in the child, as it is when it is read, and at last as it was at the end."""

    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line: Line | None = line
        self._last: tuple[Attempt, ...] = ()
        self._ended_seconds = 0.0

    def close(self, attempts: tuple[Attempt, ...], now: float) -> None:
        """Keep this, because the server can't be asked any more."""
        self._line, self._last, self._ended_seconds = None, attempts, now

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Frozen copies of all attempts so far, those under way included."""
        if self._line is not None:
            self._last = self._line.ask("attempts")
        return self._last

    def now(self) -> float:
        """Seconds since the server began, until it was closed."""
        return self._ended_seconds if self._line is None else float(self._line.ask("now"))

    def wait(self, count: int, point: Point | Literal["end"], timeout_seconds: float) -> None:
        """Wait until this many attempts have reached a point, or their end.

        Raises:
            WaitError: they have not, in time; says how many have.
        """
        if self._line is not None:
            self._line.ask("wait", count, point, timeout_seconds)
        elif reached(self._last, point) < count:
            raise too_few(self._last, count, point, timeout_seconds)


class RemoteAuthority(Authority):
    """The test CA of the child process."""

    def __init__(self, line: Line) -> None:
        self._line = line

    @property
    def ca_file(self) -> str:
        """The path of its certificate as PEM; the file is private, and gone when the child ends."""
        return str(self._line.ask("ca_file"))

    @property
    def crl_file(self) -> str:
        """The path of its revocation list as PEM."""
        return str(self._line.ask("crl_file"))

    @property
    def client_cert_file(self) -> str:
        """The path of a client's key and certificate as PEM, in one file."""
        return str(self._line.ask("client_cert_file"))

    def client_context(self, *, certificate: bool = False) -> ssl.SSLContext:
        """A new client context that verifies, and trusts this CA and nothing else."""
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_verify_locations(self.ca_file)
        if certificate:
            context.load_cert_chain(self.client_cert_file)
        return context


class Remote:
    """A server at work in the child process.

    Attributes:
        address: where it listens.
        ledger: what happened there.
        authority: the CA that has signed what it shows.
    """

    def __init__(self, setup: Setup) -> None:
        self._line = Line(setup)
        self.address: Address = self._line.address
        self.ledger = RemoteLedger(self._line)
        self.authority = RemoteAuthority(self._line)
        self._errors: list[BaseException] = []
        self._watch: Watch | None = None
        self._watch_connects(setup.plan)

    def settle(self) -> None:
        """Do nothing: the ledger is settled whenever it is read."""

    def become(self, plan: Plan, *, open_too: bool) -> None:
        """Play another plan from now on; with `open_too` on the open connections as well."""
        self._line.ask("become", plan, open_too=open_too)
        self._watch_connects(plan)

    def control(self, control: Control) -> int:
        """Do something to every open connection; how many there were."""
        return int(self._line.ask("control", control))

    def stop(self) -> list[BaseException]:
        """Free the address and end every connection; the errors inside the server while it ran."""
        if self._watch is not None:
            forget(self._watch)
        attempts, now, errors = self._line.ask("stop")
        self.ledger.close(attempts, now)
        return [*errors, *self._errors]

    def _watch_connects(self, plan: Plan) -> None:
        """Count connects of this process too, if a fault of the plan happens to one."""
        if self._watch is None and any(fault.door is not None for fault in faults_of(plan)):
            line, errors = self._line, self._errors

            def on_connect() -> None:
                try:
                    line.ask("knock")
                except ServerError as error:  # it is ours, and must not become the client's
                    errors.append(error)

            self._watch = self.address.watch(on_connect)
            weakref.finalize(self, forget, self._watch)
