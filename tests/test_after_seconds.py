"""`after_seconds` counts healthy traffic: until the time is over everything passes, and then the break strikes."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading

import pytest
from support import KEPT_GET, SILENCE_SECONDS, accepted, address_of, connected, in_thread, is_quiet, pour, read, to_end
from support.proxies import ESTABLISHED, connect_to
from support.tables import each_row

from faultline import (
    ConflictError,
    NotStruckError,
    close,
    drip,
    drop_bytes,
    half_close,
    hold,
    http_proxy,
    inject,
    latency,
    ok,
    one_way,
    partition,
    receive_request,
    relay,
    repeat,
    reset,
    respond,
    script,
    sequence,
    serve,
    stall,
)

SECONDS = 0.03
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\nhello"
LARGE = b"0123456789abcdef" * 262_144  # more than the kernel takes from a server whose client reads nothing
HELLO = ok(b"hello")
SCRIPT = script(repeat(receive_request(), respond(HELLO)))


def answering(fault, **options):
    """A server that answers while the connection is kept."""
    return serve(fault, answer=HELLO, **options)


def scripted(fault, **options):
    """The same by a script."""
    return serve(SCRIPT & fault, **options)


@contextlib.contextmanager
def in_front(make, fault, **options):
    """A relay or a proxy in front of a server that answers."""
    with serve(HELLO) as upstream, make(upstream, fault, **options) as server:
        yield server


def relayed(fault, *, tls=False, **options):
    return in_front(relay, fault, tls="terminate" if tls else "through", **options)


def proxied(fault, **options):
    return in_front(lambda upstream, fault, **more: http_proxy(fault, to=upstream, **more), fault, **options)


WAYS = {"server": answering, "script": scripted, "relay": relayed, "proxy": proxied}
PLACES = [
    {"at": "accept"},
    {"at": "request"},
    {"at": "request", "on": b"Host"},
    {"at": "response"},
    {"at": "response", "after_bytes": 10},
]
ENDS = {reset: "RST", close: "FIN", half_close: "FIN", stall: "silence", partition: "silence"}


def places_of(way, *, tls):
    """Where it can strike behind the introduction and the handshake, which take longer on a busy machine."""
    if way == "proxy":
        return [{"at": "tunnel"}, {"at": "tunnel", "after_bytes": 10}]
    return [place for place in PLACES if not tls or place["at"] != "accept"]


def introduced(client, way):
    """The client once it may ask; a proxy is asked for a tunnel first."""
    if way == "proxy":
        client.sendall(connect_to("localhost:80"))
        assert read(client, len(ESTABLISHED)) == ESTABLISHED
    return client


def asked(client):
    """One exchange, which is whole."""
    client.sendall(KEPT_GET)
    assert read(client, len(RESPONSE)) == RESPONSE


def asked_until(client, ends, server):
    """Ask until the connection ends: the bytes of the last answer that came, and how it ended.

    Every answer before that is whole.
    """
    while True:
        pour(client, KEPT_GET)
        last, end = b"", ""
        try:
            while len(last) < len(RESPONSE) and not end:
                data = client.recv(len(RESPONSE) - len(last))
                last, end = last + data, "" if data else "FIN"
        except TimeoutError:
            server.wait_for_strike()
            late, end = to_end(client, SILENCE_SECONDS)  # an answer may be late, too
            last += late
        except (ConnectionError, ssl.SSLEOFError):
            end = ends
        assert RESPONSE.startswith(last)
        if end:
            return last, end


def begun(server):
    """When the first attempt of the last connection began."""
    return next(a.started_seconds for a in server.attempts if a.connection == server.attempts[-1].connection)


@each_row("place", PLACES)
@pytest.mark.parametrize("way", WAYS)
def test_everything_passes_before_the_time_is_over(way, place, tls):
    with WAYS[way](reset(after_seconds=60, **place), tls=tls, strict=False) as server:
        with introduced(connected(server), way) as client:
            for _ in range(3):
                asked(client)

        attempts = server.wait_for_attempts(3 if way in ("server", "script") else 1, at="end")
        assert not any(attempt.struck for attempt in attempts)
        assert {attempt.fault.break_ for attempt in attempts} == {reset(after_seconds=60, **place).break_}


@pytest.mark.slow
@pytest.mark.measured
@pytest.mark.everywhere
@pytest.mark.parametrize("verb", ENDS)
@pytest.mark.parametrize("way", WAYS)
def test_then_the_break_strikes(way, verb, tls, needs_filter):
    """Each verb comes to each place in some way, and each way has each place with some verbs."""
    del needs_filter
    turn = [*WAYS].index(way) + [*ENDS].index(verb)
    for place in places_of(way, tls=tls)[turn % 2 :: 2]:
        with WAYS[way](verb(after_seconds=SECONDS, **place), tls=tls) as server:
            with introduced(connected(server), way) as client:
                client.settimeout(10 if ENDS[verb] != "silence" else 2 * SECONDS)
                end = asked_until(client, ENDS[verb], server)[1]
                if end == "silence":
                    assert is_quiet(client)
            server.close()

            struck = server.attempts[-1].struck
            assert (place, end, struck.point) == (place, ENDS[verb], place["at"])
            assert struck.at_seconds - begun(server) >= SECONDS


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_after_a_silence_for_a_time_it_goes_on(way, tls):
    for place in places_of(way, tls=tls):
        fault = stall(after_seconds=SECONDS, for_seconds=SECONDS, **place)
        if way == "server":  # or else the second attempt meets it too
            fault = sequence(fault, HELLO)
        with WAYS[way](fault, tls=tls) as server, introduced(connected(server), way) as client:
            while not any(a.struck for a in server.attempts):
                asked(client)
            asked(client)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_bytes_are_inserted_between_two_answers(way, tls):
    at = "tunnel" if way == "proxy" else "response"
    with WAYS[way](inject(b"<inserted>", at=at, after_seconds=SECONDS), tls=tls) as server:
        with introduced(connected(server), way) as client:
            asked(client)
            assert read(client, 10) == b"<inserted>"
            asked(client)
        struck = next(a.struck for a in server.wait_for_attempts(1) if a.struck)
        assert (struck.point, struck.after_bytes) == (at, len(RESPONSE))


@pytest.mark.slow
@pytest.mark.measured
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("way", ["server", "relay"])
def test_bytes_are_inserted_in_the_middle_of_a_write_and_in_no_record_of_tls(way, tls):
    """The client reads nothing until the time is over."""
    fault = inject(b"<inserted>", after_seconds=SECONDS)
    upstream = serve(ok(LARGE)) if way == "relay" else contextlib.nullcontext()
    with upstream as behind:
        if way == "relay":
            server = relay(behind, fault, tls="terminate" if tls else "through")
        else:
            server = serve(ok(LARGE) & fault, tls=tls)
        with server, connected(server) as client:
            client.sendall(KEPT_GET)
            (attempt,) = server.wait_for_attempts(1, at="response")
            with serve(close(at="accept", after_seconds=11 * SECONDS)) as clock, connected(clock) as waits:
                assert to_end(waits) == (b"", "FIN")
            head = client.recv(65_536).partition(b"\r\n\r\n")
            body = head[2] + read(client, len(LARGE) + 10 - len(head[2]))

        (attempt,) = server.attempts
        before = attempt.struck.after_bytes - len(head[0]) - 4
        assert body == LARGE[:before] + b"<inserted>" + LARGE[before:]


@pytest.mark.slow
@pytest.mark.parametrize(("verb", "end"), [(reset, "RST"), (close, "FIN")])
@pytest.mark.parametrize("way", ["server", "relay"])
def test_what_is_cut_off_in_the_middle_is_counted_exactly(way, verb, end):
    fault = verb(after_seconds=SECONDS) & drip(1000, every_seconds=0.001)
    with contextlib.ExitStack() as stack:
        if way == "relay":
            server = stack.enter_context(relay(stack.enter_context(serve(ok(LARGE))), fault))
        else:
            server = stack.enter_context(serve(ok(LARGE) & fault))
        client = stack.enter_context(connected(server))
        client.sendall(KEPT_GET)
        got, how = to_end(client)

        (attempt,) = server.wait_for_attempts(1, at="end")
        assert (len(got), how) == (attempt.sent_bytes, end)
        assert (attempt.struck.point, attempt.struck.after_bytes) == ("response", attempt.sent_bytes)
        assert got.partition(b"\r\n\r\n")[2] == LARGE[: len(got) - got.index(b"\r\n\r\n") - 4]


@pytest.mark.slow
def test_the_bytes_of_a_pump_pass_until_then():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with relay(address_of(listener), reset(at="accept", after_seconds=SECONDS)) as server:
            client, upstream = connected(server), accepted(listener)
            with client, upstream, in_thread(pour, upstream, LARGE * 8):
                got, end = to_end(client)

        (attempt,) = server.attempts
        assert (end, attempt.sent_bytes) == ("RST", len(got))
        assert got == (LARGE * 8)[: len(got)]


def test_the_requests_of_a_connection_meet_the_fault_until_it_has_struck():
    with serve(sequence(reset(after_seconds=SECONDS), HELLO), answer=HELLO) as server:
        with connected(server) as client:
            asked_until(client, "RST", server)
        with connected(server) as client:
            asked(client)

        *first, last = server.wait_for_attempts(1, at="response")
        assert {a.fault.break_ for a in first} == {reset(after_seconds=SECONDS).break_}
        assert [bool(a.struck) for a in first] == [False] * (len(first) - 1) + [True]
        assert last.fault == HELLO


@each_row("request", [b"GET / HTTP/1.0\r\n\r\n", KEPT_GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")])
def test_a_server_with_nothing_more_to_say_waits_for_the_break(request):
    with serve(close(after_seconds=SECONDS), answer=HELLO) as server, connected(server) as client:
        client.sendall(request)
        got, end = to_end(client)

        (attempt,) = server.wait_for_attempts(1, at="end")
        assert (got.partition(b"\r\n\r\n")[2], end) == (b"hello", "FIN")
        assert attempt.ended_seconds - attempt.started_seconds >= SECONDS
        assert attempt.struck.after_bytes == len(got)


def test_a_client_that_leaves_before_is_told_of():
    server = serve(reset(after_seconds=60), answer=HELLO)
    with connected(server) as client:
        asked(client)
        asked(client)
    server.wait_for_attempts(2, at="end")
    server.close()
    with pytest.raises(NotStruckError, match=r"The client left first, before after_seconds=60 had passed\."):
        server.check_struck()


# --- where it strikes ------------------------------------------------------------------------------------------------


def test_it_strikes_in_a_silence():
    fault = script(receive_request(), hold()) & reset(at="accept", after_seconds=SECONDS)
    with serve(fault) as server, connected(server) as client:
        client.sendall(KEPT_GET)
        assert to_end(client) == (b"", "RST")


def test_it_strikes_in_a_delay(tls):
    fault = latency(60) & close(at="request", after_seconds=SECONDS)
    with serve(fault, tls=tls) as server, connected(server) as client:
        client.sendall(KEPT_GET)
        assert to_end(client)[1] == "FIN"


def test_it_strikes_while_a_relay_passes_nothing():
    fault = one_way() & close(at="accept", after_seconds=SECONDS)
    with serve(HELLO) as upstream, relay(upstream, fault) as server, connected(server) as client:
        client.sendall(KEPT_GET)
        assert to_end(client) == (b"", "FIN")


@pytest.mark.parametrize("swallows", [one_way(), drop_bytes(10**6), one_way() & latency(0.001)], ids=repr)
@pytest.mark.parametrize(("verb", "end"), [(close, "FIN"), (reset, "RST")])
def test_its_time_at_the_response_begins_though_no_byte_of_that_comes_through(swallows, verb, end):
    fault = swallows & verb(after_seconds=SECONDS)
    with serve(HELLO) as upstream, relay(upstream, fault) as server, connected(server) as client:
        client.sendall(KEPT_GET)
        assert to_end(client) == (b"", end)

    assert server.attempts[0].struck.after_bytes == 0


def test_its_time_behind_bytes_that_never_come_through_never_begins():
    fault = one_way() & close(after_bytes=1, after_seconds=SECONDS)
    with serve(HELLO) as upstream, relay(upstream, fault, strict=False) as server, connected(server) as client:
        client.sendall(KEPT_GET)
        assert is_quiet(client)


def test_a_silence_that_strikes_while_the_conversation_is_parked_leaves_it_so():
    fault = script(receive_request(), hold()) & stall(at="accept", after_seconds=SECONDS, for_seconds=SECONDS)
    with serve(fault) as server:
        with connected(server) as client:
            client.sendall(KEPT_GET)
            server.wait_for_strike()
            with serve(close(at="accept", after_seconds=4 * SECONDS)) as clock, connected(clock) as waits:
                to_end(waits)
            assert is_quiet(client)
        server.wait_for_attempts(1, at="end")


def test_parts_behind_it_are_reached():
    assert (reset(at="accept", after_seconds=1) & HELLO & latency(0.1)).break_.at == "accept"
    with pytest.raises(ConflictError):
        reset(at="accept") & HELLO


# --- the test ends or changes it -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_another_fault_ends_it(way):
    fault = reset(at="accept", after_seconds=10 * SECONDS)  # in which a busy machine comes to the change
    with WAYS[way](fault, strict=False) as server, introduced(connected(server), way) as client:
        server.become(SCRIPT if way == "script" else HELLO if way == "server" else ok(), open_too=True)
        with serve(close(at="accept", after_seconds=2 * SECONDS)) as clock, connected(clock) as waits:
            to_end(waits)
        asked(client)


def test_the_same_break_goes_on_under_another_condition():
    fault = reset(at="accept", after_seconds=SECONDS)
    with serve(HELLO) as upstream, relay(upstream, fault, strict=False) as server, connected(server) as client:
        server.wait_for_attempts(1)
        server.become(fault & latency(0.001), open_too=True)
        assert to_end(client) == (b"", "RST")


@pytest.mark.parametrize("end", ["close", "close_all", "reset_all"])
@pytest.mark.parametrize("way", WAYS)
def test_a_test_may_end_it_in_the_middle_of_a_strike(way, end):
    with WAYS[way](stall(at="accept", after_seconds=0.001)) as server, connected(server) as client:
        server.wait_for_strike()
        getattr(server, end)()
        assert to_end(client) == (b"", "RST" if end == "reset_all" else "FIN")


def test_many_strike_at_once():
    with serve(reset(at="accept", after_seconds=SECONDS)) as server:
        clients = [connected(server) for _ in range(50)]
        assert {to_end(client) for client in clients} == {(b"", "RST")}
        for client in clients:
            client.close()

        assert len([a for a in server.wait_for_attempts(50, at="end") if a.struck]) == 50
    assert threading.active_count() < 20
