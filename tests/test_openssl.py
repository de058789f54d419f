"""TLS by pyOpenSSL: a stapled OCSP answer, a renegotiation and any protocol, which Python's ssl has none of."""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import ssl
import sys

import pytest
from cryptography.x509 import ocsp
from OpenSSL import SSL
from support.tables import each_row

from faultline import (
    NotStruckError,
    ParameterError,
    UnsupportedError,
    bad_cert,
    bad_tls,
    drip,
    echo,
    ok,
    receive_until,
    script,
    send,
    sequence,
    serve,
    starttls,
)

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@contextlib.contextmanager
def asking(server, check=lambda _status: True):
    """A client with pyOpenSSL that trusts the CA and asks for an OCSP answer; what it got, and its connection."""
    answers = []

    def on_answer(_connection, answer, _data):
        answers.append(answer)
        return check(ocsp.load_der_ocsp_response(answer).certificate_status) if answer else True

    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.load_verify_locations(server.ca_file)
    context.set_verify(SSL.VERIFY_PEER)
    context.set_ocsp_client_callback(on_answer)
    with socket.create_connection(server.address, 5) as raw:
        raw.settimeout(None)
        connection = SSL.Connection(context, raw)
        connection.request_ocsp()
        connection.set_connect_state()
        yield answers, connection
        connection.close()


@contextlib.contextmanager
def dialled(server, options=0, protocols=()):
    """A connection with Python's ssl, in TLS 1.2 or better."""
    context = server.client_context()
    context.options |= options
    if protocols:
        context.set_alpn_protocols(protocols)
    with socket.create_connection(server.address, 5) as raw, context.wrap_socket(raw, server_hostname="localhost") as c:
        yield c


def ask(client):
    """A request, and its response as http.client reads it."""
    client.sendall(GET)
    with contextlib.closing(http.client.HTTPResponse(client)) as response:  # its file, too, where `begin` raises
        response.begin()
        return response.status, response.read()


# --- stapling --------------------------------------------------------------------------------------------------------


def test_client_that_asks_is_told_that_the_certificate_is_revoked(faultline):
    server = faultline.serve(bad_cert("revoked", staple=True))
    refusing = asking(server, lambda status: status is not ocsp.OCSPCertStatus.REVOKED)
    with refusing as (answers, client), pytest.raises(SSL.Error, match="invalid status response"):
        client.do_handshake()

    (answer,) = answers
    assert ocsp.load_der_ocsp_response(answer).certificate_status is ocsp.OCSPCertStatus.REVOKED
    (attempt,) = server.wait_for_attempts(1, at="end")
    assert (attempt.ended_by, attempt.tls.alert) == ("client", "bad_certificate_status_response")


def test_client_that_does_not_mind_gets_the_response(faultline):
    server = faultline.serve(bad_cert("revoked", staple=True) & ok(b"hello"))
    with asking(server) as (answers, client):
        client.do_handshake()
        client.sendall(GET)

        assert client.recv(1000).endswith(b"\r\n\r\nhello")
    assert len(answers) == 1


def test_client_of_pythons_ssl_does_not_ask_and_can_look_into_the_list(faultline):
    server = faultline.serve(bad_cert("revoked", staple=True))
    with dialled(server, protocols=["http/1.1"]) as client:
        assert (client.selected_alpn_protocol(), ask(client)) == ("http/1.1", (200, b"ok\n"))

    context = server.client_context()
    context.load_verify_locations(server.crl_file)
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    with socket.create_connection(server.address, 5) as raw, pytest.raises(ssl.SSLCertVerificationError) as raised:
        context.wrap_socket(raw, server_hostname="localhost")
    assert raised.value.verify_code == 23


def test_no_protocol_is_agreed_with_a_client_that_has_another(faultline):
    server = faultline.serve(bad_cert("revoked", staple=True))
    with dialled(server, protocols=["h2"]) as client:
        assert (client.selected_alpn_protocol(), ask(client)[0]) == (None, 200)
    assert (server.attempts[0].tls.offered, server.attempts[0].tls.alpn) == (("h2",), "")


def test_intermediates_go_with_a_certificate_whose_keys_are_weak(faultline):
    server = faultline.serve(bad_cert("weak_key") & bad_tls("renegotiate"), strict=False)
    with pytest.raises(ssl.SSLCertVerificationError) as raised, dialled(server):
        pass
    assert raised.value.verify_code == 66

    server = faultline.serve(bad_cert("reversed_chain") & bad_tls("renegotiate"))
    with dialled(server) as client:
        assert ask(client) == (200, b"ok\n")


def test_client_that_speaks_no_tls_is_told_so(faultline):
    server = faultline.serve(bad_cert("revoked", staple=True), strict=False)
    with socket.create_connection(server.address, 5) as client:
        client.sendall(GET)
        while client.recv(100):
            pass

    (attempt,) = server.wait_for_attempts(1, at="end")
    assert attempt.note.startswith("the client did not speak TLS: ")
    assert attempt.tls.version == ""


