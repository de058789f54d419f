"""Recordings: what a server said, as a script that stands alone, in a file, and as a capture."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import ssl
from functools import partial
from pathlib import Path

import httpx
import pytest
from support import PATIENCE_SECONDS, read_until
from support.command import running
from support.tables import each_row

import faultline
from faultline import (
    ParameterError,
    Recording,
    close,
    http_proxy,
    load,
    ok,
    receive,
    receive_all,
    receive_prefixed,
    receive_request,
    receive_until,
    relay,
    reply,
    reset,
    script,
    send,
    sequence,
    serve,
    socks_proxy,
    starttls,
    status,
)
from faultline._core.attempts import Attempt
from faultline._core.masking import Masker
from faultline._core.pieces import Piece, Recorder, Room
from faultline._core.recording import MADE, from_json
from faultline._core.replay import reading, with_masks
from faultline._core.websocket_facts import WebSocketFacts
from faultline._front.command import main
from faultline._front.record import check_place
from faultline._front.recorded import module_of

GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
CHUNKED = b"PUT / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"


def talk(server, *said, leaves=True, context=None):
    """Say things to a server, each once it has answered the one before, and return the answers."""
    answers = []
    with contextlib.closing(socket.create_connection(server.address, PATIENCE_SECONDS)) as raw:
        connection = context.wrap_socket(raw, server_hostname="127.0.0.1") if context else raw
        for data in said:
            connection.sendall(data)
            answers.append(connection.recv(1000))
        if leaves:
            connection.close()
        else:
            answers.append(connection.recv(1))
    return answers


def recorded(plan, *said, connections=1, leaves=True, **options):
    """The ledger of a relay in front of a server that plays this plan."""
    with serve(plan, strict=False) as real, relay(real, record=True, **options) as server:
        for _ in range(connections):
            talk(server, *said, leaves=leaves)
        server.wait_for_attempts(connections, at="end")
        return server.ledger


ECHOES = script(*[receive_until(b"\n"), send(b"a line\n"), receive_until(b"\n"), send(b"another\n"), receive_all()])


# --- steps -----------------------------------------------------------------------------------------------------------


@each_row(
    ("said", "steps"),
    [
        (b"NOOP\r\n", [receive_until(b"\n")]),
        (b"one\ntwo\n", [receive(8)]),
        (b"\x00\x01\n", [receive(3)]),
        (b"Subject: x\r\n\r\nhi\r\n.\r\n", [receive_until(b"\r\n.\r\n")]),
        (b"*1\r\n$4\r\nPING\r\n", [receive(14)]),
        (GET, [receive_request()]),
        (GET * 2, [receive_request()] * 2),
        (GET + b"GET / HT", [receive_request(), receive(8)]),
        (b"GET / HTTP/1.1\r\nHost: test\r\n", [receive(28)]),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", [receive_request()]),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab", [receive_request(head_only=True), receive(2)]),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n", [receive_request(head_only=True)]),
        (CHUNKED + b"3\r\nabc\r\n0\r\n\r\n" + GET, [receive_request()] * 2),
        (CHUNKED + b"0\r\n\r\n", [receive_request()]),
        (CHUNKED + b"3\r\nabc", [receive_request(head_only=True), receive(6)]),
        (CHUNKED + b"3\r\nabc\r\n0\r\n", [receive_request(head_only=True), receive(11)]),
        (CHUNKED + b"7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n" + GET, [receive_request()] * 2),
        (CHUNKED + b"3;x=y\r\nabc\r\n00\r\nX-Sum: 1\r\n\r\n" + GET, [receive_request()] * 2),
    ],
)
def test_a_script_waits_by_the_structure_of_what_a_client_says(said, steps):
    assert [*reading(said)] == steps
    if receive_request() in steps:
        with serve(script(*steps, send(b"done")), strict=False) as server:
            assert talk(server, said) == [b"done"]


LINES = [receive_until(b"\n"), send(b"a line\n"), receive_until(b"\n"), send(b"another\n")]


@each_row(
    ("plan", "said", "options", "script_made"),
    [
        (ECHOES, (b"a\n", b"b\n"), {}, script(*LINES, receive_all())),
        (ECHOES, (b"a\n", b"b\n"), {"connections": 3}, script(*LINES, receive_all())),
        (script(*LINES), (b"a\n", b"b\n"), {"leaves": False}, script(*LINES)),
        (script(*LINES, reset()), (b"a\n", b"b\n"), {}, script(*LINES, reset())),
        (sequence(script(send(b"hi")), script(send(b"ho"))), (b"",), {"connections": 2, "leaves": False},
         sequence(script(send(b"hi")), script(send(b"ho")))),
        (close(at="accept"), (b"",), {}, close(at="accept")),
        (ok(), (), {}, script(receive_all())),
    ],
)  # fmt: skip
def test_connections_end_as_they_were_ended(plan, said, options, script_made):
    if plan == script(*LINES, reset()):

        def talks():
            with serve(plan) as real, relay(real, record=True) as server:
                with socket.create_connection(server.address, PATIENCE_SECONDS) as client:
                    for data in said:
                        client.sendall(data)
                        client.recv(100)
                    with pytest.raises(ConnectionResetError):
                        client.recv(1)
                return server.ledger

        assert talks().to_script() == script_made
        return
    assert recorded(plan, *said, **options).to_script() == script_made


def test_a_client_may_still_be_connected():
    with (
        serve(ECHOES) as real,
        relay(real, record=True) as server,
        socket.create_connection(server.address, PATIENCE_SECONDS) as client,
    ):
        client.sendall(b"a\n")
        assert client.recv(100) == b"a line\n"
        plan = server.ledger.to_script()

    assert plan == script(receive_until(b"\n"), send(b"a line\n"), receive_all())


def test_a_client_that_says_its_last_word_is_waited_for_no_longer():
    with serve(script(receive_until(b"\n"), send(b"hi\n"), receive(4))) as real, relay(real, record=True) as server:
        with socket.create_connection(server.address, PATIENCE_SECONDS) as client:
            client.sendall(b"a\n")
            assert client.recv(100) == b"hi\n"
            client.sendall(b"QUIT")
        server.wait_for_attempts(1, at="end")
        plan = server.ledger.to_script()

    assert plan == script(receive_until(b"\n"), send(b"hi\n"), receive(4))


@pytest.mark.slow
@pytest.mark.measured
@each_row("isolated", [False, True])
def test_what_was_recorded_answers_as_it_did(isolated):
    with relay(serve_pages(), record=True, isolated=isolated) as server:
        said = talk(server, GET, b"HEAD / HTTP/1.1\r\nHost: another\r\n\r\n")
        plan = server.ledger.to_script()

    with serve(plan) as server:
        assert talk(server, GET.replace(b"test", b"elsewhere"), GET) == said


@each_row(
    ("kind", "asks", "reply"),
    [
        ("http", "CONNECT {0}:{1} HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 200 Connection established\r\n\r\n"),
        ("http in TLS", "CONNECT {0}:{1} HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 200 Connection established\r\n\r\n"),
        ("socks", "\4\1{2}\x7f\0\0\1\0", b"\0\x5a\0\0\0\0\0\0"),
    ],
)
@pytest.mark.parametrize("is_early", [False, True])
def test_a_proxy_records_what_is_said_through_it(kind, asks, reply, is_early):
    start = socks_proxy if kind == "socks" else http_proxy
    with (
        serve(ECHOES, strict=False) as real,
        start(record=True, strict=False, **({"tls": True} if "TLS" in kind else {})) as server,
    ):
        asked = asks.format(*real.address, real.port.to_bytes(2, "big").decode("latin-1")).encode("latin-1")
        context = server.client_context() if "TLS" in kind else None
        refused = asked.replace(b"127.0.0.1", b"192.0.2.1").replace(b"\x7f\0\0\1", b"\xc0\0\2\1")
        assert talk(server, refused, context=context)
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(socket.create_connection(server.address, PATIENCE_SECONDS))
            client = (
                stack.enter_context(context.wrap_socket(client, server_hostname="127.0.0.1")) if context else client
            )
            client.sendall(asked + (b"a\n" if is_early else b""))
            assert read_until(client, reply) == reply
            client.sendall(b"" if is_early else b"a\n")
            assert read_until(client, b"\n") == b"a line\n"
            client.sendall(b"b\n")
            assert read_until(client, b"\n") == b"another\n"
        server.wait_for_attempts(2, at="end")
        ledger = server.ledger

    assert ledger.recording() == Recording(((*LINES, receive_all()),))


def test_a_ledger_that_records_already_keeps_its_limit():
    with serve(ok()) as real, relay(real, record=100) as server:
        server.ledger.records(1)

        assert server.ledger.record_bytes == 100


def test_tls_in_the_tunnel_of_a_proxy_is_recorded_at_the_server():
    with serve(ok(), tls=True, strict=False) as real, http_proxy(record=True) as server:
        with socket.create_connection(server.address, PATIENCE_SECONDS) as client:
            client.sendall(b"CONNECT %b HTTP/1.1\r\nHost: x\r\n\r\n" % real.hostport.encode())
            assert read_until(client, b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
            with real.client_context().wrap_socket(client, server_hostname="127.0.0.1"):
                pass
        server.wait_for_attempts(1, at="end")
    with pytest.raises(ParameterError, match=r"record at the server instead, by a relay\(…, tls='terminate'"):
        server.ledger.to_script()


def test_a_proxy_that_has_passed_nothing_on_has_no_script():
    with http_proxy(status(407), record=True) as server:
        assert talk(server, b"CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: x\r\n\r\n")[0].startswith(b"HTTP/1.1 407 ")
        with pytest.raises(ParameterError, match="no client has come through the proxy"):
            server.ledger.to_script()


def test_a_request_that_a_proxy_passes_on_is_recorded_as_it_was_said():
    with serve(ok(b"hello")) as real, http_proxy(record=True) as server:
        asked = b"GET http://%b/ HTTP/1.1\r\nHost: x\r\n\r\n" % real.hostport.encode()
        answer = talk(server, asked)
        recording = server.ledger.recording()

    (script,) = recording.scripts
    assert script[:2] == (receive_request(), send(answer[0]))  # the end of the client may have come, too


def serve_pages():
    """A server of HTTP, which stops with the test."""
    return SERVERS[-1] if SERVERS else SERVERS.append(serve(ok(b"hello"))) or SERVERS[-1]


SERVERS: list[faultline.Server] = []


@pytest.fixture(autouse=True)
def _stop():
    yield
    while SERVERS:
        SERVERS.pop().close()


def test_requests_that_come_at_once_belong_to_their_own_attempts():
    with serve(ok(b"hello"), record=True) as server:
        with socket.create_connection(server.address, PATIENCE_SECONDS) as client:
            client.sendall(GET * 3)
            said = b""
            while said.count(b"hello") < 3:
                said += client.recv(1000)
        plan = server.ledger.to_script()
        sizes = [sum(len(piece.data) for piece in a.pieces if piece.by == "client") for a in server.attempts]

    assert sizes == [len(GET)] * 3
    assert plan == script(*[receive_request(), send(said[: len(said) // 3])] * 3, receive_all())


def test_tls_that_begins_inside_the_protocol_is_a_step():
    upstream = script(receive(8), send(b"N"), receive(5), send(b"hello"), receive_all())
    with serve(upstream) as real, relay(real, tls="terminate", starttls="postgres", record=True) as server:
        assert postgres_client(server) == b"hello"
        recording = server.ledger.recording()
        with pytest.raises(ParameterError, match=r"^by='requests': expected no TLS that begins inside the protocol"):
            server.ledger.to_script(by="requests")

    assert recording.plan == script(receive(8), send(b"S"), starttls(), receive(5), send(b"hello"), receive_all())
    assert not recording.tls
    with serve(recording.plan) as server:
        assert postgres_client(server) == b"hello"


def postgres_client(server):
    """Ask for TLS as PostgreSQL does, and say five bytes in it."""
    with socket.create_connection(server.address, PATIENCE_SECONDS) as client:
        client.sendall(bytes.fromhex("0000000804d2162f"))
        assert client.recv(1) == b"S"
        with server.client_context().wrap_socket(client, server_hostname="127.0.0.1") as secure:
            secure.sendall(b"start")
            return secure.recv(5)


def test_by_requests_secrets_of_two_masks_may_overlap():
    upstream = script(receive_until(b"\n"), send(b"ok\n"), receive_all())
    plan = recorded(upstream, b"a secret b\n").to_script(by="requests", mask=[b"secret", b"cret b"])

    assert "re.compile(" in repr(plan.script.steps)
    with serve(plan) as server:
        assert talk(server, b"a word\n") == [b"ok\n"]


def test_a_server_that_spoke_tls_is_played_with_tls():
    with serve(ECHOES) as real, relay(real, tls="terminate", record=True) as server:
        talk(server, b"a\n", b"b\n", context=server.client_context())
        recording = server.ledger.recording()

    assert recording.tls
    assert "with serve(PLAN, tls=True) as server:" in module_of(recording, "it")
    with serve(recording.plan, tls=True) as server:
        assert talk(server, b"x\n", b"y\n", context=server.client_context()) == [b"a line\n", b"another\n"]


# --- by requests -----------------------------------------------------------------------------------------------------

MAIL = script(
    send(b"220 hi\r\n"), reply({b"QUIT": (send(b"221 bye\r\n"), close()), b"NOOP": ()}, otherwise=send(b"250 ok\r\n"))
)


def mail(server, *lines):
    with socket.create_connection(server.address, PATIENCE_SECONDS) as client:
        answers = [client.recv(100)]
        for line in lines:
            client.sendall(line)
            answers.append(client.recv(100))
        assert lines[-1] != b"QUIT\r\n" or client.recv(1) == b""  # whose end comes first
        return answers


def test_by_requests_each_message_gets_its_answer_in_any_order():
    with serve(MAIL) as real, relay(real, record=True) as server:
        mail(server, b"EHLO me\r\n", b"AUTH PLAIN c2VjcmV0\r\n", b"QUIT\r\n")
        mail(server, b"RSET\r\n")
        recording = server.ledger.recording(mask=True, by="requests")

    branches = {
        b"EHLO me\r\n": send(b"250 ok\r\n"),
        re.compile(rb"\AAUTH\ PLAIN\ [^\r\n]*" + b"\r\n".replace(b"\r", b"\\\r").replace(b"\n", b"\\\n")): send(
            b"250 ok\r\n"
        ),
        b"QUIT\r\n": (send(b"221 bye\r\n"), close()),
        b"RSET\r\n": send(b"250 ok\r\n"),
    }
    assert recording.plan == script(send(b"220 hi\r\n"), reply(branches))
    assert recording.masked == ("AUTH, PASS and LOGIN of mail and FTP, said by the client: 1 time",)
    assert from_json(recording.to_json(), "x") == recording
    with serve(recording.plan, strict=False) as server:
        assert mail(server, b"RSET\r\n", b"AUTH PLAIN other\r\n", b"EHLO me\r\n", b"QUIT\r\n")[1:] == [
            *[b"250 ok\r\n"] * 3,
            b"221 bye\r\n",
        ]


def test_what_a_server_of_mail_asks_for_is_a_secret(tmp_path):
    line = receive_until(b"\n")
    asking = script(line, send(b"334 VXNlcm5hbWU6\r\n"), line, send(b"334 UGFzc3dvcmQ6\r\n"), line, send(b"235 ok\r\n"))
    ledger = recorded(asking, b"AUTH LOGIN\r\n", b"bWU=\r\n", b"c2VjcmV0\r\n")

    ledger.to_pcap(tmp_path / "a.pcapng", mask=True)
    capture = (tmp_path / "a.pcapng").read_bytes()
    assert (b"AUTH LOGIN\r\n" in capture, b"bWU=" in capture, b"c2VjcmV0" in capture) == (True, False, False)
    with pytest.raises(ParameterError, match="expected no message that is a secret alone; write by='turns'"):
        ledger.to_script(mask=True, by="requests")


@each_row(
    ("said", "read"),
    [
        ((b"\x00\x02ab", b"\x00\x01c"), receive_prefixed(2)),
        ((b"\x00\x00\x00\x05a",), receive_prefixed(4, includes_length=True)),
    ],
)
def test_by_requests_messages_may_have_their_length_before_them(said, read):
    upstream = script(*[step for data in said for step in (receive(len(data)), send(data))], receive_all())
    ledger = recorded(upstream, *said)

    assert ledger.to_script(by="requests") == script(reply({data: send(data) for data in said}, reading=read))


# --- what can't be replayed ------------------------------------------------------------------------------------------


def not_recorded():
    return serve_pages().ledger.to_script()


def nobody():
    with serve(ok(), record=True) as server:
        return server.ledger.to_script()


def unanswered():
    with (
        serve(ECHOES) as real,
        relay(real, record=True) as server,
        socket.create_connection(server.address, PATIENCE_SECONDS) as client,
    ):
        client.sendall(b"half a line")
        server.wait_for_attempts(1, at="request")
        return server.ledger.to_script()


def passed_through():
    with serve(ok(), tls=True) as real, relay(real, record=True) as server:
        talk(server, GET, context=real.client_context())
        return server.ledger.to_script()


def two_frames():
    with serve(ok(), http2=True, record=True) as server:
        with socket.create_connection(server.address, PATIENCE_SECONDS) as client:
            import h2.connection

            speaks = h2.connection.H2Connection()
            speaks.initiate_connection()
            speaks.send_headers(1, [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "a")], True)
            client.sendall(speaks.data_to_send())
            while b"ok\n" not in client.recv(1000):
                pass
        return server.ledger.to_script()


def says(*data):
    """A server that says these bytes, each behind a line."""
    return script(*[s for d in data for s in (receive_until(b"\n"), send(d))], receive_all())


def both(by):
    with serve(script(send(b"hi\n"), receive_until(b"\n"), send(b"x"))) as real, relay(real, record=True) as server:
        with socket.create_connection(server.address, PATIENCE_SECONDS) as client:
            client.recv(10)
            client.sendall(b"a\n")
            client.recv(10)
        real.become(script(receive_until(b"\n"), send(b"x"), receive_all()))
        talk(server, b"a\n")
        return server.ledger.to_script(by=by)


def dropped():
    with serve(ok(), record=True) as server:
        server.ledger.most_attempts = 1
        for number in range(4):
            talk(server, GET)
            server.wait_for_attempts(number + 1, at="end")
        return server.ledger.to_script()


def not_reached():
    with serve(faultline.refuse(), strict=False) as real, relay(real, record=True) as server:
        with contextlib.suppress(ConnectionResetError):
            talk(server, b"")
        server.wait_for_attempts(1, at="end")
        return server.ledger.to_script()


def no_room(path=None):
    with serve(ok(b"x" * 1000), record=500) as server:
        talk(server, GET)
        return server.ledger.to_pcap(path) if path else server.ledger.to_script()


@each_row(
    ("made", "message"),
    [
        (not_recorded, "record=False: expected record=True when the server is started"),
        (lambda: serve(ok(), record=-1), "record=-1: expected a whole number of bytes, 1 or more."),
        (nobody, "the ledger: expected a connection to make a script of; no client has come."),
        (no_room, "record: expected room for all bytes; "),
        (partial(no_room, "x"), "record: expected room for all bytes; "),
        (not_reached, "connection 1: expected an upstream that answers; the upstream 127.0.0.1:"),
        (dropped, "the ledger: expected all attempts; 2 attempts were dropped."),
        (unanswered, "connection 1: expected an answer to b'half a line'; wait for the client to get it."),
        (passed_through, "connection 1 is in TLS that the relay passed through, and its keys differ each time"),
        (two_frames, "connection 1 is in HTTP/2, whose frames no script plays"),
        (partial(both, "requests"), "by='requests': expected connections that begin alike"),
    ],
)
def test_what_was_not_recorded_as_a_whole_is_an_error_that_says_why(made, message):
    with pytest.raises(ParameterError) as raised:
        made()

    assert str(raised.value).startswith(message)


REQUESTS = {"by": "requests"}
ONE = says(b"1\n")


@each_row(
    ("plan", "said", "options", "message"),
    [
        (says(b"R\0\0\0\x17\0\0\0\nSCRAM-SHA-256\0\0"), (b"x\n",), {}, "connection 1 logs in by SCRAM, whose nonces"),
        (says(b"HTTP/1.1 101 x\r\nsec-websocket-accept: x\r\n\r\n"), (b"x\n",), {}, "connection 1 is a WebSocket"),
        (
            says(b"S", b"T"),
            (b"\0\0\0\x08\x04\xd2\x16/\n", b"\x16\x03\x01\0\x05\x01\0\0\0\0\n"),
            {},
            "connection 1 is in TLS that the relay",
        ),
        (script(send(b"SSH-2.0-x\r\n"), receive_all()), (b"",), {}, "connection 1 is SSH"),
        (says(b"1\n", b"2\n"), (b"x\n",) * 2, REQUESTS, "by='requests': expected one answer to each message; b'x\\n'"),
        (ok(), (GET,), REQUESTS, "by='requests': expected messages that are lines or have"),
        (ok(), (), REQUESTS, "by='requests': expected a client that said something"),
        (ONE, (b"x\n",), {"by": "request"}, "by='request': expected one of"),
        (ONE, (b"x\n",), {"mask": 7}, "mask=7: expected True, bytes, a pattern"),
        (ONE, (b"x\n",), {"mask": ["x"]}, "mask='x': expected True, bytes, a pattern"),
        (ONE, (b"x\n",), {"mask": lambda data: data + b"x"}, "mask="),
    ],
)
def test_what_can_not_be_replayed_is_an_error_that_says_why(plan, said, options, message):
    ledger = recorded(plan, *said)
    with pytest.raises(ParameterError) as raised:
        ledger.to_script(**options)

    assert str(raised.value).startswith(message)


def test_port_of_a_capture_has_to_be_a_port():
    ledger = recorded(ONE, b"x\n")
    with pytest.raises(ParameterError, match=r"^port=0: expected a whole number, from 1 to 65535\.$"):
        ledger.to_pcap("x", port=0)
    with pytest.raises(ParameterError, match=r"^path=5: expected the path of a file, such as 'a\.pcapng'\.$"):
        ledger.to_pcap(5)


@each_row("said", [b"HTTP/1.1 200 OK\r\n\r\nabout SCRAM-SHA-256", b"HTTP/1.1 101 x\r\nUpgrade: x\r\n\r\n"])
def test_words_about_what_can_not_be_replayed_are_replayed(said):
    ledger = recorded(says(said), b"x\n")

    assert ledger.to_script() == script(receive_until(b"\n"), send(said), receive_all())


# --- masks -----------------------------------------------------------------------------------------------------------


@each_row(
    ("by", "data", "mask", "masked"),
    [
        ("client", b"GET / HTTP/1.1\r\nAuthorization: Bearer abc\r\n\r\n", True, b"Bearer ***\r\n\r\n"),
        ("client", b"x\r\nproxy-authorization: Basic YQ==\r\nCookie: a=b; c=d\r\n", True, b"Cookie: ********\r\n"),
        ("server", b"x\r\nSet-Cookie: sid=secret; Path=/\r\n", True, b"Set-Cookie: sid=******; Path=/\r\n"),
        ("client", b"x\r\nX-API-Key: k1\r\n", True, b"X-API-Key: **\r\n"),
        ("client", b"*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n", True, b"AUTH\r\n$6\r\n******\r\n"),
        ("client", b"*3\r\n$4\r\nAUTH\r\n$2\r\nme\r\n$6\r\nsecret\r\n", True, b"$2\r\nme\r\n$6\r\n******\r\n"),
        (
            "client",
            b"*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$2\r\nme\r\n$1\r\ns\r\n",
            True,
            b"me\r\n$1\r\n*\r\n",
        ),
        ("client", b"AUTH secret\r\n", True, b"AUTH ******\r\n"),
        ("client", b"c2VjcmV0\r\n", True, b"c2VjcmV0\r\n"),
        ("client", b"p\0\0\0\x0bsecret\0", True, b"p\0\0\0\x0b******\0"),
        ("server", b"p\0\0\0\x0bsecret\0", True, b"secret\0"),
        ("client", b"PASS secret\r\n", True, b"PASS ******\r\n"),
        ("client", b"a1 LOGIN me secret\r\n", True, b"a1 LOGIN me ******\r\n"),
        ("server", b"x\r\nPASS is wrong\r\n", True, b"PASS is wrong\r\n"),
        ("server", b"token=abc", False, b"token=abc"),
        ("server", b"token=abc", b"abc", b"token=***"),
        ("server", b"token=abc&x=1", re.compile(rb"token=(\w+)|x=(\d)"), b"token=***&x=*"),
        ("server", b"ticket=abc", lambda data: data.replace(b"abc", b"xyz"), b"ticket=xyz"),
        ("server", b"token=abc", [b"ab", lambda data: data[:-1] + b"!"], b"token=**!"),
    ],
)
def test_masked_bytes_have_the_length_of_the_secret(by, data, mask, masked):
    found = Masker(mask).masked(by, data)

    assert found.data.endswith(masked)
    assert len(found.data) == len(data)
    changed = {at for start, end, _ in found.spans for at in range(start, end)}
    assert all(a == b or at in changed for at, (a, b) in enumerate(zip(data, found.data, strict=True)))
    assert bool(changed) == (found.data != data)


SECRET = b"hunter2!x"
JSON = b"POST / HTTP/1.1\r\nContent-Type: application/json\r\n\r\n"
FORM = b"POST / HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n"
PART = b'--b\r\nContent-Disposition: form-data; name="%b"\r\nContent-Type: text/plain\r\n\r\n%b\r\n--b--\r\n'
SQL = b"Q\0\0\0\x50ALTER ROLE me PASSWORD '%b'\0"


def resp(*words):
    """A command of Redis."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def field(name, value, status=b"GET / HTTP/1.1"):
    return status + b"\r\n" + name + b": " + value + b"\r\n\r\n"


