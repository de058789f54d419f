"""On another system the package can be imported, and a server says what it needs when it is started."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

# Take away what the other systems don't have, once the libraries that were made for this system are loaded.
PROGRAM = """
    import asyncio, os, select, signal, socket, sys
    import cryptography, h11, pytest, trustme

    GONE = {
        "win32": {
            os: "fork register_at_fork memfd_create getuid geteuid killpg setsid waitid sendfile pidfd_open pipe2",
            select: "epoll poll EPOLLIN EPOLLOUT EPOLLRDHUP EPOLLHUP EPOLLERR EPOLLONESHOT EPOLL_CLOEXEC",
            signal: "SIGKILL SIGHUP SIGPIPE SIGUSR1 SIGCHLD SIGALRM pthread_sigmask setitimer",
            socket: "AF_UNIX AF_PACKET AF_NETLINK SO_REUSEPORT TCP_USER_TIMEOUT TCP_QUICKACK TCP_INFO MSG_DONTWAIT "
            "MSG_NOSIGNAL SCM_RIGHTS SO_PEERCRED SOCK_NONBLOCK SOCK_CLOEXEC send_fds recv_fds CMSG_LEN",
        },
        "darwin": {
            os: "memfd_create pipe2 pidfd_open",
            select: "epoll EPOLLIN EPOLLOUT EPOLLRDHUP EPOLLHUP EPOLLERR EPOLLONESHOT EPOLL_CLOEXEC",
            signal: "",
            socket: "AF_PACKET AF_NETLINK TCP_USER_TIMEOUT TCP_QUICKACK SO_PEERCRED SOCK_NONBLOCK SOCK_CLOEXEC",
        },
    }
    ABSENT = {"win32": ("fcntl", "resource", "termios", "pwd", "grp"), "darwin": ()}

    class Absent:
        def find_spec(self, name, path=None, target=None):
            if name in ABSENT[sys.platform]:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    for platform in sys.argv[1:]:
        if not (child := os.fork()):
            break
        os.waitpid(child, 0)
    else:
        sys.exit()
    sys.platform = platform
    for module, names in GONE[sys.platform].items():
        for name in names.split():
            if hasattr(module, name):
                delattr(module, name)
    for name in ABSENT[sys.platform]:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, Absent())

    import faultline
    import faultline.pytest_plugin
    from faultline import *
    from faultline._front.command import main

    print(reset() & bad_cert("expired"))
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
    print(main(["serve", "--mode", "reset"]), main(["modes"]))
"""
MESSAGE = "sys.platform={!r}: expected 'linux'; the faults depend on how its kernel behaves."


@pytest.mark.slow
def test_import_works_and_each_server_says_that_it_needs_linux():
    platforms = ["win32", "darwin"]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), *platforms], capture_output=True, text=True, check=False
    )
    lines = done.stdout.splitlines()

    messages = [MESSAGE.format(platform) for platform in platforms]
    assert done.stderr.splitlines() == [f"faultline: {message}" for message in messages]
    assert [line for line in lines if "sys.platform" in line] == [message for message in messages for _ in range(9)]
    assert lines.count("reset() & bad_cert('expired')") == lines.count("2 0") == 2
