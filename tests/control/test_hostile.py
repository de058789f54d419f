"""Clients of the API that send garbage, that hang, and that come in great numbers."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest
from support import PATIENCE_SECONDS, nothing_left, pour, read_until, to_end
from support.control import Client

from faultline import ServerError, control
from faultline._front.control.registry import Registry
from faultline._servers.control import api as server

VERSION = b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n"
REFUSED = [
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"400", b"expected HTTP/1.1"),
    (b"hello\r\n\r\n", b"400", b"expected HTTP/1.1"),
    (b"GET / HTTP/1.1\r\nHost x\r\n\r\n", b"400", b"bad request: "),
    (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", b"400", b"bad request: "),
    (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"400", b"bad request: "),
    (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"400", b"bad request: "),
]


@contextlib.contextmanager
def dialling(api):
    with socket.create_connection((api.host, api.port), PATIENCE_SECONDS) as client:
        yield client


def head_of(client):
    """The head of the next response, and its body."""
    head = read_until(client, b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    body = b""
    while len(body) < length:
        body += client.recv(length - len(body))
    return head, body


@pytest.mark.parametrize(("sent", "status", "text"), REFUSED, ids=["tls", "text", "field", "length", "chunk", "long"])
def test_what_is_no_request_is_refused_in_words(faultline_control, sent, status, text):
    with dialling(faultline_control) as client:
        pour(client, sent)
        head, body = head_of(client)

        assert head.startswith(b"HTTP/1.1 " + status)
        assert b"X-Toxiproxy-Request-Id: " in head
        assert body.startswith(b'{"error":"' + text) or text in body
        assert to_end(client)[0] == b""


def test_a_body_that_is_too_long_is_refused(ask, faultline_control, monkeypatch):
    monkeypatch.setattr(server, "MOST_BODY_BYTES", 100)
    asked = ask("POST", "/proxies", "x" * 101)

    assert asked == (413, {"error": "bad request body: expected at most 100 bytes", "status": 413})
    assert ask("POST", "/proxies", " " * 100) == (400, {"error": "bad request body: EOF", "status": 400})


def test_a_body_that_is_too_long_is_not_waited_for(faultline_control, monkeypatch):
    monkeypatch.setattr(server, "MOST_BODY_BYTES", 100)
    with dialling(faultline_control) as client:
        client.sendall(b"POST /proxies HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n" + b"x" * 101)
        head, _ = head_of(client)

        assert head.startswith(b"HTTP/1.1 413")
        assert to_end(client) == (b"", "FIN")


def test_requests_may_come_at_once_and_byte_by_byte_and_with_an_expectation(faultline_control):
    with dialling(faultline_control) as client:
        client.sendall(VERSION + b"\r\n" + VERSION * 2)
        assert [head_of(client)[1] for _ in range(3)] == [b'{"version":"2.12.0"}\n'] * 3
        for byte in VERSION:
            client.sendall(bytes([byte]))
        assert head_of(client)[1] == b'{"version":"2.12.0"}\n'
        client.sendall(b"POST /proxies HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert read_until(client, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"{}")
        assert head_of(client)[0].startswith(b"HTTP/1.1 400")
        client.sendall(VERSION.replace(b"1.1", b"1.0"))
        assert head_of(client)[1] == b'{"version":"2.12.0"}\n'
        assert to_end(client) == (b"", "FIN")


def test_a_client_that_has_finished_sending_gets_its_answer(faultline_control):
    with dialling(faultline_control) as client:
        client.sendall(VERSION)
        client.shutdown(socket.SHUT_WR)
        data, end = to_end(client)

    assert (data.startswith(b"HTTP/1.1 200"), end) == (True, "FIN")


def test_a_client_that_leaves_in_the_middle_disturbs_nobody(ask, faultline_control):
    for sent in (b"", b"POST /pro", b"POST /proxies HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{"):
        with dialling(faultline_control) as client:
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
            assert to_end(client) == (b"", "FIN")

    assert ask("GET", "/version").status == 200


def test_a_request_that_never_ends_is_given_up(faultline_control, monkeypatch):
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.05)
    with dialling(faultline_control) as client:
        client.sendall(b"POST /proxies HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
        assert to_end(client) == (b"", "FIN")


@pytest.mark.slow
@pytest.mark.measured
def test_a_request_that_takes_too_long_gets_503(faultline_control, monkeypatch):
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.3)  # of which the client takes some to ask
    hangs, create, made = threading.Event(), Registry.create, threading.Event()

    def late(*args):
        hangs.wait(PATIENCE_SECONDS)
        proxy = create(*args)
        made.set()
        return proxy

    monkeypatch.setattr(Registry, "create", late)
    with contextlib.closing(Client(faultline_control)) as one, contextlib.closing(Client(faultline_control)) as two:
        error = {"error": "expected an answer within 0.3 s", "status": 503}
        assert one("POST", "/proxies", {"name": "late", "upstream": "127.0.0.1:1"}) == (503, error)
        assert two("DELETE", "/proxies/late") == (503, error)  # it is never done
        hangs.set()
        assert made.wait(PATIENCE_SECONDS)
        assert [*faultline_control.proxies] == ["late"]


def test_an_api_stops_though_a_request_hangs(monkeypatch):
    monkeypatch.setattr("faultline._servers.control.worker.CLOSE_SECONDS", 0.01)
    hangs, began = threading.Event(), threading.Event()

    def hang(*_):
        began.set()
        hangs.wait(PATIENCE_SECONDS)

    monkeypatch.setattr(Registry, "create", hang)
    with control() as api, dialling(api) as client:
        client.sendall(b"POST /proxies HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
        assert began.wait(PATIENCE_SECONDS)
        api.close()
        assert to_end(client) == (b"", "FIN")
        hangs.set()


def test_clients_that_only_connect_make_room_for_others(monkeypatch):
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 3)
    with nothing_left(), control() as api, contextlib.ExitStack() as clients:
        idle = [clients.enter_context(dialling(api)) for _ in range(3)]
        for client in idle:
            client.sendall(VERSION)
            head_of(client)
        ask = Client(api)
        assert ask("GET", "/version").status == 200
        assert to_end(idle[0]) == (b"", "FIN")
        for client in idle[1:]:
            client.sendall(VERSION[:10])
        ask.close()
        assert [to_end(idle[1], 0.01)[1], to_end(idle[2], 0.01)[1]] == ["silence", "silence"]


def test_clients_that_all_ask_at_once_are_bounded(monkeypatch):
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 1)
    with control() as api, dialling(api) as first:
        first.sendall(VERSION)
        head_of(first)
        first.sendall(VERSION[:10])
        settled(api)
        with dialling(api) as second:
            assert to_end(second)[0] == b""
        first.sendall(VERSION[10:])
        assert head_of(first)[0].startswith(b"HTTP/1.1 200")


def settled(api):
    """Wait until the API has read what was sent."""
    from faultline._servers.loop import background

    background().settle()


def test_a_flood_of_connections_leaves_nothing_behind():
    with nothing_left(), control() as api, contextlib.ExitStack() as clients:
        for _ in range(200):
            clients.enter_context(dialling(api))
        ask = Client(api)
        assert ask("GET", "/version").status == 200
        ask.close()


def test_an_error_on_a_connection_is_told_by_close(monkeypatch):
    async def broken(*_):
        raise KeyError("a bug")

    monkeypatch.setattr(server, "read", broken)
    api = control()
    with dialling(api) as client:
        client.sendall(VERSION)
        settled(api)
        with pytest.raises(ServerError, match="broke: KeyError"):
            api.close()
