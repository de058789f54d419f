"""A client of HTTP/2 by hand: it writes what it is told, keeps every byte that comes, and reads frames."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct

from h2.config import H2Configuration
from h2.connection import H2Connection

PATIENCE_SECONDS = 10


class Secured:
    """TLS on a socket, which tells RST from FIN: `SSLSocket` of Python 3.11 gives no bytes for both, that of 3.13 not.

    `recv` raises what the socket raises, and returns no bytes only once FIN has come.
    """

    def __init__(self, sock, context):
        self._sock, self._incoming, self._outgoing = sock, ssl.MemoryBIO(), ssl.MemoryBIO()
        self._session = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self.settimeout, self.close = sock.settimeout, sock.close
        while not self._is_secure():
            self._incoming.write(sock.recv(65_536))

    def _is_secure(self):
        try:
            self._session.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self._sock.sendall(self._outgoing.read())
        return True

    def sendall(self, data):
        self._session.write(data)
        self._sock.sendall(self._outgoing.read())

    def recv(self, count):
        while True:
            with contextlib.suppress(ssl.SSLWantReadError):
                if data := self._session.read(count):
                    return data  # and none behind close_notify, where FIN or RST is still to come
            if not (data := self._sock.recv(count)):
                return data
            self._incoming.write(data)


class Raw:
    """One connection; `end` tells how it has ended, and `raw` are all bytes that came."""

    def __init__(self, server, *, tls=False):
        sock = socket.create_connection(server.address, PATIENCE_SECONDS)
        if tls:
            context = server.client_context()
            context.set_alpn_protocols(["h2"])
            sock = Secured(sock, context)
        self.sock, self.raw, self.end = sock, b"", None
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def flush(self):
        self.sock.sendall(self.h2.data_to_send())

    def ask(self, path="/", method="GET", body=b"", *, ends=True, **fields):
        """Send a request, and return the number of its stream."""
        number = self.h2.get_next_available_stream_id()
        pseudo = [(":method", method), (":path", path), (":scheme", "http"), (":authority", "test")]
        self.h2.send_headers(number, [*pseudo, *fields.items()], end_stream=ends and not body)
        if body:
            self.h2.send_data(number, body, end_stream=ends)
        self.flush()
        return number

    def read(self):
        """Read some bytes; false at the end of the connection."""
        try:
            data = self.sock.recv(65_536)
        except TimeoutError:
            self.end = "silence"
            return False
        except ConnectionResetError:
            self.end = "RST"
            return False
        self.raw += data
        if not data:
            self.end = "FIN"
        return bool(data)

    def read_to_end(self, within_seconds=PATIENCE_SECONDS):
        """Read until the connection ends, or is silent for this time."""
        self.sock.settimeout(within_seconds)
        while self.read():
            pass
        return self

    def until(self, is_so):
        """Read until something is so of the frames, or until the end."""
        while not is_so(self.frames()) and self.read():
            pass
        return self.frames()

    def response(self, number):
        """The frames of a stream, once it is complete, or once the connection has ended."""
        ended = ("END_STREAM", "RST_STREAM")
        self.until(
            lambda frames: any(
                kind == "RST_STREAM" or ended[0] in flags for kind, flags, of, _ in frames if of == number
            )
        )
        return [frame for frame in self.frames() if frame[2] == number]

    def frames(self):
        """What came: the name, the flags, the stream and the payload of each whole frame."""
        return frames_of(self.raw)[0]


NAMES = (
    *("DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY", "WINDOW_UPDATE"),
    "CONTINUATION",
)


def frames_of(data):
    """The whole frames of some bytes, and the bytes behind them."""
    found = []
    while len(data) >= 9 and len(data) >= (end := 9 + int.from_bytes(data[:3], "big")) and data[3] < len(NAMES):
        flags = {"END_STREAM"} if data[4] & 1 and data[3] < 2 else set()
        found.append((NAMES[data[3]], flags, int.from_bytes(data[5:9], "big"), data[9:end]))
        data = data[end:]
    return found, data


def code_of(payload):
    """The error code of a RST_STREAM or a GOAWAY."""
    return struct.unpack(">I", payload[-4:] if len(payload) == 4 else payload[4:8])[0]
