"""The public function `faultline.audit`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from faultline._audit.audited import whole
from faultline._audit.cases import Choice, known_points
from faultline._audit.observed import Protocol
from faultline._audit.result import Audit
from faultline._audit.run import JOBS, LIMIT_SECONDS, SLOWER_SECONDS, Setup
from faultline._audit.target import Target
from faultline._core.calls import explained
from faultline._core.check import choice, flag, rejected, seconds
from faultline._core.check import whole as whole_number
from faultline._core.upstream import parsed_upstream
from faultline.modes._catalogue import find


@explained
def audit(
    target: Callable[..., Any] | str | None = None,
    *,
    command: str = "",
    factory: bool = False,
    points: Sequence[str] = (),
    modes: Sequence[str] = (),
    tls: bool | None = None,
    protocol: Protocol = "http",
    upstream: str = "",
    proxy: bool = False,
    expect: type[BaseException] | tuple[type[BaseException], ...] = Exception,
    timeout_seconds: float = LIMIT_SECONDS,
    runs: int = 1,
    jobs: int = JOBS,
) -> Audit:
    """Call a client in every case of the catalogue, each in a process of its own, and say what it does.

    A callable is run in forks of this process, so it may be a closure. Its process trusts the test CA by the variables
    that `Server.trust` sets.

    .. versionadded:: 0.1

    Args:
        target: what is called with the URL, sync or async, or its name, `package.module:callable`. Default:
            `urllib.request.urlopen` with a timeout.
        command: a command line to run instead, with `{url}` in it, or `{host}` and `{port}`; `{ca_file}` is the file
            of the test CA.
        factory: whether `target` makes the callable, or a context manager that yields it, so that a pool lives
            across calls.
        points: only cases of these points. `"lookup"` has lookups of the host name fail or take longer than a call
            may; no other choice of points audits them.
        modes: only cases of these modes.
        tls: only servers with TLS, or only without. Default: both.
        protocol: `"tcp"` for a client that doesn't speak HTTP: only the cases that such a client can meet, and a
            server that sends every byte back.
        upstream: the address of a real server, such as `"127.0.0.1:5432"`, which answers through a relay where the
            faults strike: for a client whose protocol has no other server here. Implies `protocol="tcp"`.
        proxy: whether the faults strike at an HTTP proxy, which the client is told of by `HTTPS_PROXY` and
            `HTTP_PROXY`, and the server behind it is healthy.
        expect: the exceptions that are right. Default: any.
        timeout_seconds: the time after which a call counts as hung.
        runs: how often each case is run; two runs show whether they agree.
        jobs: how many clients run at a time.

    Returns:
        The audit, with a result for each case.

    Raises:
        FaultlineError: a value is out of its range, no case is left, or the client can't be imported or called, or
            doesn't return from a healthy server.
    """
    _check_target(target, command, is_factory=factory)
    if tls is not None:
        flag("tls", tls)
    choice("protocol", protocol, ("http", "tcp"))
    for point in points:
        choice("points", point, known_points())
    expected = expect if isinstance(expect, tuple) else (expect,)
    if not expected or not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in expected):
        raise rejected("expect", expect, "an exception class, or a tuple of them")
    name, given = (target, None) if isinstance(target, str) else ("", target)
    if proxy and (upstream or protocol != "http"):
        raise rejected("proxy", proxy, "no upstream and protocol='http' with it: the proxy speaks HTTP")
    if upstream:
        parsed_upstream(upstream, allow_remote=False)
    who = Target(name, command, given, factory, expected)
    limit = seconds("timeout_seconds", timeout_seconds)
    setup = Setup(
        who,
        Choice(
            points,
            tuple(find(name).name for name in modes),
            tls,
            "tcp" if upstream else protocol,
            upstream,
            proxy,
            limit + SLOWER_SECONDS,
        ),
        limit,
        whole_number("runs", runs, "", 1),
        whole_number("jobs", jobs, "", 1),
    )
    if not setup.rows:
        raise rejected("points", points, "filters that leave at least one case")
    return whole(setup)


def _check_target(target: object, command: str, *, is_factory: bool) -> None:
    if target is not None and command:
        raise rejected("command", command, "either a target or a command")
    if is_factory and target is None:
        raise rejected("factory", True, "a target, whose call makes the callable")
