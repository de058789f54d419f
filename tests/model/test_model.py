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
from support.tables import each_row

from model.stage import Become, Connect, OpenGate, Say, Scenario, check
from model.strategies import CELLS, attempts, cell
from model.values import Answer, Asked, Break, Fault, Plan, When

ROUNDS = 6
GET = Say(0, (Asked(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),))
ERROR, SHORT = Answer(b"busy\n", 503), Break("half_close", on=b"Length")


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
        assert played(scenarios, 10 if at else 40, wanted) == []


@pytest.mark.slow
def test_several_clients_and_changes_of_the_plan():
    doors = [("server", "connect", "refuse"), ("plans", 2), ("plans", 3), ("clients", 3)]
    points = [("struck", point) for point in ("accept", "request", "response", "idle")]
    ends = [("ended", *end) for end in ((None, None), ("server", "RST"), ("server", "FIN"), ("client", "FIN"))]
    assert played(attempts, 200, doors + points + ends) == []


@each_row(
    "plan, changes",
    [  # what the reference or the guard once had wrong
        (Fault(), [When("GET", Fault(Break("reset")), otherwise=Fault())]),  # the request is known already
        (Fault(Break("hold", on=b"HTTP")), [Fault(Break("inject", after_bytes=4))]),  # in what is left of a response
        (Fault(Break("hold", after_bytes=16), ERROR), [Fault(SHORT)]),  # the answer has struck, once
        (Fault(Break("hold"), ERROR), [Fault()]),  # no byte of the answer was sent
        (Fault(Break("hold", at="request", after_bytes=9), ERROR), [Fault(SHORT)]),  # the answer never strikes
        (Fault(Break("hold", at="idle"), ERROR), [When("HEAD", Fault(), otherwise=Fault(SHORT)), Fault()]),
    ],
)
def test_a_live_edit_meets_a_connection_that_has_spoken(plan, changes):
    edits = [Become(Plan((each,), per="connection"), open_too=True) for each in changes]
    check(Scenario(Plan((plan,)), (Connect(), GET, *edits, OpenGate()), tls=False, kind="server"))
