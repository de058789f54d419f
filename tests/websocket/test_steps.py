"""The steps of a WebSocket as values: what they refuse, and how they print."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError
from typing import get_args

import pytest
from support.tables import each_row

import faultline as fl
from faultline import ParameterError
from faultline._core.frames import FrameKind

STEPS = [
    fl.accept(),
    fl.accept(subprotocol="chat"),
    fl.accept(headers={"X-A": "1"}),
    fl.accept(key="wrong"),
    fl.accept(compression=True),
    fl.accept(subprotocol=""),
    fl.send_text("hi"),
    fl.send_text("", fragment_bytes=1),
    fl.send_bytes(b"\0"),
    fl.receive_text(),
    fl.receive_text("a"),
    fl.receive_bytes(b"a"),
    fl.receive_bytes(re.compile(b"a+")),
    fl.receive_close(),
    fl.send_ping(),
    fl.send_ping(b"1"),
    fl.ignore_pings(),
    fl.close_frame(),
    fl.close_frame(1011, "oops"),
    fl.close_frame(None),
    fl.cut_frame(3),
    fl.cut_frame(3, text="four"),
    fl.fragment("hel"),
    fl.bad_mask(),
    fl.bad_mask("four"),
    fl.drop(),
    *map(fl.bad_frame, get_args(FrameKind)),
    fl.hold(0.5),
    fl.send(b"\x81\x00"),
    fl.repeat(fl.send_text("a")),
    fl.echo(),
    fl.reset(),
    fl.close(),
    fl.stall(),
]


@each_row("step", STEPS)
def test_plan_of_a_websocket_prints_as_its_call_and_is_read_back(step):
    plan = fl.websocket(step)

    assert repr(plan) == f"websocket({step!r})"
    assert fl.plan(repr(plan)) == plan
    assert fl.plan(repr(plan) + " & latency(0.1)") == plan & fl.latency(0.1)


def test_a_websocket_is_accepted_first_and_echoes_by_default():
    assert fl.websocket() == fl.websocket(fl.echo()) == fl.websocket(fl.accept(), fl.echo())
    assert repr(fl.websocket()) == "websocket()"
    with pytest.raises(FrozenInstanceError):
        fl.send_text("a").text = "b"


TEXT = fl.send_text("a")
REFUSED = [
    (lambda: fl.accept(key="bad"), "key='bad': expected one of 'right', 'wrong', 'missing'"),
    (lambda: fl.accept(subprotocol="two words"), "subprotocol='two words': expected a token of HTTP"),
    (lambda: fl.accept(subprotocol=1), "subprotocol=1: expected a token of HTTP"),
    (lambda: fl.accept(headers={"A": "1\r\n"}), "expected names and values as text"),
    (lambda: fl.send_text(b"a"), "text=b'a': expected text that UTF-8 can encode; write send_bytes(b'a')"),
    (lambda: fl.send_text("\ud800"), "expected text that UTF-8 can encode."),
    (lambda: fl.send_text("a", fragment_bytes=0), "fragment_bytes=0: expected a whole number of bytes, 1 or more"),
    (lambda: fl.send_bytes("a"), "data='a': expected bytes; write send_text('a')"),
    (lambda: fl.send_ping(b"a" * 126), "expected bytes, at most 125"),
    (lambda: fl.receive_text(b"a"), "containing=b'a': expected text, or a pattern compiled from text"),
    (lambda: fl.receive_bytes(re.compile("a")), "expected bytes, or a pattern compiled from bytes"),
    (lambda: fl.close_frame(1005), "code=1005: expected a code that a close frame may have; write close_frame(None)"),
    (lambda: fl.close_frame(1006), "write drop() or reset() instead, after which a client says 1006"),
    (lambda: fl.close_frame(1016), "code=1016: expected 1000 to 1014 or 3000 to 4999"),
    (lambda: fl.close_frame(999), "code=999: expected a whole number, from 1000 to 4999"),
    (lambda: fl.close_frame(1011, "a" * 124), "expected at most 123 bytes, and no reason without a code"),
    (lambda: fl.close_frame(None, "a"), "reason='a': expected at most 123 bytes, and no reason without a code"),
    (lambda: fl.close_frame([]), "code=[]: expected a whole number, from 1000 to 4999"),
    (lambda: fl.cut_frame(1, text=b"a"), "text=b'a': expected text that UTF-8 can encode."),
    (lambda: fl.fragment(b"a"), "text=b'a': expected text that UTF-8 can encode."),
    (lambda: fl.accept(headers={"sec-websocket-accept": "a"}), "headers={'sec-websocket-accept': 'a'}: expected "),
    (lambda: fl.accept(headers=(("Sec-WebSocket-Protocol", "a"),)), "by itself; write subprotocol='…'."),
    (lambda: fl.accept(headers={"Sec-WebSocket-Extensions": "a"}), "write compression=True."),
    (
        lambda: fl.accept(headers={"Upgrade": "h2c"}),
        "expected no Upgrade, which accept() sends by itself; write script(",
    ),
    (lambda: fl.cut_frame(5, text="abc"), "after_bytes=5: expected less than 5, the length of the frame in bytes"),
    (lambda: fl.cut_frame(0), "after_bytes=0: expected a whole number of bytes, 1 or more"),
    (lambda: fl.bad_mask(b"a"), "text=b'a': expected text that UTF-8 can encode."),
    (lambda: fl.script(fl.drop()), "drop(): expected websocket(…) around it, and not script(…)."),
    (lambda: fl.websocket(fl.drop(), TEXT), "send_text('a'): expected no step after drop(), where the conv"),
    (lambda: fl.websocket(fl.close_frame(), fl.drop()), "drop(): expected no close frame before it; write close()"),
    (lambda: fl.bad_frame("mask"), "kind='mask': expected one of 'masked'"),
    (lambda: fl.script(TEXT), "send_text('a'): expected websocket(…) around it, and not script(…)."),
    (lambda: fl.websocket(fl.receive(1)), "receive(1): expected a step of a WebSocket; write receive_text() or rec"),
    (lambda: fl.websocket(fl.receive_request()), "write accept(), before which the request is read."),
    (lambda: fl.websocket(fl.status(503)), "expected a step, or a mode that breaks"),
    (
        lambda: fl.websocket("hi"),
        "step='hi': expected a step such as send_text('…'), or a mode such as reset(); write s",
    ),
    (lambda: fl.websocket(b"hi"), "write send_bytes(b'hi')."),
    (lambda: fl.websocket(TEXT, fl.accept()), "accept(): expected it once, before the first step of the WebSocket."),
    (lambda: fl.websocket(fl.echo(), TEXT), "expected no step after echo(), where the conversation ends; put it last"),
    (lambda: fl.websocket(fl.close_frame(), TEXT), "send_text('a'): expected no message after close_frame()."),
    (lambda: fl.websocket(fl.receive_close(), TEXT), "send_text('a'): expected no message after receive_close()."),
    (lambda: fl.websocket(fl.cut_frame(3), TEXT), "expected no frame after cut_frame(3), whose frame has no end."),
    (
        lambda: fl.websocket(fl.close_frame(), fl.receive_close(), fl.close_frame(1001)),
        "close_frame(1001): expected no message after receive_close().",
    ),
    (lambda: fl.websocket(fl.receive_close(), fl.close_frame(), fl.receive_close()), "after close_frame()."),
    (lambda: fl.websocket(fl.repeat(fl.receive_close(), fl.close_frame())), "expected no message after close_frame()."),
    (lambda: fl.websocket(fl.ignore_pings(), fl.ignore_pings()), "ignore_pings(): expected it once, and outside of"),
    (lambda: fl.websocket(fl.repeat(fl.ignore_pings())), "ignore_pings(): expected it once, and outside of"),
    (
        lambda: fl.websocket(fl.reply({b"a": fl.send(b"b")})),
        "reply({b'a': send(b'b')}): expected a step of a WebSocket",
    ),
    (lambda: fl.websocket(fl.repeat(fl.close_frame())), "close_frame(): expected no message after close_frame()."),
    (lambda: fl.websocket() & fl.reset(at="idle"), "a WebSocket has no such point and never reaches 'idle'"),
    (lambda: fl.websocket() & fl.reset(after_requests=1), "expected after_messages or on, because a WebSocket has"),
    (lambda: fl.websocket() & fl.reset(at="request", after_body_bytes=1), "expected after_messages or on, because"),
    (lambda: fl.websocket() & fl.ok(), "expected one answer, got two"),
]


@each_row("make, message", REFUSED)
def test_what_a_websocket_can_not_play_is_refused_at_once(make, message):
    with pytest.raises(ParameterError, match=re.escape(message)):
        make()


def test_without_wsproto_the_server_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)

    with pytest.raises(
        fl.UnsupportedError, match=r"needs wsproto; run `pip install .pytest-faultline\[websocket\].`\.$"
    ):
        fl.serve(fl.websocket())


@each_row(
    "step",
    [
        fl.close_frame(1001),
        fl.bad_frame("masked"),
        fl.fragment("a"),
        fl.cut_frame(3),
        fl.ignore_pings(),
        fl.drop(),
        fl.bad_mask(),
    ],
)
def test_step_that_breaks_is_a_promise(step):
    assert not fl.websocket(step).is_healthy
    assert fl.websocket(fl.close_frame()).is_healthy
