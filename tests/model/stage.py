"""Plays what clients and a test do to a real server and to the reference, and compares the two after each action."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import pytest

import faultline as real
from faultline import Gate, NotStruckError
from model.client import Client
from model.passage import Relayed, Tunnelled
from model.reference import Connection
from model.values import HEALTHY, METHODS, Answer, Asked, Plan, Sometimes, When, Written
from model.world import World

PATIENCE_SECONDS = 10.0
SHRINKING_SECONDS = 0.5  # after the first failure, of which only a shorter form is looked for
SERVED = Answer(b"served")  # by a server whose fault has no answer


# --- what happens --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Connect(Written):
    """The next client connects."""

    def play(self, stage):
        connection = stage.world.connect(KINDS[stage.kind])
        try:
            client = Client(stage.server.address, stage.context)
        except ConnectionRefusedError:
            client = None
        assert (client is None) is (connection is None)
        if connection is not None:
            stage.pairs.append((client, connection))
            connection.run()
            connection.is_vague = bool(connection.seen)  # a hello of TLS may come after the FIN


@dataclass(frozen=True, repr=False)
class OfClient(Written):
    """Something that a client does, unless its connection is over."""

    client: int

    def play(self, stage):
        if self.client < len(stage.pairs):
            client, connection = stage.pairs[self.client]
            if not connection.gone and connection.listens and (not connection.seen or connection.drains):
                self.act(stage, client, connection)


@dataclass(frozen=True, repr=False)
class Say(OfClient):
    """A client sends requests together, in pieces, without the last bytes."""

    asked: tuple[Asked, ...]
    cuts: tuple[int, ...] = ()
    without: int = 0

    def act(self, stage, client, connection):
        is_connect = self.asked[0].method == "CONNECT"
        in_turn = (
            stage.kind != "proxy" or is_connect is not connection.has_spoken
        )  # a proxy is asked for a tunnel first
        in_turn = in_turn and (stage.kind == "server" or not connection.held)  # then both directions go on at once
        if in_turn and self.client not in stage.kept_back and connection.may_speak:
            connection.has_spoken = True
            asked = self.asked
            data = b"".join(one.message for one in asked)
            said = data[: max(1, len(data) - self.without)]
            if said != data:
                stage.kept_back[self.client] = data[len(said) :]
            connection.say(asked, said)
            cuts = self.cuts if stage.kind == "server" or not stage.world.depends_on_reads else ()
            ends = sorted({0, *(cut % len(said) for cut in cuts), len(said)})
            connection.is_vague = len(ends) > 2
            for begin, end in pairwise(ends):
                client.say(said[begin:end])


@dataclass(frozen=True, repr=False)
class SayRest(OfClient):
    """A client sends the bytes that it has kept back."""

    def act(self, stage, client, connection):
        if rest := stage.kept_back.pop(self.client, b""):
            connection.is_vague = False
            connection.say((), rest)
            client.say(rest)


@dataclass(frozen=True, repr=False)
class Leave(OfClient):
    """A client closes its socket, or only its own direction."""

    how: str = "FIN"
    listens: bool = False

    def act(self, stage, client, connection):
        listens = self.listens and connection.may_speak
        if listens and connection.held and stage.kind != "server":
            return  # once it is let go on, it races with the end of the server behind
        connection.leave(self.how, listens=listens)
        if listens:
            client.finish()
        else:
            client.leave(self.how)


@dataclass(frozen=True, repr=False)
class OpenGate(Written):
    """The test lets all go on that wait at a gate."""

    def play(self, stage):
        stage.world.is_gate_open = True
        for _, connection in stage.pairs:
            connection.open_gate()
        stage.gate.open()


@dataclass(frozen=True, repr=False)
class Become(Written):
    """The test gives the server another plan."""

    plan: Plan
    open_too: bool = False

    def play(self, stage):
        stage.world.become(self.plan, open_too=self.open_too)
        stage.server.become(stage.planned(self.plan), open_too=self.open_too)


@dataclass(frozen=True, repr=False)
class EndAll(Written):
    """The test ends all open connections."""

    how: str

    def play(self, stage):
        for _, connection in stage.pairs:
            connection.end_by_test(self.how)
        {"RST": stage.server.reset_all, "FIN": stage.server.close_all, "stop": stage.server.close}[self.how]()
        stage.is_over = self.how == "stop"


@dataclass(frozen=True, repr=False)
class Scenario(Written):
    """A server, and what happens to it."""

    plan: Plan
    actions: tuple[object, ...]
    tls: bool = False
    kind: str = "server"

    def __repr__(self):
        actions = "".join(f"        {action},\n" for action in self.actions)
        return f"Scenario(\n    {self.plan},\n    (\n{actions}    ),\n    tls={self.tls},\n    kind={self.kind!r},\n)"


# --- the real server -----------------------------------------------------------------------------------------------

KINDS = {"server": Connection, "relay": Relayed, "proxy": Tunnelled}
ASKS = {method: lambda request, method=method: request.method == method for method in METHODS}
VERBS = {"reset after FIN": "reset", "hold": "stall"}


class Stage:
    """A real server beside the reference."""

    patience_seconds = PATIENCE_SECONDS

    def __init__(self, scenario):
        self.gate = Gate()
        self.fault = cache(self.made)
        self.world = World(scenario.plan, SERVED, tls=scenario.tls)
        self.kind, plan, answer = scenario.kind, self.planned(scenario.plan), real.ok(SERVED.body)
        self.behind = None
        if self.kind == "server":
            self.server = real.serve(plan, tls=scenario.tls, answer=answer)
        else:
            self.behind = real.serve(real.ok(), answer=answer)
            self.world.behind = World(Plan((HEALTHY,)), SERVED)
        if self.kind == "relay":
            self.server = real.relay(self.behind, plan, tls="terminate" if scenario.tls else "through")
        elif self.kind == "proxy":
            self.server = real.http_proxy(plan, to=self.behind, tls=scenario.tls)
        self.context = self.server.client_context() if scenario.tls else None
        self.pairs = []  # of the real client and the reference's connection
        self.kept_back = {}
        self.is_over = False

    def planned(self, plan):
        """The real plan."""
        faults = [self.entry(fault, plan.per) for fault in plan.faults]
        return {"sequence": real.sequence, "cycle": real.cycle}[plan.kind](*faults, per=plan.per)

    def entry(self, entry, per):
        """The real entry of a plan."""
        if not isinstance(entry, Sometimes):
            return self.fault(entry)
        fault, otherwise = self.fault(entry.fault), self.fault(entry.otherwise)
        return real.sometimes(entry.probability, fault, otherwise=otherwise, seed=entry.seed, per=per)

    def made(self, fault):
        """The real fault."""
        if isinstance(fault, When):
            return real.when(ASKS[fault.method], self.fault(fault.fault), otherwise=self.fault(fault.otherwise))
        parts = []
        if brk := fault.brk:
            options = {} if brk.verb == "refuse" else {"at": brk.at, "after_bytes": brk.after_bytes, "on": brk.on}
            options |= {} if brk.after_messages is None else {"after_messages": brk.after_messages}
            options |= {"reset after FIN": {"fin_first": True}, "hold": {"until": self.gate}}.get(brk.verb, {})
            given = (b"injected",) if brk.verb == "inject" else ()
            parts.append(getattr(real, VERBS.get(brk.verb, brk.verb))(*given, **options))
        if answer := fault.answer:
            if answer.raw:
                parts.append(real.raw(answer.body))
            elif answer.echoes:
                parts.append(real.echo())
            else:
                mode = real.status if answer.is_fault else real.ok
                parts.append(
                    mode(answer.status, body=answer.body)
                    if answer.is_fault
                    else mode(answer.body, status=answer.status)
                )
        if len(parts) == 2:
            return parts[0] & parts[1]
        return parts[0] if parts else real.ok()

    def play(self, actions):
        """Play actions, and compare after each."""
        for action in actions:
            action.play(self)
            self.settle(action)
            if self.is_over:
                return
        EndAll("stop").play(self)
        self.settle("the end")

    def settle(self, action):
        """Wait until clients and ledger are as the reference says."""
        deadline = time.monotonic() + Stage.patience_seconds
        while (difference := self.difference()) is not None:
            if time.monotonic() > deadline:
                Stage.patience_seconds = SHRINKING_SECONDS
                pytest.fail(f"after {action}: {difference}")

    def difference(self):
        """The first difference between the real server and the reference; None if there is none."""
        attempts = self.server.attempts  # before the clients read, so that they have read all that came before
        for client, connection in self.pairs:
            if connection.listens:
                client.hear()
                told, expected = heard_by(client), heard_in(connection)
                if told != expected and not (connection.is_vague and connection.seen and client.seen):
                    return f"client {connection.number} has {told}, and not {expected}"
        if len(attempts) != len(self.world.entries):
            return f"{len(attempts)} attempts, and not {len(self.world.entries)}"
        for attempt, entry in zip(attempts, self.world.entries, strict=True):
            told, expected = told_of(attempt, entry), expected_of(entry, self.fault)
            for name in expected:
                if told[name] != expected[name]:
                    return f"attempt {attempt.number}: {name} {told[name]}, and not {expected[name]}"
        return None

    def check_guard(self):
        """Compare what the guard says with the promises that have not struck."""
        unmet, failure = self.world.unmet(), None
        try:
            self.server.check_struck()
        except NotStruckError as error:
            failure = error
        assert (failure is not None) == bool(unmet), (failure, unmet)

    def close(self):
        self.gate.open()
        self.server.close()
        if self.behind is not None:
            self.behind.close()
        for client, connection in self.pairs:
            if connection.listens:
                client.leave()


def heard_by(client):
    return client.heard, client.seen, client.is_notified


def heard_in(connection):
    return connection.heard, connection.seen, connection.is_notified


def told_of(attempt, entry):
    """What the ledger says of an attempt."""
    is_near = entry.received <= attempt.received_bytes <= entry.received + entry.ahead
    return {
        "connection": attempt.connection,
        "fault": attempt.fault,
        "point": attempt.point,
        "received": entry.received if is_near else attempt.received_bytes,
        "sent": attempt.sent_bytes,
        "request": attempt.request and (attempt.request.method, attempt.request.target, attempt.request.body),
        "strikes": [(str(strike.part), strike.point, strike.after_bytes) for strike in attempt.strikes],
        "ended": None if attempt.ended_seconds is None else (attempt.ended_by, attempt.ended_how),
        "has waited": attempt.waited_seconds is not None,
    }


def expected_of(entry, fault):
    """What it should say."""
    return {
        "connection": entry.connection,
        "fault": fault(entry.fault),
        "point": entry.point,
        "received": entry.received,
        "sent": entry.sent,
        "request": entry.asked and (entry.asked.method, entry.asked.target, entry.asked.body),
        "strikes": entry.strikes,
        "ended": entry.ended,
        "has waited": entry.has_waited,
    }


@contextlib.contextmanager
def staged(scenario):
    stage = Stage(scenario)
    try:
        yield stage
    finally:
        stage.close()


def check(scenario):
    """Play a scenario, and compare."""
    with staged(scenario) as stage:
        stage.play(scenario.actions)
        stage.check_guard()
        return stage.world
