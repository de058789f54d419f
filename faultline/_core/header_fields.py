"""Header fields that users give, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping

from faultline._core.answers import Headers, HeadersLike
from faultline._core.check import rejected

# RFC 9110, 5.1 and 5.5: a field name is a token, and a field value is text of one line, in Latin-1.
FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def fields(headers: HeadersLike, parameter: str = "headers") -> Headers:
    """Header fields as pairs, checked; `parameter` has them.

    Raises:
        ParameterError: HTTP can't carry a name or a value, or `headers` is neither a mapping nor pairs.
    """
    if not isinstance(headers, (Mapping, tuple, list)):
        raise rejected(parameter, headers, "a mapping, or pairs of name and value, such as {'X-Name': 'value'}")
    pairs = tuple(headers.items()) if isinstance(headers, Mapping) else tuple(headers)
    for pair in pairs:
        if (
            not isinstance(pair, tuple)
            or [type(part) for part in pair] != [str, str]
            or not FIELD_NAME.fullmatch(pair[0])
            or not FIELD_VALUE.fullmatch(pair[1])
        ):
            raise rejected(
                parameter, headers, "names and values as text without line breaks, such as {'X-Name': 'value'}"
            )
    return pairs
