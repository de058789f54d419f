"""The values of the model: what clients ask, what goes wrong, and the plans of a test."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")
PHRASES = {200: "OK", 201: "Created", 204: "No Content", 404: "Not Found", 503: "Service Unavailable"}
OPENING = ("connect", "accept", "handshake")


class Written:
    """A value that is written as the call that makes it."""

    def __repr__(self) -> str:
        values = [(f, getattr(self, f.name)) for f in fields(self)]  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(f'{f.name}={v!r}' for f, v in values if v != f.default)})"

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:  # noqa: FBT001 - Hypothesis asks for it
        printer.text(repr(self))


@dataclass(frozen=True, repr=False)
class Asked(Written):
    """A request: its bytes, and what they mean."""

    message: bytes
    method: str = "GET"
    body: bytes = b""
    keeps: bool = True
    expects: bool = False  # 100 Continue, before it sends its body

    @property
    def target(self) -> str:
        return self.message.split(b" ")[1].decode()

    @property
    def head_bytes(self) -> int:
        return self.message.index(b"\r\n\r\n") + 4


@dataclass(frozen=True, repr=False)
class Break(Written):
    verb: str  # the name of a mode, or "reset after FIN", or "hold" for a stall that ends by a gate
    at: str = "response"
    after_bytes: int = 0
    on: bytes | None = None
    after_messages: int | None = None

    def cut(self, passed: bytes, data: bytes, messages: int) -> int | None:
        """How many of these bytes pass before it strikes; `passed` have before, in so many messages."""
        if self.after_messages is not None:
            return 0 if messages > self.after_messages else None
        if self.on is not None:
            at = (passed + data).find(self.on)
            return None if at < 0 else max(0, at + len(self.on) - len(passed))
        left = self.after_bytes - len(passed)
        return left if left <= len(data) else None


@dataclass(frozen=True, repr=False)
class Answer(Written):
    body: bytes = b"ok\n"
    status: int = 200
    raw: bool = False  # the body is the whole response, and FIN follows
    echoes: bool = False

    @property
    def is_fault(self) -> bool:
        return self.status >= 400 or self.raw

    def to(self, asked: Asked, *, keeps: bool) -> bytes:
        """The response to a request."""
        body = asked.body if self.echoes else self.body
        if self.raw:
            return body
        fields = [] if self.status == 204 else [f"Content-Length: {len(body)}"]
        fields += ["Content-Type: text/plain"] if body and self.status != 204 else []
        fields += [] if keeps else ["Connection: close"]
        head = "\r\n".join([f"HTTP/1.1 {self.status} {PHRASES[self.status]}", *fields])
        return head.encode() + b"\r\n\r\n" + (b"" if asked.method == "HEAD" or self.status == 204 else body)


@dataclass(frozen=True, repr=False)
class Fault(Written):
    """A break, an answer, both or none."""

    brk: Break | None = None
    answer: Answer | None = None

    def parts(self) -> list[str]:
        """What is meant to go wrong."""
        return ["break"] * (self.brk is not None) + ["answer"] * (self.answer is not None and self.answer.is_fault)

    def can_follow(self, _current: object) -> bool:
        """Whether a further request on a connection can meet it."""
        return self.brk is None or self.brk.at not in OPENING


HEALTHY = Fault()


@dataclass(frozen=True, repr=False)
class When(Written):
    """One of two faults: the first for requests of this method."""

    method: str
    fault: Fault
    otherwise: Fault
    brk = answer = None

    def can_follow(self, _current: object) -> bool:
        return True


@dataclass(frozen=True, repr=False)
class Sometimes(Written):
    """One of two faults, by chance."""

    probability: float
    fault: Fault
    otherwise: Fault
    seed: int


@dataclass(frozen=True, repr=False)
class Plan(Written):
    faults: tuple[Fault | When | Sometimes, ...]
    kind: str = "sequence"
    per: str = "attempt"

    def dealt(self) -> Iterator[tuple[Fault | When, int, str]]:
        """Each fault with the number of its entry, and of its branch there."""
        generators = [random.Random(getattr(entry, "seed", 0)) for entry in self.faults]
        last, at = len(self.faults) - 1, 0
        while True:
            entry, branch = self.faults[at], ""
            if isinstance(entry, Sometimes):
                is_so = generators[at].random() < entry.probability
                entry, branch = (entry.fault, "1") if is_so else (entry.otherwise, "2")
            yield entry, at, branch
            at = at + 1 if at < last else 0 if self.kind == "cycle" else last

    def promises(self) -> Iterator[tuple[Fault, int, str, bool]]:
        """Each fault that it can deal, with its place, and whether chance decides on it."""
        for at, entry in enumerate(self.faults):
            if isinstance(entry, Fault):
                yield entry, at, "", False
            else:
                for branch, fault in (("1", entry.fault), ("2", entry.otherwise)):
                    yield fault, at, branch, isinstance(entry, Sometimes)
