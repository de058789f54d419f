"""The pytest plugin: fixtures, the `faults` marker, a default timeout, and the guard at teardown.

Rules: pytest loads this module in every run, so everything of faultline is imported when a test first uses it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from faultline._front import starters

if TYPE_CHECKING:
    from faultline._core.chance import Scope
    from faultline._net.authority import Authority
    from faultline._servers.endpoint import Endpoint
    from faultline._servers.server import Server

Faultline = starters.Faultline
READY_MADE = ("refuse", "reset", "close", "stall", "bad_cert", "blackhole")
FIXTURES = {"faultline", "fault_server", *(f"{name}_server" for name in READY_MADE)}
PASSED = pytest.StashKey[bool]()  # of the call; absent without a report of the call
SERVERS: pytest.StashKey[list[Endpoint]] = pytest.StashKey()
SCOPE: pytest.StashKey[Scope] = pytest.StashKey()
SEED = pytest.StashKey[int]()
LIMIT = pytest.StashKey[float]()
DREW = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option `--faultline-seed` and the ini option `faultline_timeout`."""
    parser.getgroup("faultline").addoption(
        "--faultline-seed",
        type=int,
        metavar="NUMBER",
        help="the seed of all random choices in faults, to repeat a run; a run that made any prints its seed",
    )
    parser.addini(
        "faultline_timeout",
        "seconds after which a test with a faultline fixture fails as hung, unless the test has its own timeout",
        default="30",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker `faults`, and read the options."""
    config.addinivalue_line(
        "markers",
        "faults(*faults, point=None, tls=None): run the test once per fault, each served by `fault_server`; "
        "without faults: once per case that `serve` can play, or per case at one point, with TLS or without TLS.",
    )

    try:
        config.stash[LIMIT] = limit = float(config.getini("faultline_timeout"))
    except ValueError:
        limit = -1.0
    if not 0 <= limit < float("inf"):
        given = config.getini("faultline_timeout")
        raise pytest.UsageError(f"faultline_timeout={given!r}: expected a number of seconds, 0 or more.")
    worker = getattr(config, "workerinput", {})  # set by pytest-xdist: all processes have the same seed
    given = config.getoption("faultline_seed")
    config.stash[SEED] = worker.get("faultline_seed", int.from_bytes(os.urandom(4), "big") if given is None else given)
    config.stash[DREW] = False


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> str | None:
    """Print the seed in the header if the run has tests with servers, which may make random choices."""
    has_servers = any(not FIXTURES.isdisjoint(getattr(item, "fixturenames", ())) for item in items)
    return f"faultline: {seed_option(config)}" if has_servers else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the seed of a run in which faults made random choices."""
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

    if PASSED in item.stash:  # an earlier run of the test, by pytest-rerunfailures or flaky
        del item.stash[PASSED]
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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give tests with faultline fixtures a timeout, unless the test or the run has one."""
    limit = config.stash[LIMIT]
    if not limit or not has_pytest_timeout(config) or has_timeout(config):
        return
    for item in items:
        names = getattr(item, "fixturenames", ())
        if not FIXTURES.isdisjoint(names) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(limit))


def has_pytest_timeout(config: pytest.Config) -> bool:
    """Whether pytest-timeout is loaded, by the name of its entry point or, with `-p`, of its module."""
    return any(config.pluginmanager.hasplugin(name) for name in ("timeout", "pytest_timeout"))


def has_timeout(config: pytest.Config) -> bool:
    """Whether the run sets a timeout for all tests."""
    given = config.getoption("timeout", None)
    return given is not None or bool(config.getini("timeout") or os.environ.get("PYTEST_TIMEOUT"))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add a drawing of each server's attempts to the report of a failed test."""
    servers = item.stash.get(SERVERS, [])
    if servers and call.excinfo is not None and "pytest-timeout" in str(call.excinfo.value):
        name_hung(call.excinfo.value, servers)
    report = yield
    if call.when == "call":  # of one call there are several reports if it has subtests
        item.stash[PASSED] = item.stash.get(PASSED, True) and report.passed
    if report.failed:
        for server in servers:
            report.sections.append(("faultline", drawing_of(server, item.config)))
        if servers and item.stash[SCOPE].was_used:
            report.sections.append(("faultline chance", f"{seed_option(item.config)} repeats the random choices"))
    return report


def drawing_of(server: Endpoint, config: pytest.Config) -> str:
    """The drawing of a server's attempts for pytest's terminal, or the error if the server can't be asked."""
    from faultline._core.errors import ServerError

    width, color = None, config.getoption("color", "auto") == "yes"
    if config.pluginmanager.has_plugin("terminalreporter"):  # a worker of xdist has none
        terminal = config.get_terminal_writer()
        width, color = terminal.fullwidth, terminal.hasmarkup
    try:
        return server.drawing(width=width, color=color)
    except ServerError as error:
        return str(error)


def name_hung(timeout: BaseException, servers: list[Endpoint]) -> None:
    """Add the point at which the client hung to the message of a timeout."""
    from faultline._core.report import hung

    waiting = [why for server in servers if (why := hung(server.attempts, server.ledger.now()))]
    if waiting and isinstance(timeout, pytest.fail.Exception):
        timeout.msg = f"{waiting[-1]}. {timeout.msg}"


@pytest.fixture(scope="session")
def faultline_ca() -> Authority:
    """The test CA of all servers, for clients to trust: `ca_file`, `client_context()`, `trust(monkeypatch)`."""
    from faultline._net.authority import AUTHORITY

    return AUTHORITY


@pytest.fixture
def faultline(request: pytest.FixtureRequest) -> Iterator[Faultline]:
    """Start misbehaving servers, such as `faultline.serve(reset())`; they stop after the test."""
    factory = Faultline()
    request.node.stash[SERVERS] = factory.servers
    yield factory
    factory.close(guard=request.node.stash.get(PASSED, False))


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
