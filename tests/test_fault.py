"""Faults as values: composition, conflicts, triggers, and how they say themselves."""

from __future__ import annotations

import re

import pytest
from support.tables import each_row

import faultline
from faultline import (
    Gate,
    bad_cert,
    bad_tls,
    blackhole,
    close,
    drip,
    duplicated,
    echo,
    latency,
    nxdomain,
    ok,
    partition,
    receive_request,
    receive_until,
    redirect,
    refuse,
    reordered,
    repeat,
    reset,
    respond,
    script,
    send,
    socks_refusal,
    stall,
    starttls,
    status,
    when,
)
from faultline._core.answers import Answer, AsUsual, SocksRefusal, filler
from faultline._core.breaks import Break, Trigger
from faultline._core.certificates import Certificate, Terms
from faultline._core.conditions import Latency
from faultline._core.errors import CallError, ConflictError
from faultline._core.fault import Fault, breaks
from faultline._core.lookups import Found
from faultline._core.points import POINTS
from faultline._core.promises import promises_of
from faultline._core.said import Said, abbreviated
from faultline._core.scripted import Script
from faultline._core.steps import (
    Behind,
    Close,
    HalfClose,
    Hold,
    NoName,
    NoRoute,
    ReceiveAll,
    Refuse,
    Reset,
    Send,
    StartTls,
    Twice,
    Vanish,
    every,
)
from faultline._engine.talks.http1 import HEALTHY
from faultline.modes._catalogue import cases

ALL = [row.fault for row in cases()]


def composed(one, other):
    try:
        both = one & other
    except ConflictError as error:
        return type(error)
    return both.break_, both.answer, both.certificate, {*both.conditions}, both.choice


def test_parts_of_different_kinds_become_one_fault():
    both = bad_cert("expired") & reset(after_bytes=3)

    assert both.certificate == bad_cert("expired").certificate
    assert both.break_ == reset(after_bytes=3).break_
    assert both.answer is None


def test_three_parts_become_one_fault_that_says_all_three():
    whole = ok(b"x") & bad_cert("self_signed") & close()

    assert repr(whole) == "ok(b'x') & bad_cert('self_signed') & close()"


@pytest.mark.slow
@each_row("one", ALL)
def test_order_of_parts_does_not_matter(one):
    assert [composed(one, other) for other in ALL] == [composed(other, one) for other in ALL]


@each_row(
    ("one", "other", "kind"),
    [
        (reset(), close(), "break"),
        (reset(), reset(), "break"),
        (refuse(), stall(at="idle"), "break"),
        (ok(b"a"), ok(b"b"), "answer"),
        (ok(), echo(), "answer"),
        (ok(), script(send(b"220")), "answer"),
        (bad_cert("expired"), bad_cert("self_signed"), "certificate"),
        (when(bool, reset()), when(bool, close()), "choice"),
        (when(bool, reset()), close(), "break or answer"),
        (ok(), when(bool, reset()), "break or answer"),
    ],
)
def test_two_parts_of_one_kind_are_an_error_that_names_both(one, other, kind):
    with pytest.raises(ConflictError) as raised:
        one & other

    assert type(raised.value) is ConflictError
    assert str(raised.value) == (
        f"{one!r} & {other!r}: expected one {kind}, got two; deal them to different attempts, or leave one out."
    )


@each_row(
    ("one", "other", "ends", "never"),
    [
        (refuse(), bad_cert("expired"), "connect", "handshake"),
        (reset(at="accept"), bad_cert("expired"), "accept", "handshake"),
        (blackhole(), ok(b"x"), "connect", "response"),
        (stall(at="accept"), echo(), "accept", "response"),
        (close(at="handshake"), ok(status=503), "handshake", "response"),
        (partition(at="accept"), ok(b"x"), "accept", "response"),
        (reset(at="request", after_bytes=9), ok(b"x"), "request", "response"),
    ],
)
def test_part_after_the_end_of_the_conversation_is_an_error_that_names_both(one, other, ends, never):
    with pytest.raises(ConflictError) as raised:
        one & other

    assert str(raised.value) == (
        f"{one!r} & {other!r}: the conversation ends at {ends!r} and never reaches {never!r}; leave one of the two out."
    )


