"""What real servers said through a relay, replayed to the same client: it gets the same results, ten times."""

from __future__ import annotations

import pytest
from support.recorded import replayed

from faultline import starttls

psycopg = pytest.importorskip("psycopg")
redis = pytest.importorskip("redis")

pytestmark = [pytest.mark.slow, pytest.mark.everywhere]


def test_postgres_is_replayed(postgres):
    def client(server):
        rows = []
        for prepared in (False, True):
            url = f"postgresql://postgres@{server.hostport}/postgres"
            with psycopg.connect(url, autocommit=True) as connection:
                rows += connection.execute("select n, 'row ' || n from generate_series(1, 500) as n").fetchall()
                rows += connection.execute("select %s::int + 1", (41,), prepare=prepared).fetchall()
                with pytest.raises(psycopg.errors.UndefinedTable) as raised:
                    connection.execute("select * from nowhere")
                rows.append(str(raised.value))
        return rows

    said, recording = replayed(postgres.address, client)

    assert len(said) == 1004
    assert len(recording.scripts) == 2


def test_postgres_in_tls_is_replayed(postgres):
    def client(server):
        url = f"postgresql://postgres@{server.hostport}/postgres?sslmode=verify-full&sslrootcert={server.ca_file}"
        with psycopg.connect(url) as connection:
            return connection.execute("select 41 + 1").fetchall()

    said, recording = replayed(postgres.address, client, tls="terminate", starttls="postgres")

    assert said == [(42,)]
    assert [starttls() in lines for lines in recording.scripts] == [True]


def test_redis_is_replayed(redis_server):
    def client(server):
        with redis.Redis(server.host, server.port, decode_responses=True) as client:
            client.flushall()
            client.set("name", "faultline\nand more")
            with client.pipeline() as pipeline:
                counted = pipeline.incr("visits").incr("visits").get("name").execute()
            with pytest.raises(redis.ResponseError) as raised:
                client.incr("name")
            return [client.ping(), counted, str(raised.value), client.lrange("none", 0, -1)]

    said, _ = replayed(redis_server.address, client)

    assert said[1] == [1, 2, "faultline\nand more"]
