"""Scripts: each step as a plain client meets it, how steps follow each other, and what is no script."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import itertools
import re
import socket
import ssl
import threading
import time

import pytest
from support import read
from support.tables import each_row

from faultline import (
    ConflictError,
    Gate,
    NotStruckError,
    ParameterError,
    UnsupportedError,
    bad_cert,
    blackhole,
    close,
    duplicated,
    echo,
    half_close,
    hold,
    inject,
    latency,
    loss,
    malformed,
    nxdomain,
    ok,
    partition,
    raw,
    receive,
    receive_prefixed,
    receive_request,
    receive_until,
    refuse,
    repeat,
    reset,
    respond,
    script,
    send,
    sequence,
    serve,
    sometimes,
    stall,
    starttls,
    status,
    unreachable,
)
from faultline._core.fault import Fault
from faultline._core.promises import promises_of
from faultline._engine.talks.http1 import HEALTHY

LINE = receive_until(b"\r\n")
GET = b"GET /thing HTTP/1.1\r\nHost: test\r\n\r\n"
MIB = 1 << 20


@pytest.fixture
def dial():
    """A function that connects to a server and says something; the connections are closed after the test."""
    with contextlib.ExitStack() as clients:

        def connect(server, data=b"", timeout=10):
            client = clients.enter_context(socket.create_connection(server.address, timeout))
            client.sendall(data)
            return client

        yield connect


@pytest.fixture
def secure():
    """A function that speaks TLS on a client's connection from here on."""
    with contextlib.ExitStack() as clients:

        def wrap(server, client):
            context = server.client_context()
            return clients.enter_context(context.wrap_socket(client, server_hostname=server.host))

        yield wrap


def heard(server):
    """What the server has heard in each attempt."""
    return [attempt.request and attempt.request.body for attempt in server.attempts]


def ends(server):
    return [(attempt.ended_by, attempt.ended_how) for attempt in server.attempts]


# --- steps -------------------------------------------------------------------------------------------------


def test_server_speaks_first_and_then_closes_cleanly(faultline, dial):
    server = faultline.serve(script(send(b"220 hi\r\n")))

    assert read(dial(server)) == b"220 hi\r\n"

    [attempt] = server.attempts
    assert (attempt.point, attempt.sent_bytes, attempt.received_bytes) == ("response", 8, 0)
    assert (attempt.request, attempt.struck) == (None, None)
    assert ends(server) == [("server", "FIN")]


def test_close_after_the_last_step_is_clean_whatever_the_client_has_sent(faultline, dial):
    server = faultline.serve(script(receive(1), send(b"bye")))

    assert read(dial(server, b"x" * 1000)) == b"bye"


def test_exactly_so_many_bytes_are_received_and_the_rest_is_left(faultline, dial):
    server = faultline.serve(script(receive(3), send(b"3"), receive(4), send(b"4")))

    assert read(dial(server, b"abcdefghi")) == b"34"
    assert heard(server) == [b"abcdefg"]


def test_bytes_are_received_however_they_come(faultline, dial):
    server = faultline.serve(script(receive(3), send(b"!")))
    client = dial(server)

    for count, byte in enumerate((b"a", b"b", b"c"), 1):
        client.sendall(byte)
        assert server.attempts[0].received_bytes == count

    assert read(client) == b"!"


def test_pipelined_lines_are_left_for_the_next_step(faultline, dial):
    server = faultline.serve(script(LINE, send(b"1"), LINE, send(b"2"), receive(3), send(b"3")))

    assert read(dial(server, b"one\r\ntwo\r\nabc")) == b"123"
    assert heard(server) == [b"one\r\ntwo\r\nabc"]


def test_marker_is_found_across_reads(faultline, dial):
    server = faultline.serve(script(receive_until(b"\r\n.\r\n"), send(b"250 ok\r\n")))
    client = dial(server)

    for piece in (b"body\r", b"\n", b".", b"\r"):
        client.sendall(piece)
        assert server.attempts[0].point == "request"
    client.sendall(b"\nQUIT\r\n")

    assert read(client) == b"250 ok\r\n"
    assert heard(server) == [b"body\r\n.\r\n"]


@pytest.mark.parametrize("pieces", [1, 2, 100])
def test_a_pattern_ends_a_line_however_it_is_cut(faultline, dial, pieces):
    line = receive_until(re.compile(rb"(?i)(quit|data [^\n]*)\r?\n"))
    server = faultline.serve(script(line, send(b"1"), line, send(b"2"), receive(3), send(b"3")))
    client, said = dial(server), b"Data x\r\nquit\nabc"
    for begin in range(0, len(said), pieces):
        client.sendall(said[begin : begin + pieces])

    assert read(client) == b"123"
    assert heard(server) == [said]


@each_row(
    "step, messages",
    [
        (receive_prefixed(), (b"\0\0\0\5hello", b"\0\0\0\0")),
        (receive_prefixed(1), (b"\1a", b"\0", b"\2bc")),
        (receive_prefixed(2, byteorder="little"), (b"\5\0hello", b"\1\0x")),
        (receive_prefixed(includes_length=True), (b"\0\0\0\6ab", b"\0\0\0\4", b"\0\0\0\1")),
        (receive_prefixed(8), (b"\0\0\0\0\0\0\0\1a",)),
    ],
)
def test_a_message_ends_where_its_length_says_however_it_is_cut(faultline, dial, step, messages):
    server = faultline.serve(script(*(each for _ in messages for each in (step, send(b"."))), receive(1), send(b"!")))
    for size in (1, 3, 100):
        client, said = dial(server), b"".join(messages) + b"x"
        for begin in range(0, len(said), size):
            client.sendall(said[begin : begin + size])
        assert read(client) == b"." * len(messages) + b"!"
    assert {*heard(server)} == {said}


