"""Change the engine in a sample of places, one at a time, and see whether a test fails.

    python tests/mutants/sample.py --sample 80 --seed 12

The first run of a commit runs the whole suite once, to know which tests run which line. Each mutant then meets the
tests that run its line, in a copy of the tree, until one fails. A line of JSON per mutant is written at once: a run
that was stopped goes on where it was, and with more `--test-seconds` the survivors meet further tests.
`equivalent.txt` has the mutants that change nothing a test could see.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from choosing import HERE, PLAIN, Choice, Chosen, environment, fingerprint, measured
from mutations import Mutant, mutants_of, sample_of

if TYPE_CHECKING:
    from collections.abc import Iterator

OF = (
    "faultline/_engine/**/*.py",
    "faultline/_core/dealer.py",
    "faultline/_core/plan.py",
    "faultline/_core/planning.py",
    "faultline/_core/dealer.py",
    "faultline/_core/ledger.py",
    "faultline/_core/tripwire.py",
    "faultline/_servers/listener.py",
    "faultline/_net/tls.py",
    "faultline/_net/wire.py",
    "faultline/_net/ending.py",
)
SILENT_SECONDS = 240  # beyond the limit of a test: it hangs where pytest-timeout can not end it, or collects slowly
Row = dict[str, Any]


class Copy:
    """A copy of the tree, with one mutant at a time."""

    def __init__(self, tree: Path, names: list[str], folder: Path) -> None:
        self._folder = folder
        self._changes = 0
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(tree / name, folder / name)

    @contextlib.contextmanager
    def changed(self, file: str, source: str) -> Iterator[None]:
        """Change one file for a while."""
        original = (self._folder / file).read_text()
        self._write(file, source)
        try:
            yield
        finally:
            self._write(file, original)

    def _write(self, file: str, source: str) -> None:
        self._changes += 1
        (self._folder / file).write_text(source)
        moment = time.time() + self._changes  # the compiled file is known by the second of its source, and its size
        os.utime(self._folder / file, (moment, moment))

    def verdict(self, tests: list[str], limit_seconds: float) -> tuple[str, str]:
        """Killed, timeout or survived, and by which test; a test that fails only among the others kills nothing."""
        while tests:
            code, lines = self._run(tests, limit_seconds)
            if code == 0:
                break
            failed = failed_of(tests, lines)
            if code is None or any("Timeout (>" in line for line in lines):
                return "timeout", failed or lines[-1]
            if not failed or self._run([failed], limit_seconds)[0] != 0:
                return "killed", failed or " ".join(lines[-3:])
            tests = tests[tests.index(failed) + 1 :]
        return "survived", ""

    def _run(self, tests: list[str], limit_seconds: float) -> tuple[int | None, list[str]]:
        """The exit code of the tests, `None` if they hang, and the lines of the output."""
        (self._folder / "chosen").write_text("\n".join(tests))
        output = self._folder / "output"
        # doctest looks for `-v` itself
        options = ["--verbose", "-x", "--tb=no", "-rfE", *PLAIN, f"--timeout={limit_seconds}", "@chosen"]
        with output.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "pytest", *options],
                cwd=self._folder,
                env=environment(self._folder) | {"COLUMNS": "1000"},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        code = patiently(process, output, limit_seconds + SILENT_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        lines = [line for line in output.read_text(errors="replace").splitlines() if line.strip()]
        return code, lines or [""]


def patiently(process: subprocess.Popen[bytes], output: Path, silent_seconds: float) -> int | None:
    """The exit code of a process; `None` if it writes nothing for a long time."""
    size, since = -1, time.monotonic()
    while time.monotonic() < since + silent_seconds:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(1)
        if (now := output.stat().st_size) != size:
            size, since = now, time.monotonic()
    process.kill()
    process.wait()
    return None


def failed_of(tests: list[str], lines: list[str]) -> str:
    """The test that failed, or at which the run stood still."""
    for begin in ("FAILED ", "ERROR ", ""):
        for line in reversed(lines):
            if line.startswith(begin):
                found = [test for test in tests if line.removeprefix(begin).startswith(test)]
                if found:
                    return max(found, key=len)
    return ""


def diff_of(mutant: Mutant, source: str) -> str:
    """The change, with a line before and after."""
    lines = difflib.unified_diff(
        mutant.module.code.splitlines(), source.splitlines(), mutant.file, mutant.file, lineterm="", n=1
    )
    return "\n".join(list(lines)[1:])


def row_of(mutant: Mutant, chosen: Chosen, copy: Copy) -> Row:
    """Run the tests of a mutant."""
    began = time.monotonic()
    source = mutant.source()
    with copy.changed(mutant.file, source):
        verdict, by = copy.verdict(chosen.tests, chosen.limit_seconds)
    return {
        "key": mutant.key,
        "file": mutant.file,
        "verdict": verdict,
        "by": by,
        "limit": chosen.limit,
        "tests": len(chosen.tests),
        "test_seconds": chosen.seconds,
        "left_out": chosen.left_out,
        "left_out_seconds": chosen.left_out_seconds,
        "took_seconds": round(time.monotonic() - began, 1),
        "diff": diff_of(mutant, source),
    }


def is_done(row: Row | None, test_seconds: float) -> bool:
    """Whether nothing is left to run: a survivor meets the tests that were left out once there is time for them."""
    return row is not None and not (row["verdict"] == "survived" and row["left_out"] and row["limit"] < test_seconds)


def is_python(mutant: Mutant) -> bool:
    """Whether the mutant can be compiled."""
    try:
        compile(mutant.source(), mutant.file, "exec")
    except SyntaxError:
        return False
    return True


def run(work: list[tuple[Mutant, Chosen]], copies: list[Copy], results: Path) -> None:
    """Run the mutants, each copy one at a time, and write each result at once."""
    ahead: queue.SimpleQueue[tuple[Mutant, Chosen]] = queue.SimpleQueue()
    for item in work:
        ahead.put(item)
    writing = threading.Lock()

    def go_on(copy: Copy) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                row = row_of(*ahead.get_nowait(), copy)
                with writing, results.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(f"{row['verdict']:8} {row['took_seconds']:6.0f} s  {row['key']}  {row['by']}", flush=True)

    threads = [threading.Thread(target=go_on, args=[copy], daemon=True) for copy in copies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def rows_in(results: Path) -> dict[str, Row]:
    """The results so far, by the key of the mutant."""
    rows = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    return {row["key"]: row for row in rows}


def equivalents() -> set[str]:
    """The keys of the mutants that change nothing a test could see: the lines that aren't indented."""
    lines = (HERE / "equivalent.txt").read_text().splitlines()
    return {line for line in lines if line.strip() and not line.startswith((" ", "#"))}


