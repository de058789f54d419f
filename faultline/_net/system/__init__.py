"""The operating system: one interface, and the implementation for the system that this process runs on.

Rules: what differs between systems is in this folder, and nowhere else. The implementation is chosen when this module
is imported: Linux's own, or the portable one, which `FAULTLINE_PLATFORM=portable` chooses on Linux too.
"""

from __future__ import annotations

from faultline._core.errors import UnsupportedError
from faultline._net.system.interface import BACKLOG, Arrivals, Left, check_system, is_linux, reachable

if is_linux():
    from faultline._net.system.linux import (
        BOTH_ENDED,
        ENDED,
        HAS_RAW_SOCKETS,
        LACKS,
        NO_SIGNAL,
        PATH_BYTES,
        TELLS_OF_PEERS,
        WAS_RESET,
        Selector,
        arrivals,
        check_filter,
        check_silence,
        drop_packets,
        drop_syns,
        dropped_packets,
        ends_of,
        file_with,
        forget_stale,
        gai_text,
        has_real_select,
        is_answered,
        is_dead,
        keep_packets,
        last_sign,
        link,
        new_listener,
        opened_datagrams,
        outgoing_bytes,
        peers_socket,
        registered,
        sign_before_fin,
        start_listening,
        stop_listening,
        temporary,
        unread_bytes,
    )
else:
    from faultline._net.system.portable import (
        BOTH_ENDED,
        ENDED,
        HAS_RAW_SOCKETS,
        LACKS,
        NO_SIGNAL,
        PATH_BYTES,
        TELLS_OF_PEERS,
        WAS_RESET,
        Selector,
        arrivals,
        check_filter,
        check_silence,
        drop_packets,
        drop_syns,
        dropped_packets,
        ends_of,
        file_with,
        forget_stale,
        gai_text,
        has_real_select,
        is_answered,
        is_dead,
        keep_packets,
        last_sign,
        link,
        new_listener,
        opened_datagrams,
        outgoing_bytes,
        peers_socket,
        registered,
        sign_before_fin,
        start_listening,
        stop_listening,
        temporary,
        unread_bytes,
    )

__all__ = [
    "BACKLOG",
    "BOTH_ENDED",
    "ENDED",
    "HAS_RAW_SOCKETS",
    "LACKS",
    "NO_SIGNAL",
    "PATH_BYTES",
    "TELLS_OF_PEERS",
    "WAS_RESET",
    "Arrivals",
    "Left",
    "Selector",
    "arrivals",
    "check",
    "check_filter",
    "check_silence",
    "drop_packets",
    "drop_syns",
    "dropped_packets",
    "ends_of",
    "file_with",
    "forget_stale",
    "gai_text",
    "has_real_select",
    "is_answered",
    "is_dead",
    "is_linux",
    "keep_packets",
    "last_sign",
    "link",
    "need",
    "new_listener",
    "opened_datagrams",
    "outgoing_bytes",
    "peers_socket",
    "reachable",
    "registered",
    "sign_before_fin",
    "start_listening",
    "stop_listening",
    "temporary",
    "unread_bytes",
]


def check() -> None:
    """Refuse to run on a system without an implementation, and without real threads.

    Raises:
        UnsupportedError: this is Windows, or a library has replaced Python's threads or select.
        ParameterError: FAULTLINE_PLATFORM has an unknown value.
    """
    check_system(has_real_select=has_real_select())


def need(what: str) -> None:
    """Check that this system has what a fault needs.

    Raises:
        UnsupportedError: it has not, with the reason.
    """
    if what in LACKS:
        raise UnsupportedError(f"{LACKS[what]}.")
