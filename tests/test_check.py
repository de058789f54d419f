"""The checks of parameters: which values pass, and the one shape of the message for those that don't."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Mapping
from typing import Annotated, Literal, Optional, SupportsIndex, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tables import each_row

from faultline._core.check import choice, flag, nearest, parameter, plain, rejected, seconds, whole
from faultline._core.errors import ParameterError


def message_of(check, *args):
    with pytest.raises(ParameterError) as raised:
        check(*args)

    assert type(raised.value) is ParameterError
    return str(raised.value)


def test_message_has_name_value_and_what_was_expected():
    assert str(rejected("after_bytes", -1, "0 or more")) == "after_bytes=-1: expected 0 or more."


def test_typing_error_is_answered_with_the_nearest_word():
    assert nearest("rest", ["close", "reset", "stall"]) == " Did you mean 'reset'?"


def test_word_that_is_near_to_nothing_gets_no_suggestion():
    assert nearest("xyzzy", ["close", "reset", "stall"]) == ""


@each_row("value", [0, 1, 10**30])
def test_whole_number_passes_as_it_is(value):
    assert whole("after_bytes", value, " of bytes") is value


@each_row("value", [-1, -1.0, 1.5, "one", "1.5", "-1", b"x", None, True, False, math.nan, math.inf, [1]])
def test_what_is_no_whole_number_of_bytes_is_refused(value):
    said = message_of(whole, "after_bytes", value, " of bytes")

    assert said == f"after_bytes={value!r}: expected a whole number of bytes, 0 or more."


@each_row("value", [0, 65_535])
def test_bounds_of_a_whole_number_are_inside(value):
    assert whole("port", value, "", 0, 65_535) == value


@each_row("value", [80.0, "80", " 80 ", b"80"])
def test_number_of_another_type_is_answered_with_the_number_to_write(value):
    assert message_of(whole, "port", value, "", 0, 65_535) == (
        f"port={value!r}: expected a whole number, from 0 to 65535; write 80."
    )


@each_row("value", [-1, 65_536, "65536", 65_536.0, "8" * 5000, "٣", True])
def test_number_outside_its_bounds_is_refused_with_both_bounds(value):
    assert message_of(whole, "port", value, "", 0, 65_535) == (
        f"port={value!r}: expected a whole number, from 0 to 65535."
    )


@each_row("value", [0, 0.0, 0.5, 2, 99])
def test_duration_becomes_a_float_of_the_same_value(value):
    taken = seconds("for_seconds", value)

    assert (taken, type(taken)) == (value, float)


@each_row("value", [-0.1, -1, math.inf, -math.inf, math.nan, "soon", "-1", "5 kB", None, True, 1j])
def test_what_is_no_finite_duration_is_refused(value):
    assert message_of(seconds, "for_seconds", value) == (
        f"for_seconds={value!r}: expected a number of seconds, 0 or more."
    )


@each_row("value, write", [("1", "1"), (" 0.5", "0.5"), ("50ms", "0.05"), ("2 min", "120")])
def test_duration_that_is_text_is_answered_with_the_number_to_write(value, write):
    assert message_of(seconds, "for_seconds", value).endswith(f" a number of seconds, 0 or more; write {write}.")


def test_duration_beyond_every_float_is_refused_like_any_other():
    assert message_of(seconds, "for_seconds", 10**400).endswith(": expected a number of seconds, 0 or more.")


@given(st.one_of(st.integers(), st.floats(), st.booleans(), st.text("019.-ae", max_size=5), st.none()))
def test_seconds_takes_a_value_or_raises_a_parameter_error(value):
    taken = 0.0
    with contextlib.suppress(ParameterError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        taken = seconds("for_seconds", value)

    assert type(taken) is float
    assert math.isfinite(taken)
    assert taken >= 0


@each_row("value", [True, False])
def test_flag_is_true_or_false(value):
    assert flag("tls", value) is value


@each_row("value", [0, 1, None, "yes", []])
def test_what_is_only_like_true_or_false_is_refused(value):
    assert message_of(flag, "tls", value) == f"tls={value!r}: expected True or False."


def test_one_of_the_choices_passes():
    assert choice("at", "idle", ("accept", "idle")) is None


def test_wrong_choice_is_answered_with_all_and_the_nearest():
    assert message_of(choice, "at", "respones", ("request", "response")) == (
        "at='respones': expected one of 'request', 'response'. Did you mean 'response'?"
    )


@each_row("value", [None, 5, ["request"], b"request"])
def test_wrong_choice_that_is_no_word_is_answered_without_a_suggestion(value):
    assert message_of(choice, "at", value, ("request", 7)) == f"at={value!r}: expected one of 'request', 7."


def test_suggestion_leaves_out_choices_that_are_no_words():
    assert message_of(choice, "at", "reques", ("request", 7)).endswith("'request', 7. Did you mean 'request'?")


@each_row(
    ("annotation", "kind", "optional"),
    [
        (int, int, False),
        (Annotated[int, "text"], int, False),
        (Annotated[float | None, "text"], float, True),
        (Optional[bytes], bytes, True),  # noqa: UP045 - both spellings are read
        (Union[int, str], Union[int, str], False),  # noqa: UP007 - the same
        (int | str | None, int | str | None, True),
        (Literal["a"], Literal["a"], False),
    ],
)
def test_annotation_is_read_without_its_text_and_none(annotation, kind, optional):
    assert plain(annotation) == (kind, optional)


@each_row(
    ("name", "value", "annotation"),
    [
        ("after_bytes", 0, int),
        ("for_seconds", 1, float),
        ("for_seconds", None, float | None),
        ("at", "idle", Literal["accept", "idle"]),
        ("status", 200, int),
        ("body", b"", Annotated[bytes | None, "text"]),
        ("headers", {}, Mapping[str, str] | list[str]),
        ("strict", True, bool),
        ("seconds", 1, float),
        ("probability", 0.5, float),
        ("probability", 1, float),
        ("server", object(), SupportsIndex),  # a protocol is left to the mode
    ],
)
def test_argument_that_fits_its_parameter_passes(name, value, annotation):
    assert parameter(name, value, annotation) is None


@each_row(
    ("name", "value", "annotation", "expected"),
    [
        ("after_bytes", None, int, "after_bytes=None: expected a whole number of bytes, 0 or more."),
        ("after_bytes", -1, int, "after_bytes=-1: expected a whole number of bytes, 0 or more."),
        ("for_seconds", "1", float | None, "for_seconds='1': expected a number of seconds, 0 or more; write 1."),
        ("at", "end", Literal["idle"], "at='end': expected one of 'idle'."),
        ("status", "200", int, "status='200': expected int, not str."),
        ("status", True, int, "status=True: expected int, not bool."),
        ("body", "text", Annotated[bytes | None, "text"], "body='text': expected bytes, not str."),
        ("seconds", -1, float, "seconds=-1: expected a number of seconds, 0 or more."),
        ("probability", True, float, "probability=True: expected float, not bool."),
        ("strict", 1, bool, "strict=1: expected bool, not int."),
    ],
)
def test_argument_that_does_not_fit_its_parameter_is_refused(name, value, annotation, expected):
    assert message_of(parameter, name, value, annotation) == expected
