"""Plans of WebSockets: with verbs, conditions, TLS and sequences, and what the guard says when a step is not met."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
import urllib.request

import pytest
import websockets.asyncio.client
import websockets.client
import websockets.exceptions
from support import PATIENCE_SECONDS
from support.tables import each_row
from support.websockets import ASK, by_websockets, say
from websockets.sync.client import connect

import faultline as fl
from faultline import (
    NotStruckError,
    accept,
    close,
    close_frame,
    ignore_pings,
    latency,
    receive_bytes,
    receive_close,
    receive_text,
    repeat,
    reset,
    send_bytes,
    send_ping,
    send_text,
    sequence,
    serve,
    stall,
    status,
    websocket,
)
from faultline._core.attempts import Request
from faultline._core.content import words as turn_words
from faultline._core.drawing import draw
from faultline._core.frames import CLOSE, FIN, PING, TEXT, frame
from faultline._core.scripted import points_of
from faultline._core.turns import Turn
from faultline._engine.talks.websocket import WebSocket
from faultline._net.websocket import Closed, Codec

ClosedError, ClosedOK = websockets.exceptions.ConnectionClosedError, websockets.exceptions.ConnectionClosedOK


def asks_for_ws(request):
    return request.target == "/ws"


def masked(opcode, payload):
    """A frame of a client."""
    return frame(FIN | opcode, payload, mask=b"\1\2\3\4")


def dial(server, **options):
    """A client of `websockets`, which sends no PING by itself."""
    options = {"proxy": None, "ping_interval": None, "close_timeout": PATIENCE_SECONDS} | options
    return connect(server.ws_url, **options)


# --- scenarios -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_client_that_reconnects_meets_six_attempts_and_gets_two_sessions():
    plan = sequence(stall(at="accept"), close(at="response"), status(503), websocket(), websocket(), status(402))
    sessions = []

    async def reconnecting(url):
        async for client in websockets.asyncio.client.connect(url, proxy=None, open_timeout=0.3):
            await client.send("hello")
            sessions.append(await client.recv())
            await client.close()

    with serve(plan) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(websockets.client.backoff, "__defaults__", (0.0, 0.0, 0.0, 1.0))  # its delays
        with pytest.raises(websockets.exceptions.InvalidStatus, match="HTTP 402"):
            asyncio.run(reconnecting(server.ws_url))

    assert sessions == ["hello", "hello"]
    assert [str(attempt.fault) for attempt in server.attempts] == list(map(str, plan.entries))


@pytest.mark.slow
@pytest.mark.measured
def test_client_is_told_when_its_ping_has_no_answer():
    with (
        serve(websocket(ignore_pings(), fl.echo())) as server,
        dial(server, ping_interval=0.3, ping_timeout=0.3) as client,
    ):
        client.send("hello")
        assert client.recv(10) == "hello"
        with pytest.raises(ClosedError, match="keepalive ping timeout"):
            client.recv(10)

    assert server.attempts[0].struck.point == "request"


@pytest.mark.slow
@each_row(
    "steps, message",
    [
        ((receive_close(), stall()), r"^sent 1000 \(OK\); no close frame received$"),
        ((receive_close(), close_frame(), stall()), r"^sent 1000 \(OK\); then received 1000 \(OK\)$"),
    ],
)
def test_client_gives_up_a_close_that_has_no_answer_or_no_end(steps, message):
    with serve(websocket(*steps)) as server:
        with dial(server, close_timeout=0.3) as client:
            client.close()
        with pytest.raises((ClosedError, ClosedOK), match=message):
            client.recv(10)
        server.wait_for_attempts(1, at="end")

    assert server.attempts[0].strikes[0].point == "request" if len(steps) == 2 else "response"


# --- with verbs, conditions and TLS ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.measured
@each_row(
    "plan, heard, code",
    [
        (websocket() & reset(at="response", after_messages=2), ["a", "b"], 1006),
        (websocket() & reset(at="request", after_messages=2), None, 1006),
        (websocket() & reset(on=b"b"), None, 1006),
        (websocket() & close(at="response", on=b"b"), ["a", "b"], 1006),
        (websocket() & close(at="response", on=re.compile(rb"[bc]")), ["a", "b"], 1006),
        (websocket() & latency(0.05) & reset(at="response", after_messages=1), ["a"], 1006),
        (websocket(repeat(receive_text(), send_text("x"))) & close(at="response", after_messages=2), ["x", "x"], 1006),
        (websocket(send_text("x"), receive_text(re.compile("c$")), send_text("y")), ["x", "y"], 1000),
        (websocket(receive_bytes(b"d"), send_ping(b"p"), send_text("y")), ["y"], 1000),
    ],
)
def test_verbs_strike_by_messages(plan, heard, code):
    with serve(plan) as server:
        got, end = by_websockets(server.ws_url, ("a", "b", "c", b"d"))
        server.wait_for_attempts(1, at="end")

    assert (got if heard is not None else None, end) == (heard, code)


async def echoed(url, options):
    """What comes back: by asyncio, as websockets' threads share a session of TLS, which now and then hangs."""
    async with websockets.asyncio.client.connect(url, proxy=None, **options) as client:
        await client.send("hello")
        return await client.recv()


