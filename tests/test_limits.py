"""The time limit of a test: a client that hangs in any thread, task or child process ends with it, and is named."""

from __future__ import annotations

import importlib.util
import re
import textwrap

import pytest

pytestmark = [pytest.mark.timeout(170), pytest.mark.slow]

ALONE = ("-p", "timeout", "-p", "faultline", "-p", "no:cacheprovider", "-p", "no:randomly")
HEAD = """
import asyncio, http.client, pytest, socket, subprocess, sys, threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from faultline import *

GET = b"GET / HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n"

def fetch(server, timeout=None):
    with closing(http.client.HTTPConnection(*server.address, timeout=timeout)) as client:
        client.request("GET", "/")
        with client.getresponse() as response:
            return response.read()

def until_refused(server):
    for _ in range(1000):
        try:
            fetch(server)
        except ConnectionRefusedError:
            return
        except OSError:
            pass

async def in_task(server):
    reader, writer = await asyncio.open_connection(*server.address)
    try:
        writer.write(GET)
        await reader.read()
    finally:
        writer.close()

def in_trio(server):
    import trio
    trio.run(trio.to_thread.run_sync, fetch, server)

def in_curl(server):
    import pycurl
    client = pycurl.Curl()
    client.setopt(client.URL, server.url)
    client.perform()

def in_child(server):
    program = (
        "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); "
        "s.sendall(sys.argv[2].encode()); s.recv(1)"
    )
    subprocess.run([sys.executable, "-c", program, str(server.port), GET.decode()], stderr=subprocess.DEVNULL)

def in_pool(function, *arguments):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *arguments).result()

def in_left_thread(server):
    threading.Thread(target=until_refused, args=(server,)).start()
    server.wait_for_attempts(1, at="strike")
    threading.Event().wait()
"""

# Where the client of a test waits.
CLIENTS = {
    "main_thread": "fetch(server)",
    "to_thread": "asyncio.run(asyncio.to_thread(fetch, server))",
    "to_thread_that_tries_again": "asyncio.run(asyncio.to_thread(until_refused, server))",
    "executor": "in_pool(fetch, server)",
    "executor_that_tries_again": "in_pool(until_refused, server)",
    "task": "asyncio.run(in_task(server))",
    "trio_thread": "in_trio(server)",
    "child_process": "in_child(server)",
    "child_process_of_a_thread": "in_pool(in_child, server)",
    "thread_that_is_left": "in_left_thread(server)",
    "c_code": "in_curl(server)",
}
PASSING = {"test_wider_scope_without_the_fixture_in_its_parameters"}
CHILD_SECONDS = 4  # a busy machine takes its time to start a child
NEEDS = {"trio_thread": "trio", "c_code": "pycurl"}

# Servers, each with a client that waits in a thread that is joined.
SERVERS = {
    "plain": "faultline.serve(stall())",
    "tls_handshake": "faultline.serve(stall(at='handshake'), tls=True)",
    "accept": "faultline.serve(stall(at='accept'))",
    "isolated": "faultline.serve(stall(), isolated=True)",
    "relay": "faultline.relay(faultline.serve(ok()), stall())",
    "relay_of_a_stalled_server": "faultline.relay(faultline.serve(stall()))",
    "black_hole": "faultline.serve(blackhole())",
    "paused": "paused(faultline.serve(ok()))",
    "late": "faultline.serve(latency(3600))",
    "script": "faultline.serve(script(hold()))",
}


