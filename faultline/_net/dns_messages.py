"""Reads DNS queries, and writes answers, correct or faulty, with dnspython."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import dns.message

Targets: TypeAlias = tuple[tuple[str, Any], ...]
TTL_SECONDS = 60
RCODES = {"nxdomain": 3, "servfail": 2, "refused": 5}  # RFC 1035, 4.1.1


def answered(query: dns.message.Message, kind: str, found: Targets, *, can_truncate: bool) -> bytes:
    """The bytes of an answer to a query: with these addresses, or faulty in the way of `kind`; empty for silence."""
    import dns.flags
    import dns.message

    reply = dns.message.make_response(query, recursion_available=True)
    match kind:
        case "silence":
            return b""
        case "nxdomain" | "servfail" | "refused":
            reply.set_rcode(RCODES[kind])  # type: ignore[arg-type] # by its number
        case "no_address":
            pass
        case "truncated" if can_truncate:
            reply.flags |= dns.flags.TC
        case "garbage":
            return query.id.to_bytes(2, "big") + b"\x81\x80" + b"\xff" * 40  # each count is 65,535
        case "cname_loop":
            alias_both_ways(reply, query)
        case _:
            add(reply, query, found, ttl=0 if kind == "flapping" else TTL_SECONDS)
    wire: bytes = reply.to_wire()
    if kind == "wrong_id":
        return (query.id ^ 0xFFFF).to_bytes(2, "big") + wire[2:]
    return wire


def parsed(data: bytes) -> dns.message.Message | None:
    """A query with one question; `None` for other bytes."""
    import dns.exception
    import dns.flags
    import dns.message

    try:
        query = dns.message.from_wire(data)
    except (dns.exception.DNSException, ValueError):
        return None
    if query.flags & dns.flags.QR or len(query.question) != 1:
        return None
    return query


def kind_of(question: Any) -> str:
    """The type of record that a question asks for, such as `AAAA`."""
    import dns.rdatatype

    return dns.rdatatype.to_text(question.rdtype)


def add(reply: dns.message.Message, query: dns.message.Message, targets: Targets, ttl: int) -> None:
    """Add the addresses of the type that the query asks for to a reply."""
    import dns.rrset

    question = query.question[0]
    kind = kind_of(question)
    fitting = [host for host, _ in targets if kind == ("AAAA" if ":" in host else "A")]
    if fitting:
        reply.answer.append(dns.rrset.from_text(question.name, ttl, "IN", kind, *fitting))


def alias_both_ways(reply: dns.message.Message, query: dns.message.Message) -> None:
    """Add two aliases to a reply: from the name to another name, and from that back to the name."""
    import dns.name
    import dns.rrset

    name = query.question[0].name
    other = dns.name.from_text("loop.invalid.")
    for one, target in ((name, other), (other, name)):
        reply.answer.append(dns.rrset.from_text(one, TTL_SECONDS, "IN", "CNAME", target.to_text()))
