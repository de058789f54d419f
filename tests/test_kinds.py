"""Kinds of server by faults: whatever a kind accepts happens to a client that fits, and it refuses all else."""

from __future__ import annotations

import contextlib
import importlib
import re
import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

import faultline as fl
from faultline import Gate, ParameterError, UnsupportedError, ok
from faultline._core import capabilities, frames, kinds, toxics
from faultline._core import conditions as cond
from faultline._core import steps as do
from faultline._core.answers import Answer, SocksRefusal
from faultline._core.breaks import Break, Trigger
from faultline._core.lookups import Found
from faultline._core.promises import promises_of
from faultline._core.said import Said
from faultline._core.script import as_played
from faultline._core.scripted import Script
from faultline._net.addresses import FAILURES
from faultline.modes._catalogue import cases

PATIENCE_SECONDS = 10
POLL_SECONDS = 0.01
FILLER = "a" * 300
GET = f"GET / HTTP/1.1\r\nHost: test\r\nX-Filler: {FILLER}\r\n\r\n".encode()
ANSWER = ok(b"hello", headers={"X-Word": "test", "X-Filler": FILLER})
NAME = "kinds.faultline.example"
GATE, SERVER = object(), object()  # stand for a gate and a server of the cell's own
QUERY = b"\0\7\1\0\0\1\0\0\0\0\0\0\4test\7invalid\0\0\1\0\1"


class EndError(Exception):
    """The conversation is over for the client."""


# --- the client ------------------------------------------------------------------------------------------------------


SILENT = (do.Hold, do.Partition, do.Vanish)


def last_of(does):
    """The last step, within another or by itself."""
    step = does[-1] if isinstance(does, tuple) else does
    return last_of(step.steps) if isinstance(step, do.Planned) else step


