"""Frames of HTTP/2 (RFC 9113, 4 and 6), and the fields of a request and a response.

Rules: no sockets and no state of a connection. The library h2 reads what clients send and writes what is healthy;
frames are written here where faults need every byte, and read here where the ledger needs their bounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from faultline._core.answers import NO_CONTENT, OK_BODY, RESET_CONTENT, Answer, Headers
from faultline._core.attempts import Request
from faultline._core.http2 import Http2Answer

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD_BYTES = 9  # of a frame
LONGEST_BYTES = 16_384  # of the payload of a frame, unless the server allows more
LARGEST_FRAME_BYTES = (1 << 24) - 1
LARGEST = (1 << 31) - 1  # of the numbers of streams, and of a window
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
NAMES = (
    *("DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY", "WINDOW_UPDATE"),
    "CONTINUATION",
)
END_STREAM = ACK = 0x1  # flags
END_HEADERS = 0x4
# Fields that belong to a connection of HTTP/1.1 (RFC 9113, 8.2.2).
OF_CONNECTION = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    """The bytes of a frame."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def goaway(last_stream: int, code: int) -> bytes:
    """A GOAWAY frame (RFC 9113, 6.8)."""
    return frame(GOAWAY, last_stream.to_bytes(4, "big") + code.to_bytes(4, "big"))


def settings(values: Iterable[tuple[int, int]]) -> bytes:
    """A SETTINGS frame (RFC 9113, 6.5)."""
    return frame(SETTINGS, b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in values))


def kind_of(data: bytes) -> int:
    """The type of a frame."""
    return data[3]


def stream_of(data: bytes) -> int:
    """The number of the stream that a frame belongs to; 0 for the connection."""
    return int.from_bytes(data[5:9], "big") & LARGEST


class Frames:
    """Divides bytes that come in pieces into frames.

    Attributes:
        longest_bytes: how long a payload may be.
    """

    def __init__(self) -> None:
        self._held = b""
        self.longest_bytes = LONGEST_BYTES

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The frames that are complete; of a frame that is longer than allowed only the head comes."""
        self._held += data
        while len(self._held) >= HEAD_BYTES:
            end = HEAD_BYTES + (0 if self.is_too_long(self._held) else int.from_bytes(self._held[:3], "big"))
            if len(self._held) < end:
                return
            whole, self._held = self._held[:end], self._held[end:]
            yield whole

    def is_too_long(self, frame: bytes) -> bool:
        """Whether a frame says that it is longer than allowed."""
        return int.from_bytes(frame[:3], "big") > self.longest_bytes


def text_of(fields: Iterable[tuple[str, str]]) -> bytes:
    """Fields as lines of text, as triggers see them: `name: value`, and an empty line behind the last."""
    return "".join(f"{name}: {value}\r\n" for name, value in (*fields,)).encode("latin-1", "replace") + b"\r\n"


def request_of(fields: Headers) -> Request:
    """The request of these fields, without its body; the authority is its `host`."""
    pseudo = {name: value for name, value in fields if name.startswith(":")}
    plain = tuple((name, value) for name, value in fields if not name.startswith(":"))
    if ":authority" in pseudo and not any(name == "host" for name, _ in plain):
        plain = (("host", pseudo[":authority"]), *plain)
    return Request(pseudo.get(":method", ""), pseudo.get(":path", pseudo.get(":authority", "")), plain)


def is_bodiless(answer: Answer, request: Request) -> bool:
    """Whether a response has no content: to HEAD, and by its status (RFC 9110, 6.4.1)."""
    return answer.status in NO_CONTENT or (request.method == "HEAD" and not answer.bodies_head)


def body_of(answer: Answer, request: Request) -> bytes:
    """The body of a response, if it has one."""
    if answer.status == RESET_CONTENT:
        return b""
    if answer.echoes:
        return request.body
    return OK_BODY if answer.body is None else answer.body


def fields_of(answer: Answer, request: Request) -> list[tuple[str, str]]:
    """The fields of a response, in lower case (RFC 9113, 8.2), without those that belong to HTTP/1.1."""
    given = [(name.lower(), value) for name, value in answer.headers if name.lower() not in OF_CONNECTION]
    names = {name for name, _ in given}
    body, has_body = body_of(answer, request), answer.status not in NO_CONTENT
    if answer.location:
        given.append(("location", answer.location.replace("{host}", request.header("host") or "localhost")))
    streams = answer.chunks or answer.trailers or isinstance(answer, Http2Answer)
    if has_body and not streams and "content-length" not in names:
        given.append(("content-length", str(len(body))))
    if body and has_body and "content-type" not in names:
        kind = request.header("content-type") if answer.echoes else None
        given.append(("content-type", kind or "text/plain"))
    return [(":status", str(answer.status)), *given]
