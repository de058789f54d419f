"""The plugin, tested by runs of pytest within pytest: fixtures, marker, guard, timeout, and what loading it costs."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import textwrap

import pytest

import faultline
from faultline import pytest_plugin
from faultline._servers.loop import background
from faultline.modes._catalogue import cases

BREAKING = [case for case in cases() if case.kind == "TCP server" and not case.fault.is_healthy]
pytestmark = pytest.mark.timeout(120)

# Without plugins of others, which would be imported anew for each inner run.
ALONE = (
    "-p",
    "timeout",
    "-p",
    "faultline",
    "-p",
    "no:cacheprovider",
    "--strict-markers",
    "--strict-config",
    "-W",
    "error",
)
CLIENT = """
import http.client, pytest, socket, ssl, threading
from contextlib import closing
from faultline import *

GET = b"GET / HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n"

def fetch(server, timeout=10):
    with closing(http.client.HTTPConnection(*server.address, timeout=timeout)) as client:
        client.request("GET", "/")
        with client.getresponse() as response:
            return response.read()
"""


@pytest.fixture
def write(pytester, monkeypatch):
    """A function that writes the inner test file, below the imports that all of them need."""
    monkeypatch.delenv("PYTEST_TIMEOUT", raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def written(source):
        return pytester.makepyfile(test_inner=CLIENT + textwrap.dedent(source))

    return written


@pytest.fixture
def run(pytester, write):
    """A function that runs an inner test file with some arguments, in this process."""

    def ran(source, *arguments):
        write(source)
        return pytester.runpytest_inprocess(*ALONE, *arguments)

    return ran


@pytest.fixture
def run_apart(pytester, write):
    """The same in a process of its own."""

    def ran(source, *arguments):
        write(source)
        return pytester.runpytest_subprocess(*ALONE, *arguments, timeout=100)

    return ran


def inner_ids(result):
    """The ids of the inner tests, in order, by the output of `--collect-only -q`."""
    return [line.partition("[")[2][:-1] for line in result.outlines if line.startswith("test_inner.py::")]


# --- fixtures --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fixture", "meet", "error"),
    [
        ("refuse_server", "fetch(server)", "ConnectionRefusedError"),
        ("reset_server", "fetch(server)", "ConnectionResetError"),
        ("close_server", "fetch(server)", "http.client.RemoteDisconnected"),
        ("stall_server", "fetch(server, 0.1)", "TimeoutError"),
        ("blackhole_server", "fetch(server, 0.1)", "TimeoutError"),
        (
            "bad_cert_server",
            "closing(server.client_context().wrap_socket(closing_socket(server), server_hostname='localhost'))",
            "ssl.SSLCertVerificationError",
        ),
    ],
)
def test_ready_made_server_does_to_a_client_what_its_name_says(run, fixture, meet, error):
    result = run(f"""
        def closing_socket(server):
            return socket.create_connection(server.address, 10)

        def test_it({fixture}):
            server = {fixture}
            with pytest.raises({error}) as raised:
                {meet}
            assert type(raised.value) is {error}
    """)

    result.assert_outcomes(passed=1)


def test_every_classic_mode_has_a_fixture(run):
    listed = run("", "--fixtures")

    for name in pytest_plugin.READY_MADE:
        listed.stdout.re_match_lines([rf"{name}_server -- .*pytest_plugin\.py:\d+"])
        listed.stdout.fnmatch_lines([f"    A server that plays `{name}()` with its defaults."])


def test_fixture_serves_several_servers_and_stops_them(run):
    result = run("""
        servers = []

        def test_serving(faultline):
            servers.extend(faultline.serve(ok(text)) for text in (b"one", b"two"))
            assert [fetch(server) for server in servers] == [b"one", b"two"]

        def test_stopped():
            for server in servers:
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection(server.address, 10)
    """)

    result.assert_outcomes(passed=2)


def test_fixture_serves_with_all_that_the_function_takes(run):
    result = run("""
        def test_it(faultline):
            with socket.socket() as other:
                other.bind(("127.0.0.1", 0))
                port = other.getsockname()[1]
            server = faultline.serve(
                close(after_bytes=90), tls=True, answer=ok(b"a" * 50), host="localhost", port=port, strict=False
            )
            assert (server.port, server.url) == (port, f"https://127.0.0.1:{port}")
            with socket.create_connection(server.address, 10) as raw:
                with server.client_context().wrap_socket(raw, server_hostname="127.0.0.1") as client:
                    client.sendall(GET)
                    with client.makefile("rb") as stream:
                        assert len(stream.read()) == 90
    """)

    result.assert_outcomes(passed=1)


def test_fixture_and_function_have_the_same_parameters():
    of_fixture = inspect.signature(pytest_plugin.Faultline.serve).parameters
    of_function = inspect.signature(faultline.serve).parameters

    assert [p for p in of_fixture.values() if p.name != "self"] == list(of_function.values())


def test_servers_are_stopped_after_a_failing_test_too(run):
    result = run("""
        servers = []

        def test_failing(stall_server, faultline):
            servers.extend([stall_server, faultline.serve(reset())])
            assert False

        def test_stopped():
            for server in servers:
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection(server.address, 10)
    """)

    result.assert_outcomes(passed=1, failed=1)


# --- the marker ------------------------------------------------------------------------------------------


def test_marker_runs_a_test_once_per_fault(run):
    result = run("""
        @pytest.mark.faults(refuse(), reset(after_bytes=10), bad_cert("expired"))
        def test_it(fault_server):
            with pytest.raises(OSError):
                with closing(socket.create_connection(fault_server.address, 10)) as client:
                    if fault_server.url.startswith("https"):
                        client = fault_server.client_context().wrap_socket(client, server_hostname="localhost")
                    client.sendall(GET)
                    while client.recv(100):
                        pass
    """)

    result.assert_outcomes(passed=3)


def test_marked_tests_have_readable_ids(run):
    result = run(
        """
        @pytest.mark.faults(refuse(), reset(at="idle"), bad_cert("expired"), reset(after_bytes=10) & ok(b"hello"))
        def test_it(fault_server): pass
        """,
        "--collect-only",
        "-q",
    )

    assert inner_ids(result) == [
        "refuse()",
        "reset(at='idle')",
        "bad_cert('expired')",
        "reset(after_bytes=10) & ok(b'hello')",
    ]


def test_marker_without_faults_means_the_breaking_cases_that_serve_can_play(run):
    result = run(
        """
        @pytest.mark.faults()
        def test_it(fault_server): pass
        """,
        "--collect-only",
        "-q",
    )

    ids = inner_ids(result)
    assert ids == [repr(case.fault) for case in BREAKING]
    assert {"refuse()", "reset()", "bad_cert('expired')", "blackhole()"} < set(ids)
    assert {"ok()", "echo()"}.isdisjoint(ids)


@pytest.mark.parametrize("point", ["connect", "accept", "handshake", "request", "response", "idle"])
def test_marker_with_a_point_means_the_cases_there(run, point):
    result = run(
        f"""
        @pytest.mark.faults(point={point!r})
        def test_it(fault_server): pass
        """,
        "--collect-only",
        "-q",
    )

    points = (point, "answer") if point == "response" else (point,)
    assert inner_ids(result) == [repr(c.fault) for c in BREAKING if c.point in points]
    assert inner_ids(result) != []


@pytest.mark.parametrize("tls", [True, False])
def test_marker_with_tls_means_the_cases_that_need_it_or_not(run, tls):
    result = run(
        f"""
        @pytest.mark.faults(tls={tls})
        def test_it(fault_server): pass
        """,
        "--collect-only",
        "-q",
    )

    assert inner_ids(result) == [repr(case.fault) for case in BREAKING if case.fault.needs_tls is tls]


@pytest.mark.parametrize("words", ["", "tls=False, ", "point='response', "])
def test_marker_with_http_means_the_cases_that_need_it_or_not(run, words):
    ids = {
        http: inner_ids(
            run(
                f"""
                @pytest.mark.faults({words}http={http})
                def test_it(fault_server): pass
                """,
                *("--collect-only", "-q"),
            )
        )
        for http in (None, True, False)
    }

    assert sorted(ids[True] + ids[False]) == sorted(ids[None])
    assert {"stall()", "reset()"} < set(ids[False])
    assert {"status(503)", "reset(on=b'Host:')", "reset(at='idle')", "reset(after_bytes=10)"}.isdisjoint(ids[False])


@pytest.mark.slow
def test_client_that_speaks_no_http_meets_each_case_without_http(run):
    result = run(
        """
        @pytest.mark.faults(http=False)
        def test_it(fault_server):
            with pytest.raises((OSError, EOFError)):
                with socket.create_connection(fault_server.address, 0.5) as client:
                    if not fault_server.url.startswith("https"):
                        meet(client)
                    with fault_server.client_context().wrap_socket(client, server_hostname="127.0.0.1") as secure:
                        meet(secure)

        def meet(client):
            client.sendall(b"PING\\r\\n")
            assert client.recv(100) == b""  # never a response of HTTP
            raise EOFError
    """
    )

    outcomes = result.parseoutcomes()
    assert outcomes.keys() <= {"passed", "skipped"}
    assert outcomes["passed"] > 40


def test_run_says_how_many_cases_the_markers_have(run):
    result = run(
        """
        @pytest.mark.faults(refuse(), reset())
        def test_one(fault_server): pass

        @pytest.mark.faults(close())
        def test_other(fault_server): pass
    """,
        "--collect-only",
    )

    result.stdout.fnmatch_lines(["faultline: 3 cases for 2 tests with fault_server"])


def test_whole_catalogue_can_be_met(run):
    result = run("""
        @pytest.mark.faults(point="connect")
        class TestConnect:
            def test_it(self, fault_server):
                with pytest.raises(OSError):
                    socket.create_connection(fault_server.address, 0.1)
    """)

    result.assert_outcomes(passed=sum(case.point == "connect" for case in cases()))


@pytest.mark.parametrize(
    ("marker", "said"),
    [
        ("faults(point='acept')", "point='acept': expected one of None, 'connect', 'accept', "),
        ("faults(point='answer')", "point='answer': expected one of "),
        ("faults(http='no')", "http='no': expected one of None, True, False."),
        ("faults(tls='yes')", "tls='yes': expected one of None, True, False."),
        ("faults(reset(), point='accept')", "expected faults, or point=…, tls=… and http=… alone."),
        ("faults(pint='accept')", "expected faults, or point=…, tls=… and http=… alone."),
        ("faults(reset, close)", "; write reset()."),
        ("faults(ok(), None)", "plan=None: expected a fault such as reset() or ok()"),
        ("faults('reset')", "plan='reset': expected a fault such as reset() or ok()"),
    ],
)
def test_marker_with_wrong_arguments_says_what_it_expects(run, marker, said):
    result = run(f"""
        @pytest.mark.{marker}
        def test_it(fault_server): pass
    """)

    result.assert_outcomes(errors=1)
    told = result.stdout.str()
    assert said in told
    assert "Traceback" not in told
    assert "pytest_plugin.py" not in told
    assert re.search(r"^test_inner\.py::test_it: @pytest\.mark\.faults\(.*\): ", told, re.MULTILINE)


def test_wrong_marker_does_not_keep_other_tests_from_running(run):
    result = run("""
        @pytest.mark.faults("reset")
        def test_it(fault_server): pass

        def test_missing(fault_server): pass

        class TestOthers:
            @pytest.mark.faults(refuse())
            def test_other(self, fault_server):
                with pytest.raises(ConnectionRefusedError):
                    fetch(fault_server)
    """)

    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines(["test_inner.py::test_it: @pytest.mark.faults('reset'): plan='reset': expected a *"])
    result.stdout.fnmatch_lines(["test_inner.py::test_missing: fault_server needs the marker *"])


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("@pytest.mark.faults(reset())\ndef test_it(): pass", "test_it"),
        ("@pytest.mark.faults()\ndef test_it(reset_server): pass", "test_it"),
        ("pytestmark = pytest.mark.faults(reset())\ndef test_it(faultline): pass", "test_it"),
        ("@pytest.mark.faults(reset())\nclass TestAll:\n    def test_it(self): pass", "TestAll::test_it"),
        (
            (
                "import unittest\nclass TestAll(unittest.TestCase):\n    @pytest.mark.faults(reset())\n"
                "    def test_it(self): pass"
            ),
            "TestAll::test_it",
        ),
        (
            "@pytest.mark.parametrize('x', [pytest.param(1, marks=pytest.mark.faults(reset()))])\ndef test_it(x): pass",
            "test_it[1]",
        ),
    ],
)
def test_marker_on_a_test_that_takes_no_fault_server_fails_it(run, source, name):
    result = run(source + "\n\ndef test_other(): pass")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert ("passed" in result.parseoutcomes()) is ("pytestmark" not in source)
    assert f"test_inner.py::{name}: @pytest.mark.faults(" in result.stdout.str()
    result.stdout.fnmatch_lines(["*expected a test that takes the fixture fault_server, *"])


def test_marker_is_enough_where_another_fixture_takes_the_server(run):
    result = run("""
        @pytest.fixture
        def client(fault_server):
            return fault_server

        @pytest.mark.faults(refuse())
        def test_it(client):
            with pytest.raises(ConnectionRefusedError):
                fetch(client)
    """)

    result.assert_outcomes(passed=1)


def test_marker_with_one_mode_that_is_not_called_says_what_to_write(run):
    result = run("""
        @pytest.mark.faults(reset)
        def test_it(fault_server): pass
    """)

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*faults(reset())*"])


def test_fault_server_without_the_marker_says_what_is_missing(run):
    result = run("def test_it(fault_server): pass")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fault_server needs the marker @pytest.mark.faults(reset(), …).*"])


def test_marker_is_known(run):
    listed = run("", "--markers")

    listed.stdout.fnmatch_lines(["@pytest.mark.faults(*faults, point=None*"])


def test_fault_that_this_user_may_not_produce_is_skipped_with_the_reason(run):
    result = run(
        """
        import faultline._engine.feasible, faultline._net.sockets

        @pytest.fixture(autouse=True)
        def unprivileged(monkeypatch):
            def refused(*_):
                raise UnsupportedError("partition needs CAP_NET_ADMIN.")
            monkeypatch.setattr(faultline._net.sockets, "check_filter", refused)

        @pytest.mark.faults(partition())
        def test_it(fault_server): pass
        """,
        "-rs",
    )

    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*partition needs CAP_NET_ADMIN."])


# --- the guard -------------------------------------------------------------------------------------------


def test_fault_that_never_struck_is_an_error_of_the_test(run):
    result = run("""
        def test_it(reset_server): pass
    """)

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.re_match_lines(
        [r"reset\(\) never struck: no client connected to 127\.0\.0\.1:\d+\. \(strict=False allows it\.\)"]
    )
    assert "Traceback" not in result.stdout.str()


def test_guard_says_what_happened_instead(run):
    result = run("""
        def test_it(faultline):
            server = faultline.serve(reset(at="idle"))
            with socket.create_connection(server.address, 10) as client:
                client.sendall(b"GET /x HTTP/1.0\\r\\n\\r\\n")
                while client.recv(100):
                    pass
    """)

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["reset(at='idle') never struck: #1 GET /x: reset(at='idle') reached 'response',*"])
    result.stdout.fnmatch_lines(
        ["*The server closed the connection after the response: use at='response', or a client that*"]
    )


def test_guard_names_each_server_whose_fault_never_struck(run):
    result = run("""
        def test_it(reset_server, close_server, stall_server):
            with pytest.raises(http.client.RemoteDisconnected):
                fetch(close_server)
    """)

    result.assert_outcomes(passed=1, errors=1)
    told = result.stdout.str()
    assert set(re.findall(r"(\w+)\(\) never struck: no client connected", told)) == {"reset", "stall"}
    assert "close() never struck" not in told


def test_what_nobody_could_see_is_told_at_the_end_of_the_run(run):
    ran = run(
        """
        def test_refused(faultline):
            faultline.udp(refuse())
        def test_lenient(faultline):
            faultline.udp(refuse(), strict=False)
        """
    )

    ran.assert_outcomes(passed=2)
    ran.stdout.fnmatch_lines(
        [
            "faultline: promises of faults that were not proven: 1",
            "  test_inner.py::test_refused: refuse() may have struck unseen: no datagram came to 127.0.0.1:*",
        ]
    )


def test_long_list_of_what_nobody_could_see_is_cut(run):
    ran = run("@pytest.mark.parametrize('n', range(12))\ndef test_refused(faultline, n):\n    faultline.udp(refuse())")

    ran.stdout.fnmatch_lines(["faultline: promises of faults that were not proven: 12", "  and 2 more"])


@pytest.mark.parametrize("name", ["refuse_server", "blackhole_server"])
def test_guard_judges_connects_that_no_server_sees(run, name):
    run(f"def test_it({name}): pass").assert_outcomes(passed=1, errors=1)


def test_lenient_server_may_stay_unmet(run):
    run("""
        def test_it(faultline):
            faultline.serve(reset(), strict=False)
    """).assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ("assert False", {"failed": 1}),
        ("pytest.skip('not now')", {"skipped": 1}),
        ("pytest.xfail('known')", {"xfailed": 1}),
        ("pytest.fail('so')", {"failed": 1}),
    ],
)
def test_guard_adds_nothing_to_a_test_that_did_not_pass(run, body, outcome):
    result = run(f"""
        def test_it(reset_server):
            {body}
    """)

    result.assert_outcomes(**outcome)


def test_guard_adds_nothing_to_a_test_that_is_expected_to_fail(run):
    result = run("""
        @pytest.mark.xfail(strict=True)
        def test_it(reset_server):
            assert False
    """)

    result.assert_outcomes(xfailed=1)


@pytest.mark.parametrize(("body", "outcome"), [("assert False", {"errors": 1}), ("pytest.skip('no')", {"skipped": 1})])
def test_guard_adds_nothing_to_a_setup_that_did_not_pass(run, body, outcome):
    result = run(f"""
        @pytest.fixture
        def broken(reset_server):
            {body}

        def test_it(broken): pass
    """)

    result.assert_outcomes(**outcome)


@pytest.mark.parametrize("first", ["call", "setup"])
def test_guard_judges_each_run_of_a_test_that_is_run_again(run, pytester, first):
    pytester.makeconftest("""
        from _pytest.runner import runtestprotocol

        def pytest_runtest_protocol(item, nextitem):  # as pytest-rerunfailures does it
            runtestprotocol(item, nextitem=nextitem, log=False)
            item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
            runtestprotocol(item, nextitem=nextitem)
            return True
    """)
    result = run(f"""
        runs = []

        @pytest.fixture
        def shaky(faultline):
            if "{first}" == "setup" and not runs:
                runs.append(1)
                assert False
            return faultline

        def test_it(shaky):
            shaky.serve(reset())
            if not runs:
                runs.append(1)
                assert False
    """)

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["reset() never struck: no client connected *"])


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        ("raise KeyboardInterrupt", pytest.ExitCode.INTERRUPTED),
        ("pytest.exit('enough')", pytest.ExitCode.INTERRUPTED),
        ("pytest.exit('enough', returncode=7)", 7),
        # A run that a shell has put into the background ignores the signal.
        ("signal.signal(2, signal.default_int_handler); signal.raise_signal(2)", pytest.ExitCode.INTERRUPTED),
    ],
)
def test_guard_is_silent_where_the_run_was_interrupted(run_apart, ends, code):
    result = run_apart(f"""
        import signal

        def test_it(faultline):
            faultline.serve(reset())
            {ends}
    """)

    assert result.ret == code
    assert "never struck" not in result.stdout.str() + result.stderr.str()
    assert "Traceback" not in result.stderr.str()


def test_error_inside_the_server_fails_the_test(run):
    result = run("""
        import faultline._engine.talks.http1

        def bug(*args, **kwargs):
            raise RuntimeError("a bug of ours")

        def test_it(faultline, monkeypatch):
            monkeypatch.setattr("faultline._engine.talks.http1.render", bug)
            server = faultline.serve(ok())
            with pytest.raises(http.client.RemoteDisconnected):
                fetch(server)
    """)

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.re_match_lines([r"E .*faultline\.ServerError: the server on .* broke: RuntimeError\('a bug of ours'"])
    result.stdout.fnmatch_lines(["*RuntimeError: a bug of ours"])


def test_error_inside_the_server_is_told_beside_a_failing_test(run):
    result = run("""
        import faultline._engine.talks.http1

        def test_it(faultline, monkeypatch):
            monkeypatch.setattr("faultline._engine.talks.http1.render", lambda *_, **__: 1 / 0)
            fetch(faultline.serve(ok()))
    """)

    result.assert_outcomes(failed=1, errors=1)
    result.stdout.fnmatch_lines(["E *http.client.RemoteDisconnected: *"])
    result.stdout.fnmatch_lines(["E *faultline.ServerError: *division by zero*"])


def test_error_inside_one_server_does_not_keep_the_others_open(run):
    result = run("""
        import faultline._engine.talks.http1
        servers = []

        def test_it(faultline, monkeypatch):
            monkeypatch.setattr("faultline._engine.talks.http1.render", lambda *_, **__: 1 / 0)
            servers.extend([faultline.serve(ok()), faultline.serve(ok())])
            with pytest.raises(http.client.RemoteDisconnected):
                fetch(servers[0])

        def test_stopped():
            for server in servers:
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection(server.address, 10)
    """)

    result.assert_outcomes(passed=2, errors=1)


def test_failing_test_shows_what_happened_at_its_servers(run):
    result = run("""
        def test_it(faultline):
            assert fetch(faultline.serve(close(after_bytes=5))) == b"hello"
    """)

    result.assert_outcomes(failed=1)
    result.stdout.re_match_lines([r"-+ faultline -+", r"http://127\.0\.0\.1:\d+ close\(after_bytes=5\)"])
    result.stdout.fnmatch_lines(
        ["#1 close(after_bytes=5), connection 1, HTTP/1.1", "*struck at 'response' after 5 bytes*"]
    )


# --- the timeout -----------------------------------------------------------------------------------------

LIMITS = """
    @pytest.fixture
    def limit(request):
        marker = request.node.get_closest_marker("timeout")
        return marker and marker.args

    def test_default(limit, stall_server, request):
        with pytest.raises(TimeoutError):
            fetch(stall_server, 0.5)
        assert limit == {default}

    @pytest.mark.timeout(77)
    def test_own(limit, faultline):
        assert limit == (77,)

    @pytest.mark.faults(refuse())
    def test_marked(limit, fault_server):
        with pytest.raises(ConnectionRefusedError):
            fetch(fault_server)
        assert limit == {default}

    def test_other(limit):
        assert limit is None
