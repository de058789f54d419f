"""TLS through a relay, and TLS that ends in it: bytes are those of the application there."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import ssl

import pytest
from support import GET, accepted, address_of, check_not_dialled, ending, in_thread, leave_by_rst, pour, read, to_end

from faultline import bad_cert, bad_tls, close, inject, ok, reset
from faultline._core.certificates import Certificate, Terms
from faultline._net.contexts import server_context


def secured(server, client, name="localhost", protocols=()):
    """The client's end in TLS, as one that trusts the test CA."""
    context = server.client_context()
    if protocols:
        context.set_alpn_protocols(protocols)
    return context.wrap_socket(client, server_hostname=name, suppress_ragged_eofs=False)


@functools.cache
def upstream_context():
    return server_context(Certificate(), Terms(), "127.0.0.1")


def test_tls_passes_through_untouched_and_the_ledger_knows_what_was_asked_for(join):
    server, client, upstream = join()
    context = server.client_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing, server_hostname="db.test")
    with pytest.raises(ssl.SSLWantReadError):
        session.do_handshake()
    hello = outgoing.read()

    for piece in (hello[:1], hello[1:40], hello[40:]):
        client.sendall(piece)
        assert read(upstream, len(piece)) == piece
    assert (server.attempts[0].tls.sni, server.attempts[0].tls.offered) == ("db.test", ("h2", "http/1.1"))
    assert server.attempts[0].tls.version == ""
    noise = os.urandom(3000)
    upstream.sendall(noise)
    assert read(client, 3000) == noise


@pytest.mark.parametrize(
    "greeting", [b"GET / HTTP/1.1\r\n", b"\x16", b"\x16\x03", b"\x16\x02\x00", b"\0" * 10], ids=repr
)
def test_what_is_no_clienthello_passes_at_once_and_is_none_in_the_ledger(join, greeting):
    server, client, upstream = join()

    client.sendall(greeting)
    assert read(upstream, len(greeting)) == greeting
    assert server.attempts[0].tls is None


def test_a_fault_among_the_records_of_tls_that_passes_through_is_exact(faultline, reach):
    real = faultline.serve(ok(b"hello"), tls=True)
    server = faultline.relay(real, reset(after_bytes=100))
    client = reach(server)

    with pytest.raises(ConnectionResetError):
        secured(real, client)
    (attempt,) = server.wait_for_attempts(1, at="end")
    assert (attempt.struck.point, attempt.sent_bytes, attempt.tls.sni) == ("response", 100, "localhost")


@pytest.mark.parametrize(("client_tls", "upstream_tls"), [(False, False), (True, False), (True, True)])
def test_tls_is_spoken_on_either_side_as_chosen(faultline, reach, client_tls, upstream_tls):
    real = faultline.serve(ok(b"hello"), tls=upstream_tls)
    server = faultline.relay(real.url, tls="terminate" if client_tls else "through")
    client = reach(server)
    if client_tls:
        client = secured(server, client)

    with client:
        client.sendall(GET)
        got = read(client, 1000)
    assert got.endswith(b"\r\n\r\nhello")
    (attempt,) = server.attempts
    assert attempt.sent_bytes == len(got)
    assert attempt.received_bytes == len(GET)
    assert (attempt.tls is not None) == client_tls
    assert (real.attempts[0].tls is not None) == upstream_tls


@pytest.fixture
def in_tls(faultline, listener, reach):
    """A function that connects in TLS through a relay which terminates it: the server and both ends."""
    with contextlib.ExitStack() as stack:

        def joined(plan=None, **options):
            server = faultline.relay(address_of(listener), plan, tls="terminate", **options)
            client = stack.enter_context(secured(server, reach(server)))
            return server, client, stack.enter_context(accepted(listener))

        yield joined


@pytest.mark.parametrize("count", [0, 1, 7, 65_537])
@pytest.mark.parametrize(("verb", "end"), [(reset, "RST"), (close, "FIN")])
def test_a_break_inside_terminated_tls_counts_application_bytes_of_the_upstream(in_tls, verb, end, count):
    server, client, upstream = in_tls(verb(after_bytes=count))
    data = os.urandom(100_000)
    client.sendall(b"ask")
    assert read(upstream, 3) == b"ask"

    with in_thread(pour, upstream, data):
        seen = to_end(client)
    assert seen == (data[:count], end)
    assert (server.attempts[0].sent_bytes, server.attempts[0].struck.after_bytes) == (count, count)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 7, 65_537])
def test_a_break_inside_terminated_tls_counts_application_bytes_of_the_client(in_tls, count):
    server, client, upstream = in_tls(reset(at="request", after_bytes=count))
    data = os.urandom(100_000)

    with in_thread(pour, client, data):
        assert to_end(upstream) == (data[:count], "FIN")
    assert server.attempts[0].struck.after_bytes == count


