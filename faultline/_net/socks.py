"""The server's side of a SOCKS negotiation: the client's bytes in, replies out, until the target is known.

Rules: no sockets and no waiting. SOCKS5 is RFC 1928, with RFC 1929 for name and password; SOCKS4 and 4a have no RFC,
and follow what their clients send.
"""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Callable

from faultline.modes.proxies import SOCKS4_CODES, SOCKS5_CODES

VERSION_4, VERSION_5 = 4, 5
CONNECT = 1
PRIVATE = range(0x80, 0xFF)  # methods: RFC 1928, 3
MESSAGE_4_BYTES = 1024  # more than two names need
NO_AUTH, GSSAPI, PASSWORD, NONE_OF_THESE = 0, 1, 2, 0xFF
IPV4, NAME, IPV6 = 1, 3, 4
GRANTED_4, REJECTED_4 = 90, 91
BY_ERRNO = {
    errno.ECONNREFUSED: "connection_refused",
    errno.ENETUNREACH: "network_unreachable",
    errno.EHOSTUNREACH: "host_unreachable",
}
GARBAGE = b"HTTP/1.1 400 Bad Request\r\n\r\n"


class Socks:
    """The negotiation with one client."""

    def __init__(self, auth: tuple[str, str] | None, refuses: str) -> None:
        self._auth = auth
        self._refuses = refuses
        self._unread = b""
        self._next: Callable[[], bytes | None] = self._greeting
        self.version = 0
        self.target: tuple[str, int] | None = None
        self.is_refused = False

    def feed(self, data: bytes) -> bytes:
        """Add bytes from the client; return the replies to send now."""
        self._unread += data
        replies = b""
        while self.target is None and not self.is_refused:
            answer = self._next()
            if answer is None:  # the message is incomplete
                break
            replies += answer
        return replies

    @property
    def rest(self) -> bytes:
        """The bytes that the client has sent after its request."""
        return self._unread

    def granted(self) -> bytes:
        """The reply that the tunnel is open."""
        return self._reply(0, GRANTED_4)

    def failed(self, error: Exception) -> bytes:
        """The reply that the connection to the target failed with this error."""
        return self.refusal(BY_ERRNO.get(getattr(error, "errno", None) or 0, "general_failure"))

    def refusal(self, kind: str) -> bytes:
        """The reply that refuses the request."""
        return self._reply(SOCKS5_CODES.get(kind, 1), SOCKS4_CODES.get(kind, REJECTED_4))

    def _take(self, count: int) -> bytes:
        taken, self._unread = self._unread[:count], self._unread[count:]
        return taken

    def _greeting(self) -> bytes | None:
        """Read the first message: the methods of SOCKS5, or the whole request of SOCKS4."""
        if not self._unread:
            return None
        self.version = self._unread[0]
        if self.version == VERSION_4:
            return self._request_4()
        if self.version != VERSION_5 or self._refuses == "garbage":
            return self._refused(GARBAGE)
        if len(self._unread) < 2 or len(self._unread) < 2 + self._unread[1]:  # noqa: PLR2004 - version and count
            return None
        offered = self._take(2 + self._unread[1])[2:]
        method = self._method(offered)
        if method == NONE_OF_THESE or self._refuses == "unoffered_method":
            return self._refused(bytes((VERSION_5, method)))
        self._next = self._credentials if method == PASSWORD else self._request_5
        return bytes((VERSION_5, method))

    def _method(self, offered: bytes) -> int:
        """The method that this server chooses from those that the client offers."""
        if self._refuses == "no_acceptable_method":
            return NONE_OF_THESE
        if self._refuses == "unoffered_method":
            return next((method for method in (PASSWORD, GSSAPI, NO_AUTH, *PRIVATE) if method not in offered), NO_AUTH)
        if self._auth is not None or self._refuses == "bad_credentials":
            return PASSWORD if PASSWORD in offered else NONE_OF_THESE
        return next((method for method in (NO_AUTH, PASSWORD) if method in offered), NONE_OF_THESE)

    def _credentials(self) -> bytes | None:
        """Read name and password (RFC 1929, 2)."""
        data = self._unread
        if data and data[0] != 1:  # the version of RFC 1929, 2
            return self._refused(b"\x01\x01")
        if len(data) < 2 or len(data) < 3 + data[1] or len(data) < 3 + data[1] + data[2 + data[1]]:  # noqa: PLR2004 - the lengths
            return None
        name = data[2 : 2 + data[1]]
        password = data[3 + data[1] : 3 + data[1] + data[2 + data[1]]]
        self._take(3 + len(name) + len(password))
        wanted = None if self._auth is None else tuple(part.encode() for part in self._auth)
        if self._refuses == "bad_credentials" or wanted not in (None, (name, password)):
            return self._refused(b"\x01\x01")
        self._next = self._request_5
        return b"\x01\x00"

    def _request_5(self) -> bytes | None:
        """Read the request with the target (RFC 1928, 4)."""
        data = self._unread
        if data and data[0] != VERSION_5:
            return self._refused(self.refusal("general_failure"))
        sizes = {IPV4: 4, IPV6: 16, NAME: 1 + data[4] if len(data) > 4 else 1}  # noqa: PLR2004 - after the type
        if len(data) < 4:  # noqa: PLR2004 - up to the type
            return None
        _, command, _, kind = data[:4]
        if kind not in sizes:
            return self._refused(self.refusal("address_type_not_supported"))
        if len(data) < 4 + sizes[kind] + 2:
            return None
        message = self._take(4 + sizes[kind] + 2)
        where, port = message[4:-2], int.from_bytes(message[-2:], "big")
        host = where[1:].decode("latin-1") if kind == NAME else str(ipaddress.ip_address(where))
        return self._requested(command, host, port)

    def _request_4(self) -> bytes | None:
        """Read the request of SOCKS4, or of SOCKS4a, whose target is a name."""
        data = self._unread[:MESSAGE_4_BYTES]
        named = len(data) >= 8 and data[4:7] == b"\0\0\0" and data[7] != 0  # noqa: PLR2004 - up to the user
        ends = data.find(b"\0", 8)
        if named and ends >= 0:
            ends = data.find(b"\0", ends + 1)
        if len(data) == MESSAGE_4_BYTES and ends < 0:
            return self._refused(self.refusal("rejected"))
        if len(data) < 9 or ends < 0:  # noqa: PLR2004 - at least an empty user
            return None
        message = self._take(ends + 1)
        host = str(ipaddress.ip_address(message[4:8]))
        if named:
            host = message[8:-1].partition(b"\0")[2].decode("latin-1")
        return self._requested(message[1], host, int.from_bytes(message[2:4], "big"))

    def _requested(self, command: int, host: str, port: int) -> bytes:
        self.target = (host, port)
        if self.version == VERSION_4 and self._auth is not None:  # SOCKS4 has no password
            return self._refused(self.refusal("rejected"))
        if self._refuses:
            return self._refused(GARBAGE if self._refuses == "garbage" else self.refusal(self._refuses))
        if command != CONNECT:
            return self._refused(self.refusal("command_not_supported"))
        return b""

    def _refused(self, reply: bytes) -> bytes:
        self.is_refused = True
        return reply

    def _reply(self, code_5: int, code_4: int) -> bytes:
        if self.version == VERSION_4:
            return bytes((0, code_4)) + bytes(6)
        return bytes((VERSION_5, code_5, 0, IPV4)) + bytes(6)
