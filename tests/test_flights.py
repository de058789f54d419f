"""The flights of a TLS server: the first with the certificate strikes, and terms strike when the client hangs up."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct

import pytest
from support.tables import each_row

from faultline import NotStruckError, bad_cert, bad_tls, serve
from faultline._net.tls import RANDOM, RETRY

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
KEY_SHARE = 51  # RFC 8446, 4.2
VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])


class Client:
    """A TLS client that trusts everybody, whose bytes the test carries."""

    def __init__(self, server, version):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version = context.maximum_version = version
        context.set_alpn_protocols(["h2"])
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.sock = socket.create_connection(server.address, 10)

    def hello(self):
        """The first that it says."""
        with pytest.raises(ssl.SSLWantReadError):
            self.session.do_handshake()
        return self.outgoing.read()

    def flight(self):
        """What the server says until the client has something to say; the answer is not sent yet."""
        said = b""
        while not self.outgoing.pending:
            said += (data := self.sock.recv(65_536))
            self.incoming.write(data)
            with contextlib.suppress(ssl.SSLWantReadError):
                self.session.do_handshake()
        return said

    def fed(self, operation):
        """Do this once enough has come for it."""
        while True:
            with contextlib.suppress(ssl.SSLWantReadError):
                return operation()
            self.incoming.write(self.sock.recv(65_536))

    def ask(self):
        """End the handshake, ask, and read until the server ends the session."""
        self.fed(self.session.do_handshake)
        self.session.write(GET)
        self.sock.sendall(self.outgoing.read())
        with contextlib.suppress(ssl.SSLZeroReturnError):
            while self.fed(lambda: self.session.read(65_536)):
                pass

    def leave(self, how):
        """Hang up, by FIN or by RST."""
        if how == "RST":
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


@contextlib.contextmanager
def connected(server, version):
    """A client, whose socket is closed."""
    client = Client(server, version)
    try:
        yield client
    finally:
        client.sock.close()


# --- the certificate -------------------------------------------------------------------------------------------------


@VERSIONS
@pytest.mark.parametrize("kind", ["expired", "self_signed", "wrong_host", "untrusted_root"])
def test_certificate_strikes_once_when_the_client_has_judged_it(kind, version):
    with serve(bad_cert(kind)) as server, connected(server, version) as client:
        client.sock.sendall(client.hello())
        flight = client.flight()
        assert server.attempts[0].struck is None
        client.sock.sendall(client.outgoing.read())
        client.ask()

    (struck,) = server.attempts[0].strikes
    assert (struck.point, struck.after_bytes) == ("handshake", len(flight))


def without_key_shares(hello):
    """The same ClientHello, in one record, without a key share: the server has to ask for another one."""
    body = hello[9:]
    at = 2 + 32
    at += 1 + body[at]  # session
    at += 2 + int.from_bytes(body[at : at + 2], "big")  # cipher suites
    at += 1 + body[at]  # compression methods
    head, rest, listed = body[:at], body[at + 2 :], b""
    while rest:
        kind, size = struct.unpack_from("!HH", rest)
        content, rest = rest[4 : 4 + size], rest[4 + size :]
        content = b"\0\0" if kind == KEY_SHARE else content
        listed += struct.pack("!HH", kind, len(content)) + content
    body = head + len(listed).to_bytes(2, "big") + listed
    message = hello[5:6] + len(body).to_bytes(3, "big") + body
    return hello[:3] + len(message).to_bytes(2, "big") + message


def test_request_for_another_hello_shows_no_certificate():
    with serve(bad_cert("expired")) as server, connected(server, ssl.TLSVersion.TLSv1_3) as client:
        hello = client.hello()
        client.sock.sendall(without_key_shares(hello))
        retry = client.sock.recv(65_536)
        asked = server.attempts[0].struck
        client.sock.sendall(hello)
        flight = client.sock.recv(65_536)
        client.leave("FIN")
        struck = server.wait_for_strike().struck

    assert retry[RANDOM] == RETRY
    assert asked is None
    assert (struck.point, struck.after_bytes) == ("handshake", len(flight))


@each_row("how", ["FIN", "RST"])
def test_client_that_leaves_at_a_request_for_another_hello_has_judged_no_certificate(how):
    server = serve(bad_cert("expired"))
    with connected(server, ssl.TLSVersion.TLSv1_3) as client:
        client.sock.sendall(without_key_shares(client.hello()))
        assert client.sock.recv(65_536)[RANDOM] == RETRY
        client.leave(how)
        server.wait_for_attempts(1, at="end")
    with pytest.raises(NotStruckError):
        server.__exit__(None, None, None)

    assert server.attempts[0].struck is None


# --- terms -----------------------------------------------------------------------------------------------------------

TERMS = [
    bad_tls("only_version"),
    bad_tls("only_version", version="1.2"),
    bad_tls("no_shared_cipher"),
    bad_tls("alpn_mismatch"),
    bad_tls("client_cert_required"),
    bad_tls("client_cert_rejected"),
]


@VERSIONS
@pytest.mark.parametrize("how", ["FIN", "RST"])
@pytest.mark.parametrize("fault", TERMS, ids=repr)
def test_terms_strike_where_the_client_hangs_up(fault, how, version):
    with serve(fault) as server, connected(server, version) as client:
        client.sock.sendall(client.hello())
        assert client.sock.recv(65_536)
        client.leave(how)
        (attempt,) = server.wait_for_attempts(1, at="end")

    assert (attempt.struck.point, attempt.struck.after_bytes) == ("handshake", 0)


@each_row("how", ["FIN", "RST"])
@each_row("said", [b"", b"\x16\x03\x01", GET])
@each_row("fault", TERMS)
@pytest.mark.slow
def test_terms_do_not_strike_where_the_client_never_heard_of_them(fault, said, how):
    with serve(fault, strict=False) as server, connected(server, ssl.TLSVersion.TLSv1_2) as client:
        client.sock.sendall(said)
        client.leave(how)
        (attempt,) = server.wait_for_attempts(1, at="end")

    assert attempt.struck is None
