"""HTTP/2 through a relay: triggers mean the fields, the bodies and the messages of its streams."""

from __future__ import annotations

import contextlib
import importlib
from itertools import pairwise

import httpx
import pytest
from hpack import Encoder
from hypothesis import given
from hypothesis import strategies as st
from support.tables import each_row

from faultline import NotStruckError, by_path, close, ok, relay, reset, sequence, serve, stall, status, through
from faultline._core.breaks import Break, Trigger
from faultline._core.following import Following
from faultline._core.steps import Reset
from faultline._core.tripwire import Tripwire
from faultline._sweep.framed import of_http2

PLAN = by_path({"/pay": ok(b"secret stuff", headers=[("x-a", "b")]), "/*": ok(b"hello")})
BOTH = pytest.mark.parametrize("tls", [False, True])
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, CONTINUATION = 0, 1, 2, 3, 4, 5, 6, 9
END, WHOLE, PADDED, WITH_PRIORITY = 1, 4, 8, 32


def frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


SETTINGS_FIRST = frame(SETTINGS, 0, 0, b"\0\3\0\0\0\x64")


def asked(server):
    """What a client gets that asks three times on one connection; the last request has a body."""
    context, got = server.client_context() if server.url.startswith("https") else True, []
    with httpx.Client(http2=True, http1=False, verify=context, base_url=server.url, trust_env=False) as client:
        for method, path in (("GET", "/a"), ("GET", "/b"), ("POST", "/pay")):
            try:
                got.append(client.request(method, path, content=b"abcd" if method == "POST" else None).text)
            except httpx.TransportError:
                got.append(None)
                break
    return got


def relayed(fault, real, tls):
    return relay(real, fault, **({"tls": "terminate", "alpn": ("h2",)} if tls else {}))


@pytest.mark.slow
@BOTH
@each_row(
    "fault, whole",
    [
        (reset(at="request", on=b":path: /pay"), 2),
        (close(at="response", on=b"x-a: b"), 2),
        (reset(at="response", on=b"secret"), 2),
        (reset(at="response", after_messages=2), 2),
        (close(at="request", after_messages=1), 1),
        (reset(at="response", after_body_bytes=6), 2),
        (close(at="response", after_body_bytes=0), 0),
        (reset(at="request", after_body_bytes=2), 2),
        (stall(at="response", on=b"secret", for_seconds=0.01), 3),
    ],
)
def test_triggers_of_a_relay_mean_the_streams_that_pass(fault, whole, tls):
    with serve(PLAN, tls=tls, alpn=("h2",) if tls else None, http2=True) as real, relayed(fault, real, tls) as server:
        got = asked(server)
        server.wait_for_attempts(1, at="end")

    expected = ["hello", "hello", "secret stuff"]
    assert got == (expected if whole == len(expected) else [*expected[:whole], None])
    assert server.attempts[0].struck.point == fault.break_.at


@pytest.mark.slow
@BOTH
@each_row(
    "fault, whole",
    [
        (reset(on=b":path: /pay"), 1),
        (reset(at="request", on=b"x-mine: 1"), 0),
        (reset(at="response", on=b"secret"), 1),
        (reset(at="response", after_messages=1), 1),
        (close(at="response", after_body_bytes=6), 1),
    ],
)
def test_a_break_that_comes_to_an_open_connection_means_its_streams(fault, whole, tls):
    with serve(PLAN, tls=tls, alpn=("h2",) if tls else None, http2=True) as real, relayed(None, real, tls) as server:
        context, got, mine = server.client_context() if tls else True, [], {"x-mine": "1"}  # which the tables then have
        with httpx.Client(http2=True, http1=False, verify=context, base_url=server.url, headers=mine) as client:
            client.get("/first")
            server.become(fault, open_too=True)
            with contextlib.suppress(httpx.TransportError):
                got.extend(client.get(path).text for path in ("/a", "/pay"))
    assert len(got) == whole
    assert server.attempts[0].struck.point == fault.break_.at


@each_row(
    "said, found",
    [
        ([("client", b"POST / HTTP/1.1\r\n\r\n")], False),
        ([("client", b"PR"), ("client", b"OPFIND / HTTP/1.1\r\n\r\n")], False),
        ([("server", b"220 hi\r\n"), ("client", b"EHLO me\r\n")], False),
        ([("server", b"x" * 5000), ("client", PREFACE)], False),
        ([("server", SETTINGS_FIRST), ("client", PREFACE[:9]), ("client", PREFACE[9:] + SETTINGS_FIRST)], True),
    ],
)
def test_what_is_no_http2_is_not_followed_as_such(said, found):
    following = Following()
    for by, data in said:
        following.says(by, data)
    trip = Tripwire(Break("response", (Reset(),), Trigger(after_messages=0)))
    following.join(trip)

    head = frame(HEADERS, WHOLE, 1, Encoder().encode([(":status", "200")]))
    assert trip.cut(frame(SETTINGS, 1, 0, b"") + head) == (9 if found else None)


