"""A relay in front of a server that speaks TLS, and the certificate that it shows there."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import shutil
import socket
import ssl
import subprocess
from unittest.mock import Mock

import pytest
from support import accepted, address_of, read
from support.tables import each_row

from faultline import FaultlineError, bad_cert, close, ok, relay, sequence, status, through
from faultline._engine.upstream import UpstreamConnection, UpstreamRefused
from faultline._net.contexts import CLIENT
from faultline._net.issue import authority, issued


def fetch(server, authority=None):
    """The body of a response in TLS, for a client that trusts the CA of a server."""
    context = (authority or server).client_context()
    client = http.client.HTTPSConnection(*server.address, timeout=10, context=context)
    try:
        client.request("GET", "/")
        return client.getresponse().read()
    finally:
        client.close()


@pytest.mark.parametrize("isolated", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("tls", "unix"), [("through", False), ("terminate", False), ("terminate", True)])
def test_relay_and_a_server_with_tls_understand_each_other(faultline, tls, isolated, unix):
    real = faultline.serve(ok(b"hello"), tls=True, unix=unix)
    server = faultline.relay(real, tls=tls, isolated=isolated)

    assert server.url == f"https://{server.hostport}"
    assert fetch(server, real if tls == "through" else server) == b"hello"
    assert [attempt.request.target for attempt in real.attempts] == ["/"]


def test_relay_of_a_relay_has_a_url_with_https_too(faultline):
    real = faultline.serve(ok(b"hello"), tls=True)
    inner = faultline.relay(real)
    outer = faultline.relay(inner, tls="terminate")

    assert (inner.url[:8], fetch(inner)) == ("https://", b"hello")
    assert (outer.url[:8], fetch(outer)) == ("https://", b"hello")


def test_server_whose_plan_needs_tls_speaks_tls(faultline):
    real = faultline.serve(bad_cert("expired"), strict=False)

    assert fetch(faultline.relay(real, tls="terminate")) == b"ok\n"
    assert faultline.relay(real).url.startswith("https://")


@each_row("tls", ["through", "terminate"])
def test_relay_terminates_in_front_of_a_plain_server_and_of_an_address(faultline, tls):
    real = faultline.serve(ok(b"hello"))
    by_object, by_address = faultline.relay(real, tls=tls), faultline.relay(real.hostport, tls=tls)

    scheme = "http" if tls == "through" else "https"
    assert {by_object.url, by_address.url} == {f"{scheme}://{s.hostport}" for s in (by_object, by_address)}


def test_address_of_a_server_with_tls_says_nothing_about_tls(faultline):
    real = faultline.serve(ok(), tls=True)

    assert faultline.relay(real.hostport).url.startswith("http://")


def test_proxy_fetches_from_a_server_with_tls(faultline):
    real = faultline.serve(ok(b"hello"), tls=True)
    proxy = faultline.http_proxy(to=real)
    with socket.create_connection(proxy.address, 10) as client, client.makefile("rb") as file:
        client.sendall(b"GET http://api.example.com/ HTTP/1.1\r\nHost: api.example.com\r\nConnection: close\r\n\r\n")

        assert file.read().endswith(b"hello")


def test_fault_of_the_relay_strikes_in_front_of_a_server_with_tls(faultline):
    server = faultline.relay(faultline.serve(ok(b"hello"), tls=True), close(), tls="terminate")

    with pytest.raises(http.client.RemoteDisconnected):
        fetch(server)


# --- when there is TLS to the upstream -------------------------------------------------------------------------------


@each_row("scheme", ["https", "wss", "rediss"])
def test_relay_that_terminates_speaks_tls_where_the_scheme_says_so(faultline, scheme):
    real = faultline.serve(ok(b"hello"), tls=True)
    server = faultline.relay(f"{scheme}://{real.hostport}", tls="terminate")

    assert fetch(server) == b"hello"
    assert [(a.tls.version, a.tls.alpn) for a in real.attempts] == [("TLSv1.3", "")]


@each_row("scheme", ["https", "wss", "rediss", "http", "tcp"])
def test_relay_that_passes_tls_through_adds_none(faultline, reach, listener, scheme):
    server = faultline.relay(f"{scheme}://{address_of(listener)}")

    assert server.url.partition("://")[0] == ("https" if scheme in ("https", "wss", "rediss") else "http")
    client = reach(server)
    client.sendall(b"ask")
    with accepted(listener) as upstream:
        assert read(upstream, 3) == b"ask"


def test_client_of_a_relay_that_passes_through_agrees_with_the_upstream(faultline):
    real = faultline.serve(ok(b"hello"), tls=True)
    server = faultline.relay(real.url)

    assert fetch(server, real) == b"hello"
    assert server.attempts[0].tls.offered == real.attempts[0].tls.offered


@each_row(("offered", "agreed"), [(["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1"), (["x"], "")])
def test_upstream_is_offered_the_protocol_that_the_client_speaks(faultline, offered, agreed):
    real = faultline.serve(ok(), tls=True, alpn=("x", "http/1.1", "h2"))
    server = faultline.relay(real, tls="terminate", alpn=("h2", "http/1.1"))
    context = server.client_context()
    context.set_alpn_protocols(offered)
    with context.wrap_socket(socket.create_connection(server.address, 10), server_hostname="localhost") as client:
        real.wait_for_attempts(1, at="request")
        assert client.selected_alpn_protocol() == (agreed or None)

    assert real.attempts[0].tls.alpn == agreed


# --- a certificate of the relay --------------------------------------------------------------------------------------


def certificate(form, folder):
    """A client's certificate of the test CA in one of its forms, and the name in it."""
    if form == "LeafCert":
        return authority("trusted").issue_cert("relay.test", common_name="the relay"), "the relay"
    key, *chain = issued(CLIENT, "")
    both, cert, alone = (folder / name for name in ("both.pem", "cert.pem", "key.pem"))
    both.write_bytes(key + b"".join(chain))
    cert.write_bytes(b"".join(chain))
    alone.write_bytes(key)
    return {"path": both, "text": str(both), "pair": (cert, str(alone))}[form], "faultline client"


