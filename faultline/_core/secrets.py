"""Where the secrets of known protocols are in what a side says.

Rules: a span covers the value alone, so that what says how long it is stays as it was. Bytes may end within a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias

Span: TypeAlias = tuple[int, int, str]  # where it begins and ends, and what it is

OF_HTTP = "Authorization, Cookie and key fields of HTTP"
OF_URL, OF_VALUES = "password in a URL", "passwords, tokens and keys in forms, queries and JSON"
OF_SQL = "password in SQL"
OF_REDIS, OF_MAIL = "AUTH of Redis", "AUTH, PASS and LOGIN of mail and FTP"
POSTGRES, AMQP, SOCKS = "password of PostgreSQL", "password of AMQP", "password of SOCKS"
# How the name of a value ends that is a secret.
NAMED = (
    rb"(?:password|passwd|passphrase|pwd|secret|token|credentials?|signature|session[_-]?id"
    rb"|(?:api|access|secret|private|auth|account|subscription|encryption)[_-]?key(?:[_-]?id)?)"
)
SCHEMES = rb"(?:(?:basic|bearer|digest|negotiate|ntlm|token|hawk|dpop|aws4-hmac-sha256|gnap|scram-sha-\d+)[ \t]+)?"
LINES = rb"([^\r\n]+(?:\r?\n[ \t]+[^\r\n]+)*)"  # a value that may go on in the next line
MECHANISMS = rb"(?:plain|login|xoauth2|oauthbearer|external|tls|ssl|ntlm|gssapi|cram-md5|digest-md5|scram-[\w-]+)"
# Patterns of bytes in small letters whose groups are secrets, with what these are called: for both sides, and for
# clients alone.
OF_BOTH: tuple[tuple[str, re.Pattern[bytes]], ...] = (
    (OF_HTTP, re.compile(rb"(?m)^(?:[\w-]*authorization|[\w-]*" + NAMED + rb"):[ \t]*" + SCHEMES + LINES)),
    (OF_HTTP, re.compile(rb"(?m)^cookie2?:[ \t]*" + LINES)),
    (OF_HTTP, re.compile(rb"(?m)^set-cookie2?:[ \t]*[^=;\r\n]+=(\"[^\"\r\n]*\"?|[^;\r\n]+)")),
    (OF_URL, re.compile(rb":(?://|\\/\\/)[^\s/?#:@\"'<>\\]*:([^\s/?#@\"'<>]+)(?=@|\Z)")),
    (
        OF_VALUES,  # of a form or a query, of JSON, of JSON within JSON
        re.compile(
            NAMED + rb"(?:(?:\]|%5d)?=\"?([^&;\s\"'<>]+)|\"\s*:\s*\"((?:[^\"\\]|\\.)+)|\\\"\s*:\s*\\\"((?:(?!\\\").)+))"
        ),
    ),
    (
        OF_VALUES,  # of a form in parts
        re.compile(
            rb"(?m)^content-disposition:[^\r\n]*" + NAMED + rb"\]?\"?[^\r\n]*\r?\n(?:[^\r\n]+\r?\n){,9}\r?\n([^\r\n]+)"
        ),
    ),
    (OF_SQL, re.compile(rb"\b(?:password|identified[ \t]+by)[ \t]*(?:=[ \t]*)?'((?:[^']|'')+)")),
)
OF_CLIENT: tuple[tuple[str, re.Pattern[bytes]], ...] = (
    (OF_REDIS, re.compile(rb"(?m)^[ \t]*auth[ \t]+(?!" + MECHANISMS + rb"\b)([^\r\n]+)")),
    (OF_REDIS, re.compile(rb"(?m)^[ \t]*hello[ \t]+\d+[ \t]+auth[ \t]+\S+[ \t]+([^\s]+)")),
    (OF_REDIS, re.compile(rb"(?m)^[ \t]*config[ \t]+set[ \t]+(?:requirepass|masterauth)[ \t]+([^\r\n]+)")),
    (OF_MAIL, re.compile(rb"(?m)^auth " + MECHANISMS + rb" ([^\r\n]+)")),
    (OF_MAIL, re.compile(rb"(?m)^pass ([^\r\n]+)")),
    (OF_MAIL, re.compile(rb"(?m)^\S+ login (?:\"[^\"\r\n]*\"|\S+) ([^\r\n]+)")),
    (OF_MAIL, re.compile(rb"(?m)^\S+ authenticate [\w-]+ ([^\r\n]+)")),
)
# A server of mail asks for a name or a password, or for the rest of a login, and the client says it in Base64.
ASKS, ANSWER = re.compile(rb"(?:334|\+)(?: [^\r\n]*)?\r\n\Z"), re.compile(rb"([A-Za-z0-9+/=]+)(?:\r\n)?")
COMMAND, STRING = re.compile(rb"\*(\d+)\r\n(?=\$)"), re.compile(rb"\$(\d+)\r\n")
PLAIN_OF_AMQP = re.compile(rb"(?s)\x05PLAIN(.{4})\0[^\0]*\0")
ASKS_FOR_PASSWORD = b"\x05\x02"  # a proxy of SOCKS 5, RFC 1929


def known_spans(by: str, data: bytes, before: bytes) -> Iterator[Span]:
    """The known secrets in what a side says; `before` is what the other side has said last."""
    small = data.lower()  # a search that tells no case is several times slower
    for name, pattern in OF_BOTH if by != "client" else OF_BOTH + OF_CLIENT:
        yield from spans_of(name, pattern, small)
    if by == "client":
        yield from redis_spans(data)
        if data[:1] == b"p" and int.from_bytes(data[1:5], "big") == len(data) - 1:
            yield 5, len(data) - 1, POSTGRES  # PasswordMessage: a string with a zero behind it
        if before == ASKS_FOR_PASSWORD and data[:1] == b"\1" and len(data) > (at := 2 + data[1]):
            yield at + 1, min(len(data), at + 1 + data[at]), SOCKS
        for found in PLAIN_OF_AMQP.finditer(data):
            yield found.end(), min(len(data), found.end(1) + int.from_bytes(found[1], "big")), AMQP
        if ASKS.match(before) and (answer := ANSWER.fullmatch(data)):
            yield *answer.span(1), OF_MAIL


def spans_of(name: str, pattern: re.Pattern[bytes], data: bytes) -> Iterator[Span]:
    """What the groups of a pattern match, or all of it without groups."""
    for match in pattern.finditer(data):
        for group in range(1, pattern.groups + 1) if pattern.groups else (0,):
            start, end = match.span(group)
            if end > start:
                yield start, end, name


def redis_spans(data: bytes) -> Iterator[Span]:
    """The passwords in the commands of a client of Redis, which have their lengths before them."""
    at = 0
    while found := COMMAND.search(data, at):
        at, words = found.end(), list[tuple[int, int]]()
        while len(words) < int(found[1]) and (length := STRING.match(data, at)):
            words.append((length.end(), min(len(data), length.end() + int(length[1]))))
            at = words[-1][1] + len(b"\r\n")
        for number in passwords_in([data[begin:end].upper() for begin, end in words]):
            if words[number][1] > words[number][0]:
                yield *words[number], OF_REDIS


def passwords_in(words: list[bytes]) -> Iterator[int]:
    """The numbers of the words of a command that are passwords."""
    first = words[0] if words else b""
    if first == b"AUTH" and len(words) > 1:
        yield len(words) - 1
    elif first == b"ACL":
        yield from (number for number, word in enumerate(words) if word[:1] in (b">", b"<", b"#", b"!"))
    elif first in (b"HELLO", b"MIGRATE", b"CONFIG"):
        behind = {b"AUTH": 2 if first == b"HELLO" else 1, b"AUTH2": 2, b"REQUIREPASS": 1, b"MASTERAUTH": 1}
        found = (number + behind[word] for number, word in enumerate(words) if word in behind)
        yield from (number for number in found if number < len(words))