FIELDS = (
    *(b"Authorization", b"authorization", b"Proxy-Authorization", b"X-Auth-Token", b"X-Api-Key", b"api-key"),
    *(b"X-Amz-Security-Token", b"X-Vault-Token", b"PRIVATE-TOKEN", b"X-CSRF-Token", b"X-Client-Secret", b"Cookie"),
)
SECRETS = {
    **{f"field {name.decode()}": (field(name, SECRET), b"") for name in FIELDS},
    "scheme": (field(b"Authorization", b"Bearer " + SECRET), b""),
    "no scheme": (field(b"Authorization", SECRET + b" and more"), b""),
    "value in two lines": (field(b"Authorization", b"Bearer\r\n  " + SECRET), b""),
    "Digest": (field(b"Authorization", b'Digest username="me", response="%b"' % SECRET), b""),
    "AWS": (field(b"Authorization", b"AWS4-HMAC-SHA256 Credential=%b/a, Signature=%b" % (SECRET, SECRET)), b""),
    "cookies": (field(b"Cookie", b'a=b; sid="%b; %b"' % (SECRET, SECRET)), b""),
    "Set-Cookie": (b"GET", field(b"Set-Cookie", b"sid=%b; Path=/" % SECRET, b"HTTP/1.1 200 OK")),
    "quoted Set-Cookie": (b"GET", field(b"set-cookie", b'sid="a; %b"; Path=/' % SECRET, b"HTTP/1.1 200 OK")),
    "cut Set-Cookie": (b"GET", b'HTTP/1.1 200 OK\r\nSet-Cookie: sid="a; ' + SECRET),
    "URL of a proxy": (b"GET http://me:%b@127.0.0.1/ HTTP/1.1\r\n\r\n" % SECRET, b""),
    "Location": (b"GET", field(b"Location", b"https://me:%b@host/" % SECRET, b"HTTP/1.1 302 Found")),
    "URL in JSON": (JSON + b'{"url": "redis:\\/\\/:%b@host:1"}' % SECRET, b""),
    "query": (b"GET /?a=b&access_token=%b&c=d HTTP/1.1\r\n\r\n" % SECRET, b""),
    "presigned": (b"GET /?X-Amz-Signature=%b HTTP/1.1\r\n\r\n" % SECRET, b""),
    **{
        f"form {name.decode()}": (FORM + b"user=me&" + name + b"=" + SECRET + b"&x=y", b"")
        for name in (b"password", b"user[password]", b"user%5Bpassword%5D", b"client_secret", b"apikey", b"PASSWD")
    },
    **{
        f"JSON {name.decode()}": (JSON + b'{"user": "me", "%b" : "%b"}' % (name, SECRET), b"")
        for name in (b"password", b"newPassword", b"accessToken", b"api_key", b"aws_secret_access_key")
    },
    "JSON of the server": (b"GET", b'HTTP/1.1 200 OK\r\n\r\n{"refresh_token": "a\\"%b"}' % SECRET),
    "JSON within JSON": (JSON + b'{"body": "{\\"password\\": \\"%b\\"}"}' % SECRET, b""),
    "form in parts": (FORM + PART % (b"password", SECRET), b""),
    "SQL": (SQL % (b"it''s " + SECRET), b""),
    "Redis": (resp(b"AUTH", SECRET), b""),
    "Redis, name": (resp(b"auth", b"me", SECRET), b""),
    "Redis, line ends": (resp(b"AUTH", b"a\r\n" + SECRET + b"\r\n"), b""),
    "Redis, second command": (resp(b"PING") + resp(b"AUTH", b"me", SECRET + b"\r\n$1") + resp(b"PING"), b""),
    "Redis, cut": (resp(b"AUTH", SECRET)[:-6], b""),
    "Redis, HELLO": (resp(b"HELLO", b"3", b"AUTH", b"me", SECRET, b"SETNAME", b"x"), b""),
    "Redis, ACL": (resp(b"ACL", b"SETUSER", b"me", b"on", b">" + SECRET), b""),
    "Redis, CONFIG": (resp(b"CONFIG", b"SET", b"requirepass", SECRET), b""),
    "Redis, MIGRATE": (resp(b"MIGRATE", b"h", b"1", b"k", b"0", b"9", b"AUTH2", b"me", SECRET), b""),
    "Redis, inline": (b"PING\r\nAUTH me " + SECRET + b"\r\n", b""),
    "Redis, inline HELLO": (b"HELLO 3 AUTH me " + SECRET + b"\r\n", b""),
    "Redis, inline CONFIG": (b"CONFIG SET requirepass " + SECRET + b"\r\n", b""),
    "PostgreSQL": (b"p\0\0\0\x0e" + SECRET + b"\0", b""),
    "AMQP": (b"\1\0\0\0\0\0\x30\5PLAIN\0\0\0\x0d\0me\0" + SECRET + b"\5en_US\xce", b""),
    "mail": (b"AUTH PLAIN " + SECRET + b"\r\n", b""),
    "IMAP": (b'a1 LOGIN "my self" "%b"\r\n' % SECRET, b""),
    "IMAP, AUTHENTICATE": (b"a1 AUTHENTICATE PLAIN " + SECRET + b"\r\n", b""),
    "FTP": (b"PASS " + SECRET + b"\r\n", b""),
}


