"""What could never happen on a server is refused before there is one.

Rules of this room: it looks at faults and at what this system can do, and starts nothing.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Literal, TypeAlias

from faultline._core.answers import Answer, SocksRefusal
from faultline._core.certificates import Terms
from faultline._core.check import rejected
from faultline._core.conditions import Loss
from faultline._core.errors import ParameterError, UnsupportedError
from faultline._core.fault import Fault
from faultline._core.ledger import Request
from faultline._core.steps import Inject, NoRoute, Partition, Step, every, is_of_tls
from faultline._net import sockets
from faultline._net.http1 import render

Role: TypeAlias = Literal["server", "relay", "http proxy", "socks proxy"]


@dataclass(frozen=True)
class Site:
    """What a server is like that is to play faults."""

    default: Answer
    tls: bool
    terms: Terms
    host: str
    role: Role = "server"
    is_unix: bool = False


def checked_answer(answer: object) -> Answer:
    """The answer of a server, for attempts whose fault has none of its own.

    Raises:
        ParameterError: anything but a fault that is an answer and nothing else.
    """
    if answer is None:
        return Answer()
    if isinstance(answer, Fault) and answer.is_answer:
        return answer.http_answer or Answer()
    raise rejected("answer", answer, "an answer such as ok(b'…') or echo()")


def check_faults(faults: tuple[Fault, ...], site: Site) -> None:
    """See that each of these faults can happen on a server like this.

    Raises:
        ParameterError: a combination that means nothing, or a break after more bytes than the answer has.
        UnsupportedError: a fault that this user or system can't produce.
    """
    for fault in faults:
        if needs_filter(fault):
            sockets.check_filter()
        if site.tls and fault.starts_tls:
            raise ParameterError(f"{fault!r}: expected tls=False, because it begins TLS by itself.")
        if fault.starts_tls and any(is_of_tls(step) for step in fault.break_steps):
            raise ParameterError(
                f"{fault!r}: expected a server that begins with TLS; a script with starttls() has a time before it."
            )
        check_openssl(fault, site.terms)
        if isinstance(fault.door, NoRoute) and (len(faults) > 1 or ":" in site.host):
            raise rejected("plan", faults, "unreachable() alone and on an IPv4 host; its address is another one")
        check_lookup(fault)
        check_datagram(fault)
        if site.is_unix:
            check_unix(fault)
        check_relay(fault, site.role)
        check_proxy(fault, site.role)
        if site.role == "server":
            check_size(fault, site.default)


def steps_of(fault: Fault) -> tuple[Step, ...]:
    """All steps that it can come to: of its script, and of its break."""
    script = fault.script.steps if fault.script else ()
    return tuple(every((*script, *fault.break_steps)))


def check_openssl(fault: Fault, terms: Terms) -> None:
    """See that pyOpenSSL is there if only it can do this, and that it needn't do what only Python's ssl does here.

    Raises:
        UnsupportedError: it isn't there.
        ParameterError: both are needed at once.
    """
    terms = fault.terms.over(terms) if fault.terms else terms
    if not terms.renegotiates and not (fault.certificate and fault.certificate.staples):
        return
    if importlib.util.find_spec("OpenSSL") is None:
        raise UnsupportedError(
            f"{fault!r} needs pyOpenSSL, because Python's ssl has no such thing; install pytest-faultline[openssl]."
        )
    if terms.needs_python_ssl:
        raise ParameterError(f"{fault!r} with {terms.kind!r}: expected one of the two; no TLS stack does both here.")


def check_lookup(fault: Fault) -> None:
    """Refuse what happens before there is a connection to any server.

    Raises:
        ParameterError: says where it means something.
    """
    if fault.is_of_lookup:
        raise ParameterError(
            f"{fault!r}: expected a fault of a connection; this one goes with a name: faultline.resolve(name, …)."
        )


def check_datagram(fault: Fault) -> None:
    """Refuse what only datagrams can meet.

    Raises:
        ParameterError: says where it means something.
    """
    if fault.fate is not None:
        raise ParameterError(f"{fault!r}: expected datagrams, with faultline.udp(…); a stream keeps its order.")


def check_unix(fault: Fault) -> None:
    """Refuse what a Unix socket can't do.

    Raises:
        ParameterError: it takes packets, and a Unix socket has none.
    """
    if needs_filter(fault):
        raise ParameterError(f"{fault!r}: expected a server of TCP; on a Unix socket there are no packets to drop.")


def check_proxy(fault: Fault, role: Role) -> None:
    """See that a fault means something at a proxy, or without one.

    Raises:
        ParameterError: it doesn't.
    """
    if role != "socks proxy" and isinstance(fault.answer, SocksRefusal):
        raise ParameterError(f"{fault!r}: expected a SOCKS proxy with it: faultline.socks_proxy({fault!r}).")
    if role == "socks proxy" and fault.needs_tls:
        raise ParameterError(f"{fault!r}: expected a server that speaks TLS; a SOCKS proxy does not.")
    if role == "socks proxy" and (fault.http_answer is not None or fault.choice is not None):
        raise ParameterError(f"{fault!r}: expected no HTTP at a SOCKS proxy; it refuses by socks_refusal(…).")
    if role in ("server", "relay") and fault.break_ is not None and fault.break_.at == "tunnel":
        raise rejected("at", "tunnel", "http_proxy(…) or socks_proxy(…) with it; nothing else has a tunnel")
    if role in ("http proxy", "socks proxy") and fault.break_ is not None and fault.break_.at == "idle":
        raise rejected("at", "idle", "at='tunnel' at a proxy; its connections are not kept for another request")


def check_relay(fault: Fault, role: Role) -> None:
    """See that a fault means something in front of an upstream, or without one.

    Raises:
        ParameterError: it doesn't.
    """
    relays = role == "relay"
    if relays and (fault.http_answer is not None or fault.script is not None or fault.choice is not None):
        raise ParameterError(f"{fault!r}: expected no answer, script or choice in a relay, where the upstream answers.")
    brk = fault.break_
    if brk is None:
        return
    if not relays and brk.at == "request" and any(isinstance(step, Inject) for step in brk.steps):
        raise rejected("at", brk.at, "a relay with it; only there the request is passed on as it is")
    messages = brk.trigger.after_messages
    if messages is not None and role == "server" and fault.script is None:
        raise rejected(
            "after_messages", messages, "a relay or a script; in HTTP each message is an attempt: use sequence(…)"
        )
    if relays and brk.at == "idle" and not brk.trigger.after_seconds:
        raise rejected(
            "after_seconds",
            brk.trigger.after_seconds,
            "more than 0 at 'idle': a relay knows its end by silence",
        )


def needs_filter(fault: Fault) -> bool:
    """Whether packets have to be dropped on an open connection."""
    return any(isinstance(s, Partition) for s in steps_of(fault)) or any(isinstance(c, Loss) for c in fault.conditions)


def check_size(fault: Fault, default: Answer) -> None:
    """See that the response has as many bytes as are to pass before the break.

    Raises:
        ParameterError: it hasn't; says how many it has.
    """
    brk, answer = fault.break_, fault.http_answer or default
    if brk is None or brk.at != "response" or fault.script is not None or answer.echoes:
        return
    size = len(render(answer.sized(brk.trigger.after_bytes), Request(method="GET"), keep_alive=False))
    if brk.trigger.after_bytes > size:
        raise rejected("after_bytes", brk.trigger.after_bytes, f"at most {size}, the bytes of the response")
