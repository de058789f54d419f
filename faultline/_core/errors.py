"""The exceptions of faultline.

Rules: a message has the form `name=value: expected …`. A bad parameter raises `ParameterError` at once, before a
socket is opened.
"""

from __future__ import annotations

__all__ = [
    "CallError",
    "ConflictError",
    "FaultlineError",
    "FaultlineWarning",
    "LeakError",
    "NotStruckError",
    "OutsideError",
    "ParameterError",
    "PortError",
    "ServerError",
    "SweepError",
    "UnknownModeError",
    "UnsupportedError",
    "WaitError",
]


class FaultlineError(Exception):
    """The base class of the exceptions that faultline raises. Errors that a fault causes in a client are not.

    .. versionadded:: 0.1
    """


class ParameterError(FaultlineError, ValueError):
    """A parameter has a value that is not allowed.

    .. versionadded:: 0.1
    """


class CallError(ParameterError, TypeError):
    """A call does not fit the parameters of a function; the message has the call to write.

    .. versionadded:: 0.1
    """


class FaultlineWarning(UserWarning):
    """A value is allowed, and is probably a mistake.

    .. versionadded:: 0.1
    """


class ConflictError(ParameterError):
    """Two parts of a fault can't both happen in one attempt.

    .. versionadded:: 0.1
    """


class UnknownModeError(ParameterError):
    """No mode has this name.

    .. versionadded:: 0.1
    """


class PortError(FaultlineError, OSError):
    """The address can't be bound: the port is taken, or the host isn't one of this machine.

    .. versionadded:: 0.1
    """


class UnsupportedError(FaultlineError, NotImplementedError):
    """The fault needs an operating system, a privilege or a package that is not there.

    .. versionadded:: 0.1
    """


class WaitError(FaultlineError, TimeoutError):
    """The awaited attempts did not come in time.

    .. versionadded:: 0.1
    """


class NotStruckError(FaultlineError, AssertionError):
    """A planned fault never struck, so the test proved nothing about it.

    .. versionadded:: 0.1
    """


class SweepError(FaultlineError, AssertionError):
    """A sweep found a break that the scenario does not survive, or had nothing to break; the message has the table.

    .. versionadded:: 0.1
    """


class LeakError(FaultlineError, AssertionError):
    """A client still holds a connection that it should have closed.

    .. versionadded:: 0.1
    """


class OutsideError(FaultlineError, RuntimeError):
    """A client tried to reach another machine where that is forbidden. No `OSError`, so that no client retries.

    .. versionadded:: 0.1
    """


class ServerError(FaultlineError, RuntimeError):
    """A faultline server failed; the original exception is its `__cause__`.

    .. versionadded:: 0.1
    """


for _name in __all__:  # a traceback then shows the names that users import
    globals()[_name].__module__ = "faultline"
