"""Records as plain data for JSON."""

from __future__ import annotations

from typing import Any

JSON_VERSION = 1


def texts(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """A record as a dictionary, its bytes as text: one character for each byte (Latin-1)."""
    return {k: v.decode("latin-1") if isinstance(v, bytes) else v for k, v in items}
