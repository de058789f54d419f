"""The DNS server: what dnspython and c-ares make of its answers, over UDP and TCP, and what it survives itself."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import random
import re
import socket
import struct

import aiodns
import aiohttp
import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.resolver
import httpx
import pycares
import pytest
from support import by_turns
from support.tables import each_row

from faultline import (
    Fault,
    NotStruckError,
    ParameterError,
    PortError,
    UnsupportedError,
    addresses,
    bad_dns,
    blackhole,
    cycle,
    dns_server,
    echo,
    latency,
    no_address,
    nxdomain,
    ok,
    raises,
    reset,
    resolves_to,
    root_cause,
    sequence,
    serve,
    servfail,
    slow_resolve,
)

pytestmark = [pytest.mark.timeout(60), pytest.mark.leaves_open]
NAME = "api.example.com"
ANSWERED = "The DNS operation timed out."
UDP, TCP = False, True
HELD_SECONDS = 0.05  # how long a client waits that gets nothing
LONG = "a." + ".".join(["b" * 63] * 3) + "." + "c" * 59  # 255 bytes on the wire, as long as a name can be


@pytest.fixture
def tcp(request):
    """Over which of the two is asked."""
    return by_turns(request, UDP, TCP)


@pytest.fixture
def ipv6():
    """The loopback address of IPv6, where there is one."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
        sock.bind(("::1", 0))
        return "::1"
    pytest.skip("needs IPv6 on the loopback interface")


def stub(server, *, seconds=10.0):
    """A stub resolver of dnspython that asks this server alone."""
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = [server.host], server.port
    resolver.timeout = resolver.lifetime = seconds
    return resolver


def by_dnspython(server, kind="A", *, tcp=UDP, seconds=10.0, name=NAME):
    """The addresses that dnspython finds."""
    return [str(found) for found in stub(server, seconds=seconds).resolve(name, kind, tcp=tcp, search=False)]


@contextlib.asynccontextmanager
async def c_ares(server, *, tcp=UDP, seconds=10.0, tries=1):
    """A resolver of c-ares that asks this server alone."""
    flags = pycares.ARES_FLAG_USEVC if tcp else 0
    where = {"nameservers": [server.host], "udp_port": server.port, "tcp_port": server.port}
    resolver = aiodns.DNSResolver(**where, timeout=seconds, tries=tries, flags=flags)
    try:
        yield resolver
    finally:
        await resolver.close()


def by_c_ares(server, kind="A", *, name=NAME, **options):
    """What c-ares finds: addresses, or the names of aliases."""

    async def ask():
        async with c_ares(server, **options) as resolver:
            found = (await resolver.query_dns(name, kind)).answer
        return [getattr(record.data, "addr", None) or record.data.cname for record in found]

    return asyncio.run(ask())


def query(kind="A", name=NAME, **options):
    """A query as bytes, and its id."""
    asked = dns.message.make_query(name, kind, **options)
    return asked.to_wire(), asked.id


