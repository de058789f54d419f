"""Answers that are faults: their exact bytes on the wire, what they compose with, and what the ledger says of them."""

from __future__ import annotations

import asyncio
import gzip
import os
import re
import socket
import ssl
import time
import zlib
from typing import get_args

import aiohttp
import httpx
import pytest
import urllib3
from support import HIDES_RST, read
from support.tables import each_row

from faultline import (
    NotStruckError,
    ParameterError,
    bad_cert,
    close,
    drip,
    echo,
    latency,
    malformed,
    ok,
    raises,
    raw,
    receive,
    receive_request,
    receive_until,
    redirect,
    repeat,
    reset,
    respond,
    root_cause,
    script,
    send,
    sequence,
    serve,
    sse,
    starttls,
    status,
    stoptls,
    trickle_headers,
    when,
)
from faultline._core.promises import promises_of
from faultline.modes.lies import Kind

pytestmark = pytest.mark.leaves_open

GET = b"GET / HTTP/1.1\r\nHost: test:80\r\n\r\n"
HEAD = GET.replace(b"GET", b"HEAD")
UPLOAD = b"PUT / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\n"
WAITING = UPLOAD.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")

BODY = b"twenty bytes of body"
OK = b"HTTP/1.1 200 OK\r\n"
TYPE = b"Content-Type: text/plain\r\n"
CLOSES = TYPE + b"Connection: close\r\n\r\n"
LENGTH = b"Content-Length: 20\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n" + CLOSES


def struck(server):
    """Where the fault of each attempt struck, and after how many bytes."""
    return [a.struck and (a.struck.point, a.struck.after_bytes) for a in server.attempts]


def ended(server):
    """Who ended each attempt, and how."""
    return [(a.ended_by, a.ended_how) for a in server.attempts]


# --- status --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            status(503),
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 24\r\n%s\r\n503 Service Unavailable\n" % TYPE,
        ),
        (
            status(429, retry_after=1, body=b"?"),
            b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 1\r\n%s\r\n?" % TYPE,
        ),
        (
            status(404, body=b"no such thing"),
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 13\r\nContent-Type: text/plain\r\n\r\nno such thing",
        ),
        (
            status(500, headers={"Content-Type": "text/html", "X-Id": "7"}, body=b"<p>"),
            b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: text/html\r\nX-Id: 7\r\nContent-Length: 3\r\n\r\n<p>",
        ),
        (status(299), b"HTTP/1.1 299 \r\nContent-Length: 4\r\nContent-Type: text/plain\r\n\r\n299\n"),
        (status(200), b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Type: text/plain\r\n\r\n200 OK\n"),
        (status(204), b"HTTP/1.1 204 No Content\r\n\r\n"),
        (status(205), b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n"),
        (status(304), b"HTTP/1.1 304 Not Modified\r\n\r\n"),
    ],
    ids=repr,
)
def test_status_is_a_whole_response_on_a_connection_that_is_kept(faultline, dial, tls, fault, said):
    server = faultline.serve(fault, tls=tls)
    client = dial(server, GET)

    first = read(client, len(said))
    client.sendall(GET)

    assert [first, read(client, len(said))] == [said, said]
    assert [a.connection for a in server.attempts] == [1, 1]


def test_status_with_connection_close_ends_the_connection(faultline, dial):
    server = faultline.serve(status(503, headers={"Connection": "close"}, body=b"x"))

    assert read(dial(server, GET)) == (
        b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 1\r\n%s\r\nx" % TYPE
    )
    assert ended(server) == [("server", "FIN")]


@each_row("code", [400, 404, 503, 999])
def test_status_from_400_on_strikes_before_its_first_byte(faultline, dial, code):
    server = faultline.serve(status(code))
    read(dial(server, GET), 1)

    assert struck(server) == [("response", 0)]


@each_row("code", [200, 204, 299, 302, 399])
def test_status_below_400_is_no_fault(faultline, dial, code):
    server = faultline.serve(status(code))
    read(dial(server, GET), 1)

    assert struck(server) == [None]


def test_retry_after_can_be_a_date(faultline, dial):
    date = "Fri, 31 Dec 1999 23:59:59 GMT"
    server = faultline.serve(status(999, retry_after=date, body=b""))
    said = f"HTTP/1.1 999 \r\nRetry-After: {date}\r\nContent-Length: 0\r\n\r\n".encode()

    assert read(dial(server, GET), len(said)) == said


@pytest.mark.slow
def test_client_that_honours_retry_after_waits_as_long_as_it_says(faultline):
    server = faultline.serve(sequence(status(429, retry_after=1), ok(b"done")))

    with urllib3.PoolManager(timeout=10, retries=urllib3.Retry(1)) as pool:
        assert pool.request("GET", server.url).data == b"done"

    [interval] = server.intervals
    assert interval >= 1


# --- redirect ------------------------------------------------------------------------------------------------------


