"""What the conversations of one server share.

Rules of this room: a value, made by the server and read by the engine, which knows no server.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from faultline._ledger import Ledger
from faultline._parts import Answer, Certificate, Terms
from faultline._plan import Dealer
from faultline._steps import Script
from faultline._tls import ServerContext
from faultline._upstream import Route, Upstream


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
