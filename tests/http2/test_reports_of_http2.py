"""What a test is told about streams: by the drawing, by the guard, and by errors of construction."""

from __future__ import annotations

import importlib.util
import json
import subprocess

import httpx
import pytest
from support.raw_http2 import Raw
from support.tables import each_row

from faultline import (
    FaultlineError,
    NotStruckError,
    bad_grpc,
    bad_http2,
    corrupt,
    goaway,
    grpc_ok,
    grpc_status,
    http2_settings,
    ok,
    reset,
    rst_stream,
    script,
    send,
    serve,
    trickle_headers,
    websocket,
)

SERVED = "expected serve(…, http2=True); only HTTP/2 has streams and frames."
UNFRAMED = "expected an answer such as ok(…) beside it; a script or a WebSocket has no frames of HTTP/2."


def told(fault, ask, **options):
    """What the guard says of a fault that has not struck."""
    with pytest.raises(NotStruckError) as raised, serve(fault, http2=True, **options) as server:
        ask(server)
    return str(raised.value)


def by_http2(server):
    with Raw(server) as client:
        client.response(client.ask("/pay"))


def by_http1(server):
    httpx.get(server.url, verify=server.client_context() if server.url.startswith("https") else True)


@pytest.mark.slow
@pytest.mark.measured
@each_row(
    "fault, ask, options, advice",
    [
        (rst_stream(), by_http1, {}, "spoke HTTP/1.1: tell it that the server speaks HTTP/2, as"),
        (goaway(), by_http1, {"tls": True}, "spoke HTTP/1.1: let it offer h2 by ALPN, as"),
        (bad_http2("push"), by_http1, {}, "spoke HTTP/1.1: tell it"),
        (http2_settings(max_streams=1), by_http1, {}, "spoke HTTP/1.1: tell it"),
        (bad_http2("ping_unanswered"), by_http2, {}, "sent no PING: make the interval of its keepalive shorter."),
        (rst_stream(after_body_bytes=9), by_http2, {"answer": ok(b"x")}, "before after_body_bytes=9: strike after"),
        (reset(at="idle"), lambda server: Raw(server).sock.close(), {}, ""),
    ],
)
def test_the_guard_says_why_a_fault_of_http2_has_not_struck(fault, ask, options, advice):
    said = told(fault, ask, **options)
    assert "never struck" in said
    assert advice in said
    assert ask is not by_http2 or "#1 stream 1 GET /pay: " in said


def test_json_and_the_drawing_have_the_number_of_the_stream():
    with serve(rst_stream("REFUSED_STREAM", after_body_bytes=1), http2=True) as server, Raw(server) as client:
        client.response(client.ask("/pay", "POST", b"100"))
        drawn = server.drawing()
    assert "#1 rst_stream('REFUSED_STREAM', after_body_bytes=1), connection 1, stream 1, HTTP/2" in " ".join(
        drawn.split()
    )
    assert "POST /pay: HEADERS, DATA" in drawn
    assert "<--- RST_STREAM REFUSED_STREAM" in drawn
    (attempt,) = json.loads(server.ledger.to_json())["attempts"]
    assert (attempt["stream"], attempt["ended_how"]) == (1, "RST_STREAM")


@each_row(
    "call, message",
    [
        (lambda: serve(rst_stream()), SERVED),
        (lambda: serve(goaway(at="idle")), SERVED),
        (lambda: serve(bad_http2("push")), SERVED),
        (lambda: serve(bad_http2("ping_unanswered")), SERVED),
        (lambda: serve(bad_grpc("message_cut")), SERVED),
        (lambda: serve(ok(), answer=grpc_ok()), SERVED),
        (lambda: serve(script(send(b"x")) & goaway(), http2=True), UNFRAMED),
        (lambda: serve(websocket() & rst_stream(), http2=True), UNFRAMED),
        (
            lambda: serve(corrupt(probability=0.1), http2=True),
            "expected serve(…); a server of HTTP/2 does not apply corruption to the response.",
        ),
        (lambda: serve(trickle_headers(), http2=True), "expected serve(…); a server of HTTP/2 does not apply trickle"),
        (lambda: serve(ok(), http2="yes"), "http2='yes': expected True or False."),
        (http2_settings, "expected at least one setting."),
        (lambda: http2_settings(max_streams=-1), "max_streams=-1: expected a whole number, from 0 to 4294967295."),
        (lambda: goaway(last_stream=-1), "last_stream=-1: expected a whole number"),
        (lambda: rst_stream("REFUSED"), "Did you mean 'REFUSED_STREAM'?"),
        (lambda: rst_stream() & goaway(), "expected one break, got two"),
        (lambda: bad_http2("push") & bad_grpc("message_cut"), "expected one answer, got two"),
        (lambda: http2_settings(max_streams=0) & bad_http2("settings_missing"), "expected one http2, got two"),
        (lambda: rst_stream(at="idle"), "expected one of 'request', 'response'"),
        (lambda: ok(trailers={"a": "b"}, ranges=True), "ranges=True: expected a body or json beside it"),
        (lambda: ok(b"", trailers={"a": "b"}), "trailers={'a': 'b'}: expected a body that is not empty."),
        (lambda: ok(status=204, trailers={"a": "b"}), "trailers={'a': 'b'}: expected a body that is not empty"),
        (lambda: ok(trailers={"a": "b\n"}), "trailers={'a': 'b\\n'}: expected names and values as text"),
        (lambda: grpc_status("OK", trailers={"a\n": "b"}), "trailers={'a\\n': 'b'}: expected names and values as text"),
        (lambda: ok(chunks=(b"x",), endless=True, trailers={"a": "b"}), "expected a body that ends"),
    ],
)
def test_what_has_no_meaning_is_refused(call, message):
    with pytest.raises(FaultlineError) as raised:
        call()
    assert message in str(raised.value)


def test_without_the_library_the_error_names_its_extra(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "h2" else find(name))
    with pytest.raises(
        FaultlineError,
        match=r"HTTP/2 needs the package h2; run `pip install .pytest-faultline\[http2\].`, or write http2=False\.",
    ):
        serve(ok(), http2=True)


def test_a_script_speaks_for_itself_on_such_a_server():
    with serve(script(send(b"220 hi\r\n")), http2=True) as server:
        done = subprocess.run(
            ["curl", "-s", f"telnet://{server.hostport}"], capture_output=True, check=False, input=b""
        )
    assert done.stdout == b"220 hi\r\n"