@pytest.fixture(scope="module")
def with_secrets():
    """The ledger of a relay with a connection for each secret."""
    scripts = [
        script(receive(len(asked)), *([send(answer)] if answer else []), receive_all())
        for asked, answer in SECRETS.values()
    ]
    with serve(sequence(*scripts)) as real, relay(real, record=True) as server:
        for number, (asked, _) in enumerate(SECRETS.values(), 1):
            with socket.create_connection(server.address, PATIENCE_SECONDS) as client:
                client.sendall(asked)
                client.shutdown(socket.SHUT_WR)
                while client.recv(1000):
                    pass
            server.wait_for_attempts(number, at="end")
        yield server.ledger


def test_no_known_secret_is_in_anything_that_is_masked(with_secrets, tmp_path):
    ledger, masker = with_secrets, Masker(True)
    ledger.to_pcap(tmp_path / "a.pcapng", mask=True)
    recording = ledger.recording(mask=True)
    attempts = ledger.attempts
    made = {
        "capture": (tmp_path / "a.pcapng").read_bytes(),
        "plan": repr(ledger.to_script(mask=True)).encode(),
        "JSON": recording.to_json().encode(),
        "module": module_of(recording, "x").encode(),
        "events": json.dumps([with_masks(attempt, masker).to_dict() for attempt in attempts]).encode(),
    }

    assert [name for name, text in made.items() if SECRET in text] == []
    assert [name for name, (asked, _) in SECRETS.items() if asked != b"GET" and asked in made["capture"]] == []
    for attempt, (name, (asked, answer)) in zip(attempts, SECRETS.items(), strict=True):
        seen = with_masks(attempt, masker)
        assert SECRET not in b"".join(turn.begins for turn in seen.turns), name
        assert [turn.count_bytes for turn in seen.turns] == [len(said) for said in (asked, answer) if said], name


