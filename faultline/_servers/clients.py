"""The clients of one server whose sockets programs on this machine still hold, though the server's may be closed.

A FIN of the server leaves a client's socket in CLOSE_WAIT until its program closes it, and a partition hides that it
has. So the kernel is asked for the client's socket itself.
"""

from __future__ import annotations

import socket
from collections.abc import Collection

from faultline._net.dialing import own_inodes
from faultline._net.peers import Handle, Peers

MOST_ENDED = 1000  # connections that the server has ended and whose clients may hold them


class Clients:
    """Knows the client's end of each connection from its accept until the client has left.

    Rules: every method is called in the loop's thread.
    """

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self._number_of: dict[Handle, int] = {}  # the number of the connection, in the order of the accepts

    def add(self, number: int, sock: socket.socket) -> None:
        """Take note of an accepted socket; if an earlier connection had the same addresses, its client has left."""
        handle = self._peers.handle_of(sock)
        if handle is not None:
            self._number_of.pop(handle, None)
            self._number_of[handle] = number

    def held(self, still_open: Collection[int]) -> tuple[int, ...]:
        """The numbers of the connections that clients hold.

        Where the kernel doesn't tell they are those that are open here. A relay's connection to its upstream is none:
        the relay ends it with that of its own client.
        """
        here = frozenset(still_open)
        own, held, unknown = own_inodes(), [], set(here)
        for handle, number in list(self._number_of.items()):
            peer = self._peers.at(handle)
            if peer is None:
                continue
            unknown.discard(number)
            if peer.listens and peer.inode not in own:
                held.append(number)
            elif not peer.listens and number not in here:
                del self._number_of[handle]
        return tuple(sorted({*held, *unknown}))

    def are_many(self, open_count: int) -> bool:
        """Whether the clients of more ended connections are known than should be kept."""
        return len(self._number_of) > open_count + MOST_ENDED

    def trim(self, still_open: Collection[int]) -> None:
        """Forget the clients of ended connections that have left; of too many others forget the oldest."""
        here, others = frozenset(still_open), []
        for handle in [handle for handle, number in self._number_of.items() if number not in here]:
            peer = self._peers.at(handle)
            if peer is None or peer.listens:
                others.append(handle)
            else:
                del self._number_of[handle]
        for handle in others[: -MOST_ENDED // 2]:
            del self._number_of[handle]

    def forget(self) -> None:
        """Forget all clients."""
        self._number_of.clear()
