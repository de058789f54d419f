"""Stage tls: certificates and terms that a client must refuse, and sessions that break or end oddly."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import select
import socket
import ssl
import threading
from unittest import mock

import aiohttp
import pytest
import requests
import urllib3
from support import HIDES_EOF
from support.clients import OF_NAME
from support.tables import each_row

from faultline import (
    Gate,
    bad_cert,
    bad_tls,
    close,
    half_close,
    hold,
    ok,
    raises,
    receive,
    receive_until,
    reset,
    root_cause,
    script,
    send,
    sequence,
    stall,
    starttls,
    stoptls,
)

pytestmark = pytest.mark.leaves_open

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@pytest.fixture
def trusting():
    """A function that makes a urllib3 pool which trusts the test CA; it is closed after the test."""
    pools = []

    def make(server, context=None, **options):
        context = context or server.client_context()
        options = {"timeout": 10, "retries": False, **OF_NAME, **options}
        pools.append(urllib3.PoolManager(ssl_context=context, **options))
        return pools[-1]

    yield make
    for pool in pools:
        pool.clear()


@pytest.fixture
def behind():
    """The same behind a proxy, of which `scheme` says whether TLS is spoken to it."""
    pools = []

    def make(proxy, scheme):
        contexts = {name: proxy.client_context() for name in ("ssl_context", "proxy_ssl_context")}
        pools.append(urllib3.ProxyManager(f"{scheme}://{proxy.hostport}", timeout=10, retries=False, **contexts))
        return pools[-1]

    yield make
    for pool in pools:
        pool.clear()


def only(version, server, *, certificate=False):
    """A client's context that speaks this version of TLS and no other."""
    context = server.client_context(certificate=certificate)
    context.minimum_version = context.maximum_version = version
    return context


def ends(server):
    """Where each connection was struck, who ended it, and by which alert."""
    return [(a.struck and a.struck.point, a.ended_by, a.tls.alert) for a in server.attempts]


def by_urllib3(server):
    with urllib3.PoolManager(ca_certs=server.ca_file, timeout=10, retries=False) as pool:
        pool.request("GET", server.url)


def by_requests(server):
    requests.get(server.url, verify=server.ca_file, timeout=10)


def by_aiohttp(server, connect="get"):
    async def talk():
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10)) as session:
            await getattr(session, connect)(server.url, ssl=server.client_context())

    asyncio.run(to_its_end(talk(), server))


async def to_its_end(talk, server):
    """What a client says to a server, and then as long as it takes asyncio to close its connections in TLS."""
    try:
        await talk
    finally:
        begun = len(server.attempts)
        await asyncio.to_thread(server.wait_for_attempts, begun, at="end")


def by_asyncio(server, protocol=asyncio.Protocol):
    async def talk():
        loop = asyncio.get_running_loop()
        await loop.create_connection(protocol, *server.address, ssl=server.client_context())

    asyncio.run(talk())


@each_row(
    ("connect", "error", "alert"),
    [
        (by_urllib3, urllib3.exceptions.SSLError, "unknown_ca"),
        (by_requests, requests.exceptions.SSLError, "unknown_ca"),
        (by_aiohttp, aiohttp.ClientConnectorCertificateError, ""),  # asyncio leaves without an alert
        (by_asyncio, ssl.SSLCertVerificationError, ""),
    ],
)
def test_s073_certificate_of_an_unknown_ca(faultline, connect, error, alert):
    server = faultline.serve(bad_cert("untrusted_root"))

    with pytest.raises(error) as caught:
        connect(server)

    cause = root_cause(caught.value)  # aiohttp's error is a certificate error of its own, without the code
    assert (caught.type, cause.reason, cause.verify_code) == (error, "CERTIFICATE_VERIFY_FAILED", 20)
    assert ends(server) == [("handshake", "client", alert)]


