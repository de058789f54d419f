"""The mode of malformed HTTP: responses that no server should send, each wrong in exactly one way."""

import functools
import zlib
from dataclasses import replace
from typing import Annotated, Literal

from faultline._core.answers import Answer
from faultline._core.fault import Fault
from faultline._core.scripted import Script
from faultline._core.steps import HalfClose, ReceiveAll, ReceiveRequest, Repeat, Respond
from faultline.modes._registry import case, mode

__all__ = ["malformed"]

Kind = Literal[
    "length_short",
    "length_long",
    "length_negative",
    "length_conflicting",
    "chunk_size_not_hex",
    "chunk_cut",
    "chunk_terminator_missing",
    "chunk_trailer_garbage",
    "status_garbage",
    "other_protocol",
    "wrong_version",
    "header_line_long",
    "headers_many",
    "header_folded",
    "header_nul",
    "header_cut",
    "gzip_plain",
    "gzip_cut",
    "gzip_bomb",
    "interim_flood",
    "continue_never",
    "early_response",
    "body_surplus",
    "head_with_body",
    "unsolicited_response",
]

BODY = b"twenty bytes of body"
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
CHUNKS = b"5\r\ntwent\r\nf\r\ny bytes of body\r\n"
CHUNKED = ("Transfer-Encoding", "chunked")
LINE_BYTES = 200_000
INTERIM = 10_000
BOMB_BYTES, BOMB_BLOCK_BYTES = 64 << 20, 1 << 16
BOMB_CRC32 = 0xB2EB30ED  # of this number of zeros


def length(*values: int | str) -> tuple[tuple[str, str], ...]:
    """Content-Length fields with these values."""
    return tuple(("Content-Length", str(value)) for value in values)


def chunked(body: bytes) -> Answer:
    """A chunked response, followed by FIN."""
    return Answer(headers=(CHUNKED,), body=body, ends=True)


def gzipped(body: bytes) -> Answer:
    """A response with the field `Content-Encoding: gzip`."""
    return Answer(headers=(("Content-Encoding", "gzip"),), body=body)


def compressed() -> bytes:
    """A body in gzip."""
    gzip = zlib.compressobj(wbits=31)
    return gzip.compress(BODY * 50) + gzip.flush()


