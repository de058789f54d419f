"""The servers behind the relay: real ones where they are programs of this machine, and else the least that answers.

`python docs/atlas_servers.py NAME` prints the port of a server that runs until its input ends.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import socketserver
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

START_SECONDS = 20.0
USER = 65534  # nobody: PostgreSQL refuses to be root


# --- real ones -------------------------------------------------------------------------------------------------------


def program(name: str) -> str | None:
    """The path of a program; Debian keeps those of PostgreSQL out of PATH, in a folder for each version."""
    return shutil.which(name) or max(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), default=None)


@contextlib.contextmanager
def postgres() -> Iterator[int]:
    """PostgreSQL, whose user `postgres` needs no password."""
    with folder() as (data, options), free_port() as port:
        make = [
            str(program("initdb")),
            "--no-sync",
            "--auth=trust",
            "--username=postgres",
            "--locale=C",
            f"{data}/data",
        ]
        subprocess.run(make, cwd=data, check=True, stdout=subprocess.DEVNULL, **options)  # noqa: S603 - known
        settings = [f"port={port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={data}", "fsync=off"]
        words = [str(program("postgres")), "-D", f"{data}/data", *(f"--{setting}" for setting in settings)]
        with running(words, port, data, options):
            yield port


@contextlib.contextmanager
def redis() -> Iterator[int]:
    """Redis, which keeps nothing on disk."""
    with folder() as (data, options), free_port() as port:
        words = [str(program("redis-server")), "--bind", "127.0.0.1", "--port", str(port), "--dir", data, "--save", ""]
        with running(words, port, data, options):
            yield port


@contextlib.contextmanager
def folder() -> Iterator[tuple[str, dict[str, int]]]:
    """A folder, and the options of a process that may write there without being root."""
    with tempfile.TemporaryDirectory(prefix="atlas-") as data:
        if os.geteuid() != 0:
            yield data, {}
            return
        os.chown(data, USER, USER)
        yield data, {"user": USER, "group": USER}


@contextlib.contextmanager
def free_port() -> Iterator[int]:
    """A port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    yield port


@contextlib.contextmanager
def running(words: list[str], port: int, where: str, options: dict[str, int]) -> Iterator[None]:
    """Run a program from when it accepts connections."""
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(words, cwd=where, **quiet, **options)  # noqa: S603 - known
    try:
        ends = time.monotonic() + START_SECONDS
        while time.monotonic() < ends and process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                yield
                return
            time.sleep(0.05)
        raise SystemExit(f"{words[0]}: expected it to listen within {START_SECONDS:g} s.")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


# --- the least that answers ------------------------------------------------------------------------------------------


class Talk(socketserver.StreamRequestHandler):
    """A connection that reads and writes."""

    def take(self, count: int) -> bytes:
        """Read so many bytes.

        Raises:
            EOFError: the client has gone.
        """
        data = self.rfile.read(count)
        if len(data) < count:
            raise EOFError
        return data

    def handle(self) -> None:
        """Talk until the client leaves."""
        with contextlib.suppress(OSError, EOFError, struct.error):
            self.talk()

    def talk(self) -> None:
        """Say what the protocol says."""
        raise NotImplementedError


class MySql(Talk):
    """MySQL: the greeting, OK for the login, and a row for each query."""

    def say(self, number: int, payload: bytes) -> None:
        """Send a packet."""
        self.wfile.write(len(payload).to_bytes(3, "little") + bytes([number]) + payload)

    def heard(self) -> bytes:
        """Read a packet."""
        return self.take(int.from_bytes(self.take(4)[:3], "little"))

    def talk(self) -> None:  # noqa: D102 - as above
        flags = 0x000FF7DF & ~0x800  # no TLS
        head = b"\x0a8.0.0\0" + struct.pack("<I", 1) + b"12345678\0" + struct.pack("<HBH", flags & 0xFFFF, 45, 2)
        self.say(0, head + struct.pack("<HB", flags >> 16, 21) + bytes(10) + b"123456789012\0mysql_native_password\0")
        self.heard()
        ok = b"\0\0\0\2\0\0\0"
        self.say(2, ok)
        while (command := self.heard())[0] != 1:  # COM_QUIT
            if not command[1:].lower().startswith(b"select"):
                self.say(1, ok)
                continue
            end = b"\xfe\0\0\2\0"
            column = b"\3def\0\0\0\0011\0\x0c" + struct.pack("<HIBHBH", 63, 1, 8, 0x81, 0, 0)
            for number, payload in enumerate((b"\1", column, end, b"\0011", end), start=1):
                self.say(number, payload)


