"""What other tools call a reset, and what a raw client gets: the rows for the atlas, each measured.

Every tool is started on loopback, in its own words for the fault. A plain socket sends a GET and reads to the end. A
RST is an error of `recv` and TCP's state CLOSE; a FIN is an empty `recv` and TCP's state CLOSE_WAIT.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.metadata
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 20.0
READ_SECONDS = 5.0
TIMES = 3
STATES = {7: "CLOSE", 8: "CLOSE_WAIT"}
ASKED = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Tool:
    """A tool, and its word for the fault.

    Attributes:
        name: its name.
        fault: how its documentation writes the fault.
        says: what the documentation says of it.
        version: a function that finds its version; empty if it is not at hand.
        command: a function from a port and a folder to the command that listens there.
    """

    name: str
    fault: str
    says: str
    version: Callable[[], str]
    command: Callable[[int, Path], list[str]]


VERSION = (  # a package need not export its package.json
    "const fs=require('fs');require.resolve.paths('x').map(p=>p+'/NAME/package.json').filter(fs.existsSync)"
    ".map(p=>JSON.parse(fs.readFileSync(p)).version)[0]||''"
)


# --- how each is started ---------------------------------------------------------------------------------------------


def by_node(code: str) -> Callable[[int, Path], list[str]]:
    """A command that runs JavaScript with the port in it."""
    return lambda port, _: ["node", "-e", code.replace("PORT", str(port))]


def by_python(code: str) -> Callable[[int, Path], list[str]]:
    """A command that runs Python with the port in it."""
    return lambda port, _: [sys.executable, "-c", code.replace("PORT", str(port))]


def by_config(text: str, *words: str) -> Callable[[int, Path], list[str]]:
    """A command that reads a file, with the port and the folder in it."""

    def command(port: int, folder: Path) -> list[str]:
        (folder / "config").write_text(text.replace("PORT", str(port)).replace("FOLDER", str(folder)), "utf-8")
        return [word.replace("FOLDER", str(folder)) for word in words]

    return command


def mitmdump(port: int, folder: Path) -> list[str]:
    """Mitmproxy with a script that kills each flow."""
    script = folder / "kill.py"
    script.write_text("def request(flow):\n    flow.kill()\n", "utf-8")
    options = [f"confdir={folder}", "connection_strategy=lazy", "listen_host=127.0.0.1", f"listen_port={port}"]
    settings = [word for option in options for word in ("--set", option)]
    return ["mitmdump", "-q", *settings, "-m", "reverse:http://127.0.0.1:1", "-s", str(script)]


def of_node(package: str) -> Callable[[], str]:
    """The version of a package of npm."""

    def version() -> str:
        return said(["node", "-p", VERSION.replace("NAME", package)]) if shutil.which("node") else ""

    return version


def of_program(name: str, word: str) -> Callable[[], str]:
    """The version of a program."""

    def version() -> str:
        found = re.search(r"\d+\.[\d.]+", said([name, word])) if shutil.which(name) else None
        return found[0] if found else ""

    return version


def said(words: list[str]) -> str:
    """What a command prints; empty if it fails."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603 - known
    return (done.stdout + done.stderr).strip() if done.returncode == 0 else ""


NGINX = """\
daemon off; pid FOLDER/pid; error_log /dev/null;
events {}
http { access_log off; client_body_temp_path FOLDER/b; proxy_temp_path FOLDER/p; fastcgi_temp_path FOLDER/f;
uwsgi_temp_path FOLDER/u; scgi_temp_path FOLDER/s;
server { listen 127.0.0.1:PORT; MORE return 444; } }
"""
HAPROXY = """\
defaults
    mode http
    timeout client 5s
    timeout connect 5s
    timeout server 5s
frontend f
    bind 127.0.0.1:PORT
    RULE
"""
ABORT = """\
import asyncio
async def met(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    writer.transport.abort()
async def main():
    async with await asyncio.start_server(met, "127.0.0.1", PORT) as server:
        await server.serve_forever()
asyncio.run(main())
"""
MOCKTTP = (
    "const m=require('mockttp').getLocal();m.start(PORT).then(()=>m.forAnyRequest().{fault}()).then(()=>console.log(1))"
)
MOUNTEBANK = (
    "const s=require('net').createServer();s.listen(0,'127.0.0.1',()=>{const port=s.address().port;s.close(()=>"
    "require('mountebank').create({port,host:'127.0.0.1',nologfile:true,localOnly:true,log:{level:'error',"
    "transports:{console:{colorize:false,format:'json'}}}}).then(()=>fetch('http://127.0.0.1:'+port+'/imposters',"
    "{method:'POST',body:JSON.stringify({port:PORT,host:'127.0.0.1',protocol:'http',stubs:[{responses:"
    "[{fault:'CONNECTION_RESET_BY_PEER'}]}]})})))})"
)
TOXY = (
    "const t=require('toxy'),p=t();p.forward('http://127.0.0.1:1');p.all('/*').poison(t.poisons.abort());"
    "p.listen(PORT,'127.0.0.1')"
)
TOOLS = (
    Tool(
        "mountebank",
        "`fault: CONNECTION_RESET_BY_PEER`",
        "closes the connection",
        of_node("mountebank"),
        by_node(MOUNTEBANK),
    ),
    Tool("toxy", "`poisons.abort()`", "aborts the TCP connection", of_node("toxy"), by_node(TOXY)),
    Tool(
        "Mockttp",
        "`thenCloseConnection()`",
        "closes the connection at once",
        of_node("mockttp"),
        by_node(MOCKTTP.replace("{fault}", "thenCloseConnection")),
    ),
    Tool(
        "Mockttp",
        "`thenResetConnection()`",
        "resets the connection by a RST",
        of_node("mockttp"),
        by_node(MOCKTTP.replace("{fault}", "thenResetConnection")),
    ),
    Tool(
        "mitmproxy",
        "`flow.kill()`",
        "kills the flow, so that nothing is forwarded",
        of_program("mitmdump", "--version"),
        mitmdump,
    ),
    Tool(
        "nginx",
        "`return 444`",
        "closes the connection without a response",
        of_program("nginx", "-v"),
        by_config(NGINX.replace("MORE", ""), "nginx", "-c", "FOLDER/config", "-p", "FOLDER"),
    ),
    Tool(
        "nginx",
        "`return 444` and `reset_timedout_connection on`",
        "resets the connection, by SO_LINGER",
        of_program("nginx", "-v"),
        by_config(
            NGINX.replace("MORE", "reset_timedout_connection on;"), "nginx", "-c", "FOLDER/config", "-p", "FOLDER"
        ),
    ),
    Tool(
        "HAProxy",
        "`tcp-request content reject`",
        "rejects the connection",
        of_program("haproxy", "-v"),
        by_config(
            HAPROXY.replace("RULE", "tcp-request inspect-delay 1s\n    tcp-request content reject if { req.len gt 0 }"),
            "haproxy",
            "-f",
            "FOLDER/config",
        ),
    ),
    Tool(
        "asyncio",
        "`transport.abort()`",
        "closes at once, and drops what is buffered",
        lambda: ".".join(map(str, sys.version_info[:3])),
        by_python(ABORT),
    ),
)


