"""The kinds of server: how each is started with a plan and an answer, and how a client reaches what answers."""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
import struct
from dataclasses import dataclass
from functools import partial

import pytest

import faultline as fl
from faultline import UnsupportedError
from faultline._net.system import check_filter
from support import GET, KEPT_GET, PATIENCE_SECONDS, connected, read, to_end

NUMBERS = itertools.count(1)


def served(plan, answer, _stack, **options):
    return fl.serve(plan, answer=answer, **options)


def relayed(plan, answer, stack, **options):
    return fl.relay(stack.enter_context(fl.serve(answer)), plan, **options)


def proxied(plan, answer, stack, *, start, **options):
    server = start(plan, **options)
    server.origin = stack.enter_context(fl.serve(answer))
    return server


def intercepted(plan, answer, _stack, *, scheme, **options):
    return fl.intercept(f"{scheme}://host-{next(NUMBERS)}.example", plan, answer=answer, **options)


def by_name(server, timeout):
    """A client that dials the host of the URL."""
    return socket.create_connection((server.url.partition("//")[2], 80), timeout)


def with_certificate(server, timeout, name="localhost"):
    """A client that shows its certificate."""
    client = socket.create_connection(server.address if name == "localhost" else (name, 443), timeout)
    context = server.client_context(certificate=True)
    return context.wrap_socket(client, server_hostname=name, suppress_ragged_eofs=False)


def by_name_in_tls(server, timeout):
    """The same, which dials the host of the URL."""
    return with_certificate(server, timeout, server.url.partition("//")[2])


def by_socks(server, timeout):
    """A client that is led to the origin."""
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(connected(server, timeout))
        client.sendall(b"\5\1\0" + b"\5\1\0\1\x7f\0\0\1" + struct.pack(">H", server.origin.port))
        if read(client, 12)[:4] != b"\5\0\5\0":
            raise ConnectionAbortedError
        stack.pop_all()
    return client


@dataclass(frozen=True)
class Kind:
    """A kind of server.

    Attributes:
        name: a short name.
        start: starts one with a plan, an answer and options; what answers behind it is kept on a stack.
        dial: connects a client, up to where it can ask.
    """

    name: str
    start: object
    dial: object = connected

    def __str__(self):
        return self.name


KINDS = [
    Kind("TCP", served),
    Kind("TLS", partial(served, tls=True)),
    Kind("Unix", partial(served, unix=True)),
    Kind("Unix in TLS", partial(served, unix=True, tls=True)),
    Kind("isolated", partial(served, isolated=True)),
    Kind("relay", relayed),
    Kind("relay on Unix", partial(relayed, unix=True)),
    Kind("relay that terminates TLS", partial(relayed, tls="terminate")),
    Kind("HTTP proxy", partial(proxied, start=fl.http_proxy)),
    Kind("SOCKS proxy", partial(proxied, start=fl.socks_proxy), by_socks),
    Kind("interception", partial(intercepted, scheme="http"), by_name),
]


QUICK = ("TCP", "TLS", "relay", "SOCKS proxy", "interception")  # what holds for these mostly holds for all


def each_kind(kinds=KINDS):
    """Parameters for the fixture `site`: a run without slow tests has only a few of the kinds."""
    marks = (pytest.mark.slow, pytest.mark.everywhere)
    return [pytest.param(kind, id=kind.name, marks=() if kind.name in QUICK else marks) for kind in kinds]


ELSEWHERE = [  # what they share with those above is tested there
    Kind("mutual TLS", partial(served, tls="mutual"), with_certificate),
    Kind("isolated, mutual TLS", partial(served, tls="mutual", isolated=True), with_certificate),
    Kind("relay with mutual TLS", partial(relayed, tls="mutual"), with_certificate),
    Kind("interception in mutual TLS", partial(intercepted, scheme="https", mutual=True), by_name_in_tls),
    Kind("isolated, on Unix", partial(served, unix=True, isolated=True)),
    Kind("isolated relay", partial(relayed, isolated=True)),
    Kind("isolated relay that terminates TLS", partial(relayed, tls="terminate", isolated=True)),
    Kind("isolated HTTP proxy", partial(proxied, start=fl.http_proxy, isolated=True)),
    Kind("isolated SOCKS proxy", partial(proxied, start=fl.socks_proxy, isolated=True), by_socks),
    Kind("isolated interception", partial(intercepted, scheme="http", isolated=True), by_name),
]
IPV6 = Kind("IPv6", partial(served, host="::1"))  # where the kernel's own facts are asked for by family


@dataclass
class Site:
    """Servers of one kind in one test, and their clients; all are closed after it."""

    kind: Kind
    stack: contextlib.ExitStack

    def begin(self, plan=None, answer=None, **options):
        """A new server, whose fault has to strike."""
        server = self.kind.start(plan or fl.ok(), answer or fl.ok(b"hello"), self.stack, **options)
        self.stack.callback(server.close)
        return server

    def start(self, plan=None, answer=None):
        """A new server."""
        return self.begin(plan, answer, strict=False)

    def dial(self, server, data=b"", timeout=PATIENCE_SECONDS):
        """A client that has connected, in TLS or by SOCKS where that is spoken, and says something."""
        client = self.stack.enter_context(self.kind.dial(server, timeout))
        if data:
            client.sendall(data)
        return client

    def connect(self, server, data=b""):
        """A client that has connected, and has said no more than this."""
        if not self.speaks:
            return self.dial(server, data)
        client = self.stack.enter_context(socket.socket(socket.AF_UNIX if self.is_unix else socket.AF_INET))
        client.settimeout(PATIENCE_SECONDS)
        client.connect(server.path or server.address)
        client.sendall(data)
        return client

    def first_bytes(self, server):
        """What a client says first."""
        if self.speaks == "TLS":
            outgoing = ssl.MemoryBIO()
            with contextlib.suppress(ssl.SSLWantReadError):
                server.client_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost").do_handshake()
            return outgoing.read()
        return b"\5\1\0" if self.speaks == "SOCKS" else self.get(server)

    @property
    def speaks(self):
        """What a client speaks below its request, if anything."""
        return next((word for word in ("TLS", "SOCKS") if word in self.kind.name), "")

    def get(self, server, request=GET):
        """A request for what the server, or the origin behind it, answers."""
        origin = getattr(server, "origin", None)
        return request.replace(b" /", b" %s/" % origin.url.encode(), 1) if self.is_http_proxy else request

    def kept_get(self, server):
        """The same on a connection that is kept."""
        return self.get(server, KEPT_GET)

    def ask(self, server):
        """What comes for one request, without its head, and how it ends."""
        try:
            with self.kind.dial(server, PATIENCE_SECONDS) as client:
                client.sendall(self.get(server))
                got, end = to_end(client)
        except (ConnectionResetError, BrokenPipeError):  # before it can ask
            return b"", "RST"
        except ConnectionAbortedError:
            return b"", "FIN"
        return got.partition(b"\r\n\r\n")[2], end

    @property
    def is_http_proxy(self):
        return self.kind.name.endswith("HTTP proxy")

    @property
    def is_tls(self):
        return self.speaks == "TLS"

    @property
    def is_unix(self):
        return "Unix" in self.kind.name

    @property
    def is_isolated(self):
        return "isolated" in self.kind.name

    @property
    def may_drop_packets(self):
        """Whether there are packets, and this user may drop them."""
        try:
            check_filter()
        except UnsupportedError:
            return False
        return not self.is_unix
