"""TLS as a layer over a wire, so that every break falls on it as it falls on plain TCP.

Rules of this room: no sockets, only `ssl.MemoryBIO`; bytes go in and out through the wire below, and every
record that is to be sent passes the one `write` the engine hands over, which may break in between.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from faultline._core.alerts import alert
from faultline._core.ledger import TlsFacts
from faultline._net.client_hello import Hello, hello_of
from faultline._net.departures import Departed
from faultline._net.sockets import READ_BYTES
from faultline._net.wire import Wire

Write = Callable[[bytes], Awaitable[None]]


class Session(Protocol):
    """What is used of `ssl.SSLObject`."""

    def do_handshake(self) -> None: ...
    def read(self, len: int) -> bytes: ...  # noqa: A002
    def write(self, data: memoryview, /) -> int: ...
    def unwrap(self) -> object: ...
    def version(self) -> str | None: ...
    def selected_alpn_protocol(self) -> str | None: ...
    def getpeercert(self) -> Any: ...


class ServerContext(Protocol):
    """What is used of `ssl.SSLContext`."""

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *, server_side: bool) -> Session:
        """A session whose records go through these two."""


class Rejected(Exception):  # noqa: N818 - it is news: the client said no
    """The client ended the TLS session, by an alert or by not speaking TLS."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


# A ServerHello that asks for another ClientHello has this for its random bytes (RFC 8446, 4.1.3).
RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
RANDOM = slice(11, 43)


def shows_certificate(flight: bytes) -> bool:
    """Whether these records of a server go on with its certificate: no alert, and no request for another hello."""
    return flight[:1] == b"\x16" and flight[RANDOM] != RETRY


class Tls:
    """One side of a TLS session: the server's, or the client's where a name is given that it asks for."""

    def __init__(self, wire: Wire, context: ServerContext | ssl.SSLContext, name: str = "") -> None:
        self._wire = wire
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._session: Session
        if name and isinstance(context, ssl.SSLContext):
            self._session = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        else:
            self._session = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._early = b""  # read before anybody asked for it
        self.hello = Hello()

    def facts(self) -> TlsFacts:
        """What was agreed, or known until it failed."""
        return TlsFacts(
            self._session.version() or "",
            self.hello.sni,
            self._session.selected_alpn_protocol() or "",
            offered=self.hello.protocols,
            client=self._client_name(),
        )

    def _client_name(self) -> str:
        """The common name in the client's certificate, if it was asked for one and has shown it."""
        try:
            subject = (self._session.getpeercert() or {}).get("subject", ())
        except ValueError:  # no handshake yet
            return ""
        names = dict(pair for part in subject for pair in part)
        return str(names.get("commonName", ""))

    async def handshake(self, write: Write, *, refuses_protocols: bool = False) -> None:
        """Agree with the client.

        Raises:
            Rejected: the client sent an alert, or something that is no TLS; or it was refused.
            Departed: the client left meanwhile.
        """
        said = b""
        while (hello := hello_of(said)) is None:
            said += await self._more()
        self.hello = hello
        if refuses_protocols and hello.protocols:
            await write(alert("no_application_protocol"))  # RFC 7301, 3.2
            raise Rejected("no application protocol")
        await self.agree(write)

    async def agree(self, write: Write) -> None:
        """Go through the handshake.

        Raises:
            Rejected: the other side sent an alert, or something that is no TLS.
            Departed: it left meanwhile.
        """
        await self._drive(self._session.do_handshake, write)

    async def _more(self) -> bytes:
        data = await self._wire.receive(READ_BYTES)
        if not data:
            raise Departed("FIN") from None
        self._incoming.write(data)
        return data

    async def _drive(self, operation: Callable[[], object], write: Write) -> object:
        while True:
            try:
                result = operation()
            except ssl.SSLWantReadError:
                await self._pump(write)
                await self._more()
            except ssl.SSLError as error:
                await self._pump(write)
                raise Rejected(reason(error)) from None
            else:
                await self._pump(write)
                return result

    async def _pump(self, write: Write) -> None:
        if data := self._outgoing.read():
            await write(data)

    async def receive(self, limit_bytes: int, write: Write) -> bytes:
        """At most so many application bytes; `b""` after the client's close_notify or FIN.

        Raises:
            Rejected: the client sent an alert.
            Departed: the client has reset the connection.
        """
        if self._early:
            data, self._early = self._early[:limit_bytes], self._early[limit_bytes:]
            return data
        try:
            read = await self._drive(lambda: self._read(limit_bytes), write)
        except Departed as left:
            if left.how == "FIN":
                return b""
            raise
        assert isinstance(read, bytes)
        return read

    def _read(self, limit_bytes: int) -> bytes:
        try:
            return self._session.read(limit_bytes)
        except ssl.SSLZeroReturnError:  # after our own close_notify it is an error
            return b""

    async def stop(self, write: Write) -> bytes:
        """End the session in both directions; what was read already.

        Raises:
            Rejected: the client sent an alert.
            Departed: it left meanwhile.
        """
        await self._drive(self._session.unwrap, write)
        return self._early + self._incoming.read()

    def encrypt(self, data: memoryview) -> bytes:
        """The records that carry these bytes."""
        self._session.write(data)
        return self._outgoing.read()

    async def renegotiate(self, write: Write) -> None:
        """Ask for a new handshake, and wait until it is through; application data that comes first is kept.

        Raises:
            Rejected: the client refuses.
            Departed: the client left meanwhile.
        """
        session: Any = self._session  # of pyOpenSSL

        def settle() -> None:
            while session.is_renegotiating():
                try:
                    data = session.read(READ_BYTES)
                except ssl.SSLWantReadError:
                    if session.is_renegotiating():
                        raise
                else:
                    if not data:
                        raise Departed("FIN")
                    self._early += data

        session.renegotiate()
        await self._drive(settle, write)

    def close_notify(self) -> bytes:
        """The record that ends the session in an orderly way (RFC 8446, 6.1)."""
        # OpenSSL looks for the client's own close_notify too, and gives the session up if it finds data instead.
        with contextlib.suppress(ssl.SSLError):
            while data := self._session.read(READ_BYTES):
                self._early += data
        with contextlib.suppress(ssl.SSLError):  # the client's close_notify need not come
            self._session.unwrap()
        return self._outgoing.read()


def reason(error: ssl.SSLError) -> str:
    """What OpenSSL calls it, in plain words."""
    return (error.reason or str(error)).replace("_", " ").lower()