@pytest.mark.slow
@pytest.mark.leaves_open  # asyncio of Python 3.10 keeps the client's transport of TLS open if the server ends first
@each_row("options", [{"tls": True}, {"isolated": True}, {"host": "::1"}, {"unix": True}])
def test_websocket_is_spoken_wherever_a_server_is(options):
    with serve(websocket(), **options) as server:
        more = {"ssl": server.client_context()} if "tls" in options else {}
        if "unix" in options:
            more["sock"] = socket.socket(socket.AF_UNIX)
            more["sock"].connect(server.path)
        url = "ws://localhost/" if "unix" in options else server.ws_url
        assert asyncio.run(echoed(url, more)) == "hello"
        server.wait_for_attempts(1, at="end")

    assert server.attempts[0].websocket.received == ("hello",)
    assert server.ws_url.startswith("wss://" if "tls" in options else "ws")


def test_pings_are_answered_until_the_server_has_closed():
    with serve(websocket(receive_text("go"), send_bytes(b"one"), close_frame())) as server:
        with socket.create_connection(server.address, PATIENCE_SECONDS) as client:
            client.sendall(ASK + masked(PING, b"a") + masked(TEXT, b"go"))
            heard = b""
            while not heard.endswith(b"\x88\x02\x03\xe8"):
                heard += client.recv(1000)
            assert heard.partition(b"\r\n\r\n")[2] == b"\x8a\x01a" + b"\x82\x03one" + b"\x88\x02\x03\xe8"
            client.sendall(masked(PING, b"b") + masked(0x0B, b""))
            assert client.recv(1000) == b""
        server.wait_for_attempts(1, at="end")

    facts = server.attempts[0].websocket
    assert (facts.received_pings, facts.received_frames, facts.client_code, facts.server_code) == (2, 3, None, 1000)


@each_row(
    "plan",
    [
        fl.by_path(
            {"/ws": sequence(status(503), websocket(), websocket(receive_text(), reset())), "/*": fl.ok(b"page")}
        ),
        sequence(
            fl.ok(b"page"),
            *(fl.when(asks_for_ws, fault) for fault in (status(503), websocket(), websocket(receive_text(), reset()))),
        ),
    ],
)
def test_websocket_is_chosen_by_the_request(plan):
    with serve(plan) as server:
        with urllib.request.urlopen(server.url) as response:
            assert response.read() == b"page"
        met = [by_websockets(f"{server.ws_url}/ws", leaves=True) for _ in range(3)]

    assert met == [([], "status 503"), (["hello"], 1000), ([], 1006)]


def test_repeat_hears_a_client_that_leaves_though_no_step_reads():
    with serve(websocket(repeat(send_text("tick")))) as server, dial(server) as client:
        assert [client.recv(10) for _ in range(3)] == ["tick"] * 3
        client.close()
        server.wait_for_attempts(1, at="end")

    assert (server.attempts[0].ended_by, server.attempts[0].websocket.client_code) == ("client", 1000)


def test_client_that_breaks_the_protocol_is_answered_and_told_of():
    with serve(websocket()) as server, dial(server) as client:
        client.socket.sendall(b"\xff\x80\0\0\0\0")
        with pytest.raises(ClosedError) as caught:
            client.recv(10)
        server.wait_for_attempts(1, at="end")

    assert caught.value.rcvd.code == 1002
    assert server.attempts[0].note.startswith("the client sent a malformed frame: ")
    assert (server.attempts[0].websocket.client_code, server.attempts[0].websocket.server_code) == (None, 1002)


