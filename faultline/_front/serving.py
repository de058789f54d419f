"""Start the server that the plan of a command line takes."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from faultline._core.attempts import Attempt
from faultline._core.hosts import hostport
from faultline._core.plan import Plan
from faultline._front.options import number
from faultline._front.parser import UsageError
from faultline._front.served import protocols_of, shown_to_upstream
from faultline.modes._registry import ServerKind

if TYPE_CHECKING:
    from faultline._core.upstream import Upstream
    from faultline._servers.endpoint import Endpoint
    from faultline._servers.server import Server

OnEnd: TypeAlias = Callable[[Attempt], None]


class Started(NamedTuple):
    """A server, its URL, its address as text, and a command that tries it."""

    server: Endpoint
    url: str
    where: str
    trial: str


def start_tcp(plan: Plan, options: argparse.Namespace, on_end: OnEnd) -> Started:
    """Start a server of HTTP, or of the protocol of a script."""
    from faultline._core.certificates import with_protocols
    from faultline._core.kinds import HTTP2, SERVER
    from faultline._servers.server import Server
    from faultline._servers.start import checked_address

    unix = False if options.unix is None else options.unix
    address = checked_address(*place(options), unix, allow_remote=options.allow_remote)
    protocols = protocols_of(options)
    kind = HTTP2 if options.http2 or "h2" in (protocols or ()) else SERVER
    tls = with_protocols(options.tls, protocols)
    server = Server(plan, address=address, kind=kind, tls=tls, strict=False, on_end=on_end)
    trusting = f"--cacert {shlex.quote(options.ca_file or server.ca_file)} " if server.url.startswith("https") else ""
    trusting += f"--cert {server.client_cert_file} " if options.tls == "mutual" else ""
    trusting += "--http2-prior-knowledge " if options.http2 and not trusting else ""
    if options.unix:
        scheme = server.url.partition("+")[0]
        trial = f"curl -v {trusting}--unix-socket {shlex.quote(server.path)} {scheme}://localhost/"
        return Started(server, server.url, server.path, trial)
    return Started(server, server.url, server.url, f"curl -v {trusting}{server.url}/")


def start_websocket(plan: Plan, options: argparse.Namespace, on_end: OnEnd) -> Started:
    """Start a server of WebSockets."""
    server, url, where, trial = start_tcp(plan, options, on_end)
    ca_file = re.search(r"--cacert (\S+) ", trial)
    url = f"ws{url.removeprefix('http')}"
    if options.unix:
        return Started(server, url, where, trial)
    trusting = f"SSL_CERT_FILE={ca_file[1]} " if ca_file else ""
    return Started(server, url, url, f"{trusting}python -m websockets {url}")


def start_http2(plan: Plan, options: argparse.Namespace, on_end: OnEnd) -> Started:
    """Start a server that speaks HTTP/2 with clients that do."""
    options.http2 = True
    return start_tcp(plan, options, on_end)


def start_dns(plan: Plan, options: argparse.Namespace, on_end: OnEnd) -> Started:
    """Start a DNS server."""
    from faultline._servers.dns import DnsServer

    host, port = place(options)
    server = DnsServer(plan, host=host, port=port, strict=False, allow_remote=options.allow_remote, on_end=on_end)
    host, port = server.address
    where = hostport(host, port)
    return Started(server, f"dns://{where}", f"{where}, UDP and TCP", f"dig @{host} -p {port} api.example.com")


def start_udp(plan: Plan, options: argparse.Namespace, on_end: OnEnd) -> Started:
    """Start a UDP server."""
    from faultline._servers.udp import UdpServer

    host, port = place(options)
    server = UdpServer(plan, host=host, port=port, strict=False, allow_remote=options.allow_remote, on_end=on_end)
    host, port = server.address
    where = hostport(host, port)
    return Started(server, f"udp://{where}", f"{where}, UDP", f"echo ping | nc -u -w 1 {host} {port}")


def start_socks(plan: Plan, options: argparse.Namespace, on_end: OnEnd) -> Started:
    """Start a SOCKS proxy."""
    from faultline._core.kinds import SOCKS_PROXY
    from faultline._servers.server import Server
    from faultline._servers.start import checked_address

    address = checked_address(*place(options), allow_remote=options.allow_remote)
    server = Server(plan, address=address, kind=SOCKS_PROXY, proxy_scheme="socks5h", strict=False, on_end=on_end)
    return Started(server, server.proxy_url, server.proxy_url, f"curl -v --proxy {server.proxy_url} http://localhost/")


def start_proxy(plan: Plan, options: argparse.Namespace, on_end: OnEnd) -> Started:
    """Start a proxy of HTTP or SOCKS."""
    from faultline._core.kinds import HTTP_PROXY, SOCKS_PROXY
    from faultline._core.upstream import Route
    from faultline._servers.proxies import checked_auth, checked_to
    from faultline._servers.server import Server
    from faultline._servers.start import checked_address

    if options.socks and options.tls:
        raise UsageError("--socks: expected no --tls with it; a SOCKS proxy speaks none itself.")
    name, _, password = (options.auth or "").partition(":")
    route = Route(checked_to(options.upstream), checked_auth(options.auth and (name, password)))
    server = Server(
        plan,
        address=checked_address(*place(options), allow_remote=options.allow_remote),
        kind=SOCKS_PROXY if options.socks else HTTP_PROXY,
        tls=options.tls,
        route=route,
        proxy_scheme=options.socks or "",
        strict=False,
        on_end=on_end,
    )
    trusting = (
        f"--proxy-cacert {shlex.quote(options.ca_file or server.ca_file)} " if server.url.startswith("https") else ""
    )
    trusting += f"--proxy-cert {server.client_cert_file} " if options.tls == "mutual" else ""
    url = server.proxy_url
    return Started(server, url, url, f"curl -v {trusting}--proxy {shlex.quote(url)} http://localhost/")


def start_relay(
    plan: Plan, options: argparse.Namespace, on_end: OnEnd, *, record_bytes: int = 0
) -> tuple[Server, Upstream]:
    """Start a relay, which records at most this number of bytes; return it with its upstream.

    Raises:
        FaultlineError: an option has a wrong value, or a relay can't play the plan.
    """
    from faultline._core.certificates import with_protocols
    from faultline._servers.running import Upkeep
    from faultline._servers.server import Server
    from faultline._servers.start import PROTOCOLS, TERMINATES, checked_address, checked_relay, kind_of_relay

    plan, upstream = checked_relay(
        options.upstream,
        plan,
        options.tls,
        options.on_upstream_failure,
        allow_remote=options.allow_remote,
        upstream_cert=shown_to_upstream(options),
        starttls=options.starttls,
    )
    host, _, port = options.listen.rpartition(":")
    place = host.strip("[]") or "127.0.0.1", int(number("port", port))
    server = Server(
        plan,
        address=checked_address(*place, allow_remote=options.allow_remote),
        tls=with_protocols(TERMINATES[options.tls], protocols_of(options) or PROTOCOLS.get(options.starttls)),
        kind=kind_of_relay(options.tls, upstream),
        upstream=upstream,
        strict=False,
        on_end=on_end,
        upkeep=Upkeep(record_bytes=record_bytes),
    )
    return server, upstream


def place(options: argparse.Namespace) -> tuple[str, int]:
    """The address to bind."""
    return options.host, int(number("port", options.port))


Starter: TypeAlias = Callable[[Plan, argparse.Namespace, OnEnd], Started]
STARTERS: dict[ServerKind, Starter] = {
    "TCP server": start_tcp,
    "DNS server": start_dns,
    "UDP server": start_udp,
    "SOCKS proxy": start_socks,
    "WebSocket server": start_websocket,
    "HTTP/2 server": start_http2,
}