@each_row(
    ("one", "other"),
    [
        (stall(at="accept", for_seconds=0.1), bad_cert("expired")),
        (stall(at="request", for_seconds=0.1), ok(b"x")),
        (close(at="handshake", after_bytes=10), bad_cert("expired")),
        (reset(at="response"), ok(b"x")),
        (close(at="idle"), echo()),
        (stall(at="accept", until=Gate()), ok(b"x")),
        (refuse(for_seconds=0.1), ok(b"x")),
        (Fault(break_=Break("accept", ())), ok(b"x")),
    ],
)
def test_part_that_is_still_reached_composes(one, other):
    both = one & other

    assert (both.break_, both.said) == (one.break_, one.said + other.said)


@each_row("other", [None, "close", 5, reset])
def test_only_faults_compose(other):
    with pytest.raises(TypeError) as raised:
        reset() & other

    assert type(raised.value) is CallError


@each_row("end", [refuse(), blackhole(), reset(at="accept")])
@each_row("other", [latency(0.1), script(send(b"220"))])
def test_bytes_that_never_travel_are_an_error_that_names_both(end, other):
    with pytest.raises(ConflictError) as raised:
        end & other

    assert repr(end) in str(raised.value)
    assert repr(other) in str(raised.value)


@each_row(
    ("direction", "request_", "response"),
    [("request", True, False), ("response", False, True), ("both", True, True)],
)
def test_condition_knows_whose_bytes_it_is_about(direction, request_, response):
    condition = Latency(direction=direction)

    assert (condition.on("request"), condition.on("response")) == (request_, response)


@each_row("at", ["handshake", "request", "response"])
def test_bytes_are_counted_where_bytes_pass(at):
    assert breaks(at, Trigger(after_bytes=3), Reset()) == Fault(Break(at, (Reset(),), Trigger(3)))


@each_row("at", ["request", "response"])
@each_row("on", [b"QUIT", re.compile(rb"QUIT|EXIT")])
def test_words_are_looked_for_where_something_is_said(at, on):
    assert breaks(at, Trigger(on=on), Close()).break_ == Break(at, (Close(),), Trigger(on=on))


@each_row(("on", "at"), [(None, "response"), (b"QUIT", "request")])
def test_break_without_a_point_is_at_the_response_or_at_the_request_it_waits_for(on, at):
    assert breaks(None, Trigger(on=on), Reset()).break_.at == at


@each_row("at", POINTS)
def test_seconds_are_a_trigger_at_every_point(at):
    assert breaks(at, Trigger(after_seconds=0.5), Hold()).break_ == Break(at, (Hold(),), Trigger(after_seconds=0.5))


@each_row("at", ["request", "response"])
@each_row("make", [reset, close, stall])
def test_fault_says_only_what_differs_from_the_defaults(make, at):
    assert repr(make(at=at, after_bytes=7)) == f"{make.__name__}(at={at!r}, after_bytes=7)"
    assert repr(make(after_bytes=7)) == f"{make.__name__}(after_bytes=7)"


@each_row(
    ("fault", "text"),
    [
        (ok(), "ok()"),
        (ok(b"hi", status=201), "ok(b'hi', status=201)"),
        (ok(body=b"hi"), "ok(b'hi')"),
        (ok(headers={"A": "b"}), "ok(headers={'A': 'b'})"),
        (stall(for_seconds=2), "stall(for_seconds=2)"),
        (refuse(), "refuse()"),
        (bad_cert(), "bad_cert('expired')"),
        (reset(on=b"QUIT"), "reset(on=b'QUIT')"),
        (drip(every_seconds=1), "drip(1, every_seconds=1)"),
        (script(send(b"220"), reset()), "script(send(b'220'), reset())"),
        (Fault(), "ok()"),
    ],
)
def test_fault_is_written_as_a_reader_would_write_it(fault, text):
    assert repr(fault) == text


