"""Scenarios of the stage idle: a response is complete, and the connection is kept alive."""

import http.client
import select
import xmlrpc.client

import pytest

from faultline import Gate, close, hold, ok, receive_until, script, send, sequence

PONG = xmlrpc.client.dumps(("pong",), methodresponse=True).encode()


def test_s067_second_request_on_a_kept_connection_is_read_and_dropped(faultline):
    answer = ok(PONG, headers={"Content-Type": "text/xml"})
    server = faultline.serve(sequence(answer, close(), answer))

    with xmlrpc.client.ServerProxy(server.url) as proxy:
        assert [proxy.ping(1), proxy.ping(2)] == ["pong", "pong"]

    assert [(a.connection, a.fault) for a in server.attempts] == [(1, answer), (1, close()), (2, answer)]
    assert server.attempts[1].request.body == server.attempts[2].request.body


def test_s068_server_closes_while_the_next_request_is_on_its_way(faultline, pool):
    server = faultline.serve(sequence(ok(), close(at="request"), ok(b"hello")))

    pool.request("GET", f"{server.url}/1")

    assert pool.request("GET", f"{server.url}/2", retries=1).data == b"hello"
    assert [(a.connection, a.ended_how) for a in server.attempts] == [(1, None), (1, "FIN"), (2, None)]


def test_s070_unsolicited_data_on_an_idle_connection_then_fin(faultline, dial):
    gate, pong, push = Gate(), send(b"+PONG\r\n"), send(b">push\r\n")
    server = faultline.serve(script(receive_until(b"PING\r\n"), pong, hold(until=gate), push))
    client = dial(server)

    client.sendall(b"PING\r\n")
    assert client.recv(100) == b"+PONG\r\n"
    gate.open()

    assert select.select([client], [], [], 10)[0] == [client]
    assert [client.recv(100), client.recv(100)] == [b">push\r\n", b""]
    assert [(a.sent_bytes, a.ended_by, a.ended_how) for a in server.attempts] == [(14, "server", "FIN")]


def test_s071_bare_fin_on_an_idle_connection_is_readable_and_empty(faultline, http_client, fetch):
    server = faultline.serve(close(at="idle"))
    client = http_client(server)

    fetch(client)

    assert select.select([client.sock], [], [], 10)[0] == [client.sock]
    assert client.sock.recv(100) == b""
    assert [(a.struck.point, a.ended_by, a.ended_how) for a in server.attempts] == [("idle", "server", "FIN")]


def test_s071_pool_detects_a_bare_fin_before_it_uses_the_connection(faultline, pool):
    server = faultline.serve(close(at="idle"))

    pool.request("GET", f"{server.url}/1")
    assert server.attempts[0].ended_how == "FIN"
    pool.request("GET", f"{server.url}/2")

    assert [(a.connection, a.request.target) for a in server.attempts] == [(1, "/1"), (2, "/2")]


@pytest.mark.slow
def test_s072_session_is_dropped_by_an_idle_timer(faultline, http_client, fetch):
    server = faultline.serve(sequence(close(at="idle", after_seconds=0.1), ok(b"again")))
    client = http_client(server)

    fetch(client)
    assert select.select([client.sock], [], [], 10)[0] == [client.sock]
    with pytest.raises(http.client.RemoteDisconnected):
        fetch(client)

    assert fetch(client) == b"again"
    assert [(a.connection, a.ended_how) for a in server.attempts] == [(1, "FIN"), (2, None)]
    assert server.attempts[0].ended_seconds - server.attempts[0].started_seconds >= 0.1
