"""A response that the user words ends for every client: by its length, by its last chunk, or with the connection."""

from __future__ import annotations

import http.client
import socket

import pytest
from support.tables import each_row

from faultline import (
    NotStruckError,
    malformed,
    ok,
    receive_request,
    redirect,
    respond,
    script,
    send,
    sequence,
    serve,
    status,
)

BODY = b"hello, world"
CHUNKED = {"Transfer-Encoding": "chunked"}
REFUSED = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"


def fetch(client, method="GET"):
    """The body and the field Connection of a response."""
    client.request(method, "/")
    response = client.getresponse()
    return response.read(), response.getheader("Connection")


@pytest.fixture
def dial():
    """A function that opens a client of HTTP, which is closed after the test."""
    clients = []

    def connect(server):
        clients.append(http.client.HTTPConnection(*server.address, timeout=10))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


@each_row("tls", [False, True])
@each_row("coding", ["chunked", "Chunked", " chunked ", "identity, chunked"])
@each_row("make", [lambda **given: ok(BODY, **given), lambda **given: status(503, body=BODY, **given)])
def test_body_with_a_chunked_coding_is_sent_in_chunks(coding, make, tls):
    with serve(make(headers={"Transfer-Encoding": coding.strip()}), tls=tls) as server:
        client = socket.create_connection(server.address, 10)
        if tls:
            client = server.client_context().wrap_socket(client, server_hostname=server.host)
        with client, client.makefile("rb") as file:
            client.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            while file.readline() != b"\r\n":
                pass

            assert file.read(3 + len(BODY) + 7) == b"c\r\n" + BODY + b"\r\n0\r\n\r\n"


@each_row("make", [serve, lambda plan: serve(script(receive_request(), respond(plan)))])
def test_chunks_are_read_by_a_client(make, dial):
    with make(ok(BODY, headers=CHUNKED)) as server:
        assert fetch(dial(server))[0] == BODY


@each_row("given", [{"headers": CHUNKED}, {"chunked": True}])
@each_row("body", [None, b"", BODY])
def test_connection_is_kept_alive_after_chunks(given, body, dial):
    with serve(ok(body, **given)) as server:
        client = dial(server)
        bodies = [fetch(client), fetch(client, "HEAD"), fetch(client)]

        assert bodies == [(b"ok\n" if body is None else body, None), (b"", None), bodies[0]]
        assert [attempt.connection for attempt in server.attempts] == [1, 1, 1]


@each_row("answer", [ok(BODY, headers=CHUNKED), ok(BODY, headers={"Transfer-Encoding": "gzip"})])
def test_answer_of_the_server_is_framed_too(answer):
    with serve(ok(), answer=answer) as server, socket.create_connection(server.address, 10) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        with client.makefile("rb") as file:
            assert BODY in file.read()


@each_row("coding", ["gzip", "identity", "chunked, gzip"])
def test_body_with_another_coding_ends_with_the_connection(coding):
    with (
        serve(ok(BODY, headers={"Transfer-Encoding": coding})) as server,
        socket.create_connection(server.address, 10) as client,
    ):
        client.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        with client.makefile("rb") as file:
            head, _, body = file.read().partition(b"\r\n\r\n")

        assert (body, b"Connection: close" in head) == (BODY, True)


@each_row("length", ["13", "1000", "-1", "twelve", "12, 13", "+12"])
@each_row("code", [200, 503])
def test_response_whose_length_is_too_long_or_none_ends_with_the_connection(length, code):
    with serve(status(code, body=BODY, headers={"Content-Length": length})) as server:
        with socket.create_connection(server.address, 10) as client, client.makefile("rb") as file:
            client.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")

            assert file.read().endswith(b"Connection: close\r\n\r\n" + BODY)
        assert server.attempts[0].struck is not None


