"""The tests that can tell a mutant: those that run its line, and of these the unusual and the quick first."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from by_test import CHILD
from coverage import CoverageData

if TYPE_CHECKING:
    from mutations import Mutant

HERE = Path(__file__).parent
PLAIN = ["-p", "no:randomly", "-p", "no:cacheprovider"]

# A line that no test runs in its own process may run in the child process of isolated servers or of the command.
IN_CHILDREN = ("tests/relay/test_isolated.py", "tests/test_cli")

MEASURE = """\
[run]
parallel = true
relative_files = true
data_file = {folder}/coverage
disable_warnings = already-imported
patch =
    subprocess
    _exit
include =
    {files}
"""


@dataclass(frozen=True)
class Chosen:
    """Tests in the order in which they run, and what was left out for its time."""

    tests: list[str]
    limit: float  # of the seconds
    seconds: float
    limit_seconds: float  # of a test that hangs
    left_out: int
    left_out_seconds: float


def environment(tree: Path) -> dict[str, str]:
    """The environment in which the package is imported from a tree, and compiled files are kept."""
    paths = [str(tree), str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPATH": os.pathsep.join(paths)}


def fingerprint(tree: Path, names: list[str]) -> str:
    """What the contexts of a tree depend on."""
    total = hashlib.sha256()
    for name in sorted(names):
        if name.endswith(".py") and not name.startswith("tests/mutants/"):
            total.update(name.encode() + (tree / name).read_bytes())
    return total.hexdigest()[:16]


def measured(tree: Path, folder: Path, files: list[str]) -> Path:
    """Run the whole suite, unless the folder has its contexts and times already; what it imports first has no context.

    Raises:
        SystemExit: no test has run.
    """
    if not (folder / "seconds.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config").write_text(MEASURE.format(folder=folder, files="\n    ".join(files)))
        coverage = [sys.executable, "-m", "coverage"]
        rc = f"--rcfile={folder / 'config'}"
        env = environment(tree) | {"SECONDS_OF_TESTS": str(folder / "seconds.unfinished")}
        tests = ["-m", "pytest", "-q", "-n", "2", "-p", "by_test", *PLAIN]
        subprocess.run([*coverage, "run", rc, *tests], cwd=tree, env=env, check=False)
        subprocess.run([*coverage, "combine", rc, "-q"], cwd=tree, env=env, check=True)
        if not json.loads((folder / "seconds.unfinished").read_text()):
            sys.exit("the tests did not run")
        (folder / "seconds.unfinished").rename(folder / "seconds.json")
    return folder


class Choice:
    """The choice of tests, from the contexts and times of a run of the whole suite."""

    def __init__(self, folder: Path, limit_seconds: float) -> None:
        self._limit_seconds = limit_seconds
        self._seconds: dict[str, float] = json.loads((folder / "seconds.json").read_text())
        self._data = CoverageData(str(folder / "coverage"))
        self._data.read()

    def of(self, mutant: Mutant, in_functions: set[int]) -> Chosen:
        """The tests for a mutant, as many as the limit allows."""
        tests = {line: self._tests(mutant.file, line) for line in in_functions}
        order = self._in_rounds(self._that_run(mutant, tests), self._rarity(mutant, tests))
        total, count = 0.0, 0
        for test in order:
            if count and total + self._seconds[test] > self._limit_seconds:
                break
            total, count = total + self._seconds[test], count + 1
        limit = 30 + 3 * round(max(self._seconds[test] for test in order[:count]))
        left_out = round(sum(self._seconds[test] for test in order[count:]), 1)
        return Chosen(order[:count], self._limit_seconds, round(total, 1), limit, len(order) - count, left_out)

    def _that_run(self, mutant: Mutant, tests: dict[int, set[str]]) -> set[str]:
        for first, last in mutant.where:
            if found := set().union(*(tests.get(line, set()) for line in range(first, last + 1))):
                return found
        return {test for test in self._seconds if test.startswith(IN_CHILDREN)}

    def _rarity(self, mutant: Mutant, tests: dict[int, set[str]]) -> dict[str, int]:
        """How many tests there are for the rarest line of the function that a test runs."""
        rarity: dict[str, int] = {}
        first, last = mutant.around
        for of_line in sorted((tests.get(line, set()) for line in range(first, last + 1)), key=len):
            rarity = dict.fromkeys(of_line, len(of_line)) | rarity
        return rarity

    def _tests(self, file: str, line: int) -> set[str]:
        contexts = self._contexts(file).get(line, ())
        return {test for context in contexts if (test := context.removeprefix(CHILD)) in self._seconds}

    @lru_cache(maxsize=1)  # noqa: B019 - mutants come file by file, and there is one choice
    def _contexts(self, file: str) -> dict[int, list[str]]:
        names = [name for name in self._data.measured_files() if name.endswith(file)]
        return self._data.contexts_by_lineno(names[0]) if names else {}

    def _in_rounds(self, tests: set[str], rarity: dict[str, int]) -> list[str]:
        """Those of the rarest lines first; one test of each file, then two, then four, the quickest first."""
        by_file: dict[tuple[int, str], list[str]] = defaultdict(list)
        for test in sorted(tests, key=lambda test: (self._seconds[test], test)):
            by_file[rarity.get(test, 0), test.partition("::")[0]].append(test)
        place = {
            test: (rare, (number + 1).bit_length(), file, number)
            for (rare, file), of in by_file.items()
            for number, test in enumerate(of)
        }
        return sorted(place, key=lambda test: place[test])
