"""The wire itself: what a fault promises is captured on the loopback interface, packet by packet."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import random
import socket
import ssl
import struct
import time
from dataclasses import dataclass
from itertools import groupby

import pytest
from support import read

from faultline import (
    blackhole,
    close,
    drip,
    half_close,
    malformed,
    ok,
    partition,
    raw,
    receive_until,
    refuse,
    reset,
    script,
    send,
    serve,
    stall,
    status,
    unreachable,
)

PATIENCE_SECONDS = 10.0
SILENCE_SECONDS = 0.05
ALL_PACKETS = 0x0003  # ETH_P_ALL: the outgoing copies too (packet(7)); socket.bind swaps its bytes
SO_ATTACH_FILTER = 26  # asm-generic/socket.h
NOBODY = "127.0.0.2"  # a loopback address where no server of these tests is

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\nhello"
MORE = b"is anybody there?"


# --- capturing ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Packet:
    """One TCP segment as it left its sender."""

    source: tuple[str, int]
    target: tuple[str, int]
    sequence: int
    acknowledges: int
    flags: frozenset[str]
    payload: bytes

    def __str__(self):
        return f"{self.source[1]} > {self.target[1]} {'|'.join(sorted(self.flags))} {len(self.payload)} bytes"


FLAGS = {"FIN": 0x01, "SYN": 0x02, "RST": 0x04, "ACK": 0x10}


def parsed(frame):
    """A packet from an Ethernet frame (RFC 791, 3.1; RFC 9293, 3.1)."""
    internet = frame[14:]
    head_bytes = (internet[0] & 0x0F) * 4
    (total_bytes,) = struct.unpack_from("!H", internet, 2)
    source, target = (socket.inet_ntoa(internet[at : at + 4]) for at in (12, 16))
    segment = internet[head_bytes:total_bytes]
    source_port, target_port, sequence, acknowledges, offset, flags = struct.unpack_from("!HHIIBB", segment)
    return Packet(
        (source, source_port),
        (target, target_port),
        sequence,
        acknowledges,
        frozenset(name for name, bit in FLAGS.items() if flags & bit),
        bytes(segment[(offset >> 4) * 4 :]),
    )


def port_filter(port):
    """A program that keeps IPv4 TCP packets of one port (linux/filter.h): other traffic would fill the buffer."""
    load_half, load_byte, load_head, load_half_after_head = 0x28, 0x30, 0xB1, 0x48
    jump_equal, give = 0x15, 0x06
    return [
        (load_half, 0, 0, 12),
        (jump_equal, 0, 8, 0x0800),
        (load_byte, 0, 0, 23),
        (jump_equal, 0, 6, socket.IPPROTO_TCP),
        (load_head, 0, 0, 14),
        (load_half_after_head, 0, 0, 14),
        (jump_equal, 2, 0, port),
        (load_half_after_head, 0, 0, 16),
        (jump_equal, 0, 1, port),
        (give, 0, 0, 0xFFFFFFFF),
        (give, 0, 0, 0),
    ]


class Capture:
    """All packets of one server's port on the loopback interface, each once, in the order in which they were sent."""

    def __init__(self, address):
        self._address = address
        self._packets = []

    def __enter__(self):
        code = b"".join(struct.pack("=HBBI", *instruction) for instruction in port_filter(self._address[1]))
        buffer = ctypes.create_string_buffer(code, len(code))
        self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        try:
            program = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))
            self._sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
            self._sock.bind(("lo", ALL_PACKETS))
        except OSError:
            self._sock.close()
            raise
        return self

    def __exit__(self, *_):
        self._sock.close()

    def until(self, has_happened):
        """Wait for what a list of packets shows; they are known then."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not has_happened(self._packets):
            self._sock.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                frame, (_, _, kind, *_) = self._sock.recvfrom(1 << 17)
            except TimeoutError:
                pytest.fail("the awaited packet never came; there were:\n" + "\n".join(map(str, self._packets)))
            if kind == socket.PACKET_OUTGOING:  # it comes again when it arrives
                self._packets.append(parsed(frame))

    def until_server_sends(self, flag):
        self.until(lambda packets: any(p.source == self._address and flag in p.flags for p in packets))

    def until_acknowledged(self, said):
        """Wait until the server's kernel has acknowledged what the client has said."""
        self.until(lambda packets: acknowledged_bytes(self._of_server(packets), said) >= len(stream_of(said)))

    def until_client_repeats_itself(self):
        """Wait until the client's kernel sends something again."""

        def repeats(packets):
            sequences = [p.sequence for p in packets if p.target == self._address and p.payload]
            return len(sequences) > len(set(sequences))

        self.until(repeats)

    def _of_server(self, packets):
        return [packet for packet in packets if packet.source == self._address]

    def so_far(self):
        """All packets that were sent before now: those before one that is sent now."""
        with socket.socket() as marker:
            marker.settimeout(PATIENCE_SECONDS)
            marker.bind((NOBODY, 0))
            marker.connect_ex((NOBODY, self._address[1]))
            name = marker.getsockname()
        self.until(lambda packets: any(packet.source == name for packet in packets))
        return [packet for packet in self._packets if packet.source[0] != NOBODY]

    def from_server(self):
        return self._of_server(self.so_far())

    def from_client(self):
        return [packet for packet in self.so_far() if packet.target == self._address]


