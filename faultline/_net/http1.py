"""Reads HTTP/1.1 requests and responses from bytes, and writes responses as bytes.

Rules: no sockets. h11 parses what comes; responses are written here, because faults need every byte of a response, and
h11 refuses to write malformed ones.
"""

from __future__ import annotations

import re

import h11

from faultline._core.answers import LAST_CHUNK, NO_CONTENT, OK_BODY, RESET_CONTENT, Answer, chunk, phrase_of
from faultline._core.attempts import Request
from faultline._core.counts import counted
from faultline._core.ledger import KEPT_BODY_BYTES
from faultline._net.malformed import doubtful_head, is_meant_as_http, split, worded, wrong_head, wrong_line

HEAD_LIMIT_BYTES = 65_536
EVENTS_AT_ONCE = 16  # of h11: a client may send a chunk for each byte
FIRST_LOOK_BYTES = 1024  # the part of the first line that is checked
VERSION = b"HTTP/1."  # how a response begins
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

# RFC 9112, 3: method SP request-target SP HTTP-version. A prefix of this can still become a request line.
TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
LINE = re.compile(TOKEN + rb"{1,32} [^\s\0]+ HTTP/1\.[0-9]")
PREFIX = re.compile(
    TOKEN
    + rb"{0,32}|"
    + TOKEN
    + rb"{1,32} [^\s\0]*|"
    + TOKEN
    + rb"{1,32} [^\s\0]+ (?:H|HT|HTT|HTTP|HTTP/|HTTP/1|HTTP/1\.|HTTP/1\.[0-9]\r?)?"
)

END_OF_HEAD = re.compile(rb"\r?\n\r?\n")


def can_begin_request(data: bytes) -> bool:
    """Whether these first bytes are, or can still become, an HTTP/1 request."""
    line, newline, _ = data[:FIRST_LOOK_BYTES].partition(b"\n")
    if newline:
        return LINE.fullmatch(line.removesuffix(b"\r")) is not None
    return PREFIX.fullmatch(line) is not None


def is_endless(data: bytes) -> bool:
    """Whether a head is longer than HEAD_LIMIT_BYTES; h11 checks this only while the head is incomplete."""
    return len(data) > HEAD_LIMIT_BYTES and END_OF_HEAD.search(data, 0, HEAD_LIMIT_BYTES) is None


