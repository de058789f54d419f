"""The UDP server: what a client of datagrams meets, and what the ledger says of it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading

import pytest
from support.tables import each_row

from faultline import (
    ConflictError,
    NotStruckError,
    ParameterError,
    PortError,
    WaitError,
    bad_cert,
    blackhole,
    close,
    corrupt,
    cycle,
    drip,
    drop_bytes,
    duplicate,
    duplicated,
    echo,
    latency,
    loss,
    nxdomain,
    ok,
    raw,
    refuse,
    reordered,
    reset,
    sequence,
    serve,
    sometimes,
    stall,
    status,
    throttle,
    udp,
    unreachable,
    when,
)
from faultline._core import chance

pytestmark = pytest.mark.timeout(60)
SILENCE_SECONDS = 0.1  # how long a client waits for what must not come
MOST_BYTES = 65_507  # of a datagram over IPv4: 65,535 without two headers


@pytest.fixture
def ipv6():
    """The loopback address of IPv6, where there is one."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
        sock.bind(("::1", 0))
        return "::1"
    pytest.skip("needs IPv6 on the loopback interface")


@pytest.fixture
def dial():
    """A function that makes a connected socket; it is closed after the test."""
    with contextlib.ExitStack() as clients:

        def connected(server):
            family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
            client = clients.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            client.settimeout(10)
            client.connect(server.address)
            return client

        yield connected


def ask(client, data=b"ping"):
    """Send a datagram: what comes back."""
    client.send(data)
    return client.recv(65_535)


def hears_nothing(client):
    """That nothing comes."""
    before = client.gettimeout()
    client.settimeout(SILENCE_SECONDS)
    try:
        with pytest.raises(TimeoutError):
            client.recv(65_535)
    finally:
        client.settimeout(before)
    return True


def seen(server):
    """What the ledger says of each datagram."""
    return [(a.fault, a.ended_how, a.received_bytes, a.sent_bytes) for a in server.attempts]


# --- what is said ----------------------------------------------------------------------------------------------------


@each_row(
    ("plan", "answer", "said"),
    [
        (ok(), None, b"ping"),
        (ok(), ok(b"pong"), b"pong"),
        (ok(), echo(), b"ping"),
        (ok(), raw(b"\0\xff"), b"\0\xff"),
        (ok(b"pong"), None, b"pong"),
        (ok(b""), None, b""),
        (echo(), ok(b"pong"), b"ping"),
        (raw(b"\xff" * 40), None, b"\xff" * 40),
        (corrupt(at_byte=0), None, b"qing"),
        (corrupt(at_byte=0) & ok(b"pong"), None, b"qong"),
        (corrupt(at_byte=9), None, b"ping"),
        (corrupt(probability=1.0), None, b"qhof"),
        (drop_bytes(2, at_byte=1), None, b"pg"),
        (drop_bytes(9), None, b""),
        (duplicate(2, at_byte=1), None, b"pining"),
        (drop_bytes(1) & corrupt(at_byte=1), None, b"iog"),
        (latency(0.01) & ok(b"pong"), None, b"pong"),
    ],
)
def test_the_answer_is_that_of_the_fault_or_of_the_server(dial, plan, answer, said):
    with udp(plan, answer=answer, strict=False) as server:
        client = dial(server)
        assert [ask(client) for _ in range(2)] == [said] * 2

        assert seen(server) == [(plan, "answer", 4, len(said))] * 2
        assert [a.request.body for a in server.attempts] == [b"ping"] * 2
        assert {a.ended_by for a in server.attempts} == {"server"}


def test_garbage_strikes_and_an_answer_doesn_t(dial):
    with udp(sequence(raw(b"\xff"), ok())) as server:
        client = dial(server)
        assert [ask(client), ask(client)] == [b"\xff", b"ping"]

        assert [a.struck and a.struck.point for a in server.attempts] == ["response", None]


@pytest.mark.slow
@pytest.mark.everywhere
def test_a_datagram_that_vanishes_is_an_attempt(dial):
    with udp(sequence(blackhole(), blackhole(), ok())) as server:
        client = dial(server)
        client.send(b"one")
        client.send(b"two")
        assert ask(client, b"three") == b"three"
        assert hears_nothing(client)

        assert seen(server) == [(blackhole(), "silence", 3, 0), (blackhole(), "silence", 3, 0), (ok(), "answer", 5, 5)]
        assert [a.struck and a.struck.point for a in server.attempts] == ["connect", "connect", None]


