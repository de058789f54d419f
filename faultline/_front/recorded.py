"""Recordings in files: `faultline.load` reads JSON, and `faultline record` writes JSON or a module of tests."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING

from faultline._core.branching import Reply
from faultline._core.calls import explained
from faultline._core.check import file_path
from faultline._core.errors import ParameterError
from faultline._core.plan import Plan
from faultline._core.recording import MADE, Recording, from_json, is_at_accept
from faultline._core.steps import ConnectionStep, Send

if TYPE_CHECKING:
    from faultline._core.replay import Line

WIDTH = 80  # of the bytes in a line of a module


@explained
def load(path: str | os.PathLike[str]) -> Plan:
    """Read a plan from a file that `faultline record --out case.json` or `Recording.to_json()` has made.

    The file is read and never run. A recording whose upstream spoke TLS from the beginning needs `serve(plan,
    tls=True)`; its field `tls` says so.

    .. versionadded:: 0.1

    Args:
        path: the path of the file.

    Returns:
        The plan: a script, or a sequence with a script for each connection.

    Raises:
        ParameterError: there is no such file, or it is no recording, or of a later version.

    Example:
        >>> import faultline, pathlib, tempfile, urllib.request
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "case.json"
        >>> with faultline.serve(faultline.ok(b"from the upstream")) as real:
        ...     with faultline.relay(real, record=True) as server:
        ...         body = urllib.request.urlopen(server.url).read()
        ...         size = path.write_text(server.ledger.recording().to_json())
        >>> with faultline.serve(faultline.load(path)) as server:
        ...     urllib.request.urlopen(server.url).read()
        b'from the upstream'
    """
    place = file_path(path, "case.json")
    try:
        text = place.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise ParameterError(f"path={os.fspath(path)!r}: expected a file to read ({error}).") from None
    return from_json(text, os.fspath(path)).plan


def module_of(recording: Recording, upstream: str) -> str:
    """A module of tests that plays a recording: its plan, a fixture, and a test to complete."""
    told = [f"The upstream was {upstream!r}.", *(f"Masked: {what}." for what in recording.masked)]
    told += [] if recording.masked else ["Nothing was masked."]
    plan = code_of_plan(recording)
    called = {*re.findall(r"([a-z_]+)\(", plan)}  # also in what was said, whose words may be anything
    names = sorted({"serve", *({"script", "sequence", *MADE} & called)})
    imports = ["import re", ""] if "re.compile(" in plan else []
    head = NEW_LINE.join([*(f"# {line}" for line in told), "", *imports, "import pytest"])
    return f'''"""What a real server said, recorded by `faultline record`."""

{head}
from faultline import {", ".join(names)}

PLAN = {plan}


@pytest.fixture
def recorded():
    """A server that says what the upstream said."""
    with serve(PLAN{", tls=True" if recording.tls else ""}) as server:
        yield server


def test_client_meets_what_was_recorded(recorded):
    # Lead your client to recorded.host and recorded.port, and check what it makes of the answers.
    assert recorded.port > 0
'''


def code_of_plan(recording: Recording) -> str:
    """The plan of a recording as Python, with all of its bytes."""
    plans = [code_of_lines(lines) for lines in recording.scripts]
    while len(plans) > 1 and plans[-1] == plans[-2]:
        plans.pop()
    return plans[0] if len(plans) == 1 else call("sequence", plans)


def code_of_lines(lines: tuple[Line, ...]) -> str:
    """The script of one connection as Python."""
    return repr(lines[0]) if len(lines) == 1 and is_at_accept(lines[0]) else call("script", map(code_of, lines))


def code_of(line: Line | ConnectionStep) -> str:
    """A step as Python."""
    if isinstance(line, Send):
        return call("send", [code_of_bytes(line.data)]) if len(line.data) > WIDTH else repr(line)
    if isinstance(line, Reply):
        branches = [f"{key!r}: ({' '.join(f'{code_of(s)},' for s in steps)})" for key, steps in line.branches]
        return call(
            "reply",
            [f"{{{NEW_LINE}{indented(f',{NEW_LINE}'.join(branches))},{NEW_LINE}}}", f"reading={line.reading!r}"],
        )
    return repr(line)


def code_of_bytes(data: bytes) -> str:
    """Bytes as literals one below the other, which Python joins."""
    parts = [part for line in data.splitlines(keepends=True) for part in cut(line)]
    return NEW_LINE.join(map(repr, parts))


def cut(line: bytes) -> list[bytes]:
    """A line in pieces that fit into a line of a module."""
    return [line[at : at + WIDTH] for at in range(0, len(line), WIDTH)]


def call(name: str, arguments: Iterable[str]) -> str:
    """A call with each argument on lines of its own."""
    return f"{name}({NEW_LINE}{''.join(f'{indented(each)},{NEW_LINE}' for each in arguments)})"


def indented(text: str) -> str:
    """A text, four blanks further to the right."""
    return textwrap.indent(text, "    ")


NEW_LINE = "\n"
