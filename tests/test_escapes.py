r"""Bytes on a command line: escapes such as `\r\n`, and files."""

from __future__ import annotations

import shlex
from typing import get_args, get_origin

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.tables import each_row

import faultline
from faultline import ParameterError, ok, raw, reset, sequence
from faultline._core.check import plain
from faultline._front.escapes import bytes_of, word_of
from faultline._front.explaining import command_of
from faultline._front.listing import for_tests, metavar, options_of
from faultline._front.options import add_mode_options, plan_of
from faultline._front.parser import Parser
from faultline._front.served import add_serve_options
from faultline.modes._catalogue import modes

UNKNOWN = r"expected the escapes \r, \n, \t, \0 and \xNN, and \\ for a backslash."


@each_row(
    "word, data",
    [
        (r"220 hi\r\n", b"220 hi\r\n"),
        (r"\t\0\\\x00\xFf", b"\t\0\\\0\xff"),
        (r"a\\n", b"a\\n"),
        (r"\x41\x4a", b"AJ"),
        ("é", "é".encode()),
        (r"\x40file", b"@file"),
        ("a@b", b"a@b"),
        ("", b""),
    ],
)
def test_escapes_are_bytes(word, data):
    assert bytes_of("data", word, reads_files=False) == data


@each_row("word", [r"\d", "a\\", r"\x", r"\x4", r"\xg0", r"\u0041", r"\é"])
def test_another_escape_is_refused(word):
    with pytest.raises(ParameterError) as caught:
        bytes_of("data", word, reads_files=True)
    assert str(caught.value) == f"data={word!r}: {UNKNOWN}"


@given(st.binary(max_size=50))
def test_any_bytes_can_be_written(data):
    assert bytes_of("data", "".join(f"\\x{byte:02x}" for byte in data), reads_files=False) == data


@given(st.binary(max_size=50))
def test_any_bytes_have_a_word_that_is_read_back(data):
    assert bytes_of("data", word_of(data), reads_files=True) == data


@each_row(
    "data, word",
    [
        (b"220 hi\r\n", r"220 hi\r\n"),
        ("é@".encode(), "é@"),
        (b"@file", r"\x40file"),
        (b"C:\\", r"C:\\"),
        (b"\0\xff\x1b", r"\0\xff\x1b"),
    ],
)
def test_a_word_is_as_readable_as_can_be(data, word):
    assert word_of(data) == word


@given(st.binary(min_size=1, max_size=20))
@example(b"-\0")
def test_the_command_line_of_a_fault_plays_it(data):
    assert_plays(raw(data))


def assert_plays(fault):
    assert planned(command_of(fault).removeprefix("faultline serve ")) == fault


TEXTS = [
    (entry, parameter)
    for entry in modes().values()
    if not for_tests(entry)
    for parameter in options_of(entry)
    if metavar(parameter) in ("TEXT", "'NAME: VALUE'") and plain(parameter.annotation)[0] is not bool
    if parameter.name != "steps"  # whose words are calls
]


@pytest.mark.parametrize("text", ["-", "--", "-x", "--tls", "-1", "- x", "--at=idle"], ids=repr)
def test_a_value_that_begins_with_a_dash_is_in_every_command_line(text):
    for entry, parameter in TEXTS:
        given = dict(entry.cases[0].arguments)
        kind = plain(parameter.annotation)[0]
        if metavar(parameter) == "'NAME: VALUE'":
            given[parameter.name] = (("-x", text),)
        else:
            one = text.encode() if bytes in (kind, *get_args(kind)) else text
            given[parameter.name] = (one,) if get_origin(kind) is tuple else one
        assert_plays(entry.function(**given))


def planned(words):
    """The plan of a command line."""
    parser = Parser()
    chosen = add_serve_options(parser, ["serve", *shlex.split(words)])
    return plan_of(chosen, parser.parse_args(shlex.split(words)), reads_files=True)


def test_a_command_reads_files(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"\xff\\r@")

    assert planned(f"--mode raw --data @{tmp_path}/a.bin") == raw(b"\xff\\r@")
    assert planned(f"--mode ok --chunks 'a\\n' --chunks @{tmp_path}/a.bin") == ok(chunks=(b"a\n", b"\xff\\r@"))
    then = sequence(reset(on=b"\0"), raw(b"\xff\\r@"))
    assert planned(f"--mode reset --on '\\0' --then 'raw --data @{tmp_path}/a.bin'") == then


@each_row("path, why", [("none", "No such file or directory"), ("", "Is a directory"), ("a\0", "embedded null byte")])
def test_a_file_that_can_not_be_read_is_refused(tmp_path, path, why):
    with pytest.raises(ParameterError) as caught:
        bytes_of("data", f"@{tmp_path}/{path}", reads_files=True)
    assert f"expected a file that can be read ({why}); \\x40 is the sign @." in str(caught.value)


@each_row("text", ["raw --data @/etc/hostname", "ok --then 'raw --data @/etc/hostname'"])
def test_a_plan_that_comes_from_elsewhere_reads_no_file(text):
    with pytest.raises(ParameterError, match="only the command line reads a file"):
        faultline.plan(text)


def test_the_words_of_a_plan_have_the_same_escapes():
    assert faultline.plan(r"reset --on 'COMMIT\r\n'") == reset(on=b"COMMIT\r\n")
    assert add_mode_options(Parser(), ["serve"], "serve", required=True) is None
