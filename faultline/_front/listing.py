"""Show the catalogue as text: modes in groups, and each parameter as an option."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from itertools import zip_longest
from typing import Literal, get_args, get_origin

from faultline._core.check import is_protocol, plain
from faultline._core.gate import Gate
from faultline._core.points import POINTS
from faultline.modes._catalogue import modes
from faultline.modes._registry import Group, Mode, Parameter

STEPS = Parameter("steps", str, "", "the steps in Python, such as \"send_text('hi'), close_frame(1012)\"")
WIDEST, NARROWEST = 110, 40  # of a listing, in characters
BOLD, BLUE, PLAIN = "\x1b[1m", "\x1b[34m", "\x1b[0m"
FEW = 8  # the most choices that an option shows in its synopsis
HEADINGS: dict[Group, str] = {
    **{point: point for point in POINTS},
    "lookup": "lookup (a DNS server)",
    "condition": "conditions (how bytes travel)",
    "answer": "answers (what the server sends when nothing breaks)",
    "SOCKS proxy": "proxies (a SOCKS proxy)",
    "UDP server": "datagrams (a UDP server)",
    "WebSocket server": "WebSocket (a server of WebSockets)",
    "HTTP/2 server": "HTTP/2 and gRPC (a server of HTTP/2)",
}


def groups(among: list[Mode] | None = None) -> Iterator[tuple[str, list[Mode]]]:
    """The modes in groups, each under its heading, in the order of a conversation."""
    known = [*modes().values()] if among is None else among
    for group, heading in HEADINGS.items():
        if members := [entry for entry in known if entry.group == group]:
            yield heading, members


def with_words(words: list[str]) -> list[Mode]:
    """The modes that have each of these words in their name, their heading, their summary or their options."""
    found = []
    for entry in modes().values():
        text = " ".join([option_name(entry.name), entry.name, HEADINGS[entry.group], *option_lines(entry, WIDEST)])
        if all(word.lower() in f"{text} {entry.summary}".lower() for word in words):
            found.append(entry)
    named = [entry for entry in found if words and entry.name == words[0].replace("-", "_")]
    return named or found


def as_data(entry: Mode) -> dict[str, object]:
    """A mode as JSON."""
    options = [{"option": f"--{option_name(p.name)}", "text": p.text, "choices": choices(p)} for p in options_of(entry)]
    cases = [{"call": str(case), "sees": case.sees, "detail": case.detail} for case in entry.cases]
    name, heading = option_name(entry.name), HEADINGS[entry.group]
    return {"name": name, "group": heading, "summary": entry.summary, "options": options, "cases": cases}


def listing(among: list[Mode] | None = None, width: int = 0, *, color: bool = False) -> Iterator[str]:
    """The catalogue in lines of at most this width: each mode with its summary and its options."""
    width = max(width or WIDEST, NARROWEST)
    names = max(map(len, modes()))
    for heading, members in groups(among):
        yield from (f"{BOLD}{line}{PLAIN}" if color else line for line in textwrap.wrap(heading, width))
        for entry in members:
            room = width - names - 4
            lines = [*textwrap.wrap(entry.summary, room), *option_lines(entry, room)]
            for name, line in zip_longest([option_name(entry.name)], lines, fillvalue=""):
                shown = f"{name:{names}}"
                yield f"  {f'{BLUE}{shown}{PLAIN}' if color and name else shown}  {line}".rstrip()


def option_lines(entry: Mode, width: int) -> list[str]:
    """The options of a mode in lines, followed by long lists of choices."""
    lines = wrapped([usage(p) for p in options_of(entry)], width)
    for p in options_of(entry):
        lines += [f"  {line}" for words in legend(p) for line in wrapped(f"{metavar(p)}: {words}".split(), width - 2)]
    return lines + [line for why in for_tests(entry) for line in textwrap.wrap(f"The mode {why}.", width)]


def for_tests(entry: Mode) -> list[str]:
    """The reasons why a mode is for tests alone: the parameters that no option can give."""
    needed = [p.name for p in entry.parameters if p.is_required and not is_sayable(p)]
    return [f"is for tests alone: its `{name}` is an object of the test" for name in needed]


def options_of(entry: Mode) -> list[Parameter]:
    """The parameters that can be given on a command line."""
    return [*(p for p in entry.parameters if is_sayable(p)), *([STEPS] if entry.takes_steps else [])]


def is_sayable(parameter: Parameter) -> bool:
    """Whether a word on the command line can give the value of a parameter."""
    return not is_object(plain(parameter.annotation)[0])


def is_object(kind: object) -> bool:
    """Whether the values of a type are objects of a test: gates, servers, and what becomes JSON."""
    return isinstance(kind, type) and (kind in (Gate, object) or is_protocol(kind))


FIELDS = ("headers", "trailers")  # the parameters whose values are header fields


def option_name(name: str) -> str:
    """A Python name as it is written on a command line."""
    return name.rstrip("_").replace("_", "-")


def usage(parameter: Parameter) -> str:
    """One option as a synopsis shows it."""
    word = f"--{option_name(parameter.name)}"
    if plain(parameter.annotation)[0] is bool:
        return f"--no-{option_name(parameter.name)}" if parameter.default else word
    return f"{word} {metavar(parameter)}"


def wrapped(words: list[str], width: int = 90) -> list[str]:
    """Wrap words into lines; only a word that is longer than a line is broken, at its commas."""
    words = [part for word in words for part in ([word] if len(word) <= width else broken(word))]
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + len(word) < width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def broken(word: str) -> list[str]:
    """The parts of a long word such as `--kind {a,b,c}`, each up to a comma or a blank."""
    return re.findall(r"[^, ]+,?", word)


def metavar(parameter: Parameter) -> str:
    """The word that stands for the value in a help text."""
    name, (kind, _) = parameter.name, plain(parameter.annotation)
    if words := choices(parameter):
        return name.upper() if legend(parameter) else "{" + ",".join(map(str, words)) + "}"
    if name in FIELDS:
        return "'NAME: VALUE'"
    if any(is_object(member) for member in get_args(kind)):
        return "ADDRESS"  # in a test also the server itself
    unit = next((unit for unit in ("bytes", "seconds") if f"_{name}".endswith(f"_{unit}")), "")
    return unit.upper() or ("NUMBER" if kind in (int, float) else "TEXT")


def legend(parameter: Parameter) -> list[str]:
    """The choices as a line of their own, if there are too many for the synopsis."""
    words = choices(parameter)
    return [", ".join(map(str, words))] if len(words) > FEW else []


def choices(parameter: Parameter) -> tuple[str | int, ...]:
    """The choices of a parameter; empty if it is no choice."""
    kind, _ = plain(parameter.annotation)
    return get_args(kind) if get_origin(kind) is Literal else ()
