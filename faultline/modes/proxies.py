"""Modes of proxies: the ways in which a SOCKS proxy refuses a tunnel."""

from typing import Annotated, Literal, TypeAlias, get_args

from faultline._core.answers import SocksRefusal
from faultline._core.fault import Fault
from faultline.modes._registry import case, mode

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


@mode(
    *(case("a SOCKS refusal", f"version 5, reply {code}", kind=kind) for kind, code in SOCKS5_CODES.items()),
    case("a SOCKS refusal", "version 5, method 255", kind="no_acceptable_method"),
    case("a SOCKS refusal", "version 5, a method that the client did not offer", kind="unoffered_method"),
    case("a SOCKS refusal", "version 5, status 1 of the credentials", kind="bad_credentials"),
    *(case("a SOCKS refusal", f"version 4, reply {code}", kind=kind) for kind, code in SOCKS4_CODES.items()),
    case("garbage", kind="garbage"),
)
def socks_refusal(kind: Annotated[Kind, "how the proxy refuses the client"]) -> Fault:
    """Refuse a SOCKS client: by a reply code, by a wrong method, by its credentials, or by garbage.

    SOCKS5 has the reply codes `general_failure` (1), `not_allowed` (2), `network_unreachable` (3),
    `host_unreachable` (4), `connection_refused` (5), `ttl_expired` (6), `command_not_supported` (7) and
    `address_type_not_supported` (8) of RFC 1928, 6; before them, `no_acceptable_method` (0xFF),
    `unoffered_method` (a method that the client did not offer) and `bad_credentials` (RFC 1929). SOCKS4 has `rejected`
    (91), `identd_unreachable` (92) and `identd_mismatch` (93). A client of the other version gets the general failure
    of its version. `garbage` is an HTTP response.

    .. versionadded:: 0.1

    Example:
        >>> from faultline import socks_refusal
        >>> socks_refusal("connection_refused")
        socks_refusal('connection_refused')
    """
    return Fault(answer=SocksRefusal(kind))
