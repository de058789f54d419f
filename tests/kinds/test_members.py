"""Every member of a server does the same wherever the server is, and says so where it can't; endpoints that become."""

from __future__ import annotations

import asyncio
import inspect
import socket

import pytest
from support import GET, reached, to_end

import faultline as fl

NAME = "api.example.com"


# --- the surface -----------------------------------------------------------------------------------------------------

MEMBERS = sorted(name for name in dir(fl.Server) if not name.startswith("_"))
OF_THE_LEDGER = ["attempts", "now", "to_json", "wait"]
ARGUMENTS = {
    "become": (fl.ok(),),
    "becoming": (fl.ok(),),
    "go_on": (fl.ok(),),
    "wait": (0, "end", 1),
    "wait_for_attempts": (0,),
    "arrived": (0,),
    "wait_for_strike": None,  # takes a strike
    "partition": None,  # takes a privilege
}


def used(thing, name, monkeypatch):
    """The type of the value that a member has or returns, or of the error that it raises."""
    arguments = ARGUMENTS.get(name, (monkeypatch,) if name in ("trust", "use_as_proxy") else ())
    try:
        value = getattr(thing, name)
        found = value(*arguments) if callable(value) else value
        return type(asyncio.run(found) if asyncio.iscoroutine(found) else found)
    except Exception as error:  # noqa: BLE001 - its class is the answer
        return type(error)


ASKED = [name for name in MEMBERS if ARGUMENTS.get(name, ()) is not None]


@pytest.mark.slow
def test_each_member_of_a_server_and_its_ledger_does_the_same_in_the_child_process(monkeypatch):
    for name in ASKED:
        with fl.serve(fl.ok(), tls=True) as here, fl.serve(fl.ok(), tls=True, isolated=True) as there:
            expected = used(here, name, monkeypatch)
            assert (name, issubclass(used(there, name, monkeypatch), expected)) == (name, True)
            assert not issubclass(expected, Exception), name
    with fl.serve(fl.ok()) as here, fl.serve(fl.ok(), isolated=True) as there:
        for name in OF_THE_LEDGER:
            assert used(there.ledger, name, monkeypatch) is used(here.ledger, name, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("isolated", [False, True])
def test_each_member_works_on_a_unix_socket_or_is_not_there(isolated, monkeypatch):
    for name in ASKED:
        with fl.serve(fl.ok(), unix=True, isolated=isolated) as server:
            raised = used(server, name, monkeypatch)
            assert issubclass(raised, AttributeError) is (name in ("address", "host", "port"))
            assert hasattr(server, name) is not issubclass(raised, AttributeError)
            assert (name, not issubclass(raised, Exception) or issubclass(raised, AttributeError)) == (name, True)


def test_each_member_is_a_method_or_a_property_with_words():
    assert {n for n in MEMBERS if n != "ledger" and not inspect.getdoc(getattr(fl.Server, n))} == set()


# --- become, on endpoints without connections ------------------------------------------------------------------------


def test_a_udp_server_becomes():
    with fl.udp(fl.ok(b"one")) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect(server.address)
        with server.becoming(fl.ok(b"two")):
            client.send(b"x")
            assert client.recv(10) == b"two"
        client.send(b"x")
        assert client.recv(10) == b"one"


def test_a_resolver_becomes():
    with fl.resolve(NAME, fl.resolves_to("127.0.0.7")) as resolver:
        with resolver.becoming(fl.nxdomain()), pytest.raises(socket.gaierror):
            socket.gethostbyname(NAME)
        assert socket.gethostbyname(NAME) == "127.0.0.7"


def test_a_resolver_that_becomes_has_the_neighbours_of_the_new_plan():
    with fl.serve(fl.ok()) as server, fl.resolve(NAME, fl.ok()) as resolver:
        resolver.become(fl.addresses("dead_first", server))
        with socket.create_connection((NAME, server.port), 10):
            assert [attempt.ended_how for attempt in server.attempts] == ["RST", None]


def test_a_dns_server_becomes():
    dns_resolver = pytest.importorskip("dns.resolver")
    with fl.dns_server() as server:
        resolver = dns_resolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = [server.host], server.port
        with server.becoming(fl.nxdomain()), pytest.raises(dns_resolver.NXDOMAIN):
            resolver.resolve(NAME)
        assert resolver.resolve(NAME)[0].to_text() == "127.0.0.1"


@pytest.mark.parametrize(
    "start",
    [lambda: fl.udp(fl.ok()), lambda: fl.resolve(NAME, fl.ok()), fl.dns_server],
    ids=["udp", "resolve", "dns_server"],
)
def test_a_plan_that_an_endpoint_cannot_play_changes_nothing(start):
    with start() as endpoint:
        before = endpoint.plan
        with pytest.raises(fl.ParameterError):
            endpoint.become(fl.bad_cert("expired"))
        assert endpoint.plan == before
    with pytest.raises(fl.ServerError, match="it was closed"):
        endpoint.become(before)


def test_what_was_read_last_of_a_child_that_has_ended_can_still_be_reported(monkeypatch):
    server = fl.serve(fl.ok(), isolated=True)
    with reached(server) as client:
        client.sendall(GET)
        to_end(client)
    before = server.wait_for_attempts(1, at="end")

    def gone(*_, **__):
        raise fl.ServerError("the child process of isolated servers has ended.")

    monkeypatch.setattr(server._process._handle, "ask", gone)
    with pytest.raises(fl.ServerError, match="has ended"):
        server.close()
    assert server.attempts == before
    assert "connection 1" in server.drawing()
