"""Hears the SYNs that come to a port, and answers a SYN with RST, or puts it on the wire again.

A raw socket gets a copy of every packet before TCP sees it (raw(7)), whichever process and library sends the packet. So
while TCP drops SYNs, each connect can be counted, and answered when the answer is known. Raw sockets need CAP_NET_RAW.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import select
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from faultline._core.errors import PortError
from faultline._net import sockets, system
from faultline._net.system import packets

READ_BYTES = 256  # the largest header of IPv4 and of TCP
RST_ACK = 0x14  # RFC 9293, 3.1
HOPS = 64
PROBE_SECONDS = 0.5


@dataclass(frozen=True)
class Syn:
    """A SYN of a client.

    Attributes:
        client: the address of the client.
        server: the address that the client connects to.
        segment: the packet without its IP header.
    """

    client: str
    server: str
    segment: bytes

    @property
    def key(self) -> tuple[str, int, int]:
        """What the repetitions of a SYN have in common: the client's address and port, and the sequence number."""
        port, _, number = struct.unpack_from("!HHI", self.segment)
        return self.client, port, number

    @property
    def rst(self) -> bytes:
        """The segment that refuses this connect (RFC 9293, 3.5.2), without its checksum."""
        theirs, ours, sequence = struct.unpack_from("!HHI", self.segment)
        return struct.pack("!HHIIBBHHH", ours, theirs, 0, (sequence + 1) & 0xFFFFFFFF, 5 << 4, RST_ACK, 0, 0, 0)


class Syns:
    """The SYNs that come to one port of this machine.

    Attributes:
        sockets: the raw sockets, one per family; each is readable when it has a SYN.
    """

    def __init__(self, host: str, port: int) -> None:
        """Hear the SYNs to this port from now on.

        Raises:
            OSError: this user may not open a raw socket.
        """
        hosts = ("::", "0.0.0.0") if host == "::" else (host,)  # noqa: S104 - as the server is bound
        with contextlib.ExitStack() as opened:
            self.sockets = [opened.enter_context(packets.hearing_syns(each, port)) for each in hosts]
            self._out = {s.family: opened.enter_context(packets.with_own_headers(s.family)) for s in self.sockets}
            self._close = opened.pop_all().close

    def read(self) -> Iterator[Syn]:
        """The SYNs that have come, one by one."""
        for sock in self.sockets:
            with contextlib.suppress(BlockingIOError):
                while True:
                    data, ancillary, _, address = sock.recvmsg(READ_BYTES, socket.CMSG_SPACE(32))
                    if sock.family == socket.AF_INET6:
                        yield Syn(address[0], socket.inet_ntop(socket.AF_INET6, ancillary[0][2][:16]), data)
                    else:
                        yield Syn(address[0], socket.inet_ntoa(data[16:20]), data[(data[0] & 15) * 4 :])

    def refuse(self, syn: Syn) -> None:
        """Answer a SYN with RST."""
        self._send(syn.server, syn.client, syn.rst)

    def repeat(self, syn: Syn) -> None:
        """Put a SYN on the wire again; TCP ignores it if the connection is open."""
        self._send(syn.client, syn.server, syn.segment)

    def _send(self, source: str, target: str, segment: bytes) -> None:
        packet = packed(source, target, segment)
        with contextlib.suppress(OSError):  # a full queue, or an address that has gone: as if the packet was lost
            family = sockets.family_of(target)
            self._out[family].sendto(packet, (target, 0))

    def close(self) -> None:
        """Hear no more SYNs."""
        self._close()


def packed(source: str, target: str, segment: bytes) -> bytes:
    """A packet of TCP with its headers and checksums (RFC 791, RFC 8200, RFC 9293)."""
    ends = ipaddress.ip_address(source).packed + ipaddress.ip_address(target).packed
    if ":" in source:
        head = struct.pack("!IHBB", 6 << 28, len(segment), socket.IPPROTO_TCP, HOPS) + ends
    else:  # the kernel fills in the identification and the checksum of the header (raw(7))
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0, HOPS, socket.IPPROTO_TCP, 0) + ends
    bare = segment[:16] + b"\0\0" + segment[18:]
    total = checksum(ends + struct.pack("!II", len(segment), socket.IPPROTO_TCP) + bare)
    return head + bare[:16] + struct.pack("!H", total) + bare[18:]


def checksum(data: bytes) -> int:
    """The Internet checksum of these bytes (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def syns_of(host: str, port: int) -> Syns | None:
    """The SYNs that come to a port; `None` where they can't be heard and answered."""
    return Syns(host, port) if can_answer(sockets.family_of(host)) else None


@functools.cache
def can_answer(family: int) -> bool:
    """Whether this process can hear a SYN and answer it, by trying it once on the loopback interface."""
    if not system.HAS_RAW_SOCKETS:
        return False
    host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
    with contextlib.ExitStack() as opened, contextlib.suppress(OSError, PortError):
        listener = opened.enter_context(sockets.claim(host, 0))
        for filler in system.drop_syns(listener)[1]:
            opened.enter_context(filler)
        syns = Syns(host, listener.getsockname()[1])
        opened.callback(syns.close)
        client = opened.enter_context(socket.socket(family, socket.SOCK_STREAM))
        client.setblocking(False)
        client.connect_ex(listener.getsockname())
        if select.select(syns.sockets, [], [], PROBE_SECONDS)[0]:
            for syn in syns.read():
                syns.refuse(syn)
            return bool(select.select([], [client], [], PROBE_SECONDS)[1])
    return False
