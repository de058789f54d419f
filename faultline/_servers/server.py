"""What the user holds: a server that misbehaves as planned, from its start to a bounded stop.

The address is bound and listening before the constructor returns, so a client may connect at once. A server is put
together from the protocol that it speaks, the address that it listens on, and the process in which it is at work.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from faultline._core.certificates import Terms
from faultline._core.check import choice, flag, rejected
from faultline._core.errors import ParameterError, UnsupportedError
from faultline._core.fault import Fault
from faultline._core.hosts import NOWHERE, hostport
from faultline._core.ledger import Attempt, Ledger
from faultline._core.plan import Plan, checked_plan, faults_of
from faultline._core.steps import NoRoute
from faultline._core.upstream import Route, Upstream
from faultline._engine.feasible import Role, Site, check_faults, checked_answer
from faultline._net import sockets
from faultline._net.authority import Environment
from faultline._servers.address import Address, proxy_url, set_proxy
from faultline._servers.endpoint import Endpoint
from faultline._servers.process import started
from faultline._servers.running import Setup

if TYPE_CHECKING:
    import ssl

    from faultline._servers.names.detour import Detour

Tls: TypeAlias = bool | Literal["mutual"]
MUTUAL = Terms("mutual", client="required")


class Server(Endpoint):
    """A server on this machine that does to its clients what the plan says.

    Made by `faultline.serve`, `relay`, `http_proxy`, `socks_proxy` and `intercept`; a context manager that stops the
    server, raises errors from inside it, and fails if a planned fault never struck (`strict=False` leaves that out).
    """

    _name: ClassVar[str] = "server"

    def __init__(
        self,
        plan: Plan,
        *,
        address: Address,
        role: Role = "server",
        tls: Tls = False,
        answer: Fault | None = None,
        upstream: Upstream | None = None,
        route: Route | None = None,
        proxy_scheme: str = "",
        detour: Detour | None = None,
        strict: bool = True,
        isolated: bool = False,
        ledger: Ledger | None = None,
        on_end: Callable[[Attempt], None] | None = None,
    ) -> None:
        sockets.require_linux()
        self._address = address
        self._release = weakref.finalize(self, address.release)
        self._role, self._route, self._proxy_scheme = role, route or Route(), proxy_scheme
        self._detour = detour
        try:
            self._default = checked_answer(answer)
            self._terms = checked_tls(tls)
            faults = faults_of(checked_plan(plan))
            self._tls = bool(tls) or self._default.needs_tls or any(f.needs_tls for f in faults)
            super().__init__(plan, strict=strict)
            setup = Setup(
                plan=plan,
                role=role,
                address=address,
                default=self._default,
                tls=self._tls,
                terms=self._terms,
                upstream=upstream,
                route=self._route,
            )
            self._process = started(setup, ledger or Ledger(on_end), isolated=flag("isolated", isolated))
        except BaseException:
            self._release()
            raise
        self._address = self._process.address
        self.ledger = self._process.ledger
        if detour is not None:
            detour.lead_to(self.address)

    # --- where it is -------------------------------------------------------------------------------------------------

    @property
    def host(self) -> str:
        """The address that it is bound to; a Unix socket has none (`AttributeError`)."""
        return self._address.host

    @property
    def port(self) -> int:
        """The port that it is bound to; a Unix socket has none (`AttributeError`)."""
        return self._address.port

    @property
    def path(self) -> str:
        """The path of its Unix socket; empty where it has none."""
        return self._address.path

    @property
    def address(self) -> tuple[str, int]:
        """Host and port for a client on this machine, as `socket.create_connection` takes them."""
        host, port = self._address.pair
        leads_nowhere = any(isinstance(fault.door, NoRoute) for fault in faults_of(self.plan))
        return NOWHERE if leads_nowhere else host, port

    @property
    def hostport(self) -> str:
        """`host:port`, with brackets around an IPv6 address; the path of a Unix socket."""
        if self._detour is not None:
            return self._detour.hostport
        return hostport(*self.address) if self._address.has_packets else self.path

    @property
    def url(self) -> str:
        """`http://host:port` or `https://host:port`, without a path."""
        return self._detour.url if self._detour is not None else self._address.url(self.hostport, tls=self._tls)

    @property
    def proxy_url(self) -> str:
        """The same for clients that take this server for a proxy: `http://user:password@host:port`."""
        return proxy_url(self.url, self._proxy_scheme, self._route.auth)

    def use_as_proxy(self, monkeypatch: Environment, *, no_proxy: str = "") -> None:
        """Have clients take this server for their proxy that look for one in the environment.

        It sets `HTTP_PROXY`, `HTTPS_PROXY` and `ALL_PROXY`, and `NO_PROXY` to the hosts that are asked directly
        (none, unless `no_proxy` names some), in both spellings and until the end of the test.

        Example:
            def test_proxy_refuses(faultline, monkeypatch):
                proxy = faultline.http_proxy(status(403))
                proxy.use_as_proxy(monkeypatch)
        """
        set_proxy(monkeypatch, self.proxy_url, no_proxy)

    # --- what clients are to trust -----------------------------------------------------------------------------------

    @property
    def ca_file(self) -> str:
        """The path of the test CA's certificate as PEM; the file is private, and gone at exit."""
        return self._process.authority.ca_file

    @property
    def crl_file(self) -> str:
        """The path of the CA's revocation list as PEM: all certificates of `bad_cert("revoked")` until now."""
        return self._process.authority.crl_file

    @property
    def client_cert_file(self) -> str:
        """The path of a client's key and certificate as PEM, in one file."""
        return self._process.authority.client_cert_file

    def client_context(self, *, certificate: bool = False) -> ssl.SSLContext:
        """A new client context that verifies, and trusts the test CA and nothing else.

        With `certificate=True` it shows the certificate in `client_cert_file` to a server that asks for one.
        """
        return self._process.authority.client_context(certificate=certificate)

    def trust(self, monkeypatch: Environment) -> None:
        """Have clients trust the test CA that take what to trust from the environment.

        It sets `SSL_CERT_FILE` (OpenSSL, and with it urllib, urllib3, httpx), `REQUESTS_CA_BUNDLE` and
        `CURL_CA_BUNDLE` until the end of the test. A client that has made its context already keeps what it
        trusts: aiohttp makes its own when it is imported, so give it `ssl=server.client_context()`; and from Python
        3.12 on `urllib.request.urlopen` keeps that of its first request (`install_opener(None)` forgets it).

        Example:
            def test_url_is_hard_coded(faultline, monkeypatch):
                server = faultline.serve(reset(), tls=True)
                server.trust(monkeypatch)
        """
        self._process.authority.trust(monkeypatch)

    # --- what it does ------------------------------------------------------------------------------------------------

    def become(self, plan: Plan, *, open_too: bool = False) -> None:
        """Change the plan, on the same port and at once: what begins after this returns meets the new plan.

        An attempt under way keeps its fault, unless `open_too`: then it meets the next fault of the new plan from
        the next byte on. A connection that is idle is closed if the new plan's first fault needs a new one.

        Raises:
            ParameterError: `plan` is no plan, needs TLS on a server without it, or can't be played here.
            ServerError: the server was closed.
        """
        plan = self._ready_for(plan)
        self._process.become(plan, open_too=open_too)
        self._plans.append(plan)

    def reset_all(self) -> int:
        """Send RST on every open connection, now; how many there were. Later ones are served as planned."""
        return self._process.control("reset_all")

    def close_all(self) -> int:
        """Send FIN on every open connection, now; how many there were. Later ones are served as planned."""
        return self._process.control("close_all")

    def pause(self) -> int:
        """Let no byte pass on any connection, open or later, until `resume`; how many are open.

        What clients send is acknowledged as far as the kernel's buffers reach, and then blocks.
        """
        return self._process.control("pause")

    def resume(self) -> int:
        """Let bytes pass again, none of which was lost; how many connections are open."""
        return self._process.control("resume")

    def partition(self) -> int:
        """Let all packets vanish, of open connections and of SYNs, until `heal`; how many connections are open.

        Raises:
            UnsupportedError: the server is on a Unix socket, which has no packets, or this user may not attach the
                socket filter, which takes CAP_NET_ADMIN.
        """
        if not self._address.has_packets:
            raise UnsupportedError("partition() needs a server of TCP; on a Unix socket there are no packets to drop.")
        sockets.check_filter()
        return self._process.control("partition")

    def heal(self) -> int:
        """Let packets pass again; TCP repeats what was lost. How many connections are open."""
        return self._process.control("heal")

    def step_aside(self) -> None:
        """Put back functions that this has replaced, if it has; what it serves goes on."""
        if self._detour is not None:
            self._detour.close()

    def check_struck(self) -> None:
        """The guard: see that each planned fault that could be seen did strike.

        Raises:
            NotStruckError: a planned fault did not strike, or a client was kept from another machine and hid it.
        """
        if self._detour is not None and self._strict:
            self._detour.check_none_blocked()
        super().check_struck()

    # --- as an endpoint ----------------------------------------------------------------------------------------------

    def _checked(self, plan: object) -> Plan:
        good = checked_plan(plan)
        faults = faults_of(good)
        if not self._tls and any(f.needs_tls for f in faults):
            raise ParameterError(f"plan={plan!r}: expected a server with TLS; start it with tls=True.")
        host = self._address.host if self._address.has_packets else ""
        site = Site(self._default, self._tls, self._terms, host, self._role, not self._address.has_packets)
        check_faults(faults, site)
        return good

    def _change(self, plan: Plan) -> None:
        self._process.become(plan, open_too=False)

    def _settle(self) -> None:
        self._process.settle()

    def _stop(self) -> None:
        self.step_aside()
        try:
            self._errors += self._process.stop()
        finally:
            self._release()

    @property
    def _where(self) -> str:
        return self.hostport

    @property
    def _title(self) -> str:
        return self.url

    @property
    def _label(self) -> str:
        if self._detour is not None:
            return f"Interception {self.url}"
        return f"Proxy {self.proxy_url}" if self._role.endswith("proxy") else f"Server {self.url}"


def checked_tls(tls: object) -> Terms:
    """What TLS is agreed to, by the parameter `tls`.

    Raises:
        ParameterError: `tls` is not `True`, `False` or `"mutual"`.
    """
    if isinstance(tls, (int, float)) and not isinstance(tls, bool):  # 1 is equal to True, and is none
        raise rejected("tls", tls, "one of False, True, 'mutual'")
    choice("tls", tls, (False, True, "mutual"))
    return MUTUAL if tls == "mutual" else Terms()


# What these names once stood for, every server is able to: they are its other names, for annotations.
Interception: TypeAlias = Server
Proxy: TypeAlias = Server
UnixServer: TypeAlias = Server