@pytest.fixture
def run(pytester, monkeypatch):
    """A function that runs an inner test file in a process of its own, with a limit of a second."""
    monkeypatch.delenv("PYTEST_TIMEOUT", raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeini("[pytest]\nfaultline_timeout = 1")

    def ran(source, *arguments):
        pytester.makepyfile(test_inner=HEAD + textwrap.dedent(source))
        return pytester.runpytest_subprocess(*ALONE, *arguments, timeout=150)

    return ran


# Servers that no fixture of the package has opened.
ELSEWHERE = """
@pytest.fixture(scope="module")
def wide():
    with serve(sequence(ok(b"hello"), stall(), ok(b"again")), strict=False) as server:
        yield server

@pytest.fixture
def own():
    with serve(stall()) as server:
        yield server

def test_first(wide):
    assert fetch(wide) == b"hello"

def test_wider_scope(wide):
    in_pool(fetch, wide)

def test_wider_scope_without_the_fixture_in_its_parameters(request):
    assert fetch(request.getfixturevalue("wide")) == b"again"

def test_fixture(own):
    in_pool(fetch, own)

def test_with_block():
    with serve(stall()) as server:
        in_pool(fetch, server)

def test_assignment():
    server = serve(stall())
    in_pool(fetch, server)

def test_named_fixture(request):
    in_pool(fetch, request.getfixturevalue("stall_server"))

def test_async():
    async def main():
        with serve(stall()) as server:
            await asyncio.to_thread(fetch, server)
    asyncio.run(main())

def test_thread_of_its_own():
    servers = []
    def meet():
        with serve(stall()) as server, pytest.raises(OSError):
            servers.append(server)
            fetch(server)
    in_pool(meet)
"""


def missing(client):
    return client in NEEDS and importlib.util.find_spec(NEEDS[client]) is None


def body_of(client):
    limit = f"@pytest.mark.timeout({CHILD_SECONDS})" if client.startswith("child") else ""
    return f"""
{limit}
def test_{client}(faultline):
    server = faultline.serve(stall())
    {CLIENTS[client]}
"""


def named(result):
    """The names of the tests in whose lines of the summary the reason comes first."""
    return re.findall(
        r"^(?:FAILED|ERROR) test_inner\.py::(\w+) - no timeout: the client", result.stdout.str(), re.MULTILINE
    )


@pytest.mark.parametrize("processes", [(), ("-p", "xdist", "-n", "2")], ids=["plain", "xdist"])
def test_client_that_hangs_anywhere_ends_with_the_limit(run, monkeypatch, processes):
    monkeypatch.setenv("COLUMNS", "200")
    clients = [client for client in CLIENTS if not missing(client)]
    result = run("".join(map(body_of, clients)) + "\ndef test_goes_on(faultline): pass\n", "--tb=native", *processes)

    result.assert_outcomes(passed=1, failed=len(clients))
    assert sorted(named(result)) == sorted(f"test_{client}" for client in clients)
    assert "Stack of faultline" not in result.stdout.str() + result.stderr.str()
    assert result.stdout.str().count("<=== silence: struck at 'response'") >= len(clients)


@pytest.mark.parametrize("client", CLIENTS)
def test_client_that_hangs_anywhere_is_named_and_drawn_where_the_process_ends(run, client):
    if missing(client):
        pytest.skip(f"needs {NEEDS[client]}")
    result = run(body_of(client), "-o", "timeout_method=thread")

    limit = f"Timeout (>{CHILD_SECONDS if client.startswith('child') else 1}.0s)"
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            f"no timeout: the client was still waiting at `response`, * s (attempt 1, stall()). {limit} *",
            "http://127.0.0.1:* stall()",
            "#1 stall(), connection 1*",
            "*<=== silence: struck at 'response' =*",
        ]
    )
    assert "Stack of MainThread" in result.stdout.str() + result.stderr.str()
    assert "Stack of faultline" not in result.stdout.str() + result.stderr.str()


def test_client_that_hangs_is_named_and_drawn_where_the_worker_ends(run):
    result = run(
        body_of("to_thread") + body_of("main_thread") + "\ndef test_goes_on(faultline): pass\n",
        *("-o", "timeout_method=thread", "-p", "xdist", "-n", "2"),
    )

    result.assert_outcomes(passed=1, failed=2)
    told = result.stdout.str() + result.stderr.str()
    assert told.count("no timeout: the client was still waiting at `response`, ") == 2
    assert told.count("<=== silence: struck at 'response' =") == 2


