"""WebSockets through relays and proxies, in front of a server of `websockets`: triggers mean their messages."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
import zlib
from dataclasses import replace
from itertools import pairwise

import pytest
import websockets.asyncio.client
import websockets.exceptions
import websockets.sync.server
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tables import each_row
from support.websockets import PYTHONIC, say
from websockets.sync.client import connect
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import FrameProtocol

from faultline import (
    accept,
    close,
    close_frame,
    drop,
    echo,
    http_proxy,
    latency,
    receive_text,
    relay,
    reset,
    send_text,
    serve,
    stall,
    websocket,
)
from faultline._core.breaks import Break, Trigger
from faultline._core.frames import CLOSE, CONTINUATION, FIN, RSV1, TEXT, frame
from faultline._core.passing_websocket import PassingWebSocket
from faultline._core.steps import Reset
from faultline._core.tripwire import Tripwire
from faultline._sweep.framed import handshake_bytes, of_websocket

LONG = "The words are said again and again, " * 400


@pytest.fixture(scope="module")
def upstream():
    """A server of `websockets`, which sends every message back, compressed where the client offers that."""

    def session(client):
        with contextlib.suppress(websockets.exceptions.ConnectionClosed):
            for message in client:
                client.send(message)

    with websockets.sync.server.serve(session, "127.0.0.1", 0, close_timeout=0.1) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield "{}:{}".format(*server.socket.getsockname())
        server.shutdown()
        thread.join()


def heard(server, said, compression):
    """The messages that come back, and how the client is told of the end."""
    got = []
    context = server.client_context() if server.url.startswith("https") else None

    async def session():
        async with websockets.asyncio.client.connect(
            server.ws_url, ssl=context, proxy=None, compression=compression, ping_interval=None
        ) as client:
            with contextlib.suppress(websockets.exceptions.ConnectionClosed):
                for message in said:
                    await client.send(message)
                    got.append(await client.recv())
        return client.close_code

    return got, asyncio.run(session())


SAID = ["one", "two", "three", LONG + "four", b"five"]


@pytest.mark.leaves_open  # asyncio of Python 3.10 keeps the client's transport of TLS open if the server ends first
@pytest.mark.slow
@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize("tls", ["through", "terminate"])
@each_row(
    "fault, count",
    [
        (reset(at="request", on=b"two"), 1),
        (reset(at="request", on=b"again, four"), 3),
        (reset(at="request", on=re.compile(rb"t[w]o$")), 1),
        (close(at="response", on=b"three"), None),
        (reset(at="response", on=b"five"), None),
        (reset(at="response", after_messages=0), 0),
        (reset(at="response", after_messages=2), 2),
        (close(at="request", after_messages=3), 3),
        (reset(at="response", after_messages=2) & latency(0.01), 2),
        (stall(at="response", for_seconds=0.01, on=b"two"), 5),
    ],
)
def test_triggers_of_a_relay_mean_the_messages_of_a_websocket(upstream, compression, tls, fault, count):
    with relay(upstream, fault, tls=tls) as server:
        got, code = heard(server, SAID, compression)
        server.wait_for_attempts(1, at="end")

    strike = server.attempts[0].struck
    if count is not None:
        assert len(got) == count
    assert got == SAID[: len(got)]
    assert code == (1006 if fault.break_.is_final else 1000)
    assert strike.point == fault.break_.at


def test_strike_in_a_message_of_a_relay_is_at_its_byte(upstream):
    with relay(upstream, close(at="response", on=b"tw")) as server:
        assert heard(server, SAID, None) == (["one"], 1006)
        server.wait_for_attempts(1, at="end")

    head = server.attempts[0].turns[1].count_bytes
    assert (
        server.attempts[0].struck.after_bytes == server.attempts[0].sent_bytes == head + 2 + len("one") + 2 + len("tw")
    )


def test_words_are_found_in_the_tunnel_of_a_proxy(upstream):
    with (
        http_proxy(reset(at="tunnel", on=b"two")) as proxy,
        connect(f"ws://{upstream}", proxy=proxy.proxy_url, compression="deflate") as client,
    ):
        client.send("one")
        assert client.recv(10) == "one"
        with pytest.raises(websockets.exceptions.ConnectionClosedError):
            say(client, "two")

    assert proxy.attempts[0].struck.point == "tunnel"


def test_a_message_that_says_something_else_is_no_strike_though_its_bytes_are_alike(upstream):
    fault = reset(at="request", on=b"two")
    with relay(upstream, fault, strict=False) as server:
        assert heard(server, ["o", "ne", "t", "wo"], None) == (["o", "ne", "t", "wo"], 1000)


@pytest.mark.parametrize("client", PYTHONIC)
def test_clients_meet_a_relay_in_front_of_a_server_that_compresses(client):
    fault, said = reset(at="response", on=b"again, two"), [LONG + "one", LONG + "two"]
    with serve(websocket(accept(compression=True), echo())) as behind, relay(behind, fault) as server:
        got, end = PYTHONIC[client](server.ws_url, said)

    assert got[:1] == said[:1]
    assert end == ("WebSocketNetworkError" if client == "httpx-ws" else 1006)


# --- the search itself -----------------------------------------------------------------------------------------------

REQUEST = b"GET /a HTTP/1.1\r\nHost: x\r\nUpgrade: WebSocket\r\n\r\n"
RESPONSE = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
MESSAGES = st.lists(
    st.one_of(st.text("abc", max_size=200), st.binary(max_size=200), st.just("x" * 70_000), st.sampled_from([0, 1])),
    max_size=6,
)


def frames_of(messages, at, *, compressed, parts):
    """The bytes of one side, and where each message begins and each of its frames ends; a number is a PING or PONG."""
    extension = PerMessageDeflate()
    extension._enabled = True
    protocol = FrameProtocol(at == "request", [extension] if compressed else [])
    data, begins, frames = bytearray(REQUEST if at == "request" else RESPONSE), [], []
    for message in messages:
        if isinstance(message, int):
            data += (protocol.pong if message else protocol.ping)(b"two")
            continue
        begins.append(len(data))
        size = max(1, -(-len(message) // parts))
        pieces = [message[i : i + size] for i in range(0, len(message) or 1, size)]
        for number, piece in enumerate(pieces, 1):
            data += protocol.send_data(piece, fin=number == len(pieces))
            frames.append((len(begins) - 1, len(data)))
    return bytes(data), begins, frames


def side_of(at):
    return "client" if at == "request" else "server"


def strikes_at(data, cuts, at, **trigger):
    """The byte of the strike, with the bytes in pieces."""
    trip = Tripwire(Break(at, (Reset(),), Trigger(**trigger)))
    trip.begin_message()
    edges = [0, *sorted(cut % len(data) for cut in cuts), len(data)]
    for begin, end in pairwise(edges):
        if begin < end and (cut := trip.cut(data[begin:end])) is not None:
            return begin + cut
    return None


@given(
    messages=MESSAGES,
    at=st.sampled_from(["request", "response"]),
    form=st.tuples(st.booleans(), st.integers(1, 3)),
    cuts=st.lists(st.integers(0, 1 << 20), max_size=8),
    numbers=st.tuples(st.integers(0, 4), st.integers(1, 250)),
)
def test_strike_is_where_the_messages_say_however_the_bytes_come(messages, at, form, cuts, numbers):
    count, within = numbers
    compressed, parts = form
    data, begins, frames = frames_of(messages, at, compressed=compressed, parts=parts)
    texts = [m.encode() if isinstance(m, str) else m for m in messages if not isinstance(m, int)]
    first_cuts = [cut for cut in cuts if cut % len(data) > len(RESPONSE)]  # a handshake comes in one piece

    assert strikes_at(data, first_cuts, at, after_messages=count) == (begins[count] if count < len(begins) else None)
    ends = [max(end for number, end in frames if number == each) for each in range(len(begins))]
    spans = [(each.begin, each.end) for each in of_websocket(data, handshake_bytes(data, side_of(at)))]
    assert spans == list(zip(begins, ends, strict=True))
    is_within = count < len(begins) and begins[count] + within <= ends[count]
    assert strikes_at(data, first_cuts, at, after_messages=count, after_bytes=within) == (
        begins[count] + within if is_within else None
    )
    found = strikes_at(data, cuts, at, on=b"ab")
    expected = next((number for number, text in enumerate(texts) if b"ab" in text), None)
    if expected is None:
        assert found is None
    elif compressed:
        assert found in [end for number, end in frames if number == expected]
    else:
        assert begins[expected] < found <= [end for number, end in frames if number == expected][-1]


@each_row(
    "data, on, found",
    [
        (b"HTTP/1.1 200 OK\r\nUpgrade: websocket\r\n\r\n\x81\x02ab", b"ab", 43),
        (b"HTTP/1.1 101 Other\r\nUpgrade: h2c\r\n\r\n\x81\x02ab", b"ab", 40),
        (RESPONSE + b"\xc1\x02\xff\xff\x81\x02ab", b"ab", len(RESPONSE) + 8),  # no deflate, and then a good message
        (RESPONSE + b"\xc1\x05\x4b\x4c\x02\x00\x03", b"ab", len(RESPONSE) + 7),  # whose last block says so
        (RESPONSE + b"\x89\x02ab", b"ab", None),  # a PING
        (b"x" * 70_000 + b"ab", b"ab", 70_002),
    ],
)
def test_what_is_no_message_is_searched_as_it_is_or_passed_over(data, on, found):
    assert strikes_at(data, [], "response", on=on) == found


def test_handshake_itself_is_no_message():
    assert strikes_at(RESPONSE, [], "response", on=b"Switching") is None
    assert strikes_at(REQUEST, [], "request", on=b"Upgrade") is None
    assert strikes_at(b"HTTP/1.1 200 OK\r\n\r\n", [], "response", after_messages=0) == 0
    assert strikes_at(b"GET " + b"a" * 70_000, [5], "request", after_messages=1) is None


def test_server_counts_messages_without_the_handshake():
    with serve(websocket(send_text("a"), send_text("b")) & reset(at="response", after_messages=1)) as server:
        assert PYTHONIC["wsproto"](server.ws_url) == (["a"], 1006)


# --- what is recorded ------------------------------------------------------------------------------------------------

SESSIONS = [  # the plan of the server behind, and what the client says
    (websocket(accept(compression=True), echo()), SAID),
    (websocket(receive_text("one"), send_text("hello", fragment_bytes=2), close_frame(1012, "restart")), ["one"]),
    (websocket(send_text("hello"), drop()), []),
    (websocket(close_frame(None)), []),
]


@pytest.mark.parametrize("through", ["plain", "TLS", "tunnel"])
@each_row("plan, said", SESSIONS)
def test_relay_records_the_same_of_a_websocket_as_the_server_behind_it(plan, said, through):
    front = {
        "plain": relay,
        "TLS": lambda upstream: relay(upstream, tls="terminate"),
        "tunnel": lambda _: http_proxy(),
    }[through]

    async def session(server, behind):
        where = {"proxy": server.proxy_url} if through == "tunnel" else {"proxy": None}
        context = server.client_context() if through == "TLS" else None
        url = behind.ws_url if through == "tunnel" else server.ws_url
        async with websockets.asyncio.client.connect(url, ssl=context, subprotocols=["chat"], **where) as client:
            with contextlib.suppress(websockets.exceptions.ConnectionClosed):
                for message in said:
                    await client.send(message)
                    await client.recv()
                if said is SAID:  # or else the server ends it
                    await (await client.ping())
                    await client.close(1001, "bye")
                [_ async for _ in client]

    with serve(plan, strict=False) as behind, front(behind) as server:
        asyncio.run(session(server, behind))
        for each in (server, behind):
            each.wait_for_attempts(1, at="end")

    recorded = server.attempts[0].websocket
    assert recorded == behind.attempts[0].websocket
    assert recorded.subprotocol == "chat"


def recorded(data, cuts, answer=RESPONSE):
    """What is recorded of a client that says this, whose bytes come in pieces behind its handshake."""
    passing = PassingWebSocket()
    passing.says("client", REQUEST)
    passing.says("server", answer)
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for begin, end in pairwise(edges):
        passing.says("client", memoryview(data)[begin:end])
    return passing.facts


@settings(max_examples=30)
@given(
    messages=MESSAGES,
    form=st.tuples(st.booleans(), st.integers(1, 3)),
    cuts=st.lists(st.integers(0, 1 << 20), max_size=8),
)
def test_messages_are_recorded_however_the_bytes_come(messages, form, cuts):
    data, _, frames = frames_of(messages, "request", compressed=form[0], parts=form[1])
    said = [message for message in messages if not isinstance(message, int)]
    facts = recorded(data[len(REQUEST) :], cuts)

    assert facts.received == tuple(message[:1000] for message in said)
    assert facts.received_messages == len(said)
    assert facts.received_frames == len(frames) + len(messages) - len(said)
    assert facts.received_pings == messages.count(0)


def compressed(data):
    """A message of a client in one frame, whose compressed bytes are these."""
    return frame(FIN | RSV1 | TEXT, data, mask=b"\1\2\3\4")


PACKER = zlib.compressobj(wbits=-15)
BOMB = PACKER.compress(b"x" * (1 << 22)) + PACKER.flush()
SAYS = frame(FIN | TEXT, b"hello", mask=b"\1\2\3\4")
LAST = zlib.compressobj(wbits=-15)
BLOCK = LAST.compress(b"hello") + LAST.flush() + b"\0"  # with the mark of the last block: RFC 7692, 7.2.3.4


@each_row(
    "data, received, count",
    [
        (SAYS * 101, ("hello",) * 100, 101),
        (compressed(BLOCK) * 2, ("hello",) * 2, 2),
        (compressed(BOMB) + SAYS, (), 2),  # none is kept behind one that is too long
        (SAYS + compressed(b"\xff" * 9) + SAYS, ("hello",), 3),  # nor behind garbage
        (frame(FIN | CONTINUATION, b"hello") + SAYS, ("hello",), 1),
    ],
)
def test_messages_that_are_long_or_garbage_are_counted(data, received, count):
    facts = recorded(data, [])

    assert (facts.received, facts.received_messages) == (received, count)


def test_first_close_frame_counts():
    facts = recorded(frame(FIN | CLOSE, b"") + frame(FIN | CLOSE, b"\3\xe8bye"), [])
    assert (facts.client_code, facts.client_reason) == (1005, "")


def test_without_a_handshake_on_both_sides_there_is_no_websocket():
    assert recorded(SAYS, [], b"HTTP/1.1 200 OK\r\nUpgrade: websocket\r\n\r\n") is None
    assert recorded(SAYS, [], b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n") is None
    passing = PassingWebSocket()
    for by, data in [
        ("client", b"GET / HTTP/1.1\r\n\r\n"),
        ("server", b"HTTP/1.1 200 OK\r\n\r\n"),
        ("client", REQUEST[:9]),
        ("client", REQUEST[9:]),
        ("client", SAYS),  # too early
        ("server", RESPONSE[:9]),
        ("server", RESPONSE[9:] + frame(FIN | TEXT, b"hello")),
    ]:
        assert passing.facts is None
        passing.says(by, data)
    assert (passing.facts.received, passing.facts.sent_messages) == (("hello",), 1)


# --- a break that comes while it is open -----------------------------------------------------------------------------

BACK = ("tunnel", "request")


@pytest.mark.parametrize("kind", ["server", "relay", "relay that ends TLS", "tunnel"])
@each_row(
    "fault, got",
    [
        (reset(at="request", on=b"two"), []),
        (close(at="response", on=b"tw"), []),
        (reset(at="response", after_messages=1), ["two"]),
    ],
)
def test_a_break_that_comes_to_an_open_websocket_means_its_messages(fault, got, kind):
    if (kind == "server" and fault.break_.trigger.after_messages is not None) or (kind, fault.break_.at) == BACK:
        return  # in HTTP each message is an attempt, and a tunnel means what comes back
    fault = replace(fault, break_=replace(fault.break_, at="tunnel")) if kind == "tunnel" else fault
    with contextlib.ExitStack() as stack:
        behind = stack.enter_context(serve(websocket()))
        server, context = behind, None
        if kind.startswith("relay"):
            server = stack.enter_context(relay(behind, tls="terminate" if "TLS" in kind else "through"))
            context = server.client_context() if "TLS" in kind else None
        elif kind == "tunnel":
            server = stack.enter_context(http_proxy())
        proxy = server.proxy_url if kind == "tunnel" else None
        url = behind.ws_url if kind == "tunnel" else server.ws_url
        assert asyncio.run(told(server, fault, url, proxy=proxy, ssl=context)) == got


async def told(server, fault, url, **options):
    """What a client hears after a live edit; two threads of the sync client would share its TLS, and may hang."""
    heard = []
    async with websockets.asyncio.client.connect(url, compression=None, **options) as client:
        await client.send("one")
        assert await asyncio.wait_for(client.recv(), 10) == "one"
        server.become(fault, open_too=True)
        with contextlib.suppress(websockets.exceptions.ConnectionClosed):
            for said in ("two", "three"):
                await client.send(said)
                heard.append(await asyncio.wait_for(client.recv(), 10))
    return heard


@settings(max_examples=30)
@given(messages=MESSAGES, at=st.sampled_from(["request", "response"]), parts=st.integers(1, 3), joins=st.integers(0))
def test_a_break_that_joins_anywhere_strikes_before_the_next_message(messages, at, parts, joins):
    data, begins, _ = frames_of(messages, at, compressed=False, parts=parts)
    opening = len(REQUEST if at == "request" else RESPONSE)
    place = opening + joins % (len(data) - opening + 1)
    passing = PassingWebSocket()
    passing.says("client", data[:place] if at == "request" else REQUEST)
    passing.says("server", data[:place] if at == "response" else RESPONSE)
    trip = Tripwire(Break(at, (Reset(),), Trigger(after_messages=0)))
    trip.join_websocket(*passing.place("client" if at == "request" else "server"))

    found = trip.cut(data[place:])
    assert (None if found is None else place + found) == next((begin for begin in begins if begin >= place), None)
