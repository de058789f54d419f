"""All proxies of an API, by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from faultline._core.said import abbreviated
from faultline._front.control.errors import ApiError, bad_body, known_proxy, missing, no_proxy, not_accepted
from faultline._front.control.fields import Fields
from faultline._front.control.proxies import Proxy, Terms
from faultline._front.control.shapes import shape_of


class Registry:
    """The proxies of an API.

    Rules: every method but `snapshot` is called in one thread.
    """

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._proxies: dict[str, Proxy] = {}

    def __iter__(self) -> Iterator[Proxy]:
        return iter(self.snapshot())

    def snapshot(self) -> list[Proxy]:
        """The proxies of this moment, by name."""
        return [proxy for _, proxy in sorted(self._proxies.items())]

    def find(self, name: str) -> Proxy:
        """The proxy of a name.

        Raises:
            ApiError: there is none.
        """
        if name not in self._proxies:
            raise no_proxy()
        return self._proxies[name]

    def create(self, given: Fields) -> Proxy:
        """Make a proxy, which is kept if it can listen.

        Raises:
            ApiError: a field is missing or wrong, there is one of that name, or it can't listen.
        """
        proxy, enabled = self._described(given)
        if proxy.name in self._proxies:
            raise known_proxy()
        return self._started(proxy, enabled=enabled)

    def update(self, name: str, given: Fields) -> Proxy:
        """Change a proxy; its toxics survive.

        Raises:
            ApiError: there is none of that name, a field is wrong, or it can't listen any more, and is disabled then.
        """
        proxy = self.find(name)
        listen, upstream, enabled = given.get("listen", str), given.get("upstream", str), given.get("enabled", bool)
        if shape_of(given, proxy.shape) != proxy.shape:
            raise not_accepted(f"expected {proxy.shape}, which a proxy keeps; delete it, and make another.")
        if upstream:
            proxy.shape.check_upstream(upstream, None)
        wanted = proxy.enabled if enabled is None else enabled
        moves = not proxy.leads(listen, upstream)
        if moves:
            proxy.move(listen, upstream)
        if moves or wanted != proxy.enabled:
            proxy.set(enabled=wanted)
        return proxy

    def delete(self, name: str) -> None:
        """Stop a proxy and forget it.

        Raises:
            ApiError: there is none of that name.
        """
        self.find(name).stop()
        del self._proxies[name]

    def populate(self, value: Any) -> list[Proxy]:
        """Make proxies from an array; a proxy that is there already, with the same addresses, stays as it is.

        Raises:
            ApiError: an entry has no name or no upstream, and nothing was made; or one can't listen, and those before
                it stay, which the error has.
        """
        if value is not None and not isinstance(value, list):
            raise bad_body(f"expected an array of proxies, not {abbreviated(value)}")
        given = [Fields(each, "proxy") for each in value or []]
        wanted = [self._described(fields, number) for number, fields in enumerate(given, 1)]
        made: list[Proxy] = []
        try:
            for proxy, enabled in wanted:
                made.append(self._populated(proxy, enabled=enabled))
        except ApiError as error:
            raise ApiError(error.status, error.text, proxies=[each.to_dict() for each in made] or None) from None
        return made

    def _populated(self, proxy: Proxy, *, enabled: bool) -> Proxy:
        before = self._proxies.get(proxy.name)
        if before is not None:
            if before.shape == proxy.shape and before.leads(proxy.listen, proxy.upstream):
                return before
            self.delete(proxy.name)
        return self._started(proxy, enabled=enabled)

    def reset(self) -> None:
        """Enable every proxy, remove every toxic, and let pass what a pause or a partition holds.

        Raises:
            ApiError: a proxy can't listen; the others are done all the same.
        """
        errors = []
        for proxy in self:
            try:
                proxy.remove_all()
                proxy.let_go()
                proxy.set(enabled=True)
            except ApiError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def stop(self) -> None:
        """Stop every proxy and forget it."""
        for proxy in self:
            self.delete(proxy.name)

    def _described(self, given: Fields, number: int | None = None) -> tuple[Proxy, bool]:
        """The proxy that a body describes, and whether it is enabled.

        Raises:
            ApiError: a field is missing or wrong, or an address is on another machine.
        """
        name, listen, upstream = (given.get(field, str) or "" for field in ("name", "listen", "upstream"))
        enabled, shape = given.get("enabled", bool), shape_of(given)
        if not name:
            raise missing("name", number)
        shape.check_upstream(upstream, number)
        proxy = Proxy(self._terms, name, listen, upstream, shape)
        proxy.places()
        return proxy, enabled is not False

    def _started(self, proxy: Proxy, *, enabled: bool) -> Proxy:
        proxy.set(enabled=enabled)
        self._proxies[proxy.name] = proxy
        return proxy


def listed(proxies: Iterable[Proxy]) -> list[dict[str, Any]]:
    """Proxies as data for JSON."""
    return [proxy.to_dict() for proxy in proxies]