class Caller:
    """A client by hand: it polls, and gives up once the fault has struck and nothing more can follow."""

    def __init__(self, scene, fault, gate, protocols=()):
        self.scene, self.fault, self.gate, self.protocols = scene, fault, gate, protocols
        self.heard = b""
        self.end = ""
        self.is_done = False  # all moves were made
        self.was_held = False  # by the gate
        self.repeated = 0  # segments that TCP sent again
        self.elapsed = 0.0
        self._tls = None
        self._rest = b""

    def play(self, moves):
        """Make these moves until the end, whatever that is, and hear what is said then."""
        began = time.monotonic()
        with contextlib.closing(self.scene.new_socket()) as self._sock:
            try:
                self._connect()
                for move in moves:
                    move(self)
                self.is_done = True
                while self._expects_more():
                    self.hear()
            except EndError as end:
                self.end = str(end)
            except OSError as error:
                self.end = type(error).__name__
            self.repeated = self.retransmitted()
        self.elapsed = time.monotonic() - began

    def _expects_more(self):
        brk, script = self.fault.break_, self.fault.script
        if brk is not None:
            return not self.scene.is_struck(self.fault)
        return script is not None and not any(isinstance(step, do.Repeat) for step in script.steps)

    def _connect(self):
        self._sock.settimeout(0.05 if isinstance(self.fault.door, do.Vanish) else PATIENCE_SECONDS)
        try:
            self._sock.connect(self.scene.address())
        except BlockingIOError:  # of a Unix socket whose queue is full
            raise EndError("silence") from None
        self._sock.settimeout(POLL_SECONDS)
        if self._sock.family != socket.AF_UNIX:
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.scene.is_tls:
            self.secure()

    def retransmitted(self):
        """How many segments TCP has sent again (`tcpi_total_retrans`)."""
        if self._sock.family == socket.AF_UNIX:
            return 0
        return struct.unpack_from("I", self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 100)[0]

    def secure(self):
        """Speak TLS from here on."""
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = context_of(self.scene.server.ca_file, self.protocols)
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=self.scene.tls_name)
        self._drive(self._tls.do_handshake)

    def stop_tls(self):
        """Go on in plain text."""
        self._drive(self._tls.unwrap)
        self._tls, self._rest = None, self._in.read()

    def _drive(self, act, *args):
        while True:
            try:
                done = act(*args)
            except ssl.SSLWantReadError:
                done = self
            if data := self._out.read():
                self._sock.sendall(data)
            if done is not self:
                return done
            if data := self._receive():
                self._in.write(data)
            else:
                self._in.write_eof()

    def _receive(self):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            with contextlib.suppress(TimeoutError):
                return self._sock.recv(65_536)
            if self.is_done and self.fault.break_ is not None and self.scene.is_struck(self.fault):
                raise EndError("struck")
            self._open_gate()
            if self.scene.is_struck(self.fault) and self._is_last():
                raise EndError("silence")
            if time.monotonic() > deadline:
                raise EndError("patience")

    def poll(self, is_so):
        """Return when something is so, or soon."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_so() and time.monotonic() < deadline:
            pass

    def _open_gate(self):
        brk = self.fault.break_
        is_held = brk is not None and brk.trigger.until is not None and self.scene.server.attempts
        if not self.gate.is_open and (brk is None or is_held or self.scene.is_struck(self.fault)):
            self.was_held = True
            self.gate.open()

    def _is_last(self):
        """Whether nothing more is to be heard after the strike, and no end."""
        if self.fault.break_ is not None:
            return isinstance(last_of(self.fault.break_.does), SILENT) and self.fault.break_.is_final
        if any(isinstance(condition, MUTE) for condition in self.fault.conditions):
            return True
        if self.fault.script is not None:
            steps = self.fault.script.steps
            waits = any(isinstance(step, do.ReceiveRequest) and not step.continues for step in do.every(steps))
            return waits or (isinstance(last_of(steps), SILENT) and do.is_final(steps[-1]))
        return not self.fault.conditions

    def say(self, data, piece_bytes=1 << 20):
        """Say this, in pieces; with a body, if the break counts its bytes."""
        brk = self.fault.break_
        if data == GET and brk is not None and brk.trigger.after_body_bytes is not None:
            data = WITH_BODY
        for begin in range(0, len(data), piece_bytes):
            piece = data[begin : begin + piece_bytes]
            if self._tls is None:
                self._sock.sendall(piece)
            else:
                self._drive(self._tls.write, piece)

    def hear(self):
        """Some bytes of the server; its end is an end."""
        data, self._rest = self._rest, b""
        if data:
            return data
        data = self._receive() if self._tls is None else self._drive(self._tls.read, 65_536)
        self.heard += data
        if not data:
            raise EndError("FIN")
        return data

    def hear_bytes(self, count):
        """So many bytes."""
        got = b""
        while len(got) < count:
            got += self.hear()
        self._rest = got[count:]

    def hear_response(self):
        """A response, as far as its length or its last chunk says."""
        got = b""
        while True:
            head, blank, body = got.partition(b"\r\n\r\n")
            if b"Transfer-Encoding: chunked" in head and body.endswith(b"\r\n0\r\n\r\n"):
                return
            length = re.search(rb"(?i)content-length: (\d+)", got)
            if blank and length and len(body) >= int(length[1]):
                self._rest = body[int(length[1]) :]
                return
            got += self.hear()


@cache
def context_of(ca_file, protocols):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca_file)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def asks(caller, data=GET, piece_bytes=1 << 20):
    caller.say(data, piece_bytes)
    caller.hear_response()


def starts_tls(caller):
    """Speak TLS once the server does: what came ahead of that would be thrown away."""
    caller.poll(lambda: any(attempt.point == "handshake" for attempt in caller.scene.server.attempts))
    caller.secure()


def repeats(caller):
    """Say so much in small pieces that some of it is lost."""
    for _ in range(50):
        if not caller.retransmitted():
            asks(caller, piece_bytes=3)


def ends(caller):
    """Say a part of a request and that nothing more comes, and hear the end of the server."""
    caller.say(GET[:20])
    caller._sock.shutdown(socket.SHUT_WR)
    while True:
        caller.hear()


# What clients do: one of these fits.
POST = GET.replace(b"GET", b"POST")[:-2] + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"
WITH_BODY = GET[:-2] + b"Content-Length: 4\r\n\r\nbody"
TWICE = (asks, asks)
HEAD = (lambda caller: caller.say(GET.replace(b"GET", b"HEAD")), Caller.hear)
EXPECTING = (lambda caller: caller.say(POST), Caller.hear)
REPEATING = (repeats,)
ENDING = (ends,)


def ASKED(caller):  # noqa: N802 - as the other moves
    """Wait to be asked for a body."""
    caller.say(POST)


MOVES: dict[type, Callable[[Any], Callable[[Caller], object]]] = {
    do.Send: lambda step: partial(Caller.hear_bytes, count=len(step.data)) if not step.below_tls else Caller.hear,
    do.Inject: lambda step: partial(Caller.hear_bytes, count=len(step.data)),
    do.Receive: lambda step: partial(Caller.say, data=b"x" * step.count_bytes),
    do.ReceiveUntil: lambda step: partial(Caller.say, data=step.marker),
    do.ReceivePrefixed: lambda step: partial(Caller.say, data=(3).to_bytes(step.length_bytes, "big") + b"abc"),
    do.ReceiveRequest: lambda step: partial(Caller.say, data=GET) if step.continues else ASKED,
    do.Respond: lambda _: Caller.hear_response,
    do.StartTls: lambda _: starts_tls,
    frames.Accept: lambda _: partial(asks_for_websocket),
    frames.SendText: lambda step: partial(Caller.hear_bytes, count=len(step.text) + 2),
    frames.SendBytes: lambda step: partial(Caller.hear_bytes, count=len(step.data) + 2),
    frames.SendPing: lambda step: partial(Caller.hear_bytes, count=len(step.data) + 2),
    frames.CutFrame: lambda step: partial(Caller.hear_bytes, count=step.after_bytes),
    frames.Fragment: lambda step: partial(says_frame, step.data),
    frames.BadFrame: lambda step: partial(says_frame, step.data),
    frames.BadMask: lambda step: partial(says_frame, step.data),
    frames.CloseFrame: lambda _: partial(Caller.say, data=masked(frames.CLOSE, b"\3\xe8")),
    frames.ReceiveText: lambda _: partial(Caller.say, data=masked(frames.TEXT, b"test")),
    frames.ReceiveBytes: lambda _: partial(Caller.say, data=masked(frames.BINARY, b"test")),
    frames.ReceiveClose: lambda _: partial(Caller.say, data=masked(frames.CLOSE, b"\3\xe8")),
    frames.IgnorePings: lambda _: partial(Caller.say, data=masked(frames.PING, b"")),
    frames.EchoMessages: lambda _: echoes,
    do.StopTls: lambda _: Caller.stop_tls,
}


WEBSOCKET = GET[:-2] + (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: test\r\n\r\n"
)


# The steps that end a WebSocket, or whose move does.
CLOSING = (do.Planned, frames.Drop, frames.OwnBytes, frames.EchoMessages, frames.ReceiveClose, frames.CloseFrame)


def masked(opcode, payload):
    """A frame of a client."""
    return frames.frame(frames.FIN | opcode, payload, mask=b"\1\2\3\4")


def asks_for_websocket(caller):
    """Ask for a WebSocket, and hear the whole response."""
    caller.say(WEBSOCKET)
    got = b""
    while b"\r\n\r\n" not in got:
        got += caller.hear()
    caller._rest = got.partition(b"\r\n\r\n")[2]


def says_frame(data, caller):
    """Hear a frame, and close the WebSocket because of it."""
    caller.hear_bytes(len(data))
    caller.say(masked(frames.CLOSE, b"\3\xea"))


def echoes(caller):
    """Get a message back, and close the WebSocket."""
    caller.say(masked(frames.TEXT, b"test OK"))
    caller.hear_bytes(len(b"test OK") + 2)
    caller.say(masked(frames.CLOSE, b"\3\xe8"))


def mirrored(fault):
    """What the client of a script does; where a break is still to come, it doesn't wait to be asked for a body."""
    moves = [MOVES[type(step)](step) for step in as_played(fault.script.steps) if type(step) in MOVES]
    if fault.script.talk == "websocket" and not isinstance(fault.script.steps[-1], CLOSING):
        moves.append(partial(Caller.say, data=masked(frames.CLOSE, b"\3\xe8")))
    if fault.break_ is not None:
        moves = [partial(Caller.say, data=POST + b"hello") if move == ASKED else move for move in moves]
    return (tuple(moves), ())


