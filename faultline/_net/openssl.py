"""TLS by pyOpenSSL, which can staple an OCSP response, renegotiate, and choose any protocol; Python's ssl can't.

Rules: the classes have the methods of `ssl.SSLContext` and `ssl.SSLObject` that `tls.py` uses, so that `tls.py` works
with either. pyOpenSSL is an extra: this module is imported only when a fault needs it.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from OpenSSL import SSL

from faultline._core.certificates import Certificate, Terms
from faultline._net.issue import certificate_of, issued, key_of, revocation_answer
from faultline._net.sockets import READ_BYTES
from faultline._net.tls import ALERT_RECORD, sessions

T = TypeVar("T")
SSL_CB_ALERT = 0x4000  # ssl.h
UNOFFERED = (b"http/1.0", b"faultline")  # the first is registered, and no usual client offers it


class Context:
    """A TLS context of a server, used like `ssl.SSLContext`."""

    def __init__(self, certificate: Certificate, terms: Terms, host: str) -> None:
        self._context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self._context.set_cipher_list(b"DEFAULT:@SECLEVEL=0")  # the client decides what it accepts
        key, leaf, *chain = issued(certificate, host)
        self._context.use_certificate(certificate_of(leaf))
        self._context.use_privatekey(key_of(key))
        for each in chain:
            self._context.add_extra_chain_cert(certificate_of(each))
        choose = choose_unoffered if terms.picks_unoffered else partial(choose_protocol, terms.protocols)
        self._context.set_alpn_select_callback(choose)
        self._context.set_info_callback(tell_alert)
        if terms.renegotiates:
            self._context.set_max_proto_version(SSL.TLS1_2_VERSION)  # TLS 1.3 has no renegotiation: RFC 8446, 4.1.2
        if certificate.staples:
            answer = revocation_answer(leaf)
            self._context.set_ocsp_server_callback(lambda _connection, _data: answer)

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *, server_side: bool) -> Session:
        """A session that reads records from `incoming` and writes records to `outgoing`."""
        assert server_side
        return Session(SSL.Connection(self._context, None), incoming, outgoing)


def tell_alert(connection: SSL.Connection, where: int, code: int) -> None:
    """Report an alert (SSL_CTX_set_info_callback(3)) to the session of a connection."""
    known = sessions.get(connection.get_app_data()) if where & SSL_CB_ALERT else None
    if known is not None and (tls := known()) is not None:
        tls.hears(ALERT_RECORD, 0, bytes([code & 0xFF]), is_sent=bool(where & SSL.SSL_CB_WRITE))


def choose_protocol(protocols: tuple[str, ...], _connection: SSL.Connection, offered: list[bytes]) -> Any:
    """Choose the first of these protocols that the client offers; if there is none, no application protocol."""
    both = [protocol.encode("ascii") for protocol in protocols if protocol.encode("ascii") in offered]
    return both[0] if both else SSL.NO_OVERLAPPING_PROTOCOLS


def choose_unoffered(_connection: SSL.Connection, offered: list[bytes]) -> bytes:
    """Choose a protocol that the client does not offer, against RFC 7301, 3.2; OpenSSL's server sends it as it is."""
    return next(protocol for protocol in UNOFFERED if protocol not in offered)


class Session:
    """The server's side of one TLS session, used like `ssl.SSLObject`."""

    def __init__(self, connection: SSL.Connection, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
        self._connection = connection
        self._incoming = incoming
        self._outgoing = outgoing
        self._has_agreed = False
        connection.set_app_data(self)
        connection.set_accept_state()

    def _run(self, operation: Callable[[], T]) -> T:
        """Run an operation on the records that have arrived; the records that it sends are left in `outgoing`."""
        if data := self._incoming.read():
            self._connection.bio_write(data)
        try:
            return operation()
        except SSL.WantReadError:
            raise ssl.SSLWantReadError from None
        except SSL.Error as error:
            raise ssl_error(error) from None
        finally:
            while (record := self._pending()) is not None:
                self._outgoing.write(record)

    def _pending(self) -> bytes | None:
        try:
            return self._connection.bio_read(READ_BYTES)
        except SSL.WantReadError:
            return None

    def do_handshake(self) -> None:
        """Continue the handshake."""
        self._run(self._connection.do_handshake)
        self._has_agreed = True

    def read(self, limit_bytes: int) -> bytes:
        """Read at most `limit_bytes` application bytes; `b""` after the client's close_notify."""
        try:
            return self._run(lambda: self._connection.recv(limit_bytes))
        except ssl.SSLZeroReturnError:
            return b""

    def write(self, data: memoryview) -> int:
        """Encrypt application bytes; return how many."""
        return self._run(lambda: self._connection.send(bytes(data)))

    def unwrap(self) -> None:
        """Send close_notify."""
        self._run(self._connection.shutdown)

    def renegotiate(self) -> None:
        """Ask the client for a new handshake (HelloRequest, RFC 5246, 7.4.1.1)."""
        self._connection.renegotiate()
        self.do_handshake()

    def is_renegotiating(self) -> bool:
        """Whether the new handshake is still under way."""
        return self._connection.renegotiate_pending()

    def version(self) -> str:
        """The negotiated version of TLS."""
        return self._connection.get_protocol_version_name() if self._has_agreed else ""

    def selected_alpn_protocol(self) -> str:
        """The negotiated application protocol."""
        return self._connection.get_alpn_proto_negotiated().decode("ascii")

    def getpeercert(self) -> dict[str, Any]:
        """An empty value, because this context never asks for a client's certificate."""
        return {}


def ssl_error(error: SSL.Error) -> ssl.SSLError:
    """The error that Python's ssl would raise for an error of pyOpenSSL."""
    if isinstance(error, SSL.ZeroReturnError):
        return ssl.SSLZeroReturnError()
    stack = error.args[0] if error.args and isinstance(error.args[0], list) else []
    raised = ssl.SSLError(ssl.SSL_ERROR_SSL, repr(error))
    raised.reason = " ".join(reason for _, _, reason in stack)
    return raised
