"""`faultline.intercept`: code with a URL in it that cannot be changed meets a server of ours."""

from __future__ import annotations

from faultline._core.check import flag, rejected
from faultline._core.fault import Fault
from faultline._core.plan import Plan, checked_plan, faults_of
from faultline._servers.address import Tcp
from faultline._servers.names.detour import Detour
from faultline._servers.server import Server


def intercept(
    url: str,
    plan: Plan,
    *,
    answer: Fault | None = None,
    block_others: bool = False,
    mutual: bool = False,
    strict: bool = True,
    isolated: bool = False,
) -> Server:
    """Have code that asks for this URL meet a server of ours, without changing the code.

    In this process, and until it is closed, name and port lead to the server: it replaces the lookups of `resolve`
    and the connects of `socket.socket`. With `https` the certificate is issued for the name;
    `server.trust(monkeypatch)` or `server.client_context()` has clients accept it. Nothing leaves the machine. What
    doesn't look up and connect by Python's `socket` isn't seen: uvloop, libpq, gRPC, and c-ares, which aiohttp takes
    where aiodns is installed (give it `aiohttp.ThreadedResolver()`).

    Args:
        url: scheme, host and port; without one, the scheme's.
        plan: what happens to which attempt.
        answer: what is said when nothing breaks.
        block_others: whether a lookup of another name, or a connect to another machine, raises `OutsideError`.
        mutual: whether the server demands a certificate of the test CA from the client, with a URL of TLS.
        strict: whether leaving it fails when the planned fault never struck, or when somebody was blocked and the
            client hid it.
        isolated: have the server in a child process, for a test whose main thread computes and would delay it.

    Returns:
        The server, listening; use it as a context manager, or `close()` it.

    Raises:
        ParameterError: no absolute URL, or a plan that means nothing.

    Example:
        >>> import faultline, urllib.request
        >>> with faultline.intercept("http://api.example.com", faultline.ok(b"from here")):
        ...     urllib.request.urlopen("http://api.example.com/v1").read()
        b'from here'
    """
    detour = Detour(url, block_others=block_others)
    if not detour.is_secure and any(fault.needs_tls for fault in faults_of(checked_plan(plan))):
        raise rejected("url", url, f"a URL of TLS, such as https://…, with {plan!r}")
    if flag("mutual", mutual) and not detour.is_secure:
        raise rejected("mutual", mutual, f"a URL of TLS with it, such as https://…, not {url!r}")
    return Server(
        plan,
        address=Tcp("127.0.0.1", 0, detour.name),
        tls="mutual" if mutual else detour.is_secure,
        answer=answer,
        detour=detour,
        strict=strict,
        isolated=isolated,
    )
