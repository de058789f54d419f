"""The public function `faultline.control`: the API on a port of this machine."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from faultline._core.attempts import Attempt
from faultline._core.calls import explained
from faultline._core.check import flag, whole
from faultline._core.errors import ServerError
from faultline._core.fork import FORKED
from faultline._core.hosts import hostport
from faultline._front.control.fields import Fields
from faultline._front.control.proxies import Terms
from faultline._front.control.registry import Registry
from faultline._front.control.routes import Api, refusal

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self  # of typing from Python 3.11 on, and never imported

    from faultline._servers.dns import DnsServer
    from faultline._servers.server import Server

KEPT_SERVERS = 100  # that are over, for the report of a failing test
OnEnd: TypeAlias = Callable[[str, Attempt], None]


class Control:
    """The control API, which clients of toxiproxy in any language use as they use toxiproxy.

    `faultline.control` and the fixture `faultline_control` return it. As a context manager it stops at the end of the
    block, with all its proxies.

    .. versionadded:: 0.1

    Attributes:
        host: the IP address that the API is bound to.
        port: the port of the API.
    """

    host: str
    port: int
    _public: ClassVar[tuple[str, ...]] = ("close", "dns_servers", "host", "hostport", "port", "proxies", "url")

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        metrics: bool = False,
        allow_remote: bool = False,
        seed: int | None = None,
        on_end: OnEnd | None = None,
    ) -> None:
        from faultline._net import system
        from faultline._net.addresses import checked_address
        from faultline._servers.control.api import Api as HttpApi
        from faultline._servers.control.events import Events

        system.check()
        address = checked_address(host, port, allow_remote=allow_remote)
        if seed is not None:
            whole("seed", seed, "")
        self._process_id = os.getpid()
        self._over: deque[Server | DnsServer] = deque(maxlen=KEPT_SERVERS)
        self._errors: list[ServerError] = []
        self._is_closed = False
        self._tell = on_end
        self._events = Events()
        self._registry = Registry(Terms(allow_remote, self._on_end, self._on_over, seed))
        routes = Api(self._registry, self._events, has_metrics=flag("metrics", metrics))
        self._api = HttpApi(*address, routes.answer, refusal)
        self.host, self.port = self._api.host, self._api.port

    @property
    def hostport(self) -> str:
        """`host:port` of the API."""
        return hostport(self.host, self.port)

    @property
    def url(self) -> str:
        """The URL of the API, such as `http://127.0.0.1:8474`."""
        return f"http://{self.hostport}"

    @property
    def proxies(self) -> dict[str, Server]:
        """The proxies with connections by name, each a server: its `attempts` are what clients did.

        A proxy that could not bind its address when it was changed is missing.
        """
        from faultline._servers.server import Server

        return {p.name: p.server for p in self._registry.snapshot() if isinstance(p.server, Server)}

    @property
    def dns_servers(self) -> dict[str, DnsServer]:
        """The proxies of the kind `dns` by name: their `attempts` are the lookups of clients."""
        from faultline._servers.dns import DnsServer

        return {p.name: p.server for p in self._registry.snapshot() if isinstance(p.server, DnsServer)}

    def close(self) -> None:
        """Stop the API and its proxies; ports are free when this returns. Closing again does nothing.

        Raises:
            ServerError: an error happened inside the API or inside a proxy while it ran, which is the cause; or this
                process is a fork of the process that has started the API.
        """
        if os.getpid() != self._process_id:
            raise ServerError(FORKED)
        if not self._is_closed:
            self._is_closed = True
            self._api.close()
            self._registry.stop()
        errors, self._errors = self._errors, []
        broken, self._api.errors = self._api.errors, []
        for error in broken:
            raise ServerError(f"the control API on {self.hostport} broke: {error!r}.") from error
        for told in errors:
            raise told

    def populate(self, proxies: object) -> None:
        """Make proxies from an array, as `POST /populate` does.

        Raises:
            ApiError: an entry is wrong, or a proxy can't listen.
        """
        self._api.call(partial(self._registry.populate, proxies))

    def add_toxic(self, proxy: str, toxic: object) -> None:
        """Add a toxic to a proxy, as `POST /proxies/{proxy}/toxics` does.

        Raises:
            ApiError: there is no such proxy, or the toxic is wrong.
        """
        self._api.call(lambda: self._registry.find(proxy).add(Fields(toxic, "toxic")))

    def _on_end(self, name: str, attempt: Attempt) -> None:
        """Tell of an attempt that has ended; called in the loop's thread."""
        if self._events.have_readers:
            from faultline._servers.control.events import event

            self._events.put(event("attempt", json.dumps({"proxy": name, **attempt.to_dict()})))
        if self._tell is not None:
            self._tell(name, attempt)

    def _on_over(self, server: Server | DnsServer) -> None:
        """Close a server that no proxy needs any more."""
        self._over.append(server)
        try:
            server.close()
        except ServerError as error:
            self._errors.append(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and os.getpid() != self._process_id:
            return  # such as the SystemExit of a forked child
        self.close()

    def __repr__(self) -> str:
        return f"<Control {self.url}{' closed' if self._is_closed else ''}>"


@explained
def control(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    metrics: bool = False,
    allow_remote: bool = False,
    seed: int | None = None,
) -> Control:
    """Start an HTTP API through which a program in any language makes proxies and breaks them.

    The API is that of toxiproxy 2.12, so that its clients work unchanged. A toxic of the type `fault` has a plan of
    faultline as text: `{"type": "fault", "attributes": {"plan": "reset(after_bytes=17)"}}`.

    .. versionadded:: 0.1

    Args:
        host: the IP address to bind. An address that other machines can reach, such as `0.0.0.0`, needs `allow_remote`.
        port: the port to bind. Default: a free port; clients of toxiproxy expect 8474.
        metrics: whether `GET /metrics` has counters for Prometheus.
        allow_remote: whether upstreams may be on other machines, and clients too.
        seed: the seed of all random choices, to repeat a run. Each proxy draws for itself, so the order in which they
            are made changes nothing. Default: under pytest the seed of the run, and
            otherwise another seed each time.

    Returns:
        The API, which is listening. Use it as a context manager, or call `close()`.

    Raises:
        ParameterError: a value is out of its range.
        PortError: the port is in use, or the address can't be bound.
        UnsupportedError: the system is Windows.

    Example:
        >>> import faultline, json, urllib.request
        >>> with faultline.serve(faultline.ok(b"hello")) as real, faultline.control() as api:
        ...     proxy = {"name": "web", "upstream": real.hostport}
        ...     body = json.dumps(proxy).encode()
        ...     made = json.load(urllib.request.urlopen(f"{api.url}/proxies", body))
        ...     urllib.request.urlopen(f"http://{made['listen']}/").read()
        b'hello'
    """
    return Control(host=host, port=port, metrics=metrics, allow_remote=allow_remote, seed=seed)