def may_capture():
    try:
        with Capture(("127.0.0.1", 1)):
            return True
    except (AttributeError, OSError):
        return False


pytestmark = pytest.mark.skipif(
    not may_capture(), reason="capturing packets takes CAP_NET_RAW, and its filter CAP_NET_ADMIN, here"
)


def endings(packets):
    """FIN and RST in the order in which they were first sent."""
    return list(dict.fromkeys(flag for packet in packets for flag in ("FIN", "RST") if flag in packet.flags))


def stream_of(packets):
    """The bytes that one side has sent, each once."""
    (begin,) = {packet.sequence for packet in packets if "SYN" in packet.flags}
    stream = bytearray()
    for packet in packets:
        at = (packet.sequence - begin - 1) % (1 << 32)
        if packet.payload and at + len(packet.payload) > len(stream):
            stream[at:] = packet.payload
    return bytes(stream)


def acknowledged_bytes(by, of):
    """How many bytes of one side the other one has acknowledged, by its last word."""
    (begin,) = {packet.sequence for packet in of if "SYN" in packet.flags}
    return max((packet.acknowledges - begin - 1) % (1 << 32) for packet in by)


# --- clients -------------------------------------------------------------------------------------------------


def client_hello(server):
    """The first record of a real client."""
    outgoing = ssl.MemoryBIO()
    session = server.client_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        session.do_handshake()
    return outgoing.read()


@contextlib.contextmanager
def client_at(server, point, *, tls):
    """A client that has said what leads to a point, and read what comes before it."""
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(socket.socket())
        client.settimeout(PATIENCE_SECONDS)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what is sent is on the wire at once
        client.connect(server.address)
        if point == "handshake":
            client.sendall(client_hello(server))
        elif point != "accept":
            if tls:
                client = stack.enter_context(server.client_context().wrap_socket(client, server_hostname="localhost"))
            client.sendall(REQUEST)
        if point == "idle":
            received = b""
            while len(received) < len(RESPONSE):
                received += client.recv(len(RESPONSE) - len(received))
        yield client


IN_TLS = (pytest.mark.slow, pytest.mark.everywhere)  # it looks the same, but at the handshake
PLACES = [
    pytest.param(point, after_bytes, tls, id=f"{point}-{after_bytes}-{'tls' if tls else 'plain'}", marks=marks)
    for point, after_bytes, tls, marks in [
        ("accept", 0, False, ()),
        ("accept", 0, True, IN_TLS),
        ("handshake", 0, True, ()),
        ("handshake", 10, True, ()),
        ("request", 0, False, ()),
        ("request", 0, True, IN_TLS),
        ("request", 10, False, ()),
        ("request", 10, True, IN_TLS),
        ("response", 0, False, ()),
        ("response", 0, True, IN_TLS),
        ("response", 10, False, ()),
        ("response", 10, True, IN_TLS),
        ("idle", 0, False, ()),
        ("idle", 0, True, IN_TLS),
    ]
]
at_each_place = pytest.mark.parametrize(("point", "after_bytes", "tls"), PLACES)