def test_a_message_that_never_ends_is_told(faultline, dial):
    server = faultline.serve(script(receive_prefixed(2)), strict=False)
    client = dial(server, b"\xff\xffhello")
    client.shutdown(socket.SHUT_WR)

    assert read(client) == b""
    told = "the script waited for a message after its length of 2 bytes, and 7 bytes came, the last of them "
    assert server.wait_for_attempts(1, at="end")[0].note == told + repr(b"\xff\xffhello")


def test_client_that_leaves_before_the_marker_ends_the_conversation(faultline, dial):
    server = faultline.serve(script(LINE, send(b"never")))
    client = dial(server, b"half a li")
    client.shutdown(socket.SHUT_WR)

    assert read(client) == b""
    assert (heard(server), ends(server)) == ([None], [("client", "FIN")])


def test_request_is_received_and_answered(faultline):
    server = faultline.serve(script(receive_request(), respond(ok(b"mine", status=201))))

    client = http.client.HTTPConnection(*server.address, timeout=10)
    with contextlib.closing(client):
        client.request("POST", "/thing", body=b"hello")
        response = client.getresponse()
        assert (response.status, response.read()) == (201, b"mine")

    [attempt] = server.attempts
    assert (attempt.request.method, attempt.request.target, attempt.request.body) == ("POST", "/thing", b"hello")


@each_row(
    ("step", "said"),
    [
        (respond(), b"default"),
        (respond(ok()), b"default"),
        (respond(ok(status=200, headers={"A": "b"})), b"ok\n"),
        (respond(ok(b"mine")), b"mine"),
        (respond(echo()), b""),
    ],
)
def test_answer_is_the_steps_own_or_the_servers(faultline, dial, step, said):
    server = faultline.serve(script(receive_request(), step), answer=ok(b"default"))

    head, _, body = read(dial(server, GET)).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert body == said


def test_answer_may_come_before_any_request(faultline, dial):
    server = faultline.serve(script(respond(ok(status=408))))

    assert read(dial(server)).startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert heard(server) == [None]


def test_what_is_no_http_is_a_request_too(faultline, dial):
    server = faultline.serve(script(receive_request(), send(b"?")))

    assert read(dial(server, b"\x00\x01\x02")) == b"?"
    assert heard(server) == [b"\x00\x01\x02"]


def test_pipelined_requests_are_left_for_the_next_step(faultline, dial):
    server = faultline.serve(script(receive_request(), send(b"1"), receive_request(), send(b"2"), LINE, send(b"3")))

    assert read(dial(server, GET + GET + b"bye\r\n")) == b"123"


def test_repeat_makes_each_turn_an_attempt(faultline, dial):
    server = faultline.serve(script(send(b"220\r\n"), repeat(LINE, send(b"250\r\n"))))
    client = dial(server)

    assert read(client, 5) == b"220\r\n"
    for line in (b"EHLO\r\n", b"MAIL\r\n", b"RCPT\r\n"):
        client.sendall(line)
        assert read(client, 5) == b"250\r\n"

    assert heard(server) == [b"EHLO\r\n", b"MAIL\r\n", b"RCPT\r\n"]
    assert [(a.number, a.connection, a.sent_bytes) for a in server.attempts] == [(1, 1, 10), (2, 1, 5), (3, 1, 5)]
    assert ends(server) == [(None, None)] * 3


def test_pipelined_lines_are_attempts_of_their_own(faultline, dial):
    server = faultline.serve(script(repeat(LINE, send(b"250\r\n"))))
    client = dial(server, b"one\r\ntwo\r\nthree\r\n")

    assert read(client, 15) == b"250\r\n" * 3
    assert heard(server) == [b"one\r\n", b"two\r\n", b"three\r\n"]
    assert [a.received_bytes for a in server.attempts] == [5, 5, 7]


def test_client_that_leaves_between_two_turns_ends_the_last_attempt(faultline, dial):
    server = faultline.serve(script(repeat(LINE, send(b"250\r\n"))))
    client = dial(server, b"one\r\n")
    read(client, 5)
    client.close()

    assert ends(server) == [("client", "FIN")]


