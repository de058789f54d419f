"""Stage status: what a client makes of a status line that is none, a lie, or not there in full."""

import http.client
import urllib.request
from contextlib import closing, contextmanager

import pytest
import urllib3

from faultline import close, ok, raises, receive_request, script, send, sequence, stall


@contextmanager
def ask(server):
    """One request by http.client: the response, not yet read."""
    client = http.client.HTTPConnection(*server.address, timeout=10)
    with closing(client):
        client.request("GET", "/thing")
        with client.getresponse() as response:
            yield response


@pytest.mark.parametrize("line", [b"HTTP/1.1 Omg What Is This?", b"HTTP/1.1 400.100 Nearly"])
def test_s032_status_code_that_is_no_whole_number(faultline, pool, line):
    server = faultline.serve(script(receive_request(), send(line + b"\r\n\r\n")))

    with raises(http.client.BadStatusLine) as raised:
        pool.request("GET", f"{server.url}/thing")

    assert type(raised.value) is urllib3.exceptions.ProtocolError
    [attempt] = server.attempts
    assert (attempt.request.target, attempt.sent_bytes) == ("/thing", len(line) + 4)
    assert (attempt.ended_by, attempt.ended_how) == ("server", "FIN")


def test_s033_absurd_http_version(faultline, pool):
    server = faultline.serve(script(receive_request(), send(b"HTTP/1000 200 OK\r\n\r\n")))

    with raises(http.client.UnknownProtocol) as raised:
        pool.request("GET", f"{server.url}/thing")

    assert type(raised.value) is urllib3.exceptions.ProtocolError
    [attempt] = server.attempts
    assert (attempt.request.target, attempt.sent_bytes) == ("/thing", 20)


def test_s034_http_0_5_once_is_retried_and_the_chunked_body_sent_again(faultline, pool):
    weird = script(receive_request(), send(b"HTTP/0.5 200 OK\r\n\r\n"))
    server = faultline.serve(sequence(weird, ok(b"fine")))

    response = pool.request("PUT", server.url, body=b"hello", chunked=True, retries=urllib3.Retry(read=1))

    assert (response.status, response.data) == (200, b"fine")
    assert [a.connection for a in server.attempts] == [1, 2]
    assert [a.request.header("transfer-encoding") for a in server.attempts] == ["chunked", "chunked"]
    assert [a.request.body for a in server.attempts] == [b"hello", b"hello"]


def test_s035_greeting_of_another_protocol_makes_the_client_hang_up(faultline):
    server = faultline.serve(script(receive_request(), send(b"220 mx.test ESMTP\r\n"), stall()), strict=False)

    with pytest.raises(http.client.BadStatusLine, match=r"^220 mx\.test ESMTP\r\n$"):
        urllib.request.urlopen(server.url, timeout=10)

    [attempt] = server.attempts
    assert (attempt.ended_by, attempt.ended_how) == ("client", "FIN")


def test_s036_fin_inside_the_status_line(faultline):
    server = faultline.serve(close(after_bytes=len("HTTP/1.1 200 OK")))

    with ask(server) as response:
        assert (response.status, response.getheaders(), response.read()) == (200, [], b"")

    [attempt] = server.attempts
    assert (attempt.struck.point, attempt.struck.after_bytes, attempt.sent_bytes) == ("response", 15, 15)
    assert (attempt.ended_by, attempt.ended_how) == ("server", "FIN")


def test_s037_status_line_of_64_kib(faultline):
    line = b"HTTP/1.1 200 OK" + 65_536 * b"!"
    server = faultline.serve(script(receive_request(), send(line + b"\r\n\r\n")))

    with pytest.raises(http.client.LineTooLong, match="status line"), ask(server):
        pass

    [attempt] = server.attempts
    assert (attempt.sent_bytes, attempt.ended_by) == (len(line) + 4, "server")
