"""PostgreSQL behind the relay, with psycopg and asyncpg: what a client makes of a database that dies under it."""

from __future__ import annotations

import asyncio
import concurrent.futures
from contextlib import closing
from itertools import pairwise

import pytest

from faultline import Gate, UnsupportedError, close, corrupt, latency, ok, raises, reset, sequence, stall

asyncpg = pytest.importorskip("asyncpg")
psycopg = pytest.importorskip("psycopg")
psycopg_pool = pytest.importorskip("psycopg_pool")

pytestmark = [pytest.mark.slow, pytest.mark.everywhere]  # a real PostgreSQL takes a second to start
THOUSAND_ROWS = "select 'row ' || n from generate_series(1, 1000) as n"
INSERT = "insert into orders values ('book')"
DIED = (
    "consuming input failed: server closed the connection unexpectedly\n"
    "\tThis probably means the server terminated abnormally\n\tbefore or while processing the request."
)
DIED_BY_RST = {DIED, "connection socket closed"}  # the latter if psycopg looks at the moment when the RST comes in


@pytest.fixture
def direct(postgres):
    """A connection that does not go through the relay; the table `orders` is there, and empty."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("drop table if exists orders; create table orders (item text)")
        yield connection


def url_of(server):
    return f"postgresql://postgres@{server.hostport}/postgres"


def ordered(connection):
    """What is in the table, once each transaction that has touched it is over."""
    with connection.transaction():
        connection.execute("lock table orders in share mode")
        return [item for (item,) in connection.execute("select item from orders")]


def read(results, rows):
    for (row,) in results:
        rows.append(row)  # so that those are kept which came before an error


async def read_async(results, rows):
    async for (row,) in results:
        rows.append(row)


# --- a query that dies in the middle of its result -------------------------------------------------------------------


def test_psycopg_gives_no_row_of_a_result_that_is_cut_at_a_byte(faultline, postgres):
    server = faultline.relay(postgres.address, reset(after_bytes=5000))

    with closing(psycopg.connect(url_of(server))) as connection, pytest.raises(psycopg.OperationalError) as caught:
        connection.execute(THOUSAND_ROWS)

    assert str(caught.value) in DIED_BY_RST
    [attempt] = server.attempts
    assert (attempt.sent_bytes, attempt.struck.after_bytes, attempt.ended_how) == (5000, 5000, "RST")


@pytest.mark.parametrize(("verb", "how"), [(reset, "RST"), (close, "FIN")])
def test_psycopg_streams_each_row_that_came_before_the_cut(faultline, postgres, verb, how):
    server = faultline.relay(postgres.address, verb(at="response", on=b"row 500"))
    rows = []

    with closing(psycopg.connect(url_of(server))) as connection, pytest.raises(psycopg.OperationalError) as caught:
        read(connection.cursor().stream(THOUSAND_ROWS), rows)

    assert (len(rows), rows[-1]) == (500, "row 500")
    assert str(caught.value) in DIED_BY_RST
    assert [(a.struck.point, a.ended_by, a.ended_how) for a in server.attempts] == [("response", "server", how)]


def test_psycopg_server_cursor_gives_whole_batches(faultline, postgres):
    server = faultline.relay(postgres.address, reset(at="response", on=b"row 450"))
    rows = []

    with (
        pytest.raises(psycopg.OperationalError),
        closing(psycopg.connect(url_of(server))) as connection,
        connection.cursor("in batches of a hundred") as cursor,
    ):
        read(cursor.execute(THOUSAND_ROWS), rows)

    assert (len(rows), rows[-1]) == (400, "row 400")


def test_psycopg_copy_gives_each_line_that_came_before_the_cut(faultline, postgres):
    server = faultline.relay(postgres.address, close(at="response", on=b"row 450\n"))
    rows = []

    with (
        closing(psycopg.connect(url_of(server))) as connection,
        pytest.raises(psycopg.OperationalError),
        connection.cursor().copy(f"copy ({THOUSAND_ROWS}) to stdout") as copy,
    ):
        read(copy.rows(), rows)

    assert (len(rows), rows[-1]) == (450, "row 450")


@pytest.mark.asyncio
async def test_async_psycopg_streams_each_row_that_came_before_the_cut(faultline, postgres):
    server = faultline.relay(postgres.address, reset(at="response", on=b"row 500"))
    rows = []

    async with await psycopg.AsyncConnection.connect(url_of(server)) as connection:
        with pytest.raises(psycopg.OperationalError) as caught:
            await read_async(connection.cursor().stream(THOUSAND_ROWS), rows)

    assert (len(rows), rows[-1], str(caught.value)) == (500, "row 500", DIED)


@pytest.mark.asyncio
async def test_asyncpg_gives_no_row_of_a_result_that_is_cut(faultline, postgres):
    server = faultline.relay(postgres.address, reset(at="response", on=b"row 500"))
    connection = await asyncpg.connect(url_of(server))

    with pytest.raises(asyncpg.ConnectionDoesNotExistError) as caught:
        await connection.fetch(THOUSAND_ROWS)

    assert str(caught.value) == "connection was closed in the middle of operation"
    assert type(caught.value.__cause__) is ConnectionResetError
    assert connection.is_closed()
    assert [(a.struck.point, a.ended_how) for a in server.attempts] == [("response", "RST")]


@pytest.mark.asyncio
async def test_asyncpg_cursor_gives_whole_batches(faultline, postgres):
    server = faultline.relay(postgres.address, reset(at="response", on=b"row 475"))
    connection = await asyncpg.connect(url_of(server))
    rows = []

    with raises(asyncpg.ConnectionDoesNotExistError) as raised:  # what comes out is about the end of the transaction
        async with connection.transaction():
            await read_async(connection.cursor(THOUSAND_ROWS, prefetch=50), rows)

    assert type(raised.value) is asyncpg.InterfaceError
    assert (len(rows), rows[-1]) == (450, "row 450")


# --- the ambiguous COMMIT --------------------------------------------------------------------------------------------


def test_psycopg_gets_an_error_for_a_commit_that_the_database_has_done(faultline, postgres, direct):
    server = faultline.relay(postgres.address, reset(on=b"COMMIT"))

    with closing(psycopg.connect(url_of(server))) as connection:
        connection.execute(INSERT)
        with pytest.raises(psycopg.OperationalError) as caught:
            connection.commit()

    assert str(caught.value) in DIED_BY_RST
    assert ordered(direct) == ["book"]


def test_psycopg_gets_the_same_error_for_a_commit_that_never_arrived(faultline, postgres, direct):
    server = faultline.relay(postgres.address)

    with closing(psycopg.connect(url_of(server))) as connection:
        connection.execute(INSERT)
        server.become(reset(at="request"), open_too=True)
        with pytest.raises(psycopg.OperationalError) as caught:
            connection.commit()

    assert str(caught.value) in DIED_BY_RST
    assert ordered(direct) == []


def test_fifth_message_of_psycopg_is_the_commit(faultline, postgres, direct):
    server = faultline.relay(postgres.address, reset(at="request", after_messages=4))

    with closing(psycopg.connect(url_of(server))) as connection:  # 1: is there TLS, 2: startup
        connection.execute(INSERT)  # 3: BEGIN, 4: INSERT
        with pytest.raises(psycopg.OperationalError):
            connection.commit()

    assert ordered(direct) == []
    [attempt] = server.attempts
    four = [turn for turn in attempt.turns if turn.by == "client"][:4]
    assert attempt.struck.after_bytes == sum(turn.count_bytes for turn in four)


@pytest.mark.asyncio
async def test_async_psycopg_gets_an_error_for_a_commit_that_the_database_has_done(faultline, postgres, direct):
    server = faultline.relay(postgres.address, reset(on=b"COMMIT"))

    async with await psycopg.AsyncConnection.connect(url_of(server)) as connection:
        await connection.execute(INSERT)
        with pytest.raises(psycopg.OperationalError) as caught:
            await connection.commit()

    assert str(caught.value) == DIED
    assert ordered(direct) == ["book"]


@pytest.mark.asyncio
async def test_asyncpg_gets_an_error_for_a_commit_that_the_database_has_done(faultline, postgres, direct):
    server = faultline.relay(postgres.address, reset(on=b"COMMIT"))
    connection = await asyncpg.connect(url_of(server))

    with pytest.raises(asyncpg.ConnectionDoesNotExistError):
        async with connection.transaction():
            await connection.execute(INSERT)

    assert ordered(direct) == ["book"]


@pytest.mark.asyncio
async def test_asyncpg_gets_the_same_error_for_a_commit_that_never_arrived(faultline, postgres, direct):
    server = faultline.relay(postgres.address)
    connection = await asyncpg.connect(url_of(server))

    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(INSERT)
    server.become(reset(at="request"), open_too=True)
    with pytest.raises(asyncpg.ConnectionDoesNotExistError):
        await transaction.commit()

    assert ordered(direct) == []


def test_transaction_that_is_tried_again_after_an_ambiguous_commit_is_done_twice(faultline, postgres, direct):
    server = faultline.relay(postgres.address, sequence(reset(on=b"COMMIT"), ok()))

    def order():
        with closing(psycopg.connect(url_of(server))) as connection:
            connection.execute(INSERT)
            connection.commit()

    with pytest.raises(psycopg.OperationalError):
        order()
    order()

    assert ordered(direct) == ["book", "book"]
    assert [a.struck is not None for a in server.attempts] == [True, False]


# --- pools -----------------------------------------------------------------------------------------------------------


def test_psycopg_pool_that_checks_replaces_a_dead_connection(faultline, postgres):
    server = faultline.relay(postgres.address)
    check = psycopg_pool.ConnectionPool.check_connection

    with psycopg_pool.ConnectionPool(url_of(server), min_size=1, check=check, open=False) as pool:
        pool.wait()
        assert server.reset_all() == 1
        with pool.connection() as connection:
            assert connection.execute("select 1").fetchone() == (1,)

    first, second = server.attempts
    assert (first.ended_by, first.ended_how, first.note) == ("server", "RST", "reset by the test")
    assert second.struck is None


@pytest.mark.asyncio
async def test_async_psycopg_pool_that_checks_replaces_a_dead_connection(faultline, postgres):
    server = faultline.relay(postgres.address)
    check = psycopg_pool.AsyncConnectionPool.check_connection

    async with psycopg_pool.AsyncConnectionPool(url_of(server), min_size=1, check=check, open=False) as pool:
        await pool.wait()
        assert server.reset_all() == 1
        async with pool.connection() as connection:
            assert await (await connection.execute("select 1")).fetchone() == (1,)

    assert len(server.attempts) == 2


def test_psycopg_pool_that_does_not_check_hands_out_the_dead_connection_once(faultline, postgres):
    server = faultline.relay(postgres.address)

    with psycopg_pool.ConnectionPool(url_of(server), min_size=1, open=False) as pool:
        pool.wait()
        server.reset_all()
        with pytest.raises(psycopg.OperationalError), pool.connection() as connection:
            connection.execute("select 1")
        with pool.connection() as connection:
            assert connection.execute("select 1").fetchone() == (1,)

    assert len(server.attempts) == 2


def test_s142_psycopg_pool_is_refilled_when_all_its_connections_are_closed_at_once(faultline, postgres):
    server = faultline.relay(postgres.address)

    with psycopg_pool.ConnectionPool(url_of(server), min_size=2, open=False) as pool:
        pool.wait()
        assert server.close_all() == 2
        pool.check()
        pool.wait()
        stats = pool.get_stats()

    assert (stats["pool_size"], stats["connections_lost"]) == (2, 2)
    assert [a.ended_how for a in server.attempts[:2]] == ["FIN", "FIN"]
    assert len(server.attempts) == 4


@pytest.mark.asyncio
async def test_asyncpg_pool_hands_out_a_connection_that_has_just_died_once(faultline, postgres):
    server = faultline.relay(postgres.address)

    async with asyncpg.create_pool(url_of(server), min_size=1, max_size=1) as pool:
        assert await pool.fetchval("select 1") == 1
        server.reset_all()
        with pytest.raises(asyncpg.ConnectionDoesNotExistError):
            await pool.fetchval("select 2")
        assert await pool.fetchval("select 3") == 3

    assert len(server.attempts) == 2


@pytest.mark.asyncio
async def test_asyncpg_pool_replaces_a_connection_that_has_gone_stale(faultline, postgres):
    server = faultline.relay(postgres.address)
    gone = asyncio.Event()

    async def watch(connection):
        connection.add_termination_listener(lambda _: gone.set())

    async with asyncpg.create_pool(url_of(server), min_size=1, max_size=1, init=watch) as pool:
        server.become(sequence(close(at="idle", after_seconds=0.05), ok()), open_too=True)
        await asyncio.wait_for(gone.wait(), 10)
        assert await pool.fetchval("select 1") == 1

    assert [a.struck and a.struck.point for a in server.attempts] == ["idle", None]


def test_psycopg_connection_that_has_gone_stale_fails_at_the_next_query(faultline, postgres):
    server = faultline.relay(postgres.address)

    with closing(psycopg.connect(url_of(server))) as connection:
        server.become(close(at="idle", after_seconds=0.05), open_too=True)
        server.wait_for_attempts(1, at="end")
        assert not connection.closed  # nobody has looked
        with pytest.raises(psycopg.OperationalError) as caught:
            connection.execute("select 1")

    assert str(caught.value) == DIED
    assert [(a.struck.point, a.ended_how) for a in server.attempts] == [("idle", "FIN")]


# --- silence ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def server_to_partition(faultline, postgres):
    """A relay whose packets can be made to vanish, which takes CAP_NET_ADMIN."""
    server = faultline.relay(postgres.address)
    try:
        server.partition()
    except UnsupportedError as error:
        pytest.skip(str(error))
    server.heal()
    return server


@pytest.mark.asyncio
async def test_client_timeout_ends_a_query_in_a_partition_where_a_statement_timeout_can_not(server_to_partition):
    limits = {"command_timeout": 0.1, "server_settings": {"statement_timeout": "20"}}
    connection = await asyncpg.connect(url_of(server_to_partition), **limits)
    with pytest.raises(asyncpg.QueryCanceledError):
        await connection.execute("select pg_sleep(10)")

    server_to_partition.partition()
    with pytest.raises(asyncio.TimeoutError):
        await connection.execute("select 1")
    connection.terminate()
    server_to_partition.heal()

    connection = await asyncpg.connect(url_of(server_to_partition))
    assert await connection.fetchval("select 2") == 2
    await connection.close()


def test_query_that_is_stuck_in_a_partition_goes_on_when_it_is_healed(server_to_partition):
    url = url_of(server_to_partition)

    with concurrent.futures.ThreadPoolExecutor() as threads, psycopg.connect(url) as connection:
        server_to_partition.partition()
        query = threads.submit(connection.execute, "select 'patience'")
        with pytest.raises(concurrent.futures.TimeoutError):
            query.result(timeout=0.05)
        server_to_partition.heal()
        assert query.result(timeout=10).fetchone() == ("patience",)

    assert len(server_to_partition.attempts) == 1


@pytest.mark.asyncio
async def test_connect_timeout_of_asyncpg(faultline, postgres):
    server = faultline.relay(postgres.address, stall(at="accept"))

    with pytest.raises(asyncio.TimeoutError):
        await asyncpg.connect(url_of(server), timeout=0.1)

    [attempt] = await asyncio.to_thread(server.wait_for_attempts, 1, at="end")
    assert (attempt.struck.point, attempt.ended_by, attempt.received_bytes) == ("accept", "client", 0)


def test_s150_timeout_of_a_psycopg_pool_names_the_configured_seconds(faultline, postgres):
    server = faultline.relay(postgres.address, stall(at="accept"))

    with psycopg_pool.ConnectionPool(url_of(server), min_size=1, timeout=0.1, open=False) as pool:
        server.wait_for_attempts(1)
        with pytest.raises(psycopg_pool.PoolTimeout) as caught, pool.connection():
            pass
        server.reset_all()  # else the pool waits for its connection when it is closed

    assert str(caught.value) == "couldn't get a connection after 0.10 sec"


@pytest.mark.asyncio
async def test_s150_timeout_of_asyncpg_does_not_name_its_seconds(faultline, postgres):
    server = faultline.relay(postgres.address, stall(on=b"orders", for_seconds=1))
    connection = await asyncpg.connect(url_of(server))

    with pytest.raises(asyncio.TimeoutError) as caught:
        await connection.execute("select 1 as orders", timeout=0.1)
    connection.terminate()

    assert str(caught.value) == ""
    assert server.attempts[0].struck.point == "request"


def test_query_that_is_stuck_in_a_pause_goes_on_afterwards(faultline, postgres):
    server = faultline.relay(postgres.address)

    with concurrent.futures.ThreadPoolExecutor() as threads, psycopg.connect(url_of(server)) as connection:
        server.pause()
        query = threads.submit(connection.execute, "select 'patience'")
        with pytest.raises(concurrent.futures.TimeoutError):
            query.result(timeout=0.05)
        server.resume()
        assert query.result(timeout=10).fetchone() == ("patience",)

    assert len(server.attempts) == 1


def test_commit_that_is_done_while_its_answer_is_held_back(faultline, postgres, direct):
    gate = Gate()
    server = faultline.relay(postgres.address, stall(at="response", on=b"COMMIT", until=gate))

    with concurrent.futures.ThreadPoolExecutor() as threads, psycopg.connect(url_of(server)) as connection:
        connection.execute(INSERT)
        commit = threads.submit(connection.commit)
        with pytest.raises(concurrent.futures.TimeoutError):
            commit.result(timeout=0.05)
        assert ordered(direct) == ["book"]
        gate.open()
        assert commit.result(timeout=10) is None


def test_latency_is_in_the_ledger(faultline, postgres):
    server = faultline.relay(postgres.address, latency(0.02))

    with psycopg.connect(url_of(server), autocommit=True) as connection:
        connection.execute("select 1")

    [attempt] = server.attempts
    waits = [b.at_seconds - a.at_seconds for a, b in pairwise(attempt.turns) if a.by == "client"]
    assert len(waits) == 3  # is there TLS, startup, select
    assert min(waits) >= 0.02


# --- TLS -------------------------------------------------------------------------------------------------------------


def test_psycopg_that_demands_tls_is_refused_by_a_server_without(faultline, postgres):
    server = faultline.relay(postgres.address)

    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(url_of(server), sslmode="require")

    assert str(caught.value).endswith("server does not support SSL, but SSL was required")
    question = ("client", b"\x00\x00\x00\x08\x04\xd2\x16/")
    assert [[(t.by, t.begins) for t in a.turns] for a in server.attempts] == [[question, ("server", b"N")]]


@pytest.mark.asyncio
async def test_asyncpg_that_demands_tls_is_refused_by_a_server_without(faultline, postgres):
    server = faultline.relay(postgres.address)

    with pytest.raises(ConnectionError) as caught:
        await asyncpg.connect(url_of(server), ssl="require")

    assert str(caught.value) == f'PostgreSQL server at "{server.hostport}" rejected SSL upgrade'


def test_answer_to_the_question_for_tls_that_is_neither_yes_nor_no(faultline, postgres):
    server = faultline.relay(postgres.address, corrupt(at_byte=0))  # N becomes O

    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(url_of(server))

    assert str(caught.value).endswith("received invalid response to SSL negotiation: O")


# --- notifications ---------------------------------------------------------------------------------------------------


def test_psycopg_listener_whose_connection_dies_gets_an_error(faultline, postgres, direct):
    server = faultline.relay(postgres.address)

    with closing(psycopg.connect(url_of(server), autocommit=True)) as connection:
        connection.execute("listen news")
        direct.execute("notify news, 'one'")
        notifications = connection.notifies(timeout=10)
        assert next(notifications).payload == "one"
        server.reset_all()
        with pytest.raises(psycopg.OperationalError) as caught:
            next(notifications)

    assert str(caught.value) in DIED_BY_RST


@pytest.mark.asyncio
async def test_asyncpg_listener_whose_connection_dies_is_told_so(faultline, postgres, direct):
    server = faultline.relay(postgres.address)
    connection = await asyncpg.connect(url_of(server))
    news = asyncio.Queue()
    await connection.add_listener("news", lambda *arguments: news.put_nowait(arguments[-1]))
    connection.add_termination_listener(lambda _: news.put_nowait("the end"))

    direct.execute("notify news, 'one'")
    assert await asyncio.wait_for(news.get(), 10) == "one"
    server.reset_all()

    assert await asyncio.wait_for(news.get(), 10) == "the end"


# --- a query in flight -----------------------------------------------------------------------------------------------


def test_s148_connection_that_is_gone_while_a_query_is_in_flight(faultline, postgres, caplog):
    server = faultline.relay(postgres.address, reset(on=b"pg_sleep"))

    with closing(psycopg.connect(url_of(server))) as connection, pytest.raises(psycopg.OperationalError) as caught:
        connection.execute("select pg_sleep(0.1)")

    assert str(caught.value) in DIED_BY_RST
    assert (caught.type, caplog.records) == (psycopg.OperationalError, [])


@pytest.mark.asyncio
async def test_s148_connection_of_async_psycopg_that_is_gone_while_a_query_is_in_flight(faultline, postgres, caplog):
    server = faultline.relay(postgres.address, reset(on=b"pg_sleep"))

    async with await psycopg.AsyncConnection.connect(url_of(server)) as connection:
        with pytest.raises(psycopg.OperationalError) as caught:
            await connection.execute("select pg_sleep(0.1)")

    assert (caught.type, str(caught.value), caplog.records) == (psycopg.OperationalError, DIED, [])


def test_s148_backend_that_is_gone_while_a_query_is_in_flight(faultline, postgres, caplog):
    server = faultline.relay(postgres.address)

    with closing(psycopg.connect(url_of(server))) as connection, pytest.raises(psycopg.errors.AdminShutdown):
        connection.execute("select pg_terminate_backend(pg_backend_pid())")

    [attempt] = server.wait_for_attempts(1, at="end")
    assert (attempt.ended_by, attempt.struck, caplog.records) == ("upstream", None, [])


def test_s149_error_of_a_connection_that_closes_at_startup_names_host_and_port(faultline, postgres):
    server = faultline.relay(postgres.address, sequence(close(on=b"user\0postgres"), ok()))

    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(url_of(server))
    with psycopg.connect(url_of(server)) as connection:
        assert connection.execute("select 1").fetchone() == (1,)

    where = f'connection to server at "{server.host}", port {server.port} failed'
    assert str(caught.value).startswith(f"connection failed: {where}: server closed the connection unexpectedly")
    assert server.attempts[0].ended_how == "FIN"


def test_postgres_is_reached_by_its_unix_socket(faultline, postgres):
    server = faultline.relay(postgres.path, reset(at="response", on=b"row 500"))

    with closing(psycopg.connect(url_of(server))) as connection, pytest.raises(psycopg.OperationalError) as caught:
        connection.execute(THOUSAND_ROWS)

    assert str(caught.value) in DIED_BY_RST
    assert server.attempts[0].struck.point == "response"
