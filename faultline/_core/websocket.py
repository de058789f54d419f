"""The steps of a WebSocket: each function checks its parameters and returns a step for `websocket(…)`."""

from __future__ import annotations

import re
from typing import TypeVar, get_args

from faultline._core.answers import HeadersLike
from faultline._core.calls import explained
from faultline._core.check import choice, flag, rejected, some_text, whole
from faultline._core.frames import (
    Accept,
    BadFrame,
    BadMask,
    CloseFrame,
    CutFrame,
    Drop,
    Fragment,
    FrameKind,
    IgnorePings,
    KeyKind,
    ReceiveBytes,
    ReceiveClose,
    ReceiveText,
    SendBytes,
    SendPing,
    SendText,
)
from faultline._core.header_fields import fields
from faultline._core.steps import Step

__all__ = [
    "accept",
    "bad_frame",
    "bad_mask",
    "close_frame",
    "cut_frame",
    "drop",
    "fragment",
    "ignore_pings",
    "receive_bytes",
    "receive_close",
    "receive_text",
    "send_bytes",
    "send_ping",
    "send_text",
]
T = TypeVar("T", str, bytes)
BY_HAND = "script(receive_request(), send(…)), which sends any response"
OWN_FIELDS = {  # of the response that accepts, and how a plan has another value
    "upgrade": BY_HAND,
    "connection": BY_HAND,
    "sec-websocket-accept": "key='wrong' or key='missing'",
    "sec-websocket-protocol": "subprotocol='…'",
    "sec-websocket-extensions": "compression=True",
}
CONTROL_BYTES = 125  # of the payload of a control frame: RFC 6455, 5.5
REASON_BYTES = 123  # of the reason of a close frame, behind its code
# Codes that a client makes up by itself, and what makes it do so: RFC 6455, 7.4.1.
MADE_UP = {
    1005: "close_frame(None), after which a client says 1005",
    1006: "drop() or reset() instead, after which a client says 1006",
    1015: "bad_cert(…) or bad_tls(…) instead, after which a client says 1015",
}


@explained
def accept(
    *,
    subprotocol: str | None = None,
    headers: HeadersLike = (),
    key: KeyKind = "right",
    compression: bool = False,
) -> Step:
    """Accept the client's handshake; `websocket(…)` does so first by itself.

    With `key="wrong"` or `key="missing"` the response has another `Sec-WebSocket-Accept` or none, and no client may go
    on (RFC 6455, 4.1). With `subprotocol=""` a client that offers subprotocols gets none. Both are faults.

    .. versionadded:: 0.1

    Args:
        subprotocol: the subprotocol, also if the client did not offer it. Default: the first that the client offers.
        headers: further header fields of the response.
        key: `right`, `wrong` or `missing`.
        compression: whether messages are compressed, if the client offers permessage-deflate (RFC 7692).

    Raises:
        ParameterError: a value is out of its range, HTTP can't carry it, or `headers` has a field that `accept` sends
            by itself.
    """
    choice("key", key, get_args(KeyKind))
    if subprotocol is not None and (
        not isinstance(subprotocol, str) or re.search(r'[^!-~]|[(),/:;<=>?@\[\\\]{}"]', subprotocol)
    ):
        raise rejected("subprotocol", subprotocol, "a token of HTTP, such as 'chat', or '' for none")
    given = fields(headers)
    for name, _ in given:
        if right := OWN_FIELDS.get(name.lower()):
            raise rejected("headers", headers, f"no {name}, which accept() sends by itself; write {right}")
    return Accept(subprotocol, given, key, flag("compression", compression))


@explained
def send_text(text: str, *, fragment_bytes: int | None = None) -> Step:
    """Send a message of text, in one frame, or in frames of `fragment_bytes` each.

    .. versionadded:: 0.1

    Args:
        text: the message.
        fragment_bytes: how long each frame is, at most. Default: the whole message.

    Raises:
        ParameterError: `text` is no text that UTF-8 can encode, or `fragment_bytes` is not a whole number, 1 or more.
    """
    right = f"; write send_bytes({text!r})" if isinstance(text, bytes) else ""
    return SendText(some_text("text", text, right), pieces(fragment_bytes))


