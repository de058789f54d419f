"""The pytest plugin: fixtures, the `faults` marker, a default timeout, and the guard at teardown.

Rules: pytest loads this module in every run, so everything of faultline is imported when a test first uses it.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from faultline._core.chance import Scope
    from faultline._front.control.start import Control
    from faultline._front.limits import Limit
    from faultline._front.seen import Seen
    from faultline._front.starters import Faultline as Faultline  # noqa: PLC0414 - users may import it from here
    from faultline._net.authority import Authority
    from faultline._servers.endpoint import Endpoint
    from faultline._servers.opened import Opened
    from faultline._servers.server import Server
else:

    def __getattr__(name: str) -> object:
        if name != "Faultline":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from faultline._front.starters import Faultline

        return Faultline


READY_MADE = ("refuse", "reset", "close", "stall", "bad_cert", "blackhole")
FIXTURES = {"faultline", "fault_server", "faultline_control", *(f"{name}_server" for name in READY_MADE)}
PASSED = pytest.StashKey[bool]()  # of the call; absent without a report of the call
SERVERS: pytest.StashKey[list[Endpoint]] = pytest.StashKey()
SCOPE: pytest.StashKey[Scope] = pytest.StashKey()
SEED = pytest.StashKey[int]()
SINCE = pytest.StashKey[int]()  # servers with lower numbers belong to a run of pytest around this one
SEEN: pytest.StashKey[Seen] = pytest.StashKey()
DEFAULT_SECONDS = pytest.StashKey[float]()
LIMIT: pytest.StashKey[Limit] = pytest.StashKey()
DREW = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option `--faultline-seed` and the ini option `faultline_timeout`."""
    parser.getgroup("faultline").addoption(
        "--faultline-seed",
        type=int,
        metavar="NUMBER",
        help="the seed of all random choices in faults, to repeat a run; a run that made any prints its seed",
    )
    parser.getgroup("faultline").addoption(
        "--faultline-html", metavar="PATH", help="write one HTML file that draws every server of every failing test"
    )
    parser.getgroup("faultline").addoption(
        "--faultline-html-all", action="store_true", help="draw the tests that pass in that file too"
    )
    parser.addini(
        "faultline_timeout",
        "seconds after which a test with a faultline fixture fails as hung, unless the test has its own timeout",
        default="30",
    )
    parser.addini(
        "faultline_leaks",
        "fail a test that has passed if a client still holds a connection to a server of a faultline fixture",
        type="bool",
        default=False,
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker `faults`, and read the options."""
    config.addinivalue_line(
        "markers",
        "faults(*faults, point=None, tls=None, http=None): run the test once per fault, each served by `fault_server`; "
        "without faults: once per case that `serve` can play, per case at one point, or per case with or without TLS; "
        "with http=False: once per case for a client that speaks no HTTP.",
    )
    config.stash[SINCE] = 0 if (opened := opened_so_far()) is None else opened.next_number()
    try:
        config.stash[DEFAULT_SECONDS] = limit = float(config.getini("faultline_timeout"))
    except ValueError:
        limit = -1.0
    if not 0 <= limit < float("inf"):
        given = config.getini("faultline_timeout")
        raise pytest.UsageError(f"faultline_timeout={given!r}: expected a number of seconds, 0 or more.")
    worker = getattr(config, "workerinput", {})  # set by pytest-xdist: all processes have the same seed
    given = config.getoption("faultline_seed")
    config.stash[SEED] = worker.get("faultline_seed", int.from_bytes(os.urandom(4), "big") if given is None else given)
    config.stash[DREW] = False
    if config.getoption("faultline_html_all") and config.getoption("faultline_html") is None:
        raise pytest.UsageError("--faultline-html-all: expected --faultline-html=PATH with it.")
    if config.getoption("faultline_html") is not None:
        config.pluginmanager.import_plugin("faultline._front.drawn")


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> list[str]:
    """Print the number of cases of the `faults` markers, and a seed that was given."""
    said = []
    if cases := [item for item in items if "fault_server" in getattr(item, "fixturenames", ())]:
        from faultline._core.counts import counted

        names = {item.nodeid.partition("[")[0] for item in cases}
        number = f"{counted(len(cases), 'case')} for {counted(len(names), 'test')}"
        said.append(f"faultline: {number} with fault_server")
    if config.getoption("faultline_seed") is not None:
        said.append(f"faultline: {seed_option(config)}")
    return said


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the promises that were not proven, and the seed of a run in which faults made random choices."""
    if terminalreporter.stats:  # there were reports
        from faultline._front import unproven

        unproven.tell(terminalreporter)
    if config.stash[DREW]:
        terminalreporter.write_line(f"faultline made random choices; this option repeats them: {seed_option(config)}")


def seed_option(config: pytest.Config) -> str:
    """The option that repeats this run's random choices."""
    return f"--faultline-seed={config.stash[SEED]}"


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Send the seed to a worker of pytest-xdist."""
    node.workerinput["faultline_seed"] = node.config.stash[SEED]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Note whether a worker of pytest-xdist made random choices."""
    output = getattr(node, "workeroutput", None) or {}
    node.config.stash[DREW] |= output.get("faultline_drew", False)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a worker of pytest-xdist, report to the main process whether this worker made random choices."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["faultline_drew"] = session.config.stash[DREW]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Seed the random choices of a test by the run's seed and the test's name, so that the order has no influence."""
    from faultline._core import chance

    forget(item, PASSED)  # of an earlier run of the test, by pytest-rerunfailures or flaky
    if LIMIT in item.stash and item.stash[LIMIT].is_over:
        item.stash[LIMIT].start()
    if item.get_closest_marker("faults") is not None:
        from faultline._front.marker import check_used

        check_used(item)
    item.stash[SCOPE] = chance.enter(f"{item.config.stash[SEED]}/{item.nodeid}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Note whether the test made random choices, and let pytest-socket find the functions that it has patched."""
    if any(item.config.pluginmanager.hasplugin(name) for name in ("socket", "pytest_socket")):
        for server in item.stash.get(SERVERS, []):
            server.step_aside()
    if SCOPE in item.stash and item.stash[SCOPE].was_used:
        item.config.stash[DREW] = True


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test once per fault of its `faults` marker."""
    if "fault_server" in metafunc.fixturenames:
        from faultline._front.marker import parametrized

        parametrized(metafunc)


def forget(item: pytest.Item, key: pytest.StashKey[Any]) -> None:
    """Drop what a test keeps under this key, if it keeps anything."""
    if key in item.stash:
        del item.stash[key]


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what clients of servers that are still open wait for, because Python joins threads when it exits."""
    if (opened := opened_so_far()) is None:
        return
    from faultline._core.errors import ServerError

    for server in opened.after(config.stash.get(SINCE, opened.next_number())):
        with contextlib.suppress(ServerError):
            server.cut_off()


def opened_so_far() -> Opened | None:
    """The endpoints of this process; `None` while none can have been started, as what starts them isn't loaded."""
    module = sys.modules.get("faultline._servers.opened")
    return None if module is None else module.opened


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests with faultline fixtures a timeout, unless the test or the run has one."""
    for item in items:
        if not FIXTURES.isdisjoint(getattr(item, "fixturenames", ())) and needs_limit(item):
            item.add_marker(pytest.mark.timeout(item.config.stash[DEFAULT_SECONDS]))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Know every server that the test may meet, and give it a timeout if one is open already."""
    from faultline._front.seen import Seen
    from faultline._servers.opened import opened

    item.stash[SEEN] = seen = Seen(item.config, item.config.stash[SINCE])
    if seen.open() and needs_limit(item):
        item.add_marker(pytest.mark.timeout(item.config.stash[DEFAULT_SECONDS]))
    opened.watchers.append(partial(on_open, item))
    try:
        return (yield)
    finally:
        opened.watchers.pop()
        if LIMIT in item.stash:
            item.ihook.pytest_timeout_cancel_timer(item=item)
            item.stash[LIMIT].end()
            vars(item).pop("cancel_timeout", None)
        for key in (SEEN, LIMIT, SERVERS, SCOPE):  # so that a test that is over keeps nothing
            forget(item, key)


def on_open(item: pytest.Item, server: Endpoint) -> None:
    """Note a server that a test opens, and see to it that the test has a time limit."""
    from faultline._front import limits, sweeping

    item.stash[SEEN].add(server, keep=item.config.getoption("faultline_html_all"))
    if LIMIT not in item.stash and needs_limit(item):
        limits.start_late(item, item.config.stash[DEFAULT_SECONDS])
    if LIMIT in item.stash:
        item.stash[LIMIT].watch()
    sweeping.watch(item)


@pytest.hookimpl(optionalhook=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool:
    """Take over from pytest-timeout what happens when the time is over."""
    from faultline._front.limits import Limit

    item.stash[LIMIT] = limit = Limit(item, settings, item.stash[SEEN])
    limit.start()
    return True


def needs_limit(item: pytest.Item) -> bool:
    """Whether a test with a server gets the default timeout."""
    from faultline._front.unlimited import is_unlimited

    return bool(item.config.stash[DEFAULT_SECONDS]) and is_unlimited(item)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add a drawing of each server's attempts to the report of a failed test."""
    if call.excinfo is not None:
        from faultline._front import frames

        frames.end_in_the_test(call.excinfo, item.config)
    report = yield
    if call.when == "call":  # of one call there are several reports if it has subtests
        item.stash[PASSED] = item.stash.get(PASSED, True) and report.passed
    limit, seen = item.stash.get(LIMIT, None), item.stash.get(SEEN, None)
    if limit is not None and limit.is_over:
        limit.tell(report)
    if report.passed and call.when == "teardown" and SERVERS in item.stash:
        from faultline._front import unproven

        unproven.add_to(report, item.stash[SERVERS])
    if report.failed and seen is not None:
        drawings = limit.drawings if limit is not None and limit.is_over else seen.drawings()
        report.sections += [("faultline", drawing) for drawing in drawings]
        if drawings and item.stash[SCOPE].was_used:
            report.sections.append(("faultline chance", f"{seed_option(item.config)} repeats the random choices"))
    return report


@pytest.fixture(scope="session")
def faultline_ca() -> Authority:
    """The test CA of all servers, for clients to trust: `ca_file`, `client_context()`, `trust(monkeypatch)`."""
    from faultline._net.authority import AUTHORITY

    return AUTHORITY


@pytest.fixture
def faultline(request: pytest.FixtureRequest) -> Iterator[Faultline]:
    """Start misbehaving servers, such as `faultline.serve(reset())`; they stop after the test."""
    from faultline._front import starters

    factory = starters.Faultline()
    request.node.stash[SERVERS] = factory.servers
    yield factory
    has_passed = request.node.stash.get(PASSED, False)
    starters.close_servers(
        factory.servers, guard=has_passed, leaks=has_passed and request.config.getini("faultline_leaks")
    )


@pytest.fixture
def faultline_control(request: pytest.FixtureRequest) -> Iterator[Control]:
    """A control API for toxiproxy's clients, until the end of the test; `control` gets an indirect parameter."""
    from faultline._front.control.start import Control

    with Control(**getattr(request, "param", {})) as api:
        yield api


@pytest.fixture
def fault_server(request: pytest.FixtureRequest, faultline: Faultline) -> Server:
    """A server for each fault of the test's `faults` marker in turn; skips faults that this user can't produce."""
    from faultline._core.errors import ParameterError, UnsupportedError

    if isinstance(request.param, ParameterError):
        pytest.fail(str(request.param), pytrace=False)
    fault, strict = request.param
    try:
        return faultline.serve(fault, strict=strict)
    except UnsupportedError as error:
        pytest.skip(str(error))


def ready_made(name: str) -> Callable[[Faultline], Server]:
    """A fixture with a server that plays one mode with its defaults."""

    def server(faultline: Faultline) -> Server:
        from faultline.modes._catalogue import find

        return faultline.serve(find(name).function())

    server.__doc__ = f"A server that plays `{name}()` with its defaults."
    return pytest.fixture(server, name=f"{name}_server")


refuse_server, reset_server, close_server, stall_server, bad_cert_server, blackhole_server = map(ready_made, READY_MADE)
