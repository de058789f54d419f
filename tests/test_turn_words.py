"""The content of a turn in words, and the name of the protocol: for people, and never an error."""

from __future__ import annotations

import ssl
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tables import each_row

from faultline import ok
from faultline._core.attempts import Attempt, Request
from faultline._core.content import READERS, first_line, inner_protocol, protocol_of, words
from faultline._core.tls_facts import TlsFacts
from faultline._core.turns import TURN_BYTES, Turn


def turn(data, by="client"):
    return Turn(by, 1.0, len(data), data[:TURN_BYTES])


def attempt(*turns, **changes):
    return Attempt(1, 1, ok(), "response", 1.0, turns=turns, **changes)


def startup(**fields):
    body = b"".join(name.encode() + b"\0" + value.encode() + b"\0" for name, value in fields.items()) + b"\0"
    return struct.pack("!II", len(body) + 8, 196608) + body


def message(kind, body=b""):
    return kind + struct.pack("!I", len(body) + 4) + body


def record(kind, body):
    return bytes([kind, 3, 3]) + struct.pack("!H", len(body)) + body


def frame(kind, body=b""):
    return len(body).to_bytes(3, "big") + bytes([kind, 0]) + bytes(4) + body


SSL_REQUEST = struct.pack("!II", 8, 80877103)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


# --- the protocol --------------------------------------------------------------------------------------------


