"""The public functions `faultline.serve` and `faultline.relay`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, TypeAlias, get_args

from faultline._core.calls import explained
from faultline._core.capabilities import Capabilities
from faultline._core.certificates import Tls, with_protocols
from faultline._core.check import choice, flag, rejected, whole
from faultline._core.errors import ParameterError
from faultline._core.fault import Fault
from faultline._core.kinds import BLIND_RELAY, HTTP2, RELAY, SERVER, TERMINATING_RELAY
from faultline._core.pieces import RECORDED_BYTES
from faultline._core.plan import HEALTHY, Plan
from faultline._core.planning import checked_plan
from faultline._core.upstream import OnFailure, StartTls, Upstream, parsed_upstream
from faultline._net import addresses
from faultline._net.shown import Shown, shown_pem
from faultline._servers.address import Address, Tcp, Unix
from faultline._servers.running import Upkeep
from faultline._servers.server import Server

RelayTls: TypeAlias = Literal["through", "terminate", "mutual"]
TERMINATES: dict[RelayTls, Tls] = {"through": False, "terminate": True, "mutual": "mutual"}
HOST = "127.0.0.1"
PROTOCOLS: dict[StartTls | None, tuple[str, ...]] = {"postgres": ("postgresql",)}  # a client of TLS at once wants it


@explained
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
    allow_remote: bool = False,
    alpn: Sequence[str] | None = None,
    http2: bool | None = None,
    record: bool | int = False,
) -> Server:
    r"""Start a server that plays a plan to its clients.

    The server speaks HTTP/1.1, unless the plan is a script of another protocol, and with `http2` HTTP/2 too.

    .. versionadded:: 0.1

    Args:
        plan: the fault that every attempt meets, such as `reset()`, or a plan such as `sequence(reset(), ok())`.
        tls: whether to speak TLS, with a certificate of the test CA; a plan that needs TLS implies it. `"mutual"`
            also requires a certificate of that CA from the client, such as that of
            `server.client_context(certificate=True)`.
        answer: the response to a request, such as `ok(b"hello")`, when the fault has no answer of its own.
            Default: 200 with the body `ok`.
        host: the IP address to bind. An address that other machines can reach, such as `0.0.0.0`, needs `allow_remote`.
        port: the port to bind. Default: a free port.
        strict: whether the end of the `with` block or of the test fails if a planned fault never struck.
        isolated: whether to run the server in a child process, so that a busy main thread doesn't delay it.
        unix: listen on a Unix socket: `True` for a path in a temporary folder, or the path. `server.path` has the path.
        allow_remote: whether other machines may connect.
        alpn: with TLS, the application protocols that the server agrees to, its favorite
            first (RFC 7301), such as `("h2", "http/1.1")`. Without a common protocol the handshake goes on without
            ALPN. Default: `("http/1.1",)`, and with `http2` `("h2", "http/1.1")`.
        http2: whether to speak HTTP/2 with a client that does: a client that begins with its preface, by ALPN or by
            prior knowledge, or that asks for it by `Upgrade: h2c` without TLS. It takes `pytest-faultline[http2]`. With
            `False` a server that agrees to `h2` speaks HTTP/1.1 all the same, which is a fault. Default: whether `alpn`
            has `h2`.
        record: whether the ledger keeps all bytes of all conversations, at most 64 MiB, or the most bytes to keep; for
            `ledger.to_script()` and `ledger.to_pcap(path)`.

    Returns:
        The server, which is listening. Use it as a context manager, or call `close()`.

    Raises:
        ParameterError: a value is out of its range, or the server can't play the plan.
        PortError: the port is in use, or the address or the path can't be bound.
        UnsupportedError: the plan needs a capability, a package or a system that is not here.

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
    address = checked_address(host, port, unix, allow_remote=allow_remote)
    terms = with_protocols(tls, alpn)
    speaks = "h2" in (alpn or ()) if http2 is None else flag("http2", http2)
    kind = HTTP2 if speaks else SERVER
    return Server(
        plan,
        address=address,
        kind=kind,
        tls=terms,
        answer=answer,
        strict=strict,
        isolated=isolated,
        upkeep=Upkeep(record_bytes=recorded_bytes(record)),
    )