# --- before there is a connection ------------------------------------------------------------------------------


def test_refused_syn_is_answered_by_rst(faultline):
    server = faultline.serve(refuse())

    with Capture(server.address) as wire, socket.socket() as client:
        code = client.connect_ex(server.address)
        packets = wire.so_far()

    assert code == errno.ECONNREFUSED
    assert [(packet.source == server.address, packet.flags) for packet in packets] == [
        (False, {"SYN"}),
        (True, {"RST", "ACK"}),
    ]


def test_black_hole_sends_nothing_to_a_client_that_knocks(faultline):
    server = faultline.serve(blackhole())

    with Capture(server.address) as wire, socket.socket() as client:
        client.bind(("127.0.0.1", 0))
        client.settimeout(SILENCE_SECONDS)
        with pytest.raises(TimeoutError):
            client.connect(server.address)
        name = client.getsockname()
        packets = wire.so_far()

    assert {packet.flags for packet in packets if packet.source == name} == {frozenset({"SYN"})}
    assert [packet for packet in packets if packet.target == name] == []


def test_no_packet_leaves_for_an_unreachable_address(faultline):
    server = faultline.serve(unreachable())

    with Capture(server.address) as wire, socket.socket() as client:
        code = client.connect_ex(server.address)
        packets = wire.so_far()

    assert code == errno.ENETUNREACH
    assert packets == []


# --- how a connection ends -------------------------------------------------------------------------------------


@at_each_place
def test_reset_is_rst_without_fin(faultline, point, after_bytes, tls):
    server = faultline.serve(reset(at=point, after_bytes=after_bytes), tls=tls, answer=ok(b"hello"))

    with Capture(server.address) as wire:
        with contextlib.suppress(OSError), client_at(server, point, tls=tls) as client:
            read(client)
        wire.until_server_sends("RST")
        seen = endings(wire.from_server())

    assert seen == ["RST"]


@at_each_place
def test_reset_with_fin_first_is_fin_and_then_rst(faultline, point, after_bytes, tls):
    server = faultline.serve(reset(at=point, after_bytes=after_bytes, fin_first=True), tls=tls, answer=ok(b"hello"))

    with Capture(server.address) as wire:
        with contextlib.suppress(OSError), client_at(server, point, tls=tls):
            wire.until_server_sends("RST")
        seen = endings(wire.from_server())

    assert seen == ["FIN", "RST"]


@at_each_place
def test_close_is_fin_without_rst(faultline, point, after_bytes, tls):
    server = faultline.serve(close(at=point, after_bytes=after_bytes), tls=tls, answer=ok(b"hello"))

    with Capture(server.address) as wire:
        with client_at(server, point, tls=tls) as client:
            read(client)
        wire.until_server_sends("FIN")
        seen = endings(wire.from_server())

    assert seen == ["FIN"]


@at_each_place
def test_half_close_is_fin_and_what_the_client_says_then_is_acknowledged(faultline, point, after_bytes, tls):
    server = faultline.serve(half_close(at=point, after_bytes=after_bytes), tls=tls, answer=ok(b"hello"))

    with Capture(server.address) as wire:
        with client_at(server, point, tls=tls) as client:
            read(client)
            client.sendall(MORE)
            wire.until_acknowledged(wire.from_client())
        wire.until_server_sends("FIN")  # in TLS the client's reading ends with the close_notify before it
        seen = endings(wire.from_server())

    assert seen == ["FIN"]


@pytest.mark.parametrize(("fault", "ending"), [(reset, "RST"), (close, "FIN")])
@pytest.mark.parametrize("count", [0, 1, 1000])
def test_exactly_so_many_bytes_of_the_response_are_on_the_wire(faultline, fault, ending, count):
    server = faultline.serve(fault(after_bytes=count))

    with Capture(server.address) as wire:
        with contextlib.suppress(ConnectionResetError), client_at(server, "response", tls=False) as client:
            read(client)
        wire.until_server_sends(ending)
        seen = stream_of(wire.from_server())

    assert len(seen) == count
    assert b"HTTP/1.1 200 OK\r\n".startswith(seen[:17])


