"""Isolated servers: in a child process, and else like any other server."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import http.client
import operator
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import time
import urllib.request
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from support import GET, in_fork, nothing_left

from faultline import (
    Gate,
    ParameterError,
    PortError,
    ServerError,
    bad_cert,
    close,
    corrupt,
    cycle,
    half_close,
    inject,
    latency,
    ok,
    raises,
    receive_until,
    refuse,
    relay,
    reset,
    script,
    send,
    sequence,
    serve,
    sometimes,
    stall,
    unreachable,
    when,
)
from faultline._core.chance import enter
from faultline._servers.isolated.child import sendable
from faultline._servers.isolated.link import pack


def converse(server, timeout=10, said=GET):
    """Ask once by a plain socket: all that came, and how it ended."""
    got = b""
    try:
        with socket.create_connection(server.address, timeout=timeout) as client:
            client.sendall(said)
            while piece := client.recv(65536):
                got += piece
    except OSError as error:
        return got, type(error)
    return got, None


def timeless(attempts):
    """Attempts without what differs from run to run."""
    return [
        replace(
            attempt,
            started_seconds=0.0,
            ended_seconds=None,
            waited_seconds=None,
            strikes=tuple(replace(strike, at_seconds=0.0) for strike in attempt.strikes),
            ends=(),  # a client may hang up before or after the server's end
            turns=tuple(replace(turn, at_seconds=0.0, until_seconds=0.0, pauses=()) for turn in attempt.turns),
        )
        for attempt in attempts
    ]


# --- the same as in this process -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "plan",
    [
        ok(b"hello"),
        ok(b"hello", headers={"X-Thing": "1"}),
        reset(),
        reset(after_bytes=20),
        reset(at="accept"),
        reset(on=b"Host:"),
        close(after_bytes=20),
        close(at="request", after_bytes=3),
        half_close(),
        stall(for_seconds=0.01),
        inject(b"nonsense", after_bytes=30),
        corrupt(at_byte=10),
        latency(0.01) & close(after_bytes=50),
        script(receive_until(b"\r\n\r\n"), send(b"220 hello\r\n")),
        when(operator.truth, reset(after_bytes=5)),
        sometimes(0.5, reset(), seed=4),
        sequence(reset(), refuse(), close(), ok(b"at last")),
        cycle(refuse(), reset()),
        unreachable(),
    ],
    ids=repr,
)
def test_client_and_ledger_see_the_same_as_of_a_server_in_this_process(plan):
    seen = []

    for isolated in (False, True):
        with serve(plan, isolated=isolated, strict=False) as server:
            outcomes = [converse(server) for _ in range(4)]
            server.wait_for_attempts(len(server.attempts), at="end")
        seen.append((outcomes, timeless(server.attempts), repr(server).replace(str(server.port), "port")))

    assert seen[0] == seen[1]


def test_fault_with_a_gate_is_the_one_that_was_planned(faultline):
    gate = Gate()
    fault = stall(until=gate)
    server = faultline.serve(fault, isolated=True)

    gate.open()
    gate.open()
    converse(server)

    assert server.wait_for_attempts(1, at="end") == server.attempts
    (attempt,) = server.attempts
    assert attempt.fault == fault
    assert attempt.fault != stall(until=Gate())
    assert attempt.fault.break_.steps[0].until is gate


def test_request_and_its_body_are_in_the_ledger(faultline):
    server = faultline.serve(ok(), isolated=True)
    body = bytes(range(256)) * 10_000

    with contextlib.closing(http.client.HTTPConnection(*server.address, timeout=10)) as client:
        client.request("POST", "/thing?x=1", body)
        client.getresponse().read()

    request = server.attempts[0].request
    assert (request.method, request.target, request.body_bytes) == ("POST", "/thing?x=1", len(body))
    assert request.body == body


# --- TLS -------------------------------------------------------------------------------------------------------------


def fetch(server, context):
    with urllib.request.urlopen(server.url, timeout=10, context=context) as response:
        return response.read()


@pytest.mark.slow
@pytest.mark.measured
def test_the_test_ca_is_that_of_the_child(faultline, monkeypatch):
    server = faultline.serve(ok(b"secret"), tls="mutual", isolated=True)
    by_hand = ssl.create_default_context(cafile=server.ca_file)
    by_hand.load_cert_chain(server.client_cert_file)

    assert fetch(server, by_hand) == b"secret"
    assert fetch(server, server.client_context(certificate=True)) == b"secret"
    assert {(a.tls.version, a.tls.client) for a in server.attempts} == {("TLSv1.3", server.attempts[0].tls.client)}
    assert server.attempts[0].tls.client

    revoked = faultline.serve(bad_cert("revoked"), isolated=True)
    context = revoked.client_context()
    context.load_verify_locations(revoked.crl_file)
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    with raises(ssl.SSLCertVerificationError) as caught:
        fetch(revoked, context)
    assert caught.cause.verify_message == "certificate revoked"

    trusted = faultline.serve(ok(b"secret"), tls=True, isolated=True)
    trusted.trust(monkeypatch)
    assert fetch(trusted, ssl.create_default_context()) == b"secret"


def test_client_context_is_the_one_of_a_server_in_this_process(faultline):
    contexts = [faultline.serve(ok(), tls=True, isolated=i, strict=False).client_context() for i in (False, True)]

    settings = ("minimum_version", "maximum_version", "verify_mode", "verify_flags", "check_hostname", "options")
    here, isolated = ({name: getattr(context, name) for name in settings} for context in contexts)
    assert here == isolated


# --- what is wrong ---------------------------------------------------------------------------------------------------

WRONG = {
    "a function": lambda **where: serve(reset, **where),
    "no plan": lambda **where: serve(None, **where),
    "host": lambda **where: serve(reset(), host="nonsense", **where),
    "host of another machine": lambda **where: serve(reset(), host="192.0.2.1", **where),
    "port": lambda **where: serve(reset(), port=70_000, **where),
    "tls": lambda **where: serve(reset(), tls="yes", **where),
    "strict": lambda **where: serve(reset(), strict="yes", **where),
    "answer": lambda **where: serve(reset(), answer=reset(), **where),
    "nobody behind it": lambda **where: serve(inject(b"x", at="request"), **where),
    "upstream": lambda **where: relay("nonsense", **where),
    "upstream of another machine": lambda **where: relay("192.0.2.1:80", **where),
    "relay of what needs TLS": lambda **where: relay("127.0.0.1:1", bad_cert(), **where),
}


def test_bad_parameters_raise_what_they_raise_in_this_process():
    for start in WRONG.values():
        raised = []
        for isolated in (False, True):
            with pytest.raises((ParameterError, PortError)) as caught:
                start(isolated=isolated)
            raised.append((type(caught.value), str(caught.value)))

        assert raised[0] == raised[1]


def test_bad_calls_raise_what_they_raise_in_this_process(faultline):
    server = faultline.serve(ok(), isolated=True)

    with pytest.raises(PortError, match=rf"^port={server.port}: expected a free port, but "):
        serve(ok(), port=server.port, isolated=True)
    with pytest.raises(ParameterError, match=r"^bad_cert\('expired'\): expected tls=True; the server was started"):
        server.become(bad_cert("expired"))
    with pytest.raises(ParameterError, match=r"^count=-1: expected a whole number"):
        server.wait_for_attempts(-1)
    with pytest.raises(ParameterError, match=r"^at='lunch': expected one of "):
        server.wait_for_attempts(1, at="lunch")
    assert converse(server)[1] is None


def test_plan_with_a_lambda_can_not_be_isolated(faultline):
    plan = when(lambda request: request.target == "/pay", reset())
    server = faultline.serve(ok(b"well"), isolated=True)
    expected = r"^isolated=True: expected a plan that can be sent to another process: Can't (pickle|get) local object"

    with pytest.raises(ParameterError, match=expected):
        faultline.serve(plan, isolated=True)
    with pytest.raises(ParameterError, match=expected):
        server.become(plan)

    assert converse(server)[0].endswith(b"well")


def test_chance_follows_the_seed_of_the_run():
    dealt = []

    for _ in range(2):
        scope = enter("one and the same")
        with serve(sometimes(0.5, reset()), isolated=True) as server:
            dealt.append([converse(server)[1] for _ in range(20)])

    assert dealt[0] == dealt[1]
    assert scope.was_used


# --- gates -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_gate_that_was_opened_before_it_was_planned(faultline):
    gate = Gate()
    gate.open()
    server = faultline.serve(ok(), isolated=True, strict=False)

    server.become(stall(until=gate))
    gc.collect()

    assert converse(server, timeout=1)[1] is None


def test_gate_is_for_all_servers_that_wait_at_it(faultline):
    gate = Gate()
    servers = [faultline.serve(stall(until=gate), answer=ok(b"on"), isolated=True) for _ in range(3)]

    with ThreadPoolExecutor() as threads:
        clients = [threads.submit(converse, server) for server in servers]
        for server in servers:
            server.wait_for_attempts(1, at="response")
        gate.open()

        assert [client.result()[0][-2:] for client in clients] == [b"on"] * 3


@pytest.mark.slow
def test_gate_opens_nothing_but_itself(faultline):
    first, second = Gate(), Gate()
    server = faultline.serve(sequence(stall(until=first), stall(until=second)), isolated=True)

    first.open()

    assert converse(server)[1] is None
    assert converse(server, timeout=0.1) == (b"", TimeoutError)
    assert (first.is_open, second.is_open) == (True, False)


def test_gate_of_a_server_that_was_closed_holds_for_the_next(faultline):
    gate = Gate()
    with serve(stall(until=gate), isolated=True, strict=False):
        pass
    gate.open()
    gc.collect()

    server = faultline.serve(stall(until=gate), answer=ok(b"on"), isolated=True)

    assert converse(server, timeout=1)[0].endswith(b"on")


def test_gate_is_opened_from_asyncio(faultline):
    gate = Gate()
    server = faultline.serve(stall(until=gate), answer=ok(b"on"), isolated=True)

    async def talk():
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(GET)
        await asyncio.to_thread(server.wait_for_attempts, 1, at="response")
        gate.open()
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    assert asyncio.run(asyncio.wait_for(talk(), 10)).endswith(b"on")


@pytest.mark.slow
def test_gate_is_forgotten_with_its_server():
    gate = Gate()
    known = weakref.ref(gate)
    with serve(stall(until=gate), isolated=True, strict=False) as server:
        converse(server, timeout=0.1)
        assert server.attempts[0].struck.point == "response"

    del gate, server
    serve(ok(), isolated=True).close()  # the last answer of the child may be kept until the next
    gc.collect()

    assert known() is None


def test_an_error_that_cannot_be_sent_says_what_it_was():
    class OursError(Exception):
        """Of a class that the parent can't find."""

    good = ValueError("as it is")

    assert sendable(good) is good
    assert repr(sendable(OursError("no way"))) == "RuntimeError('OursError: no way')"