def test_the_messages_of_a_websocket_are_masked():
    facts = WebSocketFacts(received=('{"password": "' + SECRET.decode() + '"}', b"token=" + SECRET))
    attempt = Attempt(1, 1, ok(), "request", 0.0, websocket=facts)

    assert with_masks(attempt, Masker(True)).websocket.received == ('{"password": "*********"}', b"token=*********")


NO_SECRETS = [
    ("client", b"GET /?token_type=bearer&keys=1&passwords=2 HTTP/1.1\r\nSec-WebSocket-Key: aa==\r\n\r\n"),
    ("server", b'{"max_tokens": 100, "token_type": "bearer", "password": null, "token": {}, "url": "http://h:80/a@b"}'),
    ("server", b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=x\r\nSet-Cookie: \r\n\r\nAUTH is missing"),
    ("client", b"AUTH TLS\r\n"),
    ("client", resp(b"SET", b"AUTH", b"x") + resp(b"AUTH") + resp(b"AUTH", b"") + resp(b"HELLO", b"3", b"AUTH")),
    ("client", resp() + b"*1\r\n$3"),
    ("client", b"p\0\0\0\0no password"),
    ("client", b"\1\5PLAIN"),
]  # fmt: skip


@each_row(("by", "data"), NO_SECRETS)
def test_what_is_no_secret_stays_as_it_is(by, data):
    assert Masker(True).masked(by, data).data == data


@each_row(
    ("before", "said", "masked"),
    [
        (b"\5\2", b"\1\2me\6secret", b"\1\2me\6******"),
        (b"\5\2", b"\1\2me", b"\1\2me"),
        (b"334 \r\n", b"c2VjcmV0\r\n", b"********\r\n"),
    ],
)
def test_what_the_other_side_asked_for_tells_a_secret(before, said, masked):
    assert Masker(True).masked("client", said, before).data == masked


def test_a_capture_of_http2_can_not_be_masked(tmp_path):
    with serve(ok(b"hello"), http2=True) as real, relay(real, record=True) as server:
        with httpx.Client(http2=True, http1=False, trust_env=False) as client:
            assert client.get(server.url).text == "hello"
        server.wait_for_attempts(1, at="end")
    with pytest.raises(ParameterError, match=r"expected a conversation in HTTP/1\.1; HTTP/2 compresses its fields"):
        server.ledger.to_pcap(tmp_path / "a.pcapng", mask=True)


def test_what_was_masked_is_said():
    answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: sid=secret\r\nContent-Length: 5\r\n\r\ntoken"
    upstream = script(receive_request(), send(answer), receive_request(), send(answer), receive_all())
    recording = recorded(upstream, GET, GET).recording(mask=re.compile(b"tok(en)"))

    name = "Authorization, Cookie and key fields of HTTP"
    assert recording.masked == (f"{name}, said by the server: 2 times", "b'tok(en)', said by the server: 2 times")
    assert b"secret" not in repr(recording.scripts).encode()
    assert f"# Masked: {recording.masked[0]}.\n" in module_of(recording, "it")


# --- files -----------------------------------------------------------------------------------------------------------

EVERYTHING = Recording(
    (
        (
            receive_request(head_only=True),
            receive(3),
            receive_prefixed(2, includes_length=True),
            receive_until(re.compile(b"\xff\n")),
            starttls(),
            send(bytes(range(256)) + b"long lines: max(x, hold(1))\r\n" * 20),
            reply({b"a": (), b"b": (send(b"b"), reset()), re.compile(b"c"): close()}, reading=receive_prefixed(4)),
        ),
        (reset(at="accept"),),
        (send(b"hi"), receive_until(b"\n"), receive_all()),
        (send(b"hi"), receive_until(b"\n"), receive_all()),
    )
)


def test_a_recording_is_the_same_in_json_and_as_a_module(tmp_path):
    (tmp_path / "case.json").write_text(EVERYTHING.to_json(), "utf-8")
    names = {}
    exec(module_of(EVERYTHING, "127.0.0.1:1"), names)

    assert names["PLAN"] == EVERYTHING.plan == load(tmp_path / "case.json")
    assert len(EVERYTHING.plan.entries) == 3


def test_the_schema_has_every_step_with_its_values():
    schema = json.loads((Path(__file__).parents[1] / "docs/recording.schema.json").read_text("utf-8"))
    steps = {each["properties"]["step"]["const"]: each for each in schema["$defs"]["step"]["oneOf"]}
    written = json.loads(EVERYTHING.to_json())

    assert {*steps} == {*MADE}
    assert {*written} == {*schema["properties"]} == {*schema["required"]}
    for step in (step for lines in written["scripts"] for step in lines):
        kind = steps[step["step"]]
        assert {*kind["required"]} <= {*step} <= {*kind["properties"]}


REPLY = {"step": "reply", "reading": {"step": "receive_until", "marker": "a"}}


@each_row(
    ("content", "message"),
    [
        (None, "expected a file to read"),
        (b"\xff", "expected a file to read"),
        (b"nonsense", "expected JSON"),
        (b"[" * 100_000, "expected JSON"),
        (b"[]", "expected a recording of `faultline record --out case.json`."),
        (b'{"form": "faultline recording", "version": 2}', "expected version 1, not 2; update faultline."),
        (b'{"form": "faultline recording", "version": 1}', "the recording: expected tls, which is missing."),
        (b'{"form": "faultline recording"}', "expected version 1, not None; update faultline."),
        (
            EVERYTHING.to_json().replace('"tls": false', '"tls": "no"').encode(),
            "case.json: tls='no': expected True or False",
        ),
        ([], "expected at least one script"),
        ([[]], "script(): expected at least one step"),
        ([[{"step": "sned"}]], "step='sned': expected one of send, "),
        (
            EVERYTHING.to_json().replace('"tls"', '"note": "x", "tls"').encode(),
            "case.json: the recording, note='x': expected form, version, tls, masked and scripts alone.",
        ),
        (EVERYTHING.to_json().replace('"masked": [', '"masked": [1').encode(), "masked=[1]: expected a list of texts."),
        ([{}], "scripts={}: expected a list."),
        ([["send"]], "scripts='send': expected steps, such as {'step': 'send', 'data': 'hello'}."),
        ([[{"step": "send"}]], "step='send': expected data, which is missing."),
        ([[{"step": "send", "data": 1}]], "data=1: expected text with one character for each byte (Latin-1)."),
        ([[{"step": "send", "data": "\u0100"}]], "expected text with one character for each byte (Latin-1)."),
        (
            [[{"step": "send", "data": "x", "at": "idle"}]],
            "case.json: step='send', at='idle': expected data alone.",
        ),
        (
            [[{"step": "receive", "count_bytes": 1, "count_byte": 2}]],
            "step='receive', count_byte=2: expected count_bytes alone. Did you mean 'count_bytes'?",
        ),
        ([[{"step": "starttls", "tls": True}]], "step='starttls', tls=True: expected no other value."),
        ([[{"step": "reset", "at": "idle"}]], "at='idle': expected one of 'accept'."),
        (
            [[{"step": "receive_until", "marker": {"pattern": "a", "flags": 2}}]],
            "marker, flags=2: expected pattern alone.",
        ),
        (REPLY | {"branches": {}}, "branches={}: expected a list."),
        (REPLY | {"branches": [1]}, "branches=1: expected a key and its steps."),
        (
            REPLY | {"branches": [{"key": "a", "steps": [], "by": 1}]},
            "branches, by=1: expected key and steps alone.",
        ),
        ([[{"step": "receive", "count_bytes": 0}]], "case.json: count_bytes=0: expected a whole number"),
        ([[{"step": "receive_until", "marker": {"pattern": "("}}]], "pattern='(': expected a regular expression ("),
    ],
)
def test_a_file_that_is_no_recording_is_refused(content, message, tmp_path):
    path = tmp_path / "case.json"
    path.unlink(missing_ok=True)
    if isinstance(content, (list, dict)):
        content = content if isinstance(content, list) else [[content]]
        content = json.dumps({**json.loads(EVERYTHING.to_json()), "scripts": content}).encode()
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ParameterError) as raised:
        load(path)

    assert message in str(raised.value)


