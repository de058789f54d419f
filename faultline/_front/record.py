"""The options of `faultline record`, and what it does from the first connection to the files that it writes."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

from faultline._core.check import whole
from faultline._core.counts import counted
from faultline._core.masking import Masker, Masks
from faultline._core.pieces import RECORDED_BYTES
from faultline._core.plan import HEALTHY
from faultline._core.recording import By, Recording
from faultline._core.replay import with_masks
from faultline._core.report import describe
from faultline._front.ended import Ended
from faultline._front.options import number
from faultline._front.parser import UsageError
from faultline._front.recorded import module_of
from faultline._front.served import add_upstream_options
from faultline._front.serving import start_relay
from faultline._front.trust import trust_files

if TYPE_CHECKING:
    from faultline._servers.server import Server

HELP = "record what a real server says, as a script that stands alone"
ABOUT = (
    "Run a relay in front of a real server, and write what the server said as a script of faultline: a module of "
    "tests (.py), or JSON for faultline.load (.json). No fault strikes meanwhile."
)
EXAMPLE = """\
example, with PostgreSQL on port 5432:
  faultline record --upstream 127.0.0.1:5432 --listen 127.0.0.1:6432 --out case.py --mask
  psql -h 127.0.0.1 -p 6432 -c 'select 1'   # in another terminal; then Ctrl-C in the first
  pytest case.py                            # once its test has your client
Logins by SCRAM, SSH, WebSockets and TLS that is passed through can't be replayed; the command says so."""
ENDINGS = (".py", ".json")
Line: TypeAlias = tuple[str, dict[str, Any]]


def add_record_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `record`, and what the command is for."""
    parser.description, parser.epilog = ABOUT, EXAMPLE
    parser.add_argument(
        "--out",
        required=True,
        metavar="PATH",
        help="the file to write: case.py for tests, case.json for faultline.load",
    )
    parser.add_argument("--pcap", metavar="PATH", help="write a reconstructed capture (pcapng) for Wireshark too")
    parser.add_argument(
        "--mask",
        action="store_true",
        help="mask known kinds of secrets: fields of HTTP, passwords and tokens in forms, JSON and URLs, logins of "
        "Redis, PostgreSQL, AMQP, mail and FTP",
    )
    parser.add_argument(
        "--mask-pattern",
        action="append",
        default=[],
        metavar="REGEX",
        help="mask the matches of this pattern, or of its groups, and the known secrets; may be given several times",
    )
    parser.add_argument(
        "--by",
        choices=get_args(By),
        default="turns",
        help="repeat each connection turn by turn, or answer each message as it was answered, in any order "
        "(default: %(default)s)",
    )
    parser.add_argument("--connections", metavar="NUMBER", help="stop once this number of connections has ended")
    parser.add_argument(
        "--record-bytes",
        default=str(RECORDED_BYTES),
        metavar="BYTES",
        help="fail if more bytes than this have to be kept in memory (default: 64 MiB)",
    )
    add_upstream_options(parser)


def check_record(options: argparse.Namespace) -> None:
    """Check the options before a client comes.

    Raises:
        UsageError: a file can't be written, or a value is wrong.
    """
    if Path(options.out).suffix not in ENDINGS:
        raise UsageError(f"--out={options.out}: expected a name that ends with .py or .json.")
    for name in ("out", "pcap"):
        path = getattr(options, name)
        if path and (not Path(path).absolute().parent.is_dir() or Path(path).is_dir()):
            raise UsageError(f"--{name}={path}: expected a file in a folder that exists.")
        if path:
            check_place(name, Path(path))
    if options.pcap and Path(options.pcap).absolute() == Path(options.out).absolute():
        raise UsageError(f"--pcap={options.pcap}: expected another file than that of --out.")
    masks_of(options)


def check_place(name: str, path: Path) -> None:
    """Check that a file can be written, and leave nothing there.

    Raises:
        UsageError: it can't.
    """
    is_new = not path.exists()
    if is_new or path.is_file():  # not a pipe, whose reader would take it for the end
        with writing(name, path), path.open("a"):
            pass
    if is_new:
        path.unlink()


@contextlib.contextmanager
def writing(name: str, path: str | Path) -> Iterator[None]:
    """Say which option names the place, if it can't be written.

    Raises:
        UsageError: it can't.
    """
    try:
        yield
    except OSError as error:
        raise UsageError(f"--{name}={path}: expected a place to write to ({error.strerror}).") from None


def masks_of(options: argparse.Namespace) -> Masks:
    """What to mask.

    Raises:
        UsageError: a pattern is no regular expression.
    """
    patterns = []
    for text in options.mask_pattern:
        try:
            patterns.append(re.compile(os.fsencode(text)))
        except re.error as error:
            raise UsageError(f"--mask-pattern={text}: expected a regular expression ({error}).") from None
    return patterns or bool(options.mask)


def record(options: argparse.Namespace, ended: Ended) -> Iterator[Line]:
    """Record until `None` comes; the lines to print, as text and as data.

    Raises:
        FaultlineError: the relay can't be started, or the conversations can't be replayed.
    """
    check_record(options)
    most = whole("record_bytes", number("record_bytes", options.record_bytes), " of bytes", 1)
    left = (
        -1 if options.connections is None else whole("connections", number("connections", options.connections), "", 1)
    )
    server, upstream = start_relay(HEALTHY, options, ended.put, record_bytes=most)
    with server:
        where = f"{server.hostport} in front of {upstream}"
        data = {"event": "listening", "url": server.url, "upstream": str(upstream)}
        data |= trust_files(server, server.url, options)
        yield f"recording on {where} - lead your client there; Ctrl-C writes {options.out}", data
        masker = Masker(masks_of(options))
        while left and (attempt := ended.get()) is not None:
            left -= 1
            attempt = with_masks(attempt, masker)
            yield describe(attempt), {"event": "attempt", **attempt.to_dict()}
        yield from written_files(server, options, str(upstream))


def written_files(server: Server, options: argparse.Namespace, upstream: str) -> Iterator[Line]:
    """Write the files; the lines about them."""
    count = len(server.attempts)  # which takes note of all that has reached the server
    if options.pcap:
        with writing("pcap", options.pcap):
            server.ledger.to_pcap(options.pcap, mask=masks_of(options), port=port_of(upstream))
        yield f"wrote {options.pcap}: a reconstructed capture for Wireshark", {"event": "capture", "path": options.pcap}
    recording = server.ledger.recording(mask=masks_of(options), by=options.by)
    text = module_of(recording, upstream) if options.out.endswith(".py") else recording.to_json()
    with writing("out", options.out):
        Path(options.out).write_text(text, "utf-8")
    steps = sum(map(len, recording.scripts))
    data = {"event": "written", "path": options.out, "connections": count, "masked": [*recording.masked]}
    masked = "".join(f"\n  masked {what}" for what in recording.masked)
    said = f"{counted(count, 'connection')}, {counted(steps, 'step')}{masked}"
    yield f"wrote {options.out}: {said}\n{following(options.out, recording)}", data


def following(path: str, recording: Recording) -> str:
    """What to do next."""
    if path.endswith(".py"):
        return f"next: write your client into its test, and run `pytest {path}`"
    tls = ", tls=True" if recording.tls else ""
    return f"next: `with faultline.serve(faultline.load({path!r}){tls}) as server:` and your client at server.address"


def port_of(upstream: str) -> int:
    """The port of an upstream, by which Wireshark chooses the protocol; 80 for a path."""
    port = upstream.rpartition(":")[2]
    return int(port) if port.isdigit() else 80
