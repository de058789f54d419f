"""MariaDB behind a relay that ends the TLS inside its protocol, with PyMySQL and MariaDB's own client."""

from __future__ import annotations

import shutil
import subprocess

import pymysql
import pytest

from faultline import bad_cert, latency, reset

pytestmark = [pytest.mark.slow, pytest.mark.everywhere]  # a real MariaDB takes a second to start
VERSION = "show status like 'Ssl_version'"


def ask(server, statement, **options):
    """What PyMySQL gets."""
    options = options or {"ssl_ca": server.ca_file, "ssl_verify_identity": True}
    with pymysql.connect(host="localhost", port=server.port, user="me", connect_timeout=10, **options) as connection:
        cursor = connection.cursor()
        cursor.execute(statement)
        rows = cursor.fetchall()
        connection.commit()
    return rows


@pytest.fixture
def in_front(faultline, mariadb):
    """A function that puts a relay in front of MariaDB."""
    return lambda plan=None: faultline.relay(mariadb.address, plan, tls="terminate", starttls="mysql")


@pytest.mark.parametrize("plan", [None, latency(0.001)], ids=["as it is", "parsed"])
def test_pymysql_speaks_tls_to_the_relay(in_front, mariadb, plan, request):
    server, secure = in_front(plan), request.node.callspec.params["mariadb"]

    assert ask(server, VERSION) == (("Ssl_version", "TLSv1.3" if secure else ""),)  # of the relay's own connection
    assert ask(server, VERSION, ssl_disabled=True) == (("Ssl_version", ""),)
    assert ask(server, "select repeat('x', 1000000)") == (("x" * 1_000_000,),)
    assert [attempt.tls and attempt.tls.version for attempt in server.attempts] == ["TLSv1.3", None, "TLSv1.3"]


def test_breaks_and_certificates_are_those_of_the_tls_inside(in_front):
    server = in_front(reset(on=b"COMMIT"))
    with pytest.raises(pymysql.err.OperationalError, match="Lost connection"):
        ask(server, "select 1")
    with pytest.raises(pymysql.err.OperationalError, match="certificate has expired"):
        ask(in_front(bad_cert("expired")), "select 1")


def test_the_client_of_mariadb_verifies_the_relay(in_front):
    server = in_front()
    place = ["--host=localhost", f"--port={server.port}", "--protocol=tcp", f"--ssl-ca={server.ca_file}"]
    client = shutil.which("mariadb") or pytest.skip("needs the program mariadb, which is not installed")
    command = [client, "--no-defaults", *place, "--ssl-verify-server-cert", "--batch", "-e", "select 42"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)

    assert told.stdout.split() == ["42", "42"], told.stderr
    assert server.attempts[0].tls.version == "TLSv1.3"