def exchange(server, data, seconds=10.0):
    """Send a datagram: what comes back."""
    with socket.socket(socket.AF_INET6 if ":" in server.host else socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(seconds)
        client.connect(server.address)
        client.send(data)
        return client.recv(65_535)


def prefixed(*messages):
    """Messages as they are said over TCP."""
    return b"".join(struct.pack("!H", len(message)) + message for message in messages)


def heard(stream):
    """The next message over TCP."""
    return stream.read(struct.unpack("!H", stream.read(2))[0])


@pytest.fixture
def dial():
    """A function that opens a connection to a server; it is closed after the test."""
    with contextlib.ExitStack() as clients:
        yield lambda server: clients.enter_context(socket.create_connection(server.address, 10))


def seen(server):
    """What the ledger says of each query."""
    return [(a.request.method, a.note, a.ended_how, a.struck and a.struck.point) for a in server.attempts]


# --- what resolvers make of it ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "found"), [("A", ["127.0.0.1"]), ("AAAA", ["::1"])], ids=["A", "AAAA"])
@pytest.mark.parametrize("ask", [by_dnspython, by_c_ares], ids=["dnspython", "c-ares"])
def test_without_a_fault_every_name_is_this_machine(ask, kind, found, tcp):
    with dns_server() as server:
        assert ask(server, kind, tcp=tcp) == found
        assert ask(server, kind, tcp=tcp, name="other.test") == found

        assert seen(server) == [(kind, f"over {'TCP' if tcp else 'UDP'}", "answer", None)] * 2
        assert [a.request.target for a in server.attempts] == [NAME, "other.test"]
        assert all(a.received_bytes and a.sent_bytes and a.point == "lookup" for a in server.attempts)


# What dnspython raises, and what its words must say; where nothing comes it is the same over TCP.
DNSPYTHON = [
    (nxdomain(), UDP, dns.resolver.NXDOMAIN, "The DNS query name does not exist: api.example.com."),
    (servfail(), TCP, dns.resolver.NoNameservers, "answered SERVFAIL"),
    (no_address(), UDP, dns.resolver.NoAnswer, "does not contain an answer"),
    (bad_dns("refused"), TCP, dns.resolver.NoNameservers, "answered REFUSED"),
    (bad_dns("silence"), UDP, dns.resolver.LifetimeTimeout, ANSWERED),
    (bad_dns("silence"), TCP, dns.resolver.LifetimeTimeout, ANSWERED),
    (bad_dns("truncated"), UDP, dns.resolver.NoNameservers, "[Errno 111] Connection refused"),
    (bad_dns("wrong_id"), UDP, dns.resolver.LifetimeTimeout, ANSWERED),
    (bad_dns("wrong_id"), TCP, dns.resolver.NoNameservers, "does not respond to the question asked"),
    (bad_dns("garbage"), UDP, dns.resolver.LifetimeTimeout, ANSWERED),
    (bad_dns("garbage"), TCP, dns.resolver.NoNameservers, "Server Do53:"),
    (bad_dns("cname_loop"), TCP, dns.resolver.NoNameservers, "The CNAME chain is too long."),
]
# The code that c-ares gives; a CNAME loop it hands out as it is.
C_ARES = [
    (nxdomain(), aiodns.error.ARES_ENOTFOUND),
    (servfail(), aiodns.error.ARES_ESERVFAIL),
    (no_address(), aiodns.error.ARES_ENODATA),
    (bad_dns("refused"), aiodns.error.ARES_EREFUSED),
    (bad_dns("silence"), aiodns.error.ARES_ETIMEOUT),
    (bad_dns("wrong_id"), aiodns.error.ARES_ETIMEOUT),
    (bad_dns("garbage"), aiodns.error.ARES_EBADRESP),
]


@pytest.mark.parametrize(
    ("fault", "tcp", "error", "words"), DNSPYTHON, ids=[f"{row[0]} {'TCP' if row[1] else 'UDP'}" for row in DNSPYTHON]
)
def test_dnspython_meets_a_fault_by_its_own_error(fault, tcp, error, words):
    waits = error is dns.resolver.LifetimeTimeout
    with dns_server(fault) as server:
        with pytest.raises(dns.exception.DNSException) as caught:
            by_dnspython(server, tcp=tcp, seconds=HELD_SECONDS if waits else 10)

        assert type(caught.value) is error
        assert words in str(caught.value)
        assert root_cause(caught.value).__class__.__module__.startswith("dns.")
        how = "silence" if fault == bad_dns("silence") else "answer"
        assert seen(server) == [("A", f"over {'TCP' if tcp else 'UDP'}", how, "lookup")]


@pytest.mark.parametrize(("fault", "code"), C_ARES, ids=lambda value: repr(value) if isinstance(value, Fault) else "")
def test_c_ares_meets_a_fault_by_its_own_code(fault, code, tcp):
    waits = code == aiodns.error.ARES_ETIMEOUT
    with dns_server(fault) as server:
        with raises(aiodns.error.DNSError) as caught:
            by_c_ares(server, tcp=tcp, seconds=0.1 if waits else 10)

        assert caught.cause.args[0] == code
        how = "silence" if fault == bad_dns("silence") else "answer"
        assert seen(server) == [("A", f"over {'TCP' if tcp else 'UDP'}", how, "lookup")]


def test_c_ares_calls_a_truncated_answer_without_tcp_a_refused_connection():
    with dns_server(bad_dns("truncated")) as server:
        with raises(aiodns.error.DNSError) as caught:
            by_c_ares(server)

        assert caught.cause.args[0] == aiodns.error.ARES_ECONNREFUSED
        assert seen(server) == [("A", "over UDP", "answer", "lookup")]


def test_c_ares_hands_out_a_loop_of_aliases_and_finds_no_address_in_it(tcp):
    async def look_up(server):
        async with c_ares(server, tcp=tcp) as resolver:
            await resolver.getaddrinfo(NAME, family=socket.AF_INET)

    with dns_server(bad_dns("cname_loop")) as server:
        assert by_c_ares(server, tcp=tcp) == ["loop.invalid", NAME]
        with raises(aiodns.error.DNSError) as caught:
            asyncio.run(look_up(server))

        assert caught.cause.args[0] == aiodns.error.ARES_ENODATA
        assert {a.struck.point for a in server.attempts} == {"lookup"}


def test_a_slow_answer_comes_late_and_is_right(tcp):
    with dns_server(slow_resolve(0.05)) as server:
        assert by_dnspython(server, tcp=tcp) == ["127.0.0.1"]

        (attempt,) = server.attempts
        assert attempt.struck.point == "lookup"
        assert attempt.ended_seconds - attempt.started_seconds >= 0.05


@pytest.mark.slow
def test_a_resolver_that_is_in_a_hurry_gives_a_slow_answer_up(tcp):
    with dns_server(slow_resolve(30)) as server:
        with pytest.raises(dns.resolver.LifetimeTimeout):
            by_dnspython(server, tcp=tcp, seconds=0.1)
        with raises(aiodns.error.DNSError) as caught:
            by_c_ares(server, tcp=tcp, seconds=0.1)

        assert caught.cause.args[0] == aiodns.error.ARES_ETIMEOUT
        assert len(server.attempts) == 2


def test_a_slow_answer_can_be_one_of_failure(tcp):
    with dns_server(slow_resolve(0.05) & nxdomain()) as server:
        with pytest.raises(dns.resolver.NXDOMAIN):
            by_dnspython(server, tcp=tcp)

        (attempt,) = server.attempts
        assert attempt.struck.at_seconds - attempt.started_seconds >= 0.05


@pytest.mark.parametrize(("target", "kind", "other"), [("127.0.0.7:8080", "A", "AAAA"), ("::1", "AAAA", "A")])
def test_a_name_leads_to_an_address_of_one_family_and_has_none_of_the_other(target, kind, other, tcp):
    host = "::1" if kind == "AAAA" else "127.0.0.7"
    with dns_server(resolves_to(target)) as server:
        assert by_dnspython(server, kind, tcp=tcp) == by_c_ares(server, kind, tcp=tcp) == [host]
        with pytest.raises(dns.resolver.NoAnswer):
            by_dnspython(server, other, tcp=tcp)
        with raises(aiodns.error.DNSError) as caught:
            by_c_ares(server, other, tcp=tcp)

        assert caught.cause.args[0] == aiodns.error.ARES_ENODATA


@pytest.mark.parametrize("ask", [by_dnspython, by_c_ares], ids=["dnspython", "c-ares"])
def test_every_other_answer_of_a_flapping_name_leads_to_nobody(ask, tcp):
    with dns_server(bad_dns("flapping")) as server:
        found = [ask(server, tcp=tcp) for _ in range(4)]

        assert found == [["127.0.0.1"], ["127.255.255.254"]] * 2
        assert [a.struck.point for a in server.attempts] == ["lookup"] * 4


def test_a_flapping_answer_may_not_be_kept():
    with dns_server(bad_dns("flapping")) as server:
        assert stub(server).resolve(NAME).rrset.ttl == 0


def test_a_right_answer_may_be_kept_and_a_resolver_with_a_cache_asks_once():
    with dns_server() as server:
        resolver = stub(server)
        resolver.cache = dns.resolver.Cache()
        assert [str(found) for _ in range(3) for found in resolver.resolve(NAME)] == ["127.0.0.1"] * 3

        assert len(server.attempts) == 1


def test_wrong_id_is_what_a_strict_client_sees():
    with dns_server(bad_dns("wrong_id")) as server:
        asked = dns.message.make_query(NAME, "A")
        with pytest.raises(dns.query.BadResponse):
            dns.query.udp(asked, server.host, 10, server.port)
        data, number = query()
        answer = dns.message.from_wire(exchange(server, data))

        assert answer.id == number ^ 0xFFFF
        assert answer.question[0].name == dns.name.from_text(NAME)


def test_garbage_has_the_right_id_and_is_no_message():
    with dns_server(bad_dns("garbage")) as server:
        data, number = query()
        answer = exchange(server, data)

        assert answer[:2] == number.to_bytes(2, "big")
        with pytest.raises(dns.exception.DNSException):
            dns.message.from_wire(answer)


def test_an_answer_says_whose_it_is_and_that_it_may_be_asked_for_all():
    data, number = query()
    with dns_server() as server:
        answer = dns.message.from_wire(exchange(server, data))

    assert (answer.id, answer.rcode()) == (number, dns.rcode.NOERROR)
    assert answer.flags & dns.flags.QR
    assert answer.flags & dns.flags.RA
    assert answer.flags & dns.flags.RD


# --- whole clients ---------------------------------------------------------------------------------------------------


async def fetched_by_aiohttp(server, url):
    """What aiohttp gets that looks names up by c-ares."""
    where = {"nameservers": [server.host], "udp_port": server.port, "tcp_port": server.port}
    resolver = aiohttp.AsyncResolver(**where, timeout=10, tries=1)
    connector = aiohttp.TCPConnector(resolver=resolver, family=socket.AF_INET)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(10)) as session:
        try:
            async with session.get(url) as response:
                return await response.text()
        finally:
            await resolver.close()


