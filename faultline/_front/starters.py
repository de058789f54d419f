"""What the `faultline` fixture gives a test: everything that can be started, and one teardown that tells the truth.

Rules of this room: parameters are those of the library's functions, which do the work, and are imported when they
are called, because pytest loads this room in every run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar

import pytest

if TYPE_CHECKING:
    from faultline._core.fault import Fault
    from faultline._core.plan import Plan
    from faultline._core.upstream import OnFailure
    from faultline._servers.dns import DnsServer
    from faultline._servers.endpoint import Endpoint
    from faultline._servers.names.resolver import Resolver
    from faultline._servers.server import Server, Tls
    from faultline._servers.udp import UdpServer

T = TypeVar("T", bound="Endpoint")


class Faultline:
    """The `faultline` fixture: starts servers that live as long as the test."""

    def __init__(self) -> None:
        self.servers: list[Endpoint] = []

    def serve(
        self,
        plan: Plan,
        *,
        tls: Tls = False,
        answer: Fault | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        strict: bool = True,
        isolated: bool = False,
        unix: bool | str = False,
    ) -> Server:
        """Start a server that does to its clients what the plan says; it is stopped after the test.

        Parameters are those of `faultline.serve`. At teardown an error inside the server, or a planned fault that
        never struck (unless `strict=False`), fails the test.
        """
        from faultline._servers.start import serve

        options: dict[str, Any] = {"tls": tls, "answer": answer, "host": host, "port": port}
        return self._hold(serve(plan, strict=strict, isolated=isolated, unix=unix, **options))

    def relay(
        self,
        upstream: str | Server,
        plan: Plan | None = None,
        *,
        tls: Literal["through", "terminate", "mutual"] = "through",
        on_upstream_failure: OnFailure = "reset",
        allow_remote: bool = False,
        host: str = "127.0.0.1",
        port: int = 0,
        strict: bool = True,
        isolated: bool = False,
    ) -> Server:
        """Put a server in front of a real one; it is stopped after the test.

        Parameters are those of `faultline.relay`, and teardown is that of `serve`.
        """
        from faultline._servers.start import relay

        return self._hold(
            relay(
                upstream,
                plan,
                tls=tls,
                on_upstream_failure=on_upstream_failure,
                allow_remote=allow_remote,
                host=host,
                port=port,
                strict=strict,
                isolated=isolated,
            )
        )

    def http_proxy(
        self,
        plan: Plan | None = None,
        *,
        to: str | Server | None = None,
        auth: tuple[str, str] | None = None,
        tls: bool = False,
        host: str = "127.0.0.1",
        port: int = 0,
        strict: bool = True,
    ) -> Server:
        """Start an HTTP proxy; parameters are those of `faultline.http_proxy`, and teardown is that of `serve`."""
        from faultline._servers.proxies import http_proxy

        return self._hold(http_proxy(plan, to=to, auth=auth, tls=tls, host=host, port=port, strict=strict))

    def socks_proxy(
        self,
        plan: Plan | None = None,
        *,
        to: str | Server | None = None,
        auth: tuple[str, str] | None = None,
        scheme: Literal["socks4", "socks4a", "socks5", "socks5h"] = "socks5h",
        host: str = "127.0.0.1",
        port: int = 0,
        strict: bool = True,
    ) -> Server:
        """Start a SOCKS proxy; parameters are those of `faultline.socks_proxy`, and teardown is that of `serve`."""
        from faultline._servers.proxies import socks_proxy

        return self._hold(socks_proxy(plan, to=to, auth=auth, scheme=scheme, host=host, port=port, strict=strict))

    def intercept(
        self,
        url: str,
        plan: Plan,
        *,
        answer: Fault | None = None,
        block_others: bool = False,
        strict: bool = True,
    ) -> Server:
        """Have code that asks for this URL meet a server of ours until the end of the test.

        Parameters are those of `faultline.intercept`, and teardown is that of `serve`.
        """
        from faultline._servers.names.intercept import intercept

        return self._hold(intercept(url, plan, answer=answer, block_others=block_others, strict=strict))

    def resolve(self, name: str, plan: Plan, *, strict: bool = True) -> Resolver:
        """Decide what a name is found to be until the end of the test.

        Parameters are those of `faultline.resolve`, and teardown is that of `serve`.
        """
        from faultline._servers.names.resolver import resolve

        return self._hold(resolve(name, plan, strict=strict))

    def dns_server(
        self, plan: Plan | None = None, *, host: str = "127.0.0.1", port: int = 0, strict: bool = True
    ) -> DnsServer:
        """Start a DNS server; parameters are those of `faultline.dns_server`, and teardown is that of `serve`."""
        from faultline._servers.dns import dns_server

        return self._hold(dns_server(plan, host=host, port=port, strict=strict))

    def udp(
        self, plan: Plan, *, answer: Fault | None = None, host: str = "127.0.0.1", port: int = 0, strict: bool = True
    ) -> UdpServer:
        """Start a UDP server; parameters are those of `faultline.udp`, and teardown is that of `serve`."""
        from faultline._servers.udp import udp

        return self._hold(udp(plan, answer=answer, host=host, port=port, strict=strict))

    def _hold(self, server: T) -> T:
        self.servers.append(server)
        return server

    def close(self, *, guard: bool) -> None:
        """Stop all servers, then fail for what went wrong inside them, or for a fault that never struck."""
        from faultline._core.errors import NotStruckError, ServerError

        wrong: list[Exception] = []
        last_first = self.servers[::-1]  # what was changed last is put back first
        for check in [s.close for s in last_first] + [s.check_struck for s in self.servers if guard]:
            try:
                check()
            except (NotStruckError, ServerError) as error:
                wrong.append(error)
        for broken in wrong:
            if isinstance(broken, ServerError):
                raise broken  # with its traceback: it is our bug
        if wrong:
            pytest.fail("\n".join(str(error) for error in wrong), pytrace=False)
