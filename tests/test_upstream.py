"""Addresses of upstreams: what each form means, and what is refused before anything is dialled."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tables import each_row

from faultline import ParameterError, ok, relay, serve
from faultline._core.hosts import is_local
from faultline._core.upstream import Upstream, parsed_upstream

FORMS = "'127.0.0.1:5432', a URL, the path of a Unix socket, or a server of faultline"
REMOTE = "a server on this machine; allow_remote=True (--allow-remote) allows others"


@each_row(
    ("text", "expected"),
    [
        ("127.0.0.1:5432", Upstream("127.0.0.1", 5432)),
        ("127.8.9.10:1", Upstream("127.8.9.10", 1)),
        ("localhost:65535", Upstream("127.0.0.1", 65_535)),
        ("LOCALHOST:80", Upstream("127.0.0.1", 80)),
        ("[::1]:5432", Upstream("::1", 5432)),
        ("tcp://127.0.0.1:7", Upstream("127.0.0.1", 7)),
        ("http://127.0.0.1", Upstream("127.0.0.1", 80)),
        ("http://127.0.0.1:8080/a/path?and=a&query", Upstream("127.0.0.1", 8080)),
        ("HTTP://localhost", Upstream("127.0.0.1", 80)),
        ("http://[::1]", Upstream("::1", 80)),
        ("ws://127.0.0.1/chat", Upstream("127.0.0.1", 80)),
        ("redis://127.0.0.1", Upstream("127.0.0.1", 6379)),
        ("redis://:secret@127.0.0.1/0", Upstream("127.0.0.1", 6379)),
        ("postgresql://user:secret@127.0.0.1/base", Upstream("127.0.0.1", 5432)),
        ("postgresql://user@127.0.0.1:6000/base", Upstream("127.0.0.1", 6000)),
        ("amqp://127.0.0.1:5672", Upstream("127.0.0.1", 5672)),
        ("https://localhost", Upstream("127.0.0.1", 443, tls=True)),
        ("https://127.0.0.1:8443/", Upstream("127.0.0.1", 8443, tls=True)),
        ("HTTPS://127.0.0.1", Upstream("127.0.0.1", 443, tls=True)),
        ("wss://127.0.0.1", Upstream("127.0.0.1", 443, tls=True)),
        ("rediss://127.0.0.1", Upstream("127.0.0.1", 6379, tls=True)),
        ("/run/postgresql/.s.PGSQL.5432", Upstream(path="/run/postgresql/.s.PGSQL.5432")),
        ("./redis.sock", Upstream(path=str(Path("redis.sock").absolute()))),
        ("unix:/run/redis.sock", Upstream(path="/run/redis.sock")),
        ("unix:///run/redis.sock", Upstream(path="/run/redis.sock")),
        ("unix:redis.sock", Upstream(path=str(Path("redis.sock").absolute()))),
    ],
)
def test_an_address_means_one_upstream(text, expected):
    assert parsed_upstream(text, allow_remote=False) == expected
    assert parsed_upstream(text, allow_remote=True) == expected


@each_row(
    ("text", "expected"),
    [
        ("192.0.2.1:80", Upstream("192.0.2.1", 80)),
        ("0.0.0.0:80", Upstream("0.0.0.0", 80)),
        ("[2001:db8::1]:80", Upstream("2001:db8::1", 80)),
        ("https://db.example", Upstream("db.example", 443, tls=True)),
        ("localhost.example:80", Upstream("localhost.example", 80)),
        ("127.0.0.1.example:80", Upstream("127.0.0.1.example", 80)),
        ("127.1:80", Upstream("127.1", 80)),
        ("http://127.0.0.1@db.example/", Upstream("db.example", 80)),
    ],
)
def test_what_is_not_this_machine_by_its_name_has_to_be_allowed(text, expected):
    with pytest.raises(ParameterError) as raised:
        parsed_upstream(text, allow_remote=False)

    assert str(raised.value) == f"upstream={text!r}: expected {REMOTE}."
    assert parsed_upstream(text, allow_remote=True) == expected


@each_row("text", ["", None, True, b"127.0.0.1:80", ("127.0.0.1", 80), "127.0.0.1:x", "127.0.0.1:65536"])
@each_row("allow_remote", [False, True])
def test_what_is_no_address_is_refused(text, allow_remote):
    with pytest.raises(ParameterError) as raised:
        parsed_upstream(text, allow_remote=allow_remote)

    assert str(raised.value) == f"upstream={text!r}: expected {FORMS}."


@each_row(("text", "written"), [(5432, FORMS), ("5432", f"a host and a port: {FORMS}")])
def test_a_port_alone_is_refused_with_the_address_to_write(text, written):
    with pytest.raises(ParameterError) as raised:
        parsed_upstream(text, allow_remote=False)

    assert str(raised.value) == f"upstream={text!r}: expected {written}; write '127.0.0.1:5432'."


@each_row("text", ["::1:80", "127.0.0.1:80 ", "127.0.0.1:-1", "[::1:80"])
def test_what_is_nearly_an_address_is_refused(text):
    with pytest.raises(ParameterError) as raised:
        parsed_upstream(text, allow_remote=False)

    assert str(raised.value) == f"upstream={text!r}: expected {FORMS}."


@each_row(
    "text",
    ["127.0.0.1", "localhost", "[::1]", "127.0.0.1:0", "127.0.0.1:", ":80", "ftp://127.0.0.1", "tcp://127.0.0.1"],
)
def test_an_address_without_a_host_or_a_port_is_refused(text):
    with pytest.raises(ParameterError) as raised:
        parsed_upstream(text, allow_remote=False)

    assert str(raised.value) == f"upstream={text!r}: expected a host and a port: {FORMS}."


@each_row("text", ["unix:", "unix://"])
def test_a_unix_socket_without_a_path_is_refused(text):
    with pytest.raises(ParameterError):
        parsed_upstream(text, allow_remote=False)


@each_row(
    ("upstream", "text"),
    [
        (Upstream("127.0.0.1", 80), "127.0.0.1:80"),
        (Upstream("::1", 80), "[::1]:80"),
        (Upstream(path="/run/redis.sock"), "/run/redis.sock"),
    ],
)
def test_an_upstream_is_shown_as_it_is_written(upstream, text):
    assert str(upstream) == text
    assert parsed_upstream(text, allow_remote=False) == upstream


@pytest.mark.slow
@given(st.ip_addresses(), st.integers(1, 65_535))
def test_any_ip_address_is_local_exactly_if_it_is_one_of_loopback(address, port):
    text = f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"

    assert is_local(str(address)) == address.is_loopback
    assert parsed_upstream(text, allow_remote=True) == Upstream(str(address), port)


PARTS = ["http://", "tcp:", "//", "/", "[", "]", "::1", "127.0.0.1", "192.0.2.1", "localhost", "example.com"]
PARTS += [*"af09.:@%-_? \t\n\0\\é☃", "80", "65536"]


@given(st.lists(st.sampled_from(PARTS), max_size=8).map("".join))
def test_any_text_is_an_upstream_of_this_machine_or_refused(text):
    try:
        upstream = parsed_upstream(text, allow_remote=False)
    except ParameterError as error:
        assert str(error).startswith(f"upstream={text!r}: expected ")  # noqa: PT017 - most texts raise, some don't
    else:
        assert upstream.path or (is_local(upstream.host) and 1 <= upstream.port <= 65_535)


@each_row("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_a_server_of_faultline_is_an_upstream_by_itself(host):
    with serve(ok(), host=host, allow_remote=host == "0.0.0.0") as real, relay(real) as server:
        assert server._process._setup.upstream == Upstream("127.0.0.1", real.port)