@each_row("fault", [nxdomain(), servfail(), no_address(), bad_dns("refused")])
def test_aiohttp_with_c_ares_calls_it_a_dns_error(fault):
    with dns_server(fault) as server:
        with pytest.raises(aiohttp.ClientConnectorDNSError) as caught:
            asyncio.run(fetched_by_aiohttp(server, f"http://{NAME}/"))

        assert caught.value.host == NAME
        assert isinstance(caught.value.os_error.__cause__, aiodns.error.DNSError)
        assert {(a.request.method, a.request.target) for a in server.attempts} == {("A", NAME)}


def test_a_flapping_name_is_a_refused_connection_every_other_time():
    with serve(ok(b"found")) as real, dns_server(bad_dns("flapping")) as server:
        url = f"http://{NAME}:{real.port}/"
        assert asyncio.run(fetched_by_aiohttp(server, url)) == "found"
        with raises(ConnectionRefusedError) as caught:
            asyncio.run(fetched_by_aiohttp(server, url))

        assert type(caught.value) is aiohttp.ClientConnectorError
        assert type(root_cause(caught.value)) is ConnectionRefusedError
        assert len(real.attempts) == 1


def test_c_ares_asks_for_both_families_and_each_is_an_attempt():
    async def look_up(server):
        async with c_ares(server) as resolver:
            found = await resolver.getaddrinfo(NAME, family=socket.AF_UNSPEC)
        return {node.addr[0] for node in found.nodes}

    with dns_server() as server:
        assert asyncio.run(look_up(server)) == {b"127.0.0.1", b"::1"}

        assert sorted(a.request.method for a in server.attempts) == ["A", "AAAA"]


