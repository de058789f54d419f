"""TLS as a layer over a wire, so that a break can strike in it as in plain TCP.

Rules: no sockets, only `ssl.MemoryBIO`. Bytes are read from the wire below, and every record to send passes the
`write` function of the engine, which may break the conversation between two bytes.
"""

from __future__ import annotations

import contextlib
import ssl
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from faultline._core.alerts import NAME_OF, alert
from faultline._core.tls_facts import TlsFacts
from faultline._net.client_hello import Hello, first_certificate, hello_of, version_of
from faultline._net.departures import Departed
from faultline._net.sockets import READ_BYTES
from faultline._net.wire import Wire

Write = Callable[[bytes], Awaitable[None]]
OnAlert = Callable[[str, bool], None]  # gets the name of an alert, and whether this side sent it


class Session(Protocol):
    """The methods of `ssl.SSLObject` that are used here."""

    def do_handshake(self) -> None: ...
    def read(self, len: int) -> bytes: ...  # noqa: A002
    def write(self, data: memoryview, /) -> int: ...
    def unwrap(self) -> object: ...
    def version(self) -> str | None: ...
    def selected_alpn_protocol(self) -> str | None: ...
    def getpeercert(self) -> Any: ...


class ServerContext(Protocol):
    """The method of `ssl.SSLContext` that is used here."""

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *, server_side: bool) -> Session:
        """A session that reads records from `incoming` and writes records to `outgoing`."""


