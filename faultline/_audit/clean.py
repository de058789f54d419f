"""Text that may stand in XML and HTML, whatever a client has said."""

from __future__ import annotations

import re

# What XML 1.0 has no way to write (section 2.2), and what turns the direction of text.
FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u202a-\u202e\u2066-\u2069]")


def clean(text: str) -> str:
    """The text with escapes for what it must not have."""
    return FORBIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
