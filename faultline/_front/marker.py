"""The marker `faults`: which faults it stands for, and what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from faultline._core.errors import ParameterError

if TYPE_CHECKING:
    from faultline._core.plan import Plan
    from faultline.modes._registry import Case

WORDS = ("point", "tls", "http")
SILENT_POINTS = ("connect", "accept", "handshake", "request", "response")  # reached by a client of any protocol


def parametrized(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes `fault_server` once per fault of its marker.

    A wrong marker gives the test one parameter, the error, so that all other tests are collected and run.
    """
    marker = metafunc.definition.get_closest_marker("faults")
    try:
        if marker is None:
            raise ParameterError("fault_server needs the marker @pytest.mark.faults(reset(), …).")
        faults = chosen(marker)
    except ValueError as error:
        where = metafunc.definition.nodeid
        shown = f"{where}: {error}" if marker is None else f"{where}: {written(marker)}: {error}"
        metafunc.parametrize("fault_server", [ParameterError(shown)], ids=["faults"], indirect=True)
    else:
        metafunc.parametrize("fault_server", faults, ids=[repr(f) for f, _ in faults], indirect=True)


def check_used(item: pytest.Item) -> None:
    """Fail a test that has the marker and doesn't take `fault_server`, because the marker would do nothing."""
    marker = item.get_closest_marker("faults")
    if marker is not None and "fault_server" not in getattr(item, "fixturenames", ()):
        pytest.fail(
            f"{item.nodeid}: {written(marker)}: expected a test that takes the fixture fault_server, which serves each "
            "fault in turn; write fault_server among the test's parameters, or remove the marker.",
            pytrace=False,
        )


def written(marker: pytest.Mark) -> str:
    """The marker as it is written in a test."""
    given = [repr(value) for value in marker.args] + [f"{name}={value!r}" for name, value in marker.kwargs.items()]
    return f"@pytest.mark.{marker.name}({', '.join(given)})"


def chosen(marker: pytest.Mark) -> list[tuple[Plan, bool]]:
    """The faults of a `faults` marker, each with whether the guard requires it to strike.

    A marker without faults stands for the cases that `serve` can play; with `http=False`, for those of them that mean
    something to a client of another protocol. A fault need not strike if a plain client gets
    the response in its case: some faults strike only at clients that send HEAD or show a certificate.

    Raises:
        ParameterError: an argument is not a fault, or a keyword or its value is unknown.
    """
    from faultline._core.check import choice
    from faultline._core.planning import checked_plan
    from faultline._core.points import TABLE
    from faultline.modes._catalogue import cases

    point, tls, http = (marker.kwargs.get(word) for word in WORDS)
    if set(marker.kwargs) - {*WORDS} or (marker.args and marker.kwargs):
        raise ParameterError("expected faults, or point=…, tls=… and http=… alone.")
    if marker.args:
        return [(checked_plan(fault), True) for fault in marker.args]
    choice("point", point, (None, *(row.point for row in TABLE if row.is_at_servers)))
    choice("tls", tls, (None, True, False))
    choice("http", http, (None, True, False))
    rows = [(c, c.fault) for c in cases() if c.kind == "TCP server" and not c.fault.is_healthy]
    meant = ("response", "answer") if point == "response" else (point,)  # a faulty answer strikes at the response too
    asked = [(c, f) for c, f in rows if (point is None or c.point in meant) and tls in (None, f.needs_tls)]
    return [(fault, c.sees != "the response") for c, fault in asked if http in (None, needs_http(c))]


def needs_http(case: Case) -> bool:
    """Whether a case says something only to a client that speaks HTTP.

    To other clients a case says the same as to any if it breaks before the server has sent a byte of a response, and
    waits for no bytes that only a request of HTTP has.
    """
    brk = case.fault.break_
    if case.point not in SILENT_POINTS or case.sees == "the response" or case.fault.http_answer is not None:
        return True
    if case.point in ("connect", "accept", "handshake"):
        return False
    return brk is None or brk.at != case.point or bool(brk.trigger.after_bytes or brk.trigger.on)