class RequestReader:
    """Reads one request from bytes as they arrive.

    Bytes that can't begin an HTTP request are a complete request as soon as they arrive, so that clients of other
    protocols meet their fault too.
    """

    def __init__(self, *, head_only: bool = False, kept_body_bytes: int = KEPT_BODY_BYTES) -> None:
        self._head_only = head_only
        self._kept_body_bytes = kept_body_bytes
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT_BYTES)
        self._raw = b""  # the bytes until the head is complete, without empty lines before it
        self._empty = b""  # the empty lines, which RFC 9112, 2.2 has a server skip
        self.wrong = ""  # what is wrong with the request, in words
        self._head: h11.Request | None = None
        self._body = bytearray()  # no list: a client may send a chunk for each byte
        self._body_bytes = 0
        self._continued = False
        self.complete = False
        self.is_behind = False  # whether some of the bytes were not read yet
        self.is_http = True
        self.keep_alive = self.asks_to_switch = False  # it asks to switch by Upgrade or CONNECT
        self.rest = b""

    def feed(self, data: bytes) -> bool:
        """Add bytes; return true once, when the client begins to wait for `100 Continue`.

        Bytes that are not HTTP complete the request, and `is_http` is then false.
        """
        if self._head is None:
            data = self._without_empty_lines(data)
            self._raw += data
            if not data:  # which h11 would take for the end
                return False
            if not can_begin_request(self._raw):
                self.wrong = wrong_line(self._raw) if is_meant_as_http(self._raw) else ""
                self._give_up()
                return False
            if is_endless(self._raw):
                self._complain(f"the head is longer than {HEAD_LIMIT_BYTES} bytes")
                return False
        self._connection.receive_data(data)
        return self.proceed()

    def _without_empty_lines(self, data: bytes) -> bytes:
        """The bytes without the empty lines before the request."""
        if self._raw:
            return data
        rest = data.lstrip(b"\r\n")
        self._empty = (self._empty + data[: len(data) - len(rest)])[-FIRST_LOOK_BYTES:]
        return rest

    def proceed(self) -> bool:
        """Read some of the bytes so far, and set `is_behind` if there are more; return as `feed` does."""
        self.is_behind = True
        try:
            for _ in range(EVENTS_AT_ONCE):
                event = h11.NEED_DATA if self.complete else self._connection.next_event()
                if event is h11.NEED_DATA:
                    self.is_behind = False
                    break
                self._take(event)
        except h11.RemoteProtocolError as error:
            complaint = worded(str(error))
            self._complain(wrong_head(split(self._raw)[0], complaint) if self._head is None else complaint)
        waiting = self._connection.they_are_waiting_for_100_continue and not self.complete
        asked, self._continued = waiting and not self._continued, self._continued or waiting
        return asked

    def _take(self, event: object) -> None:
        match event:
            case h11.Request():
                self.wrong = doubtful_head(split(self._raw)[0])
                self._head, self._raw = event, b""
                if self._head_only:
                    self.complete, self.rest = True, self._connection.trailing_data[0]
            case h11.Data():
                if (room := self._kept_body_bytes - self._body_bytes) > 0:
                    self._body += event.data[:room]
                self._body_bytes += len(event.data)
            case _:  # h11.EndOfMessage: no other event can follow a head
                self.complete = True
                self.keep_alive = self._connection.their_state is h11.DONE
                self.asks_to_switch = self._connection.their_state not in (h11.DONE, h11.MUST_CLOSE)
                self.rest = self._connection.trailing_data[0]

    def refuse(self) -> None:
        """Complete the request without its body; the connection can't be kept alive, as the body may still come."""
        self.complete = True

    def _complain(self, wrong: str) -> None:
        """Complete a malformed request, which is answered like bytes that are not HTTP."""
        self.wrong = wrong
        self._give_up()

    @property
    def body_bytes(self) -> int:
        """The number of bytes of the body so far."""
        return self._body_bytes

    @property
    def has_head(self) -> bool:
        """Whether the head of a request of HTTP has been read."""
        return self._head is not None

    @property
    def head(self) -> bytes:
        """The bytes so far of a head that is not complete."""
        return self._empty + self._raw

    @property
    def unfinished(self) -> str:
        """What a client has left out that has finished sending now; empty if it had not begun."""
        if self._head is None:
            return "the client left in the middle of the head of its request" if self._raw else ""
        return f"the client left after {counted(self._body_bytes, 'byte')} of the body of its request"

    def _give_up(self) -> None:
        self.complete, self.is_http, self.keep_alive = True, False, False

    @property
    def request(self) -> Request:
        """The request read so far; its method is empty if it is not HTTP."""
        body = bytes(self._body)
        if self._head is None:
            raw = self._empty + self._raw
            return Request(body=raw, body_bytes=len(raw))
        return Request(
            self._head.method.decode("ascii"),
            self._head.target.decode("ascii"),
            tuple((n.decode("ascii"), v.decode("latin-1")) for n, v in self._head.headers.raw_items()),
            body,
            self._body_bytes,
        )


class ResponseReader:
    """Reads the response to a GET from bytes as they arrive.

    Attributes:
        request: the bytes of the request.
        status, reason, version, headers: of the response, once its head is there.
        interims: the number of interim responses before it.
        body_bytes: the number of bytes of the body so far.
        complete: whether the response has ended as its framing says.
        wrong: what is wrong with it, in the words of h11.
    """

    def __init__(self, host: str, path: str) -> None:
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT_BYTES)
        fields = [("Host", host), ("User-Agent", "faultline-probe"), ("Accept", "*/*"), ("Connection", "close")]
        asked = self._connection.send(h11.Request(method="GET", target=path, headers=fields))
        self._connection.send(h11.EndOfMessage())
        self.request = asked or b""
        self.status, self.reason, self.version, self.headers = 0, "", "", dict[str, str]()
        self.interims = self.body_bytes = 0
        self.complete, self.wrong = False, ""

    def feed(self, data: bytes) -> bytes:
        """Add bytes, or the end of the stream if there are none, and return what they add to the body."""
        body = bytearray()
        try:
            self._connection.receive_data(data)
            while not self.complete and (event := self._connection.next_event()) is not h11.NEED_DATA:
                match event:
                    case h11.InformationalResponse():
                        self.interims += 1
                    case h11.Response():
                        self.status, self.version = event.status_code, event.http_version.decode("ascii")
                        self.reason = event.reason.decode("latin-1")
                        fields = [(name.decode("ascii"), value.decode("latin-1")) for name, value in event.headers]
                        self.headers = dict(fields)
                    case h11.Data():
                        body += event.data
                    case _:  # h11.EndOfMessage: an end of the stream before it is an error
                        self.complete = True
        except h11.RemoteProtocolError as error:
            self.wrong = str(error) if data else ""  # an end that comes too early is told of by the caller
        self.body_bytes += len(body)
        return bytes(body)

    @property
    def rest(self) -> bytes:
        """The bytes after the end of the response."""
        return self._connection.trailing_data[0]