@each_row(
    ("fault", "line", "location"),
    [
        (redirect(), b"302 Found", b"/again"),
        (redirect("loop", code=301), b"301 Moved Permanently", b"/again"),
        (redirect("loop", code=303), b"303 See Other", b"/again"),
        (redirect("loop", code=307), b"307 Temporary Redirect", b"/again"),
        (redirect("loop", code=308), b"308 Permanent Redirect", b"/again"),
        (redirect("to_nowhere"), b"302 Found", b"http://127.255.255.255/"),
        (redirect("invalid_url"), b"302 Found", b"http://localhost:port/"),
        (redirect(to="//{host}/x"), b"302 Found", b"//test:80/x"),
    ],
)
def test_redirect_is_a_response_without_a_body_on_a_kept_connection(faultline, dial, fault, line, location):
    server = faultline.serve(fault)
    said = b"HTTP/1.1 %s\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % (line, location)
    client = dial(server, GET)

    first = read(client, len(said))
    client.sendall(GET)

    assert [first, read(client, len(said))] == [said, said]
    assert struck(server) == [("response", 0)] * 2


@each_row(("code", "line"), [(302, b"302 Found"), (307, b"307 Temporary Redirect")])
def test_chain_leads_from_hop_to_hop_and_to_the_answer(faultline, dial, code, line):
    server = faultline.serve(redirect("chain", hops=3, code=code), answer=ok(b"there"))
    client = dial(server)
    hop = b"HTTP/1.1 " + line + b"\r\nLocation: /hop/%d\r\nContent-Length: 0\r\n\r\n"
    there = OK + b"Content-Length: 5\r\n" + TYPE + b"\r\nthere"

    for target, said in (
        (b"/", hop % 1),
        (b"/hop/1", hop % 2),
        (b"/hop/2?with=query", hop % 3),
        (b"/hop/3", there),
        (b"/hop/4", there),
    ):
        client.sendall(GET.replace(b"/", target, 1))
        assert read(client, len(said)) == said

    assert struck(server) == [("response", 0)] * 5


@each_row(
    ("fault", "location"),
    [
        (redirect("downgrade"), b"http://test:80/"),
        (redirect("downgrade", to="http://localhost:1/x"), b"http://localhost:1/x"),
    ],
)
def test_downgrade_speaks_tls_without_being_told_and_leads_to_http(faultline, dial, fault, location):
    server = faultline.serve(fault)

    last = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    assert read(dial(server, last)) == (
        b"HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % location
    )
    assert server.url.startswith("https://")
    assert struck(server) == [("response", 0)]


# --- raw -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"\0", b"220 mail.invalid ESMTP\r\n", b"HTTP/1.1 200 OK\r\n\r\n", bytes(300_000)])
def test_raw_says_these_bytes_and_no_others_then_fin(faultline, dial, tls, data):
    server = faultline.serve(raw(data), tls=tls)

    assert read(dial(server, GET)) == data
    assert (struck(server), ended(server)) == ([("response", 0)], [("server", "FIN")])
    assert server.attempts[0].sent_bytes == len(data)


def test_raw_is_said_to_head_and_to_a_client_without_http_too(faultline, dial):
    server = faultline.serve(raw(b"whatever"))

    assert [read(dial(server, data)) for data in (HEAD, b"HELO there\r\n")] == [b"whatever"] * 2


def test_raw_that_keeps_the_connection_is_said_to_each_request(faultline, dial, tls):
    server = faultline.serve(raw(b"again", keep_alive=True), tls=tls)
    client = dial(server, GET + GET)

    assert read(client, 10) == b"againagain"
    assert [a.connection for a in server.attempts] == [1, 1]


# --- malformed: byte for byte --------------------------------------------------------------------------------------

# What is said before FIN.
ENDS = {
    "length_short": OK + b"Content-Length: 15\r\n" + CLOSES + BODY,
    "length_long": OK + b"Content-Length: 25\r\n" + CLOSES + BODY,
    "length_negative": OK + b"Content-Length: -20\r\n" + CLOSES + BODY,
    "length_conflicting": OK + b"Content-Length: 20\r\nContent-Length: 25\r\n" + CLOSES + BODY,
    "chunk_size_not_hex": CHUNKED + b"twenty\r\ntwenty bytes of body\r\n0\r\n\r\n",
    "chunk_cut": CHUNKED + b"5\r\ntwent\r\nf\r\ny bytes of",
    "chunk_terminator_missing": CHUNKED + b"5\r\ntwent\r\nf\r\ny bytes of body\r\n",
    "chunk_trailer_garbage": CHUNKED + b"5\r\ntwent\r\nf\r\ny bytes of body\r\n0\r\nno field, no colon\r\n\r\n",
    "status_garbage": b"HTTP/1.1 two hundred\r\n" + TYPE + LENGTH + b"\r\n" + BODY,
    "other_protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "wrong_version": b"HTTP/9.9 200 OK\r\n" + TYPE + LENGTH + b"\r\n" + BODY,
    "header_cut": OK + TYPE + b"Content",
}
# What is said on a connection that is kept.
KEPT = {
    "header_folded": OK + b"X-Folded: one\r\n two\r\n" + LENGTH + TYPE + b"\r\n" + BODY,
    "header_nul": OK + b"X-Nul: before\0after\r\n" + LENGTH + TYPE + b"\r\n" + BODY,
    "gzip_plain": OK + b"Content-Encoding: gzip\r\n" + LENGTH + TYPE + b"\r\n" + BODY,
    "body_surplus": OK + b"Content-Length: 15\r\n" + TYPE + b"\r\n" + BODY,
    "unsolicited_response": (OK + TYPE + LENGTH + b"\r\n" + BODY) + (OK + TYPE + LENGTH + b"\r\n" + BODY[::-1]),
    "interim_flood": b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000 + OK + TYPE + LENGTH + b"\r\n" + BODY,
    "header_line_long": OK + b"X-Long: " + b"x" * 199_990 + b"\r\n" + LENGTH + TYPE + b"\r\n" + BODY,
    "headers_many": (
        OK + b"".join(b"X-Number-%d: one of many\r\n" % n for n in range(10_000)) + LENGTH + TYPE + b"\r\n" + BODY
    ),
    "head_with_body": OK + LENGTH + TYPE + b"\r\n" + BODY,  # to GET it is what it should be
}
ELSEWHERE = {"gzip_cut", "gzip_bomb", "continue_never", "early_response"}  # have tests of their own