"""


@pytest.mark.parametrize(
    ("ini", "words", "default"),
    [
        ("", (), "(30.0,)"),
        ("faultline_timeout = 7.5", (), "(7.5,)"),
        ("faultline_timeout = 0", (), "None"),
        ("", ("--timeout", "9"), "None"),
        ("", ("--timeout", "0"), "None"),
        ("timeout = 9", (), "None"),
        ("timeout = 9\nfaultline_timeout = 7", (), "None"),
    ],
)
def test_tests_with_servers_have_a_timeout_unless_they_or_the_run_have_one(run, pytester, ini, words, default):
    pytester.makeini(f"[pytest]\n{ini}")

    run(LIMITS.format(default=default), *words).assert_outcomes(passed=4)


def test_timeout_of_the_environment_wins(run, monkeypatch):
    monkeypatch.setenv("PYTEST_TIMEOUT", "9")

    run(LIMITS.format(default="None")).assert_outcomes(passed=4)


def test_plugin_works_without_pytest_timeout(run):
    run(LIMITS.format(default="None"), "-p", "no:timeout", "-W", "ignore").assert_outcomes(passed=4)


def test_timeout_holds_whatever_name_pytest_timeout_is_loaded_by(pytester, write):
    write(LIMITS.format(default="(30.0,)"))
    names = ("-p", "pytest_timeout", "-p", "faultline.pytest_plugin")

    pytester.runpytest_inprocess(*names, "-p", "no:cacheprovider").assert_outcomes(passed=4)


@pytest.mark.parametrize("value", ["soon", "-1", "nan"])
def test_bad_timeout_is_a_usage_error(run, pytester, value):
    pytester.makeini(f"[pytest]\nfaultline_timeout = {value}")
    result = run("def test_it(reset_server): pass")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"faultline_timeout={value!r}: expected a number of seconds, 0 or more" in result.stderr.str()


def test_hung_client_fails_and_does_not_hang_the_suite(run_apart, pytester):
    pytester.makeini("[pytest]\nfaultline_timeout = 1")
    result = run_apart("""
        def test_hangs(stall_server):
            with socket.create_connection(stall_server.address) as client:
                client.sendall(GET)
                client.recv(1)

        @pytest.mark.timeout(0.5)
        def test_hangs_sooner(blackhole_server):
            socket.create_connection(blackhole_server.address)

        @pytest.mark.timeout(0.5)
        def test_hangs_elsewhere(faultline):
            faultline.serve(ok())
            threading.Event().wait()

        def test_goes_on(reset_server):
            with pytest.raises(ConnectionResetError):
                fetch(reset_server)
    """)

    result.assert_outcomes(passed=1, failed=3)
    result.stdout.re_match_lines([r"E +Failed: Timeout \(>0\.5s\) from pytest-timeout\."])
    for point, limit in (("response", "1.0"), ("connect", "0.5")):
        hung = rf"E +Failed: no timeout: the client was still waiting at `{point}`, .*"
        result.stdout.re_match_lines([rf"{hung} .*Timeout \(>{limit}s\) from pytest-timeout\."])


# --- chance ----------------------------------------------------------------------------------------------

CHANCE = """
def test_chance(faultline):
    server = faultline.serve(sometimes(0.5, ok(b"a"), otherwise=ok(b"b")), strict=False)
    print("drawn:", b"".join(fetch(server) for _ in range(40)).decode())
