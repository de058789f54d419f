"""Turns that no client can bring about at will: each part of a server is called as it would be then."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import select
import selectors
import socket
import sys
from types import SimpleNamespace
from unittest.mock import AsyncMock, Mock, call

import pytest
from support import to_end
from support.tables import each_row

from faultline import UnsupportedError, blackhole, ok, refuse, serve
from faultline._core.steps import Refuse, Vanish
from faultline._engine.talks.http_relay import HttpRelay
from faultline._engine.talks.relay import Relay
from faultline._net import system
from faultline._net.departures import Departed
from faultline._net.system import linux, packets
from faultline._servers import door, listener, loop
from faultline._servers.connections import Connections
from faultline._servers.door import Doorkeeper
from faultline._servers.listener import Listener
from faultline._servers.loop import Background, background
from faultline._servers.running import Running

# --- the door --------------------------------------------------------------------------------------------------------


def keeper(fault, step):
    """A door whose neighbours are mocks: its next fault is this one, and its listener has this step."""
    doorkeeper = Doorkeeper(
        background=Mock(),
        dealer=Mock(**{"upcoming.return_value": fault}),
        ledger=Mock(),
        listener=Mock(step=step, is_open=False),
        address=Mock(),
        on_error=Mock(),
        on_break=Mock(),
    )
    doorkeeper._syns = Mock()
    return doorkeeper


def syn(number=1):
    return Mock(key=("127.0.0.1", number, 0))


def test_error_in_the_door_is_kept_and_does_not_reach_the_client():
    doorkeeper, error = keeper(refuse(), Refuse()), RuntimeError("a bug")
    doorkeeper._background.call.side_effect = error
    assert doorkeeper._on_connect(Mock())
    doorkeeper._on_error.assert_called_once_with(error)


def test_connect_that_comes_in_turn_after_the_end_is_no_attempt():
    doorkeeper = keeper(refuse(), Refuse())
    doorkeeper.stop_counting()
    assert doorkeeper._before_connect(None)
    doorkeeper._ledger.begin.assert_not_called()


def test_connect_during_a_cut_is_no_attempt():
    doorkeeper = keeper(refuse(), Refuse())
    doorkeeper.is_cut_off = True
    assert not doorkeeper._before_connect(None)
    doorkeeper._ledger.begin.assert_not_called()


def test_syn_that_comes_before_the_listener_accepts_again_is_put_on_the_wire_again():
    doorkeeper, came = keeper(ok(), None), syn()
    doorkeeper._on_syn(came)
    doorkeeper._syns.repeat.assert_called_once_with(came)
    doorkeeper._syns.refuse.assert_not_called()
    doorkeeper._ledger.begin.assert_not_called()


def test_error_at_a_syn_is_kept_and_the_syn_is_answered():
    doorkeeper, came, error = keeper(refuse(), Refuse()), syn(), RuntimeError("a bug")
    doorkeeper._ledger.begin.side_effect = error
    doorkeeper._on_syn(came)
    doorkeeper._on_error.assert_called_once_with(error)
    doorkeeper._syns.refuse.assert_called_once_with(came)


def test_syns_that_are_kept_to_know_a_repetition_have_a_bound(monkeypatch):
    monkeypatch.setattr(door, "KEPT_SYNS", 2)
    doorkeeper = keeper(refuse(), Refuse())
    for number in (1, 2, 3):
        doorkeeper._on_syn(syn(number))
    assert [number for _, number, _ in doorkeeper._heard] == [2, 3]


def test_clients_that_wait_at_a_black_hole_have_a_bound(monkeypatch):
    monkeypatch.setattr(door, "KEPT_SYNS", 2)
    doorkeeper = keeper(blackhole(for_seconds=60), Vanish(60))
    for number in (1, 2, 3):
        doorkeeper._on_syn(syn(number))
    assert [number for _, number, _ in doorkeeper._silent] == [2, 3]


@each_row("numbers", [(0,), (0, 1), (1,)])
def test_only_the_client_that_waits_continues_its_attempt(numbers):
    doorkeeper = keeper(blackhole(for_seconds=60), Vanish(60))
    doorkeeper._on_syn(syn())
    doorkeeper._listener.is_open = True
    for number in numbers:  # the same port, with this sequence number
        doorkeeper._on_syn(Mock(key=("127.0.0.1", 1, number)))

    entry = doorkeeper._ledger.begin.return_value
    assert doorkeeper.waited(("::ffff:127.0.0.1", 1, 0, 0)) is (entry if numbers == (0,) else None)
    assert doorkeeper.waited(("127.0.0.1", 1)) is None


def test_client_of_a_unix_socket_continues_no_attempt():
    doorkeeper = keeper(blackhole(for_seconds=60), Vanish(60))
    doorkeeper._on_syn(syn())
    assert doorkeeper.waited("") is None


def test_refusal_after_a_black_hole_is_met_by_the_client_that_waits_and_by_no_other():
    doorkeeper = keeper(blackhole(for_seconds=60), Vanish(60))
    doorkeeper._on_syn(syn())
    doorkeeper._dealer.upcoming.return_value, doorkeeper._listener.step = refuse(), Refuse()
    for _ in range(2):  # TCP repeats the SYN
        doorkeeper._on_syn(syn())

    entry = doorkeeper._ledger.begin.return_value
    assert [call.args[3] for call in doorkeeper._ledger.begin.call_args_list] == [None, entry]
    doorkeeper._dealer.deal.assert_called_once_with()
    assert doorkeeper._syns.refuse.call_count == 2


def test_callers_that_gave_up_continue_no_attempt():
    doorkeeper = keeper(blackhole(for_seconds=60), Vanish(60))
    doorkeeper._syns = None
    callers = [socket.socket(), socket.socket(), socket.socket(socket.AF_UNIX)]
    for caller in callers:
        assert doorkeeper._before_connect(caller)
    callers[0].close()
    callers.pop(1).close()
    del caller
    assert len(doorkeeper._callers) == 2
    doorkeeper._let_callers_in()
    assert doorkeeper._through == {}
    callers[1].close()


# --- the listener ----------------------------------------------------------------------------------------------------


@pytest.fixture
def listening():
    """A function that makes a listener of TCP, whose loop is a mock."""
    made = []

    def make(step):
        sock = system.new_listener(socket.AF_INET)
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        made.append(Listener(sock, step))
        made[-1].start(Mock(), Mock(), Mock())
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_black_hole_turns_into_a_refusal(listening):
    one = listening(Vanish())
    address = one._sock.getsockname()
    one.set_step(Refuse())
    with socket.socket() as client:
        client.settimeout(30)
        assert client.connect_ex(address)
    assert not one.is_open


def test_late_clients_are_accepted_but_not_without_end_and_none_that_filled_the_queue(listening, monkeypatch):
    monkeypatch.setattr(listener.system, "BACKLOG", 2)
    one, filler, client = listening(None), Mock(), Mock()
    one._filler_addresses = {("127.0.0.1", 1)}
    one._accept_late(Mock(**{"accept.side_effect": [(filler, ("127.0.0.1", 1)), (client, ("127.0.0.1", 2))]}))
    filler.close.assert_called_once_with()
    one._loop.call_soon.assert_called_once_with(one._on_client, client, ("127.0.0.1", 2))
    assert not one._filler_addresses


@pytest.mark.parametrize("repeat", [False, True])
def test_syns_that_nobody_has_answered_are_dropped_or_put_on_the_wire_again(listening, monkeypatch, repeat):
    one, syns = listening(None), Mock(**{"read.return_value": iter(["a SYN"])})
    with monkeypatch.context() as patched:
        patched.setattr(one, "_syns", syns)
        one._take_syns(repeat=repeat)

    assert syns.repeat.call_args_list == [call("a SYN")] * repeat


# --- the server ------------------------------------------------------------------------------------------------------


@pytest.fixture
def over():
    """A server that is over, whose parts are mocks."""
    running = Running.__new__(Running)
    running._background = Mock(call=lambda function, *_: function(), run=lambda begin: asyncio.run(begin()))
    running._door, running._listener, running.connections = Mock(), Mock(), Mock()
    running._is_closed = running._is_broken = True
    running._errors = []
    return running


def test_error_that_nobody_has_kept_is_that_of_the_caller(over):
    error = OSError("no descriptors")
    with pytest.raises(OSError, match="no descriptors"):
        over._called(Mock(side_effect=error))
    assert over._errors == []


def test_server_that_is_over_sets_no_step(over):
    over.cut_off(is_cut_off=False)
    over._set_listener()
    over._door.set_step.assert_not_called()


def test_server_that_is_over_accepts_no_client_to_count_those_that_are_held(over):
    over.ledger = Mock(attempts=())
    over.connections.held.return_value = (1,)
    assert over.held(0) == (1,)
    over._listener.drain.assert_not_called()


def test_tasks_end_with_the_loop():
    async def run():
        task = asyncio.create_task(asyncio.Event().wait())
        await Background._end_tasks(Mock())
        return task

    assert asyncio.run(run()).cancelled()


def test_client_that_is_accepted_after_the_end_is_reset():
    connections = Connections(Mock(), Mock(), Mock(), Mock())
    asyncio.run(connections.stop())
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        connections.accept(server.accept()[0])
        client.settimeout(30)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert connections.held() == ()


def test_socket_that_can_not_hear_is_closed(monkeypatch):
    raw = Mock(**{"bind.side_effect": PermissionError})
    monkeypatch.setattr(packets, "socket", SimpleNamespace(**{**vars(socket), "socket": lambda *_: raw}))
    monkeypatch.setattr(packets, "owned", lambda sock: sock)
    with pytest.raises(PermissionError):
        packets.hearing_syns("127.0.0.1", 1)
    raw.close.assert_called_once_with()


# --- the loop --------------------------------------------------------------------------------------------------------


def test_loop_that_is_never_idle_pauses_so_that_other_threads_run(monkeypatch):
    ticks = iter(range(1000))  # two in each turn, of which ten take too long
    monkeypatch.setattr(loop.clock, "now", lambda: next(ticks) * loop.MOST_BUSY_SECONDS / 20)
    with contextlib.closing(loop.Selector()) as selector:
        selector._never = Mock()
        for pause_seconds, pauses in [(loop.MOST_BUSY_SECONDS / 10, 2), (0, 2)]:  # with 0 each turn has waited
            monkeypatch.setattr(loop, "PAUSE_SECONDS", pause_seconds)
            for _ in range(30):
                selector.select(0)
            assert selector._never.acquire.call_count == pauses


@pytest.fixture
def watching():
    """A function that makes a selector which watches one end of a pair of sockets; it returns both."""
    with contextlib.ExitStack() as stack:

        def made():
            own, other = socket.socketpair()
            selector = stack.enter_context(contextlib.closing(loop.Selector()))
            stack.enter_context(own), stack.enter_context(other)
            selector.register(own, selectors.EVENT_READ)
            return selector, other

        yield made


@pytest.mark.parametrize("is_high", [False, True])
def test_loop_waits_for_parts_of_a_millisecond_if_its_number_is_one_of_select(watching, is_high, monkeypatch):
    if is_high:
        monkeypatch.setattr(linux, "FD_SETSIZE", 0)
    waited = Mock(wraps=select.select)
    monkeypatch.setattr(select, "select", waited)
    selector, other = watching()
    assert selector.select(0.0003) == selector.select(0) == []
    other.send(b"a")
    assert len(selector.select(0.0003)) == len(selector.select(0)) == len(selector.select(None)) == 1
    assert waited.call_count == (0 if is_high or not system.is_linux() else 2)


# --- a relay ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["RST", "FIN"])
def test_client_that_leaves_while_a_break_waits_for_its_byte_has_reset_or_only_finished(how):
    """Its RST is seen here, or by the relay's watch for it: whichever comes first."""
    talk = AsyncMock()
    talk._dialogue.is_start_known = False
    talk._connection.armed = Mock(return_value=Mock(**{"room_bytes.return_value": 0}))
    talk._connection.stream.await_bytes.side_effect = Departed(how)
    left = []
    try:
        asyncio.run(Relay._forward_client(talk, AsyncMock()))
    except Departed as error:
        left.append(error.how)
    assert left == [how] * (how == "RST")


