"""Where a proxy of the API listens, and where its upstream is, from their texts.

Rules: without `allow_remote` no address leads to another machine; a name counts by what it is found to be, once.
"""

from __future__ import annotations

import socket
from dataclasses import replace

from faultline._core.errors import ParameterError
from faultline._core.hosts import is_local, is_numeric
from faultline._core.upstream import Upstream, parsed_upstream
from faultline._net import addresses
from faultline._servers.address import Tcp

MOST_PORT = 65_535
# The host where none is given, without `allow_remote` and with it.
ANYWHERE = ("127.0.0.1", "0.0.0.0")  # noqa: S104 - others are allowed in then


def listening(text: str, *, allow_remote: bool) -> Tcp:
    """The address to bind: `host:port`, or `:port`, or nothing for a free port.

    Raises:
        ParameterError: the text is no address, or other machines can reach the address without `allow_remote`.
    """
    host, colon, port = (text or ":0").rpartition(":")
    if not colon or not port.isdecimal():
        raise ParameterError(f"listen={text!r}: expected host:port, such as 127.0.0.1:8080.")
    host = host.removeprefix("[").removesuffix("]") or ANYWHERE[allow_remote]
    if (number := int(port[:9])) > MOST_PORT:
        raise ParameterError(f"listen={text!r}: expected a port from 0 to {MOST_PORT}.")
    address = found(host, "listen")[0]
    if not (allow_remote or is_local(address)):
        raise ParameterError(
            f"listen={text!r}: expected an address that only this machine can reach, such as 127.0.0.1:{number}; "
            "--allow-remote allows others."
        )
    return Tcp(*addresses.checked_address(address, number, allow_remote=allow_remote))


def upstream_at(text: str, *, allow_remote: bool) -> Upstream:
    """The upstream of a proxy, whose failure closes the client's connection.

    Raises:
        ParameterError: the text is no address, or is on another machine without `allow_remote`.
    """
    try:
        upstream = replace(parsed_upstream(text, allow_remote=True), on_failure="close")
    except ParameterError:
        expected = "host:port, such as 127.0.0.1:5432, a URL, or the path of a Unix socket"
        raise ParameterError(f"upstream={text!r}: expected {expected}.") from None
    if upstream.path or allow_remote:
        return upstream
    hosts = found(upstream.host, "upstream")
    if not all(map(is_local, hosts)):
        raise ParameterError(f"upstream={text!r}: expected a server on this machine; --allow-remote allows others.")
    return replace(upstream, host=hosts[0])  # where it leads is not asked for again


def found(host: str, what: str) -> list[str]:
    """The IP addresses of a host; those of IPv4 come first, as most servers on a machine have one.

    Raises:
        ParameterError: nothing is known about the name.
    """
    if is_numeric(host):
        return [host]
    if host == "localhost":
        return ["127.0.0.1"]
    try:
        infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ParameterError(f"{what}={host!r}: expected a name of this machine ({error}).") from None
    return sorted({str(info[4][0]) for info in infos}, key=lambda address: (":" in address, address))
