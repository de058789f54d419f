"""Clients of WebSocket that send anything, or too much: the server serves the next client, and its memory is bounded.

`FAULTLINE_FUZZ=200000 pytest tests/websocket/test_floods.py` tries so many sequences of frames.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
from pathlib import Path

import pytest
from support import PATIENCE_SECONDS, websockets
from websockets.sync.client import connect

from faultline import accept, echo, serve, websocket
from faultline._core.frames import BINARY, CLOSE, CONTINUATION, FIN, PING, RSV1, TEXT, frame

SEQUENCES = int(os.environ.get("FAULTLINE_FUZZ", "300"))
ASK = websockets.ASK[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
MASK = b"\1\2\3\4"
OPCODES = (CONTINUATION, TEXT, BINARY, 0x03, CLOSE, PING, 0x0A, 0x0F)
PAYLOADS = (b"", b"a", b"\xff", b"hello" * 20, b"x" * 126, b"\3\xe8", b"\3\xe8bye", b"\x03", b"\0" * 70_000)


def anything(chance):
    """Some frames, right or wrong, or bytes that are none."""
    for _ in range(chance.randint(1, 8)):
        if chance.random() < 0.05:
            yield chance.randbytes(chance.randint(1, 40))
            continue
        first = chance.choice(OPCODES) | chance.choice((FIN, FIN, FIN, 0)) | chance.choice((0, 0, 0, RSV1, 0x20))
        payload = chance.choice(PAYLOADS)[: 70_000 if chance.random() < 0.01 else 130]
        size = None if chance.random() < 0.95 else chance.choice((0, 1, 200, 1 << 20, 1 << 62))
        yield frame(first, payload, mask=MASK if chance.random() < 0.95 else b"", size=size)


def echoes(server):
    with connect(server.ws_url, proxy=None, ping_interval=None) as client:
        client.send("still there")
        return client.recv(PATIENCE_SECONDS) == "still there"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_any_sequence_of_frames_leaves_the_server_serving_the_next_client(request):
    chance = random.Random(request.config.getoption("randomly_seed", None))
    with serve(websocket(accept(compression=True), echo())) as server:
        for number in range(SEQUENCES):
            said = ASK + b"".join(anything(chance))
            with (
                socket.create_connection(server.address, PATIENCE_SECONDS) as client,
                contextlib.suppress(ConnectionError),
            ):
                client.sendall(said)
                client.shutdown(socket.SHUT_WR)
                while client.recv(65_536):
                    pass
            if number % 100 == 0:
                assert echoes(server)
        server.wait_for_attempts(server.ledger.begun, at="end")
        assert server.ledger.begun == SEQUENCES + -(-SEQUENCES // 100)


def rss_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


FLOODS = {
    "PINGs": (FIN | PING, "received_pings", len(frame(FIN | 0x0A, b""))),
    "tiny messages": (FIN | TEXT, "received_messages", len(frame(FIN | TEXT, b""))),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", FLOODS)
def test_flood_is_answered_and_counted_in_bounded_memory(kind):
    first, counter, answer_bytes = FLOODS[kind]
    flood, count = frame(first, b"", mask=MASK) * 1000, 10_000
    with serve(websocket()) as server, socket.create_connection(server.address, PATIENCE_SECONDS) as client:
        client.sendall(ASK)
        assert b"\r\n\r\n" in client.recv(65_536)
        before = rss_bytes()
        for _ in range(count // 1000):
            client.sendall(flood)
            left = 1000 * answer_bytes
            while left:
                left -= len(client.recv(left))
        grown = rss_bytes() - before

    facts = server.attempts[0].websocket
    assert getattr(facts, counter) == facts.received_frames == count
    assert len(facts.received) <= 100
    assert grown < 8 << 20


def test_the_first_messages_of_many_are_kept():
    said = [str(number) for number in range(101)]
    with serve(websocket()) as server:
        with connect(server.ws_url, proxy=None, ping_interval=None) as client:
            for message in said:
                client.send(message)
            assert [client.recv(PATIENCE_SECONDS) for _ in said] == said
        server.wait_for_attempts(1, at="end")

    assert server.attempts[0].websocket.received == tuple(said[:100])


@pytest.mark.slow
def test_client_that_floods_and_reads_nothing_is_held_back():
    flood = frame(FIN | TEXT, b"x" * 60_000, mask=MASK) * 1000
    before = rss_bytes()
    with serve(websocket()) as server, socket.create_connection(server.address, 0.5) as client:
        client.sendall(ASK)
        with pytest.raises(TimeoutError):
            client.sendall(flood)
        assert rss_bytes() - before < 32 << 20
        assert echoes(server)


def test_message_without_an_end_is_bounded_too(monkeypatch):
    monkeypatch.setattr("faultline._net.websocket.MOST_MESSAGE_BYTES", 100_000)
    with serve(websocket()) as server, socket.create_connection(server.address, PATIENCE_SECONDS) as client:
        client.sendall(ASK + frame(TEXT, b"", mask=MASK))
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                client.sendall(frame(CONTINUATION, b"x" * 1000, mask=MASK))
        server.wait_for_attempts(1, at="end")

    facts = server.attempts[0].websocket
    assert (facts.server_code, facts.received_messages, facts.received_frames) == (1009, 0, 101)
