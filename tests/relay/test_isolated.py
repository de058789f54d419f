"""Isolated servers: in a child process, and else like any other server."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import http.client
import json
import math
import operator
import os
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from faultline import (
    Gate,
    NotStruckError,
    ParameterError,
    PortError,
    ServerError,
    UnsupportedError,
    WaitError,
    bad_cert,
    blackhole,
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

GET = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
PLACES = pytest.mark.parametrize("isolated", [False, True], ids=["here", "isolated"])


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


@PLACES
def test_attempts_are_equal_however_often_they_are_asked_for(faultline, isolated):
    server = faultline.serve(reset(after_bytes=20), isolated=isolated)

    converse(server)

    first, second = server.attempts, server.attempts
    assert first == second == server.wait_for_attempts(1, at="end")


@PLACES
def test_fault_with_a_gate_is_the_one_that_was_planned(faultline, isolated):
    gate = Gate()
    fault = stall(until=gate)
    server = faultline.serve(fault, isolated=isolated)

    gate.open()
    converse(server)

    (attempt,) = server.attempts
    assert attempt.fault == fault
    assert attempt.fault != stall(until=Gate())
    assert attempt.fault.break_.steps[0].until is gate


@PLACES
def test_ledger_is_told_as_json_and_as_a_drawing(faultline, isolated):
    server = faultline.serve(close(after_bytes=20), isolated=isolated)

    converse(server)

    (told,) = json.loads(server.ledger.to_json())["attempts"]
    assert told == json.loads(json.dumps(server.attempts[0].to_dict()))
    assert (told["fault"], told["sent_bytes"], told["ended_how"]) == ("close(after_bytes=20)", 20, "FIN")
    title, *lines = server.drawing().splitlines()
    assert title == f"{server.url} close(after_bytes=20)"
    assert any("FIN: struck at 'response' after 20 bytes" in line for line in lines)


@PLACES
def test_times_are_of_one_clock(faultline, isolated):
    server = faultline.serve(ok(), isolated=isolated)

    converse(server)
    server.wait_for_attempts(1, at="end")
    between = server.ledger.now()
    converse(server)

    first, second = server.attempts
    assert server.intervals == (second.started_seconds - first.started_seconds,)
    assert first.ended_seconds < between < second.started_seconds < server.ledger.now()


@PLACES
def test_waiting_ends_when_the_attempt_is_there(faultline, isolated):
    server = faultline.serve(stall(at="request"), isolated=isolated, strict=False)

    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(server.wait_for_attempts, 1, at="request")
        with socket.create_connection(server.address, timeout=10) as client:
            assert server.wait_for_attempts(1)[0].number == 1
            client.sendall(b"G")
            (attempt,) = waiting.result()

    assert attempt.point == "request"


@PLACES
def test_waiting_in_vain_says_how_many_there_were(faultline, isolated):
    server = faultline.serve(ok(), isolated=isolated)

    converse(server)

    with pytest.raises(WaitError, match=r"^0 of 2 attempts reached 'idle' within 0\.01 s; attempts in all: 1\.$"):
        server.wait_for_attempts(2, 0.01, at="idle")


@PLACES
def test_plan_is_changed_and_put_back(faultline, isolated):
    server = faultline.serve(ok(b"one"), isolated=isolated)
    address = server.address

    def body():
        return converse(server)[0].rpartition(b"\r\n")[2]

    said = [body()]
    server.become(ok(b"two"))
    said.append(body())
    with server.becoming(ok(b"three")):
        said.append(body())
    said.append(body())

    assert said == [b"one", b"two", b"three", b"two"]
    assert server.address == address
    assert [a.fault for a in server.attempts] == [ok(b"one"), ok(b"two"), ok(b"three"), ok(b"two")]


@PLACES
def test_open_connection_meets_the_new_plan(faultline, isolated):
    server = faultline.serve(stall(at="request"), isolated=isolated, strict=False)

    with socket.create_connection(server.address, timeout=10) as client:
        server.wait_for_attempts(1)
        server.become(reset(at="request"), open_too=True)
        client.sendall(GET)
        with pytest.raises(ConnectionResetError):
            client.recv(1)

    assert server.attempts[0].fault == reset(at="request")


@PLACES
@pytest.mark.parametrize(("act", "outcome"), [("reset_all", ConnectionResetError), ("close_all", None)])
def test_all_open_connections_end_in_one_call(faultline, isolated, act, outcome):
    server = faultline.serve(stall(), isolated=isolated, strict=False)
    assert getattr(server, act)() == 0

    with ThreadPoolExecutor() as threads:
        clients = [threads.submit(converse, server) for _ in range(3)]
        server.wait_for_attempts(3, at="response")
        count = getattr(server, act)()
        outcomes = [client.result() for client in clients]

    assert (count, outcomes) == (3, [(b"", outcome)] * 3)


@PLACES
def test_paused_server_goes_on(faultline, isolated):
    server = faultline.serve(ok(b"late"), isolated=isolated)

    assert server.pause() == 0
    with socket.create_connection(server.address, timeout=0.1) as client:
        client.sendall(GET)
        with pytest.raises(TimeoutError):
            client.recv(1)
        assert server.resume() == 1
        client.settimeout(10)
        assert client.recv(8) == b"HTTP/1.1"


@PLACES
def test_partitioned_server_is_healed(faultline, isolated):
    server = faultline.serve(ok(b"late"), isolated=isolated)

    with socket.create_connection(server.address, timeout=0.1) as client:
        server.wait_for_attempts(1)
        try:
            assert server.partition() == 1
        except UnsupportedError as error:
            pytest.skip(str(error))
        client.sendall(GET)
        with pytest.raises(TimeoutError):
            client.recv(1)
        assert server.heal() == 1
        client.settimeout(10)
        assert client.recv(8) == b"HTTP/1.1"


@PLACES
def test_refused_attempts_are_counted(faultline, isolated):
    server = faultline.serve(sequence(refuse(), refuse(), ok(b"up")), isolated=isolated)

    outcomes = [converse(server)[1] for _ in range(3)]

    assert outcomes == [ConnectionRefusedError, ConnectionRefusedError, None]
    assert [(a.connection, a.ended_how) for a in server.attempts] == [(None, "RST"), (None, "RST"), (1, "FIN")]


@PLACES
def test_black_holed_attempts_are_counted(faultline, isolated):
    server = faultline.serve(sequence(blackhole(), ok(b"up")), isolated=isolated)

    assert converse(server, timeout=0.1) == (b"", TimeoutError)
    assert converse(server)[0].endswith(b"up")
    assert [(a.connection, a.ended_how) for a in server.attempts] == [(None, "silence"), (1, "FIN")]


@PLACES
def test_request_and_its_body_are_in_the_ledger(faultline, isolated):
    server = faultline.serve(ok(), isolated=isolated)
    body = bytes(range(256)) * 10_000

    with contextlib.closing(http.client.HTTPConnection(*server.address, timeout=10)) as client:
        client.request("POST", "/thing?x=1", body)
        client.getresponse().read()

    request = server.attempts[0].request
    assert (request.method, request.target, request.body_bytes) == ("POST", "/thing?x=1", len(body))
    assert request.body == body


@PLACES
def test_server_on_ipv6_and_on_a_chosen_port(faultline, isolated):
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as free:
            port = free.getsockname()[1]
    except OSError:
        pytest.skip("needs IPv6 on the loopback interface")

    server = faultline.serve(ok(b"six"), host="::1", port=port, isolated=isolated)

    assert (server.host, server.port, server.url) == ("::1", port, f"http://[::1]:{port}")
    assert converse(server)[0].endswith(b"six")


# --- TLS -------------------------------------------------------------------------------------------------------------


def fetch(server, context):
    with urllib.request.urlopen(server.url, timeout=10, context=context) as response:
        return response.read()


@PLACES
def test_client_context_trusts_the_server(faultline, isolated):
    server = faultline.serve(ok(b"secret"), tls=True, isolated=isolated)

    assert fetch(server, server.client_context()) == b"secret"
    assert fetch(server, ssl.create_default_context(cafile=server.ca_file)) == b"secret"
    assert server.attempts[0].tls.version == "TLSv1.3"


@PLACES
def test_client_certificate_is_accepted(faultline, isolated):
    server = faultline.serve(ok(b"secret"), tls="mutual", isolated=isolated)
    context = ssl.create_default_context(cafile=server.ca_file)
    context.load_cert_chain(server.client_cert_file)

    assert fetch(server, context) == b"secret"
    assert fetch(server, server.client_context(certificate=True)) == b"secret"
    assert {a.tls.client for a in server.attempts} == {server.attempts[0].tls.client} != {""}


@PLACES
def test_bad_certificate_is_refused(faultline, isolated):
    server = faultline.serve(bad_cert("expired"), isolated=isolated)

    with raises(ssl.SSLCertVerificationError) as caught:
        fetch(server, server.client_context())

    assert caught.cause.verify_message == "certificate has expired"
    assert server.url.startswith("https://")


@PLACES
def test_revoked_certificate_is_in_the_list(faultline, isolated):
    server = faultline.serve(bad_cert("revoked"), isolated=isolated)
    context = server.client_context()
    context.load_verify_locations(server.crl_file)
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF

    with raises(ssl.SSLCertVerificationError) as caught:
        fetch(server, context)

    assert caught.cause.verify_message == "certificate revoked"


@PLACES
def test_client_that_takes_its_trust_from_the_environment(faultline, isolated, monkeypatch):
    server = faultline.serve(ok(b"secret"), tls=True, isolated=isolated)

    server.trust(monkeypatch)

    assert fetch(server, ssl.create_default_context()) == b"secret"


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


@pytest.mark.parametrize("start", WRONG.values(), ids=WRONG)
def test_bad_parameter_raises_what_it_raises_in_this_process(start):
    raised = []

    for isolated in (False, True):
        with pytest.raises((ParameterError, PortError)) as caught:
            start(isolated=isolated)
        raised.append((type(caught.value), str(caught.value)))

    assert raised[0] == raised[1]


@PLACES
def test_bad_calls_raise_what_they_raise_in_this_process(faultline, isolated):
    server = faultline.serve(ok(), isolated=isolated)

    with pytest.raises(PortError, match=rf"^port={server.port}: expected a free port, but "):
        serve(ok(), port=server.port, isolated=isolated)
    with pytest.raises(ParameterError, match=r"^bad_cert\('expired'\): expected tls=True; a server that was started"):
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


@PLACES
def test_error_inside_the_server_is_raised_when_it_is_closed(isolated):
    server = serve(when(math.sqrt, reset()), isolated=isolated, strict=False)

    converse(server)

    with pytest.raises(ServerError, match=r"broke: TypeError\('must be real number, not Request'\)\.$"):
        server.close()
    server.close()
    assert len(server.attempts) == 1


@PLACES
def test_error_inside_the_server_is_the_cause(isolated):
    server = serve(when(math.sqrt, reset()), isolated=isolated, strict=False)

    converse(server)

    with pytest.raises(ServerError) as caught:
        server.close()
    assert type(caught.value.__cause__) is TypeError


@PLACES
def test_fault_that_never_struck_is_an_error(isolated):
    with serve(reset(on=b"/other"), isolated=isolated, strict=False) as server:
        converse(server)

    with pytest.raises(NotStruckError, match=r"^reset\(on=b'/other'\) never struck: #1 GET /: ") as caught:  # noqa: SIM117
        with serve(reset(on=b"/other"), isolated=isolated) as server:
            converse(server)
    assert str(caught.value).endswith("(strict=False allows it.)")


@PLACES
def test_closed_server_still_says_what_happened(isolated):
    with serve(reset(), isolated=isolated) as server:
        address = server.address
        converse(server)

    server.close()
    assert (server.address, len(server.attempts), server.attempts[0].struck.point) == (address, 1, "response")
    assert converse(server) == (b"", ConnectionRefusedError)
    assert repr(server) == f"<Server http://127.0.0.1:{server.port} reset() closed>"


CLOSED = {
    "wait_for_attempts": lambda server: len(server.wait_for_attempts(1, at="end")),
    "reset_all": lambda server: server.reset_all(),
    "pause": lambda server: server.pause(),
    "drawing": lambda server: server.drawing().count("\n#"),
    "now": lambda server: server.ledger.now() > server.attempts[0].ended_seconds,
    "ca_file": lambda server: Path(server.ca_file).suffix,
}


@PLACES
@pytest.mark.parametrize("ask", CLOSED)
def test_closed_server_answers_questions(isolated, ask):
    with serve(reset(), isolated=isolated) as server:
        converse(server)

    expected = {"reset_all": 0, "pause": 0, "now": True, "ca_file": ".pem"}
    assert CLOSED[ask](server) == expected.get(ask, 1)


@PLACES
def test_closed_server_has_no_new_plan(isolated):
    with serve(ok(), isolated=isolated) as server:
        pass

    with pytest.raises(ServerError, match=r"expected an open server; it was closed\.$"):
        server.become(reset())


@PLACES
def test_chance_follows_the_seed_of_the_run(isolated):
    dealt = []

    for _ in range(2):
        scope = enter("one and the same")
        with serve(sometimes(0.5, reset()), isolated=isolated) as server:
            dealt.append([converse(server)[1] for _ in range(20)])

    assert dealt[0] == dealt[1]
    assert scope.was_used


# --- gates -----------------------------------------------------------------------------------------------------------


@PLACES
def test_gate_that_is_opened_while_the_client_waits(faultline, isolated):
    gate = Gate()
    server = faultline.serve(stall(until=gate), answer=ok(b"on"), isolated=isolated)

    with ThreadPoolExecutor() as threads:
        client = threads.submit(converse, server)
        server.wait_for_attempts(1, at="response")
        gate.open()

        assert client.result()[0].endswith(b"on")


@PLACES
def test_gate_that_was_opened_before_the_server_began(faultline, isolated):
    gate = Gate()
    gate.open()
    server = faultline.serve(stall(until=gate), answer=ok(b"on"), isolated=isolated)

    assert converse(server, timeout=1)[0].endswith(b"on")


@PLACES
def test_gate_that_was_opened_before_it_was_planned(faultline, isolated):
    gate = Gate()
    gate.open()
    server = faultline.serve(ok(), isolated=isolated, strict=False)

    server.become(stall(until=gate))
    gc.collect()

    assert converse(server, timeout=1)[1] is None


@PLACES
def test_gate_that_is_opened_twice_stays_open(faultline, isolated):
    gate = Gate()
    server = faultline.serve(stall(until=gate), answer=ok(b"on"), isolated=isolated)

    gate.open()
    gate.open()

    assert [converse(server)[0][-2:] for _ in range(3)] == [b"on"] * 3


@PLACES
def test_gate_is_for_all_servers_that_wait_at_it(faultline, isolated):
    gate = Gate()
    servers = [faultline.serve(stall(until=gate), answer=ok(b"on"), isolated=isolated) for _ in range(3)]

    with ThreadPoolExecutor() as threads:
        clients = [threads.submit(converse, server) for server in servers]
        for server in servers:
            server.wait_for_attempts(1, at="response")
        gate.open()

        assert [client.result()[0][-2:] for client in clients] == [b"on"] * 3


@PLACES
def test_gate_opens_nothing_but_itself(faultline, isolated):
    first, second = Gate(), Gate()
    server = faultline.serve(sequence(stall(until=first), stall(until=second)), isolated=isolated)

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


@PLACES
def test_gate_is_opened_from_asyncio(faultline, isolated):
    gate = Gate()
    server = faultline.serve(stall(until=gate), answer=ok(b"on"), isolated=isolated)

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


@PLACES
def test_gate_is_forgotten_with_its_server(isolated):
    gate = Gate()
    known = weakref.ref(gate)
    with serve(stall(until=gate), isolated=isolated, strict=False) as server:
        converse(server, timeout=0.1)
        assert server.attempts[0].struck.point == "response"

    del gate, server
    serve(ok(), isolated=isolated).close()  # the last answer of the child may be kept until the next
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


def test_gate_of_a_module_that_the_child_imports_is_another_one(run):
    result = run(
        """
        gate = Gate()
        with serve(stall(until=gate), answer=ok(b"on"), isolated=True) as server:
            import has_a_gate
            with serve(when(has_a_gate.always, ok()), isolated=True):
                gate.open()
                print(converse(server, timeout=1)[-2:])
        """,
        has_a_gate="""
        from faultline import Gate
        gate = Gate()
        def always(request):
            return True
        """,
    )

    assert (result.stdout, result.stderr) == ("b'on'\n", "")


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


def kill_child():
    (child,) = children()
    os.kill(child, signal.SIGKILL)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)


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


def test_servers_that_begin_in_several_threads_at_once_have_one_child(run):
    result = run("""
        from concurrent.futures import ThreadPoolExecutor
        start = threading.Barrier(8)

        def one(number):
            start.wait()
            with serve(ok(b"%d" % number), isolated=True) as server:
                return converse(server)[-1:].decode()

        with ThreadPoolExecutor(8) as threads:
            print(*threads.map(one, range(8)), len(children()))
    """)

    assert (result.stdout, result.stderr) == ("0 1 2 3 4 5 6 7 1\n", "")


def test_server_is_used_by_several_threads_at_once(faultline):
    server = faultline.serve(ok(b"hello"), isolated=True)

    def ask(_):
        got, _ = converse(server)
        return got[-5:], len(server.attempts)

    with ThreadPoolExecutor(8) as threads:
        answers, counts = zip(*threads.map(ask, range(64)), strict=True)

    assert set(answers) == {b"hello"}
    assert [a.number for a in server.attempts] == list(range(1, max(counts) + 1)) == list(range(1, 65))


def descriptors(process):
    return len(list(Path(f"/proc/{process}/fd").iterdir()))


def test_nothing_is_left_of_closed_servers():
    def one():
        with serve(sequence(reset(), refuse(), ok()), isolated=True) as server:
            for _ in range(4):
                converse(server)

    one()
    gc.collect()  # what other tests have left
    (child,) = children()
    before = [descriptors(child), descriptors("self"), threading.active_count()]
    for _ in range(10):
        one()

    assert [descriptors(child), descriptors("self"), threading.active_count()] == before
    assert children() == [child]


@pytest.mark.parametrize("relayed", [False, True], ids=["server", "relay"])
def test_answers_come_while_the_main_thread_holds_the_interpreter(faultline, relayed):
    server = faultline.serve(ok(b"hello"), isolated=True)
    if relayed:
        server = faultline.relay(server, isolated=True)
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


@pytest.mark.parametrize("behind", [False, True], ids=["upstream here", "upstream isolated"])
def test_isolated_relay_plays_its_plan(faultline, behind):
    upstream = faultline.serve(ok(b"hello"), isolated=behind)
    server = faultline.relay(upstream, sequence(reset(after_bytes=20), reset(on=b"Host:"), ok()), isolated=True)

    outcomes = [converse(server) for _ in range(3)]

    assert [(got[-5:], error) for got, error in outcomes] == [
        (b"\r\nCon", ConnectionResetError),
        (b"", ConnectionResetError),
        (b"hello", None),
    ]
    assert [(a.connection, a.sent_bytes) for a in server.attempts][:2] == [(1, 20), (2, 0)]


@PLACES
def test_relay_in_front_of_an_isolated_server(faultline, isolated):
    upstream = faultline.serve(sequence(close(after_bytes=30), ok(b"hello")), isolated=True)
    server = faultline.relay(upstream, isolated=isolated)

    assert len(converse(server)[0]) == 30
    assert converse(server)[0].endswith(b"hello")
    assert [(a.ended_by, a.ended_how) for a in server.wait_for_attempts(2, at="end")] == [("upstream", "FIN")] * 2


@PLACES
def test_relay_notes_that_its_upstream_is_dead(faultline, isolated):
    upstream = faultline.serve(refuse(), isolated=isolated)
    server = faultline.relay(upstream, isolated=isolated, on_upstream_failure="close")

    assert converse(server) == (b"", None)
    (attempt,) = server.wait_for_attempts(1, at="end")
    assert (attempt.ended_by, attempt.ended_how) == ("server", "FIN")
    assert attempt.note.startswith(f"the upstream {upstream.hostport} could not be reached: [Errno 111]")


@PLACES
def test_relay_ends_tls(faultline, isolated):
    upstream = faultline.serve(ok(b"hello"), isolated=isolated)
    server = faultline.relay(upstream, tls="terminate", isolated=isolated)

    assert fetch(server, server.client_context()) == b"hello"
    assert (server.attempts[0].tls.version, upstream.attempts[0].tls) == ("TLSv1.3", None)


@PLACES
def test_relay_injects_towards_its_upstream(faultline, isolated):
    upstream = faultline.serve(ok(), isolated=isolated)
    server = faultline.relay(
        upstream, inject(b"X-More: yes\r\n", at="request", after_bytes=len(b"GET / HTTP/1.1\r\n")), isolated=isolated
    )

    converse(server)

    assert upstream.attempts[0].request.header("X-More") == "yes"


@PLACES
def test_relay_finds_a_socket_file_from_where_the_test_is(faultline, isolated, tmp_path, monkeypatch):
    faultline.serve(ok(), isolated=isolated)  # the child is there before the directory changes
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as upstream:
        upstream.bind("up.sock")
        upstream.listen()
        server = faultline.relay("./up.sock", isolated=isolated)

        with socket.create_connection(server.address, timeout=10):
            server.wait_for_attempts(1)
            upstream.settimeout(1)
            upstream.accept()[0].close()


# --- ends ------------------------------------------------------------------------------------------------------------


def test_child_that_is_killed_is_an_error_and_no_hang(run):
    result = run("""
        server = serve(stall(), isolated=True, strict=False)
        address = server.address
        waiting = []
        thread = threading.Thread(target=lambda: waiting.append(tried(server.wait_for_attempts, 5, 60)))
        thread.start()
        kill_child()
        thread.join()
        asks = [lambda: server.attempts, lambda: server.become(ok()), server.reset_all, server.close]
        print({repr(answer) for answer in waiting + [tried(ask) for ask in asks]})
        print(tried(socket.create_connection, address))
    """)

    assert result.stdout.splitlines() == [
        "{\"ServerError('the child process of isolated servers has ended.')\"}",
        "[Errno 111] Connection refused",
    ]
    assert (result.returncode, result.stderr) == (0, "")


def test_client_is_not_told_that_the_child_was_killed(run):
    result = run("""
        server = serve(refuse(), isolated=True)
        kill_child()
        print(tried(socket.create_connection, ("127.0.0.1", server.port)))
    """)

    assert result.stdout == "[Errno 111] Connection refused\n"


def test_next_server_has_a_new_child_when_the_last_was_killed(run):
    result = run("""
        server = serve(ok(), isolated=True)
        kill_child()
        print(type(tried(lambda: server.attempts)).__name__)
        with serve(ok(b"hello"), isolated=True) as server:
            print(converse(server)[-5:], len(children()))
    """)

    assert (result.stdout, result.stderr, result.returncode) == ("ServerError\nb'hello' 1\n", "", 0)


def test_plan_that_the_child_can_not_load_harms_no_other(run):
    result = run("""
        def pays(request):
            return request.target == "/pay"

        server = serve(ok(b"well"), isolated=True)
        print(type(tried(lambda: serve(when(pays, reset()), isolated=True))).__name__)
        print(converse(server)[-4:])
    """)

    assert (result.stdout, result.stderr) == ("ParameterError\nb'well'\n", "")


def test_module_in_the_working_directory_hides_none_of_the_library(program, tmp_path):
    command = program("""
        with serve(ok(b"hello"), isolated=True) as server:
            print(converse(server)[-5:])
    """)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "selectors.py").write_text("raise ImportError('the wrong one')")

    result = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, check=False)

    assert (result.stdout, result.stderr) == ("b'hello'\n", "")


@pytest.mark.parametrize(
    ("leave", "code"), [("sys.exit(3)", 3), ("os._exit(3)", 3), ("os.kill(os.getpid(), signal.SIGKILL)", -9)]
)
def test_child_ends_with_a_parent_that_has_closed_nothing(run, leave, code):
    result = run(f"""
        server = serve(stall(), isolated=True, strict=False)
        client = socket.create_connection(server.address)
        server.wait_for_attempts(1)
        print(server.port, flush=True)
        {leave}
    """)  # the child holds the output too, so that it has ended when this returns

    assert (result.returncode, result.stderr) == (code, "")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(result.stdout)), timeout=10)


def test_forked_process_has_a_child_of_its_own(run):
    result = run("""
        server = serve(ok(b"parent"), isolated=True)
        if not os.fork():
            with serve(ok(b"forked"), isolated=True) as own:
                print(converse(own)[-6:], len(children()), flush=True)
            os._exit(0)
        os.wait()
        print(converse(server)[-6:], len(server.attempts))
    """)

    assert result.stdout == "b'forked' 1\nb'parent' 1\n"


@pytest.mark.parametrize("ask", ["server.url", "server.attempts", "server.close()"])
def test_forked_process_that_asks_a_server_of_its_parent_harms_nobody(run, ask):
    result = run(f"""
        server = serve(ok(b"parent"), isolated=True)
        if not os.fork():
            signal.alarm(3)
            tried(lambda: {ask})
            os._exit(0)
        print(os.wait()[1], flush=True)
        signal.alarm(3)
        print(converse(server)[-6:], len(server.attempts))
    """)

    assert result.stdout == "0\nb'parent' 1\n"


def test_gate_that_a_forked_process_opens_is_its_own(run):
    result = run("""
        gate = Gate()
        server = serve(stall(until=gate), isolated=True)
        if not os.fork():
            gate.open()
            os._exit(0)
        os.wait()
        print(repr(converse(server, timeout=0.2)), gate.is_open)
    """)

    assert result.stdout == "TimeoutError('timed out') False\n"


def test_child_ends_with_its_parent_although_a_forked_process_lives(run):
    result = run("""
        import select

        server = serve(ok(), isolated=True)
        watched = os.pidfd_open(children()[0])
        reading, writing = os.pipe()
        if not os.fork():
            os.close(writing)
            os.read(reading, 1)  # until the parent has ended
            print(bool(select.select([watched], [], [], 3)[0]), flush=True)
        os._exit(0)
    """)

    assert result.stdout == "True\n"


def test_spawned_process_uses_a_server_and_has_its_own(run):
    result = run("""
        import multiprocessing
        from types import SimpleNamespace

        def talk(address):
            print(converse(SimpleNamespace(address=address))[-6:], flush=True)
            with serve(ok(b"spawned"), isolated=True) as own:
                print(converse(own)[-7:], flush=True)

        if __name__ == "__main__":
            with serve(ok(b"parent"), isolated=True) as server:
                process = multiprocessing.get_context("spawn").Process(target=talk, args=(server.address,))
                process.start()
                process.join()
                print(process.exitcode, len(server.attempts))
    """)

    assert (result.stdout, result.stderr) == ("b'parent'\nb'spawned'\n0 1\n", "")


@pytest.mark.parametrize(
    "shell", [(), ("sh", "-c", 'trap "" INT; exec "$@"', "sh")], ids=["alone", "SIGINT is ignored"]
)
def test_interrupt_of_the_whole_process_group_is_not_the_childs(program, shell):
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
        [*shell, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
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

INNER = """
import os, signal, socket, pathlib, pytest
from faultline import *

