"""A relay as its user holds it: plans by connection, the guard, the drawing, values that are refused, and its stop."""

from __future__ import annotations

import contextlib
import gc
import re
import socket
import warnings

import pytest
from support import GET, accepted, address_of, check_not_dialled, ending, leave_by_rst, nothing_left, pour, read, to_end
from support.tables import each_row

from faultline import (
    NotStruckError,
    ParameterError,
    bad_cert,
    blackhole,
    close,
    cycle,
    inject,
    latency,
    ok,
    refuse,
    relay,
    reset,
    script,
    send,
    sequence,
    serve,
    sometimes,
    stall,
    unreachable,
    when,
)

# --- plans, connection by connection ---------------------------------------------------------------------------------


def ends(listener, reach, server, count):
    """How so many connections end of which each says one word and hears one."""
    seen = []
    for _ in range(count):
        client = reach(server)
        with accepted(listener) as upstream:
            client.sendall(b"ask")
            read(upstream, 3)
            pour(upstream, b"answer")
            upstream.shutdown(socket.SHUT_WR)
            seen.append(to_end(client))
            client.close()
    return seen


HEALTHY, BROKEN, CUT = (b"answer", "FIN"), (b"", "RST"), (b"ans", "FIN")


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (sequence(reset(), close(after_bytes=3), ok()), [BROKEN, CUT, HEALTHY, HEALTHY]),
        (cycle(reset(), ok()), [BROKEN, HEALTHY, BROKEN, HEALTHY]),
        (sequence(sometimes(1, close(after_bytes=3)), ok()), [CUT, HEALTHY]),
    ],
    ids=repr,
)
def test_a_plan_is_dealt_connection_by_connection(faultline, listener, reach, plan, expected):
    server = faultline.relay(address_of(listener), plan)

    assert ends(listener, reach, server, len(expected)) == expected
    assert [attempt.connection for attempt in server.attempts] == list(range(1, len(expected) + 1))


def test_chance_with_a_seed_is_the_same_in_a_relay_as_in_a_server(faultline, listener, reach):
    plan = sometimes(0.5, reset(), seed=3)
    server, real = faultline.relay(address_of(listener), plan), faultline.serve(plan)
    seen = [end for _, end in ends(listener, reach, server, 8)]

    for _ in range(8):
        client = reach(real)
        client.sendall(GET)
        to_end(client)
    assert seen == ["RST" if a.struck else "FIN" for a in real.attempts]
    assert {"RST", "FIN"} == set(seen)


def test_who_is_turned_away_at_the_door_is_not_led_to_the_upstream(faultline, listener, dial, reach):
    server = faultline.relay(address_of(listener), sequence(refuse(), blackhole(), ok()))
    with pytest.raises(ConnectionRefusedError):
        dial(server)
    with pytest.raises(TimeoutError):
        dial(server, timeout=0.05)
    nowhere = faultline.relay(address_of(listener), unreachable())
    with pytest.raises(OSError, match=r"\[Errno 101\]"):
        dial(nowhere)

    check_not_dialled(listener)
    listener.settimeout(10)
    assert ends(listener, reach, server, 1) == [HEALTHY]
    told = [ending(a) for a in server.wait_for_attempts(3, at="end")]
    assert told == [("server", "RST"), ("server", "silence"), ("upstream", "FIN")]


