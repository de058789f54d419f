"""HTTP through the relay: uvicorn, nginx, WebSockets and gRPC, with the clients that people use."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import http.client
import os
import queue
import shutil
import socket
import ssl
import subprocess
import threading

import pytest
import requests
import urllib3
from support.recorded import replayed

from faultline import UnsupportedError, bad_cert, close, ok, partition, raises, reset, root_cause, sequence, stall

uvicorn = pytest.importorskip("uvicorn")
websockets = pytest.importorskip("websockets")
sync_client = pytest.importorskip("websockets.sync.client")
asyncio_client = pytest.importorskip("websockets.asyncio.client")

GIGABYTE = 10**9
CUT = 123_456_789
PLAIN = {"proxy": None, "compression": None}  # of a WebSocket: `on` looks for what is on the wire


# --- the real servers ------------------------------------------------------------------------------------------------


class App:
    """An ASGI application: a page, a download, an upload, an echo by WebSocket."""

    def __init__(self):
        self.uploads = queue.SimpleQueue()  # of each: how many bytes came, and what ended it

    async def __call__(self, scope, receive, send):
        if scope["type"] == "websocket":
            await self.echo(receive, send)
        elif scope["path"] == "/upload":
            await self.take(receive, send)
        elif scope["path"] == "/big":
            await self.stream(send, GIGABYTE)
        else:
            await self.answer(send, b"hello\n")

    async def answer(self, send, body):
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def stream(self, send, count):
        headers = [(b"content-length", str(count).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        piece = bytes(1_000_000)
        for _ in range(count // len(piece)):
            await send({"type": "http.response.body", "body": piece, "more_body": True})

    async def take(self, receive, send):
        count, event = 0, {"type": "http.request", "more_body": True}
        while event["type"] == "http.request" and event["more_body"]:
            event = await receive()
            count += len(event.get("body", b""))
        self.uploads.put((count, event["type"]))
        await self.answer(send, str(count).encode())

    async def echo(self, receive, send):
        while (event := await receive())["type"] != "websocket.disconnect":
            if event["type"] == "websocket.connect":
                await send({"type": "websocket.accept"})
            else:
                await send({"type": "websocket.send", "text": event["text"]})


@pytest.fixture(scope="module")
def app():
    return App()


@pytest.fixture(scope="module")
def upstream(app):
    """The address of a uvicorn: it listens before its thread runs, so nobody has to wait for it."""
    config = uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0), backlog=100) as sock:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        yield f"127.0.0.1:{sock.getsockname()[1]}"
        server.should_exit = True
        thread.join()


NGINX = """
daemon off; {user} pid {folder}/pid; error_log stderr crit;
events {{}}
http {{
    access_log off; sendfile on; root {folder};
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{ listen {address}; }}
}}
"""


@pytest.fixture(scope="module")
def nginx(tmp_path_factory):
    """The address of an nginx with one page, and a file of 1 GB that takes no room on the disk."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("needs nginx (Debian's package nginx-light)")
    folder = tmp_path_factory.mktemp("nginx")
    (folder / "index.html").write_bytes(b"hello\n")
    with (folder / "big").open("wb") as big:
        big.truncate(GIGABYTE)
    with socket.create_server(("127.0.0.1", 0), backlog=100) as sock:
        address = f"127.0.0.1:{sock.getsockname()[1]}"
        user = "user root;" if os.getuid() == 0 else ""  # of its worker, which else is nobody
        (folder / "nginx.conf").write_text(NGINX.format(user=user, folder=folder, address=address))
        process = subprocess.Popen(
            [program, "-p", folder, "-c", folder / "nginx.conf"],
            pass_fds=[sock.fileno()],
            env={"NGINX": f"{sock.fileno()};"},  # it takes over what listens already, as when it is upgraded
        )
    yield address
    process.terminate()
    process.wait()


@pytest.fixture(params=["uvicorn", "nginx"])
def either(request):
    """The address of each real server in turn."""
    return request.getfixturevalue("upstream" if request.param == "uvicorn" else "nginx")


# --- HTTP ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_session_reuses_one_connection_through_the_relay(faultline, either):
    server = faultline.relay(either)

    with requests.Session() as session:
        bodies = [session.get(f"{server.url}/", timeout=10).content for _ in range(5)]

    assert bodies == [b"hello\n"] * 5
    (attempt,) = server.wait_for_attempts(1, at="end")
    assert [turn.by for turn in attempt.turns] == ["client", "server"] * 5
    assert (attempt.ended_by, attempt.ended_how) == ("client", "FIN")


@pytest.mark.slow
@pytest.mark.everywhere
def test_what_nginx_said_is_replayed(nginx):
    def client(server):
        answers = []
        with contextlib.closing(http.client.HTTPConnection(*server.address, timeout=10)) as connection:
            for method, path in (("GET", "/"), ("HEAD", "/"), ("GET", "/none"), ("POST", "/")):
                connection.request(method, path, b"x" * 1000 if method == "POST" else None)
                response = connection.getresponse()
                answers.append((response.status, response.headers.items(), response.read()))
        return answers

    said, _ = replayed(nginx, client)

    assert [status for status, _, _ in said] == [200, 200, 404, 405]


def test_pool_opens_as_many_connections_as_it_has_requests_at_once(faultline, upstream):
    server = faultline.relay(upstream)

    with urllib3.PoolManager(maxsize=4, timeout=10) as pool, concurrent.futures.ThreadPoolExecutor(4) as threads:
        server.pause()
        answers = [threads.submit(pool.request, "GET", server.url) for _ in range(4)]
        server.wait_for_attempts(4)
        server.resume()
        bodies = [answer.result().data for answer in answers]
        pool.request("GET", server.url)

        assert bodies == [b"hello\n"] * 4
        assert [a.connection for a in server.attempts] == [1, 2, 3, 4]


def head_bytes(response):
    """How many bytes the head of an `http.client` response had on the wire."""
    lines = [f"HTTP/1.1 {response.status} {response.reason}", *(f"{n}: {v}" for n, v in response.getheaders()), ""]
    return sum(len(line) + 2 for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("verb", [reset, close])
def test_download_of_a_gigabyte_is_cut_at_the_exact_byte(faultline, either, verb):
    server = faultline.relay(either, verb(after_bytes=CUT))
    got = 0

    with contextlib.closing(http.client.HTTPConnection(*server.address, timeout=10)) as client:
        client.request("GET", "/big")
        response = client.getresponse()
        with contextlib.closing(response), pytest.raises(ConnectionResetError) if verb is reset else within():
            while piece := response.read1(1 << 18):
                got += len(piece)

    assert response.getheader("Content-Length") == str(GIGABYTE)
    assert got == CUT - head_bytes(response)
    assert (server.attempts[0].struck.after_bytes, server.attempts[0].sent_bytes) == (CUT, CUT)


within = contextlib.nullcontext  # close: `read1` takes an early end for the end


@pytest.mark.parametrize("verb", [reset, close])
def test_requests_says_that_a_download_was_cut(faultline, nginx, verb):
    server = faultline.relay(nginx, verb(after_bytes=1_000_000))

    with raises(ConnectionResetError if verb is reset else urllib3.exceptions.IncompleteRead) as caught:
        requests.get(f"{server.url}/big", timeout=10)

    assert type(caught.value) is requests.exceptions.ChunkedEncodingError
    assert server.attempts[0].sent_bytes == 1_000_000


def test_upload_is_reset_in_the_middle(faultline, upstream, app):
    server = faultline.relay(upstream, reset(at="request", after_bytes=1_000_000))

    with raises(ConnectionResetError) as caught:
        requests.post(f"{server.url}/upload", data=bytes(50_000_000), timeout=10)

    assert type(caught.value) is requests.ConnectionError
    assert server.attempts[0].received_bytes == 1_000_000
    count, ended = app.uploads.get(timeout=10)
    assert ended == "http.disconnect"
    assert 1_000_000 - 1000 < count < 1_000_000  # what is missing is the head


@pytest.mark.slow
def test_upload_that_is_not_cut_arrives_whole(faultline, upstream, app):
    server = faultline.relay(upstream)

    answer = requests.post(f"{server.url}/upload", data=bytes(5_000_000), timeout=10)

    assert answer.content == b"5000000"
    assert app.uploads.get(timeout=10) == (5_000_000, "http.request")


def test_answer_is_lost_after_an_upload_has_arrived(faultline, upstream, app):
    server = faultline.relay(upstream, reset(after_messages=0, at="response"))

    with raises(ConnectionResetError):
        requests.post(f"{server.url}/upload", data=bytes(5_000), timeout=10)

    assert app.uploads.get(timeout=10) == (5_000, "http.request")
    assert server.attempts[0].sent_bytes == 0


# --- a kept connection -----------------------------------------------------------------------------------------------


def test_pool_replaces_a_kept_connection_that_has_gone_stale(faultline, either):
    server = faultline.relay(either, sequence(close(at="idle", after_seconds=0.05), ok()))

    with requests.Session() as session:
        first = session.get(server.url, timeout=10).content
        server.wait_for_attempts(1, at="end")
        second = session.get(server.url, timeout=10).content

    assert [first, second] == [b"hello\n", b"hello\n"]
    assert [(a.connection, a.struck and a.struck.point) for a in server.attempts] == [(1, "idle"), (2, None)]


@pytest.mark.parametrize("verb", [close, reset])
def test_kept_connection_that_dies_under_a_request_is_retried(faultline, either, verb):
    server = faultline.relay(either, sequence(verb(at="request", after_messages=1), ok()))

    with urllib3.PoolManager(timeout=10, retries=urllib3.Retry(1, backoff_factor=0)) as pool:
        bodies = [pool.request("GET", f"{server.url}/").data for _ in range(2)]

        assert bodies == [b"hello\n"] * 2
        assert [[turn.by for turn in a.turns].count("server") for a in server.attempts] == [1, 1]
        assert [a.struck and a.struck.point for a in server.attempts] == ["request", None]


def test_kept_connection_that_dies_under_a_request_fails_without_retry(faultline, either):
    server = faultline.relay(either, sequence(close(at="request", after_messages=1), ok()))

    with requests.Session() as session:
        session.get(server.url, timeout=10)
        with raises(http.client.RemoteDisconnected) as caught:
            session.get(server.url, timeout=10)

        assert type(caught.value) is requests.ConnectionError
        assert session.get(server.url, timeout=10).content == b"hello\n"
        assert [a.connection for a in server.attempts] == [1, 2]


# --- TLS -------------------------------------------------------------------------------------------------------------


def test_relay_speaks_tls_for_a_plain_uvicorn(faultline, upstream, monkeypatch):
    server = faultline.relay(upstream, tls="terminate")
    server.trust(monkeypatch)

    with requests.Session() as session:
        bodies = [session.get(server.url, timeout=10).content for _ in range(2)]

    assert (server.url[:8], bodies) == ("https://", [b"hello\n"] * 2)
    assert [(a.connection, a.tls.version) for a in server.attempts] == [(1, "TLSv1.3")]


def test_relay_shows_a_bad_certificate_for_a_plain_uvicorn(faultline, upstream):
    server = faultline.relay(upstream, bad_cert("expired"), tls="terminate")

    with raises(ssl.SSLCertVerificationError) as caught:
        requests.get(server.url, timeout=10, verify=server.ca_file)

    assert root_cause(caught.value).verify_message == "certificate has expired"


def test_bytes_are_counted_inside_tls(faultline, upstream):
    server = faultline.relay(upstream, close(after_bytes=1_000_000), tls="terminate")

    with raises(urllib3.exceptions.IncompleteRead) as caught:
        requests.get(f"{server.url}/big", timeout=10, verify=server.ca_file)

    assert 1_000_000 - 1000 < caught.cause.partial < 1_000_000  # what is missing is the head
    assert server.attempts[0].sent_bytes == 1_000_000


# --- WebSockets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", [close, reset])
def test_websocket_is_dropped_without_a_close_frame(faultline, upstream, verb):
    server = faultline.relay(upstream, verb(at="response", on=b"last"))

    with sync_client.connect(f"ws://{server.hostport}/", **PLAIN) as ws:
        ws.send("first")
        assert ws.recv(timeout=10) == "first"
        ws.send("last")
        assert ws.recv(timeout=10) == "last"
        with pytest.raises(websockets.ConnectionClosedError) as caught:
            ws.recv(timeout=10)

    assert (ws.protocol.close_code, caught.value.rcvd) == (1006, None)


@pytest.mark.parametrize("verb", [close, reset])
def test_asyncio_websocket_is_dropped_without_a_close_frame(faultline, upstream, verb):
    server = faultline.relay(upstream, verb(at="response", on=b"last"))

    async def talk():
        async with asyncio_client.connect(f"ws://{server.hostport}/", **PLAIN) as ws:
            await ws.send("last")
            assert await ws.recv() == "last"
            with pytest.raises(websockets.ConnectionClosedError) as caught:
                await ws.recv()
            return ws.close_code, caught.value.rcvd

    assert asyncio.run(asyncio.wait_for(talk(), 10)) == (1006, None)


@pytest.mark.parametrize("act", ["close_all", "reset_all"])
def test_open_websockets_are_dropped_in_one_call(faultline, upstream, act):
    server = faultline.relay(upstream)

    with contextlib.ExitStack() as stack:
        connect = [sync_client.connect(f"ws://{server.hostport}/", **PLAIN) for _ in range(3)]
        sockets = [stack.enter_context(ws) for ws in connect]
        assert getattr(server, act)() == 3
        for ws in sockets:
            with pytest.raises(websockets.ConnectionClosedError):
                ws.recv(timeout=10)

    assert [ws.protocol.close_code for ws in sockets] == [1006] * 3


@pytest.mark.slow
@pytest.mark.everywhere
@pytest.mark.parametrize("verb", [stall, partition])
def test_websocket_that_stalls_fails_by_its_ping_timeout(faultline, upstream, verb):
    try:
        server = faultline.relay(upstream, verb(at="response", on=b"hello"))
    except UnsupportedError as error:
        pytest.skip(str(error))
    quick = {"ping_interval": 0.1, "ping_timeout": 0.2, "close_timeout": 0.05}

    async def talk():
        async with asyncio_client.connect(f"ws://{server.hostport}/", **PLAIN, **quick) as ws:
            await ws.send("hello")
            assert await ws.recv() == "hello"
            with pytest.raises(websockets.ConnectionClosedError) as caught:
                await ws.recv()
            return caught.value

    error = asyncio.run(asyncio.wait_for(talk(), 10))

    assert (error.sent.code, error.sent.reason, error.rcvd) == (1011, "keepalive ping timeout", None)


# --- gRPC ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def grpc():
    return pytest.importorskip("grpc")


@pytest.fixture(scope="module")
def counter(grpc):
    """The address of a gRPC server: `/Counter/Count` streams as many items as it is asked for."""

    def count(request, context):
        for number in range(int(request)):
            yield b"item %d" % number

    def handled(details):
        return grpc.unary_stream_rpc_method_handler(count) if details.method == "/Counter/Count" else None

    handler = type("Counter", (grpc.GenericRpcHandler,), {"service": lambda _, details: handled(details)})
    with concurrent.futures.ThreadPoolExecutor() as threads:
        server = grpc.server(threads, handlers=[handler()])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None).wait()


@pytest.fixture
def stream(grpc):
    """A function that opens a channel to a server: the call that streams."""
    with contextlib.ExitStack() as channels:

        def opened(server):
            alone = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
            channel = channels.enter_context(grpc.insecure_channel(server.hostport, options=alone))
            return channel.unary_stream("/Counter/Count")

        yield opened


@pytest.mark.slow
def test_grpc_stream_is_reset_in_the_middle_and_the_next_call_recovers(faultline, counter, stream, grpc):
    server = faultline.relay(counter, sequence(reset(at="response", on=b"item 500"), ok()))
    count = stream(server)
    got = []

    with pytest.raises(grpc.RpcError) as caught:
        got += count(b"1000", timeout=10)

    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    again = []
    for _ in range(5):  # a call that was sent before the channel has noticed is lost too
        with contextlib.suppress(grpc.RpcError):
            again = list(count(b"1000", timeout=10, wait_for_ready=True))
        if again:
            break
    assert again == [b"item %d" % n for n in range(1000)]
    assert [(a.connection, a.struck is not None) for a in server.attempts] == [(1, True), (2, False)]


@pytest.mark.slow
def test_grpc_stream_that_stalls_meets_its_deadline(faultline, counter, stream, grpc):
    server = faultline.relay(counter, stall(at="response", on=b"item 500"))
    count, deadline = stream(server), 0.3

    while not (server.attempts and server.attempts[0].struck):  # on a busy machine it takes longer to come so far
        with pytest.raises(grpc.RpcError) as caught:
            list(count(b"1000", timeout=deadline))
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        deadline *= 2

    assert server.attempts[0].struck.point == "response"