@pytest.mark.slow
@pytest.mark.everywhere
def test_a_name_that_was_found_by_dnspython_is_dialled_by_its_address():
    with serve(ok(b"found")) as real, dns_server(resolves_to(real)) as server:
        (host,) = by_dnspython(server)
        with httpx.Client(timeout=10, verify=False) as client:
            assert client.get(f"http://{host}:{real.port}/", headers={"Host": NAME}).content == b"found"

        assert real.attempts[0].request.header("host") == NAME


# --- plans -----------------------------------------------------------------------------------------------------------


def test_a_second_query_meets_the_second_fault(tcp):
    with dns_server(sequence(servfail(), ok())) as server:
        with pytest.raises(dns.resolver.NoNameservers):
            by_dnspython(server, tcp=tcp)
        assert by_dnspython(server, tcp=tcp) == ["127.0.0.1"]

        assert [a.fault for a in server.attempts] == [servfail(), ok()]


def test_c_ares_tries_again_after_a_failure_and_the_ledger_counts_its_tries(tcp):
    with dns_server(sequence(servfail(), servfail(), ok())) as server:
        assert by_c_ares(server, tries=3, tcp=tcp) == ["127.0.0.1"]

        assert [a.fault for a in server.attempts] == [servfail(), servfail(), ok()]


@each_row("tries", [1, 2, 3])
def test_c_ares_gives_up_after_as_many_tries_as_it_was_told(tries):
    with dns_server(servfail()) as server:
        with raises(aiodns.error.DNSError):
            by_c_ares(server, tries=tries)

        assert seen(server) == [("A", "over UDP", "answer", "lookup")] * tries


@pytest.mark.slow
def test_dnspython_tries_again_after_silence():
    with dns_server(sequence(bad_dns("silence"), ok())) as server:
        resolver = stub(server)
        resolver.timeout = 0.1
        assert [str(found) for found in resolver.resolve(NAME)] == ["127.0.0.1"]

        assert [a.ended_how for a in server.attempts] == ["silence", "answer"]


def test_truncated_is_the_flag_over_udp_and_then_nobody_listens_over_tcp_until_a_good_answer():
    with dns_server(sequence(bad_dns("truncated"), ok())) as server:
        data, _ = query()
        assert dns.message.from_wire(exchange(server, data), ignore_trailing=True).flags & dns.flags.TC
        for _ in range(2):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(server.address, 10)
        answer = dns.message.from_wire(exchange(server, data))
        assert not answer.flags & dns.flags.TC
        assert by_dnspython(server, tcp=TCP) == ["127.0.0.1"]

        assert [(a.fault, a.note) for a in server.attempts] == [
            (bad_dns("truncated"), "over UDP"),
            (ok(), "over UDP"),
            (ok(), "over TCP"),
        ]


