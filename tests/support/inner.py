"""A run of pytest in a process of its own, with many tests: what each of them came to, and what was said about it.

A process costs half a second, and a test in it some milliseconds: so one module has one run, in a fixture. The inner
tests stand in tests/inner.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from . import PATIENCE_SECONDS

FOLDER = Path(__file__).parents[1] / "inner"
# Without plugins of others, which take most of the time of a short run; the lines of the summary are not cut.
ENVIRONMENT = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "", "COLUMNS": "250"}
MEASURES = "COVERAGE_PROCESS_CONFIG"  # by which coverage measures what a process starts
SUMMARY = re.compile(r"^(PASSED|FAILED|ERROR|XFAIL) \S+?\.py::(.*?)(?: - (.*))?$", re.MULTILINE)
HEADING = re.compile(r"^_{3,} (?:ERROR at (?:setup|teardown) of )?(.+?) _{3,}$|^={3,} .+ ={3,}$", re.MULTILINE)


class Inner:
    """What a run of pytest came to.

    Attributes:
        code: its exit code.
        out: all that it printed.
        outcomes: the outcomes of each test, in order, by the test's name, within its class.
        reasons: the reason of the last failure of each test, as the summary has it.
        told: what was printed about each test that failed, or that printed something.
    """

    def __init__(self, code: int, out: str) -> None:
        self.code, self.out = code, out
        self.outcomes: defaultdict[str, list[str]] = defaultdict(list)
        self.reasons: dict[str, str] = {}
        for outcome, name, reason in SUMMARY.findall(out):
            self.outcomes[name].append(outcome)
            self.reasons[name] = reason
        self.told: defaultdict[str, str] = defaultdict(str)
        end = len(out)
        for heading in reversed([*HEADING.finditer(out)]):
            self.told[heading[1] or ""] = out[heading.end() : end] + self.told[heading[1] or ""]
            end = heading.start()


def run_pytest(file, *arguments):
    """Run a file of tests/inner; no plugin is loaded but this package's, pytest-timeout, and those of the arguments."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, file],
        cwd=FOLDER,
        env={name: value for name, value in os.environ.items() if name != "PYTEST_TIMEOUT"} | ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=10 * PATIENCE_SECONDS,
        check=False,
        encoding="utf-8",
    )
    return done.returncode, done.stdout


def run_once(folder, *words):
    """What a run came to, by the file that the first process to ask has written into this folder.

    A test that coverage measures asks for a run that was measured.
    """
    path = folder / f"inner {' '.join(words)}.json"
    measures = MEASURES in os.environ
    with path.open("a+", encoding="utf-8") as kept:
        fcntl.flock(kept, fcntl.LOCK_EX)
        kept.seek(0)
        text = kept.read()
        was_measured, told = json.loads(text) if text else (False, None)
        if told is None or (measures and not was_measured):
            told = run_pytest(*words)
            kept.truncate(0)
            kept.write(json.dumps((measures, told)))
    return Inner(*told)