def test_gates_are_found_wherever_they_are_in_a_value():
    one, two = Gate(), Gate()

    assert pack(([stall(until=one)], {"until": two, "again": one}))[1] == [one, two]


# --- one child -------------------------------------------------------------------------------------------------------


def children():
    """The processes that this one has started to be isolated in."""
    known = [pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()]
    return [int(pid) for pid in known if b"isolated.child" in Path(f"/proc/{pid}/cmdline").read_bytes()]


HELPERS = """
import os, pathlib, signal, socket, sys, threading
from faultline import *


def converse(server, timeout=10):
    try:
        with socket.create_connection(server.address, timeout=timeout) as client:
            client.sendall(b"GET / HTTP/1.1\\r\\nHost: test\\r\\nConnection: close\\r\\n\\r\\n")
            return client.makefile("rb").read()
    except OSError as error:
        return error


def children():
    tasks = pathlib.Path("/proc/self/task").iterdir()
    known = [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
    return [pid for pid in known if b"isolated.child" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()]


def tried(function, *args):
    try:
        return function(*args)
    except Exception as error:
        return error
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A function that writes a program, and modules for it: the command that runs it."""
    package = Path(sys.modules["faultline"].__file__).parent.parent
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH")])))

    def written(source, **modules):
        for name, text in {"helpers": HELPERS, **modules}.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        (tmp_path / "program.py").write_text("from helpers import *\n" + textwrap.dedent(source))
        return [sys.executable, str(tmp_path / "program.py")]

    return written


