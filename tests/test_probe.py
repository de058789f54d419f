"""What `faultline probe` finds: in every case of the catalogue, with hostile servers, and how the command says it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from subprocess import PIPE

import pytest
from support.tables import each_row

import faultline
from faultline import UnsupportedError, ok, raw, resolve, script, send, serve
from faultline._front.command import main
from faultline._front.probing import play_of, with_tls
from faultline._probe.answer import MOST_BYTES, Asking, ResponseReader
from faultline._probe.imitation import entry_of, imitation
from faultline._probe.line import Deadline, Line
from faultline._probe.steps import Failure, Step
from faultline._probe.target import target_of
from faultline._probe.walk import Settings, certificate_of, walk
from faultline.modes._catalogue import cases

PATIENCE_SECONDS = 10.0
SILENCE_SECONDS = 0.5  # for a point at which nothing comes


def probed(server, *, seconds=PATIENCE_SECONDS, url="", **settings):
    """The steps of a walk against a server."""
    target = target_of(url or f"{server.url}/")
    return target, list(walk(target, Settings(seconds, server.ca_file, **settings)))


def result(steps):
    """The point that a walk came to, and how it failed there, or what is odd about the response."""
    last = steps[-1]
    if last.failure is None:
        return (last.point, *last.modes)
    return (last.point, last.failure.cause, last.failure.detail, last.failure.part)


# --- every case: the point, the error, and the mode that gives the same again ---


CASES = [case for case in cases() if case.kind == "TCP server"]
GONE, CUT, BAD = "http.client.RemoteDisconnected", "http.client.IncompleteRead", "http.client.HTTPException"
NO_HTTP = "http.client.BadStatusLine"
# What a case comes to by its own promise; the rest is in MET.
PROMISED = {
    "ConnectionRefusedError": ("ConnectionRefusedError", "111"),
    "ConnectionResetError": ("ConnectionResetError", "104"),
    "TimeoutError": ("TimeoutError", ""),
    "OSError 101": ("OSError", "101"),
}
MALFORMED = {
    "length_short": ("response", "malformed('body_surplus')"),
    "length_long": ("response", CUT, "", "body"),
    "length_negative": ("response", BAD, "", "head"),
    "length_conflicting": ("response", BAD, "", "head"),
    "chunk_size_not_hex": ("response", BAD, "", "body"),
    "chunk_cut": ("response", CUT, "", "body"),
    "chunk_terminator_missing": ("response", CUT, "", "body"),
    "chunk_trailer_garbage": ("response", BAD, "", "body"),
    "status_garbage": ("response", NO_HTTP, "", "head"),
    "other_protocol": ("response", NO_HTTP, "", "head"),
    "wrong_version": ("response", "http.client.UnknownProtocol", "", "body"),
    "header_line_long": ("response", BAD, "", "head"),
    "headers_many": ("response", BAD, "", "head"),
    "header_nul": ("response", BAD, "", "head"),
    "header_cut": ("response", NO_HTTP, "", "head"),
    "gzip_plain": ("response", "zlib.error", "", "body"),
    "gzip_cut": ("response", "zlib.error", "", "body"),
    "interim_flood": ("response", "malformed('interim_flood')"),
    "early_response": ("response", "status(413)"),
    "body_surplus": ("response", "malformed('body_surplus')"),
    "unsolicited_response": ("response", "malformed('body_surplus')"),
}
SPOKEN = {
    "bad_tls('plain_http')": ("handshake", "ssl.SSLError", "WRONG_VERSION_NUMBER", ""),
    "bad_tls('garbage')": ("handshake", "ssl.SSLError", "WRONG_VERSION_NUMBER", ""),
    "bad_tls('alert')": ("handshake", "ssl.SSLError", "SSLV3_ALERT_HANDSHAKE_FAILURE", ""),
    "bad_tls('alert', alert='internal_error')": ("handshake", "ssl.SSLError", "TLSV1_ALERT_INTERNAL_ERROR", ""),
    "bad_tls('only_version')": ("handshake", "ssl.SSLError", "TLSV1_ALERT_PROTOCOL_VERSION", ""),
    "bad_tls('no_shared_cipher')": ("handshake", "ssl.SSLError", "SSLV3_ALERT_HANDSHAKE_FAILURE", ""),
    "bad_tls('client_cert_required')": ("handshake", "ssl.SSLError", "TLSV13_ALERT_CERTIFICATE_REQUIRED", ""),
    "bad_tls('client_cert_rejected')": ("handshake", "ssl.SSLError", "TLSV13_ALERT_CERTIFICATE_REQUIRED", ""),
    "bad_tls('no_close_notify')": ("response", "bad_tls('no_close_notify')"),
    "bad_cert('many_sans')": ("handshake", "ssl.SSLError", "EXCESSIVE_MESSAGE_SIZE", ""),
    "raw(b'220 mail.invalid ESMTP')": ("response", NO_HTTP, "", "head"),
    "sse(('first', 'second', 'third'))": ("response", CUT, "", "body"),
    "status(503)": ("response", "status(503)"),
    "status(429, retry_after=1)": ("response", "status(429)"),
    "status(404, body=b'no such thing')": ("response", "status(404)"),
    "one_way()": ("response", GONE, "", ""),
}
IN_HEAD, IN_BODY = re.compile(r"after_bytes=10|at='response', on="), re.compile(r"^sse")
DEPENDS = {"bad_tls('plaintext_midway', after_bytes=20)", "bad_cert('no_subject')"}  # on Python and OpenSSL


def expected(case, *, tls):
    """What a walk comes to in a case."""
    if str(case) in SPOKEN:
        return SPOKEN[str(case)]
    if case.mode == "malformed":
        return MALFORMED.get(dict(case.arguments)["kind"], ("response",))
    if case.sees == "SSLCertVerificationError":
        return ("handshake", "ssl.SSLCertVerificationError", re.match(r"verify code \d+", case.detail)[0], "")
    return ("response",) if case.point == "idle" else broken(case, tls=tls)


def broken(case, *, tls):
    """What a walk comes to where a break strikes; a client that has only asked meets it with the response."""
    at_opening = {"accept": "handshake" if tls else "response", "handshake": "handshake", "connect": "connect"}
    point = at_opening.get(case.point, "response")
    is_early = case.point in ("accept", "handshake", "connect", "request")
    part = "" if is_early else "head" if IN_HEAD.search(str(case)) else "body" if IN_BODY.search(str(case)) else ""
    if case.sees in PROMISED:
        return (point, *PROMISED[case.sees], part)
    if case.sees != "end of stream" or case.mode not in ("close", "half_close", "reset"):
        return ("response",)
    if point == "handshake":
        return ("handshake", "ssl.SSLEOFError", "UNEXPECTED_EOF_WHILE_READING", "")
    return (point, NO_HTTP if part else GONE, "", part)


def rows():
    """Every case that is no silence, without TLS and in it."""
    for case in CASES:
        for tls in (False, True):
            if case.sees != "TimeoutError" and (tls or not case.fault.needs_tls):
                is_large = "flood" in str(case) or "bomb" in str(case)
                marks = (pytest.mark.slow, pytest.mark.measured) if is_large or tls else ()
                yield pytest.param(case, tls, id=f"{case}-{'tls' if tls else 'plain'}", marks=marks)


def silent_rows():
    """Every case of silence without TLS; in TLS where it is of TLS."""
    for case in CASES:
        if case.sees == "TimeoutError":
            yield from [] if case.fault.needs_tls else [(case, False)]
            yield from [(case, True)] if case.point in ("handshake", "accept") else []


def served(fault, *, tls):
    try:
        return serve(fault, tls=tls, strict=False)
    except UnsupportedError as error:
        pytest.skip(str(error))


def check_walk(case, *, tls):
    """Check what a walk finds in a case, and that the mode which it names gives the same again."""
    with served(case.fault, tls=tls) as server:
        target, steps = probed(server, seconds=SILENCE_SECONDS if case.sees == "TimeoutError" else PATIENCE_SECONDS)

    found = result(steps)
    if str(case) not in DEPENDS:
        assert found == expected(case, tls=tls), case
    last = steps[-1]
    play = imitation(last) if last.failure else next((play_of(mode) for mode in last.modes), None)
    if play is None:
        assert last.failure is None
        return
    play = with_tls(play, target)
    with serve(play.fault, tls=play.tls, strict=False) as server:
        is_silent = last.failure is not None and last.failure.cause == "TimeoutError"
        _, again = probed(server, seconds=SILENCE_SECONDS if is_silent else PATIENCE_SECONDS)
    assert result(again) == found, case


@pytest.mark.parametrize(("case", "tls"), [*rows()])
def test_walk_names_the_point_and_a_mode_that_gives_the_same_again(case, tls):
    check_walk(case, tls=tls)


@pytest.mark.slow
@pytest.mark.measured
def test_walk_names_the_point_where_nothing_comes_and_a_mode_that_gives_the_same_again():
    """All at once: each waits for its time."""
    with ThreadPoolExecutor(8) as pool:
        walks = [pool.submit(check_walk, case, tls=tls) for case, tls in silent_rows()]
    for walk_of_case in walks:
        walk_of_case.result()


@pytest.mark.parametrize(
    ("fault", "cause", "detail"),
    [
        (faultline.nxdomain(), "socket.gaierror", "-2"),
        (faultline.servfail(), "socket.gaierror", "-3"),
        (faultline.no_address(), "socket.gaierror", "-5"),
        pytest.param(faultline.slow_resolve(1.0), "TimeoutError", "", marks=(pytest.mark.slow, pytest.mark.measured)),
    ],
    ids=str,
)
def test_walk_names_a_lookup_that_fails(fault, cause, detail):
    target = target_of("http://api.example.com/")
    seconds = 0.1 if cause == "TimeoutError" else PATIENCE_SECONDS
    found = []
    for _ in range(2):
        with resolve("api.example.com", fault):
            (step,) = walk(target, Settings(seconds))
        found.append(result([step]))
        fault = imitation(step).fault

    assert found == 2 * [("lookup", cause, detail, "")]
    assert fault.is_of_lookup


def test_walk_tries_the_addresses_one_by_one():
    with serve(ok()) as server, resolve("api.example.com", faultline.addresses("dead_first", server)):
        steps = list(walk(target_of(f"http://api.example.com:{server.port}/"), Settings()))

    lookup, connect, response = steps
    assert len(lookup.facts["addresses"]) == 2
    assert [bool(each["error"]) for each in connect.facts["tried"]] == [True, False]
    assert re.search(r"before that 127\.0\.0\.\d+:\d+: Connection refused", connect.lines[1])
    assert response.lines == ("HTTP/1.1 200 OK, 3 bytes of body",)


def test_walk_says_of_every_address_why_it_failed():
    with serve(ok(), strict=False) as server, resolve("api.example.com", faultline.addresses("dead_first", server)):
        server.become(faultline.refuse())
        *_, step = walk(target_of(f"http://api.example.com:{server.port}/"), Settings())

    assert step.point == "connect"
    assert re.fullmatch(r"127\.0\.0\.1:\d+: Connection refused", step.failure.text)
    assert [re.sub(r"\d+", "N", line) for line in step.lines] == ["before that N.N.N.N:N: Connection refused"]


# --- other protocols -------------------------------------------------------------------------------------------------


@pytest.mark.slow  # a second for each that waits
@pytest.mark.parametrize(
    ("scheme", "plan", "found", "text"),
    [
        (
            "tcp",
            faultline.script(faultline.receive(1)),
            ("response",),
            "the server waits for the client to speak first",
        ),
        ("tcp", script(send(b"220 hi\r\n")), ("response",), "the server spoke first: b'220 hi\\r\\n'"),
        ("tls", ok(), ("response",), "the server waits for the client to speak first"),
        ("tcp", faultline.reset(at="accept"), ("response", "ConnectionResetError", "104", ""), ""),
        ("tcp", faultline.close(at="accept"), ("response", GONE, "", ""), ""),
        (
            "tls",
            faultline.bad_tls("client_cert_required"),
            ("handshake", "ssl.SSLError", "TLSV13_ALERT_CERTIFICATE_REQUIRED", ""),
            "",
        ),
    ],
    ids=str,
)
@pytest.mark.measured
def test_server_of_another_protocol_is_only_listened_to(scheme, plan, found, text):
    with serve(plan, tls=scheme == "tls", strict=False) as server:
        target, steps = probed(server, url=f"{scheme}://{server.hostport}")

    assert result(steps) == found
    assert text in (steps[-1].lines or ("",))[0]
    if steps[-1].failure:
        play = with_tls(imitation(steps[-1]), target)
        with serve(play.fault, tls=play.tls, strict=False) as server:
            assert result(probed(server, url=f"{scheme}://{server.hostport}")[1]) == found


def test_port_that_speaks_tls_is_named():
    with serve(raw(b"\x15\x03\x01\x00\x02\x02\x46"), strict=False) as server:
        _, steps = probed(server)

    assert steps[-1].failure.text == "the port speaks TLS: ask with https://"
    assert imitation(steps[-1]).plan == "malformed('other_protocol')"


# --- hostile servers -------------------------------------------------------------------------------------------------


@each_row(
    "plan, found",
    [
        (raw(b"\0" * 1_000_000), ("response", NO_HTTP, "", "head")),
        (raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000), ("response", BAD, "", "head")),
        (
            raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n" + b"surplus " * 1_000),
            ("response", "malformed('body_surplus')"),
        ),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"), ("response", BAD, "", "head")),
        (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"), ("response", BAD, "", "head")),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n"), ("response",)),
        (raw(b"HTTP/1.1 301 \r\nLocation: /there\r\nContent-Length: 0\r\n\r\n"), ("response",)),
        (raw(b"HTTP/1.1 200 \x9b2J\r\nContent-Length: 0\r\n\r\n"), ("response",)),
        (raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"), ("response", BAD, "", "head")),
        (raw(b"HTTP/1.1 100 Continue\r\n\r\n"), ("response", NO_HTTP, "", "head")),
        (raw(b"HTTP/1.0 200 OK\r\n\r\nall"), ("response",)),
    ],
)
def test_garbage_has_a_bounded_result(plan, found):
    with serve(plan, strict=False) as server:
        steps = probed(server)[1]

    assert result(steps) == found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plan", "part"),
    [
        (faultline.trickle_headers(1_000, every_seconds=0.01), "head"),
        (ok(b"x" * 10_000) & faultline.drip(1, every_seconds=0.01, from_body=True), "body"),
        (script(send(b"HTTP/1.1 100 Continue\r\n\r\n" * 100), faultline.hold()), "head"),
    ],
    ids=["head", "body", "interim responses"],
)
def test_endless_response_ends_at_the_deadline(plan, part):
    with serve(plan, strict=False) as server:
        steps = probed(server, seconds=SILENCE_SECONDS)[1]

    assert result(steps) == ("response", "TimeoutError", "", part)


@pytest.mark.slow
@pytest.mark.measured
@each_row("plan", [ok(bytes(MOST_BYTES + 1_000_000)), raw(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(2 * MOST_BYTES))])
def test_long_body_is_not_read_whole(plan):
    with serve(plan, strict=False) as server:
        steps = probed(server)[1]

    assert steps[-1].lines[-1] == "the body is longer than 16 MiB; the rest was not read"
    assert steps[-1].failure is None


@pytest.mark.slow
@pytest.mark.measured
def test_server_that_keeps_the_connection_open_is_not_waited_for():
    response = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    with serve(script(faultline.receive_request(), send(response), faultline.hold()), strict=False) as server:
        steps = probed(server)[1]

    assert result(steps) == ("response",)


def test_head_that_is_too_long_is_said_to_be():
    with serve(faultline.malformed("header_line_long"), strict=False) as server:
        steps = probed(server)[1]

    assert steps[-1].failure.text == "the head is longer than 65,536 bytes"


def test_unreadable_certificate_is_said_to_be_one():
    assert certificate_of(b"no DER") == (("a certificate that can't be read",), {})


# --- the parts -------------------------------------------------------------------------------------------------------


def test_error_of_a_send_is_told_once_all_is_read():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"early answer")
        theirs.close()
        line, deadline = Line(ours), Deadline(PATIENCE_SECONDS)
        line.send(b"x", deadline)
        assert line.receive(deadline) == b"early answer"
        with pytest.raises(BrokenPipeError):
            line.receive(deadline)


def test_deadline_that_is_over_is_a_timeout():
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(TimeoutError):
        Line(ours).receive(Deadline(0))


def test_timeout_of_the_kernel_has_its_errno():
    class Dead:
        alert, is_ragged = "", False

        def send(self, *_):
            raise TimeoutError(110, "Connection timed out")

    step = Asking(ResponseReader("h", "/"), Dead(), Deadline(1)).step()

    assert result([step]) == ("response", "TimeoutError", "110", "")
    assert imitation(step).plan == "partition()"


def test_failure_that_no_mode_imitates_has_none():
    step = Step("lookup", 0.0, failure=Failure("socket.gaierror", "-4", "no"))

    assert imitation(step) is None
    assert imitation(Step("response", 0.0)) is None
    assert entry_of(step.failure).name == "EAI_FAIL"
    assert entry_of(Failure("some.Error", "", "?")) is None


@each_row(
    "url, found",
    [
        ("http://localhost", ("http", "localhost", 80, "/")),
        ("https://[::1]:8443/a?b=c", ("https", "::1", 8443, "/a?b=c")),
        ("tcp://db.internal:5432", ("tcp", "db.internal", 5432, "/")),
        ("TLS://h:1", ("tls", "h", 1, "/")),
        ("http://bücher.example/", ("http", "bücher.example", 80, "/")),
    ],
)
def test_url_is_read(url, found):
    target = target_of(url)

    assert (target.scheme, target.host, target.port, target.path) == found
    assert target.name.isascii()


@each_row(
    "url, text",
    [
        ("localhost:8000", "tls://HOST:PORT. Write http://localhost:8000 or tcp://localhost:8000."),
        ("localhost", "tls://HOST:PORT."),
        ("ftp://h/", "tls://HOST:PORT."),
        ("tcp://h", "tls://HOST:PORT."),
        ("http:///x", "tls://HOST:PORT."),
        ("http://h:99999/", "(Port out of range 0-65535)."),
        ("http://[::1/", "(Invalid IPv6 URL)."),
        ("http://a..b/", "tls://HOST:PORT ("),
        ("http://h/a b", "tls://HOST:PORT."),
        ("http://h/\xe9", "expected a path in ASCII, with %-escapes for other letters."),
        ("http://me:secret@h/", "expected no name and password in the URL; they are not sent."),
    ],
)
def test_url_that_is_none_is_a_mistake(url, text, capsys):
    assert main(["probe", url]) == 2
    assert text in capsys.readouterr().err


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def told(capsys, monkeypatch):
    """A function that probes a server: the exit status and the lines, without what differs from run to run."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(server, words="", url=""):
        code = main(["probe", url or f"{server.url}/", "--ca-file", server.ca_file, *shlex.split(words)])
        return code, capsys.readouterr().out

    return run


