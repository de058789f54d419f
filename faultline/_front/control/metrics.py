"""Counters of the proxies as text for Prometheus, in its exposition format 0.0.4."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from faultline._front.control.proxies import Proxy, Traffic

FORMAT = "text/plain; version=0.0.4; charset=utf-8"
COUNTERS = {
    "toxiproxy_proxy_received_bytes_total": "Bytes that a proxy has received.",
    "toxiproxy_proxy_sent_bytes_total": "Bytes that a proxy has passed on.",
}
ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


def text(proxies: Iterable[Proxy]) -> str:
    """The counters of all proxies as they are now, those of open connections included."""
    from faultline._servers.loop import background

    now = [(proxy, background().call(partial(Proxy.traffic, proxy))) for proxy in proxies]
    lines: list[str] = []
    for name, help_ in COUNTERS.items():
        lines += [f"# HELP {name} {help_}", f"# TYPE {name} counter"]
        for proxy, traffic in now:
            lines += samples(name, proxy, traffic)
    return "\n".join(lines) + "\n"


def samples(name: str, proxy: Proxy, traffic: Traffic) -> Iterator[str]:
    """One counter of a proxy, in both directions."""
    for direction, count in (("upstream", traffic.received_bytes), ("downstream", traffic.sent_bytes)):
        labels = {"direction": direction, "proxy": proxy.name, "listener": proxy.listen, "upstream": proxy.upstream}
        pairs = ",".join(f'{label}="{value.translate(ESCAPES)}"' for label, value in labels.items())
        yield f"{name}{{{pairs}}} {count}"