def test_s074_self_signed_certificate_of_a_websocket(faultline):
    server = faultline.serve(bad_cert("self_signed"))

    with pytest.raises(aiohttp.ClientConnectorCertificateError) as caught:
        by_aiohttp(server, connect="ws_connect")

    cause = root_cause(caught.value)
    # OpenSSL 1.1.1 writes it without the hyphen
    assert (cause.verify_code, cause.verify_message.replace("-", " ")) == (18, "self signed certificate")
    assert ends(server) == [("handshake", "client", "")]


@pytest.mark.parametrize(("name", "code"), [("localhost", 62), ("127.0.0.1", 64)])
def test_s075_certificate_for_another_host(faultline, trusting, name, code):
    server = faultline.serve(bad_cert("wrong_host"))

    with raises(ssl.SSLCertVerificationError) as caught:
        trusting(server).request("GET", f"https://{name}:{server.port}")

    assert (type(caught.value), caught.cause.verify_code) == (urllib3.exceptions.SSLError, code)
    assert ends(server) == [("handshake", "client", "bad_certificate")]


def test_s075_connection_with_another_name_asked_for_is_not_used_again_without(faultline):
    server = faultline.serve(sequence(bad_cert("wrong_host"), per="connection"))
    context = server.client_context()

    async def talk():
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10)) as session:
            for _ in range(2):
                async with session.get(server.url, ssl=context, server_hostname="wrong-host.invalid") as response:
                    assert await response.read() == b"ok\n"
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await session.get(server.url, ssl=context)

    asyncio.run(to_its_end(talk(), server))
    first, again, other = server.attempts
    assert (first.connection, again.connection, other.connection) == (1, 1, 2)
    assert (first.tls.sni, other.tls.sni) == ("wrong-host.invalid", "")
    assert (first.struck.point, other.struck.point, other.request) == ("handshake", "handshake", None)


@pytest.mark.slow
def test_s076_expired_certificate_is_taken_unverified_and_refused_verified_by_the_same_session(faultline):
    server = faultline.serve(bad_cert("expired"))

    with requests.Session() as session:
        with pytest.warns(urllib3.exceptions.InsecureRequestWarning):
            assert session.get(server.url, verify=False, timeout=10).content == b"ok\n"
        with raises(ssl.SSLCertVerificationError) as caught:
            session.get(server.url, verify=server.ca_file, timeout=10)

    assert (type(caught.value), caught.cause.verify_code) == (requests.exceptions.SSLError, 10)
    assert ends(server) == [("handshake", "server", ""), ("handshake", "client", "certificate_expired")]


def test_s077_certificate_that_is_not_valid_yet(faultline, trusting):
    server = faultline.serve(bad_cert("not_yet_valid"))

    with raises(ssl.SSLCertVerificationError) as caught:
        trusting(server).request("GET", server.url)

    assert (type(caught.value), caught.cause.verify_code) == (urllib3.exceptions.SSLError, 9)
    assert ends(server) == [("handshake", "client", "bad_certificate")]


def test_s077_client_whose_clock_is_wrong_is_told_so(faultline, trusting, monkeypatch):
    server = faultline.serve(bad_cert("not_yet_valid"))
    monkeypatch.setattr("urllib3.connection.RECENT_DATE", datetime.date.max)

    with pytest.warns(urllib3.exceptions.SystemTimeWarning), raises(ssl.SSLCertVerificationError) as caught:
        trusting(server).request("GET", server.url)

    assert caught.cause.verify_code == 9
    assert ends(server) == [("handshake", "client", "bad_certificate")]


def test_s079_fingerprint_that_differs_from_the_pinned_one_twice(faultline, trusting):
    server = faultline.serve(bad_cert("pinned_changed"))
    pinned = hashlib.sha256(ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(server.address))).hexdigest()
    pool = trusting(server, assert_fingerprint=pinned)

    for _ in range(2):
        with pytest.raises(urllib3.exceptions.SSLError, match="Fingerprints did not match"):
            pool.request("GET", server.url)

    assert [(a.struck is not None, a.ended_by, a.request) for a in server.attempts] == [
        (False, "client", None),
        (True, "client", None),
        (True, "client", None),
    ]


