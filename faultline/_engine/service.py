"""The values that all connections of one server share."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from faultline._core import steps as do
from faultline._core.answers import Answer
from faultline._core.certificates import Certificate, Terms
from faultline._core.dealer import Dealer
from faultline._core.fault import Fault
from faultline._core.ledger import Ledger
from faultline._core.plan import faults_of
from faultline._core.upstream import Route, Upstream
from faultline._net.tls import ServerContext

if TYPE_CHECKING:
    from faultline._engine.connection import Connection

# A protocol: holds the conversation on a connection, from the end of the TLS handshake to the end of the conversation.
Talk: TypeAlias = "Callable[[Connection], Awaitable[None]]"


@dataclass(frozen=True, kw_only=True)
class Service:
    """The values that a connection gets from its server.

    Attributes:
        dealer: deals a fault to each attempt.
        ledger: records the attempts.
        talk: the protocol of the server.
        default: the answer to a request, unless the fault has an answer.
        tls: whether a connection begins with TLS.
        terms: the terms of TLS, unless the fault has terms.
        context: returns the TLS context for a certificate and terms.
        chance: returns a new random number generator.
        on_dealt: called after a fault was dealt, when the next fault is known.
        upstream: the server behind a relay.
        route: the target of a proxy, and the name and password that its clients have to send.
        parks: whether a silence without end takes no task; then nothing but the end of the connection can follow.
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
    upstream: Upstream | None = None
    route: Route = field(default_factory=Route)
    parks: bool = True

    @property
    def begins_with_tls(self) -> bool:
        """Whether a connection begins with TLS, and TLS doesn't begin later inside the protocol of a relay."""
        return self.tls and (self.upstream is None or self.upstream.starttls is None)

    def may_echo(self, fault: Fault) -> bool:
        """Whether the answer to a request may repeat the request's body."""
        for each in faults_of(fault):
            steps = do.every(each.script.steps) if each.script is not None else ()
            answers = [step.answer for step in steps if isinstance(step, do.Respond)]
            if any((answer or each.http_answer or self.default).echoes for answer in (*answers, None)):
                return True
        return False
