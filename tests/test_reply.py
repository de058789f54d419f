"""The step of a script that branches by what the client says."""

from __future__ import annotations

import contextlib
import ftplib
import re
import smtplib
import socket
import ssl

import pytest
from support.tables import each_row

import faultline as package
from faultline import (
    NotStruckError,
    ParameterError,
    close,
    hold,
    inject,
    latency,
    receive,
    receive_prefixed,
    receive_request,
    receive_until,
    repeat,
    reply,
    reset,
    respond,
    script,
    send,
    stall,
    starttls,
    stoptls,
)


@pytest.fixture
def say(faultline):
    """A function that says all of this to a server, and that it has finished: what the server says."""

    def said(server, data, pieces=1000):
        with socket.create_connection(server.address, 10) as client:
            heard = b""
            with contextlib.suppress(OSError):  # the server may have ended the conversation
                for begin in range(0, len(data), pieces):
                    client.sendall(data[begin : begin + pieces])
                client.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                while piece := client.recv(1000):
                    heard += piece
            return heard

    return said


WORDS = reply(
    {
        b"PING": send(b"+PONG\n"),
        b"PING x": send(b"+long\n"),
        re.compile(rb"^SET (\w+) \d+\r?\n$"): send(b"+set\n"),
        re.compile(b"late"): send(b"+found\n"),
        b"late": send(b"+first\n"),
        b"MORE": (send(b"> "), receive_until(b".\n"), send(b"+more\n")),
        b"IN": (send(b"in\n"), reply({b"OUT": (send(b"out\n"), close())}, otherwise=send(b"in?\n"))),
        b"MUTE": (),
        b"QUIT": (send(b"bye\n"), close()),
    },
    otherwise=send(b"-what\n"),
)


@each_row(
    ("said", "heard"),
    [
        (b"", b""),
        (b"PING\nPING\n", b"+PONG\n+PONG\n"),
        (b"ping x\nPING y\n", b"+long\n+PONG\n"),
        (b"SET a 1\r\nset a 1\nSET a b\n", b"+set\n-what\n-what\n"),
        (b"late\nbe late\n", b"+found\n+found\n"),
        (b"MORE\nPING\nQUIT.\nPING\n", b"> +more\n+PONG\n"),
        (b"MUTE\nPING\n", b"+PONG\n"),
        (b"IN\nPING\nOUT\nPING\n", b"in\nin?\nout\n"),
        (b"QUIT\nPING\n", b"bye\n"),
        (b"\n", b"-what\n"),
        (b"PI", b""),
    ],
)
def test_each_message_takes_the_branch_that_matches_the_most(faultline, say, said, heard):
    server = faultline.serve(script(WORDS))

    assert [say(server, said, pieces) for pieces in (1, 4, 1000)] == [heard] * 3
    notes = {attempt.note for attempt in server.wait_for_attempts(3, at="end")}
    assert notes == {"the script waited for b'\\n', and 2 bytes came, the last of them b'PI'" if said == b"PI" else ""}


@each_row(
    ("reading", "messages"),
    [
        (receive(3), [b"abc", b"ABz"]),
        (receive_prefixed(1), [b"\3abc", b"\4abcd"]),
        (receive_until(re.compile(rb";+")), [b"abc;", b"abx;"]),
    ],
)
def test_a_message_is_what_the_step_reads(faultline, say, reading, messages):
    server = faultline.serve(script(reply({re.compile(b"(?i)ab"): send(b".")}, reading=reading)))

    assert say(server, b"".join(messages)) == b".."
    assert server.wait_for_attempts(1, at="end")[0].request.body == messages[-1]


def test_a_message_without_a_branch_ends_the_conversation_and_is_noted(faultline, say):
    server = faultline.serve(script(reply({b"HI": send(b"hi\n")})))

    assert say(server, b"HI\nHO\nHI\n") == b"hi\n"
    (attempt,) = server.wait_for_attempts(1, at="end")
    assert (attempt.note, attempt.struck) == ("no branch of reply(…) for b'HO\\n'", None)
    assert [(end.by, end.how) for end in attempt.ends if end.by == "server"] == [("server", "FIN")]


def test_breaks_and_conditions_count_over_all_messages(faultline, say):
    server = faultline.serve(script(WORDS) & latency(0.001) & reset(at="response", after_messages=2))

    assert say(server, b"PING\n", 1) == b"+PONG\n"
    with socket.create_connection(server.address, 10) as client:
        for _ in range(2):
            client.sendall(b"PING\n")
            assert client.recv(6, socket.MSG_WAITALL) == b"+PONG\n"
        client.sendall(b"PING\n")
        with pytest.raises(ConnectionResetError):
            client.recv(1)


# --- real clients ----------------------------------------------------------------------------------------------------


