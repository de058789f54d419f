"""The parser of a command's words: whole names of options only, and errors that say what was meant."""

from __future__ import annotations

import argparse
import difflib
import re
import shlex
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NoReturn

import faultline
from faultline._core.errors import FaultlineError
from faultline._core.words import listed
from faultline._front.escapes import with_value
from faultline.modes._catalogue import modes

NEAR = 0.7  # of two words that are alike; at 0.6, `--at` would be near `--path`
SHORT = 4  # letters; a shorter word is near the beginning of too many
NO_CHOICE = re.compile(r"argument (.+?): invalid choice: (.+?) \(choose from (.+)\)")


class UsageError(FaultlineError):
    """The command line has a mistake."""


class Once(argparse.Action):
    """Keeps the value of `--mode`, which may be given once."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option: str | None = None) -> None:
        """Keep the value, or end with an error if there is one."""
        if getattr(namespace, self.dest) is not None:
            parser.error(f"{option} is given twice: expected --then for the mode of the next attempt")
        setattr(namespace, self.dest, values)


class Parser(argparse.ArgumentParser):
    """A parser that raises `UsageError` on a mistake.

    Attributes:
        helping: the command line that prints the help on the options.
        lets_pass: whether it leaves options that it doesn't know to another parser.
    """

    _words: Sequence[str] = ()

    def __init__(self, *, lets_pass: bool = False, **given: Any) -> None:
        super().__init__(allow_abbrev=False, **given)
        self.helping = f"{self.prog} --help"
        self.lets_pass = lets_pass

    def parse_known_args(  # type: ignore[override]  # no namespace of another class
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse the words, and keep them for the error."""
        self._words = list(args or ())
        for name in () if self.lets_pass else self._unknown_options():
            self.error(f"no option {name}{did_you_mean(name, self._option_string_actions)}")
        found, surplus = super().parse_known_args(args, namespace)
        if surplus and not self.lets_pass and self._subparsers is None:
            has_values = any(action.option_strings and action.nargs is None for action in self._actions)
            told = "an option before it" if has_values else "no further word"
            word = next((word for word in surplus if word != "--"), "--")
            self.error(f"{word!r}: expected {told}")
        return found, surplus

    def _unknown_options(self) -> list[str]:
        """The words that argparse takes for options and does not know; of a command's own options, not these here."""
        found = []
        for before, word in pairwise(["", *self._words]):
            name = word.partition("=")[0]
            if word == "--" or (self._subparsers is not None and not word.startswith("-")):
                break
            if is_option(name) and name not in self._option_string_actions and not self._needs_value(before):
                found.append(name)
        return found

    def _needs_value(self, word: str) -> bool:
        """Whether a word is an option that lacks its value, of which argparse complains in its turn."""
        action = self._option_string_actions.get(word)
        return action is not None and action.nargs is None

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        """The value of an option; before Python 3.13, argparse loses `--` in `--data=--`."""
        is_lost = arg_strings == ["--"] and action.option_strings and action.nargs is None
        return self._get_value(action, "--") if is_lost else super()._get_values(action, arg_strings)

    def error(self, message: str) -> NoReturn:
        """Raise the mistake, which `main` prints.

        Raises:
            UsageError: always.
        """
        if found := NO_CHOICE.fullmatch(message):
            message = of_choices(*found.groups())
        end = "" if message.endswith("?") else "."
        raise UsageError(f"{message}{self._dash_hint(message)}{end} See `{self.helping}`.")

    def _dash_hint(self, message: str) -> str:
        """What to write for a value that begins with a dash and was taken for an option."""
        _, _, named = message.removesuffix(": expected one argument").partition("argument ")
        lacking = named.split("/")
        for option, value in pairwise(self._words):
            if option in lacking and value.startswith("-") and value.split("=")[0] not in self._option_string_actions:
                return f", and {value!r} begins with a dash; write {shlex.join(with_value(option, value))}"
        return ""


class Formatter(argparse.HelpFormatter):
    """The form of a help: a text that has lines keeps them, and any other is as wide as the terminal."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


def of_choices(name: str, value: str, choices: str) -> str:
    """What argparse says of a word that is no choice, in the form of other messages."""
    if name != "COMMAND":
        return f"{name}={value}: expected one of {choices}"
    word = value.strip("'")
    if is_for_tests(word):
        return f"no command {value}, which is for tests: from faultline import {word}"
    return f"no command {value}. Commands: {choices.replace(chr(39), '')}"


def is_for_tests(word: str) -> bool:
    """Whether a word is a function of the package that no command has, such as `sweep`."""
    return word.islower() and word in dir(faultline) and word not in modes()


def is_option(word: str) -> bool:
    """Whether argparse takes a word for an option: it begins with a dash, and is no dash alone, number or sentence."""
    return word.startswith("-") and word != "-" and " " not in word and not word[1:].replace(".", "", 1).isdecimal()


def meant_options(word: str, known: Iterable[str]) -> list[str]:
    """The options that a mistyped word can mean: those that begin with it, otherwise the nearest."""
    name = word.lstrip("-").replace("_", "-")
    names = [option[2:] for option in known if option.startswith("--")]
    begun = [each for each in names if each.startswith(name)]
    if name in names or begun:
        return [f"--{each}" for each in ([name] if name in names else begun)]
    nearest = max(names, key=lambda each: like(name, each), default="")
    return [f"--{nearest}"] if nearest and like(name, nearest) >= NEAR else []


def like(word: str, name: str) -> float:
    """How much a word is like a name, from 0 to 1, or like its beginning."""
    if sorted(word) == sorted(name):
        return 1.0
    if word.startswith(f"{name}-"):
        return NEAR
    begins = [name, name[: len(word) + 1]] if len(word) >= SHORT else [name]
    return max(difflib.SequenceMatcher(None, word, begin).ratio() for begin in begins)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`. Did you mean --x?` for a mistyped option; empty if no option is near."""
    found = meant_options(word, known)
    return f". Did you mean {listed(found)}?" if found else ""
