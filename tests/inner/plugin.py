"""Tests with the fixtures and the marker: test_pytest_plugin.py says what they come to, and what is told about them."""

import http.client
import os
import socket
import ssl
import unittest
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import ClassVar

import pytest
from support import GET, PATIENCE_SECONDS, connected, read

import faultline as fl
from faultline import UnsupportedError, bad_cert, close, ok, partition, refuse, reset, serve, stall
from faultline._net import system

RENDER = "faultline._engine.talks.http1.render"


def fetch(server):
    with closing(http.client.HTTPConnection(*server.address, timeout=PATIENCE_SECONDS)) as client:
        client.request("GET", "/")
        with client.getresponse() as response:
            return response.read()


def are_stopped(servers):
    for server in servers:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(server.address, PATIENCE_SECONDS)
    return bool(servers)


# --- fixtures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("refuse_server", ConnectionRefusedError),
        ("reset_server", ConnectionResetError),
        ("close_server", http.client.RemoteDisconnected),
        ("stall_server", TimeoutError),
        ("blackhole_server", TimeoutError),
        ("bad_cert_server", ssl.SSLCertVerificationError),
    ],
)
def test_ready_made(request, name, error):
    server = request.getfixturevalue(name)
    with pytest.raises(error) as raised:
        if server.url.startswith("https"):
            connected(server)
        with closing(http.client.HTTPConnection(*server.address, timeout=0.1)) as client:
            client.request("GET", "/")
            try:
                client.getresponse()
            except TimeoutError:
                server.wait_for_attempts(1, at="strike")
                raise
    assert raised.type is error


def test_all_that_the_function_takes(faultline):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
    server = faultline.serve(
        close(after_bytes=90), tls=True, answer=ok(b"a" * 50), host="localhost", port=port, strict=False
    )
    assert (server.port, server.url) == (port, f"https://127.0.0.1:{port}")
    with connected(server) as client:
        client.sendall(GET)
        assert len(read(client)) == 90


class TestStopped:
    servers: ClassVar = []

    def test_serving(self, faultline):
        self.servers.extend(faultline.serve(ok(text)) for text in (b"one", b"two"))
        assert [fetch(server) for server in self.servers] == [b"one", b"two"]

    def test_after_serving(self):
        assert are_stopped(self.servers)

    def test_failing(self, stall_server, faultline):
        self.servers[:] = [stall_server, faultline.serve(reset())]
        pytest.fail("here")

    def test_after_failing(self):
        assert are_stopped(self.servers)

    def test_one_breaks(self, faultline, monkeypatch):
        monkeypatch.setattr(RENDER, lambda *_, **__: 1 / 0)
        self.servers[:] = [faultline.serve(ok()), faultline.serve(ok())]
        with pytest.raises(http.client.RemoteDisconnected):
            fetch(self.servers[0])

    def test_after_one_broke(self):
        assert are_stopped(self.servers)


class TestIsolated:
    servers: ClassVar = []

    def test_struck(self, faultline):
        self.servers.append(faultline.serve(reset(at="accept"), isolated=True))
        with pytest.raises(ConnectionResetError), connected(self.servers[0]) as client:
            client.recv(1)

    def test_after_it_struck(self):
        assert are_stopped(self.servers)

    def test_never_struck(self, faultline):
        faultline.serve(reset(), isolated=True)

    def test_fails(self, faultline):
        with connected(faultline.serve(close(after_bytes=20), isolated=True)) as client:
            client.sendall(GET)
            assert read(client) == b""

    def test_killed(self, faultline):
        server = faultline.serve(ok(), isolated=True)
        server._process._handle._child._process.kill()
        server.wait_for_attempts(1)

    def test_goes_on(self, faultline):
        faultline.serve(ok(), isolated=True)


# --- the marker -------------------------------------------------------------------------------------------------------


@pytest.mark.faults(refuse(), reset(after_bytes=10), bad_cert("expired"))
def test_once_per_fault(fault_server):
    with pytest.raises(OSError), connected(fault_server) as client:
        client.sendall(GET)
        read(client)


@pytest.fixture
def client_of(fault_server):
    return fault_server


@pytest.mark.faults(refuse())
def test_through_another_fixture(client_of):
    with pytest.raises(ConnectionRefusedError):
        fetch(client_of)


@pytest.mark.faults(http=False)
def test_without_http(fault_server):
    def end():
        fault_server.wait_for_attempts(1, at="strike")
        fault_server.reset_all()

    with ThreadPoolExecutor(1) as pool, pytest.raises((OSError, EOFError)):
        pool.submit(end)
        meet(fault_server)


def meet(server):
    with socket.create_connection(server.address, 0.2) as client:
        client.settimeout(PATIENCE_SECONDS)
        if server.url.startswith("https"):
            with server.client_context().wrap_socket(client, server_hostname="127.0.0.1") as secure:
                greet(secure)
        greet(client)


def greet(client):
    client.sendall(b"PING\r\n")
    assert client.recv(100) == b""  # never a response of HTTP
    raise EOFError


