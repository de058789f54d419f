"""What a relay knows of a conversation that it passes on: who speaks, since when, and how the client began."""

from __future__ import annotations

import asyncio

from faultline._core.ledger import Party, TlsFacts
from faultline._engine.attempt import OpenAttempt
from faultline._net.client_hello import hello_of


class Dialogue:
    """Who speaks on a relayed connection.

    Attributes:
        speaker: the side that has spoken last.
    """

    def __init__(self) -> None:
        self.speaker: Party | None = None
        self._spoke_at_seconds = 0.0
        self._greeting: bytes | None = b""  # the client's first bytes, until it is known whether they begin TLS

    @property
    def is_known(self) -> bool:
        """Whether it is known how the client began, so that its bytes may pass unseen."""
        return self._greeting is None

    def speaks(self, by: Party) -> bool:
        """Note that a side says something; whether it begins a message, which is all it says until the other speaks."""
        self._spoke_at_seconds = asyncio.get_running_loop().time()
        begins, self.speaker = self.speaker != by, by
        return begins

    def greet(self, data: bytes, attempt: OpenAttempt) -> None:
        """Look for a ClientHello in what the client says first; the name in it is not encrypted."""
        if self._greeting is None:
            return
        self._greeting += data
        hello = hello_of(self._greeting)
        if hello is not None:
            self._greeting = None
            if hello.is_tls and attempt.entry.tls is None:
                attempt.entry.tls = TlsFacts(sni=hello.sni, offered=hello.protocols)

    def silent_seconds(self) -> float:
        """How long nothing was said since the upstream spoke; 0 if the client spoke last."""
        if self.speaker != "server":
            return 0.0
        return asyncio.get_running_loop().time() - self._spoke_at_seconds
