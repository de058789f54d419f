"""What a client asks for in its first message: read at every split, out of several records, and never an error."""

from __future__ import annotations

import functools
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tables import each_row

from faultline._net.client_hello import LIMIT_BYTES, Hello, hello_of, vector


@functools.cache
def hello(name="localhost", protocols=("h2", "http/1.1"), maximum=ssl.TLSVersion.TLSv1_3):
    """The first bytes of Python's own client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.maximum_version = maximum
    if protocols:
        context.set_alpn_protocols(protocols)
    to_server = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), to_server, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return to_server.read()


def records(data, size):
    """The same message of the handshake in records of this size."""
    message = data[5:]
    pieces = [message[i : i + size] for i in range(0, len(message), size)]
    return b"".join(data[:3] + len(piece).to_bytes(2, "big") + piece for piece in pieces)


def with_extensions(*extensions):
    """A ClientHello of one record with these extensions, each a number and its content."""
    listed = b"".join(n.to_bytes(2, "big") + len(c).to_bytes(2, "big") + c for n, c in extensions)
    body = b"\x03\x03" + bytes(32) + b"\0" + b"\0\x02\x13\x01" + b"\x01\0" + len(listed).to_bytes(2, "big") + listed
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


@each_row("maximum", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@each_row(
    ("name", "protocols", "said"),
    [
        ("localhost", ("h2", "http/1.1"), Hello("localhost", ("h2", "http/1.1"), is_tls=True)),
        ("localhost", (), Hello("localhost", (), is_tls=True)),
        (None, ("http/1.1",), Hello("", ("http/1.1",), is_tls=True)),
        (None, (), Hello("", (), is_tls=True)),
        ("127.0.0.1", (), Hello("", (), is_tls=True)),  # RFC 6066, 3: an address is no host name
        ("a" * 63 + ".test", ("x" * 255, "y"), Hello("a" * 63 + ".test", ("x" * 255, "y"), is_tls=True)),
    ],
)
def test_name_and_protocols_are_those_the_client_was_given(name, protocols, said, maximum):
    assert hello_of(hello(name, protocols, maximum)) == said


def test_there_is_no_answer_until_the_message_is_whole():
    data = hello()

    assert {hello_of(data[:end]) for end in range(len(data))} == {None}
    assert hello_of(data) == Hello("localhost", ("h2", "http/1.1"), is_tls=True)


@pytest.mark.slow
@each_row("size", [1, 2, 3, 4, 5, 100, 511, 512, 16_384])
def test_message_in_several_records_says_the_same(size):
    data = records(hello(), size)
    ends = {*range(0, len(data), len(data) // 50), len(data) - 1}

    assert {hello_of(data[:end]) for end in ends} == {None}
    assert hello_of(data) == hello_of(hello())


@given(st.binary(max_size=200))
def test_what_comes_after_the_message_changes_nothing(more):
    assert hello_of(hello() + more) == hello_of(hello())


@each_row("data", [b"", b"\x16", b"\x16\x03", b"\x16\x03\x01\0", b"\x16\x03\x01\0\x05\x01\0\0"])
def test_what_could_become_a_client_hello_is_waited_for(data):
    assert hello_of(data) is None


@each_row(
    "data",
    [
        b"G",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x15\x03\x01\0\x02\x02\x28",  # an alert
        b"\x16\x02",
        b"\x16\x03\x01\0\x04\x02\0\0\0",  # a ServerHello
        b"\x16\x03\x01\0\0",  # RFC 8446, 5.1: no record of the handshake is empty
        b"\x80\x2e\x01\0\x02",  # SSL 2
    ],
)
def test_what_is_no_client_hello_is_told_at_once(data):
    assert hello_of(data) == Hello("", (), is_tls=False)


@each_row(
    ("extensions", "said"),
    [
        ((), Hello(is_tls=True)),
        (((0, b""), (16, b"")), Hello(is_tls=True)),
        (((16, b"\0\x03\x02h2"),), Hello(protocols=("h2",), is_tls=True)),
        (((43, b"\x02\x03\x04"), (0, b"\0\x07\0\0\x04test")), Hello("test", is_tls=True)),
        (((0, b"\0\x05\0\0\x02\xc3\xa9"),), Hello("\ufffd\ufffd", is_tls=True)),
        (((16, b"\0\xff\x09h2"),), Hello(protocols=("h2",), is_tls=True)),
        (((16, b"\0\x02\0\0"),), Hello(protocols=("", ""), is_tls=True)),
    ],
)
def test_extensions_are_read_as_far_as_they_make_sense(extensions, said):
    assert hello_of(with_extensions(*extensions)) == said


def test_message_without_extensions_is_a_client_hello():
    body = b"\x03\x01" + bytes(32) + b"\0" + b"\0\x02\0\x05" + b"\x01\0"
    message = b"\x01" + len(body).to_bytes(3, "big") + body

    assert hello_of(b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message) == Hello(is_tls=True)


@given(st.one_of(st.binary(max_size=300), st.binary(max_size=300).map(b"\x16\x03\x01".__add__)))
def test_no_bytes_are_an_error(data):
    assert isinstance(hello_of(data), (Hello, type(None)))


@given(st.binary(max_size=120))
def test_no_body_of_a_client_hello_is_an_error(body):
    message = b"\x01" + len(body).to_bytes(3, "big") + body

    said = hello_of(b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message)

    assert said is not None
    assert said.is_tls


@given(st.data())
def test_no_byte_of_a_client_hello_makes_it_an_error(data):
    changed = bytearray(with_extensions((0, b"\0\x07\0\0\x04test"), (16, b"\0\x03\x02h2")))
    for place in data.draw(st.lists(st.integers(0, len(changed) - 1), min_size=1, max_size=8)):
        changed[place] = data.draw(st.integers(0, 255))

    said = hello_of(bytes(changed))

    assert isinstance(said, (Hello, type(None)))


@given(st.binary(min_size=1, max_size=64), st.integers(1, 100))
def test_nobody_is_waited_for_beyond_the_limit(piece, more_bytes):
    size = LIMIT_BYTES + more_bytes
    begun = b"\x16\x03\x01\xff\xff\x01\xff\xff\xff"
    data = (begun + piece * size)[:size]

    assert hello_of(data) == Hello()


def test_message_that_claims_more_than_comes_is_waited_for_up_to_the_limit():
    head = b"\x16\x03\x01\x40\0"
    first = head + b"\x01\xff\xff\xff" + bytes(16_380)
    data = (first + (head + bytes(16_384)) * 8)[: LIMIT_BYTES + 1]

    assert hello_of(data[:LIMIT_BYTES]) is None
    assert hello_of(data) == Hello()


@given(st.binary(max_size=40), st.sampled_from([1, 2]))
def test_vector_never_reads_past_the_end(data, length_bytes):
    content, rest = vector(data, length_bytes)

    assert data[:length_bytes] + content + rest == data
    assert len(content) <= int.from_bytes(data[:length_bytes], "big")
