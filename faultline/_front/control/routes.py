"""The routes of the API: which method and path does what.

Rules: `ROUTES` is the only list of routes. A route gets the body and the names in its path, and returns data or bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote

from faultline._core.answers import Answer
from faultline._core.attempts import Request
from faultline._front.control import metrics
from faultline._front.control.errors import ApiError
from faultline._front.control.fields import Fields, decoded
from faultline._front.control.registry import Registry, listed

if TYPE_CHECKING:
    from faultline._servers.control.api import Feed, Outcome
    from faultline._servers.control.events import Events

TOXIPROXY = "2.12.0"  # whose interface this is
CONTROLS = ("close_all", "heal", "partition", "pause", "reset_all", "resume")
JSON, TEXT = "application/json", "text/plain; charset=utf-8"
PEM = "application/x-pem-file"
BROWSER = "Mozilla/"  # a page of any site could ask the API through a browser


@dataclass
class Api:
    """What the routes act on.

    Attributes:
        registry: the proxies.
        events: what readers of `/events` are told.
        has_metrics: whether there is `/metrics`.
    """

    registry: Registry
    events: Events
    has_metrics: bool = False

    def answer(self, request: Request) -> Outcome:
        """The answer to a request."""
        try:
            outcome = self._outcome(request)
        except ApiError as error:
            outcome = refused(error)
        return named(outcome)

    def _outcome(self, request: Request) -> Outcome:
        if (request.header("user-agent") or "").startswith(BROWSER):
            return plain(403, "User agent not allowed")
        path = request.target.partition("?")[0]
        parts = [unquote(part) for part in path.split("/")[1:]]
        methods = {method: route for (method, pattern), route in ROUTES.items() if fits(pattern, parts)}
        if not methods or (parts == ["metrics"] and not self.has_metrics):
            return plain(404, f"404 page not found\n\n{routes()}")
        if request.method not in methods:
            return Answer(405, headers=(("Allow", ", ".join(methods)),), body=b"")
        pattern = next(p for (_, p) in ROUTES if fits(p, parts))
        names = [part for part, wanted in zip(parts, pattern.split("/"), strict=True) if wanted == "*"]
        return methods[request.method](self, request.body, *names)


def routes() -> str:
    """What there is, for a client that has asked for something else."""
    paths: dict[str, list[str]] = {}
    for method, pattern in ROUTES:
        paths.setdefault(pattern.replace("*", "{proxy}", 1).replace("*", "{toxic}"), []).append(method)
    lines = [f"  {', '.join(methods):<24} /{path}" for path, methods in paths.items()]
    return "\n".join([f"The control API of faultline has these routes, as toxiproxy {TOXIPROXY} and more:", *lines])


def fits(pattern: str, parts: list[str]) -> bool:
    """Whether a path has this pattern, in which `*` stands for one name."""
    wanted = pattern.split("/")
    return len(wanted) == len(parts) and all(w in ("*", part) and part for w, part in zip(wanted, parts, strict=True))


# --- answers ---------------------------------------------------------------------------------------------------------


def as_json(data: Any, status: int = 200) -> Answer:
    """An answer with data."""
    return Answer(status, headers=(("Content-Type", JSON),), body=text_of(data).encode())


def text_of(data: Any) -> str:
    """Data as JSON, without spaces."""
    return json.dumps(data, separators=(",", ":"))


NOTHING = Answer(204, body=b"")


def plain(status: int, text: str) -> Answer:
    """An answer with one line of text, which no browser takes for anything else."""
    headers = (("Content-Type", TEXT), ("X-Content-Type-Options", "nosniff"))
    return Answer(status, headers=headers, body=f"{text}\n".encode())


def refused(error: ApiError) -> Answer:
    """The answer to a request that can't be done."""
    return plain(error.status, text_of({"error": error.text, "status": error.status, **error.partly}))


def named(outcome: Outcome) -> Outcome:
    """An answer with the number of its request."""
    number = (("X-Toxiproxy-Request-Id", os.urandom(10).hex()),)
    if isinstance(outcome, Answer):
        return replace(outcome, headers=outcome.headers + number)
    return replace(outcome, head=replace(outcome.head, headers=outcome.head.headers + number))


def refusal(status: int, text: str) -> Answer:
    """The answer to what comes to no route."""
    answer = named(refused(ApiError(status, text)))
    assert isinstance(answer, Answer)
    return answer


# --- routes ----------------------------------------------------------------------------------------------------------


def version(_: Api, __: bytes) -> Answer:
    """Which version of toxiproxy's interface this is."""
    headers = (("Content-Type", "application/json;charset=utf-8"),)
    return Answer(headers=headers, body=text_of({"version": TOXIPROXY}).encode() + b"\n")


def show_all(api: Api, _: bytes) -> Answer:
    """All proxies by name."""
    return as_json({proxy.name: proxy.to_dict() for proxy in api.registry})


