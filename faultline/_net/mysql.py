"""MySQL and MariaDB before TLS: the server offers it in its greeting, and the client asks with a short response.

A packet is its length in 3 bytes, its number in 1, and its payload. The numbers go on through TLS until the client is
logged in. An upstream without TLS gets no request for it, so that its packets and the client's differ by one then.
"""

from __future__ import annotations

from faultline._net.upgrade import Upgrade

HEADER_BYTES = 4
VERSION_10 = 10  # of the protocol, which all servers since MySQL 3.21 speak
CLIENT_SSL = 0x0800  # of the capabilities
REQUEST_BYTES = 32  # the payload of a request for TLS: a response without a user
OK, ERROR = b"\0", b"\xff"
BEFORE_CAPABILITIES = 4 + 8 + 1  # a thread's number, the first part of the salt, and a zero


class MySql(Upgrade):
    """MySQL: the client asks for TLS and begins it at once, without a reply."""

    def __init__(self) -> None:
        super().__init__()
        self._of_client = self._of_upstream = b""
        self._offers = True
        self._logs_in = False  # in TLS, while the upstream has none
        self.hears_client = False  # before the greeting

    @property
    def wanted_bytes(self) -> int:
        return lacking_bytes(self._of_client)

    @property
    def wanted_of_upstream_bytes(self) -> int:
        return lacking_bytes(self._of_upstream)

    def upstream_says(self, data: bytes) -> None:
        self._of_upstream += data
        if lacking_bytes(self._of_upstream):
            return
        packet, self._of_upstream = self._of_upstream, b""
        if self._logs_in:
            self.to_client += renumbered(packet, 1)
            self.is_over = packet[HEADER_BYTES : HEADER_BYTES + 1] in (OK, ERROR)
            return
        at = capabilities_at(packet)
        if at is None:
            self.to_client += packet  # an error, such as too many connections
            self.is_over = True
            return
        self._offers = bool(packet[at + 1] << 8 & CLIENT_SSL)
        self.to_client += packet if self._offers else with_bit(packet, at + 1, is_set=True)
        self.hears_client, self.hears_upstream = True, False

    def client_says(self, data: bytes) -> None:
        self._of_client += data
        if lacking_bytes(self._of_client):
            return
        packet, self._of_client = self._of_client, b""
        if self._logs_in:
            response = packet if self.hears_upstream else with_bit(packet, HEADER_BYTES + 1, is_set=False)
            self.to_upstream += renumbered(response, -1)
            self.hears_upstream = True
        elif len(packet) == HEADER_BYTES + REQUEST_BYTES and packet[HEADER_BYTES + 1] << 8 & CLIENT_SSL:
            if self._offers:
                self.to_upstream += packet
            self.agree(upstream=self._offers)
            self._logs_in, self.is_over = not self._offers, self._offers
        else:
            self.to_upstream += packet
            self.is_over = True


def lacking_bytes(packet: bytes) -> int:
    """How many bytes the beginning of a packet lacks: of its header, or then of its payload."""
    if len(packet) < HEADER_BYTES:
        return HEADER_BYTES - len(packet)
    return HEADER_BYTES + int.from_bytes(packet[:3], "little") - len(packet)


def capabilities_at(greeting: bytes) -> int | None:
    """Where the lower two bytes of the capabilities are in a greeting; `None` if it is none."""
    end = greeting.find(b"\0", HEADER_BYTES)  # of the server's version
    at = end + 1 + BEFORE_CAPABILITIES
    known = greeting[HEADER_BYTES : HEADER_BYTES + 1] == bytes([VERSION_10]) and end >= 0 and len(greeting) > at + 1
    return at if known else None


def with_bit(packet: bytes, at: int, *, is_set: bool) -> bytes:
    """A packet whose capabilities have CLIENT_SSL or not; `at` is the second of their bytes."""
    bit = CLIENT_SSL >> 8
    changed = bytes(byte | bit if is_set else byte & ~bit for byte in packet[at : at + 1])
    return packet[:at] + changed + packet[at + 1 :]


def renumbered(packet: bytes, difference: int) -> bytes:
    """A packet with another number."""
    return packet[:3] + bytes([(packet[3] + difference) % 256]) + packet[HEADER_BYTES:]
