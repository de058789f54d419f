"""The places of a fault that are no server of its own: a lookup, a proxy, a relay before a real server."""

from __future__ import annotations

import re

import pytest

import faultline
from faultline import FaultlineError, receive_until, script, send
from faultline._audit.cases import Choice, chosen
from faultline._audit.outcomes import Call
from faultline._audit.run import was_met
from faultline._front.command import main

HERE = "audit.clients_elsewhere"
LOOKUPS = ["no_address()", "nxdomain()", "servfail()", "slow_resolve(3.0)"]


def verdicts(audit):
    """The verdict of each case."""
    return {str(case.row): case.verdict for case in audit.results}


# --- lookups ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given", [{"points": ("lookup",)}, {"modes": ("nxdomain", "servfail", "no_address", "slow_resolve")}]
)
def test_lookups_are_audited_where_they_are_asked_for_by_name(given):
    assert sorted(str(row) for row in chosen(Choice(**given, slow_seconds=3.0))) == LOOKUPS


@pytest.mark.parametrize("given", [{"tls": True}, {"proxy": True}, {"upstream": "127.0.0.1:1"}])
def test_lookups_are_audited_at_a_server_without_tls_alone(given):
    assert chosen(Choice(points=("lookup",), **given)) == []


@pytest.mark.slow
@pytest.mark.measured
def test_a_client_whose_timeout_leaves_out_the_lookup_hangs_there():
    audit = faultline.audit("audit.clients_with_bugs:careful", points=("lookup",), timeout_seconds=2)

    assert verdicts(audit) == dict.fromkeys(LOOKUPS, "handled") | {"slow_resolve(3.0)": "hung"}
    assert [case.reason for case in audit.found("hung")] == [
        "no timeout of the lookup: it was still waiting after 2 s, at 'lookup'."
    ]


@pytest.mark.slow
@pytest.mark.measured
def test_a_client_that_looks_nothing_up_by_python_is_not_judged():
    audit = faultline.audit(f"{HERE}:by_address", modes=("nxdomain",))

    assert [(case.verdict, case.reason) for case in audit.results] == [
        (
            "not run",
            "the client looks names up by a program or a library of its own, and not by Python's socket.",
        )
    ]


# --- a proxy ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_connection_that_is_kept_after_a_connect_that_failed_is_leaked(audited):
    given = {"modes": ("status", "reset", "ok"), "points": ("answer", "request"), "proxy": True, "tls": True}
    well, bad = (audited(f"{HERE}:{name}", **given) for name in ("tunneled", "keeps_a_failed_tunnel"))

    assert well.found() == (), str(well)
    assert {case.mode for case in bad.found()} == {"reset"}
    assert {case.verdicts for case in bad.found()} == {("leaked",)}


@pytest.mark.slow
def test_a_client_that_uses_no_proxy_is_not_judged(audited):
    audit = audited(f"{HERE}:by_address", modes=("status",), proxy=True, tls=False)

    assert {(case.verdict, case.reason) for case in audit.results} == {
        ("not run", "the client doesn't use the proxy that HTTPS_PROXY and HTTP_PROXY name.")
    }


def test_a_proxy_is_audited_in_what_it_plays():
    names = {str(row) for row in chosen(Choice(proxy=True))}

    assert {"status(503)", "status(503) in TLS", "close(at='accept')", "stall() in TLS"} <= names
    assert not {name for name in names if "idle" in name or "bad_cert" in name or "handshake" in name}
    assert {name for name in names if "tunnel" in name} == {
        f"{verb}(at='tunnel') in TLS" for verb in ("reset", "close", "stall")
    }
    assert chosen(Choice(points=("tunnel",))) == []


@pytest.mark.slow
@pytest.mark.measured
def test_a_tunnel_that_breaks_before_the_handshake_is_met():
    audit = faultline.audit(f"{HERE}:tunneled", points=("tunnel",), modes=("reset", "close"), proxy=True)

    assert [(case.point, case.verdict) for case in audit.results] == [("tunnel", "handled")] * 2
    assert [[a.struck.point for a in case.runs[0].attempts] for case in audit.results] == [["tunnel"]] * 2


@pytest.mark.parametrize(
    ("case", "proxy", "outcome", "lookups", "expected"),
    [
        ("nxdomain()", False, "returned", 0, False),
        ("nxdomain()", False, "returned", 1, True),
        ("nxdomain()", False, "hung", 0, True),
        ("ok()", True, "returned", 1, False),
        ("ok()", True, "raised", 1, True),
        ("ok()", False, "returned", 1, True),
    ],
)
def test_a_case_was_met_where_the_client_came_to_its_place(case, proxy, outcome, lookups, expected):
    choice = Choice(modes=(case[:-2],), proxy=proxy)

    assert was_met(chosen(choice)[0], choice, [Call(outcome)], (), lookups) is expected


# --- a relay ---------------------------------------------------------------------------------------------------------

LINES = script(receive_until(b"\n"), send(b"one\n"), send(b"two\n"), send(b"three\n"))


@pytest.mark.slow
@pytest.mark.measured
def test_a_client_of_another_protocol_is_audited_before_its_own_server():
    with faultline.serve(LINES, strict=False) as upstream:
        given = {"upstream": upstream.hostport, "modes": ("close", "latency"), "tls": False}
        well, bad = (faultline.audit(f"{HERE}:{name}", **given) for name in ("lines", "lines_swallowed"))

    assert well.found() == (), str(well)
    assert {case.verdicts for case in bad.found()} == {("swallowed",)}
    assert "close(after_bytes=10)" in {case.case for case in bad.found()}


def test_a_relay_is_audited_in_what_it_plays():
    names = {str(row) for row in chosen(Choice(protocol="tcp", upstream="127.0.0.1:1"))}

    assert {"close()", "stall(at='accept') in TLS", "refuse()", "bad_cert('expired') in TLS"} <= names
    assert not {"status(503)", "echo()", "close(on=b'Host:')", "close(at='idle')"} & names


# --- what a pool leaves ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_connection_that_a_pool_forgets_is_leaked(audited):
    audit = audited(f"{HERE}:keeps_what_failed_pool", factory=True, modes=("raw", "ok"), tls=False)
    found = {case.mode: case.verdicts for case in audit.results}

    assert found == {"ok": ("handled",), "raw": ("leaked",)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "expected"), [("leaves_a_thread_for_a_moment", "handled"), ("leaves_a_thread", "leaked")]
)
def test_a_thread_that_ends_soon_after_the_call_is_not_leaked(name, expected, audited):
    audit = audited(f"{HERE}:{name}", modes=("ok",), points=("answer",), tls=False)

    assert {case.case: case.verdict for case in audit.results}["ok()"] == expected


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"proxy": True, "upstream": "127.0.0.1:1"}, "proxy=True: expected no upstream and protocol='http' with it"),
        ({"proxy": True, "protocol": "tcp"}, "proxy=True: expected no upstream and protocol='http' with it"),
        ({"upstream": "nowhere"}, "upstream='nowhere': expected a host and a port"),
        ({"upstream": "192.0.2.1:80"}, "upstream='192.0.2.1:80': expected a server on this machine"),
    ],
)
def test_a_mistake_gets_a_line(given, expected, capsys):
    with pytest.raises(FaultlineError, match=f"^{re.escape(expected)}"):
        faultline.audit(print, **given)
    words = [
        word for name, value in given.items() for word in ([f"--{name}"] if value is True else [f"--{name}", value])
    ]
    assert main(["audit", *words]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert next(iter(given)) in said