def test_a_client_that_begins_with_tcp_finds_nobody_there_if_truncated_is_next():
    with dns_server(bad_dns("truncated"), strict=False) as server:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(server.address, 10).close()
        with pytest.raises(dns.resolver.NoNameservers) as caught:
            by_dnspython(server, tcp=TCP)

        assert "[Errno 111] Connection refused" in str(caught.value)


def test_dnspython_and_c_ares_get_through_again_after_a_truncated_answer():
    with dns_server(sequence(bad_dns("truncated"), ok())) as server:
        with pytest.raises(dns.resolver.NoNameservers):
            by_dnspython(server)
        assert by_dnspython(server) == by_c_ares(server, tcp=TCP) == ["127.0.0.1"]


# --- queries of every kind -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["MX", "TXT", "NS", "SOA", "SRV", "ANY", "HTTPS", "TYPE4711"])
def test_what_is_no_address_gets_no_data(kind, tcp):
    with dns_server() as server:
        with pytest.raises(dns.resolver.NoMetaqueries if kind == "ANY" else dns.resolver.NoAnswer):
            by_dnspython(server, kind, tcp=tcp)
        asked = dns.message.make_query(NAME, kind)
        ask = dns.query.tcp if tcp else dns.query.udp
        answer = ask(asked, server.host, 10, server.port)

        assert (answer.rcode(), answer.answer) == (dns.rcode.NOERROR, [])
        assert server.attempts[-1].request.method == kind


def test_c_ares_is_told_that_there_is_no_mail_server():
    with dns_server() as server:
        with raises(aiodns.error.DNSError) as caught:
            by_c_ares(server, "MX")

        assert caught.cause.args[0] == aiodns.error.ARES_ENODATA
        assert seen(server) == [("MX", "over UDP", "answer", None)]


def test_a_query_with_edns_is_answered_with_edns(tcp):
    options = [dns.edns.GenericOption(10, b"8 bytes!"), dns.edns.GenericOption(65_001, b"")]
    asked = dns.message.make_query(NAME, "A", use_edns=0, payload=1232, want_dnssec=True, options=options)
    with dns_server() as server:
        answer = (dns.query.tcp if tcp else dns.query.udp)(asked, server.host, 10, server.port)

        assert answer.edns == 0
        assert [str(found) for rrset in answer.answer for found in rrset] == ["127.0.0.1"]


@each_row("name", [".", "com", "a.b", "UPPER.Example.COM", "x" * 63 + ".test", "*.example.com", LONG])
@each_row("fault", [None, nxdomain(), bad_dns("cname_loop"), bad_dns("flapping")])
def test_a_name_of_any_form_is_answered(fault, name, caplog):
    data, number = query(name=name)
    with dns_server(fault, strict=False) as server:
        answer = dns.message.from_wire(exchange(server, data, seconds=1))

        assert answer.id == number
        assert answer.question[0].name == dns.name.from_text(name)
        assert server.attempts[0].request.target == dns.name.from_text(name).to_text(omit_final_dot=True)
    assert caplog.records == []


def test_several_queries_on_one_connection_are_several_attempts_and_answered_in_order(dial):
    asked = [query(kind, name=f"n{n}.test") for n, kind in enumerate(["A", "AAAA", "MX", "A"])]
    with dns_server(sequence(ok(), ok(), ok(), nxdomain())) as server:
        client = dial(server)
        client.sendall(prefixed(*(data for data, _ in asked)))  # pipelined: RFC 7766, 6.2.1.1
        with client.makefile("rb") as stream:
            answers = [dns.message.from_wire(heard(stream)) for _ in asked]

        assert [answer.id for answer in answers] == [number for _, number in asked]
        assert [len(answer.answer) for answer in answers] == [1, 1, 0, 0]
        assert [answer.rcode() for answer in answers][2:] == [dns.rcode.NOERROR, dns.rcode.NXDOMAIN]
        assert [a.request.target for a in server.attempts] == ["n0.test", "n1.test", "n2.test", "n3.test"]


def test_after_silence_the_next_query_on_the_connection_is_answered(dial):
    first, second = query(name="first.test"), query(name="second.test")
    with dns_server(sequence(bad_dns("silence"), ok())) as server:
        client = dial(server)
        client.sendall(prefixed(first[0], second[0]))
        with client.makefile("rb") as stream:
            assert dns.message.from_wire(heard(stream)).id == second[1]


