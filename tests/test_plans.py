"""Plans as clients meet them: by order, by chance, by what is asked, and what a change of plan does."""

from __future__ import annotations

import contextlib
import http.client

import pytest
from support.tables import each_row

import faultline as package
from faultline import (
    Gate,
    NotStruckError,
    ParameterError,
    ServerError,
    bad_cert,
    close,
    cycle,
    latency,
    ok,
    receive_request,
    refuse,
    reset,
    respond,
    script,
    sequence,
    sometimes,
    stall,
    when,
)
from faultline._core.dealer import Dealer

ONE, TWO, THREE = ok(b"1"), ok(b"2"), ok(b"3")


@pytest.fixture
def keep():
    """A function that makes an `http.client` connection to a server; it is closed after the test."""
    with contextlib.ExitStack() as clients:

        def make(server, **options):
            secure = server.url.startswith("https")
            kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
            options |= {"context": server.client_context()} if secure else {}
            return clients.enter_context(contextlib.closing(kind(*server.address, timeout=10, **options)))

        yield make


def ask(client, target="/"):
    """One request on a connection: the body, and whether the server will close."""
    client.request("GET", target)
    response = client.getresponse()
    return response.read(), response.will_close


def meet(server, target="/"):
    """One request on a new connection: the body, or the type of what it raised."""
    client = http.client.HTTPConnection(*server.address, timeout=10)
    with contextlib.closing(client):
        try:
            return ask(client, target)[0]
        except (OSError, http.client.HTTPException) as error:
            return type(error)


def faults(server):
    return [attempt.fault for attempt in server.attempts]


# --- order ---------------------------------------------------------------------------------------------------------


def test_sequence_is_met_in_order_and_its_last_fault_for_ever(faultline):
    server = faultline.serve(sequence(refuse(), reset(), close(), ONE))

    met = [meet(server) for _ in range(6)]

    assert met == [ConnectionRefusedError, ConnectionResetError, http.client.RemoteDisconnected, b"1", b"1", b"1"]
    assert faults(server) == [refuse(), reset(), close(), ONE, ONE, ONE]
    assert [a.connection for a in server.attempts] == [None, 1, 2, 3, 4, 5]


def test_further_requests_on_a_connection_are_attempts(faultline, keep):
    server = faultline.serve(sequence(ONE, TWO, THREE))
    client = keep(server)

    assert [ask(client) for _ in range(4)] == [(b"1", False), (b"2", False), (b"3", False), (b"3", False)]
    assert [(a.number, a.connection, a.fault) for a in server.attempts] == [
        (1, 1, ONE),
        (2, 1, TWO),
        (3, 1, THREE),
        (4, 1, THREE),
    ]


def test_per_connection_all_requests_on_one_meet_the_same_fault(faultline, keep):
    server = faultline.serve(sequence(ONE, TWO, per="connection"))
    first, second = keep(server), keep(server)

    assert [ask(first)[0], ask(first)[0], ask(second)[0], ask(first)[0], ask(second)[0]] == [
        b"1",
        b"1",
        b"2",
        b"1",
        b"2",
    ]
    assert [a.connection for a in server.attempts] == [1, 1, 2, 1, 2]


def test_per_connection_an_opening_fault_waits_for_the_next_connection(faultline, keep):
    server = faultline.serve(sequence(ONE, refuse(), TWO, per="connection"))
    client = keep(server)

    assert [ask(client) for _ in range(3)] == [(b"1", False)] * 3
    assert [meet(server), meet(server)] == [ConnectionRefusedError, b"2"]


@pytest.mark.parametrize("opening", [refuse(), close(at="accept")], ids=repr)
def test_response_before_an_opening_fault_ends_with_connection_close(faultline, keep, opening):
    server = faultline.serve(sequence(ONE, TWO, opening, THREE))
    client = keep(server)

    assert [ask(client), ask(client)] == [(b"1", False), (b"2", True)]
    with pytest.raises(ConnectionError):
        ask(client)  # http.client opens anew
    client.close()

    assert ask(client) == (b"3", False)
    assert faults(server) == [ONE, TWO, opening, THREE]
    assert [(a.ended_by, a.ended_how) for a in server.attempts[:2]] == [(None, None), ("server", "FIN")]


