"""Triggers that count what HTTP has, and gates: exactly so much passes, whoever cuts the bytes in whatever pieces."""

from __future__ import annotations

import contextlib
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import KEPT_GET, SILENCE_SECONDS, connected, is_quiet, read, to_end
from support.tables import each_row

from faultline import (
    ConflictError,
    Gate,
    NotStruckError,
    ParameterError,
    blackhole,
    close,
    cycle,
    half_close,
    http_proxy,
    inject,
    latency,
    ok,
    partition,
    raw,
    receive_request,
    refuse,
    relay,
    repeat,
    reset,
    respond,
    script,
    send,
    sequence,
    serve,
    stall,
    udp,
)
from faultline._core.breaks import Break, Trigger
from faultline._core.heads import Head
from faultline._core.steps import Reset
from faultline._core.tripwire import Tripwire

HELLO = ok(b"hello")
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\nhello"
BODY_AT = len(RESPONSE) - 5
POST_HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n"
POST = POST_HEAD + b"0123456789"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

# --- the head of a message -------------------------------------------------------------------------------------------

HEADS = [
    POST_HEAD,
    b"\r\n\r\n" + POST_HEAD,  # empty lines before a request are no request: RFC 9112, 2.2
    b"HTTP/1.1 200 OK\n\n",
    CONTINUE + b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + CONTINUE + b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
]


@pytest.mark.slow
@given(st.sampled_from(HEADS), st.lists(st.integers(1, 9), max_size=40), st.binary(max_size=9))
def test_a_head_is_as_long_in_pieces_as_in_one(head, sizes, body):
    whole, counter, count = head + body, Head(), 0
    for size in [*sizes, len(whole)]:
        piece, whole = whole[:size], whole[size:]
        before = counter.least_bytes
        of_head = counter.bytes_of(piece)
        assert counter.is_over or of_head == len(piece)
        assert before <= of_head or not counter.is_over
        count += of_head

    assert counter.is_over
    assert count == len(head)


@pytest.mark.slow
@given(st.sampled_from(HEADS), st.lists(st.integers(1, 9), max_size=40), st.integers(0, 12), st.booleans())
def test_the_tripwire_finds_the_byte_of_the_body(head, sizes, after, reads_by_room):
    whole, passed = head + b"0123456789ab", 0
    trip = Tripwire(Break("request", (Reset(),), Trigger(after_body_bytes=after)))
    for size in [*sizes, *[len(whole)] * len(whole)]:
        room = trip.room_bytes(size) if reads_by_room else size
        assert room > 0
        cut = trip.cut(whole[passed : passed + room])
        passed += room if cut is None else cut
        if cut is not None:
            assert not reads_by_room or cut == min(room, cut)
            break

    assert passed == trip.passed_bytes == len(head) + after


def test_a_message_begins_with_a_head_again():
    trip = Tripwire(Break("response", (Reset(),), Trigger(after_body_bytes=3)))
    for _ in range(3):
        trip.begin_message()
        assert trip.cut(b"HTTP/1.1 200 OK\r\n\r\nab") is None
    trip.begin_message()
    assert trip.cut(b"HTTP/1.1 200 OK\r\n\r\nabcd") == 22


# --- after_body_bytes ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def relayed(fault, **options):
    with serve(HELLO) as upstream, relay(upstream, fault, **options) as server:
        yield server


@contextlib.contextmanager
def scripted(fault, **options):
    with serve(script(repeat(receive_request(), respond(HELLO))) & fault, **options) as server:
        yield server


def answering(fault, **options):
    return serve(fault, answer=HELLO, **options)


WAYS = {"server": answering, "script": scripted, "relay": relayed}


@each_row("after", range(6))
@pytest.mark.parametrize("way", WAYS)
def test_so_many_bytes_of_the_response_s_body_pass(way, after):
    with WAYS[way](reset(after_body_bytes=after)) as server, connected(server) as client:
        client.sendall(KEPT_GET)
        assert to_end(client) == (RESPONSE[: BODY_AT + after], "RST")

        assert server.attempts[0].struck.after_bytes == BODY_AT + after


@each_row("after", [0, 1, 5, 10])
@pytest.mark.parametrize("way", WAYS)
def test_so_many_bytes_of_the_request_s_body_are_read(way, after):
    with WAYS[way](close(at="request", after_body_bytes=after)) as server, connected(server) as client:
        passing = POST[: len(POST_HEAD) + after]  # bytes behind them would be answered by RST
        for at in range(0, len(passing), 7):
            client.sendall(passing[at : at + 7])
        assert to_end(client) == (b"", "FIN")

        (attempt,) = server.wait_for_attempts(1, at="end")
        assert attempt.struck.after_bytes == len(POST_HEAD) + after