def test_client_that_hangs_at_any_server_ends_with_the_limit(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    tests = "".join(
        f"\ndef test_{name}(faultline):\n    server = {server}\n    in_pool(meet, server)\n"
        for name, server in SERVERS.items()
    )
    result = run(f"""
def paused(server):
    server.pause()
    return server

def meet(server):
    with socket.create_connection(server.address) as client:
        if server.url.startswith("https"):
            server.client_context().wrap_socket(client, server_hostname="localhost")
        client.sendall(GET)
        while client.recv(1000):
            pass

@pytest.mark.timeout(60)
def test_child_of_isolated_servers_has_started(faultline):
    assert fetch(faultline.serve(ok(b"hello"), isolated=True), 60) == b"hello"
{tests}""")

    result.assert_outcomes(passed=1, failed=len(SERVERS))
    assert sorted(named(result)) == sorted(f"test_{name}" for name in SERVERS)


def test_client_that_hangs_without_a_connection_ends_with_the_limit(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    result = run("""
def ask(server):
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.connect(server.address)
        client.send(bytes.fromhex("123401000001000000000000") + b"\\3api\\7example\\3com\\0\\0\\1\\0\\1")
        client.recv(1000)

def test_datagram(faultline):
    in_pool(ask, faultline.udp(blackhole()))

def test_query(faultline):
    in_pool(ask, faultline.dns_server(slow_resolve(60)))

def test_lookup(faultline):
    faultline.resolve("api.example.com", slow_resolve(60))
    in_pool(socket.getaddrinfo, "api.example.com", 80)
""")

    result.assert_outcomes(failed=3)
    assert sorted(named(result)) == ["test_datagram", "test_lookup", "test_query"]


@pytest.mark.parametrize("processes", [(), ("-p", "xdist", "-n", "1")], ids=["plain", "xdist"])
def test_limit_knows_servers_of_wider_scopes_and_without_a_fixture(run, monkeypatch, processes):
    monkeypatch.setenv("COLUMNS", "200")
    result = run(ELSEWHERE, *processes)

    names = [name for name in re.findall(r"def (test_\w+)", ELSEWHERE) if name not in {"test_first", *PASSING}]
    result.assert_outcomes(passed=2, failed=len(names))
    assert sorted(named(result)) == sorted(names)
    assert result.stdout.str().count("<=== silence: struck at 'response' =") == len(names)


def test_limit_of_a_server_of_a_wider_scope_holds_for_the_test_that_meets_it(run):
    result = run(
        """
        @pytest.fixture(scope="session")
        def wide():
            with serve(stall()) as server:
                yield server

        @pytest.mark.timeout(60)
        def test_opens(wide): pass

        def test_meets():
            threading.Event().wait()

        @pytest.mark.timeout(0)
        def test_has_its_own(wide, request):
            assert request.node.get_closest_marker("timeout").args == (0,)
        """,
    )

    result.assert_outcomes(passed=2, failed=1, errors=1)  # the stall never struck
    result.stdout.fnmatch_lines(["E *Failed: Timeout (>1.0s) from pytest-timeout."])


def test_server_that_is_open_at_the_end_of_the_run_holds_no_thread(run):
    result = run("""
        servers = []

        def test_left():
            servers.append(serve(stall()))
            threading.Thread(target=until_refused, args=(servers[0],)).start()
            servers[0].wait_for_attempts(1, at="strike")
    """)

    result.assert_outcomes(passed=1)


def test_hung_test_that_is_run_again_has_the_limit_again(run, pytester):
    pytester.makeconftest("""
        from _pytest.runner import runtestprotocol

        def pytest_runtest_protocol(item, nextitem):
            for _ in range(2):
                runtestprotocol(item, nextitem=nextitem)
            return True
    """)
    result = run("""
        def test_it(stall_server):
            in_pool(fetch, stall_server)
    """)

    result.assert_outcomes(failed=2)


def test_test_that_swallows_the_failure_fails_all_the_same(run):
    result = run("""
        def test_it(stall_server):
            try:
                in_pool(fetch, stall_server)
            except BaseException:
                pass

        @pytest.mark.timeout(60)
        def test_next(reset_server):
            with pytest.raises(ConnectionResetError):
                fetch(reset_server)
    """)

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["no timeout: the client was still waiting at `response`, *"])


def test_test_without_servers_times_out_as_pytest_timeout_has_it(run):
    waits = "def test_it():\n    threading.Event().wait()\n"

    signalled = run(waits, "--timeout", "0.5")
    signalled.assert_outcomes(failed=1)
    signalled.stdout.fnmatch_lines(["E *Timeout (>0.5s) from pytest-timeout*"])
    ended = run(waits, "--timeout", "0.5", "-o", "timeout_method=thread")
    assert ended.ret == 1
    assert "Stack of MainThread" in ended.stdout.str() + ended.stderr.str()


@pytest.mark.parametrize("method", ["signal", "thread"])
def test_debugger_is_left_alone(run, method):
    result = run(
        """
        import pytest_timeout

        def test_it(faultline):
            pytest_timeout.SUPPRESS_TIMEOUT = True
            server = faultline.serve(stall(for_seconds=2))
            assert fetch(server) == b"ok\\n"
        """,
        *("-o", f"timeout_method={method}"),
    )

    result.assert_outcomes(passed=1)


def test_failing_test_draws_the_servers_of_wider_scopes_that_it_came_to(run):
    result = run("""
        @pytest.fixture(scope="module")
        def wide():
            with serve(ok(b"hello")) as met, serve(ok(b"other")) as other:
                yield met, other

        def test_first(wide):
            assert fetch(wide[1]) == b"other"

        def test_it(wide):
            with serve(ok(b"own")) as own:
                fetch(wide[0]), fetch(own)
                assert False
    """)

    result.assert_outcomes(passed=1, failed=1)
    assert len(re.findall(r"^http://127.*$", result.stdout.str(), re.MULTILINE)) == 2
    result.stdout.fnmatch_lines(["http://127.0.0.1:* ok(b'hello')", "http://127.0.0.1:* ok(b'own')"])


def test_servers_that_cannot_be_asked_do_not_keep_the_test_from_ending(run):
    result = run("""
        import faultline._servers.endpoint, faultline._servers.server

        def broken(*_, **__):
            raise RuntimeError("a bug of ours")

        def test_drawing(stall_server, monkeypatch):
            monkeypatch.setattr(faultline._servers.endpoint.Endpoint, "drawing", broken)
            fetch(stall_server)

        def test_cutting(stall_server, monkeypatch):
            monkeypatch.setattr(faultline._servers.server.Server, "cut_off", broken)
            fetch(stall_server)
    """)

    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        ["faultline can't draw the servers: RuntimeError('a bug of ours')", "*could not be cut off: RuntimeError(*"]
    )