class PassingResponse:
    """Finds the end of a response among the bytes that a relay passes on; h11 reads a copy of them.

    `upgrades` says whether the request, of this method, asks for another protocol.

    Attributes:
        complete: whether it has ended, by its own framing.
        keep_alive: whether both connections may carry another request then.
        switches: whether the bytes behind it are of another protocol.
        is_opaque: whether it is no response of HTTP/1, so that nobody knows where it ends.
    """

    def __init__(self, method: str, *, upgrades: bool) -> None:
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT_BYTES)
        fields = [("Host", "upstream"), *([("Upgrade", "any"), ("Connection", "Upgrade")] if upgrades else [])]
        self._connection.send(h11.Request(method=method, target="/", headers=fields))
        self._connection.send(h11.EndOfMessage())
        self._begin = b""
        self.complete = self.keep_alive = self.switches = self.is_opaque = False

    def feed(self, data: bytes) -> bytes:
        """Take bytes of the upstream; return those that belong to the response."""
        self._begin += data[: len(VERSION) - len(self._begin)]
        if not VERSION.startswith(self._begin):
            self.is_opaque = True
            return data
        try:
            self._connection.receive_data(data)
            while not self.complete:
                event = self._connection.next_event()
                if event is h11.NEED_DATA:
                    return data
                self._take(event)
        except h11.RemoteProtocolError:
            self.is_opaque = True
            return data
        rest = self._connection.trailing_data[0]
        return data[: len(data) - len(rest)]

    def _take(self, event: object) -> None:
        if event is h11.PAUSED or self._connection.their_state is h11.SWITCHED_PROTOCOL:
            self.complete = self.switches = True
        elif isinstance(event, h11.EndOfMessage):
            self.complete, self.keep_alive = True, self._connection.their_state is h11.DONE


def render(answer: Answer, request: Request, *, keep_alive: bool) -> bytes:
    """The bytes of a response, framed by RFC 9112, 6.3: no body in answer to HEAD, nor with 204 and 304."""
    if answer.raw is not None:
        return answer.raw
    if answer.echoes:
        if not request.method:
            return request.body
        body = request.body
    else:
        body = OK_BODY if answer.body is None else answer.body
    given = {name.lower() for name, _ in answer.headers}
    fields = list(answer.headers)
    if answer.location:
        fields.append(("Location", answer.location.replace("{host}", request.header("host") or "localhost")))
    if answer.status == RESET_CONTENT:
        body = b""
    tunnels = request.method == "CONNECT" and answer.status < 300  # noqa: PLR2004 - RFC 9110, 9.3.6
    bodiless = tunnels or answer.status in NO_CONTENT
    if not bodiless and not answer.ends and not given & {"content-length", "transfer-encoding"}:
        fields.append(("Content-Length", str(len(body))))
    if body and not bodiless and "content-type" not in given:
        kind = request.header("content-type") if answer.echoes else None
        fields.append(("Content-Type", kind or "text/plain"))
    if not keep_alive and "connection" not in given:
        fields.append(("Connection", "close"))
    lines = [f"HTTP/1.1 {answer.status} {phrase_of(answer.status)}"]
    lines += [f"{name}: {value}" for name, value in fields]
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    if answer.in_chunks:
        body = in_chunks(answer, body)
    return head if bodiless or (request.method == "HEAD" and not answer.bodies_head) else head + body


def in_chunks(answer: Answer, body: bytes) -> bytes:
    """A body in chunks, each with its length; the last, of length 0, ends it (RFC 9112, 7.1)."""
    end = LAST_CHUNK
    if answer.trailers:
        lines = "".join(f"{name}: {value}\r\n" for name, value in answer.trailers)
        end = LAST_CHUNK[:-2] + lines.encode("latin-1") + LAST_CHUNK[-2:]
    return b"".join(map(chunk, answer.chunks or filter(None, [body]))) + (b"" if answer.repeats else end)
