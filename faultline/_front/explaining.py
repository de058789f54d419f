"""Draws what `faultline explain` knows: an error or a mode, or the list of all."""

from __future__ import annotations

import argparse
import errno
import inspect
import re
import shlex
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, get_args

from faultline._core.check import plain
from faultline._core.fault import Fault
from faultline._core.points import POINTS
from faultline._core.said import abbreviated
from faultline._core.words import MODES, listed, meant
from faultline._explain.entry import GROUPS, OF_CLIENTS, Entry
from faultline._explain.examples import EXAMPLES
from faultline._explain.find import ENTRIES, found_for, near
from faultline._explain.plays import PLAYS, Play
from faultline._front.escapes import with_value, word_of
from faultline._front.listing import BOLD, NARROWEST, PLAIN, WIDEST, as_data, groups, option_lines, option_name
from faultline._front.parser import UsageError
from faultline.modes._catalogue import modes
from faultline.modes._registry import Mode

HELP = "explain an error, an errno or a mode, and how to reproduce it"
MOST_SHOWN = 100  # characters of a text that nothing is known of
FEW = 8  # plays that are told of beside the first


def add_explain_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `explain`."""
    parser.add_argument(
        "words", nargs="*", metavar="WORD", help="an exception, an errno, a reason of OpenSSL, a text, or a mode"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def explained(words: list[str], width: int, *, color: bool) -> Iterator[str]:
    """What these words mean, in lines of at most this width; without words, all that can be asked for.

    Raises:
        UsageError: the words mean nothing that is known here.
    """
    width = min(max(width, NARROWEST), WIDEST)
    if not words:
        yield from index_lines(width, color=color)
        return
    mode, found = meanings(words)
    if mode is not None:
        yield from mode_lines(mode, width, color=color)
    else:
        yield from entry_lines(found[0], width, color=color)
    others = [each.name for each in (found if mode is not None else found[1:])]
    if others:
        yield ""
        yield from wrap(f"The same words can also mean: {', '.join(others[:FEW])}.", width)


def explained_data(words: list[str]) -> Any:
    """The same as JSON: a list of errors, or a mode; without words, the names of all."""
    if not words:
        return {group: [entry.name for entry in ENTRIES if entry.group == group] for group in GROUPS} | {
            "modes": [option_name(name) for name in modes()]
        }
    mode, found = meanings(words)
    of_mode = [] if mode is None else [as_data(mode) | {"plays": [play_data(play) for play in plays_of(mode)]}]
    return [*of_mode, *(entry_data(entry) for entry in found)]


def meanings(words: list[str]) -> tuple[Mode | None, list[Entry]]:
    """The mode of this name, and the errors that the words mean.

    Raises:
        UsageError: there is neither.
    """
    text = " ".join(words)
    mode = modes().get(re.sub(r"\(.*\)$", "", text.strip()).replace("-", "_"))
    found = found_for(text)
    if mode is None and not found:
        known = [option_name(name) for name in modes()]
        hints = dict.fromkeys([*near(text, known), *(option_name(name) for name in meant(text, modes(), MODES))])
        hint = f" Did you mean {listed(map(repr, hints))}?" if hints else ""
        shown = text if text.isprintable() and 0 < len(text.strip()) <= MOST_SHOWN else abbreviated(text)
        raise UsageError(
            f"explain {shown}: expected an exception, an errno, a reason of OpenSSL, a text of an error, or a mode."
            f"{hint} `faultline explain` lists them."
        )
    return mode, found


# --- an error --------------------------------------------------------------------------------------------------------


def entry_lines(entry: Entry, width: int, *, color: bool) -> Iterator[str]:
    """What is said of an error."""
    yield bold(entry.name, color=color)
    others = [*entry.also, *numbers_of(entry)]
    if others:
        yield from wrap(f"also: {', '.join(others)}", width)
    for text in entry.messages[:1]:
        if text != entry.name:
            yield from wrap(f'"{text}"', width)
    yield ""
    yield from wrap(entry.means, width)
    if entry.causes:
        yield from heading("In production", color=color)
        for text in entry.causes:
            yield from wrap(text, width, "- ")
    if entry.members:
        yield from heading("Its kinds", color=color)
        yield from wrap(", ".join(entry.members), width, "  ", "  ")
    if entry.met_at:
        yield from heading("Where in a conversation", color=color)
        yield from wrap(", ".join(entry.met_at), width, "  ", "  ")
    yield from play_lines(entry, width, color=color)
    yield from heading("Handle it", color=color)
    yield from textwrap.indent(EXAMPLES[entry.example].code, "  ").splitlines()


def numbers_of(entry: Entry) -> list[str]:
    """The errno of each of its names that has one."""
    return [f"errno {getattr(errno, name)}" for name in (entry.name, *entry.also) if hasattr(errno, name)]


def play_lines(entry: Entry, width: int, *, color: bool) -> Iterator[str]:
    """How to reproduce an error, and what clients raise then."""
    if entry.plays:
        yield from heading("Reproduce it", color=color)
        yield from reproduced(entry.plays[0])
        yield from shown_plays(entry.plays, entry.group in OF_CLIENTS, width, color=color)
    elif entry.instead:
        yield from heading("Reproduce it", color=color)
        yield from wrap(entry.instead, width, "  ", "  ")


def shown_plays(plays: Sequence[Play], by_cause: bool, width: int, *, color: bool) -> Iterator[str]:  # noqa: FBT001 - what differs
    """What clients raise in the first of these plays, and what differs in the others.

    Plays of one client's class differ by the cause under it, so that one of each cause is told of.
    """
    first, *others = plays
    yield from heading("What clients raise then", color=color)
    yield from raised(first, width)
    if by_cause:
        of_each = {play.cause: play for play in reversed(others) if play.cause != first.cause}
        others = [play for play in others if of_each.get(play.cause) is play]
    if others:
        yield from heading("Also by", color=color)
        for play in others[:FEW]:
            yield from wrap(f"{call_of(play)}: {told_of(play, first, by_cause)}", width, "  ", "    ")
        if len(plays) - 1 > len(others[:FEW]):
            yield f"  and {len(plays) - 1 - len(others[:FEW])} more, which --json has."


def reproduced(play: Play) -> list[str]:
    """The line of a test and the command line that reproduce an error."""
    return [f"  {call_of(play)}", f"  $ {command_of(play.fault, tls=play.tls)}"] + (
        ["  with a request whose body is larger than 64 KiB"] if play.uploads else []
    )


def raised(play: Play, width: int) -> Iterator[str]:
    """What each client raises, one a line, and under which the cause is found."""
    room = max(len(client) for client, _ in play.by_client())
    for client, name in play.by_client():
        yield f"  {client:{room}}  {name}"
    if play.cause and len(play.keeping) > 1:
        missing = [client for client, _ in play.by_client() if client not in play.keeping]
        where = f"under each but {' and '.join(missing)}" if missing else "under each of them"
        yield from wrap(f"faultline.raises({play.cause}) finds that class {where}.", width, "  ", "  ")


def told_of(play: Play, first: Play, by_cause: bool) -> str:  # noqa: FBT001 - what differs
    """What another play leads to: the error under it, or what the clients raise if that is not as in the first."""
    if by_cause:
        return " ".join(filter(None, [play.cause, play.detail])) or "an error of the client's own"
    if play.raised == first.raised:
        return "the same"
    return ", ".join(name for client, name in play.by_client() if client not in ("http.client", "urllib3"))


def call_of(play: Play) -> str:
    """The call that reproduces an error in a test."""
    if play.point == "lookup":
        return f'faultline.resolve("api.example.com", {play.plan})'
    return f"faultline.serve({play.plan}{', tls=True' if play.tls else ''})"


def command_of(fault: Fault, *, tls: bool = False) -> str:
    """The command line that serves a fault."""
    said = fault.said[0]
    words = ["faultline", "serve", "--mode", option_name(said.mode)]
    for name, value in said.arguments:
        option = f"--{option_name(name)}"
        if isinstance(value, bool):
            words.append(option if value else f"--no-{option_name(name)}")
            continue
        for one in value if isinstance(value, tuple) else [value]:
            word = ": ".join(one) if isinstance(one, tuple) else one
            words += with_value(option, word_of(word) if isinstance(word, bytes) else str(word))
    return shlex.join([*words, *(["--tls"] if tls else [])])


def entry_data(entry: Entry) -> dict[str, Any]:
    """An error as JSON."""
    return {
        "name": entry.name,
        "group": entry.group,
        "also": [*entry.also, *numbers_of(entry)],
        "messages": [*entry.messages],
        "means": entry.means,
        "causes": [*entry.causes],
        "kinds": [*entry.members],
        "points": [*entry.met_at],
        "plays": [play_data(play) for play in entry.plays],
        "instead": entry.instead,
        "example": EXAMPLES[entry.example].code,
    }


def play_data(play: Play) -> dict[str, Any]:
    """A fault and what clients raise then, as JSON."""
    return {
        "plan": play.plan,
        "point": play.point,
        "test": call_of(play),
        "command": command_of(play.fault, tls=play.tls),
        "uploads": play.uploads,
        "cause": play.cause,
        "detail": play.detail,
        "raised": dict(play.by_client()),
    }


# --- a mode ----------------------------------------------------------------------------------------------------------


def plays_of(mode: Mode) -> list[Play]:
    """The plays of a mode, first the play without arguments."""
    found = [play for play in PLAYS if play.plan.partition("(")[0] == mode.name]
    return sorted(found, key=lambda play: play.plan != f"{mode.name}()")


def points_of(mode: Mode) -> list[str]:
    """The points where a mode can strike: those of its option `at`, or those of its cases."""
    for parameter in mode.parameters:
        if parameter.name == "at":
            return [point for point in POINTS if point in points_in(parameter.annotation)]
    found = {case.point for case in mode.cases}
    return [point for point in POINTS if point in found]


def points_in(annotation: Any) -> list[Any]:
    """The choices in a type, also where it is one of several."""
    kind = plain(annotation)[0]
    return [*get_args(kind), *(inner for member in get_args(kind) for inner in get_args(member))]


def mode_lines(mode: Mode, width: int, *, color: bool) -> Iterator[str]:
    """What is said of a mode: its docstring, its options, what a plain client sees, and what clients raise."""
    yield bold(f"{option_name(mode.name)} (a mode)", color=color)
    prose = (inspect.getdoc(mode.function) or "").partition("\nExample:")[0].partition("\nArgs:")[0]
    prose = re.sub(r"(?m)^\.\. versionadded::.*\n?", "", prose).partition("\nRaises:")[0]
    for paragraph in prose.strip().split("\n\n"):
        yield ""
        yield from (line for line in textwrap.wrap(" ".join(paragraph.split()).replace("`", ""), width))
    if points := points_of(mode):
        yield from heading("Where in a conversation", color=color)
        yield from wrap(", ".join(points), width, "  ", "  ")
    if lines := option_lines(mode, width - 2):
        yield from heading("Options", color=color)
        yield from (f"  {line}" for line in lines)
    yield from heading("By hand", color=color)
    yield f"  $ {command_of(mode.cases[0].fault)}"
    yield from heading("What a plain client sees", color=color)
    seen: dict[str, list[str]] = {}
    for case in mode.cases:
        seen.setdefault(f"{case.sees} ({case.detail})" if case.detail else case.sees, []).append(str(case))
    for result, calls in seen.items():
        yield from wrap(f"{result}: {', '.join(calls)}", width, "  ", "    ")
    if plays := plays_of(mode):
        yield from heading("In a test", color=color)
        yield f"  {call_of(plays[0])}"
        yield from shown_plays(plays, False, width, color=color)


# --- all -------------------------------------------------------------------------------------------------------------


def index_lines(width: int, *, color: bool) -> Iterator[str]:
    """All that can be asked for, in groups."""
    for group in sorted(GROUPS, key=ORDER.index):
        yield bold(group, color=color)
        names = [shown(entry) for entry in ENTRIES if entry.group == group]
        yield from wrap(", ".join(names), width, "  ", "  ")
    yield bold("modes", color=color)
    yield from wrap(", ".join(option_name(mode.name) for _, members in groups() for mode in members), width, "  ", "  ")
    yield ""
    yield from wrap("Or a number (111), or a text as it was printed ('Max retries exceeded').", width)


ORDER = (
    *("the operating system", "names and addresses", "TLS", "certificates", "alerts of TLS"),
    *("http.client and urllib", *OF_CLIENTS),
)


def shown(entry: Entry) -> str:
    """The name of an entry in a list as a shell takes it, with the names of its errno."""
    names = [each for each in entry.also if hasattr(errno, each)]
    name = repr(entry.name) if " " in entry.name else entry.name
    return f"{name} ({', '.join(names)})" if names else name


def heading(text: str, *, color: bool) -> list[str]:
    """A heading with an empty line before it."""
    return ["", bold(text, color=color)]


def bold(text: str, *, color: bool) -> str:
    """A text in bold type, where the terminal has colors."""
    return f"{BOLD}{text}{PLAIN}" if color else text


def wrap(text: str, width: int, first: str = "", later: str | None = None) -> Iterable[str]:
    """A text in lines, the first with a mark, the others indented as the mark is wide."""
    indent = " " * len(first) if later is None else later
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
