"""A server of HTTP/2: what is healthy, which clients it speaks it with, and the words that HTTP/1.1 has too."""

from __future__ import annotations

import gc
import socket
import subprocess
import weakref

import httpx
import pytest
from support.raw_http2 import Raw, code_of, frames_of
from support.tables import each_row

from faultline import (
    Gate,
    answer,
    bad_http2,
    by_path,
    close,
    echo,
    goaway,
    half_close,
    http2_settings,
    inject,
    latency,
    malformed,
    ok,
    raw,
    redirect,
    relay,
    reset,
    rst_stream,
    sequence,
    serve,
    sse,
    stall,
    status,
    throttle,
    when,
)
from faultline._core.http2 import name_of

EVENTS = ({"data": "one"}, {"data": "two"})
BODY = b"twenty bytes of body"
OK = b"\x88"  # the field of the status 200: RFC 7541, appendix A


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def tls(request):
    return request.param


def client_of(server, *, tls=False, **options):
    """httpx, which chooses h2 by ALPN, or knows it."""
    context = server.client_context() if tls else True
    return httpx.Client(http2=True, http1=tls, verify=context, base_url=server.url, timeout=10, **options)


def fails(client, error=httpx.RemoteProtocolError):
    with pytest.raises(error):
        client.get("/")


ANSWERS = [
    (ok(b"hello"), 200, b"hello"),
    (ok(b""), 200, b""),
    (ok(json=[1]), 200, b"[1]"),
    (ok(chunks=(b"one", b"two"), every_seconds=0.001), 200, b"onetwo"),
    (ok(b"x" * 100_000), 200, b"x" * 100_000),
    (echo(), 200, b"said"),
    (status(503, retry_after=1), 503, b"503 Service Unavailable\n"),
    (status(204), 204, b""),
    (status(205), 205, b""),
    (redirect("loop"), 302, b""),
    (sse(EVENTS, break_="none"), 200, b"data: one\n\ndata: two\n\n"),
    (
        answer(lambda request: f"{request.method} {request.target} {request.header('host', '')[:9]}"),
        200,
        b"POST /x 127.0.0.1",
    ),
    (when(lambda request: request.body == b"said", ok(b"yes"), otherwise=ok(b"no")), 200, b"yes"),
    (by_path({"/x": ok(b"x"), "/*": ok(b"other")}), 200, b"x"),
    (latency(0.001), 200, b"ok\n"),
    (latency(0.001, direction="both") & ok(BODY), 200, BODY),
    (throttle(1_000_000) & ok(BODY), 200, BODY),
    (stall(for_seconds=0.001) & ok(BODY), 200, BODY),
    (ok(BODY, trailers={"X-Sum": "1"}), 200, BODY),
]


@pytest.mark.slow
@pytest.mark.measured
def test_what_is_healthy_is_written_once_for_both_protocols(tls):
    for plan, code, body in ANSWERS:
        with serve(plan, tls=tls, http2=True, strict=False) as server, client_of(server, tls=tls) as client:
            for _ in range(2):
                response = client.post("/x", content=b"said")
                assert (response.http_version, response.status_code, response.content) == ("HTTP/2", code, body), plan
        assert [(a.stream, a.connection) for a in server.attempts] == [(1, 1), (3, 1)]
        assert {(a.request.method, a.request.target, a.request.body) for a in server.attempts} == {
            ("POST", "/x", b"said")
        }


def test_the_fields_are_those_of_the_answer_without_what_belongs_to_the_connection():
    given = {"X-Word": "1", "Keep-Alive": "5"}
    with serve(ok(b"hello", headers=given), http2=True) as server, client_of(server) as client:
        assert client.get("/").headers.multi_items() == [
            ("x-word", "1"),
            ("content-length", "5"),
            ("content-type", "text/plain"),
        ]
        assert client.head("/").content == b""


def test_trailers_follow_the_body_in_both_protocols():
    plan = ok(chunks=(b"one", b"two"), trailers={"X-Sum": "6"})
    with serve(plan, http2=True) as server:
        with Raw(server) as client:
            frames = client.response(client.ask())
            assert [(kind, "END_STREAM" in flags) for kind, flags, _, _ in frames] == [
                *[("HEADERS", False), ("DATA", False), ("DATA", False), ("HEADERS", True)]
            ]
        http1 = subprocess.run(["curl", "-s", "--raw", server.url], capture_output=True, timeout=30, check=True)
        assert http1.stdout.endswith(b"3\r\ntwo\r\n0\r\nX-Sum: 6\r\n\r\n")


