"""The mode that imitates a failure, and what the texts of `faultline explain` say of it."""

from __future__ import annotations

from faultline._explain.entry import Entry
from faultline._explain.find import found_for
from faultline._explain.plays import PLAYS, Play
from faultline._probe.steps import Failure, Step


def imitation(step: Step) -> Play | None:
    """A fault that fails in the same way; `None` if there is none."""
    failure = step.failure
    if failure is None:
        return None
    if failure.mode:
        return Play(failure.mode, failure.cause, failure.detail, ("",) * 5)
    for play in PLAYS:
        if (play.point, play.cause, play.detail) == (step.point, failure.cause, failure.detail):
            return play
    return None


def entry_of(failure: Failure) -> Entry | None:
    """What is said of an error: by its detail if there is a text on that, otherwise by its class."""
    for word in (failure.detail, failure.text.partition("alert ")[2], failure.cause):
        if word and (found := found_for(word)):
            return found[0]
    return None
