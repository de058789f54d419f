"""The parser of the command line: each command with its options."""

from __future__ import annotations

from faultline._front.auditing import HELP as AUDIT_HELP
from faultline._front.auditing import add_audit_options
from faultline._front.completion import HELP as COMPLETION_HELP
from faultline._front.completion import add_completion_options
from faultline._front.control.command import add_control_options
from faultline._front.explaining import HELP as EXPLAIN_HELP
from faultline._front.explaining import add_explain_options
from faultline._front.options import Named
from faultline._front.parser import Parser
from faultline._front.probing import HELP as PROBE_HELP
from faultline._front.probing import add_probe_options
from faultline._front.record import HELP as RECORD_HELP
from faultline._front.record import add_record_options
from faultline._front.served import add_proxy_options, add_relay_options, add_serve_options
from faultline._version import __version__

EPILOG = "`faultline serve --mode NAME --help` shows the options of a mode, `faultline modes` lists them all."


def parser_of(words: list[str]) -> tuple[Parser, dict[str, Named | None]]:
    """The parser for these words, and the mode that they name, by the commands that take a mode."""
    top = Parser(prog="faultline", description="Local servers that misbehave on purpose.", epilog=EPILOG)
    top.add_argument("--version", action="version", version=f"faultline {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    listed = commands.add_parser("modes", help="list the modes by the point where they strike")
    listed.add_argument("words", nargs="*", metavar="WORD", help="list only modes that contain this word")
    listed.add_argument("--json", action="store_true", help="print a JSON array")
    chosen = {}
    server = commands.add_parser("serve", help="serve one mode until Ctrl-C", epilog=EPILOG)
    chosen["serve"] = add_serve_options(server, words)
    relay = commands.add_parser("relay", help="pass connections on to a real server until Ctrl-C", epilog=EPILOG)
    chosen["relay"] = add_relay_options(relay, words)
    proxy = commands.add_parser("proxy", help="run an HTTP or SOCKS proxy until Ctrl-C", epilog=EPILOG)
    chosen["proxy"] = add_proxy_options(proxy, words)
    add_record_options(commands.add_parser("record", help=RECORD_HELP))
    controlled = commands.add_parser("control", help="let programs make and break proxies, as with toxiproxy")
    add_control_options(controlled)
    add_audit_options(commands.add_parser("audit", help=AUDIT_HELP))
    add_explain_options(commands.add_parser("explain", help=EXPLAIN_HELP))
    add_probe_options(commands.add_parser("probe", help=PROBE_HELP))
    add_completion_options(commands.add_parser("completion", help=COMPLETION_HELP))
    return top, chosen