class Mongo(Talk):
    """MongoDB: an answer to every command that it is well."""

    def talk(self) -> None:  # noqa: D102 - as above
        import bson

        hello = {"ok": 1.0, "isWritablePrimary": True, "ismaster": True, "minWireVersion": 0, "maxWireVersion": 21}
        hello |= {"helloOk": True, "maxBsonObjectSize": 1 << 24, "maxMessageSizeBytes": 48_000_000}
        document = bson.encode(hello | {"maxWriteBatchSize": 100_000, "readOnly": False})
        while True:
            size, request, _, kind = struct.unpack("<iiii", self.take(16))
            self.take(size - 16)
            if kind == 2004:  # noqa: PLR2004 - OP_QUERY, answered by OP_REPLY
                code, body = 1, struct.pack("<iqii", 8, 0, 0, 1) + document
            else:
                code, body = 2013, struct.pack("<iB", 0, 0) + document
            self.wfile.write(struct.pack("<iiii", 16 + len(body), 1, request, code) + body)


class Amqp(Talk):
    """RabbitMQ: what opens a connection and a channel, and what closes both."""

    def say(self, channel: int, method: object) -> None:
        """Send a method."""
        from pika import frame

        self.wfile.write(frame.Method(channel, method).marshal())

    def talk(self) -> None:  # noqa: D102 - as above
        from pika import spec

        answers = {
            spec.Connection.StartOk.INDEX: spec.Connection.Tune(0, 131_072, 0),
            spec.Connection.Open.INDEX: spec.Connection.OpenOk(),
            spec.Channel.Open.INDEX: spec.Channel.OpenOk(),
            spec.Channel.Close.INDEX: spec.Channel.CloseOk(),
            spec.Connection.Close.INDEX: spec.Connection.CloseOk(),
        }
        self.take(8)
        self.say(0, spec.Connection.Start(server_properties={}, mechanisms="PLAIN", locales="en_US"))
        while True:
            _, channel, size = struct.unpack(">BHI", self.take(7))
            index = struct.unpack(">I", self.take(size + 1)[:4])[0]
            if index in answers:
                self.say(channel, answers[index])


class Ssh(Talk):
    """SSH: any password is right, and any command ends well."""

    def talk(self) -> None:  # noqa: D102 - as above
        import paramiko

        class Host(paramiko.ServerInterface):
            def check_auth_password(self, *_: str) -> int:
                return paramiko.AUTH_SUCCESSFUL

            def get_allowed_auths(self, _: str) -> str:
                return "password"

            def check_channel_request(self, *_: object) -> int:
                return paramiko.OPEN_SUCCEEDED

            def check_channel_exec_request(self, channel: paramiko.Channel, _: bytes) -> bool:
                threading.Thread(target=answer, args=(channel,), daemon=True).start()
                return True

        def answer(channel: paramiko.Channel) -> None:
            time.sleep(0.05)  # until the request is answered
            with contextlib.suppress(EOFError, OSError):
                channel.send(b"done\n")
                channel.send_exit_status(0)
                channel.close()

        with contextlib.closing(paramiko.Transport(self.connection)) as transport:
            transport.add_server_key(KEYS["ssh"])
            with contextlib.suppress(paramiko.SSHException, EOFError):
                transport.start_server(server=Host())
                transport.join()


KEYS: dict[str, object] = {}


@contextlib.contextmanager
def of_threads(talk: type[Talk]) -> Iterator[int]:
    """A server with a thread for each connection."""
    if talk is Ssh:
        import logging

        import paramiko

        logging.disable()  # that clients leave

        KEYS["ssh"] = paramiko.ECDSAKey.generate()
    socketserver.ThreadingTCPServer.daemon_threads = True
    socketserver.ThreadingTCPServer.request_queue_size = 100
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), talk) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@contextlib.contextmanager
def websockets() -> Iterator[int]:
    """A WebSocket server that sends back each message."""
    import logging

    from websockets.sync.server import serve

    logging.disable()

    def echo(connection: object) -> None:
        for message in connection:  # type: ignore[attr-defined]
            connection.send(message)  # type: ignore[attr-defined]

    with serve(echo, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.socket.getsockname()[1]


@contextlib.contextmanager
def grpcio() -> Iterator[int]:
    """A gRPC server that sends back each message."""
    from concurrent.futures import ThreadPoolExecutor

    import grpc

    echo = grpc.unary_unary_rpc_method_handler(lambda message, _: message)
    server = grpc.server(ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("atlas.Echo", {"Say": echo}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None)


SERVERS: dict[str, Callable[[], contextlib.AbstractContextManager[int]]] = {
    "redis": redis,
    "psycopg": postgres,
    "asyncpg": postgres,
    "pymysql": lambda: of_threads(MySql),
    "pymongo": lambda: of_threads(Mongo),
    "pika": lambda: of_threads(Amqp),
    "websockets": websockets,
    "grpcio": grpcio,
    "paramiko": lambda: of_threads(Ssh),
}
PROGRAMS = {"redis": "redis-server", "psycopg": "postgres", "asyncpg": "postgres"}  # what has to be at hand


@contextlib.contextmanager
def server_of(name: str) -> Iterator[int]:
    """The port of the server of a client, in a process of its own."""
    words = [sys.executable, __file__, name]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - known
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait()


def main(name: str) -> None:
    """Run a server until the input ends."""
    with SERVERS[name]() as port:
        print(port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1])
