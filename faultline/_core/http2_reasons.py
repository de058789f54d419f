"""Reasons why a part of a fault of HTTP/2 has not struck, as those in `reasons.py`."""

from __future__ import annotations

from faultline._core.attempts import Attempt
from faultline._core.fault import Fault
from faultline._core.http2 import NOT_SPOKEN
from faultline._core.promises import HTTP2, Key
from faultline._core.shown import waited_for


def spoke_no_http2(fault: Fault, _: Key, attempt: Attempt) -> str:
    """The client spoke HTTP/1.1, and the fault is of HTTP/2."""
    if not fault.needs_http2 or attempt.note != NOT_SPOKEN:
        return ""
    how = "let it offer h2 by ALPN" if attempt.tls is not None else "tell it that the server speaks HTTP/2"
    return f"The client spoke HTTP/1.1: {how}, as httpx.Client(http2=True, http1=False) does."


def sent_no_frame_to_leave(fault: Fault, part: Key, attempt: Attempt) -> str:
    """The client sent no PING that could be left without an answer."""
    if part != HTTP2 or fault.http2 is None or fault.http2.omits != "ping_ack" or attempt.stream is None:
        return ""
    return "The client sent no PING: make the interval of its keepalive shorter."


def had_a_shorter_body(fault: Fault, part: Key, attempt: Attempt) -> str:
    """The stream is complete, and its body has fewer bytes than the trigger counts."""
    trigger = waited_for(fault, part)
    if attempt.stream is None or trigger is None or trigger.after_body_bytes is None or attempt.point != "idle":
        return ""
    return f"The body ended before after_body_bytes={trigger.after_body_bytes}: strike after fewer bytes."
