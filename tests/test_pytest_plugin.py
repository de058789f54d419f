"""The plugin: fixtures, marker, guard, the default timeout, chance, and what loading it costs.

Most inner tests stand in tests/inner and run once; where an option counts, or the run ends, they run in this process.
"""

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

# Without plugins of others, which would be imported anew for each inner run.
ALONE = ["-p", "timeout", "-p", "faultline", "-p", "no:cacheprovider", "-W", "error"]
PLACE = re.compile(r"([^\s/]+\.py):\d+: ", re.MULTILINE)  # the file of a frame of a traceback
CLIENT = """
import http.client, pytest, signal, socket, threading
from contextlib import closing
from faultline import *

def fetch(server):
    with closing(http.client.HTTPConnection(*server.address, timeout=10)) as client:
        client.request("GET", "/")
        with client.getresponse() as response:
            return response.read()
"""


@pytest.fixture(scope="module")
def inner(run_inner):
    return run_inner("plugin.py", "-W", "error")


@pytest.fixture(scope="module")
def marked(run_inner):
    """The ids of the parameters of marked tests, by the words of the marker, and what else was said."""
    out = run_inner("marked.py", "--collect-only", "-q").out
    ids = {}
    for words, case in re.findall(r"^marked\.py::test_(\{.*?\}|faults)\[(.*)\]$", out, re.MULTILINE):
        ids.setdefault(words, []).append(case)
    return ids, out


@pytest.fixture
def write(pytester, monkeypatch):
    """A function that writes the inner test file, below the imports that all of them need."""
    monkeypatch.delenv("PYTEST_TIMEOUT", raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return lambda source: pytester.makepyfile(test_inner=CLIENT + textwrap.dedent(source))


@pytest.fixture
def run(pytester, write):
    """A function that runs an inner test file with some arguments, in this process."""

    def ran(source, *arguments):
        write(source)
        return pytester.runpytest_inprocess(*ALONE, *arguments)

    return ran


def outcomes(inner, name):
    """The outcomes of a test, or of each of its parameters."""
    found = {test: came for test, came in inner.outcomes.items() if test == name or test.startswith(f"{name}[")}
    assert found
    return [" ".join(sorted(came)) for came in found.values()]


# --- fixtures --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_ready_made_server_does_to_a_client_what_its_name_says(inner):
    assert outcomes(inner, "test_ready_made") == ["PASSED"] * len(pytest_plugin.READY_MADE)


def test_every_classic_mode_has_a_fixture(run):
    listed = run("", "--fixtures")

    for name in pytest_plugin.READY_MADE:
        listed.stdout.re_match_lines([rf"{name}_server -- .*pytest_plugin\.py:\d+"])
        listed.stdout.fnmatch_lines([f"    A server that plays `{name}()` with its defaults."])


@pytest.mark.slow
def test_fixture_serves_with_all_that_the_function_takes(inner):
    assert outcomes(inner, "test_all_that_the_function_takes") == ["PASSED"]


def test_fixture_and_function_have_the_same_parameters():
    of_fixture = inspect.signature(pytest_plugin.Faultline.serve).parameters
    of_function = inspect.signature(faultline.serve).parameters

    assert [p for p in of_fixture.values() if p.name != "self"] == list(of_function.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "outcome", "then"),
    [
        ("serving", "PASSED", "after_serving"),
        ("failing", "FAILED", "after_failing"),
        ("one_breaks", "ERROR PASSED", "after_one_broke"),
    ],
)
def test_several_servers_are_stopped_whatever_the_test_came_to(inner, first, outcome, then):
    assert outcomes(inner, f"TestStopped::test_{first}") == [outcome]
    assert outcomes(inner, f"TestStopped::test_{then}") == ["PASSED"]


