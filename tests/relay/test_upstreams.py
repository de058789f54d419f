"""Upstreams of a relay that can't be reached, come late, or are elsewhere: what a client meets."""

from __future__ import annotations

import socket
import threading

import pytest
from support import (
    GET,
    PATIENCE_SECONDS,
    SILENCE_SECONDS,
    accepted,
    address_of,
    check_not_dialled,
    ending,
    is_quiet,
    leave_by_rst,
    read,
    to_end,
)

import faultline as library
from faultline import blackhole, ok, refuse, relay, reset, sequence
from faultline._engine import upstream as upstreams
from faultline._net.audit_events import call_at

SEEN = {"reset": (b"", "RST"), "close": (b"", "FIN"), "stall": (b"", "silence")}


@pytest.fixture
def dead(faultline, tmp_path):
    """Upstreams that can't be reached, and why."""
    (tmp_path / "file").touch()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        settled = address_of(sock)
    return [
        (settled, "[Errno 111] "),  # nobody listens
        (faultline.serve(refuse()), "[Errno 111] "),
        (str(tmp_path / "nothing"), "[Errno 2] "),
        (str(tmp_path / "file"), "[Errno 111] "),
    ]


@pytest.mark.parametrize("on_failure", SEEN)
def test_a_client_whose_upstream_cannot_be_reached_meets_what_was_chosen(faultline, reach, dead, on_failure):
    servers = [faultline.relay(upstream, on_upstream_failure=on_failure) for upstream, _ in dead]
    clients = [reach(server) for server in servers]

    if on_failure == "stall":
        assert is_quiet(*clients)
    else:
        assert [to_end(client) for client in clients] == [SEEN[on_failure]] * len(dead)
    ended = {"reset": ("server", "RST"), "close": ("server", "FIN"), "stall": ("client", "FIN")}[on_failure]
    for server, client, (upstream, why) in zip(servers, clients, dead, strict=True):
        client.close()
        (attempt,) = server.wait_for_attempts(1, at="end")
        name = upstream if isinstance(upstream, str) else upstream.hostport
        assert attempt.note.startswith(f"the upstream {name} could not be reached: {why}")
        assert (ending(attempt), attempt.struck) == (ended, None)


def test_an_upstream_that_dies_takes_only_later_connections_with_it(faultline, dial):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = faultline.relay(address_of(listener), on_upstream_failure="close")
        healthy = dial(server)
        upstream = accepted(listener)
    with upstream:
        assert to_end(dial(server)) == (b"", "FIN")

        healthy.sendall(b"ask")
        assert read(upstream, 3) == b"ask"
        upstream.sendall(b"answer")
        assert read(healthy, 6) == b"answer"


def test_a_black_hole_as_upstream_keeps_nobody_else_and_not_the_end(faultline, dial):
    real = faultline.serve(sequence(ok(b"hello"), blackhole()))
    server = faultline.relay(real)
    first = dial(server, GET)
    assert to_end(first)[0].endswith(b"hello")
    first.close()
    server.wait_for_attempts(1, at="end")

    waiting = [dial(server) for _ in range(3)]
    server.wait_for_attempts(4)
    assert is_quiet(*waiting)
    real.become(ok(b"again"))
    assert to_end(dial(server, GET))[0].endswith(b"again")
    leave_by_rst(waiting[0])
    server.wait_for_attempts(2, at="end")
    server.close()
    assert to_end(waiting[1])[1] == "FIN"


def test_a_client_that_resets_while_the_upstream_is_dialled_has_left(faultline, dial):
    real = faultline.serve(blackhole())
    server = faultline.relay(real)
    client = dial(server)
    server.wait_for_attempts(1)

    leave_by_rst(client)
    (attempt,) = server.wait_for_attempts(1, at="end")
    assert ending(attempt) == ("client", "RST")
    assert attempt.note == ""


