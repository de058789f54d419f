"""Runs servers under everything that may come, for ten minutes, and fails if something grows: `tox -e soak`.

    python tests/soak/soak.py [--seconds 600] [--seed NUMBER]

Descriptors, threads and tasks have to be as many at the end of each round as after the first. Memory may grow by
1 KiB for each round once a fifth of the time is over: caches have filled by then. A run of fewer than 40 rounds
does not judge memory.
"""

from __future__ import annotations

import argparse
import gc
import random
import resource
import sys
import time
import tracemalloc
from pathlib import Path

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

sys.path.insert(0, str(Path(__file__).parents[1]))

from soak.life import Life, held

EXAMPLES, STEPS = 5, 25
KIB = 1024
ROUND_BYTES = 1 * KIB
WARM_SHARE, WARM_ROUNDS = 0.2, 20


def play(number: int) -> None:
    """One round: some lives, which no other round has."""
    run_state_machine_as_test(
        seed(number)(Life),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )


def memory_bytes() -> int:
    """What the objects of faultline take, without those of Hypothesis."""
    gc.collect()
    snapshot = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/faultline/*")])
    return sum(trace.size for trace in snapshot.traces)


def main() -> int:
    """Run until the time is over; return the exit code."""
    parser = argparse.ArgumentParser(description="Run servers under everything that may come.")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    print(f"--seed {options.seed}", flush=True)
    play(options.seed)
    tracemalloc.start()
    first, began, rounds = held(), time.monotonic(), 0
    warm: tuple[int, int] | None = None
    while (passed := time.monotonic() - began) < options.seconds:
        rounds += 1
        play(options.seed + rounds)
        if (now := held()) != first:
            print(f"round {rounds}: {now}, and {first} at first")
            return 1
        if warm is None and passed > options.seconds * WARM_SHARE and rounds >= WARM_ROUNDS:
            warm = rounds, memory_bytes()
        if rounds % 10 == 0:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            print(f"{passed:5.0f} s: {rounds} rounds, {now}, {memory_bytes() // KIB} KiB, peak {peak}", flush=True)
    if warm is not None and rounds >= warm[0] + WARM_ROUNDS:
        grown = (memory_bytes() - warm[1]) / (rounds - warm[0])
        print(f"{rounds} rounds of {EXAMPLES} lives; {grown:.0f} bytes more in each since the {warm[0]}th; {now}")
        return int(grown > ROUND_BYTES)
    print(f"{rounds} rounds of {EXAMPLES} lives, too few to judge memory by; {first}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