@each_row(
    "said, why",
    [
        (ASK.replace(b"GET", b"POST"), "its method is POST"),
        (b"GET / HTTP/1.0\r\n\r\n", "it has no Host"),
        (b"\x16\x03\x01 nor HTTP", "it is no HTTP"),
        (ASK.replace(b"Version: 13", b"Version: 8"), ""),  # as wsproto says
    ],
)
def test_request_that_opens_no_websocket_is_refused_and_the_reason_noted(said, why):
    with serve(websocket()) as server, socket.create_connection(server.address, PATIENCE_SECONDS) as client:
        client.sendall(said)
        assert client.recv(100).startswith(b"HTTP/1.1 426 Upgrade Required\r\n")
        server.wait_for_attempts(1, at="end")

    assert server.attempts[0].note.startswith(f"the client asked for no WebSocket: {why}")


@each_row(
    "offer, answer",
    [
        (b"Extensions: permessage-deflate; client_max_window_bits=many", b""),  # RFC 7692, 5.1: it is declined
        (b"Extensions: permessage-deflate; server_max_window_bits=99", b""),
        (b"Extensions: permessage-deflate, x", b"Sec-WebSocket-Extensions: permessage-deflate\r\n"),
        (b"Protocol: , chat", b"Sec-WebSocket-Protocol: chat\r\n"),
        (b"Protocol: ,", b""),
    ],
)
def test_offer_that_has_no_meaning_is_declined(offer, answer):
    with (
        serve(websocket(accept(compression=True), close_frame())) as server,
        socket.create_connection(server.address, PATIENCE_SECONDS) as client,
    ):
        client.sendall(ASK[:-2] + b"Sec-WebSocket-" + offer + b"\r\n\r\n" + masked(CLOSE, b""))
        heard = b""
        while data := client.recv(1000):
            heard += data

    head = heard.partition(b"\r\n\r\n")[0] + b"\r\n"
    assert head.endswith(answer)
    assert head.count(b"Sec-WebSocket") == 1 + bool(answer)  # beside the key


@pytest.mark.parametrize("closes_first", [True, False])
def test_bytes_behind_both_close_frames_are_left(closes_first):
    fields = [line.split(": ") for line in ASK.decode().splitlines()[1:-1]]
    codec = Codec(Request("GET", "/", tuple((name, value) for name, value in fields)))
    codec.accept(fl.accept())
    if closes_first:
        codec.close(1000, "")
    long = masked(TEXT, b"behind it in the same bytes" * 1000)
    assert list(codec.receive(masked(CLOSE, b"") + long)) == [Closed(1005, "")]
    if not closes_first:
        codec.close(1000, "")
    for late in (masked(TEXT, b"late"), masked(CLOSE, b""), b"\xff\xff\xff"):
        assert list(codec.receive(late)) == []


def test_message_that_is_too_long_is_answered_by_1009(monkeypatch):
    monkeypatch.setattr("faultline._net.websocket.MOST_MESSAGE_BYTES", 1000)
    with serve(websocket()) as server, dial(server) as client, pytest.raises(ClosedError) as caught:
        say(client, ["x" * 600, "y" * 600])

    assert caught.value.rcvd.code == 1009


# --- what is reported ------------------------------------------------------------------------------------------------


def unmet(plan, play):
    """What the guard says after a client did this."""
    with pytest.raises(NotStruckError) as caught:
        played(plan, play)
    return str(caught.value)


def played(plan, play):
    """Have a client do this, to its end."""
    with serve(plan) as server:
        play(server)
        server.wait_for_attempts(1, at="end")


def leaves(server):
    with dial(server, subprotocols=["chat"]) as client:
        client.send("hello")


def asks_in_http(server):
    with socket.create_connection(server.address, 10) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 426 Upgrade Required\r\n")


def breaks_off(server):
    with dial(server) as client:
        client.send("hello")
        client.socket.shutdown(socket.SHUT_RDWR)


def comes_and_goes(server):
    with dial(server):
        pass


def pings(server):
    with dial(server) as client:
        assert client.ping().wait(10)


def says_nonsense(server):
    with dial(server) as client:
        client.socket.sendall(b"\xff\x80\0\0\0\0")


