"""Header fields and bodies that users give for an answer, checked and framed."""

from __future__ import annotations

from dataclasses import replace
from json import dumps

from faultline._core.answers import FAULTY, LAST_CHUNK, Answer, Headers, chunk, framing
from faultline._core.check import rejected
from faultline._core.conditions import ByChunk
from faultline._core.fault import Fault

BODILESS = (204, 205, 304)  # RFC 9110, 15.3.5, 15.3.6, 15.4.5


def as_json(name: str, value: object) -> str:
    """A value as JSON, on one line.

    Raises:
        ParameterError: JSON has no way to say it.
    """
    try:
        return dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise rejected(name, value, f"a value that JSON can express ({error})") from None


def with_default(headers: Headers, name: str, value: str) -> Headers:
    """Header fields with one more, unless it is there."""
    return headers if any(given.lower() == name.lower() for given, _ in headers) else (*headers, (name, value))


def coded(headers: Headers, status: int, *, chunked: bool) -> Headers:
    """Header fields with that of the chunked coding, if it is asked for.

    Raises:
        ParameterError: there is a `Content-Length` or a `Transfer-Encoding`, or the status has no content.
    """
    if not chunked:
        return headers
    if status in BODILESS:
        raise rejected("chunked", chunked, f"False with status {status}, which has no content")
    if {"content-length", "transfer-encoding"} & {name.lower() for name, _ in headers}:
        raise rejected("chunked", chunked, "no Content-Length and no Transfer-Encoding in headers")
    return (*headers, ("Transfer-Encoding", "chunked"))


def checked_chunks(chunks: object) -> tuple[bytes, ...]:
    """Chunks of a body.

    Raises:
        ParameterError: they are no tuple or list of bytes, or one is empty, which would be the end of the body.
    """
    if not isinstance(chunks, (tuple, list)) or not all(isinstance(each, bytes) and each for each in chunks):
        raise rejected("chunks", chunks, "a tuple of bytes, none of them empty")
    return tuple(chunks)


def streamed(status: int, headers: Headers, chunks: tuple[bytes, ...], every_seconds: float, *, endless: bool) -> Fault:
    """An answer whose body comes chunk by chunk.

    Raises:
        ParameterError: the status or the fields don't go with chunks.
    """
    if status in BODILESS:
        raise rejected("chunks", chunks, f"no chunks with status {status}, which has no content")
    body = b"".join(chunks)
    answer = framed(status, with_default(headers, "Transfer-Encoding", "chunked"), body)
    if not answer.in_chunks or answer.is_fault > (status >= FAULTY):
        raise rejected(
            "headers", headers, "no Content-Length and no Transfer-Encoding, because chunks have their own lengths"
        )
    sizes = [len(chunk(each)) for each in chunks]
    sizes[-1] += 0 if endless else len(LAST_CHUNK)
    pace = (ByChunk(sizes=tuple(sizes), every_seconds=every_seconds),) if every_seconds else ()
    return Fault(answer=replace(answer, chunks=chunks, repeats=endless), conditions=pace)


def with_trailers(fault: Fault, trailers: Headers) -> Fault:
    """An answer in chunks, with fields after its body.

    Raises:
        ParameterError: the body has no end.
    """
    answer = fault.answer
    if not trailers or not isinstance(answer, Answer):
        return fault
    if answer.repeats:
        raise rejected("trailers", trailers, "a body that ends, without endless=True")
    return replace(fault, answer=replace(answer, trailers=trailers))


def framed(status: int, headers: Headers, body: bytes | None) -> Answer:
    """An answer whose body ends as its header fields say, and which is a fault if they are wrong."""
    frame, is_error = framing(status, headers, body), status >= FAULTY
    return Answer(
        status,
        headers,
        body,
        endless=frame.endless,
        in_chunks=frame.in_chunks,
        lies_in_body=frame.is_wrong and not is_error,
        is_fault=frame.is_wrong or is_error,
    )
