"""SYNs as the kernel hands them to a raw socket, and the packets that answer them."""

from __future__ import annotations

import errno
import select
import socket

import pytest
from support.tables import each_row

from faultline._net import sockets, syns, system
from faultline._net.system import packets


@pytest.fixture(params=["127.0.0.1", "::1"])
def silent(request):
    """A listener that drops every SYN, and the SYNs that come to it."""
    if not syns.can_answer(sockets.family_of(request.param)):
        pytest.skip("CAP_NET_RAW is missing")
    listener = sockets.claim(request.param, 0)
    fillers = system.drop_syns(listener)[1]
    heard = syns.Syns(*listener.getsockname()[:2])
    yield listener, heard
    heard.close()
    for sock in (*fillers, listener):
        sock.close()


def begun(listener):
    """A client whose SYN was sent."""
    client = socket.socket(listener.family)
    client.setblocking(False)
    client.connect_ex(listener.getsockname())
    return client


def heard_from(client, heard):
    """The one SYN of a client."""
    select.select(heard.sockets, [], [], 10)
    (syn,) = heard.read()
    assert (syn.client, syn.key[1]) == client.getsockname()[:2]
    return syn


def test_syn_is_refused(silent):
    listener, heard = silent
    with begun(listener) as client:
        heard.refuse(heard_from(client, heard))
        select.select([], [client], [], 10)

        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED


def test_syn_that_was_dropped_opens_a_connection_when_it_is_repeated(silent):
    listener, heard = silent
    with begun(listener) as client:
        syn = heard_from(client, heard)
        system.start_listening(listener)
        heard.repeat(syn)

        assert select.select([], [client], [], 10)[1] == [client]
        assert client.getpeername() == listener.getsockname()


def test_packets_of_others_are_not_heard(silent):
    listener, heard = silent
    with sockets.claim(listener.getsockname()[0], 0) as other:
        system.start_listening(other)
        with begun(other), begun(listener) as client:
            heard_from(client, heard)


def test_user_who_may_not_open_a_raw_socket_hears_nothing(monkeypatch):
    def refused(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(packets, "hearing_syns", refused)

    assert not syns.can_answer.__wrapped__(socket.AF_INET)
    monkeypatch.setattr(syns, "can_answer", lambda _family: False)
    assert syns.syns_of("127.0.0.1", 80) is None


@each_row("data", [b"\0\x01\xf2\x03\xf4\xf5\xf6\xf7", b"\xff\xff\xff\xff\x01"])
def test_checksum_adds_up_to_nothing_with_itself(data):
    total = syns.checksum(data)

    assert syns.checksum(data + b"\0" * (len(data) % 2) + total.to_bytes(2, "big")) == 0


def test_machine_that_hands_out_no_copy_of_a_syn_hears_nothing(monkeypatch):
    monkeypatch.setattr(syns.select, "select", lambda *_: ([], [], []))

    assert not syns.can_answer.__wrapped__(socket.AF_INET)