def test_s079_fingerprint_mismatch_of_aiohttp(faultline):
    server = faultline.serve(ok(), tls=True)
    shown = hashlib.sha256(ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(server.address))).digest()

    async def talk():
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10)) as session:
            for _ in range(2):
                with pytest.raises(aiohttp.ServerFingerprintMismatch) as caught:
                    await session.get(server.url, ssl=aiohttp.Fingerprint(bytes(32)))
                assert (caught.value.expected, caught.value.got) == (bytes(32), shown)

    asyncio.run(to_its_end(talk(), server))
    assert [(a.tls.version, a.request) for a in server.attempts] == [("TLSv1.3", None)] * 3


@pytest.mark.parametrize(
    ("kind", "certificate", "reason"),
    [
        ("client_cert_required", False, "SSLV3_ALERT_HANDSHAKE_FAILURE"),
        ("client_cert_rejected", True, "TLSV1_ALERT_UNKNOWN_CA"),
    ],
    ids=["none", "bad"],
)
def test_s080_client_certificate_missing_or_bad_in_tls_1_2(faultline, trusting, kind, certificate, reason):
    server = faultline.serve(bad_tls(kind))
    pool = trusting(server, only(TLS12, server, certificate=certificate))

    with raises(ssl.SSLError) as caught:
        pool.request("GET", server.url, retries=1)

    assert type(caught.value) is urllib3.exceptions.MaxRetryError
    assert (type(caught.value.reason), caught.cause.reason) == (urllib3.exceptions.SSLError, reason)
    assert ends(server) == [("handshake", "server", "")] * 2


@pytest.mark.parametrize(("server_has", "client_has"), [("1.2", TLS13), ("1.3", TLS12)], ids=["newer", "older"])
def test_s082_no_common_version(faultline, trusting, server_has, client_has):
    server = faultline.serve(bad_tls("only_version", version=server_has))

    with raises(ssl.SSLError) as caught:
        trusting(server, only(client_has, server)).request("GET", server.url)

    assert type(caught.value) is urllib3.exceptions.SSLError
    assert caught.cause.reason == "TLSV1_ALERT_PROTOCOL_VERSION"
    assert [(a.struck.point, a.note) for a in server.attempts] == [
        ("handshake", "the server ended TLS with the alert protocol_version: unsupported protocol")
    ]


@pytest.mark.parametrize(
    ("fault", "ciphers", "struck"),
    [(bad_tls("no_shared_cipher"), "DEFAULT", True), (ok(), "AES128-SHA", False)],
    ids=["server", "client"],  # who has the cipher that the other lacks; the certificate's key is no RSA key
)
def test_s083_no_common_cipher(faultline, trusting, fault, ciphers, struck):
    server = faultline.serve(fault, tls=True)
    context = only(TLS12, server)
    context.set_ciphers(ciphers)

    with raises(ssl.SSLError) as caught:
        trusting(server, context).request("GET", server.url)

    assert caught.cause.reason == "SSLV3_ALERT_HANDSHAKE_FAILURE"
    assert [(a.struck is not None, a.note) for a in server.attempts] == [
        (struck, "the server ended TLS with the alert handshake_failure: no shared cipher")
    ]


@pytest.mark.parametrize(
    ("has_list", "code", "alert"),
    [(True, 23, "certificate_revoked"), (False, 3, "unknown_ca")],
    ids=["revoked", "no list"],
)
def test_s085_revoked_certificate_and_no_list_to_find_it_in(faultline, trusting, has_list, code, alert):
    server = faultline.serve(bad_cert("revoked"), strict=has_list)
    context = server.client_context()
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    if has_list:
        context.load_verify_locations(server.crl_file)

    with raises(ssl.SSLCertVerificationError) as caught:
        trusting(server, context).request("GET", server.url)

    assert (type(caught.value), caught.cause.verify_code) == (urllib3.exceptions.SSLError, code)
    assert ends(server) == [("handshake" if has_list else None, "client", alert)]