@pytest.fixture
def run(program):
    """A function that runs a program until it has ended, and all that holds its output."""

    def ran(source, **modules):
        return subprocess.run(program(source, **modules), capture_output=True, text=True, check=False)

    return ran


def test_many_servers_have_one_child(faultline):
    servers = [faultline.serve(ok(), isolated=True) for _ in range(5)]

    assert len(children()) == 1
    assert len({server.port for server in servers}) == 5


def test_server_is_used_by_several_threads_at_once(faultline):
    server = faultline.serve(ok(b"hello"), isolated=True)

    def ask(_):
        got, _ = converse(server)
        return got[-5:], len(server.attempts)

    with ThreadPoolExecutor(8) as threads:
        answers, counts = zip(*threads.map(ask, range(16)), strict=True)

    assert set(answers) == {b"hello"}
    assert [a.number for a in server.attempts] == list(range(1, max(counts) + 1)) == list(range(1, 17))


@pytest.mark.slow
def test_nothing_is_left_of_closed_servers():
    def one():
        with serve(sequence(reset(), refuse(), ok()), isolated=True) as server:
            for _ in range(4):
                converse(server)

    one()
    (child,) = children()
    theirs = Path(f"/proc/{child}/fd")
    before = len(list(theirs.iterdir()))
    with nothing_left():
        for _ in range(5):
            one()

    assert len(list(theirs.iterdir())) == before
    assert children() == [child]


