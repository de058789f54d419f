"""An HTTP proxy that leads its clients on, and each way in which it fails them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import hashlib
import http.client
import json
import os
import re
import socket
import ssl
import threading
import urllib.error
import urllib.request
from typing import get_args

import aiohttp
import httpx
import pytest
import requests
import urllib3

import faultline as library
from faultline import (
    ConflictError,
    Gate,
    NotStruckError,
    ParameterError,
    WaitError,
    bad_cert,
    blackhole,
    close,
    corrupt,
    drop_bytes,
    duplicate,
    echo,
    half_close,
    http_proxy,
    inject,
    latency,
    ok,
    raises,
    raw,
    refuse,
    relay,
    reset,
    root_cause,
    sequence,
    serve,
    socks_proxy,
    socks_refusal,
    sometimes,
    stall,
    status,
    throttle,
    unreachable,
    when,
)
from faultline.modes.proxies import Kind

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
MIB = 1 << 20
SILENCE_SECONDS = 0.05


@functools.cache
def body(count_bytes):
    return os.urandom(count_bytes)


def address_of(listener):
    return "{}:{}".format(*listener.getsockname()[:2])


def connect_to(target, *fields):
    return "\r\n".join((f"CONNECT {target} HTTP/1.1", f"Host: {target}", *fields, "", "")).encode("latin-1")


def get(url, *fields, method="GET", version="1.1"):
    if version == "1.1" and not any(field.startswith("Host:") for field in fields):
        fields = ("Host: origin.invalid", *fields)
    return "\r\n".join((f"{method} {url} HTTP/{version}", *fields, "", "")).encode("latin-1")


def exactly(sock, count):
    data = b""
    while len(data) < count and (more := sock.recv(count - len(data))):
        data += more
    return data


def until(sock, marker):
    data = b""
    while marker not in data and (more := sock.recv(1)):
        data += more
    return data


def to_end(sock, silence_seconds=10):
    """What is still to be read, and how it ends."""
    before = sock.gettimeout()
    sock.settimeout(silence_seconds)
    got = bytearray()
    try:
        while data := sock.recv(65_536):
            got += data
    except ConnectionResetError:
        return bytes(got), "RST"
    except TimeoutError:
        return bytes(got), "silence"
    finally:
        sock.settimeout(before)
    return bytes(got), "FIN"


def response_of(sock):
    """Status, head and body of a response that ends with its connection."""
    data, end = to_end(sock)
    assert end == "FIN"
    head, _, rest = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), head.decode("latin-1"), rest


def asked(server):
    return [(a.request.method, a.request.target) for a in server.attempts]


@pytest.fixture
def tunnel(dial):
    """A function that opens a tunnel through a proxy."""

    def opened(proxy, target):
        client = dial(proxy, connect_to(target))
        assert exactly(client, len(ESTABLISHED)) == ESTABLISHED
        return client

    return opened


@pytest.fixture
def joined(faultline, listener, accepted, tunnel):
    """A function that opens a tunnel to an origin of the test: the proxy and both ends."""

    def join(plan=None, **options):
        proxy = faultline.http_proxy(plan, **options)
        client = tunnel(proxy, address_of(listener))
        return proxy, client, accepted()

    return join


# --- clients: what they get from `origin` through `proxy` -------------------------------------------------------------


def by_requests(origin, proxy, timeout=10):
    with requests.Session() as session:
        proxies = {"http": proxy.proxy_url, "https": proxy.proxy_url}
        with session.get(origin.url, proxies=proxies, verify=origin.ca_file, timeout=timeout) as response:
            return response.status_code, response.content


def by_urllib3(origin, proxy, timeout=10):
    with urllib3.ProxyManager(
        proxy.proxy_url, ssl_context=origin.client_context(), timeout=timeout, retries=False
    ) as manager:
        response = manager.request("GET", origin.url)
        return response.status, response.data


def by_httpx(origin, proxy, timeout=10):
    with httpx.Client(proxy=proxy.proxy_url, verify=origin.client_context(), timeout=timeout) as client:
        response = client.get(origin.url)
        return response.status_code, response.content


def by_aiohttp(origin, proxy, timeout=10):
    async def ask():
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout)) as session:
            context = origin.client_context()
            async with session.get(origin.url, proxy=proxy.proxy_url, ssl=context) as response:
                return response.status, await response.read()

    return asyncio.run(ask())


def by_urllib(origin, proxy, timeout=10):
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({"http": proxy.proxy_url, "https": proxy.proxy_url}),
        urllib.request.HTTPSHandler(context=origin.client_context()),
    )
    with opener.open(origin.url, timeout=timeout) as response:
        return response.status, response.read()


def by_http_client(origin, proxy, timeout=10):
    is_tls = origin.url.startswith("https")
    made = functools.partial(http.client.HTTPSConnection, context=origin.client_context())
    client = (made if is_tls else http.client.HTTPConnection)(*proxy.address, timeout=timeout)
    with contextlib.closing(client):
        client.set_tunnel(*origin.address)
        client.request("GET", "/")
        with client.getresponse() as response:
            return response.status, response.read()


CLIENTS = [by_requests, by_urllib3, by_httpx, by_aiohttp, by_urllib, by_http_client]


def names(value):
    return value.__name__ if callable(value) else repr(value)


# --- the healthy proxy ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("by", CLIENTS, ids=names)
def test_a_proxy_leads_to_the_origin(faultline, by, tls):
    origin = faultline.serve(ok(b"from the origin"), tls=tls)
    proxy = faultline.http_proxy()

    assert by(origin, proxy) == (200, b"from the origin")
    (attempt,) = proxy.wait_for_attempts(1, at="response")
    tunnels = tls or by is by_http_client
    (request,) = asked(proxy)
    assert (
        request == ("CONNECT", origin.hostport) if tunnels else request in [("GET", origin.url + s) for s in ("", "/")]
    )
    assert (attempt.point, attempt.struck) == ("tunnel" if tunnels else "response", None)
    assert asked(origin) == [("GET", "/")]
    assert origin.attempts[0].tls is not None if tls else origin.attempts[0].tls is None


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("chunked", [False, True], ids=["sized", "chunked"])
def test_a_body_of_a_megabyte_goes_through_and_comes_back(faultline, tls, chunked):
    origin = faultline.serve(echo(), tls=tls)
    proxy = faultline.http_proxy()
    data = body(MIB)
    pieces = (data[i : i + 50_000] for i in range(0, MIB, 50_000)) if chunked else data

    with requests.Session() as session:
        session.proxies = {"http": proxy.proxy_url, "https": proxy.proxy_url}
        answered = session.post(origin.url, data=pieces, verify=origin.ca_file, timeout=10).content

    assert answered == data
    (attempt,) = origin.attempts
    assert (attempt.request.method, attempt.request.body_bytes) == ("POST", MIB)
    assert (attempt.request.header("transfer-encoding") == "chunked") is chunked
    assert proxy.attempts[0].received_bytes > MIB
    assert proxy.attempts[0].sent_bytes > MIB


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_twenty_megabytes_come_through_byte_for_byte(faultline, tls):
    data = body(20 * MIB)
    origin = faultline.serve(ok(data), tls=tls)
    proxy = faultline.http_proxy()

    _, got = by_urllib3(origin, proxy)

    assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()
    assert proxy.attempts[0].sent_bytes > 20 * MIB


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_head_has_a_length_and_no_body(faultline, tls):
    origin = faultline.serve(ok(b"12345"), tls=tls)
    proxy = faultline.http_proxy()

    with requests.Session() as session:
        session.proxies = {"http": proxy.proxy_url, "https": proxy.proxy_url}
        with session.head(origin.url, verify=origin.ca_file, timeout=10) as response:
            assert (response.status_code, response.headers["Content-Length"], response.content) == (200, "5", b"")
    assert origin.attempts[0].request.method == "HEAD"


def test_a_client_that_waits_for_100_continue_gets_it_from_the_origin(faultline, dial):
    origin = faultline.serve(echo())
    proxy = faultline.http_proxy()
    client = dial(proxy, get(origin.url, "Content-Length: 5", "Expect: 100-continue", method="POST"))

    assert until(client, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.sendall(b"hello")
    code, _, answered = response_of(client)

    assert (code, answered) == (200, b"hello")
    assert origin.attempts[0].request.header("expect") == "100-continue"


def test_a_client_of_http_1_0_without_a_host_field(faultline, dial):
    origin = faultline.serve(ok(b"old"))
    proxy = faultline.http_proxy()
    client = dial(proxy, get(f"{origin.url}/page", version="1.0"))

    code, _, answered = response_of(client)

    assert (code, answered) == (200, b"old")
    assert origin.attempts[0].request.header("host") == origin.hostport


@pytest.mark.parametrize(
    ("path", "arrives"),
    [
        ("", "/"),
        ("/", "/"),
        ("?q=1", "/?q=1"),
        ("/a/../b;v=1?x=%20&y=//", "/a/../b;v=1?x=%20&y=//"),
        ("/%7Ename", "/%7Ename"),
        ("//double", "//double"),
        ("/a//b", "/a//b"),
        ("/page?", "/page?"),
        ("/;", "/;"),
    ],
)
def test_the_origin_is_asked_for_the_very_path_of_the_url(faultline, dial, path, arrives):
    origin = faultline.serve(ok())
    proxy = faultline.http_proxy()

    assert response_of(dial(proxy, get(f"{origin.url}{path}")))[0] == 200
    assert asked(origin) == [("GET", arrives)]
    assert asked(proxy) == [("GET", f"{origin.url}{path}")]


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_an_origin_of_ipv6(faultline, ipv6, tls):
    origin = faultline.serve(ok(b"six"), host="::1", tls=tls)
    proxy = faultline.http_proxy(host="::1")

    assert by_urllib3(origin, proxy) == (200, b"six")
    assert proxy.proxy_url == f"http://[::1]:{proxy.port}"
    assert asked(proxy) == [("CONNECT", f"[::1]:{origin.port}") if tls else ("GET", f"http://[::1]:{origin.port}")]


def test_an_absolute_url_of_https_is_fetched_in_tls_by_the_proxy(faultline):
    origin = faultline.serve(ok(b"in TLS"), tls=True)
    proxy = faultline.http_proxy(tls=True)
    context = proxy.client_context()

    with urllib3.ProxyManager(
        proxy.proxy_url, use_forwarding_for_https=True, proxy_ssl_context=context, timeout=10
    ) as manager:
        assert manager.request("GET", f"{origin.url}/page").data == b"in TLS"

    assert asked(proxy) == [("GET", f"{origin.url}/page")]
    assert (asked(origin), origin.attempts[0].tls.version) == ([("GET", "/page")], "TLSv1.3")


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_a_proxy_that_speaks_tls(faultline, tls):
    origin = faultline.serve(ok(b"behind TLS"), tls=tls)
    proxy = faultline.http_proxy(tls=True)
    context = proxy.client_context()

    with urllib3.ProxyManager(
        proxy.proxy_url, proxy_ssl_context=context, ssl_context=context, timeout=10, retries=False
    ) as manager:
        assert manager.request("GET", origin.url).data == b"behind TLS"

    assert proxy.proxy_url == f"https://{proxy.hostport}"
    assert (proxy.attempts[0].tls.version, proxy.attempts[0].point) == ("TLSv1.3", "tunnel" if tls else "response")


def test_a_connection_is_kept_alive_inside_its_tunnel(faultline):
    origin = faultline.serve(ok(b"again"), tls=True)
    proxy = faultline.http_proxy()

    with requests.Session() as session:
        session.proxies, session.verify = {"https": proxy.proxy_url}, origin.ca_file
        for _ in range(3):
            assert session.get(origin.url, timeout=10).content == b"again"

    assert [a.connection for a in origin.attempts] == [1, 1, 1]
    assert asked(proxy) == [("CONNECT", origin.hostport)]


def test_a_fetch_has_a_connection_of_its_own(faultline):
    origin = faultline.serve(ok(b"again"))
    proxy = faultline.http_proxy()

    with requests.Session() as session:
        session.proxies = {"http": proxy.proxy_url}
        for _ in range(2):
            with session.get(origin.url, timeout=10) as response:
                assert (response.content, response.headers["Connection"]) == (b"again", "close")

    assert [a.connection for a in origin.attempts] == [1, 2]
    assert [a.connection for a in proxy.attempts] == [1, 2]


@pytest.mark.parametrize("first", ["client", "origin"])
def test_a_half_close_passes_through_the_tunnel_and_the_other_way_stays_open(joined, first):
    proxy, client, upstream = joined()
    one, other = (client, upstream) if first == "client" else (upstream, client)
    one.sendall(b"my last words")
    one.shutdown(socket.SHUT_WR)

    assert to_end(other) == (b"my last words", "FIN")
    other.sendall(b"and now me")
    other.shutdown(socket.SHUT_WR)
    assert to_end(one) == (b"and now me", "FIN")

    (attempt,) = proxy.wait_for_attempts(1, at="end")
    assert (attempt.ended_by, attempt.ended_how) == ("client" if first == "client" else "upstream", "FIN")


@pytest.mark.parametrize("plan", [None, stall(at="tunnel", for_seconds=0.01), latency(0.01)], ids=repr)
def test_what_comes_together_with_the_connect_goes_into_the_tunnel(faultline, listener, accepted, dial, plan):
    proxy = faultline.http_proxy(plan)
    client = dial(proxy, connect_to(address_of(listener)) + b"early bird")
    upstream = accepted()

    assert exactly(upstream, 10) == b"early bird"
    upstream.sendall(b"worm")
    assert exactly(client, len(ESTABLISHED) + 4) == ESTABLISHED + b"worm"
    assert [a.received_bytes for a in proxy.attempts] == [len(connect_to(address_of(listener))) + 10]


def test_the_origin_that_speaks_first_is_heard(joined):
    _, client, upstream = joined()

    upstream.sendall(b"220 ready\r\n")

    assert exactly(client, 11) == b"220 ready\r\n"


@pytest.mark.parametrize("side", ["client", "origin"])
def test_a_rst_passes_through_the_tunnel(joined, side):
    proxy, client, upstream = joined()
    sock, other = (client, upstream) if side == "client" else (upstream, client)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()

    assert to_end(other) == (b"", "RST")
    (attempt,) = proxy.wait_for_attempts(1, at="end")
    assert (attempt.ended_by, attempt.ended_how) == ("client" if side == "client" else "upstream", "RST")


def websocket_server():
    server = pytest.importorskip("websockets.sync.server")

    def answer(connection):
        for message in connection:
            connection.send(message[::-1])

    return server.serve(answer, "127.0.0.1", 0)


@contextlib.contextmanager
def serving(server):
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield "ws://{}:{}".format(*server.socket.getsockname())
    finally:
        server.shutdown()
        thread.join()


def test_a_websocket_through_connect(faultline):
    client = pytest.importorskip("websockets.sync.client")
    proxy = faultline.http_proxy()

    with (
        serving(websocket_server()) as url,
        client.connect(url, proxy=proxy.proxy_url, open_timeout=10) as connection,
    ):
        for text in ("hello", "x" * 100_000):
            connection.send(text)
            assert connection.recv(10) == text[::-1]

    assert asked(proxy) == [("CONNECT", url.removeprefix("ws://"))]


def test_a_websocket_whose_tunnel_is_reset(faultline):
    client = pytest.importorskip("websockets.sync.client")
    closed = pytest.importorskip("websockets.exceptions").ConnectionClosedError
    proxy = faultline.http_proxy()

    with (
        serving(websocket_server()) as url,
        client.connect(url, proxy=proxy.proxy_url, open_timeout=10) as connection,
    ):
        connection.send("hello")
        connection.recv(10)
        assert proxy.reset_all() == 1
        with pytest.raises(closed) as caught:
            connection.recv(10)

    assert type(root_cause(caught.value)) is ConnectionResetError


@pytest.mark.parametrize("fault", [status(403), status(502)], ids=repr)
def test_a_websocket_that_its_proxy_refuses(faultline, fault):
    client = pytest.importorskip("websockets.sync.client")
    error = pytest.importorskip("websockets.exceptions").InvalidProxyStatus
    proxy = faultline.http_proxy(fault)

    with pytest.raises(error) as caught:
        client.connect("ws://origin.invalid", proxy=proxy.proxy_url, open_timeout=10)

    assert caught.value.response.status_code == fault.answer.status
    assert asked(proxy) == [("CONNECT", "origin.invalid:80")]


# --- what goes further and what doesn't -------------------------------------------------------------------------------


def test_fields_between_client_and_proxy_go_no_further(faultline, dial):
    origin = faultline.serve(ok())
    proxy = faultline.http_proxy()
    fields = [
        "Host: origin.invalid",
        "Proxy-Authorization: Basic c2VjcmV0",
        "Proxy-Connection: keep-alive",
        "Connection: keep-alive",
        "Keep-Alive: timeout=5",
        "X-End-To-End: 1",
        "x-end-to-end: 2",
        "Cookie: a=b",
    ]

    assert response_of(dial(proxy, get(origin.url, *fields)))[0] == 200

    headers = origin.attempts[0].request.headers
    assert {name.lower() for name, _ in headers} == {"host", "x-end-to-end", "cookie", "connection"}
    assert [value for name, value in headers if name.lower() == "x-end-to-end"] == ["1", "2"]
    assert origin.attempts[0].request.header("connection") == "close"
    assert proxy.attempts[0].request.header("proxy-authorization") == "Basic c2VjcmV0"


def test_fields_that_connection_names_go_no_further(faultline, dial):
    origin = faultline.serve(ok())
    proxy = faultline.http_proxy()  # RFC 9110, 7.6.1
    fields = ["Host: origin.invalid", "Connection: X-Hop, TE", "X-Hop: 1", "TE: trailers", "X-End: 1"]

    assert response_of(dial(proxy, get(origin.url, *fields)))[0] == 200

    assert {name.lower() for name, _ in origin.attempts[0].request.headers} == {"host", "x-end", "connection"}


def test_the_host_field_is_that_of_the_url_whatever_the_client_says(faultline, dial):
    origin = faultline.serve(ok())
    proxy = faultline.http_proxy()  # RFC 9112, 3.2.2

    assert response_of(dial(proxy, get(origin.url, "Host: another.invalid")))[0] == 200

    assert [v for n, v in origin.attempts[0].request.headers if n.lower() == "host"] == [origin.hostport]


def test_credentials_in_a_url_are_not_put_into_the_host_field(faultline, dial):
    origin = faultline.serve(ok())
    proxy = faultline.http_proxy()

    assert response_of(dial(proxy, get(f"http://user:secret@{origin.hostport}/", version="1.0")))[0] == 200

    assert origin.attempts[0].request.header("host") == origin.hostport


def test_an_upgrade_by_absolute_url_is_passed_on(faultline, listener, accepted, dial):
    proxy = faultline.http_proxy()
    url = f"http://{address_of(listener)}/chat"
    client = dial(proxy, get(url, f"Host: {address_of(listener)}", "Connection: Upgrade", "Upgrade: websocket"))
    upstream = accepted()

    head = until(upstream, b"\r\n\r\n").lower()
    assert b"\r\nupgrade: websocket\r\n" in head
    assert b"\r\nconnection: upgrade\r\n" in head
    upstream.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    assert until(client, b"\r\n\r\n") == b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
    client.sendall(b"frame")
    assert exactly(upstream, 5) == b"frame"


# --- `to`: whatever the client asks for, it is led to one server ------------------------------------------------------


@pytest.mark.parametrize("form", ["server", "address", "localhost", "url"])
def test_a_foreign_name_is_led_to_a_server_of_the_test(faultline, dialled, form):
    origin = faultline.serve(ok(b"mine"))
    forms = {
        "server": origin,
        "address": origin.hostport,
        "localhost": f"localhost:{origin.port}",
        "url": f"{origin.url}/ignored",
    }
    proxy = faultline.http_proxy(to=forms[form])

    with requests.Session() as session:
        proxies = {"http": proxy.proxy_url}
        assert session.get("http://api.invalid/v1?q=1", proxies=proxies, timeout=10).content == b"mine"

    assert asked(proxy) == [("GET", "http://api.invalid/v1?q=1")]
    assert asked(origin) == [("GET", "/v1?q=1")]
    assert origin.attempts[0].request.header("host") == "api.invalid"
    assert ("socket.connect", origin.address) in dialled
    assert not [item for item in dialled if "api.invalid" in repr(item)]


def test_a_foreign_name_is_led_to_a_unix_socket(faultline):
    origin = faultline.serve(ok(b"in a file"), unix=True)
    proxy = faultline.http_proxy(to=origin)

    with requests.Session() as session:
        proxies = {"http": proxy.proxy_url}
        assert session.get("http://api.invalid/", proxies=proxies, timeout=10).content == b"in a file"


def test_the_certificate_is_checked_by_the_name_that_the_client_asks_for(faultline):
    origin = faultline.serve(ok(b"mine"), tls=True)
    proxy = faultline.http_proxy(to=origin)
    context = origin.client_context()

    with urllib3.ProxyManager(proxy.proxy_url, ssl_context=context, timeout=10, retries=False) as manager:
        assert manager.request("GET", "https://localhost/").data == b"mine"  # on port 443
        with raises(ssl.SSLCertVerificationError) as caught:
            manager.request("GET", "https://api.invalid/")

    assert (type(caught.value), caught.cause.verify_code) == (urllib3.exceptions.SSLError, 62)
    assert asked(proxy) == [("CONNECT", "localhost:443"), ("CONNECT", "api.invalid:443")]
    assert [a.tls.sni for a in origin.attempts] == ["localhost", "api.invalid"]


def test_an_absolute_url_of_https_is_led_in_tls(faultline, dial):
    origin = faultline.serve(ok(b"mine"), tls=True)
    proxy = faultline.http_proxy(to=origin)

    assert response_of(dial(proxy, get("https://api.invalid/page")))[2] == b"mine"
    assert asked(origin) == [("GET", "/page")]


@pytest.mark.parametrize(
    "target",
    [
        "origin.invalid:443",
        "192.0.2.1:443",
        "10.0.0.1:22",
        "0.0.0.0:80",
        "[2001:db8::1]:443",
        "[::ffff:192.0.2.1]:80",
        "127.0.0.1.invalid:80",
        "localhost.invalid:80",
        "2130706433:80",
        "255.255.255.255:80",
        "127.0.0.1@origin.invalid:80",
    ],
)
@pytest.mark.parametrize("how", ["CONNECT", "GET"])
def test_a_way_to_another_machine_is_answered_by_403_and_nothing_is_dialled(faultline, dial, dialled, how, target):
    proxy = faultline.http_proxy()
    client = dial(proxy, connect_to(target) if how == "CONNECT" else get(f"http://{target}/"))

    code, _, answered = response_of(client)

    assert (code, answered) == (403, b"This proxy connects only to this machine.\n")
    assert {item for item in dialled if item[0] == "socket.connect"} == {("socket.connect", proxy.address)}
    assert not [item for item in dialled if target.rpartition(":")[0] in repr(item)]
    (attempt,) = proxy.attempts
    assert attempt.note == f"{target.rpartition('@')[2]} is not on this machine; to=… sends clients to a server here"
    assert (attempt.struck, attempt.point, attempt.ended_by) == (None, "response", "server")


@pytest.mark.parametrize("target", ["127.0.0.1:{port}", "localhost:{port}", "LocalHost:{port}", "127.1.2.3:{port}"])
def test_every_name_of_this_machine_is_led_to(faultline, tunnel, target):
    with socket.create_server(("0.0.0.0", 0)) as origin:  # all of 127.0.0.0/8
        origin.settimeout(10)
        proxy = faultline.http_proxy()
        client = tunnel(proxy, target.format(port=origin.getsockname()[1]))
        upstream, _ = origin.accept()
        with upstream:
            upstream.sendall(b"hello")
            assert exactly(client, 5) == b"hello"


@pytest.mark.parametrize(
    "data",
    [
        b"GET /path HTTP/1.1\r\nHost: origin.invalid\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: origin.invalid\r\n\r\n",
        b"GET file:///etc/passwd HTTP/1.1\r\nHost: origin.invalid\r\n\r\n",
        b"GET ftp://127.0.0.1/ HTTP/1.1\r\nHost: origin.invalid\r\n\r\n",
        b"hello proxy\r\n\r\n",
        b"\x05\x01\x00",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET http://127.0.0.1/ HTTP/1.1\r\nno field\r\n\r\n",
    ],
    ids=["a path", "a star", "a file", "ftp", "garbage", "SOCKS", "TLS", "HTTP/2", "a bad field"],
)
def test_what_is_not_asked_as_a_proxy_is_asked_is_answered_by_400(faultline, dial, data):
    proxy = faultline.http_proxy()

    assert response_of(dial(proxy, data))[0] == 400

    origin = faultline.serve(ok(b"served"))
    assert by_requests(origin, proxy) == (200, b"served")


@pytest.mark.parametrize(
    "target", ["127.0.0.1:0", "127.0.0.1:99999", "127.0.0.1:x", "[::1:80", "http:///path", ":80", "127.0.0.1"]
)
def test_a_target_that_is_none_is_refused_and_the_next_one_is_served(faultline, dial, target):
    proxy = faultline.http_proxy()

    data = get(target) if target.startswith("http") else connect_to(target)
    assert response_of(dial(proxy, data))[0] in (400, 403)

    origin = faultline.serve(ok(b"served"))
    assert by_requests(origin, proxy) == (200, b"served")


def test_an_endless_head_is_cut_off_and_the_next_one_is_served(faultline, dial):
    proxy = faultline.http_proxy()
    client = dial(proxy)

    with contextlib.suppress(ConnectionError):
        client.sendall(b"CONNECT 127.0.0.1:1 HTTP/1.1\r\nX: " + b"x" * MIB)

    assert to_end(client)[1] in ("FIN", "RST")
    origin = faultline.serve(ok(b"served"))
    assert by_requests(origin, proxy) == (200, b"served")


def test_a_request_that_comes_byte_by_byte_is_understood(faultline, listener, accepted, dial):
    proxy = faultline.http_proxy()
    client = dial(proxy)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in connect_to(address_of(listener)):
        client.sendall(bytes((byte,)))

    accepted().sendall(b"hello")

    assert exactly(client, len(ESTABLISHED) + 5) == ESTABLISHED + b"hello"


def test_a_client_that_leaves_in_the_middle_of_its_request_is_in_the_ledger(faultline, dial):
    proxy = faultline.http_proxy()
    with dial(proxy, b"CONNECT 127.0.0.1:80 HT"):
        proxy.wait_for_attempts(1, at="request")

    (attempt,) = proxy.wait_for_attempts(1, at="end")
    assert (attempt.point, attempt.ended_by, attempt.request) == ("request", "client", None)


# --- origins that fail ------------------------------------------------------------------------------------------------


def test_an_origin_that_refuses_is_answered_by_502(faultline, dial, nobody):
    proxy = faultline.http_proxy()

    for data in (connect_to(nobody), get(f"http://{nobody}/")):
        code, _, answered = response_of(dial(proxy, data))

        said = f"the upstream {nobody} could not be reached: [Errno 111] Connection refused"
        assert (code, answered.decode().strip()) == (502, said)
    assert [(a.note, a.struck) for a in proxy.attempts] == [(said, None)] * 2


def test_an_origin_that_refuses_is_no_error_of_the_proxy_to_a_fetching_client(faultline, nobody):
    proxy = faultline.http_proxy()
    proxies = {"http": proxy.proxy_url, "https": proxy.proxy_url}

    with requests.Session() as session:
        with session.get(f"http://{nobody}/", proxies=proxies, timeout=10) as response:
            assert response.status_code == 502
        with pytest.raises(requests.exceptions.ProxyError) as caught:
            session.get(f"https://{nobody}/", proxies=proxies, timeout=10)

    assert str(root_cause(caught.value)) == "Tunnel connection failed: 502 Bad Gateway"


def test_an_origin_that_is_a_server_of_ours_and_refuses_is_counted_there(faultline, dial):
    origin = faultline.serve(sequence(refuse(), ok(b"up again")))
    proxy = faultline.http_proxy()

    assert response_of(dial(proxy, get(origin.url)))[0] == 502
    assert response_of(dial(proxy, get(origin.url)))[2] == b"up again"
    assert [(a.point, a.fault) for a in origin.attempts] == [("connect", refuse()), ("response", ok(b"up again"))]


def test_an_origin_that_never_accepts_holds_the_client_until_its_timeout(faultline):
    origin = faultline.serve(blackhole())
    proxy = faultline.http_proxy()

    for by, error in ((by_requests, requests.exceptions.ReadTimeout), (by_httpx, httpx.ReadTimeout)):
        with raises(TimeoutError) as caught:
            by(origin, proxy, timeout=0.1)
        assert type(caught.value) is error
    assert [(a.request.method, a.point, a.sent_bytes) for a in proxy.attempts] == [("GET", "request", 0)] * 2


@pytest.mark.parametrize("fault", [reset(), reset(at="accept"), reset(at="request")], ids=repr)
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_an_origin_that_resets_resets_the_client(faultline, fault, tls):
    origin = faultline.serve(fault, tls=tls)
    proxy = faultline.http_proxy()

    with raises(ConnectionResetError):
        by_requests(origin, proxy)

    (attempt,) = proxy.wait_for_attempts(1, at="end")
    assert (attempt.struck, attempt.ended_by, attempt.ended_how) == (None, "upstream", "RST")
    assert origin.attempts[0].struck.point == fault.break_.at


def test_an_origin_that_closes_closes_to_the_client(faultline):
    origin = faultline.serve(close(after_bytes=10))
    proxy = faultline.http_proxy()

    with pytest.raises(requests.exceptions.RequestException):
        by_requests(origin, proxy)

    (attempt,) = proxy.wait_for_attempts(1, at="end")
    assert (attempt.sent_bytes, attempt.ended_by, attempt.ended_how) == (10, "upstream", "FIN")


def test_an_origin_that_does_not_agree_to_tls_is_answered_by_502(faultline, dial):
    origin = faultline.serve(raw(b"no TLS here"))
    proxy = faultline.http_proxy()

    code, _, answered = response_of(dial(proxy, get(f"https://{origin.hostport}/")))

    assert (code, answered.decode().partition(": ")[0]) == (502, f"the upstream {origin.hostport} could not be reached")


@pytest.mark.parametrize(
    ("by", "error"),
    [
        (by_requests, requests.exceptions.SSLError),
        (by_urllib3, urllib3.exceptions.SSLError),
        (by_httpx, httpx.ConnectError),
        (by_aiohttp, aiohttp.ClientConnectorCertificateError),
        (by_urllib, urllib.error.URLError),
        (by_http_client, ssl.SSLCertVerificationError),
    ],
    ids=names,
)
def test_a_bad_certificate_of_the_origin_behind_a_good_proxy_is_no_error_of_the_proxy(faultline, by, error):
    origin = faultline.serve(bad_cert("expired"))
    proxy = faultline.http_proxy()

    with raises(ssl.SSLCertVerificationError) as caught:
        by(origin, proxy)

    assert (type(caught.value), root_cause(caught.value).verify_code) == (error, 10)
    assert asked(proxy) == [("CONNECT", origin.hostport)]
    (attempt,) = proxy.wait_for_attempts(1, at="tunnel")
    assert (attempt.struck, attempt.tls and attempt.tls.version) == (None, "")  # seen in passing


@pytest.mark.parametrize("target", ["http", "https"])
def test_a_bad_certificate_of_the_proxy_itself_is_an_error_of_the_proxy(faultline, target):
    proxy = faultline.http_proxy(bad_cert("expired"))
    context = proxy.client_context()

    with (
        urllib3.ProxyManager(
            proxy.proxy_url, proxy_ssl_context=context, ssl_context=context, timeout=10, retries=False
        ) as manager,
        raises(ssl.SSLCertVerificationError) as caught,
    ):
        manager.request("GET", f"{target}://origin.invalid/")

    assert (type(caught.value), caught.cause.verify_code) == (urllib3.exceptions.ProxyError, 10)
    assert proxy.proxy_url.startswith("https://")
    (attempt,) = proxy.attempts
    assert (attempt.struck.point, attempt.tls.alert, attempt.request) == ("handshake", "certificate_expired", None)


# --- name and password ------------------------------------------------------------------------------------------------

AUTH = ("us er@home", "p/a:ss%word")


def basic(name, password):
    return f"Proxy-Authorization: Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("by", [by_requests, by_httpx, by_aiohttp, by_urllib], ids=names)
def test_name_and_password_in_the_url_of_the_proxy_open_it(faultline, by, tls):
    origin = faultline.serve(ok(b"opened"), tls=tls)
    proxy = faultline.http_proxy(auth=AUTH)

    assert by(origin, proxy) == (200, b"opened")
    assert proxy.proxy_url == f"http://us%20er%40home:p%2Fa%3Ass%25word@{proxy.hostport}"
    assert proxy.attempts[0].request.header("proxy-authorization") == basic(*AUTH).partition(": ")[2]
    assert origin.attempts[0].request.header("proxy-authorization") is None


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [basic("us er@home", "wrong")],
        [basic("", "")],
        ["Proxy-Authorization: Bearer token"],
        ["Proxy-Authorization: Basic !!!"],
        ["Authorization: Basic " + basic(*AUTH).rpartition(" ")[2]],
    ],
    ids=["none", "a wrong password", "empty", "another scheme", "no base64", "another field"],
)
@pytest.mark.parametrize("how", ["CONNECT", "GET"])
def test_who_shows_another_name_and_password_is_asked_for_them(faultline, dial, dialled, how, fields):
    proxy = faultline.http_proxy(auth=AUTH)
    data = connect_to("127.0.0.1:9", *fields) if how == "CONNECT" else get("http://127.0.0.1:9/", *fields)

    code, head, answered = response_of(dial(proxy, data))

    assert (code, answered) == (407, b"This proxy requires another name and password.\n")
    assert '\r\nProxy-Authenticate: Basic realm="faultline"\r\n' in head
    assert ("socket.connect", ("127.0.0.1", 9)) not in dialled
    assert proxy.attempts[0].struck is None


def test_the_scheme_of_a_password_has_no_case(faultline, dial):
    origin = faultline.serve(ok())
    proxy = faultline.http_proxy(auth=AUTH)  # RFC 9110, 11.1

    assert response_of(dial(proxy, get(origin.url, basic(*AUTH).replace("Basic", "basic"))))[0] == 200


@pytest.mark.parametrize("by", [by_requests, by_httpx, by_aiohttp, by_urllib], ids=names)
def test_a_password_that_is_not_ascii_opens_the_proxy_by_its_url(faultline, by):
    origin = faultline.serve(ok(b"opened"))
    proxy = faultline.http_proxy(auth=("jürgen", "geheimnisträger"))

    assert by(origin, proxy) == (200, b"opened")


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_who_has_no_password_meets_407_by_its_client(faultline, tls):
    origin = faultline.serve(ok(), tls=tls)
    proxy = faultline.http_proxy(auth=AUTH)
    proxies = dict.fromkeys(("http", "https"), f"http://{proxy.hostport}")

    with requests.Session() as session:
        if tls:
            with pytest.raises(requests.exceptions.ProxyError) as caught:
                session.get(origin.url, proxies=proxies, timeout=10)
            assert str(root_cause(caught.value)) == "Tunnel connection failed: 407 Proxy Authentication Required"
        else:
            with session.get(origin.url, proxies=proxies, timeout=10) as response:
                assert response.status_code == 407
                assert response.headers["Proxy-Authenticate"] == 'Basic realm="faultline"'
    assert origin.attempts == ()


# --- every fault at CONNECT, by every client --------------------------------------------------------------------------


# What each client makes of it: its own exception, and what is under it.
REFUSALS = [
    (by_requests, requests.exceptions.ProxyError, "Tunnel connection failed: {} {}"),
    (by_urllib3, urllib3.exceptions.ProxyError, "Tunnel connection failed: {} {}"),
    (by_httpx, httpx.ProxyError, "{} {}"),
    (by_aiohttp, aiohttp.ClientHttpProxyError, "{}, message='{}'"),
    (by_urllib, urllib.error.URLError, "Tunnel connection failed: {} {}"),
    (by_http_client, OSError, "Tunnel connection failed: {} {}"),
]
ASK = {"Proxy-Authenticate": 'Basic realm="test"'}


@pytest.mark.parametrize(
    "fault", [status(403), status(407), status(407, headers=ASK), status(502), status(503)], ids=repr
)
@pytest.mark.parametrize(("by", "error", "text"), REFUSALS, ids=names)
def test_a_status_instead_of_a_tunnel(faultline, leaks, fault, by, *, error, text):
    origin = faultline.serve(ok(), tls=True)
    proxy = faultline.http_proxy(fault)

    with pytest.raises(error) as caught:
        by(origin, proxy)

    code = fault.answer.status
    assert caught.type is error
    assert text.format(code, http.client.responses[code]) in str(root_cause(caught.value))
    (attempt,) = proxy.attempts
    assert (attempt.struck.point, attempt.sent_bytes > 0, attempt.ended_by) == ("response", True, "server")
    assert (asked(proxy), origin.attempts) == ([("CONNECT", origin.hostport)], ())


@pytest.mark.parametrize("fields", [{}, ASK], ids=["without", "with"])
def test_407_with_and_without_proxy_authenticate(faultline, fields):
    proxy = faultline.http_proxy(status(407, headers=fields))

    with requests.get("http://origin.invalid/", proxies={"http": proxy.proxy_url}, timeout=10) as response:
        assert (response.status_code, response.headers.get("Proxy-Authenticate")) == (
            407,
            fields.get("Proxy-Authenticate"),
        )
    assert asked(proxy) == [("GET", "http://origin.invalid/")]


CONNECTION = requests.exceptions.ConnectionError
PROTOCOL = urllib3.exceptions.ProtocolError
BROKEN = [
    (raw(b"garbage\r\n\r\n"), by_requests, CONNECTION, http.client.BadStatusLine),
    (raw(b"garbage\r\n\r\n"), by_urllib3, PROTOCOL, http.client.BadStatusLine),
    (raw(b"garbage\r\n\r\n"), by_httpx, httpx.RemoteProtocolError, httpx.RemoteProtocolError),
    (raw(b"garbage\r\n\r\n"), by_aiohttp, aiohttp.ClientResponseError, aiohttp.http_exceptions.BadStatusLine),
    (raw(b"garbage\r\n\r\n"), by_urllib, http.client.BadStatusLine, http.client.BadStatusLine),
    (raw(b"garbage\r\n\r\n"), by_http_client, http.client.BadStatusLine, http.client.BadStatusLine),
    (close(), by_requests, CONNECTION, http.client.RemoteDisconnected),
    (close(), by_urllib3, PROTOCOL, http.client.RemoteDisconnected),
    (close(), by_httpx, httpx.RemoteProtocolError, httpx.RemoteProtocolError),
    (close(), by_aiohttp, aiohttp.ServerDisconnectedError, aiohttp.ServerDisconnectedError),
    (close(), by_urllib, urllib.error.URLError, http.client.RemoteDisconnected),
    (close(), by_http_client, http.client.RemoteDisconnected, http.client.RemoteDisconnected),
    (reset(), by_requests, CONNECTION, ConnectionResetError),
    (reset(), by_urllib3, PROTOCOL, ConnectionResetError),
    (reset(), by_httpx, httpx.ReadError, ConnectionResetError),
    (reset(), by_aiohttp, aiohttp.ClientOSError, ConnectionResetError),
    (reset(), by_urllib, urllib.error.URLError, ConnectionResetError),
    (reset(), by_http_client, ConnectionResetError, ConnectionResetError),
    (stall(), by_requests, requests.exceptions.ReadTimeout, TimeoutError),
    (stall(), by_urllib3, urllib3.exceptions.ReadTimeoutError, TimeoutError),
    (stall(), by_httpx, httpx.ReadTimeout, TimeoutError),
    (stall(), by_aiohttp, asyncio.TimeoutError, TimeoutError),
    (stall(), by_urllib, urllib.error.URLError, TimeoutError),
    (stall(), by_http_client, TimeoutError, TimeoutError),
    (refuse(), by_requests, requests.exceptions.ProxyError, ConnectionRefusedError),
    (refuse(), by_urllib3, urllib3.exceptions.ProxyError, ConnectionRefusedError),
    (refuse(), by_httpx, httpx.ConnectError, ConnectionRefusedError),
    (refuse(), by_aiohttp, aiohttp.ClientProxyConnectionError, ConnectionRefusedError),
    (refuse(), by_urllib, urllib.error.URLError, ConnectionRefusedError),
    (refuse(), by_http_client, ConnectionRefusedError, ConnectionRefusedError),
    (blackhole(), by_requests, requests.exceptions.ProxyError, TimeoutError),
    (blackhole(), by_urllib3, urllib3.exceptions.ProxyError, TimeoutError),
    (blackhole(), by_httpx, httpx.ConnectTimeout, TimeoutError),
    (blackhole(), by_aiohttp, asyncio.TimeoutError, TimeoutError),
    (blackhole(), by_urllib, urllib.error.URLError, TimeoutError),
    (blackhole(), by_http_client, TimeoutError, TimeoutError),
    (reset(at="tunnel", after_bytes=10), by_requests, CONNECTION, ConnectionResetError),
    (reset(at="tunnel", after_bytes=10), by_urllib3, PROTOCOL, ConnectionResetError),
    (reset(at="tunnel", after_bytes=10), by_httpx, httpx.ConnectError, ConnectionResetError),
    (reset(at="tunnel", after_bytes=10), by_aiohttp, aiohttp.ClientConnectorError, ConnectionResetError),
    (reset(at="tunnel", after_bytes=10), by_urllib, urllib.error.URLError, ConnectionResetError),
    (reset(at="tunnel", after_bytes=10), by_http_client, ConnectionResetError, ConnectionResetError),
    (close(at="tunnel"), by_requests, requests.exceptions.SSLError, ssl.SSLError),
    (close(at="tunnel"), by_urllib3, urllib3.exceptions.SSLError, ssl.SSLError),
    (close(at="tunnel"), by_httpx, httpx.ConnectError, ssl.SSLError),
    (close(at="tunnel"), by_aiohttp, aiohttp.ClientConnectorError, ConnectionResetError),
    (close(at="tunnel"), by_urllib, urllib.error.URLError, ssl.SSLError),
    (stall(at="tunnel"), by_requests, requests.exceptions.ReadTimeout, TimeoutError),
    (stall(at="tunnel"), by_urllib3, urllib3.exceptions.ReadTimeoutError, TimeoutError),
    (stall(at="tunnel"), by_httpx, httpx.ConnectTimeout, TimeoutError),
    (stall(at="tunnel"), by_aiohttp, asyncio.TimeoutError, TimeoutError),
    (stall(at="tunnel"), by_urllib, urllib.error.URLError, TimeoutError),
    (stall(at="tunnel"), by_http_client, TimeoutError, TimeoutError),
]


@pytest.mark.parametrize(
    ("fault", "by", "error", "cause"), BROKEN, ids=[f"{fault!r}-{by.__name__}" for fault, by, *_ in BROKEN]
)
def test_a_proxy_that_breaks_while_a_tunnel_is_opened(faultline, leaks, fault, by, *, error, cause):
    origin = faultline.serve(ok(), tls=True)
    proxy = faultline.http_proxy(fault)
    waits = fault.break_ is not None and cause is TimeoutError

    with raises(cause) as caught:
        by(origin, proxy, timeout=0.4 if waits else 10)

    assert type(caught.value) is error
    struck = [a.struck and a.struck.point for a in proxy.attempts]
    assert set(struck) == {fault.break_.at if fault.break_ else "response"}  # aiohttp tries twice
    if fault.door is None:
        assert set(asked(proxy)) == {("CONNECT", origin.hostport)}


@pytest.mark.parametrize("by", CLIENTS, ids=names)
def test_200_and_then_rst_before_the_first_byte(faultline, leaks, by):
    origin = faultline.serve(ok(), tls=True)
    proxy = faultline.http_proxy(reset(at="tunnel"))

    with raises(ConnectionResetError):  # before its hello or behind it
        by(origin, proxy)

    (attempt,) = proxy.attempts
    assert (attempt.struck.point, attempt.struck.after_bytes, attempt.sent_bytes) == ("tunnel", 0, len(ESTABLISHED))
    assert (attempt.ended_by, attempt.ended_how) == ("server", "RST")


@pytest.mark.parametrize(
    ("fault", "error", "cause"),
    [
        (close(), requests.exceptions.ProxyError, http.client.RemoteDisconnected),
        (reset(), requests.exceptions.ProxyError, ConnectionResetError),
        (refuse(), requests.exceptions.ProxyError, ConnectionRefusedError),
        (unreachable(), requests.exceptions.ProxyError, OSError),
        (blackhole(), requests.exceptions.ProxyError, TimeoutError),
        (stall(), requests.exceptions.ReadTimeout, TimeoutError),
        (raw(b"garbage\r\n\r\n"), CONNECTION, http.client.BadStatusLine),
        (close(after_bytes=60), requests.exceptions.ChunkedEncodingError, http.client.IncompleteRead),
    ],
    ids=repr,
)
def test_a_proxy_that_breaks_while_it_fetches(faultline, fault, error, cause):
    origin = faultline.serve(ok(b"x" * 100))
    proxy = faultline.http_proxy(fault)

    with raises(cause) as caught:
        by_requests(origin, proxy, timeout=0.15 if cause is TimeoutError else 10)

    assert type(caught.value) is error
    if cause is OSError:
        assert root_cause(caught.value).errno == 101
    assert proxy.attempts[0].struck is not None


@pytest.mark.parametrize("code", [403, 407, 502, 503])
@pytest.mark.parametrize("by", [by_requests, by_urllib3, by_httpx, by_aiohttp], ids=names)
def test_a_status_instead_of_a_fetch_is_an_answer(faultline, by, code):
    origin = faultline.serve(ok())
    proxy = faultline.http_proxy(status(code, body=b"from the proxy"))

    assert by(origin, proxy) == (code, b"from the proxy")
    assert (origin.attempts, proxy.attempts[0].struck.point) == ((), "response")


def test_a_body_that_the_proxy_does_not_want_is_answered_all_the_same(faultline):
    proxy = faultline.http_proxy(status(403))

    with requests.post(
        "http://origin.invalid/", data=body(4 * MIB), proxies={"http": proxy.proxy_url}, timeout=10
    ) as response:
        assert response.status_code == 403


def test_a_fault_of_some_requests_only(faultline):
    origin, secret = faultline.serve(ok(b"open")), faultline.serve(ok(), tls=True)
    proxy = faultline.http_proxy(when(lambda request: request.method == "CONNECT", status(403)))

    assert by_requests(origin, proxy) == (200, b"open")
    with pytest.raises(requests.exceptions.ProxyError):
        by_requests(secret, proxy)
    assert [a.fault for a in proxy.attempts] == [ok(), status(403)]


def test_an_answer_of_the_plan_is_said_instead_of_leading_on(faultline):
    origin = faultline.serve(ok(b"origin"))
    proxy = faultline.http_proxy(ok(b"from the proxy's cache"))

    assert by_requests(origin, proxy) == (200, b"from the proxy's cache")
    assert origin.attempts == ()


# --- breaks in the tunnel, seen from both ends ------------------------------------------------------------------------

TRIGGERS = [
    ({}, b""),
    ({"after_bytes": 3}, b"abc"),
    ({"after_bytes": 6}, b"abcdef"),
    ({"on": b"cd"}, b"abcd"),
    ({"on": re.compile(rb"[de]")}, b"abcd"),
]


@pytest.mark.parametrize(("trigger", "passes"), TRIGGERS, ids=lambda v: None if isinstance(v, bytes) else repr(v))
@pytest.mark.parametrize(
    ("verb", "ends"), [(reset, "RST"), (close, "FIN"), (stall, "silence"), (half_close, "FIN")], ids=names
)
def test_a_break_in_the_tunnel_after_the_very_byte(joined, verb, ends, *, trigger, passes):
    proxy, client, upstream = joined(verb(at="tunnel", **trigger))
    if trigger:
        client.sendall(b"cd def, not counted")
        assert exactly(upstream, 19) == b"cd def, not counted"
        upstream.sendall(b"abcdefgh")

    assert exactly(client, len(passes)) == passes
    assert to_end(client, SILENCE_SECONDS if verb is stall else 10) == (b"", ends)
    (attempt,) = proxy.wait_for_attempts(1, at="tunnel")
    assert (attempt.point, attempt.struck.point, attempt.struck.after_bytes) == ("tunnel", "tunnel", len(passes))
    assert attempt.sent_bytes == len(ESTABLISHED) + len(passes)
    if verb in (reset, close):
        assert to_end(upstream)[1] in ("FIN", "RST")
        assert (attempt.ended_by, attempt.ended_how) == ("server", ends)


def test_two_reads_make_the_words_on_which_it_strikes(joined):
    proxy, client, upstream = joined(reset(at="tunnel", on=b"boundary"))
    upstream.sendall(b"the boun")
    assert exactly(client, 8) == b"the boun"
    upstream.sendall(b"dary and more")

    assert to_end(client) == (b"dary", "RST")
    assert proxy.attempts[0].struck.after_bytes == 12


def test_the_words_of_the_proxy_itself_are_not_in_the_tunnel(faultline, listener, accepted, tunnel):
    proxy = faultline.http_proxy(reset(at="tunnel", on=b"established"))
    client = tunnel(proxy, address_of(listener))
    upstream = accepted()
    upstream.sendall(b"hello")

    assert exactly(client, 5) == b"hello"
    upstream.sendall(b"established")
    assert to_end(client) == (b"established", "RST")


def test_who_has_heard_the_end_of_a_tunnel_may_go_on_talking(joined):
    proxy, client, _ = joined(half_close(at="tunnel"))
    assert to_end(client) == (b"", "FIN")

    client.sendall(b"still there?")
    client.close()

    (attempt,) = proxy.wait_for_attempts(1, at="end")
    assert (attempt.ended_by, attempt.ended_how) == ("client", "FIN")
    assert attempt.received_bytes == len(connect_to(attempt.request.target)) + 12
    assert attempt.turns[-1].by == "client"
    assert attempt.turns[-1].begins.endswith(b"still there?")


def test_a_tunnel_that_is_silent_until_the_test_opens_the_gate(joined):
    gate = Gate()
    proxy, client, upstream = joined(stall(at="tunnel", after_bytes=3, until=gate))
    upstream.sendall(b"abcdef")
    assert exactly(client, 3) == b"abc"
    assert to_end(client, SILENCE_SECONDS) == (b"", "silence")

    gate.open()

    assert exactly(client, 3) == b"def"
    client.sendall(b"ask")
    assert exactly(upstream, 3) == b"ask"
    assert proxy.attempts[0].struck.after_bytes == 3


def test_bytes_are_put_into_the_tunnel(joined):
    proxy, client, upstream = joined(inject(b"<!>", after_bytes=len(ESTABLISHED) + 3))
    upstream.sendall(b"abcdef")

    assert exactly(client, 9) == b"abc<!>def"
    assert proxy.attempts[0].struck is not None


def test_bytes_are_put_at_a_point_of_the_tunnel(joined):
    _, client, upstream = joined(inject(b"<!>", at="tunnel", after_bytes=3))
    upstream.sendall(b"abcdef")

    assert exactly(client, 9) == b"abc<!>def"


def test_messages_are_counted_in_the_tunnel(joined):
    _, client, upstream = joined(reset(at="tunnel", after_messages=1))
    client.sendall(b"one")
    assert exactly(upstream, 3) == b"one"
    upstream.sendall(b"ONE")
    assert exactly(client, 3) == b"ONE"
    client.sendall(b"two")
    assert exactly(upstream, 3) == b"two"
    upstream.sendall(b"TWO")

    assert to_end(client) == (b"", "RST")


def test_what_the_client_asks_the_proxy_is_the_first_message_at_request(joined, faultline, dial, listener):
    _, client, _ = joined(reset(at="request", after_messages=1))
    client.sendall(b"one")

    assert to_end(client) == (b"", "RST")
    first = dial(faultline.http_proxy(reset(at="request", after_messages=0)), connect_to(address_of(listener)))
    assert to_end(first) == (b"", "RST")


def test_a_break_of_the_response_cuts_what_the_proxy_says(faultline, listener, dial):
    proxy = faultline.http_proxy(close(after_bytes=12))
    client = dial(proxy, connect_to(address_of(listener)))

    assert to_end(client) == (b"HTTP/1.1 200", "FIN")
    assert (proxy.attempts[0].struck.point, proxy.attempts[0].point) == ("response", "response")


@pytest.mark.parametrize(
    ("condition", "arrives"),
    [
        (corrupt(at_byte=len(ESTABLISHED)), b"`bcdef"),
        (corrupt(at_byte=len(ESTABLISHED) + 5), b"abcdeg"),
        (drop_bytes(2, at_byte=len(ESTABLISHED) + 1), b"adef"),
        (duplicate(2, at_byte=len(ESTABLISHED) + 1), b"abcbcdef"),
        (latency(0.01), b"abcdef"),
        (throttle(10_000), b"abcdef"),
        (latency(0.01, direction="both") & throttle(10_000, direction="request"), b"abcdef"),
    ],
    ids=repr,
)
def test_conditions_hold_in_the_tunnel(joined, condition, arrives):
    _, client, upstream = joined(condition)
    client.sendall(b"ask")
    assert exactly(upstream, 3) == b"ask"
    upstream.sendall(b"abcdef")
    upstream.shutdown(socket.SHUT_WR)

    assert to_end(client) == (arrives, "FIN")


def test_latency_and_throttle_take_their_time(faultline):
    origin = faultline.serve(ok(body(20_000)))
    proxy = faultline.http_proxy(latency(0.1) & throttle(100_000))
    with requests.Session() as session:
        response = session.get(origin.url, proxies={"http": proxy.proxy_url}, timeout=10)

    assert response.content == body(20_000)
    (attempt,) = proxy.wait_for_attempts(1, at="end")
    assert attempt.ended_seconds - attempt.started_seconds >= 0.25


@pytest.mark.parametrize("at", ["accept", "request"])
@pytest.mark.parametrize(("verb", "ends"), [(reset, "RST"), (close, "FIN")], ids=names)
def test_a_break_before_the_proxy_has_said_a_word(faultline, dial, verb, ends, at):
    proxy = faultline.http_proxy(verb(at=at))
    try:
        client = dial(proxy, connect_to("127.0.0.1:9") if at == "request" else b"")
        ended = to_end(client)
    except ConnectionResetError:
        ended = (b"", "RST")

    assert ended == (b"", ends)
    assert proxy.attempts[0].struck.point == at


# --- plans and what a test does to open tunnels -----------------------------------------------------------------------


def test_a_proxy_that_is_busy_once_is_asked_again(faultline):
    origin = faultline.serve(ok(b"at last"), tls=True)
    proxy = faultline.http_proxy(sequence(status(503), ok()))

    with urllib3.ProxyManager(proxy.proxy_url, ssl_context=origin.client_context(), timeout=10) as manager:
        assert manager.request("GET", origin.url, retries=1).data == b"at last"

    assert [(a.fault, a.point) for a in proxy.attempts] == [(status(503), "response"), (ok(), "tunnel")]


def test_chance_decides_by_its_seed(faultline, dial):
    def fates():
        with http_proxy(sometimes(0.5, status(503), seed=7), strict=False) as proxy:
            codes = [response_of(dial(proxy, get("http://192.0.2.1/")))[0] for _ in range(10)]
        assert set(codes) == {503, 403}
        return codes

    assert fates() == fates()


def test_a_plan_that_changes_meets_the_next_client_and_leaves_the_open_tunnel_alone(joined, dial):
    proxy, client, upstream = joined()
    proxy.become(status(403))

    upstream.sendall(b"still here")
    assert exactly(client, 10) == b"still here"
    assert response_of(dial(proxy, connect_to("127.0.0.1:9")))[0] == 403
    assert [a.fault for a in proxy.attempts] == [ok(), status(403)]


@pytest.mark.parametrize("before", [None, stall(at="tunnel", after_bytes=1000), latency(0.001)], ids=repr)
@pytest.mark.parametrize(
    "fault", [reset(at="tunnel"), reset(at="tunnel", after_bytes=3), reset(), reset(after_bytes=3)], ids=repr
)
def test_an_open_tunnel_meets_the_new_plan_from_the_next_byte_on(
    faultline, listener, accepted, tunnel, *, before, fault
):
    proxy = faultline.http_proxy(before, strict=False)
    client = tunnel(proxy, address_of(listener))
    upstream = accepted()
    upstream.sendall(b"before")
    assert exactly(client, 6) == b"before"

    proxy.become(fault, open_too=True)
    upstream.sendall(b"abcdef")

    assert to_end(client, 0.5) == (b"abcdef"[: fault.break_.trigger.after_bytes], "RST")
    assert proxy.attempts[0].struck is not None


@pytest.mark.parametrize(("act", "ends"), [("reset_all", "RST"), ("close_all", "FIN")])
def test_all_open_tunnels_are_ended_at_once(faultline, listener, accepted, tunnel, *, act, ends):
    proxy = faultline.http_proxy()
    pairs = [(tunnel(proxy, address_of(listener)), accepted()) for _ in range(20)]

    assert getattr(proxy, act)() == 20

    assert [to_end(client) for client, _ in pairs] == [(b"", ends)] * 20
    assert [to_end(upstream)[1] for _, upstream in pairs] == ["FIN"] * 20
    assert {(a.ended_by, a.ended_how, a.point) for a in proxy.attempts} == {("server", ends, "tunnel")}


def test_a_paused_tunnel_lets_nothing_pass_and_loses_nothing(joined):
    proxy, client, upstream = joined()
    assert proxy.pause() == 1
    client.sendall(b"ask")
    upstream.sendall(b"answer")

    assert to_end(client, SILENCE_SECONDS) == (b"", "silence")
    assert to_end(upstream, SILENCE_SECONDS) == (b"", "silence")
    assert proxy.resume() == 1
    assert (exactly(client, 6), exactly(upstream, 3)) == (b"answer", b"ask")


def test_closing_the_proxy_closes_its_tunnels_and_frees_the_port(faultline, listener, accepted, dial):
    with http_proxy() as proxy:
        client = dial(proxy, connect_to(address_of(listener)))
        upstream = accepted()
        exactly(client, len(ESTABLISHED))

    assert to_end(client)[1] in ("FIN", "RST")
    assert to_end(upstream)[1] in ("FIN", "RST")
    with socket.create_server(proxy.address):
        pass
    assert repr(proxy) == f"<Proxy {proxy.proxy_url} ok() closed>"


# --- from proxy to direct ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("fault", [refuse(), reset(at="accept"), blackhole(), unreachable()], ids=repr)
def test_a_client_falls_back_from_its_proxy_to_the_direct_way(faultline, fault, tls):
    origin = faultline.serve(ok(b"reached"), tls=tls)
    proxy = faultline.http_proxy(fault)

    def fetch():
        with requests.Session() as session:
            session.verify = origin.ca_file
            for proxies in (dict.fromkeys(("http", "https"), proxy.proxy_url), {}):
                try:
                    return session.get(origin.url, proxies=proxies, timeout=0.2 if fault == blackhole() else 10)
                except requests.exceptions.ConnectionError as error:  # mostly a ProxyError; a RST may come later
                    causes.append(root_cause(error))
        return None

    causes = []
    assert fetch().content == b"reached"
    kinds = {refuse(): 111, reset(at="accept"): 104, blackhole(): None, unreachable(): 101}
    assert [cause.errno for cause in causes] == [kinds[fault]]
    assert (len(proxy.attempts), len(origin.attempts)) == (1, 1)


# --- the environment --------------------------------------------------------------------------------------------------


def by_requests_alone(url):
    return requests.get(url, timeout=10).content


def by_httpx_alone(url):
    return httpx.get(url, timeout=10).content


def by_urllib_alone(url):
    with urllib.request.build_opener().open(url, timeout=10) as response:
        return response.read()


def by_aiohttp_alone(url):
    async def ask():
        async with aiohttp.ClientSession(trust_env=True) as session, session.get(url) as response:
            return await response.read()

    return asyncio.run(ask())


ALONE = [by_requests_alone, by_httpx_alone, by_urllib_alone, by_aiohttp_alone]


@pytest.mark.parametrize("by", ALONE, ids=names)
def test_clients_take_the_proxy_from_the_environment(faultline, monkeypatch, by):
    origin = faultline.serve(ok(b"found"))
    proxy = faultline.http_proxy()
    proxy.use_as_proxy(monkeypatch)

    assert by(origin.url) == b"found"
    assert len(proxy.attempts) == 1


@pytest.mark.parametrize("by", ALONE, ids=names)
def test_clients_ask_hosts_of_no_proxy_directly(faultline, monkeypatch, by):
    origin = faultline.serve(ok(b"direct"))
    proxy = faultline.http_proxy()
    proxy.use_as_proxy(monkeypatch, no_proxy="127.0.0.1,localhost")

    assert by(origin.url) == b"direct"
    assert proxy.attempts == ()


def test_name_and_password_are_in_the_environment_too(faultline, monkeypatch):
    origin = faultline.serve(ok(b"opened"))
    proxy = faultline.http_proxy(auth=AUTH)
    proxy.use_as_proxy(monkeypatch)

    assert [by(origin.url) for by in ALONE[:3]] == [b"opened"] * 3
    assert {os.environ[name] for name in ("HTTP_PROXY", "https_proxy", "ALL_PROXY")} == {proxy.proxy_url}


@pytest.mark.parametrize("fails", [False, True], ids=["passes", "raises"])
def test_the_environment_is_as_before_also_when_the_test_raised(faultline, fails):
    os_environ = dict(os.environ)
    proxy = faultline.http_proxy()

    with contextlib.suppress(ZeroDivisionError), pytest.MonkeyPatch.context() as monkeypatch:
        proxy.use_as_proxy(monkeypatch, no_proxy="internal.invalid")
        assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == "internal.invalid"
        if fails:
            raise ZeroDivisionError

    assert dict(os.environ) == os_environ


def test_a_plain_server_is_a_proxy_too(faultline, monkeypatch):
    server = faultline.serve(ok(b"whatever you ask for"))
    server.use_as_proxy(monkeypatch)

    assert by_requests_alone("http://origin.invalid/page") == b"whatever you ask for"
    assert asked(server) == [("GET", "http://origin.invalid/page")]


# --- what the ledger and the guard say --------------------------------------------------------------------------------


def test_bytes_are_counted_in_both_directions(joined):
    proxy, client, upstream = joined()
    client.sendall(b"12345")
    assert exactly(upstream, 5) == b"12345"
    upstream.sendall(b"1234567")
    assert exactly(client, 7) == b"1234567"

    (attempt,) = proxy.attempts
    connect = connect_to(attempt.request.target)
    assert (attempt.received_bytes, attempt.sent_bytes) == (len(connect) + 5, len(ESTABLISHED) + 7)
    assert [(t.by, t.count_bytes) for t in attempt.turns] == [
        ("client", len(connect)),
        ("server", len(ESTABLISHED)),
        ("client", 5),
        ("server", 7),
    ]
    assert (attempt.point, attempt.ended_seconds, attempt.connection) == ("tunnel", None, 1)


def test_a_test_waits_until_a_tunnel_is_open(faultline, listener, dial):
    proxy = faultline.http_proxy()
    dial(proxy)
    with pytest.raises(WaitError, match=r"^0 of 1 attempt reached 'tunnel' within 0 s; attempts in all: \d\.$"):
        proxy.wait_for_attempts(1, 0, at="tunnel")

    dial(proxy, connect_to(address_of(listener)))

    attempts = proxy.wait_for_attempts(1, at="tunnel")
    assert "tunnel" in [a.point for a in attempts]


def test_the_drawing_shows_the_request_and_the_strike(joined):
    proxy, client, upstream = joined(reset(at="tunnel", after_bytes=3))
    upstream.sendall(b"abcdef")
    assert to_end(client) == (b"abc", "RST")

    drawn = proxy.drawing()
    assert "bytes: CONNECT 127.0.0.1:" in drawn
    assert "HTTP/1.1 200 Connection established" in drawn
    assert "RST: struck at 'tunnel' after 3 bytes" in drawn


def test_the_ledger_is_plain_data_too(joined):
    proxy, *_ = joined(stall(at="tunnel"))
    proxy.wait_for_attempts(1, at="tunnel")

    (attempt,) = json.loads(proxy.ledger.to_json())["attempts"]
    assert (attempt["request"]["method"], attempt["point"], attempt["fault"]) == (
        "CONNECT",
        "tunnel",
        "stall(at='tunnel')",
    )


def test_a_tunnel_in_tls_shows_the_name_that_the_client_asks_for(faultline):
    origin = faultline.serve(ok(), tls=True)
    proxy = faultline.http_proxy(to=origin)
    context = origin.client_context()

    with urllib3.ProxyManager(proxy.proxy_url, ssl_context=context, timeout=10, retries=False) as manager:
        manager.request("GET", "https://localhost/")

    assert proxy.attempts[0].tls.sni == "localhost"


@pytest.mark.parametrize("fault", [reset(at="tunnel"), close(at="tunnel", after_bytes=9), half_close(at="tunnel")])
def test_a_fault_in_a_tunnel_that_nobody_opened_never_struck(fault):
    with (
        pytest.raises(NotStruckError) as caught,
        serve(ok()) as origin,
        http_proxy(fault) as proxy,
    ):
        assert by_requests(origin, proxy)[0] == 200

    told = str(caught.value)
    assert told.startswith(f"{fault!r} never struck: #1 GET {origin.url}/: {fault!r} reached 'response', ")


def test_a_fault_in_a_tunnel_without_any_client_never_struck():
    with (
        pytest.raises(NotStruckError, match=r"^reset\(at='tunnel'\) never struck: no client connected to 127\.0\.0\.1"),
        http_proxy(reset(at="tunnel")),
    ):
        pass


def test_a_fault_in_a_tunnel_to_nowhere_never_struck_and_it_says_why(dial, nobody):
    with (
        pytest.raises(NotStruckError, match=rf"the upstream {re.escape(nobody)} could not be reached"),
        http_proxy(reset(at="tunnel")) as proxy,
    ):
        assert response_of(dial(proxy, connect_to(nobody)))[0] == 502


def test_a_break_after_more_bytes_than_came_never_struck(joined, faultline):
    proxy, client, upstream = joined(reset(at="tunnel", after_bytes=100))
    upstream.sendall(b"x" * 99)
    assert exactly(client, 99) == b"x" * 99

    with pytest.raises(NotStruckError, match=r" never struck: #1 CONNECT .* reached 'tunnel', "):
        proxy.check_struck()
    proxy.become(ok())
    upstream.sendall(b"x")
    assert (to_end(client), faultline.servers) == ((b"x", "RST"), [proxy])  # the open tunnel keeps its fault


def test_a_fault_that_never_struck_is_allowed_where_it_is_said():
    with http_proxy(reset(at="tunnel"), strict=False) as proxy:
        pass
    assert proxy.attempts == ()


# --- what can't mean anything -----------------------------------------------------------------------------------------

TUNNEL = "{0}(at='tunnel'): expected http_proxy(…) or socks_proxy(…); {1} never comes to 'tunnel'."
REFUSES = "a SOCKS proxy refuses by socks_refusal(…), and not in HTTP"
WITH_SOCKS = "socks_refusal('{0}'): expected socks_proxy(…); {1} gives no refusal in SOCKS."
SOCKS_KINDS = ", ".join(map(repr, get_args(Kind)))
TO = "a server on this machine: '127.0.0.1:8080', a URL, or a faultline server"
ONE_ANSWER = "expected one answer, got two; deal them to different attempts, or leave one out."
REFUSED = "Did you mean 'connection_refused'? Write socks_refusal('connection_refused')."
AUTHS = "a name without a colon and a password, such as ('user', 'secret')"


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (lambda: serve(reset(at="tunnel")), TUNNEL.format("reset", "a server")),
        (lambda: serve(sequence(ok(), stall(at="tunnel"))), TUNNEL.format("stall", "a server")),
        (lambda: serve(when(lambda _: True, reset(at="tunnel"))), TUNNEL.format("reset", "a server")),
        (
            lambda: relay("127.0.0.1:9", reset(at="tunnel")),
            TUNNEL.format("reset", "a relay that passes TLS through"),
        ),
        (
            lambda: serve(socks_refusal("not_allowed")),
            WITH_SOCKS.format("not_allowed", "a server"),
        ),
        (
            lambda: relay("127.0.0.1:9", socks_refusal("garbage")),
            WITH_SOCKS.format("garbage", "a relay that passes TLS through"),
        ),
        (
            lambda: http_proxy(sometimes(0.5, socks_refusal("garbage"))),
            WITH_SOCKS.format("garbage", "an HTTP proxy"),
        ),
        (
            lambda: http_proxy(when(lambda _: True, socks_refusal("garbage"))),
            WITH_SOCKS.format("garbage", "an HTTP proxy"),
        ),
        (
            lambda: http_proxy(reset(at="idle")),
            "reset(at='idle'): expected at='tunnel'; the connections of a proxy are not kept for another request.",
        ),
        (
            lambda: socks_proxy(close(at="idle")),
            "close(at='idle'): expected at='tunnel'; the connections of a proxy are not kept for another request.",
        ),
        (
            lambda: socks_proxy(status(403)),
            f"status(403): expected serve(…) or http_proxy(…); {REFUSES}.",
        ),
        (
            lambda: socks_proxy(sequence(ok(), raw(b"x"))),
            f"raw(b'x'): expected serve(…), http_proxy(…) or udp(…); {REFUSES}.",
        ),
        (lambda: http_proxy(to="example.invalid:80"), f"to='example.invalid:80': expected {TO}."),
        (lambda: http_proxy(to="http://192.0.2.1/"), f"to='http://192.0.2.1/': expected {TO}."),
        (lambda: http_proxy(to="127.0.0.1"), f"to='127.0.0.1': expected {TO}."),
        (lambda: http_proxy(to=8080), f"to=8080: expected {TO}."),
        (lambda: http_proxy(to=""), f"to='': expected {TO}."),
        (lambda: socks_proxy(to="10.0.0.1:80"), f"to='10.0.0.1:80': expected {TO}."),
        (lambda: http_proxy(auth="user:secret"), f"auth='user:secret': expected {AUTHS}."),
        (lambda: http_proxy(auth=("user",)), f"auth=('user',): expected {AUTHS}."),
        (lambda: http_proxy(auth=("us:er", "x")), f"auth=('us:er', 'x'): expected {AUTHS}."),
        (lambda: http_proxy(auth=("", "x")), f"auth=('', 'x'): expected {AUTHS}."),
        (lambda: http_proxy(auth=("user", "")), f"auth=('user', ''): expected {AUTHS}."),
        (lambda: http_proxy(auth=("user", b"x")), f"auth=('user', b'x'): expected {AUTHS}."),
        (lambda: socks_proxy(auth=["user", "x"]), f"auth=['user', 'x']: expected {AUTHS}."),
        (lambda: socks_proxy(auth=("u", "é" * 128)), f"auth={('u', 'é' * 128)!r}: expected {AUTHS}."),
        (lambda: http_proxy(auth=("u", "\ud800")), f"auth={('u', chr(0xD800))!r}: expected {AUTHS}."),
        (
            lambda: socks_proxy(scheme="http"),
            "scheme='http': expected one of 'socks4', 'socks4a', 'socks5', 'socks5h'.",
        ),
        (
            lambda: socks_refusal("refused"),
            f"kind='refused': expected one of {SOCKS_KINDS}. {REFUSED}",
        ),
        (
            lambda: http_proxy("status"),
            "plan='status': expected a fault such as reset() or ok(), or a plan of some; write status().",
        ),
        (
            lambda: http_proxy(refuse),
            "plan=refuse: expected a fault such as reset() or ok(), or a plan of some; write refuse().",
        ),
        (lambda: http_proxy(port=-1), "port=-1: expected a whole number, from 0 to 65535."),
    ],
)
def test_what_can_never_happen_at_a_proxy_is_refused_before_there_is_one(start, message):
    with pytest.raises(ParameterError) as caught:
        start().close()

    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("combine", "message"),
    [
        (
            lambda: status(403) & reset(at="tunnel"),
            "status(403) & reset(at='tunnel'): the proxy answers by itself and never comes to 'tunnel'.",
        ),
        (
            lambda: reset(at="tunnel") & raw(b"x"),
            "reset(at='tunnel') & raw(b'x'): the proxy answers by itself and never comes to 'tunnel'.",
        ),
        (
            lambda: socks_refusal("not_allowed") & stall(at="tunnel"),
            "socks_refusal('not_allowed') & stall(at='tunnel'): the proxy refuses and never comes to 'tunnel'.",
        ),
        (
            lambda: socks_refusal("not_allowed") & status(403),
            f"socks_refusal('not_allowed') & status(403): {ONE_ANSWER}",
        ),
    ],
)
def test_parts_that_can_never_meet_are_refused_when_they_are_put_together(combine, message):
    with pytest.raises(ConflictError) as caught:
        combine()

    assert str(caught.value) == message


def test_a_plan_that_can_not_be_is_refused_also_later(faultline):
    proxy = faultline.http_proxy()

    with pytest.raises(
        ParameterError, match="expected at='tunnel'; the connections of a proxy are not kept for another request"
    ):
        proxy.become(reset(at="idle"))
    assert proxy.plan == ok()


def test_a_healthy_break_in_a_tunnel_composes_with_a_healthy_answer():
    assert repr(ok() & reset(at="tunnel")) == "ok() & reset(at='tunnel')"


def test_proxies_are_what_the_library_says():
    assert library.http_proxy is http_proxy
    assert issubclass(library.Proxy, library.Server)
    with http_proxy() as proxy:
        assert repr(proxy) == f"<Proxy http://{proxy.hostport} ok()>"
