"""What this process looks up, by plan: each fault with each client, the spellings of a name, and what is put back."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import anyio
import pytest
import requests
import trio
from support import ending
from support.clients import ONE_OF_EACH_WAY, by_anyio_on_asyncio, by_requests
from support.tables import each_row

from faultline import (
    ConflictError,
    NotStruckError,
    ParameterError,
    addresses,
    bad_cert,
    no_address,
    nxdomain,
    ok,
    raises,
    reset,
    resolve,
    resolves_to,
    root_cause,
    sequence,
    servfail,
    slow_resolve,
    sometimes,
    status,
    when,
)
from faultline._core.plan import entries_of
from faultline._servers.names import overlay

pytestmark = [pytest.mark.usefixtures("nothing_is_left_behind"), pytest.mark.leaves_open]

NAME = "api.example.com"
FAULTS = {nxdomain(): socket.EAI_NONAME, servfail(): socket.EAI_AGAIN, no_address(): socket.EAI_NODATA}
WORDS = {
    nxdomain(): "Name or service not known",
    servfail(): "Temporary failure in name resolution",
    no_address(): "No address associated with hostname",
}
FUNCTIONS = ["getaddrinfo", "gethostbyname", "gethostbyname_ex"]


def look_up(function, name=NAME):
    return getattr(socket, function)(name, *([443] if function == "getaddrinfo" else []))


def found(name=NAME, port=80, **options):
    """The addresses that a lookup leads to, each once."""
    infos = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, **options)
    return [info[4][:2] for info in infos]


def outcome(function, *arguments):
    """What a function returns, or the number of the error that it raises."""
    try:
        return function(*arguments)
    except OSError as error:
        return error.errno


def lookups(resolver):
    return [(a.request.method, a.request.target) for a in resolver.attempts]


@pytest.fixture
def dead_port():
    """A port of 127.0.0.1 that is taken and where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


# --- each fault, with the functions and with each client ------------------------------------------------------------


@each_row("fault", FAULTS)
def test_a_lookup_that_fails_raises_the_error_of_the_system(faultline, fault):
    resolver = faultline.resolve(NAME, fault)

    for function in FUNCTIONS:
        with pytest.raises(socket.gaierror) as caught:
            look_up(function)
        assert type(caught.value) is socket.gaierror
        assert caught.value.args == (FAULTS[fault], WORDS[fault])

    assert lookups(resolver) == [(function, NAME) for function in FUNCTIONS]
    for attempt in resolver.attempts:
        assert (attempt.fault, attempt.point, attempt.struck.point) == (fault, "lookup", "lookup")
        assert (*ending(attempt), attempt.connection, attempt.note) == ("server", "no name", None, "")


def test_each_client_says_that_the_name_was_not_found_and_is_led_to_the_server_at_last(faultline, fetch, dns_error):
    server = faultline.serve(ok(b"found"))
    plan = [*FAULTS, slow_resolve(0.01) & nxdomain(), resolves_to(server)]
    resolver = faultline.resolve(NAME, sequence(*plan))
    url = f"http://{NAME}:{server.port}/v1"

    for number in (*FAULTS.values(), socket.EAI_NONAME):
        with raises(socket.gaierror) as caught:
            fetch(url)
        assert type(caught.value) is dns_error
        assert type(root_cause(caught.value)) is socket.gaierror
        assert root_cause(caught.value).errno == number

    assert fetch(url) == b"found"
    (request,) = [a.request for a in server.attempts]
    assert (request.target, request.header("host")) == ("/v1", f"{NAME}:{server.port}")
    assert lookups(resolver) == [("getaddrinfo", NAME)] * 5
    assert [a.fault for a in resolver.attempts] == plan
    *_, slow, last = resolver.attempts
    assert slow.ended_seconds - slow.started_seconds >= 0.01
    assert slow.struck.at_seconds - slow.started_seconds >= 0.01
    assert (last.struck, *ending(last)) == (None, "server", "answer")
    assert last.note == f"found 127.0.0.1:{server.port}"


@pytest.mark.parametrize("by", [by_requests, by_anyio_on_asyncio], indirect=True, ids=["requests", "anyio"])
def test_a_client_that_takes_the_port_from_the_lookup_is_led_to_that_of_the_server(
    faultline, fetch, takes_the_port, dead_port
):
    server = faultline.serve(ok(b"found"))
    faultline.resolve(NAME, resolves_to(server))

    if takes_the_port:
        assert fetch(f"http://{NAME}:{dead_port}/") == b"found"
    else:
        with raises(ConnectionRefusedError):
            fetch(f"http://{NAME}:{dead_port}/")

    assert len(server.attempts) == takes_the_port


