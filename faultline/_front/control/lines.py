"""Where the values of a JSON or TOML file are: the line of each, by its path.

Rules: a value that is not found has the line of what it is in. JSON is read a second time for the lines, after the
decoder has accepted it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from json.decoder import scanstring  # type: ignore[attr-defined] # reads one string; the stubs leave it out
from typing import TypeAlias

from faultline._front.control.fields import DECODER, SPACE

Path: TypeAlias = tuple[str | int, ...]
DEEPEST = len(("toxics", 0, "attributes", "plan"))
HEADER = re.compile(r"^[ \t]*\[\[?[ \t]*([^\]#]+?)[ \t]*\]\]?", re.MULTILINE)


def line_at(text: str, at: int) -> int:
    """The number of the line of a place."""
    return text.count("\n", 0, at) + 1


def after_space(text: str, at: int) -> int:
    """The first place from `at` on that has no white space."""
    return len(text) - len(text[at:].lstrip(SPACE))


def json_lines(text: str, at: int) -> dict[Path, int]:
    """The lines of all values of the JSON value at a place."""
    lines: dict[Path, int] = {}
    for path, place in json_places(text, after_space(text, at), ()):
        lines.setdefault(path, line_at(text, place))
    return lines


def json_places(text: str, at: int, path: Path) -> Iterator[tuple[Path, int]]:
    """The places of a JSON value, and of the values in it, as deep as those of a proxy go."""
    yield path, at
    if text[at] not in "[{" or len(path) == DEEPEST:
        return
    is_object, number = text[at] == "{", 0
    at = after_space(text, at + 1)
    while text[at] not in "]}":
        key: str | int = number
        if is_object:
            key, end = scanstring(text, at + 1)
            at = after_space(text, after_space(text, end) + 1)
        yield from json_places(text, at, (*path, key))
        at = after_space(text, DECODER.raw_decode(text, at)[1])
        at = after_space(text, at + 1) if text[at] == "," else at
        number += 1


def toml_line(text: str, path: Path) -> int:
    """The line of a value of a TOML file."""
    begin, end, names = 0, len(text), []
    for key in path:
        if isinstance(key, str):
            names.append(key)
            found = re.compile(rf"(?:^|[\s{{,])[\"']?{re.escape(key)}[\"']?[ \t]*=", re.MULTILINE).search(
                text, begin, end
            )
            if found is not None:
                begin = after_space(text, found.start() + (found[0][0] in "\n {,"))
                continue
        own = [each for each in HEADER.finditer(text, begin, end) if parts_of(each[1])[: len(names)] == names]
        heads = [each for each in own if parts_of(each[1]) == names]
        if isinstance(key, int) and key < len(heads):
            begin = heads[key].start()
            end = next((each.start() for each in heads[key + 1 :]), end)
        elif isinstance(key, str) and heads:
            begin = heads[0].start()
    return line_at(text, begin)


def parts_of(header: str) -> Sequence[str]:
    """The names in the header of a table."""
    return [part.strip(" \t\"'") for part in header.split(".")]
