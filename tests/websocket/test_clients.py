"""Real clients of WebSocket: one table of what each sees of each fault, and of what it answers."""

from __future__ import annotations

import contextlib

import pytest
from support.tables import each_row
from support.websockets import PYTHONIC, by_node, needs_node

from faultline import (
    accept,
    bad_frame,
    bad_mask,
    close,
    close_frame,
    cut_frame,
    drop,
    fragment,
    receive_text,
    reset,
    send_text,
    serve,
    status,
    websocket,
)

ORDER = ("websockets", "aiohttp", "httpx-ws", "wsproto", "ws of Node")
EACH_CLIENT = [pytest.param(name, marks=[pytest.mark.slow] if name == "httpx-ws" else []) for name in PYTHONIC]
LOST = (1006, 1006, "WebSocketNetworkError", 1006, 1006)
FOUND = (1006, 1002, 1002, 1006, 1006)  # a client that finds a mistake got no close frame


def alike(end):
    """The same end for each client."""
    return (end,) * len(ORDER)


def echoed(code):
    """What a client sees of a code, and the code of its answer."""
    return alike(code), (code, 1000, 1000, code, code)


# A plan; what each client sees of it; and the code of its close frame, if it sends one.
CLOSES = [
    (close_frame(), *echoed(1000)),
    (close_frame(1001), *echoed(1001)),
    (close_frame(1002, "you did it"), *echoed(1002)),
    (close_frame(None), (1005, 1006, 1005, 1005, 1005), (1005, 1000, 1000, 1005, 1005)),  # aiohttp says 1006
    (close_frame(1011), *echoed(1011)),
    (close_frame(1012), *echoed(1012)),
    (close_frame(4321), *echoed(4321)),
    (close(), LOST, alike(None)),  # 1006
    (drop(), LOST, alike(None)),
    (reset(), LOST, alike(None)),
    (cut_frame(5), LOST, alike(None)),
]
MISTAKES = ["reserved_bits", "reserved_opcode", "unasked_compression", "continuation", "interleaved"]
MISTAKES += ["long_ping", "fragmented_ping", "close_code", "close_length"]
FRAMES = [
    *((bad_frame(kind), FOUND, (1002, 1002, 1000, 1002, 1002)) for kind in MISTAKES),
    (bad_frame("invalid_utf8"), (1006, 1007, 1007, 1006, 1006), (1007, 1007, 1000, 1007, 1007)),
    # aiohttp takes a frame that is masked.
    *(
        (step, (1006, "TimeoutError", 1002, 1006, 1006), (1002, 1000, 1000, 1002, 1002))
        for step in (bad_frame("masked"), bad_mask("hello"))
    ),
    # httpx-ws and wsproto have no limit for a message.
    (bad_frame("oversized"), (1006, 1009, "Empty", "TimeoutError", 1006), (1009, 1009, 1000, None, 1009)),
]
# Garbage in the place of compressed bytes, where compression was agreed on; httpx-ws never offers it.
GARBAGE = websocket(accept(compression=True), receive_text(), bad_frame("unasked_compression"))
GARBAGE_ENDS, GARBAGE_CODES = (1006, 1006, 1002, 1006, 1006), (1002, 1000, 1000, 1007, 1007)
HANDSHAKES = [
    (status(403), alike("status 403")),
    (status(503), alike("status 503")),
    # httpx-ws checks neither the key nor the subprotocol, and aiohttp no subprotocol.
    (
        websocket(accept(key="wrong")),
        *[("InvalidHeaderValue", "WSServerHandshakeError", 1000, "RemoteProtocolError")],
    ),
    (websocket(accept(key="missing")), ("InvalidHeader", "WSServerHandshakeError", 1000, "RemoteProtocolError")),
    (websocket(accept(subprotocol="other")), ("NegotiationError", 1000, 1000, "RemoteProtocolError")),
]


def waits_for(end):
    """How long a client waits: not long where its timeout is the end."""
    return 0.3 if end in ("TimeoutError", "Empty") else 10


def seen(client, plan, timeout=10, protocols=None):
    """What a client sees, and the code of its close frame."""
    with serve(plan) as server:
        _, end = PYTHONIC[client](server.ws_url, protocols=protocols, timeout=timeout)
        server.wait_for_attempts(1, at="end")
    facts = server.attempts[0].websocket
    return end, facts and facts.client_code


