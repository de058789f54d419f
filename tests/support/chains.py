"""Bytes through the chain of a fault's conditions, by a clock that never waits."""

import random

from faultline._core.chain import Chain


def chain_of(fault, direction="response", seed=0, strike=lambda _key, _after_bytes: None):
    return Chain(fault.conditions, direction, lambda: random.Random(seed), strike)


def left(chain, now=float("inf")):
    """What leaves a chain until now, each with its time."""
    out = []
    while (due := chain.due()) is not None and due <= now:
        while (what := chain.pop(due)) is not None:
            out.append((round(due, 9), what))
    return out


def through(fault, *items, direction="response", seed=0):
    """What comes to the chain of a fault, each with its time, as it leaves."""
    chain = chain_of(fault, direction, seed)
    for at, what in items:
        chain.put(what, at)
    return left(chain)


def altered(fault, pieces, direction="response", seed=0):
    """The bytes of these pieces as they arrive."""
    return b"".join(what for _, what in through(fault, *((0, p) for p in pieces), direction=direction, seed=seed))
