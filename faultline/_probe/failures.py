"""Why a point failed, from the error that was raised there."""

from __future__ import annotations

import os
import ssl

from faultline._probe.steps import RAGGED, Failure

# Errors that only some clients meet, here of Python 3.13 on, and so no play has.
BY_DETAIL = {"verify code 88": "bad_cert('no_subject')"}


def alert_mode(alert: str) -> str:
    """The plan of a server that sends an alert."""
    return (
        "bad_tls('client_cert_required')" if alert == "certificate_required" else f"bad_tls('alert', alert={alert!r})"
    )


def failure_key(error: OSError) -> tuple[str, str]:
    """The class and the detail of an error, as `faultline explain` has them."""
    kind = type(error)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return name, f"verify code {error.verify_code}"
    if isinstance(error, ssl.SSLError):
        return ("ssl.SSLEOFError" if error.reason == RAGGED else name), error.reason or ""
    return name, "" if error.errno is None else str(error.errno)


def failure_of(error: OSError) -> Failure:
    """Why a point failed, from an error of the system or of TLS."""
    if isinstance(error, ssl.SSLCertVerificationError):
        text = error.verify_message
    elif isinstance(error, ssl.SSLError):
        text = (error.reason or str(error)).lower().replace("_", " ")
    elif isinstance(error, TimeoutError) and error.errno is None:
        text = str(error) if str(error).startswith("no answer") else "no answer in time"
    else:
        text = error.strerror or os.strerror(error.errno or 0)
    name, detail = failure_key(error)
    return Failure(name, detail, text, mode=BY_DETAIL.get(detail, ""))