def test_a_late_answer_comes_late(dial):
    with udp(latency(0.05)) as server:
        assert ask(dial(server)) == b"ping"

        (attempt,) = server.attempts
        assert attempt.ended_seconds - attempt.started_seconds >= 0.05


@pytest.mark.slow
def test_a_late_answer_is_overtaken(dial):
    with udp(sequence(latency(0.1), ok())) as server:
        client = dial(server)
        client.send(b"one")
        client.send(b"two")
        assert [client.recv(10), client.recv(10)] == [b"two", b"one"]

        one, two = server.wait_for_attempts(2, at="end")
        assert two.ended_seconds < one.ended_seconds


@pytest.mark.slow
def test_jitter_is_within_its_bounds(dial):
    with udp(latency(0.03, jitter_seconds=0.02)) as server:
        client = dial(server)
        assert [ask(client) for _ in range(5)] == [b"ping"] * 5

        took = [a.ended_seconds - a.started_seconds for a in server.attempts]
        assert all(seconds >= 0.01 for seconds in took)
        assert len({round(seconds, 4) for seconds in took}) > 1


@pytest.mark.slow
def test_an_answer_comes_twice(dial):
    with udp(sequence(duplicated(), ok())) as server:
        client = dial(server)
        assert [ask(client), client.recv(10), ask(client, b"more")] == [b"ping", b"ping", b"more"]
        assert hears_nothing(client)

        assert seen(server) == [(duplicated(), "answer", 4, 8), (ok(), "answer", 4, 4)]
        assert server.attempts[0].struck.point == "response"


@each_row(
    ("fault", "said"),
    [(duplicated() & raw(b"g"), b"g"), (duplicated() & ok(b"pong"), b"pong"), (duplicated() & latency(0.01), b"ping")],
)
def test_whatever_is_said_can_come_twice(dial, fault, said):
    with udp(fault) as server:
        client = dial(server)
        assert [ask(client), client.recv(10)] == [said] * 2


def test_an_answer_comes_after_the_next_one(dial):
    with udp(sequence(reordered(), ok(), reordered(), reordered(), ok())) as server:
        client = dial(server)
        for name in (b"1", b"2", b"3", b"4", b"5"):
            client.send(name)
        assert [client.recv(10) for _ in range(5)] == [b"2", b"1", b"5", b"3", b"4"]

        assert [a.ended_how for a in server.attempts] == ["answer"] * 5
        assert [a.struck is not None for a in server.attempts] == [True, False, True, True, False]


def test_an_answer_that_is_reordered_can_be_garbage_and_the_one_before_it_late(dial):
    with udp(sequence(reordered() & raw(b"g"), latency(0.05))) as server:
        client = dial(server)
        client.send(b"1")
        client.send(b"2")
        assert [client.recv(10), client.recv(10)] == [b"2", b"g"]


def test_an_answer_that_is_reordered_can_be_late_too(dial):
    with udp(sequence(reordered() & latency(0.05), ok())) as server:
        client = dial(server)
        client.send(b"1")
        client.send(b"2")
        assert [client.recv(10), client.recv(10)] == [b"2", b"1"]
        first, second = server.attempts

    assert first.ended_seconds - second.ended_seconds >= 0.05


@pytest.mark.slow
@pytest.mark.everywhere
def test_what_waits_for_the_next_answer_waits_through_one_that_is_lost(dial):
    with udp(sequence(reordered(), blackhole(), ok())) as server:
        client = dial(server)
        for name in (b"1", b"2", b"3"):
            client.send(name)
        assert [client.recv(10), client.recv(10)] == [b"3", b"1"]
        assert hears_nothing(client)


def test_what_is_reordered_goes_to_the_client_that_asked(dial):
    with udp(sequence(reordered(), ok())) as server:
        one, two = dial(server), dial(server)
        one.send(b"one")
        server.wait_for_attempts(1)
        assert ask(two, b"two") == b"two"
        assert one.recv(10) == b"one"


# --- chance ----------------------------------------------------------------------------------------------------------


def lost(dial, plan, count=60):
    """Which datagrams a server loses."""
    with udp(plan) as server:
        client = dial(server)
        for number in range(count):
            client.send(bytes([number]))
        server.wait_for_attempts(count)
        return [a.number for a in server.attempts if a.ended_how == "silence"]


