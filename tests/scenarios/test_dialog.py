"""Stage dialog: line protocols whose server says too little, too much, nonsense, or goodbye."""

import asyncio
import ftplib
import http.client
import imaplib
import smtplib
from contextlib import asynccontextmanager, closing

import aiosmtplib
import pytest

from faultline import Gate, close, half_close, hold, receive_until, repeat, script, send, sequence, stall

GREETING = send(b"220 mx.test\r\n")
LINE = receive_until(b"\r\n")
ALWAYS_OK = (GREETING, repeat(LINE, send(b"250 ok\r\n")))
MAIL = ("from@client.test", ["to@server.test"], b"Subject: hi\r\n\r\nbody\r\n")


def answers(*replies):
    """To each line of the client the next reply."""
    return [step for reply in replies for step in (LINE, send(reply + b"\r\n"))]


@asynccontextmanager
async def connected(client):
    await client.connect()
    try:
        yield
    finally:
        client.close()


def smtp(server, timeout=10):
    return aiosmtplib.SMTP(
        hostname=server.host, port=server.port, timeout=timeout, start_tls=False, local_hostname="client.test"
    )


def test_s121_greeting_cut_before_its_line_break(faultline):
    server = faultline.serve(script(send(b"* OK IMAP4rev1")))

    with pytest.raises(imaplib.IMAP4.abort):
        imaplib.IMAP4(*server.address, timeout=10)

    [attempt] = server.attempts
    assert (attempt.sent_bytes, attempt.ended_by, attempt.ended_how) == (14, "server", "FIN")


@pytest.mark.slow
@pytest.mark.everywhere
def test_s124_first_line_of_a_greeting_then_silence(faultline):
    server = faultline.serve(script(send(b"220-hi\r\n"), stall()))
    client = smtp(server, timeout=0.2)

    with pytest.raises(aiosmtplib.SMTPTimeoutError):
        asyncio.run(client.connect())

    assert client.transport is None
    [attempt] = server.attempts
    assert (attempt.sent_bytes, attempt.ended_by, attempt.received_bytes) == (8, "client", 0)


@pytest.mark.parametrize("code", [b"421", b"199"])
def test_s125_refusing_greeting_then_fin(faultline, code):
    server = faultline.serve(script(send(code + b" go away\r\n")))
    client = smtp(server)

    with pytest.raises(aiosmtplib.SMTPConnectError) as raised:
        asyncio.run(client.connect())

    assert type(raised.value) is aiosmtplib.SMTPConnectResponseError
    assert (raised.value.code, client.transport) == (int(code), None)
    assert [(a.received_bytes, a.ended_how) for a in server.attempts] == [(0, "FIN")]


def test_s126_half_close_instead_of_a_greeting(faultline):
    server = faultline.serve(half_close(at="accept"))
    client = smtp(server)

    with pytest.raises(aiosmtplib.SMTPConnectError) as raised:
        asyncio.run(client.connect())

    assert type(raised.value) is aiosmtplib.SMTPConnectError
    [attempt] = server.attempts
    assert (attempt.struck.point, attempt.ended_by) == ("accept", "client")


def test_s127_421_to_rcpt_makes_the_client_close_and_not_reset(faultline):
    server = faultline.serve(script(GREETING, *answers(b"250 mx", b"250 ok", b"421 bye"), stall()), strict=False)

    with closing(smtplib.SMTP(*server.address, local_hostname="client.test", timeout=10)) as client:
        with pytest.raises(smtplib.SMTPRecipientsRefused) as raised:
            client.sendmail(*MAIL)
        assert client.sock is None

    assert raised.value.recipients == {"to@server.test": (421, b"bye")}
    [attempt] = server.attempts
    assert attempt.request.body.lower().endswith(b"rcpt to:<to@server.test>\r\n")
    assert (attempt.received_bytes, attempt.ended_by) == (attempt.request.body_bytes, "client")


def test_s128_fin_in_answer_to_one_command(faultline):
    server = faultline.serve(script(*ALWAYS_OK) & close(on=b"NOOP"))
    client = smtp(server)

    async def talk():
        async with connected(client):
            await client.ehlo()
            with pytest.raises(aiosmtplib.SMTPServerDisconnected):
                await client.noop()

    asyncio.run(talk())
    assert not client.is_connected
    assert [(a.struck is not None, a.ended_how) for a in server.attempts] == [(False, None), (True, "FIN")]


