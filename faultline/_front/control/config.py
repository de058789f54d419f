"""The file of proxies for `--config`: toxiproxy's JSON, or the same content as TOML.

Rules: an error names the file, and the line of the value that is wrong. A key that nothing reads is an error.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

from faultline._core.errors import FaultlineError
from faultline._core.said import abbreviated
from faultline._core.words import listed, meant
from faultline._front.control import lines
from faultline._front.control.errors import ApiError
from faultline._front.control.fields import DECODER, reason_of
from faultline._front.control.lines import after_space, line_at
from faultline._front.control.toxics import TYPES

IN_A_LINE = re.compile(r"\(at (?:line (\d+), column \d+|end of document)\)$")  # of tomllib
PROXY_KEYS = ("name", "listen", "upstream", "enabled", "kind", "tls", "toxics")
TOXIC_KEYS = ("name", "type", "stream", "toxicity", "attributes")
# The field that an error of the API is about.
FIELD = re.compile(r"(?:proxy|toxic|attributes)\.(\w+)|^(?:toxic '.*?': )?(\w+)=|field: (\w+)|\b(listen|stream|type)\b")


Mistake: TypeAlias = tuple[lines.Path, str]  # what is wrong with a value, by its path


class ConfigError(FaultlineError):
    """The file of proxies has a mistake."""


class Entry(NamedTuple):
    """One proxy of the file: its description, and a function that finds the line of a value in it by its path."""

    given: Any
    line_of: Callable[[lines.Path], int]


class Maker(Protocol):
    """What makes the proxies: the API."""

    def populate(self, proxies: object) -> None:
        """Make proxies."""

    def add_toxic(self, proxy: str, toxic: object) -> None:
        """Add a toxic to a proxy."""


def entries_of(path: str) -> list[Entry]:
    """The proxies of a file, whose name ends in `.toml` if it is TOML.

    Raises:
        ConfigError: the file can't be read, or is neither.
    """
    try:
        text = Path(path).read_text("utf-8-sig")
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
        instead = "the file is empty" if at == len(text) else f"not {abbreviated(text[at:].splitlines()[0])}"
        raise wrong(path, line_at(text, at), f"expected a JSON array of proxies, {instead}")
    found: list[Entry] = []
    at = after_space(text, at + 1)
    while text[at : at + 1] != "]":
        try:
            value, end = DECODER.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise wrong(path, error.lineno, error.msg) from None
        except (ValueError, RecursionError) as error:
            raise wrong(path, line_at(text, at), reason_of(error)) from None
        found.append(Entry(value, in_json(text, at)))
        at = after_space(text, end)
        if text[at : at + 1] == ",":
            at = after_space(text, at + 1)
        elif text[at : at + 1] != "]":
            raise wrong(path, line_at(text, at), "expected , or ] after a proxy")
    return found


def in_json(text: str, at: int) -> Callable[[lines.Path], int]:
    """A function that finds the line of a value of the proxy at a place."""

    def line_of(path: lines.Path) -> int:
        known = lines.json_lines(text, at)
        return next(known[path[:size]] for size in range(len(path), -1, -1) if path[:size] in known)

    return line_of


def of_toml(path: str, text: str) -> list[Entry]:
    """The proxies of the tables `[[proxies]]`.

    Raises:
        ConfigError: the text is no TOML, has something else, or this Python can't read TOML.
    """
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
    proxies = found.pop("proxies", None)
    if found or not isinstance(proxies, list):
        other = next(iter(found), "proxies")
        instead = f"not {other}" if found or proxies is not None else "the file has none"
        raise wrong(path, lines.toml_line(text, (other,)), f"expected tables [[proxies]], {instead}")
    return [Entry(given, in_toml(text, number)) for number, given in enumerate(proxies)]


def in_toml(text: str, number: int) -> Callable[[lines.Path], int]:
    """A function that finds the line of a value of a proxy."""
    return lambda path: lines.toml_line(text, ("proxies", number, *path))


def toml_reader() -> Callable[[str], dict[str, Any]]:
    """The function that reads TOML.

    Raises:
        ImportError: there is none.
    """
    reader = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")  # pytest brings that
    loads: Callable[[str], dict[str, Any]] = reader.loads
    return loads


def wrong(path: str, line: int, why: str) -> ConfigError:
    """The error of a line."""
    return ConfigError(f"--config {path}, line {line}: {why.rstrip('.')}{'' if why.endswith('?') else '.'}")


# --- the proxies -----------------------------------------------------------------------------------------------------


def populate(path: str, maker: Maker) -> None:
    """Make the proxies of a file, and their toxics.

    Raises:
        ConfigError: the file can't be read, or a proxy or a toxic can't be made.
    """
    entries = entries_of(path)
    for entry in entries:
        for place, why in mistakes_of(entry.given):
            raise wrong(path, entry.line_of(place), why)
    for key in ("name", "listen"):
        for entry, why in twice(entries, key):
            raise wrong(path, entry.line_of((key_of(entry.given, key),)), why)
    for entry in entries:
        with located(path, entry, (), entry.given):
            maker.populate([entry.given])
        toxics = key_of(entry.given, "toxics")
        for number, toxic in enumerate(value_of(entry.given, toxics) or ()):
            with located(path, entry, (toxics, number), toxic):
                maker.add_toxic(value_of(entry.given, "name"), toxic)


@contextlib.contextmanager
def located(path: str, entry: Entry, place: lines.Path, given: Any) -> Iterator[None]:
    """Tell an error of the API with the line of the value that it is about, in a proxy or a toxic at a place.

    Raises:
        ConfigError: there is an error.
    """
    try:
        yield
    except ApiError as error:
        found = FIELD.search(error.text)
        field = next(filter(None, found.groups()), "") if found else ""
        if "attributes." in error.text:
            place = (*place, key_of(given, "attributes"))
            given = value_of(given, "attributes")
        hints = [str(hint) for hint in (error.partly.get("hint"),) if hint]
        told = "; ".join([error.text.removesuffix(" at proxy 1"), *hints])
        raise wrong(path, entry.line_of((*place, key_of(given, field))), told) from None


def mistakes_of(given: Any) -> Iterator[Mistake]:
    """The keys of a proxy and of its toxics that nothing reads, and what is no list or table, each with its place."""
    if not isinstance(given, dict):
        return  # which the API refuses
    yield from unknown((), given, PROXY_KEYS, "a proxy")
    toxics, at = value_of(given, "toxics"), key_of(given, "toxics")
    if toxics is not None and not isinstance(toxics, list):
        yield (at,), f"expected a list of toxics, not {abbreviated(toxics)}"
    for number, toxic in enumerate(toxics if isinstance(toxics, list) else ()):
        if isinstance(toxic, dict):
            yield from unknown((at, number), toxic, TOXIC_KEYS, "a toxic")
            kind, attributes = value_of(toxic, "type"), value_of(toxic, "attributes")
            if kind in TYPES and isinstance(attributes, dict):
                place = (at, number, key_of(toxic, "attributes"))
                yield from unknown(place, attributes, TYPES[kind].attributes, f"the type {kind}")


def unknown(place: lines.Path, given: dict[str, Any], known: Iterable[str], what: str) -> Iterator[Mistake]:
    """The keys that are not among the known."""
    known = [*known]
    for key in given:
        if key.lower() not in known:
            near = [f"; did you mean {each}?" for each in meant(key.lower(), known, {})[:1]]
            has = listed(known, "and") if known else "no attributes"
            yield (*place, key), f"unknown key {key!r}{''.join(near) or f'; {what} has {has}'}"


def twice(entries: Iterable[Entry], key: str) -> Iterator[tuple[Entry, str]]:
    """The proxies whose name, or whose port, another has before them."""
    before: dict[str, int] = {}
    for entry in entries:
        value = value_of(entry.given, key)
        if not isinstance(value, str) or (key == "listen" and value.endswith(":0")):
            continue
        same = re.sub(r"^(localhost)?:", "127.0.0.1:", value) if key == "listen" else value
        if same in before:
            yield entry, f"{key}={value!r} is that of the proxy in line {before[same]} too"
        before[same] = entry.line_of((key_of(entry.given, key),))


def key_of(given: Any, name: str) -> str:
    """The key by which a table has a field, whose case doesn't matter."""
    return next((key for key in given if key.lower() == name), name) if isinstance(given, dict) else name


def value_of(given: Any, name: str) -> Any:
    """The value of a field; `None` if it is absent."""
    return given.get(key_of(given, name)) if isinstance(given, dict) else None
