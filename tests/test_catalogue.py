"""The catalogue: one entry per mode, found by its name, described by what it is made of."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import pydoc
import re
from dataclasses import replace
from typing import Annotated, Literal, get_args

import pytest
from support.tables import each_row

import faultline
from faultline._core.answers import Answer
from faultline._core.errors import CallError, ParameterError, UnknownModeError
from faultline._core.fault import Fault
from faultline._core.points import POINTS
from faultline.modes._catalogue import cases, find, modes
from faultline.modes._registry import ENTRIES, Case, Parameter, Sees, case, mode
from faultline.modes.lookups import SERVER

MODES = list(modes().values())
ROOMS = [
    importlib.import_module(f"faultline.modes.{room.name}")
    for room in pkgutil.iter_modules(faultline.modes.__path__)
    if not room.name.startswith("_")
]

each_mode = each_row("entry", MODES)
each_case = each_row("row", cases())


@pytest.fixture
def spare():
    """A catalogue that may be written to: it is put back after the test."""
    before = dict(ENTRIES)
    yield
    ENTRIES.clear()
    ENTRIES.update(before)


# --- what every mode has ---------------------------------------------------------------------------------


def test_modes_are_in_alphabetical_order():
    assert [entry.name for entry in MODES] == sorted(entry.name for entry in MODES)


@each_row("room", ROOMS)
def test_what_a_room_of_modes_offers_is_in_the_catalogue_and_sorted(room):
    known = {entry.name: entry.function for entry in MODES}
    here = sorted(name for name, function in known.items() if function.__module__ == room.__name__)

    assert room.__all__ == here
    assert [getattr(room, name) for name in here] == [known[name] for name in here]


@each_mode
def test_mode_lives_in_a_room_of_modes(entry):
    assert entry.function.__module__ in {room.__name__ for room in ROOMS}
    assert entry.function.__name__ == entry.name


@each_mode
def test_mode_is_said_in_one_line_that_fits_a_list(entry):
    assert entry.summary == entry.function.__doc__.partition("\n")[0]
    assert entry.summary.endswith(".")
    assert entry.summary[0].isupper()
    assert len(entry.summary) < 100


@each_mode
def test_every_parameter_is_described(entry):
    assert [p.name for p in entry.parameters if not p.text] == []
    assert [p.text for p in entry.parameters if p.text.endswith(".")] == []


@each_mode
def test_only_the_first_parameter_goes_by_position_and_the_others_have_defaults(entry):
    others = list(inspect.signature(entry.function).parameters.values())[1:]
    others = [p for p in others if p.name != "server"]  # a server has no default

    assert [p.name for p in others if p.kind is not p.KEYWORD_ONLY or p.default is p.empty] == []


@each_mode
def test_parameter_with_a_unit_is_a_number_of_it(entry):
    for p in entry.parameters:
        kind = str(p.annotation)
        assert not p.name.endswith("_bytes") or "int" in kind
        assert not p.name.endswith("seconds") or "float" in kind
        assert not re.search(r"_(ms|millis|secs?|kb|timeout)$|^(delay|timeout|size|count)$", p.name)


@each_mode
def test_mode_says_what_it_makes(entry):
    # No text: each process would compile the annotations of all modes.
    assert inspect.signature(entry.function).return_annotation is Fault


@each_mode
def test_mode_has_a_case_and_stands_where_the_first_one_breaks_or_with_the_server_that_it_takes(entry):
    assert entry.cases
    assert entry.group in (entry.cases[0].point, entry.kind)
    assert entry.cases[0].point in (*POINTS, "condition", "answer")


@each_mode
def test_all_cases_of_a_mode_are_played_by_one_kind_of_server(entry):
    assert {row.kind for row in entry.cases} == {entry.kind}


@each_row(
    ("kind", "names"),
    [
        (
            "DNS server",
            ["addresses", "bad_dns", "no_address", "nxdomain", "resolves_to", "servfail", "slow_resolve"],
        ),
        ("UDP server", ["duplicated", "reordered"]),
        ("SOCKS proxy", ["socks_refusal"]),
    ],
)
def test_kind_of_server_follows_from_the_fault(kind, names):
    assert [entry.name for entry in MODES if entry.kind == kind] == names


@each_case
def test_case_states_what_a_plain_client_sees(row):
    assert row.sees in get_args(Sees)


@each_case
def test_case_is_a_fault_that_is_said_as_its_mode(row):
    said = row.fault.said

    assert [s.mode for s in said] == [row.mode]
    assert str(row) == repr(row.fault)
    assert {name for name, _ in row.arguments} <= {p.name for p in find(row.mode).parameters}


@each_case
def test_fault_can_be_read_back_from_how_it_is_said(row):
    public = {name: getattr(faultline, name) for name in faultline.__all__} | {"server": SERVER}

    assert eval(repr(row.fault), public) == row.fault


def test_no_case_stands_twice():
    assert len({row.fault for row in cases()}) == len(cases())


def test_cases_meet_every_point():
    assert {row.point for row in cases()} >= set(POINTS) - {"tunnel"}  # a server has no tunnel


@each_row(
    ("row", "point"),
    [
        (Case(faultline.refuse, (), "ConnectionRefusedError"), "connect"),
        (Case(faultline.reset, (("at", "idle"),), "ConnectionResetError"), "idle"),
        (Case(faultline.bad_cert, (), "SSLCertVerificationError"), "handshake"),
        (Case(faultline.slow_resolve, (("delay_seconds", 1),), "an address"), "lookup"),
        (Case(faultline.nxdomain, (), "gaierror -2"), "lookup"),
        (Case(faultline.duplicated, (), "the response"), "response"),
        (Case(faultline.drip, (), "the response"), "condition"),
        (Case(faultline.ok, (), "the response"), "answer"),
    ],
)
def test_case_stands_at_the_point_where_it_breaks(row, point):
    assert row.point == point


# --- looking up ------------------------------------------------------------------------------------------


@each_row("name", ["bad_cert", "bad-cert"])
def test_mode_is_found_by_its_name_in_python_and_on_a_command_line(name):
    assert find(name).name == "bad_cert"


@each_row(
    ("name", "hint"),
    [
        ("rest", " Did you mean 'reset'?"),
        ("bad-crt", " Did you mean 'bad_cert'?"),
        ("xyzzy", ""),
        ("", ""),
        ("Reset", " Did you mean 'reset'?"),
    ],
)
def test_unknown_mode_is_answered_with_the_nearest_and_all_others(name, hint):
    with pytest.raises(UnknownModeError) as raised:
        find(name)

    assert type(raised.value) is UnknownModeError
    assert str(raised.value) == f"no mode {name!r}.{hint} Modes: {', '.join(entry.name for entry in MODES)}."


# --- calling ---------------------------------------------------------------------------------------------


@each_row(
    ("name", "arguments", "expected"),
    [
        ("reset", {"fin_first": 1}, "fin_first=1: expected bool, not int."),
        ("stall", {"for_seconds": -1}, "for_seconds=-1: expected a number of seconds, 0 or more."),
        ("stall", {"until": "gate"}, "until='gate': expected a Gate(), not str."),
        ("refuse", {"for_seconds": "1"}, "for_seconds='1': expected a number of seconds, 0 or more."),
        ("bad_cert", {"kind": "expird"}, "kind='expird': expected one of 'expired', 'not_yet_valid', "),
        ("ok", {"body": "text"}, "body='text': expected bytes, not str."),
        ("bad_dns", {"kind": "refusd"}, "kind='refusd': expected one of 'refused', 'silence', "),
        ("slow_resolve", {"delay_seconds": True}, "delay_seconds=True: expected a number of seconds, 0 or more."),
        ("resolves_to", {"server": 5}, "server=5: expected a server, or an IP address of this machine, with "),
        ("addresses", {"first": "dead", "server": SERVER}, "first='dead': expected one of 'dead_first', "),
        ("addresses", {"first": "dead_first", "server": None}, "server=None: expected a server, because its ledger "),
        ("socks_refusal", {"kind": "no"}, "kind='no': expected one of 'general_failure', 'not_allowed', "),
        ("ok", {"status": "200"}, "status='200': expected int, not str."),
        ("ok", {"status": True}, "status=True: expected int, not bool."),
        ("ok", {"status": 100}, "status=100: expected a whole number, from 200 to 999."),
        ("latency", {"seconds": -1}, "seconds=-1: expected a number of seconds, 0 or more."),
        ("throttle", {"bytes_per_second": 0}, "bytes_per_second=0: expected a whole number, 1 or more."),
        ("drip", {"chunk_bytes": 0}, "chunk_bytes=0: expected a whole number of bytes, 1 or more."),
        ("corrupt", {"at_byte": -1}, "at_byte=-1: expected a whole number, 0 or more."),
        ("corrupt", {}, "at_byte=None, probability=0.0: expected one of the two."),
        ("corrupt", {"at_byte": 1, "probability": 0.1}, "at_byte=1, probability=0.1: expected one of the two."),
        ("corrupt", {"probability": 1.5}, "probability=1.5: expected a probability from 0 to 1."),
        (
            "loss",
            {"probability": 1.0},
            "probability=1.0: expected a probability between 0 and 1; partition() or blackhole() ",
        ),
    ],
)
def test_argument_that_means_nothing_is_an_error_that_names_it(name, arguments, expected):
    with pytest.raises(ParameterError) as raised:
        find(name).function(**arguments)

    assert type(raised.value) is ParameterError
    assert str(raised.value).startswith(expected.removesuffix("."))


def test_stall_that_ends_in_two_ways_is_an_error_that_names_both():
    with pytest.raises(ParameterError) as raised:
        faultline.stall(for_seconds=1, until=faultline.Gate())

    assert str(raised.value) == "for_seconds=1, until=<Gate closed>: expected one of the two."


@each_row("name", ["reset", "ok", "latency"])
def test_mode_that_was_not_called_in_a_marker_is_an_error_that_says_so(name):
    def test():
        """What pytest hands to a decorator that was not called."""

    with pytest.raises(ParameterError) as raised:
        find(name).function(test)

    assert str(raised.value) == f"{name}({test!r}): expected a call; in a marker write faults({name}())."


@each_row(
    "headers",
    [
        5,
        None,
        "X: y",
        ["X: y"],
        {"X": 5},
        {5: "y"},
        {"X": "a\r\nb"},
        {"X": "a\0b"},
        {"X": "\N{SNOWMAN}"},
        {"": "y"},
        {"a b": "y"},
        {"X:": "y"},
        [("a", "b", "c")],
        [["a", "b"]],
    ],
)
def test_header_that_http_cannot_carry_is_an_error(headers):
    with pytest.raises(ParameterError) as raised:
        faultline.ok(headers=headers)

    assert str(raised.value).startswith(f"headers={headers!r}: expected ")


@each_row("headers", [{"A": "1", "B": "caf\xe9"}, [("A", "1"), ("B", "caf\xe9")], (("A", "1"), ("B", "caf\xe9"))])
def test_headers_are_given_as_a_mapping_or_as_pairs(headers):
    assert faultline.ok(headers=headers).answer == Answer(headers=(("A", "1"), ("B", "caf\xe9")))


@each_row("probability", [0.5, 1.0, 1])
def test_probability_may_be_a_whole_number(probability):
    assert faultline.corrupt(probability=probability).conditions[0].probability == probability


@each_row(
    ("name", "given", "named"),
    [
        ("reset", ["accept"], {}),
        ("reset", [], {"att": "accept"}),
        ("refuse", [1], {}),
        ("latency", [], {}),
        ("ok", [b"x"], {"body": b"y"}),
    ],
)
def test_call_that_does_not_fit_the_signature_is_a_type_error(name, given, named):
    with pytest.raises(TypeError) as raised:
        find(name).function(*given, **named)

    assert type(raised.value) is CallError


# --- making a mode ---------------------------------------------------------------------------------------


def made():
    @mode(case("the response"), case("end of stream", size_bytes=3, word="b"))
    def invented(
        name: str | None = None,
        *,
        size_bytes: Annotated[int, "so many"] = 0,
        word: Literal["a", "b"] = "a",
    ) -> Fault:
        """Do something new.

        And more.
        """
        return Fault(answer=Answer(size_bytes + 200, ((word, name or "-"),)))

    return invented


def test_function_is_a_mode_by_being_decorated(spare):
    invented = made()
    entry = find("invented")

    assert "invented" in modes()
    assert (entry.function, entry.summary, entry.group) == (invented, "Do something new.", "answer")
    assert [row.fault.answer.status for row in entry.cases] == [200, 203]
    assert [row.sees for row in entry.cases] == ["the response", "end of stream"]


def test_mode_is_called_as_it_is_written(spare):
    invented = made()

    assert invented("x", size_bytes=1).answer == Answer(201, (("a", "x"),))
    assert invented.__doc__.startswith("Do something new.")


def test_arguments_of_a_mode_are_checked_by_name_and_type(spare):
    invented = made()

    for arguments in ({"size_bytes": -1}, {"word": "c"}, {"name": 5}):
        with pytest.raises(ParameterError, match=f"^{next(iter(arguments))}="):
            invented(**arguments)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "invented()"),
        ({"name": "x"}, "invented('x')"),
        ({"word": "a", "size_bytes": 0}, "invented()"),
        ({"word": "b", "size_bytes": 2, "name": "x"}, "invented('x', size_bytes=2, word='b')"),
    ],
)
def test_fault_is_said_with_what_differs_from_the_defaults(spare, arguments, text):
    assert repr(made()(**arguments)) == text


def test_parameters_are_told_with_their_types_defaults_and_texts(spare):
    made()
    name, size, word = find("invented").parameters

    assert name == Parameter("name", str | None, None, "")
    assert size == Parameter("size_bytes", Annotated[int, "so many"], 0, "so many")
    assert word == Parameter("word", Literal["a", "b"], "a", "")
    assert not any(p.is_required for p in (name, size, word))
    assert replace(word, default=inspect.Parameter.empty).is_required


def test_second_mode_of_one_name_is_an_error_that_names_both_owners(spare):
    made()
    with pytest.raises(ParameterError) as raised:
        made()

    assert str(raised.value) == (
        f"mode 'invented' of {__name__}: expected a new name; {__name__} has one of this name."
    )


def test_mode_without_words_has_an_empty_summary(spare):
    @mode(case("the response"))
    def mute() -> Fault:
        return Fault()

    assert (find("mute").summary, mute()) == ("", Fault())


# --- help ------------------------------------------------------------------------------------------------


@each_row("entry", MODES)
def test_help_has_each_parameter_with_its_text_and_its_type(entry):
    text = pydoc.render_doc(entry.function, renderer=pydoc.plaintext)
    words = " ".join(text.split())

    assert "Annotated" not in text
    assert ("Args:" in text) == bool(entry.parameters)
    for parameter in entry.parameters:
        assert f" {parameter.name}: {' '.join(parameter.text.replace('--', '').split())}." in words
    assert "\nExample:" in inspect.getdoc(entry.function)
