"""Bad TLS: what real clients make of each kind and each alert, and what the ledger says of it."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import itertools
import re
import socket
import ssl
import struct
import sys
import threading
import time
import urllib.error
import urllib.request
import warnings
from dataclasses import dataclass
from typing import get_args

import aiohttp
import httpx
import pytest
import requests
import trustme
import urllib3
from support import read
from support.clients import OF_NAME
from support.secured import by_aiohttp, by_http_client, by_httpx, by_streams, by_urllib
from support.tables import each_row

from faultline import (
    ConflictError,
    NotStruckError,
    ParameterError,
    bad_cert,
    bad_tls,
    close,
    corrupt,
    drip,
    latency,
    ok,
    raises,
    raw,
    root_cause,
    sequence,
    serve,
    throttle,
)
from faultline._core.alerts import CODE_OF, AlertName
from faultline._core.certificates import Certificate, Terms
from faultline._core.fault import Fault
from faultline._servers.loop import background

pytestmark = pytest.mark.leaves_open

TIMEOUT = 10
GET = b"GET /thing HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
OK_BYTES = 86  # of the whole response to it, when all is well
PLAIN = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: 42\r\n\r\n"
PLAIN += b"The plain HTTP port was spoken to in TLS.\n"
FLIGHT_BYTES = 600  # the least that a server says in its first flight, with its certificate
MIDWAY = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}  # what the catalogue promises; OpenSSL 3.0 says the first
TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
# Set by contexts before Python 3.10.11 and 3.11.3 (gh-95494): an end without close_notify is an orderly one.
IGNORE_EOF = getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
# Before the same, it has the reason and not yet the class.
EOF = ssl.SSLEOFError if (3, 10, 11) <= sys.version_info < (3, 11) or sys.version_info >= (3, 11, 3) else ssl.SSLError

both_versions = pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3], ids=["1.2", "1.3"])


# --- clients ---------------------------------------------------------------------------------------------------------


def by_socket(server, context, *, data=GET, suppress_ragged_eofs=True):
    """All that comes after a request, or at which call which error came."""
    received, call = b"", "connect"
    client = context.wrap_socket(
        socket.socket(), server_hostname="localhost", suppress_ragged_eofs=suppress_ragged_eofs
    )
    with contextlib.closing(client):
        client.settimeout(TIMEOUT)
        try:
            client.connect(server.address)
            call = "send"
            client.sendall(data)
            call = "recv"
            while more := client.recv(65_536):
                received += more
        except OSError as error:
            error.call, error.received = call, received
            raise
    return received


def by_strict_socket(server, context):
    return by_socket(server, context, suppress_ragged_eofs=False)


def by_urllib3(server, context):
    with urllib3.PoolManager(ssl_context=context, retries=False, timeout=TIMEOUT, **OF_NAME) as pool:
        return pool.request("GET", f"{server.url}/thing").data


class Adapter(requests.adapters.HTTPAdapter):
    """requests with a context of one's own."""

    def __init__(self, context):
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args, **kwargs):
        super().init_poolmanager(*args, ssl_context=self._context, **OF_NAME, **kwargs)


def by_requests(server, context):
    with requests.Session() as session:
        session.mount("https://", Adapter(context))
        with session.get(f"{server.url}/thing", timeout=TIMEOUT, verify=server.ca_file) as response:
            return response.content


def of_url(fetch):
    """A client of URLs as one of servers."""
    return lambda server, context: fetch(f"{server.url}/thing", context)


CLIENTS = {
    "socket": by_socket,
    "http.client": of_url(by_http_client),
    "urllib": of_url(by_urllib),
    "urllib3": by_urllib3,
    "requests": by_requests,
    "httpx": of_url(by_httpx),
    "aiohttp": of_url(by_aiohttp),
    "asyncio": of_url(by_streams),
}
# What wraps the error of TLS, in the handshake and after it.
IN_HANDSHAKE = {
    "socket": ssl.SSLError,
    "http.client": ssl.SSLError,
    "urllib": urllib.error.URLError,
    "urllib3": urllib3.exceptions.SSLError,
    "requests": requests.exceptions.SSLError,
    "httpx": httpx.ConnectError,
    "aiohttp": aiohttp.ClientConnectorSSLError,
    "asyncio": ssl.SSLError,
}
AFTER_IT = {
    **IN_HANDSHAKE,
    "urllib": ssl.SSLError,
    "httpx": httpx.ReadError,
    "aiohttp": aiohttp.ClientOSError,
}
each_client = pytest.mark.parametrize("client", CLIENTS)


def failure(client, server, context):
    """The type that a client raises, and OpenSSL's error under it: its type and its reason."""
    with raises(ssl.SSLError) as raised:
        CLIENTS[client](server, context)
    root = root_cause(raised.value)
    return type(raised.value), type(root), root.reason


def socket_failure(server, context, **options):
    """At which call of a plain client which error of TLS comes: its type, and its reason."""
    with pytest.raises(ssl.SSLError) as raised:
        by_socket(server, context, **options)
    return raised.value.call, type(raised.value), raised.value.reason


def of_version(context, version):
    """The context, for one version of TLS and no other."""
    with warnings.catch_warnings():  # that 1.0 and 1.1 are old is known
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    return context


def stranger(context):
    """The context, with a certificate that another CA has signed."""
    trustme.CA(key_type=trustme.KeyType.ECDSA).issue_cert("stranger.invalid").configure_cert(context)
    return context


