"""Stage headers: heads that are cut off, broken, too large, or contradict themselves."""

import http.client
import logging
from contextlib import closing

import httpx
import pytest
import requests
import urllib3

from faultline import ok, receive_request, respond, script, send, sequence, stall


def fetch(server):
    """One request by http.client: status, header fields and body."""
    client = http.client.HTTPConnection(*server.address, timeout=10)
    with closing(client):
        client.request("GET", "/")
        with client.getresponse() as response:
            return response.status, dict(response.getheaders()), response.read()


def test_s038_fin_before_the_blank_line(faultline):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
    server = faultline.serve(script(receive_request(), send(head)))

    # http.client takes the end for the blank line, so it is the body that is missing
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match=r"^Response ended prematurely$"):
        requests.get(server.url, timeout=10)

    [attempt] = server.attempts
    assert (attempt.sent_bytes, attempt.ended_by, attempt.ended_how) == (len(head), "server", "FIN")


@pytest.mark.parametrize("line", [b": Value", b":", b"Broken Header"])
def test_s039_broken_header_line_is_logged_and_accepted(faultline, pool, caplog, line):
    head = b"HTTP/1.1 200 OK\r\n" + line + b"\r\nContent-Length: 2\r\n\r\n"
    server = faultline.serve(script(receive_request(), send(head + b"ok")))

    with caplog.at_level(logging.WARNING, "urllib3"):
        response = pool.request("GET", server.url)

    assert (response.status, response.data) == (200, b"ok")
    assert "Failed to parse headers" in caplog.text
    assert [a.sent_bytes for a in server.attempts] == [len(head) + 2]


def test_s040_header_line_of_64_kib(faultline):
    server = faultline.serve(ok(headers={"X-Large": 65_536 * "!"}))

    with pytest.raises(http.client.LineTooLong, match="header line"):
        fetch(server)

    [attempt] = server.attempts
    assert attempt.sent_bytes > 65_536
    assert (attempt.point, attempt.ended_by) == ("idle", "client")


@pytest.mark.parametrize("status", [b"200 OK", b"100 Continue"])
def test_s041_more_than_100_header_lines(faultline, status):
    head = b"HTTP/1.1 " + status + b"\r\n" + 101 * b"X-Many: 1\r\n" + b"\r\n"
    server = faultline.serve(script(receive_request(), send(head)))

    with pytest.raises(http.client.HTTPException, match=r"^got more than 100 headers$") as raised:
        fetch(server)

    assert type(raised.value) is http.client.HTTPException
    assert [a.sent_bytes for a in server.attempts] == [len(head)]


def test_s042_content_lengths_that_differ_are_an_error_and_equal_ones_are_not(faultline):
    differ = ok(b"ok", headers=[("Content-Length", "2"), ("Content-Length", "3")])
    agree = ok(b"ok", headers=[("Content-Length", "2"), ("Content-Length", "2")])
    server = faultline.serve(sequence(differ, agree))

    with pytest.raises(requests.exceptions.InvalidHeader, match="multiple unmatching values"):
        requests.get(server.url, timeout=10)

    assert requests.get(server.url, timeout=10).content == b"ok"
    assert [a.fault for a in server.attempts] == [differ, agree]


def test_s045_204_with_a_content_length(faultline):
    server = faultline.serve(ok(status=204, headers={"Content-Length": "5"}))

    status, fields, body = fetch(server)

    # http.client 3.11 goes by the status, and accepts it
    assert (status, fields["Content-Length"], body) == (204, "5", b"")

    [attempt] = server.attempts
    assert (attempt.ended_by, attempt.ended_how) == ("client", "FIN")


def test_s046_folded_header_line_and_fin_as_the_end_of_the_body(faultline):
    head = b"HTTP/1.1 200 OK\r\nX-Folded: 1;\r\n\tmode=block\r\n\r\n"
    server = faultline.serve(script(receive_request(), send(head), send(b"body")))

    # http.client 3.11 accepts it, and leaves the fold in the value
    assert fetch(server) == (200, {"X-Folded": "1;\r\n\tmode=block"}, b"body")

    [attempt] = server.attempts
    assert (attempt.sent_bytes, attempt.ended_by, attempt.ended_how) == (len(head) + 4, "server", "FIN")


def test_s047_interim_replies_before_the_final_one(faultline):
    hints = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"
    server = faultline.serve(script(receive_request(), send(hints), respond(ok(b"final"))))

    response = httpx.get(server.url, timeout=10, verify=False)

    assert (response.status_code, response.content) == (200, b"final")
    [attempt] = server.attempts
    assert (attempt.ended_by, attempt.ended_how) == ("server", "FIN")


@pytest.mark.parametrize("framing", [("Content-Length", "256"), ("Transfer-Encoding", "chunked")], ids=lambda f: f[0])
def test_s048_reply_to_head_that_announces_a_body(faultline, pool, framing):
    server = faultline.serve(ok(headers=[framing]) & stall(at="idle"))

    response = pool.request("HEAD", server.url)

    assert (response.status, response.headers[framing[0]], response.data) == (200, framing[1], b"")
    [attempt] = server.attempts
    assert (attempt.request.method, attempt.struck.point, attempt.ended_by) == ("HEAD", "idle", None)


@pytest.mark.slow
def test_s049_head_complete_then_silence(faultline):
    server = faultline.serve(stall(at="response", on=b"\r\n\r\n"))

    with urllib3.HTTPConnectionPool(*server.address, timeout=0.2, retries=False) as pool:
        places = pool.pool.qsize()
        with pytest.raises(urllib3.exceptions.ReadTimeoutError):
            pool.request("GET", "/")
        assert pool.pool.qsize() == places

    [attempt] = server.attempts
    assert attempt.struck.after_bytes == attempt.sent_bytes
    assert (attempt.ended_by, attempt.ended_how) == ("client", "FIN")