def test_interim_responses_belong_to_the_head():
    with relayed(reset(after_body_bytes=2)) as server, connected(server) as client:
        client.sendall(POST_HEAD.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
        assert read(client, len(CONTINUE)) == CONTINUE
        client.sendall(POST[-10:])
        assert to_end(client) == (RESPONSE[: BODY_AT + 2], "RST")


def test_a_proxy_counts_the_body_that_it_fetches():
    fault = reset(after_body_bytes=2)
    with serve(HELLO) as upstream, http_proxy(fault, to=upstream) as server, connected(server) as client:
        client.sendall(KEPT_GET.replace(b" / ", b" http://localhost/ "))
        got, end = to_end(client)

        assert (got.partition(b"\r\n\r\n")[2], end) == (b"he", "RST")


def test_an_answer_without_a_body_of_its_own_is_long_enough():
    with serve(reset(after_body_bytes=5000)) as server, connected(server) as client:
        client.sendall(KEPT_GET)
        got, end = to_end(client)

        assert (len(got.partition(b"\r\n\r\n")[2]), end) == (5000, "RST")


# --- after_requests --------------------------------------------------------------------------------------------------


def asked(client):
    """One exchange, which is whole."""
    client.sendall(KEPT_GET)
    assert read(client, len(RESPONSE)) == RESPONSE


@each_row(
    "fault, last, end, struck",
    [
        (reset(after_requests=2), b"", "RST", ("response", 0)),
        (close(at="request", after_requests=3), b"", "FIN", ("request", 0)),
        (close(at="request", on=b"Host", after_requests=1), b"", "FIN", ("request", 20)),
        (reset(after_bytes=9, after_requests=1), RESPONSE[:9], "RST", ("response", 9)),
        (reset(after_body_bytes=1, after_requests=1), RESPONSE[: BODY_AT + 1], "RST", ("response", BODY_AT + 1)),
        (half_close(after_requests=1), b"", "FIN", ("response", 0)),
        (inject(b"XX", after_requests=1), b"XX" + RESPONSE, "silence", ("response", 0)),
    ],
)
@pytest.mark.parametrize("way", ["server", "script"])
def test_so_many_requests_of_the_connection_pass(way, fault, last, end, struck):
    whole = fault.break_.trigger.after_requests
    with WAYS[way](fault) as server, connected(server) as client:
        for _ in range(whole):
            asked(client)
        client.sendall(KEPT_GET)
        assert read(client, len(last)) == last
        assert to_end(client, SILENCE_SECONDS if end == "silence" else 10) == (b"", end)

        *before, met = server.attempts
        assert [bool(a.struck) for a in before] == [False] * whole
        assert (met.struck.point, met.struck.after_bytes) == struck


@each_row("count", [1, 2, 4])
@pytest.mark.parametrize("way", ["server", "script"])
def test_a_connection_is_closed_behind_so_many_requests(way, count):
    with WAYS[way](close(at="idle", after_requests=count)) as server, connected(server) as client:
        for _ in range(count):
            asked(client)
        assert to_end(client) == (b"", "FIN")

        assert [bool(a.struck) for a in server.attempts] == [False] * (count - 1) + [True]


def test_requests_of_a_connection_meet_its_fault_and_the_next_connection_the_next():
    with serve(sequence(reset(after_requests=1), HELLO), answer=HELLO) as server:
        for _ in range(2):
            with connected(server) as client:
                asked(client)
                client.sendall(KEPT_GET)
                read(client, 1) if server.attempts[-1].connection == 2 else to_end(client)

        assert [(a.connection, a.fault == HELLO, bool(a.struck)) for a in server.attempts] == [
            (1, False, False),
            (1, False, True),
            (2, True, False),
            (2, True, False),
        ]


def test_each_connection_counts_for_itself():
    with serve(reset(after_requests=1), answer=HELLO) as server, connected(server) as one, connected(server) as other:
        asked(one)
        asked(other)
        for client in (one, other):
            client.sendall(KEPT_GET)
            assert to_end(client) == (b"", "RST")


def test_time_is_counted_from_the_request_on():
    with serve(reset(after_requests=1, after_seconds=0.01), answer=HELLO) as server, connected(server) as client:
        asked(client)
        client.sendall(KEPT_GET)
        assert to_end(client) == (RESPONSE, "RST")


def test_clients_that_open_anew_are_told_of():
    server = serve(reset(after_requests=1), answer=HELLO)
    for _ in range(2):
        with connected(server) as client:
            asked(client)
    server.wait_for_attempts(2, at="end")
    server.close()
    with pytest.raises(NotStruckError, match=r"The connection ended before after_requests=1 had passed on it: use"):
        server.check_struck()


# --- gates -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@each_row("verb, end", [(reset, "RST"), (close, "FIN"), (half_close, "FIN")])
def test_everything_is_held_until_the_gate_opens_and_then_the_break_strikes(way, verb, end):
    gate = Gate()
    with WAYS[way](verb(until=gate)) as server, connected(server) as client:
        client.sendall(KEPT_GET)
        (attempt,) = server.wait_for_attempts(1, at="response")
        assert is_quiet(client)
        assert attempt.struck is None
        gate.open()
        assert to_end(client) == (b"", end)


@pytest.mark.parametrize("way", WAYS)
def test_a_break_that_waits_for_its_gate_is_gone_with_its_plan(way):
    new = {"server": HELLO, "script": script(repeat(receive_request(), respond(HELLO))), "relay": ok()}[way]
    with WAYS[way](reset(until=Gate()), strict=False) as server, connected(server) as client:
        client.sendall(KEPT_GET)
        server.wait_for_attempts(1, at="response")
        server.become(new, open_too=True)
        assert read(client, len(RESPONSE)) == RESPONSE


@pytest.mark.parametrize("way", WAYS)
def test_bytes_are_inserted_when_the_gate_opens(way):
    gate = Gate()
    with WAYS[way](inject(b"XX", after_bytes=4, until=gate)) as server, connected(server) as client:
        client.sendall(KEPT_GET)
        assert read(client, 4) == RESPONSE[:4]
        assert is_quiet(client)
        gate.open()
        assert read(client, len(RESPONSE) - 2) == b"XX" + RESPONSE[4:]


@pytest.mark.parametrize("way", WAYS)
def test_packets_pass_again_when_the_gate_opens(way, needs_filter):
    del needs_filter
    gate = Gate()
    with WAYS[way](partition(until=gate)) as server, connected(server) as client:
        client.sendall(KEPT_GET)
        server.wait_for_strike()
        assert is_quiet(client)
        gate.open()
        assert read(client, len(RESPONSE)) == RESPONSE


@pytest.mark.slow
@each_row("kind", [{}, {"unix": True}, {"isolated": True}])
@each_row("door, error", [(refuse, ConnectionRefusedError), (blackhole, (TimeoutError, BlockingIOError))])
def test_a_door_opens_when_the_gate_does(kind, door, error):
    gate = Gate()
    with serve(sequence(door(until=gate), HELLO), **kind) as server:
        with pytest.raises(error):
            connected(server, within=0.05 if door is blackhole else 10)
        gate.open()
        with connected(server) as client:  # at once
            asked(client)

        assert server.attempts[-1].fault == HELLO


@each_row("kind", [{}, {"unix": True}, {"isolated": True}])
@each_row("first, number", [((), 2), ((HELLO & latency(0),), 1), ((refuse(for_seconds=0.01),), 2)])
def test_a_door_whose_gate_is_open_already_closes_for_nobody(kind, first, number):
    gate = Gate()
    gate.open()
    plan = sequence(*first, refuse(until=gate), blackhole(until=gate), HELLO)
    with serve(plan, **kind, strict=False) as server:
        while True:  # until the time of the first is over
            with contextlib.suppress(ConnectionRefusedError), connected(server) as client:
                asked(client)
                break
        with connected(server) as client:
            asked(client)

        assert [a.fault for a in server.attempts if a.fault not in first] == [HELLO] * number


def test_a_cycle_of_doors_whose_gates_are_open_refuses():
    gates = Gate(), Gate()
    for gate in gates:
        gate.open()
    with serve(cycle(*(refuse(until=gate) for gate in gates)), strict=False) as server:
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError):
                connected(server)