class Rejected(Exception):  # noqa: N818 - an event, not an error
    """The TLS session has ended: by an alert, or because the peer doesn't speak TLS."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


# The random bytes of a ServerHello that asks for another ClientHello (RFC 8446, 4.1.3).
RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
RANDOM = slice(11, 43)


def shows_certificate(flight: bytes) -> bool:
    """Whether these records of a server include its certificate: no alert, and no request for another ClientHello."""
    return flight[:1] == b"\x16" and flight[RANDOM] != RETRY


ALERT_RECORD, HANDSHAKE_RECORD = 21, 22
SERVER_HELLO, CERTIFICATE = 2, 11  # messages of the handshake


class Hearer(Protocol):
    """The method of one side of a session that `tell_messages` calls."""

    def hears(self, content: int, kind: int, data: bytes, *, is_sent: bool) -> None: ...


sessions: weakref.WeakKeyDictionary[object, weakref.ref[Hearer]] = weakref.WeakKeyDictionary()


def tell_messages(context: ssl.SSLContext) -> None:
    """Have a context report the messages and alerts of its sessions.

    `ssl` has no public way to them: in TLS 1.3 an alert is encrypted, and a handshake that fails has no version.
    CPython has this hook since 3.8, for its own tests.
    """

    def on_message(session: object, direction: str, _version: int, content: int, kind: int, data: bytes) -> None:
        if content in (ALERT_RECORD, HANDSHAKE_RECORD) and (known := sessions.get(session)) and (tls := known()):
            tls.hears(content, kind, data, is_sent=direction == "write")

    # The property of the class below passes plain numbers: that of SSLContext makes enums, which halves the throughput.
    _ssl_context = ssl.SSLContext.__mro__[1]
    vars(_ssl_context)["_msg_callback"].__set__(context, on_message)


class Tls:
    """One side of a TLS session: the server's, or, with the name of a server, the client's."""

    def __init__(
        self, wire: Wire, context: ServerContext | ssl.SSLContext, name: str = "", on_alert: OnAlert | None = None
    ) -> None:
        self._wire = wire
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._session: Session
        if name and isinstance(context, ssl.SSLContext):
            self._session = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        else:
            self._session = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        sessions[self._session] = weakref.ref(self)
        self._on_alert = on_alert
        self._version, self._client_certificate = "", b""  # as the messages of the handshake said
        self._early = b""  # application bytes that were decrypted before a call of `receive`
        self.hello = Hello()

    def hears(self, content: int, kind: int, data: bytes, *, is_sent: bool) -> None:
        """Take note of a message of the handshake or of an alert."""
        if content == ALERT_RECORD:
            self.alerts(NAME_OF.get(data[-1], str(data[-1])), is_sent=is_sent)
        elif kind == SERVER_HELLO:
            self._version = version_of(data)
        elif kind == CERTIFICATE and not is_sent:
            self._client_certificate = first_certificate(data, self._version)

    def alerts(self, name: str, *, is_sent: bool) -> None:
        """Report an alert of this side or of the peer."""
        if self._on_alert is not None:  # pragma: no branch - the ledger has no alerts of an upstream
            self._on_alert(name, is_sent)

    def facts(self) -> TlsFacts:
        """The facts of the session for the ledger, as far as the handshake has come."""
        return TlsFacts(
            self._session.version() or self._version,
            self.hello.sni,
            self._session.selected_alpn_protocol() or "",
            offered=self.hello.protocols,
            client=self._client_name(),
        )

    def _client_name(self) -> str:
        """The common name in the client's certificate; empty if the client has shown no certificate."""
        try:
            subject = (self._session.getpeercert() or {}).get("subject", ())
        except ValueError:  # no handshake yet, or it failed
            subject = ()
        if not subject and self._client_certificate:
            from faultline._net.issue import common_name  # cryptography is loaded, because there is a certificate

            return common_name(self._client_certificate)
        names = dict(pair for part in subject for pair in part)
        return str(names.get("commonName", ""))

    async def handshake(self, write: Write, received: bytes = b"", *, refuses_protocols: bool = False) -> None:
        """Read the ClientHello, of which some bytes may have been received, and perform the handshake.

        Raises:
            Rejected: the client sent an alert or bytes that are not TLS, or its protocols were refused.
            Departed: the client ended the connection meanwhile.
        """
        self._incoming.write(received)
        while (hello := hello_of(received)) is None:
            received += await self._more()
        self.hello = hello
        if refuses_protocols and hello.protocols:
            self.alerts("no_application_protocol", is_sent=True)
            await write(alert("no_application_protocol"))  # RFC 7301, 3.2
            raise Rejected("no application protocol")
        await self.agree(write)

    async def agree(self, write: Write) -> None:
        """Perform the handshake.

        Raises:
            Rejected: the peer sent an alert, or bytes that are not TLS.
            Departed: the peer ended the connection meanwhile.
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
        """Read at most `limit_bytes` application bytes; `b""` after the peer's close_notify or FIN.

        Raises:
            Rejected: the peer sent an alert.
            Departed: the peer reset the connection.
        """
        await self._wire.give_way()  # records that were read before don't come from the wire
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
        except ssl.SSLZeroReturnError:  # after a close_notify was sent, the peer's is an error
            return b""

    async def stop(self, write: Write) -> bytes:
        """End the session in both directions; return the bytes that were already read.

        Raises:
            Rejected: the peer sent an alert.
            Departed: the peer ended the connection meanwhile.
        """
        await self._drive(self._session.unwrap, write)
        return self._early + self._incoming.read()

    def encrypt(self, data: memoryview) -> bytes:
        """The records that carry these bytes."""
        self._session.write(data)
        return self._outgoing.read()

    async def renegotiate(self, write: Write) -> None:
        """Ask for a new handshake, and wait until it is complete; application data that arrives first is kept.

        Raises:
            Rejected: the client refused.
            Departed: the client ended the connection meanwhile.
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
        # OpenSSL also looks for the peer's close_notify, and fails the session if it finds data instead.
        with contextlib.suppress(ssl.SSLError):
            while data := self._session.read(READ_BYTES):
                self._early += data
        with contextlib.suppress(ssl.SSLError):  # the peer's close_notify may be missing
            self._session.unwrap()
        return self._outgoing.read()


def reason(error: ssl.SSLError) -> str:
    """OpenSSL's reason for an error, in lower case and with spaces."""
    return (error.reason or str(error)).replace("_", " ").lower()
