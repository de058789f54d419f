"""Turn the words of a command line into modes, values and plans."""

from __future__ import annotations

import argparse
import shlex
from typing import Any, NamedTuple, get_args, get_origin

from faultline._core.check import measured, parameter, plain, rejected
from faultline._core.fault import Fault
from faultline._core.paths import by_path
from faultline._core.plan import HEALTHY, Dealt, Plan
from faultline._core.planning import max_connections, sequence
from faultline._core.steps import Behind
from faultline._front.escapes import HELP, bytes_of
from faultline._front.listing import FIELDS, STEPS, choices, for_tests, legend, metavar, option_name, options_of, usage
from faultline._front.parser import Once, Parser, UsageError
from faultline._front.reader import MOST, of_steps
from faultline.modes._catalogue import find, modes
from faultline.modes._registry import Mode, Parameter, ServerKind, kind_of

NOT_THEN = " In {} the options go after the name, in quotes."
OLD_PREFIX = "dns_"
ALL = "*"  # the pattern of every path


class Named(NamedTuple):
    """The mode that a word names, and the arguments that the word gives already."""

    mode: Mode
    arguments: dict[str, Any]

    @property
    def options(self) -> list[Parameter]:
        """The parameters that options can still give."""
        return [p for p in options_of(self.mode) if p.name not in self.arguments]


def named(word: str) -> Named:
    """The mode that a word names.

    `dns-` before a mode of lookups, before the first word of its name, or before a choice of its parameter, is an older
    spelling: `dns-nxdomain`, `dns-slow`, `dns-wrong-id`.

    Raises:
        UnknownModeError: no mode has this name.
    """
    name = word.replace("-", "_")
    if name.startswith(OLD_PREFIX):
        rest = name.removeprefix(OLD_PREFIX)
        for entry in [entry for entry in modes().values() if entry.kind == "DNS server"]:
            if rest == entry.name or entry.name.startswith(f"{rest}_"):
                return Named(entry, {})
            for parameter in entry.parameters:
                if rest in choices(parameter):
                    return Named(entry, {parameter.name: rest})
    return Named(find(word), {})


def add_mode_options(parser: Parser, words: list[str], command: str, *, required: bool) -> Named | None:
    """Add `--mode` and `--then`, with the options of the mode that the words name, if they are of this command."""
    parser.add_argument(
        "--mode",
        required=required,
        action=Once,
        metavar="NAME",
        help="the mode that clients meet" if required else "the mode that clients meet (default: nothing breaks)",
    )
    parser.add_argument(
        "--then",
        action="append",
        metavar="NAME",
        help="the mode of the next attempt, such as ok or 'status --code 503'; the last repeats",
    )
    parser.add_argument(
        "--path",
        action="append",
        metavar="'PATH NAME'",
        help="the mode for a path, such as '/pay status --code 503' or '/img/* ok'; the same path again: the mode "
        "of its next request; other paths meet --mode",
    )
    parser.add_argument(
        "--max-connections",
        metavar="NUMBER",
        help="the number of clients that may be connected at once; takes --beyond",
    )
    parser.add_argument(
        "--beyond",
        metavar="NAME",
        help="the mode for clients beyond that number, such as refuse or 'stall --at accept'; takes --max-connections",
    )
    return with_chosen(parser, words, command)


def with_chosen(parser: Parser, words: list[str], command: str) -> Named | None:
    """Add the options of the mode that the words name, if they are of this command."""
    first = Parser(prog=f"faultline {command}", add_help=False, lets_pass=True)
    first.add_argument("--mode")
    word = first.parse_known_args(words)[0].mode
    if word is None or command not in words[:1]:
        return None
    chosen = named(word)
    parser.helping = help_line(command, chosen)
    summary = " ".join([chosen.mode.summary, *(f"The mode {why}." for why in for_tests(chosen.mode))])
    group = parser.add_argument_group(f"options of {option_name(chosen.mode.name)}", summary)
    add_options(group, chosen)
    return chosen


def help_line(command: str, chosen: Named) -> str:
    """The command line that prints the help on a mode's options."""
    return f"faultline {command} --mode {option_name(chosen.mode.name)} --help"