def bomb() -> bytes:
    """64 MiB of zeros in gzip (RFC 1952): one block of deflate, repeated."""
    deflate = zlib.compressobj(9, wbits=-15)
    block = deflate.compress(bytes(BOMB_BLOCK_BYTES)) + deflate.flush(zlib.Z_FULL_FLUSH)
    head, end = b"\x1f\x8b\x08" + bytes(7), b"\x03\0"
    trailer = BOMB_CRC32.to_bytes(4, "little") + BOMB_BYTES.to_bytes(4, "little")
    return head + block * (BOMB_BYTES // BOMB_BLOCK_BYTES) + end + trailer


@functools.cache
def lies() -> dict[str, Answer | Script]:
    """The answer or the script of each kind, made at the first call."""
    refusal = Answer(413, body=b"413 Content Too Large\n", ends=True, is_fault=True)
    return {
        "length_short": Answer(headers=length(len(BODY) - 5), body=BODY, ends=True),
        "length_long": Answer(headers=length(len(BODY) + 5), body=BODY, ends=True),
        "length_negative": Answer(headers=length(-len(BODY)), body=BODY, ends=True),
        "length_conflicting": Answer(headers=length(len(BODY), len(BODY) + 5), body=BODY, ends=True),
        "chunk_size_not_hex": chunked(b"twenty\r\n" + BODY + b"\r\n0\r\n\r\n"),
        "chunk_cut": chunked(CHUNKS[:-7]),
        "chunk_terminator_missing": chunked(CHUNKS),
        "chunk_trailer_garbage": chunked(CHUNKS + b"0\r\nno field, no colon\r\n\r\n"),
        "status_garbage": Answer(raw=WHOLE.replace(b"200 OK", b"two hundred"), ends=True),
        "other_protocol": Answer(raw=b"SSH-2.0-OpenSSH_9.2\r\n", ends=True),
        "wrong_version": Answer(raw=WHOLE.replace(b"HTTP/1.1", b"HTTP/9.9"), ends=True),
        "header_line_long": Answer(
            headers=(("X-Long", "x" * (LINE_BYTES - len("X-Long: ") - len("\r\n"))),), body=BODY
        ),
        "headers_many": Answer(
            headers=tuple((f"X-Number-{number}", "one of many") for number in range(10_000)), body=BODY
        ),
        "header_folded": Answer(headers=(("X-Folded", "one\r\n two"),), body=BODY),
        "header_nul": Answer(headers=(("X-Nul", "before\0after"),), body=BODY),
        "header_cut": Answer(raw=WHOLE.partition(b"-Length")[0], ends=True),
        "gzip_plain": gzipped(BODY),
        "gzip_cut": gzipped(compressed()[:-20]),
        "gzip_bomb": gzipped(bomb()),
        "interim_flood": Answer(raw=b"HTTP/1.1 100 Continue\r\n\r\n" * INTERIM + WHOLE),
        "continue_never": Script((Repeat((ReceiveRequest(continues=False), Respond())),)),
        "early_response": Script((ReceiveRequest(head_only=True), Respond(refusal), HalfClose(), ReceiveAll())),
        "body_surplus": Answer(headers=length(len(BODY) - 5), body=BODY),
        "head_with_body": Answer(body=BODY, bodies_head=True),
        "unsolicited_response": Answer(raw=WHOLE + WHOLE.replace(BODY, BODY[::-1])),
    }


@mode(
    case("end of stream", kind="length_short"),
    case("end of stream", kind="length_long"),
    case("end of stream", kind="length_negative"),
    case("end of stream", kind="length_conflicting"),
    case("end of stream", kind="chunk_size_not_hex"),
    case("end of stream", kind="chunk_cut"),
    case("end of stream", kind="chunk_terminator_missing"),
    case("end of stream", kind="chunk_trailer_garbage"),
    case("end of stream", kind="status_garbage"),
    case("end of stream", kind="other_protocol"),
    case("end of stream", kind="wrong_version"),
    case("the response", kind="header_line_long"),
    case("the response", kind="headers_many"),
    case("the response", kind="header_folded"),
    case("the response", kind="header_nul"),
    case("end of stream", kind="header_cut"),
    case("the response", kind="gzip_plain"),
    case("the response", kind="gzip_cut"),
    case("the response", kind="gzip_bomb"),
    case("the response", kind="interim_flood"),
    case(
        "the response",
        "after a body that was sent without waiting; silence for a client that waits",
        kind="continue_never",
    ),
    case("end of stream", "after a response to the head of the request", kind="early_response"),
    case("the response", kind="body_surplus"),
    case("the response", kind="head_with_body"),
    case("the response", kind="unsolicited_response"),
)
def malformed(
    kind: Annotated[Kind, "what is wrong with the response; the rest is right"],
) -> Fault:
    """Answer with HTTP/1.1 that is wrong in exactly one way.

    A plain client receives the bytes. HTTP clients differ in how they handle them: see
    [what clients make of it](clients.md). Of RFC 9112 and 9110:

    - Length (6.3): the Content-Length is 5 bytes too small in `length_short`, 5 too large in `length_long`, and
      negative in `length_negative`; `length_conflicting` has two of them. FIN follows.
    - Chunks (7.1): `chunk_size_not_hex`; `chunk_cut` ends inside a chunk, `chunk_terminator_missing` before the
      last chunk; `chunk_trailer_garbage` has a trailer that is no field. FIN follows.
    - Status line (4): `status_garbage` has words for a code; `other_protocol` is the banner of SSH;
      `wrong_version` is HTTP/9.9. FIN follows.
    - Header (5): `header_line_long` has a line of 200,000 bytes, `headers_many` 10,000 fields more, `header_folded` a
      continuation line (5.2), `header_nul` a NUL; `header_cut` ends inside a field, by FIN.
    - Content (9110, 8.4): `gzip_plain` is declared as gzip and is not compressed, `gzip_cut` ends too early,
      `gzip_bomb` is 64 MiB of zeros in 85 kB.
    - Order (9110, 10.1.1 and 15.2): `interim_flood` sends `100 Continue` 10,000 times and then responds;
      `continue_never` never sends it to a client that waits for it; `early_response` sends 413 before it has read
      the body, then FIN, and reads on.
    - On a kept connection: `body_surplus` has 5 bytes after the end of the body, `unsolicited_response` a second
      response; `head_with_body` has a body for HEAD too.

    .. versionadded:: 0.1

    Example:
        >>> import faultline, urllib.request
        >>> with faultline.serve(faultline.malformed("chunk_cut")) as server:
        ...     urllib.request.urlopen(server.url).read()
        Traceback (most recent call last):
        http.client.IncompleteRead: IncompleteRead(5 bytes read)
    """
    said = lies()[kind]
    if isinstance(said, Script):
        return Fault(answer=said)
    return Fault(answer=replace(said, is_fault=True, lies_in_body=kind.startswith(("length", "chunk", "gzip", "body"))))
