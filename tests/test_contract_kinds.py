"""What holds for every case that no TCP server plays: its client sees what the case promises, as the ledger says."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import time

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import pytest
from h2.exceptions import H2Error
from support.raw_http2 import Raw
from websockets.asyncio.client import connect

from faultline import dns_server, ok, resolve, resolves_to, sequence, serve, socks_proxy, udp
from faultline._core.conditions import Latency
from faultline._core.lookups import Found
from faultline._core.promises import promises_of
from faultline.modes._catalogue import cases
from faultline.modes.lookups import SERVER

SILENCE_SECONDS = 0.1  # how long a client waits for what must not come
NAME = "api.example.com"
LOOKUPS = [case for case in cases() if case.kind == "DNS server" and case.mode != "bad_dns"]  # of Python's socket
QUERIES = [case for case in cases() if case.kind == "DNS server" and case.mode != "addresses"]  # of a DNS client
DATAGRAMS = [case for case in cases() if case.kind == "UDP server"]
REFUSALS = [case for case in cases() if case.kind == "SOCKS proxy"]
WEBSOCKETS = [case for case in cases() if case.kind == "WebSocket server"]
STREAMS = [case for case in cases() if case.kind == "HTTP/2 server"]
HELLO_5 = b"\5\2\0\2"  # it offers no authentication, and a password: RFC 1928, 3
CREDENTIALS_5 = b"\1\4user\6secret"  # RFC 1929, 2
CONNECT_5 = b"\5\1\0\1\x7f\0\0\1\0\x50"  # to 127.0.0.1, port 80: RFC 1928, 4
CONNECT_4 = b"\4\1\0\x50\x7f\0\0\1\0"


def each(rows):
    return pytest.mark.parametrize("case", rows, ids=str)


def connecting(address):
    """What a client sees of an address: the class of the exception."""
    try:
        socket.create_connection(address[:2], SILENCE_SECONDS).close()
    except OSError as error:
        return type(error).__name__
    return "a connection"


def test_no_case_is_left_out():
    others = [case for case in cases() if case.kind != "TCP server"]

    assert {*LOOKUPS, *QUERIES, *DATAGRAMS, *REFUSALS, *WEBSOCKETS, *STREAMS} == {*others}


# --- lookups of this process -----------------------------------------------------------------------------------------


def fault_with(case, server):
    """The fault of a case, with a server that runs instead of the one that stands for it."""
    return case.function(**{name: server if value is SERVER else value for name, value in case.arguments})


def look_up():
    """What the caller of `socket.getaddrinfo` sees, and the addresses that it found."""
    try:
        found = [info[4] for info in socket.getaddrinfo(NAME, 80, type=socket.SOCK_STREAM)]
    except socket.gaierror as error:
        return f"gaierror {error.errno}", []
    return "an address", found


@each(LOOKUPS)
def test_caller_of_getaddrinfo_sees_what_the_case_promises(case):
    if "ipv6_first" in str(case) and connecting(("::1", 1)) != "ConnectionRefusedError":
        pytest.skip("needs IPv6 on the loopback interface")
    with serve(ok()) as server, resolve(NAME, resolves_to(server)):
        fault = fault_with(case, server)
        with resolve(NAME, fault) as resolver:
            began = time.monotonic()
            sees, found = look_up()
            took_seconds = time.monotonic() - began
            if case.mode == "addresses":
                assert f"connecting to the first address: {connecting(found[0])}" == case.detail
                assert connecting(found[1]) == "a connection"

    assert sees == case.sees
    assert took_seconds >= sum(c.delay_seconds for c in fault.conditions if isinstance(c, Latency))
    targets = fault.answer.targets if isinstance(fault.answer, Found) else [server.address]
    assert [address[:2] for address in found][-1:] == ([] if fault.break_ else list(targets))
    (attempt,) = resolver.attempts
    assert (attempt.fault, attempt.request.method, attempt.request.target) == (fault, "getaddrinfo", NAME)
    assert (attempt.struck and attempt.struck.point) == ("lookup" if promises_of(fault) else None)
    assert (attempt.ended_by, attempt.ended_how) == ("server", "no name" if fault.break_ else "answer")


# --- queries of a DNS client -----------------------------------------------------------------------------------------


def ask(server, timeout_seconds=10):
    """One query over UDP: its message, and the bytes of the answer, or nothing."""
    query = dns.message.make_query(NAME, "A")
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(timeout_seconds)
        client.connect(server.address)
        client.send(query.to_wire())
        with contextlib.suppress(TimeoutError):
            return query, client.recv(65_536)
    return query, b""


def seen_in(query, data, server):
    """The answer to a query, in the words of the catalogue."""
    try:
        reply = dns.message.from_wire(data)
    except dns.exception.DNSException:
        return ("garbage" if data else "no answer"), ""
    if addresses_in(data) and reply.id == query.id:
        return "an address", ""
    return "an answer", what_is_wrong(query, reply, server)


def what_is_wrong(query, reply, server):
    """The answer to a query that has no address, in detail."""
    aliases = {rrset.name: rrset[0].target for rrset in reply.answer if hasattr(rrset[0], "target")}
    if reply.id != query.id:
        return "with another id"
    if reply.flags & dns.flags.TC:
        return f"truncated; over TCP {connecting(server.address)}"
    if aliases:
        return "a loop of aliases" if set(aliases) == set(aliases.values()) else "aliases"
    return f"rcode {dns.rcode.to_text(reply.rcode())}" if reply.rcode() else "NOERROR without an address"


def addresses_in(data):
    """The addresses of IPv4 in an answer."""
    answer = dns.message.from_wire(data).answer
    return [found.address for rrset in answer for found in rrset if hasattr(found, "address")]


@each(QUERIES)
def test_dns_client_sees_what_the_case_promises(case):
    flaps = case.detail.startswith("every second answer")
    with dns_server(case.fault) as server:
        query, data = ask(server, SILENCE_SECONDS if case.sees == "no answer" else 10)
        sees, detail = seen_in(query, data, server)
        if flaps:
            (second,) = addresses_in(ask(server)[1])
            assert connecting((second, server.port)) == "ConnectionRefusedError"

    if case.fault.break_ and case.mode != "bad_dns":
        assert f"a DNS client: {detail}" == case.detail
    else:
        assert (sees, detail) == (case.sees, case.detail if case.sees == "an answer" else "")
    assert len(server.attempts) == 1 + flaps
    for attempt in server.attempts:
        assert (attempt.fault, attempt.request.method, attempt.request.target) == (case.fault, "A", NAME)
        assert (attempt.struck and attempt.struck.point) == ("lookup" if promises_of(case.fault) else None)
        assert (attempt.ended_by, attempt.ended_how) == ("server", "answer" if data else "silence")
        assert attempt.sent_bytes == len(data)


# --- datagrams -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@each(DATAGRAMS)
def test_udp_client_sees_what_the_case_promises(case):
    with udp(sequence(case.fault, ok())) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect(server.address)
        for word in (b"one", b"two"):
            client.send(word)
        count = 3 if case.detail == "twice" else 2
        received = [client.recv(10) for _ in range(count)]
        client.settimeout(SILENCE_SECONDS)
        with pytest.raises(TimeoutError):
            client.recv(10)

    seen = {("one", "one", "two"): "twice", ("two", "one"): "after the response to the next datagram"}
    assert case.sees == "the response"
    assert seen[tuple(word.decode() for word in received)] == case.detail
    first, second = server.attempts
    assert (first.fault, first.struck.point, second.struck) == (case.fault, "response", None)
    assert (first.sent_bytes, second.sent_bytes) == (3 * received.count(b"one"), 3)
    assert {(attempt.ended_by, attempt.ended_how) for attempt in server.attempts} == {("server", "answer")}


# --- SOCKS -----------------------------------------------------------------------------------------------------------


class Client:
    """A SOCKS client, written by hand: what it sees, in the words of the catalogue."""

    def __init__(self, sock):
        self.sock = sock
        self.read_bytes = 0

    def exchange(self, data, count):
        """Say something, and read as many bytes, or all that there are."""
        self.sock.sendall(data)
        answer = b""
        while len(answer) < count and (more := self.sock.recv(count - len(answer))):
            answer += more
        self.read_bytes += len(answer)
        return answer

    def version_5(self):
        answer = self.exchange(HELLO_5, 2)
        if answer[:1] != b"\5":
            return "garbage", ""
        if answer[1] == 2 and (status := self.exchange(CREDENTIALS_5, 2)[1]):
            return "a SOCKS refusal", f"version 5, status {status} of the credentials"
        if answer[1] not in (0, 2):
            offered = "method 255" if answer[1] == 255 else "a method that the client did not offer"
            return "a SOCKS refusal", f"version 5, {offered}"
        return "a SOCKS refusal", f"version 5, reply {self.exchange(CONNECT_5, 10)[1]}"

    def version_4(self):
        return "a SOCKS refusal", f"version 4, reply {self.exchange(CONNECT_4, 8)[1]}"


@each(REFUSALS)
def test_socks_client_sees_what_the_case_promises(case):
    with socks_proxy(case.fault) as proxy, socket.create_connection(proxy.address, 10) as sock:
        client = Client(sock)
        seen = client.version_4() if "version 4" in case.detail else client.version_5()
        client.exchange(b"", 1000)

    assert seen == (case.sees, case.detail)
    (attempt,) = proxy.attempts
    assert (attempt.fault, attempt.struck.point, attempt.sent_bytes) == (case.fault, "response", client.read_bytes)
    assert (attempt.ended_by, attempt.ended_how) == ("server", "FIN")


def test_every_reply_code_of_both_versions_is_a_case():
    codes = [int(code) for case in REFUSALS for code in re.findall(r"reply (\d+)", case.detail)]

    assert codes == [*range(1, 9), *range(91, 94)]  # RFC 1928, 6


# --- WebSockets ------------------------------------------------------------------------------------------------------


async def echoed(url, context):
    """What comes back: by asyncio, as websockets' threads share a session of TLS, which now and then hangs."""
    async with connect(url, ssl=context, proxy=None) as client:
        await client.send("hello")
        heard = await client.recv()
    client.transport.close()  # to asyncio of Python 3.10, TLS that its peer has ended is open until then
    return heard


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@each(WEBSOCKETS)
def test_client_of_a_websocket_sees_what_the_case_promises(case, tls):
    with serve(case.fault, tls=tls) as server:
        context = server.client_context() if tls else None
        sees = "its messages" if asyncio.run(echoed(server.ws_url, context)) == "hello" else "another message"
        server.wait_for_attempts(1, at="end")

    assert sees == case.sees
    assert (server.attempts[0].fault, server.attempts[0].strikes) == (case.fault, ())


