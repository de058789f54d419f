"""The facts of a WebSocket, as the ledger records them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from faultline._core.counts import counted

# How the note of an attempt begins.
NO_WEBSOCKET, MALFORMED = "the client asked for no WebSocket", "the client sent a malformed frame"
KEPT_MESSAGES = 100
KEPT_LENGTH = 1000  # characters or bytes of a message


@dataclass(frozen=True)
class WebSocketFacts:
    """What has passed on a WebSocket of a server, or through a relay or a proxy that sees its frames.

    .. versionadded:: 0.1

    Attributes:
        subprotocol: the subprotocol that the server chose; empty for none.
        received_messages: the number of whole messages from the client.
        sent_messages: the number of messages to the client.
        received_frames: the number of whole frames from the client, with PINGs and the like.
        received_pings: the number of PINGs from the client.
        client_code: the code of the client's close frame, 1005 if it had none; `None` without a close frame.
        client_reason: the reason in the client's close frame.
        server_code: the code of the server's close frame, 1005 if it had none; `None` without a close frame.
        server_reason: the reason in the server's close frame.
        received: the first 100 messages from the client, with at most 1,000 characters or bytes of each.
    """

    subprotocol: str = ""
    received_messages: int = 0
    sent_messages: int = 0
    received_frames: int = 0
    received_pings: int = 0
    client_code: int | None = None
    client_reason: str = ""
    server_code: int | None = None
    server_reason: str = ""
    received: tuple[str | bytes, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The facts as plain data for JSON; a binary message becomes text, one character for each byte (Latin-1)."""
        said = [each.decode("latin-1") if isinstance(each, bytes) else each for each in self.received]
        return {**vars(self), "received": said}


def with_message(facts: WebSocketFacts, message: str | bytes) -> WebSocketFacts:
    """The facts, with one more message from the client."""
    kept = facts.received
    if len(kept) < KEPT_MESSAGES:
        kept = (*kept, message[:KEPT_LENGTH])
    return replace(facts, received_messages=facts.received_messages + 1, received=kept)


def told(facts: WebSocketFacts) -> str:
    """The facts in a phrase, for reports."""
    count = counted(facts.received_messages, "WebSocket message")
    codes = (("client", facts.client_code), ("server", facts.server_code))
    closes = [f"{by} closes with {code}" for by, code in codes if code is not None]
    return ", ".join([f"{count} from the client and {facts.sent_messages} to it", *(closes or ["no close frame"])])