@each_row(
    ("target", "address", "note"),
    [
        ("127.0.0.1", ("127.0.0.1", 80), "found 127.0.0.1"),
        ("127.1.2.3", ("127.1.2.3", 80), "found 127.1.2.3"),
        ("127.0.0.1:8080", ("127.0.0.1", 8080), "found 127.0.0.1:8080"),
        ("::1", ("::1", 80), "found [::1]"),
        ("[::1]", ("::1", 80), "found [::1]"),
        ("[::1]:8080", ("::1", 8080), "found [::1]:8080"),
    ],
)
def test_a_name_leads_to_an_address_with_the_port_asked_for_or_its_own(target, address, note, needs_ipv6):
    with resolve(NAME, resolves_to(target)) as resolver:
        assert found() == [address]

    assert resolver.attempts[0].note == note


def test_a_name_leads_to_a_server_on_ipv6(faultline, needs_ipv6):
    server = faultline.serve(ok(b"six"), host="::1")
    faultline.resolve(NAME, resolves_to(server))

    with socket.create_connection((NAME, 443), timeout=10) as client:
        assert client.getpeername()[:2] == ("::1", server.port)

    assert len(server.attempts) == 1


def test_all_four_functions_know_where_a_name_leads(faultline):
    server = faultline.serve(ok())
    resolver = faultline.resolve(NAME, resolves_to(server))

    assert found() == [server.address]
    assert socket.gethostbyname(NAME) == "127.0.0.1"
    assert socket.gethostbyname_ex(NAME) == (NAME, [], ["127.0.0.1"])
    assert socket.getnameinfo(server.address, socket.NI_NUMERICSERV) == (NAME, str(server.port))
    assert socket.getnameinfo(server.address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV) == (
        "127.0.0.1",
        str(server.port),
    )
    assert lookups(resolver) == [(function, NAME) for function in FUNCTIONS]


def test_the_name_of_an_address_is_not_found_while_all_lookups_fail():
    with resolve("*", servfail()) as resolver:
        with pytest.raises(socket.gaierror) as caught:
            socket.getnameinfo(("127.0.0.1", 80), 0)

        assert caught.value.errno == socket.EAI_AGAIN
        assert lookups(resolver) == [("getnameinfo", "127.0.0.1")]
        numbers = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
        assert socket.getnameinfo(("127.0.0.1", 80), numbers) == ("127.0.0.1", "80")
        assert len(resolver.attempts) == 1


def test_a_lookup_may_name_its_arguments(faultline):
    server = faultline.serve(ok())
    faultline.resolve(NAME, resolves_to(server))

    infos = socket.getaddrinfo(host=NAME, port="http", family=socket.AF_INET, type=socket.SOCK_DGRAM, proto=0, flags=0)

    assert [(i[0], i[1], i[4]) for i in infos] == [(socket.AF_INET, socket.SOCK_DGRAM, server.address)]


def test_a_service_by_its_name_keeps_its_port():
    with resolve(NAME, resolves_to("127.0.0.1")):
        assert found(port="http") == [("127.0.0.1", 80)]


def test_the_canonical_name_is_the_one_asked_for():
    with resolve(NAME, resolves_to("127.0.0.1")):
        infos = socket.getaddrinfo("API.example.com", 80, flags=socket.AI_CANONNAME)
        plain = socket.getaddrinfo("API.example.com", 80, flags=socket.AI_PASSIVE)

    assert [info[3] for info in infos] == ["API.example.com", *[""] * (len(infos) - 1)]
    assert len(infos) > 1  # one for each type of socket
    assert {info[3] for info in plain} == {""}


def test_ipv6_of_a_name_that_has_none_is_not_found(faultline, needs_ipv6):
    resolver = faultline.resolve(NAME, resolves_to("127.0.0.1"))

    with pytest.raises(socket.gaierror) as caught:
        socket.getaddrinfo(NAME, 80, family=socket.AF_INET6)

    assert caught.value.errno == socket.EAI_ADDRFAMILY  # getaddrinfo(3)
    assert found(family=socket.AF_INET) == [("127.0.0.1", 80)]
    assert len(resolver.attempts) == 2


