"""Draws what `faultline probe` finds, point by point."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from faultline._front.auditing import positive
from faultline._front.explaining import bold, call_of, command_of, heading, wrap
from faultline._front.listing import NARROWEST, WIDEST
from faultline._front.parser import UsageError

if TYPE_CHECKING:
    from faultline._explain.plays import Play
    from faultline._probe.steps import Failure, Step
    from faultline._probe.target import Target
    from faultline._probe.walk import Settings

HELP = "say at which point a conversation with a server fails, and why"
POINTS = ("lookup", "connect", "handshake", "response")
ROOM = max(map(len, POINTS)) + 2


def add_probe_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `probe`."""
    parser.add_argument("url", metavar="URL", help="http://…, https://…, tcp://HOST:PORT or tls://HOST:PORT")
    parser.add_argument(
        "--timeout-seconds", default="5", metavar="SECONDS", help="the time limit of each point (default: 5)"
    )
    parser.add_argument("--ca-file", metavar="PATH", help="trust the CA certificates in this file, and no others")
    parser.add_argument("--insecure", action="store_true", help="go on after a certificate that is refused")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def probe_of(options: argparse.Namespace) -> tuple[Target, Settings]:
    """What the options ask for.

    Raises:
        FaultlineError: an option has a wrong value, or the file can't be read.
    """
    import ssl

    from faultline._probe.target import target_of
    from faultline._probe.walk import Settings

    target = target_of(options.url)
    if options.ca_file is not None:
        try:
            ssl.create_default_context(cafile=options.ca_file)
        except OSError as error:
            why = "it has no certificate" if isinstance(error, ssl.SSLError) else error.strerror
            raise UsageError(f"--ca-file {options.ca_file}: expected a file of CA certificates ({why}).") from None
    seconds = positive("timeout-seconds", options.timeout_seconds, float)
    return target, Settings(seconds, os.fspath(options.ca_file or ""), options.insecure)


def step_lines(step: Step, width: int, *, color: bool) -> Iterator[str]:
    """A point in lines: what was found there and how long it took, or why it failed."""
    width = min(max(width, NARROWEST), WIDEST)
    lines = [*step.lines]
    if step.failure is not None:
        lines.insert(0, f"failed after {step.seconds:.3f} s: {step.failure.text}")
    elif step.seconds:
        lines[0] += f" ({step.seconds:.3f} s)"
    for number, text in enumerate(map(printable, lines)):
        first = " " * ROOM if number else f"{step.point:{ROOM}}"
        shown = "\n".join(wrap(text, width, first, " " * (ROOM + 2 * bool(number))))
        is_failed = number == 0 and step.failure is not None
        yield shown.replace("failed", bold("failed", color=color), 1) if is_failed else shown


def printable(text: str) -> str:
    """A text of a server without what a terminal would obey: such characters as their escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def end_lines(step: Step, target: Target, width: int, *, color: bool) -> Iterator[str]:
    """What follows from the last point: what its error means, and the mode that imitates it."""
    from faultline._probe.imitation import entry_of, imitation

    width = min(max(width, NARROWEST), WIDEST)
    if step.failure is None:
        for mode in step.modes:
            yield from ["", *imitated(play_of(mode), target, color=color)]
        return
    missed = POINTS[POINTS.index(step.point) + 1 :]
    yield from (f"{point:{ROOM}}not reached" for point in missed if point != "handshake" or target.is_tls)
    yield ""
    if (entry := entry_of(step.failure)) is not None:
        yield from wrap(f"{named(step.failure)}: {entry.means}", width)
        yield from heading("In production", color=color)
        yield from (line for cause in entry.causes for line in wrap(cause, width, "- "))
        yield f"$ faultline explain {shlex.quote(entry.name)}"
    else:
        yield from wrap(f"{named(step.failure)}.", width)
    yield ""
    play = imitation(step)
    if play is None:
        instead = entry.instead if entry is not None else ""
        yield from wrap(instead or "No mode imitates this.", width)
    else:
        yield from imitated(play, target, color=color)


def named(failure: Failure) -> str:
    """The class of an error with its detail."""
    detail = f"errno {failure.detail}" if failure.detail.lstrip("-").isdecimal() else failure.detail
    return f"{failure.cause} ({detail})" if detail else failure.cause


def play_of(mode: str) -> Play:
    """The fault of an odd response."""
    from faultline._explain.plays import Play

    return Play(mode, "", "", ("",) * 5)


def imitated(play: Play, target: Target, *, color: bool) -> Iterable[str]:
    """The line of a test and the command line that imitate what was found."""
    play = with_tls(play, target)
    command = command_of(play.fault, tls=play.tls)
    return [bold("The same by faultline", color=color), f"  {call(play, target)}", f"  $ {command}"]


def call(play: Play, target: Target) -> str:
    """The line of a test that imitates what was found; a lookup is of the host that was asked."""
    return call_of(play).replace("api.example.com", target.host)


def with_tls(play: Play, target: Target) -> Play:
    """The fault on a server that speaks TLS if the target does."""
    is_missing = target.is_tls and not play.fault.needs_tls and play.point not in ("lookup", "connect")
    return dataclasses.replace(play, tls=play.tls or is_missing)


def data_of(steps: list[Step], target: Target) -> dict[str, Any]:
    """All points as JSON."""
    from faultline._probe.imitation import entry_of, imitation
    from faultline._probe.steps import Step

    last = steps[-1] if steps else Step("lookup", 0.0)  # before the first, a signal stopped it
    plays = [imitation(last)] if last.failure else [play_of(mode) for mode in last.modes]
    failed = None
    if (failure := last.failure) is not None:
        entry = entry_of(failure)
        failed = {
            "point": last.point,
            "error": failure.cause,
            "detail": failure.detail,
            "text": failure.text,
            "explain": entry.name if entry else "",
            "means": entry.means if entry else "",
            "causes": [*entry.causes] if entry else [],
        }
    return {
        "url": target.url,
        "points": [
            {"point": step.point, "seconds": round(step.seconds, 6), "failed": step.failure is not None, **step.facts}
            for step in steps
        ],
        "failed": failed,
        "modes": [
            {
                "plan": play.plan,
                "tls": play.tls,
                "test": call(play, target),
                "command": command_of(play.fault, tls=play.tls),
            }
            for play in (with_tls(play, target) for play in plays if play)
        ],
    }
