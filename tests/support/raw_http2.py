"""A client of HTTP/2 by hand: it writes what it is told, keeps every byte that comes, and reads frames."""

from __future__ import annotations

import socket
import ssl
import struct

from h2.config import H2Configuration
from h2.connection import H2Connection

PATIENCE_SECONDS = 10


class Raw:
    """One connection; `end` tells how it has ended, and `raw` are all bytes that came."""

    def __init__(self, server, *, tls=False, settings=None):
        sock = socket.create_connection(server.address, PATIENCE_SECONDS)
        if tls:
            context = server.client_context()
            context.set_alpn_protocols(["h2"])
            sock = context.wrap_socket(sock, server_hostname="localhost")
        self.sock, self.raw, self.end = sock, b"", None
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        if settings:
            self.h2.update_settings(settings) if self.h2.streams else self.h2.local_settings.update(settings)
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
        except OSError as error:
            self.end = "FIN" if isinstance(error, ssl.SSLEOFError) else "RST"
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