@pytest.mark.slow
def test_report_of_a_test_with_many_servers_draws_the_last_of_them(run):
    result = run("""
        def test_many(faultline):
            servers = [faultline.serve(ok(b"%d" % number)) for number in range(12)]
            assert not servers
        """)

    told = [line for line in result.outlines if re.search(r"ok\(b'\d+'\)$|not drawn", line)]
    assert told[0] == "2 servers before these, not drawn"
    assert [line.rpartition(" ")[2] for line in told[1:]] == [f"ok(b'{number}')" for number in range(2, 12)]


# --- the marker ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_marker_runs_a_test_once_per_fault(inner):
    assert outcomes(inner, "test_once_per_fault") == ["PASSED"] * 3


@pytest.mark.slow
def test_marked_tests_have_readable_ids(marked):
    assert marked[0]["faults"] == [
        "refuse()",
        "reset(at='idle')",
        "bad_cert('expired')",
        "reset(after_bytes=10) & ok(b'x')",
    ]


@pytest.mark.slow
def test_marker_without_faults_means_the_breaking_cases_that_serve_can_play(marked):
    ids = marked[0]["{}"]

    assert ids == [repr(case.fault) for case in BREAKING]
    assert {"refuse()", "reset()", "bad_cert('expired')", "blackhole()"} < set(ids)
    assert {"ok()", "echo()"}.isdisjoint(ids)


@pytest.mark.slow
@pytest.mark.parametrize("point", ["connect", "accept", "handshake", "request", "response", "idle"])
def test_marker_with_a_point_means_the_cases_there(marked, point):
    points = (point, "answer") if point == "response" else (point,)

    assert marked[0][repr({"point": point})] == [repr(c.fault) for c in BREAKING if c.point in points]


@pytest.mark.slow
@pytest.mark.parametrize("tls", [True, False])
def test_marker_with_tls_means_the_cases_that_need_it_or_not(marked, tls):
    assert marked[0][repr({"tls": tls})] == [repr(case.fault) for case in BREAKING if case.fault.needs_tls is tls]


@pytest.mark.slow
@pytest.mark.parametrize("words", [{}, {"tls": False}, {"point": "response"}], ids=repr)
def test_marker_with_http_means_the_cases_that_need_it_or_not(marked, words):
    ids = {http: marked[0][repr({"http": http} | words)] for http in (None, True, False)}

    assert sorted(ids[True] + ids[False]) == sorted(ids[None])
    assert {"stall()", "reset()"} < set(ids[False])
    assert {"status(503)", "reset(on=b'Host:')", "reset(at='idle')", "reset(after_bytes=10)"}.isdisjoint(ids[False])


@pytest.mark.slow
def test_client_that_speaks_no_http_meets_each_case_without_http(inner, marked):
    passed = outcomes(inner, "test_without_http")

    assert set(passed) == {"PASSED"}
    assert 40 < len(passed) <= len(marked[0][repr({"http": False})])  # the others are skipped


@pytest.mark.slow
def test_run_says_how_many_cases_the_markers_have(marked):
    ids, out = marked

    assert f"faultline: {sum(map(len, ids.values()))} cases for {len(ids)} tests with fault_server\n" in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("point", "point='respons': expected one of None, 'connect', 'accept', "),
        ("answer", "point='answer': expected one of "),
        ("http", "http='no': expected one of None, True, False."),
        ("tls", "tls='yes': expected one of None, True, False."),
        ("both", "expected faults, or point=…, tls=… and http=… alone."),
        ("word", "expected faults, or point=…, tls=… and http=… alone."),
        ("uncalled", "; write reset()."),
        ("none", "plan=None: expected a fault such as reset() or ok()"),
        ("text", "plan='reset': expected a fault such as reset() or ok()"),
    ],
)
def test_marker_with_wrong_arguments_says_what_it_expects(inner, name, said):
    (test,) = [test for test in inner.outcomes if test.startswith(f"test_wrong_{name}")]
    told = inner.told[test]

    assert inner.outcomes[test] == ["ERROR"]
    assert said in told
    assert "Traceback" not in told
    assert "pytest_plugin.py" not in told
    assert re.search(rf"^plugin\.py::test_wrong_{name}: @pytest\.mark\.faults\(.*\): ", told, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "test_unused",
        "test_unused_beside_another",
        "TestUnused::test_it",
        "TestUnittest::test_it",
        "test_unused_parameter[1]",
    ],
)
def test_marker_on_a_test_that_takes_no_fault_server_fails_it(inner, name):
    told = inner.told[name.replace("::", ".")]

    assert inner.outcomes[name] == ["ERROR"]
    assert f"plugin.py::{name}: @pytest.mark.faults(" in told
    assert "expected a test that takes the fixture fault_server, " in told