@each_row(
    "plan, play, advice",
    [
        (
            websocket(receive_text("bye"), close_frame(1011)),
            leaves,
            "The client closed the WebSocket first, with 1000, after 1 message of its own and 0 of the server.",
        ),
        (websocket(ignore_pings(), receive_close()), leaves, "The client sent no PING: make the interval of its"),
        (websocket(receive_text("bye"), ignore_pings(), receive_close()), pings, "sent its PINGs before the plan came"),
        (websocket(close_frame(1011)), asks_in_http, "The client did not ask for a WebSocket: use server.ws_url and a"),
        (websocket(receive_text("bye"), reset()), says_nonsense, "The client broke the protocol first."),
        (websocket(receive_text("bye"), reset()), breaks_off, "The client left first, while the script waited for"),
        (
            websocket(accept(subprotocol="")),
            comes_and_goes,
            "The client offered no subprotocol, so it can't miss one in the answer.",
        ),
    ],
)
def test_guard_says_why_a_step_was_not_played(plan, play, advice):
    assert advice in unmet(plan, play)


def test_report_of_an_attempt_has_messages_and_close_codes():
    told = unmet(websocket(receive_text("bye"), close_frame(1011)), leaves)

    assert "close_frame(1011)" in told
    assert "(the plan waited for receive_text('bye'))" in told
    assert "1 WebSocket message from the client and 0 to it, client closes with 1000, server closes with 1000" in told


def test_drawing_has_the_frames_in_words():
    frames = (accept(compression=True), receive_text("go"), send_text("x" * 40), send_bytes(b"y" * 200), fl.hold(0.01))
    with serve(websocket(*frames, receive_text(), send_text("é"), close_frame(1012, "later"))) as server:
        with dial(server, compression=None) as client:
            client.send("go")
            assert [len(client.recv(10)) for _ in range(2)] == [40, 200]
            client.ping()
            client.send("more")
            with pytest.raises(ClosedError):
                list(client)
        server.wait_for_attempts(1, at="end")

    drawn = draw(server.attempts, server.url)
    assert "WebSocket" in drawn
    for words in ("text 'go'", "PING", "text 'more'", r"text '\xe9', close 1012 later", "close 1012 later"):
        assert words in drawn
    words = [turn_words(turn, "WebSocket") for turn in server.attempts[0].turns]
    assert f"text '{'x' * 30}'..., binary, 200 bytes" in words


@each_row(
    "data, told",
    [
        (b"\xc1\x05abcde", "compressed text, 5 bytes"),
        (b"\x01\x02ab\x80\x01c\x8a\x00", "text 'ab', continuation, 1 byte, PONG"),
        (b"\x82\x7f\0\0\0\0\0\1\0\0abc", "binary, 65536 bytes"),
        (b"\x88\x00", "close"),
        (b"\x83\x00", r"\x83\x00"),
    ],
)
def test_frame_is_told_in_words(data, told):
    assert turn_words(Turn("server", 0.0, len(data), data), "WebSocket") == told


def test_ledger_of_a_websocket_is_plain_data():
    with serve(websocket()) as server:
        by_websockets(server.ws_url, ("a", b"\xff"), leaves=True)
        server.wait_for_attempts(1, at="end")

    assert server.attempts[0].to_dict()["websocket"] == {
        "received_messages": 2,
        "sent_messages": 2,
        "received_frames": 3,
        "received_pings": 0,
        "subprotocol": "",
        "client_code": 1000,
        "client_reason": "",
        "server_code": 1000,
        "server_reason": "",
        "received": ["a", "\xff"],
    }


@pytest.mark.slow
def test_nothing_is_imported_before_a_websocket_is_served():
    steps = "import faultline as f, sys; f.serve(f.sequence(f.ok(), f.websocket())).close()"
    test = f"{steps}; print([m for m in sys.modules if m.partition('.')[0] == 'wsproto' or m.endswith('s.websocket')])"
    done = subprocess.run([sys.executable, "-c", test], capture_output=True, text=True, check=True)

    assert done.stdout == "['faultline.modes.websocket']\n"
    assert WebSocket.__module__.endswith(".talks.websocket")


def test_steps_come_to_the_points_of_their_messages():
    assert points_of((receive_text("go"),)) == {"request"}
    assert points_of((send_text("one"), close_frame(1012))) == {"response"}
