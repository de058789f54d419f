"""Somebody else's URL leads to a server of ours: each client, each fault, and nobody else is reached."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import shutil
import socket
import ssl
import subprocess
import sys
import warnings

import aiohttp
import httpx
import pytest
import requests
from support.clients import ONE_OF_EACH_WAY
from support.tables import each_row

from faultline import (
    NotStruckError,
    OutsideError,
    ParameterError,
    bad_cert,
    intercept,
    nxdomain,
    ok,
    raises,
    redirect,
    reset,
    resolve,
    resolves_to,
    status,
)

pytestmark = [pytest.mark.usefixtures("nothing_is_left_behind"), pytest.mark.leaves_open]

NAME = "api.example.com"
HTTP = f"http://{NAME}"
HTTPS = f"https://{NAME}"


@pytest.fixture
def dead_port():
    """A port that is taken on all addresses of loopback, and where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("0.0.0.0", 0))
        yield sock.getsockname()[1]


def said(server):
    return [f"{a.request.method} {a.request.target} {a.request.header('host')}" for a in server.attempts if a.request]


# --- an unchanged URL, with each client ------------------------------------------------------------------------------


def test_each_client_meets_the_server_at_a_production_url(faultline, fetch):
    urls = [HTTP, HTTPS, f"{HTTP}:8443", "http://10.0.0.1:8080"]
    servers = [faultline.intercept(url, ok(url.encode()), block_others=True) for url in urls]

    for url, server in zip(urls, servers, strict=True):
        assert fetch(f"{url}/v1", server if url == HTTPS else None) == url.encode()
        assert said(server) == [f"GET /v1 {url.partition('//')[2]}"]
    assert servers[1].attempts[0].tls.sni == NAME


@ONE_OF_EACH_WAY
def test_a_client_meets_the_server_at_a_numeric_host_of_ipv6(faultline, fetch, needs_ipv6):
    server = faultline.intercept("http://[fd00::1]:80", ok(b"mine"), block_others=True)

    assert fetch("http://[fd00::1]:80/v1") == b"mine"

    assert len(server.attempts) == 1


def test_an_address_of_ipv6_is_the_same_in_any_spelling(faultline, needs_ipv6):
    server = faultline.intercept("http://[FD00:0:0:0::1]:80", ok(), block_others=True)

    with socket.socket(socket.AF_INET6) as client:
        client.settimeout(10)
        client.connect(("fd00::1", 80))

    assert len(server.attempts) == 1


def test_a_numeric_host_has_a_certificate_of_its_address(faultline):
    server = faultline.intercept("https://10.0.0.1", ok(b"mine"), block_others=True)

    assert requests.get("https://10.0.0.1/", verify=server.ca_file, timeout=10).content == b"mine"


@each_row("scheme", ["ws", "wss"])
def test_a_websocket_client_meets_the_server(faultline, scheme):
    server = faultline.intercept(f"{scheme}://{NAME}", status(503))

    async def ask():
        connector = aiohttp.TCPConnector(resolver=aiohttp.ThreadedResolver(), ssl=server.client_context())
        async with aiohttp.ClientSession(connector=connector) as session:
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await session.ws_connect(f"{scheme}://{NAME}/feed")
            return caught.value.status

    assert asyncio.run(asyncio.wait_for(ask(), 10)) == 503

    assert said(server) == [f"GET /feed {NAME}"]
    assert server.attempts[0].request.header("upgrade") == "websocket"


@each_row(
    ("url", "port"),
    [
        ("redis://cache.example.com", 6379),
        ("postgresql://db.example.com", 5432),
        ("tcp://mail.example.com:25", 25),
        ("redis://cache.example.com:7000", 7000),
    ],
)
def test_a_scheme_has_a_port(faultline, url, port):
    server = faultline.intercept(url, ok())
    host = url.split("//")[1].split(":")[0]

    with socket.create_connection((host, port), timeout=10) as client:
        assert client.getpeername() == server.address

    assert server.hostport == f"{host}:{port}"