def add_options(group: argparse._ActionsContainer, chosen: Named) -> None:
    """Add the options of a mode."""
    for one in chosen.options:
        option, dest = f"--{option_name(one.name)}", f"mode_{one.name}"
        kind, _ = plain(one.annotation)
        text = "; one of: ".join([one.text, *legend(one)])
        if bytes in (kind, *get_args(kind)):
            text = f"{text}; {HELP}"
        if kind is bool:
            flag = argparse.BooleanOptionalAction
            group.add_argument(option, dest=dest, help=text, action=flag, default=None)
        else:
            action = "append" if one.name in FIELDS or get_origin(kind) is tuple else "store"
            group.add_argument(option, dest=dest, help=text, action=action, metavar=metavar(one))


def value_of(parameter: Parameter, given: Any, *, reads_files: bool) -> Any:
    """The value of a parameter, from the words on the command line.

    Raises:
        ParameterError: the parameter is a number and the word is not, a header field has no colon, or bytes have an
            unknown escape.
    """
    kind, _ = plain(parameter.annotation)
    if parameter.name in FIELDS:
        pairs = [field.partition(":") for field in given]
        if not all(colon for _, colon, _ in pairs):
            raise rejected(parameter.name, given, "'NAME: VALUE'")
        return tuple((name.strip(), value.strip()) for name, _, value in pairs)
    if bytes in (kind, *get_args(kind)):
        words = [bytes_of(parameter.name, word, reads_files=reads_files) for word in given_words(given)]
        return tuple(words) if get_origin(kind) is tuple else words[0]
    if get_origin(kind) is tuple:
        return tuple(given)
    if kind in (int, float):
        return number(parameter.name, given, kind)
    of_numbers = any(isinstance(word, int) or word is int for word in get_args(kind))
    return int(given) if of_numbers and given.isdecimal() else given


def given_words(given: str | list[str]) -> list[str]:
    """The words of an option that may be given once or more often."""
    return [given] if isinstance(given, str) else given


def number(name: str, given: str, kind: type[int | float] = int) -> int | float:
    """A number from the command line.

    Raises:
        ParameterError: `given` is not a number of this kind, or is too large.
    """
    word = "a whole number" if kind is int else "a number"
    try:
        found = kind(given)
    except ValueError:
        text = measured(given, "seconds" if kind is float else "bytes")
        raise rejected(name, given, f"{word}{f'; write {text}' if text else ''}") from None
    if kind is int and abs(found) >= MOST:
        raise rejected(name, given, f"{word} below 2**63")
    return found


def plan_of(chosen: Named | None, options: argparse.Namespace, *, reads_files: bool = False) -> Plan:
    """The plan of the command line; the healthy plan if there is no `--mode`. `reads_files` is that of `bytes_of`.

    Raises:
        FaultlineError: a mode is unknown or for tests alone, an option is missing or has a wrong value, or the modes
            can't be played together.
    """
    plan = in_order(chosen, options, reads_files=reads_files)
    if options.path:
        plan = by_paths(plan, options.path, reads_files=reads_files)
    if (options.max_connections is None) != (options.beyond is None):
        raise UsageError("--max-connections and --beyond: expected both of them, or neither.")
    if options.max_connections is None:
        return plan
    beyond = next_fault(options.beyond, "--beyond", reads_files=reads_files)
    return max_connections(int(number("max_connections", options.max_connections)), plan, beyond=beyond)


def by_paths(plan: Dealt, given: list[str], *, reads_files: bool) -> Fault:
    """The plan by the path of the request, from the texts of `--path`; other paths meet `plan`.

    Raises:
        FaultlineError: a text has no path or no mode, or a mode that can't be chosen by the path.
    """
    faults: dict[str, list[Fault]] = {}
    for text in given:
        path, _, mode = text.partition(" ")
        if not path.startswith(("/", "*")) or path == ALL or not mode.strip():
            told = "expected a path and a mode after it, such as '/pay status --code 503'; other paths meet --mode."
            raise UsageError(f"--path={text!r}: {told}")
        faults.setdefault(path, []).append(next_fault(mode, "--path", reads_files=reads_files))
    plans: dict[str, Dealt] = {path: sequence(*each) if len(each) > 1 else each[0] for path, each in faults.items()}
    return by_path({ALL: plan} | plans)