def test_both_ends_end_the_session_in_an_orderly_way(faultline):
    server = faultline.serve(bad_cert("revoked", staple=True) & echo())
    with dialled(server) as client:
        assert ask(client)[0] == 200
        with client.unwrap() as plain:
            assert plain.recv(1) == b""


@each_row(
    ("fault", "said"),
    [
        (bad_cert("revoked", staple=True), GET[:10]),
        (bad_tls("renegotiate"), GET[:10]),
    ],
)
def test_client_that_ends_the_session_has_left(faultline, fault, said):
    server = faultline.serve(fault, strict=False)
    with dialled(server) as client:
        client.sendall(said)
        client.setblocking(False)
        with pytest.raises(ssl.SSLWantReadError):  # it waits for the server's close_notify
            client.unwrap()
    (attempt,) = server.wait_for_attempts(1, at="end")
    assert attempt.received_bytes == len(said)


def test_reset_inside_the_session_is_a_reset(faultline):
    server = faultline.serve(bad_cert("revoked", staple=True))
    with dialled(server) as client:
        client.sendall(GET[:10])
        server.wait_for_attempts(1, at="request")

    (attempt,) = server.wait_for_attempts(1, at="end")
    assert (attempt.ended_by, attempt.received_bytes) == ("client", 10)


# --- renegotiation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slow", [False, True])
def test_client_that_agrees_to_a_new_handshake_gets_the_response(faultline, slow):
    fault = bad_tls("renegotiate") & ok(b"hello")
    slowly = fault & drip(100, every_seconds=0, direction="request")  # fewer bytes are one piece
    server = faultline.serve(slowly if slow else fault, strict=not slow)
    with dialled(server) as client:
        assert (client.version(), ask(client)) == ("TLSv1.2", (200, b"hello"))
    (attempt,) = server.attempts
    assert (attempt.struck.point, attempt.tls.version) == ("response", "TLSv1.2")


@pytest.mark.parametrize("count", [1, 10, len(GET) - 1, len(GET)])
@pytest.mark.parametrize("when", ["with the first request", "with the new handshake"])
def test_what_the_client_says_before_its_new_handshake_is_the_next_request(faultline, when, count):
    server = faultline.serve(sequence(bad_tls("renegotiate") & ok(b"hello"), ok(b"goodbye")))
    early, late = GET[:count], GET[count:]
    with dialled(server) as client:
        if when == "with the first request":
            client.sendall(GET + early)
        else:
            client.sendall(GET)
            assert select.select([client], [], [], 10)[0]  # a HelloRequest, which is not read yet
            client.sendall(early)
        assert client.recv(1000).endswith(b"hello")
        if late:
            client.sendall(late)
        assert client.recv(1000).endswith(b"goodbye")

    assert [a.received_bytes for a in server.attempts] == [len(GET)] * 2


def test_client_that_refuses_a_new_handshake_ends_it(faultline):
    server = faultline.serve(bad_tls("renegotiate"))
    with dialled(server, ssl.OP_NO_RENEGOTIATION) as client, pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
        ask(client)
    (attempt,) = server.wait_for_attempts(1, at="end")
    assert attempt.note == "the server ended TLS with the alert handshake_failure: no renegotiation"


def test_client_that_ends_the_session_right_after_its_request_has_left(faultline):
    server = faultline.serve(bad_tls("renegotiate"))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = server.client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(server.address, 5) as client:
        for _ in range(2):
            with pytest.raises(ssl.SSLWantReadError):
                session.do_handshake()
            client.sendall(outgoing.read())
            incoming.write(client.recv(65_536))
        session.do_handshake()
        session.write(GET)
        with pytest.raises(ssl.SSLWantReadError):
            session.unwrap()
        client.sendall(outgoing.read())  # both records at once
        while client.recv(65_536):
            pass
    (attempt,) = server.wait_for_attempts(1, at="end")
    assert (attempt.ended_by, attempt.ended_how, attempt.sent_bytes) == ("client", "FIN", 0)


def test_client_that_hangs_up_instead_of_a_new_handshake_has_left(faultline):
    server = faultline.serve(bad_tls("renegotiate"))
    with dialled(server) as client:
        client.sendall(GET)
        server.wait_for_attempts(1, at="response")
    (attempt,) = server.wait_for_attempts(1, at="end")
    assert (attempt.ended_by, attempt.struck.point) == ("client", "response")


# --- what can't be ---------------------------------------------------------------------------------------------------


# --- a protocol that the client did not offer -------------------------------------------------------------------------

SELECTED = b"\0\x10" + b"\0\x0b" + b"\0\x09" + b"\x08http/1.0"  # the extension: RFC 7301, 3.1
VERSIONS = {"1.2": (ssl.TLSVersion.TLSv1_2, 2), "1.3": (ssl.TLSVersion.TLSv1_3, 8)}  # ServerHello, EncryptedExtensions


