"""Clients that have exactly one bug each, for the verdict of that name; `careful` has none.

They are called by their name in a process of their own, or given to the audit as they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import random
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from urllib.parse import urlsplit

SECONDS = 0.5
TRIES = 2
KEPT = []  # what clients leave behind
RIGHT = (OSError, http.client.HTTPException, ValueError)


class GaveUpError(Exception):
    """What the careful client raises."""


def asked(url, method="GET", *, timeout=SECONDS, connect_timeout=None, body=None, context=None):
    """The status, the fields and the body of one exchange; without any redirects or tries of its own."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        context = context or ssl.create_default_context()
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=connect_timeout or timeout)
    with contextlib.closing(connection):
        if connect_timeout:
            connection.connect()
            connection.sock.settimeout(timeout)
        connection.request(method, "/", body)
        with connection.getresponse() as response:
            return response.status, response.headers, response.read(), response


def checked(url, *, context=None, tries_again=False):
    """The body of a whole response."""
    status, fields, body, response = asked(url, context=context)
    check_end(response)
    if status >= 300:
        raise GaveUpError(f"status {status}", fields.get("Retry-After") if tries_again else None)
    return body


def check_end(response):
    """Check that a response says where it ends; otherwise nobody knows whether it is whole."""
    if "Content-Length" not in response.headers and not response.chunked:
        raise GaveUpError("the response doesn't say where it ends")


def careful(url):
    """Time limits, a few tries with backoff and jitter, whole responses, everything closed."""
    for number in range(TRIES):
        try:
            return checked(url, tries_again=True)
        except GaveUpError as error:
            pause = error.args[1] if len(error.args) > 1 else None
            if not pause or number + 1 == TRIES:
                raise
            time.sleep(float(pause))
        except RIGHT as error:
            if number + 1 == TRIES:
                raise GaveUpError from error
            time.sleep(0.02 * 2**number * (1 + random.random()))
    return None


async def careful_async(url):
    """The same in asyncio, with a time limit around it, and without tries."""
    return await asyncio.to_thread(checked, url)


@contextlib.contextmanager
def careful_pool():
    """A client that keeps its connection, and closes it in the end."""
    pool = []

    def get(url):
        parts = urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = pool.pop() if pool else kind(parts.hostname, parts.port, timeout=SECONDS)
        try:
            connection.request("GET", "/")
            response = connection.getresponse()
            body = response.read()
            check_end(response)
        except BaseException:
            connection.close()
            raise
        pool.append(connection)
        return body

    yield get
    for connection in pool:
        connection.close()


def careful_line(url):
    """A client of a protocol of lines."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), SECONDS) as client:
        client.sendall(b"a line\n")
        data = b""
        while not data.endswith(b"\n"):
            if not (more := client.recv(100)):
                raise EOFError
            data += more
        return data


def no_connect_timeout(url):
    """It waits for ever until it is connected."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port)) as client:
        client.settimeout(SECONDS)
        return body_of(client)


def no_read_timeout(url):
    """It waits for ever once it is connected."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), SECONDS) as client:
        client.settimeout(None)
        return body_of(client)


def body_of(client):
    """The body of a whole response to a request on this connection."""
    client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    with http.client.HTTPResponse(client, method="GET") as response:
        response.begin()
        body = response.read()
        check_end(response)
        return body


def swallows(url):
    """It takes what has come for the whole."""
    try:
        return checked(url)
    except http.client.IncompleteRead as error:
        return error.partial


def swallows_everything(url):
    """It returns nothing where it should raise."""
    try:
        return checked(url)
    except RIGHT:
        return None


def leaks_a_socket(url):
    """It doesn't close its connection when something goes wrong."""
    parts = urlsplit(url)
    client = socket.create_connection((parts.hostname, parts.port), SECONDS)
    KEPT.append(client)
    body = body_of(client)
    client.close()
    return body


def leaks_always(url):
    """It never closes a connection."""
    parts = urlsplit(url)
    client = socket.create_connection((parts.hostname, parts.port), SECONDS)
    KEPT.append(client)
    return body_of(client)


