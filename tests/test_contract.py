"""What holds for every case that a TCP server plays: the client sees what the case promises, as the ledger says."""

from __future__ import annotations

import contextlib
import re
import socket

import pytest
from support import HIDES_EOF, HIDES_RST, KEPT_GET, SILENCE_SECONDS, ending

from faultline import UnsupportedError, serve
from faultline._core.conditions import Loss
from faultline._core.points import TABLE
from faultline._core.promises import promises_of
from faultline._core.steps import Close, Hold, NoRoute, Partition, ReceiveAll, Refuse, Reset, Vanish
from faultline.modes._catalogue import cases

CASES = [case for case in cases() if case.kind == "TCP server"]
OPENING = {row.point for row in TABLE if row.is_opening}

# Who ends the connection and how, by what a break that ends it does last.
ENDINGS = {
    Close: ("server", "FIN"),
    Hold: ("client", "FIN"),
    NoRoute: ("server", "no route"),
    Partition: ("server", "stop"),
    ReceiveAll: ("client", "FIN"),
    Refuse: ("server", "RST"),
    Reset: ("server", "RST"),
    Vanish: ("server", "silence"),
}
# What this client does not meet: it offers no protocols, waits for no 100, asks for no HEAD, has TLS 1.2, comes once.
UNMET = {
    "bad_cert('pinned_changed')",
    "bad_tls('alpn_mismatch')",
    "bad_tls('only_version', version='1.2')",
    "malformed('continue_never')",
    "malformed('head_with_body')",
}
# This client resets a connection on which it has met bytes that are no TLS, and may be faster than the server's FIN.
REFUSED = {("bad_tls", ("client", "RST"))}


def rows():
    """Every case with TLS and without; a run without slow tests has each case once, by turns."""
    for number, case in enumerate(CASES):
        for tls in (False, True):
            if tls or not case.fault.needs_tls:
                is_turn = case.fault.needs_tls or tls == number % 2
                marks = () if is_turn else (pytest.mark.slow, pytest.mark.everywhere)
                yield pytest.param(case, tls, id=f"{case}-{'tls' if tls else 'plain'}", marks=marks)


def serve_or_skip(fault, *, tls=False, strict=True):
    """A server for the fault, if this user may produce it."""
    try:
        return serve(fault, tls=tls, strict=strict)
    except UnsupportedError as error:
        pytest.skip(str(error))


def is_complete(received):
    """Whether this is a whole HTTP response."""
    _, blank, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", received)
    return received.endswith(b"\r\n0\r\n\r\n") or bool(blank and length and len(body) >= int(length[1]))


def meet(server, case, *, tls):
    """Ask once, and read until the end: what was received, and how it ended."""
    received = bytearray()
    client = socket.socket()
    if tls:  # before it is connected, because wrap_socket() leaks a connected socket that was reset
        client = server.client_context().wrap_socket(client, server_hostname=server.address[0])
    times_out = case.sees == "TimeoutError"
    client.settimeout(SILENCE_SECONDS if times_out and case.point in OPENING else 10)
    try:
        with client, stays_until_strike(server, case):
            client.connect(server.address)
            client.sendall(KEPT_GET)
            if times_out:
                server.wait_for_attempts(1, at="response" if case.point == "condition" else case.point)
                client.settimeout(SILENCE_SECONDS)
            while data := client.recv(65_536):
                received += data
                if case.sees == "the response" and is_complete(received) and not case.fault.delays_end:
                    return bytes(received), "the response"
            if case.fault.resets:  # after its FIN: a client that closes between the two gets no RST
                server.wait_for_attempts(1, at="end")
    except OSError as error:
        assert_detail(case.detail, error)
        name = type(error).__name__
        return bytes(received), f"OSError {error.errno}" if name == "OSError" else name
    return bytes(received), "the response" if case.fault.delays_end else "end of stream"


@contextlib.contextmanager
def stays_until_strike(server, case):
    """A client that gives up early leaves only once the fault has struck: a server may be late on a busy machine."""
    try:
        yield
    except TimeoutError:
        if case.point in OPENING and str(case) not in UNMET:
            server.wait_for_attempts(1, at="strike")
        raise


