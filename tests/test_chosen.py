"""The answer to one request: what a function makes of it, and the part of a body that it asks for."""

from __future__ import annotations

import traceback
import urllib.error
import urllib.request
from dataclasses import replace
from http.client import RemoteDisconnected

import pytest
from support.tables import each_row

from faultline import (
    FaultlineError,
    Request,
    ServerError,
    answer,
    latency,
    ok,
    redirect,
    reset,
    sequence,
    serve,
    socks_refusal,
    status,
    udp,
)
from faultline._core.answers import Answer
from faultline._net.chosen import chosen

BODY = b"0123456789"
TAG = '"84d89877f0d4041e"'


def get(url, body=None, **fields):
    """The status, the fields and the body of a response."""
    request = urllib.request.Request(url, body, {name.replace("_", "-"): value for name, value in fields.items()})
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


# --- ranges ----------------------------------------------------------------------------------------------------------


@each_row(
    "asked, expected",
    [
        ("bytes=2-4", (206, "bytes 2-4/10", b"234")),
        ("bytes=8-", (206, "bytes 8-9/10", b"89")),
        ("bytes=0-0", (206, "bytes 0-0/10", b"0")),
        ("bytes=-3", (206, "bytes 7-9/10", b"789")),
        ("bytes=-99", (206, "bytes 0-9/10", BODY)),
        ("BYTES= 5-99 ", (206, "bytes 5-9/10", b"56789")),
        ("bytes=9-99999999999999999999999", (206, "bytes 9-9/10", b"9")),
        ("bytes=-0", (416, "bytes */10", b"")),
        ("bytes=10-", (416, "bytes */10", b"")),
        ("bytes=99999999999999999999999-", (416, "bytes */10", b"")),
        ("bytes=0-1,3-4", (200, None, BODY)),
        ("bytes=4-2", (200, None, BODY)),
        ("bytes=-", (200, None, BODY)),
        ("bytes=a-b", (200, None, BODY)),
        ("bytes=\u0661-\u0662", (200, None, BODY)),
        ("items=1-2", (200, None, BODY)),
        ("", (200, None, BODY)),
    ],
)
def test_a_request_for_a_part_gets_that_part(asked, expected):
    said = chosen(Answer(body=BODY, ranges=True), Request("GET", "/", (("Range", asked),)), Answer())
    fields = dict(said.headers)

    assert (said.status, fields.get("Content-Range"), said.body) == expected
    assert (fields["Accept-Ranges"], fields["ETag"]) == ("bytes", TAG)


@each_row(
    "method, fields, code",
    [
        ("GET", {"If-Range": TAG}, 206),
        ("GET", {"If-Range": '"another"'}, 200),
        ("GET", {"If-Range": "Fri, 31 Dec 1999 23:59:59 GMT"}, 200),
        ("HEAD", {}, 200),
        ("POST", {}, 200),
    ],
)
def test_a_part_is_only_for_a_get_of_the_same_body(method, fields, code):
    request = Request(method, "/", (("Range", "bytes=0-1"), *fields.items()))

    assert chosen(Answer(body=BODY, ranges=True), request, Answer()).status == code


def test_a_tag_of_the_test_stays():
    said = chosen(Answer(headers=(("etag", '"v1"'),), ranges=True), Request("GET"), Answer())

    assert said.headers == (("etag", '"v1"'), ("Accept-Ranges", "bytes"))


def test_a_download_that_was_cut_is_resumed():
    with serve(sequence(ok(BODY, ranges=True) & reset(after_body_bytes=4), ok(BODY, ranges=True))) as server:
        with urllib.request.urlopen(server.url) as response:
            tag, first = response.headers["ETag"], response.read(4)
        code, fields, rest = get(server.url, Range="bytes=4-", If_Range=tag)

    assert (code, fields["Content-Range"], first + rest) == (206, "bytes 4-9/10", BODY)


# --- what a function makes of a request ------------------------------------------------------------------------------


