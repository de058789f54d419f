"""The facts that a relay keeps of a conversation: which side spoke last, when, and how the client began."""

from __future__ import annotations

from faultline._core import clock
from faultline._core.tls_facts import TlsFacts
from faultline._engine.attempt import OpenAttempt
from faultline._net.client_hello import hello_of


class Dialogue:
    """When a side of a relayed connection sent the last bytes, and how the client began."""

    def __init__(self) -> None:
        self._spoke_at_seconds = 0.0
        self._requests = 0  # messages of the client
        self._first_bytes: bytes | None = b""  # until it is known whether the client begins with TLS

    @property
    def is_start_known(self) -> bool:
        """Whether it is known how the client began, so that its bytes may pass unparsed."""
        return self._first_bytes is None

    def goes_on(self, *, is_request: bool) -> None:
        """Record that a side sends bytes, and whether a message of the client begins with them."""
        self._spoke_at_seconds = clock.now()
        self._requests += is_request

    def read_hello(self, data: bytes, attempt: OpenAttempt) -> None:
        """Look for a ClientHello in the client's first bytes, and record its server name, which is not encrypted."""
        if self._first_bytes is None:
            return
        self._first_bytes += data
        hello = hello_of(self._first_bytes)
        if hello is not None:
            self._first_bytes = None
            if hello.is_tls and attempt.entry.tls is None:
                attempt.entry.tls = TlsFacts(sni=hello.sni, offered=hello.protocols)

    def silent_seconds(self, after_requests: int) -> float:
        """Seconds since a side sent the last bytes; 0 while there are fewer requests."""
        return clock.since(self._spoke_at_seconds) if self._requests >= after_requests else 0.0
