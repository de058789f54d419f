"""The errors of the operating system and of lookups."""

from __future__ import annotations

from faultline._core.points import Point
from faultline._explain.entry import Entry

OPEN: tuple[Point, ...] = ("accept", "handshake", "request", "response", "tunnel", "idle")

SYSTEM: tuple[Entry, ...] = (
    Entry(
        "ConnectionError",
        "the operating system",
        "The family of errors of a connection that failed or broke. Python raises one of its four members; only "
        "a few calls, such as loop.sendfile() of asyncio, raise ConnectionError itself. A timeout, a failed lookup and "
        "an error of TLS are not in the family: they are other classes of OSError.",
        also=("builtins.ConnectionError",),
        members=("ConnectionRefusedError", "ConnectionResetError", "ConnectionAbortedError", "BrokenPipeError"),
        example="reset",
    ),
    Entry(
        "OSError",
        "the operating system",
        "The base of all errors of the operating system. Look at its `errno`: `faultline explain 113` tells of 113. "
        "requests derives its own exceptions from OSError, and so does aiohttp in part; httpx and urllib3 don't.",
        also=("IOError", "socket.error", "EnvironmentError"),
        members=("ConnectionError", "TimeoutError", "socket.gaierror", "ssl.SSLError", "ENETUNREACH", "EMFILE"),
        cause=("", "none"),
        example="timeout",
    ),
    Entry(
        "ConnectionRefusedError",
        "the operating system",
        "The other machine is there, and answered the connect with RST: no process listens on this port.",
        (
            "The server is down, or restarts and doesn't listen yet.",
            "The port or the host is wrong; `localhost` found ::1 and the server listens on 127.0.0.1 only.",
            "A firewall rejects with RST, or a load balancer has no healthy server behind it.",
            "In a container, `localhost` is the container itself.",
        ),
        also=("ECONNREFUSED",),
        messages=("Connection refused", "Connect call failed"),
        example="refused",
    ),
    Entry(
        "ConnectionResetError",
        "the operating system",
        "The other side sent RST: the connection is gone at once, with all bytes that were on their way. Whether the "
        "server has carried out the request is unknown.",
        (
            "The server process crashed, was killed, or closed its socket before it had read all that the client sent.",
            "A load balancer, a NAT or a firewall dropped an idle connection, and answers its next packet by RST.",
            "The server closed a kept-alive connection just when the client sent the next request.",
            "A proxy or a middlebox forbids the connection.",
        ),
        also=("ECONNRESET",),
        messages=("Connection reset by peer", "Connection reset"),
        main="reset()",
        points=("tunnel", "idle"),
        example="reset",
    ),
    Entry(
        "ConnectionAbortedError",
        "the operating system",
        "This side's own system gave the connection up. On Linux a server meets it (`accept` of a connection that has "
        "gone again), a client hardly ever; on Windows (WSAECONNABORTED, 10053) a client meets it where Linux has "
        "ConnectionResetError.",
        (
            "On Windows: the other side is gone, and the data that was sent was never acknowledged.",
            "On Windows: a virus scanner, a VPN or a sleeping network card cut the connection.",
            "On Linux: the client left between its SYN and the server's `accept`.",
        ),
        also=("ECONNABORTED",),
        messages=("Software caused connection abort", "An established connection was aborted"),
        points=OPEN,
        instead="No mode gives it: Linux has it for servers only. reset() tests the same `except ConnectionError:`.",
        example="reset",
    ),
    Entry(
        "BrokenPipeError",
        "the operating system",
        "The client sent on a connection whose other side had closed before. The write before that was still accepted: "
        "the error comes late, and says nothing about which bytes arrived.",
        (
            "The server answered and closed before it had read the whole upload: 413, 401, a limit on the body.",
            "A kept-alive connection was closed by the server, and the client wrote to it all the same.",
            "In a program that prints: the reader of the pipe has gone, as in `| head`.",
        ),
        also=("EPIPE", "ESHUTDOWN"),
        messages=("Broken pipe", "Cannot write to closing transport"),
        points=("idle",),
        example="upload",
    ),
    Entry(
        "TimeoutError",
        "the operating system",
        "Something took longer than the time given for it. With a timeout of Python (`settimeout`, asyncio) it has no "
        "errno; with errno 110 (ETIMEDOUT) the kernel itself gave up, after minutes.",
        (
            "The server is overloaded, or waits for something itself: a lock, a database, a full pool.",
            "At `connect`: the machine is down, or a firewall drops the packets without an answer.",
            "The network between the two is gone, and nobody said so: no FIN or RST ever comes.",
            "The client's timeout is shorter than what the server needs.",
        ),
        also=("ETIMEDOUT", "socket.timeout", "asyncio.TimeoutError", "asyncio.exceptions.TimeoutError"),
        messages=("timed out", "Connection timed out", "The handshake operation timed out"),
        main="stall()",
        points=("lookup", "tunnel"),
        example="timeout",
    ),
    Entry(
        "ENETUNREACH",
        "the operating system",
        "This machine has no route to the address; no packet left it. Python raises a plain OSError.",
        (
            "The name has an IPv6 address and this machine has no IPv6. Clients that try the next address hide it.",
            "The network is down: no default route, a VPN that has ended, a container without a network.",
        ),
        messages=("Network is unreachable",),
        cause=("OSError", "101"),
        example="unreachable",
    ),
    Entry(
        "EHOSTUNREACH",
        "the operating system",
        "There is a route, and yet the machine can't be reached: a router said so, or nobody answered ARP. "
        "Python raises a plain OSError.",
        (
            "The machine is off, or its address is not in use any more: a pod that has gone, an old DNS entry.",
            "A firewall rejects with an ICMP message (host unreachable, administratively prohibited).",
        ),
        messages=("No route to host",),
        points=("connect", *OPEN),
        instead="No mode gives it. unreachable() is the near case: ENETUNREACH, a plain OSError of the same call.",
        example="unreachable",
    ),
    Entry(
        "EADDRNOTAVAIL",
        "the operating system",
        "The client can't get an address or a port of its own for the connection. Python raises a plain OSError.",
        (
            "All of some 28,000 local ports are in use or in TIME_WAIT: each request opens a connection of its own.",
            "The client binds to an address that this machine doesn't have (`source_address`, `local_addr`).",
            "An IPv6 address such as ::1 in a container without IPv6.",
        ),
        messages=("Cannot assign requested address",),
        points=("connect",),
        instead="No mode gives it: connect with source_address=('192.0.2.1', 0), an address that no machine has.",
        example="unreachable",
    ),
    Entry(
        "EADDRINUSE",
        "the operating system",
        "Another socket has the port that a server binds, or that a client binds first. Python raises a plain OSError.",
        (
            "The program runs twice, or its predecessor still does.",
            "Connections of the last run are in TIME_WAIT, and the server doesn't set SO_REUSEADDR.",
        ),
        messages=("Address already in use",),
        points=("connect",),
        instead="No mode gives it: bind the port of a running server.",
        example="unreachable",
    ),
    Entry(
        "EMFILE",
        "the operating system",
        "This process has as many files and sockets open as it may (`ulimit -n`). Python raises a plain OSError, at "
        "whatever opens the next one: a connect, a lookup, reading the CA file.",
        (
            "The client leaks connections: responses or sessions that nobody closes.",
            "A new session or client is made for each request.",
            "More work at a time than the limit allows.",
        ),
        also=("ENFILE",),
        messages=("Too many open files",),
        points=("lookup", "connect"),
        instead="No mode gives it: the limit is the client's own. resource.setrlimit(RLIMIT_NOFILE, …) lowers it.",
        example="unreachable",
    ),
    Entry(
        "EACCES",
        "the operating system",
        "The system doesn't allow this connect or bind. Python raises PermissionError.",
        (
            "SELinux, a sandbox or another rule of this machine forbids it.",
            "A port below 1024 without the right to bind it.",
        ),
        also=("EPERM", "PermissionError"),
        messages=("Permission denied", "Operation not permitted"),
        points=("connect",),
        instead="No mode gives it: nothing on the network can bring it about.",
        example="unreachable",
    ),
)

