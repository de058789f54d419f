"""The answer to one request: a redirect of a chain, what a function makes of the request, or a part of the body."""

from __future__ import annotations

import re
from dataclasses import replace
from hashlib import sha256

from faultline._core.answers import OK_BODY, Answer
from faultline._core.attempts import Request

HOP = "/hop/"  # the paths of a chain of redirects
RANGE = re.compile(r"(?i)bytes=[ \t]*(\d*)-(\d*)[ \t]*", re.ASCII)  # one range: RFC 9110, 14.1.2
PARTIAL, UNSATISFIABLE = 206, 416  # RFC 9110, 15.3.7 and 15.5.17
MOST_DIGITS = 18  # of a position that is counted; any larger one is behind the end


def chosen(answer: Answer, request: Request, last: Answer) -> Answer:
    """The answer to this request; `last` is that of the server, which follows a chain of redirects.

    Raises:
        Exception: what a function of the test raised.
    """
    answer = hopped(answer, request, last)
    if answer.computes is not None:
        answer = answer.computes(request)
    return ranged(answer, request)


def hopped(answer: Answer, request: Request, last: Answer) -> Answer:
    """The next redirect of a chain, or `last` once the chain is over."""
    if not answer.hops:
        return answer
    hop = hop_of(request.target)
    if hop >= answer.hops:
        return Answer() if last.hops else last
    return Answer(answer.status, body=b"", location=f"{HOP}{hop + 1}")


def hop_of(target: str) -> int:
    """The number of redirects that a client followed before this request."""
    number = target.partition("?")[0].rpartition(HOP)[2]
    return int(number[:9]) if number.isdecimal() else 0


def ranged(answer: Answer, request: Request) -> Answer:
    """The part of the body that a GET asks for; the whole answer if it asks for none, or for several at once."""
    if not answer.ranges:
        return answer
    body = OK_BODY if answer.body is None else answer.body
    tag = next((value for name, value in answer.headers if name.lower() == "etag"), "")
    own = () if tag else (("ETag", tag := f'"{sha256(body).hexdigest()[:16]}"'),)
    whole = replace(answer, headers=(*answer.headers, ("Accept-Ranges", "bytes"), *own))
    asked = RANGE.fullmatch(request.header("range", "") or "")
    if asked is None or request.method != "GET" or request.header("if-range", tag) != tag:
        return whole
    begin, end = (int(digits[:MOST_DIGITS]) if digits else None for digits in asked.groups())
    if begin is None:
        if end is None:
            return whole
        begin, end = max(0, len(body) - end), len(body) - 1
    elif end is not None and end < begin:
        return whole
    if begin >= len(body):
        return replace(whole, status=UNSATISFIABLE, body=b"", headers=(*whole.headers, of(f"*/{len(body)}")))
    end = min(len(body) - 1 if end is None else end, len(body) - 1)
    part = of(f"{begin}-{end}/{len(body)}")
    return replace(whole, status=PARTIAL, body=body[begin : end + 1], headers=(*whole.headers, part))


def of(text: str) -> tuple[str, str]:
    """The field that says which part of a body it is."""
    return "Content-Range", f"bytes {text}"
