"""Modes that break nothing: what is said when the conversation is healthy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from faultline._catalogue import case, mode
from faultline._check import rejected, whole
from faultline._fault import Fault
from faultline._parts import Answer, Headers, HeadersLike

__all__ = ["echo", "ok"]

# RFC 9110, 5.1 and 5.5: a field name is a token, and a field value is text of one line, in Latin-1.
FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


@mode(case("the response"), case("the response", body=b"hello", status=201))
def ok(
    body: Annotated[bytes | None, "the body; a short text if none is given"] = None,
    *,
    status: Annotated[int, "the status code"] = 200,
    headers: Annotated[HeadersLike, "further header fields, by name"] = (),
) -> Fault:
    """Answer as a healthy server does.

    The response carries `Content-Length` and keeps the connection alive as HTTP/1.1 says (RFC 9112, 9.3). A
    field in `headers` replaces the server's own of that name.

    Example:
        >>> import faultline, urllib.request
        >>> with faultline.serve(faultline.ok(b"hello")) as server:
        ...     urllib.request.urlopen(server.url).read()
        b'hello'
    """
    whole("status", status, "", 200, 999)
    return Fault(answer=Answer(status, fields(headers), body))


@mode(case("the response"))
def echo() -> Fault:
    """Answer with the body of the request, or with the bytes themselves to a client without HTTP.

    Example:
        >>> import faultline, urllib.request
        >>> with faultline.serve(faultline.echo()) as server:
        ...     urllib.request.urlopen(server.url, data=b"who is there?").read()
        b'who is there?'
    """
    return Fault(answer=Answer(echoes=True))


def fields(headers: HeadersLike) -> Headers:
    """Header fields as pairs, checked.

    Raises:
        ParameterError: a name or value that HTTP can't carry.
    """
    if not isinstance(headers, (Mapping, tuple, list)):
        raise rejected("headers", headers, "a mapping, or pairs of name and value")
    pairs = tuple(headers.items()) if isinstance(headers, Mapping) else tuple(headers)
    for pair in pairs:
        if (
            not isinstance(pair, tuple)
            or [type(part) for part in pair] != [str, str]
            or not FIELD_NAME.fullmatch(pair[0])
            or not FIELD_VALUE.fullmatch(pair[1])
        ):
            raise rejected("headers", headers, "names and values as text, without line breaks")
    return pairs