def test_a_gate_of_an_earlier_plan_opens_no_door():
    gate = Gate()
    with serve(refuse(until=gate), strict=False) as server:
        server.become(refuse())
        gate.open()
        with serve(refuse(for_seconds=0.01), strict=False) as clock:
            while True:
                with contextlib.suppress(OSError), connected(clock, within=0.05):
                    break
        with pytest.raises(ConnectionRefusedError):
            connected(server)


def test_datagrams_are_refused_until_the_gate_opens():
    gate = Gate()
    with udp(sequence(refuse(until=gate), HELLO)) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect(server.address)
        client.send(b"ping")
        with pytest.raises(ConnectionRefusedError):
            client.recv(10)
        gate.open()
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                client.send(b"ping")
                assert client.recv(10) == b"hello"
                break


@each_row(
    "make, says",
    [
        (lambda: sequence(reset(until=Gate())), "The gate was not opened: call its open() while the client waits."),
        (lambda: reset(after_body_bytes=9), "The body ended before after_body_bytes=9: serve a longer one."),
        (
            lambda: reset(at="request", after_body_bytes=9),
            "The body ended before after_body_bytes=9: have the client send a longer one.",
        ),
    ],
)
def test_what_was_missing_is_told(make, says):
    plan = make()
    with serve(HELLO) as upstream:
        server = relay(upstream, plan)
        with connected(server) as client:
            client.sendall(KEPT_GET)
            server.wait_for_attempts(1, at="response")
            if not isinstance(plan, type(sequence(ok()))):
                read(client, len(RESPONSE))
        server.wait_for_attempts(1, at="end")
        server.close()
        with pytest.raises(NotStruckError) as raised:
            server.check_struck()
    assert says in str(raised.value)


