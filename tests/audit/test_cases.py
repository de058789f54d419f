"""Which cases are audited, and which responses are whole."""

from __future__ import annotations

import pytest

from faultline._audit.cases import Choice, chosen, healthy
from faultline._audit.whole import is_whole
from faultline.modes._catalogue import cases

TCP = [case for case in cases() if case.kind == "TCP server"]


def test_every_case_of_a_tcp_server_is_audited_without_tls_and_with_it_where_it_can_be_both():
    rows = [(row.case, row.tls) for row in chosen(Choice())]

    assert rows == [(case, tls) for case in TCP for tls in (False, True) if tls or not case.fault.needs_tls]


def test_filters_leave_what_they_name():
    points = {row.case.point for row in chosen(Choice(points=("idle", "connect")))}
    modes = {row.case.mode for row in chosen(Choice(modes=("reset",)))}
    tls = {row.tls for row in chosen(Choice(tls=True))}

    assert (points, modes, tls) == ({"idle", "connect"}, {"reset"}, {True})


def test_a_client_without_http_meets_no_answer_and_no_words_of_http():
    names = {str(row.case) for row in chosen(Choice(protocol="tcp", tls=False))}

    assert {"reset()", "stall(at='accept')", "blackhole()", "latency(0.01)", "ok()"} <= names
    assert not {"status(503)", "malformed('chunk_cut')", "close(on=b'Host:')"} & names


def test_a_row_is_named_with_its_tls():
    assert [str(row) for row in chosen(Choice(modes=("refuse",)))] == ["refuse()", "refuse() in TLS"]
    assert str(healthy()) == "ok()"


def test_a_client_is_called_again_where_the_first_response_can_touch_the_second():
    calls = {str(row.case): row.calls for row in chosen(Choice(tls=False))}

    assert {name: calls[name] for name in ("ok()", "malformed('body_surplus')", "close(at='idle')", "reset()")} == {
        "ok()": 2,
        "malformed('body_surplus')": 2,
        "close(at='idle')": 2,
        "reset()": 1,
    }


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        (b"", False),
        (HEAD, False),
        (HEAD + b"\r\n", True),
        (HEAD + b"\r\nall until the end", True),
        (HEAD + b"Content-Length: 3\r\n\r\nok", False),
        (HEAD + b"content-length:3\r\n\r\nok\n", True),
        (HEAD + b"Content-Length: 3\r\n\r\nok\nmore", True),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", True),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", False),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nA;x=y\r\nok", False),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", False),
    ],
)
def test_a_response_is_whole_where_its_head_says_so(received, expected):
    assert is_whole(received) is expected