@pytest.mark.slow
def test_answers_come_while_the_main_thread_holds_the_interpreter(faultline):
    server = faultline.relay(faultline.serve(ok(b"hello"), isolated=True), isolated=True)
    lap = f"""
import socket, time
while True:
    began = time.monotonic()
    with socket.create_connection({server.address!r}, timeout=10) as client:
        client.sendall({GET!r})
        while client.recv(1000):
            pass
    print(began, time.monotonic(), flush=True)
"""

    with subprocess.Popen([sys.executable, "-c", lap], stdout=subprocess.PIPE) as client:
        client.stdout.readline()
        answered, count = False, 1_000_000
        while not answered:  # for longer and longer, until the other process has got its turn
            held_from = time.monotonic()
            sum(range(count))  # one call of C, which lets no other thread run
            held_until = time.monotonic()
            count *= 2
            ended = 0.0
            while ended < held_until:
                began, ended = map(float, client.stdout.readline().split())
                answered |= held_from < began and ended < held_until
        client.terminate()

    assert answered


# --- relays ----------------------------------------------------------------------------------------------------------


def test_isolated_relay_plays_its_plan(faultline):
    upstream = faultline.serve(ok(b"hello"), isolated=True)
    server = faultline.relay(upstream, sequence(reset(after_bytes=20), reset(on=b"Host:"), ok()), isolated=True)

    outcomes = [converse(server) for _ in range(3)]

    assert [(got[-5:], error) for got, error in outcomes] == [
        (b"\r\nCon", ConnectionResetError),
        (b"", ConnectionResetError),
        (b"hello", None),
    ]
    assert [(a.connection, a.sent_bytes) for a in server.attempts][:2] == [(1, 20), (2, 0)]
    upstream.become(refuse())
    converse(server)
    (*_, attempt) = server.wait_for_attempts(4, at="end")
    assert attempt.note.startswith(f"the upstream {upstream.hostport} could not be reached: [Errno 111]")


@pytest.mark.slow
def test_relay_ends_tls(faultline):
    upstream = faultline.serve(ok(b"hello"), isolated=True)
    server = faultline.relay(upstream, tls="terminate", isolated=True)

    assert fetch(server, server.client_context()) == b"hello"
    assert (server.attempts[0].tls.version, upstream.attempts[0].tls) == ("TLSv1.3", None)


def test_relay_injects_towards_its_upstream(faultline):
    upstream = faultline.serve(ok(), isolated=True)
    server = faultline.relay(
        upstream, inject(b"X-More: yes\r\n", at="request", after_bytes=len(b"GET / HTTP/1.1\r\n")), isolated=True
    )

    converse(server)

    assert upstream.attempts[0].request.header("X-More") == "yes"


