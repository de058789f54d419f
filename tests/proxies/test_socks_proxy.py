"""A SOCKS proxy that leads its clients on, and each way in which it refuses them. `test_tunnels.py` has its tunnels."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import struct

import httpx
import pytest
import requests
from support import SILENCE_SECONDS, ending, read, to_end
from support.clients import by_httpx, by_requests, host_and_port
from support.proxies import GRANTED, GRANTED_4, HELLO, asked, check_rows, each_fault, request_4, request_5
from support.tables import each_row

from faultline import (
    NotStruckError,
    blackhole,
    close,
    ok,
    raises,
    refuse,
    reset,
    root_cause,
    socks_proxy,
    socks_refusal,
    stall,
)

pytestmark = pytest.mark.leaves_open

socks = pytest.importorskip("socks")  # PySocks, as requests[socks] has it
python_socks = pytest.importorskip("python_socks")
python_socks_sync = pytest.importorskip("python_socks.sync")
python_socks_asyncio = pytest.importorskip("python_socks.async_.asyncio")
pytest.importorskip("socksio")  # httpx[socks]

GARBAGE = b"HTTP/1.1 400 Bad Request\r\n\r\n"


def reply_5(code):
    return b"\5\0" + bytes((5, code, 0, 1)) + bytes(6)


def reply_4(code):
    return bytes((0, code)) + bytes(6)


@pytest.fixture
def port(listener):
    """The port of an origin that the test holds itself."""
    return listener.getsockname()[1]


@pytest.fixture
def serves(faultline):
    """A function that sees that the next client of a proxy is served."""
    return lambda proxy: by_requests(faultline.serve(ok(b"served")).url, proxy=proxy) == (200, b"served")


# --- clients ----------------------------------------------------------------------------------------------------------


def parts_of(proxy):
    """The URL in the words of python-socks, and whether the proxy looks names up."""
    scheme = proxy.proxy_url.partition(":")[0]
    return proxy.proxy_url.replace("socks4a", "socks4").replace("socks5h", "socks5"), scheme in ("socks4a", "socks5h")


def by_python_socks(url, trusted=None, timeout=10, proxy=None):
    through, rdns = parts_of(proxy)
    client = python_socks_sync.Proxy.from_url(through, rdns=rdns)
    with client.connect(*host_and_port(url), timeout=timeout) as sock:
        sock.settimeout(timeout)
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return 200, read(sock).partition(b"\r\n\r\n")[2]


def by_python_socks_asyncio(url, trusted=None, timeout=10, proxy=None):
    async def ask():
        through, rdns = parts_of(proxy)
        client = python_socks_asyncio.Proxy.from_url(through, rdns=rdns)
        sock = await client.connect(*host_and_port(url), timeout=timeout)
        reader, writer = await asyncio.open_connection(sock=sock)
        try:
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            return 200, (await asyncio.wait_for(reader.read(), timeout)).partition(b"\r\n\r\n")[2]
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    return asyncio.run(ask())


CLIENTS = [by_requests, by_httpx, by_python_socks, by_python_socks_asyncio]


# --- the healthy proxy ------------------------------------------------------------------------------------------------


@each_row(
    ("by", "scheme"),
    [
        (by_requests, "socks4"),
        (by_requests, "socks4a"),
        (by_requests, "socks5"),
        (by_httpx, "socks5"),
        (by_python_socks, "socks4"),
        (by_python_socks, "socks5h"),
        (by_python_socks_asyncio, "socks5"),
    ],
)
def test_a_client_of_each_version_is_led_to_the_origin(faultline, by, scheme):
    origin = faultline.serve(ok(b"from the origin"))
    proxy = faultline.socks_proxy(scheme=scheme)

    for host in ("127.0.0.1", "localhost"):
        assert by(f"http://{host}:{origin.port}", proxy=proxy) == (200, b"from the origin")

    assert proxy.proxy_url == f"{scheme}://{proxy.hostport}"
    looks_up = scheme in ("socks4a", "socks5h") or by is by_httpx  # which always leaves it to the proxy
    second = "localhost" if looks_up else "127.0.0.1"
    assert asked(proxy) == [(f"SOCKS{scheme[5]}", f"{host}:{origin.port}") for host in ("127.0.0.1", second)]
    assert [(a.point, a.struck) for a in proxy.attempts] == [("tunnel", None)] * 2
    assert len(origin.attempts) == 2


def test_a_name_is_never_looked_up_by_the_proxy(faultline, dialled):
    proxy = faultline.socks_proxy(to=faultline.serve(ok(b"mine")))

    assert by_requests("http://api.invalid/", proxy=proxy) == (200, b"mine")

    assert asked(proxy) == [("SOCKS5", "api.invalid:80")]
    assert not [item for item in dialled if "api.invalid" in repr(item)]


def test_the_certificate_is_checked_by_the_name_that_the_client_asks_for(faultline):
    origin = faultline.serve(ok(b"mine"), tls=True)
    proxy = faultline.socks_proxy(to=origin)

    assert by_requests("https://localhost/", origin, proxy=proxy) == (200, b"mine")
    with raises(ssl.SSLCertVerificationError) as caught:
        by_requests("https://api.invalid/", origin, proxy=proxy)

    assert (type(caught.value), caught.cause.verify_code) == (requests.exceptions.SSLError, 62)
    assert asked(proxy) == [("SOCKS5", "localhost:443"), ("SOCKS5", "api.invalid:443")]
    assert [a.tls.sni for a in proxy.attempts] == ["localhost", "api.invalid"]


def test_an_origin_of_ipv6(faultline, needs_ipv6, dial):
    origin = faultline.serve(ok(b"six"), host="::1")
    proxy = faultline.socks_proxy()

    assert read(dial(proxy, HELLO + request_5("::1", origin.port)), len(GRANTED)) == GRANTED
    assert asked(proxy) == [("SOCKS5", f"[::1]:{origin.port}")]


def test_what_comes_together_with_a_request_of_socks_4a_goes_into_the_tunnel(faultline, port, accepted, dial):
    proxy = faultline.socks_proxy()
    client = dial(proxy, request_4("LocalHost.", port) + b"early bird")
    upstream = accepted()

    assert read(upstream, 10) == b"early bird"
    upstream.sendall(b"worm")
    assert read(client, len(GRANTED_4) + 4) == GRANTED_4 + b"worm"
    assert proxy.attempts[0].received_bytes == len(request_4("LocalHost.", port)) + 10


@each_row("to", ["server", "address"])
def test_every_way_leads_to_one_server(faultline, dial, to):
    origin = faultline.serve(ok(b"mine"))
    proxy = faultline.socks_proxy(to=origin if to == "server" else origin.hostport)

    for asks, granted in (
        (HELLO + request_5("192.0.2.1", 80), GRANTED),
        (HELLO + request_5("2001:db8::1", 80), GRANTED),
        (request_4("a.invalid", 80), GRANTED_4),
    ):
        client = dial(proxy, asks)
        assert read(client, len(granted)) == granted
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert to_end(client)[0].endswith(b"mine")


# --- ways that lead nowhere -------------------------------------------------------------------------------------------


@each_row(
    "host",
    [
        "192.0.2.1",
        "10.0.0.1",
        "0.0.0.0",
        "2001:db8::1",
        "::ffff:192.0.2.1",
        "::",
        "origin.invalid",
        "localhost.invalid",
    ],
)
def test_a_way_to_another_machine_is_not_allowed_and_nothing_is_dialled(faultline, dial, dialled, host):
    proxy = faultline.socks_proxy()
    dialled.clear()

    assert to_end(dial(proxy, HELLO + request_5(host, 443))) == (reply_5(2), "FIN")
    where = f"[{ipaddress.ip_address(host)}]:443" if ":" in host else f"{host}:443"
    if ":" not in host:
        assert to_end(dial(proxy, request_4(host, 443))) == (reply_4(91), "FIN")
        assert asked(proxy) == [("SOCKS5", where), ("SOCKS4", where)]
    assert {item for item in dialled if item[0] == "socket.connect"} == {("socket.connect", proxy.address)}
    assert not [item for item in dialled if host in repr(item)]
    for attempt in proxy.attempts:
        assert attempt.note == f"{where} is not on this machine; to=… sends clients to a server here"
        assert attempt.struck is None


def test_a_name_is_taken_as_it_is_and_not_as_a_url(faultline, dial, dialled):
    proxy = faultline.socks_proxy()

    for host in ("127.0.0.1/x", "user@127.0.0.1", "127.0.0.1?", "127.0.0.1#", "127.0.0.1:22", " 127.0.0.1"):
        assert to_end(dial(proxy, HELLO + request_5(host, 9))) == (reply_5(2), "FIN")
    assert {item for item in dialled if item[0] == "socket.connect"} == {("socket.connect", proxy.address)}


def test_an_origin_that_can_not_be_reached_is_said_by_its_reply_code(faultline, dial, nobody):
    proxy = faultline.socks_proxy()
    port = int(nobody.rpartition(":")[2])

    assert to_end(dial(proxy, HELLO + request_5("127.0.0.1", port))) == (reply_5(5), "FIN")
    assert to_end(dial(proxy, request_4("127.0.0.1", port))) == (reply_4(91), "FIN")
    said = f"the upstream {nobody} could not be reached: [Errno 111] Connection refused"
    assert [(a.note, a.struck) for a in proxy.attempts] == [(said, None)] * 2
    without_route = dial(proxy, HELLO + request_5("127.255.255.255", 80))  # which TCP can't connect to
    assert to_end(without_route) == (reply_5(3), "FIN")


# --- name and password ------------------------------------------------------------------------------------------------


@each_row("by", CLIENTS)
def test_name_and_password_in_the_url_of_the_proxy_open_it(faultline, by):
    origin = faultline.serve(ok(b"opened"))
    proxy = faultline.socks_proxy(auth=("us er@home", "p/a:ss%word"))

    assert proxy.proxy_url == f"socks5h://us%20er%40home:p%2Fa%3Ass%25word@{proxy.hostport}"
    assert by(origin.url, proxy=proxy) == (200, b"opened")
    if by in (by_requests, by_httpx):
        other = faultline.socks_proxy(auth=("jürgen", "geheimnisträger"))
        assert by(origin.url, proxy=other) == (200, b"opened")


def test_who_shows_another_password_or_none_is_refused(faultline, dial, port):
    proxy = faultline.socks_proxy(auth=("user", "secret"))

    for name, password in ((b"user", b"wrong"), (b"other", b"secret"), (b"user", b"")):
        client = dial(proxy, b"\5\1\2" + bytes((1, len(name))) + name + bytes((len(password),)) + password)
        assert to_end(client) == (b"\5\2\1\1", "FIN")  # RFC 1929
    assert to_end(dial(proxy, HELLO)) == (b"\5\xff", "FIN")
    assert to_end(dial(proxy, request_4("127.0.0.1", port))) == (reply_4(91), "FIN")  # which has no password
    assert {a.struck for a in proxy.attempts} == {None}


def test_a_password_that_nobody_wants_is_taken(faultline, dial, port):
    client = dial(faultline.socks_proxy(), b"\5\1\2\1\1u\1p" + request_5("127.0.0.1", port))

    assert read(client, 14) == b"\5\2\1\0" + GRANTED[2:]


# --- refusals ---------------------------------------------------------------------------------------------------------


# By PySocks, and by python-socks.
SAYS_5 = {
    "general_failure": ("0x01: General SOCKS server failure", "General SOCKS server failure"),
    "not_allowed": ("0x02: Connection not allowed by ruleset", "Connection not allowed by ruleset"),
    "network_unreachable": ("0x03: Network unreachable", "Network unreachable"),
    "host_unreachable": ("0x04: Host unreachable", "Host unreachable"),
    "connection_refused": ("0x05: Connection refused", "Connection refused by destination host"),
    "ttl_expired": ("0x06: TTL expired", "TTL expired"),
    "command_not_supported": (
        "0x07: Command not supported, or protocol error",
        "Command not supported or protocol error",
    ),
    "address_type_not_supported": ("0x08: Address type not supported", "Address type not supported"),
    "no_acceptable_method": (
        "authentication methods were rejected",
        "No acceptable authentication methods were offered",
    ),
    "unoffered_method": (
        "Server requested username/password authentication",
        "Unexpected SOCKS authentication method: 2",
    ),
    "garbage": ("SOCKS5 proxy server sent invalid data", "Unexpected SOCKS version number: 72"),
}
SAYS_4 = {
    "rejected": ("0x5b: Request rejected or failed", "Request rejected or failed"),
    "identd_unreachable": (
        "0x5c: Request rejected because SOCKS server cannot connect to identd",
        "cannot connect to identd",
    ),
    "identd_mismatch": ("0x5d: Request rejected because the client program and identd", "report different user-ids"),
    "garbage": ("SOCKS4 proxy server sent invalid data", "Unexpected reply version: 0X48"),
}
IN_HTTPX = {"no_acceptable_method": "but got NO ACCEPTABLE METHODS.", "unoffered_method": "but got USERNAME/PASSWORD."}


@pytest.mark.slow
@each_row(
    ("scheme", "kind", "said"),
    [("socks5h", *row) for row in SAYS_5.items()] + [("socks4a", *row) for row in SAYS_4.items()],
)
def test_each_refusal_has_its_words_in_every_client(faultline, scheme, kind, said):
    origin = faultline.serve(ok())
    proxy = faultline.socks_proxy(socks_refusal(kind), scheme=scheme)
    by_pysocks, by_other = said

    with pytest.raises(requests.exceptions.ConnectionError) as caught:
        by_requests(origin.url, proxy=proxy)
    assert type(caught.value) is requests.exceptions.ConnectionError
    assert isinstance(root_cause(caught.value), socks.ProxyError)
    assert by_pysocks in str(caught.value)
    for by in (by_python_socks, by_python_socks_asyncio):
        with pytest.raises(python_socks.ProxyError, match=by_other) as caught:
            by(origin.url, proxy=proxy)
        assert caught.type is python_socks.ProxyError
    if scheme == "socks5h" and kind != "garbage":
        with pytest.raises(httpx.ProxyError) as caught:
            by_httpx(origin.url, proxy=proxy)
        assert IN_HTTPX.get(kind, "Proxy Server could not connect: ") in str(caught.value)
    assert {a.struck.point for a in proxy.attempts} == {"response"}
    assert origin.attempts == ()


@each_row(
    ("by", "error", "text"),
    [
        (by_requests, requests.exceptions.ConnectionError, "SOCKS5 authentication failed"),
        (by_httpx, httpx.ProxyError, "Invalid username/password"),
        (by_python_socks, python_socks.ProxyError, "Username and password authentication failure"),
        (by_python_socks_asyncio, python_socks.ProxyError, "Username and password authentication failure"),
    ],
)
def test_bad_credentials_are_refused_although_they_are_right(faultline, by, error, text):
    origin = faultline.serve(ok())
    proxy = faultline.socks_proxy(socks_refusal("bad_credentials"), auth=("user", "secret"))

    with pytest.raises(error) as caught:
        by(origin.url, proxy=proxy)

    assert caught.type is error
    assert text in str(caught.value)
    (attempt,) = proxy.attempts
    assert (attempt.struck.point, attempt.sent_bytes, attempt.request) == ("response", 4, None)


# --- breaks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "said", "ends"),
    [
        (stall(after_bytes=1), b"\5", "silence"),
        (stall(after_bytes=7), GRANTED[:7], "silence"),
        (close(at="request", after_messages=0), b"", "FIN"),
        (close(at="request", after_messages=1), b"\5\0", "FIN"),
        (close(at="response", after_messages=0), b"", "FIN"),
        (close(at="response", after_messages=1), b"\5\0", "FIN"),
    ],
    ids=repr,
)
def test_a_proxy_breaks_while_the_tunnel_is_negotiated(faultline, dial, port, fault, *, said, ends):
    proxy = faultline.socks_proxy(fault)
    client = dial(proxy, HELLO)
    assert read(client, min(2, len(said))) == said[:2]
    if len(said) > 1 or ends == "silence":
        client.sendall(request_5("127.0.0.1", port))

    assert read(client, len(said[2:])) == said[2:]
    assert to_end(client, SILENCE_SECONDS if ends == "silence" else 10) == (b"", ends)
    assert (proxy.attempts[0].struck.point, proxy.attempts[0].sent_bytes) == (fault.break_.at, len(said))


CONNECTION = requests.exceptions.ConnectionError
BROKEN = [
    (stall(), by_requests, requests.exceptions.ConnectTimeout, TimeoutError),
    (stall(), by_python_socks, python_socks.ProxyTimeoutError, TimeoutError),
    (stall(), by_python_socks_asyncio, python_socks.ProxyTimeoutError, TimeoutError),
    (stall(at="tunnel"), by_requests, requests.exceptions.ReadTimeout, TimeoutError),
    (reset(), by_requests, CONNECTION, ConnectionResetError),
    (reset(), by_httpx, httpx.ReadError, ConnectionResetError),
    (reset(), by_python_socks, ConnectionResetError, ConnectionResetError),
    (reset(), by_python_socks_asyncio, ConnectionResetError, ConnectionResetError),
    (close(), by_requests, CONNECTION, socks.GeneralProxyError),
    (close(), by_python_socks, python_socks.ProxyError, python_socks.ProxyError),
    (close(), by_python_socks_asyncio, python_socks.ProxyError, python_socks.ProxyError),
    (refuse(), by_requests, CONNECTION, ConnectionRefusedError),
    (refuse(), by_httpx, httpx.ConnectError, ConnectionRefusedError),
    (refuse(), by_python_socks, python_socks.ProxyConnectionError, ConnectionRefusedError),
    (refuse(), by_python_socks_asyncio, python_socks.ProxyConnectionError, ConnectionRefusedError),
    (blackhole(), by_requests, requests.exceptions.ConnectTimeout, TimeoutError),
    (blackhole(), by_httpx, httpx.ConnectTimeout, TimeoutError),
    (reset(at="tunnel", after_bytes=5), by_requests, CONNECTION, ConnectionResetError),
    (reset(at="tunnel", after_bytes=5), by_httpx, httpx.ReadError, ConnectionResetError),
    (reset(at="tunnel", after_bytes=5), by_python_socks, ConnectionResetError, ConnectionResetError),
    (reset(at="tunnel", after_bytes=5), by_python_socks_asyncio, ConnectionResetError, ConnectionResetError),
    (close(at="tunnel", after_bytes=5), by_httpx, httpx.RemoteProtocolError, httpx.RemoteProtocolError),
]


@pytest.mark.parametrize("fault", each_fault(BROKEN))
def test_a_proxy_that_breaks(faultline, fault):
    origin = faultline.serve(ok())
    rows = [row for row in BROKEN if row[0] == fault]
    proxies = [faultline.socks_proxy(fault) for _ in rows]

    check_rows(rows, origin, proxies, timeout=1 if TimeoutError in rows[0] else 10)

    assert [[a.struck.point for a in proxy.attempts] for proxy in proxies] == [[fault.break_.at]] * len(rows)


def test_a_reset_in_a_tunnel_of_socks_4(faultline, port, accepted, dial):
    proxy = faultline.socks_proxy(reset(at="tunnel"))
    client = dial(proxy, request_4("127.0.0.1", port))
    accepted()

    assert to_end(client) == (GRANTED_4, "RST")
    assert asked(proxy) == [("SOCKS4", f"127.0.0.1:{port}")]


@pytest.mark.parametrize("fault", [ok(), reset(at="tunnel", after_bytes=100), stall(at="tunnel")], ids=repr)
def test_each_reply_comes_in_one_piece_for_clients_that_read_but_once(faultline, port, dial, fault):
    client = dial(faultline.socks_proxy(fault, strict=False), HELLO)  # httpcore and socksio are such a client
    assert read(client, 2) == GRANTED[:2]
    client.sendall(request_5("127.0.0.1", port))
    assert read(client, 10) == GRANTED[2:]

    info = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 156)
    assert struct.unpack_from("I", info, 152) == (2,)  # tcpi_data_segs_in: the method and the reply


# --- ledger -----------------------------------------------------------------------------------------------------------


def test_the_drawing_shows_the_refusal(faultline, dial):
    proxy = faultline.socks_proxy(socks_refusal("ttl_expired"))
    to_end(dial(proxy, HELLO + request_5("127.0.0.1", 9)))

    assert "socks_refusal('ttl_expired'): struck at 'response'" in proxy.drawing()
    assert repr(proxy) == f"<Proxy socks5h://{proxy.hostport} socks_refusal('ttl_expired')>"


def test_a_refusal_that_nobody_met_never_struck():
    with (
        pytest.raises(NotStruckError, match=r"never struck: no client connected to 127\.0\.0\.1:"),
        socks_proxy(socks_refusal("garbage")),
    ):
        pass


def test_no_control_character_of_a_client_gets_into_a_message(dial):
    with pytest.raises(NotStruckError) as caught, socks_proxy(reset(at="tunnel")) as proxy:
        to_end(dial(proxy, HELLO + request_5("\x1b[31m\r\nred", 80)))

    assert str(caught.value).isprintable()


# --- hostile clients: `test_socks.py` has what is answered to which bytes ---------------------------------------------


@each_row(
    ("data", "answered"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", GARBAGE),
        (b"\5\0", b"\5\xff"),
        (HELLO + b"\5\1\0\x63", reply_5(8)),
        (HELLO + request_5("", 80), reply_5(2)),
        (HELLO + request_5("x" * 255, 80), reply_5(2)),
        (HELLO + request_5("127.0.0.1", 0), reply_5(5)),
        (HELLO + request_5("\0\xff/?#@:", 80), reply_5(2)),
    ],
)
def test_a_hostile_client_is_answered_and_the_next_one_is_served(faultline, dial, serves, data, answered):
    proxy = faultline.socks_proxy()

    assert to_end(dial(proxy, data)) == (answered, "FIN")
    assert serves(proxy)


def test_a_client_that_never_comes_to_an_end_is_cut_off(faultline, dial, serves):
    proxy = faultline.socks_proxy()
    client = dial(proxy, b"\4\1\0\x50\0\0\0\1user\0")

    with contextlib.suppress(ConnectionError):
        client.sendall(b"x" * (1 << 20))

    assert to_end(client)[1] in ("FIN", "RST")
    assert serves(proxy)


@pytest.mark.parametrize("leaves", ["half open", "FIN", "RST"])
def test_a_client_that_stops_in_the_middle_does_no_harm(faultline, dial, serves, leaves):
    proxy = faultline.socks_proxy()
    for data in (b"", b"\5", b"\5\xff\0", HELLO + b"\5\1\0\3\xff", b"\4\1", b"\4\1\0\x50\x7f\0\0\1"):
        client = dial(proxy, data)
        if leaves == "RST":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()
        if leaves == "FIN":
            client.shutdown(socket.SHUT_WR)
    if leaves != "half open":
        assert {ending(a) for a in proxy.wait_for_attempts(6, at="end")} == {("client", leaves)}

    assert serves(proxy)


# --- the environment --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.everywhere
@pytest.mark.parametrize("ask", [requests.get, httpx.get], ids=["requests", "httpx"])
def test_clients_take_the_proxy_from_the_environment(faultline, monkeypatch, ask):
    origin = faultline.serve(ok(b"found"))
    proxy = faultline.socks_proxy(auth=("user", "p@ss"))
    proxy.use_as_proxy(monkeypatch)

    assert (ask(origin.url, timeout=10).content, len(proxy.attempts)) == (b"found", 1)
    proxy.use_as_proxy(monkeypatch, no_proxy="127.0.0.1")
    assert (ask(origin.url, timeout=10).content, len(proxy.attempts)) == (b"found", 1)
