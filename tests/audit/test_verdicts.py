"""Each verdict over plain observations, and what is no reason for it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.tables import each_row

from faultline._audit.calling import raised
from faultline._audit.observed import Observation, Usual, backs_off
from faultline._audit.outcomes import Call, Left
from faultline._audit.verdicts import TABLE, VERDICTS, judged, told
from faultline._core.attempts import Attempt, Request
from faultline._core.promises import ANSWER, BREAK, CERTIFICATE, Strike
from faultline._core.tls_facts import TlsFacts
from faultline._core.turns import Turn
from faultline.modes._catalogue import cases

CASES = {str(case): case for case in cases()}
RETURNED = Call("returned", "3 bytes", digest="ok", attempts=1)
RAISED = Call("raised", "requests.Timeout", cause="TimeoutError", attempts=1)
PART = {"break": BREAK, "answer": ANSWER, "certificate": CERTIFICATE}


def attempt(name, number=1, *, at=0.0, struck="break", point="response", **given):
    """An attempt that met a case."""
    strikes = (Strike(point, 0, at, PART[struck]),) if struck else ()
    fields = {"ended_seconds": at, "ended_by": "server", "ended_how": "RST"} | given
    return Attempt(number, number, CASES[name].fault, point, at, strikes=strikes, **fields)


def request(method):
    """A request of this method."""
    return Request(method, "/", (), b"")


def seen(name, *calls, attempts=(), **given):
    """An observation of a case; the last call has all attempts."""
    last = Call(**{**vars(calls[-1]), "attempts": len(attempts)})
    return Observation(CASES[name], calls=(*calls[:-1], last), attempts=tuple(attempts), **given)


def verdicts(observation, *others):
    """The verdicts, the weightiest first."""
    return [finding.verdict for finding in judged((observation, *others))]


def reason(observation):
    """The reason of the weightiest verdict."""
    return judged((observation,))[0].reason


def test_the_verdicts_stand_in_the_order_of_their_weight():
    assert [verdict for verdict, _ in TABLE] == list(VERDICTS[: len(TABLE)])
    assert VERDICTS[-1] == "handled"


def test_what_raises_is_handled():
    observation = seen("reset()", RAISED, attempts=[attempt("reset()")])

    assert verdicts(observation) == ["handled"]
    assert reason(observation) == "it raised requests.Timeout < TimeoutError in 0.00 s."


def test_what_tries_again_and_raises_is_handled():
    observation = seen("reset()", RAISED, attempts=[attempt("reset()", n, at=0.1 * 2**n) for n in range(3)])

    assert reason(observation) == "it raised requests.Timeout < TimeoutError in 0.00 s, 3 attempts."


def test_a_command_that_says_what_is_wrong_is_handled():
    observation = seen("reset()", Call("raised", "exit status 56"), attempts=[attempt("reset()")])

    assert reason(observation) == "it ended with exit status 56 in 0.00 s."


def test_a_process_that_ends_has_crashed():
    observation = seen("reset()", Call("crashed", "SIGSEGV"))

    assert verdicts(observation) == ["crashed"]
    assert reason(observation) == "the process ended in the call: SIGSEGV."


def test_a_process_that_ends_is_told_with_its_status():
    assert told(Call("crashed", "exit status 0")) == "ended its process (exit status 0)"


NO_CONNECT = "no connect timeout: it was still waiting after 5 s, at 'connect'."
NO_READ = "no read timeout: it was still waiting after 5 s, at {!r}."
BY_ITSELF = "it hangs by itself: it was still waiting after 5 s, and no connection was open."
TRIES = "it tries on and on: it was still waiting after 5 s, with 2 attempts."
ENDED = {"ended_seconds": 1.0, "ended_by": "client", "ended_how": "FIN"}
REFUSED = ENDED | {"ended_by": "server", "ended_how": "RST", "struck": "", "point": "connect"}
OPEN = {"ended_seconds": None, "ended_by": None, "ended_how": None}


@each_row(
    ("name", "attempts", "expected"),
    [
        ("blackhole()", [], NO_CONNECT),
        ("stall()", [{"point": "response"}], NO_READ.format("response")),
        (
            "stall()",
            [{"struck": "", "point": "connect"}],
            NO_CONNECT,
        ),
        (
            "stall()",
            [{"struck": "", "point": "request"}],
            NO_READ.format("request"),
        ),
        ("stall()", [], "it hangs by itself: it was still waiting after 5 s, and no connection was open."),
        ("stall()", [{}] * 10, "it tries on and on: it was still waiting after 5 s, with 10 attempts."),
        ("stall()", [ENDED, {}], TRIES),
        ("partition()", [{}, {}], TRIES),  # the server can't see that the client has given up the first
        ("refuse()", [REFUSED, REFUSED], TRIES),
        ("refuse()", [REFUSED], BY_ITSELF),
        ("unreachable()", [], BY_ITSELF),
        ("close()", [ENDED, ENDED], TRIES),
        ("status(503)", [{"struck": "answer"} | ENDED] * 2, TRIES),
        ("redirect('loop')", [{"struck": "answer"} | ENDED, {"struck": "answer"}], NO_READ.format("response")),
        ("stall(at='idle')", [{"point": "idle"}, {"point": "response", "struck": ""}], NO_READ.format("response")),
    ],
)
def test_a_call_past_its_time_is_hung_at_its_point(name, attempts, expected):
    open_ = [attempt(name, number, **OPEN | given) for number, given in enumerate(attempts)]
    observation = seen(name, Call("hung"), attempts=open_, limit_seconds=5.0)

    assert verdicts(observation)[0] == "hung"
    assert reason(observation) == expected


def test_a_client_that_computes_is_not_told_that_it_has_no_timeout():
    name = "malformed('gzip_bomb')"
    hangs = Call("hung", is_busy=True)
    observation = seen(name, hangs, attempts=[attempt(name, struck="answer", **OPEN)], limit_seconds=5.0)

    assert reason(observation) == "it hangs by itself: it was still computing after 5 s."


def test_a_handshake_is_named_in_tls():
    waits = attempt("stall(at='handshake')", point="handshake", **OPEN)
    observation = seen("stall(at='handshake')", Call("hung"), attempts=[waits], limit_seconds=5.0, tls=True)

    assert reason(observation).startswith("no read timeout in the TLS handshake: ")


def in_tls(name, **given):
    """An attempt in TLS whose handshake came to its end."""
    return attempt(name, struck="certificate", point="handshake", tls=TlsFacts("TLSv1.3"), **given)


def test_data_for_a_server_with_a_bad_certificate_accepts_it():
    name = "bad_cert('expired')"
    observation = seen(name, RETURNED, attempts=[in_tls(name, received_bytes=40)], tls=True)

    assert verdicts(observation) == ["accepted a bad certificate"]
    assert reason(observation) == "it sent 40 bytes to a server with a bad certificate (expired)."


@pytest.mark.parametrize(
    ("name", "received"),
    [("bad_cert('expired')", 0), ("bad_cert('no_subject')", 40), ("bad_tls('plain_http')", 40)],
)
def test_no_data_or_a_certificate_that_clients_accept_is_no_reason(name, received):
    assert verdicts(seen(name, RAISED, attempts=[in_tls(name, received_bytes=received)], tls=True)) == ["handled"]


@pytest.mark.parametrize(("tls", "expected"), [(True, "fell back to plain text"), (False, "handled")])
def test_a_request_without_tls_falls_back(tls, expected):
    name = "bad_tls('alert')"
    plain = attempt(name, 2, struck="", note="the client did not speak TLS: http request")

    assert verdicts(seen(name, RAISED, attempts=[attempt(name), plain], tls=tls)) == [expected]


@pytest.mark.parametrize(
    ("name", "values", "usual", "connection", "expected"),
    [
        ("malformed('unsolicited_response')", "ab", "aa", 1, "poisoned"),
        ("malformed('unsolicited_response')", "aa", "aa", 1, "handled"),
        ("malformed('unsolicited_response')", "ab", "ab", 1, "handled"),
        ("malformed('unsolicited_response')", "ab", "aa", 2, "handled"),
        ("latency(0.01)", "ab", "aa", 1, "handled"),
    ],
)
def test_another_value_on_the_same_connection_is_poisoned(name, values, usual, connection, expected):
    calls = [Call("returned", "3 bytes", digest=digest, attempts=1) for digest in values]
    attempts = [attempt(name, struck="answer"), replace(attempt(name, 2, struck="answer"), connection=connection)]
    observation = seen(name, *calls, attempts=attempts, usual=Usual(digests=tuple(usual)))

    assert verdicts(observation) == [expected]


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("reset(after_bytes=10)", {}, "swallowed"),
        ("close(after_bytes=10)", {"is_whole": False}, "swallowed"),
        ("close(after_bytes=10)", {"is_whole": True}, "handled"),
        ("close(after_bytes=10)", {"protocol": "tcp", "usual": Usual(sent_bytes=100)}, "swallowed"),
        ("close(after_bytes=10)", {"protocol": "tcp", "usual": Usual(sent_bytes=10)}, "handled"),
        ("close(after_bytes=10)", {"usual": Usual(sent_bytes=100)}, "handled"),
        ("stall(for_seconds=0.05)", {}, "handled"),
    ],
)
def test_a_value_of_a_cut_response_is_swallowed(name, given, expected):
    assert verdicts(seen(name, RETURNED, attempts=[attempt(name, sent_bytes=10)], **given)) == [expected]


def test_the_bytes_that_came_are_the_reason():
    name = "reset(after_bytes=10)"
    short = seen(name, RETURNED, attempts=[attempt(name, sent_bytes=10)], usual=Usual(sent_bytes=100))
    cut = "malformed('chunk_cut')"
    answer = seen(cut, RETURNED, attempts=[attempt(cut, struck="answer")], is_whole=False)

    assert reason(short) == "it returned 3 bytes although only 10 of 100 bytes came."
    assert reason(answer) == "it returned 3 bytes although only 0 bytes came."


def test_a_fault_that_never_struck_or_struck_at_idle_cuts_nothing():
    never = attempt("reset(at='idle')", struck="")
    later = attempt("reset(at='idle')", point="idle")

    assert verdicts(seen("reset(at='idle')", RETURNED, attempts=[never])) == ["handled"]
    assert verdicts(seen("reset(at='idle')", RETURNED, attempts=[later])) == ["handled"]


def posts(count, method="POST", **given):
    """Attempts with requests of this method."""
    return [attempt("reset()", n, at=n, request=request(method), received_bytes=90, **given) for n in range(count)]


def test_an_order_that_was_sent_again_was_retried():
    observation = seen("reset()", RAISED, attempts=posts(2))

    assert verdicts(observation) == ["retried a POST"]
    assert reason(observation) == "it sent a POST again after the server had read 90 bytes, which was all of it."


def test_an_order_that_was_cut_counts_by_its_first_line():
    turn = Turn("client", 0.0, 10, b"POST /a HT")
    cut = [attempt("reset()", n, turns=(turn,), received_bytes=10) for n in range(2)]

    assert reason(seen("reset()", RAISED, attempts=cut)) == "it sent a POST again after the server had read 10 bytes."


@pytest.mark.parametrize(
    "attempts",
    [
        posts(1),
        posts(2, "GET"),
        posts(2, struck=""),
        [attempt("reset()", n, turns=(Turn("client", 0.0, 4, b"\0\1POST"),), received_bytes=4) for n in range(2)],
        [attempt("reset()", n) for n in range(2)],
    ],
)
def test_what_may_be_sent_again_is_handled(attempts):
    assert verdicts(seen("reset()", RAISED, attempts=attempts)) == ["handled"]


@pytest.mark.parametrize(
    ("name", "after", "expected"),
    [
        ("status(429, retry_after=1)", 0.2, "ignored Retry-After"),
        ("status(429, retry_after=1)", 1.01, "handled"),
        ("status(503)", 0.2, "handled"),
    ],
)
def test_an_attempt_before_its_time_ignores_retry_after(name, after, expected):
    attempts = [attempt(name, n, at=n * after, struck="answer") for n in range(2)]

    assert verdicts(seen(name, RAISED, attempts=attempts)) == [expected]


@pytest.mark.parametrize(
    ("name", "count", "every", "growth", "expected"),
    [
        ("reset()", 40, 0.01, 0, "hammered"),
        ("reset()", 40, 0.9, 0, "hammered"),
        ("reset()", 40, 2.0, 0, "handled"),
        ("reset()", 9, 0.01, 0, "handled"),
        ("reset()", 10, 0.01, 1, "handled"),
        ("redirect('loop')", 40, 0.01, 0, "handled"),
    ],
)
def test_many_attempts_that_do_not_slow_down_hammer(name, count, every, growth, expected):
    attempts = [attempt(name, n, at=every * (n + growth * n * n), struck="answer") for n in range(count)]

    assert verdicts(seen(name, RAISED, attempts=attempts)) == [expected]


def test_a_client_that_slows_down_backs_off():
    assert backs_off([1, 2])
    assert not backs_off([1, 1])
    assert not backs_off([])


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        (Left(sockets=2, close_wait=1), "it left behind 1 socket (1 in CLOSE_WAIT) more than usual."),
        (Left(sockets=1, files=1, threads=2), "it left behind 1 file descriptor, 2 threads more than usual."),
        (Left(sockets=1, tasks=1, children=1), "it left behind 1 task, 1 program more than usual."),
    ],
)
def test_more_than_usual_is_leaked(left, expected):
    call = Call(**{**vars(RAISED), "left": left})
    observation = seen("reset()", call, usual=Usual(left=(Left(sockets=1),)))

    assert verdicts(observation) == ["leaked"]
    assert reason(observation) == expected


def test_a_socket_that_is_kept_in_another_state_is_not_leaked():
    call = Call(**{**vars(RAISED), "left": Left(sockets=1, close_wait=1)})

    assert verdicts(seen("reset()", call, usual=Usual(left=(Left(sockets=1),)))) == ["handled"]


@pytest.mark.parametrize(("second", "expected"), [(2, "leaked"), (1, "handled")])
def test_where_nothing_breaks_the_second_call_leaves_no_more_than_the_first(second, expected):
    calls = [Call(**{**vars(RETURNED), "left": Left(sockets=count)}) for count in (1, second)]

    assert verdicts(seen("ok()", *calls, usual=Usual(left=tuple(call.left for call in calls)))) == [expected]


def test_what_is_not_expected_is_said():
    call = Call(**{**vars(RAISED), "is_expected": False})

    assert reason(seen("reset()", call)) == "it raised requests.Timeout, which is not what --expect names."


def test_two_runs_that_differ_are_inconsistent():
    one, other = seen("reset()", RAISED), seen("reset()", RETURNED)

    assert verdicts(one, one) == ["handled"]
    assert verdicts(one, other) == ["inconsistent"]
    assert judged((one, other))[0].reason == (
        "two runs differ: raised requests.Timeout < TimeoutError and returned 3 bytes."
    )


def test_a_case_can_have_several_verdicts():
    calls = Call(**{**vars(RETURNED), "left": Left(sockets=1)})
    attempts = [attempt("reset()", n, at=n / 100) for n in range(10)]

    assert verdicts(seen("reset()", calls, attempts=attempts)) == ["swallowed", "hammered", "leaked"]


def test_a_client_that_ends_its_process_has_crashed():
    assert raised(SystemExit(3), ()).outcome == "crashed"
