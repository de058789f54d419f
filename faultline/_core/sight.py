"""Which connects at the door a server can count: the guard must not judge what nobody could observe."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sight:
    """Which connects a server can count that the kernel refuses or leaves unanswered.

    Attributes:
        counts_all: whether every such connect is counted, whichever process and library makes it. If not, those of
            Python clients in the server's process are counted.
        has_unseen_clients: whether a client was accepted whose connect was not counted before, so that connects of the
            same client may have been refused unseen.
    """

    counts_all: bool = True
    has_unseen_clients: bool = False