@each_row("trigger, found", [({"on": b"rds"}, 9 + 3), ({"on": b"words"}, None), ({"after_bytes": 5}, 5)])
def test_a_break_that_comes_in_the_middle_of_a_body_looks_from_there_on(trigger, found):
    following = Following()
    following.says("client", PREFACE)
    head = frame(HEADERS, WHOLE, 1, Encoder().encode([(":status", "200")]))
    following.says("server", SETTINGS_FIRST + head + frame(DATA, 0, 1, b"wo"))
    trip = Tripwire(Break("response", (Reset(),), Trigger(**trigger)))
    following.join(trip)

    assert trip.cut(frame(DATA, 0, 1, b"rds")) == found


@BOTH
@each_row("plan", [status(503), sequence(status(503), through()), by_path({"/a": status(503), "/*": through()})])
def test_a_relay_that_answers_some_requests_passes_those_of_http2_on_and_says_so(plan, tls):
    with (
        pytest.raises(NotStruckError, match="the client spoke HTTP/2, whose requests a relay passes on"),
        serve(PLAN, tls=tls, alpn=("h2",) if tls else None, http2=True) as real,
        relayed(plan, real, tls) as server,
    ):
        assert asked(server) == ["hello", "hello", "secret stuff"]


# --- the search itself -----------------------------------------------------------------------------------------------


class Side:
    """One side of a connection: its bytes, and where each message, each body byte and each end of fields is."""

    def __init__(self, at):
        self.at, self.encoder, self.streams = at, Encoder(), 0
        self.data = bytearray(PREFACE if at == "request" else b"")
        self.data += frame(SETTINGS, 0, 0, b"\0\3\0\0\0\x64")
        self.messages, self.bodies, self.heads = [], [], []
        self.frames, self.ends = [], []  # where the frames of messages begin, and where each message ends

    def fields(self, kind, stream, fields, flags, pieces):
        block = self.encoder.encode(fields)
        if kind == PUSH_PROMISE:
            block = (2).to_bytes(4, "big") + block
        if flags & WITH_PRIORITY:
            block = b"\0\0\0\0\1" + block
        cut = len(block) if pieces == 1 or kind == PUSH_PROMISE else 6
        first, rest = block[:cut], block[cut:]
        if flags & PADDED:
            first = b"\3" + first + b"\0\0\0"
        self.frames.append(len(self.data))
        self.data += frame(kind, flags | (0 if rest else WHOLE), stream, first)
        if rest:
            self.frames.append(len(self.data))
            self.data += frame(CONTINUATION, WHOLE, stream, rest)

    def message(self, path, body, flags, pieces):
        self.streams += 1
        stream = 2 * self.streams - 1
        self.messages.append(len(self.data))
        name = ":path" if self.at == "request" else ":status"
        if self.at == "response" and flags & PADDED:
            self.fields(HEADERS, stream, [(":status", "103")], 0, 1)
        self.fields(HEADERS, stream, [(name, path), ("x-long", "y" * 40)], flags | (0 if body else END), pieces)
        self.heads.append(len(self.data))
        places = []
        for number, part in enumerate(body, 1):
            begin = len(self.data) + 9 + (1 if flags & PADDED else 0)
            places += range(begin, begin + len(part))
            self.frames.append(len(self.data))
            payload = b"\2" + part + b"\0\0" if flags & PADDED else part
            self.data += frame(DATA, flags & PADDED | (END if number == len(body) else 0), stream, payload)
        self.bodies.append(places)
        self.ends.append(len(self.data))

    def within(self, message, count_bytes):
        """The byte behind so many of a message; in the head of a frame, the end of the head."""
        if message >= len(self.messages) or self.messages[message] + count_bytes > self.ends[message]:
            return None
        at = self.messages[message] + count_bytes
        return next((begin + 9 for begin in self.frames if begin < at < begin + 9), at)


def strikes_at(data, cuts, at, **trigger):
    """The byte of the strike, with the bytes in pieces."""
    trip = Tripwire(Break(at, (Reset(),), Trigger(**trigger)))
    trip.begin_message()
    edges = [0, *sorted(cut % len(data) for cut in cuts), len(data)]
    for begin, end in pairwise(edges):
        at_byte = begin
        while at_byte < end:
            room = trip.room_bytes(end - at_byte)
            if (cut := trip.cut(data[at_byte : at_byte + room])) is not None:
                return at_byte + cut
            at_byte += room
    return None


PARTS = st.lists(st.sampled_from([b"", b"a", b"b", b"ab", b"x" * 300]), max_size=4)
ASKED = st.tuples(
    st.sampled_from(["/one", "/two", "200"]),
    PARTS,
    st.sampled_from([0, PADDED, WITH_PRIORITY, PADDED | WITH_PRIORITY]),
    st.sampled_from([1, 2]),
)
OTHERS = st.sampled_from(["ping", "promise", "reset", "window"])