@each_row("spelling", ["HTTPS://API.Example.COM", "https://api.example.com.", "https://api.example.com/"])
def test_a_url_is_intercepted_in_any_spelling(faultline, spelling):
    server = faultline.intercept(spelling, ok(b"mine"))

    assert server.url == HTTPS
    assert requests.get("https://API.example.com/", verify=server.ca_file, timeout=10).content == b"mine"


def test_an_international_name_is_intercepted(faultline):
    server = faultline.intercept("https://bücher.example", ok(b"mine"))

    assert requests.get("https://bücher.example/", verify=server.ca_file, timeout=10).content == b"mine"
    assert server.url == "https://xn--bcher-kva.example"
    assert server.attempts[0].tls.sni == "xn--bcher-kva.example"


@each_row(("call", "host"), [("connect", "localhost"), ("connect_ex", b"localhost")])
def test_a_plain_socket_connects_by_name(faultline, dead_port, call, host):
    server = faultline.intercept(f"http://localhost:{dead_port}", ok())

    with socket.socket() as client:
        client.settimeout(10)
        assert getattr(client, call)((host, dead_port)) in (None, 0)
        assert client.getpeername() == server.address


def test_datagrams_to_a_name_go_to_the_same_address(faultline):
    with socket.socket(type=socket.SOCK_DGRAM) as receiver, socket.socket(type=socket.SOCK_DGRAM) as sender:
        receiver.settimeout(10)
        server = faultline.intercept(f"tcp://{NAME}:9999", ok())
        receiver.bind(server.address)

        assert sender.sendto(b"one", (NAME, 9999)) == 3
        assert sender.sendto(b"two", 0, (NAME, 9999)) == 3

        assert [receiver.recv(9), receiver.recv(9)] == [b"one", b"two"]


def test_the_functions_of_names_know_one_address_that_stands_for_it(faultline):
    server = faultline.intercept(HTTP, ok())

    address = socket.gethostbyname(NAME)

    assert address.startswith("127.")
    assert address != server.address[0]
    assert socket.gethostbyname_ex(NAME) == (NAME, [], [address])
    assert {info[4] for info in socket.getaddrinfo(NAME, 80)} == {(address, 80)}
    assert socket.getnameinfo((address, 80), socket.NI_NUMERICSERV) == (NAME, "80")


def test_another_port_of_the_name_is_refused(faultline, dead_port):
    server = faultline.intercept(HTTP, ok())

    with pytest.raises(ConnectionRefusedError), socket.create_connection((NAME, dead_port), timeout=10):
        pass

    assert server.attempts == ()


def test_what_it_tells_of_itself(faultline):
    server = faultline.intercept(HTTPS, ok())

    assert (server.url, server.hostport) == (HTTPS, f"{NAME}:443")
    assert server.address == ("127.0.0.1", server.port)
    assert repr(server) == f"<Interception {HTTPS} ok()>"
    assert server.drawing() == f"{HTTPS} ok()\n  no client connected"

    server.close()

    assert repr(server) == f"<Interception {HTTPS} ok() closed>"


@each_row(
    ("url", "told"),
    [
        ("http://10.0.0.1:8080", ("http://10.0.0.1:8080", "10.0.0.1:8080")),
        ("http://[fd00::1]", ("http://[fd00::1]", "[fd00::1]:80")),
        ("https://api.example.com:443", ("https://api.example.com", "api.example.com:443")),
        ("http://api.example.com:443", ("http://api.example.com:443", "api.example.com:443")),
        ("tcp://api.example.com:25", ("tcp://api.example.com:25", "api.example.com:25")),
    ],
)
def test_its_url_is_that_of_the_client(faultline, url, told):
    server = faultline.intercept(url, ok())

    assert (server.url, server.hostport) == told