def test_s086_client_hello_then_fin_never_makes_a_connection(faultline):
    server = faultline.serve(close(at="handshake"))
    protocol = mock.Mock(spec=asyncio.Protocol)

    with pytest.raises(ConnectionResetError):
        by_asyncio(server, lambda: protocol)

    assert (protocol.mock_calls, ends(server)) == ([], [("handshake", "server", "")])


def test_s086_client_hello_then_fin_and_the_name_was_in_it(faultline, trusting):
    server = faultline.serve(close(at="handshake"))

    with raises(ssl.SSLZeroReturnError if HIDES_EOF else ssl.SSLEOFError) as caught:
        trusting(server).request("GET", f"https://localhost:{server.port}")

    assert type(caught.value) is urllib3.exceptions.SSLError
    assert [(a.tls.sni, a.ended_how) for a in server.attempts] == [("localhost", "FIN")]


@pytest.mark.slow
def test_s087_plain_text_and_rst_before_the_client_begins_tls(faultline):
    connected = Gate()
    server = faultline.serve(script(hold(until=connected), send(b"HTTP/1.1 200 OK\r\n\r\n"), reset()))

    with socket.create_connection(server.address, timeout=10) as client:
        connected.open()
        news = select.poll()
        news.register(client, 0)  # what is left is POLLERR and POLLHUP: the RST is there
        news.poll(10_000)
        # CPython refuses it since the releases for CVE-2023-40217: 3.10.13, 3.11.5, 3.12.0.
        with pytest.raises(ssl.SSLError, match="before TLS handshake with data"):
            server.client_context().wrap_socket(client, server_hostname="localhost")

    [attempt] = server.attempts
    assert (attempt.received_bytes, attempt.ended_by, attempt.ended_how) == (0, "server", "RST")


@pytest.mark.parametrize("fault", [bad_tls("plain_http"), ok()], ids=["400 to TLS", "plain server"])
def test_s088_plain_http_where_the_client_speaks_tls_to_its_proxy(faultline, behind, fault):
    proxy = faultline.serve(fault)

    with raises(ssl.SSLError) as caught:
        behind(proxy, "https").request("GET", "http://origin.invalid/")

    assert type(caught.value) is urllib3.exceptions.ProxyError
    assert "Your proxy appears to only use HTTP and not HTTPS" in str(caught.value)
    assert caught.cause.reason == "WRONG_VERSION_NUMBER"
    (attempt,) = proxy.wait_for_attempts(1, at="end")  # the client resets what it does not read
    assert (attempt.ended_by, attempt.ended_how) in (("server", "FIN"), ("client", "RST"))


# From OpenSSL 3.2 on the record layer is a part of its own, and its failures have one name in a session.
NO_RECORD = "WRONG_VERSION_NUMBER" if ssl.OPENSSL_VERSION_INFO < (3, 2) else "RECORD_LAYER_FAILURE"


@pytest.mark.parametrize("after_bytes", [0, 20])
def test_s090_plain_text_in_an_established_session(faultline, trusting, after_bytes):
    server = faultline.serve(bad_tls("plaintext_midway", after_bytes=after_bytes))

    with raises(ssl.SSLError) as caught:
        trusting(server).request("GET", server.url)

    assert (type(caught.value), caught.cause.reason) == (urllib3.exceptions.SSLError, NO_RECORD)
    assert [(a.struck.point, a.sent_bytes) for a in server.attempts] == [("response", after_bytes)]


def test_s091_plain_text_in_a_session_once_is_retried(faultline, trusting):
    broken = bad_tls("plaintext_midway")
    server = faultline.serve(sequence(broken, ok(b"Success")))

    response = trusting(server).request("GET", server.url, retries=1)

    assert (response.status, response.data) == (200, b"Success")
    assert [(a.connection, a.fault) for a in server.attempts] == [(1, broken), (2, ok(b"Success"))]


