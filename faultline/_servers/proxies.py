"""The public functions `faultline.http_proxy` and `faultline.socks_proxy`.

Rules: a proxy connects only to servers on this machine.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from faultline._core.calls import explained
from faultline._core.certificates import Tls
from faultline._core.check import rejected
from faultline._core.errors import ParameterError
from faultline._core.kinds import HTTP_PROXY, SOCKS_PROXY
from faultline._core.plan import HEALTHY, Plan
from faultline._core.planning import checked_plan
from faultline._core.upstream import Route, Upstream
from faultline._servers.running import Upkeep
from faultline._servers.server import Server
from faultline._servers.start import checked_address, named_upstream, recorded_bytes

Auth: TypeAlias = tuple[str, str]


@explained
def http_proxy(
    plan: Plan | None = None,
    *,
    to: str | Server | None = None,
    auth: Auth | None = None,
    tls: Tls = False,
    host: str = "127.0.0.1",
    port: int = 0,
    strict: bool = True,
    isolated: bool = False,
    allow_remote: bool = False,
    record: bool | int = False,
) -> Server:
    """Start an HTTP proxy, for CONNECT and for absolute URLs, that plays a plan to its clients.

    The client's request to the proxy passes the point `request`, the proxy's own response passes `response`, and bytes
    that come back through the tunnel pass `tunnel`: with `reset(at="tunnel")` the client gets 200, and then RST before
    the first byte. A fault with an answer refuses the request, such as `status(403)`,
    `status(407, headers={"Proxy-Authenticate": "Basic"})` or `raw(b"garbage")`. Each request by absolute URL has its
    own connection to the target. The proxy answers 502 if it can't reach a target, 504 if the target doesn't answer
    in time, and 403 if the target is on another machine.

    .. versionadded:: 0.1

    Args:
        plan: the faults of the connections. Default: no faults.
        to: the server to connect all clients to, whatever they ask for. Default: the server that a client asks for.
        auth: the name and password that clients have to send; other clients get 407.
        tls: whether to speak TLS to the client; a plan that needs TLS, such as `bad_cert("expired")`, implies it.
            "mutual" demands a certificate of the test CA from the client too.
        host: the IP address to bind. An address that other machines can reach, such as `0.0.0.0`, needs `allow_remote`.
        port: the port to bind. Default: a free port.
        strict: whether the end of the `with` block or of the test fails if a planned fault never struck.
        isolated: whether to run the proxy in a child process, so that a busy main thread doesn't delay it.
        allow_remote: whether other machines may connect.
        record: as for `serve`; a script has what was said through the proxy, without what was said to the proxy.

    Returns:
        The proxy, which is listening. Clients get `proxy.proxy_url`, or `proxy.use_as_proxy(monkeypatch)`.

    Raises:
        ParameterError: a value is out of its range, or an HTTP proxy can't play the plan.
        PortError: the port is in use, or the address can't be bound.
        UnsupportedError: the plan needs a capability, a package or a system that is not here.

    Example:
        >>> import faultline, urllib.request
        >>> with faultline.serve(faultline.ok(b"origin")) as origin, faultline.http_proxy() as proxy:
        ...     opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": proxy.proxy_url}))
        ...     opener.open(origin.url).read()
        b'origin'
    """
    return Server(
        planned(plan),
        address=checked_address(host, port, allow_remote=allow_remote),
        kind=HTTP_PROXY,
        tls=tls,
        route=Route(checked_to(to), checked_auth(auth)),
        strict=strict,
        isolated=isolated,
        upkeep=Upkeep(record_bytes=recorded_bytes(record)),
    )


@explained
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
    allow_remote: bool = False,
    record: bool | int = False,
) -> Server:
    r"""Start a SOCKS proxy, for the versions 4, 4a and 5, that plays a plan to its clients.

    The client's messages to the proxy pass the point `request`, the proxy's replies pass `response`, and bytes that
    come back through the tunnel pass `tunnel`. `socks_refusal(kind)` refuses the request, `stall()` never replies, and
    `stall(after_bytes=2)` stops after the choice of the method. The proxy refuses a target that it can't reach with
    the reply code of the error, and a target on another machine as not allowed.

    .. versionadded:: 0.1

    Args:
        plan: the faults of the connections. Default: no faults.
        to: the server to connect all clients to, whatever they ask for. Default: the server that a client asks for.
        auth: the name and password that clients have to send (RFC 1929).
        scheme: the scheme of `proxy.proxy_url`; `socks5h` and `socks4a` tell clients to leave name lookups to the
            proxy.
        host: the IP address to bind. An address that other machines can reach, such as `0.0.0.0`, needs `allow_remote`.
        port: the port to bind. Default: a free port.
        strict: whether the end of the `with` block or of the test fails if a planned fault never struck.
        isolated: whether to run the proxy in a child process, so that a busy main thread doesn't delay it.
        allow_remote: whether other machines may connect.
        record: as for `serve`; a script has what was said through the proxy, without what was said to the proxy.

    Returns:
        The proxy, which is listening. Clients get `proxy.proxy_url`, or `proxy.use_as_proxy(monkeypatch)`.

    Raises:
        ParameterError: a value is out of its range, or a SOCKS proxy can't play the plan.
        PortError: the port is in use, or the address can't be bound.
        UnsupportedError: the plan needs a capability or a system that is not here.

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
        address=checked_address(host, port, allow_remote=allow_remote),
        kind=SOCKS_PROXY,
        route=Route(checked_to(to), checked_auth(auth)),
        proxy_scheme=scheme,
        strict=strict,
        isolated=isolated,
        upkeep=Upkeep(record_bytes=recorded_bytes(record)),
    )


def planned(plan: Plan | None) -> Plan:
    """The plan of a proxy; without a plan a proxy is healthy.

    Raises:
        ParameterError: `plan` is not a plan.
    """
    return HEALTHY if plan is None else checked_plan(plan)


def checked_to(to: object) -> Upstream | None:
    """The server to connect all clients to, if `to` is given.

    Raises:
        ParameterError: `to` is not a server on this machine.
    """
    if to is None:
        return None
    try:
        return named_upstream(to)
    except ParameterError:
        raise rejected("to", to, "a server on this machine: '127.0.0.1:8080', a URL, or a faultline server") from None


def checked_auth(auth: object) -> Auth | None:
    """The name and password that clients have to send, if `auth` is given.

    Raises:
        ParameterError: `auth` is not two texts of 1 to 255 bytes each (RFC 1929, 2), or the name has a colon
            (RFC 7617, 2).
    """
    if auth is None:
        return None
    if isinstance(auth, tuple) and len(auth) == 2:  # noqa: PLR2004 - a name and a password
        name, password = auth
        texts = isinstance(name, str) and isinstance(password, str) and ":" not in name
        if texts and all(1 <= len(text.encode("utf-8", "replace")) <= 255 and is_text(text) for text in auth):  # noqa: PLR2004 - RFC 1929
            return name, password
    raise rejected("auth", auth, "a name without a colon and a password, such as ('user', 'secret')")


def is_text(text: str) -> bool:
    """Whether a text can be encoded in UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