@each_row(
    "text",
    [
        "send(b'220')",
        "receive(5)",
        "receive_until(b'x')",
        "receive_request()",
        "respond()",
        "respond(ok(b'x'))",
        "respond(echo())",
        "repeat(receive_request(), respond())",
        "hold()",
        "hold(0.5)",
        "starttls()",
    ],
)
def test_step_is_written_as_a_reader_would_write_it(text):
    assert repr(eval(text, {name: getattr(faultline, name) for name in faultline.__all__})) == text


def test_faults_that_do_the_same_are_equal_however_they_were_said():
    assert ok(b"x") == ok(body=b"x", headers={}, status=200)
    assert hash(ok(b"x", headers={"A": "b"})) == hash(ok(b"x", headers=[("A", "b")]))


def test_no_two_rows_of_the_catalogue_are_the_same_fault():
    assert len(set(ALL)) == len(ALL)


def test_fault_of_the_door_has_its_step():
    assert refuse().door == Refuse()
    assert reset().door is None
    assert ok().door is None


def test_fault_of_a_lookup_or_a_datagram_has_what_happens_to_it():
    assert [fault.lookup for fault in (nxdomain(), refuse(), ok())] == [NoName("nxdomain"), None, None]
    assert [fault.fate for fault in (duplicated(), reordered(), reset(), ok())] == [Twice(), Behind(), None, None]


@each_row("fault", [refuse(), nxdomain(), duplicated(), ok()])
def test_fault_of_no_open_connection_has_no_steps(fault):
    assert fault.break_steps == ()


@each_row("fault", [bad_cert("expired"), reset(at="handshake"), ok() & bad_cert("expired")])
def test_fault_of_the_handshake_needs_tls(fault):
    assert fault.needs_tls


@each_row(
    "fault", [ok(), reset(), refuse(), close(at="accept"), script(starttls()), script(starttls()) & bad_cert("expired")]
)
def test_fault_elsewhere_or_after_a_starttls_of_its_own_needs_none(fault):
    assert not fault.needs_tls


def test_script_says_whether_it_begins_tls():
    assert script(starttls()).starts_tls
    assert not script(send(b"220")).starts_tls
    assert not ok().starts_tls


@each_row(
    "fault",
    [refuse(), stall(at="accept"), close(at="handshake"), bad_cert("expired"), script(send(b"220"))],
)
def test_fault_of_the_opening_cannot_follow_on_a_kept_connection(fault):
    assert not fault.can_follow(ok())


@each_row("fault", [ok(), echo(), reset(at="request"), close(), stall(at="idle"), latency(0.1)])
def test_fault_of_a_request_can_follow_on_a_kept_connection(fault):
    assert fault.can_follow(ok())
    assert not fault.can_follow(script(send(b"220")))


def test_script_can_follow_itself():
    talk = script(repeat(receive_until(b"\n"), send(b"220")))

    assert talk.can_follow(talk & reset(at="idle"))


@each_row("fault", [stall(at="accept"), stall(at="request"), stall(at="request", for_seconds=1)])
def test_stall_before_the_request_is_read_leaves_the_clients_bytes_lying(fault):
    assert fault.never_reads


@each_row("fault", [ok(), stall(), stall(at="idle"), reset(at="request"), blackhole()])
def test_other_faults_do_not_leave_the_clients_bytes_lying(fault):
    assert not fault.never_reads


@each_row(("fault", "answer"), [(ok(), None), (ok(b"x"), Answer(body=b"x")), (script(send(b"x")), None)])
def test_answer_is_the_servers_own_unless_something_else_is_said(fault, answer):
    assert fault.http_answer == answer


@each_row("fault", [ok(), echo(), Fault(), Fault(answer=HEALTHY)])
def test_answers_are_healthy(fault):
    assert fault.is_healthy


@each_row(
    "fault",
    [
        Fault(terms=Terms("another", version="1.3")),
        Fault(certificate=Certificate("another", subject="another", least_names=5)),
        Fault(answer=Answer(status=404, body=b"healthy here")),
        Fault(answer=Script((Send(b"220"), Close(close_notify=False)))),
        Fault(answer=Found((("127.0.0.1", 80),))),
    ],
)
def test_healthy_part_is_healthy_whatever_its_values(fault):
    assert fault.is_healthy
    assert not promises_of(fault)


