"""Frames at random, and floods of them: the server serves the next client, its memory is bounded, the ledger tells."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import tracemalloc

import pytest
from hpack import Encoder
from support.raw_http2 import NAMES, PATIENCE_SECONDS, Raw, code_of
from support.tables import each_row

from faultline import cycle, echo, ok, rst_stream, serve, stall, status

SEQUENCES = int(os.environ.get("FAULTLINE_FRAMES", "300"))
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FIELDS = [(":method", "POST"), (":path", "/"), (":scheme", "http"), (":authority", "test"), ("content-length", "3")]
AT_ONCE = struct.pack("ii", 1, 0)  # a close sends RST, so that no port waits


def frame(kind, payload=b"", flags=0, stream=0):
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def at_random(draw):
    """A frame of a kind that is known or not, of any stream, whose payload fits its kind or not."""
    kind = draw.choice((*range(len(NAMES)), *range(len(NAMES)), draw.randrange(256)))
    stream = draw.choice((0, 1, 1, 3, 5, 2, draw.getrandbits(32)))
    flags = draw.choice((0, 1, 4, 5, 5, 5, draw.randrange(256)))
    if kind == 1 and draw.random() < 0.8:  # fields, of which some are missing
        fields = [field for field in FIELDS if draw.random() < 0.97]
        payload = Encoder().encode(fields)
        return frame(kind, payload, 5 if draw.random() < 0.5 else 4, draw.choice((1, 3, 5, 7)))
    size = draw.choice((0, 4, 5, 6, 8, 12, draw.randrange(60)))
    whole = frame(kind, draw.randbytes(size), flags, stream)
    return whole if draw.random() < 0.97 else whole[: draw.randrange(len(whole))]


def said(draw):
    """What a client says on one connection."""
    begin = PREFACE if draw.random() < 0.95 else PREFACE[: draw.randrange(len(PREFACE))]
    settings = frame(4) if draw.random() < 0.9 else b""
    return begin + settings + b"".join(at_random(draw) for _ in range(draw.randrange(1, 12)))


@pytest.mark.slow
@pytest.mark.measured
def test_frames_at_random_leave_the_server_serving_the_next_client():
    draw = random.Random(2026)
    plan = cycle(echo(), ok(b"x" * 70_000), status(503), stall(for_seconds=0.001), rst_stream(after_body_bytes=1))
    with serve(plan, http2=True, strict=False) as server, serve(ok(b"x"), http2=True) as healthy:
        for number in range(SEQUENCES):
            server_of = (server, healthy)[number % 2]
            with socket.create_connection(server_of.address, 10) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
                with contextlib.suppress(ConnectionError):
                    client.sendall(said(draw))
                    client.shutdown(socket.SHUT_WR)
                    while client.recv(100_000):
                        pass
            if number % 50 == 1:
                with Raw(healthy) as client:
                    assert client.response(client.ask())[1][3] == b"x"
        assert any(a.note.startswith("the client broke HTTP/2") for a in server.attempts)  # and no ServerError


FLOODS = [
    (stall(), frame(4), "SETTINGS"),
    (stall(), frame(6, bytes(8)), "PING"),
    (stall(), frame(2, bytes(5), 0, 1), "PRIORITY"),
    (stall(), frame(0, b"", 0, 1), "DATA"),
    (stall(at="request"), frame(0, b"", 0, 1), "DATA"),  # nothing takes the frames of the stream
]
MOST_BYTES = 1_000_000  # that Python may have allocated at a time; an object for each frame would need more


@pytest.mark.slow
@pytest.mark.measured
@each_row("plan, flood, name", FLOODS)
def test_a_flood_costs_bounded_memory_and_is_recorded(plan, flood, name):
    with serve(plan, http2=True, strict=False) as server:
        with socket.create_connection(server.address, PATIENCE_SECONDS) as client:
            client.sendall(PREFACE + frame(4) + frame(1, Encoder().encode(FIELDS[:4]), 4, 1))
            server.wait_for_attempts(1, at="request")
            tracemalloc.start()
            try:
                for _ in range(3):
                    client.sendall(flood * 1000)
                client.shutdown(socket.SHUT_WR)
                while client.recv(10_000):
                    pass
                (attempt,) = server.wait_for_attempts(1, at="end")
                assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
            finally:
                tracemalloc.stop()
        assert attempt.note == f"the client sent a flood of frames: 3000 {name}"
        with Raw(server) as client:
            client.ask()
            server.wait_for_attempts(2, at="request")


def test_a_client_that_reads_nothing_is_read_no_further_once_many_answers_wait(monkeypatch):
    monkeypatch.setattr("faultline._engine.http2.writing.MOST_BYTES", 100)
    pings = [struct.pack(">Q", number) for number in range(20)]
    with serve(ok(), http2=True) as server, Raw(server) as client:
        client.sock.sendall(b"".join(frame(6, ping) for ping in pings))
        answers = client.until(lambda frames: len(frames) >= len(pings) + 2)  # SETTINGS, and an ACK of the client's
        assert [payload for kind, _, _, payload in answers if kind == "PING"] == pings
        assert client.response(client.ask())[1][3] == b"ok\n"


@pytest.mark.slow
def test_rapid_resets_are_recorded_and_the_next_client_is_served():
    encode, reset = Encoder().encode, struct.pack(">I", 8)
    many = [frame(1, encode(FIELDS[:4]), 5, n) + frame(3, reset, 0, n) for n in range(1, 6001, 2)]
    with serve(ok(), http2=True) as server, socket.create_connection(server.address, 10) as client:
        client.sendall(PREFACE + frame(4) + b"".join(many))
        client.shutdown(socket.SHUT_WR)
        server.wait_for_attempts(3000, at="end")
        assert any(a.note == "the client sent a flood of frames: 3000 RST_STREAM" for a in server.attempts)
        assert {a.stream for a in server.attempts} == {*range(1, 6001, 2)}
        with Raw(server) as other:
            assert other.response(other.ask())[1][3] == b"ok\n"


def test_what_breaks_the_protocol_is_answered_by_goaway_and_told():
    with serve(ok(), http2=True, strict=False) as server, Raw(server) as client:
        client.sock.sendall(frame(0, b"x"))
        client.read_to_end()
        assert (client.end, code_of(client.frames()[-1][3])) == ("FIN", 1)
    assert server.attempts[0].note.startswith("the client broke HTTP/2: ")
    assert server.attempts[0].received_bytes == len(PREFACE)
    with serve(ok(), http2=True, strict=False) as server, Raw(server) as client:
        client.sock.sendall(b"\xff\xff\xff\x00\0\0\0\0\x01")  # a frame of 16 MiB
        client.read_to_end()
        assert client.end == "FIN"