def test_a_query_that_comes_byte_by_byte_is_one(dial):
    data, number = query()
    with dns_server() as server:
        client = dial(server)
        for byte in prefixed(data):
            client.sendall(bytes([byte]))
        with client.makefile("rb") as stream:
            assert dns.message.from_wire(heard(stream)).id == number

        assert len(server.attempts) == 1


def test_a_client_that_has_finished_sending_is_still_answered_and_then_the_connection_ends(dial):
    data, number = query()
    with dns_server(slow_resolve(0.05)) as server:
        client = dial(server)
        client.sendall(prefixed(data))
        client.shutdown(socket.SHUT_WR)
        with client.makefile("rb") as stream:
            assert dns.message.from_wire(heard(stream)).id == number
            assert stream.read() == b""


def test_a_query_with_two_questions_or_none_and_an_answer_are_no_query():
    asked = dns.message.make_query(NAME, "A")
    none = dns.message.make_query(NAME, "A")
    none.question = []
    asked.question.append(asked.question[0])
    answer = dns.message.make_response(dns.message.make_query(NAME, "A"))
    data, number = query()
    with dns_server() as server, socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect(server.address)
        for message in (asked, none, answer):
            client.send(message.to_wire())
        client.send(data)
        assert dns.message.from_wire(client.recv(1000)).id == number

        assert len(server.attempts) == 1


@pytest.mark.slow
def test_many_names_at_once_are_all_answered():
    async def ask(server):
        async with c_ares(server, tries=3) as resolver:  # a datagram may get lost, as in any flood
            found = await asyncio.gather(*(resolver.query_dns(f"n{n}.test", "A") for n in range(100)))
        return [result.answer[0].data.addr for result in found]

    with dns_server() as server:
        assert asyncio.run(ask(server)) == ["127.0.0.1"] * 100

        assert {a.request.target for a in server.attempts} == {f"n{n}.test" for n in range(100)}


def test_a_server_of_ipv6_answers_over_both(ipv6):
    with dns_server(nxdomain(), host=ipv6) as server:
        for tcp in (UDP, TCP):
            with pytest.raises(dns.resolver.NXDOMAIN):
                by_dnspython(server, tcp=tcp)

        assert server.address == ("::1", server.port)
        assert repr(server) == f"<DnsServer [::1]:{server.port} nxdomain()>"
        assert [a.note for a in server.attempts] == ["over UDP", "over TCP"]


def test_a_server_of_all_addresses_is_reached_by_that_of_loopback():
    with dns_server(host="0.0.0.0", allow_remote=True) as server:
        assert server.address == ("127.0.0.1", server.port)
        assert [str(found) for found in stub_at(server.address).resolve(NAME)] == ["127.0.0.1"]


def stub_at(address):
    """A stub resolver that asks this address alone."""
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = [address[0]], address[1]
    resolver.lifetime = 10
    return resolver


# --- what nobody should send -----------------------------------------------------------------------------------------


def served(server):
    """That the next client is served, over both; datagrams may have been lost in a flood, so it asks again."""
    resolver = stub(server)
    resolver.timeout = 0.5
    return [str(found) for tcp in (UDP, TCP) for found in resolver.resolve(NAME, tcp=tcp)] == ["127.0.0.1"] * 2


@pytest.mark.slow
def test_a_flood_of_random_datagrams_hurts_nobody(caplog):
    chance = random.Random(6)
    with dns_server() as server:
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.connect(server.address)
            for _ in range(1000):
                client.send(chance.randbytes(chance.randrange(0, 80)))

            assert served(server)
        assert {a.request.target for a in server.attempts if a.request.target == NAME} == {NAME}
    assert caplog.records == []


@pytest.mark.slow
def test_queries_with_a_byte_turned_over_hurt_nobody(caplog):
    chance = random.Random(6)
    data, _ = query(use_edns=0, options=[dns.edns.GenericOption(10, b"8 bytes!")])
    with dns_server(cycle(ok(), bad_dns("cname_loop"), bad_dns("flapping"), nxdomain()), strict=False) as server:
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.connect(server.address)
            for at in range(len(data)):
                for _ in range(4):
                    changed = bytearray(data)
                    changed[at] = chance.randrange(256)
                    client.send(changed)
                server.attempts  # noqa: B018 - it waits until the loop has worked them off
        assert len(server.attempts) > len(data)
    assert caplog.records == []


