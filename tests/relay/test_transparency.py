"""Whatever two sides say, cut and end: through a relay without a fault it is the same as without one."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from faultline import latency, relay

SIZES = (
    st.integers(1, 20) | st.integers(1, 3000) | st.sampled_from([65_535, 65_536, 65_537, 262_144, 262_145, 1_000_000])
)
NOISE = random.Random(5).randbytes(8_000_000)


@dataclass(frozen=True)
class Side:
    """What one side does: the sizes of what it sends, how much it reads at once, and whether it half-closes then."""

    sends: tuple[int, ...]
    reads: int
    half_closes: bool

    @property
    def count(self):
        return sum(self.sends)


@dataclass(frozen=True)
class Talk:
    """A conversation: who hears the other out before it speaks, and who ends it how when both have heard all."""

    client: Side
    upstream: Side
    polite: str
    ender: str
    how: str


sides = st.builds(
    Side,
    sends=st.lists(SIZES, max_size=5).map(tuple),
    reads=st.sampled_from([1000, 65_536, 1 << 20]),
    half_closes=st.booleans(),
)
talks = st.builds(
    Talk,
    sides,
    sides,
    st.sampled_from(["nobody", "client", "upstream"]),
    st.sampled_from(["client", "upstream"]),
    st.sampled_from(["FIN", "RST"]),
)


async def say(loop, sock, side, may_speak):
    """Send it all."""
    await may_speak.wait()
    at = 0
    for size in side.sends:
        await loop.sock_sendall(sock, NOISE[at : at + size])
        at += size
    if side.half_closes:
        sock.shutdown(socket.SHUT_WR)


async def hear(loop, sock, side, other, has_heard):
    """Read all that the other side says, and its end if it half-closes: whether that was right."""
    got = bytearray()
    while len(got) < other.count and (data := await loop.sock_recv(sock, side.reads)):
        got += data
    has_heard.set()
    ends = not other.half_closes or await loop.sock_recv(sock, 1) == b""
    return bytes(got) == NOISE[: other.count], ends


async def listen(loop, sock):
    """How it ends for one who reads on."""
    try:
        return await loop.sock_recv(sock, 1000)
    except OSError as error:
        return type(error).__name__


def leave(sock, how):
    if how == "RST":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


async def seen(loop, listener, address, talk):
    """What both sides see of a conversation: whether they hear all, and how it ends for the one who stays."""
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(socket.socket())
        client.setblocking(False)
        await loop.sock_connect(client, address)
        upstream, _ = await loop.sock_accept(listener)
        stack.callback(upstream.close)
        upstream.setblocking(False)
        client_heard, upstream_heard, at_once = asyncio.Event(), asyncio.Event(), asyncio.Event()
        at_once.set()
        _, _, client_hears, upstream_hears = await asyncio.gather(
            say(loop, client, talk.client, client_heard if talk.polite == "client" else at_once),
            say(loop, upstream, talk.upstream, upstream_heard if talk.polite == "upstream" else at_once),
            hear(loop, client, talk.client, talk.upstream, client_heard),
            hear(loop, upstream, talk.upstream, talk.client, upstream_heard),
        )
        leaving, staying = (client, upstream) if talk.ender == "client" else (upstream, client)
        leave(leaving, talk.how)
        return client_hears, upstream_hears, await listen(loop, staying)


@pytest.fixture(scope="module")
def loop():
    with contextlib.closing(asyncio.SelectorEventLoop()) as made:
        yield made


@pytest.fixture(scope="module")
def listener():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.setblocking(False)
        yield sock


@pytest.fixture(scope="module", params=[None, latency(0, direction="both")], ids=["pumped", "looked at"])
def server(request, listener):
    with relay("{}:{}".format(*listener.getsockname()), request.param) as made:
        yield made


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(talk=talks)
def test_a_conversation_through_a_relay_is_the_same_as_a_direct_one(loop, listener, server, talk):
    event(f"{talk.ender} {talk.how}, half-closed {talk.client.half_closes + talk.upstream.half_closes}")

    def meet(address):
        return loop.run_until_complete(asyncio.wait_for(seen(loop, listener, address, talk), 20))

    direct = meet(listener.getsockname())
    assert direct[:2] == ((True, True), (True, True))
    assert meet(server.address) == direct
    attempt = server.wait_for_attempts(len(server.ledger.attempts), at="end")[-1]
    assert (attempt.received_bytes, attempt.sent_bytes) == (talk.client.count, talk.upstream.count)
    if not talk.client.half_closes and not talk.upstream.half_closes:
        assert (attempt.ended_by, attempt.ended_how) == (talk.ender, talk.how)