def test_some_datagrams_are_lost_and_the_same_seed_loses_the_same_ones(dial):
    runs = []
    for name in ("a scope", "a scope", "another"):
        chance.enter(name)
        runs.append(lost(dial, loss(0.5)))

    assert runs[0] == runs[1] != runs[2]
    assert 10 < len(runs[0]) < 50


@pytest.mark.slow
@pytest.mark.everywhere
def test_what_is_not_lost_is_answered_and_loss_is_no_strike(dial):
    chance.enter("a scope")
    with udp(loss(0.5) & raw(b"g")) as server:
        client = dial(server)
        for _ in range(30):
            client.send(b"ping")
        silent = [a.ended_how == "silence" for a in server.wait_for_attempts(30)]
        assert [client.recv(10) for _ in range(silent.count(False))] == [b"g"] * silent.count(False)
        assert hears_nothing(client)

        assert [a.struck is None for a in server.attempts] == silent


def test_bytes_turned_over_by_chance_are_the_same_with_the_same_seed(dial):
    runs = []
    for _ in range(2):
        chance.enter("a scope")
        with udp(corrupt(probability=0.3)) as server:
            client = dial(server)
            runs.append([ask(client, b"\0" * 40) for _ in range(5)])

    assert runs[0] == runs[1]
    assert len(set(runs[0])) == 5
    assert {len(said) for said in runs[0]} == {40}


def test_chance_deals_the_same_with_the_same_seed(dial):
    plan = sometimes(0.5, blackhole(), seed=3)
    assert lost(dial, plan, 20) == lost(dial, plan, 20) != []


# --- no port ---------------------------------------------------------------------------------------------------------


def test_who_is_connected_learns_that_there_is_no_port(dial):
    with udp(refuse()) as server:
        client = dial(server)
        for _ in range(3):
            client.send(b"ping")
            with pytest.raises(ConnectionRefusedError):
                client.recv(10)
        client.send(b"ping")
        with pytest.raises(ConnectionRefusedError):
            client.send(b"ping")  # the error of the one before

        assert server.attempts == ()


@pytest.mark.slow
def test_who_is_not_connected_hears_nothing():
    with udp(refuse()) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
        assert client.sendto(b"ping", server.address) == 4
        assert client.sendto(b"ping", server.address) == 4
        assert hears_nothing(client)

        assert server.attempts == ()


def test_a_port_that_refuses_can_t_be_had_by_others():
    with udp(refuse()) as server, socket.socket(type=socket.SOCK_DGRAM) as other:
        with pytest.raises(OSError, match="in use"):
            other.bind(server.address)
        with pytest.raises(PortError):
            udp(ok(), port=server.port)


@pytest.mark.slow
def test_a_refusal_ends_after_its_time(dial):
    with udp(sequence(refuse(for_seconds=0.2), ok())) as server:
        client = dial(server)
        with pytest.raises(ConnectionRefusedError):
            ask(client)
        assert again(client) == b"ping"
        assert [ask(client), ask(client)] == [b"ping"] * 2

        assert {a.fault for a in server.attempts} == {ok()}


def again(client):
    """The first answer of a port that is opened within two seconds."""
    pause = threading.Event()
    for _ in range(200):
        with contextlib.suppress(ConnectionRefusedError):
            return ask(client)
        pause.wait(0.01)
    pytest.fail("the port was never opened")


@pytest.mark.slow
def test_a_refusal_comes_between_two_answers(dial):
    with udp(sequence(ok(), refuse(for_seconds=0.1), ok())) as server:
        client = dial(server)
        assert ask(client) == b"ping"
        assert len(server.attempts) == 1
        with pytest.raises(ConnectionRefusedError):
            ask(client)
        assert again(client) == b"ping"


def test_the_port_refuses_before_the_answer_to_the_datagram_before_is_there(dial):
    for _ in range(50):
        with udp(sequence(ok(), refuse(for_seconds=30), ok())) as server:
            client = dial(server)
            assert ask(client) == b"ping"
            with pytest.raises(ConnectionRefusedError):
                ask(client)

            assert [a.fault for a in server.attempts] == [ok()]


def test_the_port_closes_and_opens_as_the_plan_becomes_another(dial):
    with udp(ok()) as server:
        client, port = dial(server), server.port
        for _ in range(3):
            assert ask(client) == b"ping"
            server.become(refuse())
            with pytest.raises(ConnectionRefusedError):
                ask(client)
            server.become(ok(b"pong"))
            assert ask(client) == b"pong"
            server.become(ok())

        assert server.port == port
        assert [a.fault for a in server.attempts] == [ok(), ok(b"pong")] * 3


