"""TLS that begins inside a protocol and ends in a relay: PostgreSQL, MySQL, SMTP and IMAP, with their clients."""

from __future__ import annotations

import asyncio
import contextlib
import imaplib
import smtplib
import ssl
import struct

import aiosmtplib
import pymysql
import pytest
from support import accepted, address_of, ending, in_thread, read, to_end
from support.tables import each_row

from faultline import (
    FaultlineError,
    NotStruckError,
    bad_cert,
    bad_tls,
    close,
    latency,
    ok,
    one_way,
    receive,
    receive_prefixed,
    receive_request,
    receive_until,
    relay,
    repeat,
    reset,
    respond,
    script,
    send,
    sequence,
    serve,
    stall,
    starttls,
    status,
    through,
)
from faultline._core.certificates import Certificate, Terms
from faultline._net.contexts import server_context

LINE = receive_until(b"\r\n")
SSL_REQUEST, GSSENC_REQUEST = bytes.fromhex("0000000804d2162f"), bytes.fromhex("0000000804d21630")


def handshaken(server, client, protocols=()):
    """The client's end in TLS, as one that trusts the test CA."""
    context = server.client_context()
    if protocols:
        context.set_alpn_protocols(protocols)
    return context.wrap_socket(client, server_hostname="localhost", suppress_ragged_eofs=False)


@pytest.fixture
def in_front(faultline):
    """A function that puts a relay of a protocol in front of a script; the relay, and the server of the script."""

    def started(protocol, steps, plan=None, **options):
        real = faultline.serve(script(*steps), strict=False)
        return faultline.relay(real, plan, tls="terminate", starttls=protocol, **options), real

    return started


# --- SMTP ------------------------------------------------------------------------------------------------------------

OFFER = (send(b"220 mx.test\r\n"), LINE, send(b"250-mx.test\r\n250-STARTTLS\r\n250 SIZE 9\r\n"))
NO_OFFER = (send(b"220 mx.test\r\n"), LINE, send(b"250-mx.test\r\n250 SIZE 9\r\n"))
AGREED = (LINE, send(b"220 go on\r\n"), starttls())
MAILED = (LINE, send(b"250 mx.test\r\n"), repeat(LINE, send(b"250 done\r\n")))
SMTP = {"TLS": (*OFFER, *AGREED, *MAILED), "no TLS": (*NO_OFFER, *MAILED)}


def by_smtplib(server):
    """What smtplib gets in TLS: the reply to EHLO before and after it, and to a command."""
    with contextlib.closing(smtplib.SMTP(*server.address, local_hostname="me", timeout=10)) as client:
        before = client.ehlo()
        client.starttls(context=server.client_context())
        return before[1].splitlines()[1:], client.ehlo()[1], client.noop()[1]


def by_aiosmtplib(server):
    async def talk():
        client = aiosmtplib.SMTP(
            hostname="localhost", port=server.port, start_tls=True, tls_context=server.client_context(), timeout=10
        )
        await client.connect()
        try:
            return (await client.noop()).message
        finally:
            client.transport.abort()  # close() of a TLS transport takes longer than the loop runs
            client.close()

    return asyncio.run(talk())


@pytest.mark.parametrize("isolated", [False, pytest.param(True, marks=pytest.mark.slow)])
@each_row(("upstream", "offered"), [("TLS", [b"STARTTLS", b"SIZE 9"]), ("no TLS", [b"SIZE 9", b"STARTTLS"])])
def test_smtplib_speaks_tls_to_the_relay(in_front, upstream, offered, isolated):
    server, real = in_front("smtp", SMTP[upstream], isolated=isolated)

    assert by_smtplib(server) == (offered, b"mx.test", b"done")
    assert server.attempts[0].tls.version == "TLSv1.3"
    assert (real.attempts[0].tls is not None) is (upstream == "TLS")


@each_row("upstream", SMTP)
def test_aiosmtplib_speaks_tls_to_the_relay(in_front, upstream):
    server, _ = in_front("smtp", SMTP[upstream])

    assert by_aiosmtplib(server) == "done"


