"""The guard over all that can be planned: no client, a client that leaves a byte too early, a client that meets it.

A client that meets each case of the catalogue is that of the contract (`test_contract.py`, `test_contract_kinds.py`),
whose servers are strict.
"""

from __future__ import annotations

import contextlib
import functools
import re
import socket
import ssl

import pytest
from support import KEPT_GET as GET
from support import connected, read
from support.tables import each_row

import faultline as fl
from faultline._core.breaks import Trigger
from faultline._core.promises import Origin, promises_of
from faultline.modes._catalogue import cases

SOCKS = b"\5\1\0"
STARTERS = {
    "TCP server": fl.serve,
    "DNS server": fl.dns_server,
    "UDP server": lambda fault: fl.udp(fl.sequence(fault, fl.ok())),
    "SOCKS proxy": fl.socks_proxy,
    "HTTP/2 server": functools.partial(fl.serve, http2=True),
}
PROMISING = [case for case in cases() if promises_of(case.fault) and case.mode != "addresses"]
SPOKEN = [
    case
    for case in PROMISING
    if case.kind in ("TCP server", "SOCKS proxy")
    and case.point not in ("connect", "accept")  # which strike before the client says anything
    and all(promise.is_certain for promise in promises_of(case.fault))
]


def started(start, plan, **options):
    """A server, if this user may produce the fault."""
    try:
        return start(plan, **options)
    except fl.UnsupportedError as error:
        pytest.skip(str(error))