# --- a patched process -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["gevent", "eventlet", "a library"])
def test_process_whose_threads_were_replaced_is_told_by_which_library(library, monkeypatch):
    for other in ("gevent", "eventlet"):
        monkeypatch.delitem(sys.modules, other, raising=False)
    if library != "a library":
        monkeypatch.setitem(sys.modules, library, Mock())
    if system.is_linux():
        monkeypatch.delattr("select.epoll")
    else:
        monkeypatch.setattr("select.poll", Mock())

    with pytest.raises(UnsupportedError, match=f"^{library} has replaced"):
        system.check()


def test_connection_that_is_reset_before_its_conversation_has_begun_is_reset():
    """The client connects, and is accepted and reset, in one turn of the loop."""
    with serve(ok()) as server, socket.socket() as client:
        running = server._process

        def connect_accept_and_reset():
            client.connect(server.address)
            running._listener.drain()
            running.connections.act("reset_all")

        background().call(connect_accept_and_reset)
        client.settimeout(10)
        assert to_end(client) == (b"", "RST")

        (attempt,) = server.wait_for_attempts(1, at="end")
        assert (attempt.ended_by, attempt.ended_how) == ("server", "RST")


def test_time_of_a_break_that_is_over_when_the_conversation_is_does_nothing():
    with serve(ok()) as server, socket.create_connection(server.address, 10):
        server.wait_for_attempts(1)
        (conversation,) = server._process.connections

        def is_over():
            task, conversation.task = conversation.task, Mock(**{"done.return_value": True})
            conversation._on_time(Mock())
            conversation.task = task

        background().call(is_over)

        assert server.attempts[0].struck is None


