"""Ends: how a side of a conversation ends it, or ends one direction of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Party = Literal["client", "server", "upstream"]
How = Literal["RST", "FIN", "silence", "no route", "stop", "no name", "answer", "RST_STREAM"]
Sign = Literal[
    "RST", "FIN", "silence", "no route", "stop", "no name", "answer", "RST_STREAM", "GOAWAY", "close_notify", "alert"
]

# How the note of an attempt says that a control of the test had a hand in it.
CLOSED, RESET = "closed by the test", "reset by the test"
PAUSED, PARTITIONED = "paused by the test", "partitioned by the test"


@dataclass(frozen=True, slots=True)
class End:
    """A sign by which a side ended a conversation, or its own direction of it.

    .. versionadded:: 0.1

    Attributes:
        by: the side that gave the sign. In a relay, a sign that is passed on is that of the side where it began.
        how: `FIN` and `close_notify` end one direction, `RST` and an `alert` of TLS both; `RST_STREAM` ends a stream
            of HTTP/2, `GOAWAY` begins the end of its connection. Other ends have the value of `Attempt.ended_how`.
        at_seconds: when it was sent or seen, in seconds since the server started.
        alert: the name of the alert in RFC 8446, 6, or of the error code in RFC 9113, 7.
    """

    by: Party
    how: Sign
    at_seconds: float
    alert: str = ""

    def __str__(self) -> str:
        return f"{self.how} {self.alert}" if self.alert else self.how