@pytest.mark.slow
@pytest.mark.measured
@each_row(
    "said",
    [b"", b"\0", b"\xff\xff", b"\x00\x40half of it", prefixed(b""), prefixed(b"\0" * 12), prefixed(b"GET / HTTP/1.1")],
)
def test_connections_that_say_half_a_query_or_none_hurt_nobody(dial, said, caplog):
    with dns_server() as server:
        clients = [dial(server) for _ in range(20)]
        for client in clients:
            client.sendall(said)

        assert served(server)
        assert {attempt.request.target for attempt in server.attempts} == {NAME}
    assert caplog.records == []
    for client in clients:
        assert client.recv(10) == b""


def test_a_length_that_is_too_small_makes_the_rest_another_message(dial, caplog):
    data, number = query()
    with dns_server() as server:
        client = dial(server)
        client.sendall(struct.pack("!H", 3) + b"\xff\xff\xff" + prefixed(data))
        with client.makefile("rb") as stream:
            assert dns.message.from_wire(heard(stream)).id == number
    assert caplog.records == []


def test_a_client_that_resets_before_the_answer_hurts_nobody(dial):
    data, _ = query()
    with dns_server(sequence(slow_resolve(0.05), slow_resolve(0.05), ok())) as server:
        client = dial(server)
        client.sendall(prefixed(data))
        server.wait_for_attempts(1, at="lookup")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        with socket.socket(type=socket.SOCK_DGRAM) as gone:
            gone.sendto(data, server.address)
            server.wait_for_attempts(2, at="lookup")
        assert [a.ended_how for a in server.wait_for_attempts(2, at="end")] == ["answer"] * 2

        assert served(server)


# --- the end ---------------------------------------------------------------------------------------------------------


def test_a_server_that_is_closed_leaves_a_slow_answer_unsaid(dial, tcp):
    data, _ = query()
    with socket.socket(type=socket.SOCK_DGRAM) as udp, contextlib.ExitStack() as closing:
        server = closing.enter_context(dns_server(slow_resolve(30)))
        client = dial(server) if tcp else udp
        if tcp:
            client.sendall(prefixed(data))
        else:
            udp.connect(server.address)
            udp.send(data)
        server.wait_for_attempts(1, at="lookup")
        server.close()

        (attempt,) = server.attempts
        assert (attempt.sent_bytes, attempt.struck.point) == (0, "lookup")
        assert (attempt.ended_by, attempt.ended_how) == ("server", "stop")
        if tcp:
            assert client.recv(10) == b""
        else:
            client.setblocking(False)
            with pytest.raises(OSError, match=r"Connection refused|temporarily unavailable"):
                client.recv(10)


def test_both_ports_are_free_after_the_end_and_closing_twice_is_once():
    with dns_server() as server:
        pass
    server.close()
    with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
        udp.bind(server.address)
        tcp.bind(server.address)
    assert repr(server) == f"<DnsServer 127.0.0.1:{server.port} ok() closed>"


def test_the_guard_says_that_nobody_asked():
    server = dns_server(nxdomain())
    server.close()
    with pytest.raises(NotStruckError) as caught:
        server.check_struck()

    assert str(caught.value) == (
        f"nxdomain() never struck: no query came to 127.0.0.1:{server.port}. (strict=False allows it.)"
    )


def test_the_guard_says_what_was_asked_instead():
    with pytest.raises(NotStruckError) as caught, dns_server(sequence(ok(), servfail())) as server:
        by_dnspython(server)

    assert str(caught.value).startswith("servfail() never struck: #1 A api.example.com: ok() reached 'lookup', ")
    assert "ended by the server (answer) after 0" in str(caught.value)
    assert "(over UDP)" in str(caught.value)


def test_the_guard_is_silent_without_a_fault_and_if_it_needn_t_be_strict():
    with dns_server():
        pass
    with dns_server(nxdomain(), strict=False):
        pass


def test_a_query_that_has_begun_is_waited_for():
    with dns_server() as server:
        by_dnspython(server)
        (attempt,) = server.wait_for_attempts(1, 1)

    assert attempt.request.target == NAME


def test_what_happened_is_drawn():
    with dns_server(sequence(nxdomain(), ok())) as server:
        assert server.drawing().endswith("no query came")
        with pytest.raises(dns.resolver.NXDOMAIN):
            by_dnspython(server)
        by_dnspython(server, "AAAA", tcp=TCP)
        lines = server.drawing().splitlines()

    assert lines[0] == f"queries to 127.0.0.1:{server.port} sequence(nxdomain(), ok())"
    assert [line for line in lines if line.startswith("#")] == ["#1 nxdomain(), DNS", "#2 ok(), DNS"]
    assert [line.partition(" bytes: ")[2].rstrip("->|") for line in lines if "bytes" in line] == [
        *("A api.example.com ", "NXDOMAIN "),
        *("AAAA api.example.com ", "1 answer "),
    ]
    assert any("=== no name: struck at 'lookup' ===" in line for line in lines)
    assert [line.strip() for line in lines if "over" in line] == ["over UDP", "over TCP"]