def test_the_end_of_the_client_is_a_step_that_is_read_from_its_text():
    plan = script(send(b"hi"), receive_all())

    assert faultline.plan(repr(plan)) == plan
    with pytest.raises(ParameterError, match="expected no step after receive_all"):
        script(receive_all(), send(b"hi"))


def test_path_has_to_be_a_path():
    with pytest.raises(ParameterError, match=r"^path=7: expected the path of a file, such as 'case\.json'\.$"):
        load(7)


# --- memory ----------------------------------------------------------------------------------------------------------


def test_a_room_is_bounded_and_what_is_dropped_gives_back_its_own():
    room = Room(1_000)
    recorder = Recorder(room)
    recorder.says("client", b"x" * 500, 1.0, in_tls=False)
    recorder.says("server", b"x" * 500, 1.0, in_tls=False)
    recorder.says("server", b"x", 1.0, in_tls=False)

    assert (recorder.frozen(), recorder.missing_bytes) == ((Piece("client", 1.0, b"x" * 500),), 501)
    assert room.left_bytes == 300
    room.give_back(recorder.frozen())
    assert room.left_bytes == 1_000


def test_the_bytes_of_the_next_request_are_taken_back():
    recorder = Recorder(Room(10_000))
    for by, data in (("client", b"abc"), ("server", b"x"), ("client", b"de")):
        recorder.says(by, data, 0.0, in_tls=False)
    recorder.take_back(3)

    assert [piece.data for piece in recorder.frozen()] == [b"ab", b"x"]


