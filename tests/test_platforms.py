"""On macOS the package runs without what only Linux has; on Windows it can be imported, and says what it needs.

No macOS was at hand: a process of its own takes away what Python has there on Linux alone, before it imports the
package, and plays a conversation of each kind.
"""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import runpy
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from support.portable import REASONS

from faultline._net.system import linux, portable

TOP = Path(__file__).parents[1]

# What Python has on Linux and not on macOS or Windows (docs.python.org, "Availability").
LINUX_ALONE = {
    "os": "eventfd eventfd_read eventfd_write memfd_create pidfd_open pipe2 splice posix_fadvise sched_getaffinity "
    "sched_setaffinity getrandom copy_file_range getxattr setxattr setns unshare",
    "select": "epoll EPOLLIN EPOLLOUT EPOLLRDHUP EPOLLHUP EPOLLERR EPOLLET EPOLLONESHOT EPOLLPRI EPOLLEXCLUSIVE "
    "EPOLLRDNORM EPOLLRDBAND EPOLLWRNORM EPOLLWRBAND EPOLLMSG EPOLL_CLOEXEC POLLRDHUP POLLMSG",
    "selectors": "EpollSelector",
    "signal": "sigtimedwait sigwaitinfo pidfd_send_signal SIGRTMIN SIGRTMAX SIGSTKFLT SIGPWR",
    "socket": "AF_PACKET AF_NETLINK AF_VSOCK AF_ALG AF_CAN AF_TIPC AF_QIPCRTR AF_RDS PACKET_HOST PACKET_OUTGOING "
    "SO_PEERCRED SO_PASSCRED SO_PEERSEC SO_MARK SO_PRIORITY SO_DOMAIN SO_PROTOCOL SO_BINDTODEVICE SO_INCOMING_CPU "
    "SOCK_NONBLOCK SOCK_CLOEXEC MSG_NOSIGNAL MSG_CMSG_CLOEXEC MSG_ERRQUEUE MSG_MORE MSG_CONFIRM "
    "MSG_FASTOPEN TCP_USER_TIMEOUT TCP_QUICKACK TCP_INFO TCP_CORK TCP_DEFER_ACCEPT TCP_LINGER2 TCP_SYNCNT "
    "TCP_WINDOW_CLAMP TCP_CONGESTION IPPROTO_MPTCP IP_BIND_ADDRESS_NO_PORT",
    "fcntl": "F_SETPIPE_SZ F_GETPIPE_SZ F_ADD_SEALS F_GET_SEALS F_NOTIFY F_SETSIG F_OFD_SETLK",
}
POSIX_ALONE = {
    "os": "fork register_at_fork getuid geteuid getgid killpg setsid sendfile mkfifo fchmod wait chown",
    "select": "poll POLLIN POLLOUT POLLERR POLLHUP POLLNVAL POLLPRI",
    "selectors": "PollSelector",
    "signal": "SIGKILL SIGHUP SIGPIPE SIGUSR1 SIGUSR2 SIGCHLD SIGALRM pthread_sigmask setitimer ITIMER_REAL",
    "socket": "AF_UNIX SO_REUSEPORT MSG_DONTWAIT SCM_RIGHTS send_fds recv_fds CMSG_LEN CMSG_SPACE",
}
NO_MODULES = {"darwin": [], "win32": ["fcntl", "resource", "termios", "pwd", "grp"]}

# Libraries that were made for this system are loaded first; the modules of the package come after.
BEGIN = """
    import asyncio, json, os, runpy, select, selectors, signal, socket, subprocess, sys, tempfile, termios, fcntl
    import cryptography, h11, pytest, trustme

    class Absent:
        def find_spec(self, name, path=None, target=None):
            if name in absent:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    gone, absent, platform = json.loads(os.environ["GONE"])
    sys.platform = platform
    for module, names in gone.items():
        for name in names.split():
            if hasattr(sys.modules[module], name):
                delattr(sys.modules[module], name)
    selectors.DefaultSelector = getattr(selectors, "PollSelector", selectors.SelectSelector)
    for name in absent:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, Absent())

    import faultline, faultline.pytest_plugin
    from faultline import *
    from faultline._front.command import main
"""
CONVERSATIONS = """
    import importlib, pkgutil
    for module in pkgutil.walk_packages(faultline.__path__, "faultline."):
        if module.name != "faultline.__main__":
            importlib.import_module(module.name)
    from faultline._net.system import portable
    portable.SO_NWRITE = None  # a socket option of macOS, by its number

    def ask(server, tls=False):
        with socket.socket(socket.AF_UNIX if server.path else socket.AF_INET) as client:
            client.settimeout(0.5)
            client.connect(server.path or server.address)
            if tls:
                client = server.client_context().wrap_socket(client, server_hostname="localhost")
            client.sendall(b"GET / HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n")
            return b"".join(iter(lambda: client.recv(9999), b""))

    def outcome(call, *args, **options):
        try:
            said = call(*args, **options)
            return said if isinstance(said, (str, int)) else said.partition(b"\\r\\n\\r\\n")[2].decode()
        except Exception as error:
            return f"{type(error).__name__}: {error}" if isinstance(error, UnsupportedError) else type(error).__name__

    def met(*args, start=serve, tls=False, **options):
        with start(*args, tls=tls, **options) as server:
            return outcome(ask, server, tls)

    plan = sequence(refuse(), reset(), close(), blackhole(), reset(after_bytes=20), refuse(), ok(b"well"))
    with serve(plan) as server:
        print(*[outcome(ask, server) for _ in range(7)])
    print(met(stall()), met(ok(b"well"), tls=True), met(bad_cert("expired"), tls=True), met(close(), unix=True))
    with serve(ok(b"upstream")) as upstream, relay(upstream, sequence(reset(at="accept"), ok())) as server:
        print(outcome(ask, server), outcome(ask, server))
    with resolve("api.example.com", sequence(nxdomain(), ok(), no_address()), strict=False):
        print(outcome(socket.gethostbyname, "api.example.com"))
    with intercept("http://api.example.com", status(503)) as server:
        with socket.create_connection(("api.example.com", 80)) as client:
            client.sendall(b"GET / HTTP/1.1\\r\\nHost: api.example.com\\r\\n\\r\\n")
            print(client.recv(12).decode())
    with udp(refuse()) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect(server.address)
        for plan in (refuse(), raw(b"pong")):
            server.become(plan)
            client.send(b"ping")
            print(outcome(lambda: client.recv(99).hex()))
    for start in (
        lambda: serve(partition()),
        lambda: serve(latency(0.1) & loss(0.5)),
        lambda: serve(unreachable()),
        lambda: serve(reset(), unix=True),
        lambda: serve(blackhole(), unix=True),
        lambda: audit(ask),
    ):
        print(outcome(start))
    print(main(["serve", "--mode", "partition"]), main(["modes"]) and "failed")
"""
REFUSALS = """
    for start in (
        lambda: serve(reset()),
        lambda: serve(ok(), unix=True),
        lambda: serve(ok(), isolated=True),
        lambda: relay("127.0.0.1:1"),
        lambda: http_proxy(),
        lambda: socks_proxy(),
        lambda: udp(ok()),
        lambda: dns_server(),
        lambda: intercept("https://api.example.com", reset()),
    ):
        try:
            start()
        except UnsupportedError as error:
            print(error)
    print(main(["serve", "--mode", "reset"]), main(["modes"]) and "failed")
"""


