"""The options of `faultline control`, and the API that they describe."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from faultline._core.attempts import Attempt
from faultline._front.control.config import populate
from faultline._front.control.start import Control
from faultline._front.options import number

PORT = 8474  # where clients of toxiproxy look
ABOUT = (
    "Run an HTTP API that makes proxies in front of real servers, and breaks them. Clients of toxiproxy work unchanged."
)
EXAMPLE = """\
example, with a server on port 8080 and the API in another terminal:
  curl localhost:8474/proxies -d '{"name": "web", "listen": "127.0.0.1:8081", "upstream": "127.0.0.1:8080"}'
  curl localhost:8474/proxies/web/toxics -d '{"type": "latency", "attributes": {"latency": 500}}'
  curl localhost:8081                   # half a second late
  curl -X DELETE localhost:8474/proxies/web/toxics/latency_downstream
  curl localhost:8474/proxies/web/toxics -d '{"type": "fault", "attributes": {"plan": "reset --after-bytes 17"}}'
  curl localhost:8081                   # Connection reset by peer
  curl localhost:8474/proxies/web/attempts
`faultline modes` lists all faults; `curl localhost:8474/` lists all routes."""


def add_control_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `control`, and what the command is for."""
    parser.description, parser.epilog = ABOUT, EXAMPLE
    parser.add_argument("--host", default="127.0.0.1", help="the address to bind (default: %(default)s)")
    parser.add_argument("--port", default=str(PORT), help="the port to bind; 0 for a free one (default: %(default)s)")
    parser.add_argument("--config", metavar="FILE", help="make these proxies first: a JSON array, or TOML [[proxies]]")
    parser.add_argument("--seed", metavar="NUMBER", help="the seed of all random choices, to repeat a run")
    parser.add_argument("--metrics", action="store_true", help="answer GET /metrics with counters for Prometheus")
    parser.add_argument("--allow-remote", action="store_true", help="let upstreams and clients be on other machines")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")


def started(options: argparse.Namespace, on_end: Callable[[str, Attempt], None]) -> Control:
    """The API that the options describe, with its proxies.

    Raises:
        FaultlineError: an option has a wrong value, the port is in use, or the file has a mistake.
    """
    seed = None if options.seed is None else int(number("seed", options.seed))
    port = int(number("port", options.port))
    api = Control(
        host=options.host,
        port=port,
        metrics=options.metrics,
        allow_remote=options.allow_remote,
        seed=seed,
        on_end=on_end,
    )
    try:
        if options.config is not None:
            populate(options.config, api)
    except BaseException:
        api.close()
        raise
    return api