# --- kinds -----------------------------------------------------------------------------------------------------------


@dataclass
class Scene:
    """A server of some kind while it runs, and how a client reaches it."""

    server: Any
    upstream: Any = None
    is_tls: bool = False
    tls_name: str = "localhost"
    lead: Callable[[Caller], None] = lambda _caller: None
    ways: tuple[Any, ...] = ()
    named: tuple[str, int] | None = None

    def new_socket(self):
        return socket.socket(socket.AF_UNIX if getattr(self.server, "path", "") else socket.AF_INET)

    def address(self):
        return getattr(self.server, "path", "") or self.named or self.server.address

    def is_struck(self, fault):
        """Whether a fault has struck; where it has a break, by that one."""
        at = fault.break_.at if fault.break_ else None
        return any(a.struck and at in (None, a.struck.point) for a in self.server.attempts)

    def transcript(self, heard):
        """All that was heard, by whichever side, with the ports left out."""
        sides = [side for side in (self.server, self.upstream) if side is not None]
        text = repr((bytes(heard), [attempt.request for side in sides for attempt in side.attempts]))
        ports = [str(side.port) for side in sides if hasattr(side, "port")]
        return re.sub("|".join(ports), "PORT", text) if ports else text


@contextlib.contextmanager
def served(plan, **options):
    with fl.serve(plan, answer=ANSWER, strict=False, **options) as server:
        yield Scene(server, is_tls=server.url.startswith("https"))


@contextlib.contextmanager
def relayed(plan, **options):
    with fl.serve(ANSWER) as upstream, fl.relay(upstream, plan, strict=False, **options) as server:
        yield Scene(server, upstream, server.url.startswith("https"))