@each_row("function", ["gethostbyname", "gethostbyname_ex"])
def test_ipv4_of_a_name_that_has_none_is_not_found(faultline, function):
    faultline.resolve(NAME, resolves_to("::1"))

    with pytest.raises(socket.gaierror) as caught:
        look_up(function)

    assert caught.value.errno == socket.EAI_ADDRFAMILY


def test_a_question_for_an_address_in_figures_is_no_lookup_of_a_name(faultline):
    resolver = faultline.resolve(NAME, sequence(servfail(), nxdomain()), strict=False)

    with pytest.raises(socket.gaierror) as caught:
        socket.getaddrinfo(NAME, 80, flags=socket.AI_NUMERICHOST)

    assert caught.value.errno == socket.EAI_NONAME
    assert resolver.attempts == ()


def test_a_connect_by_name_asks_the_resolver_too(faultline):
    server = faultline.serve(ok(), strict=False)
    resolver = faultline.resolve("localhost", nxdomain())

    with socket.socket() as client, pytest.raises(socket.gaierror):
        client.connect(("localhost", server.port))

    assert len(resolver.attempts) == 1
    assert server.attempts == ()


# --- slow ------------------------------------------------------------------------------------------------------------


@each_row("fault", [slow_resolve(60) & nxdomain(), slow_resolve(60) & resolves_to("127.0.0.1")])
def test_a_thread_that_waits_for_a_slow_lookup_wakes_when_it_is_closed(fault):
    with ThreadPoolExecutor() as threads:
        with resolve(NAME, fault, strict=False) as resolver:
            waiting = threads.submit(outcome, socket.gethostbyname, NAME)
            resolver.wait_for_attempts(1, at="lookup")
            assert not waiting.done()

        assert waiting.result(10) == (socket.EAI_NONAME if fault.break_ else "127.0.0.1")

    assert [a.ended_how for a in resolver.attempts] == ["no name" if fault.break_ else "answer"]


def test_a_slow_lookup_leaves_the_answer_to_the_system():
    with resolve("localhost", slow_resolve(0.01)) as resolver:
        assert socket.gethostbyname("localhost") == "127.0.0.1"

    assert resolver.attempts[0].note == "left to the system or another resolver"


def test_slow_and_what_is_found_may_be_said_in_either_order(faultline):
    server = faultline.serve(ok())

    for fault in (slow_resolve(0.01) & resolves_to(server), resolves_to(server) & slow_resolve(0.01)):
        with resolve(NAME, fault):
            assert found() == [server.address]


def test_a_clients_timeout_ends_the_wait_for_a_slow_lookup_of_asyncio(faultline):
    resolver = faultline.resolve(NAME, slow_resolve(60) & nxdomain())

    async def connect():
        with pytest.raises((asyncio.TimeoutError, TimeoutError)):
            await asyncio.wait_for(asyncio.open_connection(NAME, 80), 0.05)
        assert resolver.attempts[0].ended_seconds is None
        resolver.close()

    asyncio.run(connect())

    assert [a.ended_how for a in resolver.attempts] == ["no name"]


def test_the_loop_of_trio_goes_on_while_a_lookup_is_slow(faultline):
    resolver = faultline.resolve(NAME, slow_resolve(1) & nxdomain())
    seen = []

    async def close_it():
        await trio.to_thread.run_sync(lambda: resolver.wait_for_attempts(1, at="lookup"))
        seen.append(resolver.attempts[0].ended_seconds)
        resolver.close()

    async def connect():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(close_it)
            with pytest.raises(socket.gaierror):
                await trio.open_tcp_stream(NAME, 80)

    trio.run(connect)

    assert seen == [None]


# --- plans -----------------------------------------------------------------------------------------------------------


def errors_of(count):
    return [outcome(socket.gethostbyname, NAME) for _ in range(count)]


def test_a_sequence_deals_one_fault_to_each_lookup_and_repeats_the_last():
    with resolve(NAME, sequence(servfail(), nxdomain(), resolves_to("127.0.0.9"))) as resolver:
        assert errors_of(4) == [socket.EAI_AGAIN, socket.EAI_NONAME, "127.0.0.9", "127.0.0.9"]

    assert [a.number for a in resolver.attempts] == [1, 2, 3, 4]
    assert len(resolver.intervals) == 3


def test_sometimes_deals_the_same_with_the_same_seed():
    plan = sometimes(0.5, servfail(), otherwise=resolves_to("127.0.0.9"), seed=7)

    def run():
        with resolve(NAME, plan, strict=False):
            return errors_of(20)

    first = run()
    assert set(first) == {socket.EAI_AGAIN, "127.0.0.9"}
    assert run() == first