def create(api: Api, body: bytes) -> Answer:
    """Make a proxy."""
    return as_json(api.registry.create(Fields(decoded(body), "proxy")).to_dict(), 201)


def populate(api: Api, body: bytes) -> Answer:
    """Make the proxies of an array.

    Raises:
        ApiError: not all of them could be made; it has those that were, or `None`.
    """
    try:
        return as_json({"proxies": listed(api.registry.populate(decoded(body)))}, 201)
    except ApiError as error:
        error.partly.setdefault("proxies", None)
        raise


def reset(api: Api, _: bytes) -> Answer:
    """Enable all proxies, and remove all toxics."""
    api.registry.reset()
    return NOTHING


def show(api: Api, _: bytes, name: str) -> Answer:
    """One proxy."""
    return as_json(api.registry.find(name).to_dict())


def update(api: Api, body: bytes, name: str) -> Answer:
    """Change a proxy."""
    api.registry.find(name)
    return as_json(api.registry.update(name, Fields(decoded(body), "proxy")).to_dict())


def delete(api: Api, _: bytes, name: str) -> Answer:
    """Stop a proxy and forget it."""
    api.registry.delete(name)
    return NOTHING


def show_toxics(api: Api, _: bytes, name: str) -> Answer:
    """The toxics of a proxy."""
    return as_json([toxic.to_dict() for toxic in api.registry.find(name).in_order()])


def add_toxic(api: Api, body: bytes, name: str) -> Answer:
    """Add a toxic."""
    proxy = api.registry.find(name)
    return as_json(proxy.add(Fields(decoded(body), "toxic")).to_dict())


def show_toxic(api: Api, _: bytes, name: str, toxic: str) -> Answer:
    """One toxic."""
    return as_json(api.registry.find(name).toxic(toxic).to_dict())


def update_toxic(api: Api, body: bytes, name: str, toxic: str) -> Answer:
    """Change a toxic."""
    proxy = api.registry.find(name)
    proxy.toxic(toxic)
    return as_json(proxy.change(toxic, Fields(decoded(body), "toxic")).to_dict())


def delete_toxic(api: Api, _: bytes, name: str, toxic: str) -> Answer:
    """Remove a toxic."""
    api.registry.find(name).remove(toxic)
    return NOTHING


def attempts(api: Api, _: bytes, name: str) -> Answer:
    """The ledger of a proxy, as docs/ledger.md describes it."""
    server = api.registry.find(name).server
    if server is None:
        raise ApiError(409, "the proxy does not listen")
    server.attempts  # noqa: B018 - waits for what has reached the server
    return Answer(headers=(("Content-Type", JSON),), body=server.ledger.to_json().encode())


def authority(_: Api, __: bytes) -> Answer:
    """The certificate of the test CA, which clients of proxies with TLS have to trust."""
    from faultline._net.authority import AUTHORITY

    return Answer(headers=(("Content-Type", PEM),), body=Path(AUTHORITY.ca_file).read_bytes())


def stream(api: Api, _: bytes) -> Feed:
    """The attempts of all proxies, each as it ends."""
    from faultline._servers.control.api import Feed

    headers = (("Content-Type", "text/event-stream"), ("Cache-Control", "no-store"))
    return Feed(Answer(headers=headers, body=b"", ends=True), api.events)


def measure(api: Api, _: bytes) -> Answer:
    """Counters for Prometheus."""
    return Answer(headers=(("Content-Type", metrics.FORMAT),), body=metrics.text(api.registry).encode())


def control(action: str) -> Route:
    """The route of a control of open connections."""

    def controlled(api: Api, _: bytes, name: str) -> Answer:
        return as_json({"connections": api.registry.find(name).control(action)})

    return controlled


Route: TypeAlias = "Callable[..., Outcome]"
PROXY, TOXIC = "proxies/*", "proxies/*/toxics/*"
ROUTES: dict[tuple[str, str], Route] = {
    ("GET", "version"): version,
    ("GET", "proxies"): show_all,
    ("POST", "proxies"): create,
    ("POST", "populate"): populate,
    ("POST", "reset"): reset,
    ("GET", PROXY): show,
    ("POST", PROXY): update,
    ("PATCH", PROXY): update,
    ("DELETE", PROXY): delete,
    ("GET", "proxies/*/toxics"): show_toxics,
    ("POST", "proxies/*/toxics"): add_toxic,
    ("GET", TOXIC): show_toxic,
    ("POST", TOXIC): update_toxic,
    ("PATCH", TOXIC): update_toxic,
    ("DELETE", TOXIC): delete_toxic,
    ("GET", "metrics"): measure,
    # What toxiproxy has not.
    ("GET", "proxies/*/attempts"): attempts,
    ("GET", "events"): stream,
    ("GET", "ca"): authority,
    **{("POST", f"proxies/*/{action}"): control(action) for action in CONTROLS},
}
