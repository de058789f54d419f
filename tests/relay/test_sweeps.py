"""Sweeps in front of real servers find what only the loss of one answer shows."""

from __future__ import annotations

import contextlib
import re

import psycopg
import pytest
import redis

from faultline import SweepError, reset, sweep


def found_by(error):
    """The breaks that a sweep has failed at, without their verbs and connections."""
    rows = re.findall(r"(?m)^\d+ +\w+\(\) at (.*?) \(request.*  assert .*", str(error))
    return {re.sub(r" +", " ", row) for row in rows}


# --- a bank on PostgreSQL --------------------------------------------------------------------------------------------


class Bank:
    """Two accounts on a PostgreSQL, and the transfers by their keys."""

    def __init__(self, url):
        self.connection = psycopg.connect(url, autocommit=True)
        self.connection.execute("CREATE TABLE IF NOT EXISTS accounts (name text PRIMARY KEY, balance int)")
        self.connection.execute("CREATE TABLE IF NOT EXISTS transfers (key text PRIMARY KEY)")

    def open(self):
        self.connection.execute("TRUNCATE accounts, transfers")
        self.connection.execute("INSERT INTO accounts VALUES ('ann', 1000), ('bob', 0)")

    def balance(self, name):
        return self.connection.execute("SELECT balance FROM accounts WHERE name = %s", [name]).fetchone()[0]


@pytest.fixture
def bank(postgres):
    bank = Bank(postgres.url)
    yield bank
    bank.connection.close()


def transfer(server, amount, key=None):
    """Transfer an amount, in three tries; with a key at most once."""
    url = f"postgresql://postgres@{server.hostport}/postgres?sslmode=disable&gssencmode=disable"
    for left in (2, 1, 0):
        try:
            with psycopg.connect(url) as connection:
                if (
                    key
                    and not connection.execute(
                        "INSERT INTO transfers VALUES (%s) ON CONFLICT DO NOTHING", [key]
                    ).rowcount
                ):
                    return
                connection.execute("UPDATE accounts SET balance = balance - %s WHERE name = 'ann'", [amount])
                connection.execute("UPDATE accounts SET balance = balance + %s WHERE name = 'bob'", [amount])
        except psycopg.OperationalError:
            if not left:
                raise
        else:
            return


def swept_bank(postgres, bank, key):
    runs = sweep(postgres.address, verbs=[reset()], idle_seconds=30)
    for run in runs:
        bank.open()
        with run(expected=psycopg.OperationalError) as server:
            transfer(server, 100, key)
        with run.checks():
            assert (bank.balance("ann"), bank.balance("bob")) in [(1000, 0), (900, 100)]
    return runs.table()


@pytest.mark.slow
def test_transfer_that_retries_after_an_unanswered_commit_pays_twice(postgres, bank):
    with pytest.raises(SweepError) as raised:
        swept_bank(postgres, bank, None)

    assert found_by(raised.value) == {
        "Query COMMIT: arrived, its answer lost",
        "Query COMMIT: in the middle of its answer",
    }


@pytest.mark.slow
def test_transfer_with_a_key_pays_once(postgres, bank):
    table = swept_bank(postgres, bank, "transfer 1")

    assert " 0 failed" in table
    assert "Query COMMIT: arrived, its answer lost" in table


# --- a queue on Redis ------------------------------------------------------------------------------------------------

JOBS = [b"1", b"2"]


def take(client):
    """Take a job, which is gone from the queue then."""
    return client.lpop("jobs")


def take_safely(client):
    """Take the job that an earlier consumer has not finished, or else the next, which waits in another list."""
    return client.lindex("taken", 0) or client.lmove("jobs", "taken", "LEFT", "RIGHT")


def consume(server, take, done):
    """A consumer that does all jobs."""
    with contextlib.closing(redis.Redis(server.host, server.port, socket_timeout=10, protocol=2)) as client:
        while job := take(client):
            done.add(job)
            client.lrem("taken", 1, job)


def swept_queue(redis_server, take):
    with contextlib.closing(redis.Redis.from_url(redis_server.url)) as queue:
        runs = sweep(redis_server.address, verbs=[reset()], idle_seconds=30)
        for run in runs:
            done = set()
            queue.delete("jobs", "taken")
            queue.rpush("jobs", *JOBS)
            with run(expected=redis.ConnectionError) as server:
                consume(server, take, done)
            with run.checks():
                left = queue.lrange("jobs", 0, -1) + queue.lrange("taken", 0, -1)
                assert {*done, *left} == {*JOBS}
    return runs.table()


@pytest.mark.slow
def test_consumer_that_takes_a_job_off_the_queue_loses_it_with_the_answer(redis_server):
    with pytest.raises(SweepError) as raised:
        swept_queue(redis_server, take)

    assert {place.split()[1] for place in found_by(raised.value)} == {"LPOP"}
    assert {place.partition(": ")[2] for place in found_by(raised.value)} == {
        "arrived, its answer lost",
        "in the middle of its answer",
    }


@pytest.mark.slow
def test_consumer_that_keeps_a_job_until_it_is_done_loses_none(redis_server):
    assert " 0 failed" in swept_queue(redis_server, take_safely)
