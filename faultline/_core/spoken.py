"""What every step has that users write: it prints as the call that makes it."""

from __future__ import annotations

from dataclasses import fields
from typing import ClassVar


class Spoken:
    """A step that users write; its `repr` is the call."""

    says: ClassVar[str]
    has_plain: ClassVar[bool] = True  # whether its first value is given without its name

    def __repr__(self) -> str:
        written = [f for f in fields(self) if f.name != "number"]  # type: ignore[arg-type] # a dataclass, in each class
        values = [(f, getattr(self, f.name)) for f in written]
        plain = [repr(v) for f, v in values[: self.has_plain] if v != f.default and not isinstance(v, bool)]
        named = [f"{f.name}={v!r}" for f, v in values if v != f.default][len(plain) :]
        return f"{self.says}({', '.join(plain + named)})"