@pytest.mark.parametrize("isolated", [False, pytest.param(True, marks=pytest.mark.slow)])
@each_row("form", ["path", "text", "pair", "LeafCert"])
def test_upstream_gets_the_certificate_that_it_requires(faultline, tmp_path, form, isolated):
    shown, name = certificate(form, tmp_path)
    real = faultline.serve(ok(b"hello"), tls="mutual")
    server = faultline.relay(real, tls="terminate", upstream_cert=shown, isolated=isolated)

    assert fetch(server) == b"hello"
    assert (real.attempts[0].tls.client, server.attempts[0].tls.client) == (name, "")


@each_row("plan", [None, sequence(through(), status(503))])
def test_upstream_that_requires_a_certificate_ends_tls_without_one(faultline, plan):
    real = faultline.serve(ok(b"hello"), tls="mutual")
    server = faultline.relay(real, plan, tls="terminate", strict=False)

    with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected)):
        fetch(server)
    assert server.attempts[0].note.startswith("the upstream ended TLS: ")
    assert (
        real.attempts[0].note
        == "the server ended TLS with the alert certificate_required: peer did not return a certificate"
    )


def test_bytes_for_an_upstream_that_has_ended_tls_come_too_late():
    class Ended:
        def encrypt(self, _):
            error = ssl.SSLZeroReturnError(6, "TLS/SSL connection has been closed (EOF)")
            error.reason = None  # as that of OpenSSL has it
            raise error

    connection = UpstreamConnection(Mock())
    connection._tls = Ended()
    with pytest.raises(UpstreamRefused, match="has been closed"):
        asyncio.run(connection.send(b"more"))