def test_relay_finds_a_socket_file_from_where_the_test_is(faultline, tmp_path, monkeypatch):
    faultline.serve(ok(), isolated=True)  # the child is there before the directory changes
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as upstream:
        upstream.bind("up.sock")
        upstream.listen()
        server = faultline.relay("./up.sock", isolated=True)

        with socket.create_connection(server.address, timeout=10):
            server.wait_for_attempts(1)
            upstream.settimeout(1)
            upstream.accept()[0].close()


# --- ends ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_child_that_is_killed_is_an_error_and_no_hang_and_the_next_server_has_a_new_one():
    server, refusing = serve(stall(), isolated=True, strict=False), serve(refuse(), isolated=True)
    addresses = server.address, refusing.address
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(server.wait_for_attempts, 5, 60)
        (child,) = children()
        os.kill(child, signal.SIGKILL)
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        for address in addresses:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address)
        asks = [waiting.result, lambda: server.attempts, lambda: server.become(ok()), server.reset_all]
        for ask in [*asks, server.close, refusing.close]:
            with pytest.raises(ServerError, match=r"^the child process of isolated servers has ended\.$"):
                ask()

    with serve(ok(b"hello"), isolated=True) as server:
        assert converse(server)[0].endswith(b"hello")
        assert len(children()) == 1


@pytest.mark.slow
def test_child_ends_with_a_parent_that_has_closed_nothing(run):
    """Each child holds the output too, so that it has ended when this returns."""
    result = run("""
        import select, warnings

        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: forking with threads

        def forked(leave):
            if not os.fork():
                server = serve(stall(), isolated=True, strict=False)
                client = socket.create_connection(server.address)
                server.wait_for_attempts(1)
                print(server.port, flush=True)
                leave()

        def leave_a_fork_behind():
            watched = os.pidfd_open(children()[0])
            reading, writing = os.pipe()
            if not os.fork():
                os.close(writing)
                os.read(reading, 1)  # until the parent has ended
                print(bool(select.select([watched], [], [], 10)[0]), flush=True)
            os._exit(0)

        forked(lambda: sys.exit(3))
        forked(lambda: os.kill(os.getpid(), signal.SIGKILL))
        forked(leave_a_fork_behind)
        for _ in range(3):
            os.wait()
    """)

    assert (result.returncode, result.stderr) == (0, "")
    told = result.stdout.split()
    assert told.count("True") == 1
    for port in [int(word) for word in told if word != "True"]:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=10)


@pytest.mark.slow
@pytest.mark.measured
@pytest.mark.everywhere
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_forked_process_has_a_child_of_its_own_and_harms_none_of_its_parents(faultline):
    gate = Gate()
    server, gated = faultline.serve(ok(b"parent"), isolated=True), faultline.serve(stall(until=gate), isolated=True)

    def use_its_own():
        with serve(ok(b"forked"), isolated=True) as own:
            return converse(own)[0][-6:], len(children())

    assert in_fork(use_its_own) == "(b'forked', 1)"
    assert in_fork(gate.open) == "None"
    with socket.create_connection(gated.address, 10) as client:
        client.sendall(GET)
        gated.wait_for_attempts(1, at="strike")
        client.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.recv(1)
    assert not gate.is_open
    assert converse(server)[0].endswith(b"parent")
    assert len(server.attempts) == 1


