"""Real clients of WebSocket by one signature: a URL and what they say; they give what they have read, and the end.

The end is the close code that the client reports, the status of a refusal, the exception of a handshake that failed, or
`timeout`. All but httpx-ws offer compression.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import subprocess
from urllib.parse import urlsplit

import aiohttp
import httpx
import httpx_ws
import pytest
import websockets.asyncio.client
import websockets.exceptions
import websockets.sync.client
import wsproto
from wsproto import events
from wsproto.connection import ConnectionState
from wsproto.extensions import PerMessageDeflate

from support import PATIENCE_SECONDS

MOST_BYTES = 1 << 20  # of a message, as the clients of `websockets` have it
HELLO = ("hello",)
ASK = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
OPEN, ASKED_TO_CLOSE = ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING


def say(client, message):
    """Send a message and read on, for one after which the server ends: it is told while it sends, or as it reads."""
    client.send(message)
    list(client)


def by_websockets(url, said=HELLO, protocols=None, timeout=PATIENCE_SECONDS, *, leaves=False):
    """The client of `websockets` that has no loop."""
    heard = []
    options = {"open_timeout": timeout, "close_timeout": timeout, "ping_interval": None, "subprotocols": protocols}
    try:
        with (
            websockets.sync.client.connect(url, proxy=None, **options) as client,
            contextlib.suppress(websockets.exceptions.ConnectionClosed),
        ):
            with contextlib.suppress(websockets.exceptions.ConnectionClosed):  # it may have messages that came before
                for message in said:
                    client.send(message)
            while not (leaves and len(heard) == len(said)):
                heard.append(client.recv(timeout))
    except websockets.exceptions.InvalidStatus as error:
        return heard, f"status {error.response.status_code}"
    except (websockets.exceptions.InvalidHandshake, TimeoutError) as error:
        return heard, type(error).__name__
    return heard, client.close_code


def by_websockets_asyncio(url, said=HELLO, protocols=None, timeout=PATIENCE_SECONDS, *, leaves=False):
    """The client of `websockets` with asyncio."""
    heard = []
    options = {"open_timeout": timeout, "close_timeout": timeout, "ping_interval": None, "subprotocols": protocols}

    async def session():
        async with websockets.asyncio.client.connect(url, proxy=None, **options) as client:
            with contextlib.suppress(websockets.exceptions.ConnectionClosed):
                for message in said:
                    await client.send(message)
                while not (leaves and len(heard) == len(said)):
                    heard.append(await asyncio.wait_for(client.recv(), timeout))
        return client.close_code

    try:
        return heard, asyncio.run(session())
    except websockets.exceptions.InvalidStatus as error:
        return heard, f"status {error.response.status_code}"
    except (websockets.exceptions.InvalidHandshake, TimeoutError, asyncio.TimeoutError) as error:
        return heard, type(error).__name__


def by_aiohttp(url, said=HELLO, protocols=(), timeout=PATIENCE_SECONDS, *, leaves=False):
    """The client of aiohttp."""
    heard = []

    async def session():
        limit = aiohttp.ClientWSTimeout(ws_receive=timeout, ws_close=timeout)
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(
                url, protocols=protocols or (), timeout=limit, max_msg_size=MOST_BYTES, compress=15
            ) as client,
        ):
            with contextlib.suppress(aiohttp.ClientConnectionResetError):  # messages that came before are still there
                for message in said:
                    await (client.send_str if isinstance(message, str) else client.send_bytes)(message)
            while not (leaves and len(heard) == len(said)):
                message = await client.receive()
                if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                    return client.close_code
                heard.append(message.data)
            await client.close()
            return client.close_code

    try:
        return heard, asyncio.run(session())
    except aiohttp.WSServerHandshakeError as error:
        return heard, f"status {error.status}" if error.status != 101 else type(error).__name__
    except (TimeoutError, asyncio.TimeoutError) as error:
        return heard, type(error).__name__


def by_httpx(url, said=HELLO, protocols=None, timeout=PATIENCE_SECONDS, *, leaves=False):
    """The client of httpx-ws."""
    heard = []
    try:
        with (
            httpx.Client(trust_env=False) as http,
            httpx_ws.connect_ws(url, http, subprotocols=protocols, keepalive_ping_interval_seconds=None) as client,
        ):
            # Its thread may have read the server's close frame already, after which nothing can be sent.
            with contextlib.suppress(wsproto.utilities.LocalProtocolError):
                for message in said:
                    (client.send_text if isinstance(message, str) else client.send_bytes)(message)
            while not (leaves and len(heard) == len(said)):
                event = client.receive(timeout)
                heard.append(event.data)
    except httpx_ws.WebSocketUpgradeError as error:
        return heard, f"status {error.response.status_code}"
    except httpx_ws.WebSocketDisconnect as error:
        return heard, int(error.code)
    except Exception as error:  # noqa: BLE001 - of whatever kind
        return heard, type(error).__name__
    return heard, 1000


class ByHand:
    """A client by hand, on wsproto."""

    def __init__(self, client, said, *, leaves):
        self._client, self._said, self._leaves = client, said, leaves
        self._protocol = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        self._parts = []
        self.heard = []

    def say(self, *said):
        """Say this; where the server has ended the connection already, what it sent before is still read."""
        with contextlib.suppress(ConnectionError, wsproto.utilities.LocalProtocolError):
            self._client.sendall(b"".join(map(self._protocol.send, said)))

    def met(self, event):
        """Answer an event; return the end, if it is one."""
        match event:
            case events.AcceptConnection():
                self.say(*map(events.Message, self._said))
            case events.RejectConnection():
                return f"status {event.status_code}"
            case events.Ping():
                self.say(event.response())
            case events.TextMessage() | events.BytesMessage():
                self._hear(event)
            case events.CloseConnection():
                is_found = self._protocol.state is OPEN  # by wsproto, in a frame of the server
                if is_found or self._protocol.state is ASKED_TO_CLOSE:
                    self.say(events.CloseConnection(event.code))
                return 1006 if is_found else int(event.code)
        return None

    def _hear(self, event):
        self._parts.append(event.data)
        if event.message_finished:
            self.heard.append(event.data[:0].join(self._parts))
            self._parts.clear()
            if self._leaves and len(self.heard) == len(self._said):
                self.say(events.CloseConnection(1000))

    def play(self, request):
        """Hold the conversation, and return its end."""
        self.say(request)
        while data := self._client.recv(65_536):
            self._protocol.receive_data(data)
            for event in self._protocol.events():
                if (end := self.met(event)) is not None:
                    return end
        return 1006


def by_wsproto(url, said=HELLO, protocols=None, timeout=PATIENCE_SECONDS, *, leaves=False):
    """The client by hand."""
    where = urlsplit(url)
    request = events.Request(where.netloc, "/", [PerMessageDeflate()], subprotocols=protocols or [])
    with socket.create_connection((where.hostname, where.port), timeout) as client:
        session = ByHand(client, said, leaves=leaves)
        try:
            return session.heard, session.play(request)
        except (wsproto.utilities.RemoteProtocolError, TimeoutError) as error:
            return session.heard, type(error).__name__
        except ConnectionResetError:
            return session.heard, 1006


NODE_CLIENT = """
const { WebSocket } = require('ws');
function session([url, said, protocols, timeout, leaves]) {
  return new Promise(done => {
    const heard = []; let end = null, opened = false;
    const client = new WebSocket(url, protocols || [], { maxPayload: 1 << 20 });
    const limit = setTimeout(() => { end = end || 'TimeoutError'; client.terminate(); }, timeout * 1000);
    client.on('open', () => { opened = true; said.forEach(message => client.send(message)); });
    client.on('message', data => {
      heard.push(data.toString());
      if (leaves && heard.length === said.length) client.close(1000);
    });
    client.on('unexpected-response', (_, response) => { end = `status ${response.statusCode}`; client.terminate(); });
    client.on('error', error => { if (!opened) end = end || error.message; });
    client.on('close', code => { clearTimeout(limit); done([heard, end || code]); });
  });
}
Promise.all(JSON.parse(process.argv[1]).map(session)).then(all => console.log(JSON.stringify(all)));
"""


def needs_node():
    """Skip a test where Node or its package `ws` is missing."""
    node = shutil.which("node")
    if not node or subprocess.run([node, "-e", "require('ws')"], capture_output=True, check=False).returncode:
        pytest.skip("needs Node with the package ws: npm install ws, and NODE_PATH")


def by_node(sessions):
    """The ends of sessions of Node's package `ws`, all at once; each is the arguments of the other clients."""
    command = ["node", "-e", NODE_CLIENT, json.dumps(sessions)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout)


PYTHONIC = {
    "websockets": by_websockets,
    "websockets with asyncio": by_websockets_asyncio,
    "aiohttp": by_aiohttp,
    "httpx-ws": by_httpx,
    "wsproto": by_wsproto,
}