def test_a_chance_that_may_be_nothing_is_not_asked_for_by_the_guard():
    with resolve(NAME, sequence(sometimes(0, nxdomain(), otherwise=resolves_to("127.0.0.1"))), strict=True):
        assert errors_of(1) == ["127.0.0.1"]


def test_a_plan_is_dealt_across_the_functions():
    with resolve(NAME, sequence(servfail(), nxdomain(), no_address())):
        assert [outcome(look_up, function) for function in FUNCTIONS] == list(
            map(FAULTS.get, [servfail(), nxdomain(), no_address()])
        )


def test_many_threads_share_a_plan():
    plan = sequence(*[nxdomain()] * 10, resolves_to("127.0.0.1"))
    with ThreadPoolExecutor(8) as threads, resolve(NAME, plan) as resolver:
        outcomes = list(threads.map(lambda _: outcome(socket.gethostbyname, NAME), range(30)))

    assert sorted(map(str, outcomes)) == sorted(["127.0.0.1"] * 20 + [str(socket.EAI_NONAME)] * 10)
    assert sorted(a.number for a in resolver.attempts) == list(range(1, 31))


# --- names and spellings ---------------------------------------------------------------------------------------------


@each_row("made_for", ["API.example.COM", "api.example.com.", NAME])
def test_a_name_is_asked_for_in_any_spelling(faultline, made_for):
    resolver = faultline.resolve(made_for, nxdomain())
    spellings = ["API.example.COM", "api.example.com.", "Api.Example.Com.", b"api.example.com", NAME]

    for function in FUNCTIONS:
        assert {outcome(look_up, function, name) for name in spellings} == {socket.EAI_NONAME}

    assert resolver.name == NAME
    assert lookups(resolver) == [(function, NAME) for function in FUNCTIONS for _ in spellings]


@each_row("made_for", ["bücher.example", "BÜCHER.example.", "xn--bcher-kva.example"])
def test_an_international_name_is_the_same_in_both_forms(made_for):
    with resolve(made_for, nxdomain()) as resolver:
        for name in ("bücher.example", "BÜCHER.example.", "xn--bcher-kva.example", b"XN--bcher-kva.example"):
            assert outcome(socket.getaddrinfo, name, 80) == socket.EAI_NONAME

    assert {target for _, target in lookups(resolver)} == {"xn--bcher-kva.example"}


def test_an_international_name_in_the_url_of_requests_is_found(faultline):
    server = faultline.serve(ok(b"gefunden"))
    faultline.resolve("bücher.example", resolves_to(server))

    assert requests.get("http://bücher.example/", timeout=10).content == b"gefunden"


@each_row("name", ["other.example.com", "example.com", "www.api.example.com", "api.example.co"])
def test_other_names_are_left_to_the_next(name):
    with resolve("*", resolves_to("127.0.0.9")) as all_names, resolve(NAME, nxdomain(), strict=False) as resolver:
        assert [look_up(f, name) for f in FUNCTIONS[1:]] == ["127.0.0.9", (name, [], ["127.0.0.9"])]

    assert resolver.attempts == ()
    assert len(all_names.attempts) == 2


@each_row("name", [NAME, "*"])
def test_addresses_are_no_names(needs_ipv6, name):
    hosts = ["127.0.0.1", "::1", b"127.0.0.1", "127.1", None]
    before = [socket.getaddrinfo(host, 80) for host in hosts]

    with resolve(name, nxdomain(), strict=False) as resolver:
        assert [socket.getaddrinfo(host, 80) for host in hosts] == before

    assert resolver.attempts == ()


def test_an_address_of_nobody_has_the_name_that_the_system_knows(faultline):
    before = socket.getnameinfo(("127.0.0.1", 80), 0)

    with resolve(NAME, resolves_to("127.0.0.9")):
        assert socket.getnameinfo(("127.0.0.9", 80), 0)[0] == NAME
        assert socket.getnameinfo(("127.0.0.1", 80), 0) == before
    for plan in (resolves_to("127.0.0.1"), ok()):
        with resolve("*", plan) as resolver:
            assert socket.getnameinfo(("127.0.0.1", 80), 0) == before
        assert resolver.attempts == ()


