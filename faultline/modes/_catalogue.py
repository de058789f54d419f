"""The catalogue of modes: find a mode by its name, list all modes and all cases."""

from __future__ import annotations

import faultline.modes  # noqa: F401 - importing the modes defines them
from faultline._core.errors import UnknownModeError
from faultline._core.said import abbreviated
from faultline._core.words import MODES, listed, meant
from faultline.modes._registry import ENTRIES, Case, Mode

__all__ = ["cases", "find", "modes"]


def modes() -> dict[str, Mode]:
    """All modes by name, in alphabetical order."""
    return dict(sorted(ENTRIES.items()))


def cases() -> list[Case]:
    """All cases of all modes."""
    return [case for entry in modes().values() for case in entry.cases]


def find(name: str) -> Mode:
    """The mode of this name; `bad-cert` and `bad_cert` are the same.

    Raises:
        UnknownModeError: no mode has this name; the message names the nearest mode, and all modes.
    """
    known = modes()
    entry = known.get(name.replace("-", "_"))
    if entry is None:
        found = meant(name.replace("-", "_"), known, MODES)
        hint = f" Did you mean {listed(map(repr, found))}?" if found else ""
        raise UnknownModeError(f"no mode {abbreviated(name)}.{hint} Modes: {', '.join(known)}.")
    return entry
