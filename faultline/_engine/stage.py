"""What the conversations of one server share.

Rules of this room: a value, made by the server and read by the engine, which knows no server.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from faultline._core.answers import Answer
from faultline._core.certificates import Certificate, Terms
from faultline._core.ledger import Ledger
from faultline._core.plan import Dealer
from faultline._core.steps import Script
from faultline._engine.upstream import Route, Upstream
from faultline._net.tls import ServerContext


@dataclass(frozen=True)
class Stage:
    """What a conversation needs to know of its server."""

    dealer: Dealer
    ledger: Ledger
    script: Script
    upstream: Upstream | None
    route: Route
    default: Answer
    tls: bool
    terms: Terms
    context: Callable[[Certificate, Terms], ServerContext]
    chance: Callable[[], random.Random]
    on_dealt: Callable[[], None]
