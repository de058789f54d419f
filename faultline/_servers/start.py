"""`faultline.serve` and `faultline.relay`: what most users call."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, TypeAlias, get_args

from faultline._core.check import choice, flag, rejected
from faultline._core.errors import ParameterError
from faultline._core.fault import Fault
from faultline._core.plan import HEALTHY, Plan, checked_plan, faults_of
from faultline._core.upstream import OnFailure, Upstream, parsed_upstream
from faultline._net import sockets
from faultline._servers.address import Address, Tcp, Unix
from faultline._servers.server import Server, Tls

RelayTls: TypeAlias = Literal["through", "terminate", "mutual"]
TERMINATES: dict[RelayTls, Tls] = {"through": False, "terminate": True, "mutual": "mutual"}
HOST = "127.0.0.1"


def serve(
    plan: Plan,
    *,
    tls: Tls = False,
    answer: Fault | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    strict: bool = True,
    isolated: bool = False,
    unix: bool | str = False,
) -> Server:
    r"""Start a server that does to its clients what the plan says.

    Args:
        plan: a fault such as `reset()`, met by every attempt.
        tls: speak TLS, with a certificate of the test CA; a plan that can only be met in TLS implies it. "mutual"
            demands a certificate of that CA from the client too, as `server.client_context(certificate=True)` shows.
        answer: what is said when nothing breaks, for faults without an answer of their own.
        host: the address to bind.
        port: the port to bind; 0 takes a free one.
        strict: whether leaving the server fails when the planned fault never struck.
        isolated: have it in a child process, for a test whose main thread computes and would delay it.
        unix: listen on a Unix socket instead, at `server.path`: in a folder of its own, or at the path that this is.

    Returns:
        The server, listening; use it as a context manager, or `close()` it.

    Raises:
        ParameterError: a value that can't mean anything.
        PortError: the port is taken.

    Example:
        >>> import faultline, socket
        >>> with faultline.serve(faultline.reset(after_bytes=4)) as server:
        ...     with socket.create_connection(server.address) as client:
        ...         client.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        ...         assert client.recv(4, socket.MSG_WAITALL) == b"HTTP"
        ...         client.recv(100)
        Traceback (most recent call last):
        ConnectionResetError: [Errno 104] Connection reset by peer
    """
    address = checked_address(host, port, unix)
    return Server(plan, address=address, tls=tls, answer=answer, strict=strict, isolated=isolated)


def relay(
    upstream: str | Server,
    plan: Plan | None = None,
    *,
    tls: RelayTls = "through",
    on_upstream_failure: OnFailure = "reset",
    allow_remote: bool = False,
    host: str = "127.0.0.1",
    port: int = 0,
    strict: bool = True,
    isolated: bool = False,
    unix: bool | str = False,
) -> Server:
    """Put a server in front of a real one: clients talk to that one, until the plan says otherwise.

    The points are those of any server: `request` is what the client says, `response` what the upstream says, and
    `idle` is reached when the upstream has spoken and then nobody says anything for `after_seconds`. There is one
    attempt for each connection. While nothing waits for the bytes of a direction they pass unparsed. Each direction
    of a connection holds 256 KiB at most beside the kernel's buffers, and then a slow reader slows the writer.

    Args:
        upstream: `host:port`, a URL, the path of a Unix socket, or a server of faultline. Only `https`, `wss` and
            `rediss` are spoken to in TLS, with any certificate: the client is under test, and not the upstream.
        plan: what happens to which connection; nothing, if there is none.
        tls: pass TLS `through` as it is (the ledger still shows the name that the client asked for), or `terminate`
            it with a certificate of the test CA; `mutual` terminates it too, and demands a certificate of that CA from
            the client.
        on_upstream_failure: what a client meets whose upstream can't be reached: `reset`, `close` or `stall`.
        allow_remote: let the upstream be on another machine.
        host: the address to bind.
        port: the port to bind; 0 takes a free one.
        strict: whether leaving the server fails when the planned fault never struck.
        isolated: have it in a child process, for a test whose main thread computes and would delay it.
        unix: listen on a Unix socket instead, at `server.path`: in a folder of its own, or at the path that this is.

    Returns:
        The server, listening; use it as a context manager, or `close()` it.

    Raises:
        ParameterError: a value that can't mean anything, or an upstream on another machine.
        PortError: the port is taken.

    Example:
        >>> import faultline, urllib.request
        >>> with faultline.serve(faultline.ok(b"from the upstream")) as real:
        ...     with faultline.relay(real, faultline.reset(after_bytes=100)) as server:
        ...         urllib.request.urlopen(server.url).read()
        Traceback (most recent call last):
        ConnectionResetError: [Errno 104] Connection reset by peer
    """
    plan, where = checked_relay(upstream, plan, tls, on_upstream_failure, allow_remote=allow_remote)
    return Server(
        plan,
        address=checked_address(host, port, unix),
        role="relay",
        tls=TERMINATES[tls],
        upstream=where,
        strict=strict,
        isolated=isolated,
    )


def checked_address(host: str, port: int, unix: bool | str = False) -> Address:  # noqa: FBT001, FBT002 - as users say it
    """Where a server is to listen.

    Raises:
        ParameterError: a host, port or path that can't be one, or a host or port together with a path.
        PortError: there is something at the path already, or a socket can't be made there.
    """
    if unix is False:
        return Tcp(*sockets.checked_address(host, port))
    if not (isinstance(unix, str) and unix) and unix is not True:
        raise rejected("unix", unix, "True, False or a path")
    for name, value, usual in (("host", host, HOST), ("port", port, 0)):
        if value != usual:
            raise rejected(name, value, "unix without it; the server is at server.path")
    return Unix.claimed(unix)


def checked_relay(
    upstream: str | Server, plan: Plan | None, tls: RelayTls, on_upstream_failure: OnFailure, *, allow_remote: bool
) -> tuple[Plan, Upstream]:
    """What a relay plays, and in front of what.

    Raises:
        ParameterError: a value that can't mean anything, or an upstream on another machine.
    """
    choice("tls", tls, get_args(RelayTls))
    choice("on_upstream_failure", on_upstream_failure, get_args(OnFailure))
    address = upstream.hostport if isinstance(upstream, Server) else upstream
    where = parsed_upstream(address, allow_remote=flag("allow_remote", allow_remote))
    plan = HEALTHY if plan is None else checked_plan(plan)
    if tls == "through" and (fault := next((f for f in faults_of(plan) if f.needs_tls), None)):
        raise ParameterError(f"{fault!r}: expected tls='terminate' with it, so that the relay speaks TLS itself.")
    return plan, replace(where, on_failure=on_upstream_failure)