def test_mail_is_refused_after_its_data_and_taken_over_tls(faultline):
    mail = (send(b"354 go on\r\n"), receive_until(b"\r\n.\r\n"), send(b"452 no space\r\n"))
    smtp = reply(
        {
            b"EHLO": send(b"250-here\r\n250 STARTTLS\r\n"),
            b"STARTTLS": (send(b"220 go\r\n"), starttls()),
            b"DATA": mail,
            b"QUIT": (send(b"221 bye\r\n"), close()),
        },
        otherwise=send(b"250 ok\r\n"),
    )
    server = faultline.serve(script(send(b"220 hi\r\n"), smtp))
    with smtplib.SMTP(*server.address, timeout=10) as client:
        client.starttls(context=server.client_context())
        assert client.docmd("STARTTLS") == (250, b"ok")  # no branch twice
        with pytest.raises(smtplib.SMTPDataError, match="452"):
            client.sendmail("me@a.test", "you@a.test", "hello")

    assert server.attempts[0].tls.version == ssl.TLSVersion.TLSv1_3.name.replace("v1_", "v1.")


def test_transfer_is_reset_where_its_branch_says(faultline):
    ftp = reply(
        {
            b"USER": send(b"331 who\r\n"),
            b"PASS": send(b"230 in\r\n"),
            b"TYPE": send(b"200 ok\r\n"),
            b"PASV": reset(),
            b"QUIT": (send(b"221 bye\r\n"), close()),
        },
        otherwise=send(b"502 no\r\n"),
    )
    server = faultline.serve(script(send(b"220 hi\r\n"), ftp))
    with contextlib.closing(ftplib.FTP(timeout=10)) as client:
        client.connect(*server.address)
        client.login("me", "secret")
        with pytest.raises(ftplib.error_perm, match="502 no"):
            client.pwd()
        with pytest.raises(ConnectionResetError):
            client.retrbinary("RETR x", print)


# --- the guard and mistakes ------------------------------------------------------------------------------------------


def test_guard_asks_for_the_branches_that_are_faults_and_for_no_other(say):
    steps = reply({b"A": send(b"a"), b"R": reset(), b"S": (send(b"s"), stall()), b"Q": close()}, otherwise=hold(0))
    with pytest.raises(NotStruckError) as caught, package.serve(script(send(b"hi"), steps)) as server:
        say(server, b"a\nb\nr\n")

    assert "stall() of script(" in str(caught.value)
    assert "reset() of script(" not in str(caught.value)


@each_row(
    ("make", "complaint"),
    [
        (lambda: reply({}), r"branches={}: expected a dict such as {b'QUIT': (send(b'221 bye\r\n'), close())}."),
        (lambda: reply([b"x"]), "branches=[b'x']: expected a dict such as"),
        (
            lambda: reply({"QUIT": close()}),
            "branches='QUIT': expected bytes, or a pattern compiled from bytes, as a key; write b'QUIT'.",
        ),
        (lambda: reply({re.compile("x"): close()}), "branches=re.compile('x'): expected bytes"),
        (lambda: reply({b"": close()}), "branches=b'': expected bytes"),
        (
            lambda: reply({b"x": b"y"}),
            "branches[b'x']=b'y': expected a step such as send(b'…'), a mode such as reset(), or a tuple",
        ),
        (lambda: reply({b"x": 3}), "branches[b'x']=3: expected a step"),
        (lambda: reply({b"x": latency(1)}), "step=latency(1): expected a mode that breaks"),
        (lambda: reply({b"x": (reset(), send(b"x"))}), "send(b'x'): expected no step after reset()"),
        (lambda: reply({b"x": (close(), send(b"x"))}), "send(b'x'): expected no step after close()"),
        (lambda: reply({b"x": receive_request()}), "branches[b'x']=receive_request(): expected a step of lines"),
        (lambda: reply({b"x": ()}, otherwise=respond()), "otherwise=respond(): expected a step of lines"),
        (lambda: reply({b"x": repeat(send(b"x"))}), "expected a step of lines"),
        (lambda: reply({b"x": stoptls()}), "expected a step of lines"),
        (lambda: reply({b"x": ()}, reading=send(b"x")), "reading=send(b'x'): expected a step that reads"),
        (lambda: script(WORDS, send(b"x")), "send(b'x'): expected no step after reply("),
        (lambda: script(reply({b"x": inject(b"y", at="request")})), "expected"),
    ],
)
def test_what_is_no_branch_is_refused(make, complaint):
    with pytest.raises(ParameterError) as caught:
        make()
    assert complaint in str(caught.value)


def test_bytes_that_pass_have_no_limit_that_a_script_could_know():
    assert script(WORDS) & reset(at="response", after_bytes=10_000)
    assert script(WORDS) & reset(at="request", after_messages=100)
    assert "otherwise=send" in repr(script(WORDS))
