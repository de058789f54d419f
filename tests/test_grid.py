"""The grid: verbs at points by triggers, plain and in TLS, as a plain client and the ledger see it."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import time
from dataclasses import dataclass
from functools import partial

import pytest
from support import HIDES_EOF, HIDES_RST, read
from support.tables import each_row

from faultline import ParameterError, close, half_close, ok, partition, reset, script, send, stall
from faultline._core.errors import UnsupportedError
from faultline._core.points import TABLE
from faultline._net import system

OPENING = {row.point for row in TABLE if row.is_opening}
REQUEST = b"GET /grid HTTP/1.1\r\nHost: localhost\r\nX-Words: never odd or even\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\nhello"
PATIENCE_SECONDS = 10.0
PAUSE_SECONDS = 0.02
SILENCE_SECONDS = 0.05


def may_filter():
    try:
        system.check_filter()
    except UnsupportedError:
        return False
    return True


needs_filter = pytest.mark.skipif(not may_filter(), reason="attaching a socket filter takes CAP_NET_ADMIN here")


@dataclass(frozen=True)
class Verb:
    """A mode, what a client sees of it, and how the ledger says that it ended."""

    mode: object
    sees: type[Exception] | None
    ended: tuple[str, str] | None
    goes_on_reading: bool = False

    @property
    def is_silent(self):
        return self.sees is TimeoutError

    def seen(self, point, *, tls):
        """How the client sees the end: an exception type, or None for the end of the stream."""
        if not tls:
            return self.sees
        if point in OPENING:
            return self.sees or (ssl.SSLZeroReturnError if HIDES_EOF else ssl.SSLEOFError)
        return ssl.SSLEOFError if HIDES_RST and self.sees is ConnectionResetError else self.sees


VERBS = [
    Verb(reset, ConnectionResetError, ("server", "RST")),
    Verb(close, None, ("server", "FIN")),
    Verb(half_close, None, ("client", "FIN"), goes_on_reading=True),
    Verb(stall, TimeoutError, ("client", "FIN")),
    Verb(partition, TimeoutError, (None, None)),
]


@dataclass(frozen=True)
class Row:
    """A point with a trigger: what passes there before the strike."""

    point: str
    trigger: dict
    after_bytes: int = 0  # of the point
    gets: bytes = b""  # of the response
    pieces: tuple[bytes, ...] = (REQUEST,)

    def __str__(self):
        said = ",".join(f"{k}={v.pattern if isinstance(v, re.Pattern) else v}" for k, v in self.trigger.items())
        return f"{self.point}-{said or 'at once'}" + ("-in two pieces" if len(self.pieces) > 1 else "")


def rows():
    """Every meaningful combination of point and trigger."""
    yield Row("accept", {}, pieces=())
    yield Row("handshake", {}, pieces=())
    yield Row("request", {})
    yield Row("response", {})
    yield Row("idle", {}, gets=RESPONSE)
    yield Row("idle", {"after_seconds": PAUSE_SECONDS}, gets=RESPONSE)
    yield Row("handshake", {"after_bytes": 100}, 100, pieces=())
    yield Row("request", {"after_bytes": 10}, 10)
    yield Row("response", {"after_bytes": 10}, 10, RESPONSE[:10])
    yield Row("response", {"after_bytes": len(RESPONSE)}, len(RESPONSE), RESPONSE)
    end = REQUEST.index(b"odd") + 3
    for marker in (b"odd", re.compile(rb"od{2}")):
        yield Row("request", {"on": marker}, end)
        yield Row("request", {"on": marker}, end, pieces=(REQUEST[: end - 2], REQUEST[end - 2 :]))
    end = RESPONSE.index(b"Length") + 6
    for marker in (b"Length", re.compile(rb"L[a-z]+")):
        yield Row("response", {"on": marker}, end, RESPONSE[:end])


def cells():
    """Each verb at each point, and each trigger with two of the verbs, plain and in TLS: the model has the others."""
    for number, row in enumerate(rows()):
        for at, verb in enumerate(VERBS):
            turn = (at + number) % len(VERBS)
            if turn < 2 or not row.trigger:
                tls = turn % 2 == 1 or row.point == "handshake"
                marks = needs_filter if verb.mode is partition else ()
                name = f"{verb.mode.__name__}-{row}-{'tls' if tls else 'plain'}"
                yield pytest.param(verb, row, tls, id=name, marks=marks)


def wait_for_strike(server):
    """Return when the fault of the last attempt has struck; `attempts` waits for the server's loop each time."""
    server.wait_for_attempts(1)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while server.attempts[-1].struck is None:
        assert time.monotonic() < deadline


