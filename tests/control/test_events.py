"""The stream of attempts as they end, and what a slow reader of it costs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket

import pytest
from support import PATIENCE_SECONDS, nothing_left, read_until, to_end
from support.control import Client, fetched

from faultline import control
from faultline._servers.control.events import ROOM_BYTES, Events, event
from faultline._servers.loop import background


@contextlib.contextmanager
def reader_of(api):
    """A client that reads the events; the head of the response is read already."""
    with socket.create_connection((api.host, api.port), PATIENCE_SECONDS) as client:
        client.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        head = read_until(client, b"\r\n\r\n").decode()
        assert head.startswith("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"), head
        assert "Connection: close\r\n" in head
        assert "Content-Length" not in head
        yield client


def taken(client):
    """The name and the data of the next event."""
    name, data, _ = read_until(client, b"\n\n").decode().split("\n", 2)
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def test_each_reader_is_told_every_attempt_as_it_ends(ask, faultline_control, web):
    made = {name: ask.make(name, web) for name in ("a", "b")}
    fetched(made["a"])  # before anybody reads
    with reader_of(faultline_control) as one, reader_of(faultline_control) as two:
        for name in "bab":
            fetched(made[name])
            faultline_control.proxies[name].wait_for_attempts(1, at="end")
        told = [[taken(client) for _ in range(3)] for client in (one, two)]

    assert told[0] == told[1]
    assert [(name, data["proxy"], data["number"]) for name, data in told[0]] == [
        ("attempt", "b", 1),
        ("attempt", "a", 2),
        ("attempt", "b", 2),
    ]
    last = faultline_control.proxies["b"].attempts[1].to_dict()
    assert told[0][2][1] == {"proxy": "b"} | json.loads(json.dumps(last))


def test_the_stream_ends_with_the_api():
    with nothing_left():
        api = control()
        with reader_of(api) as client:
            api.close()
            assert to_end(client) == (b"", "FIN")


def test_a_reader_that_leaves_is_forgotten(web):
    with control() as api:
        ask = Client(api)
        made = ask.make("web", web)
        with reader_of(api) as client:
            client.sendall(b"what a reader sends is of no interest")
            fetched(made)
            assert taken(client)[0] == "attempt"
        for _ in range(3):  # the first is written to a reader that has left
            fetched(made)
        background().settle()
        assert not api._events.have_readers
        ask.close()


# --- the queue of one reader -----------------------------------------------------------------------------------------


def test_a_slow_reader_is_told_how_much_it_has_missed():
    async def read_slowly():
        events = Events()
        slow, quick = events.join(), events.join()
        events.put(b"x" * ROOM_BYTES)
        got = [await quick.take()]
        for data in (b"a", b"b"):
            events.put(data)
            got.append(await quick.take())
        late = [await slow.take(), await slow.take()]
        events.put(b"c")
        return [len(got[0]), *got[1:]], [len(late[0]), late[1], await slow.take()]

    quick, slow = asyncio.run(read_slowly())
    assert quick == [ROOM_BYTES, b"a", b"b"]
    assert slow == [ROOM_BYTES, b'event: dropped\ndata: {"count": 2}\n\n', b"c"]


def test_a_reader_waits_for_the_next_event():
    async def read():
        events = Events()
        reader = events.join()
        waiting = asyncio.ensure_future(reader.take())
        await asyncio.sleep(0)
        assert not waiting.done()
        events.put(event("attempt", "{}"))
        first = await waiting
        events.leave(reader)
        events.put(b"nobody hears it")
        return first, events.have_readers

    assert asyncio.run(read()) == (b"event: attempt\ndata: {}\n\n", False)


@pytest.mark.slow
def test_a_reader_that_never_reads_holds_nobody_up(ask, faultline_control, web):
    made = ask.make("web", web)
    with reader_of(faultline_control):
        for _ in range(200):
            fetched(made)

    assert len(ask("GET", "/proxies/web/attempts").data["attempts"]) == 200
