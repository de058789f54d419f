"""The last point of the walk: the request and its response, or what a server says by itself.

Rules: at most `MOST_BYTES` of a body are read.
"""

from __future__ import annotations

import ssl
import zlib

from faultline._core.counts import counted
from faultline._core.points import Point
from faultline._net.http1 import HEAD_LIMIT_BYTES, ResponseReader
from faultline._probe.failures import alert_mode, failure_key, failure_of
from faultline._probe.line import Deadline, Line, SecureLine
from faultline._probe.steps import Failure, Part, Step
from faultline._probe.target import PORTS, Target

MOST_BYTES = 16 << 20  # of a body
AFTER_SECONDS = 0.2  # how long to wait for bytes after the end of a response
LISTEN_SECONDS = 1.0  # how long to wait for a server that may speak first
FEW_INTERIMS = 10
ENOUGH = 100  # bytes of a response of faultline, whose head is shorter: the rest is body
HEAD_BYTES = 20  # that are fewer than its head has
HTTP = b"HTTP/"
TLS_RECORDS = (b"\x15\x03", b"\x16\x03")  # an alert and a message of the handshake
# What h11 says of a response that is wrong, and the mode that is wrong in this way.
COMPLAINTS = {
    "illegal status line": "status_garbage",
    "illegal header line": "header_nul",
    "conflicting Content-Length": "length_conflicting",
    "bad Content-Length": "length_negative",
    "Receive buffer too long": "header_line_long",
}
TOO_LONG = {"Receive buffer too long": f"is longer than {HEAD_LIMIT_BYTES:,} bytes"}
COMPLAINTS_OF_BODY = {
    "illegal chunk header": "chunk_size_not_hex",
    "illegal header line": "chunk_trailer_garbage",
}


def asked(target: Target, line: Line | SecureLine, seconds: float) -> Step:
    """Send a GET, and read the whole response."""
    port = "" if target.port == PORTS[target.scheme] else f":{target.port}"
    host = f"[{target.name}]" if ":" in target.name else target.name
    return Asking(ResponseReader(f"{host}{port}", target.path), line, Deadline(seconds)).step()


