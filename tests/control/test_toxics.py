"""The types of toxics: their attributes, and what they do."""

from __future__ import annotations

import contextlib
import time

import pytest
from support import PATIENCE_SECONDS, accepted, address_of, read, to_end
from support.control import Client, dialled, fetched, refuses

from faultline import control, ok, reset, sequence
from faultline._front.control.toxics import TYPES

TOXICS = "/proxies/web/toxics"
EMPTY = {
    "latency": {"latency": 0, "jitter": 0},
    "bandwidth": {"rate": 0},
    "slow_close": {"delay": 0},
    "timeout": {"timeout": 0},
    "reset_peer": {"timeout": 0},
    "slicer": {"average_size": 0, "size_variation": 0, "delay": 0},
    "limit_data": {"bytes": 0},
    "packet_loss": {"loss_rate": 0.0, "correlation": 0.0},
    "noop": {},
}


@pytest.fixture
def proxy(ask, web):
    """A proxy in front of a server that says hello."""
    return ask.make("web", web)


def added(ask, kind, attributes=None, **more):
    """A new toxic of the proxy `web`."""
    made = ask("POST", TOXICS, {"type": kind, "attributes": attributes, **more})
    assert made.status == 200, made
    return made.data


def test_each_type_shows_all_its_attributes(ask, proxy):
    assert {*EMPTY, "fault"} == {*TYPES}
    assert {kind: added(ask, kind)["attributes"] for kind in EMPTY} == EMPTY


@pytest.mark.measured
@pytest.mark.parametrize("kind", [kind for kind in EMPTY if EMPTY[kind]])
def test_attributes_are_merged_and_of_their_type(ask, proxy, kind):
    name, *others = EMPTY[kind]
    where = f"{TOXICS}/{kind}_downstream"
    added(ask, kind, {name: 1, "unknown": 2})
    rows = [
        ({name: 7}, 200),
        ({name.upper(): 8}, 200),
        ({name: None}, 200),
        (dict.fromkeys(others, 3), 200),
        ({name: "9"}, 400),
        ({name: True}, 400),
        ({name: [1]}, 400),
        ({name: 1 << 63}, 400),
    ]
    statuses = [ask("PATCH", where, {"attributes": given}).status for given, _ in rows]

    assert statuses == [status for _, status in rows]
    assert ask("GET", where).data["attributes"] == {name: 8} | dict.fromkeys(others, 3)
    half = ask("PATCH", where, {"attributes": {name: 1.5}})
    assert half.status == (200 if kind == "packet_loss" else 400)


# --- the toxic of faultline ------------------------------------------------------------------------------------------


def test_a_fault_is_any_plan_of_faultline(ask, proxy, faultline_control):
    added(ask, "fault", {"plan": "sequence(reset(after_bytes=17), ok())"})
    ends = [fetched(proxy), fetched(proxy)]

    assert ends == [(b"", "RST"), (b"hello", "FIN")]
    first = faultline_control.proxies["web"].attempts[0]
    assert (first.fault, first.sent_bytes) == (reset(after_bytes=17), 17)
    changed = ask("POST", f"{TOXICS}/fault_downstream", {"attributes": {"plan": "close --after-bytes 0"}})
    assert (changed.status, fetched(proxy)) == (200, (b"", "FIN"))
    assert ask("DELETE", f"{TOXICS}/fault_downstream").status == 204
    assert fetched(proxy) == (b"hello", "FIN")


def test_a_fault_meets_live_connections_too(ask, listener):
    listener.settimeout(PATIENCE_SECONDS)
    made = ask.make("web", address_of(listener))
    with dialled(made) as client, accepted(listener) as server:
        client.sendall(b"hello")
        assert read(server, 5) == b"hello"
        added(ask, "fault", {"plan": "reset(after_bytes=2)"})
        server.sendall(b"abcd")
        assert to_end(client) == (b"ab", "RST")