@pytest.mark.slow
def test_marker_of_a_file_fails_each_test_that_takes_no_fault_server(run):
    result = run("pytestmark = pytest.mark.faults(reset())\ndef test_it(faultline): pass\ndef test_other(): pass")

    result.assert_outcomes(errors=2)


@pytest.mark.slow
def test_marker_is_enough_where_another_fixture_takes_the_server(inner):
    assert outcomes(inner, "test_through_another_fixture") == ["PASSED"]


@pytest.mark.slow
def test_marker_with_one_mode_that_is_not_called_says_what_to_write(run):
    result = run("@pytest.mark.faults(reset)\ndef test_it(fault_server): pass")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*faults(reset())*"])


@pytest.mark.slow
def test_fault_server_without_the_marker_says_what_is_missing(inner):
    assert outcomes(inner, "test_no_marker") == ["ERROR"]
    assert "fault_server needs the marker @pytest.mark.faults(reset(), …)." in inner.told["test_no_marker[faults]"]


def test_marker_is_known(run):
    run("", "--markers").stdout.fnmatch_lines(["@pytest.mark.faults(*faults, point=None*"])


@pytest.mark.slow
def test_fault_that_this_user_may_not_produce_is_skipped_with_the_reason(inner):
    assert re.search(r"^SKIPPED .*: partition needs CAP_NET_ADMIN\.$", inner.out, re.MULTILINE)


# --- the guard -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_fault_that_never_struck_is_an_error_of_the_test(inner):
    told = inner.told["test_never_struck[reset_server]"]

    assert outcomes(inner, "test_never_struck") == ["ERROR PASSED"] * 3  # also where no server sees a connect
    assert re.search(
        r"^reset\(\) never struck: no client connected to 127\.0\.0\.1:\d+\. \(strict=False allows it\.\)$",
        told,
        re.MULTILINE,
    )
    assert "Traceback" not in told


@pytest.mark.slow
def test_guard_says_what_happened_instead(inner):
    told = inner.told["test_instead"]

    assert outcomes(inner, "test_instead") == ["ERROR PASSED"]
    assert "reset(at='idle') never struck: #1 GET /x: reset(at='idle') reached 'response'," in told
    assert "The server closed the connection after the response: use at='response', or a client that" in told


@pytest.mark.slow
def test_guard_names_each_server_whose_fault_never_struck(inner):
    told = inner.told["test_two_of_three"]

    assert outcomes(inner, "test_two_of_three") == ["ERROR PASSED"]
    assert set(re.findall(r"(\w+)\(\) never struck: no client connected", told)) == {"reset", "stall"}
    assert "close() never struck" not in told


@pytest.mark.slow
def test_what_nobody_could_see_is_told_at_the_end_of_the_run_up_to_ten(inner):
    first = "  plugin.py::test_unseen[0]: refuse() may have struck unseen: no datagram came to 127.0.0.1:"

    assert outcomes(inner, "test_unseen") == ["PASSED"] * 12
    assert f"\nfaultline: promises of faults that were not proven: 12\n{first}" in inner.out
    assert re.search(r"^  plugin\.py::test_unseen\[9\]: .*\n  and 2 more$", inner.out, re.MULTILINE)


@pytest.mark.slow
def test_lenient_server_may_stay_unmet(inner):
    assert outcomes(inner, "test_lenient") == ["PASSED"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("test_not_passed[fail]", ["FAILED"]),
        ("test_not_passed[skip]", []),
        ("test_not_passed[xfail]", ["XFAIL"]),
        ("test_expected_to_fail", ["XFAIL"]),
        ("test_broken_setup[fail]", ["ERROR"]),
        ("test_broken_setup[skip]", []),
    ],
)
def test_guard_adds_nothing_to_a_test_that_did_not_pass(inner, name, outcome):
    assert inner.outcomes[name] == outcome


