"""The command line: the same servers, by hand.

Rules of this room: it is the only one that prints or exits. Modes and their options are read from the catalogue.
What the user got wrong is one line on stderr and exit status 2.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import queue
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any, Literal, NoReturn, get_args, get_origin

from faultline._catalogue import Mode, Parameter, find, modes
from faultline._check import plain, rejected
from faultline._errors import FaultlineError
from faultline._fault import Fault
from faultline._gate import Gate
from faultline._ledger import Attempt
from faultline._plan import Plan, faults_of, sequence
from faultline._report import describe
from faultline._steps import POINTS
from faultline._version import __version__

# The groups of modes that break nothing.
NOWHERE: dict[str, str] = {
    "condition": "conditions (how bytes travel)",
    "answer": "answers (what is said when nothing breaks)",
}
FEW = 8  # choices that an option can show
NOT_THEN = " An option goes with --mode, not with --then."
EPILOG = "`faultline serve --mode NAME --help` shows the options of a mode, `faultline modes` lists them all."


class UsageError(FaultlineError):
    """The words of the command are off."""


class Parser(argparse.ArgumentParser):
    """argparse that answers a mistake with one line."""

    def error(self, message: str) -> NoReturn:
        """Leave it to `main` to print."""
        raise UsageError(f"{message}. See `{self.prog} --help`.")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    words = sys.argv[1:] if argv is None else argv
    try:
        try:
            return run(words)
        finally:
            sys.stdout.flush()  # here, and not at exit, where nobody could do anything about it
    except FaultlineError as error:
        print(f"faultline: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output has gone, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def run(words: list[str]) -> int:
    """Understand the words and do what they say."""
    top = Parser(prog="faultline", description="Local servers that misbehave on purpose.", epilog=EPILOG)
    top.add_argument("--version", action="version", version=f"faultline {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands.add_parser("modes", help="list the modes by the point where they strike")
    server = commands.add_parser("serve", help="serve one mode until Ctrl-C", epilog=EPILOG)
    chosen = add_serve_options(server, words)
    options = top.parse_args(words)
    if options.command == "modes":
        list_modes()
        return 0
    assert chosen is not None
    return serve(chosen, options)


# --- faultline modes -------------------------------------------------------------------------------------


def list_modes() -> None:
    """Print the catalogue, grouped by point."""
    width = max(map(len, modes()))
    for point in (*POINTS, *NOWHERE):
        group = [entry for entry in modes().values() if entry.point == point]
        if group:
            print(NOWHERE.get(point, point))
        for entry in group:
            print(f"  {option_name(entry.name):{width}}  {entry.summary}")
            lines = wrapped([usage(p) for p in options_of(entry)])
            for p in options_of(entry):
                lines += [f"  {line}" for words in legend(p) for line in wrapped(f"{metavar(p)}: {words}".split())]
            for words in lines:
                print(f"  {'':{width}}  {words}")


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


# --- faultline serve -------------------------------------------------------------------------------------


def add_serve_options(parser: argparse.ArgumentParser, words: list[str]) -> Mode | None:
    """Add the options of `serve`, with those of the mode that the words name."""
    parser.add_argument("--mode", required=True, metavar="NAME", help="what to do to clients")
    parser.add_argument("--host", default="127.0.0.1", help="the address to bind (default: %(default)s)")
    parser.add_argument("--port", default="0", help="the port to bind (default: a free one)")
    parser.add_argument("--tls", action="store_true", help="speak TLS with a certificate of the test CA")
    parser.add_argument(
        "--then",
        action="append",
        metavar="NAME",
        help="the mode of the next attempt, with its defaults; the last repeats",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    first = Parser(prog="faultline serve", add_help=False)
    first.add_argument("--mode")
    name = first.parse_known_args(words)[0].mode
    if name is None or "serve" not in words:
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


def options_of(chosen: Mode) -> list[Parameter]:
    """The parameters that can be said on a command line: all but a gate, which a test holds."""
    return [p for p in chosen.parameters if plain(p.annotation)[0] is not Gate]


def option_name(name: str) -> str:
    """A Python name as it is written on a command line."""
    return name.rstrip("_").replace("_", "-")


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


def serve(chosen: Mode, options: argparse.Namespace) -> int:
    """Serve until a signal, and print every attempt as it ends."""
    from faultline._server import Server

    plan = plan_of(chosen, options)
    port = int(number("port", options.port))
    ended: queue.SimpleQueue[Attempt | None] = queue.SimpleQueue()
    began = time.monotonic()
    with (
        signals(ended),
        Server(plan, tls=options.tls, host=options.host, port=port, strict=False, on_end=ended.put) as server,
    ):
        trial = f"curl -v {server.url}/"
        if server.url.startswith("https"):
            trial = f"curl -v --cacert {server.ca_file} {server.url}/"
        say(
            options.json,
            f"{plan!r} on {server.url} - try: {trial} - Ctrl-C stops{unseen(plan)}",
            {"event": "listening", "plan": repr(plan), "url": server.url, "try": trial},
        )
        while (attempt := ended.get()) is not None:
            say(options.json, describe(attempt), {"event": "attempt", **attempt.to_dict()})
    while not ended.empty():  # what ended because we stopped; a second signal is there too
        if (attempt := ended.get()) is not None:
            say(options.json, describe(attempt), {"event": "attempt", **attempt.to_dict()})
    attempts = server.attempts
    struck = sum(a.struck is not None for a in attempts)
    say(
        options.json,
        f"stopped after {time.monotonic() - began:.1f} s: {len(attempts)} attempts, {struck} struck",
        {"event": "stopped", "attempts": len(attempts), "struck": struck},
    )
    return 0


def plan_of(chosen: Mode, options: argparse.Namespace) -> Plan:
    """The plan that the words on the command line make.

    Raises:
        FaultlineError: they make none.
    """
    given = {p.name: (p, getattr(options, f"mode_{p.name}")) for p in options_of(chosen)}
    arguments = {name: value_of(p, value) for name, (p, value) in given.items() if value is not None}
    faults = [
        called(chosen, arguments),
        *(called(find(name), {}, " An option goes with --mode, not with --then.") for name in options.then or ()),
    ]
    if any(is_unseen(fault) for fault in faults[:-1]):
        raise UsageError(
            f"{faults!r}: expected --for-seconds for what strikes at 'connect' with something --then: "
            "attempts of another process can't be counted there."
        )
    return sequence(*faults) if len(faults) > 1 else faults[0]


def is_unseen(fault: Fault) -> bool:
    """Whether the door never opens, so that no attempt of another process is ever seen."""
    return fault.door is not None and getattr(fault.door, "for_seconds", None) is None


def unseen(plan: Plan) -> str:
    """What to expect of the ledger where the kernel answers for us."""
    return " - the kernel answers, and no attempt is seen from here" if is_unseen(faults_of(plan)[0]) else ""


def called(chosen: Mode, arguments: dict[str, Any], hint: str = "") -> Fault:
    """The fault of a mode.

    Raises:
        UsageError: an option that it needs is missing.
    """
    missing = [p for p in chosen.parameters if p.is_required and p.name not in arguments]
    if missing:
        raise UsageError(f"mode {option_name(chosen.name)} needs {' '.join(usage(p) for p in missing)}.{hint}")
    return chosen.function(**arguments)


def say(as_json: bool, text: str, data: dict[str, Any]) -> None:  # noqa: FBT001 - one of two forms
    """Print one line, at once."""
    print(json.dumps(data) if as_json else text, flush=True)


@contextlib.contextmanager
def signals(ended: queue.SimpleQueue[Attempt | None]) -> Iterator[None]:
    """Let SIGTERM and Ctrl-C end the queue, whenever they come; `put` is safe in a handler."""

    def stop(*_: object) -> None:
        ended.put(None)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