"""


def drawn(result):
    """What the inner test drew."""
    return [line for line in result.outlines if line.startswith("drawn:")]


def test_seed_repeats_a_run_and_a_run_that_drew_chance_says_it(run):
    first = run(CHANCE, "-rP")
    said = next(
        line for line in first.outlines if line.startswith("faultline made random choices; this option repeats them: ")
    )
    again = run(CHANCE, "-rP", said.rpartition(" ")[2])

    assert drawn(first) == drawn(again) != []
    again.stdout.fnmatch_lines([f"faultline: {said.rpartition(' ')[2]}"])


def test_run_that_drew_no_chance_says_no_seed(run):
    result = run("""
        def test_it(faultline):
            assert fetch(faultline.serve(ok(b"hello"))) == b"hello"
    """)

    assert "made random choices" not in result.stdout.str()


def test_run_says_no_seed_before_the_first_test_unless_it_was_given(run):
    assert "--faultline-seed" not in run("def test_it(reset_server): 1 / 0").stdout.str()


def test_run_without_servers_says_no_seed(run):
    assert "faultline-seed" not in run("def test_it(): pass").stdout.str()


def test_failing_test_that_drew_chance_says_the_seed(run):
    result = run(f"{CHANCE}    assert False", "--faultline-seed", "5")

    result.stdout.re_match_lines([r"-+ faultline chance -+", "--faultline-seed=5 repeats the random choices"])


# --- company ---------------------------------------------------------------------------------------------


SEVERAL = """
@pytest.mark.parametrize("number", range(4))
def test_several(faultline, number):
    assert fetch(faultline.serve(ok(str(number).encode()))) == str(number).encode()

