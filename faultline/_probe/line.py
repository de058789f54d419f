"""A connection to a server with a time limit, plain or in TLS, that keeps what the server showed.

Rules: every wait ends at the deadline.
"""

from __future__ import annotations

import socket
import ssl
import weakref

from faultline._core import clock
from faultline._core.alerts import NAME_OF, WARNINGS
from faultline._net.client_hello import first_certificate, version_of
from faultline._net.sockets import READ_BYTES
from faultline._net.tls import ALERT_RECORD, CERTIFICATE, SERVER_HELLO, sessions, tell_messages
from faultline._probe.steps import RAGGED

FIRST_BYTES = 16  # of what the server sends, which are kept


class Deadline:
    """The time until which a point has to be passed."""

    def __init__(self, seconds: float) -> None:
        self._began, self._seconds = clock.now(), seconds

    @property
    def passed(self) -> float:
        """The seconds since the beginning."""
        return clock.since(self._began)

    @property
    def left(self) -> float:
        """The seconds that are left.

        Raises:
            TimeoutError: there are none.
        """
        left = self._seconds - self.passed
        if left <= 0:
            raise TimeoutError("timed out")
        return left


class Line:
    """A plain connection."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._broken: OSError | None = None
        self.first = b""
        self.received_bytes = 0
        self.alert = ""
        self.is_ragged = False

    def send(self, data: bytes, deadline: Deadline) -> None:
        """Send bytes. An error is kept until all that the server has sent is read.

        Raises:
            TimeoutError: the server does not take them in time.
        """
        try:
            self._sock.settimeout(deadline.left)
            self._sock.sendall(data)
        except ConnectionError as error:
            self._broken = error

    def receive(self, deadline: Deadline) -> bytes:
        """The next bytes, or none at the end of the stream.

        Raises:
            TimeoutError: nothing comes in time.
            OSError: the connection broke.
        """
        self._sock.settimeout(deadline.left)
        data = self._sock.recv(READ_BYTES)
        if not data and self._broken is not None:
            raise self._broken
        self.first += data[: FIRST_BYTES - len(self.first)]
        self.received_bytes += len(data)
        return data


class SecureLine:
    """A connection in TLS, over a plain one."""

    def __init__(self, line: Line, context: ssl.SSLContext, name: str) -> None:
        tell_messages(context)
        self._line = line
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._session = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        sessions[self._session] = weakref.ref(self)
        self._version = ""
        self.certificate = b""
        self.alert = ""  # the last one of the server that is no warning
        self.is_ragged = False  # whether FIN came though TLS had not ended

    def hears(self, content: int, kind: int, data: bytes, *, is_sent: bool) -> None:
        """Take note of the server's certificate and of its alert."""
        if is_sent:
            return
        if content == ALERT_RECORD:
            name = NAME_OF.get(data[-1], str(data[-1]))
            self.alert = "" if name in WARNINGS else name
        elif kind == SERVER_HELLO:
            self._version = version_of(data)
        elif kind == CERTIFICATE:
            self.certificate = first_certificate(data, self._version)

    @property
    def terms(self) -> tuple[str, str]:
        """The version of TLS and the cipher."""
        cipher = self._session.cipher()
        return self._session.version() or "", cipher[0] if cipher else ""

    def handshake(self, deadline: Deadline) -> None:
        """Perform the handshake.

        Raises:
            TimeoutError: it is not done in time.
            OSError: it failed, or the connection broke.
        """
        while True:
            try:
                self._session.do_handshake()
            except ssl.SSLWantReadError:
                self._more(deadline)
            else:
                return
            finally:
                self._flush(deadline)

    def send(self, data: bytes, deadline: Deadline) -> None:
        """Send bytes.

        Raises:
            TimeoutError: the server does not take them in time.
        """
        self._session.write(data)
        self._flush(deadline)

    def receive(self, deadline: Deadline) -> bytes:
        """The next bytes, or none at the end of the stream.

        Raises:
            TimeoutError: nothing comes in time.
            OSError: the connection or TLS broke.
        """
        while True:
            try:
                return self._session.read(READ_BYTES)
            except ssl.SSLWantReadError:
                self._more(deadline)
            except ssl.SSLError as error:
                if error.reason != RAGGED:
                    raise
                self.is_ragged = True
                return b""
            finally:
                self._flush(deadline)

    def _more(self, deadline: Deadline) -> None:
        self._flush(deadline)
        if data := self._line.receive(deadline):
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _flush(self, deadline: Deadline) -> None:
        if self._outgoing.pending:
            self._line.send(self._outgoing.read(), deadline)