@pytest.mark.parametrize(("fault", "ending"), [(reset, "RST"), (close, "FIN")])
@pytest.mark.parametrize("count", [0, 1, 500])
def test_exactly_so_many_bytes_of_the_servers_flight_are_on_the_wire(faultline, fault, ending, count):
    server = faultline.serve(fault(at="handshake", after_bytes=count))

    with Capture(server.address) as wire:
        with contextlib.suppress(ConnectionResetError), client_at(server, "handshake", tls=True) as client:
            read(client)
        wire.until_server_sends(ending)
        seen = stream_of(wire.from_server())

    assert len(seen) == count


# --- silence ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@at_each_place
def test_after_a_stall_the_server_sends_nothing_but_acknowledgements(faultline, point, after_bytes, tls):
    server = faultline.serve(stall(at=point, after_bytes=after_bytes), tls=tls, answer=ok(b"hello"))

    with Capture(server.address) as wire, client_at(server, point, tls=tls) as client:
        server.wait_for_strike()
        before = wire.from_server()
        client.sendall(MORE)
        wire.until_acknowledged(wire.from_client())
        client.settimeout(SILENCE_SECONDS)
        with pytest.raises(TimeoutError):
            read(client)
        after = wire.from_server()[len(before) :]

    said = {packet.sequence for packet in before if packet.payload}  # which a busy kernel may send again
    news = [packet for packet in after if not (packet.payload and packet.sequence in said)]
    assert {(packet.flags, packet.payload) for packet in news} == {(frozenset({"ACK"}), b"")}


@pytest.mark.slow
@pytest.mark.everywhere
@at_each_place
def test_in_a_partition_nothing_of_the_client_is_acknowledged(faultline, point, after_bytes, tls):
    server = faultline.serve(partition(at=point, after_bytes=after_bytes), tls=tls, answer=ok(b"hello"))

    with Capture(server.address) as wire, client_at(server, point, tls=tls) as client:
        server.wait_for_strike()
        said = len(stream_of(wire.from_client()))
        client.sendall(MORE)
        wire.until_client_repeats_itself()
        by_client, by_server = wire.from_client(), wire.from_server()

    assert len(stream_of(by_client)) > said
    assert acknowledged_bytes(by_server, by_client) <= said
    assert endings(by_server) == []


# --- the ledger against the wire --------------------------------------------------------------------------------
#
# Clients send at once or in pieces, finish sending early, leave in the middle, and read a part or all.
# FAULTLINE_CONVERSATIONS is the number of conversations; each is repeated by its seed.

COUNT = int(os.environ.get("FAULTLINE_CONVERSATIONS", "40"))
LONG_GET = b"GET /some/path HTTP/1.1\r\nHost: localhost\r\nX-Filler: " + b"x" * 60 + b"\r\n\r\n"
LAST = LONG_GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
POST = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 300\r\n\r\n" + b"y" * 300


def plan_of(chance):
    """A random plan of one fault."""
    after, body = chance.choice([0, 1, 7, 40, 90]), bytes(chance.choice([0, 5, 2_000, 30_000]))
    return chance.choice(
        [
            ok(body),
            ok(body) & drip(chunk_bytes=700, every_seconds=0.001),
            status(503),
            raw(b"junk"),
            malformed("chunk_cut"),
            reset(after_bytes=after),
            reset(at="request", after_bytes=after),
            reset(at="accept"),
            close(after_bytes=after),
            close(at="request", after_bytes=after),
            close(at="accept"),
            close(at="idle"),
            half_close(after_bytes=after),
            stall(after_bytes=after),
            stall(for_seconds=0.005),
            stall(at="request", after_bytes=after, for_seconds=0.005),
            script(send(b"220 hi\r\n"), receive_until(b"\r\n"), send(b"250 ok\r\n"), reset()),
            script(receive_until(b"\r\n\r\n"), send(b"x" * 50), close()),
        ]
    )