@each_row(
    "fields",
    [
        [("Content-Length", "5")],
        [("Content-Length", "1000")],
        [("Content-Length", "12"), ("Content-Length", "13")],
        [("Content-Length", "12"), ("Transfer-Encoding", "chunked")],
        [("Transfer-Encoding", "gzip"), ("Content-Length", "12")],
    ],
)
def test_contradiction_of_fields_and_body_is_a_fault_that_has_to_strike(fields):
    with pytest.raises(NotStruckError), serve(ok(BODY, headers=fields)):
        pass


@each_row(
    "answer",
    [
        ok(BODY, headers={"Content-Length": "12"}),
        ok(BODY, headers=[("Content-Length", "12"), ("content-length", "12")]),
        ok(BODY, headers={"Content-Length": "12, 12"}),
        ok(headers={"Content-Length": "3"}),
        ok(status=204, headers={"Content-Length": "5"}),
        ok(status=304, headers={"Content-Length": "5"}),
        ok(status=205, headers={"Content-Length": "0"}),
        ok(BODY, headers=CHUNKED),
    ],
)
def test_fields_that_fit_the_body_are_no_fault(answer):
    with serve(answer):
        pass

    assert answer.is_healthy


def test_wrong_length_is_no_fault_for_head(dial):
    with serve(ok(BODY, headers={"Content-Length": "1000"}), strict=False) as server:
        assert fetch(dial(server), "HEAD")[0] == b""
        assert server.attempts[0].struck is None


@each_row(
    "plan",
    [
        status(417),
        status(413, body=b"large"),
        status(503, retry_after=1),
        script(receive_request(), respond(status(401))),
        sequence(status(417), ok()),
        status(302),
        redirect("to_nowhere", code=307),
        redirect("chain", hops=1),
    ],
)
def test_final_response_other_than_2xx_comes_at_once_to_a_client_that_waits_for_100_continue(plan):
    with serve(plan) as server, socket.create_connection(server.address, 10) as client:
        client.sendall(REFUSED)
        with client.makefile("rb") as file:
            response = file.read()

        assert response[:10] in (b"HTTP/1.1 3", b"HTTP/1.1 4", b"HTTP/1.1 5")
        assert b"\r\nConnection: close\r\n" in response
        assert server.attempts[0].request.body_bytes == 0


def test_error_that_every_request_gets_refuses_too():
    with serve(ok(), answer=status(413)) as server, socket.create_connection(server.address, 10) as client:
        client.sendall(REFUSED)

        assert client.recv(20) == b"HTTP/1.1 413 Content"


def test_client_that_does_not_wait_has_its_body_read_before_an_error():
    with serve(status(417)) as server, socket.create_connection(server.address, 10) as client:
        client.sendall(REFUSED + b"hello")

        assert client.recv(20) == b"HTTP/1.1 417 Expecta"
        assert server.attempts[0].request.body == b"hello"


@each_row(
    ("plan", "target"),
    [
        (ok(), b"/"),
        (status(204), b"/"),
        (malformed("length_short"), b"/"),
        (redirect("chain", hops=1), b"/hop/1"),  # where the chain is over
    ],
)
def test_other_answers_ask_for_the_body(plan, target):
    with (
        serve(plan, strict=False) as server,
        socket.create_connection(server.address, 10) as client,
        client.makefile("rb") as file,
    ):
        client.sendall(REFUSED.replace(b"/", target, 1))
        assert file.read(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"hello")

        assert file.readline().startswith(b"HTTP/1.1 ")
        assert server.attempts[0].request.body == b"hello"


def test_client_that_waits_for_100_gets_it_where_a_script_has_no_response_next():
    waits = b"POST / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"
    plan = script(receive_request(), send(b"bye"))
    with serve(plan) as server, socket.create_connection(server.address, 10) as client, client.makefile("rb") as stream:
        client.sendall(waits)
        assert stream.readline() == b"HTTP/1.1 100 Continue\r\n"
        client.sendall(b"!")
        assert stream.read() == b"\r\nbye"
