"""Why a test of Linux itself has no sense with the portable implementation; a reason has the name of its mark."""

from __future__ import annotations

REASONS = {
    "listener": "a port is kept by another socket than on Linux",
    "packets": "raw sockets see connects of every client on Linux alone",
    "peers": "whether the other program has read, or has left behind unread bytes, only Linux tells",
    "half-closed": "a client that has only finished sending counts as one that has left",
    "acknowledged": "which bytes were acknowledged only Linux and macOS tell",
    "files in memory": "files in memory are Linux's own",
    "filter": "packet filters are Linux's own",
}