# --- trust -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_trust_makes_requests_accept_it(faultline, monkeypatch):
    server = faultline.intercept(HTTPS, ok(b"mine"))
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(HTTPS, timeout=10)

    server.trust(monkeypatch)

    assert requests.get(HTTPS, timeout=10).content == b"mine"
    assert [a.tls.alert for a in server.attempts] == ["unknown_ca", ""]


def test_trust_makes_httpx_accept_it(faultline, monkeypatch):
    server = faultline.intercept(HTTPS, ok(b"mine"))
    with raises(ssl.SSLCertVerificationError) as caught:
        httpx.get(HTTPS)
    assert type(caught.value) is httpx.ConnectError

    server.trust(monkeypatch)

    assert httpx.get(HTTPS).content == b"mine"

    async def ask():
        async with httpx.AsyncClient() as client:
            return (await client.get(HTTPS)).content

    assert asyncio.run(ask()) == b"mine"


# Every healthy certificate of faultline is one of this machine too.
OWN_NAMES = {("DNS", "localhost"), ("IP Address", "127.0.0.1"), ("IP Address", "0:0:0:0:0:0:0:1")}


@each_row(
    ("url", "kind", "name"),
    [
        (HTTPS, "DNS", NAME),
        ("https://bücher.example", "DNS", "xn--bcher-kva.example"),
        ("https://10.0.0.1", "IP Address", "10.0.0.1"),
    ],
)
def test_the_certificate_is_issued_for_that_name_and_no_other_outside(faultline, url, kind, name):
    server = faultline.intercept(url, ok())

    with (
        socket.create_connection(server.address, timeout=10) as sock,
        server.client_context().wrap_socket(sock, server_hostname=name) as client,
    ):
        names = client.getpeercert()["subjectAltName"]

    assert set(names) - OWN_NAMES == {(kind, name)}


@each_row("other", ["other.example.com", "example.com", "www.api.example.com", "10.0.0.1"])
def test_the_certificate_is_not_accepted_for_another_name(faultline, other):
    server = faultline.intercept(HTTPS, ok())

    with (
        socket.create_connection(server.address, timeout=10) as sock,
        pytest.raises(ssl.SSLCertVerificationError, match="mismatch"),
        server.client_context().wrap_socket(sock, server_hostname=other),
    ):
        pass


def test_a_certificate_that_expired_is_right_in_its_name(faultline):
    server = faultline.intercept(HTTPS, bad_cert("expired"))

    with raises(ssl.SSLCertVerificationError) as caught:
        requests.get(HTTPS, verify=server.ca_file, timeout=10)

    assert "certificate has expired" in caught.cause.verify_message


# --- several at once -------------------------------------------------------------------------------------------------


def test_two_names_with_the_same_port_lead_to_two_servers(faultline):
    one = faultline.intercept("https://one.example.com", ok(b"one"))
    two = faultline.intercept("https://two.example.com", ok(b"two"))

    assert requests.get("https://two.example.com/", verify=two.ca_file, timeout=10).content == b"two"
    assert requests.get("https://one.example.com/", verify=one.ca_file, timeout=10).content == b"one"

    assert (said(one), said(two)) == (["GET / one.example.com"], ["GET / two.example.com"])


def test_two_ports_of_one_name_lead_to_two_servers(faultline):
    plain = faultline.intercept(HTTP, ok(b"plain"))
    secure = faultline.intercept(HTTPS, ok(b"secure"))

    assert requests.get(HTTPS, verify=secure.ca_file, timeout=10).content == b"secure"
    assert requests.get(HTTP, timeout=10).content == b"plain"

    assert (len(plain.attempts), len(secure.attempts)) == (1, 1)


def test_two_ports_of_one_address_lead_to_two_servers(faultline):
    one = faultline.intercept("http://10.0.0.1:81", ok(b"one"), block_others=True)
    two = faultline.intercept("http://10.0.0.1:82", ok(b"two"), block_others=True)

    assert requests.get("http://10.0.0.1:81/", timeout=10).content == b"one"
    assert requests.get("http://10.0.0.1:82/", timeout=10).content == b"two"

    assert (len(one.attempts), len(two.attempts)) == (1, 1)


