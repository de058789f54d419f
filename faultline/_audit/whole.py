"""Whether the bytes of an HTTP response are a whole response, as its own head says."""

from __future__ import annotations

import re

LENGTH = re.compile(rb"(?im)^content-length:[ \t]*(\d+)[ \t]*\r?$")
CHUNKED = re.compile(rb"(?im)^transfer-encoding:.*\bchunked[ \t]*\r?$")
SIZE = re.compile(rb"([0-9a-fA-F]+)[^\r\n]*\r\n")


def is_whole(received: bytes) -> bool:
    """Whether a response ended where its head says; a head without a length means that it ends with its connection."""
    head, blank, body = received.partition(b"\r\n\r\n")
    if not blank:
        return False
    if CHUNKED.search(head):
        return chunks_end(body)
    length = LENGTH.search(head)
    return length is None or len(body) >= int(length[1])


def chunks_end(body: bytes) -> bool:
    """Whether a chunked body has its last chunk (RFC 9112, 7.1); behind a size that is none, nobody can tell."""
    at = 0
    while (size := SIZE.match(body, at)) is not None:
        count = int(size[1], 16)
        if count == 0:
            return True
        at = size.end() + count + 2
    return False
