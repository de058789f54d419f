"""`faultline.http_proxy` and `faultline.socks_proxy`: servers that lead their clients on to others.

A way leads to this machine, or to the one server of `to`; nothing else is dialled.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from faultline._core.check import rejected
from faultline._core.errors import ParameterError
from faultline._core.plan import HEALTHY, Plan, checked_plan
from faultline._core.upstream import Route, Upstream, parsed_upstream
from faultline._servers.server import Server
from faultline._servers.start import checked_address

Auth: TypeAlias = tuple[str, str]


def http_proxy(
    plan: Plan | None = None,
    *,
    to: str | Server | None = None,
    auth: Auth | None = None,
    tls: bool = False,
    host: str = "127.0.0.1",
    port: int = 0,
    strict: bool = True,
    isolated: bool = False,
) -> Server:
    """Start an HTTP proxy: tunnels by CONNECT and absolute URLs, until the plan says otherwise.

    `request` is what the client asks the proxy, `response` what the proxy says, and `tunnel` what comes back through
    it: `reset(at="tunnel")` says 200 and then RST, before the first byte. An answer is said instead of leading on:
    `status(403)`, `status(407, headers={"Proxy-Authenticate": "Basic"})`, `raw(b"garbage")`. A fetch by absolute URL
    has a connection of its own. A target that can't be reached is answered by 502, and one on another machine by 403.

    Args:
        plan: what happens to which connection; nothing, if there is none.
        to: the server that all clients are led to, whatever they ask for. Default: the address that a client asks
            for, if it is on this machine.
        auth: name and password that clients have to show; 407 asks for them.
        tls: speak TLS to the client; a plan that can only be met in TLS, such as `bad_cert("expired")`, implies it.
        host: the address to bind.
        port: the port to bind; 0 takes a free one.
        strict: whether leaving the proxy fails when the planned fault never struck.
        isolated: have it in a child process, for a test whose main thread computes and would delay it.

    Returns:
        The proxy, listening: `proxy.proxy_url`, `proxy.use_as_proxy(monkeypatch)`.

    Raises:
        ParameterError: a value that can't mean anything, or a plan that a proxy can't follow.
        PortError: the port is taken.

    Example:
        >>> import faultline, urllib.request
        >>> with faultline.serve(faultline.ok(b"origin")) as origin, faultline.http_proxy() as proxy:
        ...     opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": proxy.proxy_url}))
        ...     opener.open(origin.url).read()
        b'origin'
    """
    return Server(
        planned(plan),
        address=checked_address(host, port),
        role="http proxy",
        tls=tls,
        route=Route(checked_to(to), checked_auth(auth)),
        strict=strict,
        isolated=isolated,
    )


def socks_proxy(
    plan: Plan | None = None,
    *,
    to: str | Server | None = None,
    auth: Auth | None = None,
    scheme: Literal["socks4", "socks4a", "socks5", "socks5h"] = "socks5h",
    host: str = "127.0.0.1",
    port: int = 0,
    strict: bool = True,
    isolated: bool = False,
) -> Server:
    r"""Start a SOCKS proxy of version 4, 4a and 5, whichever the client speaks, until the plan says otherwise.

    `request` is what the client says to the proxy, `response` what the proxy says, and `tunnel` what comes back
    through it. `socks_refusal(kind)` refuses; `stall()` never answers, and `stall(after_bytes=2)` has chosen the
    method before. A target that can't be reached is refused by its reply code, one on another machine as not allowed.

    Args:
        plan: what happens to which connection; nothing, if there is none.
        to: the server that all clients are led to, whatever they ask for. Default: the address that a client asks
            for, if it is on this machine.
        auth: name and password that clients have to show (RFC 1929).
        scheme: how `proxy.proxy_url` begins: with an "h" or an "a" at its end the proxy looks names up.
        host: the address to bind.
        port: the port to bind; 0 takes a free one.
        strict: whether leaving the proxy fails when the planned fault never struck.
        isolated: have it in a child process, for a test whose main thread computes and would delay it.

    Returns:
        The proxy, listening: `proxy.proxy_url`, `proxy.use_as_proxy(monkeypatch)`.

    Raises:
        ParameterError: a value that can't mean anything, or a plan that a proxy can't follow.
        PortError: the port is taken.

    Example:
        >>> import faultline, socket
        >>> with faultline.socks_proxy(faultline.socks_refusal("connection_refused")) as proxy:
        ...     with socket.create_connection(proxy.address) as client:
        ...         client.sendall(bytes((5, 1, 0)) + bytes((5, 1, 0, 1, 127, 0, 0, 1, 0, 80)))
        ...         client.recv(12, socket.MSG_WAITALL)
        b'\x05\x00\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00'
    """
    schemes = ("socks4", "socks4a", "socks5", "socks5h")
    if scheme not in schemes:
        raise rejected("scheme", scheme, f"one of {', '.join(map(repr, schemes))}")
    return Server(
        planned(plan),
        address=checked_address(host, port),
        role="socks proxy",
        route=Route(checked_to(to), checked_auth(auth)),
        proxy_scheme=scheme,
        strict=strict,
        isolated=isolated,
    )


def planned(plan: Plan | None) -> Plan:
    """What a proxy plays.

    Raises:
        ParameterError: no plan.
    """
    return HEALTHY if plan is None else checked_plan(plan)


def checked_to(to: object) -> Upstream | None:
    """Where every way leads.

    Raises:
        ParameterError: not to this machine.
    """
    if to is None:
        return None
    try:
        return parsed_upstream(to.hostport if isinstance(to, Server) else to, allow_remote=False)
    except ParameterError:
        raise rejected(
            "to", to, "a server of this machine: '127.0.0.1:8080', a URL, or a server of faultline"
        ) from None


def checked_auth(auth: object) -> Auth | None:
    """Name and password.

    Raises:
        ParameterError: not two texts of 1 to 255 bytes each (RFC 1929, 2), or a colon in the name (RFC 7617, 2).
    """
    if auth is None:
        return None
    if isinstance(auth, tuple) and len(auth) == 2:  # noqa: PLR2004 - two of them
        name, password = auth
        texts = isinstance(name, str) and isinstance(password, str) and ":" not in name
        if texts and all(1 <= len(text.encode("utf-8", "replace")) <= 255 and is_text(text) for text in auth):  # noqa: PLR2004 - RFC 1929
            return name, password
    raise rejected("auth", auth, "a name without a colon and a password, such as ('user', 'secret')")


def is_text(text: str) -> bool:
    """Whether it can be said in UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