def test_every_kind_is_stated_byte_for_byte_or_has_a_test_of_its_own():
    assert sorted([*ENDS, *KEPT, *ELSEWHERE]) == sorted(get_args(Kind))


@pytest.mark.parametrize("kind", ENDS)
def test_malformed_response_is_said_to_the_byte_and_then_comes_fin(faultline, dial, tls, kind):
    server = faultline.serve(malformed(kind), tls=tls)

    assert read(dial(server, GET)) == ENDS[kind]
    assert (struck(server), ended(server)) == ([("response", 0)], [("server", "FIN")])
    assert server.attempts[0].sent_bytes == len(ENDS[kind])


@pytest.mark.parametrize("kind", KEPT)
def test_malformed_response_is_said_to_the_byte_and_the_next_begins_right_after_it(faultline, dial, tls, kind):
    server = faultline.serve(sequence(malformed(kind), ok(b"next")), tls=tls, strict=kind != "head_with_body")
    following = OK + b"Content-Length: 4\r\n" + TYPE + b"\r\nnext"
    client = dial(server, GET)

    said = read(client, len(KEPT[kind]))
    client.sendall(GET)

    assert said == KEPT[kind]
    assert read(client, len(following)) == following
    assert struck(server) == [None if kind == "head_with_body" else ("response", 0), None]
    assert [a.connection for a in server.attempts] == [1, 1]


def test_long_header_line_has_200_000_bytes_with_its_line_break():
    assert max(map(len, KEPT["header_line_long"].splitlines(keepends=True))) == 200_000


@each_row("kind", ["length_long", "chunk_cut", "gzip_plain", "body_surplus"])
def test_body_of_a_lie_is_not_said_to_head(faultline, dial, kind):
    server = faultline.serve(malformed(kind), strict=False)
    said = {**ENDS, **KEPT}[kind].partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    client = dial(server, HEAD)
    client.shutdown(socket.SHUT_WR)

    assert read(client) == said
    assert server.attempts[0].struck is None  # the head alone is what a server may say to HEAD


# --- malformed: compressed bodies ----------------------------------------------------------------------------------