def test_limit_holds_in_a_fork_that_goes_on_with_the_test(run, pytester):
    pytester.makeconftest("""
        import os, pytest
        from _pytest.runner import runtestprotocol

        def pytest_runtest_protocol(item, nextitem):  # as pytest-forked does it
            reading, writing = os.pipe()
            child = os.fork()
            if child == 0:
                reports = runtestprotocol(item, nextitem=nextitem, log=False)
                text = "".join(str(r.longrepr) + str(r.sections) for r in reports if r.failed)
                os.write(writing, text.encode()[-4000:])
                os._exit(0)
            os.close(writing)
            with os.fdopen(reading) as pipe:
                print(pipe.read())
            os.waitpid(child, 0)
            return True
    """)
    result = run(
        """
        def test_it():
            with serve(stall()) as server:
                in_pool(fetch, server)
        """,
        "-s",
    )

    assert "no timeout: the client was still waiting at `response`, " in result.stdout.str()
    assert "silence: struck at 'response'" in result.stdout.str()


def test_limit_of_a_test_that_is_over_is_not_kept(run, pytester):
    pytester.makeconftest("""
import gc
def pytest_sessionfinish(session):
    gc.collect()
    print("limits kept:", [type(each).__name__ for each in gc.get_objects()].count("Limit"))
""")
    result = run("""
@pytest.mark.parametrize("number", range(3))
def test_served(faultline, number):
    assert fetch(faultline.serve(ok(b"hello"))) == b"hello"
""")

    result.stdout.fnmatch_lines(["*limits kept: 0*"])
