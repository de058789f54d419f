"""`faultline.serve`: the one function that most users call."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, TypeAlias, get_args

from faultline._core.check import choice, flag, rejected
from faultline._core.errors import ParameterError
from faultline._core.fault import Fault
from faultline._core.plan import HEALTHY, Plan, checked_plan, faults_of
from faultline._core.upstream import OnFailure, Upstream, parsed_upstream
from faultline._servers.server import Server, Tls

Through: TypeAlias = Literal["through", "terminate"]


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
    if unix is False:
        return start(plan, isolated=isolated, tls=tls, answer=answer, host=host, port=port, strict=strict)
    if not (isinstance(unix, str) and unix) and unix is not True:
        raise rejected("unix", unix, "True, False or a path")
    from faultline._servers.unix_server import unix_server

    return unix_server(plan, unix, answer, tls=tls, host=host, port=port, strict=strict, isolated=isolated)


def relay(
    upstream: str | Server,
    plan: Plan | None = None,
    *,
    tls: Through = "through",
    on_upstream_failure: OnFailure = "reset",
    allow_remote: bool = False,
    host: str = "127.0.0.1",
    port: int = 0,
    strict: bool = True,
    isolated: bool = False,
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
            it with a certificate of the test CA.
        on_upstream_failure: what a client meets whose upstream can't be reached: `reset`, `close` or `stall`.
        allow_remote: let the upstream be on another machine.
        host: the address to bind.
        port: the port to bind; 0 takes a free one.
        strict: whether leaving the server fails when the planned fault never struck.
        isolated: have it in a child process, for a test whose main thread computes and would delay it.

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
    terminates = tls == "terminate"
    return start(
        plan, isolated=isolated, tls=terminates, role="relay", upstream=where, host=host, port=port, strict=strict
    )


def checked_relay(
    upstream: str | Server, plan: Plan | None, tls: Through, on_upstream_failure: OnFailure, *, allow_remote: bool
) -> tuple[Plan, Upstream]:
    """What a relay plays, and in front of what.

    Raises:
        ParameterError: a value that can't mean anything, or an upstream on another machine.
    """
    choice("tls", tls, get_args(Through))
    choice("on_upstream_failure", on_upstream_failure, get_args(OnFailure))
    address = upstream.hostport if isinstance(upstream, Server) else upstream
    where = parsed_upstream(address, allow_remote=flag("allow_remote", allow_remote))
    plan = HEALTHY if plan is None else checked_plan(plan)
    if tls == "through" and (fault := next((f for f in faults_of(plan) if f.needs_tls), None)):
        raise ParameterError(f"{fault!r}: expected tls='terminate' with it, so that the relay speaks TLS itself.")
    return plan, replace(where, on_failure=on_upstream_failure)


def start(plan: Plan, *, isolated: bool, **arguments: Any) -> Server:
    """A server in this process or in the child."""
    if not flag("isolated", isolated):
        return Server(plan, **arguments)
    from faultline._servers.isolated.parent import IsolatedServer

    return IsolatedServer(plan, **arguments)