def leaks_a_file(url):
    """It opens a file for what it gets, and forgets it."""
    KEPT.append(open(os.devnull))  # noqa: PTH123, SIM115 - as clients do
    body = checked(url)
    KEPT.pop().close()
    return body


def leaks_a_thread(url):
    """It leaves a thread that waits for an answer."""
    over = threading.Event()
    threading.Thread(target=over.wait, daemon=True).start()
    body = checked(url)
    over.set()
    return body


async def leaks_a_task(url):
    """It leaves a task that waits for an answer."""
    task = asyncio.create_task(asyncio.sleep(60))
    body = await careful_async(url)
    task.cancel()
    return body


def leaks_a_program(url):
    """It leaves a program that it has started."""
    program = subprocess.Popen(["sleep", "60"], start_new_session=True)
    KEPT.append(program)
    body = checked(url)
    program.kill()
    program.wait()
    return body


def hammers(url):
    """It tries forty times, at once."""
    for number in range(40):
        try:
            return checked(url)
        except RIGHT:
            if number == 39:
                raise
    return None


def retries_a_post(url):
    """It sends an order twice."""
    try:
        return posted(url)
    except ConnectionError:
        return posted(url)


def posted(url):
    """The body of a whole response to an order."""
    _, _, body, response = asked(url, "POST", body=b"an order")
    check_end(response)
    return body


def ignores_retry_after(url):
    """It asks again at once, whatever the server says."""
    with contextlib.suppress(GaveUpError):
        return checked(url)
    return checked(url)


def trusts_anybody(url):
    """It looks at no certificate."""
    return checked(url, context=ssl._create_unverified_context())


def trusts_anybody_then(url):
    """It looks at a certificate, and then no more."""
    try:
        return checked(url)
    except ssl.SSLCertVerificationError:
        return trusts_anybody(url)


def falls_back(url):
    """It asks without TLS where TLS fails."""
    try:
        return checked(url)
    except ssl.SSLError:
        return checked(url.replace("https:", "http:"))


@contextlib.contextmanager
def poisoned_pool():
    """It keeps a connection, and takes what is left over for the next response."""
    connections = {}

    def get(url):
        parts = urlsplit(url)
        if parts not in connections:
            client = socket.create_connection((parts.hostname, parts.port), SECONDS)
            connections[parts] = client, client.makefile("rb")
        client, stream = connections[parts]
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            if not (line := stream.readline()):
                raise GaveUpError("no whole head")
            head += line
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
        if len(body := stream.read(length)) < length:
            raise GaveUpError("no whole body")
        return body

    yield get
    for client, stream in connections.values():
        stream.close()
        client.close()


def exits(url):
    """It ends the process where it should raise."""
    try:
        return checked(url)
    except RIGHT:
        os._exit(3)


def leaves(url):
    """It calls for the end of the program."""
    try:
        return checked(url)
    except RIGHT as error:
        raise SystemExit("no network") from error


def dies(url):
    """It is killed by a signal."""
    try:
        return checked(url)
    except RIGHT:
        os.kill(os.getpid(), signal.SIGSEGV)


def changes_its_mind(url):
    """Every second process of it returns what is no answer."""
    try:
        return checked(url)
    except RIGHT:
        with open(os.environ["FAULTLINE_TEST_RUNS"], "a+") as runs:  # noqa: PTH123 - it is counted in there
            runs.write(".")
            runs.flush()
            if runs.tell() % 2:
                raise
        raise KeyError(url) from None


# --- targets that the audit itself has to bear ------------------------------------------------------------------------


def prints(url):
    """It prints 20 MB."""
    for _ in range(20):
        os.write(1, bytes(1 << 20))
    return checked(url)


def forks(url):
    """It leaves a process that leaves another, both of which hold all that they can."""
    both_run, says = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(says, b"!")
            time.sleep(60)
        time.sleep(60)
    os.close(says)
    os.read(both_run, 1)
    os.close(both_run)
    return checked(url)


def default(url):
    """What users begin with."""
    return urllib.request.urlopen(url, timeout=SECONDS)


NOT_CALLABLE = "no client"


def fails_anyway(url):
    """It never returns anything."""
    raise RuntimeError("out of order")


def trusts_nobody(url):
    """It has a list of CAs of its own, which is empty."""
    return checked(url, context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