GET = b"GET / HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n"
"""


@pytest.fixture
def run_inner(pytester, monkeypatch):
    """A function that runs tests in a pytest of their own."""
    monkeypatch.delenv("PYTEST_TIMEOUT", raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    alone = ["-p", "timeout", "-p", "faultline", "-p", "no:cacheprovider", "-W", "error"]

    def ran(source):
        pytester.makepyfile(test_inner=INNER + textwrap.dedent(source))
        return pytester.runpytest_subprocess(*alone, timeout=60)

    return ran


def test_fixture_stops_isolated_servers_and_guards_their_faults(run_inner):
    result = run_inner("""
        kept = []

        def test_struck(faultline):
            kept.append(faultline.serve(reset(at="accept"), isolated=True))
            with pytest.raises(ConnectionResetError), socket.create_connection(kept[0].address, 10) as client:
                client.recv(1)

        def test_was_stopped():
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(kept[0].address, 10)

        def test_never_struck(faultline):
            faultline.serve(reset(), isolated=True)

        def test_fails(faultline):
            server = faultline.serve(close(after_bytes=20), isolated=True)
            with socket.create_connection(server.address, 10) as client, client.makefile("rb") as stream:
                client.sendall(GET)
                assert stream.read() == b""
    """)

    result.assert_outcomes(passed=3, failed=1, errors=1)
    result.stdout.re_match_lines([r"reset\(\) never struck: no client connected to 127\.0\.0\.1:\d+\."])
    result.stdout.re_match_lines([r"-+ faultline -+", r".*FIN: struck at 'response' after 20 bytes"])


def test_hung_client_of_an_isolated_server_is_reported(run_inner):
    result = run_inner("""
        def test_starts_the_child(faultline):
            with socket.create_connection(faultline.serve(ok(), isolated=True).address, 10) as client:
                client.sendall(GET)
                assert client.recv(4) == b"HTTP"

        @pytest.mark.timeout(0.5)
        def test_hangs(faultline):
            server = faultline.serve(stall(), isolated=True)
            with socket.create_connection(server.address) as client:
                client.sendall(GET)
                client.recv(1)
    """)

    result.assert_outcomes(passed=1, failed=1)
    hung = r"E +Failed: no timeout: the client was still waiting at `response`, .* \(attempt 1, stall\(\)\)\. "
    result.stdout.re_match_lines([hung + r"Timeout \(>0\.5s\) from pytest-timeout\."])
    result.stdout.re_match_lines([r".*silence: struck at 'response'"])


def test_child_that_is_killed_fails_its_test_and_not_the_run(run_inner):
    result = run_inner("""
        def test_killed(faultline):
            server = faultline.serve(ok(), isolated=True)
            tasks = pathlib.Path("/proc/self/task").iterdir()
            (child,) = [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
            os.kill(child, signal.SIGKILL)
            server.wait_for_attempts(1)

        def test_goes_on(faultline):
            faultline.serve(ok())
    """)

    result.assert_outcomes(passed=1, failed=1, errors=1)
    result.stdout.re_match_lines([r"E +faultline\.ServerError: the child process of isolated servers has ended\."])


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
