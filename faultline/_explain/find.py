"""Finds what a word means: a name, a number, or a text of an error as it was printed."""

from __future__ import annotations

import errno
import re
from functools import cache

from faultline._core.words import meant
from faultline._explain.clients import AIOHTTP, HTTPX, REQUESTS
from faultline._explain.entry import GROUPS, Entry
from faultline._explain.http import PYTHON, URLLIB3
from faultline._explain.system import LOOKUPS, SYSTEM
from faultline._explain.tls import ALERTS, CERTIFICATES, TLS

ENTRIES: tuple[Entry, ...] = (
    *(*SYSTEM, *LOOKUPS, *TLS, *CERTIFICATES, *ALERTS),
    *(*PYTHON, *URLLIB3, *REQUESTS, *HTTPX, *AIOHTTP),
)
NUMBER = re.compile(r"(?:\[?\s*errno\s*)?(-?\d+)\s*\]?", re.IGNORECASE)
# As in [Errno 111] and gaierror(-2, …); the numbers of ssl's errors are OpenSSL's own.
IN_TEXT = re.compile(r"(?:\[Errno |(?<!SSL)(?<!SSLEOF)(?<!Verification)error\()(-?\d+)\b", re.IGNORECASE)
SHORTEST = 4  # characters of a name that is looked for in a longer text


def names_of(entry: Entry) -> list[str]:
    """All names of an entry, and the words by which it is looked up."""
    full = [entry.name, *entry.also]
    numbers = [str(getattr(errno, name)) for name in full if hasattr(errno, name)]
    last = [name.rpartition(".")[2] for name in full if re.fullmatch(r"[\w.]+\.\w+", name)]
    return [*full, *(word for word in last if word != "error"), *numbers, *entry.messages]


@cache
def index() -> dict[str, list[Entry]]:
    """The entries by each of their names, in lower case; those of Python itself before those of clients."""
    found: dict[str, list[Entry]] = {}
    for entry in ENTRIES:
        for name in dict.fromkeys(name.lower() for name in names_of(entry)):
            found.setdefault(name, []).append(entry)
    return found


def found_for(text: str) -> list[Entry]:
    """The entries that a text names, the likeliest first; an empty list if it names no entry."""
    word = " ".join(text.split()).strip("\"'`.:()").lower().replace("self signed", "self-signed")
    if (number := NUMBER.fullmatch(word)) is not None:
        word = number[1]
    return index().get(word) or inside(word, text) or around(word)


def inside(word: str, text: str) -> list[Entry]:
    """The entries whose names are in a longer text, the most exact first: the cause before its wrapper."""
    hits = {str(int(number)): len(text) for number in IN_TEXT.findall(text)}  # a number says more than words
    for name in index():
        if len(name) >= SHORTEST and not name.lstrip("-").isdecimal() and name in word:
            is_whole = re.search(rf"(?<![\w.]){re.escape(name)}(?![\w])", word) or " " in name
            hits |= {name: len(name)} if is_whole else {}
    found = {entry.name: (rank(entry), -size, entry) for name, size in hits.items() for entry in index().get(name, ())}
    return [entry for _, _, entry in sorted(found.values(), key=lambda each: each[:2])]


def rank(entry: Entry) -> int:
    """How far an entry is from the cause of an error: a family of errors says the least."""
    return GROUPS.index(entry.group) + (len(GROUPS) if entry.members else 0)


def around(word: str) -> list[Entry]:
    """The entries of which a name has this text in it, as `reset by peer`."""
    if len(word) < SHORTEST or " " not in word:
        return []
    found = [entry for name, entries in index().items() if word in name for entry in entries]
    return list(dict.fromkeys(found))


def near(word: str, others: list[str]) -> list[str]:
    """Names that were meant by a word that is none, of the entries and of others."""
    plain = word.lower()
    shown = {name.lower(): name for entry in ENTRIES for name in (entry.name, *entry.also)}
    shown |= {key.rpartition(".")[2]: name for key, name in shown.items() if "." in key}
    shown |= {name: name for name in others}
    return [shown[found] for found in meant(plain, shown, {})]
