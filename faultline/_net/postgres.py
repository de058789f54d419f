"""PostgreSQL before TLS: a message of the client asks for it, and the server answers with one byte.

The page "Message Flow" of PostgreSQL's manual has both, and TLS without a question, which came with version 17.
"""

from __future__ import annotations

from faultline._net.upgrade import Upgrade

SSL_REQUEST = bytes.fromhex("0000000804d2162f")
GSSENC_REQUEST = bytes.fromhex("0000000804d21630")
YES, NO = b"S", b"N"
HANDSHAKE = b"\x16"  # how a record of the handshake begins


class Postgres(Upgrade):
    """PostgreSQL: the client's first message asks for TLS, or is TLS already, as from version 17 on."""

    def __init__(self) -> None:
        super().__init__()
        self._message = b""
        self._is_direct = False
        self.hears_upstream = False

    def begins(self, first: bytes) -> bool:
        self._is_direct = first == HANDSHAKE
        if self._is_direct:
            self._ask()
        return self._is_direct

    @property
    def wanted_bytes(self) -> int:
        return len(SSL_REQUEST) - len(self._message)

    @property
    def wanted_of_upstream_bytes(self) -> int:
        return 1

    def client_says(self, data: bytes) -> None:
        self._message += data
        if len(self._message) < len(SSL_REQUEST):
            return
        message, self._message = self._message, b""
        if message == SSL_REQUEST:
            self._ask()
        elif message == GSSENC_REQUEST:
            self.to_client += NO  # encryption by GSSAPI would hide the bytes; a client then asks for TLS
        else:
            self.to_upstream += message
            self.is_over = True

    def _ask(self) -> None:
        self.to_upstream += SSL_REQUEST
        self.hears_client, self.hears_upstream = False, True

    def upstream_says(self, data: bytes) -> None:
        if data not in (YES, NO):  # an error, of which this is the first byte
            self.to_client += data
            self.is_over = True
            return
        self.to_client += b"" if self._is_direct else YES
        self.agree(upstream=data == YES)
