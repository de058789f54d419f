"""Answers whose body streams: chunks at a pace, without an end, cut at any byte, and changed while they flow."""

from __future__ import annotations

import json
import socket
import urllib.request

import pytest
from support import KEPT_GET, connected, read, to_end
from support.tables import each_row

from faultline import (
    FaultlineError,
    anthropic_events,
    close,
    drip,
    latency,
    ok,
    openai_chunks,
    reset,
    serve,
    sse,
)

CHUNKS = (b"one,", b"two,", b"three")
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/plain\r\n\r\n"
BODY = b"4\r\none,\r\n4\r\ntwo,\r\n5\r\nthree\r\n0\r\n\r\n"
TICK = b"4\r\ntick\r\n"


def asked(server, method=b"GET"):
    """A client that has sent a request and keeps its connection."""
    client = socket.create_connection(server.address, 10)
    client.sendall(KEPT_GET.replace(b"GET", method, 1))
    return client


def answered_seconds(attempt):
    """The time from the request to the last byte of the response; the first byte may be late."""
    request, response = attempt.turns
    return response.until_seconds - request.at_seconds


@each_row(
    "value, text",
    [
        ({"a": [1, None, "é"]}, b'{"a": [1, null, "\\u00e9"]}'),
        ([], b"[]"),
        ("text", b'"text"'),
        (0, b"0"),
        (False, b"false"),
    ],
)
def test_json_is_the_body_with_its_type(value, text):
    with serve(ok(json=value)) as server, urllib.request.urlopen(server.url) as response:
        assert (response.headers["Content-Type"], response.read()) == ("application/json", text)


def test_another_type_of_json_stays():
    problem = {"content-type": "application/problem+json"}
    with serve(ok(json=[], headers=problem)) as server, urllib.request.urlopen(server.url) as response:
        assert response.headers.get_all("Content-Type") == ["application/problem+json"]


def test_chunks_come_in_order_and_the_connection_is_kept(tls):
    with serve(ok(chunks=CHUNKS), tls=tls) as server, connected(server) as client:
        for _ in range(2):
            client.sendall(KEPT_GET)
            assert read(client, len(HEAD + BODY)) == HEAD + BODY
    assert [attempt.sent_bytes for attempt in server.attempts] == [len(HEAD + BODY)] * 2


def test_each_chunk_leaves_an_interval_after_the_one_before():
    with serve(ok(chunks=CHUNKS, every_seconds=0.02)) as server, asked(server) as client:
        for _ in range(2):  # a kept connection streams again at the same pace
            assert read(client, len(HEAD + BODY)) == HEAD + BODY
            client.sendall(KEPT_GET)
        server.wait_for_attempts(2, at="idle")
        for attempt in server.attempts[:2]:
            assert answered_seconds(attempt) >= 0.04


def test_a_client_may_ask_for_the_head_alone():
    with serve(ok(chunks=(b"tick",), every_seconds=0.01, endless=True)) as server, asked(server, b"HEAD") as client:
        assert read(client, len(HEAD)) == HEAD
        client.sendall(KEPT_GET)
        assert read(client, len(HEAD + TICK)) == HEAD + TICK


@pytest.mark.parametrize("every_seconds", [0, 0.001])
def test_an_endless_body_flows_until_the_client_leaves_and_others_are_served(every_seconds):
    with serve(ok(chunks=(b"tick",), every_seconds=every_seconds, endless=True)) as server:
        with asked(server) as first:
            for _ in range(2):
                with asked(server) as client:
                    assert read(client, len(HEAD) + 20 * len(TICK)) == HEAD + 20 * TICK
            assert read(first, len(HEAD) + 20 * len(TICK)) == HEAD + 20 * TICK
        assert {attempt.ended_by for attempt in server.wait_for_attempts(3, at="end")} == {"client"}


def test_an_endless_body_ends_with_its_plan_and_goes_on_where_the_plan_only_gets_slower():
    endless = ok(chunks=(b"tick",), every_seconds=0.001, endless=True)
    with serve(endless) as server, asked(server) as client:
        assert read(client, len(HEAD + TICK)) == HEAD + TICK
        server.become(endless & latency(0.001), open_too=True)
        assert read(client, 30 * len(TICK)) == 30 * TICK
        server.become(ok(), open_too=True)
        rest = b""
        while not rest.endswith(b"0\r\n\r\n"):
            rest += read(client, 1)
        client.sendall(KEPT_GET)
        assert read(client, 15) == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize(("verb", "end"), [(reset, "RST"), (close, "FIN")])
