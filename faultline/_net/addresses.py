"""Addresses and host names in the forms of the C library, and the errors of its lookups.

Rules: nothing here looks up a name or replaces a function.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from typing import TypeAlias

from faultline._core.hosts import is_local, is_numeric, normal

Target: TypeAlias = tuple[str, "int | None"]  # an address and a port; `None` for the port that the client asks for

# The texts are those of glibc (gai_strerror(3)).
FAILURES: dict[str, tuple[str, str]] = {
    "nxdomain": ("EAI_NONAME", "Name or service not known"),
    "servfail": ("EAI_AGAIN", "Temporary failure in name resolution"),
    "no_address": ("EAI_NODATA", "No address associated with hostname"),
}


def ipv4_of(targets: Sequence[Target]) -> list[str]:
    """The IPv4 addresses among the targets.

    Raises:
        socket.gaierror: no target is an IPv4 address.
    """
    found = [host for host, _ in targets if ":" not in host]
    if not found:
        raise socket.gaierror(socket.EAI_ADDRFAMILY, "Address family for hostname not supported")
    return found


def gaierror(kind: str) -> socket.gaierror:
    """The error that a lookup raises for this kind of failure."""
    name, words = FAILURES[kind]
    return socket.gaierror(getattr(socket, name), words)


def canonical(host: str) -> str:
    """The canonical spelling of an address; a name is returned unchanged."""
    return str(ipaddress.ip_address(host)) if is_numeric(host) else host


def fitted(address: tuple[str, int], family: int) -> tuple[str, int]:
    """The address for a socket of this family: an IPv4 address is mapped for an IPv6 socket (RFC 4291, 2.5.5.2)."""
    host, port = address
    return (f"::ffff:{host}", port) if family == socket.AF_INET6 and ":" not in host else (host, port)


def is_address(host: str) -> bool:
    """Whether the C library takes a host for an address; it takes `127.1` for an address too (inet_aton(3))."""
    try:
        return is_numeric(host) or (not any(map(str.isspace, host)) and bool(socket.inet_aton(host)))
    except OSError:
        return False


def is_outside(host: str) -> bool:
    """Whether a host is another machine: neither a loopback address nor a name of this machine."""
    return not is_local(host) and host not in (normal(socket.gethostname()), "localhost.localdomain", "ip6-localhost")
