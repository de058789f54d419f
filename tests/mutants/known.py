"""Wrong lines that the whole suite once let pass, each with the tests that find it today.

`python tests/mutants/known.py [NAME …]` puts each into a copy of the source, runs its tests there, and says which were
found. A line that has changed since is an error: the mutant needs another text then.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPIED = ("faultline", "tests", "docs", "pyproject.toml")
SOME_FAILED = 1  # pytest's exit code; others tell that the tests did not run


@dataclass(frozen=True)
class Mutant:
    """A change that makes the source wrong.

    Attributes:
        name: a short name.
        does: the wrong behaviour, as a user would see it.
        file: the file below `faultline`.
        old: the text that is replaced, which the file has once.
        new: the text in its place.
        tests: the tests that have to fail, as pytest takes them.
    """

    name: str
    does: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTANTS = (
    Mutant(
        "D1",
        "a later client with the port of a connection that filled the queue is hung up on",
        "_servers/listener.py",
        "self._filler_addresses.discard(address)\n                client.close()",
        "client.close()",
        ("tests/test_listener.py::test_later_client_with_the_address_of_a_filler_is_served",),
    ),
    Mutant(
        "D3",
        "other servers stand still during one flood of connects",
        "_servers/listener.py",
        "ACCEPTS_PER_TURN = 8  #",
        "ACCEPTS_PER_TURN = 8_000_000  #",
        ("tests/test_listener.py::test_flood_of_clients_leaves_turns_of_the_loop_to_others",),
    ),
    Mutant(
        "D4",
        "the timer of a refusal goes on after another plan: the port opens by itself",
        "_servers/listener.py",
        "            self._lapse.cancel()\n        try:",
        "            pass\n        try:",
        ("tests/test_timed_doors.py::test_its_time_is_over_with_its_plan",),
    ),
    Mutant(
        "D6",
        "each refused connect deals the next fault, also of a refusal with a duration",
        "_servers/door.py",
        "if not self._dealer.upcoming().opens_later:",
        "if True:",
        ("tests/test_timed_doors.py::test_refused_connects_do_not_shorten_it",),
    ),
    Mutant(
        "P2",
        "the seed of the second `sometimes` of a sequence is ignored",
        "_core/dealer.py",
        "generators[at].random()",
        "next(iter(generators.values())).random()",
        ("tests/test_plan.py::test_each_entry_of_a_sequence_follows_its_own_seed",),
    ),
    Mutant(
        "P3",
        "an isolated server with jitter is not repeated by the seed",
        "_core/plan.py",
        "for entry in every_entry(plan)) or any(c.draws for c in conditions)",
        "for entry in every_entry(plan)) or any(c.draws and not c.is_certain for c in conditions)",
        ("tests/test_plan.py::test_plan_knows_whether_chance_decides_anything_that_a_seed_repeats",),
    ),
    Mutant(
        "E2",
        "terms of TLS don't strike when the client hangs up without an alert",
        "_engine/conversation.py",
        "        except Departed as left:\n            strike_failed(connection)\n",
        "        except Departed as left:\n",
        ("tests/test_flights.py::test_terms_strike_where_the_client_hangs_up",),
    ),
    Mutant(
        "E11",
        "a certificate strikes again with each later flight, whose place and time the ledger then has",
        "_engine/handshake.py",
        "if certificate.is_fault and connection.shown is None and shows_certificate(data):",
        "if certificate.is_fault and shows_certificate(data):",
        ("tests/test_flights.py::test_certificate_strikes_once_when_the_client_has_judged_it",),
    ),
    Mutant(
        "S2",
        "a certificate has struck before it was shown: a request for another hello is taken for it",
        "_net/tls.py",
        'return flight[:1] == b"\\x16" and flight[RANDOM] != RETRY',
        'return flight[:1] == b"\\x16"',
        ("tests/test_flights.py::test_request_for_another_hello_shows_no_certificate",),
    ),
    Mutant(
        "S5",
        "a request that comes during a renegotiation is half lost",
        "_net/tls.py",
        "                    self._early += data\n\n        session.renegotiate()",
        "\n        session.renegotiate()",
        ("tests/test_openssl.py::test_what_the_client_says_before_its_new_handshake_is_the_next_request",),
    ),
    Mutant(
        "E7",
        "a break waits up to 40 ms for an acknowledgement, though its bytes have arrived",
        "_net/wire.py",
        "            if peer is not None and peer.received_bytes >= self.sent_bytes:\n                return\n",
        "",
        ("tests/test_exact_bytes.py::test_break_does_not_wait_for_an_acknowledgement",),
    ),
    Mutant(
        "E10",
        "a break of a relay waits up to 40 ms, because it counts the bytes that it pumped twice",
        "_engine/pump.py",
        "self._sink.sent_bytes += count",
        "self._sink.sent_bytes += 2 * count",
        (
            "tests/test_exact_bytes.py::test_break_of_a_relay_does_not_wait_for_an_acknowledgement_of_what_it_has_passed_on_before",
        ),
    ),
)


def copy_to(folder: Path) -> None:
    """Copy the source and its tests into a folder."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        else:
            shutil.copy(source, folder / name)


def put_in(mutant: Mutant, folder: Path) -> None:
    """Put a mutant into a copy of the source."""
    path = folder / "faultline" / mutant.file
    text = path.read_text()
    if text.count(mutant.old) != 1:
        sys.exit(f"{mutant.name}: {mutant.file} has this text {text.count(mutant.old)} times:\n{mutant.old}")
    path.write_text(text.replace(mutant.old, mutant.new))


def failed(tests: tuple[str, ...], mutant: Mutant | None = None) -> list[str]:
    """Which tests fail with a mutant, or as the source is: the first of them."""
    with tempfile.TemporaryDirectory() as folder:
        copy_to(Path(folder))
        if mutant is not None:
            put_in(mutant, Path(folder))
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:randomly", *tests]
        environment = os.environ | {
            "PYTHONPATH": folder,
            "PYTHONDONTWRITEBYTECODE": "1",
            "FAULTLINE_FIRST_FAILURE": "1",
        }
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, SOME_FAILED):
        sys.exit(f"the tests did not run:\n{done.stdout}{done.stderr}")
    return [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]


def main() -> None:
    """Try the mutants, and exit with 1 if one is not found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="the mutants to try (default: all)")
    names = parser.parse_args().names
    mutants = [mutant for mutant in MUTANTS if not names or mutant.name in names]
    if lines := failed(tuple(dict.fromkeys(test for mutant in mutants for test in mutant.tests))):
        sys.exit(f"without a mutant: {lines[0]}")
    missed = []
    for mutant in mutants:
        lines = failed(mutant.tests, mutant)
        print(f"{mutant.name}, {mutant.does}: {lines[0] if lines else 'NOT FOUND'}", flush=True)
        if not lines:
            missed.append(mutant.name)
    sys.exit(f"not found: {', '.join(missed)}" if missed else 0)


if __name__ == "__main__":
    main()