@pytest.mark.slow
def test_guard_judges_each_run_of_a_test_that_is_run_again(inner):
    assert outcomes(inner, "test_again[call]") == ["ERROR FAILED PASSED"]
    assert outcomes(inner, "test_again[setup]") == ["ERROR ERROR PASSED"]
    for first in ("call", "setup"):
        assert inner.told[f"test_again[{first}]"].count("reset() never struck: no client connected") == 1


@pytest.mark.slow
@pytest.mark.measured
@pytest.mark.parametrize(
    ("ends", "code"),
    [
        ("raise KeyboardInterrupt", pytest.ExitCode.INTERRUPTED),
        ("pytest.exit('enough', returncode=7)", 7),
    ],
)
def test_guard_is_silent_where_the_run_was_interrupted(pytester, write, capfd, ends, code):
    write(f"""
        def test_it(faultline):
            faultline.serve(reset())
            {ends}
    """)

    assert pytester.inline_run(*ALONE, no_reraise_ctrlc=True).ret == code
    told = "".join(capfd.readouterr())
    assert "1 item" in told
    assert "never struck" not in told


@pytest.mark.slow
def test_error_inside_the_server_fails_the_test(inner):
    told = inner.told["test_error_of_the_server"]

    assert outcomes(inner, "test_error_of_the_server") == ["ERROR PASSED"]
    assert re.search(r"^faultline\.ServerError: the server on .* broke: RuntimeError\('a bug", told, re.MULTILINE)
    assert "\nRuntimeError: a bug of ours\n" in told


@pytest.mark.slow
def test_error_inside_the_server_is_told_beside_a_failing_test(inner):
    told = inner.told["test_error_of_the_server_too"]

    assert outcomes(inner, "test_error_of_the_server_too") == ["ERROR FAILED"]
    assert re.search(r"^http\.client\.RemoteDisconnected: ", told, re.MULTILINE)
    assert re.search(r"^faultline\.ServerError: .*a bug of ours", told, re.MULTILINE)


# --- what a report draws ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_failing_test_shows_what_happened_at_its_servers(inner):
    shown = (
        r"^-+ faultline -+\nhttp://127\.0\.0\.1:\d+ close\(after_bytes=5\)\n#1 close\(after_bytes=5\), connection 1, "
    )
    told = inner.told["test_drawn"]

    assert re.search(shown + "HTTP/1.1$", told, re.MULTILINE)
    assert "struck at 'response' after 5 bytes" in told


@pytest.mark.slow
def test_connection_that_is_open_at_the_end_of_a_failing_test_is_drawn_so(inner):
    before, _, last = inner.told["test_still_open"].partition("#4 ")

    assert "still open when the test ended" not in before
    assert "still open when the test ended" in last


@pytest.mark.slow
def test_connection_that_a_block_closed_is_drawn_as_open_when_the_server_stopped(inner):
    assert "still open when the server stopped" in inner.told["test_block"]


@pytest.mark.slow
@pytest.mark.parametrize("make", ["serve", "udp", "dns_server", "relay", "resolve"])
def test_server_that_could_not_start_is_left_out_of_the_report(inner, make):
    name = f"test_not_started[{make}]"

    assert inner.outcomes[name] == ["FAILED"]
    assert re.search(r"^faultline\.\w+Error: .*: expected ", inner.told[name], re.MULTILINE)
    assert "- faultline -" not in inner.told[name]
    assert "INTERNALERROR" not in inner.out


