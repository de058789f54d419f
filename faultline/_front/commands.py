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
from faultline._front.parser import Formatter, Parser
from faultline._front.probing import HELP as PROBE_HELP
from faultline._front.probing import add_probe_options
from faultline._front.record import HELP as RECORD_HELP
from faultline._front.record import add_record_options
from faultline._front.served import add_proxy_options, add_relay_options, add_serve_options
from faultline._version import __version__

EPILOG = "`faultline serve --mode NAME --help` shows the options of a mode, `faultline modes` lists all modes."
OF_MODE = "`faultline {} --mode NAME --help` shows the options of a mode.\n`faultline modes` lists all modes."
WITH_MODES = ("serve", "relay", "proxy")
EXAMPLES = {
    "serve": (
        "faultline serve --mode reset --after-bytes 17",
        "faultline serve --mode status --code 503 --then ok",
        "faultline serve --mode stall --at handshake --tls --ca-file ca.pem",
    ),
    "relay": (
        "faultline relay --upstream 127.0.0.1:5432 --listen 127.0.0.1:5433",
        "faultline relay --upstream 127.0.0.1:5432 --mode reset --on COMMIT",
    ),
    "proxy": ("faultline proxy --mode status --code 407", "faultline proxy --socks --mode stall"),
    "audit": ("faultline audit myapp.client:fetch", "faultline audit --command 'curl --max-time 2 {url}'"),
    "probe": ("faultline probe https://localhost:8443/", "faultline probe tcp://localhost:5432 --json"),
    "explain": ("faultline explain ECONNRESET", "faultline explain 'Max retries exceeded'"),
    "modes": ("faultline modes", "faultline modes handshake --json"),
    "completion": ("faultline completion bash > ~/.local/share/bash-completion/completions/faultline",),
}


def parser_of(words: list[str]) -> tuple[Parser, dict[str, Named | None]]:
    """The parser for these words, and the mode that they name, by the commands that take a mode."""
    top = Parser(prog="faultline", description="Local servers that misbehave on purpose.", epilog=EPILOG)
    top.add_argument("--version", action="version", version=f"faultline {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, text: str) -> Parser:
        parser: Parser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        parser.formatter_class = Formatter
        lines = [f"  {example}" for example in EXAMPLES.get(name, ())]
        last = [OF_MODE.format(name)] if name in WITH_MODES else []
        parser.epilog = "\n".join(["examples:" if len(lines) > 1 else "example:", *lines, *last])
        return parser

    chosen = {
        "serve": add_serve_options(command("serve", "serve one mode until Ctrl-C"), words),
        "relay": add_relay_options(command("relay", "pass connections on to a real server until Ctrl-C"), words),
        "proxy": add_proxy_options(command("proxy", "run an HTTP or SOCKS proxy until Ctrl-C"), words),
    }
    add_record_options(command("record", RECORD_HELP))
    add_control_options(command("control", "let programs make and break proxies, as with toxiproxy"))
    add_audit_options(command("audit", AUDIT_HELP))
    add_probe_options(command("probe", PROBE_HELP))
    add_explain_options(command("explain", EXPLAIN_HELP))
    listed = command("modes", "list the modes by the point where they strike")
    listed.add_argument("words", nargs="*", metavar="WORD", help="list only modes that contain this word")
    listed.add_argument("--json", action="store_true", help="print a JSON array")
    add_completion_options(command("completion", COMPLETION_HELP))
    return top, chosen