@pytest.mark.slow
@pytest.mark.measured
@pytest.mark.everywhere
def test_servers_of_one_process_have_one_child_whatever_it_may_not_load(program, tmp_path):
    """The working directory has a module by the name of one that the library imports."""
    command = program(
        """
        import multiprocessing
        from concurrent.futures import ThreadPoolExecutor
        from types import SimpleNamespace

        def talk(address):
            print(converse(SimpleNamespace(address=address))[-6:], flush=True)
            with serve(ok(b"spawned"), isolated=True) as own:
                print(converse(own)[-7:], flush=True)

        def pays(request):
            return request.target == "/pay"

        def one(number):
            start.wait()
            with serve(ok(b"%d" % number), isolated=True) as server:
                return converse(server)[-1:].decode()

        if __name__ == "__main__":
            start = threading.Barrier(8)
            with ThreadPoolExecutor(8) as threads:
                print(*threads.map(one, range(8)), len(children()))
            with serve(ok(b"parent"), isolated=True) as server:
                print(type(tried(lambda: serve(when(pays, reset()), isolated=True))).__name__, flush=True)
                os.chdir("..")  # a spawned process looks for modules of its own there
                process = multiprocessing.get_context("spawn").Process(target=talk, args=(server.address,))
                process.start()
                process.join()
                print(process.exitcode, len(server.attempts))
            gate = Gate()
            with serve(stall(until=gate), answer=ok(b"on"), isolated=True) as server:
                import has_a_gate
                with serve(when(has_a_gate.always, ok()), isolated=True):
                    gate.open()
                    print(converse(server)[-2:])
        """,
        has_a_gate="""
        from faultline import Gate
        gate = Gate()
        def always(request):
            return True
        """,
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "selectors.py").write_text("raise ImportError('the wrong one')")

    result = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, check=False)

    assert result.stdout.splitlines() == [
        "0 1 2 3 4 5 6 7 1",
        "ParameterError",
        "b'parent'",
        "b'spawned'",
        "0 1",
        "b'on'",
    ]
    assert result.stderr == ""


@pytest.mark.slow
def test_interrupt_of_the_whole_process_group_is_not_the_childs(program):
    command = program("""
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's `&` has it ignored
        server = serve(ok(b"still"), isolated=True)
        try:
            print("ready", flush=True)
            threading.Event().wait()
        except KeyboardInterrupt:
            print(converse(server)[-5:], len(server.attempts))
        server.close()
    """)

    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            os.killpg(process.pid, signal.SIGINT)
            out, err = process.communicate()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    assert (out, err, process.returncode) == ("b'still' 1\n", "", 0)


# --- under pytest ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.measured
def test_fixture_stops_isolated_servers_guards_their_faults_and_outlives_their_child(run_inner):
    inner = run_inner("plugin.py", "-W", "error")

    assert {name[14:]: came for name, came in inner.outcomes.items() if name.startswith("TestIsolated::")} == {
        "test_struck": ["PASSED"],
        "test_after_it_struck": ["PASSED"],
        "test_never_struck": ["PASSED", "ERROR"],
        "test_fails": ["FAILED"],
        "test_killed": ["ERROR", "FAILED"],
        "test_goes_on": ["PASSED"],
    }
    unmet, failed, killed = (inner.told[f"TestIsolated.test_{name}"] for name in ("never_struck", "fails", "killed"))
    assert re.search(r"^reset\(\) never struck: no client connected to 127\.0\.0\.1:\d+\.", unmet, re.MULTILINE)
    assert "FIN: struck at 'response' after 20 bytes" in failed
    assert "\nfaultline.ServerError: the child process of isolated servers has ended.\n" in killed


def test_error_of_the_child_at_a_connect_is_the_servers_and_not_the_clients(monkeypatch):
    server = serve(refuse(), isolated=True)
    handle = server._process._handle
    ask = handle.ask

    def asked(method, *args, **options):
        if method == "before_connect":
            raise ServerError("the child is dumb")
        return ask(method, *args, **options)

    monkeypatch.setattr(handle, "ask", asked)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(server.address)
    with pytest.raises(ServerError, match="the child is dumb"):
        server.close()


def test_server_that_is_collected_while_another_is_asked_is_forgotten_later():
    server = serve(ok(b"hello"), isolated=True)
    handle, address = server._process._handle, server.address
    child, number = handle._child, handle._number
    del handle

    with child._sending:  # as in the middle of a message, where the collector may run
        del server
        gc.collect()
        assert number in child._forgotten
    with serve(ok(), isolated=True):
        assert number not in child._forgotten
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


def test_a_port_that_is_taken_is_the_same_error_from_another_process():
    said = []
    with serve(ok()) as other:
        for isolated in (False, True):
            with pytest.raises(PortError) as caught:
                serve(ok(), port=other.port, isolated=isolated)
            said.append(str(caught.value))

    assert said[0] == said[1]
