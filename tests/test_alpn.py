"""The application protocols of TLS (ALPN): which one is agreed, on each kind of server that terminates TLS."""

from __future__ import annotations

import socket

import pytest
from support import GET, read
from support.tables import each_row

from faultline import FaultlineError, bad_cert, bad_tls, ok, relay, serve

BOTH = ("h2", "http/1.1")


def connected(server, offers):
    """A client that offers these protocols."""
    context = server.client_context()
    if offers:
        context.set_alpn_protocols(offers)
    return context.wrap_socket(socket.create_connection(server.address, 10), server_hostname="localhost")


def agreed(server, offers=BOTH):
    """The protocol that a client and a server agree on, and how a response to HTTP/1.1 begins."""
    with connected(server, offers) as client:
        client.sendall(GET)
        return client.selected_alpn_protocol(), read(client, 8)


@each_row(
    "alpn, offers, protocol",
    [
        (None, BOTH, "http/1.1"),
        (BOTH, BOTH, "h2"),
        (BOTH, BOTH[::-1], "h2"),  # the server chooses
        (BOTH[::-1], BOTH, "http/1.1"),
        (["h2"], BOTH, "h2"),
        (BOTH, ("x",), None),
        (BOTH, (), None),
        ((), BOTH, None),
        (("x",), ("h2", "x"), "x"),
    ],
)
def test_the_first_protocol_of_the_server_that_the_client_offers_is_agreed(alpn, offers, protocol):
    with serve(ok(), tls=True, alpn=alpn, http2=False) as server:
        assert agreed(server, offers) == (protocol, b"HTTP/1.1")  # whatever was agreed
        assert server.wait_for_attempts(1, at="end")[0].tls.alpn == (protocol or "")


@each_row("fault", [bad_cert("revoked", staple=True), bad_tls("only_version", version="1.2"), bad_tls("renegotiate")])
def test_a_fault_of_tls_keeps_the_protocols_of_its_server(fault):
    with serve(fault, tls=True, alpn=("h2",), http2=False, strict=False) as server, connected(server, BOTH) as client:
        assert client.selected_alpn_protocol() == "h2"


@pytest.mark.parametrize("options", [{"tls": "terminate"}, {"tls": "terminate", "isolated": True}], ids=str)
def test_a_relay_that_terminates_tls_agrees_too(options):
    with serve(ok()) as upstream, relay(upstream, alpn=("h2",), **options) as server:
        assert agreed(server) == ("h2", b"HTTP/1.1")


@each_row(
    "call, message",
    [
        (
            lambda: serve(ok(), alpn=BOTH),
            "alpn=('h2', 'http/1.1'): expected tls=True beside it, because ALPN is a part of TLS.",
        ),
        (
            lambda: relay("127.0.0.1:1", alpn=BOTH),
            "alpn=('h2', 'http/1.1'): expected tls=True beside it, because ALPN is a part of TLS.",
        ),
        (
            lambda: serve(ok(), tls=True, alpn="h2"),
            "alpn='h2': expected a tuple of protocols, such as ",
        ),
        (lambda: serve(ok(), tls=True, alpn=("",)), "alpn=('',): expected a tuple of protocols"),
        (lambda: serve(ok(), tls=True, alpn=("x" * 256,)), "expected a tuple of protocols"),
        (lambda: serve(ok(), tls=True, alpn=(b"h2",)), "alpn=(b'h2',): expected a tuple of protocols"),
    ],
)
def test_what_is_no_protocol_is_refused(call, message):
    with pytest.raises(FaultlineError) as caught:
        call()
    assert message in str(caught.value)
