"""The servers that are compared: each is started, holds or answers its clients, and is closed.

A server does one of these: "answer" a request; hold a connection from its "accept" on; read a "request", and then hold;
or answer each request after a "delay" of DELAY_SECONDS.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http.server
import socket
import socketserver
import threading
import time

DELAY_SECONDS = 0.05
BACKLOG = 4096
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """A server of a kind, which is started when it is made."""

    address: tuple[str, int]

    def __init__(self, doing):
        self.doing = doing
        self.held = []
        self.start()

    def wait(self, count):
        """Wait until the server holds so many connections."""
        while len(self.held) < count:
            time.sleep(0.0005)

    def close_held(self):
        """Close the sockets of the connections."""
        for connection in self.held:
            connection.close()


class Bare(Server):
    """Bare sockets, in a thread that blocks in `accept`; what the kernel takes."""

    def start(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        self.address = self.listener.getsockname()
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                if self.doing == "delay":
                    self.delay(client)
                elif self.doing == "request":
                    client.recv(1000)
                self.held.append(client)

    def delay(self, client):
        """Answer one client after a delay, until it has gone."""
        while client.recv(1000):
            time.sleep(DELAY_SECONDS)
            client.sendall(ANSWER)

    def close(self):
        self.listener.shutdown(socket.SHUT_RD)
        self.listener.close()
        self.close_held()


@functools.cache
def loop():
    """A loop in a thread of its own."""
    made = asyncio.new_event_loop()
    threading.Thread(target=made.run_forever, daemon=True).start()
    return made


def in_loop(coroutine):
    """Wait for a coroutine in the loop's thread."""
    return asyncio.run_coroutine_threadsafe(coroutine, loop()).result()


class Raw(Server):
    """Sockets that the loop watches, by `add_reader` and `sock_…`."""

    def start(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        self.listener.setblocking(False)
        self.address = self.listener.getsockname()
        self.tasks = set()
        loop().call_soon_threadsafe(loop().add_reader, self.listener, self.accept)

    def accept(self):
        """Accept all that wait."""
        with contextlib.suppress(BlockingIOError):
            while True:
                client, _ = self.listener.accept()
                client.setblocking(False)
                if self.doing in ("accept", "request"):
                    loop().add_reader(client, self.read, client)
                if self.doing == "accept":
                    self.held.append(client)
                elif self.doing != "request":
                    self.tasks.add(loop().create_task(self.answer(client)))

    def read(self, client):
        """Read a request, and hold the connection."""
        client.recv(1000)
        self.held.append(client)

    async def answer(self, client):
        """Answer each request."""
        self.held.append(client)
        while await loop().sock_recv(client, 1000):
            if self.doing == "delay":
                await asyncio.sleep(DELAY_SECONDS)
            await loop().sock_sendall(client, ANSWER)

    def close(self):
        async def close():
            loop().remove_reader(self.listener)
            self.listener.close()
            for task in self.tasks:
                task.cancel()
            for client in self.held:
                loop().remove_reader(client)
            self.close_held()

        in_loop(close())


class Talk(asyncio.Protocol):
    """One connection of a `Protocols`."""

    def __init__(self, server):
        self.server = server

    def connection_made(self, transport):
        self.transport = transport
        if self.server.doing == "accept":
            self.server.held.append(transport)

    def data_received(self, _):
        if self.server.doing == "request":
            self.server.held.append(self.transport)
        elif self.server.doing == "delay":
            loop().call_later(DELAY_SECONDS, self.transport.write, ANSWER)
        else:
            self.transport.write(ANSWER)


class Protocols(Server):
    """`loop.create_server` with a protocol."""

    def start(self):
        made = loop().create_server(functools.partial(Talk, self), "127.0.0.1", 0, backlog=BACKLOG)
        self.server = in_loop(made)
        self.address = self.server.sockets[0].getsockname()

    def close(self):
        async def close():
            self.server.close()
            for transport in self.held:
                transport.abort()
            await asyncio.sleep(0)

        in_loop(close())


class Streams(Server):
    """`asyncio.start_server`."""

    def start(self):
        self.server = in_loop(asyncio.start_server(self.talk, "127.0.0.1", 0, backlog=BACKLOG))
        self.address = self.server.sockets[0].getsockname()

    async def talk(self, reader, writer):
        """Hold or answer a connection."""
        if self.doing == "request":
            await reader.readuntil(b"\r\n\r\n")
        self.held.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                if self.doing == "delay":
                    await asyncio.sleep(DELAY_SECONDS)
                writer.write(ANSWER)

    def close(self):
        async def close():
            self.server.close()
            for writer in self.held:
                writer.transport.abort()
            await asyncio.sleep(0)

        in_loop(close())


class Talks(http.server.BaseHTTPRequestHandler):
    """The requests of a `Threads`, which hold a thread each."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.server.doing == "request":
            self.server.hold()
        elif self.server.doing == "delay":
            time.sleep(DELAY_SECONDS)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


class Holds(socketserver.BaseRequestHandler):
    """A connection that is held from its accept on."""

    def handle(self):
        self.server.hold()


class Http(http.server.ThreadingHTTPServer):
    """An `http.server` with room for many clients."""

    request_queue_size = BACKLOG
    daemon_threads = True
    block_on_close = False

    def __init__(self, doing, held):
        self.doing, self.held = doing, held
        self.released = threading.Event()
        super().__init__(("127.0.0.1", 0), Holds if doing == "accept" else Talks)

    def hold(self):
        """Hold this connection until the server closes."""
        self.held.append(self)
        self.released.wait()

    def handle_error(self, *_):
        pass


class Threads(Server):
    """`http.server.ThreadingHTTPServer` in a thread."""

    def start(self):
        self.server = Http(self.doing, self.held)
        self.address = self.server.server_address
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.server.released.set()


class Faultline(Server):
    """A server of faultline."""

    isolated = False

    def start(self):
        import faultline as fl

        plans = {
            "answer": fl.ok(),
            "accept": fl.stall(at="accept"),
            "request": fl.stall(),
            "delay": fl.latency(DELAY_SECONDS),
        }
        self.server = fl.serve(plans[self.doing], strict=False, isolated=self.isolated)
        self.address = self.server.address

    def wait(self, count):
        # Not `wait_for_attempts`, whose values would be measured as memory of the server.
        self.server.ledger.wait(count, "response" if self.doing == "request" else "accept", 60)

    def close(self):
        self.server.close()


class Isolated(Faultline):
    """A server of faultline in a process of its own."""

    isolated = True


COLUMNS = {
    "kernel": Bare,
    "raw": Raw,
    "protocol": Protocols,
    "start_server": Streams,
    "http.server": Threads,
    "before": Faultline,
    "faultline": Faultline,
    "isolated": Isolated,
}