def assert_detail(detail, error):
    """The first that the case says in detail: a verify code, an alert, or a reason of OpenSSL, which has two words."""
    kind, _, rest = detail.partition(";")[0].partition(" ")
    if kind == "verify":
        assert f"code {error.verify_code}" == rest
    elif kind == "alert":
        assert error.reason.partition("ALERT_")[2].lower() == rest
    elif kind == "reason":
        assert error.reason in rest.split(" or ")


def promised_end(case, *, tls):
    """What the case promises, in the words that Python's ssl has for it."""
    in_opening = case.point in OPENING
    if tls and in_opening and case.sees == "end of stream":
        return "SSLZeroReturnError" if HIDES_EOF else "SSLEOFError"
    if tls and not in_opening and case.sees == "ConnectionResetError" and HIDES_RST:
        return "end of stream"
    return case.sees


def promised_ending(case, fault):
    """Who ends the connection, and how."""
    if fault.break_ is None or not fault.break_.is_final:
        return ("server", "FIN") if (case.sees == "SSLError" and fault.terms) or closes(case) else ("client", "FIN")
    does = fault.break_.does
    return ENDINGS[type(does[-1] if isinstance(does, tuple) else does)]


def closes(case):
    """Whether the server hangs up after its response: the answer says so, or the fault needs a new connection."""
    answer = case.fault.http_answer
    return (answer and answer.ends) or (
        case.sees == "the response" and (case.fault.is_opening or case.fault.delays_end)
    )


def promised_bytes(trigger, said):
    """How many of these bytes pass before the strike."""
    if trigger.at_end:
        return len(said)
    return trigger.after_bytes if trigger.on is None else said.index(trigger.on) + len(trigger.on)


@pytest.mark.unmeasured
@pytest.mark.all_cases
@pytest.mark.parametrize(("case", "tls"), [*rows()])
def test_client_sees_what_the_case_promises_and_the_ledger_says_so(case, tls):
    with serve_or_skip(case.fault, tls=tls, strict=str(case) not in UNMET) as server:
        received, end = meet(server, case, tls=tls)
        (then,) = server.attempts
    (at_last,) = server.attempts

    assert end == promised_end(case, tls=tls)
    check_received(case, received)
    assert (at_last.number, at_last.fault) == (1, case.fault)
    assert at_last.connection == (None if case.point == "connect" else 1)
    assert (at_last.received_bytes, at_last.sent_bytes) == (then.received_bytes, len(received))
    assert at_last.received_bytes in range(len(KEPT_GET) + 1)
    if not any(isinstance(condition, Loss) for condition in case.fault.conditions):  # the client's FIN may be lost
        assert ending(at_last) == promised_ending(case, case.fault) or (case.mode, ending(at_last)) in REFUSED
    check_strike(case, received, at_last)


def check_received(case, received):
    """What the client has received is as much as the case promises."""
    if case.point == "idle" or case.sees == "the response":
        assert is_complete(received)
    elif (brk := case.fault.break_) is None:
        assert bool(received) is (case.point == "answer")
    else:
        assert len(received) == (promised_bytes(brk.trigger, received) if case.point == "response" else 0)


def check_strike(case, received, attempt):
    """The fault has struck where it promises to, if this client could meet it."""
    fault, brk = case.fault, case.fault.break_
    if brk is not None:
        passed = promised_bytes(brk.trigger, KEPT_GET if case.point == "request" else received)
        assert (attempt.struck.point, attempt.struck.after_bytes) == (case.point, passed)
        assert attempt.struck.at_seconds <= attempt.ended_seconds
    else:
        promises = promises_of(fault)
        is_met = any(promise.is_certain for promise in promises) and str(case) not in UNMET
        if all(promise.is_certain for promise in promises):
            assert (attempt.struck is not None) is is_met


@pytest.mark.measured
@pytest.mark.parametrize("mode", dict.fromkeys(case.mode for case in CASES))
def test_port_is_free_after_the_case_while_its_client_is_still_there(mode):
    for case in (case for case in CASES if case.mode == mode):
        with socket.socket() as client, socket.socket() as rival:
            client.setblocking(False)
            server = serve_or_skip(case.fault)
            client.connect_ex(server.address)
            if case.point != "connect":
                server.wait_for_attempts(1)
            server.close()
            rival.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            rival.bind((server.host, server.port))
            rival.listen()

            assert rival.getsockname() == (server.host, server.port)
