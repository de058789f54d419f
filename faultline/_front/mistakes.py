"""The command line to type instead of a line with a mistake.

Rules: words in, words out; an error of the parser only says that there is a mistake.
"""

from __future__ import annotations

import contextlib
import shlex
from itertools import pairwise
from typing import Any, get_args

from faultline._core.calls import right_values
from faultline._core.check import measured, plain
from faultline._core.errors import FaultlineError
from faultline._core.words import MODES, PARAMETERS, UNITS, meant, plain_word
from faultline._front.escapes import with_value, word_of
from faultline._front.listing import choices, for_tests, option_name, options_of
from faultline._front.options import named
from faultline._front.parser import is_for_tests, meant_options
from faultline._front.spelled import of_address, of_number, separate
from faultline.modes._catalogue import find, modes
from faultline.modes._registry import OVER_TCP, Mode, Parameter

COMMANDS = ("serve", "relay", "proxy", "record", "control", "modes", "audit", "explain", "probe")
OPENING = {"--version", "--help", "-h"}
PLAN = {"--path": 1, "--max-connections": 1, "--beyond": 1}
PLACE = {"--host": 1, "--port": 1, "--allow-remote": 0, "--tls": 0, "--json": 0, "--ca-file": 1}
OWN = {  # 1 for an option that has a value
    "serve": PLAN | PLACE | {"--unix": 1, "--udp": 0, "--alpn": 1, "--http2": 0},
    "proxy": PLAN | PLACE | {"--socks": 0, "--upstream": 1, "--auth": 1},
    "relay": PLAN
    | {
        "--upstream": 1,
        "--listen": 1,
        "--tls": 1,
        "--starttls": 1,
        "--upstream-cert": 1,
        "--upstream-key": 1,
        "--on-upstream-failure": 1,
        "--allow-remote": 0,
        "--alpn": 1,
        "--json": 0,
        "--ca-file": 1,
    },
}
OPTIONAL = {("--tls", "serve"), ("--tls", "proxy"), ("--socks", "proxy")}
TEXTS = ("--body", "--data")  # the options that a word of no other sense is for
EXAMPLES = {"upstream": "127.0.0.1:5432", "mode": "reset"}


def right_line(words: list[str]) -> str:
    """The command line that was meant; empty if it is not known, or is what was given."""
    if not words:
        return "faultline serve --mode reset"
    command, rest = command_of([word for word in words if word != "--"])
    if command not in OWN:
        return f"faultline {command}" if command and command != words[0] else ""
    right = Line(command, rest).right()
    given = [part for word in words for part in parts_of(word)]
    return shlex.join(["faultline", *right]) if right and sorted(right) != sorted(given) else ""


def parts_of(word: str) -> list[str]:
    """A word, or an option and its value; they stay one word if the value begins with a dash."""
    name, has_value, value = word.partition("=")
    return with_value(name, value) if word.startswith("--") and has_value else [word]


def names_in(words: list[str]) -> set[str]:
    """The options among words, without a value that is in the same word."""
    return {word.partition("=")[0] for word in words}


def command_of(words: list[str]) -> tuple[str, list[str]]:
    """The command that was meant, and its words."""
    first, *rest = words
    if first in (*COMMANDS, *OPENING):
        return first, rest
    if first.startswith("-"):
        return ("relay" if "--upstream" in words else "serve"), words
    if is_for_tests(first):
        return "", rest
    if found := meant(first, COMMANDS, {"run": ("serve",), "start": ("serve",), "list": ("modes",)}):
        return found[0], rest
    return ("serve", ["--mode", *words]) if mode_of(first) else ("", rest)


def with_mode(command: str, words: list[str]) -> list[str]:
    """The words of a command, with `--mode` where it was mistyped, and apart what was joined to the mode."""
    words = separate(words)
    if "--mode" in (given := names_in(words)):
        return words
    known = {*OWN[command], "--then", *(option_of(p) for mode in modes().values() for p in options_of(mode))}
    mistyped = [name for name in given - known if name.startswith("-") and meant_options(name, ["--mode"])]
    return [f"--mode{word[len(name) :]}" if (name := word.partition("=")[0]) in mistyped else word for word in words]