# --- HTTP/2 ----------------------------------------------------------------------------------------------------------


def streamed(client):
    """What a plain client of HTTP/2 sees of the response to one request."""
    number = client.ask()
    kinds = [kind for kind, *_ in client.until(lambda frames: is_over(frames, number))]
    if ends := [kind for kind in ("GOAWAY", "RST_STREAM") if kind in kinds]:
        return ends[0]
    try:
        client.h2.receive_data(client.raw)
    except H2Error:
        return "a protocol error"
    return "end of stream" if client.end == "FIN" else "the response"


def is_over(frames, number):
    """Whether a stream has ended, or is not going to be answered."""
    return any(
        kind == "GOAWAY" or (of == number and (kind == "RST_STREAM" or "END_STREAM" in flags))
        for kind, flags, of, _ in frames
    )


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@each(STREAMS)
def test_client_of_http2_sees_what_the_case_promises(case, tls):
    with serve(case.fault, answer=ok(b"twenty bytes of body"), http2=True, tls=tls) as server:
        with Raw(server, tls=tls) as client:
            if case.mode == "bad_http2" and case.sees == "the response":
                client.h2.ping(bytes(8))
            sees = streamed(client)
        server.wait_for_attempts(1, at="end")

    assert sees == case.sees
    assert server.attempts[0].fault == case.fault
