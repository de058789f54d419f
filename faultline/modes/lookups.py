"""Lookups: what happens when a client looks up a name, before there is anything to connect to.

Rules of this room: as a mode, a function here checks its parameters and returns a fault. Where lookups are made is
the resolver's business and that of the DNS server; on a connection these faults mean nothing.
"""

from __future__ import annotations

import ipaddress
from typing import Literal, Protocol, TypeAlias, get_args

from faultline._core.breaks import Break
from faultline._core.check import choice, rejected, seconds, whole
from faultline._core.conditions import Latency
from faultline._core.fault import Fault
from faultline._core.lookups import Found
from faultline._core.said import Said
from faultline._core.steps import NoName

__all__ = ["addresses", "bad_dns", "no_address", "nxdomain", "resolves_to", "servfail", "slow_resolve"]

First: TypeAlias = Literal["dead_first", "blackhole_first", "ipv6_first"]
DnsKind: TypeAlias = Literal["refused", "silence", "truncated", "wrong_id", "garbage", "cname_loop", "flapping"]
DNS_KINDS: tuple[DnsKind, ...] = get_args(DnsKind)
WHERE = "a server, an IP address of this machine, or one with a port such as '127.0.0.1:8080'"


class Reachable(Protocol):
    """What has an address: a server."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""


def nxdomain() -> Fault:
    """Find no such name: EAI_NONAME, or NXDOMAIN from a DNS server (RFC 1035, 4.1.1).

    `socket.getaddrinfo` raises `socket.gaierror` -2, "Name or service not known".

    Example:
        >>> import faultline, socket
        >>> with faultline.resolve("api.example.com", faultline.nxdomain()):
        ...     socket.create_connection(("api.example.com", 443))
        Traceback (most recent call last):
        socket.gaierror: [Errno -2] Name or service not known
    """
    return failing("nxdomain")


def servfail() -> Fault:
    """Find out nothing for now: EAI_AGAIN, or SERVFAIL from a DNS server (RFC 1035, 4.1.1).

    `socket.getaddrinfo` raises `socket.gaierror` -3, "Temporary failure in name resolution".

    Example:
        >>> import faultline, socket
        >>> with faultline.resolve("api.example.com", faultline.servfail()):
        ...     socket.gethostbyname("api.example.com")
        Traceback (most recent call last):
        socket.gaierror: [Errno -3] Temporary failure in name resolution
    """
    return failing("servfail")


def no_address() -> Fault:
    """Find the name and no address of it: EAI_NODATA, or an empty answer from a DNS server (RFC 2308, 2.2).

    `socket.getaddrinfo` raises `socket.gaierror` -5, "No address associated with hostname".

    Example:
        >>> import faultline, socket
        >>> with faultline.resolve("api.example.com", faultline.no_address()):
        ...     socket.gethostbyname("api.example.com")
        Traceback (most recent call last):
        socket.gaierror: [Errno -5] No address associated with hostname
    """
    return failing("no_address")


def bad_dns(kind: DnsKind) -> Fault:
    """Answer a DNS query wrongly, or not at all; only a DNS server can.

    `refused` (RCODE 5), `silence`, `truncated` (TC over UDP, and nobody listens over TCP), `wrong_id`, `garbage`
    (bytes that are no message), `cname_loop` (two names, each an alias of the other), `flapping` (TTL 0, and every
    other answer is an address where nobody listens).

    Raises:
        ParameterError: no such kind.

    Example:
        >>> from faultline import bad_dns
        >>> bad_dns("truncated")
        bad_dns('truncated')
    """
    choice("kind", kind, DNS_KINDS)
    return Fault(Break("lookup", NoName(kind)), said=(Said("bad_dns", (("kind", kind),), 1),))


def failing(kind: str) -> Fault:
    """A lookup that fails in one way, said by a function of that name."""
    return Fault(Break("lookup", NoName(kind)), said=(Said(kind),))


def slow_resolve(delay_seconds: float) -> Fault:
    """Answer a lookup so many seconds later.

    What the answer is, another fault says, or who would be asked without it. The calling thread waits: asyncio looks
    up in threads of its own, and its client's timeout ends the wait for it, not the thread.

    Raises:
        ParameterError: no number of seconds.

    Example:
        >>> from faultline import nxdomain, slow_resolve
        >>> slow_resolve(2) & nxdomain()
        slow_resolve(2) & nxdomain()
    """
    seconds("delay_seconds", delay_seconds)
    late = Latency("lookup", float(delay_seconds))
    return Fault(conditions=(late,), said=(Said("slow_resolve", (("delay_seconds", delay_seconds),), 1),))


def resolves_to(server: Reachable | str) -> Fault:
    """Find this server: its address, and its port instead of the one that the client asks for.

    Only what takes the port from the lookup is led to another one: `socket.create_connection`, asyncio, urllib3 and
    http.client do; anyio (and with it httpx's AsyncClient) and whoever uses `gethostbyname` take the address alone.
    For those have the server's port in the URL, or use `intercept`, which changes the connect.

    Args:
        server: a server, or an address of this machine with or without a port.

    Raises:
        ParameterError: no such thing.

    Example:
        >>> import faultline, urllib.request
        >>> with faultline.serve(faultline.ok(b"found")) as server:
        ...     with faultline.resolve("api.example.com", faultline.resolves_to(server)):
        ...         urllib.request.urlopen("http://api.example.com/").read()
        b'found'
    """
    host, port = target_of(server)
    kept = None if isinstance(server, str) else server
    return Fault(answer=Found(((host, port),), kept), said=(Said("resolves_to", (("server", server),), 1),))


def addresses(first: First, server: Reachable) -> Fault:
    """Find several addresses, of which only the last leads to the server.

    For clients that try one after the other, or several at once (Happy Eyeballs, RFC 8305). The first address is
    another one of this machine, with the server's port: at `dead_first` it refuses, at `blackhole_first` it is
    silent, and at `ipv6_first` it is that of IPv6 and refuses. What a client tries there is in the server's ledger.

    Raises:
        ParameterError: no such order, or no server.

    Example:
        >>> import faultline, socket
        >>> with faultline.serve(faultline.ok()) as server:
        ...     with faultline.resolve("api.example.com", faultline.addresses("dead_first", server)):
        ...         with socket.create_connection(("api.example.com", server.port)):
        ...             print([attempt.ended_how for attempt in server.attempts])
        ['RST', None]
    """
    choice("first", first, get_args(First))
    if isinstance(server, str) or not hasattr(server, "ledger"):
        raise rejected("server", server, "a server, in whose ledger the tries are written down")
    host, port = target_of(server)
    if ":" in host or getattr(server, "host", "") in ("0.0.0.0", "::"):  # noqa: S104 - a comparison
        raise rejected("server", server, "a server on one address of IPv4, such as host='127.0.0.1'")
    kind = first.removesuffix("_first")
    found = Found(((host, port),), server, kind)  # type: ignore[arg-type] # one of its words
    return Fault(answer=found, said=(Said("addresses", (("first", first), ("server", server)), 2),))


def target_of(server: object) -> tuple[str, int | None]:
    """Host and port of what a name is to lead to.

    Raises:
        ParameterError: it is nothing of this machine.
    """
    if not isinstance(server, str):
        address = getattr(server, "address", None)
        if not isinstance(address, tuple) or not address[1]:
            raise rejected("server", server, WHERE)
        return address
    host, colon, port = server.rpartition(":")
    if not colon or server.endswith("]") or (":" in host and not host.startswith("[")):
        host, port = server, ""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
        number = whole("port", int(port), "", 1, 65_535) if port else None
    except ValueError:
        raise rejected("server", server, WHERE) from None
    if not address.is_loopback:
        raise rejected("server", server, WHERE)
    return str(address), number
