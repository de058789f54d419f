r"""Values on a command line, such as bytes: text with escapes such as `\r\n`, or the content of a file."""

from __future__ import annotations

import os
import re
from pathlib import Path

from faultline._core.check import rejected

ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.|$)", re.DOTALL)
MEANT = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}
WRITTEN = {data: f"\\{word.decode()}" for word, data in MEANT.items()}
SIGN = "@"
HELP = r"\r, \n, \t, \0 and \xNN are bytes, @PATH is a file"


def with_value(option: str, value: str) -> list[str]:
    """An option and its value as words: one word if the value begins with a dash, as an option does, and no number."""
    is_one = value.startswith("-") and not value[1:].replace(".", "", 1).isdecimal()
    return [f"{option}={value}"] if is_one else [option, value]


def word_of(data: bytes) -> str:
    """The word that stands for these bytes, as readable as can be; `bytes_of` reads it."""
    letters = [letter_of(letter) for letter in data.decode("utf-8", "surrogateescape")]
    if letters[:1] == [SIGN]:
        letters[0] = r"\x40"
    return "".join(letters)


def letter_of(letter: str) -> str:
    """A letter as it stands in a word; what can't be typed or read is an escape."""
    raw = letter.encode("utf-8", "surrogateescape")
    if raw in WRITTEN:
        return WRITTEN[raw]
    return letter if letter.isprintable() else "".join(f"\\x{byte:02x}" for byte in raw)


def bytes_of(name: str, given: str, *, reads_files: bool) -> bytes:
    """The bytes that a word stands for.

    Args:
        name: the parameter that they are for.
        given: the word.
        reads_files: whether `@PATH` is the content of this file; a plan that comes from elsewhere reads none.

    Raises:
        ParameterError: there is another escape, or the file can't be read.
    """
    if given.startswith(SIGN):
        if not reads_files:
            raise rejected(name, given, r"text; only the command line reads a file, and \x40 is the sign @")
        try:
            return Path(given[1:]).read_bytes()
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise rejected(name, given, rf"a file that can be read ({why}); \x40 is the sign @") from None

    def meant(escape: re.Match[bytes]) -> bytes:
        word = escape[1]
        if word[:1] == b"x" and len(word) > 1:
            return bytes([int(word[1:], 16)])
        if word not in MEANT:
            raise rejected(name, given, r"the escapes \r, \n, \t, \0 and \xNN, and \\ for a backslash")
        return MEANT[word]

    return ESCAPE.sub(meant, os.fsencode(given))
