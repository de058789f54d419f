"""What it costs; measured, never asserted. Compare within one run, as ratios: machines differ."""

from __future__ import annotations

import functools
import itertools
import os
import resource
import socket
import subprocess
import sys

import pytest

from faultline import Fault, ok, serve, stall
from faultline._core.certificates import Certificate

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
CLIENTS = 1_000


@pytest.fixture
def many_descriptors():
    """Room for both ends of the stalled connections."""
    needed = 2 * CLIENTS + 200
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"needs {needed} file descriptors; the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def ask(address):
    with socket.create_connection(address, 10) as client:
        client.sendall(GET)
        assert client.recv(15) == b"HTTP/1.1 200 OK"


@pytest.mark.benchmark(group="one server: start and stop")
def test_bare_socket(benchmark):
    def bare():
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            sock.listen()

    benchmark(bare)


@pytest.mark.benchmark(group="one server: start and stop")
def test_start_and_stop(benchmark):
    benchmark(lambda: serve(ok()).close())


@pytest.mark.benchmark(group="one server: start, one request, stop")
def test_bare_socket_with_a_request(benchmark):
    def bare():
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            sock.listen()
            with socket.create_connection(sock.getsockname(), 10) as client, sock.accept()[0] as server:
                client.sendall(GET)
                server.recv(100)
                server.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                client.recv(100)

    benchmark(bare)


@pytest.mark.benchmark(group="one server: start, one request, stop")
def test_start_request_and_stop(benchmark):
    def conversation():
        with serve(ok()) as server:
            ask(server.address)

    benchmark(conversation)


@pytest.mark.benchmark(group="first server of a process, with the process")
@pytest.mark.parametrize("tls", [None, False, True], ids=["none", "plain", "tls"])
def test_first_server(benchmark, tls):
    program = "import faultline" if tls is None else f"import faultline as f; f.serve(f.ok(), tls={tls}).close()"
    run = functools.partial(subprocess.run, [sys.executable, "-c", program], check=True)
    benchmark.pedantic(run, rounds=10, warmup_rounds=1)


# All that TLS takes is imported before, because a test suite for TLS has that anyway.
IMPORTED = "import ssl, trustme, cryptography.x509, h11, faultline as f, faultline._servers.server; "
FIRST = {
    "imports alone": "",
    "plain server": "f.serve(f.ok()).close()",
    "TLS server": "f.serve(f.ok(), tls=True).close()",
    "trustme by hand": (
        "ca = trustme.CA(key_type=trustme.KeyType.ECDSA); context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); "
        "ca.issue_cert('localhost', key_type=trustme.KeyType.ECDSA).configure_cert(context)"
    ),
}


@pytest.mark.benchmark(group="first of a process, all imported before")
@pytest.mark.parametrize("program", FIRST.values(), ids=FIRST)
def test_first_of_a_process(benchmark, program):
    run = functools.partial(subprocess.run, [sys.executable, "-c", IMPORTED + program], check=True)
    benchmark.pedantic(run, rounds=15, warmup_rounds=2)


@pytest.mark.benchmark(group="further server of a process")
def test_further_kind_of_certificate(benchmark):
    numbers = itertools.count(1)

    def serve_another():
        fault = Fault(certificate=Certificate(f"kind {next(numbers)}", until_seconds=1000))
        serve(fault, strict=False).close()

    benchmark.pedantic(serve_another, rounds=50, warmup_rounds=2)


@pytest.mark.benchmark(group="further server of a process")
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_further_server(benchmark, tls):
    serve(ok(), tls=tls).close()
    benchmark(lambda: serve(ok(), tls=tls).close())


@pytest.mark.benchmark(group=f"stop with {CLIENTS} stalled clients")
def test_stop_with_stalled_clients(benchmark, many_descriptors):
    held = []

    def fill():
        drop()
        server = serve(stall())
        held.extend(socket.create_connection(server.address, 10) for _ in range(CLIENTS))
        for client in held:
            client.sendall(GET)
        server.wait_for_attempts(CLIENTS, 60, at="response")
        return (server,), {}

    def drop():
        while held:
            held.pop().close()

    benchmark.pedantic(lambda server: server.close(), setup=fill, rounds=5)
    drop()


@pytest.mark.benchmark(group="run of pytest without tests")
@pytest.mark.parametrize("plugins", ["none", "timeout", "timeout,faultline"])
def test_plugin_load(benchmark, plugins, tmp_path):
    names = [] if plugins == "none" else plugins.split(",")
    words = itertools.chain.from_iterable(("-p", name) for name in names)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}

    def run():
        subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)

    benchmark.pedantic(run, rounds=10, warmup_rounds=1)
