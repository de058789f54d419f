"""A relay in front of a faultline server that speaks TLS."""

from __future__ import annotations

import http.client
import socket

import pytest
from support.tables import each_row

from faultline import bad_cert, close, ok


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