def test_a_star_is_all_names():
    with resolve("*", nxdomain()) as resolver:
        for name in (NAME, "other.example.com", "a", "localhost"):
            assert outcome(socket.gethostbyname, name) == socket.EAI_NONAME

    assert [target for _, target in lookups(resolver)] == [NAME, "other.example.com", "a", "localhost"]


def test_a_healthy_fault_leaves_the_name_to_the_system():
    before = look_up("getaddrinfo", "localhost")

    with resolve("localhost", sequence(nxdomain(), ok())) as resolver:
        assert outcome(look_up, "getaddrinfo", "localhost") == socket.EAI_NONAME
        assert look_up("getaddrinfo", "localhost") == before

    assert [(a.ended_how, a.note) for a in resolver.attempts] == [
        ("no name", ""),
        ("answer", "left to the system or another resolver"),
    ]


# --- several at once -------------------------------------------------------------------------------------------------


def test_of_two_resolvers_of_one_name_the_last_counts():
    with resolve(NAME, servfail()) as outer:
        assert errors_of(1) == [socket.EAI_AGAIN]
        with resolve(NAME, nxdomain()) as inner:
            assert errors_of(1) == [socket.EAI_NONAME]
        assert errors_of(1) == [socket.EAI_AGAIN]

    assert (len(outer.attempts), len(inner.attempts)) == (2, 1)


def test_a_resolver_without_an_answer_of_its_own_leaves_a_name_to_the_one_before():
    with resolve("localhost", nxdomain()) as outer, resolve("localhost", ok()) as inner:
        assert outcome(socket.gethostbyname, "localhost") == socket.EAI_NONAME

    assert [a.note for a in inner.attempts] == ["left to the system or another resolver"]
    assert len(outer.attempts) == 1


# --- several addresses -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@each_row(("first", "how"), [("dead_first", "RST"), ("blackhole_first", "silence"), ("ipv6_first", "RST")])
def test_a_client_that_tries_one_address_after_the_other_reaches_the_second(faultline, needs_ipv6, first, how):
    server = faultline.serve(ok())
    resolver = faultline.resolve(NAME, addresses(first, server))

    (before, _), (after, port) = found()
    assert re.fullmatch(r"127\.0\.0\.\d+|::1", before)
    assert (before == "::1") is (first == "ipv6_first")
    assert (after, port) == server.address
    with socket.create_connection((NAME, server.port), timeout=0.2) as client:
        assert client.getpeername() == server.address
        assert [a.ended_how for a in server.attempts] == [how, None]

    assert resolver.attempts[-1].note.endswith(f":{port}, 127.0.0.1:{port}")


def test_the_address_before_is_none_after_the_resolver_is_closed(faultline):
    server = faultline.serve(ok())
    with resolve(NAME, addresses("dead_first", server)):
        first = found()[0]

    with socket.socket() as sock:
        sock.bind(first)  # it is free


def test_lookups_of_ipv4_alone_get_both_addresses(faultline):
    server = faultline.serve(ok())
    faultline.resolve(NAME, addresses("dead_first", server))

    name, aliases, hosts = socket.gethostbyname_ex(NAME)

    assert (name, aliases, len(hosts), hosts[1]) == (NAME, [], 2, "127.0.0.1")
    assert socket.gethostbyname(NAME) == hosts[0]


def test_lookups_of_ipv4_alone_leave_out_the_address_of_ipv6(faultline, needs_ipv6):
    server = faultline.serve(ok())
    faultline.resolve(NAME, addresses("ipv6_first", server))

    assert socket.gethostbyname_ex(NAME) == (NAME, [], ["127.0.0.1"])
    assert found(family=socket.AF_INET6) == [("::1", server.port)]


@ONE_OF_EACH_WAY
def test_a_client_reaches_the_good_address_after_the_dead_one(faultline, fetch, needs_ipv6):
    for first in ("dead_first", "ipv6_first"):
        server = faultline.serve(ok(b"second"))
        faultline.resolve(NAME, addresses(first, server))

        assert fetch(f"http://{NAME}:{server.port}/") == b"second"

        assert [a.request.target if a.request else a.ended_how for a in server.attempts] == ["RST", "/"]


async def by_asyncio(port):
    _, writer = await asyncio.wait_for(asyncio.open_connection(NAME, port, happy_eyeballs_delay=0.05), 10)
    peer = writer.get_extra_info("peername")
    writer.close()
    await writer.wait_closed()
    return peer


async def by_anyio(port):
    with anyio.fail_after(10):
        async with await anyio.connect_tcp(NAME, port, happy_eyeballs_delay=0.05) as stream:
            return stream.extra(anyio.abc.SocketAttribute.remote_address)


