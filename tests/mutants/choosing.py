"""The tests that can tell a mutant: those that run its line, the quickest of every test file first."""

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
    """Run the whole suite, unless the folder has its contexts and times already."""
    if not (folder / "seconds.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config").write_text(MEASURE.format(folder=folder, files="\n    ".join(files)))
        coverage = [sys.executable, "-m", "coverage"]
        rc = f"--rcfile={folder / 'config'}"
        env = environment(tree) | {"SECONDS_OF_TESTS": str(folder / "seconds.unfinished")}
        tests = ["-m", "pytest", "-q", "-n", "2", "-p", "by_test", *PLAIN]
        subprocess.run([*coverage, "run", rc, *tests], cwd=tree, env=env, check=False)
        subprocess.run([*coverage, "combine", rc, "-q"], cwd=tree, env=env, check=True)
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
        order = self._in_rounds(self._that_run(mutant, in_functions))
        total, count = 0.0, 0
        for test in order:
            if count and total + self._seconds[test] > self._limit_seconds:
                break
            total, count = total + self._seconds[test], count + 1
        limit = 30 + 3 * round(max(self._seconds[test] for test in order[:count]))
        left_out = round(sum(self._seconds[test] for test in order[count:]), 1)
        return Chosen(order[:count], round(total, 1), limit, len(order) - count, left_out)

    def _that_run(self, mutant: Mutant, in_functions: set[int]) -> set[str]:
        by_line = self._contexts(mutant.file)
        for first, last in mutant.where:
            lines = in_functions.intersection(range(first, last + 1))
            contexts = {context for line in lines for context in by_line.get(line, ())}
            tests = {context.removeprefix(CHILD) for context in contexts}
            if known := {test for test in tests if test in self._seconds}:
                return known
        return {test for test in self._seconds if test.startswith(IN_CHILDREN)}

    @lru_cache(maxsize=1)  # noqa: B019 - mutants come file by file, and there is one choice
    def _contexts(self, file: str) -> dict[int, list[str]]:
        names = [name for name in self._data.measured_files() if name.endswith(file)]
        return self._data.contexts_by_lineno(names[0]) if names else {}

    def _in_rounds(self, tests: set[str]) -> list[str]:
        """One test of each file, then two, then four, and so on, the quickest first."""
        by_file: dict[str, list[str]] = defaultdict(list)
        for test in sorted(tests, key=lambda test: (self._seconds[test], test)):
            by_file[test.partition("::")[0]].append(test)
        place = {test: ((n + 1).bit_length(), file, n) for file, of in by_file.items() for n, test in enumerate(of)}
        return sorted(place, key=lambda test: place[test])