@pytest.mark.slow
def test_a_plan_that_becomes_another_during_a_refusal_is_not_changed_by_its_end(dial):
    with udp(refuse(for_seconds=0.05), strict=False) as server:
        server.become(sequence(ok(b"one"), ok(b"two"), ok(b"three")))
        client = dial(server)
        assert ask(client) == b"one"
        threading.Event().wait(0.1)  # past the end of the refusal
        assert [ask(client), ask(client)] == [b"two", b"three"]


@pytest.mark.slow
def test_a_refusal_that_is_all_there_is_opens_the_port_for_good(dial):
    with udp(refuse(for_seconds=0.1)) as server:
        client = dial(server)
        with pytest.raises(ConnectionRefusedError):
            ask(client)
        assert again(client) == b"ping"
        assert [ask(client) for _ in range(3)] == [b"ping"] * 3


@pytest.mark.slow
@pytest.mark.parametrize("plan", [refuse(), sequence(refuse(for_seconds=30), ok())], ids=repr)
def test_a_new_refusal_lasts_as_long_as_it_says_whatever_the_one_before_said(dial, plan):
    with udp(refuse(for_seconds=0.05), strict=False) as server:
        server.become(plan)
        client = dial(server)
        threading.Event().wait(0.1)  # past the end of the first one
        with pytest.raises(ConnectionRefusedError):
            ask(client)


def test_what_is_held_when_the_plan_becomes_another_comes_after_the_next_answer(dial):
    with udp(sequence(reordered(), reordered(), ok()), strict=False) as server:
        client = dial(server)
        client.send(b"one")
        server.wait_for_attempts(1)
        server.become(ok())
        assert [ask(client, b"two"), client.recv(10)] == [b"two", b"one"]


def test_nothing_that_datagrams_can_t_meet_can_be_become():
    with udp(ok()) as server:
        with pytest.raises(
            ParameterError,
            match=r"^reset\(\): expected serve\(…\), .*; a UDP server can't play this break at 'response'\.$",
        ):
            server.become(reset())
        with pytest.raises(ParameterError, match=r"plan=3: expected a fault"):
            server.become(3)

        assert "ok()" in repr(server)


# --- clients ---------------------------------------------------------------------------------------------------------


class Client(asyncio.DatagramProtocol):
    """A client as asyncio has it: what it was told, in order."""

    def __init__(self):
        self.told = asyncio.Queue()

    def datagram_received(self, data, _):
        self.told.put_nowait(data)

    def error_received(self, exc):
        self.told.put_nowait(exc)


async def told(server, *datagrams, answers=None):
    """What a client of asyncio is told that sends these."""
    loop = asyncio.get_running_loop()
    transport, client = await loop.create_datagram_endpoint(Client, remote_addr=server.address)
    try:
        for data in datagrams:
            transport.sendto(data)
        return [await asyncio.wait_for(client.told.get(), 10) for _ in range(answers or len(datagrams))]
    finally:
        transport.close()


def test_a_client_of_asyncio_is_answered_and_told_of_a_refusal():
    with udp(ok()) as server:
        assert asyncio.run(told(server, b"one", b"two")) == [b"one", b"two"]
        server.become(refuse())
        (error,) = asyncio.run(told(server, b"three"))

        assert type(error) is ConnectionRefusedError
        assert len(server.attempts) == 2


def test_a_client_of_asyncio_meets_order_and_doubles():
    with udp(sequence(reordered(), duplicated())) as server:
        assert asyncio.run(told(server, b"one", b"two", answers=3)) == [b"two", b"two", b"one"]


def test_several_clients_at_once_each_get_their_own():
    async def ask_all(server):
        return await asyncio.gather(*(told(server, f"{n}a".encode(), f"{n}b".encode()) for n in range(30)))

    with udp(ok()) as server:
        heard = asyncio.run(ask_all(server))

        assert heard == [[f"{n}a".encode(), f"{n}b".encode()] for n in range(30)]
        assert len(server.attempts) == 60


