"""The clients of other protocols, each with time limits wherever it has some; `make_atlas.py` audits them.

`CALLS.redis` is what the audit calls with `tcp://host:port`: it connects, asks one thing and closes. Each imports its
client when it is first asked for.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

SECONDS = 2.0
LIMIT = int(SECONDS)
CLOSES_SECONDS = 0.5  # that the threads of a library in C take to close what they have
Call = Callable[[str], Any]


def where(url: str) -> dict[str, Any]:
    """Host and port."""
    parts = urlsplit(url)
    return {"host": parts.hostname, "port": parts.port}


def redis() -> Call:
    """PING, with the retries that it has by itself."""
    import redis

    def ping(url: str) -> bool:
        with redis.Redis(**where(url), socket_timeout=SECONDS, socket_connect_timeout=SECONDS) as client:
            return bool(client.ping())

    return ping


def psycopg() -> Call:
    """A query."""
    import psycopg

    def select(url: str) -> Any:
        with contextlib.closing(psycopg.connect(**where(url), user="postgres", connect_timeout=LIMIT)) as connection:
            return connection.execute("select 1").fetchone()

    return select


def asyncpg() -> Call:
    """A query."""
    import asyncpg

    async def select(url: str) -> Any:
        connection = await asyncpg.connect(
            **where(url), user="postgres", database="postgres", ssl=False, timeout=SECONDS, command_timeout=SECONDS
        )
        try:
            return await connection.fetchval("select 1")
        finally:
            await connection.close(timeout=SECONDS)

    return select


def pymysql() -> Call:
    """A query."""
    import pymysql

    def select(url: str) -> Any:
        limits = {"connect_timeout": LIMIT, "read_timeout": LIMIT, "write_timeout": LIMIT}
        with contextlib.closing(pymysql.connect(**where(url), user="root", password="", **limits)) as connection:
            cursor = connection.cursor()
            cursor.execute("select 1")
            return cursor.fetchone()

    return select


def pymongo() -> Call:
    """The command `ping`."""
    import pymongo

    names = ("serverSelectionTimeoutMS", "connectTimeoutMS", "socketTimeoutMS")
    limits = dict.fromkeys(names, int(SECONDS * 1000))

    def ping(url: str) -> Any:
        try:
            with pymongo.MongoClient(**where(url), directConnection=True, **limits) as client:
                return client.admin.command("ping")["ok"]
        finally:
            join_threads()

    return ping


def pika() -> Call:
    """A channel."""
    import pika

    limits = {"socket_timeout": SECONDS, "stack_timeout": SECONDS, "blocked_connection_timeout": SECONDS}

    def opened(url: str) -> bool:
        with contextlib.closing(pika.BlockingConnection(pika.ConnectionParameters(**where(url), **limits))) as bus:
            return bool(bus.channel().is_open)

    return opened


def websockets() -> Call:
    """A message, which comes back."""
    from websockets.sync.client import connect

    def echoed(url: str) -> Any:
        with connect(url.replace("tcp:", "ws:"), open_timeout=SECONDS, close_timeout=SECONDS, proxy=None) as socket:
            socket.send("hello")
            return socket.recv(timeout=SECONDS)

    return echoed


def grpcio() -> Call:
    """A unary call."""
    import grpc

    def echoed(url: str) -> Any:
        try:
            with grpc.insecure_channel(urlsplit(url).netloc) as channel:
                return channel.unary_unary("/atlas.Echo/Say")(b"hello", timeout=SECONDS)
        finally:
            time.sleep(CLOSES_SECONDS)

    return echoed


def paramiko() -> Call:
    """A command."""
    import paramiko

    limits = {"timeout": SECONDS, "banner_timeout": SECONDS, "auth_timeout": SECONDS, "channel_timeout": SECONDS}

    def ran(url: str) -> bytes:
        address = where(url)
        try:
            with paramiko.SSHClient() as client:
                client.set_missing_host_key_policy(paramiko.AutoAddPolicy)
                client.connect(
                    address["host"], address["port"], "user", "word", look_for_keys=False, allow_agent=False, **limits
                )
                _, output, _ = client.exec_command("true", timeout=SECONDS)
                return bytes(output.read())
        finally:
            join_threads()

    return ran


def join_threads() -> None:
    """Wait for the threads of a client that is closed: they end with their own time limits."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(2 * SECONDS)


class Calls:
    """What the audit calls, by the names of the functions."""

    def __getattr__(self, name: str) -> Call:
        call: Call = globals()[name]()
        return call


CALLS = Calls()
