"""SOCKS as a server speaks it, without a socket: what is answered to which bytes, however they are cut."""

from __future__ import annotations

import errno
import ipaddress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tables import each_row

from faultline._net.socks import GARBAGE, Socks
from faultline.modes.proxies import KINDS, SOCKS4_CODES, SOCKS5_CODES

NO_AUTH, GSSAPI, PASSWORD, NONE_OF_THESE = 0, 1, 2, 0xFF
AUTH = ("user", "geheimnisträger")
LIMIT_BYTES = 65_536


def greeting(*methods):
    return bytes((5, len(methods), *methods))


def credentials(name, password):
    name, password = name.encode(), password.encode()
    return bytes((1, len(name))) + name + bytes((len(password),)) + password


def request_5(host="127.0.0.1", port=80, command=1):
    try:
        address = ipaddress.ip_address(host)
        where = bytes((1 if address.version == 4 else 4,)) + address.packed
    except ValueError:
        where = bytes((3, len(host))) + host.encode("latin-1")
    return bytes((5, command, 0)) + where + port.to_bytes(2, "big")


def request_4(host="127.0.0.1", port=80, command=1, user=b""):
    head = bytes((4, command)) + port.to_bytes(2, "big")
    try:
        return head + ipaddress.IPv4Address(host).packed + user + b"\0"
    except ValueError:
        return head + b"\0\0\0\1" + user + b"\0" + host.encode("latin-1") + b"\0"


def reply_5(code):
    return bytes((5, code, 0, 1)) + bytes(6)


def reply_4(code):
    return bytes((0, code)) + bytes(6)


def played(data, cuts=(), auth=None, refuses=""):
    """What one client gets that says this, in pieces."""
    talk = Socks(auth, refuses)
    edges = [0, *sorted(cuts), len(data)]
    said = b"".join(talk.feed(data[a:b]) for a, b in pairwise(edges))
    return talk, said


ports = st.integers(0, 0xFFFF)
hosts = st.one_of(
    st.ip_addresses(v=4).map(str).filter(lambda host: not host.startswith("0.0.0.")),
    st.text("".join(map(chr, range(1, 256))), min_size=1, max_size=255).filter(lambda host: not is_address(host)),
)


def is_address(text):
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


@st.composite
def cut_up(draw, data):
    return draw(st.lists(st.integers(0, len(data)), max_size=8))


# --- what is understood -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@given(st.data(), st.one_of(hosts, st.ip_addresses(v=6).map(str)), ports, st.binary(max_size=20))
def test_socks_5_is_understood_however_its_bytes_are_cut(data, host, port, rest):
    talked = greeting(NO_AUTH) + request_5(host, port) + rest

    talk, said = played(talked, data.draw(cut_up(talked)))

    assert (talk.version, talk.target, talk.is_refused, talk.rest) == (5, (host, port), False, rest)
    assert said == b"\5\0"


@pytest.mark.slow
@given(st.data(), hosts, ports, st.binary(max_size=20), st.binary(max_size=20))
def test_socks_4_and_4a_are_understood_however_their_bytes_are_cut(data, host, port, user, rest):
    user = user.replace(b"\0", b"")
    talked = request_4(host, port, user=user) + rest

    talk, said = played(talked, data.draw(cut_up(talked)))

    assert (talk.version, talk.target, talk.is_refused, talk.rest, said) == (4, (host, port), False, rest, b"")


encodable = st.text("aZ09 :\0\x7fé€\U0001f600", min_size=1, max_size=60)


@pytest.mark.slow
@given(st.data(), encodable, encodable)
def test_credentials_are_understood_however_their_bytes_are_cut(data, name, password):
    talked = greeting(NO_AUTH, PASSWORD) + credentials(name, password) + request_5()

    talk, said = played(talked, data.draw(cut_up(talked)), auth=(name, password))

    assert (talk.target, talk.is_refused, said) == (("127.0.0.1", 80), False, b"\5\2\1\0")


@given(encodable, encodable)
def test_only_the_right_credentials_are_taken(name, password):
    talk, said = played(greeting(PASSWORD) + credentials(name, password), auth=AUTH)

    assert (talk.is_refused, said) == (
        (name, password) != AUTH,
        b"\5\2\1\1" if (name, password) != AUTH else b"\5\2\1\0",
    )