@pytest.mark.slow
@pytest.mark.measured
@pytest.mark.everywhere
def test_the_fixture_has_one_that_ends_with_the_test(pytester):
    pytester.makepyfile(
        """
        import dns.resolver, pytest
        from faultline import nxdomain

        def test_asked(faultline):
            server = faultline.dns_server(nxdomain())
            resolver = dns.resolver.Resolver(configure=False)
            resolver.nameservers, resolver.port = [server.host], server.port
            with pytest.raises(dns.resolver.NXDOMAIN):
                resolver.resolve("api.example.com")

        def test_not_asked(faultline):
            faultline.dns_server(nxdomain())

        def test_not_strict(faultline):
            faultline.dns_server(nxdomain(), strict=False)
            faultline.dns_server()
        """
    )
    ran = pytester.runpytest_inprocess("-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:asyncio")

    ran.assert_outcomes(passed=3, errors=1)
    ran.stdout.fnmatch_lines(["*nxdomain() never struck: no query came to 127.0.0.1:*"])


# --- where it is -----------------------------------------------------------------------------------------------------


def test_a_free_port_is_one_number_for_both():
    with dns_server() as server:
        assert server.address == ("127.0.0.1", server.port)
        assert by_dnspython(server) == by_dnspython(server, tcp=TCP) == ["127.0.0.1"]
        with pytest.raises(PortError):
            dns_server(port=server.port)


def test_a_port_that_was_asked_for_is_taken():
    with dns_server() as first:
        port = first.port
    with dns_server(port=port) as server:
        assert server.port == port
        assert by_dnspython(server) == ["127.0.0.1"]


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM], ids=["UDP", "TCP"])
def test_a_port_that_is_taken_in_either_is_an_error(kind, own_port):
    port = own_port
    with socket.socket(type=kind) as other:
        other.bind(("127.0.0.1", port))
        with pytest.raises(PortError) as caught:
            dns_server(port=port)
        assert str(caught.value) == (
            f"port={port}: expected a free port, but 127.0.0.1:{port} is in use; choose another or 0."
        )
    with dns_server(port=port):  # nothing was kept of the other of the two
        pass


def test_it_takes_dnspython(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "dns" else found(name, *rest))
    with pytest.raises(UnsupportedError) as caught:
        dns_server()

    assert str(caught.value) == 'dns_server() needs dnspython; run `pip install "pytest-faultline[dns]"`.'


@each_row("plan", [reset(), blackhole(), echo(), latency(1), sequence(nxdomain(), reset())])
def test_what_is_not_of_lookups_is_refused(plan):
    with pytest.raises(ParameterError) as caught:
        dns_server(plan)

    culprit = reset() if repr(plan).startswith("sequence") else plan
    assert re.fullmatch(rf"{re.escape(repr(culprit))}: expected .*\(…\); a DNS server .*\.", str(caught.value))


@each_row("order", ["dead_first", "blackhole_first", "ipv6_first"])
def test_an_order_of_addresses_is_refused_because_nobody_would_meet_it(order):
    with serve(ok()) as real, pytest.raises(ParameterError):
        dns_server(addresses(order, real)).close()


@each_row(
    ("options", "words"),
    [
        ({"plan": 3}, "plan=3: expected a fault such as reset() or ok(), or a plan such as sequence(…)."),
        ({"strict": 1}, "strict=1: expected True or False."),
        ({"port": 70_000}, "port=70000: expected a whole number, from 0 to 65535."),
        ({"host": "example.com"}, "host='example.com': expected an IP address of this machine, or 'localhost'."),
    ],
)
def test_a_value_that_can_t_mean_anything_is_refused(options, words):
    with pytest.raises(ParameterError) as caught:
        dns_server(**options)

    assert str(caught.value).endswith(words)


def test_no_such_kind_of_bad_dns():
    with pytest.raises(ParameterError) as caught:
        bad_dns("garbag")

    assert str(caught.value) == (
        "kind='garbag': expected one of 'refused', 'silence', 'truncated', 'wrong_id', 'garbage', 'cname_loop', "
        "'flapping'. Did you mean 'garbage'? Write bad_dns('garbage')."
    )


def test_a_host_of_another_machine_is_an_error():
    with pytest.raises(PortError, match=r"host='192\.0\.2\.1': expected an address of this machine"):
        dns_server(host="192.0.2.1", allow_remote=True)
