"""The options of `faultline audit`, the audit that they describe, and the exit status that follows from it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from faultline._core.words import listed, meant
from faultline._front.listing import option_name
from faultline._front.options import number
from faultline._front.parser import UsageError
from faultline.modes._catalogue import find

if TYPE_CHECKING:
    from faultline._audit.baseline import Difference
    from faultline._audit.result import Audit
    from faultline._audit.run import Setup
    from faultline._audit.verdicts import Verdict

FOUND, STOPPED = 1, 130  # exit statuses: something was found, and that of a shell for Ctrl-C
ANY = "any"
HELP = "call a client in every case of the catalogue, and report what it does"


def add_audit_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `audit`."""
    parser.add_argument(
        "target",
        nargs="?",
        metavar="TARGET",
        help="the client, as package.module:callable, sync or async; it is called with the URL",
    )
    parser.add_argument("--command", metavar="LINE", dest="line", help="a program, as in 'curl --max-time 2 {url}'")
    parser.add_argument(
        "--factory",
        action="store_true",
        help="call TARGET once: it returns the client, or a context manager that yields it",
    )
    add_choices(parser)
    parser.add_argument(
        "--timeout-seconds", default="5", metavar="SECONDS", help="count a call as hung after this time (default: 5)"
    )
    parser.add_argument(
        "--runs",
        default="1",
        metavar="NUMBER",
        help="run each case this number of times, and compare the runs (default: 1)",
    )
    parser.add_argument(
        "--jobs", default="24", metavar="NUMBER", help="the number of clients that run at the same time (default: 24)"
    )
    parser.add_argument(
        "--expect",
        action="append",
        metavar="ERROR",
        help="the exception that the client should raise, as package.Error (default: any)",
    )
    add_reports(parser)