def split(client):
    """The head of a response and its body, as long as it says."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += read(client, 1)
    return head, read(client, int(re.search(rb"Content-Length: (\d+)", head)[1]))


@pytest.mark.slow
def test_gzip_that_is_cut_begins_as_it_should_and_has_no_end(faultline, dial, tls):
    head, body = split(dial(faultline.serve(malformed("gzip_cut"), tls=tls), GET))
    unpacker = zlib.decompressobj(wbits=31)
    text = unpacker.decompress(body)

    assert b"\r\nContent-Encoding: gzip\r\n" in head
    assert text == (BODY * 50)[: len(text)]
    assert not unpacker.eof
    with pytest.raises(EOFError):
        gzip.decompress(body)


@pytest.mark.slow
def test_gzip_bomb_is_64_mib_of_zeros_in_less_than_100_kb(faultline, dial, tls):
    server = faultline.serve(malformed("gzip_bomb"), tls=tls)
    head, body = split(dial(server, GET))
    zeros, piece_bytes, count = bytes(1 << 20), 1 << 20, 0
    unpacker = zlib.decompressobj(wbits=31)
    piece = unpacker.decompress(body, piece_bytes)
    while piece:
        assert piece == zeros[: len(piece)]
        count += len(piece)
        piece = unpacker.decompress(unpacker.unconsumed_tail, piece_bytes)

    assert b"\r\nContent-Encoding: gzip\r\n" in head
    assert count == 64 << 20
    assert (unpacker.eof, unpacker.unused_data) == (True, b"")  # with the checksum and the length that it should have
    assert server.attempts[0].sent_bytes == len(head) + len(body) <= 100_000


# --- malformed: conversations --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_continue_never_lets_a_client_wait_and_answers_a_body_that_comes_unasked(faultline, dial, tls):
    server = faultline.serve(malformed("continue_never"), tls=tls)
    said = OK + b"Content-Length: 3\r\n" + TYPE + b"\r\nok\n"
    client = dial(server, WAITING, timeout=0.1)

    with pytest.raises(TimeoutError):
        client.recv(1)
    assert struck(server) == [("request", len(WAITING))]
    client.settimeout(10)
    client.sendall(b"12345")

    assert read(client, len(said)) == said
    assert server.attempts[0].request.body == b"12345"


@pytest.mark.slow
def test_continue_never_strikes_on_each_request_of_a_kept_connection(faultline, dial):
    server = faultline.serve(malformed("continue_never"))
    said = OK + b"Content-Length: 3\r\n" + TYPE + b"\r\nok\n"
    client = dial(server)

    for _ in range(2):
        client.sendall(WAITING)
        client.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.settimeout(10)
        client.sendall(b"12345")
        assert read(client, len(said)) == said

    assert struck(server) == [("request", len(WAITING))] * 2
    assert [a.connection for a in server.attempts] == [1, 1]


def test_continue_never_has_the_answer_of_the_server(faultline, dial):
    server = faultline.serve(malformed("continue_never"), answer=ok(b"mine"), strict=False)

    assert split(dial(server, UPLOAD + b"12345"))[1] == b"mine"
    assert struck(server) == [None]  # it did not wait


def test_early_response_comes_before_the_body_and_the_server_reads_on(faultline, dial, tls):
    server = faultline.serve(malformed("early_response"), tls=tls)
    mib = 1 << 20
    client = dial(server, UPLOAD.replace(b" 5\r", b" %d\r" % mib))

    assert read(client) == b"HTTP/1.1 413 Content Too Large\r\n" + CLOSES + b"413 Content Too Large\n"
    assert struck(server) == [("response", 0)]
    if not tls:  # an SSLSocket says no more after it has read the end
        client.sendall(bytes(mib))  # neither RST nor EPIPE
        client.shutdown(socket.SHUT_WR)
        [attempt] = server.wait_for_attempts(1, at="end")
        assert attempt.received_bytes == len(UPLOAD) + len(str(mib)) - 1 + mib
        assert (attempt.ended_by, attempt.ended_how) == ("client", "FIN")


def test_head_with_body_has_a_body_to_head_as_to_get(faultline, dial, tls):
    server = faultline.serve(malformed("head_with_body"), tls=tls)
    said = KEPT["head_with_body"]
    client = dial(server, HEAD + GET)

    assert read(client, 2 * len(said)) == said + said
    assert struck(server) == [("response", 0), None]


# --- server-sent events --------------------------------------------------------------------------------------------

STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
)
EVENTS = ("one", "two\nin two lines", "three")
WHOLE = b"b\r\ndata: one\n\n\r\n1e\r\ndata: two\ndata: in two lines\n\n\r\n"
LAST = b"d\r\ndata: three\n\n\r\n"
CUT = STREAM + WHOLE + LAST[:9]  # of 18


@pytest.mark.parametrize("events", [EVENTS, list(EVENTS)], ids=["tuple", "list"])
def test_stream_is_cut_in_the_middle_of_its_last_event(faultline, dial, tls, events):
    server = faultline.serve(sse(events), tls=tls)

    assert len(LAST) == 18
    assert read(dial(server, GET)) == CUT
    assert (struck(server), ended(server)) == ([("response", len(CUT))], [("server", "FIN")])


def test_stream_that_is_reset_is_delivered_up_to_the_cut(faultline, dial, tls):
    server = faultline.serve(sse(EVENTS, break_="reset"), tls=tls)
    client = dial(server, GET)

    assert read(client, len(CUT)) == CUT
    if tls and HIDES_RST:
        assert client.recv(1) == b""
    else:
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert (struck(server), ended(server)) == ([("response", len(CUT))], [("server", "RST")])


@pytest.mark.slow
def test_stream_that_stalls_is_silent_after_the_cut(faultline, dial, tls):
    server = faultline.serve(sse(EVENTS, break_="stall"), tls=tls)
    client = dial(server, GET)

    assert read(client, len(CUT)) == CUT
    client.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.recv(1)
    client.close()
    [attempt] = server.wait_for_attempts(1, at="end")
    assert (struck(server), ended(server)) == ([("response", len(CUT))], [("client", "FIN")])
    assert attempt.waited_seconds > 0


def test_stream_without_a_break_is_whole_and_no_fault(faultline, dial, tls):
    server = faultline.serve(sse(EVENTS, break_="none"), tls=tls)

    assert read(dial(server, GET)) == STREAM + WHOLE + LAST + b"0\r\n\r\n"
    assert (struck(server), ended(server)) == ([None], [("server", "FIN")])


@each_row(
    ("event", "said"),
    [
        ("", b"8\r\ndat"),
        ("x", b"9\r\ndata"),
        ("é", b"a\r\ndata"),
        ("\n", b"f\r\ndata: \n"),
        ("xy\nz", b"12\r\ndata: xy"),
    ],
)
def test_stream_of_one_event_has_half_of_it(faultline, dial, event, said):
    assert read(dial(faultline.serve(sse((event,))), GET)) == STREAM + said


class Reader:
    """Takes the lines of an event stream and keeps what is whole: an event ends with an empty line."""

    def __init__(self):
        self.events = []
        self._data = []

    def feed(self, line):
        if line:
            self._data.append(line.removeprefix("data: "))
        else:
            self.events.append("\n".join(self._data))
            self._data = []


def by_httpx(server):
    reader = Reader()
    timeout = httpx.Timeout(10, read=0.3)
    with (
        httpx.Client(timeout=timeout, verify=server.client_context()) as client,
        client.stream("GET", server.url) as response,
    ):
        try:
            for line in response.iter_lines():
                reader.feed(line)
        except httpx.HTTPError as error:
            return reader.events, type(error)
    return reader.events, None


@pytest.mark.parametrize(
    ("break_", "end"),
    [
        ("close", httpx.RemoteProtocolError),
        ("reset", httpx.ReadError),
        ("stall", httpx.ReadTimeout),
        ("none", None),
    ],
)
def test_httpx_gets_every_event_before_the_cut(faultline, tls, break_, end):
    server = faultline.serve(sse(EVENTS, break_=break_), tls=tls)
    if tls and HIDES_RST and break_ == "reset":
        end = httpx.RemoteProtocolError

    assert by_httpx(server) == (list(EVENTS if break_ == "none" else EVENTS[:2]), end)


# --- a head that trickles ------------------------------------------------------------------------------------------

TRICKLE = [
    b"HTTP/1.1 200 OK\r\n",
    b"X-Trickle-1: more to come\r\n",
    b"X-Trickle-2: more to come\r\n",
    b"Content-Length: 3\r\n",
    b"Content-Type: text/plain\r\n",
    b"\r\n",
    b"ok\n",
]


@pytest.mark.slow
def test_head_arrives_line_by_line_and_then_the_body(faultline, dial, tls):
    server = faultline.serve(trickle_headers(2, every_seconds=0.01), tls=tls)
    client = dial(server)

    for _ in range(2):  # a kept connection trickles again
        began = time.monotonic()
        client.sendall(GET)
        for number, line in enumerate(TRICKLE):
            assert read(client, len(line)) == line
            assert time.monotonic() - began >= number * 0.01

    assert struck(server) == [("response", 0), ("response", 0)]


@pytest.mark.slow
def test_client_with_a_timeout_for_each_read_never_times_out(faultline):
    server = faultline.serve(trickle_headers(12, every_seconds=0.05))
    began = time.monotonic()

    with urllib3.PoolManager(timeout=urllib3.Timeout(connect=10, read=0.7), retries=False) as pool:
        response = pool.request("GET", server.url)

    assert (response.data, response.headers["X-Trickle-12"]) == (b"ok\n", "more to come")
    assert time.monotonic() - began >= 0.75  # 16 lines


@pytest.mark.slow
@pytest.mark.everywhere
def test_client_with_a_timeout_for_the_whole_request_times_out(faultline):
    server = faultline.serve(trickle_headers(100, every_seconds=0.05))

    async def ask():
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.2)) as session:
            await session.get(server.url)

    with raises(TimeoutError):
        asyncio.run(ask())

    [attempt] = server.wait_for_attempts(1, at="end")
    assert attempt.ended_by == "client"
    assert attempt.turns[-1].begins.startswith(b"HTTP/1.1 200 OK\r\nX-Trickle-1: more to come\r\n")
    assert attempt.sent_bytes < 100 * len(b"X-Trickle-1: more to come\r\n")


# --- what is no answer ---------------------------------------------------------------------------------------------

LEADS = "'loop', 'chain', 'to_nowhere', 'invalid_url', 'downgrade'"
KINDS = ", ".join(map(repr, get_args(Kind)))
FIELDS = "expected names and values as text without line breaks, such as {'X-Name': 'value'}."


@each_row(
    ("make", "said"),
    [
        (lambda: status(99), "code=99: expected a whole number, from 200 to 999."),
        (lambda: status(199), "code=199: expected a whole number, from 200 to 999."),
        (lambda: status(1000), "code=1000: expected a whole number, from 200 to 999."),
        (lambda: status("503"), "code='503': expected int, not str."),
        (lambda: status(503.0), "code=503.0: expected int, not float."),
        (lambda: status(True), "code=True: expected int, not bool."),
        (lambda: status(503, retry_after=-1), "retry_after=-1: expected a whole number of seconds, 0 or more."),
        (lambda: status(503, retry_after=1.5), "retry_after=1.5: expected a whole number of seconds, 0 or more."),
        (lambda: status(503, retry_after=True), "retry_after=True: expected a whole number of seconds, 0 or more."),
        (lambda: status(503, headers={"a b": "c"}), f"headers={{'a b': 'c'}}: {FIELDS}"),
        (lambda: status(503, headers={"A": "b\r\nc"}), f"headers={{'A': 'b\\r\\nc'}}: {FIELDS}"),
        (lambda: status(503, body="text"), "body='text': expected bytes, not str."),
        (
            lambda: redirect("lop"),
            f"kind='lop': expected one of {LEADS}. Did you mean 'loop'?",
        ),
        (lambda: redirect(code=200), "code=200: expected one of 301, 302, 303, 307, 308."),
        (lambda: redirect(code=304), "code=304: expected one of 301, 302, 303, 307, 308."),
        (lambda: redirect(code="302"), "code='302': expected one of 301, 302, 303, 307, 308."),
        (lambda: redirect(hops=3), "hops=3: expected no hops with kind='loop'; write kind='chain'."),
        (lambda: redirect("downgrade", hops=3), "hops=3: expected no hops with kind='downgrade'; write kind='chain'."),
        (lambda: redirect("chain", hops=0), "hops=0: expected a whole number, 1 or more."),
        (lambda: redirect("chain", hops=True), "hops=True: expected int, not bool."),
        (lambda: redirect("chain", to="/x"), "to='/x': expected no to with kind='chain', which makes its own."),
        (lambda: redirect(to=b"/x"), "to=b'/x': expected str, not bytes."),
        (lambda: raw(b""), "data=b'': expected at least one byte; close() sends none."),
        (lambda: raw("text"), "data='text': expected bytes, not str."),
        (lambda: raw(b"x", keep_alive=1), "keep_alive=1: expected bool, not int."),
        (lambda: sse(()), "events=(): expected at least one event, as a tuple of texts or mappings."),
        (lambda: sse("one"), "events='one': expected at least one event, as a tuple of texts or mappings."),
        (lambda: sse((b"one",)), "events[0]=b'one': expected text, or a mapping with data."),
        (
            lambda: sse(break_="rest"),
            "break_='rest': expected one of 'close', 'reset', 'stall', 'none'. Did you mean 'reset'?",
        ),
        (lambda: trickle_headers(0), "lines=0: expected a whole number, from 1 to 10000."),
        (lambda: trickle_headers(10_001), "lines=10001: expected a whole number, from 1 to 10000."),
        (lambda: trickle_headers(1.5), "lines=1.5: expected int, not float."),
        (lambda: trickle_headers(every_seconds=-1), "every_seconds=-1: expected a number of seconds, 0 or more."),
        (lambda: trickle_headers(every_seconds="1"), "every_seconds='1': expected a number of seconds, 0 or more."),
        (
            lambda: malformed("lenght_short"),
            f"kind='lenght_short': expected one of {KINDS}. Did you mean 'length_short'?",
        ),
        (lambda: malformed("chunk"), f"kind='chunk': expected one of {KINDS}. Did you mean 'chunk_cut'?"),
        (lambda: malformed(None), f"kind=None: expected one of {KINDS}."),
    ],
)
def test_value_that_means_nothing_is_an_error_that_says_what_was_expected(make, said):
    with pytest.raises(ParameterError) as raised:
        make()

    assert type(raised.value) is ParameterError
    assert str(raised.value).startswith(said.removesuffix("."))


@each_row("make", [status, raw, malformed])
def test_answer_that_needs_a_word_of_what_is_not_called_without(make):
    with pytest.raises(TypeError, match="which has no default; write "):
        make()


@each_row(
    "fault",
    [
        status(503, retry_after=0, headers=(("X-Id", "7"),), body=b"x"),
        redirect("chain", hops=2),
        redirect("loop", to="/elsewhere", code=308),
        raw(b"\0\xff", keep_alive=True),
        sse(("one", "two"), break_="none"),
        trickle_headers(2, every_seconds=0.1),
        malformed("chunk_cut") & latency(0.5),
    ],
)
def test_answer_can_be_read_back_from_how_it_is_said(fault):
    assert eval(repr(fault)) == fault


# --- what they compose with ----------------------------------------------------------------------------------------


def test_malformed_response_may_travel_in_pieces(faultline, dial):
    server = faultline.serve(malformed("header_line_long") & drip(50_000, every_seconds=0.01))
    said = KEPT["header_line_long"]
    began = time.monotonic()

    assert read(dial(server, GET), len(said)) == said
    assert time.monotonic() - began >= 0.04  # the fifth piece
    assert struck(server) == [("response", 0)]


@each_row(
    ("answer", "begin"),
    [
        (status(503), b"HTTP/1.1 5"),
        (malformed("other_protocol"), b"SSH-2.0-Op"),
        (malformed("early_response"), b"HTTP/1.1 4"),
    ],
)
def test_answer_breaks_after_so_many_of_its_bytes(faultline, dial, answer, begin):
    server = faultline.serve(answer & reset(after_bytes=10))
    client = dial(server, UPLOAD)

    if answer != malformed("early_response"):
        client.sendall(b"12345")
    assert read(client, 10) == begin
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert (struck(server), ended(server)) == ([("response", 10)], [("server", "RST")])


def test_early_response_composes_with_a_break_of_the_request_and_with_a_certificate(faultline, dial):
    server = faultline.serve(malformed("early_response") & reset(at="request", after_bytes=20))
    client = dial(server, UPLOAD)

    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert struck(server) == [("request", 20)]
    assert (malformed("early_response") & bad_cert("expired")).needs_tls


def test_kept_connection_breaks_after_a_whole_lie(faultline, dial):
    server = faultline.serve(malformed("body_surplus") & close(at="idle"))

    assert read(dial(server, GET)) == KEPT["body_surplus"]
    assert (struck(server), ended(server)) == ([("idle", 0)], [("server", "FIN")])


def test_lie_may_be_told_to_some_requests_alone(faultline, dial):
    plan = when(lambda request: request.target == "/lie", malformed("chunk_cut"), otherwise=ok(b"true"))
    server = faultline.serve(plan)
    client = dial(server, GET + GET.replace(b"/", b"/lie", 1))

    assert read(client) == OK + b"Content-Length: 4\r\n" + TYPE + b"\r\ntrue" + ENDS["chunk_cut"]
    assert [a.fault for a in server.attempts] == [ok(b"true"), malformed("chunk_cut")]
    assert struck(server) == [None, ("response", 0)]


@each_row(
    "fault",
    [malformed("early_response"), malformed("continue_never")],
)
def test_what_begins_before_the_request_is_read_is_no_choice_by_the_request(fault):
    with pytest.raises(ParameterError) as raised:
        when(bool, fault)

    assert str(raised.value) == (
        f"fault={fault!r}: expected a fault at 'response' or 'idle', after the request is read."
    )


@each_row(
    ("answer", "begin"),
    [(status(503), b"HTTP/1.1 503 Service"), (malformed("other_protocol"), b"SSH-2.0-OpenSSH_9.2\r")],
)
def test_answer_of_the_server_is_no_fault_even_if_it_lies(faultline, dial, answer, begin):
    server = faultline.serve(ok(), answer=answer)

    assert read(dial(server, GET), 20) == begin
    assert struck(server) == [None]


def test_break_falls_on_the_answer_of_the_server(faultline, dial):
    server = faultline.serve(close(after_bytes=20), answer=status(503))

    assert read(dial(server, GET)) == b"HTTP/1.1 503 Service"
    assert struck(server) == [("response", 20)]


@each_row("answer", [malformed("early_response"), sse(), trickle_headers(), latency(1)])
def test_answer_of_the_server_is_an_answer_and_nothing_else(answer):
    with pytest.raises(ParameterError) as raised:
        serve(ok(), answer=answer)

    assert str(raised.value) == f"answer={answer!r}: expected an answer such as ok(b'…') or echo()."


# --- the guard -----------------------------------------------------------------------------------------------------


@each_row(
    "fault",
    [
        status(400),
        redirect(),
        redirect("chain"),
        raw(b"x"),
        sse(),
        malformed("chunk_cut"),
        malformed("early_response"),
        malformed("continue_never"),
        malformed("head_with_body"),
        malformed("gzip_bomb") & latency(0.1),
    ],
)
def test_fault_that_nobody_asked_for_fails(fault):
    with pytest.raises(NotStruckError) as raised, serve(fault) as server:
        pass

    assert str(raised.value) == (
        f"{fault!r} never struck: no client connected to {server.hostport}. (strict=False allows it.)"
    )


@each_row("fault", [ok(), status(200), status(399), sse(break_="none"), echo()])
def test_answer_that_is_no_fault_may_go_unasked(fault):
    with serve(fault) as server:
        pass

    assert server.attempts == ()


@each_row(
    ("fault", "advice"),
    [
        (malformed("head_with_body"), "The client sent no HEAD request."),
        (malformed("head_with_body") & latency(0), "The client sent no HEAD request."),
        (malformed("continue_never"), "The client did not wait for 100 Continue."),
    ],
)
def test_lie_that_needs_another_request_says_which(dial, fault, advice):
    with pytest.raises(NotStruckError) as raised, serve(fault) as server:
        split(dial(server, GET))

    assert str(raised.value).startswith(f"{fault!r} never struck: #1 GET /: {fault!r} reached 'idle', received ")
    assert str(raised.value).endswith(f" s. {advice} (strict=False allows it.)")


# --- scripts -------------------------------------------------------------------------------------------------------


def test_script_responds_with_any_answer(faultline, dial, tls):
    lie = script(receive_request(), respond(status(404, body=b"")), receive_request(), respond(malformed("chunk_cut")))
    server = faultline.serve(lie, tls=tls)

    assert read(dial(server, GET + GET)) == b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n" + ENDS["chunk_cut"]
    assert struck(server) == [("response", 0)]


def test_script_that_responds_well_is_no_fault():
    assert not promises_of(script(receive_request(), respond(status(200))))
    assert promises_of(script(receive_request(), respond(status(404))))
    assert promises_of(script(repeat(receive_request(continues=False), respond())))


@each_row("wrong", [malformed("early_response"), sse(), trickle_headers()])
def test_script_does_not_respond_with_more_than_an_answer(wrong):
    with pytest.raises(ParameterError) as raised:
        respond(wrong)

    assert str(raised.value) == f"answer={wrong!r}: expected an answer such as ok(b'…') or echo()."


def test_script_answers_the_head_and_reads_the_body_later(faultline, dial, tls):
    late = script(receive_request(head_only=True), respond(ok(b"early")), receive(5), send(b"got it"))
    server = faultline.serve(late, tls=tls)
    said = OK + b"Content-Length: 5\r\n" + CLOSES + b"early"
    client = dial(server, UPLOAD)

    assert read(client, len(said)) == said
    client.sendall(b"12345")
    assert read(client) == b"got it"
    assert server.attempts[0].request.body == b"12345"


def test_script_says_continue_to_a_client_that_waits(faultline, dial, tls):
    server = faultline.serve(script(receive_request(), respond(ok(b"x"))), tls=tls)
    client = dial(server, WAITING)

    assert read(client, 25) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.sendall(b"12345")
    assert read(client) == OK + b"Content-Length: 1\r\n" + TYPE + b"\r\nx"
    assert struck(server) == [None]


@pytest.mark.slow
def test_script_may_withhold_it(faultline, dial, tls):
    server = faultline.serve(script(receive_request(continues=False), respond(ok(b"x"))), tls=tls)
    client = dial(server, WAITING, timeout=0.1)

    with pytest.raises(TimeoutError):
        client.recv(1)
    client.settimeout(10)
    client.sendall(b"12345")
    assert read(client) == OK + b"Content-Length: 1\r\n" + TYPE + b"\r\nx"
    assert struck(server) == [("request", len(WAITING))]


def test_bytes_below_tls_stand_between_its_records(faultline, dial):
    server = faultline.serve(script(receive_request(), send(b"inside"), send(b"as they are", below_tls=True)))
    client = dial(server, GET)
    with socket.socket(fileno=os.dup(client.fileno())) as below:
        below.settimeout(10)
        said = read(below)

    assert server.url.startswith("https://")  # it speaks TLS without being told
    before, after = said.split(b"as they are")
    assert b"inside" not in before
    assert (before[-28:-25], after[:3]) == (b"\x17\x03\x03", b"\x17\x03\x03")  # records of application data
    assert server.attempts[0].sent_bytes == len(b"inside")


def test_client_of_tls_fails_on_bytes_below_it(faultline, dial):
    server = faultline.serve(script(receive_request(), send(b"inside"), send(b"as they are", below_tls=True)))
    client = dial(server, GET)

    assert read(client, 6) == b"inside"
    with pytest.raises(ssl.SSLError) as raised:
        client.recv(1)
    assert type(root_cause(raised.value)) is ssl.SSLError
    assert raised.value.reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}  # OpenSSL 3.2 has the second


def test_bytes_below_tls_are_plain_before_there_is_tls(faultline, dial):
    line = receive_until(b"\r\n")
    server = faultline.serve(script(line, send(b"220 go\r\n", below_tls=True), starttls(), send(b"250 inside\r\n")))
    client = dial(server, b"STARTTLS\r\n")

    assert server.url.startswith("http://")
    assert read(client, 8) == b"220 go\r\n"
    with server.client_context().wrap_socket(client, server_hostname="localhost") as secure:
        assert read(secure) == b"250 inside\r\n"


@each_row(
    ("step", "text"),
    [
        (send(b"x"), "send(b'x')"),
        (send(b"x", below_tls=True), "send(b'x', below_tls=True)"),
        (receive_request(), "receive_request()"),
        (receive_request(head_only=True), "receive_request(head_only=True)"),
        (receive_request(continues=False), "receive_request(continues=False)"),
        (repeat(receive_request(head_only=True), respond()), "repeat(receive_request(head_only=True), respond())"),
        (respond(raw(b"x")), "respond(raw(b'x'))"),
    ],
)
def test_step_can_be_read_back_from_how_it_is_said(step, text):
    assert repr(step) == text
    assert eval(text) == step


@each_row(
    ("make", "said"),
    [
        (lambda: send(b"x", below_tls=1), "below_tls=1: expected True or False."),
        (lambda: send(b"x", below_tls=None), "below_tls=None: expected True or False."),
        (lambda: send(b"", below_tls=True), "data=b'': expected at least one byte, as bytes."),
        (lambda: receive_request(head_only=1), "head_only=1: expected True or False."),
        (lambda: receive_request(head_only="yes"), "head_only='yes': expected True or False."),
        (lambda: receive_request(continues=None), "continues=None: expected True or False."),
        (lambda: receive_request(continues=0), "continues=0: expected True or False."),
        (
            lambda: receive_request(head_only=True, continues=False),
            "continues=False: expected True with head_only=True, because it does not wait for a body.",
        ),
    ],
)
def test_step_with_a_value_that_means_nothing_is_an_error(make, said):
    with pytest.raises(ParameterError) as raised:
        make()

    assert str(raised.value) == said


# --- what can't be said ----------------------------------------------------------------------------------------------


@each_row(
    ("make", "message"),
    [
        (
            lambda: status(204, body=b"x"),
            "body=b'x': expected no body with status 204, which has no content; raw(b'…') sends any bytes.",
        ),
        (
            lambda: status(503, retry_after=""),
            "retry_after='': expected seconds, a date of HTTP, or other text of one line.",
        ),
        (
            lambda: status(503, retry_after="a\r\nb"),
            "retry_after='a\\r\\nb': expected seconds, a date of HTTP, or other text of one line.",
        ),
        (
            lambda: status(503, retry_after=1, headers={"retry-after": "2"}),
            "retry_after=1: expected no Retry-After in headers, which have another.",
        ),
        (lambda: redirect(to=""), "to='': expected a URL of one line."),
        (lambda: redirect(to="a\r\nb"), "to='a\\r\\nb': expected a URL of one line."),
        (
            lambda: sse(("\ud800",)),
            "events[0]='\\ud800': expected text that UTF-8 can encode (surrogates not allowed).",
        ),
    ],
)
def test_what_a_response_can_not_say_is_refused(make, message):
    with pytest.raises(ParameterError) as raised:
        make()

    assert str(raised.value) == message


def test_tls_is_begun_once_unless_it_is_ended_between():
    with pytest.raises(ParameterError, match=r"expected starttls\(\) once; TLS is spoken after the first"):
        script(starttls(), starttls())

    assert script(starttls(), stoptls(), starttls()) is not None


def test_a_script_that_ends_tls_has_some_from_the_beginning(faultline, dial):
    server = faultline.serve(script(stoptls(), send(b"plain")))

    assert server.url.startswith("https://")
    assert read(dial(server).unwrap(), 5) == b"plain"


@each_row(
    ("steps", "step"),
    [
        ((stoptls(), starttls()), "stoptls()"),
        ((starttls(), stoptls(), stoptls()), "stoptls()"),
        ((starttls(), stoptls(), close(close_notify=False)), "close(close_notify=False)"),
        ((repeat(starttls(), stoptls(), stoptls()),), "stoptls()"),
    ],
)
def test_what_needs_tls_is_refused_where_a_script_speaks_none(steps, step):
    with pytest.raises(ParameterError, match=re.escape(f"{step}: expected a place in the script where TLS is spoken.")):
        script(*steps)


def test_tls_that_a_turn_begins_and_ends_is_begun_again_in_the_next():
    assert script(repeat(starttls(), stoptls())) is not None
    with pytest.raises(ParameterError, match=r"expected starttls\(\) once"):
        script(repeat(starttls()))
