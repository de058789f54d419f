"""The clear text before TLS that begins inside a protocol: bytes of both sides in, bytes for both sides out.

Rules: no sockets and no waiting. A client that asks for TLS gets it. An upstream that offers TLS is asked for it, and
its answer decides; where it offers none, TLS ends at the relay.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from faultline._net.sockets import READ_BYTES


class Upgrade(ABC):
    """The talk of a client and an upstream until TLS begins, or until it is clear that it will not.

    Attributes:
        to_client, to_upstream: the bytes to send, which the caller removes.
        client_speaks_tls: whether the client begins its handshake now.
        upstream_speaks_tls: whether the relay begins its handshake with the upstream now.
        is_over: whether the rest passes as it is.
        hears_client, hears_upstream: whose bytes are wanted next.
    """

    def __init__(self) -> None:
        self.to_client = self.to_upstream = b""
        self.client_speaks_tls = self.upstream_speaks_tls = self.is_over = False
        self.hears_client = self.hears_upstream = True

    def begins(self, _first: bytes) -> bool:
        """Take note of how the client's first byte will be; return whether it is one of TLS already."""
        return False

    @property
    def wanted_bytes(self) -> int:
        """How many bytes of the client may be read at once; those behind belong to TLS."""
        return READ_BYTES

    @property
    def wanted_of_upstream_bytes(self) -> int:
        """How many bytes of the upstream may be read at once."""
        return READ_BYTES

    @abstractmethod
    def client_says(self, data: bytes) -> None:
        """Take bytes of the client."""

    @abstractmethod
    def upstream_says(self, data: bytes) -> None:
        """Take bytes of the upstream."""

    def agree(self, *, upstream: bool) -> None:
        """Begin TLS with the client, and with the upstream too, or not."""
        self.client_speaks_tls, self.upstream_speaks_tls = True, upstream
        self.is_over = True
