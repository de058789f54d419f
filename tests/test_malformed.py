"""Requests that are wrong: they are answered as planned, the ledger says what is wrong, and no empty line is one."""

from __future__ import annotations

import contextlib
import re
import socket

import pytest
from support.tables import each_row

from faultline import close, ok, sequence, status
from faultline._net.http1 import HEAD_LIMIT_BYTES, RequestReader

GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"


def post(*fields, body=b"", line=b"POST /x HTTP/1.1", host=b"Host: x"):
    return b"\r\n".join(filter(None, [line, host, *fields])) + b"\r\n\r\n" + body


CHUNKED = b"Transfer-Encoding: chunked"
WRONG = [
    (post(host=b""), "there is no Host field"),
    (post(b"Host: y"), "there are 2 Host fields"),
    (post(b"Content-Length: 5", b"Content-Length: 6", body=b"hello"), "there are 2 Content-Length fields: '5, 6'"),
    (post(b"Content-Length: -1"), "Content-Length is no length: '-1'"),
    (post(b"Content-Length: +5", body=b"hello"), "Content-Length is no length: '+5'"),
    (post(b"Content-Length: 0x5"), "Content-Length is no length: '0x5'"),
    (post(b"Content-Length:"), "Content-Length is no length: ''"),
    (post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"), "there are 2 Content-Length fields"),
    (post(b"Content-Length: 5", CHUNKED, body=b"0\r\n\r\n"), "there are both Content-Length and Transfer-Encoding"),
    (post(CHUNKED, line=b"POST /x HTTP/1.0", body=b"0\r\n\r\n"), "Transfer-Encoding is not of HTTP/1.0"),
    (post(b"Transfer-Encoding: gzip"), "only Transfer-Encoding: chunked is supported"),
    (post(CHUNKED, CHUNKED), "multiple Transfer-Encoding headers"),
    (post(CHUNKED, body=b"ZZ\r\nhello\r\n"), "illegal chunk header"),
    (post(CHUNKED, body=b"-1\r\nhello\r\n"), "illegal chunk header"),
    (post(CHUNKED, body=b"5\r\nhelloXX0\r\n\r\n"), "malformed chunk footer"),
    (post(CHUNKED, body=b"0\r\nbad trailer\r\n\r\n"), "illegal header line"),
    (post(line=b"GET /\xff HTTP/1.1"), "illegal request line: 'GET /\\xff HTTP/1.1'"),
    (post(line=b"GET /" + b"\xff" * 99 + b" HTTP/1.1"), "illegal request line: 'GET /" + "\\xff" * 13 + "\\x..."),
    (post(b"Name : x"), "a header line is malformed: 'Name : x'"),
    (post(b"X: a\0b"), "a header line is malformed: 'X: a\\x00b'"),
    (post(b": nameless"), "a header line is malformed: ': nameless'"),
    (post(b"no colon"), "a header line is malformed: 'no colon'"),
    (post(b"X\xe9: y"), "a header line is malformed: 'X\\xe9: y'"),
    (post(b"X" * 100), f"a header line is malformed: '{'X' * 60}'..."),
    (post(b"X: a", b" folded"), "a header line is folded"),
    (post(b"X: a\rb"), "a header line is malformed: 'X: a\\rb'"),
    (b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", "the request line is malformed: 'GET /a b HTTP/1.1'"),
    (b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", "the request line is malformed: 'GET  / HTTP/1.1'"),
    (b"get / http/1.1\r\nHost: x\r\n\r\n", "the request line is malformed: 'get / http/1.1'"),
    (b"GET /\r\n", "the request line is malformed: 'GET /'"),
    (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", "the request line is malformed: 'GET / HTTP/9.9'"),
    (b"GET\t/\tHTTP/1.1\r\nHost: x\r\n\r\n", "the request line is malformed: 'GET\\t/\\tHTTP/1.1'"),
    (post(b"X: " + b"a" * HEAD_LIMIT_BYTES), "the head is longer than 65536 bytes"),
]


def said(client):
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(65_536):
            received += data
    return received


def dial(server):
    return socket.create_connection(server.address, 10)


@each_row(("data", "wrong"), WRONG)
def test_reader_says_what_is_wrong_with_a_request(data, wrong):
    reader = RequestReader()
    reader.feed(data)

    assert reader.complete
    assert reader.wrong.startswith(wrong)
    assert reader.wrong.isprintable()


@pytest.mark.parametrize(("data", "wrong"), WRONG)
def test_malformed_request_is_answered_as_planned_and_the_note_says_what_is_wrong(faultline, data, wrong, tls):
    server = faultline.serve(status(503), tls=tls)
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(dial(server))
        if tls:
            client = stack.enter_context(server.client_context().wrap_socket(client, server_hostname="localhost"))
        client.sendall(data)
        assert client.recv(12) == b"HTTP/1.1 503"
        (attempt,) = server.attempts

    assert attempt.note.startswith(f"malformed request: {wrong}")
    assert attempt.struck is not None


@each_row(
    "data",
    [
        GET,
        post(b"Content-Length: 5", body=b"hello"),
        post(CHUNKED, body=b"5;ext=1\r\nhello\r\n0\r\nTrailer: x\r\n\r\n"),
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\nHost: x\n\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PING\r\n",
        b"GET key\r\n",
        b"EHLO me\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        bytes(range(256)),
    ],
)
def test_nothing_is_said_of_a_good_request_nor_of_another_protocol(data):
    reader = RequestReader()
    reader.feed(data)

    assert (reader.complete, reader.wrong) == (True, "")


@each_row(
    ("data", "note"),
    [
        (b"GET / HTTP/1.1\r\nHo", "the client left in the middle of the head of its request"),
        (post(b"Content-Length: 5", body=b"abc"), "the client left after 3 bytes of the body of its request"),
        (post(CHUNKED, body=b"5\r\nhel"), "the client left after 3 bytes of the body of its request"),
        (b"", ""),
        (b"\r\n", ""),
    ],
)
def test_client_that_leaves_in_the_middle_of_its_request_is_noted(faultline, data, note):
    server = faultline.serve(ok())
    with dial(server) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        assert said(client) == b""
    (attempt,) = server.wait_for_attempts(1, at="end")

    assert (attempt.note, attempt.ended_by) == (note, "client")


@each_row("extra", [b"abc", b"\0", b"hello world\r\n"])
def test_bytes_after_a_request_that_begin_no_request_are_noted(faultline, extra):
    server = faultline.serve(ok())
    with dial(server) as client:
        client.sendall(post(b"Content-Length: 5", body=b"hello" + extra + b" \r\n"))
        said(client)
    first, second = server.wait_for_attempts(2, at="end")

    assert first.note == ""
    assert (
        second.note == "malformed request: the bytes after the request before begin no request; was its length right?"
    )


# --- empty lines ---------------------------------------------------------------------------------------------


@each_row("empty", [b"\r\n", b"\n", b"\r\n" * 3, b"\r", b"\r\n" * 5000])
@each_row("split", [False, True])
def test_empty_lines_before_a_request_are_skipped(empty, split):
    reader = RequestReader()
    pieces = [bytes([byte]) for byte in empty + GET] if split else [empty + GET]
    for piece in pieces:
        assert not reader.complete
        reader.feed(piece)

    assert (reader.complete, reader.request.method, reader.wrong, reader.rest) == (True, "GET", "", b"")


def test_bytes_of_another_protocol_keep_the_empty_lines_before_them():
    reader = RequestReader()
    reader.feed(b"\r\n")
    reader.feed(b"PING\r\n")

    assert reader.request.body == b"\r\nPING\r\n"


@pytest.mark.parametrize("together", [False, True], ids=["apart", "together"])
@pytest.mark.parametrize("empty", [b"\r\n", b"\n", b"\r\n\r\n"])
def test_empty_line_between_requests_uses_up_no_fault(faultline, empty, together, tls):
    server = faultline.serve(sequence(ok(), status(503), ok()), tls=tls, strict=False)
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(dial(server))
        if tls:
            client = stack.enter_context(server.client_context().wrap_socket(client, server_hostname="localhost"))
        if together:
            client.sendall(GET + empty + LAST)
        else:
            client.sendall(GET + empty)
            server.wait_for_attempts(1, at="idle")
            client.sendall(empty)
            client.sendall(LAST)
        assert re.findall(rb"HTTP/1.1 (\d+)", said(client)) == [b"200", b"503"]
    first, second = server.wait_for_attempts(2, at="end")

    assert [first.request.target, second.request.target] == ["/", "/last"]
    assert second.received_bytes == len(LAST)


def test_empty_lines_at_idle_leave_the_connection_idle(faultline):
    server = faultline.serve(sequence(ok() & close(at="idle", after_seconds=0.05), ok()), strict=False)
    with dial(server) as client:
        client.sendall(GET + b"\r\n")
        assert said(client).startswith(b"HTTP/1.1 200")
    (attempt,) = server.wait_for_attempts(1, at="end")

    assert (attempt.struck.point, attempt.ended_by, attempt.ended_how) == ("idle", "server", "FIN")


# --- pipelined requests --------------------------------------------------------------------------------------


@each_row("count", [1, 2, 3, 20])
def test_turns_of_pipelined_requests_have_the_bytes_of_their_request(faultline, count):
    server = faultline.serve(ok())
    with dial(server) as client:
        client.sendall(GET * count + LAST)
        said(client)
    attempts = server.wait_for_attempts(count + 1, at="end")

    assert [a.received_bytes for a in attempts] == [len(GET)] * count + [len(LAST)]
    assert [[(t.by, t.count_bytes) for t in a.turns if t.by == "client"] for a in attempts] == [
        [("client", len(GET))] for _ in range(count)
    ] + [[("client", len(LAST))]]
    assert {a.turns[0].begins[:3] for a in attempts} == {b"GET"}
