"""Scenarios of the stage connect: there is no way to the host, or to its network."""

import asyncio
import errno
import functools
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import aiohttp
import httpx
import pytest
import requests
import urllib3
from support.tables import each_row

import faultline as package
from faultline import nxdomain, raises, refuse, root_cause, unreachable

pytestmark = pytest.mark.leaves_open

HOST = "192.0.2.1"  # of TEST-NET-1 (RFC 5737), which only a namespace has a route for
CLIENT = """
import socket, sys
for host, port in ((sys.argv[1], 80), ("198.51.100.1", 80), ("127.0.0.1", 9)):
    try:
        socket.create_connection((host, port), timeout=10)
    except OSError as error:
        print(type(error).__name__, error.errno)
"""
TOLD = """
import requests, urllib3, faultline
for library, ask in (("requests", requests.get), ("urllib3", urllib3.PoolManager(retries=False).urlopen)):
    try:
        ask("http://192.0.2.1/") if library == "requests" else ask("GET", "http://192.0.2.1/")
    except Exception as error:
        cause = faultline.root_cause(error)
        print(library, type(error).__name__, type(cause).__name__, cause.errno)
"""


def by_socket(url):
    where = urllib3.util.parse_url(url)
    socket.create_connection((where.host, where.port), timeout=10).close()


def by_urllib3(url):
    with urllib3.PoolManager(timeout=10, retries=False) as pool:
        pool.request("GET", url)


def by_requests(url):
    requests.get(url, timeout=10)


def by_httpx(url):
    httpx.get(url, timeout=10, verify=False)


def by_aiohttp(url):
    async def ask():
        timeout = aiohttp.ClientTimeout(10)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            await response.read()

    asyncio.run(ask())


def by_asyncio(url):
    where = urllib3.util.parse_url(url)

    async def ask():
        _, writer = await asyncio.wait_for(asyncio.open_connection(where.host, where.port), 10)
        writer.close()

    asyncio.run(ask())


CLIENTS = [
    (by_socket, OSError),
    (by_urllib3, urllib3.exceptions.NewConnectionError),
    (by_requests, requests.ConnectionError),
    (by_httpx, httpx.ConnectError),
    (by_aiohttp, aiohttp.ClientConnectorError),
    (by_asyncio, OSError),
]


@each_row(("ask", "error"), CLIENTS)
def test_no_route_leads_to_the_network(faultline, ask, error):
    server = faultline.serve(unreachable())

    with raises(OSError) as caught:
        ask(server.url)

    assert type(caught.value) is error
    assert type(root_cause(caught.value)) is OSError
    assert root_cause(caught.value).errno == errno.ENETUNREACH == 101
    assert {(a.struck.point, a.ended_by, a.ended_how) for a in server.attempts} == {("connect", "server", "no route")}


def test_a_connect_that_doesn_t_block_is_told_at_once(faultline):
    server = faultline.serve(unreachable())

    with socket.socket() as client:
        client.setblocking(False)
        assert client.connect_ex(server.address) == errno.ENETUNREACH

    assert len(server.attempts) == 1


def test_the_network_comes_back_on_the_same_port(faultline):
    server = faultline.serve(unreachable())
    port = server.port
    with pytest.raises(OSError) as caught:
        by_socket(server.url)
    server.become(package.ok(b"back"))

    assert caught.value.errno == errno.ENETUNREACH
    assert server.port == port
    assert httpx.get(server.url, timeout=10, verify=False).content == b"back"
    assert [a.ended_how for a in server.wait_for_attempts(2, at="end")] == ["no route", "FIN"]


def why(url):
    """What a client tells its user, by the root cause alone."""
    try:
        requests.get(url, timeout=10)
    except requests.ConnectionError as error:
        match root_cause(error):
            case socket.gaierror():
                return "no such name"
            case ConnectionRefusedError():
                return "nobody listens"
            case OSError(errno=errno.ENETUNREACH):
                return "no network"
    return "something else"


def test_a_client_tells_a_name_from_a_port_from_a_network(faultline):
    faultline.resolve("api.example.com", nxdomain())
    closed, nowhere = faultline.serve(refuse()), faultline.serve(unreachable())

    told = [why(url) for url in ("http://api.example.com/", closed.url, nowhere.url)]
    assert told == ["no such name", "nobody listens", "no network"]


@functools.cache
def namespace():
    """The words that run a shell in a network of its own, or why there is none."""
    missing = [name for name in ("unshare", "ip") if shutil.which(name) is None]
    if missing:
        return (), f"needs {' and '.join(missing)} for a network namespace"
    for words in (["unshare", "--net"], ["unshare", "--net", "--user", "--map-root-user"]):
        shell = [*words, "sh", "-ec"]
        tried = subprocess.run([*shell, routes("true")], capture_output=True, text=True, check=False)
        if tried.returncode == 0:
            return tuple(shell), ""
    return (), f"may not make a network namespace: {tried.stderr.strip()}"


def routes(then):
    """A shell's words that make a network in which one host is unreachable, and then do something in it."""
    return f"ip link set lo up; ip route add unreachable {HOST}; {then}"


@pytest.fixture
def elsewhere():
    """A function that runs a program of Python in a network where HOST is unreachable: the lines that it prints."""
    shell, reason = namespace()
    if not shell:
        pytest.skip(reason)

    def run(program, *words):
        path = str(Path(package.__file__).parents[1])
        ran = subprocess.run(
            [*shell, routes('exec "$@"'), "sh", sys.executable, "-c", program, *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin"},
        )
        assert (ran.returncode, ran.stderr) == (0, "")
        return ran.stdout.splitlines()

    return run


def test_a_host_that_can_t_be_reached_is_told_from_a_network_and_a_port(elsewhere):
    assert errno.EHOSTUNREACH == 113
    assert elsewhere(CLIENT, HOST) == ["OSError 113", "OSError 101", "ConnectionRefusedError 111"]


@pytest.mark.slow
def test_clients_wrap_a_host_that_can_t_be_reached_as_a_network_that_can_t(elsewhere):
    assert elsewhere(TOLD) == ["requests ConnectionError OSError 113", "urllib3 NewConnectionError OSError 113"]


def test_the_network_of_the_test_is_no_other_one_afterwards(elsewhere):
    before = Path("/proc/self/net/route").read_text()
    elsewhere("print()")

    assert Path("/proc/self/net/route").read_text() == before