def test_of_two_interceptions_of_one_url_the_last_counts():
    with intercept(HTTP, ok(b"outer")) as outer:
        with intercept(HTTP, ok(b"inner")):
            assert requests.get(HTTP, timeout=10).content == b"inner"
        assert requests.get(HTTP, timeout=10).content == b"outer"

    assert len(outer.attempts) == 1


def test_a_resolver_lies_over_an_interception(faultline):
    server = faultline.intercept(HTTP, ok(b"mine"))

    with resolve(NAME, nxdomain()), raises(socket.gaierror):
        requests.get(HTTP, timeout=10)

    assert requests.get(HTTP, timeout=10).content == b"mine"
    assert len(server.attempts) == 1


# --- nobody else is reached ------------------------------------------------------------------------------------------


def blocked(what, url=HTTP):
    return f"{what}: expected only {url}, because of block_others=True; intercept that host too."


def dialled(kind, call, address):
    with socket.socket(type=kind) as sock:
        return getattr(sock, call)(address)


def sent(*arguments):
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        return sock.sendto(b"x", *arguments)


async def datagram(address):
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        asyncio.DatagramProtocol, remote_addr=address
    )
    transport.close()


TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
OUTSIDE = [
    ("getaddrinfo('other.example.com')", lambda: socket.getaddrinfo("other.example.com", 80)),
    ("getaddrinfo('Other.Example.com.')", lambda: socket.getaddrinfo("Other.Example.com.", 80)),
    ("gethostbyname('other.example.com')", lambda: socket.gethostbyname("other.example.com")),
    ("gethostbyname_ex('other.example.com')", lambda: socket.gethostbyname_ex("other.example.com")),
    ("connect('other.example.com')", lambda: dialled(TCP, "connect", ("other.example.com", 80))),
    ("connect('other.example.com')", lambda: dialled(TCP, "connect_ex", ("other.example.com", 80))),
    ("connect to 192.0.2.1:80", lambda: dialled(UDP, "connect", ("192.0.2.1", 80))),
    ("connect to 192.0.2.1:80", lambda: dialled(UDP, "connect_ex", ("192.0.2.1", 80))),
    ("sendto to 192.0.2.1:80", lambda: sent(("192.0.2.1", 80))),
    ("sendto to 192.0.2.1:80", lambda: sent(0, ("192.0.2.1", 80))),
    ("sendto('other.example.com')", lambda: sent(("other.example.com", 80))),
    ("getaddrinfo('other.example.com')", lambda: asyncio.run(asyncio.open_connection("other.example.com", 80))),
    ("connect to 192.0.2.1:80", lambda: asyncio.run(asyncio.open_connection("192.0.2.1", 80))),
    ("connect to 192.0.2.1:80", lambda: asyncio.run(datagram(("192.0.2.1", 80)))),
    ("getaddrinfo('other.example.com')", lambda: requests.get("http://other.example.com/", timeout=10)),
    ("connect to 192.0.2.1:80", lambda: requests.get("http://192.0.2.1/", timeout=10)),
    ("connect to 192.0.2.1:80", lambda: socket.create_connection(("192.0.2.1", 80), timeout=10)),
]


@each_row(("what", "reach"), OUTSIDE)
def test_what_leads_outside_is_an_error_that_names_it(faultline, what, reach):
    faultline.intercept(HTTP, ok(), block_others=True, strict=False)

    with pytest.raises(OutsideError) as caught:
        reach()

    assert str(caught.value) == blocked(what)
    assert not isinstance(caught.value, OSError)


@pytest.mark.slow
def test_a_blocked_connect_leaves_no_socket_open_because_clients_close_theirs_after_an_os_error_only(faultline):
    faultline.intercept(HTTP, ok(), block_others=True, strict=False)

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with contextlib.suppress(OutsideError):
            socket.create_connection(("192.0.2.1", 80), timeout=10)
        gc.collect()

    assert [str(w.message) for w in seen] == []


