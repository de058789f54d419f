"""The public function `faultline.intercept`, for code with a fixed URL."""

from __future__ import annotations

from faultline._core.calls import explained
from faultline._core.check import flag, rejected
from faultline._core.fault import Fault
from faultline._core.kinds import INTERCEPTED_HTTP, INTERCEPTED_HTTPS
from faultline._core.plan import Plan
from faultline._servers.address import Tcp
from faultline._servers.names.detour import Detour
from faultline._servers.server import Server


@explained
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
    """Lead clients that use this URL to a server that plays a plan, without a change of the client's code.

    Until the server is closed, lookups of the URL's host and connects to its port lead to the server, in this process
    only. For this, the lookup functions of `socket` (see `resolve`) and the connects of `socket.socket` are replaced.
    With `https` the certificate is issued for the URL's host; `server.trust(monkeypatch)` or
    `server.client_context()` makes clients accept it. No packet leaves the machine. Clients that don't look up and
    connect by Python's `socket` are not affected: uvloop, libpq, gRPC, and c-ares, which aiohttp uses if aiodns is
    installed (pass `aiohttp.ThreadedResolver()` to aiohttp).

    .. versionadded:: 0.1

    Args:
        url: scheme, host and port, such as `"https://api.example.com"`. Default for the port: that of the scheme.
        plan: the fault that every attempt meets, or a plan of several.
        answer: the response to a request when the fault has no answer of its own. Default: 200 with the body `ok`.
        block_others: whether a lookup of another name, or a connect to another machine, raises `OutsideError`.
        mutual: whether the server requires a certificate of the test CA from the client; the URL must be one of TLS.
        strict: whether the end of the `with` block or of the test fails if a planned fault never struck, or if a
            client was blocked and hid the `OutsideError`.
        isolated: whether to run the server in a child process, so that a busy main thread doesn't delay it.

    Returns:
        The server, which is listening. Use it as a context manager, or call `close()`.

    Raises:
        ParameterError: `url` is not an absolute URL, another value is out of its range, or the plan can't be played.
        UnsupportedError: the plan needs a capability, a package or a system that is not here.

    Example:
        >>> import faultline, urllib.request
        >>> with faultline.intercept("http://api.example.com", faultline.ok(b"from here")):
        ...     urllib.request.urlopen("http://api.example.com/v1").read()
        b'from here'
    """
    detour = Detour(url, block_others=block_others)
    if flag("mutual", mutual) and not detour.is_secure:
        raise rejected("mutual", mutual, f"False with url={url!r}, which has no TLS; write a URL such as 'https://…'")
    return Server(
        plan,
        address=Tcp("127.0.0.1", 0, detour.name),
        kind=INTERCEPTED_HTTPS if detour.is_secure else INTERCEPTED_HTTP,
        tls="mutual" if mutual else detour.is_secure,
        answer=answer,
        detour=detour,
        strict=strict,
        isolated=isolated,
    )
