"""What a SOCKS proxy says instead of opening a tunnel.

Rules of this room: as a mode, the function here checks its parameter and returns a fault.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

from faultline._core.answers import SocksRefusal
from faultline._core.check import choice
from faultline._core.fault import Fault
from faultline._core.said import Said

__all__ = ["socks_refusal"]

Kind: TypeAlias = Literal[
    "general_failure",
    "not_allowed",
    "network_unreachable",
    "host_unreachable",
    "connection_refused",
    "ttl_expired",
    "command_not_supported",
    "address_type_not_supported",
    "no_acceptable_method",
    "unoffered_method",
    "bad_credentials",
    "rejected",
    "identd_unreachable",
    "identd_mismatch",
    "garbage",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
SOCKS5_CODES: dict[str, int] = {kind: code for code, kind in enumerate(KINDS[:8], 1)}  # RFC 1928, 6
SOCKS4_CODES: dict[str, int] = {"rejected": 91, "identd_unreachable": 92, "identd_mismatch": 93}


def socks_refusal(kind: Kind) -> Fault:
    """Refuse a SOCKS client: each reply code, a method that fits nobody, bad credentials, garbage.

    SOCKS5 has the reply codes `general_failure` (1), `not_allowed` (2), `network_unreachable` (3),
    `host_unreachable` (4), `connection_refused` (5), `ttl_expired` (6), `command_not_supported` (7) and
    `address_type_not_supported` (8) of RFC 1928, 6; before them, `no_acceptable_method` (0xFF),
    `unoffered_method` (one that the client did not offer) and `bad_credentials` (RFC 1929). SOCKS4 has `rejected`
    (91), `identd_unreachable` (92) and `identd_mismatch` (93). A client of the other version gets the general one.
    `garbage` is an HTTP response.

    Raises:
        ParameterError: no such kind.

    Example:
        >>> from faultline import socks_refusal
        >>> socks_refusal("connection_refused")
        socks_refusal('connection_refused')
    """
    choice("kind", kind, KINDS)
    return Fault(answer=SocksRefusal(kind), said=(Said("socks_refusal", (("kind", kind),), 1),))