def encrypted(folder):
    """A PEM file whose key needs a password, which OpenSSL would ask for at the terminal."""
    from cryptography.hazmat.primitives import serialization as form

    key, *chain = issued(CLIENT, "")
    secret = form.load_pem_private_key(key, None).private_bytes(
        form.Encoding.PEM, form.PrivateFormat.PKCS8, form.BestAvailableEncryption(b"secret")
    )
    (folder / "secret.pem").write_bytes(secret + b"".join(chain))
    return folder / "secret.pem"


def keyless(folder):
    (folder / "cert.pem").write_bytes(b"".join(issued(CLIENT, "")[1:]))
    return folder / "cert.pem"


@each_row(
    ("make", "message"),
    [
        (lambda folder: folder / "none.pem", "No such file or directory"),
        (lambda folder: folder, "Is a directory"),
        (encrypted, "OpenSSL says "),
        (keyless, "OpenSSL says "),
        (lambda _: "/dev/null", "upstream_cert='/dev/null': expected the path of a PEM file with a certificate"),
        (lambda _: 5, "upstream_cert=5: expected the path of a PEM file with a certificate and its key, a pair of"),
        (lambda _: (), "upstream_cert=(): expected the path of a PEM file"),
        (lambda _: ("a", "b", "c"), "upstream_cert=('a', 'b', 'c'): expected the path of a PEM file"),
    ],
)
def test_what_is_no_certificate_is_refused(make, message, tmp_path):
    with pytest.raises(FaultlineError) as caught:
        relay("https://127.0.0.1:9", tls="terminate", upstream_cert=make(tmp_path))
    assert message in str(caught.value)


@each_row(
    ("upstream", "options", "message"),
    [
        ("127.0.0.1:9", {"tls": "terminate"}, "expected an upstream with TLS, such as 'https://127.0.0.1:8443'."),
        ("https://127.0.0.1:9", {}, "expected tls='terminate' beside it."),
    ],
)
def test_certificate_needs_tls_of_the_relay(upstream, options, message):
    with pytest.raises(FaultlineError) as caught:
        relay(upstream, upstream_cert="cert.pem", **options)
    assert str(caught.value) == f"upstream_cert is given: {message}"


NGINX = """
daemon off; {user} pid {folder}/pid; error_log stderr crit;
events {{}}
http {{
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen {address} ssl; ssl_certificate {server}; ssl_certificate_key {server};
        ssl_verify_client on; ssl_client_certificate {ca};
        location / {{ return 200 $ssl_client_s_dn; }}
    }}
}}
"""


@contextlib.contextmanager
def nginx(folder, ca):
    """The URL of an nginx that requires a certificate, and says whose it was."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("needs nginx (Debian's package nginx-light)")
    authority("trusted").issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    with socket.create_server(("127.0.0.1", 0), backlog=100) as sock:
        address = address_of(sock)
        user = "user root;" if os.getuid() == 0 else ""
        text = NGINX.format(user=user, folder=folder, address=address, server=folder / "server.pem", ca=ca)
        (folder / "nginx.conf").write_text(text)
        process = subprocess.Popen(
            [program, "-p", folder, "-c", folder / "nginx.conf"],
            pass_fds=[sock.fileno()],
            env={"NGINX": f"{sock.fileno()};"},  # it takes over what listens already, as when it is upgraded
        )
    try:
        yield f"https://{address}"
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.slow
@pytest.mark.everywhere
def test_nginx_that_verifies_its_clients_serves_a_relay_with_a_certificate(faultline, tmp_path, faultline_ca):
    shown, _ = certificate("LeafCert", tmp_path)
    with nginx(tmp_path, faultline_ca.ca_file) as url:
        with_one = faultline.relay(url, tls="terminate", upstream_cert=shown)
        without = faultline.relay(url, tls="terminate")

        assert b"CN=the relay" in fetch(with_one)
        assert b"No required SSL certificate was sent" in fetch(without)
