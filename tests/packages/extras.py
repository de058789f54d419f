"""Each extra alone: what needs it works, and what needs another says what to install.

`installed.py` copies this file into an environment of its own, and names the extra that it has in `EXTRA`.
"""

from __future__ import annotations

import os
import socket

import pytest

import faultline as fl

EXTRA = os.environ["EXTRA"]
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"  # and an empty SETTINGS
QUESTION = b"\x12\x34\1\0\0\1\0\0\0\0\0\0\4test\7invalid\0\0\1\0\1"


def said(server, words, kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as client:
        client.settimeout(10)
        client.connect(server.address)
        client.send(words)
        return client.recv(10_000)


def dns():
    with fl.dns_server(fl.nxdomain()) as server:
        assert said(server, QUESTION, socket.SOCK_DGRAM)[3] & 15 == 3


def http2():
    with fl.serve(fl.ok(), http2=True, strict=False) as server:
        assert said(server, PREFACE)[3] == 4


def hypothesis():
    from faultline.strategies import plans

    with fl.serve(plans(verbs=("close",)).example(), strict=False) as server:
        assert server.is_open


def openssl():
    with (
        fl.serve(fl.bad_cert("revoked", staple=True), strict=False) as server,
        socket.create_connection(server.address, 10) as raw,
        server.client_context().wrap_socket(raw, server_hostname="localhost") as client,
    ):
        assert client.version() == "TLSv1.3"


def websocket():
    with fl.serve(fl.websocket(fl.send_text("well"))) as server:
        assert said(server, HANDSHAKE).startswith(b"HTTP/1.1 101")
        server.wait_for_attempts(1)


@pytest.mark.filterwarnings("ignore:The `.example..` method is good for exploring")
@pytest.mark.parametrize("of", [dns, http2, hypothesis, openssl, websocket])
def test_an_extra_alone_has_all_that_it_is_for(of):
    if of.__name__ == EXTRA:
        of()
    else:
        with pytest.raises(fl.UnsupportedError) as caught:
            of()
        assert f'pip install "pytest-faultline[{of.__name__}]"' in str(caught.value)


def test_the_fixture_plays_a_fault(faultline):
    server = faultline.serve(fl.reset())
    with pytest.raises(ConnectionResetError):
        said(server, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
