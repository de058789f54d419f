"""What the tests share: how a client dials, asks and reads, and what this Python hides from it.

Rules: a helper is here as soon as a second file needs it. Helpers with something to give back are fixtures of conftest.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import select
import socket
import ssl
import struct
import sys
import threading
import time
import zlib
from pathlib import Path

import pytest

from faultline._servers.loop import background

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
KEPT_GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
PATIENCE_SECONDS = 10.0  # for what has to come, on a machine however busy
SILENCE_SECONDS = 0.05  # for what must not come
# FAULTLINE_EXAMPLES=1000 draws a thousand new examples of each property; otherwise each run tries the same.
EXAMPLES = int(os.environ.get("FAULTLINE_EXAMPLES", "0"))

# gh-115627: before these versions, a RST that ends SSLSocket.recv looks like the end of the stream.
HIDES_RST = sys.version_info < (3, 11, 9) or (3, 12) <= sys.version_info < (3, 12, 3)
# OpenSSL as Debian builds Python with it, and contexts before 3.10.11 and 3.11.3 (gh-95494), take an end without
# close_notify for an orderly one.
HIDES_EOF = bool(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).options & getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0))
CUT_OFF = "RST" if HIDES_RST else "cut off"  # an end of TLS that nobody has announced


def connected(server, timeout=PATIENCE_SECONDS, *, within=None):
    """A client that has connected to a server, over TCP or a Unix socket, and in TLS if the server speaks that.

    With `within` it gives up after that time if it isn't let in.
    """
    family = socket.AF_UNIX if server.path else socket.AF_INET6 if ":" in server.host else socket.AF_INET
    client = socket.socket(family)
    client.settimeout(within or timeout)
    try:
        client.connect(server.path or server.address)
        client.settimeout(timeout)
        if not server.url.startswith("https"):
            return client
        name = "localhost" if server.path else server.address[0]
        return server.client_context().wrap_socket(client, server_hostname=name, suppress_ragged_eofs=False)
    except BaseException:
        client.close()
        raise


class MetReset:
    """A client that has met the RST of the connection while it still connected: on loopback either can come first."""

    def gettimeout(self):
        return None

    settimeout = close = lambda *_: None

    def recv(self, _):
        raise ConnectionResetError


def reached(server):
    """A client that has connected over TCP, whatever is spoken there."""
    try:
        return socket.create_connection(server.address, PATIENCE_SECONDS)
    except ConnectionResetError:
        return MetReset()


def by_turns(request, *values):
    """One of these values: by its name, each case takes one, and some case takes each."""
    return values[zlib.crc32(request.node.name.encode()) % len(values)]


def address_of(listener):
    """Where a listener is, as a relay is told."""
    return "{}:{}".format(*listener.getsockname()[:2])


def accepted(listener):
    """The next connection of a listener."""
    sock, _ = listener.accept()
    sock.settimeout(PATIENCE_SECONDS)
    return sock


def check_not_dialled(listener):
    """Check that nobody waits to be accepted."""
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        listener.accept()


def pour(sock, data):
    """Send all, or as much as the other side takes."""
    with contextlib.suppress(ConnectionError, ssl.SSLEOFError):  # how a RST looks to ssl, if it comes while it writes
        sock.sendall(data)


def read(sock, count=None):
    """This number of bytes, or all until the end of the stream; fewer only if the stream ends before."""
    received = bytearray()
    while (count is None or len(received) < count) and (
        data := sock.recv(65_536 if count is None else count - len(received))
    ):
        received += data
    return bytes(received)


def read_until(sock, marker):
    """The bytes up to the end of a marker, and not one more."""
    received = b""
    while not received.endswith(marker) and (data := sock.recv(1)):
        received += data
    return received


def to_end(sock, silence_seconds=PATIENCE_SECONDS):
    """The bytes still to be read, and how they end: by FIN, by RST, in silence, or cut off within TLS."""
    before = sock.gettimeout()
    sock.settimeout(silence_seconds)
    got = bytearray()
    try:
        while data := sock.recv(65_536):
            got += data
    except ConnectionResetError:
        return bytes(got), "RST"
    except TimeoutError:
        return bytes(got), "silence"
    except ssl.SSLEOFError:
        return bytes(got), CUT_OFF
    finally:
        sock.settimeout(before)
    return bytes(got), "FIN"


def is_quiet(*socks):
    """Whether nothing comes to any of these, which are watched at the same time."""
    until = time.monotonic() + SILENCE_SECONDS
    while (left := until - time.monotonic()) > 0:
        if any(has_news(sock) for sock in select.select(socks, [], [], left)[0]):
            return False
    return True


def has_news(sock):
    """Whether there is something to read, or an end; of TLS a record may bring neither."""
    before = sock.gettimeout()
    sock.setblocking(False)
    try:
        sock.recv(1)
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True
    finally:
        sock.settimeout(before)
    return True


def ending(attempt):
    """Who ended the connection of an attempt, and how."""
    return attempt.ended_by, attempt.ended_how


def leave_by_rst(sock):
    """Close a connection by RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@contextlib.contextmanager
def nothing_left():
    """Check that afterwards this process has no descriptor, thread and task of the loop that it had not before."""
    loop = background().loop
    before = descriptors(), set(threading.enumerate()), asyncio.all_tasks(loop)
    yield
    background().settle()
    if descriptors() - before[0]:
        gc.collect()
    assert descriptors() - before[0] == set()
    assert set(threading.enumerate()) - before[1] == set()
    assert asyncio.all_tasks(loop) - before[2] == set()


def descriptors():
    """The files that this process has open, by number and name."""
    found = set()
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # that of the folder itself
            found.add((each.name, str(each.readlink())))
    return found


@contextlib.contextmanager
def in_thread(function, *args):
    """Do something at the same time, and see that it ends without an error."""
    errors = []

    def run():
        try:
            function(*args)
        except Exception as error:  # noqa: BLE001 - shown in the test's own thread
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(2 * PATIENCE_SECONDS)
    assert not thread.is_alive()
    assert errors == []


def in_fork(function):
    """The name of the error of a function in a forked child, or its value."""
    reader, writer = os.pipe()
    if not (pid := os.fork()):  # pragma: no cover - coverage isn't measured in a fork
        try:
            told = repr(function())
        except BaseException as error:  # noqa: BLE001 - told to the parent
            told = f"{type(error).__name__}: {error}"
        os.write(writer, told.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        told = file.read()
    os.waitpid(pid, 0)
    return told