def begin_handshake(client):
    """Say hello, and don't wait for the answer."""
    client.setblocking(False)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()


def say(client, server, pieces):
    """Send each piece when the server has read the one before."""
    said = 0
    for piece in pieces:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while said and server.attempts[-1].received_bytes < said:
            assert time.monotonic() < deadline
        client.sendall(piece)
        said += len(piece)


def meet(server, row, *, tls, is_silent, then=lambda _client: None):
    """Play the client: what it received, and how it saw the end."""
    received = b""
    client = socket.socket()
    if tls:
        client = server.client_context().wrap_socket(
            client, server_hostname="localhost", do_handshake_on_connect=False, suppress_ragged_eofs=False
        )
    with client:
        client.settimeout(10)
        try:
            client.connect(server.address)
            if tls and row.point in OPENING and is_silent:
                begin_handshake(client)
            elif tls:
                client.do_handshake()
            say(client, server, row.pieces)
            received += read(client, len(row.gets))
            if is_silent:
                wait_for_strike(server)
                client.settimeout(SILENCE_SECONDS)
            if tls and row.point in OPENING:
                client.do_handshake()
            while data := client.recv(65_536):
                received += data
        except OSError as error:
            return received, type(error)
        then(client)
        return received, None


def read_of_client(verb, row):
    """How many application bytes of the client the server has read."""
    whole = sum(map(len, row.pieces))
    if row.point != "request" or "on" in row.trigger or verb.goes_on_reading:
        return whole
    return row.after_bytes


@pytest.mark.unmeasured
@pytest.mark.parametrize(("verb", "row", "tls"), list(cells()))
def test_client_and_ledger_see_the_verb_at_its_point(faultline, verb, row, tls):
    fault = verb.mode(at=row.point, **row.trigger)
    server = faultline.serve(fault, tls=tls, answer=ok(b"hello"))

    seen = meet(server, row, tls=tls, is_silent=verb.is_silent)
    (attempt,) = server.attempts

    assert seen == (row.gets, verb.seen(row.point, tls=tls))
    assert (attempt.fault, attempt.point, attempt.connection) == (fault, row.point, 1)
    assert (attempt.struck.point, attempt.struck.after_bytes) == (row.point, row.after_bytes)
    assert attempt.struck.at_seconds - attempt.started_seconds >= row.trigger.get("after_seconds", 0)
    assert (attempt.ended_by, attempt.ended_how) == verb.ended
    assert attempt.sent_bytes == len(row.gets)
    assert attempt.received_bytes == read_of_client(verb, row)
    assert (attempt.request is not None) is (row.point in ("response", "idle"))


# --- with a server that has more than one thing to say ---------------------------------------------------


@pytest.mark.parametrize("marker", [b"READY", re.compile(rb"R[A-Z]+Y")], ids=["bytes", "pattern"])
def test_marker_is_found_where_the_server_sends_it_in_two_pieces(faultline, marker):
    server = faultline.serve(script(send(b"220 REA"), send(b"DY to go\r\n")) & close(at="response", on=marker))

    seen = meet(server, Row("response", {}, pieces=()), tls=False, is_silent=False)

    assert seen == (b"220 READY", None)
    assert server.attempts[0].struck.after_bytes == 9


