"""All bytes of an attempt in order, of a server that was started with `record`.

Rules: memory is bounded, by one room for all attempts of a ledger. Once bytes of an attempt find no room, its later
bytes are counted and not kept, so that what is kept is a whole beginning.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from faultline._core.ends import Party

RECORDED_BYTES = 1 << 26
PIECE_BYTES = 200  # what a piece takes beside its bytes


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes that one side sent at once.

    .. versionadded:: 0.1

    Attributes:
        by: the side that sent the bytes.
        at_seconds: when they were sent or seen, in seconds since the server started.
        data: the bytes; with TLS that ends at the server, application bytes.
        in_tls: whether they were in TLS that ends at the server.
        at_proxy: whether they were said to a proxy or by it, and not through it.
    """

    by: Party
    at_seconds: float
    data: bytes
    in_tls: bool = False
    at_proxy: bool = False


class Room:
    """The bytes that a ledger may still record."""

    __slots__ = ("left_bytes",)

    def __init__(self, left_bytes: int) -> None:
        self.left_bytes = left_bytes

    def take(self, count_bytes: int) -> bool:
        """Take room for a piece of this size, if there is enough."""
        if count_bytes + PIECE_BYTES > self.left_bytes:
            return False
        self.left_bytes -= count_bytes + PIECE_BYTES
        return True

    def give_back(self, pieces: tuple[Piece, ...] | None) -> None:
        """Give back the room of pieces that are dropped."""
        self.left_bytes += sum(len(piece.data) + PIECE_BYTES for piece in pieces or ())


class Recorder:
    """The pieces of one attempt, as they come.

    Attributes:
        missing_bytes: how many bytes found no room.
        at_proxy: whether a proxy is spoken to, and not the server behind it.
    """

    __slots__ = ("_has_tunnel", "_pieces", "_room", "at_proxy", "missing_bytes")

    def __init__(self, room: Room) -> None:
        self._room = room
        self._pieces: list[Piece] = []
        self.missing_bytes = 0
        self.at_proxy = self._has_tunnel = False

    def says(self, by: Party, data: bytes | memoryview, now: float, *, in_tls: bool) -> None:
        """Record bytes that a side sent."""
        if self.missing_bytes or not self._room.take(len(data)):
            self.missing_bytes += len(data)
            return
        self._pieces.append(Piece(by, now, bytes(data), in_tls and not self._has_tunnel, self.at_proxy))

    def take_back(self, count_bytes: int) -> None:
        """Remove the last bytes of the client, which belong to the next attempt."""
        for number in range(len(self._pieces) - 1, -1, -1):
            piece = self._pieces[number]
            if piece.by == "client":
                left = max(len(piece.data) - count_bytes, 0)
                count_bytes -= len(piece.data) - left
                self._pieces[number] = replace(piece, data=piece.data[:left])
        self._pieces = [piece for piece in self._pieces if piece.data]

    def passes_proxy(self, ahead: bytes, now: float, *, has_tunnel: bool) -> None:
        """Take note that from here on all is said through a proxy: in a tunnel, `ahead` of the client too.

        A request without a tunnel is passed on as a whole.
        """
        self.at_proxy, self._has_tunnel = False, has_tunnel
        if not has_tunnel:
            self._pieces = [replace(piece, at_proxy=False) for piece in self._pieces]
        elif ahead and not self.missing_bytes:
            self.take_back(len(ahead))
            self._pieces.append(Piece("client", now, ahead))

    def frozen(self) -> tuple[Piece, ...]:
        """The pieces so far."""
        return tuple(self._pieces)
