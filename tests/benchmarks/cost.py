"""What faultline costs beside bare sockets, asyncio and `http.server`, in one table: `python tests/benchmarks/cost.py`.

Every value is taken in a process of its own. A round takes each value once, so that what disturbs the machine for a
while disturbs all columns; the table has the medians of the rounds, and how many times the kernel's value each is.
Nothing is asserted: machines differ. Options: `--rounds 5`, `--rows start request`, `--columns kernel faultline`, and
`--before PATH` for a column with the faultline of another checkout.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).parent
COLUMNS = {
    "kernel": "kernel alone",
    "raw": "raw asyncio",
    "protocol": "asyncio.Protocol",
    "start_server": "asyncio.start_server",
    "http.server": "http.server",
    "before": "faultline before",
    "faultline": "faultline",
    "isolated": "isolated=True",
}


def p99(values):
    """The value that 99 of 100 stay under."""
    return sorted(values)[len(values) * 99 // 100]


# For each row that is measured: its lines in the table, as the name of a value, its title, and how it is summed up.
ROWS = {
    "start": [("start", "start and stop, us", statistics.median)],
    "request": [("request", "start, one request, stop, us", statistics.median)],
    "accepted": [
        ("accept_kib", "KiB for a client that is held from its accept", statistics.median),
        ("accept_rate", "such clients a second", statistics.median),
        ("accept_stop", "stop with 8,000 of them, ms", statistics.median),
    ],
    "requested": [
        ("request_kib", "KiB for a client that is held from its request", statistics.median),
        ("request_rate", "such clients a second", statistics.median),
        ("request_stop", "stop with 8,000 of them, ms", statistics.median),
    ],
    "delay": [
        ("idle", "50 ms are late by, ms", statistics.median),
        ("idle", "the same, p99", p99),
        ("busy", "late while the main thread computes, ms", statistics.median),
        ("busy", "the same, p99", p99),
    ],
    "relay": [("relay", "a relay adds to a byte there and back, us", statistics.median)],
    "stream": [("stream", "one stream through a relay, as a share of a direct one", statistics.median)],
    "flood": [
        (name, f"a flood of {name}: another server answers in, ms", statistics.median)
        for name in ("a body", "tiny chunks", "a body with latency", "pipelined requests", "receive_until")
    ]
    + [("close", "close during a flood, ms", statistics.median)],
    "tls": [("tls", "first TLS server of a process, beyond a plain one, ms", statistics.median)],
    "plugin": [("plugin", "CPU of the loaded pytest plugin, ms", statistics.median)],
}
OWN = {"before", "faultline"}
ONLY = {  # the rows that not all columns have
    "delay": set(COLUMNS),
    "relay": set(COLUMNS) - {"http.server", "isolated"},
    "stream": set(COLUMNS) - {"http.server", "isolated"},
    "flood": OWN,
    "tls": OWN | {"kernel"},
    "plugin": OWN | {"kernel"},
}
NOTES = """
kernel alone: bare sockets of one thread; for the delay and the relay, threads that block; for TLS, a certificate and a
context that trustme makes; for the plugin, an empty plugin. http.server holds 1,000 clients instead of 8,000, with a
thread each. KiB are those of the process, without the kernel's buffers. Clients are in a process of their own, except
for `start` and `request`. An x is how many times the value of the kernel.
"""


def measure(row, column, checkout):
    """The values of a row in one column, from a process of its own; none if it failed, which it has told."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    words = [sys.executable, str(HERE / "one.py"), row, column]
    done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    return {} if done.returncode else json.loads(done.stdout)


def measured(options):
    """All values: row, value and column."""
    found = defaultdict(list)
    for number in range(options.rounds):
        for row in options.rows:
            for column in options.columns:
                if column not in ONLY.get(row, set(COLUMNS) - {"isolated"}):
                    continue
                checkout = options.before if column == "before" else HERE.parent.parent
                print(f"round {number + 1}: {row}, {column}", end="\033[K\r", file=sys.stderr, flush=True)
                for name, value in measure(row, column, checkout).items():
                    found[name, column] += value if isinstance(value, list) else [value]
    return found


def table(options, found):
    """The lines of the table, in Markdown."""
    columns = [column for column in options.columns if any(of == column for _, of in found)]
    rows = [["what is measured", *(COLUMNS[column] for column in columns)]]
    for row in options.rows:
        for name, title, summary in ROWS[row]:
            values = {column: summary(found[name, column]) for column in columns if found.get((name, column))}
            rows.append([title, *(cell(values, column) for column in columns)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    for row in rows:
        yield "| " + " | ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)) + " |"


def cell(values, column):
    """A value, and how many times the kernel's it is."""
    if column not in values:
        return ""
    value, unit = values[column], values.get("kernel", 0)
    is_unit = column == "kernel" or unit <= 0
    return rounded(value) if is_unit else f"{rounded(value)} ({rounded(value / unit)} x)"


def rounded(value):
    """A number with some three digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def parsed():
    """The options of the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW")
    parser.add_argument("--columns", nargs="+", choices=COLUMNS, default=list(COLUMNS), metavar="COLUMN")
    parser.add_argument("--before", type=Path, metavar="PATH", help="a checkout of faultline to compare with")
    options = parser.parse_args()
    if options.before is None and "before" in options.columns:
        options.columns.remove("before")
    return options


def main():
    options = parsed()
    loads = [os.getloadavg()[0]]
    found = measured(options)
    loads.append(os.getloadavg()[0])
    print(
        f"{os.cpu_count()} cores, {platform.system()} {platform.release().partition('-')[0]}, "
        f"CPython {platform.python_version()}, ",
        end="",
    )
    print("load {:.1f} before and {:.1f} after, {} rounds\n".format(*loads, options.rounds))
    print("\n".join(table(options, found)))
    print(NOTES)


if __name__ == "__main__":
    main()