@each_row(
    ("fault", "part"),
    [
        (reset(), "break_"),
        (refuse(), "break_"),
        (nxdomain(), "break_"),
        (duplicated(), "break_"),
        (status(503), "answer"),
        (script(respond(status(503))), "answer"),
        (script(repeat(receive_request(continues=False), respond())), "answer"),
        (socks_refusal("rejected"), "answer"),
        (bad_cert("revoked"), "certificate"),
        (bad_tls("only_version", version="1.2"), "terms"),
        (when(bool, ok()), "choice"),
    ],
)
def test_part_that_breaks_something_says_so(fault, part):
    assert getattr(fault, part).is_fault
    assert not fault.is_healthy


def test_each_certificate_and_all_terms_of_the_catalogue_are_faults():
    parts = [part for fault in ALL for part in (fault.certificate, fault.terms) if part is not None]

    assert len(parts) > 20
    assert {part.kind for part in parts if not part.is_fault} == {"renegotiate"}  # its break is the fault


def test_condition_that_changes_nothing_is_no_promise():
    assert not promises_of(latency(0))
    assert promises_of(latency(0, jitter_seconds=0.1))


def behind(point):
    """The points that a conversation comes to after this one."""
    return {*POINTS[POINTS.index(point) + 1 :]}


@each_row(
    ("at", "trigger", "does", "cut_off"),
    [
        ("accept", Trigger(), (Reset(),), behind("accept")),
        ("handshake", Trigger(), (Reset(),), behind("accept")),
        ("handshake", Trigger(after_bytes=1), (Reset(),), behind("handshake")),
        ("response", Trigger(), (Reset(),), behind("response")),
        ("response", Trigger(), (Hold(1.0),), set()),
        ("connect", Trigger(), Refuse(), behind("connect")),
        ("lookup", Trigger(), NoName("nxdomain"), behind("lookup")),
    ],
)
def test_break_knows_what_it_cuts_off(at, trigger, does, cut_off):
    brk = Break(at, does, trigger)

    assert {point for point in POINTS if brk.cuts_off(point)} == cut_off
    assert not brk.cuts_off(None)


@each_row(
    ("answer", "begins_at"),
    [
        (AsUsual(), None),
        (Answer(body=b"x"), "response"),
        (SocksRefusal("rejected"), "response"),
        (Found(), "connect"),
        (Script((Send(b"220"),)), "request"),
        (Script((Send(b"220"), StartTls())), None),
    ],
)
def test_answer_knows_where_it_is_first_needed(answer, begins_at):
    assert answer.begins_at == begins_at


@each_row(
    ("answer", "missed"),
    [
        (AsUsual(), {}),
        (Found(), {}),
        (Answer(body=b"x"), {"tunnel": "the proxy answers by itself"}),
        (
            Answer(raw=b"x", ends=True),
            {"tunnel": "the proxy answers by itself", "idle": "the connection ends with this answer"},
        ),
        (
            Script((Send(b"220"),)),
            {"tunnel": "the proxy answers by itself"}
            | dict.fromkeys(("lookup", "request", "idle"), "the script has no such step"),
        ),
        (SocksRefusal("rejected"), {"tunnel": "the proxy refuses"}),
    ],
)
def test_answer_knows_the_points_that_it_keeps_from_being_reached(answer, missed):
    assert {point: why for point in POINTS if (why := answer.misses(point))} == missed


@each_row(
    "fault",
    [
        reset(at="handshake"),
        close(close_notify=False),
        bad_cert("expired"),
        bad_tls("only_version"),
        latency(1, direction="handshake"),
        script(send(b"x", below_tls=True)),
        when(bool, close(close_notify=False)),
        when(bool, ok(), otherwise=redirect("downgrade")),
    ],
)
def test_fault_needs_tls_if_one_of_its_parts_does(fault):
    assert [part.needs_tls for part in fault.parts] == [True]
    assert (fault & ok() if fault.script is None and fault.choice is None else fault).needs_tls


def test_fault_has_the_parts_that_were_given():
    whole = bad_cert("expired") & reset() & ok(b"x") & latency(1) & drip()

    assert whole.parts == (whole.break_, whole.certificate, whole.answer, *whole.conditions)
    assert Fault().parts == ()