def test_marker_that_is_said_twice_strikes_at_the_first(faultline):
    server = faultline.serve(close(at="response", on=b"l"), answer=ok(b"hello"))

    received, _ = meet(server, Row("response", {}), tls=False, is_silent=False)

    assert received == RESPONSE[: RESPONSE.index(b"l") + 1]


def test_next_request_stops_the_timer_of_an_idle_fault(faultline, tls):
    server = faultline.serve(reset(at="idle", after_seconds=60), tls=tls, answer=ok(b"hello"), strict=False)
    answers = []

    def ask_again(client):
        client.sendall(REQUEST)
        return read(client, len(RESPONSE))

    with contextlib.ExitStack() as stack:
        client = stack.enter_context(socket.create_connection(server.address, timeout=10))
        if tls:
            client = stack.enter_context(server.client_context().wrap_socket(client, server_hostname="localhost"))
        answers += [ask_again(client), ask_again(client)]

    assert answers == [RESPONSE, RESPONSE]
    assert [(a.connection, a.struck) for a in server.attempts] == [(1, None), (1, None)]


@each_row(("point", "tls"), [("request", False), ("response", True), ("idle", False)])
def test_server_reads_on_after_a_half_close(faultline, point, tls):
    server = faultline.serve(half_close(at=point), tls=tls, answer=ok(b"hello"))
    more = bytes(100_000)

    _, end = meet(
        server,
        Row(point, {}, gets=RESPONSE if point == "idle" else b""),
        tls=tls,
        is_silent=False,
        then=lambda client: client.sendall(more),
    )
    (attempt,) = server.attempts

    assert end is None
    assert attempt.received_bytes == len(REQUEST) + len(more)
    assert (attempt.ended_by, attempt.ended_how) == ("client", "FIN")


@each_row("point", ["request", "response", "idle"])
def test_close_without_close_notify_truncates_tls(faultline, point):
    server = faultline.serve(close(at=point, close_notify=False), tls=True, answer=ok(b"hello"))

    gets = RESPONSE if point == "idle" else b""
    seen = meet(server, Row(point, {}, gets=gets), tls=True, is_silent=False)

    assert seen == (gets, None if HIDES_EOF else ssl.SSLEOFError)
    assert (server.attempts[0].ended_by, server.attempts[0].ended_how) == ("server", "FIN")


def error_of_sending(client, server):
    """What a send raises when the server has ended the connection."""
    server.wait_for_attempts(1)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while server.attempts[0].ended_by is None:
        assert time.monotonic() < deadline
    try:
        client.sendall(b"more")
    except OSError as error:
        return type(error)
    return None


# After close_notify was read, OpenSSL reports any failure to write as the end of the session (SSL_get_error(3)).
@pytest.mark.parametrize(
    ("tls", "error"), [(False, BrokenPipeError), (True, ssl.SSLZeroReturnError)], ids=["plain", "tls"]
)
def test_client_that_reads_meets_the_end_of_the_stream_and_then_an_error_of_sending(faultline, tls, error):
    server = faultline.serve(reset(fin_first=True), tls=tls)
    later = []

    seen = meet(
        server,
        Row("response", {}),
        tls=tls,
        is_silent=False,
        then=lambda client: later.append(error_of_sending(client, server)),
    )

    assert (seen, later) == ((b"", None), [error])
    assert (server.attempts[0].ended_by, server.attempts[0].ended_how) == ("server", "RST")


def test_client_that_only_writes_meets_a_broken_pipe_after_fin_and_rst(faultline, tls):
    server = faultline.serve(reset(fin_first=True), tls=tls)

    with contextlib.ExitStack() as stack:
        client = stack.enter_context(socket.create_connection(server.address, timeout=10))
        if tls:
            client = stack.enter_context(server.client_context().wrap_socket(client, server_hostname="localhost"))
        client.sendall(REQUEST)
        error = error_of_sending(client, server)

    assert error is (ssl.SSLEOFError if tls and HIDES_RST else BrokenPipeError)


