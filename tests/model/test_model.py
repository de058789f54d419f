"""What clients meet and what the ledger says is as the reference has it, whatever happens.

`FAULTLINE_EXAMPLES=20000` searches for longer. A failure is printed as a scenario, which `check` plays again; with
`FAULTLINE_FIRST_FAILURE` the first that was found, and not the shortest, which takes minutes to find.
"""

from __future__ import annotations

import os
import random
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, event, given, seed, settings
from support import EXAMPLES

from model.stage import check
from model.strategies import CELLS, attempts, cell

ROUNDS = 6


def played(scenarios, examples, wanted):
    """Play this number of scenarios, and again others while something wanted was not met: what is missing at last."""
    met = Counter()
    for number in range(ROUNDS):
        if number and not missing(met, wanted):
            break
        play(scenarios, max(EXAMPLES, examples), number, met)
    return missing(met, wanted)


def play(scenarios, examples, number, met):
    """Play this number of scenarios, and count how often each break, answer and end was met."""

    @settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        phases=[Phase.generate] if "FAULTLINE_FIRST_FAILURE" in os.environ else [*Phase],
    )
    @seed(random.randrange(1 << 32) if EXAMPLES else number)
    @given(scenarios)
    def each(scenario):
        for what in met_in(scenario, check(scenario)):
            event(" ".join(map(str, what)))
            met[what] += 1

    each()


def met_in(scenario, world):
    """What was met in a scenario."""
    for entry in world.entries:
        for part, point, _ in entry.strikes:
            yield (part, point) if part == "answer" else (scenario.kind, point, entry.verb)
            yield "struck", point
        yield "ended", *(entry.ended or ("nobody",))
    yield "plans", len(world.plans)
    yield "clients", len(world.connections)


def missing(met, wanted):
    return [what for what in wanted if not met[what]]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "at"), CELLS)
def test_one_client(kind, at):
    for verb, scenarios in cell(kind, at).items():
        wanted = [(kind, at, verb) if at else ("answer", "response")]
        assert played(scenarios, 6 if at else 24, wanted) == []


@pytest.mark.slow
def test_several_clients_and_changes_of_the_plan():
    doors = [("server", "connect", "refuse"), ("plans", 2), ("plans", 3), ("clients", 3)]
    points = [("struck", point) for point in ("accept", "request", "response", "idle")]
    ends = [("ended", *end) for end in ((None, None), ("server", "RST"), ("server", "FIN"), ("client", "FIN"))]
    assert played(attempts, 200, doors + points + ends) == []