# --- those that never touch a socket ---------------------------------------------------------------------------------

RESPONSES = """\
import requests, responses
@responses.activate
def main():
    responses.get("http://127.0.0.1:PORT/", body=ConnectionResetError())
    try:
        requests.get("http://127.0.0.1:PORT/")
    except ConnectionResetError:
        print("raised")
main()
"""
RESPX = """\
import httpx, respx
with respx.mock:
    respx.get("http://127.0.0.1:PORT/").mock(side_effect=httpx.ReadError)
    try:
        httpx.get("http://127.0.0.1:PORT/")
    except httpx.ReadError:
        print("raised")
"""
INSIDE = {
    "responses": ("`body=ConnectionResetError()`", RESPONSES),
    "respx": ("`side_effect=httpx.ReadError`", RESPX),
}


def rows() -> Iterator[tuple[str, str]]:
    """The rows of the table, each with its key; tools that are not at hand are left out."""
    for tool in TOOLS:
        if version := tool.version():
            row = f"| {tool.name} {version} | {tool.fault} | {tool.says} | {measured(tool)} |"
            yield f"{tool.name} {tool.fault}", row
    for name, (fault, code) in INSIDE.items():
        if importlib.util.find_spec(name) is not None:
            heard = inside([sys.executable, "-c", code])
            yield name, f"| {name} {importlib.metadata.version(name)} | {fault} | raises this | {heard} |"


def measured(tool: Tool) -> str:
    """How the connections of a raw client end, in words."""
    with tempfile.TemporaryDirectory(prefix="atlas-") as folder, running(tool, Path(folder)) as port:
        return " or ".join(dict.fromkeys(end_of_connection(port) for _ in range(TIMES)))


@contextlib.contextmanager
def running(tool: Tool, folder: Path) -> Iterator[int]:
    """Start a tool: its port, once it accepts connections and answers no longer as if it was not ready."""
    port = free_port()
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(tool.command(port, folder), cwd=folder, start_new_session=True, **quiet)  # noqa: S603
    try:
        ends = time.monotonic() + START_SECONDS
        while not accepts(port):
            if time.monotonic() > ends or process.poll() is not None:
                raise SystemExit(f"{tool.name}: expected it to listen within {START_SECONDS:g} s.")
            time.sleep(0.05)
        time.sleep(0.5)  # until it has read its rules
        yield port
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_port() -> int:
    """A port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        return int(held.getsockname()[1])


def accepts(port: int) -> bool:
    """Whether something listens there."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def end_of_connection(port: int) -> str:
    """Ask by a plain socket, and say how the connection ended and how many bytes came."""
    with socket.create_connection(("127.0.0.1", port), READ_SECONDS) as client:
        client.sendall(ASKED)
        count, how = 0, "FIN"
        try:
            while data := client.recv(1 << 16):
                count += len(data)
        except TimeoutError:
            return f"silence ({count} bytes)"
        except ConnectionResetError as error:
            how = f"RST, errno {errno.errorcode[error.errno or 0]}"
        state = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        return f"**{how}**, state {STATES.get(state, state)}, {count} bytes"


def inside(words: list[str]) -> str:
    """Run a program with a mock in it, in front of a listener: whether anything came there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        out = said([word.replace("PORT", str(port)) for word in words])
        assert out == "raised", out
        listener.settimeout(0.1)
        try:
            listener.accept()
        except TimeoutError:
            return "**nothing**: no connection was made, the exception was raised in the client"
    return "a connection"


if __name__ == "__main__":
    for _, line in rows():
        print(line, flush=True)