@each_row(
    ("trigger", "immediate"),
    [
        (Trigger(), True),
        (Trigger(after_bytes=1), False),
        (Trigger(after_seconds=0.1), False),
        (Trigger(on=b"x"), False),
        (Trigger(after_messages=0), False),
        (Trigger(at_end=True), False),
    ],
)
def test_trigger_knows_whether_it_waits(trigger, immediate):
    assert trigger.is_immediate is immediate


@each_row("fault", [ok(), ok(None, status=200, headers={})])
def test_ok_alone_is_the_answer_of_the_server(fault):
    assert fault.answer == AsUsual()


@each_row("fault", [ok(b"ok\n"), ok(b""), ok(status=201), ok(headers={"A": "b"})])
def test_ok_that_says_something_is_an_answer_of_its_own(fault):
    assert isinstance(fault.http_answer, Answer)


@each_row("fault", [reset(), bad_cert("expired"), ok() & close(), latency(0.1), when(bool, ok())])
def test_everything_else_is_not_healthy(fault):
    assert not fault.is_healthy


def test_script_takes_the_place_of_the_healthy_conversation():
    assert Fault(answer=HEALTHY).script is HEALTHY
    assert ok().script is None


@each_row(
    ("does", "final"),
    [
        ((Reset(),), True),
        ((Hold(),), True),
        ((Hold(1.0),), False),
        ((Hold(until=Gate()),), False),
        ((Hold(1.0), Close()), True),
        (Refuse(), True),
        (Refuse(0.5), False),
        (Vanish(), True),
        (NoRoute(), True),
        (NoName("nxdomain"), True),
        (Twice(), False),
        (Behind(), False),
        ((HalfClose(), ReceiveAll()), True),
        ((Send(b"x"),), False),
        ((), False),
    ],
)
def test_break_is_final_if_its_last_step_is(does, final):
    assert Break("response", does).is_final is final


def test_steps_within_a_repeat_are_steps_too():
    assert [type(step).__name__ for step in every(HEALTHY.steps)] == ["Repeat", "ReceiveRequest", "Respond"]


def test_answer_without_a_body_is_made_long_enough():
    answer = Answer(status=201, headers=(("A", "b"),)).sized(1000)

    assert answer == Answer(201, (("A", "b"),), filler(1000))


@each_row("answer", [Answer(body=b""), Answer(body=b"x"), Answer(echoes=True)])
def test_answer_with_a_body_of_its_own_stays(answer):
    assert answer.sized(1000) is answer


def test_answer_stays_where_no_length_is_asked_for():
    answer = Answer()

    assert answer.sized(0) is answer


@each_row("count", [0, 1, 59, 60, 61, 1 << 20])
def test_filler_has_exactly_so_many_bytes(count):
    assert len(filler(count)) == count


def test_filler_is_a_line_over_and_over():
    line, newline, rest = filler(1000).partition(b"\n")

    assert newline + rest == (b"\n" + line) * ((1000 - len(line)) // (len(line) + 1)) + b"\n" + line[: 1000 % 60]


def test_default_certificate_is_right_in_every_point():
    certificate = Certificate()

    assert (certificate.kind, certificate.issuer, certificate.names) == ("healthy", "trusted", None)
    assert certificate.from_seconds < 0 < certificate.until_seconds


def test_function_is_written_by_its_name():
    assert abbreviated(test_function_is_written_by_its_name) == "test_function_is_written_by_its_name"


@each_row("value", ["x" * 38, b"x" * 37, 12345])
def test_short_value_is_written_out(value):
    assert abbreviated(value) == repr(value)


def test_middle_of_long_bytes_is_left_out_and_counted():
    assert abbreviated(b"a" * 1_000_000) == "b'aaaaaaaaaaaaaaaaaa...1000000 bytes...aaaaaaaaa'"


def test_middle_of_other_long_values_is_left_out():
    assert abbreviated("a" * 100) == "'aaaaaaaaaaaaaaaaaaa...aaaaaaaaa'"


def test_call_is_said_by_position_first_and_then_by_name():
    assert str(Said("ok", (("body", b"x"), ("status", 201)), 1)) == "ok(b'x', status=201)"