def test_an_address_of_ipv6_outside_is_named_with_its_brackets(faultline, needs_ipv6):
    faultline.intercept(HTTP, ok(), block_others=True, strict=False)

    with pytest.raises(OutsideError) as caught, socket.socket(socket.AF_INET6, UDP) as sock:
        sock.connect(("2001:db8::1", 80))

    assert str(caught.value) == blocked("connect to [2001:db8::1]:80")


@ONE_OF_EACH_WAY
def test_a_client_says_that_it_may_not_go_outside(faultline, fetch):
    server = faultline.intercept(HTTP, ok(), block_others=True, strict=False)

    with raises(OutsideError) as caught:
        fetch("http://other.example.com/")

    assert str(caught.cause) == blocked("getaddrinfo('other.example.com')")
    assert server.attempts == ()


def test_others_are_allowed_without_it():
    with (
        intercept(HTTP, ok()),
        resolve("*", nxdomain()),  # which keeps it from the system
        pytest.raises(socket.gaierror),
    ):
        socket.gethostbyname("other.example.com")


def test_what_is_intercepted_or_resolved_is_no_other(faultline):
    server = faultline.intercept(HTTP, ok(b"mine"), block_others=True)
    faultline.intercept("http://other.example.com", ok(b"other"))
    faultline.resolve("third.example.com", resolves_to(f"127.0.0.1:{server.port}"))

    assert requests.get("http://other.example.com/", timeout=10).content == b"other"
    assert requests.get("http://third.example.com/", timeout=10).content == b"mine"


def test_an_error_of_a_blocked_client_names_the_one_url_that_is_intercepted(faultline):
    faultline.intercept(f"{HTTPS}:8443", ok(), block_others=True, strict=False)

    with pytest.raises(OutsideError) as caught:
        socket.gethostbyname("other.example.com")

    assert str(caught.value) == blocked("gethostbyname('other.example.com')", f"{HTTPS}:8443")


def test_a_blocked_client_that_hides_it_fails_the_guard():
    with (
        pytest.raises(NotStruckError) as caught,
        intercept(HTTP, ok(), block_others=True),
        contextlib.suppress(Exception),
    ):
        socket.gethostbyname("other.example.com")

    assert str(caught.value) == (
        "gethostbyname('other.example.com') was blocked: the client would have reached another machine. "
        "(strict=False allows it, for a test that expects the OutsideError.)"
    )


def test_a_blocked_client_that_says_so_is_heard():
    with pytest.raises(OutsideError), intercept(HTTP, ok(), block_others=True):
        socket.gethostbyname("other.example.com")


def test_a_blocked_client_may_hide_it_if_that_is_allowed():
    with intercept(HTTP, ok(), block_others=True, strict=False), contextlib.suppress(OutsideError):
        socket.gethostbyname("other.example.com")


def test_loopback_and_unix_sockets_still_work(faultline, tmp_path):
    faultline.intercept(HTTP, ok(), block_others=True)
    other = faultline.serve(ok(b"local"))

    assert requests.get(f"http://localhost:{other.port}/", timeout=10).content == b"local"
    assert requests.get(f"{other.url}/", timeout=10).content == b"local"
    assert socket.gethostbyname(socket.gethostname())
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        path = str(tmp_path / "socket")
        listener.bind(path)
        listener.listen()
        client.connect(path)
        assert client.getpeername() == path
    with socket.socket(type=UDP) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10)
        assert sent(receiver.getsockname()) == 1
        assert receiver.recv(9) == b"x"
    one, other_end = socket.socketpair()
    with one, other_end:
        assert one.send(b"x") == 1


def test_ipv6_of_loopback_still_works(faultline, needs_ipv6):
    faultline.intercept(HTTP, ok(), block_others=True)
    other = faultline.serve(ok(b"six"), host="::1")

    assert requests.get(other.url, timeout=10).content == b"six"


