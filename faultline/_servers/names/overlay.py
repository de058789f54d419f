"""Replaces the lookups and connects of Python's `socket`, while an overlay is active.

Rules: no other module replaces functions of `socket`. A replacement calls the original for everything that no overlay
knows, and the originals are restored after the last overlay. Clients that don't use Python's `socket` (libpq, c-ares,
uvloop, gRPC) are not affected.
"""

from __future__ import annotations

import functools
import socket
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from faultline._core.errors import OutsideError
from faultline._core.fork import in_forked_child
from faultline._core.hosts import normal
from faultline._net.addresses import (
    Target,
    canonical,
    fitted,
    gaierror,
    host_and_port,
    ipv4_of,
    is_address,
    wrong_family,
)

# The class `socket` of the module `socket`, even if a plugin has replaced it with a subclass that refuses to connect.
# gevent's and eventlet's sockets have no such base class.
SOCKET: Any = next((kind for kind in socket.socket.__mro__ if kind.__module__ == "socket"), socket.socket)
LOOKUPS = ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr", "getnameinfo")
CONNECTS = ("connect", "connect_ex", "sendto", "sendmsg")


class Overlay(ABC):
    """Answers lookups and reroutes connects of this process; the newest overlay is asked first."""

    _public: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def look_up(self, function: str, name: str) -> Sequence[Target] | None:
        """The addresses of a name; `None` if this overlay doesn't know the name.

        Raises:
            socket.gaierror: the lookup fails, as planned.
        """

    @abstractmethod
    def name_of(self, host: str) -> str | None:
        """The name of an address; `None` if this overlay doesn't know the address.

        Raises:
            socket.gaierror: the lookup fails, as planned.
        """

    @abstractmethod
    def reroute(self, host: str, port: int) -> tuple[str, int] | None:
        """The address to connect to instead; `None` to leave the connect unchanged."""

    @abstractmethod
    def check(self, host: str, what: str) -> None:
        """Check that clients may look up a host or connect to it.

        Raises:
            OutsideError: clients may not.
        """


_overlays: tuple[Overlay, ...] = ()
_lock = threading.RLock()
_before: dict[tuple[Any, str], Any] = {}  # the replaced attributes, by owner and name; MISSING for inherited ones
_ours: dict[tuple[Any, str], Any] = {}
MISSING = object()
_stale: weakref.WeakKeyDictionary[Any, tuple[Any, Any]] = weakref.WeakKeyDictionary()


def put(overlay: Overlay) -> None:
    """Make lookups and connects ask this overlay first."""
    global _overlays  # noqa: PLW0603 - lookups are global to the process
    with _lock:
        _overlays = (overlay, *_overlays)
        _patch()


def remove(overlay: Overlay) -> None:
    """Stop asking an overlay; after the last overlay the originals are restored."""
    global _overlays  # noqa: PLW0603 - lookups are global to the process
    with _lock:
        _overlays = tuple(each for each in _overlays if each is not overlay)
        _patch()


def _patch() -> None:
    """Replace the functions that the overlays need, and restore the others."""
    wanted = {*((socket, name) for name in LOOKUPS), *((SOCKET, name) for name in CONNECTS)} if _overlays else set()
    for key in set(_before) - wanted:
        owner, name = key
        before, ours = _before.pop(key), _ours.pop(key, None)  # a fork may come between their beginnings
        if vars(owner).get(name) is not ours:
            continue  # other code has replaced it since, and may restore this replacement, which calls the original
        if before is MISSING:
            delattr(owner, name)
        else:
            setattr(owner, name, before)
    for key in wanted - set(_before):
        owner, name = key
        there, original = vars(owner).get(name, MISSING), getattr(owner, name)
        while there in _stale:  # an old replacement, which other code has kept and restored
            there, original = _stale[there]
        _before[key] = there
        _ours[key] = replaced(key, original)
        _stale[_ours[key]] = there, original
        setattr(owner, name, _ours[key])


def replaced(key: tuple[Any, str], original: Callable[..., Any]) -> Callable[..., Any]:
    """A replacement of a function; once it is removed it calls the original, since other code may have kept it."""
    ours = REPLACEMENTS[key[1]](original)

    @functools.wraps(original)
    def called(*args: Any, **options: Any) -> Any:
        return (ours if _ours.get(key) is called else original)(*args, **options)

    return called


@in_forked_child
def _forget() -> None:  # pragma: no cover - coverage is not measured in a fork
    """Remove the parent's overlays in a forked child."""
    global _overlays, _lock  # noqa: PLW0603 - lookups are global to the process
    _lock = threading.RLock()
    _overlays = ()
    _patch()


# --- lookups ---------------------------------------------------------------------------------------------------------


def _look_up(function: str, host: object) -> tuple[str, Sequence[Target]] | None:
    """The name in the client's spelling and its addresses, if an overlay knows the name."""
    if not isinstance(host, (str, bytes, bytearray)) or not host:
        return None
    asked = host if isinstance(host, str) else host.decode("ascii", "replace")
    if is_address(asked):
        return None
    overlays, name = _overlays, normal(asked)
    for overlay in overlays:
        found = overlay.look_up(function, name)
        if found is not None:
            return asked, found
    for overlay in overlays:
        overlay.check(name, f"{function}({asked!r})")
    return None


