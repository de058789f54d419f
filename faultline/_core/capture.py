"""A capture (pcapng) of what a server saw: its bytes, times and ends are real, its packets are reconstructed.

Rules: pure bytes. The form is that of draft-ietf-opsawg-pcapng; packets have the link type LINKTYPE_RAW, which begins
with the header of IP (RFC 791, RFC 8200), and TCP (RFC 9293).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from itertools import groupby

from faultline._core.attempts import Attempt
from faultline._core.check import flag, whole
from faultline._core.content import inner_protocol
from faultline._core.errors import ParameterError
from faultline._core.masking import Masker, Masks
from faultline._core.pieces import Piece
from faultline._core.recording import check_recorded
from faultline._core.replay import check_whole

COMMENT = (
    "Reconstructed by faultline from the ledger of a server: the bytes, their times, and FIN and RST are real. "
    "Addresses, ports of clients, sequence numbers, acknowledgements and segments are made up. "
    "Times count from the start of the server."
)
SECTION, INTERFACE, PACKET = 0x0A0D0D0A, 1, 6
LINKTYPE_RAW = 101
TCP = 6
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
LAST_NUMBER = 0xFFFFFFFF
SEGMENT_BYTES = 16_384
FIRST_PORT = 49_152  # RFC 6335: the first that is for clients
# Addresses for documentation: RFC 5737 and RFC 3849.
CLIENT_4, SERVER_4 = bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2))
CLIENT_6, SERVER_6 = (bytes.fromhex("20010db8") + bytes(11) + bytes((last,)) for last in (1, 2))


def capture_of(  # as `Ledger.to_pcap`
    attempts: tuple[Attempt, ...], *, record_bytes: int, dropped: int, mask: Masks, port: int, ipv6: bool
) -> bytes:
    """The bytes of the file.

    Raises:
        ParameterError: the server did not record, some bytes are missing, or secrets in them can't be found.
    """
    check_recorded(record_bytes, dropped)
    whole("port", port, "", 1, 65_535)
    check_whole(attempts, "all connections")
    masker, is_ipv6 = Masker(mask), flag("ipv6", ipv6)
    if mask is not False and any(inner_protocol(attempt) == "HTTP/2" for attempt in attempts):
        why = "compresses its fields, so that no secret in them is found"
        raise ParameterError(f"mask: expected a conversation in HTTP/1.1; HTTP/2 {why}. Use alpn=('http/1.1',).")
    streams: dict[int, list[Attempt]] = {}
    for attempt in attempts:
        streams.setdefault(-attempt.number if attempt.connection is None else attempt.connection, []).append(attempt)
    packets = [
        packet
        for number, own in enumerate(streams.values())
        for packet in Stream(FIRST_PORT + number % (65_536 - FIRST_PORT), port, is_ipv6).packets(own, masker)
    ]
    packets.sort(key=lambda packet: packet[0])  # which is stable
    blocks = [section(), interface(), *(packet_block(at, data) for at, data in packets)]
    return b"".join(blocks)


class Stream:
    """The packets of one connection."""

    def __init__(self, client_port: int, port: int, is_ipv6: bool) -> None:  # noqa: FBT001 - it selects the form
        addresses = (CLIENT_6, SERVER_6) if is_ipv6 else (CLIENT_4, SERVER_4)
        self._sides = {"client": (addresses[0], client_port), "server": (addresses[1], port)}
        self._next = {"client": 1_000, "server": 2_000}
        self._ended: set[str] = set()

    def packets(self, attempts: list[Attempt], masker: Masker) -> Iterator[tuple[float, bytes]]:
        """The packets with their times: the opening, the bytes, and the ends."""
        at = attempts[0].started_seconds
        yield at, self._packet("client", SYN)
        if attempts[0].connection is not None:
            yield at, self._packet("server", SYN | ACK)
            yield at, self._packet("client", ACK)
        for when, by, how, data in self._events(attempts, masker):
            for part in [data[i : i + SEGMENT_BYTES] for i in range(0, len(data), SEGMENT_BYTES)]:
                yield when, self._packet(by, PSH | ACK, part)
            if how == "RST" and not {"RST"} & self._ended:
                self._ended.add("RST")
                yield when, self._packet(by, RST | ACK)
            if how == "FIN" and not {by, "RST"} & self._ended:
                self._ended.add(by)
                yield when, self._packet(by, FIN | ACK)

    def _events(self, attempts: list[Attempt], masker: Masker) -> list[tuple[float, str, str, bytes]]:
        """The bytes and the ends in order: their times, the side, the sign of an end, and the bytes."""
        pieces = masked(sorted((p for a in attempts for p in a.pieces or ()), key=lambda p: p.at_seconds), masker)
        events = [(piece.at_seconds, side_of(piece.by), "", piece.data) for piece in pieces]
        events += [(end.at_seconds, side_of(end.by), end.how, b"") for attempt in attempts for end in attempt.ends]
        return sorted(events, key=lambda event: event[0])

    def _packet(self, by: str, flags: int, data: bytes = b"") -> bytes:
        """A packet of one side, with checksums that are right."""
        other = "client" if by == "server" else "server"
        (source, source_port), (target, target_port) = self._sides[by], self._sides[other]
        answers = self._next[other] if flags & ACK else 0
        numbers = self._next[by] & LAST_NUMBER, answers & LAST_NUMBER
        head = struct.pack(">HHIIBBHHH", source_port, target_port, *numbers, 5 << 4, flags, 65_535, 0, 0)
        length = len(head) + len(data)
        form = ">II" if len(source) == len(CLIENT_6) else ">HH"
        pseudo = source + target + struct.pack(form, *((length, TCP) if form == ">II" else (TCP, length)))
        head = head[:16] + struct.pack(">H", checksum(pseudo + head + data)) + head[18:]
        self._next[by] += len(data) + (1 if flags & (SYN | FIN) else 0)
        return ip_head(source, target, length) + head + data


def side_of(by: str) -> str:
    """The side of the connection with the client that a party is on."""
    return "client" if by == "client" else "server"


def masked(pieces: list[Piece], masker: Masker) -> Iterator[Piece]:
    """The pieces, with the secrets in each turn masked."""
    before = b""
    for by, own in groupby(pieces, lambda piece: piece.by):
        turn = [*own]
        said, at = b"".join(piece.data for piece in turn), 0
        data, before = masker.masked(by, said, before).data, said
        for piece in turn:
            yield Piece(by, piece.at_seconds, data[at : at + len(piece.data)], piece.in_tls)
            at += len(piece.data)


def ip_head(source: bytes, target: bytes, length: int) -> bytes:
    """The header of a packet of IPv4 or IPv6."""
    if len(source) == len(CLIENT_6):
        return struct.pack(">IHBB", 6 << 28, length, TCP, 64) + source + target
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + length, 0, 0x4000, 64, TCP, 0) + source + target
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:]


def checksum(data: bytes) -> int:
    """The checksum of the Internet (RFC 1071)."""
    total: int = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


# --- blocks of pcapng ------------------------------------------------------------------------------------------------


def padded(data: bytes) -> bytes:
    """Bytes up to the next multiple of four."""
    return data + bytes(-len(data) % 4)


def options(given: Iterable[tuple[int, bytes]]) -> bytes:
    """The options of a block, with their end."""
    return b"".join(struct.pack("<HH", code, len(value)) + padded(value) for code, value in given) + bytes(4)


def block(kind: int, body: bytes) -> bytes:
    """A block, with its length before and behind its body."""
    length = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + length + body + length


def section() -> bytes:
    """The block that begins the file, and says that its packets are reconstructed."""
    named = [(1, COMMENT.encode()), (4, b"faultline")]
    return block(SECTION, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + options(named))


def interface() -> bytes:
    """The block of the one interface, whose times are in microseconds."""
    named = [(2, b"faultline (reconstructed)"), (9, b"\x06")]
    return block(INTERFACE, struct.pack("<HHI", LINKTYPE_RAW, 0, 0) + options(named))


def packet_block(at_seconds: float, data: bytes) -> bytes:
    """The block of a packet."""
    at = round(at_seconds * 1_000_000)
    return block(PACKET, struct.pack("<IIIII", 0, at >> 32, at & 0xFFFFFFFF, len(data), len(data)) + padded(data))
