"""What clients meet and what the ledger says is as the reference has it, whatever happens.

`FAULTLINE_EXAMPLES=20000` searches for longer. A failure is printed as a scenario, which `check` plays again; with
`FAULTLINE_FIRST_FAILURE` the first that was found, and not the shortest, which takes minutes to find.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings

from model.stage import check
from model.strategies import CELLS, attempts, cell

EXAMPLES = int(os.environ.get("FAULTLINE_EXAMPLES", "0"))


def played(scenarios, examples):
    """Play this number of scenarios; how often each break, answer and end was met."""
    met = Counter()

    @settings(
        max_examples=max(EXAMPLES, examples),
        derandomize=not EXAMPLES,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        phases=[Phase.generate] if "FAULTLINE_FIRST_FAILURE" in os.environ else [*Phase],
    )
    @given(scenarios)
    def play(scenario):
        for what in met_in(scenario, check(scenario)):
            event(" ".join(map(str, what)))
            met[what] += 1

    play()
    return met


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
        met = played(scenarios, 10 if at else 40)

        assert missing(met, [(kind, at, verb) if at else ("answer", "response")]) == []


@pytest.mark.slow
def test_several_clients_and_changes_of_the_plan():
    met = played(attempts, 200)

    doors = [("server", "connect", "refuse"), ("plans", 2), ("plans", 3), ("clients", 3)]
    points = [("struck", point) for point in ("accept", "request", "response", "idle")]
    ends = [("ended", *end) for end in ((None, None), ("server", "RST"), ("server", "FIN"), ("client", "FIN"))]
    assert missing(met, doors + points + ends) == []
