"""What can go wrong, in one voice: name and value, what was expected, what to do.

A parameter that can't be right raises `ParameterError` where it is given, before a socket exists. What the
world does (a busy port, a missing capability) and what our own server does wrong have a class each.
"""

from __future__ import annotations

__all__ = [
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
]


class FaultlineError(Exception):
    """Anything that faultline itself raises; never what a fault makes the client raise."""


class ParameterError(FaultlineError, ValueError):
    """A parameter has a value that can't mean anything."""


class ConflictError(ParameterError):
    """Two parts were combined that can't both happen in one attempt."""


class UnknownModeError(ParameterError):
    """No mode of the catalogue has this name."""


class PortError(FaultlineError, OSError):
    """The address can't be bound: the port is taken, or the host isn't one of this machine."""


class UnsupportedError(FaultlineError, NotImplementedError):
    """This operating system can't produce the fault."""


class WaitError(FaultlineError, TimeoutError):
    """What was waited for did not happen in time."""


class NotStruckError(FaultlineError, AssertionError):
    """A planned fault never struck, so the test proved nothing about it."""


class OutsideError(FaultlineError, RuntimeError):
    """Somebody tried to reach another machine where that is forbidden; no OSError, so that no client retries it."""


class ServerError(FaultlineError, RuntimeError):
    """Something broke inside a faultline server; the original exception is the cause."""


for _name in __all__:  # so that a traceback names them as users import them
    globals()[_name].__module__ = "faultline"