def test_an_upstream_comes_back_and_the_relay_need_not_know(faultline, reach):
    real = faultline.serve(sequence(refuse(), ok(b"hello")))
    server = faultline.relay(real)

    first = reach(server)
    assert to_end(first) == (b"", "RST")
    second = reach(server)
    second.sendall(GET)
    assert to_end(second)[0].endswith(b"hello")


def test_a_unix_socket_is_an_upstream(faultline, dial, tmp_path):
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        listener.settimeout(10)
        server = faultline.relay(path, reset(after_bytes=4))
        client = dial(server)
        with accepted(listener) as upstream:
            client.sendall(b"ask")
            assert read(upstream, 3) == b"ask"
            upstream.sendall(b"answer")
            assert to_end(client) == (b"answ", "RST")
            assert to_end(upstream) == (b"", "FIN")


def test_an_upstream_of_ipv6_is_an_upstream(faultline, dial):
    try:
        real = faultline.serve(ok(b"six"), host="::1")
    except library.PortError as error:
        pytest.skip(str(error))
    for upstream in (real, real.url):
        client = dial(faultline.relay(upstream, host="::1"))
        client.sendall(GET)

        assert to_end(client)[0].endswith(b"six")


def test_an_upstream_of_another_machine_is_looked_up_by_its_name(faultline, dial, monkeypatch):
    real = faultline.serve(ok(b"found"))
    lookup = socket.getaddrinfo

    def look_up(host, port, *args, **options):
        host, port = real.address if (host, port) == ("db.example", 5432) else (host, port)
        return lookup(host, port, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    server = faultline.relay("db.example:5432", allow_remote=True)

    client = dial(server)
    client.sendall(GET)
    assert to_end(client)[0].endswith(b"found")


def test_an_upstream_that_accepts_and_resets_before_the_relay_looks_was_reached(faultline, listener, dial, monkeypatch):
    server = faultline.relay(address_of(listener), on_upstream_failure="stall")
    free = threading.Event()
    open_wire = upstreams.open_wire

    def busily(loop, *args):
        loop.call_soon(free.wait, 10)  # between the connect and the turn in which it is seen to have come about
        return open_wire(loop, *args)

    monkeypatch.setattr(upstreams, "open_wire", busily)
    client = dial(server)
    leave_by_rst(accepted(listener))
    free.set()
    assert to_end(client) == (b"", "RST")
    (attempt,) = server.wait_for_attempts(1, at="end")
    assert (*ending(attempt), attempt.note) == ("upstream", "RST", "")


@pytest.mark.parametrize("on_failure", SEEN)
def test_an_upstream_that_speaks_no_tls_can_not_be_reached_in_tls(faultline, listener, reach, on_failure):
    server = faultline.relay(f"https://{address_of(listener)}", tls="terminate", on_upstream_failure=on_failure)
    context = server.client_context()

    client = context.wrap_socket(reach(server), server_hostname="localhost", suppress_ragged_eofs=False)
    with client, accepted(listener) as upstream:
        upstream.sendall(b"220 ready\r\n")
        assert to_end(client, SILENCE_SECONDS if on_failure == "stall" else PATIENCE_SECONDS) == SEEN[on_failure]
    note = f"the upstream {address_of(listener)} could not be reached: wrong version number"
    assert server.attempts[0].note == note


@pytest.mark.parametrize("tls", ["through", "terminate"])
def test_nothing_is_dialled_until_a_client_comes(faultline, listener, tls):
    server = faultline.relay(f"https://{address_of(listener)}", tls=tls)
    assert server.attempts == ()

    server.close()
    check_not_dialled(listener)


def test_an_upstream_on_another_machine_that_is_allowed_is_not_dialled_either():
    dialled = []
    call_at("socket.connect", lambda _, address: dialled.append(address))

    relay("192.0.2.1:80", allow_remote=True).close()
    relay("db.example:5432", allow_remote=True).close()
    assert dialled == []