def test_a_server_of_ipv6_does_all_that(dial, ipv6):
    with udp(sequence(ok(), duplicated(), ok()), host=ipv6) as server:
        client = dial(server)
        assert server.address == ("::1", server.port)
        assert repr(server).startswith(f"<UdpServer [::1]:{server.port} sequence(")
        assert [ask(client), ask(client), client.recv(10)] == [b"ping"] * 3
        server.become(refuse())
        with pytest.raises(ConnectionRefusedError):
            ask(client)
        server.become(ok())
        assert ask(client) == b"ping"


def test_a_server_of_all_addresses_is_reached_by_that_of_loopback(dial):
    with udp(ok(), host="0.0.0.0", allow_remote=True) as server:
        assert server.address[0] == "127.0.0.1"
        assert ask(dial(server)) == b"ping"
        server.become(refuse())
        with pytest.raises(ConnectionRefusedError):
            ask(dial(server))
        server.become(ok())
        assert ask(dial(server)) == b"ping"


@each_row("size", [0, 1, 1472, 1473, 60_000, MOST_BYTES])
def test_a_datagram_of_any_size_is_one(dial, size):
    data = random.Random(size).randbytes(size)
    with udp(ok()) as server:
        assert ask(dial(server), data) == data

        (attempt,) = server.attempts
        assert (attempt.received_bytes, attempt.sent_bytes) == (size, size)
        assert (attempt.request.body, attempt.request.body_bytes) == (data, size)


def test_an_answer_that_is_no_datagram_is_refused_at_the_beginning():
    with pytest.raises(ParameterError):
        udp(raw(bytes(MOST_BYTES + 1)), strict=False).close()


def test_a_client_that_has_gone_before_the_answer_hurts_nobody(dial):
    with udp(sequence(latency(0.05), ok())) as server:
        with socket.socket(type=socket.SOCK_DGRAM) as gone:
            gone.sendto(b"ping", server.address)
            server.wait_for_attempts(1)
        assert server.wait_for_attempts(1, at="end")[0].ended_how == "answer"
        client = dial(server)

        assert [ask(client) for _ in range(3)] == [b"ping"] * 3


@pytest.mark.slow
def test_a_flood_is_survived(dial):
    with udp(ok()) as server:
        client = dial(server)
        client.setblocking(False)
        for _ in range(2000):
            with contextlib.suppress(BlockingIOError):
                client.send(b"flood")
        other = dial(server)
        other.settimeout(0.5)
        for _ in range(20):
            with contextlib.suppress(TimeoutError):
                assert ask(other) == b"ping"
                break
        else:
            pytest.fail("nobody was answered after a flood")


# --- the end ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("fault", [latency(30), reordered()], ids=repr)
def test_an_answer_that_waits_at_the_end_is_never_sent(dial, fault):
    with udp(sequence(fault, ok()), strict=False) as server:
        client = dial(server)
        client.send(b"ping")
        server.wait_for_attempts(1)
    with contextlib.suppress(ConnectionRefusedError):
        assert hears_nothing(client)

    (attempt,) = server.attempts
    assert (attempt.sent_bytes, attempt.struck is not None) == (0, fault == latency(30))
    assert (attempt.ended_by, attempt.ended_how) == ("server", "stop")


def test_the_guard_counts_an_answer_that_is_still_held_as_one_that_never_came(dial):
    why = r"^reordered\(\) never .* s\. This answer is sent after .*, and no later datagram came\. \(strict"
    with pytest.raises(NotStruckError, match=why), udp(sequence(reordered(), ok())) as server:
        dial(server).send(b"ping")


@each_row("plan", [reordered(), sequence(ok(), reordered()), cycle(reordered(), reordered() & latency(0.1))])
def test_a_plan_whose_last_answer_would_wait_for_ever_is_an_error(plan):
    with pytest.raises(ParameterError, match=r"expected ok\(\) or another fault after reordered\(\), which"):
        udp(plan)


def test_an_answer_can_be_reordered_again_and_again(dial):
    with udp(cycle(reordered(), ok())) as server:
        client = dial(server)
        for name in (b"1", b"2", b"3", b"4"):
            client.send(name)
        assert [client.recv(10) for _ in range(4)] == [b"2", b"1", b"4", b"3"]


def test_the_port_is_free_after_the_end_and_closing_twice_is_once():
    for plan in (ok(), refuse()):
        with udp(plan) as server:
            pass
        server.close()
        with socket.socket(type=socket.SOCK_DGRAM) as other:
            other.bind(server.address)
        assert repr(server) == f"<UdpServer 127.0.0.1:{server.port} {plan!r} closed>"