def mode_of(word: str) -> Mode | None:
    """The mode that a word means."""
    try:
        return named(word.removesuffix("()")).mode
    except FaultlineError:
        found = [] if "(" in word[:-1] else meant(word, modes(), MODES)
        return find(found[0]) if found else None


class Line:
    """The words of `serve` or `relay`, one by one."""

    def __init__(self, command: str, words: list[str]) -> None:
        self._command, self._words = command, with_mode(command, words)
        words = self._words
        parts = [part for word in words for part in word.split("=", 1)]
        given = next((b for a, b in pairwise(parts) if a == "--mode"), "")
        bare = [word for i, word in enumerate(words) if self._is_bare(i) and mode_of(word)]
        self._has_mode, self._first = bool(given or bare), "" if given else next(iter(bare), "")
        self._mode = mode_of(given or self._first or EXAMPLES["mode"] * (command == "serve"))
        self._modes, self._options = 0, dict[str, Parameter]()
        self._word = option_name(self._mode.name) if self._mode is not None else ""
        fixed = {}
        with contextlib.suppress(FaultlineError):
            self._word, fixed = given, named(given).arguments
        if self._mode is not None and not for_tests(self._mode):
            known = [p for p in options_of(self._mode) if p.name not in fixed]
            self._options = {option_of(p): p for p in known}

    def _is_bare(self, at: int) -> bool:
        """Whether a word is no option, and no value of one."""
        return not self._words[at].startswith("-") and (not at or not self._words[at - 1].startswith("--"))

    def right(self) -> list[str]:
        """The words as they were meant; empty if a word is not understood."""
        if self._mode is not None and for_tests(self._mode):
            return []
        command, fixed = self._command, ["--mode", self._word] if self._mode else []
        special = command != "proxy" and self._mode is not None and self._mode.kind != "TCP server"
        command = "serve" if special else command
        words = [*self._words]
        while words:
            word = words.pop(0)
            name, has_value, value = word.partition("=")
            if not name.startswith("--"):
                value_of = self._bare(word, fixed)
                if value_of is None:
                    return []
                fixed += value_of
                continue
            if not has_value and words and not words[0].startswith("--") and self._takes_value(name):
                value, has_value = words.pop(0), "="
            part = self._part(command, name, value, has_value=bool(has_value))
            if part is None:
                return []
            fixed += part
        return [command, *self._completed(command, fixed)]

    def _bare(self, word: str, fixed: list[str]) -> list[str] | None:
        """A word without an option as it was meant: a value of the mode, or a mode; `None` if it is not understood."""
        given = names_in([*fixed, *self._words])
        open_options = {option: p for option, p in self._options.items() if option not in given}
        for option, parameter in open_options.items():
            if word in all_choices(parameter):
                return [option, word]
        lacking = [option for option, p in open_options.items() if p.is_required and fits(p, word)]
        if lacking:
            return [lacking[0], word]
        if word == self._first:
            self._first = ""
            return []
        if plain_word(word) in modes():
            return self._then(word)
        return self._of_no_parameter(word, given) or None

    def _of_no_parameter(self, word: str, given: set[str]) -> list[str]:
        """The options that an address, a port, a number or a text is for; empty if none is likely."""
        if address := of_address(self._command, word, given):
            return address
        if self._mode is None or not self._has_mode:
            is_port = word.isdecimal() and "--port" in OWN[self._command] and "--port" not in given
            return ["--port", word] if is_port else []
        numbers = [p.name for option, p in self._options.items() if option in given]
        if found := of_number(self._mode, word, numbers):
            return found
        free = {option: p for option, p in self._options.items() if option not in given and not is_float(word)}
        near = [[option, value] for option in free if (value := self._value(option, word)) != word]
        return next(iter(near), [text for option in free if option in TEXTS for text in (option, word)])

    def _takes_value(self, name: str) -> bool:
        """Whether an option has a value; an unknown option may have one."""
        if name in self._options:
            return plain(self._options[name].annotation)[0] is not bool
        return OWN[self._command].get(name, 1) == 1 or (name, self._command) in OPTIONAL

    def _part(self, command: str, name: str, value: str, *, has_value: bool) -> list[str] | None:
        """One option as it was meant; `None` if it is not known."""
        if name == "--mode":
            self._modes += 1
            return self._then(value) if self._modes > 1 else [] if self._mode else None
        if name == "--then":
            return self._then(value)
        if name in OWN[self._command] and name not in self._options:
            if name == "--tls" and command != "relay":
                value = "mutual" if meant(value, ("mutual",), {"mtls": ("mutual",)}) else ""
                has_value = bool(value)
            fits = name in OWN[command] and not (name == "--tls" and self._mode and self._mode.kind not in OVER_TCP)
            with_it = with_value(name, value) if has_value and self._takes_value(name) else [name]
            return with_it if fits else []
        if name not in self._options:
            return self._meant(plain_word(name), value)
        return with_value(name, self._value(name, value)) if has_value else [name]

    def _then(self, value: str) -> list[str] | None:
        """The mode of a further attempt, with the options that it needs."""
        named = value.partition(" ")[0]
        mode = mode_of(named)
        if mode is None or for_tests(mode):
            return None
        rest = value[len(named) :] or "".join(f" {shlex.quote(word)}" for word in needs(mode))
        return ["--then", f"{option_name(mode.name)}{rest}"]

    def _meant(self, word: str, value: str) -> list[str] | None:
        """The option that another word stands for: another unit, a synonym, or the nearest."""
        stem, _, last = word.rpartition("_")
        unit, factor = UNITS.get(last, ("", 1))
        names = {option.removeprefix("--").replace("-", "_"): option for option in self._options}
        if unit and (measured := [n for n in names if n.endswith(unit)]) and is_float(value):
            name = next((n for n in measured if stem and n.startswith(stem)), measured[0])
            return [names[name], f"{float(value) * factor:.9g}"]
        known = [n for n in PARAMETERS.get(word, ()) if n in names]
        own = meant_options(word, [*self._options]) or meant_options(word, [*OWN[self._command], "--then"])
        found = [names[n] for n in known] or own or [names[n] for n in meant(word, names, {})]
        if not found:
            return None
        return self._part(self._command, found[0], value, has_value=bool(value))

    def _value(self, name: str, value: str) -> str:
        """A value as it was meant: the nearest choice."""
        kind = plain(self._options[name].annotation)[0]
        if kind in (int, float) and not is_float(value):
            return measured(value, "seconds" if kind is float else "bytes") or value
        found = right_values(value, self._options[name].annotation)
        is_choice = self._options[name].annotation is not None and isinstance(next(iter(found), None), str)
        known = is_choice and value not in all_choices(self._options[name])
        return str(found[0]) if known else value

    def _completed(self, command: str, fixed: list[str]) -> list[str]:
        """The options, with those that are needed and missing."""
        given = names_in(fixed)
        if command == "relay" and "--upstream" not in given:
            fixed = ["--upstream", EXAMPLES["upstream"], *fixed]
        lacking = needs(self._mode) if self._mode else []
        pairs = zip(lacking[::2], lacking[1::2], strict=True)
        added = [(o, value) for o, value in pairs if o in self._options and o not in given]
        fixed = [*fixed, *(word for pair in added for word in pair)]
        if "--for-seconds" in self._options and "--at" not in self._options and "--then" in given:
            fixed += ["--for-seconds", "1"] * ("--for-seconds" not in given)
        return fixed


def option_of(parameter: Parameter) -> str:
    """The option that gives the value of a parameter."""
    return f"--{option_name(parameter.name)}"


def fits(parameter: Parameter, word: str) -> bool:
    """Whether a word without an option can be the value of a parameter: a number, or bytes that are no mode."""
    kind = plain(parameter.annotation)[0]
    if kind in (int, float):
        return word.isdecimal() or (kind is float and is_float(word))
    return bytes in (kind, *get_args(kind)) and plain_word(word) not in modes()


def needs(mode: Mode) -> list[str]:
    """The options that a mode needs, with the values of its first case."""
    given: dict[str, Any] = dict(mode.cases[0].arguments)
    required = [p for p in options_of(mode) if p.is_required]
    return [word for p in required for word in (option_of(p), text_of(given[p.name]))]


def text_of(value: object) -> str:
    """A value as a word of a command line."""
    return word_of(value) if isinstance(value, bytes) else str(value)


def all_choices(parameter: Parameter) -> tuple[str, ...]:
    """The choices of a parameter as words."""
    return tuple(map(str, choices(parameter)))


def is_float(text: str) -> bool:
    """Whether a text is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
