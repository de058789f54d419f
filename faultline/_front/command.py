"""The command line: start a server, and print its attempts.

Rules: no other module prints or exits. A mistake of the user is one line on stderr and exit status 2.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faultline._core import clock, terminal
from faultline._core.attempts import Attempt
from faultline._core.counts import counted
from faultline._core.errors import FaultlineError
from faultline._core.plan import Plan, faults_of
from faultline._core.report import describe
from faultline._core.words import MODES, meant
from faultline._core.words import listed as listed_words
from faultline._front.auditing import (
    FOUND,
    STOPPED,
    as_json,
    check_places,
    difference_of,
    failing,
    setup_of,
    status_of,
    write_reports,
)
from faultline._front.commands import parser_of
from faultline._front.completion import script_of
from faultline._front.control.command import started
from faultline._front.ended import Ended, Ending, interruptible, signals
from faultline._front.explaining import explained, explained_data
from faultline._front.listing import as_data, listing, with_words
from faultline._front.options import is_unseen, plan_of, server_of
from faultline._front.parser import UsageError
from faultline._front.probing import data_of, end_lines, probe_of, step_lines
from faultline._front.record import record
from faultline._front.serving import STARTERS, Starter, start_proxy, start_relay
from faultline._front.trust import trust_files
from faultline.modes._catalogue import modes
from faultline.modes._registry import OVER_TCP

if TYPE_CHECKING:
    from faultline._servers.endpoint import Endpoint

KEPT_ATTEMPTS = 10  # each is printed as it ends


def main(argv: list[str] | None = None, ending: Ending = signals) -> int:
    """Run the command line and return the exit status.

    A server runs until there is `None` in the queue that `ending` opens: by default, until SIGTERM or Ctrl-C.
    """
    words = sys.argv[1:] if argv is None else argv
    if sys.stdout is None:  # closed by the shell, as in `>&-`
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - open until the process ends
    try:
        try:
            return run(words, ending)
        finally:
            sys.stdout.flush()  # an error at exit could not be handled
    except FaultlineError as error:
        complain(f"{error}{typed(words) if isinstance(error, (UsageError, ValueError)) else ''}")
        return 2
    except BrokenPipeError:  # the reader of the output has gone, as in `| head`
        discard_output()
        return 0
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        discard_output()
        complain(f"standard output: expected a place to write to ({error.strerror}).")
        return 1


UNWRITABLE = (errno.ENOSPC, errno.EIO, errno.EBADF, errno.EDQUOT, errno.EFBIG)


def discard_output() -> None:
    """Write what follows nowhere, so that the end of the process raises no second error."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def complain(text: str) -> None:
    """Print one line of complaint, if there is a place for it."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(f"faultline: {text}", file=sys.stderr)


def typed(words: list[str]) -> str:
    """The command line to type instead, as the end of a message; empty if it is not known."""
    from faultline._front.mistakes import right_line

    line = right_line(words)
    return f" Type: {line}" if line else ""


def run(words: list[str], ending: Ending) -> int:
    """Parse the words, run the command and return the exit status."""
    top, chosen = parser_of(words)
    options = top.parse_args(words)
    if options.command == "modes":
        print_modes(options)
    elif options.command == "explain":
        print_explained(options)
    elif options.command == "probe":
        return run_probe(options)
    elif options.command == "record":
        run_record(options, ending)
    elif options.command == "control":
        run_control(options, ending)
    elif options.command == "audit":
        return run_audit(options, ending)
    elif options.command == "completion":
        print(script_of(options.shell, top), end="")
    else:
        runs = {"serve": run_server, "relay": run_relay, "proxy": run_proxy}
        runs[options.command](plan_of(chosen[options.command], options, reads_files=True), options, ending)
    return 0


def print_modes(options: argparse.Namespace) -> None:
    """Print the modes that have all of the words, as wide as the terminal.

    Raises:
        UsageError: no mode has them.
    """
    found = with_words(options.words)
    if not found:
        known = meant(options.words[0], modes(), MODES)
        hint = f" Did you mean {listed_words(map(repr, known))}?" if known else ""
        raise UsageError(f"modes {' '.join(options.words)}: expected words that a mode has.{hint}")
    if options.json:
        print(json.dumps([as_data(entry) for entry in found], indent=2))
    else:
        print("\n".join(listing(found, terminal.width(), color=terminal.shows_color())))


def print_explained(options: argparse.Namespace) -> None:
    """Print what the words mean, as wide as the terminal."""
    if options.json:
        print(json.dumps(explained_data(options.words), indent=2))
    else:
        print("\n".join(explained(options.words, terminal.width(), color=terminal.shows_color())))


def run_probe(options: argparse.Namespace) -> int:
    """Walk the points of a conversation, print each as it is passed, and return the exit status."""
    from faultline._probe.walk import walk

    target, settings = probe_of(options)
    width, color, steps = terminal.width(), terminal.shows_color(), []
    try:
        with interruptible():
            for step in walk(target, settings):
                steps.append(step)
                if not options.json:
                    print("\n".join(step_lines(step, width, color=color)), flush=True)
        status = FOUND if steps[-1].failure else 0
    except KeyboardInterrupt:
        complain("stopped.")
        status = STOPPED
    if options.json:
        print(json.dumps(data_of(steps, target), indent=2))
    elif status != STOPPED:
        print("".join(f"{line}\n" for line in end_lines(steps[-1], target, width, color=color)), end="")
    return status


# --- faultline serve, faultline relay ------------------------------------------------------------------------


def run_server(plan: Plan, options: argparse.Namespace, ending: Ending) -> None:
    """Serve a plan until the end."""
    kind = "UDP server" if options.udp else server_of(faults_of(plan))
    given = [name for name in ("tls", "alpn", "http2", "unix") if getattr(options, name) not in (None, False)]
    if given and kind not in OVER_TCP:
        raise UsageError(f"{plan!r}: expected no --{given[0]} with it; it takes a {kind}.")
    start_and_watch(STARTERS[kind], plan, options, ending)


def run_proxy(plan: Plan, options: argparse.Namespace, ending: Ending) -> None:
    """Run a proxy until the end."""
    kind = server_of(faults_of(plan))
    if kind not in ("TCP server", "SOCKS proxy"):
        raise UsageError(f"{plan!r}: expected `faultline serve`, since this mode needs a {kind}.")
    if kind == "SOCKS proxy" and not options.socks:
        options.socks = "socks5h"
    start_and_watch(start_proxy, plan, options, ending)


def start_and_watch(start: Starter, plan: Plan, options: argparse.Namespace, ending: Ending) -> None:
    """Start a server, and print its attempts until the end."""
    with ending() as ended:
        server, url, where, trial = start(plan, options, ended.put)
        text = f"{plan!r} on {where} - try: {trial}{unseen(server, plan)}"
        watch(server, url, ended, text, options, {"plan": repr(plan), "try": trial})


def run_relay(plan: Plan, options: argparse.Namespace, ending: Ending) -> None:
    """Run a relay until the end."""
    if (kind := server_of(faults_of(plan))) != "TCP server":
        raise UsageError(f"{plan!r}: expected `faultline serve`, since this mode needs a {kind}.")
    with ending() as ended:
        server, upstream = start_relay(plan, options, ended.put)
        text = f"{server.plan!r} on {server.hostport} in front of {options.upstream}{unseen(server, server.plan)}"
        data = {"plan": repr(server.plan), "upstream": str(upstream)}
        watch(server, server.url, ended, text, options, data)


def run_record(options: argparse.Namespace, ending: Ending) -> None:
    """Record what a real server says until the end, and write it."""
    with ending() as ended:
        for text, data in record(options, ended):
            say(options.json, text, data)


def run_control(options: argparse.Namespace, ending: Ending) -> None:
    """Run the control API until the end, and print every attempt at a proxy as it ends."""
    began = clock.now()
    with ending() as ended:
        with started(options, lambda name, attempt: ended.put((name, attempt))) as api:
            trial = f"curl {api.url}/proxies"
            text = f"control API on {api.url} (proxies: {len(api.proxies) + len(api.dns_servers)}) - try: {trial}"
            say(options.json, f"{text} - Ctrl-C stops", {"event": "listening", "url": api.url, "try": trial})
            while (told := ended.get()) is not None:
                say_of(options, *told)
        while not ended.empty():
            if (told := ended.get()) is not None:  # pragma: no branch - a second signal says nothing new
                say_of(options, *told)
    say(options.json, f"stopped after {clock.now() - began:.1f} s", {"event": "stopped"})


def say_of(options: argparse.Namespace, name: str, attempt: Attempt) -> None:
    """Print an attempt at a proxy."""
    say(options.json, f"{name}: {describe(attempt)}", {"event": "attempt", "proxy": name, **attempt.to_dict()})


def run_audit(options: argparse.Namespace, ending: Ending) -> int:
    """Audit a client, print each case as it ends, and return the exit status."""
    from faultline._audit.audited import Run
    from faultline._audit.table import line, table

    setup, fails, compare = setup_of(options), failing(options), difference_of(options)
    is_terminal = sys.stdout.isatty()
    check_places(options)
    with ending() as ended, Run(setup, ended.put) as run:
        while run.is_going and (told := ended.get()) is not None:
            result = run.take(told)
            if is_terminal:
                print(run.progress, end="", flush=True)
            elif not options.json:
                print(line(result), flush=True)
        audit = run.result()
    changed = compare(audit)
    if options.json:
        print(as_json(audit, changed))
    else:
        lines = table(audit, terminal.width(), color=terminal.shows_color())
        print("\n".join([*lines, *([] if changed is None else changed.lines)]))
    write_reports(options, audit, fails)
    return status_of(audit, fails, changed)


def watch(  # noqa: PLR0917 - the two commands differ in each of these
    server: Endpoint,
    url: str,
    ended: Ended,
    text: str,
    options: argparse.Namespace,
    data: dict[str, Any],
) -> None:
    """Print every attempt as it ends, until `None` comes."""
    began = clock.now()
    listening = {"event": "listening", "url": url}
    server.ledger.most_attempts = KEPT_ATTEMPTS
    with server:
        listening |= trust_files(server, url, options)
        say(options.json, f"{text} - Ctrl-C stops", listening | data)
        while (attempt := ended.get()) is not None:
            say(options.json, describe(attempt), {"event": "attempt", **attempt.to_dict()})
    while not ended.empty():  # attempts that the stop has ended; a second signal is in the queue too
        if (attempt := ended.get()) is not None:
            say(options.json, describe(attempt), {"event": "attempt", **attempt.to_dict()})
    attempts, struck = server.ledger.begun, server.ledger.count("strike")
    say(
        options.json,
        f"stopped after {clock.now() - began:.1f} s: {counted(attempts, 'attempt')}, {struck} struck",
        {"event": "stopped", "attempts": attempts, "struck": struck},
    )


def unseen(server: Endpoint, plan: Plan) -> str:
    """A remark if the kernel answers instead of the server, and nothing else counts, so that the ledger stays empty."""
    is_empty = is_unseen(faults_of(plan)[0]) and server._uncounted  # noqa: SLF001 - it is a question of the package's own
    return " - the kernel answers, and no attempt is seen from here" if is_empty else ""


def say(as_json: bool, text: str, data: dict[str, Any]) -> None:  # noqa: FBT001 - it selects the form
    """Print one line, at once."""
    print(json.dumps(data) if as_json else text, flush=True)
