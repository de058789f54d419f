"""The fixtures in async tests: unchanged, under pytest-asyncio and under anyio."""

from textwrap import dedent

import pytest

from faultline import bad_cert, serve

HEAD = """
import asyncio, contextlib, pytest, {framework}
from faultline import *

pytestmark = pytest.mark.{mark}
fixture = {framework}.fixture

async def fetch(server):
    context = server.client_context() if server.url.startswith("https") else None
    reader, writer = await asyncio.open_connection(*server.address, ssl=context)
    try:
        writer.write(b"GET / HTTP/1.1\\r\\nHost: test\\r\\nConnection: close\\r\\n\\r\\n")
        await reader.readuntil(b"\\r\\n\\r\\n")
        return await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
"""
BACKEND = """
import pytest

@pytest.fixture
def anyio_backend():
    return "asyncio"
"""
# The other framework is off, so that each is seen to suffice. So is hypothesis, which takes a second for its summary.
FRAMEWORKS = {
    "asyncio": ("pytest_asyncio", ["-p", "no:anyio", "-o", "asyncio_default_fixture_loop_scope=function"]),
    "anyio": ("pytest", ["-p", "no:asyncio"]),
}


@pytest.fixture(scope="module", autouse=True)
def loaded():
    """Pytester forgets what is imported in a run, so faultline is loaded before the first one."""
    with serve(bad_cert(), strict=False) as server:
        server.client_context()


@pytest.fixture(params=FRAMEWORKS)
def run(request, pytester):
    """A function that runs async tests under one of the frameworks; every warning is an error."""
    framework, options = FRAMEWORKS[request.param]

    def run_tests(body, *more):
        pytester.makeconftest(BACKEND)
        pytester.makepyfile(HEAD.format(framework=framework, mark=request.param) + dedent(body))
        return pytester.runpytest_inprocess(
            "-W", "error", "-p", "no:randomly", "-p", "no:hypothesispytest", *options, *more
        )

    return run_tests


def test_factory_serves_a_client_in_the_loop_of_the_test(run):
    result = run("""
        async def test_recovers(faultline):
            server = faultline.serve(sequence(refuse(), reset(after_bytes=10), ok(b"hello")))
            for error in (ConnectionRefusedError, ConnectionResetError):
                with pytest.raises(error):
                    await fetch(server)
            assert await fetch(server) == b"hello"
            assert [a.fault for a in server.attempts] == [refuse(), reset(after_bytes=10), ok(b"hello")]
    """)

    result.assert_outcomes(passed=1)


def test_clients_of_one_loop_wait_at_the_same_time(run):
    result = run("""
        async def test_ten(faultline):
            gate = Gate()
            server = faultline.serve(stall(until=gate))
            clients = asyncio.gather(*[fetch(server) for _ in range(10)])
            await asyncio.to_thread(server.wait_for_attempts, 10, at="response")
            assert not clients.done()
            gate.open()
            assert await clients == [b"ok\\n"] * 10
    """)

    result.assert_outcomes(passed=1)


def test_ready_made_fixtures_serve(run):
    result = run("""
        import ssl

        async def test_all_six(
            refuse_server, reset_server, close_server, stall_server, bad_cert_server, blackhole_server
        ):
            for server, error, seconds in [
                (refuse_server, ConnectionRefusedError, 10),
                (reset_server, ConnectionResetError, 10),
                (close_server, asyncio.IncompleteReadError, 10),
                (stall_server, asyncio.TimeoutError, 0.2),
                (bad_cert_server, ssl.SSLCertVerificationError, 10),
                (blackhole_server, asyncio.TimeoutError, 0.2),
            ]:
                with pytest.raises(error):
                    await asyncio.wait_for(fetch(server), seconds)
                assert len(server.attempts) == 1
    """)

    result.assert_outcomes(passed=1)


def test_marker_makes_a_test_of_each_fault(run):
    body = """
        @pytest.mark.faults(refuse(), reset(), close())
        async def test_fails(fault_server):
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await fetch(fault_server)
    """

    result = run(body, "-v")

    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines_random([f"*test_fails*{fault}()*PASSED*" for fault in ("refuse", "reset", "close")])


def test_async_fixture_builds_on_the_factory(run):
    result = run("""
        @fixture
        async def answer(faultline):
            server = faultline.serve(sequence(ok(b"set up"), ok(b"hello")))
            yield await fetch(server), server
            assert [a.fault for a in server.attempts] == [ok(b"set up"), ok(b"hello")]

        async def test_answers(answer):
            first, server = answer
            assert (first, await fetch(server)) == (b"set up", b"hello")
    """)

    result.assert_outcomes(passed=1)


def test_context_manager_of_the_package_serves_within_a_loop(run):
    result = run("""
        async def test_serves():
            with serve(ok(b"hello")) as server:
                assert await fetch(server) == b"hello"
    """)

    result.assert_outcomes(passed=1)


def test_guard_fails_a_test_whose_fault_never_struck(run):
    result = run("""
        async def test_forgets_to_connect(faultline):
            faultline.serve(reset())
    """)

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*reset() never struck: no client connected to 127.0.0.1:*"])


def test_failing_test_is_explained_by_its_conversation(run):
    result = run("""
        async def test_expects_too_much(reset_server):
            await fetch(reset_server)
    """)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*- faultline -*", "http://127.0.0.1:* reset()", "*RST: struck at 'response'*"])


def test_hung_client_is_named(run):
    result = run("async def test_waits_for_ever(stall_server): await fetch(stall_server)", "-o", "faultline_timeout=1")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*no timeout: the client was still waiting at `response`, * s (attempt 1, *"])