def lines_of(platform, gone, program, tmp_path):
    """What a program prints on another system, and what goes to standard error."""
    environment = {
        **os.environ,
        "GONE": json.dumps([gone, NO_MODULES[platform], platform]),
        "TMPDIR": str(tmp_path),
        "FAULTLINE_PLATFORM": "",
    }
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(BEGIN + program)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=60,
    )
    return done.stdout.splitlines(), done.stderr.splitlines()


@pytest.mark.slow
@pytest.mark.measured
@pytest.mark.everywhere
def test_without_what_linux_alone_has_each_server_plays_or_says_what_is_missing(tmp_path):
    said, errors = lines_of("darwin", LINUX_ALONE, CONVERSATIONS, tmp_path)

    assert errors == [f"faultline: {portable.LACKS['packet filter']}."]
    refused, was_reset = "ConnectionRefusedError", "ConnectionResetError"
    assert said[:7] == [
        f"{refused} {was_reset}  TimeoutError {was_reset} {refused} well",
        "TimeoutError well SSLCertVerificationError ",
        f"{was_reset} upstream",
        "gaierror",
        "HTTP/1.1 503",
        refused,
        b"pong".hex(),
    ]
    missing = ("packet filter", "packet filter", "no route", "unix reset", "unix silence", "processes")
    assert said[7:13] == [f"UnsupportedError: {portable.LACKS[what]}." for what in missing]
    assert said[-1] == "2 0"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.measured
def test_on_windows_the_package_is_imported_and_each_server_says_what_it_needs(tmp_path):
    gone = {module: f"{names} {POSIX_ALONE.get(module, '')}" for module, names in LINUX_ALONE.items()}
    said, errors = lines_of("win32", gone, REFUSALS, tmp_path)

    message = (
        "sys.platform='win32': expected Linux, macOS or another POSIX system; run the tests in WSL, in a container or "
        "on CI with Linux. https://pytest-faultline.readthedocs.io/en/latest/systems.html lists what is missing."
    )
    assert errors == [f"faultline: {message}"]
    assert said[:9] == [message] * 9
    assert said[-1] == "2 0"


def functions_of(module):
    return {name: inspect.signature(value) for name, value in vars(module).items() if inspect.isfunction(value)}


def test_both_implementations_have_the_same_names_and_parameters():
    theirs = functions_of(portable)

    assert linux.__all__ == portable.__all__
    assert {n: s for n, s in functions_of(linux).items() if n in linux.__all__ and s != theirs[n]} == {}


def test_nothing_of_linux_alone_is_used_in_the_portable_implementation():
    folder = Path(portable.__file__).parent
    paths = [folder / f"{name}.py" for name in ("portable", "ports", "files", "interface")]
    trees = [ast.parse(path.read_text("utf-8")) for path in paths]
    used = {node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)}

    assert used & ({name for names in LINUX_ALONE.values() for name in names.split()} | {"TIOCOUTQ"}) == set()


def test_the_page_of_systems_has_what_the_portable_implementation_lacks_and_why_tests_are_skipped():
    page = (TOP / "docs/systems.md").read_text("utf-8")
    made = runpy.run_path(str(TOP / "docs/make_systems.py"))["made"]

    assert made(page, []) == page
    assert re.search(r"\d passed, \d+ skipped, 0 failed", page)
    assert [why for why in (*REASONS, *portable.LACKS.values()) if f"| {why} |" not in page] == []
