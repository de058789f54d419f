"""What the kernel tells of the other end of a connection."""

from __future__ import annotations

import errno
import os
import socket
import struct
from contextlib import closing

import pytest
from support.tables import each_row

from faultline import serve, stall
from faultline._net import ending, peers
from faultline._net.peers import GONE, Peer, Peers, answered, is_here

HOSTS = {"ipv4": ("127.0.0.1", "127.0.0.1"), "ipv6": ("::1", "::1"), "ipv4 at ::": ("::", "127.0.0.1")}


@pytest.fixture(params=HOSTS)
def pair(request):
    """A client and the server's side of its connection."""
    bound, dialled = HOSTS[request.param]
    family = socket.AF_INET6 if ":" in bound else socket.AF_INET
    with socket.create_server((bound, 0), family=family, dualstack_ipv6=bound == "::") as door:
        client = socket.create_connection((dialled, door.getsockname()[1]), timeout=10)
        server, _ = door.accept()
        with client, server:
            yield client, server


@pytest.fixture
def known():
    """The peers of connections."""
    with closing(Peers()) as found:
        yield found


def test_bytes_that_the_peer_has_not_read_are_counted(pair, known):
    client, server = pair
    server.sendall(b"hello")
    before = known.of(server)
    client.recv(2)

    assert (before, known.of(server)) == (Peer(5, listens=True), Peer(3, listens=True))


def test_bytes_that_have_arrived_are_counted_whether_they_are_read_or_not(pair, known):
    client, server = pair
    server.sendall(b"hello")
    before = known.of(server).received_bytes
    client.recv(2)

    assert (before, known.of(server).received_bytes) == (5, 5)


def test_a_peer_that_has_finished_sending_listens(pair, known):
    pair[0].shutdown(socket.SHUT_WR)

    assert known.of(pair[1]) == Peer(0, listens=True)


def test_a_peer_that_has_a_fin_to_read_listens(pair, known):
    pair[1].shutdown(socket.SHUT_WR)
    before = known.of(pair[1])
    pair[0].recv(1)

    assert (before, known.of(pair[1])) == (Peer(1, listens=True), Peer(0, listens=True))


@pytest.mark.parametrize("leave", [socket.socket.close, lambda client: client.shutdown(socket.SHUT_RDWR)])
def test_a_peer_that_is_closed_or_has_ended_both_directions_does_not_listen(pair, known, leave):
    leave(pair[0])

    assert not known.of(pair[1]).listens


def test_a_peer_that_has_reset_does_not_listen(pair, known):
    ending.send_rst(pair[0])

    assert known.of(pair[1]) == GONE


def test_a_peer_on_a_unix_socket_is_known_without_asking(known):
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours:
        ours.sendall(b"hello")
        assert known.of(ours).unread_bytes > 0
        theirs.recv(5)
        theirs.shutdown(socket.SHUT_WR)
        assert known.of(ours) == Peer(0, listens=True)
        theirs.close()
        assert not known.of(ours).listens


@each_row(
    ("theirs", "ours", "here"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.9.9.9", "127.0.0.1", True),
        ("::1", "::1", True),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1", True),
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.2", "192.0.2.1", False),
        ("2001:db8::2", "2001:db8::1", False),
    ],
)
def test_a_peer_is_here_at_a_loopback_address_or_at_the_address_of_the_server(theirs, ours, here):
    assert is_here(theirs, ours) is here


@each_row(("code", "peer"), [(errno.ENOENT, GONE), (errno.EPERM, None)])
def test_a_socket_that_the_kernel_does_not_know_is_gone_and_after_another_error_it_is_not_known(code, peer):
    error = struct.pack("=IHHII", 36, peers.NLMSG_ERROR, 0, 0, 0) + struct.pack("=i", -code) + bytes(16)

    assert answered(error) == peer


def test_an_answer_without_the_ends_of_the_directions_is_of_a_socket_that_listens():
    answer = bytes(16 + 4 + 48) + struct.pack("=IIIII", 0, 3, 0, 0, 99) + struct.pack("=HHI", 8, 1, 0)

    assert answered(answer) == Peer(3, listens=True)


def refuse_to_tell(*_):
    """As a kernel without sock_diag does."""
    raise OSError(errno.EPROTONOSUPPORT, "Protocol not supported")


@pytest.mark.parametrize("found", [refuse_to_tell, lambda *_: None], ids=["no sock_diag", "another machine"])
def test_where_the_kernel_does_not_tell_a_fin_is_taken_for_leaving(monkeypatch, found):
    with serve(stall()) as server, socket.create_connection(server.address, 10) as client:
        monkeypatch.setattr(peers, "question" if found is refuse_to_tell else "answered", found)
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        server.wait_for_attempts(1, at="strike")
        client.shutdown(socket.SHUT_WR)

        assert server.wait_for_attempts(1, at="end")[0].ended_how == "FIN"


# --- after the close of our own socket -------------------------------------------------------------------------------


def test_a_peer_is_known_when_our_socket_is_closed(pair, known):
    client, server = pair
    handle = known.handle_of(server)
    server.close()
    assert client.recv(1) == b""
    held = known.at(handle)
    inode = os.fstat(client.fileno()).st_ino
    client.close()

    assert (held.listens, held.inode, known.at(handle).listens) == (True, inode, False)


def test_a_peer_on_a_unix_socket_is_known_when_our_socket_is_closed(known):
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    handle, inode = known.handle_of(ours), os.fstat(theirs.fileno()).st_ino
    ours.close()
    held = known.at(handle)
    theirs.close()

    assert (handle, held.listens, held.inode, known.at(handle)) == (inode, True, inode, GONE)


def test_a_peer_that_has_reset_or_does_not_exist_has_no_handle(pair, known):
    ending.send_rst(pair[0])
    with socket.socket(socket.AF_UNIX) as alone:
        assert [known.handle_of(sock) for sock in (pair[1], alone)] == [None, None]


def test_a_unix_socket_that_the_kernel_does_not_know_has_no_peer():
    error = struct.pack("=IHHII", 36, peers.NLMSG_ERROR, 0, 0, 0) + struct.pack("=i", -errno.ENOENT) + bytes(16)

    assert peers.inode_of_peer(error) is None


def test_without_sock_diag_a_unix_socket_has_no_handle(known, monkeypatch):
    monkeypatch.setattr(known, "_netlink", None)
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert known.handle_of(ours) is None


def test_a_peer_on_another_machine_is_not_known(monkeypatch, pair, known):
    monkeypatch.setattr(peers, "is_here", lambda *_: False)

    assert known.of(pair[1]) is None


def test_without_sock_diag_no_peer_is_known(monkeypatch, pair):
    def refused(*_):
        raise OSError(errno.EPROTONOSUPPORT, "Protocol not supported")

    with monkeypatch.context() as patch:
        patch.setattr(peers.socket, "socket", refused)
        known = Peers()

    with closing(known):
        assert known.of(pair[1]) is None