def test_fault_strikes_on_words_behind_the_encryption(in_front):
    server, real = in_front("smtp", SMTP["TLS"], reset(on=b"noop"))

    with pytest.raises(smtplib.SMTPServerDisconnected):
        by_smtplib(server)
    assert server.attempts[0].struck.point == "request"
    assert b"noop" in real.wait_for_attempts(1, at="end")[0].request.body


def test_certificate_and_terms_are_those_of_the_tls_inside(in_front):
    server, _ = in_front("smtp", SMTP["TLS"], sequence(bad_cert("expired"), bad_tls("alert"), close(at="handshake")))

    for error in (ssl.SSLCertVerificationError, ssl.SSLError, (ssl.SSLError, OSError)):
        with pytest.raises(error):
            by_smtplib(server)
    assert [a.struck.point for a in server.wait_for_attempts(3, at="end")] == ["handshake"] * 3


@each_row(
    ("plan", "points"),
    [(stall(on=b"STARTTLS"), ["request"]), (reset(at="response", on=b"220 go on"), ["response"]), (stall(), [])],
)
def test_before_tls_words_alone_can_strike(in_front, plan, points):
    server, _ = in_front("smtp", SMTP["TLS"], plan, strict=False)

    with smtplib.SMTP(*server.address, timeout=0.3) as client, contextlib.suppress(OSError, smtplib.SMTPException):
        client.ehlo()
        client.docmd("STARTTLS")
    assert [strike.point for strike in server.attempts[0].strikes] == points


def test_refusal_of_the_upstream_is_the_clients(in_front):
    refuses = (LINE, send(b"454 not now\r\n"), *AGREED, *MAILED)
    server, _ = in_front("smtp", (*OFFER, *refuses))
    with contextlib.closing(smtplib.SMTP(*server.address, local_hostname="me", timeout=10)) as client:
        client.ehlo()
        with pytest.raises(smtplib.SMTPResponseException, match="454"):
            client.starttls(context=server.client_context())
        client.starttls(context=server.client_context())

        assert client.ehlo()[0] == 250


@each_row("command", [b"MAIL FROM:<a@b.test>", b"AUTH PLAIN AGEAYg=="])
def test_client_that_goes_on_in_the_clear_is_relayed(in_front, command):
    server, _ = in_front("smtp", (*OFFER, *MAILED), reset(on=b"RCPT"))
    with contextlib.closing(smtplib.SMTP(*server.address, local_hostname="me", timeout=10)) as client:
        client.ehlo()
        client.docmd(command.decode())
        with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionResetError)):
            client.docmd("RCPT TO:<c@d.test>")
    assert (server.attempts[0].tls, server.attempts[0].struck.point) == (None, "request")


@each_row("fault", [bad_cert("expired"), bad_tls("alert"), bad_tls("alpn_mismatch")])
def test_guard_says_that_the_client_never_asked_for_tls(fault):
    with (
        pytest.raises(NotStruckError, match="The client never asked for TLS: it has to send STARTTLS"),
        serve(script(*OFFER, *MAILED)) as real,
        relay(real, fault, tls="terminate", starttls="smtp") as server,
        contextlib.closing(smtplib.SMTP(*server.address, timeout=10)) as client,
    ):
        client.ehlo()


# --- IMAP ------------------------------------------------------------------------------------------------------------

GREETING = b"* OK [CAPABILITY IMAP4rev1%b] ready\r\n"
UNTAGGED = b"* CAPABILITY IMAP4rev1%b\r\n"


class Imap:
    """A server of IMAP, which has TLS or not, and what its client has said to it."""

    def __init__(self, listener, *, has_tls):
        self.listener, self.has_tls, self.said = listener, has_tls, []

    def serve(self):
        with accepted(self.listener) as sock:
            sock.sendall(GREETING % self.offer)
            if self.talk(sock) == b"STARTTLS":
                context = server_context(Certificate(), Terms(), "127.0.0.1")
                with context.wrap_socket(sock, server_side=True) as secure:
                    self.talk(secure)

    @property
    def offer(self):
        return b" STARTTLS" if self.has_tls else b""

    def talk(self, sock):
        with contextlib.suppress(OSError), sock.makefile("rb") as lines:
            for line in lines:
                tag, verb = line.split()[:2]
                self.said.append(verb)
                sock.sendall(UNTAGGED % self.offer if verb == b"CAPABILITY" else b"")
                sock.sendall(tag + b" OK done\r\n")
                if verb == b"STARTTLS":
                    return verb
        return b""