@pytest.mark.slow
@given(st.data(), st.sampled_from(["", *KINDS]), st.sampled_from([None, AUTH]))
def test_what_is_answered_does_not_depend_on_the_cuts(data, refuses, auth):
    version = data.draw(st.sampled_from([4, 5]))
    talked = request_4() if version == 4 else greeting(NO_AUTH, PASSWORD) + credentials(*AUTH) + request_5()

    whole, said = played(talked, (), auth, refuses)
    cut, said_cut = played(talked, data.draw(cut_up(talked)), auth, refuses)

    assert (said, whole.target, whole.is_refused) == (said_cut, cut.target, cut.is_refused)


@pytest.mark.slow
@given(st.binary(max_size=400), st.sampled_from(["", *KINDS]), st.sampled_from([None, AUTH]))
def test_garbage_never_breaks_anything(data, refuses, auth):
    talk, said = played(data, range(len(data)), auth, refuses)

    assert len(said) <= 2 + 2 + len(GARBAGE)
    if data and data[0] not in (4, 5):
        assert (talk.is_refused, said) == (True, GARBAGE)
    if talk.is_refused:
        assert talk.feed(b"more") == b""


@pytest.mark.slow
@given(st.sampled_from([4, 5]), st.binary(max_size=600), st.sampled_from(["", *KINDS]))
def test_garbage_that_begins_right_never_breaks_anything(version, data, refuses):
    talk, said = played(bytes((version,)) + data, refuses=refuses)

    assert len(said) <= 2 + 2 + len(GARBAGE)
    assert talk.version == version
    if talk.target is not None:
        host, port = talk.target
        assert isinstance(host, str)
        assert 0 <= port <= 0xFFFF


@each_row(
    "talked",
    [
        request_4("127.0.0.1", user=b"somebody"),
        request_4("origin.invalid", user=b"somebody"),
        greeting(NO_AUTH) + request_5("origin.invalid"),
        greeting(NO_AUTH) + request_5("::1"),
        greeting(GSSAPI, PASSWORD) + credentials(*AUTH) + request_5(),
    ],
)
def test_nothing_is_decided_before_the_last_byte(talked):
    talk, _ = played(talked[:-1], range(len(talked)))
    assert (talk.target, talk.is_refused) == (None, False)

    talk.feed(talked[-1:])
    assert talk.target is not None
    assert talk.rest == b""


# --- methods ----------------------------------------------------------------------------------------------------------


@each_row(
    ("auth", "refuses", "offered", "chosen"),
    [
        (None, "", (NO_AUTH,), NO_AUTH),
        (None, "", (PASSWORD, NO_AUTH), NO_AUTH),
        (None, "", (PASSWORD,), PASSWORD),
        (None, "", (GSSAPI,), NONE_OF_THESE),
        (None, "", (), NONE_OF_THESE),
        (AUTH, "", (NO_AUTH,), NONE_OF_THESE),
        (AUTH, "", (NO_AUTH, PASSWORD), PASSWORD),
        (None, "no_acceptable_method", (NO_AUTH, PASSWORD), NONE_OF_THESE),
        (AUTH, "no_acceptable_method", (PASSWORD,), NONE_OF_THESE),
        (None, "unoffered_method", (NO_AUTH,), PASSWORD),
        (None, "unoffered_method", (NO_AUTH, PASSWORD), GSSAPI),
        (None, "unoffered_method", (PASSWORD, GSSAPI), NO_AUTH),
        (None, "bad_credentials", (NO_AUTH, PASSWORD), PASSWORD),
        (None, "bad_credentials", (NO_AUTH,), NONE_OF_THESE),
    ],
)
def test_the_method_is_chosen_of_those_that_are_offered(auth, refuses, offered, chosen):
    talk, said = played(greeting(*offered), auth=auth, refuses=refuses)

    assert said == bytes((5, chosen))
    assert talk.is_refused == (chosen == NONE_OF_THESE or refuses == "unoffered_method")


def test_a_method_that_is_not_offered_is_found_also_if_all_usual_ones_are():
    talk, said = played(greeting(NO_AUTH, GSSAPI, PASSWORD), refuses="unoffered_method")

    assert talk.is_refused
    assert said[0] == 5
    assert said[1] not in (NO_AUTH, GSSAPI, PASSWORD, NONE_OF_THESE)


def test_a_client_of_socks_4_can_not_show_a_password_and_is_rejected():
    talk, said = played(request_4(user=b"user"), auth=AUTH)

    assert (talk.is_refused, said) == (True, reply_4(91))


# --- replies ----------------------------------------------------------------------------------------------------------