@pytest.mark.parametrize("opening", [reset(at="handshake"), bad_cert("expired")], ids=repr)
def test_response_before_a_fault_of_tls_ends_with_connection_close(faultline, keep, opening):
    server = faultline.serve(sequence(ONE, opening, TWO))
    client = keep(server)

    assert ask(client) == (b"1", True)
    with pytest.raises(OSError):
        ask(client)
    client.close()

    assert ask(client) == (b"2", False)
    assert faults(server) == [ONE, opening, TWO]


def test_response_before_a_script_ends_with_connection_close(faultline, keep):
    other = script(receive_request(), respond(TWO))
    server = faultline.serve(sequence(ONE, other))
    client = keep(server)

    assert [ask(client), ask(client)] == [(b"1", True), (b"2", False)]
    assert faults(server) == [ONE, other]


def test_request_on_a_connection_that_should_have_been_opened_anew_is_healthy(faultline, keep):
    gate = Gate()
    server = faultline.serve(stall(until=gate))
    client = keep(server)
    client.request("GET", "/")
    server.wait_for_attempts(1, at="response")
    server.become(refuse())  # too late for the response that is held
    gate.open()
    client.getresponse().read()

    assert ask(client) == (b"ok\n", True)
    assert meet(server) is ConnectionRefusedError
    assert faults(server) == [stall(until=gate), ok(), refuse()]


# --- chance --------------------------------------------------------------------------------------------------------


def test_same_seed_deals_the_same_thousand_and_about_as_many_as_it_says():
    plan = sometimes(0.3, reset(), seed=5)
    one, other = Dealer(plan), Dealer(plan)

    dealt = [one.deal() for _ in range(1000)]

    assert dealt == [other.deal() for _ in range(1000)]
    assert 260 < dealt.count(reset()) < 340


@pytest.mark.slow
def test_clients_meet_what_the_seed_deals(faultline):
    plan = sometimes(0.3, reset(), otherwise=ONE, seed=5)
    dealer = Dealer(plan)
    server = faultline.serve(plan)

    met = [meet(server) for _ in range(50)]

    assert faults(server) == [dealer.deal() for _ in range(50)]
    assert met == [b"1" if fault == ONE else ConnectionResetError for fault in faults(server)]
    assert {*met} == {b"1", ConnectionResetError}


def test_chance_per_connection_holds_for_all_its_requests(faultline, keep):
    server = faultline.serve(sometimes(0.5, ONE, otherwise=TWO, seed=5, per="connection"))
    clients = [keep(server) for _ in range(20)]

    met = [[ask(client)[0] for _ in range(3)] for client in clients]

    assert all(bodies == bodies[:1] * 3 for bodies in met)
    assert {bodies[0] for bodies in met} == {b"1", b"2"}


# --- what is asked -------------------------------------------------------------------------------------------------


def pays(request):
    return request.target == "/pay"


def looks(request):
    return request.target == "/look"


def test_fault_is_met_by_the_requests_that_the_function_says(faultline, keep):
    server = faultline.serve(when(pays, close(), otherwise=ONE))
    client = keep(server)

    assert ask(client, "/look") == (b"1", False)
    with pytest.raises(http.client.RemoteDisconnected):
        ask(client, "/pay")

    assert [(a.request.target, a.fault) for a in server.attempts] == [("/look", ONE), ("/pay", close())]
    assert [a.struck and a.struck.point for a in server.attempts] == [None, "response"]


def test_choice_may_lead_to_another(faultline):
    plan = when(pays, close(), otherwise=when(looks, reset(after_bytes=1), otherwise=ONE))
    server = faultline.serve(plan)

    assert [meet(server, target) for target in ("/", "/pay", "/look")] == [
        b"1",
        http.client.RemoteDisconnected,
        ConnectionResetError,
    ]
    assert faults(server) == [ONE, close(), reset(after_bytes=1)]


