"""The kernel's facts about a connection that the platform room relies on, one test each."""

from __future__ import annotations

import errno
import select
import socket
from contextlib import suppress

import pytest
from support.tables import each_row

from faultline._core.errors import UnsupportedError
from faultline._core.hosts import NOWHERE
from faultline._net import ending, sockets, system
from faultline._net.system import packets

PATIENCE_SECONDS = 10.0
MIB = 1 << 20


def may_filter():
    try:
        system.check_filter()
    except UnsupportedError:
        return False
    return True


needs_filter = pytest.mark.skipif(not may_filter(), reason="attaching a socket filter takes CAP_NET_ADMIN here")


@pytest.fixture
def pair():
    """A client and the server's side of its connection."""
    with sockets.claim("127.0.0.1", 0) as door:
        system.start_listening(door)
        with (
            socket.create_connection(door.getsockname(), timeout=PATIENCE_SECONDS) as client,
            door.accept()[0] as server,
        ):
            server.settimeout(PATIENCE_SECONDS)
            yield client, server


def await_hangup(sock):
    """Wait until the RST of the other side has come; nothing is read, so its error is left for the test."""
    poll = select.poll()
    poll.register(sock, 0)
    assert poll.poll(PATIENCE_SECONDS * 1000)


def await_input(sock, count):
    """Wait until so many bytes can be read."""
    while len(sock.recv(count, socket.MSG_PEEK)) < count:
        pass


def read_to_the_end(client):
    """How many bytes came, and the type of the error that ended it, if any."""
    count = 0
    try:
        while data := client.recv(1 << 16):
            count += len(data)
    except OSError as error:
        return count, type(error)
    return count, None


def send_until_full(sock):
    """Fill a connection whose other side doesn't read; how many bytes it took."""
    sock.setblocking(False)
    count = 0
    with suppress(BlockingIOError):
        while True:
            count += sock.send(bytes(65_536))
    return count


# --- how a connection ends -------------------------------------------------------------------------------


def test_closing_with_unread_input_sends_rst(pair):
    client, server = pair
    client.sendall(b"unread")
    await_input(server, 6)
    server.close()

    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_closing_after_the_input_was_discarded_sends_fin(pair):
    client, server = pair
    client.sendall(b"unread" * 5_000)
    await_input(server, 30_000)
    server.setblocking(False)
    ending.discard_input(server)
    server.close()

    assert client.recv(1) == b""


def test_discarding_input_ends_at_its_limit(pair, monkeypatch):
    client, server = pair
    client.sendall(bytes(5_000))
    await_input(server, 5_000)
    monkeypatch.setattr(ending, "READ_BYTES", 1_000)
    ending.discard_input(server, 2_000)

    assert len(server.recv(10_000)) == 3_000


def test_discarding_input_ends_at_the_clients_fin(pair):
    client, server = pair
    client.close()
    server.recv(1)
    ending.discard_input(server)

    assert server.recv(1) == b""


def test_linger_of_0_sends_rst(pair):
    client, server = pair
    ending.send_rst(server)

    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_rst_throws_away_what_was_not_delivered(pair):
    client, server = pair
    sent = send_until_full(server)
    ending.send_rst(server)
    received, error = read_to_the_end(client)

    assert 0 < received < sent
    assert error is ConnectionResetError


def test_after_rst_the_first_operation_is_a_reset_and_later_sends_are_a_broken_pipe(pair):
    client, server = pair
    ending.send_rst(server)

    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with pytest.raises(BrokenPipeError):
        client.send(b"x")


def test_after_fin_and_then_rst_reads_are_at_the_end_and_the_next_send_is_a_broken_pipe(pair):
    client, server = pair
    ending.finish(server)
    before = client.recv(1)
    ending.send_rst(server)
    await_hangup(client)

    assert before == client.recv(1) == b""
    with pytest.raises(BrokenPipeError):
        client.send(b"x")


