"""What a client says to a proxy, by hand, and what it is answered."""

from __future__ import annotations

import contextlib
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from faultline import raises
from support import to_end

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
HELLO = b"\5\1\0"  # SOCKS5 without a password
GRANTED = b"\5\0\5\0\0\1" + bytes(6)  # the method, and the reply
GRANTED_4 = b"\0Z" + bytes(6)


def connect_to(target, *fields):
    """A request for a tunnel."""
    return "\r\n".join((f"CONNECT {target} HTTP/1.1", f"Host: {target}", *fields, "", "")).encode("latin-1")


def get(url, *fields, method="GET", version="1.1"):
    """A request for a URL."""
    if version == "1.1" and not any(field.startswith("Host:") for field in fields):
        fields = ("Host: origin.invalid", *fields)
    return "\r\n".join((f"{method} {url} HTTP/{version}", *fields, "", "")).encode("latin-1")


def request_5(host, port, command=1):
    """What a client of SOCKS5 asks for; a host with dots and digits only is an address."""
    for family, kind in ((socket.AF_INET, 1), (socket.AF_INET6, 4)):
        with contextlib.suppress(OSError, ValueError):
            return bytes((5, command, 0, kind)) + socket.inet_pton(family, host) + port.to_bytes(2, "big")
    return bytes((5, command, 0, 3, len(host))) + host.encode("latin-1") + port.to_bytes(2, "big")


def request_4(host, port, command=1):
    """What a client of SOCKS4 asks for, or of SOCKS4a by name."""
    with contextlib.suppress(OSError, ValueError):
        return bytes((4, command)) + port.to_bytes(2, "big") + socket.inet_pton(socket.AF_INET, host) + b"\0"
    return bytes((4, command)) + port.to_bytes(2, "big") + b"\0\0\0\1\0" + host.encode() + b"\0"


def response_of(sock):
    """Status, head and body of a response that ends with its connection."""
    data, end = to_end(sock)
    assert end == "FIN"
    head, _, rest = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), head.decode("latin-1"), rest


def asked(server):
    """What each attempt asked for."""
    return [(a.request.method, a.request.target) for a in server.attempts]


# A row of a table is a fault, a client, the class that it raises, and that of the root cause.


def each_fault(rows):
    """The faults of a table as parameters; the clients wait for some."""
    slow = {fault for fault, *_, cause in rows if cause is TimeoutError}
    faults = dict.fromkeys(fault for fault, *_ in rows)
    return [pytest.param(fault, marks=pytest.mark.slow if fault in slow else (), id=repr(fault)) for fault in faults]


def check_rows(rows, origin, proxies, *, trusted=None, timeout=10):
    """The client of each row meets what it says at a proxy of its own, all at the same time: most of it is waiting."""

    def meets(row, proxy):
        _, by, _, cause = row
        with raises(cause) as caught:
            by(origin.url, trusted, timeout, proxy)
        return by, type(caught.value), cause

    with ThreadPoolExecutor(len(rows)) as pool:
        met = list(pool.map(meets, rows, proxies))
    assert met == [(by, error, cause) for _, by, error, cause in rows]
