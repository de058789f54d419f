"""The shapes of proxies: the relay, which toxiproxy has, and the servers of faultline that play all other faults.

Rules: `KINDS` is the only list of kinds. A relay without TLS of its own is the shape that clients of toxiproxy know; it
shows no further fields.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from faultline._core import kinds
from faultline._core.attempts import Attempt
from faultline._core.capabilities import Capabilities, Why, lacks
from faultline._core.certificates import Tls
from faultline._core.fault import Fault
from faultline._core.hosts import hostport
from faultline._core.plan import HEALTHY, Plan
from faultline._core.said import abbreviated
from faultline._core.upstream import Route, Upstream
from faultline._core.words import listed, meant
from faultline._front.control.errors import bad_body, missing, not_accepted
from faultline._front.control.fields import Fields

if TYPE_CHECKING:
    from faultline._servers.address import Tcp
    from faultline._servers.dns import DnsServer
    from faultline._servers.running import Upkeep
    from faultline._servers.server import Server

WORDS: dict[str, Tls] = {"terminate": True, "through": False}  # of the public function `relay`
OF_PYTHON = re.compile(r"tls=|…")  # in what a refusal proposes: a shape says it in the words of the API
OTHER_WORDS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("proxy", "tcp"), ("relay",)),
    **dict.fromkeys(("http", "https"), ("server",)),
    **dict.fromkeys(("socks", "socks5"), ("socks-proxy",)),
    **dict.fromkeys(("resolver", "name", "lookup"), ("dns",)),
}


@dataclass(frozen=True)
class Kind:
    """A kind of proxy.

    Attributes:
        plain: what it plays without TLS of its own.
        secure: what it plays if it speaks TLS to clients; `None` if it can't.
        has_upstream: whether it needs an upstream; `None` if it may have one.
        scheme: of its URL, where it is no server's.
    """

    plain: Capabilities
    secure: Capabilities | None = None
    has_upstream: bool | None = None
    scheme: str = ""


KINDS: dict[str, Kind] = {
    "relay": Kind(kinds.RELAY, kinds.TERMINATING_RELAY, has_upstream=True),
    "server": Kind(kinds.SERVER.in_plain, kinds.SERVER.in_tls, has_upstream=False),
    "http-proxy": Kind(kinds.HTTP_PROXY.in_plain, kinds.HTTP_PROXY.in_tls),
    "socks-proxy": Kind(kinds.SOCKS_PROXY, scheme="socks5h"),
    "dns": Kind(kinds.DNS, has_upstream=False),
}


@dataclass(frozen=True)
class Shape:
    """What a proxy is: its kind, and whether it speaks TLS to its clients."""

    kind: str = "relay"
    tls: Tls = False

    def __str__(self) -> str:
        tls = f', "tls": {json.dumps(self.tls)}' if self.tls else ""
        return f'"kind": "{self.kind}"{tls}'

    @property
    def can(self) -> Capabilities:
        """What it plays."""
        kind = KINDS[self.kind]
        return kind.secure if self.tls and kind.secure is not None else kind.plain

    @property
    def has_upstream(self) -> bool | None:
        """Whether it needs an upstream; `None` if it may have one."""
        return KINDS[self.kind].has_upstream

    def check_upstream(self, given: str, number: int | None) -> None:
        """Check that there is an upstream where there has to be one, and none where it would be ignored.

        Raises:
            ApiError: it is missing, or there is one.
        """
        if self.has_upstream and not given:
            raise missing("upstream", number)
        if self.has_upstream is False and given:
            raise not_accepted(f"upstream={given!r}: expected none with {self}, which answers by itself; leave it out.")

    def start(
        self,
        plan: Plan,
        address: Tcp,
        upstream: Upstream | None,
        on_end: Callable[[Attempt], None],
        upkeep: Upkeep,
    ) -> Server | DnsServer:
        """Start the server that a proxy of this shape is.

        Raises:
            ParameterError: it can't play the plan.
            PortError: the address can't be bound.
            UnsupportedError: something is missing here.
        """
        from faultline._servers.dns import FOUND, DnsServer
        from faultline._servers.server import Server

        if self.kind == "dns":
            plan, (host, port) = FOUND if plan == HEALTHY else plan, (address.host, address.port)
            return DnsServer(plan, host=host, port=port, strict=False, allow_remote=True, on_end=on_end)
        is_relay = self.kind == "relay"
        return Server(
            plan,
            address=address,
            kind=self.can,
            tls=self.tls,
            upstream=upstream if is_relay else None,
            route=None if is_relay else Route(upstream),
            proxy_scheme=KINDS[self.kind].scheme,
            strict=False,
            on_end=on_end,
            upkeep=upkeep,
        )

    def shown(self, server: Server | DnsServer | None) -> dict[str, Any]:
        """The fields that toxiproxy has not; none for a relay as toxiproxy has it."""
        if self == Shape():
            return {}
        data: dict[str, Any] = {"kind": self.kind, "tls": self.tls}
        if server is not None:
            data["url"] = url_of(server)
        if self.tls:
            from faultline._net.authority import AUTHORITY

            data["ca_file"] = AUTHORITY.ca_file
            if self.tls == "mutual":
                data["client_cert_file"] = AUTHORITY.client_cert_file
        return data


def shape_of(given: Fields, usual: Shape = Shape()) -> Shape:
    """The shape that the body of a proxy describes; what it does not say is as usual.

    Raises:
        ApiError: there is no such kind, or it speaks no TLS.
    """
    kind, tls = given.get("kind", str) or usual.kind, given.get("tls", object)
    if kind not in KINDS:
        near = [f"; did you mean {each!r}?" for each in meant(kind, KINDS, OTHER_WORDS)[:1]]
        raise not_accepted(f"kind={kind!r}: expected {listed(map(repr, KINDS))}{''.join(near)}")
    speaks = WORDS.get(tls, tls) if isinstance(tls, str) else usual.tls if tls is None else tls
    if not isinstance(speaks, (bool, str)) or speaks not in (True, False, "mutual"):
        raise bad_body(f'expected true, false or "mutual" for proxy.tls, not {abbreviated(tls)}')
    if speaks and KINDS[kind].secure is None:
        raise not_accepted(f"tls={json.dumps(tls)}: expected false with kind={kind!r}, which speaks no TLS.")
    return Shape(kind, cast("Tls", speaks))


def url_of(server: Server | DnsServer) -> str:
    """The URL of a server, for its clients."""
    url = getattr(server, "proxy_url", "")
    return url or f"dns://{hostport(*server.address)}"


def refusal_of(fault: Fault, shape: Shape) -> str:
    """Why a shape does not play a fault, and which does, as a sentence; empty if it does."""
    for key, sentence in lacks(fault, shape.can):
        why = shape.can.why.get(key, Why(sentence))
        if why.instead and not OF_PYTHON.search(why.instead):
            return f"{fault!r}: expected {why.instead}; {why.reason}."
        takes = next((str(other) for other in shapes_near(shape) if not any(lacks(fault, other.can))), "")
        return f"{fault!r}: {why.reason}; {f'it takes a proxy with {takes}' if takes else 'no proxy plays it'}."
    return ""


def shapes_near(shape: Shape) -> Iterator[Shape]:
    """All other shapes, those of the same kind first."""
    for kind in sorted(KINDS, key=lambda each: each != shape.kind):
        yield Shape(kind)
        if KINDS[kind].secure is not None:
            yield Shape(kind, True)