def test_a_relay_reaches_its_upstream_while_others_are_blocked(faultline):
    upstream = faultline.serve(ok(b"from upstream"))
    relay = faultline.relay(upstream)
    faultline.intercept(HTTP, ok(), block_others=True)

    assert requests.get(relay.url, timeout=10).content == b"from upstream"


BEYOND = [
    "socket.socket(type=socket.SOCK_DGRAM).sendmsg([b'x'], [], 0, ('192.0.2.1', 80))",
    "socket.socket().connect((b'other.example.com', 80))",
    "socket.socket().connect((b'192.0.2.1', 80))",
    "socket.socket().connect((bytearray(b'192.0.2.1'), 80))",
    "socket.socket().connect_ex((bytearray(b'other.example.com'), 80))",
    "socket.socket().connect(('192.0.2.1', Eighty()))",
    "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', Eighty()))",
    "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', 0, (bytearray(b'192.0.2.1'), 80))",
    "socket.socket(socket.AF_INET6).connect(('::ffff:192.0.2.1', 80))",
    "socket.socket().connect(('3221225985', 80))",
    "socket.gethostbyname(bytearray(b'other.example.com'))",
    "socket.getnameinfo(('192.0.2.1', 80), 0)",
]
BLOCKED = """
import socket, warnings
from faultline import OutsideError, intercept, ok

warnings.simplefilter("ignore")


class Eighty:
    def __index__(self):
        return 80


with intercept("http://api.example.com", ok(), block_others=True, strict=False):
    for code in CODES:
        try:
            eval(code)
        except OutsideError as error:
            print("blocked:", code)
        except OSError as error:
            print("reached:", code)
"""


@pytest.mark.slow
@pytest.mark.measured
def test_less_usual_ways_outside_are_blocked_too():
    """In a network namespace without any network, so that nothing leaves this machine whatever happens."""
    if (
        shutil.which("unshare") is None
        or subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("needs a network namespace of its own")
    command = ["unshare", "-rn", sys.executable, "-c", f"CODES = {BEYOND!r}\n{BLOCKED}"]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.stdout.splitlines() == [f"blocked: {code}" for code in BEYOND], done.stderr


@each_row(
    ("family", "host"),
    [
        *((socket.AF_INET, host) for host in ("0.0.0.0", "127.1", "", b"127.0.0.1", bytearray(b"127.2"), "2130706433")),
        (socket.AF_INET6, "::ffff:127.0.0.1"),
        (socket.AF_INET6, "::"),
    ],
)
def test_each_spelling_of_this_machine_passes(faultline, needs_ipv6, family, host):
    faultline.intercept(HTTP, ok(), block_others=True)
    with socket.socket(family) as client:
        assert client.connect_ex((host, 1)) == errno.ECONNREFUSED


# --- the guard -------------------------------------------------------------------------------------------------------


def test_a_socket_that_outlives_the_interception_keeps_its_connection_until_the_server_ends(faultline):
    server = faultline.intercept(HTTP, ok())
    with socket.create_connection((NAME, 80), timeout=10) as client:
        server.close()
        assert client.recv(1) == b""


# --- with pytest-socket ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def inner(run_inner):
    pytest.importorskip("pytest_socket")
    return run_inner("sockets.py", "-p", "pytest_socket", "--disable-socket", "--allow-hosts=127.0.0.1")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("TestAllowed", 6),  # what is intercepted, and nothing else
        ("TestDisabled", 4),  # no server, but failing lookups
        ("TestInTurn", 6),  # nothing is left behind for the next test
    ],
)
def test_hosts_that_pytest_socket_allows_and_sockets_that_it_disables_stay_so(inner, name, count):
    assert [came for test, came in inner.outcomes.items() if test.startswith(name)] == [["PASSED"]] * count


# --- bad input -------------------------------------------------------------------------------------------------------

