"""What all tests share."""

from __future__ import annotations

import contextlib
import gc
import importlib
import itertools
import os
import pkgutil
import socket
import sys
import threading
import zlib
from collections import defaultdict
from functools import partial

import pytest
from hypothesis import HealthCheck, settings
from support import EXAMPLES, by_turns, connected, inner, portable, urllib3_1

import faultline
from faultline import UnsupportedError
from faultline._net import connects
from faultline._net.system import check_filter

pytest_plugins = ["pytester"]

NUMBERS = itertools.count()
FEW_CASES = 4
collect_ignore = ["inner"]  # what inner runs of pytest collect

# pytester puts sys.modules back after an inner run: what is loaded before it is the same inside and after.
OWN = [module.name for module in pkgutil.walk_packages(faultline.__path__, "faultline.")]
for name in [*OWN, "httpcore"]:  # httpx loads httpcore when it is first used, and keeps a table of its exceptions
    if name != "faultline.__main__":
        importlib.import_module(name)

# Each run tries the same examples, on a busy machine too, unless it asks for new ones. None is written down: a user who
# owns no folder runs the tests too.
settings.register_profile(
    "tests",
    max_examples=EXAMPLES or 100,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("quick", settings.get_profile("tests"), max_examples=EXAMPLES or 20)

# Drawings look the same on every terminal.
os.environ |= {"COLUMNS": "80", "NO_COLOR": "1"}
os.environ.pop("FORCE_COLOR", None)

# Clients ask no proxy that the machine has.
for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
    del os.environ[name]

# Python traces an audit hook only if it asks for that (sys.addaudithook); coverage needs it.
connects.install().__cantrace__ = True

# What measures this process, if something does.
COVERAGE = "coverage" in sys.modules and sys.modules["coverage"].Coverage.current()


def is_quick(config):
    """Whether slow tests are left out."""
    return config.option.markexpr.startswith("not slow")


def pytest_configure(config):
    """Try fewer examples where slow tests are left out."""
    settings.load_profile("quick" if is_quick(config) else "tests")


def pytest_itemcollected(item):
    """Mark tests that run pytest inside, which depend on its version."""
    if not {"run_inner", "pytester"}.isdisjoint(item.fixturenames):
        item.add_marker("inner")


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Collect without coverage, which would take twice the time: what the tests import is imported already.

    The garbage collector would find nothing: what is collected stays.
    """
    if COVERAGE:
        COVERAGE.stop()
    gc.disable()
    try:
        return (yield)
    finally:
        if COVERAGE:
            COVERAGE.start()


def pytest_collection_finish():
    """Let the garbage collector pass over the tests themselves, and run between tests alone.

    What a test leaves open is told by that test and by no later one. And before Python 3.12 a thread that starts
    under coverage fails if a finalizer runs in that moment, for an audit hook is told of it.
    """
    if COVERAGE:  # a thread is measured if it starts while that is on
        early = {thread.name for thread in threading.enumerate()} & {"faultline"}
        assert not early, "a module of tests starts a server as it is imported; start it in the test"
    gc.collect()
    gc.freeze()
    gc.disable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Mark what depends on the machine, and the cases of a test beyond a few as slow, unless its file is named."""
    for item in items:
        if why := portable.reason_of(item.nodeid) or urllib3_1.reason_of(item.nodeid):
            item.add_marker(pytest.mark.skip(reason=why))
        if item.get_closest_marker("leaves_open"):  # it is known, and nothing is said of it
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"))
    if not any("::" in arg or arg.endswith(".py") for arg in config.args):
        for item in beyond_a_few(items):
            item.add_marker("slow")
            item.add_marker("more")


def beyond_a_few(items):
    """All cases but a few of each test: always the same, by the check sums of their names, and slow ones last."""
    cases = defaultdict(list)
    for item in items:
        if not item.get_closest_marker("all_cases"):
            cases[item.nodeid.partition("[")[0]].append(item)
    return [item for each in cases.values() for item in sorted(each, key=check_sum)[FEW_CASES:]]


def check_sum(item):
    return item.get_closest_marker("slow") is not None, zlib.crc32(item.name.encode())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Skip a test of what the portable implementation says that it can't do, with the reason."""
    try:
        return (yield)
    except UnsupportedError as error:
        if why := portable.lacking(error):
            pytest.skip(why)
        raise


@pytest.fixture(autouse=True)
def collected():
    """Collect what a test has left, and have this test told of it: none of it is older than the test before."""
    yield
    gc.collect(1)
    gc.disable()  # a test that counts what is left turns it on again


@pytest.fixture
def own_port():
    """A port of this test alone: below those that the kernel gives to whoever asks for any (ip_local_port_range).

    Each test gets another one, because a connection that is over keeps its port for a minute (TIME_WAIT).
    """
    return 20_000 + os.getpid() % 400 * 25 + next(NUMBERS) % 25


@pytest.fixture(scope="session")
def run_inner(tmp_path_factory):
    """A function that runs a file of tests/inner by pytest, once for all processes of pytest-xdist."""
    folder = tmp_path_factory.getbasetemp()
    return partial(inner.run_once, folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder)


@pytest.fixture
def needs_filter():
    """Skip a test whose user may not drop packets."""
    try:
        check_filter()
    except UnsupportedError as error:
        pytest.skip(str(error))


@pytest.fixture
def needs_ipv6():
    """Skip a test where the loopback interface has no IPv6."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
        sock.bind(("::1", 0))
        return
    pytest.skip("needs IPv6 on the loopback interface")


@pytest.fixture
def tls(request):
    """Whether a test speaks TLS, where the same holds with it and without."""
    return by_turns(request, False, True)


@pytest.fixture
def dial():
    """A function that connects to a server and says something; the connections are closed after the test."""
    with contextlib.ExitStack() as clients:

        def connect(server, data=b"", timeout=10):
            client = clients.enter_context(connected(server, timeout))
            if data:
                client.sendall(data)
            return client

        yield connect