def shape(text):
    """A text without its ports, times and names of test certificates."""
    text = re.sub(r"\d+\.\d{3} s", "* s", re.sub(r":\d{4,5}\b", ":*", text))
    return re.sub(r"(of|by) OU=.*|\d{4}-\d\d-\d\d|\d+ days? (?=left|ago)", "*", text)


RESET = """\
lookup     127.0.0.1 is an address: nothing to look up.
connect    127.0.0.1:* (* s)
response   failed after * s: Connection reset by peer, before the response

ConnectionResetError (errno 104): The other side sent RST: the connection is
gone at once, with all bytes that were on their way. Whether the server has
carried out the request is unknown.

In production
"""
SAME = """\
$ faultline explain ConnectionResetError

The same by faultline
  faultline.serve(reset())
  $ faultline serve --mode reset
"""
WELL = """\
lookup     127.0.0.1 is an address: nothing to look up.
connect    127.0.0.1:* (* s)
handshake  TLSv1.3, TLS_AES_256_GCM_SHA384 (* s)
           certificate *
           issued *
           valid until * (*left)
response   HTTP/1.1 200 OK, 3 bytes of body (* s)
"""
REFUSED = """\
lookup     127.0.0.1 is an address: nothing to look up.
connect    failed after * s: 127.0.0.1:*: Connection refused
handshake  not reached
response   not reached
"""
INSECURE = """\
handshake  certificate has expired, which --insecure passes over (* s)
           certificate *
           issued *
           valid until * (expired *ago)
handshake  TLSv1.3, TLS_AES_256_GCM_SHA384 (* s)
response   HTTP/1.1 200 OK, 3 bytes of body (* s)
"""


