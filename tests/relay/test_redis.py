"""Redis behind the relay, with redis-py: what it retries, what it repeats by that, and whose answer it reads."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time

import pytest

from faultline import Gate, close, duplicate, ok, raises, reset, sequence, stall

redis = pytest.importorskip("redis")
pytest.importorskip("redis.asyncio")

NEVER = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
ONCE = redis.retry.Retry(redis.backoff.NoBackoff(), 1)
ASYNC_NEVER = redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0)
ASYNC_ONCE = redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 1)


@pytest.fixture
def direct(redis_server):
    """A client that does not go through the relay; the database is empty."""
    with redis.Redis.from_url(redis_server.url, decode_responses=True) as client:
        client.flushall()
        yield client


def client_of(server, retry=NEVER, **options):
    return redis.Redis(*server.address, retry=retry, decode_responses=True, **options)


def async_client_of(server, retry=ASYNC_NEVER, **options):
    return redis.asyncio.Redis(host=server.host, port=server.port, retry=retry, decode_responses=True, **options)


# --- retry -----------------------------------------------------------------------------------------------------------


def test_command_whose_answer_is_lost_fails_and_is_done(faultline, redis_server, direct):
    server = faultline.relay(redis_server.address, reset(on=b"INCR"))

    with client_of(server) as client, pytest.raises(redis.ConnectionError) as caught:
        client.incr("visits")

    assert type(caught.value.__cause__ or caught.value.__context__) is ConnectionResetError
    assert direct.get("visits") == "1"
    assert [(a.struck.point, a.ended_how) for a in server.attempts] == [("request", "RST")]


def test_command_that_is_retried_is_done_twice(faultline, redis_server, direct):
    server = faultline.relay(redis_server.address, sequence(reset(on=b"INCR"), ok()))

    with client_of(server, retry=ONCE) as client:
        assert client.incr("visits") == 2

    assert direct.get("visits") == "2"
    assert [a.struck is not None for a in server.attempts] == [True, False]


def test_command_that_never_arrived_is_done_once_by_its_retry(faultline, redis_server, direct):
    server = faultline.relay(redis_server.address)

    with client_of(server, retry=ONCE) as client:
        client.ping()
        server.become(sequence(reset(at="request"), ok()), open_too=True)
        assert client.incr("visits") == 1

    assert [a.struck is not None for a in server.attempts] == [True, False]


def test_retries_end_with_the_error_of_the_last(faultline, redis_server, direct):
    server = faultline.relay(redis_server.address, reset(on=b"INCR"))

    with client_of(server, retry=ONCE) as client, pytest.raises(redis.ConnectionError):
        client.incr("visits")

    assert direct.get("visits") == "2"
    assert [a.ended_how for a in server.attempts] == ["RST", "RST"]


@pytest.mark.asyncio
async def test_async_command_whose_answer_is_lost_fails_and_is_done(faultline, redis_server, direct):
    server = faultline.relay(redis_server.address, reset(on=b"INCR"))

    async with async_client_of(server) as client:
        with raises(ConnectionResetError) as raised:
            await client.incr("visits")

    assert type(raised.value) is redis.ConnectionError
    assert direct.get("visits") == "1"


@pytest.mark.asyncio
async def test_async_command_that_is_retried_is_done_twice(faultline, redis_server, direct):
    server = faultline.relay(redis_server.address, sequence(reset(on=b"INCR"), ok()))

    async with async_client_of(server, retry=ASYNC_ONCE) as client:
        assert await client.incr("visits") == 2

    assert direct.get("visits") == "2"
    assert [a.struck is not None for a in server.attempts] == [True, False]


def test_health_check_meets_the_dead_connection_before_the_command_does(faultline, redis_server, direct):
    server = faultline.relay(redis_server.address)

    with client_of(server, retry=ONCE, health_check_interval=1e-9) as client:
        client.incr("visits")
        server.become(sequence(reset(on=b"PING"), ok()), open_too=True)
        assert client.incr("visits") == 2

    assert direct.get("visits") == "2"
    assert [a.struck is not None for a in server.attempts] == [True, False]


def test_connection_that_has_gone_stale_is_replaced_unseen(faultline, redis_server):
    server = faultline.relay(redis_server.address)

    with client_of(server) as client:
        assert client.ping()
        server.become(sequence(close(at="idle", after_seconds=0.05), ok()), open_too=True)
        server.wait_for_attempts(1, at="end")
        assert client.ping()

    assert [a.struck and a.struck.point for a in server.attempts] == ["idle", None]


# --- whose answer it is ----------------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("pipelined", [False, True])
async def test_s146_command_after_a_cancelled_one_reads_its_own_answer(faultline, redis_server, direct, pipelined):
    gate = Gate()
    server = faultline.relay(redis_server.address)
    direct.set("name", "right")

    async with async_client_of(server) as client:
        await client.ping()
        server.become(stall(at="response", until=gate), open_too=True)
        push = client.pipeline().rpush("jobs", "one").execute() if pipelined else client.rpush("jobs", "one")
        command = asyncio.ensure_future(push)
        await asyncio.to_thread(direct.blpop, "jobs", 4)  # it has arrived
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(command, 0.05)
        assert command.cancelled()
        gate.open()
        assert await client.get("name") == "right"

    first, _second = server.attempts  # redis-py has given up the first connection
    assert (first.struck.point, first.ended_by) == ("response", "client")


@pytest.mark.slow
@pytest.mark.parametrize("single", [False, True])
def test_s146_command_after_a_timeout_reads_its_own_answer(faultline, redis_server, direct, single):
    gate = Gate()
    server = faultline.relay(redis_server.address, stall(on=b"slow", until=gate))
    direct.mset({"slow": "wrong", "name": "right"})

    with client_of(server, socket_timeout=0.25, single_connection_client=single) as client:
        with pytest.raises(redis.TimeoutError):
            client.get("slow")
        gate.open()
        assert client.get("name") == "right"

    first, second = server.attempts
    assert (first.ended_by, second.struck) == ("client", None)


@pytest.mark.slow
def test_s146_connection_that_is_kept_after_a_timeout_reads_the_late_answer(faultline, redis_server, direct):
    gate = Gate()
    server = faultline.relay(redis_server.address, stall(on=b"slow", until=gate))
    direct.mset({"slow": "wrong", "name": "right"})

    with client_of(server, socket_timeout=0.25) as client:
        connection = client.connection_pool.get_connection()
        connection.send_command("GET", "slow")
        with pytest.raises(redis.TimeoutError):
            connection.read_response(disconnect_on_error=False)
        gate.open()
        connection.send_command("GET", "name")
        assert connection.read_response() == "wrong"

    assert len(server.attempts) == 1


# By default, which is protocol 3, the pool of redis-py 8 does not look: what has come might be a notification.
@pytest.mark.parametrize(
    ("options", "answer"), [({"protocol": 2}, "right"), ({"single_connection_client": True}, "PONG")]
)
def test_s133_command_after_one_that_had_two_answers(faultline, redis_server, direct, options, answer):
    server = faultline.relay(redis_server.address)
    direct.set("name", "right")

    with client_of(server, **options) as client:
        client.ping()
        server.become(sequence(duplicate(len(b"+PONG\r\n")), ok()), open_too=True)
        assert client.ping()
        assert client.get("name") == answer

    assert server.wait_for_attempts(1, at="end")[0].ended_by == "client"


# --- pipelines -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("transaction", "done"), [(False, ["1", None]), (True, [None, None])])
def test_pipeline_that_is_cut_on_its_way(faultline, redis_server, direct, transaction, done):
    server = faultline.relay(redis_server.address)

    with client_of(server) as client:
        client.ping()
        before = server.attempts[0].received_bytes
        server.become(reset(at="request", after_bytes=50), open_too=True)
        with pytest.raises(redis.ConnectionError):
            client.pipeline(transaction=transaction).set("first", 1).set("second", 2).execute()

    assert direct.mget("first", "second") == done
    assert [a.struck.after_bytes for a in server.attempts] == [before + 50]


def test_pipeline_whose_answers_are_cut_gives_none_of_them_and_is_done(faultline, redis_server, direct):
    server = faultline.relay(redis_server.address, reset(at="response", on=b":2\r\n"))

    with client_of(server) as client, pytest.raises(redis.ConnectionError):
        client.pipeline(transaction=False).incr("visits").incr("visits").incr("visits").execute()

    assert direct.get("visits") == "3"
    assert server.attempts[0].turns[-1].begins == b":1\r\n:2\r\n"


# --- waiting for what comes ------------------------------------------------------------------------------------------


def test_subscriber_whose_connection_dies_subscribes_anew_and_misses_the_messages_between(
    faultline, redis_server, direct
):
    server = faultline.relay(redis_server.address)

    with client_of(server) as client, client.pubsub(ignore_subscribe_messages=True) as subscriber:
        subscriber.subscribe("news")
        assert subscriber.get_message(timeout=10) is None  # subscribed
        direct.publish("news", "one")
        assert subscriber.get_message(timeout=10)["data"] == "one"

        server.reset_all()
        wait_until_nobody_listens(direct)
        assert direct.publish("news", "two") == 0
        with pytest.raises(redis.ConnectionError):
            subscriber.get_message(timeout=10)
        assert subscriber.get_message(timeout=10) is None  # subscribed again
        direct.publish("news", "three")
        assert subscriber.get_message(timeout=10)["data"] == "three"

    assert [a.note for a in server.attempts] == ["reset by the test", ""]


def wait_until_nobody_listens(direct):
    """Redis reads the RST of a subscriber at its own time."""
    deadline = time.monotonic() + 10
    while [count for _, count in direct.pubsub_numsub("news")] != [0]:
        assert time.monotonic() < deadline


@pytest.mark.asyncio
async def test_async_subscriber_whose_connection_dies_gets_an_error(faultline, redis_server, direct):
    server = faultline.relay(redis_server.address)

    async with async_client_of(server) as client, client.pubsub() as subscriber:
        await subscriber.subscribe("news")
        assert (await subscriber.get_message(timeout=10))["type"] == "subscribe"
        server.close_all()
        with pytest.raises(redis.ConnectionError) as caught:
            await subscriber.get_message(timeout=10)

    assert str(caught.value) == "Connection closed by server."
    assert server.attempts[0].ended_how == "FIN"


def wait_until_blocked(monitor):
    next(line for line in monitor.listen() if line["command"].startswith("BLPOP"))


def test_s141_call_that_is_blocked_raises_when_its_connection_is_dropped(faultline, redis_server, direct):
    server = faultline.relay(redis_server.address)

    with concurrent.futures.ThreadPoolExecutor() as threads, client_of(server) as client, direct.monitor() as monitor:
        waiting = threads.submit(client.blpop, "jobs", 10)
        wait_until_blocked(monitor)
        server.reset_all()
        with pytest.raises(redis.ConnectionError):
            waiting.result(timeout=10)

    direct.rpush("jobs", "one")
    assert direct.lrange("jobs", 0, -1) == ["one"]  # nobody waits for it any more


def test_s148_backend_that_is_gone_while_a_command_is_in_flight(faultline, redis_server, direct, caplog):
    server = faultline.relay(redis_server.address)

    with concurrent.futures.ThreadPoolExecutor() as threads, client_of(server) as client, direct.monitor() as monitor:
        number = client.client_id()
        waiting = threads.submit(client.blpop, "jobs", 10)
        wait_until_blocked(monitor)
        direct.client_kill_filter(_id=number)
        with pytest.raises(redis.ConnectionError) as caught:
            waiting.result(timeout=10)

    assert (str(caught.value), caplog.records) == ("Connection closed by server.", [])
    assert [(a.ended_by, a.ended_how, a.struck) for a in server.attempts] == [("upstream", "FIN", None)]


def test_s148_connection_that_is_gone_while_a_command_is_in_flight(faultline, redis_server, caplog):
    server = faultline.relay(redis_server.address, reset(on=b"BLPOP"))

    with client_of(server) as client, pytest.raises(redis.ConnectionError) as caught:
        client.blpop("jobs", 10)

    assert (caught.type, caplog.records) == (redis.ConnectionError, [])
    assert server.attempts[0].struck.point == "request"


def test_command_that_is_stuck_in_a_pause_goes_on_afterwards(faultline, redis_server, direct):
    server = faultline.relay(redis_server.address)

    with concurrent.futures.ThreadPoolExecutor() as threads, client_of(server) as client:
        client.ping()
        server.pause()
        visit = threads.submit(client.incr, "visits")
        with pytest.raises(concurrent.futures.TimeoutError):
            visit.result(timeout=0.05)
        assert direct.get("visits") is None
        server.resume()
        assert visit.result(timeout=10) == 1

    assert len(server.attempts) == 1


@pytest.mark.slow
def test_command_whose_client_has_given_up_in_a_pause_is_done_afterwards(faultline, redis_server, direct):
    server = faultline.relay(redis_server.address)

    with client_of(server, socket_timeout=0.25) as client:
        client.ping()
        server.pause()
        with pytest.raises(redis.TimeoutError):
            client.rpush("jobs", "one")
        assert direct.llen("jobs") == 0
        server.resume()

    assert direct.blpop("jobs", 10) == ("jobs", "one")


# --- texts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "text"),
    [
        (reset, "Error while reading from {where} : (104, 'Connection reset by peer')"),
        (close, "Connection closed by server."),
    ],
)
def test_s149_error_of_one_command_names_host_and_port_after_rst(faultline, redis_server, verb, text):
    server = faultline.relay(redis_server.address, sequence(verb(on=b"GET"), ok()))

    with client_of(server) as client:
        with pytest.raises(redis.ConnectionError) as caught:
            client.get("name")
        assert client.ping()

    assert str(caught.value) == text.format(where=server.hostport)
    assert len(server.attempts) == 2


@pytest.mark.slow
def test_s150_timeout_does_not_name_the_configured_seconds(faultline, redis_server):
    server = faultline.relay(redis_server.address, stall(on=b"GET", for_seconds=1))

    with client_of(server, socket_timeout=0.25) as client, pytest.raises(redis.TimeoutError) as caught:
        client.get("name")

    assert str(caught.value) == "Timeout reading from socket"
    [attempt] = server.wait_for_attempts(1, at="end")
    assert (attempt.ended_by, attempt.waited_seconds >= 0.02) == ("client", True)


@pytest.mark.slow
@pytest.mark.everywhere
@pytest.mark.asyncio
async def test_s150_timeout_of_the_async_client_names_host_and_port(faultline, redis_server):
    server = faultline.relay(redis_server.address, stall(on=b"GET", for_seconds=1))

    async with async_client_of(server, socket_timeout=0.25) as client:
        with pytest.raises(redis.TimeoutError) as caught:
            await client.get("name")

    assert str(caught.value) == f"Timeout reading from {server.hostport}"


# --- other ways in ---------------------------------------------------------------------------------------------------


def test_connection_that_dies_at_its_password_is_no_wrong_password(faultline, redis_server):
    server = faultline.relay(redis_server.address, sequence(reset(on=b"AUTH"), ok()))

    with client_of(server, username="default", password="secret") as client:
        with pytest.raises(redis.ConnectionError) as caught:
            client.ping()
        assert client.ping()

    assert caught.type is redis.ConnectionError  # AuthenticationError is one, too
    first, second = server.attempts
    assert (b"AUTH" in first.turns[-1].begins, first.sent_bytes, second.struck) == (True, 0, None)


def test_redis_is_reached_by_its_unix_socket(faultline, redis_server, direct):
    server = faultline.relay(redis_server.path, reset(on=b"INCR"))

    with client_of(server) as client, pytest.raises(redis.ConnectionError):
        client.incr("visits")

    assert direct.get("visits") == "1"