@pytest.mark.slow
def test_conditions_of_a_choice_hold_whatever_is_chosen(faultline):
    server = faultline.serve(latency(0.05) & when(pays, ONE, otherwise=TWO))

    assert [meet(server, "/pay"), meet(server, "/look")] == [b"1", b"2"]
    assert faults(server) == [latency(0.05) & ONE, latency(0.05) & TWO]
    assert all(a.ended_seconds - a.started_seconds >= 0.05 for a in server.attempts)


def test_error_in_the_function_is_an_error_of_the_server():
    server = package.serve(when(lambda request: request.nonsense, reset()))

    assert meet(server) is http.client.RemoteDisconnected
    with pytest.raises(ServerError, match=r"broke: AttributeError\(.*nonsense") as raised:
        server.close()
    assert type(raised.value.__cause__) is AttributeError
    assert [(a.ended_by, a.ended_how) for a in server.attempts] == [("server", "stop")]


# --- another plan --------------------------------------------------------------------------------------------------


def test_server_becomes_another_plan_from_its_beginning(faultline):
    server = faultline.serve(sequence(ONE, TWO, THREE))
    before = [meet(server), meet(server)]
    server.become(sequence(reset(), refuse(), TWO))

    assert before == [b"1", b"2"]
    assert [meet(server) for _ in range(4)] == [ConnectionResetError, ConnectionRefusedError, b"2", b"2"]
    assert faults(server) == [ONE, TWO, reset(), refuse(), TWO, TWO]


def test_server_becomes_another_for_a_while_and_then_begins_again(faultline):
    server = faultline.serve(sequence(ONE, TWO))
    before = [meet(server), meet(server)]

    with server.becoming(refuse()):
        meanwhile = meet(server)

    assert (before, meanwhile) == ([b"1", b"2"], ConnectionRefusedError)
    assert [meet(server), meet(server)] == [b"1", b"2"]


def test_server_is_what_it_was_after_an_error_too(faultline):
    server = faultline.serve(ONE, strict=False)

    with contextlib.suppress(ZeroDivisionError), server.becoming(close()):
        raise ZeroDivisionError

    assert meet(server) == b"1"


def test_a_while_may_have_another_inside(faultline):
    server = faultline.serve(ONE)

    with server.becoming(close()):
        with server.becoming(TWO):
            inside = meet(server)
        between = meet(server)

    assert (inside, between, meet(server)) == (b"2", http.client.RemoteDisconnected, b"1")


@each_row("wrong", [None, reset, [ok()], "refuse"])
def test_server_stays_what_it_is_if_it_cannot_become_something(faultline, wrong):
    server = faultline.serve(sequence(ONE, TWO))
    meet(server)

    with pytest.raises(ParameterError, match=r"^plan="):
        server.become(wrong)

    assert meet(server) == b"2"


# --- the guard -----------------------------------------------------------------------------------------------------


@each_row(
    ("plan", "requests", "fault"),
    [
        (sequence(reset(), reset()), 1, "reset()"),
        (cycle(reset(), ok(), close()), 2, "close()"),
        (sequence(ok(), bad_cert("expired")), 0, "bad_cert('expired')"),
        (when(pays, ok(), otherwise=when(looks, close(at="idle"))), 1, "close(at='idle')"),
    ],
)
def test_planned_fault_that_no_client_met_fails(plan, requests, fault):
    server = package.serve(plan)
    for _ in range(requests):
        meet(server)
    server.close()

    with pytest.raises(NotStruckError) as raised:
        server.check_struck()
    assert str(raised.value).startswith(f"{fault} never struck: ")


def test_fault_of_a_while_is_judged():
    server = package.serve(ok())
    with server.becoming(close()):
        pass
    meet(server)
    server.close()

    with pytest.raises(NotStruckError, match=r"^close\(\) never struck"):
        server.check_struck()


def test_plan_that_is_not_strict_may_remain_unmet():
    with package.serve(sequence(ok(), reset()), strict=False) as server:
        assert meet(server) == b"ok\n"
