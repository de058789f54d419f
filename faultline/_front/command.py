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
from typing import TYPE_CHECKING, Any

from faultline._core.errors import FaultlineError
from faultline._core.ledger import Attempt
from faultline._core.plan import Plan, faults_of
from faultline._core.points import POINTS
from faultline._core.report import describe
from faultline._front.options import (
    Parser,
    UsageError,
    add_mode_options,
    dns_modes,
    dns_plan,
    is_of_dns,
    is_unseen,
    legend,
    metavar,
    number,
    option_name,
    options_of,
    plan_of,
    usage,
    wrapped,
)
from faultline._version import __version__
from faultline.modes._catalogue import modes
from faultline.modes._registry import Mode

if TYPE_CHECKING:
    from faultline._servers.endpoint import Endpoint

# The groups of modes that break nothing.
NOWHERE: dict[str, str] = {
    "condition": "conditions (how bytes travel)",
    "answer": "answers (what is said when nothing breaks)",
}
EPILOG = "`faultline serve --mode NAME --help` shows the options of a mode, `faultline modes` lists them all."


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
    served = add_serve_options(server, words)
    relay = commands.add_parser("relay", help="stand in front of a real server until Ctrl-C", epilog=EPILOG)
    relayed = add_relay_options(relay, words)
    options = top.parse_args(words)
    if options.command == "modes":
        list_modes()
    elif options.command == "relay":
        run_relay(plan_of(relayed, options), options)
    elif is_of_dns(options.mode):
        run_dns(options)
    else:
        run_server(plan_of(served, options), options)
    return 0


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
    print("lookup (a DNS server, with `faultline serve` alone)")
    for name, summary in dns_modes():
        print(f"  {name:{width}}  {summary}")


# --- faultline serve, faultline relay ------------------------------------------------------------------------


def add_serve_options(parser: argparse.ArgumentParser, words: list[str]) -> Mode | None:
    """Add the options of `serve`, with those of the mode that the words name."""
    chosen = add_mode_options(parser, words, "serve", required=True)
    parser.add_argument("--host", default="127.0.0.1", help="the address to bind (default: %(default)s)")
    parser.add_argument("--port", default="0", help="the port to bind (default: a free one)")
    parser.add_argument("--tls", action="store_true", help="speak TLS with a certificate of the test CA")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    return chosen


def add_relay_options(parser: argparse.ArgumentParser, words: list[str]) -> Mode | None:
    """Add the options of `relay`, with those of the mode that the words name."""
    parser.add_argument("--upstream", required=True, metavar="ADDRESS", help="the real server: host:port, URL or path")
    parser.add_argument(
        "--listen", default="127.0.0.1:0", metavar="HOST:PORT", help="the address to bind (default: a free port)"
    )
    parser.add_argument(
        "--tls",
        choices=("through", "terminate"),
        default="through",
        help="pass TLS on as it is, or speak it here with a certificate of the test CA (default: %(default)s)",
    )
    parser.add_argument(
        "--on-upstream-failure",
        choices=("reset", "close", "stall"),
        default="reset",
        help="what the client meets if the upstream can't be reached (default: %(default)s)",
    )
    parser.add_argument("--allow-remote", action="store_true", help="let the upstream be on another machine")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    return add_mode_options(parser, words, "relay", required=False)


def run_server(plan: Plan, options: argparse.Namespace) -> None:
    """Serve until a signal."""
    from faultline._servers.server import Server
    from faultline._servers.start import checked_address

    port = int(number("port", options.port))
    with signals() as ended:
        address = checked_address(options.host, port)
        server = Server(plan, address=address, tls=options.tls, strict=False, on_end=ended.put)
        trial = f"curl -v {server.url}/"
        if server.url.startswith("https"):
            trial = f"curl -v --cacert {server.ca_file} {server.url}/"
        watch(
            server,
            server.url,
            ended,
            f"{plan!r} on {server.url} - try: {trial}{unseen(plan)}",
            options,
            {"plan": repr(plan), "try": trial},
        )


def run_dns(options: argparse.Namespace) -> None:
    """Answer DNS queries until a signal."""
    from faultline._servers.dns import DnsServer

    if options.tls or options.then:
        raise UsageError(f"mode {options.mode} takes neither --tls nor --then: it is one of a DNS server.")
    plan = dns_plan(options.mode, number("delay_seconds", getattr(options, "delay_seconds", "0"), float))
    with signals() as ended:
        port = int(number("port", options.port))
        server = DnsServer(plan, host=options.host, port=port, strict=False, on_end=ended.put)
        host, port = server.address
        trial = f"dig @{host} -p {port} api.example.com"
        text = f"{plan!r} on {host}:{port}, UDP and TCP - try: {trial}"
        watch(server, f"dns://{host}:{port}", ended, text, options, {"plan": repr(plan), "try": trial})


def run_relay(plan: Plan, options: argparse.Namespace) -> None:
    """Stand in front of a real server until a signal."""
    from faultline._servers.server import Server
    from faultline._servers.start import checked_address, checked_relay

    plan, upstream = checked_relay(
        options.upstream, plan, options.tls, options.on_upstream_failure, allow_remote=options.allow_remote
    )
    host, _, port = options.listen.rpartition(":")
    with signals() as ended:
        server = Server(
            plan,
            address=checked_address(host.strip("[]") or "127.0.0.1", int(number("port", port))),
            tls=options.tls == "terminate",
            role="relay",
            upstream=upstream,
            strict=False,
            on_end=ended.put,
        )
        text = f"{plan!r} on {server.hostport} in front of {options.upstream}{unseen(plan)}"
        watch(server, server.url, ended, text, options, {"plan": repr(plan), "upstream": str(upstream)})


def watch(  # noqa: PLR0917 - what each of the three says differently
    server: Endpoint,
    url: str,
    ended: queue.SimpleQueue[Attempt | None],
    text: str,
    options: argparse.Namespace,
    data: dict[str, Any],
) -> None:
    """Print every attempt as it ends, until there is a signal."""
    began = time.monotonic()
    listening = {"event": "listening", "url": url}
    with server:
        say(options.json, f"{text} - Ctrl-C stops", listening | data)
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


def unseen(plan: Plan) -> str:
    """What to expect of the ledger where the kernel answers for us."""
    return " - the kernel answers, and no attempt is seen from here" if is_unseen(faults_of(plan)[0]) else ""


def say(as_json: bool, text: str, data: dict[str, Any]) -> None:  # noqa: FBT001 - one of two forms
    """Print one line, at once."""
    print(json.dumps(data) if as_json else text, flush=True)


@contextlib.contextmanager
def signals() -> Iterator[queue.SimpleQueue[Attempt | None]]:
    """A queue that SIGTERM and Ctrl-C end, whenever they come; `put` is safe in a handler."""
    ended: queue.SimpleQueue[Attempt | None] = queue.SimpleQueue()

    def stop(*_: object) -> None:
        ended.put(None)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
