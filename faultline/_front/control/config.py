"""The file of proxies for `--config`: toxiproxy's JSON, or the same content as TOML.

Rules: an error names the file and the line.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from faultline._core.errors import FaultlineError
from faultline._front.control.errors import ApiError
from faultline._front.control.fields import DECODER, SPACE, reason_of

TABLE = re.compile(r"^[ \t]*\[\[[ \t]*proxies[ \t]*\]\]", re.MULTILINE)
IN_A_LINE = re.compile(r"\(at (?:line (\d+), column \d+|end of document)\)$")  # of tomllib


class ConfigError(FaultlineError):
    """The file of proxies has a mistake."""


class Entry(NamedTuple):
    """One proxy of the file: its description, and the line where that begins."""

    given: Any
    line: int


def entries_of(path: str) -> list[Entry]:
    """The proxies of a file, whose name ends in `.toml` if it is TOML.

    Raises:
        ConfigError: the file can't be read, or is neither.
    """
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {path}: {getattr(error, 'strerror', None) or error}.") from None
    return (of_toml if path.endswith(".toml") else of_json)(path, text)


def of_json(path: str, text: str) -> list[Entry]:
    """The proxies of a JSON array.

    Raises:
        ConfigError: the text is no JSON array.
    """
    at = after_space(text, 0)
    if text[at : at + 1] != "[":
        raise wrong(path, line_at(text, at), "expected a JSON array of proxies")
    found: list[Entry] = []
    at = after_space(text, at + 1)
    while text[at : at + 1] != "]":
        try:
            value, end = DECODER.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise wrong(path, error.lineno, error.msg) from None
        except (ValueError, RecursionError) as error:
            raise wrong(path, line_at(text, at), reason_of(error)) from None
        found.append(Entry(value, line_at(text, at)))
        at = after_space(text, end)
        if text[at : at + 1] == ",":
            at = after_space(text, at + 1)
        elif text[at : at + 1] != "]":
            raise wrong(path, line_at(text, at), "expected , or ] behind a proxy")
    return found


def of_toml(path: str, text: str) -> list[Entry]:
    """The proxies of the tables `[[proxies]]`.

    Raises:
        ConfigError: the text is no TOML, has something else, or this Python can't read TOML.
    """
    tables = [line_at(text, match.start()) for match in TABLE.finditer(text)]
    try:
        found = toml_reader()(text)
    except ValueError as error:
        at = IN_A_LINE.search(str(error))
        line = int(at[1]) if at and at[1] else line_at(text, len(text.rstrip()))
        raise wrong(path, line, IN_A_LINE.sub("", str(error)).strip()) from None
    except ImportError:
        raise ConfigError(
            f"--config {path}: expected Python 3.11 or the package tomli to read TOML; write it as JSON."
        ) from None
    proxies = found.pop("proxies", [])
    if found or not isinstance(proxies, list):
        raise wrong(path, 1, "expected tables [[proxies]] and nothing else")
    return [Entry(given, tables[i] if i < len(tables) else 1) for i, given in enumerate(proxies)]


def toml_reader() -> Callable[[str], dict[str, Any]]:
    """The function that reads TOML.

    Raises:
        ImportError: there is none.
    """
    reader = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")  # pytest brings that
    loads: Callable[[str], dict[str, Any]] = reader.loads
    return loads


def after_space(text: str, at: int) -> int:
    """The first place from `at` on that has no white space."""
    return len(text) - len(text[at:].lstrip(SPACE))


def line_at(text: str, at: int) -> int:
    """The number of the line of a place."""
    return text.count("\n", 0, at) + 1


def wrong(path: str, line: int, why: str) -> ConfigError:
    """The error of a line."""
    return ConfigError(f"--config {path}, line {line}: {why.rstrip('.')}.")


def populate(path: str, make: Callable[[Any], object]) -> None:
    """Make the proxies of a file.

    Raises:
        ConfigError: the file can't be read, or a proxy can't be made.
    """
    for given, line in entries_of(path):
        try:
            make([given])
        except ApiError as error:
            raise wrong(path, line, error.text.removesuffix(" at proxy 1")) from None