def test_receiving_goes_on_after_fin(pair):
    client, server = pair
    server.sendall(b"last")
    ending.finish(server)

    assert client.recv(100) + client.recv(100) == b"last"
    client.sendall(b"more")
    assert server.recv(100) == b"more"


def test_fin_to_a_client_that_has_reset_is_no_error(pair):
    client, server = pair
    ending.send_rst(client)
    with pytest.raises(ConnectionResetError):
        server.recv(1)

    ending.finish(server)

    assert ending.is_dead(server)


def test_kernel_tells_how_much_is_not_acknowledged(pair):
    client, server = pair
    before = sockets.unacknowledged_bytes(server)
    sent = send_until_full(server)
    full = sockets.unacknowledged_bytes(server)
    server.settimeout(PATIENCE_SECONDS)
    while sent:
        sent -= len(client.recv(MIB))
    client.close()
    server.recv(1)

    assert before == 0 < full
    assert sockets.unacknowledged_bytes(server) == 0


def test_connection_with_a_narrow_window_takes_less_of_what_nobody_reads():
    taken = []
    for prepare in (lambda _: None, sockets.narrow_window):
        with sockets.claim("127.0.0.1", 0) as door:
            prepare(door)
            system.start_listening(door)
            with socket.create_connection(door.getsockname()) as client, door.accept()[0]:
                taken.append(send_until_full(client))

    assert taken[1] < taken[0]


def test_state_tells_that_the_client_has_reset(pair):
    client, server = pair
    alive = ending.is_dead(server)
    ending.send_rst(client)
    with pytest.raises(ConnectionResetError):
        server.recv(1)

    assert (alive, ending.is_dead(server)) == (False, True)


@each_row("how", [None, "FIN", "RST"])
def test_unix_socket_tells_the_last_sign_of_its_peer_before_it_sends_its_own(how):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        if how == "RST":  # a close with bytes unread
            ours.send(b"unread")
        if how is not None:
            theirs.close()

        assert (ending.last_sign(ours), ending.finish(ours)[0]) == (how, how)


def test_prepared_socket_neither_blocks_nor_delays(pair):
    _, server = pair
    sockets.prepare(server)

    assert not server.getblocking()
    assert server.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_broadcast_address_of_the_loopback_network_is_unreachable():
    with socket.socket() as client, pytest.raises(OSError, match="unreachable") as raised:
        client.connect((NOWHERE, 9))

    assert (type(raised.value), raised.value.errno) == (OSError, errno.ENETUNREACH)


# --- packets that vanish ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.everywhere
@needs_filter
def test_data_of_a_client_whose_packets_are_dropped_is_never_acknowledged(pair):
    client, server = pair
    system.drop_packets(server)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 50)
    client.sendall(b"into the void")

    with pytest.raises(TimeoutError) as raised:
        client.recv(1)
    assert raised.value.errno == errno.ETIMEDOUT


@pytest.mark.slow
@pytest.mark.everywhere
@needs_filter
@pytest.mark.parametrize("probability", [1.0, 1 - 1e-9])
def test_dropped_packets_come_again_when_they_are_kept(pair, probability):
    client, server = pair
    system.drop_packets(server, probability)
    client.sendall(b"again")
    server.setblocking(False)
    with pytest.raises(BlockingIOError):
        server.recv(5)
    server.settimeout(PATIENCE_SECONDS)
    system.keep_packets(server)

    assert server.recv(5) == b"again"


@needs_filter
def test_packets_that_are_hardly_ever_dropped_arrive(pair):
    client, server = pair
    system.drop_packets(server, 1e-9)
    client.sendall(b"at once")

    assert server.recv(7) == b"at once"


def test_user_who_may_not_attach_a_filter_is_told_what_is_missing(monkeypatch):
    monkeypatch.setattr(packets, "SO_ATTACH_FILTER", 0x7FFF)

    with pytest.raises(UnsupportedError, match=r"which this user may not attach \(.+\); run with CAP_NET_ADMIN\.$"):
        packets.check_filter()