async def by_trio(port):
    with trio.fail_after(10):
        async with await trio.open_tcp_stream(NAME, port, happy_eyeballs_delay=0.05) as stream:
            return stream.socket.getpeername()


async def by_aiohttp(port):
    connector = aiohttp.TCPConnector(resolver=aiohttp.ThreadedResolver(), happy_eyeballs_delay=0.05)
    limit = aiohttp.ClientTimeout(total=10)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=limit) as session,
        session.get(f"http://{NAME}:{port}/") as response,
    ):
        return response.connection and response.connection.transport.get_extra_info("peername")


@pytest.mark.slow
@each_row("first", ["dead_first", "blackhole_first", "ipv6_first"])
@each_row(
    ("connect", "backend"),
    [(by_asyncio, "asyncio"), (by_anyio, "asyncio"), (by_anyio, "trio"), (by_trio, "trio"), (by_aiohttp, "asyncio")],
)
def test_happy_eyeballs_reach_the_good_address(faultline, needs_ipv6, connect, backend, first):
    server = faultline.serve(ok())
    faultline.resolve(NAME, addresses(first, server))

    assert anyio.run(connect, server.port, backend=backend) in (server.address, None)

    assert [(a.struck is not None) for a in server.attempts] == [True, False]
    assert server.attempts[0].ended_how == {"blackhole_first": "silence"}.get(first, "RST")


@pytest.mark.slow
@pytest.mark.everywhere
def test_a_client_without_happy_eyeballs_stays_at_the_silent_address(faultline):
    server = faultline.serve(ok())
    faultline.resolve(NAME, addresses("blackhole_first", server))

    async def connect():
        with pytest.raises((asyncio.TimeoutError, TimeoutError)):
            await asyncio.wait_for(asyncio.open_connection(NAME, 443), 0.1)

    asyncio.run(connect())

    assert [a.ended_how for a in server.attempts] == ["silence"]


# --- the guard and the report ----------------------------------------------------------------------------------------


@each_row("plan", [nxdomain(), sequence(servfail(), ok()), slow_resolve(1) & nxdomain(), slow_resolve(1)])
def test_a_fault_that_nobody_looked_up_fails_the_guard(plan):
    resolver = resolve(NAME, plan)
    first = entries_of(plan)[0]

    with pytest.raises(NotStruckError) as caught, resolver:
        pass

    assert str(caught.value) == (
        f"{first!r} never struck: no lookup of '{NAME}' came through Python's socket. (strict=False allows it.)"
    )


def test_the_guard_of_all_names_says_that_nobody_looked_one_up():
    with pytest.raises(NotStruckError) as caught, resolve("*", nxdomain()):
        pass

    assert "no lookup of" in str(caught.value)


def test_a_fault_of_a_sequence_that_never_came_fails_the_guard():
    with pytest.raises(NotStruckError) as caught, resolve(NAME, sequence(servfail(), nxdomain())):
        outcome(socket.gethostbyname, NAME)

    assert re.sub(r"\d+\.\d{3} s", "T", str(caught.value)) == (
        f"nxdomain() never struck: #1 gethostbyname {NAME}: servfail() struck at 'lookup', received 0 and sent 0 "
        "bytes, ended by the server (no name) after T. The client made 1 attempt, the plan has 2. "
        "(strict=False allows it.)"
    )


def test_the_guard_is_left_out_by_strict_and_after_an_error():
    with resolve(NAME, nxdomain(), strict=False):
        pass
    with pytest.raises(KeyError), resolve(NAME, nxdomain()):
        raise KeyError


@each_row("fault", [ok(), resolves_to("127.0.0.1")])
def test_what_breaks_nothing_need_not_be_looked_up(fault):
    with resolve(NAME, fault) as resolver:
        pass

    assert resolver.attempts == ()


def test_the_drawing_shows_each_lookup():
    with resolve(NAME, sequence(servfail(), resolves_to("127.0.0.9:80"))) as resolver:
        outcome(socket.gethostbyname, NAME)
        found()

    lines = [re.sub(r"\d+\.\d{3} s", "T", line).rstrip() for line in resolver.drawing().splitlines()]
    assert lines[0] == f"lookups of {NAME} sequence(servfail(), resolves_to('127.0.0.9:80'))"
    assert lines[1] == "#1 servfail()"
    assert f"--- gethostbyname {NAME} -" in lines[2]
    assert "<=== no name: struck at 'lookup' =" in lines[3]
    assert lines[4] == "#2 resolves_to('127.0.0.9:80')"
    assert f"--- getaddrinfo {NAME} -" in lines[5]
    assert "<--- answer -" in lines[6]
    assert lines[7].strip() == "found 127.0.0.9:80"
    assert len(lines) == 8


