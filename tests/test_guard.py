"""The guard: which planned faults proved nothing, and what is said about them."""

from __future__ import annotations

import contextlib
import re
import socket

import pytest

from faultline import (
    NotStruckError,
    bad_cert,
    bad_tls,
    blackhole,
    close,
    cycle,
    echo,
    http_proxy,
    latency,
    malformed,
    ok,
    receive_request,
    receive_until,
    refuse,
    repeat,
    reset,
    respond,
    script,
    send,
    sequence,
    serve,
    sometimes,
    stall,
    when,
)
from faultline._core.guard import certain, unmet
from faultline._core.ledger import Attempt, Strike
from faultline._core.report import describe

UNASKED = "no client connected to 127.0.0.1:8080"


def attempt(fault, *, struck=True, number=1, received=10):
    point = fault.break_.at if fault.break_ else "response"
    strike = Strike(point, 0, 0.5) if struck else None
    return Attempt(number, 1, fault, "response", 0.0, received_bytes=received, struck=strike)


@pytest.mark.parametrize("plan", [ok(), echo(), latency(0.1), refuse(), blackhole(), sometimes(1, reset())])
def test_what_breaks_nothing_or_cannot_be_seen_is_not_judged(plan):
    assert unmet(plan, [], UNASKED) is None


@pytest.mark.parametrize(
    "plan", [reset(), bad_cert("expired"), ok(b"x") & close(), latency(0.1) & stall(), reset(at="accept")]
)
def test_fault_that_struck_is_met(plan):
    assert unmet(plan, [attempt(plan)], UNASKED) is None


@pytest.mark.parametrize("plan", [reset(), bad_cert("expired"), sequence(ok(), close()), cycle(stall(at="idle"))])
def test_fault_that_no_client_met_is_named(plan):
    said = unmet(plan, [], UNASKED)

    assert said is not None
    assert said.endswith(f" never struck: {UNASKED}.")
    assert said.partition(" never")[0] in repr(plan)


def test_fault_that_was_met_and_did_not_strike_is_explained_by_what_happened():
    plan = reset(after_bytes=9)
    seen = attempt(plan, struck=False)

    assert unmet(plan, [seen], UNASKED) == (
        f"reset(after_bytes=9) never struck: {describe(seen)}. Strike after fewer bytes, or serve a longer answer."
    )


def test_fault_of_which_the_attempts_show_no_reason_gets_no_advice():
    seen = attempt(reset(), struck=False)

    assert unmet(reset(), [seen], UNASKED) == f"reset() never struck: {describe(seen)}."


def test_strike_of_another_fault_does_not_count():
    assert unmet(sequence(reset(), close()), [attempt(reset()), attempt(reset())], UNASKED).startswith("close() never")


def test_fault_that_is_planned_twice_has_to_strike_twice():
    plan = sequence(reset(), ok(), reset())

    assert unmet(plan, [attempt(reset())], UNASKED).startswith("reset() never struck: #1")
    assert unmet(plan, [attempt(reset())] * 2, UNASKED) is None


def test_fault_may_strike_more_often_than_planned():
    assert unmet(reset(), [attempt(reset())] * 3, UNASKED) is None


def test_chance_in_a_sequence_is_not_judged_and_the_rest_is():
    plan = sequence(sometimes(0.5, reset()), close())

    assert unmet(plan, [attempt(close())], UNASKED) is None
    assert unmet(plan, [attempt(ok(), struck=False)], UNASKED).startswith("close() never struck")


def test_choice_by_the_request_has_to_strike_whatever_it_chooses_between():
    plan = when(bool, reset(), otherwise=close())

    assert certain(plan) == [reset(), close()]
    assert unmet(plan, [attempt(close()), attempt(reset())], UNASKED) is None
    assert unmet(plan, [attempt(reset())], UNASKED).startswith("close() never struck")


def test_choice_of_something_healthy_has_nothing_to_strike():
    assert certain(when(bool, ok(b"x"))) == []


def test_first_five_attempts_are_told_and_the_others_counted():
    seen = [attempt(ok(), struck=False, number=number) for number in range(1, 9)]
    said = unmet(reset(), seen, UNASKED)

    assert said.count("#") == 5
    assert f"{describe(seen[4])}; and 3 more." in said


def test_five_attempts_are_all_told():
    seen = [attempt(ok(), struck=False, number=number) for number in range(1, 6)]

    assert "more" not in unmet(reset(), seen, UNASKED)


