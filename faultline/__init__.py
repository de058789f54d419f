"""Real local sockets that misbehave on purpose, so that a client's error handling runs in its tests.

Everything here is imported when it is first used: having the package installed costs a test run nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faultline._causes import raises, root_cause
    from faultline._errors import (
        ConflictError,
        FaultlineError,
        NotStruckError,
        ParameterError,
        PortError,
        ServerError,
        UnknownModeError,
        UnsupportedError,
        WaitError,
    )
    from faultline._fault import Fault
    from faultline._gate import Gate
    from faultline._ledger import Attempt, Ledger, Request, Strike, TlsFacts, Turn
    from faultline._plan import cycle, sequence, sometimes, when
    from faultline._script import (
        hold,
        receive,
        receive_request,
        receive_until,
        repeat,
        respond,
        script,
        send,
        starttls,
    )
    from faultline._serve import serve
    from faultline._server import Server
    from faultline._version import __version__
    from faultline.modes import *  # noqa: F403

_HOMES = {
    "_causes": ("raises", "root_cause"),
    "_errors": (
        "ConflictError",
        "FaultlineError",
        "NotStruckError",
        "ParameterError",
        "PortError",
        "ServerError",
        "UnknownModeError",
        "UnsupportedError",
        "WaitError",
    ),
    "_fault": ("Fault",),
    "_gate": ("Gate",),
    "_ledger": ("Attempt", "Ledger", "Request", "Strike", "TlsFacts", "Turn"),
    "_plan": ("cycle", "sequence", "sometimes", "when"),
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
    ),
    "_serve": ("serve",),
    "_server": ("Server",),
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
