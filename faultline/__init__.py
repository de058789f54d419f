"""Real local sockets that misbehave on purpose, so that a client's error handling runs in its tests.

Everything here is imported when it is first used: having the package installed costs a test run nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faultline._causes import raises as raises
    from faultline._causes import root_cause as root_cause
    from faultline._dns import DnsServer as DnsServer
    from faultline._dns import dns_server as dns_server
    from faultline._errors import ConflictError as ConflictError
    from faultline._errors import FaultlineError as FaultlineError
    from faultline._errors import NotStruckError as NotStruckError
    from faultline._errors import OutsideError as OutsideError
    from faultline._errors import ParameterError as ParameterError
    from faultline._errors import PortError as PortError
    from faultline._errors import ServerError as ServerError
    from faultline._errors import UnknownModeError as UnknownModeError
    from faultline._errors import UnsupportedError as UnsupportedError
    from faultline._errors import WaitError as WaitError
    from faultline._fault import Fault as Fault
    from faultline._gate import Gate as Gate
    from faultline._intercept import Interception as Interception
    from faultline._intercept import intercept as intercept
    from faultline._ledger import Attempt as Attempt
    from faultline._ledger import Ledger as Ledger
    from faultline._ledger import Request as Request
    from faultline._ledger import Strike as Strike
    from faultline._ledger import TlsFacts as TlsFacts
    from faultline._ledger import Turn as Turn
    from faultline._lookups import addresses as addresses
    from faultline._lookups import bad_dns as bad_dns
    from faultline._lookups import no_address as no_address
    from faultline._lookups import nxdomain as nxdomain
    from faultline._lookups import resolves_to as resolves_to
    from faultline._lookups import servfail as servfail
    from faultline._lookups import slow_resolve as slow_resolve
    from faultline._plan import cycle as cycle
    from faultline._plan import sequence as sequence
    from faultline._plan import sometimes as sometimes
    from faultline._plan import when as when
    from faultline._proxies import Proxy as Proxy
    from faultline._proxies import http_proxy as http_proxy
    from faultline._proxies import socks_proxy as socks_proxy
    from faultline._refusals import socks_refusal as socks_refusal
    from faultline._resolver import Resolver as Resolver
    from faultline._resolver import resolve as resolve
    from faultline._script import hold as hold
    from faultline._script import receive as receive
    from faultline._script import receive_request as receive_request
    from faultline._script import receive_until as receive_until
    from faultline._script import repeat as repeat
    from faultline._script import respond as respond
    from faultline._script import script as script
    from faultline._script import send as send
    from faultline._script import starttls as starttls
    from faultline._script import stoptls as stoptls
    from faultline._serve import relay as relay
    from faultline._serve import serve as serve
    from faultline._server import Server as Server
    from faultline._udp import UdpServer as UdpServer
    from faultline._udp import duplicated as duplicated
    from faultline._udp import reordered as reordered
    from faultline._udp import udp as udp
    from faultline._unix_server import UnixServer as UnixServer
    from faultline._version import __version__ as __version__
    from faultline.modes import *  # noqa: F403

_HOMES = {
    "_causes": ("raises", "root_cause"),
    "_dns": ("DnsServer", "dns_server"),
    "_errors": (
        "ConflictError",
        "FaultlineError",
        "NotStruckError",
        "OutsideError",
        "ParameterError",
        "PortError",
        "ServerError",
        "UnknownModeError",
        "UnsupportedError",
        "WaitError",
    ),
    "_fault": ("Fault",),
    "_gate": ("Gate",),
    "_intercept": ("Interception", "intercept"),
    "_ledger": ("Attempt", "Ledger", "Request", "Strike", "TlsFacts", "Turn"),
    "_lookups": (
        "addresses",
        "bad_dns",
        "no_address",
        "nxdomain",
        "resolves_to",
        "servfail",
        "slow_resolve",
    ),
    "_plan": ("cycle", "sequence", "sometimes", "when"),
    "_proxies": ("Proxy", "http_proxy", "socks_proxy"),
    "_refusals": ("socks_refusal",),
    "_resolver": ("Resolver", "resolve"),
    "_script": (
        "hold",
        "receive",
        "receive_request",
        "receive_until",
        "repeat",
        "respond",
        "script",
        "send",
        "starttls",
        "stoptls",
    ),
    "_serve": ("relay", "serve"),
    "_server": ("Server",),
    "_udp": ("UdpServer", "duplicated", "reordered", "udp"),
    "_unix_server": ("UnixServer",),
    "_version": ("__version__",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(importlib.import_module(f"faultline.{_HOME_OF[name]}"), name)
    if name == "__all__":
        return sorted({*_HOME_OF, *_modes()})
    if not name.startswith("_") and name in _modes():
        return getattr(importlib.import_module("faultline.modes"), name)
    raise AttributeError(f"module 'faultline' has no attribute {name!r}")


def _modes() -> list[str]:
    return list(importlib.import_module("faultline._catalogue").modes())


def __dir__() -> list[str]:
    return [*__getattr__("__all__"), "__all__"]