# --- captures --------------------------------------------------------------------------------------------------------


def packets_of(path, kind):
    """The packets of a capture: time, both ports, flags, numbers and data, as another reader has them."""
    dpkt = pytest.importorskip("dpkt")
    with path.open("rb") as file:
        reader = dpkt.pcapng.Reader(file)
        assert reader.datalink() == 101
        found = [(at, kind_of(dpkt, kind)(data)) for at, data in reader]
    for _, ip in found:
        before = ip.data.sum
        ip.data.sum = 0
        ip.data = type(ip.data)(bytes(ip.data))
        ip.data.sum = 0
        bytes(ip)  # which computes the checksum
        assert ip.data.sum in (before, 0)
    return [(at, ip.data) for at, ip in found]


def kind_of(dpkt, name):
    return {"IP": dpkt.ip.IP, "IP6": dpkt.ip6.IP6}[name]


@each_row(("kind", "options"), [("IP", {}), ("IP6", {"ipv6": True, "port": 5432})])
@pytest.mark.slow
@pytest.mark.measured
def test_another_reader_reads_a_capture(kind, options, tmp_path):
    plan = sequence(ok(), reset(after_bytes=10), faultline.refuse())
    with serve(ok(b"secret" * 10_000)) as real, relay(real, plan, record=True) as server:
        with socket.create_connection(server.address, PATIENCE_SECONDS) as client:
            client.sendall(GET)
            said = b""
            while len(said) < 60_000:
                said += client.recv(100_000)
        server.wait_for_attempts(1, at="end")
        with socket.create_connection(server.address, PATIENCE_SECONDS) as client:
            client.sendall(GET)
            assert client.recv(10, socket.MSG_WAITALL) == said[:10]
            with pytest.raises(ConnectionResetError):
                client.recv(100)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(server.address, PATIENCE_SECONDS)
        attempts = server.attempts
        server.ledger.to_pcap(tmp_path / "a.pcapng", mask=b"secret", **options)

    packets = packets_of(tmp_path / "a.pcapng", kind)
    port = options.get("port", 80)
    assert b"Reconstructed by faultline" in (tmp_path / "a.pcapng").read_bytes()[:200]
    assert {tcp.dport for _, tcp in packets if tcp.sport != port} == {port}
    streams = [
        [(at, tcp) for at, tcp in packets if number in (tcp.sport, tcp.dport)] for number in (49152, 49153, 49154)
    ]
    for stream, attempt in zip(streams, attempts, strict=True):
        assert stream[0][0] == pytest.approx(attempt.started_seconds, abs=1e-5)
        first = {("client" if end.by == "client" else "server"): end for end in reversed(attempt.ends)}
        assert stream[-1][0] == pytest.approx(max(end.at_seconds for end in first.values()), abs=1e-5)
    answers = [[tcp for _, tcp in stream if tcp.sport == port] for stream in streams]
    whole = b"".join(tcp.data for tcp in answers[0])
    assert whole == said.replace(b"secret", b"******")
    assert [tcp.flags for tcp in answers[2]] == [0x14]
    assert [tcp.flags for _, tcp in streams[0]][:3] == [0x02, 0x12, 0x10]
    assert answers[1][-1].flags == 0x14
    assert b"".join(tcp.data for tcp in answers[1]) == said[:10]
    for tcp, following in zip(answers[0][1:], answers[0][2:], strict=False):
        assert following.seq == tcp.seq + len(tcp.data)


