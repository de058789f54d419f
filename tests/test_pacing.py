"""The time from which a delay counts: what the server computes adds nothing to it, and takes nothing from it."""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace

from support.tables import each_row

from faultline import drip, latency
from faultline._core import clock
from faultline._engine.pacing import Flows

DELAY_SECONDS = 50


class Enough(Exception):  # noqa: N818 - an event, not an error
    """What was asked is known."""


def waits(fault, turn_began, heard_at):
    """How long the server waits with bytes that it says now; the times are seconds from now."""
    found = []

    async def wait(seconds, _gate):
        found.append(seconds)
        raise Enough

    async def main():
        entry = SimpleNamespace(received_bytes=0, sent_bytes=0)
        flows = Flows(fault.conditions, random.Random, lambda *_: None, entry)
        flows.heard_at = clock.now() + heard_at
        await flows.send(b"a", None, wait)

    before = clock.Turn.began
    clock.Turn.began = clock.now() + turn_began
    try:
        asyncio.run(main())
    except Enough:
        return found
    finally:
        clock.Turn.began = before


@each_row(
    "fault, turn_began, heard_at, said_at",
    [
        (latency(DELAY_SECONDS), 4_000, 1_000, 4_000),
        (latency(DELAY_SECONDS), 1_000, 4_000, 4_000),
        (latency(DELAY_SECONDS) & drip(), 4_000, 4_000, 0),  # an interval counts from the piece before
    ],
)
def test_a_delay_counts_from_the_begin_of_the_turn_or_once_the_client_was_heard_in_it(
    fault, turn_began, heard_at, said_at
):
    [seconds] = waits(fault, turn_began, heard_at)
    assert said_at + DELAY_SECONDS - 500 < seconds <= said_at + DELAY_SECONDS