LOOKUPS: tuple[Entry, ...] = (
    Entry(
        "socket.gaierror",
        "names and addresses",
        "The name could not be turned into an address, so there was no connection at all. Its `errno` is an EAI code, "
        "not one of the errno module. A timeout of the client rarely covers a lookup.",
        (
            "A typing error in the name, or a DNS entry that is missing.",
            "The DNS server is down, slow or not reachable from here.",
        ),
        also=("gaierror",),
        members=("EAI_NONAME", "EAI_AGAIN", "EAI_NODATA", "EAI_FAIL"),
        main="nxdomain()",
        example="lookup",
    ),
    Entry(
        "EAI_NONAME",
        "names and addresses",
        "There is no such name: the DNS server said NXDOMAIN, and /etc/hosts doesn't have it either. Python raises "
        "socket.gaierror.",
        (
            "A typing error, or a scheme or a port left in the name (`https://…` given as a host).",
            "The name is known inside a VPN, a cluster or a network of containers only.",
            "The entry is new, and an answer that it doesn't exist is still cached.",
        ),
        also=("-2", "EAI -2"),
        messages=("Name or service not known", "nodename nor servname provided", "getaddrinfo failed"),
        cause=("socket.gaierror", "-2"),
        example="lookup",
    ),
    Entry(
        "EAI_AGAIN",
        "names and addresses",
        "The lookup failed for now: no DNS server answered, or one said SERVFAIL. It may work in a moment. Python "
        "raises socket.gaierror.",
        (
            "The machine has no network, or a container no DNS server: a wrong /etc/resolv.conf.",
            "The DNS server is overloaded or down; too many lookups at once.",
        ),
        also=("-3", "EAI -3"),
        messages=("Temporary failure in name resolution",),
        cause=("socket.gaierror", "-3"),
        example="lookup",
    ),
    Entry(
        "EAI_NODATA",
        "names and addresses",
        "The name exists, and has no address of the kind that was asked for. Python raises socket.gaierror.",
        (
            "The name has IPv6 addresses only and the client asks for IPv4, or the other way round.",
            "The entry has other records only, such as MX or TXT.",
        ),
        also=("-5", "EAI -5", "EAI_ADDRFAMILY", "-9"),
        messages=("No address associated with hostname", "Address family for hostname not supported"),
        cause=("socket.gaierror", "-5"),
        example="lookup",
    ),
    Entry(
        "EAI_FAIL",
        "names and addresses",
        "The lookup failed, and trying again won't help. Python raises socket.gaierror.",
        ("The DNS server sends what the resolver of this machine can't use.",),
        also=("-4", "EAI -4"),
        messages=("Non-recoverable failure in name resolution",),
        points=("lookup",),
        cause=("socket.gaierror", "-4"),
        instead="No mode gives it. servfail() is the near case, which may work in a moment.",
        example="lookup",
    ),
)