@contextlib.contextmanager
def http_proxied(plan):
    with fl.serve(ANSWER) as upstream, fl.http_proxy(plan, strict=False) as server:

        def lead(caller):
            caller.say(f"CONNECT {upstream.hostport} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
            got = b""
            while b"\r\n\r\n" not in got:
                got += caller.hear()

        def fetches(data, caller):
            caller.say(data.replace(b" /", b" " + upstream.url.encode() + b"/", 1))
            caller.hear()

        ways = [((partial(fetches, data),), ()) for data in (GET, HEAD_BYTES, POST)]
        yield Scene(server, upstream, server.url.startswith("https"), lead=lead, ways=tuple(ways))


@contextlib.contextmanager
def socks_proxied(plan):
    with fl.serve(ANSWER) as upstream, fl.socks_proxy(plan, strict=False) as server:

        def lead(caller):
            caller.say(b"\x05\x01\x00")
            caller.hear_bytes(2)
            caller.say(b"\x05\x01\x00\x01\x7f\0\0\1" + struct.pack(">H", upstream.port))
            caller.hear_bytes(10)

        yield Scene(server, upstream, lead=lead)


@contextlib.contextmanager
def intercepted(plan, scheme):
    with fl.intercept(f"{scheme}://{NAME}", plan, answer=ANSWER, strict=False) as server:
        named = (NAME, 443 if scheme == "https" else 80) if server.host == server.address[0] else None
        yield Scene(server, is_tls=scheme == "https", tls_name=NAME, named=named)


@contextlib.contextmanager
def resolved(plan):
    with fl.resolve(NAME, fl.resolves_to("127.0.0.1")), fl.resolve(NAME, plan, strict=False) as server:
        yield Scene(server)


@contextlib.contextmanager
def plain(start, plan):
    with start(plan, strict=False) as server:
        yield Scene(server)


HEAD_BYTES = GET.replace(b"GET", b"HEAD")
STREAMS = {
    "server": served,
    "server with TLS": partial(served, tls=True),
    "Unix server": partial(served, unix=True),
    "isolated server": partial(served, isolated=True),
    "intercepted http": partial(intercepted, scheme="http"),
    "intercepted https": partial(intercepted, scheme="https"),
    "relay through": relayed,
    "relay that terminates TLS": partial(relayed, tls="terminate"),
    "Unix relay": partial(relayed, unix=True),
    "HTTP proxy": http_proxied,
    "SOCKS proxy": socks_proxied,
}
KINDS = {
    **STREAMS,
    "UDP server": partial(plain, fl.udp),
    "resolver": resolved,
    "DNS server": partial(plain, fl.dns_server),
}

# --- faults ----------------------------------------------------------------------------------------------------------

SPANS = {
    "reset": [{}, {"fin_first": True}, {"until": GATE}],
    "close": [{}, {"close_notify": False}, {"until": GATE}],
    "half_close": [{}, {"until": GATE}],
    "stall": [{}, {"for_seconds": 0.01}, {"until": GATE}],
    "partition": [{}, {"for_seconds": 0.01}, {"until": GATE}],
    "inject": [{"data": b"\r\n"}, {"data": b"\r\n", "until": GATE}],
}
POINTS = ("accept", "handshake", "request", "response", "tunnel", "idle")
TRIGGERS = (
    {},
    {"after_bytes": 10},
    {"after_seconds": 0.01},
    {"on": b"test"},
    {"on": re.compile(rb"OK|te")},
    {"after_messages": 0},
    {"after_messages": 1},
    {"after_messages": 0, "after_bytes": 2},
    {"after_body_bytes": 0},
    {"after_body_bytes": 2},
    {"after_requests": 1},
    {"after_bytes": 10, "after_seconds": 0.01},
    {"on": b"test", "after_seconds": 0.01},
    {"after_messages": 0, "after_seconds": 0.01},
)
CONDITIONS = [
    partial(fl.latency, 0.01),
    partial(fl.throttle, 20_000),
    partial(fl.drip, 100, every_seconds=0.005),
    partial(fl.slicer, 100, every_seconds=0.005),
    partial(fl.slow_close, 0.01),
    partial(fl.one_way),
    partial(fl.corrupt, at_byte=200),
    partial(fl.drop_bytes, at_byte=200),
    partial(fl.duplicate, at_byte=200),
]
MUTE = (cond.Swallowing, toxics.Held, toxics.PacketLoss)  # nothing is heard any more
TOXICS = [
    partial(toxics.LimitData, 10),
    partial(toxics.ResetPeer, 0.01),
    partial(toxics.Timeout, 0.05),
    toxics.Held,
    partial(toxics.PacketLoss, 1.0),
]
COMPOSED = [
    lambda: fl.reordered() & fl.latency(0.01),
    lambda: fl.duplicated() & fl.corrupt(at_byte=200),
    lambda: fl.reset() & fl.latency(0.01),
    lambda: fl.reset(at="idle", after_seconds=0.01) & fl.latency(0.01, direction="request"),
    lambda: fl.reset(at="idle", after_seconds=0.01, after_requests=1),
    lambda: fl.nxdomain() & fl.slow_resolve(0.02),
    lambda: fl.slow_resolve(0.02) & fl.resolves_to("127.0.0.9"),
    lambda: fl.slow_resolve(0.02) & fl.reset(),
    lambda: fl.socks_refusal("general_failure") & fl.latency(0.01),
    lambda: fl.bad_cert("wrong_host") & fl.latency(0.01, direction="handshake"),
    lambda: fl.status(503) & fl.latency(0.01),
    lambda: fl.malformed("early_response") & fl.close(at="idle"),
    lambda: fl.malformed("continue_never") & fl.close(at="idle"),
]


yes = bool  # of a request it is true, and a child process has it too


CHOICES = [
    lambda: fl.when(yes, fl.reset()),
    lambda: fl.when(yes, fl.status(503)),
    lambda: fl.when(yes, fl.close(at="idle")),
    lambda: fl.when(yes, fl.reset(at="tunnel")),
    lambda: fl.when(yes, fl.nxdomain()),
    lambda: fl.when(yes, fl.duplicated()),
    lambda: fl.by_path({"/*": fl.reset(at="request")}),
    fl.through,
]
LINE = (fl.receive_until(b"MAIL FROM test\r\n"), fl.send(b"250 test OK\r\n"))
SCRIPTS = (
    LINE,
    (fl.repeat(*LINE),),
    LINE + LINE,
    (fl.send(b"220 test OK\r\n"),),
    (fl.receive(20),),
    (fl.receive_prefixed(2),),
    (fl.send(b"220 test OK\r\n"), fl.starttls(), *LINE),
    (fl.repeat(fl.receive_request(), fl.respond(ANSWER)),),
    (fl.receive_request(), fl.respond(ANSWER)),
    (fl.repeat(fl.receive_request(), fl.respond(fl.raw(b"220 test OK\r\n"))),),
)
WEBSOCKETS = (
    fl.accept(key="wrong"),
    fl.accept(subprotocol=""),
    fl.bad_frame("masked"),
    fl.bad_mask(),
    fl.close_frame(1011),
    fl.cut_frame(3),
    fl.drop(),
    fl.fragment("test"),
    fl.ignore_pings(),
    fl.receive_bytes(),
    fl.receive_close(),
    fl.receive_text("test"),
    fl.send_bytes(b"test"),
    fl.send_ping(),
    fl.send_text("test"),
    fl.reset(),
)
LONG_LINE = (fl.receive_until(FILLER.encode() + b"\n"), fl.send(FILLER.encode() + b"\n"))
LONG_LINES = (
    (fl.repeat(*LONG_LINE),),
    (fl.receive_until(b"\n"), fl.send(b"go\r\n"), fl.starttls(), *LONG_LINE),
)
STEPS = (
    fl.send(b"x"),
    fl.send(b"not a record of TLS", below_tls=True),
    fl.receive(3),
    fl.receive_until(b"\n"),
    fl.receive_prefixed(),
    fl.reply({b"x": (fl.send(b"x"), fl.close())}, reading=fl.receive(1)),
    fl.receive_request(),
    fl.receive_request(head_only=True),
    fl.receive_request(continues=False),
    fl.respond(),
    fl.respond(ok(b"x")),
    fl.respond(fl.status(503)),
    fl.respond(fl.redirect("downgrade")),
    fl.repeat(*LINE),
    fl.hold(0.01),
    partial(fl.hold, until=GATE),
    fl.hold(),
    fl.starttls(),
    fl.stoptls(),
    fl.refuse(),
    fl.blackhole(),
    fl.unreachable(),
    fl.nxdomain(),
    fl.duplicated(),
    fl.reset(at="idle"),
)


def called(make, gate, server):
    """What is meant, with a gate and a server of the cell's own."""
    if not isinstance(make, partial):
        return make() if callable(make) and not isinstance(make, fl.Fault) else make
    given = {GATE: gate, SERVER: server}
    args = [given.get(arg, arg) if arg in (GATE, SERVER) else arg for arg in make.args]
    return make.func(
        *args, **{k: gate if v is GATE else server if v is SERVER else v for k, v in make.keywords.items()}
    )


def grid(verb, point):
    """A verb at a point, by its variants and triggers."""
    for i, span in enumerate(SPANS[verb]):
        for trigger in TRIGGERS if i == 0 else TRIGGERS[:3]:
            yield partial(getattr(fl, verb), at=point, **span, **trigger)


@dataclass(frozen=True)
class InScript:
    """A step or a mode in a script, behind these and before those."""

    step: Any
    before: tuple[Any, ...] = ()
    after: tuple[Any, ...] = ()

    def __call__(self, gate, server):
        return fl.script(*self.before, called(self.step, gate, server), *self.after)


@dataclass(frozen=True)
class OverScript:
    """A script with a break."""

    steps: tuple[Any, ...]
    brk: Any

    def __call__(self, gate, server):
        return fl.script(*self.steps) & called(self.brk, gate, server)


def in_scripts(step):
    """A step in scripts, as far as they can be."""
    yield InScript(step)
    yield InScript(step, (fl.send(b"220 test OK\r\n"),))
    yield InScript(step, (fl.receive_request(),), (fl.send(b"done\r\n"),))
    yield InScript(step, (fl.starttls(),), (fl.send(b"done\r\n"),))


def makers():
    """All faults, each by a function that makes it."""
    for verb in SPANS:
        for point in POINTS:
            yield from grid(verb, point)
    yield from by_direction()
    yield from (partial(make, for_seconds=1) for make in (fl.refuse, fl.blackhole))
    yield from (partial(toxic, make, direction) for make in TOXICS for direction in ("request", "response"))
    yield from (*COMPOSED, *CHOICES)
    steps = [*STEPS, *(partial(getattr(fl, verb), **span) for verb, spans in SPANS.items() for span in spans)]
    yield from (made for step in steps for made in in_scripts(step))
    for steps in SCRIPTS:
        yield from (OverScript(steps, brk) for point in POINTS for brk in grid("reset", point))
    yield from (partial(fl.websocket, step) for step in WEBSOCKETS)
    for steps in LONG_LINES:
        yield from (OverScript(steps, part) for part in parts_over_a_script())
    for case in cases():
        yield partial(case.function, **{k: v if k != "server" else SERVER for k, v in case.arguments})


def toxic(make, direction):
    """The fault of a toxic, which no mode makes."""
    condition = make(direction=direction)
    return fl.Fault(conditions=(condition,), said=(Said(type(condition).__name__, (("direction", direction),)),))


def parts_over_a_script():
    """What can be put over a script that goes on until its lines are said."""
    yield from (partial(getattr(fl, verb), at=at, **span) for verb in SPANS for at in POINTS for span in SPANS[verb])
    yield from (partial(fl.bad_tls, kind) for kind in ("plain_http", "plaintext_midway", "renegotiate"))
    yield from (partial(make, for_seconds=1) for make in (fl.refuse, fl.blackhole))
    yield from filter(is_safe, by_direction())


def is_safe(make):
    """Whether a script goes on under a condition, and shows it: the words that it waits for arrive."""
    if make.func is fl.slow_close:  # a client that repeats its lines has no end
        return False
    return "at_byte" not in make.keywords or make.keywords["direction"] == "handshake"


def by_direction():
    """Each condition in all of its directions."""
    for make in CONDITIONS:
        yield from (partial(make, direction=whose) for whose in ("request", "response", "both"))
        yield partial(make, direction="handshake", **({"at_byte": 0} if "at_byte" in make.keywords else {}))


def fault_of(make, gate, server):
    """The fault, or nothing where the parts can't be put together at all."""
    try:
        return make(gate, server) if isinstance(make, (InScript, OverScript)) else called(make, gate, server)
    except ParameterError:
        return None


# --- what happened ---------------------------------------------------------------------------------------------------


@cache
def usual(kind, script=None):
    """The transcript of a conversation, or of a script, in which nothing happens."""
    fault = fl.Fault(answer=script) if script else ok()
    with KINDS[kind](fault) as scene:
        return next(OUTCOMES[kind](scene, fault, Gate())).said


@dataclass
class Outcome:
    """What a client met."""

    said: str
    seconds: float
    caller: Caller | None = None
    lost: int = 0


RESETS = {"ConnectionResetError", "BrokenPipeError"}
CLOSED = {"FIN", "SSLZeroReturnError", "SSLEOFError"}


def missing(kind, scene, fault, outcome):
    """Which parts of a fault did not happen."""
    strikes = [attempt.struck for attempt in scene.server.attempts if attempt.struck]
    if fault.break_ is not None:
        yield from missing_of_break(kind, scene, fault.break_, outcome)
    elif has_more_than_conditions(fault) and not strikes and not met_terms(fault, scene):
        yield "strike"
    elif fault.script is not None and not fault.conditions:
        yield from missing_of_script(kind, fault.script, outcome)
    if fault.certificate is not None and "handshake" not in [strike.point for strike in strikes]:
        yield "certificate"
    is_usual = isinstance(fault.answer, Answer) and fault.answer.echoes and kind == "UDP server"
    if isinstance(fault.answer, (Answer, Found, SocksRefusal)) and not is_usual and outcome.said == usual(kind):
        yield "answer"
    if fault.choice is not None and not strikes:
        yield "choice"
    for condition in fault.conditions:
        if not happened(condition, usual(kind, fault.script), outcome) and not (fault.break_ is not None and strikes):
            yield repr(condition)


def has_more_than_conditions(fault):
    """Whether a part that is no condition is meant to go wrong."""
    return any(promise.key.kind != "condition" for promise in promises_of(fault))


def met_terms(fault, scene):
    """Whether the client could meet the terms, and has met them."""
    terms = fault.terms
    return terms is not None and any(a.tls and a.tls.version == f"TLSv{terms.version}" for a in scene.server.attempts)


def missing_of_break(kind, scene, brk, outcome):
    """What of a break did not happen."""
    attempts = scene.server.attempts
    mine = [(a, a.struck) for a in attempts if a.struck and a.struck.point == brk.at]
    if kind == "UDP server" and isinstance(brk.does, do.Refuse):
        if outcome.said != "refused":
            yield "refusal"
        return
    if not mine:
        yield f"strike at {brk.at}"
        return
    attempt, strike = mine[0]
    passed = strike.after_bytes - brk.trigger.after_bytes
    if brk.trigger.after_bytes and (passed < 0 if brk.lasts else passed):
        yield f"after_bytes: {strike}"
    begun = next(a.started_seconds for a in attempts if a.connection == attempt.connection)  # it may last for several
    if strike.at_seconds - begun < brk.trigger.after_seconds:
        yield f"after_seconds: {strike}"
    is_door = brk.at == "connect"
    if not (brk.is_final or is_door or brk.at == "idle" or outcome.caller is None or outcome.caller.is_done):
        yield f"end: {outcome.caller.end}"


def missing_of_script(kind, script, outcome):
    """What of a script without a break did not happen."""
    caller = outcome.caller
    steps = [step for step in do.every(script.steps) if not isinstance(step, do.Planned)]
    if any(isinstance(step, do.ReceiveRequest) and not step.continues for step in steps):
        return
    ends = ends_of(kind, steps)
    if caller.end not in ends:
        yield f"end: {caller.end}, expected {ends}"
    if not caller.is_done and caller.end not in {*RESETS, "SSLError"}:
        yield f"moves: {caller.end}"
    waits = [step.for_seconds or 0 for step in steps if isinstance(step, (do.Hold, do.Partition))]
    if outcome.seconds < sum(waits):
        yield "wait"
    if any(isinstance(step, do.Hold) and step.until is not None for step in steps) and not caller.was_held:
        yield "gate"


def ends_of(kind, steps):
    """How the client of a script can see its end."""
    if any(isinstance(step, do.Send) and step.below_tls for step in steps):
        return {"SSLError"}
    if any(isinstance(step, do.Repeat) for step in steps):
        return {""}
    match steps[-1]:
        case do.Reset(fin_first=fin_first):
            return RESETS | CLOSED if fin_first or do.HalfClose() in steps or "Unix" in kind else RESETS
        case do.Hold(for_seconds=None, until=None) | do.Partition(for_seconds=None):
            return {"silence"}
        case _:
            return CLOSED


def happened(condition, before, outcome):
    """Whether bytes travelled as a condition says, and not as usual."""
    match condition:
        case cond.Latency():
            return outcome.seconds >= condition.delay_seconds
        case cond.SlowClose():
            return outcome.seconds >= condition.delay_seconds
        case cond.Drip() | cond.Slicer() | cond.Trickle():
            return outcome.seconds >= 2 * condition.every_seconds
        case cond.Throttle():
            return outcome.seconds >= 0.01
        case cond.Loss():
            return outcome.lost > 0
        case _:
            return outcome.said != before


def of_streams(scene, fault, gate):
    """What happens to clients, one after the other, until one fits."""
    ways = [(TWICE, ()), (TWICE, ("h2",)), (HEAD, ()), (EXPECTING, ()), (ENDING, ())]
    if any(isinstance(condition, cond.Loss) for condition in fault.conditions):
        ways = [(REPEATING, ())]
    ways = [((scene.lead, *moves), protocols) for moves, protocols in ways] + list(scene.ways)
    if fault.script is not None:
        ways = [mirrored(fault), (EXPECTING, ())]
    for moves, protocols in ways:
        caller = Caller(scene, fault, gate, protocols)
        caller.play(moves)
        yield Outcome(scene.transcript(caller.heard), caller.elapsed, caller, caller.repeated)


def of_datagrams(scene, _fault, _gate):
    """What happens to two datagrams of each of some clients."""
    for _ in range(100):
        began = time.monotonic()
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.settimeout(POLL_SECONDS)
            client.connect(scene.server.address)
            before = len(scene.server.attempts)
            try:
                for number in b"12":
                    client.send(bytes([number]) + FILLER.encode())
                heard = answers(client, scene.server, before + 2)
            except ConnectionRefusedError:
                heard = "refused"
        lost = sum(attempt.ended_how == "silence" for attempt in scene.server.attempts)
        yield Outcome(str(heard), time.monotonic() - began, lost=lost)


def answers(client, server, count):
    """All answers, once so many attempts are over."""
    heard = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        is_over = sum(attempt.ended_how is not None for attempt in server.attempts) >= count
        try:
            heard.append(client.recv(65_536))
        except TimeoutError:
            if is_over:
                break
    return heard


def of_lookups(_scene, _fault, _gate):
    """What a lookup finds."""
    began = time.monotonic()
    try:
        heard = socket.getaddrinfo(NAME, 80)
    except socket.gaierror as error:
        heard = error
    yield Outcome(repr(heard), time.monotonic() - began)


def of_queries(scene, _fault, _gate):
    """What a query is answered."""
    began = time.monotonic()
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(POLL_SECONDS)
        client.connect(scene.server.address)
        client.send(QUERY)
        heard = answers(client, scene.server, 1)
    yield Outcome(repr(heard), time.monotonic() - began)


OUTCOMES = dict.fromkeys(STREAMS, of_streams) | {
    "UDP server": of_datagrams,
    "resolver": of_lookups,
    "DNS server": of_queries,
}


# What else is refused, though the kind plays it otherwise: a server can tell what will happen by more than its kind.
ALSO_REFUSED = r"expected blackhole\(\) without|a datagram has no room for more"


def wrong(kind, make, server):
    """What is wrong with a fault at a kind: it does not happen, or is refused by mistake; nothing if all is well."""
    gate = Gate()
    fault = fault_of(make, gate, server)
    if fault is None:
        return None
    usual(kind, fault.script if fault.conditions and kind in STREAMS and ROWS[kind].plays(fault) else None)
    plan = fl.sequence(fault, ok()) if isinstance(fault.fate, do.Behind) else fault
    try:
        with KINDS[kind](plan) as scene:
            for outcome in OUTCOMES[kind](scene, fault, gate):
                left = list(missing(kind, scene, fault, outcome))
                if not left or (outcome.caller is not None and outcome.caller.end == "patience"):
                    break
            return f"{fault!r}: {', '.join(left)}; {scene.server.attempts[-1:]}" if left else None
    except UnsupportedError:
        return None
    except ParameterError as error:
        if ROWS[kind].plays(fault) and not re.search(ALSO_REFUSED, str(error)):
            return f"{fault!r}: {error}"
        return None if FORM.fullmatch(str(error)) else f"{fault!r}: another form of message: {error}"


ROWS = {
    "server": kinds.SERVER,
    "server with TLS": kinds.settled(kinds.SERVER, ok(), Answer(), tls=True),
    "Unix server": kinds.UNIX,
    "isolated server": kinds.SERVER,
    "intercepted http": kinds.INTERCEPTED_HTTP,
    "intercepted https": kinds.INTERCEPTED_HTTPS,
    "relay through": kinds.RELAY,
    "relay that terminates TLS": kinds.TERMINATING_RELAY,
    "Unix relay": kinds.on_unix(kinds.RELAY),
    "HTTP proxy": kinds.HTTP_PROXY,
    "SOCKS proxy": kinds.SOCKS_PROXY,
    "UDP server": kinds.UDP,
    "resolver": kinds.RESOLVER,
    "DNS server": kinds.DNS,
}
FORM = re.compile(r".+: expected .+; .+\.", re.DOTALL)
# These play what a server plays, by the same engine in another place: its scripts are tested there alone.
ELSEWHERE = ("isolated server", "intercepted http", "intercepted https")
ON_UNIX = ("Unix server", "Unix relay")  # by another transport
REFUSALS = Path(__file__).parent / "refusals.txt"
OF_THE_PROCESS = ("intercepted http", "intercepted https", "resolver")  # one at a time
PARTS = ["a break", "conditions", "a break over a script", "a script", "an answer"]


@pytest.fixture(scope="module")
def elsewhere():
    with fl.serve(ok(), host="127.0.0.9") as server:
        yield server


@cache
def made():
    """Every fault that can be put together, with the function that makes it."""
    with fl.serve(ok(), host="127.0.0.9") as server:
        faults = [(fault_of(make, Gate(), server), make) for make in makers()]
    return [(fault, make) for fault, make in faults if fault is not None]


def all_faults():
    """The same without the functions."""
    return [fault for fault, _ in made()]


def shows(fault):
    """What of a row is proven when a fault happens: kinds of entry with their names."""
    scripted = "script" if fault.script is not None else "own"
    if fault.certificate is not None or fault.terms is not None:
        yield "terms", type(fault.certificate), type(fault.terms)
    if fault.choice is not None:
        yield "choice", True
    if fault.break_ is not None:
        yield from shown_by_break(scripted, fault.break_)
        return  # before the rest is over
    if fault.answer is not None:
        yield "answer", type(fault.answer)
    for step in do.every(fault.script.steps) if fault.script else ():
        yield "step", type(step)
    for condition in fault.conditions:
        for kind in type(condition).__mro__:
            yield "condition", kind, condition.direction
            yield f"{scripted} condition", kind, condition.direction


def shown_by_break(scripted, brk):
    """What of a row is proven when a break strikes."""
    yield scripted, brk.at
    for step in brk.does if isinstance(brk.does, tuple) else (brk.does,):
        yield scripted, brk.at, type(step)
    yield from ((scripted, brk.at, f.name) for f in fields(brk.trigger) if getattr(brk.trigger, f.name) != f.default)


def part_of(fault):
    """Which part of a sample a fault belongs to."""
    if fault.break_ is not None:
        return "a break" if fault.script is None else "a break over a script"
    return "conditions" if fault.conditions else "a script" if fault.script is not None else "an answer"


@cache
def samples():
    """For each kind, faults that show everything it plays; other kinds have others as far as possible."""
    dealt, found = set(), {}
    for kind in KINDS:
        played = {i: set(shown(kind, fault)) for i, (fault, _) in enumerate(made()) if is_played(kind, fault)}
        mine = []
        while played:  # what each of them would show that is not shown yet
            best = max(played, key=lambda i: (len(played[i]), i not in dealt))
            mine.append(best)
            new = played[best]
            played = {i: left for i, all_of_it in played.items() if (left := all_of_it - new)}
        dealt.update(mine)
        found[kind] = [made()[i] for i in mine]
    return found


def shown(kind, fault):
    """What is proven by a fault at a kind; where the engine is that of another kind, not every pair of its parts.

    That a condition holds over a script as it does over an answer is proven once without TLS and once in a tunnel.
    """
    for what, *parts in shows(fault):
        if what.endswith(" condition") and kind not in ("server", "HTTP proxy"):
            continue
        yield from ((what, part) for part in parts) if kind in (*ELSEWHERE, *ON_UNIX) else [(what, *parts)]


def is_played(kind, fault):
    """Whether a kind is to play a fault here."""
    return ROWS[kind].plays(fault) and not (kind in ELSEWHERE and fault.script is not None)


@pytest.mark.unmeasured
@pytest.mark.parametrize("part", [*(pytest.param(part, marks=pytest.mark.slow) for part in PARTS[:2]), *PARTS[2:]])
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_kind_accepts_happens(kind, part, elsewhere):
    makes = [make for fault, make in samples()[kind] if part_of(fault) == part]
    with ThreadPoolExecutor(1 if kind in OF_THE_PROCESS else 8) as pool:  # most of it is waiting
        found = list(pool.map(lambda make: wrong(kind, make, elsewhere), makes))

    assert [what for what in found if what] == []


@cache
def by_length():
    """All faults, the short ones first."""
    return sorted(all_faults(), key=lambda fault: (len(repr(fault)), repr(fault)))


def refusals(row):
    """What a kind refuses: the shortest fault for each reason, with the message."""
    found = {}
    for fault in by_length():
        for reason in list(capabilities.lacks(fault, row))[:1]:
            if reason not in found:
                with pytest.raises(ParameterError) as caught:
                    kinds.check(fault, row)
                found[reason] = fault, str(caught.value)
    return list(found.values())


@pytest.mark.slow
def test_what_each_kind_refuses_is_in_the_list_with_its_message():
    """`python tests/test_kinds.py > tests/refusals.txt` makes the list: look through what has changed in it."""
    assert REFUSALS.read_text("utf-8") == "".join(listed_refusals())


def listed_refusals():
    """The lines of that list."""
    for row in kinds.KINDS:
        yield f"{row.written}\n"
        yield from (f"    {message}\n" for _, message in refusals(row))


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_kind_does_not_play_is_refused_at_its_start(kind):
    for fault, message in refusals(ROWS[kind]):
        with pytest.raises(ParameterError) as caught, KINDS[kind](fault):
            pass
        assert str(caught.value) == message


# --- the table -------------------------------------------------------------------------------------------------------


def declared(row):
    """The same of a row."""
    for where, points in (("own", row.points), ("script", row.in_script_points)):
        for at, here in points.items():
            yield from [(where, at), *((where, at, each) for each in here.does | here.triggers)]
    yield from (("answer", kind) for kind in row.answers)
    yield from (("step", kind) for kind in row.in_script)
    yield from (("condition", kind, whose) for kind, sides in row.conditions.items() for whose in sides)
    if row.chooses:
        yield "choice", True


@pytest.mark.parametrize(
    "row", [row for row in kinds.KINDS if row.tls != "always" or not row.in_script], ids=lambda r: r.written
)
def test_everything_that_a_row_names_is_in_a_fault_that_happens(row):
    used = {use for fault in all_faults() if row.plays(fault) for use in shows(fault)}

    assert set(declared(row)) - used == set()


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_a_server_in_another_place_plays_what_a_server_plays(kind):
    is_plain, always = ROWS[kind].tls == "never", ROWS[kind].tls == "always"
    for fault in all_faults():
        fits = not (is_plain and fault.needs_tls) and not (always and fault.starts_tls)
        assert ROWS[kind].plays(fault) is (kinds.SERVER.plays(fault) and fits), fault


@dataclass(frozen=True)
class NewStep:
    """A step that no row names."""


@dataclass(frozen=True)
class NewCondition(cond.Condition):
    """A condition that no row names."""


@dataclass(frozen=True)
class NewAnswer(Answer):
    """An answer that no row names, though it is one."""


@dataclass(frozen=True)
class NewPace(cond.Drip):
    """A pace, which is played wherever paces are."""


NEW = (
    fl.Fault(Break("response", (NewStep(),))),
    fl.Fault(answer=Script((NewStep(),))),
    fl.Fault(answer=Script((do.Repeat((do.Receive(1), NewStep())),))),
    fl.Fault(conditions=(NewCondition(),)),
    fl.Fault(answer=NewAnswer()),
    fl.when(yes, fl.Fault(answer=NewAnswer())),
    fl.Fault(conditions=(cond.Trickle(direction="request"),)),
)


@pytest.mark.parametrize("kind", KINDS)
def test_what_no_row_names_is_refused_by_every_kind(kind):
    for new in NEW:
        with (
            pytest.raises(ParameterError, match="expected a fault that some kind of server can play; "),
            KINDS[kind](new),
        ):
            pass


def test_a_new_pace_is_played_where_paces_are_and_refused_elsewhere():
    for row in kinds.KINDS:
        assert row.plays(fl.Fault(conditions=(NewPace(),))) is row.plays(fl.drip()), row.written


def test_a_talk_is_a_module_with_a_conversation():
    for row in kinds.KINDS:
        if row.talk:
            assert callable(importlib.import_module(f"faultline._engine.talks.{row.talk}").converse)
        assert bool(row.talk) is (row not in (kinds.UDP, kinds.DNS, kinds.RESOLVER)), row.written


def test_the_end_of_an_answer_is_known_to_a_proxy_that_gives_one():
    fault = fl.Fault(Break("response", (do.Close(),), Trigger(at_end=True)))
    assert not kinds.HTTP_PROXY.plays(fault)
    assert kinds.HTTP_PROXY.plays(fault & fl.status(503))
    assert kinds.SERVER.plays(fault)


@pytest.mark.parametrize("row", kinds.KINDS, ids=lambda row: row.written)
def test_a_new_trigger_is_counted_by_no_kind(row, monkeypatch):
    @dataclass(frozen=True)
    class Waiting(Trigger):
        after_thunder: bool = False

    monkeypatch.setattr(capabilities, "Trigger", Waiting)
    at = "connect" if row is kinds.UDP else next(point for point in row.points if point != "connect")
    step = next(iter(row.points[at].does))
    fault = fl.Fault(Break(at, (step.__new__(step),), Waiting(after_thunder=True)))

    assert [key for key, _ in capabilities.lacks(fault, row)] == ["after_thunder"]


@cache
def players():
    """Each fault with the kinds that play it."""
    return [(fault, frozenset(row.written for row in kinds.KINDS if row.plays(fault))) for fault in all_faults()]


@pytest.mark.parametrize("row", kinds.KINDS, ids=lambda row: row.written)
@pytest.mark.slow
def test_a_refusal_names_kinds_that_play_the_fault(row):
    refused = {  # one fault for each reason and each set of kinds, of which the message is made
        (playing, next(key for key, _ in capabilities.lacks(fault, row))): fault
        for fault, playing in players()
        if row.written not in playing and fault.choice is None
    }
    for (playing, _), fault in refused.items():
        with pytest.raises(ParameterError) as caught:
            kinds.check(fault, row)

        instead = str(caught.value).partition(": expected ")[2].partition("; ")[0]
        named = {other.written for other in kinds.KINDS} & {*re.split(r", (?=\w+\()| or ", instead)}
        assert FORM.fullmatch(str(caught.value))
        assert named <= playing, str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_by_connection_takes_connections(kind):
    refusal = pytest.raises(ParameterError, match=r"^per='connection': expected per='attempt'; a .* has no connections")
    for make in (fl.sequence, fl.cycle, partial(fl.sometimes, 0.5)):
        with contextlib.nullcontext() if kind in STREAMS else refusal, KINDS[kind](make(ok(), per="connection")):
            pass


@pytest.mark.parametrize(
    ("answer", "fault"),
    [(fl.raw(b"x"), fl.reset(at="idle")), (ok(headers={"Connection": "close"}), fl.when(yes, fl.close(at="idle")))],
    ids=repr,
)
def test_a_server_whose_answer_ends_the_connection_never_comes_to_idle(answer, fault):
    with pytest.raises(ParameterError, match=r"at='idle'\): expected an answer=… that keeps the connection alive; "):
        fl.serve(fault, answer=answer)
    with fl.serve(fl.reset(at="idle") & ok(b"kept"), answer=answer, strict=False):
        pass


def test_a_resolver_fails_in_the_ways_that_it_says():
    assert {fault.lookup.kind for fault in all_faults() if kinds.RESOLVER.plays(fault) and fault.lookup} == set(
        FAILURES
    )


if __name__ == "__main__":
    sys.stdout.writelines(listed_refusals())