def client_hello(protocols=()):
    """The first bytes of a client that asks for localhost."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if protocols:
        context.set_alpn_protocols(protocols)
    to_server = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), to_server, server_hostname="localhost").do_handshake()
    return to_server.read()


@pytest.fixture
def dial():
    """A function that connects by plain TCP and says something; the connections are closed after the test."""
    with contextlib.ExitStack() as clients:

        def connect(server, data=b"", timeout=TIMEOUT):
            client = clients.enter_context(socket.create_connection(server.address, timeout))
            client.sendall(data)
            return client

        yield connect


@contextlib.contextmanager
def takes_at_least(seconds):
    began = time.monotonic()
    yield
    assert time.monotonic() - began >= seconds


def told(attempt):
    """What the ledger says of a fault that struck."""
    note = re.sub(r"the server ended TLS with the alert \w+", "the server ended TLS", attempt.note)
    return attempt.struck.point, attempt.struck.after_bytes, note, attempt.ended_by, attempt.ended_how


# A client that meets bytes that are no TLS closes with them unread, which sends RST, perhaps before the server's FIN.
EITHER_END = {("server", "FIN"), ("client", "RST")}


# --- alerts ----------------------------------------------------------------------------------------------------------

# Code and level by RFC 8446, 6, RFC 5246, 7.2, RFC 6066, 9, RFC 7301, 3.2 and RFC 7507, 3; then OpenSSL's reason.
ALERTS = {
    "close_notify": (0, 1, ""),
    "unexpected_message": (10, 2, "SSLV3_ALERT_UNEXPECTED_MESSAGE"),
    "bad_record_mac": (20, 2, "SSLV3_ALERT_BAD_RECORD_MAC"),
    "decryption_failed": (21, 2, "TLSV1_ALERT_DECRYPTION_FAILED"),
    "record_overflow": (22, 2, "TLSV1_ALERT_RECORD_OVERFLOW"),
    "decompression_failure": (30, 2, "SSLV3_ALERT_DECOMPRESSION_FAILURE"),
    "handshake_failure": (40, 2, "SSLV3_ALERT_HANDSHAKE_FAILURE"),
    "no_certificate": (41, 2, "SSLV3_ALERT_NO_CERTIFICATE"),
    "bad_certificate": (42, 2, "SSLV3_ALERT_BAD_CERTIFICATE"),
    "unsupported_certificate": (43, 2, "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE"),
    "certificate_revoked": (44, 2, "SSLV3_ALERT_CERTIFICATE_REVOKED"),
    "certificate_expired": (45, 2, "SSLV3_ALERT_CERTIFICATE_EXPIRED"),
    "certificate_unknown": (46, 2, "SSLV3_ALERT_CERTIFICATE_UNKNOWN"),
    "illegal_parameter": (47, 2, "SSLV3_ALERT_ILLEGAL_PARAMETER"),
    "unknown_ca": (48, 2, "TLSV1_ALERT_UNKNOWN_CA"),
    "access_denied": (49, 2, "TLSV1_ALERT_ACCESS_DENIED"),
    "decode_error": (50, 2, "TLSV1_ALERT_DECODE_ERROR"),
    "decrypt_error": (51, 2, "TLSV1_ALERT_DECRYPT_ERROR"),
    "export_restriction": (60, 2, "TLSV1_ALERT_EXPORT_RESTRICTION"),
    "protocol_version": (70, 2, "TLSV1_ALERT_PROTOCOL_VERSION"),
    "insufficient_security": (71, 2, "TLSV1_ALERT_INSUFFICIENT_SECURITY"),
    "internal_error": (80, 2, "TLSV1_ALERT_INTERNAL_ERROR"),
    "inappropriate_fallback": (86, 2, "TLSV1_ALERT_INAPPROPRIATE_FALLBACK"),
    "user_canceled": (90, 1, ""),
    "no_renegotiation": (100, 1, ""),
    "missing_extension": (109, 2, "TLSV13_ALERT_MISSING_EXTENSION"),
    "unsupported_extension": (110, 2, "TLSV1_UNSUPPORTED_EXTENSION"),
    "certificate_unobtainable": (111, 2, "TLSV1_CERTIFICATE_UNOBTAINABLE"),
    "unrecognized_name": (112, 2, "TLSV1_UNRECOGNIZED_NAME"),
    "bad_certificate_status_response": (113, 2, "TLSV1_BAD_CERTIFICATE_STATUS_RESPONSE"),
    "bad_certificate_hash_value": (114, 2, "TLSV1_BAD_CERTIFICATE_HASH_VALUE"),
    "unknown_psk_identity": (115, 2, "TLSV1_ALERT_UNKNOWN_PSK_IDENTITY"),
    "certificate_required": (116, 2, "TLSV13_ALERT_CERTIFICATE_REQUIRED"),
    "no_application_protocol": (120, 2, "TLSV1_ALERT_NO_APPLICATION_PROTOCOL"),
}
# Python 3.10 to 3.13 have no name for these reasons of OpenSSL 3.0, so the error has OpenSSL's words alone.
UNNAMED = {"unknown_psk_identity", "no_application_protocol"}
# Level 1: OpenSSL makes something else of them than an alert that is the error.
WARNED = ("close_notify", "user_canceled", "no_renegotiation")


def test_every_alert_is_tested_below():
    assert set(get_args(AlertName)) == set(ALERTS)
    assert {name for name, (_, level, _) in ALERTS.items() if level == 1} == set(WARNED)


def test_codes_are_those_of_the_rfcs():
    assert {name: code for name, (code, _, _) in ALERTS.items()} == CODE_OF


def test_codes_are_those_of_python_where_it_has_them():
    named = {a.name.removeprefix("ALERT_DESCRIPTION_").lower(): a.value for a in ssl.AlertDescription}
    named["user_canceled"] = named.pop("user_cancelled")  # the RFCs spell it with one l
    later = {name for name, code in named.items() if name not in CODE_OF and code > max(CODE_OF.values())}

    assert {name: CODE_OF.get(name) for name in named if name not in later} == {
        name: code for name, code in named.items() if name not in later
    }
    assert set(CODE_OF) - set(named) >= {"decryption_failed", "no_certificate", "export_restriction"}


@pytest.mark.slow
def test_alert_is_one_record_in_place_of_the_server_hello(faultline, dial):
    server = faultline.serve(sequence(*(bad_tls("alert", alert=name) for name in ALERTS)))
    hello = client_hello()

    said = {name: read(dial(server, hello)) for name in ALERTS}

    assert said == {name: bytes([21, 3, 3, 0, 2, level, code]) for name, (code, level, _) in ALERTS.items()}


@both_versions
def test_error_of_the_client_names_the_alert(faultline, version):
    names = [name for name in ALERTS if name not in WARNED]
    server = faultline.serve(sequence(*(bad_tls("alert", alert=name) for name in names)))
    context = of_version(server.client_context(), version)
    for name in names:
        with pytest.raises(ssl.SSLError) as raised:
            by_socket(server, context)

        assert (raised.value.call, type(raised.value)) == ("connect", ssl.SSLError)
        assert raised.value.reason in {ALERTS[name][2], None if name in UNNAMED else ALERTS[name][2]}
        if name in UNNAMED:
            assert f"tlsv1 alert {name.replace('_', ' ')}" in str(raised.value)
    assert {told(attempt) for attempt in server.attempts} == {("handshake", 0, "", "server", "FIN")}


@both_versions
def test_close_notify_in_the_handshake_is_an_orderly_end(faultline, version):
    server = faultline.serve(bad_tls("alert", alert="close_notify"))

    assert socket_failure(server, of_version(server.client_context(), version)) == (
        "connect",
        ssl.SSLZeroReturnError,
        None,
    )


@both_versions
def test_user_canceled_is_ignored_so_the_fin_after_it_is_the_error(faultline, version):
    server = faultline.serve(bad_tls("alert", alert="user_canceled"))
    context = of_version(server.client_context(), version)
    context.options &= ~IGNORE_EOF

    assert socket_failure(server, context) == ("connect", EOF, "UNEXPECTED_EOF_WHILE_READING")


@both_versions
def test_no_renegotiation_is_an_error_of_its_own_to_openssl(faultline, version):
    server = faultline.serve(bad_tls("alert", alert="no_renegotiation"))

    assert socket_failure(server, of_version(server.client_context(), version)) == (
        "connect",
        ssl.SSLError,
        "NO_RENEGOTIATION",
    )


def test_alert_without_a_name_is_handshake_failure(faultline):
    server = faultline.serve(bad_tls())

    assert socket_failure(server, server.client_context())[2] == "SSLV3_ALERT_HANDSHAKE_FAILURE"


@pytest.mark.slow
def test_client_that_says_more_than_its_hello_gets_the_alert_and_no_rst(faultline, dial):
    server = faultline.serve(bad_tls("alert"))

    for _ in range(50):
        assert read(dial(server, client_hello() + bytes(1000))) == b"\x15\x03\x03\0\x02\x02\x28"


# --- no TLS at all ---------------------------------------------------------------------------------------------------


@each_row("kind", ["plain_http", "garbage"])
@each_row("client", ["urllib", "requests"])
def test_what_is_no_tls_is_never_taken_for_an_answer(faultline, client, kind):
    server = faultline.serve(bad_tls(kind))

    with raises(ssl.SSLError) as raised:
        CLIENTS[client](server, server.client_context())

    assert type(raised.value) is IN_HANDSHAKE[client]
    assert root_cause(raised.value).reason == "WRONG_VERSION_NUMBER"
    assert "Bad Request" not in repr(raised.value)
    [attempt] = server.attempts
    assert told(attempt)[:3] == ("handshake", 0, "")
    assert told(attempt)[3:] in EITHER_END
    assert (attempt.request, attempt.sent_bytes) == (None, 0)


@each_row(("kind", "said"), [("plain_http", PLAIN), ("garbage", bytes(range(255, 191, -1)))])
def test_exactly_these_bytes_come_instead_of_tls(faultline, dial, kind, said):
    server = faultline.serve(bad_tls(kind))

    assert read(dial(server, client_hello())) == said


# --- versions --------------------------------------------------------------------------------------------------------

VERSIONS = {
    "1.0": ssl.TLSVersion.TLSv1,
    "1.1": ssl.TLSVersion.TLSv1_1,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}


def speaking(server, version):
    """A client context for one version, however old."""
    context = server.client_context()
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return of_version(context, VERSIONS[version])


@each_row(("version", "name"), [("1.0", "TLSv1"), ("1.1", "TLSv1.1"), ("1.2", "TLSv1.2"), ("1.3", "TLSv1.3")])
def test_client_that_has_the_only_version_gets_its_response(faultline, version, name):
    server = faultline.serve(bad_tls("only_version", version=version), strict=False)

    assert len(by_socket(server, speaking(server, version))) == OK_BYTES

    [attempt] = server.attempts
    assert (attempt.tls.version, attempt.struck, attempt.note) == (name, None, "")


# A client below 1.3 says its newest version alone, so an older server answers in its own, and the client refuses
# it (RFC 5246, E.1). The server refuses a client that lists its versions (RFC 8446, 4.2.1), or has older ones alone.
OFFERED = {("1.0", "1.1"), ("1.0", "1.2"), ("1.1", "1.2")}


@each_row(("only", "version"), list(itertools.permutations(VERSIONS, 2)))
def test_client_that_has_another_version_fails(faultline, only, version):
    server = faultline.serve(bad_tls("only_version", version=only))
    reason = "UNSUPPORTED_PROTOCOL" if (only, version) in OFFERED else "TLSV1_ALERT_PROTOCOL_VERSION"

    assert socket_failure(server, speaking(server, version)) == ("connect", ssl.SSLError, reason)

    [attempt] = server.attempts
    answered = VERSIONS[only].name.replace("_", ".") if (only, version) in OFFERED else ""  # as the server's hello says
    assert (attempt.struck.point, attempt.tls.version, attempt.sent_bytes) == ("handshake", answered, 0)


@pytest.mark.slow
@pytest.mark.parametrize("only", ["1.0", "1.1"])
def test_client_gets_the_alert_of_an_old_version(faultline, only):
    server = faultline.serve(bad_tls("only_version", version=only))

    assert socket_failure(server, server.client_context())[2] == "TLSV1_ALERT_PROTOCOL_VERSION"
    [attempt] = server.attempts
    assert told(attempt) == ("handshake", 0, "the server ended TLS: unsupported protocol", "server", "FIN")


def test_only_version_is_1_0_unless_it_is_said():
    assert bad_tls("only_version") == bad_tls("only_version", version="1.0")


# --- ciphers ---------------------------------------------------------------------------------------------------------


@both_versions
def test_client_that_offers_usual_ciphers_shares_none(faultline, version):
    server = faultline.serve(bad_tls("no_shared_cipher"))
    # A client that has nothing below 1.3 fails for its version: the cipher is one of 1.2.
    reason = "SSLV3_ALERT_HANDSHAKE_FAILURE" if version == TLS_1_2 else "TLSV1_ALERT_PROTOCOL_VERSION"

    assert socket_failure(server, of_version(server.client_context(), version)) == ("connect", ssl.SSLError, reason)


@each_client
def test_each_client_gets_the_alert_of_no_shared_cipher(faultline, client):
    server = faultline.serve(bad_tls("no_shared_cipher"))

    assert failure(client, server, server.client_context()) == (
        IN_HANDSHAKE[client],
        ssl.SSLError,
        "SSLV3_ALERT_HANDSHAKE_FAILURE",
    )
    [attempt] = server.attempts
    assert told(attempt) == ("handshake", 0, "the server ended TLS: no shared cipher", "server", "FIN")


def test_client_that_offers_the_null_cipher_gets_the_response(faultline):
    server = faultline.serve(bad_tls("no_shared_cipher"), strict=False)
    context = of_version(server.client_context(), TLS_1_2)
    context.set_ciphers("ECDHE-ECDSA-NULL-SHA:@SECLEVEL=0")

    assert len(by_socket(server, context)) == OK_BYTES
    assert [(a.tls.version, a.struck) for a in server.attempts] == [("TLSv1.2", None)]


# --- protocols -------------------------------------------------------------------------------------------------------


@each_row(("protocols", "version"), [(("h2",), TLS_1_2), (("h2", "http/1.1"), TLS_1_3), (("http/1.1",), TLS_1_2)])
def test_client_that_offers_protocols_is_refused(faultline, protocols, version):
    server = faultline.serve(bad_tls("alpn_mismatch"))
    context = of_version(server.client_context(), version)
    context.set_alpn_protocols(protocols)

    with pytest.raises(ssl.SSLError, match="tlsv1 alert no application protocol") as raised:
        by_socket(server, context)

    assert (raised.value.call, type(raised.value)) == ("connect", ssl.SSLError)
    [attempt] = server.attempts
    assert told(attempt) == ("handshake", 0, "the server ended TLS: no application protocol", "server", "FIN")
    assert (attempt.tls.offered, attempt.tls.alpn, attempt.tls.sni) == (protocols, "", "localhost")


def test_refusal_of_protocols_is_one_record(faultline, dial):
    server = faultline.serve(bad_tls("alpn_mismatch"))
    client = dial(server, client_hello(["h2"]))
    client.shutdown(socket.SHUT_WR)

    assert read(client) == b"\x15\x03\x03\0\x02\x02\x78"


def test_client_that_offers_no_protocols_is_served(faultline):
    server = faultline.serve(bad_tls("alpn_mismatch"), strict=False)

    assert len(by_socket(server, server.client_context())) == OK_BYTES
    assert [(a.tls.offered, a.tls.alpn, a.struck) for a in server.attempts] == [((), "", None)]


# These give the context that they are handed the protocols they speak; the others leave it as it is.
OFFER = {"urllib3", "requests", "httpx"}


@each_client
def test_each_client_offers_what_it_offers(faultline, client):
    server = faultline.serve(bad_tls("alpn_mismatch"), strict=False)

    if client in OFFER:
        with raises(ssl.SSLError) as raised:
            CLIENTS[client](server, server.client_context())
        assert type(raised.value) is IN_HANDSHAKE[client]
        assert "tlsv1 alert no application protocol" in str(root_cause(raised.value))
    else:
        assert CLIENTS[client](server, server.client_context()).endswith(b"ok\n")
    assert [a.tls.offered for a in server.attempts] == [("http/1.1",) if client in OFFER else ()]


@each_row(
    ("protocols", "agreed"), [((), ""), (("http/1.1",), "http/1.1"), (("h2", "http/1.1"), "http/1.1"), (("h2",), "")]
)
def test_healthy_server_agrees_to_http_1_1_and_refuses_nobody(faultline, protocols, agreed):
    server = faultline.serve(ok(), tls=True)
    context = server.client_context()
    if protocols:
        context.set_alpn_protocols(protocols)

    assert len(by_socket(server, context)) == OK_BYTES
    assert [(a.tls.offered, a.tls.alpn) for a in server.attempts] == [(protocols, agreed)]


# --- client certificates ---------------------------------------------------------------------------------------------

NO_CERTIFICATE = "the server ended TLS: peer did not return a certificate"
NOT_VERIFIED = "the server ended TLS: certificate verify failed"


@each_row("kind", ["client_cert_required", "client_cert_rejected"])
@each_row(
    ("version", "call", "reason"),
    [
        (TLS_1_2, "connect", "SSLV3_ALERT_HANDSHAKE_FAILURE"),
        (TLS_1_3, "recv", "TLSV13_ALERT_CERTIFICATE_REQUIRED"),
    ],
)
def test_client_without_a_certificate_is_refused(faultline, kind, version, call, reason):
    server = faultline.serve(bad_tls(kind))
    context = of_version(server.client_context(), version)

    assert socket_failure(server, context) == (call, ssl.SSLError, reason)

    [attempt] = server.attempts
    assert told(attempt) == ("handshake", 0, NO_CERTIFICATE, "server", "FIN")
    assert (attempt.tls.client, attempt.request, attempt.sent_bytes) == ("", None, 0)


@each_row("kind", ["client_cert_required", "client_cert_rejected"])
@each_row(("version", "call"), [(TLS_1_2, "connect"), (TLS_1_3, "recv")])
def test_client_with_a_certificate_of_another_ca_is_refused(faultline, kind, version, call):
    server = faultline.serve(bad_tls(kind))
    context = stranger(of_version(server.client_context(), version))

    assert socket_failure(server, context) == (call, ssl.SSLError, "TLSV1_ALERT_UNKNOWN_CA")

    [attempt] = server.attempts
    assert told(attempt) == ("handshake", 0, NOT_VERIFIED, "server", "FIN")


@each_row(("version", "call"), [(TLS_1_2, "connect"), (TLS_1_3, "recv")])
def test_client_with_the_right_certificate_is_rejected(faultline, version, call):
    server = faultline.serve(bad_tls("client_cert_rejected"))
    context = of_version(server.client_context(certificate=True), version)

    assert socket_failure(server, context) == (call, ssl.SSLError, "TLSV1_ALERT_UNKNOWN_CA")

    [attempt] = server.attempts
    assert told(attempt) == ("handshake", 0, NOT_VERIFIED, "server", "FIN")


@each_row(("client", "version"), [("socket", TLS_1_2), ("requests", TLS_1_3), ("aiohttp", TLS_1_3)])
def test_client_with_the_required_certificate_is_served(faultline, client, version):
    server = faultline.serve(bad_tls("client_cert_required"), strict=False)
    context = of_version(server.client_context(certificate=True), version)

    assert CLIENTS[client](server, context).endswith(b"ok\n")
    assert [(a.tls.client, a.struck, a.note) for a in server.attempts] == [("faultline client", None, "")]


@each_client
def test_each_client_learns_it_after_the_handshake_of_tls_1_3(faultline, client):
    server = faultline.serve(bad_tls("client_cert_required"))

    assert failure(client, server, of_version(server.client_context(), TLS_1_3)) == (
        AFTER_IT[client],
        ssl.SSLError,
        "TLSV13_ALERT_CERTIFICATE_REQUIRED",
    )
    # aiohttp asks once more when the connection of an idempotent request breaks before an answer.
    assert [told(a)[2] for a in server.attempts] == [NO_CERTIFICATE] * (2 if client == "aiohttp" else 1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["client_cert_required", "client_cert_rejected"])
def test_request_that_is_sent_at_once_brings_the_alert_and_never_a_rst(faultline, kind):
    server = faultline.serve(bad_tls(kind))
    context = of_version(server.client_context(), TLS_1_3)

    met = [socket_failure(server, context) for _ in range(50)]

    assert met == [("recv", ssl.SSLError, "TLSV13_ALERT_CERTIFICATE_REQUIRED")] * 50
    assert {a.ended_how for a in server.attempts} == {"FIN"}


def test_upload_that_nobody_reads_brings_the_alert_and_never_a_rst(faultline):
    server = faultline.serve(bad_tls("client_cert_required"))
    upload = b"PUT / HTTP/1.1\r\nHost: test\r\nContent-Length: 1048576\r\n\r\n" + bytes(1 << 20)

    assert socket_failure(server, of_version(server.client_context(), TLS_1_3), data=upload) == (
        "recv",
        ssl.SSLError,
        "TLSV13_ALERT_CERTIFICATE_REQUIRED",
    )


# --- the end ---------------------------------------------------------------------------------------------------------


@both_versions
def test_socket_that_wants_close_notify_misses_it(faultline, version):
    server = faultline.serve(bad_tls("no_close_notify"))
    context = of_version(server.client_context(), version)
    context.options &= ~IGNORE_EOF

    with pytest.raises(EOF) as raised:
        by_strict_socket(server, context)

    assert (raised.value.call, raised.value.reason) == ("recv", "UNEXPECTED_EOF_WHILE_READING")
    assert raised.value.received.endswith(b"\r\n\r\nok\n")


@pytest.mark.skipif(not IGNORE_EOF, reason="OpenSSL before 3.0 has no such option")
def test_socket_that_ignores_an_unexpected_end_does_not_miss_it(faultline):
    server = faultline.serve(bad_tls("no_close_notify"))
    context = server.client_context()
    context.options |= IGNORE_EOF

    assert by_strict_socket(server, context).endswith(b"\r\n\r\nok\n")


@both_versions
def test_socket_that_wants_close_notify_gets_it_from_a_healthy_server(faultline, version):
    server = faultline.serve(raw(b"HTTP/1.1 200 OK\r\n\r\nall of it"), tls=True, strict=False)
    context = of_version(server.client_context(), version)
    context.options &= ~IGNORE_EOF

    assert by_strict_socket(server, context) == b"HTTP/1.1 200 OK\r\n\r\nall of it"


def test_answer_that_ends_without_close_notify_has_no_length(faultline):
    server = faultline.serve(bad_tls("no_close_notify"))

    head = by_socket(server, server.client_context()).partition(b"\r\n\r\n")[0]

    assert b"content-length" not in head.lower()
    assert b"Connection: close" in head


# --- plain text between records --------------------------------------------------------------------------------------


@each_row(("after_bytes", "version"), [(0, TLS_1_2), (20, TLS_1_3), (200, TLS_1_2), (200, TLS_1_3)])
def test_plain_text_between_records_is_an_error_after_so_many_bytes(faultline, after_bytes, version):
    server = faultline.serve(bad_tls("plaintext_midway", after_bytes=after_bytes))

    with pytest.raises(ssl.SSLError) as raised:
        by_socket(server, of_version(server.client_context(), version))

    error = raised.value
    assert (error.call, type(error)) == ("recv", ssl.SSLError)
    assert error.reason in MIDWAY
    assert len(error.received) == after_bytes
    [attempt] = server.attempts
    assert told(attempt)[:3] == ("response", after_bytes, "")
    assert told(attempt)[3:] in EITHER_END
    assert (attempt.sent_bytes, attempt.request.target) == (after_bytes, "/thing")


def test_aiohttp_may_forget_why_a_body_broke_off(faultline):
    server = faultline.serve(bad_tls("plaintext_midway", after_bytes=200))

    with pytest.raises(aiohttp.ClientError) as raised:
        by_aiohttp(server.url, server.client_context())

    # If it has read the head before the plain text came, the body is short; if not, the connection has failed.
    outcomes = {
        aiohttp.ClientPayloadError: aiohttp.http_exceptions.ContentLengthError,
        aiohttp.ClientOSError: ssl.SSLError,
    }
    assert type(root_cause(raised.value)) is outcomes[type(raised.value)]


def test_plain_text_is_on_the_wire_as_it_is(faultline, dial):
    server = faultline.serve(bad_tls("plaintext_midway", after_bytes=20))
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = server.client_context().wrap_bio(to_client, to_server, server_hostname="localhost")
    client, received = dial(server), b""
    while session.version() is None or not received:
        try:
            session.do_handshake()
        except ssl.SSLWantReadError:
            client.sendall(to_server.read())
            received = client.recv(65_536)
            to_client.write(received)
        else:
            break
    session.write(GET)
    client.sendall(to_server.read())

    assert read(client).endswith(PLAIN)


# --- a handshake that takes its time ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "fault", "least"),
    [
        (TLS_1_2, bad_tls("slow_handshake", every_seconds=0.00002), 0.00002 * (FLIGHT_BYTES - 1)),
        (TLS_1_3, drip(200, every_seconds=0.01, direction="handshake"), 0.01 * ((FLIGHT_BYTES - 1) // 200)),
        (TLS_1_2, throttle(50_000, direction="handshake"), FLIGHT_BYTES / 50_000),
        (TLS_1_3, latency(0.02, direction="handshake"), 0.02),
        (TLS_1_2, latency(0.02, jitter_seconds=0.01, direction="handshake"), 0.01),
    ],
    ids=repr,
)
def test_slow_handshake_is_a_right_one(faultline, fault, least, version):
    server = faultline.serve(fault)

    with takes_at_least(least):
        received = by_socket(server, of_version(server.client_context(), version))

    assert len(received) == OK_BYTES
    [attempt] = server.attempts
    assert (attempt.received_bytes, attempt.sent_bytes, attempt.struck) == (len(GET), OK_BYTES, attempt.strikes[0])
    assert attempt.struck.point == "handshake"
    assert (attempt.tls.alert, attempt.note) == ("", "")
    assert attempt.tls.version == {TLS_1_2: "TLSv1.2", TLS_1_3: "TLSv1.3"}[version]


@pytest.mark.slow
def test_latency_is_once_for_each_flight_of_the_server(faultline):
    server = faultline.serve(latency(0.05, direction="handshake"))

    with takes_at_least(0.1):  # RFC 5246, 7.3: hello to hello done, then finished
        by_socket(server, of_version(server.client_context(), TLS_1_2))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "first"),
    [
        (bad_tls("slow_handshake", every_seconds=60), b"\x16"),
        (drip(7, every_seconds=60, direction="handshake"), b"\x16\x03\x03\0\x7a\x02\0"),
    ],
    ids=repr,
)
def test_first_piece_of_the_handshake_has_its_size(faultline, dial, fault, first):
    server = faultline.serve(fault)
    client = dial(server, client_hello())

    assert client.recv(1000) == first
    client.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.recv(1)
    assert [(a.point, a.sent_bytes) for a in server.attempts] == [("handshake", 0)]


@pytest.mark.slow
def test_client_with_a_timeout_gives_a_slow_handshake_up(faultline):
    server = faultline.serve(bad_tls("slow_handshake", every_seconds=60))
    client = server.client_context().wrap_socket(socket.socket(), server_hostname="localhost")
    with contextlib.closing(client):
        client.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.connect(server.address)


def test_handshake_is_slow_by_a_hundredth_of_a_second_unless_it_is_said():
    assert bad_tls("slow_handshake") == drip(1, every_seconds=0.01, direction="handshake")


def test_handshake_condition_leaves_the_response_alone(faultline, dial):
    server = faultline.serve(drip(400, every_seconds=0.001, direction="handshake") & corrupt(at_byte=84))

    assert by_socket(server, server.client_context()).endswith(b"\r\n\r\noj\n")


# Where in the server's first flight: after the heads of record and message and the version, the random of its hello.
RANDOM_BYTE = 5 + 4 + 2


@each_row(
    ("version", "reason", "alert"),
    [
        (TLS_1_2, "BAD_SIGNATURE", "decrypt_error"),
        (TLS_1_3, "DECRYPTION_FAILED_OR_BAD_RECORD_MAC", "bad_record_mac"),
    ],
)
def test_changed_byte_of_the_handshake_is_found_out_by_the_client(faultline, version, reason, alert):
    server = faultline.serve(corrupt(at_byte=RANDOM_BYTE, direction="handshake"))

    assert socket_failure(server, of_version(server.client_context(), version)) == ("connect", ssl.SSLError, reason)

    [attempt] = server.attempts
    assert (attempt.tls.alert, attempt.note) == (alert, f"the client ended TLS with the alert {alert}")
    assert (attempt.ended_by, attempt.ended_how, attempt.sent_bytes) == ("client", "FIN", 0)


def test_byte_beyond_the_handshake_changes_nothing(faultline):
    server = faultline.serve(corrupt(at_byte=1_000_000, direction="handshake"), strict=False)

    assert len(by_socket(server, server.client_context())) == OK_BYTES


@each_row("make", [latency, throttle, drip])
def test_condition_of_the_handshake_makes_a_server_speak_tls(faultline, make):
    server = faultline.serve(make(1, direction="handshake"), strict=False)

    assert server.url.startswith("https://")


# --- what can't be put together --------------------------------------------------------------------------------------


@each_row(
    ("one", "other", "said"),
    [
        (bad_tls("alert"), bad_tls("plain_http"), "expected one break, got two"),
        (bad_tls("only_version"), bad_tls("client_cert_required"), "expected one terms, got two"),
    ],
)
def test_two_of_a_kind_are_an_error_that_names_both(one, other, said):
    with pytest.raises(ConflictError) as raised:
        one & other

    assert str(raised.value) == (f"{one!r} & {other!r}: {said}; deal them to different attempts, or leave one out.")


@each_row("kind", ["alert", "plain_http", "garbage"])
@each_row("other", [bad_cert("expired"), bad_tls("only_version"), latency(1, direction="handshake")])
def test_what_is_said_instead_of_a_handshake_leaves_no_room_for_another_fault_of_it(kind, other):
    with pytest.raises(ConflictError) as raised:
        bad_tls(kind) & other

    assert str(raised.value).startswith(f"{bad_tls(kind)!r} & {other!r}: the conversation ends at 'handshake' ")


@each_row(
    "other",
    [latency(1, direction="both"), drip(direction="response"), corrupt(at_byte=1), drip(direction="request")],
)
def test_handshake_and_the_rest_may_have_conditions_of_one_kind(other):
    fault = latency(2, direction="handshake") & bad_tls("slow_handshake") & other

    assert len(fault.conditions) == 3


OWNERS = {
    "alert": ("alert", "bad_record_mac"),
    "version": ("only_version", "1.2"),
    "after_bytes": ("plaintext_midway", 7),
    "every_seconds": ("slow_handshake", 0.5),
}


@each_row("name", OWNERS)
@each_row("kind", ["alert", "only_version", "plaintext_midway", "slow_handshake", "garbage"])
def test_parameter_belongs_to_one_kind(name, kind):
    owner, value = OWNERS[name]
    if kind == owner:
        assert repr(bad_tls(kind, **{name: value})) in {
            f"bad_tls({kind!r}, {name}={value!r})",
            f"bad_tls({name}={value!r})",  # `alert` is the kind unless it is said
        }
        return

    with pytest.raises(ParameterError) as raised:
        bad_tls(kind, **{name: value})

    assert type(raised.value) is ParameterError
    assert str(raised.value) == f"{name}={value!r}: expected no {name} with kind={kind!r}; write kind={owner!r}."


@each_row(
    ("arguments", "said"),
    [
        ({"kind": "garbag"}, "kind='garbag': expected one of 'plain_http', "),
        ({"kind": "garbag"}, "Did you mean 'garbage'?"),
        ({"alert": "user_cancelled"}, "Did you mean 'user_canceled'?"),
        ({"kind": "only_version", "version": 1.2}, "version=1.2: expected one of '1.0', '1.1', '1.2', '1.3'."),
        (
            {"kind": "plaintext_midway", "after_bytes": -1},
            "after_bytes=-1: expected a whole number of bytes, 0 or more.",
        ),
        (
            {"kind": "slow_handshake", "every_seconds": -1},
            "every_seconds=-1: expected a number of seconds, 0 or more.",
        ),
    ],
)
def test_wrong_argument_is_an_error_that_says_what_was_expected(arguments, said):
    with pytest.raises(ParameterError) as raised:
        bad_tls(**arguments)

    assert said.removesuffix(".") in str(raised.value)


def test_plain_server_can_not_become_one_that_speaks_tls_badly(faultline):
    server = faultline.serve(ok())

    with pytest.raises(ParameterError) as raised:
        server.become(bad_tls("garbage"))

    assert str(raised.value) == ("bad_tls('garbage'): expected tls=True; the server was started without TLS.")


# --- the ledger ------------------------------------------------------------------------------------------------------


@each_row(
    ("fault", "lines"),
    [
        (bad_tls("garbage"), ["struck at 'handshake'"]),
        (bad_tls("alert", alert="unknown_ca"), ["struck at 'handshake'"]),
        (
            bad_tls("no_shared_cipher"),
            ["bad_tls('no_shared_cipher'): struck at 'handshake'", "handshake_failure: no shared cipher"],
        ),
        (
            bad_tls("client_cert_required"),
            ["bad_tls('client_cert_required'): struck at 'handshake'", "peer did not return a certificate"],
        ),
        (bad_tls("plaintext_midway", after_bytes=20), ["20 bytes: HTTP/1.1 200 OK", "struck at 'response' after 20 b"]),
        (bad_tls("no_close_notify"), ["67 bytes: HTTP/1.1 200 OK", "struck at 'response' after 67 bytes"]),
    ],
)
def test_drawing_shows_where_it_struck(faultline, fault, lines):
    server = faultline.serve(fault)
    with pytest.raises(ssl.SSLError) if "no_close" not in repr(fault) else contextlib.nullcontext():
        by_socket(server, server.client_context())

    title, attempt, *drawn = server.drawing(width=120).splitlines()

    version = "" if "no_shared" in repr(fault) else ", TLSv1.3"  # the hello of a server without a cipher is an alert
    protocol = ", HTTP/1.1 in TLSv1.3" if "'response'" in lines[-1] else version
    assert title == f"{server.url} {fault!r}"
    assert attempt == f"#1 {fault!r}, connection 1{protocol}"
    assert "--- connect ---" in drawn[0]
    text = " ".join(" ".join(drawn).split())  # a long note goes on in the next line
    for line in lines:
        assert text.count(line) == 1
    assert [d for d in drawn if "===" in d] == [d for d in drawn if "struck" in d]


@each_row(
    "fault",
    [
        bad_tls("only_version", version="1.2"),
        bad_tls("only_version", version="1.3"),
        bad_tls("client_cert_required"),
    ],
)
def test_guard_says_that_the_client_could_meet_the_terms(fault):
    with pytest.raises(NotStruckError) as raised, serve(fault) as server:
        by_socket(server, server.client_context(certificate=True))

    said = str(raised.value)
    assert said.startswith(f"{fault!r} never struck: #1 GET /thing: {fault!r} reached 'response', ")
    assert said.endswith(" The client accepted these terms of TLS. (strict=False allows it.)")


@dataclass(frozen=True)
class Offer(Terms):
    """Terms that any client can meet: what they say is of no weight."""

    protocols: tuple[str, ...] = ()


HEALTHY = [
    Fault(terms=Offer(protocols=("h2",))),
    Fault(terms=Terms("another", version="1.3")),
    Fault(certificate=Certificate("another", subject="another")),
]


@each_row("fault", HEALTHY)
@each_row("trusts", [True, False])
def test_neutral_terms_and_certificates_never_strike(fault, trusts):
    with serve(fault) as server:
        if trusts:
            by_socket(server, server.client_context())
        else:
            with pytest.raises(ssl.SSLCertVerificationError):
                by_socket(server, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        [attempt] = server.attempts

    assert attempt.struck is None
    assert "struck" not in server.drawing()


@each_row("fault", HEALTHY)
def test_guard_asks_nothing_of_neutral_terms_and_certificates(fault):
    with serve(fault):
        pass


@each_row("kind", ["only_version", "no_shared_cipher", "alpn_mismatch", "client_cert_required"])
def test_guard_is_not_satisfied_by_a_client_that_spoke_no_tls(dial, kind):
    with pytest.raises(NotStruckError) as raised, serve(bad_tls(kind)) as server:
        assert read(dial(server, b"hello")) == b""

    assert str(raised.value).startswith(f"{bad_tls(kind)!r} never struck: #1: {bad_tls(kind)!r} reached 'handshake', ")


@pytest.mark.parametrize("fault", [bad_tls("slow_handshake"), corrupt(at_byte=1, direction="handshake")], ids=repr)
def test_guard_judges_conditions_of_the_handshake(fault):
    with pytest.raises(NotStruckError, match="never struck: no client"), serve(fault):
        pass


# --- together with other faults --------------------------------------------------------------------------------------


def test_terms_and_a_bad_certificate_are_met_in_one_handshake(faultline):
    server = faultline.serve(bad_tls("only_version", version="1.2") & bad_cert("expired"))

    with pytest.raises(ssl.SSLCertVerificationError) as raised:
        by_socket(server, of_version(server.client_context(), TLS_1_2))
    assert raised.value.verify_code == 10
    assert socket_failure(server, of_version(server.client_context(), TLS_1_3))[2] == "TLSV1_ALERT_PROTOCOL_VERSION"

    assert [a.tls.alert for a in server.attempts] == ["certificate_expired", ""]
    assert [a.struck.point for a in server.attempts] == ["handshake", "handshake"]


def test_latency_of_the_response_goes_with_an_end_without_close_notify(faultline):
    server = faultline.serve(latency(0.05) & bad_tls("no_close_notify"))

    with takes_at_least(0.05):
        assert by_socket(server, server.client_context()).endswith(b"ok\n")


@pytest.mark.slow
def test_slow_handshake_comes_before_a_reset(faultline):
    server = faultline.serve(bad_tls("slow_handshake", every_seconds=0.00002) & close(after_bytes=20))

    with takes_at_least(0.00002 * (FLIGHT_BYTES - 1)):
        assert by_socket(server, server.client_context()) == b"HTTP/1.1 200 OK\r\nCon"


def test_each_attempt_of_a_sequence_meets_its_own(faultline):
    plan = (
        bad_tls("alert", alert="internal_error"),
        ok(b"one"),
        bad_tls("only_version", version="1.0"),
        bad_tls("plain_http"),
        bad_tls("client_cert_rejected"),
        bad_tls("plaintext_midway"),
        ok(b"two"),
    )
    server = faultline.serve(sequence(*plan))
    met = []
    for _ in plan:
        try:
            met.append(by_urllib3(server, server.client_context()))
        except urllib3.exceptions.SSLError as error:
            met.append(root_cause(error).reason)

    assert met[:5] == [
        "TLSV1_ALERT_INTERNAL_ERROR",
        b"one",
        "TLSV1_ALERT_PROTOCOL_VERSION",
        "WRONG_VERSION_NUMBER",
        "TLSV13_ALERT_CERTIFICATE_REQUIRED",
    ]
    assert met[5] in MIDWAY
    assert met[6] == b"two"
    assert tuple(a.fault for a in server.attempts) == plan


def test_kept_connection_is_closed_when_the_server_becomes_bad(faultline):
    server = faultline.serve(ok(b"one"), tls=True)
    options = {"ssl_context": server.client_context(), "timeout": TIMEOUT, "retries": False, **OF_NAME}
    with urllib3.PoolManager(**options) as pool:
        assert pool.request("GET", server.url).data == b"one"
        server.wait_for_attempts(1, at="idle")
        server.become(bad_tls("alert", alert="internal_error"))

        with raises(ssl.SSLError) as raised:
            pool.request("GET", server.url)

    assert root_cause(raised.value).reason == "TLSV1_ALERT_INTERNAL_ERROR"
    assert [a.connection for a in server.attempts] == [1, 2]


# --- hostile clients -------------------------------------------------------------------------------------------------

RECORD_BYTES = 16_384  # the most in one record: RFC 8446, 5.1
HUGE = (b"\x16\x03\x01\x40\0" + b"\x01\xff\xff\xff" + bytes(RECORD_BYTES - 4)) + (
    b"\x16\x03\x01\x40\0" + bytes(RECORD_BYTES)
) * 1023

HOSTILE = {
    "nothing": b"",
    "garbage": bytes(range(128, 192)),
    "plain HTTP": GET,
    "half a hello": client_hello()[:200],
    "a record without a message": b"\x16\x03\x01\0\0",
    "a record that is too long": b"\x16\x03\x01\xff\xff\x01\0\xff\xff" + bytes(70_000),
    "a hello of SSL 2": bytes.fromhex("802e0100020015000000"),
    "a hello and no more": client_hello(),
    "16 MiB of one message": HUGE,
}


@pytest.fixture
def leave_nothing():
    """Asserts that its server has left no thread, no task and no conversation."""
    serve(ok()).close()  # the loop and its thread are there from now on
    loop = background().loop
    before = {*threading.enumerate()}, asyncio.all_tasks(loop)
    yield
    assert ({*threading.enumerate()} - before[0], asyncio.all_tasks(loop) - before[1]) == (set(), set())


@pytest.mark.parametrize(("said", "leaving"), [*zip(HOSTILE, itertools.cycle(["FIN", "RST", "silence"]))])
def test_server_serves_the_next_client_after_a_hostile_one(leave_nothing, dial, said, leaving):
    with serve(ok(b"hello"), tls=True) as server:
        client = dial(server)
        with contextlib.suppress(ConnectionError):  # of one that says more than anybody wants to hear
            client.sendall(HOSTILE[said])
        if leaving == "FIN":
            client.shutdown(socket.SHUT_WR)
        elif leaving == "RST":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()

        assert CLIENTS["http.client"](server, server.client_context()) == b"hello"

        assert [a.request.target for a in server.attempts if a.request] == ["/thing"]
    assert server.attempts[0].ended_seconds is not None


SMALL = [name for name in HOSTILE if name != "16 MiB of one message"]
BAD = ["alert", "plain_http", "only_version", "client_cert_required", "alpn_mismatch"]


@pytest.mark.measured
@pytest.mark.parametrize(("said", "kind"), [*zip(SMALL, itertools.cycle(BAD))])
def test_bad_server_ends_with_hostile_clients_connected(leave_nothing, dial, kind, said):
    with serve(bad_tls(kind), strict=False) as server:
        dial(server, HOSTILE[said])
        server.wait_for_attempts(1, at="handshake")

    assert [a.request for a in server.attempts] == [None]


def test_hello_that_comes_byte_by_byte_is_understood(faultline, dial):
    server = faultline.serve(ok(), tls=True)
    client = dial(server)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in client_hello(["http/1.1"]):
        client.sendall(bytes([byte]))

    assert client.recv(3) == b"\x16\x03\x03"
    client.close()
    [attempt] = server.wait_for_attempts(1, at="end")
    assert (attempt.tls.sni, attempt.tls.offered) == ("localhost", ("http/1.1",))


@each_row(
    ("said", "heard", "note"),
    [
        ("garbage", b"", "the client did not speak TLS: "),
        ("plain HTTP", b"", "the client did not speak TLS: http request"),
        ("a record that is too long", b"\x15\x03\x03\0\x02\x02\x16", "the client did not speak TLS: "),
        ("16 MiB of one message", b"\x15\x03\x03\0\x02\x02\x2f", "the client did not speak TLS: "),
    ],
)
def test_client_that_speaks_no_tls_is_told_of_in_the_ledger(faultline, dial, said, heard, note):
    server = faultline.serve(ok(), tls=True)
    client = dial(server, HOSTILE[said])
    client.shutdown(socket.SHUT_WR)

    assert read(client) == heard

    [attempt] = server.attempts
    assert attempt.note.startswith(note)
    assert (attempt.point, attempt.struck, attempt.ended_by) == ("handshake", None, "server")


def test_client_that_leaves_within_its_hello_has_ended_the_attempt(faultline, dial):
    server = faultline.serve(ok(), tls=True)
    client = dial(server, HOSTILE["half a hello"])
    client.close()

    [attempt] = server.wait_for_attempts(1, at="end")
    assert (attempt.ended_by, attempt.ended_how, attempt.note, attempt.tls.sni) == ("client", "FIN", "", "")


def test_plain_client_of_a_tls_server_gets_no_answer(faultline):
    server = faultline.serve(ok(), tls=True)
    client = http.client.HTTPConnection(*server.address, timeout=TIMEOUT)

    with contextlib.closing(client):
        client.request("GET", "/")
        with pytest.raises(http.client.RemoteDisconnected):
            client.getresponse()

    assert [a.note for a in server.attempts] == ["the client did not speak TLS: http request"]