def test_s129_fin_after_354_and_the_reconnect_works(faultline):
    hangs_up = script(GREETING, *answers(b"250 mx", b"250 ok", b"250 ok", b"354 go on"))
    server = faultline.serve(sequence(hangs_up, script(*ALWAYS_OK)))
    client = smtp(server)

    async def talk():
        async with connected(client):
            with pytest.raises(aiosmtplib.SMTPServerDisconnected):
                await client.sendmail(*MAIL)
            await client.connect()
            assert (await client.noop()).code == 250

    asyncio.run(talk())
    assert [a.connection for a in server.attempts] == [1, 2, 2]
    assert server.attempts[0].ended_how == "FIN"


def test_s130_fin_after_one_line_of_the_payload(faultline):
    steps = (GREETING, *answers(b"250 mx", b"250 ok", b"250 ok", b"354 go on"), LINE)
    server = faultline.serve(script(*steps))
    client = smtp(server)

    async def talk():
        async with connected(client):
            with pytest.raises(aiosmtplib.SMTPServerDisconnected):
                await client.sendmail(*MAIL)

    asyncio.run(talk())
    [attempt] = server.attempts
    assert attempt.request.body.endswith(b"DATA\r\nSubject: hi\r\n")
    assert (client.is_connected, attempt.ended_by, attempt.ended_how) == (False, "server", "FIN")


def test_s132_reply_that_is_not_in_the_grammar(faultline):
    server = faultline.serve(script(GREETING, *answers(b"ERROR"), stall()))
    client = smtp(server)

    async def talk():
        async with connected(client):
            with pytest.raises(aiosmtplib.SMTPResponseException, match="Malformed SMTP response line: ERROR"):
                await client.execute_command(b"NOOP")

    asyncio.run(talk())
    assert [(a.request.body, a.ended_by) for a in server.attempts] == [(b"NOOP\r\n", "client")]


def test_s133_two_replies_to_one_command(faultline):
    server = faultline.serve(script(GREETING, *answers(b"250 first\r\n221 second")))
    client = smtp(server)

    async def talk():
        async with connected(client):
            assert (await client.execute_command(b"NOOP")).message == "first"
            with pytest.raises(aiosmtplib.SMTPServerDisconnected):
                await client.execute_command(b"NOOP")

    asyncio.run(talk())
    assert [(a.request.body, a.ended_how) for a in server.attempts] == [(b"NOOP\r\n", "FIN")]


@pytest.mark.slow
@pytest.mark.everywhere
def test_s134_late_reply_is_not_paired_with_the_next_command(faultline):
    gate = Gate()
    server = faultline.serve(script(GREETING, LINE, hold(until=gate), send(b"250 late\r\n"), LINE))
    client = smtp(server)

    async def talk():
        async with connected(client):
            with pytest.raises(aiosmtplib.SMTPTimeoutError):
                await client.execute_command(b"NOOP", timeout=0.2)
            gate.open()
            with pytest.raises(aiosmtplib.SMTPServerDisconnected):
                await client.execute_command(b"HELP")

    asyncio.run(talk())
    assert [(a.request.body, a.ended_by) for a in server.attempts] == [(b"NOOP\r\n", "client")]


def test_s135_handshake_after_a_drop_is_complete_again(faultline):
    drops = script(GREETING, *answers(b"250 mx"), LINE, close())
    server = faultline.serve(sequence(drops, script(GREETING, *answers(b"250 mx", b"250 ok"))))
    client = smtp(server)

    async def talk():
        async with connected(client):
            with pytest.raises(aiosmtplib.SMTPServerDisconnected):
                await client.noop()
            await client.connect()
            return await client.noop()

    assert asyncio.run(talk()).code == 250
    assert [a.request.body for a in server.attempts] == [b"EHLO client.test\r\nNOOP\r\n"] * 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "error", "stays"), [(close(), http.client.RemoteDisconnected, False), (stall(), TimeoutError, True)]
)
def test_s136_hang_up_and_silence_have_different_consequences(faultline, fault, error, stays):
    server = faultline.serve(fault)

    with closing(http.client.HTTPConnection(*server.address, timeout=0.2)) as client:
        client.request("GET", "/")
        with pytest.raises(error) as raised:
            client.getresponse()
        assert (client.sock is not None) is stays

    assert type(raised.value) is error
    assert [a.ended_by for a in server.attempts] == ["client" if stays else "server"]


def test_s137_long_junk_lines_before_the_banner(faultline):
    junk = b"220-hello\r\n" + 100 * (b"x" * 1000 + b"\r\n")
    server = faultline.serve(script(send(junk), send(b"220 ready\r\n"), *answers(b"221 bye")))

    with ftplib.FTP(timeout=10) as client:
        welcome = client.connect(*server.address)

    assert (len(welcome), welcome[-9:]) == (len(junk) - 101 + 9, "220 ready")
    assert [a.request.body for a in server.attempts] == [b"QUIT\r\n"]