@pytest.mark.parametrize("direction", ["request", "response"])
def test_words_are_found_inside_terminated_tls(in_tls, direction):
    server, client, upstream = in_tls(inject(b"!", at=direction, on=b"COMMIT"))
    speaker, hearer = (client, upstream) if direction == "request" else (upstream, client)

    speaker.sendall(b"COM")
    assert read(hearer, 3) == b"COM"
    speaker.sendall(b"MIT")
    assert read(hearer, 4) == b"MIT!"
    assert server.attempts[0].struck.after_bytes == 6


@pytest.mark.parametrize("how", ["FIN", "RST"])
@pytest.mark.parametrize("leaver", ["client", "upstream"])
def test_the_end_of_one_connection_is_passed_on_through_terminated_tls(in_tls, leaver, how):
    server, client, upstream = in_tls()
    client.sendall(b"ask")
    assert read(upstream, 3) == b"ask"
    upstream.sendall(b"answer")  # with the tickets of TLS 1.3 read, the client's close is a FIN
    assert read(client, 6) == b"answer"
    leaving, staying = (client, upstream) if leaver == "client" else (upstream, client)

    leave_by_rst(leaving) if how == "RST" else leaving.close()
    assert to_end(staying) == (b"", how)
    staying.close()
    assert ending(server.wait_for_attempts(1, at="end")[0]) == (leaver, how)


def test_an_upstream_that_half_closes_first_hears_the_client_in_tls_to_its_end(in_tls):
    server, client, upstream = in_tls()
    upstream.sendall(b"answer")
    upstream.shutdown(socket.SHUT_WR)
    assert to_end(client) == (b"answer", "FIN")

    client.sendall(b"more")
    assert read(upstream, 4) == b"more"
    client.unwrap().close()
    assert to_end(upstream) == (b"", "FIN")
    (attempt,) = server.wait_for_attempts(1, at="end")
    assert (*ending(attempt), attempt.note) == ("upstream", "FIN", "")


def test_a_client_that_half_closes_first_gets_the_answer_of_an_upstream_in_tls(faultline, listener, reach):
    server = faultline.relay(f"https://{address_of(listener)}", tls="terminate")
    client = secured(server, reach(server))

    def answer():
        with upstream_context().wrap_socket(accepted(listener), server_side=True) as upstream:
            assert read(upstream, 1000) == b"ask"
            upstream.sendall(b"answer")
            upstream.unwrap().close()

    with in_thread(answer), client:
        client.sendall(b"ask")
        socket.socket.shutdown(client, socket.SHUT_WR)  # as TCP has it, and not the end of TLS
        assert to_end(client) == (b"answer", "FIN")
    assert ending(server.wait_for_attempts(1, at="end")[0]) == ("client", "FIN")


def test_a_client_that_resets_while_the_upstream_agrees_on_tls_is_a_rst_to_it(faultline, listener, reach):
    server = faultline.relay(f"https://{address_of(listener)}", tls="terminate")
    client = secured(server, reach(server))
    with accepted(listener) as upstream:
        assert read(upstream, 1) == b"\x16"  # its ClientHello, which nobody answers
        leave_by_rst(client)
        assert to_end(upstream)[1] == "RST"
    assert ending(server.wait_for_attempts(1, at="end")[0]) == ("client", "RST")


def test_a_bad_certificate_is_shown_by_a_relay_that_terminates_tls(faultline, listener, reach):
    server = faultline.relay(address_of(listener), bad_cert("expired"), tls="terminate")

    with pytest.raises(ssl.SSLCertVerificationError, match="certificate has expired"):
        secured(server, reach(server))
    (attempt,) = server.wait_for_attempts(1, at="end")
    assert (attempt.struck.point, attempt.tls.alert) == ("handshake", "certificate_expired")
    check_not_dialled(listener)


def test_bad_terms_of_tls_are_offered_by_a_relay_that_terminates_it(faultline, listener, reach):
    server = faultline.relay(address_of(listener), bad_tls("alpn_mismatch"), tls="terminate")

    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        secured(server, reach(server), protocols=["h2"])
    assert server.wait_for_attempts(1, at="end")[0].tls.offered == ("h2",)
    check_not_dialled(listener)


def test_a_break_in_the_handshake_of_a_relay_that_terminates_tls_is_met(faultline, listener, reach):
    server = faultline.relay(address_of(listener), reset(at="handshake", after_bytes=10), tls="terminate")

    with pytest.raises(ConnectionResetError):
        secured(server, reach(server))
    assert server.attempts[0].struck.after_bytes == 10
    check_not_dialled(listener)
