"""The ledger tells the truth: what it says of an attempt is what the client did, sent, received and agreed to."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import ssl
import struct
import time

import pytest
from support import HIDES_RST, read
from support.tables import each_row

from faultline import (
    Attempt,
    Turn,
    bad_cert,
    ok,
    receive_until,
    refuse,
    reset,
    script,
    send,
    sequence,
    stall,
)

PATIENCE_SECONDS = 10.0
GET = b"GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\nhello"
UPLOAD_BYTES = 5_000_000
MORE_THAN_FITS_BYTES = 20_000_000  # into both sides' buffers, which Linux lets grow to 10 MB or so
# Before these, SSLSocket shows neither RST nor EPIPE, but an end of stream without close_notify (gh-115627).


@pytest.fixture
def dial():
    """A function that connects to a server; the connections are closed after the test."""
    with contextlib.ExitStack() as clients:

        def connect(server, *, tls=False, context=None, name="localhost"):
            client = clients.enter_context(socket.create_connection(server.address, timeout=10))
            if not tls:
                return client
            context = context or server.client_context()
            return clients.enter_context(context.wrap_socket(client, server_hostname=name))

        yield connect


def post(body, *fields):
    """A request that carries a body."""
    head = [b"POST /form HTTP/1.1", b"Host: localhost", b"Content-Length: %d" % len(body), *fields]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def wait_until(server, is_so):
    """Return when the last attempt is so; `attempts` waits for the server's loop each time."""
    server.wait_for_attempts(1)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so(server.attempts[-1]):
        assert time.monotonic() < deadline


def has_struck(attempt):
    return attempt.struck is not None


def leave(client, how):
    """Close by FIN or by RST."""
    if how == "RST":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    else:
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
            client.recv(65_536)  # closing with unread input, such as session tickets, would send RST
    client.close()


# --- TLS -------------------------------------------------------------------------------------------------


def tls_facts(faultline, dial, *, name="localhost", version=None, alpn=()):
    """What the client agreed to, and what the ledger says of it."""
    server = faultline.serve(ok(b"hello"), tls=True)
    context = server.client_context()
    context.check_hostname = name != "localhost.test"
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if alpn:
        context.set_alpn_protocols(alpn)
    client = dial(server, tls=True, context=context, name=name)
    client.sendall(GET)
    read(client, len(RESPONSE))
    return client, server.attempts[0].tls


