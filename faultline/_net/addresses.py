"""Addresses and host names in the forms of the C library, and the errors of its lookups.

Rules: nothing here looks up a name or replaces a function.
"""

from __future__ import annotations

import contextlib
import ipaddress
import operator
import socket
from collections.abc import Sequence
from typing import TypeAlias

from faultline._core.check import flag, rejected, whole
from faultline._core.hosts import address_of, is_local, is_numeric, normal
from faultline._net.system import gai_text

IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Target: TypeAlias = tuple[str, "int | None"]  # an address and a port; `None` for the port that the client asks for

FAILURES = {"nxdomain": "EAI_NONAME", "servfail": "EAI_AGAIN", "no_address": "EAI_NODATA"}


def checked_address(host: object, port: object, *, allow_remote: bool = False) -> tuple[str, int]:
    """An address to bind: an IP address of this machine or `localhost`, and a port or 0.

    Raises:
        ParameterError: `host` is no IP address or `localhost`, or an address that other machines can reach, without
            `allow_remote`, or `port` is not 0 to 65,535.
    """
    is_allowed = flag("allow_remote", allow_remote)
    number = whole("port", port, "", 0, 65_535)
    try:
        name = "127.0.0.1" if host == "localhost" else str(address_of(str(host)))
    except ValueError:
        raise rejected("host", host, "an IP address of this machine, or 'localhost'") from None
    if not is_allowed and not is_local(name):
        here = "'::1'" if ":" in name else "'127.0.0.1'"
        raise rejected(
            "host",
            host,
            f"an address that only this machine can reach, such as {here}; "
            "allow_remote=True (--allow-remote) lets other machines connect",
        )
    return name, number


def ipv4_of(targets: Sequence[Target]) -> list[str]:
    """The IPv4 addresses among the targets.

    Raises:
        socket.gaierror: no target is an IPv4 address.
    """
    found = [host for host, _ in targets if ":" not in host]
    if not found:
        raise wrong_family()
    return found


def gaierror(kind: str) -> socket.gaierror:
    """The error that a lookup raises for this kind of failure."""
    return socket.gaierror(*gai_text(FAILURES[kind]))


def wrong_family() -> socket.gaierror:
    """The error of a lookup that finds addresses of the other family alone."""
    return socket.gaierror(*gai_text("EAI_ADDRFAMILY"))


def canonical(host: str) -> str:
    """The canonical spelling of an address; a name is returned unchanged."""
    return str(ipaddress.ip_address(host)) if is_numeric(host) else host


def fitted(address: tuple[str, int], family: int) -> tuple[str, int]:
    """The address for a socket of this family: an IPv4 address is mapped for an IPv6 socket (RFC 4291, 2.5.5.2)."""
    host, port = address
    return (f"::ffff:{host}", port) if family == socket.AF_INET6 and ":" not in host else (host, port)


def host_and_port(address: object) -> tuple[str, int] | None:
    """Host and port of a socket address in any spelling that Python's socket takes; `None` for other addresses."""
    if not isinstance(address, tuple) or len(address) < 2:  # noqa: PLR2004 - host and port
        return None
    host, port = address[:2]
    if isinstance(host, (bytes, bytearray)):
        host = host.decode("ascii", "replace")
    try:
        return (host, operator.index(port)) if isinstance(host, str) else None
    except TypeError:
        return None


def reaches(host: str, bound: str) -> bool:
    """Whether a connect to this host reaches a server that is bound to the address `bound`."""
    there, here = dialled(host), ipaddress.ip_address(bound)
    if not here.is_unspecified:
        return there == here or (here.is_loopback and here.version == 6 and not is_numeric(host) and is_local(host))  # noqa: PLR2004 - IPv6
    return there is not None and (here.version in (6, there.version)) and is_of_this_machine(there)


def dialled(host: str) -> IpAddress | None:
    """The address that the system connects to; `None` for the name of another machine."""
    if not is_address(host):
        return None if host and is_outside(host) else ipaddress.ip_address("127.0.0.1")
    found = ipaddress.ip_address(host if is_numeric(host) else socket.inet_ntoa(socket.inet_aton(host)))
    found = getattr(found, "ipv4_mapped", None) or found
    if found.is_unspecified:  # the system connects to this machine then (`ip_route_connect`, `tcp_v6_connect`)
        return ipaddress.ip_address("127.0.0.1" if found.version == 4 else "::1")  # noqa: PLR2004 - IPv4
    return found


def is_of_this_machine(address: IpAddress) -> bool:
    """Whether an address is one of this machine, so that a socket can be bound to it."""
    if address.is_loopback:
        return True
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004 - IPv4
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((str(address), 0))
        return True
    return False


def is_address(host: str) -> bool:
    """Whether the C library takes a host for an address; it takes `127.1` for an address too (inet_aton(3))."""
    try:
        return is_numeric(host) or (not any(map(str.isspace, host)) and bool(socket.inet_aton(host)))
    except OSError:
        return False


def is_outside(host: str) -> bool:
    """Whether a host is another machine: neither a loopback address, in any spelling, nor a name of this machine."""
    if is_address(host) or not host:
        address = dialled(host)
        return address is None or not address.is_loopback
    return not is_local(host) and host not in (normal(socket.gethostname()), "localhost.localdomain", "ip6-localhost")


def caller(address: object) -> tuple[str, int] | None:
    """Host and port of a connected client, the same in both families; `None` for a Unix socket."""
    found = host_and_port(address)
    return None if found is None else (str(dialled(found[0])), found[1])