def test_a_closed_server_has_no_port(dial):
    with udp(ok()) as server:
        client = dial(server)
        assert ask(client) == b"ping"
    with pytest.raises(ConnectionRefusedError):
        ask(client)

    assert len(server.attempts) == 1


def test_who_came_before_the_end_is_in_the_ledger(dial):
    with udp(ok()) as server:
        client = dial(server)
        for _ in range(20):
            client.send(b"ping")
    assert len(server.attempts) == 20


# --- the guard and what is told --------------------------------------------------------------------------------------


@each_row("fault", [raw(b"g"), duplicated(), reordered()])
def test_the_guard_says_that_nobody_came(fault):
    with pytest.raises(NotStruckError) as caught, udp(sequence(fault, ok())) as server:
        pass

    assert str(caught.value) == (
        f"{fault!r} never struck: no datagram came to 127.0.0.1:{server.port}. (strict=False allows it.)"
    )


def test_the_guard_says_what_came_instead(dial):
    with pytest.raises(NotStruckError) as caught, udp(sequence(ok(), duplicated())) as server:
        ask(dial(server))

    assert str(caught.value).startswith("duplicated() never struck: #1: ok() reached 'response', received 4 and sent 4")


@each_row(
    ("plan", "unproven"),
    [
        (ok(), ()),
        (
            refuse(),
            (refuse(),),
        ),
        (
            cycle(refuse(for_seconds=9), ok()),
            (refuse(for_seconds=9),),
        ),
    ],
)
def test_what_nobody_can_see_is_reported_and_not_judged(plan, unproven):
    with udp(plan) as server:
        pass

    where = f"127.0.0.1:{server.port}"
    counts = f"no datagram came to {where}; the kernel answers for a closed port, and counts nothing"
    assert server.unproven == tuple(f"{fault!r} may have struck unseen: {counts}." for fault in unproven)


@each_row("plan", [loss(0.5), latency(1), blackhole(), corrupt(at_byte=0)])
def test_what_no_datagram_met_is_judged(plan):
    with pytest.raises(NotStruckError, match="never struck: no datagram came"), udp(plan):
        pass


def test_the_guard_needn_t_be_strict():
    with udp(duplicated(), strict=False):
        pass


def test_what_happened_is_drawn(dial):
    with udp(sequence(duplicated(), reordered(), raw(b"g"), blackhole(), ok())) as server:
        assert server.drawing().splitlines()[-1] == "  no datagram came"
        client = dial(server)
        for name in (b"one", b"two", b"three", b"four", b"five"):
            client.send(name)
        server.wait_for_attempts(5)
        drawn = server.drawing()

    lines = drawn.splitlines()
    assert lines[0].startswith(f"datagrams to 127.0.0.1:{server.port} sequence(duplicated(), reordered(), ")
    for words in (
        "--- 3 bytes: one ---",
        "=== twice: struck at 'response' ===",
        "--- 6 bytes: oneone ---",
        "=== behind the next: struck at 'response' ===",
        "=== raw(b'g'): struck at 'response' ===",
        "=== silence: struck at 'connect' ===",
    ):
        assert words in drawn
    assert drawn.count("struck at") == 4


def test_begun_attempts_are_waited_for():
    with udp(ok()) as server:
        with pytest.raises(WaitError, match=r"0 of 1 attempt reached 'accept' within 0\.01 s"):
            server.wait_for_attempts(1, 0.01)
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.sendto(b"ping", server.address)
            assert server.wait_for_attempts(1)[0].received_bytes == 4


def test_an_attempt_is_plain_data(dial):
    with udp(ok()) as server:
        ask(dial(server), b"\xff")
        data = server.attempts[0].to_dict()

    assert (data["fault"], data["request"]["body"], data["point"]) == ("ok()", "\xff", "response")


@pytest.mark.slow
@pytest.mark.everywhere
def test_the_fixture_has_one_that_ends_with_the_test(pytester):
    pytester.makepyfile(
        """
        import socket
        from faultline import duplicated

        def test_asked(faultline):
            server = faultline.udp(duplicated())
            with socket.socket(type=socket.SOCK_DGRAM) as client:
                client.connect(server.address)
                client.send(b"ping")
                assert client.recv(10) == client.recv(10) == b"ping"

        def test_not_asked(faultline):
            faultline.udp(duplicated())
        """
    )
    ran = pytester.runpytest_inprocess("-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:asyncio")

    ran.assert_outcomes(passed=2, errors=1)
    ran.stdout.fnmatch_lines(["*duplicated() never struck: no datagram came to 127.0.0.1:*"])


