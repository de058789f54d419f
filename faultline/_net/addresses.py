"""Addresses and names of this process's lookups, as the C library has them.

Rules of this room: facts and spellings; nothing is looked up, and nothing is replaced.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from typing import TypeAlias

from faultline._core.hosts import is_local, is_numeric, normal

Target: TypeAlias = tuple[str, "int | None"]  # an address, and a port, or the one that the client asks for

# glibc's words (gai_strerror(3)).
FAILURES: dict[str, tuple[str, str]] = {
    "nxdomain": ("EAI_NONAME", "Name or service not known"),
    "servfail": ("EAI_AGAIN", "Temporary failure in name resolution"),
    "no_address": ("EAI_NODATA", "No address associated with hostname"),
}


def ipv4_of(targets: Sequence[Target]) -> list[str]:
    """The addresses that fit into a lookup of IPv4.

    Raises:
        socket.gaierror: there is none.
    """
    found = [host for host, _ in targets if ":" not in host]
    if not found:
        raise socket.gaierror(socket.EAI_ADDRFAMILY, "Address family for hostname not supported")
    return found


def gaierror(kind: str) -> socket.gaierror:
    """The error of a lookup that fails in this way."""
    name, words = FAILURES[kind]
    return socket.gaierror(getattr(socket, name), words)


def canonical(host: str) -> str:
    """The one spelling of an address."""
    return str(ipaddress.ip_address(host)) if is_numeric(host) else host


def fitted(address: tuple[str, int], family: int) -> tuple[str, int]:
    """An address of IPv4 as a socket of IPv6 takes it (RFC 4291, 2.5.5.2)."""
    host, port = address
    return (f"::ffff:{host}", port) if family == socket.AF_INET6 and ":" not in host else (host, port)


def is_address(host: str) -> bool:
    """Whether a host is an address for the C library, which takes `127.1` for one too (inet_aton(3))."""
    try:
        return is_numeric(host) or (not any(map(str.isspace, host)) and bool(socket.inet_aton(host)))
    except OSError:
        return False


def is_outside(host: str) -> bool:
    """Whether a host is another machine: no address of loopback, and no name of this one."""
    return not is_local(host) and host not in (normal(socket.gethostname()), "localhost.localdomain", "ip6-localhost")