@pytest.mark.slow
@pytest.mark.measured
@given(
    said=st.lists(st.one_of(ASKED, OTHERS), max_size=6),
    at=st.sampled_from(["request", "response"]),
    cuts=st.lists(st.integers(0, 1 << 16), max_size=8),
    count=st.integers(0, 3),
    numbers=st.tuples(st.integers(0, 400), st.integers(1, 500)),
)
def test_strike_is_where_the_streams_say_however_the_bytes_come(said, at, cuts, count, numbers):
    body_bytes, within = numbers
    side = Side(at)
    for each in said:
        if each == "ping":
            side.data += frame(PING, 0, 0, b":path: /two")
        elif each == "promise":
            side.fields(PUSH_PROMISE, 1, [(":path", "/two"), ("x-new", "z")], 0, 1)
        elif each == "reset":
            side.data += frame(RST_STREAM, 0, 2 * side.streams + 1, b"\0\0\0\1")
        elif each == "window":
            side.data += frame(8, 0, 0, b"\0\0\1\0")
        else:
            side.message(*each)
    data, asked = bytes(side.data), [each for each in said if not isinstance(each, str)]

    awaited = side.messages[count] if count < len(side.messages) else None
    later_cuts = [cut for cut in cuts if cut % len(data) >= len(PREFACE)]  # what tells HTTP/2 comes in one piece
    found = strikes_at(data, later_cuts, at, after_messages=count)
    assert found == awaited or (found is not None and awaited is not None and awaited < found < awaited + 9)
    found = strikes_at(data, later_cuts, at, after_messages=count, after_bytes=within)
    assert found == side.within(count, within)
    messages = of_http2(data, "client" if at == "request" else "server")
    assert [(each.begin, each.end) for each in messages] == list(zip(side.messages, side.ends, strict=True))
    assert [each.said for each in messages] == [each[0] if at == "request" else "" for each in asked]
    name = b":path: " if at == "request" else b":status: "
    heads = [end for each, end in zip(asked, side.heads, strict=True) if each[0] == "/two"]
    assert strikes_at(data, cuts, at, on=name + b"/two\r\n") == (heads[0] if heads else None)
    ends = [
        places[b"".join(each[1]).index(b"ab") + 1] + 1
        for each, places in zip(asked, side.bodies, strict=True)
        if b"ab" in b"".join(each[1])
    ]
    assert strikes_at(data, cuts, at, on=b"ab") == (ends[0] if ends else None)
    first = [
        end if not body_bytes else places[body_bytes - 1] + 1
        for end, places in zip(side.heads, side.bodies, strict=True)
        if len(places) >= body_bytes
    ]
    assert strikes_at(data, cuts, at, after_body_bytes=body_bytes) == (first[0] if first else None)


def with_block(block, more=b"", *, flags=WHOLE):
    return frame(SETTINGS, 0, 0, b"") + frame(HEADERS, flags, 1, block) + more


SAYS = frame(DATA, 0, 1, b"ab")


@each_row(
    "data, found",
    [
        (with_block(b"\xff\xff\xff\xff", SAYS), 9 + 13 + 11),  # no compressed fields: bodies are read on
        (with_block(b"\0" * 70_000, SAYS), 9 + 9 + 70_000 + 11),
        (with_block(b"\x88", frame(RST_STREAM, 0, 1, b"\0\0\0\0") + SAYS), None),  # of a stream that is over
        (with_block(b"\x88", frame(CONTINUATION, WHOLE, 3, b"\x88") + SAYS), 9 + 10 + 10 + 11),
        (frame(CONTINUATION, WHOLE, 1, b"\x88") + b"ab", 12),  # no HTTP/2
        (frame(SETTINGS, 1, 0, b"") + b"ab", 11),
        (b"\0\0ab", 4),
    ],
)
def test_what_is_no_sound_stream_is_passed_over(data, found):
    assert strikes_at(data, [], "response", on=b"ab") == found


def test_no_more_streams_are_followed_than_there_is_room_for():
    data = frame(SETTINGS, 0, 0, b"") + b"".join(frame(HEADERS, WHOLE, 2 * n + 1, b"\x88") for n in range(1001))
    assert strikes_at(data + frame(DATA, 0, 1, b"ab") + frame(DATA, 0, 3, b"ab"), [], "response", on=b"ab") == (
        len(data) + 11 + 11
    )


def test_without_the_extra_only_bodies_are_searched(monkeypatch):
    real = importlib.import_module

    def without(name, *args):
        if name == "hpack":
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(importlib, "import_module", without)
    data = with_block(b"\x88", SAYS)

    assert strikes_at(data, [], "response", on=b"200") is None
    assert strikes_at(data, [], "response", on=b"ab") == len(data)
