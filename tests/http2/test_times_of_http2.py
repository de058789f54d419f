"""Breaks of HTTP/2 in the midst of several streams: by their time, behind the last frame, and by another fault."""

from __future__ import annotations

import asyncio

import pytest
from support.raw_http2 import Raw, code_of
from support.tables import each_row

from faultline import (
    NotStruckError,
    bad_http2,
    by_path,
    close,
    echo,
    goaway,
    half_close,
    inject,
    latency,
    ok,
    reset,
    rst_stream,
    sequence,
    serve,
    stall,
    status,
)
from faultline._engine.http2.tasks import Tasks

SOON = 0.02
SLOW = ok(chunks=(b"tick",), every_seconds=0.001, endless=True)
CANCEL = 8


def of_kind(frames, kind):
    return [(stream, payload) for name, _, stream, payload in frames if name == kind]


def test_a_stream_is_reset_when_its_time_is_over_and_the_connection_goes_on():
    fault = SLOW & rst_stream("CANCEL", after_seconds=SOON)
    with serve(sequence(fault, fault, ok(b"third")), http2=True) as server, Raw(server) as client:
        asked = [client.ask(), client.ask()]
        frames = client.until(lambda frames: len(of_kind(frames, "RST_STREAM")) == len(asked))
        assert sorted((stream, code_of(payload)) for stream, payload in of_kind(frames, "RST_STREAM")) == [
            (number, CANCEL) for number in asked
        ]
        assert client.response(client.ask())[1][3] == b"third"
    assert [(a.struck.point if a.struck else None, a.ended_how) for a in server.attempts] == [
        ("response", "RST_STREAM"),
        ("response", "RST_STREAM"),
        (None, "FIN"),
    ]


def test_a_stream_that_is_read_is_reset_when_its_time_is_over():
    with serve(echo() & rst_stream("CANCEL", at="request", after_seconds=SOON), http2=True) as server:
        with Raw(server) as client:
            frames = client.response(client.ask("/", "POST", b"a part", ends=False))
        assert [name for name, *_ in frames][-1:] == ["RST_STREAM"]
    assert server.attempts[0].struck.point == "request"


@pytest.mark.slow
@each_row("point", ["request", "response"])
def test_a_stream_is_silent_when_its_time_is_over_and_the_others_go_on(point):
    body = ok(chunks=(b"tick",) * 20, every_seconds=0.003)
    fault = body & stall(at=point, after_seconds=SOON, for_seconds=0.1)
    with serve(sequence(fault, ok(b"second")), http2=True) as server, Raw(server) as client:
        first = client.ask("/", "POST", b"a part", ends=point == "response")
        server.wait_for_attempts(1, at="strike")
        assert client.response(client.ask())[1][3] == b"second"
        if point == "request":
            client.h2.end_stream(first)
            client.flush()
        assert b"".join(payload for name, _, _, payload in client.response(first) if name == "DATA") == b"tick" * 20
    strike = server.attempts[0].struck
    assert strike.point == point
    assert server.attempts[0].ended_seconds - strike.at_seconds >= 0.1


def test_a_graceful_end_whose_time_is_over_names_no_later_stream():
    fault = ok(chunks=(b"tick",) * 20, every_seconds=0.003) & goaway(after_seconds=SOON)
    with serve(fault, http2=True, strict=False) as server, Raw(server) as client:
        first, _ = client.ask(), client.ask()
        frames = client.read_to_end().frames()
        lasts = [int.from_bytes(payload[:4], "big") for _, payload in of_kind(frames, "GOAWAY")]
        assert lasts[0] == first
        assert lasts == sorted(lasts, reverse=True)
        assert (client.end, "END_STREAM" in client.response(first)[-1][1]) == ("FIN", True)


@each_row(
    "break_, end",
    [
        (reset, "RST"),
        (close, "FIN"),
        (half_close, "FIN"),
        (lambda **when: goaway("INTERNAL_ERROR", **when), "FIN"),
    ],
)
def test_the_time_of_several_streams_ends_the_connection_once(break_, end):
    with serve(SLOW & break_(after_seconds=SOON), http2=True, strict=False) as server, Raw(server) as client:
        for _ in range(3):
            client.ask()
        assert client.read_to_end().end == end
    assert any(attempt.struck for attempt in server.attempts)


def test_bytes_come_among_the_frames_when_their_time_is_over():
    data = b"\0\0\0\0\0\0\0\0\0"  # DATA of no stream
    with serve(SLOW & inject(data, after_seconds=SOON), http2=True) as server, Raw(server) as client:
        client.ask()
        client.until(lambda frames: ("DATA", set(), 0, b"") in frames)
        count = len(client.frames())
        client.until(lambda frames: len(frames) > count)
    assert server.attempts[0].struck is not None


