"""What the kernel knows of the other end of a connection on this machine: whether a program still holds it, and reads.

A FIN doesn't tell a client that has only finished sending from a client that has closed its socket. The kernel does,
for both ends of a connection on this machine: sock_diag(7) looks a socket up by its two addresses, in some 10 µs and
without privileges. Our own socket may be closed by then: the kernel is asked by a handle, which is the two addresses of
a TCP connection, or the number of the peer's Unix socket.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from dataclasses import dataclass, field
from typing import TypeAlias

from faultline._core.hosts import address_of
from faultline._net import system

# linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h, linux/unix_diag.h
SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, NLMSG_ERROR = 20, 1, 2
INET_DIAG_INFO, INET_DIAG_SHUTDOWN, NO_COOKIE, ANY_STATE = 2, 8, 0xFFFFFFFF, 0xFFFFFFFF
WANTED = 1 << (INET_DIAG_INFO - 1) | 1 << (INET_DIAG_SHUTDOWN - 1)
UDIAG_SHOW_PEER, UNIX_DIAG_PEER = 4, 2
SHUTDOWN_MASK = 3  # include/net/sock.h: both directions; a FIN from here alone sets the bit for receiving
HEAD = struct.Struct("=IHHII")  # nlmsghdr
ASK = struct.Struct("=BBBBI")  # inet_diag_req_v2, up to the addresses
TELL = struct.Struct("=4x48xIIIII")  # inet_diag_msg: the addresses lie between the state and the queues
ASK_UNIX = struct.Struct("=BBHIIIII")  # unix_diag_req
TELL_UNIX = struct.Struct("=4xI8x")  # unix_diag_msg: the inode lies between the state and the cookie
ATTRIBUTE = struct.Struct("=HH")  # nlattr
RECEIVED = struct.Struct("=128xQ")  # tcp_info, up to `tcpi_bytes_received`

Name: TypeAlias = tuple[str, int]
Handle: TypeAlias = "tuple[int, Name, Name] | int"  # family, the peer's address and ours; of a Unix socket the inode


@dataclass(frozen=True)
class Peer:
    """The other end of a connection.

    Attributes:
        unread_bytes: how much of what was sent to it, and has arrived, its program has not read yet.
        listens: whether a program holds the socket and has not ended both directions.
        received_bytes: how much of what was sent to it has arrived, whether acknowledged or not.
        inode: the number of the socket among the files of the machine; 0 if no program holds it, or if it wasn't asked.
    """

    unread_bytes: int
    listens: bool
    received_bytes: int = field(default=0, compare=False)
    inode: int = field(default=0, compare=False)


GONE = Peer(0, listens=False)


class Peers:
    """Looks the other ends of connections up."""

    def __init__(self) -> None:
        self._netlink = system.peers_socket()

    def close(self) -> None:
        """Close the socket to the kernel."""
        if self._netlink is not None:
            self._netlink.close()

    def of(self, sock: socket.socket) -> Peer | None:
        """The other end of a connection; `None` if it is on another machine, or if the kernel doesn't tell."""
        if not system.TELLS_OF_PEERS:
            return None
        if sock.family == socket.AF_UNIX:
            return of_unix(sock)
        names = names_of(sock)
        return GONE if names is None else self.at(names)

    def handle_of(self, sock: socket.socket) -> Handle | None:
        """What to ask for the other end of an open connection by, later; `None` if it has left, or can't be known."""
        if sock.family != socket.AF_UNIX:
            return names_of(sock)
        try:
            return inode_of_peer(self._asked(question_unix(os.fstat(sock.fileno()).st_ino)))
        except OSError:
            return None

    def at(self, handle: Handle) -> Peer | None:
        """The other end of a connection whose socket on our side may be closed; `None` as for `of`.

        Of a Unix socket it tells only whether a program holds it: our close has ended both its directions.
        """
        if not isinstance(handle, int) and not is_here(handle[1][0], handle[2][0]):
            return None
        try:
            return answered(self._asked(question_unix(handle) if isinstance(handle, int) else question(*handle)))
        except OSError:
            return None

    def _asked(self, question: bytes) -> bytes:
        """The kernel's answer to a question.

        Raises:
            OSError: the kernel doesn't tell.
        """
        if self._netlink is None:
            raise OSError(errno.EPROTONOSUPPORT, os.strerror(errno.EPROTONOSUPPORT))
        self._netlink.send(question)
        return self._netlink.recv(4096)