@explained
def send_bytes(data: bytes, *, fragment_bytes: int | None = None) -> Step:
    """Send a binary message, in one frame, or in frames of `fragment_bytes` each.

    .. versionadded:: 0.1

    Args:
        data: the message.
        fragment_bytes: how long each frame is, at most. Default: the whole message.

    Raises:
        ParameterError: `data` is not bytes, or `fragment_bytes` is not a whole number, 1 or more.
    """
    return SendBytes(payload("data", data), pieces(fragment_bytes))


@explained
def receive_text(containing: str | re.Pattern[str] = "") -> Step:
    """Read messages until a text comes that contains this text or a match of this pattern.

    PINGs are answered meanwhile, and so is the client's close frame, which ends the conversation.

    .. versionadded:: 0.1

    Args:
        containing: text, or a compiled pattern of text. Default: any text.

    Raises:
        ParameterError: `containing` is neither text nor a pattern compiled from text.
    """
    return ReceiveText(pattern(containing, str, "text, or a pattern compiled from text"))


@explained
def receive_bytes(containing: bytes | re.Pattern[bytes] = b"") -> Step:
    """Read messages until a binary one comes that contains these bytes or a match of this pattern.

    PINGs are answered meanwhile, and so is the client's close frame, which ends the conversation.

    .. versionadded:: 0.1

    Args:
        containing: bytes, or a compiled pattern of bytes. Default: any binary message.

    Raises:
        ParameterError: `containing` is neither bytes nor a pattern compiled from bytes.
    """
    return ReceiveBytes(pattern(containing, bytes, "bytes, or a pattern compiled from bytes"))


@explained
def receive_close() -> Step:
    """Read messages until the client's close frame comes, and leave it without an answer.

    A following `stall()` never answers it. A following `close_frame()` answers it, and a `stall()` after that leaves
    the TCP connection open.

    .. versionadded:: 0.1
    """
    return ReceiveClose()


@explained
def send_ping(data: bytes = b"") -> Step:
    """Send a PING, and go on without waiting for the PONG.

    .. versionadded:: 0.1

    Args:
        data: what the PONG repeats; at most 125 bytes.

    Raises:
        ParameterError: `data` is not bytes, or is longer than 125 bytes.
    """
    return SendPing(payload("data", data, CONTROL_BYTES))


@explained
def ignore_pings() -> Step:
    """Leave the client's PINGs without an answer from here on. It is a fault, which strikes at the first PING.

    .. versionadded:: 0.1
    """
    return IgnorePings()


@explained
def close_frame(code: int | None = 1000, reason: str = "") -> Step:
    """Send a close frame; then the server waits for the client's, and ends the connection.

    With another code than 1000 it is a fault. With `None` the frame is empty, and clients report 1005. Without any
    close frame they report 1006: write `drop()` or `reset()` for that.

    .. versionadded:: 0.1

    Args:
        code: the close code, or `None` for an empty frame.
        reason: a text of at most 123 bytes in UTF-8.

    Raises:
        ParameterError: `code` is no code that a close frame may have (RFC 6455, 7.4), or `reason` is longer than 123
            bytes, or comes without a code.
    """
    number = None if code is None else whole("code", code, "", 1000, 4999)
    if number in MADE_UP:
        raise rejected("code", code, f"a code that a close frame may have; write {MADE_UP[number]}")
    if number in (1004, *range(1016, 3000)):
        raise rejected("code", code, "1000 to 1014 or 3000 to 4999; bad_frame('close_code') sends another")
    if len(some_text("reason", reason).encode()) > REASON_BYTES or (reason and code is None):
        raise rejected("reason", reason, f"at most {REASON_BYTES} bytes, and no reason without a code")
    return CloseFrame(code, reason)


