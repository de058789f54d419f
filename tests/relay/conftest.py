"""Upstreams for the relay: one that the test holds itself, and real servers from Debian's packages.

There is one of each real server per process, in a private folder, gone afterwards.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import PATIENCE_SECONDS, accepted, address_of, reached

from faultline._net.issue import authority

START_SECONDS = 20
STOP_SECONDS = 10


@pytest.fixture
def listener():
    """An upstream that the test holds itself."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as sock:
        sock.settimeout(PATIENCE_SECONDS)
        yield sock


@pytest.fixture
def reach():
    """A function that connects to a server over TCP, whatever is spoken there."""
    with contextlib.ExitStack() as stack:

        def connect(server):
            client = reached(server)
            stack.callback(client.close)
            return client

        yield connect


@pytest.fixture
def join(faultline, listener, dial):
    """A function that puts a relay before the listener and connects through it: the server and both ends."""
    with contextlib.ExitStack() as stack:

        def joined(plan=None, **options):
            server = faultline.relay(address_of(listener), plan, **options)
            client = dial(server)
            return server, client, stack.enter_context(accepted(listener))

        yield joined


@dataclass(frozen=True)
class RealServer:
    """Where a real server is: `host:port`, its Unix socket, and the URL of a client that goes there directly."""

    address: str
    path: str
    url: str


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL whose user `postgres` needs no password."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_in_tls():
    """A PostgreSQL that takes only clients in TLS, with a certificate of the test CA, and no password."""
    with running_postgres(is_secure=True) as server:
        yield server


def secure_postgres(data, owner):
    """Have a PostgreSQL speak TLS; return its settings."""
    files = {
        "server.pem": authority("trusted").issue_cert("localhost").private_key_and_cert_chain_pem.bytes(),
        "ca.pem": authority("trusted").cert_pem.bytes(),
        "pg_hba.conf": b"hostssl all all 127.0.0.1/32 trust clientcert=verify-ca\n",
    }
    for name, content in files.items():
        path = Path(data, name)
        path.write_bytes(content)
        path.chmod(0o600)
        if owner is not None:
            os.chown(path, owner.pw_uid, owner.pw_gid)
    return ["ssl=on", "ssl_cert_file=server.pem", "ssl_key_file=server.pem", "ssl_ca_file=ca.pem"]


@contextlib.contextmanager
def running_postgres(*, is_secure=False):
    """Run a PostgreSQL."""
    initdb, program = find("initdb"), find("postgres")
    with private_folder() as (folder, runner):
        data = f"{folder}/data"
        make = [initdb, "--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", data]
        subprocess.run([*runner, *make], cwd=folder, check=True, stdout=subprocess.DEVNULL, timeout=START_SECONDS)

        owner = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        secure = secure_postgres(data, owner) if is_secure else []

        def command(port):
            settings = [f"port={port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={folder}", "fsync=off"]
            settings += secure
            return [*runner, program, "-D", data, *(f"--{setting}" for setting in settings)]

        with running(command, folder) as port:
            url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
            yield RealServer(f"127.0.0.1:{port}", f"{folder}/.s.PGSQL.{port}", url)


@pytest.fixture(scope="session", params=[True, False], ids=["TLS", "no TLS"])
def mariadb(request):
    """A MariaDB that takes any user, and that speaks TLS or not."""
    program = find("mariadbd")
    with private_folder() as (folder, runner):
        path, chain = f"{folder}/mariadb.sock", Path(folder, "server.pem")
        chain.write_bytes(authority("trusted").issue_cert("localhost").private_key_and_cert_chain_pem.bytes())
        secure = [f"--ssl-cert={chain}", f"--ssl-key={chain}"] if request.param else ["--skip-ssl"]
        open_to_all = ["--skip-grant-tables", "--skip-networking=0", "--skip-log-bin"]

        def command(port):
            place = [f"--datadir={folder}", f"--socket={path}", "--bind-address=127.0.0.1", f"--port={port}"]
            return [*runner, program, "--no-defaults", *place, *open_to_all, *secure]

        with running(command, folder, stopped_by=signal.SIGTERM) as port:  # SIGINT does nothing there
            yield RealServer(f"127.0.0.1:{port}", path, f"mysql://127.0.0.1:{port}")


@pytest.fixture(scope="session")
def redis_server():
    """A Redis that keeps nothing on disk."""
    program = find("redis-server")
    with private_folder() as (folder, runner):
        path = f"{folder}/redis.sock"

        def command(port):
            settings = ["--bind", "127.0.0.1", "--port", port, "--unixsocket", path, "--dir", folder, "--save", ""]
            return [*runner, program, *settings]

        with running(command, folder) as port:
            yield RealServer(f"127.0.0.1:{port}", path, f"redis://127.0.0.1:{port}")


def find(name):
    """The path of a program; Debian keeps those of PostgreSQL out of PATH, in a folder for each version."""
    path = shutil.which(name) or max(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), default=None)
    if path is None:
        pytest.skip(f"needs the program {name}, which is not installed")
    return path


@contextlib.contextmanager
def private_folder():
    """A folder for one server, and the command that runs a program as its owner, who is not root.

    What runs so is stopped by the kernel if this process is killed.
    """
    runner = [find("setpriv"), "--pdeathsig", "INT"]
    with tempfile.TemporaryDirectory(prefix="faultline-") as folder:
        if os.geteuid() == 0:  # PostgreSQL refuses to be root
            owner = pwd.getpwnam("nobody")
            os.chown(folder, owner.pw_uid, owner.pw_gid)
            runner += ["--reuid", str(owner.pw_uid), "--regid", str(owner.pw_gid), "--clear-groups"]
        yield folder, runner


@contextlib.contextmanager
def running(command, folder, stopped_by=signal.SIGINT):
    """Run a server on a free port from when it is ready; again on another port, if that one is taken meanwhile."""
    deadline = time.monotonic() + START_SECONDS
    log = Path(folder, "log")
    while time.monotonic() < deadline:
        port = free_port()
        with log.open("wb") as output:
            process = subprocess.Popen(command(str(port)), cwd=folder, stdout=output, stderr=output)
        try:
            if becomes_ready(process, log, deadline):
                yield port
                return
        finally:
            stop(process, stopped_by)
    pytest.fail(f"{command('…')} was not ready within {START_SECONDS} s:\n{log.read_text(errors='replace')}")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


def becomes_ready(process, log, deadline):
    """Whether it says that it is ready, as all of these servers do, and does not end before."""
    while time.monotonic() < deadline:
        if re.search(rb"[Rr]eady (to accept|for) connections", log.read_bytes()):
            return True
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
            return False
    return False


def stop(process, by):
    """Stop it by the signal that it obeys at once and in order; the processes of PostgreSQL's own go with it."""
    process.send_signal(by)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
