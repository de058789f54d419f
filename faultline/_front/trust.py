"""The files with which a client of the command line trusts a server."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from faultline._front.parser import UsageError

if TYPE_CHECKING:
    from faultline._servers.endpoint import Endpoint


def trust_files(server: Endpoint, url: str, options: argparse.Namespace) -> dict[str, str]:
    """The files that a client of TLS needs, for the first line; `--ca-file` writes the certificate of the CA.

    Raises:
        UsageError: there is no TLS, or the file can't be written.
    """
    from faultline._servers.server import Server

    speaks_tls = url.startswith("https") or getattr(options, "starttls", None) is not None  # `serve` has no such option
    has_tls = isinstance(server, Server) and speaks_tls and options.tls != "through"
    if not isinstance(server, Server) or not has_tls:
        if options.ca_file:
            raise UsageError(f"ca_file={options.ca_file!r}: expected --tls with it, because only TLS has a CA.")
        return {}
    path = options.ca_file or server.ca_file
    if options.ca_file:
        try:
            Path(path).write_bytes(Path(server.ca_file).read_bytes())
        except OSError as error:
            raise UsageError(f"ca_file={path!r}: expected a path to write to ({error.strerror}).") from None
    own = {"client_cert_file": server.client_cert_file} if options.tls == "mutual" else {}
    return {"ca_file": path, **own}
