"""What seldom happens at a lookup, at a port, or inside the servers of names and datagrams."""

from __future__ import annotations

import contextlib
import socket

import pytest
from support.tables import each_row

from faultline import (
    ParameterError,
    PortError,
    ServerError,
    UnsupportedError,
    addresses,
    bad_cert,
    dns_server,
    duplicate,
    nxdomain,
    ok,
    refuse,
    resolve,
    resolves_to,
    serve,
    socks_proxy,
    udp,
)
from faultline._servers import datagrams
from faultline._servers.names import resolver

NAME = "api.example.com"
QUERY = bytes.fromhex("abcd01000001000000000000") + b"\3api\7example\3com\0" + b"\0\1\0\1"


def test_a_lookup_by_gethostbyaddr_is_one_too():
    with resolve(NAME, resolves_to("127.0.0.9")) as resolver:
        assert socket.gethostbyaddr(NAME) == (NAME, [], ["127.0.0.9"])
        assert socket.gethostbyaddr("127.0.0.9") == (NAME, [], ["127.0.0.9"])
        assert socket.getfqdn("127.0.0.9") == NAME

    assert [a.request.method for a in resolver.attempts] == ["gethostbyaddr"]


def test_an_address_that_is_none_of_ours_keeps_its_name():
    before = socket.gethostbyaddr("127.0.0.1"), socket.getnameinfo(("127.0.0.1", 80), 0)

    with resolve(NAME, nxdomain(), strict=False):
        assert (socket.gethostbyaddr("127.0.0.1"), socket.getnameinfo(("127.0.0.1", 80), 0)) == before
    with resolve(NAME, resolves_to("127.0.0.9")):
        assert socket.gethostbyaddr("127.0.0.1") == before[0]


def test_a_name_in_bytes_that_are_no_text_is_a_name_too():
    with resolve("*", nxdomain()), pytest.raises(socket.gaierror) as raised:
        socket.getaddrinfo(b"\xff.example.com", 80)

    assert raised.value.errno == socket.EAI_NONAME


def test_a_connect_by_a_name_is_a_lookup():
    with serve(ok()) as server, resolve(NAME, resolves_to(server)) as resolver:
        with socket.socket() as client:
            client.connect((NAME, 80))
            assert client.getpeername() == server.address
        with socket.socket(socket.AF_INET6) as client, pytest.raises(socket.gaierror) as raised:
            client.connect((NAME, 80))

    assert raised.value.errno == socket.EAI_ADDRFAMILY
    assert [a.request.method for a in resolver.attempts] == ["connect", "connect"]


@each_row("address", [("127.0.0.1", "80"), (None, 80), ("127.0.0.1",), 80])
def test_what_is_no_address_is_left_to_the_system_to_refuse(address):
    with (
        serve(refuse(), strict=False),  # which counts connects
        resolve(NAME, nxdomain(), strict=False),
        socket.socket() as client,
        pytest.raises(TypeError),
    ):
        client.connect(address)


def test_what_is_no_host_is_left_to_the_system_to_refuse():
    with resolve("*", nxdomain(), strict=False), pytest.raises(TypeError):
        socket.gethostbyaddr(80)


def test_addresses_pass_over_those_that_are_taken():
    with (
        serve(ok(), host="127.0.0.2") as server,
        socket.create_server(("127.0.0.3", server.port)),
        resolve(NAME, addresses("dead_first", server), strict=False),
    ):
        found = [sockaddr[0] for *_, sockaddr in socket.getaddrinfo(NAME, 80, type=socket.SOCK_STREAM)]

    assert found == ["127.0.0.4", "127.0.0.2"]


def test_addresses_without_a_free_one_say_so_and_leave_nothing(monkeypatch):
    monkeypatch.setattr(resolver, "NEIGHBOURS", ("127.0.0.3",))
    before = socket.getaddrinfo

    with (
        serve(ok()) as server,
        socket.create_server(("127.0.0.3", server.port)),
        pytest.raises(ParameterError) as raised,
    ):
        resolve(NAME, addresses("dead_first", server))

    assert str(raised.value) == (
        f"addresses('dead_first', …): expected a free address beside 127.0.0.1:{server.port}; tried 127.0.0.3 and more."
    )
    assert socket.getaddrinfo is before


def test_a_port_that_is_free_for_tcp_alone_is_passed_over(monkeypatch):
    bind, taken = datagrams.bound, []

    def bound(host, port):
        if not taken:
            taken.append(port)
            raise PortError(f"port={port}: expected a free port, but it is in use; choose another or 0.")
        return bind(host, port)

    monkeypatch.setattr(datagrams, "bound", bound)
    with dns_server() as server:
        assert [server.port] != taken


def test_a_machine_without_a_free_port_says_so(monkeypatch):
    monkeypatch.setattr(datagrams, "TRIES", 0)

    for start in (dns_server, lambda: udp(ok())):
        with pytest.raises(PortError, match=r"^port=0: expected a (free UDP )?port .*found none in 0 tries\.$"):
            start()


def test_an_error_in_the_dns_server_fails_it(monkeypatch):
    server = dns_server()
    monkeypatch.setattr("faultline._servers.dns.answered", lambda *_, **__: 1 / 0)

    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.sendto(QUERY, server.address)
    with socket.create_connection(server.address, 10) as client:
        client.sendall(len(QUERY).to_bytes(2, "big") + QUERY)
        assert client.recv(1) == b""
    server.wait_for_attempts(2)
    with pytest.raises(ServerError, match=r"^the DNS server on 127.0.0.1:\d+ broke: ZeroDivisionError"):
        server.close()


def test_an_error_in_the_udp_server_fails_it(monkeypatch):
    server = udp(ok())
    monkeypatch.setattr(server, "_dealer", None)

    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.sendto(b"ping", server.address)
    with pytest.raises(ServerError, match=r"^the UDP server on 127.0.0.1:\d+ broke: AttributeError"):
        server.close()


def test_an_answer_that_has_grown_too_big_is_not_said_to_be_sent():
    with udp(duplicate(10_000)) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 18)
        client.sendto(bytes(60_000), server.address)
        (attempt,) = server.wait_for_attempts(1, at="end")

    assert (attempt.ended_how, attempt.sent_bytes, attempt.note) == ("silence", 0, "Message too long")


def test_a_socks_proxy_speaks_no_tls():
    with pytest.raises(ParameterError) as raised:
        socks_proxy(bad_cert("expired"))

    assert str(raised.value) == (
        "bad_cert('expired'): expected serve(…), relay(…, tls='terminate') or http_proxy(…); "
        "a SOCKS proxy speaks no TLS."
    )


def test_a_unix_socket_is_no_proxy_and_has_no_packets():
    with serve(ok(), unix=True) as server:
        assert server.proxy_url == server.url
        with pytest.raises(UnsupportedError):
            server.partition()
        with contextlib.suppress(OSError), pytest.raises(ParameterError):
            _ = server.port
