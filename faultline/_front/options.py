"""Modes as words of a command line: their options, their values, and the plan they make.

Rules of this room: options are read from the catalogue; nothing here prints or serves.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any, Literal, NoReturn, get_args, get_origin

from faultline._core.check import nearest, plain, rejected
from faultline._core.errors import FaultlineError
from faultline._core.fault import Fault
from faultline._core.gate import Gate
from faultline._core.plan import HEALTHY, Plan, sequence
from faultline.modes._catalogue import find
from faultline.modes._registry import Mode, Parameter
from faultline.modes.lookups import DNS_KINDS, bad_dns, no_address, nxdomain, servfail, slow_resolve

NOT_THEN = " An option goes with --mode, not with --then."
FEW = 8  # choices that an option can show


class UsageError(FaultlineError):
    """The words of the command are off."""


class Parser(argparse.ArgumentParser):
    """argparse that answers a mistake with one line."""

    def error(self, message: str) -> NoReturn:
        """Leave it to `main` to print."""
        raise UsageError(f"{message}. See `{self.prog} --help`.")


def add_mode_options(parser: argparse.ArgumentParser, words: list[str], command: str, *, required: bool) -> Mode | None:
    """Add `--mode` and `--then`, with the options of the mode that the words name, if they are of this command."""
    parser.add_argument("--mode", required=required, metavar="NAME", help="what to do to clients")
    parser.add_argument(
        "--then",
        action="append",
        metavar="NAME",
        help="the mode of the next attempt, with its defaults; the last repeats",
    )
    first = Parser(prog=f"faultline {command}", add_help=False)
    first.add_argument("--mode")
    name = first.parse_known_args(words)[0].mode
    if name is None or command not in words[:1]:
        return None
    if is_of_dns(name):
        if command != "serve":
            raise UsageError(f"mode {name} is one of a DNS server: `faultline serve --mode {name}`")
        if option_name(name) == "dns-slow":
            parser.add_argument("--delay-seconds", default="5", help="how late it answers (default: %(default)s)")
        return None
    chosen = find(name)
    group = parser.add_argument_group(f"options of {option_name(chosen.name)}", chosen.summary)
    for parameter in options_of(chosen):
        word, dest = f"--{option_name(parameter.name)}", f"mode_{parameter.name}"
        kind, _ = plain(parameter.annotation)
        text = "; one of: ".join([parameter.text, *legend(parameter)])
        if kind is bool:
            flag = argparse.BooleanOptionalAction
            group.add_argument(word, dest=dest, help=text, action=flag, default=None)
        else:
            action = "append" if parameter.name == "headers" or get_origin(kind) is tuple else "store"
            group.add_argument(word, dest=dest, help=text, action=action, metavar=metavar(parameter))
    return chosen


def is_of_dns(name: str) -> bool:
    """Whether this mode is one of a DNS server."""
    return option_name(name).startswith("dns-")


def dns_modes() -> list[tuple[str, str]]:
    """The modes of a DNS server, each with what it does."""
    plain_ones = [("dns-slow", slow_resolve), ("dns-nxdomain", nxdomain), ("dns-servfail", servfail)]
    said = [(name, str(function.__doc__).partition("\n")[0]) for name, function in plain_ones]
    said.append(("dns-no-address", str(no_address.__doc__).partition("\n")[0]))
    return said + [(f"dns-{option_name(kind)}", f"Answer a query by {bad_dns(kind)!r}.") for kind in DNS_KINDS]


def dns_plan(name: str, delay_seconds: float) -> Plan:
    """The plan of a DNS server that a mode such as `dns-nxdomain` means.

    Raises:
        UsageError: there is no such mode.
    """
    word = option_name(name).removeprefix("dns-").replace("-", "_")
    plain_ones: dict[str, Callable[[], Fault]] = {"nxdomain": nxdomain, "servfail": servfail, "no_address": no_address}
    if word == "slow":
        return slow_resolve(delay_seconds)
    if word in plain_ones:
        return plain_ones[word]()
    for kind in DNS_KINDS:
        if word == kind:
            return bad_dns(kind)
    known = [f"dns-{option_name(k)}" for k in ("slow", *plain_ones, *DNS_KINDS)]
    raise UsageError(f"no mode {name!r}.{nearest(option_name(name), known)} Modes of a DNS server: {', '.join(known)}.")


def options_of(chosen: Mode) -> list[Parameter]:
    """The parameters that can be said on a command line: all but a gate, which a test holds."""
    return [p for p in chosen.parameters if plain(p.annotation)[0] is not Gate]


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
    """Words in lines, without breaking one."""
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + len(word) < width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def metavar(parameter: Parameter) -> str:
    """What stands for the value in a help text."""
    kind, _ = plain(parameter.annotation)
    if get_origin(kind) is Literal and not legend(parameter):
        return "{" + ",".join(map(str, get_args(kind))) + "}"
    for unit in ("bytes", "seconds"):
        if parameter.name.endswith(f"_{unit}"):
            return unit.upper()
    if parameter.name == "seconds":
        return "SECONDS"
    if parameter.name == "headers":
        return "'NAME: VALUE'"
    if kind in (int, float):
        return "NUMBER"
    return parameter.name.upper() if get_origin(kind) is Literal else "TEXT"


def legend(parameter: Parameter) -> list[str]:
    """The choices in a line of their own, where they are too many for an option."""
    kind, _ = plain(parameter.annotation)
    words = get_args(kind) if get_origin(kind) is Literal else ()
    return [", ".join(words)] if len(words) > FEW else []


def value_of(parameter: Parameter, given: Any) -> Any:
    """The value that the words on the command line mean.

    Raises:
        ParameterError: they mean none.
    """
    kind, _ = plain(parameter.annotation)
    if parameter.name == "headers":
        pairs = [field.partition(":") for field in given]
        if not all(colon for _, colon, _ in pairs):
            raise rejected("headers", given, "'NAME: VALUE'")
        return tuple((name.strip(), value.strip()) for name, _, value in pairs)
    if bytes in (kind, *get_args(kind)):
        return os.fsencode(given)
    if get_origin(kind) is tuple:
        return tuple(given)
    if kind in (int, float):
        return number(parameter.name, given, kind)
    of_numbers = any(isinstance(word, int) or word is int for word in get_args(kind))
    return int(given) if of_numbers and given.isdecimal() else given


def number(name: str, given: str, kind: type[int | float] = int) -> int | float:
    """A number from the command line.

    Raises:
        ParameterError: it is none.
    """
    try:
        return kind(given)
    except ValueError:
        word = "a whole number" if kind is int else "a number"
        raise rejected(name, given, word) from None


def plan_of(chosen: Mode | None, options: argparse.Namespace) -> Plan:
    """The plan that the words on the command line make: without a mode, nothing breaks.

    Raises:
        FaultlineError: they make none.
    """
    if chosen is None:
        return HEALTHY
    given = {p.name: (p, getattr(options, f"mode_{p.name}")) for p in options_of(chosen)}
    arguments = {name: value_of(p, value) for name, (p, value) in given.items() if value is not None}
    faults = [called(chosen, arguments), *(called(find(name), {}, NOT_THEN) for name in options.then or ())]
    if any(is_unseen(fault) for fault in faults[:-1]):
        raise UsageError(
            f"{faults!r}: expected --for-seconds for what strikes at 'connect' with something --then: "
            "attempts of another process can't be counted there."
        )
    return sequence(*faults) if len(faults) > 1 else faults[0]


def is_unseen(fault: Fault) -> bool:
    """Whether the door never opens, so that no attempt of another process is ever seen."""
    return fault.door is not None and getattr(fault.door, "for_seconds", None) is None


def called(chosen: Mode, arguments: dict[str, Any], hint: str = "") -> Fault:
    """The fault of a mode.

    Raises:
        UsageError: an option that it needs is missing.
    """
    missing = [p for p in chosen.parameters if p.is_required and p.name not in arguments]
    if missing:
        raise UsageError(f"mode {option_name(chosen.name)} needs {' '.join(usage(p) for p in missing)}.{hint}")
    return chosen.function(**arguments)