ABSOLUTE = "an absolute URL such as 'https://api.example.com'"
ALONE = "a scheme, a host and a port alone, as every path is intercepted; write 'https://api.example.com'"
LONG = f"{'a' * 64}.example.com"
SIZES = "a name of at most 253 bytes, in labels of at most 63 (RFC 1035, 2.3.4)"
SCHEMES = "one of the schemes http, https, ws, wss, redis, rediss, postgresql, tcp"


BAD_URLS = {
    ABSOLUTE: [
        "",
        None,
        5,
        b"https://api.example.com",
        "/v1",
        "v1/things",
        "//api.example.com",
        "https://",
        "https:///v1",
        "https://[::1",
        "https://api.example.com:x",
        "https://api.example.com:65536",
    ],
    f"{ABSOLUTE}; write 'https://api.example.com'": ["api.example.com"],
    f"{ABSOLUTE}; write 'https://api.example.com:443'": ["api.example.com:443"],
    ALONE: [
        "https://api.example.com/v1",
        "https://api.example.com?v=1",
        "https://api.example.com/?v=1",
        "https://api.example.com#top",
        "https://user@api.example.com",
        "https://user:password@api.example.com",
    ],
    SCHEMES: ["ftp://api.example.com", "mailto://api.example.com"],
    "a port, because tcp has no default port, such as 'tcp://api.example.com:5432'": ["tcp://api.example.com"],
}
NAME_ALONE = "a host name alone: no address, URL, port or pattern"
BAD_NAMES = {
    "api..example.com": "a host name without an empty label, such as 'api.example.com'",
    "*": NAME_ALONE,
    "*.example.com": NAME_ALONE,
    LONG: SIZES,
}
FAULT = "a fault such as reset() or ok(), or a plan such as sequence(…)"
BAD_OPTIONS = [
    ({"block_others": "yes"}, "block_others='yes': expected True or False."),
    ({"block_others": 1}, "block_others=1: expected True or False."),
    ({"strict": None}, "strict=None: expected True or False."),
    ({"answer": reset()}, "answer=reset(): expected an answer such as ok(b'…') or echo()."),
    ({"plan": None}, f"plan=None: expected {FAULT}."),
    ({"plan": reset}, f"plan=reset: expected {FAULT}; write reset()."),
    ({"plan": "reset"}, f"plan='reset': expected {FAULT}; write reset()."),
]


def refused(*arguments, **options):
    """The message by which an interception is refused; the fixture sees that nothing of it is left."""
    with pytest.raises(ParameterError) as caught:
        intercept(*arguments, **options).close()
    return str(caught.value)


def test_what_is_no_url_of_a_server_is_refused():
    for expected, urls in BAD_URLS.items():
        for url in urls:
            assert refused(url, ok()) == f"url={url!r}: expected {expected}."
    for url in ("https://api.example.com:0", "https://:password@api.example.com"):
        assert refused(url, ok()).startswith("url=")


def test_a_url_with_a_host_that_is_no_name_is_refused():
    for name, expected in BAD_NAMES.items():
        assert refused(f"https://{name}", ok()) == f"name={name!r}: expected {expected}."


def test_bad_options_are_refused():
    for options, message in BAD_OPTIONS:
        assert refused(HTTPS, **{"plan": ok()} | options) == message


@each_row("options", [{"plan": bad_cert("expired")}, {"plan": ok(), "answer": redirect("downgrade")}])
def test_a_fault_of_tls_is_refused_at_a_url_without_it(options):
    expected = ": expected intercept('https://…', …); a server at http speaks no TLS."
    assert refused(HTTP, strict=False, **options).endswith(expected)


def test_a_client_certificate_needs_a_url_of_tls():
    with pytest.raises(
        ParameterError, match=r"^mutual=True: expected False with url='http://api\.example\.com', which has no TLS"
    ):
        intercept("http://api.example.com", ok(), mutual=True)
