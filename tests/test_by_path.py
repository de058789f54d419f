"""Plans by the path of a request: which plan a request meets, what that plan counts, and what the guard says of it."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket

import pytest
from support import is_quiet
from support.tables import each_row

import faultline as package
from faultline import (
    ConflictError,
    Gate,
    NotStruckError,
    ParameterError,
    bad_cert,
    by_path,
    close,
    cycle,
    latency,
    max_connections,
    ok,
    refuse,
    reset,
    script,
    send,
    sequence,
    sometimes,
    stall,
    status,
    throttle,
    when,
)
from faultline._core.paths import NOT_FOUND
from faultline._core.plan import alternatives, branches_of, entries_of, fault_of, faults_of, stamped

A, B, C = ok(b"a"), ok(b"b"), ok(b"c")


def asked(client, target, *, method="GET", body=None):
    """The status and the body of one request on a connection."""
    client.request(method, target, body)
    response = client.getresponse()
    return response.status, response.read()


@pytest.fixture
def ask(faultline):
    """A function that asks a server on one kept connection: the status of each target, or the type of the error."""

    def each(server, *targets):
        met = []
        with contextlib.closing(http.client.HTTPConnection(*server.address, timeout=10)) as client:
            for target in targets:
                try:
                    met.append(asked(client, target)[1] or None)
                except (OSError, http.client.HTTPException) as error:
                    met.append(type(error))
        return met

    return each


# --- patterns --------------------------------------------------------------------------------------------------------


@each_row(
    ("patterns", "target", "found"),
    [
        (["/pay"], "/pay", "/pay"),
        (["/pay"], "/pay?x=1", "/pay"),
        (["/pay"], "/pay/", None),
        (["/pay"], "/", None),
        (["/*", "/pay"], "/pay", "/pay"),
        (["/*"], "/", "/*"),
        (["/users/*"], "/users/1/orders", "/users/*"),
        (["/users/*", "/users/*/orders"], "/users/1/orders", "/users/*/orders"),
        (["/a*c", "/ab*"], "/abc", "/a*c"),  # of the same length, so that the first decides
        (["/ab*", "/a*c"], "/abc", "/ab*"),
        (["/items", "/items?page=2"], "/items?page=2", "/items?page=2"),
        (["/items", "/items?page=2"], "/items?page=3", "/items"),
        (["/items?*page=2"], "/items?size=9&page=2", "/items?*page=2"),
        (["/a b"], "/a%20b", "/a b"),
        (["/a%20b"], "/a%20b", "/a%20b"),
        (["/2%2A3"], "/2*3", "/2%2A3"),
        (["/2%2A3"], "/2x3", None),
        (["/a%3Fb", "/*"], "/a%3fb?c", "/a%3Fb"),  # a `?` that begins no query string
        (["/a%3Fb"], "/a?b", None),
        (["/*%3Fb?c=%3F*"], "/a%3Fb?c=?d", "/*%3Fb?c=%3F*"),
        (["/a.b"], "/axb", None),
        (["/x"], "http://localhost:80/x?y", "/x"),
        (["/"], "http://localhost", "/"),
        (["*:443"], "example.com:443", "*:443"),
        (["*"], "*", "*"),
    ],
)
def test_an_exact_pattern_goes_first_and_then_the_longest(patterns, target, found):
    chosen = by_path(dict.fromkeys(patterns, ok())).choice.index(package.Request("GET", target))

    assert [*patterns, None][chosen] == found


@each_row(
    ("plans", "complaint"),
    [
        ({}, "plans={}: expected a dict of paths with their plans, such as {'/pay': status(503), '/*': ok()}."),
        ([reset()], "plans=[reset()]: expected a dict of paths"),
        ({"pay": ok()}, "plans='pay': expected paths as text that begin with '/' or '*'; write '/pay'."),
        ({1: ok()}, "plans=1: expected paths as text"),
        ({"/a b": ok(), "/a%20b": ok()}, "plans='/a%20b': expected each path once; '/a b' is the same."),
        ({"/a%3Fb": ok(), "/a%3fb": ok()}, "plans='/a%3fb': expected each path once; '/a%3Fb' is the same."),
        (
            {"/a": 503},
            "or a plan such as sequence(…); write status(503).",
        ),
        ({"/a": max_connections(1, beyond=refuse())}, "write max_connections(1, by_path(…), beyond=refuse())."),
        ({"/a": sequence(ok(), per="connection")}, "expected per='attempt', because a path counts its requests."),
        (
            {"/a": refuse()},
            "plans['/a']=refuse(): expected a fault at 'request' or later, because the path is known only then.",
        ),
        ({"/a": sequence(ok(), bad_cert("expired"))}, "plans['/a']=bad_cert('expired'): expected a fault at 'request'"),
        ({"/a": script(send(b"x"))}, "expected a fault at 'request' or later, because the path is known only then."),
        ({"/a": latency(1, direction="handshake")}, "expected a fault at 'request' or later"),
        (
            {"/a": reset(after_requests=2)},
            "expected no after_requests, as each path counts its own requests; write sequence(ok(), …).",
        ),
    ],
)
def test_what_no_path_can_choose_is_refused(plans, complaint):
    with pytest.raises(ParameterError) as caught:
        by_path(plans)
    assert complaint in str(caught.value)


def test_a_condition_that_a_chosen_break_never_reaches_is_refused_at_once():
    with pytest.raises(ConflictError, match="the conversation ends at 'request' and never reaches 'response'"):
        latency(1) & by_path({"/a": reset(at="request")})


def test_plan_is_written_in_full_and_names_all_of_its_faults():
    plan = by_path({"/pay": sequence(status(503), ok(b"paid " * 5)), "/*": sometimes(0.5, reset())})

    assert repr(plan) == (
        "by_path({'/pay': sequence(status(503), ok(b'paid paid paid paid paid ')), "
        "'/*': sometimes(0.5, reset(), otherwise=ok())})"
    )
    assert faults_of(plan) == (plan, status(503), ok(b"paid " * 5), reset(), ok(), NOT_FOUND)
    assert status(404) == NOT_FOUND


def test_each_fault_that_a_path_can_lead_to_has_its_place_in_the_plan():
    inner = by_path({"/a": sequence(A, B), "/*": when(bool, sometimes(0.5, C).fault, otherwise=reset())})
    plan = stamped(sequence(ok(), sometimes(0.5, latency(1) & inner)), 0)
    leaves = [leaf for entry in entries_of(plan) for each in alternatives(entry) for leaf in branches_of(each)]

    assert [fault_of(plan, leaf.origin) for leaf in leaves] == leaves
    assert len({leaf.origin for leaf in leaves}) == len(leaves) == 7


# --- what clients meet -----------------------------------------------------------------------------------------------


def test_each_path_counts_its_own_requests(faultline, ask):
    server = faultline.serve(by_path({"/a": sequence(A, B), "/x/*": cycle(B, C), "/*": C}))

    assert ask(server, "/a", "/x/1", "/a?q", "/x/2", "/other", "/a", "/x/3") == [
        b"a",
        b"b",
        b"b",
        b"c",
        b"c",
        b"b",
        b"b",
    ]
    assert [a.fault for a in server.attempts] == [A, B, B, C, C, B, B]
    assert {a.connection for a in server.attempts} == {1}


@pytest.mark.parametrize("isolated", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_path_that_no_pattern_matches_is_not_found_and_noted(faultline, ask, isolated):
    server = faultline.serve(by_path({"/a": A}), isolated=isolated)

    assert ask(server, "/b", "/a") == [b"404 Not Found\n", b"a"]
    assert [(a.fault, a.note) for a in server.attempts] == [
        (status(404), "no pattern of by_path(…) matches '/b'"),
        (A, ""),
    ]


def test_path_is_chosen_within_other_plans_and_chooses_others(faultline, ask):
    inner = by_path({"/a?*": B, "/*": when(lambda request: request.method == "GET", C)})
    plan = sequence(refuse(), by_path({"/a": sequence(A, inner), "/*": sometimes(1, reset())}))
    server = faultline.serve(max_connections(5, plan, beyond=status(429)), strict=False)

    assert ask(server, "/a") == [ConnectionRefusedError]
    assert ask(server, "/a", "/a?1", "/a", "/b") == [b"a", b"b", b"c", ConnectionResetError]
    assert [a.fault for a in server.attempts] == [refuse(), A, B, C, reset()]


def test_per_connection_the_first_request_decides(faultline, ask):
    server = faultline.serve(sequence(by_path({"/a": A, "/b": B}), C, per="connection"))

    assert [ask(server, "/a", "/b"), ask(server, "/a")] == [[b"a", b"a"], [b"c"]]


POST = b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n"


@pytest.mark.slow
@pytest.mark.measured
@each_row(
    ("fault", "pieces", "after_bytes"),
    [
        (reset(at="request"), [POST + b"\r\n"], len(POST) + 2),
        (reset(at="request", after_bytes=9), [POST[:5], POST[5:] + b"\r\n"], len(POST) + 2),
        (reset(at="request", after_bytes=len(POST) + 9), [POST, b"\r\n", b"12345678"], len(POST) + 9),
        (reset(at="request", after_body_bytes=7), [POST[:9], POST[9:] + b"\r\n1234", b"567"], len(POST) + 9),
        (reset(on=b"stop"), [POST, b"\r\nst", b"op"], len(POST) + 6),
        (reset(on=b"POST"), [POST[:9], POST[9:] + b"\r\n"], len(POST) + 2),
    ],
)
def test_break_of_the_request_strikes_before_its_body_is_read(fault, pieces, after_bytes):
    with package.serve(by_path({"/up": fault, "/*": ok()})) as server:
        with socket.create_connection(server.address, 10) as client:
            for piece in pieces[:-1]:
                client.sendall(piece)
                assert is_quiet(client)
            client.sendall(pieces[-1])
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        (attempt,) = server.attempts

    assert (attempt.fault, attempt.struck.point) == (fault, "request")
    assert attempt.struck.after_bytes == attempt.received_bytes
    assert attempt.received_bytes == after_bytes


@each_row("answer", [status(417), status(503)])
def test_refusal_by_the_path_comes_instead_of_100_continue(answer):
    ask_first = b"POST %b HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    with package.serve(by_path({"/up": answer, "/*": ok()})) as server:
        firsts = []
        for path in (b"/up", b"/else"):
            with socket.create_connection(server.address, 10) as client:
                client.sendall(ask_first % path)
                firsts.append(client.recv(100)[9:12])
                client.sendall(b"ab")

    assert firsts == [str(answer.http_answer.status).encode(), b"100"]


def test_conditions_of_a_path_act_on_its_own_bytes(faultline, ask):
    slow = latency(0.05) & throttle(1_000_000)
    server = faultline.serve(latency(0) & by_path({"/slow": slow & A, "/*": B}))

    assert ask(server, "/fast", "/slow", "/fast") == [b"b", b"a", b"b"]
    first, second, third = server.attempts
    assert [bool(a.strikes) for a in (first, second, third)] == [False, True, False]
    assert second.ended_seconds - second.started_seconds >= 0.05


def test_plan_that_open_connections_get_too_is_chosen_by_the_request_they_have_made(faultline):
    gate = Gate()
    server = faultline.serve(stall(at="response", until=gate))
    with socket.create_connection(server.address, 10) as client:
        client.sendall(b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n")
        server.wait_for_attempts(1, at="strike")
        server.become(by_path({"/a": A, "/b": B}), open_too=True)
        gate.open()

        assert client.recv(1000).endswith(b"b")
    assert server.attempts[0].fault == B


# --- the guard -------------------------------------------------------------------------------------------------------


@each_row(
    ("plan", "targets", "complaints"),
    [
        (by_path({"/a": reset(), "/*": ok()}), ["/a"], []),
        (
            by_path({"/a": reset(), "/*": ok()}),
            ["/b"],
            ["reset() at '/a' never struck", "No request went to '/a'; there was GET /b."],
        ),
        (by_path({"/a": sequence(ok(), reset())}), ["/a"], ["The client made 1 request to '/a', whose plan has 2."]),
        (by_path({"/a": sequence(reset(), reset())}), ["/a"], ["reset() at '/a' never struck"]),
        (by_path({"/a": ok()}), ["/b"], []),
        (
            by_path({"/a": status(503)}),
            [],
            ["status(503) at '/a'", "No HTTP request was complete, so by_path("],
        ),
        (by_path({"/a": sometimes(0, reset())}), ["/a"], []),
        (sometimes(1, by_path({"/a": reset()})), ["/a"], []),
        (
            sequence(ok(), by_path({"/a": reset()})),
            ["/a", "/b"],
            ["No request went to '/a'; there was GET /b."],
        ),
        (
            latency(0.001) & by_path({"/a": reset(at="idle"), "/*": ok()}),
            ["/b"],
            ["the break at 'idle' of latency(0.001) & reset"],
        ),
        (latency(0.001) & by_path({"/a": ok()}), ["/b"], []),
        (by_path({"/a": latency(0.001) & when(bool, ok(b"x")), "/b": A}), ["/b"], ["latency(0.001) & when(bool, "]),
        (by_path({"/a": latency(0.001) & when(bool, ok(b"x"))}), ["/a"], []),
        (
            by_path({"/a": by_path({"/*": reset()})}),
            ["/b"],
            ["reset() at '/*' never struck", "No request went to '/a'"],
        ),
    ],
)
def test_guard_names_the_path_whose_plan_was_never_met(plan, targets, complaints):
    with contextlib.ExitStack() as stack:
        caught = stack.enter_context(pytest.raises(NotStruckError)) if complaints else None
        server = stack.enter_context(package.serve(plan))
        for target in targets or [""]:
            with socket.create_connection(server.address, 10) as client:
                client.sendall(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode() if target else b"")
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_WR)
                    while client.recv(1000):
                        pass
    assert [each for each in complaints if each not in str(caught.value)] == []
    assert caught is None or len(re.findall("never struck", str(caught.value))) == 1


def test_chance_within_a_path_follows_its_seed(faultline, ask):
    chancy = sometimes(0.5, A, otherwise=B, seed=3)
    server = faultline.serve(by_path({"/1": chancy, "/2": chancy}))
    met = ask(server, *["/1"] * 12, *["/2"] * 12)

    assert {*met} == {b"a", b"b"}
    assert met[:12] == met[12:]
    assert close(at="idle") not in [a.fault for a in server.attempts]
