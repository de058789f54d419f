"""HTTP as bytes: what is a request, when it is complete, and what a response looks like."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tables import each_row

from faultline._core.answers import Answer, phrase_of
from faultline._core.attempts import Request
from faultline._net.http1 import HEAD_LIMIT_BYTES, PassingResponse, RequestReader, can_begin_request, render

TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
TLS_HELLO = b"\x16\x03\x01\x00\xf4\x01\x00\x00\xf0\x03\x03" + bytes(32)


def read(*pieces):
    """A reader that was fed these pieces until it had enough, and how often `100 Continue` was asked for."""
    reader, asked, unread = RequestReader(), 0, b""
    for piece in pieces:
        if reader.complete:
            unread += piece
        else:
            asked += reader.feed(piece)
    return reader, asked, reader.rest + unread


def account(*pieces):
    reader, _, rest = read(*pieces)
    return reader.complete, reader.is_http, reader.keep_alive, reader.request, rest


def bytewise(data):
    return [data[i : i + 1] for i in range(len(data))]


@st.composite
def requests(draw, *, expects=False):
    """The bytes of a valid request, and what they mean."""
    method = draw(st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "M-SEARCH"]))
    target = "/" + draw(st.text("abcXYZ019-._~%?=&;,/:@!$'()*+", max_size=40))
    names = st.text(TOKEN, min_size=1, max_size=10).map(lambda name: f"X-{name}")
    values = st.text("abc 019:;,=\"'<>\xe9", max_size=20).map(str.strip)
    fields = [("Host", "test"), *draw(st.lists(st.tuples(names, values), max_size=4))]
    body = draw(st.binary(min_size=int(expects), max_size=200))
    framing = draw(st.sampled_from(["none", "length", "chunked"] if not expects else ["length", "chunked"]))
    sent = body
    if framing == "none":
        body = sent = b""
    elif framing == "length":
        fields.append(("Content-Length", str(len(body))))
    else:
        fields.append(("Transfer-Encoding", "chunked"))
        cuts = sorted({0, len(body), *draw(st.lists(st.integers(0, len(body)), max_size=4))})
        chunks = [body[a:b] for a, b in pairwise(cuts)]
        sent = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    if expects:
        fields.append(("Expect", "100-continue"))
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    return head, sent, Request(method, target, tuple(fields), body, len(body))


@st.composite
def pieces_of(draw, data):
    cuts = sorted({0, len(data), *draw(st.lists(st.integers(0, len(data)), max_size=12))})
    return [data[a:b] for a, b in pairwise(cuts) if a < b]


@pytest.mark.slow
@given(st.data(), requests(), st.binary(max_size=50))
def test_request_is_the_same_however_its_bytes_are_split(data, request_, further):
    head, sent, meant = request_
    pieces = data.draw(pieces_of(head + sent + further))

    assert account(*pieces) == (True, True, True, meant, further)
    assert account(*bytewise(head + sent + further)) == (True, True, True, meant, further)


@pytest.mark.slow
@given(requests(), st.data())
def test_request_is_not_complete_before_its_last_byte(request_, data):
    whole = request_[0] + request_[1]
    reader, _, _ = read(whole[: data.draw(st.integers(1, len(whole) - 1))])

    assert (reader.complete, reader.is_http) == (False, True)


@pytest.mark.slow
@given(requests(expects=True))
def test_client_that_waits_for_100_continue_is_noticed_once(request_):
    head, sent, meant = request_
    reader, asked, _ = read(*bytewise(head))

    assert asked == 1
    assert [reader.feed(piece) for piece in bytewise(sent) if not reader.complete].count(True) == 0
    assert reader.request == meant


def test_client_that_sends_its_body_at_once_does_not_wait_for_100_continue():
    _, asked, _ = read(b"POST / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi")

    assert asked == 0


def test_client_without_a_body_does_not_wait_for_100_continue():
    _, asked, _ = read(b"GET / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\n\r\n")

    assert asked == 0


def test_pipelined_requests_are_read_one_after_the_other():
    reader, _, rest = read(GET + GET + b"POST /")
    second, _, rest_of_second = read(rest)

    assert (reader.request, second.request) == (read(GET)[0].request,) * 2
    assert rest_of_second == b"POST /"


@each_row(
    "request_",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n",
        b"CONNECT t:443 HTTP/1.1\r\nHost: t:443\r\n\r\n",
    ],
)
def test_connection_is_not_kept_after_a_request_that_ends_it(request_):
    reader, _, _ = read(request_)

    assert (reader.complete, reader.is_http, reader.keep_alive) == (True, True, False)


@each_row(
    "data",
    [
        b"PING\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"EHLO x\r\n",
        TLS_HELLO,
        bytes(8),
        b"SSH-2.0-x\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /\r\n",
        b"GET / HTTP/1.1 \r\n",
        b"GET  / HTTP/1.1\r\n",
        b"GET / FTP",
        b"GET / HTTP/3",
        b"\xc3\xa9",
        b"A" * 33,
    ],
)
def test_bytes_that_cannot_begin_a_request_are_a_complete_request_at_once(data):
    reader, asked, _ = read(data)

    assert (reader.complete, reader.is_http, reader.keep_alive, asked) == (True, False, False, 0)
    assert reader.request == Request(body=data, body_bytes=len(data))


@each_row("data", [b"PING\r\n", TLS_HELLO, b"PRI * HTTP/2.0\r\n", b"SSH-2.0-x\r\n"])
def test_what_is_no_request_becomes_complete_however_its_bytes_are_split(data):
    reader, _, rest = read(*bytewise(data))

    assert (reader.complete, reader.is_http) == (True, False)
    assert reader.request.body + rest == data


@each_row(
    "line",
    [
        b"GET / HTTP/1.1\r\n",
        b"M-SEARCH * HTTP/1.1\n",
        b"OPTIONS http://[::1]:80/a?b HTTP/1.0\r\n",
        b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n",
        b"A" * 32 + b" / HTTP/1.1\r\n",
    ],
)
def test_every_prefix_of_a_request_line_can_become_a_request(line):
    assert [length for length in range(len(line) + 1) if not can_begin_request(line[:length])] == []


@pytest.mark.slow
@given(st.binary(max_size=60))
def test_what_h11_takes_for_a_request_can_begin_one(data):
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(b"GET /" + data + b" HTTP/1.1\r\nHost: t\r\n\r\n")
    try:
        connection.next_event()
    except h11.RemoteProtocolError:
        return

    assert can_begin_request(b"GET /" + data + b" HTTP/1.1\r\n")


@pytest.mark.slow
@given(st.lists(st.binary(min_size=1, max_size=30), max_size=10))
def test_no_bytes_break_the_reader(pieces):
    reader, _, _ = read(*pieces)

    assert reader.request.body_bytes >= len(reader.request.body)


@pytest.mark.slow
@given(st.data(), st.sampled_from([b"zz\r\n", b"5\r\nhelloXX", b"-1\r\n", b"\r\n", b"\0\r\n", b"1\r\nab\n"]))
def test_garbage_in_a_chunked_body_ends_the_request_where_it_is(data, garbage):
    whole = b"POST /up HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n" + garbage
    reader, _, _ = read(*data.draw(pieces_of(whole)))

    assert (reader.complete, reader.is_http, reader.keep_alive) == (True, False, False)
    assert (reader.request.method, reader.request.target) == ("POST", "/up")
    assert reader.request.body.startswith(b"hi")


@each_row(
    "head",
    [
        b"GET / HTTP/1.1\r\nbad field\r\n\r\n",
        b"GET / HTTP/1.1\r\n: nameless\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: gzip\r\n\r\n",
    ],
)
def test_head_that_is_no_http_is_a_complete_request_of_bytes(head):
    reader, _, _ = read(head)

    assert (reader.complete, reader.is_http, reader.keep_alive) == (True, False, False)
    assert reader.request == Request(body=head, body_bytes=len(head))


@each_row("begin", [b"GET / HTTP/1.1\r\nX: ", b"GET /"])
def test_endless_head_is_given_up_after_64_kib(begin):
    head = begin + b"a" * (HEAD_LIMIT_BYTES - len(begin))
    reader, _, _ = read(head)

    assert not reader.complete

    reader.feed(b"a")

    assert (reader.complete, reader.is_http) == (True, False)
    assert reader.request == Request(body=head + b"a", body_bytes=HEAD_LIMIT_BYTES + 1)


@each_row("piece_bytes", [1000, 60_000, 200_000])
def test_head_over_64_kib_is_given_up_however_its_bytes_are_split(piece_bytes):
    head = b"GET / HTTP/1.1\r\nHost: t\r\nX: " + b"a" * 100_000 + b"\r\n\r\n"
    reader, _, _ = read(*(head[i : i + piece_bytes] for i in range(0, len(head), piece_bytes)))

    assert (reader.complete, reader.is_http) == (True, False)


def test_body_is_kept_up_to_16_mib_and_counted_to_its_end():
    size = 16 * 1024**2 + 1000
    reader, _, _ = read(b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % size, bytes(size - 10), bytes(10))

    assert (len(reader.request.body), reader.request.body_bytes) == (size - 1000, size)


def test_names_and_values_of_fields_are_kept_as_they_were_written():
    reader, _, _ = read(b"GET / HTTP/1.1\r\nHOST: t\r\nX-Name:  caf\xe9 \r\nx-name: 2\r\n\r\n")

    assert reader.request.headers == (("HOST", "t"), ("X-Name", "caf\xe9"), ("x-name", "2"))


def rendered(answer, *, method="GET", headers=(), body=b"", keep_alive=True):
    return render(answer, Request(method, "/", headers, body, len(body)), keep_alive=keep_alive)


@each_row(
    ("answer", "expected"),
    [
        (Answer(), b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Type: text/plain\r\n\r\nok\n"),
        (
            Answer(503, (("Server", "x"),), b"no"),
            b"HTTP/1.1 503 Service Unavailable\r\nServer: x\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nno",
        ),
        (Answer(body=b""), b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        (Answer(299, body=b""), b"HTTP/1.1 299 \r\nContent-Length: 0\r\n\r\n"),
    ],
)
def test_response_is_status_line_fields_and_body(answer, expected):
    assert rendered(answer) == expected


def test_response_to_head_has_the_fields_and_no_body():
    assert rendered(Answer(body=b"hello"), method="HEAD") == (
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\n"
    )


@each_row("status", [204, 304])
def test_response_without_content_has_neither_length_nor_body(status):
    response = rendered(Answer(status, body=b"hello"))

    assert response.endswith(b"\r\n\r\n")
    assert b"content-length" not in response.lower()


def test_response_on_a_connection_that_is_not_kept_says_close():
    assert b"\r\nConnection: close\r\n" in rendered(Answer(), keep_alive=False)
    assert b"Connection" not in rendered(Answer(), keep_alive=True)


@each_row(
    ("given_field", "ours"),
    [
        (("CONTENT-LENGTH", "99"), b"Content-Length: 3"),
        (("Transfer-Encoding", "chunked"), b"Content-Length: 3"),
        (("content-type", "a/b"), b"Content-Type: text/plain"),
        (("connection", "keep-alive"), b"Connection: close"),
    ],
)
def test_given_field_replaces_the_servers_own(given_field, ours):
    response = rendered(Answer(headers=(given_field,)), keep_alive=False)

    assert f"{given_field[0]}: {given_field[1]}\r\n".encode() in response
    assert ours not in response


def test_echo_answers_with_body_and_content_type_of_the_request():
    response = rendered(Answer(echoes=True), method="POST", headers=(("content-TYPE", "a/b"),), body=b"\x00\xff")

    assert response == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: a/b\r\n\r\n\x00\xff"


def test_echo_of_a_body_without_a_type_is_plain_text():
    assert b"Content-Type: text/plain\r\n" in rendered(Answer(echoes=True), method="POST", body=b"x")


def test_echo_to_a_client_without_http_is_its_own_bytes():
    assert rendered(Answer(echoes=True), method="", body=b"PING\r\n") == b"PING\r\n"


@pytest.mark.slow
@given(requests(), st.booleans())
def test_any_http_client_can_read_the_response(request_, keep_alive):
    meant = request_[2]
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=meant.method, target="/", headers=[("Host", "t")]))
    client.send(h11.EndOfMessage())
    client.receive_data(render(Answer(echoes=True), meant, keep_alive=keep_alive))
    client.receive_data(b"")
    events = []
    while not events or type(events[-1]) is not h11.EndOfMessage:
        events.append(client.next_event())

    assert events[0].status_code == 200
    assert b"".join(bytes(e.data) for e in events[1:-1]) == (b"" if meant.method == "HEAD" else meant.body)


@each_row(("status", "phrase"), [(200, "OK"), (404, "Not Found"), (299, ""), (999, "")])
def test_status_has_its_reason_phrase_or_none(status, phrase):
    assert phrase_of(status) == phrase


@each_row(("method", "status"), [("CONNECT", 200), ("GET", 204), ("GET", 304)])
def test_response_that_has_no_content_has_no_length(method, status):
    data = render(Answer(status, (), b"body"), Request(method=method), keep_alive=True)

    assert b"Content-" not in data
    assert data.endswith(b"\r\n\r\n")


def test_reset_content_has_a_length_of_none():
    data = render(Answer(205, (), b"body"), Request(method="GET"), keep_alive=True)

    assert data.endswith(b"Content-Length: 0\r\n\r\n")


@pytest.mark.slow
def test_body_of_tiny_chunks_takes_no_more_than_twice_its_size():
    size = 4_000
    reader = RequestReader()
    reader.feed(b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n")
    tracemalloc.start()
    try:
        for _ in range(size // 2):
            reader.feed(b"2\r\nxy\r\n")
        assert tracemalloc.get_traced_memory()[0] < 2 * size + 10_000  # of h11
    finally:
        tracemalloc.stop()
    assert reader.request.body == b"xy" * (size // 2)


def test_a_response_with_a_wrong_head_has_an_end_that_nobody_knows():
    response = PassingResponse("GET", upgrades=False)
    wrong = b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n"

    assert (response.feed(wrong), response.is_opaque, response.complete) == (wrong, True, False)