@each_row("after", [0, 1, 4, 9, 10, len(BODY) - 5, len(BODY) - 1])
def test_a_break_cuts_the_stream_at_any_byte(verb, end, after):
    fault = ok(chunks=CHUNKS, every_seconds=0.001) & verb(after_body_bytes=after)
    with serve(fault) as server, asked(server) as client:
        assert to_end(client) == (HEAD + BODY[:after], end)


def test_the_pace_of_chunks_composes_with_conditions():
    fault = ok(chunks=CHUNKS, every_seconds=0.001) & drip(7, every_seconds=0.001)
    with serve(fault) as server, asked(server) as client:
        assert read(client, len(HEAD + BODY)) == HEAD + BODY


@each_row(
    "made, message",
    [
        (lambda: ok(status=204, chunked=True), "chunked=True: expected False with status 204, which has no content."),
        (
            lambda: ok(headers={"content-length": "3"}, chunked=True),
            "chunked=True: expected no Content-Length and no Transfer-Encoding in headers.",
        ),
        (lambda: ok(b"x", json=1), "json=1: expected only one of body, json and chunks."),
        (lambda: ok(json=1, chunks=(b"a",)), "json=1: expected only one of body, json and chunks."),
        (lambda: ok(b"x", chunks=(b"a",)), "chunks=(b'a',): expected only one of body, json and chunks."),
        (
            lambda: ok(json=float("nan")),
            "json=nan: expected a value that JSON can express (Out of range float values are not JSON ",
        ),
        (
            lambda: ok(json={1, 2}),
            "json={1, 2}: expected a value that JSON can express (Object of type set is not JSON ",
        ),
        (lambda: ok(chunks=(b"",)), "chunks=(b'',): expected a tuple of bytes, none of them empty."),
        (lambda: ok(chunks="text"), "chunks='text': expected a tuple of bytes, none of them empty."),
        (lambda: ok(every_seconds=1), "every_seconds=1: expected chunks=(…) beside it."),
        (lambda: ok(b"x", endless=True), "endless=True: expected chunks=(…) beside it."),
        (
            lambda: ok(chunks=(b"a",), status=204),
            "chunks=(b'a',): expected no chunks with status 204, which has no content.",
        ),
        (
            lambda: ok(chunks=(b"a",), headers={"Content-Length": "1"}),
            "expected no Content-Length and no Transfer-Encoding, because chunks have ",
        ),
        (
            lambda: ok(chunks=(b"a",), headers={"Transfer-Encoding": "gzip"}),
            "expected no Content-Length and no Transfer-Encoding, because chunks ",
        ),
        (
            lambda: serve(ok(chunks=(b"a",), endless=True) & reset(at="idle")),
            "the body has no end and never reaches 'idle'",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(made, message):
    with pytest.raises(FaultlineError) as caught:
        made()
    assert message in str(caught.value)


def test_a_kept_plan_is_read_back():
    import faultline

    plan = ok(chunks=CHUNKS, every_seconds=0.5, endless=True)
    assert faultline.plan(repr(plan)) == plan
    assert faultline.plan("ok --chunks one --chunks two --every-seconds 0.5") == ok(
        chunks=(b"one", b"two"), every_seconds=0.5
    )
    assert json.dumps(repr(faultline.plan("ok(json={'a': [1]})"))) == json.dumps("ok(json={'a': [1]})")


# --- server-sent events -----------------------------------------------------------------------------------------------

SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nConnection: close\r\n"
FRAMED = b"Transfer-Encoding: chunked\r\n\r\n"


@each_row(
    "event, said",
    [
        ("text", b"data: text\n\n"),
        ({"data": "two\nlines"}, b"data: two\ndata: lines\n\n"),
        ({"data": {"a": [1, "é"]}}, b'data: {"a": [1, "\\u00e9"]}\n\n'),
        ({"data": None, "event": "delta"}, b"event: delta\ndata: null\n\n"),
        ({"retry": 500, "id": "7", "event": "tick", "data": "x"}, b"event: tick\nid: 7\nretry: 500\ndata: x\n\n"),
        ({"comment": "still\nhere"}, b": still\n: here\n\n"),
        ({"id": ""}, b"id: \n\n"),
    ],
)
def test_an_event_is_written_with_all_its_parts(event, said):
    with serve(sse((event,), break_="none")) as server, urllib.request.urlopen(server.url) as response:
        assert response.read() == said


@each_row(
    "event, message",
    [
        (1, "events[0]=1: expected text, or a mapping with data."),
        ({}, "events[0]={}: expected text, or a mapping with data."),
        (
            {"dat": "x"},
            "events[0]={'dat': 'x'}: expected only parts among comment, data, event, id, retry. Did you mean ",
        ),
        ({1: "x"}, "events[0]={1: 'x'}: expected only parts among comment, data, event, id, retry."),
        ({"retry": "1"}, "events[0][retry]='1': expected whole milliseconds, 0 or more."),
        ({"retry": True}, "events[0][retry]=True: expected whole milliseconds, 0 or more."),
        ({"event": "a\nb"}, "events[0][event]='a\\nb': expected text of one line."),
        ({"id": "a\0"}, "events[0][id]='a\\x00': expected text of one line."),
        ({"comment": 1}, "events[0][comment]=1: expected text of one line."),
        (
            {"data": {1, 2}},
            "events[0][data]={1, 2}: expected a value that JSON can express (Object of type set is not JSON ",
        ),
    ],
)
def test_an_event_that_the_stream_can_not_say_is_refused(event, message):
    with pytest.raises(FaultlineError) as caught:
        sse((event,))
    assert str(caught.value).startswith(message)


def test_events_come_at_a_pace_with_further_fields_and_end_in_the_middle():
    fault = sse(("one", "two", "three"), every_seconds=0.02, headers={"x-ratelimit-remaining-requests": "0"})
    with serve(fault) as server, asked(server) as client:
        whole = b"b\r\ndata: one\n\n\r\nb\r\ndata: two\n\n\r\n" + b"d\r\ndata: three\n\n\r\n"[:9]
        assert to_end(client) == (SSE + b"x-ratelimit-remaining-requests: 0\r\n" + FRAMED + whole, "FIN")
        assert answered_seconds(server.wait_for_attempts(1, at="end")[0]) >= 0.04


@pytest.mark.parametrize(("verb", "end"), [(reset, "RST"), (close, "FIN")])
def test_any_verb_cuts_a_whole_stream_by_event(verb, end):
    fault = sse(("one", "two", "three"), break_="none", every_seconds=0.001) & verb(
        at="response", on=b"data: two\n\n\r\n"
    )
    with serve(fault) as server, asked(server) as client:
        assert to_end(client) == (SSE + FRAMED + b"b\r\ndata: one\n\n\r\nb\r\ndata: two\n\n\r\n", end)


def data_of(events):
    """What the events say, as a client reads it."""
    with serve(sse(events, break_="none")) as server, urllib.request.urlopen(server.url) as response:
        lines = response.read().decode().splitlines()
    return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]


def test_chunks_of_a_completion_say_the_text_and_their_end():
    *chunks, done = data_of(openai_chunks("Hello, big world!", model="m"))
    choices = [json.loads(chunk)["choices"][0] for chunk in chunks]

    assert done == "[DONE]"
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(choice["delta"].get("content", "") for choice in choices) == "Hello, big world!"
    assert [choice["finish_reason"] for choice in choices[-2:]] == [None, "stop"]
    assert {(json.loads(chunk)["model"], json.loads(chunk)["object"]) for chunk in chunks} == {
        ("m", "chat.completion.chunk")
    }


def test_events_of_a_message_say_the_text_or_that_the_server_is_overloaded():
    events = [json.loads(data) for data in data_of(anthropic_events("Hello there"))]
    text = "".join(event["delta"]["text"] for event in events if event["type"] == "content_block_delta")
    assert (text, events[0]["type"], events[-1]["type"]) == ("Hello there", "message_start", "message_stop")

    events = [json.loads(data) for data in data_of(anthropic_events("Hello there", overloaded_after=1))]
    assert [event["type"] for event in events[-2:]] == ["content_block_delta", "error"]
    assert events[-1]["error"]["type"] == "overloaded_error"
    with pytest.raises(FaultlineError, match=r"overloaded_after=9: expected a whole number of deltas, from 0 to 3\."):
        anthropic_events("Hello there", overloaded_after=9)
