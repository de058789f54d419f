"""A client that sends what it is told, and reads whatever has come without waiting."""

from __future__ import annotations

import errno
import socket
import ssl
import struct


class Client:
    """A plain client, or one that speaks TLS by itself, so that each sign of an end is seen apart."""

    def __init__(self, address, context=None):
        self.heard, self.seen, self.is_notified = b"", "", False
        self.raw_bytes = 0  # of all that came, TLS included
        self._sock = socket.create_connection(address, 10)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # each piece travels alone
        self._sock.setblocking(False)
        self._session = None
        if context is not None:
            self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            self._session = context.wrap_bio(self._incoming, self._outgoing, server_hostname="127.0.0.1")
            self._is_secure = False
            self._shake()

    def _shake(self):
        try:
            self._session.do_handshake()
            self._is_secure = True
        except ssl.SSLWantReadError:
            pass
        self._send(self._outgoing.read())

    def _send(self, data):
        try:
            while data and not self.seen.endswith("RST"):
                data = data[self._sock.send(data) :]
        except OSError as error:
            self._notes(error.errno)

    def _notes(self, code):
        """Take note of a RST."""
        if code in (errno.ECONNRESET, errno.EPIPE) and not self.seen.endswith("RST"):
            self.seen = f"{self.seen} RST".strip()

    def say(self, data):
        """Send bytes at once."""
        if self._session is not None:
            self._session.write(data)
            data = self._outgoing.read()
        self._send(data)

    def hear(self):
        """Read whatever has come."""
        while self._sock.fileno() >= 0 and not self.seen:
            try:
                data = self._sock.recv(65_536)
            except BlockingIOError:
                break
            except OSError as error:
                self._notes(error.errno)
                break
            if not data:
                self.seen = "FIN"
            self._take(data)
        if self.seen == "FIN" and self._sock.fileno() >= 0:
            self._notes(self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def _take(self, data):
        self.raw_bytes += len(data)
        if self._session is None:
            self.heard += data
            return
        self._incoming.write(data)
        if not self._is_secure:
            self._shake()
        try:
            while self._is_secure and (data := self._session.read(65_536)):
                self.heard += data
        except ssl.SSLWantReadError:
            return
        except ssl.SSLZeroReturnError:
            pass
        self.is_notified = self._is_secure

    def finish(self):
        """Send FIN, and go on listening."""
        self._sock.shutdown(socket.SHUT_WR)

    def leave(self, how="FIN"):
        """Close, by FIN or by RST."""
        if how == "RST":
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()
