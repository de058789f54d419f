"""The alerts of TLS in the ledger: those of both sides, in every version, with what the handshake had come to."""

from __future__ import annotations

import contextlib
import socket
import ssl

import pytest
from support.tables import each_row

from faultline import bad_tls, close, ok, reset
from faultline._core.alerts import alert, alert_in
from faultline._net.client_hello import version_of
from faultline._net.issue import common_name

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
versions = pytest.mark.parametrize("version", VERSIONS)


def ask(server, context):
    """Ask a server in TLS, and read until it or an error ends the connection."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.suppress(OSError))
        raw = stack.enter_context(socket.create_connection(server.address, 10))
        client = stack.enter_context(context.wrap_socket(raw, server_hostname="localhost"))
        client.sendall(GET)
        while client.recv(65_536):
            pass


def speaking(server, version, *, protocols=("http/1.1",)):
    context = server.client_context()
    context.minimum_version = context.maximum_version = VERSIONS[version]
    context.set_alpn_protocols(protocols)
    return context


def signs(attempt):
    return [(end.by, str(end)) for end in attempt.ends]


@versions
def test_client_without_a_certificate_is_refused_with_facts_and_alert(faultline, version):
    server = faultline.serve(ok(), tls="mutual")
    ask(server, speaking(server, version))
    (attempt,) = server.wait_for_attempts(1, at="end")
    name = {"TLSv1.2": "handshake_failure", "TLSv1.3": "certificate_required"}[version]

    assert (attempt.tls.version, attempt.tls.sni, attempt.tls.offered) == (version, "localhost", ("http/1.1",))
    assert (attempt.tls.alert, attempt.tls.server_alert, attempt.tls.client) == ("", name, "")
    assert signs(attempt)[0] == ("server", f"alert {name}")
    assert {how for _, how in signs(attempt)[1:]} <= {"FIN", "RST"}  # whoever hangs up first
    assert len(signs(attempt)) > 1
    assert attempt.note == f"the server ended TLS with the alert {name}: peer did not return a certificate"


@versions
def test_certificate_of_a_client_that_is_refused_is_named_in_the_ledger(faultline, version):
    server = faultline.serve(bad_tls("client_cert_rejected"), strict=False)
    context = speaking(server, version)
    context.load_cert_chain(server.client_cert_file)
    ask(server, context)
    (attempt,) = server.wait_for_attempts(1, at="end")

    assert (attempt.tls.version, attempt.tls.sni, attempt.tls.client) == (version, "localhost", "faultline client")
    assert (attempt.tls.server_alert, attempt.ended_by) == ("unknown_ca", "server")
    assert ("server", "alert unknown_ca") in signs(attempt)


@versions
def test_alert_of_a_client_is_its_sign_and_the_end_that_was_seen_follows(faultline, version):
    server = faultline.serve(ok())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = VERSIONS[version]
    server = faultline.serve(ok(), tls=True)
    ask(server, context)
    (attempt,) = server.wait_for_attempts(1, at="end")

    assert (attempt.tls.alert, attempt.tls.server_alert) == ("unknown_ca", "")
    assert (attempt.tls.version, attempt.tls.sni) == (version, "localhost")
    assert (attempt.ended_by, attempt.ended_how) == ("client", "FIN")
    assert signs(attempt)[0] == ("client", "alert unknown_ca")


@versions
def test_close_notify_of_both_sides_is_in_the_ledger(faultline, version):
    server = faultline.serve(ok(), tls=True)
    with contextlib.ExitStack() as stack:
        raw = stack.enter_context(socket.create_connection(server.address, 10))
        client = stack.enter_context(speaking(server, version).wrap_socket(raw, server_hostname="localhost"))
        client.sendall(GET.replace(b"close", b"keep-alive"))
        client.recv(65_536)
        stack.enter_context(client.unwrap())
    (attempt,) = server.wait_for_attempts(1, at="end")

    assert [sign for sign in signs(attempt) if sign[1] == "close_notify"] == [
        ("client", "close_notify"),
        ("server", "close_notify"),
    ]
    assert attempt.tls.alert == attempt.tls.server_alert == ""


@versions
@pytest.mark.parametrize(("fault", "sent"), [(close(), True), (reset(), False)])
def test_close_notify_of_a_server_is_recorded_where_it_was_sent(faultline, version, fault, sent):
    server = faultline.serve(fault, tls=True)
    ask(server, speaking(server, version))
    (attempt,) = server.wait_for_attempts(1, at="end")

    assert (("server", "close_notify") in signs(attempt)) is sent


@each_row("name", ["handshake_failure", "internal_error", "unrecognized_name"])
def test_planned_alert_is_in_the_ledger(faultline, name):
    server = faultline.serve(bad_tls("alert", alert=name))
    ask(server, server.client_context())
    (attempt,) = server.wait_for_attempts(1, at="end")

    assert signs(attempt)[0] == ("server", f"alert {name}")


def test_refusal_of_protocols_is_an_alert_in_the_ledger(faultline):
    server = faultline.serve(bad_tls("alpn_mismatch"))
    ask(server, speaking(server, "TLSv1.3", protocols=("h2",)))
    (attempt,) = server.wait_for_attempts(1, at="end")

    assert attempt.tls.server_alert == "no_application_protocol"
    assert (attempt.tls.sni, attempt.tls.offered) == ("localhost", ("h2",))


def test_alert_of_a_server_with_pyopenssl_is_in_the_ledger_too(faultline):
    server = faultline.serve(bad_tls("renegotiate"), strict=False)
    ask(server, speaking(server, "TLSv1.2"))
    (attempt,) = server.wait_for_attempts(1, at="end")

    assert any(end.how in ("alert", "close_notify") for end in attempt.ends)


@each_row(("record", "name"), [(alert("unknown_ca"), "unknown_ca"), (b"", ""), (b"HTTP/1.", "")])
def test_alert_is_known_in_its_record(record, name):
    assert alert_in(record) == name


@each_row("data", [b"", b"\x02\0\0\0", b"\x02\0\0\x04\x01\x01"])
def test_server_hello_that_is_cut_has_no_version(data):
    assert version_of(data) == ""


@each_row("der", [b"", b"junk"])
def test_what_is_no_certificate_has_no_name(der):
    assert common_name(der) == ""
