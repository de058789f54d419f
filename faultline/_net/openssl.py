"""TLS by pyOpenSSL, for what Python's ssl can't say: a stapled OCSP answer, and a renegotiation.

Rules of this room: it looks like `ssl.SSLContext` and `ssl.SSLObject` as far as `tls.py` uses them, so that nothing
else knows which of the two it talks to. pyOpenSSL is an extra: this module is imported when a fault needs it.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any, TypeVar

from OpenSSL import SSL

from faultline._core.certificates import Certificate, Terms
from faultline._net.issue import certificate_of, issued, key_of, revocation_answer
from faultline._net.sockets import READ_BYTES

T = TypeVar("T")


class Context:
    """A server context."""

    def __init__(self, certificate: Certificate, terms: Terms, host: str) -> None:
        self._context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self._context.set_cipher_list(b"DEFAULT:@SECLEVEL=0")  # what a client takes is its own business
        key, leaf, *chain = issued(certificate, host)
        self._context.use_certificate(certificate_of(leaf))
        self._context.use_privatekey(key_of(key))
        for each in chain:
            self._context.add_extra_chain_cert(certificate_of(each))
        self._context.set_alpn_select_callback(choose_protocol)
        if terms.renegotiates:
            self._context.set_max_proto_version(SSL.TLS1_2_VERSION)  # TLS 1.3 has none: RFC 8446, 4.1.2
        if certificate.staples:
            answer = revocation_answer(leaf)
            self._context.set_ocsp_server_callback(lambda _connection, _data: answer)

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *, server_side: bool) -> Session:
        """A session whose records go through these two."""
        assert server_side
        return Session(SSL.Connection(self._context, None), incoming, outgoing)


def choose_protocol(_connection: SSL.Connection, offered: list[bytes]) -> Any:
    """The application protocol of this server, if the client has it; else none is agreed."""
    return b"http/1.1" if b"http/1.1" in offered else SSL.NO_OVERLAPPING_PROTOCOLS


class Session:
    """The server's side of one session."""

    def __init__(self, connection: SSL.Connection, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
        self._connection = connection
        self._incoming = incoming
        self._outgoing = outgoing
        self._has_agreed = False
        connection.set_accept_state()

    def _through(self, operation: Callable[[], T]) -> T:
        """An operation on the records that have come; what it has to send is left in `outgoing`."""
        if data := self._incoming.read():
            self._connection.bio_write(data)
        try:
            return operation()
        except SSL.WantReadError:
            raise ssl.SSLWantReadError from None
        except SSL.Error as error:
            raise refused(error) from None
        finally:
            while (record := self._pending()) is not None:
                self._outgoing.write(record)

    def _pending(self) -> bytes | None:
        try:
            return self._connection.bio_read(READ_BYTES)
        except SSL.WantReadError:
            return None

    def do_handshake(self) -> None:
        """Go on with the handshake."""
        self._through(self._connection.do_handshake)
        self._has_agreed = True

    def read(self, limit_bytes: int) -> bytes:
        """At most so many application bytes; `b""` after the client's close_notify."""
        try:
            return self._through(lambda: self._connection.recv(limit_bytes))
        except ssl.SSLZeroReturnError:
            return b""

    def write(self, data: memoryview) -> int:
        """Encrypt."""
        return self._through(lambda: self._connection.send(bytes(data)))

    def unwrap(self) -> None:
        """Send close_notify."""
        self._through(self._connection.shutdown)

    def renegotiate(self) -> None:
        """Ask the client for a new handshake (HelloRequest, RFC 5246, 7.4.1.1)."""
        self._connection.renegotiate()
        self.do_handshake()

    def is_renegotiating(self) -> bool:
        """Whether the new handshake is not through yet."""
        return self._connection.renegotiate_pending()

    def version(self) -> str:
        """What version was agreed."""
        return self._connection.get_protocol_version_name() if self._has_agreed else ""

    def selected_alpn_protocol(self) -> str:
        """What application protocol was agreed."""
        return self._connection.get_alpn_proto_negotiated().decode("ascii")

    def getpeercert(self) -> dict[str, Any]:
        """The client is not asked for a certificate here."""
        return {}


def refused(error: SSL.Error) -> ssl.SSLError:
    """What OpenSSL says, as Python's ssl would raise it."""
    if isinstance(error, SSL.ZeroReturnError):
        return ssl.SSLZeroReturnError()
    stack = error.args[0] if error.args and isinstance(error.args[0], list) else []
    said = ssl.SSLError(ssl.SSL_ERROR_SSL, repr(error))
    said.reason = " ".join(reason for _, _, reason in stack)
    return said
