"""Stage body: bodies that end too early, too late, never, or differ from what their head says."""

import asyncio
import http.client
from contextlib import closing, contextmanager

import aiohttp
import pytest
import requests
import urllib3

from faultline import ok, raises, receive_request, reset, respond, script, send, sequence, stall

pytestmark = pytest.mark.leaves_open

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def says(data):
    """A server that answers one request with these bytes, then FIN."""
    return script(receive_request(), send(data))


@contextmanager
def ask(server):
    """One request by http.client: the response, not yet read."""
    client = http.client.HTTPConnection(*server.address, timeout=10)
    with closing(client):
        client.request("GET", "/")
        with client.getresponse() as response:
            yield response


def fetch_by_aiohttp(server):
    async def fetch():
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10)) as session, session.get(server.url) as told:
            return await told.read()

    return asyncio.run(fetch())


def test_s051_rst_inside_the_body(faultline):
    server = faultline.serve(ok(b"half, rest") & reset(at="response", on=b"half"))

    with ask(server) as response:
        assert response.read(4) == b"half"
        with pytest.raises(ConnectionResetError):
            response.read()

    [attempt] = server.attempts
    assert attempt.struck.after_bytes == attempt.sent_bytes
    assert (attempt.ended_by, attempt.ended_how) == ("server", "RST")


@pytest.mark.slow
def test_s053_one_chunk_then_silence_and_the_next_connection_is_whole(faultline, pool):
    chunk = b"8\r\n12345678\r\n"
    hangs = script(receive_request(), send(CHUNKED + chunk), stall())
    server = faultline.serve(sequence(hangs, says(CHUNKED + chunk + b"0\r\n\r\n")))

    with pytest.raises(urllib3.exceptions.ReadTimeoutError):
        pool.request("GET", server.url, timeout=0.2)

    assert pool.request("GET", server.url).data == b"12345678"

    assert [(a.connection, a.ended_by) for a in server.attempts] == [(1, "client"), (2, "server")]


def test_s054_chunk_promised_and_fin(faultline):
    server = faultline.serve(says(CHUNKED + b"9\r\n"))

    with pytest.raises(aiohttp.ClientPayloadError) as raised:
        fetch_by_aiohttp(server)

    assert type(raised.value) is aiohttp.ClientPayloadError
    assert [(a.sent_bytes, a.ended_how) for a in server.attempts] == [(len(CHUNKED) + 3, "FIN")]


def test_s055_chunks_without_a_last_one(faultline):
    server = faultline.serve(says(CHUNKED + b"5\r\nhello\r\n"))

    with ask(server) as response, pytest.raises(http.client.IncompleteRead) as raised:
        response.read()

    assert raised.value.partial == b"hello"
    assert [(a.sent_bytes, a.ended_how) for a in server.attempts] == [(len(CHUNKED) + 10, "FIN")]


def test_s056_chunk_size_that_is_no_number(faultline):
    server = faultline.serve(says(CHUNKED + b"5\r\nhello\r\nfoo\r\n"))

    with ask(server) as response, pytest.raises(http.client.IncompleteRead) as raised:
        response.read()

    assert raised.value.partial == b"hello"
    assert [(a.ended_by, a.ended_how) for a in server.attempts] == [("server", "FIN")]


def test_s057_last_chunk_without_its_final_line_break(faultline):
    server = faultline.serve(says(CHUNKED + b"5\r\nhello\r\n0\r\n"))

    with ask(server) as response:
        assert response.read() == b"hello"

    assert [(a.sent_bytes, a.ended_how) for a in server.attempts] == [(len(CHUNKED) + 13, "FIN")]


def test_s058_chunk_size_line_of_64_kib(faultline):
    server = faultline.serve(says(CHUNKED + 65_536 * b"0" + b"5\r\nhello\r\n"))

    with ask(server) as response, pytest.raises(http.client.LineTooLong, match="chunk size"):
        response.read()

    assert [(a.ended_by, a.ended_how) for a in server.attempts] == [("server", "FIN")]


def test_s059_chunks_terminator_and_fin_together(faultline):
    server = faultline.serve(says(CHUNKED + b"1\r\n1\r\n1\r\n2\r\n0\r\n\r\n"))

    with ask(server) as response:
        assert response.read() == b"12"

    assert [(a.sent_bytes, a.ended_how) for a in server.attempts] == [(len(CHUNKED) + 17, "FIN")]


def test_s060_more_body_than_its_content_length(faultline):
    server = faultline.serve(script(receive_request(), respond(ok(b"hello, world", headers={"Content-Length": "5"}))))

    # aiohttp 3.14 takes what is too much for the next response, and fails with "Bad status line"
    with ask(server) as response:
        assert response.read() == b"hello"

    [attempt] = server.attempts
    assert attempt.sent_bytes == len(
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\nhello, world"
    )
    assert (attempt.ended_by, attempt.ended_how) == ("server", "FIN")


def test_s061_gzip_that_is_none(faultline):
    server = faultline.serve(ok(b"this is no gzip", headers={"Content-Encoding": "gzip"}))

    with raises(urllib3.exceptions.DecodeError) as raised:
        requests.get(server.url, timeout=10)

    assert type(raised.value) is requests.exceptions.ContentDecodingError
    assert [a.request.method for a in server.attempts] == ["GET"]


@pytest.mark.slow
def test_s062_pause_in_the_middle_of_the_body(faultline, pool):
    short, long = (ok(b"1234,5678") & stall(at="response", on=b"1234", for_seconds=s) for s in (0.2, 60))
    server = faultline.serve(sequence(short, long))

    assert pool.request("GET", server.url).data == b"1234,5678"
    with pytest.raises(urllib3.exceptions.ReadTimeoutError):
        pool.request("GET", server.url, timeout=0.2)

    patient, impatient = server.attempts
    assert patient.ended_seconds - patient.struck.at_seconds >= 0.1
    assert (impatient.struck.after_bytes, impatient.ended_by) == (impatient.sent_bytes, "client")


def test_s063_http_1_0_without_a_length(faultline):
    server = faultline.serve(says(b"HTTP/1.0 200 OK\r\n\r\nhello"))

    with ask(server) as response:
        assert (response.version, response.read()) == (10, b"hello")

    assert [(a.sent_bytes, a.ended_by, a.ended_how) for a in server.attempts] == [(24, "server", "FIN")]


def test_s065_server_sees_the_fin_of_a_client_that_closes_its_response(faultline, pool):
    server = faultline.serve(ok(b"") & stall(at="idle"))

    response = pool.request("GET", server.url, preload_content=False)
    before = server.attempts
    response.close()
    after = server.attempts

    assert [(a.struck.point, a.ended_by) for a in before] == [("idle", None)]
    assert [(a.ended_by, a.ended_how) for a in after] == [("client", "FIN")]