@each_row("kind", KINDS[:8])
def test_each_reply_code_of_socks_5(kind):
    talk, said = played(greeting(NO_AUTH) + request_5(), refuses=kind)

    assert said == b"\5\0" + reply_5(1 + KINDS.index(kind))
    assert (talk.is_refused, talk.target) == (True, ("127.0.0.1", 80))


@each_row(("kind", "code"), [("rejected", 91), ("identd_unreachable", 92), ("identd_mismatch", 93)])
def test_each_reply_code_of_socks_4(kind, code):
    talk, said = played(request_4(), refuses=kind)

    assert (said, talk.is_refused) == (reply_4(code), True)


@each_row("kind", KINDS[:-1])
def test_a_client_of_the_other_version_gets_the_general_refusal(kind):
    if kind not in SOCKS4_CODES:
        assert played(request_4(), refuses=kind)[1] == reply_4(91)
    if kind in SOCKS4_CODES:
        assert played(greeting(NO_AUTH) + request_5(), refuses=kind)[1] == b"\5\0" + reply_5(1)


@each_row("talked", [request_4(), greeting(NO_AUTH)])
def test_garbage_is_a_response_of_http(talked):
    talk, said = played(talked, refuses="garbage")

    assert (said, talk.is_refused) == (b"HTTP/1.1 400 Bad Request\r\n\r\n", True)


def test_bad_credentials_are_refused_after_they_were_shown():
    talk, said = played(greeting(PASSWORD) + credentials(*AUTH), auth=AUTH, refuses="bad_credentials")

    assert (said, talk.is_refused) == (b"\5\2\1\1", True)


@each_row("command", [2, 3, 0, 255])
def test_no_other_command_than_connect_is_supported(command):
    assert played(greeting(NO_AUTH) + request_5(command=command))[1] == b"\5\0" + reply_5(7)
    assert played(request_4(command=command))[1] == reply_4(91)


@each_row("kind", [0, 2, 5, 255])
def test_no_other_address_type_is_supported(kind):
    talk, said = played(greeting(NO_AUTH) + bytes((5, 1, 0, kind)))

    assert (said, talk.is_refused) == (b"\5\0" + reply_5(8), True)


@each_row(
    ("error", "code"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), 5),
        (OSError(errno.ENETUNREACH, "no network"), 3),
        (OSError(errno.EHOSTUNREACH, "no host"), 4),
        (OSError(errno.EMFILE, "too many"), 1),
        (OSError("no number"), 1),
        (ValueError("none at all"), 1),
    ],
)
def test_why_the_way_failed_is_said_by_its_code(error, code):
    five, _ = played(greeting(NO_AUTH) + request_5())
    four, _ = played(request_4())

    assert (five.failed(error), four.failed(error)) == (reply_5(code), reply_4(91))


def test_the_open_tunnel_is_said_in_both_versions():
    five, _ = played(greeting(NO_AUTH) + request_5())
    four, _ = played(request_4())

    assert (five.granted(), four.granted()) == (reply_5(0), reply_4(90))


def test_the_codes_are_those_of_the_rfc():
    assert list(SOCKS5_CODES.items()) == [(kind, code) for code, kind in enumerate(KINDS[:8], 1)]
    assert sorted(SOCKS4_CODES.values()) == [91, 92, 93]


# --- clients that say too much or the wrong thing ---------------------------------------------------------------------


@each_row("begins", [b"\4\1\0\x50\x7f\0\0\1", b"\4\1\0\x50\0\0\0\1user\0"])
def test_a_client_of_socks_4_that_never_comes_to_an_end_is_refused(begins):
    talk, _ = played(begins)
    for _ in range(2 * LIMIT_BYTES // 4096):
        talk.feed(b"x" * 4096)
        if talk.is_refused:
            break

    assert talk.is_refused


@each_row("version", [0, 3, 255])
def test_credentials_of_another_version_are_refused(version):
    shown = bytes((version,)) + credentials(*AUTH)[1:]

    talk, _ = played(greeting(PASSWORD) + shown, auth=AUTH)

    assert talk.is_refused


@each_row("version", [0, 4, 255])
def test_a_request_of_another_version_than_its_greeting_is_refused(version):
    talk, _ = played(greeting(NO_AUTH) + bytes((version,)) + request_5()[1:])

    assert talk.is_refused


def test_no_bytes_change_nothing():
    talk = Socks(None, "")

    assert (talk.feed(b""), talk.target, talk.is_refused, talk.rest) == (b"", None, False, b"")
