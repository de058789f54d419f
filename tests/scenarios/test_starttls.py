"""Stage starttls: upgrades to TLS that are never answered, tampered with, refused, or not offered."""

import asyncio
import struct
from contextlib import asynccontextmanager

import aiosmtplib
import pymysql
import pytest

from faultline import receive_until, script, send, stall, starttls

LINE = receive_until(b"\r\n")
HELLO = (send(b"220 mx.test\r\n"), LINE, send(b"250-mx.test\r\n250 STARTTLS\r\n"))


@asynccontextmanager
async def connected(client):
    await client.connect()
    try:
        yield
    finally:
        if client.transport is not None:
            client.transport.abort()  # close() of a TLS transport takes longer than the loop runs
        client.close()


def smtp(server, timeout=10):
    return aiosmtplib.SMTP(
        hostname=server.host,
        port=server.port,
        timeout=timeout,
        start_tls=False,
        tls_context=server.client_context(),
        local_hostname="client.test",
    )


def mysql_greeting(capabilities):
    """The first packet of a MySQL server (protocol 10)."""
    salt = 20 * b"s"
    flags = struct.pack("<HBHHB10x", capabilities & 0xFFFF, 33, 2, capabilities >> 16, 21)
    body = b"\x0a8.0.0\0" + struct.pack("<I", 1) + salt[:8] + b"\0" + flags + salt[8:] + b"\0mysql_native_password\0"
    return struct.pack("<I", len(body)) + body


@pytest.mark.slow
@pytest.mark.everywhere
def test_s099_starttls_never_answered(faultline):
    server = faultline.serve(script(*HELLO, LINE, send(b"220 go on\r\n")) & stall(on=b"STARTTLS"))
    client = smtp(server)

    async def talk():
        async with connected(client):
            await client.ehlo()
            with pytest.raises(aiosmtplib.SMTPTimeoutError):
                await client.starttls(timeout=0.2)

    asyncio.run(talk())
    assert client.transport is None
    [attempt] = server.attempts
    assert (attempt.struck.point, attempt.ended_by, attempt.ended_how) == ("request", "client", "FIN")


def test_s100_plain_text_injected_after_the_220_is_discarded(faultline):
    injected = send(b"220 go on\r\n250-injected\r\n250 injected\r\n")
    server = faultline.serve(script(*HELLO, LINE, injected, starttls(), LINE, send(b"250 secret\r\n")))
    client = smtp(server)

    async def talk():
        async with connected(client):
            await client.starttls()
            assert (await client.ehlo()).message == "secret"

    asyncio.run(talk())
    [attempt] = server.attempts
    assert attempt.request.body == b"EHLO client.test\r\nSTARTTLS\r\nEHLO client.test\r\n"
    assert attempt.tls.version == "TLSv1.3"


def test_s101_starttls_advertised_and_refused(faultline):
    server = faultline.serve(script(*HELLO, LINE, send(b"454 not now\r\n"), stall()))
    client = smtp(server)

    async def talk():
        async with connected(client):
            with pytest.raises(aiosmtplib.SMTPException) as raised:
                await client.starttls()
            return raised.value

    error = asyncio.run(talk())
    assert (type(error), error.code) == (aiosmtplib.SMTPResponseException, 454)
    assert [(a.tls, a.ended_by) for a in server.attempts] == [(None, "client")]


def test_s102_database_without_the_tls_bit_although_tls_is_required(faultline):
    without_tls = pymysql.constants.CLIENT.CAPABILITIES & ~pymysql.constants.CLIENT.SSL
    server = faultline.serve(script(send(mysql_greeting(without_tls)), stall()))

    with pytest.raises(pymysql.err.OperationalError, match="SSL is required but the server doesn't support it"):
        pymysql.connect(host=server.host, port=server.port, ssl_ca=server.ca_file, connect_timeout=10)

    [attempt] = server.attempts
    assert (attempt.received_bytes, attempt.tls, attempt.ended_by) == (0, None, "client")