def test_s093_close_notify_and_the_server_keeps_reading(faultline):
    server = faultline.serve(script(receive_until(b"go"), half_close()), tls=True)

    async def talk():
        reader, writer = await asyncio.open_connection(*server.address, ssl=server.client_context())
        writer.write(b"go" + bytes(4 << 20))
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()

    asyncio.run(talk())
    server.wait_for_attempts(1, at="end")
    assert [a.received_bytes for a in server.attempts] == [2 + (4 << 20)]


@pytest.mark.slow
def test_s095_part_of_a_body_in_tls_then_silence(faultline, trusting):
    server = faultline.serve(ok(b"Hi-Ho") & stall(at="response", on=b"Hi-"), tls=True)

    with raises(TimeoutError) as caught:
        trusting(server).request("GET", server.url, timeout=0.2)

    assert type(caught.value) is urllib3.exceptions.ReadTimeoutError
    assert ends(server) == [("response", "client", "")]


def test_s095_another_thread_shuts_the_connection_down(faultline, trusting):
    server = faultline.serve(ok(b"Hi-Ho") & stall(at="response", on=b"Hi-"), tls=True)
    response = trusting(server).request("GET", server.url, preload_content=False)
    assert response.read(3) == b"Hi-"
    other = threading.Thread(target=response.shutdown)
    other.start()

    with pytest.raises(urllib3.exceptions.ProtocolError, match="Connection broken"):
        response.read()

    other.join()
    assert ends(server) == [("response", "client", "")]


def test_s096_bad_certificate_of_the_origin_behind_a_good_proxy(faultline, behind):
    tunnel = script(receive_until(b"\r\n\r\n"), send(b"HTTP/1.1 200 Connection established\r\n\r\n"), starttls())
    proxy = faultline.serve(tunnel & bad_cert("self_signed"))

    with raises(ssl.SSLCertVerificationError) as caught:
        behind(proxy, "http").request("GET", "https://origin.invalid/")

    assert (type(caught.value), caught.cause.verify_code) == (urllib3.exceptions.SSLError, 18)
    [attempt] = proxy.attempts
    assert attempt.request.body.startswith(b"CONNECT origin.invalid:443 HTTP/1.")  # 1.1 since Python 3.12
    assert (attempt.tls.sni, attempt.tls.alert) == ("origin.invalid", "unknown_ca")


@pytest.mark.parametrize("target", ["http://origin.invalid/", "https://origin.invalid/"], ids=["forwarded", "tunnel"])
def test_s097_bad_certificate_of_the_proxy_itself(faultline, behind, target):
    proxy = faultline.serve(bad_cert("expired"))

    with raises(ssl.SSLCertVerificationError) as caught:
        behind(proxy, "https").request("GET", target)

    assert (type(caught.value), caught.cause.verify_code) == (urllib3.exceptions.ProxyError, 10)
    assert ends(proxy) == [("handshake", "client", "certificate_expired")]


# --- S094: TLS is taken off again, and the session goes on in plain text ----------------------------------------------


def test_s094_session_goes_on_in_plain_text_after_both_have_ended_tls(faultline):
    phases = (starttls(), receive(6), send(b"inside"), stoptls(), receive(5), send(b"after"))
    server = faultline.serve(script(*phases))
    with socket.create_connection(server.address, 5) as raw:
        inside = server.client_context().wrap_socket(raw, server_hostname="localhost", suppress_ragged_eofs=False)
        inside.sendall(b"secret")
        assert inside.recv(6) == b"inside"
        with inside.unwrap() as plain:
            plain.sendall(b"plain")

            assert plain.recv(5) == b"after"
    (attempt,) = server.attempts
    assert (attempt.received_bytes, attempt.sent_bytes) == (11, 11)
