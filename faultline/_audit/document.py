"""An HTML document of its own: no scripts, nothing that is loaded, in light and dark."""

from __future__ import annotations

import pkgutil
import platform
from collections.abc import Iterable
from html import escape

from faultline._audit.clean import clean
from faultline._version import __version__


def document(title: str, body: Iterable[str], skip: str = "") -> str:
    """The document; `skip` is the link of a reader who knows what comes first."""
    css = (pkgutil.get_data("faultline._audit", "report.css") or b"").decode()
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{said(title)}</title><style>{css}</style></head>\n<body>{skip}<main>\n"
        + "\n".join(body)
        + "\n</main></body></html>\n"
    )


def said(text: str) -> str:
    """Text for HTML."""
    return escape(clean(text))


def platforms() -> str:
    """What made the document."""
    return f"faultline {__version__}, Python {platform.python_version()}, {platform.platform()}"


def slug(text: str) -> str:
    """A name as an anchor: each sign stands there as its number, so that two names have two anchors."""
    return "".join(char if char.isalnum() and char.isascii() else f"-{ord(char):x}-" for char in text)
