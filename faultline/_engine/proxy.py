"""A proxy's part of a conversation: what the client asks for, the way there, and the tunnel.

Rules of this room: a way leads to this machine only. An open tunnel is the passage through that every relay is; what
the proxy itself says passes `response`, and what comes back through the tunnel passes `tunnel`, if a break waits there.
"""

from __future__ import annotations

import base64
import contextlib
from abc import abstractmethod
from dataclasses import replace

from faultline._core import steps as do
from faultline._core.answers import Answer, SocksRefusal
from faultline._core.errors import ParameterError
from faultline._core.fault import Fault
from faultline._core.hosts import is_local
from faultline._core.ledger import Request
from faultline._engine.far import Far, UpstreamLeft
from faultline._engine.relay import Through
from faultline._engine.upstream import SCHEMES, Upstream, parsed_upstream
from faultline._net.departures import Departed
from faultline._net.socks import Socks

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
BASIC = (("Proxy-Authenticate", 'Basic realm="faultline"'),)
# What is between the client and the proxy, and goes no further: RFC 9110, 7.6.1 and 11.7.
HOP_BY_HOP = {"connection", "keep-alive", "proxy-authorization", "proxy-connection"}


class Proxying(Through):
    """A client's connection to a proxy."""

    _is_tunnel = False

    @abstractmethod
    async def _respond(self, answer: Answer | None) -> None:
        """Answer the request."""

    # --- HTTP --------------------------------------------------------------------------------------------------------

    async def _forward(self) -> None:
        """Open the tunnel that was asked for, or fetch; else say why not."""
        if self._fault.http_answer is not None:
            await self._respond(None)
            return
        request = self._entry.request or Request()
        way = self._way(request)
        reached = await self._reached(way) if isinstance(way, Upstream) else way
        if isinstance(reached, Answer):
            await self._respond(reached)
        elif request.method == "CONNECT":
            await self._reach("response")
            await self._send(ESTABLISHED, acknowledged=self._armed("tunnel") is not None)
            await self._open_tunnel(reached)
        else:
            await self._hand_over(reached, head_of(request))
            self._speaker = "client"
            await self._pass_through(reached)

    def _way(self, request: Request) -> Upstream | Answer:
        """Where a request leads, or the answer that says that it doesn't."""
        auth = self._stage.route.auth
        if not request.method:
            return Answer(400, body=b"A proxy is asked in HTTP.\n")
        if auth is not None and not shows(request.header("proxy-authorization", "") or "", auth):
            return Answer(407, BASIC, body=b"The proxy wants another name and password.\n")
        is_tunnel = request.method == "CONNECT"
        asked = asked_for(f"tcp://{request.target}" if is_tunnel else request.target)
        if asked is None:
            return Answer(400, body=b"A proxy is asked for host:port by CONNECT, and else for an absolute URL.\n")
        to = self._stage.route.to
        upstream = self._leading(asked, to and replace(to, tls=not is_tunnel and (asked.tls or to.tls)))
        return upstream or Answer(403, body=b"The proxy leads to this machine only.\n")

    def _leading(self, asked: Upstream, to: Upstream | None) -> Upstream | None:
        """Where the way leads, if that is allowed."""
        if to is None and not is_local(asked.host):
            self._entry.note = f"{asked} is not on this machine; to=… leads there"
            return None
        return to or asked

    async def _reached(self, upstream: Upstream) -> Far | Answer:
        far = await self._try(upstream)
        if isinstance(far, Far):
            return far
        return Answer(504 if isinstance(far, TimeoutError) else 502, body=f"{self._entry.note}\n".encode())

    # --- SOCKS -------------------------------------------------------------------------------------------------------

    async def _negotiate(self) -> None:
        """Agree on where to, and open the tunnel; else say why not."""
        refusal = self._fault.answer.kind if isinstance(self._fault.answer, SocksRefusal) else ""
        talk = Socks(self._stage.route.auth, refusal)
        said = b""
        while talk.target is None and not talk.is_refused:
            if said:
                await self._enter("response")
                await self._send(said, acknowledged=False)
            await self._enter("request")
            data = await self._receive()
            if not data:
                raise Departed("FIN")
            said = talk.feed(data)
        self._put_back(talk.rest)
        far: Far | None = None
        if talk.target is not None:
            host, port = talk.target
            host = printable(host)
            asked = Upstream(host.lower().removesuffix("."), port)
            self._stage.ledger.keep(self._entry, Request(f"SOCKS{talk.version}", str(replace(asked, host=host))))
            if not talk.is_refused:
                far, more = await self._way_by_socks(talk, asked)
                said += more
        await self._enter("response")
        if refusal:
            self._stage.ledger.strike(self._entry, "response", 0)
        await self._send(said, acknowledged=False)  # in one piece, as clients read it
        if far is not None:
            await self._open_tunnel(far)

    async def _way_by_socks(self, talk: Socks, asked: Upstream) -> tuple[Far | None, bytes]:
        """The connection to where the client wants to go, if there is one, and the reply that says so."""
        to = self._stage.route.to
        upstream = self._leading(asked, to and replace(to, tls=False))
        if upstream is None:
            return None, talk.refusal("not_allowed")
        far = await self._try(upstream)
        return (far, talk.granted()) if isinstance(far, Far) else (None, talk.failed(far))

    # --- the tunnel --------------------------------------------------------------------------------------------------

    async def _open_tunnel(self, far: Far) -> None:
        """Let both talk to each other, until a break at `tunnel` or the end of both."""
        self._look_back()
        await self._reach("tunnel")
        self._is_tunnel = True
        await self._hand_over(far, b"")
        await self._pass_through(far)

    def _deal(self, fault: Fault) -> None:
        super()._deal(fault)
        if self._is_tunnel:
            self._look_back()

    def _look_back(self) -> None:
        """Have what comes back pass the point where a break waits."""
        self._way_back = "tunnel" if self._armed("tunnel") is not None else "response"

    async def _hand_over(self, far: Far, head: bytes) -> None:
        """Send to the other end what was read for it."""
        head, self._buffer, self._counted_bytes = head + self._buffer, b"", 0
        with contextlib.suppress(UpstreamLeft):  # who carries on will hear of it
            await far.send(head)

    def _come_to(self, point: do.Point) -> None:
        if not self._is_tunnel:  # where it stays
            super()._come_to(point)