FAILING = """
    @pytest.fixture
    def refused(faultline):
        return faultline.serve(reset(), port=-1)

    def test_with_a_fixture(refused):
        pass

    def test_raises(faultline):
        with raises(ConnectionResetError):
            fetch(faultline.serve(ok()))

    def test_refused(faultline):
        faultline.serve(reset(), port=-1)

    def test_waits(reset_server):
        reset_server.wait_for_attempts(1, timeout_seconds=0)

    def test_lookup(faultline):
        faultline.resolve("a.example", nxdomain())
        http.client.HTTPConnection("a.example").connect()

    def test_cause_is_a_lookup(faultline):
        faultline.resolve("a.example", nxdomain())
        try:
            socket.getaddrinfo("a.example", 80)
        except OSError as error:
            raise ValueError from error

    def test_hangs(faultline):
        faultline.resolve("a.example", slow_resolve(60) & nxdomain())
        signal.setitimer(signal.ITIMER_REAL, 0.2)  # the time of the test, which would be half a minute
        socket.getaddrinfo("a.example", 80)

    def test_mistake_of_ours(faultline, monkeypatch):
        monkeypatch.setattr("faultline._servers.start.Server", lambda *_, **__: 1 / 0)
        faultline.serve(ok())

    @pytest.fixture
    def broken(monkeypatch):
        monkeypatch.setattr("faultline._servers.start.Server", refuse)

    def test_mistake_of_ours_in_a_fixture_of_ours(broken, reset_server):
        pass
"""


@pytest.mark.slow
@pytest.mark.measured
def test_traceback_of_an_error_that_faultline_tells_ends_in_the_test(run):
    ended, mistake, full = (
        PLACE.findall(run(FAILING, "--tb=short", *options).stdout.str())
        for options in (["-k", "not mistake"], ["-k", "mistake"], ["-k", "test_refused", "--full-trace"])
    )

    client = ["test_inner.py", "client.py", "socket.py"]
    assert ended == [*["test_inner.py"] * 4, *client, *["test_inner.py"] * 3]
    assert mistake.count("start.py") == 2
    assert "start.py" in full


# --- connections that clients still hold -----------------------------------------------------------------------------

LEAKING = """
    pool = []

    def test_held(faultline):
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

    def test_closed(faultline, reset_server):
        assert fetch(faultline.serve(ok(b"hello"))) == b"hello"
        with pytest.raises(ConnectionResetError):
            fetch(reset_server)

    def test_closed_already(faultline):
        with faultline.serve(ok(b"hello")) as server:
            assert fetch(server) == b"hello"

    def test_failed(faultline):
        server = faultline.serve(ok(b"hello"))
        pool.append(client := socket.create_connection(server.address, 10))
        client.sendall(b"GET / HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n")
        assert client.recv(1) == b"x"
"""


@pytest.mark.slow
def test_client_that_still_holds_a_connection_fails_its_test_if_asked(run):
    result = run(LEAKING, "-o", "faultline_leaks=true")

    result.assert_outcomes(passed=3, errors=1, failed=1)
    result.stdout.fnmatch_lines(["a client still holds connection 1 of http://127.0.0.1:*: #1 GET /page: ok(*"])
    result.stdout.fnmatch_lines(["ERROR test_inner.py::test_held*"])


@pytest.mark.slow
def test_client_may_hold_a_connection_unless_asked(run):
    run(LEAKING).assert_outcomes(passed=3, failed=1)


# --- the timeout -----------------------------------------------------------------------------------------------------

