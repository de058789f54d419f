"""Scenarios of the stage passthrough: an established session of some protocol, with a relay in front of its server."""

import asyncio
import contextlib
import socket
import socketserver
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from faultline import close, latency, ok, reset, root_cause, sequence

HELLO = b"HELLO 1\n"


class Upstream(socketserver.ThreadingTCPServer):
    """A server of lines: `HELLO 1`, then `PUT <text>`, `PING <number>`, and `WAIT`, which is never answered."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Lines)
        self.address = f"127.0.0.1:{self.server_address[1]}"
        self.stored = []
        self.said = threading.Condition()
        self.lines = []

    def hears(self, line):
        with self.said:
            self.lines.append(line)
            self.said.notify_all()

    def wait_for(self, line):
        with self.said:
            assert self.said.wait_for(lambda: line in self.lines, 10)


class Lines(socketserver.StreamRequestHandler):
    def handle(self):
        with contextlib.suppress(ConnectionError):
            for line in self.rfile:
                self.server.hears(line)
                word, _, rest = line.partition(b" ")
                if word == b"PUT":
                    self.server.stored.append(rest)
                answers = {b"HELLO": b"HELLO OK\n", b"PUT": b"OK " + rest, b"PING": b"PONG " + rest}
                self.wfile.write(answers.get(word, b""))


@pytest.fixture
def upstream():
    """A real server of the line protocol; ask for it before `faultline`, so that its sessions have ended at its end."""
    with Upstream() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class LostError(Exception):
    """The session ended while it was in use."""


class WrongStateError(Exception):
    """There is no session."""


class IncompatibleError(Exception):
    """The server has not agreed to the protocol."""


class Session:
    """A client of the line protocol, as careful as those of the rows."""

    def __init__(self, server):
        self._server = server
        self.reconnects = -1
        self._file = None
        self.connect()

    def connect(self):
        self.reconnects += 1
        sock = socket.create_connection(self._server.address, timeout=10)
        with sock:  # the file keeps it open
            self._file = sock.makefile("rwb")
        try:
            self.ask(HELLO)
        except LostError as error:
            raise IncompatibleError from error

    def ask(self, line):
        if self._file is None:
            raise WrongStateError
        try:
            self._file.write(line)
            self._file.flush()
            answer = self._file.readline()
        except OSError as error:
            self.close()
            raise LostError from error
        if not answer.endswith(b"\n"):
            self.close()
            raise LostError
        return answer

    def ask_surely(self, line):
        """Ask again on a new session, as often as it takes."""
        while True:
            with contextlib.suppress(LostError):
                return self.ask(line)
            while self._file is None:
                with contextlib.suppress(IncompatibleError):
                    self.connect()

    def close(self):
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):  # what it could not write
                file.close()


@pytest.fixture
def connect():
    """A function that opens a session with a server; it is closed after the test."""
    with contextlib.ExitStack() as sessions:

        def opened(server):
            session = Session(server)
            sessions.callback(session.close)
            return session

        yield opened


def test_s138_established_session_is_reset(upstream, faultline, connect):
    server = faultline.relay(upstream.address)
    session = connect(server)
    assert session.ask(b"PING 1\n") == b"PONG 1\n"

    assert server.reset_all() == 1

    with pytest.raises(LostError) as caught:
        session.ask(b"PING 2\n")
    with pytest.raises(WrongStateError):
        session.ask(b"PING 3\n")
    assert isinstance(root_cause(caught.value), ConnectionResetError)
    assert upstream.lines == [HELLO, b"PING 1\n"]
    assert [(a.ended_by, a.ended_how) for a in server.attempts] == [("server", "RST")]


@pytest.mark.parametrize("fault", [reset(on=HELLO), reset(after_messages=0), reset()], ids=repr)
def test_s139_reset_before_the_protocol_header_is_answered(upstream, faultline, connect, fault):
    server = faultline.relay(upstream.address, fault)

    with pytest.raises(IncompatibleError) as caught:
        connect(server)

    assert isinstance(root_cause(caught.value), ConnectionResetError)
    assert [a.sent_bytes for a in server.attempts] == [0]
    upstream.wait_for(HELLO)


def test_s139_reset_before_the_protocol_header_has_arrived(upstream, faultline, connect):
    server = faultline.relay(upstream.address, reset(at="request"))

    with pytest.raises(IncompatibleError):
        connect(server)

    assert [(a.struck.point, a.sent_bytes) for a in server.attempts] == [("request", 0)]
    assert upstream.lines == []


@pytest.mark.parametrize("act", ["reset_all", "close_all"])
def test_s141_dropped_while_a_thread_waits_for_an_answer(upstream, faultline, connect, act):
    server = faultline.relay(upstream.address)
    session = connect(server)

    with ThreadPoolExecutor() as threads:
        blocked = threads.submit(session.ask, b"WAIT\n")
        upstream.wait_for(b"WAIT\n")
        assert getattr(server, act)() == 1

        assert type(blocked.exception(10)) is LostError


@pytest.mark.parametrize("verb", [reset, close])
def test_s141_dropped_as_soon_as_the_question_has_arrived(upstream, faultline, connect, verb):
    server = faultline.relay(upstream.address, verb(on=b"WAIT\n"))
    session = connect(server)

    with pytest.raises(LostError):
        session.ask(b"WAIT\n")

    upstream.wait_for(b"WAIT\n")
    assert [(a.struck.point, a.received_bytes) for a in server.attempts] == [("request", len(HELLO + b"WAIT\n"))]


def test_s142_all_sessions_are_closed_once_and_each_reconnects_once(upstream, faultline, connect):
    server = faultline.relay(upstream.address)
    pool = [connect(server) for _ in range(3)]

    assert server.close_all() == 3
    answers = [session.ask_surely(b"PING 1\n") for session in pool for _ in range(2)]

    assert answers == [b"PONG 1\n"] * 6
    assert [session.reconnects for session in pool] == [1, 1, 1]
    assert [a.ended_how for a in server.attempts] == ["FIN"] * 3 + [None] * 3


def test_s144_session_is_cut_after_a_budget_that_doubles(upstream, faultline, connect):
    budgets = [32 << n for n in range(6)]
    server = faultline.relay(upstream.address, sequence(*(close(after_bytes=n) for n in budgets), ok()))
    session = connect(server)
    texts = [b"message %d\n" % n for n in range(200)]

    for text in texts:
        assert session.ask_surely(b"PUT " + text) == b"OK " + text

    assert list(dict.fromkeys(upstream.stored)) == texts  # none is lost; what was cut off came twice
    assert session.reconnects == len(budgets)
    assert [a.struck.after_bytes for a in server.attempts[:-1]] == budgets
    assert server.attempts[-1].struck is None


class Channel:
    """An asyncio client that knows its answers by number, beats, and reconnects when it hears nothing."""

    def __init__(self, server):
        self._server = server
        self._numbers = iter(range(1, 1000))
        self._asked = {}
        self.reconnected = asyncio.Event()

    async def __aenter__(self):
        await self._connect()
        return self

    async def __aexit__(self, *_):
        await self._disconnect()

    async def _connect(self):
        reader, self._writer = await asyncio.open_connection(*self._server.address)
        self._writer.write(HELLO)
        assert await reader.readline() == b"HELLO OK\n"
        self._reading = asyncio.create_task(self._read(reader))

    async def _disconnect(self):
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        self._writer.close()
        await self._writer.wait_closed()

    async def _read(self, reader):
        while line := await reader.readline():
            answer = self._asked.pop(int(line.split()[1]), None)
            if answer is not None and not answer.done():
                answer.set_result(line)

    async def ping(self, timeout):
        number = next(self._numbers)
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        self._writer.write(b"PING %d\n" % number)
        return await asyncio.wait_for(answer, timeout)

    async def beat(self, timeout):
        """Reconnect when a beat is not answered in time."""
        try:
            await self.ping(timeout)
        except asyncio.TimeoutError:
            await self._disconnect()
            await self._connect()
            self.reconnected.set()


@pytest.mark.slow
@pytest.mark.everywhere
def test_s145_both_directions_are_slowed_and_the_channel_recovers(upstream, faultline):
    server = faultline.relay(upstream.address)

    async def talk():
        async with Channel(server) as channel:
            server.become(latency(0.15, direction="both"), open_too=True)
            with pytest.raises(asyncio.TimeoutError):
                await channel.ping(0.1)
            server.become(ok(), open_too=True)
            return await channel.ping(10), channel.reconnected.is_set()

    assert asyncio.run(talk()) == (b"PONG 2\n", False)
    assert len(server.attempts) == 1


@pytest.mark.slow
@pytest.mark.everywhere
@pytest.mark.parametrize("direction", ["request", "response"])
def test_s145_one_direction_starves_past_the_heartbeat(upstream, faultline, direction):
    server = faultline.relay(upstream.address)

    async def talk():
        async with Channel(server) as channel:
            server.become(sequence(latency(60, direction=direction), ok()), open_too=True)
            await channel.beat(0.1)
            return channel.reconnected.is_set(), await channel.ping(10)

    assert asyncio.run(talk()) == (True, b"PONG 2\n")
    assert [a.connection for a in server.attempts] == [1, 2]
    assert (b"PING 1\n" in upstream.lines) is (direction == "response")