# --- relays ----------------------------------------------------------------------------------------------------------

RELAYED = {
    "bytes": (
        lambda: Relay(Mock()),
        ("_carry_to_upstream", "_carry_to_client", "_watch_silence", "_watch_client"),
        lambda relay: relay._carried(Mock(), None),
    ),
    "requests": (
        lambda: HttpRelay(Mock(), Mock(), Mock()),
        ("_send_request", "_receive_response", "_watch"),
        lambda relay: relay._carried(Mock(), Mock()),
    ),
}


@each_row("relayed", RELAYED)
def test_relay_waits_for_its_tasks_when_a_side_ends_and_logs_no_error_of_theirs(monkeypatch, relayed):
    made, (first, *others), carried = RELAYED[relayed]
    relay, ended, logged = made(), [], []

    async def leaves(*_):
        raise Departed("RST")

    async def waits(*_):
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(5):  # as one that has to end something itself
                await asyncio.sleep(0)
            ended.append("RST")
            await leaves()

    async def run():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context["message"]))
        with contextlib.suppress(Departed):
            await carried(relay)
        assert len(ended) == len(others)
        gc.collect()  # a task whose error nobody has asked for tells so when it is deleted

    monkeypatch.setattr(relay, first, leaves)
    for name in others:
        monkeypatch.setattr(relay, name, waits)
    asyncio.run(run())
    assert logged == []
