"""Numbers of things in messages, with the noun in its singular or plural."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """A number with its noun, such as `1 byte` and `2 bytes`; the noun is given in the singular."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