def test_repeat_ends_when_the_answer_ends_the_connection(faultline, dial):
    server = faultline.serve(script(repeat(receive_request(), respond(ok(b"1"))), send(b"after")))

    said = read(dial(server, b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"))

    assert said.endswith(b"1after")
    assert len(server.attempts) == 1


def test_repeat_may_hold_what_ends_the_conversation(faultline, dial):
    server = faultline.serve(script(repeat(LINE, send(b"no\r\n"), close())))

    assert read(dial(server, b"one\r\ntwo\r\n")) == b"no\r\n"
    assert heard(server) == [b"one\r\n"]


# --- modes as steps ----------------------------------------------------------------------------------------


@each_row("size", [1, 1000, MIB])
def test_everything_is_delivered_before_a_reset(faultline, dial, size):
    server = faultline.serve(script(LINE, send(b"x" * size), reset()))
    client = dial(server, b"now\r\n")

    assert len(read(client, size)) == size
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert ends(server) == [("server", "RST")]


def test_reset_after_fin_is_a_broken_pipe(faultline, dial):
    server = faultline.serve(script(LINE, send(b"bye"), reset(fin_first=True)))
    client = dial(server, b"now\r\n")

    assert read(client) == b"bye"
    assert ends(server) == [("server", "RST")]
    with pytest.raises(BrokenPipeError):
        client.sendall(b"x")


def test_close_ends_what_is_said(faultline, dial):
    server = faultline.serve(script(send(b"bye"), close()))

    assert read(dial(server)) == b"bye"
    assert ends(server) == [("server", "FIN")]


def test_server_listens_on_after_a_half_close(faultline, dial):
    server = faultline.serve(script(LINE, half_close()))
    client = dial(server, b"one\r\n")

    assert read(client) == b""
    client.sendall(b"x" * 1000)
    client.close()

    [attempt] = server.attempts
    assert (attempt.received_bytes, attempt.ended_by, attempt.ended_how) == (1005, "client", "FIN")


@pytest.mark.slow
@pytest.mark.parametrize("silence", [stall(), hold()])
def test_silence_lasts_until_the_client_gives_up(faultline, dial, silence):
    server = faultline.serve(script(send(b"220 "), silence))
    client = dial(server)

    assert read(client, 4) == b"220 "
    client.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.recv(1)
    client.close()

    assert ends(server) == [("client", "FIN")]


@pytest.mark.slow
@pytest.mark.parametrize("silence", [stall(for_seconds=0.1), hold(0.1)])
def test_script_goes_on_after_a_silence_of_so_long(faultline, dial, silence):
    server = faultline.serve(script(silence, send(b"at last")))
    began = time.monotonic()

    assert read(dial(server)) == b"at last"
    assert time.monotonic() - began >= 0.1


def test_client_may_leave_during_a_silence_of_so_long(faultline, dial):
    server = faultline.serve(script(hold(60), send(b"at last")))
    dial(server).close()

    assert ends(server) == [("client", "FIN")]


@each_row("make", [lambda gate: hold(until=gate), lambda gate: stall(until=gate)])
def test_script_goes_on_when_a_gate_is_opened_from_another_thread(faultline, dial, make):
    gate = Gate()
    server = faultline.serve(script(LINE, make(gate), send(b"at last")))
    client = dial(server, b"hello\r\n")

    def open_gate():
        server.wait_for_attempts(1, at="request")
        gate.open()

    assert server.attempts[0].sent_bytes == 0
    opener = threading.Thread(target=open_gate)
    opener.start()

    assert read(client) == b"at last"
    opener.join()


def test_script_goes_on_when_a_gate_is_opened_from_async_code(faultline):
    gate = Gate()
    server = faultline.serve(script(send(b"220\r\n"), hold(until=gate), send(b"at last")))

    async def talk():
        reader, writer = await asyncio.open_connection(*server.address)
        with contextlib.closing(writer):
            assert await reader.readline() == b"220\r\n"
            gate.open()
            return await reader.read()

    assert asyncio.run(talk()) == b"at last"


def test_one_gate_lets_all_connections_go_on(faultline, dial):
    gate = Gate()
    server = faultline.serve(script(hold(until=gate), send(b"at last")))
    clients = [dial(server) for _ in range(10)]
    server.wait_for_attempts(10)
    gate.open()

    assert [read(client) for client in clients] == [b"at last"] * 10
    assert read(dial(server)) == b"at last"


@each_row("first", ["seconds", "gate"])
def test_hold_with_seconds_and_a_gate_ends_at_the_first_of_the_two(faultline, dial, first):
    gate = Gate()
    server = faultline.serve(script(hold(0.05 if first == "seconds" else 60, until=gate), send(b"at last")))
    client = dial(server)
    if first == "gate":
        server.wait_for_attempts(1)
        gate.open()

    assert read(client) == b"at last"


def test_partition_may_be_a_step(faultline, dial):
    try:
        server = faultline.serve(script(send(b"220\r\n"), partition(for_seconds=0.05), LINE, send(b"at last")))
    except UnsupportedError as error:
        pytest.skip(str(error))
    client = dial(server)

    assert read(client, 5) == b"220\r\n"
    client.sendall(b"one\r\n")  # the kernel sends it again until it comes through

    assert read(client) == b"at last"


# --- steps that are faults -------------------------------------------------------------------------------------------

OPENED = Gate()
OPENED.open()
FAULTS = [
    reset(),
    reset(fin_first=True),
    close(),
    half_close(),
    stall(),
    stall(for_seconds=0.01),
    stall(until=OPENED),
    hold(),
    partition(for_seconds=0.01),
    inject(b"nonsense"),
    send(b"no record", below_tls=True),
]
HELLO = b"EHLO test\r\n"


def serve_or_skip(plan, **options):
    """A server, if this user may produce it."""
    try:
        return serve(plan, **options)
    except UnsupportedError as error:
        pytest.skip(str(error))


def converse(server, said=b""):
    """Read the greeting, say something, and leave once the server knows it."""
    with socket.create_connection(server.address, 10) as client:
        if server.url.startswith("https"):
            client = server.client_context().wrap_socket(client, server_hostname=server.host)  # noqa: PLW2901 - the same
        with client:
            assert read(client, 3) == b"220"
            client.sendall(said)
            if said:
                server.wait_for_attempts(1, at="request")
                server.wait_for_strike()
    server.wait_for_attempts(1, at="end")


@pytest.mark.measured
@pytest.mark.parametrize(("fault", "repeats"), list(zip(FAULTS, itertools.cycle([False, True]))), ids=repr)
def test_step_that_is_a_fault_strikes_or_the_test_fails(fault, repeats, tls):
    tls = tls or "below" in repr(fault)
    steps = (send(b"220"), LINE, fault)
    plan = script(repeat(*steps)) if repeats else script(*steps)
    with pytest.raises(NotStruckError, match="never struck: no client connected to "), serve_or_skip(plan, tls=tls):
        pass
    with pytest.raises(NotStruckError, match="never struck: #1: "), serve(plan, tls=tls) as server:
        converse(server)
    with serve(plan, tls=tls) as server:
        converse(server, HELLO)

    struck = server.attempts[0].struck
    assert (struck.point, struck.after_bytes) == ("request", len(HELLO))


PLACES = [
    ((), ("accept", 0)),
    ((send(b"22"), send(b"0")), ("response", 3)),
    ((send(b"220"), LINE, send(b"2")), ("response", 4)),
]


@pytest.mark.parametrize(("fault", "place"), list(zip(FAULTS[:-1], itertools.cycle(PLACES))), ids=repr)
def test_step_that_is_a_fault_strikes_where_the_conversation_is(fault, place):
    steps, where = place
    with serve_or_skip(script(*steps, fault)) as server, socket.socket() as client:
        client.settimeout(10)
        with contextlib.suppress(OSError):  # a RST may be there before the client has looked at its connect
            client.connect(server.address)
            client.sendall(HELLO)
        server.wait_for_strike()

    assert (server.attempts[0].struck.point, server.attempts[0].struck.after_bytes) == where


def test_first_of_several_faults_in_a_script_strikes(faultline, dial):
    server = faultline.serve(script(send(b"220"), stall(for_seconds=0.01), LINE, send(b"250"), reset()))
    client = dial(server, HELLO)
    with pytest.raises(ConnectionResetError):
        read(client)

    assert (server.attempts[0].struck.point, server.attempts[0].struck.after_bytes) == ("response", 3)


@each_row(
    "steps",
    [
        (send(b"220"),),
        (LINE, send(b"250")),
        (hold(0.01), send(b"220")),
        (hold(until=OPENED), send(b"220")),
        (repeat(LINE, send(b"250")),),
        (receive_request(), respond()),
        (send(b"220", below_tls=True), starttls(), LINE),
    ],
)
def test_script_without_a_fault_promises_nothing(steps):
    assert not promises_of(script(*steps))
    with serve(script(*steps)):
        pass


@each_row("answer", [status(503), malformed("chunk_cut")])
def test_answer_that_is_a_fault_is_one_in_a_script_too(answer):
    plan = script(receive_request(), respond(answer))
    with pytest.raises(NotStruckError, match="no client connected"), serve(plan):
        pass


def test_script_with_a_fault_strikes_in_another_process_too(dial):
    with serve(script(send(b"220"), LINE, reset()), isolated=True) as server:
        with pytest.raises(ConnectionResetError):
            read(dial(server, HELLO))

        assert server.attempts[0].struck.point == "request"
    with pytest.raises(NotStruckError), serve(script(send(b"220"), LINE, reset()), isolated=True):
        pass


def test_each_script_of_a_plan_has_to_strike(dial):
    with serve(sequence(script(send(b"220"), reset()), script(send(b"220"), close()), ok()), strict=False) as server:
        with contextlib.suppress(ConnectionResetError):
            read(dial(server))
        server.wait_for_attempts(1, at="end")

    server._strict = True
    with pytest.raises(NotStruckError, match=r"^script\(send\(b'220'\), close\(\)\) never struck: #1: "):
        server.check_struck()


def test_drawing_names_the_fault_in_a_script(faultline, dial):
    server = faultline.serve(script(send(b"220"), stall(for_seconds=0.01), reset()))
    with contextlib.suppress(ConnectionResetError):
        read(dial(server))

    *_, strike, end = server.drawing().splitlines()
    assert "<=== silence: struck at 'response' after 3 bytes =" in strike
    assert "<=== RST: struck at 'response' after 3 bytes =" in end


def test_drawing_shows_the_end_of_a_script_once(faultline, dial):
    server = faultline.serve(script(send(b"220"), LINE, reset()))
    with contextlib.suppress(ConnectionResetError):
        read(dial(server, HELLO))

    assert server.drawing().count("RST") == 1


def test_drawing_shows_the_end_of_a_script_that_goes_on_after_its_fault_when_it_was(faultline, dial):
    server = faultline.serve(script(inject(b"x"), LINE, reset()))
    client = dial(server)
    assert read(client, 1) == b"x"
    client.sendall(HELLO)
    with contextlib.suppress(ConnectionResetError):
        read(client)

    *_, strike, _, asked, end = server.drawing().splitlines()
    assert "<=== inject(b'x'): struck at 'accept' =" in strike
    assert f"{len(HELLO)} bytes" in asked
    assert "<=== RST: struck at" in end


# --- TLS ---------------------------------------------------------------------------------------------------


def test_script_with_tls_begins_with_a_handshake(faultline, dial, secure):
    server = faultline.serve(script(send(b"220 hi\r\n"), LINE, send(b"250\r\n")), tls=True)
    client = secure(server, dial(server))

    assert read(client, 8) == b"220 hi\r\n"
    client.sendall(b"EHLO\r\n")

    assert read(client) == b"250\r\n"
    assert (server.attempts[0].tls.version, heard(server), ends(server)) == (
        "TLSv1.3",
        [b"EHLO\r\n"],
        [("server", "FIN")],
    )


def test_conversation_of_http_as_a_script_begins_with_one_handshake(faultline, dial, secure):
    server = faultline.serve(Fault(answer=HEALTHY), tls=True)
    client = secure(server, dial(server))
    client.sendall(GET)

    assert read(client, 15) == b"HTTP/1.1 200 OK"
    assert [attempt.note for attempt in server.attempts] == [""]


def test_starttls_throws_injected_plain_text_away(faultline, dial, secure):
    server = faultline.serve(script(LINE, send(b"220 go on\r\n"), starttls(), LINE, send(b"secret")))
    plain = dial(server, b"STARTTLS\r\nINJECTED\r\n")

    assert read(plain, 11) == b"220 go on\r\n"
    client = secure(server, plain)
    client.sendall(b"EHLO\r\n")

    assert read(client) == b"secret"
    assert heard(server) == [b"STARTTLS\r\nEHLO\r\n"]
    assert server.attempts[0].tls.sni == ""


def test_client_may_begin_tls_before_it_is_answered(faultline, dial):
    server = faultline.serve(script(receive(3), starttls(), LINE, send(b"secret")))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = server.client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    raw = dial(server)

    def until_done(operation):
        while True:
            try:
                return operation()
            except ssl.SSLWantReadError:
                raw.sendall(outgoing.read())
                incoming.write(raw.recv(65_536))

    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    raw.sendall(b"ask" + outgoing.read())
    until_done(client.do_handshake)
    client.write(b"more\r\n")
    assert until_done(lambda: client.read(6)) == b"secret"
    assert [turn.count_bytes for turn in server.attempts[0].turns] == [9, 6]
    assert server.attempts[0].request.body == b"askmore\r\n"


def test_starttls_keeps_what_comes_in_tls(faultline, dial, secure):
    server = faultline.serve(script(LINE, send(b"220\r\n"), starttls(), LINE, send(b"1"), LINE, send(b"2")))
    plain = dial(server, b"STARTTLS\r\n")

    assert read(plain, 5) == b"220\r\n"
    client = secure(server, plain)
    client.sendall(b"one\r\ntwo\r\n")

    assert read(client) == b"12"


def test_client_without_tls_ends_what_starttls_began(faultline, dial):
    server = faultline.serve(script(LINE, send(b"220\r\n"), starttls(), send(b"secret")))
    client = dial(server, b"STARTTLS\r\n")

    assert read(client, 5) == b"220\r\n"
    client.sendall(b"EHLO me\r\n")

    assert b"secret" not in read(client)
    [attempt] = server.attempts
    assert (attempt.point, attempt.tls.version, attempt.ended_by) == ("handshake", "", "server")
    assert attempt.note.startswith("the client did not speak TLS: ")


def test_bad_certificate_is_shown_at_starttls(faultline, dial, secure):
    server = faultline.serve(script(LINE, send(b"220\r\n"), starttls()) & bad_cert("expired"))
    plain = dial(server, b"STARTTLS\r\n")
    read(plain, 5)

    with pytest.raises(ssl.SSLCertVerificationError) as raised:
        secure(server, plain)
    assert raised.value.verify_code == 10
    assert server.attempts[0].struck.point == "handshake"


def test_bad_certificate_without_starttls_is_shown_at_the_beginning(faultline, dial, secure):
    server = faultline.serve(script(send(b"220\r\n")) & bad_cert("self_signed"))

    with pytest.raises(ssl.SSLCertVerificationError) as raised:
        secure(server, dial(server))
    assert raised.value.verify_code == 18
    assert server.attempts[0].sent_bytes == 0


def test_starttls_on_a_server_with_tls_is_an_error(faultline):
    with pytest.raises(ParameterError, match=r"^script\(.*\): expected tls=False; the script begins TLS by itself"):
        faultline.serve(script(LINE, starttls()), tls=True)


# --- breaks, conditions and plans --------------------------------------------------------------------------


@each_row("pieces", [(b"QUIT\r\n",), (b"QU", b"IT\r\n")])
def test_break_falls_on_what_the_client_says(faultline, dial, pieces):
    server = faultline.serve(script(send(b"220\r\n"), repeat(LINE, send(b"250\r\n"))) & reset(on=b"QUIT"))
    client = dial(server, b"HELO\r\n")
    assert read(client, 10) == b"220\r\n250\r\n"

    with contextlib.suppress(ConnectionError):
        for piece in pieces:
            client.sendall(piece)
            assert server.attempts[-1].received_bytes > 0
    with pytest.raises(ConnectionResetError):
        client.recv(1)

    greeted, quits = server.attempts
    assert (greeted.struck, greeted.received_bytes) == (None, 6)
    assert (quits.struck.point, quits.struck.after_bytes, quits.ended_how) == ("request", 4, "RST")


def test_break_counts_pipelined_bytes_once(faultline, dial):
    server = faultline.serve(script(LINE, send(b"1"), LINE, send(b"2"), LINE) & reset(at="request", after_bytes=12))
    client = dial(server, b"one\r\ntwo\r\n")

    assert read(client, 2) == b"12"
    client.sendall(b"th")
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert server.attempts[0].struck.after_bytes == 12


def test_break_is_written_down_where_the_client_said_the_word(faultline, dial):
    server = faultline.serve(script(LINE, send(b"1"), LINE, send(b"2"), LINE) & reset(on=b"end"))
    client = dial(server, b"one\r\ntwo\r\n")

    assert read(client, 2) == b"12"
    client.sendall(b"end\r\n")
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert server.attempts[0].struck.after_bytes == 13


def test_break_falls_on_what_the_server_says(faultline, dial):
    server = faultline.serve(script(send(b"220-hi\r\n"), send(b"220 there\r\n")) & close(at="response", after_bytes=12))

    assert read(dial(server)) == b"220-hi\r\n220 "
    assert server.attempts[0].struck.after_bytes == 12


def test_break_falls_between_two_turns(faultline, dial):
    server = faultline.serve(script(repeat(LINE, send(b"250\r\n"))) & close(at="idle"))

    assert read(dial(server, b"one\r\ntwo\r\n")) == b"250\r\n"
    assert [(a.struck.point, a.ended_how) for a in server.attempts] == [("idle", "FIN")]


@each_row("point", ["accept", "handshake"])
def test_break_that_ends_the_conversation_before_the_script_is_an_error(point):
    with pytest.raises(ConflictError, match=f"the conversation ends at '{point}' and never reaches"):
        script(send(b"220\r\n")) & close(at=point)


def test_script_begins_after_a_break_that_does_not_end_it(faultline, dial):
    server = faultline.serve(script(send(b"220\r\n")) & stall(at="accept", for_seconds=0.05))

    assert read(dial(server)) == b"220\r\n"
    [attempt] = server.attempts
    assert (attempt.struck.point, attempt.ended_seconds - attempt.started_seconds >= 0.05) == ("accept", True)


def test_break_falls_on_the_handshake_of_starttls(faultline, dial, secure):
    server = faultline.serve(script(LINE, send(b"220\r\n"), starttls(), send(b"secret")) & reset(at="handshake"))
    plain = dial(server, b"STARTTLS\r\n")

    assert read(plain, 5) == b"220\r\n"
    with pytest.raises(ConnectionResetError):
        secure(server, plain)
    assert (server.attempts[0].struck.point, server.attempts[0].sent_bytes) == ("handshake", 5)


def test_break_of_the_handshake_of_starttls_may_let_it_go_on(faultline, dial, secure):
    slow = stall(at="handshake", for_seconds=0.05)
    server = faultline.serve(script(LINE, send(b"220\r\n"), starttls(), send(b"secret")) & slow)
    plain = dial(server, b"STARTTLS\r\n")

    assert read(plain, 5) == b"220\r\n"
    began = time.monotonic()
    assert read(secure(server, plain)) == b"secret"
    assert time.monotonic() - began >= 0.05


def test_script_goes_on_after_a_break_that_does_not_end_it(faultline, dial):
    server = faultline.serve(script(LINE, send(b"at last")) & stall(on=b"one", for_seconds=0.05))
    began = time.monotonic()

    assert read(dial(server, b"one\r\n")) == b"at last"
    assert time.monotonic() - began >= 0.05


@pytest.mark.slow
def test_conditions_hold_for_scripts(faultline, dial):
    server = faultline.serve(script(send(b"220\r\n"), LINE, send(b"250\r\n")) & latency(0.05))
    client = dial(server)
    began = time.monotonic()

    assert read(client, 5) == b"220\r\n"
    client.sendall(b"one\r\n")
    assert read(client) == b"250\r\n"
    assert time.monotonic() - began >= 0.05  # the second turn; the first began before the clock


def test_script_has_its_turn_in_a_sequence(faultline, dial):
    lie = script(receive_request(), send(b"HTTP/1000 200 OK\r\n\r\n"))
    server = faultline.serve(sequence(lie, ok(b"1"), lie))

    said = [read(dial(server, GET)) for _ in range(3)]

    assert [data[:12] for data in said] == [b"HTTP/1000 20", b"HTTP/1.1 200", b"HTTP/1000 20"]
    assert [a.fault for a in server.attempts] == [lie, ok(b"1"), lie]


def test_turns_of_one_script_meet_the_faults_of_a_sequence(faultline, dial):
    healthy = script(repeat(LINE, send(b"250\r\n")))
    server = faultline.serve(sequence(healthy, healthy, healthy & close(on=b"three")))

    assert read(dial(server, b"one\r\ntwo\r\nthree\r\nfour\r\n")) == b"250\r\n250\r\n"
    assert [a.struck is not None for a in server.attempts] == [False, False, True]


def test_script_may_come_by_chance(faultline, dial):
    server = faultline.serve(sometimes(1, script(send(b"lie")), otherwise=ok()))

    assert read(dial(server)) == b"lie"


# --- what is no script -------------------------------------------------------------------------------------


@each_row(
    ("make", "said"),
    [
        (script, "script(): expected at least one step, such as send(b'…')."),
        (repeat, "repeat(): expected at least one step, such as receive_until(b'…')."),
        (lambda: send(b""), "data=b'': expected at least one byte, as bytes."),
        (lambda: send("220"), "data='220': expected at least one byte, as bytes."),
        (lambda: send(bytearray(b"x")), "data=bytearray(b'x'): expected at least one byte, as bytes."),
        (lambda: receive_until(b""), "marker=b'': expected at least one byte, as bytes."),
        (lambda: receive_until("\r\n"), "marker='\\r\\n': expected at least one byte, as bytes."),
        (lambda: receive_until(re.compile("x")), "marker=re.compile('x'): expected at least one byte, as bytes."),
        (lambda: receive_until(re.compile(b"")), "marker=re.compile(b''): expected at least one byte, as bytes."),
        (lambda: receive_prefixed(0), "length_bytes=0: expected a whole number, from 1 to 8."),
        (lambda: receive_prefixed(9), "length_bytes=9: expected a whole number, from 1 to 8."),
        (lambda: receive_prefixed(byteorder="net"), "byteorder='net': expected one of 'big', 'little'."),
        (lambda: receive_prefixed(includes_length=1), "includes_length=1: expected True or False."),
        (lambda: receive(0), "count_bytes=0: expected a whole number of bytes, 1 or more."),
        (lambda: receive(-1), "count_bytes=-1: expected a whole number of bytes, 1 or more."),
        (lambda: receive(1.5), "count_bytes=1.5: expected a whole number of bytes, 1 or more."),
        (lambda: receive(True), "count_bytes=True: expected a whole number of bytes, 1 or more."),
        (lambda: respond(b"x"), "answer=b'x': expected an answer such as ok(b'…') or echo()."),
        (lambda: respond(reset()), "answer=reset(): expected an answer such as ok(b'…') or echo()."),
        (lambda: respond(latency(1)), "answer=latency(1): expected an answer such as ok(b'…') or echo()."),
        (lambda: respond(ok() & reset()), "answer=ok() & reset(): expected an answer such as ok(b'…') or echo()."),
        (lambda: respond(script(LINE)), "such as ok(b'…') or echo()."),
        (lambda: hold(-1), "for_seconds=-1: expected a number of seconds, 0 or more."),
        (lambda: hold("1"), "for_seconds='1': expected a number of seconds, 0 or more."),
        (lambda: hold(float("inf")), "for_seconds=inf: expected a number of seconds, 0 or more."),
        (lambda: hold(until=True), "until=True: expected a Gate()."),
        (lambda: hold(until=threading.Event), "expected a Gate()."),
    ],
)
def test_wrong_argument_is_an_error_that_says_what_was_expected(make, said):
    with pytest.raises(ParameterError) as raised:
        make()

    assert type(raised.value) is ParameterError
    assert said.removesuffix(".") in str(raised.value)


@each_row("make", [script, repeat])
@each_row("wrong", [b"220 hi\r\n", None, send, reset, 5, Gate()])
def test_what_is_no_step_is_refused(make, wrong):
    with pytest.raises(ParameterError) as raised:
        make(LINE, wrong)

    shown = getattr(wrong, "__name__", repr(wrong))
    assert str(raised.value).startswith(f"step={shown}: expected a step such as send(b'…'), or a mode such as reset()")


@each_row("make", [script, repeat])
@each_row(
    "wrong",
    [
        bad_cert("expired"),
        latency(1),
        loss(0.1),
        script(LINE),
        reset(at="request"),
        reset(at="accept"),
        reset(after_bytes=1),
        reset(after_seconds=1),
        close(on=b"x", at="response"),
        reset() & latency(1),
    ],
)
def test_mode_that_breaks_nothing_or_says_where_is_no_step(make, wrong):
    with pytest.raises(ParameterError) as raised:
        make(LINE, wrong)

    mode = repr(wrong).partition("(")[0]
    expected = (
        f"no at and no trigger, as steps have an order; write {mode}()."
        if mode in ("reset", "close")
        else "a mode that breaks an open connection, such as reset()."
    )
    assert str(raised.value) == f"step={wrong!r}: expected {expected}"


@each_row("make", [script, repeat])
@each_row("wrong", [refuse(), blackhole(), unreachable(), refuse(for_seconds=1), nxdomain(), duplicated()])
def test_mode_that_breaks_no_open_connection_is_no_step(make, wrong):
    with pytest.raises(ParameterError) as raised:
        make(LINE, wrong)

    assert str(raised.value) == f"step={wrong!r}: expected a mode that breaks an open connection, such as reset()."


@each_row("make", [script, repeat])
@each_row("last", [reset(), close(), half_close(), stall(), hold(), partition()])
def test_step_that_could_never_be_reached_is_an_error(make, last):
    with pytest.raises(ParameterError):
        make(last, send(b"never"))


def test_script_says_how_it_was_written():
    assert repr(script(send(b"hi"), reset())) == "script(send(b'hi'), reset())"
    assert (
        repr(script(LINE, hold(0.5)) & close(on=b"x")) == "script(receive_until(b'\\r\\n'), hold(0.5)) & close(on=b'x')"
    )


def test_scripts_of_the_same_steps_are_equal():
    assert script(send(b"hi"), reset()) == script(send(b"hi"), reset())
    assert script(send(b"hi"), reset()) != script(send(b"hi"), close())


# --- messages --------------------------------------------------------------------------------------------------------

ANSWERS = (b"one\n", b"two\n", b"three\n")
TALK = tuple(step for answer in ANSWERS for step in (receive_until(b"\n"), send(answer)))


@pytest.fixture
def started(tls, faultline, dial, secure):
    """A function that starts a server and connects to it, in TLS or not."""

    def start(plan):
        server = faultline.serve(plan, tls=tls)
        client = dial(server)
        return server, secure(server, client) if tls else client

    return start


@pytest.mark.parametrize("at", ["request", "response"])
@pytest.mark.parametrize("count", [0, 1, 2])
def test_break_strikes_after_this_many_messages_of_a_script(started, at, count):
    server, client = started(script(*TALK) & close(at=at, after_messages=count))
    for answer in ANSWERS[:count]:
        client.sendall(b"ask\n")
        assert read(client, len(answer)) == answer
    client.sendall(b"ask\n")

    assert read(client) == b""
    assert server.attempts[0].struck.point == at


def test_lines_that_come_together_are_one_message(faultline, dial):
    server = faultline.serve(script(*TALK) & reset(at="response", after_messages=1), strict=False)

    assert read(dial(server, b"1\n2\n3\n")) == b"one\ntwo\nthree\n"
    assert server.attempts[0].struck is None


def test_messages_are_counted_anew_in_each_turn_of_a_repeat(faultline, dial):
    turn = repeat(receive_until(b"\n"), send(b"user?\n"), receive_until(b"\n"), send(b"hi\n"))
    server = faultline.serve(sequence(script(turn), script(turn) & close(at="response", after_messages=1)))
    client = dial(server)
    for asked, answer in ((b"hello\n", b"user?\n"), (b"me\n", b"hi\n"), (b"hello\n", b"user?\n")):
        client.sendall(asked)
        assert read(client, len(answer)) == answer
    client.sendall(b"me\n")

    assert read(client) == b""
    assert [attempt.struck is not None for attempt in server.attempts] == [False, True]


# --- breaks where a script never comes -------------------------------------------------------------------------------

HELP = (receive_until(b"\n"), send(b"214 help\r\n"))


@each_row(
    ("steps", "fault", "why"),
    [
        (HELP, reset(at="idle"), "the script has no such step and never reaches 'idle'"),
        ((send(b"220"),), reset(at="request"), "the script has no such step and never reaches 'request'"),
        ((receive_until(b"\n"),), close(), "the script has no such step and never reaches 'response'"),
        ((send(b"x", below_tls=True),), close(), "the script has no such step and never reaches 'response'"),
        (HELP, reset(at="tunnel"), "the proxy answers by itself and never reaches 'tunnel'"),
        (
            (repeat(receive_request(), respond(raw(b"x"))),),
            reset(at="idle"),
            "the script has no such step and never reaches 'idle'",
        ),
        (HELP, reset(after_bytes=11), "expected after_bytes up to 10, which is all that the script has at 'response'"),
        (
            (receive(5), send(b"220")),
            reset(at="request", after_bytes=6),
            "expected after_bytes up to 5, which is all that the script has at 'request'",
        ),
        (
            (repeat(*HELP),),
            reset(after_bytes=11),
            "expected after_bytes up to 10, which is all that the script has at 'response'",
        ),
        (
            (*HELP, *HELP),
            reset(at="request", after_messages=2),
            "expected after_messages below 2, which is all that the script has at 'request'",
        ),
        (
            (send(b"220"), starttls(), *HELP),
            close(close_notify=False),
            "expected a server that begins with TLS; a script with starttls() has a time before it",
        ),
    ],
)
def test_break_where_a_script_never_comes_is_refused(steps, fault, why):
    with pytest.raises(ConflictError) as caught:
        script(*steps) & fault

    assert str(caught.value) == f"{script(*steps)!r} & {fault!r}: {why}."


@each_row(
    ("steps", "fault"),
    [
        (HELP, reset(after_bytes=10)),
        (HELP, reset(at="request", after_bytes=1000)),
        ((repeat(*HELP),), reset(at="idle")),
        ((repeat(receive_request(), respond()),), reset(at="idle")),
        ((receive_request(), respond()), reset(after_bytes=1000)),
        ((*HELP, *HELP), reset(at="request", after_messages=1)),
    ],
)
def test_break_where_a_script_comes_is_accepted(steps, fault):
    assert script(*steps) & fault


@each_row("make", [script, repeat])
@each_row("wrong", [ok(), echo(), malformed("chunk_cut")])
def test_answer_among_the_steps_is_told_respond(make, wrong):
    with pytest.raises(ParameterError) as raised:
        make(receive_request(), wrong)

    assert (
        str(raised.value)
        == f"step={wrong!r}: expected a step, or a mode that breaks the connection; write respond({wrong!r})."
    )


@each_row(
    ("last", "instead"),
    [
        (half_close(), "put it last"),
        (reset(fin_first=True), "put it last"),
        (stall(), "write stall(for_seconds=1) to go on after it"),
        (partition(), "write partition(for_seconds=1) to go on after it"),
        (hold(), "write hold(for_seconds=1) to go on after it"),
        (repeat(*HELP), "put it last"),
    ],
)
def test_step_after_the_end_is_refused_in_the_words_of_the_user(last, instead):
    with pytest.raises(ParameterError) as raised:
        script(last, close())

    assert str(raised.value) == (f"close(): expected no step after {last!r}, where the conversation ends; {instead}.")


def test_modes_of_a_script_that_a_kind_does_not_play_are_named_as_users_write_them():
    with pytest.raises(ParameterError) as raised:
        serve(script(partition(for_seconds=1)), unix=True)

    assert "Partition" not in str(raised.value)


def test_nothing_follows_a_repeat_that_only_the_client_ends():
    with pytest.raises(
        ParameterError, match=r"^send\(b'bye'\): expected no step after repeat\(.*\), where the conversation"
    ):
        script(repeat(*HELP), send(b"bye"))

    assert script(repeat(receive_request(), respond()), send(b"bye")) is not None