@each_row("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_version_of_tls_is_the_one_that_was_agreed(faultline, dial, version):
    client, facts = tls_facts(faultline, dial, version=version)

    assert facts.version == client.version() == version.name.replace("_", ".")


@each_row(("name", "sni"), [("localhost", "localhost"), ("localhost.test", "localhost.test"), ("127.0.0.1", "")])
def test_name_is_the_one_that_the_client_asked_for(faultline, dial, name, sni):
    _, facts = tls_facts(faultline, dial, name=name)

    assert facts.sni == sni  # an address is not sent (RFC 6066, 3)


def test_attempt_without_tls_has_no_facts_of_it(faultline, dial):
    server = faultline.serve(ok(b"hello"))
    client = dial(server)
    client.sendall(GET)
    read(client, len(RESPONSE))

    assert server.attempts[0].tls is None


@each_row("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@each_row(
    ("kind", "alert"),
    [
        ("expired", "certificate_expired"),
        ("not_yet_valid", "bad_certificate"),
        ("wrong_host", "bad_certificate"),
        ("self_signed", "unknown_ca"),
        ("untrusted_root", "unknown_ca"),
    ],
)
def test_alert_is_the_one_by_which_the_client_rejects_the_certificate(faultline, dial, kind, alert, version):
    server = faultline.serve(bad_cert(kind))
    context = server.client_context()
    context.minimum_version = context.maximum_version = version
    with pytest.raises(ssl.SSLCertVerificationError):
        dial(server, tls=True, context=context)
    (attempt,) = server.attempts

    assert attempt.tls.alert == alert  # by its name in RFC 8446, 6
    assert (attempt.tls.sni, attempt.struck.point) == ("localhost", "handshake")
    assert (attempt.ended_by, attempt.ended_how) == ("client", "FIN")


def test_client_that_accepts_the_certificate_sends_no_alert(faultline, dial):
    _, facts = tls_facts(faultline, dial)

    assert facts.alert == ""


def test_server_ends_the_connection_of_a_client_that_speaks_no_tls(faultline, dial):
    server = faultline.serve(ok(), tls=True)
    client = dial(server)
    client.sendall(GET)
    read(client)
    (attempt,) = server.attempts

    assert (attempt.ended_by, attempt.ended_how) == ("server", "FIN")
    assert (attempt.tls.alert, attempt.received_bytes) == ("", 0)


# --- who ended it, and how ---------------------------------------------------------------------------------


@each_row("how", ["FIN", "RST"])
def test_client_that_leaves_instead_of_shaking_hands_is_seen_to(faultline, dial, how):
    server = faultline.serve(ok(), tls=True)
    client = dial(server)
    server.wait_for_attempts(1, at="handshake")
    leave(client, how)
    (attempt,) = server.attempts

    assert (attempt.point, attempt.ended_by, attempt.ended_how) == ("handshake", "client", how)


def test_client_that_leaves_a_response_unread_resets_the_connection(faultline, dial, tls):
    server = faultline.serve(ok(bytes(MORE_THAN_FITS_BYTES)), tls=tls)
    client = dial(server, tls=tls)
    client.sendall(GET)
    read(client, 100)
    client.close()
    wait_until(server, lambda attempt: attempt.ended_by is not None)
    (attempt,) = server.attempts

    assert (attempt.ended_by, attempt.ended_how) == ("client", "RST")
    assert 100 <= attempt.sent_bytes < MORE_THAN_FITS_BYTES


def test_tls_client_that_says_goodbye_has_left_by_fin(faultline, dial):
    server = faultline.serve(ok(b"hello"), tls=True)
    client = dial(server, tls=True)
    client.sendall(GET)
    read(client, len(RESPONSE))
    client.unwrap().close()
    (attempt,) = server.attempts

    assert (attempt.ended_by, attempt.ended_how, attempt.tls.alert) == ("client", "FIN", "")


# --- how long the client waited ------------------------------------------------------------------------------


@pytest.mark.slow
def test_client_that_gives_up_on_a_stall_has_waited_so_long(faultline, dial, tls):
    server = faultline.serve(stall(), tls=tls)
    client = dial(server, tls=tls)
    client.sendall(GET)
    wait_until(server, has_struck)
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.recv(1)
    before = server.attempts[0].waited_seconds
    client.close()
    (attempt,) = server.attempts

    assert before is None
    assert attempt.waited_seconds >= 0.1
    assert attempt.waited_seconds == attempt.ended_seconds - attempt.struck.at_seconds


# --- who said what -------------------------------------------------------------------------------------------


def said(attempt):
    """The turns without their times."""
    return [(turn.by, turn.count_bytes, turn.begins) for turn in attempt.turns]


def test_turns_are_what_the_client_sent_and_received(faultline, dial, tls):
    server = faultline.serve(ok(b"hello"), tls=tls)
    client = dial(server, tls=tls)
    for request in (GET, post(b"x" * 200)):
        client.sendall(request)
        read(client, len(RESPONSE))
    first, second = server.attempts

    assert said(first) == [("client", len(GET), GET), ("server", len(RESPONSE), RESPONSE[:80])]
    assert said(second) == [
        ("client", len(post(b"x" * 200)), post(b"x" * 200)[:80]),
        ("server", len(RESPONSE), RESPONSE[:80]),
    ]
    times = [first.started_seconds, *(turn.at_seconds for turn in (*first.turns, *second.turns)), server.ledger.now()]
    assert times == sorted(times)


def test_pieces_that_follow_each_other_are_one_turn(faultline, dial, tls):
    server = faultline.serve(ok(b"hello"), tls=tls)
    client = dial(server, tls=tls)
    for end in range(1, len(GET) + 1):
        client.sendall(GET[end - 1 : end])
        wait_until(server, lambda attempt, end=end: attempt.received_bytes == end)
    read(client, len(RESPONSE))

    assert said(server.attempts[0])[0] == ("client", len(GET), GET)


def test_turns_of_a_dialog_alternate(faultline, dial, tls):
    dialog = script(send(b"220 hi\r\n"), receive_until(b"\r\n"), send(b"250-mx\r\n250 OK\r\n"), receive_until(b"\r\n"))
    server = faultline.serve(dialog, tls=tls)
    client = dial(server, tls=tls)
    read(client, 8)
    client.sendall(b"EHLO me\r\n")
    read(client, 16)
    client.sendall(b"QUIT\r\n")
    read(client)
    (attempt,) = server.attempts

    assert [(turn.by, turn.begins) for turn in attempt.turns] == [
        ("server", b"220 hi\r\n"),
        ("client", b"EHLO me\r\n"),
        ("server", b"250-mx\r\n250 OK\r\n"),
        ("client", b"QUIT\r\n"),
    ]
    assert (attempt.sent_bytes, attempt.received_bytes) == (24, 15)


def test_interim_response_is_counted_as_sent(faultline, dial):
    server = faultline.serve(ok(b"hello"))
    client = dial(server)
    head, _, body = post(b"late", b"Expect: 100-continue").partition(b"\r\n\r\n")
    client.sendall(head + b"\r\n\r\n")
    interim = read(client, 25)
    client.sendall(body)
    received = interim + read(client, len(RESPONSE))
    (attempt,) = server.attempts

    assert interim == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert attempt.sent_bytes == len(received)
    assert [by for by, _, _ in said(attempt)] == ["client", "server", "client", "server"]


# --- what was asked ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", bytes(range(256))])
def test_request_is_what_the_client_sent(faultline, dial, body, tls):
    server = faultline.serve(ok(b"hello"), tls=tls)
    client = dial(server, tls=tls)
    client.sendall(post(body, b"X-Token: caf\xe9"))
    read(client, len(RESPONSE))
    (attempt,) = server.attempts
    request = attempt.request

    assert (request.method, request.target, request.body, request.body_bytes) == ("POST", "/form", body, len(body))
    assert request.headers == (("Host", "localhost"), ("Content-Length", str(len(body))), ("X-Token", "caf\xe9"))
    assert attempt.received_bytes == len(post(body, b"X-Token: caf\xe9"))


def test_header_is_found_whatever_its_case(faultline, dial):
    server = faultline.serve(ok(b"hello"))
    client = dial(server)
    client.sendall(b"GET /a HTTP/1.1\r\nHost: localhost\r\nX-Twice: one\r\nx-twice: two\r\nX-Empty:\r\n\r\n")
    read(client, len(RESPONSE))
    request = server.attempts[0].request

    assert [request.header(name) for name in ("x-twice", "X-TWICE", "Host", "x-empty")] == [
        "one",
        "one",
        "localhost",
        "",
    ]
    assert request.header("x-none") is None
    assert request.header("x-none", "else") == "else"


def test_bytes_of_a_large_upload_are_all_counted(faultline, dial, tls):
    server = faultline.serve(ok(b"hello"), tls=tls)
    client = dial(server, tls=tls)
    upload = post(bytes(UPLOAD_BYTES))
    client.sendall(upload)
    received = read(client, len(RESPONSE))
    (attempt,) = server.attempts

    assert (attempt.received_bytes, attempt.sent_bytes) == (len(upload), len(received))
    assert attempt.request.body == bytes(UPLOAD_BYTES)
    assert [(by, count) for by, count, _ in said(attempt)] == [("client", len(upload)), ("server", len(RESPONSE))]


@pytest.mark.parametrize("count", [1, 100_000])
def test_reset_in_an_upload_comes_after_exactly_so_many_bytes(faultline, dial, count, tls):
    server = faultline.serve(reset(at="request", after_bytes=count), tls=tls)
    client = dial(server, tls=tls)
    with pytest.raises(OSError) as raised:
        client.sendall(post(bytes(UPLOAD_BYTES)))
    (attempt,) = server.attempts

    assert type(raised.value) is (ssl.SSLEOFError if tls and HIDES_RST else ConnectionResetError)
    assert (attempt.received_bytes, attempt.struck.after_bytes) == (count, count)
    assert attempt.request is None
    assert (attempt.ended_by, attempt.ended_how) == ("server", "RST")


# --- as JSON -------------------------------------------------------------------------------------------------


def test_json_says_the_same_as_the_attempts(faultline, dial):
    server = faultline.serve(sequence(refuse(), reset(after_bytes=10), ok(b"hello") & stall()), tls=True)
    with pytest.raises(ConnectionRefusedError):
        dial(server)
    body = b"caf\xc3\xa9 \xff"
    with contextlib.suppress(ssl.SSLEOFError, ConnectionResetError):
        client = dial(server, tls=True)
        client.sendall(post(body))
        read(client)
    client = dial(server, tls=True)
    client.sendall(GET)
    wait_until(server, has_struck)
    leave(client, "FIN")
    attempts = server.attempts
    refused, cut, stalled = json.loads(server.ledger.to_json())["attempts"]

    names = {field.name for field in dataclasses.fields(Attempt)} - {"pieces", "missing_bytes"}
    assert set(refused) == set(cut) == set(stalled) == names | {"struck"}
    assert [each["number"] for each in (refused, cut, stalled)] == [1, 2, 3]
    assert [each["fault"] for each in (refused, cut, stalled)] == [repr(attempt.fault) for attempt in attempts]
    assert (refused["connection"], refused["point"], refused["request"], refused["tls"]) == (
        None,
        "connect",
        None,
        None,
    )
    assert (refused["ended_by"], refused["ended_how"]) == ("server", "RST")
    seconds = attempts[1].struck.at_seconds
    assert cut["struck"] == {"part": "break", "point": "response", "after_bytes": 10, "at_seconds": seconds}
    assert cut["strikes"] == [cut["struck"]]
    assert cut["request"] == {
        "method": "POST",
        "target": "/form",
        "headers": [["Host", "localhost"], ["Content-Length", str(len(body))]],
        "body": "caf\xc3\xa9 \xff",
        "body_bytes": len(body),
    }
    assert (cut["sent_bytes"], cut["received_bytes"]) == (10, len(post(body)))
    assert [Turn(**turn | {"begins": turn["begins"].encode("latin-1"), "pauses": ()}) for turn in cut["turns"]] == [
        dataclasses.replace(turn, pauses=()) for turn in attempts[1].turns
    ]
    assert stalled["tls"] == dataclasses.asdict(attempts[2].tls) | {"offered": []}
    assert (stalled["ended_by"], stalled["ended_how"]) == ("client", "FIN")
    assert (stalled["started_seconds"], stalled["ended_seconds"], stalled["waited_seconds"]) == (
        attempts[2].started_seconds,
        attempts[2].ended_seconds,
        attempts[2].waited_seconds,
    )


def test_json_of_a_server_that_met_nobody_is_empty(faultline):
    assert json.loads(faultline.serve(ok()).ledger.to_json()) == {"version": 1, "dropped": 0, "attempts": []}
