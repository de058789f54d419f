"""Answers are those of the plan, however little of the conversation the ledger keeps."""

from __future__ import annotations

import http.client
import socket

import httpx
import pytest
from support.tables import each_row

import faultline as fl
from faultline._core import kept
from faultline._core.ledger import KEPT_BODY_BYTES, Ledger
from faultline._core.plan import stamped
from faultline._engine import connection
from faultline._engine.http2 import exchange

LONG = bytes(range(256)) * (KEPT_BODY_BYTES // 256) + b"and more"
ECHOES = {
    "the answer": fl.echo,
    "a branch of a condition": lambda: fl.when(lambda request: request.method == "POST", fl.echo()),
    "a step": lambda: fl.script(fl.receive_request(), fl.respond(fl.echo())),
    "conditions": lambda: fl.latency(0.0) & fl.echo(),
}


def post(server, body):
    client = http.client.HTTPConnection(*server.address, timeout=30)
    client.request("POST", "/", body)
    answer = client.getresponse().read()
    client.close()
    return answer


@pytest.mark.slow
@pytest.mark.parametrize("name", ECHOES)
def test_echo_is_whole_where_the_ledger_keeps_a_part(name):
    with fl.serve(ECHOES[name](), strict=False) as server:
        assert post(server, LONG) == LONG
        (attempt,) = server.attempts
        assert (len(attempt.request.body), attempt.request.body_bytes) == (KEPT_BODY_BYTES, len(LONG))


def test_default_answer_may_be_an_echo():
    with fl.serve(fl.latency(0.0), answer=fl.echo(), strict=False) as server:
        assert post(server, b"hello") == b"hello"


@each_row("name", ECHOES)
def test_echo_is_whole_where_the_ledger_has_no_more_room(name):
    with fl.serve(ECHOES[name](), strict=False) as server:
        server.ledger.room_bytes = 3
        assert [post(server, b"hello"), post(server, b"hello")] == [b"hello", b"hello"]
        assert [attempt.request.body for attempt in server.attempts] == [b"hel", b""]


@each_row("http2", [False, True])
@each_row("answer, kept_body", [(fl.ok(), b"hel"), (fl.echo(), b"hello!")])
def test_server_keeps_the_whole_body_of_a_request_only_for_an_echo(monkeypatch, http2, answer, kept_body):
    for module in (connection, exchange):
        monkeypatch.setattr(module, "KEPT_BODY_BYTES", 3)
    with (
        fl.serve(answer, http2=http2) as server,
        httpx.Client(http1=not http2, http2=http2, verify=False, timeout=30) as client,
    ):
        client.post(server.url, content=iter((b"he", b"llo", b"!")))
    (attempt,) = server.attempts
    assert (attempt.request.body, attempt.request.body_bytes) == (kept_body, 6)


def test_script_that_reads_bytes_echoes_all_of_them():

    plan = fl.script(fl.receive(5), fl.receive_until(b"!"), fl.respond(fl.echo()))
    with fl.serve(plan, strict=False) as server, socket.create_connection(server.address, 10) as client:
        server.ledger.room_bytes = 3
        client.sendall(b"hello world!")
        assert client.makefile("rb").read() == b"hello world!"
        assert server.wait_for_attempts(1, at="end")[0].request.body == b"hel"


def test_a_ledger_of_a_server_whose_plan_changes_again_and_again_is_bounded(monkeypatch):
    monkeypatch.setattr(kept, "MOST_FIRSTS", 10)
    ledger = Ledger(most_attempts=20)
    for number in range(500):
        fault = stamped(fl.reset(), number + 1)
        entry = ledger.begin(number + 1, fault, "accept")
        ledger.strike(entry, "accept", 0)
        ledger.end(entry, "server", "RST")

    numbers = [attempt.number for attempt in ledger.attempts]
    assert len(numbers) <= 40
    assert numbers[-1] == 500
    assert ledger.dropped == 500 - len(numbers)
