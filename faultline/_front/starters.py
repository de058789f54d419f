"""The `faultline` fixture: starts servers, and stops them after the test.

Rules: pytest loads this module in every run, so everything of faultline is imported when a test first uses it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from types import MethodType
from typing import TYPE_CHECKING, Concatenate, Generic, ParamSpec, TypeVar, overload

import faultline
from faultline._front.handed import Handed

if TYPE_CHECKING:
    from faultline._servers.endpoint import Endpoint

P = ParamSpec("P")
T = TypeVar("T", bound="Endpoint")


class Started(Generic[P, T]):
    """A method of the fixture that calls a public function, with the same parameters and docstring."""

    def __init__(self, find: Callable[[], Callable[P, T]]) -> None:
        self._find = find  # called late, because it imports

    @overload
    def __get__(self, fixture: None, owner: type) -> Callable[Concatenate[Faultline, P], T]: ...

    @overload
    def __get__(self, fixture: Faultline, owner: type) -> Callable[P, T]: ...

    def __get__(self, fixture: Faultline | None, owner: type) -> Callable[..., T]:
        return self._method if fixture is None else MethodType(self._method, fixture)

    @functools.cached_property
    def _method(self) -> Callable[..., T]:
        function = self._find()

        @functools.wraps(function)
        def method(self: Faultline, *args: P.args, **kwargs: P.kwargs) -> T:
            server = function(*args, **kwargs)
            self.servers.append(server)
            return server

        own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        signature = inspect.signature(function)
        signature = signature.replace(parameters=[own, *signature.parameters.values()])
        method.__signature__ = signature  # type: ignore[attr-defined] # inspect reads it; the function has no `self`
        return method


class Faultline(Handed):
    """The `faultline` fixture, which starts servers and stops them after the test.

    Its methods are the public functions of the same names. It has the modes, plans and steps too, so that
    `faultline.serve(faultline.reset())` works in a test with the fixture. After the test, an error inside a server
    fails the test, and so does a planned fault that never struck (not with `strict=False`).

    .. versionadded:: 0.1

    Attributes:
        servers: the servers that the test has started, in order.
    """

    def __init__(self) -> None:
        self.servers: list[Endpoint] = []

    serve = Started(lambda: faultline.serve)
    relay = Started(lambda: faultline.relay)
    http_proxy = Started(lambda: faultline.http_proxy)
    socks_proxy = Started(lambda: faultline.socks_proxy)
    intercept = Started(lambda: faultline.intercept)
    resolve = Started(lambda: faultline.resolve)
    dns_server = Started(lambda: faultline.dns_server)
    udp = Started(lambda: faultline.udp)


def close_servers(servers: Sequence[Endpoint], *, guard: bool, leaks: bool = False) -> None:
    """Stop all servers; fail the test for an error inside a server, or for a planned fault that never struck.

    With `leaks` the test fails for a connection that a client still holds, too.
    """
    import pytest

    from faultline._core.errors import LeakError, NotStruckError, ServerError

    wrong: list[Exception] = []
    last_first = servers[::-1]  # the last change is put back first
    held = [s.assert_closed for s in servers if leaks and s.is_open]
    for check in [*held, *[s.close for s in last_first], *[s.check_struck for s in servers if guard]]:
        try:
            check()
        except (LeakError, NotStruckError, ServerError) as error:
            wrong.append(error)
    for broken in wrong:
        if isinstance(broken, ServerError):
            raise broken  # with its traceback: the bug is in the library
    if wrong:
        pytest.fail("\n".join(str(error) for error in wrong), pytrace=False)
