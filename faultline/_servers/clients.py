"""The clients of one server whose sockets programs on this machine still hold, though the server's may be closed.

A FIN of the server leaves a client's socket in CLOSE_WAIT until its program closes it, and a partition hides that it
has. So the kernel is asked for the client's socket itself.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping

from faultline._net.dialing import own_inodes
from faultline._net.peers import Handle, Peers

MOST_ENDED = 1000  # connections that the server has ended and whose clients may hold them


class Clients:
    """Knows the clients of the connections that the server has ended, until they have left.

    Rules: every method is called in the loop's thread.
    """

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self._number_of: dict[Handle, int] = {}  # the number of the connection, in the order of the ends

    def add(self, number: int, client: Handle) -> None:
        """Take note of the end of a connection; if an earlier one had the same addresses, its client has left."""
        self._number_of.pop(client, None)
        self._number_of[client] = number

    def held(self, still_open: Mapping[int, socket.socket]) -> tuple[int, ...]:
        """The numbers of the connections that clients hold: of those that are open, and of those that were ended.

        Where the kernel doesn't tell they are those that are open here. A relay's connection to its upstream is none:
        the relay ends it with that of its own client.
        """
        own, held, here = own_inodes(), [], set()
        for number, sock in still_open.items():
            client = self._peers.handle_of(sock)
            here.add(client)
            peer = self._peers.of(sock) if client is None else self._peers.at(client)
            if peer is None or (peer.listens and peer.inode not in own):
                held.append(number)
        for client, number in list(self._number_of.items()):
            peer = self._peers.at(client)
            if client in here or (peer is not None and not peer.listens):
                del self._number_of[client]
            elif peer is not None and peer.inode not in own:
                held.append(number)
        return tuple(sorted(held))

    def trim(self) -> None:
        """If there are many, forget the clients that have left; of too many others forget those that ended first."""
        if len(self._number_of) > MOST_ENDED:
            self.held({})
            for client in list(self._number_of)[: -MOST_ENDED // 2]:
                del self._number_of[client]
