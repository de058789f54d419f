"""An HTTP proxy that leads its clients on, and each way in which it fails them. `test_tunnels.py` has its tunnels."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import itertools
import json
import os
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
from support import address_of, ending, read, read_until, to_end, urllib3_1
from support.clients import by_aiohttp, by_http_client, by_httpx, by_requests, by_urllib, by_urllib3
from support.proxies import ESTABLISHED, asked, check_rows, connect_to, each_fault, get, response_of
from support.tables import each_row

import faultline as library
from faultline import (
    ConflictError,
    NotStruckError,
    ParameterError,
    WaitError,
    bad_cert,
    blackhole,
    close,
    echo,
    half_close,
    http_proxy,
    latency,
    ok,
    raises,
    raw,
    refuse,
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
from faultline._engine.talks.tunnel import Tunnel
from faultline.modes.proxies import Kind

pytestmark = pytest.mark.leaves_open

MIB = 1 << 20
BODY = os.urandom(MIB)
CLIENTS = [by_requests, by_urllib3, by_httpx, by_aiohttp, by_urllib, by_http_client]


def names(value):
    return value.__name__ if callable(value) else repr(value)


@pytest.fixture
def through(faultline):
    """A proxy and an origin behind it, and a session of requests that goes that way."""

    @contextlib.contextmanager
    def made(answer, *, tls=False, plan=None):
        origin, proxy = faultline.serve(answer, tls=tls), faultline.http_proxy(plan)
        with requests.Session() as session:
            session.proxies = {"http": proxy.proxy_url, "https": proxy.proxy_url}
            session.verify = origin.ca_file
            yield session, origin, proxy

    return made


# --- the healthy proxy ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@each_row("by", CLIENTS)
def test_a_proxy_leads_to_the_origin(faultline, by, tls):
    origin = faultline.serve(ok(b"from the origin"), tls=tls)
    proxy = faultline.http_proxy()

    assert by(origin.url, origin if tls else None, proxy=proxy) == (200, b"from the origin")
    (attempt,) = proxy.wait_for_attempts(1, at="response")
    tunnels = tls or by is by_http_client
    (request,) = asked(proxy)
    assert (
        request == ("CONNECT", origin.hostport) if tunnels else request in [("GET", origin.url + s) for s in ("", "/")]
    )
    assert (attempt.point, attempt.struck) == ("tunnel" if tunnels else "response", None)
    assert asked(origin) == [("GET", "/")]
    assert (origin.attempts[0].tls is not None) is tls


@pytest.mark.parametrize("chunked", [False, True], ids=["sized", "chunked"])
def test_a_body_of_a_megabyte_goes_through_and_comes_back(through, tls, chunked):
    pieces = (BODY[i : i + 50_000] for i in range(0, MIB, 50_000)) if chunked else BODY

    with through(echo(), tls=tls) as (session, origin, proxy):
        assert session.post(origin.url, data=pieces, timeout=10).content == BODY

    (attempt,) = origin.attempts
    assert (attempt.request.method, attempt.request.body_bytes) == ("POST", MIB)
    assert (attempt.request.header("transfer-encoding") == "chunked") is chunked
    assert proxy.attempts[0].received_bytes > MIB
    assert proxy.attempts[0].sent_bytes > MIB


def test_head_has_a_length_and_no_body(through, tls):
    with (
        through(ok(b"12345"), tls=tls) as (session, origin, _),
        session.head(origin.url, timeout=10) as response,
    ):
        assert (response.status_code, response.headers["Content-Length"], response.content) == (200, "5", b"")
    assert origin.attempts[0].request.method == "HEAD"


def test_a_client_that_waits_for_100_continue_gets_it_from_the_origin(faultline, dial):
    origin = faultline.serve(echo())
    proxy = faultline.http_proxy()
    client = dial(proxy, get(origin.url, "Content-Length: 5", "Expect: 100-continue", method="POST"))

    assert read_until(client, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.sendall(b"hello")
    code, _, answered = response_of(client)

    assert (code, answered) == (200, b"hello")
    assert origin.attempts[0].request.header("expect") == "100-continue"


def test_a_client_of_http_1_0_without_a_host_field(faultline, dial):
    origin = faultline.serve(ok(b"old"))
    client = dial(faultline.http_proxy(), get(f"{origin.url}/page", version="1.0"))

    code, _, answered = response_of(client)

    assert (code, answered) == (200, b"old")
    assert origin.attempts[0].request.header("host") == origin.hostport


def test_the_origin_is_asked_for_the_very_path_of_the_url(faultline, dial):
    origin, proxy = faultline.serve(ok()), faultline.http_proxy()
    paths = ["/", "/a/../b;v=1?x=%20&y=//", "/%7Ename", "//double", "/a//b", "/page?", "/;"]
    arriving = {"": "/", "?q=1": "/?q=1"} | dict(zip(paths, paths, strict=True))

    for path in arriving:
        assert response_of(dial(proxy, get(f"{origin.url}{path}")))[0] == 200

    assert asked(origin) == [("GET", path) for path in arriving.values()]
    assert asked(proxy) == [("GET", f"{origin.url}{path}") for path in arriving]


def test_an_origin_of_ipv6(faultline, needs_ipv6, tls):
    origin = faultline.serve(ok(b"six"), host="::1", tls=tls)
    proxy = faultline.http_proxy(host="::1")

    assert by_urllib3(origin.url, origin if tls else None, proxy=proxy) == (200, b"six")
    assert proxy.proxy_url == f"http://[::1]:{proxy.port}"
    assert asked(proxy) == [("CONNECT", f"[::1]:{origin.port}") if tls else ("GET", f"http://[::1]:{origin.port}")]


@each_row("way", ["fetch http", "tunnel to https", "fetch https"])
def test_a_proxy_that_speaks_tls(faultline, way):
    origin = faultline.serve(ok(b"behind TLS"), tls=way.endswith("https"))
    proxy = faultline.http_proxy(tls=True)
    context = proxy.client_context()
    options = {"proxy_ssl_context": context, "timeout": 10, "retries": False}
    options |= {"ssl_context": context} if way.startswith("tunnel") else {"use_forwarding_for_https": True}

    with urllib3.ProxyManager(proxy.proxy_url, **options) as manager:
        assert manager.request("GET", f"{origin.url}/page").data == b"behind TLS"

    assert proxy.proxy_url == f"https://{proxy.hostport}"
    assert asked(proxy) == [("CONNECT", origin.hostport) if way.startswith("tunnel") else ("GET", f"{origin.url}/page")]
    assert (proxy.attempts[0].tls.version, asked(origin)) == ("TLSv1.3", [("GET", "/page")])
    assert (origin.attempts[0].tls is not None) is way.endswith("https")


def test_a_connection_is_kept_alive_inside_its_tunnel_and_a_fetch_has_one_of_its_own(through, tls):
    with through(ok(b"again"), tls=tls) as (session, origin, proxy):
        for _ in range(2):
            with session.get(origin.url, timeout=10) as response:
                assert response.content == b"again"
                assert (response.headers.get("Connection") == "close") is not tls

    assert [a.connection for a in origin.attempts] == ([1, 1] if tls else [1, 2])
    assert [a.connection for a in proxy.attempts] == ([1] if tls else [1, 2])


# --- websockets -------------------------------------------------------------------------------------------------------


@pytest.fixture
def websocket_url():
    """A server that says each message backwards."""

    def answer(connection):
        for message in connection:
            connection.send(message[::-1])

    server = pytest.importorskip("websockets.sync.server").serve(answer, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield "ws://{}:{}".format(*server.socket.getsockname())
    server.shutdown()
    thread.join()


def test_a_websocket_through_connect_and_its_tunnel_is_reset(faultline, websocket_url):
    connect = pytest.importorskip("websockets.sync.client").connect
    closed = pytest.importorskip("websockets.exceptions").ConnectionClosedError
    proxy = faultline.http_proxy()

    with connect(websocket_url, proxy=proxy.proxy_url, open_timeout=10) as connection:
        for text in ("hello", "x" * 100_000):
            connection.send(text)
            assert connection.recv(10) == text[::-1]
        assert proxy.reset_all() == 1
        with pytest.raises(closed) as caught:
            connection.recv(10)

    assert type(root_cause(caught.value)) is ConnectionResetError
    assert asked(proxy) == [("CONNECT", websocket_url.removeprefix("ws://"))]


# --- what goes further and what doesn't -------------------------------------------------------------------------------


@each_row(
    ("fields", "arrives"),
    [
        (
            [
                "Host: origin.invalid",
                "Proxy-Authorization: Basic c2VjcmV0",
                "Proxy-Connection: keep-alive",
                "Connection: keep-alive",
                "Keep-Alive: timeout=5",
                "X-End-To-End: 1",
                "x-end-to-end: 2",
                "Cookie: a=b",
            ],
            [("x-end-to-end", "1"), ("x-end-to-end", "2"), ("cookie", "a=b")],
        ),
        (  # RFC 9110, 7.6.1
            ["Host: origin.invalid", "Connection: X-Hop, TE", "X-Hop: 1", "TE: trailers", "X-End: 1"],
            [("x-end", "1")],
        ),
        (["Host: another.invalid"], []),  # RFC 9112, 3.2.2: the host is that of the URL
    ],
)
def test_fields_between_client_and_proxy_go_no_further(faultline, dial, fields, arrives):
    origin, proxy = faultline.serve(ok()), faultline.http_proxy()

    assert response_of(dial(proxy, get(origin.url, *fields)))[0] == 200

    headers = [(name.lower(), value) for name, value in origin.attempts[0].request.headers]
    assert sorted(headers) == sorted([("host", origin.hostport), ("connection", "close"), *arrives])
    assert [f"{name}: {value}" for name, value in proxy.attempts[0].request.headers] == fields


def test_credentials_in_a_url_are_not_put_into_the_host_field(faultline, dial):
    origin, proxy = faultline.serve(ok()), faultline.http_proxy()

    assert response_of(dial(proxy, get(f"http://user:secret@{origin.hostport}/", version="1.0")))[0] == 200

    assert origin.attempts[0].request.header("host") == origin.hostport


def test_an_upgrade_by_absolute_url_is_passed_on(faultline, listener, accepted, dial):
    url = f"http://{address_of(listener)}/chat"
    asks = get(url, f"Host: {address_of(listener)}", "Connection: Upgrade", "Upgrade: websocket")
    client = dial(faultline.http_proxy(), asks)
    upstream = accepted()

    head = read_until(upstream, b"\r\n\r\n").lower()
    assert b"\r\nupgrade: websocket\r\n" in head
    assert b"\r\nconnection: upgrade\r\n" in head
    upstream.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    assert read_until(client, b"\r\n\r\n") == b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
    client.sendall(b"frame")
    assert read(upstream, 5) == b"frame"


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

    assert by_requests("http://api.invalid/v1?q=1", proxy=proxy)[1] == b"mine"

    assert asked(proxy) == [("GET", "http://api.invalid/v1?q=1")]
    assert asked(origin) == [("GET", "/v1?q=1")]
    assert origin.attempts[0].request.header("host") == "api.invalid"
    assert ("socket.connect", origin.address) in dialled
    assert not [item for item in dialled if "api.invalid" in repr(item)]


def test_a_foreign_name_is_led_to_a_unix_socket(faultline):
    proxy = faultline.http_proxy(to=faultline.serve(ok(b"in a file"), unix=True))

    assert by_requests("http://api.invalid/", proxy=proxy)[1] == b"in a file"


def test_the_certificate_is_checked_by_the_name_that_the_client_asks_for(faultline):
    origin = faultline.serve(ok(b"mine"), tls=True)
    proxy = faultline.http_proxy(to=origin)

    assert by_urllib3("https://localhost/", origin, proxy=proxy)[1] == b"mine"  # on port 443
    with raises(ssl.SSLCertVerificationError) as caught:
        by_urllib3("https://api.invalid/", origin, proxy=proxy)

    assert (type(caught.value), caught.cause.verify_code) == (urllib3.exceptions.SSLError, 62)
    assert asked(proxy) == [("CONNECT", "localhost:443"), ("CONNECT", "api.invalid:443")]
    for server in (origin, proxy):  # which has seen it in passing
        assert [a.tls.sni for a in server.attempts] == ["localhost", "api.invalid"]


def test_an_absolute_url_of_https_is_led_in_tls(faultline, dial):
    origin = faultline.serve(ok(b"mine"), tls=True)

    assert response_of(dial(faultline.http_proxy(to=origin), get("https://api.invalid/page")))[2] == b"mine"
    assert asked(origin) == [("GET", "/page")]


@each_row(
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
def test_a_way_to_another_machine_is_answered_by_403_and_nothing_is_dialled(faultline, dial, dialled, target):
    proxy = faultline.http_proxy()
    dialled.clear()

    for data in (connect_to(target), get(f"http://{target}/")):
        code, _, answered = response_of(dial(proxy, data))
        assert (code, answered) == (403, b"This proxy connects only to this machine.\n")

    assert {item for item in dialled if item[0] == "socket.connect"} == {("socket.connect", proxy.address)}
    assert not [item for item in dialled if target.rpartition(":")[0] in repr(item)]
    for attempt in proxy.attempts:
        assert (
            attempt.note == f"{target.rpartition('@')[2]} is not on this machine; to=… sends clients to a server here"
        )
        assert (attempt.struck, attempt.point, attempt.ended_by) == (None, "response", "server")


def test_every_name_of_this_machine_is_led_to(faultline, dial):
    proxy = faultline.http_proxy()
    with socket.create_server(("0.0.0.0", 0)) as origin:  # all of 127.0.0.0/8
        origin.settimeout(10)
        for host in ("127.0.0.1", "localhost", "LocalHost", "127.1.2.3"):
            client = dial(proxy, connect_to(f"{host}:{origin.getsockname()[1]}"))
            upstream, _ = origin.accept()
            with upstream:
                upstream.sendall(b"hello")
                assert read(client, len(ESTABLISHED) + 5) == ESTABLISHED + b"hello"


@each_row(
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
)
def test_what_is_not_asked_as_a_proxy_is_asked_is_answered_by_400(faultline, dial, data):
    assert response_of(dial(faultline.http_proxy(), data))[0] == 400


def test_a_target_that_is_none_is_refused(faultline, dial):
    proxy = faultline.http_proxy()
    targets = ("127.0.0.1:0", "127.0.0.1:99999", "127.0.0.1:x", "[::1:80", ":80", "127.0.0.1")

    for data in (*map(connect_to, targets), get("http:///path")):
        assert response_of(dial(proxy, data))[0] in (400, 403), data


def test_an_endless_head_is_cut_off_and_the_next_one_is_served(faultline, dial):
    proxy = faultline.http_proxy()
    client = dial(proxy)

    with contextlib.suppress(ConnectionError):
        client.sendall(b"CONNECT 127.0.0.1:1 HTTP/1.1\r\nX: " + b"x" * MIB)

    assert to_end(client)[1] in ("FIN", "RST")
    assert by_requests(faultline.serve(ok(b"served")).url, proxy=proxy) == (200, b"served")


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
    with pytest.raises(requests.exceptions.ProxyError) as caught:
        by_requests(f"https://{nobody}/", proxy=proxy)
    assert str(root_cause(caught.value)) == "Tunnel connection failed: 502 Bad Gateway"


def test_an_origin_that_does_not_answer_in_time_is_answered_by_504(faultline, dial, monkeypatch):
    async def reach(_, upstream):
        return TimeoutError(f"{upstream} did not answer")

    monkeypatch.setattr(Tunnel, "reach", reach)
    assert response_of(dial(faultline.http_proxy(), connect_to("127.0.0.1:9")))[0] == 504


def test_an_origin_that_is_a_server_of_ours_and_refuses_is_counted_there(faultline, dial):
    origin = faultline.serve(sequence(refuse(), ok(b"up again")))
    proxy = faultline.http_proxy()

    assert response_of(dial(proxy, get(origin.url)))[0] == 502
    assert response_of(dial(proxy, get(origin.url)))[2] == b"up again"
    assert [(a.point, a.fault) for a in origin.attempts] == [("connect", refuse()), ("response", ok(b"up again"))]


@each_row(
    ("fault", "how", "passed"),
    [(reset(at="accept"), "RST", 0), (reset(), "RST", 0), (close(after_bytes=10), "FIN", 10)],
)
def test_an_origin_that_breaks_breaks_the_fetch(through, fault, how, passed):
    with through(fault) as (session, origin, proxy), pytest.raises(requests.exceptions.RequestException) as caught:
        session.get(origin.url, timeout=10)

    assert (type(root_cause(caught.value)) is ConnectionResetError) is (how == "RST")
    (attempt,) = proxy.wait_for_attempts(1, at="end")
    assert (attempt.struck, attempt.sent_bytes, *ending(attempt)) == (None, passed, "upstream", how)


def test_an_origin_that_does_not_agree_to_tls_is_answered_by_502(faultline, dial):
    origin = faultline.serve(raw(b"no TLS here"))

    code, _, answered = response_of(dial(faultline.http_proxy(), get(f"https://{origin.hostport}/")))

    assert (code, answered.decode().partition(": ")[0]) == (502, f"the upstream {origin.hostport} could not be reached")


@each_row(
    ("by", "error"),
    [
        (by_requests, requests.exceptions.SSLError),
        (by_httpx, httpx.ConnectError),
        (by_aiohttp, aiohttp.ClientConnectorCertificateError),
    ],
)
def test_a_bad_certificate_of_the_origin_behind_a_good_proxy_is_no_error_of_the_proxy(faultline, by, error):
    origin = faultline.serve(bad_cert("expired"))
    proxy = faultline.http_proxy()

    with raises(ssl.SSLCertVerificationError) as caught:
        by(origin.url, origin, proxy=proxy)

    assert (type(caught.value), root_cause(caught.value).verify_code) == (error, 10)
    assert asked(proxy) == [("CONNECT", origin.hostport)]
    (attempt,) = proxy.wait_for_attempts(1, at="tunnel")
    assert (attempt.struck, attempt.tls and attempt.tls.version) == (None, "")  # seen in passing


@each_row("target", ["http", "https"])
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


@each_row(("by", "tls"), [(by_requests, False), (by_httpx, True), (by_aiohttp, False), (by_urllib, True)])
def test_name_and_password_in_the_url_of_the_proxy_open_it(faultline, by, tls):
    origin = faultline.serve(ok(b"opened"), tls=tls)
    proxy = faultline.http_proxy(auth=AUTH)

    assert by(origin.url, origin if tls else None, proxy=proxy) == (200, b"opened")
    assert proxy.proxy_url == f"http://us%20er%40home:p%2Fa%3Ass%25word@{proxy.hostport}"
    assert proxy.attempts[0].request.header("proxy-authorization") == basic(*AUTH).partition(": ")[2]
    assert origin.attempts[0].request.header("proxy-authorization") is None


@each_row(
    "fields",
    [
        [],
        [basic("us er@home", "wrong")],
        [basic("", "")],
        ["Proxy-Authorization: Bearer " + basic(*AUTH).rpartition(" ")[2]],
        ["Proxy-Authorization: Basic !!!"],
        ["Authorization: Basic " + basic(*AUTH).rpartition(" ")[2]],
    ],
)
def test_who_shows_another_name_and_password_is_asked_for_them(faultline, dial, dialled, fields):
    proxy = faultline.http_proxy(auth=AUTH)

    for data in (connect_to("127.0.0.1:9", *fields), get("http://127.0.0.1:9/", *fields)):
        code, head, answered = response_of(dial(proxy, data))

        assert (code, answered) == (407, b"This proxy requires another name and password.\n")
        assert '\r\nProxy-Authenticate: Basic realm="faultline"\r\n' in head
    assert ("socket.connect", ("127.0.0.1", 9)) not in dialled
    assert {a.struck for a in proxy.attempts} == {None}


def test_the_scheme_of_a_password_has_no_case(faultline, dial):
    origin = faultline.serve(ok())
    proxy = faultline.http_proxy(auth=AUTH)  # RFC 9110, 11.1

    assert response_of(dial(proxy, get(origin.url, basic(*AUTH).replace("Basic", "basic"))))[0] == 200


@each_row("by", [by_requests, by_httpx, by_aiohttp, by_urllib])
def test_a_password_that_is_not_ascii_opens_the_proxy_by_its_url(faultline, by):
    origin = faultline.serve(ok(b"opened"))

    assert by(origin.url, proxy=faultline.http_proxy(auth=("jürgen", "geheimnisträger"))) == (200, b"opened")


# --- every fault, by every client -------------------------------------------------------------------------------------


# What each client makes of a status instead of a tunnel: its own exception, and what is under it.
REFUSALS = [
    (by_requests, requests.exceptions.ProxyError, "Tunnel connection failed: {} {}"),
    (by_urllib3, urllib3.exceptions.ProxyError, "Tunnel connection failed: {} {}"),
    (by_httpx, httpx.ProxyError, "{} {}"),
    (by_aiohttp, aiohttp.ClientHttpProxyError, "{}, message='{}'"),
    (by_urllib, urllib.error.URLError, "Tunnel connection failed: {} {}"),
    (by_http_client, OSError, "Tunnel connection failed: {} {}"),
]
ASK = {"Proxy-Authenticate": 'Basic realm="test"'}


STATUSES = itertools.cycle([status(503), status(407), status(407, headers=ASK)])


@each_row(("by", "error", "text", "fault"), [(*row, next(STATUSES)) for row in REFUSALS])
def test_a_status_instead_of_a_tunnel(faultline, by, error, *, text, fault):
    origin = faultline.serve(ok(), tls=True)
    proxy = faultline.http_proxy(fault)

    with pytest.raises(error) as caught:
        by(origin.url, origin, proxy=proxy)

    code = fault.answer.status
    assert caught.type is error
    assert text.format(code, http.client.responses[code]) in str(root_cause(caught.value))
    (attempt,) = proxy.attempts
    assert (attempt.struck.point, attempt.sent_bytes > 0, attempt.ended_by) == ("response", True, "server")
    assert (asked(proxy), origin.attempts) == ([("CONNECT", origin.hostport)], ())


@each_row("by", [by_requests, by_aiohttp])
def test_a_status_instead_of_a_fetch_is_an_answer(faultline, by):
    origin = faultline.serve(ok())
    proxy = faultline.http_proxy(status(407, headers=ASK, body=b"from the proxy"))

    assert by(origin.url, proxy=proxy) == (407, b"from the proxy")
    assert (origin.attempts, proxy.attempts[0].struck.point) == ((), "response")


CONNECTION = requests.exceptions.ConnectionError
OF_TUNNEL = requests.exceptions.ProxyError if urllib3_1.IS_HERE else CONNECTION
PROTOCOL = urllib3.exceptions.ProtocolError
# requests has urllib3 inside, and urllib http.client.
BROKEN = [
    (raw(b"garbage\r\n\r\n"), by_requests, CONNECTION, http.client.BadStatusLine),
    (raw(b"garbage\r\n\r\n"), by_httpx, httpx.RemoteProtocolError, httpx.RemoteProtocolError),
    (raw(b"garbage\r\n\r\n"), by_aiohttp, aiohttp.ClientResponseError, aiohttp.http_exceptions.BadStatusLine),
    (raw(b"garbage\r\n\r\n"), by_urllib, http.client.BadStatusLine, http.client.BadStatusLine),
    (close(), by_requests, OF_TUNNEL, http.client.RemoteDisconnected),
    (close(), by_httpx, httpx.RemoteProtocolError, httpx.RemoteProtocolError),
    (close(), by_aiohttp, aiohttp.ServerDisconnectedError, aiohttp.ServerDisconnectedError),
    (close(), by_urllib, urllib.error.URLError, http.client.RemoteDisconnected),
    (reset(), by_requests, OF_TUNNEL, ConnectionResetError),
    (reset(), by_httpx, httpx.ReadError, ConnectionResetError),
    (reset(), by_aiohttp, aiohttp.ClientOSError, ConnectionResetError),
    (reset(), by_urllib, urllib.error.URLError, ConnectionResetError),
    (stall(), by_requests, requests.exceptions.ReadTimeout, TimeoutError),
    (stall(), by_httpx, httpx.ReadTimeout, TimeoutError),
    (stall(), by_aiohttp, asyncio.TimeoutError, TimeoutError),
    (stall(), by_urllib, urllib.error.URLError, TimeoutError),
    (refuse(), by_requests, requests.exceptions.ProxyError, ConnectionRefusedError),
    (refuse(), by_httpx, httpx.ConnectError, ConnectionRefusedError),
    (refuse(), by_aiohttp, aiohttp.ClientProxyConnectionError, ConnectionRefusedError),
    (refuse(), by_urllib, urllib.error.URLError, ConnectionRefusedError),
    (blackhole(), by_requests, requests.exceptions.ProxyError, TimeoutError),
    (blackhole(), by_httpx, httpx.ConnectTimeout, TimeoutError),
    (blackhole(), by_aiohttp, asyncio.TimeoutError, TimeoutError),
    (blackhole(), by_urllib, urllib.error.URLError, TimeoutError),
    (reset(at="tunnel", after_bytes=10), by_requests, OF_TUNNEL, ConnectionResetError),
    (reset(at="tunnel", after_bytes=10), by_httpx, httpx.ConnectError, ConnectionResetError),
    (reset(at="tunnel", after_bytes=10), by_aiohttp, aiohttp.ClientConnectorError, ConnectionResetError),
    (reset(at="tunnel", after_bytes=10), by_urllib, urllib.error.URLError, ConnectionResetError),
    (close(at="tunnel"), by_requests, requests.exceptions.SSLError, ssl.SSLError),
    (close(at="tunnel"), by_httpx, httpx.ConnectError, ssl.SSLError),
    (close(at="tunnel"), by_aiohttp, aiohttp.ClientConnectorError, ConnectionResetError),
    (close(at="tunnel"), by_urllib, urllib.error.URLError, ssl.SSLError),
    (stall(at="tunnel"), by_requests, requests.exceptions.ReadTimeout, TimeoutError),
    (stall(at="tunnel"), by_httpx, httpx.ConnectTimeout, TimeoutError),
    (stall(at="tunnel"), by_aiohttp, asyncio.TimeoutError, TimeoutError),
    (stall(at="tunnel"), by_urllib, urllib.error.URLError, TimeoutError),
]


@pytest.mark.parametrize("fault", each_fault(BROKEN))
def test_a_proxy_that_breaks_while_a_tunnel_is_opened(faultline, fault):
    origin = faultline.serve(ok(), tls=True, strict=False)
    rows = [row for row in BROKEN if row[0] == fault]
    proxies = [faultline.http_proxy(fault) for _ in rows]

    waits = fault.break_ is not None and TimeoutError in rows[0]
    check_rows(rows, origin, proxies, trusted=origin, timeout=1 if waits else 10)

    for proxy in proxies:
        struck = [a.struck and a.struck.point for a in proxy.attempts]
        assert set(struck) == {fault.break_.at if fault.break_ else "response"}  # aiohttp tries twice
        if fault.door is None:
            assert set(asked(proxy)) == {("CONNECT", origin.hostport)}


@pytest.mark.slow
def test_200_and_then_rst_before_the_first_byte(faultline):
    origin = faultline.serve(ok(), tls=True)
    for by in CLIENTS:
        proxy = faultline.http_proxy(reset(at="tunnel"))

        with raises(ConnectionResetError):  # before its hello or behind it
            by(origin.url, origin, proxy=proxy)

        (attempt,) = proxy.attempts
        assert (attempt.struck.point, attempt.struck.after_bytes, attempt.sent_bytes) == ("tunnel", 0, len(ESTABLISHED))
        assert ending(attempt) == ("server", "RST")


@each_row(
    ("fault", "error", "cause"),
    [
        (close(), requests.exceptions.ProxyError, http.client.RemoteDisconnected),
        (reset(), requests.exceptions.ProxyError, ConnectionResetError),
        (refuse(), requests.exceptions.ProxyError, ConnectionRefusedError),
        (unreachable(), requests.exceptions.ProxyError, OSError),
        (raw(b"garbage\r\n\r\n"), CONNECTION, http.client.BadStatusLine),
        (close(after_bytes=60), requests.exceptions.ChunkedEncodingError, http.client.IncompleteRead),
    ],
)
def test_a_proxy_that_breaks_while_it_fetches(faultline, fault, error, cause):
    origin = faultline.serve(ok(b"x" * 100))
    proxy = faultline.http_proxy(fault)

    with raises(cause) as caught:
        by_requests(origin.url, proxy=proxy)

    assert type(caught.value) is error
    if cause is OSError:
        assert root_cause(caught.value).errno == 101
    assert proxy.attempts[0].struck is not None


def test_a_body_that_the_proxy_does_not_want_is_answered_all_the_same(through):
    with (
        through(ok(), plan=status(403)) as (session, *_),
        session.post("http://origin.invalid/", data=BODY * 4, timeout=10) as response,
    ):
        assert response.status_code == 403


def test_a_fault_of_some_requests_only(faultline):
    origin, secret = faultline.serve(ok(b"open")), faultline.serve(ok(), tls=True)
    proxy = faultline.http_proxy(when(lambda request: request.method == "CONNECT", status(403)))

    assert by_requests(origin.url, proxy=proxy) == (200, b"open")
    with pytest.raises(requests.exceptions.ProxyError):
        by_requests(secret.url, proxy=proxy)
    assert [a.fault for a in proxy.attempts] == [ok(), status(403)]


def test_an_answer_of_the_plan_is_said_instead_of_leading_on(faultline):
    origin = faultline.serve(ok(b"origin"))

    cached = by_requests(origin.url, proxy=faultline.http_proxy(ok(b"from the proxy's cache")))

    assert (cached, origin.attempts) == ((200, b"from the proxy's cache"), ())


def test_the_words_of_the_proxy_itself_are_not_in_the_tunnel(faultline, listener, accepted, dial):
    client = dial(faultline.http_proxy(reset(at="tunnel", on=b"established")), connect_to(address_of(listener)))
    upstream = accepted()
    upstream.sendall(b"hello")

    assert read(client, len(ESTABLISHED) + 5) == ESTABLISHED + b"hello"
    upstream.sendall(b"established")
    assert to_end(client) == (b"established", "RST")


def test_what_the_client_asks_the_proxy_is_the_first_message_at_request(faultline, dial, listener):
    for messages, said in ((0, b""), (1, ESTABLISHED)):
        client = dial(
            faultline.http_proxy(reset(at="request", after_messages=messages)), connect_to(address_of(listener))
        )
        assert read(client, len(said)) == said
        if said:
            client.sendall(b"one")
        assert to_end(client) == (b"", "RST")


def test_a_break_of_the_response_cuts_what_the_proxy_says(faultline, listener, dial):
    proxy = faultline.http_proxy(close(after_bytes=12))

    assert to_end(dial(proxy, connect_to(address_of(listener)))) == (b"HTTP/1.1 200", "FIN")
    assert (proxy.attempts[0].struck.point, proxy.attempts[0].point) == ("response", "response")


@pytest.mark.slow
def test_latency_and_throttle_take_their_time(through):
    with through(ok(BODY[:10_000]), plan=latency(0.05) & throttle(100_000)) as (session, origin, proxy):
        assert session.get(origin.url, timeout=10).content == BODY[:10_000]

    (attempt,) = proxy.wait_for_attempts(1, at="end")
    assert attempt.ended_seconds - attempt.started_seconds >= 0.15


@pytest.mark.slow
@each_row("at", ["accept", "request"])
@each_row(("verb", "ends"), [(reset, "RST"), (close, "FIN")])
def test_a_break_before_the_proxy_has_said_a_word(faultline, dial, verb, ends, at):
    proxy = faultline.http_proxy(verb(at=at))
    try:
        ended = to_end(dial(proxy, connect_to("127.0.0.1:9") if at == "request" else b""))
    except ConnectionResetError:
        ended = (b"", "RST")

    assert ended == (b"", ends)
    assert proxy.attempts[0].struck.point == at


# --- plans ------------------------------------------------------------------------------------------------------------


def test_a_proxy_that_is_busy_once_is_asked_again(faultline):
    origin = faultline.serve(ok(b"at last"), tls=True)
    proxy = faultline.http_proxy(sequence(status(503), ok()))

    with urllib3.ProxyManager(proxy.proxy_url, ssl_context=origin.client_context(), timeout=10) as manager:
        assert manager.request("GET", origin.url, retries=1).data == b"at last"

    assert [(a.fault, a.point) for a in proxy.attempts] == [(status(503), "response"), (ok(), "tunnel")]


def test_chance_decides_by_its_seed(dial):
    def fates():
        with http_proxy(sometimes(0.5, status(503), seed=7), strict=False) as proxy:
            codes = [response_of(dial(proxy, get("http://192.0.2.1/")))[0] for _ in range(10)]
        assert set(codes) == {503, 403}
        return codes

    assert fates() == fates()


# --- the environment --------------------------------------------------------------------------------------------------


def by_aiohttp_alone(url):
    async def ask():
        async with aiohttp.ClientSession(trust_env=True) as session, session.get(url) as response:
            return await response.read()

    return asyncio.run(ask())


def by_urllib_alone(url):
    with urllib.request.build_opener().open(url, timeout=10) as response:
        return response.read()


ALONE = {
    "requests": lambda url: requests.get(url, timeout=10).content,
    "httpx": lambda url: httpx.get(url, timeout=10, verify=False).content,
    "urllib": by_urllib_alone,
    "aiohttp": by_aiohttp_alone,
}


@pytest.mark.parametrize("client", ALONE)
def test_clients_take_the_proxy_from_the_environment_and_ask_hosts_of_no_proxy_directly(faultline, client, monkeypatch):
    origin = faultline.serve(ok(b"found"))
    proxy = faultline.http_proxy(auth=AUTH if client != "aiohttp" else None)
    proxy.use_as_proxy(monkeypatch)

    assert {os.environ[name] for name in ("HTTP_PROXY", "https_proxy", "ALL_PROXY")} == {proxy.proxy_url}
    assert (ALONE[client](origin.url), len(proxy.attempts)) == (b"found", 1)
    proxy.use_as_proxy(monkeypatch, no_proxy="127.0.0.1,localhost")
    assert (ALONE[client](origin.url), len(proxy.attempts)) == (b"found", 1)


@each_row("fails", [False, True])
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

    assert ALONE["requests"]("http://origin.invalid/page") == b"whatever you ask for"
    assert asked(server) == [("GET", "http://origin.invalid/page")]


# --- what the ledger and the guard say --------------------------------------------------------------------------------


def test_a_test_waits_until_a_tunnel_is_open(faultline, listener, dial):
    proxy = faultline.http_proxy()
    dial(proxy)
    with pytest.raises(WaitError, match=r"^0 of 1 attempt reached 'tunnel' within 0 s; attempts in all: \d\.$"):
        proxy.wait_for_attempts(1, 0, at="tunnel")

    dial(proxy, connect_to(address_of(listener)))

    attempts = proxy.wait_for_attempts(1, at="tunnel")
    assert "tunnel" in [a.point for a in attempts]


def test_the_drawing_and_the_plain_data_show_the_request_and_the_strike(faultline, listener, accepted, dial):
    proxy = faultline.http_proxy(reset(at="tunnel", after_bytes=3))
    client = dial(proxy, connect_to(address_of(listener)))
    accepted().sendall(b"abcdef")
    assert to_end(client) == (ESTABLISHED + b"abc", "RST")

    drawn = proxy.drawing()
    assert "bytes: CONNECT 127.0.0.1:" in drawn
    assert "HTTP/1.1 200 Connection established" in drawn
    assert "RST: struck at 'tunnel' after 3 bytes" in drawn
    (attempt,) = json.loads(proxy.ledger.to_json())["attempts"]
    assert (attempt["request"]["method"], attempt["point"]) == ("CONNECT", "tunnel")
    assert attempt["fault"] == "reset(at='tunnel', after_bytes=3)"


@each_row("fault", [reset(at="tunnel"), close(at="tunnel", after_bytes=9), half_close(at="tunnel")])
def test_a_fault_in_a_tunnel_that_nobody_opened_never_struck(fault):
    with (
        pytest.raises(NotStruckError) as caught,
        serve(ok()) as origin,
        http_proxy(fault) as proxy,
    ):
        assert by_requests(origin.url, proxy=proxy)[0] == 200

    told = str(caught.value)
    assert told.startswith(f"{fault!r} never struck: #1 GET {origin.url}/: {fault!r} reached 'response', ")


# --- what can't mean anything; `refusals.txt` has the faults that a proxy refuses -------------------------------------

TO = "a server on this machine: '127.0.0.1:8080', a URL, or a faultline server"
AUTHS = "a name without a colon and a password, such as ('user', 'secret')"
BAD_AUTHS = [
    "user:secret",
    ("user",),
    ("us:er", "x"),
    ("", "x"),
    ("user", ""),
    ("user", b"x"),
    ["user", "x"],
    ("u", "é" * 128),
    ("u", "\ud800"),
]
SOCKS_KINDS = ", ".join(map(repr, get_args(Kind)))
MEANT = "Did you mean 'connection_refused'? Write socks_refusal('connection_refused')."
ONE_ANSWER = "expected one answer, got two; deal them to different attempts, or leave one out."
IN_SOCKS = "socks_refusal('garbage'): expected socks_proxy(…); an HTTP proxy speaks no SOCKS."


@each_row(
    ("start", "message"),
    [
        (lambda: http_proxy(sometimes(0.5, socks_refusal("garbage"))), IN_SOCKS),
        (lambda: http_proxy(when(lambda _: True, socks_refusal("garbage"))), IN_SOCKS),
        (lambda: http_proxy(sequence(ok(), socks_refusal("garbage"))), IN_SOCKS),
        (
            lambda: socks_proxy(scheme="http"),
            "scheme='http': expected one of 'socks4', 'socks4a', 'socks5', 'socks5h'.",
        ),
        (
            lambda: socks_refusal("refused"),
            f"kind='refused': expected one of {SOCKS_KINDS}. {MEANT}",
        ),
        (
            lambda: http_proxy("status"),
            "plan='status': expected a fault such as reset() or ok(), or a plan such as sequence(…); write status().",
        ),
        (
            lambda: http_proxy(refuse),
            "plan=refuse: expected a fault such as reset() or ok(), or a plan such as sequence(…); write refuse().",
        ),
        (lambda: http_proxy(port=-1), "port=-1: expected a whole number, from 0 to 65535."),
    ],
)
def test_what_can_never_happen_at_a_proxy_is_refused_before_there_is_one(start, message):
    with pytest.raises(ParameterError) as caught:
        start().close()

    assert str(caught.value) == message


@each_row(
    ("name", "values", "expected"),
    [
        ("to", ["example.invalid:80", "http://192.0.2.1/", "127.0.0.1", 8080, "", "10.0.0.1:80"], TO),
        ("auth", BAD_AUTHS, AUTHS),
    ],
)
def test_an_option_that_can_not_be_meant_is_refused(name, values, expected):
    for value in values:
        for start in (http_proxy, socks_proxy):
            with pytest.raises(ParameterError) as caught:
                start(**{name: value}).close()
            assert str(caught.value) == f"{name}={value!r}: expected {expected}."


@each_row(
    ("combine", "message"),
    [
        (
            lambda: status(403) & reset(at="tunnel"),
            "status(403) & reset(at='tunnel'): the proxy answers by itself and never reaches 'tunnel'.",
        ),
        (
            lambda: reset(at="tunnel") & raw(b"x"),
            "reset(at='tunnel') & raw(b'x'): the proxy answers by itself and never reaches 'tunnel'.",
        ),
        (
            lambda: socks_refusal("not_allowed") & stall(at="tunnel"),
            "socks_refusal('not_allowed') & stall(at='tunnel'): the proxy refuses and never reaches 'tunnel'.",
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

    with pytest.raises(ParameterError, match="expected at='tunnel'; a proxy keeps no connection"):
        proxy.become(reset(at="idle"))
    assert proxy.plan == ok()


def test_proxies_are_what_the_library_says():
    assert library.http_proxy is http_proxy
    assert issubclass(library.Proxy, library.Server)
    with http_proxy() as proxy:
        assert repr(proxy) == f"<Proxy http://{proxy.hostport} ok()>"