@pytest.mark.measured
@pytest.mark.parametrize("client", EACH_CLIENT)
@each_row("step, ends, codes", CLOSES)
def test_client_sees_the_close_code_of_the_server_and_answers_it(client, step, ends, codes):
    place = ORDER.index(client.split(" with ")[0])

    assert seen(client, websocket(receive_text(), step)) == (ends[place], codes[place])


@pytest.mark.slow
@pytest.mark.measured
@pytest.mark.parametrize("client", PYTHONIC)
@each_row("step, ends, codes", FRAMES)
def test_client_finds_the_frame_that_no_client_may_accept(client, step, ends, codes):
    place = ORDER.index(client.split(" with ")[0])

    assert seen(client, websocket(receive_text(), step), waits_for(ends[place])) == (ends[place], codes[place])


@pytest.mark.measured
@pytest.mark.parametrize("client", EACH_CLIENT)
def test_client_finds_garbage_in_the_compression_that_it_agreed_on(client):
    place = ORDER.index(client.split(" with ")[0])
    with serve(GARBAGE) as server:
        assert PYTHONIC[client](server.ws_url) == ([], GARBAGE_ENDS[place])
        server.wait_for_attempts(1, at="end")

    attempt = server.attempts[0]
    assert attempt.websocket.client_code == GARBAGE_CODES[place]
    assert (attempt.request.header("Sec-WebSocket-Extensions") is None) is (client == "httpx-ws")


@pytest.mark.measured
@pytest.mark.parametrize("client", EACH_CLIENT)
@each_row("plan, ends", HANDSHAKES)
def test_client_finds_what_is_wrong_with_the_handshake(client, plan, ends):
    place = ORDER.index(client.split(" with ")[0])

    assert seen(client, plan, protocols=["chat"])[0] == ends[place]


@pytest.mark.parametrize("client", PYTHONIC)
def test_client_gets_its_messages_back_and_leaves_as_it_should(client):
    said = ("one", "two " * 1000)
    with serve(websocket()) as server:
        assert PYTHONIC[client](server.ws_url, said, leaves=True) == (list(said), 1000)
        server.wait_for_attempts(1, at="end")

    attempt = server.attempts[0]
    assert (attempt.ended_by, attempt.websocket.client_code, attempt.websocket.server_code) == ("client", 1000, 1000)
    assert (attempt.websocket.received_messages, attempt.websocket.sent_messages) == (2, 2)
    assert attempt.websocket.received == ("one", ("two " * 1000)[:1000])


@pytest.mark.slow
def test_node_sees_what_the_other_clients_see():
    needs_node()
    ends = [*CLOSES, *FRAMES]
    plans = [websocket(receive_text(), step) for step, _, _ in ends]
    plans += [*(plan for plan, _ in HANDSHAKES), GARBAGE, websocket()]
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(serve(plan)) for plan in plans]
        met = by_node([[server.ws_url, ["hello"], ["chat"], 10, server.plan == websocket()] for server in servers])
        for server in servers:
            server.wait_for_attempts(1, at="end")

    assert [end for _, end in met] == [
        *(each[1][-1] for each in ends),
        *("status 403", "status 503"),
        *["Invalid Sec-WebSocket-Accept header"] * 2,
        *("Server sent an invalid subprotocol", GARBAGE_ENDS[-1], 1000),
    ]
    assert servers[-2].attempts[0].websocket.client_code == GARBAGE_CODES[-1]
    assert [server.attempts[0].websocket.client_code for server in servers[: len(ends)]] == [e[2][-1] for e in ends]


@pytest.mark.parametrize("client", PYTHONIC)
def test_messages_come_in_fragments_and_compressed(client):
    long = "The same words, again and again. " * 100
    plan = websocket(
        accept(compression=True), receive_text("hel"), send_text(long, fragment_bytes=700), send_text("end")
    )
    with serve(plan) as server:
        assert PYTHONIC[client](server.ws_url) == ([long, "end"], 1000)
        server.wait_for_attempts(1, at="end")

    sent = server.attempts[0].sent_bytes
    assert sent < 700 or "permessage-deflate" not in str(server.attempts[0].request.headers)


def test_fragment_without_an_end_is_no_message():
    with serve(websocket(receive_text(), fragment("hel"), close_frame())) as server:
        assert PYTHONIC["aiohttp"](server.ws_url) == ([], 1000)