@each_row("break_", [rst_stream("CANCEL", after_seconds=SOON), stall(after_seconds=SOON)])
def test_the_time_of_a_stream_that_is_over_does_nothing(break_):
    plan = sequence(ok(b"first") & break_, stall(for_seconds=SOON * 2), ok(b"third"))
    with serve(plan, http2=True, strict=False) as server, Raw(server) as client:
        assert client.response(client.ask())[1][3] == b"first"
        client.response(client.ask())
        assert client.response(client.ask())[1][3] == b"third"
    assert [attempt.struck is None for attempt in server.attempts] == [True, False, True]


def test_streams_share_the_window_of_the_connection():
    count, body, window = 6, b"x" * 30_000, 65_535
    with serve(ok(body), http2=True) as server, Raw(server) as client:
        for _ in range(count):
            client.ask()
        client.until(lambda frames: sum(len(payload) for _, payload in of_kind(frames, "DATA")) == window)
        client.h2.increment_flow_control_window(count * len(body) - window)
        client.flush()
        frames = client.until(lambda frames: sum("END_STREAM" in flags for _, flags, *_ in frames) == count)
        assert sum(len(payload) for _, payload in of_kind(frames, "DATA")) == count * len(body)


@each_row(
    "fault, heads",
    [
        (status(204) & rst_stream("CANCEL", after_bytes=1), 1),
        (status(204) & rst_stream("CANCEL"), 0),
        (ok(b"") & rst_stream("CANCEL", after_bytes=1), 1),
        (ok(b"") & stall(after_bytes=1, for_seconds=0.01), 1),
    ],
)
def test_a_response_without_a_body_is_cut_before_its_end(fault, heads):
    with serve(fault, http2=True) as server, Raw(server) as client:
        frames = client.response(client.ask())
        assert [flags for name, flags, *_ in frames if name == "HEADERS"] == [set()] * heads
        assert frames[-1][0] == ("RST_STREAM" if "rst_stream" in repr(fault) else "DATA")
    assert server.attempts[0].struck.point == "response"


def test_words_in_trailers_are_too_late_for_the_stream():
    fault = ok(b"body", trailers={"x-last": "words"}) & rst_stream("CANCEL", at="response", on=b"words")
    with pytest.raises(NotStruckError), serve(fault, http2=True) as server, Raw(server) as client:
        assert "END_STREAM" in client.response(client.ask())[-1][1]


def test_a_ping_without_an_answer_is_a_strike_and_the_streams_go_on():
    with serve(bad_http2("ping_unanswered"), http2=True) as server, Raw(server) as client:
        client.response(client.ask())
        client.h2.ping(b"12345678")
        frames = client.response(client.ask())
        assert "END_STREAM" in frames[-1][1]
        assert of_kind(client.frames(), "PING") == []
    strikes = server.attempts[0].strikes
    assert [(str(strike.part), strike.point, strike.after_bytes) for strike in strikes] == [("http2", "request", 0)]


@pytest.mark.asyncio
async def test_no_work_begins_once_the_connection_ends():
    tasks, begun = Tasks(), []

    async def work():
        begun.append(True)

    await tasks.spawn(work)
    await tasks.stop_others()
    late = tasks.spawn(work)
    await asyncio.wait([late])
    assert (begun, late.cancelled()) == ([True], True)


# --- another fault while streams are open ----------------------------------------------------------------------------


def stalled(server, client, count=2):
    """Streams that a silence holds."""
    asked = [client.ask() for _ in range(count)]
    server.wait_for_attempts(count, at="strike")
    return asked


@each_row("fault", [stall(), stall(at="request")])
@each_row("other", [ok(b"after all"), latency(0.001) & ok(b"after all")])
def test_another_fault_is_that_of_every_stream_that_is_open(fault, other):
    with serve(fault, http2=True) as server, Raw(server) as client:
        asked = stalled(server, client)
        server.become(other, open_too=True)
        for number in asked:
            assert client.response(number)[1][3] == b"after all"
    assert [attempt.fault for attempt in server.attempts] == [other] * 2


def test_another_fault_breaks_every_stream_that_is_open():
    with serve(SLOW, http2=True) as server, Raw(server) as client:
        asked = [client.ask(), client.ask()]
        client.until(lambda frames: len(of_kind(frames, "DATA")) > 4)
        server.become(rst_stream("CANCEL"), open_too=True)
        for number in asked:
            assert client.response(number)[-1][0] == "RST_STREAM"
    assert all(attempt.struck for attempt in server.attempts)


def test_another_fault_is_chosen_by_the_request_of_each_stream():
    other = by_path({"/a": ok(b"a"), "/*": rst_stream("CANCEL")})
    with serve(stall(), http2=True, strict=False) as server, Raw(server) as client:
        first, second = client.ask("/a"), client.ask("/b")
        server.wait_for_attempts(2, at="strike")
        server.become(other, open_too=True)
        assert client.response(first)[1][3] == b"a"
        assert client.response(second)[-1][0] == "RST_STREAM"