def test_failure_is_told_point_by_point(told):
    with serve(faultline.reset()) as server:
        code, out = told(server)

    assert code == 1
    assert shape(out).startswith(RESET)
    assert out.endswith(SAME)
    assert [line for line in out.splitlines() if len(line) > 80 or line != line.rstrip()] == []


def test_response_is_told_with_what_was_measured(told):
    with serve(ok(), tls=True) as server:
        code, out = told(server)

    assert (code, shape(out)) == (0, WELL)


def test_words_of_a_server_do_not_steer_the_terminal(told):
    with serve(raw(b"HTTP/1.1 302 \x9b2J\r\nLocation: /\x9b\r\nContent-Length: 0\r\n\r\n")) as server:
        code, out = told(server)

    assert code == 0
    assert "\nresponse   HTTP/1.1 302 \\x9b2J, 0 bytes of body (" in out
    assert "\n           it leads to /\\x9b, which is not followed\n" in out


def test_points_that_were_not_reached_are_said_to_be(told):
    with serve(faultline.refuse(), tls=True, strict=False) as server:
        code, out = told(server)

    assert code == 1
    assert shape(out).startswith(REFUSED)
    assert out.endswith("\n  faultline.serve(refuse())\n  $ faultline serve --mode refuse\n")


def test_walk_goes_on_after_a_bad_certificate_if_it_may(told):
    with serve(faultline.bad_cert("expired"), strict=False) as server:
        refused, _ = told(server)
        code, out = told(server, "--insecure")
        other, _ = told(server, "--insecure", url=f"http://{server.hostport}/")

    assert (refused, code, other) == (1, 0, 1)
    assert shape(out).endswith(INSECURE)