WRONG = {
    "point": pytest.mark.faults(point="respons"),
    "answer": pytest.mark.faults(point="answer"),
    "http": pytest.mark.faults(http="no"),
    "tls": pytest.mark.faults(tls="yes"),
    "both": pytest.mark.faults(reset(), point="accept"),
    "word": pytest.mark.faults(pint="accept"),
    "uncalled": pytest.mark.faults(reset, close),
    "none": pytest.mark.faults(ok(), None),
    "text": pytest.mark.faults("reset"),
}


def marked(mark):
    @mark
    def test(fault_server):
        pass

    return test


globals().update({f"test_wrong_{name}": marked(mark) for name, mark in WRONG.items()})


def test_no_marker(fault_server):
    pass


@pytest.mark.faults(reset())
def test_unused():
    pass


@pytest.mark.faults()
def test_unused_beside_another(reset_server):
    pass


@pytest.mark.faults(reset())
class TestUnused:
    def test_it(self):
        pass


class TestUnittest(unittest.TestCase):
    @pytest.mark.faults(reset())
    def test_it(self):
        pass


@pytest.mark.parametrize("number", [pytest.param(1, marks=pytest.mark.faults(reset()))])
def test_unused_parameter(number):
    pass


@pytest.fixture
def unprivileged(monkeypatch):
    def refused(*_):
        raise UnsupportedError("partition needs CAP_NET_ADMIN.")

    monkeypatch.setattr(system, "check_filter", refused)


@pytest.mark.faults(partition())
def test_not_allowed(unprivileged, fault_server):
    pass


# --- the guard --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["reset_server", "refuse_server", "blackhole_server"])
def test_never_struck(request, name):
    request.getfixturevalue(name)


def test_instead(faultline):
    with connected(faultline.serve(reset(at="idle"))) as client:
        client.sendall(b"GET /x HTTP/1.0\r\n\r\n")
        read(client)


def test_two_of_three(reset_server, close_server, stall_server):
    with pytest.raises(http.client.RemoteDisconnected):
        fetch(close_server)


@pytest.mark.parametrize("number", range(12))
def test_unseen(faultline, number):
    faultline.udp(refuse())


def test_lenient(faultline):
    faultline.udp(refuse(), strict=False)
    faultline.serve(reset(), strict=False)


@pytest.mark.parametrize("end", [pytest.fail, pytest.skip, pytest.xfail], ids=["fail", "skip", "xfail"])
def test_not_passed(reset_server, end):
    end("so")


@pytest.mark.xfail(strict=True)
def test_expected_to_fail(reset_server):
    pytest.fail("as expected")


@pytest.fixture(params=[pytest.fail, pytest.skip], ids=["fail", "skip"])
def broken(request, reset_server):
    request.param("so")


def test_broken_setup(broken):
    pass


RUNS = []


@pytest.fixture(params=["call", "setup"])
def shaky(request, faultline):
    if request.param == "setup" and request.param not in RUNS:
        RUNS.append(request.param)
        pytest.fail("at first")
    yield faultline
    RUNS.append(request.param)


@pytest.mark.twice
def test_again(shaky, request):
    shaky.serve(reset())
    if request.node.callspec.params["shaky"] not in RUNS:
        pytest.fail("at first")


def bug(*_, **__):
    raise RuntimeError("a bug of ours")


def test_error_of_the_server(faultline, monkeypatch):
    monkeypatch.setattr(RENDER, bug)
    with pytest.raises(http.client.RemoteDisconnected):
        fetch(faultline.serve(ok()))


def test_error_of_the_server_too(faultline, monkeypatch):
    monkeypatch.setattr(RENDER, bug)
    fetch(faultline.serve(ok()))


# --- what a report draws ----------------------------------------------------------------------------------------------


def test_drawn(faultline):
    assert fetch(faultline.serve(close(after_bytes=5))) == b"hello"


@pytest.fixture
def client_that_stays():
    with socket.socket() as client:
        yield client


def test_still_open(client_that_stays, faultline):
    server = faultline.serve(ok(b"hello"))
    for _ in range(3):
        with connected(server) as client:
            client.sendall(GET.replace(b"Connection: close\r\n", b""))
            read(client, 1)
    client_that_stays.connect(server.address)
    server.wait_for_attempts(4)
    pytest.fail("here", pytrace=False)


def test_block():
    with serve(stall()) as server, connected(server) as client:
        client.sendall(GET)
        server.wait_for_attempts(1, at="strike")
        with server:
            pytest.fail("here")


NOT_STARTED = {
    "serve": lambda port: fl.serve(ok(), port=port),
    "udp": lambda port: fl.udp(ok(), port=port),
    "dns_server": lambda port: fl.dns_server(port=port),
    "relay": lambda port: fl.relay("127.0.0.1:1", port=port),
    "resolve": lambda _: fl.resolve("", ok()),
}


@pytest.mark.parametrize("make", NOT_STARTED.values(), ids=NOT_STARTED)
def test_not_started(make):
    port = 20_000 + os.getpid() % 10_000
    with socket.socket(type=socket.SOCK_DGRAM) as other, socket.socket() as another:
        other.bind(("127.0.0.1", port))
        another.bind(("127.0.0.1", port))
        make(port)
