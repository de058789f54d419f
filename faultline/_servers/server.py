"""The public class `Server`, which misbehaves as planned, from its start to its stop.

It is composed of its protocol, its address and its process. Clients can connect once the constructor returns.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from faultline._core.attempts import Attempt
from faultline._core.calls import explained
from faultline._core.capabilities import Capabilities
from faultline._core.certificates import Terms, Tls
from faultline._core.check import flag
from faultline._core.drawing import title_of
from faultline._core.errors import UnsupportedError
from faultline._core.fault import Fault
from faultline._core.hosts import NOWHERE, hostport
from faultline._core.kinds import SERVER, check, check_plan, on_unix, settled
from faultline._core.ledger import Ledger
from faultline._core.plan import Plan, faults_of
from faultline._core.planning import checked_plan
from faultline._core.steps import NoRoute
from faultline._core.upstream import Route, Upstream, begins_with_tls
from faultline._engine.feasible import check_feasible, checked_answer, checked_terms
from faultline._net import system
from faultline._net.authority import Environment
from faultline._servers.address import Address, proxy_url, set_proxy
from faultline._servers.endpoint import Endpoint
from faultline._servers.process import started
from faultline._servers.running import USUAL, Setup, Upkeep

if TYPE_CHECKING:
    import ssl

    from faultline._servers.names.detour import Detour


class Server(Endpoint):
    """A server on this machine that plays a plan to its clients.

    `faultline.serve`, `relay`, `http_proxy`, `socks_proxy` and `intercept` return servers. As a context manager a
    server stops at the end of the block, raises an error that happened inside it, and raises `NotStruckError` if a
    planned fault never struck (not with `strict=False`).

    .. versionadded:: 0.1
    """

    _name: ClassVar[str] = "server"

    def __init__(
        self,
        plan: Plan,
        *,
        address: Address,
        kind: Capabilities = SERVER,
        tls: Tls | Terms = False,
        answer: Fault | None = None,
        upstream: Upstream | None = None,
        route: Route | None = None,
        proxy_scheme: str = "",
        detour: Detour | None = None,
        strict: bool = True,
        isolated: bool = False,
        ledger: Ledger | None = None,
        on_end: Callable[[Attempt], None] | None = None,
        upkeep: Upkeep = USUAL,
    ) -> None:
        system.check()
        self._address, self._release = address, weakref.finalize(self, address.release)
        self._route, self._proxy_scheme, self._upstream, self._detour = route or Route(), proxy_scheme, upstream, detour
        try:
            self._default, self._terms = checked_answer(answer), checked_terms(tls, kind)
            kind = kind if address.has_packets else on_unix(kind)
            if answer is not None:
                check(answer, kind)
            self._kind = settled(kind, checked_plan(plan), self._default, tls=bool(tls))
            self._tls = self._kind.tls == "always"
            if upstream is not None and not self._tls:
                upstream = self._upstream = upstream.passed_through
            self._has_tls_url = begins_with_tls(upstream, tls=self._tls)
            super().__init__(plan, strict=strict)
            setup = Setup(
                plan=self.plan,
                talk=kind.talk,
                address=address,
                default=self._default,
                tls=self._tls,
                terms=self._terms,
                upstream=upstream,
                route=self._route,
                upkeep=upkeep,
            )
            self._process = started(setup, ledger or Ledger(on_end), isolated=flag("isolated", isolated))
        except BaseException:
            self._release()
            raise
        self._address, self.ledger = self._process.address, self._process.ledger
        if detour is not None:
            detour.lead_to(self.address)

    # --- its address -------------------------------------------------------------------------------------------------

    @property
    def host(self) -> str:
        """The IP address that the server is bound to.

        Raises:
            AttributeError: the server listens on a Unix socket.
        """
        return self._address.host

    @property
    def port(self) -> int:
        """The port that the server is bound to.

        Raises:
            AttributeError: the server listens on a Unix socket.
        """
        return self._address.port

    @property
    def path(self) -> str:
        """The path of the server's Unix socket; empty for TCP."""
        return self._address.path

    @property
    def address(self) -> tuple[str, int]:
        """Host and port for a client on this machine, for `socket.create_connection`.

        Raises:
            AttributeError: the server listens on a Unix socket.
        """
        host, port = self._address.pair
        leads_nowhere = any(isinstance(fault.door, NoRoute) for fault in faults_of(self.plan))
        return NOWHERE if leads_nowhere else host, port

    @property
    def hostport(self) -> str:
        """`host:port`, with brackets around an IPv6 address; for a Unix socket its path."""
        if self._detour is not None:
            return self._detour.hostport
        return hostport(*self.address) if self._address.has_packets else self.path

    @property
    def url(self) -> str:
        """The URL of the server, without a path: `http://host:port`, or with TLS `https://host:port`."""
        return self._detour.url if self._detour else self._address.url(self.hostport, tls=self._has_tls_url)

    @property
    def ws_url(self) -> str:
        """The URL for WebSocket clients, without a path: `ws://host:port`, or with TLS `wss://host:port`."""
        return f"ws{self.url.removeprefix('http')}"

    @property
    def proxy_url(self) -> str:
        """The URL for clients that use this server as their proxy: `http://user:password@host:port`."""
        return proxy_url(self.url, self._proxy_scheme, self._route.auth)

    @explained
    def use_as_proxy(self, monkeypatch: Environment, *, no_proxy: str = "") -> None:
        """Make clients use this server as their proxy if they read the proxy's URL from the environment.

        This sets `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in upper and lower case, until the end of
        the test.

        Args:
            monkeypatch: pytest's fixture of this name.
            no_proxy: hosts that clients connect to without the proxy, separated by commas. Default: no hosts.

        Example:
            def test_proxy_refuses(faultline, monkeypatch):
                proxy = faultline.http_proxy(status(403))
                proxy.use_as_proxy(monkeypatch)
        """
        set_proxy(monkeypatch, self.proxy_url, no_proxy)

    # --- the test CA -------------------------------------------------------------------------------------------------

    @property
    def ca_file(self) -> str:
        """The path of the test CA's certificate as PEM; only this user can read the file, which is removed at exit."""
        return self._process.authority.ca_file

    @property
    def crl_file(self) -> str:
        """The path of the CA's revocation list as PEM: all certificates of `bad_cert("revoked")` so far."""
        return self._process.authority.crl_file

    @property
    def client_cert_file(self) -> str:
        """The path of one PEM file with a key and a certificate for a client."""
        return self._process.authority.client_cert_file

    @explained
    def client_context(self, *, certificate: bool = False) -> ssl.SSLContext:
        """A new client context that verifies the server's certificate and trusts only the test CA.

        With `certificate=True` the client shows the certificate in `client_cert_file` to a server that asks for it.
        """
        return self._process.authority.client_context(certificate=certificate)

    @explained
    def trust(self, monkeypatch: Environment) -> None:
        """Make clients trust the test CA if they read the CA file's path from the environment.

        This sets, until the end of the test, `SSL_CERT_FILE` (for OpenSSL, and so for urllib, urllib3 and httpx),
        `REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE`, `AWS_CA_BUNDLE` (boto3), `PIP_CERT`, `GIT_SSL_CAINFO`,
        `NODE_EXTRA_CA_CERTS`, and those of Cargo, Deno, gcloud, gRPC, httplib2, npm, Ruby's Bundler and
        websocket-client. Child processes inherit them. A client that already has a TLS context doesn't read them again:
        aiohttp makes its context when it is imported, so pass `ssl=server.client_context()` to it; and from Python
        3.12 on `urllib.request.urlopen` keeps the context of its first request (`install_opener(None)` drops it).

        Args:
            monkeypatch: pytest's fixture of this name.

        Example:
            def test_url_is_hard_coded(faultline, monkeypatch):
                server = faultline.serve(reset(), tls=True)
                server.trust(monkeypatch)
        """
        self._process.authority.trust(monkeypatch)

    # --- controls ----------------------------------------------------------------------------------------------------

    @explained
    def become(self, plan: Plan, *, open_too: bool = False) -> None:
        """Change the plan at once, on the same port: attempts that begin after this returns meet the new plan.

        An idle connection is closed if the first fault of the new plan needs a new connection.

        Args:
            plan: the new plan.
            open_too: whether open connections meet the new plan too, each from its next byte on. By default an
                attempt under way keeps its fault.

        Raises:
            ParameterError: `plan` is not a plan, needs TLS on a server without it, or can't be played by this server.
            ServerError: the server is closed.
        """
        self._become(plan, partial(self._change, open_too=open_too))

    def reset_all(self) -> int:
        """Send RST on every open connection now, and return how many there were; later connections follow the plan."""
        return self._process.control("reset_all")

    def close_all(self) -> int:
        """Send FIN on every open connection now, and return how many there were; later connections follow the plan."""
        return self._process.control("close_all")

    def pause(self) -> int:
        """Hold all bytes back on every connection, open or later, until `resume`; return how many are open.

        Clients can still send until the kernel's buffers are full; then their sends block.
        """
        return self._process.control("pause")

    def resume(self) -> int:
        """Let bytes pass again after `pause`, without loss; return how many connections are open."""
        return self._process.control("resume")

    def partition(self) -> int:
        """Drop all packets of open connections, and all SYNs, until `heal`; return how many connections are open.

        Raises:
            UnsupportedError: the server listens on a Unix socket, which has no packets, or this user may not attach
                the socket filter, which needs CAP_NET_ADMIN.
        """
        if not self._address.has_packets:
            raise UnsupportedError("partition() needs a TCP server; a Unix socket has no packets to drop.")
        system.check_filter()
        return self._process.control("partition")

    def heal(self) -> int:
        """Let packets pass again after `partition`, and TCP repeats lost ones; return how many connections are open."""
        return self._process.control("heal")

    @property
    def _open_connections(self) -> tuple[int, ...]:
        return self._process.still_open()

    def _held_connections(self, for_seconds: float) -> tuple[int, ...]:
        return self._process.held(for_seconds)

    def cut_off(self, *, is_cut_off: bool = True) -> None:
        """Reset every connection and refuse new ones, or let clients in again, who meet the plan."""
        self._process.cut_off(is_cut_off=is_cut_off)

    def go_on(self, plan: Plan) -> None:
        """Change the conditions alone, on open connections too: the plan has the same entries, and goes on."""
        self._become(plan, partial(self._change, goes_on=True))

    def step_aside(self) -> None:
        """Restore the functions that this server has replaced, if any, and continue to serve."""
        if self._detour is not None:
            self._detour.close()

    def check_struck(self) -> None:
        """Check that every planned fault has struck, as far as that can be observed; with `strict=False` do nothing.

        Raises:
            NotStruckError: a planned fault did not strike, or `block_others` blocked a client, which hid the error.
        """
        if self._detour is not None and self._strict:
            self._detour.check_none_blocked()
        super().check_struck()

    # --- as an endpoint ----------------------------------------------------------------------------------------------

    def _checked(self, plan: object) -> Plan:
        good = checked_plan(plan)
        check_plan(good, self._kind)
        host = self._address.host if self._address.has_packets else ""
        check_feasible(faults_of(good), host, self._terms, self._default if self._kind.talk == "http1" else None)
        return good

    def _change(self, plan: Plan, *, open_too: bool = False, goes_on: bool = False) -> None:
        self._process.become(plan, open_too=open_too, goes_on=goes_on)

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
        return self.proxy_url if self._proxy_scheme else title_of(self.url, self.attempts, self._upstream)

    @property
    def _label(self) -> str:
        if self._detour is not None:
            return f"Interception {self.url}"
        return f"Proxy {self.proxy_url}" if self._kind.talk.endswith("proxy") else f"Server {self.url}"


Interception: TypeAlias = Server  # other names, for annotations
Proxy: TypeAlias = Server
UnixServer: TypeAlias = Server