@each_row("options, version", [(["--http2"], "2"), (["--http2-prior-knowledge"], "2"), (["--http1.1"], "1.1")])
def test_a_client_speaks_http2_by_upgrade_or_prior_knowledge_and_http1_otherwise(options, version):
    command = ["curl", "-s", "-w", "%{http_version}", *options, "-d", "said"]
    with serve(ok(b"hello "), http2=True) as server:
        done = subprocess.run([*command, server.url], capture_output=True, timeout=30, check=True)
        assert done.stdout.decode() == f"hello {version}"
        done = subprocess.run([*command[:-2], server.url], capture_output=True, timeout=30, check=True)
        assert done.stdout.decode() == f"hello {version}"
    assert [a.stream for a in server.attempts] == [None if version == "1.1" else 1] * 2
    assert [a.request.body for a in server.attempts] == [b"said", b""]


@each_row(
    "options, spoken",
    [
        ({"http2": True}, ("HTTP/2", "h2")),
        ({"alpn": ("h2", "http/1.1")}, ("HTTP/2", "h2")),
        ({"alpn": ("http/1.1",), "http2": True}, ("HTTP/1.1", "http/1.1")),
        ({}, ("HTTP/1.1", "http/1.1")),
    ],
)
def test_in_tls_the_client_chooses_by_alpn(options, spoken):
    with serve(ok(), tls=True, **options) as server, client_of(server, tls=True) as client:
        assert client.get("/").http_version == spoken[0]
        assert server.attempts[0].tls.alpn == spoken[1]


def test_a_server_may_speak_http1_after_it_has_chosen_h2():
    with serve(ok(), tls=True, alpn=("h2",), http2=False) as server, client_of(server, tls=True) as client:
        fails(client)
    assert server.attempts[0].tls.alpn == "h2"


# --- breaks ----------------------------------------------------------------------------------------------------------

WHOLE = 1_000_000  # stands for the bytes of all frames of the response but the last, which is its end
# The fault; how the connection ends; how many bytes of the stream came; and where it struck, behind how many bytes.
CUTS = [
    (reset(), "RST", 0, ("response", 0)),
    (reset(after_bytes=4), "RST", 4, ("response", 4)),
    (reset(after_bytes=30), "RST", 30, ("response", 30)),
    (close(after_bytes=30), "FIN", 30, ("response", 30)),
    (close(after_body_bytes=0), "FIN", WHOLE - 29, ("response", WHOLE - 29)),
    (close(after_body_bytes=7), "FIN", WHOLE - 13, ("response", WHOLE - 13)),
    (close(after_body_bytes=20), "FIN", WHOLE, ("response", WHOLE)),
    (close(at="response", on=b"bytes"), "FIN", WHOLE - 8, ("response", WHOLE - 8)),
    (close(at="response", on=b":status: 200"), "FIN", WHOLE - 29, ("response", WHOLE - 29)),
    (half_close(after_bytes=3), "FIN", 3, ("response", 3)),
    (reset(at="request"), "RST", 0, ("request", 0)),
    (reset(at="request", after_bytes=12), "RST", 0, ("request", 12)),
    (reset(at="request", after_body_bytes=2), "RST", 0, ("request", None)),
    (reset(on=b":path: /pay"), "RST", 0, ("request", None)),
    (reset(on=b"said"), "RST", 0, ("request", None)),
]