def in_order(chosen: Named | None, options: argparse.Namespace, *, reads_files: bool) -> Dealt:
    """The plan of `--mode` and of each `--then`.

    Raises:
        FaultlineError: as `plan_of` says.
    """
    if chosen is None:
        return HEALTHY
    faults = [called(chosen.mode, chosen.arguments | arguments_of(chosen, options, reads_files=reads_files))]
    faults += [next_fault(text, "--then", reads_files=reads_files) for text in options.then or ()]
    kind = server_of(faults)
    if kind == "TCP server" and any(is_unseen(fault) for fault in faults[:-1]):
        raise UsageError(
            f"{faults!r}: expected --for-seconds with a mode that strikes at 'connect' before --then: "
            "attempts of another process can't be counted there."
        )
    if isinstance(faults[-1].fate, Behind):
        raise UsageError(
            f"{faults[-1]!r}: expected another mode with --then, such as ok, because its answer is sent after the "
            "next answer."
        )
    return sequence(*faults) if len(faults) > 1 else faults[0]


def next_fault(text: str, option: str, *, reads_files: bool) -> Fault:
    """The fault of `--then` and the like: the name of a mode, with its options after it, as in `status --code 503`.

    Raises:
        FaultlineError: a quote is not closed, the mode is unknown or for tests alone, or an option is missing, unknown
            or has a wrong value.
    """
    try:
        word, *words = shlex.split(text) or [""]
    except ValueError as error:
        told = f"expected the name of a mode, such as ok or 'status --code 503' ({error})."
        raise UsageError(f"{option}={text!r}: {told}") from None
    chosen = named(word)
    parser = Parser(prog=f"faultline serve {option} {word}", add_help=False)
    parser.helping = help_line("serve", chosen)
    add_options(parser, chosen)
    given = arguments_of(chosen, parser.parse_args(words), reads_files=reads_files)
    return called(chosen.mode, chosen.arguments | given, NOT_THEN.format(option))


def arguments_of(chosen: Named, options: argparse.Namespace, *, reads_files: bool) -> dict[str, Any]:
    """The arguments of a mode that the options give."""
    given = {p: getattr(options, f"mode_{p.name}") for p in chosen.options}
    return {p.name: value_of(p, value, reads_files=reads_files) for p, value in given.items() if value is not None}


def server_of(faults: list[Fault] | tuple[Fault, ...]) -> ServerKind:
    """The kind of server that all of these faults take.

    Raises:
        UsageError: two of the faults take different kinds.
    """
    special = {kind: fault for fault in faults if (kind := kind_of(fault)) != "TCP server"}
    if len(special) > 1:
        each = ", ".join(f"{fault!r} takes a {kind}" for kind, fault in special.items())
        raise UsageError(f"{faults!r}: expected modes of one kind of server, but {each}.")
    return next(iter(special), "TCP server")


def is_unseen(fault: Fault) -> bool:
    """Whether the port never accepts a connection, so that the server sees no attempt of another process."""
    return fault.door is not None and not fault.opens_later


def called(chosen: Mode, arguments: dict[str, Any], hint: str = "") -> Fault:
    """The fault of a mode.

    Raises:
        UsageError: an option that the mode needs is missing, or the mode is for tests alone.
    """
    for why in for_tests(chosen):
        raise UsageError(f"mode {option_name(chosen.name)} {why}.")
    missing = [p for p in chosen.parameters if p.is_required and p.name not in arguments]
    if missing:
        raise UsageError(f"mode {option_name(chosen.name)} needs {' '.join(usage(p) for p in missing)}.{hint}")
    for p in chosen.parameters:
        if p.name in arguments:
            parameter(p.name, arguments[p.name], p.annotation)
    if chosen.takes_steps:
        return of_steps(chosen.name, arguments.get(STEPS.name, ""))
    return chosen.function(**arguments)