# --- bad input -------------------------------------------------------------------------------------------------------


@each_row(
    "fault",
    [
        reset(),
        close(),
        stall(),
        status(500),
        ok(headers={"A": "b"}),
        latency(1, direction="request"),
        latency(1, direction="both"),
        corrupt(at_byte=1, direction="request"),
        throttle(10),
        drip(),
        nxdomain(),
        unreachable(),
        bad_cert("expired"),
        when(lambda _: True, raw(b"x")),
        duplicated() & latency(1, direction="request"),
    ],
)
def test_what_a_datagram_can_t_meet_is_refused(fault):
    for plan in (fault, sequence(ok(), fault), sometimes(0.5, fault)):
        with pytest.raises(ParameterError) as caught:
            udp(plan)

        assert str(caught.value).startswith(f"{fault!r}: expected ")


@each_row("plan", [sequence(refuse(), ok()), sometimes(0.5, refuse()), cycle(ok(), refuse())])
def test_a_refusal_in_a_plan_has_to_say_how_long(plan):
    with pytest.raises(ParameterError) as caught:
        udp(plan)

    assert str(caught.value) == (
        f"plan={plan!r}: expected refuse() alone or refuse(for_seconds=…): refused datagrams are not seen."
    )


@each_row(
    ("options", "words"),
    [
        ({"plan": 3}, "plan=3: expected a fault such as reset() or ok(), or a plan such as sequence(…)."),
        (
            {"plan": blackhole(for_seconds=1)},
            "for_seconds=1: expected blackhole() without for_seconds; each datagram is an attempt.",
        ),
        (
            {"plan": latency(1, for_seconds=1)},
            (
                "latency(1, for_seconds=1): expected serve(…), relay(…), http_proxy(…) or socks_proxy(…); "
                "a UDP server handles each datagram alone, so for_seconds would never end."
            ),
        ),
        ({"answer": reset()}, "answer=reset(): expected ok(b'…'), echo() or raw(b'…') of at most 65507 bytes."),
        ({"answer": status(500)}, "answer=status(500): expected ok(b'…'), echo() or raw(b'…') of at most 65507 bytes."),
        ({"answer": b"x"}, "answer=b'x': expected ok(b'…'), echo() or raw(b'…') of at most 65507 bytes."),
        ({"strict": 0}, "strict=0: expected True or False."),
        ({"port": -1}, "port=-1: expected a whole number, from 0 to 65535."),
        ({"host": "example.com"}, "host='example.com': expected an IP address of this machine, or 'localhost'."),
    ],
)
def test_a_value_that_can_t_mean_anything_is_refused(options, words):
    with pytest.raises(ParameterError) as caught:
        udp(**{"plan": ok(), **options})

    assert str(caught.value) == words


def test_a_mode_that_was_not_called_is_no_plan():
    with pytest.raises(ParameterError, match=r"or a plan such as sequence\(…\); write duplicated\(\)\.$"):
        udp(duplicated)


@each_row("fault", [duplicated(), reordered()])
def test_a_stream_has_no_datagrams(fault):
    with pytest.raises(ParameterError) as caught:
        serve(fault)

    assert str(caught.value) == f"{fault!r}: expected udp(…); a stream keeps its order."


def test_an_answer_can_t_be_both_twice_and_behind():
    with pytest.raises(ConflictError, match=r"expected one break, got two"):
        duplicated() & reordered()


def test_a_port_that_is_taken_is_an_error():
    with udp(ok()) as server, pytest.raises(PortError) as caught:
        udp(ok(), port=server.port)

    assert str(caught.value) == (
        f"port={server.port}: expected a free port, but 127.0.0.1:{server.port} is in use; choose another or 0."
    )


def test_a_port_that_was_asked_for_is_taken_and_can_refuse_and_open(dial):
    with udp(ok()) as first:
        port = first.port
    with udp(refuse(), port=port) as server:
        assert server.port == port
        with pytest.raises(ConnectionRefusedError):
            ask(dial(server))
        server.become(ok())
        assert ask(dial(server)) == b"ping"


def test_a_host_of_another_machine_is_an_error():
    with pytest.raises(PortError, match=r"host='192\.0\.2\.1': expected an address of this machine"):
        udp(ok(), host="192.0.2.1", allow_remote=True)