def test_a_fault_is_combined_with_the_stages_of_the_others(ask, proxy, faultline_control):
    added(ask, "latency", {"latency": 40})
    plans = {}
    for text in ("refuse()", "sequence(refuse(), close())", "sometimes(1, close())", "close()"):
        added(ask, "fault", {"plan": text})
        plans[text] = repr(faultline_control.proxies["web"].plan)
        ask("DELETE", f"{TOXICS}/fault_downstream")

    late = "latency(latency=40, jitter=0)"
    assert plans == {
        "refuse()": "refuse()",
        "sequence(refuse(), close())": f"sequence(refuse(), {late} & close())",
        "sometimes(1, close())": f"sometimes(1, {late} & close(), otherwise={late} & ok())",
        "close()": f"{late} & close()",
    }


EDITS = {
    "added": ("POST", "", {"type": "noop"}),
    "changed": ("PATCH", "/slow", {"attributes": {"latency": 2}}),
    "removed": ("DELETE", "/slow", None),
    "changed to the same": ("PATCH", "/fault_downstream", {"attributes": {}}),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_sequence_goes_on_where_it_was_when_another_toxic_is(ask, proxy, edit):
    added(ask, "latency", {"latency": 1}, name="slow")
    added(ask, "fault", {"plan": "sequence(reset(after_bytes=17), close(after_bytes=0), ok())"})
    method, path, body = EDITS[edit]
    ends = [fetched(proxy)]
    assert ask(method, TOXICS + path, body).status < 300
    ends += [fetched(proxy), fetched(proxy)]

    assert ends == [(b"", "RST"), (b"", "FIN"), (b"hello", "FIN")]


def test_a_sequence_begins_anew_when_it_is_changed_itself(ask, proxy):
    added(ask, "fault", {"plan": "sequence(reset(), ok())"})
    ends = [fetched(proxy)]
    ask("PATCH", f"{TOXICS}/fault_downstream", {"attributes": {"plan": "sequence(close(), ok())"}})
    ends += [fetched(proxy), fetched(proxy)]

    assert ends == [(b"", "RST"), (b"", "FIN"), (b"hello", "FIN")]


@pytest.mark.parametrize("plan", ["sequence(reset(after_bytes=2), ok())", "sometimes(0.5, reset(after_bytes=2))"])
def test_an_open_connection_keeps_its_fault_when_another_toxic_is_changed(ask, listener, plan):
    listener.settimeout(PATIENCE_SECONDS)
    made = ask.make("web", address_of(listener))
    added(ask, "fault", {"plan": plan})
    with contextlib.ExitStack() as ends:
        pairs = [(ends.enter_context(dialled(made)), ends.enter_context(accepted(listener))) for _ in range(8)]
        faults = [attempt["fault"] for attempt in ask("GET", "/proxies/web/attempts").data["attempts"]]
        added(ask, "noop")
        added(ask, "latency")
        for _, server in pairs:
            server.sendall(b"abcd")
            server.close()

        met = [to_end(client) for client, _ in pairs]
    assert met == [(b"ab", "RST") if "reset" in fault else (b"abcd", "FIN") for fault in faults]


@pytest.mark.slow
@pytest.mark.measured
def test_behind_a_door_that_was_shut_for_a_time_the_other_toxics_act(ask, proxy):
    added(ask, "fault", {"plan": "refuse(for_seconds=0.2)"})
    assert refuses(proxy)
    added(ask, "limit_data", {"bytes": 77})
    until = time.monotonic() + PATIENCE_SECONDS
    while refuses(proxy):
        assert time.monotonic() < until

    assert fetched(proxy) == (b"", "FIN")


def test_toxicity_of_a_fault_is_the_part_of_the_connections_that_meet_it(ask, proxy, faultline_control):
    added(ask, "fault", {"plan": "reset()"}, toxicity=0)
    assert [fetched(proxy) for _ in range(3)] == [(b"hello", "FIN")] * 3
    ask("POST", f"{TOXICS}/fault_downstream", {"toxicity": 0.5})

    assert repr(faultline_control.proxies["web"].plan) == "sometimes(0.5, reset(), otherwise=ok())"


def met_with(ask, web, names):
    """Which of 20 clients of the last of some proxies met a fault of toxicity 0.5."""
    for name in names:
        made = ask.make(name, web)
        ask("POST", f"/proxies/{name}/toxics", {"type": "fault", "toxicity": 0.5, "attributes": {"plan": "reset()"}})
    return [fetched(made)[1] for _ in range(20)]


@pytest.mark.parametrize("faultline_control", [{"seed": 3}], indirect=True)
@pytest.mark.slow
def test_a_seed_repeats_what_a_proxy_draws_whatever_others_draw(ask, web):
    first = met_with(ask, web, ["web"])
    ask("DELETE", "/proxies/web")
    second = met_with(ask, web, ["other", "web"])
    with control(seed=3) as api, contextlib.closing(Client(api)) as asks:
        third = met_with(asks, web, ["web"])
    with control(seed=4) as api, contextlib.closing(Client(api)) as asks:
        other = met_with(asks, web, ["web"])

    assert first == second == third != other


NO_PLAN = "expected a plan as Python or as the command writes it, such as reset(after_bytes=17)"
WRONG = [
    ("", f"='': {NO_PLAN}"),
    ("rset()", "='rset()': expected a mode, a plan or a step instead of rset. Did you mean 'reset'?"),
    ("__import__('os').system('true')", "="),
    ("stall(until=gate)", "='stall(until=gate)': expected no gate in it; a plan has calls of modes, & and literals."),
    ("reset --then", "='reset --then': argument --then: expected one argument."),
    ("reset(after=10)", ": reset(after=10): expected after_bytes=10, after_seconds=10"),
    ("nxdomain()", ': nxdomain(): clients come here after the lookup; it takes a proxy with "kind": "dns".'),
    (
        "sequence(ok(), bad_cert('expired'))",
        ": bad_cert('expired'): a relay that passes TLS through speaks no TLS itself; it takes a proxy with ",
    ),
    ("script(hold())", ': script(hold()): in a relay the upstream answers; it takes a proxy with "kind": "server".'),
    ("duplicated()", ": duplicated(): a stream keeps its order; no proxy plays it."),
    ("close(at='idle')", ": close(at='idle'): expected after_seconds above 0, such as 1; a relay takes silence"),
    ("reset(after_bytes=10**23)", "='reset(after_bytes=10**23)': expected no 10 ** 23 in it"),
    (f"reset(after_bytes={10**23})", "='reset(after_bytes=1...00000000)': expected numbers below 2**63."),
    (f"reset --after-bytes {10**23}", ": after_bytes='100000000000000000000000': expected a whole number below 2**63."),
    ("[" * 5000, ": no mode '[[[[[[[[[[[[[[[[[[[...[[[[[[[[['. Modes: "),
    ("(" * 9999, ": no mode '(((((((((((((((((((...((((((((('. Modes: "),
    ("latency(1e9)", ": seconds=1000000000.0: expected seconds"),
]


@pytest.mark.filterwarnings("error::faultline.FaultlineWarning")
def test_a_plan_that_can_t_be_played_is_refused_and_changes_nothing(ask, proxy, faultline_control):
    added(ask, "slicer", {"average_size": 5})  # which no error is about
    before = ask("GET", TOXICS)
    asked = [ask("POST", TOXICS, {"type": "fault", "name": "f", "attributes": {"plan": text}}) for text, _ in WRONG]

    told = [f"toxic 'f': attributes.plan{why}" for _, why in WRONG]
    assert [(a.status, a.data["error"][: len(why)]) for a, why in zip(asked, told, strict=True)] == [
        (400, why) for why in told
    ]
    assert max(len(a.data["error"]) for a in asked) < 700
    assert ask("GET", TOXICS) == before
    assert repr(faultline_control.proxies["web"].plan).endswith("& ok()")


@pytest.mark.parametrize("given", [{"plan": 7}, {"plan": None}, {}])
def test_a_plan_is_a_text(ask, proxy, given):
    asked = ask("POST", TOXICS, {"type": "fault", "attributes": given})

    is_none = given.get("plan") is None
    why = f"toxic 'fault_downstream': attributes.plan='': {NO_PLAN}" if is_none else "bad request body: expected a text"
    assert (asked.status, asked.data["error"][: len(why)]) == (400, why)


NUMBERS = [
    ("latency", '{"latency": 1e23}', "bad request body: expected a whole number for attributes.latency, not 1e+23"),
    ("latency", f'{{"latency": {10**23}}}', "bad request body: expected a whole number for attributes.latency, not 1"),
    ("latency", f'{{"latency": {"1" * 5000}}}', "bad request body: expected a number with fewer digits"),
    ("latency", '{"latency": NaN}', "bad request body: NaN is no number"),
    ("packet_loss", '{"loss_rate": -Infinity}', "bad request body: -Infinity is no number"),
    ("packet_loss", '{"loss_rate": 1e999}', "bad request body: expected a number for attributes.loss_rate, not inf"),
    ("latency", "[" * 100_000, "bad request body: expected fewer brackets open at once"),
    ("bandwidth", '{"rate": -1}', "toxic 't': attributes.rate=-1: expected 0 or more."),
    ("slicer", '{"average_size": -1}', "toxic 't': attributes.average_size=-1: expected 0 or more."),
    ("slicer", '{"size_variation": -9}', "toxic 't': attributes.size_variation=-9: expected 0 or more."),
]


@pytest.mark.measured
@pytest.mark.parametrize(("kind", "attributes", "why"), NUMBERS)
def test_a_number_that_means_nothing_is_refused(ask, proxy, kind, attributes, why):
    asked = ask("POST", TOXICS, f'{{"type": "{kind}", "name": "t", "attributes": {attributes}}}')

    assert (asked.status, asked.data["status"], asked.data["error"][: len(why)]) == (400, 400, why)


LENIENT = [
    ("latency", {"latency": -5, "jitter": -5}),
    ("slow_close", {"delay": -5}),
    ("packet_loss", {"loss_rate": -0.5, "correlation": 7}),
    ("slicer", {"average_size": 1 << 62, "size_variation": 1 << 62, "delay": -1}),
    ("bandwidth", {"rate": (1 << 63) - 1}),
    ("limit_data", {"bytes": (1 << 63) - 1}),
]


@pytest.mark.parametrize(("kind", "attributes"), LENIENT)
def test_a_negative_time_is_at_once_and_a_large_number_is_much(ask, proxy, kind, attributes):
    assert added(ask, kind, attributes)["attributes"] == attributes
    assert fetched(proxy) == (b"hello", "FIN")


@pytest.mark.parametrize(("kind", "end"), [("limit_data", "FIN"), ("reset_peer", "RST")])
def test_a_negative_limit_is_as_0(ask, proxy, kind, end):
    added(ask, kind, {"bytes": -5, "timeout": -5})
    with dialled(proxy) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert to_end(client) == (b"", end)


def test_a_proxy_has_one_fault_whose_toxicity_is_that_of_one_fault(ask, proxy):
    added(ask, "fault", {"plan": "close()"})
    second = ask("POST", TOXICS, {"type": "fault", "name": "second", "attributes": {"plan": "close()"}})
    many = {"attributes": {"plan": "sequence(close(), ok())"}, "toxicity": 0.5}

    many_told = "toxicity=0.5: expected 1 with a plan of several faults; use sometimes(…)."
    assert (second.status, second.data["error"]) == (
        400,
        "toxic 'second': expected one toxic of the type fault for a proxy.",
    )
    assert ask("PATCH", f"{TOXICS}/fault_downstream", many) == (
        400,
        {"error": f"toxic 'fault_downstream': {many_told}", "status": 400},
    )
    assert ask("GET", f"{TOXICS}/fault_downstream").data["toxicity"] == 1


def test_toxics_of_a_disabled_proxy_wait_until_it_is_enabled(ask, web):
    made = ask.make("web", web, enabled=False)
    added(ask, "fault", {"plan": "reset()"})
    ask("POST", "/proxies/web", {"enabled": True})

    assert fetched(made) == (b"", "RST")


def test_a_proxy_that_is_moved_plays_its_toxics_on(ask, proxy, other_web):
    added(ask, "fault", {"plan": "sequence(reset(), ok())"})
    moved = ask("POST", "/proxies/web", {"upstream": other_web}).data

    assert [fetched(moved), fetched(moved)] == [(b"", "RST"), (b"other", "FIN")]
    assert repr(sequence(reset(), ok())) == moved["toxics"][0]["attributes"]["plan"]