# --- the command -----------------------------------------------------------------------------------------------------


@each_row(
    ("name", "then"), [("case.py", "next: write your client into its test"), ("case.json", "next: `with faultline.")]
)
def test_the_command_writes_what_a_server_said(name, then, tmp_path):
    out, capture = tmp_path / name, tmp_path / "a.pcapng"
    options = f"--out {out} --pcap {capture} --mask --mask-pattern hell(o)"
    with serve(ok(b"hello")) as real, running(f"record --upstream {real.hostport} {options}") as command:
        port = re.search(r"recording on 127\.0\.0\.1:(\d+) in front of", command.line())[1]
        with socket.create_connection(("127.0.0.1", int(port)), PATIENCE_SECONDS) as client:
            client.sendall(GET)
            said = client.recv(1000)
        assert command.line().startswith("#1: ok()")
        status, lines = command.stop()

    assert status == 0
    assert lines[:2] == [
        f"wrote {capture}: a reconstructed capture for Wireshark",
        f"wrote {out}: 1 connection, 3 steps",
    ]
    assert lines[2] == "  masked b'hell(o)', said by the server: 1 time"
    assert lines[3].startswith(then)
    names = {}
    plan = load(out) if name == "case.json" else exec(out.read_text(), names) or names["PLAN"]
    with serve(plan) as server:
        assert talk(server, GET) == [said.replace(b"hello", b"hell*")]