def converse(server, chance):
    """Be a random client, which waits for a greeting if the server sends one."""
    said = chance.choice([LONG_GET, LAST, POST, LONG_GET[:30], b"EHLO me\r\n", b""])
    pieces = [said] if chance.random() < 0.5 else [said[i : i + 50] for i in range(0, len(said), 50)]
    reads = chance.choice(["nothing", "some", "until silence"])
    with socket.socket() as client, contextlib.suppress(OSError):  # the server may have reset it
        client.settimeout(PATIENCE_SECONDS)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if chance.random() < 0.3:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # leaves by RST
        client.connect(server.address)
        if "220 hi" in repr(server.plan):
            client.recv(8, socket.MSG_WAITALL)
        for piece in pieces:
            client.sendall(piece)
        if chance.random() < 0.3:
            client.shutdown(socket.SHUT_WR)
        client.settimeout(0.03)
        with contextlib.suppress(TimeoutError):
            if reads == "some":
                client.recv(20)
            while reads == "until silence" and client.recv(65_536):
                pass


def captured_turns(packets, address):
    """The turns on the wire: the side, and how many of its bytes were new."""
    seen, said = {}, []
    for packet in packets:
        by = "server" if packet.source == address else "client"
        if "SYN" in packet.flags:
            seen[by] = packet.sequence + 1
        end = packet.sequence + len(packet.payload)
        if packet.payload and (new := end - seen[by]) > 0:
            seen[by] = end
            said.append((by, new))
    return [(by, sum(new for _, new in turn)) for by, turn in groupby(said, key=lambda each: each[0])]


def captured_ends(packets, address):
    """FIN and RST of each side, in the order in which the server's kernel sent and received them.

    An end of the client may cross one of the server on the wire. A FIN that the server's doesn't acknowledge was not
    received before it, nor was a RST, after which the server would have sent nothing.
    """
    signs = {}
    for packet in packets:
        by = "server" if packet.source == address else "client"
        for flag in {"FIN", "RST"} & packet.flags:
            signs.setdefault((by, flag), packet)
    return sorted(signs, key=lambda sign: moment(sign, signs, packets))


def moment(sign, signs, packets):
    """When the server's kernel sent or received an end, as the place of a packet, and a half for those that crossed."""
    by, flag = sign
    at = packets.index(signs[sign])
    for ours in [signs[each] for each in signs if each[0] == "server" and by == "client"]:
        is_unseen = flag == "RST" or ours.acknowledges <= signs[sign].sequence + len(signs[sign].payload)
        if is_unseen and packets.index(ours) > at:
            at = packets.index(ours) + 0.5
    return at


def agrees_in_ends(attempt, captured):
    """Whether the ledger has the ends on the wire, up to the end of the socket, after which nothing can be seen."""
    told = [(end.by, end.how) for end in attempt.ends if end.how in ("FIN", "RST")]
    unseen = captured[len(told) :]
    is_closed = any(by == "server" for by, _ in told) or ("client", "RST") in told
    return told == captured[: len(told)] and (is_closed or not unseen)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(COUNT))
def test_ledger_of_a_random_conversation_is_what_was_captured(seed):
    chance = random.Random(seed)
    with serve(plan_of(chance), strict=False) as server, Capture(server.address) as wire:
        converse(server, chance)
        attempts = server.wait_for_attempts(1, at="end")
        packets = wire.so_far()
    last = attempts[-1]
    story = f"{server.drawing(color=False)}\n" + "\n".join(map(str, packets))
    by_server = stream_of([p for p in packets if p.source == server.address])
    by_client = stream_of([p for p in packets if p.target == server.address])

    assert sum(a.sent_bytes for a in attempts) == len(by_server), story
    assert sum(a.received_bytes for a in attempts) <= len(by_client), story
    begins = b"".join(turn.begins for a in attempts for turn in a.turns[:1] if turn.by == "client")
    assert by_client.startswith(begins[:50]), story
    if sum(a.received_bytes for a in attempts) == len(by_client) and len(attempts) == 1:
        assert [(turn.by, turn.count_bytes) for turn in last.turns] == captured_turns(packets, server.address), story
    assert agrees_in_ends(last, captured_ends(packets, server.address)), f"{last.ends}\n{story}"
