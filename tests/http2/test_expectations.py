"""`100 Continue` in HTTP/2 (RFC 9113, 8.1): who is asked for a body, who is refused, and what comes all the same."""

from __future__ import annotations

import socket

import hpack
from support import PATIENCE_SECONDS
from support.raw_http2 import Raw, code_of
from support.tables import each_row

from faultline import answer, by_path, echo, latency, ok, reset, rst_stream, sequence, serve, status, when

EXPECTS = {"expect": "100-continue"}


@each_row(
    "fault, statuses, body",
    [
        (ok(b"fine"), ["100", "200"], b"said"),
        (ok(b"fine", status=201), ["100", "201"], b"said"),
        (status(413), ["413"], b""),
        (status(302), ["302"], b""),
        (latency(0.001) & status(503), ["503"], b""),
        (latency(0.001) & echo(), ["100", "200"], b"said"),
        (by_path({"/pay": status(417), "/*": ok()}), ["417"], b""),
        (when(lambda request: request.body == b"said", status(417)), ["100", "417"], b"said"),
        (answer(lambda _: status(413)), ["100", "413"], b"said"),
        (rst_stream("CANCEL"), ["100"], b"said"),
        (reset(at="response", after_bytes=20), ["100"], b"said"),
    ],
)
def test_a_client_that_expects_to_be_asked_for_its_body_is_asked_or_refused(fault, statuses, body):
    with serve(fault, http2=True) as server, Raw(server) as client:
        number = client.ask("/pay", "POST", ends=False, **EXPECTS)
        first = client.until(lambda frames: any(kind == "HEADERS" for kind, *_ in frames))
        if statuses[0] == "100":
            assert [flags for kind, flags, of, _ in first if (kind, of) == ("HEADERS", number)] == [set()]
            client.h2.send_data(number, b"said", end_stream=True)
            client.flush()
        frames = client.response(number)
        decoder = hpack.Decoder()
        heads = [dict(decoder.decode(payload)) for kind, *_, payload in frames if kind == "HEADERS"]
        (attempt,) = server.wait_for_attempts(1)

        assert [head[":status"] for head in heads] == statuses
        assert attempt.request.body == body


def test_a_refused_body_takes_no_window_and_the_connection_goes_on():
    with serve(sequence(status(413), ok(b"fine")), http2=True) as server, Raw(server) as client:
        number = client.ask("/pay", "POST", ends=False, **EXPECTS)
        frames = client.until(lambda frames: any(kind == "RST_STREAM" for kind, *_ in frames))
        assert [(code_of(payload), of) for kind, _, of, payload in frames if kind == "RST_STREAM"] == [(0, number)]
        for _ in range(8):  # of a client that has not read that yet: more than the window of the connection
            client.h2.send_data(number, b"x" * 8000)
        client.flush()
        assert client.response(client.ask())[-1][0] == "DATA"
    assert [(end.by, end.how, end.alert) for end in server.attempts[0].ends] == [("server", "RST_STREAM", "NO_ERROR")]


def test_a_body_that_comes_unasked_is_read_without_an_interim_response():
    with serve(status(413), http2=True) as server, Raw(server) as client:
        number = client.h2.get_next_available_stream_id()
        fields = [(":method", "POST"), (":path", "/"), (":scheme", "http"), (":authority", "test"), *EXPECTS.items()]
        client.h2.send_headers(number, fields)
        client.h2.send_data(number, b"said", end_stream=True)
        client.flush()
        assert [kind for kind, *_ in client.response(number)] == ["HEADERS", "DATA", "DATA"]
    assert server.attempts[0].request.body == b"said"


UPGRADE = (
    b"POST / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\nUpgrade: "
)
UPLOAD = b"\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"


@each_row(
    "fault, upgrade, first, second",
    [
        (ok(b"fine"), b"h2c", b"HTTP/1.1 100", b"HTTP/1.1 101"),
        (ok(b"fine"), b"websocket, h2c", b"HTTP/1.1 100", b"HTTP/1.1 101"),
        (status(413), b"h2c", b"HTTP/1.1 413", b""),  # the body may still come, ahead of the preface
    ],
)
def test_a_client_that_asks_by_upgrade_is_asked_for_its_body_first(fault, upgrade, first, second):
    with serve(fault, http2=True) as server, socket.create_connection(server.address, PATIENCE_SECONDS) as client:
        client.sendall(UPGRADE + upgrade + UPLOAD)
        assert client.recv(65_536).startswith(first)
        if second:
            client.sendall(b"said")
        assert client.recv(65_536).startswith(second)
        client.shutdown(socket.SHUT_WR)
        while client.recv(65_536):
            pass