def test_the_command_stops_after_a_number_of_connections(tmp_path):
    with serve(ok(), tls=True) as real:
        words = f"record --upstream {real.url} --tls terminate --out {tmp_path}/a.json --connections 1 --json"
        with running(words) as command:
            first = json.loads(command.line())
            context = ssl.create_default_context(cafile=first["ca_file"])
            port = int(first["url"].rpartition(":")[2])
            with (
                socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as client,
                context.wrap_socket(client, server_hostname="127.0.0.1") as secure,
            ):
                secure.sendall(GET)
                secure.recv(100)
            assert json.loads(command.line())["event"] == "attempt"
            told = json.loads(command.line())

    assert (told["event"], told["connections"], told["masked"]) == ("written", 1, [])
    assert json.loads((tmp_path / "a.json").read_text())["tls"]


@each_row(
    ("options", "message"),
    [
        ("--out case.txt", "--out=case.txt: expected a name that ends with .py or .json."),
        ("--out /none/case.py", "--out=/none/case.py: expected a file in a folder that exists."),
        ("--out case.py --pcap /", "--pcap=/: expected a file in a folder that exists."),
        ("--out case.py --pcap /dev/null --mask-pattern (", "--mask-pattern=(: expected a regular expression ("),
        ("--out case.py --record-bytes x", "record_bytes='x': expected a whole number."),
        ("--out case.py --record-bytes 0", "record_bytes=0: expected a whole number of bytes, 1 or more."),
        ("--out case.py --connections 0", "connections=0: expected a whole number, 1 or more."),
        ("--out case.json --pcap ./case.json", "--pcap=./case.json: expected another file than that of --out."),
        ("--out /proc/case.py", "--out=/proc/case.py: expected a place to write to (No such file or directory)."),
    ],
)
def test_the_command_checks_its_options_first(options, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["record", "--upstream", "127.0.0.1:9", *options.split()]) == 2

    assert message in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == []


def test_the_port_of_a_capture_is_that_of_the_upstream():
    from faultline._front.record import port_of

    assert [port_of("127.0.0.1:5432"), port_of("/run/x.sock")] == [5432, 80]


def test_a_pipe_is_left_to_its_reader_until_there_is_something_to_write(tmp_path):
    os.mkfifo(pipe := tmp_path / "pipe")
    check_place("out", pipe)  # would wait for a reader if it opened the pipe

    assert pipe.is_fifo()
