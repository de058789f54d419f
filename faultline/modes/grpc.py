"""Modes of gRPC over HTTP/2: messages behind their lengths, and statuses in trailers. They need no package of gRPC."""

import base64
from dataclasses import replace
from typing import Annotated, Literal, get_args

from faultline._core.answers import Headers, HeadersLike
from faultline._core.check import choice, rejected, some_text
from faultline._core.conditions import ByChunk, Condition
from faultline._core.fault import Fault
from faultline._core.header_fields import fields
from faultline._core.http2 import Http2Answer
from faultline.modes._registry import case, mode

__all__ = ["bad_grpc", "grpc_ok", "grpc_status"]

Status = Literal[
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
]  # in the order of their numbers
NUMBERS: dict[str, int] = {name: number for number, name in enumerate(get_args(Status))}
TYPE: Headers = (("content-type", "application/grpc"),)
OK: Headers = (("grpc-status", "0"),)
Messages = Annotated[tuple[bytes, ...], "the messages, each as bytes; b'' is an empty message"]
Kind = Literal[
    "trailers_missing",
    "status_missing",
    "status_unknown",
    "message_cut",
    "message_endless",
    "message_missing",
    "message_twice",
    "message_compressed",
    "content_type",
]


def framed(message: bytes, *, length: int | None = None, flag: int = 0) -> bytes:
    """A message of gRPC behind its flag and its length."""
    return bytes((flag,)) + (len(message) if length is None else length).to_bytes(4, "big") + message


def answered(
    chunks: tuple[bytes, ...], trailers: Headers, headers: Headers = (), *, is_fault: bool = False
) -> Http2Answer:
    """A response of gRPC."""
    body = b"".join(chunks)
    return Http2Answer(headers=TYPE + headers, body=body, chunks=chunks, trailers=trailers, is_fault=is_fault)


def checked_messages(messages: object) -> tuple[bytes, ...]:
    """Messages, each after its length.

    Raises:
        ParameterError: they are no tuple or list of bytes.
    """
    if not isinstance(messages, (tuple, list)) or not all(isinstance(each, bytes) for each in messages):
        right = f"; write ({messages!r},)" if isinstance(messages, bytes) else ""
        raise rejected("messages", messages, f"a tuple of bytes{right}")
    return tuple(framed(each) for each in messages)


def paced(chunks: tuple[bytes, ...], every_seconds: float) -> tuple[Condition, ...]:
    """The pace of messages."""
    return (ByChunk(sizes=tuple(map(len, chunks)), every_seconds=every_seconds),) if every_seconds else ()


@mode(case("the response"))
def grpc_ok(
    messages: Messages = (b"",),
    *,
    every_seconds: Annotated[float, "the time between two messages"] = 0.0,
    headers: Annotated[HeadersLike, "further initial metadata, by name"] = (),
) -> Fault:
    """Answer a call of gRPC with messages and the status OK.

    Each message is one DATA frame, so that `rst_stream(after_body_bytes=n)`, `reset(…)` and `stall(…)` cut or hold the
    stream of messages anywhere. A message has 5 bytes in front of it: a flag and its length.

    .. versionadded:: 0.1

    Raises:
        ParameterError: a message is no bytes, or HTTP can't carry a name or a value in `headers`.

    Example:
        >>> from faultline import grpc_ok, rst_stream
        >>> grpc_ok((b"one", b"two")) & rst_stream("INTERNAL_ERROR", after_body_bytes=8)
        grpc_ok((b'one', b'two')) & rst_stream('INTERNAL_ERROR', after_body_bytes=8)
    """
    chunks = checked_messages(messages)
    return Fault(answer=answered(chunks, OK, fields(headers)), conditions=paced(chunks, every_seconds))


@mode(case("the response", code="UNAVAILABLE"))
def grpc_status(
    code: Annotated[Status, "the status"],
    *,
    message: Annotated[str, "the text that explains the status"] = "",
    details: Annotated[bytes, "the bytes of a google.rpc.Status, for grpc-status-details-bin"] = b"",
    messages: Messages = (),
    trailers: Annotated[HeadersLike, "further trailing metadata, by name"] = (),
) -> Fault:
    """Answer a call of gRPC with this status.

    Without `messages` the response has trailers alone, as most servers answer an error; with messages the status comes
    after them.

    .. versionadded:: 0.1

    Raises:
        ParameterError: a message is no bytes, or HTTP can't carry a name or a value in `trailers`.

    Example:
        >>> from faultline import grpc_status
        >>> grpc_status("RESOURCE_EXHAUSTED", message="slow down")
        grpc_status('RESOURCE_EXHAUSTED', message='slow down')
    """
    choice("code", code, get_args(Status))
    said: Headers = (("grpc-status", str(NUMBERS[code])),)
    if message:
        said += (("grpc-message", escaped(some_text("message", message))),)
    if details:
        said += (("grpc-status-details-bin", base64.b64encode(details).decode().rstrip("=")),)
    said += fields(trailers, "trailers")
    chunks = checked_messages(messages)
    is_fault = code != "OK"
    answer = answered(chunks, said, is_fault=is_fault) if chunks else answered((), (), said, is_fault=is_fault)
    return Fault(answer=answer)


def escaped(text: str) -> str:
    """A text as `grpc-message` has it: bytes that are not printable ASCII, and `%`, as `%XX`."""
    return "".join(chr(each) if 0x20 <= each <= 0x7E and each != 0x25 else f"%{each:02X}" for each in text.encode())  # noqa: PLR2004


MESSAGE = b"twenty bytes of body"
LIES: dict[str, Http2Answer] = {
    "trailers_missing": answered((framed(MESSAGE),), ()),
    "status_missing": answered((framed(MESSAGE),), (("x-trailer", "1"),)),
    "status_unknown": answered((), (), (("grpc-status", "999"),)),
    "message_cut": answered((framed(MESSAGE)[:-10],), OK),
    "message_endless": answered((framed(MESSAGE, length=(1 << 32) - 1),), OK),
    "message_missing": answered((), (), OK),
    "message_twice": answered((framed(MESSAGE), framed(MESSAGE)), OK),
    "message_compressed": answered((framed(MESSAGE, flag=1),), OK),
    "content_type": Http2Answer(headers=(("content-type", "text/html"),), body=b"<html>", chunks=(b"<html>",)),
}


@mode(case("the response", kind="trailers_missing"))
def bad_grpc(kind: Annotated[Kind, "what is wrong with the answer"]) -> Fault:
    """Answer a call of gRPC wrongly, in exactly one way; the frames of HTTP/2 are right.

    - Trailers: `trailers_missing` ends without any, `status_missing` has some without a status, `status_unknown` has
      the status 999.
    - Messages: `message_cut` ends 10 bytes before its message does, `message_endless` says that its message has 4 GiB,
      `message_missing` has the status OK and no message, `message_twice` two where one is expected;
      `message_compressed` says that its message is compressed, by no method.
    - `content_type` is a page of HTML with status 200.

    .. versionadded:: 0.1

    Example:
        >>> from faultline import bad_grpc
        >>> bad_grpc("message_cut")
        bad_grpc('message_cut')
    """
    return Fault(answer=replace(LIES[kind], is_fault=True))