@pytest.mark.faults(refuse(), reset())
def test_marked(fault_server):
    with pytest.raises(ConnectionError):
        fetch(fault_server)

def test_unmet(reset_server): pass
"""


def test_plugin_works_in_several_processes_with_one_seed(run_apart):
    pytest.importorskip("xdist")
    result = run_apart(SEVERAL + CHANCE, "-p", "xdist", "-n", "2", "--faultline-seed=3")

    result.assert_outcomes(passed=8, errors=1)
    result.stdout.fnmatch_lines(["*reset() never struck: no client connected to*"])
    result.stdout.fnmatch_lines(["faultline made random choices; this option repeats them: --faultline-seed=3"])


def test_pytest_asyncio_tests_use_the_same_fixtures(run_apart):
    pytest.importorskip("pytest_asyncio")
    result = run_apart(
        """
        import asyncio

        @pytest.mark.asyncio
        async def test_reset(reset_server):
            reader, writer = await asyncio.open_connection(*reset_server.address)
            writer.write(GET)
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()

        @pytest.mark.asyncio
        async def test_recovers(faultline):
            server = faultline.serve(refuse())
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*server.address)
            server.become(ok(b"hello"))
            reader, writer = await asyncio.open_connection(*server.address)
            writer.write(GET)
            assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200 OK")
            writer.close()
            await writer.wait_closed()

        @pytest.mark.asyncio
        @pytest.mark.faults(close(), close(at="accept"))
        async def test_marked(fault_server):
            reader, writer = await asyncio.open_connection(*fault_server.address)
            writer.write(GET)
            assert await reader.read() == b""
            writer.close()
    """,
        "-p",
        "asyncio",
        "-o",
        "asyncio_default_fixture_loop_scope=function",
    )

    result.assert_outcomes(passed=4)


def test_anyio_tests_use_the_same_fixtures(run_apart):
    pytest.importorskip("anyio")
    result = run_apart(
        """
        import anyio

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @pytest.mark.anyio
        async def test_reset(reset_server):
            async with await anyio.connect_tcp(*reset_server.address) as stream:
                await stream.send(GET)
                with raises(ConnectionResetError):
                    await stream.receive()

        @pytest.mark.anyio
        @pytest.mark.faults(close(), close(at="accept"))
        async def test_marked(fault_server):
            async with await anyio.connect_tcp(*fault_server.address) as stream:
                await stream.send(GET)
                with pytest.raises(anyio.EndOfStream):
                    await stream.receive()
    """,
        "-p",
        "anyio",
    )

    result.assert_outcomes(passed=3)


def test_inner_runs_share_the_loop_of_this_process(run):
    loop = background()
    run("""
        def test_it(reset_server):
            with pytest.raises(ConnectionResetError):
                fetch(reset_server)
    """).assert_outcomes(passed=1)

    assert background() is loop


# --- what loading it costs -------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["", "def test_it(): pass", "def test_it(request): request.config.pluginmanager"])
def test_loading_the_plugin_imports_nothing_heavy(tmp_path, source):
    program = """
        import sys, pytest
        code = pytest.main(["-q", "-p", "faultline.pytest_plugin", "-p", "no:cacheprovider"])
        heavy = {"asyncio", "ssl", "trustme", "cryptography", "h11"} & set(sys.modules)
        own = {name for name in sys.modules if name.startswith("faultline")}
        print(int(code), sorted(heavy), sorted(own) if len(own) < 3 else "faultline._servers.server" in own)
    """
    (tmp_path / "test_light.py").write_text(source, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""},
    )

    assert ran.stderr == ""
    loaded = "False" if source else "['faultline', 'faultline.pytest_plugin']"
    assert ran.stdout.splitlines()[-1] == f"{0 if source else 5} [] {loaded}"


# --- connections that clients still hold -----------------------------------------------------------------


@pytest.mark.parametrize(("leaks", "outcome"), [("true", {"passed": 1, "errors": 1}), ("false", {"passed": 1})])
def test_client_that_still_holds_a_connection_fails_its_test_if_asked(run, pytester, leaks, outcome):
    pytester.makeini(f"[pytest]\nfaultline_leaks = {leaks}")
    result = run("""
        pool = []

        def test_it(faultline):
            server = faultline.serve(ok(b"hello"))
            pool.append(client := http.client.HTTPConnection(*server.address, timeout=10))
            client.request("GET", "/page")
            with client.getresponse() as response:
                assert response.read() == b"hello"

        @pytest.fixture(autouse=True, scope="module")
        def closing_pool():
            yield
            for client in pool:
                client.close()
    """)

    result.assert_outcomes(**outcome)
    if "errors" in outcome:
        result.stdout.fnmatch_lines(["a client still holds connection 1 of http://127.0.0.1:*: #1 GET /page: ok(*"])


def test_clients_that_close_their_connections_pass_the_leak_check(run, pytester):
    pytester.makeini("[pytest]\nfaultline_leaks = true")
    run("""
        def test_it(faultline, reset_server):
            assert fetch(faultline.serve(ok(b"hello"))) == b"hello"
            with pytest.raises(ConnectionResetError):
                fetch(reset_server)

        def test_closed_already(faultline):
            with faultline.serve(ok(b"hello")) as server:
                assert fetch(server) == b"hello"
    """).assert_outcomes(passed=2)


def test_leak_check_adds_nothing_to_a_test_that_failed(run, pytester):
    pytester.makeini("[pytest]\nfaultline_leaks = true")
    run("""
        def test_it(faultline):
            server = faultline.serve(ok(b"hello"))
            with socket.create_connection(server.address, 10) as client:
                client.sendall(GET)
                assert client.recv(1) == b"x"
    """).assert_outcomes(failed=1)


def test_connection_that_is_open_at_the_end_of_a_failing_test_is_drawn_so(run):
    result = run(
        """
        @pytest.fixture
        def client_that_stays():
            with socket.socket() as client:
                yield client

        def test_it(client_that_stays, faultline):
            server = faultline.serve(ok(b"hello"))
            with socket.create_connection(server.address, 10) as done:
                done.sendall(GET)
                assert done.recv(1) == b"H"
            client = socket.create_connection(server.address, 10)
            client.sendall(GET)
            assert client.recv(1) == b"H"
            with client:
                pass
            with socket.create_connection(server.address, 10) as client:
                pass
            client_that_stays.connect(server.address)
            server.wait_for_attempts(4)
            pytest.fail("here", pytrace=False)
    """
    )

    told = result.stdout.str()
    assert told.count("still open when the test ended") == 1
    assert "still open when the test ended" in told.partition("#4 ")[2]


def test_connection_that_a_block_closed_is_drawn_as_open_when_the_server_stopped(run):
    result = run("""
        def test_it():
            with serve(stall()) as server, socket.create_connection(server.address, 10) as client:
                client.sendall(GET)
                server.wait_for_attempts(1, at="strike")
                with server:
                    assert False
    """)

    result.stdout.fnmatch_lines(["*still open when the server stopped*"])


@pytest.mark.parametrize(
    "server",
    ["serve(port=port)", "udp(port=port)", "dns_server(port=port)", "relay('127.0.0.1:1', port=port)", "resolve('')"],
)
def test_server_that_could_not_start_is_left_out_of_the_report(run, server, own_port):
    result = run(f"""
        import faultline

        def test_it():
            with socket.socket(type=socket.SOCK_DGRAM) as other, socket.socket() as another:
                port = {own_port}
                other.bind(("127.0.0.1", port))
                another.bind(("127.0.0.1", port))
                faultline.{server}
    """)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*Error: *: expected *"])
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
    result.stdout.no_fnmatch_line("*-- faultline --*")
