"""The plugin of pytest for `--faultline-html`: what the servers of each test saw, drawn in one HTML file.

Rules: `pytest_plugin` loads it if the option is given. Each process of a run adds its drawings to the reports of its
tests; the main process writes the file.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from faultline._front.seen import Seen

MOST_DRAWN = 20  # attempts at a server
KEY = "faultline_html"  # the attribute of a report: pytest-xdist sends it on


def pytest_configure(config: pytest.Config) -> None:
    """Register what writes the file, in the main process."""
    if hasattr(config, "workerinput"):  # a worker of pytest-xdist
        return
    path = config.getoption("faultline_html")
    try:
        config.pluginmanager.register(Drawn(path), "faultline-html")
    except OSError as error:
        raise pytest.UsageError(f"--faultline-html={path}: expected a place to write to ({error.strerror}).") from None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add what the servers of a test saw to its report."""
    report = yield
    if report.failed or (call.when == "call" and item.config.getoption("faultline_html_all")):
        from faultline.pytest_plugin import SEEN

        setattr(report, KEY, drawings_of(item.stash[SEEN]))
    return report


class Drawn:
    """Keeps what tests have drawn, and writes the file at the end of the run."""

    def __init__(self, path: str) -> None:
        self._path = Path(path).absolute()  # tests may go elsewhere
        self._path.open("a", encoding="utf-8").close()
        self._tests: dict[str, list[str]] = {}
        self._failed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a test has drawn; its last drawings have all that those before have."""
        if drawings := getattr(report, KEY, None):
            self._tests[report.nodeid] = drawings
        if report.failed:
            self._failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        """Write the file."""
        from faultline._audit.document import document, platforms, said

        body = ["<h1>What the servers of this run saw</h1>", f'<p class="soft">{said(platforms())}.</p>']
        body += ["<p>Nothing: no such test had a server.</p>"] * (not self._tests)
        for name, drawings in sorted(self._tests.items(), key=lambda test: (test[0] not in self._failed, test[0])):
            verdict, shade = ("failed", "bad") if name in self._failed else ("passed", "good")
            body.append(f'<h2><span class="mark {shade}">{verdict}</span> <code>{said(name)}</code></h2>')
            body += drawings
        self._path.write_text(document("faultline: what the servers of this run saw", body), "utf-8")


def drawings_of(seen: Seen) -> list[str]:
    """What each server saw, as HTML."""
    from faultline._audit.document import said
    from faultline._audit.sequence import figures

    return [f"<h3>{said(repr(server))}</h3>{figures(attempts, MOST_DRAWN)}" for server, attempts in seen.met()]