def add_choices(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose cases, and where they strike."""
    parser.add_argument(
        "--point",
        action="append",
        metavar="POINT",
        help="only cases of this point, such as connect; may be given several times",
    )
    parser.add_argument(
        "--mode", action="append", metavar="NAME", help="only cases of this mode; may be given several times"
    )
    both = parser.add_mutually_exclusive_group()
    both.add_argument("--tls", action="store_true", default=None, help="only servers that speak TLS")
    both.add_argument("--plain", action="store_false", dest="tls", help="only servers without TLS")
    parser.add_argument(
        "--protocol", choices=("http", "tcp"), default="http", help="tcp: only cases for a client that speaks no HTTP"
    )
    parser.add_argument(
        "--upstream", metavar="ADDRESS", help="a real server, whose answers pass a relay; implies --protocol tcp"
    )
    parser.add_argument("--proxy", action="store_true", help="play the faults of a proxy, whose URL is in HTTPS_PROXY")


def add_reports(parser: argparse.ArgumentParser) -> None:
    """Add the options of what is found, and where that is written."""
    parser.add_argument(
        "--fail-on",
        metavar="VERDICTS",
        help="exit with status 1 if a case has one of these verdicts: hung,leaked,… or any",
    )
    parser.add_argument(
        "--baseline",
        metavar="PATH",
        help="an earlier audit as JSON: print the difference, and fail only where a case got worse",
    )
    parser.add_argument("--json", action="store_true", help="print the audit as JSON")
    parser.add_argument("--junit", metavar="PATH", help="write the audit as JUnit's XML")
    parser.add_argument("--sarif", metavar="PATH", help="write what was found as SARIF, for code scanning")
    parser.add_argument("--html", metavar="PATH", help="write the audit as one HTML file, with each conversation drawn")


def setup_of(options: argparse.Namespace) -> Setup:
    """The audit that the options describe.

    Raises:
        FaultlineError: an option has a wrong value.
    """
    from faultline._audit.cases import Choice, chosen, known_points
    from faultline._audit.run import SLOWER_SECONDS, Setup
    from faultline._audit.target import Target
    from faultline._core.upstream import parsed_upstream

    for name, value in vars(options).items():
        if value == "":
            words = {"target": "TARGET", "line": "--command"}
            raise UsageError(f"audit: expected a {words.get(name, f'--{option_name(name)}')} that is not empty.")
    if options.target and options.line:
        raise UsageError(f"audit {options.target} --command: expected one of the two.")
    if options.factory and not options.target:
        raise UsageError("--factory: expected a TARGET with it, which makes the callable.")
    if options.proxy and (options.upstream or options.protocol != "http"):
        raise UsageError("--proxy: expected neither --upstream nor --protocol tcp with it: the proxy speaks HTTP.")
    if options.upstream:
        parsed_upstream(options.upstream, allow_remote=False)
    limit = positive("timeout-seconds", options.timeout_seconds, float)
    expected = tuple(name.strip() for text in options.expect or () for name in text.split(","))
    if not all(expected):
        raise UsageError("--expect: expected package.Error, or several with a comma between them.")
    target = Target(options.target or "", options.line or "", is_factory=options.factory, expected=expected)
    choice = Choice(
        tuple(checked("point", options.point or (), known_points())),
        tuple(find(name).name for name in options.mode or ()),
        options.tls,
        "tcp" if options.upstream else options.protocol,
        options.upstream or "",
        options.proxy,
        limit + SLOWER_SECONDS,
    )
    if not chosen(choice):
        raise UsageError("audit: expected filters that leave at least one case.")
    target.check()
    return Setup(
        target,
        choice,
        limit,
        int(positive("runs", options.runs)),
        int(positive("jobs", options.jobs)),
    )


def positive(name: str, given: str, kind: type[int | float] = int) -> float:
    """A number above 0 from the command line.

    Raises:
        UsageError: it is none.
    """
    value = number(name, given, kind)
    if not 0 < value < float("inf"):
        raise UsageError(f"{name}={given}: expected a number above 0.")
    return value


def checked(name: str, words: Iterable[str], known: Iterable[str]) -> list[str]:
    """Words that are all known.

    Raises:
        UsageError: one is not; the message has those that are.
    """
    choices = sorted(known)
    for word in words:
        if word not in choices:
            hint = f" Did you mean {listed(map(repr, near))}?" if (near := meant(word, choices, {})) else ""
            raise UsageError(f"--{name} {word}: expected one of {', '.join(choices)}.{hint}")
    return list(words)


def failing(options: argparse.Namespace) -> set[Verdict]:
    """The verdicts of `--fail-on`; hyphens stand for blanks.

    Raises:
        UsageError: there is no such verdict.
    """
    from faultline._audit.verdicts import FINE, VERDICTS

    bad = {verdict.lower().replace(" ", "-"): verdict for verdict in VERDICTS if verdict not in FINE}
    given = [] if options.fail_on is None else options.fail_on.split(",")
    words = [word.strip().lower().replace(" ", "-") for word in given]
    named = checked("fail-on", words, [*bad, ANY])
    return {*bad.values()} if ANY in named else {bad[word] for word in named}


def difference_of(options: argparse.Namespace) -> Callable[[Audit], Difference | None]:
    """A function that compares an audit with the baseline; `None` without one.

    Raises:
        UsageError: the file can't be read, or is no audit.
    """
    from faultline._audit.baseline import BaselineError, difference, known

    if options.baseline is None:
        return lambda _: None
    try:
        before = known(Path(options.baseline).read_text("utf-8", "replace"))
    except OSError as error:
        raise UsageError(
            f"--baseline {options.baseline}: expected a file that can be read ({error.strerror})."
        ) from None
    except BaselineError as error:
        raise UsageError(f"--baseline {options.baseline}: {error}") from None
    return lambda audit: difference(audit, before)


def check_places(options: argparse.Namespace) -> None:
    """Check that the reports can be written, before the audit takes its time.

    Raises:
        UsageError: one can't.
    """
    for name in ("junit", "sarif", "html"):
        if getattr(options, name) is not None:
            write(options, name, "", "a")


def write_reports(options: argparse.Namespace, audit: Audit, fails: set[Verdict]) -> None:
    """Write the reports that the options ask for.

    Raises:
        UsageError: one can't be written.
    """
    from faultline._audit.junit import junit
    from faultline._audit.sarif import sarif

    if options.junit is not None:
        write(options, "junit", junit(audit, fails))
    if options.sarif is not None:
        write(options, "sarif", json.dumps(sarif(audit, fails), indent=1))
    if options.html is not None:
        write(options, "html", audit.to_html())


def write(options: argparse.Namespace, name: str, text: str, mode: str = "w") -> None:
    """Write a report to the place that an option names.

    Raises:
        UsageError: it can't be written.
    """
    place = getattr(options, name)
    try:
        with Path(place).open(mode, encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"--{name} {place}: expected a place to write to ({error.strerror}).") from None


def as_json(audit: Audit, changed: Difference | None) -> str:
    """The audit as JSON, with what differs from the baseline."""
    data = audit.to_dict() | ({} if changed is None else {"difference": changed.to_dict()})
    return json.dumps(data, indent=1)


def status_of(audit: Audit, fails: set[Verdict], changed: Difference | None) -> int:
    """The exit status; with a baseline only what got worse counts, of the verdicts that fail, or of all."""
    if not audit.is_whole:
        return STOPPED
    if changed is not None:
        return FOUND if changed.verdicts & (fails or changed.verdicts) else 0
    return FOUND if fails and audit.found(*fails) else 0