def made(request):
    """The answer of a small service."""
    match request.method, request.target:
        case "POST", _:
            return ok(json={"bytes": len(request.body)}, status=201)
        case _, "/missing":
            return status(404)
        case _, "/usual":
            return ok()
        case _, "/bytes":
            return request.header("User-Agent").encode()
        case _, "/ranges":
            return ok(BODY, ranges=True)
    return request.target


@each_row(
    "path, body, fields, expected",
    [
        ("/text", None, {}, (200, b"/text")),
        ("/bytes", None, {"User_Agent": "mine"}, (200, b"mine")),
        ("/usual", None, {}, (200, b"ok\n")),
        ("/missing", None, {}, (404, b"404 Not Found\n")),
        ("/ranges", None, {"Range": "bytes=-1"}, (206, b"9")),
        ("/", b"abc", {}, (201, b'{"bytes": 3}')),
    ],
)
@pytest.mark.parametrize("way", ["plan", "answer="])
def test_a_function_makes_the_answer(way, path, body, fields, expected):
    with serve(answer(made)) if way == "plan" else serve(ok(), answer=answer(made)) as server:
        code, _, content = get(server.url + path, body, **fields)

    assert (code, content) == expected


def test_it_composes_with_breaks_and_conditions():
    fault = answer(made) & reset(after_bytes=30) & latency(0.001)
    with serve(fault) as server, pytest.raises(ConnectionResetError):
        get(server.url)
    assert server.attempts[0].sent_bytes == 30
    assert repr(server.attempts[0].fault) == "answer(made) & reset(after_bytes=30) & latency(0.001)"


@each_row(
    "wrong, error",
    [
        (lambda _: 3, "answer=3: expected bytes, text or an answer such as ok(json=…)"),
        (lambda _: None, "answer=None: expected bytes"),
        (
            lambda _: socks_refusal("not_allowed"),
            "answer=socks_refusal('not_allowed'): expected bytes, text or an answer",
        ),
        (lambda _: ok() & reset(), "without a break or a condition"),
        (lambda _: {}[1], "KeyError"),
    ],
)
def test_an_error_in_the_function_fails_the_test(wrong, error):
    server = serve(answer(wrong))
    with pytest.raises(RemoteDisconnected):
        get(server.url)
    with pytest.raises(ServerError, match=r"broke: ") as caught:
        server.close()
    assert error in str(caught.value)
    frames = traceback.extract_tb(caught.value.__cause__.__traceback__)
    assert (frames[-1].filename == __file__) is (error == "KeyError")  # pytest shows the line of the test


async def of_asyncio(request):
    return request.target


@each_row(
    "call, message",
    [
        (
            lambda: answer(3),
            "function=3: expected a function of a request, not async, that returns ok(…), bytes or text.",
        ),
        (lambda: answer(of_asyncio), "expected a function of a request, not async"),
        (lambda: udp(answer(made)), "a UDP server sends only bytes, without a status or headers."),
        (
            lambda: ok(ranges=True, status=201),
            "ranges=True: expected status=200, and no chunked=True, Content-Length or Transfer-Encoding.",
        ),
        (
            lambda: ok(ranges=True, headers={"content-length": "1"}),
            "and no chunked=True, Content-Length or Transfer-Encoding.",
        ),
        (lambda: ok(b"x", ranges=True, chunked=True), "and no chunked=True, Content-Length or Transfer-Encoding."),
        (
            lambda: ok(chunks=(b"a",), ranges=True),
            "ranges=True: expected a body or json beside it, and no chunks or trailers.",
        ),
    ],
)
def test_what_can_not_be_is_refused(call, message):
    with pytest.raises(FaultlineError) as caught:
        call()
    assert message in str(caught.value)


def test_equal_functions_make_equal_answers():
    assert answer(made) == answer(made) != answer(len)
    assert replace(answer(made), said=()) == answer(made)
    assert redirect("chain") != answer(made)