def test_odd_response_is_a_response_and_names_the_mode(told):
    with serve(faultline.status(503)) as server:
        code, out = told(server)

    assert code == 0
    assert "\nresponse   HTTP/1.1 503 Service Unavailable, 24 bytes of body (" in out
    assert out.endswith("\n  faultline.serve(status(503))\n  $ faultline serve --mode status --code 503\n")


def test_error_without_a_mode_says_what_else_there_is(told, monkeypatch):
    def fails(*_, **__):
        raise socket.gaierror(socket.EAI_FAIL, "Non-recoverable failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    with serve(ok(), strict=False) as server:
        code, out = told(server, url="http://api.example.com/")

    assert code == 1
    assert out.startswith("lookup     failed after ")
    assert "\nNo mode gives it. servfail() is the near case" in out


def test_error_without_a_text_is_told_by_its_name(told, monkeypatch):
    from faultline._probe import walk as walk_module

    failure = Failure("some.Error", "", "something new")
    monkeypatch.setattr(walk_module, "walk", lambda *_: iter([Step("connect", 0.1, failure=failure)]))
    with serve(ok(), strict=False) as server:
        code, out = told(server)

    assert code == 1
    assert out.endswith("\nsome.Error.\n\nNo mode imitates this.\n")


def test_line_of_a_test_looks_up_the_host_that_was_asked(told):
    with resolve("shop.example.com", faultline.nxdomain()), serve(ok(), strict=False) as server:
        _, out = told(server, url="http://shop.example.com/")

    assert '\n  faultline.resolve("shop.example.com", nxdomain())\n' in out


def test_failure_is_bold_where_the_terminal_has_colors(told, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with serve(faultline.reset()) as server:
        _, out = told(server)

    assert "\nresponse   \x1b[1mfailed\x1b[0m after " in out


def test_json_has_the_same(told):
    with serve(faultline.bad_cert("expired")) as server:
        code, out = told(server, "--json")
    with serve(faultline.status(503), tls=True) as server:
        told_of = json.loads(told(server, "--json")[1])

    found = json.loads(out)
    assert code == 1
    assert [each["point"] for each in found["points"]] == ["lookup", "connect", "handshake"]
    assert {*found["points"][2]["certificate"]} == {"subject", "issuer", "valid_until"}
    assert (found["failed"]["point"], found["failed"]["detail"]) == ("handshake", "verify code 10")
    assert found["failed"]["explain"] == "certificate has expired"
    assert [mode["command"] for mode in found["modes"]] == ["faultline serve --mode bad-cert --kind expired"]
    assert told_of["failed"] is None
    assert told_of["points"][2]["version"] == "TLSv1.3"
    assert told_of["points"][3]["status"] == 503
    assert [mode["command"] for mode in told_of["modes"]] == ["faultline serve --mode status --code 503 --tls"]


def test_json_of_an_error_without_a_text_and_a_mode(told, monkeypatch):
    from faultline._probe import walk as walk_module

    failure = Failure("some.Error", "", "something new")
    monkeypatch.setattr(walk_module, "walk", lambda *_: iter([Step("connect", 0.1, failure=failure)]))
    with serve(ok(), strict=False) as server:
        found = json.loads(told(server, "--json")[1])

    assert (found["failed"]["explain"], found["modes"]) == ("", [])


@each_row(
    "words, text",
    [
        ("--timeout-seconds 0", "timeout-seconds=0: expected a number above 0."),
        ("--timeout-seconds x", "timeout-seconds='x': expected a number."),
        (
            "--ca-file /nowhere.pem",
            "--ca-file /nowhere.pem: expected a file of CA certificates (No such file or ",
        ),
        (
            "--ca-file /dev/null",
            "--ca-file /dev/null: expected a file of CA certificates (it has no certificate).",
        ),
        ("--retries 3", "no option --retries. See `faultline probe --help`."),
    ],
)
def test_mistake_is_one_line(words, text, capsys):
    assert main(["probe", "http://127.0.0.1:9/", *shlex.split(words)]) == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_interrupted_walk_says_what_is_known(words, monkeypatch, capsys):
    def interrupted(*_):
        yield Step("lookup", 0.0, ("127.0.0.1 is an address: nothing to look up.",), {"addresses": ["127.0.0.1"]})
        raise KeyboardInterrupt

    from faultline._probe import walk as walk_module

    monkeypatch.setattr(walk_module, "walk", interrupted)
    code = main(["probe", "http://127.0.0.1:9/", *words])
    out, err = capsys.readouterr()

    assert (code, err) == (130, "faultline: stopped.\n")
    assert "is an address" in out or json.loads(out)["points"][0]["addresses"] == ["127.0.0.1"]


def test_interrupt_before_the_first_point_leaves_nothing_to_tell(monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt
        yield

    from faultline._probe import walk as walk_module

    monkeypatch.setattr(walk_module, "walk", interrupted)

    assert main(["probe", "http://127.0.0.1:9/", "--json"]) == 130
    assert json.loads(capsys.readouterr().out)["points"] == []


@pytest.mark.slow
@pytest.mark.measured
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_ends_a_walk_that_waits(number):
    ignored = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh"]  # as in the background of a shell
    with serve(faultline.stall(), strict=False) as server:
        words = [*ignored, sys.executable, "-m", "faultline", "probe", f"{server.url}/", "--timeout-seconds", "60"]
        with contextlib.ExitStack() as stack:
            process = stack.enter_context(subprocess.Popen(words, stdout=PIPE, stderr=PIPE, text=True))
            stack.callback(process.kill)
            server.wait_for_attempts(1, at="response", timeout_seconds=60)
            os.kill(process.pid, number)
            out, err = process.communicate(timeout=60)

    assert (process.returncode, err) == (130, "faultline: stopped.\n")
    assert shape(out).splitlines()[1] == "connect    127.0.0.1:* (* s)"