def asked_for(url: str) -> Upstream | None:
    """What a URL leads to, or nothing if it is none."""
    if url.partition("://")[0].lower() not in SCHEMES:
        return None
    try:
        return parsed_upstream(url, allow_remote=True)
    except ParameterError:
        return None


def shows(field: str, auth: tuple[str, str]) -> bool:
    """Whether a client shows this name and password (RFC 7617), in UTF-8 or, as some do, in Latin-1."""
    scheme, _, shown = field.partition(" ")
    try:
        words = base64.b64decode(shown.strip(), validate=True)
    except ValueError:
        return False
    good = ":".join(auth)
    return scheme.lower() == "basic" and words in (good.encode(), good.encode("latin-1", "replace"))


def head_of(request: Request) -> bytes:
    """The head of a request as its origin is to get it (RFC 9112, 3.2): by its path, for one response only."""
    authority, path = split_target(request.target)
    connection = {word.strip().lower() for word in (request.header("connection") or "").split(",")}
    upgrades = "upgrade" in connection
    dropped = HOP_BY_HOP | (connection - {"upgrade"}) | {"host"}
    fields = [("Host", authority)]
    fields += [(name, value) for name, value in request.headers if name.lower() not in dropped]
    fields.append(("Connection", "Upgrade" if upgrades else "close"))
    lines = [f"{request.method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def split_target(target: str) -> tuple[str, str]:
    """Host and port of an absolute URL, and the rest of it as the client wrote it."""
    rest = target.partition("://")[2].partition("#")[0]
    ends = min((at for at in map(rest.find, "/?") if at >= 0), default=len(rest))
    path = rest[ends:]
    return rest[:ends].rpartition("@")[2], path if path.startswith("/") else f"/{path}"


def printable(host: str) -> str:
    """A name without anything that a terminal would act on."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in host)