def _getaddrinfo(original: Callable[..., Any]) -> Callable[..., Any]:
    # Callers may pass arguments by the names of the original.
    def getaddrinfo(  # noqa: PLR0917
        host: Any,
        port: Any,
        family: int = 0,
        type: int = 0,  # noqa: A002
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        known = None if flags & socket.AI_NUMERICHOST else _look_up("getaddrinfo", host)
        if known is None:
            return original(host, port, family, type, proto, flags)
        asked, targets = known
        results: list[Any] = []
        failed: socket.gaierror | None = None
        for address, own_port in targets:
            try:
                results += original(address, port if own_port is None else own_port, family, type, proto, flags)
            except socket.gaierror as error:  # an address of another family than the client asked for
                failed = error
        if not results:
            raise failed or gaierror("no_address")
        if flags & socket.AI_CANONNAME:
            results = [(*r[:3], asked if i == 0 else "", r[4]) for i, r in enumerate(results)]
        return results

    return getaddrinfo


def _gethostbyname(original: Callable[..., Any]) -> Callable[..., Any]:
    def gethostbyname(hostname: Any) -> Any:
        known = _look_up("gethostbyname", hostname)
        return original(hostname) if known is None else ipv4_of(known[1])[0]

    return gethostbyname


def _gethostbyname_ex(original: Callable[..., Any]) -> Callable[..., Any]:
    def gethostbyname_ex(hostname: Any) -> Any:
        known = _look_up("gethostbyname_ex", hostname)
        return original(hostname) if known is None else (known[0], [], ipv4_of(known[1]))

    return gethostbyname_ex


def _gethostbyaddr(original: Callable[..., Any]) -> Callable[..., Any]:
    def gethostbyaddr(ip_address: Any) -> Any:
        known = _look_up("gethostbyaddr", ip_address)
        if known is not None:
            return known[0], [], [host for host, _ in known[1]]
        if isinstance(ip_address, str) and is_address(ip_address):
            name = _name_of(ip_address, "gethostbyaddr")
            if name is not None:
                return name, [], [ip_address]
        return original(ip_address)

    return gethostbyaddr


def _name_of(host: str, function: str) -> str | None:
    """The name of an address, if an overlay knows the address."""
    for overlay in _overlays:
        name = overlay.name_of(host)
        if name is not None:
            return name
    for overlay in _overlays:
        overlay.check(host, f"{function}({host!r})")
    return None


def _getnameinfo(original: Callable[..., Any]) -> Callable[..., Any]:
    def getnameinfo(sockaddr: Any, flags: int) -> Any:
        if isinstance(sockaddr, tuple) and sockaddr and not flags & socket.NI_NUMERICHOST:
            name = _name_of(str(sockaddr[0]), "getnameinfo")
            if name is not None:
                return name, original(sockaddr, flags | socket.NI_NUMERICHOST)[1]
        return original(sockaddr, flags)

    return getnameinfo


# --- connects --------------------------------------------------------------------------------------------------------


def _rerouted(sock: socket.socket, address: Any, what: str) -> Any:
    """The address to connect to instead of this address, or the same address.

    Raises:
        OutsideError: clients may not connect to this address.
    """
    there = host_and_port(address)
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or there is None:
        return address
    host, port = there
    overlays = _overlays
    known = _look_up(what, host)
    if known is not None:  # the host is a name, which the system would look up itself
        fitting = [t for t in known[1] if (":" in t[0]) is (sock.family == socket.AF_INET6)]
        if not fitting:
            raise wrong_family()
        host, port = fitting[0][0], port if fitting[0][1] is None else fitting[0][1]
    host = canonical(host)
    for overlay in overlays:
        there = overlay.reroute(host, port)
        if there is not None:
            return fitted(there, sock.family)
    for overlay in overlays:
        overlay.check(host, f"{what} to [{host}]:{port}" if ":" in host else f"{what} to {host}:{port}")
    return address if known is None else (host, port)


def _connected(sock: Any, address: Any) -> Any:
    """The address that a socket connects to instead, or the same address.

    Raises:
        OutsideError: clients may not connect to this address; the socket is closed, because its owner only expects an
            `OSError` and would leave it open.
    """
    try:
        return _rerouted(sock, address, "connect")
    except OutsideError:
        sock.close()
        raise


def _connect(original: Callable[..., Any]) -> Callable[..., Any]:
    def connect(self: Any, address: Any, /) -> Any:
        return original(self, _connected(self, address))

    return connect


def _connect_ex(original: Callable[..., Any]) -> Callable[..., Any]:
    def connect_ex(self: Any, address: Any, /) -> Any:
        return original(self, _connected(self, address))

    return connect_ex


def _sendto(original: Callable[..., Any]) -> Callable[..., Any]:
    def sendto(self: Any, data: Any, *rest: Any) -> Any:
        *flags, address = rest or (None,)
        return original(self, data, *flags, _rerouted(self, address, "sendto")) if rest else original(self, data)

    return sendto


def _sendmsg(original: Callable[..., Any]) -> Callable[..., Any]:
    def sendmsg(self: Any, buffers: Any, ancdata: Any = (), flags: int = 0, address: Any = None, /) -> Any:
        return original(self, buffers, ancdata, flags, _rerouted(self, address, "sendmsg"))

    return sendmsg


REPLACEMENTS: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "getaddrinfo": _getaddrinfo,
    "gethostbyname": _gethostbyname,
    "gethostbyname_ex": _gethostbyname_ex,
    "gethostbyaddr": _gethostbyaddr,
    "getnameinfo": _getnameinfo,
    "connect": _connect,
    "connect_ex": _connect_ex,
    "sendto": _sendto,
    "sendmsg": _sendmsg,
}
