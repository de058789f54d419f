"""Checks of a plan that depend on the machine, or on the answer and the address of one server."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

from faultline._core.answers import Answer
from faultline._core.attempts import Request
from faultline._core.capabilities import Capabilities
from faultline._core.certificates import WITH_HTTP2, Terms, Tls, checked_tls
from faultline._core.check import rejected
from faultline._core.conditions import Loss
from faultline._core.errors import ParameterError, UnsupportedError
from faultline._core.fault import Fault
from faultline._core.heads import Head
from faultline._core.scripted import WebSocketPlan
from faultline._core.steps import NoRoute, Partition, Vanish, every, resets
from faultline._net import system
from faultline._net.http1 import render


def checked_answer(answer: object) -> Answer:
    """The answer of a server, for attempts whose fault has none of its own.

    Raises:
        ParameterError: `answer` is no fault, or a fault that is more than an answer.
    """
    if answer is None:
        return Answer()
    if isinstance(answer, Fault) and answer.is_answer:
        return answer.http_answer or Answer()
    raise rejected("answer", answer, "an answer such as ok(b'…') or echo()")


def check_feasible(faults: tuple[Fault, ...], host: str, terms: Terms, default: Answer | None) -> None:
    """Check that a server on this host can play these faults; `default` is its own answer, if it speaks HTTP.

    Raises:
        UnsupportedError: this system or this user can't produce a fault.
        ParameterError: a fault doesn't fit to the others, to the host or to the answer.
    """
    check_unreachable(faults, host)
    for fault in faults:
        check_door(fault, is_unix=not host)
        check_machine(fault, terms)
        if default is not None or fault.http_answer is not None:  # of a relay
            check_response(fault, default or Answer())


def check_door(fault: Fault, *, is_unix: bool) -> None:
    """Check that this system can produce what a fault does to connects, and to a Unix socket.

    Raises:
        UnsupportedError: it can't.
    """
    if isinstance(fault.door, Vanish):
        system.need("unix silence") if is_unix else system.check_silence()
    if isinstance(fault.door, NoRoute) and not is_unix:
        system.need("no route")
    if is_unix and resets((*(fault.script.steps if fault.script else ()), *fault.break_steps)):
        system.need("unix reset")


def check_machine(fault: Fault, terms: Terms) -> None:
    """Check that this system and this user can produce a fault.

    Raises:
        UnsupportedError: dropping packets is not allowed, or pyOpenSSL or wsproto is missing.
        ParameterError: it takes two TLS stacks at once.
    """
    steps = (*(fault.script.steps if fault.script else ()), *fault.break_steps)
    drops = any(isinstance(step, Partition) for step in every(steps))
    if drops or any(isinstance(condition, Loss) for condition in fault.conditions):
        system.check_filter()
    check_openssl(fault, terms)
    if isinstance(fault.answer, WebSocketPlan) and importlib.util.find_spec("wsproto") is None:
        raise UnsupportedError(f'{fault!r} needs wsproto; run `pip install "pytest-faultline[websocket]"`.')


def checked_terms(tls: Tls | Terms, kind: Capabilities) -> Terms:
    """The terms of TLS for the parameter `tls` of a server of this kind.

    Raises:
        ParameterError: `tls` is not `True`, `False` or `"mutual"`.
        UnsupportedError: the server speaks HTTP/2, for which the library is missing.
    """
    terms = checked_tls(tls)
    if not kind.speaks_http2:
        return terms
    if importlib.util.find_spec("h2") is None:
        raise UnsupportedError(
            'HTTP/2 needs the package h2; run `pip install "pytest-faultline[http2]"`, or write http2=False.'
        )
    return terms if terms is tls else replace(terms, protocols=WITH_HTTP2)


def check_openssl(fault: Fault, usual: Terms) -> None:
    """Check that pyOpenSSL is installed if a fault needs it, and that nothing else needs Python's ssl meanwhile.

    Raises:
        UnsupportedError: pyOpenSSL is not installed.
        ParameterError: both are needed at once.
    """
    terms = fault.terms.over(usual) if fault.terms else usual
    if not terms.needs_pyopenssl and not (fault.certificate and fault.certificate.staples):
        return
    if importlib.util.find_spec("OpenSSL") is None:
        raise UnsupportedError(
            f"{fault!r} needs pyOpenSSL, because Python's ssl module can't do it; "
            'run `pip install "pytest-faultline[openssl]"`.'
        )
    if terms.needs_python_ssl:
        other = f"tls={usual.kind!r}" if usual.needs_python_ssl else repr(terms.kind)
        raise ParameterError(f"{fault!r} with {other}: expected one of the two; no TLS stack does both here.")


def check_unreachable(faults: tuple[Fault, ...], host: str) -> None:
    """Check that a server whose address no route leads to has no other faults.

    Raises:
        ParameterError: there are other faults, or the host is one of IPv6, where there is no such address.
    """
    if any(isinstance(fault.door, NoRoute) for fault in faults) and (len(faults) > 1 or ":" in host):
        raise rejected(
            "plan", faults, "unreachable() alone, on an IPv4 host, because its server listens at another address"
        )


MOST_FILLER_BYTES = 1 << 30  # a body is held in memory


def check_response(fault: Fault, default: Answer) -> None:
    """Check that the response has the bytes that pass before the break, and keeps the connection that a break needs.

    Raises:
        ParameterError: the response is shorter, or ends the connection that a break is waiting for.
    """
    brk, answer = fault.break_, fault.http_answer or default
    if brk is None or fault.script is not None:
        return
    if brk.at == "idle" and answer.closes:
        raise ParameterError(
            f"{fault!r}: expected an answer=… that keeps the connection alive; this one never reaches 'idle'."
        )
    if brk.at != "response" or not answer.has_known_length:
        return
    least_bytes = brk.trigger.least_bytes
    name = "after_body_bytes" if brk.trigger.after_body_bytes is not None else "after_bytes"
    if least_bytes > MOST_FILLER_BYTES and answer.sized(1) is not answer:
        raise rejected(name, least_bytes, f"at most {MOST_FILLER_BYTES}, the longest body that a server makes")
    said = render(answer.sized(least_bytes), Request(method="GET"), keep_alive=False)
    head = Head()
    size = len(said) - (head.bytes_of(said) if name == "after_body_bytes" else 0)
    if name == "after_body_bytes" and not head.is_over:
        raise rejected(name, least_bytes, "an answer with a head, such as ok(b'…')")
    if least_bytes > size:
        whole = "body" if name == "after_body_bytes" else "response"
        raise rejected(name, least_bytes, f"at most {size}, the bytes of the {whole}")