def show(rows: list[Row]) -> None:
    """Print the table and the survivors."""
    known = equivalents()
    print(f"\n{'':40} mutants  killed timeout survived  equivalent among them")
    for file in [*sorted({row["file"] for row in rows}), ""]:
        of = [row for row in rows if row["file"].startswith(file)]
        counts = Counter(row["verdict"] for row in of)
        same = sum(row["verdict"] == "survived" and row["key"] in known for row in of)
        numbers = f"{len(of):7} {counts['killed']:7} {counts['timeout']:7} {counts['survived']:8} {same:8}"
        print(f"{file or 'all':40} {numbers}")
    survived = [row for row in rows if row["verdict"] == "survived"]
    true = [row for row in survived if row["key"] not in known]
    print(f"\nsurvivors: {len(survived) / len(rows):.1%}; without equivalent mutants: ", end="")
    print(f"{len(true) / (len(rows) - len(survived) + len(true)):.1%}")
    left, tests = sum(row["left_out_seconds"] for row in rows), sum(row["test_seconds"] for row in rows)
    print(f"share of the tests' time that was left out: {left / max(0.1, left + tests):.0%}")
    for row in survived:
        print(f"\n{row['key']}{'  (equivalent)' if row['key'] in known else ''}\n{row['diff']}")


def arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=80, help="the number of mutants")
    parser.add_argument("--seed", type=int, default=12, help="which of them")
    parser.add_argument("--of", nargs="+", default=OF, metavar="GLOB", help="the files that are changed")
    parser.add_argument("--jobs", type=int, default=1, help="the number of mutants at once")
    parser.add_argument("--test-seconds", type=float, default=150, help="the time of the tests that a mutant meets")
    parser.add_argument("--tree", type=Path, default=HERE.parent.parent, help="the clone that is copied")
    parser.add_argument("--results", type=Path, help="default: .mutants/results.jsonl in the tree")
    return parser.parse_args()


def main() -> None:
    """Make the sample, run what has no result yet, and print the table."""
    options = arguments()
    tree = options.tree.resolve()
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate"]
    listed = subprocess.run(listing, cwd=tree, check=True, capture_output=True, text=True).stdout.split("\n")
    names = [name for name in listed if (tree / name).is_file() and not name.startswith(".mutants/")]
    files = sorted({str(path.relative_to(tree)) for pattern in options.of for path in tree.glob(pattern)})
    found = {file: mutants_of(tree, file) for file in files}
    everything = [mutant for mutants, _ in found.values() for mutant in mutants]
    sample = [mutant for mutant in sample_of(everything, options.sample, options.seed) if is_python(mutant)]
    kept = tree / ".mutants" / fingerprint(tree, names)
    results = options.results or kept / "results.jsonl"
    done = rows_in(results)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copies = [Copy(tree, names, Path(folder) / str(number)) for number in range(options.jobs)]
        measured(Path(folder) / "0", kept, list(OF))
        choice = Choice(kept, options.test_seconds)
        ahead = [mutant for mutant in sample if not is_done(done.get(mutant.key), options.test_seconds)]
        work = [(mutant, choice.of(mutant, found[mutant.file][1])) for mutant in ahead]
        print(f"{len(everything)} mutants; {len(sample)} in the sample, {len(work)} of them to run", flush=True)
        run(work, copies, results)
    show([row for key, row in rows_in(results).items() if key in {mutant.key for mutant in sample}])


if __name__ == "__main__":
    main()