# --- bytes of the handshake ------------------------------------------------------------------------------


def client_hello(server):
    """The first record of a real client."""
    outgoing = ssl.MemoryBIO()
    session = server.client_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        session.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize(
    ("verb", "count"),
    [
        pytest.param(
            verb, count, id=f"{verb.mode.__name__}-{count}", marks=needs_filter if verb.mode is partition else ()
        )
        for verb, count in zip(VERBS, [0, 1, 5, 100, 500], strict=True)
    ],
)
def test_client_gets_exactly_so_many_bytes_of_the_servers_flight(faultline, verb, count):
    server = faultline.serve(verb.mode(at="handshake", after_bytes=count))
    row = Row("handshake", {}, gets=bytes(count), pieces=(client_hello(server),))

    flight, end = meet(server, row, tls=False, is_silent=verb.is_silent)
    (attempt,) = server.attempts

    assert (len(flight), end) == (count, verb.sees)
    assert flight[:3] == b"\x16\x03\x03"[:count]  # a record of the handshake (RFC 8446, 5.1)
    assert (attempt.struck.after_bytes, attempt.sent_bytes, attempt.received_bytes) == (count, 0, 0)


# --- what means nothing ----------------------------------------------------------------------------------

MEANINGLESS = [
    (
        {"at": "accept", "after_bytes": 1},
        r"after_bytes=1: expected no after_bytes at 'accept', where no bytes are counted; ",
    ),
    (
        {"at": "idle", "after_bytes": 1},
        r"after_bytes=1: expected no after_bytes at 'idle', where no bytes are counted; ",
    ),
    *(
        ({"at": point, "on": b"x"}, rf"on=b'x': expected at='request', .*, not at='{point}', where no bytes pass\.")
        for point in ("accept", "handshake", "idle")
    ),
    *(
        ({"at": point, "on": b"x", "after_bytes": 1}, r"after_bytes=1, on=b'x': expected one of the two")
        for point in ("request", "response", None)
    ),
    ({"on": b""}, r"on=b'': expected at least one byte"),
    ({"on": re.compile(b"")}, r"on=.*: expected at least one byte"),
    ({"on": "text"}, r"on='text': expected bytes, or a pattern compiled from bytes"),
    ({"on": re.compile("text")}, r"on=.*: expected bytes, or a pattern compiled from bytes"),
    (
        {"at": "connect"},
        r"at='connect': expected one of 'accept', 'handshake', 'request', 'response', 'tunnel', 'idle'",
    ),
    ({"at": "respones"}, r"at='respones': expected one of .* Did you mean 'response'\?"),
    *(
        ({"after_bytes": value}, rf"after_bytes={value}: expected a whole number of bytes, 0 or more\.")
        for value in (-1, True, 1.5, None)
    ),
    *(
        ({"after_seconds": value}, rf"after_seconds={value}: expected a number of seconds, 0 or more\.")
        for value in (-0.1, float("nan"), float("inf"), True, None)
    ),
]


@each_row("mode", [verb.mode for verb in VERBS])
@each_row(("arguments", "message"), MEANINGLESS)
def test_combination_that_means_nothing_is_an_error_when_it_is_made(mode, arguments, message):
    with pytest.raises(ParameterError, match=message) as raised:
        mode(**arguments)

    assert type(raised.value) is ParameterError


@each_row("mode", [reset, half_close, stall, partition])
def test_only_close_may_leave_out_close_notify(mode):
    with pytest.raises(TypeError):
        partial(mode, at="response")(close_notify=False)


def test_break_at_the_handshake_brings_tls_with_it(faultline):
    server = faultline.serve(reset(at="handshake"), strict=False)

    assert server.url.startswith("https://")
