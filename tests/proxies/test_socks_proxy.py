"""A SOCKS proxy that leads its clients on, and each way in which it refuses them."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import ssl
import struct

import httpx
import pytest
import requests

from faultline import (
    NotStruckError,
    blackhole,
    close,
    corrupt,
    echo,
    latency,
    ok,
    raises,
    refuse,
    reset,
    root_cause,
    sequence,
    socks_proxy,
    socks_refusal,
    stall,
)

socks = pytest.importorskip("socks")  # PySocks, as requests[socks] has it
python_socks = pytest.importorskip("python_socks")
python_socks_sync = pytest.importorskip("python_socks.sync")
python_socks_asyncio = pytest.importorskip("python_socks.async_.asyncio")
pytest.importorskip("socksio")  # httpx[socks]

SILENCE_SECONDS = 0.05
SCHEMES = ["socks4", "socks4a", "socks5", "socks5h"]
KINDS_OF_5 = {
    "general_failure": 1,
    "not_allowed": 2,
    "network_unreachable": 3,
    "host_unreachable": 4,
    "connection_refused": 5,
    "ttl_expired": 6,
    "command_not_supported": 7,
    "address_type_not_supported": 8,
}
KINDS_OF_4 = {"rejected": 91, "identd_unreachable": 92, "identd_mismatch": 93}
GARBAGE = b"HTTP/1.1 400 Bad Request\r\n\r\n"
HELLO = b"\5\1\0"
GRANTED = b"\5\0\5\0\0\1" + bytes(6)


def request_5(host, port, command=1):
    """What a client of SOCKS5 asks for; a host with dots and digits only is an address."""
    with contextlib.suppress(OSError, ValueError):
        return bytes((5, command, 0, 1)) + socket.inet_pton(socket.AF_INET, host) + port.to_bytes(2, "big")
    with contextlib.suppress(OSError, ValueError):
        return bytes((5, command, 0, 4)) + socket.inet_pton(socket.AF_INET6, host) + port.to_bytes(2, "big")
    return bytes((5, command, 0, 3, len(host))) + host.encode("latin-1") + port.to_bytes(2, "big")


def request_4(host, port, command=1, user=b""):
    with contextlib.suppress(OSError, ValueError):
        return bytes((4, command)) + port.to_bytes(2, "big") + socket.inet_pton(socket.AF_INET, host) + user + b"\0"
    return bytes((4, command)) + port.to_bytes(2, "big") + b"\0\0\0\1" + user + b"\0" + host.encode() + b"\0"


def exactly(sock, count):
    data = b""
    while len(data) < count and (more := sock.recv(count - len(data))):
        data += more
    return data


def to_end(sock, silence_seconds=10):
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


def port_of(listener):
    return listener.getsockname()[1]


def asked(server):
    return [(a.request.method, a.request.target) for a in server.attempts]


@pytest.fixture
def tunnel(dial, listener, accepted):
    """A function that opens a tunnel to the listener: both ends."""

    def opened(proxy):
        client = dial(proxy, HELLO + request_5("127.0.0.1", port_of(listener)))
        assert exactly(client, len(GRANTED)) == GRANTED
        return client, accepted()

    return opened


@pytest.fixture
def serves(faultline):
    """A function that sees that the next client of a proxy is served."""

    def check(proxy):
        origin = faultline.serve(ok(b"served"))
        assert by_requests(origin, proxy) == b"served"

    return check


# --- clients ----------------------------------------------------------------------------------------------------------


def by_requests(origin, proxy, timeout=10, host=None):
    url = origin.url.replace("127.0.0.1", host or "127.0.0.1")
    with requests.Session() as session:
        proxies = dict.fromkeys(("http", "https"), proxy.proxy_url)
        return session.get(url, proxies=proxies, timeout=timeout, verify=origin.ca_file).content


def by_httpx(origin, proxy, timeout=10, host=None):
    url = origin.url.replace("127.0.0.1", host or "127.0.0.1")
    with httpx.Client(proxy=proxy.proxy_url, timeout=timeout, verify=origin.client_context()) as client:
        return client.get(url).content


def parts_of(proxy):
    """The URL in the words of python-socks, and whether the proxy looks names up."""
    scheme = proxy.proxy_url.partition(":")[0]
    return proxy.proxy_url.replace("socks4a", "socks4").replace("socks5h", "socks5"), scheme in ("socks4a", "socks5h")


def by_python_socks(origin, proxy, timeout=10, host=None):
    url, rdns = parts_of(proxy)
    client = python_socks_sync.Proxy.from_url(url, rdns=rdns)
    with client.connect(host or origin.host, origin.port, timeout=timeout) as sock:
        sock.settimeout(timeout)
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        data, end = to_end(sock, timeout)
        if end == "RST":
            raise ConnectionResetError(104, "Connection reset by peer")
        return data.partition(b"\r\n\r\n")[2]


def by_python_socks_asyncio(origin, proxy, timeout=10, host=None):
    async def ask():
        url, rdns = parts_of(proxy)
        client = python_socks_asyncio.Proxy.from_url(url, rdns=rdns)
        sock = await client.connect(host or origin.host, origin.port, timeout=timeout)
        reader, writer = await asyncio.open_connection(sock=sock)
        try:
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            return (await asyncio.wait_for(reader.read(), timeout)).partition(b"\r\n\r\n")[2]
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    return asyncio.run(ask())


CLIENTS = [by_requests, by_httpx, by_python_socks, by_python_socks_asyncio]
OF_4 = [by_requests, by_python_socks, by_python_socks_asyncio]


def names(value):
    return value.__name__ if callable(value) else None


def data_segments(sock):
    """How many segments with data have arrived at this socket: tcpi_data_segs_in of tcp_info (linux/tcp.h)."""
    return struct.unpack_from("I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 156), 152)[0]


# --- the healthy proxy ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("by", CLIENTS, ids=names)
def test_a_client_of_each_version_is_led_to_the_origin(faultline, by, scheme, host):
    if by is by_httpx and scheme.startswith("socks4"):
        pytest.skip("httpx speaks SOCKS5 only")
    origin = faultline.serve(ok(b"from the origin"))
    proxy = faultline.socks_proxy(scheme=scheme)

    assert by(origin, proxy, host=host) == b"from the origin"
    assert proxy.proxy_url == f"{scheme}://{proxy.hostport}"
    ((method, target),) = asked(proxy)
    assert method == f"SOCKS{scheme[5]}"
    looks_up = scheme in ("socks4a", "socks5h") or by is by_httpx  # which always leaves it to the proxy
    assert target == f"{host if looks_up else '127.0.0.1'}:{origin.port}"
    (attempt,) = proxy.attempts
    assert (attempt.point, attempt.struck) == ("tunnel", None)
    assert len(origin.attempts) == 1


@pytest.mark.parametrize("by", [by_requests, by_httpx], ids=names)
@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_an_origin_in_tls_through_a_socks_proxy(faultline, by, scheme):
    origin = faultline.serve(ok(b"in TLS"), tls=True)
    proxy = faultline.socks_proxy(scheme=scheme)

    assert by(origin, proxy, host="localhost") == b"in TLS"
    assert proxy.attempts[0].tls.sni == "localhost"


def test_a_name_is_never_looked_up_by_the_proxy(faultline, dialled):
    origin = faultline.serve(ok(b"mine"))
    proxy = faultline.socks_proxy(to=origin)

    with requests.Session() as session:
        assert session.get("http://api.invalid/", proxies={"http": proxy.proxy_url}, timeout=10).content == b"mine"

    assert asked(proxy) == [("SOCKS5", "api.invalid:80")]
    assert not [item for item in dialled if "api.invalid" in repr(item)]


def test_the_certificate_is_checked_by_the_name_that_the_client_asks_for(faultline):
    origin = faultline.serve(ok(b"mine"), tls=True)
    proxy = faultline.socks_proxy(to=origin)

    with requests.Session() as session:
        session.proxies = {"https": proxy.proxy_url}
        assert session.get("https://localhost/", verify=origin.ca_file, timeout=10).content == b"mine"
        with raises(ssl.SSLCertVerificationError) as caught:
            session.get("https://api.invalid/", verify=origin.ca_file, timeout=10)

    assert (type(caught.value), caught.cause.verify_code) == (requests.exceptions.SSLError, 62)
    assert asked(proxy) == [("SOCKS5", "localhost:443"), ("SOCKS5", "api.invalid:443")]


def test_an_origin_of_ipv6(faultline, ipv6, dial):
    origin = faultline.serve(ok(b"six"), host="::1")
    proxy = faultline.socks_proxy()

    client = dial(proxy, HELLO + request_5("::1", origin.port))

    assert exactly(client, len(GRANTED)) == GRANTED
    assert asked(proxy) == [("SOCKS5", f"[::1]:{origin.port}")]


def test_megabytes_go_through_byte_for_byte(faultline):
    data = os.urandom(4 << 20)
    origin = faultline.serve(echo())
    proxy = faultline.socks_proxy()

    with requests.Session() as session:
        assert session.post(origin.url, data=data, proxies={"http": proxy.proxy_url}, timeout=10).content == data


@pytest.mark.parametrize(
    ("data", "granted"),
    [(lambda port: HELLO + request_5("localhost", port), GRANTED), (lambda port: request_4("localhost", port), b"\0Z")],
    ids=["5", "4a"],
)
def test_what_comes_together_with_the_request_goes_into_the_tunnel(
    faultline, listener, accepted, dial, *, data, granted
):
    granted = granted.ljust(8, b"\0")
    proxy = faultline.socks_proxy()
    client = dial(proxy, data(port_of(listener)) + b"early bird")
    upstream = accepted()

    assert exactly(upstream, 10) == b"early bird"
    upstream.sendall(b"worm")
    assert exactly(client, len(granted) + 4) == granted + b"worm"
    assert proxy.attempts[0].received_bytes == len(data(port_of(listener))) + 10


@pytest.mark.parametrize("first", ["client", "origin"])
def test_a_half_close_passes_through_the_tunnel(faultline, tunnel, first):
    client, upstream = tunnel(faultline.socks_proxy())
    one, other = (client, upstream) if first == "client" else (upstream, client)
    one.sendall(b"my last words")
    one.shutdown(socket.SHUT_WR)

    assert to_end(other) == (b"my last words", "FIN")
    other.sendall(b"and now me")
    other.shutdown(socket.SHUT_WR)
    assert to_end(one) == (b"and now me", "FIN")


def test_a_request_that_comes_byte_by_byte_is_understood(faultline, listener, accepted, dial):
    proxy = faultline.socks_proxy()
    client = dial(proxy)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in HELLO + request_5("localhost", port_of(listener)):
        client.sendall(bytes((byte,)))

    accepted()
    assert exactly(client, len(GRANTED)) == GRANTED


@pytest.mark.parametrize("to", ["server", "address"])
def test_every_way_leads_to_one_server(faultline, dial, to):
    origin = faultline.serve(ok(b"mine"))
    proxy = faultline.socks_proxy(to=origin if to == "server" else origin.hostport)

    for asks in (HELLO + request_5("192.0.2.1", 80), HELLO + request_5("2001:db8::1", 80), request_4("a.invalid", 80)):
        client = dial(proxy, asks)
        granted = exactly(client, 8 if asks[0] == 4 else len(GRANTED))
        assert granted in (GRANTED, b"\0Z" + bytes(6))
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert to_end(client)[0].endswith(b"mine")


# --- ways that lead nowhere -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
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

    client = dial(proxy, HELLO + request_5(host, 443))

    assert to_end(client) == (b"\5\0" + b"\5\2\0\1" + bytes(6), "FIN")
    assert {item for item in dialled if item[0] == "socket.connect"} == {("socket.connect", proxy.address)}
    assert not [item for item in dialled if host in repr(item)]
    (attempt,) = proxy.attempts
    where = f"[{ipaddress.ip_address(host)}]:443" if ":" in host else f"{host}:443"
    assert attempt.note == f"{where} is not on this machine; to=… sends clients to a server here"
    assert attempt.struck is None


def test_a_way_to_another_machine_is_rejected_in_socks_4(faultline, dial, dialled):
    proxy = faultline.socks_proxy()

    assert to_end(dial(proxy, request_4("192.0.2.1", 80))) == (b"\0[" + bytes(6), "FIN")
    assert to_end(dial(proxy, request_4("origin.invalid", 80))) == (b"\0[" + bytes(6), "FIN")
    assert asked(proxy) == [("SOCKS4", "192.0.2.1:80"), ("SOCKS4", "origin.invalid:80")]


def test_an_origin_that_refuses_is_said_by_its_reply_code(faultline, dial, nobody):
    proxy = faultline.socks_proxy()
    port = int(nobody.rpartition(":")[2])

    assert to_end(dial(proxy, HELLO + request_5("127.0.0.1", port))) == (b"\5\0\5\5\0\1" + bytes(6), "FIN")
    assert to_end(dial(proxy, request_4("127.0.0.1", port))) == (b"\0[" + bytes(6), "FIN")
    said = f"the upstream {nobody} could not be reached: [Errno 111] Connection refused"
    assert [(a.note, a.struck) for a in proxy.attempts] == [(said, None)] * 2


def test_an_origin_without_a_route_is_said_by_its_reply_code(faultline, dial):
    proxy = faultline.socks_proxy()

    client = dial(proxy, HELLO + request_5("127.255.255.255", 80))  # which TCP can't connect to

    assert to_end(client) == (b"\5\0\5\3\0\1" + bytes(6), "FIN")


def test_an_origin_that_resets_resets_the_client(faultline, dial):
    origin = faultline.serve(reset())
    proxy = faultline.socks_proxy()

    with raises(ConnectionResetError):
        by_requests(origin, proxy)
    (attempt,) = proxy.wait_for_attempts(1, at="end")
    assert (attempt.ended_by, attempt.ended_how) == ("upstream", "RST")


def test_an_origin_that_never_accepts_holds_the_client_until_its_timeout(faultline):
    origin = faultline.serve(blackhole())
    proxy = faultline.socks_proxy()

    with raises(TimeoutError):
        by_requests(origin, proxy, timeout=0.1)
    assert [a.sent_bytes for a in proxy.attempts] == [2]


# --- name and password ------------------------------------------------------------------------------------------------

AUTH = ("us er@home", "p/a:ss%word")


@pytest.mark.parametrize("by", CLIENTS, ids=names)
def test_name_and_password_in_the_url_of_the_proxy_open_it(faultline, by):
    origin = faultline.serve(ok(b"opened"))
    proxy = faultline.socks_proxy(auth=AUTH)

    assert proxy.proxy_url == f"socks5h://us%20er%40home:p%2Fa%3Ass%25word@{proxy.hostport}"
    assert by(origin, proxy) == b"opened"


@pytest.mark.parametrize("by", [by_requests, by_httpx], ids=names)
def test_a_password_that_is_not_ascii_opens_the_proxy_by_its_url(faultline, by):
    origin = faultline.serve(ok(b"opened"))
    proxy = faultline.socks_proxy(auth=("jürgen", "geheimnisträger"))

    assert by(origin, proxy) == b"opened"


@pytest.mark.parametrize("auth", [("user", "wrong"), ("other", "secret"), ("user", "")])
def test_a_wrong_password_is_refused_by_rfc_1929(faultline, dial, auth):
    proxy = faultline.socks_proxy(auth=("user", "secret"))
    name, password = (text.encode() for text in auth)
    client = dial(proxy, b"\5\1\2" + bytes((1, len(name))) + name + bytes((len(password),)) + password)

    assert to_end(client) == (b"\5\2\1\1", "FIN")
    assert proxy.attempts[0].struck is None


def test_who_offers_no_password_is_refused_by_the_method(faultline, dial):
    proxy = faultline.socks_proxy(auth=("user", "secret"))

    assert to_end(dial(proxy, HELLO)) == (b"\5\xff", "FIN")


def test_who_speaks_socks_4_can_show_no_password_and_is_rejected(faultline, listener, dial):
    proxy = faultline.socks_proxy(auth=("user", "secret"))

    assert to_end(dial(proxy, request_4("127.0.0.1", port_of(listener))), 0.5) == (b"\0[" + bytes(6), "FIN")


def test_a_password_that_nobody_wants_is_taken(faultline, dial, listener):
    proxy = faultline.socks_proxy()
    client = dial(proxy, b"\5\1\2\1\1u\1p" + request_5("127.0.0.1", port_of(listener)))

    assert exactly(client, 14) == b"\5\2\1\0" + GRANTED[2:]


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "code"), KINDS_OF_5.items())
def test_each_reply_code_of_socks_5(faultline, dial, kind, code):
    proxy = faultline.socks_proxy(socks_refusal(kind))
    client = dial(proxy, HELLO + request_5("origin.invalid", 443))

    assert to_end(client) == (b"\5\0" + bytes((5, code, 0, 1)) + bytes(6), "FIN")
    (attempt,) = proxy.attempts
    assert (attempt.struck.point, attempt.sent_bytes, attempt.ended_by) == ("response", 12, "server")
    assert asked(proxy) == [("SOCKS5", "origin.invalid:443")]


@pytest.mark.parametrize(("kind", "code"), KINDS_OF_4.items())
def test_each_reply_code_of_socks_4(faultline, dial, kind, code):
    proxy = faultline.socks_proxy(socks_refusal(kind))

    assert to_end(dial(proxy, request_4("origin.invalid", 443))) == (bytes((0, code)) + bytes(6), "FIN")
    assert proxy.attempts[0].struck.point == "response"


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
ROWS = [("socks5h", kind, *said) for kind, said in SAYS_5.items()] + [
    ("socks4a", kind, *said) for kind, said in SAYS_4.items()
]


@pytest.mark.parametrize(("scheme", "kind", "by_pysocks", "by_other"), ROWS, ids=[f"{r[0]}-{r[1]}" for r in ROWS])
def test_each_refusal_has_its_words_in_every_client(faultline, leaks, scheme, kind, *, by_pysocks, by_other):
    origin = faultline.serve(ok())
    proxy = faultline.socks_proxy(socks_refusal(kind), scheme=scheme)

    with pytest.raises(requests.exceptions.ConnectionError) as caught:
        by_requests(origin, proxy)
    assert type(caught.value) is requests.exceptions.ConnectionError
    assert isinstance(root_cause(caught.value), socks.ProxyError)
    assert by_pysocks in str(caught.value)
    for by in (by_python_socks, by_python_socks_asyncio):
        with pytest.raises(python_socks.ProxyError, match=by_other) as caught:
            by(origin, proxy)
        assert caught.type is python_socks.ProxyError
    assert [a.struck.point for a in proxy.attempts] == ["response"] * 3
    assert origin.attempts == ()


@pytest.mark.parametrize("kind", [*KINDS_OF_5, "no_acceptable_method", "unoffered_method"])
def test_each_refusal_is_an_error_of_the_proxy_in_httpx(faultline, leaks, kind):
    origin = faultline.serve(ok())
    proxy = faultline.socks_proxy(socks_refusal(kind))

    with pytest.raises(httpx.ProxyError) as caught:
        by_httpx(origin, proxy)

    words = {
        "no_acceptable_method": "but got NO ACCEPTABLE METHODS.",
        "unoffered_method": "but got USERNAME/PASSWORD.",
    }.get(kind, "Proxy Server could not connect: ")
    assert words in str(caught.value)
    assert len(proxy.attempts) == 1


@pytest.mark.parametrize(
    ("by", "error", "text"),
    [
        (by_requests, requests.exceptions.ConnectionError, "SOCKS5 authentication failed"),
        (by_httpx, httpx.ProxyError, "Invalid username/password"),
        (by_python_socks, python_socks.ProxyError, "Username and password authentication failure"),
        (by_python_socks_asyncio, python_socks.ProxyError, "Username and password authentication failure"),
    ],
    ids=names,
)
def test_bad_credentials_are_refused_although_they_are_right(faultline, leaks, by, error, text):
    origin = faultline.serve(ok())
    proxy = faultline.socks_proxy(socks_refusal("bad_credentials"), auth=("user", "secret"))

    with pytest.raises(error) as caught:
        by(origin, proxy)

    assert caught.type is error
    assert text in str(caught.value)
    (attempt,) = proxy.attempts
    assert (attempt.struck.point, attempt.sent_bytes, attempt.request) == ("response", 4, None)


def test_a_method_that_nobody_offered_is_found_also_for_a_client_that_offers_all(faultline, dial, serves):
    proxy = faultline.socks_proxy(sequence(socks_refusal("unoffered_method"), ok()))

    said, end = to_end(dial(proxy, b"\5\3\0\1\2"))

    assert (said[:1], said[1:] not in (b"\0", b"\1", b"\2", b"\xff"), end) == (b"\5", True, "FIN")
    serves(proxy)


@pytest.mark.parametrize(("command", "what"), [(2, "BIND"), (3, "UDP ASSOCIATE")])
def test_no_command_but_connect_is_supported(faultline, dial, listener, command, what):
    proxy = faultline.socks_proxy()

    client = dial(proxy, HELLO + request_5("127.0.0.1", port_of(listener), command))

    assert to_end(client) == (b"\5\0\5\7\0\1" + bytes(6), "FIN"), what
    if command == 2:
        assert to_end(dial(proxy, request_4("127.0.0.1", port_of(listener), command))) == (b"\0[" + bytes(6), "FIN")
    assert {a.struck for a in proxy.attempts} == {None}


# --- breaks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (stall(), b""),
        (stall(after_bytes=1), b"\5"),
        (stall(after_bytes=2), b"\5\0"),
        (stall(after_bytes=7), GRANTED[:7]),
    ],
    ids=repr,
)
def test_a_proxy_that_falls_silent(faultline, dial, listener, fault, said):
    proxy = faultline.socks_proxy(fault)
    client = dial(proxy, HELLO)
    assert exactly(client, min(2, len(said))) == said[:2]
    client.sendall(request_5("127.0.0.1", port_of(listener)))

    assert exactly(client, len(said[2:])) == said[2:]
    assert to_end(client, SILENCE_SECONDS) == (b"", "silence")
    assert (proxy.attempts[0].struck.point, proxy.attempts[0].sent_bytes) == ("response", len(said))


BROKEN = [
    (stall(), by_requests, requests.exceptions.ConnectTimeout, TimeoutError),
    (stall(), by_python_socks, python_socks.ProxyTimeoutError, TimeoutError),
    (stall(), by_python_socks_asyncio, python_socks.ProxyTimeoutError, TimeoutError),
    (stall(after_bytes=2), by_requests, requests.exceptions.ConnectTimeout, TimeoutError),
    (stall(after_bytes=2), by_python_socks, python_socks.ProxyTimeoutError, TimeoutError),
    (stall(after_bytes=2), by_python_socks_asyncio, python_socks.ProxyTimeoutError, TimeoutError),
    (stall(at="tunnel"), by_requests, requests.exceptions.ReadTimeout, TimeoutError),
    (reset(), by_requests, requests.exceptions.ConnectionError, ConnectionResetError),
    (reset(), by_httpx, httpx.ReadError, ConnectionResetError),
    (reset(), by_python_socks, ConnectionResetError, ConnectionResetError),
    (reset(), by_python_socks_asyncio, ConnectionResetError, ConnectionResetError),
    (close(), by_requests, requests.exceptions.ConnectionError, socks.GeneralProxyError),
    (close(), by_python_socks, python_socks.ProxyError, python_socks.ProxyError),
    (close(), by_python_socks_asyncio, python_socks.ProxyError, python_socks.ProxyError),
    (refuse(), by_requests, requests.exceptions.ConnectionError, ConnectionRefusedError),
    (refuse(), by_httpx, httpx.ConnectError, ConnectionRefusedError),
    (refuse(), by_python_socks, python_socks.ProxyConnectionError, ConnectionRefusedError),
    (refuse(), by_python_socks_asyncio, python_socks.ProxyConnectionError, ConnectionRefusedError),
    (blackhole(), by_requests, requests.exceptions.ConnectTimeout, TimeoutError),
    (blackhole(), by_httpx, httpx.ConnectTimeout, TimeoutError),
    (reset(at="tunnel", after_bytes=5), by_requests, requests.exceptions.ConnectionError, ConnectionResetError),
    (reset(at="tunnel", after_bytes=5), by_httpx, httpx.ReadError, ConnectionResetError),
    (reset(at="tunnel", after_bytes=5), by_python_socks, ConnectionResetError, ConnectionResetError),
    (reset(at="tunnel", after_bytes=5), by_python_socks_asyncio, ConnectionResetError, ConnectionResetError),
    (close(at="tunnel", after_bytes=5), by_httpx, httpx.RemoteProtocolError, httpx.RemoteProtocolError),
]


@pytest.mark.parametrize(
    ("fault", "by", "error", "cause"), BROKEN, ids=[f"{fault!r}-{by.__name__}" for fault, by, *_ in BROKEN]
)
def test_a_proxy_that_breaks(faultline, leaks, fault, by, *, error, cause):
    origin = faultline.serve(ok())
    proxy = faultline.socks_proxy(fault)

    with raises(cause) as caught:
        by(origin, proxy, timeout=0.15 if cause is TimeoutError else 10)

    assert type(caught.value) is error
    assert [a.struck.point for a in proxy.attempts] == [fault.break_.at]


@pytest.mark.parametrize(("verb", "ends"), [(reset, "RST"), (close, "FIN"), (stall, "silence")])
@pytest.mark.parametrize(("trigger", "passes"), [({}, b""), ({"after_bytes": 3}, b"abc"), ({"on": b"cd"}, b"abcd")])
def test_a_break_in_the_tunnel_after_the_very_byte(faultline, tunnel, verb, ends, *, trigger, passes):
    proxy = faultline.socks_proxy(verb(at="tunnel", **trigger))
    client, upstream = tunnel(proxy)
    if trigger:
        upstream.sendall(b"abcdef")

    assert exactly(client, len(passes)) == passes
    assert to_end(client, SILENCE_SECONDS if verb is stall else 10) == (b"", ends)
    (attempt,) = proxy.wait_for_attempts(1, at="tunnel")
    assert (attempt.struck.point, attempt.struck.after_bytes) == ("tunnel", len(passes))
    assert attempt.sent_bytes == len(GRANTED) + len(passes)


def test_a_reset_in_a_tunnel_of_socks_4(faultline, listener, accepted, dial):
    proxy = faultline.socks_proxy(reset(at="tunnel"))
    client = dial(proxy, request_4("127.0.0.1", port_of(listener)))
    accepted()

    assert to_end(client) == (b"\0Z" + bytes(6), "RST")
    assert asked(proxy) == [("SOCKS4", f"127.0.0.1:{port_of(listener)}")]


def test_conditions_hold_in_the_tunnel(faultline, tunnel):
    client, upstream = tunnel(faultline.socks_proxy(corrupt(at_byte=len(GRANTED)) & latency(0.01)))
    upstream.sendall(b"abcdef")

    assert exactly(client, 6) == b"`bcdef"


@pytest.mark.parametrize("fault", [ok(), reset(at="tunnel", after_bytes=100), stall(at="tunnel")], ids=repr)
def test_each_reply_comes_in_one_piece_for_clients_that_read_but_once(faultline, listener, dial, fault):
    proxy = faultline.socks_proxy(fault, strict=False)  # httpcore and socksio are such a client
    client = dial(proxy, HELLO)
    assert exactly(client, 2) == GRANTED[:2]
    client.sendall(request_5("127.0.0.1", port_of(listener)))
    assert exactly(client, 10) == GRANTED[2:]

    assert data_segments(client) == 2  # the method and the reply


# --- plans, controls, ledger ------------------------------------------------------------------------------------------


def test_a_proxy_that_refuses_once_is_asked_again(faultline):
    origin = faultline.serve(ok(b"at last"))
    proxy = faultline.socks_proxy(sequence(socks_refusal("general_failure"), ok()))

    with pytest.raises(requests.exceptions.ConnectionError):
        by_requests(origin, proxy)
    assert by_requests(origin, proxy) == b"at last"
    assert [(a.fault, a.point) for a in proxy.attempts] == [
        (socks_refusal("general_failure"), "response"),
        (ok(), "tunnel"),
    ]


def test_a_plan_that_changes_meets_the_next_client(faultline, tunnel, dial):
    proxy = faultline.socks_proxy()
    client, upstream = tunnel(proxy)
    proxy.become(socks_refusal("not_allowed"))

    upstream.sendall(b"still here")
    assert exactly(client, 10) == b"still here"
    assert to_end(dial(proxy, HELLO + request_5("127.0.0.1", 9)))[0] == b"\5\0\5\2\0\1" + bytes(6)


def test_two_hundred_tunnels_are_held_and_reset_at_once(faultline, listener, accepted, dial):
    proxy = faultline.socks_proxy()
    data = HELLO + request_5("127.0.0.1", port_of(listener))
    clients = [dial(proxy, data) for _ in range(200)]
    upstreams = [accepted() for _ in clients]
    assert {exactly(client, len(GRANTED)) for client in clients} == {GRANTED}
    assert len(proxy.wait_for_attempts(200, at="tunnel")) == 200

    assert proxy.reset_all() == 200

    assert {to_end(client) for client in clients} == {(b"", "RST")}
    assert {to_end(upstream) for upstream in upstreams} == {(b"", "FIN")}
    assert {(a.ended_by, a.ended_how) for a in proxy.attempts} == {("server", "RST")}


def test_a_paused_tunnel_lets_nothing_pass_and_loses_nothing(faultline, tunnel):
    proxy = faultline.socks_proxy()
    client, upstream = tunnel(proxy)
    assert proxy.pause() == 1
    upstream.sendall(b"answer")

    assert to_end(client, SILENCE_SECONDS) == (b"", "silence")
    proxy.resume()
    assert exactly(client, 6) == b"answer"


def test_bytes_and_turns_are_in_the_ledger(faultline, tunnel):
    proxy = faultline.socks_proxy()
    client, upstream = tunnel(proxy)
    client.sendall(b"12345")
    assert exactly(upstream, 5) == b"12345"
    upstream.sendall(b"1234567")
    assert exactly(client, 7) == b"1234567"

    (attempt,) = proxy.attempts
    assert (attempt.received_bytes, attempt.sent_bytes) == (3 + 10 + 5, 12 + 7)
    assert attempt.point == "tunnel"
    assert "SOCKS5 127.0.0.1:" in f"{attempt.request.method} {attempt.request.target}"


def test_the_drawing_shows_the_refusal(faultline, dial):
    proxy = faultline.socks_proxy(socks_refusal("ttl_expired"))
    to_end(dial(proxy, HELLO + request_5("127.0.0.1", 9)))

    assert "socks_refusal('ttl_expired'): struck at 'response'" in proxy.drawing()
    assert repr(proxy) == f"<Proxy socks5h://{proxy.hostport} socks_refusal('ttl_expired')>"


@pytest.mark.parametrize("fault", [reset(at="tunnel"), socks_refusal("garbage")], ids=repr)
def test_a_fault_that_nobody_met_never_struck(fault):
    with pytest.raises(NotStruckError, match=r"never struck: no client connected to 127\.0\.0\.1:"), socks_proxy(fault):
        pass


def test_a_break_in_a_tunnel_to_nowhere_never_struck_and_it_says_why(dial, nobody):
    with pytest.raises(NotStruckError, match=f"the upstream {nobody} could not be reached"):  # noqa: SIM117
        with socks_proxy(reset(at="tunnel")) as proxy:
            to_end(dial(proxy, HELLO + request_5("127.0.0.1", int(nobody.rpartition(":")[2]))))


def test_no_control_character_of_a_client_gets_into_a_message(dial):
    with pytest.raises(NotStruckError) as caught, socks_proxy(reset(at="tunnel")) as proxy:
        to_end(dial(proxy, HELLO + request_5("\x1b[31m\r\nred", 80)))

    assert str(caught.value).isprintable()


# --- hostile clients --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "answered"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", GARBAGE),
        (b"\0", GARBAGE),
        (b"\x16\x03\x01\x02\0", GARBAGE),
        (b"\5\0", b"\5\xff"),
        (b"\5\1\1", b"\5\xff"),
        (HELLO + b"\5\1\0\x63", b"\5\0\5\x08\0\1" + bytes(6)),
        (HELLO + request_5("", 80), b"\5\0\5\2\0\1" + bytes(6)),
        (HELLO + request_5("x" * 255, 80), b"\5\0\5\2\0\1" + bytes(6)),
        (HELLO + request_5("127.0.0.1", 0), b"\5\0\5\5\0\1" + bytes(6)),
        (HELLO + request_5("[::1", 80), b"\5\0\5\2\0\1" + bytes(6)),
        (HELLO + request_5("\0\xff/?#@:", 80), b"\5\0\5\2\0\1" + bytes(6)),
    ],
    ids=[
        "HTTP",
        "zero",
        "TLS",
        "no methods",
        "GSSAPI",
        "a type",
        "no name",
        "a long name",
        "port 0",
        "brackets",
        "bytes",
    ],
)
def test_a_hostile_client_is_answered_and_the_next_one_is_served(faultline, dial, serves, data, answered):
    proxy = faultline.socks_proxy()

    assert to_end(dial(proxy, data)) == (answered, "FIN")
    serves(proxy)


@pytest.mark.parametrize(
    "host", ["127.0.0.1/x", "user@127.0.0.1", "127.0.0.1?", "127.0.0.1#", "127.0.0.1:22", " 127.0.0.1"]
)
def test_a_name_is_taken_as_it_is_and_not_as_a_url(faultline, dial, dialled, host):
    proxy = faultline.socks_proxy()

    assert to_end(dial(proxy, HELLO + request_5(host, 9)))[0] == b"\5\0\5\2\0\1" + bytes(6)
    assert {item for item in dialled if item[0] == "socket.connect"} == {("socket.connect", proxy.address)}


@pytest.mark.parametrize("begins", [b"\4\1\0\x50\x7f\0\0\1", b"\4\1\0\x50\0\0\0\1user\0"], ids=["user", "name"])
def test_a_client_that_never_comes_to_an_end_is_cut_off(faultline, dial, serves, begins):
    proxy = faultline.socks_proxy()
    client = dial(proxy, begins)

    with contextlib.suppress(ConnectionError):
        client.sendall(b"x" * (1 << 20))

    assert to_end(client, 1)[1] in ("FIN", "RST")
    serves(proxy)


@pytest.mark.parametrize("data", [b"", b"\5", b"\5\xff\0", HELLO + b"\5\1\0\3\xff", b"\4\1", b"\4\1\0\x50\x7f\0\0\1"])
@pytest.mark.parametrize("leaves", ["half open", "FIN", "RST"])
def test_a_client_that_stops_in_the_middle_does_no_harm(faultline, dial, serves, data, leaves):
    proxy = faultline.socks_proxy()
    client = dial(proxy, data)
    if leaves == "RST":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
    if leaves == "FIN":
        client.shutdown(socket.SHUT_WR)
    if leaves != "half open":
        (attempt,) = proxy.wait_for_attempts(1, at="end")
        assert (attempt.ended_by, attempt.ended_how) == ("client", leaves)

    serves(proxy)


# --- the environment --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ask", [requests.get, httpx.get], ids=["requests", "httpx"])
def test_clients_take_the_proxy_from_the_environment(faultline, monkeypatch, ask):
    origin = faultline.serve(ok(b"found"))
    proxy = faultline.socks_proxy(auth=("user", "p@ss"))
    proxy.use_as_proxy(monkeypatch)

    assert ask(origin.url, timeout=10).content == b"found"
    assert len(proxy.attempts) == 1
    proxy.use_as_proxy(monkeypatch, no_proxy="127.0.0.1")
    assert ask(origin.url, timeout=10).content == b"found"
    assert len(proxy.attempts) == 1


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (close(at="request", after_messages=0), b""),
        (close(at="request", after_messages=1), b"\5\0"),
        (close(at="response", after_messages=0), b""),
        (close(at="response", after_messages=1), b"\5\0"),
    ],
    ids=repr,
)
def test_the_negotiation_is_counted_by_its_messages(faultline, dial, listener, fault, said):
    proxy = faultline.socks_proxy(fault)
    client = dial(proxy, HELLO)
    assert exactly(client, len(said)) == said
    if said:
        client.sendall(request_5("127.0.0.1", port_of(listener)))

    assert to_end(client) == (b"", "FIN")
    assert proxy.attempts[0].struck.point == fault.break_.at
