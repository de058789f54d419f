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
from faultline._front.served import protocols_of
from faultline.modes._registry import ServerKind

if TYPE_CHECKING:
    from faultline._servers.endpoint import Endpoint

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
    from faultline._servers.server import Server
    from faultline._servers.start import checked_address

    address = checked_address(*place(options), allow_remote=options.allow_remote)
    tls = with_protocols(options.tls, protocols_of(options))
    server = Server(plan, address=address, tls=tls, strict=False, on_end=on_end)
    trusting = f"--cacert {shlex.quote(options.ca_file or server.ca_file)} " if server.url.startswith("https") else ""
    trusting += f"--cert {server.client_cert_file} " if options.tls == "mutual" else ""
    return Started(server, server.url, server.url, f"curl -v {trusting}{server.url}/")


def start_websocket(plan: Plan, options: argparse.Namespace, on_end: OnEnd) -> Started:
    """Start a server of WebSockets."""
    server, url, _, trial = start_tcp(plan, options, on_end)
    ca_file = re.search(r"--cacert (\S+) ", trial)
    url = f"ws{url.removeprefix('http')}"
    trusting = f"SSL_CERT_FILE={ca_file[1]} " if ca_file else ""
    return Started(server, url, url, f"{trusting}python -m websockets {url}")


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


def place(options: argparse.Namespace) -> tuple[str, int]:
    """The address to bind."""
    return options.host, int(number("port", options.port))


STARTERS: dict[ServerKind, Callable[[Plan, argparse.Namespace, OnEnd], Started]] = {
    "TCP server": start_tcp,
    "DNS server": start_dns,
    "UDP server": start_udp,
    "SOCKS proxy": start_socks,
    "WebSocket server": start_websocket,
}
