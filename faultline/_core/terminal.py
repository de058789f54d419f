"""The terminal: its width, and whether it shows colors.

Rules: only the environment and the terminal are asked; what is drawn is decided elsewhere.
"""

from __future__ import annotations

import os
import shutil
import sys
from typing import TextIO


def width() -> int:
    """The width of the terminal in characters: `COLUMNS` if it is set, and 80 without a terminal."""
    return shutil.get_terminal_size().columns


def shows_color() -> bool:
    """Whether output may have colors: `NO_COLOR` forbids them, `FORCE_COLOR` asks for them, and a terminal has them.

    See https://no-color.org and https://force-color.org.
    """
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return is_terminal(sys.stdout)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream, which may be closed or missing, is a terminal that knows control characters."""
    return stream is not None and not stream.closed and stream.isatty() and os.environ.get("TERM") != "dumb"