LIMITS = """
    @pytest.fixture
    def limit(request):
        marker = request.node.get_closest_marker("timeout")
        return marker and marker.args

    def test_default(limit, reset_server):
        with pytest.raises(ConnectionResetError):
            fetch(reset_server)
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ini", "words", "default"),
    [
        ("", (), "(30.0,)"),
        ("faultline_timeout = 7.5", (), "(7.5,)"),
        ("faultline_timeout = 0", (), "None"),
        ("", ("--timeout", "9"), "None"),
        ("", ("--timeout", "0"), "None"),
        ("timeout = 9\nfaultline_timeout = 7", (), "None"),
        ("", ("-p", "no:timeout", "-W", "ignore"), "None"),
    ],
)
def test_tests_with_servers_have_a_timeout_unless_they_or_the_run_have_one(run, pytester, ini, words, default):
    pytester.makeini(f"[pytest]\n{ini}")

    run(LIMITS.format(default=default), *words).assert_outcomes(passed=4)


@pytest.mark.slow
def test_timeout_of_the_environment_wins(run, monkeypatch):
    monkeypatch.setenv("PYTEST_TIMEOUT", "9")

    run(LIMITS.format(default="None")).assert_outcomes(passed=4)


@pytest.mark.slow
def test_timeout_holds_whatever_name_pytest_timeout_is_loaded_by(pytester, write):
    write(LIMITS.format(default="(30.0,)"))
    names = ("-p", "pytest_timeout", "-p", "faultline.pytest_plugin")

    pytester.runpytest_inprocess(*names, "-p", "no:cacheprovider").assert_outcomes(passed=4)


@pytest.mark.parametrize("value", ["soon", "-1", "nan"])
def test_bad_timeout_is_a_usage_error(run, value):
    result = run("def test_it(reset_server): pass", "-o", f"faultline_timeout={value}")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"faultline_timeout={value!r}: expected a number of seconds, 0 or more" in result.stderr.str()


# --- chance ----------------------------------------------------------------------------------------------------------

CHANCE = """
def test_chance(faultline):
    server = faultline.serve(sometimes(0.5, ok(b"a"), otherwise=ok(b"b")), strict=False)
    pytest.fail(f"drawn: {b''.join(fetch(server) for _ in range(40)).decode()}")
"""


@pytest.mark.slow
@pytest.mark.measured
def test_seed_repeats_a_run_and_a_run_that_drew_chance_says_it(run):
    first = run(CHANCE)
    said = re.search(
        "(?m)^faultline made random choices; this option repeats them: (--faultline-seed=.*)$", str(first.stdout)
    )
    again = run(CHANCE, said[1])

    assert first.outlines.count(f"{said[1]} repeats the random choices") == 1
    assert [line for line in first.outlines if line.startswith("E ")] == [
        line for line in again.outlines if line.startswith("E ")
    ]
    first.stdout.fnmatch_lines(["E *drawn: *"])
    again.stdout.fnmatch_lines([f"faultline: {said[1]}", "*- faultline chance -*"])


@pytest.mark.slow
@pytest.mark.parametrize("source", ["def test_it(faultline): fetch(faultline.serve(reset()))", "def test_it(): pass"])
def test_run_that_drew_no_chance_says_no_seed(run, source):
    told = run(source).stdout.str()

    assert "made random choices" not in told
    assert "faultline-seed" not in told


# --- company ---------------------------------------------------------------------------------------------------------


def test_inner_runs_share_the_loop_of_this_process(run):
    loop = background()
    run("""
        def test_it(reset_server):
            with pytest.raises(ConnectionResetError):
                fetch(reset_server)
    """).assert_outcomes(passed=1)

    assert background() is loop


@pytest.mark.slow
@pytest.mark.measured
def test_loading_the_plugin_imports_nothing_heavy(tmp_path):
    program = """
        import sys, pytest
        for file in ("test_empty.py", "test_light.py"):
            code = pytest.main(["-q", "-p", "faultline.pytest_plugin", "-p", "no:cacheprovider", file])
            heavy = {"asyncio", "ssl", "trustme", "cryptography", "h11"} & set(sys.modules)
            own = {name for name in sys.modules if name.startswith("faultline")}
            print(int(code), sorted(heavy), sorted(own) if len(own) < 3 else "faultline._servers.server" in own)
    """
    (tmp_path / "test_empty.py").write_text("", encoding="utf-8")
    (tmp_path / "test_light.py").write_text(
        "def test_it(): pass\ndef test_asking(request): request.config.pluginmanager", encoding="utf-8"
    )
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""},
    )

    assert ran.stderr == ""
    told = [line for line in ran.stdout.splitlines() if re.match(r"\d \[", line)]
    assert told == ["5 [] ['faultline', 'faultline.pytest_plugin']", "0 [] False"]