class Asking:
    """A request and its response."""

    def __init__(self, reader: ResponseReader, line: Line | SecureLine, deadline: Deadline) -> None:
        self._reader, self._line, self._deadline = reader, line, deadline
        self._got_bytes = 0
        self._first = b""
        self._has_ended = False  # the server's stream
        self._body_parts: list[bytes] = []

    def step(self) -> Step:
        """Ask, and say what came of it."""
        try:
            self._line.send(self._reader.request, self._deadline)
            self._read()
            failure = self._wrong()
        except TimeoutError as error:
            failure = self._silence(error)
        except OSError as error:
            failure = self._broken(error)
        is_late = failure is not None and self._line.alert and not self._got_bytes
        at: Point = "handshake" if is_late else "response"
        if failure is not None:
            return Step(at, self._deadline.passed, self._lines(), self._facts(), failure)
        odd = self._odd()
        lines = (*self._lines(), *(text for text, _ in odd))
        return Step(at, self._deadline.passed, lines, self._facts(), modes=tuple(mode for _, mode in odd if mode))

    def _read(self) -> None:
        """Read until the response is complete, wrong, too long, or the stream ends."""
        reader = self._reader
        while not (reader.complete or reader.wrong or self._is_long or self._has_ended or not self._is_http):
            data = self._line.receive(self._deadline)
            self._got_bytes += len(data)
            self._first += data[: ENOUGH - len(self._first)]
            self._has_ended = not data
            if self._is_http:
                self._body_parts.append(reader.feed(data))

    @property
    def _is_http(self) -> bool:
        """Whether these bytes are, or can still become, a response of HTTP."""
        return self._first[: len(HTTP)] == HTTP[: len(self._first)]

    @property
    def _is_long(self) -> bool:
        return self._reader.body_bytes > MOST_BYTES

    @property
    def _part(self) -> Part:
        return "body" if self._reader.status else "head"

    @property
    def _is_chunked(self) -> bool:
        return "chunked" in self._reader.headers.get("transfer-encoding", "").lower()

    # --- why it failed -----------------------------------------------------------------------------------------------

    def _wrong(self) -> Failure | None:
        """What is wrong with the bytes that came, or with their end; `None` if the response is right."""
        reader = self._reader
        if not self._is_http:
            return self._no_http()
        if reader.wrong:
            complaints = COMPLAINTS_OF_BODY if reader.status else COMPLAINTS
            mode = next((mode for words, mode in complaints.items() if words in reader.wrong), "")
            cause = "http.client.BadStatusLine" if mode == "status_garbage" else "http.client.HTTPException"
            wrong = TOO_LONG.get(reader.wrong, f"is wrong: {reader.wrong}")
            return self._failure(cause, "", f"the {self._part} {wrong}", malformed(mode))
        if reader.status and reader.version not in {"1.0", "1.1"}:
            text = f"there is no HTTP/{reader.version}"
            return self._failure("http.client.UnknownProtocol", "", text, malformed("wrong_version"))
        return self._packed() if reader.complete or self._is_long else self._cut()

    def _cut(self) -> Failure:
        """The failure of a response whose end never came."""
        if not self._got_bytes:
            text = "the server closed the connection without a byte"
            return self._failure("http.client.RemoteDisconnected", "", text, "close()")
        text = f"the server closed the connection within the {self._part}, {self._after}"
        if self._part == "head":
            return self._failure("http.client.BadStatusLine", "", text, f"close(after_bytes={HEAD_BYTES // 2})")
        mode = malformed("chunk_cut") if self._is_chunked else f"close(after_bytes={ENOUGH})"
        return self._failure("http.client.IncompleteRead", "", text, mode)

    def _no_http(self) -> Failure:
        speaks_tls = self._first[:2] in TLS_RECORDS
        text = (
            "the port speaks TLS: ask with https://" if speaks_tls else f"what came is not HTTP: {self._first[:40]!r}"
        )
        return self._failure("http.client.BadStatusLine", "", text, malformed("other_protocol"))

    def _packed(self) -> Failure | None:
        """What is wrong with a body that is said to be compressed."""
        if (
            "gzip" not in self._reader.headers.get("content-encoding", "")
            or self._is_long
            or not self._reader.body_bytes
        ):
            return None
        unpacker = zlib.decompressobj(wbits=31)
        try:
            unpacker.decompress(b"".join(self._body_parts), MOST_BYTES)
        except zlib.error:
            text = "the body is not gzip, though Content-Encoding says so"
            return self._failure("zlib.error", "", text, malformed("gzip_plain"))
        if not unpacker.eof and not unpacker.unconsumed_tail:
            return self._failure("zlib.error", "", "the compressed body is cut", malformed("gzip_cut"))
        return None

    def _silence(self, error: TimeoutError) -> Failure:
        """The failure of a response that did not end in time."""
        if error.errno is not None:  # the kernel gave up, not the deadline
            return self._failure("TimeoutError", str(error.errno), error.strerror or "timed out", "partition()")
        if not self._got_bytes:
            return self._failure("TimeoutError", "", "not a byte came in time", "stall()")
        text = f"the {self._part} was not whole in time, {self._after}"
        return self._failure("TimeoutError", "", text, f"stall(after_bytes={self._bytes_there})")

    def _broken(self, error: OSError) -> Failure:
        """The failure of a connection, or of its TLS, that broke."""
        name, detail = failure_key(error)
        if isinstance(error, ssl.SSLError):
            if self._line.alert:
                mode = alert_mode(self._line.alert)
                return self._failure(name, detail, f"the server sent the alert {self._line.alert}", mode)
            mode = f"bad_tls('plaintext_midway', after_bytes={HEAD_BYTES})"
            return self._failure(name, detail, f"what came is not TLS any more: {failure_of(error).text}", mode)
        mode = f"reset(after_bytes={self._bytes_there})" if self._got_bytes else "reset()"
        return self._failure(name, detail, f"{failure_of(error).text}, {self._after}", mode)

    @property
    def _bytes_there(self) -> int:
        """A number of bytes at which a response of faultline is in the same part."""
        return ENOUGH if self._part == "body" else HEAD_BYTES // 2

    @property
    def _after(self) -> str:
        return f"after {counted(self._got_bytes, 'byte')}" if self._got_bytes else "before the response"

    def _failure(self, cause: str, detail: str, text: str, mode: str) -> Failure:
        part = self._part if self._got_bytes else ""
        return Failure(cause, detail, text, part, self._got_bytes, mode)

    # --- what came ---------------------------------------------------------------------------------------------------

    def _lines(self) -> tuple[str, ...]:
        reader = self._reader
        if not reader.status:
            return ()
        location = reader.headers.get("location", "")
        leads = (f"it leads to {location}, which is not followed",) if 300 <= reader.status < 400 and location else ()  # noqa: PLR2004 - redirects
        return (
            f"HTTP/{reader.version} {reader.status} {reader.reason}".rstrip()
            + f", {reader.body_bytes:,} bytes of body",
            *leads,
        )

    def _facts(self) -> dict[str, object]:
        reader = self._reader
        return {
            "status": reader.status or None,
            "reason": reader.reason,
            "version": reader.version,
            "bytes": self._got_bytes,
            "body_bytes": reader.body_bytes,
            "interim_responses": reader.interims,
        }

    def _odd(self) -> list[tuple[str, str]]:
        """What is odd about a response that came, and the mode that imitates it."""
        reader, odd = self._reader, []
        if self._is_long:
            odd.append((f"the body is longer than {MOST_BYTES >> 20} MiB; the rest was not read", ""))
        if reader.interims > FEW_INTERIMS:
            odd.append((f"{reader.interims:,} interim responses came first", malformed("interim_flood")))
        if self._line.is_ragged and not {"content-length", "transfer-encoding"} & {*reader.headers}:
            odd.append(("FIN ended the body, and TLS had not said that it ends", "bad_tls('no_close_notify')"))
        if not self._is_long and (rest := self._rest()):
            odd.append((f"{counted(rest, 'byte')} came after the end of the response", malformed("body_surplus")))
        if reader.status >= 400:  # noqa: PLR2004 - errors
            odd.append(("the server answers, with an error of its own", f"status({reader.status})"))
        return odd

    def _rest(self) -> int:
        """The number of bytes after the response, of those that come at once."""
        rest = len(self._reader.rest)
        deadline = Deadline(AFTER_SECONDS)
        try:
            while not self._has_ended and rest < ENOUGH:
                data = self._line.receive(deadline)
                rest, self._has_ended = rest + len(data), not data
        except OSError:
            pass
        return rest


def malformed(kind: str) -> str:
    """The plan of a malformed response; empty if no kind is meant."""
    return f"malformed({kind!r})" if kind else ""


def listened(_target: Target, line: Line | SecureLine, seconds: float) -> Step:
    """Send nothing, and wait a little for what a server says by itself; silence is right for most protocols."""
    deadline = Deadline(min(seconds, LISTEN_SECONDS))
    try:
        data = line.receive(deadline)
    except TimeoutError:
        return Step("response", deadline.passed, ("the server waits for the client to speak first",), {"bytes": 0})
    except OSError as error:
        failure = failure_of(error)
        mode = alert_mode(line.alert) if line.alert else "reset(at='accept')"
        text = f"the server sent the alert {line.alert}" if line.alert else f"{failure.text}, before a byte came"
        at: Point = "handshake" if line.alert else "response"
        return Step(at, deadline.passed, failure=Failure(failure.cause, failure.detail, text, mode=mode))
    if not data:
        text = "the server closed the connection without a byte"
        failure = Failure("http.client.RemoteDisconnected", "", text, mode="close(at='accept')")
        return Step("response", deadline.passed, failure=failure)
    return Step("response", deadline.passed, (f"the server spoke first: {data[:40]!r}",), {"bytes": len(data)})
