"""What is wrong with a request of HTTP/1.1 that a client sent, in words.

Rules: no sockets. A wrong request is answered like any other: nothing here decides what a server does.
"""

from __future__ import annotations

import re

HEAD_END = re.compile(rb"\r?\n\r?\n")
ALMOST = re.compile(rb"(?!PRI )[A-Za-z]{1,32}[ \t]+(?:/|[^\r\n]*HTTP/[0-9])", re.IGNORECASE)
FIELD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\0\r\n]*")
FOLDED = re.compile(rb"\n[ \t]")
SHOWN_BYTES = 60
COMPLAINT = re.compile(r"(.*: )bytearray\(b(.*)\)", re.DOTALL)
HTTP_1_0 = b"HTTP/1.0"


def is_meant_as_http(data: bytes) -> bool:
    """Whether bytes that can't begin a request were probably meant to be one."""
    return ALMOST.match(data) is not None


def wrong_line(data: bytes) -> str:
    """What is wrong with a request whose first line is not one of HTTP/1."""
    return f"the request line is malformed: {shown(lines_of(data)[0])}"


def wrong_head(head: bytes, complaint: str) -> str:
    """What is wrong with a head that a parser refused with this complaint."""
    _, *fields = lines_of(head)
    bad = next((field for field in fields if not FIELD.fullmatch(field)), None)
    if bad is not None:
        return f"a header line is malformed: {shown(bad)}"
    hosts, lengths = values_of(fields, b"host"), values_of(fields, b"content-length")
    if len(hosts) != 1:
        return "there is no Host field" if not hosts else f"there are {len(hosts)} Host fields"
    if len(lengths) > 1 and len(set(lengths)) > 1:
        return f"there are {len(lengths)} Content-Length fields: {shown(b', '.join(lengths))}"
    if lengths and not lengths[0].isdigit():
        return f"Content-Length is no length: {shown(lengths[0])}"
    return complaint


def worded(complaint: str) -> str:
    """A complaint of the parser as a phrase, its bytes as text, and cut where they are long."""
    phrase = f"{complaint[:1].lower()}{complaint[1:]}"
    match = COMPLAINT.fullmatch(phrase)
    if match is None:
        return phrase
    return f"{match[1]}{match[2][:SHOWN_BYTES]}{'...' if len(match[2]) > SHOWN_BYTES else ''}"


def doubtful_head(head: bytes) -> str:
    """What is wrong with a head that a parser accepts, and that servers read differently; empty if nothing is."""
    line, *fields = lines_of(head)
    lengths, codings = values_of(fields, b"content-length"), values_of(fields, b"transfer-encoding")
    if FOLDED.search(head):
        return "a header line is folded (RFC 9112, 5.2)"
    if lengths and codings:
        return "there are both Content-Length and Transfer-Encoding (RFC 9112, 6.3)"
    if len(lengths) > 1:
        return f"there are {len(lengths)} Content-Length fields (RFC 9112, 6.3)"
    if codings and line.rstrip().endswith(HTTP_1_0):
        return "Transfer-Encoding is not of HTTP/1.0 (RFC 9112, 6.1)"
    return ""


def split(raw: bytes) -> tuple[bytes, bytes]:
    """The head, and the bytes after the empty line that ends it."""
    end = HEAD_END.search(raw)
    return (raw, b"") if end is None else (raw[: end.start()], raw[end.end() :])


def lines_of(head: bytes) -> list[bytes]:
    """The lines of a head."""
    return [line.removesuffix(b"\r") for line in head.rstrip(b"\r\n").split(b"\n")]


def values_of(fields: list[bytes], name: bytes) -> list[bytes]:
    """The values of the fields of this name."""
    pairs = [field.partition(b":") for field in fields]
    return [value.strip() for key, _, value in pairs if key.strip().lower() == name]


def shown(data: bytes) -> str:
    """Bytes as text, with escapes, and cut where they are long."""
    return repr(data[:SHOWN_BYTES])[1:] + ("..." if len(data) > SHOWN_BYTES else "")