@each_row("has_tls", [True, False])
def test_imaplib_speaks_tls_to_the_relay(faultline, listener, has_tls):
    imap = Imap(listener, has_tls=has_tls)
    server = faultline.relay(address_of(listener), reset(on=b"LOGIN"), tls="terminate", starttls="imap")
    with in_thread(imap.serve):
        client = imaplib.IMAP4(*server.address, timeout=10)
        client.starttls(server.client_context())
        with pytest.raises((OSError, imaplib.IMAP4.abort)):
            client.login("me", "secret")
        client.shutdown()
    assert imap.said == [b"CAPABILITY", *[b"STARTTLS"] * has_tls, b"CAPABILITY", b"LOGIN"]
    assert (server.attempts[0].tls.version, server.attempts[0].struck.point) == ("TLSv1.3", "request")


# --- MySQL -----------------------------------------------------------------------------------------------------------

ANY = pymysql.constants.CLIENT.CAPABILITIES & ~pymysql.constants.CLIENT.SSL
WITH_TLS = ANY | pymysql.constants.CLIENT.SSL
PLUGIN = b"mysql_native_password\0"
PACKET = (receive_prefixed(3, byteorder="little"), receive(1))  # the number of the packet isn't in its length


def packet(number, payload):
    return send(len(payload).to_bytes(3, "little") + bytes([number]) + payload)


def greeting(capabilities):
    """The first packet of a MySQL server (protocol 10)."""
    flags = struct.pack("<HBHHB10x", capabilities & 0xFFFF, 33, 2, capabilities >> 16, 21)
    return packet(0, b"\x0a8.0.0\0" + bytes(4) + 8 * b"s" + b"\0" + flags + 12 * b"s" + b"\0" + PLUGIN)


def done(number):
    return packet(number, b"\0\0\0\2\0\0\0")


def switch(number):
    return packet(number, b"\xfe" + PLUGIN + 20 * b"t" + b"\0")


QUERIES = repeat(*PACKET, done(1))
MYSQL = {
    "TLS": (greeting(WITH_TLS), receive(36), starttls(), *PACKET, done(3), QUERIES),
    "no TLS": (greeting(ANY), *PACKET, done(2), QUERIES),
    "no TLS, and another plugin": (greeting(ANY), *PACKET, switch(2), *PACKET, done(4), QUERIES),
}


def by_pymysql(server, **options):
    return pymysql.connect(host="localhost", port=server.port, user="me", password="x", connect_timeout=10, **options)


@each_row("upstream", MYSQL)
def test_pymysql_speaks_tls_to_the_relay(in_front, upstream):
    server, real = in_front("mysql", MYSQL[upstream], reset(on=b"\x03COMMIT"))

    with by_pymysql(server, ssl_ca=server.ca_file, ssl_verify_identity=True) as connection:
        connection.query("INSERT")
        with pytest.raises(pymysql.err.OperationalError) as caught:
            connection.commit()
    assert caught.value.args[0] == 2013
    assert (server.attempts[0].tls.version, server.attempts[0].struck.point) == ("TLSv1.3", "request")
    assert (real.attempts[0].tls is not None) is (upstream == "TLS")


@each_row(
    ("steps", "raised"),
    [
        ((packet(0, b"\xff\x10\x04Too many connections"),), "Too many connections"),
        ((greeting(ANY), *PACKET, packet(2, b"\xff\x15\x04#28000denied")), "denied"),
    ],
)
def test_refusal_of_a_mysql_server_is_the_clients(in_front, steps, raised):
    server, _ = in_front("mysql", steps)

    with pytest.raises(pymysql.err.OperationalError, match=raised):
        by_pymysql(server, ssl_ca=server.ca_file)