@explained
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
    alpn: Sequence[str] | None = None,
    upstream_cert: Shown | None = None,
    starttls: StartTls | None = None,
    record: bool | int = False,
) -> Server:
    """Start a relay in front of a real server, which answers its clients until a fault of the plan strikes.

    The points are those of any server: the client's bytes pass `request`, the upstream's bytes pass `response`, and
    `idle` is reached when neither side has sent bytes for `after_seconds` since the upstream did. Each connection is
    one attempt. While no fault needs the bytes of a direction, they pass unparsed. In addition to the
    kernel's buffers a relay holds at most 256 KiB of each direction of a connection; then a slow reader slows the
    writer.

    A plan with an answer, such as `sequence(status(503), through())`, or with a choice by the request makes the relay
    read HTTP/1.1: each request is an attempt, the relay gives the answers of the plan by itself, and passes all other
    requests and their responses on, byte for byte. The upstream is reached with the first of them. After an upgrade
    (101), and where the client or the upstream speaks no HTTP/1.1, bytes pass as in any relay.

    .. versionadded:: 0.1

    Args:
        upstream: the real server: `host:port`, a URL, the path of a Unix socket, or a faultline server. A relay that
            terminates TLS speaks TLS to the upstream of a URL with `https`, `wss` or `rediss`, and to a faultline
            server that speaks TLS; it accepts any certificate, and offers the protocol that its client speaks (ALPN).
        plan: the faults of the connections. Default: no faults.
        tls: `"through"` passes TLS on unchanged and adds none of its own, whatever the upstream is; the ledger shows
            the server name that the client asked for. `"terminate"` speaks TLS to the client, with a certificate of the
            test CA. `"mutual"` does so too, and requires a certificate of that CA from the client.
        on_upstream_failure: what the client sees when the upstream can't be reached: `"reset"` (RST), `"close"`
            (FIN) or `"stall"` (silence).
        allow_remote: whether the upstream may be on another machine, and clients too.
        host: the IP address to bind. An address that other machines can reach, such as `0.0.0.0`, needs `allow_remote`.
        port: the port to bind. Default: a free port.
        strict: whether the end of the `with` block or of the test fails if a planned fault never struck.
        isolated: whether to run the relay in a child process, so that a busy main thread doesn't delay it.
        unix: listen on a Unix socket: `True` for a path in a temporary folder, or the path. `server.path` has the path.
        alpn: with `tls="terminate"`, the application protocols that the relay agrees to, as for `serve`.
        upstream_cert: a certificate that the relay shows to an upstream with TLS: the path of a PEM file with the
            certificate and its key, a pair of their paths, or a `LeafCert` of trustme. Default: none.
        starttls: with TLS terminated, the protocol inside which TLS begins: `"postgres"`, `"mysql"`, `"smtp"` or
            `"imap"`. A client that asks for TLS gets it, by the request of its protocol. The upstream is asked for TLS
            in the same way; where it offers none, TLS ends at the relay. Breaks and `on` act as in any terminated TLS;
            in the bytes before TLS only `on` can strike, and conditions act on them too.
        record: as for `serve`.

    Returns:
        The relay, which is listening. Use it as a context manager, or call `close()`.

    Raises:
        ParameterError: a value is out of its range, the upstream is on another machine, or a relay can't play the
            plan.
        PortError: the port is in use, or the address or the path can't be bound.
        UnsupportedError: the plan needs a capability, a package or a system that is not here.

    Example:
        >>> import faultline, urllib.request
        >>> with faultline.serve(faultline.ok(b"from the upstream")) as real:
        ...     with faultline.relay(real, faultline.reset(after_bytes=100)) as server:
        ...         urllib.request.urlopen(server.url).read()
        Traceback (most recent call last):
        ConnectionResetError: [Errno 104] Connection reset by peer
    """
    plan, where = checked_relay(
        upstream,
        plan,
        tls,
        on_upstream_failure,
        allow_remote=allow_remote,
        upstream_cert=upstream_cert,
        starttls=starttls,
    )
    return Server(
        plan,
        address=checked_address(host, port, unix, allow_remote=allow_remote),
        kind=kind_of_relay(tls, where),
        tls=with_protocols(TERMINATES[tls], PROTOCOLS.get(starttls) if alpn is None else alpn),
        upstream=where,
        strict=strict,
        isolated=isolated,
        upkeep=Upkeep(record_bytes=recorded_bytes(record)),
    )


