"""Modes that strike at `lookup`, when a client looks up a name."""

import ipaddress
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, TypeAlias

from faultline._core.breaks import Break
from faultline._core.check import rejected, whole
from faultline._core.conditions import Latency
from faultline._core.fault import Fault
from faultline._core.lookups import Found, FoundLast
from faultline._core.steps import NoName, WrongAnswer
from faultline.modes._registry import case, mode

__all__ = ["addresses", "bad_dns", "no_address", "nxdomain", "resolves_to", "servfail", "slow_resolve"]

First: TypeAlias = Literal["dead_first", "blackhole_first", "ipv6_first"]
DnsKind: TypeAlias = Literal["refused", "silence", "truncated", "wrong_id", "garbage", "cname_loop", "flapping"]
WHERE = "a server, or an IP address of this machine, with or without a port, such as '127.0.0.1:8080'"


class Reachable(Protocol):
    """An object with an address, such as a server."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""


@dataclass(frozen=True)
class ServerOfTest:
    """Stands in the cases of the catalogue for the server that a test starts."""

    address: tuple[str, int] = ("127.0.0.1", 80)
    ledger: None = None

    def __repr__(self) -> str:
        return "server"


SERVER = ServerOfTest()


@mode(
    case("an address", "connecting to the first address: ConnectionRefusedError", first="dead_first", server=SERVER),
    case("an address", "connecting to the first address: TimeoutError", first="blackhole_first", server=SERVER),
    case("an address", "connecting to the first address: ConnectionRefusedError", first="ipv6_first", server=SERVER),
)
def addresses(
    first: Annotated[First, "the address that comes before the server's address"],
    server: Annotated[Reachable, "the server; its ledger shows each try"],
) -> Fault:
    """Find two addresses, of which only the last address leads to the server.

    For clients that try addresses one after the other, or several at once (Happy Eyeballs, RFC 8305). The first address
    is another address of this machine, with the server's port: at `dead_first` it refuses, at `blackhole_first` it is
    silent, and at `ipv6_first` it is the address ::1 and refuses. The server's ledger has the client's tries at
    that address.

    .. versionadded:: 0.1

    Raises:
        ParameterError: `server` has no ledger, or does not listen on one address of IPv4.

    Example:
        >>> import faultline, socket
        >>> with faultline.serve(faultline.ok()) as server:
        ...     with faultline.resolve("api.example.com", faultline.addresses("dead_first", server)):
        ...         with socket.create_connection(("api.example.com", server.port)):
        ...             print([attempt.ended_how for attempt in server.attempts])
        ['RST', None]
    """
    if isinstance(server, str) or not hasattr(server, "ledger"):
        raise rejected("server", server, "a server, because its ledger has to show each try")
    host, port = target_of(server)
    if ":" in host or getattr(server, "host", "") in ("0.0.0.0", "::"):  # noqa: S104 - a comparison
        raise rejected("server", server, "a server on an IPv4 address, such as host='127.0.0.1'")
    kind = first.removesuffix("_first")
    return Fault(answer=FoundLast(((host, port),), server, kind))  # type: ignore[arg-type] # one of its words


@mode(
    case("an answer", "rcode REFUSED", kind="refused"),
    case("no answer", kind="silence"),
    case("an answer", "truncated; over TCP ConnectionRefusedError", kind="truncated"),
    case("an answer", "with another id", kind="wrong_id"),
    case("garbage", kind="garbage"),
    case("an answer", "a loop of aliases", kind="cname_loop"),
    case("an address", "every second answer: an address where no server listens", kind="flapping"),
)
def bad_dns(kind: Annotated[DnsKind, "what is wrong with the answer"]) -> Fault:
    """Answer a DNS query wrongly, or not at all; only a DNS server can.

    `refused` (RCODE 5), `silence`, `truncated` (TC over UDP, and no server listens over TCP), `wrong_id`, `garbage`
    (bytes that are no message), `cname_loop` (two names, each an alias of the other), `flapping` (TTL 0, and every
    second answer is an address where no server listens).

    .. versionadded:: 0.1

    Example:
        >>> from faultline import bad_dns
        >>> bad_dns("truncated")
        bad_dns('truncated')
    """
    return Fault(Break("lookup", WrongAnswer(kind)))


@mode(case("gaierror -5", "a DNS client: NOERROR without an address"))
def no_address() -> Fault:
    """Find the name, but no address: EAI_NODATA, or an empty answer from a DNS server.

    `socket.getaddrinfo` raises `socket.gaierror` -5, "No address associated with hostname". The answer of a DNS server
    is that of RFC 2308, 2.2.

    .. versionadded:: 0.1

    Example:
        >>> import faultline, socket
        >>> with faultline.resolve("api.example.com", faultline.no_address()):
        ...     socket.gethostbyname("api.example.com")
        Traceback (most recent call last):
        socket.gaierror: [Errno -5] No address associated with hostname
    """
    return failing("no_address")


@mode(case("gaierror -2", "a DNS client: rcode NXDOMAIN"))
def nxdomain() -> Fault:
    """Find no such name: EAI_NONAME, or NXDOMAIN from a DNS server.

    `socket.getaddrinfo` raises `socket.gaierror` -2, "Name or service not known". The answer of a DNS server has RCODE
    3 (RFC 1035, 4.1.1).

    .. versionadded:: 0.1

    Example:
        >>> import faultline, socket
        >>> with faultline.resolve("api.example.com", faultline.nxdomain()):
        ...     socket.create_connection(("api.example.com", 443))
        Traceback (most recent call last):
        socket.gaierror: [Errno -2] Name or service not known
    """
    return failing("nxdomain")


@mode(case("an address", server="127.0.0.2:8080"))
def resolves_to(
    server: Annotated[Reachable | str, "a server, or an address of this machine with or without a port"],
) -> Fault:
    """Find this server: its address, and its port instead of the port that the client asks for.

    Only clients that take the port from the lookup are led to another port: `socket.create_connection`, asyncio,
    urllib3 and http.client do; anyio (and with it httpx's AsyncClient) and callers of `gethostbyname` take the address
    alone. For those clients put the server's port into the URL, or use `intercept`, which changes the connect.
    A DNS server answers with the address alone.

    .. versionadded:: 0.1

    Raises:
        ParameterError: `server` is neither a server nor an address of this machine.

    Example:
        >>> import faultline, urllib.request
        >>> with faultline.serve(faultline.ok(b"found")) as server:
        ...     with faultline.resolve("api.example.com", faultline.resolves_to(server)):
        ...         urllib.request.urlopen("http://api.example.com/").read()
        b'found'
    """
    kept = None if isinstance(server, str) else server
    return Fault(answer=Found((target_of(server),), kept))


@mode(case("gaierror -3", "a DNS client: rcode SERVFAIL"))
def servfail() -> Fault:
    """Fail for now, so that a later lookup may work: EAI_AGAIN, or SERVFAIL from a DNS server.

    `socket.getaddrinfo` raises `socket.gaierror` -3, "Temporary failure in name resolution". The answer of a DNS
    server has RCODE 2 (RFC 1035, 4.1.1).

    .. versionadded:: 0.1

    Example:
        >>> import faultline, socket
        >>> with faultline.resolve("api.example.com", faultline.servfail()):
        ...     socket.gethostbyname("api.example.com")
        Traceback (most recent call last):
        socket.gaierror: [Errno -3] Temporary failure in name resolution
    """
    return failing("servfail")


@mode(case("an address", "this much later", delay_seconds=0.01))
def slow_resolve(delay_seconds: Annotated[float, "the delay of the answer"]) -> Fault:
    """Delay the answer to a lookup.

    The answer is that of another fault, or the answer that the lookup would have without this fault. The calling thread
    waits: asyncio looks up in threads of its own, and the timeout of its client ends the wait for the thread, not the
    thread.

    .. versionadded:: 0.1

    Example:
        >>> from faultline import nxdomain, slow_resolve
        >>> slow_resolve(2) & nxdomain()
        slow_resolve(2) & nxdomain()
    """
    return Fault(conditions=(Latency(float(delay_seconds), direction="lookup"),))


def failing(kind: str) -> Fault:
    """The fault of a lookup that fails in this way."""
    return Fault(Break("lookup", NoName(kind)))


def target_of(server: object) -> tuple[str, int | None]:
    """The host and the port that a name leads to.

    Raises:
        ParameterError: `server` is neither a server nor an address of this machine.
    """
    if not isinstance(server, str):
        address = getattr(server, "address", None)
        if not isinstance(address, tuple) or not address[1]:
            raise rejected("server", server, WHERE)
        return address
    host, colon, port = server.rpartition(":")
    if not colon or server.endswith("]") or (":" in host and not host.startswith("[")):
        host, port = server, ""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
        number = whole("port", int(port), "", 1, 65_535) if port else None
    except ValueError:
        raise rejected("server", server, WHERE) from None
    if not address.is_loopback:
        raise rejected("server", server, WHERE)
    return str(address), number
