"""What every kind of server promises, whatever it speaks, wherever it listens and in whichever process it works."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import socket
import ssl
import subprocess
import sys
from dataclasses import dataclass

import pytest

import faultline as fl
from faultline import NotStruckError, WaitError

ORIGIN = b"hello"
NAME = "api.example.com"


@dataclass(frozen=True)
class Kind:
    """A kind of server: how it is started with a plan, and how a client asks through it."""

    name: str
    start: object
    connect: object
    ask: object = None  # the bytes of the request, by the origin; a plain GET without it

    def __str__(self):
        return self.name


def get(target="/", host="localhost"):
    return f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()


# --- clients ---------------------------------------------------------------------------------------------------------


def by_tcp(server, _):
    return socket.create_connection(server.address, 10)


def by_tls(server, _, *, certificate=False):
    context = server.client_context(certificate=certificate)
    return context.wrap_socket(by_tcp(server, _), server_hostname=server.address[0])


def by_path(server, _):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(10)
    try:
        client.connect(server.path)
    except OSError:
        client.close()
        raise
    return client


def by_name(server, _):
    return socket.create_connection((NAME, 80), 10)


def by_name_in_tls(server, _):
    context = server.client_context(certificate=True)
    return context.wrap_socket(socket.create_connection((NAME, 443), 10), server_hostname=NAME)


def by_socks(server, origin):
    client = by_tcp(server, origin)
    host, port = origin.address
    try:
        client.sendall(b"\x05\x01\x00\x05\x01\x00\x01" + socket.inet_aton(host) + port.to_bytes(2, "big"))
        if client.recv(12, socket.MSG_WAITALL)[:4] != b"\x05\x00\x05\x00":
            raise ConnectionAbortedError
    except OSError:
        client.close()
        raise
    return client


# --- kinds -----------------------------------------------------------------------------------------------------------


def served(plan, origin, **options):
    return fl.serve(plan, answer=fl.ok(ORIGIN), **options)


def relayed(plan, origin, **options):
    return fl.relay(origin, plan, **options)


def proxied(plan, origin, *, start, **options):
    return start(plan, **options)


def intercepted(plan, origin, *, scheme="http", **options):
    return fl.intercept(f"{scheme}://{NAME}", plan, answer=fl.ok(ORIGIN), **options)


def with_certificate(server, origin):
    return by_tls(server, origin, certificate=True)


COMBINATIONS = [
    ("server", served, {}, by_tcp, None),
    ("TLS server", served, {"tls": True}, by_tls, None),
    ("mutual TLS server", served, {"tls": "mutual"}, with_certificate, None),
    ("Unix server", served, {"unix": True}, by_path, None),
    ("relay", relayed, {}, by_tcp, None),
    ("relay on a Unix socket", relayed, {"unix": True}, by_path, None),
    ("relay that terminates TLS", relayed, {"tls": "terminate"}, by_tls, None),
    ("relay with mutual TLS", relayed, {"tls": "mutual"}, with_certificate, None),
    ("HTTP proxy", proxied, {"start": fl.http_proxy}, by_tcp, "absolute"),
    ("SOCKS proxy", proxied, {"start": fl.socks_proxy}, by_socks, None),
    ("intercepted URL", intercepted, {}, by_name, None),
    ("intercepted URL with mutual TLS", intercepted, {"scheme": "https", "mutual": True}, by_name_in_tls, None),
]
KINDS = [
    Kind(
        f"{name}{', isolated' if isolated else ''}",
        functools.partial(start, isolated=isolated, **options),
        connect,
        ask,
    )
    for name, start, options, connect, ask in COMBINATIONS
    for isolated in (False, True)
]
each_kind = pytest.mark.parametrize("kind", KINDS, ids=str)


@pytest.fixture
def origin():
    """The server that relays and proxies lead to."""
    with fl.serve(fl.ok(ORIGIN)) as server:
        yield server


def ask(kind, server, origin):
    """Ask once through a server: the body that comes, to the end of the connection."""
    with contextlib.closing(kind.connect(server, origin)) as client:
        client.sendall(get(origin.url + "/") if kind.ask == "absolute" else get())
        received = b""
        while data := client.recv(65_536):
            received += data
    return received.partition(b"\r\n\r\n")[2]


def asked(kind, server, origin):
    """The same, or the class of the error."""
    try:
        return ask(kind, server, origin)
    except ssl.SSLError as error:  # before 3.11.9 and 3.12.3 a RST within TLS is hidden (gh-115627)
        return type(error)
    except OSError as error:
        return type(error)


# --- promises --------------------------------------------------------------------------------------------------------


@each_kind
def test_a_healthy_plan_serves_and_is_written_down(kind, origin):
    with kind.start(fl.ok(), origin) as server:
        assert ask(kind, server, origin) == ORIGIN
        (attempt,) = server.wait_for_attempts(1, at="end")
        assert (attempt.number, attempt.connection, attempt.fault) == (1, 1, fl.ok())
        assert attempt.received_bytes > 0
        assert attempt.sent_bytes > len(ORIGIN)


@each_kind
def test_a_break_strikes_and_the_next_attempt_meets_the_next_fault(kind, origin):
    with kind.start(fl.sequence(fl.reset(), fl.ok()), origin) as server:
        assert asked(kind, server, origin) in (ConnectionResetError, b"")
        assert ask(kind, server, origin) == ORIGIN
        first, second = server.wait_for_attempts(2, at="end")
        assert (first.struck.point, first.struck.after_bytes) == ("response", 0)
        assert (first.ended_by, first.ended_how) == ("server", "RST")
        assert second.struck is None


@each_kind
def test_refused_connects_are_counted(kind, origin):
    with kind.start(fl.sequence(fl.refuse(), fl.ok()), origin) as server:
        assert asked(kind, server, origin) is ConnectionRefusedError
        assert ask(kind, server, origin) == ORIGIN
        assert [a.struck is not None for a in server.attempts] == [True, False]


@each_kind
def test_a_plan_is_changed_for_a_while(kind, origin):
    with kind.start(fl.ok(), origin) as server:
        with server.becoming(fl.refuse()):
            assert server.plan == fl.refuse()
            assert asked(kind, server, origin) is ConnectionRefusedError
        assert server.plan == fl.ok()
        assert ask(kind, server, origin) == ORIGIN


@each_kind
def test_the_guard_says_that_nobody_came(kind, origin):
    server = kind.start(fl.reset(), origin)

    with pytest.raises(NotStruckError) as caught, server:
        pass

    assert str(caught.value) == (
        f"reset() never struck: no client connected to {server.hostport}. (strict=False allows it.)"
    )


@each_kind
def test_open_connections_are_controlled(kind, origin):
    with kind.start(fl.stall(at="accept") if kind.connect is by_tcp else fl.ok(), origin, strict=False) as server:
        client = kind.connect(server, origin)
        with contextlib.closing(client):
            server.wait_for_attempts(1)
            assert server.pause() == 1
            assert server.resume() == 1
            assert server.close_all() == 1
            with contextlib.suppress(ssl.SSLError):
                assert client.recv(10) == b""
        server.wait_for_attempts(1, at="end")
        assert server.reset_all() == 0


@each_kind
def test_the_ledger_can_be_waited_on(kind, origin):
    with kind.start(fl.ok(), origin) as server:
        ask(kind, server, origin)
        server.ledger.wait(1, "end", 10)
        with pytest.raises(WaitError, match=r"1 of 2 attempts reached 'end' within 0\.01 s; attempts in all: 1"):
            server.ledger.wait(2, "end", 0.01)
    server.ledger.wait(1, "end", 10)
    assert server.ledger.attempts == server.attempts


@each_kind
def test_a_strike_can_be_waited_for(kind, origin):
    with kind.start(fl.stall(at="accept", for_seconds=0.01), origin) as server:
        with pytest.raises(WaitError, match=r"0 of 1 attempt reached 'strike'"):
            server.wait_for_attempts(1, 0.001, at="strike")
        assert ask(kind, server, origin) == ORIGIN
        assert server.wait_for_attempts(1, at="strike")[0].struck.point == "accept"
        assert server.wait_for_strike().struck.point == "accept"


@each_kind
def test_what_was_held_is_free_afterwards(kind, origin):
    server = kind.start(fl.ok(), origin)
    ask(kind, server, origin)
    server.close()

    assert asked(kind, server, origin) in (ConnectionRefusedError, FileNotFoundError, socket.gaierror)
    server.close()  # again, which does nothing
    with pytest.raises(fl.ServerError, match="it was closed"):
        server.become(fl.ok())
    assert len(server.attempts) == 1
    assert repr(server).endswith(" ok() closed>")


# --- the surface -----------------------------------------------------------------------------------------------------

MEMBERS = sorted(name for name in dir(fl.Server) if not name.startswith("_"))
OF_THE_LEDGER = ["attempts", "now", "to_json", "wait"]
ARGUMENTS = {
    "become": (fl.ok(),),
    "becoming": (fl.ok(),),
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


@pytest.mark.parametrize("name", [name for name in MEMBERS if ARGUMENTS.get(name, ()) is not None])
def test_each_member_of_a_server_does_the_same_in_the_child_process(name, monkeypatch):
    with fl.serve(fl.ok(), tls=True) as here, fl.serve(fl.ok(), tls=True, isolated=True) as there:
        expected = used(here, name, monkeypatch)
        assert issubclass(used(there, name, monkeypatch), expected)
        assert not issubclass(expected, Exception)


@pytest.mark.parametrize("name", OF_THE_LEDGER)
def test_each_member_of_a_ledger_does_the_same_in_the_child_process(name, monkeypatch):
    with fl.serve(fl.ok()) as here, fl.serve(fl.ok(), isolated=True) as there:
        assert used(there.ledger, name, monkeypatch) is used(here.ledger, name, monkeypatch)


@pytest.mark.parametrize("isolated", [False, True])
@pytest.mark.parametrize("name", [name for name in MEMBERS if ARGUMENTS.get(name, ()) is not None])
def test_each_member_works_on_a_unix_socket_or_is_not_there(name, isolated, monkeypatch):
    with fl.serve(fl.ok(), unix=True, isolated=isolated) as server:
        raised = used(server, name, monkeypatch)
        assert issubclass(raised, AttributeError) is (name in ("address", "host", "port"))
        assert hasattr(server, name) is not issubclass(raised, AttributeError)
        assert not issubclass(raised, Exception) or issubclass(raised, AttributeError)


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


# --- another plan for connections that are open ----------------------------------------------------------------------

OPEN_TOO = [kind for kind in KINDS if kind.connect in (by_tcp, by_path)]


@pytest.mark.parametrize("kind", OPEN_TOO, ids=str)
@pytest.mark.parametrize("new", [fl.ok(), fl.latency(0.001), fl.close(at="request")], ids=repr)
def test_a_break_that_waits_for_the_first_byte_may_be_taken_away(kind, new, origin):
    """The server waits for a byte to strike at, and meanwhile the attempt gets another fault."""
    with kind.start(fl.reset(at="request"), origin, strict=False) as server:
        with contextlib.closing(kind.connect(server, origin)) as client:
            server.wait_for_attempts(1, at="request")
            server.become(new, open_too=True)
            client.sendall(get(origin.url + "/") if kind.ask == "absolute" else get())
            with client.makefile("rb") as stream:
                received = stream.read()

        (attempt,) = server.wait_for_attempts(1, at="end")
        assert received.endswith(b"" if new == fl.close(at="request") else ORIGIN)
        assert (attempt.fault, attempt.struck is not None) == (new, new != fl.ok())


@pytest.mark.slow
@pytest.mark.parametrize("new", [fl.ok(), fl.reset(at="request", after_bytes=3000)], ids=repr)
def test_the_timer_of_an_idle_connection_goes_with_its_fault(new):
    old = fl.close(at="idle", after_seconds=1)
    with fl.serve(old, strict=False) as server, socket.create_connection(server.address, 10) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        response = b""
        while not response.endswith(b"ok\n"):  # its last byte travels by itself
            response += client.recv(4096)
        server.wait_for_attempts(1, at="idle")
        server.become(new, open_too=True)
        client.settimeout(1.2)
        with pytest.raises(TimeoutError):
            client.recv(1)
        assert server.attempts[-1].struck is None


def test_the_new_timer_of_an_idle_connection_counts():
    plan = fl.close(at="idle", after_seconds=60)
    with fl.serve(plan, strict=False) as server, socket.create_connection(server.address, 10) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        response = b""
        while not response.endswith(b"ok\n"):  # whose last byte travels by itself
            response += client.recv(4096)
        server.wait_for_attempts(1, at="idle")
        server.become(fl.close(at="idle", after_seconds=0.02), open_too=True)
        assert client.recv(1) == b""


# --- a fork ----------------------------------------------------------------------------------------------------------

FORK = """
import os, sys, faultline
from faultline import ServerError, ok
with faultline.{start} as server:
    if os.fork() == 0:
        for ask in (lambda: server.attempts, server.reset_all, server.close):
            try:
                ask()
            except ServerError as error:
                print(error, flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.mark.parametrize("start", ["serve(ok())", "serve(ok(), isolated=True)", "serve(ok(), unix=True)"])
def test_a_fork_is_told_at_once_that_the_server_is_its_parents(start):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK.format(start=start)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    told = "this server belongs to the process that this process was forked from; use it there.\n"
    assert (done.stdout, done.stderr) == (told * 3, "")


def test_what_was_read_last_of_a_child_that_has_ended_can_still_be_reported(monkeypatch):
    server = fl.serve(fl.ok(), isolated=True)
    with socket.create_connection(server.address, 10) as client:
        client.sendall(get())
        client.recv(100)
    before = server.wait_for_attempts(1, at="end")

    def gone(*_, **__):
        raise fl.ServerError("the child process of isolated servers has ended.")

    monkeypatch.setattr(server._process._handle, "ask", gone)
    with pytest.raises(fl.ServerError, match="has ended"):
        server.close()
    assert server.attempts == before
    assert "connection 1" in server.drawing()