# --- advice by cause -------------------------------------------------------------------------------------------------

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
HEAD = GET.replace(b"GET", b"HEAD")
LAST = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
POST = b"POST /x HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n1"
FETCH = b"GET http://127.0.0.1:9/ HTTP/1.1\r\nHost: 127.0.0.1:9\r\n\r\n"
GREETED = script(send(b"220 hi\r\n"), receive_until(b"QUIT"), reset())
LINES = script(repeat(receive_until(b"\n"), send(b"ok\n")))
THREE_LINES = script(*(receive_until(b"\n"), send(b"ok\n")) * 3)
CAUSES = {
    "too few bytes of the response": (
        script(receive_request(), respond(echo())) & reset(after_bytes=999),
        [LAST],
        "Strike after fewer bytes, or serve a longer answer.",
    ),
    "too few bytes of the request": (
        reset(at="request", after_bytes=999),
        [LAST],
        "Strike after fewer bytes, or have the client send more.",
    ),
    "words that the client never said": (
        reset(on=b"QUIT"),
        [LAST],
        "b'QUIT' never came; in bytes that are encrypted or compressed it can't be found.",
    ),
    "words that the server never said": (
        reset(at="response", on=re.compile(rb"Q+")),
        [LAST],
        "b'Q+' never came; in bytes that are encrypted or compressed it can't be found.",
    ),
    "too few messages": (
        THREE_LINES & reset(after_messages=2),
        [b"1\n2\n3\n"],
        "Strike after fewer messages: there were 1.",
    ),
    "one attempt": (sequence(ok(), reset()), [LAST], "The client made 1 attempt, the plan has 2."),
    "two attempts": (sequence(ok(), ok(), reset()), [GET, LAST], "The client made 2 attempts, the plan has 3."),
    "planned twice": (sequence(GREETED, GREETED), [b"QUIT"], "The client made 1 attempt, the plan has 2."),
    "one connection": (
        sequence(ok(), reset(), per="connection"),
        [GET, LAST],
        "The client made 1 connection, the plan has 2.",
    ),
    "another request": (
        when(lambda r: r.target == "/pay", reset()),
        [GET, LAST],
        "No request matched; there was GET /.",
    ),
    "no request": (when(lambda r: r.target == "/pay", reset()), [b""], ""),
    "silence": (
        reset(),
        [b""],
        "The client said nothing: if it waits for the server to speak first, use at='accept' or a script.",
    ),
    "half a request": (reset(), [LAST[:10]], "The client left first."),
    "a script that was left": (GREETED, [b"EHLO"], "The client left first."),
    "a script that was not heard": (GREETED, [b""], "The client left first."),
    "a timer that was left": (reset(at="accept", after_seconds=60), [b""], "The client left first."),
    "an idle timer that was left": (reset(at="idle", after_seconds=60), [GET], "The client left first."),
    "an idle timer and another request": (
        sequence(reset(at="idle", after_seconds=60), ok()),
        [GET, LAST],
        "The next request came first.",
    ),
    "no idle connection": (
        close(at="idle"),
        [LAST],
        "The connection was not kept alive; use at='response', or a client that pools connections.",
    ),
    "no HEAD": (malformed("head_with_body"), [LAST], "The client asked for no HEAD."),
    "HEAD": (malformed("chunk_cut"), [HEAD], "The client asked for HEAD, whose response has no body."),
    "no expectation": (malformed("continue_never"), [LAST], "The client did not wait for 100 Continue."),
    "no TLS at all": (bad_cert("expired"), [LAST], ""),
}
TLS_CAUSES = {
    "terms that the client meets": (bad_tls("only_version", version="1.2"), "The client could meet these terms."),
    "the first connection": (bad_cert("pinned_changed"), "It strikes from connection 2 of the server on."),
}


def ask(client, requests):
    """Say each of these and hear something after it, then leave."""
    client.settimeout(10)
    for said in requests:
        client.sendall(said)
        if said.endswith(b"\n") or said == b"QUIT":
            with contextlib.suppress(ConnectionResetError):
                while client.recv(65_536) and said == b"QUIT":  # to the end
                    pass


def why(server, requests, *, tls=False):
    """What the guard says of a fault, after one client has left."""
    with server:
        with socket.create_connection(server.address, 10) as client:
            if tls:
                client = server.client_context().wrap_socket(client, server_hostname=server.host)  # noqa: PLW2901 - the same
            with client:
                ask(client, requests)
        server.wait_for_attempts(1, at="end")
        while server.attempts[-1].ended_seconds is None:
            pass
    server._strict = True
    with pytest.raises(NotStruckError) as raised:
        server.check_struck()
    return str(raised.value)


@pytest.mark.parametrize("cause", CAUSES)
def test_advice_names_the_cause(cause):
    plan, requests, advice = CAUSES[cause]
    said = why(serve(plan, strict=False), requests)

    assert (
        re.search(r"after \d+\.\d{3} s(?: \([^)]*\))?\. ?(.*) \(strict=False allows it\.\)$", said)[1].rstrip()
        == advice
    )


@pytest.mark.parametrize("cause", TLS_CAUSES)
def test_advice_names_the_cause_in_tls(cause):
    plan, advice = TLS_CAUSES[cause]

    assert why(serve(plan, strict=False), [LAST], tls=True).endswith(f" s. {advice} (strict=False allows it.)")


def test_advice_names_the_tunnel_that_was_not_opened():
    said = why(http_proxy(reset(at="tunnel"), strict=False), [FETCH])

    assert said.endswith(
        " No tunnel was opened; a fetch by absolute URL, as of http://, needs none. (strict=False allows it.)"
    )


def test_a_plan_that_came_too_late_is_no_matter_of_bytes():
    with serve(ok(), strict=False) as server:
        with socket.create_connection(server.address, 10) as client:
            ask(client, [LAST])
        server.wait_for_attempts(1, at="end")
        server.become(reset())
    server._strict = True

    with pytest.raises(NotStruckError, match=r" s\. \(strict=False allows it\.\)$"):
        server.check_struck()