@pytest.mark.slow
@pytest.mark.measured
def test_a_break_ends_the_connection_behind_exact_bytes_of_the_stream(tls):
    whole = whole_response_bytes()
    for fault, end, *numbers in CUTS:
        (point, *behind) = numbers.pop()
        count, after = (n - WHOLE + whole if n and n > WHOLE // 2 else n for n in (*numbers, *behind))
        with serve(fault, answer=ok(BODY), http2=True, tls=tls) as server, Raw(server, tls=tls) as client:
            client.ask("/pay", "POST", b"said")
            client.read_to_end()
        attempt, struck = server.attempts[0], server.attempts[0].struck
        assert (attempt.ended_how, client.end) == (end, end), fault
        assert (attempt.stream, struck.point, stream_bytes(client.raw, 1)) == (1, point, count), fault
        assert (attempt.sent_bytes, struck.after_bytes) == (count, struck.after_bytes if after is None else after), (
            fault
        )


def test_a_silence_holds_its_stream_alone():
    gate = Gate()
    plan = sequence(stall(after_bytes=40, until=gate) & ok(BODY), ok(b"second"))
    with serve(plan, http2=True) as server, Raw(server) as client:
        first, second = client.ask(), client.ask()
        assert [payload for kind, _, _, payload in client.response(second) if kind == "DATA"] == [b"second", b""]
        held = [payload for kind, _, of, payload in client.frames() if (kind, of) == ("DATA", first)]
        assert stream_bytes(client.raw, first) == 40 == server.attempts[0].struck.after_bytes
        assert 0 < len(b"".join(held)) < len(BODY)
        gate.open()
        assert b"".join(payload for kind, _, _, payload in client.response(first) if kind == "DATA") == BODY
    assert [(a.stream, a.ended_by) for a in server.attempts] == [(1, "client"), (3, None)]


def test_a_stall_at_the_request_leaves_its_window_closed():
    with serve(stall(at="request", after_bytes=100), http2=True, strict=False) as server, Raw(server) as client:
        number = client.ask("/", "POST", ends=False)
        room = client.h2.local_flow_control_window(number)
        while (window := client.h2.local_flow_control_window(number)) > 0:
            client.h2.send_data(number, bytes(min(window, 16_384)))
            client.flush()
        server.wait_for_attempts(1, at="strike")
        client.ask()
        client.response(number + 2)
        assert not [frame for frame in client.frames() if frame[0] == "WINDOW_UPDATE" and frame[2] == number]
        assert server.attempts[0].received_bytes >= room


def test_other_streams_of_a_connection_that_is_cut_end_with_it():
    plan = sequence(stall(), reset())
    with serve(plan, http2=True) as server, Raw(server) as client:
        client.ask()
        server.wait_for_attempts(1, at="strike")
        client.ask()
        client.read_to_end()
    assert [(a.stream, a.ended_by, a.ended_how) for a in server.attempts] == [
        (1, "server", "RST"),
        (3, "server", "RST"),
    ]


def test_breaks_between_requests():
    for fault in (close(at="idle"), reset(at="idle"), close(at="idle", after_seconds=0.01), goaway(at="idle")):
        with serve(fault, http2=True) as server, Raw(server) as client:
            client.response(client.ask())
            client.read_to_end()
        assert (server.attempts[0].struck.point, client.end) == ("idle", "RST" if fault == reset(at="idle") else "FIN")


@pytest.mark.slow
def test_requests_of_a_connection_are_counted_and_the_next_fault_may_need_another():
    with serve(sequence(reset(after_requests=1), ok()), http2=True) as server, client_of(server) as client:
        assert client.get("/").content == b"ok\n"
        with pytest.raises(httpx.ReadError):
            client.get("/")
        assert client.get("/").content == b"ok\n"
    assert [(a.connection, a.stream) for a in server.attempts] == [(1, 1), (1, 3), (2, 1)]
    with serve(sequence(ok(), reset(at="accept"), ok()), http2=True, strict=False) as server:
        with Raw(server) as client:  # GOAWAY, because the next fault strikes on another connection
            client.response(client.ask())
            client.read_to_end()
            assert [kind for kind, *_ in client.frames()][-1] == "GOAWAY"
        with client_of(server) as client, pytest.raises(httpx.TransportError):
            client.get("/")


def test_bytes_of_no_frame_come_between_frames():
    ping = b"\0\0\x08\x06\0\0\0\0\0faultline"[: 9 + 8]
    with serve(inject(ping, after_body_bytes=5) & ok(BODY), http2=True) as server, Raw(server) as client:
        frames = client.response(client.ask())
        assert [len(payload) for kind, _, _, payload in frames if kind == "DATA"] == [5, 15, 0]
        assert ("PING", set(), 0, b"faultlin") in client.frames()
    with serve(raw(b"HTTP/1.1 200 OK\r\n\r\n"), http2=True) as server, client_of(server) as client:
        fails(client)
    with serve(raw(b"\0" * 3, keep_alive=True), http2=True) as server, Raw(server) as client:
        client.ask()
        client.until(lambda _: client.raw.endswith(b"\0\0\0"))


def test_a_live_edit_changes_what_a_stream_meets():
    with serve(stall(), http2=True, answer=ok(b"late")) as server, Raw(server) as client:
        number = client.ask()
        server.wait_for_attempts(1, at="strike")
        server.become(ok(), open_too=True)
        assert client.response(number)[1][3] == b"late"
    with serve(ok(), http2=True) as server, Raw(server) as client:
        client.response(client.ask())
        server.wait_for_attempts(1, at="idle")
        server.become(close(at="idle"), open_too=True)
        client.read_to_end()
        assert client.end == "FIN"
    with serve(ok(chunks=(b"tick",), endless=True, every_seconds=0.001), http2=True) as server, Raw(server) as client:
        number = client.ask()
        client.until(lambda frames: len(frames) > 5)
        server.become(ok(), open_too=True)
        assert "END_STREAM" in client.response(number)[-1][1]


@pytest.mark.slow
@pytest.mark.measured
def test_a_time_goes_on_while_streams_do():
    with serve(reset(after_seconds=0.3), http2=True) as server, Raw(server) as client:
        for _ in range(3):
            client.response(client.ask())
        client.read_to_end()
        assert client.end == "RST"
    assert [a.struck is None for a in server.attempts] == [True, True, False]


def test_a_client_that_resets_its_stream_leaves_the_others():
    with serve(sequence(stall(), ok(b"second")), http2=True) as server, Raw(server) as client:
        first = client.ask()
        server.wait_for_attempts(1, at="strike")
        client.h2.reset_stream(first, 8)
        client.flush()
        assert client.response(client.ask())[1][3] == b"second"
    assert [(a.ended_by, a.ended_how) for a in server.attempts] == [("client", "RST_STREAM"), ("client", "FIN")]
    assert [str(end) for end in server.attempts[0].ends] == ["RST_STREAM CANCEL"]


# --- frames that only HTTP/2 has -------------------------------------------------------------------------------------


def test_a_stream_is_reset_behind_exact_bytes_and_the_others_go_on():
    for fault, body in [
        (rst_stream("REFUSED_STREAM"), None),
        (rst_stream(at="request"), None),
        (rst_stream("INTERNAL_ERROR", after_body_bytes=7), BODY[:7]),
        (rst_stream("CANCEL", after_body_bytes=20), BODY),
    ]:
        with serve(sequence(fault, ok(b"second")), answer=ok(BODY), http2=True) as server, Raw(server) as client:
            frames = client.response(client.ask())
            assert b"".join(payload for kind, _, _, payload in frames if kind == "DATA") == (body or b"")
            assert len(frames) == (1 if body is None else 3)
            assert code_of(frames[-1][3]) == fault.break_.steps[0].code
            assert client.response(client.ask())[1][3] == b"second"
        first = server.attempts[0]
        assert (first.stream, first.ended_by, first.ended_how) == (1, "server", "RST_STREAM")
        assert [str(end) for end in first.ends] == [f"RST_STREAM {name_of(fault.break_.steps[0].code)}"]
        assert server.attempts[1].connection == 1


@each_row(
    "kind, told",
    [
        ("settings_invalid", [("SETTINGS", 0, bytes((0, 5, 0, 0, 0, 1)))]),
        ("frame_illegal", [("DATA", 0, BODY)]),
        ("frame_oversized", [("HEADERS", 1, OK), ("DATA", 1, bytes(16_385))]),
        ("data_first", [("DATA", 1, BODY)]),
        ("data_after_end", [("HEADERS", 1, OK), ("DATA", 1, BODY), ("DATA", 1, b""), ("DATA", 1, BODY)]),
        ("stream_unopened", [("HEADERS", 1001, OK)]),
        ("window_zero", [("WINDOW_UPDATE", 0, bytes(4))]),
        ("window_overflow", [("WINDOW_UPDATE", 0, bytes((127, 255, 255, 255)))] * 2),
    ],
)
def test_a_wrong_frame_has_the_stream_and_the_length_that_its_kind_says(kind, told):
    def behind_settings(frames):
        return [(name, of, payload) for name, _, of, payload in frames[1:] if (name, payload) != ("SETTINGS", b"")]

    with serve(bad_http2(kind), http2=True) as server, Raw(server) as client:
        client.ask()
        frames = client.until(lambda frames: len(behind_settings(frames)) >= len(told))
    assert behind_settings(frames)[: len(told)] == told


def test_a_server_goes_away_with_grace_or_at_once():
    for fault, kinds, end in [
        (goaway(), ["GOAWAY", "HEADERS", "DATA", "DATA"], "NO_ERROR"),
        (goaway(after_body_bytes=5), ["HEADERS", "DATA", "GOAWAY", "DATA", "DATA"], "NO_ERROR"),
        (goaway(last_stream=0), ["GOAWAY"], "NO_ERROR"),
        (goaway(at="request"), ["GOAWAY", "HEADERS", "DATA", "DATA"], "NO_ERROR"),
        (goaway("ENHANCE_YOUR_CALM"), ["GOAWAY"], "ENHANCE_YOUR_CALM"),
        (goaway("INTERNAL_ERROR", last_stream=0, after_body_bytes=5), ["HEADERS", "DATA", "GOAWAY"], "INTERNAL_ERROR"),
    ]:
        with serve(fault, answer=ok(BODY), http2=True) as server, Raw(server) as client:
            client.ask()
            client.read_to_end()
        ours = [frame for frame in client.frames() if frame[0] not in ("SETTINGS", "WINDOW_UPDATE")]
        assert ([kind for kind, *_ in ours], client.end) == (kinds, "FIN"), fault
        assert f"GOAWAY {end}" in map(str, server.attempts[0].ends)


def test_streams_behind_the_last_get_no_answer():
    gate = Gate()
    plan = sequence(stall(until=gate), goaway(last_stream=1), ok())
    with serve(plan, http2=True, strict=False) as server, Raw(server) as client:
        first, second = client.ask(), client.ask()
        client.until(lambda frames: any(kind == "GOAWAY" for kind, *_ in frames))
        client.ask()
        gate.open()
        client.read_to_end()
        assert {of for kind, _, of, _ in client.frames() if kind in ("HEADERS", "DATA")} == {first}
        assert second != first
    assert [a.ended_by for a in server.attempts] == ["server", None]


@pytest.mark.slow
@pytest.mark.measured
def test_settings_leave_a_client_little_room():
    with serve(http2_settings(max_streams=1), http2=True, answer=ok(BODY)) as server, Raw(server) as client:
        first = client.ask("/", "POST", ends=False)
        assert code_of(client.response(client.ask())[-1][3]) == 7
        client.h2.end_stream(first)
        client.flush()
        assert client.response(first)[1][3] == BODY
    assert [(a.stream, a.ended_how) for a in server.attempts] == [(1, "FIN"), (3, "RST_STREAM")]
    assert [str(end) for end in server.attempts[1].ends] == ["RST_STREAM REFUSED_STREAM", "FIN"]
    with serve(http2_settings(window_bytes=2), http2=True) as server, client_of(server) as client:
        for _ in range(2):  # the first request goes ahead of the settings
            assert client.post("/", content=BODY).status_code == 200
    assert [attempt.request.body for attempt in server.attempts] == [BODY, BODY]
    with (
        serve(http2_settings(max_frame_bytes=1, header_table_bytes=0), http2=True) as server,
        client_of(server) as client,
        pytest.raises(httpx.LocalProtocolError, match="invalid value"),
    ):
        client.get("/")


def stream_bytes(raw, number):
    """How many bytes came of the frames of a stream; one that is cut is the last."""
    frames, rest = frames_of(raw)
    return sum(9 + len(payload) for _, _, of, payload in frames if of == number) + len(rest)


def whole_response_bytes():
    """How many bytes a response with the body has, without its end."""
    with serve(ok(BODY), http2=True) as server, Raw(server) as client:
        client.response(client.ask("/pay", "POST", b"said"))
    return stream_bytes(client.raw, 1) - 9


def test_a_client_may_leave_once_the_server_has_switched():
    ask = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
    for rest in (b"", b"PRI"):
        with serve(ok(), http2=True) as server:
            with socket.create_connection(server.address, 10) as client:
                client.sendall(ask)
                assert client.recv(1000).startswith(b"HTTP/1.1 101")
                client.sendall(rest)
                client.shutdown(socket.SHUT_WR)
                assert client.recv(1000) == b""
            (attempt,) = server.wait_for_attempts(1, at="end")
        assert (attempt.ended_by, attempt.stream) == ("client", None)


def test_a_host_takes_the_place_of_an_authority():
    with serve(ok(), http2=True) as server, Raw(server) as client:
        number = client.h2.get_next_available_stream_id()
        fields = [(":method", "GET"), (":path", "/"), (":scheme", "http"), ("host", "by name")]
        client.h2.send_headers(number, fields, end_stream=True)
        client.flush()
        client.response(number)
    assert server.attempts[0].request.headers == (("host", "by name"),)


@pytest.mark.slow
@pytest.mark.measured
def test_the_same_on_a_unix_socket_and_in_a_child_process():
    with serve(ok(b"hello"), http2=True, unix=True) as server:
        command = ["curl", "-s", "--http2-prior-knowledge", "--unix-socket", server.path, "http://localhost/"]
        assert subprocess.run(command, capture_output=True, timeout=30, check=True).stdout == b"hello"
    assert server.attempts[0].stream == 1
    with serve(rst_stream("CANCEL"), http2=True, isolated=True) as server, Raw(server) as client:
        assert code_of(client.response(client.ask())[-1][3]) == 8
    assert (server.attempts[0].stream, server.attempts[0].ended_how) == (1, "RST_STREAM")


def test_controls_of_a_test_reach_a_stream(tls):
    for control, end in (("reset_all", "RST"), ("close_all", "FIN")):
        with serve(stall(), http2=True, tls=tls) as server, Raw(server, tls=tls) as client:
            client.ask()
            server.wait_for_attempts(1, at="strike")
            getattr(server, control)()
            client.read_to_end()
        assert (client.end, server.attempts[0].ended_how) == (end, end)
    with serve(ok(), http2=True, tls=tls) as server, Raw(server, tls=tls) as client:
        client.response(client.ask())
        server.pause()
        number = client.ask()
        server.resume()
        assert client.response(number)[0][0] == "HEADERS"


@pytest.mark.slow
@pytest.mark.everywhere
@each_row("fault", [ok(), reset(), close(after_body_bytes=1), stall(), rst_stream(), goaway("INTERNAL_ERROR")])
def test_a_connection_that_is_over_leaves_no_cycle(fault):
    gc.collect()
    gc.disable()
    try:
        with serve(fault, http2=True) as server:
            with Raw(server) as client:
                client.ask()
                server.wait_for_attempts(1, at="idle" if fault == ok() else "strike")
            server.wait_for_attempts(1, at="end")
        ledger = weakref.ref(server.ledger)
        del server
        assert ledger() is None
    finally:
        gc.enable()


def test_a_relay_that_ends_tls_passes_http2_on():
    with serve(ok(b"hello"), tls=True, http2=True) as upstream:
        with relay(upstream, tls="terminate", alpn=("h2",)) as server, client_of(server, tls=True) as client:
            assert client.get("/").http_version == "HTTP/2"
        with relay(upstream, reset(on=b"said"), tls="terminate", alpn=("h2",)) as server:
            assert server.attempts == ()
            with client_of(server, tls=True) as client, pytest.raises(httpx.TransportError):
                client.post("/", content=b"said")


def test_a_stream_that_goes_on_gets_no_answer_once_the_server_has_gone_away_before_it():
    gate = Gate()
    with serve(sequence(goaway(last_stream=1, until=gate), stall()), http2=True) as server, Raw(server) as client:
        client.ask()
        client.ask()
        server.wait_for_attempts(1, at="strike")
        gate.open()
        client.read_to_end()
        assert {of for kind, _, of, _ in client.frames() if kind in ("HEADERS", "DATA")} == {1}
    assert [(a.stream, a.ended_by) for a in server.attempts] == [(1, "server"), (3, None)]


def test_an_answer_that_ends_the_connection_and_one_that_is_wrong_for_head_alone():
    with serve(ok(headers={"Connection": "close"}), http2=True) as server, Raw(server) as client:
        client.ask()
        client.read_to_end()
        assert (client.end, client.frames()[-1][0]) == ("FIN", "GOAWAY")
    with serve(malformed("head_with_body"), http2=True, strict=False) as server, client_of(server) as client:
        assert client.get("/").status_code == 200
    assert server.attempts[0].struck is None


def test_a_body_waits_for_the_window_of_the_client():
    with serve(ok(b"x" * 70_000), http2=True) as server, Raw(server) as client:
        number = client.ask()

        def came(frames):
            return sum(len(payload) for kind, _, _, payload in frames if kind == "DATA")

        client.until(lambda frames: came(frames) == 65_535)
        client.h2.increment_flow_control_window(10_000)
        client.h2.increment_flow_control_window(10_000, number)
        client.flush()
        client.response(number)
        assert came(client.frames()) == 70_000


def test_a_stream_of_events_is_cut_in_the_middle_of_one():
    with serve(sse(EVENTS), http2=True) as server, Raw(server) as client:
        client.ask()
        client.read_to_end()
        said = b"".join(payload for kind, _, _, payload in client.frames() if kind == "DATA")
    assert (said, client.end) == (b"data: one\n\ndata:", "FIN")
    assert server.attempts[0].struck.point == "response"
