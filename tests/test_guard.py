"""The guard: which planned faults proved nothing, and what is said about them."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from support.tables import each_row

from faultline import (
    Gate,
    NotStruckError,
    bad_cert,
    bad_tls,
    blackhole,
    close,
    corrupt,
    cycle,
    drip,
    echo,
    http_proxy,
    latency,
    loss,
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
    status,
    unreachable,
    when,
)
from faultline._core.attempts import Attempt
from faultline._core.dealer import Dealer
from faultline._core.guard import unmet
from faultline._core.plan import branches_of, stamped
from faultline._core.promises import BREAK, CERTIFICATE, TERMS, Key, Strike, promises_of
from faultline._core.report import describe
from faultline._core.sight import Sight
from faultline.modes._catalogue import cases

PATIENCE_SECONDS = 10.0
UNASKED = "no client connected to 127.0.0.1:8080"


def attempt(fault, *, struck=True, number=1, received=10):
    """An attempt that met this fault of a plan; either all of its promises struck, or none."""
    point = fault.break_.at if fault.break_ else "response"
    strikes = [Strike(point, 0, 0.5, promise.key, fault.origin) for promise in promises_of(fault)] if struck else []
    return Attempt(number, 1, fault, "response", 0.0, received_bytes=received, strikes=tuple(strikes))


def attempts(plan, count, **how):
    """The first attempts under a plan."""
    dealer = Dealer(plan)
    return [attempt(dealer.deal(), number=number, **how) for number in range(1, count + 1)]


def judged(plan, made=0, **how):
    """What the guard says of a plan after this number of attempts: why it fails, or nothing."""
    plan = stamped(plan, 0)
    return [each.why for each in unmet(plan, attempts(plan, made, **how), UNASKED) if each.fails]


@each_row("plan", [ok(), echo(), latency(0), sequence(ok(b"x"), ok()), script(send(b"220"))])
def test_what_breaks_nothing_promises_nothing(plan):
    assert judged(plan) == []


@each_row("plan", [reset(), bad_cert("expired"), ok(b"x") & close(), latency(0.1) & stall(), refuse(), latency(0.1)])
def test_fault_that_struck_is_met(plan):
    assert judged(plan, 1) == []


@each_row(
    ("plan", "fault"),
    [
        (reset(), reset()),
        (bad_cert("expired"), bad_cert("expired")),
        (sequence(ok(), close()), close()),
        (cycle(stall(at="idle")), stall(at="idle")),
        (blackhole(), blackhole()),
        (latency(0.1), latency(0.1)),
        (sometimes(0.5, reset()), reset()),
        (latency(0.1) & reset(after_bytes=5), latency(0.1) & reset(after_bytes=5)),
    ],
)
def test_fault_that_no_client_met_is_named(plan, fault):
    assert judged(plan)[0] == f"{fault!r} never struck: {UNASKED}."


def test_each_part_of_a_fault_is_a_promise_of_its_own():
    plan = stamped(latency(0.1) & reset(after_bytes=9), 0)
    (seen,) = attempts(plan, 1, struck=False)
    late = replace(seen, strikes=(Strike("response", 0, 0.1, Key("condition"), seen.fault.origin),))
    over = replace(seen, strikes=(Strike("response", 9, 0.1, BREAK, seen.fault.origin),))

    assert [each.why.partition(" never")[0] for each in unmet(plan, [seen], UNASKED)] == [
        f"the break at 'response' of {plan!r}",
        f"the latency of {plan!r}",
    ]
    assert [each.why.partition(" never")[0] for each in unmet(plan, [late], UNASKED)] == [
        f"the break at 'response' of {plan!r}"
    ]
    assert [each.fails for each in unmet(plan, [over], UNASKED)] == [False]  # the conversation is over


@each_row("part", [CERTIFICATE, TERMS])
@each_row(("point", "fails"), [("handshake", False), ("response", True)])
def test_part_behind_a_handshake_that_failed_is_no_failure(part, point, fails):
    plan = stamped(latency(0.1) & (bad_cert("expired") if part == CERTIFICATE else bad_tls("no_shared_cipher")), 0)
    (seen,) = attempts(plan, 1, struck=False)
    rejected = replace(seen, point=point, strikes=(Strike("handshake", 0, 0.1, part, seen.fault.origin),))

    assert [each.fails for each in unmet(plan, [rejected], UNASKED)] == [fails]


def test_what_chance_left_out_is_told_so():
    plan = stamped(sometimes(0, reset(), seed=1), 0)
    (left_out,) = unmet(plan, attempts(plan, 1), UNASKED)
    changed = stamped(corrupt(probability=0.1), 0)
    seen = [replace(each, sent_bytes=9) for each in attempts(changed, 1, struck=False)]

    assert left_out.why.endswith(" Chance did not deal it.")
    assert unmet(changed, seen, UNASKED)[0].why.endswith(" Chance changed nothing.")


def test_fault_that_was_met_and_did_not_strike_is_explained_by_what_happened():
    plan = stamped(reset(after_bytes=9), 0)
    (seen,) = attempts(plan, 1, struck=False)

    assert judged(plan, 1, struck=False) == [
        f"reset(after_bytes=9) never struck: {describe(seen)}. Strike after fewer bytes, or serve a longer answer."
    ]


def test_fault_of_which_the_attempts_show_no_reason_gets_no_advice():
    (seen,) = attempts(stamped(reset(), 0), 1, struck=False)

    assert judged(reset(), 1, struck=False) == [f"reset() never struck: {describe(seen)}."]


def test_strike_of_another_entry_does_not_count():
    plan = stamped(sequence(reset(), reset(), ok()), 0)
    first, second, _ = attempts(plan, 3)

    assert unmet(plan, [first, second], UNASKED) == ()
    assert len(unmet(plan, [first], UNASKED)) == len(unmet(plan, [second], UNASKED)) == 1


def test_strike_of_another_plan_does_not_count():
    before = attempts(stamped(reset(), 0), 1)

    assert len(unmet(stamped(reset(), 1), before, UNASKED)) == 1


def test_fault_may_strike_more_often_than_planned():
    assert judged(reset(), 3) == []


@each_row("plan", [sometimes(0, reset(), seed=1), sequence(sometimes(0, reset()), ok()), loss(0.5)])
def test_what_chance_decides_has_to_have_its_chance_and_need_not_strike(plan):
    plan = stamped(plan, 0)
    silent = [replace(each, received_bytes=0) for each in attempts(plan, 1, struck=False)]

    assert judged(plan, 1, struck=False) == []
    assert [each.fails for each in unmet(plan, attempts(plan, 1, struck=False), UNASKED)] == [False]
    assert [each.fails for each in unmet(plan, silent, UNASKED)] == [True]


def test_promise_that_may_have_struck_unseen_is_no_failure():
    plan = stamped(sequence(refuse(), ok()), 0)

    assert [each.fails for each in unmet(plan, [], UNASKED, lambda _: True)] == [False]
    assert [each.fails for each in unmet(plan, [], UNASKED)] == [True]


def test_client_that_came_when_a_refusal_was_over_is_told():
    plan = stamped(sequence(refuse(for_seconds=0.2), ok()), 0)
    (missing,) = unmet(plan, [attempt(plan.entries[1])], UNASKED)

    assert missing.why.endswith(" No client connected while its 0.2 s lasted.")


def test_choice_by_the_request_has_to_strike_whatever_it_chooses_between():
    plan = stamped(latency(0.1) & when(bool, reset(after_bytes=3), otherwise=close(after_bytes=3)), 0)
    first, second = branches_of(plan)

    assert unmet(plan, [attempt(first), attempt(second)], UNASKED) == ()
    assert [each.why.partition(" never")[0] for each in unmet(plan, [attempt(first)], UNASKED)] == [
        f"the break at 'response' of {second!r}"
    ]
    assert len(unmet(plan, [], UNASKED)) == 3


def test_choice_of_something_healthy_has_nothing_to_strike():
    assert judged(when(bool, ok(b"x"))) == []


def test_first_five_attempts_are_told_and_the_others_counted():
    plan = stamped(sequence(*[ok()] * 9, reset()), 0)
    seen = attempts(plan, 8)
    (said,) = judged(plan, 8)

    assert said.count("#") == 5
    assert f"{describe(seen[4])}; and 3 more." in said


def test_five_attempts_are_all_told():
    assert "more" not in judged(sequence(*[ok()] * 9, reset()), 5)[0].partition("The client")[0]


# --- advice by cause -------------------------------------------------------------------------------------------------

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
HEAD = GET.replace(b"GET", b"HEAD")
LAST = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
POST = b"POST /x HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n1"
FETCH = b"GET http://127.0.0.1:9/ HTTP/1.1\r\nHost: 127.0.0.1:9\r\n\r\n"
GREETED = script(send(b"220 hi\r\n"), receive_until(b"QUIT"), reset())
LINES = script(repeat(receive_until(b"\n"), send(b"ok\n")))
THREE_LINES = script(*(receive_until(b"\n"), send(b"ok\n")) * 3)
LEFT_THE_SCRIPT = "The client left first, while the script waited for the client."
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
        (
            "b'QUIT' never came from the client; at='response' looks in the bytes of the server. "
            "In bytes that are encrypted or compressed it can't be found."
        ),
    ),
    "words that the server never said": (
        reset(at="response", on=re.compile(rb"Q+")),
        [LAST],
        (
            "b'Q+' never came from the server; at='request' looks in the bytes of the client. "
            "In bytes that are encrypted or compressed it can't be found."
        ),
    ),
    "a message that is too short": (
        THREE_LINES & reset(at="request", after_messages=0, after_bytes=5),
        [b"1\n", b"2\n", b"3\n"],
        "Message 1 had fewer than after_bytes=5: strike after fewer bytes.",
    ),
    "too few messages": (
        THREE_LINES & reset(after_messages=2),
        [b"1\n2\n3\n"],
        "Strike after fewer messages: 1 message passed.",
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
    "no request": (
        when(lambda r: r.target == "/pay", reset()),
        [b""],
        "No HTTP request was complete, so when(…) had nothing to choose by.",
    ),
    "silence": (
        reset(),
        [b""],
        "The client said nothing: if it waits for the server to speak first, use at='accept' or a script.",
    ),
    "half a request": (reset(), [LAST[:10]], "The client left first."),
    "a script that was left": (GREETED, [b"EHLO"], LEFT_THE_SCRIPT),
    "a script that was not heard": (GREETED, [b""], LEFT_THE_SCRIPT),
    "a timer that did not begin": (
        reset(after_seconds=60),
        [LAST[:10]],
        "The time of after_seconds=60 begins at 'response': use at='accept', where it begins at once.",
    ),
    "a timer of silence that did not begin": (
        reset(at="idle", after_seconds=60),
        [LAST[:10]],
        "The time of after_seconds=60 begins at 'idle'.",
    ),
    "a timer that was left": (
        reset(at="accept", after_seconds=60),
        [b""],
        "The client left first, before after_seconds=60 had passed.",
    ),
    "an idle timer that was left": (
        reset(at="idle", after_seconds=60),
        [GET],
        (
            "The client closed the connection after the response: use at='response', "
            "or a client that keeps connections open for 60 s, such as a pool."
        ),
    ),
    "an idle timer and another request": (
        sequence(reset(at="idle", after_seconds=60), ok()),
        [GET, LAST],
        "The next request came first.",
    ),
    "no idle connection": (
        close(at="idle"),
        [LAST],
        (
            "The request had Connection: close: use at='response', "
            "or a client that keeps connections open, such as a pool."
        ),
    ),
    "no HEAD": (malformed("head_with_body"), [LAST], "The client sent no HEAD request."),
    "HEAD": (malformed("chunk_cut"), [HEAD], "The response to HEAD has no body, only a head of 92 bytes: use GET."),
    "no expectation": (malformed("continue_never"), [LAST], "The client did not wait for 100 Continue."),
    "no TLS at all": (
        bad_cert("expired"),
        [LAST],
        "The server speaks TLS, and the client did not: use server.url, which begins with https.",
    ),
    "a byte that never came": (
        corrupt(at_byte=100_000),
        [LAST],
        "It begins at byte 100000, and the response had only 86 bytes.",
    ),
    "bytes that were too few to be cut": (
        drip(1000),
        [LAST],
        "The 86 bytes of the response came in one piece.",
    ),
    "no byte to be late": (latency(0.1), [LAST[:10]], "No byte of the response passed."),
}
TLS_CAUSES = {
    "terms that the client meets": (bad_tls("only_version", version="1.2"), "The client accepted these terms of TLS."),
    "the first connection": (bad_cert("pinned_changed"), "It strikes from connection 2 on; this was connection 1."),
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
        deadline = time.monotonic() + PATIENCE_SECONDS
        while server.attempts[-1].ended_seconds is None:
            assert time.monotonic() < deadline
    server._strict = True
    with pytest.raises(NotStruckError) as raised:
        server.check_struck()
    return str(raised.value)


@each_row("cause", CAUSES)
def test_advice_names_the_cause(cause):
    plan, requests, advice = CAUSES[cause]
    said = why(serve(plan, strict=False), requests)

    assert (
        re.search(r"after \d+\.\d{3} s(?: \([^)]*\))?\. ?(.*) \(strict=False allows it\.\)$", said)[1].rstrip()
        == advice
    )


SEEN_FIRST = ("bad_cert('many_sans')", "bad_cert('weak_key')")  # before OpenSSL looks for the issuer
UNTRUSTED = [
    case
    for case in cases()
    if case.mode == "bad_cert" and not case.fault.certificate.is_untrusted and str(case) not in SEEN_FIRST
]


@pytest.mark.slow
@each_row("case", UNTRUSTED)
def test_certificate_that_a_client_without_the_ca_rejects_has_not_struck(case):
    with serve(case.fault, strict=False) as server:
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_socket(socket.socket(), server_hostname=server.host)
        with client, contextlib.suppress(ssl.SSLError, OSError):
            client.connect(server.address)
        server.wait_for_attempts(1, at="end")
    server._strict = True

    with pytest.raises(NotStruckError, match=r"The client does not trust server\.ca_file|from connection 2"):
        server.check_struck()


@pytest.mark.slow
def test_certificate_of_an_unknown_issuer_strikes_a_client_without_the_ca():
    for kind in ("self_signed", "untrusted_root"):
        with serve(bad_cert(kind)) as server:
            client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_socket(socket.socket(), server_hostname=server.host)
            with client, pytest.raises(ssl.SSLCertVerificationError):
                client.connect(server.address)


def test_connects_that_cannot_be_counted_are_named():
    server = serve(sequence(refuse(), ok()), strict=False)
    with server:
        pass
    server._process = SimpleNamespace(sight=Sight(counts_all=False), settle=bool)

    where = f"no client connected to {server.hostport}"
    why = "connects of clients in C and of other processes can't be counted here: use strict=False for them"
    assert server._no_attempt_here == f"{where}; {why}"


def test_connects_that_can_all_be_counted_need_no_word():
    server, nowhere = serve(refuse(), strict=False), serve(unreachable(), strict=False)
    for each in (server, nowhere):
        each.close()
        each._process = SimpleNamespace(sight=Sight(), settle=bool)

    assert server._no_attempt_here == f"no client connected to {server.hostport}"
    assert nowhere._no_attempt_here.endswith("use strict=False for them")


@pytest.mark.parametrize("cause", TLS_CAUSES)
def test_advice_names_the_cause_in_tls(cause):
    plan, advice = TLS_CAUSES[cause]

    assert why(serve(plan, strict=False), [LAST], tls=True).endswith(f" s. {advice} (strict=False allows it.)")


def test_advice_names_the_tunnel_that_was_not_opened():
    said = why(http_proxy(reset(at="tunnel"), strict=False), [FETCH])

    assert said.endswith(
        " No tunnel was opened, as http:// needs none: ask for an https:// URL. (strict=False allows it.)"
    )


def test_a_plan_that_came_too_late_is_no_matter_of_bytes():
    with serve(ok(), strict=False) as server:
        with socket.create_connection(server.address, 10) as client:
            ask(client, [LAST])
        server.wait_for_attempts(1, at="end")
        server.become(reset())
    server._strict = True

    with pytest.raises(
        NotStruckError, match=r" s\. No attempt met this plan since become\(…\): 1 met the plan before it\."
    ):
        server.check_struck()


def test_end_by_a_later_plan_excuses_no_part_of_the_plan_before():
    gate = Gate()
    server = serve(stall(at="request", after_bytes=3, until=gate) & status(503))
    with contextlib.closing(server), socket.create_connection(server.address, 10) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        server.wait_for_attempts(1, at="strike")
        server.become(reset(), open_too=True)
        gate.open()
        with pytest.raises(ConnectionResetError):
            client.recv(1)

    with pytest.raises(NotStruckError, match=r"^the answer of .*status\(503\) never struck"):
        server.check_struck()
