"""Masks of secrets in recorded conversations: bytes of the same number take their place, so that lengths stay right."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from faultline._core.check import rejected
from faultline._core.counts import counted
from faultline._core.ends import Party
from faultline._core.secrets import Span, known_spans, spans_of

Mask: TypeAlias = bytes | re.Pattern[bytes] | Callable[[bytes], bytes]
Masks: TypeAlias = bool | Mask | Iterable[Mask]

STAR = b"*"
EXPECTED = "True, bytes, a pattern of bytes, a function of bytes, or several of them"


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
        spans = [*self._spans(by, data, before)]
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

    def _spans(self, by: Party, data: bytes, before: bytes) -> Iterator[Span]:
        if self._known:
            yield from known_spans(by, data, before)
        for name, pattern in self._patterns:
            yield from spans_of(name, pattern, data)


def differences(one: bytes, other: bytes) -> Iterable[tuple[int, int]]:
    """Where two texts of one length differ."""
    start = None
    for at, (a, b) in enumerate(zip(one + b"\0", other + b"\0", strict=True)):
        if a != b and start is None:
            start = at
        elif a == b and start is not None:
            yield start, at
            start = None
