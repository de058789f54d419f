"""What the connections of one server share."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from faultline._core.answers import Answer
from faultline._core.certificates import Certificate, Terms
from faultline._core.ledger import Ledger
from faultline._core.plan import Dealer
from faultline._net.tls import ServerContext

if TYPE_CHECKING:
    from faultline._engine.connection import Connection

# What is spoken on a connection, from the end of the opening to the end of the conversation.
Talk: TypeAlias = "Callable[[Connection], Awaitable[None]]"


@dataclass(frozen=True, kw_only=True)
class Service:
    """What a connection needs to know of its server.

    Attributes:
        dealer: has the fault of each attempt.
        ledger: where attempts are written down.
        talk: the protocol of the server.
        default: what is answered when the fault says nothing else.
        tls: whether a connection begins with TLS.
        terms: what TLS agrees to when the fault says nothing else.
        context: makes the TLS context that shows a certificate and agrees to terms.
        chance: gives a new generator.
        on_dealt: called after a fault was dealt, when the next one is known.
    """

    dealer: Dealer
    ledger: Ledger
    talk: Talk
    default: Answer
    tls: bool
    terms: Terms
    context: Callable[[Certificate, Terms], ServerContext]
    chance: Callable[[], random.Random]
    on_dealt: Callable[[], None]
