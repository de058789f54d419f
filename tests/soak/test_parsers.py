"""Whatever a client sends, and however it is cut, each parser takes it without an error, and says the same of it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import EXAMPLES
from support.tables import each_row

from faultline._net.client_hello import hello_of
from faultline._net.dns_messages import parsed
from faultline._net.http1 import PassingResponse, RequestReader, ResponseReader
from faultline._net.http2 import Frames
from faultline._net.mail import Imap, Smtp
from faultline._net.mysql import MySql
from faultline._net.postgres import Postgres
from faultline._net.socks import Socks
from soak.life import BEGINNINGS, said


def request(pieces):
    reader = RequestReader()
    for piece in pieces:
        if piece and not reader.complete:
            reader.feed(piece)
        while reader.is_behind and not reader.complete:
            reader.proceed()
    return reader.request if reader.complete and reader.is_http and not reader.wrong else None


def response(pieces):
    reader = ResponseReader("localhost", "/")
    return b"".join(map(reader.feed, filter(None, pieces))), reader.status, reader.complete


def passing(pieces):
    reader = PassingResponse("GET", upgrades=True)
    return b"".join(map(reader.feed, filter(None, pieces))), reader.complete, reader.is_opaque


def socks(pieces):
    talk = Socks(None, "")
    return b"".join(map(talk.feed, pieces)), talk.target, talk.is_refused, talk.rest


def frames(pieces):
    reader = Frames()
    return [frame for piece in pieces for frame in reader.feed(piece)]


def upgrade(kind, side):
    def read(pieces):
        talk = kind()
        data = b"".join(pieces)
        while data and not talk.is_over:
            wanted = talk.wanted_bytes if side == "client" else talk.wanted_of_upstream_bytes
            getattr(talk, f"{side}_says")(data[: max(wanted, 1)])
            data = data[max(wanted, 1) :]

    return read


def whole(parse):
    return lambda pieces: parse(b"".join(pieces))


PARSERS = {
    "request": request,
    "response": response,
    "response that passes": passing,
    "SOCKS": socks,
    "frames": frames,
    "ClientHello": whole(hello_of),
    "query": whole(lambda data: (message := parsed(data)) and message.to_text()),
    **{f"{k.__name__} of a {s}": upgrade(k, s) for k in (Smtp, Imap, Postgres, MySql) for s in ("client", "upstream")},
}
RESPONSES = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    b"HTTP/1.1 101 S\r\nUpgrade: any\r\nConnection: Upgrade\r\n\r\n\x81\x00",
    b"220 hi\r\n250-mx\r\n250 STARTTLS\r\n",
    b"* OK [CAPABILITY IMAP4 STARTTLS] hi\r\n",
    b"\x0a\x00\x00\x00\x0a8.0\x00\x01\x00\x00\x00",
    b"S",
]


@pytest.mark.slow
@each_row("parse", PARSERS.values())
@settings(max_examples=EXAMPLES or 30)
@given(said() | st.sampled_from([*BEGINNINGS, *RESPONSES]), st.lists(st.integers(0, 200), max_size=5))
def test_bytes_of_any_kind_are_no_error_and_the_same_however_they_are_cut(parse, data, cuts):
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]

    assert parse([data[a:b] for a, b in pairwise(edges)]) == parse([data])