def recorded_bytes(record: bool | int) -> int:  # noqa: FBT001 - as in public
    """The most bytes that a ledger records.

    Raises:
        ParameterError: `record` is neither True nor False nor a whole number.
    """
    if isinstance(record, bool):
        return RECORDED_BYTES if record else 0
    return whole("record", record, " of bytes", 1)


def checked_address(
    host: str,
    port: int,
    unix: bool | str = False,  # noqa: FBT001, FBT002 - as in public
    *,
    allow_remote: bool = False,
) -> Address:
    """The address for a server to listen on.

    Raises:
        ParameterError: a host, port or path is invalid, other machines can reach the host without `allow_remote`, or
            `unix` is given together with a host or port.
        PortError: the path exists already, or this user may not write to its folder.
    """
    if unix is False:
        return Tcp(*addresses.checked_address(host, port, allow_remote=allow_remote))
    if not (isinstance(unix, str) and unix) and unix is not True:
        raise rejected("unix", unix, "True, False or a path")
    for name, value, usual in (("host", host, HOST), ("port", port, 0)):
        if value != usual:
            raise rejected(name, value, f"no {name} beside unix, because a Unix socket has only a path")
    return Unix.claimed(unix)


def checked_relay(
    upstream: str | Server,
    plan: Plan | None,
    tls: RelayTls,
    on_upstream_failure: OnFailure,
    *,
    allow_remote: bool,
    upstream_cert: Shown | None = None,
    starttls: StartTls | None = None,
) -> tuple[Plan, Upstream]:
    """The plan and the upstream of a relay.

    Raises:
        ParameterError: a value is out of its range, or the upstream is on another machine.
    """
    choice("tls", tls, get_args(RelayTls))
    choice("on_upstream_failure", on_upstream_failure, get_args(OnFailure))
    where = named_upstream(upstream, allow_remote=flag("allow_remote", allow_remote))
    if starttls is not None:
        choice("starttls", starttls, get_args(StartTls))
        if tls == "through":
            raise rejected("starttls", starttls, "tls='terminate' beside it")
        if where.tls:
            raise rejected("starttls", starttls, "an upstream that begins without TLS, such as '127.0.0.1:5432'")
    if upstream_cert is not None:
        if tls == "through" or not (where.tls or starttls):
            layer = (
                "tls='terminate' beside it" if where.tls else "an upstream with TLS, such as 'https://127.0.0.1:8443'"
            )
            raise ParameterError(f"upstream_cert is given: expected {layer}.")
        where = replace(where, certificate=shown_pem(upstream_cert))
    plan = HEALTHY if plan is None else checked_plan(plan)
    return plan, replace(where, on_failure=on_upstream_failure, starttls=starttls)


def kind_of_relay(tls: RelayTls, upstream: Upstream) -> Capabilities:
    """The capabilities of a relay: a relay that passes TLS through can't read it."""
    if tls != "through":
        return TERMINATING_RELAY
    return BLIND_RELAY if upstream.tls else RELAY


def named_upstream(upstream: object, *, allow_remote: bool = False) -> Upstream:
    """The upstream at an address; a faultline server also says whether it speaks TLS.

    Raises:
        ParameterError: `upstream` is not an address, or is on another machine.
    """
    if not isinstance(upstream, Server):
        return parsed_upstream(upstream, allow_remote=allow_remote)
    where = parsed_upstream(upstream.hostport, allow_remote=allow_remote)
    return replace(where, tls=upstream.url.startswith("https"))