@each_row(
    "answer, says",
    [
        (HELLO, "The body ended before after_body_bytes=9: serve a longer one."),
        (raw(b"220 no HTTP\r\n"), "No head of an HTTP message was complete: use after_bytes"),
    ],
)
def test_a_body_that_the_upstream_ends_too_soon_is_told_of(answer, says):
    with serve(answer) as upstream:
        server = relay(upstream, reset(after_body_bytes=9))
        with connected(server) as client:
            client.sendall(KEPT_GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            to_end(client)
        server.close()
        with pytest.raises(NotStruckError) as raised:
            server.check_struck()
    assert says in str(raised.value)


def test_a_client_that_finds_no_open_door_is_told_of():
    server = serve(sequence(HELLO, refuse(until=Gate()), HELLO))
    with connected(server) as client:
        client.sendall(KEPT_GET)
        read(client, 10)
    server.close()
    with pytest.raises(NotStruckError, match=r"No client connected before its gate was opened\."):
        server.check_struck()


# --- what means nothing ----------------------------------------------------------------------------------------------

LINES = script(receive_request(), respond())


@each_row(
    "make, error, says",
    [
        (lambda: reset(after_requests=-1), ParameterError, "after_requests=-1: expected a whole number, 0 or more"),
        (
            lambda: reset(at="accept", after_requests=1),
            ParameterError,
            "expected no after_requests at 'accept', where no requests",
        ),
        (lambda: stall(at="accept", after_body_bytes=1), ParameterError, "expected at='request' or at='response'"),
        (lambda: reset(after_body_bytes=1, after_bytes=2), ParameterError, "expected one of the two"),
        (lambda: reset(after_bytes=1, after_messages=2, on=b"x"), ParameterError, "expected one of the two"),
        (lambda: reset(until=3), ParameterError, "until=3: expected a Gate(), not int"),
        (lambda: partition(until=Gate(), for_seconds=1), ParameterError, "expected one of the two"),
        (lambda: refuse(until=Gate(), for_seconds=1), ParameterError, "expected one of the two"),
        (lambda: blackhole(until=Gate(), for_seconds=1), ParameterError, "expected one of the two"),
        (lambda: LINES & reset(after_requests=1), ConflictError, "expected after_requests below 1"),
        (lambda: script(send(b"x")) & reset(after_requests=1), ConflictError, "expected receive_request()"),
        (lambda: script(send(b"x")) & reset(after_body_bytes=1), ConflictError, "expected respond() in the"),
        (lambda: serve(reset(after_body_bytes=6), answer=HELLO), ParameterError, "at most 5, the bytes of the body"),
        (lambda: serve(reset(after_body_bytes=1), answer=raw(b"xx")), ParameterError, "expected an answer with a head"),
        (lambda: serve(reset(after_messages=1)), ParameterError, "in HTTP each message is an attempt"),
        (lambda: relay("127.0.0.1:9", reset(after_requests=1)), ParameterError, "expected after_messages; a relay"),
        (lambda: udp(blackhole(until=Gate())), ParameterError, "expected blackhole() without until"),
    ],
)
def test_what_can_not_be_counted_is_refused(make, error, says):
    with pytest.raises(error) as raised:
        make()
    assert says in str(raised.value)


def test_parts_that_come_before_so_many_requests_are_reached():
    assert (reset(at="request", after_requests=1) & HELLO & latency(0.1)).break_.trigger.after_requests == 1
    with pytest.raises(ConflictError):
        reset(at="request") & HELLO