@each_row(
    ("data", "name"),
    [
        (GET, "HTTP/1.1"),
        (b"POST /x HTTP/1.0\r\n\r\n", "HTTP/1.0"),
        (b"GET /" + b"x" * 200 + b" HTTP/1.1\r\n\r\n", "HTTP/1.1"),
        (PREFACE + frame(4), "HTTP/2"),
        (record(22, b"\x01\0\0\0"), "TLS"),
        (b"*1\r\n$4\r\nPING\r\n", "Redis"),
        (startup(user="me"), "PostgreSQL"),
        (SSL_REQUEST, "PostgreSQL"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH"),
        (b"EHLO me\r\n", "SMTP"),
        (b"AMQP\0\0\x09\x01", "AMQP"),
        (b"\x10\x10\0\x04MQTT\x04", "MQTT"),
        (b"\x05\x01\0", "SOCKS5"),
        (b"\x05\x02\0\x02", "SOCKS5"),
        (b"hello", ""),
        (b"\x05\x01", ""),
        (b"GET", ""),
    ],
)
def test_protocol_is_known_by_the_first_bytes_of_the_client(data, name):
    assert inner_protocol(attempt(turn(data))) == name
    assert inner_protocol(attempt(turn(b"220 hi\r\n", "server"), turn(data))) == name


@each_row(("data", "name"), [(b"J\0\0\0\x0a8.0.36\0", "MySQL"), (b"SSH-2.0-x\r\n", "SSH"), (b"220 hi\r\n", "")])
def test_protocol_is_known_by_a_server_that_speaks_first(data, name):
    assert inner_protocol(attempt(turn(data, "server"))) == name


def test_nobody_speaks_no_protocol():
    assert protocol_of(attempt()) == ""


def test_protocol_of_a_proxys_request_is_that_of_the_request():
    assert protocol_of(attempt(turn(b"\x04\x01"), request=Request("SOCKS4", "x:1"))) == "SOCKS4"


@each_row(
    ("data", "version", "name"),
    [(GET, "TLSv1.3", "HTTP/1.1 in TLSv1.3"), (b"hello", "TLSv1.2", "TLSv1.2"), (GET, "", "HTTP/1.1")],
)
def test_protocol_tells_the_version_of_tls(data, version, name):
    assert protocol_of(attempt(turn(data), tls=TlsFacts(version))) == name


# --- words ---------------------------------------------------------------------------------------------------


@each_row(
    ("protocol", "data", "said"),
    [
        ("", b"first\r\nsecond", "first"),
        ("", b"\r\n\r\nafter empty lines\n", "after empty lines"),
        ("", b"\x1b[2J'\"\\\xff", "\\x1b[2J'\"\\\\\\xff"),
        ("", b"\r\n", ""),
        ("HTTP/1.1", GET, "GET / HTTP/1.1"),
        ("HTTP/1.1 in TLSv1.3", GET, "GET / HTTP/1.1"),
        ("Redis", b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n", "*2 GET key"),
        ("Redis", b"*2\r\n$3\r\nGET\r\n$3\r\nke", "*2 GET ke"),
        ("Redis", b"*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n", "*1 PING, *2 GET a"),
        ("Redis in TLSv1.3", b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\n\r\n\r\n", "*3 SET a \\r\\n"),
        ("Redis", b"*x\r\n$y\r\n", "*x, $y"),
        ("PostgreSQL", SSL_REQUEST, "SSLRequest"),
        ("PostgreSQL", startup(user="me", database="db"), "StartupMessage user=me database=db"),
        ("PostgreSQL", message(b"Q", b"SELECT 1\0"), "Query SELECT 1"),
        (
            "PostgreSQL",
            message(b"P", b"s1\0SELECT $1\0\0\0") + message(b"B") + message(b"E") + message(b"S"),
            "Parse SELECT $1, Bind, Execute, Sync",
        ),
        ("PostgreSQL", message(b"X"), "Terminate"),
        ("PostgreSQL", message(b"Q"), "Query"),
        ("PostgreSQL", b"?\0\0\0\0", "?\\x00\\x00\\x00\\x00"),
        ("PostgreSQL", record(22, b"\x01\0\0\0"), "ClientHello"),
        ("TLS", record(22, b"\x01\0\0\0") + record(20, b"\1"), "ClientHello, ChangeCipherSpec"),
        ("TLS", record(21, b"\x02\x30"), "alert unknown_ca"),
        ("TLS", record(21, b"\x02\xfe"), "alert 254"),
        ("TLS", record(21, bytes(30)), "alert"),
        ("TLS", record(23, bytes(5)) + record(23, bytes(5)), "application data"),
        ("TLS", record(22, b"\xfe"), "handshake"),
        ("HTTP/2", PREFACE + frame(4) + frame(8, bytes(4)), "preface, SETTINGS, WINDOW_UPDATE"),
        ("HTTP/2", frame(1, b"abc") + frame(0, b"x" * 100), "HEADERS, DATA"),
        ("HTTP/2", b"HTTP/1.1 400 no\r\n", "HTTP/1.1 400 no"),
        ("SOCKS5", b"\x05\x02\0\x02", "methods: no password, name and password"),
        ("SOCKS5", b"\x05\x01\0\x05\x01\0\x03\x0bexample.com\0\x50", "methods: no password, CONNECT example.com"),
        ("SOCKS5", b"\x05\x01\0\x01\x7f\0\0\x01\0\x50", "CONNECT"),
        ("SOCKS5", b"\x05\x09\0\x01\x7f\0\0\x01\0\x50", "9"),
        ("SOCKS5", GET, "GET / HTTP/1.1"),
    ],
)
def test_turn_of_a_client_in_words(protocol, data, said):
    assert words(turn(data), protocol) == said


@each_row(
    ("protocol", "data", "said"),
    [
        ("Redis", b"$5\r\nhello\r\n", "$5 hello"),
        ("Redis", b"+OK\r\n", "+OK"),
        ("Redis", b"+OK\r\n:1\r\n", "+OK, :1"),
        ("Redis", b"$-1\r\n", "$-1"),
        ("Redis", b"-ERR unknown command\r\n", "-ERR unknown command"),
        ("Redis", b"*2\r\n$1\r\na\r\n:7\r\n", "*2 a :7"),
        ("PostgreSQL", b"S", "TLS accepted"),
        ("PostgreSQL", b"N", "TLS refused"),
        ("PostgreSQL", message(b"R", bytes(4)) + message(b"S", b"a\0b\0") * 2 + message(b"Z", b"I"),
         "Authentication, ParameterStatus, ReadyForQuery"),
        ("PostgreSQL", message(b"C", b"COPY 1\0") + message(b"Z", b"I"), "CommandComplete COPY 1, ReadyForQuery"),
        ("PostgreSQL", message(b"E", b"SERROR\0C42601\0Msyntax error\0\0"), "ErrorResponse syntax error"),
        ("PostgreSQL", message(b"E", b"\0"), "ErrorResponse"),
        ("TLS", record(22, b"\x02\0\0\0"), "ServerHello"),
        ("SOCKS5", b"\x05\0", "method: no password"),
        ("SOCKS5", b"\x05\x07", "method: 7"),
        ("SOCKS5", b"\x05\0\0\x01" + bytes(6), "granted"),
        ("SOCKS5", b"\x05\0\x05\0\0\x01" + bytes(6), "method: no password, granted"),
        ("SOCKS5", b"\x05\x05\0\x01" + bytes(6), "refused (5)"),
    ],
)  # fmt: skip
def test_turn_of_a_server_in_words(protocol, data, said):
    assert words(turn(data, "server"), protocol) == said


def test_hello_of_a_real_client_is_named():
    outgoing = ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost").do_handshake()
    hello = turn(outgoing.read())

    assert (protocol_of(attempt(hello)), words(hello, "TLS")) == ("TLS", "ClientHello")


@pytest.mark.slow
@settings(max_examples=400)
@given(
    st.sampled_from(["", *READERS]),
    st.sampled_from(["client", "server"]),
    st.binary(max_size=TURN_BYTES),
    st.sampled_from([b"", b"*2\r\n$3\r\n", b"\0\0\0\x09\0\x03\0\0", b"Q\0\0", b"\x16\x03\x03", b"\x05\x01\0", PREFACE]),
)
def test_words_of_any_bytes_are_printable_and_never_an_error(protocol, by, data, begin):
    said = words(turn(begin + data, by), protocol)

    assert said.isascii()
    assert said.isprintable()
    assert inner_protocol(attempt(turn(begin + data, by))).isprintable()
    assert first_line(data).isprintable()


# --- DNS -----------------------------------------------------------------------------------------------------


def query(name, kind):
    labels = b"".join(bytes([len(label)]) + label for label in name.split(b"."))
    return b"\x12\x34\1\0\0\1" + bytes(6) + labels + b"\0" + kind.to_bytes(2, "big") + b"\0\1"


def response(code, answers):
    return b"\x12\x34\x81" + bytes([0x80 | code]) + b"\0\1" + answers.to_bytes(2, "big") + bytes(4)


@each_row(
    ("by", "data", "text"),
    [
        ("client", query(b"api.example.com", 28), "AAAA api.example.com"),
        ("client", query(b"x", 99), "TYPE99 x"),
        ("client", query(b"a\x1b.b", 1), "A a\\x1b.b"),
        ("client", query(b".".join([b"a" * 30] * 4), 1), f"query {'a' * 30}.{'a' * 30}.aaaaa"),
        ("server", response(3, 0), "NXDOMAIN"),
        ("server", response(9, 0), "code 9"),
        ("server", response(0, 1), "1 answer"),
        ("server", response(0, 0), "0 answers"),
        ("server", b"short", "short"),
    ],
)
def test_query_and_response_of_dns_are_named(by, data, text):
    assert words(turn(data, by), "DNS") == text


@each_row(("turns", "name"), [((turn(query(b"x", 1)),), "DNS"), ((), "")])
def test_lookup_of_a_dns_client_is_dns(turns, name):
    assert inner_protocol(Attempt(1, None, ok(), "lookup", 1.0, turns=turns)) == name