def test_the_drawing_says_that_nobody_looked_it_up():
    with resolve(NAME, nxdomain(), strict=False) as resolver:
        assert resolver.drawing() == f"lookups of {NAME} nxdomain()\n  no lookup came"


def test_a_resolver_is_told_by_its_name_and_plan():
    resolver = resolve("API.example.com", nxdomain())
    assert repr(resolver) == "<Resolver api.example.com nxdomain()>"

    resolver.close()
    resolver.close()

    assert repr(resolver) == "<Resolver api.example.com nxdomain() closed>"


PLUGINS = ("-p", "timeout", "-p", "faultline", "-p", "no:cacheprovider", "-W", "error")


@pytest.fixture
def run(pytester, monkeypatch):
    """A function that runs an inner test file in this process."""
    monkeypatch.delenv("PYTEST_TIMEOUT", raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def ran(source):
        pytester.makepyfile(test_inner=f"import socket, pytest\nfrom faultline import *\n{source}")
        return pytester.runpytest_inprocess(*PLUGINS)

    return ran


@pytest.mark.slow
def test_the_fixture_puts_everything_back_and_asks_the_guard(run):
    result = run(
        "BEFORE = socket.getaddrinfo\n"
        "def test_struck(faultline):\n"
        "    faultline.resolve('api.example.com', nxdomain())\n"
        "    assert socket.getaddrinfo is not BEFORE\n"
        "    with pytest.raises(socket.gaierror):\n"
        "        socket.gethostbyname('api.example.com')\n"
        "def test_after(faultline):\n"
        "    assert socket.getaddrinfo is BEFORE\n"
        "def test_not_struck(faultline):\n"
        "    faultline.resolve('api.example.com', nxdomain())\n"
        "def test_not_strict(faultline):\n"
        "    faultline.resolve('api.example.com', nxdomain(), strict=False)\n"
        "def test_at_last():\n"
        "    assert socket.getaddrinfo is BEFORE\n"
    )

    result.assert_outcomes(passed=5, errors=1)
    result.stdout.fnmatch_lines(
        ["nxdomain() never struck: no lookup of 'api.example.com' came through Python's socket. *"]
    )


# --- bad input -------------------------------------------------------------------------------------------------------

A_NAME = "a host name such as 'api.example.com', or '*' for all"
NO_EMPTY = "a host name without an empty label, such as 'api.example.com'"
ALONE = "a host name alone: no address, URL, port or pattern"
SIZES = "a name of at most 253 bytes, in labels of at most 63 (RFC 1035, 2.3.4)"


BAD_NAMES = {
    A_NAME: ["", None, 5, b"api.example.com"],
    NO_EMPTY: ["api..example.com", ".example.com", "api.example.com..", "."],
    SIZES: ["a" * 64, f"{'a' * 64}.example.com", ".".join(["a" * 49] * 6)],
    "a name that IDNA can encode, in labels of at most 63 bytes (RFC 5891, 4.2.4)": ["ü" * 63],
    f"{ALONE}; write 'api.example.com'": [
        "https://api.example.com",
        "api.example.com/v1",
        "api.example.com:443",
        "user@api.example.com",
        "api.example.com\n",
    ],
    ALONE: [
        "127.0.0.1",
        "::1",
        "[::1]",
        "*.example.com",
        "api example com",
    ],
}


def refused(name, plan):
    """The message by which a resolver is refused; the fixture sees that nothing of it is left."""
    with pytest.raises(ParameterError) as caught:
        resolve(name, plan).close()
    return str(caught.value)


def test_what_is_no_name_is_refused():
    for expected, names in BAD_NAMES.items():
        for name in names:
            assert refused(name, nxdomain()) == f"name={name!r}: expected {expected}."


def test_the_longest_name_is_one():
    name = ".".join(["a" * 63] * 3 + ["a" * 61])
    assert len(name) == 253

    with resolve(name, nxdomain()):
        assert outcome(socket.gethostbyname, name) == socket.EAI_NONAME


@each_row("plan", [lambda f: f, lambda f: sequence(nxdomain(), f), lambda f: sometimes(0.5, f)])
def test_a_fault_of_a_connection_is_refused(plan):
    """`refusals.txt` has all that is."""
    for fault in (reset(), status(503), bad_cert("expired"), ok(b"a body"), when(lambda _: True, ok())):
        assert re.fullmatch(rf"{re.escape(repr(fault))}: expected .*\(…\); a resolver .*\.", refused(NAME, plan(fault)))


def test_what_is_no_plan_is_refused():
    expected = "expected a fault such as reset() or ok(), or a plan such as sequence(…)"
    assert refused(NAME, None) == f"plan=None: {expected}."
    assert refused(NAME, nxdomain) == f"plan=nxdomain: {expected}; write nxdomain()."
    assert refused(NAME, "nxdomain") == f"plan='nxdomain': {expected}; write nxdomain()."


def test_strict_is_true_or_false():
    with pytest.raises(ParameterError, match=r"^strict=1: expected True or False\.$"):
        resolve(NAME, nxdomain(), strict=1)


WHERE = "a server, or an IP address of this machine, with or without a port, such as '127.0.0.1:8080'"


def test_a_name_leads_only_to_this_machine():
    others = ["10.0.0.1", "10.0.0.1:80", "localhost", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:x", "::1:80"]
    for target in (*others, "http://127.0.0.1", "", 5, None):
        with pytest.raises(ParameterError) as caught:
            resolves_to(target)
        assert str(caught.value) == f"server={target!r}: expected {WHERE}."


@each_row("server", ["127.0.0.1:8080", None, 5])
def test_several_addresses_need_a_server_with_a_ledger(server):
    with pytest.raises(ParameterError) as caught:
        addresses("dead_first", server)

    assert str(caught.value) == f"server={server!r}: expected a server, because its ledger has to show each try."


def test_several_addresses_have_an_order_that_is_known(faultline):
    server = faultline.serve(ok())
    with pytest.raises(ParameterError) as caught:
        addresses("dead", server)

    assert str(caught.value) == (
        "first='dead': expected one of 'dead_first', 'blackhole_first', 'ipv6_first'. "
        f"Did you mean 'dead_first'? Write addresses('dead_first', {server!r})."
    )


@each_row("host", ["::1", "0.0.0.0"])
def test_several_addresses_need_a_server_on_one_address_of_ipv4(faultline, needs_ipv6, host):
    server = faultline.serve(ok(), host=host, allow_remote=host == "0.0.0.0")

    with pytest.raises(ParameterError) as caught:
        addresses("dead_first", server)

    assert str(caught.value).endswith("expected a server on an IPv4 address, such as host='127.0.0.1'.")


@each_row("seconds", [-1, "1", None, float("inf"), float("nan"), True])
def test_slow_takes_a_number_of_seconds(seconds):
    with pytest.raises(ParameterError) as caught:
        slow_resolve(seconds)

    hint = "; write slow_resolve(1.0)" if seconds == "1" else ""
    assert str(caught.value) == f"delay_seconds={seconds!r}: expected a number of seconds, 0 or more{hint}."


@each_row(
    ("one", "other"),
    [
        (nxdomain(), servfail()),
        (nxdomain(), resolves_to("127.0.0.1")),
        (resolves_to("127.0.0.1"), no_address()),
        (resolves_to("127.0.0.1"), resolves_to("127.0.0.2")),
        (nxdomain(), reset()),
    ],
)
def test_what_can_not_both_happen_is_refused(one, other):
    with pytest.raises(ConflictError, match=re.escape(repr(one))):
        one & other


@pytest.mark.slow
def test_nothing_is_loaded_or_replaced_by_the_import_alone():
    code = (
        "import socket; before = socket.getaddrinfo, dict(vars(socket.socket)); import faultline; faultline.resolve; "
        "assert (socket.getaddrinfo, dict(vars(socket.socket))) == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_fork_while_functions_are_being_replaced_is_silent(monkeypatch, capfd):
    original, codes = overlay.replaced, []

    def fork_first(key, function):
        if not codes:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: forking with threads
                child = os.fork()
            if child == 0:  # pragma: no cover - coverage is not measured in a fork
                os._exit(0)
            codes.append(os.waitpid(child, 0)[1])
        return original(key, function)

    monkeypatch.setattr(overlay, "replaced", fork_first)
    with resolve("a.test", nxdomain(), strict=False):
        pass

    assert (codes, capfd.readouterr().err) == ([0], "")
