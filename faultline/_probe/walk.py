"""Walks lookup, connect, handshake and response against a server, one step at a time.

Rules: each point has a deadline of its own, and no answer of a server is kept without a limit.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from faultline._core import clock
from faultline._core.counts import counted
from faultline._core.hosts import hostport, is_numeric
from faultline._probe.answer import asked, listened
from faultline._probe.failures import alert_mode, failure_key, failure_of
from faultline._probe.line import Deadline, Line, SecureLine
from faultline._probe.steps import Failure, Step
from faultline._probe.target import Target

Address = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]


@dataclass(frozen=True)
class Settings:
    """How to walk.

    Attributes:
        seconds: the most time for each point.
        ca_file: the certificates to trust; those of the system if it is empty.
        insecure: whether to go on after a bad certificate.
    """

    seconds: float = 5.0
    ca_file: str = ""
    insecure: bool = False


def walk(target: Target, settings: Settings) -> Iterator[Step]:
    """Each point of a conversation, as soon as it has been passed; the last one may have a failure."""
    step, addresses = looked_up(target, settings.seconds)
    yield step
    if not addresses:
        return
    with contextlib.ExitStack() as stack:
        step, sock = connected(addresses, settings.seconds)
        yield step
        if sock is None:
            return
        plain = Line(stack.enter_context(sock))
        line: Line | SecureLine = plain
        if target.is_tls:
            step, secure = secured(target, plain, settings)
            if secure is None and settings.insecure and step.failure and step.failure.detail.startswith("verify code"):
                yield Step("handshake", step.seconds, step.lines, step.facts)
                _, sock = connected(addresses, settings.seconds)
                if sock is None:  # pragma: no cover - a server that closes its port between two connects
                    return
                step, secure = secured(target, Line(stack.enter_context(sock)), settings, verifies=False)
            yield step
            if secure is None:
                return
            line = secure
        yield (asked if target.is_http else listened)(target, line, settings.seconds)


# --- lookup ----------------------------------------------------------------------------------------------------------


def looked_up(target: Target, seconds: float) -> tuple[Step, list[Address]]:
    """Look up the host in a thread, because nothing can end a lookup that hangs."""
    if is_numeric(target.host):
        family = socket.AF_INET6 if ":" in target.host else socket.AF_INET
        lines = (f"{target.host} is an address: nothing to look up.",)
        return Step("lookup", 0.0, lines, {"addresses": [target.host]}), [(family, (target.host, target.port))]
    found: queue.SimpleQueue[list[Address] | OSError] = queue.SimpleQueue()
    deadline = Deadline(seconds)
    threading.Thread(target=look_up, args=(target, found), daemon=True).start()
    try:
        result = found.get(timeout=seconds)
    except queue.Empty:
        result = TimeoutError(f"no answer within {seconds:g} s")
    if isinstance(result, OSError):
        failure = failure_of(result)
        if isinstance(result, TimeoutError):
            failure = replace(failure, mode=f"slow_resolve({2 * seconds:g})")
        return Step("lookup", deadline.passed, failure=failure), []
    names = [str(address[0]) for _, address in result]
    lines = (f"{target.host}: {', '.join(names)}",)
    return Step("lookup", deadline.passed, lines, {"addresses": names}), result


def look_up(target: Target, found: queue.SimpleQueue[list[Address] | OSError]) -> None:
    """Put the addresses of a host into a queue, or the error."""
    try:
        rows = socket.getaddrinfo(target.name, target.port, type=socket.SOCK_STREAM)
    except OSError as error:
        found.put(error)
    else:
        found.put(list(dict.fromkeys((row[0], row[4]) for row in rows)))  # type: ignore[misc] # of an IP socket


# --- connect ---------------------------------------------------------------------------------------------------------


def connected(addresses: list[Address], seconds: float) -> tuple[Step, socket.socket | None]:
    """Connect to the first address that can be connected to; each has an equal share of the time that is left."""
    deadline, tried = Deadline(seconds), []
    for number, (family, address) in enumerate(addresses):
        place, began = hostport(*address[:2]), clock.now()
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(deadline.left / (len(addresses) - number))
            sock.connect(address)
        except OSError as error:
            sock.close()
            failure = failure_of(error)
            tried.append({"address": place, "seconds": clock.since(began), "error": failure.text})
        else:
            lines = (place, *(f"before that {each['address']}: {each['error']}" for each in tried))
            tried.append({"address": place, "seconds": clock.since(began), "error": ""})
            return Step("connect", deadline.passed, lines, {"tried": tried}), sock
    lines = tuple(f"before that {each['address']}: {each['error']}" for each in tried[:-1])
    failure = replace(failure, text=f"{place}: {failure.text}")
    return Step("connect", deadline.passed, lines, {"tried": tried}, failure), None


# --- handshake -------------------------------------------------------------------------------------------------------


def secured(target: Target, line: Line, settings: Settings, *, verifies: bool = True) -> tuple[Step, SecureLine | None]:
    """Perform the handshake of TLS."""
    context = ssl.create_default_context(cafile=settings.ca_file or None)
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # Python 3.11.2 has it set, and takes a FIN for an orderly end
    if not verifies:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    deadline = Deadline(settings.seconds)
    secure = SecureLine(line, context, target.name)
    failure = None
    try:
        secure.handshake(deadline)
    except OSError as error:  # ssl.SSLError is one
        failure = failure_of_handshake(error, secure, line)
    version, cipher = secure.terms
    lines = (f"{version}, {cipher}",) if failure is None else ()
    facts: dict[str, Any] = {} if failure else {"version": version, "cipher": cipher}
    if secure.certificate and verifies:  # otherwise the step before has told of it
        words, facts["certificate"] = certificate_of(secure.certificate)
        lines = (*lines, *words)
    if failure is not None and failure.detail.startswith("verify code") and settings.insecure:
        lines = (f"{failure.text}, which --insecure passes over", *lines)
    step = Step("handshake", deadline.passed, lines, facts, failure)
    return step, None if failure else secure


def certificate_of(der: bytes) -> tuple[tuple[str, ...], dict[str, str]]:
    """A certificate in words, and as JSON."""
    from faultline._net.issue import facts_of

    try:
        subject, issuer, end = facts_of(der)
    except ValueError:
        return ("a certificate that can't be read",), {}
    left = end - clock.today()
    how_long = f"{counted(left.days, 'day')} left" if left.days >= 0 else f"expired {counted((-left).days, 'day')} ago"
    lines = (
        f"certificate of {subject or 'nobody: it has no subject'}",
        f"issued by {issuer}",
        f"valid until {end:%Y-%m-%d} ({how_long})",
    )
    return lines, {"subject": subject, "issuer": issuer, "valid_until": end.isoformat()}


def failure_of_handshake(error: OSError, secure: SecureLine, line: Line) -> Failure:
    """Why a handshake failed: the server's alert if there was one, or what came that is no TLS."""
    if secure.alert and not isinstance(error, ssl.SSLCertVerificationError):
        return Failure(*failure_key(error), f"the server sent the alert {secure.alert}", mode=alert_mode(secure.alert))
    failure = failure_of(error)
    if failure.detail == "WRONG_VERSION_NUMBER" or line.first.startswith(b"HTTP/"):
        mode = "bad_tls('plain_http')" if line.first.startswith(b"HTTP/") else "bad_tls('garbage')"
        return Failure(failure.cause, failure.detail, f"what came is not TLS: {line.first!r}…", mode=mode)
    return failure