@functools.cache
def hello():
    """The first bytes of a client of TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    said = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), said).do_handshake()
    return said.read()


def too_early(case):
    """All that a client says before the fault strikes, without the last byte."""
    fault = case.fault
    if case.kind == "SOCKS proxy":
        return b"" if "garbage" in str(case) else SOCKS[:-1]
    if fault.needs_tls:
        return hello()[:-1]
    at_request = fault.break_ is not None and case.point == "request"
    trigger = fault.break_.trigger if at_request else Trigger()
    if isinstance(trigger.on, bytes):
        return trigger.on[:-1]
    if isinstance(trigger.on, re.Pattern) or not at_request:
        return GET[:-1]
    return GET[: max(0, trigger.after_bytes - 1)]


def leave(server, said):
    """Say this, and leave."""
    with socket.create_connection(server.address, 10) as client:
        client.sendall(said)
    server.wait_for_attempts(1, at="end")


def guarded(case, said=None):
    """What the guard says of a case whose client has said this and left, or that no client has met."""
    try:
        with STARTERS[case.kind](case.fault) as server:
            if said is not None:
                leave(server, said)
    except fl.NotStruckError as error:
        return str(error)
    except fl.UnsupportedError:  # this user may not produce the fault
        return None
    return "no error"


def test_every_case_promises_something_but_those_of_a_healthy_answer():
    healthy = {str(case) for case in cases() if not promises_of(case.fault)}

    assert healthy == {
        *("echo()", "ok()", "ok(b'hello', status=201)", "resolves_to('127.0.0.2:8080')"),
        "ok(chunks=(b'one,', b'two'), every_seconds=0.001)",
        "sse(('first', 'second', 'third'), break_='none')",
        *("websocket()", "grpc_ok((b'',))"),
    }


@pytest.mark.slow
@each_row("mode", dict.fromkeys(case.mode for case in PROMISING))
def test_case_fails_that_no_client_met_or_whose_client_leaves_a_byte_too_early(mode):
    unmet = {str(case): guarded(case) for case in PROMISING if case.mode == mode}
    left = {str(case): guarded(case, too_early(case)) for case in SPOKEN if case.mode == mode}

    assert {case: told for case, told in unmet.items() if told and not re.search(r" never struck: no \w+ ", told)} == {}
    assert {case: told for case, told in left.items() if told and " never struck: #1" not in told} == {}


@each_row("first", ["dead_first", "blackhole_first", "ipv6_first"])
def test_address_that_leads_nowhere_has_to_be_looked_up(first):
    with fl.serve(fl.ok()) as server:
        nowhere = fl.addresses(first, server)
        with pytest.raises(fl.NotStruckError, match="no lookup of"), fl.resolve("api.example.com", nowhere):
            pass
        with fl.resolve("api.example.com", nowhere) as resolver:
            socket.getaddrinfo("api.example.com", 80)
    assert resolver.attempts[0].struck.point == "lookup"


def test_answer_to_a_client_that_speaks_tls_to_a_plain_server_has_not_struck():
    why = pytest.raises(fl.NotStruckError, match="the client spoke TLS to a server without TLS")
    with why, fl.serve(fl.status(500)) as server:
        leave(server, hello())


@each_row(
    "plan",
    [fl.script(fl.send(b"454 not now"), fl.stall()), fl.stall(after_bytes=11), fl.close(after_bytes=11)],
)
def test_client_that_leaves_when_it_has_read_all_before_the_strike_has_met_it(plan):
    with fl.serve(plan) as server:
        for _ in range(20):
            with socket.create_connection(server.address, 10) as client:
                client.sendall(GET if plan.script is None else b"")
                assert len(read(client, 11)) == 11
        attempts = server.wait_for_attempts(20, at="end")
    assert all(attempt.struck for attempt in attempts)


# --- steps of scripts ------------------------------------------------------------------------------------------------

STEPS = {
    "reset": (fl.reset(), b""),
    "close": (fl.close(), b""),
    "half_close": (fl.half_close(), b""),
    "stall": (fl.stall(), None),
    "stall for a time": (fl.stall(for_seconds=0.01), b""),
    "partition": (fl.partition(for_seconds=0.01), None),
    "inject": (fl.inject(b"nonsense"), b"nonsense"),
    "hold": (fl.hold(), None),
    "no response": (fl.repeat(fl.receive_until(b"!"), fl.reset()), b""),
}


def test_bytes_below_tls_have_to_be_sent():
    plan = fl.script(fl.receive_until(b"EHLO"), fl.send(b"raw", below_tls=True))
    for said in (b"EHL", b"EHLO"):
        expected = contextlib.nullcontext() if said == b"EHLO" else pytest.raises(fl.NotStruckError)
        with expected, fl.serve(plan) as server:
            with connected(server) as client:
                client.sendall(said)
                server.wait_for_attempts(1, at="strike" if said == b"EHLO" else "request")
            server.wait_for_attempts(1, at="end")


def ends_with(server, said, heard):
    """Say this, hear these bytes to the end or know that the server waits, and leave."""
    with socket.create_connection(server.address, 10) as client:
        client.sendall(said)
        if heard is None:
            server.wait_for_attempts(1, at="strike")
            return
        with contextlib.suppress(ConnectionResetError):
            assert read(client) == heard
    server.wait_for_attempts(1, at="end")


@pytest.mark.slow
@each_row("name", STEPS)
@each_row("said", [None, b"", b"EHL", b"EHLO"])
def test_each_step_that_breaks_has_to_be_played(name, said):
    is_met = said == b"EHLO"
    step, heard = STEPS[name]
    plan = fl.script(fl.receive_until(b"EHLO"), step)
    said = b"EHLO!" if is_met and name == "no response" else said
    expected = contextlib.nullcontext() if is_met else pytest.raises(fl.NotStruckError, match=" never struck: ")

    with expected, started(fl.serve, plan) as server:
        if is_met:
            ends_with(server, said, heard)
        elif said is not None:
            leave(server, said)


ANSWERS = {
    "status": (fl.status(503), GET),
    "lie": (fl.malformed("chunk_cut"), GET),
    "withheld 100": (None, GET.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")),
}


@each_row("name", ANSWERS)
@each_row("missing_bytes", [None, 1, 0])
def test_each_step_that_lies_has_to_be_played(name, missing_bytes):
    answer, asked = ANSWERS[name]
    plan = fl.script(fl.receive_request(continues=answer is not None), fl.respond(answer))
    expected = pytest.raises(fl.NotStruckError) if missing_bytes != 0 else contextlib.nullcontext()

    with expected, fl.serve(plan) as server:
        if missing_bytes is not None:
            leave(server, asked[: len(asked) - missing_bytes])
        if answer is None and missing_bytes == 0:
            assert server.attempts[0].struck.point == "request"


def test_each_step_of_a_script_is_a_promise_of_its_own():
    plan = fl.script(fl.receive_until(b"1"), fl.stall(for_seconds=0.001), fl.receive_until(b"2"), fl.reset())

    why = pytest.raises(fl.NotStruckError, match=r"^reset\(\) of script\(.*\) never struck: #1")
    with why, fl.serve(plan) as server, socket.create_connection(server.address, 10) as client:
        client.sendall(b"1")
        server.wait_for_attempts(1, at="strike")
    with fl.serve(plan) as server:
        ends_with(server, b"12", b"")
    assert [str(strike.part) for strike in server.attempts[0].strikes] == ["step 2", "step 4"]


# --- conditions ------------------------------------------------------------------------------------------------------

CONDITIONS = {  # each with the number of bytes at whose last it changes something
    "latency": (fl.latency, (0.001,), {}, 1),
    "throttle": (fl.throttle, (100_000,), {}, 1),
    "drip": (fl.drip, (2,), {"every_seconds": 0.001}, 3),
    "corrupt": (fl.corrupt, (), {"at_byte": 4}, 5),
    "drop_bytes": (fl.drop_bytes, (), {"at_byte": 4}, 5),
    "duplicate": (fl.duplicate, (2,), {"at_byte": 3}, 5),
}


@each_row("direction", ["request", "response"])
@each_row("name", CONDITIONS)
@each_row("missing_bytes", [None, 1, 0])
def test_each_condition_has_to_change_something(name, direction, missing_bytes):
    make, values, options, least_bytes = CONDITIONS[name]
    condition = make(*values, direction=direction, **options)
    said = b"!" if direction == "response" else b"12345"[:least_bytes]
    plan = condition & fl.script(fl.receive(len(said)), fl.send(b"12345"))
    expected = contextlib.nullcontext() if missing_bytes == 0 else pytest.raises(fl.NotStruckError)

    with expected, fl.serve(plan) as server:
        if missing_bytes is not None:
            leave(server, said[: len(said) - missing_bytes])
    if missing_bytes == 0:
        (strike,) = server.attempts[0].strikes
        assert (strike.point, str(strike.part)) == (direction, "condition 1")


@each_row("name", ["corrupt", "drop_bytes", "duplicate"])
def test_condition_behind_the_end_never_strikes(name):
    make, values, _, _ = CONDITIONS[name]

    with pytest.raises(fl.NotStruckError), fl.serve(make(*values, at_byte=100_000)) as server:
        leave(server, GET)


def test_loss_has_struck_once_a_packet_was_dropped():
    server = started(fl.serve, fl.loss(0.9999), strict=False)
    with server, socket.create_connection(server.address, 10) as client:
        server.wait_for_attempts(1)  # and the filter is attached
        client.sendall(GET)
    assert [str(strike.part) for strike in server.attempts[0].strikes] == ["condition 1"]


def test_a_place_in_a_plan_remembers_the_plans_of_an_open_attempt_before():
    now = Origin(3, 0)
    assert now.after(None).earlier == ()
    assert now.after(Origin(2, 1).after(Origin(1, 0))).earlier == (1, 2)
    assert now.after(Origin(2, 1)) == now
