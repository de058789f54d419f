"""Masks of secrets in recorded conversations: bytes of the same number take their place, so that lengths stay right."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from faultline._core.check import rejected
from faultline._core.counts import counted
from faultline._core.ends import Party

Mask: TypeAlias = bytes | re.Pattern[bytes] | Callable[[bytes], bytes]
Masks: TypeAlias = bool | Mask | Iterable[Mask]

STAR = b"*"
OF_HTTP = "Authorization, Cookie and key fields of HTTP"
OF_REDIS, OF_MAIL = "AUTH of Redis", "AUTH, PASS and LOGIN of mail and FTP"
# Patterns whose groups are secrets, with what these are called: in the bytes of both sides, and of clients alone.
OF_BOTH: tuple[tuple[str, re.Pattern[bytes]], ...] = (
    (OF_HTTP, re.compile(rb"(?im)^(?:proxy-)?authorization:[ \t]*(?:[A-Za-z]+[ \t]+)?([^\r\n]+)")),
    (OF_HTTP, re.compile(rb"(?im)^(?:x-)?api-key:[ \t]*([^\r\n]+)")),
    (OF_HTTP, re.compile(rb"(?im)^cookie:[ \t]*([^\r\n]+)")),
    (OF_HTTP, re.compile(rb"(?im)^set-cookie:[ \t]*[^=;\r\n]+=([^;\r\n]+)")),
)
OF_CLIENT: tuple[tuple[str, re.Pattern[bytes]], ...] = (
    (
        OF_REDIS,
        re.compile(rb"(?is)\r\nAUTH\r\n(?:\$\d+\r\n[^\r\n]*\r\n(?=\$\d+\r\n[^\r\n]*\r\n))?\$\d+\r\n([^\r\n]+)\r\n"),
    ),
    (OF_REDIS, re.compile(rb"(?im)\A[ \t]*AUTH[ \t]+(?!(?:PLAIN|LOGIN|XOAUTH2)\b)([^\r\n]+)\r?\n")),
    (OF_MAIL, re.compile(rb"(?im)^AUTH (?:PLAIN|LOGIN|XOAUTH2) ([^\r\n]+)")),
    (OF_MAIL, re.compile(rb"(?im)^PASS ([^\r\n]+)")),
    (OF_MAIL, re.compile(rb"(?im)^\S+ LOGIN \S+ ([^\r\n]+)")),
)
# A server of mail asks for a name or a password, or for the rest of a login, and the client says it in Base64.
ASKS, ANSWER = re.compile(rb"(?:334|\+)(?: [^\r\n]*)?\r\n\Z"), re.compile(rb"([A-Za-z0-9+/=]+)\r\n")
EXPECTED = "True, bytes, a pattern of bytes, a function of bytes, or several of them"
POSTGRES = "password of PostgreSQL"


@dataclass(frozen=True)
class Masked:
    """Bytes with their secrets masked.

    Attributes:
        data: the bytes.
        spans: where the masked bytes are, and what they are.
    """

    data: bytes
    spans: tuple[tuple[int, int, str], ...] = ()


class Masker:
    """Masks the secrets that it was told of."""

    def __init__(self, masks: Masks) -> None:
        if isinstance(masks, bool):
            given: tuple[Mask, ...] = ()
        elif isinstance(masks, (bytes, re.Pattern)) or callable(masks):
            given = (masks,)
        elif isinstance(masks, Iterable) and not isinstance(masks, str):
            given = tuple(masks)
        else:
            raise rejected("mask", masks, EXPECTED)
        self._known = masks is not False
        self._patterns: list[tuple[str, re.Pattern[bytes]]] = []
        self._functions: list[Callable[[bytes], bytes]] = []
        for mask in given:
            if callable(mask):
                self._functions.append(mask)
            elif isinstance(mask, bytes) and mask:
                self._patterns.append(("bytes of the test", re.compile(re.escape(mask))))
            elif isinstance(mask, re.Pattern) and isinstance(mask.pattern, bytes):
                self._patterns.append((f"{mask.pattern!r}", mask))
            else:
                raise rejected("mask", mask, EXPECTED)

    def masked(self, by: Party, data: bytes, before: bytes = b"") -> Masked:
        """Bytes that a side sent, with stars for their secrets; `before` has what the other side had said.

        Raises:
            ParameterError: a function changed the number of bytes.
        """
        spans = [*self._spans(by, data)]
        if self._known and by == "client" and ASKS.match(before) and (answer := ANSWER.fullmatch(data)):
            spans.append((*answer.span(1), OF_MAIL))
        out = bytearray(data)
        for start, end, _ in spans:
            out[start:end] = STAR * (end - start)
        for function in self._functions:
            made = function(bytes(out))
            if not isinstance(made, bytes) or len(made) != len(out):
                text = f"it got {counted(len(out), 'byte')}, and the lengths in a protocol have to stay right"
                raise rejected("mask", function, f"a function that returns as many bytes as it got; {text}")
            name = getattr(function, "__name__", "a function")
            spans += [(start, end, name) for start, end in differences(bytes(out), made)]
            out[:] = made
        return Masked(bytes(out), tuple(sorted(spans)))

    def _spans(self, by: Party, data: bytes) -> Iterable[tuple[int, int, str]]:
        known = () if not self._known else OF_BOTH + OF_CLIENT if by == "client" else OF_BOTH
        for name, pattern in (*known, *self._patterns):
            for match in pattern.finditer(data):
                groups = range(1, pattern.groups + 1) if pattern.groups else (0,)
                yield from (
                    (*match.span(group), name) for group in groups if match.span(group)[1] > match.span(group)[0]
                )
        if self._known and by == "client" and data[:1] == b"p" and int.from_bytes(data[1:5], "big") == len(data) - 1:
            yield 5, len(data) - 1, POSTGRES  # PasswordMessage: a string with a zero behind it


def differences(one: bytes, other: bytes) -> Iterable[tuple[int, int]]:
    """Where two texts of one length differ."""
    start = None
    for at, (a, b) in enumerate(zip(one + b"\0", other + b"\0", strict=True)):
        if a != b and start is None:
            start = at
        elif a == b and start is not None:
            yield start, at
            start = None