def test_client_of_mysql_that_wants_no_tls_is_relayed(in_front):
    server, _ = in_front("mysql", MYSQL["no TLS"], reset(on=b"\x03COMMIT"))

    with by_pymysql(server, ssl_disabled=True) as connection, pytest.raises(pymysql.err.OperationalError):
        connection.commit()
    assert (server.attempts[0].tls, server.attempts[0].struck.point) == (None, "request")


# --- PostgreSQL ------------------------------------------------------------------------------------------------------

REQUEST = receive(8)
POSTGRES = {
    "TLS": (REQUEST, send(b"S"), starttls(), receive(5), send(b"hello")),
    "no TLS": (REQUEST, send(b"N"), receive(5), send(b"hello")),
    "TLS, and says so unasked": (send(b"S"), REQUEST, starttls(), receive(5), send(b"hello")),
}


@each_row("before", [b"", GSSENC_REQUEST])
@each_row("upstream", POSTGRES)
def test_request_of_postgres_begins_tls(in_front, dial, upstream, before):
    server, real = in_front("postgres", POSTGRES[upstream], reset(after_bytes=3))
    client = dial(server)
    real.wait_for_attempts(1, at="request")  # what it says unasked waits in the relay
    if before:
        client.sendall(before)
        assert read(client, 1) == b"N"
    client.sendall(SSL_REQUEST)
    assert read(client, 1) == b"S"
    with handshaken(server, client) as secure:
        secure.sendall(b"start")
        assert to_end(secure) == (b"hel", "RST")
    assert (real.attempts[0].tls is not None) is (upstream != "no TLS")
    assert server.attempts[0].struck.after_bytes == 3


def test_relay_answers_by_itself_in_the_tls_inside(in_front, dial):
    http = (REQUEST, send(b"N"), repeat(receive_request(), respond(ok(b"real"))))
    server, _ = in_front("postgres", http, sequence(status(503), through()))
    client = dial(server)
    client.sendall(SSL_REQUEST)
    assert read(client, 1) == b"S"
    with handshaken(server, client) as secure:
        for awaited in (b"HTTP/1.1 503", b"HTTP/1.1 200"):
            secure.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert secure.recv(5000).startswith(awaited)


@each_row("upstream", POSTGRES)
def test_client_of_postgres_may_begin_with_tls(in_front, dial, upstream):
    server, _ = in_front("postgres", POSTGRES[upstream])
    with handshaken(server, dial(server), ["postgresql"]) as client:
        client.sendall(b"start")
        assert (read(client, 5), client.selected_alpn_protocol()) == (b"hello", "postgresql")


@each_row(
    ("steps", "said", "heard"),
    [
        ((REQUEST, send(b"EFATAL"), close()), SSL_REQUEST, b"EFATAL"),
        ((REQUEST, send(b"hello"), close()), bytes.fromhex("0000000800030000"), b"hello"),
        ((REQUEST, close()), SSL_REQUEST, b""),
    ],
)
def test_what_begins_no_tls_is_relayed(in_front, dial, steps, said, heard):
    server, _ = in_front("postgres", steps)
    client = dial(server)
    client.sendall(said)

    assert to_end(client) == (heard, "FIN")
    client.close()
    assert (server.wait_for_attempts(1, at="end")[0].tls, ending(server.attempts[0])) == (None, ("upstream", "FIN"))


def test_upstream_that_resets_before_tls_resets_the_client(in_front, dial):
    server, _ = in_front("postgres", (REQUEST, reset()))
    client = dial(server)
    client.sendall(SSL_REQUEST)

    assert to_end(client) == (b"", "RST")
    assert ending(server.wait_for_attempts(1, at="end")[0]) == ("upstream", "RST")


@each_row("plan", [None, one_way(direction="request")])
def test_client_that_leaves_before_tls_has_left(in_front, dial, plan):
    server, real = in_front("smtp", SMTP["TLS"], plan)
    client = dial(server)
    assert read(client, 13) == b"220 mx.test\r\n"
    client.sendall(b"NOOP" if plan else b"")
    client.close()

    assert server.wait_for_attempts(1, at="end")[0].ended_by == "client"
    assert real.wait_for_attempts(1, at="end")[0].ended_by == "client"


