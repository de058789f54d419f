"""Host names and addresses as text.

Rules: no function of this module looks up a name.
"""

from __future__ import annotations

import functools
import ipaddress
import re

from faultline._core.check import rejected

# An address that nothing can connect to: the broadcast address of the loopback network (`tcp_v4_connect`).
NOWHERE = "127.255.255.255"


def hostport(host: str, port: int) -> str:
    """`host:port`, with brackets around an address of IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@functools.lru_cache
def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An IP address from its text; nearly every server has the same.

    Raises:
        ValueError: the text is no IP address.
    """
    return ipaddress.ip_address(host)


def is_numeric(host: str) -> bool:
    """Whether a host is an IP address, and not a name."""
    try:
        address_of(host)
    except ValueError:
        return False
    return True


def is_local(host: str) -> bool:
    """Whether a host is `localhost` or a loopback address."""
    try:
        return address_of(host).is_loopback
    except ValueError:
        return host == "localhost"


def checked_name(name: object, *, pattern: bool = True) -> str:
    """A host name in the form that lookups compare: lower case, IDNA, without the final dot; or `*` for all names.

    Raises:
        ParameterError: the value is no host name: it is an address or a URL, has an empty or a long label, or is `*`
            where no pattern is allowed.
    """
    if name == "*" and pattern:
        return "*"
    if not isinstance(name, str) or not name:
        raise rejected("name", name, "a host name such as 'api.example.com', or '*' for all" if pattern else "a name")
    spelled = normal(name)
    labels = spelled.split(".")
    if "" in labels:
        raise rejected("name", name, "a host name without an empty label, such as 'api.example.com'")
    if len(spelled) > 253 or any(len(label) > 63 for label in labels):  # noqa: PLR2004 - RFC 1035, 2.3.4
        raise rejected("name", name, "a name of at most 253 bytes, in labels of at most 63 (RFC 1035, 2.3.4)")
    if not spelled.isascii():
        raise rejected("name", name, "a name that IDNA can encode, in labels of at most 63 bytes (RFC 5891, 4.2.4)")
    odd = any(c in "/:@*?#[]" or c.isspace() or not c.isprintable() for c in name)
    if odd or is_numeric(spelled):
        raise rejected("name", name, f"a host name alone: no address, URL, port or pattern{name_in(name)}")
    return spelled


def name_in(text: str) -> str:
    """`; write 'api.example.com'` for a URL, or a name with a port."""
    found = re.match(r"(?:\w+://)?(?:[^/@]*@)?([a-z0-9-]+(?:\.[a-z0-9-]+)+)(?::\d+)?(?:/.*)?$", text.lower())
    return f"; write {found[1]!r}" if found and not is_numeric(found[1]) else ""


def normal(name: str) -> str:
    """A name in lower case and in IDNA, without the final dot."""
    name = name.lower().removesuffix(".")
    try:
        return name if name.isascii() else name.encode("idna").decode("ascii")
    except UnicodeError:
        return name