def names_of(sock: socket.socket) -> tuple[int, Name, Name] | None:
    """The family, the peer's address and ours of a TCP connection; `None` if the peer has reset it (ENOTCONN)."""
    try:
        return sock.family, sock.getpeername()[:2], sock.getsockname()[:2]
    except OSError:
        return None


def of_unix(sock: socket.socket) -> Peer:
    """The other end of a Unix socket: a close ends both directions (`unix_release_sock`), a shutdown only one."""
    return Peer(system.outgoing_bytes(sock), listens=not system.ends_of(sock) & system.BOTH_ENDED)


def is_here(theirs: str, ours: str) -> bool:
    """Whether a peer with this address is on this machine."""
    address = address_of(theirs)
    mapped = getattr(address, "ipv4_mapped", None)
    return theirs == ours or (mapped or address).is_loopback


def question(family: int, own: Name, other: Name) -> bytes:
    """A message that asks for the TCP socket with these two addresses."""
    ports = struct.pack("!HH", own[1], other[1])
    hosts = b"".join(socket.inet_pton(family, host).ljust(16, b"\0") for host, _ in (own, other))
    identity = ports + hosts + struct.pack("=III", 0, NO_COOKIE, NO_COOKIE)
    return message_of(ASK.pack(family, socket.IPPROTO_TCP, WANTED, 0, ANY_STATE) + identity)


def question_unix(inode: int) -> bytes:
    """A message that asks for the Unix socket with this inode, and for that of its peer."""
    return message_of(ASK_UNIX.pack(socket.AF_UNIX, 0, 0, ANY_STATE, inode, UDIAG_SHOW_PEER, NO_COOKIE, NO_COOKIE))


def message_of(body: bytes) -> bytes:
    """A message with a question."""
    return HEAD.pack(HEAD.size + len(body), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 0, 0) + body


def answered(message: bytes) -> Peer | None:
    """What the kernel's answer says."""
    kind = HEAD.unpack_from(message)[1]
    if kind == NLMSG_ERROR:
        is_unknown = struct.unpack_from("=i", message, HEAD.size)[0] == -errno.ENOENT
        return GONE if is_unknown else None
    if message[HEAD.size] == socket.AF_UNIX:
        return Peer(0, listens=True, inode=TELL_UNIX.unpack_from(message, HEAD.size)[0])
    _, unread, _, _, inode = TELL.unpack_from(message, HEAD.size)
    told = attributes_of(message[HEAD.size + TELL.size :])
    has_ended = told.get(INET_DIAG_SHUTDOWN, b"\0")[0] == SHUTDOWN_MASK
    info = told.get(INET_DIAG_INFO, b"")
    received = RECEIVED.unpack_from(info)[0] if len(info) >= RECEIVED.size else 0
    return Peer(unread, bool(inode) and not has_ended, received, inode)


def inode_of_peer(message: bytes) -> int | None:
    """The inode of the peer of a Unix socket, from an answer; `None` if the answer has no inode."""
    if HEAD.unpack_from(message)[1] == NLMSG_ERROR:
        return None
    told = attributes_of(message[HEAD.size + TELL_UNIX.size :])
    return int.from_bytes(told.get(UNIX_DIAG_PEER, b""), sys.byteorder) or None


def attributes_of(message: bytes) -> dict[int, bytes]:
    """The attributes of an answer, by their numbers."""
    told = {}
    while message:
        size, kind = ATTRIBUTE.unpack_from(message)
        told[kind] = message[ATTRIBUTE.size : size]
        message = message[(size + 3) & ~3 :]
    return told