def test_upstream_that_fails_its_handshake_was_not_reached(in_front, dial):
    server, _ = in_front("postgres", (REQUEST, send(b"Sno TLS"), stall()), on_upstream_failure="close")
    client = dial(server)
    client.sendall(SSL_REQUEST)
    assert read(client, 1) == b"S"
    with handshaken(server, client) as secure:
        assert to_end(secure) == (b"", "FIN")
    assert "could not be reached: wrong version number" in server.attempts[0].note


def test_certificate_of_the_relay_is_shown_inside_too(faultline, dial):
    real = faultline.serve(script(*POSTGRES["TLS"]), tls=False, strict=False)
    server = faultline.relay(
        real, latency(0.01), tls="terminate", starttls="postgres", upstream_cert=real.client_cert_file, isolated=False
    )
    client = dial(server)
    client.sendall(SSL_REQUEST)
    assert read(client, 1) == b"S"
    with handshaken(server, client) as secure:
        secure.sendall(b"start")
        assert read(secure, 5) == b"hello"
    assert server.url == f"http://{server.hostport}"


@each_row(
    ("upstream", "options", "message"),
    [
        ("127.0.0.1:9", {}, "starttls='smtp': expected tls='terminate' beside it."),
        (
            "https://127.0.0.1:9",
            {"tls": "terminate"},
            "starttls='smtp': expected an upstream that begins without TLS, such as '127.0.0.1:5432'.",
        ),
    ],
)
def test_tls_inside_a_protocol_needs_clear_text_before(upstream, options, message):
    with pytest.raises(FaultlineError) as caught:
        relay(upstream, starttls="smtp", **options)
    assert str(caught.value) == message


DATABASES = ["postgres", "postgres_in_tls"]


@pytest.fixture(params=DATABASES)
def database(request):
    """The address of a PostgreSQL without TLS, or of one that takes nothing else."""
    return request.getfixturevalue(request.param).address


def url_of(server, **options):
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return f"postgresql://postgres@localhost:{server.port}/postgres?sslrootcert={server.ca_file}&{query}"


@pytest.mark.slow
@pytest.mark.everywhere
@pytest.mark.leaves_open  # asyncpg, in TLS that the relay has ended, on Python 3.10
def test_psycopg_and_asyncpg_lose_their_commit_behind_the_encryption(faultline, database, faultline_ca):
    asyncpg, psycopg = pytest.importorskip("asyncpg"), pytest.importorskip("psycopg")
    plan = reset(on=b"COMMIT")
    shown = faultline_ca.client_cert_file
    server = faultline.relay(database, plan, tls="terminate", starttls="postgres", upstream_cert=shown)

    def by_psycopg(**options):
        with psycopg.connect(url_of(server, sslmode="verify-full", **options)) as connection:
            assert connection.execute("select 1").fetchone() == (1,)

    async def by_asyncpg():
        connection = await asyncpg.connect(url_of(server, sslmode="verify-full"))
        async with connection.transaction():
            assert await connection.fetchval("select 1") == 1

    for options in [{}] + [{"sslnegotiation": "direct"}] * (psycopg.pq.version() >= 170_000):
        with pytest.raises(psycopg.OperationalError, match="server closed the connection unexpectedly"):
            by_psycopg(**options)
    with pytest.raises(asyncpg.ConnectionDoesNotExistError):
        asyncio.run(by_asyncpg())
    assert [(a.struck.point, a.tls.version) for a in server.attempts] == [("request", "TLSv1.3")] * len(server.attempts)


@pytest.mark.slow
@pytest.mark.everywhere
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (bad_cert("expired"), "certificate verify failed"),
        (reset(at="handshake"), "server closed|reset by peer|unexpected eof"),
        (reset(), "server closed|reset by peer|unexpected eof"),
    ],
    ids=repr,
)
def test_psycopg_meets_a_fault_of_the_tls_inside(faultline, postgres, fault, said):
    psycopg = pytest.importorskip("psycopg")
    server = faultline.relay(postgres.address, fault, tls="terminate", starttls="postgres")

    with pytest.raises(psycopg.OperationalError, match=f"(?is){said}"):
        psycopg.connect(url_of(server, sslmode="verify-full"))
    assert server.attempts[0].struck.point == ("response" if fault == reset() else "handshake")