@explained
def cut_frame(after_bytes: int, *, text: str = "Hello, world!") -> Step:
    """Send the first bytes of a frame with this text; then the server ends the connection, if no other step does.

    It is a fault. The head of the frame counts too: 2 bytes up to 125 bytes of text, 4 up to 65,535, and then 10.

    .. versionadded:: 0.1

    Args:
        after_bytes: how many bytes of the frame are sent.
        text: the text of the frame.

    Raises:
        ParameterError: `text` is no text that UTF-8 can encode, or `after_bytes` is not a whole number, 1 or more, and
            below the length of the frame.
    """
    step = CutFrame(whole("after_bytes", after_bytes, " of bytes", 1), some_text("text", text))
    if after_bytes >= len(step.whole):
        raise rejected("after_bytes", after_bytes, f"less than {len(step.whole)}, the length of the frame in bytes")
    return step


@explained
def fragment(text: str) -> Step:
    """Send a part of a message of text whose end never comes. It is a fault.

    .. versionadded:: 0.1

    Args:
        text: the part that is sent.

    Raises:
        ParameterError: `text` is no text that UTF-8 can encode.
    """
    return Fragment(some_text("text", text))


@explained
def bad_frame(kind: FrameKind) -> Step:
    """Send a frame that no client may accept. It is a fault: clients answer with a close frame.

    .. versionadded:: 0.1

    Args:
        kind: `masked` (a server must not mask), `reserved_bits`, `reserved_opcode`, `unasked_compression` (compressed,
            by its first byte, and garbage where that was agreed on), `invalid_utf8`, `continuation` (of no message),
            `interleaved` (a message inside another), `long_ping` (126 bytes), `fragmented_ping`, `close_code` (1005,
            which no frame may have), `close_length` (half a code), or `oversized` (it says that it has 1 TiB).

    Raises:
        ParameterError: `kind` is not one of these.
    """
    choice("kind", kind, get_args(FrameKind))
    return BadFrame(kind)


@explained
def bad_mask(text: str = "faultline") -> Step:
    """Send a message of text in a frame that is masked, as only a client may do (RFC 6455, 5.1). It is a fault.

    `bad_frame("masked")` sends the same frame, whose text is always `faultline`. A client has to close because of it,
    with 1002 at best, and its program must not get the text.

    .. versionadded:: 0.1

    Args:
        text: the text of the message.

    Raises:
        ParameterError: `text` is no text that UTF-8 can encode.
    """
    return BadMask(some_text("text", text))


@explained
def drop() -> Step:
    """End the connection by FIN without a close frame, as a crashed server does. It is a fault.

    Clients report 1006. `close()` sends the same FIN, and may also come after a `close_frame()`, where it does not
    wait for the client's; there `drop()` is refused. `reset()` ends the connection by RST.

    .. versionadded:: 0.1
    """
    return Drop()


def payload(name: str, value: object, most_bytes: int | None = None) -> bytes:
    """Check that a value is bytes, and no more than these.

    Raises:
        ParameterError: it is not.
    """
    if not isinstance(value, bytes) or (most_bytes is not None and len(value) > most_bytes):
        most = "" if most_bytes is None else f", at most {most_bytes}"
        right = f"; write send_text({value!r})" if isinstance(value, str) else ""
        if right and most_bytes is not None:
            right = f"; write send_ping({str(value).encode('utf-8', 'replace')!r})"
        raise rejected(name, value, f"bytes{most}{right}")
    return value


def pieces(fragment_bytes: int | None) -> int | None:
    """Check the length of the frames of a message."""
    return None if fragment_bytes is None else whole("fragment_bytes", fragment_bytes, " of bytes", 1)


def pattern(value: T | re.Pattern[T], kind: type[T], expected: str) -> T | re.Pattern[T]:
    """Check that a value is of this kind, or a pattern of it.

    Raises:
        ParameterError: it is neither.
    """
    if not isinstance(value.pattern if isinstance(value, re.Pattern) else value, kind):
        raise rejected("containing", value, expected)
    return value