@pytest.mark.parametrize("version", VERSIONS)
def test_client_of_openssl_refuses_a_protocol_that_it_did_not_offer(faultline, version):
    server = faultline.serve(bad_tls("alpn_unoffered"))
    context, (only, kind), messages = server.client_context(), VERSIONS[version], []
    context.minimum_version = context.maximum_version = only
    context.set_alpn_protocols(["h2", "http/1.1"])
    context._msg_callback = lambda _c, way, _v, _t, message, data: messages.append((way, int(message), data))
    with socket.create_connection(server.address, 5) as raw, pytest.raises(ssl.SSLError) as caught:
        context.wrap_socket(raw, server_hostname="localhost")

    assert [data for way, message, data in messages if way == "read" and message == kind and SELECTED in data]
    assert caught.value.reason == "BAD_EXTENSION"
    (attempt,) = server.wait_for_attempts(1, at="end")
    assert (attempt.struck.point, attempt.ended_by, attempt.tls.alert) == ("handshake", "client", "decode_error")
    assert (attempt.tls.offered, attempt.tls.alpn) == (("h2", "http/1.1"), "http/1.0")


@each_row(("offered", "told"), [([b"h2"], b"http/1.0"), ([b"http/1.0"], b"faultline")])
def test_client_that_does_not_check_takes_a_protocol_that_it_did_not_offer(faultline, offered, told):
    server = faultline.serve(bad_tls("alpn_unoffered"))
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_alpn_protos(offered)
    client = SSL.Connection(context, None)
    client.set_connect_state()
    with socket.create_connection(server.address, 5) as raw:
        while not client.get_alpn_proto_negotiated():
            with contextlib.suppress(SSL.WantReadError):
                client.do_handshake()
            client.set_alpn_protos([told])  # what it compares with, once its own have gone
            with contextlib.suppress(SSL.WantReadError):
                raw.sendall(client.bio_read(10_000))
            if not client.get_alpn_proto_negotiated():
                client.bio_write(raw.recv(10_000))

    assert client.get_alpn_proto_negotiated() == told
    (attempt,) = server.wait_for_attempts(1, at="end")
    assert (attempt.struck.point, attempt.tls.alpn) == ("handshake", told.decode())


def test_client_without_protocols_gets_the_response_and_none(faultline):
    server = faultline.serve(bad_tls("alpn_unoffered"), strict=False)
    with dialled(server) as client:
        assert (ask(client), client.selected_alpn_protocol()) == ((200, b"ok\n"), None)
    assert server.wait_for_attempts(1, at="end")[0].struck is None


@each_row("kind", ["alpn_unoffered", "alpn_mismatch"])
def test_guard_says_that_the_client_offered_no_protocols(kind):
    with (
        pytest.raises(NotStruckError, match=r"The client offered no protocols: let it offer h2 or http/1\.1 by ALPN\."),
        serve(bad_tls(kind)) as server,
        dialled(server) as client,
    ):
        ask(client)


NEED_OPENSSL = [bad_tls("renegotiate"), bad_tls("alpn_unoffered"), bad_cert("revoked", staple=True)]


@pytest.mark.parametrize("fault", NEED_OPENSSL, ids=repr)
def test_without_pyopenssl_it_is_said_what_to_install(monkeypatch, fault):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "OpenSSL" else sys.modules[name])
    with pytest.raises(
        UnsupportedError, match=r"needs pyOpenSSL, .*; run `pip install \"pytest-faultline\[openssl\]\"`"
    ):
        serve(fault)


@each_row("terms", [bad_tls("only_version"), bad_tls("client_cert_required")])
def test_one_tls_stack_can_not_do_what_the_other_can(terms):
    with pytest.raises(ParameterError, match="expected one of the two; no TLS stack does both here"):
        serve(bad_cert("revoked", staple=True) & terms)


@each_row("fault", NEED_OPENSSL)
def test_mutual_tls_is_not_dropped_for_a_fault(fault):
    with pytest.raises(ParameterError) as caught:
        serve(fault, tls="mutual")
    assert str(caught.value) == f"{fault!r} with tls='mutual': expected one of the two; no TLS stack does both here."


@each_row("fault", [bad_tls("renegotiate"), bad_tls("plaintext_midway")])
def test_script_that_begins_tls_has_a_time_before_it(fault):
    smtp = script(send(b"220\r\n"), receive_until(b"\r\n"), starttls())
    with pytest.raises(ParameterError, match=r"a script with starttls\(\) has a time before it"):
        serve(smtp & fault)


def test_staple_belongs_to_what_is_revoked():
    with pytest.raises(ParameterError, match="expected False with kind='expired'; write kind='revoked'"):
        bad_cert("expired", staple=True)