def test_relays_stand_one_before_the_other(faultline, dial):
    real = faultline.serve(ok(b"hello"))
    far = faultline.relay(real, inject(b"HTTP/1.1 100 Continue\r\n\r\n", at="response"))
    near = faultline.relay(far, close(after_bytes=30))
    client = dial(near)
    client.sendall(GET)

    assert to_end(client) == (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/", "FIN")


@pytest.mark.slow
def test_200_connections_are_held_and_reset_in_one_call(faultline, listener, dial):
    server = faultline.relay(address_of(listener))
    clients = [dial(server) for _ in range(200)]
    with contextlib.ExitStack() as stack:
        upstreams = [stack.enter_context(accepted(listener)) for _ in clients]
        for number, client in enumerate(clients):
            client.sendall(b"%03d" % number)
        assert sorted(read(upstream, 3) for upstream in upstreams) == [b"%03d" % n for n in range(200)]

        assert server.reset_all() == 200
        assert {to_end(client) for client in clients} == {(b"", "RST")}
        assert {to_end(upstream) for upstream in upstreams} == {(b"", "FIN")}
    assert {ending(attempt) for attempt in server.attempts} == {("server", "RST")}


# --- the guard, the drawing, bad values ------------------------------------------------------------------------------


def speak_too_little(listener):
    """A relay whose fault waits for more bytes than there are."""
    with relay(address_of(listener), reset(after_bytes=100)) as server:
        with socket.create_connection(server.address, 10) as client, accepted(listener) as upstream:
            client.sendall(b"hello")
            assert read(upstream, 5) == b"hello"
            upstream.sendall(b"world!")
            assert read(client, 6) == b"world!"
            client.close()
            assert to_end(upstream) == (b"", "FIN")
        server.wait_for_attempts(1, at="end")


def test_a_fault_that_never_struck_says_what_happened_instead(listener):
    with pytest.raises(NotStruckError) as raised:
        speak_too_little(listener)

    told = re.sub(r"after \d\.\d{3} s", "after … s", str(raised.value))
    assert told == (
        "reset(after_bytes=100) never struck: #1: reset(after_bytes=100) reached 'response', received 5 and sent 6 "
        "bytes, ended by the client (FIN) after … s. Strike after fewer bytes, or serve a longer answer. "
        "(strict=False allows it.)"
    )


def test_the_drawing_shows_the_upstream_as_the_server_and_who_ended_it(join, listener):
    server, client, upstream = join()
    client.sendall(b"hello")
    assert read(upstream, 5) == b"hello"
    upstream.sendall(b"world!")
    upstream.close()
    assert to_end(client) == (b"world!", "FIN")
    client.close()
    server.wait_for_attempts(1, at="end")

    lines = [re.sub(r"^ +\d+\.\d{3} s ", "", line) for line in server.drawing().splitlines()]
    assert lines == [
        f"relay tcp://{server.hostport} to {address_of(listener)} ok()",
        "#1 ok(), connection 1",
        f"|{'--- connect ':-<64}>|",
        f"|{'--- 5 bytes: hello ':-<64}>|",
        f"|{'<--- 6 bytes: world! ':-<65}|",
        f"|{'<--- FIN ':-<65}|",
        f"|{'--- FIN ':-<64}>|",
    ]


WHERE = "'127.0.0.1:5432', a URL, the path of a Unix socket, or a server of faultline"
HERE = "127.0.0.1:1"


TERMINATE = "expected relay(…, tls='terminate'); a relay that passes TLS through speaks no TLS itself"


@each_row(
    ("upstream", "plan", "options", "message"),
    [
        ("", None, {}, f"upstream='': expected {WHERE}."),
        (5432, None, {}, f"upstream=5432: expected {WHERE}; write '127.0.0.1:5432'."),
        ("127.0.0.1", None, {}, f"upstream='127.0.0.1': expected a host and a port: {WHERE}."),
        (
            "192.0.2.1:80",
            None,
            {},
            (
                "upstream='192.0.2.1:80': expected a server on this machine; allow_remote=True "
                "(--allow-remote) allows others."
            ),
        ),
        (
            "https://db.example/",
            None,
            {},
            (
                "upstream='https://db.example/': expected a server on this machine; allow_remote=True "
                "(--allow-remote) allows others."
            ),
        ),
        (HERE, None, {"tls": True}, "tls=True: expected one of 'through', 'terminate', 'mutual'."),
        (
            HERE,
            None,
            {"tls": "terminated"},
            "tls='terminated': expected one of 'through', 'terminate', 'mutual'. Did you mean 'terminate'?",
        ),
        (
            HERE,
            None,
            {"on_upstream_failure": "rst"},
            "on_upstream_failure='rst': expected one of 'reset', 'close', 'stall'. Did you mean 'reset'?",
        ),
        (HERE, None, {"allow_remote": 1}, "allow_remote=1: expected True or False."),
        (HERE, None, {"strict": 1}, "strict=1: expected True or False."),
        (HERE, None, {"isolated": 1}, "isolated=1: expected True or False."),
        (HERE, None, {"port": -1}, "port=-1: expected a whole number, from 0 to 65535."),
        (
            HERE,
            bad_cert("expired"),
            {},
            f"bad_cert('expired'): {TERMINATE}.",
        ),
        (
            HERE,
            reset(at="handshake"),
            {},
            f"reset(at='handshake'): {TERMINATE}.",
        ),
        (
            HERE,
            stall(at="idle"),
            {},
            "stall(at='idle'): expected after_seconds above 0, such as 1; a relay takes silence for 'idle'.",
        ),
    ],
)
def test_a_value_that_can_mean_nothing_is_refused(upstream, plan, options, message):
    with pytest.raises(ParameterError) as raised:
        relay(upstream, plan, **options)

    assert type(raised.value) is ParameterError
    assert str(raised.value) == message


def test_where_the_upstream_answers_no_script_does():
    with pytest.raises(ParameterError, match="; in a relay the upstream answers"):
        relay(HERE, script(send(b"x")))


@each_row("plan", [ok(b"x"), when(lambda _request: True, reset())])
def test_relay_answers_nothing_in_tls_that_it_cannot_read(plan):
    with pytest.raises(ParameterError, match="expected tls='terminate'; the relay can't read the TLS that it passes"):
        relay(f"https://{HERE}", plan)


# --- nothing is left -------------------------------------------------------------------------------------------------

STATES = {
    "reaching a black hole": ("black hole", {}),
    "agreeing on TLS with a mute upstream": ("mute", {"tls": "terminate"}),
    "agreeing on TLS with a mute client": ("", {"tls": "terminate"}),
    "passing through": ("", {}),
    "stalled": ("", {"plan": stall(at="accept")}),
    "stalled for some time": ("", {"plan": stall(at="accept", for_seconds=60)}),
    "waiting before a strike": ("", {"plan": reset(at="accept", after_seconds=60)}),
    "late": ("", {"plan": latency(60, direction="both")}),
    "waiting for silence": ("", {"plan": reset(at="idle", after_seconds=60)}),
}


def begun(server, upstream, options):
    """A client that brings a relay to a state: it says a word, or nothing in place of its part of a handshake."""
    client = socket.create_connection(server.address, 10)
    if upstream == "mute":  # a relay reaches its upstream once it has agreed on TLS with the client
        return server.client_context().wrap_socket(client, server_hostname="localhost")
    client.sendall(b"ask" if "tls" not in options else b"")
    return client


def test_a_stop_in_any_state_leaves_nothing(listener, dial):
    serve(ok()).close()  # the loop runs
    with socket.create_server(("127.0.0.1", 0)) as mute, nothing_left():
        hole = serve(blackhole(), strict=False)
        upstreams = {"black hole": hole, "mute": f"https://{address_of(mute)}", "": address_of(listener)}
        servers = [relay(upstreams[upstream], strict=False, **options) for upstream, options in STATES.values()]
        clients = [begun(server, *state) for server, state in zip(servers, STATES.values(), strict=True)]
        with accepted(mute) as agreeing:
            assert read(agreeing, 3) == b"\x16\x03\x01"  # of a ClientHello
            for server in servers:
                server.wait_for_attempts(1)
                assert server.attempts[0].ended_by is None  # it has come as far as it comes

            for server, client in zip(servers, clients, strict=True):
                server.close()
                with client:
                    assert to_end(client)[1] in ("FIN", "RST")
        hole.close()


@pytest.mark.slow
def test_a_stop_while_the_upstream_is_dialled_closes_that_socket(listener):
    for _ in range(20):
        with relay(address_of(listener), strict=False) as server, socket.create_connection(server.address, 10):
            pass
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        gc.collect()
    assert [str(warning.message) for warning in told] == []


def test_conversations_that_have_ended_leave_nothing(faultline, listener, dial):
    server = faultline.relay(address_of(listener))
    with nothing_left():
        for how in ("FIN", "RST") * 3:
            for leaver in ("client", "upstream"):
                client, upstream = dial(server, b"ask"), accepted(listener)
                assert read(upstream, 3) == b"ask"
                leaving, staying = (client, upstream) if leaver == "client" else (upstream, client)
                leave_by_rst(leaving) if how == "RST" else leaving.close()
                assert to_end(staying) == (b"", how)
                staying.close()
