"""The options of `faultline serve`, `faultline relay` and `faultline proxy`."""

from __future__ import annotations

import argparse
from typing import get_args

from faultline._core.upstream import StartTls
from faultline._front.options import Named, add_mode_options
from faultline._front.parser import Parser, UsageError


def add_serve_options(parser: Parser, words: list[str]) -> Named | None:
    """Add the options of `serve`, with those of the mode that the words name."""
    chosen = add_mode_options(parser, words, "serve", required=True)
    parser.add_argument("--unix", metavar="PATH", help="listen on a Unix socket at this path instead of a port")
    parser.add_argument(
        "--udp",
        action="store_true",
        help="serve UDP: answer each datagram with the bytes of the mode, or with its own bytes",
    )
    add_place_options(parser)
    parser.add_argument(
        "--alpn", metavar="NAMES", help="with TLS, the protocols to choose from: h2,http/1.1 (default: http/1.1)"
    )
    parser.add_argument(
        "--http2", action="store_true", help="speak HTTP/2 with clients that do (default: if --alpn has h2)"
    )
    return chosen


def add_proxy_options(parser: Parser, words: list[str]) -> Named | None:
    """Add the options of `proxy`, with those of the mode that the words name."""
    parser.add_argument(
        "--socks",
        nargs="?",
        const="socks5h",
        choices=("socks4", "socks4a", "socks5", "socks5h"),
        help="speak SOCKS, by default socks5h (default without --socks: an HTTP proxy)",
    )
    parser.add_argument(
        "--upstream",
        metavar="ADDRESS",
        help="connect all clients to this server (default: the server that each client asks for)",
    )
    parser.add_argument("--auth", metavar="NAME:PASSWORD", help="the name and the password that clients have to send")
    add_place_options(parser)
    return add_mode_options(parser, words, "proxy", required=False)


def add_place_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a server of its own: where it listens, its TLS, and what is printed and written."""
    parser.add_argument("--host", default="127.0.0.1", help="the address to bind (default: %(default)s)")
    parser.add_argument("--port", default="0", help="the port to bind (default: a free one)")
    parser.add_argument("--allow-remote", action="store_true", help="let other machines connect to --host")
    parser.add_argument(
        "--tls",
        nargs="?",
        const=True,
        default=False,
        choices=("mutual",),
        help="speak TLS with a certificate of the test CA; mutual: require a certificate from the client too",
    )
    add_common_options(parser)


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that all of these commands have, on what is printed and written."""
    parser.add_argument("--ca-file", metavar="PATH", help="write the certificate of the test CA to this file")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")


def add_relay_options(parser: Parser, words: list[str]) -> Named | None:
    """Add the options of `relay`, with those of the mode that the words name."""
    add_upstream_options(parser)
    return add_mode_options(parser, words, "relay", required=False)


def add_upstream_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a server in front of a real one."""
    parser.add_argument("--upstream", required=True, metavar="ADDRESS", help="the real server: host:port, URL or path")
    parser.add_argument(
        "--listen", default="127.0.0.1:0", metavar="HOST:PORT", help="the address to bind (default: a free port)"
    )
    parser.add_argument(
        "--tls",
        choices=("through", "terminate", "mutual"),
        default="through",
        help="pass TLS on as it is, or terminate it with a certificate of the test CA; mutual: require a certificate "
        "from the client too (default: %(default)s)",
    )
    parser.add_argument(
        "--starttls",
        choices=get_args(StartTls),
        help="with --tls terminate: TLS begins inside this protocol, on both sides",
    )
    parser.add_argument(
        "--upstream-cert", metavar="PATH", help="with --tls terminate: show this certificate (PEM) to the upstream"
    )
    parser.add_argument("--upstream-key", metavar="PATH", help="the key of that certificate, if it has its own file")
    parser.add_argument(
        "--on-upstream-failure",
        choices=("reset", "close", "stall"),
        default="reset",
        help="what happens to the client if the upstream can't be reached (default: %(default)s)",
    )
    parser.add_argument("--allow-remote", action="store_true", help="let the upstream and clients be on other machines")
    parser.add_argument(
        "--alpn", metavar="NAMES", help="with TLS, the protocols to choose from: h2,http/1.1 (default: http/1.1)"
    )
    add_common_options(parser)


def shown_to_upstream(options: argparse.Namespace) -> str | tuple[str, str] | None:
    """The certificate of `--upstream-cert` and `--upstream-key`; `None` without them.

    Raises:
        UsageError: there is a key without a certificate.
    """
    if options.upstream_key is None:
        cert: str | None = options.upstream_cert
        return cert
    if options.upstream_cert is None:
        raise UsageError("--upstream-key: expected --upstream-cert with it.")
    return options.upstream_cert, options.upstream_key


def protocols_of(options: argparse.Namespace) -> tuple[str, ...] | None:
    """The application protocols of `--alpn`; `None` without it."""
    return None if options.alpn is None else tuple(filter(None, options.alpn.split(",")))
